# SPDX-License-Identifier: GPL-2.0
"""l2wgctl set on a switch."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2wgctl.conf import switch
from l2wgctl.grammar import SET_SWITCH, SET_SWITCH_PEER
from l2wgctl.netlink.switch import Switches
from l2wgctl.switch import (
    PEER_DEFAULTS,
    SWITCH_DEFAULTS,
)
from l2wgctl.updown import record
from tests.unit.ctl.conftest import PEER_A, PEER_B, PEER_C, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakeSocket
from tests.unit.ctl.fakeswitch import FakeSwitch
from tests.unit.ctl.switch.hubs import (
    MAC,
    MAC2,
    MAC3,
    A,
    B,
    C,
    done,
    failed,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


def test_words_of_set() -> None:
    assert tuple(x.word for x in switch.INTERFACE_KEYS) == SET_SWITCH
    assert tuple(x.word for x in switch.PEER_KEYS) == SET_SWITCH_PEER


def test_set(run: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    words = "ageing 60 max-entries 9 new-peers closed host-macs 02:00:00:00:00:0a"
    words += f" peer oslo allowed-macs +{MAC3},-{MAC} max-macs 0 allowed-vlans 10,0,11 pvid 10"
    words += f" relay yes guard stp,dhcp mark 7 peer {PEER_B[:4]} isolated on router yes"
    done(run("set", "wg1", *words.split()))
    switches = Switches(FakeSocket(kernel))
    assert switches.get("wg1").options == SWITCH_DEFAULTS._replace(
        ageing=60, max_macs=9, new_peers="closed", host_macs=("02:00:00:00:00:0a",)
    )
    assert switches.peer("wg1", A).options == PEER_DEFAULTS._replace(
        allowed_macs=(MAC3,),
        max_macs=0,
        allowed_vlans=((0, 0), (10, 11)),
        pvid=10,
        relay=True,
        guards=("dhcp", "stp"),
        mark=7,
    )
    assert switches.peer("wg1", B).options == PEER_DEFAULTS._replace(isolated=True, router=True)
    done(run("set", "wg1", "host-macs", f"+{MAC}", "peer", "oslo", "guard", "", "mark", "off"))
    assert switches.get("wg1").options.host_macs == ("02:00:00:00:00:0a", MAC)
    assert switches.peer("wg1", A).options.guards == ()
    done(run("set", "wg1", "peer", "oslo", "allowed-macs", f"{MAC}, {MAC2}"))
    assert switches.peer("wg1", A).options.allowed_macs == (MAC, MAC2)


def test_closing_a_link_leaves_its_peers_in(run: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    """NewPeers: those that are there are not new. They have options before the link is closed."""
    done(run("set", "wg1", "new-peers", "closed"))
    b = B.hex()[:4]
    assert hub.log == [f"set {b} [4, 5, 6, 7, 8, 9, 10, 11, 12]", "link [6]"]
    assert all(x.configured for x in Switches(FakeSocket(kernel)).peers("wg1"))
    hub.log.clear()
    done(run("set", "wg1", "new-peers", "closed", "ageing", "60"))
    assert hub.log == ["link [5, 6]"]


def test_who_changes_a_list_waits_for_his_turn(
    run: Run, hub: FakeSwitch, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that read the same AllowedMACs would write one of the two changes only."""
    path = record.folder() / "wg1.options.lock"
    free: list[tuple[int, bool]] = []
    answer = kernel.switches.handle

    def look(command: int, *rest: Any) -> list[bytes]:
        with record._locked(path, wait=False) as taken:
            free.append((command, taken))
        return answer(command, *rest)

    monkeypatch.setattr(kernel.switches, "handle", look)
    for words in (
        *("set wg1 peer oslo allowed-macs +" + MAC3, f"fdb add wg1 {MAC2} peer oslo"),
        f"fdb del wg1 {MAC2} peer oslo",
    ):
        free.clear()
        done(run(*words.split()))
        last = free.index((4, False))  # PEER_SET; what comes before it is what it builds on
        assert not free[last - 1][1], words
    done(run("set", "wg1", "ageing", "60"))


def test_a_peer_that_a_closed_link_shuts_out(run: Run, hub: FakeSwitch) -> None:
    done(run("set", "wg1", "peer", PEER_C, "endpoint", "192.0.2.1:5", "peer", PEER_C, "remove"))
    done(run("set", "wg1", "new-peers", "closed"))
    assert run("set", "wg1", "peer", PEER_C, "endpoint", "192.0.2.1:5", "peer", "oslo") == (
        0,
        "",
        f"l2wgctl: wg1: warning: peer {C} has no options, and NewPeers = closed: it can shake "
        "hands and nothing else (give it one, as max-macs 256, or write it into the link's file)\n",
    )
    done(run("set", "wg1", "peer", PEER_C, "max-macs", "256"))
    done(run("set", "wg1", "peer", PEER_C, "endpoint", "192.0.2.1:5", "peer", PEER_C, "remove"))


def test_a_word_given_twice(run: Run, wg: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    """Lists add up, as wg's do. Of a single value the last counts, as in wg."""
    twice = ["allowed-ips", "10.0.0.1/32", "allowed-ips", "10.0.0.2/32"]
    done(run("set", "wg1", "peer", PEER_A, *twice))
    done(wg("set", "wg1", "peer", PEER_B, *(x.replace("10.0.0", "10.0.1") for x in twice)))
    a, b = ([x[1][3] for x in kernel.devices["wg1"].peers[of].ips] for of in (A, B))
    assert sorted(a) == sorted(b) == [1, 2]
    words = ["allowed-macs", f"+{MAC2}", "peer", PEER_A, "allowed-macs", f"-{MAC},+{MAC3}"]
    done(run("set", "wg1", "peer", "oslo", *words, "guard", "ra", "guard", "dhcp"))
    options = Switches(FakeSocket(kernel)).peer("wg1", A).options
    assert options.allowed_macs == (MAC2, MAC3) and options.guards == ("dhcp", "ra")
    failed(
        run("set", "wg1", "peer", "oslo", "allowed-macs", MAC, "allowed-macs", f"+{MAC2}"),
        "set: allowed-macs is given with and without + or - (write one list)",
        2,
    )


def test_words_that_set_does_not_know(run: Run, hub: FakeSwitch) -> None:
    for word, meant in (
        *(("AllowedMACs", "allowed-macs"), ("host-mac", "host-macs"), ("Relay", "relay")),
        ("keepalive", "persistent-keepalive"),
    ):
        text = f"set: unknown word '{word}' (did you mean {meant}?)"
        failed(run("set", "wg1", "peer", "oslo", word, "x"), text, 2)
    assert "set: unknown word 'frob' (set IFACE" in run("set", "wg1", "frob", "x").err


def test_set_refuses_what_a_file_may_not_say(run: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    done(run("set", "wg1", "fwmark", "7", "peer", "oslo", "allowed-vlans", "20,30", "pvid", "20"))
    hub.log.clear()
    what = f"set: peer {A}: PVID 10 is not in AllowedVLANs: the peer's untagged frames are dropped"
    mend = "(add 10 to AllowedVLANs, or leave PVID out)"
    failed(run("set", "wg1", "peer", "oslo", "pvid", "10"), f"{what} {mend}", 2)
    for words in (["peer", "oslo", "mark", "7"], ["fwmark", "9", "peer", PEER_B, "mark", "9"]):
        result = run("set", "wg1", *words)
        assert result.status == 2 and "is the link's FwMark" in result.err
    assert hub.log == [] and kernel.devices["wg1"].fwmark == 7
    # what was so before is no obstacle
    hub.members[A].options[6] = struct.pack("=H", 9)
    done(run("set", "wg1", "peer", "oslo", "relay", "yes"))


def test_host_bits_of_the_host(run: Run, hub: FakeSwitch) -> None:
    assert run("set", "wg1", "host-addresses", "+10.0.0.1/24").err == (
        "l2wgctl: set: warning: host-addresses '10.0.0.1/24' has bits set beyond its prefix (no "
        "peer may use any address of 10.0.0.0/24; one alone is 10.0.0.1)\n"
    )


def test_set_of_plain_words_leaves_the_options(run: Run, hub: FakeSwitch) -> None:
    done(run("set", "wg1", "peer", "oslo", "persistent-keepalive", "5"))
    assert hub.log == []


def test_a_removed_peer_loses_its_options(run: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    done(run("set", "wg1", "peer", "oslo", "remove", "peer", PEER_B, "remove"))
    assert kernel.devices["wg1"].peers == {}
    assert hub.log == [f"del {A.hex()[:4]}"]


def test_options_for_a_key_that_is_no_peer_make_it_one(
    run: Run, hub: FakeSwitch, kernel: FakeKernel
) -> None:
    done(run("set", "wg1", "peer", PEER_C, "relay", "yes"))
    assert C in kernel.devices["wg1"].peers
    assert Switches(FakeSocket(kernel)).peer("wg1", C).options.relay


def test_what_is_wrong_with_set(run: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    result = run("set", "wg1", "peer", "oslo", "allowed-macs", "+01:00:00:00:00:01")
    assert "allowed-macs is a multicast address" in result.err and result.status == 2
    result = run("set", "wg1", "relay", "yes")
    assert "set: relay comes after a peer" in result.err
    result = run("set", "wg1", "peer", "oslo", "ageing", "60")
    assert "set: ageing comes before the first peer" in result.err
    kernel.add("wg2")
    result = run("set", "wg2", "peer", PEER_C, "relay", "yes")
    assert "wg2 is no switch" in result.err
    assert kernel.devices["wg2"].peers == {}


# -- events ----------------------------------------------------------------------------------------

# SPDX-License-Identifier: GPL-2.0
"""A switch by command: fdb, set, events of monitor, doctor; and how a peer may be named."""

from __future__ import annotations

import errno
import json
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2wgctl import happenings, monitor
from l2wgctl.conf import switch
from l2wgctl.doctor.switch import check_switch
from l2wgctl.errors import KernelError, in_its_words
from l2wgctl.grammar import FDB, SET_SWITCH, SET_SWITCH_PEER
from l2wgctl.model import AllowedIP, Device, Key, Peer
from l2wgctl.netlink import switch_events
from l2wgctl.netlink.link import Link
from l2wgctl.netlink.switch import Switches
from l2wgctl.switch import (
    PEER_DEFAULTS,
    SWITCH_DEFAULTS,
    Entry,
    Event,
    PeerState,
    SwitchState,
    handle,
)
from l2wgctl.updown import record
from tests.unit.ctl.conftest import PEER_A, PEER_B, PEER_C, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakePeer, FakeSocket
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.fakeswitch import FakeSwitch, attr, u32
from tests.unit.ctl.test_switch_conf import key

Run = Callable[..., Result]
Conf = Callable[..., Path]
MAC, MAC2, MAC3 = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
A, B, C = key(PEER_A), key(PEER_B), key(PEER_C)


@pytest.fixture
def hub(
    kernel: FakeKernel, links: FakeLinks, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeSwitch:
    """wg1 with A, whose Name is oslo, and B; MAC is bound to A, others were learned."""
    from l2wgctl import sockets

    monkeypatch.setattr(sockets, "if_nametoindex", lambda name: 7)
    kernel.add("wg1", kind="l2wgswitch")
    links.create("wg1", "l2wgswitch")
    for peer in (A, B):
        kernel.devices["wg1"].peers[peer] = FakePeer(peer)
    (etc / "wg1.conf").touch(mode=0o600)
    (etc / "wg1.conf").write_text(
        f"[Interface]\nSwitch = yes\n[Peer]\nName = oslo\nPublicKey = {PEER_A}\n"
    )
    made = kernel.switches.switches["wg1"]
    made.member(B)
    made.member(A).configured = True
    made.member(A).options[4] = struct.pack("=HH6sxx", 10, 1, bytes.fromhex("020000000001"))
    made.entries = [(MAC2, 0, A, 0, 12400), (MAC3, 7, B, 0, 61000), (MAC2, 7, None, 0, 0)]
    return made


def done(result: Result) -> None:
    assert result == (0, "", "")


def failed(result: Result, text: str, status: int = 1) -> None:
    assert result == (status, "", f"l2wgctl: {text}\n")


# -- fdb -------------------------------------------------------------------------------------------


def test_show(run: Run, hub: FakeSwitch) -> None:
    rows = [
        "mac                vlan  peer                                          state    age",
        "02:00:00:00:00:01  all   oslo                                          bound    -",
        "02:00:00:00:00:02  -     oslo                                          learned  12s",
        "02:00:00:00:00:02  7     (this host)                                   learned  0s",
        f"02:00:00:00:00:03  7     {PEER_B}  learned  1m 1s",
    ]
    text = "\n".join(rows) + "\n"
    assert run("fdb", "wg1") == (0, text, "")
    assert run("fdb", "show", "wg1") == (0, text, "")
    assert run("fdb").out == "link  " + "\nwg1   ".join(rows) + "\n"
    assert json.loads(run("fdb", "wg1", "--json").out) == {
        "links": [
            {
                "interface": "wg1",
                "entries": [
                    {
                        "mac": mac,
                        "vlan": vlan,
                        "peer": peer,
                        "name": "oslo" if peer == PEER_A else None,
                        "state": state,
                        "age": age,
                        "moves": None if age is None else 0,
                    }
                    for mac, vlan, peer, state, age in (
                        (MAC, None, PEER_A, "bound", None),
                        (MAC2, 0, PEER_A, "learned", 12.4),
                        (MAC2, 7, None, "learned", 0.0),
                        (MAC3, 7, PEER_B, "learned", 61.0),
                    )
                ],
            }
        ]
    }


def test_an_empty_table(run: Run, kernel: FakeKernel, links: FakeLinks) -> None:
    kernel.add("wg1", kind="l2wgswitch")
    done(run("fdb", "wg1"))
    done(run("fdb"))
    kernel.add("wg2")
    assert "wg2 is no switch" in run("fdb", "wg2").err


@pytest.mark.parametrize("name", ["oslo", PEER_A, PEER_A[:6], handle(A)])
def test_add_and_del(run: Run, hub: FakeSwitch, kernel: FakeKernel, name: str) -> None:
    done(run("fdb", "add", "wg1", "02-00-00-00-00-09", "peer", name))
    switches = Switches(FakeSocket(kernel))
    assert switches.peer("wg1", A).options.allowed_macs == (MAC, "02:00:00:00:00:09")
    done(run("fdb", "add", "wg1", MAC3, "peer", name, "vlan", "9"))
    assert Entry(MAC3, 9, A, "static") in switches.table("wg1")
    done(run("fdb", "del", "wg1", MAC3, "vlan", "9"))
    assert not [x for x in switches.table("wg1") if x.state == "static"]
    # without a VLAN: all of this MAC, bound or learned
    done(run("fdb", "del", "wg1", MAC))
    assert switches.peer("wg1", A).options.allowed_macs == ("02:00:00:00:00:09",)
    done(run("fdb", "del", "wg1", MAC2, "peer", name))
    assert [x.public_key for x in switches.table("wg1") if x.mac == MAC2] == [None]
    failed(
        run("fdb", "del", "wg1", MAC),
        f"fdb del: wg1: no entry for {MAC} (see 'l2wgctl fdb wg1')",
    )


def test_flush(run: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    switches = Switches(FakeSocket(kernel))
    done(run("fdb", "flush", "wg1", "peer", PEER_B[:5]))
    assert len(switches.table("wg1")) == 3
    done(run("fdb", "flush", "wg1", "mac", MAC2, "vlan", "7"))
    assert [(x.mac, x.vlan) for x in switches.table("wg1")] == [(MAC, None), (MAC2, 0)]
    done(run("fdb", "flush", "wg1"))
    assert [x.state for x in switches.table("wg1")] == ["bound"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["add"], f"fdb: add names no link ({FDB})"),
        (["add", "wg1"], f"fdb: add names no MAC address ({FDB})"),
        (
            ["add", "wg1", "x"],
            "fdb: MAC is not six bytes in hexadecimal: 'x' (write 02:00:00:00:00:01)",
        ),
        (
            ["add", "wg1", MAC],
            "fdb: add names no peer (peer KEY; for MACs of this host see HostMACs in l2wg.conf(5))",
        ),
        (["add", "wg1", MAC, "peer"], f"fdb: peer has no value ({FDB})"),
        (["flush", "wg1", "dev"], f"fdb: unknown word 'dev' ({FDB})"),
        (["show", "wg1", "peer", "x"], f"fdb: unknown word 'peer' ({FDB})"),
        (
            ["flush", "wg1", "vlan", "4095"],
            "fdb: vlan is not 0-4094: '4095' (0 is what has no tag)",
        ),
    ],
)
def test_usage(run: Run, words: list[str], text: str) -> None:
    failed(run("fdb", *words), text, 2)


# -- names of peers --------------------------------------------------------------------------------


def test_nobody_and_several_are_meant(run: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    other = Key(bytes([*A[:4], *bytes(28)]))
    kernel.devices["wg1"].peers[other] = FakePeer(other)
    failed(
        run("fdb", "flush", "wg1", "peer", PEER_A[:5]),
        f"fdb: peer '{PEER_A[:5]}' may be {A} and {other} (write more of the key)",
        2,
    )
    for text in (PEER_A[:3], "Oslo", "fe80::1", ""):
        failed(
            run("fdb", "flush", "wg1", "peer", text),
            "fdb: peer is not 32 bytes in base64, and no peer of wg1 has this name, handle or "
            "beginning (see 'l2wgctl show wg1')",
            2,
        )


def test_a_handle_in_other_spellings(run: Run, hub: FakeSwitch) -> None:
    whole = handle(A).replace("::", ":0:0:0:").upper()
    for text in (whole, handle(A)):
        done(run("fdb", "flush", "wg1", "peer", text))
    assert hub.log == [f"flush {A.hex()[:4]} None"] * 2
    for text in ("fe80::\udcff", "a:b", "02:00:00:00:00:01"):
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        assert run("fdb", "flush", "wg1", "peer", text).status == 2


def test_a_private_key_in_the_wrong_place_is_not_shown(run: Run, hub: FakeSwitch) -> None:
    assert PRIVATE[:-1] not in run("set", "wg1", "peer", PRIVATE[:-1], "relay", "yes").err


@pytest.mark.parametrize("name", ["wg\udcff", "wg1" * 6])
@pytest.mark.parametrize(
    "words",
    [
        *("show {}", "show {} dump", "showconf {}", "del {}", "monitor {} --count 1"),
        *("fdb {}", "fdb flush {}", "fdb add {} 02:00:00:00:00:09 peer " + PEER_A),
        *("set {} ageing 60", "set {} peer oslo relay yes", "set {} fwmark 7"),
    ],
)
def test_a_link_that_cannot_be(run: Run, hub: FakeSwitch, words: str, name: str) -> None:
    """A word of the command line need not be UTF-8, nor short."""
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    result = run(*words.format(name).split())
    assert result.status in (1, 2) and result.out == "" and result.err.count("\n") == 1
    assert name.encode(errors="backslashreplace").decode() in result.err
    assert "no such link" in result.err or "so long a name" in result.err or "peer is" in result.err


# -- set -------------------------------------------------------------------------------------------


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


def test_lines_of_events() -> None:
    names = {bytes(A): "oslo", bytes(C): "my own [x]"}
    for event, text in (
        (Event("learned", "wg1", C, None, MAC, 0), f"wg1 learned {MAC} peer='my own [x]'"),
        (Event("learned", "wg1", A, None, MAC, 0), f"wg1 learned {MAC} peer=oslo"),
        (
            Event("moved", "wg1", B, A, MAC, 7),
            f"wg1 moved {MAC} peer={PEER_B} vlan=7 from=oslo",
        ),
        (
            Event("damped", "wg1", B, None, MAC, 0),
            f"wg1 damped {MAC} peer={PEER_B} from='(this host)'",
        ),
        (
            Event("violation", "wg1", A, None, MAC, 0, "rx_ip_bound"),
            f"wg1 violation {MAC} peer=oslo counter=rx_ip_bound",
        ),
        (Event("session", "wg1", A, session="up"), "wg1 session up peer=oslo"),
        (Event("event-9", "wg1"), "wg1 event-9 - peer='(this host)'"),
        (Event("lost", "wg1"), "wg1 lost: events came faster than they were read"),
    ):
        assert happenings.line(event, names) == text


class FakeEvents:
    """Two events, then nothing."""

    def __init__(self) -> None:
        self.left = [
            Event("learned", "wg1", A, None, MAC2, 0),
            Event("violation", "wg1", B, None, MAC, 7, "rx_mac_bound"),
        ]

    def fileno(self) -> int:
        return 0

    def ready(self) -> list[Event]:
        found, self.left = self.left, []
        return found


def test_monitor_with_events(run: Run, hub: FakeSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    events = FakeEvents()
    nothing = FakeEvents()
    nothing.left.clear()
    monkeypatch.setattr(Switches, "events", lambda self, link: events)
    monkeypatch.setattr(Switches, "sessions", lambda self, link: nothing)
    ready: list[list[FakeEvents]] = [[events, nothing], []]
    monkeypatch.setattr(happenings, "select", lambda *_: (ready.pop(0), [], []))
    words = ("monitor", "wg1", "--events", "--count", "2", "--interval", "0.1")
    lines = run(*words).out.splitlines()
    assert [x.split()[1].partition("=")[0] for x in lines] == [
        *("peer", "peer", "learned", "violation", "peer", "peer")
    ]
    assert lines[2] == f"wg1 learned {MAC2} peer=oslo"
    events.left = FakeEvents().left
    ready += [[events], []]
    documents = [json.loads(x) for x in run(*words, "--json").out.splitlines()]
    page = (Path(__file__).resolve().parents[3] / "docs/l2wgctl-json.md").read_text()
    rows = re.findall(
        r"^\| (`.*?) \|", page.partition("With `--events`")[2].partition("\n## ")[0], re.M
    )
    assert set(documents[2]["event"]) == set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert documents[2]["event"] == {
        "interface": "wg1",
        "type": "violation",
        "peer": PEER_B,
        "name": None,
        "old_peer": None,
        "mac": MAC,
        "vlan": 7,
        "counter": "rx_mac_bound",
        "session": None,
    }


def test_monitor_of_what_is_no_switch(run: Run, kernel: FakeKernel) -> None:
    kernel.add("wg1")
    del kernel.families["l2wg"]
    assert run("monitor", "wg1", "--count", "1") == (0, "", "")
    assert "the kernel has no switches" in run("monitor", "wg1", "--events").err
    assert monitor._watch("wg1", True, False) is None


def test_events_of_a_wire_would_never_come(run: Run, kernel: FakeKernel) -> None:
    kernel.add("wg1")
    result = run("monitor", "wg1", "--events", "--count", "1")
    assert "wg1 is no switch" in result.err and result.status == 1
    assert monitor._watch("wg1", True, False) is None


class Flood:
    """A socket that has a new event whenever it is asked, and sometimes has lost some."""

    def __init__(self, *_: object) -> None:
        self.reads = 0

    def recv(self, size: int) -> bytes:
        self.reads += 1
        if self.reads == 2:
            raise OSError(errno.ENOBUFS, "")
        told = u32(1, 7) + attr(2, b"wg1\0") + u32(3, 0) + attr(6, bytes(6)) + attr(7, b"\0\0")
        body = struct.pack("=BBH", 8, 1, 0) + told
        return struct.pack("=IHHII", 16 + len(body), 33, 0, 0, 0) + body

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *_: 0


def test_a_flood_of_events_does_not_keep_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_events.sockets, "socket", Flood)
    monkeypatch.setattr(switch_events, "select", lambda *_: ([1], [], []))
    events = switch_events.Events(33, 1, "wg1")
    first = events.ready()
    assert [x.type for x in first] == ["learned", "lost", *["learned"] * (switch_events.READS - 2)]
    assert len(events.ready()) == switch_events.READS
    assert next(events).type == "learned"


# -- doctor ----------------------------------------------------------------------------------------


def state(**counters: int) -> SwitchState:
    return SwitchState("wg1", 7, SWITCH_DEFAULTS, 5, 2, 3, counters)


def peer(of: Key, session: str = "up", **counters: int) -> PeerState:
    return PeerState(
        "wg1", of, PEER_DEFAULTS, handle(of), True, True, 1, session, None, None, counters
    )


NO_PEERS = Device("wg1")


def findings(
    tmp_path: Path,
    sw: SwitchState,
    *peers: PeerState,
    table: tuple[Entry, ...] = (),
    device: Device = NO_PEERS,
    neighbours: tuple[tuple[str, str], ...] = (),
    sent: int = 0,
) -> list[tuple[str, str, str]]:
    link = Link("wg1", 7, "l2wgswitch", 1406, stats={"tx_packets": sent})
    found = check_switch(sw, peers, table, device, link, neighbours, tmp_path / "leases")
    return [(x.level, x.check, x.what) for x in found if x.level != "OK"]


def test_a_healthy_switch(tmp_path: Path) -> None:
    assert findings(tmp_path, state(tx_flood=5), peer(A), peer(B, relay_frames=9)) == []


def test_violations_name_peer_and_counter(tmp_path: Path) -> None:
    found = findings(tmp_path, state(), peer(A, rx_ip_bound=3, rx_move=2), peer(B, rx_vlan=1))
    assert found == [
        (
            "WARN",
            f"peer {A}",
            "sent 3 frames that claim an address that is bound to others (rx_ip_bound)",
        ),
        (
            "WARN",
            f"peer {B}",
            "sent 1 frames in a VLAN that it may not use, or hidden behind a tag with VID 0 "
            "(rx_vlan)",
        ),
    ]
    for counter in ("rx_bad_source", "rx_mac_bound", "rx_guard", "rx_mac_limit", "rx_closed"):
        (one,) = findings(tmp_path, state(), peer(A, "up", **{counter: 1}))
        assert f"({counter})" in one[2]
    assert len(findings(tmp_path, state(), peer(A, rx_move=5))) == 1


def test_loops(tmp_path: Path) -> None:
    (one,) = findings(tmp_path, state(rx_own_mac=1))
    assert one == (
        "WARN",
        "loop",
        "1 frames came from peers with this host's own MAC: there is a second way between two "
        "members",
    )
    (one,) = findings(tmp_path, state(rx_loop=3, tx_loop=2))
    assert one[1] == "loop" and "5 with a MAC that is on the other side, too" in one[2]
    assert findings(tmp_path, state(rx_loop=4)) == []
    (one,) = findings(tmp_path, state(rx_own_mac=9), peer(A, rx_own_mac=2), peer(B, rx_own_mac=7))
    assert f"this host's own MAC, most of them from peer {B}: there" in one[2]


def test_a_peer_with_a_mac_of_the_host(tmp_path: Path) -> None:
    macs = PEER_DEFAULTS._replace(allowed_macs=(MAC, MAC2, MAC3, "02:00:00:00:00:04"))
    sw = state()._replace(options=SWITCH_DEFAULTS._replace(host_macs=(MAC,)))
    link = Link("wg1", 7, "l2wgswitch", 1406, mac=MAC2)
    of = peer(A)._replace(options=macs)
    found = check_switch(sw, [of], (), NO_PEERS, link, (), tmp_path / "leases", MAC3)
    said = [x.what.split()[3] for x in found if x.level == "WARN" and x.check == f"peer {A}"]
    assert said == [f"{mac}," for mac in (MAC, MAC2, MAC3)]


def test_full_tables(tmp_path: Path) -> None:
    full = state()._replace(learned=8192, local=4096)
    assert [x[2] for x in findings(tmp_path, full)] == [
        "the table is full: 8192 MACs, MaxEntries 8192",
        "the table is full: 4096 MACs, MaxLocal 4096",
    ]


def test_a_peer_that_gets_no_arp(tmp_path: Path) -> None:
    (one,) = findings(tmp_path, state(), peer(A, "idle", tx_flood_no_session=7))
    assert one[2] == "got none of 7 broadcasts (ARP): it has neither session nor endpoint"
    assert findings(tmp_path, state(), peer(A, "up", tx_flood_no_session=7)) == []
    (one,) = findings(tmp_path, state(), peer(A, rx_no_relay=5))
    assert "neither has Relay" in one[2]


def test_flooding(tmp_path: Path) -> None:
    three = (peer(A), peer(B), peer(C))
    (one,) = findings(tmp_path, state(tx_flood=500, tx_unknown=400), *three, sent=1800)
    assert one[1] == "flooding" and "400 of them to a MAC that nobody" in one[2]
    assert findings(tmp_path, state(tx_flood=500), *three, sent=5000) == []
    assert findings(tmp_path, state(tx_flood=500), peer(A), peer(B), sent=10) == []


def test_a_host_that_is_mute(tmp_path: Path) -> None:
    def with_ips(of: Key, *ips: AllowedIP) -> Peer:
        return Peer(of, allowed_ips=ips)

    nets = AllowedIP(bytes([10, 0, 0, 8]), 29), AllowedIP(bytes(4), 0)
    device = Device("wg1", peers=(with_ips(A, AllowedIP(bytes(4), 0)), with_ips(B, *nets)))
    table = (Entry(MAC, 0, A, "learned", 1, 0), Entry(MAC2, 0, B, "learned", 1, 0))
    text = (
        "FAIL",
        f"peer {A}",
        f"is mute with {MAC}: it has the address 10.0.0.9, which is bound to peer {B}",
    )

    def said(
        *pairs: tuple[str, str], sw: SwitchState | None = None, pvid: int = 0
    ) -> list[tuple[str, str, str]]:
        b = peer(B)._replace(options=PEER_DEFAULTS._replace(pvid=pvid))
        return findings(
            tmp_path, sw or state(), peer(A), b, table=table, device=device, neighbours=pairs
        )

    assert said(("10.0.0.9", MAC)) == [text]
    assert said(("10.0.0.9", MAC2), ("10.0.0.1", MAC), ("fd00::1", MAC)) == []
    # bound in the VLAN of B's PVID, and A's station is in another one
    assert said(("10.0.0.9", MAC), pvid=7) == []
    # the longest prefix counts, and the host's come first
    wide = AllowedIP(bytes([10, 0, 0, 0]), 8)
    device = Device("wg1", peers=(with_ips(A, wide), with_ips(B, *nets)))
    assert said(("10.0.0.9", MAC)) == [text]
    assert said(("10.7.0.9", MAC)) == []
    own = state()._replace(options=SWITCH_DEFAULTS._replace(host_addresses=("10.7.0.0/16",)))
    (found,) = said(("10.7.0.9", MAC), sw=own)
    assert found[2] == (
        f"is mute with {MAC}: it has the address 10.7.0.9, which is bound to this host by "
        "10.7.0.0/16"
    )
    (tmp_path / "leases").write_text(f"1795000000 {MAC} 10.0.0.9 host *\nduid 00:01\n")
    assert said() == [text]


def test_doctor_looks_at_the_switch(run: Run, hub: FakeSwitch, links: FakeLinks) -> None:
    hub.members[A].counters = {5: 3}
    out = run("doctor", "wg1").out
    assert "oslo" in next(x for x in out.splitlines() if "sent 3 frames that claim" in x)
    assert "OK   switch: wg1 has learned 3 MACs from 2 peers" in out
    assert "has no AllowedIPs" not in out and "0.0.0.0" not in out
    # the AllowedMACs of oslo, and B, which the file does not have
    assert "is not what" in out and "2 differences" in out


def test_errors_of_the_kernel_are_one_line(run: Run, hub: FakeSwitch, kernel: FakeKernel) -> None:
    kernel.switches.refuse_mac = MAC3
    failed(
        run("fdb", "add", "wg1", MAC3, "peer", "oslo"),
        f"set peer {A}: wg1: The address must be unicast and not zero",
    )
    # EADDRINUSE of a switch is no port in use, EEXIST no name.
    for number, why in (
        (errno.EADDRINUSE, "the address is the host's own"),
        (errno.EEXIST, "the address is bound to others"),
        (errno.ENOTUNIQ, "peers a and b have the same handle"),
    ):
        kernel.switches.refuse_static = (number, why)
        failed(run("fdb", "add", "wg1", MAC3, "peer", "oslo", "vlan", "3"), f"fdb add: wg1: {why}")
    with pytest.raises(KernelError):
        Switches(FakeSocket(kernel)).flush("wg1", key=C)


def test_the_policy_of_a_name_explains_nothing() -> None:
    said = in_its_words(
        errno.EINVAL, "w" * 16, "show the table", "Attribute failed policy validation"
    )
    assert "no link has so long a name" in str(said)
    assert "reason" in str(in_its_words(errno.EINVAL, "wg1", "show the table", "a reason"))

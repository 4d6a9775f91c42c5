# SPDX-License-Identifier: GPL-2.0
"""l2wgctl fdb; and how a peer may be named."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl.errors import KernelError, in_its_words
from l2wgctl.grammar import FDB
from l2wgctl.model import Key
from l2wgctl.netlink.switch import Switches
from l2wgctl.switch import (
    Entry,
    handle,
)
from tests.unit.ctl.conftest import PEER_A, PEER_B, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakePeer, FakeSocket
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.fakeswitch import FakeSwitch
from tests.unit.ctl.switch.hubs import (
    MAC,
    MAC2,
    MAC3,
    A,
    C,
    done,
    failed,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


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

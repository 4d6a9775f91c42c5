# SPDX-License-Identifier: GPL-2.0
"""A switch's file: its keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl.conf import switch
from l2wgctl.conf.keys import INTERFACE, PEER
from l2wgctl.switch import (
    SWITCH_DEFAULTS,
    SwitchConfig,
    SwitchOptions,
)
from tests.unit.ctl.conftest import PEER_A, PEER_B, Result
from tests.unit.ctl.switch.hubs import (
    A_OPTIONS,
    HUB,
    MAC,
    config,
    errors,
    key,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


def test_every_key() -> None:
    found = config()
    assert found.link.switch and found.link.kind == "l2wgswitch" and found.link.ethernet
    assert found.switch == SwitchConfig(
        SwitchOptions(100, 50, 60, "open", ("02:00:00:00:00:0a",), ("10.9.0.0/24", "fd09::1/128")),
        {key(PEER_A): A_OPTIONS},
    )


def test_the_host_has_its_addresses_too() -> None:
    found = config(HUB + "\n").switch
    assert found is not None
    assert switch.wanted_link(config(), found).host_addresses == (
        *("10.0.0.1/32", "fd00::1/128"),
        *("10.9.0.0/24", "fd09::1/128"),
    )
    bridged = config(
        "[Interface]\nSwitch = yes\nBridge = br0\nBridgeAddress = 10.1.0.1/24\nHostAddresses =\n"
    )
    assert bridged.switch is not None
    wanted = switch.wanted_link(bridged, bridged.switch)
    assert wanted == SWITCH_DEFAULTS._replace(host_addresses=("10.1.0.1/32",))


def test_kind_and_switch() -> None:
    assert config("[Interface]\nKind = l2wgswitch\n").switch is not None
    assert config("[Interface]\nKind = l2wgswitch\nSwitch = yes\n").link.switch
    assert config("[Interface]\nSwitch = no\n").switch is None
    assert errors("[Interface]\nSwitch = yes\nKind = wireguard\n") == [
        "2:1: Switch = yes and Kind = wireguard exclude each other (keep one of them)"
    ]
    assert errors("[Interface]\nKind = l2wgswitch\nSwitch = no\n") == [
        "3:1: Switch = no and Kind = l2wgswitch exclude each other (keep one of them)"
    ]


def test_a_key_that_only_a_switch_has() -> None:
    values = {"AllowedMACs": MAC, "Guard": "ra", "NewPeers": "closed", "HostMACs": MAC}
    values |= {"HostAddresses": "10.0.0.1", "Relay": "yes", "Isolated": "yes", "Router": "no"}
    for keys in (INTERFACE, PEER):
        for one in keys:
            if not one.switch:
                continue
            line = f"{one.name} = {values.get(one.name, '20')}\n"
            if keys is INTERFACE:
                text = f"[Interface]\n{line}"
            else:
                text = f"[Peer]\n{line}PublicKey = {PEER_A}\n"
            mend = "(add Switch = yes to [Interface])"
            assert errors(text) == [f"2:1: {one.name} needs a switch {mend}"]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("Ageing = 9", "is not 10-1000000 seconds: '9' (300 is the default)"),
        ("MaxEntries = 0", "is not 1-1048576: '0'"),
        ("MaxLocal = 1048577", "is not 1-1048576: '1048577'"),
        ("NewPeers = shut", "is neither open nor closed: 'shut'"),
        ("HostMACs = 01:00:00:00:00:01", "is a multicast address: '01:00:00:00:00:01' "
         "(the first byte must be even)"),
        ("HostAddresses = fe80::/64", "'fe80::/64' would bind everybody's link-local address "
         "(write the host's own addresses)"),
        ("HostAddresses = 0.0.0.0/0", "'0.0.0.0/0' would bind every address (write the host's own "
         "addresses)"),
    ],
)  # fmt: skip
def test_wrong_values_of_the_link(line: str, wrong: str) -> None:
    name = line.partition(" ")[0]
    (found,) = errors(f"[Interface]\nSwitch = yes\n{line}\n")
    assert found.partition(" ")[2] == f"{name} {wrong}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("MaxMACs = x", "is not 0-1048576: 'x' (0: those of AllowedMACs alone)"),
        ("PVID = 0", "is neither off nor a VLAN id 1-4094: '0'"),
        ("AllowedVLANs = 1, 30-20", "ends before it begins: '30-20' (write 20-30)"),
        ("AllowedVLANs = 4095", "is not a VLAN 0-4094: '4095' (write 20, 20-29 for a range, 0 for "
         "no tag, or all)"),
        ("Relay = maybe", "is neither yes nor no: 'maybe'"),
        ("Guard = ra, nd", "is none of dhcp, ra, stp: 'nd'"),
        ("Mark = -1", "is neither off nor 0-0xffffffff: '-1'"),
    ],
)  # fmt: skip
def test_wrong_values_of_a_peer(line: str, wrong: str) -> None:
    name = line.partition(" ")[0]
    (found,) = errors(f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\n{line}\n")
    assert found.partition(" ")[2] == f"{name} {wrong}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("AllowedMACs = 0200.0000.0001", "is not six bytes in hexadecimal: '0200.0000.0001' (write "
         "02:00:00:00:00:01)"),
        ("AllowedMACs = 02:00:00:00:00:01 02:00:00:00:00:02", "is not six bytes in hexadecimal: "
         "'02:00:00:00:00:01 02:00:00:00:00:02' (put commas between them)"),
        ("AllowedVLANs = 10 20-30", "is not a VLAN 0-4094: '10 20-30' (put commas between them)"),
        ("Guard = dhcp ra", "is none of dhcp, ra, stp: 'dhcp ra' (put commas between them)"),
        ("AllowedIPs = 10.0.0.1 10.0.0.2", "is not an IPv4 or IPv6 network: '10.0.0.1 10.0.0.2' "
         "(put commas between them)"),
        ('Name = "oslo"', 'is in quotes: "oslo" (leave out the quotes)'),
        (f"Name = {PEER_B}", "is a key, which has a line of its own (Name is for people: oslo)"),
    ],
)  # fmt: skip
def test_usual_slips(line: str, wrong: str) -> None:
    name = line.partition(" ")[0]
    (found,) = errors(f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\n{line}\n")
    assert found.partition(" ")[2] == f"{name} {wrong}"


def test_a_files_escapes_do_not_reach_the_terminal(run: Run, conf: Conf) -> None:
    wrong = "\x1b[2J\x9b31m\u202e"
    text = f"[Interface]\nSwitch = yes\n{wrong} = 1\n[{wrong}]\n[Peer]\nPublicKey = {PEER_A}\n"
    result = run("check", conf(f"{text}AllowedMACs = {wrong}\nName = {wrong}\n"))
    assert result.status == 1 and result.err.count("\n") == 4
    assert result.err.count(r"\x1b[2J\x9b31m\u202e") == 3
    assert result.err.replace("\n", "").isprintable()


def test_macs_as_people_write_them() -> None:
    text = f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\n"
    found = config(text + "AllowedMACs = 02-AA-00-00-00-01, 02:aa:00:00:00:01,, # one\n").switch
    assert found is not None and found.peers[key(PEER_A)].allowed_macs == ("02:aa:00:00:00:01",)


def test_all_vlans() -> None:
    text = f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\nAllowedVLANs = all\n"
    found = config(text).switch
    assert found is not None and found.peers[key(PEER_A)].allowed_vlans == ((0, 4094),)
    assert switch.vlans_text(((0, 4094),)) == "all"
    assert switch.vlans_text(((0, 0), (10, 21), (30, 30))) == "0, 10-21, 30"

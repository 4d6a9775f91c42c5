# SPDX-License-Identifier: GPL-2.0
"""What the tests of a switch share: a hub's file, its parts, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2wgctl.conf import check
from l2wgctl.conf.parse import Config, parse
from l2wgctl.errors import ConfigError
from l2wgctl.model import Key
from l2wgctl.netlink.switch import Switches
from l2wgctl.switch import (
    PeerOptions,
)
from tests.unit.ctl.conftest import PEER_A, PEER_B, PEER_C, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakeSocket

MAC, MAC2, MAC3 = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"

#: The beginning of a switch's file, and two peers.
HEAD = f"[Interface]\nPrivateKey = {PRIVATE}\nSwitch = yes\n"
PEER_OF_A = f"[Peer]\nPublicKey = {PEER_A}\nEndpoint = 192.0.2.1:5\n"
PEER_OF_B = f"[Peer]\nPublicKey = {PEER_B}\nEndpoint = 192.0.2.2:5\n"

HUB = f"""[Interface]
PrivateKey = {PRIVATE}
Switch = yes
Ageing = 60
MaxEntries = 100
MaxLocal = 50
NewPeers = open
HostMACs = 02:00:00:00:00:0A
HostAddresses = 10.9.0.0/24, fd09::1
MTU = 1402
Address = 10.0.0.1/24, fd00::1/64

[Peer]
PublicKey = {PEER_A}
AllowedMACs = {MAC}
AllowedMACs = {MAC2}, {MAC}
MaxMACs = 3
AllowedVLANs = 30, 10-20, 0, 21
PVID = 10
Relay = yes
Isolated = off
Router = on
Guard = stp, dhcp
Mark = 0x7

[Peer]
PublicKey = {PEER_B}
"""
#: What HUB says of A.
A_OPTIONS = PeerOptions(
    (MAC, MAC2), 3, ((0, 0), (10, 21), (30, 30)), 10, True, False, True, ("dhcp", "stp"), 7
)


def key(text: str) -> Key:
    from l2wgctl.conf.values import public_key

    return public_key(text)


def config(text: str = HUB) -> Config:
    return parse(text, "wg1.conf")


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "wg1.conf")
    return [str(problem).removeprefix("wg1.conf:") for problem in caught.value.problems]


def said(text: str, folder: Path) -> list[str]:
    """Errors and warnings of `check`, without the file's path."""
    path = folder / "wg1.conf"
    path.write_text(text)
    problems, warnings = check.examine(text, str(path))
    return [str(x).removeprefix(f"{path}:") for x in (*problems, *warnings)]


def asked(kernel: FakeKernel) -> Switches:
    return Switches(FakeSocket(kernel))


def done(result: Result) -> None:
    assert result == (0, "", "")


def failed(result: Result, text: str, status: int = 1) -> None:
    assert result == (status, "", f"l2wgctl: {text}\n")


# -- fdb -------------------------------------------------------------------------------------------


A, B, C = key(PEER_A), key(PEER_B), key(PEER_C)

# SPDX-License-Identifier: GPL-2.0
"""What check says of a switch's file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.ctl.conftest import Result
from tests.unit.ctl.switch.hubs import (
    HEAD,
    MAC,
    PEER_OF_A,
    PEER_OF_B,
    said,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


def test_a_good_hub(tmp_path: Path) -> None:
    strict = f"AllowedMACs = {MAC}\nMaxMACs = 0\nAllowedIPs = 10.0.0.2/32\nRelay = yes\n"
    assert said(HEAD + PEER_OF_A + strict + PEER_OF_B, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            HEAD + PEER_OF_A + "AllowedIPs = 0.0.0.0/0, ::/0\n" + PEER_OF_B + "AllowedIPs = ::/0\n",
            [
                "4:1: warning: AllowedIPs 0.0.0.0/0 binds nothing: on a switch, MAC addresses pick "
                "the peer (write the addresses that this peer alone may use, or leave AllowedIPs "
                "out)",
                "8:1: warning: AllowedIPs ::/0 is also given to the peer of line 4 (the later peer "
                "gets it; give it to one of them)",
            ],
        ),
        (
            f"{HEAD}{PEER_OF_A}AllowedMACs = {MAC}\n{PEER_OF_B}AllowedMACs = {MAC}\n",
            [
                f"8:1: warning: AllowedMACs {MAC} is also given to the peer of line 4 (both may "
                "use it, as for VRRP and CARP; else give it to one of them)"
            ],
        ),
        (
            HEAD
            + PEER_OF_A
            + "PVID = 10\nAllowedVLANs = 20-30\nMTU = 1\n".replace("MTU = 1\n", ""),
            [
                "4:1: PVID 10 is not in AllowedVLANs: the peer's untagged frames are dropped (add "
                "10 to AllowedVLANs, or leave PVID out)",
                "4:1: warning: a frame of more than 1402 bytes of a peer with PVID does not fit a "
                "trunk (MTU = 1402 in the peer's file, and here)",
            ],
        ),
        (
            HEAD + PEER_OF_A + "PVID = 10\n" + PEER_OF_B + "AllowedVLANs = 0, 10\n",
            [
                "4:1: warning: a frame of more than 1402 bytes of a peer with PVID does not fit a "
                "trunk (MTU = 1402 in the peer's file, and here)"
            ],
        ),
        (
            HEAD
            + "MTU = 1402\n"
            + PEER_OF_A
            + "PVID = 10\n"
            + PEER_OF_B
            + "AllowedVLANs = 0, 10\n",
            [],
        ),
        (HEAD + PEER_OF_A + "PVID = 10\n" + PEER_OF_B + "PVID = 11\n", []),
        (
            HEAD + "FwMark = 7\n" + PEER_OF_A + "Mark = 0x7\n",
            [
                "5:1: Mark 0x7 is the link's FwMark: what the peer sends would be taken for the "
                "link's own outer packets (choose another Mark)"
            ],
        ),
        (
            HEAD + PEER_OF_A + "MaxMACs = 0\n",
            [
                "4:1: warning: MaxMACs = 0 without AllowedMACs: all that the peer sends is dropped "
                "(list its MACs in AllowedMACs)"
            ],
        ),
        (
            f"{HEAD}MACAddress = {MAC}\n{PEER_OF_A}AllowedMACs = {MAC}\n",
            [
                f"5:1: warning: AllowedMACs {MAC} is this link's own MACAddress (no peer may use "
                "it: leave it out)"
            ],
        ),
        (
            f"{HEAD}HostMACs = {MAC}\n{PEER_OF_A}AllowedMACs = {MAC}\n",
            [
                f"5:1: warning: AllowedMACs {MAC} is this host's, by HostMACs (no peer may use it: "
                "leave it out)"
            ],
        ),
        (
            HEAD
            + "Address = 10.1.0.1/24, fd00::1/64\nHostAddresses = 10.2.0.1/24, fe80::1\n"
            + PEER_OF_A
            + "AllowedIPs = 10.1.0.1/32, 10.1.0.0/24, 10.2.0.7/32, fd00::1/128, fd00::2/128\n",
            [
                "5:17: warning: HostAddresses '10.2.0.1/24' has bits set beyond its prefix (no "
                "peer may use any address of 10.2.0.0/24; one alone is 10.2.0.1)",
                "6:1: warning: AllowedIPs 10.1.0.1/32 is this host's own, by its address "
                "10.1.0.1/32 (no peer may use it: leave it out there, or here)",
                "6:1: warning: AllowedIPs 10.2.0.7/32 is this host's own, by HostAddresses "
                "10.2.0.0/24 (no peer may use it: leave it out there, or here)",
                "6:1: warning: AllowedIPs fd00::1/128 is this host's own, by its address "
                "fd00::1/128 (no peer may use it: leave it out there, or here)",
            ],
        ),
        (
            HEAD + "VLANs = 10, 20\nVLAN10.Address = 10.1.0.1/24, fd00::1/64\n"
            "HostAddresses = fd00::1\n" + PEER_OF_A,
            [
                "5:1: warning: VLAN10.Address 10.1.0.1/24 can be claimed by every peer in this "
                "VLAN (HostAddresses = 10.1.0.1, which holds in all VLANs)"
            ],
        ),
        (
            HEAD + PEER_OF_A.replace("Endpoint = 192.0.2.1:5\n", ""),
            [
                "4:1: warning: 1 peer has no Endpoint, and cannot be reached before having spoken "
                "(PersistentKeepalive = 25 in its own file, or Endpoint here)"
            ],
        ),
        (
            HEAD.replace("Switch = yes\n", "MACAddress = 02:00:00:00:00:07\n")
            + PEER_OF_A
            + "AllowedIPs = 0.0.0.0/0, ::/0\n"
            + PEER_OF_B
            + "AllowedIPs = 10.0.0.2/32\n",
            [
                "8:1: warning: ARP and broadcasts of this link reach one of its 2 peers (Switch = "
                "yes makes one Ethernet of them all)"
            ],
        ),
        (
            HEAD + "HostAddresses = " + ", ".join(f"10.0.0.{n}" for n in range(65)) + "\n",
            [
                "4:1: HostAddresses has 65 items with those of Address and BridgeAddress, and a "
                "switch takes 64 (leave some out)"
            ],
        ),
    ],
)
def test_what_check_says(text: str, wrong: list[str], tmp_path: Path) -> None:
    assert said(text, tmp_path) == wrong


def test_two_hubs_of_the_same_spokes(tmp_path: Path) -> None:
    text = HEAD + PEER_OF_A + "Relay = yes\n" + PEER_OF_B
    (tmp_path / "wg0.conf").write_text(HEAD + PEER_OF_B + "Relay = yes\n")
    (tmp_path / "broken.conf").write_text("[Nothing]\n")
    assert said(text, tmp_path) == []
    (tmp_path / "wg2.conf").write_text(text)
    assert said(text, tmp_path) == [
        "4:1: warning: wg2.conf relays for this peer, too: two hubs of one spoke are a loop (a "
        "spoke belongs to one hub: take Relay out of one file)"
    ]

# SPDX-License-Identifier: GPL-2.0
"""Two machines with two kernels understand each other: ping, VLAN, bridge."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from toolkit.guest.agent import ADDRESSES, Peer
from toolkit.guest.hosts import MACS, Host, cable, capture

OUTER = {4: (f"{ADDRESSES[0]}:51820", f"{ADDRESSES[1]}:51820")}


def headers(pcap: Path) -> list[bytes]:
    """The first 22 bytes of each packet of a capture."""
    data, at, found = pcap.read_bytes(), 24, []
    while at < len(data):
        (length,) = struct.unpack_from("=I", data, at + 8)
        found.append(data[at + 16 : at + 16 + length][:22])
        at += 16 + length
    return found


def test_they_are_two_machines_with_two_kernels(peer: Peer) -> None:
    mine, theirs = os.uname().release, peer.sh("uname", "-r").strip()
    assert mine != theirs
    boot = "/proc/sys/kernel/random/boot_id"
    assert Path(boot).read_text() != peer.sh("cat", boot)
    for shell_output in (Path("/proc/modules").read_text(), peer.sh("cat", "/proc/modules")):
        assert "l2wireguard " in shell_output and "\nwireguard " not in shell_output


def test_ping_with_arp_both_ways(pair: list[Host]) -> None:
    a, b = pair
    with capture(a, "wg1", "arp") as file:
        a.ping("192.168.157.2")
    assert headers(file)[0][:6] == b"\xff" * 6
    b.ping("192.168.157.1")
    assert MACS[1] in a.run("ip", "neighbour", "show", "192.168.157.2")
    assert MACS[0] in b.run("ip", "neighbour", "show", "192.168.157.1")
    # each has had the other's handshake and traffic
    for host in pair:
        latest = host.run("wg", "show", "wg1", "latest-handshakes").split()[-1]
        received = host.run("wg", "show", "wg1", "transfer").split()[1]
        assert int(latest) > 0 and int(received) > 500


@pytest.mark.parametrize("size", [1, 1378])
def test_small_and_full_frames(pair: list[Host], size: int) -> None:
    a, b = pair
    a.ping("192.168.157.2", "-s", str(size), "-M", "do")
    b.ping("192.168.157.1", "-s", str(size), "-M", "do")


def test_vlan_and_vlan_in_vlan(pair: list[Host]) -> None:
    a, b = pair
    for host, last in ((a, 1), (b, 2)):
        host.ip(
            "link add link wg1 name wg1.128 type vlan id 128",
            "link set wg1.128 up",
            f"address add 192.168.158.{last}/24 dev wg1.128",
            "link add link wg1.128 name wg1.127 type vlan id 127",
            "link set wg1.127 up",
            f"address add 192.168.159.{last}/24 dev wg1.127",
        )
    with capture(a, "wg1", options="-Q in") as file:
        a.ping("192.168.158.2")
        b.ping("192.168.158.1")
    assert any(h[12:18] == bytes.fromhex("810000800800") for h in headers(file))
    with capture(a, "wg1", options="-Q in") as file:
        a.ping("192.168.159.2")
        b.ping("192.168.159.1")
    assert any(h[12:22] == bytes.fromhex("810000808100007f0800") for h in headers(file))


@pytest.mark.parametrize("where", [0, 1])
def test_a_bridge_on_either_machine(pair: list[Host], where: int) -> None:
    """A third host on an Ethernet segment of one machine, reached from the other.

      C                       near                         far
    +--------------------+  +------+-----+-----+      +-----------+
    | eth0 192.168.157.3 |--| seg0 | br0 | wg1 |======| wg1       |
    +--------------------+  +------+-----+-----+      |           |
                            |         eth0     |------| eth0      |
                            +------------------+      +-----------+
    """
    near, far = pair[where], pair[1 - where]
    mine, other = where + 1, 2 - where
    third = Host("C", sh=near.sh).create()
    cable(near, third, "seg0", "eth0")
    near.ip(
        "link add br0 type bridge stp_state 0 forward_delay 0",
        f"address delete 192.168.157.{mine}/24 dev wg1",
        "link set wg1 master br0",
        "link set seg0 master br0",
        "link set br0 up",
        f"address add 192.168.157.{mine}/24 dev br0",
    )
    third.ip("address add 192.168.157.3/24 dev eth0")
    far.ping(f"192.168.157.{mine}")
    far.ping("192.168.157.3")
    third.ping(f"192.168.157.{other}")
    known = json.loads(near.run("bridge", "-j", "fdb", "show", "br", "br0"))
    assert any(e["mac"] == MACS[other - 1] and e["ifname"] == "wg1" for e in known)

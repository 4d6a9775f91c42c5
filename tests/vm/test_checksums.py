# SPDX-License-Identifier: GPL-2.0
"""Damaged segments stay damaged: nobody sums them anew on their way through B to C.

    A --- wg1 --- B --- C

A stands for the LAN behind it, in which eight segments of a TCP stream were damaged.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest

from tests.vm import wire
from toolkit.guest import hosts as guest
from toolkit.guest.hosts import Host, cable, capture, eventually, underlay

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]
PORT = 9000


def segments(to: str, ttl: int = 64, *, wrong: int = 0x0101, tag: bytes = b"") -> list[bytes]:
    """Eight TCP segments to that IP address, in a row, that GRO would merge.

    :param wrong: is added to each TCP checksum; 0 for right ones.
    """
    mac = bytes.fromhex("02cafef00e05")
    ends = socket.inet_aton("192.168.157.1") + socket.inet_aton(to)
    frames = []
    for n in range(8):
        data = bytes([n + 1]) * 1000
        tcp = struct.pack("!HHIIBBHHH", 5000, PORT, 1 + n * 1000, 1, 5 << 4, 0x10, 500, 0, 0) + data
        total = wire.internet_checksum(ends + struct.pack("!HH", 6, len(tcp)) + tcp)
        tcp = tcp[:16] + struct.pack("!H", (total + wrong) & 0xFFFF) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), n, 0x4000, ttl, 6, 0) + ends
        frame = bytearray(mac + wire.A + b"\x08\0" + ip + tcp)
        wire.checksum(frame)
        frames.append(bytes(frame[:12]) + tag + bytes(frame[12:]))
    return frames


def cables(hosts: Hosts) -> list[Host]:
    """A, B and C; B's way to C and C's end offer no help with checksums or segments."""
    a, b, c = hosts("A", "B", "C")
    underlay(a, b)
    guest.tunnel(a, b, addresses=False)
    cable(b, c, "eth1", "eth0")
    for host, link in ((b, "eth1"), (c, "eth0")):
        host.run("ethtool", "-K", link, *"tx off rx off gro off gso off tso off sg off".split())
        host.run("sysctl", "-q", "-w", f"net.ipv6.conf.{link}.disable_ipv6=1")
    for host in (a, b):
        host.run("sysctl", "-q", "-w", "net.ipv6.conf.wg1.disable_ipv6=1")
    # what GRO holds it holds for 0.1 s, so that it merges what does not come in one poll, too
    b.run("sh", "-c", "echo 100000000 >/sys/class/net/wg1/gro_flush_timeout")
    return [a, b, c]


def through(a: Host, c: Host, sent: list[bytes]) -> list[bytes]:
    """What of TCP arrives at C. Several times, since GRO merges only what comes close together."""
    with capture(c, "eth0", "tcp and greater 1000", frames=5 * len(sent)) as file:
        for _ in range(5):
            wire.send(a, "wg1", *sent)
    return wire.read(file)


def bridge(b: Host, *ports: str) -> None:
    b.ip("link add br1 type bridge forward_delay 0 mcast_snooping 0", "link set br1 up")
    for port in ports:
        b.ip(f"link set {port} master br1")


@pytest.mark.parametrize("wrong", [0x0101, 0], ids=["damaged", "right"])
@pytest.mark.parametrize("tagged", [False, True], ids=["bridge", "bridge of a vlan device"])
def test_through_a_bridge(hosts: Hosts, tagged: bool, wrong: int) -> None:
    a, b, c = cables(hosts)
    port = "wg1"
    if tagged:
        port = "wg1.7"
        b.ip("link add link wg1 name wg1.7 type vlan id 7", "link set wg1.7 up")
    bridge(b, port, "eth1")
    expected = segments("192.168.157.3", wrong=wrong)
    sent = segments("192.168.157.3", wrong=wrong, tag=b"\x81\0\0\7" if tagged else b"")
    wire.differ(expected * 5, through(a, c, sent), "at C")


def test_forwarded(hosts: Hosts) -> None:
    a, b, c = cables(hosts)
    b.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.conf.wg1.rp_filter=0")
    b.ip("link set wg1 address 02:ca:fe:f0:0e:05", "address add 192.168.158.1/24 dev eth1")
    b.run("ip", "neighbour", "replace", "192.168.158.3", "lladdr", str(c.link("eth0")["address"]),
          "nud", "permanent", "dev", "eth1")  # fmt: skip
    b.run("sysctl", "-q", "-w", "net.ipv4.conf.all.rp_filter=0")
    arrived = through(a, c, segments("192.168.158.3"))
    wire.differ([f[14:] for f in segments("192.168.158.3", ttl=63)] * 5, [f[14:] for f in arrived],
                "at C")  # fmt: skip


def test_taken_away_by_a_macvlan(hosts: Hosts) -> None:
    a, b, c = cables(hosts)
    b.ip("link add mv0 link wg1 type macvlan mode passthru", "link set mv0 up")
    bridge(b, "mv0", "eth1")
    sent = segments("192.168.157.3")
    wire.differ(sent * 5, through(a, c, sent), "at C")


@pytest.mark.parametrize("receive", ["on", "off"])
def test_at_the_end_as_the_user_wants(hosts: Hosts, receive: str) -> None:
    """Believed, as WireGuard does; with `ethtool -K wg1 rx off` verified, as on any card."""
    a, b = hosts("A", "B")
    underlay(a, b)
    guest.tunnel(a, b)
    a.ping("192.168.157.2")
    wire.still(a, b)
    assert "large-receive-offload: on" in b.run("ethtool", "-k", "wg1")
    b.run("ethtool", "-K", "wg1", "rx", receive)

    def wrong() -> int:
        return int(b.run("nstat", "-asz", "TcpInCsumErrors").split()[-2])

    sent = segments("192.168.157.2")
    before, packets = wrong(), b.stat("wg1", "rx_packets")
    wire.send(a, "wg1", *sent)
    eventually(lambda: b.stat("wg1", "rx_packets") - packets >= len(sent), "all arrive")
    if receive == "off":
        eventually(lambda: wrong() - before == len(sent), "all are refused")
    else:
        a.ping("192.168.157.2")  # behind them
        assert wrong() == before


def test_a_bridge_turns_the_belief_off_and_the_user_on_again(hosts: Hosts) -> None:
    (host,) = hosts("H")
    host.ip("link add wg1 type l2wireguard", "link add br1 type bridge")

    def believed() -> bool:
        return "large-receive-offload: on" in host.run("ethtool", "-k", "wg1")

    assert believed()
    host.ip("link set wg1 master br1")
    assert not believed()
    host.ip("link set wg1 nomaster")
    host.run("ethtool", "-K", "wg1", "lro", "on")
    assert believed()
    host.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    assert not believed()

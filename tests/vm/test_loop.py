# SPDX-License-Identifier: GPL-2.0
"""The underlay in the same bridge as the tunnel, as at home: outer packets that come back to it.

        A                             B
        br0  10.0.0.1                 wg1
       /   \\                           |
    wg1     eth0 ------------------- eth0  10.0.0.2

A's bridge never learns where B is, so it floods what it sends to B, into wg1, too.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vm import wire
from toolkit.guest import hosts as guest
from toolkit.guest.hosts import Host, cable, capture, eventually, underlay

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]
HOME = {4: "10.0.0.1/24", 6: "fd00:0::1/64"}
THERE = {4: "10.0.0.2", 6: "fd00:0::2"}


def mac(host: Host, link: str) -> str:
    return str(host.link(link)["address"])


def bridge(a: Host, *ports: str, vlan: int = 0) -> None:
    """br0 over the ports, with the underlay's addresses, which eth0 loses; in a VLAN if told so."""
    a.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0", "link set br0 up")
    for port in ports:
        a.ip(f"link set {port} master br0")
    a.ip("address flush dev eth0")
    on = "br0"
    if vlan:
        on = f"br0.{vlan}"
        a.ip(f"link add link br0 name {on} type vlan id {vlan}", f"link set {on} up")
    for address in HOME.values():
        a.ip(f"address add {address} dev {on} nodad")


def forget(a: Host, b: Host, on: str = "br0", link: str = "eth0") -> None:
    """A knows B's hardware address, its bridge does not know the port, and will not learn it."""
    a.run("bridge", "link", "set", "dev", "eth0", "learning", "off")
    a.ip("link set dev eth0 type bridge_slave fdb_flush")
    for to in THERE.values():
        a.ip(f"neighbour replace {to} lladdr {mac(b, link)} dev {on} nud permanent")


def frame(payload: int, to: str = "02:00:00:00:00:99") -> bytes:
    """From a host behind A's bridge to one behind B; told by its length from what hosts say."""
    made = wire.ipv4(payload, source="192.168.157.77", to="192.168.157.99")
    return bytes.fromhex(to.replace(":", "")) + bytes.fromhex("020000000077") + made[12:]


def outer(packets: list[bytes], at_least: int) -> int:
    """How many packets of at least that length; a frame within a packet makes it longer."""
    return sum(len(p) >= at_least for p in packets)


def carried_once(a: Host, b: Host, sent: list[bytes], shortest: int, link: str = "wg1") -> int:
    """Send frames into A's link: each leaves eth0 once and arrives once. Loops that were cut."""
    wire.send(a, link, frame(20))  # there is a session after this
    eventually(lambda: b.stat(link, "rx_packets") > 0, "there is a session")
    before = a.counter(link, "tx_outer_loop")

    def arrived(file: Path) -> bool:
        return {p for p in wire.read(file) if p in sent} == set(sent)

    with (
        capture(a, "eth0", options="-Q out") as left,
        capture(b, link, options="-Q in", until=arrived) as came,
    ):
        wire.send(a, link, *sent)
    assert sorted(p for p in wire.read(came) if p in sent) == sorted(sent)
    assert len([p for p in wire.read(came) if len(p) > 300]) == len(sent)
    assert outer(wire.read(left), shortest) == len(sent)
    return a.counter(link, "tx_outer_loop") - before


SENT = [frame(333 + n) for n in range(4)]


@pytest.mark.parametrize("case", ["4", "6", "vlan", "nat"])
def test_outer_packets_are_not_carried_again(hosts: Hosts, case: str) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    vlan, on, link = (10, "br0.10", "eth0.10") if case == "vlan" else (0, "br0", "eth0")
    if vlan:
        b.ip("address flush dev eth0", "link add link eth0 name eth0.10 type vlan id 10")
        b.ip("link set eth0.10 up", *(f"address add {a}/24 dev eth0.10" for a in [THERE[4]]))
    if case == "nat":
        # the port that leaves is not the one that the link has
        a.run("nft", "add table ip nat")
        a.run("nft", "add chain ip nat post { type nat hook postrouting priority 100 ; }")
        a.run("nft", "add rule ip nat post udp sport 51820 masquerade to :40000-49999")
    guest.tunnel(a, b, outer=6 if case == "6" else 4, addresses=False)
    bridge(a, "wg1", "eth0", vlan=vlan)
    forget(a, b, on, link)
    cut = carried_once(a, b, SENT, 400)
    assert cut >= len(SENT)
    assert a.stat("wg1", "tx_dropped") >= cut


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_of_outer_packets_are_not_carried_again(hosts: Hosts, version: int) -> None:
    """The bridge's MTU is the link's, 1406, so large outer packets are cut in two."""
    a, b = hosts("A", "B")
    underlay(a, b)
    guest.tunnel(a, b, outer=version, addresses=False)
    bridge(a, "wg1", "eth0")
    forget(a, b)
    sent = [frame(1406 - 20 - n) for n in range(4)]
    # each leaves in two pieces, of which one is that long
    assert carried_once(a, b, sent, 1200) >= 2 * len(sent)


def test_two_links_in_one_bridge_do_not_carry_each_others(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    for name, port in (("wg1", 51820), ("wg2", 51821)):
        guest.tunnel(
            *(a, b, name),
            endpoints=(f"10.0.0.1:{port}", f"10.0.0.2:{port}"),
            addresses=False,
        )
    bridge(a, "wg1", "wg2", "eth0")
    forget(a, b)
    for link in ("wg1", "wg2"):
        carried_once(a, b, SENT, 400, link)
    for link in ("wg1", "wg2"):
        # its own and the other's
        assert a.counter(link, "tx_outer_loop") >= 2 * len(SENT)


@pytest.mark.parametrize("nat", [False, True])
def test_another_hosts_wireguard_crosses(hosts: Hosts, nat: bool) -> None:
    """C and D, behind the bridges of A and B, have a tunnel of their own, with the same port."""
    a, b, c, d = hosts("A", "B", "C", "D")
    underlay(a, b)
    guest.tunnel(a, b, addresses=False)
    for host, guest_host in ((a, c), (b, d)):
        cable(host, guest_host, "eth1", "eth0")
        host.ip("link add br1 type bridge forward_delay 0", "link set br1 up")
        host.ip("link set wg1 master br1", "link set eth1 master br1")
    for host, last in ((c, 1), (d, 2)):
        host.ip(f"address add 10.9.0.{last}/24 dev eth0", "link set eth0 mtu 1406")
    if nat:
        c.run("nft", "add table ip nat")
        c.run("nft", "add chain ip nat post { type nat hook postrouting priority 100 ; }")
        c.run("nft", "add rule ip nat post udp sport 51820 masquerade to :40000-49999")
    guest.tunnel(
        *(c, d, "wg1"),
        endpoints=("10.9.0.1:51820", "10.9.0.2:51820"),
        kind="wireguard",
    )
    c.ping("192.168.157.2")
    d.ping("192.168.157.1", "-s", "1300")
    c.ping("192.168.157.2", "-s", "3000")
    for host in (a, b):
        assert host.counter("wg1", "tx_outer_loop") == host.counter("wg1", "rx_outer_loop") == 0


def claim(address: str, by: str, *, reply: bool = True, vlan: int | None = None) -> bytes:
    """ARP from B through the tunnel: this address is at that hardware address."""
    at = bytes.fromhex(by.replace(":", ""))
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2 if reply else 1)
    body += at + socket.inet_aton(address) + bytes(6) + socket.inet_aton("10.0.0.1")
    tag = b"" if vlan is None else b"\x81\0" + struct.pack("!H", vlan)
    return b"\xff" * 6 + at + tag + b"\x08\x06" + body


def advertise(address: str, by: str) -> bytes:
    """A neighbour advertisement (RFC 4861 4.4): this address is at that hardware address."""
    at = bytes.fromhex(by.replace(":", ""))
    source, all_nodes = (socket.inet_pton(socket.AF_INET6, x) for x in (address, "ff02::1"))
    icmp = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + source + b"\2\1" + at
    pseudo = source + all_nodes + struct.pack("!II", len(icmp), 58)
    total = wire.internet_checksum(pseudo + icmp)
    icmp = icmp[:2] + struct.pack("!H", total) + icmp[4:]
    header = struct.pack("!IHBB", 6 << 28, len(icmp), 58, 255) + source + all_nodes
    return bytes.fromhex("333300000001") + at + b"\x86\xdd" + header + icmp


@pytest.fixture
def behind_a_gateway(hosts: Hosts) -> Iterator[list[Host]]:
    """A, whose gateway G leads to B."""
    a, g, b = hosts("A", "G", "B")
    underlay(a, g)
    cable(g, b, "eth1", "eth0")
    g.ip("address add 10.1.0.2/24 dev eth1", "address add fd00:1::2/64 dev eth1 nodad")
    b.ip("address add 10.1.0.1/24 dev eth0", "address add fd00:1::1/64 dev eth0 nodad")
    b.ip("route add default via 10.1.0.2", "route add default via fd00:1::2")
    g.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    yield [a, g, b]


OTHER = "02:00:00:00:00:66"


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("bridged", [True, False], ids=["bridged", "apart"])
def test_the_far_end_cannot_be_our_gateway(
    behind_a_gateway: list[Host], version: int, bridged: bool
) -> None:
    """Unless it is another network's, which has the same address in it."""
    a, g, b = behind_a_gateway
    endpoints = ("10.0.0.1", "10.1.0.1") if version == 4 else ("[fd00::1]", "[fd00:1::1]")
    ends = (f"{endpoints[0]}:51820", f"{endpoints[1]}:51820")
    guest.tunnel(a, b, endpoints=ends, addresses=False)
    if bridged:
        bridge(a, "wg1", "eth0")
    on = "br0" if bridged else "eth0"
    a.ip(f"route add default via 10.0.0.2 dev {on}", f"route add default via fd00::2 dev {on}")
    gateway = mac(g, "eth0")
    a.ping("10.1.0.1")
    a.ping("fd00:1::1")
    eventually(lambda: a.ok("ping", "-c", "1", "-W", "1", "10.1.0.1"), "A reaches B")
    wire.send(b, "wg1", frame(20))
    eventually(lambda: a.stat("wg1", "rx_packets") > 0, "there is a session")

    def loops() -> int:
        return a.counter("wg1", "rx_outer_loop")

    hop = "10.0.0.2" if version == 4 else "fd00::2"
    if version == 4:
        lies = [claim(hop, OTHER), claim(hop, OTHER, reply=False), claim(hop, OTHER, vlan=0)]
        truth = [claim("10.0.0.3", OTHER), claim("10.0.0.3", OTHER, reply=False)]
    else:
        lies, truth = [advertise(hop, OTHER)], [advertise("fd00::3", OTHER)]
    before = loops()
    expected = truth if bridged else lies + truth

    def arrived(file: Path) -> bool:
        return sum(p in expected for p in wire.read(file)) >= len(expected)

    with capture(a, "wg1", "arp or icmp6 or vlan", options="-Q in", until=arrived) as file:
        wire.send(b, "wg1", *lies, *truth)
    wire.differ(expected, [p for p in wire.read(file) if p in lies + truth], "at A")
    assert loops() - before == (len(lies) if bridged else 0)
    if bridged:
        assert gateway in a.run("ip", "neighbour", "show", hop, "dev", on)
    a.ping("10.1.0.1")

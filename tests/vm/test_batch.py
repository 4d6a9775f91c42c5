# SPDX-License-Identifier: GPL-2.0
"""Messages that leave together: on the wire, and on everything on the way, as if sent singly.

A sends with UDP_SEGMENT (udp(7)), so the driver gets one buffer of known frames, encrypts them as
one list, and the list leaves as one buffer. What counts that is a firewall at A's exit.

    A: wg1 (over IPv4), wg2 (over IPv6) - eth0 ======== eth0 - wg1, wg2 :B
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm import wire
from tests.vm.flows import (
    MODE,
    SOL_UDP,
    UDP_SEGMENT,
    arrive,
    burst,
    datagrams,
    mode,
    receiver,
    stream,
)
from toolkit.guest.hosts import (
    PORT,
    Failed,
    Host,
    cable,
    capture,
    eventually,
    inside,
    no_more_memory,
    sh,
    tunnel,
    underlay,
)

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]

#: Addresses of B by the family of the outer packets.
INSIDE = {4: "192.168.157.2", 6: "192.168.158.2"}
LINK = {4: "wg1", 6: "wg2"}
OUTER_PORT = {4: PORT, 6: PORT + 1}
MESSAGES = 41  # with a shorter one at the end


@pytest.fixture(autouse=True)
def as_loaded() -> Iterator[None]:
    """On for Ethernet links; and as it was, whatever a test does to it."""
    before = MODE.read_text()
    mode("ethernet")
    yield
    mode(before)


def pair_of(a: Host, b: Host, kind: str = "l2wireguard") -> None:
    """The two links of the drawing."""
    underlay(a, b)
    tunnel(a, b, kind=kind)
    six = (f"[fd00:0::1]:{PORT + 1}", f"[fd00:0::2]:{PORT + 1}")
    tunnel(a, b, "wg2", kind=kind, endpoints=six, addresses=False)
    for host, last in ((a, 1), (b, 2)):
        host.ip(f"address add 192.168.158.{last}/24 dev wg2")
        for link in ("wg1", "wg2"):
            host.run("sysctl", "-q", "-w", f"net.ipv6.conf.{link}.disable_ipv6=1")
    for outer in (4, 6):
        a.ping(INSIDE[outer])
        # no question about an address among what is counted
        for host, other, last in ((a, b, 2), (b, a, 1)) if kind == "l2wireguard" else ():
            mac = other.run("cat", f"/sys/class/net/{LINK[outer]}/address").strip()
            address = INSIDE[outer][:-1] + str(last)
            host.ip(f"neighbour replace {address} lladdr {mac} dev {LINK[outer]} nud permanent")


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Host, Host]]:
    a, b = Host("A").create(), Host("B").create()
    pair_of(a, b)
    yield a, b
    for host in (a, b):
        host.destroy()


@pytest.fixture
def ends(both: tuple[Host, Host]) -> Iterator[tuple[Host, Host]]:
    """A and B, with the offloads of their cards and without rules afterwards."""
    yield both
    for host in both:
        host.run("nft", "flush", "ruleset")
        host.run("tc", "qdisc", "delete", "dev", "eth0", "root", check=False)
        host.run("tc", "qdisc", "delete", "dev", "eth0", "clsact", check=False)
        offloads(host, tx="on", sg="on", gso="on", gro="off")
        offloads(host, **{"tx-udp-segmentation": "on"})


def offloads(host: Host, **wanted: str) -> None:
    """`ethtool -K eth0`: what this kernel's veth does not know stays as it is."""
    for name, value in wanted.items():
        host.run("ethtool", "-K", "eth0", name, value, check=False)


def usual() -> list[bytes]:
    return datagrams(MESSAGES, 1000, 300)


class Firewall:
    """Counts and changes what leaves a host, or comes in."""

    def __init__(self, host: Host, hook: str = "output", kind: str = "filter") -> None:
        self.host = host
        host.run("nft", "flush", "ruleset")
        host.run("nft", "add", "table", "inet", "t")
        host.run("nft", f"add chain inet t c {{ type {kind} hook {hook} priority 0; }}")

    def rule(self, *words: str) -> None:
        self.host.run("nft", "add", "rule", "inet", "t", "c", *" ".join(words).split())

    def packets(self) -> int:
        """What the first counter says."""
        found = re.search(r"counter packets (\d+)", self.host.run("nft", "list", "ruleset"))
        assert found
        return int(found[1])


def units(a: Host, b: Host, outer: int, payloads: Sequence[bytes]) -> int:
    """In how many units a burst goes through A's firewall."""
    firewall = Firewall(a)
    # handshakes and keepalives are shorter
    firewall.rule(f"udp dport {OUTER_PORT[outer]} udp length > 200 counter")
    burst(a, b, INSIDE[outer], payloads)
    return firewall.packets()


@dataclass(frozen=True)
class Datagram:
    """An outer packet of ours in an Ethernet frame.

    :ivar header: what is equal in all of a burst: addresses, ports, DS field, hop limit, flags.
    """

    length: int
    header: bytes
    identification: int
    counter: int


def checksum(data: bytes) -> int:
    """RFC 1071, of what includes the field itself: 0 if right."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def outer_packets(frames: Sequence[bytes], *, checked: bool) -> list[Datagram]:
    """Take transport messages apart, and verify every length and checksum.

    :param checked: the UDP checksums, too: with a card that fills them in they are not there yet.
    """
    found = []
    for frame in frames:
        packet = frame[14:]
        if packet[0] >> 4 == 4:
            assert packet[9] == 17 and checksum(packet[:20]) == 0
            assert struct.unpack("!H", packet[2:4])[0] == len(packet)
            udp, pseudo = packet[20:], packet[12:20] + b"\0\x11"
            header, identification = packet[:2] + packet[6:10] + packet[12:24], packet[4:6]
        else:
            assert packet[6] == 17 and struct.unpack("!H", packet[4:6])[0] == len(packet) - 40
            udp, pseudo = packet[40:], packet[8:40] + b"\0\x11"
            header, identification = packet[:4] + packet[6:44], b"\0\0"
        assert struct.unpack("!H", udp[4:6])[0] == len(udp)
        if udp[8:12] != b"\4\0\0\0" or len(udp) == 40:
            continue  # a handshake, a keepalive
        assert udp[6:8] != b"\0\0", "no UDP checksum"
        if checked:
            assert checksum(pseudo + udp[4:6] + udp) == 0, "UDP checksum"
        found.append(
            Datagram(
                len(packet),
                header,
                int.from_bytes(identification, "big"),
                int.from_bytes(udp[16:24], "little"),
            )
        )
    return found


def on_the_wire(
    a: Host, b: Host, outer: int, payloads: Sequence[bytes], *, checked: bool = False
) -> list[Datagram]:
    """The datagrams of a burst as they leave A, in order."""
    with capture(a, "eth0", "udp", options="-Q out") as file:
        burst(a, b, INSIDE[outer], payloads)
    found = outer_packets(wire.read(file), checked=checked)
    first = found[0]
    for number, datagram in enumerate(found):
        assert datagram.header == first.header
        assert datagram.counter == first.counter + number, "in the order of their counters"
    if outer == 4:
        # Linux skips some now and then
        steps = [y.identification - x.identification & 0xFFFF for x, y in zip(found, found[1:])]
        assert all(0 < step < 0x8000 for step in steps), "IP identification"
    return found


def test_the_parameter(ends: tuple[Host, Host]) -> None:
    for value in ("off", "all", "ethernet"):
        mode(value)
        assert MODE.read_text() == f"{value}\n"
    for wrong in ("on", "1", ""):
        with pytest.raises(OSError, match="Invalid argument"):
            MODE.write_text(wrong + "\n")
    assert MODE.read_text() == "ethernet\n"


@pytest.mark.parametrize("outer", [4, 6])
def test_a_burst_is_one_buffer(ends: tuple[Host, Host], outer: int) -> None:
    a, b = ends
    assert units(a, b, outer, usual()) == 1
    # 64 at most, 65,360 bytes at most
    assert units(a, b, outer, datagrams(64, 100, 100)) == 1
    assert units(a, b, outer, datagrams(46, 1378, 1378)) == 2
    assert units(a, b, outer, datagrams(4, 1000, 200)) == 1
    # fewer are not worth it
    assert units(a, b, outer, datagrams(3, 1000, 200)) == 3
    # the padding to 16 makes equal what differs by less
    assert units(a, b, outer, datagrams(5, 1000, 999)) == 1
    mode("off")
    assert units(a, b, outer, usual()) == MESSAGES


CARDS = {
    "takes-it-whole": {},
    "no-udp-segmentation": {"tx-udp-segmentation": "off"},
    "no-checksums": {"tx-udp-segmentation": "off", "tx": "off"},
    "no-scatter-gather": {"tx-udp-segmentation": "off", "tx": "off", "sg": "off"},
    "nothing": {"tx": "off", "sg": "off", "gso": "off"},
    "receiver-joins": {"tx-udp-segmentation": "off", "gro": "on"},
}


@pytest.mark.parametrize("outer", [4, 6])
@pytest.mark.parametrize("card", CARDS)
def test_the_wire_is_as_without(ends: tuple[Host, Host], outer: int, card: str) -> None:
    """Number, lengths, headers, checksums and order; and what both ends count."""
    a, b = ends
    for host in ends:
        offloads(host, **CARDS[card])
    checked = CARDS[card].get("tx") == "off"
    link, seen = LINK[outer], {}
    size = sum(message_size(payload) for payload in usual())
    for way in ("off", "ethernet"):
        mode(way)
        before = [a.stat(link, "tx_packets"), b.stat(link, "rx_packets")]
        before += [a.stat(link, "tx_bytes"), b.stat(link, "rx_bytes"), moved(a, outer)]
        if card == "takes-it-whole":
            burst(a, b, INSIDE[outer], usual())
        else:
            found = on_the_wire(a, b, outer, usual(), checked=checked)
            seen[way] = [(d.length, d.header) for d in found]
        after = [a.stat(link, "tx_packets"), b.stat(link, "rx_packets")]
        after += [a.stat(link, "tx_bytes"), b.stat(link, "rx_bytes"), moved(a, outer)]
        grown = [n - m for m, n in zip(before, after)]
        # a keepalive now and then, and a handshake: its messages count as bytes, not as packets
        handshake = 148 + 92
        for packets, amount in ((grown[0], grown[2]), (grown[1], grown[3]), (grown[0], grown[4])):
            more = packets - MESSAGES
            extra = amount - size
            assert more >= 0 and 32 * more <= extra <= 200 * more + handshake, (way, grown)
    if card != "takes-it-whole":
        assert seen["ethernet"] == seen["off"]
        assert len(seen["ethernet"]) == MESSAGES


def message_size(payload: bytes) -> int:
    """Of the message with that UDP payload: IP and Ethernet inside, padding, WireGuard's own."""
    return -(-(len(payload) + 8 + 20 + 14) // 16) * 16 + 32


def moved(host: Host, outer: int) -> int:
    """Bytes sent, by `wg show`."""
    return int(host.run("wg", "show", LINK[outer], "transfer").split()[-1])


@pytest.mark.parametrize("kind", ["wireguard", "l2wireguard"])
def test_which_links(hosts: Hosts, kind: str) -> None:
    """The plain kind stays as it is unless all are asked for."""
    a, b = hosts("C", "D")
    pair_of(a, b, kind)
    # before Linux 5.12 a plain link does not take buffers of UDP: TCP's then
    for value, together in (
        ("off", False),
        ("ethernet", kind == "l2wireguard"),
        ("all", True),
    ):
        mode(value)
        firewall = Firewall(a)
        firewall.rule(f"udp dport {PORT} udp length > 4000 counter")
        stream(a, b, INSIDE[4], 200_000)
        assert bool(firewall.packets()) is together, value


def test_mixtures_arrive_in_order(ends: tuple[Host, Host]) -> None:
    """What has waited for a handshake: many lengths, several flows, in one list."""
    a, b = ends
    for outer in (4, 6):
        sizes = [700] * 4 + [1200, 1, 1] + [1000] * 5 + [999, 200]
        sizes = sizes * 6 + [0, 0, 0, 0, 1300, 1300, 1300, 1300, 1]
        payloads = [(hashlib.sha256(bytes([i])).digest() * 50)[:n] for i, n in enumerate(sizes)]
        a.run("ip", "link", "set", LINK[outer], "down")
        a.run("ip", "link", "set", LINK[outer], "up")
        to = INSIDE[outer]
        mac = b.run("cat", f"/sys/class/net/{LINK[outer]}/address").strip()
        # gone with the link: ARP would be the first to wait, and all behind it in another queue
        a.ip(f"neighbour replace {to} lladdr {mac} dev {LINK[outer]} nud permanent")
        with receiver(b, to) as receiving:
            with inside(a), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for payload in payloads:
                    sock.sendto(payload, (to, 9000))
            arrive(receiving, payloads)


@pytest.mark.parametrize("outer", [4, 6])
def test_what_is_dropped_is_counted(ends: tuple[Host, Host], outer: int) -> None:
    a, b = ends
    counters = ("tx_dropped", "tx_errors", "tx_aborted_errors")
    grown = {}
    for way in ("off", "ethernet"):
        mode(way)
        firewall = Firewall(a)
        firewall.rule(f"udp dport {OUTER_PORT[outer]} udp length > 200 counter drop")
        before = [a.stat(LINK[outer], c) for c in counters]

        def growth(before: list[int] = before) -> list[int]:
            return [a.stat(LINK[outer], c) - n for c, n in zip(counters, before)]

        burst(a, b, INSIDE[outer], usual(), lost=True)
        eventually(lambda g=growth: sum(g()) >= (1 if outer == 4 else 2) * MESSAGES, "counted")  # type: ignore[misc]
        assert firewall.packets() == (MESSAGES if way == "off" else 1)
        grown[way] = growth()
    assert grown["ethernet"] == grown["off"]
    assert MESSAGES in grown["off"]


@pytest.mark.parametrize("outer", [4, 6])
def test_every_datagram_gets_what_a_firewall_writes(ends: tuple[Host, Host], outer: int) -> None:
    """A DSCP and another source address: of the head alone they would be easy."""
    a, b = ends
    offloads(a, **{"tx-udp-segmentation": "off", "tx": "off"})
    other = {4: "10.0.0.9/24", 6: "fd00:0::9/64"}[outer]
    a.run("ip", "address", "add", other, "dev", "eth0", *(["nodad"] if outer == 6 else []))
    family = {4: "ip", 6: "ip6"}[outer]
    firewall = Firewall(a, "postrouting", "nat")
    firewall.rule(f"udp dport {OUTER_PORT[outer]} snat {family} to {other.split('/')[0]}")
    a.run("nft", "add chain inet t m { type filter hook output priority 0; }")
    a.run("nft", *f"add rule inet t m udp dport {OUTER_PORT[outer]} {family} dscp set cs5".split())
    # a flow that conntrack has seen already is not translated again
    a.run("wg", "set", LINK[outer], "listen-port", str(7000 + outer))
    try:
        a.ping(INSIDE[outer])
        found = on_the_wire(a, b, outer, usual(), checked=True)
    finally:
        a.run("wg", "set", LINK[outer], "listen-port", str(OUTER_PORT[outer]))
        a.run("ip", "address", "delete", other, "dev", "eth0")
    assert len(found) == MESSAGES
    if outer == 4:
        assert found[0].header[1] == 40 << 2
        assert found[0].header[6:10] == socket.inet_aton("10.0.0.9")
    else:
        assert (found[0].header[0] & 15) << 4 | found[0].header[1] >> 4 == 40 << 2
        assert found[0].header[6:22] == socket.inet_pton(socket.AF_INET6, "fd00:0::9")


@pytest.mark.parametrize("outer", [4, 6])
def test_conntrack_and_nat_at_the_receiver(ends: tuple[Host, Host], outer: int) -> None:
    a, b = ends
    firewall = Firewall(b, "prerouting")
    firewall.rule("ct state invalid counter drop")
    for card in ("on", "off"):
        offloads(a, **{"tx-udp-segmentation": card})
        burst(a, b, INSIDE[outer], usual())
    assert firewall.packets() == 0
    # the port that A sends to is another one than B's
    b.run("nft", "flush", "ruleset")
    family = {4: "ip", 6: "ip6"}[outer]
    firewall = Firewall(b, "prerouting", "nat")
    firewall.rule(f"udp dport 7777 counter redirect to :{OUTER_PORT[outer]}")
    endpoint = {4: "10.0.0.2:7777", 6: "[fd00:0::2]:7777"}[outer]
    a.run("wg", "set", LINK[outer], "peer", b.public, "endpoint", endpoint)
    try:
        for card in ("on", "off"):
            offloads(a, **{"tx-udp-segmentation": card})
            burst(a, b, INSIDE[outer], usual())
            assert firewall.packets() >= 1, family
    finally:
        # in this order: a keepalive of B's that NAT still sends from 7777 makes A roam back there,
        # where nobody listens any more
        b.run("nft", "flush", "ruleset")
        back = endpoint.replace("7777", str(OUTER_PORT[outer]))
        a.run("wg", "set", LINK[outer], "peer", b.public, "endpoint", back)
        a.ping(INSIDE[outer])


@pytest.mark.parametrize("outer", [4, 6])
def test_an_mtu_that_needs_fragments(ends: tuple[Host, Host], outer: int) -> None:
    a, b = ends
    lengths = {}
    a.ip("link set eth0 mtu 1300")
    try:
        for way in ("off", "ethernet"):
            mode(way)
            with capture(a, "eth0", "ip or ip6", options="-Q out") as file:
                burst(a, b, INSIDE[outer], datagrams(20, 1350, 1350))
            lengths[way] = [len(p) for p in wire.read(file) if len(p) > 220]
            assert max(lengths[way]) <= 1314
    finally:
        a.ip("link set eth0 mtu 1500")
        a.run("ip", "-6", "address", "replace", "fd00:0::1/64", "dev", "eth0", "nodad")
    assert lengths["ethernet"] == lengths["off"]


QDISCS = {
    "fq_codel": "fq_codel",
    "fq": "fq",
    "tbf": "tbf rate 200mbit burst 3000 limit 1000000",
    "netem": "netem delay 5ms limit 10000",
    "cake": "cake bandwidth 300mbit",
    "sfq": "sfq",
}


@pytest.mark.parametrize("qdisc", QDISCS)
def test_through_a_queue(ends: tuple[Host, Host], qdisc: str) -> None:
    a, b = ends
    a.run("tc", "qdisc", "replace", "dev", "eth0", "root", *QDISCS[qdisc].split())
    for outer in (4, 6):
        # what manages its queue may drop some on a slow machine
        if qdisc not in ("cake", "fq_codel"):
            burst(a, b, INSIDE[outer], usual())
        stream(a, b, INSIDE[outer], 300_000)


def test_tcp_with_loss_duplicates_and_disorder(ends: tuple[Host, Host]) -> None:
    a, b = ends
    for host in ends:
        host.run(
            *("tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "limit", "10000"),
            *("delay", "2ms", "loss", "1%", "duplicate", "1%", "reorder", "5%", "corrupt", "1%"),
        )
    for outer in (4, 6):
        for card in ("on", "off"):
            offloads(a, **{"tx-udp-segmentation": card})
            stream(a, b, INSIDE[outer], 1_000_000)


def test_congestion_marks_on_all(ends: tuple[Host, Host]) -> None:
    """What marks the buffer marks every datagram."""
    a, b = ends
    offloads(a, **{"tx-udp-segmentation": "off"})
    firewall = Firewall(a)
    firewall.rule(f"udp dport {PORT} ip ecn set ce")
    found = on_the_wire(a, b, 4, usual())
    assert len(found) == MESSAGES and found[0].header[1] & 3 == 3


def test_several_captures_see_it_and_the_data_stays_whole(ends: tuple[Host, Host]) -> None:
    """A capture holds a clone of the buffer while its messages become datagrams."""
    a, b = ends
    for card in ("on", "off"):
        offloads(a, **{"tx-udp-segmentation": card})
        with capture(a, "eth0", "udp") as one, capture(a, "any", "udp") as two:
            with capture(b, "eth0", "udp") as three:
                for outer in (4, 6):
                    for _ in range(5):
                        burst(a, b, INSIDE[outer], usual())
        for file in (one, two, three):
            assert len(wire.read(file)) >= 10


def test_the_endpoint_moves(ends: tuple[Host, Host]) -> None:
    """A buffer goes to one endpoint, the next one to where the peer is by then."""
    a, b = ends
    for address in ("10.0.0.77", "10.0.0.78"):
        b.run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    with receiver(b, INSIDE[4]) as receiving:
        with inside(a), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
            for address in ("10.0.0.77", "10.0.0.78", "10.0.0.2"):
                endpoint = f"{address}:{PORT}"
                a.run("wg", "set", "wg1", "peer", b.public, "endpoint", endpoint)
                sock.sendto(b"".join(usual()), (INSIDE[4], 9000))
        for _ in range(3):
            arrive(receiving, usual())
    a.run("wg", "set", "wg1", "fwmark", "0x17")
    firewall = Firewall(a)
    firewall.rule("meta mark 0x17 udp length > 4000 counter")
    burst(a, b, INSIDE[4], usual())
    a.run("wg", "set", "wg1", "fwmark", "0")
    assert firewall.packets() == 1


@pytest.mark.parametrize("outer", [4, 6])
def test_ipsec_below(ends: tuple[Host, Host], outer: int) -> None:
    """ESP in transport mode: the datagrams are taken apart before, and arrive."""
    a, b = ends
    try:
        sh("modprobe", "-a", f"esp{outer}", "xfrm_user")
    except Failed:
        pytest.skip(f"this kernel has no esp{outer}")
    one, two = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00:0::1", "fd00:0::2")}[outer]
    for host in ends:
        for source, target, spi in ((one, two, "0x101"), (two, one, "0x102")):
            out = (source == one) == (host is a)
            host.run(
                *f"ip xfrm state add src {source} dst {target} proto esp spi {spi}".split(),
                *("mode", "transport", "aead", "rfc4106(gcm(aes))", "0x" + "11" * 20, "128"),
            )
            host.run(
                *f"ip xfrm policy add src {source} dst {target} proto udp".split(),
                *f"dir {'out' if out else 'in'} tmpl src {source} dst {target}".split(),
                *"proto esp mode transport".split(),
            )
    try:
        with capture(b, "eth0", "esp or ip6 proto 50", options="-Q in") as file:
            burst(a, b, INSIDE[outer], usual())
            stream(a, b, INSIDE[outer], 200_000)
        assert len(wire.read(file)) > MESSAGES
    finally:
        for host in ends:
            host.run("ip", "xfrm", "policy", "flush")
            host.run("ip", "xfrm", "state", "flush")


def test_over_the_loopback(hosts: Hosts) -> None:
    """Both ends in one kernel's namespace: the buffer comes in as it went out."""
    a, b = hosts("E", "F")
    for host, mine, theirs in ((a, 1, 2), (b, 2, 1)):
        host.key = sh("wg", "genkey").strip()
        host.public = sh("wg", "pubkey", stdin=host.key).strip()
        a.ip(f"link add lo{mine} address 02:00:00:00:00:0{mine} type l2wireguard")
        del theirs
    for host, peer, mine, theirs in ((a, b, 1, 2), (b, a, 2, 1)):
        a.run(
            *("wg", "set", f"lo{mine}", "private-key", "/dev/stdin"),
            *("listen-port", str(7000 + mine), "peer", peer.public),
            *("allowed-ips", "0.0.0.0/0", "endpoint", f"127.0.0.1:{7000 + theirs}"),
            stdin=host.key,
        )
    a.ip(f"link set lo2 netns {b.name}")
    for host, mine in ((a, 1), (b, 2)):
        host.ip(f"address add 192.168.159.{mine}/24 dev lo{mine}", f"link set lo{mine} up")
    a.ping("192.168.159.2")
    burst(a, b, "192.168.159.2", usual())
    stream(a, b, "192.168.159.2", 500_000)


def test_no_memory_is_lost(ends: tuple[Host, Host]) -> None:
    """What a socket may send comes back to it, and everything is freed."""
    a, b = ends
    payloads = usual()

    def many() -> None:
        for outer in (4, 6):
            for _ in range(40):
                burst(a, b, INSIDE[outer], payloads)
            stream(a, b, INSIDE[outer], 1_000_000)

    many()
    with no_more_memory(4000):
        many()


# --- programs of the kernel's on the way ---

BPF_PROG_LOAD, BPF_OBJ_PIN = 5, 6
BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_XDP = 3, 6
BPF_FUNC_SKB_PULL_DATA = 39
TC_ACT_OK, XDP_PASS = 0, 2


def instruction(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """struct bpf_insn"""
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


RETURN = instruction(0x95)


def answer(value: int) -> bytes:
    return instruction(0xB7, 0, imm=value) + RETURN


def pull(size: int) -> bytes:
    """bpf_skb_pull_data(skb, size), then on."""
    return (
        instruction(0xB7, 2, imm=size)
        + instruction(0x85, imm=BPF_FUNC_SKB_PULL_DATA)
        + answer(TC_ACT_OK)
    )


def load(kind: int, program: bytes, name: str) -> str:
    """Load a program; the file that it is pinned to."""
    if platform.machine() != "x86_64":
        pytest.skip("the number of bpf(2) is x86_64's")
    libc = ctypes.CDLL(None, use_errno=True)

    def bpf(command: int, attributes: bytes) -> int:
        buffer = ctypes.create_string_buffer(attributes, 128)
        result: int = libc.syscall(321, command, buffer, len(attributes))
        if result < 0:
            raise OSError(ctypes.get_errno(), f"bpf({command})")
        return result

    if not os.path.ismount("/sys/fs/bpf"):
        sh("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    code, gpl = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    attributes = struct.pack(
        "=IIQQIIQII",
        *(kind, len(program) // 8, ctypes.addressof(code), ctypes.addressof(gpl)),
        *(0, 0, 0, 0, 0),
    )
    fd = bpf(BPF_PROG_LOAD, attributes)
    path = f"/sys/fs/bpf/{name}"
    Path(path).unlink(missing_ok=True)
    file = ctypes.create_string_buffer(path.encode())
    bpf(BPF_OBJ_PIN, struct.pack("=QII", ctypes.addressof(file), fd, 0))
    os.close(fd)
    return path


def pinned(host: Host, *argv: str) -> None:
    """`ip netns exec` hides the mounts that are made later: enter the network alone."""
    subprocess.run(
        ["nsenter", f"--net=/run/netns/{host.name}", *argv],
        check=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("size", [100, 1100, 1500, 3000, 65535])
def test_tc_bpf_that_pulls_data(ends: tuple[Host, Host], size: int) -> None:
    """More in the head than the first message: no longer where the datagrams begin."""
    a, b = ends
    path = load(BPF_PROG_TYPE_SCHED_CLS, pull(size), f"pull{size}")
    pinned(a, "tc", "qdisc", "add", "dev", "eth0", "clsact")
    pinned(a, *"tc filter add dev eth0 egress bpf da pinned".split(), path)
    for card in ({"tx-udp-segmentation": "on"}, {"tx-udp-segmentation": "off"}, {"tx": "off"}):
        offloads(a, **card)
        for outer in (4, 6):
            burst(a, b, INSIDE[outer], usual())


@pytest.mark.parametrize("how", ["xdpdrv", "xdpgeneric"])
def test_xdp_at_the_receiver(ends: tuple[Host, Host], how: str) -> None:
    a, b = ends
    path = load(BPF_PROG_TYPE_XDP, answer(XDP_PASS), "pass")
    b.ip("link set eth0 mtu 1500")
    pinned(b, *f"ip link set dev eth0 {how} pinned {path}".split())
    try:
        for outer in (4, 6):
            burst(a, b, INSIDE[outer], usual())
            stream(a, b, INSIDE[outer], 300_000)
    finally:
        pinned(b, *f"ip link set dev eth0 {how} off".split())


def test_forwarded_frames_go_sixteen_at_a_time(hosts: Hosts) -> None:
    """What a router brings waits behind no more than that: X - A ==wg1== B."""
    x, a, b = hosts("X", "G", "H")
    pair_of(a, b)
    cable(x, a, "eth0", "port", mtu=1406)
    a.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    a.ip("address add 10.9.0.1/24 dev port")
    x.ip("address add 10.9.0.2/24 dev eth0", "route add 192.168.157.0/24 via 10.9.0.1")
    b.ip("route add 10.9.0.0/24 via 192.168.157.1 dev wg1")
    x.ping(INSIDE[4])
    firewall = Firewall(a)
    firewall.rule(f"udp dport {PORT} udp length > {17 * 1452} counter")
    stream(x, b, INSIDE[4], 1_000_000)
    assert firewall.packets() == 0
    # before Linux 5.12 the cable between X and A takes a buffer of UDP apart
    whole = "tx-udp-segmentation: on" in x.run("ethtool", "-k", "eth0")
    firewall = Firewall(a)
    firewall.rule(f"udp dport {PORT} udp length > 200 counter")
    burst(x, b, INSIDE[4], usual())
    assert firewall.packets() == (3 if whole else MESSAGES)

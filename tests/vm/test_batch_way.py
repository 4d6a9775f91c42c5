# SPDX-License-Identifier: GPL-2.0
"""Batches on their way: firewalls, queues, fragments, IPsec, captures, other endpoints."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.vm import wire
from tests.vm.batches import (
    INSIDE,
    LINK,
    MESSAGES,
    OUTER_PORT,
    Firewall,
    offloads,
    on_the_wire,
    pair_of,
    usual,
)
from tests.vm.flows import (
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
    inside,
    no_more_memory,
    sh,
    underlay,
)

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("batching")]

Hosts = Callable[..., list[Host]]


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


def test_the_way_becomes_a_bridge_under_a_stream(ends: tuple[Host, Host]) -> None:
    """Between the look at the way and the buffer's departure the peer must stay where it is.

    A bridge of Linux 5.10 does not survive such a buffer (docs/design.md), and here the peer moves
    behind one and back while buffers leave on another processor.
    """
    a, b = ends
    underlay(a, b, 9)
    a.ip(
        "link add br9 type bridge forward_delay 0",
        "address flush dev eth9",
        "link set eth9 master br9",
        "address add 10.9.0.1/24 dev br9",
        "link set br9 up",
    )
    a.ping("10.9.0.2")
    moves = "".join(
        f"wg set wg1 peer {b.public} endpoint {address}:{PORT}; "
        for address in ("10.9.0.2", "10.0.0.2") * 100
    )
    mover = a.start("sh", "-ec", moves)
    buffers = 0
    with inside(a), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
        while mover.poll() is None:
            sock.sendto(b"".join(usual()), (INSIDE[4], 9000))
            buffers += 1
    assert mover.returncode == 0, mover.stdout and mover.stdout.read()
    assert buffers > 100
    a.ip("link delete br9", "link delete eth9")
    a.ping(INSIDE[4])


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

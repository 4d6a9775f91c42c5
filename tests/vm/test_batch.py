# SPDX-License-Identifier: GPL-2.0
"""Messages that leave together: on the wire, and on everything on the way, as if sent singly.

A sends with UDP_SEGMENT (udp(7)), so the driver gets one buffer of known frames, encrypts them as
one list, and the list leaves as one buffer. What counts that is a firewall at A's exit.

    A: wg1 (over IPv4), wg2 (over IPv6) - eth0 ======== eth0 - wg1, wg2 :B
"""

from __future__ import annotations

import hashlib
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
    units,
    usual,
)
from tests.vm.flows import (
    MODE,
    arrive,
    burst,
    datagrams,
    mode,
    receiver,
    stream,
)
from toolkit.guest.hosts import (
    PORT,
    Host,
    capture,
    eventually,
    inside,
)

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("batching")]

Hosts = Callable[..., list[Host]]


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


def test_a_burst_that_somebody_watches(ends: tuple[Host, Host]) -> None:
    """The frames are clones then, and are copied before they are encrypted."""
    a, b = ends
    with capture(a, LINK[4], "udp", frames=1) as file:
        assert units(a, b, 4, usual()) == 1
    assert len(wire.read(file)) == 1


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
        grown: list[int] = []

        def counted(before: list[int] = before, grown: list[int] = grown) -> bool:
            """It is counted behind the call that sends it, and may have arrived before that."""
            after = [a.stat(link, "tx_packets"), b.stat(link, "rx_packets")]
            after += [a.stat(link, "tx_bytes"), b.stat(link, "rx_bytes"), moved(a, outer)]
            grown[:] = [n - m for m, n in zip(before, after)]
            return min(grown[:2]) >= MESSAGES and min(grown[2:]) >= size

        eventually(counted, "all is counted")
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
    # Before Linux 5.12 a plain link does not take buffers of UDP: TCP's then.
    for value, together in (
        ("off", False),
        ("ethernet", kind == "l2wireguard"),
        ("all", True),
    ):
        mode(value)
        firewall = Firewall(a)
        firewall.rule(f"udp dport {PORT} udp length > 1500 counter")
        stream(a, b, INSIDE[4], 300_000)
        assert bool(firewall.packets()) is together, value


def test_mixtures_arrive_in_order(ends: tuple[Host, Host]) -> None:
    """What has waited for a handshake: many lengths, several flows, in one list."""
    a, b = ends
    for outer in (4, 6):
        sizes = [700] * 4 + [1200, 1, 1] + [1000] * 5 + [999, 200]
        sizes = sizes * 6 + [0, 0, 0, 0, 1300, 1300, 1300, 1300, 1]
        payloads = [(hashlib.sha256(bytes([i])).digest() * 50)[:n] for i, n in enumerate(sizes)]
        # B answers when all have been sent. Otherwise two processors may send at one time, what has
        # waited and what comes next, and WireGuard promises no order of these.
        b.run("ip", "link", "set", LINK[outer], "down")
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
            b.run("ip", "link", "set", LINK[outer], "up")
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
        # a session: without one, a burst is more than one buffer
        a.ping(INSIDE[outer], count=1)
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

# SPDX-License-Identifier: GPL-2.0
"""A hub with two spokes, and what each frame of theirs is counted as. For the tests of the rule.

A is a switch, and B and C are wires, so that they send whatever a test makes. The fixtures that
make them are `net` and `spokes` (conftest.py).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from tests.vm import l2wg, station, wire
from tests.vm.station import eth, extension, ip4, ip6
from tests.vm.test_switch import hub, ip_of, mac_of
from toolkit.guest.hosts import LONG, Host, eventually

B, C = mac_of(2), mac_of(3)
ALL = station.BROADCAST
#: What is bound to C, and to whom else; all that B may not use.
MAC_OF_C, SHARED = "02:00:00:00:00:0c", "02:00:00:00:00:bc"
HOST, HOST_IP, HOST_IP6 = "02:00:00:00:00:0a", "10.9.0.1", "fd09::1"
FREE = "02:00:00:00:00:f1"
IP_OF_C, IP6_OF_C, LOCAL_OF_C = "10.3.0.3", "fd03::3", "fe80::3"
NODES = "ff02::1"
HOLD = 1.9  # s that an address stays with the host, or is kept from it: LOOP_HOLD, less a tick

T = TypeVar("T")


@dataclass
class Hub:
    """A with its spokes, and how to undo what a test has set."""

    a: Host
    b: Host
    c: Host
    spokes: dict[str, Host] = field(default_factory=dict)


def make(create: Callable[..., list[Host]]) -> Hub:
    """The hub, with what is bound to C and to the host."""
    a, b, c = hub(create, "A", "B", "C", quiet=True)
    for spoke in (b, c):
        spoke.ping(ip_of(1))
    a.run(
        *("wg", "set", "wg1", "peer", c.public, "allowed-ips"),
        f"{IP_OF_C}/32,10.33.0.0/16,{IP6_OF_C}/128,{LOCAL_OF_C}/128,0.0.0.0/0,::/0,fe80::/10",
    )
    addresses = l2wg.prefixes(f"{HOST_IP}/32", f"{HOST_IP6}/128")
    l2wg.set_link(a, {"host_macs": l2wg.macs(HOST), "host_addresses": addresses})
    # what they say of their own would be in the way
    for host in (b, c, a):
        if host is not a:
            host.run("ip", "address", "flush", "dev", "wg1")
        host.run("ip", "neighbour", "flush", "dev", "wg1")
    return Hub(a, b, c, {"B": b, "C": c})


def defaults(net: Hub) -> None:
    """Nobody has options but what stands here, nothing is learned, and no frame is on its way."""
    l2wg.set_peer(net.a, net.c, allowed_macs=l2wg.macs(MAC_OF_C, SHARED))
    l2wg.set_peer(net.a, net.b, allowed_macs=l2wg.macs(SHARED))
    for spoke in (net.b, net.c):
        wire.arrived(spoke, net.a)
    wire.arrived(net.a, net.b, net.c)
    l2wg.flush(net.a)


def undo(net: Hub) -> None:
    """Take back what a test has set."""
    l2wg.set_link(net.a, {"new_peers": l2wg.OPEN})
    for spoke in (net.b, net.c):
        if l2wg.Peer.CONFIGURED in l2wg.peers(net.a)[l2wg.key(spoke)]:
            l2wg.forget_peer(net.a, spoke)


def told(net: Hub, spoke: Host) -> tuple[dict[str, int], dict[str, int]]:
    return l2wg.link_counters(net.a), l2wg.peer_counters(net.a, spoke)


def more(before: dict[str, int], after: dict[str, int], which: str = "rx_") -> dict[str, int]:
    changed = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
    return {k: v for k, v in changed.items() if k.startswith(which)}


def learned(a: Host) -> set[tuple[str, int | None]]:
    table = l2wg.fdb(a)
    return {x for x, y in table.items() if l2wg.number(y[l2wg.Fdb.STATE]) == l2wg.LEARNED}


def received(a: Host) -> int:
    return a.stat("wg1", "rx_packets") + a.stat("wg1", "rx_dropped")


def judge(net: Hub, who: str, frame: bytes) -> tuple[dict[str, int], dict[str, int]]:
    """Send a frame and wait until A has had it: what the link and the peer have counted of it.

    Not what A sends meanwhile, for reasons of its own. It is accepted when A hears it, and refused
    when A has dropped something: rx_packets tells neither, because WireGuard's keepalives and
    handshakes are among them, and may come at any time.
    """
    spoke = net.spokes[who]
    with wire.heard(net.a, "wg1") as heard:
        link, peer = told(net, spoke)
        dropped = net.a.stat("wg1", "rx_dropped")
        wire.send(spoke, "wg1", frame)

        def had() -> bool:
            # the source address: the kernel takes a tag out
            accepted = any(x[6:12] == frame[6:12] for x in heard())
            return accepted or net.a.stat("wg1", "rx_dropped") > dropped

        eventually(had, f"a frame of {who} has arrived")
    after = told(net, spoke)
    return more(link, after[0]), more(peer, after[1])


def within_the_hold(attempt: Callable[[], T], expected: T) -> T:
    """What an attempt comes to whose last step is to follow the first within HOLD seconds.

    A guest may stand still for longer than that. Only then it is tried again.
    """
    deadline = time.monotonic() + LONG
    while True:
        began = time.monotonic()
        found = attempt()
        now = time.monotonic()
        if found == expected or now - began < HOLD or now > deadline:
            return found


def nothing(source: str, *tags: tuple[int, int] | int) -> bytes:
    """A frame that claims no more than its source address."""
    return eth(ALL, source, station.NOTHING, b"nothing" * 3, *tags)


def ip(source: str, *tags: tuple[int, int] | int) -> bytes:
    """An IP packet from a free MAC."""
    if ":" in source:
        return eth(ALL, FREE, station.IP6, ip6(source, NODES, 59, b""), *tags)
    return eth(ALL, FREE, station.IP, ip4(source, "10.0.0.255"), *tags)


def icmp6(message: bytes, source: str = "fe80::2", *before: tuple[int, bytes]) -> bytes:
    """Neighbour discovery behind extension headers: their number, and the header itself."""
    following = before[0][0] if before else station.ICMP6
    body = b"".join(header for _, header in before) + message
    return eth(ALL, FREE, station.IP6, ip6(source, NODES, following, body))


NS, NA, RS, RA, REDIRECT = 135, 136, 133, 134, 137
SLLA, TLLA = 1, 2

HOPS = ((station.HOP, extension(station.DEST)), (station.DEST, extension(station.ICMP6)))
MANY = tuple((station.DEST, extension(station.DEST)) for _ in range(9))


def flooded(net: Hub, frame: bytes) -> Callable[[], bool]:
    """Ask: is a frame that A sends for nobody that it knows, so that each has a copy?"""

    def ask() -> bool:
        before = l2wg.link_counters(net.a)
        wire.send(net.a, "wg1", frame)
        return more(before, l2wg.link_counters(net.a), "tx_unknown") == {"tx_unknown": 1}

    return ask


@contextlib.contextmanager
def talking(host: Host, frame: bytes) -> Iterator[None]:
    """A frame from the host, again and again."""
    end = threading.Event()

    def talk() -> None:
        while not end.wait(0.02):
            wire.send(host, "wg1", frame)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()

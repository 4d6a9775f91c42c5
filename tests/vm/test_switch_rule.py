# SPDX-License-Identifier: GPL-2.0
"""The rule of the switch, line by line: what is bound to a key can be used by that key alone.

A is a switch, and B and C are wires, so that they send whatever a test makes. Each frame passes, or
is counted in the right counter of the link and of the peer and leaves no trace in the table.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from l2wgctl.model import Key
from l2wgctl.switch import Event
from tests.vm import l2wg, station, wire
from tests.vm.station import arp, eth, extension, first_fragment, ip4, ip6, nd, udp
from tests.vm.test_switch import hub, ip_of, mac_of
from toolkit.guest.hosts import Host, capture, eventually

B, C = mac_of(2), mac_of(3)
ALL = station.BROADCAST
#: What is bound to C, and to whom else; all that B may not use.
MAC_OF_C, SHARED = "02:00:00:00:00:0c", "02:00:00:00:00:bc"
HOST, HOST_IP, HOST_IP6 = "02:00:00:00:00:0a", "10.9.0.1", "fd09::1"
FREE = "02:00:00:00:00:f1"
IP_OF_C, IP6_OF_C, LOCAL_OF_C = "10.3.0.3", "fd03::3", "fe80::3"
NODES = "ff02::1"


@dataclass
class Hub:
    """A with its spokes, and how to undo what a test has set."""

    a: Host
    b: Host
    c: Host
    spokes: dict[str, Host] = field(default_factory=dict)


@pytest.fixture(scope="module")
def net() -> Iterator[Hub]:
    """One hub for all tests of this file: making one takes long under TCG."""
    made: list[Host] = []

    def make(*names: str) -> list[Host]:
        new = [Host(name).create() for name in names]
        made.extend(new)
        return new

    a, b, c = hub(make, "A", "B", "C", quiet=True)
    for spoke in (b, c):
        spoke.ping(ip_of(1))
    a.run(
        *("wg", "set", "wg1", "peer", c.public, "allowed-ips"),
        f"{IP_OF_C}/32,10.33.0.0/16,{IP6_OF_C}/128,{LOCAL_OF_C}/128,0.0.0.0/0,::/0,fe80::/10",
    )
    addresses = l2wg.prefixes(f"{HOST_IP}/32", f"{HOST_IP6}/128")
    l2wg.set_link(a, {"host_macs": l2wg.macs(HOST), "host_addresses": addresses})
    # what B and C say of their own would be in the way
    for spoke in (b, c):
        spoke.run("ip", "address", "flush", "dev", "wg1")
    yield Hub(a, b, c, {"B": b, "C": c})
    for host in made:
        host.destroy()


@pytest.fixture(autouse=True)
def defaults(net: Hub) -> Iterator[None]:
    """Nobody has options but what stands here, and nothing is learned."""
    l2wg.set_peer(net.a, net.c, allowed_macs=l2wg.macs(MAC_OF_C, SHARED))
    l2wg.set_peer(net.a, net.b, allowed_macs=l2wg.macs(SHARED))
    l2wg.flush(net.a)
    yield
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

    Not what A sends meanwhile, for reasons of its own.
    """
    spoke = net.spokes[who]
    link, peer = told(net, spoke)
    count = received(net.a)
    wire.send(spoke, "wg1", frame)
    eventually(lambda: received(net.a) > count, "the frame has arrived")
    after = told(net, spoke)
    return more(link, after[0]), more(peer, after[1])


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

#: What it is, the frame that B sends, and the counter of the check that it fails
REFUSED: list[tuple[str, bytes, str]] = [
    ("the link's own MAC", nothing(mac_of(1)), "rx_own_mac"),
    ("a MAC of the host", nothing(HOST), "rx_own_mac"),
    ("the same in a tag with VID 0", nothing(HOST, 0), "rx_own_mac"),
    ("zero", nothing("00:00:00:00:00:00"), "rx_bad_source"),
    ("multicast", nothing("01:00:5e:00:00:01"), "rx_bad_source"),
    ("broadcast", nothing(ALL), "rx_bad_source"),
    ("a VLAN that is not its own", nothing(FREE, 5), "rx_vlan"),
    ("a VLAN behind a tag with VID 0", nothing(FREE, 0, 5), "rx_vlan"),
    ("behind a provider's tag with VID 0", nothing(FREE, (station.QINQ, 0), 5), "rx_vlan"),
    ("too many tags", nothing(FREE, *[0] * 9), "rx_vlan"),
    ("C's MAC", nothing(MAC_OF_C), "rx_mac_bound"),
    ("C's MAC, priority-tagged", nothing(MAC_OF_C, 0), "rx_mac_bound"),
    ("C's IPv4 address", ip(IP_OF_C), "rx_ip_bound"),
    ("one of C's prefix", ip("10.33.7.7"), "rx_ip_bound"),
    ("priority-tagged", ip(IP_OF_C, 0), "rx_ip_bound"),
    ("with a provider's priority tag", ip(IP_OF_C, (station.QINQ, 0)), "rx_ip_bound"),
    ("C's IPv6 address", ip(IP6_OF_C), "rx_ip_bound"),
    ("C's link-local address", ip(LOCAL_OF_C), "rx_ip_bound"),
    ("the host's IPv4 address", ip(HOST_IP), "rx_ip_bound"),
    ("the host's IPv6 address", ip(HOST_IP6), "rx_ip_bound"),
    ("ARP request", eth(ALL, FREE, station.ARP, arp(FREE, IP_OF_C, "10.0.0.9")), "rx_ip_bound"),
    ("ARP answer", eth(B, FREE, station.ARP, arp(FREE, IP_OF_C, "1.2.3.4", op=2)), "rx_ip_bound"),
    ("in a tag", eth(ALL, FREE, station.ARP, arp(FREE, IP_OF_C, IP_OF_C), 0), "rx_ip_bound"),
    ("ARP probe", eth(ALL, FREE, station.ARP, arp(FREE, "0.0.0.0", IP_OF_C)), "rx_ip_bound"),
    (
        "ARP, C's MAC in it",
        eth(ALL, FREE, station.ARP, arp(MAC_OF_C, "1.2.3.4", "1.2.3.5")),
        "rx_mac_bound",
    ),
    (
        "ARP, the host's MAC in it",
        eth(ALL, FREE, station.ARP, arp(HOST, "1.2.3.4", "1.2.3.5")),
        "rx_mac_bound",
    ),
    (
        "RARP answer",
        eth(ALL, FREE, station.RARP, arp(FREE, IP_OF_C, "1.2.3.4", op=4)),
        "rx_ip_bound",
    ),
    (
        "RARP, C's MAC",
        eth(ALL, FREE, station.RARP, arp(MAC_OF_C, "0.0.0.0", "0.0.0.0", op=3)),
        "rx_mac_bound",
    ),
    ("neighbour advertisement", icmp6(nd(NA, IP6_OF_C)), "rx_ip_bound"),
    ("of C's link-local address", icmp6(nd(NA, LOCAL_OF_C)), "rx_ip_bound"),
    ("of the host's", icmp6(nd(NA, HOST_IP6)), "rx_ip_bound"),
    ("behind options", icmp6(nd(NA, IP6_OF_C), "fe80::2", *HOPS), "rx_ip_bound"),
    ("behind too many of them", icmp6(nd(NA, "fe80::2"), "fe80::2", *MANY), "rx_ip_bound"),
    (
        "in a fragment",
        icmp6(nd(NA, "fe80::2"), "fe80::2", (station.FRAGMENT, first_fragment(station.ICMP6))),
        "rx_ip_bound",
    ),
    ("duplicate address detection", icmp6(nd(NS, IP6_OF_C), "::"), "rx_ip_bound"),
    ("redirect", icmp6(nd(REDIRECT, "fe80::2", destination=IP6_OF_C)), "rx_ip_bound"),
    (
        "C's MAC in a solicitation",
        icmp6(nd(NS, "fd00::1", option=(SLLA, MAC_OF_C))),
        "rx_mac_bound",
    ),
    (
        "C's MAC in an advertisement",
        icmp6(nd(NA, "fe80::2", option=(TLLA, MAC_OF_C))),
        "rx_mac_bound",
    ),
    ("the host's MAC there", icmp6(nd(NA, "fe80::2", option=(TLLA, HOST))), "rx_mac_bound"),
    ("C's MAC from a router", icmp6(nd(RA, option=(SLLA, MAC_OF_C))), "rx_mac_bound"),
    ("C's MAC in a router solicitation", icmp6(nd(RS, option=(SLLA, MAC_OF_C))), "rx_mac_bound"),
]

#: What B may send all the same
ACCEPTED: list[tuple[str, bytes]] = [
    ("a free MAC", nothing(FREE)),
    ("priority-tagged", nothing(FREE, 0)),
    ("with a provider's tag", nothing(FREE, (station.QINQ, 5))),
    ("what is in nobody's AllowedIPs but 0.0.0.0/0", ip("192.0.2.1")),
    ("the same for IPv6", ip("2001:db8::1")),
    ("a link-local address of the whole fe80::/10", ip("fe80::2")),
    ("DHCP's 0.0.0.0", ip("0.0.0.0")),
    ("the unspecified address", ip("::")),
    ("asking for C's address", eth(ALL, FREE, station.ARP, arp(FREE, "192.0.2.1", IP_OF_C))),
    ("asking for it by ND", icmp6(nd(NS, IP6_OF_C, option=(SLLA, FREE)))),
    ("advertising its own", icmp6(nd(NA, "fe80::2", option=(TLLA, FREE)))),
    ("a MAC that is bound to it and to C", nothing(SHARED)),
    ("a packet to C's address", eth(ALL, FREE, station.IP, ip4("192.0.2.1", IP_OF_C))),
]


def test_what_it_refuses(net: Hub) -> None:
    wrong = []
    for what, frame, counter in REFUSED:
        table = learned(net.a)
        link, peer = judge(net, "B", frame)
        if not link == peer == {counter: 1} or learned(net.a) != table:
            wrong.append((what, counter, link, peer, learned(net.a) - table))
    assert not wrong, "\n".join(map(str, wrong))


def test_what_it_lets_pass(net: Hub) -> None:
    wrong = []
    for what, frame in ACCEPTED:
        l2wg.flush(net.a)
        link, _ = judge(net, "B", frame)
        source = frame[6:12].hex(":")
        if link or learned(net.a) != {(source, 0)}:
            wrong.append((what, link, learned(net.a)))
    assert not wrong, "\n".join(map(str, wrong))


def test_what_is_bound_to_it_passes_from_c(net: Hub) -> None:
    wrong = []
    for what, frame in [
        ("its MAC", nothing(MAC_OF_C)),
        ("its address", eth(ALL, MAC_OF_C, station.IP, ip4(IP_OF_C, "10.0.0.9"))),
        ("ARP", eth(ALL, MAC_OF_C, station.ARP, arp(MAC_OF_C, IP_OF_C, IP_OF_C))),
        (
            "ND",
            eth(
                ALL,
                MAC_OF_C,
                station.IP6,
                ip6(IP6_OF_C, NODES, station.ICMP6, nd(NA, IP6_OF_C, option=(2, MAC_OF_C))),
            ),
        ),
    ]:
        link, _ = judge(net, "C", frame)
        # what is bound to one alone needs no learning
        if link or learned(net.a):
            wrong.append((what, link, learned(net.a)))
    assert not wrong, "\n".join(map(str, wrong))


def test_bound_macs_count_in_no_limit_and_strict_takes_no_others(net: Hub) -> None:
    l2wg.set_peer(net.a, net.c, max_macs=0)
    assert judge(net, "C", nothing(MAC_OF_C))[0] == {}
    assert judge(net, "C", nothing(SHARED))[0] == {}
    assert judge(net, "C", nothing(FREE))[0] == {"rx_mac_limit": 1}
    l2wg.set_peer(net.a, net.c, max_macs=1)
    assert judge(net, "C", nothing(FREE))[0] == {}
    assert judge(net, "C", nothing("02:00:00:00:00:f2"))[0] == {"rx_mac_limit": 1}
    assert judge(net, "C", nothing(FREE))[0] == {}


def test_a_peer_at_its_limit_takes_over_nobody_elses(net: Hub) -> None:
    l2wg.set_peer(net.a, net.b, max_macs=1)
    assert judge(net, "C", nothing("02:00:00:00:00:f2"))[0] == {}
    assert judge(net, "B", nothing(FREE))[0] == {}
    assert judge(net, "B", nothing("02:00:00:00:00:f2"))[0] == {"rx_move": 1}
    entry = l2wg.fdb(net.a)["02:00:00:00:00:f2", 0]
    assert entry[l2wg.Fdb.PUBLIC_KEY] == l2wg.key(net.c)


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


def test_the_fifth_move_is_the_last_at_once(net: Hub) -> None:
    for who in "BCBCBC":
        assert judge(net, who, nothing(FREE))[0] == {}, who
    # C is there, and says so all the time: B cannot take it over. On a machine so slow that C is
    # silent for the hold, B may, and C takes it back.
    before = l2wg.peer_counters(net.a, net.b)

    def refused() -> bool:
        wire.send(net.b, "wg1", nothing(FREE))
        return more(before, l2wg.peer_counters(net.a, net.b)).get("rx_move", 0) >= 3

    def at_c() -> bool:
        entry = l2wg.fdb(net.a)[FREE, 0]
        assert l2wg.number(entry[l2wg.Fdb.MOVES]) >= 5
        return entry[l2wg.Fdb.PUBLIC_KEY] == l2wg.key(net.c)

    with talking(net.c, nothing(FREE)):
        eventually(refused, "moves are refused")
        eventually(at_c, "it is C's")
    # once C has been silent for a while, it may
    eventually(lambda: judge(net, "B", nothing(FREE))[0] == {}, "the hold is over")
    # an address of both is not damped
    for who in "BCBCBCBCBC":
        assert judge(net, who, nothing(SHARED))[0] == {}, who


def test_a_router_forwards_for_others_and_speaks_for_itself(net: Hub) -> None:
    l2wg.set_peer(net.a, net.b, router=1)
    for frame in (ip(IP_OF_C), ip(IP6_OF_C), ip(HOST_IP)):
        assert judge(net, "B", frame)[0] == {}
    for frame in (
        eth(ALL, FREE, station.ARP, arp(FREE, IP_OF_C, "10.0.0.9")),
        icmp6(nd(NA, IP6_OF_C)),
        icmp6(nd(NS, "fd00::1"), IP6_OF_C),
    ):
        assert judge(net, "B", frame)[0] == {"rx_ip_bound": 1}


def bpdu(to: str) -> bytes:
    payload = bytes.fromhex("424203") + bytes(35)
    return station.mac(to) + station.mac(FREE) + len(payload).to_bytes(2, "big") + payload


@pytest.mark.parametrize(
    ("guard", "frames"),
    [
        (
            l2wg.GUARD_DHCP,
            [
                eth(ALL, FREE, station.IP, ip4("192.0.2.1", "255.255.255.255", 17, udp(68))),
                eth(ALL, FREE, station.IP, ip4("192.0.2.1", "255.255.255.255", 17, udp(68)), 0),
                eth(ALL, FREE, station.IP6, ip6("fe80::2", "fe80::9", 17, udp(546))),
            ],
        ),
        (
            l2wg.GUARD_RA,
            [
                icmp6(nd(RA)),
                icmp6(nd(RA), "fe80::2", *HOPS),
                icmp6(nd(REDIRECT, "fe80::2", destination="2001:db8::1")),
            ],
        ),
        (l2wg.GUARD_STP, [bpdu("01:80:c2:00:00:00"), bpdu("01:80:c2:00:00:08")]),
    ],
)
def test_guards(net: Hub, guard: int, frames: list[bytes]) -> None:
    for frame in frames:
        assert judge(net, "B", frame)[0] == {}
    for guards, counted in ((7 & ~guard, {}), (guard, {"rx_guard": 1})):
        l2wg.set_peer(net.a, net.b, guards=guards)
        for frame in frames:
            assert judge(net, "B", frame)[0] == counted
    # what a client says passes
    asks = eth(ALL, FREE, station.IP, ip4("0.0.0.0", "255.255.255.255", 17, udp(67)))
    assert judge(net, "B", asks)[0] == {}


@pytest.mark.parametrize(
    ("guards", "counter"),
    [(0, "rx_ip_bound"), (l2wg.GUARD_DHCP, "rx_guard"), (l2wg.GUARD_RA, "rx_guard")],
)
def test_a_first_fragment_that_hides_its_header(net: Hub, guards: int, counter: str) -> None:
    """RFC 7112: nothing legitimate does, and it could be ND, an answer of DHCP or a router's."""
    l2wg.set_peer(net.a, net.b, guards=guards)
    frame = icmp6(b"", "fe80::2", (station.FRAGMENT, first_fragment(station.ICMP6)))
    assert judge(net, "B", frame)[0] == {counter: 1}


def test_a_closed_link_takes_no_peer_without_options(net: Hub) -> None:
    l2wg.forget_peer(net.a, net.b)
    l2wg.set_link(net.a, {"new_peers": l2wg.CLOSED})
    assert judge(net, "B", nothing(FREE))[0] == {"rx_closed": 1}
    assert judge(net, "C", nothing(FREE))[0] == {}
    with capture(net.b, "wg1", options="-Q in") as file:
        wire.send(net.a, "wg1", nothing(mac_of(1)))
    assert wire.read(file) == []
    l2wg.set_peer(net.a, net.b, max_macs=5)
    assert judge(net, "B", nothing("02:00:00:00:00:f2"))[0] == {}


def test_vlans_of_an_access_port_and_a_trunk(net: Hub) -> None:
    """B is in VLAN 10 and knows nothing of it, C has 10 and 20 with tags."""
    l2wg.set_peer(net.a, net.b, pvid=10)
    l2wg.set_peer(net.a, net.c, allowed_vlans=l2wg.vlans((10, 10), (20, 20)), relay=1)
    for who, frame, counted in (
        ("B", nothing(FREE), {}),
        ("B", nothing(FREE, 10), {}),
        ("B", nothing(FREE, 0), {}),
        ("B", nothing(FREE, 20), {"rx_vlan": 1}),
        ("C", nothing(C), {"rx_vlan": 1}),
        ("C", nothing(C, 10), {}),
        ("C", nothing(C, 20), {}),
        ("C", nothing(C, 30), {"rx_vlan": 1}),
    ):
        link, _ = judge(net, who, frame)
        assert link == counted, (who, frame.hex())
    assert learned(net.a) == {(FREE, 10), (C, 10), (C, 20)}

    # each gets the form that it wants, whichever it was sent in
    plain, tagged = nothing(FREE), nothing(FREE, 10)
    for sent in (plain, tagged, nothing(FREE, 0)):
        with (
            capture(net.c, "wg1", options="-Q in") as at_c,
            capture(net.a, "wg1", options="-Q in") as at_a,
        ):
            wire.send(net.b, "wg1", sent)
        wire.differ([tagged], wire.read(at_c), "at C")
        wire.differ([tagged], wire.read(at_a), "at A")
    for sent, at in ((nothing(C, 10), [nothing(C)]), (nothing(C, 20), [])):
        with capture(net.b, "wg1", options="-Q in") as file:
            wire.send(net.c, "wg1", sent)
        wire.differ(at, wire.read(file), "at B")
    # unicast, in both directions
    to_c, to_b = (
        eth(C, FREE, station.NOTHING, b"x" * 20),
        eth(FREE, C, station.NOTHING, b"y" * 20, 10),
    )
    with (
        capture(net.c, "wg1", options="-Q in") as at_c,
        capture(net.b, "wg1", options="-Q in") as at_b,
    ):
        wire.send(net.b, "wg1", to_c)
        wire.send(net.c, "wg1", to_b)
    wire.differ([eth(C, FREE, station.NOTHING, b"x" * 20, 10)], wire.read(at_c), "at C")
    wire.differ([eth(FREE, C, station.NOTHING, b"y" * 20)], wire.read(at_b), "at B")
    # the host's own
    for sent, at in ((nothing(mac_of(1), 10), [nothing(mac_of(1))]), (nothing(mac_of(1)), [])):
        with capture(net.b, "wg1", options="-Q in") as file:
            wire.send(net.a, "wg1", sent)
        wire.differ(at, wire.read(file), "at B, from A")


def test_addresses_bind_in_the_vlan_of_the_pvid(net: Hub) -> None:
    l2wg.set_peer(net.a, net.c, pvid=10)
    assert judge(net, "B", ip(IP_OF_C))[0] == {}
    l2wg.set_peer(net.a, net.b, pvid=10)
    assert judge(net, "B", ip(IP_OF_C))[0] == {"rx_ip_bound": 1}


def test_bound_macs_are_found_unheard(net: Hub) -> None:
    l2wg.set_peer(net.a, net.c, allowed_vlans=l2wg.vlans((0, 5)))
    for tags in ((), (5,)):
        frame = eth(MAC_OF_C, mac_of(1), station.NOTHING, b"z" * 20, *tags)
        with (
            capture(net.c, "wg1", options="-Q in") as at_c,
            capture(net.b, "wg1", options="-Q in") as at_b,
        ):
            wire.send(net.a, "wg1", frame)
        wire.differ([frame], wire.read(at_c), "at C")
        wire.differ([], wire.read(at_b), "at B")


def test_reserved_addresses(net: Hub) -> None:
    """PAUSE goes nowhere, LACP to the host, and not to other members."""
    l2wg.set_peer(net.a, net.b, relay=1)
    for last, arrives in ((1, 0), (2, 1), (3, 1), (0x0E, 1)):
        frame = eth(f"01:80:c2:00:00:{last:02x}", FREE, station.NOTHING, b"reserved" * 3)
        with (
            capture(net.a, "wg1", options="-Q in") as at_a,
            capture(net.c, "wg1", options="-Q in") as at_c,
        ):
            wire.send(net.b, "wg1", frame)
        wire.differ([frame] * arrives, wire.read(at_a), "at A")
        wire.differ([], wire.read(at_c), "at C")
    # the host's own: nobody is next where there are two
    frame = eth("01:80:c2:00:00:02", mac_of(1), station.NOTHING, b"lacp" * 5)
    with capture(net.c, "wg1", options="-Q in") as file:
        wire.send(net.a, "wg1", frame)
    wire.differ([], wire.read(file), "at C")
    l2wg.set_peer(net.a, net.b, pvid=7)
    with capture(net.c, "wg1", options="-Q in") as file:
        wire.send(net.a, "wg1", frame)
    wire.differ([frame], wire.read(file), "at C alone")


def test_marks(net: Hub) -> None:
    l2wg.set_peer(net.a, net.b, mark=42)
    net.a.run(
        "nft",
        "-f",
        "-",
        stdin="""
        table netdev t {
            counter marked {
            }
            chain c {
                      type filter hook ingress device wg1 priority 0;
                      meta mark 42 counter name marked
            }
        }
        """,
    )
    try:
        judge(net, "B", nothing(FREE))
        judge(net, "C", nothing(C))
        assert "packets 1 " in net.a.run("nft", "list", "counter", "netdev", "t", "marked")
    finally:
        net.a.run("nft", "delete", "table", "netdev", "t")


def test_local_stations(net: Hub) -> None:
    """What the host bridges is learned, not flooded back, and not stolen at once."""
    station_a = "02:00:00:00:00:aa"
    here = eth(ALL, station_a, station.NOTHING, b"local" * 4)
    wire.send(net.a, "wg1", here)
    assert learned(net.a) == {(station_a, 0)}
    assert l2wg.Fdb.PUBLIC_KEY not in l2wg.fdb(net.a)[station_a, 0]
    with talking(net.a, here):
        assert judge(net, "B", nothing(station_a))[0] == {"rx_loop": 1}
    # for it: to the host alone, though both relay
    l2wg.set_peer(net.a, net.b, relay=1)
    wire.send(net.a, "wg1", here)
    with capture(net.c, "wg1", options="-Q in") as file:
        wire.send(net.b, "wg1", eth(station_a, FREE, station.NOTHING, b"to it" * 4))
    assert wire.read(file) == []
    # the other way round
    before = l2wg.link_counters(net.a)
    with talking(net.b, nothing(FREE)):
        eventually(lambda: (FREE, 0) in learned(net.a), "B's station is learned")
        wire.send(net.a, "wg1", eth(ALL, FREE, station.NOTHING, b"back" * 5))
    assert more(before, l2wg.link_counters(net.a), "tx_loop") == {"tx_loop": 1}
    # one that is bound to C is sent, and not learned
    with capture(net.b, "wg1", options="-Q in") as file:
        wire.send(net.a, "wg1", eth(ALL, MAC_OF_C, station.NOTHING, b"hers" * 5))
    assert len(wire.read(file)) == 1
    assert (MAC_OF_C, 0) not in learned(net.a)


def test_events(net: Hub) -> None:
    with l2wg.Family(net.a) as family, family.events() as stream:

        def event(who: str, frame: bytes) -> Event:
            judge(net, who, frame)
            return next(stream)

        seen = event("B", nothing(FREE))
        assert seen == Event("learned", "wg1", Key(l2wg.key(net.b)), None, FREE, 0, None)
        seen = event("C", nothing(FREE))
        assert (seen.type, seen.old_public_key) == ("moved", l2wg.key(net.b))
        seen = event("B", nothing(MAC_OF_C))
        assert (seen.type, seen.counter) == ("violation", "rx_mac_bound")
        l2wg.set_peer(net.a, net.b, max_macs=0)
        assert event("B", nothing(FREE)).type == "damped"
    monitor = net.a.start("bridge", "monitor", "fdb")
    l2wg.set_peer(net.a, net.b, max_macs=9)
    judge(net, "B", nothing("02:00:00:00:00:f3"))
    assert monitor.stdout
    assert "02:00:00:00:00:f3" in monitor.stdout.readline()
    monitor.kill()

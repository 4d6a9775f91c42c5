# SPDX-License-Identifier: GPL-2.0
"""The rule of the switch, line by line: what is bound to a key can be used by that key alone.

Each frame passes, or is counted in the right counter of the link and of the peer and leaves no
trace in the table.
"""

from __future__ import annotations

from tests.vm import l2wg, station, wire
from tests.vm.spokes import (
    ALL,
    FREE,
    HOPS,
    HOST,
    HOST_IP,
    HOST_IP6,
    IP6_OF_C,
    IP_OF_C,
    LOCAL_OF_C,
    MAC_OF_C,
    MANY,
    NA,
    NODES,
    NS,
    RA,
    REDIRECT,
    RS,
    SHARED,
    SLLA,
    TLLA,
    B,
    Hub,
    icmp6,
    ip,
    judge,
    learned,
    more,
    nothing,
    talking,
)
from tests.vm.station import arp, eth, first_fragment, ip4, ip6, nd, snap
from tests.vm.test_switch import mac_of
from toolkit.guest.hosts import eventually

#: A packet that claims C's address
OF_C = ip4(IP_OF_C, "10.0.0.255")

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
    # CVE-2021-27853 and its siblings: what a Wi-Fi access point makes IP of again
    ("C's IPv4 address in SNAP", snap(ALL, FREE, station.IP, OF_C), "rx_ip_bound"),
    ("the same priority-tagged", snap(ALL, FREE, station.IP, OF_C, 0), "rx_ip_bound"),
    ("with a length that is none", snap(ALL, FREE, station.IP, OF_C, length=0), "rx_ip_bound"),
    ("with an undefined one", snap(ALL, FREE, station.IP, OF_C, length=1501), "rx_ip_bound"),
    (
        "behind a priority tag in SNAP",
        snap(ALL, FREE, station.VLAN, b"\0\0" + station.IP.to_bytes(2, "big") + OF_C),
        "rx_ip_bound",
    ),
    (
        "a VLAN in SNAP",
        snap(ALL, FREE, station.VLAN, b"\0\5" + station.NOTHING.to_bytes(2, "big")),
        "rx_vlan",
    ),
    (
        "ARP in SNAP of IEEE 802.1H",
        snap(ALL, FREE, station.ARP, arp(FREE, IP_OF_C, "10.0.0.9"), oui=b"\0\0\xf8"),
        "rx_ip_bound",
    ),
    (
        "neighbour advertisement in SNAP",
        snap(
            *(ALL, FREE, station.IP6),
            ip6("fe80::2", NODES, station.ICMP6, nd(NA, "fe80::2", option=(TLLA, MAC_OF_C))),
        ),
        "rx_mac_bound",
    ),
]

#: What B sends damaged, and the counter of the link's errors
DAMAGED: list[tuple[str, bytes, str]] = [
    ("a cut IPv4 header", eth(ALL, FREE, station.IP, OF_C[:19]), "rx_frame_errors"),
    ("a cut packet", eth(ALL, FREE, station.IP, OF_C[:-1]), "rx_length_errors"),
    ("a cut IPv6 header", eth(ALL, FREE, station.IP6, bytes(39)), "rx_frame_errors"),
    ("the wrong version", eth(ALL, FREE, station.IP6, OF_C + bytes(20)), "rx_frame_errors"),
    ("a cut tag", eth(ALL, FREE, station.VLAN, bytes(3)), "rx_frame_errors"),
    (
        "cut ARP",
        eth(ALL, FREE, station.ARP, arp(FREE, "1.2.3.4", "1.2.3.5")[:-1]),
        "rx_length_errors",
    ),
    ("a length beyond its end", eth(ALL, FREE, 100, bytes(99)), "rx_length_errors"),
]

#: What B may send all the same
ACCEPTED: list[tuple[str, bytes]] = [
    ("a free MAC", nothing(FREE)),
    ("priority-tagged", nothing(FREE, 0)),
    ("with as many tags as are looked behind", nothing(FREE, *[0] * 8)),
    ("SNAP", snap(ALL, FREE, station.IP, ip4("192.0.2.1", IP_OF_C))),
    ("somebody's own protocol in SNAP", snap(ALL, FREE, station.IP, OF_C, oui=b"\0\0\x0c")),
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


def test_what_is_damaged_is_no_frame(net: Hub) -> None:
    """As on a wire: it is in the errors of the link, in no counter of the rule, and not learned."""
    wrong = []
    for what, frame, counter in DAMAGED:
        kinds = ("rx_errors", "rx_frame_errors", "rx_length_errors", "rx_dropped")
        table, rule = learned(net.a), l2wg.link_counters(net.a)
        before, seen = [net.a.stat("wg1", x) for x in kinds], net.a.counter("wg1", "rx_malformed")
        wire.send(net.b, "wg1", frame)
        eventually(lambda seen=seen: net.a.counter("wg1", "rx_malformed") > seen, what)  # type: ignore[misc]
        after = [net.a.stat("wg1", x) for x in kinds]
        counted = {x for x, old, new in zip(kinds, before, after, strict=True) if new != old}
        refused = more(rule, l2wg.link_counters(net.a))
        if counted != {"rx_errors", counter} or refused or learned(net.a) != table:
            wrong.append((what, counter, counted, refused))
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
    wire.arrived(net.c, net.a)
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

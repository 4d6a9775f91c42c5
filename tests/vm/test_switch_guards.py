# SPDX-License-Identifier: GPL-2.0
"""What a peer of a switch is kept from: guards, a closed link, and what goes one hop far."""

from __future__ import annotations

import pytest

from tests.vm import l2wg, station, wire
from tests.vm.spokes import ALL, FREE, HOPS, NODES, RA, REDIRECT, Hub, icmp6, judge, nothing
from tests.vm.station import eth, first_fragment, ip4, ip6, nd, snap, udp
from tests.vm.test_switch import mac_of
from toolkit.guest.hosts import capture


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
                snap(ALL, FREE, station.IP, ip4("192.0.2.1", "255.255.255.255", 17, udp(68))),
            ],
        ),
        (
            l2wg.GUARD_RA,
            [
                icmp6(nd(RA)),
                icmp6(nd(RA), "fe80::2", *HOPS),
                snap(ALL, FREE, station.IP6, ip6("fe80::2", NODES, station.ICMP6, nd(RA)), 0),
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
    last = eth(ALL, mac_of(1), station.NOTHING, b"last" * 5)
    with capture(net.b, "wg1", options="-Q in", frames=1) as file:
        wire.send(net.a, "wg1", nothing(mac_of(1)))
        l2wg.set_peer(net.a, net.b, max_macs=5)
        wire.send(net.a, "wg1", last)
    wire.differ([last], wire.read(file), "at B")
    assert judge(net, "B", nothing("02:00:00:00:00:f2"))[0] == {}


def test_reserved_addresses(net: Hub) -> None:
    """PAUSE goes nowhere, LACP to the host, and not to other members."""
    l2wg.set_peer(net.a, net.b, relay=1)
    last = nothing(FREE)
    for number, arrives in ((1, 0), (2, 1), (3, 1), (0x0E, 1)):
        frame = eth(f"01:80:c2:00:00:{number:02x}", FREE, station.NOTHING, b"reserved" * 3)
        with (
            capture(net.a, "wg1", options="-Q in", frames=arrives + 1) as at_a,
            capture(net.c, "wg1", options="-Q in", frames=1) as at_c,
        ):
            wire.send(net.b, "wg1", frame, last)
        wire.differ([*[frame] * arrives, last], wire.read(at_a), "at A")
        wire.differ([last], wire.read(at_c), "at C")
    # the host's own: nobody is next where there are two
    frame = eth("01:80:c2:00:00:02", mac_of(1), station.NOTHING, b"lacp" * 5)
    last = nothing(mac_of(1))
    with capture(net.c, "wg1", options="-Q in", frames=1) as file:
        wire.send(net.a, "wg1", frame, last)
    wire.differ([last], wire.read(file), "at C")
    l2wg.set_peer(net.a, net.b, pvid=7)
    with capture(net.c, "wg1", options="-Q in", frames=1) as file:
        wire.send(net.a, "wg1", frame)
    wire.differ([frame], wire.read(file), "at C alone")

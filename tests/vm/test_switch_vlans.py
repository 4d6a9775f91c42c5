# SPDX-License-Identifier: GPL-2.0
"""VLANs of a switch: access ports, trunks, and what is bound in them."""

from __future__ import annotations

from tests.vm import l2wg, station, wire
from tests.vm.spokes import FREE, IP_OF_C, MAC_OF_C, C, Hub, ip, judge, learned, nothing
from tests.vm.station import eth
from tests.vm.test_switch import mac_of
from toolkit.guest.hosts import capture


def last(source: str, *tags: int) -> bytes:
    """What is sent behind a frame, and waited for."""
    return eth(station.BROADCAST, source, station.NOTHING, b"last" * 5, *tags)


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
    wire.arrived(net.a, net.b, net.c, tags=(10,))
    for sent in (plain, tagged, nothing(FREE, 0)):
        with (
            capture(net.c, "wg1", options="-Q in", frames=1) as at_c,
            capture(net.a, "wg1", options="-Q in", frames=1) as at_a,
        ):
            wire.send(net.b, "wg1", sent)
        wire.differ([tagged], wire.read(at_c), "at C")
        wire.differ([tagged], wire.read(at_a), "at A")
    for sent, at in ((nothing(C, 10), [nothing(C)]), (nothing(C, 20), [])):
        with capture(net.b, "wg1", options="-Q in", frames=len(at) + 1) as file:
            wire.send(net.c, "wg1", sent, last(C, 10))
        wire.differ([*at, last(C)], wire.read(file), "at B")
    # unicast, in both directions
    to_c, to_b = (
        eth(C, FREE, station.NOTHING, b"x" * 20),
        eth(FREE, C, station.NOTHING, b"y" * 20, 10),
    )
    with (
        capture(net.c, "wg1", options="-Q in", frames=1) as at_c,
        capture(net.b, "wg1", options="-Q in", frames=1) as at_b,
    ):
        wire.send(net.b, "wg1", to_c)
        wire.send(net.c, "wg1", to_b)
    wire.differ([eth(C, FREE, station.NOTHING, b"x" * 20, 10)], wire.read(at_c), "at C")
    wire.differ([eth(FREE, C, station.NOTHING, b"y" * 20)], wire.read(at_b), "at B")
    # the host's own
    for sent, at in ((nothing(mac_of(1), 10), [nothing(mac_of(1))]), (nothing(mac_of(1)), [])):
        with capture(net.b, "wg1", options="-Q in", frames=len(at) + 1) as file:
            wire.send(net.a, "wg1", sent, last(mac_of(1), 10))
        wire.differ([*at, last(mac_of(1))], wire.read(file), "at B, from A")


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
            capture(net.c, "wg1", options="-Q in", frames=2) as at_c,
            capture(net.b, "wg1", options="-Q in", frames=1) as at_b,
        ):
            wire.send(net.a, "wg1", frame, last(mac_of(1)))
        wire.differ([frame, last(mac_of(1))], wire.read(at_c), "at C")
        wire.differ([last(mac_of(1))], wire.read(at_b), "at B")


def test_the_host_hides_no_vlan_either(net: Hub) -> None:
    """Nobody could say in which form a member wants it."""
    for frame in (nothing(mac_of(1), 0, 5), nothing(mac_of(1), *[0] * 9)):
        before, packets = net.a.stat("wg1", "tx_dropped"), l2wg.link_counters(net.a)["tx_flood"]
        wire.send(net.a, "wg1", frame)
        assert net.a.stat("wg1", "tx_dropped") == before + 1
        assert l2wg.link_counters(net.a)["tx_flood"] == packets
    wire.send(net.a, "wg1", nothing(mac_of(1), 0))
    assert l2wg.link_counters(net.a)["tx_flood"] == packets + 1

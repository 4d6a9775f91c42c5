# SPDX-License-Identifier: GPL-2.0
"""Frames through the tunnel, byte for byte, and what the outer packets look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.vm import wire
from toolkit.guest import hosts as guest
from toolkit.guest.hosts import Host, capture, eventually, underlay

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Host]]:
    """A and B, joined by wg1, with a session, and silent; the same for all tests here."""
    a, b = Host("A").create(), Host("B").create()
    underlay(a, b)
    guest.tunnel(a, b)
    a.ping("192.168.157.2")
    wire.still(a, b)
    yield [a, b]
    for host in (a, b):
        host.destroy()


def test_every_frame_of_the_talk_crosses_unchanged(pair: list[Host]) -> None:
    a, b = pair
    frames = wire.talk()
    assert len(frames) == 18
    wire.differ(list(frames.values()), wire.cross(a, b, *frames.values()), "at B")


def test_unknown_protocols_cross_unpadded(pair: list[Host]) -> None:
    a, b = pair
    frames = [
        wire.B + wire.A + bytes.fromhex("88b5") + bytes(range(1, 1 + n)) for n in (0, 1, 15, 46)
    ]
    before = a.counter("wg1", "tx_opaque"), b.counter("wg1", "rx_opaque")
    with capture(b, "eth0", "udp", options="-Q in") as outer:
        assert wire.cross(a, b, *frames) == frames
    assert [len(m) - 32 for m in wire.data_messages(wire.read(outer))] == [14, 15, 29, 60]
    assert a.counter("wg1", "tx_opaque") - before[0] == len(frames)
    assert b.counter("wg1", "rx_opaque") - before[1] == len(frames)


def test_a_trailer_crosses_and_is_counted(pair: list[Host]) -> None:
    a, b = pair
    frame = wire.ipv4(40)
    prp = frame + bytes.fromhex("0001a03c88fb")
    before = b.counter("wg1", "rx_trailer")
    assert wire.cross(a, b, prp) == [prp]
    assert b.counter("wg1", "rx_trailer") - before == 1
    # a card's padding of a short frame is no trailer
    arp = wire.talk()["arp-request"]
    assert wire.cross(b, a, arp.ljust(60, b"\0")) == [arp]
    assert b.counter("wg1", "rx_trailer") - before == 1


def test_zeros_behind_the_end_that_no_card_has_put_there_arrive(pair: list[Host]) -> None:
    """A sequence number of AFDX, one byte behind the IP packet, is 0 once in 256 frames."""
    a, b = pair
    frames = [wire.ipv4(n) + bytes(z) for n in (46, 47, 62, 300, 1384) for z in (1, 2, 15, 16, 40)]
    frames = [f for f in frames if len(f) <= 1420]
    tagged = [f[:12] + b"\x81\0\0\7" + f[12:] for f in frames if len(f) <= 1400]
    before = b.counter("wg1", "rx_trailer")
    wire.differ(frames + tagged, wire.cross(a, b, *frames, *tagged), "at B")
    assert b.counter("wg1", "rx_trailer") - before == len(frames + tagged)


MALFORMED = {
    "ipv4-total-length": (wire.ipv4(40)[:-1], "rx_length_errors"),
    "ipv4-header-length": (wire.ipv4(40).replace(b"\x45", b"\x44", 1), "rx_frame_errors"),
    "arp-cut": (wire.talk()["arp-request"][:-1], "rx_length_errors"),
    "pppoe-length": (wire.talk()["pppoe-padi"][:-1], "rx_length_errors"),
    "vlan-around-ipv4": (wire.talk()["vlan-ipv4"][:-1], "rx_length_errors"),
    "802.3-length": (wire.B + wire.A + b"\x00\x30" + b"\x42" * 47, "rx_length_errors"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_frame_is_dropped_and_counted(pair: list[Host], name: str) -> None:
    frame, counter = MALFORMED[name]
    a, b = pair
    counters = ("rx_errors", "rx_length_errors", "rx_frame_errors")
    before = {c: b.stat("wg1", c) for c in counters}, b.counter("wg1", "rx_malformed")
    assert wire.cross(a, b, frame, arrive=0) == []

    def counted() -> bool:
        three = all(b.stat("wg1", c) > before[0][c] for c in ("rx_errors", counter))
        return three and b.counter("wg1", "rx_malformed") > before[1]

    eventually(counted, "the frame is counted everywhere")
    grown = {c for c in counters if b.stat("wg1", c) - before[0][c] == 1}
    assert grown == {"rx_errors", counter}
    assert b.counter("wg1", "rx_malformed") - before[1] == 1
    a.ping("192.168.157.2")


def test_a_frame_of_a_peer_that_does_not_own_its_source_is_dropped(pair: list[Host]) -> None:
    a, b = pair
    b.run("wg", "set", "wg1", "peer", a.public, "allowed-ips", "192.168.157.1/32")
    mine, spoofed = wire.ipv4(40), wire.ipv4(40, source="192.168.157.66")
    arp = wire.talk()["arp-request"]
    before = b.stat("wg1", "rx_frame_errors")
    try:
        assert wire.cross(a, b, mine, spoofed, arp, arrive=1) == [mine]
        eventually(lambda: b.stat("wg1", "rx_frame_errors") >= before + 2, "both are counted")
    finally:
        b.run("wg", "set", "wg1", "peer", a.public, "allowed-ips", "0.0.0.0/0,::/0")
    assert b.stat("wg1", "rx_frame_errors") - before == 2


def test_cryptokey_routing_by_address_and_0_0_0_0_for_the_rest(hosts: Hosts) -> None:
    """D has two peers: E owns its addresses, F owns 0.0.0.0 and the broadcast address.

                                        E
                                      +-----+
               D                  +===| wg1 |  unicast to 192.168.157.2
    +----------------------+      |   +-----+
    | packet socket -- wg1 |======+     F
    +----------------------+      |   +-----+
                                  +===| wg1 |  broadcast, ARP, VLAN
                                      +-----+
    """
    a, b, c = hosts("D", "E", "F")
    underlay(a, b, 0)
    underlay(a, c, 1)
    guest.tunnel(a, b, allowed="192.168.157.2/32,fd57::2/128")
    guest.keys(c)
    c.run("ip", "link", "add", "wg1", "type", "l2wireguard")
    c.run(
        *("wg", "set", "wg1", "private-key", "/dev/stdin", "listen-port", "51820"),
        *("peer", a.public, "allowed-ips", "0.0.0.0/0,::/0", "endpoint", "10.1.0.1:51820"),
        stdin=c.key,
    )
    c.run("ip", "link", "set", "wg1", "up")
    a.run(
        *("wg", "set", "wg1", "peer", c.public, "allowed-ips", "0.0.0.0/32,255.255.255.255/32"),
        *("endpoint", "10.1.0.2:51820"),
    )
    unicast = wire.ipv4(40)
    broadcast = wire.ipv4(40, to="255.255.255.255")
    nobody = wire.ipv4(40, to="192.168.157.9")
    arp, tagged = wire.talk()["arp-request"], wire.talk()["vlan-ipv4"]
    b.run("wg", "set", "wg1", "peer", a.public, "allowed-ips", "0.0.0.0/0")
    wire.still(a)
    before = a.stat("wg1", "tx_errors")
    with (
        capture(b, "wg1", options="-Q in", frames=1) as at_b,
        capture(c, "wg1", options="-Q in", frames=3) as at_c,
    ):
        wire.send(a, "wg1", unicast, broadcast, arp, tagged)
        with pytest.raises(OSError, match="Required key not available"):
            wire.send(a, "wg1", nobody)
    assert wire.read(at_b) == [unicast]
    assert sorted(wire.read(at_c)) == sorted([broadcast, arp, tagged])
    assert a.stat("wg1", "tx_errors") - before == 1
    # a tag without a VLAN is stepped over, here as by the receiver; too many are nobody's
    one, many = (unicast[:12] + b"\x81\0\xa0\0" * n + unicast[12:] for n in (1, 16))
    with (
        capture(b, "wg1", options="-Q in", frames=2) as at_b,
        capture(c, "wg1", options="-Q in", frames=1) as at_c,
    ):
        wire.send(a, "wg1", one)
        with pytest.raises(OSError, match="Required key not available"):
            wire.send(a, "wg1", many)
        # behind them, to each
        wire.send(a, "wg1", unicast, broadcast)
    assert sorted(wire.read(at_b)) == sorted([one, unicast])
    assert wire.read(at_c) == [broadcast]
    assert a.stat("wg1", "tx_errors") - before == 2


@pytest.mark.parametrize("outer", [4, 6])
def test_no_untagged_frame_that_fits_makes_a_packet_over_the_mtu(hosts: Hosts, outer: int) -> None:
    a, b = hosts("D", "E")
    underlay(a, b)
    guest.tunnel(a, b, outer=outer)
    a.ping("192.168.157.2")
    wire.still(a, b)
    frames = [wire.ipv4(n) for n in range(1406 - 20 - 35, 1406 - 20 + 1)]
    with capture(b, "eth0", "ip6" if outer == 6 else "ip", options="-Q in") as file:
        assert wire.cross(a, b, *frames) == frames
    packets = [p for p in wire.read(file) if len(p) > 1000]
    assert len(packets) == len(frames), "one outer packet for each frame"
    header = 14 + (40 if outer == 6 else 20) + 8 + 32
    lengths = [len(p) - header for p in packets]
    # to a multiple of 16 like WireGuard, but never over 1406 + 14
    assert lengths == [min(-(-len(f) // 16) * 16, 1420) for f in frames]
    assert max(len(p) for p in packets) - 14 == (1500 if outer == 6 else 1480)


def test_padding_never_adds_to_a_tagged_frame_that_fragments(pair: list[Host]) -> None:
    a, b = pair
    tag = bytes.fromhex("81000080")
    frames = [f[:12] + tag + f[12:] for f in (wire.ipv4(1406 - 20), wire.ipv4(1402 - 20))]
    with capture(b, "eth0", "udp", options="-Q in") as file:
        assert wire.cross(a, b, *frames) == frames
    messages = wire.data_messages(wire.read(file))
    assert [len(m) for m in messages] == [1424 + 32, 1420 + 32]


def test_a_padded_frame_on_the_wire_is_what_the_talk_shows(pair: list[Host]) -> None:
    a, b = pair
    a.ping("192.168.157.2")
    wire.still(a, b)
    frame = wire.talk()["ipv4-icmp-echo"]
    with capture(b, "eth0", "udp", options="-Q in") as file:
        assert wire.cross(a, b, frame) == [frame]
    (data,) = wire.data_messages(wire.read(file))
    # 14 + 84 bytes padded to 112, and 16 of authentication tag
    assert len(data) == 16 + 112 + 16

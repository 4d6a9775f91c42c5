# SPDX-License-Identifier: GPL-2.0
"""What the host of a switch sees: marks, its own stations, events."""

from __future__ import annotations

from l2wgctl.model import Key
from l2wgctl.switch import Event
from tests.vm import l2wg, station, wire
from tests.vm.spokes import (
    ALL,
    FREE,
    MAC_OF_C,
    C,
    Hub,
    flooded,
    judge,
    learned,
    more,
    nothing,
    within_the_hold,
)
from tests.vm.station import eth
from tests.vm.test_switch import mac_of
from toolkit.guest.hosts import capture, eventually, until_listening


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
        judge(net, "C", nothing(C))
        judge(net, "B", nothing(FREE))
        # who listens on the link hears of it before the chain does
        counter = ("nft", "list", "counter", "netdev", "t", "marked")
        eventually(lambda: "packets 1 " in net.a.run(*counter), "B's frame alone has the mark")
    finally:
        net.a.run("nft", "delete", "table", "netdev", "t")


def test_local_stations(net: Hub) -> None:
    """What the host bridges is learned, not flooded back, and not stolen at once."""
    station_a = "02:00:00:00:00:aa"
    here, last = eth(ALL, station_a, station.NOTHING, b"local" * 4), nothing(mac_of(1))
    wire.send(net.a, "wg1", here)
    assert learned(net.a) == {(station_a, 0)}
    assert l2wg.Fdb.PUBLIC_KEY not in l2wg.fdb(net.a)[station_a, 0]

    def stolen() -> dict[str, int]:
        l2wg.flush(net.a)
        wire.send(net.a, "wg1", here)
        return judge(net, "B", nothing(station_a))[0]

    refused = {"rx_loop": 1}
    assert within_the_hold(stolen, refused) == refused
    # for it: to the host alone, though both relay
    l2wg.set_peer(net.a, net.b, relay=1)
    wire.arrived(net.a, net.c)
    with capture(net.c, "wg1", options="-Q in", frames=2) as file:
        wire.send(net.a, "wg1", here)
        judge(net, "B", eth(station_a, FREE, station.NOTHING, b"to it" * 4))
        wire.send(net.a, "wg1", last)
    wire.differ([here, last], wire.read(file), "at C")

    # the other way round
    def back() -> dict[str, int]:
        l2wg.flush(net.a)
        before = l2wg.link_counters(net.a)
        judge(net, "B", nothing(FREE))
        wire.send(net.a, "wg1", eth(ALL, FREE, station.NOTHING, b"back" * 5))
        return more(before, l2wg.link_counters(net.a), "tx_loop")

    refused = {"tx_loop": 1}
    assert within_the_hold(back, refused) == refused
    # one that is bound to C is sent, and not learned
    hers = eth(ALL, MAC_OF_C, station.NOTHING, b"hers" * 5)
    wire.arrived(net.a, net.b)
    with capture(net.b, "wg1", options="-Q in", frames=1) as file:
        wire.send(net.a, "wg1", hers)
    wire.differ([hers], wire.read(file), "at B")
    assert (MAC_OF_C, 0) not in learned(net.a)


def test_a_station_that_has_come_too_early_is_reached(net: Hub) -> None:
    """It went from A's LAN to B's, and what it said there was within the hold."""
    station_a = "02:00:00:00:00:aa"
    here = eth(ALL, station_a, station.NOTHING, b"local" * 4)
    ask = flooded(net, eth(station_a, mac_of(1), station.NOTHING, b"to it" * 4))

    def too_early() -> bool:
        l2wg.flush(net.a)
        wire.send(net.a, "wg1", here)
        return judge(net, "B", nothing(station_a))[0] == {"rx_loop": 1}

    eventually(too_early, "it has come within 2 s")
    assert l2wg.Fdb.PUBLIC_KEY not in l2wg.fdb(net.a)[station_a, 0]
    eventually(ask, "A's LAN is silent, and what is for it is flooded")
    # a refused frame has moved nothing
    assert l2wg.Fdb.PUBLIC_KEY not in l2wg.fdb(net.a)[station_a, 0]
    # it was a thief: the station is where it was, and what is for it goes nowhere else
    wire.send(net.a, "wg1", here)
    assert not ask()
    # it is there
    eventually(lambda: judge(net, "B", nothing(station_a))[0] == {}, "the hold is over")
    assert l2wg.fdb(net.a)[station_a, 0][l2wg.Fdb.PUBLIC_KEY] == l2wg.key(net.b)
    assert not ask()


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
    monitor = net.a.start("stdbuf", "-oL", "bridge", "monitor", "fdb")
    until_listening(monitor)
    l2wg.set_peer(net.a, net.b, max_macs=9)
    judge(net, "B", nothing("02:00:00:00:00:f3"))
    assert monitor.stdout
    assert "02:00:00:00:00:f3" in monitor.stdout.readline()
    monitor.kill()

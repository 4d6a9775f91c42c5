# SPDX-License-Identifier: GPL-2.0
"""The switch: a full mesh, and a hub with spokes that are wires.

    mesh        A --- B          hub        B   C   D      (l2wireguard: one peer each)
                 \\   /                       \\  |  /
                   C                           A          (l2wgswitch)

All hosts are on one underlay, a bridge in the namespace U.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable

import pytest

from l2wgctl.netlink import switch_messages as messages
from tests.vm import l2wg, station, wire
from tests.vm.test_checksums import segments
from toolkit.guest.hosts import Host, cable, capture, eventually, keys

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]


def mac_of(number: int) -> str:
    return f"02:ca:fe:f0:0e:{number:02x}"


def ip_of(number: int) -> str:
    return f"192.168.157.{number}"


def underlay(make: Hosts, *names: str) -> list[Host]:
    """Hosts on one LAN: 10.0.0.1, 10.0.0.2, ..."""
    made = make(*names, "U")
    middle = made.pop()
    middle.ip("link add br0 type bridge", "link set br0 up")
    for number, host in enumerate(made, 1):
        keys(host)
        cable(host, middle, "eth0", f"p{number}")
        host.ip(f"address add 10.0.0.{number}/24 dev eth0")
        middle.ip(f"link set p{number} master br0")
    return made


def link(host: Host, number: int, kind: str, *, quiet: bool = False) -> None:
    """A link wg1 with the host's key, address and MAC; not up yet."""
    host.ip(
        f"link add wg1 address {mac_of(number)} type {kind}",
        f"address add {ip_of(number)}/24 dev wg1",
    )
    if quiet:
        # nor does it ask, 5 s after it has answered, whether the other is still there
        neighbour = "net.ipv4.neigh.wg1"
        host.run(
            *("sysctl", "-q", "-w", "net.ipv6.conf.wg1.disable_ipv6=1"),
            *(
                f"{neighbour}.delay_first_probe_time=3600",
                f"{neighbour}.base_reachable_time_ms=7200000",
            ),
        )
    host.run(
        "wg", "set", "wg1", "private-key", "/dev/stdin", "listen-port", "51820", stdin=host.key
    )


def peer(host: Host, *others: tuple[int, Host], allowed: str = "") -> None:
    """Make hosts peers, all with endpoints."""
    argv = []
    for number, other in others:
        argv += ["peer", other.public, "endpoint", f"10.0.0.{number}:51820"]
        if allowed:
            argv += ["allowed-ips", allowed]
    host.run("wg", "set", "wg1", *argv)


def mesh(make: Hosts, *names: str) -> list[Host]:
    """Switches that are all peers of each other."""
    made = underlay(make, *names)
    for number, host in enumerate(made, 1):
        link(host, number, "l2wgswitch")
        peer(host, *((n, h) for n, h in enumerate(made, 1) if h is not host))
        host.ip("link set wg1 up")
    return made


def hub(make: Hosts, *names: str, quiet: bool = False) -> list[Host]:
    """The first is a switch, and each other one is a wire to it."""
    made = underlay(make, *names)
    first, *spokes = made
    link(first, 1, "l2wgswitch", quiet=quiet)
    peer(first, *enumerate(spokes, 2))
    first.ip("link set wg1 up")
    for number, spoke in enumerate(spokes, 2):
        link(spoke, number, "l2wireguard", quiet=quiet)
        peer(spoke, (1, first), allowed="0.0.0.0/0,::/0")
        spoke.ip("link set wg1 up")
    return made


def shown(host: Host, *more: str) -> list[dict[str, object]]:
    """`bridge fdb show` of the link itself."""
    found: list[dict[str, object]] = json.loads(
        host.run("bridge", "-j", "fdb", "show", "dev", "wg1", *more)
    )
    return found


def test_three_hosts_are_one_ethernet(hosts: Hosts) -> None:
    a, b, c = mesh(hosts, "A", "B", "C")
    for host in (a, b, c):
        for number in (1, 2, 3):
            host.ping(ip_of(number))
    # each knows where the others are, by learning
    table = l2wg.fdb(a)
    assert table[mac_of(2), 0][l2wg.Fdb.PUBLIC_KEY] == l2wg.key(b)
    assert table[mac_of(3), 0][l2wg.Fdb.PUBLIC_KEY] == l2wg.key(c)
    assert set(table) == {(mac_of(2), 0), (mac_of(3), 0)}
    # and what is known is sent to that one alone
    with capture(c, "wg1", "icmp", options="-Q in", frames=1) as file:
        a.ping(ip_of(2))
        a.ping(ip_of(3), count=1)
    assert {x[30:34] for x in wire.read(file)} == {socket.inet_aton(ip_of(3))}
    assert a.counter("wg1", "tx_flood") > 0
    assert a.counter("wg1", "relay_frames") == 0


def test_the_link_is_an_ethernet_interface_of_its_own_kind(hosts: Hosts) -> None:
    (a,) = underlay(hosts, "A")
    link(a, 1, "l2wgswitch")
    a.ip("link set wg1 up")
    found = a.link("wg1")
    assert found["link_type"] == "ether"
    assert found["mtu"] == 1406
    assert found["linkinfo"]["info_kind"] == "l2wgswitch"
    assert "driver: l2wgswitch" in a.run("ethtool", "-i", "wg1")
    with pytest.raises(l2wg.Refused, match="not a link of kind l2wgswitch"):
        l2wg.get_link(a, "eth0")
    for _ in range(20):
        a.ip("link del wg1", f"link add wg1 address {mac_of(1)} type l2wgswitch", "link set wg1 up")


def test_a_long_dump_is_complete(hosts: Hosts) -> None:
    """More entries than fit into one message, from both interfaces."""
    a, b = hub(hosts, "A", "B", quiet=True)
    l2wg.set_peer(a, b, max_macs=2000)
    sources = [f"02:11:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(1000)]
    b.ping(ip_of(1))

    def learned() -> bool:
        """A burst of all would fill the queues of a busy machine."""
        missing = {*sources} - {x for x, _ in l2wg.fdb(a)}
        some = sorted(missing)[:200]
        wire.send(b, "wg1", *(station.eth(mac_of(1), s, station.NOTHING, b"x") for s in some))
        return not missing

    eventually(learned, "all are learned")
    assert {x for x, _ in l2wg.fdb(a)} == {*sources, mac_of(2)}
    assert sorted(str(x["mac"]) for x in shown(a) if "dst" in x) == sorted([*sources, mac_of(2)])


def test_a_hub_relays_between_its_spokes(hosts: Hosts) -> None:
    a, b, c, d = hub(hosts, "A", "B", "C", "D")
    for spoke in (b, c, d):
        spoke.ping(ip_of(1))
    # split horizon
    assert not b.ok("ping", "-c", "1", "-W", "1", ip_of(3))
    for spoke in (b, c):
        l2wg.set_peer(a, spoke, relay=1)
    b.ping(ip_of(3))
    c.ping(ip_of(2))
    # one of the two is enough
    d.ping(ip_of(2))
    assert l2wg.link_counters(a)["relay_frames"] >= 12
    assert l2wg.peer_counters(a, b)["relay_frames"] >= 6
    b.ping(ip_of(3), "-s", "1378", "-M", "do")
    # never between two that are isolated, whatever else they are
    for spoke in (b, c):
        l2wg.set_peer(a, spoke, isolated=1)
        spoke.run("ip", "neighbour", "flush", "dev", "wg1")
    assert not b.ok("ping", "-c", "1", "-W", "1", ip_of(3))
    d.ping(ip_of(2))
    b.ping(ip_of(1))


def test_copies_of_a_flood_are_not_changed_by_gro(hosts: Hosts) -> None:
    """Segments that GRO merges for the hub itself leave for the other spokes as they came."""
    a, b, c, d = hub(hosts, "A", "B", "C", "D", quiet=True)
    for spoke in (b, c, d):
        spoke.ping(ip_of(1))
    for spoke in (c, d):
        spoke.run("ethtool", "-K", "wg1", "gro", "off")  # it merges before tcpdump sees them
    l2wg.set_peer(a, b, relay=1)
    # GRO waits for more of the flow, as on a busy link
    a.run("sh", "-c", "echo 100000000 >/sys/class/net/wg1/gro_flush_timeout")
    nobody = bytes.fromhex("02cafef00e63") + bytes.fromhex(mac_of(2).replace(":", ""))
    sent = [nobody + f[12:] for f in segments("192.168.157.99", wrong=0)]
    for _ in range(5):
        with (
            capture(c, "wg1", "tcp", options="-Q in", frames=8) as at_c,
            capture(d, "wg1", "tcp", options="-Q in", frames=8) as at_d,
        ):
            wire.send(b, "wg1", *sent)
        wire.differ(sent, wire.read(at_c), "at C")
        wire.differ(sent, wire.read(at_d), "at D")


def test_options_wait_for_their_peer_and_stay(hosts: Hosts) -> None:
    a, b = underlay(hosts, "A", "B")
    link(a, 1, "l2wgswitch")
    a.ip("link set wg1 up")
    l2wg.set_peer(
        a,
        b,
        allowed_macs=l2wg.macs("02:00:00:00:00:01", "02:00:00:00:00:02"),
        allowed_vlans=l2wg.vlans((0, 0), (10, 20), (4094, 4094)),
        max_macs=3,
        relay=1,
        guards=5,
        mark=7,
    )

    def options() -> dict[int, bytes]:
        return l2wg.peers(a)[l2wg.key(b)]

    before = options()
    assert l2wg.Peer.PRESENT not in before and l2wg.Peer.CONFIGURED in before
    assert before[l2wg.Peer.ALLOWED_MACS] == l2wg.macs("02:00:00:00:00:01", "02:00:00:00:00:02")
    assert before[l2wg.Peer.ALLOWED_VLANS] == l2wg.vlans((0, 0), (10, 20), (4094, 4094))
    for _ in range(2):
        peer(a, (2, b))
        during = options()
        assert l2wg.Peer.PRESENT in during
        kept = (l2wg.Peer.ALLOWED_MACS, l2wg.Peer.MAX_MACS, l2wg.Peer.GUARDS, l2wg.Peer.MARK)
        assert [during[x] for x in kept] == [before[x] for x in kept]
        a.run("wg", "set", "wg1", "peer", b.public, "remove")
        assert options() == before
    l2wg.set_peer(a, b, allowed_macs=l2wg.macs("02:00:00:00:00:02", "02:00:00:00:00:03"))
    assert l2wg.number(options()[l2wg.Peer.MAX_MACS]) == 3
    assert {x for x, _ in l2wg.fdb(a)} == {"02:00:00:00:00:02", "02:00:00:00:00:03"}
    l2wg.forget_peer(a, b)
    assert l2wg.peers(a) == {} and l2wg.fdb(a) == {}
    for ask in (l2wg.forget_peer, lambda a, b: l2wg.flush(a, peer=b)):
        with pytest.raises(l2wg.Refused, match="ENOENT: the key is no peer and has no options"):
            ask(a, b)
    peer(a, (2, b))
    with pytest.raises(l2wg.Refused, match="ENOENT: the peer has no options"):
        l2wg.forget_peer(a, b)
    with pytest.raises(l2wg.Refused, match="ENODEV: there is no such link"):
        l2wg.flush(a, "wg9")


def test_what_is_wrong_is_refused_whole(hosts: Hosts) -> None:
    a, b = underlay(hosts, "A", "B")
    link(a, 1, "l2wgswitch")
    refused: list[tuple[dict[str, int | bytes], str]] = [
        ({"allowed_macs": l2wg.macs("01:00:00:00:00:01")}, "unicast and not zero"),
        ({"allowed_macs": l2wg.attr(1, b"abc")}, "6 bytes"),
        ({"allowed_vlans": l2wg.vlans((20, 10))}, "ends before it begins"),
        ({"allowed_vlans": l2wg.vlans((1, 4095))}, "ERANGE"),
        ({"allowed_vlans": messages.nest(1, messages.u16(2, 5))}, "a first and a last VLAN"),
        ({"pvid": 4095}, "ERANGE"),
        ({"relay": 2}, "ERANGE"),
        ({"guards": 8}, "ERANGE"),
    ]
    for options, why in refused:
        with pytest.raises(l2wg.Refused, match=why):
            l2wg.set_options(a, b, {"mark": 1, **options})
    assert l2wg.peers(a) == {}
    refused = [
        ({"ageing": 1}, "ERANGE"),
        ({"host_macs": l2wg.macs("00:00:00:00:00:00")}, "unicast and not zero"),
        ({"host_addresses": l2wg.prefixes("10.0.0.1/40")}, "no more bits"),
        ({"host_addresses": messages.nest(1, l2wg.attr(2, bytes(4)))}, "an address and a length"),
    ]
    for options, why in refused:
        with pytest.raises(l2wg.Refused, match=why):
            l2wg.set_link(a, options)


def test_peers_come_and_go_under_traffic(hosts: Hosts) -> None:
    a, b, c = mesh(hosts, "A", "B", "C")
    a.ping(ip_of(2))
    pings = [h.start("ping", "-q", "-f", "-w", "25", ip_of(1)) for h in (b, c)]
    for _ in range(10):
        a.run("wg", "set", "wg1", "peer", b.public, "remove")
        peer(a, (2, b))
        l2wg.set_peer(a, c, relay=1, pvid=0)
        l2wg.forget_peer(a, c)
    a.ip("link set wg1 down", "link set wg1 up")
    # B's sessions have gone with its peer at A, C's have stayed
    outputs = [ping.communicate()[0] for ping in pings]
    assert re.search(r" [1-9]\d* received", outputs[1]), outputs[1]
    eventually(lambda: a.ok("ping", "-c", "1", "-W", "1", ip_of(2)), "it goes on with B")
    eventually(lambda: a.ok("ping", "-c", "1", "-W", "1", ip_of(3)), "it goes on with C")


def test_it_moves_to_another_namespace(hosts: Hosts) -> None:
    a, b = mesh(hosts, "A", "B")
    (inner,) = hosts("inner")
    a.ping(ip_of(2))
    a.run("ip", "link", "set", "wg1", "netns", "inner")
    inner.ip(f"address add {ip_of(1)}/24 dev wg1", "link set wg1 up")
    inner.ping(ip_of(2))
    assert (mac_of(2), 0) in l2wg.fdb(inner)

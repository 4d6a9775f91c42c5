# SPDX-License-Identifier: GPL-2.0
"""Peers of a switch: the state of their sessions, and a key that takes the place of another.

A is a switch, and B and C are wires.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from l2wgctl.switch import SESSIONS
from tests.vm import l2wg, station, wire
from tests.vm.test_switch import hub, ip_of, link, mac_of, peer, underlay
from toolkit.guest.hosts import Host, capture, eventually, sh

Hosts = Callable[..., list[Host]]

FREE, BOUND, STATIC = "02:00:00:00:00:f1", "02:00:00:00:00:0b", "02:00:00:00:00:1b"
MANY = [f"02:11:00:00:00:{n:02x}" for n in range(100)]


def nothing(source: str) -> bytes:
    """A frame that claims no more than its source address."""
    return station.eth(station.BROADCAST, source, station.NOTHING, b"nothing" * 3)


def new_key(host: Host) -> Host:
    """The same host with a key pair of its own; not on its link yet."""
    key = sh("wg", "genkey").strip()
    return Host(host.name, key, sh("wg", "pubkey", stdin=key).strip())


def use_key(host: Host) -> None:
    """Put the key onto its link."""
    host.run("wg", "set", "wg1", "private-key", "/dev/stdin", stdin=host.key)


def wg_peers(a: Host) -> dict[str, list[str]]:
    """`wg show dump`: public key -> preshared key, endpoint, AllowedIPs, ..., keepalive."""
    lines = a.run("wg", "show", "wg1", "dump").splitlines()[1:]
    return {x.split("\t")[0]: x.split("\t")[1:] for x in lines}


def state(a: Host, of: Host) -> str:
    return SESSIONS[l2wg.number(l2wg.peers(a)[l2wg.key(of)][l2wg.Peer.SESSION])]


def at(a: Host, of: Host) -> set[tuple[str, int | None]]:
    """What the table has of a key."""
    found = l2wg.fdb(a).items()
    return {x for x, y in found if y.get(l2wg.Fdb.PUBLIC_KEY) == l2wg.key(of)}


@contextlib.contextmanager
def sessions(a: Host) -> Iterator[Callable[[], tuple[bytes, str]]]:
    """Hear of sessions on A: a function that waits for the next one."""
    with l2wg.Family(a) as family, family.sessions() as events:

        def following() -> tuple[bytes, str]:
            told = next(events)
            assert (told.type, told.link) == ("session", "wg1")
            assert told.public_key is not None and told.session is not None
            return bytes(told.public_key), told.session

        yield following


def test_the_state_of_a_session(hosts: Hosts) -> None:
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    with sessions(a) as following:
        b.ping(ip_of(1))
        seen = following()
        while seen[0] != l2wg.key(b) or seen[1] == "trying":
            seen = following()  # what A's own first frames have started
        assert seen == (l2wg.key(b), "up")
        told = l2wg.peers(a)[l2wg.key(b)]
        assert state(a, b) == "up"
        assert l2wg.number(told[l2wg.Peer.HEARD_AGE]) < 60_000
        # A gets no answer from a C that is away: it tries, and gives up
        eventually(lambda: state(a, c) == "idle", "nothing is for C")
        c.ip("link set wg1 down")
        a.ip(f"neighbour replace {ip_of(3)} lladdr {mac_of(3)} dev wg1")
        a.run("bridge", "fdb", "add", mac_of(3), "dev", "wg1", "self", "dst", l2wg.handle(c))
        a.run("ping", "-c", "1", "-W", "1", ip_of(3), check=False)
        while (seen := following()) != (l2wg.key(c), "trying"):
            assert seen[0] != l2wg.key(b), seen
        assert state(a, c) == "trying"
        c.ip("link set wg1 up")
        while (seen := following()) != (l2wg.key(c), "up"):
            assert seen[0] != l2wg.key(b), seen

        def of_b() -> str:
            """What comes next of B. C is no part of it: its keys may end on a slow machine."""
            while (seen := following())[0] != l2wg.key(b):
                pass
            return seen[1]

        # B goes, and its keys are good for three minutes more: nobody answers for a while
        b.ip("link set wg1 down")
        pings = a.start("ping", "-q", ip_of(2))
        assert of_b() == "trying"
        pings.kill()
        b.ip("link set wg1 up")
        b.ping(ip_of(1))
        assert of_b() == "up"
        c.ping(ip_of(1))
        # no more frames, no more keys
        a.ip("link set wg1 down")
        left = {l2wg.key(b), l2wg.key(c)}
        while left:
            key, now = following()
            if now == "idle":
                left.discard(key)
    assert state(a, b) == state(a, c) == "idle"


def test_an_answer_to_a_handshake_is_heard(hosts: Hosts) -> None:
    """From a peer that has nothing to say: no frame of its own ever comes."""
    a, b = underlay(hosts, "A", "B")
    link(a, 1, "l2wgswitch", quiet=True)
    link(b, 2, "l2wireguard", quiet=True)
    peer(a, (2, b))
    peer(b, (1, a))
    assert l2wg.Peer.HEARD_AGE not in l2wg.peers(a)[l2wg.key(b)]
    a.run("wg", "set", "wg1", "peer", b.public, "persistent-keepalive", "1")
    b.ip("link set wg1 up")
    a.ip("link set wg1 up")
    eventually(lambda: state(a, b) == "up", "B has answered")
    assert l2wg.Peer.HEARD_AGE in l2wg.peers(a)[l2wg.key(b)]


def test_violations_do_not_drown_sessions(hosts: Hosts) -> None:
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    b.ping(ip_of(1))
    l2wg.set_peer(a, c, allowed_macs=l2wg.macs(BOUND))
    with sessions(a) as following:
        for _ in range(3):
            wire.send(b, "wg1", *[nothing(BOUND)] * 1000)
        c.ping(ip_of(1))
        eventually(lambda: following() == (l2wg.key(c), "up"), "C's session is told")


def test_a_key_takes_the_place_of_another(hosts: Hosts) -> None:
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    for spoke in (b, c):
        spoke.ping(ip_of(1))
    a.run(
        *("wg", "set", "wg1", "peer", b.public, "allowed-ips", "10.2.0.0/16,10.2.2.2/32,fd02::/64"),
        *("persistent-keepalive", "21"),
    )
    l2wg.set_peer(
        a,
        b,
        **{"relay": 1, "guards": 3, "mark": 7, "max_macs": 150},
        allowed_macs=l2wg.macs(BOUND),
        allowed_vlans=l2wg.vlans((0, 0), (7, 9)),
    )
    to_b = ("dev", "wg1", "self", "dst", l2wg.handle(b), "vlan", "8")
    a.run("bridge", "fdb", "add", STATIC, *to_b)
    b.ping(ip_of(1))  # its own was forgotten with its earlier options
    wire.send(b, "wg1", *map(nothing, MANY))
    eventually(lambda: {x for x, _ in at(a, b)} > {BOUND, STATIC, *MANY}, "all are learned")
    before, table, of_wg = l2wg.peers(a), at(a, b), wg_peers(a)

    new = new_key(b)
    l2wg.replace_peer(a, b, new)
    assert at(a, new) == table and at(a, b) == set()
    after = l2wg.peers(a)
    assert l2wg.key(b) not in after
    kept = (
        *("MAX_MACS", "PVID", "ALLOWED_VLANS", "ALLOWED_MACS", "RELAY", "GUARDS", "MARK"),
        *("PRESENT", "CONFIGURED", "LEARNED"),
    )
    was, now = before[l2wg.key(b)], after[l2wg.key(new)]
    assert {k: now[getattr(l2wg.Peer, k)] for k in kept} == {
        k: was[getattr(l2wg.Peer, k)] for k in kept
    }
    mine = wg_peers(a)
    assert b.public not in mine
    for field in (0, 1, 6):  # preshared key, endpoint, keepalive
        assert mine[new.public][field] == of_wg[b.public][field]
    assert set(mine[new.public][2].split(",")) == set(of_wg[b.public][2].split(","))
    assert mine[c.public][2] == of_wg[c.public][2]

    # the old key is nobody, and the new one is B
    use_key(new)
    b.ping(ip_of(1))
    b.ping(ip_of(3))
    assert l2wg.link_counters(a)["relay_frames"] >= 3
    # C may use none of it
    table = at(a, new)
    wire.send(c, "wg1", nothing(BOUND), station.eth(FREE, FREE, station.IP, b""))
    wire.send(
        c, "wg1", station.eth(mac_of(1), FREE, station.IP, station.ip4("10.2.7.7", "1.1.1.1"))
    )
    told = ("rx_mac_bound", "rx_ip_bound")
    eventually(lambda: all(l2wg.peer_counters(a, c).get(x) for x in told), "C is refused")
    assert at(a, new) == table


def test_a_standby_key_shakes_hands_and_waits(hosts: Hosts) -> None:
    """A link that is closed, a host that has changed its key, and an agent that hears of it."""
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    for spoke in (b, c):
        l2wg.set_peer(a, spoke, max_macs=9)
    l2wg.set_link(a, {"new_peers": l2wg.CLOSED})
    b.ping(ip_of(1))
    new = new_key(b)
    with sessions(a) as following:
        a.run("wg", "set", "wg1", "peer", new.public, "endpoint", "10.0.0.2:51820")
        use_key(new)
        frames = b.start("ping", "-i", "0.2", ip_of(1))
        # the old key may be missed meanwhile
        eventually(lambda: following() == (l2wg.key(new), "up"), "the new key has a session")
        # its session is up, and not one frame has passed
        eventually(lambda: l2wg.peer_counters(a, new).get("rx_closed", 0) > 0, "it is refused")
        assert at(a, new) == set() and at(a, b)
        l2wg.replace_peer(a, b, new)
        frames.kill()
    b.ping(ip_of(1))
    assert at(a, new) == {(mac_of(2), 0)}
    assert l2wg.key(b) not in l2wg.peers(a) and b.public not in wg_peers(a)


def test_a_key_with_options_of_its_own_keeps_them(hosts: Hosts) -> None:
    a, b, _ = hub(hosts, "A", "B", "C", quiet=True)
    b.ping(ip_of(1))
    wire.send(b, "wg1", *map(nothing, MANY[:9]))
    eventually(lambda: len(at(a, b)) == 10, "all are learned")
    new = new_key(b)
    # what was learned remains as far as it may
    l2wg.set_peer(a, b, allowed_macs=l2wg.macs(BOUND), relay=1)
    wire.send(b, "wg1", *map(nothing, MANY[:9]))
    eventually(lambda: len(at(a, b)) >= 10, "all are learned again")
    l2wg.set_peer(a, new, allowed_macs=l2wg.macs(STATIC, MANY[0]), max_macs=4)
    l2wg.replace_peer(a, b, new)
    told = l2wg.peers(a)[l2wg.key(new)]
    assert told[l2wg.Peer.ALLOWED_MACS] == l2wg.macs(STATIC, MANY[0])
    assert told[l2wg.Peer.RELAY] == b"\0"
    assert l2wg.number(told[l2wg.Peer.LEARNED]) == 4
    found = {x for x, _ in at(a, new)}
    assert len(found) == 6 and {STATIC, MANY[0]} < found and BOUND not in found


def test_options_alone_are_handed_over(hosts: Hosts) -> None:
    """Neither is a peer: the options go on waiting, under the new key."""
    a, b = underlay(hosts, "A", "B")
    link(a, 1, "l2wgswitch")
    new = new_key(b)
    l2wg.set_peer(a, b, allowed_macs=l2wg.macs(BOUND), pvid=7)
    l2wg.replace_peer(a, b, new)
    told = l2wg.peers(a)
    assert set(told) == {l2wg.key(new)}
    assert told[l2wg.key(new)][l2wg.Peer.ALLOWED_MACS] == l2wg.macs(BOUND)
    assert l2wg.Peer.PRESENT not in told[l2wg.key(new)] and wg_peers(a) == {}


def test_what_cannot_replace_is_refused(hosts: Hosts) -> None:
    a, b, c = underlay(hosts, "A", "B", "C")
    link(a, 1, "l2wgswitch")
    peer(a, (2, b))
    l2wg.set_peer(a, b, mark=3)
    before = l2wg.peers(a), wg_peers(a)
    for old, new, why in (
        (c, b, "ENOENT: the old key is no peer and has no options"),
        (b, b, "EINVAL: the two keys are the same"),
        (b, a, "EINVAL: the new key is the link's own"),
    ):
        with pytest.raises(l2wg.Refused, match=why):
            l2wg.replace_peer(a, old, new)
    with l2wg.Family(a) as family, pytest.raises(l2wg.Refused, match="name the peer that it repl"):
        family.do(
            l2wg.Cmd.PEER_REPLACE,
            l2wg.named("wg1") + l2wg.attr(l2wg.Peer.PUBLIC_KEY, l2wg.key(c)),
        )
    told, of_wg = l2wg.peers(a), wg_peers(a)
    assert of_wg == before[1] and set(told) == set(before[0])
    assert told[l2wg.key(b)][l2wg.Peer.MARK] == before[0][l2wg.key(b)][l2wg.Peer.MARK]


def test_no_moment_belongs_to_a_thief(hosts: Hosts) -> None:
    """C claims what is B's all the time while B's keys change under traffic."""
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    for spoke in (b, c):
        spoke.ping(ip_of(1))
    a.run("wg", "set", "wg1", "peer", b.public, "allowed-ips", "10.2.0.0/16")
    l2wg.set_peer(a, b, allowed_macs=l2wg.macs(BOUND))
    to_b = ("dev", "wg1", "self", "dst", l2wg.handle(b))
    a.run("bridge", "fdb", "add", STATIC, *to_b)
    stolen = [
        nothing(BOUND),
        nothing(STATIC),
        station.eth(mac_of(1), FREE, station.IP, station.ip4("10.2.7.7", "1.1.1.1")),
    ]
    end = threading.Event()

    def steal() -> None:
        while not end.is_set():
            wire.send(c, "wg1", *stolen * 20)

    thief = threading.Thread(target=steal)
    other = new_key(b)

    def replaced() -> bool:
        l2wg.replace_peer(a, b, other)
        l2wg.replace_peer(a, other, b)
        counted = l2wg.peer_counters(a, c)
        return counted.get("rx_mac_bound", 0) > 100 and counted.get("rx_ip_bound", 0) > 50

    with capture(a, "wg1", "src net 10.2.0.0/16", options="-Q in") as file:
        thief.start()
        try:
            for _ in range(15):
                replaced()
            eventually(replaced, "C has tried often enough")
        finally:
            end.set()
            thief.join()
    assert wire.read(file) == []
    # C's own, and none that it has stolen
    assert at(a, c) <= {(mac_of(3), 0)}
    assert {BOUND, STATIC} <= {x for x, _ in at(a, b)}

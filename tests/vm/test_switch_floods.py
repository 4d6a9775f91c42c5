# SPDX-License-Identifier: GPL-2.0
"""Very many: copies for 100 peers, handshakes with 1,000 that are away, 120,000 addresses."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Callable

import pytest

from l2wgctl.switch import SESSIONS
from tests.vm import l2wg, station, wire
from tests.vm.failing import FAIL_NTH
from tests.vm.test_switch import hub, ip_of, link, mac_of, underlay
from toolkit import paths
from toolkit.guest import bench
from toolkit.guest.hosts import Host, capture, eventually, inside, keys, no_more_memory, sh

Hosts = Callable[..., list[Host]]
#: They take some ten minutes in an emulated machine.
pytestmark = pytest.mark.skipif(
    not FAIL_NTH.exists(), reason="needs a kernel that runs natively: --kernel uml"
)
UP = SESSIONS.index("up")
INITIATION = 148  # bytes, whitepaper 5.4.2


def asks(source: str, address: str) -> bytes:
    """An ARP request for somebody who isn't there."""
    return station.eth(
        *(station.BROADCAST, source, station.ARP), station.arp(source, address, "192.168.157.99")
    )


def test_arp_reaches_each_of_100_peers_once(hosts: Hosts) -> None:
    """All are links of one namespace, so that there are a hundred in reasonable time."""
    a, s = underlay(hosts, "A", "S")
    link(a, 1, "l2wgswitch", quiet=True)
    s.run("sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1")
    names = [f"w{n}" for n in range(100)]
    s.ip(*(f"link add {x} type l2wireguard" for x in names))
    made = []
    for number, name in enumerate(names):
        spoke = Host(f"key{number}")
        keys(spoke)
        made.append(spoke)
        s.run(
            *("wg", "set", name, "private-key", "/dev/stdin", "listen-port", str(40000 + number)),
            *("peer", a.public, "endpoint", "10.0.0.1:51820", "allowed-ips", "0.0.0.0/0,::/0"),
            stdin=spoke.key,
        )
    config = "".join(
        f"[Peer]\nPublicKey = {x.public}\nEndpoint = 10.0.0.2:{40000 + n}\n"
        for n, x in enumerate(made)
    )
    a.run("wg", "addconf", "wg1", "/dev/stdin", stdin=config)
    for spoke in made:
        l2wg.set_peer(a, spoke, relay=1)
    a.ip("link set wg1 up")
    s.ip(*(f"link set {x} up" for x in names))

    def up() -> bool:
        wire.send(a, "wg1", hello)
        told = l2wg.peers(a)
        return all(l2wg.number(told[l2wg.key(x)][l2wg.Peer.SESSION]) == UP for x in made)

    # the first broadcast opens all tunnels
    hello = asks(mac_of(1), ip_of(1))
    eventually(up, "all sessions are up")
    asked, last = (asks(f"02:66:00:00:00:0{n}", "192.168.157.7") for n in (1, 2))
    with contextlib.ExitStack() as stack:
        heard = [stack.enter_context(wire.heard(s, name)) for name in names]
        seen: list[list[bytes]] = [[] for _ in names]

        def arrived() -> bool:
            for frames, new in zip(seen, heard):
                frames += new()
            return all({asked, last} <= {*frames} for n, frames in enumerate(seen) if n != 7)

        wire.send(s, "w7", asked, last)
        eventually(arrived, "each has the last one")
    found = [frames.count(asked) for frames in seen]
    assert found == [int(n != 7) for n in range(100)], "each once, but not the one that has asked"


def test_1000_dead_peers_are_tried_20_times_a_second(hosts: Hosts) -> None:
    """However often somebody asks: each is tried once at once, and then in turn."""
    a, s = underlay(hosts, "A", "S")
    link(a, 1, "l2wgswitch", quiet=True)
    config = ""
    for number in range(1000):
        # any 32 bytes are a public key
        key = base64.b64encode(hashlib.sha256(str(number).encode()).digest()).decode()
        config += f"[Peer]\nPublicKey = {key}\nEndpoint = 10.0.0.2:{20000 + number}\n"
    a.run("wg", "addconf", "wg1", "/dev/stdin", stdin=config)

    def ports() -> list[int]:
        """Where each initiation has gone."""
        udp = [f[34:42] for f in wire.read(file) if len(f) == 42 + INITIATION]
        return [int.from_bytes(x[2:4], "big") for x in udp]

    with capture(s, "eth0", "udp dst portrange 20000-20999") as file:
        a.ip("link set wg1 up")
        began, floods = time.monotonic(), 0

        def all_tried() -> bool:
            nonlocal floods
            for _ in range(10):
                wire.send(a, "wg1", asks(mac_of(1), ip_of(1)))
                floods += 1
            return len(set(ports())) == 1000

        eventually(all_tried, "each has been tried")
        first = time.monotonic()
        while time.monotonic() < first + 10:
            all_tried()
            time.sleep(0.1)
        sent, took = len(ports()), time.monotonic() - began
    # 500 in the bucket of first tries and 500 more a second, 20 a second of the others
    assert sent <= 1000 + 20 * (took + 1), (sent, took, floods)
    assert sent >= 1000 + 20, (sent, took, floods)
    # what waits for them is 8 copies each
    assert a.counter("wg1", "tx_flood") == floods
    print(f"{floods} floods, {sent} initiations in {took:.1f} s")


def test_floods_for_nobody_are_limited(hosts: Hosts) -> None:
    """From a peer alone in its VLAN: the hub looks at 2,000 others for each of its frames."""
    a, b = hub(hosts, "A", "B", quiet=True)
    b.ping(ip_of(1))
    others = (base64.b64encode(hashlib.sha256(b"%d" % n).digest()) for n in range(1998))
    config = "".join(f"[Peer]\nPublicKey = {key.decode()}\n" for key in others)
    a.run("wg", "addconf", "wg1", "/dev/stdin", stdin=config)
    l2wg.set_peer(a, b, relay=1, pvid=7)
    sh("cc", "-O1", "-o", bench.PACKETS, str(paths.ROOT / "toolkit/bench/packets.c"))
    frame = station.eth(station.BROADCAST, mac_of(2), station.NOTHING, bytes(46))
    before, begin = a.stat("wg1", "rx_packets"), time.monotonic()
    argv = ("frames", "B", "wg1", "A", frame.hex(), "10000", "512", "0")
    sh(bench.PACKETS, *argv)
    took = time.monotonic() - begin
    told = l2wg.peer_counters(a, b)
    assert "tx_flood" not in told
    # 1,999 / 32 = 62 copies for a look, of 20,000 a second; and what the clock rounds up
    looked_at = a.stat("wg1", "rx_packets") - before - told.get("rx_flood_limit", 0)
    assert 0 < looked_at <= 20_000 / 62 * (took + 1.1), (looked_at, told, took)
    print(f"{looked_at} looks in {took:.1f} s")


def test_120000_addresses_leave_no_trace(hosts: Hosts) -> None:
    """From a peer with room for all of them: it pushes out its own, and memory is flat."""
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    for spoke in (b, c):
        spoke.ping(ip_of(1))
    sh("cc", "-O1", "-o", bench.PACKETS, str(paths.ROOT / "toolkit/bench/packets.c"))
    mine = [f"02:33:00:00:00:{n:02x}" for n in range(50)]
    stations = [station.eth(mac_of(1), x, station.NOTHING, b"x") for x in mine]
    wire.send(c, "wg1", *stations)
    eventually(lambda: {x for x, _ in l2wg.fdb(a)} >= set(mine), "C's stations are learned")
    l2wg.set_peer(a, b, max_macs=1 << 20)
    frame = station.eth(mac_of(1), station.BROADCAST, station.NOTHING, bytes(46))

    def flood(seed: int) -> None:
        argv = ("frames", "B", "wg1", "A", frame.hex(), "20000", "512", str(seed << 32))
        found = json.loads(sh(bench.PACKETS, *argv))
        assert found["received"] > 18_000, found
        assert {x for x, _ in l2wg.fdb(a)} >= set(mine)
        # or they are forgotten after 300 s, as they should be
        wire.send(c, "wg1", *stations)

    # What nobody asks for would count as received and as dropped.
    with inside(a), socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as ear:
        ear.bind(("wg1", station.NOTHING))
        for seed in (1, 2, 3):
            flood(seed)
        # KASAN keeps what has been freed, up to 1/32 of the memory, and that is full now
        with no_more_memory(4000):
            for seed in (4, 5, 6):
                flood(seed)
    assert len(l2wg.fdb(a)) == 8192
    assert {x for x, _ in l2wg.fdb(a)} >= set(mine)

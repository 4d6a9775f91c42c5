# SPDX-License-Identifier: GPL-2.0
"""What people do with an Ethernet link: IPv6, large pings, TCP with and without offloads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm import wire
from toolkit.guest import hosts as guest
from toolkit.guest.hosts import Host, capture, eventually, sh, underlay

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]
MEGABYTES = 20


@pytest.mark.parametrize("outer", [4, 6])
def test_ipv6_with_neighbour_discovery_and_link_local(hosts: Hosts, outer: int) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    guest.tunnel(a, b, outer=outer)
    for host, last in ((a, 1), (b, 2)):
        host.run("ip", "address", "add", f"fd57::{last}/64", "dev", "wg1", "nodad")
    local = "fe80::ca:feff:fef0:e05"
    eventually(lambda: a.ok("ping", "-c", "1", "-W", "1", f"{local}%wg1"), "link-local works")
    a.ping(f"{local}%wg1")
    a.ping("fd57::2")
    assert "lladdr 02:ca:fe:f0:0e:05" in a.run("ip", "-6", "neighbour", "show", "fd57::2")
    # all nodes
    assert "bytes from" in a.run("ping", "-c", "1", "ff02::1%wg1")


@pytest.mark.parametrize("outer", [4, 6])
def test_pings_of_the_full_mtu_and_fragmented_ones(hosts: Hosts, outer: int) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    guest.tunnel(a, b, outer=outer)
    for host, last in ((a, 1), (b, 2)):
        host.run("ip", "address", "add", f"fd57::{last}/64", "dev", "wg1", "nodad")
    with capture(b, "eth0", "ip[6:2] & 0x3fff != 0 or ip6[6] = 44") as fragments:
        a.ping("192.168.157.2", "-s", str(1406 - 28), "-M", "do")
        a.ping("fd57::2", "-s", str(1406 - 48), "-M", "do")
    assert wire.read(fragments) == [], "no outer fragment"
    assert not a.ok("ping", "-c", "1", "-W", "1", "-s", str(1406 - 27), "-M", "do", "192.168.157.2")
    # the inner packet fragments, each fragment is a frame
    a.ping("192.168.157.2", "-s", "5000")
    a.ping("fd57::2", "-s", "5000")


def transfer(a: Host, b: Host, address: str, folder: Path) -> None:
    """MEGABYTES from A to B by TCP; what arrives has the same checksum."""
    source, target = folder / "sent", folder / "received"
    with source.open("wb") as f:
        block = hashlib.sha512(b"l2wg").digest() * 1024
        for i in range(MEGABYTES * 16):
            f.write(i.to_bytes(4, "big") + block[4:])
    target.unlink(missing_ok=True)
    with target.open("wb") as out:
        import subprocess

        server = subprocess.Popen(
            ["ip", "netns", "exec", b.name, "ncat", "-l", "-p", "9000", "--recv-only"], stdout=out
        )
        eventually(lambda: "LISTEN" in b.run("ss", "-Hltn", "sport = :9000"), "ncat listens")
        a.run("sh", "-c", f"ncat --send-only {address} 9000 <{source}")
        server.wait(guest.LONG)
    assert sha256(target) == sha256(source)


def sha256(path: Path) -> str:
    """Of a file, by sha256sum."""
    return sh("sha256sum", str(path)).split()[0]


@pytest.mark.parametrize("offloads", ["on", "off"])
@pytest.mark.parametrize("tagged", [False, True], ids=["untagged", "vlan"])
def test_tcp_arrives_whole(pair: list[Host], tmp_path: Path, offloads: str, tagged: bool) -> None:
    a, b = pair
    link, address = "wg1", "192.168.157.2"
    if tagged:
        link, address = "wg1.128", "192.168.158.2"
        for host, last in zip(pair, (1, 2)):
            host.run("ip", "link", "add", "link", "wg1", "name", link, "type", "vlan", "id", "128")
            host.run("ip", "link", "set", link, "mtu", "1402", "up")
            host.run("ip", "address", "add", f"192.168.158.{last}/24", "dev", link)
    for host in pair:
        for name in {"wg1", link}:
            host.run(
                *("ethtool", "-K", name, "tso", offloads, "gso", offloads, "gro", offloads),
                *("tx", offloads, "sg", offloads),
                check=False,
            )
    transfer(a, b, address, tmp_path)
    for host in pair:
        for counter in ("rx_errors", "tx_errors"):
            assert host.stat("wg1", counter) == 0, f"{counter} of {host.name}"


def test_a_link_sends_no_icmp_errors(pair: list[Host]) -> None:
    a, b = pair
    a.run("wg", "set", "wg1", "peer", b.public, "allowed-ips", "0.0.0.0/32")
    with capture(a, "lo") as lo, capture(a, "wg1", options="-Q in") as back:
        with pytest.raises(OSError, match="Required key not available"):
            wire.send(a, "wg1", wire.ipv4(40))
    assert wire.read(lo) == [] and wire.read(back) == []


@pytest.mark.parametrize("version", [4, 6])
def test_congestion_marks_cross_as_rfc6040_says(pair: list[Host], version: int) -> None:
    a, b = pair
    for host, last in ((a, 1), (b, 2)):
        host.run("ip", "address", "add", f"fd57::{last}/64", "dev", "wg1", "nodad")
    a.ping("192.168.157.2")
    a.ping("fd57::2")
    # everything that leaves A's cable has experienced congestion
    a.run("nft", "add", "table", "netdev", "t")
    a.run("nft", "add", "table", "inet", "t")
    a.run("nft", "add chain inet t out { type filter hook output priority 0; }")
    a.run(
        "nft", "add", "rule", "inet", "t", "out", "udp", "dport", "51820", "ip", "ecn", "set", "ce"
    )
    target = "192.168.157.2" if version == 4 else "fd57::2"
    with capture(b, "wg1", "icmp or icmp6", options="-Q in") as file:
        # the sender says that its transport minds congestion marks
        a.ping(target, "-Q", "2")
    echoes = [p for p in wire.read(file) if len(p) >= 98]
    field = [p[15] & 3 if version == 4 else p[15] >> 4 & 3 for p in echoes]
    assert field and set(field) == {3}


def test_congestion_marks_cross_in_a_priority_tag(pair: list[Host]) -> None:
    a, b = pair
    a.ping("192.168.157.2")
    wire.still(a, b)
    a.run("nft", "add", "table", "inet", "t")
    a.run("nft", "add chain inet t out { type filter hook output priority 0; }")
    a.run("nft", "add rule inet t out udp dport 51820 ip ecn != not-ect ip ecn set ce")
    able = bytearray(wire.ipv4(40))
    able[15] |= 2  # capable of marks (RFC 3168 5)
    wire.checksum(able)
    marked = bytearray(able)
    marked[15] |= 3
    wire.checksum(marked)
    tag = b"\x81\0\xa0\0"
    for head in (b"", tag, tag * 2):
        frame, expected = (bytes(f[:12] + head + f[12:]) for f in (able, marked))
        assert wire.cross(a, b, frame) == [expected]


def test_tunnel_survives_its_peer_restarting(pair: list[Host]) -> None:
    a, b = pair
    a.ping("192.168.157.2")
    b.run("ip", "link", "set", "wg1", "down")
    b.run("ip", "link", "set", "wg1", "up")
    eventually(lambda: b.ok("ping", "-c", "1", "-W", "1", "192.168.157.1"), "it pings again")
    a.ping("192.168.157.2")

# SPDX-License-Identifier: GPL-2.0
"""Both kinds over every underlay that we can make.

The first L2 WireGuard broke reception over some of them (VLAN, PPP, tunnels), for the plain kind,
too: it asked the outer packet whether the link is an Ethernet link.
"""

from __future__ import annotations

import os
import pty
import threading
import tty
from collections.abc import Callable, Iterator

import pytest

from tests.vm import flows
from toolkit.guest.hosts import PORT, Host, cable, eventually, sh, tunnel

Hosts = Callable[..., list[Host]]


def addresses(a: Host, b: Host, link: str) -> None:
    for host, last in ((a, 1), (b, 2)):
        host.ip(
            f"link set {link} up",
            f"address add 10.77.0.{last}/24 dev {link}",
            f"address add fd77::{last}/64 dev {link} nodad",
        )


def veth(a: Host, b: Host) -> None:
    addresses(a, b, "eth0")


def vlan(a: Host, b: Host) -> None:
    for host in (a, b):
        host.ip("link add link eth0 name v type vlan id 7")
    addresses(a, b, "v")


def bridge(a: Host, b: Host) -> None:
    for host in (a, b):
        host.ip("link add br0 type bridge forward_delay 0", "link set eth0 master br0")
    addresses(a, b, "br0")


def outer_tunnel(kind: str) -> Callable[[Host, Host], None]:
    def make(a: Host, b: Host) -> None:
        for host, mine, theirs in ((a, 1, 2), (b, 2, 1)):
            host.ip(
                f"address add 10.0.0.{mine}/24 dev eth0",
                f"link add t0 type {kind} local 10.0.0.{mine} remote 10.0.0.{theirs}",
            )
        addresses(a, b, "t0")

    return make


def ppp(a: Host, b: Host) -> None:
    """PPP over a pair of pseudo-terminals, by pppd at both ends."""
    sh("modprobe", "ppp_async")
    ends = [pty.openpty() for _ in (a, b)]
    for _, terminal in ends:
        # not left to pppd: until the second has started, its terminal would send the first one's
        # packets back, which then gives up ("serial line is looped back")
        tty.setraw(terminal)
    relay(ends[0][0], ends[1][0])
    daemons = [
        host.start(
            *("pppd", os.ttyname(ends[local - 1][1]), "115200", "nodetach", "noauth"),
            *(f"10.77.0.{local}:10.77.0.{remote}", "ipv6", f"::{local},::{remote}"),
            *("ifname", "ppp9", "local", "noccp", "nocrtscts", "lcp-max-configure", "30"),
            *("mru", "1500", "mtu", "1500"),
        )
        for host, local, remote in ((a, 1, 2), (b, 2, 1))
    ]
    for host, last in ((a, 1), (b, 2)):

        def up(host: Host = host, last: int = last) -> bool:
            for daemon in daemons:
                assert daemon.poll() is None, daemon.stdout and daemon.stdout.read()
            out = host.run("ip", "address", "show", "dev", "ppp9", check=False)
            return f"10.77.0.{last}" in out

        eventually(up, "PPP is up")
        # its own three packets are less than a burst
        host.ip("link set ppp9 txqueuelen 1000")
        host.ip(f"address add fd77::{last}/64 dev ppp9 nodad")


def relay(one: int, other: int) -> None:
    """Copy between two pseudo-terminals until one of them is closed."""

    def copy(source: int, target: int) -> None:
        try:
            while data := os.read(source, 4096):
                while data:
                    data = data[os.write(target, data) :]
        except OSError:
            pass

    for pair in ((one, other), (other, one)):
        threading.Thread(target=copy, args=pair, daemon=True).start()


UNDERLAYS = {
    "veth": veth,
    "vlan": vlan,
    "bridge": bridge,
    "ipip": outer_tunnel("ipip"),
    "gre": outer_tunnel("gre"),
    "gretap": outer_tunnel("gretap"),
    "ppp": ppp,
}


@pytest.fixture
def batches() -> Iterator[None]:
    """Both kinds send in batches."""
    before = flows.MODE.read_text()
    flows.mode("all")
    yield
    flows.mode(before)


@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_both_kinds_over(hosts: Hosts, batches: None, underlay: str) -> None:
    """Both kinds, with IPv4 and IPv6 outside, over each of UNDERLAYS.

      A                                     B
    +--------------------+              +--------------------+
    | wg1  192.168.157.1 |==============| wg1  192.168.157.2 |
    | underlay 10.77.0.1 |--------------| underlay 10.77.0.2 |
    | eth0               |--------------| eth0               |
    +--------------------+    cable     +--------------------+
    """
    a, b = hosts("A", "B")
    cable(a, b)
    UNDERLAYS[underlay](a, b)
    for outer, (mine, theirs) in {
        4: ("10.77.0.1", "10.77.0.2"),
        6: ("[fd77::1]", "[fd77::2]"),
    }.items():
        if outer == 6 and underlay == "ipip":
            continue  # ipip carries IPv4 only
        for kind in ("wireguard", "l2wireguard"):
            tunnel(a, b, kind=kind, endpoints=(f"{mine}:{PORT}", f"{theirs}:{PORT}"))
            a.ping("192.168.157.2")
            b.ping("192.168.157.1", "-s", "1300")
            for card in ("on", "off"):  # does the cable take buffers whole?
                a.run("ethtool", "-K", "eth0", "tx-udp-segmentation", card, "tx", card, check=False)
                # PPP takes packets from its terminal in a worker, now on this processor and now
                # on that one, and each processor has a queue of its own
                flows.burst(
                    *(a, b, "192.168.157.2", flows.datagrams(20, 1000, 300)),
                    ordered=underlay != "ppp",
                )
                flows.stream(a, b, "192.168.157.2", 100_000)
            for host in (a, b):
                host.run("ip", "link", "del", "wg1")


@pytest.mark.parametrize("inner", ["wireguard", "l2wireguard"])
@pytest.mark.parametrize("outer", ["wireguard", "l2wireguard"])
def test_a_tunnel_in_a_tunnel(hosts: Hosts, batches: None, inner: str, outer: str) -> None:
    """wg1 runs over wg0, each of either kind.

      A                                     B
    +--------------------+              +--------------------+
    | wg1  192.168.99.1  |==============| wg1  192.168.99.2  |
    | wg0  192.168.157.1 |==============| wg0  192.168.157.2 |
    | eth0 10.77.0.1     |--------------| eth0 10.77.0.2     |
    +--------------------+    cable     +--------------------+
    """
    a, b = hosts("A", "B")
    cable(a, b)
    veth(a, b)
    tunnel(a, b, "wg0", kind=outer, endpoints=(f"10.77.0.1:{PORT}", f"10.77.0.2:{PORT}"))
    tunnel(
        *(a, b, "wg1"),
        kind=inner,
        endpoints=("192.168.157.1:7", "192.168.157.2:7"),
        addresses=False,
    )
    for host, last in ((a, 1), (b, 2)):
        host.run("ip", "address", "add", f"192.168.99.{last}/24", "dev", "wg1")
    a.ping("192.168.99.2")
    b.ping("192.168.99.1", "-s", "3000")
    flows.burst(a, b, "192.168.99.2", flows.datagrams(20, 1000, 300))
    flows.stream(a, b, "192.168.99.2", 100_000)


def test_a_stock_peer_completes_the_handshake(hosts: Hosts) -> None:
    """Handshake and keepalive are WireGuard's: a plain link answers an Ethernet one."""
    a, b = hosts("A", "B")
    cable(a, b)
    veth(a, b)
    tunnel(a, b, endpoints=(f"10.77.0.1:{PORT}", f"10.77.0.2:{PORT}"), addresses=False)
    b.run("ip", "link", "del", "wg1")
    b.run("ip", "link", "add", "wg1", "type", "wireguard")
    b.run(
        *("wg", "set", "wg1", "private-key", "/dev/stdin", "listen-port", str(PORT)),
        *("peer", a.public, "allowed-ips", "0.0.0.0/0", "endpoint", f"10.77.0.1:{PORT}"),
        *("persistent-keepalive", "1"),
        stdin=b.key,
    )
    b.run("ip", "link", "set", "wg1", "up")

    def keepalives(host: Host) -> bool:
        handshake = host.run("wg", "show", "wg1", "latest-handshakes").split()[-1]
        received = host.run("wg", "show", "wg1", "transfer").split()[-2]
        return handshake != "0" and int(received) > 92 + 32

    eventually(lambda: keepalives(a), "handshake and keepalives arrive")
    errors = a.stat("wg1", "rx_errors")
    b.run("ip", "link", "set", "wg1", "down")
    assert errors == 0

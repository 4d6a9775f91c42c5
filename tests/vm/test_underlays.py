# SPDX-License-Identifier: GPL-2.0
"""Both kinds over every underlay that we can make.

The first L2 WireGuard broke reception over some of them (VLAN, PPP, tunnels), for the plain kind,
too: it asked the outer packet whether the link is an Ethernet link.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toolkit.guest import PORT, Host, cable, eventually, tunnel

Hosts = Callable[..., list[Host]]


def addresses(a: Host, b: Host, link: str) -> None:
    for host, last in ((a, 1), (b, 2)):
        host.run("ip", "link", "set", link, "up")
        host.run("ip", "address", "add", f"10.77.0.{last}/24", "dev", link)
        host.run("ip", "address", "add", f"fd77::{last}/64", "dev", link, "nodad")


def veth(a: Host, b: Host) -> None:
    addresses(a, b, "eth0")


def vlan(a: Host, b: Host) -> None:
    for host in (a, b):
        host.run("ip", "link", "add", "link", "eth0", "name", "v", "type", "vlan", "id", "7")
    addresses(a, b, "v")


def bridge(a: Host, b: Host) -> None:
    for host in (a, b):
        host.run("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        host.run("ip", "link", "set", "eth0", "master", "br0")
    addresses(a, b, "br0")


def outer_tunnel(kind: str) -> Callable[[Host, Host], None]:
    def make(a: Host, b: Host) -> None:
        for host, mine, theirs in ((a, 1, 2), (b, 2, 1)):
            host.run("ip", "address", "add", f"10.0.0.{mine}/24", "dev", "eth0")
            host.run(
                *("ip", "link", "add", "t0", "type", kind),
                *("local", f"10.0.0.{mine}", "remote", f"10.0.0.{theirs}"),
            )
        addresses(a, b, "t0")

    return make


def ppp(a: Host, b: Host) -> None:
    """PPP over a pair of pseudo-terminals, by pppd at both ends."""
    import pty

    from toolkit.guest import sh

    sh("modprobe", "ppp_async")
    master_a, slave_a = pty.openpty()
    master_b, slave_b = pty.openpty()
    import os

    names = [os.ttyname(fd) for fd in (slave_a, slave_b)]
    relay(master_a, master_b)
    for host, tty, local, remote in ((a, names[0], 1, 2), (b, names[1], 2, 1)):
        host.start(
            *("pppd", tty, "115200", f"10.77.0.{local}:10.77.0.{remote}", "local", "noauth"),
            *("nodetach", "ifname", "ppp9", "noccp", "ipv6", f"::{local},::{remote}", "nocrtscts"),
            *("mru", "1500", "mtu", "1500"),
        )
    for host, last in ((a, 1), (b, 2)):

        def up(host: Host = host, last: int = last) -> bool:
            out = host.run("ip", "address", "show", "dev", "ppp9", check=False)
            return f"10.77.0.{last}" in out

        eventually(up, "PPP is up", 60)
        host.run("ip", "address", "add", f"fd77::{last}/64", "dev", "ppp9", "nodad")


def relay(one: int, other: int) -> None:
    """Copy between two pseudo-terminals until one of them is closed."""
    import os
    import threading

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


@pytest.mark.parametrize("underlay", UNDERLAYS)
def test_both_kinds_over(hosts: Hosts, underlay: str) -> None:
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
            for host in (a, b):
                host.run("ip", "link", "del", "wg1")


@pytest.mark.parametrize("inner", ["wireguard", "l2wireguard"])
@pytest.mark.parametrize("outer", ["wireguard", "l2wireguard"])
def test_a_tunnel_in_a_tunnel(hosts: Hosts, inner: str, outer: str) -> None:
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

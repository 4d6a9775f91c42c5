# SPDX-License-Identifier: GPL-2.0
"""Inside the guest: what joins two hosts through a third, for the benchmark.

::

    A 10.0.1.1 ---- 10.0.1.254 H 10.0.2.254 ---- 10.0.2.1 B
    192.168.157.1          .254           192.168.157.2

H does not forward the packets of the underlay, so that no program finds a direct way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from toolkit.guest import contenders
from toolkit.guest.contenders import KEYS, A, B
from toolkit.guest.hosts import PORT, Host, cable, eventually, keys


@dataclass(frozen=True)
class Star:
    """The hub with its spokes, of which A and B are measured."""

    hub: Host
    a: Host
    b: Host
    others: tuple[Host, ...] = ()

    @property
    def spokes(self) -> tuple[tuple[int, Host, str], ...]:
        """Number, host and inner address of each."""
        numbered = enumerate((self.a, self.b, *self.others), 1)
        return tuple(
            (n, host, (A, B)[n - 1] if n < 3 else f"192.168.157.{n}") for n, host in numbered
        )


def star(*others: str) -> Star:
    """Hosts and cables, without IPv6; with further spokes of these names."""
    hub, a, b, *more = (Host(name).create() for name in ("H", "A", "B", *others))
    found = Star(hub, a, b, tuple(more))
    for host in (hub, a, b, *more):
        host.run("sysctl", "-q", "-w", *contenders.NO_IPV6)
    for number, spoke, _ in found.spokes:
        cable(spoke, found.hub, "eth0", f"eth{number}")
        spoke.ip(f"address add 10.0.{number}.1/24 dev eth0")
        found.hub.ip(f"address add 10.0.{number}.254/24 dev eth{number}")
    return found


def _spoke(
    spoke: Host, number: int, hub: Host, kind: str, link: str, address: str, port: int = PORT
) -> None:
    """A link whose only peer is the hub.

    :param port: the hub's for this spoke.
    """
    keys(spoke)
    spoke.ip(f"link add {link} type {kind}", f"address add {address}/24 dev {link}")
    spoke.run(
        *("wg", "set", link, "private-key", "/dev/stdin", "listen-port", str(PORT)),
        *("peer", hub.public, "allowed-ips", "0.0.0.0/0"),
        *("endpoint", f"10.0.{number}.254:{port}"),
        stdin=spoke.key,
    )
    spoke.ip(f"link set {link} up")


def _hub_link(star: Star, kind: str, link: str, allowed: tuple[str, ...]) -> None:
    """One link in the hub with all spokes as its peers."""
    keys(star.hub)
    star.hub.ip(f"link add {link} type {kind}")
    peers = []
    for (number, spoke, _), what in zip(star.spokes, allowed):
        keys(spoke)
        peers += ["peer", spoke.public, "allowed-ips", what, "endpoint", f"10.0.{number}.1:{PORT}"]
    star.hub.run(
        *("wg", "set", link, "private-key", "/dev/stdin", "listen-port", str(PORT), *peers),
        stdin=star.hub.key,
    )
    star.hub.ip(f"link set {link} up")


def router(star: Star) -> None:
    """IP in WireGuard: the hub forwards packets. It is what the others are compared with."""
    _hub_link(star, "wireguard", "wg1", (f"{A}/32", f"{B}/32"))
    star.hub.ip("address add 192.168.157.254/24 dev wg1")
    star.hub.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    for number, spoke, address in star.spokes:
        _spoke(spoke, number, star.hub, "wireguard", "wg1", address)


def switch(star: Star) -> None:
    """One switch that relays between its spokes, which are wires."""
    _hub_link(star, "l2wgswitch", "wg1", ("",) * len(star.spokes))
    for number, spoke, address in star.spokes:
        star.hub.run(
            *(sys.executable, "-m", "l2wgctl", "set", "wg1"),
            *("peer", spoke.public, "relay", "yes"),
        )
        _spoke(spoke, number, star.hub, "l2wireguard", "wg1", address)


def bridge(star: Star) -> None:
    """A wire for each spoke, in a Linux bridge."""
    keys(star.hub)
    star.hub.ip("link add br0 type bridge", "link set br0 up")
    for number, spoke, address in star.spokes:
        keys(spoke)
        star.hub.ip(f"link add hub{number} master br0 type l2wireguard")
        star.hub.run(
            *("wg", "set", f"hub{number}", "private-key", "/dev/stdin"),
            *("listen-port", str(PORT + number), "peer", spoke.public),
            *("allowed-ips", "0.0.0.0/0", "endpoint", f"10.0.{number}.1:{PORT}"),
            stdin=star.hub.key,
        )
        star.hub.ip(f"link set hub{number} up")
        _spoke(spoke, number, star.hub, "l2wireguard", "wg1", address, PORT + number)


def vxlan(star: Star) -> None:
    """A VXLAN link for each spoke over the stock module, in a Linux bridge."""
    _hub_link(star, "wireguard", "wg0", ("172.16.0.1/32", "172.16.0.2/32"))
    star.hub.ip(
        "address add 172.16.0.254/24 dev wg0", "link add br0 type bridge", "link set br0 up"
    )
    add = "link add {link} {more} type vxlan id {id} local {me} remote {peer} dstport 4789 dev wg0"
    for number, spoke, address in star.spokes:
        inner = f"172.16.0.{number}"
        star.hub.ip(
            add.format(
                link=f"hub{number}", more="master br0", id=number, me="172.16.0.254", peer=inner
            ),
            f"link set hub{number} up",
        )
        _spoke(spoke, number, star.hub, "wireguard", "wg0", inner)
        spoke.ip(
            add.format(link="tap1", more="", id=number, me=inner, peer="172.16.0.254"),
            f"address add {address}/24 dev tap1",
            "link set tap1 up",
        )


def openvpn(star: Star) -> None:
    """OpenVPN's server with `client-to-client`."""
    prints = {host.name: contenders.fingerprint(host) for host in (star.hub, star.a, star.b)}
    common = ("openvpn", "--dev", "tap1", "--dev-type", "tap", "--proto", "udp", "--verb", "1")

    def own(host: Host) -> tuple[str, ...]:
        return ("--cert", f"{KEYS}/{host.name}.crt", "--key", f"{KEYS}/{host.name}.key")

    star.hub.start(
        *(*common, "--mode", "server", "--tls-server", "--dh", "none", "--client-to-client"),
        *(*own(star.hub), "--duplicate-cn"),
        *("--peer-fingerprint", prints["A"], "--peer-fingerprint", prints["B"]),
    )
    for number, spoke, address in star.spokes:
        spoke.start(
            *(*common, "--client", "--nobind", "--remote", f"10.0.{number}.254"),
            *(*own(spoke), "--peer-fingerprint", prints["H"]),
            *("--ifconfig", address, "255.255.255.0"),
        )


def tinc(star: Star) -> None:
    """Switches of which only the hub has an address that the others know."""
    for host in (star.hub, star.a, star.b):
        host.start(
            *("tincd", "-c", f"{KEYS}/star-{host.name}", "-D", f"--pidfile=/tmp/{host.name}.pid")
        )
    for host in (star.hub, star.a, star.b):
        eventually(lambda h=host: h.ok("ip", "link", "show", "tap1"), "tincd")  # type: ignore[misc]
        host.ip("link set tap1 up")
    for _, spoke, address in star.spokes:
        spoke.ip(f"address add {address}/24 dev tap1")


def n2n(star: Star) -> None:
    """Two edges whose supernode forwards what they cannot send each other."""
    star.hub.start("supernode", "-f", "-l", "7654")
    for number, spoke, address in star.spokes:
        spoke.start(
            *("edge", "-f", "-d", "tap1", "-a", address, "-c", "bench", "-k", "bench"),
            *("-l", f"10.0.{number}.254:7654"),
        )


#: The contenders that can be a hub, and how.
HUBS: dict[str, Callable[[Star], None]] = {
    "wireguard": router,
    "l2wireguard": bridge,
    "l2wgswitch": switch,
    "vxlan": vxlan,
    "openvpn": openvpn,
    "tinc": tinc,
    "n2n": n2n,
}

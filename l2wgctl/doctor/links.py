# SPDX-License-Identifier: GPL-2.0
"""The link itself, what it is a port of, and its MTU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..model import ETHERNET_HEADER, ETHERNET_KINDS, TUNNEL_OVERHEAD, Device
from .finding import FAIL, OK, WARN, Finding

if TYPE_CHECKING:
    from ..netlink.link import Link, Links


def master_of(link: Link, all_links: Sequence[Link]) -> Link | None:
    """The bridge or bond that the link is a port of."""
    return next(
        (found for found in all_links if link.master and found.ifindex == link.master), None
    )


def check_link(link: Link, all_links: Sequence[Link]) -> Iterator[Finding]:
    """The link itself, and the bridge or bond that it is a port of."""
    name = link.name
    if not link.up:
        yield Finding(FAIL, "link", f"{name} is down", f"ip link set {name} up")
    else:
        yield Finding(OK, "link", f"{name} is up, kind {link.kind}, MTU {link.mtu}")
    master = master_of(link, all_links)
    if master is None:
        return
    if not master.up:
        yield Finding(FAIL, "master", f"{master.name} is down", f"ip link set {master.name} up")
    if master.mtu > link.mtu:
        yield Finding(
            WARN,
            "master",
            f"{master.name} has MTU {master.mtu}, above the {link.mtu} of {name}",
            f"ip link set mtu {link.mtu} dev {master.name}",
        )


def check_mtu(device: Device, link: Link, links: Links) -> Iterator[Finding]:
    """The MTU, compared with those of the routes to the endpoints."""
    overhead = TUNNEL_OVERHEAD + (ETHERNET_HEADER if link.kind in ETHERNET_KINDS else 0)
    for peer in device.peers:
        if peer.endpoint is None:
            continue
        way = links.route_to(peer.endpoint.host.partition("%")[0])
        if way is None:
            continue
        if way.link == device.name:
            yield Finding(
                FAIL,
                "mtu",
                f"the way to {peer.endpoint} leads into the tunnel itself",
                f"add a route: ip route add {peer.endpoint.host} via GATEWAY",
            )
        elif link.mtu + overhead > way.mtu:
            yield Finding(
                WARN,
                "mtu",
                f"{link.name} has MTU {link.mtu}, {way.link} towards {peer.endpoint} has "
                f"{way.mtu}: large frames are fragmented or lost",
                f"ip link set mtu {way.mtu - overhead} dev {link.name}",
            )
        else:
            yield Finding(OK, "mtu", f"{link.mtu} + {overhead} fits {way.link} ({way.mtu})")


def check_mac(link: Link, all_links: Sequence[Link], links: Links) -> Iterator[Finding]:
    """One MAC address at both ends: this host takes the other end's frames for its own."""
    if link.kind not in ETHERNET_KINDS:
        return
    master = master_of(link, all_links)
    for own in (link, master) if master else (link,):
        others = [address for address, mac in links.neighbours(own.name) if mac == own.mac]
        if others:
            yield Finding(
                FAIL,
                "mac",
                f"{others[0]} on {own.name} has this host's own MAC address {own.mac}: both ends "
                "have the same one",
                f"give one end another: MACAddress, or ip link set {link.name} address 02:...",
            )
        failed = links.duplicates(own.name)
        if failed and not others:
            yield Finding(
                FAIL,
                "mac",
                f"{failed[0]} on {own.name} is a duplicate: another host on this Ethernet has it",
                "give one of them another address, or another MAC address if that is the same",
            )

# SPDX-License-Identifier: GPL-2.0
"""What would stop `up` half-way and can be known from the file and the host: for `check`, and for
`up` before its first step.

`of_file` needs only the file and the link's name. `of_host` also asks the host. If the file has a
PreUp, which may provide what is missing, `up` asks after it has run. `updown.before` looks at other
links.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import L2wgError, Problem
from ..model import VLAN_TAG, LinkOptions, Vlan
from ..sockets import if_nametoindex
from . import switch_check
from .parse import Config
from .tables import table_number
from .values import NAME_MAX, split_network

#: The least MTU of a link with IPv6 (RFC 8200, section 5); below it Linux takes IPv6 off the link.
IPV6_MTU = 1280


def vlan_name(name: str, ids: Sequence[int]) -> str:
    """wg1.128.127 for VLAN 127 within VLAN 128 on wg1."""
    return ".".join([name, *map(str, ids)])


def all_vlans(vlans: Sequence[Vlan]) -> list[Vlan]:
    """The VLANs with the outer ones that the nested ones need, the outer ones first."""
    found: dict[tuple[int, ...], Vlan] = {}
    for vlan in vlans:
        for depth in range(1, len(vlan.ids)):
            found.setdefault(vlan.ids[:depth], Vlan(vlan.ids[:depth]))
        found[vlan.ids] = vlan
    return sorted(found.values(), key=lambda vlan: (len(vlan.ids), vlan.ids))


def wanted_table(link: LinkOptions) -> str:
    """The value of Table: by default off for an Ethernet link, auto for a routed one."""
    return link.table or ("off" if link.ethernet else "auto")


def at(config: Config, key: str, what: str, hint: str | None, code: str) -> Problem:
    """A mistake in the line of a key of [Interface]."""
    line = config.key_lines.get(key.lower(), 1)
    return Problem(f"{config.where}:{line}:1", what, hint, False, line, 1, code)


# -- the file --------------------------------------------------------------------------------------


def of_file(name: str | None, config: Config) -> Iterator[Problem]:
    """Problems of the file alone; `name` is the link's, None if the file is not named after one."""
    link = config.link
    if name is not None:
        yield from _names(name, config)
    listed = {"Address": link.addresses, "BridgeAddress": link.bridge_addresses}
    if link.ipv6_link_local and ":" in link.ipv6_link_local:
        listed["Address"] += (link.ipv6_link_local,)
    for vlan in link.vlans:
        listed[f"VLAN{vlan.label}.Address"] = vlan.addresses
    for key, addresses in listed.items():
        for twice in _twice(addresses):
            yield at(config, key, f"{key} {twice} is given twice", "keep one of them", "conflict")
    if link.mtu is not None:
        yield from small_mtu(config, link.mtu)
    yield from switch_check.refused(config)


def _names(name: str, config: Config) -> Iterator[Problem]:
    link = config.link
    vlans = [vlan_name(name, vlan.ids) for vlan in all_vlans(link.vlans)]
    for long in [vlan for vlan in vlans if len(vlan) > NAME_MAX]:
        what = f"VLAN link name {long} is longer than {NAME_MAX} characters"
        yield at(config, "VLANs", what, "give the link a shorter name", "link-name")
    for key, names in (
        ("Bridge", (link.bridge,)),
        ("Master", (link.master,)),
        ("BridgePorts", link.bridge_ports),
    ):
        for other in names:
            if other in (name, *vlans):
                what = f"{key} {other} is the link itself, or a VLAN of it"
                yield at(config, key, what, "name another link", "conflict")


def _twice(addresses: Sequence[str]) -> Iterator[str]:
    """Addresses that the kernel would refuse the second time: IPv4 with the same prefix length,
    IPv6 with any."""
    seen: set[object] = set()
    for address in addresses:
        raw, prefix = split_network(address)
        thing = (raw, prefix) if len(raw) == 4 else raw
        if thing in seen:
            yield address
        seen.add(thing)


def small_mtu(config: Config, mtu: int) -> Iterator[Problem]:
    """IPv6 addresses that Linux would take away again, because the link's MTU is too small.

    :param mtu: the link's, in bytes.
    """
    link = config.link
    given = link.mtu is not None
    of = {"Address": (mtu, link.addresses)}
    for vlan in link.vlans:
        room = mtu - VLAN_TAG * len(vlan.ids)
        of[f"VLAN{vlan.label}.Address"] = (room, vlan.addresses)
    for key, (room, addresses) in of.items():
        if room < IPV6_MTU and any(":" in address for address in addresses):
            what = f"{key} has IPv6 addresses, which need an MTU of {IPV6_MTU}; it would be {room}"
            hint = "raise MTU" if given else f"write MTU = {IPV6_MTU + mtu - room}"
            code = "conflict" if given else "state"
            yield at(config, "MTU" if given else key, what, f"{hint}, or leave IPv6 out", code)


# -- the host --------------------------------------------------------------------------------------


class Host(NamedTuple):
    """The source of the facts; the tests have their own."""

    which: Callable[[str], str | None] = shutil.which
    ifindex: Callable[[str], int] = if_nametoindex
    ipv6_off: Path = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    resolvectl: Callable[[], bool] = lambda: resolved_runs()


#: Written by systemd-resolved when it starts.
RESOLVED = Path("/run/systemd/resolve")


def resolved_runs() -> bool:
    """Whether systemd-resolved runs, and its program is there."""
    return shutil.which("resolvectl") is not None and (RESOLVED / "resolv.conf").exists()


def of_host(config: Config, host: Host) -> Iterator[Problem]:
    """What this host lacks."""
    link = config.link

    def lacks(key: str, what: str, hint: str) -> Problem:
        return at(config, key, what, hint, "host")

    if link.table not in (None, "off", "auto"):
        try:
            table_number(link.table or "")
        except L2wgError as error:
            problem = error.problems[0]
            yield lacks("Table", f"Table: {problem.what}", problem.hint or "")
    if link.dns or link.dns_search:
        if host.which("resolvconf") is None and not host.resolvectl():
            yield lacks(
                "DNS",
                "DNS needs systemd-resolved or resolvconf",
                "apt install systemd-resolved or openresolv, or leave DNS out",
            )
    yield from _firewall(config, host)
    yield from _ipv6(config, host)
    for line, peer in zip(config.peer_lines, config.device.peers):
        zone = peer.endpoint.host.partition("%")[2] if peer.endpoint else ""
        if zone and not (zone.isascii() and zone.isdigit()):
            try:
                host.ifindex(zone)
            except OSError:
                what = f"Endpoint {peer.endpoint} names {zone}, which does not exist"
                where = f"{config.where}:{line}:1"
                hint = "name the interface that leads there"
                yield Problem(where, what, hint, False, line, 1, "host")


def _firewall(config: Config, host: Host) -> Iterator[Problem]:
    link = config.link
    if link.mss_clamp is not None and host.which("nft") is None:
        yield at(config, "MSSClamp", "MSSClamp needs nft", "apt install nftables", "host")
    if wanted_table(link) != "auto" or host.which("nft") is not None:
        return
    ips = [ip for peer in config.device.peers for ip in peer.allowed_ips if not ip.prefix]
    for length, program in ((4, "iptables-restore"), (16, "ip6tables-restore")):
        if any(len(ip.address) == length for ip in ips) and host.which(program) is None:
            what = f"a default route needs nft or {program}"
            yield at(config, "Table", what, "apt install nftables, or write Table = off", "host")


def _ipv6(config: Config, host: Host) -> Iterator[Problem]:
    try:
        off, none = host.ipv6_off.read_text().strip() != "0", False
    except OSError:
        off = none = True
    link = config.link
    mend = "sysctl net.ipv6.conf.default.disable_ipv6=0, or leave "
    local = link.ipv6_link_local
    if local and (none or (off and local != "no")):
        what = "IPv6LinkLocal is given, and IPv6 is off on this host"
        yield at(config, "IPv6LinkLocal", what, mend + "it out", "host")
    if off and wanted_table(link) != "off":
        for line, peer in zip(config.peer_lines, config.device.peers):
            if any(len(ip.address) == 16 for ip in peer.allowed_ips):
                what = (
                    "AllowedIPs have IPv6 networks, which get routes, and IPv6 is off on this host"
                )
                where = f"{config.where}:{line}:1"
                yield Problem(where, what, mend + "them out", False, line, 1, "host")
    listed = {"Address": link.addresses}
    for vlan in link.vlans:
        listed[f"VLAN{vlan.label}.Address"] = vlan.addresses
    if link.bridge_create:
        listed["BridgeAddress"] = link.bridge_addresses
    for key, addresses in listed.items():
        if off and any(":" in address for address in addresses):
            what = f"{key} has IPv6 addresses, and IPv6 is off on this host"
            yield at(config, key, what, mend + "them out", "host")

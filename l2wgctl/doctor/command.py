# SPDX-License-Identifier: GPL-2.0
"""All checks, each after those that it depends on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..conf.names import Names
from ..errors import KernelError, L2wgError
from ..model import KINDS, L2WGSWITCH, Device
from .bridge import check_bridge
from .file import check_file
from .finding import FAIL, WARN, Finding, render_finding
from .host import System, check_host, check_module
from .links import check_link, check_mac, check_mtu
from .peers import check_device, check_peer
from .traffic import check_traffic

if TYPE_CHECKING:
    from ..netlink.link import Link, Links


def examine(names: Sequence[str], links: Links, system: System) -> Iterator[Finding]:
    """All findings, from the module to the tunnels. `names` may be empty: every tunnel."""
    from ..netlink.device import get_device

    yield from check_module(system)
    yield from check_host(system)
    all_links = links.all()
    known = Names()
    tunnels = [link for link in all_links if link.kind in KINDS]
    if not names and not tunnels:
        yield Finding(WARN, "link", "there is no tunnel", "l2wgctl up IFACE")
    for name in names or [link.name for link in tunnels]:
        link = next((found for found in all_links if found.name == name), None)
        if link is None:
            yield Finding(FAIL, "link", f"{name} does not exist", f"l2wgctl up {name}")
            continue
        if link.kind not in KINDS:
            yield Finding(
                FAIL,
                "link",
                f"{name} is of kind {link.kind or 'physical'}, which is no tunnel's",
                "name a tunnel: l2wgctl show interfaces",
            )
            continue
        yield from check_link(link, all_links)
        yield from check_bridge(link, all_links, links, system.proc)
        yield from check_mac(link, all_links, links)
        try:
            device = get_device(name)
        except KernelError as error:
            problem = error.problems[0]
            yield Finding(FAIL, "device", problem.what, problem.hint)
            continue
        named = known.of(name)
        yield from check_device(device, link)
        if link.kind == L2WGSWITCH:
            for finding in _switch(name, device, link, links, system):
                yield finding._replace(name=named.get(_key_of(finding)))
        for peer in device.peers:
            for finding in check_peer(peer, device, links, int(system.now()), link.kind):
                yield finding._replace(name=named.get(peer.public_key))
        yield from check_mtu(device, link, links)
        yield from check_traffic(device, link, links.counters(name))
        yield from check_file(device, links)
        if link.kind == L2WGSWITCH:
            from .mesh import check_mesh

            yield from check_mesh(name)


def _switch(
    name: str, device: Device, link: Link, links: Links, system: System
) -> Iterator[Finding]:
    from ..netlink.switch import Switches
    from .switch import check_switch

    neighbours = links.neighbours(name)
    bridge = next((x for x in links.all() if link.master == x.ifindex), None)
    if bridge is not None:
        neighbours = [*neighbours, *links.neighbours(bridge.name)]
    try:
        with Switches() as switches:
            state, peers, table = switches.get(name), switches.peers(name), switches.table(name)
    except KernelError as error:
        problem = error.problems[0]
        yield Finding(FAIL, "switch", problem.what, problem.hint)
        return
    above = bridge.mac if bridge is not None else None
    yield from check_switch(state, peers, table, device, link, neighbours, system.leases, above)


def _key_of(finding: Finding) -> bytes:
    """The key in `peer KEY`; empty for other checks."""
    from binascii import a2b_base64

    return a2b_base64(finding.check[5:]) if finding.check.startswith("peer ") else b""


def cmd_doctor(args: argparse.Namespace) -> int:
    """Check the host and its tunnels; 1 if any finding is FAIL."""
    import sys

    from ..netlink.link import Links
    from ..output import colour, print_json

    failed = False
    found: list[Finding] = []
    with Links() as links:
        try:
            for finding in examine([args.interface] if args.interface else [], links, System()):
                failed = failed or finding.level == FAIL
                found.append(finding)
                if not args.json:
                    sys.stdout.write(render_finding(finding, colour()))
        except L2wgError:
            if not args.json:
                sys.stdout.flush()
            raise
    if args.json:
        print_json({"ok": not failed, "checks": [finding._asdict() for finding in found]})
    return 1 if failed else 0

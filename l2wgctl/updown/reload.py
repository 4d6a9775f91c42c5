# SPDX-License-Identifier: GPL-2.0
"""reload, restart, diff: a running link and its changed file.

`reload` changes what it can without a new session, and names the rest.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import apply
from ..conf import files, sync
from ..conf.check import lint
from ..conf.parse import Config
from ..conf.sync import Change
from ..errors import L2wgError, Problem
from ..model import L2WGSWITCH, Device, Endpoint
from ..netlink import messages
from ..output import print_json, say
from . import applied, routing
from . import record as records
from .before import Before
from .differences import NONE, differences
from .down import cmd_down
from .plan import cmd_up, need_tunnel
from .steps import Step, run_steps

if TYPE_CHECKING:
    from ..conf.switch import Plan
    from ..netlink.link import Links


class Names:
    """Endpoints' names, each looked up once: a reload does not wait for a name server."""

    def __init__(self) -> None:
        self._known: dict[Endpoint, list[bytes]] = {}
        self.unknown: list[Endpoint] = []

    def addresses(self, endpoint: Endpoint) -> list[bytes]:
        """Every address as a sockaddr; none if the name does not resolve."""
        if endpoint not in self._known:
            self._known[endpoint] = self._ask(endpoint)
        return self._known[endpoint]

    def _ask(self, endpoint: Endpoint) -> list[bytes]:
        from ..resolve import look_up

        try:
            return [messages.sockaddr(endpoint)]
        except OSError:
            pass
        try:
            return [messages.sockaddr(found) for found in look_up(endpoint)]
        except socket.gaierror:
            self.unknown.append(endpoint)
            return []

    def same(self, current: Endpoint, wanted: Endpoint) -> bool:
        """Whether a device's endpoint may stay: it is the wanted one, or nobody can tell."""
        found = self.addresses(wanted)
        return not found or messages.sockaddr(current) in found

    def known_only(self, device: Device) -> Device:
        """The device without endpoints whose names do not resolve."""
        peers = (
            peer._replace(endpoint=None)
            if peer.endpoint is not None and not self.addresses(peer.endpoint)
            else peer
            for peer in device.peers
        )
        return device._replace(peers=tuple(peers))

    def sockaddr(self, endpoint: Endpoint) -> bytes:
        """The preferred address of an endpoint of `known_only`."""
        return self.addresses(endpoint)[0]


def _load(target: str) -> tuple[str, Config]:
    name, path = files.locate(target)
    config = files.load(path)
    say(config.warnings)
    return name, config


def _cannot_tell(names: Names) -> Iterator[Problem]:
    for endpoint in names.unknown:
        what = f"endpoint '{endpoint}' does not resolve now: it is left as it is"
        yield Problem("reload", what, "reload again when it does", True)


def cmd_reload(args: argparse.Namespace) -> int:
    """Apply a changed file to its link without ending sessions, and name the rest."""
    from ..netlink.device import WireGuard
    from ..netlink.link import Links

    name, config = _load(args.target)
    names = Names()
    rest: list[Change] = []
    held = records.hold(name, "reload", dry=args.dry_run)
    with Links() as links, WireGuard() as wireguard, held:
        need_tunnel(name, links, "reload")
        record = records.load(name)
        if record is not None:
            record.dry = args.dry_run
        keep = routing.takes_default_route(config.link, config.device)
        current = wireguard.get_device(name)
        mesh = config.mesh is not None
        device, changes = sync.plan(current, config.device, names.same, keep, mesh)
        device = names.known_only(device)
        say([*lint(config), *_cannot_tell(names)])

        plan = _switch_plan(name, config, links)

        def synchronise() -> None:
            with apply.options(plan):
                if changes:
                    wireguard.set_device(device, names.sockaddr)

        def steps() -> Iterator[Step]:
            for found in differences(name, config.link, links, record):
                yield from found.steps
                if not found.steps and not found.foreign:
                    rest.extend(found.changes)
            if changes or (plan is not None and not plan.empty):
                yield Step(f"l2wgctl syncconf {name} {config.where}", synchronise)

        run_steps(steps(), args.dry_run)
        if not args.dry_run:
            applied.adopt(name, config.link, {change.field for change in rest})
    say(_rest(name, config, rest, changes))
    return 0


def _rest(
    name: str, config: Config, rest: list[Change], changes: list[Change]
) -> Iterator[Problem]:
    """Warnings of what a reload has not done."""
    mend = f"l2wgctl restart {name}"
    for key in applied.changed(name, config.link):
        yield Problem(name, f"{key} has changed, and takes a new link", mend, True)
    for change in rest:
        what = f"{change.field} {change.old} -> {change.new or NONE} takes a new link"
        yield Problem(name, what, mend, True)
    moved = any(change.field == "allowed-ips" for change in changes)
    if moved and routing.wanted_table(config.link) != "off":
        yield Problem(name, "the routes stay as they were, and AllowedIPs have changed", mend, True)


def cmd_restart(args: argparse.Namespace) -> int:
    """Take a link down, if it is there, and bring it up again from its file."""
    from ..netlink.link import Links

    name, path = files.locate(args.target)
    config = files.load(path)  # if the file has mistakes, nothing is taken down
    args.dry_run = False
    with Links() as links:
        there = links.get(name) is not None
        if there:
            Before(config, links, name, dry=False).ahead()
    if there:
        try:
            cmd_down(args)
        except L2wgError as error:  # a PostDown, say: the link shall be up all the same
            with Links() as links:
                if links.get(name) is not None:
                    raise
            say(problem._replace(warning=True) for problem in error.problems)
    return cmd_up(args)


def cmd_diff(args: argparse.Namespace) -> int:
    """Show what `reload` would change, and what needs a new link."""
    from ..netlink.device import get_device
    from ..netlink.link import Links
    from ..resolve import same

    config = files.load(args.file or str(files.CONFIG_DIR / f"{args.interface}.conf"))
    say(config.warnings)
    current = get_device(args.interface)
    keep = routing.takes_default_route(config.link, config.device)
    _, changes = sync.plan(current, config.device, same, keep, config.mesh is not None)
    with Links() as links:
        plan = _switch_plan(args.interface, config, links)
        changes += plan.changes if plan is not None else ()
        changes += _of_the_link(args.interface, config, links)
    if args.json:
        print_json(
            {
                "interface": args.interface,
                "changes": [
                    {
                        "action": change.action,
                        "peer": str(change.peer) if change.peer is not None else None,
                        "field": change.field,
                        "old": change.old,
                        "new": change.new,
                    }
                    for change in changes
                ],
            }
        )
    else:
        sys.stdout.write(sync.describe(changes))
    return 0


def _switch_plan(name: str, config: Config, links: Links) -> Plan | None:
    """What has to change of a switch; None if the file or the link is for none: that takes a new
    link, and is a difference of its kind."""
    link = links.get(name)
    if link is None or link.kind != L2WGSWITCH:
        return None
    return apply.switch_plan(name, config)


def _of_the_link(name: str, config: Config, links: Links) -> list[Change]:
    found = differences(name, config.link, links, records.load(name))
    return [change for one in found for change in one.changes]

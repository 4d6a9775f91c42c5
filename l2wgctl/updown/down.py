# SPDX-License-Identifier: GPL-2.0
"""down: undo what `up` did, with or without its file."""

from __future__ import annotations

import argparse
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..conf import files
from ..conf.parse import Config, parse
from ..errors import KernelError, L2wgError, Problem
from ..model import KINDS, Device
from ..output import say
from . import applied, routing, servers
from . import record as records
from .changes import plan_undo
from .plan import need_tunnel, save_into
from .record import Change, Record
from .steps import Step, hook, run_all

if TYPE_CHECKING:
    from ..netlink.link import Links


def cmd_down(args: argparse.Namespace) -> int:
    """Take a link down with all that belongs to it."""
    from ..netlink.link import Links

    name, path = files.locate(args.target)
    with Links() as links, records.hold(name, "down", dry=args.dry_run):
        record = records.load(name)
        there = links.get(name)
        if there is None and record is None:
            what, hint = f"{name}: no such link", "nothing to take down: l2wgctl show interfaces"
            raise KernelError(errno.ENODEV, what, hint, "down")
        if there is not None:
            need_tunnel(name, links, "down")
        config, complete = _config(path, record)
        if there is None:
            say([_warning(f"{name} is not there", "what else 'up' did is undone")])
        pre_down, post_down = (
            (config.link.pre_down, config.link.post_down)
            if config is not None
            else (record.pre_down, record.post_down)
            if record is not None
            else ((), ())
        )

        def steps() -> Iterator[Step]:
            for line in pre_down:
                yield hook(line, name)
            if there is not None and config is not None and config.link.save_config:
                yield Step(f"l2wgctl save {name}", lambda: save_into(name, config, links))
            undone = record or assumed(name, config, links)
            undone.dry = undone.dry or args.dry_run
            yield from plan_undo(undone, links)
            for line in post_down:
                yield hook(line, name)

        run_all(steps(), args.dry_run)
        if not args.dry_run:
            applied.forget(name)
    return 0 if complete else 1


def _warning(what: str, hint: str) -> Problem:
    return Problem("down", what, hint, True)


def _config(path: str, record: Record | None) -> tuple[Config | None, bool]:
    """The file, if it can be read, and whether all can be undone."""
    try:
        text, warnings = files.read_text(path)
        config = parse(text, path)
    except L2wgError as error:
        say(problem._replace(warning=True) for problem in error.problems)
        if record is not None:
            say([_warning("the file is of no use", "going by what 'up' has recorded")])
            return None, True
        what = "the file is of no use, and there is no record of 'up'"
        say(
            [
                _warning(
                    what, "the link goes; commands, bridge and name servers are left as they are"
                )
            ]
        )
        return None, False
    say(warnings + config.warnings)
    return config, True


def assumed(name: str, config: Config | None, links: Links) -> Record:
    """What `up` has probably done, by the file, if there is no record of it.

    The link was brought up by hand, or by an l2wgctl without records. What may have been there
    before (addresses of a bridge) stays.
    """
    from ..netlink.device import get_device
    from ..netlink.link import BRIDGE_ALIAS

    record = Record(name, dry=True)
    record.changes = [Change("link", name)]
    if config is None:
        return record
    link = config.link
    device: Device = get_device(name)
    bridge = links.get(link.bridge) if link.bridge and link.bridge_create else None
    if bridge is not None and bridge.alias == BRIDGE_ALIAS and bridge.kind not in KINDS:
        record.changes.append(Change("bridge", bridge.name, ifindex=bridge.ifindex))
    record.changes += reversed(list(routing.assumed(device, link, name)))
    by = servers.program() if link.dns or link.dns_search else None
    if by is not None:
        record.changes.append(Change("dns", "", by))
    return record

# SPDX-License-Identifier: GPL-2.0
"""The link's file, if it has one: mistakes in it, and whether the link is what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .. import apply
from ..conf import files, sync
from ..conf.check import lint
from ..errors import ConfigError, L2wgError
from ..model import L2WGSWITCH, Device, Endpoint
from ..updown import record as records
from ..updown.differences import differences
from .finding import OK, WARN, Finding

if TYPE_CHECKING:
    from ..conf.parse import Config
    from ..conf.sync import Change
    from ..netlink.link import Links


def check_file(device: Device, links: Links) -> Iterator[Finding]:
    """Compare a link with /etc/l2wg/IFACE.conf. This resolves no names of endpoints."""
    path = files.CONFIG_DIR / f"{device.name}.conf"
    try:
        if not path.exists():
            return
        config = files.load(str(path))
    except ConfigError as error:
        first = error.problems[0]
        more = f" and {len(error.problems) - 1} more" if len(error.problems) > 1 else ""
        yield Finding(WARN, "file", f"{first.where}: {first.what}{more}", f"l2wgctl check {path}")
        return
    except (L2wgError, OSError):
        return  # this user may not read it
    for problem in (*config.warnings, *lint(config)):
        yield Finding(WARN, "file", f"{problem.where}: {problem.what}", problem.hint)
    _, changes = sync.plan(
        device, config.device, _same, keep_fwmark=True, others_stay=config.mesh is not None
    )
    changes += _of_switch(device.name, config, links)
    of_link = differences(device.name, config.link, links, records.load(device.name))
    count = len(changes) + sum(len(one.changes) for one in of_link if not one.foreign)
    if count:
        yield Finding(
            WARN,
            "file",
            f"{device.name} is not what {path} says: {_differences(count)}",
            f"'l2wgctl diff {device.name}' shows them, 'l2wgctl reload {device.name}' brings them "
            "about",
        )
    else:
        yield Finding(OK, "file", f"{device.name} is what {path} says")


def _of_switch(name: str, config: Config, links: Links) -> tuple[Change, ...]:
    """Differences in the options of a switch; a link of another kind differs in that."""
    link = links.get(name)
    if link is None or link.kind != L2WGSWITCH:
        return ()
    try:
        plan = apply.switch_plan(name, config)
    except L2wgError:
        return ()
    return plan.changes if plan is not None else ()


def _differences(count: int) -> str:
    return "1 difference" if count == 1 else f"{count} differences"


def _same(current: Endpoint, wanted: Endpoint) -> bool:
    try:
        return sync.same_address(current, wanted)
    except OSError:  # a name
        return True

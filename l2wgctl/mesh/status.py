# SPDX-License-Identifier: GPL-2.0
"""The agent's report of itself, which `status` and `metrics` read. No secret is in it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

if TYPE_CHECKING:
    from .agent import Agent

#: Where each agent leaves its report, MESH.json, and a lock that says that it runs.
RUNTIME = Path("/run/l2wg-mesh")


def report_file(mesh: str) -> Path:
    """Where the agent of a mesh leaves its report; it stays there when the agent ends."""
    return RUNTIME / f"{mesh}.json"


def lock_file(mesh: str) -> Path:
    """What the agent of a mesh has locked while it runs."""
    return RUNTIME / f"{mesh}.lock"


def is_running(mesh: str) -> bool:
    """Whether the agent of a mesh runs on this host."""
    try:
        handle = os.open(lock_file(mesh), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


class Report(NamedTuple):
    """What the agent knows and the kernel does not.

    `written`: seconds since 1970. `hosts`: present ones, this one among them. `faults`: what is
    wrong now, by what it is about. `alive`: the hosts whose sign of life is true. `ignored`: places
    of the store and why; `more`: how many others. `contested`: newest records that claim what
    others have, `missing`: serials that the list has and the store has not shown, `left_out`: hosts
    without a place in the plan. `list`: serial of the newest list.
    """

    written: float
    hosts: int
    in_touch: bool
    faults: dict[str, str]
    alive: tuple[str, ...]
    ignored: dict[str, str]
    more: int
    contested: dict[str, str]
    missing: dict[str, int]
    left_out: dict[str, str]
    list: int

    @classmethod
    def of(cls, agent: Agent) -> Report:
        """The report of an agent."""
        book = agent.book
        return cls(
            time.time(),
            len(book.records),
            agent.in_touch,
            {about: str(problem) for about, problem in sorted(agent.faults.now.items())},
            tuple(name for name in book.records if agent.alive(name) is not None),
            dict(book.refusals),
            book.refusals.more,
            dict(sorted(book.contested.items())),
            book.missing(),
            dict(agent.plan.left_out) if agent.plan is not None else {},
            book.list.serial if book.list is not None else 0,
        )

    def text(self) -> str:
        """As it is kept."""
        return json.dumps(self._asdict())

    @classmethod
    def read(cls, text: str) -> Report | None:
        """Back from `text`; None if it is none, or of another version."""
        try:
            found: Any = json.loads(text)
            return cls(**{**found, "alive": tuple(found["alive"])})
        except (ValueError, TypeError, KeyError):
            return None


#: Gauges of `l2wgctl metrics`, without their prefix l2wg_mesh_: help and value.
GAUGES: dict[str, tuple[str, Callable[[Report], float]]] = {
    "store_up": ("Whether the agent is in touch with the store.", lambda r: r.in_touch),
    "hosts": ("Hosts whose records are in force.", lambda r: r.hosts),
    "hosts_alive": ("Hosts whose sign of life is in the store.", lambda r: len(r.alive)),
    "hosts_left_out": ("Hosts without a place in the plan.", lambda r: len(r.left_out)),
    "ignored": ("Places in the store that are ignored.", lambda r: len(r.ignored) + r.more),
    "contested": ("Records that claim what others have.", lambda r: len(r.contested)),
    "missing": ("Records that the list has and the store has not.", lambda r: len(r.missing)),
    "faults": ("Things that are wrong now.", lambda r: len(r.faults)),
    "list": ("Serial of the newest list of hosts.", lambda r: r.list),
    "report_seconds": ("Time of the last change since 1970-01-01 UTC.", lambda r: r.written),
}


def reports(links: Iterable[str]) -> Iterator[tuple[str, Report]]:
    """What the agents of these links have reported last; of those that have."""
    for name in links:
        try:
            found = Report.read(report_file(name).read_text())
        except OSError:
            continue
        if found is not None:
            yield name, found

# SPDX-License-Identifier: GPL-2.0
"""The agent's report of itself, which `status` and `metrics` read. No secret is in it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .agent import Agent


class Report(NamedTuple):
    """What the agent knows and the kernel does not.

    `written`: seconds since 1970. `faults`: what is wrong now, by what it is about. `alive`: the
    hosts whose sign of life is true. `ignored`: places of the store and why; `more`: how many
    others. `contested`, `missing` (serials that the list has and the store has not shown),
    `left_out`: hosts without a place in the plan. `list`: serial of the newest list.
    """

    written: float
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

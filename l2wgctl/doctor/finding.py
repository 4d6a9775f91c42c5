# SPDX-License-Identifier: GPL-2.0
"""One line of doctor's report."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import Problem, visible

OK, WARN, FAIL = "OK", "WARN", "FAIL"


class _Finding(NamedTuple):
    level: str
    check: str
    what: str
    mend: str | None = None
    name: str | None = None


class Finding(_Finding):
    """`level` is OK, WARN or FAIL; `check` names what was checked; `mend` says what to do.

    `name` is the peer's, if the finding is about a peer that has one. Keys
    are taken out of the texts as in a Problem.
    """

    __slots__ = ()

    def __new__(
        cls, level: str, check: str, what: str, mend: str | None = None, name: str | None = None
    ) -> Finding:
        told = Problem(check, what, mend)
        return super().__new__(cls, level, told.where, told.what, told.hint, name)


def render_finding(finding: Finding, colour: bool) -> str:
    """One line of text."""
    from ..render import BOLD, GREEN, RED, RESET, YELLOW

    level = f"{finding.level:<4}"
    if colour:
        shade = {OK: GREEN, WARN: YELLOW, FAIL: RED}[finding.level]
        level = f"{BOLD}{shade}{level}{RESET}"
    mend = f" ({finding.mend})" if finding.mend else ""
    check = f"{finding.check} ({finding.name})" if finding.name else finding.check
    return f"{level} {visible(f'{check}: {finding.what}{mend}')}\n"

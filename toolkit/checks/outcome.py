# SPDX-License-Identifier: GPL-2.0
"""The result of a part of a test run, from pytest's own report."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import ToolError


@dataclass(frozen=True)
class Outcome:
    """One part of a test run.

    :ivar seconds: wall time.
    """

    name: str
    passed: int
    failed: int
    skipped: int = 0
    seconds: float = 0

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


def read(name: str, report: Path, seconds: float) -> Outcome:
    """Read a JUnit report.

    :raises ToolError: there is none, or no test in it ran.
    """
    try:
        suite = ET.parse(report).getroot().find("testsuite")
    except (OSError, ET.ParseError):
        raise ToolError(f"{name}: pytest left no report", f"logs: {report.parent}") from None
    assert suite is not None
    count = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    if count["tests"] == 0:
        raise ToolError(f"{name}: no test ran", f"logs: {report.parent}")
    passed = count["tests"] - failed - count["skipped"]
    return Outcome(name, passed, failed, count["skipped"], seconds)


def total(outcomes: list[Outcome]) -> Outcome:
    """The sum of several outcomes."""
    return Outcome(
        "all",
        sum(o.passed for o in outcomes),
        sum(o.failed for o in outcomes),
        sum(o.skipped for o in outcomes),
        sum(o.seconds for o in outcomes),
    )


def pytest_argv(select: list[str], report: Path, limit: int = 300) -> list[str]:
    """The command line of pytest in a guest.

    :param limit: seconds for one test, unless it says otherwise.
    """
    return [
        *("python3", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
        *("--tb=short", "--no-summary", f"--timeout={limit}", "--durations=5"),
        *(f"--junit-xml={report}", *select),
    ]

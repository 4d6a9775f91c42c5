# SPDX-License-Identifier: GPL-2.0
"""The result of a part of a test run, from pytest's own report."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError

SHOWN = 10  # failures; of more than these the files are named
WHY = 300  # characters of what an error says

_PLACE = re.compile(r"^(\S+\.py:\d+): ", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """One part of a test run.

    :ivar seconds: wall time.
    :ivar failures: the tests that failed, as pytest takes them: ``tests/unit/test_x.py::test_y``.
    :ivar why: what each of them says, with the place: ``tests/x.py:7: AssertionError: ...``.
    :ivar again: the command that runs the failed tests again, ready to paste.
    """

    name: str
    passed: int
    failed: int
    skipped: int = 0
    seconds: float = 0
    failures: tuple[str, ...] = ()
    why: Mapping[str, str] = field(default_factory=dict)
    again: str = ""

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"

    def told(self) -> list[str]:
        """A line for each test that failed, and one for what it says."""
        lines = []
        for failure in self.failures[:SHOWN]:
            lines.append(f"failed: {failure}")
            if failure in self.why:
                lines.append(f"  {self.why[failure]}")
        if len(self.failures) > SHOWN:
            lines.append(f"and {len(self.failures) - SHOWN} more")
        return lines

    def tried_by(self, *options: str) -> Outcome:
        """The same outcome, with the command `./inv test OPTIONS TESTS` that runs its tests."""
        if not self.failures:
            return self
        names = self.failures
        if len(names) > SHOWN:
            names = tuple(dict.fromkeys(n.split("::")[0] for n in names))
        return replace(self, again=shlex.join(["./inv", "test", *names, *options]))


def read(name: str, report: Path, seconds: float, status: int) -> Outcome:
    """Read a JUnit report.

    :param status: pytest's exit status. A run that was cut short leaves a report, too: of the tests
        that had run by then.
    :raises ToolError: there is no report, no test in it ran, or pytest failed and no test did.
    """
    try:
        suite = ET.parse(report).getroot().find("testsuite")
    except (OSError, ET.ParseError):
        raise ToolError(f"{name}: pytest left no report", log=report.parent) from None
    assert suite is not None
    count = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    if count["tests"] == 0:
        raise ToolError(f"{name}: no test ran", log=report.parent)
    if status and not failed:
        raise ToolError(
            f"{name}: pytest ended with status {status}, and no test failed", log=report.parent
        )
    passed = count["tests"] - failed - count["skipped"]
    why: dict[str, str] = {}
    for case in suite.iter("testcase"):
        for kind in ("failure", "error"):
            if (bad := case.find(kind)) is not None:
                node = _node_id(case.get("classname", ""), case.get("name", ""))
                why.setdefault(node, _why(bad, node.split("::")[0]))
    failures, said = tuple(why), {node: line for node, line in why.items() if line}
    return Outcome(name, passed, failed, count["skipped"], seconds, failures, said)


def _why(bad: ET.Element, file: str) -> str:
    """What pytest says of a failure, in one line of limited length.

    Of several errors, the last one. The place is the last one in the test's own file, or else the
    last one of all: a helper's line tells less.
    """
    text = (bad.text or "").split("another exception occurred:")[-1]
    errors = [line[1:] for line in text.splitlines() if re.match(r"E(\s|$)", line)]
    said = " ".join(" ".join(errors or [bad.get("message", "")]).split())
    places = _PLACE.findall(text)
    own = [place for place in places if place.rpartition(":")[0] == file]
    where = f"{(own or places)[-1]}: " if places else ""
    return where + (f"{said[: WHY - 3]}..." if len(said) > WHY else said) if said else ""


def _node_id(classname: str, name: str) -> str:
    """``tests/vm/test_link.py::TestModules::test_x`` from pytest's dotted names.

    A file that could not be imported has no class: its name is the file's.
    """
    parts = [*classname.split("."), name] if classname else name.split(".")
    for at in range(len(parts), 0, -1):
        file = "/".join(parts[:at]) + ".py"
        if (paths.ROOT / file).exists():
            return "::".join([file, *parts[at:]])
    return "::".join(filter(None, (classname, name)))


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """The sum of several outcomes."""
    done = list(outcomes)
    return Outcome(
        "all",
        sum(o.passed for o in done),
        sum(o.failed for o in done),
        sum(o.skipped for o in done),
        sum(o.seconds for o in done),
    )


def tell(outcomes: Sequence[Outcome]) -> bool:
    """Print a line for each part, and its failed tests; did all pass?"""
    print()
    for o in outcomes:
        print(f"{o.name}: {o} in {o.seconds:.0f} s")
        for line in o.told():
            print(f"  {line}")
        if o.again:
            print(f"  again: {o.again}")
    all_of_it = total(outcomes)
    # zeros included: CI counts by this line
    print(f"{all_of_it.passed} passed, {all_of_it.failed} failed, {all_of_it.skipped} skipped")
    return not all_of_it.failed


def pytest_argv(
    select: Sequence[str], report: Path, *, limit: int = 300, only: Sequence[str] = ()
) -> list[str]:
    """The command line of pytest in a guest.

    :param limit: seconds for one test, unless it says otherwise.
    :param only: pytest's options that leave some of them out (``-k``, ``-m``).
    """
    return [
        *("python3", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
        *("--tb=short", "--no-summary", f"--timeout={limit}", "--durations=5"),
        *(f"--junit-xml={report}", *only, *select),
    ]

# SPDX-License-Identifier: GPL-2.0
"""./inv test: the unit tests here, the scenarios in the lab's guest, WireGuard's own test."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from toolkit import lab as labs
from toolkit import paths
from toolkit.errors import ToolError
from toolkit.run import say

#: The whole of tests/vm on the oldest kernel; on the next what a kernel's API can break.
VM_RUNS: dict[str, list[str]] = {
    "5.10": ["tests/vm"],
    "6.1": ["tests/vm/test_frames.py", "tests/vm/test_scenarios.py"],
}
VM_LIMIT = 1500  # seconds for one guest's tests
FUZZ = 60  # seconds of fuzzing


@dataclass(frozen=True)
class Outcome:
    """One part of the test run."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def unit() -> Outcome:
    """The tests that need neither root nor a guest, linters among them."""
    report = paths.LOGS / "unit.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/unit", f"--junit-xml={report}"],
        cwd=paths.ROOT,
        check=False,
    )
    return _outcome("unit tests", report, time.monotonic() - started)


def vm(kernel: str, select: list[str]) -> Outcome:
    """Tests in a guest of that kernel. The report that pytest writes there proves that they ran.

    :raises ToolError: the guest fails, or the kernel complains outside of a test.
    """
    lab = labs.make(kernel)
    say(f"Tests in a guest with {lab.kernel.label}: {' '.join(select)}")
    folder = paths.LOGS / f"vm-{kernel}"
    shutil.rmtree(folder, ignore_errors=True)
    report = folder / "report.xml"
    command = [
        *("python3", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
        *("--tb=short", "--no-summary", "--timeout=300", "--durations=5", f"--junit-xml={report}"),
        *select,
    ]
    result = lab.run(command, folder=folder, timeout=VM_LIMIT)
    outcome = _outcome(f"{lab.kernel.label} in a guest", report, result.seconds)
    if not outcome.failed and (bad := result.complaints):
        raise ToolError(f"the kernel complained: {bad[0]}", f"logs: {folder}")
    return outcome


def _outcome(name: str, report: Path, seconds: float) -> Outcome:
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
    passed = count["tests"] - failed - count["skipped"]
    if count["tests"] == 0:
        raise ToolError(f"{name}: no test ran", f"logs: {report.parent}")
    return Outcome(name, passed, failed, count["skipped"], seconds)


def netns_selftest(kernel: str) -> Outcome:
    """WireGuard's own test, shortened."""
    from toolkit import selftest

    seconds = selftest.selftest(kernel, short=True)
    return Outcome(f"WireGuard's netns.sh on {kernel}, shortened", 1, 0, 0, seconds)


def fuzz() -> Outcome:
    """The length function under libFuzzer for a minute."""
    from toolkit import fuzz as fuzzing

    started = time.monotonic()
    fuzzing.run(FUZZ)
    return Outcome("fuzzing the length function", 1, 0, 0, time.monotonic() - started)


def run(*, units: bool, guests: bool) -> bool:
    """Run the parts, print what ran, and say whether all passed.

    A part that cannot run counts as failed; the others run all the same.
    """
    parts: list[tuple[str, Callable[[], Outcome]]] = []
    if units:
        parts += [("unit tests", unit), ("fuzzing the length function", fuzz)]
    if guests:
        for kernel, select in VM_RUNS.items():
            parts.append((f"guest with {kernel}", lambda k=kernel, s=select: vm(k, s)))  # type: ignore[misc]
        oldest = next(iter(VM_RUNS))
        parts.append((f"netns.sh on {oldest}", lambda: netns_selftest(oldest)))
    outcomes = []
    for name, part in parts:
        try:
            outcomes.append(part())
        except ToolError as error:
            say(f"l2wg: {name}: {error}")
            outcomes.append(Outcome(name, 0, 1, 0, 0))
    print()
    for o in outcomes:
        skipped = f", {o.skipped} skipped" if o.skipped else ""
        print(f"{o.name}: {o.passed} passed, {o.failed} failed{skipped} in {o.seconds:.0f} s")
    passed, failed = sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)
    print(f"{passed} passed, {failed} failed, {sum(o.skipped for o in outcomes)} skipped")
    return not failed

# SPDX-License-Identifier: GPL-2.0
"""./inv test: the unit tests here, the scenarios in the lab's guest, WireGuard's own test."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from toolkit import captures, paths
from toolkit import lab as labs
from toolkit.errors import ToolError
from toolkit.run import say

#: What runs in which guest: (kernel, tests). All of tests/vm on the oldest kernel, in several
#: guests so that both cores work; on the next kernel what its API can break.
VM_RUNS: list[tuple[str, list[str]]] = [
    ("5.10", ["tests/vm/test_link.py", "tests/vm/test_underlays.py"]),
    ("5.10", ["tests/vm/test_frames.py", "tests/vm/test_scenarios.py", "tests/vm/test_traffic.py"]),
    ("5.10", ["tests/vm/test_hostile.py", "tests/vm/test_replay.py", "tests/vm/test_bench.py"]),
    ("6.1", ["tests/vm/test_frames.py", "tests/vm/test_traffic.py"]),
]
GUESTS = 2  # at a time
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


def vm(number: int) -> Outcome:
    """Tests in a guest of that kernel. The report that pytest writes there proves that they ran.

    :raises ToolError: the guest fails, or the kernel complains outside of a test.
    """
    kernel, select = VM_RUNS[number]
    lab = labs.make(kernel)
    if "tests/vm/test_replay.py" in select:
        captures.debian()  # for the guest, which has no network
    say(f"Tests in a guest with {lab.kernel.label}: {' '.join(select)}")
    folder = paths.LOGS / f"vm-{number}-{kernel}"
    shutil.rmtree(folder, ignore_errors=True)
    report = folder / "report.xml"
    command = [
        *("python3", "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
        *("--tb=short", "--no-summary", "--timeout=300", "--durations=5", f"--junit-xml={report}"),
        *select,
    ]
    result = lab.run(command, folder=folder, timeout=VM_LIMIT, prefix=f"[{kernel}] ")
    names = ", ".join(Path(s).stem.removeprefix("test_") for s in select)
    outcome = _outcome(f"{lab.kernel.label} in a guest: {names}", report, result.seconds)
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


def _part(name: str, part: Callable[[], Outcome]) -> Outcome:
    try:
        return part()
    except ToolError as error:
        say(f"l2wg: {name}: {error}")
        return Outcome(name, 0, 1, 0, 0)


def run(*, units: bool, guests: bool) -> bool:
    """Run the parts, print what ran, and say whether all passed.

    A part that cannot run counts as failed; the others run all the same.
    """
    outcomes = []
    if units:
        with ThreadPoolExecutor(2) as pool:
            fuzzing = pool.submit(_part, "fuzzing the length function", fuzz)
            outcomes += [_part("unit tests", unit), fuzzing.result()]
    if guests:
        for kernel in {kernel for kernel, _ in VM_RUNS}:
            # one after the other: guests that start together share what this leaves
            labs.kvm_works(labs.make(kernel))
        oldest = VM_RUNS[0][0]
        jobs: list[tuple[str, Callable[[], Outcome]]] = [
            (f"guest {i} with {VM_RUNS[i][0]}", functools.partial(vm, i))
            for i in range(len(VM_RUNS))
        ]
        # the shortest last, so that no core waits for a long one at the end
        jobs.insert(-1, (f"netns.sh on {oldest}", functools.partial(netns_selftest, oldest)))
        with ThreadPoolExecutor(GUESTS) as pool:
            waiting = [pool.submit(_part, name, job) for name, job in jobs]
            try:
                outcomes += [w.result() for w in waiting]
            except BaseException:
                # interrupted: what waits never starts, and what runs is not waited for
                pool.shutdown(wait=False, cancel_futures=True)
                labs.end_all()
                raise
    print()
    for o in outcomes:
        skipped = f", {o.skipped} skipped" if o.skipped else ""
        print(f"{o.name}: {o.passed} passed, {o.failed} failed{skipped} in {o.seconds:.0f} s")
    passed, failed = sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)
    print(f"{passed} passed, {failed} failed, {sum(o.skipped for o in outcomes)} skipped")
    return not failed

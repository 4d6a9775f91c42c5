# SPDX-License-Identifier: GPL-2.0
"""./inv test: the unit tests here, the scenarios in the lab's guest, WireGuard's own test."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolkit import needs, paths
from toolkit.checks import guests, netns, outcome, pair
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError
from toolkit.frame import fuzz as fuzzing
from toolkit.kernels import own
from toolkit.lab import process
from toolkit.lab.lab import Labs
from toolkit.run import say

OLDEST, NEWEST, FINDING = "5.10", "newest", own.UML.name
GUESTS = 2  # at a time
FUZZ = 60  # seconds of fuzzing


@dataclass(frozen=True)
class Part:
    """A part of the run, for a thread of its own."""

    name: str
    run: Callable[[], Outcome]

    def __call__(self) -> Outcome:
        try:
            return self.run()
        except ToolError as error:
            say(f"l2wg: {self.name}: {error}")
            return Outcome(self.name, 0, 1, again=error.again)


def here(name: str, select: Sequence[str], *options: str) -> Outcome:
    """pytest on this machine.

    :raises ToolError: it ends early, leaves no report, or no test ran.
    """
    report = paths.fresh(paths.unused(paths.logs(name.split()[0]))) / "report.xml"
    started = time.monotonic()
    argv = [sys.executable, "-m", "pytest", *options, f"--junit-xml={report}", *select]
    status = process.call(argv, paths.ROOT)
    return outcome.read(name, report, time.monotonic() - started, status)


def unit(select: Sequence[str] = ("tests/unit",), only: Sequence[str] = ()) -> Outcome:
    """The tests that need neither root nor a guest, among them the linters."""
    # one that hangs is named, and the others run
    limit = f"--timeout={guests.TEST_LIMIT}"
    return here("unit tests", select, "-q", limit, *only).tried_by()


def netns_selftest(made: Labs, kernel: str) -> Outcome:
    """WireGuard's own test, shortened."""
    seconds = netns.selftest(made[kernel], short=True)
    return Outcome(f"WireGuard's netns.sh on {kernel}, shortened", 1, 0, seconds=seconds)


def two_machines(made: Labs, first: str, second: str, only: Sequence[str] = ()) -> Outcome:
    """tests/machines on two kernels."""
    return pair.pair(made[first], made[second], only=only).outcome


def fuzz() -> Outcome:
    """The length function under libFuzzer for a minute."""
    started = time.monotonic()
    fuzzing.run(FUZZ)
    return Outcome("fuzzing the length function", 1, 0, seconds=time.monotonic() - started)


def run(*, units: bool, vms: bool) -> bool:
    """Run the parts, print what ran, and say whether all passed.

    A part that cannot run counts as failed; the others run all the same.
    """
    parts, left_out = _here() if units else ([], [])
    ours = own.cached(own.UML)
    if vms:
        needs.ensure("test-vm")
        if not ours:
            left_out.append(f"tests with KASAN and lockdep ({_make_later()})")
    with process.pool(GUESTS) as pool:
        waiting = [pool.submit(part) for part in parts]
        if vms:
            # one after the other, because guests that start together share the result
            made = _labs(ours)  # meanwhile
            waiting += [pool.submit(part) for part in _in_guests(made)]
        outcomes = [w.result() for w in waiting]
    good = outcome.tell(outcomes)
    for line in left_out:
        say(f"left out: {line}")
    return good


def _here() -> tuple[list[Part], list[str]]:
    """The parts that need no guest, and a line for each that this machine cannot run."""
    parts, left_out = [Part("unit tests", unit)], []
    lacking = needs.lacking("test-unit")
    if lacking and os.environ.get("CI") == "true":
        needs.ensure("test-unit")  # which tells
    if set(lacking) & set(needs.FUZZ):
        left_out.append(f"fuzzing ({needs.line(needs.FUZZ)})")
    else:
        parts.append(Part("fuzzing the length function", fuzz))
    if rest := [name for name in lacking if name not in needs.FUZZ]:
        left_out.append(f"unit tests that are skipped for want of a program ({needs.line(rest)})")
    return parts, left_out


def _labs(ours: own.Own | None) -> Labs:
    """Those of the run; our own is the one in the cache, though there may be newer source."""
    if not ours:
        return Labs([OLDEST, NEWEST])
    return Labs([OLDEST, NEWEST, FINDING], {FINDING: ours.tree})


def _make_later() -> str:
    """Have the kernel that finds faults for the next run, and say why this one does without it.

    It takes 10 to 20 minutes to build, so a run does not wait for it. It is built when nothing else
    wants the processors; but not in CI, where there is no next run.
    """
    build = ["./inv", "lab", "--kernel", FINDING, "--", "true"]
    if os.environ.get("CI") == "true" or needs.lacking("own-kernel"):
        return f"no kernel {FINDING} in the cache: {shlex.join(build)}"
    log = paths.logs(FINDING).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        subprocess.Popen(
            ["nice", "-n", "19", *build],
            cwd=paths.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    return (
        f"the next run has them: the kernel {FINDING} is being built in the background, see {log}"
    )


def _in_guests(made: Labs) -> list[Part]:
    """The parts in guests, the shortest last, so that no core waits for a long one at the end.

    All of tests/vm on the oldest kernel, in several guests so that both cores work; on the newest
    what its API can break; on the one that finds faults what reaches most of the module in a few
    minutes. ./inv matrix runs all tests on all kernels, ./inv sanitize all that finds faults.
    """
    jobs = [(OLDEST, share, ()) for share in guests.shares(guests.files())]
    if FINDING in made:
        jobs.append((FINDING, guests.FINDING, ()))
    parts = [
        *(guest(made, i, *job) for i, job in enumerate(jobs)),
        Part(f"netns.sh on {OLDEST}", lambda: netns_selftest(made, OLDEST)),
        guest(made, len(jobs), NEWEST, guests.for_newest(), guests.NEW_API),
        Part("two machines", lambda: two_machines(made, OLDEST, NEWEST)),
    ]
    return parts


def guest(made: Labs, number: int, kernel: str, select: Sequence[str], only: Sequence[str]) -> Part:
    """Run some of tests/vm in a guest of their own."""

    def job() -> Outcome:
        folder = paths.unused(paths.logs("vm", str(number), kernel))
        return guests.run(made[kernel], select, folder, only=only, kernel=kernel)

    return Part(f"guest {number} with {kernel}", job)


def packages(expression: str | None = None) -> bool:
    """The tests of what is installed: packages on a clean Debian, signatures, `./inv install`.

    :param expression: pytest's -k.
    :returns: all passed.
    """
    only = ("-k", expression) if expression else ()
    options = ("-v", "--durations=10", *only)
    part = Part("packages", lambda: here("packages", ["tests/package"], *options))
    return outcome.tell([part()])

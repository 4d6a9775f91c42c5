# SPDX-License-Identifier: GPL-2.0
"""./inv sanitize: our module on a kernel that finds faults, and which of its lines have run."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths, tables
from toolkit.checks import guests, lines, marked, netns
from toolkit.errors import ToolError
from toolkit.kernels import kernel as kernels
from toolkit.kernels import own
from toolkit.lab import lab as labs
from toolkit.lab import process
from toolkit.lab.lab import Lab
from toolkit.run import say

KERNEL = own.UML.name
#: WireGuard's own tests, which run when a debug module is loaded. That of the rate limiter does not
#: run with KASAN, which is too slow for it.
AT_LOAD = ("allowedips", "nonce counter")


#: Tests that reach most of our C in a quarter of an hour. The others are of l2wgctl and meshes, or
#: of what is around the module (tunnels that carry it, sums, captures).
CORE = re.compile(
    r"test_(allocations|netlink_\w+|batch\w*|ctl_switch|frames|hostile|iproute2|link|loop"
    r"|switch\w*)\.py$"
)
#: They take minutes, and only here.
ALONE = re.compile(r"test_(allocations|netlink_\w+)\.py$")
#: What processors do to each other at the same time: storms, and the tests with the most threads.
STORMS = "tests/vm/races.py"
CROWDED = re.compile(r"test_(batch|switch_(order|peers|table))\.py$")
MINUTES = 5
#: Hostile peers: most of them at native speed.
ATTACKS = "tests/vm/attacks.py"
PLAINTEXTS = 5e6
#: The folder of the guest that loads the debug module.
LOAD = "sanitize-load"
DOCUMENT = Path("docs/reliability.md")


@dataclass(frozen=True)
class Row:
    """What one part came to, today.

    :ivar what: the part.
    :ivar kernel: the release that it ran on.
    :ivar runs: what ran, with its number.
    :ivar seconds: wall time.
    :ivar findings: what failed, or what the kernel complained about; none is good.
    :ivar again: the command that tries it once more.
    """

    what: str
    kernel: str
    runs: str
    seconds: float = 0
    findings: tuple[str, ...] = ()
    again: str = ""


def sanitize(
    *,
    whole: bool = False,
    write: bool = False,
    minutes: float = MINUTES,
    plaintexts: float = PLAINTEXTS,
    only: str = "",
) -> bool:
    """Run all parts, print the tables, and say whether nothing was found.

    :param whole: all of tests/vm, and WireGuard's ``netns.sh``.
    :param minutes: of storms on the kernel with several processors; 0: without that kernel.
    :param plaintexts: of hostile peers; 0: none.
    :param only: parts with this in their name; no lines are counted then.
    :param write: put the tables into DOCUMENT. The rows of parts that did not run stay there.
    :raises ToolError: no part has that name.
    """
    lab = labs.make(kernels.resolve(KERNEL))
    # the guests have them, too
    os.environ.update(L2WG_MINUTES=str(minutes), L2WG_PLAINTEXTS=str(plaintexts))
    jobs = parts(lab, whole=whole, attacks=plaintexts > 0)
    # what takes longest first
    if minutes > 0:
        jobs = [*several(), *jobs]
    if plaintexts > 0:
        jobs = [*on(own.NATIVE.name, [[ATTACKS]]), *jobs]
    chosen = [job for job in jobs if only in job[0]]
    if not chosen:
        known = "; ".join(name for name, _ in jobs)
        raise ToolError(f"--only {only}: no part has that in its name", f"the parts are: {known}")
    if not only:
        for old in paths.LOGS.glob("sanitize-*"):
            paths.fresh(old)

    with process.pool(2) as pool:
        running = [pool.submit(_row, *job) for job in chosen]
        for done in as_completed(running):
            # The others take an hour perhaps, and may be interrupted. A guest that is ended by that
            # has found nothing: so this thread writes, which is interrupted first.
            if write:
                remember(done.result())
    rows = [done.result() for done in running]
    ran = table(rows)
    tables.show(ran, bad=[place for place, row in enumerate(rows, 1) if row.findings])
    for row in rows:
        if row.findings and row.again:
            print(f"again: {row.again}")
    if not only:
        counts = lines.count(lab.module.file.parent / "gcno", _counted())
        reached = coverage(counts)
        tables.show(reached)
        if write:
            marked.put("sanitize", tables.markdown(ran), DOCUMENT)
            marked.put("lines", tables.markdown(reached), DOCUMENT)
    return not any(row.findings for row in rows)


def remember(row: Row) -> None:
    """Put a row into DOCUMENT, in the place of the same part on the same kernel."""
    with paths.alone(paths.BUILD / "sanitize"):
        made = table([row])
        # a release has the kernel's name at its end (6.12.117-uml)
        kept = {
            (cells[0], cells[1].split("-")[-1]): cells
            for known in (*marked.tables("sanitize", DOCUMENT), made)
            for cells in known[1:]
        }
        marked.put("sanitize", tables.markdown([made[0], *kept.values()]), DOCUMENT)


def parts(lab: Lab, *, whole: bool, attacks: bool = True) -> list[tuple[str, Callable[[], Row]]]:
    """What there is to run: (what, how)."""
    files = [file for file in guests.files() if whole or CORE.search(file)]
    alone = [file for file in files if ALONE.search(file)]
    shares = [[file] for file in (alone + [ATTACKS] if attacks else alone)]
    shares += guests.shares([file for file in files if file not in alone])
    jobs = [(_short(share), _tests(lab, str(number), share)) for number, share in enumerate(shares)]
    jobs.append(("WireGuard's self-tests at load", lambda: self_tests(lab)))
    if whole:
        jobs.append(("WireGuard's netns.sh, shortened", lambda: _netns(lab)))
    return jobs


def several() -> list[tuple[str, Callable[[], Row]]]:
    """What runs on several processors."""
    crowded = [file for file in guests.files() if CROWDED.search(file)]
    return on(own.SMP.name, [[STORMS], *guests.shares(crowded)])


def on(kernel: str, shares: Sequence[Sequence[str]]) -> list[tuple[str, Callable[[], Row]]]:
    """What runs on another kernel of our own: (what, how). Each job makes that kernel's lab."""

    def job(number: int, share: Sequence[str]) -> Callable[[], Row]:
        def run() -> Row:
            lab = labs.make(kernels.resolve(kernel))
            return _tests(lab, f"{kernel}-{number}", share, kernel)()

        return lambda: _row(_short(share), run, kernel)

    return [(f"{_short(share)}, {kernel}", job(n, share)) for n, share in enumerate(shares)]


def _short(share: Sequence[str]) -> str:
    return ", ".join(Path(file).stem.removeprefix("test_") for file in share)


def _figures(folder: Path) -> str:
    """What the tests of a guest have counted (tests/vm/failing.py), summed up."""
    file = folder / "figures"
    found: Counter[str] = Counter()
    for line in file.read_text().splitlines() if file.exists() else []:
        number, what = line.split(" ", 1)
        found[what] += int(number)
    return "".join(f", {number:,} {what}" for what, number in found.items())


def _counted() -> list[Path]:
    """What the guests' kernels have counted, but for another build of the module: the debug one."""
    return [p for p in sorted(paths.LOGS.glob("sanitize-*/gcda")) if p.parent.name != LOAD]


def _row(what: str, job: Callable[[], Row], kernel: str = KERNEL) -> Row:
    try:
        return job()
    except ToolError as error:
        say(f"l2wg: {what}: {error}")
        return Row(what, kernel, "0", findings=(error.what,), again=error.again)


def _tests(lab: Lab, name: str, share: Sequence[str], kernel: str = KERNEL) -> Callable[[], Row]:
    def job() -> Row:
        folder = paths.LOGS / f"sanitize-{name}"
        done = guests.run(lab, share, folder, kernel=kernel)
        skipped = f", {done.skipped} skipped" if done.skipped else ""
        runs = f"{done.passed + done.failed} tests{skipped}{_figures(folder)}"
        what, release = _short(share), lab.kernel.release
        return Row(what, release, runs, done.seconds, done.failures, done.again)

    return job


def _netns(lab: Lab) -> Row:
    seconds = netns.selftest(lab, short=True)
    return Row("WireGuard's netns.sh, shortened", lab.kernel.release, "1", seconds)


def self_tests(lab: Lab) -> Row:
    """Load the debug module, which then tests itself.

    :raises ToolError: it cannot be loaded.
    """
    lab = labs.make(lab.kernel, debug=True)
    folder = paths.LOGS / LOAD
    result = lab.run(["sh", "-c", "modprobe l2wireguard && rmmod l2wireguard"], folder=folder)
    result.must_be_good("self-tests at load")
    log = (folder / "dmesg").read_text(errors="replace")
    passed = set(re.findall(r"l2wireguard: (.*) self-tests: pass", log))
    lacking = tuple(f"{name} self-tests did not pass" for name in AT_LOAD if name not in passed)
    what, runs = "WireGuard's self-tests at load", f"{len(passed)} self-tests"
    return Row(what, lab.kernel.release, runs, result.seconds, lacking, result.again)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """What ran and what it found."""
    head = ["what", "kernel", "runs", "seconds", "findings", "run on"]
    today = time.strftime("%Y-%m-%d")
    made = [head]
    for row in rows:
        found = "; ".join(row.findings) or "none"
        made.append([row.what, row.kernel, row.runs, f"{row.seconds:.0f}", found, today])
    return made


def coverage(counts: lines.Counts) -> list[list[str]]:
    """How much of each file has run, and which lines never did."""
    rows = [["file", "lines that ran", "never ran"]]
    for name, of in sorted(counts.items()):
        rows.append([f"`kernel/{name}`", str(lines.reach(of)), lines.never(of)])
    return [*rows, ["all", str(lines.total(counts)), ""]]

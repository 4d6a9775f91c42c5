# SPDX-License-Identifier: GPL-2.0
"""./inv sanitize: our module on a kernel that finds faults (docs/reliability.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from toolkit import paths
from toolkit.checks import guests, netns
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


@dataclass(frozen=True)
class Row:
    """What one part came to.

    :ivar what: the part.
    :ivar kernel: the release that it ran on.
    :ivar runs: what ran, with its number.
    :ivar findings: what failed, or what the kernel complained about; none is good.
    :ivar again: the command that tries it once more.
    """

    what: str
    kernel: str
    runs: str
    findings: tuple[str, ...] = ()
    again: str = ""


def sanitize() -> bool:
    """Run all parts, print the table, and say whether nothing was found."""
    lab = labs.make(kernels.resolve(KERNEL))
    jobs = parts(lab)
    with process.pool(2) as pool:
        rows = list(pool.map(lambda job: _row(*job), jobs))
    print_table(rows)
    return not any(row.findings for row in rows)


def parts(lab: Lab) -> list[tuple[str, Callable[[], Row]]]:
    """What there is to run: (what, how)."""
    jobs = [
        (", ".join(Path(f).stem.removeprefix("test_") for f in share), _tests(lab, number, share))
        for number, share in enumerate(guests.shares(guests.files()))
    ]
    return [
        *jobs,
        ("WireGuard's netns.sh, shortened", lambda: _netns(lab)),
        ("WireGuard's self-tests at load", lambda: self_tests(lab)),
    ]


def _row(what: str, job: Callable[[], Row]) -> Row:
    try:
        return job()
    except ToolError as error:
        say(f"l2wg: {what}: {error}")
        return Row(what, KERNEL, "0", (str(error),), error.again)


def _tests(lab: Lab, number: int, share: Sequence[str]) -> Callable[[], Row]:
    def job() -> Row:
        done = guests.run(lab, share, paths.LOGS / f"sanitize-{number}", kernel=KERNEL)
        skipped = f", {done.skipped} skipped" if done.skipped else ""
        names = ", ".join(Path(f).stem.removeprefix("test_") for f in share)
        runs = f"{done.passed + done.failed} tests{skipped}"
        return Row(names, lab.kernel.release, runs, done.failures, done.again)

    return job


def _netns(lab: Lab) -> Row:
    netns.selftest(lab, short=True)
    return Row("WireGuard's netns.sh, shortened", lab.kernel.release, "1")


def self_tests(lab: Lab) -> Row:
    """Load the debug module, which then tests itself.

    :raises ToolError: it cannot be loaded.
    """
    lab = labs.make(lab.kernel, debug=True)
    folder = paths.LOGS / "sanitize-load"
    result = lab.run(["sh", "-c", "modprobe l2wireguard && rmmod l2wireguard"], folder=folder)
    result.must_be_good("self-tests at load")
    log = (folder / "dmesg").read_text(errors="replace")
    passed = set(re.findall(r"l2wireguard: (.*) self-tests: pass", log))
    lacking = tuple(f"{name} self-tests did not pass" for name in AT_LOAD if name not in passed)
    runs = f"{len(passed)} self-tests"
    return Row("WireGuard's self-tests at load", lab.kernel.release, runs, lacking, result.again)


def print_table(rows: Sequence[Row]) -> None:
    """For a terminal, and for CI's log."""
    table = Table("what", "kernel", "runs", "findings")
    for row in rows:
        table.add_row(row.what, row.kernel, row.runs, "\n".join(row.findings) or "none")
    Console().print(table)
    for row in rows:
        if row.findings and row.again:
            print(f"again: {row.again}")

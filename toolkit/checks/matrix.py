# SPDX-License-Identifier: GPL-2.0
"""./inv matrix: does every kernel build, load and pass? The table says which does not."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from toolkit import paths
from toolkit.checks import guests, marked, outcome, pair, suite
from toolkit.checks import netns as selftest
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError
from toolkit.lab import process
from toolkit.lab.lab import Lab, Labs
from toolkit.run import say

#: The kernels that people run, oldest first; see toolkit.kernels.kernel.resolve().
KERNELS = ("5.10", "6.1", "6.12+deb12", "6.12+deb13", "newest")
#: Two machines with two kernels.
PAIRS = (("5.10", "newest"), ("6.1", "6.12+deb13"))

LIMIT = 5400  # seconds for the tests of one guest; the machine may be busy
TEST_LIMIT = 900  # seconds for one test

LOADS = """\
set -e
modprobe l2wireguard
test "$(cat /sys/module/l2wireguard/parameters/plain)" = Y
ip link add wg1 type l2wireguard
ip link set wg1 up
ip -details link show wg1
ip link delete wg1
rmmod l2wireguard
"""


@dataclass
class Cell:
    """One step of one kernel: the text to show, and the log of a failure."""

    text: str = ""
    log: str = ""

    @property
    def shown(self) -> str:
        """The text, with the log's name if the step failed."""
        return f"{self.text} ({self.log})" if self.log else self.text


@dataclass
class Row:
    """A kernel's results."""

    kernel: str
    release: str = ""
    build: Cell = field(default_factory=Cell)
    load: Cell = field(default_factory=Cell)
    scenarios: Cell = field(default_factory=Cell)
    netns: Cell = field(default_factory=Cell)
    seconds: float = 0
    date: str = ""

    @property
    def cells(self) -> list[Cell]:
        """All steps."""
        return [self.build, self.load, self.scenarios, self.netns]

    @property
    def good(self) -> bool:
        """Everything ran, and nothing failed."""
        return all(c.text and not c.log for c in self.cells)


@dataclass
class PairRow:
    """Two machines' results."""

    kernels: tuple[str, str]
    releases: tuple[str, str] = ("", "")
    result: Cell = field(default_factory=Cell)
    seconds: float = 0
    date: str = ""

    @property
    def good(self) -> bool:
        """It ran, and nothing failed."""
        return bool(self.result.text) and not self.result.log


def matrix(kernels: list[str] | None = None, *, at_a_time: int = suite.GUESTS) -> bool:
    """Run it, print the table and write docs/kernels.md; did all pass?

    :param kernels: only these and their pairs; the rows of the others stay as they were.
    :param at_a_time: virtual machines at a time.
    """
    names = kernels or list(KERNELS)
    rows = {name: Row(name, date=time.strftime("%Y-%m-%d")) for name in names}
    pairs = [PairRow(p, date=time.strftime("%Y-%m-%d")) for p in PAIRS if set(p) <= set(names)]
    for row in rows.values():
        shutil.rmtree(_logs(row.kernel, "build").parent, ignore_errors=True)
    # one after the other: they share a cache, and each has the whole machine
    made = Labs(names)
    built = [row for row in rows.values() if _build(row, made)]
    jobs = [job for row in built for job in _jobs(row, made[row.kernel])]
    ready = {row.kernel for row in built}
    jobs += [_pair_job(p, made) for p in pairs if set(p.kernels) <= ready]
    with process.pool(at_a_time) as pool:
        for waiting in [pool.submit(job) for job in jobs]:
            waiting.result()
    _report(list(rows.values()), pairs)
    return all(r.good for r in rows.values()) and all(p.good for p in pairs)


def two(first: str, second: str) -> bool:
    """Test two machines with these kernels and write their row in docs/kernels.md; did all pass?"""
    row = PairRow((first, second), date=time.strftime("%Y-%m-%d"))
    _pair_job(row, Labs([first, second]))()
    _report([], [row])
    return row.good


def _logs(kernel: str, part: str) -> Path:
    return paths.LOGS / f"matrix-{kernel}" / part


def _build(row: Row, made: Labs) -> bool:
    try:
        lab = made[row.kernel]
    except ToolError as error:
        folder = _logs(row.kernel, "build")
        folder.mkdir(parents=True)
        (folder / "error").write_text(f"{error}\n")
        row.build = Cell("fails", str(error.log or folder / "error"))
        return False
    size = lab.module.file.stat().st_size
    row.release = lab.kernel.release
    row.build = Cell(f"{size // 1000} kB")
    return True


def _jobs(row: Row, lab: Lab) -> list[Callable[[], None]]:
    """The jobs to run in guests, the longest first."""
    groups = guests.shares(guests.files())
    outcomes: list[Outcome | None] = [None] * len(groups)
    logs: list[str] = []

    def load() -> None:
        folder = _logs(row.kernel, "load")
        try:
            result = lab.run(["sh", "-c", LOADS], folder=folder, show=False)
        except ToolError as error:
            say(f"l2wg: {row.kernel}: {error}")
            row.load = Cell("fails", str(folder))
            return
        row.seconds += result.seconds
        bad = result.status or result.complaints
        row.load = Cell("fails", str(folder)) if bad else Cell("yes")

    def scenarios(number: int) -> None:
        folder = _logs(row.kernel, f"tests-{number}")
        try:
            ran = guests.run(
                lab, groups[number], folder, limit=LIMIT, test=TEST_LIMIT, kernel=row.kernel
            )
        except ToolError as error:
            say(f"l2wg: {row.kernel}: {error}")
            ran = Outcome("", 0, 1, again=error.again)
        row.seconds += ran.seconds
        if ran.failed:
            logs.append(str(folder))
            say(f"again: {ran.again}")
        outcomes[number] = ran
        done = [o for o in outcomes if o]
        if len(done) == len(groups):
            row.scenarios = Cell(str(outcome.total(done)), " ".join(sorted(logs)))

    def netns() -> None:
        try:
            row.seconds += selftest.selftest(lab, short=True)
            row.netns = Cell("passes")
        except ToolError as error:
            say(f"l2wg: {row.kernel}: {error}")
            folder = paths.LOGS / f"selftest-{row.release}-l2wireguard"
            row.netns = Cell("fails", str(folder))

    return [
        load,
        *((lambda number=number: scenarios(number)) for number in range(len(groups))),
        netns,
    ]


def _pair_job(row: PairRow, made: Labs) -> Callable[[], None]:
    def job() -> None:
        folder = paths.LOGS / f"pair-{'-'.join(row.kernels)}"
        try:
            first, second = (made[name] for name in row.kernels)
            done = pair.pair(first, second, folder=folder)
        except ToolError as error:
            say(f"l2wg: {' and '.join(row.kernels)}: {error}")
            row.result = Cell("fails", str(folder))
            return
        row.releases, row.seconds = done.releases, done.outcome.seconds
        row.result = Cell(str(done.outcome), str(folder) if done.outcome.failed else "")

    return job


def _report(rows: list[Row], pairs: list[PairRow]) -> None:
    console = Console()
    if rows:
        table = _table("kernel", "release", "module", "loads", "scenarios", "netns.sh", "time")
        for r in rows:
            style = "" if r.good else "red"
            cells = [c.shown or "not run" for c in r.cells]
            table.add_row(r.kernel, r.release, *cells, _minutes(r.seconds), style=style)
        console.print(table)
    if pairs:
        table = _table("two machines", "releases", "scenarios", "time")
        for p in pairs:
            table.add_row(
                " and ".join(p.kernels),
                " and ".join(p.releases),
                p.result.shown or "not run",
                _minutes(p.seconds),
                style="" if p.good else "red",
            )
        console.print(table)
    _remember(rows, pairs)


def _table(*columns: str) -> Table:
    table = Table()
    for name in columns:
        # a log's name is not cut, however narrow the terminal
        table.add_column(name, overflow="fold")
    return table


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _remember(rows: list[Row], pairs: list[PairRow]) -> None:
    """Write docs/kernels.md, and keep the rows of earlier runs for what this run left out."""
    memory = paths.BUILD / "matrix.json"
    with paths.alone(memory):
        try:
            known = json.loads(memory.read_text())
        except (OSError, ValueError):
            known = {"rows": {}, "pairs": {}}
        known["rows"].update({r.kernel: asdict(r) for r in rows})
        known["pairs"].update({" ".join(p.kernels): asdict(p) for p in pairs})
        memory.write_text(json.dumps(known, indent=1))
        marked.put("matrix", document(known))


def _cell(stored: dict[str, str]) -> str:
    text, log = stored["text"], stored["log"]
    # a document does not name our checkout
    places = log.replace(f"{paths.ROOT}/", "")
    return f"**{text or 'not run'}** (`{places}`)" if log else text or "not run"


def document(known: dict[str, dict[str, dict[str, object]]]) -> str:
    """The remembered rows as Markdown."""
    lines = [
        "| kernel | release | module | loads | scenarios | `netns.sh` | time in guests | run on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = known["rows"]
    for name in [k for k in KERNELS if k in rows] + sorted(set(rows) - set(KERNELS)):
        row = rows[name]
        steps = [row[step] for step in ("build", "load", "scenarios", "netns")]
        cells = [_cell(s) for s in steps if isinstance(s, dict)]
        minutes = _minutes(float(str(row["seconds"])))
        lines.append(
            f"| `{name}` | {row['release']} | {' | '.join(cells)} | {minutes} | {row['date']} |"
        )
    if known["pairs"]:
        lines += ["", "| two machines | scenarios | time | run on |", "|---|---|---|---|"]
    for stored in known["pairs"].values():
        releases, result = stored["releases"], stored["result"]
        pair_of = stored["kernels"]
        assert isinstance(releases, (list, tuple)) and isinstance(result, dict)
        assert isinstance(pair_of, (list, tuple))
        minutes = _minutes(float(str(stored["seconds"])))
        names = " and ".join(r or k for r, k in zip(releases, pair_of, strict=True))
        lines.append(f"| {names} | {_cell(result)} | {minutes} | {stored['date']} |")
    return "\n".join(lines)

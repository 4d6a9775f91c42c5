# SPDX-License-Identifier: GPL-2.0
"""./inv matrix: does every kernel build, load and pass? The table says which does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from toolkit import paths, tables
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
    """One step of one kernel: the text to show, whether it failed, and the log of that."""

    text: str = ""
    log: str = ""
    failed: bool = False

    def shown(self) -> str:
        """The text for a terminal, with the log's name if the step failed."""
        return f"{self.text} ({self.log})" if self.log else self.text or "not run"


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

    def cells_for(self, shown: Callable[[Cell], str]) -> list[str]:
        """The row of a table."""
        steps = map(shown, self.cells)
        return [f"`{self.kernel}`", self.release, *steps, _minutes(self.seconds), self.date]

    @property
    def good(self) -> bool:
        """Everything ran, and nothing failed."""
        return all(c.text and not c.failed for c in self.cells)


@dataclass
class PairRow:
    """Two machines' results."""

    kernels: tuple[str, str]
    releases: tuple[str, str] = ("", "")
    result: Cell = field(default_factory=Cell)
    seconds: float = 0
    date: str = ""

    def cells_for(self, shown: Callable[[Cell], str]) -> list[str]:
        """The row of a table."""
        names = " and ".join(f"`{name}`" for name in self.kernels)
        releases = ", ".join(filter(None, self.releases))
        return [names, releases, shown(self.result), _minutes(self.seconds), self.date]

    @property
    def good(self) -> bool:
        """It ran, and nothing failed."""
        return bool(self.result.text) and not self.result.failed


def matrix(kernels: list[str] | None = None, *, at_a_time: int = suite.GUESTS) -> bool:
    """Run it, print the table and write docs/kernels.md; did all pass?

    :param kernels: only these and their pairs; the rows of the others stay as they were.
    :param at_a_time: virtual machines at a time.
    """
    names = kernels or list(KERNELS)
    rows = {name: Row(name, date=time.strftime("%Y-%m-%d")) for name in names}
    pairs = [PairRow(p, date=time.strftime("%Y-%m-%d")) for p in PAIRS if set(p) <= set(names)]
    for name in names:
        paths.fresh(paths.logs("matrix", name))
    # one after the other: they share a cache, and each has the whole machine
    made = Labs(names)
    built = [row for row in rows.values() if _build(row, made)]
    ready = {row.kernel for row in built}
    with process.pool(at_a_time) as pool:
        running: list[tuple[Row | PairRow, list[Future[None]]]] = [
            (row, [pool.submit(job) for job in _jobs(row, made[row.kernel])]) for row in built
        ]
        running += [
            (p, [pool.submit(_pair_job(p, made))]) for p in pairs if set(p.kernels) <= ready
        ]
        for row, parts in running:
            for part in parts:
                part.result()
            # it has taken an hour perhaps, and whatever comes next may be interrupted
            _remember(_parts([row]))
    _report([*rows.values(), *pairs])
    return all(r.good for r in rows.values()) and all(p.good for p in pairs)


def two(first: str, second: str) -> bool:
    """Test two machines with these kernels and write their row in docs/kernels.md; did all pass?"""
    row = PairRow((first, second), date=time.strftime("%Y-%m-%d"))
    _pair_job(row, Labs([first, second]))()
    _report([row])
    return row.good


def _logs(kernel: str, part: str) -> Path:
    return paths.logs("matrix", kernel) / part


def _build(row: Row, made: Labs) -> bool:
    try:
        lab = made[row.kernel]
    except ToolError as error:
        folder = _logs(row.kernel, "build")
        folder.mkdir(parents=True)
        (folder / "error").write_text(f"{error}\n")
        row.build = Cell("fails", str(error.log or folder / "error"), failed=True)
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
            row.load = Cell("fails", str(folder), failed=True)
            return
        row.seconds += result.seconds
        bad = result.status or result.complaints
        row.load = Cell("fails", str(folder), failed=True) if bad else Cell("yes")

    def scenarios(number: int) -> None:
        folder = _logs(row.kernel, f"tests-{number}")
        try:
            ran = guests.run(lab, groups[number], folder, kernel=row.kernel)
        except ToolError as error:
            say(f"l2wg: {row.kernel}: {error}")
            ran = Outcome("", 0, 1, again=error.again)
        row.seconds += ran.seconds
        if ran.failed:
            logs.append(str(folder))
            for line in (*ran.told(), f"again: {ran.again}"):
                say(line)
        outcomes[number] = ran
        done = [o for o in outcomes if o]
        if len(done) == len(groups):
            where = " ".join(sorted(logs, key=lambda log: (len(log), log)))  # 2 before 10
            row.scenarios = Cell(str(outcome.total(done)), where, failed=bool(logs))

    def netns() -> None:
        try:
            row.seconds += selftest.selftest(lab, short=True)
            row.netns = Cell("passes")
        except ToolError as error:
            say(f"l2wg: {row.kernel}: {error}")
            row.netns = Cell("fails", str(error.log or ""), failed=True)

    return [
        load,
        *((lambda number=number: scenarios(number)) for number in range(len(groups))),
        netns,
    ]


def _pair_job(row: PairRow, made: Labs) -> Callable[[], None]:
    def job() -> None:
        folder = paths.logs("pair", *row.kernels)
        try:
            first, second = (made[name] for name in row.kernels)
            done = pair.pair(first, second, folder=folder)
        except ToolError as error:
            say(f"l2wg: {' and '.join(row.kernels)}: {error}")
            row.result = Cell("fails", str(folder), failed=True)
            return
        row.releases, row.seconds = done.releases, done.outcome.seconds
        bad = bool(done.outcome.failed)
        row.result = Cell(str(done.outcome), str(folder) if bad else "", failed=bad)

    return job


HEAD = ["kernel", "release", "module", "loads", "scenarios", "`netns.sh`"]
HEAD += ["time in guests", "run on"]
PAIR_HEAD = ["two machines", "releases", "scenarios", "time", "run on"]


def _parts(rows: Iterable[Row | PairRow]) -> list[tuple[list[str], list[Row | PairRow]]]:
    """The tables of docs/kernels.md, each with its rows among these."""
    rows = list(rows)
    return [
        (HEAD, [r for r in rows if isinstance(r, Row)]),
        (PAIR_HEAD, [r for r in rows if isinstance(r, PairRow)]),
    ]


def _report(rows: Iterable[Row | PairRow]) -> None:
    parts = _parts(rows)
    for head, done in parts:
        if done:
            shown = [r.cells_for(Cell.shown) for r in done]
            bad = [i for i, r in enumerate(done, 1) if not r.good]
            tables.show([head, *shown], bad=bad)
    _remember(parts)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _remember(parts: Iterable[tuple[list[str], list[Row | PairRow]]]) -> None:
    """Write docs/kernels.md. Rows that this run did not test stay as they are."""
    with paths.alone(paths.BUILD / "matrix"):
        known = marked.tables("matrix")
        written = []
        for head, done in parts:
            before = next((table for table in known if table[0][0] == head[0]), [head])
            kept = {row[0]: row for row in before[1:]}
            kept |= {row[0]: row for row in (r.cells_for(_in_document) for r in done)}
            order = [f"`{name}`" for name in KERNELS]
            first = [name for name in order if name in kept]
            if kept:
                rest = [name for name in kept if name not in first]
                written.append(tables.markdown([head, *(kept[n] for n in first + rest)]))
        marked.put("matrix", "\n\n".join(written))


def _in_document(cell: Cell) -> str:
    # a document does not name our checkout
    places = cell.log.replace(f"{paths.ROOT}/", "")
    text = cell.text or "not run"
    return (f"**{text}**" if cell.failed else text) + (f" (`{places}`)" if places else "")

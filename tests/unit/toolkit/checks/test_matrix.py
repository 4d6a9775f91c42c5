# SPDX-License-Identifier: GPL-2.0
"""./inv matrix: what its table says, above all of what fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit import paths, tables
from toolkit.checks import guests, marked, matrix
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError
from toolkit.kernels.kernel import Kernel
from toolkit.lab import lab as labs

Run = Callable[[], bool]
#: Where its logs are: the document names them as below the checkout.
NONE = f"build/none-{os.getpid()}"


class World:
    """Stands for kernels, guests and tests; a test breaks what it wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: set[str] = set()
        self.document = folder / "kernels.md"
        self.document.write_text("<!-- matrix -->\n<!-- end of matrix -->\n")

    def make(self, wanted: Kernel) -> SimpleNamespace:
        kernel = wanted.release
        if f"{kernel} build" in self.broken:
            raise ToolError("a.c:1:2: wrong", log=Path("/logs/build.log"))
        module = self.folder / "l2wireguard.ko"
        module.write_bytes(b"x" * 225_016)
        status = 1 if f"{kernel} load" in self.broken else 0
        return SimpleNamespace(
            name=kernel,
            kernel=SimpleNamespace(release=f"{kernel}.9-amd64"),
            module=SimpleNamespace(file=module),
            kvm_works=lambda: False,
            run=lambda *_, **__: SimpleNamespace(status=status, complaints=[], seconds=10.0),
        )

    def in_guest(
        self, lab: SimpleNamespace, select: list[str], folder: Path, **_: object
    ) -> Outcome:
        kernel = lab.name
        assert all((matrix.paths.ROOT / s).exists() for s in select) and select
        if f"{kernel} guest" in self.broken:
            raise ToolError("the guest ended")
        failed = int(f"{kernel} scenarios" in self.broken and "tests-0" in str(folder))
        return Outcome("", 10 - failed, failed, 0, 60.0)

    def selftest(self, lab: SimpleNamespace, *, short: bool) -> float:
        if f"{lab.name} netns" in self.broken:
            raise ToolError("netns.sh failed", log=matrix.paths.LOGS / "selftest-5.10.9")
        if f"{lab.name} no netns" in self.broken:
            raise ToolError("the source has no netns.sh")
        return 30.0

    def pair(self, one: SimpleNamespace, two: SimpleNamespace, *, folder: Path) -> SimpleNamespace:
        if "pair" in self.broken:
            raise ToolError("the second machine left no report")
        outcome = Outcome("", 7, 0, 0, 180.0)
        return SimpleNamespace(releases=(f"{one.name}.9", f"{two.name}.9"), outcome=outcome)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    monkeypatch.setattr(labs, "make", made.make)
    monkeypatch.setattr(labs.kernels, "resolve", lambda name: Kernel(name, tmp_path))
    monkeypatch.setattr(matrix.guests, "run", made.in_guest)
    monkeypatch.setattr(matrix.selftest, "selftest", made.selftest)
    monkeypatch.setattr(matrix.pair, "pair", made.pair)
    monkeypatch.setattr(matrix.paths, "BUILD", tmp_path)
    monkeypatch.setattr(matrix.paths, "LOGS", matrix.paths.ROOT / NONE)
    monkeypatch.setattr(matrix, "PAIRS", (("5.10", "7.3"),))
    monkeypatch.setattr(marked, "file", lambda _: made.document)
    yield made
    shutil.rmtree(matrix.paths.LOGS, ignore_errors=True)


#: guests of tests for a kernel
GROUPS = len(guests.shares(guests.files()))


def test_all_green(world: World) -> None:
    assert matrix.matrix(["5.10", "7.3"])
    text = world.document.read_text()
    row = f"| 225 kB | yes | {10 * GROUPS} passed, 0 failed | passes |"
    assert f"| `5.10` | 5.10.9-amd64 {row} " in text
    assert f"| `7.3` | 7.3.9-amd64 {row} " in text
    assert "| `5.10` and `7.3` | 5.10.9, 7.3.9 | 7 passed, 0 failed | 3 min |" in text
    assert "**" not in text


@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("5.10 build", "| **fails** (`/logs/build.log`) | not run | not run | not run |"),
        ("5.10 load", "| **fails** (`{}/matrix-5.10/load`) |"),
        (
            "5.10 scenarios",
            f"| **{10 * GROUPS - 1} passed, 1 failed** (`{{}}/matrix-5.10/tests-0`) |",
        ),
        (
            "5.10 guest",
            f"| **0 passed, {GROUPS} failed** (`"
            + " ".join(f"{{0}}/matrix-5.10/tests-{i}" for i in range(GROUPS))
            + "`) |",
        ),
        ("5.10 netns", "| **fails** (`{}/selftest-5.10.9`) |"),
        ("5.10 no netns", "| **fails** |"),
        ("pair", "| `5.10` and `7.3` |  | **fails** (`{}/pair-5.10-7.3`) |"),
    ],
)
def test_a_failing_cell_fails_and_names_its_log(world: World, what: str, shown: str) -> None:
    world.broken.add(what)
    assert not matrix.matrix(["5.10", "7.3"])
    assert shown.format(NONE) in world.document.read_text()
    # the other kernel has run all the same
    row = f"| 225 kB | yes | {10 * GROUPS} passed, 0 failed | passes |"
    assert f"| `7.3` | 7.3.9-amd64 {row} " in world.document.read_text()


def test_a_part_of_the_matrix_keeps_the_other_rows(world: World) -> None:
    matrix.matrix(["5.10", "7.3"])
    before = world.document.read_text()
    world.broken.add("7.3 load")
    assert not matrix.matrix(["7.3"])
    after = world.document.read_text()
    assert [x for x in before.splitlines() if "`7.3`" not in x] == [
        x for x in after.splitlines() if "`7.3`" not in x
    ]
    assert "**fails**" in after


def test_a_row_is_written_when_it_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt takes the rows that are not."""

    def interrupted(lab: SimpleNamespace, *, short: bool) -> float:
        if lab.name == "7.3":
            raise KeyboardInterrupt
        return world.selftest(lab, short=short)

    monkeypatch.setattr(matrix.selftest, "selftest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        matrix.matrix(["5.10", "7.3"], at_a_time=1)
    text = world.document.read_text()
    assert "| `5.10` | 5.10.9-amd64 | 225 kB | yes |" in text
    assert "`7.3`" not in text


def committed(part: str) -> list[str]:
    """The rows of a part of docs/kernels.md as it is committed."""
    text = (paths.ROOT / "docs/kernels.md").read_text()
    inside = text.split(f"<!-- {part} -->")[1].split(f"<!-- end of {part} -->")[0]
    return [line for line in inside.splitlines() if line.startswith("|")]


def test_no_committed_row_is_lost_in_a_fresh_clone(world: World) -> None:
    """build/ is not there, docs/kernels.md is: it is all that a command may remember by."""
    shutil.copy(paths.ROOT / "docs/kernels.md", world.document)
    before = committed("matrix")
    matrix.two("6.1", "newest")
    matrix.matrix(["6.1"])
    after = world.document.read_text().splitlines()
    new = [line for line in after if line.startswith("| `6.1`") and "6.1.9" in line]
    assert len(new) == 2
    assert [row for row in before if row not in after] == [
        row for row in before if row.startswith("| `6.1` |")
    ]
    # and the other part is as it was
    assert [row for row in committed("sources") if row not in after] == []


def test_writing_the_committed_rows_again_changes_nothing() -> None:
    """So the table that is there is the one that commands write."""
    for part in ("matrix", "sources"):
        rows = committed(part)
        made = "\n".join(tables.markdown(t) for t in marked.tables(part))
        assert made.splitlines() == rows


def test_every_test_runs_on_every_kernel(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def in_guest(lab: SimpleNamespace, select: list[str], folder: Path, **_: object) -> Outcome:
        asked.extend(select)
        return world.in_guest(lab, select, folder)

    monkeypatch.setattr(matrix.guests, "run", in_guest)
    matrix.matrix(["5.10"])
    here = sorted(f"tests/vm/{p.name}" for p in (matrix.paths.ROOT / "tests/vm").glob("test_*.py"))
    assert sorted(asked) == here and len(here) > 5


def test_two_machines_alone(world: World) -> None:
    assert matrix.two("6.1", "6.12")
    row = "| `6.1` and `6.12` | 6.1.9, 6.12.9 | 7 passed, 0 failed | 3 min |"
    assert row in world.document.read_text()

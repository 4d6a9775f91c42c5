# SPDX-License-Identifier: GPL-2.0
"""Lines that have run, as gcov counts them in several runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from toolkit.checks import lines

C = """\
int main(int argc, char **argv)
{
	(void)argv;
	if (argc == 2)
		return 0;
	if (argc == 3)
		return 0;
	return 0;
}
"""


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A program that was built to count, and what two runs of it have counted."""
    (tmp_path / "l2wg_it.c").write_text(C)
    (tmp_path / "other.c").write_text("int other(void) { return 1; }\n")
    command = ["gcc", "--coverage", "-O0", "-o", "program", "l2wg_it.c", "other.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    notes, folders = tmp_path / "gcno", [tmp_path / "1", tmp_path / "2"]
    for folder in (notes, *folders):
        folder.mkdir()
    for name in ("l2wg_it", "other"):
        shutil.copy(tmp_path / f"program-{name}.gcno", notes / f"{name}.gcno")
    for words, folder in zip((["2"], ["2", "3"]), folders):
        subprocess.run([tmp_path / "program", *words], cwd=tmp_path, check=True)
        for name in ("l2wg_it", "other"):
            counted = tmp_path / f"program-{name}.gcda"
            shutil.move(counted, folder / f"{name}.gcda")
    return notes, folders


def test_one_run(runs: tuple[Path, list[Path]]) -> None:
    notes, folders = runs
    counts = lines.count(notes, folders[:1])
    assert dict(counts["l2wg_it.c"]) == {1: 1, 4: 1, 5: 1, 6: 0, 7: 0, 8: 0}
    assert lines.never(counts["l2wg_it.c"]) == "6-8"
    assert str(lines.total(counts)) == "3/6 (50.00 %)"


def test_runs_are_joined(runs: tuple[Path, list[Path]]) -> None:
    counts = lines.count(*runs)
    assert list(counts) == ["l2wg_it.c"]
    assert lines.never(counts["l2wg_it.c"]) == "8"
    assert (counts["l2wg_it.c"][4], counts["l2wg_it.c"][5]) == (2, 1)


def test_a_guest_that_counted_nothing(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """The module was never loaded there."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert lines.total(lines.count(runs[0], [empty])).covered == 0


def test_ranges() -> None:
    assert lines.never({1: 1, 2: 0, 3: 0, 5: 0, 6: 2, 9: 0}) == "2-5, 9"
    assert lines.never({1: 1}) == ""

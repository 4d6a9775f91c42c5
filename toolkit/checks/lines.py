# SPDX-License-Identifier: GPL-2.0
"""Which lines of our C have run: what gcov counted in one guest or in several, joined.

The compiler leaves notes when it builds the module (``gcno``), and a kernel that counts gives what
it has counted when a guest ends (``gcda``, see toolkit/guest/boot.sh).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from toolkit.frame.fuzz import Reach
from toolkit.run import run

#: File -> line -> how often it has run.
Counts = Mapping[str, Mapping[int, int]]


def count(notes: Path, folders: Iterable[Path], prefix: str = "l2wg_") -> Counts:
    """Read what was counted.

    :param notes: the folder with the compiler's ``*.gcno``.
    :param folders: each has the ``*.gcda`` of one guest.
    :param prefix: of the names of the C files that count.
    :raises ToolError: gcov is missing or cannot read them.
    """
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for folder in folders:
        with tempfile.TemporaryDirectory(prefix="l2wg-gcov-") as name:
            work = Path(name)
            for note in notes.glob(f"{prefix}*.gcno"):
                shutil.copy(note, work)
                if (counted := folder / f"{note.stem}.gcda").exists():
                    shutil.copy(counted, work)
            argv = [
                "gcov",
                "--json-format",
                "--stdout",
                *sorted(p.name for p in work.glob("*.gcno")),
            ]
            told = run(argv, cwd=work, hint="apt-get install gcc").stdout
        for line in filter(None, told.splitlines()):
            for file in json.loads(line)["files"]:
                name = Path(file["file"]).name
                if name.startswith(prefix) and name.endswith(".c"):
                    for entry in file["lines"]:
                        found[name][entry["line_number"]] += entry["count"]
    return found


def reach(counts: Mapping[int, int]) -> Reach:
    """How many of a file's lines have run."""
    return Reach(sum(1 for times in counts.values() if times), len(counts))


def total(counts: Counts) -> Reach:
    """How many of all lines have run."""
    each = [reach(lines) for lines in counts.values()]
    return Reach(sum(it.covered for it in each), sum(it.total for it in each))


def never(counts: Mapping[int, int]) -> str:
    """The lines of a file that have not run, "12-14, 20"; lines without code are in no range's way.

    >>> never({1: 1, 2: 0, 3: 0, 5: 0, 6: 2, 9: 0})
    '2-5, 9'
    """
    ranges: list[list[int]] = []
    apart = True
    for line, times in sorted(counts.items()):
        if not times and apart:
            ranges.append([line, line])
        elif not times:
            ranges[-1][1] = line
        apart = bool(times)
    return ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in ranges)

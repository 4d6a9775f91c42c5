# SPDX-License-Identifier: GPL-2.0
"""./inv test FILES -k EXPRESSION: run some tests, each in the room that it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from toolkit import needs, paths
from toolkit.checks import guests, outcome, suite
from toolkit.checks.suite import Part
from toolkit.errors import ToolError
from toolkit.lab import process
from toolkit.lab.lab import Labs

HERE, GUEST, PAIR = "tests/unit", guests.FOLDER, "tests/machines"
ROOMS = (HERE, GUEST, PAIR)
GUESTS = (GUEST, PAIR)
#: Tests that have a command of their own.
ELSEWHERE = {"tests/package": "./inv package-test", "tests/vagrant": "./inv vagrant-test"}


def run(
    files: Sequence[str] = (),
    expression: str | None = None,
    kernel: str | None = None,
    *,
    rooms: Sequence[str] = ROOMS,
) -> bool:
    """Run the tests of some files, here or in guests; did all pass?

    :param files: files, folders or single tests as pytest names them; none: all.
    :param expression: pytest's -k.
    :param kernel: the guests' kernel; the oldest by default.
    :param rooms: run only the tests of these.
    :raises ToolError: there is no such test.
    """
    only = ("-k", expression) if expression else ()
    found = {room: tests for room in rooms if (tests := matching(room, files, only))}
    if not found:
        what = " ".join([*files, *only])
        raise ToolError(f"test: no test is {what}", "pytest --collect-only tests/unit lists them")
    kernel = kernel or suite.OLDEST
    parts: list[Part] = []
    if HERE in found:
        parts.append(Part("unit tests", lambda: suite.unit(found[HERE], only)))
    if GUEST in found or PAIR in found:
        needs.ensure("test-vm")
        made = Labs([kernel, *([suite.NEWEST] if PAIR in found else [])])
        for number, share in enumerate(guests.shares(found.get(GUEST, []))):
            parts.append(suite.guest(made, number, kernel, share, only))
        if PAIR in found:
            job = lambda: suite.two_machines(made, kernel, suite.NEWEST, only)  # noqa: E731
            parts.append(Part("two machines", job))
    with process.pool(suite.GUESTS) as pool:
        return outcome.tell(list(pool.map(Part.__call__, parts)))


def matching(room: str, files: Sequence[str], only: Sequence[str]) -> list[str]:
    """What pytest runs of a room: those of ``files`` that are in it and have a test.

    :param only: pytest's -k.
    :raises ToolError: a file does not exist, cannot be imported, or has a command of its own.
    """
    wanted = [_below_root(file) for file in files]
    for name in wanted:
        if other := next((c for f, c in ELSEWHERE.items() if name.startswith(f)), None):
            raise ToolError(f"test: {name} is not run by this command", other)
    mine = [name for name in wanted if f"{name}/".startswith((f"{room}/", f"{room}::"))]
    if files and not mine and not any(room.startswith(name) for name in wanted):
        return []
    names = _collected(mine or [room], only)
    if mine and not only:
        return mine
    have = dict.fromkeys(name.split("::")[0] for name in names)
    return [name for name in mine if name in names] or list(have)


def _below_root(name: str) -> str:
    """A file, or a test in it, as pytest takes it in the checkout."""
    file, colons, test = name.partition("::")
    path = Path(file).resolve()
    if not path.exists():
        path = paths.ROOT / file
    if not path.exists() or not path.is_relative_to(paths.ROOT):
        raise ToolError(f"test: {file} is no file of this checkout")
    return f"{path.relative_to(paths.ROOT)}{colons}{test}"


def _collected(select: Sequence[str], only: Sequence[str]) -> list[str]:
    """The tests that pytest finds. For that it imports their files here, also the guests'."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"),
            *(*only, *select),
        ],
        cwd=paths.ROOT,
        env={**os.environ, "L2WG_OUT": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 5):  # 5: none
        said = [x for x in (done.stdout + done.stderr).splitlines() if x.startswith(("E ", "ERR"))]
        raise ToolError(f"test: {said[-1].strip() if said else 'pytest cannot collect them'}")
    return [line for line in done.stdout.splitlines() if "::" in line]

# SPDX-License-Identifier: GPL-2.0
"""What a call of the length function costs, for the frames of the unit tests, on this machine."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolkit import paths
from toolkit.compiled import compiled
from toolkit.errors import ToolError
from toolkit.frame import library
from toolkit.run import run

FRAMES = paths.ROOT / "tests/unit/frame/frames.json"
SOURCES = (paths.ROOT / "toolkit/bench/length.c", *library.SOURCES)
CALLS = 1_000  # counted
TIMED = 200_000  # by the clock: short enough to run undisturbed now and then
RUNS = 25  # the fastest counts: what the others take longer is other work of the machine


def build() -> Path:
    """The program that calls the function; as the module is built, with -O2.

    :raises ToolError: there is no compiler.
    """
    command = [
        *(os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-g", "-Wall", "-Werror"),
        f"-I{paths.KERNEL}",
    ]
    return compiled(paths.BUILD / "bench/bench-length", "", command, SOURCES)


def instructions(program: Path, digits: str) -> float:
    """Instructions of a call, counted by callgrind, the call itself included.

    :raises ToolError: valgrind is missing or fails.
    """
    with tempfile.TemporaryDirectory(prefix="l2wg-callgrind-") as folder:
        done = run(
            [
                *("valgrind", "--tool=callgrind", "--toggle-collect=l2wg_frame_parse"),
                *(f"--callgrind-out-file={folder}/out", program, digits, str(CALLS)),
            ],
            hint="apt-get install valgrind",
        )
    match = re.search(r"Collected : (\d+)", done.stderr + done.stdout)
    if not match or match[1] == "0":
        raise ToolError("callgrind counted nothing", f"command: valgrind ... {program}")
    return int(match[1]) / CALLS


def nanoseconds(program: Path, digits: str, calls: int = TIMED) -> float:
    """The least time of a call in some runs, ns."""
    return min(float(run([program, digits, str(calls)]).stdout) for _ in range(RUNS))


def records() -> Iterator[dict[str, Any]]:
    """Values for :func:`toolkit.bench.stats.figures`; the contender is the frame.

    :raises ToolError: see :func:`build` and :func:`instructions`.
    """
    program = build()
    for case in json.loads(FRAMES.read_text()):
        common = {"round": 0, "contender": case["name"]}
        yield {
            **common,
            "measure": "length_instructions",
            "value": instructions(program, case["frame"]),
            "unit": "instructions",
        }
        yield {
            **common,
            "measure": "length_ns",
            "value": nanoseconds(program, case["frame"]),
            "unit": "ns",
        }

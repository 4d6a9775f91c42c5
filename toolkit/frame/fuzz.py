# SPDX-License-Identifier: GPL-2.0
"""Fuzz the length function: libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer.

The corpus is one capture file, which `./inv frames` and every capture tool can read. A run unpacks
it, adds what it finds to the unpacked copy, and says how much of the function that copy reaches.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from toolkit.compiled import compiled
from toolkit.errors import ToolError
from toolkit.frame.library import SOURCES
from toolkit.paths import ROOT

FUZZ = ROOT / "tests" / "fuzz"
HARNESS = FUZZ / "frame.c"
CORPUS = ROOT / "tests" / "corpus" / "frame" / "corpus.pcap"
BUILD = ROOT / "build" / "fuzz"

PACKAGES = "apt-get install clang llvm libclang-rt-14-dev"
SANITIZERS = ("-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
COVERAGE = ("-g", "-O0", "-fsanitize=fuzzer", "-fprofile-instr-generate", "-fcoverage-mapping")

# Bytes. The longest that any branch needs is an 802.3 frame with an undefined length, 1549.
MAX_LEN = 2048


@dataclass(frozen=True)
class Reach:
    """How many of `total` lines or branches were executed."""

    covered: int
    total: int

    def __str__(self) -> str:
        percent = 100 * self.covered / self.total if self.total else 100
        return f"{self.covered}/{self.total} ({percent:.2f} %)"


@dataclass(frozen=True)
class FuzzResult:
    """The result of a run: its seconds, inputs executed, and what the corpus reached after it."""

    seconds: int
    executions: int
    lines: Reach
    branches: Reach


def call(command: Sequence[str | Path], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `command` with its output captured.

    :raises ToolError: it is not installed.
    """
    try:
        return subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd=BUILD,
            env={**os.environ, **environment},
        )
    except FileNotFoundError:
        raise ToolError(f"no {command[0]}", PACKAGES) from None


def build(name: str, flags: Sequence[str], source: Path = SOURCES[0]) -> Path:
    """Build the harness around `source` unless it is there; return its path.

    :raises ToolError: clang is missing or refuses.
    """
    if not shutil.which("clang"):
        raise ToolError("no clang", PACKAGES)
    command = ["clang", *flags, "-Wall", "-Wextra", "-I", str(SOURCES[1].parent)]
    return compiled(BUILD / name, "", command, [HARNESS, source, SOURCES[1]])


def load(capture: Path = CORPUS) -> list[bytes]:
    """The frames of the corpus.

    :raises FileNotFoundError: there is no corpus.
    """
    from scapy.utils import RawPcapReader

    with RawPcapReader(str(capture)) as reader:
        return [frame for frame, _ in reader]


def save(frames: Iterable[bytes], capture: Path = CORPUS) -> None:
    """Write the corpus; the same frames make the same bytes."""
    from scapy.utils import RawPcapWriter

    capture.parent.mkdir(parents=True, exist_ok=True)
    with RawPcapWriter(str(capture), linktype=1, sync=True) as writer:
        writer.write_header(None)
        for frame in sorted(frames, key=lambda it: (it[12:14], len(it), it)):
            writer.write_packet(frame, sec=0, usec=0)


def unpack(frames: Iterable[bytes], folder: Path) -> None:
    """Write each frame into a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        (folder / f"frame-{number:04}").write_bytes(frame)


def coverage(frames: Iterable[bytes]) -> tuple[Reach, Reach]:
    """Lines and branches of kernel/l2wg_frame.c that `frames` reach.

    :raises ToolError: a program of LLVM is missing or fails.
    """
    binary = build("coverage", COVERAGE)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        unpack(frames, folder / "frames")
        profile, merged = folder / "profile", folder / "merged"
        # -runs=0 executes the corpus and stops; -merge=0 keeps one process, hence one profile.
        commands: list[list[str | Path]] = [
            [binary, "-runs=0", folder / "frames"],
            ["llvm-profdata", "merge", "-o", merged, profile],
            ["llvm-cov", "export", "-summary-only", f"-instr-profile={merged}", binary, SOURCES[0]],
        ]
        for command in commands:
            done = call(command, LLVM_PROFILE_FILE=str(profile))
            if done.returncode:
                raise ToolError(f"{Path(command[0]).name} failed: {last_line(done.stderr)}")
    totals = json.loads(done.stdout)["data"][0]["totals"]
    lines, branches = (
        Reach(totals[it]["covered"], totals[it]["count"]) for it in ("lines", "branches")
    )
    return lines, branches


def last_line(text: str) -> str:
    """The last line that is not empty, or "no message"."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")


def complaint(log: str) -> str:
    """The line of libFuzzer's output that names the defect."""
    found = re.search(r"^.*(broken promise|ERROR: |runtime error:).*$", log, re.MULTILINE)
    return found[0].strip() if found else last_line(log)


def fuzz(seconds: int, folder: Path, source: Path = SOURCES[0], seed: int = 0) -> int:
    """Fuzz for `seconds`, from and into the files of `folder`; return the inputs executed.

    :raises ToolError: an input breaks a promise; the error names the input.
    """
    binary = build("fuzz", SANITIZERS, source)
    done = call(
        [
            binary,
            f"-max_total_time={seconds}",
            f"-max_len={MAX_LEN}",
            f"-dict={FUZZ / 'frame.dict'}",
            f"-artifact_prefix={folder.parent}/",
            f"-seed={seed}",
            "-timeout=5",
            "-print_final_stats=1",
            folder,
        ]
    )
    if done.returncode:
        (folder.parent / "fuzz.log").write_text(done.stderr)
        written = re.search(r"Test unit written to (\S+)", done.stderr)
        hint = f"replay: {binary} {written[1]}" if written else f"see {folder.parent}/fuzz.log"
        raise ToolError(f"the length function is broken: {complaint(done.stderr)}", hint)
    executed = re.search(r"^stat::number_of_executed_units:\s*(\d+)", done.stderr, re.MULTILINE)
    if not executed:
        raise ToolError(f"libFuzzer gave no figures: {last_line(done.stderr)}")
    return int(executed[1])


def run(seconds: int = 60) -> FuzzResult:
    """Fuzz for `seconds` (at least 1), from the corpus of the repository; print the figures.

    :raises ToolError: a promise is broken, the corpus is missing or clang is not installed.
    """
    if seconds < 1:
        raise ToolError(f"seconds is not 1 or more: {seconds}")
    folder = BUILD / "corpus"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        unpack(load(CORPUS), folder)
    except FileNotFoundError:
        raise ToolError(f"no corpus {CORPUS.relative_to(ROOT)}", "git checkout it") from None
    executions = fuzz(seconds, folder)
    lines, branches = coverage(found(folder))
    print(f"{executions} executions in {seconds} s, no promise broken")
    print(f"{SOURCES[0].relative_to(ROOT)}: {lines} lines, {branches} branches")
    return FuzzResult(seconds, executions, lines, branches)


def found(folder: Path) -> list[bytes]:
    """The inputs in `folder`."""
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def minimise(extra: Iterable[bytes] = ()) -> int:
    """Rewrite the corpus with the fewest inputs of the last run (and `extra`) that reach as much.

    :returns: their number.
    :raises ToolError: see :func:`run`.
    """
    binary = build("fuzz", SANITIZERS)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        unpack(extra, Path(name) / "extra")
        least = Path(name) / "least"
        least.mkdir()
        (BUILD / "corpus").mkdir(exist_ok=True)
        done = call([binary, "-merge=1", least, Path(name) / "extra", BUILD / "corpus"])
        if done.returncode:
            raise ToolError(f"libFuzzer can't merge: {complaint(done.stderr)}")
        frames = found(least)
    save(frames)
    return len(frames)

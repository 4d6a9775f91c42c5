# SPDX-License-Identifier: GPL-2.0
"""The length function answers the same on big-endian and on 32-bit machines (qemu-user)."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.frame.test_hostile import SAMPLES
from tests.unit.frame.test_table import FROZEN, frozen
from toolkit.compiled import compiled
from toolkit.frame.library import BUILD, SOURCES, Verdict, library, parse, table

SOURCE = Path(__file__).parent / "answers.c"
#: A read that is wider than its address allows, or any other undefined behaviour, is a trap.
CFLAGS = (
    *("-std=gnu11", "-O2", "-static", "-Wall", "-Wextra", "-Wconversion", "-Werror"),
    *("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
    *("-I", str(SOURCES[1].parent)),
)


@dataclass(frozen=True)
class Machine:
    """Debian's compiler for it, the emulator's name for it, and what answers.c says there."""

    triplet: str
    qemu: str
    says: str

    def ask(self, questions: Iterable[tuple[bytes, int]], version: int) -> list[str]:
        """Answers, a line each, to (readable bytes, length of the frame)."""
        compiler = f"{self.triplet}-gcc"
        command = [compiler, *CFLAGS]
        program = compiled(BUILD / f"answers-{self.qemu}", "", command, [SOURCE, *SOURCES])
        asked = b"".join(struct.pack(">II", len(data), n) + data for data, n in questions)
        done = subprocess.run(
            [f"qemu-{self.qemu}", program, str(version)], input=asked, capture_output=True
        )
        assert done.returncode == 0, (done.returncode, done.stderr)
        first, *answers = done.stdout.decode().splitlines()
        assert first == self.says
        return answers


MACHINES = [
    Machine("s390x-linux-gnu", "s390x", "64 bit, big endian"),
    Machine("arm-linux-gnueabihf", "arm", "32 bit, little endian"),
]

machines = pytest.mark.parametrize("machine", MACHINES, ids=lambda it: it.qemu)


@machines
@pytest.mark.parametrize("version", FROZEN)
def test_the_frozen_answers(machine: Machine, version: int) -> None:
    """The answers to all EtherTypes and to the corpus, changed and cut, are the wire format."""
    frames = list(frozen())
    answers = machine.ask(((data, len(data)) for data in frames), version)
    found = hashlib.sha256()
    for data, answer in zip(frames, answers, strict=True):
        verdict, length, *_ = answer.split()
        found.update(f"{len(data)} {verdict} {length} ".encode() + data)
    assert found.hexdigest() == FROZEN[version]


def here(data: bytes, avail: int) -> str:
    """This machine's answer, as answers.c prints it."""
    answer = parse(data, avail)
    told = [int(answer.verdict), answer.len]
    if answer.verdict is Verdict.LENGTH and avail == len(data):
        for function in (library().l2wg_frame_pad, library().l2wg_frame_unpad):
            told.append(function(data, answer.len, len(data)))
    return " ".join(map(str, told))


@machines
def test_samples(machine: Machine) -> None:
    """With zeros behind their end, and with each number of bytes that may be read."""
    frames = [
        *(data + bytes(tail) for data in SAMPLES.values() for tail in (0, 1, 15, 16, 46)),
        *(data.ljust(1 << 16, b"\0") for data in SAMPLES.values()),
    ]
    asked = [(data, avail) for data in frames for avail in (*range(min(len(data), 128)), len(data))]
    answers = machine.ask(((data[:n], len(data)) for data, n in asked), table("UNPADS"))
    for (data, avail), answer in zip(asked, answers, strict=True):
        assert answer == here(data, avail), (data.hex(), avail)

# SPDX-License-Identifier: GPL-2.0
"""No byte outside the frame is read. The checks run in a child, which a wrong read kills."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

from tests.unit.frame.guard import Guarded
from tests.unit.frame.test_hostile import SAMPLES
from toolkit.frame.library import library, parse


def child(work: Callable[[], None]) -> int:
    """Run `work` in a child; return its exit status: 0, or minus the signal that ended it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("at", [-1, 64])
def test_the_guard_bites(at: int) -> None:
    memory = Guarded(1)
    address = memory.low(bytes(64)) if at < 0 else memory.high(bytes(64))

    def work() -> None:
        ctypes.string_at(address + at, 1)

    assert child(work) == -signal.SIGSEGV


def test_samples_beside_unreadable_pages() -> None:
    library()
    memory = Guarded(4096)

    def work() -> None:
        for data in SAMPLES.values():
            for avail in range(len(data) + 1):
                assert memory.parse(data, avail) == parse(data, avail)
            for cut in range(len(data)):
                memory.parse(data[:cut], cut)

    assert child(work) == 0

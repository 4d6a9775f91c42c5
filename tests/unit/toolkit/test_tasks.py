# SPDX-License-Identifier: GPL-2.0
"""The tasks: what a user can mend is one line, without a traceback."""

from __future__ import annotations

import errno
import signal

import pytest
from invoke.exceptions import Exit

import tasks
from toolkit.errors import ToolError


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (ToolError("x.c: wrong", "mend it"), "l2wg: x.c: wrong (mend it)", 1),
        (ToolError("x.c: wrong"), "l2wg: x.c: wrong", 1),
        (KeyboardInterrupt(), "l2wg: interrupted", 130),
        (
            OSError(errno.ENOSPC, "No space left on device", "build/x"),
            "l2wg: build/x: No space left on device",
            1,
        ),
        (OSError(errno.EROFS, "Read-only file system"), "l2wg: Read-only file system", 1),
    ],
)
def test_expected_errors_are_one_line(error: BaseException, line: str, code: int) -> None:
    @tasks.friendly
    def task() -> None:
        raise error

    with pytest.raises(Exit) as exit_:
        task()
    assert (exit_.value.message, exit_.value.code) == (line, code)
    assert exit_.value.__suppress_context__


@pytest.mark.parametrize(
    "error", [ValueError("a defect"), FileNotFoundError(errno.ENOENT, "a defect", "x")]
)
def test_a_defect_keeps_its_traceback(error: Exception) -> None:
    @tasks.friendly
    def task() -> None:
        raise error

    with pytest.raises(type(error), match="a defect"):
        task()


def test_nohup_is_obeyed() -> None:
    """What is told to ignore that its terminal closes goes on; all else ends, with its guests."""
    seen: list[object] = []

    @tasks.friendly
    def task() -> None:
        seen.extend(signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM))

    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        for given in (signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(signal.SIGHUP, given)
            task()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    ends = signal.default_int_handler
    assert seen == [signal.SIG_IGN, ends, ends, ends]

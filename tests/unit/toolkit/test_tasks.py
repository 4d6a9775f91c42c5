# SPDX-License-Identifier: GPL-2.0
"""The tasks: what a user can mend is one line, without a traceback."""

from __future__ import annotations

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


def test_a_defect_keeps_its_traceback() -> None:
    @tasks.friendly
    def task() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        task()

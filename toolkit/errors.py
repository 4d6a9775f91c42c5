# SPDX-License-Identifier: GPL-2.0
"""The one exception of the toolkit that a user is meant to read."""

from __future__ import annotations


class ToolError(Exception):
    """What went wrong and how to mend it; a task prints it as one line, without a traceback."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"{what} ({hint})" if hint else what)
        self.what = what
        self.hint = hint

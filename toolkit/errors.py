# SPDX-License-Identifier: GPL-2.0
"""The one exception for what a user can mend."""

from __future__ import annotations


class ToolError(Exception):
    """An expected failure: printed as one line, without a traceback.

    str() of it is ``what (how to mend)``; ``what`` also names the place.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"{what} ({hint})" if hint else what)
        self.what = what
        self.hint = hint

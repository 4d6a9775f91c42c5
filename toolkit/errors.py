# SPDX-License-Identifier: GPL-2.0
"""The one exception for what a user can mend."""

from __future__ import annotations

from pathlib import Path


class ToolError(Exception):
    """An expected failure: printed as one line, without a traceback.

    str() of it is ``what (how to mend; log: where; again: command)``.

    :ivar what: what went wrong, and where.
    :ivar hint: how to mend it.
    :ivar log: the file or folder with more about it.
    :ivar again: the command that does the same again, ready to paste.
    """

    def __init__(
        self, what: str, hint: str = "", *, log: Path | None = None, again: str = ""
    ) -> None:
        parts = (hint, f"log: {log}" if log else "", f"again: {again}" if again else "")
        mend = "; ".join(filter(None, parts))
        super().__init__(f"{what} ({mend})" if mend else what)
        self.what, self.hint, self.log, self.again = what, hint, log, again

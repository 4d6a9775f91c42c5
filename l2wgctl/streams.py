# SPDX-License-Identifier: GPL-2.0
"""stdin, stdout and stderr as the rest may take them for granted."""

from __future__ import annotations

import io
import os
import sys


class _Unheard(io.FileIO):
    """A file whose writes never fail, for messages.

    A reader may have gone (`up wg1 2>&1 | head`), or the terminal. What is done must not depend on
    that, half an `up` least of all. Its descriptor is /dev/null from then on, so that programs that
    inherit it do not fail either.
    """

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write, or lose the text. All of it counts as written."""
        try:
            return super().write(data) or len(data)  # None: it would block
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def prepare() -> None:
    """Open what is missing (`<&-`), let bytes through as they are, and let stderr never fail.

    Without this the next file or socket that is opened would get a missing one's number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: the missing one
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))
    # Bytes that a file holds come out as they are, whatever the locale can encode.
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Unheard(sys.stderr.fileno(), "w", closefd=False)),
        encoding="utf-8",
        errors="surrogateescape",
        line_buffering=True,
    )

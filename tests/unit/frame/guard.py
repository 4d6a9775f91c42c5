# SPDX-License-Identifier: GPL-2.0
"""Memory between two unreadable pages: a read outside the frame ends the process."""

from __future__ import annotations

import ctypes
import mmap
import os

from toolkit.frame.library import Frame, parse_at

PAGE = mmap.PAGESIZE
PROT_NONE = 0


class Guarded:
    """Room for `size` bytes (rounded up to pages) with an unreadable page on each side.

    :raises OSError: the pages cannot be protected.
    """

    def __init__(self, size: int) -> None:
        self.size = -(-size // PAGE) * PAGE
        self.map = mmap.mmap(-1, self.size + 2 * PAGE)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map)) + PAGE
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (self.start - PAGE, self.start + self.size):
            if libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), PROT_NONE):
                errno = ctypes.get_errno()
                raise OSError(errno, f"mprotect: {os.strerror(errno)}")

    def low(self, data: bytes) -> int:
        """Put `data` behind the lower unreadable page; return its address."""
        self.map[PAGE : PAGE + len(data)] = data
        return self.start

    def high(self, data: bytes) -> int:
        """Put `data` in front of the upper unreadable page; return its address."""
        end = PAGE + self.size
        self.map[end - len(data) : end] = data
        return self.start + self.size - len(data)

    def parse(self, data: bytes, avail: int) -> Frame:
        """Ask about `data` with nothing behind its first `avail` bytes, or in front of it."""
        answer = parse_at(self.high(data[:avail]), avail, len(data))
        # The same at the other end. What follows there is readable, and of no account.
        assert parse_at(self.low(data[:avail]), avail, len(data)) == answer
        return answer

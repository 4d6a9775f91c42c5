# SPDX-License-Identifier: GPL-2.0
"""kernel/l2wg_frame.c, the length function of the module, called from Python.

The shared library is built on first use into build/frame/ and named after its sources: an edited
source makes a new library, and nothing is built twice.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from toolkit.compiled import compiled
from toolkit.paths import ROOT

SOURCES = (ROOT / "kernel" / "l2wg_frame.c", ROOT / "kernel" / "l2wg_frame.h")
BUILD = ROOT / "build" / "frame"

CFLAGS = ("-std=gnu11", "-O2", "-g", "-fPIC", "-Wall", "-Wextra", "-Wconversion", "-Werror")


class Verdict(enum.IntEnum):
    """`enum l2wg_verdict` of kernel/l2wg_frame.h, in its order."""

    OPAQUE = 0
    LENGTH = 1
    MALFORMED = 2
    SHORT = 3


@dataclass(frozen=True)
class Frame:
    """`struct l2wg_frame`: a verdict and its number of bytes (see `enum l2wg_verdict`)."""

    verdict: Verdict
    len: int


class _Frame(ctypes.Structure):
    _fields_ = [("verdict", ctypes.c_int), ("len", ctypes.c_uint32)]


def build(compiler: str | None = None) -> Path:
    """Build the shared library unless it is there; return its path.

    :param compiler: ``$CC`` by default, which also tells a guest of another architecture its own.
    :raises ToolError: the compiler is missing or refuses.
    """
    command = [compiler or os.environ.get("CC", "cc"), *CFLAGS, "-shared"]
    return compiled(BUILD / "l2wg_frame", ".so", command, SOURCES)


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library, with the types of its function set.

    :raises ToolError: see :func:`build`.
    """
    loaded = ctypes.CDLL(str(build()))
    loaded.l2wg_frame_parse.argtypes = (ctypes.c_void_p, *(ctypes.c_uint32,) * 3)
    loaded.l2wg_frame_parse.restype = _Frame
    for function in (loaded.l2wg_frame_pad, loaded.l2wg_frame_unpad):
        function.argtypes = (ctypes.c_char_p, ctypes.c_uint32, ctypes.c_uint32)
        function.restype = ctypes.c_uint32
    return loaded


@functools.cache
def table(use: str) -> int:
    """The version of the table that the module uses (kernel/l2wg_frame.h).

    :param use: ``PADS``, as a sender, or ``UNPADS``, as a receiver.
    """
    found = re.search(rf"^#define L2WG_FRAME_{use} (\d+)$", SOURCES[1].read_text(), re.MULTILINE)
    assert found, use
    return int(found[1])


def parse_at(address: int, avail: int, length: int, version: int | None = None) -> Frame:
    """Call l2wg_frame_parse() on memory.

    :param avail: readable bytes of a frame of `length` bytes.
    :param version: of the table that answers; a receiver's if it is None.
    """
    version = table("UNPADS") if version is None else version
    found = library().l2wg_frame_parse(address, avail, length, version)
    return Frame(Verdict(found.verdict), found.len)


def parse(
    data: bytes, avail: int | None = None, wire: int | None = None, version: int | None = None
) -> Frame:
    """Ask the length function about a frame that starts with `data`.

    :param avail: how many bytes of it may be read; None for all.
    :param wire: bytes of the whole frame, at most 2^31 - 1; None for as many as `data` has.
    :param version: of the table that answers; a receiver's if it is None.
    :raises ValueError: `avail` is not in 0..len(data), or `wire` is less than len(data).
    :raises ToolError: see :func:`build`.
    """
    avail = len(data) if avail is None else avail
    wire = len(data) if wire is None else wire
    if not 0 <= avail <= len(data):
        raise ValueError(f"avail is not in 0..{len(data)}: {avail}")
    if not len(data) <= wire < 1 << 31:
        raise ValueError(f"wire is not in {len(data)}..2^31-1: {wire}")
    # The copy holds the readable bytes only, so that a wrong read has little to find.
    buffer = ctypes.create_string_buffer(data[:avail], max(avail, 1))
    return parse_at(ctypes.addressof(buffer), avail, wire, version)


def sent(frame: bytes, most: int) -> bytes:
    """The plaintext in which the module sends `frame` on a link of MTU `most` - 14.

    It is padded with zeros to a multiple of 16 bytes, but at most to `most`, if the receiver can
    tell them from the frame (docs/frames.md).

    :raises ToolError: see :func:`build`.
    """
    found = parse(frame, version=table("PADS"))
    if found.verdict is not Verdict.LENGTH or any(frame[found.len :]):
        return frame
    padded = library().l2wg_frame_pad(frame, found.len, len(frame))
    if found.len == len(frame):
        padded = min(padded, max(most, len(frame)))
    return frame.ljust(padded, b"\0")


def delivered(plaintext: bytes) -> bytes | None:
    """The frame that the module delivers for a decrypted `plaintext`, or None if it drops it.

    Zeros behind the length are padding, unless there are too many; anything else there is a
    trailer and stays (docs/frames.md).

    :raises ToolError: see :func:`build`.
    """
    found = parse(plaintext)
    if found.verdict is Verdict.MALFORMED:
        return None
    if found.verdict is Verdict.LENGTH and not any(plaintext[found.len :]):
        return plaintext[: library().l2wg_frame_unpad(plaintext, found.len, len(plaintext))]
    return plaintext

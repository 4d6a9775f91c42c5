# SPDX-License-Identifier: GPL-2.0
"""Allocations that fail on purpose (Documentation/fault-injection/fault-injection.rst)."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import socket
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from l2wgctl.netlink import channel

FAIL_NTH = Path("/proc/thread-self/fail-nth")
DEBUG = Path("/sys/kernel/debug")
#: What can fail, and what makes it fail also where it could wait for memory.
SOURCES = {
    "failslab": {"ignore-gfp-wait": "N"},
    "fail_page_alloc": {"ignore-gfp-wait": "N", "ignore-gfp-highmem": "N", "min-order": "0"},
}
#: Written in the guest's folder: a number a line, and what of.
FIGURES = "figures"
EXPEDITED = Path("/sys/kernel/rcu_expedited")
#: More failures than a test will see.
MANY = 1_000_000

#: What an operation may answer when it gets no memory. ENOBUFS is also what a socket says when the
#: answer itself got none: then it has been done or not.
NO_MEMORY = frozenset({errno.ENOMEM, errno.ENOBUFS})

needs_failures = pytest.mark.skipif(
    not FAIL_NTH.exists(), reason="needs a kernel that fails at will: --kernel uml"
)

RTM_NEWLINK, RTM_DELLINK, RTM_NEWNEIGH, RTM_DELNEIGH = 16, 17, 28, 29
NLM_F_CREATE = 0x600  # with NLM_F_EXCL
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_ADDRESS, IFLA_NET_NS_FD = 3, 4, 18, 1, 28
NDA_DST, NDA_LLADDR = 1, 2
AF_BRIDGE, NUD_PERMANENT, NTF_SELF = 7, 0x80, 2
IFF_UP = 1


def figure(number: int, what: str) -> None:
    """Note how many there were, for the table of ./inv sanitize."""
    with (Path(os.environ["L2WG_OUT"]) / FIGURES).open("a") as file:
        file.write(f"{number} {what}\n")


def _set(**knobs: str) -> None:
    for name, values in SOURCES.items():
        for knob, value in {**values, **{k.replace("_", "-"): v for k, v in knobs.items()}}.items():
            (DEBUG / name / knob).write_text(value)


@pytest.fixture
def quiet_failures() -> Iterator[None]:
    """Every allocation may fail, also one that could wait for memory, and quietly.

    Links come and go thousands of times, so nobody waits for RCU longer than must be.
    """
    _set(verbose="0", probability="0")
    EXPEDITED.write_text("1")
    yield
    EXPEDITED.write_text("0")


def _text() -> list[tuple[int, str]]:
    """The functions of our module, by address."""
    lines = Path("/proc/kallsyms").read_text().splitlines()
    found = (re.match(r"(\S+) [tT] (\S+)\t\[l2wireguard\]$", line) for line in lines)
    return sorted((int(match[1], 16), match[2]) for match in found if match)


@contextlib.contextmanager
def _within(start: int, end: int, interval: int, most: int) -> Iterator[Callable[[], int]]:
    """Allocations fail that code between two addresses makes, itself or through what it calls."""
    reach = {"require_start": f"{start:#x}", "require_end": f"{end:#x}"}
    _set(**reach, times=str(most), interval=str(interval), probability="100")
    try:
        # failslab and fail_page_alloc count for themselves
        yield lambda: sum(most - int((DEBUG / name / "times").read_text()) for name in SOURCES)
    finally:
        _set(probability="0", interval="1", require_start="0x0", require_end="0xffffffffffffffff")


def every(interval: int) -> contextlib.AbstractContextManager[Callable[[], int]]:
    """During the block every so-many-th allocation by our module fails, in whatever context.

    Yields what says how many have failed.
    """
    text = _text()
    return _within(text[0][0], text[-1][0] + 4096, interval, MANY)


def every_of(
    function: str, interval: int, most: int = MANY
) -> contextlib.AbstractContextManager[Callable[[], int]]:
    """The same for one function of our module, and for what it calls."""
    text = _text()
    at = [name for _, name in text].index(function)
    return _within(text[at][0], text[at + 1][0], interval, most)


def first_of(function: str) -> contextlib.AbstractContextManager[Callable[[], int]]:
    """During the block the first allocation in a function fails, and the first whole page.

    Yields what says how many have failed.
    """
    return every_of(function, 1, 1)


class Netlink:
    """A routing socket: messages made beforehand, so that only the kernel allocates."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.socket.bind((0, 0))

    def link(self, kind: int, flags: int, attributes: bytes, *, up: int | None = None) -> bytes:
        """A message about a link: RTM_NEWLINK or RTM_DELLINK."""
        change = IFF_UP if up is not None else 0
        body = struct.pack("=BxHiII", 0, 0, 0, up or 0, change) + attributes
        return self.message(kind, flags, body)

    def entry(self, kind: int, flags: int, index: int, mac: bytes, handle: bytes) -> bytes:
        """A message about an entry of a table: RTM_NEWNEIGH or RTM_DELNEIGH."""
        body = struct.pack("=BxxxiHBB", AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF, 0)
        body += channel.attribute(NDA_LLADDR, mac) + channel.attribute(NDA_DST, handle)
        return self.message(kind, flags, body)

    def message(self, kind: int, flags: int, body: bytes) -> bytes:
        return struct.pack("=IHHII", 16 + len(body), kind, flags | 5, 1, 0) + body

    def ask(self, message: bytes) -> None:
        """Send it and take the acknowledgement.

        :raises OSError: the kernel refuses.
        """
        self.socket.send(message)
        self.answer()

    def answer(self) -> None:
        answer = self.socket.recv(65536)
        (number,) = struct.unpack_from("=i", answer, 16)
        if number:
            raise OSError(-number, os.strerror(-number))


def name(link: str) -> bytes:
    return channel.attribute(IFLA_IFNAME, link.encode() + b"\0")


def add(kind: str = "l2wireguard", link: str = "wg1") -> bytes:
    """The attributes of a new link."""
    info = channel.attribute(IFLA_LINKINFO, channel.attribute(1, kind.encode() + b"\0"))
    return name(link) + info


def fail_each(
    do: Callable[[], object],
    after: Callable[[OSError | None], object],
    allowed: Collection[int] = NO_MEMORY,
) -> int:
    """Do it again and again, each time with another allocation failing; how many there were.

    :param do: one system call or few.
    :param after: looks at what is left and undoes it; gets what ``do`` raised.
    :param allowed: error numbers that may come of a failure.
    """
    with FAIL_NTH.open("r+b", buffering=0) as nth:
        for number in itertools.count(1):
            error = None
            os.pwrite(nth.fileno(), b"%d" % number, 0)
            try:
                do()
            except OSError as raised:
                error = raised
            left = int(os.pread(nth.fileno(), 20, 0))
            os.pwrite(nth.fileno(), b"0", 0)
            assert error is None or error.errno in allowed, (number, error)
            after(error)
            if left:
                # there were fewer than that: this time none has failed
                assert error is None
                figure(number - 1, "failed allocations")
                return number - 1
    raise AssertionError

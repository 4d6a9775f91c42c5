# SPDX-License-Identifier: GPL-2.0
"""A guest as a process on this machine: start it, watch it, end it with all that it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from toolkit.errors import ToolError

BOOT_LIMIT = 400  # seconds until the guest must have started our command; idle, TCG takes 7 to 30

#: What a guest leaves in its folder; an earlier guest's is removed first.
LEFT = ("booted", "status", "dmesg", "output", "console")


class NotBooted(ToolError):
    """The guest did not get as far as our command."""


def environment() -> dict[str, str]:
    """The environment of vng, which starts its own programs by name."""
    tools = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}:/usr/sbin:/sbin"}


def start(argv: Sequence[str | Path], console: int) -> subprocess.Popen[bytes]:
    """Start a guest without a terminal; :func:`end` ends it.

    :param console: file descriptor for what it prints.
    """
    guest = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        env=environment(),
        start_new_session=True,
    )
    for guests in _here.pools:
        guests.add(guest)
    return guest


def boot(
    argv: Sequence[str | Path],
    release: str,
    folder: Path,
    timeout: float,
    prefix: str | None,
    *,
    again: str,
) -> None:
    """Run one guest from its start to its end.

    :param release: its kernel.
    :param folder: where it writes ``booted`` when its command starts, ``output``, ``status``.
    :param timeout: seconds in which the command must end or print something more. It may take as
        long as it needs on a slow machine, as long as it makes progress.
    :param prefix: what each line of its output begins with on standard output; None: do not copy.
    :param again: the command that starts it by hand, for error texts.
    :raises NotBooted: the command has not started after BOOT_LIMIT seconds.
    :raises ToolError: the command has said nothing for so long.
    """
    for stale in LEFT:
        (folder / stale).unlink(missing_ok=True)
    with (folder / "console").open("wb") as console:
        guest = start(argv, console.fileno())
        try:
            _watch(guest, release, folder, timeout, prefix, again)
        finally:
            end(guest)


def _watch(
    guest: subprocess.Popen[bytes],
    release: str,
    folder: Path,
    timeout: float,
    prefix: str | None,
    again: str,
) -> None:
    """Copy the command's output and see that it gets on, until the guest has ended."""
    output, at, size = folder / "output", 0, 0
    deadline, booted = time.monotonic() + BOOT_LIMIT, False
    while True:
        over = guest.poll() is not None
        if prefix is not None and output.exists():
            at += _copy(output, at, prefix, rest=over)
        if over:
            return
        if not booted and (folder / "booted").exists():
            booted, deadline = True, time.monotonic() + timeout
        if booted and output.exists() and (now := output.stat().st_size) != size:
            size, deadline = now, time.monotonic() + timeout
        if time.monotonic() > deadline:
            if booted:
                raise ToolError(
                    f"lab: no end, and not a word for {timeout:.0f} s", log=folder, again=again
                )
            raise NotBooted(
                f"lab: {release} has not booted after {BOOT_LIMIT} s", log=folder, again=again
            )
        time.sleep(0.1)


def _copy(output: Path, at: int, prefix: str, *, rest: bool) -> int:
    """Copy what is new in a file to standard output, in whole lines; the number of bytes."""
    with output.open("rb") as f:
        f.seek(at)
        data = f.read()
    if not rest:
        data = data[: data.rfind(b"\n") + 1]
    lines = data.splitlines(keepends=True)
    sys.stdout.buffer.write(b"".join(prefix.encode() + line for line in lines))
    sys.stdout.buffer.flush()
    return len(data)


class _Here(threading.local):
    """For each thread: the guests of the pools that it works for, the outermost first."""

    pools: tuple[set[subprocess.Popen[bytes]], ...] = ()


_here = _Here()


@contextlib.contextmanager
def pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that run guests, ``size`` at a time.

    If the block fails or is interrupted, waiting guests never start, and running ones are ended;
    whoever waits for one is told that it ended early.
    """
    mine: set[subprocess.Popen[bytes]] = set()
    pools = (*_here.pools, mine)
    with ThreadPoolExecutor(size, initializer=_join, initargs=(pools,)) as threads:
        try:
            yield threads
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for guest in list(mine):
                end(guest)
            raise


def _join(pools: tuple[set[subprocess.Popen[bytes]], ...]) -> None:
    _here.pools = pools


def end(guest: subprocess.Popen[bytes]) -> None:
    """End a guest with QEMU and all helpers that vng has started."""
    for guests in _here.pools:
        guests.discard(guest)
    try:
        os.killpg(guest.pid, signal.SIGTERM)
        guest.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(guest.pid, signal.SIGKILL)
        guest.wait()
    except ProcessLookupError:
        guest.wait()

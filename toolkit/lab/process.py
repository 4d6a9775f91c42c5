# SPDX-License-Identifier: GPL-2.0
"""A guest as a process on this machine: start it, watch it, end it with all that it started."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.errors import ToolError
from toolkit.guest.dmesg import complaints

BOOT_LIMIT = 400  # seconds until the guest must have started our command; idle, TCG takes 7 to 30

END_LIMIT = 400  # seconds from the end of our command until the guest must have ended
#: Bytes of output, and of the console, after which a guest only prints: it would fill the disk.
MOST = 1 << 30

#: What a guest leaves in its folder; an earlier guest's is removed first.
LEFT = ("booted", "status", "dmesg", "tainted", "output", "console")


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
    return _joined(guest)


def call(argv: Sequence[str | Path], cwd: Path) -> int:
    """Run a program with this process's output, and end it as a guest is ended; its exit status."""
    program = None
    try:
        with uninterrupted():
            program = subprocess.Popen(
                argv, cwd=cwd, stdin=subprocess.DEVNULL, start_new_session=True
            )
        return _joined(program).wait()
    finally:
        if program:
            end(program)


def on_terminal(argv: Sequence[str | Path]) -> int:
    """Run a guest on this terminal; its exit status.

    It shares the terminal's process group, so what only interrupts this process would leave its
    QEMU behind.
    """
    guest = None
    try:
        with uninterrupted():
            guest = subprocess.Popen(argv, env=environment())
        return guest.wait()
    except BaseException:
        if guest:
            for pid in _family(guest.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            guest.wait()
        raise


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """What interrupts this process does so after the block.

    For a block that starts a process: nobody could end one whose start is interrupted before the
    caller knows it. Only the main thread is ever interrupted.
    """
    came: list[tuple[int, Any]] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):
                handlers[number] = signal.signal(number, lambda *what: came.append(what))
    try:
        yield
    finally:
        for which, handler in handlers.items():
            signal.signal(which, handler)
    if came:
        handlers[came[0][0]](*came[0])


def _family(pid: int) -> list[int]:
    """A process and all that it has started, the youngest first."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # after the name, which may have anything in it: state, parent
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[::-1]


def _joined(guest: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """It has just been started; the pools that this thread works for end it with themselves.

    :raises ToolError: one of them has failed meanwhile; the guest is ended.
    """
    for pool in _here.pools:
        pool.guests.add(guest)
    if any(pool.failed for pool in _here.pools):
        end(guest)
        raise ToolError("not started: something else has failed, or was interrupted")
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
    :raises ToolError: the command has said nothing for so long, or has ended and the guest has not
        after END_LIMIT seconds, or it prints without end.
    """
    for stale in LEFT:
        (folder / stale).unlink(missing_ok=True)
    with (folder / "console").open("wb") as console:
        guest = None
        try:
            with uninterrupted():
                guest = start(argv, console.fileno())
            _watch(guest, release, folder, timeout, prefix, again)
        finally:
            if guest:
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
    deadline, booted, done = time.monotonic() + BOOT_LIMIT, False, False

    def trouble(what: str, kind: type[ToolError] = ToolError) -> ToolError:
        return kind(f"lab: {what}{last_words(folder)}", log=folder, again=again)

    while True:
        over = guest.poll() is not None
        if prefix is not None and output.exists():
            at += _copy(output, at, prefix, rest=over)
        if over:
            return
        if not booted and (folder / "booted").exists():
            booted, deadline = True, time.monotonic() + timeout
        if not done and (folder / "status").exists():
            done, deadline = True, time.monotonic() + END_LIMIT
        now = _size(output)
        if booted and not done and now != size:
            size, deadline = now, time.monotonic() + timeout
        if max(now, _size(folder / "console")) > MOST:
            raise trouble(f"{release} has printed over {MOST >> 20} MiB")
        if time.monotonic() > deadline:
            if done:
                raise trouble(f"{release} has not ended {END_LIMIT} s after its command")
            if booted:
                raise trouble(f"no end, and not a word for {timeout:.0f} s")
            raise trouble(f"{release} has not booted after {BOOT_LIMIT} s", NotBooted)
        time.sleep(0.1)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def status(folder: Path) -> int | None:
    """The exit status of the guest's command; None if the guest ended before it could say."""
    try:
        return int((folder / "status").read_text())
    except (FileNotFoundError, ValueError):
        return None


def last_words(folder: Path) -> str:
    """Why a guest has ended or hangs, as far as its console tells: ``: `` and a line, or nothing.

    That is the kernel's complaint, or of a guest that has not booted QEMU's error.
    """
    with (folder / "console").open(errors="replace") as console:
        text = console.read(1 << 18)
    lines = complaints(text)
    if not lines and not (folder / "booted").exists():
        lines = re.findall(r"^(?:qemu-system-\w+|virtme-run|vng): .*", text, re.MULTILINE)
    return f": {lines[0].strip()}" if lines else ""


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


@dataclass
class _Pool:
    """Guests that end together; once it has failed, none is started."""

    guests: set[subprocess.Popen[bytes]] = field(default_factory=set)
    failed: bool = False


class _Here(threading.local):
    """For each thread: the pools that it works for, the outermost first."""

    pools: tuple[_Pool, ...] = ()


_here = _Here()


@contextlib.contextmanager
def pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that run guests, ``size`` at a time.

    If the block fails or is interrupted, waiting guests never start, and running ones are ended;
    whoever waits for one is told that it ended early.
    """
    mine = _Pool()
    pools = (*_here.pools, mine)
    with ThreadPoolExecutor(size, initializer=_join, initargs=(pools,)) as threads:
        try:
            yield threads
        except BaseException:
            mine.failed = True
            threads.shutdown(wait=False, cancel_futures=True)
            end(*mine.guests)
            raise


def _join(pools: tuple[_Pool, ...]) -> None:
    _here.pools = pools


def end(*guests: subprocess.Popen[bytes]) -> None:
    """End guests with QEMU and all helpers that vng has started, whatever interrupts this."""
    for guest in guests:
        for pool in _here.pools:
            pool.guests.discard(guest)
        _signal(guest, signal.SIGTERM)
    deadline = time.monotonic() + 5
    try:
        for guest in guests:
            with contextlib.suppress(subprocess.TimeoutExpired):
                guest.wait(max(0, deadline - time.monotonic()))
    finally:
        # also what has outlived the first of its processes
        for guest in guests:
            _signal(guest, signal.SIGKILL)
        for guest in guests:
            guest.wait()


def _signal(guest: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(guest.pid, number)

# SPDX-License-Identifier: GPL-2.0
"""A guest as a process on this machine: started, watched and ended with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from toolkit.errors import ToolError

BOOT_LIMIT = 400  # seconds until the guest must have started our command; idle, TCG takes 7 to 30

#: What a guest leaves in its folder; an earlier one's is none of this one's.
LEFT = ("booted", "status", "dmesg", "output", "console")


class NotBooted(ToolError):
    """The guest did not get as far as our command."""


def environment() -> dict[str, str]:
    """For vng, which starts its own programs by name."""
    tools = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}:/usr/sbin:/sbin"}


def start(argv: Sequence[str | Path], console: int) -> subprocess.Popen[bytes]:
    """Start one without a terminal, to be ended by :func:`end`.

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
    _running.add(guest)
    return guest


def boot(
    argv: Sequence[str | Path], release: str, folder: Path, timeout: float, prefix: str | None
) -> None:
    """One guest, from its start to its end.

    :param release: its kernel.
    :param folder: where it writes ``booted`` when its command starts, ``output``, ``status``.
    :param timeout: seconds for the command, after the boot.
    :param prefix: what each line of its output begins with on standard output; None: not copied.
    :raises NotBooted: the command has not started after BOOT_LIMIT seconds.
    :raises ToolError: or has not ended in time.
    """
    for stale in LEFT:
        (folder / stale).unlink(missing_ok=True)
    with (folder / "console").open("wb") as console:
        guest = start(argv, console.fileno())
        try:
            _watch(guest, release, folder, timeout, prefix)
        finally:
            end(guest)


def _watch(
    guest: subprocess.Popen[bytes], release: str, folder: Path, timeout: float, prefix: str | None
) -> None:
    """Until the guest is gone: copy the command's output, and mind the time."""
    output, at = folder / "output", 0
    deadline, booted = time.monotonic() + BOOT_LIMIT, False
    where = f"console and output: {folder}"
    while True:
        over = guest.poll() is not None
        if prefix is not None and output.exists():
            at += _copy(output, at, prefix, rest=over)
        if over:
            return
        if not booted and (folder / "booted").exists():
            booted, deadline = True, time.monotonic() + timeout
        if time.monotonic() > deadline:
            if booted:
                raise ToolError(f"lab: no end after {timeout:.0f} s", where)
            raise NotBooted(f"lab: {release} has not booted after {BOOT_LIMIT} s", where)
        time.sleep(0.1)


def _copy(output: Path, at: int, prefix: str, *, rest: bool) -> int:
    """Copy what is new in a file to standard output, by whole lines; how many bytes that was."""
    with output.open("rb") as f:
        f.seek(at)
        data = f.read()
    if not rest:
        data = data[: data.rfind(b"\n") + 1]
    lines = data.splitlines(keepends=True)
    sys.stdout.buffer.write(b"".join(prefix.encode() + line for line in lines))
    sys.stdout.buffer.flush()
    return len(data)


#: The guests that run now, whichever thread started them.
_running: set[subprocess.Popen[bytes]] = set()


def end_all() -> None:
    """End every guest: whoever waits for one is told that it ended early."""
    for guest in list(_running):
        end(guest)


def end(guest: subprocess.Popen[bytes]) -> None:
    """vng starts QEMU and helpers: end them all."""
    _running.discard(guest)
    try:
        os.killpg(guest.pid, signal.SIGTERM)
        guest.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(guest.pid, signal.SIGKILL)
        guest.wait()
    except ProcessLookupError:
        guest.wait()

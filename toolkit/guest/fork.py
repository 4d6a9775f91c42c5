# SPDX-License-Identifier: GPL-2.0
"""Inside the guest: a host's Python as a copy of this one, because each start takes long."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from toolkit.guest.hosts import Host

#: include/uapi/linux/sched.h, include/uapi/linux/mount.h
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18


def fork(host: Host, work: Callable[[], int], log: Path, binds: Mapping[Path, Path]) -> int:
    """Do some work in a process of its own on a host; the process's number.

    :param work: its result is the process's status.
    :param log: gets what it prints.
    :param binds: folders, and those that are in their place for the process.
    """
    sys.stdout.flush()
    gc.freeze()  # the collector would write to what both share
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
        _enter(host.name, binds)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _enter(name: str, binds: Mapping[Path, Path]) -> None:
    """Into a network namespace, and into one of mounts."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(what: str, done: int) -> None:
        if done:
            raise OSError(ctypes.get_errno(), what)

    with open(f"/run/netns/{name}") as namespace:
        call(f"setns {name}", libc.setns(namespace.fileno(), CLONE_NEWNET))
    call("unshare", libc.unshare(CLONE_NEWNS))
    call("mount /", libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    for place, folder in binds.items():
        done = libc.mount(os.fsencode(folder), os.fsencode(place), None, MS_BIND, None)
        call(f"mount {place}", done)


def ended(*children: int) -> list[int]:
    """Wait until they end; their statuses, or minus the signals that have ended them."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def kill(*children: int) -> None:
    """Kill all, and wait until they have ended."""
    for child in children:
        os.kill(child, signal.SIGKILL)
    ended(*children)

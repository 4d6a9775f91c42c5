# SPDX-License-Identifier: GPL-2.0
"""What `up` has done, on disk, so that `down` undoes that and nothing else.

The record of a link is `/run/l2wg/IFACE.json`. A restart of the machine clears it together with
what it records. A network namespace other than that of process 1 has a folder of its own. A change
is written down before it is made and struck out after it is undone, so the record of an `up` that
was killed holds all that may have happened. Before a change is undone, its presence is checked.

Two links may want the same thing, for example a bridge. Only the link that made it undoes it.
`found` changes are those that somebody else made; a link that goes away hands its own over to one
of these.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, NamedTuple

from .. import signals
from ..conf.files import write_private
from ..errors import L2wgError, Problem, from_os_error
from ..output import say

RUN_DIR = Path("/run/l2wg")
_OWN, _FIRST = "/proc/thread-self/ns/net", "/proc/1/ns/net"
#: Of include/uapi/asm-generic/socket.h, since Linux 5.14: 8 bytes, never used again while it runs.
SO_NETNS_COOKIE = 71


class Change(NamedTuple):
    """One thing that `up` did to the host, beyond what goes with the link itself.

    :ivar kind: see `changes`, which undoes each.
    :ivar on: the link that was changed, if any; `ifindex` is its index.
    :ivar what: the part that was changed; `kind`, `on` and `what` together name a change.
    :ivar value: what it was set to, `before` what it was.
    :ivar made: this link made it; otherwise somebody else did.
    """

    kind: str
    on: str
    what: str = ""
    value: str = ""
    before: str = ""
    ifindex: int = 0
    made: bool = True

    @property
    def thing(self) -> tuple[str, str, str]:
        """The thing that two links may both want."""
        return self.kind, self.on, self.what


def folder() -> Path:
    """The folder with the records of this network namespace, the same at every call."""
    own = os.stat(_OWN).st_ino
    try:
        first = os.stat(_FIRST).st_ino
    except OSError:  # another user's
        first = 0
    return RUN_DIR if own == first else RUN_DIR / f"netns-{own}{_cookie()}"


def _cookie() -> str:
    """What tells a namespace from an earlier one with its inode number; empty before Linux 5.14.

    The inode's times do not: it is made anew whenever nobody holds it open.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
            found = one.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
    except OSError:
        return ""
    return f"-{int.from_bytes(found, sys.byteorder)}"


class Record:
    """What one link's `up` did, in that order.

    With `dry` nothing is written and nothing locked.
    """

    def __init__(self, name: str, *, dry: bool = False) -> None:
        self.name = name
        self.dry = dry
        self.index = 0
        self.changes: list[Change] = []
        self.pre_down: tuple[str, ...] = ()
        self.post_down: tuple[str, ...] = ()
        self.path = folder() / f"{name}.json"

    # -- the file ------------------------------------------------------------------------------

    def store(self) -> None:
        """Write it, or remove it if it is empty. If it cannot be written, say so; `down` then does
        what it can without it."""
        if self.dry:
            return
        if not self.changes:
            self.path.unlink(missing_ok=True)
            return
        value = {
            "version": 1,
            "name": self.name,
            "index": self.index,
            "changes": [change._asdict() for change in self.changes],
            "pre_down": self.pre_down,
            "post_down": self.post_down,
        }
        try:
            _make(self.path.parent)
            write_private(str(self.path), json.dumps(value, indent=1) + "\n")
        except (OSError, L2wgError) as error:
            if isinstance(error, OSError):
                error = from_os_error(error, str(self.path))
            self.dry = True
            what = f"cannot be written: {error.problems[0].what}"
            say([Problem(str(self.path), what, "down will go by the file alone", True)])

    def add(self, change: Change) -> None:
        """Note a change that is about to be made."""
        self.changes.append(change)
        self.store()

    def complete(self, change: Change, index: int) -> None:
        """Note the ifindex of what a change has just created."""
        if change.kind == "link":
            self.index = index
        self.changes = [
            known._replace(ifindex=index) if known.thing == change.thing else known
            for known in self.changes
        ]
        self.store()

    def strike(self, change: Change) -> None:
        """Forget a change that has been undone, or was not made after all."""
        self.changes = [known for known in self.changes if known.thing != change.thing]
        self.store()

    def making(self, change: Change, do: Callable[[], None]) -> Callable[[], None]:
        """`do` with the change noted before, and struck out if it fails."""

        def run() -> None:
            self.add(change)
            try:
                do()
            except L2wgError:
                self.strike(change)
                raise

        return run

    def wants(self, thing: tuple[str, str, str]) -> Change | None:
        """The change of that thing, made or found."""
        return next((change for change in self.changes if change.thing == thing), None)

    # -- other links ---------------------------------------------------------------------------

    def others(self) -> list[Record]:
        """The records of the namespace's other links."""
        found = (load(path.stem) for path in sorted(self.path.parent.glob("*.json")))
        return [record for record in found if record is not None and record.name != self.name]

    @contextmanager
    def shared(self) -> Iterator[None]:
        """In the block, no other process changes what links may share (a bridge)."""
        if self.dry:
            yield
            return
        with _locked(self.path.parent / ".lock", wait=True):
            yield


def load(name: str) -> Record | None:
    """The record of a link; None if there is none, or none that can be read."""
    record = Record(name)
    try:
        value = json.loads(record.path.read_text(encoding="utf-8", errors="surrogateescape"))
        record.index = int(value["index"])
        record.changes = [Change(**change) for change in value["changes"]]
        record.pre_down = tuple(map(str, value["pre_down"]))
        record.post_down = tuple(map(str, value["post_down"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        say([Problem(str(record.path), f"cannot be read: {error}", "it is left aside", True)])
        return None
    return record


# -- locks -----------------------------------------------------------------------------------------


def _make(path: Path) -> None:
    RUN_DIR.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def hold(name: str, doing: str, *, dry: bool = False) -> Iterator[None]:
    """In the block, no other `up` or `down` of the link runs.

    :raises L2wgError: another one runs already.
    """
    path = folder() / f"{name}.lock"
    if dry:
        yield
        return
    with _locked(path, wait=False) as free:
        if not free:
            pid = path.read_text().strip() or "?"
            raise L2wgError(
                f"another l2wgctl is working on {name}", f"wait for it, or: kill {pid}", doing
            )
        yield


@contextmanager
def turn(name: str) -> Iterator[None]:
    """In the block, nobody else reads the options of a switch to write them back changed: who
    comes later waits."""
    with _locked(folder() / f"{name}.options.lock", wait=True):
        yield


@contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether the lock was free. If no file can be written, there are no locks."""
    try:
        _make(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        yield True
        return
    try:
        try:
            with signals.waiting(for_others=True):
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except signals.Enough:
            pid = path.read_text().strip() or "?"
            say([Problem(str(path), f"process {pid} has it", "we go on without it", True)])
            yield True
            return
        with suppress(OSError):  # a full disk; only people read it
            os.truncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        yield True
    finally:
        os.close(handle)

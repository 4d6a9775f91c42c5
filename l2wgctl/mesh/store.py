# SPDX-License-Identifier: GPL-2.0
"""What the mesh asks of its store: a small part of etcd's API, in words of our own.

`l2wgctl.mesh.etcd` speaks to a real one; tests have one in memory. Keys are text, values are bytes.
A revision is the store's own clock: it grows by one with each change of anything, from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, Union

from ..errors import L2wgError


class StoreError(L2wgError):
    """The store cannot be reached, or refuses. One line, with its mend."""


class Unreachable(StoreError):
    """No member answers. Nothing is known about what was asked: it may have been done."""


class Refused(StoreError):
    """A member answers, and says no: user, role, quota, no leader, no gateway."""


class Entry(NamedTuple):
    """One key. `version` counts its changes from 1, `revision` is that of the last one.

    `lease` is the lease that it ends with, 0: none.
    """

    key: str
    value: bytes
    version: int
    revision: int
    lease: int = 0


class Listing(NamedTuple):
    """All keys under a prefix, in their order, and the revision at which all of this was so."""

    entries: tuple[Entry, ...]
    revision: int


class Member(NamedTuple):
    """A member of the store.

    `size` and `in_use` are bytes of its database, -1: it does not answer, and `trouble` says why.
    `alarms` are etcd's words: `NOSPACE`, `CORRUPT`.
    """

    name: str
    url: str
    version: str = ""
    size: int = -1
    in_use: int = -1
    is_leader: bool = False
    alarms: tuple[str, ...] = ()
    trouble: str = ""


# -- what a watch says -----------------------------------------------------------------------------


class Changed(NamedTuple):
    """Keys were put, or deleted: then `value` is None. In the order of their revisions."""

    key: str
    value: bytes | None
    revision: int


class Progress(NamedTuple):
    """The stream lives, and has told all changes up to this revision.

    The first event of every watch is one: from there on nothing is lost.
    """

    revision: int


class Ended(NamedTuple):
    """The last event of a watch: list anew, and watch from there.

    `why` is `compacted` (the revisions are gone), `cancelled` (the member says so, for example
    because it has lost its leader), `broken` (connection lost) or `silent` (nothing came, though
    something should have). `detail` is for people. `revision`: the oldest that there is still, if
    compacted.
    """

    why: str
    detail: str
    revision: int = 0


Event = Union[Changed, Progress, Ended]


class Store(Protocol):
    """The store. Every method may take some seconds, tries all members, and raises StoreError.

    One object is for one thread, except `cancel`.
    """

    def get(self, key: str) -> Entry | None:
        """The key as the majority has it, or None."""

    def list(self, prefix: str) -> Listing:
        """Everything under a prefix, in pages, and all at one revision."""

    def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Set a key.

        :param lease: what the key ends with; 0: it stays.
        :returns: the revision of this change.
        """

    def put_if(self, key: str, value: bytes, revision: int, lease: int = 0) -> int | None:
        """Set a key that nobody has changed since.

        :param revision: its `Entry.revision` as it was read; 0: there was none.
        :returns: the revision of this change; None: somebody was faster, nothing is done.
        """

    def delete(self, key: str) -> bool:
        """Delete a key; whether it was there."""

    def grant(self, ttl: int) -> int:
        """A lease of `ttl` seconds; its number."""

    def keepalive(self, lease: int) -> int:
        """Begin a lease's time anew; the seconds that it has now, 0: it is over."""

    def revoke(self, lease: int) -> None:
        """End a lease and the keys on it; one that is over is no error."""

    def watch(self, prefix: str, revision: int, end: str | None = None) -> Iterator[Event]:
        """The changes under a prefix from a revision on, until the watch ends.

        :param end: the first key that is not watched, instead of that behind the prefix.

        It does not raise: the last event is `Ended`. Write `listing.revision + 1` to go on where a
        listing ends.
        """

    def cancel(self) -> None:
        """End the watch that runs in another thread."""

    def members(self) -> tuple[Member, ...]:
        """The members that the store knows of, with their state."""

    def close(self) -> None:
        """Close the connections."""

# SPDX-License-Identifier: GPL-2.0
"""A store in memory (`l2wgctl.mesh.store.Store`) for unit tests that need no etcd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from l2wgctl.mesh.store import Ended, Entry, Event, Listing, Member


class MemoryStore:
    """Keys and values. `before_put` is called ahead of each conditional write: another writer."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = 1
        self.before_put: Callable[[str], None] = lambda key: None

    def get(self, key: str) -> Entry | None:
        return self.entries.get(key)

    def list(self, prefix: str) -> Listing:
        found = [entry for key, entry in sorted(self.entries.items()) if key.startswith(prefix)]
        return Listing(tuple(found), self.revision)

    def put(self, key: str, value: bytes, lease: int = 0) -> int:
        self.revision += 1
        old = self.entries.get(key)
        version = old.version + 1 if old is not None else 1
        self.entries[key] = Entry(key, value, version, self.revision, lease)
        return self.revision

    def put_if(self, key: str, value: bytes, revision: int, lease: int = 0) -> int | None:
        self.before_put(key)
        old = self.entries.get(key)
        if (old.revision if old is not None else 0) != revision:
            return None
        return self.put(key, value, lease)

    def delete(self, key: str) -> bool:
        self.revision += 1
        return self.entries.pop(key, None) is not None

    def grant(self, ttl: int) -> int:
        return 1

    def keepalive(self, lease: int) -> int:
        return 60

    def revoke(self, lease: int) -> None:
        for key in [key for key, entry in self.entries.items() if entry.lease == lease]:
            self.delete(key)

    def watch(self, prefix: str, revision: int, end: str | None = None) -> Iterator[Event]:
        yield Ended("broken", "this store cannot be watched")

    def cancel(self) -> None:
        pass

    def members(self) -> tuple[Member, ...]:
        return ()

    def close(self) -> None:
        pass

# SPDX-License-Identifier: GPL-2.0
"""Who claims what: a key, a MAC or an address belongs to one host of a mesh."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

from ..errors import public
from ..model import AllowedIP, Key
from .record import Record, span

#: First address of a network, its last one, whose it is.
_Span = tuple[int, int, str]


class Claims:
    """What hosts have been given. No two of them have the same, and no networks overlap."""

    def __init__(self) -> None:
        self._held: dict[str, Record] = {}
        self._keys: dict[Key, str] = {}
        self._macs: dict[str, str] = {}
        #: By the bytes of an address, in order. They don't overlap, so neighbours tell all.
        self._spans: dict[int, list[_Span]] = {4: [], 16: []}

    def clash(self, record: Record) -> str | None:
        """What the record claims of another host's, in words; None: nothing."""
        for key in _keys(record):
            other = self._keys.get(key, record.name)
            if other != record.name:
                return f"claims the key {public(key)}, which is {other}'s"
        for mac in record.macs:
            other = self._macs.get(mac, record.name)
            if other != record.name:
                return f"claims the MAC {mac}, which is {other}'s"
        for network in record.addresses:
            for other in self._owners(network):
                if other != record.name:
                    return f"claims the address {network}, which is {other}'s"
        return None

    def _owners(self, network: AllowedIP) -> Iterable[str]:
        """The hosts that have some of a network."""
        size, first, last = span(network)
        spans = self._spans[size]
        at = bisect_right(spans, (first, 1 << 130, ""))
        # the one that begins before it may reach into it
        for begin, end, name in spans[max(at - 1, 0) :]:
            if begin > last:
                break
            if end >= first:
                yield name

    def give(self, record: Record) -> None:
        """Let a host have what it claims instead of what it had. `clash` has been asked."""
        self.release(record.name)
        self._held[record.name] = record
        for key in _keys(record):
            self._keys[key] = record.name
        for mac in record.macs:
            self._macs[mac] = record.name
        for network in record.addresses:
            size, first, last = span(network)
            insort(self._spans[size], (first, last, record.name))

    def release(self, name: str) -> None:
        """Take from a host all that it has."""
        record = self._held.pop(name, None)
        if record is None:
            return
        for key in _keys(record):
            self._keys.pop(key, None)
        for mac in record.macs:
            del self._macs[mac]
        for network in record.addresses:
            size, first, last = span(network)
            spans = self._spans[size]
            del spans[bisect_left(spans, (first, last, name))]


def _keys(record: Record) -> tuple[Key, ...]:
    """Its keys, of every kind: a host that uses another's key for anything is a mistake."""
    more = () if record.previous is None else (record.previous,)
    return (record.key, record.host_key, *more)

# SPDX-License-Identifier: GPL-2.0
"""What is ignored of what the store shows, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator

#: Places that are remembered; what is beyond is counted.
IGNORED_MAX = 256


class Ignored:
    """What is ignored, by its place in the store, and why: 256 of them, and a count of the rest.

    A place of a known host takes that of an unknown one, so that junk does not hide what matters.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._junk: dict[str, str] = {}
        self.more = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        yield from sorted({**self._junk, **self._known}.items())

    def __len__(self) -> int:
        return len(self._known) + len(self._junk)

    def add(self, place: str, why: str, known: bool) -> str | None:
        """Remember a refusal; the line for the log if it is a new one that is remembered."""
        if self._known.get(place, self._junk.get(place)) == why:
            return None
        self.drop(place)
        if len(self) >= IGNORED_MAX:
            self.more += 1
            if not known or not self._junk:
                return None
            del self._junk[next(iter(self._junk))]
        (self._known if known else self._junk)[place] = why
        return f"{place} {why}: ignored"

    def shown(self, places: Collection[str]) -> None:
        """The store has these and no others; what is beyond those that we remember counts anew."""
        self.more = 0
        for place in {*self._known, *self._junk} - {*places}:
            self.drop(place)

    def drop(self, place: str) -> None:
        """The place is in order now, or gone."""
        self._known.pop(place, None)
        self._junk.pop(place, None)

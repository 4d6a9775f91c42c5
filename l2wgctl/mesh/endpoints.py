# SPDX-License-Identifier: GPL-2.0
"""Which endpoint a peer gets, if any: what the store says is a hint.

A peer with a live session is where its packets come from, and WireGuard has learned that. Only a
peer without one needs to be told where to look; and if a handshake has been tried there for 15 s,
the next place is tried.
"""

from __future__ import annotations

from typing import NamedTuple

from ..model import Endpoint, Key
from .kernel import LinkNow
from .plan import Plan

#: Seconds for one endpoint: three initiations of WireGuard's, 5 s apart.
PATIENCE = 15.0
UP, TRYING = "up", "trying"


class _Try(NamedTuple):
    places: tuple[Endpoint, ...]
    at: int
    since: float | None


class Endpoints:
    """The choice for each peer. Pure: the time is given, and nothing is done."""

    def __init__(self) -> None:
        self._tries: dict[Key, _Try] = {}

    def choose(
        self,
        key: Key,
        places: tuple[Endpoint, ...],
        present: Endpoint | None,
        session: str | None,
        now: float,
    ) -> Endpoint | None:
        """The endpoint to set now; None: leave it as it is.

        :param places: where the peer may be, best first, as addresses.
        :param present: the kernel's endpoint of the peer.
        :param session: `idle`, `trying`, `up`, or None of what is no peer yet.
        :param now: seconds of a clock that only goes forward.
        """
        known = self._tries.get(key)
        if session == UP or not places:
            # Forget the tries, but not the places: the same hint is no news when the session ends.
            self._tries[key] = _Try(places, 0, None)
            return None
        if present is None or known is None and session != TRYING and present not in places:
            # At the agent's start an endpoint without a session is one of an earlier life.
            self._tries[key] = _Try(places, 0, now if session == TRYING else None)
            return places[0]
        if known is None or known.places != places:
            at = places.index(present) if known is None and present in places else 0
            self._tries[key] = _Try(places, at, now if session == TRYING else None)
            return places[at] if places[at] != present else None
        if session != TRYING:
            self._tries[key] = known._replace(since=None)
            return None
        if known.since is None:
            self._tries[key] = known._replace(since=now)
            return None
        if now - known.since < PATIENCE:
            return None
        # What was learned and leads nowhere any more gives way to the first that the store says.
        at = (places.index(present) + 1) % len(places) if present in places else 0
        self._tries[key] = _Try(places, at, now)
        return places[at] if places[at] != present else None

    def hints(self, wanted: Plan, link: LinkNow, now: float) -> dict[Key, Endpoint]:
        """The endpoints to set now, and nothing is known any more of who is no peer."""
        made: dict[Key, Endpoint] = {}
        for key, peer in wanted.peers.items():
            is_now = link.peers.get(key)
            present, session = (None, None) if is_now is None else (is_now.endpoint, is_now.session)
            choice = self.choose(key, peer.endpoints, present, session, now)
            if choice is not None:
                made[key] = choice
        self.forget(set(wanted.peers))
        return made

    def next_look(self) -> float | None:
        """When the next place will be due at the earliest; None: nothing is being tried."""
        due = [t.since + PATIENCE for t in self._tries.values() if t.since is not None]
        return min(due, default=None)

    def forget(self, keys: set[Key]) -> None:
        """Drop what is known of all other keys."""
        for key in self._tries.keys() - keys:
            del self._tries[key]

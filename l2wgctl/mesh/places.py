# SPDX-License-Identifier: GPL-2.0
"""Where peers may be, as addresses: names are asked for elsewhere, and what was found is kept."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Callable

from ..model import Endpoint, Key
from .plan import WantedPeer
from .record import Alive


class Places:
    """What names have been found to be. Pure: nobody is asked here."""

    def __init__(self) -> None:
        self._found: dict[Endpoint, tuple[Endpoint, ...]] = {}

    def learn(self, found: Mapping[Endpoint, tuple[Endpoint, ...]]) -> bool:
        """Take the addresses of names; whether any of them is news."""
        news = any(self._found.get(name) != places for name, places in found.items())
        self._found.update(found)
        return news

    def addressed(
        self, peers: Iterable[WantedPeer], alive: Callable[[str], Alive | None]
    ) -> tuple[dict[Key, WantedPeer], frozenset[Endpoint]]:
        """The peers with addresses in place of names, and the names to be asked for.

        :param alive: tells a host's sign of life; where it says that it is now comes first.
        """
        names: set[Endpoint] = set()
        made = {}
        for peer in peers:
            sign = alive(peer.name)
            places: dict[Endpoint, None] = {}
            for endpoint in (*(sign.endpoints if sign else ()), *peer.endpoints):
                if is_address(endpoint):
                    places[endpoint] = None
                else:
                    names.add(endpoint)
                    places.update(dict.fromkeys(self._found.get(endpoint, ())))
            made[peer.key] = replace(peer, endpoints=tuple(places))
        return made, frozenset(names)


def is_address(endpoint: Endpoint) -> bool:
    """Whether the host of an endpoint is an address and no name.

    What only looks like an address of IPv4, as `10.1`, is a name: the resolver reads it.
    """
    if ":" in endpoint.host:
        return True
    try:
        ipaddress.IPv4Address(endpoint.host)
    except ValueError:
        return False
    return True

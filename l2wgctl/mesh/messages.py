# SPDX-License-Identifier: GPL-2.0
"""What an agent is told: each kind of thing that happens outside is a message of its own."""

from __future__ import annotations

from typing import NamedTuple, Union

from ..errors import Problem
from ..model import Endpoint
from .store import Changed, Listing


class Whole(NamedTuple):
    """Everything that the store has of the mesh now."""

    listing: Listing


class Signs(NamedTuple):
    """All signs of life, fetched."""

    listing: Listing


class Told(NamedTuple):
    """One key has changed."""

    change: Changed


class Broken(NamedTuple):
    """A watch has ended; everything is listed anew at once."""

    problem: Problem


class Lost(NamedTuple):
    """The store is away; what was heard last goes on to hold."""

    problem: Problem


class Here(NamedTuple):
    """The store answers, and the watch runs."""


class Written(NamedTuple):
    """The sign of life is in the store. `problem`: it is not."""

    problem: Problem | None


class Stirred(NamedTuple):
    """A session of the switch may have changed."""


class Resolved(NamedTuple):
    """What names stand for now."""

    found: dict[Endpoint, tuple[Endpoint, ...]]


class Through(NamedTuple):
    """The store is reached through the link that it configures (rule 7)."""

    problem: Problem


class Imported(NamedTuple):
    """Envelopes that did not come from the store."""

    envelopes: tuple[bytes, ...]


class Died(NamedTuple):
    """A thread has ended by a fault of ours; without it the agent is deaf, so it ends, too."""

    problem: Problem


Message = Union[
    Broken, Died, Here, Imported, Lost, Resolved, Signs, Stirred, Through, Told, Whole, Written
]

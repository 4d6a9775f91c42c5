# SPDX-License-Identifier: GPL-2.0
"""What the store's members answer a person, who does not wait for ever.

A member that is away costs PATIENCE. A name server that is away costs what resolv.conf says, half a
minute for each name and more, and nothing can interrupt that: such a look-up is left to itself.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from ..errors import L2wgError, Problem
from .access import opener
from .host import Host, through_the_link
from .store import Member

#: Seconds for one request at one member.
PATIENCE = 2.0
#: Seconds for all of them, and for the names of the members.
MOST = 15.0


class Asked(NamedTuple):
    """The members, or what is wrong; and whether they are reached through the link itself."""

    members: tuple[Member, ...] = ()
    problem: Problem | None = None
    way: Problem | None = None


def ask(host: Host) -> Asked:
    """Ask the members of the store that a host's file names."""
    found: list[Asked | Exception] = []

    def run() -> None:
        try:
            found.append(_ask(host))
        except Exception as error:  # a fault of ours, which is no name server's
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(MOST)
    if found:
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]
    what = f"the store, or the name servers, do not answer in {MOST:.0f} seconds"
    return Asked(problem=Problem(host.where, what, "see /etc/resolv.conf; Engine takes addresses"))


def _ask(host: Host) -> Asked:
    try:
        store = opener(host.options, host.where, PATIENCE)()
        try:
            members, problem = tuple(store.members()), None
        finally:
            store.close()
    except L2wgError as error:
        members, problem = (), error.problems[0]
    return Asked(members, problem, through_the_link(host))

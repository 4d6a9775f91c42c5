# SPDX-License-Identifier: GPL-2.0
"""Where things are in the store: the keys under /l2wg/MESH/, and who writes each.

requests/NAME   the host: what it asks for
nodes/NAME      an admin: the signed record
lists/SERIAL    an admin: the signed list of all names with their serials
alive/NAME      the host, under a lease: that it is there
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..conf.meshvalues import mesh_name

ROOT = "/l2wg/"
REQUESTS, NODES, LISTS, ALIVE = "requests", "nodes", "lists", "alive"
#: Digits of a serial in a key, so that keys sort like serials.
_DIGITS = 19
_KEY = re.compile(
    r"/l2wg/([a-z0-9-]{1,63})/(?:(requests|nodes|alive)/([a-z0-9-]{1,63})|(lists)/([0-9]{19}))"
)


class Place(NamedTuple):
    """A key in parts. `name` is a host's, or the digits of a list's serial."""

    mesh: str
    kind: str
    name: str

    @property
    def serial(self) -> int:
        """Of a list."""
        return int(self.name)


def prefix(mesh: str, kind: str = "") -> str:
    """The prefix of all keys of a mesh, or of one kind of them.

    :raises ValueProblem: the name is not `[a-z0-9-]{1,63}`.
    """
    return f"{ROOT}{mesh_name(mesh)}/{kind}/" if kind else f"{ROOT}{mesh_name(mesh)}/"


def request(mesh: str, name: str) -> str:
    """The key of a host's request."""
    return prefix(mesh, REQUESTS) + mesh_name(name)


def node(mesh: str, name: str) -> str:
    """The key of a host's record."""
    return prefix(mesh, NODES) + mesh_name(name)


def alive(mesh: str, name: str) -> str:
    """The key of a host's sign of life."""
    return prefix(mesh, ALIVE) + mesh_name(name)


def mesh_list(mesh: str, serial: int) -> str:
    """The key of a list."""
    return f"{prefix(mesh, LISTS)}{serial:0{_DIGITS}d}"


def split(key: str) -> Place | None:
    """The parts of a key; None if no such key is ours (anybody may write to the store)."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    return Place(match[1], match[2] or match[4], match[3] or match[5])

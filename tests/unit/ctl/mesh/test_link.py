# SPDX-License-Identifier: GPL-2.0
"""What the agent makes of a kernel that refuses some of what it is to change."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from l2wgctl.errors import KernelError, public
from l2wgctl.keys import generate_private_key, public_key
from l2wgctl.mesh.kernel import Change, Remove, SetOptions, SetPeer
from l2wgctl.mesh.link import BATCH, Link
from l2wgctl.model import Key
from l2wgctl.switch import PeerOptions


class Picky(Link):
    """Refuses requests that are about some keys, as a whole."""

    def __init__(self, number: int, *bad: Key) -> None:
        self.done: list[Change] = []
        self._number, self._bad = number, bad

    def _do(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if getattr(change, "key", None) in self._bad:
                raise KernelError(self._number, public(change.key))  # type: ignore[union-attr]
        self.done += changes


KEYS = [public_key(generate_private_key()) for _ in range(5)]
CHANGES: list[Change] = [
    *(SetOptions(key, PeerOptions()) for key in KEYS),
    *(SetPeer(key) for key in KEYS[:4]),
    Remove(KEYS[4]),
]


def test_what_is_refused_does_not_hold_back_who_is_revoked() -> None:
    link = Picky(errno.EINVAL, KEYS[1], KEYS[3])
    with pytest.raises(KernelError, match=str(KEYS[1])[:20].replace("+", r"\+")):
        link.apply(CHANGES)
    assert link.done == [change for change in CHANGES if change.key not in link._bad]  # type: ignore[union-attr]
    assert link.done[-1] == Remove(KEYS[4])


def test_without_a_link_nothing_more_is_tried() -> None:
    link = Picky(errno.ENODEV, KEYS[0])
    with pytest.raises(KernelError):
        link.apply(CHANGES)
    assert link.done == []


def test_neighbours_go_together() -> None:
    link = Picky(0)
    sizes: list[int] = []
    do = link._do
    link._do = lambda changes: (sizes.append(len(changes)), do(changes))[1]  # type: ignore[method-assign,func-returns-value]
    link.apply([*CHANGES, *(SetPeer(KEYS[0]) for _ in range(BATCH + 1))])
    assert sizes == [5, 4, 1, BATCH, 1]

# SPDX-License-Identifier: GPL-2.0
"""What hosts say that they have seen: a store that was put back hides it from an admin.

He would sign a serial that all hosts know already, and they would ignore it without a word. A host
may lie, but only in its own name: its sign counts if its own host key has signed it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import L2wgError
from .presence import Presence
from .record import Record
from .review import in_place
from .trust import Book

#: Hosts that a line names.
NAMED = 8


def members(book: Book) -> Iterator[Record]:
    """The newest records of all present hosts, in force or not."""
    for name in book.listed():
        record = in_place(book, name)
        if record is not None:
            yield record


def newer(book: Book, signs: Presence, hosts: Iterable[Record]) -> Iterator[tuple[str, str]]:
    """Hosts that have seen a list, or a record of their own, that the book has not; and which.

    :param signs: read before the book's records and lists: else a change between the two counts.
    :param hosts: whose signs are looked at. Their host keys must be what an admin believes.
    """
    newest = book.list.serial if book.list is not None else 0
    for record in hosts:
        alive = signs.of(record)
        if alive is None:
            continue
        if alive.list > newest:
            yield record.name, f"list {alive.list}"
        elif alive.serial > book.serial(record.name):
            yield record.name, f"record {alive.serial}"


def refuse(found: Iterable[tuple[str, str]], unheard: frozenset[str], where: str) -> None:
    """See that no host has seen newer.

    :param unheard: hosts whose word does not count.
    :raises L2wgError: some have, and which.
    """
    said = [f"{name} ({what})" for name, what in found if name not in unheard]
    if not said:
        return
    more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
    raise L2wgError(
        f"hosts have seen what the store does not show: {', '.join(said[:NAMED])}{more}",
        "l2wgctl mesh resign, with the memory.json of a host or an admin that has it: --from FILE; "
        "if a host lies: --ignore NAME",
        where,
    )

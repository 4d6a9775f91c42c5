# SPDX-License-Identifier: GPL-2.0
"""What an admin sees of a request before he signs it, and why it cannot be signed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Callable

from ..errors import L2wgError
from ..model import Key
from .plan import topology
from .record import Record, Request
from .trust import Book

#: What is shown, in this order: field, label, how a value is written.
_SHOWN: tuple[tuple[str, str, Callable[[Record | Request], str]], ...] = (
    ("key", "key", lambda r: str(r.key)),
    ("host_key", "host key", lambda r: str(r.host_key)),
    ("addresses", "addresses", lambda r: _list(map(str, r.addresses))),
    ("macs", "MACs", lambda r: _list(r.macs)),
    ("max_macs", "other MACs", lambda r: f"up to {r.max_macs}" if r.max_macs else "none"),
    ("vlans", "VLANs", lambda r: ", ".join(map(_range, r.vlans))),
    ("endpoints", "endpoints", lambda r: _list(map(str, r.endpoints))),
    ("behind", "behind", lambda r: r.behind or "(nobody)"),
    ("hub", "hub", lambda r: "yes" if r.hub else "no"),
)


def _list(texts: Iterable[str]) -> str:
    return ", ".join(texts) or "(none)"


def _range(vlan: tuple[int, int]) -> str:
    first, last = vlan
    if vlan == (0, 4094):
        return "all"
    return ("untagged" if first == 0 else str(first)) if first == last else f"{first}-{last}"


def in_place(book: Book, name: str) -> Record | None:
    """The newest record of a host that belongs to the mesh.

    None: there is none, or the host is revoked, be it by a list alone. What a store still shows of
    it then is old, and its key may have been stolen.
    """
    held = book.held(name)
    if held is None or not held.record.present or book.is_revoked(name):
        return None
    return held.record


def record_for(request: Request, book: Book, in_use: Key | None = None) -> Record:
    """The record that grants a request: the next serial, and the old key until the new one is in
    use. It is the present record if that grants the request already, and no renewal has ended.

    :param in_use: the key that the host says that it uses (`Alive.key`).
    """
    old = in_place(book, request.name)
    asked = {field.name: getattr(request, field.name) for field in fields(Request)}
    if old is not None:
        same = replace(old, **asked)
        over = same.previous is not None and in_use == same.key
        if same == old and same.serial >= book.serial(request.name) and not over:
            return old
    previous = None
    if old is not None:
        # Without a sign of life nobody knows whether an earlier renewal is over.
        previous = old.previous if old.key == request.key else old.key
        if in_use is not None and in_use in (old.key, old.previous):
            previous = in_use if in_use != request.key else None
    return Record(**asked, serial=book.serial(request.name) + 1, previous=previous)


def objections(record: Record, book: Book) -> Iterator[str]:
    """Why a record cannot be signed: it claims what others have, or somebody would lose a place."""
    clash = book.clash(record)
    if clash is not None:
        yield f"{record.name} {clash}"
    yield from lost_places({**book.records, record.name: record}, book.records, record.name)


def lost_places(
    records: Mapping[str, Record], before: Mapping[str, Record], name: str
) -> Iterator[str]:
    """Hosts without a place in the mesh that had one before; and `name`, if it has none."""
    had_none = {left.name for left in topology(before)[1]} - {name}
    for left in topology(records)[1]:
        if left.name not in had_none:
            yield f"{left.name} {left.why}"


def refuse(record: Record, book: Book, where: str) -> None:
    """See that a record can be signed.

    :raises L2wgError: it cannot, and why.
    """
    for why in objections(record, book):
        hint = f"change what one of them asks for, or: l2wgctl mesh revoke {book.mesh} NAME"
        raise L2wgError(f"not signed: {why}", hint, where)


def shown(request: Request, fingerprint: str, book: Book) -> Iterator[str]:
    """The lines that an admin sees: all that is asked for, and what it was before."""
    old = in_place(book, request.name)
    if book.is_revoked(request.name):
        yield f"{request.name}, which was revoked, asks to join {request.mesh} again:"
    elif old is None:
        yield f"{request.name} asks to join {request.mesh}:"
    else:
        yield f"{request.name}, a host of {request.mesh}, asks for a change:"
    yield f"  {'fingerprint':<12}{fingerprint}"
    for name, label, write in _SHOWN:
        line = f"  {label:<12}{write(request)}"
        if old is not None and getattr(old, name) != getattr(request, name):
            line += f"   (it was {write(old)})"
        yield line
    yield from warnings(request)


def warnings(request: Request) -> Iterator[str]:
    """What an admin should think about."""
    if request.hub:
        yield (
            "  A hub reads all that it carries for the hosts behind it, and can forge it: sign "
            "this only if you trust it as much as them."
        )
    if not request.endpoints and request.behind is None:
        yield (
            "  It has no endpoint and no hub: it reaches others, and two such hosts don't reach "
            "each other."
        )
    if not request.macs and not request.max_macs:
        yield "  It has no MAC and may use none: no frame of it will be taken."

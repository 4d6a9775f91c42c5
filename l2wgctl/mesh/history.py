# SPDX-License-Identifier: GPL-2.0
"""mesh log: what has changed in the store, and who has signed it, as far back as it remembers."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import L2wgError
from ..model import Key
from ..output import print_json
from . import layout, signing
from .access import opener
from .host import load
from .record import parse_alive, parse_list, parse_record, parse_request
from .signing import LIST_MAX, Invalid
from .store import Changed, Ended, Event, Store

#: Seconds after which the past is told.
QUIET = 1.0


class Line(NamedTuple):
    """One change. `good`: it is signed as it must be. `signer`: who has signed it."""

    revision: int
    place: str
    what: str
    good: bool
    signer: Key | None = None


def told(change: Changed, mesh: str, trusted: Sequence[Key]) -> Line | None:
    """A change in words; None of what is no part of the mesh."""
    place = layout.split(change.key)
    if place is None or place.mesh != mesh:
        return None
    shown = f"{place.kind}/{place.name}"
    if change.value is None:
        return Line(change.revision, shown, "deleted", place.kind != layout.NODES)
    try:
        return _read(place, shown, change.value, change.revision, trusted)
    except Invalid as invalid:
        return Line(change.revision, shown, invalid.why, False)


def _read(
    place: layout.Place, shown: str, raw: bytes, revision: int, trusted: Sequence[Key]
) -> Line:
    if place.kind == layout.NODES:
        sealed = signing.unseal(raw, trusted)
        record = parse_record(sealed.record)
        if (record.mesh, record.name) != (place.mesh, place.name):
            raise Invalid(f"is the record of {record.name} in {record.mesh}")
        what = f"record {record.serial}" + ("" if record.present else ", revoked")
    elif place.kind == layout.LISTS:
        sealed = signing.unseal(raw, trusted, LIST_MAX)
        made = parse_list(sealed.record)
        gone = sum(entry.revoked for entry in made.hosts.values())
        what = f"list {made.serial}: {len(made.hosts) - gone} hosts, {gone} revoked"
    elif place.kind == layout.REQUESTS:
        sealed = signing.unseal_own(raw)
        request = parse_request(sealed.record)
        if sealed.signer != request.host_key:
            raise Invalid("is not signed with its own host key")
        what = f"asks, fingerprint {signing.fingerprint(sealed.record)}"
    else:
        sealed = signing.unseal_own(raw)
        alive = parse_alive(sealed.record)
        what = f"is there with record {alive.serial} and list {alive.list}"
    return Line(revision, shown, what, True, sealed.signer)


def changes(store: Store, mesh: str, follow: bool, quiet: float = QUIET) -> Iterator[Changed]:
    """All changes that the store remembers, oldest first.

    :param follow: and those that are still to come.
    :param quiet: without `follow`, end after so many seconds in which nothing more came. etcd does
        not say where the past ends.
    :raises L2wgError: the store is away.
    """
    prefix = layout.prefix(mesh)
    at = 1
    while True:
        for event in _until_quiet(store, prefix, at, None if follow else quiet):
            if isinstance(event, Changed):
                yield event
                at = event.revision + 1
            elif isinstance(event, Ended):
                if event.why != "compacted" or event.revision <= at:
                    raise L2wgError(f"the watch ends: {event.detail}", "do it again", "mesh log")
                at = event.revision
                break
        else:
            return


def _until_quiet(store: Store, prefix: str, at: int, quiet: float | None) -> Iterator[Event]:
    """A watch that ends without `Ended` when it has been quiet for long enough."""
    if quiet is None:
        yield from store.watch(prefix, at)
        return
    ended = threading.Event()

    def end() -> None:
        ended.set()
        store.cancel()

    timer: threading.Timer | None = None
    try:
        for event in store.watch(prefix, at):
            if timer is not None:
                timer.cancel()
            if isinstance(event, Ended) and ended.is_set():
                return
            yield event
            timer = threading.Timer(quiet, end)
            timer.daemon = True
            timer.start()
    finally:
        if timer is not None:
            timer.cancel()


def cmd_log(args: argparse.Namespace) -> int:
    """Print the changes, a line each."""
    host = load(args.mesh, args.file)
    store = opener(host.options, host.where)()
    found = []
    for change in changes(store, host.mesh, args.follow):
        line = told(change, host.mesh, host.options.trusted_keys)
        if line is None:
            continue
        if args.json and not args.follow:
            found.append(line._replace(signer=None)._asdict() | {"signer": _key(line.signer)})
            continue
        by = f", signed by {str(line.signer)[:8]}" if line.signer is not None else ""
        mark = "" if line.good else "IGNORED: "
        print(f"{line.revision} {line.place} {mark}{line.what}{by}", flush=args.follow)
    if args.json and not args.follow:
        print_json(found)
    return 0


def _key(key: Key | None) -> str | None:
    return None if key is None else str(key)

# SPDX-License-Identifier: GPL-2.0
"""What a host believes of what the store shows it. Pure: bytes in, records out.

The store is not trusted. A record counts if an admin has signed it for this mesh and this name and
no newer one was ever seen here; what is refused changes nothing and is remembered for `status`.
What has once been believed is gone only when a newer signed record says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

from ..errors import without_keys
from ..model import Key
from . import layout
from .claims import Claims
from .ignored import Ignored
from .record import Listed, MeshList, Record, parse_list, parse_record
from .seals import Seals
from .signing import LIST_MAX, Invalid


class Held(NamedTuple):
    """A verified record, its envelope, and the admin's key that has signed it."""

    record: Record
    raw: bytes
    signer: Key


class Verdict(NamedTuple):
    """What came of something that the store has shown.

    `changed`: what is believed is another now, or is to be saved. `words`: a line for the log, what
    is ignored and why; None if there is nothing to say that was not said before. `older`: it is a
    record whose follower is known here.
    """

    changed: bool = False
    words: str | None = None
    older: bool = False


class _Older(Invalid):
    """A record of a smaller serial than one that was seen."""


@dataclass
class Snapshot:
    """What is kept on disk: envelopes, which are verified again when they are read.

    `floors` are the newest serials ever seen. `applied` has the envelope in force where that is not
    the newest one, None if none is. `moved` has the key of each host that has renewed it.
    """

    mesh: str
    list: bytes | None = None
    floors: dict[str, Listed] = field(default_factory=dict)
    held: dict[str, bytes] = field(default_factory=dict)
    applied: dict[str, bytes | None] = field(default_factory=dict)
    moved: dict[str, Key] = field(default_factory=dict)


class Book:
    """What one host believes of its mesh.

    :param mesh: its name.
    :param trusted: the admins' keys of its file.
    """

    def __init__(self, mesh: str, trusted: Sequence[Key]) -> None:
        self.mesh = mesh
        self._seals = Seals(trusted)
        self.list: MeshList | None = None
        self._list_raw: bytes | None = None
        self._floors: dict[str, Listed] = {}
        self._held: dict[str, Held] = {}
        self._applied: dict[str, Held] = {}
        self._claims = Claims()
        #: Names whose newest record claims what others have: why.
        self.contested: dict[str, str] = {}
        self.refusals = Ignored()
        #: Hosts that have used their new key, and it (rule 5).
        self.moved: dict[str, Key] = {}

    # -- what is believed ----------------------------------------------------------------------

    @property
    def records(self) -> Mapping[str, Record]:
        """The records in force of all present hosts, by name."""
        return {name: held.record for name, held in sorted(self._applied.items())}

    def held(self, name: str) -> Held | None:
        """The newest record of a host, in force or not, or one that revokes it."""
        return self._held.get(name)

    def applied(self, name: str) -> Held | None:
        """The record in force of a present host."""
        return self._applied.get(name)

    def is_revoked(self, name: str) -> bool:
        """Whether the newest record of a host, or the list, says that it is gone."""
        held = self._held.get(name)
        floor = self._floors.get(name)
        if held is None or floor is None or held.record.serial < floor.serial:
            return floor.revoked if floor is not None else held is not None and _gone(held)
        # Of one serial, what revokes wins, in whatever order the store shows them.
        return _gone(held) or (held.record.serial == floor.serial and floor.revoked)

    def revoked_keys(self) -> set[Key]:
        """Keys of hosts that are gone, which no present host has."""
        gone = {held.record.key for name, held in self._held.items() if self.is_revoked(name)}
        return gone - {k for r in self.records.values() for k in (r.key, r.previous)}

    def serial(self, name: str) -> int:
        """The newest serial of a host that was seen here, 0: none."""
        floor, held = self._floors.get(name), self._held.get(name)
        return max(floor.serial if floor else 0, held.record.serial if held else 0)

    def listed(self) -> dict[str, Listed]:
        """Every host that was ever seen, as a list has it."""
        names = sorted({*self._held, *self._floors})
        return {name: Listed(self.serial(name), self.is_revoked(name)) for name in names}

    def clash(self, record: Record) -> str | None:
        """What a record would claim of another host's, in words."""
        return self._claims.clash(record)

    def missing(self) -> dict[str, int]:
        """Hosts whose newest record, by the list, the store has not shown yet; its serial."""
        return {
            name: floor.serial
            for name, floor in sorted(self._floors.items())
            if not floor.revoked
            and (name not in self._held or self._held[name].record.serial < floor.serial)
        }

    @property
    def complete_list(self) -> int:
        """The serial of the list if all of its records are here (`Alive.list`), else 0."""
        return self.list.serial if self.list is not None and not self.missing() else 0

    def renewed(self, name: str, key: Key) -> bool:
        """A host's new key has shaken hands: bindings are its from now on, and its old key goes.

        Whether that is news.
        """
        held = self._applied.get(name)
        if held is None or held.record.previous is None or held.record.key != key:
            return False
        news = self.moved.get(name) != key
        self.moved[name] = key
        return news

    # -- what the store shows ------------------------------------------------------------------

    def take(self, key: str, raw: bytes) -> Verdict:
        """Look at a key of the store. Only lists and records are looked at here."""
        place = layout.split(key)
        if place is None or place.mesh != self.mesh:
            return Verdict(False, self._refuse(_shown(key), "has a name that is not of a mesh"))
        take: Callable[[str, bytes], bool]
        if place.kind == layout.NODES:
            take = self._take_node
        elif place.kind == layout.LISTS:
            take = self._take_list
        else:
            return Verdict()
        shown = f"{place.kind}/{place.name}"
        try:
            # What an editor adds is no news.
            changed = take(place.name, raw.removesuffix(b"\n"))
        except Invalid as invalid:
            words = self._refuse(shown, invalid.why, place.name)
            return Verdict(False, words, isinstance(invalid, _Older))
        self.refusals.drop(shown)
        words = self.contested.get(place.name) if changed and place.kind == layout.NODES else None
        return Verdict(changed, words and f"{shown} {words}: ignored")

    def take_all(self, items: Iterable[tuple[str, bytes]]) -> list[Verdict]:
        """Look at all that the store has under nodes/ and lists/; the verdicts that say something.

        The lists come first, then the records by name: hosts that see a conflict for the first
        time decide it in the same way.
        """
        found = sorted(items, key=lambda item: (f"/{layout.LISTS}/" not in item[0], item[0]))
        self.refusals.shown({_place(key) for key, _ in found})
        verdicts = [self.take(key, raw) for key, raw in found]
        shown = {key for key, _ in found}
        if self.list is not None and layout.mesh_list(self.mesh, self.list.serial) not in shown:
            what = f"list {self.list.serial}, which this host has seen, is gone from the store"
            verdicts.append(Verdict(False, f"{what}: nothing changes"))
        return [verdict for verdict in verdicts if verdict.changed or verdict.words]

    def take_envelope(self, raw: bytes) -> tuple[str, Verdict]:
        """Look at an envelope that did not come from the store; its place, and the verdict.

        :raises Invalid: it is neither a record nor a list of this mesh that an admin has signed.
        """
        sealed = self._seals.open(raw, LIST_MAX)
        try:
            key = layout.node(self.mesh, parse_record(sealed.record).name)
        except Invalid as no_record:
            try:
                key = layout.mesh_list(self.mesh, parse_list(sealed.record).serial)
            except Invalid:
                raise no_record from None
        place = layout.split(key)
        assert place is not None
        return f"{place.kind}/{place.name}", self.take(key, raw)

    def gone(self, key: str) -> None:
        """A key was deleted from the store: what is believed stays, what was ignored is gone."""
        self.refusals.drop(_place(key))

    def _refuse(self, shown: str, why: str, name: str = "") -> str | None:
        return self.refusals.add(shown, why, name in self._held or name in self._floors)

    def _take_list(self, digits: str, raw: bytes) -> bool:
        if raw == self._list_raw:
            return False
        sealed = self._seals.open(raw, LIST_MAX)
        found = parse_list(sealed.record)
        self._ours(found.mesh)
        if found.serial != int(digits):
            raise Invalid(f"is the list {found.serial}")
        if self.list is not None:
            if found.serial < self.list.serial:
                return False  # Admins leave some old ones.
            if found.serial == self.list.serial and found != self.list:
                raise Invalid("is another list of a serial that this host has seen")
        self.list, self._list_raw = found, raw
        for name, entry in found.hosts.items():
            newest, revokes = self.serial(name), entry.revoked and not self.is_revoked(name)
            if entry.serial > newest or (entry.serial == newest and revokes):
                # An older record that is in force stays, and one that is not never will be.
                self._floors[name] = entry
                self.contested.pop(name, None)
            if self.is_revoked(name):
                self._leave(name)
        return True

    def _ours(self, mesh: str) -> None:
        if mesh != self.mesh:
            raise Invalid(f"is of the mesh {mesh}")

    def _take_node(self, name: str, raw: bytes) -> bool:
        held = self._held.get(name)
        if held is not None and held.raw == raw:
            return False
        sealed = self._seals.open(raw)
        record = parse_record(sealed.record)
        self._ours(record.mesh)
        if record.name != name:
            raise Invalid(f"is the record of {record.name}")
        floor = self._floors.get(name)
        if record.serial < self.serial(name):
            raise _Older(
                f"has the serial {record.serial}, and this host has seen {self.serial(name)}"
            )
        if floor is not None and record.serial == floor.serial and record.present and floor.revoked:
            raise Invalid(f"has the serial {record.serial}, of which the list says otherwise")
        new = Held(record, raw, sealed.signer)
        if held is not None and held.record == record:
            if self._applied.get(name) == held:  # the same, signed by another admin
                self._applied[name] = new
            self._held[name] = new
            return True
        same = held is not None and held.record.serial == record.serial
        if same and (record.present or self.is_revoked(name)):
            raise Invalid(f"is another record of the serial {record.serial}")
        self._held[name] = new
        self._settle(name)
        return True

    # -- who has what --------------------------------------------------------------------------

    def _leave(self, name: str) -> None:
        """The host is gone: others may have what it claimed."""
        self.contested.pop(name, None)
        self.moved.pop(name, None)
        if self._applied.pop(name, None) is not None:
            self._claims.release(name)
            self._retry()

    def _settle(self, name: str) -> None:
        """Put the newest record of a host in force, unless it claims what others have."""
        held = self._held[name]
        if not held.record.present:
            self._leave(name)
            return
        if self._apply(held):
            self._retry()

    def _apply(self, held: Held) -> bool:
        clash = self._claims.clash(held.record)
        if clash is not None:
            self.contested[held.record.name] = clash
            return False
        self.contested.pop(held.record.name, None)
        self._claims.give(held.record)
        self._applied[held.record.name] = held
        if self.moved.get(held.record.name) not in (None, held.record.key):
            del self.moved[held.record.name]
        return True

    def _retry(self) -> None:
        """Something is free again: look at those who have claimed what others had."""
        while any(self._apply(self._held[name]) for name in sorted(self.contested)):
            pass

    # -- disk ----------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """What is to be kept."""
        applied = {
            name: None if name not in self._applied else self._applied[name].raw
            for name, held in self._held.items()
            if held.record.present and self._applied.get(name) != held
        }
        raws = {name: held.raw for name, held in self._held.items()}
        return Snapshot(self.mesh, self._list_raw, self.listed(), raws, applied, dict(self.moved))

    @classmethod
    def restore(cls, kept: Snapshot, trusted: Sequence[Key]) -> tuple[Book, list[str]]:
        """The book as it was, and a line for each thing that is believed no more.

        What was in force is in force again, whatever others claim; what a key has signed that is
        trusted no more is left out.
        """
        book = cls(kept.mesh, trusted)
        lost: list[str] = []
        if kept.list is not None:
            try:
                sealed = book._seals.open(kept.list, LIST_MAX)
                book.list, book._list_raw = parse_list(sealed.record), kept.list
                book._ours(book.list.mesh)
            except Invalid as invalid:
                book.list = book._list_raw = None
                lost.append(f"the list on disk {invalid.why}: forgotten")
        opened: dict[str, Held] = {}
        for name, raw in sorted(kept.held.items()):
            held = book._reopen(name, raw, lost)
            if held is not None:
                opened[name] = held
        for name in sorted({*opened, *kept.applied}):
            raw_in_force = kept.applied.get(name, kept.held.get(name))
            in_force = opened.get(name)
            if raw_in_force is None:
                continue
            if name in kept.applied:
                in_force = book._reopen(name, raw_in_force, lost)
            if in_force is not None and in_force.record.present:
                book._apply(in_force)
        book._floors = dict(kept.floors)
        book.contested.clear()
        for name, held in opened.items():
            book._held[name] = held
            if book._applied.get(name) != held and held.record.serial >= book.serial(name):
                book._settle(name)
        for name in kept.floors:
            if book.is_revoked(name):
                book._leave(name)
        for name, key in kept.moved.items():
            if name in book._applied and book._applied[name].record.key == key:
                book.moved[name] = key
        return book, lost

    def _reopen(self, name: str, raw: bytes, lost: list[str]) -> Held | None:
        try:
            sealed = self._seals.open(raw)
            record = parse_record(sealed.record)
            self._ours(record.mesh)
            if record.name != name:
                raise Invalid(f"is the record of {record.name}")
        except Invalid as invalid:
            lost.append(f"the record of {name} on disk {invalid.why}: forgotten")
            return None
        return Held(record, raw, sealed.signer)


def _gone(held: Held) -> bool:
    return not held.record.present


def _place(key: str) -> str:
    place = layout.split(key)
    return f"{place.kind}/{place.name}" if place else _shown(key)


def _shown(key: str) -> str:
    """A key of the store that anybody may have written, for people."""
    return without_keys(ascii(key)[1:-1])[:120]

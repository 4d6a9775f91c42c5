# SPDX-License-Identifier: GPL-2.0
"""An admin's desk: the mesh as the store shows it, his key, and what he has seen before.

The store is not trusted here either. What was signed once is remembered below
`$XDG_STATE_HOME/l2wg`, so that a store that was rolled back does not make him sign a serial twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..conf import files
from ..conf.meshvalues import mesh_name
from ..errors import L2wgError, Problem, ValueProblem, public
from ..model import Key, MeshOptions, SecretKey
from ..output import say
from . import keyfile, layout, memory, signing, witness
from .presence import Presence
from .record import SERIAL_MAX, Listed, MeshList, Record, parse_list, parse_record
from .store import Entry, Store
from .trust import Book, Held

#: Lists that are left in the store; agents need the newest, people may want to compare.
LISTS_LEFT = 8
#: Lines about what is ignored; whoever can write to the store can write a lot.
WORDS = 8
#: Times that a list is made anew because another admin was faster.
TRIES = 5


def load_options(mesh: str, path: str | None) -> tuple[MeshOptions, str]:
    """The `[Mesh]` section of the file of a mesh, and the file.

    :raises L2wgError: the name is not valid, the file cannot be read, or has no such section.
    """
    try:
        where = str(files.CONFIG_DIR / f"{mesh_name(mesh)}.conf")
    except ValueProblem as problem:
        raise L2wgError(f"name {problem.what}", problem.hint, "mesh") from None
    where = path or where
    config = files.load(where)
    say(config.warnings)
    if config.mesh is None:
        raise L2wgError("has no [Mesh] section", "see l2wg.conf(5)", where)
    return config.mesh, where


def state_folder() -> Path:
    """Where an admin's memory is (XDG Base Directory Specification).

    :raises L2wgError: the user has no home.
    """
    home = os.environ.get("XDG_STATE_HOME")
    try:
        return Path(home or Path.home() / ".local/state") / "l2wg"
    except RuntimeError:  # neither HOME nor an entry in passwd
        what = "nobody knows this user's home, where the admin's memory is kept"
        raise L2wgError(what, "set XDG_STATE_HOME", "mesh") from None


class Desk:
    """An admin at work.

    :param where: names the command in errors.
    :param secret: his key; its public half is one of `trusted`.
    """

    def __init__(
        self, mesh: str, trusted: tuple[Key, ...], store: Store, secret: SecretKey, where: str
    ) -> None:
        self.mesh = mesh
        self.where = where
        self.store = store
        self.secret = secret
        self._trusted = trusted
        self._memory = memory.file_of(mesh, state_folder())
        #: What the store has, as it was read.
        self.entries: dict[str, Entry] = {}
        self.book = Book(mesh, trusted)
        self.requests: dict[str, bytes] = {}
        #: Hosts whose word about what they have seen does not count.
        self.unheard: frozenset[str] = frozenset()
        self._signs = Presence(mesh)

    def look(self, rolled_back: bool = False) -> None:
        """Read the store.

        :param rolled_back: whether it may lack what was there before.
        :raises L2wgError: it may not, and does, or hosts have seen newer; or the memory is damaged.
        """
        # First: what an admin signs between this and the records must not look like news.
        signs = self.store.list(layout.prefix(self.mesh, layout.ALIVE)).entries
        self._signs.replace(
            {place.name: entry.value for entry in signs if (place := layout.split(entry.key))}
        )
        kept = memory.load(self._memory, self.mesh)
        lost: list[str] = []
        if kept is not None:
            self.book, lost = Book.restore(kept, self._trusted)
        entries = [
            entry
            for kind in (layout.NODES, layout.LISTS, layout.REQUESTS)
            for entry in self.store.list(layout.prefix(self.mesh, kind)).entries
        ]
        self.entries = {entry.key: entry for entry in entries}
        self.requests = {
            place.name: entry.value
            for entry in entries
            if (place := layout.split(entry.key)) and place.kind == layout.REQUESTS
        }
        verdicts = self.book.take_all((entry.key, entry.value) for entry in entries)
        newest = self.book.list
        if newest is not None and not rolled_back and not self._shows_list(newest.serial):
            raise L2wgError(
                f"the store has gone back: you have seen list {newest.serial}, and it is not there",
                f"restore it, or: l2wgctl mesh resign --key FILE {self.mesh}",
                self.where,
            )
        if not rolled_back:
            self.compare()
        words = [*lost, *(verdict.words for verdict in verdicts if verdict.words)]
        say(Problem(self.where, line, None, True) for line in words[:WORDS])
        if len(words) > WORDS:
            more = f"{len(words) - WORDS} more are ignored"
            hint = f"l2wgctl mesh status {self.mesh}, on a host, says which"
            say([Problem(self.where, more, hint, True)])

    def _shows_list(self, serial: int) -> bool:
        """Whether the newest list that was ever seen is in the store."""
        key = layout.mesh_list(self.mesh, serial)
        refused = {place for place, _ in self.book.refusals}
        return key in self.entries and f"lists/{key.rpartition('/')[2]}" not in refused

    def shows(self, name: str) -> bool:
        """Whether the store has the newest record of a host that was ever seen."""
        held, entry = self.book.held(name), self.entries.get(layout.node(self.mesh, name))
        return held is not None and entry is not None and entry.value == held.raw

    def take(self, path: str, envelopes: Iterable[bytes]) -> None:
        """Believe what the store may have lost; what is older than what was seen says nothing.

        :param path: the file that has it, for errors.
        :raises L2wgError: an envelope is not one of this mesh that a trusted key has signed.
        """
        for number, raw in enumerate(envelopes, 1):
            try:
                self.book.take_envelope(raw)
            except signing.Invalid as invalid:
                raise L2wgError(invalid.why, None, f"{path}:{number}") from None

    def in_use(self, name: str) -> Key | None:
        """The key that a host says that it uses, if it does and has signed that."""
        held = self.book.held(name)
        alive = None if held is None else self._signs.of(held.record)
        return None if alive is None else alive.key

    def compare(self, *asked: Record) -> None:
        """See that no host has seen a newer list or record than the store shows.

        :param asked: look at these hosts only, whose host keys the admin has just confirmed.
        :raises L2wgError: one says so, and its word counts: what is signed now would be void.
        """
        found = witness.newer(self.book, self._signs, asked or witness.members(self.book))
        witness.refuse(found, self.unheard, self.where)

    # -- writing -------------------------------------------------------------------------------

    def _put(self, key: str, value: bytes) -> bool:
        before = self.entries.get(key)
        done = self.store.put_if(key, value, 0 if before is None else before.revision)
        if done is None:
            return False
        self.entries[key] = Entry(key, value, 0, done)
        self.book.take(key, value)
        return True

    def _readable(self, made: Record | MeshList, parse: Callable[[bytes], object]) -> None:
        """See that hosts can read what is about to be signed.

        :raises L2wgError: they cannot: whoever had a key has used up the serials, for example.
        """
        shown = f"the record of {made.name}" if isinstance(made, Record) else "the list"
        try:
            assert parse(made.canonical()) == made
        except signing.Invalid as invalid:
            hint = None
            if made.serial > SERIAL_MAX:
                hint = "somebody has used up the serials: docs/mesh.md, a key that was stolen"
            raise L2wgError(f"not signed: {shown} {invalid.why}", hint, self.where) from None

    def write(self, record: Record) -> None:
        """Sign a record and put it into the store.

        :raises L2wgError: somebody has changed it meanwhile; or it has a value that is not valid.
        """
        self._readable(record, parse_record)
        raw = signing.seal(record.canonical(), self.secret)
        if not self._put(layout.node(self.mesh, record.name), raw):
            what = f"somebody else has just written the record of {record.name}"
            raise L2wgError(what, "look again", self.where)
        # The list may fail, and the store be put back before the next time.
        self.remember()

    def write_list(self, more: dict[str, Listed] | None = None) -> int:
        """Sign a list of all hosts and put it into the store; its serial.

        :param more: hosts that are another in it than their records say.
        :raises L2wgError: others write lists all the time.
        """
        for _ in range(TRIES):
            hosts = {**self.book.listed(), **self._more(more or {})}
            serial = (self.book.list.serial if self.book.list is not None else 0) + 1
            made = MeshList(self.mesh, serial, dict(sorted(hosts.items())))
            self._readable(made, parse_list)
            if self._put(
                layout.mesh_list(self.mesh, serial), signing.seal(made.canonical(), self.secret)
            ):
                self._prune(serial)
                self.remember()
                return serial
            self._reread(layout.mesh_list(self.mesh, serial))
        raise L2wgError("others write lists all the time", "do it again", self.where)

    def _more(self, more: dict[str, Listed]) -> dict[str, Listed]:
        """What is still more than the records say: another admin may have gone on meanwhile."""
        found = {}
        for name, entry in more.items():
            serial, revoked = self.book.serial(name), self.book.is_revoked(name)
            if entry.serial > serial or (entry.revoked and not revoked and entry.serial == serial):
                found[name] = entry
        return found

    def _reread(self, key: str) -> None:
        """Somebody has been faster: take what is there now, and what has come with it."""
        for entry in self._now(key):
            self.entries[entry.key] = entry
            self.book.take(entry.key, entry.value)

    def _now(self, key: str) -> tuple[Entry, ...]:
        there = self.store.get(key)
        nodes = self.store.list(layout.prefix(self.mesh, layout.NODES)).entries
        return (*nodes, *((there,) if there is not None else ()))

    def _prune(self, newest: int) -> None:
        for key in sorted(self.entries):
            place = layout.split(key)
            if place and place.kind == layout.LISTS and place.serial <= newest - LISTS_LEFT:
                self.store.delete(key)
                del self.entries[key]

    def signed_by_others(self) -> Iterator[Held]:
        """What is believed, by name, because another key than this one has signed it."""
        own = signing.public_key(self.secret)
        for name in sorted(self.book.listed()):
            held = self.book.held(name)
            if held is not None and held.signer != own:
                yield held

    def sign_anew(self) -> tuple[int, int]:
        """Put everything into the store, signed with this key; how many records, which list."""
        own = signing.public_key(self.secret)
        count = 0
        for name in sorted(self.book.listed()):
            held = self.book.held(name)
            if held is None or (held.signer == own and self.shows(name)):
                continue
            self.write(held.record)
            count += 1
        return count, self.write_list()

    def remember(self) -> None:
        """Keep what was seen and signed; a warning if that cannot be written."""
        try:
            memory.save(self._memory, self.book.snapshot())
        except L2wgError as error:
            say(problem._replace(warning=True) for problem in error.problems)


def open_desk(
    mesh: str,
    path: str | None,
    key: str,
    where: str,
    opener: Callable[[MeshOptions, str], Store],
) -> Desk:
    """A desk for a command.

    :param path: the file of the mesh, if it is not the usual one.
    :param key: the file with the admin's key.
    :raises L2wgError: a file cannot be used, or the key is not trusted.
    """
    options, config = load_options(mesh, path)
    secret = keyfile.read(key)
    own = signing.public_key(secret)
    if own not in options.trusted_keys:
        raise L2wgError(
            f"the key {public(own)} is none of the TrustedKeys of {config}",
            "what it signs, no host believes; add it at every host first",
            key,
        )
    return Desk(mesh, options.trusted_keys, opener(options, config), secret, where)

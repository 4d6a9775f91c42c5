# SPDX-License-Identifier: GPL-2.0
"""What the agent of one host decides: events and the time in, changes out. Pure.

`l2wgctl.mesh.run` feeds it and does what it says. docs/mesh.md has the rules that it follows, by
their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Callable, NamedTuple

from ..errors import L2wgError, Problem, public
from ..keys import public_key
from ..model import Endpoint, Key, SecretKey
from ..switch import SwitchOptions
from . import layout
from .endpoints import UP, Endpoints
from .faults import Faults
from .kernel import Change, LinkNow, Remove, Replace, SetPeer, SetPrivateKey
from .messages import (
    Broken,
    Here,
    Imported,
    Lost,
    Message,
    Resolved,
    Signs,
    Stirred,
    Through,
    Told,
    Whole,
    Written,
)
from .places import Places
from .plan import KEEPALIVE, Plan, plan
from .presence import Presence
from .reconcile import reconcile
from .record import Alive, Record
from .signing import Invalid
from .store import Entry
from .trust import Book

#: Seconds that a host waits for the others before it uses its new key (rule 5).
PATIENCE = 60.0
#: Seconds between two full comparisons that nothing asks for.
LOOK = 300.0
#: Seconds between two looks that sessions and signs of life ask for: of many hosts they come in
#: swarms, and none is urgent.
REST = 1.0
#: Lines of the log in an hour about what is ignored: whoever writes to the store can write a lot.
LINES, HOUR = 300, 3600.0
#: Seconds until what a kernel has refused, or what could not be read or written, is tried again.
AGAIN = 10.0


def no_key() -> SecretKey | None:
    """There is no new key."""
    return None


class Me(NamedTuple):
    """This host: its mesh and name, the file's options of the link, and who is none of ours.

    `manual`: keys of the file's own `[Peer]` sections, which are left alone. `next_key` tells the
    new private key, if there is one that waits; it may raise L2wgError.
    """

    mesh: str
    name: str
    host: SwitchOptions = SwitchOptions()
    manual: frozenset[Key] = frozenset()
    next_key: Callable[[], SecretKey | None] = no_key


@dataclass
class Decision:
    """What to do now.

    `save`: the book has changed. `sign`: the sign of life says something else now, or nothing.
    """

    changes: list[Change] = field(default_factory=list)
    save: bool = False
    sign: bool = False
    names: frozenset[Endpoint] = frozenset()
    switched: bool = False


class Agent:
    """The state of one host's agent.

    :param say: takes a line for the log.
    """

    def __init__(self, me: Me, book: Book, say: Callable[[str], None]) -> None:
        self.me = me
        self.book = book
        self.presence = Presence(me.mesh)
        #: The number of the last sign of life, also of an earlier run.
        self.sequence = 0
        self.faults = Faults(say)
        self.plan: Plan | None = None
        self.in_touch = False
        #: What is to be decided does not wait for what may come together with it.
        self.hurry = False
        self._say = say
        self._endpoints = Endpoints()
        self._places = Places()
        self._dirty = True
        self._lazy = False
        self._save = False
        self._said: tuple[object, ...] = ()
        self._listed = False
        self._own_since: tuple[Key, float] | None = None
        self._looked = 0.0
        self._next = 0.0
        self._counted, self._ignored = 0.0, 0

    # -- what has happened -------------------------------------------------------------------------

    def take(self, message: Message) -> None:
        """Something has happened outside."""
        if isinstance(message, Told):
            self._told(message)
        elif isinstance(message, Whole):
            self._whole(message)
        elif isinstance(message, Signs):
            self.presence.replace(_signs(message.listing.entries))
            self._own_sign()
            self._lazy = True
        elif isinstance(message, Resolved):
            self._dirty |= self._places.learn(message.found)
        elif isinstance(message, Imported):
            self._imported(message)
        elif isinstance(message, Stirred):
            # What a new key sends before its handshake is seen here, is lost (rule 5).
            self.hurry = self.plan is not None and self.plan.renewing
            self._dirty |= self.hurry
            self._lazy = True
        elif isinstance(message, Through):
            self._fault("way", message.problem, "")
        elif isinstance(message, Broken):
            self._say(f"{message.problem}")
        elif isinstance(message, Lost):
            self._touch(False)
            self._fault("store", message.problem, "")
        elif isinstance(message, Here):
            self._touch(True)
            self._fault("store", None, "the store answers again")
        elif isinstance(message, Written):
            # While the store is away the watch says so, and once is enough.
            if message.problem is None or self.in_touch:
                over = "the sign of life is in the store again"
                self._fault("alive", message.problem, over)

    def _fault(self, about: str, problem: Problem | None, over: str) -> None:
        """What is wrong outside; the next report, soon, says it."""
        self._lazy |= self.faults.put(about, problem, over)

    def _touch(self, there: bool) -> None:
        """Whether the store is there; the next report says it."""
        self._lazy = self._lazy or there != self.in_touch
        self.in_touch = there

    def _whole(self, message: Whole) -> None:
        signs = layout.prefix(self.me.mesh, layout.ALIVE)
        entries = [e for e in message.listing.entries if not e.key.startswith(signs)]
        for verdict in self.book.take_all((e.key, e.value) for e in entries):
            self._verdict(verdict.changed, verdict.words)
        self.presence.replace(_signs(message.listing.entries))
        self._own_sign()
        self._dirty = self._listed = True

    def _own_sign(self) -> None:
        """If this host's sign was deleted, or replaced by a stranger, it is written anew."""
        # At the next look, and not at once: a thief may do it a thousand times a second.
        if self._said and self.alive(self.me.name) is None:
            self._said = ()

    def _told(self, message: Told) -> None:
        key, value, _ = message.change
        place = layout.split(key)
        self._lazy = True  # At the least the report says who is there, and what is ignored.
        if place is not None and place.kind == layout.ALIVE:
            if value is None:
                self.presence.gone(place.name)
            else:
                self.presence.put(place.name, value)
            if place.name == self.me.name:
                self._own_sign()
        elif value is None:
            self.book.gone(key)
        else:
            verdict = self.book.take(key, value)
            self._verdict(verdict.changed, verdict.words)

    def _imported(self, message: Imported) -> None:
        for raw in message.envelopes:
            try:
                place, verdict = self.book.take_envelope(raw)
            except Invalid as invalid:
                self._say(f"something imported {invalid.why}: ignored")
                continue
            if verdict.changed:
                self._say(f"{place} is imported")
            self._verdict(verdict.changed, verdict.words)

    def _verdict(self, changed: bool, words: str | None) -> None:
        if words:
            self._ignored += 1
            if self._ignored <= LINES:
                self._say(words)
            elif self._ignored == LINES + 1:
                self._say(f"more is ignored: 'l2wgctl mesh status {self.me.mesh}' shows what")
        if changed:
            self._dirty = self._save = True

    # -- what to do --------------------------------------------------------------------------------

    def due(self, now: float) -> float:
        """Seconds until `decide` is to be called, if nothing happens before; 0: now."""
        if self._dirty:
            return 0.0
        if self._lazy:
            return max(0.0, self._looked + REST - now)
        look = self._endpoints.next_look()
        times = [self._looked + LOOK, self._next, *([] if look is None else [look])]
        return max(0.0, min(times[:1] + [t for t in times[1:] if t > self._looked]) - now)

    def failed(self, problem: Problem, now: float) -> None:
        """The kernel has refused what was decided, or to be read: it is asked again later."""
        self.faults.put("kernel", problem, "")
        self._dirty = self._lazy = self.hurry = False
        self._looked = now
        self.again()

    def again(self) -> None:
        """Something could not be read or written: the next decision is not far."""
        at = self._looked + AGAIN
        if not self._looked < self._next < at:
            self._next = at

    def unsaved(self) -> None:
        """What is believed could not be written: the next decision says to save again."""
        self._save = True
        self.again()

    def kept(self, problem: Problem | None) -> None:
        """The new private key is in its file; with a problem it is not yet."""
        self.faults.put("key file", problem, "the new key is in its file")
        if problem is not None:
            self.again()

    def worked(self) -> None:
        """The kernel has done it."""
        self.faults.put("kernel", None, "the kernel takes the changes again")

    def decide(self, link: LinkNow, now: float) -> Decision:
        """What to do, with the link as it is."""
        self._dirty, self._lazy, self.hurry, self._looked, self._next = (
            False,
            False,
            False,
            now,
            0.0,
        )
        made = Decision()
        if now - self._counted >= HOUR:
            self._counted, self._ignored = now, 0
        self._see_new_keys(link)
        wanted = plan(
            self.book.records, self.me.name, frozenset(self.book.moved.values()), self.me.host
        )
        if self.book.is_revoked(self.me.name):
            # The others don't answer any more; what it still sends would start handshakes for ever.
            wanted = Plan()
        self.plan = wanted
        own = self.book.records.get(self.me.name)
        self._has_record(link, wanted is not None)
        if wanted is None:
            gone = self.book.revoked_keys() & link.peers.keys() - self.me.manual
            made.changes += [Remove(key) for key in sorted(gone)]
        else:
            peers, made.names = self._places.addressed(wanted.peers.values(), self.alive)
            wanted = replace(wanted, peers=peers)
            hints = self._endpoints.hints(wanted, link, now)
            made.changes += reconcile(link, wanted, hints, self.me.manual)
            # The module may have kept options of the new key; the next look sees to them.
            self._dirty = any(isinstance(change, Replace) for change in made.changes)
        if own is not None:
            self._own_key(own, link, now, made)
        made.sign = self._news(own, link)
        made.save, self._save = self._save, False
        return made

    def _has_record(self, link: LinkNow, has: bool) -> None:
        """Without a record of its own a host keeps the peers that it has; somebody must know."""
        what = (
            "no trusted key has signed its record: its peers stay, but for those that are revoked"
        )
        hint = "see TrustedKeys; l2wgctl mesh join, and have an admin sign it"
        bad = not has and bool(link.peers.keys() - self.me.manual)
        problem = Problem(self.me.name, what, hint) if bad else None
        self.faults.put("record", problem, "its record is signed with a trusted key again")

    def _see_new_keys(self, link: LinkNow) -> None:
        """Rule 5: the first handshake of a new key moves the bindings."""
        for name, record in self.book.records.items():
            peer = link.peers.get(record.key) if record.previous is not None else None
            if peer is not None and peer.session == UP and self.book.renewed(name, record.key):
                self._say(f"{name} uses its new key {record.key}")
                self._save = True

    # -- this host's own key and sign --------------------------------------------------------------

    def _own_key(self, own: Record, link: LinkNow, now: float, made: Decision) -> None:
        """Rule 5: change to the new key when all others know it, or after a minute."""
        if link.key == own.key:
            self._own_since = None
            self.faults.put("key", None, "the link has the key of its record")
            # Killed between link and file, or the file could not be written: once more.
            waiting = self._waiting_key()
            made.switched = waiting is not None and public_key(waiting) == own.key
            if waiting is None and "new key" not in self.faults.now:
                self.kept(None)  # somebody else may have put it there
            return
        secret = self._waiting_key()
        if secret is None or public_key(secret) != own.key:
            if link.key != own.previous:
                what = f"its record is of the key {public(own.key)}, and the link has "
                what += public(link.key)
                hint = f"l2wgctl mesh join, and have an admin sign {self.me.name} again"
                self.faults.put("key", Problem(self.me.name, what, hint), "")
            return
        if self._own_since is None or self._own_since[0] != own.key:
            self._own_since = own.key, now
        waits = self._own_since[1] + PATIENCE
        if link.key == own.previous and now < waits and not self._all_know(own):
            self._next = waits
            return
        made.changes.append(SetPrivateKey(secret))
        # A peer whose keepalive begins gets a packet at once, and so learns the new key.
        keys = [key for key, peer in link.peers.items() if peer.present and peer.endpoint]
        made.changes += [SetPeer(key, keepalive=KEEPALIVE) for key in keys]
        made.switched = True
        self._dirty = True
        self._say(f"the link has the new key {own.key}")

    def _waiting_key(self) -> SecretKey | None:
        try:
            secret = self.me.next_key()
        except L2wgError as error:
            self.faults.put("new key", error.problems[0], "")
            self.again()
            return None
        self.faults.put("new key", None, "the new key can be read again")
        return secret

    def _all_know(self, own: Record) -> bool:
        book = self.book
        if book.list is None or book.list.hosts.get(own.name, own).serial < own.serial:
            return False
        others = [self.alive(name) for name in book.records if name != own.name]
        return all(alive.list >= book.list.serial for alive in others if alive is not None)

    def alive(self, name: str) -> Alive | None:
        """The host's sign of life."""
        held = self.book.applied(name)
        return None if held is None else self.presence.of(held.record)

    def _news(self, own: Record | None, link: LinkNow) -> bool:
        # What the disk remembers is old: perhaps this host has been revoked since.
        if not self._listed:
            return False
        says: tuple[object, ...] = ()
        if own is not None and link.key is not None:
            says = (link.key, own.serial, self.book.complete_list)
        news, self._said = says != self._said, says
        return news

    def sign(self, milliseconds: int) -> Alive | None:
        """What this host says of itself now; None: nothing, it has no record in force.

        :param milliseconds: since 1970.
        """
        # In the thread that writes it: what is said may be taken back meanwhile.
        own, said = self.book.records.get(self.me.name), self._said
        if own is None or not said:
            return None
        mine = self.presence.of(own)
        before = max(self.sequence, mine.sequence if mine is not None else 0)
        self.sequence = max(milliseconds, before + 1)
        key, serial, newest = said
        assert isinstance(key, Key) and isinstance(serial, int) and isinstance(newest, int)
        return Alive(self.me.mesh, self.me.name, self.sequence, key, serial, newest)


def _signs(entries: Iterable[Entry]) -> dict[str, bytes]:
    found = {}
    for entry in entries:
        place = layout.split(entry.key)
        if place is not None and place.kind == layout.ALIVE:
            found[place.name] = entry.value
    return found

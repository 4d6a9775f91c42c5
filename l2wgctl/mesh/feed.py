# SPDX-License-Identifier: GPL-2.0
"""The agent's threads: they turn what happens outside into messages of one queue.

The store can be slow or away, and so can a name server. The thread that decides waits for neither.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from typing import Callable

from ..errors import L2wgError, Problem
from ..model import Endpoint
from . import layout
from .kernel import Kernel
from .messages import (
    Broken,
    Died,
    Here,
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
from .pace import Backoff, jittered
from .signing import LIST_MAX
from .store import Changed, Ended, Progress, Store

#: Seconds of a lease, and of the rest between two renewals of it.
LEASE, RENEW = 60, 20.0
#: A sign of life is written no more often than this, whatever changes.
REST = 60.0
#: Above so many hosts their signs of life are fetched every POLL seconds and not watched.
WATCHED, POLL = 100, 60.0
#: A watch that lasted so many seconds was none that fails again and again.
LASTS = 30.0
#: Messages that may wait to be decided about; until then no more is read of a watch.
WAITING = 64
#: Bytes of a value that are kept: one more than the longest that can be signed.
VALUE_MAX = LIST_MAX * 4 // 3 + 513
#: Names of endpoints are looked up anew after this; those that did not resolve, before.
NAMES = 60.0
#: Seconds that sessions are listened to at a time, and until it is tried again where that fails.
SESSIONS, DEAF = 30.0, 5.0
#: Whether the store is reached through the link is asked again after this.
WAY = 300.0

Open = Callable[[], Store]


class _Thread:
    def __init__(self, name: str, messages: queue.SimpleQueue[Message]) -> None:
        self._ending = threading.Event()
        self._messages = messages
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _live(self) -> None:
        try:
            self._run()
        except Exception:
            what = f"the thread '{self._thread.name}' has ended by a fault of this program"
            self._messages.put(Died(Problem("", what, "the lines above say where: report them")))
            raise

    def _run(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """End soon; the thread is not waited for, because the store may not answer."""
        self._ending.set()


class Watcher(_Thread):
    """Lists the mesh, watches it from there, and lists it anew when the watch ends."""

    def __init__(self, open_store: Open, mesh: str, messages: queue.SimpleQueue[Message]) -> None:
        super().__init__("store", messages)
        self._open = open_store
        self._prefix = layout.prefix(mesh)
        self._signs = layout.prefix(mesh, layout.ALIVE)
        # Behind `alive/` come `lists/` and `nodes/`, and then `requests/`, which are for admins.
        self._records = layout.prefix(mesh, layout.LISTS)
        self._end = layout.prefix(mesh, layout.REQUESTS)
        self._store: Store | None = None
        self._large = self._began = False

    def _run(self) -> None:
        # A store that is away, and one that takes each watch and ends it, are two things: after the
        # first, members that are restarted one by one must not find us asleep.
        away, brief = Backoff(), Backoff()
        while not self._ending.is_set():
            begin, self._began = time.monotonic(), False
            try:
                self._store = self._store or self._open()
                why: Problem | None = self._once(self._store)
            except L2wgError as error:
                why = error.problems[0]
            if self._ending.is_set():
                return
            lasted = self._began and time.monotonic() - begin >= LASTS
            if why is not None:
                self._messages.put(Broken(why) if lasted else Lost(why))
            if self._began:
                away.worked()
            if lasted:
                brief.worked()
            self._ending.wait((brief if self._began else away).failed())

    def _once(self, store: Store) -> Problem | None:
        """List and watch; why the watch has ended, if that is worth a line.

        :raises L2wgError: the store cannot be listed.
        """
        listing = store.list(self._prefix)
        nodes = layout.prefix(self._prefix.split("/")[2], layout.NODES)
        self._large = sum(e.key.startswith(nodes) for e in listing.entries) > WATCHED
        self._messages.put(Whole(listing))
        poller = None
        if self._large:
            watch = store.watch(self._records, listing.revision + 1, self._end)
            poller = Poller(self._open, self._signs, self._messages)
            poller.start()
        else:
            watch = store.watch(self._prefix, listing.revision + 1)
        try:
            for event in watch:
                if isinstance(event, Ended):
                    if event.why == "compacted":
                        return None
                    return Problem("", f"the watch ends: {event.detail}", "it is begun anew")
                self._began = True
                self._tell(event)
                if self._ending.is_set():
                    break
        finally:
            if poller is not None:
                poller.stop()
        return None

    def _tell(self, event: Changed | Progress) -> None:
        """Put an event into the queue; not more of them, and not longer ones, than memory bears."""
        if isinstance(event, Progress):
            self._messages.put(Here())
        else:
            value = event.value
            kept = event if value is None else event._replace(value=value[:VALUE_MAX])
            self._messages.put(Told(kept))
        while self._messages.qsize() >= WAITING and not self._ending.wait(0.01):
            pass

    def stop(self) -> None:
        """End, also a watch that is silent."""
        super().stop()
        if self._store is not None:
            self._store.cancel()


class Poller(_Thread):
    """Fetches the signs of life from time to time, where they are too many to be watched."""

    def __init__(self, open_store: Open, prefix: str, messages: queue.SimpleQueue[Message]) -> None:
        super().__init__("signs", messages)
        self._open = open_store
        self._prefix = prefix

    def _run(self) -> None:
        store: Store | None = None
        while not self._ending.wait(jittered(POLL)):
            try:
                store = store or self._open()
                self._messages.put(Signs(store.list(self._prefix)))
            except L2wgError:
                pass  # the watch says that the store is away, and it says it once
        if store is not None:
            store.close()


class Beat(_Thread):
    """Keeps this host's sign of life in the store, under a lease."""

    def __init__(self, open_store: Open, key: str, messages: queue.SimpleQueue[Message]) -> None:
        super().__init__("alive", messages)
        self._open = open_store
        self._key = key
        self._make: Callable[[], bytes | None] | None = None
        self._news = False
        self._poke = threading.Event()
        self._store: Store | None = None
        self._lease = 0
        self._written = -REST

    def write(self, make: Callable[[], bytes | None]) -> None:
        """Let the sign be what `make` makes, soon; it is made when it is written.

        :param make: its None is that this host says nothing any more: the sign is taken back.
        """
        self._make, self._news = make, True
        self._poke.set()

    def _run(self) -> None:
        backoff = Backoff()
        renewal = 0.0
        pause: float | None = None
        while True:
            self._poke.wait(pause)
            self._poke.clear()
            if self._ending.is_set():
                self._end()
                return
            if self._make is None:
                continue
            now = time.monotonic()
            write = self._news and now - self._written >= REST
            if write or now >= renewal:
                try:
                    self._beat(self._make, write, now)
                    backoff.worked()
                    self._messages.put(Written(None))
                    renewal = now + jittered(RENEW)
                except L2wgError as error:
                    self._messages.put(Written(error.problems[0]))
                    renewal = now + backoff.failed()
                    # What is news is not lost, and waits for the store as well.
                    pause = renewal - now
                    continue
            due = min(renewal, self._written + REST) if self._news else renewal
            pause = max(0.0, due - time.monotonic())

    def _beat(self, make: Callable[[], bytes | None], write: bool, now: float) -> None:
        """Renew the lease; write the sign if it is news, or has ended with its lease."""
        store = self._store = self._store or self._open()
        if self._lease and not store.keepalive(self._lease):
            self._lease = 0
        if self._lease and not write:
            return
        # What changes from here on is news again.
        self._news = False
        sign = make()
        try:
            if sign is not None:
                self._lease = self._lease or store.grant(LEASE)
                store.put(self._key, sign, self._lease)
                self._written = now
            elif self._lease:
                store.revoke(self._lease)
                self._lease = 0
        except L2wgError:
            self._news = True
            raise

    def _end(self) -> None:
        try:
            if self._store is not None and self._lease:
                self._store.revoke(self._lease)
        except L2wgError:
            pass  # it ends by itself

    def stop(self) -> None:
        """End, and the sign with it if the store answers soon."""
        super().stop()
        self._poke.set()
        self._thread.join(2)


class Stir(_Thread):
    """Says when a session of the switch changes, or may have changed unheard."""

    def __init__(self, kernel: Kernel, messages: queue.SimpleQueue[Message]) -> None:
        super().__init__("kernel", messages)
        self._kernel = kernel

    def _run(self) -> None:
        listens = False
        while not self._ending.is_set():
            try:
                # What has changed before it listened, the link tells now: that is worth a look.
                if self._kernel.wait(SESSIONS if listens else 0) or not listens:
                    listens = True
                    self._messages.put(Stirred())
                    # A mesh that comes up has hundreds of these in a second; one look sees all.
                    self._ending.wait(0.2)
            except L2wgError:
                listens = False
                self._ending.wait(DEAF)


class Names(_Thread):
    """Looks up the names in endpoints, and again from time to time."""

    def __init__(
        self,
        look_up: Callable[[Endpoint], Sequence[Endpoint]],
        messages: queue.SimpleQueue[Message],
    ) -> None:
        super().__init__("names", messages)
        self._look_up = look_up
        self._wanted: frozenset[Endpoint] = frozenset()
        self._news = threading.Event()

    def want(self, names: frozenset[Endpoint]) -> None:
        """Look these up from now on."""
        if names != self._wanted:
            self._wanted = names
            self._news.set()

    def _run(self) -> None:
        backoff, failed, pause, anew = Backoff(), set[Endpoint](), 0.0, 0.0
        while not self._ending.is_set():
            if self._news.wait(pause):
                self._news.clear()
                backoff.worked()
                anew = 0.0
            if time.monotonic() < anew:
                failed = {name for name in failed if not self._found(name)}
            else:
                failed = {name for name in self._wanted if not self._found(name)}
                anew = time.monotonic() + jittered(NAMES)
            if not failed:
                backoff.worked()
            pause = max(0.0, anew - time.monotonic())
            pause = min(pause, backoff.failed()) if failed else pause

    def _found(self, name: Endpoint) -> bool:
        """Look a name up and tell; each by itself, so that a slow one holds back no other."""
        try:
            found = tuple(self._look_up(name))
        except (OSError, UnicodeError):
            return False  # what it was before goes on to hold
        self._messages.put(Resolved({name: found}))
        return True

    def stop(self) -> None:
        """End."""
        super().stop()
        self._news.set()


class Way(_Thread):
    """Finds out whether the store is reached through the link.

    It asks a name server, which may not answer for minutes, or not before the mesh is up.
    """

    def __init__(
        self, look: Callable[[], Problem | None], messages: queue.SimpleQueue[Message]
    ) -> None:
        super().__init__("way", messages)
        self._look = look

    def _run(self) -> None:
        while not self._ending.is_set():
            problem = self._look()
            if problem is not None:
                # It holds until the files or the names are others; once is enough.
                self._messages.put(Through(problem))
                return
            self._ending.wait(jittered(WAY))

# SPDX-License-Identifier: GPL-2.0
"""What the threads of an agent bear from a store: streams without end, and such as end at once."""

from __future__ import annotations

import errno
import queue
import threading
from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace

import pytest

from l2wgctl.errors import KernelError
from l2wgctl.mesh import feed, layout
from l2wgctl.mesh.feed import VALUE_MAX, WAITING, Beat, Names, Stir, Watcher
from l2wgctl.mesh.messages import Message, Resolved, Stirred, Told, Written
from l2wgctl.mesh.seals import Seals
from l2wgctl.mesh.signing import LIST_MAX, Invalid
from l2wgctl.mesh.store import Changed, Ended, Event, Listing, Progress, Unreachable
from l2wgctl.model import Endpoint
from tests.support.memory_store import MemoryStore
from toolkit.bench.mesh_hosts import MESH, Admin, FakeKernel

JUNK = layout.prefix(MESH, layout.NODES) + "junk"


class Endless(MemoryStore):
    """Tells changes for as long as somebody listens."""

    told = 0

    def watch(self, prefix: str, revision: int, end: str | None = None) -> Iterator[Event]:
        for number in count():
            self.told = number
            yield Changed(JUNK, b"x" * (2 * VALUE_MAX), number)


def test_a_store_without_end_does_not_fill_the_memory() -> None:
    store, messages = Endless(), queue.SimpleQueue[Message]()
    watcher = Watcher(lambda: store, MESH, messages)
    watcher.start()
    while messages.qsize() < WAITING:
        pass
    before = store.told
    assert not watcher._ending.wait(0.2)
    assert store.told == before and messages.qsize() == WAITING
    # what is taken makes room
    for _ in range(WAITING):
        message = messages.get(timeout=60)
    assert isinstance(message, Told) and message.change.value is not None
    with pytest.raises(Invalid, match=f"is longer than {LIST_MAX} bytes"):
        Seals([Admin().public]).open(message.change.value, LIST_MAX)
    while messages.qsize() < WAITING:
        pass
    watcher.stop()
    watcher._thread.join(60)
    assert not watcher._thread.is_alive()


class Brief(MemoryStore):
    """Takes each watch, and ends it."""

    def watch(self, prefix: str, revision: int, end: str | None = None) -> Iterator[Event]:
        yield Progress(revision - 1)
        yield Ended("broken", "the connection is closed")


class Waits:
    """Notes for how long somebody waits, and ends him after some times."""

    def __init__(self, times: int) -> None:
        self.seconds: list[float] = []
        self._times = times

    def is_set(self) -> bool:
        return len(self.seconds) >= self._times

    def wait(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return self.is_set()


@pytest.mark.parametrize("lasts", [False, True])
def test_who_ends_each_watch_at_once_is_asked_less_and_less(
    monkeypatch: pytest.MonkeyPatch, lasts: bool
) -> None:
    if lasts:
        monkeypatch.setattr(feed, "LASTS", 0.0)
    watcher = Watcher(Brief, MESH, queue.SimpleQueue())
    watcher._ending = waits = Waits(5)  # type: ignore[assignment]
    watcher._run()
    steps = [1, 1, 1, 1, 1] if lasts else [1, 2, 4, 8, 16]
    assert all(step / 2 <= wait <= step for step, wait in zip(steps, waits.seconds)), waits.seconds


class Away(Brief):
    """Is away four times; then its members are restarted one by one."""

    tries = 0

    def list(self, prefix: str) -> Listing:
        self.tries += 1
        if self.tries <= 4:
            raise Unreachable("nobody listens there")
        return super().list(prefix)


def test_a_store_that_was_away_for_long_does_not_find_us_asleep() -> None:
    store = Away()
    watcher = Watcher(lambda: store, MESH, queue.SimpleQueue())
    watcher._ending = waits = Waits(7)  # type: ignore[assignment]
    watcher._run()
    steps = [1, 2, 4, 8, 1, 2, 4]
    assert all(step / 2 <= wait <= step for step, wait in zip(steps, waits.seconds)), waits.seconds


def test_a_sign_of_life_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2wgctl.mesh.feed.REST", 0.0)
    store, messages = MemoryStore(), queue.SimpleQueue[Message]()
    key = layout.alive(MESH, "a")
    beat = Beat(lambda: store, key, messages)
    beat.start()
    for sign in (b"a sign", None, b"another"):
        beat.write(lambda sign=sign: sign)  # type: ignore[misc]
        assert messages.get(timeout=60) == Written(None)
        assert (entry.value if (entry := store.get(key)) else None) == sign
    beat.stop()
    assert store.get(key) is None


def test_a_name_server_that_is_slow_holds_back_no_other_name() -> None:
    slow, quick = Endpoint("slow.example", 1), Endpoint("quick.example", 1)
    messages = queue.SimpleQueue[Message]()
    answers, looked = threading.Event(), []

    def look_up(name: Endpoint) -> list[Endpoint]:
        looked.append(name)
        if len(looked) == 2:
            answers.wait()
        return [name]

    names = Names(look_up, messages)
    names.want(frozenset({slow, quick}))
    names.start()
    first = messages.get(timeout=60)
    assert isinstance(first, Resolved) and [*first.found] == looked[:1]
    answers.set()
    second = messages.get(timeout=60)
    assert isinstance(second, Resolved) and [*second.found] == looked[1:]
    names.stop()


class Clocked:
    """Names that are looked up by a clock of its own, until an hour is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: Endpoint) -> None:
        self.now = 1000.0
        self.missing: set[Endpoint] = set()
        self.asked: dict[Endpoint, list[float]] = {}
        self.names = Names(self.look_up, queue.SimpleQueue[Message]())
        self.names.want(frozenset(names))
        self.later: list[tuple[float, frozenset[Endpoint]]] = []
        monkeypatch.setattr(feed, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(self.names._news, "wait", self.wait)

    def look_up(self, name: Endpoint) -> list[Endpoint]:
        self.asked.setdefault(name, []).append(self.now)
        if name in self.missing:
            raise OSError
        return [name]

    def wait(self, seconds: float) -> bool:
        until = self.now + seconds
        if self.later and self.later[0][0] <= until:
            until, wanted = self.later.pop(0)
            self.names.want(wanted)
        self.now = until
        if self.now > 1000 + 3600:
            self.names._ending.set()
        return self.names._news.is_set()

    def rests(self, name: Endpoint) -> list[float]:
        """Seconds between the looks at a name."""
        times = self.asked[name]
        return [later - sooner for sooner, later in zip(times, times[1:])]


def test_a_name_that_does_not_resolve_is_soon_looked_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name server may come up after the agent (rule 9). The others are as rare as ever."""
    good, dead, new = (Endpoint(f"{name}.example", 1) for name in ("good", "dead", "new"))
    clocked = Clocked(monkeypatch, good, dead)
    clocked.missing |= {dead, new}
    clocked.later.append((3000.0, frozenset({good, dead, new})))
    clocked.names._run()
    for name in (dead, new):
        rests = clocked.rests(name)
        assert 0.5 <= rests[0] <= 1 <= rests[1] <= 2 <= rests[2] <= 4 and max(rests) <= 30
    assert clocked.asked[new][0] == 3000
    usual = [rest for rest in clocked.rests(good) if rest >= feed.NAMES * 0.9]
    assert len(clocked.rests(good)) - len(usual) <= 1  # that for the new name


class Deaf(FakeKernel):
    """Fails to listen at first, and then again; nothing ever happens while it listens."""

    def __init__(self, *failures: bool) -> None:
        super().__init__(None)
        self.failures = iter(failures)

    def wait(self, seconds: float) -> bool:
        if next(self.failures, False):
            raise KernelError(errno.EMFILE, "too many open files")
        return super().wait(seconds)


@pytest.mark.parametrize("failures", [[], [True, False, True]])
def test_a_session_may_change_before_anybody_listens(
    monkeypatch: pytest.MonkeyPatch, failures: list[bool]
) -> None:
    """The first look at the link is before that, and so are the handshakes that it starts."""
    monkeypatch.setattr(feed, "DEAF", 0.01)
    monkeypatch.setattr(feed, "SESSIONS", 0.01)
    messages = queue.SimpleQueue[Message]()
    stir = Stir(Deaf(*failures), messages)
    stir.start()
    for _ in range(1 + len(failures) // 2):
        assert messages.get(timeout=60) == Stirred()
    stir.stop()
    stir._thread.join(60)
    assert not stir._thread.is_alive() and messages.empty()

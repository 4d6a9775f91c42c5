# SPDX-License-Identifier: GPL-2.0
"""`l2wgctl mesh run`: the agent of one host, in the foreground."""

from __future__ import annotations

import errno
import queue
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable, Protocol

from ..errors import PROG, KernelError, L2wgError, Problem
from ..model import Endpoint, SecretKey
from . import layout, signing
from .agent import Agent, Decision
from .feed import Beat, Names, Open, Stir, Watcher, Way
from .kernel import Kernel
from .messages import Died, Imported, Message
from .notify import notify
from .status import Report

#: Events come in bursts: what follows within this many seconds is decided together.
TOGETHER = 0.05
#: Seconds between two looks for what was imported.
IMPORTS = 10.0


class Keeper(Protocol):
    """Where the agent's memory is."""

    def save(self, agent: Agent) -> None:
        """Keep what the agent believes.

        :raises L2wgError: it cannot be written.
        """

    def signed(self, sequence: int) -> None:
        """A sign of life gets this number: the next ones are greater, whatever the clock says."""

    def imports(self) -> Sequence[bytes]:
        """Envelopes that somebody has laid ready; they stay until `imported`.

        :raises L2wgError: they cannot be read.
        """

    def imported(self) -> None:
        """What `imports` gave last is on the disk: it can go.

        :raises L2wgError: it cannot be removed.
        """

    def switched(self) -> None:
        """The link has the new private key: it is the one of the file from now on."""

    def report(self, report: Report) -> bool:
        """Leave a report for `status` and `metrics`; whether it is there."""


@dataclass
class Outside:
    """What the agent needs: kernel and store, its key for signs of life, and its memory.

    `through_the_link` says whether the store is reached through the link; it may take minutes.
    """

    kernel: Kernel
    open_store: Open
    host_key: SecretKey
    keeper: Keeper
    look_up: Callable[[Endpoint], Sequence[Endpoint]]
    stir: Kernel | None = None
    clock: Callable[[], float] = time.monotonic
    through_the_link: Callable[[], Problem | None] = lambda: None


class Runner:
    """Feeds the agent, and does what it says, until it is stopped."""

    def __init__(self, agent: Agent, outside: Outside) -> None:
        self.agent = agent
        self._outside = outside
        # A handler of signals puts into it, too: the lock of queue.Queue is not for that.
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._stopping = threading.Event()
        mesh = agent.me.mesh
        self._watcher = Watcher(outside.open_store, mesh, self._messages)
        key = layout.alive(mesh, agent.me.name)
        self._beat = Beat(outside.open_store, key, self._messages)
        self._names = Names(outside.look_up, self._messages)
        self._stir = None if outside.stir is None else Stir(outside.stir, self._messages)
        self._way = Way(outside.through_the_link, self._messages)
        self._told = ""
        self._next_import = 0.0
        self._imported = False
        self.decided = 0

    def run(self) -> None:
        """Work until `stop`.

        :raises KernelError: the link has gone.
        :raises L2wgError: a thread has ended by a fault of ours.
        """
        # What the disk remembers holds at once, be the store there or not (rule 4).
        self._imports()
        self._decide()
        notify(READY="1", STATUS="the switch is as the mesh was known last")
        threads = [self._watcher, self._beat, self._names, self._way]
        threads += [self._stir] if self._stir else []
        for thread in threads:
            thread.start()
        try:
            while not self._stopping.is_set():
                self._wait()
                if not self._stopping.is_set():
                    self._decide()
                    self._tell()
        finally:
            notify(STOPPING="1")
            for thread in threads:
                thread.stop()

    def stop(self) -> None:
        """End soon; for a signal, or another thread."""
        self._stopping.set()
        self._messages.put(_WAKE)

    def _wait(self) -> None:
        """Take what has happened until it is time to decide."""
        clock = self._outside.clock
        until: float | None = None
        while not self._stopping.is_set():
            now = clock()
            # However much a store has to say: what is imported may be against that very store.
            if now >= self._next_import and self._imports():
                return
            due = self.agent.due(now)
            if due <= 0:
                until = until or now + TOGETHER
                due = 0 if self.agent.hurry else until - now
                if due <= 0:
                    return
            try:
                message = self._messages.get(timeout=min(due, IMPORTS))
            except queue.Empty:
                if due <= IMPORTS:
                    return
                continue
            if isinstance(message, Died):
                raise L2wgError(message.problem.what, message.problem.hint, self.agent.me.mesh)
            if message is not _WAKE:
                self.agent.take(message)

    def _imports(self) -> bool:
        """Take what `mesh import` has laid ready; whether something is to be done or reported."""
        problem: Problem | None = None
        envelopes: tuple[bytes, ...] = ()
        self._next_import = self._outside.clock() + IMPORTS
        try:
            envelopes = tuple(self._outside.keeper.imports())
        except L2wgError as error:
            problem = error.problems[0]
        news = self.agent.faults.put("import", problem, "what is imported can be read again")
        if envelopes:
            self.agent.take(Imported(envelopes))
        self._imported |= bool(envelopes)
        return news or bool(envelopes)

    def _report(self) -> None:
        # For people; the next one may succeed.
        if not self._outside.keeper.report(Report.of(self.agent)):
            self.agent.again()

    def _tell(self) -> None:
        """Tell systemd the same as the report, and after it."""
        if not self.agent.in_touch and "store" not in self.agent.faults.now:
            return  # the store has not been asked yet
        state = "in touch with the store" if self.agent.in_touch else "the store is away"
        told = f"{state}; {len(self.agent.book.records)} hosts"
        if told != self._told:
            notify(STATUS=told)
            self._told = told

    def _decide(self) -> None:
        agent, outside = self.agent, self._outside
        now = outside.clock()
        try:
            link = outside.kernel.read()
        except KernelError as error:
            self._refused(error, now)
            self._report()
            return
        made = agent.decide(link, now)
        # Before it is done: what is seen later by nobody any more was seen here.
        self._save(made)
        try:
            if made.changes:
                outside.kernel.apply(made.changes)
            agent.worked()
        except KernelError as error:
            made.switched = False
            self._refused(error, now)
        self.decided += 1
        self._switch(made)
        self._names.want(made.names)
        if made.sign:
            self._beat.write(self._signed)
        self._report()

    def _refused(self, error: KernelError, now: float) -> None:
        """The kernel says no: try again later, unless there is no link any more."""
        if error.errno == errno.ENODEV:
            raise error
        self.agent.failed(error.problems[0], now)

    def _save(self, made: Decision) -> None:
        if not (made.save or self._imported):
            return
        problem: Problem | None = None
        try:
            if made.save:
                self._outside.keeper.save(self.agent)
            if self._imported:
                self._outside.keeper.imported()
            self._imported = False
        except L2wgError as error:
            problem = error.problems[0]
            self.agent.unsaved()
        self.agent.faults.put("disk", problem, "what is known can be written again")

    def _switch(self, made: Decision) -> None:
        if not made.switched:
            return
        problem: Problem | None = None
        try:
            self._outside.keeper.switched()
        except L2wgError as error:
            problem = error.problems[0]
        self.agent.kept(problem)

    def _signed(self) -> bytes | None:
        sign = self.agent.sign(int(time.time() * 1000))
        if sign is None:
            return None
        self._outside.keeper.signed(sign.sequence)
        return signing.seal(sign.canonical(), self._outside.host_key, with_key=True)


class _Wake:
    pass


_WAKE: Message = _Wake()  # type: ignore[assignment]


def stop_on_signals(runner: Runner) -> None:
    """Let SIGTERM and SIGINT end the agent."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())


def say(name: str) -> Callable[[str], None]:
    """Prints a line of the log to stderr, which is the journal under systemd."""
    import sys

    return lambda line: print(f"{PROG}: {name}: {line}", file=sys.stderr, flush=True)

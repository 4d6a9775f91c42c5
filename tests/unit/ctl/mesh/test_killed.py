# SPDX-License-Identifier: GPL-2.0
"""An agent that is killed between any two things that it does, and started again.

What it does is what others see: a change of the switch, a file. The scenario is run once for each
of these moments, and ends each time with the switch, the files and the memory of an agent that
nobody has killed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from l2wgctl.errors import L2wgError
from l2wgctl.mesh.agent import Agent
from l2wgctl.mesh.kernel import Change
from l2wgctl.mesh.messages import Stirred
from l2wgctl.mesh.run import Runner
from l2wgctl.mesh.trust import Book
from l2wgctl.model import SecretKey
from tests.unit.ctl.mesh.stage import told, whole
from toolkit.bench.mesh_hosts import Admin, FakeKernel, Memory, MeshHost


class Killed(BaseException):
    """SIGKILL: nobody catches it."""


class Life:
    """So many things are done; then comes the signal."""

    def __init__(self, left: int) -> None:
        self.left = left

    def step(self) -> None:
        if self.left == 0:
            self.left = -1
            raise Killed
        self.left -= self.left > 0


class MortalKernel(FakeKernel):
    def __init__(self, host: MeshHost, life: Life) -> None:
        super().__init__(host.key)
        self._life = life

    def apply(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._life.step()
            super().apply([change])


class MortalDisk(Memory):
    def __init__(self, life: Life) -> None:
        super().__init__()
        self._life = life
        #: The private key of the file.
        self.file: SecretKey | None = None

    def save(self, agent: Agent) -> None:
        self._life.step()
        super().save(agent)

    def imported(self) -> None:
        self._life.step()
        super().imported()

    def switched(self) -> None:
        """As daemon.Disk does it: one file, then the other."""
        self._life.step()
        self.file = self.next_key
        self._life.step()
        self.next_key = None


def no_store() -> object:
    raise L2wgError("nobody listens there")


class World:
    """A host whose agent dies once, and what the store has."""

    def __init__(self, moment: int) -> None:
        self.life = Life(moment)
        self.admin = Admin()
        self.me, *self.others = [MeshHost(n + 1, self.admin) for n in range(4)]
        self.me.kernel = MortalKernel(self.me, self.life)
        self.disk = self.me.memory = MortalDisk(self.life)
        self.store: dict[str, bytes] = {}
        self.deaths = 0
        self.wanted: SecretKey | None = None
        self.runner = self.start()

    def start(self) -> Runner:
        runner = self.me.runner_for(no_store)  # type: ignore[arg-type]
        runner._imports()
        return runner

    def tell(self, *items: tuple[str, bytes]) -> None:
        for item in items:
            self.store.update([item])
            self.runner.agent.take(told(item))
        self.settle()

    def settle(self) -> None:
        """Let it work until there is nothing to do; if it is killed, start it, and list."""
        for _ in range(12):
            try:
                self.runner._decide()
            except Killed:
                self.deaths += 1
                self.runner = self.start()
                self.runner.agent.take(whole(*self.store.items()))

    def renew(self, host: MeshHost) -> None:
        """A host gets a new key, whose first handshake comes."""
        self.tell(self.admin.sign(host.renewed()), self.admin.list())
        self.me.kernel.session(host.record.key, "up")
        self.runner.agent.take(Stirred())
        self.settle()

    def play(self) -> None:
        first, second, third = self.others
        hosts = (self.me, *self.others)
        self.tell(*(self.admin.sign(host.record) for host in hosts), self.admin.list())
        self.renew(first)
        # its own key
        record, self.wanted = self.me.renewed(), self.me.next_key
        self.tell(self.admin.sign(record), self.admin.list())
        # a MAC goes from one to another
        mac = second.record.macs
        second.record = replace(second.record, serial=2, macs=("02:aa:00:00:00:01",))
        third.record = replace(third.record, serial=2, macs=mac)
        self.tell(self.admin.sign(second.record), self.admin.sign(third.record))
        # a revocation that the store never shows
        gone = third.record.revoked()
        self.disk.inbox.append(self.admin.sign(gone)[1])
        self.runner._imports()
        self.settle()

    def check(self) -> None:
        first, second, _ = self.others
        assert self.disk.snapshot is not None and self.wanted is not None
        assert self.me.sees(first, second)
        assert self.me.kernel.now.key == self.me.record.key
        assert (self.disk.next_key, self.disk.file) == (None, self.wanted)
        assert self.disk.inbox == []
        book, _ = Book.restore(self.disk.snapshot, (self.admin.public,))
        assert book.is_revoked(self.others[2].name) and len(book.records) == 3
        assert book.moved[first.name] == first.record.key


def test_killed_at_any_moment() -> None:
    for moment in count():
        world = World(moment)
        world.play()
        world.check()
        if not world.deaths:
            break
    # so many moments there are; the last run was one in peace
    assert moment > 20

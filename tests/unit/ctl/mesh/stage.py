# SPDX-License-Identifier: GPL-2.0
"""One host of a mesh whose agent is asked, and others whose records are in its store."""

from __future__ import annotations

from l2wgctl.mesh import layout, signing
from l2wgctl.mesh.agent import Decision
from l2wgctl.mesh.messages import Told, Whole
from l2wgctl.mesh.record import Alive
from l2wgctl.mesh.store import Changed, Entry, Listing
from toolkit.bench.mesh_hosts import MESH, Admin, MeshHost


def whole(*items: tuple[str, bytes]) -> Whole:
    entries = [Entry(key, value, 1, n + 1) for n, (key, value) in enumerate(items)]
    return Whole(Listing(tuple(entries), len(entries)))


def told(item: tuple[str, bytes | None]) -> Told:
    return Told(Changed(*item, 100))


class Stage:
    """A host and others whose records are in the store, and a clock."""

    def __init__(self, others: int = 2) -> None:
        self.admin = Admin()
        self.hosts = [MeshHost(n + 1, self.admin) for n in range(others + 1)]
        self.me = self.hosts[0]
        self.others = self.hosts[1:]
        self.now = 0.0
        self.agent = self.me.agent()
        self.signs: dict[str, int] = {}

    def records(self) -> list[tuple[str, bytes]]:
        return [self.admin.sign(host.record) for host in self.hosts]

    def list_all(self) -> None:
        self.agent.take(whole(*self.records(), self.admin.list()))

    def sign_of_life(self, host: MeshHost, newest: int = 0) -> tuple[str, bytes]:
        sequence = self.signs[host.name] = self.signs.get(host.name, 0) + 1
        sign = Alive(MESH, host.name, sequence, host.key, host.record.serial, newest)
        raw = signing.seal(sign.canonical(), host.host_key, with_key=True)
        return layout.alive(MESH, host.name), raw

    def decide(self, seconds: float = 0) -> Decision:
        self.now += seconds
        made = self.agent.decide(self.me.kernel.read(), self.now)
        self.me.kernel.apply(made.changes)
        return made

    def settle(self) -> Stage:
        self.list_all()
        self.decide()
        assert self.me.sees(*self.others)
        assert self.decide().changes == []
        return self

    @property
    def log(self) -> list[str]:
        return self.me.log

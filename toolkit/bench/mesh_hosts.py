# SPDX-License-Identifier: GPL-2.0
"""Hosts of a mesh without kernels: real agents and records, and switches that are a dictionary."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from l2wgctl.keys import generate_private_key, public_key
from l2wgctl.mesh import layout, signing
from l2wgctl.mesh.agent import Agent, Me
from l2wgctl.mesh.kernel import Change, LinkNow, SetPrivateKey
from l2wgctl.mesh.reconcile import after
from l2wgctl.mesh.record import Listed, MeshList, Record
from l2wgctl.mesh.run import Outside, Runner
from l2wgctl.mesh.status import Report
from l2wgctl.mesh.store import Store
from l2wgctl.mesh.trust import Book, Snapshot
from l2wgctl.model import AllowedIP, Endpoint, Key, SecretKey

MESH = "office"


class FakeKernel:
    """A switch as the module keeps it, and a note of each change."""

    def __init__(self, key: Key | None) -> None:
        self.now = LinkNow(key, 51820)
        self.log: list[Change] = []
        self.refuses: Exception | None = None
        self.changed = threading.Condition()
        self._stirred = False

    def read(self) -> LinkNow:
        """The switch."""
        return self.now

    def apply(self, changes: Sequence[Change]) -> None:
        """Do the changes, unless it is to refuse."""
        with self.changed:
            for change in changes:
                if self.refuses is not None:
                    raise self.refuses
                if isinstance(change, SetPrivateKey):
                    self.now = self.now._replace(key=public_key(change.key))
                else:
                    self.now = after(self.now, change)
                self.log.append(change)
            self.changed.notify_all()

    def until(self, true: Callable[[LinkNow], bool], timeout: float = 120) -> None:
        """Wait until something is true of the switch."""
        with self.changed:
            assert self.changed.wait_for(lambda: true(self.now), timeout), self.now

    def session(self, key: Key, state: str, endpoint: Endpoint | None = None) -> None:
        """Let the session with a peer be in another state, and perhaps elsewhere."""
        with self.changed:
            peer = self.now.peers[key]
            peer = peer._replace(session=state, endpoint=endpoint or peer.endpoint)
            self.now = self.now._replace(peers={**self.now.peers, key: peer})
            self._stirred = True
            self.changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until `session` is called."""
        with self.changed:
            told = self.changed.wait_for(lambda: self._stirred, seconds)
            self._stirred = False
            return told

    def close(self) -> None:
        """Nothing is open."""


class Admin:
    """Somebody with a trusted key. `put` is where what he signs goes."""

    def __init__(self, mesh: str = MESH) -> None:
        self.mesh = mesh
        self.secret = signing.generate()
        self.public = signing.public_key(self.secret)
        self.hosts: dict[str, Record] = {}
        self.serial = 0

    def sign(self, record: Record) -> tuple[str, bytes]:
        """The record's key in the store and its envelope."""
        self.hosts[record.name] = record
        return layout.node(self.mesh, record.name), signing.seal(record.canonical(), self.secret)

    def list(self) -> tuple[str, bytes]:
        """A new list of all that was signed."""
        self.serial += 1
        hosts = {n: Listed(r.serial, not r.present) for n, r in self.hosts.items()}
        made = MeshList(self.mesh, self.serial, hosts)
        key = layout.mesh_list(self.mesh, self.serial)
        return key, signing.seal(made.canonical(), self.secret)


def mac(number: int) -> str:
    """A MAC address for a host by its number."""
    raw = number.to_bytes(5, "big").hex()
    return "02:" + ":".join(raw[n : n + 2] for n in range(0, 10, 2))


class Memory:
    """An agent's disk, in memory."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.report_: Report | None = None
        self.switches = 0
        self.sequence = 0
        self.inbox: list[bytes] = []
        self.next_key: SecretKey | None = None

    def save(self, agent: Agent) -> None:
        """Keep what it believes."""
        self.snapshot = agent.book.snapshot()

    def signed(self, sequence: int) -> None:
        """Keep the number."""
        self.sequence = sequence

    def imports(self) -> Sequence[bytes]:
        """What is in `inbox`."""
        return [*self.inbox]

    def imported(self) -> None:
        """Empty it."""
        self.inbox.clear()

    def switched(self) -> None:
        """Count it; the new key is the file's."""
        self.switches += 1
        self.next_key = None

    def report(self, report: Report) -> bool:
        """Keep the newest."""
        self.report_ = report
        return True


class MeshHost:
    """A host by its number: its keys, its record, its switch and its agent.

    :param number: 1 or more; its address, MAC and endpoint follow from it.
    """

    def __init__(self, number: int, admin: Admin, name: str = "") -> None:
        self.name = name or f"host-{number:04}"
        self.admin = admin
        self.secret = generate_private_key()
        self.key = public_key(self.secret)
        self.host_key = signing.generate()
        self.kernel = FakeKernel(self.key)
        self.memory = Memory()
        self.log: list[str] = []
        self.runner: Runner | None = None
        self._thread: threading.Thread | None = None
        address = ipaddress.ip_address(0x0A000000 + number)
        outer = Endpoint(str(ipaddress.ip_address(0xC6120000 + number)), 51820)
        self.record = Record(
            admin.mesh,
            self.name,
            self.key,
            signing.public_key(self.host_key),
            addresses=(AllowedIP(address.packed, 32),),
            macs=(mac(number),),
            endpoints=(outer,),
        )

    @property
    def next_key(self) -> SecretKey | None:
        """The new private key that waits for its record."""
        return self.memory.next_key

    @next_key.setter
    def next_key(self, key: SecretKey | None) -> None:
        self.memory.next_key = key

    def renewed(self) -> Record:
        """The record of a new key, whose private half waits here."""
        self.next_key = generate_private_key()
        new, old = public_key(self.next_key), self.record.key
        self.record = replace(self.record, key=new, previous=old, serial=self.record.serial + 1)
        return self.record

    def agent(self) -> Agent:
        """A new agent, with what its predecessor has left on disk."""
        book = Book(self.admin.mesh, (self.admin.public,))
        if self.memory.snapshot is not None:
            book, _ = Book.restore(self.memory.snapshot, (self.admin.public,))
        me = Me(self.admin.mesh, self.name, next_key=lambda: self.next_key)
        agent = Agent(me, book, self.log.append)
        agent.sequence = self.memory.sequence
        return agent

    def runner_for(self, open_store: Callable[[], Store]) -> Runner:
        """An agent that does not run yet."""
        outside = Outside(
            self.kernel,
            open_store,
            self.host_key,
            self.memory,
            lambda endpoint: [endpoint],
            self.kernel,
            time.monotonic,
        )
        return Runner(self.agent(), outside)

    def start(self, open_store: Callable[[], Store]) -> Runner:
        """Run an agent in a thread."""
        self.runner = self.runner_for(open_store)
        self._thread = threading.Thread(target=self.runner.run, name=self.name, daemon=True)
        self._thread.start()
        return self.runner

    def stop(self) -> None:
        """End the agent."""
        if self.runner is not None and self._thread is not None:
            self.runner.stop()
            self._thread.join(20)
            self.runner = None

    def sees(self, *others: MeshHost) -> bool:
        """Whether its switch has exactly these hosts, and what they have is bound to them."""
        peers = self.kernel.now.peers
        return set(peers) == {x.record.key for x in others} and all(
            peers[x.record.key].options.allowed_macs == x.record.macs for x in others
        )

    def until_sees(self, *others: MeshHost, timeout: float = 120) -> None:
        """Wait until its switch has exactly these hosts."""
        self.kernel.until(lambda _: self.sees(*others), timeout)

    def until_has_its_own(self, timeout: float = 120) -> None:
        """Wait until its switch keeps the MACs of its record for it."""
        macs = set(self.record.macs)
        self.kernel.until(lambda now: macs <= {*(now.options.host_macs or ())}, timeout)

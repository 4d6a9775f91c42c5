# SPDX-License-Identifier: GPL-2.0
"""The agent with its threads, with its disk, and with a real etcd."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from l2wgctl.errors import KernelError, L2wgError, Problem
from l2wgctl.mesh import layout, run
from l2wgctl.mesh.agent import AGAIN, Decision
from l2wgctl.mesh.etcd import Etcd
from l2wgctl.mesh.kernel import Change, LinkNow
from l2wgctl.mesh.messages import Message, Stirred
from l2wgctl.mesh.run import IMPORTS
from tests.unit.ctl.mesh.stage import Stage, told, whole
from toolkit.bench.mesh_hosts import MESH, Admin, FakeKernel, Memory, MeshHost
from toolkit.lab.etcd import Cluster


class Town:
    """Hosts with running agents, and an admin with a store."""

    def __init__(self, cluster: Cluster, count: int) -> None:
        self.cluster = cluster
        self.admin = Admin()
        self.hosts = [MeshHost(n + 1, self.admin) for n in range(count)]
        self.store = Etcd(cluster.clients)
        self.publish(*self.hosts)

    def publish(self, *hosts: MeshHost) -> None:
        for host in hosts:
            self.store.put(*self.admin.sign(host.record))
        self.store.put(*self.admin.list())

    def start(self, *hosts: MeshHost) -> None:
        for host in hosts or self.hosts:
            host.start(lambda: Etcd(self.cluster.clients, timeout=2))

    def all_see_all(self) -> None:
        for host in self.hosts:
            host.until_sees(*(x for x in self.hosts if x is not host))
            host.until_has_its_own()

    def stop(self) -> None:
        for host in self.hosts:
            host.stop()


@pytest.fixture
def town(three: Cluster) -> Iterator[Town]:
    made = Town(three, 4)
    yield made
    made.stop()


class TestWithEtcd:
    def test_faults_one_after_the_other(self, town: Town) -> None:
        """A member dies, all die and come back, records change meanwhile, compaction."""
        town.start()
        town.all_see_all()
        hosts, cluster = town.hosts, town.cluster
        until = [layout.alive(MESH, host.name) for host in hosts]
        while not all(town.store.get(key) for key in until):
            pass
        # a change is told to all
        hosts[0].record = replace(hosts[0].record, serial=2, macs=("02:aa:00:00:00:01",))
        town.publish(hosts[0])
        town.all_see_all()
        # one member dies
        cluster.kill(0)
        cluster.led(1, 2)
        hosts[0].record = replace(hosts[0].record, serial=3, macs=("02:aa:00:00:00:02",))
        town.publish(hosts[0])
        town.all_see_all()
        # all die: nothing changes; they come back, and what they tell is taken
        before = [len(host.kernel.log) for host in hosts]
        cluster.kill(1)
        cluster.kill(2)
        for host in hosts:
            host.stop()
        town.start()
        for host in hosts:
            assert host.runner
            while "store" not in host.runner.agent.faults.now:
                pass
        assert [len(host.kernel.log) for host in hosts] == before
        cluster.start(0, 1, 2)
        hosts[0].record = replace(hosts[0].record, serial=4, macs=("02:aa:00:00:00:03",))
        town.publish(hosts[0])
        revision = town.store.put(f"{layout.ROOT}{MESH}/junk", b"x")
        town.store._ask("kv/compaction", {"revision": str(revision)})
        town.all_see_all()
        # a session is told, and a forged record is not believed
        thief = Admin()
        town.store.put(*thief.sign(replace(hosts[1].record, serial=50)))
        town.publish(hosts[2])
        for host in hosts:
            said = [line for line in host.log if "not signed by a trusted key" in line]
            while not said:
                said = [line for line in host.log if "not signed by a trusted key" in line]
            assert len(said) == 1
        town.all_see_all()

    def test_a_key_is_renewed(self, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
        # nobody's sign of life may be written anew within its minute
        monkeypatch.setattr("l2wgctl.mesh.agent.PATIENCE", 2.0)
        town.start()
        town.all_see_all()
        host, others = town.hosts[0], town.hosts[1:]
        old = host.record.key
        host.renewed()
        town.publish(host)
        for other in others:
            other.kernel.until(lambda now: {old, host.record.key} <= set(now.peers))
        host.kernel.until(lambda now: now.key == host.record.key)
        for other in others:
            other.kernel.session(host.record.key, "up")
        town.all_see_all()
        assert host.memory.switches == 1

    def test_a_kernel_that_refuses_is_asked_again_and_a_link_that_is_gone_ends_it(
        self, town: Town
    ) -> None:
        host = town.hosts[0]
        host.kernel.refuses = KernelError(19, "no such link")
        with pytest.raises(KernelError):
            host.runner_for(lambda: Etcd(town.cluster.clients)).run()
        host.kernel.refuses = KernelError(1, "not permitted")
        runner = host.start(lambda: Etcd(town.cluster.clients))
        while "kernel" not in runner.agent.faults.now:
            pass
        host.kernel.refuses = None
        host.until_sees(*town.hosts[1:])


def test_a_thread_that_dies_ends_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look well, and hear nothing any more."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    stage = Stage()

    def opened() -> Etcd:
        raise ZeroDivisionError

    with pytest.raises(L2wgError, match="the thread 'store' has ended by a fault"):
        stage.me.runner_for(opened).run()


class _Ordered(FakeKernel):
    """Notes whether what is done was written before."""

    memory: Memory
    early = False

    def apply(self, changes: Sequence[Change]) -> None:
        self.early |= bool(changes) and self.memory.snapshot is None
        super().apply(changes)


def test_what_is_done_is_on_the_disk_before_and_a_full_disk_is_tried_again() -> None:
    stage = Stage()
    me = stage.me
    me.kernel = kernel = _Ordered(me.key)
    kernel.memory = me.memory

    def opened() -> Etcd:
        raise L2wgError("nobody listens there")

    runner = me.runner_for(opened)
    runner.agent.take(whole(*stage.records(), stage.admin.list()))
    save, full = me.memory.save, L2wgError("no space left on device")

    def fails(agent: object) -> None:
        raise full

    me.memory.save = fails  # type: ignore[method-assign]
    runner._decide()
    assert str(runner.agent.faults.now["disk"]) == str(full) and me.memory.snapshot is None
    assert 0 < runner.agent.due(runner._outside.clock()) <= AGAIN
    me.memory.save = save  # type: ignore[method-assign]
    runner._decide()
    assert me.memory.snapshot is not None and "disk" not in runner.agent.faults.now
    me.memory.snapshot, kernel.early = None, False
    runner.agent.take(told(stage.admin.sign(replace(stage.others[0].record, serial=2, max_macs=9))))
    runner._decide()
    assert me.memory.snapshot is not None and not kernel.early


class _Chatter:
    """A queue in which there is always something; each message takes a second."""

    def __init__(self) -> None:
        self.now = 1000.0

    def get(self, timeout: float) -> Message:
        self.now += min(1.0, timeout) if timeout < 0.1 else 1.0
        return told((layout.alive(MESH, "nobody"), b"junk"))


def test_what_is_imported_is_seen_while_the_store_talks_all_the_time() -> None:
    """It may be the revocation that this very store withholds."""
    stage = Stage().settle()
    runner = stage.me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
    runner.agent = stage.agent
    chatter = runner._messages = _Chatter()  # type: ignore[assignment]
    runner._outside.clock = lambda: chatter.now
    runner._decide()
    stage.me.memory.inbox.append(stage.admin.sign(stage.others[0].record.revoked())[1])
    for _ in range(20):
        runner._wait()
        runner._decide()
    assert stage.me.sees(*stage.others[1:]) and not stage.me.memory.inbox


def test_what_is_imported_stays_until_it_is_on_the_disk() -> None:
    stage = Stage().settle()
    me = stage.me
    runner = me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
    runner.agent = stage.agent
    me.memory.inbox.append(stage.admin.sign(stage.others[0].record.revoked())[1])
    save, full = me.memory.save, L2wgError("no space left on device")

    def fails(agent: object) -> None:
        raise full

    me.memory.save = fails  # type: ignore[method-assign]
    assert runner._imports()
    runner._decide()
    assert me.memory.inbox and me.sees(*stage.others[1:])
    me.memory.save = save  # type: ignore[method-assign]
    runner._decide()
    assert not me.memory.inbox and not runner.agent.faults.now


def test_a_kernel_that_cannot_be_read_is_in_the_report() -> None:
    stage = Stage()
    me = stage.me
    runner = me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))

    def read() -> LinkNow:
        raise KernelError(1, "not permitted")

    me.kernel.read = read  # type: ignore[method-assign]
    runner._decide()
    assert me.memory.report_ is not None and "kernel" in me.memory.report_.faults


def test_a_new_key_that_cannot_be_kept_is_tried_again_soon() -> None:
    stage = Stage().settle()
    me = stage.me
    runner = me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
    runner.agent = stage.agent
    full, kept = L2wgError("no space left on device"), me.memory.switched

    def fails() -> None:
        raise full

    me.memory.switched = fails  # type: ignore[method-assign]
    now = runner._outside.clock()
    runner.agent.decide(me.kernel.read(), now)
    runner._switch(Decision(switched=True))
    assert str(runner.agent.faults.now["key file"]) == str(full)
    assert runner.agent.due(now) == pytest.approx(AGAIN)
    me.memory.switched = kept  # type: ignore[method-assign]
    runner._switch(Decision(switched=True))
    assert not runner.agent.faults.now
    # or root puts it there
    me.memory.switched = fails  # type: ignore[method-assign]
    runner._switch(Decision(switched=True))
    assert runner.agent.faults.now and me.next_key is None
    runner._decide()
    assert not runner.agent.faults.now


def test_a_report_that_cannot_be_left_is_tried_again_soon() -> None:
    stage = Stage().settle()
    me = stage.me
    runner = me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
    me.memory.report = lambda report: False  # type: ignore[method-assign]
    runner._decide()
    assert 0 < runner.agent.due(runner._outside.clock()) <= AGAIN


def test_systemd_is_told_what_the_report_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for the one may look at the other."""
    stage = Stage().settle()
    me = stage.me
    me.memory.save(stage.agent)
    runner = me.runner_for(lambda: Etcd(["http://127.0.0.1:9"], timeout=1))
    told: list[str] = []

    def notified(STATUS: str = "", **_: str) -> None:
        if STATUS.startswith("the store is away"):
            assert me.memory.report_ is not None and "store" in me.memory.report_.faults
            told.append(STATUS)
            runner.stop()

    monkeypatch.setattr(run, "notify", notified)
    # a decision before the store was asked tells nothing
    runner._decide()
    runner._tell()
    assert told == []
    runner.run()
    assert told == ["the store is away; 3 hosts"]


class _Once:
    """A queue for which nobody may wait twice."""

    def __init__(self, *messages: Message) -> None:
        self.left = [*messages]

    def get(self, timeout: float) -> Message:
        return self.left.pop()


def test_what_cannot_be_imported_is_in_the_report_soon() -> None:
    stage = Stage().settle()
    me = stage.me
    runner = me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
    runner.agent = stage.agent
    runner._messages = _Once()  # type: ignore[assignment]
    now = 1000.0
    runner._outside.clock = lambda: now
    runner._decide()
    problem = L2wgError("permission denied", "run it as root")
    imports = me.memory.imports

    def fails() -> Sequence[bytes]:
        raise problem

    me.memory.imports = fails  # type: ignore[method-assign]
    runner._wait()
    runner._decide()
    assert me.memory.report_ is not None and "import" in me.memory.report_.faults
    now += IMPORTS
    me.memory.imports = imports  # type: ignore[method-assign]
    runner._wait()
    runner._decide()
    assert "import" not in me.memory.report_.faults


def test_a_new_key_that_shakes_hands_is_not_kept_waiting() -> None:
    """What it sends until its bindings have moved is lost (rule 5)."""
    stage = Stage().settle()
    other = stage.others[0]
    stage.agent.take(told(stage.admin.sign(other.renewed())))
    stage.decide()
    runner = stage.me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
    runner.agent = stage.agent
    runner._next_import = float("inf")
    stage.me.kernel.session(other.record.key, "up")
    runner._messages = _Once(Stirred())  # type: ignore[assignment]
    runner._wait()
    runner._decide()
    assert stage.me.sees(*stage.others)


def test_a_signal_may_come_at_any_moment() -> None:
    """Its handler puts a message: with queue.Queue it would wait for a lock of its own thread."""
    runner = Stage().me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
    assert isinstance(runner._messages, queue.SimpleQueue)


YEARS = 10 * 365 * 24 * 3600


@pytest.mark.parametrize("skew", [3600, YEARS, -3600, -YEARS, -time.time()])
def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch, skew: float) -> None:
    """Signs of life have the time for a number. A run with another clock must not make them old."""
    stage = Stage(1).settle()
    me, (other,) = stage.me, stage.others
    watching = other.agent()
    listing = whole(*stage.records(), stage.admin.list())
    watching.take(listing)
    place = layout.alive(MESH, me.name)
    now = time.time()

    def runs(wrong: float) -> None:
        """The host runs for a while and ends, and its sign ends with its lease."""
        runner = me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
        runner.agent.take(listing)
        runner._decide()
        monkeypatch.setattr(time, "time", lambda: now + wrong)
        raw = runner._signed()
        monkeypatch.undo()
        assert raw is not None
        watching.take(told((place, raw)))
        assert watching.alive(me.name) is not None, watching.presence.refused
        watching.take(told((place, None)))

    me.memory.save(stage.agent)
    for clock in (0, skew, 0, 60):
        runs(clock)


def test_a_name_server_that_does_not_answer_keeps_nobody_waiting() -> None:
    """The answer may come only when the mesh is up; what it says is told then."""
    stage = Stage().settle()
    me, answers, problem = stage.me, threading.Event(), Problem("", "through the mesh")
    me.memory.save(stage.agent)
    me.kernel = FakeKernel(me.key)
    runner = me.runner_for(lambda: Etcd(["http://127.0.0.1:9"], timeout=1))

    def asks() -> Problem:
        answers.wait()
        return problem

    runner._way._look = asks
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    me.kernel.until(lambda _: me.sees(*stage.others))
    assert "way" not in runner.agent.faults.now
    answers.set()
    while runner.agent.faults.now.get("way") != problem:
        assert thread.is_alive()
    runner.stop()
    thread.join(60)

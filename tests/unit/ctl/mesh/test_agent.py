# SPDX-License-Identifier: GPL-2.0
"""The agent's decisions, by the numbers of docs/mesh.md's rules; then with threads and an etcd."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from l2wgctl.errors import KernelError, L2wgError, Problem
from l2wgctl.mesh import layout, signing
from l2wgctl.mesh.agent import HOUR, LINES, LOOK, PATIENCE, REST, Decision
from l2wgctl.mesh.etcd import Etcd
from l2wgctl.mesh.feed import Broken, Here, Lost, Resolved, Signs, Stirred, Told, Whole, Written
from l2wgctl.mesh.kernel import Change, Remove, Replace, SetLink, SetOptions, SetPeer, SetPrivateKey
from l2wgctl.mesh.record import Alive
from l2wgctl.mesh.status import Report
from l2wgctl.mesh.store import Changed, Entry, Listing
from l2wgctl.model import Endpoint
from toolkit.bench.etcd import Cluster
from toolkit.bench.mesh_hosts import MESH, Admin, FakeKernel, Memory, MeshHost

TROUBLE = Problem("http://x", "does not answer", "is it up?")


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


def test_without_a_record_of_its_own_nothing_changes() -> None:
    stage = Stage()
    stage.agent.take(whole(*stage.records()[1:]))
    assert stage.decide().changes == []


@pytest.mark.parametrize("name", ["alive", "lists-2", "o-alive-o"])
def test_names_that_are_words_of_the_store(name: str) -> None:
    stage = Stage(0)
    stage.others = [MeshHost(7, stage.admin, name)]
    stage.hosts += stage.others
    stage.settle()


def test_the_link_and_options_come_before_peers() -> None:
    stage = Stage()
    stage.list_all()
    kinds = [type(change) for change in stage.decide().changes]
    assert kinds == [SetLink, SetOptions, SetOptions, SetPeer, SetPeer]
    assert stage.me.kernel.now.options.new_peers == "closed"
    for other in stage.others:
        assert stage.me.kernel.now.peers[other.key].endpoint == other.record.endpoints[0]


def test_rule_2_one_change_touches_one_peer() -> None:
    stage = Stage().settle()
    changed = replace(stage.others[0].record, serial=2, macs=("02:aa:aa:aa:aa:aa",))
    stage.agent.take(told(stage.admin.sign(changed)))
    assert [c.key for c in stage.decide().changes if isinstance(c, SetOptions)] == [changed.key]
    assert len(stage.me.kernel.log) == 6


def test_rule_3_a_live_session_keeps_what_it_has_learned() -> None:
    stage = Stage().settle()
    other = stage.others[0]
    roamed = Endpoint("203.0.113.9", 999)
    stage.me.kernel.session(other.key, "up", roamed)
    moved = replace(other.record, serial=2, endpoints=(Endpoint("192.0.2.77", 1),))
    stage.agent.take(told(stage.admin.sign(moved)))
    stage.decide()
    assert stage.me.kernel.now.peers[other.key].endpoint == roamed


def test_rule_3_names_are_resolved_elsewhere_and_tried_in_turn() -> None:
    stage = Stage(1)
    other = stage.others[0]
    name, spare = Endpoint("berlin.example", 1), Endpoint("192.0.2.2", 2)
    other.record = replace(other.record, endpoints=(name, spare))
    stage.list_all()
    assert stage.decide().names == {name}
    assert stage.me.kernel.now.peers[other.key].endpoint == spare
    found = Endpoint("192.0.2.1", 1)
    stage.agent.take(Resolved({name: (found,)}))
    stage.decide()
    assert stage.me.kernel.now.peers[other.key].endpoint == found
    stage.me.kernel.session(other.key, "trying")
    stage.agent.take(Stirred())
    stage.decide(1)
    assert stage.agent.due(stage.now) == 15
    stage.decide(15)
    assert stage.me.kernel.now.peers[other.key].endpoint == spare


def test_rule_4_only_a_signed_record_removes() -> None:
    stage = Stage().settle()
    keys = [key for key, _ in stage.records()]
    stage.agent.take(whole())
    for key in keys:
        stage.agent.take(Told(Changed(key, None, 200)))
    stage.agent.take(Lost(TROUBLE))
    assert stage.decide().changes == []
    gone = stage.others[0].record.revoked()
    stage.agent.take(told(stage.admin.sign(gone)))
    assert stage.decide().changes == [Remove(gone.key)]


def test_rule_4_the_disk_holds_through_a_restart() -> None:
    stage = Stage().settle()
    stage.me.memory.save(stage.agent)
    stage.agent = stage.me.agent()
    assert stage.decide().changes == []
    # and so it does with a kernel that has forgotten
    stage.me.kernel.now = stage.me.kernel.now._replace(peers={})
    stage.decide()
    assert stage.me.sees(*stage.others)


def test_rule_4_a_host_that_is_revoked_has_no_peers() -> None:
    stage = Stage().settle()
    stage.agent.take(told(stage.admin.sign(stage.me.record.revoked())))
    stage.decide()
    assert stage.me.kernel.now.peers == {}
    # and it gets them again with the next record
    back = replace(stage.me.record, serial=3)
    stage.agent.take(told(stage.admin.sign(back)))
    stage.decide()
    assert stage.me.sees(*stage.others)


class TestRule5:
    def test_others_add_the_new_key_and_move_with_its_first_handshake(self) -> None:
        stage = Stage().settle()
        other = stage.others[0]
        old = other.record.key
        stage.agent.take(told(stage.admin.sign(other.renewed())))
        stage.decide()
        peers = stage.me.kernel.now.peers
        assert peers[old].options.allowed_macs == other.record.macs
        assert peers[other.record.key].options.allowed_macs == ()
        assert peers[other.record.key].options.max_macs == 0
        stage.me.kernel.session(other.record.key, "up")
        stage.agent.take(Stirred())
        made = stage.decide()
        assert made.changes[0] == Replace(old, other.record.key) and made.save
        assert stage.me.sees(*stage.others)
        assert stage.decide().changes == []
        assert f"{other.name} uses its new key {other.record.key}" in stage.log

    def renew(self, stage: Stage) -> None:
        record = stage.me.renewed()
        stage.agent.take(told(stage.admin.sign(record)))
        stage.agent.take(told(stage.admin.list()))

    def test_the_host_waits_until_all_others_know(self) -> None:
        stage = Stage().settle()
        for other in stage.others:
            stage.agent.take(told(stage.sign_of_life(other, 1)))
        self.renew(stage)
        assert not stage.decide().switched
        stage.agent.take(told(stage.sign_of_life(stage.others[0], 2)))
        assert not stage.decide(1).switched
        stage.agent.take(told(stage.sign_of_life(stage.others[1], 2)))
        made = stage.decide(1)
        assert made.switched and isinstance(made.changes[0], SetPrivateKey)
        assert "SecretKey(hidden)" in repr(made.changes[0])
        assert stage.me.kernel.now.key == stage.me.record.key
        # each peer with an endpoint hears of it at once; then all is as the plan says
        assert {c.key for c in made.changes[1:]} == {x.key for x in stage.others}  # type: ignore[union-attr]
        stage.decide()
        assert {p.keepalive for p in stage.me.kernel.now.peers.values()} == {0}

    def test_but_no_longer_than_a_minute(self) -> None:
        stage = Stage().settle()
        stage.agent.take(told(stage.sign_of_life(stage.others[0], 1)))
        self.renew(stage)
        assert not stage.decide().switched
        assert stage.agent.due(stage.now) == PATIENCE
        assert stage.decide(PATIENCE).switched

    def test_after_a_boot_with_the_old_key_it_does_not_wait(self) -> None:
        stage = Stage().settle()
        self.renew(stage)
        stage.agent.take(told(stage.admin.sign(replace(stage.me.record, serial=3, previous=None))))
        assert stage.decide().switched

    def test_a_record_of_a_key_that_nobody_has_here(self) -> None:
        stage = Stage().settle()
        record = stage.me.renewed()
        stage.me.next_key = None
        stage.agent.take(told(stage.admin.sign(replace(record, previous=None))))
        stage.decide()
        assert "key" in stage.agent.faults.now
        assert stage.log[-1].startswith(f"{stage.me.name}: its record is of the key {record.key}")


def test_rule_8_a_forged_record_is_said_once() -> None:
    stage = Stage().settle()
    thief = Admin()
    forged = thief.sign(replace(stage.others[0].record, serial=9))
    for _ in range(3):
        stage.agent.take(told(forged))
    assert stage.decide().changes == []
    name = stage.others[0].name
    assert stage.log == [f"nodes/{name} is not signed by a trusted key: ignored"]


def test_one_line_for_a_fault_and_one_for_its_end() -> None:
    stage = Stage().settle()
    for _ in range(5):
        stage.agent.take(Lost(TROUBLE))
        stage.agent.take(Written(TROUBLE))
    stage.agent.take(Here())
    stage.agent.take(Here())
    stage.agent.failed(TROUBLE, 0)
    stage.agent.failed(TROUBLE, 1)
    stage.agent.worked()
    assert stage.log == [
        "http://x: does not answer (is it up?)",
        "the store answers again",
        "http://x: does not answer (is it up?)",
        "the kernel takes the changes again",
    ]


def test_a_watch_that_ends_is_a_line_and_no_fault() -> None:
    stage = Stage().settle()
    stage.agent.take(Here())
    stage.agent.take(Broken(Problem("", "the watch ends: x", "it is begun anew")))
    assert stage.log == ["the watch ends: x (it is begun anew)"]
    assert stage.agent.in_touch and stage.agent.faults.now == {}


def test_that_the_store_is_away_is_reported_soon() -> None:
    stage = Stage().settle()
    stage.agent.take(Here())
    stage.decide(1)
    assert stage.agent.due(stage.now) > 1
    stage.agent.take(Lost(TROUBLE))
    assert stage.agent.due(stage.now) == 1


def test_its_sign_of_life_is_news_when_it_says_something_else() -> None:
    stage = Stage().settle()
    first = stage.agent.sign(1000)
    assert first == Alive(MESH, stage.me.name, 1000, stage.me.key, 1, 1)
    again = stage.agent.sign(1000)
    assert again is not None and again.sequence == 1001
    stage.agent.take(told(stage.admin.list()))
    assert stage.decide().sign and not stage.decide().sign
    # a thief deletes it
    raw = signing.seal(again.canonical(), stage.me.host_key, with_key=True)
    key = layout.alive(MESH, stage.me.name)
    stage.agent.take(told((key, raw)))
    assert not stage.decide().sign
    stage.agent.take(Told(Changed(key, None, 300)))
    assert stage.agent.due(stage.now) == 0 and stage.decide().sign
    # or writes something else there
    stage.agent.take(told((key, b"junk")))
    assert stage.decide().sign
    # it begins behind what is there, whatever the clock says
    stage.agent.take(told((key, raw)))
    late = stage.agent.sign(5)
    assert late is not None and late.sequence > again.sequence


def test_it_looks_from_time_to_time() -> None:
    stage = Stage().settle()
    assert stage.agent.due(stage.now) == LOOK
    stage.me.kernel.now = stage.me.kernel.now._replace(peers={})
    stage.decide(LOOK)
    assert stage.me.sees(*stage.others)


def test_manual_peers_are_left_alone() -> None:
    stage = Stage(1).settle()
    key = MeshHost(9, stage.admin).key
    stage.me.kernel.apply([SetPeer(key)])
    stage.agent.me = stage.agent.me._replace(manual=frozenset({key}))
    assert stage.decide(LOOK).changes == []
    stage.agent.me = stage.agent.me._replace(manual=frozenset())
    assert stage.decide(LOOK).changes == [Remove(key)]


def test_signs_that_are_polled() -> None:
    stage = Stage().settle()
    key, raw = stage.sign_of_life(stage.others[0])
    stage.agent.take(Signs(Listing((Entry(key, raw, 1, 1),), 1)))
    assert stage.agent.alive(stage.others[0].name)
    assert stage.agent.alive(stage.others[1].name) is None


# -- with threads, and a real etcd -----------------------------------------------------------------


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


@pytest.mark.program("etcd")
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


def test_what_is_ignored_is_reported_within_a_second() -> None:
    stage = Stage().settle()
    key = layout.node(MESH, "nobody")
    for value, ignored in ((b"junk", {"nodes/nobody"}), (None, set())):
        assert stage.agent.due(stage.now) > REST
        stage.agent.take(told((key, value)))
        assert stage.agent.due(stage.now) <= REST
        assert stage.decide(REST).changes == []
        assert set(Report.of(stage.agent).ignored) == ignored


def test_whoever_writes_to_the_store_does_not_fill_the_log() -> None:
    stage = Stage().settle()
    key = layout.node(MESH, stage.others[0].name)
    for _ in range(2):
        for number in range(LINES):
            stage.agent.take(told((key, b"junk" if number % 2 else b"x" * 50_000)))
    assert len(stage.log) == LINES + 1
    assert stage.log[-1] == "more is ignored: 'l2wgctl mesh status office' shows what"
    stage.decide(HOUR)
    stage.agent.take(told((key, b"x" * 50_000)))
    assert len(stage.log) == LINES + 2


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
    me.memory.save = save  # type: ignore[method-assign]
    runner._decide()
    assert me.memory.snapshot is not None and "disk" not in runner.agent.faults.now
    me.memory.snapshot, kernel.early = None, False
    runner.agent.take(told(stage.admin.sign(replace(stage.others[0].record, serial=2, max_macs=9))))
    runner._decide()
    assert me.memory.snapshot is not None and not kernel.early


def test_a_signal_may_come_at_any_moment() -> None:
    """Its handler puts a message: with queue.Queue it would wait for a lock of its own thread."""
    runner = Stage().me.runner_for(lambda: Etcd(["http://127.0.0.1:9"]))
    assert isinstance(runner._messages, queue.SimpleQueue)

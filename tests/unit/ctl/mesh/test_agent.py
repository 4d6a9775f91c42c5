# SPDX-License-Identifier: GPL-2.0
"""What the agent decides, by the numbers of docs/mesh.md's rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from l2wgctl.errors import L2wgError, Problem
from l2wgctl.mesh import layout, signing
from l2wgctl.mesh.agent import AGAIN, HOUR, LINES, LOOK, PATIENCE, REST
from l2wgctl.mesh.kernel import Remove, Replace, SetLink, SetOptions, SetPeer, SetPrivateKey
from l2wgctl.mesh.messages import (
    Broken,
    Here,
    Lost,
    Resolved,
    Signs,
    Stirred,
    Through,
    Told,
    Written,
)
from l2wgctl.mesh.record import Alive, Record
from l2wgctl.mesh.status import Report
from l2wgctl.mesh.store import Changed, Entry, Listing
from l2wgctl.model import Endpoint, SecretKey
from tests.unit.ctl.mesh.stage import Stage, told, whole
from toolkit.bench.mesh_hosts import MESH, Admin, MeshHost

TROUBLE = Problem("http://x", "does not answer", "is it up?")


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


def test_rule_4_without_a_trusted_record_its_peers_stay_but_for_who_is_revoked() -> None:
    """The key that has signed its record has left the file, and the new record is withheld."""
    stage = Stage(3).settle()
    manual = MeshHost(9, stage.admin).key
    stage.me.kernel.apply([SetPeer(manual)])
    first, stage.admin = stage.admin, Admin()
    stage.me.admin = stage.admin
    stage.agent = stage.me.agent()
    stage.agent.me = stage.agent.me._replace(manual=frozenset({manual}))
    before = set(stage.me.kernel.now.peers)
    assert stage.decide().changes == []
    assert "record" in stage.agent.faults.now and "no trusted key" in stage.log[-1]
    gone, kept, again = stage.others
    stage.agent.take(told(stage.admin.sign(gone.record.revoked())))
    stage.agent.take(told(first.sign(kept.record.revoked())))
    stage.agent.take(told(stage.admin.sign(again.record.revoked())))
    back = replace(again.record, serial=3)
    stage.agent.take(told(stage.admin.sign(back)))
    assert stage.decide().changes == [Remove(gone.key)]
    assert set(stage.me.kernel.now.peers) == before - {gone.key}
    for host in (stage.me, kept):
        stage.agent.take(told(stage.admin.sign(replace(host.record, serial=2))))
    stage.decide()
    assert set(stage.me.kernel.now.peers) == {manual, kept.key, again.key}
    assert "record" not in stage.agent.faults.now


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
        assert stage.agent.due(stage.now) == 0 and stage.agent.hurry
        made = stage.decide()
        assert made.changes[0] == Replace(old, other.record.key) and made.save
        assert stage.me.sees(*stage.others)
        assert stage.decide().changes == []
        assert f"{other.name} uses its new key {other.record.key}" in stage.log
        # without a key that waits, sessions are looked at once in a while
        stage.agent.take(Stirred())
        assert stage.agent.due(stage.now) == REST and not stage.agent.hurry

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
        made = stage.decide()
        assert {p.keepalive for p in stage.me.kernel.now.peers.values()} == {0}
        # until the new key is in its file, the file is asked for
        assert made.switched and stage.decide().switched
        stage.me.memory.switched()
        assert not stage.decide().switched

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

    def test_a_new_key_that_cannot_be_read_is_tried_again_soon(self) -> None:
        stage = Stage().settle()
        self.renew(stage)

        def unreadable() -> SecretKey | None:
            raise L2wgError("input/output error")

        whole_me = stage.agent.me
        stage.agent.me = whole_me._replace(next_key=unreadable)
        assert not stage.decide(PATIENCE).switched and "new key" in stage.agent.faults.now
        assert stage.agent.due(stage.now) == AGAIN
        stage.agent.me = whole_me
        stage.decide(AGAIN)
        assert "new key" not in stage.agent.faults.now

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


@pytest.mark.parametrize("kind", [Lost, Through])
def test_what_is_wrong_is_reported_soon(kind: type[Lost | Through]) -> None:
    """Also that a store is away which was not there before."""
    stage = Stage().settle()
    assert not stage.agent.in_touch and stage.agent.due(stage.now) == LOOK
    stage.agent.take(kind(TROUBLE))
    assert stage.agent.due(stage.now) == REST
    # said again it is no news; but if something else is wrong with it, that is
    stage.decide(REST)
    stage.agent.take(kind(TROUBLE))
    assert stage.agent.due(stage.now) == LOOK
    stage.agent.take(kind(TROUBLE._replace(what="says no")))
    assert stage.agent.due(stage.now) == REST


def test_what_is_wrong_with_its_sign_of_life_is_reported_soon() -> None:
    stage = Stage().settle()
    stage.agent.take(Here())
    for problem in (TROUBLE, None):
        stage.decide(REST)
        assert stage.agent.due(stage.now) == LOOK
        stage.agent.take(Written(problem))
        assert stage.agent.due(stage.now) == REST
    # while the store is away one fault is enough, and this one is not over
    stage.agent.take(Written(TROUBLE))
    stage.agent.take(Lost(TROUBLE))
    stage.agent.take(Written(TROUBLE))
    assert {"alive", "store"} == set(stage.agent.faults.now)


def test_what_could_not_be_written_is_tried_again_soon() -> None:
    stage = Stage().settle()
    stage.agent.unsaved()
    assert stage.agent.due(stage.now) == AGAIN
    assert stage.decide(AGAIN).save and stage.agent.due(stage.now) == LOOK


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
    # not at once: he may do it a thousand times a second
    assert stage.agent.due(stage.now) == REST and stage.decide().sign
    # or writes something else there
    stage.agent.take(told((key, b"junk")))
    assert stage.decide().sign
    # it begins behind what is there, whatever the clock says
    stage.agent.take(told((key, raw)))
    late = stage.agent.sign(5)
    assert late is not None and late.sequence > again.sequence


def test_what_is_said_may_be_taken_back_while_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is written in another thread than that which decides."""
    stage = Stage().settle()
    of = stage.agent.presence.of

    def meanwhile(record: Record) -> Alive | None:
        stage.agent._said = ()
        return of(record)

    monkeypatch.setattr(stage.agent.presence, "of", meanwhile)
    assert stage.agent.sign(1000) is not None
    assert stage.agent.sign(1000) is None


def test_who_is_revoked_takes_its_sign_of_life_back() -> None:
    stage = Stage().settle()
    stage.agent.take(told(stage.admin.sign(stage.me.record.revoked())))
    assert stage.decide().sign and stage.agent.sign(1000) is None
    assert not stage.decide().sign
    # and gives one again with the next record
    stage.agent.take(told(stage.admin.sign(replace(stage.me.record, serial=3))))
    assert stage.decide().sign and stage.agent.sign(1000)


def test_what_the_disk_remembers_is_no_reason_for_a_sign_of_life() -> None:
    """Whoever is revoked while its agent does not run says nothing at its next start."""
    stage = Stage().settle()
    revoked = replace(stage.me.record, serial=2).revoked()
    for record, signs in ((stage.me.record, True), (revoked, False)):
        stage.me.memory.save(stage.agent)
        stage.agent = stage.me.agent()
        assert not stage.decide().sign and stage.agent.sign(1000) is None
        others = stage.records()[1:]
        stage.agent.take(whole(stage.admin.sign(record), *others, stage.admin.list()))
        assert stage.decide().sign is signs


def test_it_looks_from_time_to_time() -> None:
    stage = Stage().settle()
    assert stage.agent.due(stage.now) == LOOK
    stage.me.kernel.now = stage.me.kernel.now._replace(peers={})
    stage.decide(LOOK)
    assert stage.me.sees(*stage.others)


def test_a_kernel_that_refuses_is_left_alone_for_a_while() -> None:
    stage = Stage()
    # before anything is known, with something to do, and with a key to be moved
    stage.agent.failed(TROUBLE, 1e6)
    assert stage.agent.due(1e6) == AGAIN
    stage.list_all()
    assert stage.agent.due(stage.now) == 0
    stage.agent.failed(TROUBLE, stage.now)
    assert stage.agent.due(stage.now) == AGAIN
    stage.settle()
    other = stage.others[0]
    stage.agent.take(told(stage.admin.sign(other.renewed())))
    stage.decide()
    stage.me.kernel.session(other.record.key, "up")
    stage.agent.take(Stirred())
    old = stage.me.kernel.now
    assert any(isinstance(change, Replace) for change in stage.decide().changes)
    stage.me.kernel.now = old
    stage.agent.failed(TROUBLE, stage.now)
    assert stage.agent.due(stage.now) == AGAIN
    assert any(isinstance(change, Replace) for change in stage.decide(AGAIN).changes)


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


def test_what_is_ignored_is_reported_within_a_second() -> None:
    stage = Stage().settle()
    key = layout.node(MESH, "nobody")
    for value, ignored in ((b"junk", {"nodes/nobody"}), (None, set())):
        assert stage.agent.due(stage.now) > REST
        stage.agent.take(told((key, value)))
        assert stage.agent.due(stage.now) <= REST
        assert stage.decide(REST).changes == []
        assert set(Report.of(stage.agent).ignored) == ignored


def test_who_has_come_and_gone_is_reported_within_a_second() -> None:
    stage = Stage(1).settle()
    (other,) = stage.others
    key, raw = stage.sign_of_life(other)
    for value, alive in ((raw, (other.name,)), (None, ())):
        assert stage.agent.due(stage.now) > REST
        stage.agent.take(told((key, value)))
        assert stage.agent.due(stage.now) <= REST
        assert stage.decide(REST).changes == []
        assert Report.of(stage.agent).alive == alive


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

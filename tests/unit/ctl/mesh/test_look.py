# SPDX-License-Identifier: GPL-2.0
"""What `mesh status` and `mesh log` say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from l2wgctl.errors import Problem
from l2wgctl.mesh import layout, signing
from l2wgctl.mesh.agent import Agent
from l2wgctl.mesh.etcd import Etcd
from l2wgctl.mesh.history import Line, changes, told
from l2wgctl.mesh.look import describe, render
from l2wgctl.mesh.messages import Lost
from l2wgctl.mesh.record import Alive, Request
from l2wgctl.mesh.status import Report
from l2wgctl.mesh.store import Changed, Member
from l2wgctl.model import Endpoint
from toolkit.bench.mesh_hosts import MESH, Admin, MeshHost
from toolkit.lab.etcd import Cluster

ROOT = Path(__file__).resolve().parents[4]


class Town:
    """berlin (this host), paris, a hub and madrid behind it; an agent that has decided once."""

    def __init__(self) -> None:
        self.admin = Admin()
        names = ("berlin", "paris", "hub1", "madrid")
        self.hosts = {n: MeshHost(i + 1, self.admin, n) for i, n in enumerate(names)}
        hub, madrid = self.hosts["hub1"], self.hosts["madrid"]
        hub.record = replace(hub.record, hub=True)
        madrid.record = replace(madrid.record, behind="hub1", endpoints=(), max_macs=16)
        self.me = self.hosts["berlin"]
        self.agent: Agent = self.me.agent()
        for host in self.hosts.values():
            self.agent.book.take(*self.admin.sign(host.record))
        self.agent.book.take(*self.admin.list())
        self.sign("paris")
        self.decide()

    def sign(self, name: str) -> None:
        host = self.hosts[name]
        sign = Alive(MESH, name, 1, host.key, 1)
        raw = signing.seal(sign.canonical(), host.host_key, with_key=True)
        self.agent.presence.put(name, raw)

    def decide(self) -> None:
        self.me.kernel.apply(self.agent.decide(self.me.kernel.now, 0).changes)

    def lines(self) -> list[str]:
        report = Report.of(self.agent)
        again = Report.read(report.text())
        assert again == report
        found = describe(
            "berlin", self.agent.book, self.agent.plan, self.me.kernel.now, again, 1000.0
        )
        json.dumps(found)
        return [" ".join(line.split()) for line in render(found, 1000.0)]


def test_a_line_for_each_host() -> None:
    town = Town()
    paris, hub = town.hosts["paris"], town.hosts["hub1"]
    town.me.kernel.session(paris.key, "up", Endpoint("203.0.113.9", 999))
    peers = town.me.kernel.now.peers
    with_time = {**peers, paris.key: peers[paris.key]._replace(handshake=950)}
    town.me.kernel.now = town.me.kernel.now._replace(peers=with_time)
    by = str(town.admin.public)[:8]
    outer = hub.record.endpoints[0]
    assert town.lines()[:6] == [
        "HOST STATE ENDPOINT FROM HANDSHAKE MACS PATH SERIAL SIGNED BY",
        f"berlin this host - - - 02:00:00:00:00:01 direct 1 {by}",
        f"hub1 away {outer} store never 02:00:00:00:00:03 hub 1 {by}",
        f"madrid away {outer} store never 02:00:00:00:00:04 +16 through hub1 * 1 {by}",
        f"paris up 203.0.113.9:999 learned 50 s 02:00:00:00:00:02 direct 1 {by}",
        "* its hub decrypts all that it carries, and could forge it",
    ]


def test_what_is_ignored_and_why() -> None:
    town = Town()
    book = town.agent.book
    book.take(*Admin().sign(replace(town.hosts["paris"].record, serial=2)))
    clash = replace(town.hosts["paris"].record, serial=2, macs=town.me.record.macs)
    book.take(*town.admin.sign(clash))
    gone = replace(town.hosts["hub1"].record, hub=False, serial=2)
    book.take(*town.admin.sign(gone))
    town.admin.hosts["rome"] = replace(MeshHost(9, town.admin, "rome").record, serial=7)
    book.take(*town.admin.list())
    town.agent.take(Lost(Problem("http://x", "does not answer", "is it up?")))
    town.decide()
    lines = town.lines()
    assert lines[lines.index("") + 1 :] == [
        "list 2",
        "agent: runs, store away",
        "fault: http://x: does not answer (is it up?)",
        "ignored: the newest record of paris claims the MAC 02:00:00:00:00:01, which is berlin's",
        "missing: the store has not shown record 7 of rome",
        "left out: madrid is behind hub1, which is no hub",
    ]
    assert not any(str(town.me.secret.reveal()) in line for line in lines)


def test_every_json_field_is_described() -> None:
    page = (ROOT / "docs/l2wgctl-json.md").read_text().partition("## `mesh status`")[2]
    town = Town()
    report = Report.of(town.agent)
    link = town.me.kernel.now
    found = describe("berlin", town.agent.book, town.agent.plan, link, report, 1.0)
    cells = "".join(re.findall(r"^\| (`.*?) \|", page, re.M))
    assert set(re.findall(r"`([a-z_0-9]+)`", cells)) == set(found["hosts"][0])
    for field in (*found, *found["agent"], *Member._fields):
        assert f"`{field}`" in page, field


def test_a_report_of_another_version_is_none() -> None:
    assert Report.read("{}") is None and Report.read("x") is None and Report.read("[]") is None


def test_the_log_tells_who_has_signed_what() -> None:
    town = Town()
    trusted = (town.admin.public,)
    paris = town.hosts["paris"]

    def line(key: str, raw: bytes | None) -> Line | None:
        return told(Changed(key, raw, 7), MESH, trusted)

    key, raw = town.admin.sign(replace(paris.record, serial=2))
    assert line(key, raw) == Line(7, "nodes/paris", "record 2", True, town.admin.public)
    key, raw = town.admin.sign(paris.record.revoked())
    assert line(key, raw) == Line(7, "nodes/paris", "record 2, revoked", True, town.admin.public)
    _, stolen = town.admin.sign(town.hosts["hub1"].record)
    assert line(key, stolen) == Line(7, "nodes/paris", "is the record of hub1 in office", False)
    assert line(key, b"x") == Line(7, "nodes/paris", "is not a signed record", False)
    assert line(key, None) == Line(7, "nodes/paris", "deleted", False)
    key, raw = town.admin.list()
    said = line(key, raw)
    assert said is not None and said.what == "list 2: 3 hosts, 1 revoked" and said.good
    asks = Request(MESH, "rome", paris.key, signing.public_key(paris.host_key))
    raw = signing.seal(asks.canonical(), paris.host_key, with_key=True)
    said = line(layout.request(MESH, "rome"), raw)
    assert said is not None and said.what.startswith("asks, fingerprint ") and said.good
    assert line("/l2wg/other/nodes/x", b"") is None


@pytest.fixture
def cluster(tmp_path: Path, etcd: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, program=etcd)
    made.start()
    yield made
    made.stop()


def test_the_log_goes_back_as_far_as_the_store_does(cluster: Cluster) -> None:
    admin = Admin()
    store = Etcd(cluster.clients)
    revisions = [store.put(*admin.sign(MeshHost(n, admin).record)) for n in range(1, 4)]
    gone = layout.node(MESH, "host-0001")
    store.delete(gone)
    found = [event.revision for event in changes(Etcd(cluster.clients), MESH, False)]
    assert found == [*revisions, revisions[-1] + 1]
    store._ask("kv/compaction", {"revision": str(revisions[1])})
    found = [event.revision for event in changes(Etcd(cluster.clients), MESH, False)]
    assert found == [*revisions[1:], revisions[-1] + 1]
    following = changes(store, MESH, True)
    assert [next(following).revision for _ in range(3)] == [*revisions[1:], revisions[-1] + 1]

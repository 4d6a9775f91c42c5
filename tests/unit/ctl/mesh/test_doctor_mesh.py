# SPDX-License-Identifier: GPL-2.0
"""What doctor says of a mesh."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from l2wgctl.doctor import mesh as doctor
from l2wgctl.keys import generate_private_key
from l2wgctl.mesh import asked, host, look, signing, status
from l2wgctl.mesh.host import alone
from l2wgctl.mesh.status import Report
from l2wgctl.mesh.store import Member, Unreachable
from tests.unit.ctl.mesh.test_host import BODY


class Members:
    """A store of which only the members are asked."""

    def __init__(self, *members: Member) -> None:
        self._members = members

    def members(self) -> tuple[Member, ...]:
        if not self._members:
            raise Unreachable("nobody listens there", "is etcd running?", "http://127.0.0.1:2379")
        return self._members

    def close(self) -> None:
        pass


@pytest.fixture
def folder(etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    trusted = str(signing.public_key(signing.generate()))
    path = etc / "office.conf"
    path.write_text(
        BODY.format(trusted=trusted, trusted2=str(signing.public_key(signing.generate())))
    )
    key = etc / "office.key"
    key.write_text(generate_private_key().reveal())
    for file in (path, key):
        file.chmod(0o600)
    monkeypatch.setattr(status, "RUNTIME", tmp_path)
    return tmp_path


@pytest.fixture
def answered() -> Iterator[threading.Event]:
    """Set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def said(monkeypatch: pytest.MonkeyPatch, *members: Member, now: float = 2e9) -> list[str]:
    monkeypatch.setattr(asked, "opener", lambda *_: lambda: Members(*members))
    found = doctor.check_mesh("office", now)
    return [f"{f.level} {f.check}: {f.what} ({f.mend})" for f in found]


def test_all_is_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(1.0, 2, True, {}, (), {}, 0, {}, {}, {}, 1)
    (folder / "office.json").write_text(report.text())
    (loaded,) = [host.load("office", None)]
    with alone(loaded):
        lines = said(monkeypatch, Member("m0", "http://a", "3.4.23", 1, 1))
    assert lines == [
        "OK store: http://a answers, etcd 3.4.23 (None)",
        "OK agent: the agent of the mesh runs (None)",
    ]


def test_what_is_wrong(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Member("m0", "http://a", "3.4.23", 1, 1, alarms=("NOSPACE",))
    dead = Member("m1", "http://b", trouble="nobody listens there")
    assert said(monkeypatch, full, dead, now=0) == [
        "FAIL clock: is years behind (set it: timedatectl set-ntp true)",
        "FAIL store: http://a has the alarm NOSPACE "
        '(etcdctl compact, defrag and alarm disarm; docs/mesh.md, "etcd")',
        "WARN store: http://b: nobody listens there (the others go on while most are up)",
        "WARN agent: the agent of the mesh does not run (systemctl start l2wg-mesh@office)",
    ]
    assert said(monkeypatch)[0] == (
        "FAIL store: http://127.0.0.1:2379: nobody listens there (is etcd running?)"
    )


def test_name_servers_that_do_not_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answered: threading.Event
) -> None:
    """Nobody can interrupt a look-up; people get the rest without it, in doctor and status."""
    monkeypatch.setattr(asked, "MOST", 0.1)
    monkeypatch.setattr(asked, "_ask", lambda _: answered.wait())
    text = "the store, or the name servers, do not answer in 0 seconds"
    assert (
        f"FAIL store: {host.load('office', None).where}: {text} (see /etc/resolv.conf; "
        in (said(monkeypatch)[0])
    )
    found = look.look(host.load("office", None))
    assert found["store"] == [] and text in found["store_problem"]


def test_a_fault_of_ours_is_not_called_one_of_the_name_servers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(_: host.Host) -> asked.Asked:
        raise ZeroDivisionError

    monkeypatch.setattr(asked, "_ask", faulty)
    with pytest.raises(ZeroDivisionError):
        said(monkeypatch)


def test_a_certificate_that_cannot_be_read(folder: Path, etc: Path) -> None:
    """`status` shows what it knows, and says it."""
    path = etc / "office.conf"
    path.write_text(path.read_text().replace("http:", "https:") + "CA = gone.pem\n")
    found = look.look(host.load("office", None))
    assert found["store"] == [] and "gone.pem" in found["store_problem"]


def test_a_fault_of_the_agent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(1.0, 2, True, {"disk": "is full"}, (), {}, 0, {}, {}, {}, 1)
    (folder / "office.json").write_text(report.text())
    with alone(host.load("office", None)):
        lines = said(monkeypatch, Member("m0", "http://a", "3.4.23", 1, 1))
    assert lines[-1] == "WARN agent: is full (l2wgctl mesh status office)"


def test_a_link_without_a_mesh(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch) == []

# SPDX-License-Identifier: GPL-2.0
"""mesh join and what else a host's commands read and refuse; a store in memory."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l2wgctl.errors import L2wgError
from l2wgctl.keys import generate_private_key, public_key
from l2wgctl.mesh import access, host, keyfile, layout, signing, status
from l2wgctl.mesh.daemon import Disk, remembered, store_of
from l2wgctl.mesh.record import parse_request
from l2wgctl.mesh.run import Runner
from l2wgctl.model import MeshOptions
from tests.support.memory_store import MemoryStore
from tests.unit.ctl.conftest import Result
from toolkit.bench.mesh_hosts import FakeKernel

TRUSTED = str(signing.public_key(signing.generate()))
SECRET = generate_private_key()

BODY = """\
[Interface]
PrivateKeyFile = office.key
ListenPort = 51820
Switch = yes
Address = 192.168.157.1/24, fd00::1/64
MACAddress = 02:00:00:00:00:01

[Mesh]
Engine = http://127.0.0.1:2379
TrustedKeys = {trusted}, {trusted2}
Node = berlin
Endpoints = berlin.example.org:51820
"""


class Place:
    """A host's folder, and a store."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]
    ) -> None:
        self.run = run
        self.file = folder / "office.conf"
        self.key = folder / "office.key"
        self.store = MemoryStore()
        self.write()
        self.key.write_text(SECRET.reveal() + "\n")
        monkeypatch.setattr("l2wgctl.mesh.join.opener", lambda *_: lambda: self.store)
        monkeypatch.setattr(status, "RUNTIME", folder / "run")
        monkeypatch.setattr("l2wgctl.mesh.memory.FOLDER", folder / "state")

    def write(self, change: Callable[[str], str] = lambda text: text) -> None:
        other = str(signing.public_key(signing.generate()))
        self.file.write_text(change(BODY.format(trusted=TRUSTED, trusted2=other)))

    def mesh(self, action: str, *words: object) -> Result:
        return self.run("mesh", action, "--file", self.file, "office", *words)

    def error(self, action: str, *words: object) -> str:
        result = self.mesh(action, *words)
        assert result.status == 1 and result.out == "" and result.err.count("\n") == 1, result
        return result.err.replace(str(self.file.parent), "/etc/l2wg").rstrip()

    def load(self) -> host.Host:
        return host.load("office", str(self.file))


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Result]
) -> Iterator[Place]:
    old = os.umask(0o077)
    yield Place(tmp_path, monkeypatch, run)
    os.umask(old)


def test_join_publishes_what_the_file_says(place: Place) -> None:
    result = place.mesh("join")
    assert (result.status, result.err) == (0, "")
    entry = place.store.get(layout.request("office", "berlin"))
    assert entry is not None
    sealed = signing.unseal_own(entry.value)
    request = parse_request(sealed.record)
    assert request.key == public_key(SECRET) and request.host_key == sealed.signer
    assert [*map(str, request.addresses)] == ["192.168.157.1/32", "fd00::1/128"]
    assert request.macs == ("02:00:00:00:00:01",) and request.max_macs == 0
    assert [*map(str, request.endpoints)] == ["berlin.example.org:51820"]
    assert f"    {signing.fingerprint(sealed.record)}\n" in result.out
    assert "l2wgctl mesh sign --key admin.key office berlin" in result.out
    hostkey = place.file.with_name("office.hostkey")
    assert hostkey.stat().st_mode & 0o777 == 0o600
    # again: the same key, the same request
    again = place.mesh("join", "--as", "berlin", "--json")
    assert json.loads(again.out)["fingerprint"] == signing.fingerprint(sealed.record)
    assert SECRET.reveal() not in entry.value.decode() + result.out


@pytest.mark.program("openssl")
def test_a_certificate_that_cannot_be_read_when_the_agent_starts(place: Place) -> None:
    """A host that knows its mesh has its peers all the same, and comes in when it is mended."""
    place.write(lambda text: text.replace("http:", "https:") + "CA = ca.pem\n")
    mine = place.load()
    ca = place.file.with_name("ca.pem")
    with pytest.raises(L2wgError, match="ca.pem"):
        store_of(mine, known=False)
    makes = store_of(mine, known=True)
    with pytest.raises(L2wgError, match="ca.pem"):
        makes()
    words = "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=CA"
    subprocess.run(["openssl", *words.split()], cwd=ca.parent, check=True, capture_output=True)
    makes().close()


def test_two_hosts_that_ask_for_one_name_at_one_time(place: Place) -> None:
    key = layout.request("office", "berlin")
    faster = signing.seal(b"another's", signing.generate(), with_key=True)

    def other(_: str) -> None:
        place.store.before_put = lambda _: None
        place.store.put(key, faster)

    place.store.before_put = other
    assert place.error("join") == (
        "l2wgctl: /etc/l2wg/office.conf: another host has just asked to be berlin (ask again)"
    )
    there = place.store.get(key)
    assert there is not None and there.value == faster
    # and again: now it is known who has
    assert "another host has asked to be berlin" in place.error("join")


def test_a_bridge_brings_macs_and_vlans(place: Place) -> None:
    place.write(lambda text: text.replace("\nAddress =", "\nBridge = br0\nBridgeAddress ="))
    assert place.mesh("join").status == 0, place.mesh("join").err
    entry = place.store.get(layout.request("office", "berlin"))
    assert entry is not None
    request = parse_request(signing.unseal_own(entry.value).record)
    assert request.max_macs == 256 and request.vlans == ((0, 4094),)


def test_renew_keeps_the_new_key_beside_the_old_one(place: Place) -> None:
    place.mesh("join")
    assert place.mesh("join", "--renew").status == 0
    new = place.load().next_key()
    assert new is not None and new != SECRET
    entry = place.store.get(layout.request("office", "berlin"))
    assert entry is not None
    asked = parse_request(signing.unseal_own(entry.value).record)
    assert asked.key == public_key(new)
    assert place.error("join", "--renew") == (
        "l2wgctl: /etc/l2wg/office.key.next: a new key waits already to be signed "
        "(l2wgctl mesh join office asks again; or remove that file)"
    )
    # the agent's part: the new key takes the old one's place
    Disk(place.load()).switched()
    assert place.key.read_text().strip() == new.reveal() and place.load().next_key() is None
    assert place.key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (
            "[Mesh]\nEngine = http://127.0.0.1:2379\nTrustedKeys",
            "[Peer]\nPublicKey",
            None,
        ),
        (
            "Node = berlin\n",
            "",
            "/etc/l2wg/office.conf: [Mesh] has no Node (write this host's name: Node = berlin)",
        ),
        (
            "PrivateKeyFile = office.key\n",
            "",
            "/etc/l2wg/office.conf: has no PrivateKey (PrivateKeyFile, and 'l2wgctl genkey')",
        ),
        (
            "MACAddress = 02:00:00:00:00:01\n",
            "",
            "/etc/l2wg/office.conf: MACAddress is not given: the link has another one after each "
            "start (write MACAddress = 02:..., or AllowedMACs into [Mesh])",
        ),
    ],
)
def test_a_file_that_is_no_hosts(place: Place, old: str, new: str, text: str | None) -> None:
    place.write(lambda body: body.replace(old, new))
    if text is None:
        assert place.mesh("join").status == 1
        return
    said = place.mesh("join").err.replace(str(place.file.parent), "/etc/l2wg").splitlines()
    assert said[-1] == f"l2wgctl: {text}"


def test_names_that_differ_or_are_taken(place: Place) -> None:
    assert place.error("join", "--as", "paris") == (
        "l2wgctl: /etc/l2wg/office.conf: [Mesh] has Node = berlin, and --as says paris "
        "(make them the same)"
    )
    place.mesh("join")
    place.file.with_name("office.hostkey").unlink()
    assert place.error("join") == (
        "l2wgctl: /etc/l2wg/office.conf: another host has asked to be berlin (write another Node; "
        "if it was this one with an older key: etcdctl del /l2wg/office/requests/berlin)"
    )


def test_a_key_that_two_files_name_cannot_be_renewed(place: Place) -> None:
    """The agent of one would overwrite what the other one needs at its next start."""
    (place.file.parent / "broken.conf").write_text("[Interface\n")
    (place.file.parent / "folder.conf").mkdir()
    beside = place.file.with_name("home.conf")
    (place.file.parent / "same.key").symlink_to(place.key)
    for named in ("office.key", place.key, "same.key"):
        beside.write_text(f"[Interface]\nPrivateKeyFile = {named}\n")
        assert place.error("join", "--renew") == (
            "l2wgctl: /etc/l2wg/office.conf: home.conf would lose this key: PrivateKeyFile is the "
            "same (give each file a key of its own)"
        )
        assert place.load().next_key() is None
    beside.write_text("[Interface]\nPrivateKeyFile = home.key\n")
    assert place.mesh("join", "--renew").status == 0


def test_a_private_key_in_the_file_cannot_be_renewed(place: Place) -> None:
    line = f"PrivateKey = {SECRET.reveal()}"
    place.write(lambda text: text.replace("PrivateKeyFile = office.key", line))
    said = place.error("join", "--renew")
    assert "holds the PrivateKey itself, which --renew cannot change" in said
    assert SECRET.reveal() not in said


def test_rule_7_the_store_must_not_be_behind_the_link(place: Place) -> None:
    place.write(lambda text: text.replace("192.168.157.1/24", "127.0.0.1/8"))
    assert "is reached through office itself, with its address 127.0.0.1" in place.error("join")


def test_a_host_key_that_others_can_read(place: Place) -> None:
    place.mesh("join")
    place.file.with_name("office.hostkey").chmod(0o644)
    assert place.error("join") == (
        "l2wgctl: /etc/l2wg/office.hostkey: is open to others (mode 0644) "
        "(chmod 600 /etc/l2wg/office.hostkey)"
    )


def test_passwords_and_tls_keys_are_their_owners_alone(tmp_path: Path) -> None:
    for name in ("password", "key.pem"):
        (tmp_path / name).write_text("geheim\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "key.pem").chmod(0o640)
    where = str(tmp_path / "office.conf")
    mesh = MeshOptions(("http://127.0.0.1:1",), user="berlin", password_file="password")
    login = access.login(mesh, where)
    assert login.password == "geheim" and "geheim" not in repr(login)
    with pytest.raises(L2wgError, match=r"key.pem: is open to others \(mode 0640\) \(chmod 600"):
        access.login(mesh._replace(key="key.pem"), where)
    with pytest.raises(L2wgError, match="no such file"):
        access.login(mesh._replace(password_file="missing"), where)


def test_one_agent_at_a_time(place: Place) -> None:
    loaded = place.load()
    assert not status.is_running(loaded.mesh)
    with host.alone(loaded):
        assert status.is_running(loaded.mesh)
        with pytest.raises(L2wgError, match="an agent of this mesh runs already .systemctl stop"):
            with host.alone(loaded):
                pass
    assert not status.is_running(loaded.mesh)


def test_who_looks_whether_an_agent_runs_is_in_nobodys_way(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = place.load()
    with host.alone(loaded):
        pass
    lock = status.lock_file(loaded.mesh)
    with open(lock) as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        # another one who looks does not take the first for an agent
        assert not status.is_running(loaded.mesh)
        # and an agent that starts at that moment does so a moment later
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(looking, fcntl.LOCK_UN))
        with host.alone(loaded):
            assert status.is_running(loaded.mesh)


def test_no_half_of_a_key_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "admin.key"
    for error in (KeyboardInterrupt(), OSError(28, "no space left on device")):

        def fails(_: int, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises((KeyboardInterrupt, L2wgError)):
            keyfile.create(str(path))
        assert not path.exists()


def test_a_damaged_memory_is_put_aside(place: Place) -> None:
    loaded = place.load()
    assert remembered(loaded)[1] == []
    loaded.memory_file.parent.mkdir(parents=True)
    loaded.memory_file.write_text("{")
    # who only looks leaves it where it is
    book, lost = remembered(loaded, aside=False)
    assert book.records == {} and lost == [f"{loaded.memory_file} is damaged"]
    book, lost = remembered(loaded)
    assert book.records == {} and len(lost) == 1 and "is damaged, and now" in lost[0]
    assert not loaded.memory_file.exists()


@pytest.mark.parametrize("action", ["join", "status", "log", "leave", "run"])
def test_a_name_that_is_no_meshs(place: Place, action: str) -> None:
    result = place.run("mesh", action, "--file", place.file, "My_Office")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.endswith(
        "office.conf: the mesh's name is not 1-63 of a-z 0-9 -: 'My_Office' (name the link so, "
        "too)\n"
    )


def test_the_agent_asks_no_name_server_before_it_runs(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be behind the mesh: what the disk remembers comes first (rule 4)."""
    place.write(lambda text: text.replace("127.0.0.1:2379", "etcd.example.org:2379"))
    keyfile.create(place.load().host_key_file)
    order: list[str] = []

    def asked(*_: object, **__: object) -> None:
        order.append("asked")
        raise OSError

    def ran(runner: Runner) -> None:
        order.append("runs")
        assert runner._outside.through_the_link() is None

    monkeypatch.setattr("l2wgctl.mesh.link.Link", lambda name: FakeKernel(None))
    monkeypatch.setattr("l2wgctl.mesh.run.stop_on_signals", lambda _: None)
    monkeypatch.setattr(Runner, "run", ran)
    monkeypatch.setattr("socket.getaddrinfo", asked)
    result = place.mesh("run")
    assert result.status == 0, result.err
    assert order == ["runs", "asked"]

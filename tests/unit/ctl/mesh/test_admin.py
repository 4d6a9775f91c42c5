# SPDX-License-Identifier: GPL-2.0
"""mesh keygen, sign, revoke, resign, import: what an admin does, on a store in memory."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from l2wgctl.errors import L2wgError
from l2wgctl.mesh import admin, keyfile, layout, memory, record, signing
from l2wgctl.mesh.commands import ACTIONS
from l2wgctl.mesh.record import SERIAL_MAX, Listed, MeshList, Record, Request
from l2wgctl.mesh.store import Listing
from l2wgctl.mesh.trust import Book
from l2wgctl.model import Endpoint, Key, SecretKey
from tests.support.memory_store import MemoryStore
from tests.unit.ctl.conftest import Result
from tests.unit.ctl.mesh.world import key_of, record_of

Run = Callable[..., Result]
HOST = SecretKey(b"\x07" * 32)
OTHER = SecretKey(b"\x08" * 32)
ROOT = Path(__file__).resolve().parents[4]


class Place:
    """An admin's machine: two keys, the file of the mesh, and a store."""

    def __init__(self, folder: Path, run: Run, store: MemoryStore) -> None:
        self.folder, self.run, self.store = folder, run, store
        self.key, self.reserve = folder / "admin.key", folder / "reserve.key"
        self.made = run("mesh", "keygen", self.key, self.reserve)
        self.file = folder / "office.conf"
        self.trust(self.made.out)

    def trust(self, line: str) -> None:
        self.file.write_text(f"[Mesh]\nEngine = https://etcd1\n{line}")

    def keys(self) -> list[Key]:
        return [signing.public_key(keyfile.read(str(path))) for path in (self.key, self.reserve)]

    def ask(self, number: int, **fields: object) -> str:
        """A host asks; its fingerprint."""
        found = record_of(number)
        shape = {name: getattr(found, name) for name in Request.__dataclass_fields__}
        shape["host_key"] = signing.public_key(HOST)
        if number != 1:
            shape["host_key"] = signing.public_key(SecretKey(bytes([number + 50]) * 32))
        request = Request(**{**shape, **fields})
        secret = HOST if number == 1 else SecretKey(bytes([number + 50]) * 32)
        raw = signing.seal(request.canonical(), secret, with_key=True)
        self.store.put(layout.request("office", request.name), raw)
        return signing.fingerprint(request.canonical())

    def mesh(self, action: str, *words: object, key: Path | None = None) -> Result:
        return self.run("mesh", action, "--key", key or self.key, "--file", self.file, *words)

    def sign(self, number: int, **fields: object) -> Result:
        fingerprint = self.ask(number, **fields)
        return self.mesh("sign", "office", f"h{number}", "--fingerprint", fingerprint)

    def book(self, *trusted: Key) -> Book:
        """What a new host believes."""
        book = Book("office", trusted or self.keys())
        book.take_all((entry.key, entry.value) for entry in self.store.list("/").entries)
        return book

    def record(self, name: str) -> Record:
        held = self.book().held(name)
        assert held is not None
        return held.record

    def newest(self) -> MeshList:
        found = self.book().list
        assert found is not None
        return found


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    made = MemoryStore()
    monkeypatch.setattr(admin, "open_store", lambda options, where: made)
    return made


@pytest.fixture
def place(tmp_path: Path, run: Run, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(memory, "FOLDER", tmp_path / "var")
    return Place(tmp_path, run, store)


def error(result: Result) -> str:
    """The one line of a failure that did nothing."""
    assert result.status == 1 and result.out == ""
    return result.err.splitlines()[-1].removeprefix("l2wgctl: ")


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(text))


# -- keygen ----------------------------------------------------------------------------------------


def test_keygen(place: Place) -> None:
    public = re.fullmatch(r"TrustedKeys = (\S+), (\S+)\n", place.made.out)
    assert public and [*map(str, place.keys())] == [public[1], public[2]]
    assert place.made.err == (
        f"Write this line into [Mesh] at every host. Sign with {place.key}; lock away "
        f"{place.reserve}.\n"
    )
    for path in (place.key, place.reserve):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text().strip() not in place.made.out + place.made.err


def test_keygen_overwrites_nothing(place: Place) -> None:
    before = place.key.read_text()
    assert error(place.run("mesh", "keygen", place.key)) == (
        f"{place.key}: is there already (name another file)"
    )
    assert place.key.read_text() == before
    new = place.folder / "new.key"
    assert "is there already" in error(place.run("mesh", "keygen", new, place.key))
    assert not new.exists(), "both or none"
    nowhere = place.folder / "none/b.key"
    assert error(place.run("mesh", "keygen", new, nowhere)) == (
        f"{nowhere}: no such file (check the path)"
    )
    assert not new.exists(), "both or none"
    assert place.run("mesh", "keygen", "a", "a") == (
        2,
        "",
        "l2wgctl: mesh keygen: a file is named twice (one for each key)\n",
    )
    found = json.loads(place.run("mesh", "keygen", place.folder / "c", "--json").out)
    assert found[0]["file"] == str(place.folder / "c") and len(found[0]["key"]) == 44


def test_a_key_file_is_checked(place: Place) -> None:
    place.ask(1)
    place.key.chmod(0o640)
    assert error(place.mesh("sign", "office", "h1")) == (
        f"{place.key}: is open to others (mode 0640) (chmod 600 {place.key})"
    )
    place.key.chmod(0o600)
    place.key.write_text("not " + place.key.read_text())
    assert error(place.mesh("sign", "office", "h1")) == (
        f"{place.key}: holds no private key (name a file that 'l2wgctl mesh keygen', or 'join', "
        "has written)"
    )
    other = place.folder / "other.key"
    made = place.run("mesh", "keygen", other).out.removeprefix("TrustedKeys = ").strip()
    assert error(place.mesh("sign", "office", "h1", key=other)) == (
        f"{other}: the key {made} is none of the TrustedKeys of {place.file} (what it signs, no "
        "host believes; add it at every host first)"
    )
    assert "no such file" in error(place.mesh("sign", "office", "h1", key=place.folder / "no"))


# -- sign ------------------------------------------------------------------------------------------


def test_sign(place: Place) -> None:
    fingerprint = place.ask(1)
    assert re.fullmatch(r"([a-z2-7]{4}-){7}[a-z2-7]{4}", fingerprint)
    done = place.mesh("sign", "office", "h1", "--fingerprint", fingerprint)
    assert (done.status, done.out) == (0, "h1 is signed (record 1, list 1).\n")
    assert done.err == (
        "h1 asks to join office:\n"
        f"  fingerprint {fingerprint}\n"
        f"  key         {key_of(1, 1)}\n"
        f"  host key    {signing.public_key(HOST)}\n"
        "  addresses   10.0.0.2/32\n"
        "  MACs        02:00:00:00:00:01\n"
        "  other MACs  up to 1\n"
        "  VLANs       untagged\n"
        "  endpoints   192.0.2.2:51820\n"
        "  behind      (nobody)\n"
        "  hub         no\n"
    )
    assert place.book().records == {"h1": replace(record_of(1), host_key=signing.public_key(HOST))}
    assert place.newest().hosts == {"h1": record.Listed(1)}


def test_the_fingerprint_is_compared(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = place.ask(1)
    words = ("sign", "office", "h1")
    assert error(place.mesh(*words)) == (
        "mesh sign: nobody is here to compare the fingerprint (add --fingerprint, with what "
        "'mesh join' has printed on the host)"
    )
    refused = (
        "mesh sign: not signed: 'no' is not the fingerprint of what h1 asks for (do 'mesh join' on "
        "the host again; if it is another then, somebody forges requests)"
    )
    assert error(place.mesh(*words, "--fingerprint", "no")) == refused
    for text in ("no\n", "\n", "", "y\n"):
        answer(monkeypatch, text)
        assert place.mesh(*words).status == 1
    assert place.book().records == {} and place.book().list is None, "nothing is written"
    for text in ("yes\n", f"{fingerprint.upper().replace('-', '')}\n"):
        answer(monkeypatch, text)
        done = place.mesh(*words)
        assert done.status == 0 and "Compare the fingerprint with that on h1" in done.out
        for entry in place.store.list("/").entries:
            if layout.REQUESTS not in entry.key:
                place.store.delete(entry.key)
        (place.folder / "state/l2wg/office/memory.json").unlink()


def test_a_forged_request_is_not_signed(place: Place) -> None:
    """Whoever writes to the store changes a request: its fingerprint is another one then."""
    fingerprint = place.ask(1)
    place.ask(1, key=key_of(9, 9))
    done = place.mesh("sign", "office", "h1", "--fingerprint", fingerprint)
    assert done.status == 1 and "is not the fingerprint of what h1 asks for" in done.err


def test_what_is_no_request(place: Place) -> None:
    assert error(place.mesh("sign", "office", "h1")) == (
        "mesh sign: h1 has not asked to join office (do this on it first: l2wgctl mesh join office "
        "--as h1)"
    )
    place.store.put(layout.request("office", "h1"), b"junk")
    hint = "(let the host ask again: l2wgctl mesh join office)"
    assert error(place.mesh("sign", "office", "h1")) == (
        f"mesh sign: the request of h1 is not a signed record {hint}"
    )
    place.ask(1)
    copy = place.store.entries[layout.request("office", "h1")]
    place.store.put(layout.request("office", "h2"), copy.value)
    assert error(place.mesh("sign", "office", "h2")) == (
        f"mesh sign: the request of h2 is that of h1 to join office {hint}"
    )
    place.ask(2, host_key=signing.public_key(HOST))
    assert error(place.mesh("sign", "office", "h2")) == (
        f"mesh sign: the request of h2 is not signed with its own host key {hint}"
    )
    assert place.mesh("sign", "office", "H2").err.startswith(
        "l2wgctl: mesh sign: NAME is not 1-63 of a-z 0-9 -: 'H2'"
    )


def test_a_conflict_is_refused_in_the_first_place(place: Place) -> None:
    assert place.sign(1).status == 0
    hint = "(change what one of them asks for, or: l2wgctl mesh revoke office NAME)"
    assert error(place.sign(2, macs=("02:00:00:00:00:01",))) == (
        f"mesh sign: not signed: h2 claims the MAC 02:00:00:00:00:01, which is h1's {hint}"
    )
    assert error(place.sign(2, key=key_of(1, 1))) == (
        f"mesh sign: not signed: h2 claims the key {key_of(1, 1)}, which is h1's {hint}"
    )
    assert error(place.sign(2, behind="h1", endpoints=())) == (
        f"mesh sign: not signed: h2 is behind h1, which is no hub {hint}"
    )
    assert error(place.sign(2, behind="h5", endpoints=())) == (
        f"mesh sign: not signed: h2 is behind h5, which is no host of the mesh {hint}"
    )
    assert [*place.book().records] == ["h1"]


def test_a_hub_with_hosts_behind_it_stays_one(place: Place) -> None:
    done = place.sign(1, hub=True)
    assert done.status == 0 and "A hub reads all that it carries" in done.err
    assert place.sign(2, behind="h1", endpoints=()).status == 0
    assert "h2 is behind h1, which is no hub" in error(place.sign(1))
    gone = place.mesh("revoke", "office", "h1")
    assert gone.err == (
        "l2wgctl: mesh revoke: warning: h2 is behind h1, which is no host of the mesh any more: it "
        "is cut off\n"
    )


def test_a_change_shows_what_it_was(place: Place) -> None:
    place.sign(1)
    done = place.sign(1, key=key_of(1, 3), macs=(), max_macs=0, vlans=((0, 0), (5, 9)))
    assert done.out == "h1 is signed (record 2, list 2).\n"
    assert done.err.startswith("h1, a host of office, asks for a change:\n")
    assert f"  key         {key_of(1, 3)}   (it was {key_of(1, 1)})\n" in done.err
    assert "  VLANs       untagged, 5-9   (it was untagged)\n" in done.err
    assert "  endpoints   192.0.2.2:51820\n" in done.err
    assert "It has no MAC and may use none" in done.err
    assert (place.record("h1").serial, place.record("h1").previous) == (2, key_of(1, 1))
    # another change does not end the renewal: nobody can tell here whether it is over
    place.sign(1, key=key_of(1, 3), max_macs=7)
    assert (place.record("h1").serial, place.record("h1").previous) == (3, key_of(1, 1))


def says(place: Place, key: Key, by: SecretKey = HOST) -> None:
    made = record.Alive("office", "h1", 1, key, 1)
    place.store.put(layout.alive("office", "h1"), signing.seal(made.canonical(), by, True))


def test_the_old_key_is_the_one_in_use(place: Place) -> None:
    """A host renews its key twice before it has used the first new one, and then has done it."""
    place.sign(1)
    place.sign(1, key=key_of(1, 3))
    says(place, key_of(1, 1))
    place.sign(1, key=key_of(1, 4))
    assert place.record("h1").previous == key_of(1, 1)
    says(place, key_of(1, 4), OTHER)
    assert place.sign(1, key=key_of(1, 4)).err == "h1 has what it asks for (record 3).\n", "a lie"
    says(place, key_of(1, 4))
    done = place.sign(1, key=key_of(1, 4))
    assert done.out == "h1 is signed (record 4, list 4).\n", "the old key is good no more"
    assert place.record("h1").previous is None


def test_what_is_granted_is_not_asked_again(place: Place) -> None:
    place.sign(1)
    again = place.sign(1)
    assert (again.status, again.out) == (0, "")
    assert again.err == "h1 has what it asks for (record 1).\n"
    assert place.newest().serial == 1


def test_a_list_that_was_not_written_is_written_then(place: Place) -> None:
    place.sign(1)
    place.store.delete(layout.mesh_list("office", 1))
    (place.folder / "state/l2wg/office/memory.json").unlink()
    assert place.sign(1).out == "h1 is signed (record 1, list 1).\n"


def test_who_waits(place: Place) -> None:
    one, two = place.ask(1), place.ask(2, endpoints=())
    place.store.put(layout.request("office", "h3"), b"junk")
    done = place.mesh("sign", "office")
    assert done.out == f"h1 {one}\nh2 {two}\n"
    assert done.err == (
        "l2wgctl: mesh sign: warning: the request of h3 is not a signed record (let the host ask "
        "again: l2wgctl mesh join office)\n"
    )
    place.mesh("sign", "office", "h1", "--fingerprint", one)
    assert json.loads(place.mesh("sign", "office", "--json").out) == [
        {"name": "h2", "fingerprint": two}
    ]
    place.store.delete(layout.request("office", "h2"))
    place.store.delete(layout.request("office", "h3"))
    assert place.mesh("sign", "office").err == "Nobody waits to be signed in office.\n"


def test_a_host_that_can_reach_and_not_be_reached(place: Place) -> None:
    assert "It has no endpoint and no hub" in place.sign(1, endpoints=()).err


def test_two_admins_at_once(place: Place) -> None:
    place.sign(1)
    fingerprint = place.ask(2)
    other = place.ask(3)

    def faster(key: str) -> None:
        place.store.before_put = lambda key: None
        done = place.mesh("sign", "office", "h3", "--fingerprint", other, key=place.reserve)
        assert done.status == 0

    def at_the_list(key: str) -> None:
        if layout.LISTS in key:
            faster(key)

    place.store.before_put = at_the_list
    done = place.mesh("sign", "office", "h2", "--fingerprint", fingerprint)
    assert done.out == "h2 is signed (record 1, list 3).\n"
    assert {*place.newest().hosts} == {"h1", "h2", "h3"} and place.book().missing() == {}

    def the_same(key: str) -> None:
        place.store.before_put = lambda key: None
        place.store.put(layout.node("office", "h4"), b"x")

    fingerprint = place.ask(4)
    place.store.before_put = the_same
    assert error(place.mesh("sign", "office", "h4", "--fingerprint", fingerprint)) == (
        "mesh sign: somebody else has just written the record of h4 (look again)"
    )
    # junk in a place is no obstacle, nor in that of the next list
    place.store.put(layout.mesh_list("office", 4), b"junk")
    done = place.mesh("sign", "office", "h4", "--fingerprint", fingerprint)
    assert done.out == "h4 is signed (record 1, list 4).\n"


def test_a_list_takes_no_revocation_back(place: Place) -> None:
    """One admin signs a change; before his list, another one has seen it and revokes the host."""
    place.sign(1)
    fingerprint = place.ask(1, max_macs=9)

    def at_the_list(key: str) -> None:
        if layout.LISTS in key:
            place.store.before_put = lambda key: None
            assert place.mesh("revoke", "office", "h1", key=place.reserve).status == 0

    place.store.before_put = at_the_list
    assert place.mesh("sign", "office", "h1", "--fingerprint", fingerprint).status == 0
    assert place.newest().hosts == {"h1": record.Listed(3, True)}


def test_a_record_is_remembered_though_its_list_fails(place: Place) -> None:
    fingerprint = place.ask(1)

    def at_the_list(key: str) -> None:
        if layout.LISTS in key:
            raise L2wgError("nobody listens there")

    place.store.before_put = at_the_list
    assert error(place.mesh("sign", "office", "h1", "--fingerprint", fingerprint)) == (
        "nobody listens there"
    )
    place.store.before_put = lambda key: None
    place.store.delete(layout.node("office", "h1"))
    fingerprint = place.ask(1, max_macs=9)
    place.mesh("sign", "office", "h1", "--fingerprint", fingerprint)
    assert place.record("h1").serial == 2, "no serial is signed twice"


def test_revoke_again_writes_what_is_not_there(place: Place) -> None:
    place.sign(1)

    def at_the_list(key: str) -> None:
        if layout.LISTS in key:
            raise L2wgError("nobody listens there")

    place.store.before_put = at_the_list
    assert error(place.mesh("revoke", "office", "h1")) == "nobody listens there"
    place.store.before_put = lambda key: None
    assert place.mesh("revoke", "office", "h1").out == "h1 is revoked (record 2, list 2).\n"
    place.store.delete(layout.node("office", "h1"))
    assert place.mesh("revoke", "office", "h1").out == "h1 is revoked (record 2, list 3).\n"
    assert place.record("h1").state == "revoked"
    assert "is revoked already" in place.mesh("revoke", "office", "h1").err


def test_few_old_lists_are_left(place: Place) -> None:
    for number in range(12):
        assert place.sign(1, max_macs=number).status == 0
    kept = [layout.split(entry.key) for entry in place.store.list("/l2wg/office/lists").entries]
    assert [found.serial for found in kept if found] == [*range(5, 13)]


def test_json(place: Place) -> None:
    fingerprint = place.ask(1)
    done = place.mesh("sign", "office", "h1", "--fingerprint", fingerprint, "--json")
    assert json.loads(done.out) == {"name": "h1", "record": 1, "revoked": False, "list": 1}


# -- a store that lies -----------------------------------------------------------------------------


def test_a_store_that_went_back_is_not_signed_into(place: Place) -> None:
    """Else a serial would get two contents, and hosts that know the first would stay with it."""
    place.sign(1)
    before = dict(place.store.entries)
    place.sign(1, max_macs=9)
    place.store.entries = before
    assert error(place.sign(1, max_macs=3)) == (
        "mesh sign: the store has gone back: you have seen list 2, and it is not there (restore "
        "it, or: l2wgctl mesh resign --key FILE office)"
    )
    done = place.mesh("resign", "office")
    assert done.out == "1 record is signed anew in office (list 3).\n"
    assert (place.record("h1").max_macs, place.record("h1").serial) == (9, 2)
    assert place.sign(1, max_macs=3).out == "h1 is signed (record 3, list 4).\n"


def test_an_old_record_put_back_is_seen(place: Place) -> None:
    place.sign(1)
    old = place.store.entries[layout.node("office", "h1")]
    place.sign(1, max_macs=9)
    place.store.put(old.key, old.value)
    done = place.sign(1, max_macs=3)
    assert "nodes/h1 has the serial 1, and this host has seen 2: ignored" in done.err
    assert done.out == "h1 is signed (record 3, list 3).\n"


def test_junk_in_the_store_does_not_hide_the_rest(place: Place) -> None:
    for number in range(300):
        place.store.put(layout.node("office", f"x{number}"), b"junk")
    done = place.sign(1)
    assert done.out == "h1 is signed (record 1, list 1).\n"
    warned = [line for line in done.err.splitlines() if "warning" in line]
    assert len(warned) == 9 and warned[8] == (
        "l2wgctl: mesh sign: warning: 248 more are ignored (l2wgctl mesh status office, on a host, "
        "says which)"
    )
    assert {*place.newest().hosts} == {"h1"}


# -- what hosts have seen --------------------------------------------------------------------------


def hears(place: Place, name: str, newest: int, serial: int = 1, by: SecretKey = HOST) -> None:
    """A host's sign of life."""
    made = record.Alive("office", name, 1, key_of(1, 1), serial, newest)
    place.store.put(layout.alive("office", name), signing.seal(made.canonical(), by, True))


def older(said: str, action: str) -> str:
    return (
        f"mesh {action}: hosts have seen what the store does not show: {said} (l2wgctl mesh "
        "resign, with the memory.json of a host or an admin that has it: --from FILE; if a host "
        "lies: --ignore NAME)"
    )


def restored(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store is that of the first admin's last look, and another one has gone on; his memory."""
    place.sign(1)
    place.sign(2)
    backup = dict(place.store.entries)
    first = place.folder / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(place.folder / "other"))
    place.sign(1, max_macs=5)
    place.sign(1, max_macs=6)
    place.store.entries = backup
    monkeypatch.setenv("XDG_STATE_HOME", str(first))
    return place.folder / "other/l2wg/office/memory.json"


def test_a_store_that_hosts_are_ahead_of(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin's own newest list is there, and what he signs would be void at all hosts."""
    theirs = restored(place, monkeypatch)
    hears(place, "h1", 4, 3)
    before = dict(place.store.entries)
    for action, *words in [
        ("revoke", "office", "h1"),
        ("sign", "office", "h1", "--fingerprint", place.ask(1)),
        ("sign", "office"),
        ("resign", "office"),
    ]:
        assert error(place.mesh(action, *words)) == older("h1 (list 4)", action)
    hears(place, "h1", 2, 3)
    assert error(place.mesh("revoke", "office", "h2")) == older("h1 (record 3)", "revoke")
    mine = [key for key in before if layout.ALIVE not in key and layout.REQUESTS not in key]
    assert all(place.store.entries[key] == before[key] for key in mine), "nothing is written"
    # who has it puts it back, and the first admin goes on
    hears(place, "h1", 4, 3)
    done = place.mesh("resign", "--from", theirs, "office")
    assert done.out.endswith("signed anew in office (list 5).\n"), done
    assert (place.record("h1").serial, place.record("h1").max_macs) == (3, 6)
    hears(place, "h1", 5, 3)
    assert place.mesh("revoke", "office", "h1").out == "h1 is revoked (record 4, list 6).\n"


def test_what_is_given_to_resign_is_verified(place: Place) -> None:
    place.sign(1)
    path = place.folder / "records"
    path.write_bytes(signing.seal(record_of(2).canonical(), HOST) + b"\n")
    assert error(place.mesh("resign", "--from", path, "office")) == (
        f"{path}:1: is not signed by a trusted key"
    )
    assert "no such file" in error(place.mesh("resign", "--from", place.folder / "no", "office"))


def test_a_host_that_lies_about_what_it_has_seen(place: Place) -> None:
    """It cannot lock the admin out, nor speak for others."""
    place.sign(1)
    place.sign(2)
    hears(place, "h2", record.SERIAL_MAX, 1, HOST)
    assert place.mesh("sign", "office", "h2").err == "h2 has what it asks for (record 1).\n", (
        "not signed with its own key"
    )
    hears(place, "h1", record.SERIAL_MAX, record.SERIAL_MAX)
    said = older(f"h1 (list {record.SERIAL_MAX})", "revoke")
    assert error(place.mesh("revoke", "office", "h1")) == said
    assert error(place.mesh("revoke", "--ignore", "h2", "office", "h1")) == said
    done = place.mesh("revoke", "--ignore", "h1", "--ignore", "h2", "office", "h1")
    assert done.out == "h1 is revoked (record 2, list 3).\n"
    # who is out is not heard any more
    assert place.sign(2, max_macs=9).out == "h2 is signed (record 2, list 4).\n"


def test_a_mesh_that_store_and_admin_have_lost(place: Place) -> None:
    """The request's host key is what the admin has confirmed, and its sign of life counts."""
    place.sign(1)
    fingerprint = place.ask(1)
    hears(place, "h1", 7, 4)
    for key in [layout.node("office", "h1"), layout.mesh_list("office", 1)]:
        place.store.delete(key)
    (place.folder / "state/l2wg/office/memory.json").unlink()
    words = ("office", "h1", "--fingerprint", fingerprint)
    done = place.mesh("sign", *words)
    assert (done.status, done.out) == (1, "")
    assert older("h1 (list 7)", "sign") in done.err and place.book().listed() == {}
    assert place.mesh("sign", "--ignore", "h1", *words).status == 0


def test_a_change_meanwhile_is_no_rollback(place: Place) -> None:
    """Signs are read before the records: what is signed between the two comes with both."""
    place.sign(1)
    read, fingerprint = place.store.list, place.ask(2)

    def slowly(prefix: str) -> Listing:
        found = read(prefix)
        place.store.list = read  # type: ignore[method-assign]
        assert place.mesh("sign", "office", "h2", "--fingerprint", fingerprint).status == 0
        hears(place, "h1", 2)
        return found

    place.store.list = slowly  # type: ignore[method-assign]
    assert place.mesh("revoke", "office", "h1").out == "h1 is revoked (record 2, list 3).\n"


# -- revoke, resign --------------------------------------------------------------------------------


def test_revoke(place: Place) -> None:
    place.sign(1)
    assert place.mesh("revoke", "office", "h1").out == "h1 is revoked (record 2, list 2).\n"
    assert place.book().records == {} and place.newest().hosts == {"h1": record.Listed(2, True)}
    again = place.mesh("revoke", "office", "h1")
    assert (again.status, again.out) == (0, "")
    assert again.err == "h1 is revoked already (record 2).\n"
    back = place.sign(1)
    assert back.err.startswith("h1, which was revoked, asks to join office again:\n")
    assert (place.record("h1").serial, place.record("h1").previous) == (3, None)


@pytest.mark.parametrize("hidden", [True, False])
def test_who_was_revoked_keeps_no_old_key(
    place: Place, monkeypatch: pytest.MonkeyPatch, hidden: bool
) -> None:
    """One admin revokes, the store hides his record, and another admin only sees the list."""
    place.sign(1)
    old = place.store.entries[layout.node("office", "h1")]
    first = place.folder / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(place.folder / "other"))
    place.mesh("revoke", "office", "h1")
    if hidden:
        place.store.put(old.key, old.value)
    monkeypatch.setenv("XDG_STATE_HOME", str(first))
    done = place.sign(1, key=key_of(1, 9))
    assert "h1, which was revoked, asks to join office again:\n" in done.err
    assert "(it was" not in done.err
    assert done.out == "h1 is signed (record 3, list 3).\n"
    assert place.record("h1").previous is None
    # also what is the same as before is granted anew
    place.mesh("revoke", "office", "h1")
    assert place.sign(1, key=key_of(1, 9)).out == "h1 is signed (record 5, list 5).\n"


def test_a_list_revokes_the_record_of_its_serial(place: Place) -> None:
    place.sign(1)
    gone = MeshList("office", 2, {"h1": record.Listed(1, True)})
    raw = signing.seal(gone.canonical(), keyfile.read(str(place.reserve)))
    place.store.put(layout.mesh_list("office", 2), raw)
    done = place.sign(1)
    assert done.err.startswith("h1, which was revoked, asks to join office again:\n")
    assert done.out == "h1 is signed (record 2, list 3).\n"


def test_revoke_what_the_store_hides(place: Place) -> None:
    """A thief has deleted the record; the admin's memory and the list have it."""
    place.sign(1)
    place.store.delete(layout.node("office", "h1"))
    assert place.mesh("revoke", "office", "h1").out == "h1 is revoked (record 2, list 2).\n"
    assert place.record("h1").state == "revoked"
    place.sign(2)
    place.store.delete(layout.node("office", "h2"))
    (place.folder / "state/l2wg/office/memory.json").unlink()
    assert place.mesh("revoke", "office", "h2").out == "h2 is revoked (record 2, list 4).\n"
    assert place.newest().hosts["h2"] == record.Listed(2, True)


def test_revoke_nobody(place: Place) -> None:
    place.sign(1)
    assert error(place.mesh("revoke", "office", "h9")) == (
        "mesh revoke: office has no host h9 (it has: h1)"
    )


def test_resign_with_the_other_key(place: Place) -> None:
    place.sign(1)
    place.sign(2)
    place.mesh("revoke", "office", "h2")
    left = dict(place.store.entries)
    line = (
        "mesh resign: 2 records are not signed with this key (put out what is nobody's (l2wgctl "
        "mesh revoke), then add --yes)"
    )
    assert error(place.mesh("resign", "office", key=place.reserve)).endswith(line)
    assert place.store.entries == left
    done = place.mesh("resign", "--yes", "office", key=place.reserve)
    first = place.keys()[0]
    assert done.err.splitlines() == [
        f"h1: record 1, key {record_of(1).key}, signed with {first}",
        f"h2: record 2, revoked, signed with {first}",
    ]
    assert done.out == "2 records are signed anew in office (list 4).\n"
    only = place.book(place.keys()[1])
    assert [*only.records] == ["h1"] and only.is_revoked("h2") and len(only.refusals) <= 8
    assert only.serial("h1") == 1, "the records are the same"
    again = place.mesh("resign", "office", key=place.reserve)
    assert again.out == "0 records are signed anew in office (list 5).\n"


@pytest.mark.parametrize("said", ["yes\n", "no\n", ""])
def test_what_another_key_has_signed_is_asked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Who had it may have admitted somebody; signed anew, he would stay when that key goes."""
    place.sign(1)
    answer(monkeypatch, said)
    done = place.mesh("resign", "office", key=place.reserve)
    assert (done.status == 0) is (said == "yes\n")
    assert [*place.book(place.keys()[1]).records] == (["h1"] if done.status == 0 else [])
    # what is one's own needs no question
    answer(monkeypatch, "no\n")
    assert place.mesh("resign", "office").status == (1 if done.status == 0 else 0)


def test_serials_that_are_used_up(place: Place) -> None:
    """By who has stolen a key; one line, and nothing that no host can read."""
    place.sign(1)
    secret = keyfile.read(str(place.key))
    last = MeshList("office", SERIAL_MAX, {"h1": Listed(SERIAL_MAX, True)})
    key = layout.mesh_list("office", SERIAL_MAX)
    place.store.put(key, signing.seal(last.canonical(), secret))
    before = dict(place.store.entries)
    for done in (place.sign(1, max_macs=4), place.mesh("resign", "office")):
        assert done.status == 1 and done.err.splitlines()[-1].endswith(
            "(somebody has used up the serials: docs/mesh.md, a key that was stolen)"
        )
        assert not done.err.count("Traceback")
    kept = [entry for entry in before if layout.REQUESTS not in entry]
    assert all(place.store.entries[entry] == before[entry] for entry in kept)


# -- import ----------------------------------------------------------------------------------------


def test_import(place: Place) -> None:
    place.sign(1)
    path = place.folder / "records"
    raws = [e.value for e in place.store.list("/").entries if layout.REQUESTS not in e.key]
    path.write_bytes(b"\n".join([*raws, b""]))
    words = ("mesh", "import", "--file", place.file, "office")
    done = place.run(*words, path)
    assert done.out == f"lists/{1:019d}\nnodes/h1\n"
    assert done.err == "2 are new here, 0 were known.\n"
    waiting = memory.take_import(memory.file_of("office"))
    book = Book("office", place.keys())
    assert [book.take_envelope(raw)[1].changed for raw in waiting] == [True, True]
    # another host's memory, and what is known already
    copy = place.folder / "memory.json"
    memory.save(copy, book.snapshot())
    assert place.run(*words, copy).err == "2 are new here, 0 were known.\n"
    memory.save(memory.file_of("office"), book.snapshot())
    assert place.run(*words, copy, "--json").out == "[]\n"


def test_import_from_a_host_that_lags(place: Place) -> None:
    """It has an old record of one host, and news of another."""
    place.sign(1)
    book = Book("office", place.keys())
    old = place.store.entries[layout.node("office", "h1")].value
    book.take_all([(layout.node("office", "h1"), old)])
    secret = keyfile.read(str(place.key))
    new = signing.seal(replace(record_of(1), serial=2).canonical(), secret)
    book.take_envelope(new)
    memory.save(memory.file_of("office"), book.snapshot())
    path = place.folder / "records"
    path.write_bytes(old + b"\n" + signing.seal(record_of(2).canonical(), secret) + b"\n")
    done = place.run("mesh", "import", "--file", place.file, "office", path)
    assert (done.out, done.err) == ("nodes/h2\n", "1 are new here, 1 were known.\n")


def test_import_takes_all_or_nothing(place: Place) -> None:
    place.sign(1)
    path = place.folder / "records"
    good = place.store.entries[layout.node("office", "h1")].value
    words = ("mesh", "import", "--file", place.file, "office", path)
    for raw, why in [
        (b"junk", "is not a signed record"),
        (signing.seal(record_of(2).canonical(), HOST), "is not signed by a trusted key"),
        (
            signing.seal(replace(record_of(1), mesh="b").canonical(), keyfile.read(str(place.key))),
            "nodes/h1 is of the mesh b: ignored",
        ),
    ]:
        path.write_bytes(good + b"\n" + raw + b"\n")
        assert error(place.run(*words)) == f"{path}:2: {why}: nothing is imported"
        assert memory.take_import(memory.file_of("office")) == []
    path.write_bytes(b"\n")
    assert error(place.run(*words)) == f"{path}: holds no signed records (one a line)"


# -- the command line ------------------------------------------------------------------------------


def test_no_file_and_no_section(place: Place) -> None:
    done = place.run("mesh", "sign", "--key", place.key, "--file", place.folder / "x.conf", "x")
    assert error(done).startswith(f"{place.folder}/x.conf: no such file")
    place.file.write_text("[Interface]\n")
    assert error(place.mesh("sign", "office")) == (
        f"{place.file}: has no [Mesh] section (see l2wg.conf(5))"
    )
    assert error(place.run("mesh", "sign", "--key", place.key, "Office")).startswith(
        "mesh: name is not 1-63 of a-z 0-9 -: 'Office'"
    )


def test_usage(run: Run) -> None:
    assert run("mesh").status == 2 and "ACTION" in run("mesh").err
    assert run("mesh", "sing", "office").err == (
        "l2wgctl: mesh: unknown action 'sing' (did you mean sign?)\n"
    )
    assert run("mesh", "x").err.startswith("l2wgctl: mesh: unknown action 'x' (known: keygen, ")
    assert run("mesh", "sign", "office").err.startswith(
        "l2wgctl: mesh sign: the following arguments are required: --key"
    )


def test_nothing_shows_a_private_key(place: Place) -> None:
    secret = place.key.read_text().strip()
    done = [place.sign(1), place.sign(2), place.mesh("revoke", "office", "h1")]
    done += [place.mesh("resign", "office"), place.mesh("sign", "office")]
    done.append(place.mesh("sign", "office", secret))
    done.append(place.run("mesh", "sign", "--key", secret, "--file", place.file, "office"))
    for result in done:
        assert secret not in result.out + result.err
    assert secret not in "".join(entry.value.decode() for entry in place.store.list("/").entries)


@pytest.mark.parametrize("words", [["--version"], ["help"], ["check", "x.conf"], ["mesh", "-h"]])
def test_other_commands_import_nothing_of_the_mesh(words: list[str]) -> None:
    code = (
        "import sys; from l2wgctl.cli import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted(m for m in sys.modules if 'l2wgctl.mesh' in m or 'ed25519' in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = done.stdout.rpartition("LOADED")[2].split()
    parsers = {"l2wgctl.mesh", "l2wgctl.mesh.commands"}  # for the help of all
    assert {*loaded} <= (set() if words[0] == "check" else parsers)


def test_every_action_has_its_function() -> None:
    from importlib import import_module

    for action in ACTIONS.values():
        assert callable(getattr(import_module(f"l2wgctl.mesh.{action.module}"), action.function))


def test_endpoints_are_compared_as_they_are() -> None:
    """The order of endpoints says which is the best: another order is another request."""
    one, other = Endpoint("a", 1), Endpoint("b", 1)
    assert record_of(1, endpoints=(one, other)).canonical() != (
        record_of(1, endpoints=(other, one)).canonical()
    )


def test_a_name_that_is_no_meshs(place: Place) -> None:
    line = "mesh: name is not 1-63 of a-z 0-9 -: 'My_Office'"
    assert error(place.mesh("sign", "My_Office", "h1")) == line
    assert error(place.run("mesh", "import", "--file", place.file, "My_Office", "-")) == line


def test_junk_requests_are_few_lines(place: Place) -> None:
    for number in range(100):
        place.store.put(layout.request("office", f"n{number}"), b"junk")
    fingerprint = place.ask(1)
    found = place.mesh("sign", "office")
    assert found.out == f"h1 {fingerprint}\n" and found.err.count("\n") == 9
    assert "mesh sign: warning: 92 more requests are not valid" in found.err

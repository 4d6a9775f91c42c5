# SPDX-License-Identifier: GPL-2.0
"""What is believed: the store can withhold and delay, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2wgctl.conf.values import allowed_ip
from l2wgctl.errors import L2wgError
from l2wgctl.mesh import layout, memory, seals, signing
from l2wgctl.mesh.claims import Claims
from l2wgctl.mesh.ignored import IGNORED_MAX
from l2wgctl.mesh.record import Listed, MeshList, Record, overlap
from l2wgctl.mesh.trust import Book, Verdict
from l2wgctl.model import AllowedIP, SecretKey
from tests.unit.ctl.mesh import strategies
from tests.unit.ctl.mesh.world import key_of, record_of

ADMIN, LOCKED_AWAY, THIEF = (SecretKey(bytes([n]) * 32) for n in (1, 2, 3))
TRUSTED = [signing.public_key(ADMIN), signing.public_key(LOCKED_AWAY)]


def node(record: Record, by: SecretKey = ADMIN, name: str | None = None) -> tuple[str, bytes]:
    return layout.node("office", name or record.name), signing.seal(record.canonical(), by)


def listing(
    serial: int, hosts: dict[str, tuple[int, bool]], by: SecretKey = ADMIN
) -> tuple[str, bytes]:
    made = MeshList("office", serial, {name: Listed(*entry) for name, entry in hosts.items()})
    return layout.mesh_list("office", serial), signing.seal(made.canonical(), by)


def book(*items: tuple[str, bytes]) -> Book:
    made = Book("office", TRUSTED)
    made.take_all(items)
    return made


def words(made: Book, item: tuple[str, bytes]) -> str | None:
    """What is said of it; nothing else may change."""
    before = (made.snapshot(), dict(made.records))
    verdict = made.take(*item)
    assert not verdict.changed and (made.snapshot(), dict(made.records)) == before
    return verdict.words


H1 = record_of(1)


def test_a_record_is_believed_once() -> None:
    made = book()
    assert made.take(*node(H1)) == Verdict(True, None)
    assert made.records == {"h1": H1}
    assert made.take(*node(H1)) == Verdict(False, None)
    held = made.applied("h1")
    assert held is not None and held.signer == TRUSTED[0]


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (node(H1, THIEF), "nodes/h1 is not signed by a trusted key: ignored"),
        (node(H1, name="h2"), "nodes/h2 is the record of h1: ignored"),
        (node(replace(H1, mesh="other")), "nodes/h1 is of the mesh other: ignored"),
        ((layout.node("office", "h1"), b"junk"), "nodes/h1 is not a signed record: ignored"),
        (
            (layout.node("office", "h1"), signing.seal(b"junk", ADMIN)),
            "nodes/h1 is not JSON in ASCII: ignored",
        ),
        (
            ("/l2wg/office/nodes/\x1b[2J", b"x"),
            r"/l2wg/office/nodes/\x1b[2J has a name that is not of a mesh: ignored",
        ),
        (listing(1, {}, THIEF), f"lists/{1:019d} is not signed by a trusted key: ignored"),
        (
            (layout.mesh_list("office", 2), listing(1, {})[1]),
            f"lists/{2:019d} is the list 1: ignored",
        ),
    ],
)
def test_what_is_ignored(item: tuple[str, bytes], why: str) -> None:
    made = book()
    assert words(made, item) == why
    assert words(made, item) is None, "the log has one line for it"
    assert [f"{place} {what}: ignored" for place, what in made.refusals] == [why]


def test_a_request_and_a_list_are_no_records() -> None:
    raw = listing(1, {})[1]
    assert words(book(), (layout.node("office", "h1"), raw)) == (
        "nodes/h1 is no record of a host: ignored"
    )


def test_serials_only_grow() -> None:
    newer, other = replace(H1, serial=3), replace(H1, serial=3, max_macs=9)
    made = book(node(newer))
    assert words(made, node(H1)) == ("nodes/h1 has the serial 1, and this host has seen 3: ignored")
    assert words(made, node(other)) == "nodes/h1 is another record of the serial 3: ignored"
    assert made.take(*node(replace(H1, serial=4))) == Verdict(True, None)
    assert len(made.refusals) == 0, "what was wrong is in order again"


def test_the_same_record_signed_anew_is_the_same() -> None:
    """`mesh resign`: then the first key can be taken out of the file."""
    made = book(node(H1))
    assert made.take(*node(H1, LOCKED_AWAY)) == Verdict(True, None)
    again, lost = Book.restore(made.snapshot(), TRUSTED[1:])
    assert (again.records, lost) == ({"h1": H1}, [])


def test_a_deleted_or_empty_store_changes_nothing() -> None:
    made = book(node(H1), listing(1, {"h1": (1, False)}))
    made.gone(layout.node("office", "h1"))
    assert made.take_all([]) == [
        Verdict(False, "list 1, which this host has seen, is gone from the store: nothing changes")
    ]
    assert made.records == {"h1": H1}


def test_a_revoked_host_is_gone_and_stays_so() -> None:
    made = book(node(H1))
    assert made.take(*node(H1.revoked())).changed
    assert made.records == {} and made.is_revoked("h1")
    assert words(made, node(H1)) == "nodes/h1 has the serial 1, and this host has seen 2: ignored"
    assert made.take(*node(replace(H1, serial=3))).changed
    assert made.records == {"h1": replace(H1, serial=3)} and not made.is_revoked("h1")


# -- lists -----------------------------------------------------------------------------------------


def test_a_list_is_the_floor_for_records() -> None:
    made = book(listing(1, {"h1": (2, False)}))
    assert made.missing() == {"h1": 2} and made.complete_list == 0
    assert words(made, node(H1)) == "nodes/h1 has the serial 1, and this host has seen 2: ignored"
    made.take(*node(replace(H1, serial=2)))
    assert made.missing() == {} and made.complete_list == 1


def test_what_is_in_force_stays_while_the_store_withholds_the_newer_record() -> None:
    made = book(node(H1))
    made.take(*listing(1, {"h1": (2, False)}))
    assert made.records == {"h1": H1} and made.missing() == {"h1": 2}


def test_a_list_revokes_although_the_store_withholds_the_record() -> None:
    made = book(node(H1))
    made.take(*listing(1, {"h1": (2, True)}))
    assert made.records == {} and made.is_revoked("h1") and made.missing() == {}
    assert words(made, node(replace(H1, serial=2))) == (
        "nodes/h1 has the serial 2, of which the list says otherwise: ignored"
    )


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("by_list", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_of_one_serial_what_revokes_wins(first: int, by_list: bool, restart: bool) -> None:
    """A store that refuses what an admin signs, and keeps it, gets two of one serial from him."""
    changed = replace(H1, serial=2, max_macs=7)
    gone = listing(5, {"h1": (2, True)}) if by_list else node(H1.revoked())
    shown = [node(changed), gone]
    made = book(node(H1))
    made.take(*shown[first])
    if restart:
        made, _ = Book.restore(made.snapshot(), TRUSTED)
    made.take(*shown[1 - first])
    assert made.records == {} and made.is_revoked("h1")
    made.take(*shown[0])
    made, _ = Book.restore(made.snapshot(), TRUSTED)
    assert made.records == {} and made.listed()["h1"] == Listed(2, True)


def test_a_record_may_be_newer_than_the_list() -> None:
    made = book(listing(1, {}), node(H1))
    assert made.records == {"h1": H1}
    assert made.take(*node(replace(H1, serial=2))).changed


def test_lists_only_grow() -> None:
    made = book(listing(2, {"h1": (5, False)}))
    assert made.take(*listing(1, {"h1": (1, False)})) == Verdict(), "admins leave some old ones"
    assert words(made, listing(2, {})) == (
        f"lists/{2:019d} is another list of a serial that this host has seen: ignored"
    )
    made.take(*listing(3, {"h1": (4, False)}))
    assert made.serial("h1") == 5, "and so do the serials in them"


def test_an_old_list_put_back_is_said() -> None:
    made = book(listing(2, {}))
    assert made.take_all([listing(1, {})]) == [
        Verdict(False, "list 2, which this host has seen, is gone from the store: nothing changes")
    ]


# -- who has what ----------------------------------------------------------------------------------

CLAIMS = [
    ({"key": key_of(1, 1)}, f"claims the key {key_of(1, 1)}, which is h1's"),
    ({"key": key_of(1, 2)}, f"claims the key {key_of(1, 2)}, which is h1's"),
    ({"previous": key_of(1, 1)}, f"claims the key {key_of(1, 1)}, which is h1's"),
    ({"macs": H1.macs}, "claims the MAC 02:00:00:00:00:01, which is h1's"),
    ({"addresses": H1.addresses}, "claims the address 10.0.0.2/32, which is h1's"),
    (
        {"addresses": (allowed_ip("10.0.0.0/24"),)},
        "claims the address 10.0.0.0/24, which is h1's",
    ),
]


@pytest.mark.parametrize(("fields", "why"), CLAIMS)
def test_what_is_claimed_twice_stays_where_it_is(fields: dict[str, object], why: str) -> None:
    other = record_of(2, **fields)
    made = book(node(H1))
    assert made.take(*node(other)) == Verdict(True, f"nodes/h2 {why}: ignored")
    assert made.records == {"h1": H1} and made.contested == {"h2": why}
    assert made.take(*node(other)) == Verdict()
    # it is in force as soon as the other one is gone
    made.take(*node(H1.revoked()))
    assert made.records == {"h2": other} and made.contested == {}


def test_of_a_contested_record_the_last_good_one_stays() -> None:
    made = book(node(H1), node(record_of(2)))
    made.take(*node(record_of(2, serial=2, macs=H1.macs)))
    assert made.records["h2"] == record_of(2)
    made.take(*node(replace(H1, serial=2, macs=())))
    assert made.records["h2"].macs == H1.macs and made.contested == {}


def test_hosts_that_see_a_conflict_for_the_first_time_decide_alike() -> None:
    items = [node(H1), node(record_of(2, macs=H1.macs)), node(record_of(0, macs=H1.macs))]
    for order in (items, items[::-1]):
        made = Book("office", TRUSTED)
        said = [verdict.words for verdict in made.take_all(order) if verdict.words]
        assert [*made.records] == ["h0"] and [*made.contested] == ["h1", "h2"]
        assert said[0] == ("nodes/h1 claims the MAC 02:00:00:00:00:01, which is h0's: ignored")


def network(number: int, prefix: int) -> AllowedIP:
    """Of 10.0.0.0/24, so that they meet often."""
    return allowed_ip(f"10.0.0.{number >> (32 - prefix) << (32 - prefix)}/{prefix}")


networks = st.builds(network, st.integers(0, 255), st.integers(24, 32))


@given(st.lists(networks, max_size=8), networks)
def test_addresses_are_compared_as_networks(given_: list[AllowedIP], asked: AllowedIP) -> None:
    """Against the plain rule: one holds the other."""
    claims = Claims()
    taken: dict[str, AllowedIP] = {}
    for number, one in enumerate(given_):
        name = f"a{number}"
        record = replace(record_of(1, macs=()), name=name, key=key_of(number, 6))
        record = replace(record, host_key=key_of(number, 7), addresses=(one,))
        hit = any(overlap(one, other) for other in taken.values())
        assert (claims.clash(record) is not None) == hit
        if not hit:
            claims.give(record)
            taken[name] = one
    new = replace(record_of(2, macs=()), addresses=(asked,))
    hit = any(overlap(asked, other) for other in taken.values())
    assert (claims.clash(new) is not None) == hit
    for name in taken:
        claims.release(name)
    assert claims.clash(new) is None


@given(st.lists(strategies.records, max_size=12))
def test_what_is_in_force_never_clashes(records: Iterable[Record]) -> None:
    made = Book("office", TRUSTED)
    for record in records:
        made.take(*node(record))
        found = [*made.records.values()]
        keys = [key for r in found for key in (r.key, r.host_key)]
        assert len(keys) == len({*keys}) or any(r.key == r.host_key for r in found)
        macs = [mac for r in found for mac in r.macs]
        assert len(macs) == len({*macs})
        assert all(
            not overlap(ip, other)
            for r in found
            for s in found
            if r.name != s.name
            for ip in r.addresses
            for other in s.addresses
        )
        for name in made.contested:
            assert made.held(name) != made.applied(name)


# -- refusals --------------------------------------------------------------------------------------


def test_ten_thousand_junk_records() -> None:
    made = book(node(H1))
    said = [made.take(layout.node("office", f"x{n}"), b"junk").words for n in range(10_000)]
    assert sum(word is not None for word in said) == IGNORED_MAX
    assert (len(made.refusals), made.refusals.more) == (IGNORED_MAX, 10_000 - IGNORED_MAX)
    assert made.records == {"h1": H1}
    # what matters is not hidden by it
    assert made.take(*node(H1, THIEF)).words == "nodes/h1 is not signed by a trusted key: ignored"
    assert ("nodes/h1", "is not signed by a trusted key") in [*made.refusals]
    assert len(made.refusals) == IGNORED_MAX
    for number in range(10_000):
        made.gone(layout.node("office", f"x{number}"))
    assert len(made.refusals) == 1


def test_what_is_forged_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 forged records took 5 s with each listing."""
    count = 0
    verifies = signing.verifies

    def counted(*arguments: Any) -> bool:
        nonlocal count
        count += 1
        return verifies(*arguments)

    monkeypatch.setattr(signing, "verifies", counted)
    monkeypatch.setattr(seals, "FORGED_MAX", 2)
    made = book()
    forged = [node(record_of(n), THIEF) for n in range(3)]
    for item in (forged[0], forged[1], forged[0], forged[1]):
        made.take(*item)
    assert count == 2 * len(TRUSTED)
    made.take(*forged[2])  # there is no room: all are verified again
    made.take(*forged[0])
    assert count == 4 * len(TRUSTED)
    assert made.take(*node(record_of(0))).changed


# -- renewed keys ----------------------------------------------------------------------------------


def test_a_renewed_key_is_remembered_until_the_next() -> None:
    new = replace(H1, serial=2, key=key_of(1, 3), previous=H1.key)
    made = book(node(H1))
    assert not made.renewed("h1", H1.key), "nothing is renewed"
    made.take(*node(new))
    assert made.renewed("h1", new.key) and not made.renewed("h1", new.key)
    assert not made.renewed("h1", key_of(7, 7)) and not made.renewed("h9", new.key)
    assert Book.restore(made.snapshot(), TRUSTED)[0].moved == {"h1": new.key}
    made.take(*node(replace(new, serial=3, key=key_of(1, 4), previous=new.key)))
    assert made.moved == {}


# -- import ----------------------------------------------------------------------------------------


def test_envelopes_past_the_store() -> None:
    made = book()
    assert made.take_envelope(node(H1)[1]) == ("nodes/h1", Verdict(True, None))
    assert made.take_envelope(listing(4, {})[1]) == (f"lists/{4:019d}", Verdict(True, None))
    for raw in (node(H1, THIEF)[1], b"junk", signing.seal(b"junk", ADMIN)):
        with pytest.raises(signing.Invalid):
            made.take_envelope(raw)


# -- disk ------------------------------------------------------------------------------------------


items = st.one_of(
    strategies.records.map(node),
    st.builds(
        lambda made: (
            layout.mesh_list("office", made.serial),
            signing.seal(made.canonical(), ADMIN),
        ),
        strategies.lists,
    ),
)


@given(st.lists(items, max_size=12))
def test_through_a_restart_nothing_changes(shown: list[tuple[str, bytes]]) -> None:
    made = Book("office", TRUSTED)
    for item in shown:
        made.take(*item)
    again, lost = Book.restore(made.snapshot(), TRUSTED)
    assert lost == []
    assert (again.records, again.contested) == (made.records, made.contested)
    assert again.snapshot() == made.snapshot() and again.list == made.list
    for name in {*made.records, *made.contested}:
        assert again.is_revoked(name) == made.is_revoked(name)
    for item in shown:
        before = dict(again.records)
        again.take(*item)
        assert dict(again.records) == before, "nothing old is believed again"


def test_a_key_that_is_out_of_the_file_verifies_nothing() -> None:
    made = book(node(H1), node(record_of(2), LOCKED_AWAY), listing(1, {"h1": (1, False)}))
    again, lost = Book.restore(made.snapshot(), TRUSTED[1:])
    assert again.records == {"h2": record_of(2)} and again.list is None
    assert lost == [
        "the list on disk is not signed by a trusted key: forgotten",
        "the record of h1 on disk is not signed by a trusted key: forgotten",
    ]
    assert again.serial("h1") == 1, "its serial is not forgotten"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return memory.file_of("office", tmp_path)


def test_the_file(file: Path) -> None:
    assert memory.load(file, "office") is None
    new = replace(H1, serial=2, key=key_of(1, 3), previous=H1.key)
    made = book(node(new), node(record_of(2, macs=H1.macs)), listing(3, {"h5": (2, True)}))
    made.renewed("h1", new.key)
    memory.save(file, made.snapshot())
    assert memory.load(file, "office") == made.snapshot()
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700


def test_the_number_of_the_last_sign_of_life(file: Path) -> None:
    assert memory.load_sequence(file) == 0
    memory.save_sequence(file, 1_700_000_000_000)
    assert memory.load_sequence(file) == 1_700_000_000_000
    for junk in ("", "-1\n", "many\n", "1" * 5000, f"{2**63}\n"):
        file.with_name("sequence").write_text(junk)
        assert memory.load_sequence(file) == 0


def line(file: Path, mesh: str = "office") -> str:
    with pytest.raises(L2wgError) as caught:
        memory.load(file, mesh)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(file.parent), "")


def test_a_file_that_is_no_good(file: Path) -> None:
    memory.save(file, book(node(H1)).snapshot())
    assert line(file, "other") == (
        "/memory.json: is of the mesh office, not other (it belongs in /memory.json)"
    )
    good = file.read_text()
    damaged = (
        "/memory.json: is damaged (l2wgctl mesh import it anew from another host, or remove it to "
        "trust the store once)"
    )
    for text in (
        "",
        good[:-9],
        "[]",
        "[" * 100_000,
        good.replace('"version": 1', '"version": 0'),
        good.replace('"floors"', '"flaws"'),
        good.replace("1,\nfalse", "0,\nfalse"),
        good.replace('"h1"', '"H1"'),
        good.replace('"moved": {}', '"moved": {"h1": "x"}'),
        good.replace("record", "\N{SNOWMAN}"),
    ):
        assert text != good
        file.write_text(text)
        assert line(file) == damaged, text[:40]
    file.write_text(good.replace('"version": 1', '"version": 2'))
    assert line(file) == (
        "/memory.json: is of a newer l2wgctl (version 2, this one knows 1) (install that one)"
    )
    aside = memory.put_aside(file)
    assert aside.name == "memory.json.damaged" and memory.load(file, "office") is None


def test_a_file_that_others_may_write_to(file: Path) -> None:
    memory.save(file, book(node(H1)).snapshot())
    file.chmod(0o620)
    assert line(file).startswith("/memory.json: may be written by others (mode 0620) (chmod 600 ")


def test_a_file_that_cannot_be_written_stays(file: Path) -> None:
    file.parent.parent.joinpath("office").write_text("in the way")
    with pytest.raises(L2wgError) as caught:
        memory.save(file, book().snapshot())
    assert "\n" not in str(caught.value)


def test_what_is_imported_is_taken_once(file: Path) -> None:
    assert memory.take_import(file) == []
    memory.put_import(file, [b"one", b"two\n"])
    memory.put_import(file, [b"two", b"three"])
    # it stays until it is remembered: who takes it may be killed
    for _ in range(2):
        assert memory.take_import(file) == [b"one", b"two", b"three"]
    memory.drop_import(file)
    memory.drop_import(file)
    assert memory.take_import(file) == []


def test_what_is_imported_meanwhile_is_not_lost(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.put_import(file, [b"one"])
    read = memory._read

    def slow(path: Path) -> bytes | None:
        found = read(path)
        monkeypatch.setattr(memory, "_read", read)
        memory.put_import(file, [b"two"])
        return found

    monkeypatch.setattr(memory, "_read", slow)
    first = memory.take_import(file)
    memory.drop_import(file)
    assert first + memory.take_import(file) == [b"one", b"two"]


def test_a_line_feed_is_no_news() -> None:
    made = book(node(H1))
    key, raw = node(H1)
    assert made.take(key, raw + b"\n") == Verdict(False, None)


def test_what_is_gone_from_the_store_is_ignored_no_more() -> None:
    made = book()
    junk = [(f"/l2wg/office/nodes/n{number}", b"junk") for number in range(IGNORED_MAX + 10)]
    for _ in range(3):
        made.take_all(junk)
        assert (len(made.refusals), made.refusals.more) == (IGNORED_MAX, 10)
    made.take_all(junk[:3])
    assert (len(made.refusals), made.refusals.more) == (3, 0)

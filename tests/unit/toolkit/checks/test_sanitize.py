# SPDX-License-Identifier: GPL-2.0
"""./inv sanitize: what it runs, and what it makes of that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from toolkit import paths, tables
from toolkit.checks import guests, marked, sanitize
from toolkit.errors import ToolError
from toolkit.lab import process
from toolkit.lab.lab import Lab

LAB = cast(
    Lab,
    SimpleNamespace(
        kernel=SimpleNamespace(release="6.12.1-uml"),
        module=SimpleNamespace(file=Path("l2wireguard.ko")),
    ),
)
CTL = "tests/vm/test_ctl_up.py"


@pytest.mark.parametrize("whole", [False, True])
def test_what_runs(whole: bool) -> None:
    named = ", ".join(what for what, _ in sanitize.parts(LAB, whole=whole)).split(", ")
    files = {Path(file).stem.removeprefix("test_") for file in guests.files()}
    assert {"allocations", "netlink_fuzz", "hostile", "switch"} <= set(named)
    assert ("ctl_up" in named, "underlays" in named) == (whole, whole)
    assert ("WireGuard's netns.sh" in named) is whole
    assert "WireGuard's self-tests at load" in named
    assert not whole or files <= set(named)


def test_what_runs_on_several_processors() -> None:
    named = [what for what, _ in sanitize.several()]
    assert named[0] == "races, smp"
    assert any("switch_order" in what for what in named)
    assert (paths.ROOT / sanitize.STORMS).exists()


@pytest.mark.parametrize("attacks", [False, True])
def test_hostile_peers_have_a_guest_of_their_own(attacks: bool) -> None:
    named = [what for what, _ in sanitize.parts(LAB, whole=False, attacks=attacks)]
    assert ("attacks" in named) is attacks
    assert (paths.ROOT / sanitize.ATTACKS).exists()


def test_a_part_that_cannot_run_there_names_that_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise ToolError("no such kernel")

    monkeypatch.setattr(sanitize.kernels, "resolve", fails)
    (_, job), *_rest = sanitize.several()
    assert job() == sanitize.Row("races", "smp", "0", findings=("no such kernel",))


def test_a_part_that_cannot_run_is_a_finding() -> None:
    def fails() -> sanitize.Row:
        raise ToolError("the guest ended", again="sh again")

    row = sanitize._row("links", fails)
    assert sanitize.table([row])[1][:5] == ["links", "uml", "0", "0", "the guest ended"]
    assert row.again == "sh again"


def test_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        sanitize.Row("links", "6.12", "3 tests, 1 skipped", 61.4),
        sanitize.Row("frames", "6.12", "2 tests", 1, ("tests/vm/test_x.py::test_y", "z")),
    ]
    monkeypatch.setattr(time, "strftime", lambda _: "today")
    assert sanitize.table(rows)[1:] == [
        ["links", "6.12", "3 tests, 1 skipped", "61", "none", "today"],
        ["frames", "6.12", "2 tests", "1", "tests/vm/test_x.py::test_y; z", "today"],
    ]
    assert sanitize.coverage({"l2wg_b.c": {1: 2, 2: 0}, "l2wg_a.c": {7: 1, 8: 1}})[1:] == [
        ["`kernel/l2wg_a.c`", "2/2 (100.00 %)", ""],
        ["`kernel/l2wg_b.c`", "1/2 (50.00 %)", "2"],
        ["all", "3/4 (75.00 %)", ""],
    ]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What has run, of a run without guests; it writes into a document that knows three parts."""
    ran: list[str] = []

    def part(what: str, kernel: str) -> tuple[str, Callable[[], sanitize.Row]]:
        def job() -> sanitize.Row:
            ran.append(what)
            if what == "bad":
                raise ToolError("a warning")
            return sanitize.Row(what, f"6.12.2-{kernel}", "1 tests")

        return f"{what}, {kernel}", job

    (tmp_path / "docs").mkdir()
    for module, name, value in (
        (paths, "ROOT", tmp_path),
        (paths, "LOGS", tmp_path / "logs"),
        (paths, "BUILD", tmp_path / "build"),
        (sanitize.labs, "make", lambda _: LAB),
        (sanitize.kernels, "resolve", lambda _: None),
        (sanitize, "parts", lambda *_, **__: [part("links", "uml"), part("bad", "uml")]),
        (sanitize, "several", lambda: [part("links", "smp")]),
        (sanitize.lines, "count", lambda *_: {"l2wg_a.c": {7: 1}}),
        (time, "strftime", lambda _: "today"),
    ):
        monkeypatch.setattr(module, name, value)
    rows = [["links", "6.12.1-uml"], ["links", "6.12.1-smp"], ["gone", "6.12.1-uml"]]
    before = tables.markdown([["what", "kernel"], *rows])
    marks = ("<!-- sanitize -->", before, "<!-- end of sanitize -->", "<!-- lines -->", "x")
    (tmp_path / sanitize.DOCUMENT).write_text("\n".join([*marks, "<!-- end of lines -->", ""]))
    return ran


def written() -> list[list[str]]:
    """What the document has, without heads and dates."""
    return [row[:2] + row[4:5] for row in marked.tables("sanitize", sanitize.DOCUMENT)[0][1:]]


def test_one_part_takes_its_own_row(ran: list[str]) -> None:
    assert sanitize.sanitize(only="links, smp", plaintexts=0, write=True)
    assert ran == ["links"]
    new = ["links", "6.12.2-smp", "none"]
    assert written() == [["links", "6.12.1-uml"], new, ["gone", "6.12.1-uml"]]
    assert not marked.tables("lines", sanitize.DOCUMENT)


def test_all_parts_make_a_new_table(ran: list[str]) -> None:
    """What was found is in it."""
    assert not sanitize.sanitize(plaintexts=0, write=True)
    assert sorted(ran) == ["bad", "links", "links"]
    assert written() == [
        ["links", "6.12.2-smp", "none"],
        ["links", "6.12.2-uml", "none"],
        ["bad, uml", "uml", "a warning"],
    ]
    assert marked.tables("lines", sanitize.DOCUMENT)


def test_what_is_interrupted_has_found_nothing(
    ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, remember = threading.Event(), sanitize.remember

    def whole() -> sanitize.Row:
        begun.wait()
        return sanitize.Row("whole", "6.12.2-uml", "1 tests")

    def ended() -> sanitize.Row:
        begun.set()
        while not all(pool.failed for pool in process._here.pools):
            time.sleep(0.01)
        raise ToolError("the guest ended before the command did")

    def note(row: sanitize.Row) -> None:
        # A real signal that comes just before a thread blocks does not wake it.
        remember(row)
        raise KeyboardInterrupt

    monkeypatch.setattr(sanitize, "parts", lambda *_, **__: [("whole", whole), ("links", ended)])
    monkeypatch.setattr(sanitize, "remember", note)
    before = written()
    with pytest.raises(KeyboardInterrupt):
        sanitize.sanitize(minutes=0, plaintexts=0, write=True)
    assert written() == [*before, ["whole", "6.12.2-uml", "none"]]


def test_no_part_has_that_name(ran: list[str]) -> None:
    with pytest.raises(ToolError) as error:
        sanitize.sanitize(only="lniks", plaintexts=0)
    assert error.value.what == "--only lniks: no part has that in its name"
    assert "links, smp; links, uml; bad, uml" in str(error.value)
    assert not ran


def test_what_tests_have_counted(tmp_path: Path) -> None:
    assert sanitize._figures(tmp_path) == ""
    (tmp_path / "figures").write_text("1200 messages\n7 accepted by it\n34 messages\n")
    assert sanitize._figures(tmp_path) == ", 1,234 messages, 7 accepted by it"


def test_what_another_build_has_counted_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """gcov would refuse it: it has stamps of its own."""
    monkeypatch.setattr(paths, "LOGS", tmp_path)
    for name in ("sanitize-0", "sanitize-10", sanitize.LOAD):
        (tmp_path / name / "gcda").mkdir(parents=True)
    assert [p.parent.name for p in sanitize._counted()] == ["sanitize-0", "sanitize-10"]


def test_the_document_has_room_for_them() -> None:
    for part in ("sanitize", "lines"):
        marked.tables(part, sanitize.DOCUMENT)

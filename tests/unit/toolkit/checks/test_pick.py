# SPDX-License-Identifier: GPL-2.0
"""./inv test FILES -k EXPRESSION: the right tests, in the room that they need."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit import needs, paths
from toolkit.checks import guests, pick, suite
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError

VALUES = "tests/unit/ctl/test_values.py"
LINK = "tests/vm/test_link.py"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[object, ...]]:
    """(room, kernel, tests, options) of what was to run; nothing does."""
    seen: list[tuple[object, ...]] = []

    def unit(select: Sequence[str], only: Sequence[str]) -> Outcome:
        seen.append(("unit", *select, *only))
        return Outcome("unit", 1, 0)

    def guest(_: object, select: Sequence[str], __: Path, **given: object) -> Outcome:
        only = given["only"]
        assert isinstance(only, Sequence)
        seen.append((given["kernel"], *select, *only))
        return Outcome("guest", 1, 0)

    def two(_: object, first: str, second: str, only: Sequence[str]) -> Outcome:
        seen.append((first, second, *only))
        return Outcome("two", 1, 0)

    monkeypatch.setattr(suite, "unit", unit)
    monkeypatch.setattr(guests, "run", guest)
    monkeypatch.setattr(suite, "two_machines", two)
    monkeypatch.setattr(needs, "ensure", lambda task: seen.append(("needs", task)))
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(pick, "Labs", lambda names: {n: SimpleNamespace() for n in names})
    return seen


def test_a_unit_test_needs_nothing(ran: list[tuple[object, ...]]) -> None:
    assert pick.run([VALUES])
    assert ran == [("unit", VALUES)]


def test_an_expression_keeps_its_words(ran: list[tuple[object, ...]]) -> None:
    assert pick.run([VALUES], "test_keys or endpoint")
    assert ran == [("unit", VALUES, "-k", "test_keys or endpoint")]


def test_a_guest_test_boots_a_guest(ran: list[tuple[object, ...]]) -> None:
    test = f"{LINK}::test_wg_configures_it"
    pick.run([test], kernel="6.1")
    assert ran == [("needs", "test-vm"), ("6.1", test)]


def test_an_expression_alone_finds_its_room(ran: list[tuple[object, ...]]) -> None:
    pick.run(expression="test_wg_configures_it")
    assert ran == [("needs", "test-vm"), ("5.10", LINK, "-k", "test_wg_configures_it")]


def test_machines_are_a_pair(ran: list[tuple[object, ...]]) -> None:
    pick.run(["tests/machines"])
    assert ran == [("needs", "test-vm"), ("5.10", "newest")]


def test_rooms_can_be_left_out(ran: list[tuple[object, ...]]) -> None:
    with pytest.raises(ToolError, match=f"^test: no test is {LINK} "):
        pick.run([LINK], rooms=[pick.HERE])
    assert ran == []


@pytest.mark.parametrize(
    ("files", "expression", "error"),
    [
        (["tests/unit/no.py"], None, "test: tests/unit/no.py is no file of this checkout"),
        ([VALUES], "nothing_like_it", f"test: no test is {VALUES} -k nothing_like_it"),
        (["tests/package"], None, "test: tests/package is not run by this command"),
        ([f"{VALUES}::test_no"], None, f"test: ERROR: not found: {paths.ROOT}/{VALUES}::test_no"),
    ],
)
def test_what_does_not_exist(
    ran: list[tuple[object, ...]], files: list[str], expression: str | None, error: str
) -> None:
    with pytest.raises(ToolError) as caught:
        pick.run(files, expression)
    assert caught.value.what == error
    assert ran == []


def test_files_are_named_from_where_one_is(
    ran: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(paths.ROOT / "tests/unit/ctl")
    pick.run(["test_values.py"])
    assert ran == [("unit", VALUES)]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("test a.py b.py::t -k x", "test --files a.py --files b.py::t -k x"),
        ("test -k x a.py", "test -k x --files a.py"),
        ("test a.py --kernel 6.1", "test --files a.py --kernel 6.1"),
        ("test --kernel=6.1 a.py --vm", "test --kernel=6.1 --files a.py --vm"),
        ("test --unit", "test --unit"),
        ("frames a.pcap", "frames a.pcap"),
        ("lab --kernel 6.1 -- test x", "lab --kernel 6.1 -- test x"),
        ("build-module --sign k c", "build-module --sign k --cert c"),
    ],
)
def test_what_invoke_is_given(typed: str, words: str, tmp_path: Path) -> None:
    """The words of the script `./inv`, as it hands them on."""
    script = (paths.ROOT / "inv").read_text()
    part = script[script.index("task='' before") : script.index("# What a new user")]
    done = subprocess.run(
        ["sh", "-euc", part + 'printf "%s\\n" "$*"', "inv", *typed.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == words

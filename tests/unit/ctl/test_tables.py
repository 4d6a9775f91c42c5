# SPDX-License-Identifier: GPL-2.0
"""Routing tables by name, as iproute2 reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from l2wgctl.conf import tables
from l2wgctl.conf.tables import table_number
from l2wgctl.errors import L2wgError


@pytest.fixture
def etc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """/etc/iproute2, with /usr/share/iproute2 beside it."""
    for name in ("etc", "usr"):
        (tmp_path / name / "rt_tables.d").mkdir(parents=True)
    files = tuple(tmp_path / name / "rt_tables" for name in ("etc", "usr"))
    monkeypatch.setattr(tables, "FILES", files)
    return tmp_path / "etc"


def test_numbers_and_names(etc: Path) -> None:
    (etc / "rt_tables").write_text("#\n# x\n100\tblue # y\n0x10 red\nz\n7 two words\n")
    (etc / "rt_tables.d/vpn.conf").write_text("200 vpn\n")
    (etc / "rt_tables.d/vpn.txt").write_text("201 not-read\n")
    (etc.parent / "usr/rt_tables").write_text("300 of-the-distribution\n")
    (etc.parent / "usr/rt_tables.d/more.conf").write_text("400 more\n200 other\n400 vpn\n")
    names = ("7", "main", "local", "default", "blue", "red", "vpn", "more")
    assert [table_number(name) for name in names] == [7, 254, 255, 253, 100, 16, 200, 400]
    for name in ("green", "two", "not-read", "of-the-distribution"):
        with pytest.raises(L2wgError) as caught:
            table_number(name)
        assert str(caught.value) == (
            f"no routing table is named '{name}' (write its number, or name it in a file of "
            "/etc/iproute2/rt_tables.d)"
        )


def test_the_distributions_file_counts_without_one_in_etc(etc: Path) -> None:
    (etc.parent / "usr/rt_tables").write_text("300 of-the-distribution\n")
    assert table_number("of-the-distribution") == 300


@pytest.mark.parametrize("text", ["0", "4294967296", "9999999999999999999"])
def test_numbers_that_are_none(etc: Path, text: str) -> None:
    with pytest.raises(L2wgError) as caught:
        table_number(text)
    assert str(caught.value) == f"routing table '{text}' is not 1-4294967295"

# SPDX-License-Identifier: GPL-2.0
"""Tables for a terminal and for documents."""

from __future__ import annotations

from toolkit import tables

ROWS = [["kernel", "size"], ["`5.10`", "226 kB"], ["newest", ""]]


def test_a_document_can_be_read_back() -> None:
    text = f"# Head\n\n{tables.markdown(ROWS)}\n\nand\n\n{tables.markdown(ROWS, numbers=True)}\n"
    assert tables.read(text) == [ROWS, ROWS]
    assert "| --- | ---: |" in text


def test_a_terminal_has_columns() -> None:
    lines = tables.text(ROWS, numbers=True).splitlines()
    assert [line.split() for line in lines if "5.10" in line] == [["`5.10`", "226", "kB"]]
    assert (
        len(
            {line.rindex(end) + len(end) for end in ("size", "kB") for line in lines if end in line}
        )
        == 1
    )


def test_only_what_failed_is_red() -> None:
    lines = tables.text(ROWS, bad=[2], colour=True).splitlines()
    assert ["\x1b[31m" in line for line in lines if "5.10" in line or "newest" in line] == [
        False,
        True,
    ]


def test_a_long_name_is_not_cut() -> None:
    name = "build/logs/" + "x" * 300
    assert "".join(tables.text([["log"], [name]]).split()).endswith(name)

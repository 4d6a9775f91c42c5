# SPDX-License-Identifier: GPL-2.0
"""./inv bench-hostile: what is sent, and what is written of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench import hostile, measure
from toolkit.errors import ToolError
from toolkit.guest import hostile as attacks


def line(
    attack: str, goodput: float, instructions: float, attackers: int = 1, **counted: int
) -> dict[str, Any]:
    return {
        **{"attack": attack, "goodput": goodput, "frames": 9000.4, "instructions": instructions},
        **{"counted": counted, "entries": 200, "memory": 12, "attackers": attackers},
    }


LINES = [
    line("none", 100, 0, 0),
    line("shut out: E", 50, 30_000, rx_closed=1000),
    line("shut out: E and F", 30, 0, 2, rx_closed=1000),
    {"bytes_of_an_entry": 105.4},
    line("flood", 40, 31_500, tx_flood=10, rx_flood_limit=990, rx_move=900),
    line("of two", 15, 0, 2, rx_move=5),
]
TEXT = """\
Linux 5.10.262 in QEMU, counted instructions, 2026-11-26:

| {} |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| none |  | 100.0 |  |  |  |  |  |  |
| shut out: E | 9,000 | 50.0 | 1.00 | 0.50 |  | `rx_closed` | 200 of 200 | +12 |
| shut out: E and F | 9,000 | 30.0 | 1.00 | 0.30 |  | `rx_closed` | 200 of 200 | +12 |
| flood | 9,000 | 40.0 | 0.80 | 0.40 | 1,500 | `rx_flood_limit`, `rx_move` | 200 of 200 | +12 |
| of two | 9,000 | 15.0 | 0.50 | 0.15 |  | `rx_move` | 200 of 200 | +12 |

A frame of an attacker that is shut out costs 30,000 instructions, its sending included. A learned \
entry takes 105 bytes of memory, buckets included (aim 144)."""


def test_what_goes_into_the_docs(tmp_path: Path) -> None:
    text = hostile.text(LINES, "5.10.262", "2026-11-26")
    assert text == TEXT.format(" | ".join(hostile.HEAD))
    page = tmp_path / "page.md"
    begin, end = hostile.MARKS
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    hostile.publish(text, page)
    assert page.read_text() == f"before\n{begin}\n{text}\n\n{end}\nafter\n"
    page.write_text("nothing")
    with pytest.raises(ToolError, match="bench-hostile"):
        hostile.publish(text, page)


def test_the_page_has_a_place_for_it() -> None:
    page = hostile.PAGE.read_text()
    assert page.count(hostile.MARKS[0]) == page.count(hostile.MARKS[1]) == 1


def test_frames_are_as_they_are_sent() -> None:
    spoofed = attacks.arp("02:00:00:00:00:0e", "192.168.157.1", "192.168.157.254")
    assert spoofed.hex() == (
        "ffffffffffff02000000000e0806"  # Ethernet
        "000108000604000102000000000ec0a89d01000000000000c0a89dfe"  # RFC 826
    ).ljust(120, "0")
    assert len(attacks.frame("02:00:00:00:00:01", attacks.station(999, 1))) == attacks.SIZE
    assert attacks.station(999, 1) == "02:00:00:01:03:e7"


def test_the_program_refuses_what_are_no_frames() -> None:
    program = measure.packets_program()
    for frames in ("", "zz" * 20, "00" * 13, "00" * 14 + ","):
        done = subprocess.run(
            [program, "frames", "A", "wg1", "-", frames, "1", "2", "0"],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (1, "bench-packets: FRAMES: Invalid argument\n")

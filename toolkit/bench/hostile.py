# SPDX-License-Identifier: GPL-2.0
"""./inv bench-hostile: what honest peers of a switch lose while others attack it.

It runs :mod:`toolkit.guest.hostile` in a guest that counts instructions, so the figures do not
depend on what else this machine does, and writes them into docs/switch.md.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit import paths, tables
from toolkit.bench import measure, report
from toolkit.guest.hostile import SHUT_OUT, STATIONS, Plan
from toolkit.lab.lab import Lab
from toolkit.run import say

PAGE = paths.ROOT / "docs/switch.md"
MARKS = "<!-- written by ./inv bench-hostile -->", "<!-- until here -->"
LIMIT = 3600  # seconds without a word of the guest
#: runs, milliseconds, sources
FULL, QUICK = (3, 300, 100_000), (1, 200, 20_000)
HEAD = (
    *("attack", "frames a second", "goodput, Mbit/s", "of an attacker shut out", "of none"),
    *("more instructions a frame", "counted by", "entries kept", "kB more"),
)
Lines = Sequence[dict[str, Any]]


def bench(lab: Lab, *, quick: bool = False) -> None:
    """Measure and print the table.

    :param quick: little of it, and nothing for the docs.
    :raises ToolError: the guest does not end, a measure fails, or the kernel complains.
    """
    lines = _measure(lab, Plan(*(QUICK if quick else FULL), str(measure.packets_program())))
    tables.show(rows(lines), numbers=True)
    print(entry(lines))
    if not quick:
        today = datetime.datetime.now(datetime.timezone.utc).date()
        publish(text(lines, lab.kernel.version, today.isoformat()))


def _measure(lab: Lab, plan: Plan) -> Lines:
    say(f"Attacks on a hub in a guest with {lab.kernel.label}")
    folder = paths.fresh(paths.logs("bench-hostile"))
    (folder / "plan.json").write_text(json.dumps(dataclasses.asdict(plan)))
    results = folder / "results"
    command = ["python3", "-m", "toolkit.guest.hostile", str(folder / "plan.json"), str(results)]
    done = lab.run(command, folder=folder, timeout=LIMIT, vm=measure.COUNTING)
    done.must_be_good("bench-hostile")
    return [json.loads(line) for line in results.read_text().splitlines()]


def rows(lines: Lines) -> list[list[str]]:
    """For a table: a row for each attack. The first is none.

    What has no attackers shut out of the same number beside it has no ratio to them.
    """
    nobody, *others = [line for line in lines if "attack" in line]
    unseen = {x["attackers"]: x for x in others if x["attack"].startswith(SHUT_OUT)}
    made = [list(HEAD), [nobody["attack"], "", f"{nobody['goodput']:.1f}", *[""] * 6]]
    for line in others:
        base = unseen.get(line["attackers"])
        more = line["instructions"] - (base["instructions"] if base else 0)
        made.append(
            [
                *(line["attack"], f"{line['frames']:,.0f}", f"{line['goodput']:.1f}"),
                f"{line['goodput'] / base['goodput']:.2f}" if base else "",
                f"{line['goodput'] / nobody['goodput']:.2f}",
                f"{more:,.0f}" if line["instructions"] and line is not base else "",
                ", ".join(f"`{name}`" for name in verdicts(line)),
                *(f"{line['entries']} of {2 * STATIONS}", f"{line['memory']:+,}"),
            ]
        )
    return made


def verdicts(line: dict[str, Any]) -> list[str]:
    """The counters that most of an attack's frames are in, the largest first."""
    counted = sorted(line["counted"].items(), key=lambda item: -item[1])
    return [name for name, n in counted if n * 20 >= counted[0][1]]


def entry(lines: Lines) -> str:
    """What a frame costs that is dropped unseen, and what a learned entry takes."""
    (found,) = (x["bytes_of_an_entry"] for x in lines if "bytes_of_an_entry" in x)
    unseen = next(x["instructions"] for x in lines if x.get("attack", "").startswith(SHUT_OUT))
    return (
        f"A frame of an attacker that is shut out costs {unseen:,.0f} instructions, its sending "
        f"included. A learned entry takes {found:.0f} bytes of memory, buckets included (aim 144)."
    )


def text(lines: Lines, linux: str, date: str) -> str:
    """The part of docs/switch.md that comes from a run."""
    table = tables.markdown(rows(lines), numbers=True)
    return f"Linux {linux} in QEMU, counted instructions, {date}:\n\n{table}\n\n{entry(lines)}"


def publish(new: str, page: Path = PAGE) -> None:
    """Put it there.

    :raises ToolError: the page has no place for it.
    """
    page.write_text(report.between(page.read_text(), new, MARKS))

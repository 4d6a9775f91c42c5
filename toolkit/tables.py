# SPDX-License-Identifier: GPL-2.0
"""Tables, for a terminal and in a document, from which they can be read back.

A table is a list of rows, the head first.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Sequence

Rows = Sequence[Sequence[str]]
#: Characters in a line without a terminal (a log): as many as the widest table has.
WIDTH = 200


def show(rows: Rows, *, bad: Collection[int] = (), numbers: bool = False) -> None:
    """Print a table.

    :param bad: rows that failed, by their place in ``rows``; they are red.
    :param numbers: all columns but the first are numbers.
    """
    print(text(rows, bad=bad, numbers=numbers, colour=sys.stdout.isatty()))


def text(
    rows: Rows, *, bad: Collection[int] = (), numbers: bool = False, colour: bool = False
) -> str:
    """A table as it is printed; see :func:`show`."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(rows[0]):
        # a log's name is not cut, however narrow the terminal
        table.add_column(name, overflow="fold", justify="right" if numbers and place else "left")
    for place, row in enumerate(rows[1:], 1):
        table.add_row(*row, style="red" if place in bad else "")
    width = None if sys.stdout.isatty() else WIDTH
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, highlight=False, markup=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())


def markdown(rows: Rows, *, numbers: bool = False) -> str:
    """A table in Markdown; see :func:`show`."""
    line = ["---:" if numbers and place else "---" for place in range(len(rows[0]))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], line, *rows[1:]])


def read(document: str) -> list[list[list[str]]]:
    """The tables of a Markdown document, as rows for markdown()."""
    found: list[list[list[str]]] = []
    before = ""
    for line in document.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if not all(cell and not cell.strip("-:") for cell in cells):
                found[-1].append(cells)
        before = line
    return found

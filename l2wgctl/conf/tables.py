# SPDX-License-Identifier: GPL-2.0
"""Routing tables by name, as iproute2 has them.

Source: lib/rt_names.c of iproute2. The file in /etc replaces the distribution's file; the folders
rt_tables.d beside both add to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import L2wgError
from .values import number

#: The first file that exists counts, and all folders.
FILES = (
    Path("/etc/iproute2/rt_tables"),
    Path("/usr/share/iproute2/rt_tables"),
    Path("/usr/lib/iproute2/rt_tables"),
)
#: rtm_table has 32 bits, and 0 is RT_TABLE_UNSPEC.
LAST = 0xFFFFFFFF
_ROW = re.compile(r"\s*(0x[0-9A-Fa-f]+|[0-9]+)\s+([^\s#]+)\s*(#.*)?")


def _rows() -> Iterator[tuple[str, int]]:
    first = next((path for path in FILES if path.is_file()), None)
    paths = [first] if first else []
    for folder in dict.fromkeys(path.with_name("rt_tables.d") for path in reversed(FILES)):
        paths += sorted(folder.glob("*.conf"))
    for path in filter(Path.is_file, paths):  # a FIFO would keep us waiting
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            continue
        for line in text.splitlines():
            row = _ROW.fullmatch(line)
            if row:
                yield row[2], int(row[1], 16 if row[1].startswith("0x") else 10)


def table_number(table: str) -> int:
    """A routing table's number.

    :param table: its number or its name.
    :raises L2wgError: no table has that name, or the number is not 1-4294967295.
    """
    value = number(table)
    if value is None:
        names = {"local": 255, "main": 254, "default": 253, **dict(_rows())}
        if table not in names:
            raise L2wgError(
                f"no routing table is named '{table}'",
                "write its number, or name it in a file of /etc/iproute2/rt_tables.d",
            )
        value = names[table]
    if not 1 <= value <= LAST:
        raise L2wgError(f"routing table '{table}' is not 1-{LAST}")
    return value

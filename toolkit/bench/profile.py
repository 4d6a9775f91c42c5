# SPDX-License-Identifier: GPL-2.0
"""./inv profile: in which functions a frame's instructions are, ours beside the stock module's."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from toolkit import tables
from toolkit.bench import measure
from toolkit.bench.measure import Extent
from toolkit.lab.lab import Lab

SHOWN = 30  # functions


def differences(profiles: dict[str, dict[str, float]]) -> list[list[str]]:
    """Rows for a table: instructions of a frame in each contender, the largest difference first.

    :param profiles: contender -> function -> instructions of a frame; the first is the base.
    """
    base, *others = profiles
    functions = {f for p in profiles.values() for f in p}

    def difference(function: str) -> float:
        return max(
            abs(profiles[o].get(function, 0) - profiles[base].get(function, 0)) for o in others
        )

    rows = [["instructions a frame", *profiles]]
    rows.append(["all", *(f"{sum(p.values()):.0f}" for p in profiles.values())])
    for function in sorted(functions, key=difference, reverse=True)[:SHOWN]:
        rows.append([function, *(f"{p.get(function, 0):.0f}" for p in profiles.values())])
    return rows


def run(lab: Lab, much: Extent, *, small: bool = False) -> None:
    """Profile in a guest and print the table.

    :param small: packets of 64 bytes.
    :raises ToolError: see :func:`toolkit.bench.measure.run_guest`.
    """
    extent = dataclasses.replace(much, frames=(4096, 512))
    module = "toolkit.guest.profile"
    folder = measure.run_guest(lab, extent, "profile", "icount", 1, module, small=small)
    profiles: dict[str, Any] = json.loads((folder / "results").read_text())
    tables.show(differences(profiles), numbers=True)

# SPDX-License-Identifier: GPL-2.0
"""The plots of docs/mesh.md: ``python3 -m toolkit.bench.mesh_plot agents|crowd REPORT TARGET``.

Debian's python3-matplotlib draws it, as in toolkit.bench.plots.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

#: Field, name, colour, scale to milliseconds; and the field of the x axis, and what it is.
LINES = {
    "agents": (
        ("cold", "cold start of one agent", "#b35900", 1000),
        ("last", "change to the last of all agents on two cores", "#8b949e", 1000),
        ("alone", "change to the kernel of one", "#1a7f37", 1000),
    ),
    "crowd": (
        ("together", "all clients at once", "#b35900", 1000),
        ("kernel", "change to the kernel of an agent", "#1a7f37", 1000),
        ("last", "change to the last client", "#8b949e", 1000),
    ),
}
AXES = {
    "agents": ("records", "records in the store"),
    "crowd": ("clients", "records in the store, and clients of it"),
}


def main(kind: str, report: str, target: str) -> None:
    """Draw one picture."""
    rows = json.loads(Path(report).read_text())
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11, "svg.hashsalt": "l2wg"})
    figure, axes = plt.subplots(figsize=(8, 3.6))
    count, label = AXES[kind]
    records = [row[count] for row in rows]
    for field, name, colour, scale in LINES[kind]:
        values = [row[field] * scale for row in rows]
        axes.plot(records, values, marker="o", color=colour, label=name)
        for x, y in zip(records, values):
            axes.annotate(f"{y:.0f}", (x, y), (0, 6), textcoords="offset points", ha="center")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(records, [f"{n:,}" for n in records])
    axes.minorticks_off()
    axes.set_xlabel(label)
    axes.set_ylabel("milliseconds")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])

# SPDX-License-Identifier: GPL-2.0
"""The plots of a report: ``python3 -m toolkit.bench.plots REPORT FOLDER``.

It uses Debian's python3-matplotlib in a Python of its own: matplotlib with its dependencies is
larger than all else that `./inv` needs, and nothing else needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

from toolkit.bench.stats import STOCK, Figure, read
from toolkit.guest.contenders import CONTENDERS

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

NAMES = {c.name: c.label for c in CONTENDERS.values() if c.label}
#: Our own links.
ETHERNET = ("l2wireguard", "l2wgswitch")
OURS, IP, OTHERS, INK, GREY = "#1a7f37", "#8b949e", "#b35900", "#24292f", "#6e7781"


def colour(contender: str) -> str:
    """One colour each for ours, for links that carry IP only, and for other Ethernet links."""
    if contender in ETHERNET:
        return OURS
    return IP if contender.startswith("wireguard") else OTHERS


def bars(
    figures: Sequence[Figure],
    length: Callable[[Figure], float],
    label: Callable[[Figure], str],
    title: str,
    note: str,
    target: Path,
) -> None:
    """Horizontal bars, one for each figure in the order given; ``target`` as .svg and .png."""
    plt.rcParams.update(
        {"font.family": "DejaVu Sans", "font.size": 11, "svg.hashsalt": "l2wg", "text.color": INK}
    )
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(figures) + 1.1))
    places = range(len(figures))
    most = max(map(length, figures))
    axes.barh(
        places,
        [length(f) for f in figures],
        color=[colour(f.contender) for f in figures],
        height=0.72,
    )
    for place, f in zip(places, figures):
        axes.text(
            length(f) + most * 0.012,
            place,
            label(f),
            va="center",
            weight="bold" if f.contender in ETHERNET else "normal",
        )
    axes.set_yticks(places, [NAMES.get(f.contender, f.contender) for f in figures])
    for tick, f in zip(axes.get_yticklabels(), figures):
        tick.set_weight("bold" if f.contender in ETHERNET else "normal")
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1.13)
    axes.set_xticks([])
    axes.tick_params(length=0, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)
    figure.text(0.02, 0.98, title, ha="left", va="top", weight="bold", size=12.5)
    figure.text(0.02, 0.02, note, ha="left", va="bottom", color=GREY, size=9)
    height = figure.get_figheight()
    figure.tight_layout(rect=(0, 0.3 / height, 1, 1 - 0.38 / height))
    figure.savefig(target.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(target.with_suffix(".png"), dpi=160, metadata={"Software": None})
    plt.close(figure)


def main(report_file: str, folder: str) -> None:
    """Draw the plots that the report has figures for."""
    report = read(Path(report_file))
    found: list[Figure] = report["figures"]
    where = f"Linux {report['linux']} in QEMU (TCG), {report['date']}"

    def of(measure: str) -> list[Figure]:
        return [f for f in found if f.measure == measure and f.contender in NAMES]

    goodput = [f for f in of("tcp_goodput") if f.ratio]
    if goodput:
        bars(
            sorted(goodput, key=lambda f: -(f.ratio or 0)),
            lambda f: f.ratio or 0,
            lambda f: f"{f.ratio:.2f}",
            "TCP goodput for the same work of the processor, WireGuard = 1",
            f"Bytes delivered for executed instructions. {where}",
            Path(folder, "goodput"),
        )
    wire = sorted(of("wire_overhead_bytes"), key=lambda f: f.value)
    stock = next((f.value for f in wire if f.contender == STOCK), None)
    if stock is not None:
        bars(
            wire,
            lambda f: f.value,
            lambda f: f"{f.value:.1f}" + (f" (+{f.value - stock:.3g})" if f.value > stock else ""),
            "Bytes on the wire that are added to an IP packet",
            f"Mean over packets of 1,200 to 1,215 bytes; in brackets over WireGuard. {where}",
            Path(folder, "overhead"),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

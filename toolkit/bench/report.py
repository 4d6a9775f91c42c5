# SPDX-License-Identifier: GPL-2.0
"""Reports for people: tables on the terminal and in the docs, plots, what changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from toolkit import paths, tables
from toolkit.bench import stats
from toolkit.bench.stats import MEASURES, Aim, Figure
from toolkit.errors import ToolError
from toolkit.guest.contenders import CONTENDERS
from toolkit.run import run, say

#: Debian's Python, which sees Debian's matplotlib.
PYTHON = "/usr/bin/python3"
README = paths.ROOT / "README.md"
PAGE = paths.ROOT / "docs/bench.md"
BEGIN, END = "<!-- written by ./inv bench -->", "<!-- until here -->"


def number(value: float) -> str:
    """Four significant digits, thousands with commas."""
    if abs(value) >= 1000:
        return f"{float(f'{value:.4g}'):,.0f}"
    return f"{value:.4g}"


def table(found: Iterable[Figure], measures: Sequence[str], *, short: bool) -> list[list[str]]:
    """A row for each contender, a column for each measure that has a figure.

    :param short: only the ratio to stock, and bytes as they are.
    """
    by = {(f.contender, f.measure): f for f in found}
    measures = [m for m in measures if any(k[1] == m for k in by)]
    units = {f.measure: f.unit for f in by.values()}
    rows = [["", *(_head(m, units[m], short=short) for m in measures)]]
    for contender in CONTENDERS:
        if any(k[0] == contender for k in by):
            cells = [_cell(by.get((contender, m)), short=short) for m in measures]
            rows.append([contender, *cells])
    return rows


def _head(measure: str, unit: str, *, short: bool) -> str:
    title = MEASURES[measure].title
    return title if short or unit in title or unit.split("/")[0] in title else f"{title}, {unit}"


def _cell(figure: Figure | None, *, short: bool) -> str:
    if not figure:
        return ""
    if figure.unit == "bytes":
        return f"{figure.value:.4g}"
    if short:
        return f"{figure.ratio:.2f}" if figure.ratio else ""
    ratio = f" ({figure.ratio:.3f})" if figure.ratio else ""
    return f"{number(figure.value)}{ratio} ±{figure.spread / 2:.1%}"


#: What the README has of it; the rest is in docs/bench.md.
SUMMARY = ("tcp_goodput", "instructions_per_frame", "wire_overhead_bytes")
TABLES = {
    "Executed instructions": (
        "tcp_goodput",
        "tcp_goodput_4_streams",
        "instructions_per_frame",
        "instructions_per_frame_64",
        "instructions_per_segment",
    ),
    "TCP over other cards": ("tcp_goodput_joined", "tcp_goodput_apart"),
    "Latency beside a TCP stream": (
        "rtt_median_loaded",
        "rtt_p99_loaded",
        "rtt_median_uplink",
        "rtt_p99_uplink",
        "rtt_median_forwarded",
        "rtt_p99_forwarded",
    ),
    "Many peers on one link": (
        "instructions_per_frame",
        "instructions_per_frame_100_peers",
        "instructions_per_frame_1000_peers",
    ),
    "Through a hub": ("hub_tcp_goodput", "hub_instructions_per_frame"),
    "Flooding": ("flood_copy_10", "flood_copy_100", "flood_copy_1000"),
    "Checksums verified at the receiver": (
        "tcp_goodput_verified",
        "instructions_per_frame_verified",
    ),
    "Bytes on the wire": ("wire_overhead_bytes", "wire_bytes_per_payload_byte"),
    "By the clock": ("udp_packets_64", "udp_packets_1406", "rtt_median", "rtt_p99"),
    "By the clock, TCP and set-up": (
        "tcp_goodput_wall",
        "tcp_goodput_wall_4_streams",
        "setup_time",
    ),
}


def control_table(found: Iterable[Figure]) -> list[list[str]]:
    """l2wgctl beside wg; empty if that was not measured."""
    by = {(f.contender, f.measure): f.value for f in found if f.contender in ("wg", "l2wgctl")}
    rows = []
    for contender, measure in by:
        if contender != "wg" or not measure.endswith("_seconds"):
            continue
        what = measure.removesuffix("_seconds")
        command, peers = what.rsplit("_", 1)
        wg, ours = by["wg", measure], by["l2wgctl", measure]
        memory = [by[tool, f"{what}_kilobytes"] / 1024 for tool in ("wg", "l2wgctl")]
        rows.append(
            [
                f"{command.replace('_', ' ')}, {int(peers):,} peers",
                f"{number(wg)} s",
                f"{number(ours)} s",
                f"{ours / wg:.2f}",
                *(f"{m:.1f} MB" for m in memory),
            ]
        )
    return [["", "wg", "l2wgctl", "ratio", "wg", "l2wgctl"], *rows] if rows else []


def length_table(found: Iterable[Figure]) -> list[list[str]]:
    """The length function, a row for each frame."""
    by = {(f.contender, f.measure): f.value for f in found if f.measure.startswith("length_")}
    rows = [
        [contender, f"{value:.0f}", f"{by[contender, 'length_ns']:.1f}"]
        for (contender, measure), value in by.items()
        if measure == "length_instructions"
    ]
    return [["frame", "instructions", "ns"], *rows] if rows else []


def aim_lines(aims: Iterable[Aim]) -> list[str]:
    """One line for each aim that was measured."""
    return [
        f"{'met' if a.met else 'MISSED'}: {a.text} ({a.found:.4g})"
        for a in aims
        if a.found is not None
    ]


def text(found: list[Figure]) -> str:
    """All tables for the terminal."""
    parts = [(title, table(found, measures, short=False)) for title, measures in TABLES.items()]
    parts += [("l2wgctl and wg", control_table(found)), ("Length function", length_table(found))]
    out = [
        f"{title}\n{tables.text(rows, numbers=True)}"
        for title, rows in parts
        if len(rows) > 1 and len(rows[0]) > 1
    ]
    out.append("Aims\n" + "\n".join(aim_lines(stats.aims(found))))
    return "\n\n".join(out)


def tell_changes(old: list[Figure], new: list[Figure]) -> bool:
    """Print what differs from an earlier report; False if something became worse."""
    changes = stats.compare(old, new)
    print("\n" + ("\n".join(map(str, changes)) or "nothing differs by more than chance"))
    return not any(c.by < 0 for c in changes)


def draw(report: Path, folder: Path) -> None:
    """Draw the plots of a report into a folder.

    :raises ToolError: Debian's matplotlib is missing, or fails.
    """
    say("Drawing the plots")
    run(
        [PYTHON, "-m", "toolkit.bench.plots", report, folder],
        cwd=paths.ROOT,
        env={"PYTHONPATH": str(paths.ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        hint="apt-get install python3-matplotlib",
    )


def readme(report: dict[str, Any], name: str) -> str:
    """The README's part of a report."""
    found = report["figures"]
    aims = [a for a in stats.aims(found) if a.found is not None]
    met = sum(a.met for a in aims)
    verdict = f"{met} of {len(aims)} [aims](docs/bench.md#aims) are met."
    return "\n\n".join(
        [
            tables.markdown(table(found, SUMMARY, short=True), numbers=True),
            f"Linux {report['linux']} in QEMU without KVM, {report['date']}: "
            f"[all figures](docs/bench.md). {verdict}",
        ]
    )


def page(report: dict[str, Any], name: str) -> str:
    """The part of docs/bench.md that comes from a report."""
    found, machine = report["figures"], report["machine"]
    lines = [
        f"From [{name}](bench/{name}): Linux {report['linux']} ({report['kernel']}) in "
        f"{machine['guest']} on {machine['cores']} cores of {machine['processor']}, "
        f"{report['date']}.",
    ]
    for title, measures in TABLES.items():
        rows = table(found, measures, short=False)
        if len(rows[0]) > 1:
            lines += [f"### {title}", tables.markdown(rows, numbers=True)]
    if rows := control_table(found):
        lines += [
            "### l2wgctl and wg",
            "Time and most memory resident.",
            tables.markdown(rows, numbers=True),
        ]
    if rows := length_table(found):
        lines += [
            "### The length function, on the machine itself",
            tables.markdown(rows, numbers=True),
        ]
    lines += ["### Aims", "\n".join(f"- {a}" for a in aim_lines(stats.aims(found)))]
    versions = [[k, v] for k, v in report["versions"].items()]
    lines += ["### Versions", tables.markdown([["program", ""], *versions])]
    return "\n\n".join(lines)


def between(document: str, new: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """A document with the text between the marks replaced.

    :raises ToolError: it has no marks.
    """
    begin, end = marks
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ToolError(f"no place for the figures: the lines {begin} and {end} are missing")
    return pattern.sub(lambda _: f"{begin}\n{new}\n\n{end}", document, count=1)


def publish(report_file: Path) -> None:
    """Put a report's tables into the README and docs/bench.md."""
    report = stats.read(report_file)
    for file, make in ((README, readme), (PAGE, page)):
        file.write_text(between(file.read_text(), make(report, report_file.name)))

# SPDX-License-Identifier: GPL-2.0
"""./inv profile: in which functions a frame's instructions are, ours beside the stock module's.

perf in a guest whose clock is executed instructions: an interrupt every so many instructions notes
the function. As a program in the guest: ``python3 -m toolkit.bench.profile PLAN RESULTS``.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from toolkit.guest import bench as bench_guest
from toolkit.guest.contenders import CONTENDERS, use_module
from toolkit.guest.hosts import Host, eventually, sh

HERTZ = 20_000  # samples a second of guest time: one for each 50,000 instructions
COUNT = 30_000
SHOWN = 30  # functions
#: `    12.34%  [k] function` of `perf report --sort symbol`; a clone of the compiler's
#: (`.isra.0`) is the function that it was made from
LINE = re.compile(r"^\s*(\d+\.\d+)%\s+\[(.)\]\s+([^\s.]+)")


def shares(report: str) -> dict[str, float]:
    """Part of all samples by function, out of `perf report`; programs are one entry."""
    found: dict[str, float] = defaultdict(float)
    for line in report.splitlines():
        if match := LINE.match(line):
            found[match[3] if match[2] == "k" else "(programs)"] += float(match[1]) / 100
    return dict(found)


def differences(profiles: dict[str, dict[str, float]]) -> list[list[str]]:
    """Rows for a table: instructions a frame in each contender; the largest difference first.

    :param profiles: contender -> function -> instructions a frame; the first one is the base.
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


def profile(a: Host, address: str, plan: bench_guest.Plan) -> dict[str, float]:
    """Instructions a frame, by function."""
    sizes = bench_guest.FRAMES
    whole = bench_guest.per_frame(address, sizes, plan)
    data = "/tmp/perf.data"
    sh(
        *("perf", "record", "-q", "-a", "-e", "cpu-clock", "-F", str(HERTZ), "-o", data, "--"),
        *(bench_guest.PACKETS, "udp", "A", "B", address),
        *map(str, (sizes.start, COUNT, bench_guest.WINDOW["icount"], len(sizes))),
    )
    report = sh("perf", "report", "-i", data, "--stdio", "-g", "none", "--sort", "symbol")
    found = shares(report)
    # what slept, and what perf itself did, was not for a frame
    mine = {f: s for f, s in found.items() if f not in ("native_safe_halt", "default_idle")}
    whole /= sum(mine.values())
    return {f: s * whole for f, s in mine.items()}


def in_guest(plan_file: str, results: str) -> None:
    """Carry the plan out; one JSON object into RESULTS."""
    plan = bench_guest.Plan(**json.loads(Path(plan_file).read_text()))
    shutil.copy(plan.packets, bench_guest.PACKETS)
    sh(
        "sysctl",
        "-q",
        "-w",
        f"kernel.perf_event_max_sample_rate={HERTZ}",
        "kernel.perf_cpu_time_max_percent=0",
        "kernel.kptr_restrict=0",
    )
    profiles: dict[str, dict[str, float]] = {}
    for name in plan.contenders:
        contender = CONTENDERS[name]
        use_module(contender.module)
        a, b = bench_guest.hosts()
        contender.set_up(a, b)
        eventually(lambda h=a, c=contender: bench_guest.reached(h, c.address), name)  # type: ignore[misc]
        profiles[name] = profile(a, contender.address, plan)
        for host in (a, b):
            host.destroy()
        print(f"{name}: done", flush=True)
    Path(results).write_text(json.dumps(profiles))


def run(
    wanted: str | None = None, contenders: str = "wireguard,wireguard-ours,l2wireguard"
) -> None:
    """Profile in a guest and print the table.

    :raises ToolError: see :func:`toolkit.bench.measure.run_guest`.
    """
    from toolkit.bench import measure
    from toolkit.bench import report as bench_report
    from toolkit.lab import lab as labs

    lab = labs.make(wanted)
    extent = dataclasses.replace(
        measure.extent(quick=True, contenders=contenders), frames=(4096, 512)
    )
    folder = measure.run_guest(lab, extent, "profile", "icount", 1, module="toolkit.bench.profile")
    profiles: dict[str, Any] = json.loads((folder / "results").read_text())
    print(bench_report.aligned(differences(profiles)))


if __name__ == "__main__":
    in_guest(*sys.argv[1:])

# SPDX-License-Identifier: GPL-2.0
"""In which functions a frame's instructions are: ``python3 -m toolkit.guest.profile PLAN RESULTS``.

perf runs in a guest whose clock is executed instructions. After every so many instructions, an
interrupt notes the function.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from toolkit.guest import bench as bench_guest
from toolkit.guest.contenders import CONTENDERS, use_module
from toolkit.guest.hosts import Host, eventually, sh

HERTZ = 20_000  # samples a second of guest time: one in 50,000 instructions
COUNT = 30_000
#: Small packets are the cheaper ones, and so are the differences that are looked for.
COUNT_SMALL = 90_000
#: `    12.34%  [k] function` of `perf report --sort symbol`; a clone that the compiler made
#: (`.isra.0`) counts as the function that it was made from
LINE = re.compile(r"^\s*(\d+\.\d+)%\s+\[(.)\]\s+([^\s.]+)")


def shares(report: str) -> dict[str, float]:
    """Each function's part of all samples, from `perf report`; programs are one entry."""
    found: dict[str, float] = defaultdict(float)
    for line in report.splitlines():
        if match := LINE.match(line):
            found[match[3] if match[2] == "k" else "(programs)"] += float(match[1]) / 100
    return dict(found)


def profile(a: Host, address: str, plan: bench_guest.Plan) -> dict[str, float]:
    """Instructions a frame, by function."""
    sizes, count = bench_guest.FRAMES, COUNT
    if plan.small:
        sizes, count = range(bench_guest.SMALL, bench_guest.SMALL + 1), COUNT_SMALL
    whole = bench_guest.per_frame(address, sizes, plan)
    data = "/tmp/perf.data"
    sh(
        *("perf", "record", "-q", "-a", "-e", "cpu-clock", "-F", str(HERTZ), "-o", data, "--"),
        *(bench_guest.PACKETS, "udp", "A", "B", address),
        *map(str, (sizes.start, count, bench_guest.WINDOW["icount"], len(sizes))),
    )
    report = sh("perf", "report", "-i", data, "--stdio", "-g", "none", "--sort", "symbol")
    found = shares(report)
    # sleep, and the work of perf itself, was not for a frame
    mine = {f: s for f, s in found.items() if f not in ("native_safe_halt", "default_idle")}
    whole /= sum(mine.values())
    return {f: s * whole for f, s in mine.items()}


def main(plan_file: str, results: str) -> None:
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


if __name__ == "__main__":
    main(*sys.argv[1:])

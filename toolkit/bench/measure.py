# SPDX-License-Identifier: GPL-2.0
"""./inv bench: measure l2wg beside its alternatives.

It measures in three ways, because each one alone misleads: instructions in a guest whose clock is
executed instructions (repeatable to 1 %, whatever else this machine does), wall-clock time in a
guest (coarse under TCG), and native runs of what needs no kernel.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import arch, paths
from toolkit.bench import ctl, length, stats
from toolkit.bench import report as bench_report
from toolkit.compiled import compiled
from toolkit.errors import ToolError
from toolkit.guest import contenders as bench_links
from toolkit.guest import hosts
from toolkit.guest.bench import SOME_FAILED, Plan
from toolkit.lab import process
from toolkit.lab.lab import Lab
from toolkit.lab.vm import Vm
from toolkit.run import say

WHERE = paths.ROOT / "docs/bench"
LIMIT = 2400  # seconds for one round of a guest

#: One instruction is one nanosecond of guest time, and an idle guest waits in real time. The string
#: instructions `rep movsb` and `stosb` count as one each, however many bytes they move. Without
#: ERMS and FSRM, Linux does not use them and copies in words.
ICOUNT = "-icount shift=0,sleep=on -cpu max,-erms,-fsrm"
#: Debian's kernel clears each page that it allocates; that cost hits whoever allocates more.
APPEND = ("init_on_alloc=0",)
COUNTING = Vm(cpus=1, kvm=False, qemu=ICOUNT, append=APPEND)
TIMED = Vm(parallel=True, append=APPEND)


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    :ivar contenders: names from bench_links.CONTENDERS.
    :ivar guests: guests that count instructions, one for each core.
    :ivar icount_rounds: rounds in each of them.
    :ivar wall_rounds: rounds in the one guest by the clock; 0 for none.
    :ivar frames: see :class:`toolkit.guest.bench.Plan`.
    :ivar milliseconds: of a run, in guest time of counted instructions; by the clock, where TCG is
        slower, a run has three times as many.
    :ivar floods: numbers of peers that a broadcast goes to.
    :ivar ctl: numbers of peers for l2wgctl against wg.
    :ivar whole: everything is measured, so the report may go into the docs.
    """

    contenders: tuple[str, ...]
    guests: int
    icount_rounds: int
    wall_rounds: int
    frames: tuple[int, int]
    milliseconds: int
    echoes: int
    peers: tuple[int, ...]
    floods: tuple[int, ...]
    ctl: tuple[int, ...]
    whole: bool = False

    def packages(self) -> set[str]:
        """The Debian packages of its contenders, beyond those that all need."""
        return {p for name in self.contenders for p in bench_links.CONTENDERS[name].packages}


FULL = Extent(
    tuple(bench_links.CONTENDERS),
    2,
    2,
    3,
    (8000, 512),
    600,
    500,
    (100, 1000),
    (10, 100, 1000),
    (10, 1000, 10000),
    True,
)
QUICK = Extent(
    ("wireguard", "wireguard-ours", "l2wireguard", "l2wireguard-off", "vxlan"),
    *(1, 1, 1, (2048, 512), 500, 200, (100,), (10, 100), (10, 1000)),
)


def bench(lab: Lab, much: Extent, *, compare: Path | None = None) -> bool:
    """Measure, print the table, write the report; False if something became worse.

    :param compare: an earlier report.
    :raises ToolError: a guest fails, one of WireGuard's own contenders carries nothing, or
        ``compare`` is not a report.
    """
    old = stats.read(compare) if compare else None
    records = [
        *_guests(lab, much),
        *_control_plane(lab, much),
        *length.records(),
    ]
    report = describe(lab, records, much)
    folder = WHERE if much.whole else paths.BUILD / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    file = _free(folder, f"{report['date']}-{report['kernel']}")
    file.write_text(json.dumps(report, indent=1) + "\n")
    bench_report.draw(file, folder)
    if folder == WHERE:
        bench_report.publish(file)
    found = stats.read(file)["figures"]
    print(bench_report.text(found))
    print(f"\nreport: {paths.shown(file)}")
    return not old or bench_report.tell_changes(old["figures"], found)


def _free(folder: Path, name: str) -> Path:
    """A new name for a report, so that two runs of a day do not replace each other."""
    names = (f"{name}{'' if n == 1 else f'-{n}'}.json" for n in itertools.count(1))
    return next(folder / name for name in names if not (folder / name).exists())


def extent(
    quick: bool, contenders: str | None, *, counted: bool = False, rounds: int = 0
) -> Extent:
    """What to measure, from the options.

    :param contenders: names with commas between them, instead of all.
    :param counted: leave out what goes by the clock of the guest, because on a machine that has
        other work those figures say nothing.
    :param rounds: of each guest that counts; 0: as many as there are.
    :raises ToolError: there is no such contender, or no such number.
    """
    found = QUICK if quick else FULL
    if counted:
        # its report would take the committed figures by the clock out of the docs
        found = dataclasses.replace(found, wall_rounds=0, whole=False)
    if rounds < 0:
        raise ToolError(f"--rounds: {rounds} rounds", "write a number from 1 on")
    if rounds:
        found = dataclasses.replace(found, icount_rounds=rounds)
    if not contenders:
        return found
    names = tuple(contenders.split(","))
    if unknown := set(names) - set(bench_links.CONTENDERS):
        raise ToolError(
            f"--contenders: there is no {', '.join(sorted(unknown))}",
            f"write some of {','.join(bench_links.CONTENDERS)}",
        )
    return dataclasses.replace(found, contenders=names, whole=False)


def _guests(lab: Lab, extent: Extent) -> list[dict[str, Any]]:
    """Run the guests: first those that count, together; then, alone, the one by the clock."""
    jobs = [(f"icount {i + 1}", "icount", extent.icount_rounds) for i in range(extent.guests)]
    records: list[dict[str, Any]] = []
    with process.pool(extent.guests) as pool:
        for waiting in [pool.submit(_guest, lab, extent, *job) for job in jobs]:
            records += waiting.result()
    if extent.wall_rounds:
        records += _guest(lab, extent, "wall", "wall", extent.wall_rounds)
    return records


def _guest(lab: Lab, extent: Extent, name: str, clock: str, rounds: int) -> list[dict[str, Any]]:
    """Carry out one guest's plan; its records, with round numbers that no other guest has."""
    folder = run_guest(lab, extent, name, clock, rounds)
    return _checked(folder, name, extent)


def run_guest(
    lab: Lab,
    extent: Extent,
    name: str,
    clock: str,
    rounds: int,
    module: str = "toolkit.guest.bench",
    *,
    small: bool = False,
) -> Path:
    """Run a module with a plan in a guest of its own; the folder with its ``results``.

    :param clock: see :class:`toolkit.guest.bench.Plan`; so is ``small``.
    :raises ToolError: the guest does not end, the kernel complains, or OpenVPN and tinc do not
        make their keys.
    """
    folder = paths.fresh(paths.logs("bench", name))
    keys = folder / "keys"
    counting = clock == "icount"
    say(f"[{name}] {len(extent.contenders)} contenders in a guest with {lab.kernel.label}")
    try:
        try:
            bench_links.make_keys(keys, extent.contenders)
        except hosts.Failed as error:
            raise ToolError(f"bench: no keys for OpenVPN and tinc: {error}") from None
        plan = Plan(
            *(clock, list(extent.contenders), rounds, extent.frames),
            extent.milliseconds * (1 if counting else 3),
            *(extent.echoes, list(extent.peers), list(extent.floods)),
            *(str(keys), str(packets_program())),
            small=small,
        )
        (folder / "plan.json").write_text(json.dumps(dataclasses.asdict(plan)))
        result = lab.run(
            ["python3", "-m", module, str(folder / "plan.json"), str(folder / "results")],
            folder=folder,
            timeout=LIMIT * rounds,
            prefix=f"[{name}] ",
            vm=COUNTING if counting else TIMED,
        )
    finally:
        shutil.rmtree(keys, ignore_errors=True)
    if result.status != SOME_FAILED:
        result.must_be_good("bench")
    return folder


def _checked(folder: Path, name: str, extent: Extent) -> list[dict[str, Any]]:
    """A guest's records.

    :raises ToolError: a contender of the kernel has none. A program that does not work here is left
        out; the guest's output says why.
    """
    results = folder / "results"
    records = [json.loads(x) for x in results.read_text().splitlines()] if results.exists() else []
    have = {r["contender"] for r in records}
    for missing in set(extent.contenders) - have:
        if not bench_links.CONTENDERS[missing].program:
            raise ToolError(f"bench: no figures for {missing}", log=folder)
        say(f"[{name}] {missing} does not work here and is left out: {folder / 'output'}")
    return [{**r, "round": f"{name} {r['round']}"} for r in records]


def packets_program() -> Path:
    """The program that sends packets between the hosts; static, so that it runs from memory.

    :raises ToolError: there is no compiler.
    """
    command = [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra", "-static"]
    source = paths.ROOT / "toolkit/bench/packets.c"
    return compiled(paths.BUILD / "bench/bench-packets", "", command, [source])


def _control_plane(lab: Lab, extent: Extent) -> list[dict[str, Any]]:
    """l2wgctl against wg; the contenders are the two programs.

    :raises ToolError: one of them fails, or they do not come to the same result.
    """
    folder = paths.fresh(paths.logs("bench-ctl"))
    say(f"[ctl] l2wgctl against wg with {', '.join(map(str, extent.ctl))} peers")
    command = ["sh", "-ec", ctl.script("toolkit.guest.ctl", extent.ctl)]
    result = lab.run(command, folder=folder, timeout=LIMIT, prefix="[ctl] ", show=False)
    result.must_be_good("bench: l2wgctl against wg")
    return list(control_records(ctl.rows(result)))


def control_records(rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Records of what toolkit.guest.ctl prints."""
    for row in rows:
        for tool in ("wg", "l2wgctl"):
            what = f"{row['command'].replace(' ', '_')}_{row['peers']}"
            for measure, unit in (("seconds", "s"), ("kilobytes", "kB")):
                yield {
                    "round": 0,
                    "contender": tool,
                    "measure": f"{what}_{measure}",
                    "value": row[tool][measure],
                    "unit": unit,
                }


def describe(lab: Lab, records: list[dict[str, Any]], extent: Extent) -> dict[str, Any]:
    """The report: what was measured, where, which versions, and the figures."""
    found = stats.figures(records)
    aims = stats.aims(found)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "l2wg": paths.version(),
        "kernel": lab.kernel.release,
        "linux": lab.kernel.version,
        "machine": machine(),
        "versions": versions(),
        "extent": dataclasses.asdict(extent),
        "figures": stats.as_json(found),
        "aims": [dataclasses.asdict(a) for a in aims],
    }


def machine() -> dict[str, Any]:
    """A description of this machine."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "guest": "QEMU TCG",
    }


def versions() -> dict[str, str]:
    """Versions of the programs that take part: the first line that each prints about itself."""
    asked = {
        "qemu": (arch.here().qemu, "--version"),
        "wireguard-tools": ("wg", "--version"),
        "iproute2": ("ip", "-V"),
        "gcc": ("cc", "--version"),
        **{c.name: c.program for c in bench_links.CONTENDERS.values() if c.program},
    }
    found = {}
    for name, argv in asked.items():
        # some of them fail at the option, but print their version all the same
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        lines = [x for x in (done.stdout + done.stderr).splitlines() if x.strip()]
        found[name] = re.sub(r" \[.*| - https:.*", "", lines[0]).strip() if lines else "unknown"
    return found

# SPDX-License-Identifier: GPL-2.0
"""./inv bench-ctl: compare l2wgctl with `wg` in a guest, see :mod:`toolkit.guest.ctl`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from toolkit import paths, tables
from toolkit.guest.ctl import SIZES
from toolkit.lab.lab import Lab, Result
from toolkit.lab.vm import Vm
from toolkit.run import say


def bench_ctl(lab: Lab, sizes: Sequence[int] = SIZES, *, switch: bool = False) -> None:
    """Run it and print a table.

    :param switch: with a switch, whose entries `bridge -batch` sets beside `wg`.
    :raises ToolError: it fails there, or the kernel complains.
    """
    say(f"wg and l2wgctl side by side in a guest with {lab.kernel.label}")
    module = "toolkit.guest.ctl_switch" if switch else "toolkit.guest.ctl"
    folder = paths.fresh(paths.logs("bench-ctl"))
    words = ["sh", "-ec", f"python3 -m {module} --starts; {script(module, sizes)}"]
    result = lab.run(words, folder=folder, timeout=1800, show=False, vm=Vm(memory="2G"))
    result.must_be_good("bench-ctl")
    tables.show(table(rows(result)), numbers=True)


def script(module: str, sizes: Sequence[int]) -> str:
    """Shell commands for a guest: three runs of each size, and one with very many peers, where it
    takes minutes under TCG and its relative error is small."""
    parts = [f"python3 -m {module} {n} --runs {1 if n > 1000 else 3}" for n in sizes]
    return f"modprobe l2wireguard; {'; '.join(parts)}"


def rows(result: Result) -> list[dict[str, Any]]:
    """The results of toolkit.guest.ctl in a guest."""
    lines = result.output.splitlines()
    return [row for line in lines if line.startswith("[{") for row in json.loads(line)]


def table(found: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The rows for people: wall time, processor time and memory of both tools."""
    head = ["", "peers"]
    for what in ("", " cpu"):
        head += [f"wg{what}", f"l2wgctl{what}", f"ratio{what}"]
    made = [[*head, "wg memory", "l2wgctl memory"]]
    for row in found:
        wg, ours = row["wg"], row["l2wgctl"]
        cells = [row["command"], f"{row['peers']:,}" if row["peers"] else ""]
        for what, ratio in (("seconds", "ratio"), ("cpu", "cpu_ratio")):
            cells += [f"{tool[what] * 1000:.0f} ms" for tool in (wg, ours)]
            cells.append(f"{row[ratio]:.2f}")
        made.append([*cells, *(f"{tool['kilobytes'] / 1024:.1f} MB" for tool in (wg, ours))])
    return made

# SPDX-License-Identifier: GPL-2.0
"""./inv bench-mesh, the second half: a real etcd with a crowd of clients, and one real agent."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit import paths, tables
from toolkit.bench.mesh import CHANGES, REST, Fair, One, cpu, draw, insert, where
from toolkit.bench.mesh_crowd import Crowd
from toolkit.bench.mesh_hosts import MESH
from toolkit.lab.etcd import PATIENT, Cluster
from toolkit.run import say

#: Records, and clients that ask what agents ask.
SIZES, QUICK = (100, 1000), (100,)
PLOT = paths.ROOT / "docs/bench/mesh-crowd.svg"


@dataclass(frozen=True)
class Row:
    """What a store was measured to do for so many clients (toolkit.bench.mesh_crowd).

    :ivar together: seconds until all have listed, watch, and have written their sign of life.
    :ivar late: answers of that which began later than an agent waits.
    :ivar refused: requests that a member has refused, and that were begun anew.
    :ivar etcd: processor time of the busiest member meanwhile, in percent of one core.
    :ivar first, last: seconds from a change in the store to the first and the last client; medians.
    :ivar kernel: seconds from a change to the switch of a real agent beside them; median.
    :ivar idle: processor time of the busiest member while nothing changes, in percent of one core.
    """

    clients: int
    together: float
    late: int
    refused: int
    etcd: float
    first: float
    last: float
    kernel: float
    idle: float

    def cells(self) -> list[str]:
        """For people."""
        return [
            f"{self.clients:,}",
            f"{self.together:.1f}",
            f"{self.late}",
            f"{self.refused}",
            f"{self.etcd:.0f}",
            f"{self.first * 1000:.0f}",
            f"{self.last * 1000:.0f}",
            f"{self.kernel * 1000:.0f}",
            f"{self.idle:.0f}",
        ]


async def _measure(fair: Fair, rest: float) -> Row:
    count = len(fair.hosts)
    crowd = Crowd(fair.cluster.clients, MESH, count)
    say(f"{count} clients at once")

    def used() -> list[float]:
        return [cpu(p) for p in fair.cluster.processes.values()]

    def busiest(before: list[float], seconds: float) -> float:
        return 100 * max(b - a for a, b in zip(before, used())) / seconds

    before = used()
    together = await crowd.begin(fair.store)
    etcd, late = busiest(before, together), crowd.late
    say(f"{count} clients: {together:.0f} s; now {2 * rest:.0f} s of rest")
    await crowd.rest(rest)
    before = used()
    await crowd.rest(rest)
    idle = busiest(before, rest)
    one = await asyncio.to_thread(One, fair.hosts[-1], fair.cluster, count - 1)
    times: list[tuple[float, ...]] = []
    for number in range(CHANGES):
        _, new, (key, value) = fair.changed(200 + number)
        one.waits(new)
        begin = time.monotonic()
        hears = asyncio.create_task(crowd.all_hear())
        await asyncio.to_thread(fair.store.put, key, value)
        times.append((*await hears, await asyncio.to_thread(one.seen)))
        times[-1] = tuple(moment - begin for moment in times[-1])
    one.end()
    await crowd.end()
    first, last, kernel = (statistics.median(column) for column in zip(*times))
    return Row(count, together, late, crowd.refused, etcd, first, last, kernel, idle)


def measure(count: int, rest: float = REST) -> Row:
    """So many clients, and as many records."""
    with tempfile.TemporaryDirectory(prefix="l2wg-mesh-") as folder:
        cluster = Cluster(Path(folder), 3, PATIENT)
        cluster.start()
        try:
            return asyncio.run(_measure(Fair(cluster, count, 0), rest))
        finally:
            cluster.stop()


HEAD = [
    "records and clients",
    "all at once, s",
    "late answers",
    "refused",
    "etcd's busiest member meanwhile, %",
    "change to the first, ms",
    "to the last, ms",
    "to the kernel of an agent, ms",
    "etcd's busiest member at rest, %",
]


def bench(*, quick: bool = False) -> None:
    """Measure and print; without ``quick`` also publish."""
    rest = 5.0 if quick else REST
    load = os.getloadavg()[0]
    rows = [measure(count, rest) for count in (QUICK if quick else SIZES)]
    tables.show([HEAD, *(row.cells() for row in rows)], numbers=True)
    if not quick:
        publish(rows, load)


def publish(rows: Sequence[Row], load: float) -> None:
    """Put the table into docs/mesh.md, and draw the plot."""
    insert("bench-mesh-crowd", [HEAD, *(row.cells() for row in rows)], below=where(load))
    draw("crowd", [asdict(row) for row in rows], PLOT)

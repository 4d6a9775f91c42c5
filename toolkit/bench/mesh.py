# SPDX-License-Identifier: GPL-2.0
"""./inv bench-mesh: real agents and a real etcd, with switches that are a dictionary.

All agents but one are threads of this process; one is a process of its own, whose processor time
and memory are measured. What the figures mean is in docs/mesh.md, "Scale".
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from l2wgctl.mesh.etcd import Etcd
from toolkit import paths, tables
from toolkit.bench import measure
from toolkit.bench.mesh_hosts import MESH, Admin, MeshHost
from toolkit.errors import ToolError
from toolkit.lab import etcd as etcds
from toolkit.lab.etcd import Cluster
from toolkit.run import run, say

#: Records, and agents that run.
SIZES = ((10, 10), (100, 100), (1000, 100))
QUICK = ((10, 10), (100, 20))
#: Changes whose way to the kernels is measured, and seconds of rest for an idle agent.
CHANGES, REST = 9, 60.0
PAGE = paths.ROOT / "docs/mesh.md"
PLOT = paths.ROOT / "docs/bench/mesh.svg"


@dataclass(frozen=True)
class Row:
    """What was measured with a number of records and of agents.

    :ivar alone: seconds from a change in the store to the switch of one agent in a process of its
        own, which is what a host has that runs one; median.
    :ivar together: seconds until all agents, started at once, had all peers.
    :ivar first, last: seconds from a change in the store to the first and to the last switch,
        medians.
    :ivar cold: seconds from the start of an agent's process to all peers, nothing else running.
    :ivar cold_cpu: seconds of processor time of that.
    :ivar idle: processor time of an idle agent, in percent of one core.
    :ivar megabytes: its resident memory.
    :ivar requests: requests of an idle agent at the store, a minute.
    :ivar etcd: processor time of the busiest member while all start, in percent of one core.
    """

    records: int
    agents: int
    alone: float
    together: float
    first: float
    last: float
    cold: float
    cold_cpu: float
    idle: float
    megabytes: float
    requests: float
    etcd: float


def _requests(cluster: Cluster) -> int:
    """Requests that all members have answered, but for the metrics themselves."""
    total = 0
    for url in cluster.clients:
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            text = answer.read().decode()
        found = re.findall(r"^grpc_server_started_total\{.*\} (\S+)$", text, re.MULTILINE)
        total += round(sum(map(float, found)))
    return total


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time that a process has had, proc(5)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class One:
    """The agent in a process of its own."""

    def __init__(self, host: MeshHost, cluster: Cluster, peers: int) -> None:
        about = {
            "mesh": MESH,
            "name": host.name,
            "key": b64encode(host.key).decode(),
            "host_key": b64encode(host.host_key).decode(),
            "trusted": b64encode(host.admin.public).decode(),
            "urls": cluster.clients,
            "peers": peers,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "toolkit.bench.mesh_one"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=paths.ROOT,
            text=True,
        )
        self._say(json.dumps(about))
        self.started = self._hear()

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise ToolError("bench-mesh: the agent has ended")
        found: dict[str, float] = json.loads(line)
        return found

    def used(self) -> dict[str, float]:
        """Its processor time and memory until now."""
        self._say("{}")
        return self._hear()

    def waits(self, mac: str) -> None:
        """Let it say when its switch has a MAC; `seen` is when."""
        self._say(json.dumps({"mac": mac}))

    def seen(self) -> float:
        """When that was, in seconds of time.monotonic()."""
        return self._hear()["now"]

    def end(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


class Fair:
    """Records in a store, and agents."""

    def __init__(self, cluster: Cluster, records: int, agents: int) -> None:
        self.cluster = cluster
        self.admin = Admin()
        self.hosts = [MeshHost(n + 1, self.admin) for n in range(records)]
        self.running = self.hosts[:agents]
        self.store = Etcd(cluster.clients)
        for host in self.hosts:
            self.store.put(*self.admin.sign(host.record))
        self.store.put(*self.admin.list())

    def start(self) -> tuple[float, float]:
        """Start all agents; seconds until all have all peers, percent of etcd's busiest member."""
        begin = time.monotonic()
        before = [cpu(p) for p in self.cluster.processes.values()]
        for host in self.running:
            host.start(lambda: Etcd(self.cluster.clients))
        for host in self.running:
            host.kernel.until(lambda now: len(now.peers) == len(self.hosts) - 1, 3600)
        took = time.monotonic() - begin
        after = [cpu(p) for p in self.cluster.processes.values()]
        return took, 100 * max(b - a for a, b in zip(before, after)) / took

    def changed(self, number: int) -> tuple[MeshHost, str, tuple[str, bytes]]:
        host = self.hosts[-2]
        new = f"02:ff:00:00:00:{number:02x}"
        host.record = replace(host.record, serial=host.record.serial + 1, macs=(new,))
        return host, new, self.admin.sign(host.record)

    def change_alone(self, one: One, number: int) -> float:
        """Change a record; seconds until the switch of the agent alone has it."""
        _, new, (key, value) = self.changed(100 + number)
        one.waits(new)
        begin = time.monotonic()
        self.store.put(key, value)
        return one.seen() - begin

    def change(self, number: int) -> tuple[float, float]:
        """Change a record; seconds until the first and the last switch has it."""
        host, new, (key, value) = self.changed(number)
        others = [x for x in self.running if x is not host]
        begin = time.monotonic()
        self.store.put(key, value)
        seen: list[float] = []
        for other in others:
            other.kernel.until(lambda now: now.peers[host.key].options.allowed_macs == (new,), 600)
            seen.append(time.monotonic() - begin)
        return min(seen), max(seen)

    def stop(self) -> None:
        """End the agents."""
        for host in self.running:
            if host.runner is not None:
                host.runner.stop()
        for host in self.running:
            host.stop()


def measured(records: int, agents: int, rest: float = REST) -> Row:
    """One row."""
    with tempfile.TemporaryDirectory(prefix="l2wg-mesh-") as folder:
        cluster = Cluster(Path(folder), 3)
        cluster.start()
        try:
            return _measure(Fair(cluster, records, agents), rest)
        finally:
            cluster.stop()


def _measure(fair: Fair, rest: float) -> Row:
    count = len(fair.hosts)
    say(f"{count} records: an agent alone")
    one = One(fair.hosts[-1], fair.cluster, count - 1)
    time.sleep(5)
    before, asked, begin = one.used(), _requests(fair.cluster), time.monotonic()
    time.sleep(rest)
    after, seconds = one.used(), time.monotonic() - begin
    requests = (_requests(fair.cluster) - asked) * 60 / seconds
    alone = statistics.median(fair.change_alone(one, number) for number in range(CHANGES))
    one.end()
    say(f"{count} records: {len(fair.running)} agents at once")
    together, etcd = fair.start()
    try:
        times = [fair.change(number) for number in range(CHANGES)]
    finally:
        fair.stop()
    return Row(
        count,
        len(fair.running),
        alone,
        together,
        statistics.median(first for first, _ in times),
        statistics.median(last for _, last in times),
        one.started["seconds"],
        one.started["cpu"],
        100 * (after["cpu"] - before["cpu"]) / seconds,
        after["bytes"] / 1e6,
        requests,
        etcd,
    )


HEAD = (
    "records",
    "agents",
    "change to kernel, ms",
    "all agents at once, s",
    "change to their first, ms",
    "to their last, ms",
    "cold start, s",
    "its processor time, s",
    "idle, % of a core",
    "memory, MB",
    "requests a minute",
    "etcd's busiest member, %",
)


def table(rows: Sequence[Row]) -> list[list[str]]:
    """The rows for people."""
    made = [[*HEAD]]
    for r in rows:
        made.append(
            [
                f"{r.records:,}",
                f"{r.agents:,}",
                f"{r.alone * 1000:.0f}",
                f"{r.together:.1f}",
                f"{r.first * 1000:.0f}",
                f"{r.last * 1000:.0f}",
                f"{r.cold:.2f}",
                f"{r.cold_cpu:.2f}",
                f"{r.idle:.3f}",
                f"{r.megabytes:.0f}",
                f"{r.requests:.1f}",
                f"{r.etcd:.0f}",
            ]
        )
    return made


def where(load: float) -> str:
    """On what was measured, as a sentence.

    :param load: the machine's load average before: what else it had to do.
    """
    machine = measure.machine()
    return (
        f"Measured on {machine['cores']} cores of {machine['processor']} with "
        f"{machine['memory_gib']} GiB, etcd {etcds.version()}; load average before: {load:.1f}."
    )


def insert(
    name: str, cells: Sequence[Sequence[str]], page: Path = PAGE, below: str | None = None
) -> None:
    """Put a table between its marks in docs/mesh.md.

    :param below: a sentence below it.
    """
    before, begin, rest = page.read_text().partition(f"<!-- {name} -->")
    _, end, behind = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise ToolError(f"{page}: has no <!-- {name} -->")
    made = tables.markdown([[*row] for row in cells], numbers=True)
    if below:
        made += f"\n\n{below}"
    page.write_text(f"{before}{begin}\n{made}\n{end}{behind}")


def draw(kind: str, rows: Sequence[object], target: Path) -> None:
    """Draw one of the plots (toolkit.bench.mesh_plot)."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as report:
        json.dump(rows, report)
        report.flush()
        env = {"PYTHONPATH": str(paths.ROOT), "SOURCE_DATE_EPOCH": "0"}
        plot = ("/usr/bin/python3", "-m", "toolkit.bench.mesh_plot")
        run([*plot, kind, report.name, target], env=env)


def publish(rows: Sequence[Row], load: float) -> None:
    """Put the table into docs/mesh.md, and draw the plot."""
    insert("bench-mesh", table(rows), below=where(load))
    draw("agents", [asdict(row) for row in rows], PLOT)


def bench(*, quick: bool = False) -> None:
    """Measure and print; without ``quick`` also publish."""
    load = os.getloadavg()[0]
    rows = [measured(*size, 5.0 if quick else REST) for size in (QUICK if quick else SIZES)]
    tables.show(table(rows), numbers=True)
    if not quick:
        publish(rows, load)

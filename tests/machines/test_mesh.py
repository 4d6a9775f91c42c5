# SPDX-License-Identifier: GPL-2.0
"""Two machines with two kernels in one mesh, with a real etcd of three members.

Each test begins where the one before it ends. The store and the admin are on the machine that runs
both (toolkit/checks/backstage.py). The clock of B is ten years ahead, until one test sets it back.
./inv mesh-test has the longer list, in one machine.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import pytest

from toolkit.guest.agent import ADDRESSES, BACKSTAGE, HERE, Peer
from toolkit.guest.hosts import Host, eventually, keys, stop
from toolkit.guest.mesh import MESH, conf, inner

LOG = "/tmp/mesh.log"
REPORT = f"/run/l2wg-mesh/{MESH}.json"
YEARS = 10
PINGS = Path("/tmp/mesh-ping.log")
SECRET = ("sh", "-c", 'umask 077; mkdir -p "${0%/*}"; cat >"$0"')


class Town:
    """Both machines, as hosts a and b of the mesh, and what is backstage."""

    def __init__(self, *hosts: Host) -> None:
        self.hosts = hosts
        self.stage = ServerProxy(f"http://{HERE}:{os.environ[BACKSTAGE]}", allow_none=True)
        opened: Any = self.stage.open()
        self.trusted = str(opened["trusted"])
        self.engine = ", ".join(f"http://{HERE}:{port}" for port in opened["ports"])
        self.agents: dict[str, str] = {}
        self.names = {host.name: host.name.lower() for host in hosts}
        # a program takes seconds to start here, and there are two processors
        self.pool = ThreadPoolExecutor(len(hosts))

    def both(self, work: Callable[[Host], Any]) -> list[Any]:
        """Do something on both machines at a time."""
        return [*self.pool.map(work, self.hosts)]

    def make(self, host: Host) -> str:
        """A host with its link up, that asks to join: the fingerprint."""
        number = self.hosts.index(host) + 1
        keys(host)
        host.run(*SECRET, f"/etc/l2wg/{MESH}.key", stdin=host.key + "\n")
        endpoint = f"Endpoints = {ADDRESSES[number - 1]}:51820"
        text = conf(self.names[host.name], number, self.engine, self.trusted, endpoint)
        host.run(*SECRET, f"/etc/l2wg/{MESH}.conf", stdin=text)
        self.ctl(host, "up", MESH)
        return self.join(host)

    def ctl(self, host: Host, *words: str) -> str:
        return host.run("python3", "-m", "l2wgctl", *words)

    def join(self, host: Host, *more: str) -> str:
        said = self.ctl(host, "mesh", "join", MESH, "--json", *more)
        return str(json.loads(said[said.index("{") :])["fingerprint"])

    def sign(self, host: Host, fingerprint: str) -> None:
        self.stage.sign(self.names[host.name], fingerprint)

    def start(self, host: Host) -> None:
        """Start its agent."""
        run = f"python3 -m l2wgctl mesh run {MESH} </dev/null >>{LOG} 2>&1 & echo $!"
        self.agents[host.name] = host.run("sh", "-c", run).strip()

    def tell(self, host: Host, what: signal.Signals) -> None:
        """Send its agent a signal."""
        host.run("kill", f"-{what.name[3:]}", self.agents[host.name])

    def log(self, host: Host) -> list[str]:
        return host.run("cat", LOG).splitlines()

    def report(self, host: Host) -> dict[str, Any]:
        """What its agent says of itself."""
        found: dict[str, Any] = json.loads(host.run("cat", REPORT))
        return found

    def key(self, host: Host) -> str:
        return host.run("wg", "show", MESH, "public-key").strip()

    def peers(self, host: Host) -> list[str]:
        return host.run("wg", "show", MESH, "peers").split()

    def until_said(self, host: Host, *parts: str) -> None:
        """Wait until its agent has written a line with each of these."""
        for part in parts:
            eventually(
                lambda part=part: any(part in line for line in self.log(host)),  # type: ignore[misc]
                f"{host.name} says: {part}",
            )

    def until_ping(self) -> None:
        """Wait until a host reaches the other."""
        there = inner(2)
        eventually(lambda: self.hosts[0].ok(*PING, there), "A pings B")


def answers() -> int:
    """Echoes that the running ping has got."""
    return PINGS.read_text().count("bytes from") if PINGS.exists() else 0


PING = ("ping", "-n", "-c", "1", "-W", "5")


@pytest.fixture(scope="module")
def town(peer: Peer) -> Iterator[Town]:
    hosts = Host("A", machine=True), Host("B", machine=True, sh=peer.sh)
    made = Town(*hosts)
    try:
        yield made
    finally:
        for host in hosts:
            # a test that has failed leaves its ping, which would speak in the next file's tests
            for process in host.running:
                stop(process)
            print(host.name, host.run("cat", LOG, check=False))
            if host.name in made.agents:
                host.run("kill", "-KILL", made.agents[host.name], check=False)
            host.run("ip", "link", "delete", MESH, check=False)
        made.pool.shutdown()


def test_two_kernels_in_one_mesh(town: Town) -> None:
    a, b = town.hosts
    b.run("date", "--set", f"+{YEARS} years")
    for host, fingerprint in zip(town.hosts, town.both(town.make)):
        town.sign(host, fingerprint)
    town.both(town.start)
    town.until_ping()
    b.ping(inner(1))
    assert (town.peers(a), town.peers(b)) == ([b.public], [a.public])


def test_what_nobody_has_signed_changes_nothing(town: Town) -> None:
    a, b = town.hosts
    own, others = str(town.stage.read("nodes/b")), str(town.stage.read("nodes/a"))
    town.stage.write("nodes/b", others)
    town.until_said(a, "nodes/b is the record of a: ignored")
    town.stage.write("nodes/b", str(town.stage.forged("a")))
    town.until_said(a, "nodes/b is not signed by a trusted key: ignored")
    town.stage.write("nodes/b", own)
    town.until_ping()
    assert (town.peers(a), town.peers(b)) == ([b.public], [a.public])


def test_traffic_goes_on_without_the_store(town: Town) -> None:
    a, b = town.hosts
    town.stage.kill(0)
    town.until_ping()
    town.stage.kill(1, 2)
    town.until_ping()
    # an agent that starts without a store has what its disk remembers
    town.tell(b, signal.SIGKILL)
    b.run("wg", "set", MESH, "peer", a.public, "remove")
    town.start(b)
    eventually(lambda: town.peers(b) == [a.public], "B remembers A")
    town.until_ping()
    # both have noticed, however fast the machines are
    for host in town.hosts:
        away = f"{host.name} reports that the store is away"
        eventually(lambda host=host: "store" in town.report(host)["faults"], away)  # type: ignore[misc]
    town.stage.start()
    for host in town.hosts:
        town.until_said(host, "the store answers again")


def test_a_clock_that_is_set_back(town: Town) -> None:
    """The numbers of signs of life are times; A must not take those of the right clock for old."""
    a, b = town.hosts
    eventually(lambda: town.report(a)["alive"] == ["a", "b"], "A sees B")
    town.tell(b, signal.SIGTERM)
    eventually(lambda: town.report(a)["alive"] == ["a"], "A sees that B has ended")
    b.run("date", "--set", f"-{YEARS} years")
    town.start(b)
    eventually(lambda: town.report(a)["alive"] == ["a", "b"], "A sees B again")
    town.until_ping()


def test_compaction_while_the_agents_hear_nothing(town: Town) -> None:
    """Their watches end, and where they would go on from, the store has forgotten."""
    for host in town.hosts:
        town.tell(host, signal.SIGSTOP)
    town.stage.kill()
    town.stage.start()
    town.stage.write("nodes/late", "junk")
    town.stage.compact()
    for host in town.hosts:
        town.tell(host, signal.SIGCONT)
    for host in town.hosts:
        town.until_said(host, "nodes/late is not a signed record: ignored")
    town.until_ping()


def test_a_key_is_renewed_under_a_running_ping(town: Town) -> None:
    a, b = town.hosts
    old = a.public
    ping = a.start("sh", "-c", f"exec ping -n {inner(2)} >{PINGS}")
    eventually(lambda: answers() > 0, "the ping runs")
    town.sign(a, town.join(a, "--renew"))
    eventually(lambda: town.peers(b) == [town.key(a)] != [old], "B has the new key, and only that")
    before = answers()
    eventually(lambda: answers() > before, "the same ping is answered again")
    stop(ping, signal.SIGINT)
    print(PINGS.read_text().splitlines()[-2:])
    waiting = Path(f"/etc/l2wg/{MESH}.key.next")
    eventually(lambda: not waiting.exists(), "the new key is in its file")
    assert Path(f"/etc/l2wg/{MESH}.key").read_text().strip() != a.key


def test_a_revoked_host_is_out(town: Town) -> None:
    a, b = town.hosts
    town.stage.revoke("b")
    eventually(lambda: town.peers(a) == town.peers(b) == [], "nobody has peers")
    assert not a.ok(*PING, inner(2))

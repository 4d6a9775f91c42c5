# SPDX-License-Identifier: GPL-2.0
"""64 hosts of one mesh, whose agents are killed and restarted all at once (./inv mesh-test)."""

from __future__ import annotations

import json
import socket
import struct
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

# what agents need is loaded before they are copies of this process
import l2wgctl.mesh.daemon
import l2wgctl.mesh.link
import l2wgctl.netlink.link  # noqa: F401
from l2wgctl import cli
from l2wgctl.conf import values
from l2wgctl.mesh import layout, signing
from l2wgctl.mesh.kernel import Remove
from l2wgctl.mesh.link import Link
from l2wgctl.mesh.record import Record
from l2wgctl.model import AllowedIP, Endpoint
from tests.vm import station
from tests.vm.failing import FAIL_NTH
from tests.vm.mesh_basics import Note
from toolkit.bench.mesh_hosts import Admin
from toolkit.guest.fork import ended, fork, kill
from toolkit.guest.hosts import eventually, inside
from toolkit.guest.mesh import FOLDER, MESH, Town, b64, inner, mac, outer

COUNT = 64
#: Seconds for what so many do on one processor.
PATIENCE = 600
PORT = 51820
#: linux/if_packet.h: what this host itself has sent.
PACKET_OUTGOING = 4
STATION = station.NOTHING
pytestmark = [
    pytest.mark.skipif(
        not FAIL_NTH.exists(), reason="needs a kernel that runs natively: --kernel uml"
    ),
    pytest.mark.timeout(2 * PATIENCE),
]


class Crowd:
    """The hosts; each is a network namespace, and its agent a copy of this process."""

    def __init__(self) -> None:
        self.town = Town()
        self.town.start_store()
        self.admin = Admin(MESH)
        reserve = signing.public_key(signing.generate())
        self.town.trusted = f"TrustedKeys = {self.admin.public}, {reserve}"
        self.names = [f"h{n}" for n in range(1, COUNT + 1)]
        self.records: dict[str, Record] = {}
        self.agents: dict[str, int] = {}
        for number, name in enumerate(self.names, 1):
            self._make(name, number)

    def _make(self, name: str, number: int) -> None:
        host = self.town.make_host(name, number, up=False)
        # only what the test sends is to be sent
        host.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        secret = signing.generate()
        path = Path(f"/etc/netns/{name}/l2wg/{MESH}.hostkey")
        path.touch(mode=0o600)
        path.write_text(f"{secret.reveal()}\n")
        self.records[name] = Record(
            MESH,
            name,
            values.public_key(host.public),
            signing.public_key(secret),
            addresses=(AllowedIP(socket.inet_aton(inner(number)), 32),),
            macs=(mac(number),),
            endpoints=(Endpoint(outer(number), PORT),),
        )

    def l2wgctl(self, name: str, *words: str) -> int:
        """Start l2wgctl on a host; the process."""
        places = {
            Path("/etc/l2wg"): Path(f"/etc/netns/{name}/l2wg"),
            Path("/var/lib/l2wg"): FOLDER / name / "lib",
            Path("/run/l2wg-mesh"): FOLDER / name / "run",
        }
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        host = self.town.hosts[name]
        return fork(host, lambda: cli.main(words), FOLDER / f"{name}.log", places)

    def publish(self, *records: Record) -> None:
        """Sign records and a list, and put them into the store."""
        puts = [*map(self.admin.sign, records), self.admin.list()]
        for at in range(0, len(puts), 100):
            asked = [
                {"request_put": {"key": b64(key), "value": b64encode(value).decode()}}
                for key, value in puts[at : at + 100]
            ]
            self.town.ask("kv/txn", {"success": asked})

    def start(self, *names: str) -> None:
        """Start agents, all at once."""
        for name in names:
            self.agents[name] = self.l2wgctl(name, "mesh", "run", MESH)

    def link(self, name: str, do: Callable[[Link], Any]) -> Any:
        """Ask a host's switch."""
        with inside(self.town.hosts[name]):
            link = Link(MESH)
        try:
            return do(link)
        finally:
            link.close()

    def until_peers(self, *names: str) -> None:
        """Wait until each of these has all others for peers, and nobody else."""
        for name in names:
            wanted = {self.records[x].key for x in names if x != name}
            eventually(
                lambda name=name, wanted=wanted: (  # type: ignore[misc]
                    {*self.link(name, Link.read).peers} == wanted
                ),
                f"{name} has its {len(wanted)} peers",
                PATIENCE,
            )

    def is_well(self, name: str) -> bool:
        """Whether a host's agent is in touch with the store, and says that nothing is wrong."""
        found = json.loads((FOLDER / name / "run" / f"{MESH}.json").read_text())
        return bool(found["in_touch"]) and not found["faults"]

    def destroy(self) -> None:
        """End everything."""
        kill(*self.agents.values())
        self.town.destroy()


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    try:
        yield made
    finally:
        for name in (made.names[0], made.names[-1]):
            log = FOLDER / f"{name}.log"
            print(name, log.read_text() if log.exists() else "has no log")
        made.destroy()


def test_64_hosts_restart_at_once(crowd: Crowd, record_property: Note) -> None:
    names, gone = crowd.names, crowd.names[-1]
    ups = [crowd.l2wgctl(name, "up", MESH) for name in names]
    assert ended(*ups) == [0] * COUNT
    crowd.publish(*crowd.records.values())
    crowd.start(*names)
    crowd.until_peers(*names)

    # all die; meanwhile each has lost a peer, and one host is revoked
    kill(*crowd.agents.values())
    crowd.agents.clear()
    for name, other in zip(names, names[1:] + names[:1]):
        removed = [Remove(crowd.records[other].key)]
        crowd.link(name, partial(Link.apply, changes=removed))
    crowd.publish(crowd.records[gone].revoked())
    begin = time.monotonic()
    crowd.start(*names)
    left = names[:-1]
    crowd.until_peers(*left)
    record_property("restarted", f"{COUNT} agents in {time.monotonic() - begin:.0f} s")
    eventually(lambda: not crowd.link(gone, Link.read).peers, f"{gone} has no peers", PATIENCE)

    each_broadcast_arrives_once(crowd, left)
    assert not crowd.link(gone, Link.read).peers
    for name in left:
        eventually(
            lambda name=name: crowd.is_well(name),  # type: ignore[misc]
            f"{name} is in touch with the store, and nothing is wrong",
        )
        log = (FOLDER / f"{name}.log").read_text()
        assert "Traceback" not in log, log
    signs = layout.prefix(MESH, layout.ALIVE)
    asked = {"key": b64(signs), "range_end": b64(signs[:-1] + "0"), "count_only": True}
    eventually(
        lambda: int(crowd.town.ask("kv/range", asked).get("count", 0)) == len(left),
        "each has its sign of life",
    )


def each_broadcast_arrives_once(crowd: Crowd, names: list[str]) -> None:
    """Everybody sends to everybody; some rounds later, when all sessions are up, all arrives."""
    counted: Counter[tuple[str, int, int]] = Counter()
    with ExitStack() as stack:
        socks: dict[str, socket.socket] = {}
        for name in names:
            with inside(crowd.town.hosts[name]):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(STATION))
            stack.enter_context(sock)
            sock.bind((MESH, STATION))
            sock.setblocking(False)
            socks[name] = sock

        def listen() -> None:
            for name, sock in socks.items():
                while True:
                    try:
                        frame, where = sock.recvfrom(2048)
                    except BlockingIOError:
                        break
                    if where[2] != PACKET_OUTGOING:
                        turn, sender = struct.unpack_from("!II", frame, 14)
                        counted[name, turn, sender] += 1

        def complete(turn: int) -> bool:
            listen()
            return sum(turn == seen for _, seen, _ in counted) == len(names) * (len(names) - 1)

        turn = 0
        deadline = time.monotonic() + PATIENCE
        while not complete(turn):
            assert time.monotonic() < deadline, f"round {turn}: {len(counted)} of all rounds"
            turn += 1
            for number, name in enumerate(names):
                source = crowd.records[name].macs[0]
                what = struct.pack("!II", turn, number) + bytes(40)
                socks[name].send(station.eth(station.BROADCAST, source, STATION, what))
                listen()
            # sessions take their time: a round is given up when nothing of it comes any more
            before = -1
            while before != (before := counted.total()) and not complete(turn):
                time.sleep(2)
        listen()
    print(f"{len(names)} hosts: every broadcast has arrived in round {turn}")
    assert {*counted.values()} == {1}


STATION = station.NOTHING

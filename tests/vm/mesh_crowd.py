# SPDX-License-Identifier: GPL-2.0
"""64 hosts of one mesh, whose agents are killed and restarted all at once (./inv mesh-test).

One mesh serves all tests of this file, in their order: each begins where the one before it ends.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
from l2wgctl.keys import generate_private_key, public_key
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
from toolkit.guest.hosts import Host, eventually, inside
from toolkit.guest.mesh import FOLDER, MESH, Town, b64, inner, mac, outer

COUNT = 64
#: Seconds for what so many do on one processor.
PATIENCE = 900
PORT = 51820
#: Hosts that send broadcasts, and so many of them at once.
SOME, AT_ONCE = 8, 4
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
    """The hosts; each is a network namespace, and its agent a copy of this process.

    :ivar gone: the one that is revoked.
    :ivar left: all others.
    """

    def __init__(self) -> None:
        # three take a third of the one processor, and that only to know of each other
        self.town = Town(members=1)
        self.town.start_store()
        self.admin = Admin(MESH)
        reserve = signing.public_key(signing.generate())
        self.town.trusted = f"TrustedKeys = {self.admin.public}, {reserve}"
        self.names = [f"h{n}" for n in range(1, COUNT + 1)]
        *self.left, self.gone = self.names
        self.agents: dict[str, int] = {}
        hosts = []
        for name in self.names:
            private = generate_private_key()
            hosts.append(Host(name, private.reveal(), str(public_key(private))))
        self.town.make_crowd(hosts)
        self.records = {host.name: _record(host, n) for n, host in enumerate(hosts, 1)}

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

    def start(self) -> None:
        """Start all agents at once."""
        for name in self.names:
            self.agents[name] = self.l2wgctl(name, "mesh", "run", MESH)

    def kill(self) -> None:
        """Kill all agents."""
        kill(*self.agents.values())
        self.agents.clear()

    def link(self, name: str, do: Callable[[Link], Any]) -> Any:
        """Ask a host's switch."""
        with inside(self.town.hosts[name]):
            link = Link(MESH)
        try:
            return do(link)
        finally:
            link.close()

    def until_peers(self, *names: str) -> None:
        """Wait until each of these hosts has all others of them for peers, and nobody else."""
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

    def alive(self) -> set[str]:
        """Whose sign of life is in the store."""
        signs = layout.prefix(MESH, layout.ALIVE)
        asked = {"key": b64(signs), "range_end": b64(signs[:-1] + "0"), "keys_only": True}
        found = self.town.ask("kv/range", asked).get("kvs", [])
        return {b64decode(x["key"]).decode().removeprefix(signs) for x in found}

    def destroy(self) -> None:
        """End everything."""
        self.kill()
        self.town.disband()
        self.town.destroy()


class Air:
    """What the hosts hear of each other's broadcasts.

    :ivar frames: how often each has arrived: at whom, of which round, from whom.
    :ivar pairs: who has heard whom.
    """

    def __init__(self, crowd: Crowd, stack: ExitStack) -> None:
        self.crowd = crowd
        self.frames: Counter[tuple[str, int, str]] = Counter()
        self.pairs: set[tuple[str, str]] = set()
        self.turn = 0
        self.socks: dict[str, socket.socket] = {}
        for name in crowd.left:
            with inside(crowd.town.hosts[name]):
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(STATION))
            self.socks[name] = stack.enter_context(sock)
            sock.bind((MESH, STATION))
            sock.setblocking(False)

    def until_all_hear(self, senders: Sequence[str]) -> None:
        """Let these send broadcasts until every other host has heard each of them.

        Of a flood a switch begins 20 sessions in a second; what is for the others then is lost.
        """
        deadline = time.monotonic() + PATIENCE
        while missing := self._missing(senders):
            assert time.monotonic() < deadline, missing
            self.turn += 1
            for name in {sender for _, sender in missing}:
                source = self.crowd.records[name].macs[0]
                what = struct.pack("!I4s", self.turn, name.encode()) + bytes(40)
                self.socks[name].send(station.eth(station.BROADCAST, source, STATION, what))
            before = -1
            while before != (before := self.frames.total()):
                time.sleep(1)
                self._listen()

    def _missing(self, senders: Sequence[str]) -> set[tuple[str, str]]:
        """Who has not heard whom."""
        wanted = {(name, sender) for name in self.socks for sender in senders if name != sender}
        return wanted - self.pairs

    def _listen(self) -> None:
        for name, sock in self.socks.items():
            while True:
                try:
                    frame, where = sock.recvfrom(2048)
                except BlockingIOError:
                    break
                if where[2] != PACKET_OUTGOING:
                    turn, padded = struct.unpack_from("!I4s", frame, 14)
                    sender = padded.rstrip(b"\0").decode()
                    self.frames[name, turn, sender] += 1
                    self.pairs.add((name, sender))


def _record(host: Host, number: int) -> Record:
    """A host's record; the key of its signs of life is in its file."""
    secret = signing.generate()
    path = Path(f"/etc/netns/{host.name}/l2wg/{MESH}.hostkey")
    path.touch(mode=0o600)
    path.write_text(f"{secret.reveal()}\n")
    return Record(
        MESH,
        host.name,
        values.public_key(host.public),
        signing.public_key(secret),
        addresses=(AllowedIP(socket.inet_aton(inner(number)), 32),),
        macs=(mac(number),),
        endpoints=(Endpoint(outer(number), PORT),),
    )


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    try:
        yield made
    finally:
        for name in (made.left[0], made.gone):
            log = FOLDER / f"{name}.log"
            print(name, log.read_text() if log.exists() else "has no log")
        made.destroy()


def test_64_hosts_begin_at_once(crowd: Crowd, record_property: Note) -> None:
    ups = [crowd.l2wgctl(name, "up", MESH) for name in crowd.names]
    assert ended(*ups) == [0] * COUNT
    crowd.publish(*crowd.records.values())
    begin = time.monotonic()
    crowd.start()
    crowd.until_peers(*crowd.names)
    record_property("begun", f"{COUNT} agents in {time.monotonic() - begin:.0f} s")


def test_64_hosts_restart_at_once(crowd: Crowd, record_property: Note) -> None:
    """Meanwhile each has lost a peer, and one of them is revoked."""
    crowd.kill()
    for name, other in zip(crowd.names, crowd.names[1:] + crowd.names[:1]):
        removed = [Remove(crowd.records[other].key)]
        crowd.link(name, partial(Link.apply, changes=removed))
    crowd.publish(crowd.records[crowd.gone].revoked())
    begin = time.monotonic()
    crowd.start()
    crowd.until_peers(*crowd.left)
    record_property("restarted", f"{COUNT} agents in {time.monotonic() - begin:.0f} s")
    no_peers = f"{crowd.gone} has no peers"
    eventually(lambda: not crowd.link(crowd.gone, Link.read).peers, no_peers, PATIENCE)


def test_each_broadcast_arrives_once(crowd: Crowd, record_property: Note) -> None:
    """From SOME of them at all others. (A session takes 24 ms of this kernel's processor.)"""
    with ExitStack() as stack:
        air = Air(crowd, stack)
        senders = crowd.left[:: COUNT // SOME]
        for at in range(0, len(senders), AT_ONCE):
            air.until_all_hear(senders[at : at + AT_ONCE])
    record_property("frames have arrived", f"{air.frames.total()} in {air.turn} rounds")
    assert {*air.frames.values()} == {1}
    assert not crowd.link(crowd.gone, Link.read).peers


def test_all_are_well(crowd: Crowd) -> None:
    for name in crowd.left:
        eventually(
            lambda name=name: crowd.is_well(name),  # type: ignore[misc]
            f"{name} is in touch with the store, and nothing is wrong",
            PATIENCE,
        )
        log = (FOLDER / f"{name}.log").read_text()
        assert "Traceback" not in log, log
    signs = "each has its sign of life, and who is revoked has none"
    eventually(lambda: crowd.alive() == {*crowd.left}, signs, PATIENCE)

# SPDX-License-Identifier: GPL-2.0
"""A mesh with a real etcd of three members: hosts join, the store fails, and Ethernet goes on.

One mesh serves all tests of this file, in their order: each begins where the one before it ends.
mesh_faults.py has the longer ones. Both are run by ./inv mesh-test, and not by ./inv test.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolkit.guest.hosts import capture, eventually, inside, packets, stop
from toolkit.guest.mesh import FOLDER, MESH, Town, inner

DIRECT = ("A", "B", "C")
ALL = (*DIRECT, "D")
PORT = 9999
#: Pytest's record_property: what was measured, for the report.
Note = Callable[[str, object], None]


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    made = Town()
    made.start_store()
    made.make_admin()
    for number, name in enumerate(DIRECT, 1):
        made.make_host(name, number, hub=name == "C")
    made.make_host("D", 4, behind="C")
    try:
        yield made
    finally:
        for name in made.hosts:
            log = FOLDER / f"{name}.log"
            print(name, log.read_text() if log.exists() else "has no log")
        made.destroy()


def public(town: Town, name: str) -> str:
    return town.hosts[name].run("wg", "show", MESH, "public-key").strip()


def each_broadcast_arrives_once(town: Town, sender: str, *others: str) -> None:
    """At every host, from here and through the hub."""
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(capture(town.hosts[name], MESH, f"udp port {PORT}", frames=1))
            for name in others
        ]
        with inside(town.hosts[sender]), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(b"once", (inner(255), PORT))
    assert [len(packets(file)) for file in files] == [1] * len(files)


def all_is_well(town: Town) -> None:
    """Every pair that should pings, broadcasts arrive once, the tables equal the records."""
    town.until_all_ping(*ALL)
    for sender in ("A", "D"):
        each_broadcast_arrives_once(town, sender, *(x for x in ALL if x != sender))
    keys = {name: public(town, name) for name in ALL}
    for name in DIRECT:
        peers = {keys[x] for x in DIRECT if x != name} | ({keys["D"]} if name == "C" else set())
        assert town.peers(name) == peers, name
    assert town.peers("D") == {keys["C"]}


def test_hosts_join_and_share_an_ethernet(town: Town) -> None:
    town.admit(*ALL)
    all_is_well(town)
    found: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}

    def calm() -> bool:
        """On a busy machine the store may be late for a moment, and a session end meanwhile."""
        town.until_ping("A", "B")
        found.clear()
        found.update(town.status("A"))
        assert found["running"]
        late = [x["trouble"] for x in found["store"] if x["trouble"]]
        rows.update({row["name"]: row for row in found["hosts"]})
        agent = found["agent"]
        well = agent["in_touch"] and not agent["faults"] and not late
        return well and rows["b"]["state"] == "up"

    eventually(calm, "A is in touch with all members and with B")
    assert rows["a"]["state"] == "this host"
    assert rows["b"]["through"] is None
    assert (rows["d"]["through"], rows["c"]["hub"]) == ("c", True)
    assert len(found["store"]) == 3


def test_a_member_dies_and_all_members_die(town: Town) -> None:
    logged = {name: len(town.log(name)) for name in ALL}
    town.kill_member(1)
    town.until_all_ping("A", "B")
    town.kill_member(2)
    town.kill_member(3)
    # an agent that starts without a store has what its disk remembers
    town.stop_agent("B", signal.SIGKILL)
    town.hosts["B"].run("wg", "set", MESH, "peer", public(town, "A"), "remove")
    town.start_agent("B")
    eventually(lambda: public(town, "A") in town.peers("B"), "B remembers A")
    all_is_well(town)
    town.start_member(1)
    town.start_member(2)
    town.start_member(3)
    town.wait_for_store()
    for name in ("A", "C", "D"):
        eventually(
            lambda name=name: "the store answers again" in town.log(name)[logged[name] :],  # type: ignore[misc]
            f"{name} says that the store answers again",
        )

        def well(name: str = name) -> bool:
            agent = town.status(name)["agent"]
            return agent["in_touch"] and not agent["faults"]

        eventually(well, f"{name} is in touch with the store")
        # the watch and the store, each twice: that they are gone, and that they are back
        assert len(town.log(name)) <= logged[name] + 8, town.log(name)
    all_is_well(town)


def test_what_is_not_signed_changes_nothing(town: Town) -> None:
    nodes = f"/l2wg/{MESH}/nodes"
    mine, other = town.read(f"{nodes}/b"), town.read(f"{nodes}/d")
    assert mine and other
    # junk, a record under another's name, and one whose bytes were changed
    for key, value in (
        (f"{nodes}/evil", "{}"),
        (f"{nodes}/b", other),
        (f"{nodes}/d", other.replace('"signature":"', '"signature":"AAAA', 1)),
    ):
        town.write(key, value)
    for part in ("nodes/evil", "nodes/b", "nodes/d"):
        eventually(lambda part=part: any(part in x for x in town.log("A")), f"A names {part}")  # type: ignore[misc]
    town.delete(f"/l2wg/{MESH}/alive/b")
    all_is_well(town)
    eventually(
        lambda: {"nodes/b", "nodes/d", "nodes/evil"} <= set(town.status("A")["agent"]["ignored"]),
        "A's status names them",
    )
    town.write(f"{nodes}/b", mine)
    town.write(f"{nodes}/d", other)
    eventually(lambda: bool(town.read(f"/l2wg/{MESH}/alive/b")), "B writes its sign anew")


def test_a_key_is_renewed_under_a_running_ping(town: Town, record_property: Note) -> None:
    old, echoes = public(town, "A"), FOLDER / "echoes.log"
    ping = town.hosts["A"].start("sh", "-c", f"exec ping -n -i 0.2 {inner(2)} >{echoes}")

    def answers() -> int:
        return echoes.read_text().count("bytes from") if echoes.exists() else 0

    eventually(lambda: answers() > 0, "the ping runs")
    town.sign("A", town.join("A", "--renew"))
    eventually(lambda: public(town, "A") != old, "A has its new key")
    for name in ("B", "C"):
        eventually(lambda name=name: old not in town.peers(name), f"{name} forgets the old key")  # type: ignore[misc]
    before = answers()
    eventually(lambda: answers() > before, "the same ping is answered again")
    stop(ping, signal.SIGINT)
    record_property("echoes", echoes.read_text().splitlines()[-2])
    all_is_well(town)
    folder = Path("/etc/netns/A/l2wg")
    assert not (folder / f"{MESH}.key.next").exists()
    assert (folder / f"{MESH}.key").read_text().strip() != town.hosts["A"].key


def test_a_revoked_host_is_out_everywhere(town: Town) -> None:
    key = public(town, "B")
    town.ctl(town.admin, "mesh", "revoke", "--key", str(town.key_files[0]), MESH, "b")
    for name in ("A", "C"):
        eventually(lambda name=name: key not in town.peers(name), f"{name} has no B")  # type: ignore[misc]
    town.until_all_ping("A", "C", "D")
    assert not town.hosts["A"].ok("ping", "-n", "-c", "1", "-W", "2", inner(2))

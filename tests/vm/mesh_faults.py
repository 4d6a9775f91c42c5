# SPDX-License-Identifier: GPL-2.0
"""The long faults of a mesh (./inv mesh-test): partition, swarm, junk, SIGKILL at any moment, NAT.

It goes on where mesh_basics.py ends, with a mesh of its own.
"""

from __future__ import annotations

import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import wire
from tests.vm.mesh_basics import (
    ALL,
    PORT,
    Note,
    all_is_well,
    each_broadcast_arrives_once,
    public,
    town,
)
from toolkit.guest.hosts import Failed, Host, capture, eventually, inside
from toolkit.guest.mesh import MESH, Town, b64, inner, outer, unb64

__all__ = ["town"]

#: An agent is killed so often, each time at another moment.
KILLS = 12
JUNK = 10_000
INITIATION = 148  # bytes, WireGuard's whitepaper 5.4.2


@pytest.fixture(scope="module", autouse=True)
def mesh(town: Town) -> Iterator[None]:
    town.admit(*ALL)
    all_is_well(town)
    yield


def test_compaction_under_the_agents(town: Town) -> None:
    """Their watches end, and where they would go on from, the store has forgotten."""
    for name in ALL:
        town.agents[name].send_signal(signal.SIGSTOP)
    members = range(1, len(town.members) + 1)
    for number in members:
        town.kill_member(number)
    for number in members:
        town.start_member(number)
    town.wait_for_store()
    for number in range(20):
        town.write(f"/l2wg/{MESH}/nodes/late", str(number))
    newest = town.ask("kv/range", {"key": "YQ=="})["header"]["revision"]
    town.ask("kv/compaction", {"revision": newest})
    for name in ALL:
        town.agents[name].send_signal(signal.SIGCONT)
    for name in ALL:
        eventually(
            lambda name=name: any("nodes/late is not a signed" in x for x in town.log(name)),  # type: ignore[misc]
            f"{name} has seen what came after the compaction",
        )
    town.delete(f"/l2wg/{MESH}/nodes/late")
    all_is_well(town)


def test_a_partition_heals(town: Town) -> None:
    """A reaches no member of the store; a host is revoked meanwhile, and A hears of it later."""
    town.make_host("E", 5)
    town.admit("E")
    town.until_all_ping("A", "E")
    members = f"{outer(101)}-{outer(103)}"
    rules = "add table ip cut; add chain ip cut outward { type filter hook output priority 0; }; "
    # both ways: an open watch goes on telling for as long as it gets through
    rules += "add chain ip cut inward { type filter hook input priority 0; }; "
    rules += f"add rule ip cut outward ip daddr {members} drop; "
    rules += f"add rule ip cut inward ip saddr {members} drop"
    town.hosts["A"].run("nft", rules)
    town.ctl(town.admin, "mesh", "revoke", "--key", str(town.key_files[0]), MESH, "e")
    gone = public(town, "E")
    eventually(lambda: gone not in town.peers("B"), "B has no E")
    assert gone in town.peers("A")
    town.hosts["A"].run("nft", "delete table ip cut")
    eventually(lambda: gone not in town.peers("A"), "A has no E")
    town.stop_agent("E")
    all_is_well(town)


def test_junk_is_counted_and_not_kept(town: Town) -> None:
    batch = 100
    for start in range(0, JUNK, batch):
        puts = [
            {"request_put": {"key": b64(f"/l2wg/{MESH}/nodes/junk-{n}"), "value": b64("junk")}}
            for n in range(start, start + batch)
        ]
        town.ask("kv/txn", {"success": puts})
    eventually(lambda: (town.status("A")["agent"]["more"]) >= JUNK - 256, "A has counted them")
    found = town.status("A")["agent"]
    assert len(found["ignored"]) <= 256
    all_is_well(town)
    prefix = f"/l2wg/{MESH}/nodes/junk-"
    town.ask("kv/deleterange", {"key": b64(prefix), "range_end": b64(prefix[:-1] + ".")})


def test_an_agent_is_killed_at_any_moment(town: Town) -> None:
    chance = random.Random(17)
    for _ in range(KILLS):
        town.stop_agent("B", signal.SIGKILL)
        town.start_agent("B")
        lines = len(town.log("B"))
        for _ in range(chance.randrange(40)):
            town.hosts["B"].run("true")
        assert not any("Traceback" in line for line in town.log("B")[lines:])
    all_is_well(town)


def test_all_agents_restart_at_once(town: Town) -> None:
    for name in ALL:
        town.stop_agent(name, signal.SIGKILL)
    for name in ALL:
        town.start_agent(name)
    all_is_well(town)


def test_an_old_record_and_an_old_list_are_put_back(town: Town) -> None:
    place = f"/l2wg/{MESH}/nodes/d"
    lists = f"/l2wg/{MESH}/lists/"
    old = town.read(place)
    first = town.ask("kv/range", {"key": b64(lists), "range_end": b64(lists[:-1] + "0")})
    assert old and first["kvs"]
    town.ctl(town.admin, "mesh", "revoke", "--key", str(town.key_files[0]), MESH, "d")
    gone = public(town, "D")
    eventually(lambda: gone not in town.peers("C"), "C has no D")
    town.write(place, old)
    # not in the log: the junk of another test has filled its hour
    eventually(lambda: "nodes/d" in town.status("A")["agent"]["ignored"], "A names the old record")
    assert gone not in town.peers("C")
    # the newest list is taken away, and the old ones are what is left
    lost = unb64(newest_list(town)["key"])
    town.delete(lost)
    said = len(town.log("C"))
    # also an agent that starts anew
    town.stop_agent("C")
    town.start_agent("C")
    line = f"list {int(lost.rpartition('/')[2])}, which this host has seen, is gone from the store"
    eventually(lambda: any(line in x for x in town.log("C")[said:]), f"C says: {line}")
    eventually(lambda: "nodes/d" in town.status("C")["agent"]["ignored"], "C names the old record")
    assert gone not in town.peers("C")
    # the old ones are written once more, as if they were news
    for entry in first["kvs"]:
        town.write(unb64(entry["key"]), unb64(entry["value"]))
    town.until_all_ping("A", "B", "C")
    assert gone not in town.peers("C")
    # an admin is told, and puts the newest back
    key = str(town.key_files[0])
    words = ("mesh", "revoke", "--key", key, MESH, "d")
    with pytest.raises(Failed, match="the store has gone back: you have seen list"):
        town.ctl(town.admin, *words)
    town.ctl(town.admin, "mesh", "resign", "--key", key, MESH)
    town.ctl(town.admin, *words)


def newest_list(town: Town) -> dict[str, str]:
    lists = f"/l2wg/{MESH}/lists/"
    found = town.ask("kv/range", {"key": b64(lists), "range_end": b64(lists[:-1] + "0")})
    newest: dict[str, str] = max(found["kvs"], key=lambda entry: unb64(entry["key"]))
    return newest


def test_a_host_that_is_away_costs_little(town: Town, record_property: Note) -> None:
    """Floods go to it, too, and begin a handshake: one packet in five seconds, however many."""
    # it has a record, and nobody answers: its link is not up
    town.make_host("W", 9, up=False)
    town.sign("W", town.join("W"))
    a, key = town.hosts["A"], town.hosts["W"].public
    eventually(lambda: key in town.peers("A"), "A has W")
    rows = {row["name"]: row for row in town.status("A")["hosts"]}
    assert rows["w"]["state"] == "away"
    floods = 0

    def flood_until_three(file: Path) -> bool:
        nonlocal floods
        burst(a, *[b"is W there?"] * 100)
        floods += 100
        return len(wire.read(file)) >= 3

    begin = time.monotonic()
    with capture(a, "eth0", f"udp and dst host {outer(9)}") as file:
        eventually(lambda: flood_until_three(file), "three packets to W")
    took = time.monotonic() - begin
    sizes = [int.from_bytes(packet[38:40], "big") - 8 for packet in wire.read(file)]  # of UDP
    record_property("floods", f"{floods} in {took:.0f} s: {len(sizes)} packets")
    assert {*sizes} == {INITIATION}
    assert len(sizes) <= 2 + took / 5
    each_broadcast_arrives_once(town, "A", "B", "C")
    town.ctl(town.admin, "mesh", "revoke", "--key", str(town.key_files[0]), MESH, "w")
    eventually(lambda: key not in town.peers("A"), "A has no W")


def burst(host: Host, *texts: bytes) -> None:
    """Broadcasts."""
    with inside(host), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for text in texts:
            sock.sendto(text, (inner(255), PORT))


def test_two_hosts_behind_one_nat_and_one_hub(town: Town) -> None:
    """Their records have no endpoint, and the hub learns where they are from their handshakes."""
    router, hidden, rest = town.make_router("N", 60), ("F", "G"), ("A", "B", "C")
    for number, name in enumerate(hidden, 6):
        town.make_host(name, number, behind="C", router=router)
    town.admit(*hidden)
    town.until_all_ping(*rest, *hidden)
    assert [address for address, _ in seen(town, *hidden)] == [outer(60)] * 2
    assert len(set(seen(town, *hidden))) == 2, "each has a port of its own"
    for sender in ("A", "F"):
        each_broadcast_arrives_once(town, sender, *(x for x in (*rest, *hidden) if x != sender))
    # the router gets another address, and forgets all connections
    router.ip(f"address delete {outer(60)}/24 dev eth0", f"address add {outer(61)}/24 dev eth0")
    eventually(
        lambda: [address for address, _ in seen(town, *hidden)] == [outer(61)] * 2,
        "the hub has learned the new address from keepalives",
    )
    town.until_all_ping(*rest, *hidden)


def seen(town: Town, *names: str) -> list[tuple[str, str]]:
    """Address and port of hosts, as the hub C has learned them."""
    lines = town.hosts["C"].run("wg", "show", MESH, "endpoints").splitlines()
    found = dict(line.split() for line in lines)
    return [tuple(found[public(town, name)].rsplit(":", 1)) for name in names]  # type: ignore[misc]

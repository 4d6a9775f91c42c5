# SPDX-License-Identifier: GPL-2.0
"""The long faults of a mesh (./inv mesh-test): partition, swarm, junk, SIGKILL at any moment, NAT.

It goes on where mesh_basics.py ends, with a mesh of its own.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator

import pytest

from tests.vm.mesh_basics import ALL, all_is_well, each_broadcast_arrives_once, public, town
from toolkit.guest.hosts import eventually
from toolkit.guest.mesh import MESH, Town, outer

__all__ = ["town"]

#: An agent is killed so often, each time at another moment.
KILLS = 12
JUNK = 10_000


@pytest.fixture(scope="module", autouse=True)
def mesh(town: Town) -> Iterator[None]:
    town.admit(*ALL)
    all_is_well(town)
    yield


def test_compaction_under_the_agents(town: Town) -> None:
    for number in range(20):
        town.write(f"/l2wg/{MESH}/x", str(number))
    revision = town.ask("kv/range", {"key": "YQ=="})["header"]["revision"]
    for name in ALL:
        town.agents[name].send_signal(signal.SIGSTOP)
    for number in range(20):
        town.write(f"/l2wg/{MESH}/x", str(number))
    newest = town.ask("kv/range", {"key": "YQ=="})["header"]["revision"]
    assert int(newest) > int(revision)
    town.ask("kv/compaction", {"revision": newest})
    for name in ALL:
        town.agents[name].send_signal(signal.SIGCONT)
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
    from toolkit.guest.mesh import b64

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
    first = town.ask("kv/range", {"key": b64_of(lists), "range_end": b64_of(lists[:-1] + "0")})
    assert old and first["kvs"]
    town.ctl(town.admin, "mesh", "revoke", "--key", str(town.key_files[0]), MESH, "d")
    gone = public(town, "D")
    eventually(lambda: gone not in town.peers("C"), "C has no D")
    town.write(place, old)
    # not in the log: the junk of another test has filled its hour
    eventually(lambda: "nodes/d" in town.status("A")["agent"]["ignored"], "A names the old record")
    assert gone not in town.peers("C")
    # also an agent that starts anew
    town.stop_agent("C")
    town.start_agent("C")
    eventually(lambda: bool(town.log("C")), "C says what it ignores")
    assert gone not in town.peers("C")


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


def b64_of(text: str) -> str:
    from toolkit.guest.mesh import b64

    return b64(text)

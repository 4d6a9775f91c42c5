# SPDX-License-Identifier: GPL-2.0
"""The plan: each broadcast arrives once, whatever the shape, and nobody has what is another's."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from l2wgctl.conf.values import allowed_ip
from l2wgctl.mesh.plan import LeftOut, Plan, plan
from l2wgctl.mesh.record import Record
from l2wgctl.switch import SwitchOptions
from tests.unit.ctl.mesh.world import World, key_of, meshes, record_of

#: h0 and h1 are hubs, h2 and h3 behind h0, h4 behind h1, h5 direct.
SHAPE = {
    record.name: record
    for record in [
        record_of(0, hub=True),
        record_of(1, hub=True),
        record_of(2, behind="h0", endpoints=()),
        record_of(3, behind="h0", endpoints=()),
        record_of(4, behind="h1", endpoints=()),
        record_of(5),
    ]
}


def plan_of(records: dict[str, Record], own: str, **more: object) -> Plan:
    found = plan(records, own, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


# -- the rule of the mesh --------------------------------------------------------------------------


@given(meshes())
def test_each_broadcast_arrives_once(records: dict[str, Record]) -> None:
    world = World(records)
    placed = world.placed()
    for origin in records:
        want = placed - {origin} if origin in placed else set()
        assert world.flood(origin) == dict.fromkeys(want, 1)


@given(meshes(), st.data())
def test_also_while_keys_are_renewed(records: dict[str, Record], data: st.DataObject) -> None:
    renewing = sorted(name for name, record in records.items() if record.previous)
    renewed = frozenset(name for name in renewing if data.draw(st.booleans()))
    world = World(records, renewed)
    for origin in world.placed():
        assert world.flood(origin) == dict.fromkeys(world.placed() - {origin}, 1)


@given(meshes())
def test_before_others_have_seen_the_new_key_no_frame_is_doubled(
    records: dict[str, Record],
) -> None:
    unseen = frozenset(name for name, record in records.items() if record.previous)
    world = World(records, unseen=unseen)
    for origin in records:
        assert set(world.flood(origin).values()) <= {1}


@given(meshes())
def test_nobody_may_use_what_is_anothers(records: dict[str, Record]) -> None:
    """Of two direct hosts, neither takes frames in the name of the other, or of those behind it."""
    world = World(records)
    for name in world.placed():
        me = records[name]
        if me.behind is not None:
            continue
        for thief in world.placed() - {name}:
            sender = world.keys[thief]
            if sender not in world.plans[name].peers:
                continue
            for victim in world.placed() - {name, thief}:
                carries = records[victim].behind == thief and name != thief
                assert world.takes(name, sender, records[victim]) == carries
            assert not world.takes(name, sender, me), "what is the host's own is nobody's"


@given(meshes())
def test_relay_is_at_a_hub_for_its_own_and_nowhere_else(records: dict[str, Record]) -> None:
    world = World(records)
    for name, found in world.plans.items():
        for peer in found.peers.values():
            own = records[peer.name].behind == name and not peer.standby
            assert peer.options.relay is own


@given(meshes())
def test_all_hosts_agree_on_who_has_no_place(records: dict[str, Record]) -> None:
    assert len({found.left_out for found in World(records).plans.values()}) == 1


# -- by hand ---------------------------------------------------------------------------------------


def test_a_direct_host() -> None:
    found = plan_of(SHAPE, "h5")
    assert {peer.name: peer.through for peer in found.peers.values()} == {
        "h0": ("h2", "h3"),
        "h1": ("h4",),
    }
    hub = found.peers[key_of(0, 1)]
    assert hub.options.allowed_macs == tuple(f"02:00:00:00:00:{n:02x}" for n in (0, 2, 3))
    assert (hub.options.max_macs, hub.options.relay, hub.keepalive) == (0 + 2 + 0, False, 0)
    assert {str(ip) for ip in hub.allowed_ips} == {"10.0.0.1/32", "10.0.0.3/32", "10.0.0.4/32"}
    assert hub.endpoints == SHAPE["h0"].endpoints
    assert found.link == SwitchOptions(
        new_peers="closed", host_macs=("02:00:00:00:00:05",), host_addresses=("10.0.0.6/32",)
    )


def test_a_hub() -> None:
    found = plan_of(SHAPE, "h0")
    assert {peer.name: peer.options.relay for peer in found.peers.values()} == {
        "h1": False,
        "h2": True,
        "h3": True,
        "h5": False,
    }
    assert found.peers[key_of(2, 1)].options.allowed_macs == ("02:00:00:00:00:02",)
    assert found.peers[key_of(2, 1)].endpoints == ()


def test_a_host_behind_a_hub() -> None:
    found = plan_of(SHAPE, "h2")
    (peer,) = found.peers.values()
    assert (peer.name, peer.keepalive, peer.options.relay) == ("h0", 25, False)
    assert peer.through == ("h1", "h3", "h4", "h5") or set(peer.through) == {"h1", "h3", "h4", "h5"}
    # five others with a MAC each, and what they may have besides
    assert (peer.options.allowed_macs, peer.options.max_macs) == ((), 5 + 0 + 1 + 0 + 1 + 2)
    assert peer.allowed_ips == frozenset()


def test_a_direct_host_that_nobody_reaches_keeps_its_paths_open() -> None:
    records = {**SHAPE, "h5": replace(SHAPE["h5"], endpoints=())}
    assert {peer.keepalive for peer in plan_of(records, "h5").peers.values()} == {25}
    assert {peer.keepalive for peer in plan_of(records, "h0").peers.values()} == {0}


def test_without_a_record_there_is_no_plan() -> None:
    """Which is not an empty one: nothing changes, through a damaged memory, too."""
    assert plan(SHAPE, "h7") is None
    assert Plan().peers == {} and Plan().link.new_peers == "closed"


def test_who_has_no_place() -> None:
    records = {
        **SHAPE,
        "h5": record_of(5, behind="h7"),
        "h6": record_of(6, behind="h2"),
        "h4": record_of(4, behind="h6"),
        "h1": record_of(1, hub=False),
        "h3": record_of(3, behind="h1"),
    }
    assert plan_of(records, "h0").left_out == (
        LeftOut("h3", "is behind h1, which is no hub"),
        LeftOut("h4", "is behind h6, which is itself behind a hub"),
        LeftOut("h5", "is behind h7, which is no host of the mesh"),
        LeftOut("h6", "is behind h2, which is itself behind a hub"),
    )
    assert plan_of(records, "h5").peers == {}


def test_a_host_behind_a_hub_of_a_mesh_with_more_vlans_than_a_switch_takes() -> None:
    """256 ranges to a key: its only peer would be refused, and it would be cut off."""

    def ranges(count: int) -> object:
        records = {"hub": replace(record_of(0, hub=True), name="hub")}
        records["h1"] = replace(record_of(1), name="h1", behind="hub")
        for number in range(count):
            name = f"d{number:03d}"
            records[name] = replace(
                record_of(2),
                name=name,
                key=key_of(number, 4),
                host_key=key_of(number, 5),
                addresses=(),
                macs=(),
                vlans=tuple((vlan, vlan) for vlan in range(10 * number + 2, 10 * number + 12, 2)),
            )
        found = plan_of(records, "h1")
        assert not found.left_out
        (peer,) = found.peers.values()
        return peer.options.allowed_vlans

    most = ranges(51)
    assert isinstance(most, tuple) and len(most) == 256 and most[0] == (0, 0)
    assert ranges(52) == ((0, 4094),)


def test_a_hub_with_more_macs_than_a_switch_binds() -> None:
    """1,024 to a key: the first by name have a place, at every host the same."""
    records = {"hub": replace(record_of(0, hub=True), name="hub", macs=())}
    for number in range(20):
        macs = tuple(f"02:00:00:00:{number:02x}:{n:02x}" for n in range(64))
        record = replace(record_of(1), name=f"s{number:02d}", behind="hub", macs=macs, max_macs=0)
        records[record.name] = replace(
            record,
            key=key_of(number, 4),
            host_key=key_of(number, 5),
            addresses=(allowed_ip(f"10.2.0.{number}/32"),),
        )
    records["z"] = replace(record_of(7), name="z")
    found = plan_of(records, "z")
    (hub,) = found.peers.values()
    assert len(hub.options.allowed_macs or ()) == 1024
    assert found.left_out == tuple(
        LeftOut(f"s{number}", "is behind hub, which has too many MACs") for number in range(16, 20)
    )
    assert plan_of(records, "s17").peers == {}
    assert len(plan_of(records, "hub").peers) == 17


def test_a_new_key_waits_beside_the_old_one() -> None:
    records = {**SHAPE, "h0": replace(SHAPE["h0"], previous=key_of(0, 3))}
    for own in ("h5", "h2"):
        found = plan_of(records, own)
        old, new = found.peers[key_of(0, 3)], found.peers[key_of(0, 1)]
        assert (old.standby, new.standby) == (False, True)
        assert new.options.allowed_macs == () and new.options.max_macs == 0
        assert new.allowed_ips == frozenset() and new.endpoints == old.endpoints
        assert new.keepalive == old.keepalive
        moved = plan_of(records, own, moved=[key_of(0, 1)])
        assert key_of(0, 3) not in moved.peers
        now = moved.peers[key_of(0, 1)]
        assert now.options == old.options and now.allowed_ips == old.allowed_ips
        assert now.replaces == key_of(0, 3)


def test_the_files_own_come_first_and_all_fit() -> None:
    host = SwitchOptions(host_macs=("02:ff:00:00:00:01", "02:00:00:00:00:05"))
    found = plan_of(SHAPE, "h5", host=host)
    assert found.link.host_macs == ("02:ff:00:00:00:01", "02:00:00:00:00:05")
    many = SwitchOptions(host_macs=tuple(f"02:ff:00:00:00:{n:02x}" for n in range(64)))
    assert len(plan_of(SHAPE, "h5", host=many).link.host_macs or ()) == 64

# SPDX-License-Identifier: GPL-2.0
"""The table of a switch: against a model, against peers that flood it, and what is told of it."""

from __future__ import annotations

import random
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.vm import l2wg, wire
from tests.vm.spokes import (
    FREE,
    MAC_OF_C,
    Hub,
    defaults,
    judge,
    learned,
    nothing,
    received,
    undo,
)
from toolkit.guest.hosts import Host, eventually, no_more_memory, until_listening

STATIONS = [f"02:22:00:00:00:{n:02x}" for n in range(1, 6)]
VLANS = l2wg.vlans((0, 0), (5, 5))
FREE_MOVES = 5
Place = tuple[str, int]


# -- a model ---------------------------------------------------------------------------------------


@dataclass
class Model:
    """What docs/switch.md says of the table, for B and C, in plain code and without time."""

    limit: int = 8192
    limits: dict[str, int] = field(default_factory=lambda: {"B": 256, "C": 256})
    bound: dict[str, set[str]] = field(default_factory=lambda: {"B": set(), "C": set()})
    table: dict[Place, str] = field(default_factory=dict)
    moves: Counter[Place] = field(default_factory=Counter)

    def count(self, who: str) -> int:
        return sum(x == who for x in self.table.values())

    def full(self) -> bool:
        return len(self.table) >= self.limit

    def hear(self, who: str, place: Place) -> dict[str, int]:
        """A frame from there; the counter of the check that it fails. Eviction is the caller's."""
        holders = {x for x, macs in self.bound.items() if place[0] in macs}
        if holders == {who}:
            return {}
        if holders and who not in holders:
            return {"rx_mac_bound": 1}
        at, room = self.table.get(place), self.count(who) < self.limits[who]
        if at == who:
            return {}
        if not holders and not room:
            return {"rx_move" if at else "rx_mac_limit": 1}
        if at and not holders:
            self.moves[place] += 1
        if not at:
            self.moves[place] = 0
        self.table[place] = who
        return {}

    def too_much(self, who: str, place: Place) -> bool:
        """Would it be a move that depends on how long its place has been silent?"""
        return self.table.get(place, who) != who and self.moves[place] >= FREE_MOVES

    def forget(self, *, who: str | None = None, macs: set[str] | None = None) -> None:
        self.table = {
            place: at
            for place, at in self.table.items()
            if (who and at != who) or (macs is not None and place[0] not in macs)
        }


hears = st.tuples(
    st.just("hear"), st.sampled_from("BC"), st.sampled_from(STATIONS), st.sampled_from([0, 5])
)
changes = st.one_of(
    st.tuples(st.just("bind"), st.sampled_from("BC"), st.sets(st.sampled_from(STATIONS[:3]))),
    st.tuples(st.just("limit"), st.sampled_from("BC"), st.integers(0, 3)),
    st.tuples(st.just("all"), st.integers(2, 6)),
    st.tuples(st.just("flush"), st.sampled_from(["", "B", "C"])),
)


def table_of(net: Hub) -> dict[Place, str]:
    who = {l2wg.key(net.b): "B", l2wg.key(net.c): "C"}
    return {
        (mac, vlan or 0): who[told[l2wg.Fdb.PUBLIC_KEY]]
        for (mac, vlan), told in l2wg.fdb(net.a).items()
        if l2wg.number(told[l2wg.Fdb.STATE]) == l2wg.LEARNED
    }


def tried(net: Hub, model: Model, step: tuple[object, ...]) -> None:
    """Do a step with both, and compare them."""
    what, *rest = step
    if what == "hear":
        who, mac, vlan = str(rest[0]), str(rest[1]), int(str(rest[2]))
        place = (mac, vlan)
        if model.too_much(who, place):
            return
        before, was_full = dict(model.table), model.full()
        expected = model.hear(who, place)
        counted, _ = judge(net, who, nothing(mac, vlan) if vlan else nothing(mac))
        assert counted == expected, (step, model)
        if was_full and place in model.table and place not in before:
            # one of the peer with the most entries had to go, whichever
            now = table_of(net)
            (gone,) = set(before) - set(now)
            most = max(Counter(before.values()).values())
            assert Counter(before.values())[before[gone]] == most, (step, before, gone)
            del model.table[gone]
    elif what == "bind":
        who, macs = str(rest[0]), set(map(str, rest[1]))  # type: ignore[call-overload]
        l2wg.set_peer(net.a, net.spokes[who], allowed_macs=l2wg.macs(*macs))
        model.forget(who=who)
        changed = model.bound[who] ^ macs
        model.bound[who] = macs
        model.forget(macs=changed)
    elif what == "limit":
        who, number = str(rest[0]), int(str(rest[1]))
        l2wg.set_peer(net.a, net.spokes[who], max_macs=number)
        model.limits[who] = number
        model.forget(who=who)
    elif what == "all":
        model.limit = int(str(rest[0]))
        l2wg.set_link(net.a, {"max_macs": model.limit})
        model.table.clear()
    else:
        who = str(rest[0])
        l2wg.flush(net.a, peer=net.spokes.get(who))
        if who:
            model.forget(who=who)
        else:
            model.table.clear()
    assert table_of(net) == model.table, (step, model)


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(steps=st.lists(st.one_of(hears, hears, hears, changes), min_size=5, max_size=25))
def test_the_table_is_the_models(spokes: Hub, steps: list[tuple[object, ...]]) -> None:
    defaults(spokes)
    l2wg.set_link(spokes.a, {"max_macs": 8192})
    for spoke in (spokes.b, spokes.c):
        l2wg.set_peer(spokes.a, spoke, allowed_macs=b"", allowed_vlans=VLANS, max_macs=256)
    model = Model()
    try:
        for step in steps:
            tried(spokes, model, step)
    finally:
        l2wg.set_link(spokes.a, {"max_macs": 8192})
        undo(spokes)


# -- hostile peers with a valid key ----------------------------------------------------------------


def sent(net: Hub, host: Host, frames: list[bytes]) -> None:
    """Send frames, no faster than they arrive, and wait for the last."""
    for at in range(0, len(frames), 200):
        count, some = received(net.a), frames[at : at + 200]
        wire.send(host, "wg1", *some)
        eventually(
            lambda count=count, some=some: received(net.a) >= count + len(some) * 3 // 4,  # type: ignore[misc]
            "most have arrived",
        )


def test_a_flood_of_addresses_harms_nobody_else(net: Hub) -> None:
    """6,000 sources of B: its limit holds, memory is flat, and C's stations stay."""
    mine = [f"02:33:00:00:00:{n:02x}" for n in range(50)]
    sent(net, net.c, [*map(nothing, mine)])
    eventually(lambda: {x for x, _ in learned(net.a)} >= set(mine), "C's stations are learned")
    random.seed(1)
    flood = [nothing(f"02:44:{_mac(random.getrandbits(32))}") for _ in range(6000)]
    with no_more_memory(4000):
        sent(net, net.b, flood)
    told = l2wg.peers(net.a)
    # what is still on its way finds no more room
    assert l2wg.number(told[l2wg.key(net.b)][l2wg.Peer.LEARNED]) == 256
    assert l2wg.peer_counters(net.a, net.b)["rx_mac_limit"] > 3000
    assert {x for x, _ in learned(net.a)} >= set(mine)
    # at the link's limit it is the flooder that loses
    l2wg.set_link(net.a, {"max_macs": 100})
    try:
        sent(net, net.c, [*map(nothing, mine[:40])])
        eventually(lambda: {x for x, _ in learned(net.a)} >= set(mine[:40]), "C's are learned")
        sent(net, net.b, flood[:2000])
        assert len(learned(net.a)) == 100
        assert {x for x, _ in learned(net.a)} >= set(mine[:40])
    finally:
        l2wg.set_link(net.a, {"max_macs": 8192})


def _mac(number: int) -> str:
    return ":".join(f"{x:02x}" for x in struct.pack("!I", number))


# -- what it takes ---------------------------------------------------------------------------------

#: Bytes of an entry. On 64 bits it has 88, and 46 are in a page.
ENTRY = 96
#: Bytes of the buckets for each entry: a pointer, and at least 30 % of the buckets are in use
#: (lib/rhashtable.c, rht_shrink_below_30()).
BUCKETS = 8 / 0.3


def test_an_entry_does_not_grow_unnoticed() -> None:
    """The specification has 144 bytes for each learned entry, buckets included."""
    size = int(Path("/sys/kernel/slab/l2wg_entry/object_size").read_text())
    assert size <= ENTRY
    assert ENTRY + BUCKETS < 144


# -- what is told of it ----------------------------------------------------------------------------


def test_what_goes_from_the_table_is_told(net: Hub) -> None:
    """Evicted, flushed, aged, bound to another: `bridge monitor fdb` hears of each."""
    monitor = net.a.start("stdbuf", "-oL", "bridge", "-n", net.a.name, "monitor", "fdb")
    assert monitor.stdout

    def hears_of(*macs: str) -> None:
        """The next ones that are deleted, in any order."""
        assert monitor.stdout
        left = set(macs)
        while left:
            line = monitor.stdout.readline()
            assert line, f"the monitor has ended, and not told of {left}"
            if line.startswith("Deleted "):
                left.discard(line.split()[1])

    stations = STATIONS[:4]
    until_listening(monitor)
    assert judge(net, "C", nothing(FREE))[0] == {}
    l2wg.set_link(net.a, {"max_macs": 3})
    try:
        hears_of(FREE)
        for mac in stations:
            judge(net, "B", nothing(mac))
        left = {x for x, _ in learned(net.a)}
        (gone,) = set(stations) - left
        hears_of(gone)
        l2wg.flush(net.a, peer=net.b)
        hears_of(*left)
    finally:
        l2wg.set_link(net.a, {"max_macs": 8192})
    judge(net, "B", nothing(stations[0]))
    l2wg.set_peer(net.a, net.c, allowed_macs=l2wg.macs(MAC_OF_C, stations[0]))
    hears_of(stations[0])
    judge(net, "B", nothing(stations[1]))
    l2wg.set_link(net.a, {"ageing": 10})
    try:
        hears_of(stations[1])
        assert (stations[1], 0) not in learned(net.a)
    finally:
        l2wg.set_link(net.a, {"ageing": 300})
    monitor.kill()

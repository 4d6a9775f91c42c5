# SPDX-License-Identifier: GPL-2.0
"""A mesh in memory: Hypothesis makes its records, and frames go through the plans of all hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from l2wgctl.conf.values import allowed_ip
from l2wgctl.mesh.plan import Plan, plan
from l2wgctl.mesh.record import Record
from l2wgctl.model import Endpoint, Key

NAMES = [f"h{number}" for number in range(8)]


def key_of(number: int, kind: int) -> Key:
    return Key(bytes([kind]) + bytes([number + 1]) * 31)


def record_of(number: int, **fields: object) -> Record:
    """A direct host that claims what nobody else does."""
    made = Record(
        "office",
        NAMES[number],
        key_of(number, 1),
        key_of(number, 2),
        addresses=(allowed_ip(f"10.0.0.{number + 1}/32"),),
        macs=(f"02:00:00:00:00:{number:02x}",),
        max_macs=number % 3,
        endpoints=(Endpoint(f"192.0.2.{number + 1}", 51820),),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


@st.composite
def meshes(draw: st.DrawFn) -> dict[str, Record]:
    """Any shape: hubs, hosts behind them, and behind what is no hub, or not there."""
    count = draw(st.integers(1, len(NAMES)))
    found: dict[str, Record] = {}
    for number in range(count):
        kind = draw(st.sampled_from(["direct", "hub", "behind"]))
        behind = draw(st.sampled_from(NAMES)) if kind == "behind" else None
        if behind == NAMES[number]:
            behind = None
        previous = draw(st.sampled_from([None, None, key_of(number, 3)]))
        found[NAMES[number]] = record_of(
            number, hub=kind == "hub", behind=behind, previous=previous
        )
    return found


@dataclass
class World:
    """Hosts with the same records; `renewed` use their new key, and all others have seen it."""

    records: dict[str, Record]
    renewed: frozenset[str] = frozenset()
    #: Use their new key, and nobody has seen it yet.
    unseen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        moved = {self.records[name].key for name in self.renewed}
        self.plans: dict[str, Plan] = {}
        for name in self.records:
            found = plan(self.records, name, moved)
            assert found is not None
            self.plans[name] = found
        self.keys: Mapping[str, Key] = {
            name: record.key
            if record.previous is None or name in self.renewed | self.unseen
            else record.previous
            for name, record in self.records.items()
        }
        self.owners = {key: name for name, key in self.keys.items()}

    def placed(self) -> set[str]:
        """The hosts that the plan of each host has a place for."""
        left = {found.name for found in self.plans[next(iter(self.plans))].left_out}
        return set(self.records) - left

    def takes(self, host: str, sender: Key, source: Record) -> bool:
        """Whether a host takes a frame of `source` from a peer: the rule of the switch."""
        peers = self.plans[host].peers
        if sender not in peers:
            return False
        for mac in source.macs:
            bound = {key for key, peer in peers.items() if mac in (peer.options.allowed_macs or ())}
            if sender not in bound and (bound or not peers[sender].options.max_macs):
                return False
        for ip in source.addresses:
            bound = {key for key, peer in peers.items() if ip in peer.allowed_ips}
            if bound - {sender}:
                return False
        return not set(source.macs) & set(self.plans[host].link.host_macs or ())

    def flood(self, origin: str) -> Counter[str]:
        """How often each host gets a broadcast of `origin`: every copy, as the switch makes it."""
        got: Counter[str] = Counter()
        source = self.records[origin]
        hops = [(origin, key) for key in self.plans[origin].peers]
        while hops:
            host, to = hops.pop()
            at, sender = self.owners.get(to), self.keys[host]
            if at is None or not self.takes(at, sender, source):
                continue
            got[at] += 1
            assert got[at] < 10, "a loop"
            peers = self.plans[at].peers
            for key, peer in peers.items():
                if key != sender and (peer.options.relay or peers[sender].options.relay):
                    hops.append((at, key))
        return got

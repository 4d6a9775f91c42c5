# SPDX-License-Identifier: GPL-2.0
"""The peers that one host shall have, from the records of all. Pure.

A host is direct or behind one hub. Direct hosts and hubs are peers of each other, all of all. A
host behind a hub has one peer, the hub; at the hub it has `relay`, and nobody else has. All others
bind what is behind a hub to the hub's key, so each frame arrives once (docs/mesh.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..conf.switch_values import MAX_ENTRIES, joined
from ..model import AllowedIP, Endpoint, Key
from ..switch import CLOSED, PeerOptions, SwitchOptions
from .record import Record

#: Seconds; what holds the state of most NATs (rule 10).
KEEPALIVE = 25
#: What a switch takes of one peer (kernel/uapi/l2wg.yaml).
MACS_OF_PEER = 1024
RANGES_OF_PEER = 256
#: And those without a tag.
EVERY_VLAN = ((0, 4094),)
#: And of the host itself.
OWN_MAX = 64
#: Nothing is given.
NOTHING = SwitchOptions()


@dataclass(frozen=True)
class WantedPeer:
    """A peer as it shall be. `endpoints` are hints, the best one first.

    `standby`: the new key of a host that still uses its old one: it may shake hands, and nothing is
    bound to it yet. `replaces`: the old key, when the new one has shaken hands. `through`: the
    hosts behind this hub, whose frames it carries.
    """

    name: str
    key: Key
    options: PeerOptions
    allowed_ips: frozenset[AllowedIP] = frozenset()
    endpoints: tuple[Endpoint, ...] = ()
    keepalive: int = 0
    standby: bool = False
    replaces: Key | None = None
    through: tuple[str, ...] = ()


class LeftOut(NamedTuple):
    """A host that has no place in the plan, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Plan:
    """All peers by key, and the options of the link. `peers` is complete: others are removed."""

    link: SwitchOptions = SwitchOptions(new_peers=CLOSED)
    peers: Mapping[Key, WantedPeer] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()

    @property
    def renewing(self) -> bool:
        """Whether a new key waits for its first handshake."""
        return any(peer.standby for peer in self.peers.values())


@dataclass
class _Hub:
    """What a hub stands for: its own and what is behind it."""

    record: Record
    members: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._macs = len(self.record.macs)
        self._max_macs = self.record.max_macs
        self._vlans = joined(self.record.vlans)

    @property
    def all(self) -> tuple[Record, ...]:
        return (self.record, *self.members)

    def takes(self, more: Record) -> bool:
        """Take a host behind the hub; False: that is more than a switch takes of one peer."""
        macs, max_macs = self._macs + len(more.macs), self._max_macs + more.max_macs
        vlans = joined((*self._vlans, *more.vlans))
        if macs > MACS_OF_PEER or max_macs > MAX_ENTRIES or len(vlans) > RANGES_OF_PEER:
            return False
        self._macs, self._max_macs, self._vlans = macs, max_macs, vlans
        self.members.append(more)
        return True


def topology(records: Mapping[str, Record]) -> tuple[dict[str, _Hub], list[LeftOut]]:
    """The direct hosts with what is behind them, by name, and who has no place.

    It is the same at every host that has the same records.
    """
    hubs = {name: _Hub(record) for name, record in sorted(records.items()) if record.behind is None}
    left: list[LeftOut] = []
    for name, record in sorted(records.items()):
        if record.behind is None:
            continue
        hub = hubs.get(record.behind)
        if hub is None:
            known = record.behind in records
            why = "is itself behind a hub" if known else "is no host of the mesh"
            left.append(LeftOut(name, f"is behind {record.behind}, which {why}"))
        elif not hub.record.hub:
            left.append(LeftOut(name, f"is behind {record.behind}, which is no hub"))
        elif not hub.takes(record):
            left.append(LeftOut(name, f"is behind {record.behind}, which has too many MACs"))
    return hubs, left


def plan(
    records: Mapping[str, Record],
    own: str,
    moved: Collection[Key] = (),
    host: SwitchOptions = NOTHING,
) -> Plan | None:
    """The plan of one host. None: it has no record, so nothing is known and nothing may change.

    A host whose record is revoked has the plan `Plan()`: no peers.

    :param records: those in force of all present hosts (`Book.records`).
    :param own: the name of this host.
    :param moved: new keys that have shaken hands: bindings are theirs, the old keys go (rule 5).
    :param host: what the file has of the link (HostMACs, HostAddresses).
    """
    if own not in records:
        return None
    me = records[own]
    hubs, left = topology(records)
    link = _link(me, host)
    peers: list[WantedPeer] = []
    if me.behind is not None:
        hub = hubs.get(me.behind)
        if hub is not None and me in hub.members:
            others = [record for found in hubs.values() for record in found.all if record != me]
            peers += _both(hub.record, _all_of(others), frozenset(), moved)
            through = tuple(record.name for record in others if record != hub.record)
            peers = [replace(peer, through=through, keepalive=KEEPALIVE) for peer in peers]
    else:
        keepalive = 0 if me.endpoints else KEEPALIVE
        for name, hub in hubs.items():
            if name == own:
                for record in hub.members:
                    ips = frozenset(record.addresses)
                    peers += _both(record, _bound([record], relay=True), ips, moved)
                continue
            ips = frozenset(ip for record in hub.all for ip in record.addresses)
            through = tuple(record.name for record in hub.members)
            peers += (
                replace(peer, through=through, keepalive=keepalive if peer.endpoints else 0)
                for peer in _both(hub.record, _bound(hub.all), ips, moved)
            )
    return Plan(link, {peer.key: peer for peer in peers}, tuple(left))


def _link(me: Record, host: SwitchOptions) -> SwitchOptions:
    """The link's options: what is the host's own can be used by no peer."""
    macs = dict.fromkeys((*(host.host_macs or ()), *me.macs))
    addresses = dict.fromkeys((*(host.host_addresses or ()), *map(str, me.addresses)))
    return SwitchOptions(
        new_peers=CLOSED,
        host_macs=tuple(macs)[:OWN_MAX],
        host_addresses=tuple(addresses)[:OWN_MAX],
    )


def _bound(records: Iterable[Record], relay: bool = False) -> PeerOptions:
    """The options of a peer to which all of these are bound."""
    found = list(records)
    return PeerOptions(
        allowed_macs=tuple(sorted(mac for record in found for mac in record.macs)),
        max_macs=sum(record.max_macs for record in found),
        allowed_vlans=joined(vlan for record in found for vlan in record.vlans),
        pvid=0,
        relay=relay,
    )


def _all_of(records: Iterable[Record]) -> PeerOptions:
    """The options of the only peer of a host behind a hub: there is nobody to bind against, and of
    a large mesh there would be more MACs than a switch binds to one peer."""
    found = list(records)
    bound = _bound(found)
    count = len(bound.allowed_macs or ()) + (bound.max_macs or 0)
    vlans = bound.allowed_vlans or ()
    return bound._replace(
        allowed_macs=(),
        max_macs=min(count, MAX_ENTRIES),
        # More ranges than it takes, and it would refuse its only peer.
        allowed_vlans=vlans if len(vlans) <= RANGES_OF_PEER else EVERY_VLAN,
    )


def _both(
    record: Record, options: PeerOptions, ips: frozenset[AllowedIP], moved: Collection[Key]
) -> list[WantedPeer]:
    """A host's peer; two while it renews its key."""
    now = WantedPeer(record.name, record.key, options, ips, record.endpoints)
    if record.previous is None or record.key in moved:
        return [replace(now, replaces=record.previous)]
    nothing = options._replace(allowed_macs=(), max_macs=0, relay=False)
    return [
        replace(now, key=record.previous),
        replace(now, options=nothing, allowed_ips=frozenset(), standby=True),
    ]

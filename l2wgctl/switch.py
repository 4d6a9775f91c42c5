# SPDX-License-Identifier: GPL-2.0
"""The model of a switch (a link of kind l2wgswitch): options of the link and of its peers, what
state they are in, entries of the table, and events.

`None` means "not given": what is not given stays as it is. MAC addresses are written
`02:00:00:00:00:01`, prefixes `192.0.2.1/32`, VLANs are ranges (first, last) with 0 for what has no
tag. Source of ranges: kernel/uapi/l2wg.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .model import Key
from .sockets import AF_INET6, inet_ntop

OPEN, CLOSED = "open", "closed"
#: What a peer may be kept from, in the order of their bits.
GUARDS = ("dhcp", "ra", "stp")
#: Every VLAN, untagged frames among them: `AllowedVLANs = all`.
ALL_VLANS = ((0, 4094),)

#: Names of the counters, of a link and of a peer, from number 1 on: those of `ethtool -S`.
COUNTERS = (
    *("rx_own_mac", "rx_bad_source", "rx_vlan", "rx_mac_bound", "rx_ip_bound", "rx_guard"),
    *("rx_mac_limit", "rx_move", "rx_loop", "rx_no_relay", "rx_flood_limit", "rx_closed"),
    *("rx_no_memory", "tx_loop", "tx_unknown", "tx_flood", "tx_flood_no_session"),
    *("tx_flood_full", "tx_flood_limit", "tx_too_big", "tx_no_memory", "relay_frames"),
    "relay_bytes",
)
#: Those that only rise when a check of a peer's frame has failed.
VIOLATIONS = (
    *("rx_own_mac", "rx_bad_source", "rx_vlan", "rx_mac_bound", "rx_ip_bound", "rx_guard"),
    *("rx_mac_limit", "rx_move", "rx_loop"),
)
SESSIONS = ("idle", "trying", "up")
LEARNED, BOUND, STATIC = "learned", "bound", "static"
STATES = (LEARNED, BOUND, STATIC)
EVENTS = ("learned", "moved", "damped", "limit", "violation")
#: The type of what `Switches.sessions()` tells.
SESSION = "session"
#: Not the kernel's: events were lost, because they came faster than they were read.
LOST = "lost"


class SwitchOptions(NamedTuple):
    """Options of a switch.

    `max_macs` (8192) and `max_local` (4096): entries learned from all peers and from the host,
    1-1048576. `ageing` (300): seconds until a silent entry is forgotten, 10-1000000.
    `new_peers`: OPEN, or CLOSED: a peer without options shakes hands and nothing else.
    `host_macs` and `host_addresses`: what no peer may use, at most 64 each.
    """

    max_macs: int | None = None
    max_local: int | None = None
    ageing: int | None = None
    new_peers: str | None = None
    host_macs: tuple[str, ...] | None = None
    host_addresses: tuple[str, ...] | None = None


#: What a switch has to which nothing was set.
SWITCH_DEFAULTS = SwitchOptions(8192, 4096, 300, OPEN, (), ())


class PeerOptions(NamedTuple):
    """Options of a peer on a switch.

    `allowed_macs`: MACs bound to it, at most 1024; `max_macs` (256): how many others it may use,
    0-1048576. `allowed_vlans`: ranges (first, last), 0-4094, at most 256; empty: its PVID.
    `pvid`: the VLAN of its untagged frames, 1-4094, 0 for none. `relay`: frames pass between it
    and other peers. `isolated`: none between it and other isolated ones. `router`: it forwards
    for others. `guards`: some of GUARDS. `mark`: skb mark of what it sends, 0 for none.
    """

    allowed_macs: tuple[str, ...] | None = None
    max_macs: int | None = None
    allowed_vlans: tuple[tuple[int, int], ...] | None = None
    pvid: int | None = None
    relay: bool | None = None
    isolated: bool | None = None
    router: bool | None = None
    guards: tuple[str, ...] | None = None
    mark: int | None = None

    def over(self, base: PeerOptions) -> PeerOptions:
        """These options, and those of `base` where nothing is given."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        return base._replace(**given)


class SwitchConfig(NamedTuple):
    """What a file says of a switch, and no more: options of the link, and of the peers that it
    gives any."""

    options: SwitchOptions
    peers: Mapping[Key, PeerOptions]


#: What a peer without options has.
PEER_DEFAULTS = PeerOptions((), 256, (), 0, False, False, False, (), 0)


class SwitchState(NamedTuple):
    """A switch as the kernel has it. `learned` and `local` are numbers of entries, `peers` of
    keys that it knows. `counters` are frames, by the names of COUNTERS."""

    name: str
    ifindex: int
    options: SwitchOptions
    learned: int
    local: int
    peers: int
    counters: dict[str, int]


class PeerState(NamedTuple):
    """What a switch knows of a key.

    `present`: it is a peer now. `configured`: it has options. `learned`: entries of the table.
    `session`: one of SESSIONS, None of a key that is no peer; `session_age`: seconds up or
    trying, None when idle. `heard_age`: milliseconds since its last authenticated packet, None if
    there was none. `handle` is what `bridge fdb` calls it.
    """

    link: str
    public_key: Key
    options: PeerOptions
    handle: str
    present: bool
    configured: bool
    learned: int
    session: str | None
    session_age: int | None
    heard_age: int | None
    counters: dict[str, int]


class Entry(NamedTuple):
    """An entry of the table.

    `vlan` None: in all VLANs that the peer may use (a bound one). `public_key` None: behind the
    host. `state`: LEARNED, BOUND (AllowedMACs) or STATIC (`bridge fdb`, `l2wgctl fdb add`).
    `age`: milliseconds since it was heard, `moves`: in the present 180 s; both of learned ones.
    """

    mac: str
    vlan: int | None
    public_key: Key | None
    state: str
    age: int | None = None
    moves: int | None = None


class Event(NamedTuple):
    """Something that has happened on the switch `link`.

    `type`: one of EVENTS, SESSION, LOST, or `event-N` for one that a newer module has.
    `public_key`: whose frame it was, None of the host. `old_public_key`: where a moved address was
    before, None: behind the host. `counter`: the check that has failed, one of COUNTERS.
    `session`: its new state, one of SESSIONS.
    """

    type: str
    link: str = ""
    public_key: Key | None = None
    old_public_key: Key | None = None
    mac: str | None = None
    vlan: int | None = None
    counter: str | None = None
    session: str | None = None


def handle(key: bytes) -> str:
    """What `bridge fdb` calls a peer: fe80::/64 and the first 8 bytes of BLAKE2s-256 of its key.

    Two keys may have the same one (after 2^32 keys, or when somebody has tried for long).
    """
    from hashlib import blake2s

    return inet_ntop(AF_INET6, b"\xfe\x80" + bytes(6) + blake2s(key).digest()[:8])

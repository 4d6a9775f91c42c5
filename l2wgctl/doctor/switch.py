# SPDX-License-Identifier: GPL-2.0
"""The diseases of a switch: what its counters, its table and leases say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..conf.values import masked, split_network
from ..errors import public
from ..model import Device, Key
from ..netlink.link import Link
from ..sockets import AF_INET, AF_INET6, inet_pton
from ..switch import PEER_DEFAULTS, Entry, PeerState, SwitchState
from .finding import FAIL, OK, WARN, Finding

#: Fewer than this mean nothing.
FEW = 5
#: fe80::/10
LINK_LOCAL = b"\xfe\x80" + bytes(14)

#: Counter of a peer -> what it means, and how to mend it.
_VIOLATIONS = {
    "rx_bad_source": ("frames from MAC zero or a multicast MAC", "look for what sends them there"),
    "rx_vlan": (
        "frames in a VLAN that it may not use, or hidden behind a tag with VID 0",
        "add it to the peer's AllowedVLANs, or give it a PVID",
    ),
    "rx_mac_bound": (
        "frames with a MAC that is bound to others",
        "add it to the peer's AllowedMACs, or find the impostor",
    ),
    "rx_ip_bound": (
        "frames that claim an address that is bound to others",
        "add it to the peer's AllowedIPs, write Router = yes if it forwards, or find the impostor",
    ),
    "rx_guard": ("frames that its Guard keeps out", "look for a server there"),
    "rx_mac_limit": ("frames from more MACs than its MaxMACs allow", "raise MaxMACs"),
    "rx_move": (
        "frames from a MAC that is elsewhere and moved too often",
        "two stations have one MAC, or there is a loop",
    ),
    "rx_closed": (
        "frames without having options, and NewPeers = closed",
        "put it into the link's file",
    ),
}


def check_switch(
    state: SwitchState,
    peers: Sequence[PeerState],
    table: Sequence[Entry],
    device: Device,
    link: Link,
    neighbours: Sequence[tuple[str, str]],
    leases: Path,
    bridge_mac: str | None = None,
) -> Iterator[Finding]:
    """All of them.

    :param neighbours: (address, MAC) of the hosts that the link, or its bridge, knows.
    :param leases: dnsmasq's; a lease a line: time, MAC, address, name, client.
    :param bridge_mac: of the bridge whose port the link is.
    """
    name = state.name
    yield Finding(
        OK,
        "switch",
        f"{name} has learned {state.learned} MACs from {state.peers} peers, and {state.local} "
        "behind this host",
    )
    yield from _loops(state, peers)
    yield from _full(state)
    own = {link.mac, bridge_mac, *(state.options.host_macs or ())}
    for peer in peers:
        yield from _check_peer(peer, name)
        for mac in (x for x in peer.options.allowed_macs or () if x in own):
            yield Finding(
                WARN,
                f"peer {public(peer.public_key)}",
                f"its AllowedMACs hold {mac}, which is this host's own: no peer may use it",
                "give the station another MAC, or take it out of AllowedMACs",
            )
    yield from _flooding(state, peers, link)
    yield from _mute(state, device, table, [*neighbours, *_leases(leases)], peers)


def _loops(state: SwitchState, peers: Sequence[PeerState]) -> Iterator[Finding]:
    counters = state.counters
    own, back = counters.get("rx_own_mac", 0), counters.get("tx_loop", 0)
    back += counters.get("rx_loop", 0)
    if own or back >= FEW:
        what = f"{own} frames came from peers with this host's own MAC" if own else ""
        if back:
            what += (" and " if what else "") + f"{back} with a MAC that is on the other side, too"
        by = {x.public_key: x.counters.get("rx_own_mac", 0) for x in peers}
        by = by if own else {x.public_key: x.counters.get("rx_loop", 0) for x in peers}
        most = max(by, key=lambda key: by[key], default=None)
        if most is not None and by[most]:
            what += f", most of them from peer {public(most)}"
        mend = "a spoke belongs to one hub; two members that bridge one LAN need BridgeSTP = yes"
        if own and state.options.host_macs:
            mend += "; or a peer has one of HostMACs"
        yield Finding(WARN, "loop", f"{what}: there is a second way between two members", mend)


def _full(state: SwitchState) -> Iterator[Finding]:
    for key, count, most in (
        ("MaxEntries", state.learned, state.options.max_macs),
        ("MaxLocal", state.local, state.options.max_local),
    ):
        if most and count >= most:
            what = f"the table is full: {count} MACs, {key} {most}"
            yield Finding(WARN, "table", what, f"raise {key}, or lower the peers' MaxMACs")


def _check_peer(peer: PeerState, name: str) -> Iterator[Finding]:
    check = f"peer {public(peer.public_key)}"
    for counter, (what, mend) in _VIOLATIONS.items():
        count = peer.counters.get(counter, 0)
        if count >= (FEW if counter == "rx_move" else 1):
            see = f"'l2wgctl monitor {name} --events' shows the MACs"
            yield Finding(WARN, check, f"sent {count} {what} ({counter})", f"{mend}; {see}")
    unreached = peer.counters.get("tx_flood_no_session", 0)
    if unreached and peer.present and peer.session == "idle":
        yield Finding(
            WARN,
            check,
            f"got none of {unreached} broadcasts (ARP): it has neither session nor endpoint",
            "write its Endpoint, or PersistentKeepalive = 25 in its own file",
        )
    relay = peer.counters.get("rx_no_relay", 0)
    if relay >= FEW:
        yield Finding(
            WARN,
            check,
            f"sent {relay} frames to other peers, which were dropped: neither has Relay",
            "Relay = yes, if this host is their hub",
        )


def _flooding(state: SwitchState, peers: Sequence[PeerState], link: Link) -> Iterator[Finding]:
    floods = state.counters.get("tx_flood", 0)
    members = sum(peer.present for peer in peers)
    sent = (link.stats or {}).get("tx_packets", 0)
    if floods < 100 or members < 3 or floods * (members - 1) * 2 < sent:
        return
    unknown = state.counters.get("tx_unknown", 0)
    yield Finding(
        WARN,
        "flooding",
        f"{floods} frames were copied for {members} peers, {unknown} of them to a MAC that nobody "
        "is known to have: the copies are most of what is sent",
        "put the peers into VLANs (PVID), or look for what broadcasts with 'tcpdump -e'",
    )


def _leases(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():  # a FIFO would keep us waiting
        return
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return
    for row in map(str.split, text.splitlines()):
        if len(row) >= 3:
            yield row[2], row[1].lower()


def _mute(
    state: SwitchState,
    device: Device,
    table: Sequence[Entry],
    pairs: Sequence[tuple[str, str]],
    peers: Sequence[PeerState],
) -> Iterator[Finding]:
    """Stations of a peer with an address that is bound to another, or to the host: what they say is
    not heard."""
    options = {peer.public_key: peer.options for peer in peers}
    at: dict[str, list[tuple[Key, int]]] = {}
    for entry in table:
        if entry.public_key is not None:
            own = options.get(entry.public_key, PEER_DEFAULTS).pvid or 0
            vlan = own if entry.vlan is None else entry.vlan
            at.setdefault(entry.mac, []).append((entry.public_key, vlan))
    owners = _Owners(device, state.options.host_addresses or ())
    for address, mac in dict.fromkeys(pairs):
        owner = owners.of(address) if mac in at else None
        for key, vlan in at[mac] if owner is not None else ():
            whom, mend = _bound(owner, address)
            if isinstance(owner, Key):
                # AllowedIPs bind in the VLAN of the peer's PVID.
                elsewhere = (options.get(owner, PEER_DEFAULTS).pvid or 0) != vlan
                if owner == key or elsewhere:
                    continue
            if options.get(key, PEER_DEFAULTS).router:
                continue
            what = f"is mute with {mac}: it has the address {address}, which is bound to {whom}"
            yield Finding(FAIL, f"peer {public(key)}", what, mend)
            break


def _bound(owner: Key | str | None, address: str) -> tuple[str, str]:
    """Whom an address is bound to, and the mend."""
    give = "give it another address"
    if isinstance(owner, Key):
        return (
            f"peer {public(owner)}",
            f"{give}, or add {address} to the AllowedIPs of the right one",
        )
    return f"this host by {owner}", f"{give}, or take {owner} out of HostAddresses or Address"


class _Owners:
    """Whom addresses are bound to, as the kernel looks for it (kernel/l2wg_claim.c): the host, by
    any of its prefixes, else the peer with the longest one."""

    def __init__(self, device: Device, host: Sequence[str]) -> None:
        self._host = [(*split_network(text), text) for text in host]
        self._peers: dict[int, dict[bytes, Key]] = {}
        for peer in device.peers:
            for ip in peer.allowed_ips:
                if ip.prefix:
                    networks = self._peers.setdefault(ip.prefix, {})
                    networks[masked(ip.address, ip.prefix)] = peer.public_key
        self._lengths = sorted(self._peers, reverse=True)

    def of(self, address: str) -> Key | str | None:
        """A peer's key, one of the host's prefixes, or None."""
        try:
            raw = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
        except OSError:
            return None
        for network, prefix, text in self._host:
            if len(network) == len(raw) and masked(raw, prefix) == masked(network, prefix):
                return text
        # fe80::/10 as a whole binds nothing.
        least = 10 if masked(raw, 10) == LINK_LOCAL else 0
        for prefix in self._lengths:
            if least < prefix <= len(raw) * 8:
                key = self._peers[prefix].get(masked(raw, prefix))
                if key is not None:
                    return key
        return None

# SPDX-License-Identifier: GPL-2.0
"""What has to change for a device to become what a file says, and nothing else. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, NamedTuple

from ..keys import clamped
from ..model import ZERO_KEY, AllowedIP, Device, Endpoint, Key, Peer, SecretKey
from ..netlink import messages
from .values import masked

#: A network: masked address and prefix length.
Network = tuple[bytes, int]
#: Tells whether an endpoint of a device is the one that a file names.
Same = Callable[[Endpoint, Endpoint], bool]


class Change(NamedTuple):
    """One difference. `peer` is None for the device itself; texts hold no secrets.

    `action` is `set` (a value changes), `add` or `remove` (a peer, or an AllowedIP of one), or
    `foreign` (the link has it, but not from its file, and it stays).
    """

    action: str
    field: str
    old: str | None
    new: str | None
    peer: Key | None = None


def owners(peers: Sequence[Peer]) -> dict[Network, Key]:
    """Who has each network once the kernel has been told of these peers in this order.

    A network belongs to one peer at a time, and the last one that names it has it
    (drivers/net/wireguard/allowedips.c, add()).
    """
    return {
        (masked(ip.address, ip.prefix), ip.prefix): peer.public_key
        for peer in peers
        for ip in peer.allowed_ips
    }


def _listed(peers: Sequence[Peer]) -> dict[Key, set[Network]]:
    """The networks that each peer lists."""
    return {
        peer.public_key: {(masked(ip.address, ip.prefix), ip.prefix) for ip in peer.allowed_ips}
        for peer in peers
    }


def _held(peers: Sequence[Peer]) -> dict[Key, set[Network]]:
    """The networks of each peer by `owners`. In most files each network is one peer's only."""
    held = _listed(peers)
    if sum(map(len, held.values())) != len(set().union(*held.values())):
        held = {key: set() for key in held}
        for network, key in owners(peers).items():
            held[key].add(network)
    return held


def _allowed(networks: set[Network]) -> tuple[AllowedIP, ...]:
    return tuple(AllowedIP(*network) for network in sorted(networks))


def same_address(current: Endpoint, wanted: Endpoint) -> bool:
    """Whether two endpoints without names are one.

    :raises OSError: one of them has a name.
    """
    return messages.sockaddr(current) == messages.sockaddr(wanted)


def _secret(key: SecretKey | None) -> str:
    return "(none)" if key is None or key.is_zero else "(hidden)"


def _mark(mark: int) -> str:
    return f"0x{mark:x}" if mark else "off"


def plan(
    current: Device,
    wanted: Device,
    same: Same = same_address,
    keep_fwmark: bool = False,
    others_stay: bool = False,
) -> tuple[Device, list[Change]]:
    """The device to send with `set_device`, and the differences in words.

    Afterwards the device is what `setconf` with the same file would have made of it, so that a
    second time finds no difference; a peer that does not change is not touched, and its session
    goes on. Two things stay when the file leaves them to others: the listening port, which the
    kernel chooses when the file names none or 0, and with `keep_fwmark` the mark that `up` has
    chosen for its default route. With `others_stay` peers that are not wanted stay, too: those of a
    mesh are in its store.

    :raises: what `same` raises.
    """
    changes: list[Change] = []
    device = Device(current.name)
    private = clamped(wanted.private_key or ZERO_KEY)
    if private != (current.private_key or ZERO_KEY):
        device = device._replace(private_key=private)
        changes.append(Change("set", "private-key", _secret(current.private_key), _secret(private)))
    port = current.listen_port or 0
    if wanted.listen_port and wanted.listen_port != port:
        device = device._replace(listen_port=wanted.listen_port)
        changes.append(Change("set", "listen-port", str(port), str(wanted.listen_port)))
    mark = current.fwmark or 0
    if wanted.fwmark != mark and not (keep_fwmark and wanted.fwmark is None):
        if mark or wanted.fwmark:
            device = device._replace(fwmark=wanted.fwmark or 0)
            changes.append(Change("set", "fwmark", _mark(mark), _mark(wanted.fwmark or 0)))
    peers: list[Peer] = []
    keep = {peer.public_key for peer in wanted.peers}
    for peer in current.peers:
        if peer.public_key not in keep and not others_stay:
            peers.append(Peer(peer.public_key, remove=True))
            changes.append(Change("remove", "peer", None, None, peer.public_key))
    have = {peer.public_key: peer for peer in current.peers}
    # In the kernel a network is one peer's already.
    was, shall = _listed(current.peers), _held(wanted.peers)
    owned: set[Network] = set()  # by any peer of the file, when that is asked for
    for peer in wanted.peers:
        key = peer.public_key
        networks = shall[key]
        if key not in have:
            peers.append(peer._replace(allowed_ips=_allowed(networks)))
            changes.append(Change("add", "peer", None, None, key))
            changes += [
                Change("add", "allowed-ips", None, str(ip), key) for ip in _allowed(networks)
            ]
            continue
        change, found = _plan_peer(have[key], peer, same)
        held = was[key]
        if held != networks:
            gone, added = held - networks, networks - held
            if gone and not owned:
                owned.update(*shall.values())
            found += [Change("remove", "allowed-ips", str(ip), None, key) for ip in _allowed(gone)]
            found += [Change("add", "allowed-ips", None, str(ip), key) for ip in _allowed(added)]
            if gone <= owned:
                # A network that another peer gets moves there by itself, without a gap.
                change = change._replace(allowed_ips=_allowed(added))
            else:
                change = change._replace(allowed_ips=_allowed(networks), replace_allowed_ips=True)
        changes += found
        if found and change != Peer(key, update_only=True):
            peers.append(change)
    return device._replace(peers=tuple(peers)), changes


def _plan_peer(old: Peer, new: Peer, same: Same) -> tuple[Peer, list[Change]]:
    """The differences, except in the networks."""
    key = old.public_key
    peer = Peer(key, update_only=True)
    changes: list[Change] = []
    preshared = new.preshared_key or ZERO_KEY
    if preshared != (old.preshared_key or ZERO_KEY):
        peer = peer._replace(preshared_key=preshared)
        changes.append(
            Change("set", "preshared-key", _secret(old.preshared_key), _secret(preshared), key)
        )
    if new.endpoint is not None:
        if old.endpoint is None or not same(old.endpoint, new.endpoint):
            peer = peer._replace(endpoint=new.endpoint)
            changes.append(
                Change("set", "endpoint", str(old.endpoint or "(none)"), str(new.endpoint), key)
            )
    interval = new.persistent_keepalive or 0
    if interval != (old.persistent_keepalive or 0):
        peer = peer._replace(persistent_keepalive=interval)
        before = str(old.persistent_keepalive or "off")
        changes.append(Change("set", "persistent-keepalive", before, str(interval or "off"), key))
    return peer, changes


def describe(changes: list[Change]) -> str:
    """One line for each change: `+` added, `-` removed, `~` changed, `=` another's, which stays."""
    signs = {"add": "+", "remove": "-", "set": "~", "foreign": "="}
    lines = []
    for change in changes:
        where = f"peer {change.peer}" if change.peer is not None else "interface"
        text = f"{signs[change.action]} {where}"
        if change.field != "peer":
            if change.action == "set":
                text += f" {change.field} {change.old} -> {change.new}"
            else:
                text += f" {change.field} {change.new or change.old}"
        lines.append(text + "\n")
    return "".join(lines)

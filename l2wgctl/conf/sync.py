# SPDX-License-Identifier: GPL-2.0
"""What has to change for a device to become what a file says, and nothing else. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ..model import ZERO_KEY, AllowedIP, Device, Key, Peer, SecretKey
from ..netlink import messages
from .values import masked


class Change(NamedTuple):
    """One difference. `peer` is None for the device itself; texts hold no secrets.

    `action` is `set` (a value changes), `add` or `remove` (a peer, or an AllowedIP of one).
    """

    action: str
    field: str
    old: str | None
    new: str | None
    peer: Key | None = None


def _networks(peer: Peer) -> frozenset[tuple[bytes, int]]:
    return frozenset((masked(ip.address, ip.prefix), ip.prefix) for ip in peer.allowed_ips)


def _secret(key: SecretKey | None) -> str:
    return "(none)" if key is None or key.is_zero else "(hidden)"


def _mark(mark: int) -> str:
    return f"0x{mark:x}" if mark else "off"


def plan(
    current: Device, wanted: Device, resolve: messages.Resolver = messages.sockaddr
) -> tuple[Device, list[Change]]:
    """The device to send with `set_device`, and the differences in words.

    As `wg syncconf` has it: what the file leaves out is reset, except the listening port, which
    the kernel may have chosen. A peer that does not change is not touched, so that its session
    goes on. Raises what `resolve` raises.
    """
    changes: list[Change] = []
    device = Device(current.name)
    private = wanted.private_key or ZERO_KEY
    if private != (current.private_key or ZERO_KEY):
        device = device._replace(private_key=private)
        changes.append(Change("set", "private-key", _secret(current.private_key), _secret(private)))
    port = current.listen_port or 0
    if wanted.listen_port is not None and wanted.listen_port != port:
        device = device._replace(listen_port=wanted.listen_port)
        changes.append(Change("set", "listen-port", str(port), str(wanted.listen_port)))
    if (wanted.fwmark or 0) != (current.fwmark or 0):
        device = device._replace(fwmark=wanted.fwmark or 0)
        changes.append(
            Change("set", "fwmark", _mark(current.fwmark or 0), _mark(wanted.fwmark or 0))
        )
    have = {peer.public_key: peer for peer in current.peers}
    keep = {peer.public_key for peer in wanted.peers}
    peers: list[Peer] = []
    for peer in current.peers:
        if peer.public_key not in keep:
            peers.append(Peer(peer.public_key, remove=True))
            changes.append(Change("remove", "peer", None, None, peer.public_key))
    for peer in wanted.peers:
        old = have.get(peer.public_key)
        if old is None:
            peers.append(peer)
            changes.append(Change("add", "peer", None, None, peer.public_key))
            changes += [
                Change("add", "allowed-ips", None, str(ip), peer.public_key)
                for ip in peer.allowed_ips
            ]
        else:
            change, found = _plan_peer(old, peer, resolve)
            if found:
                peers.append(change)
                changes += found
    return device._replace(peers=tuple(peers)), changes


def _plan_peer(old: Peer, new: Peer, resolve: messages.Resolver) -> tuple[Peer, list[Change]]:
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
        same = old.endpoint is not None and messages.sockaddr(old.endpoint) == resolve(new.endpoint)
        if not same:
            peer = peer._replace(endpoint=new.endpoint)
            changes.append(
                Change("set", "endpoint", str(old.endpoint or "(none)"), str(new.endpoint), key)
            )
    interval = new.persistent_keepalive or 0
    if interval != (old.persistent_keepalive or 0):
        peer = peer._replace(persistent_keepalive=interval)
        before = str(old.persistent_keepalive or "off")
        changes.append(Change("set", "persistent-keepalive", before, str(interval or "off"), key))
    was, shall = _networks(old), _networks(new)
    if was != shall:
        gone = sorted(was - shall)
        added = sorted(shall - was)
        changes += [Change("remove", "allowed-ips", str(AllowedIP(*ip)), None, key) for ip in gone]
        changes += [Change("add", "allowed-ips", None, str(AllowedIP(*ip)), key) for ip in added]
        if gone:
            peer = peer._replace(allowed_ips=new.allowed_ips, replace_allowed_ips=True)
        else:
            peer = peer._replace(allowed_ips=tuple(AllowedIP(*ip) for ip in added))
    return peer, changes


def describe(changes: list[Change]) -> str:
    """One line a change: `+` added, `-` removed, `~` changed."""
    signs = {"add": "+", "remove": "-", "set": "~"}
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

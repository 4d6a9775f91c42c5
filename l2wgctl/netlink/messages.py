# SPDX-License-Identifier: GPL-2.0
"""Bytes of the `wireguard` generic-netlink family, both ways; no socket here.

Names and numbers are those of include/uapi/linux/wireguard.h; the rules for splitting a device
over several messages are those in the comment that opens it: replace flags in the first piece
only, every piece of a peer names its public key.

The encoding uses prepared `struct` formats instead of pyroute2's nla classes. Those make a Python
object for every attribute, some 200,000 for 10,000 peers with two AllowedIPs. A test compares the
result with pyroute2's own decoder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Callable, Literal, NamedTuple, TypeVar

from .. import sockets
from ..errors import L2wgError
from ..model import KEY_LEN, AllowedIP, Device, Endpoint, Key, Peer, SecretKey
from .bulk import Shape, Shapes
from .channel import HEADERS
from .channel import attribute as _attr
from .channel import attributes as _attributes
from .uapi import (
    WGALLOWEDIP_A_CIDR_MASK,
    WGALLOWEDIP_A_FAMILY,
    WGALLOWEDIP_A_FLAGS,
    WGALLOWEDIP_A_IPADDR,
    WGALLOWEDIP_F_REMOVE_ME,
    WGDEVICE_A_FLAGS,
    WGDEVICE_A_FWMARK,
    WGDEVICE_A_IFINDEX,
    WGDEVICE_A_IFNAME,
    WGDEVICE_A_LISTEN_PORT,
    WGDEVICE_A_PEERS,
    WGDEVICE_A_PRIVATE_KEY,
    WGDEVICE_A_PUBLIC_KEY,
    WGDEVICE_F_REPLACE_PEERS,
    WGPEER_A_ALLOWEDIPS,
    WGPEER_A_ENDPOINT,
    WGPEER_A_FLAGS,
    WGPEER_A_LAST_HANDSHAKE_TIME,
    WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL,
    WGPEER_A_PRESHARED_KEY,
    WGPEER_A_PUBLIC_KEY,
    WGPEER_A_RX_BYTES,
    WGPEER_A_TX_BYTES,
    WGPEER_F_REMOVE_ME,
    WGPEER_F_REPLACE_ALLOWEDIPS,
    WGPEER_F_UPDATE_ONLY,
)

NLA_F_NESTED = 0x8000
#: Longest message that `encode_set` makes. A nest cannot be longer than 65535 bytes; half of it
#: bounds the time that the kernel holds the RTNL lock for one message. (wg: one page.)
MESSAGE_MAX = 32768

_NLA = Struct("=HH")
_U16 = Struct("=HHHxx")
_U32 = Struct("=HHI")
_SIN = Struct("=H2s4s8x")
_SIN6 = Struct("=H2sI16sI")
# The order of wg's own attributes in an AllowedIP: family, address, mask.
_IP4 = Struct("=HH HHHxx HH4s HHBxxx")
_IP6 = Struct("=HH HHHxx HH16s HHBxxx")
_KEY_HEADER = _NLA.pack(36, WGPEER_A_PUBLIC_KEY)
_PSK_HEADER = _NLA.pack(36, WGPEER_A_PRESHARED_KEY)
_NEST = Struct("=HH")

T = TypeVar("T")
#: Turns an endpoint into the bytes of a sockaddr; resolves names where the caller wants that.
Resolver = Callable[[Endpoint], bytes]


class NetlinkFormatError(L2wgError):
    """The kernel's answer does not have the form that the uapi header gives it."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "does the module fit this kernel?", "netlink", "FORMAT")


def sockaddr(endpoint: Endpoint) -> bytes:
    """struct sockaddr_in or sockaddr_in6 of a numeric endpoint.

    :raises OSError: the host is a name (see `l2wgctl.resolve` for those).
    """
    port = endpoint.port.to_bytes(2, "big")
    host, _, scope = endpoint.host.partition("%")
    if ":" not in host:
        return _SIN.pack(sockets.AF_INET, port, sockets.inet_pton(sockets.AF_INET, host))
    index = 0
    if scope:
        index = int(scope) if scope.isascii() and scope.isdigit() else sockets.if_nametoindex(scope)
    return _SIN6.pack(sockets.AF_INET6, port, 0, sockets.inet_pton(sockets.AF_INET6, host), index)


def encode_ifname(name: str) -> bytes:
    """The attribute that names the link."""
    return _attr(WGDEVICE_A_IFNAME, os.fsencode(name) + b"\0")


def _encode_allowed_ip(network: AllowedIP) -> bytes:
    address, prefix, remove = network
    flags = _U32.pack(8, WGALLOWEDIP_A_FLAGS, WGALLOWEDIP_F_REMOVE_ME) if remove else b""
    if len(address) == 4:
        return (
            _IP4.pack(
                *(28 + len(flags), NLA_F_NESTED),
                *(6, WGALLOWEDIP_A_FAMILY, sockets.AF_INET),
                *(8, WGALLOWEDIP_A_IPADDR, address),
                *(5, WGALLOWEDIP_A_CIDR_MASK, prefix),
            )
            + flags
        )
    return (
        _IP6.pack(
            *(40 + len(flags), NLA_F_NESTED),
            *(6, WGALLOWEDIP_A_FAMILY, sockets.AF_INET6),
            *(20, WGALLOWEDIP_A_IPADDR, address),
            *(5, WGALLOWEDIP_A_CIDR_MASK, prefix),
        )
        + flags
    )


class _PeerBytes(NamedTuple):
    first: bytes  # everything but the AllowedIPs, for the first piece
    later: bytes  # for the pieces after it
    networks: list[bytes]


def _encode_peer(peer: Peer, resolve: Resolver) -> _PeerBytes:
    key = _KEY_HEADER + peer.public_key
    flags = 0
    if peer.remove:
        flags |= WGPEER_F_REMOVE_ME
    if peer.update_only:
        flags |= WGPEER_F_UPDATE_ONLY
    later = key + _U32.pack(8, WGPEER_A_FLAGS, flags) if flags else key
    first = key
    if peer.preshared_key is not None:
        first += _PSK_HEADER + peer.preshared_key
    if peer.endpoint is not None:
        first += _attr(WGPEER_A_ENDPOINT, resolve(peer.endpoint))
    if peer.persistent_keepalive is not None:
        first += _U16.pack(6, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, peer.persistent_keepalive)
    if peer.replace_allowed_ips:
        flags |= WGPEER_F_REPLACE_ALLOWEDIPS
    if flags:
        first += _U32.pack(8, WGPEER_A_FLAGS, flags)
    return _PeerBytes(first, later, [_encode_allowed_ip(ip) for ip in peer.allowed_ips])


def _device_head(device: Device) -> bytes:
    head = b""
    if device.private_key is not None:
        head += _attr(WGDEVICE_A_PRIVATE_KEY, device.private_key)
    if device.listen_port is not None:
        head += _U16.pack(6, WGDEVICE_A_LISTEN_PORT, device.listen_port)
    if device.fwmark is not None:
        head += _U32.pack(8, WGDEVICE_A_FWMARK, device.fwmark)
    if device.replace_peers:
        head += _U32.pack(8, WGDEVICE_A_FLAGS, WGDEVICE_F_REPLACE_PEERS)
    return head


def encode_set(
    device: Device, resolve: Resolver = sockaddr, limit: int = MESSAGE_MAX
) -> Iterator[bytes]:
    """Payloads (after the netlink and generic-netlink headers) that make the link like `device`.

    Send them in this order, each after the kernel has acknowledged the one before.
    `limit` is the longest message with headers; the cuts are where `wg` makes them for the same
    limit.

    :raises: what `resolve` raises.
    """
    name = encode_ifname(device.name)
    room = limit - HEADERS
    head = name + _device_head(device)
    if not device.peers:
        yield head
        return
    # `parts` are the finished peers of this message, `used` its length so far with the header
    # of the peers nest.
    parts: list[bytes] = []
    used = len(head) + 4

    def finish() -> bytes:
        body = b"".join(parts)
        return head + _NEST.pack(len(body) + 4, NLA_F_NESTED | WGDEVICE_A_PEERS) + body

    for peer in device.peers:
        fixed, later, networks = _encode_peer(peer, resolve)
        start = 0
        while True:
            if used + 4 + len(fixed) > room and parts:
                yield finish()
                parts, head, used = [], name, len(name) + 4
                continue
            block = fixed
            if networks:
                # The header of the AllowedIPs nest has to fit as well, else the peer goes on in
                # the next message.
                left = room - used - 4 - len(fixed) - 4
                end = start
                while end < len(networks) and left >= len(networks[end]):
                    left -= len(networks[end])
                    end += 1
                if left >= 0:
                    body = b"".join(networks[start:end])
                    block += _NEST.pack(len(body) + 4, NLA_F_NESTED | WGPEER_A_ALLOWEDIPS) + body
                start = end
            parts.append(_NEST.pack(len(block) + 4, NLA_F_NESTED) + block)
            used += 4 + len(block)
            if start >= len(networks):
                break
            yield finish()
            parts, head, used = [], name, len(name) + 4
            fixed = later
    yield finish()


# ---- the way back ------------------------------------------------------------------------------


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, first byte, byte after) of each attribute in data[start:end].

    :raises NetlinkFormatError: an attribute reaches over the end.
    """
    return _attributes(data, start, end, _over_the_end)


def _over_the_end() -> Exception:
    return NetlinkFormatError("an attribute reaches over the end of its message")


#: Netlink numbers are in the byte order of the machine.
BYTE_ORDER: Literal["little", "big"] = sys.byteorder
_INT_SIZES = {1, 2, 4, 8}


def unsigned(data: bytes, start: int, end: int) -> int:
    if end - start not in _INT_SIZES:
        raise NetlinkFormatError("a number has an odd length")
    return int.from_bytes(data[start:end], BYTE_ORDER)


_TIMESPEC = Struct("=qq")


def _decode_endpoint(raw: bytes) -> Endpoint | None:
    family = int.from_bytes(raw[:2], BYTE_ORDER)
    if family == sockets.AF_INET and len(raw) == 16:
        host = sockets.inet_ntop(sockets.AF_INET, raw[4:8])
    elif family == sockets.AF_INET6 and len(raw) == 28:
        scope = int.from_bytes(raw[24:28], BYTE_ORDER)
        host = sockets.inet_ntop(sockets.AF_INET6, raw[8:24])
        if scope:
            host = sockets.getnameinfo((host, 0, 0, scope), sockets.NI_NUMERICHOST)[0]
    else:
        return None
    return Endpoint(host, int.from_bytes(raw[2:4], "big"))


def _decode_allowed_ips(data: bytes, start: int, end: int) -> tuple[AllowedIP, ...]:
    networks = []
    for _, first, last in attributes(data, start, end):
        family = prefix = 0
        address = b""
        for kind, at, to in attributes(data, first, last):
            if kind == WGALLOWEDIP_A_FAMILY:
                family = unsigned(data, at, to)
            elif kind == WGALLOWEDIP_A_IPADDR:
                address = data[at:to]
            elif kind == WGALLOWEDIP_A_CIDR_MASK:
                prefix = unsigned(data, at, to)
        size = {int(sockets.AF_INET): 4, int(sockets.AF_INET6): 16}.get(family)
        if len(address) != size or prefix > size * 8:
            raise NetlinkFormatError("an AllowedIP is neither IPv4 nor IPv6")
        networks.append(AllowedIP(address, prefix))
    return tuple(networks)


def _decode_peer(data: bytes, start: int, end: int) -> Peer:
    """Any order, any subset of attributes."""
    fields: dict[str, object] = {}
    for kind, at, to in attributes(data, start, end):
        if kind == WGPEER_A_PUBLIC_KEY:
            fields["public_key"] = Key(data[at:to])
        elif kind == WGPEER_A_PRESHARED_KEY:
            if any(data[at:to]):
                fields["preshared_key"] = SecretKey(data[at:to])
        elif kind == WGPEER_A_ENDPOINT:
            fields["endpoint"] = _decode_endpoint(data[at:to])
        elif kind == WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
            fields["persistent_keepalive"] = unsigned(data, at, to)
        elif kind == WGPEER_A_LAST_HANDSHAKE_TIME:
            if to - at != _TIMESPEC.size:
                raise NetlinkFormatError("a time has an odd length")
            fields["last_handshake"] = _TIMESPEC.unpack_from(data, at)
        elif kind == WGPEER_A_RX_BYTES:
            fields["rx_bytes"] = unsigned(data, at, to)
        elif kind == WGPEER_A_TX_BYTES:
            fields["tx_bytes"] = unsigned(data, at, to)
        elif kind == WGPEER_A_ALLOWEDIPS:
            fields["allowed_ips"] = _decode_allowed_ips(data, at, to)
    key = fields.get("public_key")
    if not isinstance(key, Key) or len(key) != KEY_LEN:
        raise NetlinkFormatError("a peer has no public key")
    return Peer(**fields)  # type: ignore[arg-type]


def decode_device(name: str, payloads: Iterable[bytes]) -> tuple[Device, Peers]:
    """The device without its peers, and the peers.

    :param payloads: those of all messages of one complete dump.
    :raises NetlinkFormatError: they are not what the uapi header says.
    """
    kept = list(payloads)
    fields: dict[str, object] = {"name": name}
    nests: list[tuple[bytes, int, int]] = []
    for data in kept:
        for kind, at, to in attributes(data, 0, len(data)):
            if kind == WGDEVICE_A_PEERS:
                nests.append((data, at, to))
            elif kind == WGDEVICE_A_IFNAME:
                fields["name"] = os.fsdecode(data[at:to].split(b"\0")[0])
            elif kind == WGDEVICE_A_IFINDEX:
                fields["ifindex"] = unsigned(data, at, to)
            elif kind == WGDEVICE_A_PRIVATE_KEY:
                if any(data[at:to]):
                    fields["private_key"] = SecretKey(data[at:to])
            elif kind == WGDEVICE_A_PUBLIC_KEY:
                if any(data[at:to]):
                    fields["public_key"] = Key(data[at:to])
            elif kind == WGDEVICE_A_LISTEN_PORT:
                fields["listen_port"] = unsigned(data, at, to)
            elif kind == WGDEVICE_A_FWMARK:
                fields["fwmark"] = unsigned(data, at, to)
    return Device(**fields), Peers(nests)  # type: ignore[arg-type]


class Peers:
    """The peers of a dump, decoded while they are asked for, split ones joined.

    Can be gone through once or several times.

    :raises NetlinkFormatError: a message is not what the uapi header says; raised on the way.
    """

    def __init__(self, nests: list[tuple[bytes, int, int]]) -> None:
        self._nests = nests

    def __iter__(self) -> Iterator[Peer]:
        return self._walk(Shape.peers, lambda peer: peer)

    def dump_lines(self, line: Callable[[Peer], str]) -> Iterator[str]:
        """`line` of each peer, one or more at a time. Most peers become text without becoming a
        Peer in between, which takes a quarter of the time."""
        return self._walk(Shape.dump_lines, line)

    def _walk(
        self,
        many: Callable[[Shape, bytes, int, int], Iterator[T]],
        one: Callable[[Peer], T],
    ) -> Iterator[T]:
        shapes = Shapes()
        held: Peer | None = None
        for data, start, end in self._nests:
            while start + 4 <= end:
                size = int.from_bytes(data[start : start + 2], BYTE_ORDER)
                stop = start + size
                if size < 4 or stop > end:
                    raise NetlinkFormatError("an attribute reaches over the end of its message")
                # Only the last peer of a message can go on in the next one: it is held back.
                found = shapes.find(data, start, size, end - size)
                if found is not None:
                    if held is not None:
                        yield one(held)
                        held = None
                    yield from many(found[0], data, start, found[1])
                    start += found[0].size * found[1]
                    continue
                shapes.learn(data, start, size)
                peer = _decode_peer(data, start + 4, stop)
                start = (stop + 3) & ~3
                if held is not None and held.public_key == peer.public_key:
                    held = held._replace(allowed_ips=held.allowed_ips + peer.allowed_ips)
                    continue
                if held is not None:
                    yield one(held)
                held = peer
        if held is not None:
            yield one(held)

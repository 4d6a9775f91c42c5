# SPDX-License-Identifier: GPL-2.0
"""Peers of a dump, decoded many at a time.

The kernel writes every peer the same way (get_peer() of drivers/net/wireguard/netlink.c), so that
few layouts occur: with or without an IPv4 or IPv6 endpoint, and with some number of AllowedIPs of
each family. A layout that has been seen once becomes a `Shape`: it says which bytes must be
headers, and has one `struct` format for all the values. One comparison of long integers then tells
how many of the next peers have that shape, and they are unpacked together. A peer that fits no
shape is decoded attribute by attribute, in `l2wgctl.netlink.messages`.
"""

from __future__ import annotations

from binascii import b2a_base64
from itertools import chain, repeat
from struct import Struct, pack
from sys import byteorder

from ..sockets import AF_INET, AF_INET6, inet_ntop, ntohs
from . import uapi

_ZERO_KEY = bytes(uapi.WG_KEY_LEN)
_NESTED = 0x8000  # NLA_F_NESTED of include/uapi/linux/netlink.h
#: More AllowedIPs than this are decoded one by one: their combinations are too many to learn.
_MOST_NETWORKS = 8
_MOST_SHAPES = 64
_LONGEST_RUN = 64
_FIXED = 136  # header, and attributes of fixed length before the endpoint
_ENDPOINT = pack("=H", uapi.WGPEER_A_ENDPOINT)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..model import Peer


def _int(data: bytes) -> int:
    # Only compared: any fixed order will do.
    return int.from_bytes(data, "little")


class Shape:
    """One layout: `endpoint` is AF_INET, AF_INET6 or 0, `families` those of the AllowedIPs."""

    __slots__ = ("_endpoint", "_expect", "_families", "_line", "_mask", "_runs", "_struct")

    def __init__(self, endpoint: int, families: Sequence[int]) -> None:
        self._endpoint = endpoint
        self._families = [int(family) for family in families]
        mask, expect, layout = bytearray(), bytearray(), ["="]

        def fixed(data: bytes) -> None:
            mask.extend(b"\xff" * len(data))
            expect.extend(data)
            layout.append(f"{len(data)}x")

        def value(code: str, padding: int = 0) -> None:
            size = Struct("=" + code).size + padding
            mask.extend(bytes(size))
            expect.extend(bytes(size))
            layout.append(f"{code}{padding}x" if padding else code)

        def header(size: int, kind: int) -> None:
            fixed(pack("=HH", size, kind))

        # Linux marks every nest.
        ip_sizes = [4 if family == AF_INET else 16 for family in families]
        networks = sum(24 + size for size in ip_sizes) + 4 if families else 0
        endpoints = {0: 0, AF_INET: 20, AF_INET6: 32}[endpoint]
        header(4 + 132 + endpoints + networks, _NESTED)  # the peer's nest
        header(36, uapi.WGPEER_A_PUBLIC_KEY)
        value("32s")
        header(36, uapi.WGPEER_A_PRESHARED_KEY)
        value("32s")
        header(20, uapi.WGPEER_A_LAST_HANDSHAKE_TIME)
        value("qq")
        header(6, uapi.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL)
        value("H", 2)
        header(12, uapi.WGPEER_A_TX_BYTES)
        value("Q")
        header(12, uapi.WGPEER_A_RX_BYTES)
        value("Q")
        header(8, uapi.WGPEER_A_PROTOCOL_VERSION)
        value("", 4)
        if endpoint == AF_INET:
            header(20, uapi.WGPEER_A_ENDPOINT)
            fixed(pack("=H", AF_INET))
            value("H4s", 8)
        elif endpoint == AF_INET6:
            header(32, uapi.WGPEER_A_ENDPOINT)
            fixed(pack("=H", AF_INET6))
            value("H4x16s")
            fixed(bytes(4))  # an address with a scope needs the slow way
        if families:
            header(networks, _NESTED | uapi.WGPEER_A_ALLOWEDIPS)
        for family, size in zip(families, ip_sizes):
            header(24 + size, _NESTED)
            header(5, uapi.WGALLOWEDIP_A_CIDR_MASK)
            value("B", 3)
            header(6, uapi.WGALLOWEDIP_A_FAMILY)
            fixed(pack("=H", family))
            value("", 2)
            header(4 + size, uapi.WGALLOWEDIP_A_IPADDR)
            value(f"{size}s")
        self._mask = bytes(mask)
        self._expect = bytes(expect)
        self._struct = Struct("".join(layout))
        self._runs: dict[int, tuple[int, int]] = {}
        where = {0: "(none)", AF_INET: "%s:%d", AF_INET6: "[%s]:%d"}[endpoint]
        self._line = f"%s\t%s\t{where}\t{','.join(['%s/%d'] * len(families)) or '(none)'}"
        self._line += "\t%d\t%d\t%d\t%s\n"

    @property
    def size(self) -> int:
        """Bytes of a peer of this shape with the header of its nest."""
        return self._struct.size

    def run(self, data: bytes, start: int, end: int) -> int:
        """How many peers of this shape follow each other from `start` on (at most 64)."""
        size = self.size
        most = min(_LONGEST_RUN, (end - start) // size)
        if most not in self._runs:
            self._runs[most] = (_int(self._mask * most), _int(self._expect * most))
        mask, expect = self._runs[most]
        wrong = (_int(data[start : start + most * size]) ^ expect) & mask
        if not wrong:
            return most
        # The lowest wrong bit is in the first peer that has another shape.
        return ((wrong & -wrong).bit_length() - 1) // (8 * size)

    def peers(self, data: bytes, start: int, count: int) -> Iterator[Peer]:
        """The peers of a run."""
        from ..model import AllowedIP, Endpoint, Key, Peer, SecretKey

        new = tuple.__new__
        family = self._endpoint
        at = 9 if family else 7
        for values in self._struct.iter_unpack(data[start : start + count * self.size]):
            key, psk, seconds, nanoseconds, keepalive, sent, received = values[:7]
            endpoint = None
            if family:
                endpoint = new(Endpoint, (inet_ntop(family, values[8]), ntohs(values[7])))
            networks = [
                new(AllowedIP, (values[i + 1], values[i], False)) for i in range(at, len(values), 2)
            ]
            secret = None if psk == _ZERO_KEY else SecretKey(psk)
            yield new(
                Peer,
                (
                    *(Key(key), secret, endpoint, keepalive, tuple(networks)),
                    *(False, False, False, (seconds, nanoseconds), received, sent, None),
                ),
            )

    def dump_lines(self, data: bytes, start: int, count: int) -> Iterator[str]:
        """What `render.dump_peer` makes of the peers of a run, as one text.

        By columns, not by rows: nearly all the work is then done by C code.
        """
        rows = self._struct.iter_unpack(data[start : start + count * self.size])
        keys, psks, seconds, _, keepalives, sent, received, *rest = zip(*rows)
        columns: list[Iterable[object]] = [_base64(keys)]
        if psks.count(_ZERO_KEY) < count:
            shown = _base64(psks)
            columns.append(
                ["(none)" if psk == _ZERO_KEY else text for psk, text in zip(psks, shown)]
            )
        else:
            columns.append(repeat("(none)"))
        if self._endpoint:
            ports, addresses, *rest = rest
            columns += [map(inet_ntop, repeat(self._endpoint), addresses), map(ntohs, ports)]
        for family, prefixes, addresses in zip(self._families, rest[::2], rest[1::2]):
            columns += [map(inet_ntop, repeat(family), addresses), prefixes]
        columns += [seconds, received, sent, [value or "off" for value in keepalives]]
        yield self._line * count % tuple(chain.from_iterable(zip(*columns)))


def _base64(keys: Sequence[bytes]) -> list[str]:
    text = b"".join([b2a_base64(key, newline=False) for key in keys]).decode()
    return [text[at : at + 44] for at in range(0, len(text), 44)]


class Shapes:
    """The shapes seen in one dump, by the length of the peer."""

    def __init__(self) -> None:
        self._by_size: dict[int, list[Shape]] = {}
        self._known: set[tuple[int, tuple[int, ...]]] = set()

    def find(self, data: bytes, start: int, size: int, end: int) -> tuple[Shape, int] | None:
        """The shape of the peer at `start`, if it has been learnt, and how many such follow."""
        for shape in self._by_size.get(size, ()):
            count = shape.run(data, start, end)
            if count:
                return shape, count
        return None

    def learn(self, data: bytes, start: int, size: int) -> Shape | None:
        """Remember the shape of the peer at `start`, if it can have one and is new."""
        if len(self._known) >= _MOST_SHAPES:
            return None
        layout = _layout(data, start, min(start + size, len(data)))
        if layout in self._known or len(layout[1]) > _MOST_NETWORKS:
            return None
        self._known.add(layout)
        shape = Shape(*layout)
        if shape.size != size:
            return None
        self._by_size.setdefault(size, []).append(shape)
        return shape


def _layout(data: bytes, start: int, end: int) -> tuple[int, tuple[int, ...]]:
    """Family of the endpoint, families of the AllowedIPs; a guess, which the comparison checks."""
    endpoint = 0
    families: list[int] = []
    at = start + _FIXED
    if data[at + 2 : at + 4] == _ENDPOINT:
        endpoint = int.from_bytes(data[at + 4 : at + 6], byteorder)
        at += (int.from_bytes(data[at : at + 2], byteorder) + 3) & ~3
    at += 4  # the nest of the AllowedIPs
    while at + 24 <= end:
        # header 4, prefix length 8, then the family's attribute
        families.append(int.from_bytes(data[at + 16 : at + 18], byteorder))
        at += max(4, int.from_bytes(data[at : at + 2], byteorder))
    known = (0, AF_INET, AF_INET6)
    if endpoint not in known or not all(family in known[1:] for family in families):
        return 0, ()
    return endpoint, tuple(families)

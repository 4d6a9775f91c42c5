# SPDX-License-Identifier: GPL-2.0
"""`show IFACE dump` by the shortest way.

Scripts run it every few seconds, and loading modules would take most of its time. So this module
imports next to nothing. It leaves what is unusual - errors, peers with more than a few networks -
to `l2wgctl.show` and `l2wgctl.netlink.messages`.
"""

from __future__ import annotations

from binascii import b2a_base64
from sys import byteorder

from .netlink import channel as nl
from .netlink.bulk import Shapes
from .netlink.uapi import (
    WG_KEY_LEN,
    WGALLOWEDIP_A_CIDR_MASK,
    WGALLOWEDIP_A_FAMILY,
    WGALLOWEDIP_A_IPADDR,
    WGDEVICE_A_FWMARK,
    WGDEVICE_A_LISTEN_PORT,
    WGDEVICE_A_PEERS,
    WGDEVICE_A_PRIVATE_KEY,
    WGDEVICE_A_PUBLIC_KEY,
    WGPEER_A_PRESHARED_KEY,
)
from .sockets import inet_ntop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_KEY = bytes(WG_KEY_LEN)
#: Header of a peer's second attribute, the preshared key, which only its first piece has.
_SECOND = (36).to_bytes(2, byteorder) + WGPEER_A_PRESHARED_KEY.to_bytes(2, byteorder)


def dump(name: str) -> Iterator[str] | None:
    """The text of `show NAME dump`, some lines at a time; None if the long way is needed."""
    try:
        channel = nl.Channel(nl.open_socket())
        try:
            _, payloads = channel.dump(name, nl.loaded_families())
        finally:
            channel.sock.close()
        head: dict[int, bytes] = {}
        nests: list[tuple[bytes, int, int]] = []
        for data in payloads:
            for kind, at, to in nl.attributes(data, 0, len(data)):
                if kind == WGDEVICE_A_PEERS:
                    nests.append((data, at, to))
                elif kind < WGDEVICE_A_PEERS:
                    head[kind] = data[at:to]
    except (nl.Refused, OSError):
        return None
    return _lines(head, nests)


def _lines(head: dict[int, bytes], nests: list[tuple[bytes, int, int]]) -> Iterator[str]:
    def key(kind: int) -> str:
        value = head.get(kind, _NO_KEY)
        return "(none)" if value == _NO_KEY else b2a_base64(value, newline=False).decode()

    def number(kind: int) -> int:
        return int.from_bytes(head.get(kind, b""), byteorder)

    mark = number(WGDEVICE_A_FWMARK)
    keys = f"{key(WGDEVICE_A_PRIVATE_KEY)}\t{key(WGDEVICE_A_PUBLIC_KEY)}"
    yield f"{keys}\t{number(WGDEVICE_A_LISTEN_PORT)}\t{f'0x{mark:x}' if mark else 'off'}\n"
    shapes = Shapes()
    held = ""  # the last lines: the networks of the last peer may go on in the next message
    for position, (data, start, end) in enumerate(nests):
        if held and data[start + 40 : start + 44] != _SECOND:
            stop = start + int.from_bytes(data[start : start + 2], byteorder)
            held = _join(held, ",".join(_networks(data, start + 40, stop)))
            start = stop
        while start + 4 <= end:
            size = int.from_bytes(data[start : start + 2], byteorder)
            found = shapes.find(data, start, size, end)
            if found is None and shapes.learn(data, start, size):
                found = shapes.find(data, start, size, end)
            yield held
            if found is None:
                from .netlink.messages import Peers
                from .render import dump_peer

                rest = [(data, start, end), *nests[position + 1 :]]
                yield from Peers(rest).dump_lines(dump_peer)
                return
            held = "".join(found[0].dump_lines(data, start, found[1]))
            start += found[0].size * found[1]
    yield held


def _join(lines: str, networks: str) -> str:
    """The lines with more networks for the last of them."""
    before, end, last = lines[:-1].rpartition("\n")
    columns = last.split("\t")
    columns[3] = networks if columns[3] == "(none)" else f"{columns[3]},{networks}"
    return before + end + "\t".join(columns) + "\n"


def _networks(data: bytes, start: int, end: int) -> Iterator[str]:
    """The AllowedIPs of a peer's later piece, from behind its key on."""
    for _, nest, stop in nl.attributes(data, start, end):
        for _, first, last in nl.attributes(data, nest, stop):
            part = {kind: data[at:to] for kind, at, to in nl.attributes(data, first, last)}
            family = int.from_bytes(part[WGALLOWEDIP_A_FAMILY], byteorder)
            address = inet_ntop(family, part[WGALLOWEDIP_A_IPADDR])
            yield f"{address}/{part[WGALLOWEDIP_A_CIDR_MASK][0]}"

# SPDX-License-Identifier: GPL-2.0
"""`show IFACE dump` by the shortest way.

Scripts run it every few seconds, and for most of that time Python loads what this needs nothing
of. So this imports next to nothing, and leaves all that is out of the ordinary - errors, networks
that go on in the next message - to `l2wgctl.showing` and `l2wgctl.wgnl`.
"""

from __future__ import annotations

from binascii import b2a_base64
from sys import byteorder

from . import nl
from .shapes import Shapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Of include/uapi/linux/wireguard.h; all with their names in `l2wgctl.wgnl`.
_PRIVATE_KEY, _PUBLIC_KEY, _LISTEN_PORT, _FWMARK, _PEERS = 3, 4, 6, 7, 8
_NO_KEY = bytes(32)
#: Header of a peer's second attribute, the preshared key, which only its first piece has.
_SECOND = (36).to_bytes(2, byteorder) + (2).to_bytes(2, byteorder)


def dump(name: str) -> Iterator[str] | None:
    """The text of `show NAME dump`, some lines at a time; None when it takes the long way."""
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
                if kind == _PEERS:
                    nests.append((data, at, to))
                elif kind < _PEERS:
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

    mark = f"0x{number(_FWMARK):x}" if number(_FWMARK) else "off"
    yield f"{key(_PRIVATE_KEY)}\t{key(_PUBLIC_KEY)}\t{number(_LISTEN_PORT)}\t{mark}\n"
    shapes = Shapes()
    for position, (data, start, end) in enumerate(nests):
        following = nests[position + 1 :]
        joined = any(d[at + 40 : at + 44] != _SECOND for d, at, _ in following[:1])
        while start + 4 <= end and not joined:
            size = int.from_bytes(data[start : start + 2], byteorder)
            found = shapes.find(data, start, size, end)
            if found is None and shapes.learn(data, start, size):
                found = shapes.find(data, start, size, end)
            if found is None:
                break
            yield from found[0].dump_lines(data, start, found[1])
            start += found[0].size * found[1]
        if start + 4 <= end:
            from .render import dump_peer
            from .wgnl import Peers

            yield from Peers([(data, start, end), *following]).dump_lines(dump_peer)
            return

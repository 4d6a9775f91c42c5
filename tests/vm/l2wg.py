# SPDX-License-Identifier: GPL-2.0
"""The generic-netlink family `l2wg`, spoken from a host of a test.

By hand because importing pyroute2 takes half a minute of each boot under TCG. The numbers are
kernel/uapi/l2wg.h's; tests/unit/test_uapi.py holds the two together.
"""

from __future__ import annotations

import base64
import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum

from toolkit.guest.hosts import Host, inside

NETLINK_GENERIC = 16
GENL_ID_CTRL = 16
CTRL_GETFAMILY, CTRL_FAMILY_ID, CTRL_FAMILY_NAME, CTRL_MCAST_GROUPS = 3, 1, 2, 7
CTRL_MCAST_NAME, CTRL_MCAST_ID = 1, 2
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 1, 10, 11
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 2, 3
NESTED = 0x8000

Attrs = list[tuple[int, bytes]]


class Cmd(IntEnum):
    """enum l2wg_cmd"""

    LINK_GET = 1
    LINK_SET = 2
    PEER_GET = 3
    PEER_SET = 4
    PEER_DEL = 5
    FDB_GET = 6
    FDB_FLUSH = 7
    EVENT = 8


class Link(IntEnum):
    """enum l2wg_link_attr"""

    IFINDEX = 1
    IFNAME = 2
    MAX_MACS = 3
    MAX_LOCAL = 4
    AGEING = 5
    NEW_PEERS = 6
    HOST_MACS = 7
    HOST_ADDRESSES = 8
    LEARNED = 9
    LOCAL = 10
    PEERS = 11
    COUNTERS = 12


class Peer(IntEnum):
    """enum l2wg_peer_attr"""

    IFINDEX = 1
    IFNAME = 2
    PUBLIC_KEY = 3
    ALLOWED_MACS = 4
    MAX_MACS = 5
    PVID = 6
    ALLOWED_VLANS = 7
    RELAY = 8
    ISOLATED = 9
    ROUTER = 10
    GUARDS = 11
    MARK = 12
    HANDLE = 13
    PRESENT = 14
    CONFIGURED = 15
    LEARNED = 16
    SESSION = 17
    SESSION_AGE = 18
    HEARD_AGE = 19
    COUNTERS = 20


class Fdb(IntEnum):
    """enum l2wg_fdb_attr"""

    IFINDEX = 1
    IFNAME = 2
    MAC = 3
    VLAN = 4
    PUBLIC_KEY = 5
    STATE = 6
    AGE = 7
    MOVES = 8


class Event(IntEnum):
    """enum l2wg_event_attr"""

    IFINDEX = 1
    IFNAME = 2
    TYPE = 3
    PUBLIC_KEY = 4
    OLD_PUBLIC_KEY = 5
    MAC = 6
    VLAN = 7
    COUNTER = 8


#: enum l2wg_switch_counter, from 1 on, as `ethtool -S` calls them
COUNTERS = (
    *("rx_own_mac", "rx_bad_source", "rx_vlan", "rx_mac_bound", "rx_ip_bound", "rx_guard"),
    *("rx_mac_limit", "rx_move", "rx_loop", "rx_no_relay", "rx_flood_limit", "rx_closed"),
    *("rx_no_memory", "tx_loop", "tx_unknown", "tx_flood", "tx_flood_no_session"),
    *("tx_flood_full", "tx_flood_limit", "tx_too_big", "tx_no_memory", "relay_frames"),
    "relay_bytes",
)
GUARD_DHCP, GUARD_RA, GUARD_STP = 1, 2, 4
OPEN, CLOSED = 0, 1
LEARNED, BOUND, STATIC = 0, 1, 2
EVENTS = ("learned", "moved", "damped", "limit", "violation")


class Refused(Exception):
    """The kernel has answered with an error: its name and what it says about it."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"{errno.errorcode.get(number, number)}: {message}")
        self.errno = number
        self.message = message


def attr(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attrs(data: bytes) -> Attrs:
    """The attributes in a message or a nest, in their order."""
    found, at = [], 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found.append((kind & 0x3FFF, data[at + 4 : at + length]))
        at += (length + 3) & ~3
    return found


def u16(value: int) -> bytes:
    return struct.pack("=H", value)


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def number(value: bytes) -> int:
    """An unsigned number of any size in the machine's byte order."""
    return int.from_bytes(value, "little")


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def macs(*texts: str) -> bytes:
    """A nest of MAC addresses."""
    return b"".join(attr(1, mac(x)) for x in texts)


def vlans(*ranges: tuple[int, int]) -> bytes:
    """A nest of ranges of VLANs."""
    return b"".join(attr(1 | NESTED, attr(2, u16(a)) + attr(3, u16(b))) for a, b in ranges)


def prefixes(*texts: str) -> bytes:
    """A nest of prefixes, 10.0.0.1/32."""
    made = b""
    for text in texts:
        address, length = text.split("/")
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        packed = socket.inet_pton(family, address)
        made += attr(1 | NESTED, attr(2, packed) + attr(3, bytes([int(length)])))
    return made


class Family:
    """A socket to the family in a host's namespace."""

    def __init__(self, host: Host) -> None:
        with inside(host):
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.socket.bind((0, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self.socket.setsockopt(SOL_NETLINK, option, 1)
        self.sequence = 0
        name = attr(CTRL_FAMILY_NAME, b"l2wg\0")
        (answer,) = self._ask(GENL_ID_CTRL, CTRL_GETFAMILY, name, ACK)
        told = dict(answer[1])
        self.id = number(told[CTRL_FAMILY_ID])
        group = dict(attrs(attrs(told[CTRL_MCAST_GROUPS])[0][1]))
        self.group = number(group[CTRL_MCAST_ID])

    def __enter__(self) -> Family:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def do(self, cmd: Cmd, payload: bytes) -> list[dict[int, bytes]]:
        """Ask for one thing.

        :raises Refused: the kernel says no.
        """
        return [dict(told) for _, told in self._ask(self.id, cmd, payload, ACK)]

    def dump(self, cmd: Cmd, payload: bytes) -> list[dict[int, bytes]]:
        """Ask for all.

        :raises Refused: the kernel says no.
        """
        return [dict(told) for _, told in self._ask(self.id, cmd, payload, DUMP)]

    def subscribe(self, timeout: float = 10) -> None:
        """Get events from now on."""
        self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, self.group)
        self.socket.settimeout(timeout)

    def events(self) -> Iterator[dict[int, bytes]]:
        """Events, as they come.

        :raises TimeoutError: none has come for a while.
        """
        while True:
            for _, payload in self._messages(self.socket.recv(65536)):
                yield dict(attrs(payload[4:]))

    def _ask(self, family: int, cmd: int, payload: bytes, flags: int) -> list[tuple[int, Attrs]]:
        self.sequence += 1
        body = struct.pack("=BBH", cmd, 1, 0) + payload
        header = (16 + len(body), family, REQUEST | flags, self.sequence, 0)
        self.socket.send(struct.pack("=IHHII", *header) + body)
        answers: list[tuple[int, Attrs]] = []
        while True:
            for kind, data in self._messages(self.socket.recv(65536)):
                if kind == ERROR or (kind == DONE and flags & DUMP):
                    self._check(kind, data)
                    return answers
                answers.append((data[0], attrs(data[4:])))

    @staticmethod
    def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            yield kind, data[at + 16 : at + length]
            at += (length + 3) & ~3

    @staticmethod
    def _check(kind: int, data: bytes) -> None:
        (code,) = struct.unpack_from("=i", data)
        if not code:
            return
        # the header of the request, and what the kernel says about it
        said = dict(attrs(data[20:] if kind == ERROR else data[4:]))
        raise Refused(-code, said.get(1, os.strerror(-code).encode()).rstrip(b"\0").decode())


def named(link: str) -> bytes:
    """The attribute that names a link, the same in every set."""
    return attr(Link.IFNAME, link.encode() + b"\0")


def key(host_or_key: Host | str) -> bytes:
    """A public key."""
    text = host_or_key if isinstance(host_or_key, str) else host_or_key.public
    return base64.b64decode(text)


Options = Mapping[str, int | bytes]


def set_peer(on: Host, peer: Host | str, **options: int | bytes) -> None:
    """Set options of a peer of wg1, named as in :class:`Peer`: numbers, or nests as made above."""
    set_options(on, peer, options)


def set_options(on: Host, peer: Host | str, options: Options, link: str = "wg1") -> None:
    """The same, for a link of any name."""
    sizes = {"pvid": 2, "relay": 1, "isolated": 1, "router": 1}
    payload = named(link) + attr(Peer.PUBLIC_KEY, key(peer))
    for name, value in options.items():
        kind = Peer[name.upper()]
        if isinstance(value, bytes):
            payload += attr(kind | NESTED, value)
        else:
            payload += attr(kind, value.to_bytes(sizes.get(name, 4), "little"))
    with Family(on) as family:
        family.do(Cmd.PEER_SET, payload)


def set_link(on: Host, options: Options, link: str = "wg1") -> None:
    """Set options of a link, named as in :class:`Link`."""
    payload = named(link)
    for name, value in options.items():
        kind = Link[name.upper()]
        payload += (
            attr(kind | NESTED, value) if isinstance(value, bytes) else attr(kind, u32(value))
        )
    with Family(on) as family:
        family.do(Cmd.LINK_SET, payload)


def forget_peer(on: Host, peer: Host | str, link: str = "wg1") -> None:
    """Take a peer's options back."""
    with Family(on) as family:
        family.do(Cmd.PEER_DEL, named(link) + attr(Peer.PUBLIC_KEY, key(peer)))


def get_link(on: Host, link: str = "wg1") -> dict[int, bytes]:
    """A link's options and counters."""
    with Family(on) as family:
        return family.do(Cmd.LINK_GET, named(link))[0]


def peers(on: Host, link: str = "wg1") -> dict[bytes, dict[int, bytes]]:
    """All keys that a link knows of."""
    with Family(on) as family:
        told = family.dump(Cmd.PEER_GET, named(link))
    return {x[Peer.PUBLIC_KEY]: x for x in told}


def counters(nest: bytes) -> dict[str, int]:
    """Those that are not 0, by name."""
    found = {COUNTERS[kind - 1]: number(value) for kind, value in attrs(nest) if kind}
    return {name: value for name, value in found.items() if value}


def link_counters(on: Host, link: str = "wg1") -> dict[str, int]:
    return counters(get_link(on, link)[Link.COUNTERS])


def peer_counters(on: Host, peer: Host, link: str = "wg1") -> dict[str, int]:
    return counters(peers(on, link)[key(peer)][Peer.COUNTERS])


def fdb(on: Host, link: str = "wg1") -> dict[tuple[str, int | None], dict[int, bytes]]:
    """The table: (MAC, VLAN or None for all) -> the rest."""
    with Family(on) as family:
        told = family.dump(Cmd.FDB_GET, named(link))
    return {(x[Fdb.MAC].hex(":"), number(x[Fdb.VLAN]) if Fdb.VLAN in x else None): x for x in told}


def flush(on: Host, link: str = "wg1", *, peer: Host | None = None, vlan: int = -1) -> None:
    """Forget what was learned."""
    payload = named(link)
    if peer:
        payload += attr(Fdb.PUBLIC_KEY, key(peer))
    if vlan >= 0:
        payload += attr(Fdb.VLAN, u16(vlan))
    with Family(on) as family:
        family.do(Cmd.FDB_FLUSH, payload)


def handle(host: Host) -> str:
    """What `bridge fdb` calls a peer."""
    import hashlib

    digest = hashlib.blake2s(key(host)).digest()[:8]
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex("fe80") + bytes(6) + digest)

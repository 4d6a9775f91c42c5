# SPDX-License-Identifier: GPL-2.0
"""Netlink messages about our links, mostly well made: the same seed makes the same ones.

Attributes have the right type and an interesting value, or are cut, changed, repeated or of another
set. The numbers are l2wgctl's.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from l2wgctl import switch
from l2wgctl.netlink import uapi
from l2wgctl.netlink.channel import NLM_F_DUMP, attribute
from l2wgctl.netlink.switch_messages import NLA_F_NESTED, macs, prefixes, vlans
from l2wgctl.netlink.switch_uapi import Cmd, Fdb, Link, Peer

L2WG, WIREGUARD, ROUTE = "l2wg", "wireguard", "route"
KINDS = {"sw0": "l2wgswitch", "sw1": "l2wgswitch", "wire0": "l2wireguard", "plain0": "wireguard"}
NAMES = (*KINDS, "wg1", "lo", "none0", "br0")
KEYS = [bytes([number]) * 32 for number in range(1, 9)]
GOOD_MACS = [f"02:00:00:00:00:{number:02x}" for number in range(12)]
BAD_MACS = ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:00"]
PREFIXES = [
    "10.0.0.1/32",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "fd00::1/128",
    "fe80::/10",
    "1.2.3.4/33",
]
NUMBERS = [0, 1, 2, 3, 7, 10, 100, 4094, 4095, 65535, 65536, 1 << 20, (1 << 31) - 1, (1 << 32) - 1]

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWNEIGH, DELNEIGH, GETNEIGH = 28, 29, 30
CREATE, EXCL, REPLACE, APPEND, BULK = 0x400, 0x200, 0x100, 0x800, 0x200
AF_BRIDGE = 7

Value = Callable[[], bytes]


@dataclass(frozen=True)
class Message:
    """One request.

    :ivar to: a generic-netlink family, or ROUTE.
    :ivar kind: its command, or its type if it goes to ROUTE.
    """

    to: str
    kind: int
    flags: int
    body: bytes


class Grammar:
    """Makes messages.

    :param index: the number of a link, 0 if there is none.
    """

    def __init__(self, seed: int, index: Callable[[str], int]) -> None:
        self.random = random.Random(seed)
        self.index = index

    def message(self) -> Message:
        """The next one."""
        make = self.random.choices(
            (self._l2wg, self._wireguard, self._neighbour, self._link), (45, 25, 20, 10)
        )[0]
        made = make()
        if self.random.random() < 0.2:
            return Message(made.to, made.kind, made.flags, self._spoilt(made.body))
        return made

    # ---- values -----------------------------------------------------------------------------

    def _one(self, of: Sequence[bytes]) -> bytes:
        return self.random.choice(of)

    def _number(self, size: int) -> bytes:
        value = self.random.choice(NUMBERS) if self.random.random() < 0.7 else self._bits(8 * size)
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def _bits(self, count: int) -> int:
        return self.random.getrandbits(count)

    def _some(self, of: Sequence[str], most: int = 5) -> tuple[str, ...]:
        return tuple(self.random.choices(of, k=self.random.randint(0, most)))

    def _macs(self) -> bytes:
        bad = BAD_MACS if self.random.random() < 0.1 else []
        return macs(self._some([*GOOD_MACS, *bad], self.random.choice((1, 4, 40, 70))))

    def _vlans(self) -> bytes:
        ends = [(a, b) for a in (0, 1, 2, 100, 4094, 4095) for b in (0, 2, 100, 4094, 65535)]
        good = [(a, b) for a, b in ends if a <= b < 4095]
        of = ends if self.random.random() < 0.2 else good
        return vlans(tuple(self.random.choices(of, k=self.random.randint(0, 4))))

    def _prefixes(self) -> bytes:
        return prefixes(self._some(PREFIXES if self.random.random() < 0.3 else PREFIXES[:3], 3))

    def _key(self) -> bytes:
        return self._one(KEYS)

    def _sockaddr(self) -> bytes:
        port = struct.pack("!H", 51820)
        v4 = struct.pack("=H", socket.AF_INET) + port + bytes([10, 0, 0, 2]) + bytes(8)
        v6 = struct.pack("=H", socket.AF_INET6) + port + bytes(4) + bytes(15) + b"\1" + bytes(4)
        return self._one([v4, v6, v4[:8], bytes(16), v6[:27]])

    # ---- messages ---------------------------------------------------------------------------

    def _attributes(self, of: dict[int, Value], share: float = 0.3) -> bytes:
        made = [attribute(k, v()) for k, v in of.items() if self.random.random() < share]
        if self.random.random() < 0.1:
            self.random.shuffle(made)
        return b"".join(made)

    def _name(self, by_index: int = 1, by_name: int = 2) -> bytes:
        name = self.random.choice(NAMES if self.random.random() < 0.2 else NAMES[:5])
        if self.random.random() < 0.2:
            return attribute(by_index, struct.pack("=I", self.index(name)))
        return attribute(by_name, name.encode() + b"\0")

    def _l2wg(self) -> Message:
        link: dict[int, Value] = {
            **{kind: lambda: self._number(4) for kind in range(Link.MAX_MACS, Link.HOST_MACS)},
            Link.HOST_MACS | NLA_F_NESTED: self._macs,
            Link.HOST_ADDRESSES | NLA_F_NESTED: self._prefixes,
            Link.NEW_PEERS: lambda: struct.pack("=I", self._bits(1)),
            Link.AGEING: lambda: struct.pack("=I", 10 + self._bits(8)),
        }
        peer: dict[int, Value] = {
            Peer.ALLOWED_MACS | NLA_F_NESTED: self._macs,
            Peer.MAX_MACS: lambda: struct.pack("=I", self._bits(5)),
            Peer.PVID: lambda: struct.pack("=H", self._bits(12)),
            Peer.ALLOWED_VLANS | NLA_F_NESTED: self._vlans,
            **{k: lambda: bytes([self._bits(1)]) for k in (Peer.RELAY, Peer.ISOLATED, Peer.ROUTER)},
            Peer.GUARDS: lambda: struct.pack("=I", self._bits(3)),
            Peer.MARK: lambda: self._number(4),
        }
        fdb: dict[int, Value] = {
            Fdb.VLAN: lambda: struct.pack("=H", self._bits(12)),
            Fdb.PUBLIC_KEY: self._key,
        }
        sets: dict[int, dict[int, Value]] = {
            Cmd.LINK_GET: {},
            Cmd.LINK_SET: link,
            Cmd.PEER_GET: {},
            Cmd.PEER_SET: peer,
            Cmd.PEER_DEL: {},
            Cmd.PEER_REPLACE: {Peer.OLD_PUBLIC_KEY: self._key},
            Cmd.FDB_GET: {},
            Cmd.FDB_FLUSH: fdb,
        }
        cmd = self.random.choices(list(sets), (1, 4, 1, 8, 2, 2, 1, 1))[0]
        body = self._name()
        of_peer = cmd in (Cmd.PEER_GET, Cmd.PEER_SET, Cmd.PEER_DEL, Cmd.PEER_REPLACE)
        if of_peer and self.random.random() < 0.95:
            body += attribute(Peer.PUBLIC_KEY, self._key())
        foreign = self.random.random() < 0.05
        of = self.random.choice(list(sets.values())) if foreign else sets[cmd]
        body += self._attributes(of, 0.95 if cmd == Cmd.PEER_REPLACE else 0.3)
        dump = cmd in (Cmd.LINK_GET, Cmd.PEER_GET, Cmd.FDB_GET) and self.random.random() < 0.7
        number = self._bits(8) if self.random.random() < 0.01 else cmd
        return Message(L2WG, number, NLM_F_DUMP if dump else 0, body)

    def _wireguard(self) -> Message:
        if self.random.random() < 0.15:
            return Message(WIREGUARD, uapi.WG_CMD_GET_DEVICE, NLM_F_DUMP, self._name())
        device: dict[int, Value] = {
            uapi.WGDEVICE_A_PRIVATE_KEY: self._key,
            uapi.WGDEVICE_A_FLAGS: lambda: struct.pack("=I", self.random.choice((0, 0, 0, 1, 2))),
            uapi.WGDEVICE_A_LISTEN_PORT: lambda: struct.pack("=H", self._bits(16)),
            uapi.WGDEVICE_A_FWMARK: lambda: self._number(4),
        }
        some = self.random.randint(0, 4)
        many = b"".join(attribute(0 | NLA_F_NESTED, self._wireguard_peer()) for _ in range(some))
        body = self._name() + self._attributes(device, 0.15)
        body += attribute(uapi.WGDEVICE_A_PEERS | NLA_F_NESTED, many)
        return Message(WIREGUARD, uapi.WG_CMD_SET_DEVICE, 0, body)

    def _wireguard_peer(self) -> bytes:
        flags = self.random.choice((0, 0, 0, 1, 2, 4, 6, 8))
        of: dict[int, Value] = {
            uapi.WGPEER_A_PRESHARED_KEY: self._key,
            uapi.WGPEER_A_FLAGS: lambda: struct.pack("=I", flags),
            uapi.WGPEER_A_ENDPOINT: self._sockaddr,
            uapi.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: lambda: self._number(2),
            uapi.WGPEER_A_ALLOWEDIPS | NLA_F_NESTED: self._allowed_ips,
        }
        return attribute(uapi.WGPEER_A_PUBLIC_KEY, self._key()) + self._attributes(of, 0.4)

    def _allowed_ips(self) -> bytes:
        made = b""
        for _ in range(self.random.randint(0, 4)):
            family = self.random.choice((socket.AF_INET, socket.AF_INET6))
            size = 4 if family == socket.AF_INET else 16
            made += attribute(
                NLA_F_NESTED,
                attribute(uapi.WGALLOWEDIP_A_FAMILY, struct.pack("=H", family))
                + attribute(uapi.WGALLOWEDIP_A_IPADDR, bytes([10, self._bits(2)]) + bytes(size - 2))
                + attribute(uapi.WGALLOWEDIP_A_CIDR_MASK, bytes([self._bits(6)])),
            )
        return made

    def _neighbour(self) -> Message:
        kind = self.random.choices((NEWNEIGH, DELNEIGH, GETNEIGH), (6, 3, 1))[0]
        flags = self._bits(12) & (CREATE | EXCL | REPLACE | APPEND)
        if kind == GETNEIGH:
            flags = NLM_F_DUMP if self._bits(1) else 0
        if kind == DELNEIGH:
            flags = BULK if self.random.random() < 0.2 else 0
        state = self.random.choice((0x80, 0x80, 0x40, 0x02, 0x04, 0, 0xFF))
        ndm_flags = self.random.choice((2, 2, 2, 2, 0, 4, 6, 0x10))
        index = self.index(self.random.choice(NAMES[:5]))
        body = struct.pack("=BxxxiHBB", AF_BRIDGE, index, state, ndm_flags, 0)
        if not flags & BULK or kind != DELNEIGH:
            mac = self.random.choice([*GOOD_MACS, *BAD_MACS[:1]])
            body += attribute(2, bytes.fromhex(mac.replace(":", "")))
        handle = socket.inet_pton(socket.AF_INET6, switch.handle(self._key()))
        body += self._attributes({1: lambda: handle}, 0.8)
        more: dict[int, Value] = {
            5: lambda: struct.pack("=H", self._bits(12)),  # NDA_VLAN
            1: lambda: self._one([bytes(4), bytes(16), handle[:8]]),
            **{number: lambda: self._number(4) for number in (6, 7, 8, 9, 13, 15)},
        }
        return Message(ROUTE, kind, flags, body + self._attributes(more, 0.08))

    def _link(self) -> Message:
        name = self.random.choice(list(KINDS))
        up = self._bits(1)
        change = 1 if self.random.random() < 0.6 else 0
        index = self.index(name) if self._bits(1) else 0
        body = struct.pack("=BxHiII", 0, 0, index, up, change)
        if self.random.random() < 0.25:
            return Message(ROUTE, DELLINK, 0, body + attribute(3, name.encode() + b"\0"))
        kind = (
            KINDS[name] if self.random.random() < 0.95 else self.random.choice(["dummy", "bridge"])
        )
        info = attribute(1, kind.encode() + b"\0")
        if self.random.random() < 0.2:
            info += attribute(2 | NLA_F_NESTED, bytes(self._bits(6)))
        of: dict[int, Value] = {
            1: lambda: self._one([b"\2\0\0\0\0\1", b"\1\0\0\0\0\1", b"\2\0", bytes(6), bytes(8)]),
            4: lambda: struct.pack("=I", self.random.choice((68, 576, 1280, 1406, 65535, 0))),
            10: lambda: struct.pack("=I", self.index("br0")),
            13: lambda: struct.pack("=I", self._bits(10)),
            31: lambda: struct.pack("=I", self.random.choice((1, 2, 4, 0))),
            32: lambda: struct.pack("=I", self.random.choice((1, 2, 0))),
        }
        body += attribute(3, name.encode() + b"\0") + self._attributes(of, 0.1)
        body += attribute(18 | NLA_F_NESTED, info)
        return Message(ROUTE, NEWLINK, self.random.choice((0, CREATE | EXCL, CREATE)), body)

    # ---- what is wrong ----------------------------------------------------------------------

    def _spoilt(self, body: bytes) -> bytes:
        made = bytearray(body)
        for _ in range(self.random.choice((1, 1, 1, 2, 4))):
            if not made:
                break
            at = self.random.randrange(len(made))
            what = self.random.randrange(6)
            if what == 0:
                made[at] ^= 1 << self._bits(3)
            elif what == 1:
                made[at] = self.random.choice((0, 1, 4, 0x7F, 0x80, 0xFF))
            elif what == 2:
                del made[at:]
            elif what == 3:
                del made[at & ~3 : (at & ~3) + 4 * self.random.randint(1, 4)]
            elif what == 4:
                made += made[at & ~3 :]
            elif len(made) > 1:
                # perhaps the length or the type of an attribute
                struct.pack_into("=H", made, min(at & ~1, len(made) - 2), self._bits(6))
        return bytes(made)

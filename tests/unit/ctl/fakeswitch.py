# SPDX-License-Identifier: GPL-2.0
"""The family `l2wg` of the kernel in memory (fakekernel.py): options of switches and their peers,
tables and events, after kernel/l2wg_genl.c, by plain code of its own.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

NESTED = 0x8000
LINK_GET, LINK_SET, PEER_GET, PEER_SET, PEER_DEL, FDB_GET, FDB_FLUSH, EVENT = range(1, 9)
PEER_REPLACE = 9
COUNTERS = 23


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute with its padding."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def attrs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of each attribute."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        assert 4 <= size <= len(data) - at, "malformed attribute"
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += (size + 3) & ~3


def u32(kind: int, value: int) -> bytes:
    return attr(kind, struct.pack("=I", value))


def ifname(value: bytes) -> str:
    """A link's name, which need not be UTF-8.

    :raises Refuse: it is longer than the policy of this attribute allows.
    """
    name = value.rstrip(b"\0")
    if len(name) > 15:
        raise Refuse(errno.ERANGE)
    return os.fsdecode(name)


class Refuse(Exception):
    """The kernel's negative answer."""

    def __init__(self, number: int, text: str = "") -> None:
        super().__init__(number)
        self.number = number
        self.text = text


@dataclass
class FakeMember:
    """What a switch knows of a key: attributes as they were given, by number."""

    key: bytes
    options: dict[int, bytes] = field(default_factory=dict)
    configured: bool = False
    session: int | None = None
    counters: dict[int, int] = field(default_factory=dict)
    learned: int = 0


@dataclass
class FakeSwitch:
    """A switch. `entries` are (MAC, VLAN or None, key or None, state, age)."""

    name: str
    ifindex: int = 7
    options: dict[int, bytes] = field(default_factory=dict)
    members: dict[bytes, FakeMember] = field(default_factory=dict)
    entries: list[tuple[str, int | None, bytes | None, int, int]] = field(default_factory=list)
    counters: dict[int, int] = field(default_factory=dict)
    #: What was done to it: PEER_SET of whom, LINK_SET, flushes.
    log: list[str] = field(default_factory=list)

    def member(self, key: bytes) -> FakeMember:
        """The member of that key, new if there is none."""
        return self.members.setdefault(key, FakeMember(key))


class FakeSwitches:
    """All switches; `twice` makes dumps repeat themselves, `more` adds attributes of later
    versions."""

    def __init__(self) -> None:
        self.switches: dict[str, FakeSwitch] = {}
        self.twice = False
        self.more = b""
        self.refuse_mac = ""
        #: Error number and explanation of the next entry that `bridge fdb` would set.
        self.refuse_static = (0, "")

    def add(self, name: str) -> FakeSwitch:
        """A new switch."""
        self.switches[name] = FakeSwitch(name)
        return self.switches[name]

    def handle(self, command: int, dump: bool, data: bytes, present: set[bytes]) -> list[bytes]:
        """The payloads of the answers to a request.

        :param present: keys that are peers of the switch.
        :raises Refuse: it is refused.
        """
        given = dict(attrs(data))
        if command == LINK_GET and dump:
            return [self._link(x) for x in self.switches.values()]
        if 2 not in given:
            raise Refuse(errno.EINVAL, "name the link: ifindex or ifname")
        name = ifname(given[2])
        if name not in self.switches:
            raise Refuse(errno.ENODEV)
        switch = self.switches[name]
        key = given.get(3, b"")
        if command == LINK_GET:
            return [self._link(switch)]
        if command == LINK_SET:
            self._set_link(switch, given)
        elif command == PEER_GET:
            found = {**{k: FakeMember(k) for k in present}, **switch.members}
            if not dump:
                if key not in found:
                    raise Refuse(errno.ENOENT)
                return [self._member(switch, found[key], present)]
            made = [self._member(switch, x, present) for x in found.values()]
            return made * 2 if self.twice else made
        elif command == PEER_SET:
            self._set_member(switch, given)
        elif command == PEER_DEL:
            if key not in switch.members or not switch.members[key].configured:
                raise Refuse(errno.ENOENT)
            switch.log.append(f"del {key.hex()[:4]}")
            del switch.members[key]
        elif command == PEER_REPLACE:
            self._replace(switch, given[21], key)
        elif command == FDB_GET:
            made = [self._entry(switch, *entry) for entry in self._table(switch)]
            return made * 2 if self.twice else made
        elif command == FDB_FLUSH:
            return self._flush(switch, given)
        return []

    @staticmethod
    def _replace(switch: FakeSwitch, old: bytes, new: bytes) -> None:
        if old not in switch.members:
            raise Refuse(errno.ENOENT, "the old key is no peer and has no options")
        if old == new:
            raise Refuse(errno.EINVAL, "the two keys are the same")
        gone = switch.members.pop(old)
        heir = switch.member(new)
        if not heir.configured:
            heir.options, heir.configured = gone.options, gone.configured
        switch.entries = [(m, v, new if k == old else k, s, a) for m, v, k, s, a in switch.entries]
        switch.log.append(f"replace {old.hex()[:4]} {new.hex()[:4]}")

    def _flush(self, switch: FakeSwitch, given: dict[int, bytes]) -> list[bytes]:
        (vlan,) = struct.unpack("=H", given[4]) if 4 in given else (None,)
        key = given.get(5)
        if key is not None and key not in switch.members:
            raise Refuse(errno.ENOENT)
        switch.log.append(f"flush {key.hex()[:4] if key else '-'} {vlan}")
        switch.entries = [
            x
            for x in switch.entries
            if x[3] or (key is not None and x[2] != key) or (vlan is not None and x[1] != vlan)
        ]
        return []

    def static(self, name: str, add: bool, given: dict[int, bytes]) -> None:
        """An entry in one VLAN, as `bridge fdb` sets or deletes it."""
        from hashlib import blake2s

        if self.refuse_static[0]:
            raise Refuse(*self.refuse_static)
        switch = self.switches[name]
        (vlan,) = struct.unpack("=H", given[5]) if 5 in given else (0,)
        mac = given[2].hex(":")
        key = None
        if 1 in given:
            handles = {blake2s(k).digest()[:8]: k for k in switch.members}
            key = handles.get(given[1][8:])
            if key is None:
                raise Refuse(errno.ENOENT, "no peer has this handle")
        same = [x for x in switch.entries if x[:2] == (mac, vlan) and key in (None, x[2])]
        switch.log.append(f"{'static' if add else 'gone'} {mac} {vlan}")
        if not add and not same:
            raise Refuse(errno.ENOENT)
        switch.entries = [x for x in switch.entries if x not in same]
        if add:
            switch.entries.append((mac, vlan, key, 2, 0))

    @staticmethod
    def _set_link(switch: FakeSwitch, given: dict[int, bytes]) -> None:
        for kind, least in ((3, 1), (4, 1), (5, 10)):
            if kind in given and struct.unpack("=I", given[kind])[0] < least:
                raise Refuse(errno.ERANGE)
        switch.options.update({k: v for k, v in given.items() if k >= 3})
        switch.log.append(f"link {sorted(k for k in given if k >= 3)}")

    def _set_member(self, switch: FakeSwitch, given: dict[int, bytes]) -> None:
        assert len(given[3]) == 32
        for _, mac in attrs(given.get(4, b"")):
            if mac[0] & 1 or mac.hex(":") == self.refuse_mac:
                raise Refuse(errno.EADDRNOTAVAIL, "The address must be unicast and not zero")
        member = switch.member(given[3])
        member.configured = True
        member.options.update({k: v for k, v in given.items() if k > 3})
        switch.log.append(f"set {given[3].hex()[:4]} {sorted(k for k in given if k > 3)}")

    @staticmethod
    def _table(
        switch: FakeSwitch,
    ) -> Iterator[tuple[str, int | None, bytes | None, int, int]]:
        for member in switch.members.values():
            for _, mac in attrs(member.options.get(4, b"")):
                yield mac.hex(":"), None, member.key, 1, 0
        yield from switch.entries

    def _head(self, switch: FakeSwitch) -> bytes:
        return u32(1, switch.ifindex) + attr(2, switch.name.encode() + b"\0")

    def _link(self, switch: FakeSwitch) -> bytes:
        made = self._head(switch)
        for kind, usual in ((3, 8192), (4, 4096), (5, 300), (6, 0)):
            made += attr(kind, switch.options.get(kind, struct.pack("=I", usual)))
        made += attr(7 | NESTED, switch.options.get(7, b""))
        made += attr(8 | NESTED, switch.options.get(8, b""))
        made += u32(9, len(switch.entries)) + u32(10, 0) + u32(11, len(switch.members))
        return made + self._counters(12, switch.counters) + self.more

    def _member(self, switch: FakeSwitch, member: FakeMember, present: set[bytes]) -> bytes:
        from hashlib import blake2s

        made = self._head(switch) + attr(3, member.key)
        made += attr(4 | NESTED, member.options.get(4, b""))
        made += attr(5, member.options.get(5, struct.pack("=I", 256)))
        made += attr(6, member.options.get(6, b"\0\0"))
        if member.options.get(7):
            made += attr(7 | NESTED, member.options[7])
        for kind, size in ((8, 1), (9, 1), (10, 1), (11, 4), (12, 4)):
            made += attr(kind, member.options.get(kind, bytes(size)))
        made += attr(13, b"\xfe\x80" + bytes(6) + blake2s(member.key).digest()[:8])
        if member.key in present:
            made += attr(14, b"") + u32(17, member.session or 0)
            if member.session:
                made += u32(18, 5) + u32(19, 1500)
        if member.configured:
            made += attr(15, b"")
        return made + u32(16, member.learned) + self._counters(20, member.counters) + self.more

    def _entry(
        self,
        switch: FakeSwitch,
        mac: str,
        vlan: int | None,
        key: bytes | None,
        state: int,
        age: int,
    ) -> bytes:
        made = self._head(switch) + attr(3, bytes.fromhex(mac.replace(":", "")))
        if vlan is not None:
            made += attr(4, struct.pack("=H", vlan))
        if key is not None:
            made += attr(5, key)
        made += u32(6, state)
        if state == 0:
            made += u32(7, age) + u32(8, 0)
        return made + self.more

    @staticmethod
    def _counters(kind: int, counters: dict[int, int]) -> bytes:
        values = range(1, COUNTERS + 1)
        nest = b"".join(attr(x, struct.pack("=Q", counters.get(x, 0))) for x in values)
        return attr(kind | NESTED, nest)


def prefix(text: str) -> bytes:
    """A prefix in a nest."""
    address, length = text.split("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    return attr(1 | NESTED, attr(2, packed) + attr(3, bytes([int(length)])))

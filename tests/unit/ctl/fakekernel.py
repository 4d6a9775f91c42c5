# SPDX-License-Identifier: GPL-2.0
"""A kernel in memory: the generic-netlink families of WireGuard, and the list of links.

It reads and writes bytes with its own plain code, not with `l2wgctl.netlink.messages`, after
drivers/net/wireguard/netlink.c: the order of the attributes, what replaces and what adds, which
peer gets an AllowedIP, where a dump is cut. `FakeSocket` is what l2wgctl talks to in the tests;
`serve` puts the same kernel behind the real `wg` (see nlshim.c).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.ctl.fakeswitch import FakeSwitches, ifname
from tests.unit.ctl.fakeswitch import Refuse as Refuse

NETLINK_ROUTE, NETLINK_GENERIC = 0, 16
CTRL, ERROR, DONE = 16, 2, 3
F_MULTI, F_DUMP_INTR, F_DUMP, F_ACK_TLVS = 2, 0x10, 0x300, 0x200
NESTED = 0x8000


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute with its padding."""
    size = len(payload) + 4
    return struct.pack("=HH", size, kind) + payload + b"\0" * (-size % 4)


def attrs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type without flags, payload) of each attribute."""
    while len(data) >= 4:
        size, kind = struct.unpack("=HH", data[:4])
        assert 4 <= size <= len(data), "malformed attribute"
        yield kind & 0x3FFF, data[4:size]
        data = data[(size + 3) & ~3 :]
    assert not data, "bytes after the last attribute"


@dataclass
class FakePeer:
    """struct wg_peer."""

    key: bytes
    psk: bytes = bytes(32)
    endpoint: bytes = b""
    keepalive: int = 0
    handshake: tuple[int, int] = (0, 0)
    rx: int = 0
    tx: int = 0
    ips: list[tuple[int, bytes, int]] = field(default_factory=list)


@dataclass
class FakeDevice:
    """struct wg_device."""

    name: str
    kind: str = "l2wireguard"
    family: str = "wireguard"
    ifindex: int = 7
    private: bytes = b""
    public: bytes = b""
    port: int = 0
    fwmark: int = 0
    peers: dict[bytes, FakePeer] = field(default_factory=dict)


class FakeKernel:
    """Devices, and what the messages do to them.

    `dump_limit` is the size of a dump message. `interrupt` dumps are marked as interrupted.
    `refuse` is called with (command, device name) and may raise Refuse. `old` lacks the flag that
    removes one AllowedIP (before Linux 6.16).
    """

    def __init__(self, families: tuple[str, ...] = ("wireguard",)) -> None:
        self.families = {name: 30 + number for number, name in enumerate(families)}
        self.devices: dict[str, FakeDevice] = {}
        self.received: list[bytes] = []
        self.dump_limit = 4096
        self.interrupt = 0
        self.old = False
        self.refuse: Callable[[int, str], None] = lambda command, name: None
        #: The family `l2wg` (fakeswitch.py), where the module has switches.
        self.switches = FakeSwitches()

    def add(self, name: str, **fields: object) -> FakeDevice:
        """A new device."""
        self.devices[name] = FakeDevice(name, **fields)  # type: ignore[arg-type]
        if self.devices[name].kind == "l2wgswitch":
            self.switches.add(name)
        return self.devices[name]

    # -- requests ------------------------------------------------------------------------------

    def handle(self, protocol: int, data: bytes) -> list[bytes]:
        """The datagrams that answer the requests in one."""
        answers = []
        while data:
            size = struct.unpack("=I", data[:4])[0]
            answers += self._handle(protocol, data[:size])
            data = data[(size + 3) & ~3 :]
        return answers

    def _handle(self, protocol: int, message: bytes) -> list[bytes]:
        size, kind, flags, sequence, _ = struct.unpack("=IHHII", message[:16])
        assert size == len(message), "wrong nlmsg_len"
        try:
            if protocol == NETLINK_ROUTE and kind in (28, 29):
                return self._neighbour(kind, flags, sequence, message)
            if protocol == NETLINK_ROUTE:
                return self._links(sequence)
            command, _, _ = struct.unpack("=BBH", message[16:20])
            if kind == self.families.get("l2wg"):
                return self._switch(command, flags, kind, sequence, message)
            self.received.append(message)
            if kind == CTRL:
                return self._get_family(sequence, message[20:])
            family = next(name for name, number in self.families.items() if number == kind)
            if flags & F_DUMP == F_DUMP:
                return self._get(family, kind, sequence, message[20:])
            self._set(family, message[20:])
            return [self._error(sequence, 0, message)]
        except Refuse as refuse:
            return [self._error(sequence, refuse.number, message, refuse.text)]

    def _switch(
        self, command: int, flags: int, kind: int, sequence: int, message: bytes
    ) -> list[bytes]:
        dump = flags & F_DUMP == F_DUMP
        name = ifname(dict(attrs(message[20:])).get(2, b""))
        device = self.devices.get(name)
        if device is not None and device.kind != "l2wgswitch":
            raise Refuse(errno.EOPNOTSUPP, "not a link of kind l2wgswitch")
        present = set(device.peers) if device else set()
        bodies = self.switches.handle(command, dump, message[20:], present)
        replies, marks = [], F_MULTI if dump else 0
        if dump and self.interrupt:
            self.interrupt -= 1
            marks |= F_DUMP_INTR
        for body in bodies:
            body = struct.pack("=BBH", command, 1, 0) + body
            head = (16 + len(body), kind, marks, sequence, 0)
            replies.append(struct.pack("=IHHII", *head) + body)
        if dump:
            replies.append(struct.pack("=IHHIIi", 20, DONE, F_MULTI, sequence, 0, 0))
        elif flags & 4:
            replies.append(self._error(sequence, 0, message))
        return replies

    def _neighbour(self, kind: int, flags: int, sequence: int, message: bytes) -> list[bytes]:
        """l2wg_fdb_add() and l2wg_fdb_del(), without learned entries to add."""
        family, index, state, self_, _ = struct.unpack("=BxxxiHBB", message[16:28])
        assert (family, state, self_) == (7, 0x80, 2)
        given = dict(attrs(message[28:]))
        name = next(x.name for x in self.devices.values() if x.ifindex == index)
        self.switches.static(name, kind == 28, given)
        return [self._error(sequence, 0, message)]

    def _error(self, sequence: int, number: int, message: bytes, text: str = "") -> bytes:
        body = struct.pack("=i", -number) + message[:16]
        flags = 0x100
        if text:
            body += attr(1, text.encode() + b"\0")
            flags |= F_ACK_TLVS
        return struct.pack("=IHHII", 16 + len(body), ERROR, flags, sequence, 0) + body

    def _get_family(self, sequence: int, data: bytes) -> list[bytes]:
        name = ifname(dict(attrs(data))[2])
        if name not in self.families:
            raise Refuse(errno.ENOENT)
        body = struct.pack("=BBH", 1, 2, 0) + attr(2, name.encode() + b"\0")
        body += attr(1, struct.pack("=H", self.families[name]))
        reply = struct.pack("=IHHII", 16 + len(body), CTRL, 0, sequence, 0) + body
        return [reply, self._error(sequence, 0, reply)]

    def _device(
        self, family: str, data: bytes, command: int
    ) -> tuple[FakeDevice, dict[int, bytes]]:
        given = dict(attrs(data))
        name = ifname(given[2])
        self.refuse(command, name)
        if name not in self.devices:
            raise Refuse(errno.ENODEV)
        if self.devices[name].family != family:
            raise Refuse(errno.EOPNOTSUPP)
        return self.devices[name], given

    # -- set -----------------------------------------------------------------------------------

    def _set(self, family: str, data: bytes) -> None:
        device, given = self._device(family, data, 1)
        if 5 in given and struct.unpack("=I", given[5])[0] & 1:
            device.peers.clear()
        if 6 in given:
            device.port = struct.unpack("=H", given[6])[0]
        if 7 in given:
            device.fwmark = struct.unpack("=I", given[7])[0]
        if 3 in given:
            assert len(given[3]) == 32
            device.private = _clamped(given[3]) if any(given[3]) else b""
            device.public = _public(given[3]) if any(given[3]) else b""
            device.peers.pop(device.public, None)
        for _, peer in attrs(given.get(8, b"")):
            self._set_peer(device, dict(attrs(peer)))

    def _set_peer(self, device: FakeDevice, given: dict[int, bytes]) -> None:
        if len(given.get(1, b"")) != 32:
            raise Refuse(errno.EINVAL)
        flags = struct.unpack("=I", given[3])[0] if 3 in given else 0
        if flags & ~7:
            raise Refuse(errno.EOPNOTSUPP)
        peer = device.peers.get(given[1])
        if peer is None:
            if flags & 5 or given[1] == device.public:
                return
            peer = device.peers[given[1]] = FakePeer(given[1])
        if flags & 1:
            del device.peers[given[1]]
            return
        if 2 in given:
            assert len(given[2]) == 32
            peer.psk = given[2]
        if 4 in given:
            assert len(given[4]) in (16, 28)
            peer.endpoint = given[4]
        if flags & 2:
            peer.ips.clear()
        for _, entry in attrs(given.get(9, b"")):
            self._set_ip(device, peer, dict(attrs(entry)))
        if 5 in given:
            peer.keepalive = struct.unpack("=H", given[5])[0]

    def _set_ip(self, device: FakeDevice, peer: FakePeer, entry: dict[int, bytes]) -> None:
        if self.old and 4 in entry:
            raise Refuse(errno.EINVAL, "Unknown attribute type")
        family = struct.unpack("=H", entry[1])[0]
        address, cidr = entry[2], entry[3][0]
        if (family, len(address)) not in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            raise Refuse(errno.EINVAL)
        bits = len(address) * 8
        number = int.from_bytes(address, "big") >> (bits - cidr) << (bits - cidr)
        item = (family, number.to_bytes(bits // 8, "big"), cidr)
        if 4 in entry and struct.unpack("=I", entry[4])[0] & 1:
            if item in peer.ips:
                peer.ips.remove(item)
            return
        for other in device.peers.values():
            if item in other.ips:
                other.ips.remove(item)
        peer.ips.append(item)

    # -- get -----------------------------------------------------------------------------------

    def _get(self, family: str, kind: int, sequence: int, data: bytes) -> list[bytes]:
        device, _ = self._device(family, data, 0)
        flags = F_MULTI
        if self.interrupt:
            self.interrupt -= 1
            flags |= F_DUMP_INTR
        replies = []
        for body in self._dump(device):
            body = struct.pack("=BBH", 0, 1, 0) + body
            replies.append(struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body)
        replies.append(struct.pack("=IHHIIi", 20, DONE, F_MULTI, sequence, 0, 0))
        return replies

    def _dump(self, device: FakeDevice) -> Iterator[bytes]:
        head = attr(6, struct.pack("=H", device.port)) + attr(7, struct.pack("=I", device.fwmark))
        head += attr(1, struct.pack("=I", device.ifindex))
        head += attr(2, device.name.encode() + b"\0")
        if device.private:
            head += attr(3, device.private) + attr(4, device.public)
        room = self.dump_limit - 24
        body = b""
        for peer in device.peers.values():
            fixed = _fixed_part(peer)
            entries = [_ip_bytes(*item) for item in peer.ips]
            while True:
                if body and len(head) + len(body) + len(fixed) + 8 > room:
                    yield head + attr(8 | NESTED, body)
                    head = body = b""
                taken = 0
                left = room - len(head) - len(body) - len(fixed) - 12
                while taken < len(entries) and left >= len(entries[taken]):
                    left -= len(entries[taken])
                    taken += 1
                nest = attr(9 | NESTED, b"".join(entries[:taken])) if peer.ips else b""
                body += attr(NESTED, fixed + nest)
                entries = entries[taken:]
                if not entries:
                    break
                yield head + attr(8 | NESTED, body)
                head = body = b""
                fixed = attr(1, peer.key)
        yield head + (attr(8 | NESTED, body) if body else b"")

    def _links(self, sequence: int) -> list[bytes]:
        replies = []
        for device in self.devices.values():
            body = struct.pack("=BxHiII", 0, 1, device.ifindex, 0, 0)
            body += attr(3, device.name.encode() + b"\0")
            body += attr(18 | NESTED, attr(1, device.kind.encode() + b"\0"))
            replies.append(struct.pack("=IHHII", 16 + len(body), 16, F_MULTI, sequence, 0) + body)
        replies.append(struct.pack("=IHHIIi", 20, DONE, F_MULTI, sequence, 0, 0))
        return replies


def _clamped(private: bytes) -> bytes:
    """curve25519_clamp_secret()."""
    return bytes([private[0] & 248]) + private[1:31] + bytes([private[31] & 127 | 64])


def _public(private: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    own = X25519PrivateKey.from_private_bytes(private).public_key()
    return own.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _fixed_part(peer: FakePeer) -> bytes:
    """get_peer() of netlink.c, in its order."""
    data = attr(1, peer.key) + attr(2, peer.psk) + attr(6, struct.pack("=qq", *peer.handshake))
    data += attr(5, struct.pack("=H", peer.keepalive))
    data += attr(8, struct.pack("=Q", peer.tx)) + attr(7, struct.pack("=Q", peer.rx))
    data += attr(10, struct.pack("=I", 1))
    return data + (attr(4, peer.endpoint) if peer.endpoint else b"")


def _ip_bytes(family: int, address: bytes, cidr: int) -> bytes:
    """get_allowedips() of netlink.c, in its order."""
    data = attr(3, bytes([cidr])) + attr(1, struct.pack("=H", family)) + attr(2, address)
    return attr(NESTED, data)


class FakeSocket:
    """What `l2wgctl.netlink.device` takes for a netlink socket."""

    def __init__(self, kernel: FakeKernel, protocol: int = NETLINK_GENERIC) -> None:
        self.kernel, self.protocol = kernel, protocol
        self.queue: list[bytes] = []
        self.closed = False

    def send(self, data: bytes) -> int:
        """Queue the answers to a request."""
        self.queue += self.kernel.handle(self.protocol, data)
        return len(data)

    def recv(self, size: int) -> bytes:
        """The next answer."""
        assert self.queue, "the kernel has nothing more to say: this would block"
        return self.queue.pop(0)

    def close(self) -> None:
        """Remember it."""
        self.closed = True


def serve(kernel: FakeKernel, path: Path) -> Callable[[], None]:
    """Answer on a Unix socket what nlshim.c passes on; returns the function that ends it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(8)

    def talk(connection: socket.socket) -> None:
        # A client that has seen enough hangs up: nothing to say about that.
        with connection, suppress(OSError):
            protocol = struct.unpack("=i", connection.recv(4))[0]
            while message := connection.recv(1 << 20):
                for reply in kernel.handle(protocol, message):
                    connection.send(reply)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()

    def stop() -> None:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        os.unlink(path)

    return stop

# SPDX-License-Identifier: GPL-2.0
"""A generic-netlink channel: requests, answers, families. `show IFACE dump` needs no more.

It imports nothing that takes long to load (typing, re, the enums of `socket`). Its errors are
`Refused`, which `l2wgctl.netlink.device` puts into words.

Which family a device belongs to: our module alone offers the family `wireguard` for both kinds;
beside the stock module, or with `plain=0`, it offers `l2wireguard` for its own kind. A family
answers EOPNOTSUPP for a device that is not its own; then we ask the next one.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from struct import Struct

from .. import sockets
from ..grammar import L2WIREGUARD, WIREGUARD
from .uapi import WG_CMD_GET_DEVICE, WG_GENL_VERSION, WGDEVICE_A_IFNAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Callable, Protocol

    class Socket(Protocol):
        """What is needed of a netlink socket; the tests put a kernel in memory behind it."""

        def send(self, data: bytes, /) -> int: ...

        def recv(self, size: int, /) -> bytes: ...

        def close(self) -> None: ...


NETLINK_GENERIC = 16
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 1
NLM_F_MULTI = 2
NLM_F_ACK = 4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_ACK_TLVS = 0x200

GENL_ID_CTRL = 16
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_ID = 1
CTRL_ATTR_FAMILY_NAME = 2
CTRL_ATTR_MCAST_GROUPS = 7
CTRL_ATTR_MCAST_GRP_NAME = 1
CTRL_ATTR_MCAST_GRP_ID = 2
NLMSGERR_ATTR_MSG = 1

HEADERS = 20  # nlmsghdr and genlmsghdr

_HEADER = Struct("=IHHII")
_GENL = Struct("=BBH")
_ERRNO = Struct("=i")
_NLA = Struct("=HH")
NLA_TYPE_MASK = 0x3FFF  # the rest are flags
#: The kernel fills a dump message up to the largest receive buffer it has seen, at most 32 KiB.
BUFFER = 65536
#: Bytes of requests that are sent at once.
_BATCH = 32768
#: A dump that other writers keep interrupting is read again this often.
DUMP_TRIES = 20


class Refused(Exception):
    """A negative acknowledgement: error number and, where the kernel gives it, its words."""

    def __init__(self, number: int, detail: str = "") -> None:
        super().__init__(number)
        self.number = number
        self.detail = detail


class NoFamily(Refused):
    """The kernel has none of the families."""

    def __init__(self) -> None:
        super().__init__(errno.ENOENT)


def open_socket(protocol: int = NETLINK_GENERIC) -> Socket:
    """A connected netlink socket, of generic netlink.

    :raises OSError: the kernel gives none.
    """
    kind = sockets.SOCK_RAW | sockets.SOCK_CLOEXEC
    sock = sockets.socket(sockets.AF_NETLINK, kind, protocol)
    try:
        sock.bind((0, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            try:
                sock.setsockopt(SOL_NETLINK, option, 1)
            except OSError:  # older kernels only lose the explanation
                pass
    except OSError:
        sock.close()
        raise
    return sock


def loaded_families(modules: str = "/sys/module") -> tuple[str, ...]:
    """The families to ask, in order, without making the kernel look for modules in vain.

    Asking for an unknown family runs modprobe, so a name that nobody can own is not asked for.
    The module's parameter `plain` tells whether it has the plain kind, and with it the family
    `wireguard`. If neither module is loaded yet, both are asked.
    """
    stock = os.path.exists(f"{modules}/{WIREGUARD}")
    if not os.path.exists(f"{modules}/{L2WIREGUARD}"):
        return (WIREGUARD,) if stock else (L2WIREGUARD, WIREGUARD)
    if offers_plain(modules):
        return (WIREGUARD,)
    return (L2WIREGUARD, WIREGUARD) if stock else (L2WIREGUARD,)


def offers_plain(modules: str) -> bool:
    """Whether the loaded l2wireguard module offers the plain kind (kernel/l2wg_dev.c)."""
    try:
        with open(f"{modules}/{L2WIREGUARD}/parameters/plain", encoding="ascii") as stream:
            return stream.read().strip() == "Y"
    except OSError:
        return not os.path.exists(f"{modules}/{WIREGUARD}")


def has_switches() -> bool:
    """Whether there may be links of kind l2wgswitch: asking for a family that nobody can own would
    make the kernel look for a module."""
    return os.path.exists(f"/sys/module/{L2WIREGUARD}")


def attribute(kind: int, payload: bytes) -> bytes:
    """A netlink attribute, padded to the next one."""
    size = len(payload) + 4
    return _NLA.pack(size, kind) + payload + bytes(-size % 4)


class Channel:
    """A socket with sequence numbers, and the numbers of the families that were asked for."""

    def __init__(self, sock: Socket) -> None:
        self.sock = sock
        self._ids: dict[str, int | None] = {}
        self._sequence = int(time.time()) & 0x7FFFFFFF

    def send(self, family: int, command: int, version: int, flags: int, payload: bytes) -> None:
        """Send one request.

        :raises OSError: the kernel does not take it.
        """
        self.sock.send(self._request(family, command, version, flags, payload))

    def _request(
        self, family: int, command: int, version: int, flags: int, payload: bytes
    ) -> bytes:
        return self._message(family, flags, _GENL.pack(command, version, 0) + payload)

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        self._sequence += 1
        size = len(body) + 16
        return _HEADER.pack(size, kind, flags | NLM_F_REQUEST, self._sequence, 0) + body

    def ask(
        self, family: int, command: int, version: int, flags: int, payload: bytes
    ) -> list[bytes]:
        """Send one request; the payloads of its answers.

        :raises Refused: the kernel answers with an error.
        """
        return self.ask_raw(family, flags, _GENL.pack(command, version, 0) + payload)

    def ask_raw(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        """The same for a message of any kind: all that follows the netlink header is `body`.

        A dump that other writers interrupt is read again, up to DUMP_TRIES times; the last one
        counts, and may lack what came or went meanwhile.

        :raises Refused: the kernel answers with an error.
        """
        try:
            return self._whole(kind, flags, body)[0]
        except OSError as error:
            raise Refused(error.errno or errno.EIO) from None

    def _whole(self, kind: int, flags: int, body: bytes) -> tuple[list[bytes], bool]:
        """Answers, asked for again while they are interrupted; were those of the last time?"""
        payloads: list[bytes] = []
        for attempt in range(1, DUMP_TRIES + 1):
            self.sock.send(self._message(kind, flags | NLM_F_ACK, body))
            answers = list(self.answers())
            payloads = [data for _, data in answers if data]
            if not any(said & NLM_F_DUMP_INTR for said, _ in answers):
                return payloads, False
            time.sleep(0.01 * attempt)
        return payloads, True

    def do_all(
        self, family: int, command: int, version: int, payloads: Iterable[bytes]
    ) -> dict[int, Refused]:
        """Send requests that have no answer, many at once.

        :returns: what was refused: number of the payload, from 0 -> why.
        :raises Refused: the kernel takes no requests at all.
        """
        refused: dict[int, Refused] = {}
        done = 0
        for batch in _batches(payloads):
            first = self._sequence + 1
            last = len(batch) - 1
            # Errors come without being asked for. The last acknowledgement ends the batch.
            requests = [
                self._request(family, command, version, NLM_F_ACK if at == last else 0, payload)
                for at, payload in enumerate(batch)
            ]
            try:
                self.sock.send(b"".join(requests))
            except OSError as error:
                raise Refused(error.errno or errno.EIO) from None
            for sequence, why in self._refusals(first):
                refused[done + sequence - first] = why
            done += len(batch)
        return refused

    def _receive(self) -> bytes:
        """Messages, as the kernel has put them together.

        :raises Refused: the socket has failed.
        """
        try:
            return self.sock.recv(BUFFER)
        except OSError as error:
            raise Refused(error.errno or errno.EIO) from None

    def _refusals(self, first: int) -> Iterator[tuple[int, Refused]]:
        """The errors up to the acknowledgement of the last request: sequence number, why."""
        while True:
            buffer = self._receive()
            for kind, flags, sequence, body, end in messages(buffer):
                if kind != NLMSG_ERROR or not first <= sequence <= self._sequence:
                    continue
                number = -_ERRNO.unpack_from(buffer, body)[0]
                if number > 0:
                    yield sequence, Refused(number, _explanation(buffer, kind, flags, body, end))
                if sequence == self._sequence:
                    return

    def answers(self) -> Iterator[tuple[int, bytes]]:
        """(flags, payload) of each data message up to the acknowledgement or the end of a dump.

        :raises Refused: the kernel answers with an error.
        """
        while True:
            buffer = self._receive()
            for kind, flags, sequence, body, end in messages(buffer):
                if sequence != self._sequence:
                    continue  # left over from an interrupted dump
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    number = -_ERRNO.unpack_from(buffer, body)[0] if end - body >= 4 else 0
                    if number > 0:
                        raise Refused(number, _explanation(buffer, kind, flags, body, end))
                    if flags & NLM_F_DUMP_INTR:
                        yield flags, b""
                    return
                yield flags, buffer[body + 4 : end]

    def family_id(self, name: str) -> int | None:
        """The number of a family, None when there is none of that name.

        :raises Refused: the kernel answers with another error.
        """
        if name not in self._ids:
            self._ids[name] = None
            request = attribute(CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0")
            try:
                self.send(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, NLM_F_ACK, request)
                for _, data in self.answers():
                    for kind, at, to in attributes(data, 0, len(data)):
                        if kind == CTRL_ATTR_FAMILY_ID:
                            self._ids[name] = int.from_bytes(data[at:to], sys.byteorder)
            except Refused as refused:
                if refused.number != errno.ENOENT:
                    raise
        return self._ids[name]

    def group_id(self, family: str, group: str) -> int | None:
        """The number of a family's multicast group, None when there is none of that name.

        :raises Refused: the kernel answers with an error.
        """
        request = attribute(CTRL_ATTR_FAMILY_NAME, family.encode() + b"\0")
        for data in self.ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, 0, request):
            for kind, at, to in attributes(data, 0, len(data)):
                if kind != CTRL_ATTR_MCAST_GROUPS:
                    continue
                for _, first, last in attributes(data, at, to):
                    told = {kind: data[a:b] for kind, a, b in attributes(data, first, last)}
                    if told.get(CTRL_ATTR_MCAST_GRP_NAME, b"").split(b"\0")[0] == group.encode():
                        return int.from_bytes(told[CTRL_ATTR_MCAST_GRP_ID], sys.byteorder)
        return None

    def with_family(self, families: tuple[str, ...], call: Callable[[int], None]) -> str:
        """Do `call` with the number of the family that takes it; the family's name.

        :raises NoFamily: the kernel has none of the families.
        :raises Refused: the kernel answers `call` with an error.
        """
        last: Refused = NoFamily()
        for family in families:
            number = self.family_id(family)
            if number is None:
                continue
            try:
                call(number)
                return family
            except Refused as refused:
                if refused.number != errno.EOPNOTSUPP:
                    raise
                last = refused
        raise last

    def dump(self, name: str, families: tuple[str, ...]) -> tuple[str, list[bytes]]:
        """Family and payloads of one consistent dump of link `name`.

        A dump that other writers interrupt is read again, up to DUMP_TRIES times.

        :raises NoFamily: the kernel has none of the families.
        :raises Refused: the kernel answers with an error, or other writers never stop (EINTR).
        """
        payloads: list[bytes] = []
        body = _GENL.pack(WG_CMD_GET_DEVICE, WG_GENL_VERSION, 0)
        body += attribute(WGDEVICE_A_IFNAME, os.fsencode(name) + b"\0")

        def read(family: int) -> None:
            payloads[:], interrupted = self._whole(family, NLM_F_DUMP, body)
            if interrupted:
                raise Refused(errno.EINTR)

        return self.with_family(families, read), payloads


def messages(buffer: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """(type, flags, sequence number, first byte of the body, byte after) of each message.

    :raises Refused: one reaches over the end (EBADMSG).
    """
    at = 0
    while at + 16 <= len(buffer):
        size, kind, flags, sequence, _ = _HEADER.unpack_from(buffer, at)
        if size < 16 or at + size > len(buffer):
            raise Refused(errno.EBADMSG)
        yield kind, flags, sequence, at + 16, at + size
        at += (size + 3) & ~3


def _batches(payloads: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for payload in payloads:
        if size + len(payload) > _BATCH and batch:
            yield batch
            batch, size = [], 0
        batch.append(payload)
        size += HEADERS + len(payload)
    if batch:
        yield batch


def _bad_message() -> Exception:
    return Refused(errno.EBADMSG)


def attributes(
    data: bytes, start: int, end: int, broken: Callable[[], Exception] = _bad_message
) -> Iterator[tuple[int, int, int]]:
    """(type, first byte, byte after) of each attribute in data[start:end].

    :param broken: the error to raise if an attribute reaches over the end.
    :raises Refused: an attribute reaches over the end (EBADMSG).
    """
    while start + 4 <= end:
        size, kind = _NLA.unpack_from(data, start)
        if size < 4 or start + size > end:
            raise broken()
        yield kind & NLA_TYPE_MASK, start + 4, start + size
        start += (size + 3) & ~3


def _explanation(buffer: bytes, kind: int, flags: int, body: int, end: int) -> str:
    """NLMSGERR_ATTR_MSG of an acknowledgement (NETLINK_EXT_ACK), or nothing."""
    if kind != NLMSG_ERROR or not flags & NLM_F_ACK_TLVS:
        return ""
    try:
        # With NETLINK_CAP_ACK only the header of the request is repeated.
        for attribute, at, to in attributes(buffer, body + 4 + 16, end):
            if attribute == NLMSGERR_ATTR_MSG:
                return buffer[at:to].split(b"\0")[0].decode(errors="replace")
    except Refused:
        pass
    return ""

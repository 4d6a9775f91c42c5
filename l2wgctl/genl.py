# SPDX-License-Identifier: GPL-2.0
"""Get and set devices over generic netlink.

The socket is the standard library's: importing any part of pyroute2 costs 130 ms, several times
what `wg show dump` needs for 10,000 peers in all, and every `show` and `set` would pay it. Links
(`l2wgctl.link`) go through pyroute2. Messages are built and read in `l2wgctl.wgnl`.

Which family a device belongs to: the module alone offers the family `wireguard` for both kinds;
beside the stock module (or told so) it offers `l2wireguard` for its own. A family answers
EOPNOTSUPP for a device that is not its own, then the next one is asked.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from struct import Struct
from typing import Callable, Protocol

from . import wgnl
from .errors import MODULE_HINT, KernelError, from_errno, from_os_error
from .model import L2WIREGUARD, WIREGUARD, AllowedIP, Device, Key, Peer

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
NLMSGERR_ATTR_MSG = 1

_HEADER = Struct("=IHHII")
_GENL = Struct("=BBH")
_ERRNO = Struct("=i")
#: The kernel fills a dump message up to the largest receive buffer it has seen, at most 32 KiB.
_BUFFER = 65536
#: A dump that other writers keep interrupting is read again this often.
DUMP_TRIES = 20


class Socket(Protocol):
    """What is needed of a netlink socket; the tests put a kernel in memory behind it."""

    def send(self, data: bytes) -> int: ...

    def recv(self, size: int) -> bytes: ...

    def close(self) -> None: ...


def open_socket() -> Socket:
    """A connected generic-netlink socket. Raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
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


class _Refused(Exception):
    """A negative acknowledgement: error number and, where the kernel gives it, its words."""

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(number)
        self.number = number
        self.detail = detail


def _loaded_families(modules: str = "/sys/module") -> tuple[str, ...]:
    """The families to ask, in order, without making the kernel look for modules in vain.

    Asking for an unknown family runs modprobe, so a name that nobody can own is not asked for.
    The module's parameter `plain` tells whether it has the plain kind, and with it the family
    `wireguard`. Without either module in sight (not loaded yet) both are asked.
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


class WireGuard:
    """A connection to the kernel's WireGuard families. Use as a context manager.

    `sock` and `families` are for tests.
    """

    def __init__(self, sock: Socket | None = None, families: tuple[str, ...] | None = None) -> None:
        try:
            self._socket = sock or open_socket()
        except OSError as error:
            raise from_os_error(error, "netlink") from None
        self._families = families or _loaded_families()
        self._ids: dict[str, int | None] = {}
        self._sequence = int(time.time()) & 0x7FFFFFFF

    def __enter__(self) -> WireGuard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    # -- messages ------------------------------------------------------------------------------

    def _send(self, family: int, command: int, version: int, flags: int, payload: bytes) -> None:
        self._sequence += 1
        size = wgnl.NLMSG_HDRLEN + wgnl.GENL_HDRLEN + len(payload)
        header = _HEADER.pack(size, family, flags | NLM_F_REQUEST, self._sequence, 0)
        self._socket.send(header + _GENL.pack(command, version, 0) + payload)

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        """(flags, payload) of each data message up to the acknowledgement or the end of a dump.

        Raises _Refused.
        """
        while True:
            try:
                buffer = self._socket.recv(_BUFFER)
            except OSError as error:
                raise _Refused(error.errno or errno.EIO, "") from None
            at = 0
            while at + wgnl.NLMSG_HDRLEN <= len(buffer):
                size, kind, flags, sequence, _ = _HEADER.unpack_from(buffer, at)
                if size < wgnl.NLMSG_HDRLEN or at + size > len(buffer):
                    raise wgnl.NetlinkFormatError("a message is cut short")
                body = at + wgnl.NLMSG_HDRLEN
                end = at + size
                at += (size + 3) & ~3
                if sequence != self._sequence:
                    continue  # left over from an interrupted dump
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    number = -_ERRNO.unpack_from(buffer, body)[0] if end - body >= 4 else 0
                    if number > 0:
                        raise _Refused(number, _explanation(buffer, kind, flags, body, end))
                    if flags & NLM_F_DUMP_INTR:
                        yield flags, b""
                    return
                yield flags, buffer[body + wgnl.GENL_HDRLEN : end]

    def _family_id(self, name: str) -> int | None:
        if name not in self._ids:
            payload = name.encode() + b"\0"
            size = len(payload) + 4
            request = size.to_bytes(2, wgnl.BYTE_ORDER) + CTRL_ATTR_FAMILY_NAME.to_bytes(
                2, wgnl.BYTE_ORDER
            )
            request += payload + bytes(-size % 4)
            self._ids[name] = None
            try:
                self._send(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, NLM_F_ACK, request)
                for _, data in self._answers():
                    for kind, at, to in wgnl.attributes(data, 0, len(data)):
                        if kind == CTRL_ATTR_FAMILY_ID:
                            self._ids[name] = wgnl.unsigned(data, at, to)
            except _Refused as refused:
                if refused.number != errno.ENOENT:
                    raise
        return self._ids[name]

    def _with_family(self, name: str, doing: str, call: Callable[[int], None]) -> str:
        """Do `call` with the id of the family that owns link `name`; the family's name.

        Raises KernelError.
        """
        asked = False
        last: _Refused | None = None
        try:
            for family in self._families:
                number = self._family_id(family)
                if number is None:
                    continue
                asked = True
                try:
                    call(number)
                    return family
                except _Refused as refused:
                    if refused.number != errno.EOPNOTSUPP:
                        raise
                    last = refused
        except _Refused as refused:
            raise from_errno(refused.number, name, doing, refused.detail) from None
        if not asked:
            raise KernelError(
                errno.ENOENT,
                "the kernel has no WireGuard family",
                MODULE_HINT,
                doing,
                "NO_MODULE",
            )
        raise from_errno(errno.EOPNOTSUPP, name, doing, last.detail if last else "")

    # -- devices -------------------------------------------------------------------------------

    def stream_device(self, name: str) -> tuple[Device, wgnl.Peers]:
        """The device without its peers, and its peers, decoded while they are asked for.

        The dump is complete and consistent before this returns: one that other writers
        interrupted is read again, up to DUMP_TRIES times. Raises KernelError.
        """
        family, payloads = self.dump(name)
        device, peers = wgnl.decode_device(name, payloads)
        return device._replace(family=family), peers

    def get_device(self, name: str) -> Device:
        """The device with all its peers. Raises KernelError."""
        device, peers = self.stream_device(name)
        return device._replace(peers=tuple(peers))

    def dump(self, name: str) -> tuple[str, list[bytes]]:
        """Family and payloads of one consistent dump of link `name`. Raises KernelError."""
        payloads: list[bytes] = []

        def read(family: int) -> None:
            for attempt in range(DUMP_TRIES):
                if attempt:
                    time.sleep(0.01 * attempt)
                payloads.clear()
                interrupted = False
                self._send(
                    family,
                    wgnl.WG_CMD_GET_DEVICE,
                    wgnl.WG_GENL_VERSION,
                    NLM_F_ACK | NLM_F_DUMP,
                    wgnl.encode_ifname(name),
                )
                try:
                    for flags, data in self._answers():
                        interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                        payloads.append(data)
                except _Refused as refused:
                    if refused.number != errno.EINTR:
                        raise
                    interrupted = True
                if not interrupted:
                    return
            raise _Refused(errno.EINTR, "")

        return self._with_family(name, "show", read), payloads

    def set_device(self, device: Device, resolve: wgnl.Resolver = wgnl.sockaddr) -> None:
        """Bring the given settings about, and nothing else. Raises KernelError.

        Everything is encoded before the first message goes out, so that a name that does not
        resolve leaves the device as it was. AllowedIPs to be removed need Linux 6.16; on an older
        kernel they are moved to a peer that exists for one message only.
        """
        messages = list(wgnl.encode_set(device, resolve))
        try:
            self._set(device.name, messages)
        except KernelError as error:
            removals = any(ip.remove for peer in device.peers for ip in peer.allowed_ips)
            if not removals or error.errno != errno.EINVAL:
                raise
            current = self.get_device(device.name)
            self._set(
                device.name, list(wgnl.encode_set(_remove_by_moving(device, current), resolve))
            )

    def _set(self, name: str, messages: list[bytes]) -> None:
        def write(family: int) -> None:
            for message in messages:
                self._send(family, wgnl.WG_CMD_SET_DEVICE, wgnl.WG_GENL_VERSION, NLM_F_ACK, message)
                for _ in self._answers():
                    pass

        self._with_family(name, "set", write)


def _explanation(buffer: bytes, kind: int, flags: int, body: int, end: int) -> str:
    """NLMSGERR_ATTR_MSG of an acknowledgement (NETLINK_EXT_ACK), or nothing."""
    if kind != NLMSG_ERROR or not flags & NLM_F_ACK_TLVS:
        return ""
    try:
        # With NETLINK_CAP_ACK only the header of the request is repeated.
        for attribute, at, to in wgnl.attributes(buffer, body + 4 + wgnl.NLMSG_HDRLEN, end):
            if attribute == NLMSGERR_ATTR_MSG:
                return buffer[at:to].split(b"\0")[0].decode(errors="replace")
    except wgnl.NetlinkFormatError:
        pass
    return ""


def _remove_by_moving(device: Device, current: Device) -> Device:
    """The same change for a kernel without WGALLOWEDIP_F_REMOVE_ME.

    A network belongs to one peer at a time: giving it to a peer made up for the purpose takes it
    from its owner, and removing that peer removes the network. Only networks that the named peer
    really has are moved, as the flag would have it.
    """
    owned = {(ip.address, ip.prefix, p.public_key) for p in current.peers for ip in p.allowed_ips}
    stray: list[AllowedIP] = []
    peers: list[Peer] = []
    for peer in device.peers:
        for ip in peer.allowed_ips:
            if ip.remove and (ip.address, ip.prefix, peer.public_key) in owned:
                stray.append(ip._replace(remove=False))
        keep = tuple(ip for ip in peer.allowed_ips if not ip.remove)
        peers.append(peer._replace(allowed_ips=keep))
    if stray:
        # Any 32 bytes that are no low-order point will do; nobody has the private key.
        nobody = Key(os.urandom(32))
        peers.insert(0, Peer(nobody, allowed_ips=tuple(stray), replace_allowed_ips=True))
        peers.insert(1, Peer(nobody, remove=True))
    return device._replace(peers=tuple(peers))


def get_device(name: str) -> Device:
    """The device `name` with all its peers. Raises KernelError."""
    with WireGuard() as wireguard:
        return wireguard.get_device(name)


def set_device(device: Device, resolve: wgnl.Resolver = wgnl.sockaddr) -> None:
    """Bring the given settings of a device about. Raises KernelError."""
    with WireGuard() as wireguard:
        wireguard.set_device(device, resolve)

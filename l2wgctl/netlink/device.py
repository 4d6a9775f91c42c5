# SPDX-License-Identifier: GPL-2.0
"""Get and set devices over generic netlink.

The socket is the standard library's. Importing any part of pyroute2 takes longer than `wg show
dump` takes for 10,000 peers, and every `show` and `set` would pay for it. Links (`netlink.link`) go
through pyroute2. `netlink.channel` has the socket, and `netlink.messages` builds and reads the
messages.
"""

from __future__ import annotations

import errno
import os

from ..errors import KernelError, from_errno
from ..model import AllowedIP, Device, Key, Peer
from . import channel
from . import messages as wgnl
from .uapi import WG_CMD_SET_DEVICE, WG_GENL_VERSION


class WireGuard:
    """A connection to the kernel's WireGuard families. Use as a context manager.

    `sock` and `families` are for tests.
    """

    def __init__(
        self, sock: channel.Socket | None = None, families: tuple[str, ...] | None = None
    ) -> None:
        try:
            self._channel = channel.Channel(sock or channel.open_socket())
        except OSError as error:
            raise from_errno(error.errno or errno.EIO, "", "netlink") from None
        self._families = families or channel.loaded_families()

    def __enter__(self) -> WireGuard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._channel.sock.close()

    def stream_device(self, name: str) -> tuple[Device, wgnl.Peers]:
        """The device without its peers, and its peers, decoded while they are asked for.

        The dump is complete and consistent before this returns: one that other writers
        interrupted is read again, up to DUMP_TRIES times.

        :raises KernelError: there is no such link, or it is not of our kinds.
        """
        family, payloads = self.dump(name)
        device, peers = wgnl.decode_device(name, payloads)
        return device._replace(family=family), peers

    def get_device(self, name: str) -> Device:
        """The device with all its peers.

        :raises KernelError: there is no such link, or it is not of our kinds.
        """
        device, peers = self.stream_device(name)
        return device._replace(peers=tuple(peers))

    def dump(self, name: str) -> tuple[str, list[bytes]]:
        """Family and payloads of one consistent dump of link `name`.

        :raises KernelError: there is no such link, or it is not of our kinds.
        """
        try:
            return self._channel.dump(name, self._families)
        except channel.Refused as refused:
            raise _in_words(refused, name, "show") from None

    def set_device(self, device: Device, resolve: wgnl.Resolver = wgnl.sockaddr) -> None:
        """Apply the given settings, and nothing else.

        Everything is encoded before the first message goes out, so that a name that does not
        resolve leaves the device as it was. AllowedIPs to be removed need Linux 6.16; on an older
        kernel they are moved to a peer that exists for one message only.

        :raises KernelError: the kernel refuses.
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
                self._channel.send(
                    family, WG_CMD_SET_DEVICE, WG_GENL_VERSION, channel.NLM_F_ACK, message
                )
                for _ in self._channel.answers():
                    pass

        try:
            self._channel.with_family(self._families, write)
        except channel.Refused as refused:
            raise _in_words(refused, name, "set") from None


def _in_words(refused: channel.Refused, name: str, doing: str) -> KernelError:
    if isinstance(refused, channel.NoFamily):
        from ..machine import module_hint

        what = "the kernel has no WireGuard family"
        return KernelError(errno.ENOENT, what, module_hint(), doing, "NO_MODULE")
    return from_errno(refused.number, name, doing, refused.detail)


def _remove_by_moving(device: Device, current: Device) -> Device:
    """The same change for a kernel without WGALLOWEDIP_F_REMOVE_ME.

    A network belongs to one peer at a time: giving it to a peer made up for the purpose takes it
    from its owner, and removing that peer removes the network. Only networks that the named peer
    really has are moved, as the flag does it.
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
    """The device `name` with all its peers.

    :raises KernelError: there is no such link, or it is not of our kinds.
    """
    with WireGuard() as wireguard:
        return wireguard.get_device(name)


def set_device(device: Device, resolve: wgnl.Resolver = wgnl.sockaddr) -> None:
    """Apply the given settings of a device, and nothing else.

    :raises KernelError: the kernel refuses.
    """
    with WireGuard() as wireguard:
        wireguard.set_device(device, resolve)

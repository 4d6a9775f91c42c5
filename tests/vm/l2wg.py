# SPDX-License-Identifier: GPL-2.0
"""The generic-netlink family `l2wg`, spoken from a host of a test.

The numbers and the transport are l2wgctl's. What is here can also say what l2wgctl would never say.
"""

from __future__ import annotations

import base64
import errno
import os
import struct
from collections.abc import Mapping

from l2wgctl import switch
from l2wgctl.netlink import channel
from l2wgctl.netlink import switch_messages as messages
from l2wgctl.netlink.channel import attribute as attr
from l2wgctl.netlink.switch import Switches
from l2wgctl.netlink.switch_events import Events
from l2wgctl.netlink.switch_messages import named, number
from l2wgctl.netlink.switch_uapi import Cmd, Fdb, Link, Peer
from toolkit.guest.hosts import LONG, Host, inside

__all__ = ["Cmd", "Fdb", "Link", "Peer", "attr", "named", "number"]
NESTED = messages.NLA_F_NESTED
Attrs = list[tuple[int, bytes]]


#: enum l2wg_guard, l2wg_new_peers, l2wg_entry_state
GUARD_DHCP, GUARD_RA, GUARD_STP = 1, 2, 4
OPEN, CLOSED = 0, 1
LEARNED, BOUND, STATIC = 0, 1, 2


class Refused(Exception):
    """The kernel has answered with an error: its name and what it says about it."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"{errno.errorcode.get(number, number)}: {message}")
        self.errno = number
        self.message = message


def attrs(data: bytes) -> Attrs:
    """The attributes in a message or a nest, in their order."""
    found, at = [], 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found.append((kind & 0x3FFF, data[at + 4 : at + length]))
        at += (length + 3) & ~3
    return found


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def macs(*texts: str) -> bytes:
    """A nest of MAC addresses."""
    return messages.macs(texts)


def vlans(*ranges: tuple[int, int]) -> bytes:
    """A nest of ranges of VLANs."""
    return messages.vlans(ranges)


def prefixes(*texts: str) -> bytes:
    """A nest of prefixes, 10.0.0.1/32."""
    return messages.prefixes(texts)


class Family:
    """A socket to the family in a host's namespace, by which anything can be said."""

    def __init__(self, host: Host) -> None:
        with inside(host):
            self.channel = channel.Channel(channel.open_socket())
            self.switches = Switches()
        self.host = host
        self.id = self.channel.family_id("l2wg") or 0

    def __enter__(self) -> Family:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.sock.close()
        self.switches.close()

    def do(self, cmd: int, payload: bytes, flags: int = 0) -> list[dict[int, bytes]]:
        """Ask for one thing.

        :raises Refused: the kernel says no.
        """
        try:
            answers = self.channel.ask(self.id, cmd, 1, flags, payload)
        except channel.Refused as no:
            raise Refused(no.number, no.detail or os.strerror(no.number)) from None
        return [dict(attrs(answer)) for answer in answers]

    def dump(self, cmd: int, payload: bytes) -> list[dict[int, bytes]]:
        """Ask for all.

        :raises Refused: the kernel says no.
        """
        return self.do(cmd, payload, channel.NLM_F_DUMP)

    def events(self, timeout: float = LONG) -> Events:
        """Events from now on; they end when none has come for a while."""
        with inside(self.host):
            return self.switches.events(timeout=timeout)

    def sessions(self, timeout: float = LONG) -> Events:
        """The same of sessions."""
        with inside(self.host):
            return self.switches.sessions(timeout=timeout)


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
        kind = getattr(Peer, name.upper())
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
        kind = getattr(Link, name.upper())
        payload += (
            attr(kind | NESTED, value) if isinstance(value, bytes) else attr(kind, u32(value))
        )
    with Family(on) as family:
        family.do(Cmd.LINK_SET, payload)


def forget_peer(on: Host, peer: Host | str, link: str = "wg1") -> None:
    """Take a peer's options back."""
    with Family(on) as family:
        family.do(Cmd.PEER_DEL, named(link) + attr(Peer.PUBLIC_KEY, key(peer)))


def replace_peer(on: Host, old: Host | str, new: Host | str, link: str = "wg1") -> None:
    """Put a key in the place of another one."""
    keys = attr(Peer.OLD_PUBLIC_KEY, key(old)) + attr(Peer.PUBLIC_KEY, key(new))
    with Family(on) as family:
        family.do(Cmd.PEER_REPLACE, named(link) + keys)


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
    found = {switch.COUNTERS[kind - 1]: number(value) for kind, value in attrs(nest) if kind}
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
        payload += messages.u16(Fdb.VLAN, vlan)
    with Family(on) as family:
        family.do(Cmd.FDB_FLUSH, payload)


def handle(host: Host) -> str:
    """What `bridge fdb` calls a peer."""
    return switch.handle(key(host))

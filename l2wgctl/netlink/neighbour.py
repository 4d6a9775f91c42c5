# SPDX-License-Identifier: GPL-2.0
"""Entries of a switch's table in one VLAN, as `bridge fdb` sets them: rtnetlink's neighbours.

Structures and numbers: include/uapi/linux/neighbour.h, include/uapi/linux/rtnetlink.h.
"""

from __future__ import annotations

import errno
from struct import Struct

from .. import sockets
from ..errors import KernelError, from_errno, in_its_words
from ..switch import handle
from . import channel
from .switch_messages import mac_bytes, u16

NETLINK_ROUTE = 0
RTM_NEWNEIGH, RTM_DELNEIGH = 28, 29
AF_BRIDGE, NTF_SELF, NUD_PERMANENT = 7, 0x02, 0x80
NDA_DST, NDA_LLADDR, NDA_VLAN = 1, 2, 5
NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x200, 0x400, 0x800
_NDMSG = Struct("=BxxxiHBB")


def add_static(link: str, mac: str, key: bytes, vlan: int) -> None:
    """Bind a MAC to a peer in one VLAN, 0-4094 (0: untagged), beside those that it is bound to.

    :raises KernelError: the kernel refuses: two peers have the same handle, say.
    """
    flags = NLM_F_CREATE | NLM_F_APPEND
    _change(link, RTM_NEWNEIGH, flags, mac, key, vlan, "fdb add")


def delete(link: str, mac: str, key: bytes | None, vlan: int) -> None:
    """Take back what add_static() has added, or what was learned.

    :param key: of this peer only; None: whoever has it.
    :raises KernelError: there is none (ENOENT).
    """
    _change(link, RTM_DELNEIGH, 0, mac, key, vlan, "fdb del")


def _change(
    link: str, kind: int, flags: int, mac: str, key: bytes | None, vlan: int, doing: str
) -> None:
    try:
        index = sockets.if_nametoindex(link)
    except OSError:
        raise from_errno(errno.ENODEV, link, doing) from None
    body = _NDMSG.pack(AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF, 0)
    body += channel.attribute(NDA_LLADDR, mac_bytes(mac))
    if key is not None:
        address = sockets.inet_pton(sockets.AF_INET6, handle(key))
        body += channel.attribute(NDA_DST, address)
    if vlan:
        body += u16(NDA_VLAN, vlan)
    try:
        connection = channel.Channel(channel.open_socket(NETLINK_ROUTE))
    except OSError as error:
        raise from_errno(error.errno or errno.EIO, link, doing) from None
    try:
        connection.ask_raw(kind, flags, body)
    except channel.Refused as refused:
        if refused.number == errno.ENOENT:
            what = f"{link}: {refused.detail or f'no entry for {mac} in VLAN {vlan}'}"
            raise KernelError(errno.ENOENT, what, f"see 'l2wgctl fdb {link}'", doing) from None
        raise in_its_words(refused.number, link, doing, refused.detail) from None
    finally:
        connection.sock.close()

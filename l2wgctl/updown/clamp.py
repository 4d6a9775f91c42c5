# SPDX-License-Identifier: GPL-2.0
"""MSSClamp: TCP between hosts that keep an MTU of 1500 behind a tunnel that has less.

A bridge cannot say that a packet is too big; it drops it. So the SYN packets that cross the link,
in both directions, get a maximum segment size that fits. nftables only lowers the option
(nft_exthdr_tcp_set_eval of net/netfilter/nft_exthdr.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model import VLAN_TAG, LinkOptions
from .record import Record
from .routing import nft, nft_table
from .steps import Step

if TYPE_CHECKING:
    from ..netlink.link import Links

_NFPROTO = {"ip": "ipv4", "ip6": "ipv6"}
#: IP and TCP headers without options (RFC 879, RFC 6691).
IPV4, IPV6 = 40, 60


def rules(name: str, family: str, mtu: int, size: int) -> str:
    """The nftables script.

    :param family: `bridge` for a port of a bridge, `inet` for a link with routes.
    :param mtu: the largest IP packet, in bytes.
    :param size: the segment size in bytes; 0: the one that fits the MTU.
    """
    table = nft_table(family, name)
    sizes = [("ip", size or mtu - IPV4), ("ip6", size or mtu - IPV6)]
    lines = [f"add table {table}"]
    for hook in ("input", "forward", "output"):
        chain = f"{{ type filter hook {hook} priority 0; }}"
        lines.append(f"add chain {table} {hook} {chain}")
        for way in ("iifname", "oifname"):
            if (hook, way) in (("input", "oifname"), ("output", "iifname")):
                continue
            for protocol, value in sizes:
                match = f"meta nfproto {_NFPROTO[protocol]}"
                if family == "bridge":
                    # Not `ether type`, which is 8100 in a tagged frame.
                    match = f"meta protocol {protocol}"
                lines.append(
                    f'add rule {table} {hook} {way} "{name}" {match} tcp flags syn '
                    f"tcp option maxseg size set {value}"
                )
    return "\n".join(lines) + "\n"


def plan(link: LinkOptions, mtu: int, links: Links, record: Record) -> Step:
    """The step that sets the rules up."""
    family = "bridge" if link.bridge else "inet"
    # The link's MTU has no room for a tag, see docs/design.md.
    room = mtu - (VLAN_TAG if link.bridge_vlans else 0)
    text = rules(record.name, family, room, link.mss_clamp or 0)
    return nft(text, nft_table(family, record.name), links, record)

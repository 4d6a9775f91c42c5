# SPDX-License-Identifier: GPL-2.0
"""Keys, peers, and their handshakes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..conf.check import NO_OWNER, NO_OWNER_HINT, owner
from ..errors import public
from ..model import L2WGSWITCH, L2WIREGUARD, Device, Peer
from .finding import FAIL, OK, WARN, Finding

if TYPE_CHECKING:
    from ..netlink.link import Link, Links

#: REJECT_AFTER_TIME, in seconds (WireGuard paper, section 6.1).
REJECT_AFTER = 180


def check_device(device: Device, link: Link) -> Iterator[Finding]:
    """Keys, port, peers, and who gets the frames without an address."""
    if device.private_key is None:
        yield Finding(
            FAIL,
            "key",
            f"{device.name} has no private key",
            f"l2wgctl set {device.name} private-key FILE",
        )
    if not device.peers:
        yield Finding(
            FAIL, "peers", f"{device.name} has no peers", f"l2wgctl setconf {device.name} FILE"
        )
        return
    if link.kind == L2WIREGUARD:
        found = owner(device.peers, "0.0.0.0")
        if found is None:
            yield Finding(FAIL, "owner", NO_OWNER, NO_OWNER_HINT)
        else:
            yield Finding(
                OK,
                "owner",
                f"ARP, VLAN and other frames without IP go to peer {public(found.public_key)}",
            )


def check_peer(
    peer: Peer, device: Device, links: Links, now: int, kind: str | None = None
) -> Iterator[Finding]:
    """The handshake, and why there may be none.

    :param kind: the link's. On a switch AllowedIPs do not route.
    """
    name = f"peer {public(peer.public_key)}"
    then = peer.last_handshake[0]
    if not peer.allowed_ips and kind != L2WGSWITCH:
        yield Finding(
            FAIL,
            name,
            "has no AllowedIPs: nothing is sent to it and nothing taken from it",
            "give it AllowedIPs",
        )
    if then > now:
        yield Finding(
            WARN, name, "its last handshake is in the future", "the clock was set back: check it"
        )
    elif then and now - then <= REJECT_AFTER:
        yield Finding(OK, name, f"handshake {now - then} s ago")
    elif then:
        level = WARN if peer.persistent_keepalive else OK
        yield Finding(
            level,
            name,
            f"last handshake {now - then} s ago" + ("" if level == WARN else ", idle since"),
            "the path or the other side is down: ping its endpoint" if level == WARN else None,
        )
    else:
        yield Finding(FAIL, name, "never a handshake", _why_no_handshake(peer, device, links))


def _why_no_handshake(peer: Peer, device: Device, links: Links) -> str:
    if peer.endpoint is None:
        return (
            "it has no endpoint: it has to call first, at UDP port "
            f"{device.listen_port or 0} of this host (open in the firewall?)"
        )
    if links.route_to(peer.endpoint.host.partition("%")[0]) is None:
        return f"there is no route to {peer.endpoint.host}: ip route get {peer.endpoint.host}"
    if peer.tx_bytes == 0:
        return "nothing has been sent yet: ping the other side, or set PersistentKeepalive = 25"
    if peer.rx_bytes == 0:
        return (
            f"{peer.tx_bytes} bytes went out and none came back: check that {peer.endpoint} is "
            "right and open in its firewall, and that each side has the other's public key and "
            "both the same preshared key"
        )
    return "something came back, but no handshake: compare the keys of both sides"

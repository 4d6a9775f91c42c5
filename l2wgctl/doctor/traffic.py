# SPDX-License-Identifier: GPL-2.0
"""What the counters of a link say: `ip -s link` and `ethtool -S`.

They count from the link's beginning, so they still hold what has been mended. So only a large part
of the traffic counts as a finding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..model import ETHERNET_KINDS, L2WGSWITCH, L2WIREGUARD, WIREGUARD, Device
from ..netlink.link import Link
from .finding import WARN, Finding

_BAD_COUNTERS = ("rx_malformed", "tx_malformed")
#: Fewer than this mean nothing.
FEW = 5


def _many(count: int, total: int, part: int) -> bool:
    """Whether `count` is more than a few, and at least one `part`th of the total."""
    return count >= FEW and count * part >= total


def check_traffic(device: Device, link: Link, counters: Mapping[str, int]) -> Iterator[Finding]:
    """What has gone wrong with frames, and the likely cause."""
    name = link.name
    for counter in _BAD_COUNTERS:
        if counters.get(counter):
            yield Finding(
                WARN,
                "counters",
                f"{counter} is {counters[counter]}",
                f"both ends need the same l2wg version; see 'ethtool -S {name}'",
            )
    yield from _loops(name, counters)
    stats = link.stats or {}
    if any(peer.last_handshake[0] for peer in device.peers):
        if link.kind in ETHERNET_KINDS:
            yield from _received_ethernet(link, stats, counters)
        else:
            yield from _received_ip(name, stats)
    if _many(stats.get("tx_errors", 0), stats.get("tx_packets", 0), 10):
        yield Finding(
            WARN,
            "counters",
            f"{stats['tx_errors']} frames could not be sent: their destination is in no peer's "
            "AllowedIPs, or that peer has no endpoint yet",
            f"see 'l2wgctl show {name}'",
        )


def _loops(name: str, counters: Mapping[str, int]) -> Iterator[Finding]:
    if counters.get("tx_outer_loop"):
        yield Finding(
            WARN,
            "loop",
            f"{counters['tx_outer_loop']} outer packets came back to {name}, whose own they are, "
            "and were dropped: the way to its endpoint leads through its own bridge",
            "give the underlay a port of its own, outside of the bridge, or pin the gateway: "
            "bridge fdb replace MAC dev PORT master static",
        )
    if counters.get("rx_outer_loop"):
        yield Finding(
            WARN,
            "loop",
            f"{counters['rx_outer_loop']} packets of ARP or neighbour discovery that came by "
            f"{name} claimed the address of the gateway to its endpoint, and were dropped",
            "both sites use that address: change it at one of them",
        )


def _received_ethernet(
    link: Link, stats: Mapping[str, int], counters: Mapping[str, int]
) -> Iterator[Finding]:
    received = stats.get("rx_packets", 0)
    # In an IP packet that is taken for a frame, a part of the source address is in the place of the
    # EtherType: an unknown protocol, or a wrong length.
    strange = counters.get("rx_opaque", 0) + counters.get("rx_malformed", 0)
    if _many(strange, received, 2):
        yield Finding(
            WARN,
            "kind",
            f"of {received} packets that arrived {strange} are no frames of a protocol that is "
            f"known: the other end looks like one of kind {WIREGUARD} (IP), and {link.name} is "
            f"{link.kind} (Ethernet)",
            f"both ends need the same kind: Kind = {L2WIREGUARD} in the other end's file, or "
            f"Kind = {WIREGUARD} here",
        )
        return
    if link.kind == L2WGSWITCH:
        return  # it has counters of its own for what it drops
    foreign = stats.get("rx_errors", 0) - counters.get("rx_malformed", 0)
    if _many(foreign, received, 10):
        yield Finding(
            WARN,
            "counters",
            f"{foreign} frames were dropped: their source is not in the AllowedIPs of the peer "
            "that they came from",
            "add it there (0.0.0.0/0, ::/0 for all)",
        )


def _received_ip(name: str, stats: Mapping[str, int]) -> Iterator[Finding]:
    refused = stats.get("rx_errors", 0)
    received = stats.get("rx_packets", 0)
    if _many(refused, received, 2):
        yield Finding(
            WARN,
            "kind",
            f"{refused} packets that arrived are no IP, or of a source that is not in their peer's "
            f"AllowedIPs; {received} are well: if the other end is one of kind {L2WIREGUARD} "
            f"(Ethernet), nothing can cross, since {name} is {WIREGUARD} (IP)",
            f"both ends need the same kind: Kind = {L2WIREGUARD} in the file here, or "
            f"Kind = {WIREGUARD} there; else mend the AllowedIPs",
        )

# SPDX-License-Identifier: GPL-2.0
"""A tunnel as a port of a bridge: why its frames may not leave by another port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..model import KINDS
from .finding import OK, WARN, Finding
from .links import master_of

if TYPE_CHECKING:
    from ..netlink.link import Link, Links

#: BR_STATE_* of include/uapi/linux/if_bridge.h.
PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
FORWARDING, BLOCKING = 3, 4
#: If fewer packets have arrived, it means nothing that none has left.
ENOUGH = 10


def check_bridge(
    link: Link, all_links: Sequence[Link], links: Links, proc: Path
) -> Iterator[Finding]:
    """The port, the other ports, and what is between them."""
    bridge = master_of(link, all_links)
    if bridge is None or bridge.kind != "bridge":
        return
    yield _state(link, bridge)
    ports = [found for found in all_links if found.master == bridge.ifindex]
    if len([port for port in ports if port.kind in KINDS]) > 1 and not bridge.stp:
        yield Finding(
            WARN,
            "stp",
            f"{bridge.name} has several tunnels and no spanning tree: two ways between the same "
            "sites are a loop",
            f"ip link set {bridge.name} type bridge stp_state 1",
        )
    yield from _other_ports(link, bridge, ports, links, proc)


def _state(link: Link, bridge: Link) -> Finding:
    number = link.port_state
    state = PORT_STATES[number] if number is not None and number < len(PORT_STATES) else "unknown"
    if number == FORWARDING:
        return Finding(OK, "bridge", f"{link.name} is a forwarding port of {bridge.name}")
    mend = "wait for spanning tree (30 s), or see 'bridge link'"
    if number == BLOCKING:
        mend = "spanning tree sees a loop: see 'bridge link', or set the path costs"
    return Finding(WARN, "bridge", f"{link.name} is {state} in {bridge.name}", mend)


def _other_ports(
    link: Link, bridge: Link, ports: Sequence[Link], links: Links, proc: Path
) -> Iterator[Finding]:
    """The ports by which frames that have arrived may leave."""
    others = [port for port in ports if port.ifindex != link.ifindex]
    if not others:
        if not links.addresses(bridge.name):
            yield Finding(
                WARN,
                "ports",
                f"{bridge.name} has no port but {link.name}, and no address: frames that arrive "
                "go nowhere",
                f"ip link set eth1 master {bridge.name}, or ip address add ... dev {bridge.name}",
            )
        return
    running = [port for port in others if port.running]
    if not running:
        names = ", ".join(port.name for port in others)
        yield Finding(
            WARN,
            "ports",
            f"of {bridge.name}'s other ports none is up: {names}",
            f"ip link set {others[0].name} up; is the cable in?",
        )
        return
    if link.isolated and all(port.isolated for port in running):
        yield Finding(
            WARN,
            "ports",
            f"{link.name} and {bridge.name}'s other ports are isolated from each other",
            f"bridge link set dev {link.name} isolated off",
        )
    if bridge.vlan_filtering:
        yield from _vlans(link, bridge, running, links)
    arrived = (link.stats or {}).get("rx_packets", 0)
    left = sum((port.stats or {}).get("tx_packets", 0) for port in running)
    if arrived >= ENOUGH and left * 10 < arrived:
        yield Finding(
            WARN,
            "ports",
            f"{arrived} packets have arrived by {link.name}, and only {left} have left by "
            f"{bridge.name}'s other ports",
            _what_stops_them(proc),
        )


def _vlans(link: Link, bridge: Link, others: Sequence[Link], links: Links) -> Iterator[Finding]:
    own = links.vlans(link.name)
    if not any(pvid for _, pvid in own):
        yield Finding(
            WARN,
            "vlan",
            f"{bridge.name} filters VLANs, and {link.name} has no PVID: untagged frames that "
            "arrive are dropped",
            f"bridge vlan add dev {link.name} vid 1 pvid untagged",
        )
    mine = {vid for vid, _ in own}
    if mine and not any(mine & {vid for vid, _ in links.vlans(port.name)} for port in others):
        listed = ", ".join(map(str, sorted(mine)[:8]))
        yield Finding(
            WARN,
            "vlan",
            f"{bridge.name} filters VLANs, and no other port of it that is up has one of "
            f"{link.name}'s: {listed}",
            f"bridge vlan add dev {others[0].name} vid {min(mine)}",
        )


def _what_stops_them(proc: Path) -> str:
    try:
        filtered = (proc / "sys/net/bridge/bridge-nf-call-iptables").read_text().strip() == "1"
    except OSError:
        filtered = False
    if filtered:
        return (
            "iptables sees bridged frames (br_netfilter), and a policy of DROP in FORWARD, as "
            "docker sets it, stops them: sysctl net.bridge.bridge-nf-call-iptables=0"
        )
    return "see 'bridge -d link', 'bridge fdb', 'bridge vlan' and 'nft list ruleset'"

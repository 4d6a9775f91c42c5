# SPDX-License-Identifier: GPL-2.0
"""The bridge that a link becomes a port of, with its settings, addresses and other ports.

Several links may share a bridge. What is already there is only noted, see `record`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from ..model import LinkOptions
from .changes import address_step, found, step, use
from .record import Change, Record
from .steps import Step

if TYPE_CHECKING:
    from ..netlink.link import Links

#: The PVID of a new bridge's ports (br_vlan_init of net/bridge/br_vlan.c).
DEFAULT_PVID = 1


def plan_bridge(link: LinkOptions, links: Links, record: Record) -> Iterator[Step]:
    """The steps that make the link a port of its bridge."""
    name, bridge = record.name, link.bridge
    assert bridge
    with record.shared():
        yield _bridge(bridge, link, links, record)
        for option, wanted in (
            ("stp_state", link.bridge_stp),
            ("vlan_filtering", link.bridge_vlan_filtering),
        ):
            if wanted is not None:
                yield _setting(bridge, option, int(wanted), links, record)
        yield Step(
            f"ip link set dev {name} master {bridge}", lambda: links.set_master(name, bridge)
        )
        yield from _plan_vlans(name, link, links)
        for address in link.bridge_addresses:
            if links.get(bridge) is not None and links.has_address(bridge, address):
                yield found(Change("address", bridge, address), record, links)
            else:
                yield address_step(bridge, address, links, record)
        yield up(bridge, links, record)
        for port in link.bridge_ports:
            yield _port(port, bridge, links, record)
            yield up(port, links, record)


def _bridge(bridge: str, link: LinkOptions, links: Links, record: Record) -> Step:
    from ..netlink.link import BRIDGE_ALIAS

    change = Change("bridge", bridge)
    there = links.get(bridge)
    if there is None:
        text = f"ip link add dev {bridge} type bridge"
        return step(text, lambda: links.add_bridge(bridge), change, record, links)
    # An earlier `up` made it, and it stayed because somebody else had a port in it.
    claims = (other.wants(change.thing) for other in record.others())
    ours = link.bridge_create and there.alias == BRIDGE_ALIAS
    return found(
        change, record, links, made=ours and not any(claim and claim.made for claim in claims)
    )


def _setting(bridge: str, option: str, value: int, links: Links, record: Record) -> Step:
    before = links.bridge_options(bridge).get(option, 0) if links.get(bridge) else 0
    change = Change("setting", bridge, option, str(value), str(before))
    if before == value:
        return found(change, record, links)
    text = f"ip link set dev {bridge} type bridge {option} {value}"
    return step(text, lambda: links.set_bridge(bridge, option, value), change, record, links)


def _plan_vlans(name: str, link: LinkOptions, links: Links) -> Iterator[Step]:
    """VLANs of the link's port; they go with the port."""
    from ..netlink.bridge import PVID, UNTAGGED

    pvid = link.bridge_pvid
    if pvid is not None:
        options = links.bridge_options(link.bridge or "") if links.get(link.bridge or "") else {}
        default = options.get("vlan_default_pvid", DEFAULT_PVID)
        if default not in (0, pvid):
            yield Step(
                f"bridge vlan delete dev {name} vid {default}",
                lambda: links.edit_vlans("del", name, [(default, default, 0)]),
            )
        if pvid not in (0, default):
            yield Step(
                f"bridge vlan add dev {name} vid {pvid} pvid untagged",
                lambda: links.edit_vlans("add", name, [(pvid, pvid, PVID | UNTAGGED)]),
            )
    for first, last in link.bridge_vlans:
        shown = str(first) if first == last else f"{first}-{last}"
        yield Step(
            f"bridge vlan add dev {name} vid {shown}",
            partial(links.edit_vlans, "add", name, [(first, last, 0)]),
        )


def _port(port: str, bridge: str, links: Links, record: Record) -> Step:
    change = Change("port", port, bridge)
    own, master = links.get(port), links.get(bridge)
    if own is not None and master is not None and own.master == master.ifindex:
        return found(change, record, links)
    text = f"ip link set dev {port} master {bridge}"
    return step(text, lambda: links.set_master(port, bridge), change, record, links)


def up(name: str, links: Links, record: Record) -> Step:
    """Bring a link up that is not ours."""
    change = Change("up", name, before=use(links, name))
    there = links.get(name)
    if there is not None and there.up:
        return found(change, record, links)
    return step(f"ip link set dev {name} up", lambda: links.set_up(name), change, record, links)

# SPDX-License-Identifier: GPL-2.0
"""How a running link differs from its file, apart from keys and peers, and how to make it the same.

Addresses, VLANs, MTU, MAC address and bridge can be changed without a new session.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..conf.preflight import all_vlans, vlan_name
from ..conf.sync import Change
from ..model import KINDS, VLAN_TAG, LinkOptions, Vlan
from .changes import address_step
from .record import Record
from .steps import Step

if TYPE_CHECKING:
    from ..netlink.link import Link, Links

NONE = "(none)"


class Difference(NamedTuple):
    """Changes, and the steps that make them. Without steps they need a new link."""

    changes: tuple[Change, ...]
    steps: tuple[Step, ...] = ()


def differences(
    name: str, link: LinkOptions, links: Links, record: Record | None = None
) -> Iterator[Difference]:
    """The differences between a link and its options.

    Do the steps of each difference before you ask for the next one, or never.

    :param record: what the link's `up` has done; it also notes what `down` has to undo.
    :raises KernelError: there is no such link.
    """
    now = links.need(name, "diff")
    if now.kind in KINDS and now.kind != link.kind:
        yield Difference((Change("set", "Kind", now.kind, link.kind),))
    if link.mac_address and now.mac != link.mac_address:
        change = Change("set", "MACAddress", now.mac or NONE, link.mac_address)
        back = (_mac(name, now.mac, links),) if now.mac else ()
        yield Difference((change,), (_mac(name, link.mac_address, links)._replace(undo=back),))
    yield from _addresses(name, "Address", link.addresses, links)
    yield from _master(now, link, links)
    for address in link.bridge_addresses if link.bridge else ():
        bridge = links.get(link.bridge or "")
        if bridge is not None and address not in links.addresses(bridge.name):
            step = address_step(bridge.name, address, links, record)
            yield Difference((Change("add", "BridgeAddress", None, address),), (step,))
    if link.mtu is not None and now.mtu != link.mtu:
        yield _mtu(name, "MTU", now.mtu, link.mtu, links)
    yield from _vlans(name, link.vlans, link.mtu or now.mtu, links)


def _mac(name: str, address: str, links: Links) -> Step:
    text = f"ip link set dev {name} address {address}"
    return Step(text, partial(links.set_mac, name, address))


def _mtu(name: str, field: str, old: int, new: int, links: Links) -> Difference:
    def step(mtu: int) -> Step:
        return Step(f"ip link set mtu {mtu} dev {name}", partial(links.set_mtu, name, mtu))

    change = Change("set", field, str(old), str(new))
    return Difference((change,), (step(new)._replace(undo=(step(old),)),))


def _address(verb: str, name: str, address: str, links: Links) -> Step:
    proto = "-6" if ":" in address else "-4"
    do = links.add_address if verb == "add" else links.del_address
    return Step(f"ip {proto} address {verb} {address} dev {name}", partial(do, name, address))


def _addresses(name: str, field: str, wanted: Sequence[str], links: Links) -> Iterator[Difference]:
    """Superfluous and missing addresses of a link, except link-local ones.

    With a primary IPv4 address the kernel removes its secondary ones, which come behind it. So the
    last ones go first, and we look for missing addresses after the superfluous ones have gone.
    """
    for address in reversed(links.addresses(name)):
        if address not in wanted:
            back = (_address("add", name, address, links),)
            step = _address("delete", name, address, links)._replace(undo=back)
            yield Difference((Change("remove", field, address, None),), (step,))
    for address in wanted:
        if not address.startswith("fe80:") and address not in links.addresses(name):
            back = (_address("delete", name, address, links),)
            step = _address("add", name, address, links)._replace(undo=back)
            yield Difference((Change("add", field, None, address),), (step,))


def _master(now: Link, link: LinkOptions, links: Links) -> Iterator[Difference]:
    """A change of the bridge. A bond cannot be changed here: it takes ports while they are down."""
    current = next((found for found in links.all() if now.master == found.ifindex), None)
    old, new = current.name if current else None, link.bridge or link.master
    if old != new:
        bond = link.master or (current and current.kind != "bridge")
        change = Change("set", "Master" if bond else "Bridge", old or NONE, new or NONE)
        target = links.get(new) if new else None
        if bond or (new and (target is None or target.kind != "bridge")):
            yield Difference((change,))
            return
        step = _port(now.name, new, links)._replace(undo=(_port(now.name, old, links),))
        yield Difference((change,), (step,))


def _port(name: str, master: str | None, links: Links) -> Step:
    text = f"ip link set dev {name} " + (f"master {master}" if master else "nomaster")
    return Step(text, partial(links.set_master, name, master))


def _vlans(name: str, vlans: Sequence[Vlan], mtu: int, links: Links) -> Iterator[Difference]:
    """VLANs with the names that `up` gives them; other VLANs on the link belong to others."""
    wanted = {vlan_name(name, vlan.ids): vlan for vlan in all_vlans(vlans)}
    for found in sorted(links.all(), key=lambda found: -len(found.name)):
        label = found.name[len(name) + 1 :]
        ours = found.kind == "vlan" and found.name == f"{name}.{label}"
        if ours and label.replace(".", "").isdigit() and found.name not in wanted:
            change = Change("remove", "VLANs", label, None)
            step = Step(f"ip link delete dev {found.name}", partial(links.delete, found.name))
            yield Difference((change,), (step,))
    for own, vlan in wanted.items():
        there = links.get(own)
        tagged = mtu - VLAN_TAG * len(vlan.ids)
        if there is None:
            yield _new_vlan(name, vlan, tagged, links)
            continue
        if there.mtu != tagged:
            yield _mtu(own, f"VLAN{vlan.label} MTU", there.mtu, tagged, links)
        yield from _addresses(own, f"VLAN{vlan.label}.Address", vlan.addresses, links)


def _new_vlan(name: str, vlan: Vlan, mtu: int, links: Links) -> Difference:
    parent, own = vlan_name(name, vlan.ids[:-1]), vlan_name(name, vlan.ids)
    number = vlan.ids[-1]

    def up() -> None:
        links.set_mtu(own, mtu)
        links.set_up(own)

    changes = [Change("add", "VLANs", None, vlan.label)]
    steps = [
        Step(
            f"ip link add link {parent} name {own} type vlan id {number}",
            partial(links.add_vlan, own, parent, number),
            (Step(f"ip link delete dev {own}", partial(links.delete, own)),),
        )
    ]
    for address in vlan.addresses:
        changes.append(Change("add", f"VLAN{vlan.label}.Address", None, address))
        steps.append(_address("add", own, address, links))
    steps.append(Step(f"ip link set mtu {mtu} up dev {own}", up))
    return Difference(tuple(changes), tuple(steps))

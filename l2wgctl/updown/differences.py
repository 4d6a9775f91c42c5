# SPDX-License-Identifier: GPL-2.0
"""How a running link differs from its file, apart from keys and peers, and how to make it the same.

Addresses, VLANs, MTU, MAC address and bridge can be changed without a new session. Only what the
file has given is taken away; what a PostUp or a person has added is shown, and stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..conf.preflight import all_vlans, vlan_name
from ..conf.sync import Change
from ..model import KINDS, VLAN_TAG, LinkOptions, Vlan
from . import applied
from .changes import address_step
from .record import Record
from .steps import Step

if TYPE_CHECKING:
    from ..netlink.link import Link, Links

NONE = "(none)"


class Difference(NamedTuple):
    """Changes, and the steps that make them. Without steps they need a new link, except `foreign`
    ones, which stay: somebody else has made them."""

    changes: tuple[Change, ...]
    steps: tuple[Step, ...] = ()
    foreign: bool = False


def differences(
    name: str, link: LinkOptions, links: Links, record: Record | None = None
) -> Iterator[Difference]:
    """The differences between a link and its options.

    Do the steps of each difference before you ask for the next one, or never.

    :param record: what the link's `up` has done; it also notes what `down` has to undo.
    :raises KernelError: there is no such link.
    """
    now = links.need(name, "diff")
    had = applied.values(name)
    if now.kind in KINDS and now.kind != link.kind:
        yield Difference((Change("set", "Kind", now.kind, link.kind),))
    if link.mac_address and now.mac != link.mac_address:
        change = Change("set", "MACAddress", now.mac or NONE, link.mac_address)
        back = (_mac(name, now.mac, links),) if now.mac else ()
        yield Difference((change,), (_mac(name, link.mac_address, links)._replace(undo=back),))
    if not link.mac_address and "MACAddress" in had:
        yield Difference((Change("set", "MACAddress", had["MACAddress"][0], NONE),))
    yield from _addresses(name, "Address", link.addresses, links, had)
    yield from _master(now, link, links, record, had)
    for address in link.bridge_addresses if link.bridge else ():
        bridge = links.get(link.bridge or "")
        if bridge is not None and address not in links.addresses(bridge.name):
            step = address_step(bridge.name, address, links, record)
            yield Difference((Change("add", "BridgeAddress", None, address),), (step,))
    yield from _bridge_addresses_left(link, links, record)
    if link.mtu is not None and now.mtu != link.mtu:
        yield _mtu(name, "MTU", now.mtu, link.mtu, links)
    if link.mtu is None and "MTU" in had:
        yield Difference((Change("set", "MTU", had["MTU"][0], NONE),))
    yield from _vlans(name, link.vlans, link.mtu or now.mtu, links, had)


def _bridge_addresses_left(
    link: LinkOptions, links: Links, record: Record | None
) -> Iterator[Difference]:
    """Addresses that the file has given a bridge and gives it no more."""
    for done in record.changes if record is not None else ():
        wanted = done.on == link.bridge and done.what in link.bridge_addresses
        if done.kind != "address" or not done.made or wanted or links.get(done.on) is None:
            continue
        if links.has_address(done.on, done.what):
            yield Difference((Change("remove", "BridgeAddress", done.what, None),))


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


def _addresses(
    name: str, field: str, wanted: Sequence[str], links: Links, had: Mapping[str, list[str]]
) -> Iterator[Difference]:
    """Superfluous and missing addresses of a link, except link-local ones.

    With a primary IPv4 address the kernel removes its secondary ones, which come behind it. So the
    last ones go first, and we look for missing addresses after the superfluous ones have gone.
    """
    for address in reversed(links.addresses(name)):
        if address not in wanted and address not in had.get(field, ()):
            yield Difference((Change("foreign", field, address, None),), foreign=True)
        elif address not in wanted:
            back = (_address("add", name, address, links),)
            step = _address("delete", name, address, links)._replace(undo=back)
            yield Difference((Change("remove", field, address, None),), (step,))
    for address in wanted:
        if not address.startswith("fe80:") and address not in links.addresses(name):
            back = (_address("delete", name, address, links),)
            step = _address("add", name, address, links)._replace(undo=back)
            yield Difference((Change("add", field, None, address),), (step,))


def _master(
    now: Link,
    link: LinkOptions,
    links: Links,
    record: Record | None,
    had: Mapping[str, list[str]],
) -> Iterator[Difference]:
    """A change of the bridge. A bond cannot be changed here: it takes ports while they are down.

    Nor can a bridge if `up` has set more of it than its port: that would be left behind.
    """
    current = next((found for found in links.all() if now.master == found.ifindex), None)
    old, new = current.name if current else None, link.bridge or link.master
    if old != new:
        bond = link.master or (current and current.kind != "bridge")
        field = "Master" if bond else "Bridge"
        if old and not new and [old] not in (had.get("Bridge"), had.get("Master")):
            yield Difference((Change("foreign", field, old, None),), foreign=True)
            return
        change = Change("set", field, old or NONE, new or NONE)
        target = links.get(new) if new else None
        unfit = new and (target is None or target.kind != "bridge")
        if bond or unfit or _sets_more(link, record):
            yield Difference((change,))
            return
        step = _port(now.name, new, links)._replace(undo=(_port(now.name, old, links),))
        yield Difference((change,), (step,))


def _sets_more(link: LinkOptions, record: Record | None) -> bool:
    """Whether `up` sets, or has set, other things that depend on the bridge."""
    given = (
        *(link.bridge_stp, link.bridge_vlan_filtering, link.bridge_pvid, link.mss_clamp),
        *(link.bridge_ports or None, link.bridge_vlans or None),
    )
    done = record.changes if record is not None else ()
    return any(one is not None for one in given) or any(c.kind in ("port", "setting") for c in done)


def _port(name: str, master: str | None, links: Links) -> Step:
    text = f"ip link set dev {name} " + (f"master {master}" if master else "nomaster")
    return Step(text, partial(links.set_master, name, master))


def _vlans(
    name: str, vlans: Sequence[Vlan], mtu: int, links: Links, had: Mapping[str, list[str]]
) -> Iterator[Difference]:
    """VLANs with the names that `up` gives them; other VLANs on the link belong to others."""
    wanted = {vlan_name(name, vlan.ids): vlan for vlan in all_vlans(vlans)}
    for found in sorted(links.all(), key=lambda found: -len(found.name)):
        label = found.name[len(name) + 1 :]
        ours = found.kind == "vlan" and found.name == f"{name}.{label}"
        ours = ours and label.replace(".", "").isdigit() and found.name not in wanted
        if ours and found.name not in had.get("VLANs", ()):
            yield Difference((Change("foreign", "VLANs", label, None),), foreign=True)
        elif ours:
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
        yield from _addresses(own, f"VLAN{vlan.label}.Address", vlan.addresses, links, had)


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

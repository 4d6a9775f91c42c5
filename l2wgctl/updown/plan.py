# SPDX-License-Identifier: GPL-2.0
"""up, down, strip, save: a link with all that belongs to it, from one file.

`plan_up` and `plan_down` are generators of steps: each step is done before the next is planned,
so that a PreUp command can bring about what the rest needs. Nothing is planned on a guess: what
must hold beforehand is checked before the first step.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Callable

from ..conf import files
from ..conf.check import lint
from ..conf.parse import Config
from ..conf.values import NAME_MAX
from ..errors import L2wgError, Problem, from_errno
from ..model import KINDS, VLAN_TAG, Device, LinkOptions, Vlan
from ..output import say
from . import routing
from .steps import Step, command, hook, run_all, run_steps

if TYPE_CHECKING:
    from ..netlink.link import Link, Links

DEFAULT_UNDERLAY = 1500
INTERFACE_ORDER = "/etc/resolvconf/interface-order"


def vlan_name(name: str, ids: Sequence[int]) -> str:
    """wg1.128.127 for VLAN 127 within VLAN 128 on wg1."""
    return ".".join([name, *map(str, ids)])


def all_vlans(vlans: Sequence[Vlan]) -> list[Vlan]:
    """The VLANs with the outer ones that the nested ones need, the outer ones first."""
    found: dict[tuple[int, ...], Vlan] = {}
    for vlan in vlans:
        for depth in range(1, len(vlan.ids)):
            found.setdefault(vlan.ids[:depth], Vlan(vlan.ids[:depth]))
        found[vlan.ids] = vlan
    return sorted(found.values(), key=lambda vlan: (len(vlan.ids), vlan.ids))


def check_before(name: str, link: LinkOptions, links: Links) -> None:
    """Find what would make `up` fail half-way before it begins.

    :raises L2wgError: there is such a thing.
    """
    if links.get(name) is not None:
        raise L2wgError(
            f"{name} already exists", f"take it down first: l2wgctl down {name}", "up", "EEXIST"
        )
    for role, master in (("Bridge", link.bridge), ("Master", link.master)):
        if master is None:
            continue
        found = links.get(master)
        if found is None and not (role == "Bridge" and link.bridge_create):
            mend = "write BridgeCreate = yes" if role == "Bridge" else "create it first"
            raise L2wgError(f"{role} {master} does not exist", mend, "up")
        if role == "Bridge" and found is not None and found.kind != "bridge":
            raise L2wgError(f"{master} is not a bridge", "name another link", "up")
    for vlan in all_vlans(link.vlans):
        vlan_link = vlan_name(name, vlan.ids)
        if len(vlan_link) > NAME_MAX:
            raise L2wgError(
                f"VLAN link name {vlan_link} is longer than {NAME_MAX} characters",
                "give the link a shorter name",
                "up",
            )
        if links.get(vlan_link) is not None:
            raise L2wgError(f"{vlan_link} already exists", f"ip link delete {vlan_link}", "up")
    if (link.dns or link.dns_search) and shutil.which("resolvconf") is None:
        raise L2wgError("DNS needs resolvconf", "install openresolv, or leave DNS out", "up")


def underlay_mtu(device: Device, links: Links, resolve: Callable[[str], str | None]) -> int:
    """The least MTU of the ways to the endpoints, else of the default route, else 1500 bytes.

    (wg-quick takes the largest; with two uplinks that makes packets that do not fit one.)
    """
    ways = []
    for peer in device.peers:
        address = resolve(peer.endpoint.host) if peer.endpoint else None
        way = links.route_to(address) if address else None
        if way is not None:
            ways.append(way.mtu)
    if ways:
        return min(ways)
    default = links.default_route()
    return default.mtu if default else DEFAULT_UNDERLAY


def plan_up(
    name: str,
    config: Config,
    links: Links,
    configure: Callable[[Device], None],
    resolve: Callable[[str], str | None],
) -> Iterator[Step]:
    """The steps of `up`. `configure` sends a device to the kernel, `resolve` makes an address of
    a host name, or None."""
    link, device = config.link, config.device
    yield from _hooks(name, link.pre_up, link.post_down)
    yield Step(
        f"ip link add dev {name} type {link.kind}",
        lambda: links.add(name, link.kind),
        (Step(f"ip link delete dev {name}", lambda: links.delete(name)),),
    )
    if link.mac_address:
        mac = link.mac_address
        yield Step(f"ip link set dev {name} address {mac}", lambda: links.set_mac(name, mac))
    yield Step(
        f"l2wgctl setconf {name} {config.where}",
        lambda: configure(files.whole(device, name)),
    )
    if link.ipv6_link_local:
        yield from _plan_link_local(name, link.ipv6_link_local, links)
    for address in link.addresses:
        yield _address(name, address, links)
    if link.bridge:
        yield from _plan_bridge(name, link, links)
    if link.master:
        master = link.master
        yield Step(
            f"ip link set dev {name} master {master}", lambda: links.set_master(name, master)
        )
    mtu = link.mtu or underlay_mtu(device, links, resolve) - link.overhead
    yield _up(name, mtu, links)
    for vlan in all_vlans(link.vlans):
        yield from _plan_vlan(name, vlan, mtu, links)
    if link.dns or link.dns_search:
        yield _dns(name, link)
    yield from routing.plan_routes(
        name, device, link, links, lambda mark: configure(Device(name, fwmark=mark))
    )
    yield from _hooks(name, link.post_up, link.pre_down)


def _hooks(name: str, lines: Sequence[str], inverse: Sequence[str]) -> Iterator[Step]:
    """Commands; once the first is through, taking `up` back runs those of the other side."""
    undo = tuple(hook(line, name) for line in inverse)
    for position, line in enumerate(lines):
        step = hook(line, name)
        yield step._replace(undo=undo) if position == 0 else step


def _address(name: str, address: str, links: Links, undo: bool = False) -> Step:
    proto = "-6" if ":" in address else "-4"
    back = Step(
        f"ip {proto} address delete {address} dev {name}",
        lambda: links.del_address(name, address),
    )
    return Step(
        f"ip {proto} address add {address} dev {name}",
        lambda: links.add_address(name, address),
        (back,) if undo else (),
    )


def _up(name: str, mtu: int, links: Links) -> Step:
    def do() -> None:
        links.set_mtu(name, mtu)
        links.set_up(name)

    return Step(f"ip link set mtu {mtu} up dev {name}", do)


def _plan_link_local(name: str, value: str, links: Links) -> Iterator[Step]:
    mode = "eui64" if value == "yes" else "none"
    yield Step(f"ip link set dev {name} addrgenmode {mode}", lambda: links.set_addr_gen(name, mode))
    if ":" in value:
        yield _address(name, value, links)


def _plan_bridge(name: str, link: LinkOptions, links: Links) -> Iterator[Step]:
    bridge = link.bridge
    assert bridge
    found = links.get(bridge)
    if found is None:
        yield Step(
            f"ip link add dev {bridge} type bridge",
            lambda: links.add_bridge(bridge),
            (Step(f"ip link delete dev {bridge}", lambda: links.delete(bridge)),),
        )
    yield Step(f"ip link set dev {name} master {bridge}", lambda: links.set_master(name, bridge))
    for address in link.bridge_addresses:
        # A second tunnel on the same bridge may name the same address.
        if found is None or address not in links.addresses(bridge):
            yield _address(bridge, address, links, undo=found is not None)
    if found is None or not found.up:
        yield Step(f"ip link set dev {bridge} up", lambda: links.set_up(bridge))


def _plan_vlan(name: str, vlan: Vlan, mtu: int, links: Links) -> Iterator[Step]:
    parent = vlan_name(name, vlan.ids[:-1])
    own = vlan_name(name, vlan.ids)
    number = vlan.ids[-1]
    # Removing the tunnel removes its VLANs: nothing to undo.
    yield Step(
        f"ip link add link {parent} name {own} type vlan id {number}",
        lambda: links.add_vlan(own, parent, number),
    )
    for address in vlan.addresses:
        yield _address(own, address, links)
    # The tunnel's MTU has no room for tags (IEEE 802.1Q: 4 bytes each).
    yield _up(own, mtu - VLAN_TAG * len(vlan.ids), links)


def _resolvconf_name(name: str) -> str:
    """With the prefix that Debian's resolvconf orders interfaces by."""
    try:
        with open(INTERFACE_ORDER, encoding="utf-8") as stream:
            for line in stream:
                prefix = line.strip()
                if prefix[-1:] == "*" and prefix[:-1].replace("-", "").isalnum():
                    return f"{prefix[:-1]}.{name}"
    except OSError:
        pass
    return name


def _no_dns(name: str) -> Step:
    argv = ["resolvconf", "-d", _resolvconf_name(name), "-f"]
    return Step(" ".join(argv), command(argv))


def _dns(name: str, link: LinkOptions) -> Step:
    text = "".join(f"nameserver {server}\n" for server in link.dns)
    if link.dns_search:
        text += f"search {' '.join(link.dns_search)}\n"
    argv = ["resolvconf", "-a", _resolvconf_name(name), "-m", "0", "-x"]
    return Step(" ".join(argv), command(argv, text), (_no_dns(name),))


def plan_down(
    name: str, link: LinkOptions, device: Device, links: Links, ours: Link | None
) -> Iterator[Step]:
    """The steps of `down` after PreDown and saving; `ours` is a bridge that `up` has made."""
    if link.dns or link.dns_search:
        yield _no_dns(name)
    yield from routing.plan_removal(name, device, link, links)
    yield Step(f"ip link delete dev {name}", lambda: links.delete(name))
    if link.bridge:
        bridge = link.bridge
        if ours is not None:
            yield Step(f"ip link delete dev {bridge}", lambda: links.delete(bridge))
        else:
            last = not any(port.kind in KINDS for port in links.ports(bridge))
            have = links.addresses(bridge) if last else []
            for address in link.bridge_addresses:
                if address in have:
                    back = _address(bridge, address, links, undo=True).undo
                    yield from back
    for line in link.post_down:
        yield hook(line, name)


def _made_by_us(link: LinkOptions, name: str, links: Links) -> Link | None:
    """The bridge, if `up` has made it and nothing but this link is in it."""
    from ..netlink.link import BRIDGE_ALIAS

    found = links.get(link.bridge) if link.bridge and link.bridge_create else None
    if found is None or found.alias != BRIDGE_ALIAS:
        return None
    return found if all(port.name == name for port in links.ports(found.name)) else None


def saved_text(config: Config, device: Device, links: Links) -> str:
    """The file's text, edited to the state that the link is in now, with its secrets."""
    from ..conf.edit import edit

    # The kernel does not tell its own link-local addresses from ours: those of the file are kept.
    local = [a for a in config.link.addresses if a.lower().startswith("fe80:")]
    now = links.get(device.name)
    return edit(
        files.read_text(config.where)[0],
        config,
        device,
        [*links.addresses(device.name), *local],
        now.mtu if now else None,
        routing.takes_default_route(config.link, config.device),
    )


# -- commands --------------------------------------------------------------------------------------


def _address_of(host: str) -> str | None:
    import socket

    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0])
    except OSError:
        return None


def _configure(device: Device) -> None:
    from ..netlink.device import set_device
    from ..resolve import sockaddr

    set_device(device, sockaddr)


def _load(target: str) -> tuple[str, Config]:
    name, path = files.locate(target)
    loaded = files.load(path)
    say(loaded.warnings)
    return name, loaded


def cmd_up(args: argparse.Namespace) -> int:
    """Create and configure a link with all that belongs to it."""
    from ..netlink.link import Links

    name, config = _load(args.target)
    with Links() as links:
        check_before(name, config.link, links)
        say(lint(config))
        steps = plan_up(name, config, links, _configure, _address_of)
        run_steps(steps, args.dry_run)
        say(_bond_warning(name, config.link, links) if not args.dry_run else [])
    return 0


def _bond_warning(name: str, link: LinkOptions, links: Links) -> list[Problem]:
    master = links.get(link.master) if link.master else None
    port = links.get(name)
    if master is None or port is None or master.mtu <= port.mtu:
        return []
    return [
        Problem(
            "up",
            f"{master.name} has MTU {master.mtu}, above the {port.mtu} of its port {name}",
            f"ip link set mtu {port.mtu} dev {master.name}",
            True,
        )
    ]


def cmd_down(args: argparse.Namespace) -> int:
    """Take a link down with all that belongs to it."""
    from ..netlink.device import get_device
    from ..netlink.link import Links

    name, config = _load(args.target)
    link = config.link
    with Links() as links:
        _need_tunnel(name, links, "down")
        run_steps((hook(line, name) for line in link.pre_down), args.dry_run)
        device = get_device(name)
        if link.save_config:
            save = Step(
                f"l2wgctl save {name}", lambda: _save(name, config._replace(link=link), links)
            )
            run_steps([save], args.dry_run)
        ours = _made_by_us(link, name, links)
        run_all(plan_down(name, link, device, links, ours), args.dry_run)
    return 0


def _need_tunnel(name: str, links: Links, doing: str) -> None:
    found = links.need(name, doing)
    if found.kind not in KINDS:
        import errno

        raise from_errno(errno.EOPNOTSUPP, name, doing)


def _save(name: str, config: Config, links: Links) -> None:
    from ..netlink.device import get_device

    files.write_private(config.where, saved_text(config, get_device(name), links))


def cmd_save(args: argparse.Namespace) -> int:
    """Write the state of a link into its file."""
    from ..netlink.link import Links

    name, config = _load(args.target)
    with Links() as links:
        _need_tunnel(name, links, "save")
        _save(name, config, links)
    return 0


def cmd_strip(args: argparse.Namespace) -> int:
    """The file without what `wg setconf` does not know."""
    _, path = files.locate(args.target)
    text, warnings = files.read_text(path)
    say(warnings)
    sys.stdout.write(files.strip(text))
    return 0

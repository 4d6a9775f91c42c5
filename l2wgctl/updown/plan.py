# SPDX-License-Identifier: GPL-2.0
"""up, down, strip, save: a link with all that belongs to it, from one file.

`plan_up` and `changes.plan_undo` are generators of steps: each step is done before the next is
planned, so that a PreUp command can provide what the rest needs. Nothing is planned on a guess:
what must be true beforehand is checked before the first step.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Callable

from .. import apply, signals
from ..conf import files
from ..conf.check import lint
from ..conf.parse import Config
from ..conf.preflight import all_vlans, small_mtu, vlan_name
from ..errors import Problem, from_errno
from ..model import KINDS, L2WGSWITCH, VLAN_TAG, Device, LinkOptions, Vlan
from ..output import say
from . import applied, clamp, routing, servers
from . import record as records
from .before import Before, refuse
from .bridge import plan_bridge
from .changes import address_step, plan_undo, step
from .record import Change, Record
from .steps import Step, attempt, hook, run_steps

if TYPE_CHECKING:
    from ..netlink.link import Links

DEFAULT_UNDERLAY = 1500


def underlay_mtu(device: Device, links: Links, resolve: Callable[[str], str | None]) -> int:
    """The smallest MTU of the routes to the endpoints, else of the default route, else 1500 bytes.

    (wg-quick takes the largest; with two uplinks its packets may not fit one of them.)
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
    config: Config,
    links: Links,
    configure: Callable[[Device], None],
    resolve: Callable[[str], str | None],
    record: Record,
    prepare: Callable[[], None],
) -> Iterator[Step]:
    """The steps of `up`.

    :param configure: sends a device to the kernel.
    :param resolve: returns an address for a host name, or None.
    :param record: notes what `down` has to undo.
    :param prepare: is called when PreUp has run.
    """
    link, device, name = config.link, config.device, record.name
    yield from _hooks(name, link.pre_up, link.post_down)
    prepare()
    mtu = link.mtu or underlay_mtu(device, links, resolve) - link.overhead
    refuse(small_mtu(config, mtu))
    yield step(
        f"ip link add dev {name} type {link.kind}",
        lambda: links.add(name, link.kind),
        Change("link", name),
        record,
        links,
    )
    if link.mac_address:
        mac = link.mac_address
        yield Step(f"ip link set dev {name} address {mac}", lambda: links.set_mac(name, mac))
    yield Step(
        f"l2wgctl setconf {name} {config.where}",
        lambda: _configure_whole(config, name, configure),
    )
    if link.ipv6_link_local:
        yield from _plan_link_local(name, link.ipv6_link_local, links)
    for address in link.addresses:
        yield address_step(name, address, links)
    if link.bridge:
        yield from plan_bridge(link, links, record)
    if link.master:
        master = link.master
        yield Step(
            f"ip link set dev {name} master {master}", lambda: links.set_master(name, master)
        )
    if link.mss_clamp is not None:
        yield clamp.plan(link, mtu, links, record)
    yield _up(name, mtu, links)
    for vlan in all_vlans(link.vlans):
        yield from _plan_vlan(name, vlan, mtu, links)
    by = servers.program() if link.dns or link.dns_search else None
    if by is not None:
        yield from _plan_dns(by, link, links, record)
    yield from routing.plan_routes(
        device, link, links, lambda mark: configure(Device(name, fwmark=mark)), record
    )
    yield from _hooks(name, link.post_up, link.pre_down)


def _configure_whole(config: Config, name: str, configure: Callable[[Device], None]) -> None:
    with apply.options(apply.switch_plan(name, config)):
        configure(files.whole(config.device, name))


def _plan_dns(by: str, link: LinkOptions, links: Links, record: Record) -> Iterator[Step]:
    first, *rest = servers.plan(record.name, link, by)
    yield step(first.text, first.do, Change("dns", "", by), record, links)
    yield from rest


def _hooks(name: str, lines: Sequence[str], inverse: Sequence[str]) -> Iterator[Step]:
    """Commands; after the first has run, undoing `up` runs those of the other side."""
    undo = tuple(hook(line, name) for line in inverse)
    for position, line in enumerate(lines):
        step = hook(line, name)
        yield step._replace(undo=undo) if position == 0 else step


def _up(name: str, mtu: int, links: Links) -> Step:
    def do() -> None:
        links.set_mtu(name, mtu)
        links.set_up(name)

    return Step(f"ip link set mtu {mtu} up dev {name}", do)


def _plan_link_local(name: str, value: str, links: Links) -> Iterator[Step]:
    mode = "eui64" if value == "yes" else "none"
    yield Step(f"ip link set dev {name} addrgenmode {mode}", lambda: links.set_addr_gen(name, mode))
    if ":" in value:
        yield address_step(name, value, links)


def _plan_vlan(name: str, vlan: Vlan, mtu: int, links: Links) -> Iterator[Step]:
    parent = vlan_name(name, vlan.ids[:-1])
    own = vlan_name(name, vlan.ids)
    number = vlan.ids[-1]
    # Removing the tunnel removes its VLANs, so there is nothing to undo.
    yield Step(
        f"ip link add link {parent} name {own} type vlan id {number}",
        lambda: links.add_vlan(own, parent, number),
    )
    for address in vlan.addresses:
        yield address_step(own, address, links)
    # The tunnel's MTU has no room for tags (IEEE 802.1Q: 4 bytes each).
    yield _up(own, mtu - VLAN_TAG * len(vlan.ids), links)


def saved_text(config: Config, device: Device, links: Links) -> str:
    """The file's text, edited to the state that the link is in now, with its secrets."""
    from ..conf.edit import edit

    # The kernel does not tell its own link-local addresses from ours, so the file's are kept.
    local = [a for a in config.link.addresses if a.lower().startswith("fe80:")]
    now = links.get(device.name)
    return edit(
        files.read_text(config.where)[0],
        config,
        device,
        [*links.addresses(device.name), *local],
        now.mtu if now else None,
        routing.takes_default_route(config.link, config.device),
        apply.present(device.name) if now is not None and now.kind == L2WGSWITCH else None,
    )


# -- commands --------------------------------------------------------------------------------------


def _address_of(host: str) -> str | None:
    import socket

    try:
        with signals.waiting():
            return str(socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0][4][0])
    except (OSError, UnicodeError):
        return None


def _load(target: str) -> tuple[str, Config]:
    name, path = files.locate(target)
    loaded = files.load(path)
    say(loaded.warnings)
    return name, loaded


def cmd_up(args: argparse.Namespace) -> int:
    """Create and configure a link with all that belongs to it."""
    from ..netlink.link import Links

    name, config = _load(args.target)
    with Links() as links, records.hold(name, "up", dry=args.dry_run), signals.held():
        before = Before(config, links, name, dry=args.dry_run)
        before.check()
        say(lint(config))
        _clear_leftovers(name, links, args.dry_run)
        record = Record(name, dry=args.dry_run)
        record.pre_down, record.post_down = config.link.pre_down, config.link.post_down

        def configure(device: Device) -> None:
            from ..netlink.device import set_device

            set_device(device, before.sockaddr)

        steps = plan_up(config, links, configure, _address_of, record, before.prepare)
        # What was interrupted halfway, or could not be undone, is left in the record.
        run_steps(steps, args.dry_run, lambda: plan_undo(record, links))
        if not args.dry_run:
            applied.remember(name, config.link)
        if not args.dry_run:
            say([*_bond_warning(name, config.link, links), *_resolve_warning(name, config)])
    return 0


def _clear_leftovers(name: str, links: Links, dry: bool) -> None:
    """Undo what an earlier `up` did, if its link has disappeared without `down`."""
    old = records.load(name)
    if old is not None and links.get(name) is None:
        old.dry = dry
        what = f"{name} went without 'down'"
        say([Problem("up", what, "what else its 'up' did is undone first", True)])
        # The commands may need the link. What fails does not keep a new one from coming up.
        with signals.passed_over():
            _attempt_all((hook(line, name) for line in old.pre_down), dry)
            _attempt_all(plan_undo(old, links), dry)
            _attempt_all((hook(line, name) for line in old.post_down), dry)


def _attempt_all(steps: Iterable[Step], dry: bool) -> None:
    for each in steps:
        attempt(each._replace(do=lambda: None) if dry else each)


def _resolve_warning(name: str, config: Config) -> list[Problem]:
    """systemd starts `l2wgctl resolve` with its unit; who calls `up` has to do so."""
    by_unit = os.getppid() == 1 and "INVOCATION_ID" in os.environ
    if not config.link.resolve or by_unit:
        return []
    what = "Resolve is given, and nothing looks up the names again"
    hint = f"run 'l2wgctl resolve {name}', or bring it up with 'systemctl start l2wg@{name}'"
    return [Problem("up", what, hint, True)]


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


def need_tunnel(name: str, links: Links, doing: str) -> None:
    """Make sure that a link is there, and is a tunnel.

    :raises KernelError: it is not.
    """
    found = links.need(name, doing)
    if found.kind not in KINDS:
        import errno

        raise from_errno(errno.EOPNOTSUPP, name, doing)


def save_into(name: str, config: Config, links: Links) -> None:
    """Write the link's state into its file.

    :raises L2wgError: it cannot be written.
    """
    from ..netlink.device import get_device

    say(apply.not_of_a_switch(name, config, "its options are not saved"))
    say(apply.not_in_files(name))
    files.write_private(config.where, saved_text(config, get_device(name), links))


def cmd_save(args: argparse.Namespace) -> int:
    """Write the state of a link into its file."""
    from ..netlink.link import Links

    name, config = _load(args.target)
    with Links() as links:
        need_tunnel(name, links, "save")
        save_into(name, config, links)
    return 0


def cmd_strip(args: argparse.Namespace) -> int:
    """The file without what `wg setconf` does not know."""
    _, path = files.locate(args.target)
    text, warnings = files.read_text(path)
    say(warnings)
    sys.stdout.write(files.strip(text, path))
    return 0

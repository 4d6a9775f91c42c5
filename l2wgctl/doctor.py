# SPDX-License-Identifier: GPL-2.0
"""doctor: from the module to the tunnel, what is well, what is not, and how to mend it.

Each check is a generator of findings. The facts on the module: alone it offers both link kinds
and the family `wireguard`; beside the stock module it offers the kind `l2wireguard` with a family
of that name.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NamedTuple

from .conf.check import NO_OWNER, NO_OWNER_HINT, owner
from .conf.names import Names
from .errors import MODULE_HINT, KernelError, L2wgError
from .model import ETHERNET_HEADER, KINDS, L2WIREGUARD, TUNNEL_OVERHEAD, WIREGUARD, Device, Peer
from .netlink.channel import offers_plain

if TYPE_CHECKING:
    from .netlink.link import Link, Links

OK, WARN, FAIL = "OK", "WARN", "FAIL"
#: REJECT_AFTER_TIME and REKEY_AFTER_TIME, in seconds (WireGuard paper, section 6.1).
REJECT_AFTER = 180
#: A clock before this is wrong: 2021-07-10, the day of the talk that l2wireguard comes from.
EPOCH = 1625875200
#: BR_STATE_* of include/uapi/linux/if_bridge.h.
PORT_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")
_BAD_COUNTERS = ("rx_malformed", "tx_malformed")


class Finding(NamedTuple):
    """One line: `level` OK, WARN or FAIL; `check` names what was looked at; `mend` what to do.

    `name` is that of the peer, if it is one and has one.
    """

    level: str
    check: str
    what: str
    mend: str | None = None
    name: str | None = None


def _modinfo(release: str, field: str) -> str | None:
    """A field of the installed module, None when there is none."""
    argv = ["modinfo", "-k", release, "-F", field, L2WIREGUARD]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


class System(NamedTuple):
    """Where the facts about the host come from; the tests have their own."""

    modules: Path = Path("/sys/module")
    release: str = platform.release()
    root: bool = os.geteuid() == 0
    now: Callable[[], float] = time.time
    modinfo: Callable[[str, str], str | None] = _modinfo


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def check_module(system: System) -> Iterator[Finding]:
    """Loaded, loadable, which version, which flavour."""
    stock = (system.modules / WIREGUARD).exists()
    if not (system.modules / L2WIREGUARD).exists():
        yield from _check_unloaded(system, stock)
        return
    loaded = _read(system.modules / L2WIREGUARD / "srcversion")
    installed = system.modinfo(system.release, "srcversion")
    version = system.modinfo(system.release, "l2wg_version")
    if loaded and installed and loaded != installed:
        yield Finding(
            WARN,
            "module",
            f"l2wireguard is loaded, but version {version} is installed and not the one loaded",
            "take the tunnels down, then: modprobe -r l2wireguard; modprobe l2wireguard",
        )
    elif loaded and installed:
        yield Finding(OK, "module", f"l2wireguard {version} is loaded")
    else:
        yield Finding(OK, "module", "l2wireguard is loaded, but not installed for the next boot")
    if offers_plain(str(system.modules)):
        yield Finding(OK, "flavour", "alone: kinds wireguard and l2wireguard, family wireguard")
    else:
        yield Finding(
            OK,
            "flavour",
            "beside another wireguard: kind l2wireguard, family l2wireguard; 'wg' does not see "
            "its links",
        )


def _check_unloaded(system: System, stock: bool) -> Iterator[Finding]:
    version = system.modinfo(system.release, "l2wg_version")
    if version:
        yield Finding(
            WARN,
            "module",
            f"l2wireguard {version} is installed, but not loaded",
            "modprobe l2wireguard",
        )
    else:
        yield Finding(
            FAIL, "module", f"l2wireguard is not installed for {system.release}", MODULE_HINT
        )
    if stock:
        yield Finding(
            WARN,
            "flavour",
            "the stock wireguard module is loaded: it has no Ethernet links",
            "modprobe l2wireguard adds them beside it",
        )


def check_host(system: System) -> Iterator[Finding]:
    """Permission and clock."""
    if not system.root:
        yield Finding(
            WARN, "permission", "not root: the state of links stays hidden", "run it with sudo"
        )
    if system.now() < EPOCH:
        yield Finding(
            FAIL,
            "clock",
            "the clock stands before 2021: peers refuse handshakes that look older than the last",
            "set the clock (timedatectl set-ntp true)",
        )
    else:
        yield Finding(
            OK, "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(system.now()))
        )


def check_link(link: Link, all_links: Sequence[Link]) -> Iterator[Finding]:
    """The link itself, its bridge and its bond."""
    name = link.name
    if not link.up:
        yield Finding(FAIL, "link", f"{name} is down", f"ip link set {name} up")
    else:
        yield Finding(OK, "link", f"{name} is up, kind {link.kind}, MTU {link.mtu}")
    if not link.master:
        return
    master = next((found for found in all_links if found.ifindex == link.master), None)
    if master is None:
        return
    if not master.up:
        yield Finding(FAIL, "master", f"{master.name} is down", f"ip link set {master.name} up")
    if master.mtu > link.mtu:
        yield Finding(
            WARN,
            "master",
            f"{master.name} has MTU {master.mtu}, above the {link.mtu} of {name}",
            f"ip link set mtu {link.mtu} dev {master.name}",
        )
    if master.kind != "bridge":
        return
    number = link.port_state
    state = PORT_STATES[number] if number is not None and number < len(PORT_STATES) else "unknown"
    if link.port_state == 3:
        yield Finding(OK, "bridge", f"{name} is a forwarding port of {master.name}")
    else:
        mend = "wait for spanning tree (30 s), or see 'bridge link'"
        if link.port_state == 4:
            mend = "spanning tree sees a loop: see 'bridge link', or set the path costs"
        yield Finding(WARN, "bridge", f"{name} is {state} in {master.name}", mend)
    ports = [found for found in all_links if found.master == master.ifindex]
    if len([port for port in ports if port.kind in KINDS]) > 1 and not master.stp:
        yield Finding(
            WARN,
            "stp",
            f"{master.name} has several tunnels and no spanning tree: two ways between the same "
            "sites are a loop",
            f"ip link set {master.name} type bridge stp_state 1",
        )


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
                OK, "owner", f"ARP, VLAN and other frames without IP go to peer {found.public_key}"
            )


def check_peer(peer: Peer, device: Device, links: Links, now: int) -> Iterator[Finding]:
    """The handshake, and why there may be none."""
    name = f"peer {peer.public_key}"
    then = peer.last_handshake[0]
    if not peer.allowed_ips:
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


def check_mtu(device: Device, link: Link, links: Links) -> Iterator[Finding]:
    """The MTU against the ways to the endpoints."""
    overhead = TUNNEL_OVERHEAD + (ETHERNET_HEADER if link.kind == L2WIREGUARD else 0)
    for peer in device.peers:
        if peer.endpoint is None:
            continue
        way = links.route_to(peer.endpoint.host.partition("%")[0])
        if way is None:
            continue
        if way.link == device.name:
            yield Finding(
                FAIL,
                "mtu",
                f"the way to {peer.endpoint} leads into the tunnel itself",
                f"add a route: ip route add {peer.endpoint.host} via GATEWAY",
            )
        elif link.mtu + overhead > way.mtu:
            yield Finding(
                WARN,
                "mtu",
                f"{link.name} has MTU {link.mtu}, {way.link} towards {peer.endpoint} has "
                f"{way.mtu}: large frames are fragmented or lost",
                f"ip link set mtu {way.mtu - overhead} dev {link.name}",
            )
        else:
            yield Finding(OK, "mtu", f"{link.mtu} + {overhead} fits {way.link} ({way.mtu})")


def check_counters(name: str, counters: dict[str, int]) -> Iterator[Finding]:
    """What the driver has counted as wrong (ethtool -S)."""
    for counter in _BAD_COUNTERS:
        if counters.get(counter):
            yield Finding(
                WARN,
                "counters",
                f"{counter} is {counters[counter]}",
                f"both ends need the same l2wg version; see 'ethtool -S {name}'",
            )


def examine(names: Sequence[str], links: Links, system: System) -> Iterator[Finding]:
    """All findings, from the module to the tunnels. `names` may be empty: every tunnel."""
    from .netlink.device import get_device

    yield from check_module(system)
    yield from check_host(system)
    all_links = links.all()
    known = Names()
    tunnels = [link for link in all_links if link.kind in KINDS]
    if not names and not tunnels:
        yield Finding(WARN, "link", "there is no tunnel", "l2wgctl up IFACE")
    for name in names or [link.name for link in tunnels]:
        link = next((found for found in all_links if found.name == name), None)
        if link is None:
            yield Finding(FAIL, "link", f"{name} does not exist", f"l2wgctl up {name}")
            continue
        if link.kind not in KINDS:
            yield Finding(
                FAIL,
                "link",
                f"{name} is of kind {link.kind or 'physical'}, not wireguard or l2wireguard",
                "name a tunnel: l2wgctl show interfaces",
            )
            continue
        yield from check_link(link, all_links)
        try:
            device = get_device(name)
        except KernelError as error:
            problem = error.problems[0]
            yield Finding(FAIL, "device", problem.what, problem.hint)
            continue
        named = known.of(name)
        yield from check_device(device, link)
        for peer in device.peers:
            for finding in check_peer(peer, device, links, int(system.now())):
                yield finding._replace(name=named.get(peer.public_key))
        yield from check_mtu(device, link, links)
        yield from check_counters(name, links.counters(name))


def render_finding(finding: Finding, colour: bool) -> str:
    """One line of text."""
    from .render import BOLD, GREEN, RED, RESET, YELLOW

    level = f"{finding.level:<4}"
    if colour:
        shade = {OK: GREEN, WARN: YELLOW, FAIL: RED}[finding.level]
        level = f"{BOLD}{shade}{level}{RESET}"
    mend = f" ({finding.mend})" if finding.mend else ""
    check = f"{finding.check} ({finding.name})" if finding.name else finding.check
    return f"{level} {check}: {finding.what}{mend}\n"


def cmd_doctor(args: argparse.Namespace) -> int:
    """Check the host and its tunnels; 1 when anything is FAIL."""
    import sys

    from .netlink.link import Links
    from .output import colour, print_json

    failed = False
    found: list[Finding] = []
    with Links() as links:
        try:
            for finding in examine([args.interface] if args.interface else [], links, System()):
                failed = failed or finding.level == FAIL
                found.append(finding)
                if not args.json:
                    sys.stdout.write(render_finding(finding, colour()))
        except L2wgError:
            if not args.json:
                sys.stdout.flush()
            raise
    if args.json:
        print_json({"ok": not failed, "checks": [finding._asdict() for finding in found]})
    return 1 if failed else 0

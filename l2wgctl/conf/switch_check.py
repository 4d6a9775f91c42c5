# SPDX-License-Identifier: GPL-2.0
"""What cannot work on a switch, or will not do what is probably meant. Pure, but for `siblings`,
which reads the other files of the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError, L2wgError, Problem
from ..model import L2WIREGUARD, Key, Peer
from ..switch import PEER_DEFAULTS, PeerOptions
from .parse import Config, parse
from .switch import own_addresses, wanted_link
from .switch_values import host_address
from .values import masked, split_network

#: Bytes: the MTU of a link on a path of 1500, less one VLAN tag.
ACCESS_MTU = 1402
HOST_MAX, MACS_MAX, VLANS_MAX = 64, 1024, 256


def _problem(config: Config, line: int, code: str, what: str, hint: str, warning: bool) -> Problem:
    return Problem(f"{config.where}:{line}:1", what, hint, warning, line, 1, code)


def _peers(config: Config) -> Iterator[tuple[int, Peer, PeerOptions]]:
    """Line, peer, and options with the defaults."""
    assert config.switch is not None
    for line, peer in zip(config.peer_lines, config.device.peers):
        given = config.switch.peers.get(peer.public_key, PeerOptions())
        yield line, peer, given.over(PEER_DEFAULTS)


def _holds(ranges: tuple[tuple[int, int], ...], vlan: int) -> bool:
    return any(first <= vlan <= last for first, last in ranges)


def refused(config: Config) -> Iterator[Problem]:
    """Mistakes: what the kernel refuses, and what could never work."""
    if config.switch is None:
        return
    options = config.switch.options
    for key, values, most in (
        ("HostMACs", options.host_macs, HOST_MAX),
        ("HostAddresses", wanted_link(config, config.switch).host_addresses, HOST_MAX),
    ):
        if len(values or ()) > most:
            line = config.key_lines.get(key.lower(), 1)
            with_own = " with those of Address and BridgeAddress" if key == "HostAddresses" else ""
            what = f"{key} has {len(values or ())} items{with_own}, and a switch takes {most}"
            yield _problem(config, line, "limit", what, "leave some out", False)
    for line, _, peer in _peers(config):
        macs, vlans = peer.allowed_macs or (), peer.allowed_vlans or ()
        for key, count, most in (
            ("AllowedMACs", len(macs), MACS_MAX),
            ("AllowedVLANs", len(vlans), VLANS_MAX),
        ):
            if count > most:
                what = f"{key} has {count} items, and a peer takes {most}"
                yield _problem(config, line, "limit", what, "leave some out", False)
        for code, what, hint in contradictions(peer, config.device.fwmark):
            yield _problem(config, line, code, what, hint, False)


def contradictions(peer: PeerOptions, fwmark: int | None) -> Iterator[tuple[str, str, str]]:
    """Code, what and hint where options of a peer cannot work together.

    :param peer: all of them.
    :param fwmark: the link's.
    """
    vlans = peer.allowed_vlans or ()
    if peer.pvid and vlans and not _holds(vlans, peer.pvid):
        what = f"PVID {peer.pvid} is not in AllowedVLANs: the peer's untagged frames are dropped"
        yield "pvid", what, f"add {peer.pvid} to AllowedVLANs, or leave PVID out"
    if peer.mark and peer.mark == fwmark:
        what = f"Mark 0x{peer.mark:x} is the link's FwMark: what the peer sends would be taken "
        yield "mark", what + "for the link's own outer packets", "choose another Mark"


def lint(config: Config) -> Iterator[Problem]:
    """Warnings about a switch."""
    peers = config.device.peers
    if config.switch is None:
        return
    for line, peer in zip(config.peer_lines, peers):
        wide = next((ip for ip in peer.allowed_ips if not ip.prefix), None)
        if wide is not None:
            what = f"AllowedIPs {wide} binds nothing: on a switch, MAC addresses pick the peer"
            hint = "write the addresses that this peer alone may use, or leave AllowedIPs out"
            yield _problem(config, line, "binds-nothing", what, hint, True)
            break
    bound: dict[str, int] = {}
    for line, _, options in _peers(config):
        for mac in options.allowed_macs or ():
            first = bound.setdefault(mac, line)
            if first != line:
                what = f"AllowedMACs {mac} is also given to the peer of line {first}"
                hint = "both may use it, as for VRRP and CARP; else give it to one of them"
                yield _problem(config, line, "mac-twice", what, hint, True)
        if options.max_macs == 0 and not options.allowed_macs:
            what = "MaxMACs = 0 without AllowedMACs: all that the peer sends is dropped"
            hint = "list its MACs in AllowedMACs"
            yield _problem(config, line, "strict", what, hint, True)
        for mac in options.allowed_macs or ():
            own = "this link's own MACAddress" if mac == config.link.mac_address else None
            if mac in (config.switch.options.host_macs or ()):
                own = "this host's, by HostMACs"
            if own:
                what, hint = f"AllowedMACs {mac} is {own}", "no peer may use it: leave it out"
                yield _problem(config, line, "own-mac", what, hint, True)
    yield from _own_addresses(config)
    yield from _access(config)


def _own_addresses(config: Config) -> Iterator[Problem]:
    """AllowedIPs that are bound to the host, which comes first (kernel/l2wg_claim.c)."""
    assert config.switch is not None
    own: dict[int, dict[bytes, str]] = {}
    for text in wanted_link(config, config.switch).host_addresses or ():
        address, prefix = split_network(text)
        own.setdefault(prefix, {})[address] = text
    for line, peer, _ in _peers(config):
        for ip in peer.allowed_ips:
            for prefix, networks in own.items():
                # by IPv4 and IPv6 addresses, which differ in length
                holder = networks.get(masked(ip.address, prefix)) if prefix <= ip.prefix else None
                if holder is not None:
                    what = f"AllowedIPs {ip} is this host's own, by its address {holder}"
                    if holder not in own_addresses(config.link):
                        what = f"AllowedIPs {ip} is this host's own, by HostAddresses {holder}"
                    hint = "no peer may use it: leave it out there, or here"
                    yield _problem(config, line, "own-address", what, hint, True)


def _access(config: Config) -> Iterator[Problem]:
    """Access ports beside trunks: a frame gets 4 bytes longer on its way."""
    mtu = config.link.mtu
    listed = list(_peers(config))
    trunk = any(
        first < last or first not in (0, options.pvid)
        for _, _, options in listed
        for first, last in options.allowed_vlans or ()
    )
    access = next((line for line, _, options in listed if options.pvid), None)
    if trunk and access is not None and (mtu is None or mtu > ACCESS_MTU):
        what = f"a frame of more than {ACCESS_MTU} bytes of a peer with PVID does not fit a trunk"
        hint = f"MTU = {ACCESS_MTU} in the peer's file, and here"
        yield _problem(config, access, "access-mtu", what, hint, True)


def advice(config: Config) -> Iterator[Problem]:
    """What `check` alone says: true of many files that are well."""
    if config.switch is None:
        if config.link.kind == L2WIREGUARD and len(config.device.peers) > 1:
            several = len(config.device.peers)
            what = f"ARP and broadcasts of this link reach one of its {several} peers"
            hint = "Switch = yes makes one Ethernet of them all"
            yield _problem(config, config.peer_lines[1], "several-peers", what, hint, True)
        return
    silent = [line for line, peer, _ in _peers(config) if peer.endpoint is None]
    if silent:
        count = "1 peer has" if len(silent) == 1 else f"{len(silent)} peers have"
        what = f"{count} no Endpoint, and cannot be reached before having spoken"
        hint = "PersistentKeepalive = 25 in its own file, or Endpoint here"
        yield _problem(config, silent[0], "no-endpoint", what, hint, True)
    own = wanted_link(config, config.switch).host_addresses or ()
    for vlan in config.link.vlans:
        for address in vlan.addresses:
            bare = host_address(address.partition("/")[0])
            if bare not in own:
                name = f"VLAN{vlan.label}.Address"
                what = f"{name} {address} can be claimed by every peer in this VLAN"
                hint = f"HostAddresses = {bare.partition('/')[0]}, which holds in all VLANs"
                line = config.key_lines.get(name.lower(), 1)
                yield _problem(config, line, "vlan-address", what, hint, True)
    yield from _two_hubs(config)


def _relayed(config: Config) -> dict[Key, int]:
    if config.switch is None:
        return {}
    return {peer.public_key: line for line, peer, options in _peers(config) if options.relay}


def _two_hubs(config: Config) -> Iterator[Problem]:
    """Another file of the folder that relays for the same peers: a loop."""
    relayed = _relayed(config)
    if not relayed or not config.where.endswith(".conf"):
        return
    here = Path(config.where)
    for path in sorted(here.parent.glob("*.conf")):
        if path.name == here.name or not path.is_file():  # a FIFO would keep us waiting
            continue
        try:
            other = _relayed(parse(path.read_text(errors="replace"), str(path)))
        except (ConfigError, L2wgError, OSError):
            continue
        both = sorted(relayed[key] for key in relayed.keys() & other.keys())
        if both:
            what = f"{path.name} relays for this peer, too: two hubs of one spoke are a loop"
            hint = "a spoke belongs to one hub: take Relay out of one file"
            yield _problem(config, both[0], "two-hubs", what, hint, True)

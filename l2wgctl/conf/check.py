# SPDX-License-Identifier: GPL-2.0
"""Warnings about a configuration that parses but will not do what is probably meant. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import ConfigError, L2wgError, Problem
from ..grammar import PREFIX_MIN
from ..model import L2WIREGUARD, AllowedIP, Endpoint, Peer
from ..sockets import AF_INET, AF_INET6, inet_pton
from . import keyfiles, meshsection, preflight, switch_check
from .files import locate
from .parse import Config, parse
from .values import masked

#: The host that `check` asks.
HOST = preflight.Host()
#: Destinations that an Ethernet link needs beyond its hosts, and what fails without them.
_NEEDED = (
    ("255.255.255.255", 32, "DHCP and other broadcasts do not cross", "0.0.0.0/0"),
    ("ff02::", 16, "IPv6 neighbour discovery does not cross", "::/0, or ff02::/16"),
    ("fe80::", 10, "IPv6 neighbour discovery is not answered", "::/0, or fe80::/10"),
)
NO_OWNER = "no peer's AllowedIPs hold 0.0.0.0: no ARP, VLAN or other frame without IP will cross"
NO_OWNER_HINT = "add 0.0.0.0/0 (or 0.0.0.0/32) to the AllowedIPs of the peer that shall have them"


def covers(network: AllowedIP, address: bytes, prefix: int) -> bool:
    """Whether the network holds all of address/prefix."""
    return (
        len(network.address) == len(address)
        and network.prefix <= prefix
        and masked(address, network.prefix) == masked(network.address, network.prefix)
    )


def owner(peers: tuple[Peer, ...], text: str, prefix: int | None = None) -> Peer | None:
    """The peer that frames to an address go to: the longest prefix that holds it, or None."""
    address = inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    bits = len(address) * 8 if prefix is None else prefix
    best: Peer | None = None
    longest = -1
    for peer in peers:
        for network in peer.allowed_ips:
            # If two networks are equal, the later one wins, as in the kernel.
            if network.prefix >= longest and covers(network, address, bits):
                best, longest = peer, network.prefix
    return best


#: Keys that only somebody writes who wants an Ethernet link.
_ETHERNET_KEYS = ("kind", "macaddress", "bridge", "master", "vlans", "ipv6linklocal")


def _looks_plain(config: Config) -> str | None:
    """What makes a file look as if it were meant for a plain WireGuard link, or None."""
    link, peers = config.link, config.device.peers
    if any(key in config.key_lines for key in _ETHERNET_KEYS) or not peers:
        return None
    hosts = [a for a in link.addresses if a.endswith("/32") or (":" in a and a.endswith("/128"))]
    if hosts and len(hosts) == len(link.addresses):
        return f"Address {hosts[0]} is a single host's"
    default = any(not ip.prefix for peer in peers for ip in peer.allowed_ips)
    if link.dns and default and len(peers) == 1 and peers[0].endpoint:
        return "DNS, and one peer for everything"
    return None


def _is_name(endpoint: Endpoint | None) -> bool:
    if endpoint is None or ":" in endpoint.host:
        return False
    try:
        inet_pton(AF_INET, endpoint.host)
    except OSError:
        return True
    return False


def examine(
    text: str, path: str, host: preflight.Host = HOST
) -> tuple[list[Problem], list[Problem]]:
    """Errors and warnings of a file's text: all that `up` would refuse before its first step, but
    for what depends on other links."""
    try:
        config = parse(text, path)
    except ConfigError as error:
        return list(error.problems), []
    errors: list[Problem] = []
    warnings = list(config.warnings)
    name = None
    if path.endswith(".conf"):
        try:
            name, _ = locate(path)
        except L2wgError as error:
            errors += (problem._replace(code="link-name") for problem in error.problems)
    try:
        config = keyfiles.fill(config)
        warnings = list(config.warnings)
    except ConfigError as error:
        errors += error.problems
    errors += preflight.of_file(name, config)
    lacking = preflight.of_host(config, host)
    if config.link.pre_up:
        warnings += (problem._replace(warning=True) for problem in lacking)
    else:
        errors += lacking
    without_key = any(problem.code == "key-file" for problem in errors)
    warnings += (w for w in lint(config) if not (without_key and w.code == "no-private-key"))
    warnings += switch_check.advice(config)
    if config.mesh is not None:
        warnings += meshsection.unusable_files(config.mesh, config.mesh_lines, path)
    return sorted(errors, key=lambda problem: (problem.line, problem.column)), warnings


def lint(config: Config) -> Iterator[Problem]:
    """Warnings, in the order of the file."""
    peers = config.device.peers
    interface = config.key_lines

    def warn(code: str, line: int, what: str, hint: str) -> Problem:
        return Problem(f"{config.where}:{line}:1", what, hint, True, line, 1, code)

    admins = config.mesh is not None and config.mesh.node is None
    if config.device.private_key is None and not admins:
        yield warn(
            "no-private-key", 1, "[Interface] has no PrivateKey", "make one with 'l2wgctl genkey'"
        )
    if config.mesh is not None:
        yield from meshsection.lint(config.mesh, config.mesh_lines, config.where)
    link = config.link
    plain = _looks_plain(config)
    if plain:
        yield warn(
            "plain-file",
            interface.get("address", interface.get("dns", 1)),
            f"this looks like a file for a plain WireGuard link ({plain}), but without Kind it "
            "makes an Ethernet link, and no routes",
            "write Kind = wireguard into [Interface], or Kind = l2wireguard if it is meant so",
        )
    if link.bridge and link.addresses:
        yield warn(
            "address-on-port",
            interface.get("address", 1),
            f"Address on a port of bridge {link.bridge} is not reachable through the bridge",
            "use BridgeAddress",
        )
    filtering = link.bridge_vlan_filtering
    if (link.bridge_vlans or link.bridge_pvid is not None) and (
        filtering is False or (filtering is None and link.bridge_create)
    ):
        key = "BridgeVLANs" if link.bridge_vlans else "BridgePVID"
        yield warn(
            "vlan-filtering",
            interface.get(key.lower(), 1),
            f"{key} has no effect while bridge {link.bridge} does not filter VLANs",
            "add BridgeVLANFiltering = yes",
        )
    past = f"port of {link.master}" if link.master else "VLANs" if link.vlans else None
    if link.mss_clamp is not None and past:
        yield warn(
            "mss-clamp",
            interface.get("mssclamp", 1),
            f"MSSClamp has no effect on the {past}: the packets do not pass by the link's own name",
            "clamp there with nft: tcp option maxseg size set rt mtu",
        )
    yield from switch_check.lint(config)
    if link.kind == L2WIREGUARD and peers:
        if owner(peers, "0.0.0.0") is None:
            yield warn("no-owner", config.peer_lines[0], NO_OWNER, NO_OWNER_HINT)
        for text, prefix, what, hint in _NEEDED:
            if owner(peers, text, prefix) is None:
                shown = text if prefix == 32 else f"{text}/{prefix}"
                yield warn(
                    "no-group",
                    config.peer_lines[0],
                    f"no peer's AllowedIPs hold {shown}: {what}",
                    f"add {hint} to the AllowedIPs of a peer",
                )
    if link.resolve and not any(_is_name(peer.endpoint) for peer in peers):
        yield warn(
            "resolve-no-name",
            interface.get("resolve", 1),
            "Resolve is given, but no peer has an Endpoint with a name",
            "write the name of its host into Endpoint, or leave Resolve out",
        )
    named: dict[str, int] = {}
    for line, peer in zip(config.peer_lines, peers):
        if peer.name and named.setdefault(peer.name, line) != line:
            yield warn(
                "name-twice",
                line,
                f"Name '{peer.name}' is also that of the peer of line {named[peer.name]}",
                "give each its own",
            )
    for line, name, other in _names_like_keys(config):
        yield warn(
            "name-twice",
            line,
            f"Name '{name}' is also the beginning of the key of the peer of line {other}",
            "as a word of a command it is the name: choose another",
        )
    claimed: dict[tuple[bytes, int], int] = {}
    for line, peer in zip(config.peer_lines, peers):
        for ip in peer.allowed_ips:
            network = (masked(ip.address, ip.prefix), ip.prefix)
            first = claimed.setdefault(network, line)
            if first != line:
                yield warn(
                    "claimed-twice",
                    line,
                    f"AllowedIPs {AllowedIP(*network)} is also given to the peer of line {first}",
                    "the later peer gets it; give it to one of them",
                )
                claimed[network] = line


def _names_like_keys(config: Config) -> Iterator[tuple[int, str, int]]:
    """Line and Name of a peer, and the line of another one whose key begins so (`whichpeer`)."""
    peers = [*zip(config.peer_lines, config.device.peers)]
    for length in {len(peer.name) for _, peer in peers if peer.name}:
        begins = {str(peer.public_key)[:length]: (line, peer) for line, peer in peers}
        for line, peer in peers:
            other = begins.get(peer.name or "") if len(peer.name or "") == length else None
            if other is not None and other[1] is not peer and length >= PREFIX_MIN:
                yield line, peer.name or "", other[0]

# SPDX-License-Identifier: GPL-2.0
"""The keys of `[Interface]` together: the options they make, which exclude or need each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import Problem, public
from ..model import KEY_LEN, L2WGSWITCH, L2WIREGUARD, Key, LinkOptions, SecretKey, Vlan
from ..switch import GUARDS, PeerOptions, SwitchConfig, SwitchOptions
from .switch_values import joined
from .values import is_address


def link_options(
    given: Mapping[str, object],
    addresses: Mapping[tuple[int, ...], Sequence[str]],
    lines: Mapping[tuple[int, ...], int],
) -> tuple[LinkOptions, list[Problem]]:
    """The options, and what is wrong with them.

    :param given: values by the name of their field.
    :param addresses: those of each VLAN; `lines` tells where they stand.
    """
    options: dict[str, object] = {}
    for name in LinkOptions._fields:
        if name in given:
            value = given[name]
            options[name] = tuple(value) if isinstance(value, list) else value
    dns: tuple[str, ...] = options.pop("dns", ())  # type: ignore[assignment]
    options["dns"] = tuple(v for v in dns if is_address(v))
    options["dns_search"] = tuple(v for v in dns if not is_address(v))
    ids: tuple[tuple[int, ...], ...] = options.pop("vlans", ())  # type: ignore[assignment]
    problems = []
    for vlan in addresses:
        if vlan not in ids:
            label = ".".join(map(str, vlan))
            problems.append(
                Problem(
                    "",
                    f"VLAN{label}.Address is given, but VLANs does not list {label}",
                    f"add {label} to VLANs",
                    line=lines[vlan],
                    code="vlan-missing",
                )
            )
    options["vlans"] = tuple(Vlan(vlan, tuple(addresses.get(vlan, ()))) for vlan in ids)
    kind = given.get("kind", L2WGSWITCH if given.get("switch") else L2WIREGUARD)
    return LinkOptions(**{**options, "kind": kind}), problems  # type: ignore[arg-type]


def switch(
    link: LinkOptions, given: Mapping[str, object], peers: Mapping[Key, PeerOptions]
) -> SwitchConfig | None:
    """What the file says of a switch; None if the link is none."""
    if not link.switch:
        return None
    options = {name: given[name] for name in SwitchOptions._fields if name in given}
    made = {k: ordered(k, v) if isinstance(v, list) else v for k, v in options.items()}
    return SwitchConfig(SwitchOptions(**made), peers)  # type: ignore[arg-type]


def peer_options(given: Mapping[str, object]) -> PeerOptions:
    """The options of a peer, lists in the order in which the kernel tells them."""
    made = {
        name: ordered(name, value) if isinstance(value, list) else value
        for name, value in given.items()
    }
    return PeerOptions(**made)  # type: ignore[arg-type]


def ordered(field: str, value: list[object]) -> tuple[object, ...]:
    """A list of a switch's or a peer's options, in the order in which the kernel tells it."""
    if field == "allowed_vlans":
        return joined(value)  # type: ignore[arg-type]
    if field == "guards":
        return tuple(x for x in GUARDS if x in value)
    return tuple(dict.fromkeys(value))


def only_on_a_switch(link: LinkOptions, keys: Sequence[tuple[str, int]]) -> list[Problem]:
    """Keys that only a switch has, on a link that is none.

    :param keys: names and lines.
    """
    if link.switch:
        return []
    hint = "add Switch = yes to [Interface]"
    return [
        Problem("", f"{name} needs a switch", hint, line=line, code="conflict")
        for name, line in keys
    ]


def own_key(private: Key, peers: Mapping[Key, int], where: str) -> list[Problem]:
    """A peer that is this host itself.

    :param peers: the lines of the peers' sections, by public key.
    """
    if not peers:
        return []
    from ..keys import public_key

    own = public_key(SecretKey(private))
    if own not in peers:
        return []
    line = peers[own]
    what = f"the peer's PublicKey {public(own)} belongs to this link's own PrivateKey"
    hint = "write the other host's public key"
    return [Problem(f"{where}:{line}:1", what, hint, False, line, 1, "own-key")]


def note_public(link: LinkOptions, peers: Iterable[Key]) -> None:
    """Let commands be printed with the public keys of peers in them."""
    hooks = "\n".join((*link.pre_up, *link.post_up, *link.pre_down, *link.post_down))
    if len(hooks) >= KEY_LEN:
        for key in peers:
            if str(key) in hooks:
                public(key)


def conflicts(link: LinkOptions, lines: Mapping[str, int], switch: object = None) -> list[Problem]:
    """Keys that exclude or need each other.

    :param lines: where each key stands, by its lower-case name.
    :param switch: the value of Switch, None if it is not given.
    """
    found: list[Problem] = []

    def bad(name: str, what: str, hint: str) -> None:
        line = lines.get(name.lower(), 1)
        found.append(Problem("", what, hint, line=line, code="conflict"))

    if link.private_key_file is not None and "privatekey" in lines:
        what = "PrivateKey and PrivateKeyFile exclude each other"
        bad("PrivateKeyFile", what, "keep one of them")
    if switch is not None and "kind" in lines and switch != link.switch:
        what = f"Switch = {'yes' if switch else 'no'} and Kind = {link.kind} exclude each other"
        bad("Switch", what, "keep one of them")
    if not link.ethernet:
        for name, value in (
            ("MACAddress", link.mac_address),
            ("Bridge", link.bridge),
            ("Master", link.master),
            ("VLANs", link.vlans),
        ):
            if value:
                bad(name, f"{name} needs an Ethernet link", "set Kind = l2wireguard")
    if link.bridge and link.master:
        bad("Master", "Bridge and Master exclude each other", "keep one of them")
    for name, needs in (
        ("BridgeCreate", link.bridge_create or None),
        ("BridgeAddress", link.bridge_addresses or None),
        ("BridgePorts", link.bridge_ports or None),
        ("BridgeSTP", link.bridge_stp),
        ("BridgeVLANFiltering", link.bridge_vlan_filtering),
        ("BridgePVID", link.bridge_pvid),
        ("BridgeVLANs", link.bridge_vlans or None),
    ):
        if needs is not None and not link.bridge:
            bad(name, f"{name} needs Bridge", "add Bridge = br0")
    if link.bridge and link.bridge in link.bridge_ports:
        bad("BridgePorts", f"BridgePorts lists the bridge {link.bridge}", "leave it out")
    if len(set(link.bridge_ports)) < len(link.bridge_ports):
        bad("BridgePorts", "BridgePorts lists a link twice", "keep one of them")
    taken = [link.bridge_pvid or 0]
    for first, last in link.bridge_vlans:
        if any(first <= vid <= last for vid in taken):
            bad("BridgeVLANs", "BridgeVLANs lists an id twice, or that of BridgePVID", "keep one")
            break
        taken += range(first, last + 1)
    if len({vlan.ids for vlan in link.vlans}) < len(link.vlans):
        bad("VLANs", "VLANs lists an id twice", "keep one of them")
    return found

# SPDX-License-Identifier: GPL-2.0
"""Link options as the text of a file, for the tests that go there and back again."""

from __future__ import annotations

from collections.abc import Sequence

from l2wgctl.model import LinkOptions


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def format_link(link: LinkOptions) -> str:
    """The lines of `[Interface]` that `wg` does not know, without the section's name."""
    lines: list[str] = []

    def add(name: str, value: object) -> None:
        lines.append(f"{name} = {value}\n")

    def each(name: str, found: Sequence[str]) -> None:
        for value in found:
            add(name, value)

    if link.private_key_file is not None:
        add("PrivateKeyFile", link.private_key_file)
    add("Kind", link.kind)
    for name, value in (("MACAddress", link.mac_address), ("MTU", link.mtu)):
        if value is not None:
            add(name, value)
    each("Address", link.addresses)
    each("DNS", link.dns)
    each("DNS", link.dns_search)
    for name, text in (("Table", link.table), ("Bridge", link.bridge)):
        if text is not None:
            add(name, text)
    if link.bridge_create:
        add("BridgeCreate", _yes(link.bridge_create))
    each("BridgeAddress", link.bridge_addresses)
    if link.bridge_ports:
        add("BridgePorts", ", ".join(link.bridge_ports))
    for name, state in (
        ("BridgeSTP", link.bridge_stp),
        ("BridgeVLANFiltering", link.bridge_vlan_filtering),
    ):
        if state is not None:
            add(name, _yes(state))
    if link.bridge_pvid is not None:
        add("BridgePVID", link.bridge_pvid or "off")
    if link.bridge_vlans:
        ranges = (str(a) if a == b else f"{a}-{b}" for a, b in link.bridge_vlans)
        add("BridgeVLANs", ", ".join(ranges))
    if link.mss_clamp is not None:
        add("MSSClamp", link.mss_clamp or "yes")
    if link.master is not None:
        add("Master", link.master)
    if link.vlans:
        add("VLANs", ", ".join(vlan.label for vlan in link.vlans))
    for vlan in link.vlans:
        each(f"VLAN{vlan.label}.Address", vlan.addresses)
    if link.ipv6_link_local is not None:
        add("IPv6LinkLocal", link.ipv6_link_local)
    if link.resolve is not None:
        add("Resolve", link.resolve)
    if link.save_config:
        add("SaveConfig", _yes(link.save_config))
    each("PreUp", link.pre_up)
    each("PostUp", link.post_up)
    each("PreDown", link.pre_down)
    each("PostDown", link.post_down)
    return "".join(lines)

# SPDX-License-Identifier: GPL-2.0
"""The keys of a configuration file: one row each.

The row drives the parser, the error texts, `strip`, `save`, the completions and the test that
every key is in l2wg.conf(5).
"""

from __future__ import annotations

import re
from typing import Callable, NamedTuple

from . import meshvalues, values
from . import switch_values as switches

#: The key takes one value and may be given once.
ONCE = "once"
#: Comma-separated values; the key may be given several times.
LIST = "list"
#: One value a line, taken as it stands (commands).
LINES = "lines"


class ConfigKey(NamedTuple):
    """`name` as it is documented, `field` of the model, `parse` for one value, `how` often.

    `wg` says whether `wg setconf` knows the key; `strip` leaves the others out. `empty` says
    whether an empty value means the same as no line. It does not for a key that somebody forgot to
    fill in, nor where it could mean yes as well as no. `switch`: only a link of kind l2wgswitch has
    the key; its `field` is one of `SwitchOptions` or `PeerOptions`.
    """

    name: str
    field: str
    parse: Callable[[str], object]
    how: str = ONCE
    wg: bool = False
    empty: bool = True
    switch: bool = False

    @property
    def word(self) -> str:
        """What the command line calls it: `allowed-macs` for AllowedMACs."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", self.name).lower()


def _text(text: str) -> str:
    return text


INTERFACE = (
    ConfigKey("PrivateKey", "private_key", values.secret_key, wg=True, empty=False),
    ConfigKey("PrivateKeyFile", "private_key_file", values.path, empty=False),
    ConfigKey("ListenPort", "listen_port", values.port, wg=True),
    ConfigKey("FwMark", "fwmark", values.fwmark, wg=True),
    ConfigKey("Kind", "kind", values.kind, empty=False),
    ConfigKey("Switch", "switch", values.boolean, empty=False),
    ConfigKey("MACAddress", "mac_address", values.mac_address),
    ConfigKey("Address", "addresses", values.interface_address, LIST),
    ConfigKey("MTU", "mtu", values.mtu),
    ConfigKey("DNS", "dns", values.name_server, LIST),
    ConfigKey("Table", "table", values.table),
    ConfigKey("Bridge", "bridge", values.interface_name),
    ConfigKey("BridgeCreate", "bridge_create", values.boolean, empty=False),
    ConfigKey("BridgeAddress", "bridge_addresses", values.interface_address, LIST),
    ConfigKey("BridgePorts", "bridge_ports", values.interface_name, LIST),
    ConfigKey("BridgeSTP", "bridge_stp", values.boolean, empty=False),
    ConfigKey("BridgeVLANFiltering", "bridge_vlan_filtering", values.boolean, empty=False),
    ConfigKey("BridgePVID", "bridge_pvid", values.pvid),
    ConfigKey("BridgeVLANs", "bridge_vlans", values.vlan_range, LIST),
    ConfigKey("MSSClamp", "mss_clamp", values.mss, empty=False),
    ConfigKey("Master", "master", values.interface_name),
    ConfigKey("VLANs", "vlans", values.vlan_ids, LIST),
    ConfigKey("IPv6LinkLocal", "ipv6_link_local", values.link_local),
    ConfigKey("Resolve", "resolve", values.resolve_interval),
    ConfigKey("Ageing", "ageing", switches.ageing, switch=True),
    ConfigKey("MaxEntries", "max_macs", switches.entries, switch=True),
    ConfigKey("MaxLocal", "max_local", switches.entries, switch=True),
    ConfigKey("NewPeers", "new_peers", switches.new_peers, switch=True),
    ConfigKey("HostMACs", "host_macs", values.mac_address, LIST, switch=True),
    ConfigKey("HostAddresses", "host_addresses", switches.host_address, LIST, switch=True),
    ConfigKey("PreUp", "pre_up", _text, LINES),
    ConfigKey("PostUp", "post_up", _text, LINES),
    ConfigKey("PreDown", "pre_down", _text, LINES),
    ConfigKey("PostDown", "post_down", _text, LINES),
    ConfigKey("SaveConfig", "save_config", values.boolean, empty=False),
)
PEER = (
    ConfigKey("Name", "name", values.peer_name),
    ConfigKey("PublicKey", "public_key", values.public_key, wg=True, empty=False),
    ConfigKey("PresharedKey", "preshared_key", values.preshared_key, wg=True),
    ConfigKey("PresharedKeyFile", "preshared_key_file", values.path, empty=False),
    ConfigKey("AllowedIPs", "allowed_ips", values.allowed_ip, LIST, wg=True),
    ConfigKey("Endpoint", "endpoint", values.endpoint, wg=True),
    ConfigKey("PersistentKeepalive", "persistent_keepalive", values.keepalive, wg=True),
    ConfigKey("AllowedMACs", "allowed_macs", values.mac_address, LIST, switch=True),
    ConfigKey("MaxMACs", "max_macs", switches.max_macs, switch=True),
    ConfigKey("AllowedVLANs", "allowed_vlans", switches.vlans, LIST, switch=True),
    ConfigKey("PVID", "pvid", values.pvid, switch=True),
    ConfigKey("Relay", "relay", values.boolean, empty=False, switch=True),
    ConfigKey("Isolated", "isolated", values.boolean, empty=False, switch=True),
    ConfigKey("Router", "router", values.boolean, empty=False, switch=True),
    ConfigKey("Guard", "guards", switches.guard, LIST, switch=True),
    ConfigKey("Mark", "mark", values.fwmark, switch=True),
)
#: The mesh that the link belongs to. AllowedIPs and so on are what the host asks for itself.
MESH = (
    ConfigKey("Engine", "engines", meshvalues.engine, LIST),
    ConfigKey("CA", "ca", values.path, empty=False),
    ConfigKey("Certificate", "certificate", values.path, empty=False),
    ConfigKey("Key", "key", values.path, empty=False),
    ConfigKey("User", "user", meshvalues.user, empty=False),
    ConfigKey("PasswordFile", "password_file", values.path, empty=False),
    ConfigKey("TrustedKeys", "trusted_keys", meshvalues.trusted_key, LIST),
    ConfigKey("Node", "node", meshvalues.mesh_name, empty=False),
    ConfigKey("Endpoints", "endpoints", meshvalues.reachable, LIST),
    ConfigKey("Behind", "behind", meshvalues.mesh_name, empty=False),
    ConfigKey("Hub", "hub", values.boolean, empty=False),
    ConfigKey("AllowedIPs", "allowed_ips", meshvalues.claimed_network, LIST),
    ConfigKey("AllowedMACs", "allowed_macs", values.mac_address, LIST),
    ConfigKey("MaxMACs", "max_macs", switches.max_macs, empty=False),
    ConfigKey("AllowedVLANs", "allowed_vlans", switches.vlans, LIST),
)
#: How the addresses of a VLAN are documented; `VLAN_ADDRESS` is what matches them.
VLAN_ADDRESS_NAME = "VLAN<id>.Address"
VLAN_ADDRESS = re.compile(r"vlan([0-9.]+)\.address", re.IGNORECASE)
SECTIONS = {"interface": INTERFACE, "peer": PEER, "mesh": MESH}
#: As they are written, in the order in which people are told of them.
HEADERS = {"interface": "[Interface]", "peer": "[Peer]", "mesh": "[Mesh]"}
BY_NAME = {section: {key.name.lower(): key for key in keys} for section, keys in SECTIONS.items()}


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that `word` is probably meant to be, else None.

    That is the one known word which ends or begins with it (`Keepalive`, `STP`), or else one that
    differs by a slip or two. A wrong guess is worse than none.
    """
    from difflib import get_close_matches

    lower = word.lower()
    if len(lower) >= 3:
        for fits in (str.endswith, str.startswith):
            whole = [name for name in known if fits(name.lower(), lower)]
            if len(whole) == 1:
                return whole[0]
    found = get_close_matches(lower, [name.lower() for name in known], 1, 0.75)
    return next((name for name in known if [name.lower()] == found), None)

# SPDX-License-Identifier: GPL-2.0
"""The keys of a configuration file: one row each.

The row drives the parser, the error texts, `strip`, `save`, the completions and the test that
every key is in l2wg.conf(5).
"""

from __future__ import annotations

import re
from typing import Callable, NamedTuple

from . import values

#: The key takes one value and may be given once.
ONCE = "once"
#: Comma-separated values; the key may be given several times.
LIST = "list"
#: One value a line, taken as it stands (commands).
LINES = "lines"


class ConfigKey(NamedTuple):
    """`name` as it is documented, `field` of the model, `parse` for one value, `how` often.

    `wg` tells whether `wg setconf` knows the key; the others are left out by `strip`.
    """

    name: str
    field: str
    parse: Callable[[str], object]
    how: str = ONCE
    wg: bool = False


def _text(text: str) -> str:
    return text


INTERFACE = (
    ConfigKey("PrivateKey", "private_key", values.secret_key, wg=True),
    ConfigKey("ListenPort", "listen_port", values.port, wg=True),
    ConfigKey("FwMark", "fwmark", values.fwmark, wg=True),
    ConfigKey("Kind", "kind", values.kind),
    ConfigKey("MACAddress", "mac_address", values.mac_address),
    ConfigKey("Address", "addresses", values.interface_address, LIST),
    ConfigKey("MTU", "mtu", values.mtu),
    ConfigKey("DNS", "dns", _text, LIST),
    ConfigKey("Table", "table", values.table),
    ConfigKey("Bridge", "bridge", values.interface_name),
    ConfigKey("BridgeCreate", "bridge_create", values.boolean),
    ConfigKey("BridgeAddress", "bridge_addresses", values.interface_address, LIST),
    ConfigKey("Master", "master", values.interface_name),
    ConfigKey("VLANs", "vlans", values.vlan_ids, LIST),
    ConfigKey("IPv6LinkLocal", "ipv6_link_local", values.link_local),
    ConfigKey("PreUp", "pre_up", _text, LINES),
    ConfigKey("PostUp", "post_up", _text, LINES),
    ConfigKey("PreDown", "pre_down", _text, LINES),
    ConfigKey("PostDown", "post_down", _text, LINES),
    ConfigKey("SaveConfig", "save_config", values.boolean),
)
PEER = (
    ConfigKey("PublicKey", "public_key", values.public_key, wg=True),
    ConfigKey("PresharedKey", "preshared_key", values.preshared_key, wg=True),
    ConfigKey("AllowedIPs", "allowed_ips", values.allowed_ip, LIST, wg=True),
    ConfigKey("Endpoint", "endpoint", values.endpoint, wg=True),
    ConfigKey("PersistentKeepalive", "persistent_keepalive", values.keepalive, wg=True),
)
#: How the addresses of a VLAN are documented; `VLAN_ADDRESS` is what matches them.
VLAN_ADDRESS_NAME = "VLAN<id>.Address"
VLAN_ADDRESS = re.compile(r"vlan([0-9.]+)\.address", re.IGNORECASE)
SECTIONS = {"interface": INTERFACE, "peer": PEER}
BY_NAME = {section: {key.name.lower(): key for key in keys} for section, keys in SECTIONS.items()}


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that `word` is probably meant to be, else None."""
    from difflib import get_close_matches

    found = get_close_matches(word.lower(), [name.lower() for name in known], 1, 0.6)
    return next((name for name in known if [name.lower()] == found), None)

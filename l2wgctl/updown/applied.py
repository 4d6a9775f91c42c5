# SPDX-License-Identifier: GPL-2.0
"""With which options a link has come up.

Commands, name servers and the like cannot be read back from the kernel. So `up` remembers them, as
digests, because a command may hold a password. Addresses and the like can be read back, but not who
has set them. So their values are remembered, and `reload` takes away only what the file has given.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from ..conf.keys import INTERFACE
from ..conf.preflight import all_vlans, vlan_name
from ..model import LinkOptions
from . import memory

ABOUT = "applied"
#: Stands before the names of values, to tell them from digests.
_VALUE = "="
#: Options that `differences` reads from the kernel, or that take effect without the link.
_COMPARED = {
    *("kind", "mac_address", "addresses", "mtu", "bridge", "bridge_create", "bridge_addresses"),
    *("master", "vlans", "resolve", "save_config", "private_key_file"),
}


def _digests(link: LinkOptions) -> dict[str, str]:
    """Digests of the other options, by the names of their keys."""
    found: dict[str, str] = {}
    for key in INTERFACE:
        if key.field in LinkOptions._fields and key.field not in _COMPARED:
            value = getattr(link, key.field)
            if key.field == "dns":
                value = (link.dns, link.dns_search)
            found[key.name] = sha256(repr(value).encode(errors="surrogateescape")).hexdigest()
    return found


def _values(name: str, link: LinkOptions) -> dict[str, str]:
    """The values that `up` sets and `reload` may take away, by the names of their keys."""
    given = {
        "Address": " ".join(link.addresses),
        "Bridge": link.bridge or "",
        "Master": link.master or "",
        "MACAddress": link.mac_address or "",
        "MTU": str(link.mtu or ""),
        "VLANs": " ".join(vlan_name(name, vlan.ids) for vlan in all_vlans(link.vlans)),
    }
    given |= {f"VLAN{vlan.label}.Address": " ".join(vlan.addresses) for vlan in link.vlans}
    return {_VALUE + key: value for key, value in given.items() if value}


def remember(name: str, link: LinkOptions) -> None:
    """Remember the options with which a link has come up."""
    memory.remember(name, ABOUT, {**_digests(link), **_values(name, link)})


def adopt(name: str, link: LinkOptions, rest: Iterable[str]) -> None:
    """Remember the values that `reload` has brought about.

    :param rest: keys that take a new link, and stay as they were.
    """
    before = memory.recall(name, ABOUT)
    stays = {_VALUE + key for key in rest}
    kept = {k: v for k, v in before.items() if not k.startswith(_VALUE) or k in stays}
    now = {key: value for key, value in _values(name, link).items() if key not in stays}
    if {**kept, **now} != before:
        memory.remember(name, ABOUT, {**kept, **now})


def values(name: str) -> dict[str, list[str]]:
    """What `up` or `reload` has set on a link, by the names of the keys; empty if unknown."""
    before = memory.recall(name, ABOUT)
    return {k[len(_VALUE) :]: v.split() for k, v in before.items() if k.startswith(_VALUE)}


def forget(name: str) -> None:
    """Forget the options of a link that has gone."""
    memory.remember(name, ABOUT, {})


def changed(name: str, link: LinkOptions) -> list[str]:
    """The keys whose values have changed since the link came up; none if that is unknown."""
    before = memory.recall(name, ABOUT)
    now = _digests(link)
    return [key for key in now if key in before and now[key] != before[key]]

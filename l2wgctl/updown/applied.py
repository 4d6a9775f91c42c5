# SPDX-License-Identifier: GPL-2.0
"""Which options of a link have changed in its file since the link came up.

Commands, name servers and the like cannot be read back from the kernel. So `up` remembers them, as
digests, because a command may hold a password.
"""

from __future__ import annotations

from hashlib import sha256

from ..conf.keys import INTERFACE
from ..model import LinkOptions
from . import memory

ABOUT = "applied"
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


def remember(name: str, link: LinkOptions) -> None:
    """Remember the options with which a link has come up."""
    memory.remember(name, ABOUT, _digests(link))


def forget(name: str) -> None:
    """Forget the options of a link that has gone."""
    memory.remember(name, ABOUT, {})


def changed(name: str, link: LinkOptions) -> list[str]:
    """The keys whose values have changed since the link came up; none if that is unknown."""
    before = memory.recall(name, ABOUT)
    now = _digests(link)
    return [key for key in now if key in before and now[key] != before[key]]

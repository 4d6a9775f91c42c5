# SPDX-License-Identifier: GPL-2.0
"""Which of the options that a link came up with have changed in its file since.

Commands, name servers and the like cannot be read back from the kernel. So `up` remembers what they
were, as digests: a command may hold a password.
"""

from __future__ import annotations

from hashlib import sha256

from ..conf.keys import INTERFACE
from ..model import LinkOptions
from . import memory

ABOUT = "applied"
#: What `differences` reads from the kernel, and what takes effect without the link.
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
    """Note the options that a link has come up with."""
    memory.remember(name, ABOUT, _digests(link))


def forget(name: str) -> None:
    """The link has gone."""
    memory.remember(name, ABOUT, {})


def changed(name: str, link: LinkOptions) -> list[str]:
    """The keys whose values are not those that the link came up with; none if nobody knows."""
    before = memory.recall(name, ABOUT)
    now = _digests(link)
    return [key for key in now if key in before and now[key] != before[key]]

# SPDX-License-Identifier: GPL-2.0
"""Whether a link is a switch. Of every `show` it asks this first, so it loads nothing more."""

from __future__ import annotations

from os import fsencode

from . import channel

#: kernel/uapi/l2wg.h; `switch_uapi` has the rest.
GENL_NAME, GENL_VERSION = "l2wg", 1
LINK_GET, LINK_IFNAME = 1, 2


def is_switch(name: str) -> bool:
    """Whether there is a link of that name and it is a switch, as far as this user may know."""
    if not channel.has_switches():
        return False
    try:
        connection = channel.Channel(channel.open_socket())
    except OSError:
        return False
    try:
        family = connection.family_id(GENL_NAME)
        if family is None:
            return False
        request = channel.attribute(LINK_IFNAME, fsencode(name) + b"\0")
        connection.ask(family, LINK_GET, GENL_VERSION, 0, request)
    except channel.Refused:
        return False
    finally:
        connection.sock.close()
    return True

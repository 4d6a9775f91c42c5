# SPDX-License-Identifier: GPL-2.0
"""Which peer is meant: by its key, the beginning of it, its Name, or its handle."""

from __future__ import annotations

import errno
from collections.abc import Iterable

from .conf import values
from .conf.names import Names
from .errors import KernelError, UsageError, ValueProblem, public
from .grammar import PREFIX_MIN
from .model import Key


def which(text: str, link: str, doing: str) -> Key:
    """The key of a peer of a link. A whole key need not be one of its peers.

    :param doing: the command.
    :raises UsageError: none is meant, or several.
    """
    try:
        return values.public_key(text)
    except ValueProblem as problem:
        known = _known(link)
        names = Names().of(link)
        found = [key for key in known if _meant(text, key, names.get(key))]
        exact = [key for key in found if names.get(key) == text]
        if len(exact or found) == 1:
            return (exact or found)[0]
        if found:
            keys = " and ".join(public(key) for key in found[:2])
            what = f"{doing}: peer '{text}' may be {keys}"
            raise UsageError(what, "write more of the key") from None
        what = f"{doing}: peer {problem.what}, "
        what += f"and no peer of {link} has this name, handle or beginning"
        raise UsageError(what, f"see 'l2wgctl show {link}'") from None


def _known(link: str) -> Iterable[Key]:
    from .netlink.device import get_device
    from .netlink.switch_probe import is_switch

    try:
        found = {peer.public_key: None for peer in get_device(link).peers}
    except KernelError as error:
        if error.errno != errno.ENODEV:
            raise
        return ()
    if is_switch(link):
        from .netlink.switch import Switches

        with Switches() as switches:
            found |= {state.public_key: None for state in switches.peers(link)}
    return found


def _meant(text: str, key: Key, name: str | None) -> bool:
    if name == text:
        return True
    if ":" in text:  # which no key has
        from .sockets import AF_INET6, inet_pton
        from .switch import handle

        try:
            return inet_pton(AF_INET6, text) == inet_pton(AF_INET6, handle(key))
        except (OSError, ValueError):
            return False
    return len(text) >= PREFIX_MIN and str(key).startswith(text)

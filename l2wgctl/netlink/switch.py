# SPDX-License-Identifier: GPL-2.0
"""Switches, over the generic-netlink family `l2wg`: options, state, the table and events.

    from l2wgctl import PeerOptions, Switches

    with Switches() as switches:
        switches.set_peer("wg1", key, PeerOptions(allowed_macs=("02:00:00:00:00:01",), relay=True))
        for entry in switches.table("wg1"):
            print(entry.mac, entry.public_key)

Keys, endpoints and AllowedIPs of a switch are set as those of every link, by `netlink.device`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Callable

from ..errors import KernelError, from_errno, in_its_words, public
from ..model import Key
from ..switch import Entry, PeerOptions, PeerState, SwitchOptions, SwitchState
from . import channel
from . import switch_messages as messages
from .switch_events import Events
from .switch_uapi import GENL_NAME, GENL_VERSION, MCGRP_EVENTS, MCGRP_SESSIONS, Cmd, Fdb, Peer

#: AllowedMACs -> those that shall be.
_Change = Callable[["tuple[str, ...]"], "tuple[str, ...]"]


class Switches:
    """A connection to the kernel's family `l2wg`. Use as a context manager.

    Every method raises KernelError where the kernel refuses: ENODEV without such a link,
    EOPNOTSUPP for one that is no switch, EPERM without CAP_NET_ADMIN.

    :param sock: for tests.
    :raises KernelError: the kernel has no such family (the module is not loaded).
    """

    def __init__(self, sock: channel.Socket | None = None) -> None:
        try:
            self._channel = channel.Channel(sock or channel.open_socket())
        except OSError as error:
            raise from_errno(error.errno or errno.EIO, "", "netlink") from None
        try:
            family = self._channel.family_id(GENL_NAME)
        except channel.Refused as refused:
            self.close()
            raise from_errno(refused.number, "", "netlink", refused.detail) from None
        if family is None:
            self.close()
            raise no_family()
        self._family = family

    def __enter__(self) -> Switches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._channel.sock.close()

    def _ask(
        self, cmd: int, link: str, doing: str, payload: bytes = b"", flags: int = 0
    ) -> list[bytes]:
        named = messages.named(link) if link else b""
        try:
            return self._channel.ask(self._family, cmd, GENL_VERSION, flags, named + payload)
        except channel.Refused as refused:
            raise _in_words(refused, link, doing) from None

    def _dump(self, cmd: int, link: str, doing: str) -> list[bytes]:
        return self._ask(cmd, link, doing, flags=channel.NLM_F_DUMP)

    # -- links ---------------------------------------------------------------------------------

    def all(self) -> list[SwitchState]:
        """Every switch of this network namespace."""
        return [messages.decode_link(x) for x in self._dump(Cmd.LINK_GET, "", "list switches")]

    def get(self, link: str) -> SwitchState:
        """A switch: its options and counters."""
        (answer,) = self._ask(Cmd.LINK_GET, link, "show")
        return messages.decode_link(answer)

    def set(self, link: str, options: SwitchOptions) -> None:
        """Change the options that are given. All but `ageing` make it forget what it learned."""
        self._ask(Cmd.LINK_SET, link, "set", messages.encode_link(options))

    # -- peers ---------------------------------------------------------------------------------

    def peers(self, link: str) -> list[PeerState]:
        """All keys that a switch knows: its peers, and keys that have options."""
        answers = self._dump(Cmd.PEER_GET, link, "show")
        # A table that is resized meanwhile gives some of them twice.
        return list({x.public_key: x for x in map(messages.decode_peer, answers)}.values())

    def options(self, link: str) -> dict[Key, PeerOptions]:
        """The options of the keys that have any, by key. For many it takes half of what `peers`
        takes."""
        answers = self._dump(Cmd.PEER_GET, link, "show")
        return {key: own for key, own in map(messages.decode_options, answers) if own is not None}

    def peer(self, link: str, key: bytes) -> PeerState:
        """What a switch knows of a key.

        :raises KernelError: nothing (ENOENT).
        """
        payload = messages.encode_peer(key, PeerOptions())
        (answer,) = self._ask(Cmd.PEER_GET, link, f"show peer {Key(key)}", payload)
        return messages.decode_peer(answer)

    def set_peer(self, link: str, key: bytes, options: PeerOptions) -> None:
        """Change the options that are given, all or none, of a key that need not be a peer yet.

        What was learned from it is forgotten.
        """
        self.set_peers(link, [(key, options)])

    def set_peers(self, link: str, peers: Iterable[tuple[bytes, PeerOptions]]) -> None:
        """The same for many keys.

        :raises KernelError: one is refused, the first of them; others have been set.
        """
        named = messages.named(link)
        wanted = list(peers)
        payloads = [named + messages.encode_peer(key, options) for key, options in wanted]
        self._all(Cmd.PEER_SET, link, payloads, [key for key, _ in wanted])

    def del_peers(self, link: str, keys: Iterable[bytes]) -> None:
        """Forget the options of keys. A peer has the defaults from then on.

        :raises KernelError: one has none (ENOENT); those of others are forgotten.
        """
        named = messages.named(link)
        gone = list(keys)
        payloads = [named + messages.encode_peer(key, PeerOptions()) for key in gone]
        self._all(Cmd.PEER_DEL, link, payloads, gone)

    def del_peer(self, link: str, key: bytes) -> None:
        """Forget a key's options.

        :raises KernelError: it has none (ENOENT).
        """
        self.del_peers(link, [key])

    def replace_peer(self, link: str, old: bytes, new: bytes) -> None:
        """Put a key in the place of another one, which is removed, in one message.

        The new key gets the old one's bindings, AllowedIPs and learned entries; its options, unless
        it has some; and if it is no peer yet, its endpoint, preshared key and keepalive.

        :raises KernelError: nothing has changed: the switch does not know the old key (ENOENT), or
            the new one is the old one or the link's own (EINVAL).
        """
        payload = channel.attribute(Peer.OLD_PUBLIC_KEY, old)
        payload += messages.encode_peer(new, PeerOptions())
        self._ask(Cmd.PEER_REPLACE, link, f"replace peer {public(Key(old))}", payload)

    def _all(self, cmd: int, link: str, payloads: list[bytes], keys: Sequence[bytes]) -> None:
        try:
            refused = self._channel.do_all(self._family, cmd, GENL_VERSION, payloads)
        except channel.Refused as all_of_them:
            raise _in_words(all_of_them, link, "set") from None
        for position, why in sorted(refused.items()):
            raise _in_words(why, link, f"set peer {public(Key(keys[position]))}")

    def bind(self, link: str, key: bytes, *macs: str) -> None:
        """Add MAC addresses to those that are bound to a key (its AllowedMACs)."""
        self._change_macs(link, key, lambda now: tuple(dict.fromkeys((*now, *macs))))

    def unbind(self, link: str, key: bytes, *macs: str) -> None:
        """Take MAC addresses from those that are bound to a key; those that are not, are passed
        over."""
        self._change_macs(link, key, lambda now: tuple(x for x in now if x not in macs))

    def _change_macs(self, link: str, key: bytes, change: _Change) -> None:
        try:
            now = self.peer(link, key).options.allowed_macs or ()
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            now = ()
        wanted = change(now)
        if wanted != now:
            self.set_peer(link, key, PeerOptions(allowed_macs=wanted))

    # -- table ---------------------------------------------------------------------------------

    def table(self, link: str) -> list[Entry]:
        """The table, bound entries first."""
        answers = self._dump(Cmd.FDB_GET, link, "show the table")
        found = map(messages.decode_entry, answers)
        return list({(x.mac, x.vlan, x.public_key, x.state): x for x in found}.values())

    def flush(self, link: str, *, key: bytes | None = None, vlan: int | None = None) -> None:
        """Forget what was learned: all, of one peer, in one VLAN (0: untagged), or both.

        :raises KernelError: the switch does not know the key (ENOENT).
        """
        payload, doing = b"", "flush"
        if key is not None:
            doing = f"flush peer {Key(key)}"
            payload += channel.attribute(Fdb.PUBLIC_KEY, key)
        if vlan is not None:
            payload += messages.u16(Fdb.VLAN, vlan)
        self._ask(Cmd.FDB_FLUSH, link, doing, payload)

    # -- events --------------------------------------------------------------------------------

    def events(self, link: str | None = None, *, timeout: float | None = None) -> Events:
        """What happens from now on, on one switch or on all, as an iterator.

        :param timeout: end after so many seconds without an event; None: never.
        """
        return self._listen(MCGRP_EVENTS, link, timeout)

    def sessions(self, link: str | None = None, *, timeout: float | None = None) -> Events:
        """Sessions with peers that are in another state (`Event.session`) from now on.

        None of them is lost in a flood of events: this is a multicast group of its own.

        :param timeout: as of `events`.
        """
        return self._listen(MCGRP_SESSIONS, link, timeout)

    def _listen(self, group_name: str, link: str | None, timeout: float | None) -> Events:
        try:
            group = self._channel.group_id(GENL_NAME, group_name)
            if group is None:
                raise channel.Refused(errno.ENOENT, f"no multicast group {group_name}")
            return Events(self._family, group, link, timeout)
        except channel.Refused as refused:
            raise _in_words(refused, link or "", f"listen for {group_name}") from None


def no_family() -> KernelError:
    """The error that the module is not there, or too old to have switches."""
    from ..machine import module_hint

    what = "the kernel has no switches (no generic-netlink family l2wg)"
    return KernelError(errno.ENOENT, what, module_hint(), "netlink", "NO_MODULE")


def _in_words(refused: channel.Refused, link: str, doing: str) -> KernelError:
    number, detail = refused.number, refused.detail
    if number == errno.ENOENT and "peer" in doing:
        what = f"{link}: the switch knows nothing of this key"
        return KernelError(number, what, f"see 'l2wgctl show {link}'", doing)
    if number == errno.EOPNOTSUPP:
        what = f"{link} is no switch"
        hint = "its kind must be l2wgswitch, Switch = yes; a kind is for life: make another link"
        return KernelError(number, what, hint, doing)
    return in_its_words(number, link, doing, detail)

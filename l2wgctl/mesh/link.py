# SPDX-License-Identifier: GPL-2.0
"""The switch in this kernel, over netlink (`l2wgctl.mesh.kernel.Kernel`)."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from select import select

from ..errors import KernelError
from ..model import Device, Key, Peer
from ..netlink.device import WireGuard
from ..netlink.switch import Switches
from ..netlink.switch_events import Events
from ..switch import PeerState
from .kernel import (
    Change,
    LinkNow,
    PeerNow,
    Remove,
    Replace,
    SetLink,
    SetOptions,
    SetPeer,
    SetPrivateKey,
)

#: Peers that one request changes: more make one message too long for no gain.
BATCH = 256


class Link:
    """A switch of this network namespace.

    :raises KernelError: the kernel has no switches, or this link is none.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._wireguard = WireGuard()
        self._switches = Switches()
        self._switches.get(name)
        self._events: Events | None = None

    def read(self) -> LinkNow:
        """The link as it is."""
        state = self._switches.get(self._name)
        known = {peer.public_key: peer for peer in self._switches.peers(self._name)}
        device = self._wireguard.get_device(self._name)
        peers = {key: PeerNow(key, False, True, options=p.options) for key, p in known.items()}
        for peer in device.peers:
            peers[peer.public_key] = _peer(peer, known.get(peer.public_key))
        return LinkNow(
            None if device.public_key is None or device.public_key.is_zero else device.public_key,
            device.listen_port or 0,
            peers,
            state.options,
        )

    def apply(self, changes: Sequence[Change]) -> None:
        """Do the changes in their order; neighbours of one kind in one go.

        One that is refused does not hold back the others: a revoked host goes, whatever another
        asks for.

        :raises KernelError: of the first that was refused; at once if the link is gone.
        """
        refused: KernelError | None = None
        at = 0
        while at < len(changes):
            kind = type(changes[at])
            to = at
            while to < len(changes) and to - at < BATCH and type(changes[to]) is kind:
                to += 1
            failed = self._try(changes[at:to])
            refused = refused or failed
            at = to
        if refused is not None:
            raise refused

    def _try(self, changes: Sequence[Change]) -> KernelError | None:
        """Do them together, or one by one; the first refusal.

        :raises KernelError: the link is gone.
        """
        try:
            self._do(changes)
        except KernelError as error:
            if error.errno == errno.ENODEV:
                raise
            if len(changes) == 1:
                return error
            found = [self._try([change]) for change in changes]
            return next(filter(None, found), None)
        return None

    def _do(self, changes: Sequence[Change]) -> None:
        options = [(c.key, c.options) for c in changes if isinstance(c, SetOptions)]
        if options:
            self._switches.set_peers(self._name, options)
        peers = [_wanted(c) for c in changes if isinstance(c, SetPeer)]
        gone = [c.key for c in changes if isinstance(c, Remove)]
        peers += [Peer(key, remove=True) for key in gone]
        if peers:
            self._wireguard.set_device(Device(self._name, peers=tuple(peers)))
        for key in gone:
            self._forget(key)
        for change in changes:
            if isinstance(change, Replace):
                self._switches.replace_peer(self._name, change.old, change.new)
            elif isinstance(change, SetLink):
                self._switches.set(self._name, change.options)
            elif isinstance(change, SetPrivateKey):
                self._wireguard.set_device(Device(self._name, private_key=change.key))

    def _forget(self, key: Key) -> None:
        try:
            self._switches.del_peer(self._name, key)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise

    def wait(self, seconds: float) -> bool:
        """Wait until a session changes, or for so long."""
        if self._events is None:
            self._events = self._switches.sessions(self._name)
        if not select([self._events], [], [], seconds)[0]:
            return False
        # That there is something is enough: `read` tells the state itself.
        return bool(self._events.ready())

    def close(self) -> None:
        """Close the sockets."""
        self._wireguard.close()
        self._switches.close()
        if self._events is not None:
            self._events.close()


def _wanted(change: SetPeer) -> Peer:
    allowed_ips = change.allowed_ips
    return Peer(
        change.key,
        endpoint=change.endpoint,
        persistent_keepalive=change.keepalive,
        allowed_ips=tuple(allowed_ips or ()),
        replace_allowed_ips=allowed_ips is not None,
    )


def _peer(peer: Peer, state: PeerState | None) -> PeerNow:
    now = PeerNow(
        peer.public_key,
        True,
        state is not None and state.configured,
        peer.endpoint,
        frozenset(peer.allowed_ips),
        peer.persistent_keepalive or 0,
        handshake=peer.last_handshake[0],
    )
    if state is None:
        return now
    return now._replace(options=state.options, session=state.session, heard=state.heard_age)

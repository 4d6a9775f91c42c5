# SPDX-License-Identifier: GPL-2.0
"""What the mesh asks of the kernel: a switch's peers as they are, and changes to them.

`l2wgctl.mesh.link` does it over netlink; tests have a kernel of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, Union

from ..model import AllowedIP, Endpoint, Key, SecretKey
from ..switch import PEER_DEFAULTS, SWITCH_DEFAULTS, PeerOptions, SwitchOptions


class PeerNow(NamedTuple):
    """A key that the switch knows.

    `present`: it is a peer; without that it has only options. `configured`: it has options.
    `options`: all of them, also those that nobody has set. `keepalive`: seconds, 0 for off.
    `session`: `idle`, `trying`, `up`; None of what is no peer. `heard`: milliseconds since its
    last authenticated packet. `handshake`: seconds since 1970, 0: never.
    """

    key: Key
    present: bool = True
    configured: bool = True
    endpoint: Endpoint | None = None
    allowed_ips: frozenset[AllowedIP] = frozenset()
    keepalive: int = 0
    options: PeerOptions = PEER_DEFAULTS
    session: str | None = None
    heard: int | None = None
    handshake: int = 0


class LinkNow(NamedTuple):
    """The switch: its own public key (None: it has no private key yet), port, peers, options."""

    key: Key | None
    port: int = 0
    peers: Mapping[Key, PeerNow] = {}
    options: SwitchOptions = SWITCH_DEFAULTS


# -- changes ---------------------------------------------------------------------------------------


class SetLink(NamedTuple):
    """Change the options of the switch that are given."""

    options: SwitchOptions


class SetOptions(NamedTuple):
    """Give a key options, be it a peer yet or not; those that are None stay as they are."""

    key: Key
    options: PeerOptions


class SetPeer(NamedTuple):
    """Make a key a peer, or change one. What is None stays as it is; `allowed_ips` replace."""

    key: Key
    endpoint: Endpoint | None = None
    allowed_ips: frozenset[AllowedIP] | None = None
    keepalive: int | None = None


class Replace(NamedTuple):
    """Put one key into the place of another, in one message: bindings, table, AllowedIPs."""

    old: Key
    new: Key


class Remove(NamedTuple):
    """Take a peer away, and its options."""

    key: Key


class SetPrivateKey(NamedTuple):
    """Change the link's own key. `repr` hides it."""

    key: SecretKey


Change = Union[SetLink, SetOptions, SetPeer, Replace, Remove, SetPrivateKey]


class Kernel(Protocol):
    """One switch. Every method raises KernelError where the kernel refuses."""

    def read(self) -> LinkNow:
        """The link as it is."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Do the changes in their order.

        :raises KernelError: one is refused; those before it are done.
        """

    def wait(self, seconds: float) -> bool:
        """Wait until a session changes, or for so long; whether something has happened.

        For another thread than the one that reads.
        """

    def close(self) -> None:
        """Close the sockets."""

# SPDX-License-Identifier: GPL-2.0
"""resolve: look up the names of endpoints again when a peer has been silent.

A host whose address changes is found again by its name. But a peer may have roamed: then the kernel
has learnt where it is from its own packets, and its name says less. So an endpoint is replaced only
if it is known to come from the name. It does if the name had that address at the last look, or if
nothing has ever been heard of the peer. What is known is kept in a file for the next start.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from .conf import files
from .errors import KernelError, L2wgError
from .model import Device, Endpoint, Key, Peer
from .netlink import messages
from .output import say
from .updown import memory

if TYPE_CHECKING:
    from .conf.parse import Config

#: The interval between looks at the peers, as a part of Resolve, and its least seconds.
PART, LEAST = 4, 5
ABOUT = "endpoints"


def is_name(endpoint: Endpoint | None) -> bool:
    """Whether an endpoint's host is a name."""
    if endpoint is None:
        return False
    try:
        messages.sockaddr(endpoint)
    except OSError:
        return True
    return False


def addresses(endpoint: Endpoint) -> list[Endpoint]:
    """The addresses of a name now, the preferred one first; none if it does not resolve."""
    from .resolve import look_up

    try:
        return look_up(endpoint)
    except socket.gaierror:
        return []


class Move(NamedTuple):
    """A peer's endpoint that is to be replaced: its name has another address."""

    peer: Peer
    name: str
    new: Endpoint
    silent: int | None


class Watch:
    """What is known about one link's endpoints: `ours` are those that come from a name."""

    def __init__(self, ours: dict[str, str] | None = None) -> None:
        self.ours = dict(ours or {})
        self._seen: set[Key] = set()

    def look(self, config: Config, device: Device, now: int) -> Iterator[Move]:
        """The endpoints to replace; `now` is the time of day in seconds."""
        interval = config.link.resolve
        if not interval:
            return
        have = {peer.public_key: peer for peer in device.peers}
        for said in config.device.peers:
            peer = have.get(said.public_key)
            if peer is None or said.endpoint is None or not is_name(said.endpoint):
                continue
            then = peer.last_handshake[0]
            # A handshake in the future: the clock was set back, and nobody knows when it was.
            silent = now - then if 0 < then <= now else None
            first = peer.public_key not in self._seen
            if silent is not None and silent < interval and not first:
                continue
            found = addresses(said.endpoint)
            if not found:
                continue
            self._seen.add(peer.public_key)
            new = self._judge(peer, found)
            if new is not None and (silent is None or silent >= interval):
                yield Move(peer, said.name or str(peer.public_key), new, silent)

    def _judge(self, peer: Peer, found: list[Endpoint]) -> Endpoint | None:
        """The endpoint that replaces the peer's, or None; notes what is known about it."""
        key = str(peer.public_key)
        now = peer.endpoint
        if now is None:
            return found[0]
        if messages.sockaddr(now) in map(messages.sockaddr, found):
            self.ours[key] = str(now)
            return None
        heard = peer.last_handshake[0] or peer.rx_bytes
        if heard and self.ours.get(key) != str(now):
            return None  # it has roamed
        return found[0]

    def moved(self, move: Move) -> None:
        """Note that the endpoint has been replaced."""
        self.ours[str(move.peer.public_key)] = str(move.new)


def once(name: str, config: Config, watch: Watch) -> None:
    """Look at a link once, and replace the endpoints that have moved.

    :raises KernelError: the link has gone, or the kernel refuses.
    """
    from .netlink.device import WireGuard

    before = dict(watch.ours)
    with WireGuard() as wireguard:
        device = wireguard.get_device(name)
        for move in watch.look(config, device, int(time.time())):
            change = Peer(move.peer.public_key, endpoint=move.new, update_only=True)
            wireguard.set_device(Device(name, peers=(change,)))
            watch.moved(move)
            since = f"silent for {move.silent} s"
            if move.silent is None:
                heard = move.peer.last_handshake[0]
                since = "heard before the clock was set back" if heard else "never heard"
            print(f"{name}: peer {move.name}: {since}, now at {move.new}", flush=True)
    if watch.ours != before:
        memory.remember(name, ABOUT, watch.ours)


def cmd_resolve(args: argparse.Namespace) -> int:
    """Look at a link's silent peers until interrupted, or once."""
    name, path = files.locate(args.target)
    watch = Watch(memory.recall(name, ABOUT))
    interval = 0  # as long as the file has mistakes
    while True:
        try:
            config = files.load(path)
        except L2wgError as error:
            if args.once:
                raise
            say(error.problems)  # somebody is editing it
        else:
            if not config.link.resolve:
                print(f"{path}: has no Resolve: nothing to do", file=sys.stderr)
                return 0
            try:
                once(name, config, watch)
            except KernelError as error:
                if args.once:
                    raise
                say(error.problems)
            interval = config.link.resolve
        if args.once:
            return 0
        time.sleep(max(LEAST, interval / PART))

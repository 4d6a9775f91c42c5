# SPDX-License-Identifier: GPL-2.0
"""Events of switches: a multicast group of the family `l2wg`, as an iterator."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator
from select import select

from .. import sockets
from ..switch import LOST, Event
from . import channel
from .switch_messages import decode_event
from .switch_uapi import Cmd

#: include/uapi/linux/netlink.h, include/uapi/asm-generic/socket.h
NETLINK_ADD_MEMBERSHIP = 1
SOL_SOCKET, SO_RCVBUF, SO_RCVBUFFORCE = 1, 8, 33
#: Bytes of events that may wait to be read: some seconds of them, at 1000 a second.
BUFFER = 1 << 20
#: `Events.ready` reads so many messages at most: while it reads, more may come.
READS = 256


class Events(Iterator[Event]):
    """What happens on switches, from the time on when this was made. Use it in a `for`, and close
    it, or use it as a context manager.

    The kernel tells 1000 events a second of each link. Where they are read more slowly some are
    lost, and one of type LOST says so.

    :param link: only of this one; None: of all.
    :param timeout: the iteration ends after so many seconds without an event; None: never.
    :raises Refused: the kernel lets nobody listen who may not.
    """

    def __init__(
        self, family: int, group: int, link: str | None = None, timeout: float | None = None
    ) -> None:
        self._family, self._link, self.timeout = family, link, timeout
        self._waiting: deque[Event] = deque()
        kind = sockets.SOCK_RAW | sockets.SOCK_CLOEXEC
        try:
            self._sock = sockets.socket(sockets.AF_NETLINK, kind, channel.NETLINK_GENERIC)
        except OSError as error:
            raise channel.Refused(error.errno or errno.EIO) from None
        try:
            self._sock.bind((0, 0))
            for option in (SO_RCVBUFFORCE, SO_RCVBUF):
                try:
                    self._sock.setsockopt(SOL_SOCKET, option, BUFFER)
                    break
                except OSError:  # a user namespace may not have more than the system's limit
                    pass
            self._sock.setsockopt(channel.SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            self.close()
            raise channel.Refused(error.errno or errno.EIO) from None

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def fileno(self) -> int:
        """The socket, for select()."""
        return self._sock.fileno()

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Event:
        while not self._waiting:
            if self.timeout is not None and not select([self._sock], [], [], self.timeout)[0]:
                raise StopIteration
            self._read()
        return self._waiting.popleft()

    def ready(self) -> list[Event]:
        """The events that are there now; of very many the first ones, and the rest next time."""
        for _ in range(READS):
            if not select([self._sock], [], [], 0)[0]:
                break
            self._read()
        found = list(self._waiting)
        self._waiting.clear()
        return found

    def _read(self) -> None:
        try:
            buffer = self._sock.recv(channel.BUFFER)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._waiting.append(Event(LOST, self._link or ""))
            return
        for kind, _, _, at, to in channel.messages(buffer):
            # the command, the first byte of struct genlmsghdr
            if kind == self._family and buffer[at] in (Cmd.EVENT, Cmd.SESSION):
                event = decode_event(buffer[at + 4 : to])
                if self._link in (None, event.link):
                    self._waiting.append(event)

# SPDX-License-Identifier: GPL-2.0
"""What happens on switches, for `monitor`: events as lines and as JSON, between two readings."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Iterator, Mapping
from select import select
from typing import Any

from .conf.names import Names
from .model import Key
from .netlink.switch import Switches
from .switch import LOST, SESSION, Event

#: So many are shown below the table on a terminal.
SHOWN = 10


class Watch:
    """Events and sessions of one switch, or of all, while they are waited for.

    :raises KernelError: the link is no switch, or this user may not listen.
    """

    def __init__(self, link: str | None) -> None:
        self._names = Names()
        with Switches() as switches:
            if link is not None:
                switches.get(link)  # of another kind of link nothing would ever come
            self._streams = [switches.events(link), switches.sessions(link)]
        self.recent: deque[str] = deque(maxlen=SHOWN)

    def during(self, seconds: float) -> Iterator[Event]:
        """The events of the next seconds, as they come."""
        until = time.monotonic() + seconds
        while True:
            # However short the time is: what is there now is told.
            left = max(0.0, until - time.monotonic())
            ready = select(self._streams, [], [], left)[0]
            for event in (event for stream in ready for event in stream.ready()):
                self.recent.append(self.line(event))
                yield event
            if not ready or not left:
                return

    def line(self, event: Event) -> str:
        """An event as one line for people and logs."""
        return line(event, self._names.of(event.link))

    def json(self, event: Event) -> dict[str, Any]:
        """An event as docs/l2wgctl-json.md describes it."""
        names = self._names.of(event.link)
        return {
            "interface": event.link,
            "type": event.type,
            "peer": _text(event.public_key),
            "name": names.get(event.public_key) if event.public_key else None,
            "old_peer": _text(event.old_public_key),
            "mac": event.mac,
            "vlan": event.vlan,
            "counter": event.counter,
            "session": event.session,
        }


def _text(key: Key | None) -> str | None:
    return None if key is None else str(key)


def line(event: Event, names: Mapping[bytes, str]) -> str:
    """`wg1 violation 02:00:00:00:00:01 peer=oslo counter=rx_ip_bound`; quoted as a shell wants."""
    if event.type == LOST:
        return f"{event.link or '-'} {LOST}: events came faster than they were read"

    def who(key: Key | None) -> str:
        return shlex.quote("(this host)" if key is None else names.get(key, str(key)))

    if event.type == SESSION:
        return f"{event.link} session {event.session} peer={who(event.public_key)}"
    words = [event.link, event.type, event.mac or "-", f"peer={who(event.public_key)}"]
    if event.vlan:
        words.append(f"vlan={event.vlan}")
    if event.type in ("moved", "damped"):
        words.append(f"from={who(event.old_public_key)}")
    if event.counter:
        words.append(f"counter={event.counter}")
    return " ".join(words)

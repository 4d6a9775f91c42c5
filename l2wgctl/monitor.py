# SPDX-License-Identifier: GPL-2.0
"""monitor: the peers with their rates, live on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Callable, NamedTuple

from .conf.names import Names
from .errors import KernelError
from .model import Key, Peer
from .netlink.device import WireGuard
from .output import colour, say

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from .happenings import Watch
    from .switch import Event

#: Seconds after which a session without a new handshake is dead (REJECT_AFTER_TIME).
STALE = 180


class Row(NamedTuple):
    """A peer at one moment. Rates in bytes a second, ages in seconds; None = unknown or never."""

    interface: str
    peer: str
    endpoint: str | None
    rx_bytes: int
    tx_bytes: int
    rx_rate: float | None
    tx_rate: float | None
    handshake_age: int | None
    name: str | None = None


class Sampler:
    """Computes rates from one reading of the devices to the next."""

    def __init__(self) -> None:
        self.names = Names()
        self._last: dict[tuple[str, Key], tuple[float, int, int]] = {}

    def rows(self, name: str, peers: Sequence[Peer], clock: float, now: int) -> list[Row]:
        """The rows of one device; `clock` is monotonic, `now` the time of day, in seconds."""
        found = []
        names = self.names.of(name)
        for peer in peers:
            before = self._last.get((name, peer.public_key))
            self._last[name, peer.public_key] = (clock, peer.rx_bytes, peer.tx_bytes)
            rx = tx = None
            # Counters that went down belong to a peer that was made anew.
            if before and clock > before[0] and peer.rx_bytes >= before[1]:
                span = clock - before[0]
                rx = (peer.rx_bytes - before[1]) / span
                tx = max(0, peer.tx_bytes - before[2]) / span
            then = peer.last_handshake[0]
            found.append(
                Row(
                    name,
                    str(peer.public_key),
                    str(peer.endpoint) if peer.endpoint else None,
                    peer.rx_bytes,
                    peer.tx_bytes,
                    rx,
                    tx,
                    max(0, now - then) if then else None,
                    names.get(peer.public_key),
                )
            )
        return found


def bit_rate(rate: float | None) -> str:
    """A rate in bytes a second as bits a second, e.g. `1.2 Mbit/s`; `-` for None."""
    if rate is None:
        return "-"
    value = rate * 8
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bit/s" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} Gbit/s"


def age(seconds: int | None) -> str:
    """An age as `12s`, `3m 5s`, `2h 7m` or `never`."""
    if seconds is None:
        return "never"
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60}m"


def plain_line(row: Row) -> str:
    """A row as one line of key=value words, for logs and pipes; quoted as a shell wants them."""
    name = f"name={shlex.quote(row.name)} " if row.name else ""
    return (
        f"{row.interface} peer={row.peer} {name}endpoint={row.endpoint or '-'} "
        f"rx={row.rx_bytes} tx={row.tx_bytes} "
        f"rx_rate={'-' if row.rx_rate is None else round(row.rx_rate)} "
        f"tx_rate={'-' if row.tx_rate is None else round(row.tx_rate)} "
        f"handshake={'never' if row.handshake_age is None else row.handshake_age}\n"
    )


def table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal."""
    from rich.table import Table
    from rich.text import Text

    from .render import plain, size

    found = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("link", "peer", "endpoint"):
        found.add_column(title, no_wrap=True)
    for title in ("received", "sent", "in", "out", "handshake"):
        found.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        fresh = row.handshake_age is not None and row.handshake_age <= STALE
        cells = (
            row.interface,
            row.name or row.peer[:12] + "…",
            row.endpoint or "-",
            plain(size(row.rx_bytes)),
            plain(size(row.tx_bytes)),
            bit_rate(row.rx_rate),
            bit_rate(row.tx_rate),
            age(row.handshake_age),
        )
        # Of a str rich would take [fd00::1] for markup, and :ab: for an emoji.
        found.add_row(*map(Text, cells), style=None if fresh else "dim")
    return found


def picture(rows: Sequence[Row], events: Sequence[str]) -> Group:
    """The table, and below it the latest events, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    below = ("", *events) if events else ()
    return Group(table(rows), *map(Text, below))


def _names(interface: str | None) -> list[str]:
    if interface:
        return [interface]
    from .netlink.link import Links

    with Links() as links:
        return [link.name for link in links.tunnels()]


def _sample(sampler: Sampler, interface: str | None) -> list[Row]:
    rows: list[Row] = []
    with WireGuard() as wireguard:
        for name in _names(interface):
            try:
                device = wireguard.get_device(name)
            except KernelError as error:
                if interface:
                    raise
                say(error.problems)
                continue
            rows += sampler.rows(name, device.peers, time.monotonic(), int(time.time()))
    return rows


def cmd_monitor(args: argparse.Namespace) -> int:
    """Show the peers every `--interval` seconds until interrupted, or `--count` times."""
    sampler = Sampler()
    live = sys.stdout.isatty() and not args.json
    watch = _watch(args.interface, args.events or live, args.events)
    if live:
        from rich.console import Console
        from rich.live import Live

        console = Console(no_color=not colour())
        with Live(console=console, auto_refresh=False) as screen:

            def show() -> None:
                below = () if watch is None else tuple(watch.recent)
                screen.update(picture(_sample(sampler, args.interface), below), refresh=True)

            for seconds in _ticks(args.count, args.interval, show):
                _wait(watch, seconds, lambda event: None)
        return 0

    def write(document: object) -> None:
        import json

        sys.stdout.write(json.dumps(document) + "\n")

    def read() -> None:
        rows = _sample(sampler, args.interface)
        if args.json:
            write({"time": int(time.time()), "peers": [row._asdict() for row in rows]})
        else:
            sys.stdout.writelines(map(plain_line, rows))
        sys.stdout.flush()

    def tell(event: Event) -> None:
        assert watch is not None
        if args.json:
            write({"time": int(time.time()), "event": watch.json(event)})
        else:
            sys.stdout.write(watch.line(event) + "\n")
        sys.stdout.flush()

    for seconds in _ticks(args.count, args.interval, read):
        _wait(watch, seconds, tell)
    return 0


def _watch(interface: str | None, wanted: bool, must: bool) -> Watch | None:
    """Events of the switch, or of all; None if they are not wanted, or there can be none.

    :param must: what is in the way is an error.
    :raises KernelError: it is one.
    """
    from .netlink.channel import has_switches

    if not wanted or not (must or has_switches()):
        return None
    from .happenings import Watch

    try:
        return Watch(interface)
    except KernelError:
        if must:
            raise
        return None


def _wait(watch: Watch | None, seconds: float, tell: Callable[[Event], None]) -> None:
    if watch is None:
        time.sleep(seconds)
        return
    for event in watch.during(seconds):
        tell(event)


def _ticks(count: int, interval: float, do: Callable[[], None]) -> Iterator[float]:
    """`do` `count` times (0 = for ever), `interval` seconds apart, without drifting; in between,
    the seconds to wait."""
    due = time.monotonic()
    done = 0
    while True:
        do()
        done += 1
        if done == count:
            return
        now = time.monotonic()
        due = max(due + interval, now)
        yield due - now

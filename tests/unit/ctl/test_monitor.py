# SPDX-License-Identifier: GPL-2.0
"""monitor: rates, words, lines, table."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from l2wgctl import monitor
from l2wgctl.model import Endpoint, Key, Peer
from l2wgctl.netlink.messages import sockaddr
from tests.unit.ctl.conftest import Result
from tests.unit.ctl.fakekernel import FakePeer
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
NOW = 1_800_000_000.0
KEY = Key(bytes(range(32)))


@pytest.fixture
def well(links: FakeLinks) -> FakeLinks:
    """One tunnel with a peer."""
    links.create("wg1", "l2wireguard", up=True, mtu=1406)
    links.kernel.add("wg1").peers[KEY] = FakePeer(
        KEY,
        endpoint=sockaddr(Endpoint("192.0.2.1", 51820)),
        handshake=(int(NOW) - 7, 0),
        rx=1,
        tx=1,
    )
    return links


def peer(rx: int, tx: int, then: int = 0) -> Peer:
    return Peer(KEY, rx_bytes=rx, tx_bytes=tx, last_handshake=(then, 0))


def test_rates() -> None:
    sampler = monitor.Sampler()
    first = sampler.rows("wg1", [peer(1000, 10)], 5.0, 100)[0]
    assert (first.rx_rate, first.tx_rate, first.handshake_age) == (None, None, None)
    second = sampler.rows("wg1", [peer(3000, 20, 90)], 7.0, 100)[0]
    assert (second.rx_rate, second.tx_rate, second.handshake_age) == (1000.0, 5.0, 10)
    again = sampler.rows("wg1", [peer(5, 5)], 8.0, 100)[0]
    assert again.rx_rate is None, "the peer was made anew"


def test_words() -> None:
    assert [monitor.bit_rate(rate) for rate in (None, 0, 100, 125_000, 1.25e6, 1.25e9)] == [
        *("-", "0 bit/s", "800 bit/s", "1.0 Mbit/s", "10.0 Mbit/s", "10.0 Gbit/s"),
    ]
    assert [monitor.age(seconds) for seconds in (None, 0, 59, 60, 3599, 3600, 90061)] == [
        *("never", "0s", "59s", "1m 0s", "59m 59s", "1h 0m", "25h 1m"),
    ]


def test_monitor_prints_plain_lines(
    well: FakeLinks, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    clock = iter(range(100))
    monkeypatch.setattr(monitor.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(monitor.time, "sleep", slept.append)
    monkeypatch.setattr(monitor.time, "time", lambda: NOW)
    result = run("monitor", "wg1", "--count", "2", "--interval", "5")
    assert result.out.splitlines() == [
        f"wg1 peer={KEY} endpoint=192.0.2.1:51820 rx=1 tx=1 rx_rate=- tx_rate=- handshake=7",
        f"wg1 peer={KEY} endpoint=192.0.2.1:51820 rx=1 tx=1 rx_rate=0 tx_rate=0 handshake=7",
    ]
    assert len(slept) == 1 and 0 < slept[0] <= 5
    document = json.loads(run("monitor", "--json", "--count", "1").out)
    assert document["peers"] == [
        {
            "interface": "wg1",
            "peer": str(KEY),
            "endpoint": "192.0.2.1:51820",
            "rx_bytes": 1,
            "tx_bytes": 1,
            "rx_rate": None,
            "tx_rate": None,
            "handshake_age": 7,
            "name": None,
        }
    ]


def test_table() -> None:
    from rich.console import Console

    rows = monitor.Sampler().rows("wg1", [peer(2048, 10, 90)], 5.0, 100)
    console = Console(width=120, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(monitor.table(rows))
    head, row = capture.get().splitlines()
    assert head.split() == [
        *("link", "peer", "endpoint", "received", "sent", "in", "out", "handshake")
    ]
    assert row.split() == ["wg1", str(KEY)[:12] + "…", "-", *"2.00 KiB 10 B - - 10s".split()]


def test_a_terminal_gets_what_there_is() -> None:
    """rich takes [fd00::1] of a str for markup and :ab: for an emoji; a peer chooses its MACs."""
    from rich.console import Console

    endpoint, event = "[fd00::5]:51820", "wg1 learned 02:ab:de:cc:0a:01 peer='ops [/x] :smile:'"
    row = monitor.Row("wg1", str(KEY), endpoint, 1, 2, None, None, 3)
    console = Console(width=120)
    with console.capture() as capture:
        console.print(monitor.picture([row], [event]))
    shown = capture.get()
    assert endpoint in shown and event in shown
    with console.capture() as capture:
        console.print(monitor.picture([row], []))
    assert len(capture.get().splitlines()) == 2


def test_monitor_of_nothing(run: Run, links: FakeLinks) -> None:
    assert run("monitor", "--count", "1") == (0, "", "")
    assert run("monitor", "wg9", "--count", "1").status == 1

# SPDX-License-Identifier: GPL-2.0
"""l2wgctl monitor --events."""

from __future__ import annotations

import errno
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import happenings, monitor
from l2wgctl.netlink import switch_events
from l2wgctl.netlink.switch import Switches
from l2wgctl.switch import (
    Event,
)
from tests.unit.ctl.conftest import PEER_B, Result
from tests.unit.ctl.fakekernel import FakeKernel
from tests.unit.ctl.fakeswitch import FakeSwitch, attr, u32
from tests.unit.ctl.switch.hubs import (
    MAC,
    MAC2,
    A,
    B,
    C,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


def test_lines_of_events() -> None:
    names = {bytes(A): "oslo", bytes(C): "my own [x]"}
    for event, text in (
        (Event("learned", "wg1", C, None, MAC, 0), f"wg1 learned {MAC} peer='my own [x]'"),
        (Event("learned", "wg1", A, None, MAC, 0), f"wg1 learned {MAC} peer=oslo"),
        (
            Event("moved", "wg1", B, A, MAC, 7),
            f"wg1 moved {MAC} peer={PEER_B} vlan=7 from=oslo",
        ),
        (
            Event("damped", "wg1", B, None, MAC, 0),
            f"wg1 damped {MAC} peer={PEER_B} from='(this host)'",
        ),
        (
            Event("violation", "wg1", A, None, MAC, 0, "rx_ip_bound"),
            f"wg1 violation {MAC} peer=oslo counter=rx_ip_bound",
        ),
        (Event("session", "wg1", A, session="up"), "wg1 session up peer=oslo"),
        (Event("event-9", "wg1"), "wg1 event-9 - peer='(this host)'"),
        (Event("lost", "wg1"), "wg1 lost: events came faster than they were read"),
    ):
        assert happenings.line(event, names) == text


class FakeEvents:
    """Two events, then nothing."""

    def __init__(self) -> None:
        self.left = [
            Event("learned", "wg1", A, None, MAC2, 0),
            Event("violation", "wg1", B, None, MAC, 7, "rx_mac_bound"),
        ]

    def fileno(self) -> int:
        return 0

    def ready(self) -> list[Event]:
        found, self.left = self.left, []
        return found


def test_monitor_with_events(run: Run, hub: FakeSwitch, monkeypatch: pytest.MonkeyPatch) -> None:
    events = FakeEvents()
    nothing = FakeEvents()
    nothing.left.clear()
    monkeypatch.setattr(Switches, "events", lambda self, link: events)
    monkeypatch.setattr(Switches, "sessions", lambda self, link: nothing)
    ready: list[list[FakeEvents]] = [[events, nothing], []]
    monkeypatch.setattr(happenings, "select", lambda *_: (ready.pop(0), [], []))
    words = ("monitor", "wg1", "--events", "--count", "2", "--interval", "0.1")
    lines = run(*words).out.splitlines()
    assert [x.split()[1].partition("=")[0] for x in lines] == [
        *("peer", "peer", "learned", "violation", "peer", "peer")
    ]
    assert lines[2] == f"wg1 learned {MAC2} peer=oslo"
    events.left = FakeEvents().left
    ready += [[events], []]
    documents = [json.loads(x) for x in run(*words, "--json").out.splitlines()]
    page = (Path(__file__).resolve().parents[4] / "docs/l2wgctl-json.md").read_text()
    rows = re.findall(
        r"^\| (`.*?) \|", page.partition("With `--events`")[2].partition("\n## ")[0], re.M
    )
    assert set(documents[2]["event"]) == set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert documents[2]["event"] == {
        "interface": "wg1",
        "type": "violation",
        "peer": PEER_B,
        "name": None,
        "old_peer": None,
        "mac": MAC,
        "vlan": 7,
        "counter": "rx_mac_bound",
        "session": None,
    }


def test_events_are_told_however_short_the_interval(
    hub: FakeSwitch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading may take as long as the interval: then there is no time left between two."""
    events = FakeEvents()
    monkeypatch.setattr(Switches, "events", lambda self, link: events)
    monkeypatch.setattr(Switches, "sessions", lambda self, link: FakeEvents())
    monkeypatch.setattr(happenings, "select", lambda *_: ([events], [], []))
    watch = happenings.Watch("wg1")
    assert [event.type for event in watch.during(0)] == ["learned", "violation"]


def test_monitor_of_what_is_no_switch(run: Run, kernel: FakeKernel) -> None:
    kernel.add("wg1")
    del kernel.families["l2wg"]
    assert run("monitor", "wg1", "--count", "1") == (0, "", "")
    assert "the kernel has no switches" in run("monitor", "wg1", "--events").err
    assert monitor._watch("wg1", True, False) is None


def test_events_of_a_wire_would_never_come(run: Run, kernel: FakeKernel) -> None:
    kernel.add("wg1")
    result = run("monitor", "wg1", "--events", "--count", "1")
    assert "wg1 is no switch" in result.err and result.status == 1
    assert monitor._watch("wg1", True, False) is None


class Flood:
    """A socket that has a new event whenever it is asked, and sometimes has lost some."""

    def __init__(self, *_: object) -> None:
        self.reads = 0

    def recv(self, size: int) -> bytes:
        self.reads += 1
        if self.reads == 2:
            raise OSError(errno.ENOBUFS, "")
        told = u32(1, 7) + attr(2, b"wg1\0") + u32(3, 0) + attr(6, bytes(6)) + attr(7, b"\0\0")
        body = struct.pack("=BBH", 8, 1, 0) + told
        return struct.pack("=IHHII", 16 + len(body), 33, 0, 0, 0) + body

    def __getattr__(self, name: str) -> Callable[..., int]:
        return lambda *_: 0


def test_a_flood_of_events_does_not_keep_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_events.sockets, "socket", Flood)
    monkeypatch.setattr(switch_events, "select", lambda *_: ([1], [], []))
    events = switch_events.Events(33, 1, "wg1")
    first = events.ready()
    assert [x.type for x in first] == ["learned", "lost", *["learned"] * (switch_events.READS - 2)]
    assert len(events.ready()) == switch_events.READS
    assert next(events).type == "learned"


# -- doctor ----------------------------------------------------------------------------------------

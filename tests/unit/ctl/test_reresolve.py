# SPDX-License-Identifier: GPL-2.0
"""resolve: who is looked for by name again, and who is left alone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import reresolve
from l2wgctl.conf.check import lint
from l2wgctl.conf.parse import parse
from l2wgctl.conf.values import public_key
from l2wgctl.errors import ConfigError
from l2wgctl.model import Endpoint
from l2wgctl.netlink.messages import sockaddr
from tests.unit.ctl.conftest import PEER_A, PEER_B, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakePeer

Run = Callable[..., Result]
Conf = Callable[..., Path]
NOW = 1_800_000_000
TEXT = f"""[Interface]
PrivateKey = {PRIVATE}
Resolve = 120
[Peer]
Name = office
PublicKey = {PEER_A}
Endpoint = office.example:5
AllowedIPs = 0.0.0.0/0, ::/0
[Peer]
PublicKey = {PEER_B}
Endpoint = 192.0.2.99:5
"""


class World:
    """The name server and the peers."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.names = {"office.example": ["192.0.2.1"]}
        device = kernel.add("wg1")
        for key, host in ((PEER_A, "192.0.2.1"), (PEER_B, "192.0.2.99")):
            raw = public_key(key)
            device.peers[raw] = FakePeer(raw, endpoint=sockaddr(Endpoint(host, 5)))
        self.office = device.peers[public_key(PEER_A)]

    def answer(self, host: str, port: int, **_: object) -> list[object]:
        if host not in self.names:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, 2, 17, "", (found, port)) for found in self.names[host]]

    def heard(self, ago: int) -> None:
        """The office has been heard so many seconds ago."""
        self.office.handshake, self.office.rx = (NOW - ago, 0), 1

    def is_at(self, host: str, port: int = 5) -> bool:
        return self.office.endpoint == sockaddr(Endpoint(host, port))


@pytest.fixture
def world(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    found = World(kernel)
    monkeypatch.setattr(socket, "getaddrinfo", found.answer)
    monkeypatch.setattr(reresolve.time, "time", lambda: NOW + 0.5)
    return found


MOVED = "wg1: peer office: silent for 130 s, now at 192.0.2.2:5\n"


def test_a_silent_peer_whose_name_has_moved(world: World, run: Run, conf: Conf) -> None:
    path = conf(TEXT)
    world.heard(5)
    assert run("resolve", "--once", path) == (0, "", "")  # learns that the address is the name's
    world.names["office.example"] = ["192.0.2.2"]
    world.heard(119)
    assert run("resolve", "--once", path) == (0, "", "") and world.is_at("192.0.2.1")
    world.heard(130)
    assert run("resolve", "--once", path) == (0, MOVED, "") and world.is_at("192.0.2.2")
    assert run("resolve", "--once", path) == (0, "", "")
    # and again: the new one is the name's, too
    world.names["office.example"] = ["192.0.2.3", "192.0.2.4"]
    assert run("resolve", "--once", path).out == MOVED.replace("0.2.2", "0.2.3")
    # the order of several addresses is nothing
    world.names["office.example"].reverse()
    assert run("resolve", "--once", path) == (0, "", "") and world.is_at("192.0.2.3")


def test_a_peer_that_has_roamed_is_left_alone(world: World, run: Run, conf: Conf) -> None:
    path = conf(TEXT)
    world.heard(5)
    run("resolve", "--once", path)
    world.office.endpoint = sockaddr(Endpoint("198.51.100.7", 4000))
    world.names["office.example"] = ["192.0.2.2"]
    world.heard(100_000)
    assert run("resolve", "--once", path) == (0, "", "")
    assert world.is_at("198.51.100.7", 4000)
    # another port is another place, too
    world.office.endpoint = sockaddr(Endpoint("192.0.2.1", 4000))
    assert run("resolve", "--once", path) == (0, "", "") and world.is_at("192.0.2.1", 4000)
    # back at its name, it is the name's again
    world.office.endpoint = sockaddr(Endpoint("192.0.2.2", 5))
    run("resolve", "--once", path)
    world.names["office.example"] = ["192.0.2.3"]
    assert run("resolve", "--once", path).status == 0 and world.is_at("192.0.2.3")


def test_without_memory_somebody_heard_may_have_roamed(world: World, run: Run, conf: Conf) -> None:
    world.heard(130)
    world.names["office.example"] = ["192.0.2.2"]
    assert run("resolve", "--once", conf(TEXT)) == (0, "", "") and world.is_at("192.0.2.1")


def test_who_was_never_heard_cannot_have_roamed(world: World, run: Run, conf: Conf) -> None:
    world.names["office.example"] = ["192.0.2.2"]
    assert run("resolve", "--once", conf(TEXT)).out == (
        "wg1: peer office: never heard, now at 192.0.2.2:5\n"
    )
    # the name did not resolve when the link came up
    world.office.endpoint = b""
    assert run("resolve", "--once", conf(TEXT)).status == 0 and world.is_at("192.0.2.2")


def test_a_clock_that_was_set_back(world: World, run: Run, conf: Conf) -> None:
    """How long a peer has been silent that was heard in time to come, nobody knows."""
    path = conf(TEXT)
    world.heard(-86_400)
    assert run("resolve", "--once", path) == (0, "", "")
    world.names["office.example"] = ["192.0.2.2"]
    assert run("resolve", "--once", path).out == (
        "wg1: peer office: heard before the clock was set back, now at 192.0.2.2:5\n"
    )


def test_a_name_that_does_not_resolve_changes_nothing(world: World, run: Run, conf: Conf) -> None:
    world.names.clear()
    assert run("resolve", "--once", conf(TEXT)) == (0, "", "") and world.is_at("192.0.2.1")


def test_nothing_to_do(world: World, run: Run, conf: Conf) -> None:
    for text in (TEXT.replace("Resolve = 120\n", ""), TEXT.replace("120", "off")):
        path = conf(text)
        assert run("resolve", path) == (0, "", f"{path}: has no Resolve: nothing to do\n")
    assert run("resolve", "--once", conf(TEXT, "wg2.conf")) == (
        1,
        "",
        "l2wgctl: show: wg2: no such link (create it with 'l2wgctl add wg2' or 'l2wgctl up wg2')\n",
    )


def test_the_loop_goes_on(
    world: World, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a broken file, over a link that is away, until it is interrupted."""
    path = conf(TEXT)
    slept: list[float] = []
    world.heard(130)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            world.names["office.example"] = ["192.0.2.2"]
            path.write_text(TEXT + "x\n")
        elif len(slept) == 2:
            path.write_text(TEXT.replace("120", "12"))
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(reresolve.time, "sleep", sleep)
    said = run("resolve", path)
    assert (said.status, said.out) == (130, MOVED)
    assert said.err == f"l2wgctl: {path}:12:1: 'x' is neither a section nor 'Key = value'\n"
    assert slept == [30, 30, 5]


def test_the_key() -> None:
    assert parse(TEXT, "").link.resolve == 120
    with pytest.raises(ConfigError) as caught:
        parse(TEXT.replace("120", "5"), "wg1.conf")
    assert str(caught.value) == (
        "wg1.conf:3:11: Resolve is neither off nor 10-86400 seconds: '5' (120 suits most links)"
    )
    numbers = TEXT.replace("office.example", "192.0.2.1")
    assert [str(p) for p in lint(parse(numbers, "wg1.conf"))] == [
        "wg1.conf:3:1: warning: Resolve is given, but no peer has an Endpoint with a name (write "
        "the name of its host into Endpoint, or leave Resolve out)"
    ]
    assert list(lint(parse(TEXT, ""))) == []

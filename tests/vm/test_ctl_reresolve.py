# SPDX-License-Identifier: GPL-2.0
"""resolve on a real link: B gets another address, and another name server's answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vm.ctl import ctl, done, file
from tests.vm.test_ctl_up import config, up
from toolkit.guest.hosts import Host, eventually, underlay

Hosts = Callable[..., list[Host]]
HOSTS = Path("/etc/hosts")
NAME = "b.l2wg.example"


@pytest.fixture
def name() -> Iterator[Callable[[str], None]]:
    """Says which address NAME has."""
    before = HOSTS.read_text() if HOSTS.exists() else ""

    def set_to(address: str) -> None:
        HOSTS.write_text(f"{before}\n{address} {NAME}\n")

    yield set_to
    HOSTS.write_text(before)


def test_a_peer_that_has_moved(hosts: Hosts, name: Callable[[str], None]) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    name("10.0.0.2")
    text = config(a, b, "Address = 192.168.157.1/24\nResolve = 10\n")
    path = file(a, text.replace("10.0.0.2:", f"{NAME}:"))
    said = ctl(a, "up", path)
    assert said.status == 0 and "nothing looks up the names again" in said.err.splitlines()[-1]
    # B does not know where A is, so it cannot tell A that it has moved
    text = config(b, a, "Address = 192.168.157.2/24\n")
    path_of_b = file(b, text.replace("Endpoint = 10.0.0.1:51820\n", ""))
    up(b, path_of_b)
    # A's first try may have been before B was there
    eventually(lambda: a.ok("ping", "-c", "1", "-W", "2", "192.168.157.2"), "A reaches B")
    assert done(a, "resolve", "--once", path) == ""

    def age() -> float:
        return time.time() - int(done(a, "show", "wg1", "latest-handshakes").split()[1])

    assert ctl(b, "down", path_of_b).status == 0
    b.ip("address del 10.0.0.2/24 dev eth0", "address add 10.0.0.3/24 dev eth0")
    up(b, path_of_b)
    name("10.0.0.3")
    eventually(lambda: age() > 11, "the peer is silent")
    assert not a.ok("ping", "-c", "1", "-W", "1", "192.168.157.2")
    moved = done(a, "resolve", "--once", path)
    assert moved.startswith(f"wg1: peer {b.public}: silent for ") and "10.0.0.3:51820" in moved
    eventually(lambda: a.ok("ping", "-c", "1", "-W", "2", "192.168.157.2"), "it is found")
    # now it roams: A learns where it is from its packets, and its name is no better
    b.ip("address del 10.0.0.3/24 dev eth0", "address add 10.0.0.4/24 dev eth0")
    eventually(lambda: b.ok("ping", "-c", "1", "-W", "2", "192.168.157.1"), "B reaches A")
    endpoint = f"{b.public}\t10.0.0.4:51820\n"
    eventually(lambda: done(a, "show", "wg1", "endpoints") == endpoint, "A has learnt it")
    name("10.0.0.9")
    eventually(lambda: age() > 11, "the peer is silent")
    assert done(a, "resolve", "--once", path) == ""
    assert done(a, "show", "wg1", "endpoints") == endpoint

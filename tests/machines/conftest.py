# SPDX-License-Identifier: GPL-2.0
"""Fixtures for the tests on two machines (./inv pair): these run on the first one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from toolkit.guest import agent, hosts
from toolkit.guest.agent import Peer
from toolkit.guest.dmesg import complaints
from toolkit.guest.hosts import Host, sh


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is `vm`, and nothing here may run on the developer's own machine."""
    if "L2WG_OUT" not in os.environ:
        raise pytest.UsageError("tests/machines runs in the lab's guests only: ./inv pair")
    for item in items:
        item.add_marker(pytest.mark.vm)


@pytest.fixture(scope="session")
def peer() -> Iterator[Peer]:
    """The second machine, once it has booted; it ends with the tests."""
    sh("modprobe", "l2wireguard")
    agent.join(0)
    other = Peer()
    yield other
    other.bye()


@pytest.fixture(autouse=True)
def quiet_kernels(request: pytest.FixtureRequest, peer: Peer) -> Iterator[None]:
    """Neither machine's kernel has anything to complain about."""
    mark = f"l2wg-test: {request.node.nodeid}"
    for shell in (sh, peer.sh):
        shell("sh", "-c", f"echo {re.escape(mark)} >/dev/kmsg")
    yield
    for shell, name in ((sh, "this"), (peer.sh, "the other")):
        log = shell("dmesg").split("l2wg-test: ")[-1]
        print(f"{name} machine: {log}")
        assert not complaints(log), f"{name} machine's kernel complained"


@pytest.fixture
def pair(peer: Peer) -> Iterator[list[Host]]:
    """Both machines, with an l2wireguard link wg1 between them over the cable."""
    a, b = Host("A", machine=True), Host("B", machine=True, sh=peer.sh)
    hosts.tunnel(a, b)
    yield [a, b]
    for host in (a, b):
        for link in ("br0", "wg1"):
            host.run("ip", "link", "delete", link, check=False)
        host.run("ip", "-all", "netns", "delete", check=False)

# SPDX-License-Identifier: GPL-2.0
"""Fixtures for the tests that run inside the lab's guest (./inv test --vm)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vm import batches, flows
from toolkit.guest import hosts as guest
from toolkit.guest.dmesg import complaints
from toolkit.guest.hosts import Host, sh, underlay

if TYPE_CHECKING:
    from tests.vm.spokes import Hub


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything here is `vm`, and nothing here may run on the developer's own machine."""
    if "L2WG_OUT" not in os.environ:
        raise pytest.UsageError("tests/vm runs in the lab's guest only: ./inv test --vm")
    for item in items:
        item.add_marker(pytest.mark.vm)


class Instant:
    """Shows a failure with its kernel log when it happens, not when the last test has ended."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            writer = self.config.get_terminal_writer()
            writer.line(f"\n{report.nodeid} ({report.when})\n{report.longreprtext}")
            writer.line(report.capstdout[-6000:])


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Instant(config))


@pytest.fixture(scope="session", autouse=True)
def module() -> None:
    """Load our module before anything asks for the plain kind, so that it has that kind."""
    sh("modprobe", "l2wireguard")


@pytest.fixture(autouse=True)
def quiet_kernel(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test's kernel log is kept, shown on failure, and must have no complaint in it."""
    mark = f"l2wg-test: {request.node.nodeid}"
    Path("/dev/kmsg").write_text(mark + "\n")
    yield
    log = sh("dmesg").split(mark, 1)[-1]
    name = re.sub(r"\W+", "-", request.node.name)[:100]
    (Path(os.environ["L2WG_OUT"]) / f"dmesg-{name}.txt").write_text(log)
    print(log)
    assert not complaints(log), "the kernel complained"


@pytest.fixture
def unloaded() -> Iterator[None]:
    """Neither module loaded; ours alone again afterwards."""

    def unload() -> None:
        for name in ("l2wireguard", "wireguard"):
            if Path(f"/sys/module/{name}").exists():
                sh("rmmod", name)

    unload()
    yield
    unload()
    sh("modprobe", "l2wireguard")


@pytest.fixture
def hosts() -> Iterator[Callable[..., list[Host]]]:
    """Makes hosts (network namespaces) by name; they are gone after the test."""
    made: list[Host] = []

    def make(*names: str) -> list[Host]:
        new = [Host(name).create() for name in names]
        made.extend(new)
        return new

    yield make
    for host in made:
        host.destroy()
    # Before Linux 5.14 the next namespace is known by the same number, and would find the records
    # of links that went with this one.
    shutil.rmtree("/run/l2wg", ignore_errors=True)


@pytest.fixture
def pair(hosts: Callable[..., list[Host]]) -> list[Host]:
    """A and B, joined by a cable, with an l2wireguard link wg1 over it.

      A                                     B
    +--------------------+              +--------------------+
    | wg1  192.168.157.1 |==============| wg1  192.168.157.2 |
    | eth0 10.0.0.1      |--------------| eth0 10.0.0.2      |
    +--------------------+    cable     +--------------------+
    """
    a, b = hosts("A", "B")
    underlay(a, b)
    guest.tunnel(a, b)
    return [a, b]


@pytest.fixture(scope="module")
def spokes() -> Iterator[Hub]:
    """One hub for all tests of a file: making one takes long under TCG."""
    made: list[Host] = []

    def make(*names: str) -> list[Host]:
        new = [Host(name).create() for name in names]
        made.extend(new)
        return new

    from tests.vm.spokes import make as make_hub

    yield make_hub(make)
    for host in made:
        host.destroy()


@pytest.fixture
def net(spokes: Hub) -> Iterator[Hub]:
    """The same hub with nothing but the defaults set, and nothing learned."""
    from tests.vm.spokes import defaults, undo

    defaults(spokes)
    yield spokes
    undo(spokes)


@pytest.fixture
def batching() -> Iterator[None]:
    """Batches are on for Ethernet links; and as they were, whatever a test does to that."""
    before = flows.MODE.read_text()
    flows.mode("ethernet")
    yield
    flows.mode(before)


@pytest.fixture(scope="module")
def batch_hosts() -> Iterator[tuple[Host, Host]]:
    """The hosts of tests/vm/batches.py, for all tests of a file."""
    a, b = Host("A").create(), Host("B").create()
    batches.pair_of(a, b)
    yield a, b
    for host in (a, b):
        host.destroy()


@pytest.fixture
def ends(batch_hosts: tuple[Host, Host]) -> Iterator[tuple[Host, Host]]:
    """A and B, with the offloads of their cards and without rules afterwards."""
    yield batch_hosts
    for host in batch_hosts:
        host.run("nft", "flush", "ruleset")
        host.run("tc", "qdisc", "delete", "dev", "eth0", "root", check=False)
        host.run("tc", "qdisc", "delete", "dev", "eth0", "clsact", check=False)
        batches.offloads(host, tx="on", sg="on", gso="on", gro="off")
        batches.offloads(host, **{"tx-udp-segmentation": "on"})

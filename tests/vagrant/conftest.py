# SPDX-License-Identifier: GPL-2.0
"""Fixtures for the tests against the machines of the Vagrantfile (./inv vagrant-test)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vagrant.node import Node
from toolkit.guest.dmesg import complaints

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is `vagrant`, and needs machines that are up."""
    if "L2WG_SSH_CONFIG" not in os.environ:
        raise pytest.UsageError("tests/vagrant needs its machines: ./inv vagrant-test")
    for item in items:
        item.add_marker(pytest.mark.vagrant)


@pytest.fixture(scope="session")
def nodes() -> Iterator[list[Node]]:
    """l2wg-a and l2wg-b."""
    config = Path(os.environ["L2WG_SSH_CONFIG"])
    made = [Node(name, config) for name in ("l2wg-a", "l2wg-b")]
    for node in made:
        # our own box has them
        node.run(
            "export DEBIAN_FRONTEND=noninteractive\n"
            "command -v tcpdump && command -v pppd && command -v pppoe-server ||\n"
            "{ apt-get update -qq && apt-get install -y -qq tcpdump ppp pppoe </dev/null; }",
            timeout=900,
        )
    yield made
    for node in made:
        node.hang_up()


@pytest.fixture(autouse=True)
def quiet_kernels(request: pytest.FixtureRequest, nodes: list[Node]) -> Iterator[None]:
    """Neither kernel may complain while a test runs."""
    mark = f"l2wg-test: {request.node.name}"
    for node in nodes:
        node.run(f"echo '{mark}' >/dev/kmsg")
    yield
    logs = {node.name: node.run("dmesg").split(mark, 1)[-1] for node in nodes}
    for name, log in logs.items():
        assert not complaints(log), f"{name}'s kernel complained:\n{log}"


@pytest.fixture
def pair(nodes: list[Node]) -> Iterator[list[Node]]:
    """Both, with wg1 up; what a test adds by way of Node.later() is gone after it."""
    for node in nodes:
        node.run("systemctl start l2wg@wg1")
    yield nodes
    for node in nodes:
        node.tidy()

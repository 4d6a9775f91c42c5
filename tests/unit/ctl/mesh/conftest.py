# SPDX-License-Identifier: GPL-2.0
"""Fixtures for the tests of meshes: a real etcd, of each version that Debian ships."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l2wgctl.mesh.etcd import Etcd
from l2wgctl.mesh.store import Event, Progress
from tests.unit.conftest import without
from toolkit.errors import ToolError
from toolkit.lab.etcd import RELEASES, Cluster, program


@pytest.fixture(scope="session", params=RELEASES)
def etcd(request: pytest.FixtureRequest) -> Path:
    """The program."""
    try:
        return program(request.param)
    except ToolError as error:
        without(f"etcd {request.param}: {error}")
        raise


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, etcd: Path) -> Iterator[Cluster]:
    """One member, for all tests of a file."""
    cluster = Cluster(tmp_path_factory.mktemp("etcd"), program=etcd)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def three(tmp_path: Path, etcd: Path) -> Iterator[Cluster]:
    """Three members."""
    cluster = Cluster(tmp_path, 3, program=etcd)
    cluster.start()
    yield cluster
    cluster.stop()


class Watcher:
    """A watch in a thread of its own; its events come in order."""

    def __init__(self, store: Etcd, prefix: str, revision: int) -> None:
        self.store = store
        self.events: queue.Queue[Event] = queue.Queue()
        self.thread = threading.Thread(target=self._run, args=(prefix, revision))
        self.thread.start()

    def _run(self, prefix: str, revision: int) -> None:
        for event in self.store.watch(prefix, revision):
            self.events.put(event)

    def next(self) -> Event:
        return self.events.get(timeout=60)

    def next_change(self) -> Event:
        while isinstance(event := self.next(), Progress):
            pass
        return event

    def end(self) -> None:
        self.store.cancel()
        self.thread.join()


@pytest.fixture
def watch() -> Iterator[Callable[[Etcd, str, int], Watcher]]:
    watchers: list[Watcher] = []

    def begin(store: Etcd, prefix: str, revision: int) -> Watcher:
        watchers.append(Watcher(store, prefix, revision))
        return watchers[-1]

    yield begin
    for watcher in watchers:
        watcher.end()


Begin = Callable[[Etcd, str, int], Watcher]

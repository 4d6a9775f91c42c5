# SPDX-License-Identifier: GPL-2.0
"""Fixtures for the tests of meshes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit.bench.etcd import Cluster


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three members of a real etcd."""
    cluster = Cluster(tmp_path, 3)
    cluster.start()
    yield cluster
    cluster.stop()

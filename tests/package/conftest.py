# SPDX-License-Identifier: GPL-2.0
"""Fixtures for the tests of what is installed (./inv package-test). They take minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.debs import package


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.package)


@pytest.fixture(scope="session")
def debs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both packages by name, made now, and judged by lintian."""
    made = package.packages(output=tmp_path_factory.mktemp("debs"), lint=True)
    return {p.name.split("_")[0]: p for p in made}

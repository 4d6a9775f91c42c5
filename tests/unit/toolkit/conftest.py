# SPDX-License-Identifier: GPL-2.0
"""What several tests of the toolkit need."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from toolkit import arch


@pytest.fixture
def dpkg(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets a test say what `dpkg --print-architecture` prints; amd64 to begin with."""

    def say(name: str) -> None:
        def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            assert argv == ["dpkg", "--print-architecture"]
            return subprocess.CompletedProcess(argv, 0, f"{name}\n", "")

        monkeypatch.setattr(arch, "run", run)
        arch.architecture.cache_clear()

    say("amd64")
    yield say
    arch.architecture.cache_clear()

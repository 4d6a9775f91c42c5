# SPDX-License-Identifier: GPL-2.0
"""netns.sh: what it needs of `wg`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit import arch
from toolkit.checks import netns
from toolkit.kernels.archive import Package

TAKES = "n0 wg set wg0 peer x allowed-ips 10.0.0.1/32\n"
TAKES_AWAY = TAKES + "n0 wg set wg0 peer x allowed-ips -10.0.0.1/32,-abcd::1/128\n"


class Archive:
    """Has every package, at one version."""

    def __init__(self, codename: str) -> None:
        assert codename == "trixie"

    def get(self, name: str) -> Package:
        return Package(name, "9")

    def fetch(self, package: Package) -> Path:
        return Path(f"{package.name}.deb")


@pytest.fixture
def fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dpkg: Callable[[str], None]
) -> list[str]:
    """What was unpacked, of two architectures."""
    names: list[str] = []

    def unpack(debs: list[Path], target: Path, _: object) -> None:
        names.extend(d.name for d in debs)
        (target / "usr/bin").mkdir(parents=True)
        # stands for the loader: says what it is to run
        for known in arch.KNOWN.values():
            loader = target / "usr/lib" / known.triplet / known.loader
            loader.parent.mkdir(parents=True)
            loader.write_text('#!/bin/sh\necho "$@"\n')
            loader.chmod(0o755)

    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(netns, "Archive", Archive)
    monkeypatch.setattr(netns, "unpack", unpack)
    return names


def says(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    text = f"wireguard-tools v{version} - https://example.org\n"
    done = subprocess.CompletedProcess(["wg"], 0, text, "")
    monkeypatch.setattr(netns, "run", lambda *_, **__: done)


@pytest.mark.parametrize(
    ("version", "script"),
    [("1.0.20210914", TAKES), ("1.0.20250521", TAKES_AWAY), ("1.0.20260223", TAKES_AWAY)],
)
def test_this_machines_wg_will_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fetched: list[str], version: str, script: str
) -> None:
    says(monkeypatch, version)
    assert netns.wg_for(script, tmp_path) is None
    assert fetched == []


@pytest.mark.parametrize(
    ("name", "libraries"), [("amd64", "x86_64-linux-gnu"), ("arm64", "aarch64-linux-gnu")]
)
def test_a_later_wg_with_its_own_c_library(
    dpkg: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fetched: list[str],
    name: str,
    libraries: str,
) -> None:
    dpkg(name)
    says(monkeypatch, "1.0.20210914")
    assert netns.wg_for(TAKES_AWAY, tmp_path) == tmp_path / "bin"
    assert fetched == ["wireguard-tools.deb", "libc6.deb"]
    done = subprocess.run(
        [tmp_path / "bin/wg", "show", "a b"], stdout=subprocess.PIPE, text=True, check=True
    )
    root = tmp_path / "cache/tools/wg_9_9/usr"
    assert done.stdout == f"--library-path {root}/lib/{libraries} {root}/bin/wg show a b\n"

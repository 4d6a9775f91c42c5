# SPDX-License-Identifier: GPL-2.0
"""netns.sh: what it needs of `wg`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

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
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was unpacked."""
    names: list[str] = []

    def unpack(debs: list[Path], target: Path, _: object) -> None:
        names.extend(d.name for d in debs)
        (target / "usr/bin").mkdir(parents=True)
        (target / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
        # stands for the loader: says what it is to run
        loader = target / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
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


def test_a_later_wg_with_its_own_c_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fetched: list[str]
) -> None:
    says(monkeypatch, "1.0.20210914")
    assert netns.wg_for(TAKES_AWAY, tmp_path) == tmp_path / "bin"
    assert fetched == ["wireguard-tools.deb", "libc6.deb"]
    done = subprocess.run(
        [tmp_path / "bin/wg", "show", "a b"], stdout=subprocess.PIPE, text=True, check=True
    )
    root = tmp_path / "cache/tools/wg_9_9/usr"
    assert done.stdout == (f"--library-path {root}/lib/x86_64-linux-gnu {root}/bin/wg show a b\n")

# SPDX-License-Identifier: GPL-2.0
"""The same sources and the same tools make the same files, bit for bit, wherever."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from toolkit import paths
from toolkit.debs import package, trees
from toolkit.kernels import kernel as kernels
from toolkit.kernels import source as sources
from toolkit.kmod import build, patching, toolchain
from toolkit.run import run


def built(series: str, work: Path) -> bytes:
    kernel = kernels.resolve(series)
    work.mkdir(parents=True)
    tools = toolchain.of(kernel)
    return build._kbuild(kernel, sources.of(kernel), tools, work, debug=False).read_bytes()


@pytest.mark.parametrize("series", ["5.10", "6.1"])
def test_the_module(series: str, tmp_path: Path) -> None:
    one = built(series, tmp_path / "a")
    other = built(series, tmp_path / "another" / "folder" / "much" / "deeper")
    assert one == other
    assert str(tmp_path).encode() not in one
    assert b"drivers/net/wireguard/" in one, "WARN_ON() has file names in it: where are they?"


def test_the_packages(debs: dict[str, Path], tmp_path: Path) -> None:
    again = {p.name: p.read_bytes() for p in package.packages(output=tmp_path)}
    assert again == {p.name: p.read_bytes() for p in debs.values()}


@pytest.fixture(scope="session")
def dkms(debs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the DKMS package installs below /usr/src."""
    folder = tmp_path_factory.mktemp("dkms")
    run(["dpkg-deb", "--extract", debs[package.DKMS], folder])
    return folder / f"usr/src/l2wireguard-{paths.version()}"


def make(dkms: Path, headers: Path, compiler: str) -> subprocess.CompletedProcess[str]:
    """As DKMS does, with headers that look as if they were installed."""
    installed = f"KCFLAGS=-ffile-prefix-map={headers.parent}/=/usr/src/"
    argv = ["make", f"KDIR={headers}", f"CC={compiler}", installed]
    return run(argv, cwd=dkms, check=False)


@pytest.mark.parametrize("series", ["5.10", "6.1"])
def test_dkms_builds_what_we_build(series: str, dkms: Path) -> None:
    """Bit for bit, when it is stripped as DKMS strips it."""
    kernel = kernels.resolve(series)
    compiler = toolchain.of(kernel).compiler
    done = make(dkms, kernel.build, compiler)
    assert done.returncode == 0, done.stdout + done.stderr
    module = dkms / "l2wireguard.ko"
    run([*build.STRIP, module])
    assert module.read_bytes() == build.build(kernel).file.read_bytes()


def test_every_driver_of_a_series_builds_for_its_newest_kernel(dkms: Path) -> None:
    """A kernel between two of the carried ones is built with the older one's driver."""
    for series in ("5.10", "6.1"):
        kernel = kernels.resolve(series)
        found = [t for t in (dkms / "trees").iterdir() if trees.series_of(t.name) == series]
        assert len(found) == 2, "the oldest and the newest of what Debian serves"
        for tree in found:
            shutil.rmtree(dkms / "work", ignore_errors=True)
            shutil.copytree(tree, dkms / "work")
            for name in [*patching.own_files(), "Kbuild"]:
                shutil.copy(dkms / name, dkms / "work")
            argv = build.make_argv(kernel, dkms / "work", toolchain.of(kernel).compiler)
            assert run(argv, check=False).returncode == 0, tree.name


def test_a_series_that_is_not_carried_is_one_line(dkms: Path, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("kernelversion:\n\t@echo 4.19.3\n")
    done = make(dkms, tmp_path, "gcc")
    assert done.returncode
    first = done.stderr.splitlines()[0]
    assert first.startswith("l2wireguard: no WireGuard driver for Linux 4.19.3 here, only for 5.10")
    done = make(dkms, tmp_path / "nothing", "gcc")
    assert done.stderr.splitlines()[0] == (
        f"l2wireguard: no kernel headers in {tmp_path / 'nothing'}"
    )

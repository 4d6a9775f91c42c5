# SPDX-License-Identifier: GPL-2.0
"""The drivers that the DKMS package carries, and which of them a kernel gets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.faketree import make
from toolkit import paths
from toolkit.debs import package, trees
from toolkit.debs.trees import Origin
from toolkit.errors import ToolError
from toolkit.kernels.source import DRIVER, Source
from toolkit.kmod import patching

pytestmark = pytest.mark.program("patch")


def origin(folder: Path, version: str, change: str = "") -> Origin:
    tree = make(folder / version, version)
    if change:
        with (tree / DRIVER / "noise.c").open("a") as noise:
            noise.write(f"/* {change} */\n")
    return Origin(Source(tree / DRIVER, tree, version), f"linux-source {version}")


def test_what_is_carried(tmp_path: Path) -> None:
    """Each driver that differs from the one before it in its series, with our hooks in it."""
    carried = trees.carry(
        tmp_path / "trees",
        [
            origin(tmp_path, "6.1.192", "fixed"),
            origin(tmp_path, "6.1.170"),
            origin(tmp_path, "6.1.180"),
            origin(tmp_path, "5.10.262"),
            origin(tmp_path, "6.12.95", "fixed"),
        ],
    )
    versions = ["5.10.262", "6.1.170", "6.1.192", "6.12.95"]
    assert [o.version for o in carried] == versions
    assert sorted(p.name for p in (tmp_path / "trees").iterdir()) == sorted(versions)
    assert trees.all_series(carried) == ["5.10", "6.1", "6.12"]
    for version in versions:
        tree = tmp_path / "trees" / version
        assert "l2wg_link_register" in (tree / "device.c").read_text()
        # ours are there once, beside the drivers
        assert not {*patching.own_files(), "Kbuild"} & {p.name for p in tree.iterdir()}
        assert {p.stat().st_mode & 0o777 for p in tree.iterdir()} == {0o644}


def test_a_tree_that_does_not_tell_its_version(tmp_path: Path) -> None:
    tree = make(tmp_path / "linux")
    (tree / "Makefile").unlink()
    with pytest.raises(ToolError, match="does not tell its kernel version"):
        trees.origins([tree])


def choose(folder: Path, version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", paths.KERNEL / "choose-tree", folder, version],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    for version in ("5.10.218", "5.10.262", "6.1.170", "6.12.95", "6.12.118"):
        (tmp_path / version).mkdir()
    (tmp_path / "README").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("kernel", "tree"),
    [
        ("5.10.218", "5.10.218"),
        ("5.10.261", "5.10.218"),
        ("5.10.262", "5.10.262"),
        ("5.10.1000", "5.10.262"),
        # all are newer: the oldest
        ("5.10.9", "5.10.218"),
        ("6.1.192", "6.1.170"),
        ("6.12.0", "6.12.95"),
        ("6.12.0-rc3", "6.12.95"),
        ("6.12.100", "6.12.95"),
        ("6.12.120", "6.12.118"),
    ],
)
def test_the_nearest_of_the_series(carried: Path, kernel: str, tree: str) -> None:
    assert choose(carried, kernel).stdout == f"{tree}\n"


@pytest.mark.parametrize("kernel", ["6.2.1", "6.11.3", "5.1.2", "61.2.1", "nonsense", ""])
def test_no_driver_of_the_series(carried: Path, kernel: str) -> None:
    done = choose(carried, kernel)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"l2wireguard: no WireGuard driver for Linux {kernel} here, only for 5.10, 6.1, 6.12 ("
    )


def test_dkms_conf_is_for_the_series_that_are_carried(tmp_path: Path) -> None:
    package.lay_out_dkms(tmp_path, ["5.10", "6.1"])
    for release, built in {
        "5.10.0-46-amd64": True,
        "6.1.0-56-rt-amd64": True,
        "6.1-custom": True,
        "6.12.95+deb12-amd64": False,
        "6.11.0": False,
        "15.10.1": False,
        "5.100.1": False,
    }.items():
        # as dkms does it
        script = f'. {tmp_path}/dkms.conf; [[ "{release}" =~ $BUILD_EXCLUSIVE_KERNEL ]]'
        done = subprocess.run(["bash", "-c", script], check=False)
        assert (done.returncode == 0) is built, release

# SPDX-License-Identifier: GPL-2.0
"""The packages' source tree, before debhelper gets it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from l2wgctl.install import FILES
from tests.unit.toolkit.debs.test_trees import origin
from toolkit import paths
from toolkit.debs import package

pytestmark = pytest.mark.program("patch")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    work = tmp_path / "work"
    package._lay_out(work, [origin(tmp_path, "6.1.170"), origin(tmp_path, "5.10.262")])
    return work


def test_the_date(tree: Path) -> None:
    assert package.when() == 1700000000
    assert "Tue, 14 Nov 2023 22:13:20" in (tree / "debian/changelog").read_text()


def test_everything_is_installed(tree: Path) -> None:
    """What is in the tree, and is not for debhelper itself, goes into a package."""
    names = (package.DKMS, package.CTL, package.MESH)
    lists = "".join((tree / f"debian/{name}.install").read_text() for name in names)
    named = {line.split()[0].removesuffix("/*") for line in lists.splitlines()}
    named.add((tree / f"debian/{package.DKMS}.dkms").read_text().strip())
    for file in tree.rglob("*"):
        place = str(file.relative_to(tree))
        if file.is_file() and not place.startswith("debian/"):
            assert any(place == n or place.startswith(n + "/") for n in named), place


def test_the_files_of_l2wgctl_are_where_debian_has_them(tree: Path) -> None:
    files = {str(p.relative_to(tree / "files")) for p in (tree / "files").rglob("*") if p.is_file()}
    assert files == {
        "usr/bin/l2wgctl",
        "usr/share/man/man8/l2wgctl.8",
        "usr/share/man/man5/l2wg.conf.5",
        "usr/share/bash-completion/completions/l2wgctl",
        "usr/share/zsh/vendor-completions/_l2wgctl",
        "lib/systemd/system/l2wg@.service",
        "lib/systemd/system/l2wg-resolve@.service",
        "lib/systemd/system/l2wg.target",
    }
    # l2wgctl itself is more, and the agent's unit is in a package of its own
    assert len(files) == len(FILES) + 1 - 1
    mesh = tree / package.MESH
    (unit_of_mesh,) = (p for p in mesh.rglob("*") if p.is_file())
    assert str(unit_of_mesh.relative_to(mesh)) == "lib/systemd/system/l2wg-mesh@.service"
    assert "ExecStart=/usr/bin/l2wgctl mesh run %i" in unit_of_mesh.read_text()
    assert (tree / "files/usr/bin/l2wgctl").stat().st_mode & stat.S_IXUSR
    unit = (tree / "files/lib/systemd/system/l2wg@.service").read_text()
    assert "ExecStart=/usr/bin/l2wgctl up %i" in unit and "@l2wgctl@" not in unit


def test_the_copyright_names_what_is_carried(tree: Path) -> None:
    text = (tree / "debian/copyright").read_text()
    assert " linux-source 5.10.262\n linux-source 6.1.170\n" in text
    assert not list((tree / "python").rglob("*.pyc"))


def test_the_python_modules_are_no_programs(tree: Path) -> None:
    for file in (tree / "python").rglob("*.py"):
        assert not file.read_text().startswith("#!"), file
        assert not file.stat().st_mode & 0o111, file
    assert (tree / "python/l2wgctl/py.typed").exists()


def test_dkms_gets_our_version(tree: Path) -> None:
    conf = (tree / "dkms/dkms.conf").read_text()
    assert f'PACKAGE_VERSION="{paths.version()}"' in conf
    assert 'BUILD_EXCLUSIVE_KERNEL="^(5\\.10|6\\.1)[.-]"' in conf
    install = (tree / f"debian/{package.DKMS}.install").read_text()
    assert f"usr/src/l2wireguard-{paths.version()}" in install

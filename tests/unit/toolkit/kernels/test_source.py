# SPDX-License-Identifier: GPL-2.0
"""The driver's source: the user's, the kernel's own, or out of Debian's package."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from rich.progress import Progress

from tests.support.faketree import make
from toolkit.errors import ToolError
from toolkit.kernels import source
from toolkit.kernels.archive import Package
from toolkit.kernels.kernel import Kernel
from toolkit.kernels.source import DRIVER


def kernel(build: Path, version: str = "6.1.192", package: Package | None = None) -> Kernel:
    made = Kernel("6.1.0-41-amd64", build, package)
    # a cached property, which would ask make
    made.__dict__["version"] = version
    return made


def line(wanted: Kernel, given: Path | None = None) -> str:
    with pytest.raises(ToolError) as error:
        source.of(wanted, given)
    return str(error.value)


def test_a_given_tree_or_its_driver(tmp_path: Path) -> None:
    tree = make(tmp_path / "linux")
    for given in (tree, tree / DRIVER):
        found = source.of(kernel(tmp_path / "build"), given)
        assert (found.driver, found.tree, found.version) == (tree / DRIVER, tree, "6.1.192")


def test_a_lone_driver_is_taken_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = tmp_path / "mine"
    (make(tmp_path / "linux") / DRIVER).rename(driver)
    found = source.of(kernel(tmp_path / "build"), driver)
    assert (found.driver, found.tree, found.version) == (driver, None, None)
    assert capsys.readouterr().err == (
        f"{driver} does not tell its kernel version: taking it as it is\n"
    )


def test_a_build_folder_that_is_a_tree(tmp_path: Path) -> None:
    tree = make(tmp_path / "linux")
    assert source.of(kernel(tree)).driver == tree / DRIVER


def test_of_another_version_than_the_headers(tmp_path: Path) -> None:
    tree, build = make(tmp_path / "linux", "5.10.262"), tmp_path / "build"
    assert line(kernel(build), tree) == (
        f"source and headers of different versions: {tree}/drivers/net/wireguard is Linux "
        f"5.10.262, {build} is Linux 6.1.192 (give --source a tree of Linux 6.1.192)"
    )


def test_not_a_tree(tmp_path: Path) -> None:
    assert line(kernel(tmp_path), tmp_path) == (
        f"{tmp_path}: neither a kernel tree nor a drivers/net/wireguard folder"
    )


def test_nobody_tells_where_it_is(tmp_path: Path) -> None:
    assert line(kernel(tmp_path)) == (
        f"{tmp_path}: has no drivers/net/wireguard, and no Debian package tells where its source "
        "is (name it: --source /path/to/linux)"
    )


def test_no_longer_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    package = Package("linux-headers-6.1.0-41-amd64", "6.1.192-2")
    assert line(kernel(tmp_path, package=package)) == (
        "linux-headers-6.1.0-41-amd64 6.1.192-2 is no longer served, nor is its source "
        "(upgrade the kernel, or name its source: --source /path/to/linux)"
    )


@pytest.mark.parametrize(
    ("makefile", "version"),
    [
        ("VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n", "7.3.4"),
        ("VERSION = 7\nPATCHLEVEL = 3\n", None),
        ("all:\n", None),
        (None, None),
    ],
)
def test_the_version_of_a_tree(tmp_path: Path, makefile: str | None, version: str | None) -> None:
    if makefile is not None:
        (tmp_path / "Makefile").write_text(makefile)
    assert source.tree_version(tmp_path) == version


def package_of(tree: Path, deb: Path, *more: str) -> Path:
    """A linux-source package of the tree, with further empty files in it."""
    root = deb.parent / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: linux-source-6.1\nVersion: 6.1.192-2\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: for a test\n"
    )
    (root / "usr/src").mkdir(parents=True)
    with tarfile.open(root / "usr/src/linux-source-6.1.tar.xz", "w:xz") as tar:
        tar.add(tree, "linux-source-6.1")
        for name in more:
            tar.addfile(tarfile.TarInfo(f"linux-source-6.1/{name}"), io.BytesIO())
    (root / "usr/src/linux-patch-6.1-rt.patch.xz").touch()
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(deb)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return deb


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    """A package of a whole tree."""
    tree = make(tmp_path / "linux")
    for name in (*source.TOOLS[:3], f"{source.TOOLS[3]}netns.sh"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("#!/usr/bin/perl\n")
        (tree / name).chmod(0o775)
    return package_of(tree, tmp_path / "source.deb", "net/core/dev.c", "drivers/net/Makefile")


def test_only_what_we_need_leaves_the_package(deb: Path, tmp_path: Path) -> None:
    target = tmp_path / "6.1.192-2"
    source.extract(deb, target, Progress(disable=True))
    only = make(tmp_path / "only")
    assert files(target) == files(only)
    assert (target / DRIVER / "main.c").read_bytes() == (only / DRIVER / "main.c").read_bytes()
    assert source.tree_version(target) == "6.1.192"
    source.extract(deb, tmp_path / "tools", Progress(disable=True), source.TOOLS)
    assert files(tmp_path / "tools") == {*source.TOOLS[:3], f"{source.TOOLS[3]}netns.sh"}
    assert (tmp_path / "tools/scripts/checkpatch.pl").stat().st_mode & 0o777 == 0o755


def test_nothing_is_read_that_comes_after_it(deb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the half of the time."""
    read: list[str] = []
    next_of = tarfile.TarFile.next

    def following(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
        found = next_of(tar)
        read.extend([found.name.removeprefix("linux-source-6.1/")] if found else [])
        return found

    monkeypatch.setattr(tarfile.TarFile, "next", following)
    source.extract(deb, deb.parent / "out", Progress(disable=True))
    assert f"{DRIVER}/main.c" in read
    assert not [name for name in read if name.startswith(("tools/", "net/"))]


def test_a_tool_is_taken_from_the_package_when_it_is_asked_for(
    deb: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    fetched: list[Package] = []

    class Served:
        def get(self, name: str, version: str) -> Package:
            return Package(name, version)

        def fetch(self, package: Package) -> Path:
            fetched.append(package)
            return deb

    package = Package("linux-headers-6.1.0-56-amd64", "6.1.192-2")
    built = make(tmp_path / "linux-headers")
    shutil.rmtree(built / "drivers")
    monkeypatch.setattr(Kernel, "version", "6.1.192")
    wanted = Kernel("6.1.0-56-amd64", built, package, Served())  # type: ignore[arg-type]
    source.fetch(wanted)
    found = source.of(wanted)
    assert [p.name for p in fetched] == ["linux-source-6.1"]
    for _ in range(2):
        path = source.tool(wanted, found, "scripts/checkpatch.pl")
        assert path.read_text() == "#!/usr/bin/perl\n" and len(fetched) == 2
    # a cache of an earlier version has it beside the driver
    assert found.tree
    (found.tree / "scripts").mkdir()
    (found.tree / "scripts/checkpatch.pl").write_text("old\n")
    assert source.tool(wanted, found, "scripts/checkpatch.pl").read_text() == "old\n"
    with pytest.raises(ToolError) as error:
        source.tool(wanted, found, "scripts/no")
    assert str(error.value) == "the source of 6.1.0-56-amd64 (Linux 6.1.192) has no scripts/no"


def test_a_package_without_the_driver_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "linux").mkdir()
    deb = package_of(tmp_path / "linux", tmp_path / "source.deb")
    target = tmp_path / "cache" / "6.1.192-2"
    with pytest.raises(ToolError) as error:
        source.extract(deb, target, Progress(disable=True))
    assert str(error.value) == f"{deb}: has no drivers/net/wireguard"
    assert list(target.parent.iterdir()) == []

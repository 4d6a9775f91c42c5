# SPDX-License-Identifier: GPL-2.0
"""From what the user says to a kernel: what is found, and the line when nothing is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.errors import ToolError
from toolkit.kernels import kernel
from toolkit.kernels.archive import Package
from toolkit.kernels.kernel import Kernel, resolve


class Archive:
    """A release of Debian of which only the names are known."""

    serves: dict[str, list[Package]] = {}

    def __init__(self, codename: str, foreign: str | None = None) -> None:
        self.codename = codename
        self.foreign = foreign

    def find(self, pattern: str) -> list[Package]:
        return [p for p in self.serves.get(self.codename, []) if re.search(pattern, p.name)]

    def get(self, name: str, version: str) -> Package:
        return Package(name, version)

    def fetch(self, package: Package) -> Path:
        return Path(f"{package.name}_{self.foreign or 'here'}.deb")


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dpkg: Callable[[str], None]) -> None:
    """A machine with a kernel without headers, and an empty archive of two releases."""
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release="6.9.0-here"))
    monkeypatch.setattr(kernel, "headers_of", lambda release: tmp_path / "modules" / release)
    monkeypatch.setattr(kernel, "Archive", Archive)
    monkeypatch.setattr(Archive, "serves", {})
    monkeypatch.setattr(kernel, "RELEASES", {"old": ("5.10",), "new": ("6.1", "6.12")})


def headers(*names: str) -> list[Package]:
    return [Package(f"linux-headers-{n}", "1") for n in names]


def line(wanted: str | None) -> str:
    with pytest.raises(ToolError) as error:
        resolve(wanted)
    return str(error.value)


@pytest.mark.parametrize("wanted", ["nonsense", "v6.1", "", "latest"])
def test_nonsense(wanted: str) -> None:
    assert line(wanted) == (
        f"--kernel {wanted}: neither `running`, a series, a release nor a folder "
        "(write --kernel 5.10, --kernel 5.10.0-46-amd64 or --kernel /path/to/build)"
    )


def test_a_folder_that_is_no_build_folder(tmp_path: Path) -> None:
    assert line(str(tmp_path)) == f"{tmp_path}: not a kernel build folder, it has no Makefile"


def test_a_folder_that_is_not_configured(tmp_path: Path) -> None:
    (tmp_path / "Makefile").touch()
    assert line(str(tmp_path)) == (
        f"{tmp_path}: not a configured kernel build folder, it has no kernel.release "
        "(run `make modules_prepare` there)"
    )


def test_a_build_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Makefile").touch()
    (tmp_path / "include/config").mkdir(parents=True)
    (tmp_path / "include/config/kernel.release").write_text("6.5.4-mine\n")
    assert resolve(str(tmp_path)) == Kernel("6.5.4-mine", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert resolve(".") == Kernel("6.5.4-mine", tmp_path)


def test_the_running_kernel_without_headers(tmp_path: Path) -> None:
    assert line("running") == (
        f"no headers for the running kernel 6.9.0-here in {tmp_path}/modules/6.9.0-here "
        "(apt-get install linux-headers-6.9.0-here, or name a kernel: --kernel 5.10)"
    )


def test_an_unknown_series() -> None:
    known = "(known series: 5.10, 6.1, 6.12; the newest of all: newest)"
    assert line("4.19") == f"Linux 4.19: no headers in old, new {known}"
    assert line("6.1") == f"Linux 6.1: no headers in new {known}"


def test_an_unknown_release(tmp_path: Path) -> None:
    assert line("6.1.0-99-amd64") == (
        f"no headers for 6.1.0-99-amd64: neither in {tmp_path}/modules/6.1.0-99-amd64 nor in "
        "Debian old, new (name a series for its newest kernel: --kernel 6.1)"
    )


def test_without_a_wish_and_headers_it_is_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def series(wanted: str, *_: object) -> Kernel:
        asked.append(wanted)
        return Kernel("5.10.0-1-amd64", Path("/build"))

    monkeypatch.setattr(kernel, "_from_series", series)
    assert resolve(None).release == "5.10.0-1-amd64"
    assert asked == ["5.10"]
    assert capsys.readouterr().err == (
        "No headers for the running kernel 6.9.0-here: building for 5.10\n"
    )


def test_a_series_is_its_newest_plain_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    served = headers(
        *("6.1.0-41-rt-amd64", "6.1.0-41-cloud-amd64", "6.1.0-41-amd64", "6.1.0-40-amd64"),
        *("6.12.0-1-amd64", "6.1.0-41-common", "6.1.0-41-arm64"),
    )
    monkeypatch.setattr(Archive, "serves", {"new": served})

    def fetched(archive: Archive, package: Package, _: object) -> Kernel:
        return Kernel(package.name, Path("/build"), package, archive)  # type: ignore[arg-type]

    monkeypatch.setattr(kernel, "_fetched", fetched)
    assert resolve("6.1").release == "linux-headers-6.1.0-41-amd64"


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four releases as they are, of which the third and fourth share a series."""
    releases = {"one": ("5.10", "6.1"), "two": ("6.1", "6.12"), "three": ("6.12",), "last": ()}
    monkeypatch.setattr(kernel, "RELEASES", releases)
    monkeypatch.setattr(kernel, "BUILT_IN", {"deb12": "two", "deb13": "three", "deb14": "last"})
    monkeypatch.setattr(kernel, "NEWEST_IN", "three")
    monkeypatch.setattr(
        *(Archive, "serves"),
        {
            "one": headers("6.1.0-0.deb11.52-amd64", "5.10.0-46-amd64"),
            "two": headers("6.12.117+deb12-amd64", "6.1.0-56-amd64", "6.1.0-56-arm64"),
            "three": headers("7.3.4+deb13-amd64", "6.12.118+deb13-amd64", "7.3.4+deb13-arm64"),
            "last": headers("7.4.1+deb14-amd64", "7.3.9+deb14-amd64"),
        },
    )

    def fetched(archive: Archive, package: Package, _: object) -> Kernel:
        release = package.name.removeprefix("linux-headers-")
        return Kernel(release, Path("/build"), package, archive)  # type: ignore[arg-type]

    monkeypatch.setattr(kernel, "_fetched", fetched)


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("wanted", "release"),
    [
        ("5.10", "5.10.0-46-amd64"),
        # a series by itself is the release's whose own it is
        ("6.1", "6.1.0-56-amd64"),
        ("6.12", "6.12.118+deb13-amd64"),
        ("6.12+deb12", "6.12.117+deb12-amd64"),
        ("6.12+deb13", "6.12.118+deb13-amd64"),
        ("6.12.117+deb12-amd64", "6.12.117+deb12-amd64"),
        # what no release is known for is looked for in all
        ("7.3", "7.3.4+deb13-amd64"),
        ("7.3+deb14", "7.3.9+deb14-amd64"),
        ("7.4", "7.4.1+deb14-amd64"),
        ("newest", "7.3.4+deb13-amd64"),
    ],
)
def test_names_of_kernels(wanted: str, release: str) -> None:
    assert resolve(wanted).release == release


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("here", "wanted", "release", "foreign"),
    [
        ("amd64", "6.1-arm64", "6.1.0-56-arm64", "arm64"),
        ("amd64", "newest-arm64", "7.3.4+deb13-arm64", "arm64"),
        ("amd64", "7.3+deb13-arm64", "7.3.4+deb13-arm64", "arm64"),
        ("amd64", "6.1.0-56-arm64", "6.1.0-56-arm64", "arm64"),
        ("amd64", "6.1-amd64", "6.1.0-56-amd64", None),
        ("arm64", "6.1", "6.1.0-56-arm64", None),
        ("arm64", "newest", "7.3.4+deb13-arm64", None),
        ("arm64", "6.1-arm64", "6.1.0-56-arm64", None),
        ("arm64", "6.1.0-56-arm64", "6.1.0-56-arm64", None),
        ("arm64", "5.10-amd64", "5.10.0-46-amd64", "amd64"),
    ],
)
def test_kernels_of_another_architecture(
    dpkg: Callable[[str], None], here: str, wanted: str, release: str, foreign: str | None
) -> None:
    dpkg(here)
    found = resolve(wanted)
    assert found.archive
    assert (found.release, found.archive.foreign) == (release, foreign)
    assert kernel.release_of(wanted) == release


@pytest.mark.usefixtures("four")
def test_an_architecture_that_nobody_knows() -> None:
    assert line("6.1-vax").startswith("no headers for 6.1-vax: ")


@pytest.mark.parametrize("foreign", ["arm64", None])
def test_kbuilds_programs_are_this_machines(
    monkeypatch: pytest.MonkeyPatch, foreign: str | None
) -> None:
    unpacked: list[str] = []

    def unpack(debs: list[Path], target: Path, _: object) -> Path:
        unpacked.extend(deb.name for deb in debs)
        return target

    monkeypatch.setattr(kernel, "unpack", unpack)
    depends = "linux-headers-6.1.0-56-common (= 6.1-2), linux-kbuild-6.1 (>= 6.1-2), gcc-12"
    package = Package("linux-headers-6.1.0-56-arm64", "6.1-2", depends)
    kernel._fetched(Archive("two", foreign), package, lambda _: None)  # type: ignore[arg-type]
    whose = foreign or "here"
    assert unpacked == [
        f"linux-headers-6.1.0-56-arm64_{whose}.deb",
        f"linux-headers-6.1.0-56-common_{whose}.deb",
        "linux-kbuild-6.1_here.deb",
    ]


@pytest.mark.usefixtures("four")
def test_a_release_that_nobody_knows() -> None:
    assert line("6.12+deb99") == (
        "--kernel 6.12+deb99: no release of Debian that we know is deb99 "
        "(known: deb12 (two), deb13 (three), deb14 (last))"
    )
    assert line("5.10+deb12").startswith("Linux 5.10+deb12: no headers in two (")


def test_without_a_mirror_the_last_kernel_of_the_series_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = headers("6.1.0-41-amd64")[0]
    monkeypatch.setattr(Archive, "serves", {"new": [package]})
    build = tmp_path / "build"
    build.mkdir()
    good = Kernel("6.1.0-41-amd64", build, package, Archive("new"))  # type: ignore[arg-type]
    monkeypatch.setattr(kernel, "_fetched", lambda *_: good)
    resolve("6.1")

    def away(*_: object) -> Kernel:
        raise ToolError("the mirror is away")

    monkeypatch.setattr(kernel, "_fetched", away)
    again = resolve("6.1")
    assert (again.release, again.build, again.package) == (good.release, build, package)
    assert again.archive and good.archive
    assert (again.archive.codename, again.archive.foreign) == ("new", None)
    assert capsys.readouterr().err == "the mirror is away: going on with 6.1.0-41-amd64\n"
    build.rmdir()
    assert line("6.1") == "the mirror is away"


def test_a_kernel_is_known_before_its_headers_are_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And it is the same one afterwards."""
    package = headers("6.1.0-41-amd64")[0]
    done: list[object] = []
    monkeypatch.setattr(Archive, "serves", {"new": [package]})
    monkeypatch.setattr(Archive, "fetch", lambda *_: done.append("fetched"), raising=False)
    monkeypatch.setattr(kernel, "unpack", lambda *_: done.append("unpacked"))
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    found = resolve("6.1", done.append)
    assert done == [found, "fetched", "unpacked"]


def test_headers_that_name_their_output_folder_may_lie_anywhere(tmp_path: Path) -> None:
    own = tmp_path / "usr/src/linux-headers-7.3.4+deb13-amd64"
    own.mkdir(parents=True)
    (own.parent / "linux-headers-7.3.4+deb13-common").mkdir()
    (own.parent / "linux-headers-7.3.4+deb13-common/Makefile").write_text(
        "all:\n\t@echo $(realpath $(KBUILD_OUTPUT))\n"
    )
    (own / "Makefile").write_text(
        "KBUILD_OUTPUT=/usr/src/linux-headers-7.3.4+deb13-amd64\n"
        "include /usr/src/linux-headers-7.3.4+deb13-common/Makefile\n"
    )
    kernel._relocate(tmp_path)
    made = kernel.run(["make", "-s", "--no-print-directory", "-C", own])
    assert made.stdout.strip() == str(own)


def test_headers_that_name_each_other_may_lie_anywhere(tmp_path: Path) -> None:
    own = tmp_path / "usr/src/linux-headers-6.1.0-41-amd64"
    own.mkdir(parents=True)
    (own / "Makefile").write_text("include /usr/src/linux-headers-6.1.0-41-common/Makefile\n")
    (own / "scripts").symlink_to("/usr/lib/linux-kbuild-6.1/scripts")
    kernel._relocate(tmp_path)
    assert (own / "Makefile").read_text() == (
        "include $(dir $(realpath $(lastword $(MAKEFILE_LIST))))"
        "../linux-headers-6.1.0-41-common/Makefile\n"
    )
    assert os.readlink(own / "scripts") == "../../lib/linux-kbuild-6.1/scripts"

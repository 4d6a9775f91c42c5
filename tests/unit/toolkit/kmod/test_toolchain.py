# SPDX-License-Identifier: GPL-2.0
"""With what a kernel is built: this machine's tools, or a chroot of the kernel's release."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.errors import ToolError
from toolkit.kernels.archive import Package
from toolkit.kernels.kernel import Kernel
from toolkit.kmod import build, toolchain
from toolkit.kmod.toolchain import Toolchain

CONFIG = 'CONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc-99 (Debian 99) 99"\n'


class Archive:
    """A release whose kbuild package depends on what the test says."""

    codename = "trixie"
    foreign: str | None = None

    def __init__(self, kbuild: str) -> None:
        self.kbuild = kbuild

    def get(self, name: str, version: str) -> Package:
        assert (name, version) == ("linux-kbuild-7.3.4+deb13", "7.3.4-1")
        return Package(name, version, self.kbuild)

    def sources(self) -> str:
        return "deb http://mirror.example/debian trixie main\n"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], Kernel]:
    """Makes a kernel whose headers and kbuild depend on this; its headers are in the cache."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain, "_libc", lambda: "2.36")
    monkeypatch.setattr(toolchain, "_gcc", lambda: 12)
    build = tmp_path / "cache/headers/7.3.4/usr/src/linux-headers-7.3.4"
    build.mkdir(parents=True)

    def make(headers: str, kbuild: str) -> Kernel:
        package = Package("linux-headers-7.3.4+deb13-amd64", "7.3.4-1", headers)
        return Kernel("7.3.4+deb13-amd64", build, package, Archive(kbuild))  # type: ignore[arg-type]

    return make


HEADERS = "gcc-{}-for-host, linux-base (>= 4.12~), linux-kbuild-7.3.4+deb13"
KBUILD = "pahole, libc6 (>= {}), libelf1t64 (>= 0.144)"


@pytest.mark.parametrize(
    ("gcc", "libc", "chroot"),
    [
        ("12", "2.34", False),
        ("12", "2.36", False),
        ("10", "2.14", False),
        ("14", "2.34", True),
        ("12", "2.38", True),
        ("12", "2.100", True),
    ],
)
def test_a_chroot_is_for_what_is_newer_than_this_machine(
    kernel: Callable[[str, str], Kernel],
    monkeypatch: pytest.MonkeyPatch,
    gcc: str,
    libc: str,
    chroot: bool,
) -> None:
    asked: list[list[str]] = []

    def make(_archive: object, wanted: list[str]) -> Path:
        asked.append(wanted)
        return Path("/chroot")

    monkeypatch.setattr(toolchain, "make_chroot", make)
    tools = toolchain.of(kernel(HEADERS.format(gcc), KBUILD.format(libc)))
    assert (tools.chroot is not None) == chroot
    if chroot:
        assert asked == [[f"gcc-{gcc}", "libc6", "libelf1t64", "make", "pahole"]]


def test_installed_headers_and_cc_are_this_machines_matter(
    kernel: Callable[[str, str], Kernel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wants_more = kernel(HEADERS.format(14), KBUILD.format("2.38"))
    monkeypatch.setattr(toolchain, "make_chroot", lambda *_: pytest.fail("a chroot is made"))
    installed = Kernel("7.3.4", tmp_path / "usr/src/h", wants_more.package, wants_more.archive)
    assert toolchain.of(installed).chroot is None
    assert toolchain.of(Kernel("7.3.4", tmp_path)).chroot is None
    monkeypatch.setenv("CC", "gcc-13")
    assert toolchain.of(wants_more) == Toolchain("gcc-13", None, wants_more)


def test_the_compiler_is_the_kernels(
    kernel: Callable[[str, str], Kernel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    linux = kernel(HEADERS.format(12), KBUILD.format("2.34"))
    assert toolchain.of(linux).compiler == "gcc"
    (linux.build / ".config").write_text(CONFIG)
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: None)
    assert toolchain.of(linux).compiler == "gcc"
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert toolchain.of(linux).compiler == "gcc-99"
    # in a chroot it is the chroot's that counts
    assert toolchain._compiler(linux, tmp_path) == "gcc"
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/gcc-99").touch()
    assert toolchain._compiler(linux, tmp_path) == "gcc-99"


def arm64(kernel: Kernel, *more: str) -> Kernel:
    """The same, but an arm64 kernel."""
    text = "\n".join(["#", "# Linux/arm64 7.3.4 Kernel Configuration", *more, ""])
    (kernel.build / ".config").write_text(text)
    return kernel


CROSS = "aarch64-linux-gnu-"


def test_the_compiler_of_another_architecture(
    kernel: Callable[[str, str], Kernel],
    dpkg: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    needed: list[str] = []
    monkeypatch.setattr(toolchain.needs, "ensure", needed.append)
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: f"/usr/bin/{name}")
    linux = kernel(HEADERS.format(12), KBUILD.format("2.34"))
    assert toolchain.of(linux).compiler == "gcc" and needed == []
    linux = arm64(
        kernel(HEADERS.format(12), KBUILD.format("2.34")), 'CONFIG_CC_VERSION_TEXT="gcc-12 "'
    )
    tools = toolchain.of(linux)
    assert (tools.compiler, tools.chroot) == (f"{CROSS}gcc-12", None)
    assert needed == ["build-arm64"]
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: None)
    assert toolchain.of(linux).compiler == f"{CROSS}gcc"
    argv = build.make_argv(linux, tmp_path, f"{CROSS}gcc-12")
    assert {"ARCH=arm64", f"CROSS_COMPILE={CROSS}", f"CC={CROSS}gcc-12"} <= set(argv)


def test_on_its_own_architecture_nothing_is_crossed(
    kernel: Callable[[str, str], Kernel],
    dpkg: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    dpkg("arm64")
    monkeypatch.setattr(toolchain.needs, "ensure", lambda _: pytest.fail("needs more"))
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: f"/usr/bin/{name}")
    said = f'CONFIG_CC_VERSION_TEXT="{CROSS}gcc-12 (Debian 12) 12"'
    linux = arm64(kernel(HEADERS.format(12), KBUILD.format("2.34")), said)
    assert toolchain.of(linux).compiler == "gcc-12"
    assert not [
        w for w in build.make_argv(linux, tmp_path, "gcc-12") if w.startswith(("ARCH", "CROSS"))
    ]


def test_a_chroot_has_the_cross_compiler(
    kernel: Callable[[str, str], Kernel],
    dpkg: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The chroot is this machine's, and of kbuild it is this machine's package that counts."""
    asked: list[list[str]] = []

    def make(archive: Archive, wanted: list[str]) -> Path:
        assert archive.foreign is None
        asked.append(wanted)
        return Path("/chroot")

    monkeypatch.setattr(toolchain, "make_chroot", make)
    linux = arm64(kernel(HEADERS.format(14), "libc6 (>= 2.99), not-ours"))
    monkeypatch.setattr(linux.archive, "foreign", "arm64")
    here = Archive(KBUILD.format("2.38"))
    monkeypatch.setattr(toolchain, "Archive", lambda codename: here)
    assert toolchain.of(linux).compiler == f"{CROSS}gcc"
    assert asked == [["gcc-14-aarch64-linux-gnu", "libc6", "libelf1t64", "make", "pahole"]]


def test_what_runs_in_a_chroot(kernel: Callable[[str, str], Kernel], tmp_path: Path) -> None:
    linux = kernel(HEADERS.format(14), KBUILD.format("2.38"))
    root, work = tmp_path / "root", tmp_path / "work"
    for name in ("usr", "etc", "tmp", "home", "dev"):
        (root / name).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    work.mkdir()
    argv = Toolchain("gcc-14", root, linux).argv(["make", "modules"], work)
    words = " ".join(map(str, argv))
    assert words.startswith("bwrap --die-with-parent ")
    assert words.endswith(" --chdir / make modules")
    headers = tmp_path / "cache/headers/7.3.4"
    for part in (
        f"--ro-bind {root}/usr /usr",
        "--symlink usr/lib /lib",
        f"--ro-bind {headers} {headers}",
        f"--bind {work} {work}",
    ):
        assert f" {part} " in words
    for ours in ("home", "root", "tmp"):
        assert f"--ro-bind {root}/{ours}" not in words
    # on this machine nothing is around it
    assert Toolchain("gcc-12", None, linux).argv(["make"], work) == ["make"]


def test_a_chroot_that_cannot_be_entered_is_one_line(
    kernel: Callable[[str, str], Kernel], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    linux = kernel(HEADERS.format(14), KBUILD.format("2.38"))
    tools = Toolchain("gcc-14", tmp_path, linux)

    def run(*_: object, **__: object) -> None:
        raise ToolError("bwrap failed with status 1: bwrap: setting up uid map: Permission denied")

    monkeypatch.setattr(toolchain, "run", run)
    with pytest.raises(ToolError) as error:
        tools.run(["gcc-14", "--version"])
    assert str(error.value) == (
        f"{tmp_path}: cannot be entered: setting up uid map: Permission denied "
        "(run this as root, or allow user namespaces)"
    )
    with pytest.raises(ToolError, match="^bwrap failed"):
        Toolchain("gcc", None, linux).run(["gcc"])


class Maker:
    """Stands for mmdebstrap and tar."""

    def __init__(self, status: int, said: str) -> None:
        self.status, self.said, self.calls = status, said, 0

    def __call__(self, argv: list[str], **_: object) -> SimpleNamespace:
        self.calls += 1
        return SimpleNamespace(
            stdin=io.StringIO(),
            stdout=io.StringIO(),
            stderr=io.StringIO(self.said),
            wait=lambda: self.status if argv[0] == "mmdebstrap" else 0,
        )


@pytest.mark.parametrize(
    ("user", "hint"),
    [
        (0, ""),
        (1000, "run this as root once, or allow user namespaces (newuidmap, /etc/subuid); "),
    ],
)
def test_a_chroot_that_cannot_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, hint: str
) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain.paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(toolchain.needs, "ensure", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(
        toolchain.subprocess, "Popen", Maker(25, "I: running apt-get update...\nE: no mirror\n")
    )
    with pytest.raises(ToolError) as error:
        toolchain.make_chroot(Archive(""), ["make"])  # type: ignore[arg-type]
    (log,) = (tmp_path / "logs").iterdir()
    assert str(error.value) == (
        f"mmdebstrap could not make a chroot of trixie: no mirror ({hint}log: {log})"
    )
    assert "E: no mirror" in log.read_text()
    assert [p.suffix for p in (tmp_path / "cache/chroots").iterdir()] == [".lock"]


def test_a_chroot_is_made_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain.paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(toolchain.needs, "ensure", lambda _: None)
    maker = Maker(0, "I: extracting archives...\nI: done\n")
    monkeypatch.setattr(toolchain.subprocess, "Popen", maker)
    made = toolchain.make_chroot(Archive(""), ["make"])  # type: ignore[arg-type]
    assert made.is_dir() and maker.calls == 2
    assert toolchain.make_chroot(Archive(""), ["make"]) == made  # type: ignore[arg-type]
    assert maker.calls == 2
    assert capsys.readouterr().err.startswith(
        "Making a chroot of trixie (once): make\n  extracting archives...\n  done in 0 s"
    )
    # other packages, another chroot
    assert toolchain.make_chroot(Archive(""), ["gcc", "make"]) != made  # type: ignore[arg-type]

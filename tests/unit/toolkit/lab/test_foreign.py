# SPDX-License-Identifier: GPL-2.0
"""A guest of another architecture: what starts it, and what it sees of this machine."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit import arch, paths
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive
from toolkit.lab import foreign, initramfs
from toolkit.lab import lab as labs
from toolkit.lab.lab import Foreign
from toolkit.lab.vm import Vm

ARM = arch.KNOWN["arm64"]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Foreign:
    """One with QEMU and a Debian, whether this machine has them or not."""
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(foreign.shutil, "which", lambda name: name)
    monkeypatch.setattr(foreign, "files", lambda known: Path("/roots") / known.name)
    monkeypatch.setattr(foreign, "pure", lambda: paths.ROOT / ".venv/lib")
    kernel = SimpleNamespace(release="6.1.0-1-arm64", foreign=ARM)
    return Foreign(SimpleNamespace(kernel=kernel, file=Path("/m.ko")), tmp_path)  # type: ignore[arg-type]


def words(argv: list[str | Path], option: str) -> list[str]:
    """The values of an option that is given several times."""
    return [str(argv[i + 1]) for i, word in enumerate(argv) if word == option]


def test_what_starts_it(lab: Foreign, tmp_path: Path) -> None:
    folder = tmp_path / "out, put"
    vm = Vm(cpus=3, memory="2G", append=("mine=1",), qemu="-name 'a b'")
    argv = lab.argv(folder, vm, "--verbose", "--append=loglevel=1")
    assert argv[:5] == ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57"]
    assert words(argv, "-smp") == ["3"] and words(argv, "-m") == ["2G"]
    assert words(argv, "-accel") == ["tcg,thread=single"] and argv[-1] == "a b"
    assert "--verbose" not in argv
    [said] = words(argv, "-append")
    kernel = shlex.split(said)
    assert {"console=ttyAMA0", "loglevel=1", "mine=1", f"L2WG_OUT={folder}"} <= set(kernel)
    assert f"L2WG_READS={tmp_path / 'cache'}:{paths.ROOT}" in kernel or (
        f"L2WG_READS={paths.ROOT}:{tmp_path / 'cache'}" in kernel
    )
    # without a dot and without a value, such a word would be an argument of init
    assert [word for word in kernel if "=" not in word] == ["nowatchdog"]
    shared = words(argv, "-fsdev")
    assert [s.split("path=")[1].split(",")[0] for s in shared][0] == "/roots/arm64"
    assert all(s.endswith(",readonly=on") for s in shared[:-1])
    # QEMU takes two commas for one
    assert shared[-1].startswith(f"local,id=out,path={tmp_path}/out,, put,")
    assert not shared[-1].endswith("readonly=on")
    assert lab.argv(folder, vm, terminal=True)[: len(ARM.board) + 1] == argv[: len(ARM.board) + 1]
    assert words(lab.argv(folder, vm, terminal=True), "-serial") == ["mon:stdio"]


def test_what_a_command_finds_there(lab: Foreign, tmp_path: Path) -> None:
    """Its own Python's packages before ours, whose machine code is this machine's."""
    there = lab.environment(tmp_path)
    assert there["PATH"].split(":")[0] == "/usr/sbin"
    assert there["PYTHONPATH"].split(":") == [
        *(str(paths.ROOT), "/usr/lib/python3/dist-packages", f"{paths.ROOT}/.venv/lib"),
    ]
    assert lab.compiler == there["CC"] == "aarch64-linux-gnu-gcc"
    assert not lab.kvm_works()


def test_a_folder_in_another_is_shared_once(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    inner = a / "inner"
    inner.mkdir(parents=True)
    b.mkdir()
    assert foreign.shares([inner, b, a, a / "../b"]) == [a, b]


def test_without_qemu(lab: Foreign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(foreign.shutil, "which", lambda _: None)
    with pytest.raises(ToolError) as error:
        lab.argv(tmp_path, Vm())
    assert str(error.value) == (
        "no qemu-system-aarch64 on this machine (apt-get install qemu-system-arm)"
    )


def test_the_debian_is_unpacked_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        foreign.platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": "bookworm"}
    )
    made: list[tuple[str, ...]] = []

    def bootstrap(archive: Archive, packages: list[str], work: Path, *how: str) -> None:
        assert (archive.codename, archive.foreign) == ("bookworm", "arm64")
        made.append(how)
        for folder in ("etc", "usr/share/base-passwd"):
            (work / folder).mkdir(parents=True)
        for name in ("passwd", "group"):
            (work / f"usr/share/base-passwd/{name}.master").write_text("root:\n")
        assert {"python3", "iproute2", "busybox-static", "wireguard-tools"} <= {*packages}
        # what is for this machine
        assert not [name for name in packages if name.startswith("qemu")]

    monkeypatch.setattr(foreign.toolchain, "bootstrap", bootstrap)
    root = foreign.files(ARM)
    users = (root / "etc/passwd").read_text().splitlines()
    assert users[0] == "root:" and users[1].startswith("tcpdump:")
    assert foreign.files(ARM) == root
    assert made == [
        ("--variant=extract", "--architectures=arm64", f"--setup-hook={foreign.MERGED}")
    ]
    assert capsys.readouterr().err.startswith("Unpacking bookworm for arm64 (once): ")


def test_the_links_of_a_merged_usr(tmp_path: Path) -> None:
    """As mmdebstrap runs the hook."""
    subprocess.run(["sh", "-c", foreign.MERGED, "hook", tmp_path], check=True)
    for name in ("bin", "lib", "sbin"):
        assert os.readlink(tmp_path / name) == f"usr/{name}" and (tmp_path / name).is_dir()


def test_its_initramfs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own busybox, and an init with what that reads."""
    (tmp_path / "debian/bin").mkdir(parents=True)
    (tmp_path / "debian/bin/busybox").write_bytes(b"arm64's busybox\n")
    monkeypatch.setattr(foreign, "files", lambda _: tmp_path / "debian")
    monkeypatch.setattr(initramfs.modfinder, "find_modules_from_install", lambda *_, **__: [])
    kernel = SimpleNamespace(release="6.1.0-1-arm64", foreign=ARM)
    target = tmp_path / "initramfs"
    foreign.make_initramfs(target, tmp_path, kernel)  # type: ignore[arg-type]
    packed = target.read_bytes()
    assert b"arm64's busybox\n" in packed
    for script in foreign.INIT:
        assert script.read_bytes() in packed
    assert b"mounts.sh\0" in packed and b"foreign.sh\0" not in packed


@pytest.mark.parametrize(("known", "kind"), [(ARM, labs.Foreign), (None, labs.Lab)])
def test_which_lab_a_kernel_gets(
    dpkg: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    known: arch.Arch | None,
    kind: type,
) -> None:
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setenv("L2WG_KVM", "0")
    for name in ("m.ko", "image"):
        (tmp_path / name).write_bytes(b"what it is")
    kernel = SimpleNamespace(release="6.1.0-1", foreign=known, build=tmp_path, package=None)
    module = SimpleNamespace(file=tmp_path / "m.ko", kernel=kernel)
    monkeypatch.setattr(labs.images, "of", lambda _: (tmp_path / "image", tmp_path))
    monkeypatch.setattr(labs.build, "build", lambda *_, **__: module)
    monkeypatch.setattr(labs, "_compile", lambda: None)
    monkeypatch.setattr(labs.images, "lay_out", lambda *_: None)
    needed: list[str] = []
    monkeypatch.setattr(labs.needs, "ensure", needed.append)
    assert type(labs.make(kernel)) is kind  # type: ignore[arg-type]
    assert needed == (["lab-arm64"] if known else [])

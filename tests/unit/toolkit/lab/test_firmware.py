# SPDX-License-Identifier: GPL-2.0
"""A guest with Secure Boot: what its firmware is given. tests/package boots one."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.toolkit.lab.test_lab import lab_of
from toolkit.errors import ToolError
from toolkit.lab import firmware, process
from toolkit.lab.vm import Vm

Prepare = Callable[[], Path]


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    """Lay out the firmware of a guest in a folder with a name that is hard to quote."""
    debian = tmp_path / "debian"
    for name in (firmware.CODE, firmware.VARIABLES, firmware.SHIM, firmware.GRUB):
        (debian / name).parent.mkdir(parents=True, exist_ok=True)
        (debian / name).write_text(name)
    ran: list[list[str]] = []
    monkeypatch.setattr(firmware, "_packages", lambda: debian)
    monkeypatch.setattr(firmware, "run", lambda argv: ran.append([str(word) for word in argv]))

    def lay_out() -> Path:
        folder, image = tmp_path / "a guest", tmp_path / "vmlinuz"
        image.write_bytes(b"MZ" + firmware.SIGNER)
        firmware.prepare(folder, image, tmp_path / "MOK.pem")
        (argv,) = ran
        assert argv[0].endswith("/virt-fw-vars")
        assert argv[1:3] == ["--input", str(debian / firmware.VARIABLES)]
        assert argv[3:6] == ["--add-mok", firmware.OWNER, str(tmp_path / "MOK.pem")]
        return firmware.program(folder).parent

    return lay_out


def test_the_chain_of_debian(prepare: Prepare) -> None:
    home = prepare()
    disk = home / "disk/EFI"
    assert (disk / "BOOT/BOOTX64.EFI").read_text() == firmware.SHIM
    assert (disk / "BOOT/grubx64.efi").read_text() == firmware.GRUB
    assert (home / "code").read_text() == firmware.CODE


def test_a_kernel_that_debian_has_not_signed(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"MZ")
    with pytest.raises(ToolError) as error:
        firmware.prepare(tmp_path, tmp_path / "vmlinuz", tmp_path / "MOK.pem")
    assert str(error.value) == (
        f"{tmp_path}/vmlinuz: not signed by Debian, so Secure Boot refuses it (use a kernel of "
        "Debian's)"
    )
    assert not firmware.program(tmp_path).exists()


def test_grub_gets_what_qemu_was_to_start(prepare: Prepare, tmp_path: Path) -> None:
    home = prepare()
    for name in ("kernel", "initramfs"):
        (tmp_path / name).write_text(name)
    argv = firmware.boot(
        home,
        [
            *("-m", "1G", "-kernel", "first", "-append", "console=ttyS0 virtme.exec=`c2g=` x"),
            *("-initrd", "/proc/self/fd/4", "-initrd", str(tmp_path / "initramfs")),
            *("-kernel", str(tmp_path / "kernel"), "-no-reboot"),
        ],
    )
    assert argv[:4] == ["qemu-system-x86_64", "-m", "1G", "-no-reboot"]
    drives = [argv[n + 1] for n, word in enumerate(argv) if word == "-drive"]
    assert [drive.split("file=")[1] for drive in drives] == [
        f"{home}/code",
        f"{home}/variables",
        f"fat:{home}/disk",
    ]
    assert (home / "disk/vmlinuz").read_text() == "kernel"
    assert (home / "disk/initrd").read_text() == "initramfs"
    assert (home / "disk/EFI/debian/grub.cfg").read_text() == (
        "linux /vmlinuz 'console=ttyS0' 'virtme.exec=`c2g=`' 'x'\ninitrd /initrd\nboot\n"
    )


def test_the_program_passes_the_rest_to_qemu(prepare: Prepare, tmp_path: Path) -> None:
    """As virtme-ng asks QEMU for its version."""
    home = prepare()
    qemu = tmp_path / firmware.QEMU
    qemu.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    qemu.chmod(0o755)
    done = subprocess.run(
        [home / "qemu", "--version", "a b"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "--version\na b\n"


def test_the_lab_starts_it(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(monkeypatch, tmp_path, "6.1")
    monkeypatch.setattr("toolkit.lab.lab.vmlinux.of", lambda _: Path("/unwrapped"))
    prepared: list[Path] = []
    monkeypatch.setattr(firmware, "prepare", lambda folder, *_: prepared.append(folder))
    booted: list[list[str]] = []

    def boot(argv: list[str], _release: str, folder: Path, *_: object, again: str) -> None:
        booted.append([str(word) for word in argv])
        (folder / "status").write_text("0\n")

    monkeypatch.setattr(process, "boot", boot)
    folder = tmp_path / "a-guest"
    for mok in (None, tmp_path / "MOK.pem"):
        lab.run(["true"], folder=folder, vm=Vm(kvm=False, mok=mok))
    plain, secure = booted
    assert prepared == [folder]
    # virtme-ng puts it into a shell's line as it is
    assert "--qemu" not in plain
    assert shlex.split(secure[secure.index("--qemu") + 1]) == [str(firmware.program(folder))]
    # the firmware starts Debian's image; the kernel unwrapped from it has no signature
    assert any("/unwrapped" in word for word in plain)
    assert not any("/unwrapped" in word for word in secure)

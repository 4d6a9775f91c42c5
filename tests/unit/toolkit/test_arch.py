# SPDX-License-Identifier: GPL-2.0
"""What the toolkit does on processors of another kind than yours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit import arch, needs
from toolkit.errors import ToolError
from toolkit.kernels.kernel import Kernel
from toolkit.lab import image as images
from toolkit.lab import lab as labs
from toolkit.lab.lab import Lab
from toolkit.lab.vm import Vm

Dpkg = Callable[[str], None]


def test_this_machines_architecture_is_debians_word_for_it(dpkg: Dpkg) -> None:
    assert arch.here().qemu == "qemu-system-x86_64"
    assert arch.other("amd64") is None and arch.other("arm64") is arch.KNOWN["arm64"]
    dpkg("arm64")
    assert arch.here().qemu == "qemu-system-aarch64"
    assert arch.other("arm64") is None and arch.other("amd64") is arch.KNOWN["amd64"]
    assert arch.other("common") is None


def test_an_architecture_that_nobody_has_tried(dpkg: Dpkg) -> None:
    dpkg("riscv64")
    with pytest.raises(ToolError) as error:
        arch.here()
    assert str(error.value) == (
        "no virtual machines of the architecture riscv64 (known: amd64, arm64)"
    )
    # to build there needs none
    assert "gcc" in needs.packages("build-module")


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("amd64", "qemu-system-x86", "qemu-system-arm"),
        ("arm64", "qemu-system-arm", "qemu-system-x86"),
    ],
)
def test_the_lab_needs_this_machines_qemu(dpkg: Dpkg, name: str, has: str, lacks: str) -> None:
    dpkg(name)
    for task in ("lab", "demo", "test-vm", "vagrant-test"):
        assert has in needs.packages(task) and lacks not in needs.packages(task)
    # what emulates another machine is named as it is
    assert "qemu-system-x86" in needs.packages("lab-amd64")


def guest(root: Path) -> Lab:
    kernel = SimpleNamespace(release="6.1.0-1-arm64")
    return Lab(SimpleNamespace(kernel=kernel, file=Path("/m.ko")), root)  # type: ignore[arg-type]


def test_a_guest_on_arm64(dpkg: Dpkg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Linux hands words that it does not know to init, and x86's are such words there."""
    dpkg("arm64")
    monkeypatch.setattr(labs.shutil, "which", lambda name: name)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/vmlinuz-6.1.0-1-arm64").write_bytes(bytes(2000))
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    words = " ".join(map(str, guest(tmp_path).argv(tmp_path, Vm(kvm=False))))
    assert "no_timer_check" not in words and "tsc=" not in words
    assert "--append=mitigations=off" in words and " --no-virtme-ng-init " in words
    # not a bzImage: QEMU starts it as it is
    assert " -kernel " not in words and f"--run {tmp_path}/boot/vmlinuz-6.1.0-1-arm64" in words


def test_without_qemu_its_package_is_named(
    dpkg: Dpkg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dpkg("arm64")
    monkeypatch.setattr(labs.shutil, "which", lambda _: None)
    with pytest.raises(ToolError, match="apt-get install qemu-system-arm"):
        guest(tmp_path).argv(tmp_path, Vm(kvm=False))


def test_the_image_in_a_tree_that_was_built(
    dpkg: Dpkg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for known in arch.KNOWN.values():
        (tmp_path / known.image).parent.mkdir(parents=True)
        (tmp_path / known.image).touch()
    monkeypatch.setattr(images, "headers_of", lambda _: tmp_path / "modules/build")
    mine = Kernel("6.1.0-mine", tmp_path)
    assert images.of(mine)[0] == tmp_path / "arch/x86/boot/bzImage"
    dpkg("arm64")
    assert images.of(mine)[0] == tmp_path / "arch/arm64/boot/Image"


@pytest.mark.parametrize(
    ("here", "config", "foreign"),
    [
        ("amd64", "x86", None),
        ("amd64", "arm64", "arm64"),
        ("arm64", "arm64", None),
        ("arm64", "x86", "amd64"),
        ("amd64", "um", None),
        ("riscv64", "riscv", None),
    ],
)
def test_a_kernels_configuration_tells_its_architecture(
    dpkg: Dpkg, tmp_path: Path, here: str, config: str, foreign: str | None
) -> None:
    dpkg(here)
    (tmp_path / ".config").write_text(
        f"#\n# Automatically generated file; DO NOT EDIT.\n# Linux/{config} 6.1.1 Kernel Config"
    )
    found = Kernel("6.1.1", tmp_path).foreign
    assert (found.name if found else None) == foreign

# SPDX-License-Identifier: GPL-2.0
"""Whether KVM works is tried once for each boot of the machine, beside the build."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from toolkit.errors import ToolError
from toolkit.kernels.kernel import Kernel
from toolkit.kmod import build
from toolkit.lab import kvm
from toolkit.lab import lab as labs


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One with /dev/kvm, of which nothing is known; its cache."""
    monkeypatch.delenv("L2WG_KVM", raising=False)
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kvm.os, "access", lambda *_: True)
    monkeypatch.setattr(labs.shutil, "which", lambda _: "/usr/bin/qemu-system-x86_64")
    return tmp_path / "cache"


def guest(folder: Path) -> Sequence[str]:
    """One that boots at once."""
    return ["touch", str(folder / "status")]


def test_it_is_tried_once_for_each_boot(machine: Path) -> None:
    assert kvm.remembered() is None
    assert kvm.works(guest)
    assert kvm.works(lambda _: pytest.fail("tried again"))
    memory = machine / "kvm.json"
    memory.write_text(json.dumps({"boot": "an earlier one", "works": True}))
    assert kvm.remembered() is None


@pytest.mark.usefixtures("machine")
def test_a_guest_that_hangs_or_dies_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "LIMIT", 0.2)
    assert not kvm.works(lambda _: ["sleep", "60"])
    assert kvm.remembered() is False


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("said", "expected"), [("1", True), ("0", False)])
def test_the_user_knows_better(monkeypatch: pytest.MonkeyPatch, said: str, expected: bool) -> None:
    monkeypatch.setenv("L2WG_KVM", said)
    assert kvm.works(lambda _: pytest.fail("tried")) is expected


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    """One whose image is there, and whose lab takes no depmod."""
    (tmp_path / "image").touch()
    monkeypatch.setattr(labs.images, "of", lambda _: (tmp_path / "image", tmp_path))
    monkeypatch.setattr(labs.images, "run", lambda *_, **__: None)
    monkeypatch.setattr(labs, "_compile", lambda: None)
    monkeypatch.setattr(labs.paths, "BUILD", tmp_path / "build")
    return Kernel("7.3.4", tmp_path)


def test_it_is_tried_while_the_module_builds(
    machine: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def built(*_: object, **__: object) -> build.Module:
        # which takes until the trial is over: else it would never end
        while kvm.remembered() is None:
            pass
        return build.Module(tmp_path / "image", kernel, labs.Source(tmp_path, None, None), True)

    monkeypatch.setattr(build, "build", built)
    monkeypatch.setattr(labs.Lab, "_trial", lambda _, folder: guest(folder))
    assert labs.make(kernel).kvm_works()


@pytest.mark.usefixtures("machine")
def test_a_build_that_fails_ends_the_trial(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def built(*_: object, **__: object) -> build.Module:
        raise ToolError("a.c:1:2: wrong")

    monkeypatch.setattr(build, "build", built)
    monkeypatch.setattr(labs.Lab, "_trial", lambda *_: ["sleep", "60"])
    with pytest.raises(ToolError, match="wrong"):
        labs.make(kernel)


@pytest.mark.usefixtures("machine")
def test_the_image_is_fetched_while_the_module_builds(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fetched = threading.Event()

    def image(_: Kernel) -> tuple[Path, Path]:
        fetched.set()
        return tmp_path / "image", tmp_path

    def built(*_: object, **__: object) -> build.Module:
        assert fetched.wait(60)
        return build.Module(tmp_path / "image", kernel, labs.Source(tmp_path, None, None), True)

    monkeypatch.setenv("L2WG_KVM", "0")
    monkeypatch.setattr(labs.images, "to_be_fetched", lambda _: True)
    monkeypatch.setattr(labs.images, "of", image)
    monkeypatch.setattr(build, "build", built)
    assert labs.make(kernel).module.file == tmp_path / "image"


@pytest.mark.usefixtures("machine")
def test_nothing_is_built_for_a_kernel_without_an_image(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def image(_: Kernel) -> tuple[Path, Path]:
        raise ToolError("no readable kernel image")

    monkeypatch.setattr(labs.images, "of", image)
    monkeypatch.setattr(build, "build", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(ToolError, match="no readable kernel image"):
        labs.make(kernel)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("missing", [False, True])
def test_the_source_is_fetched_beside_the_headers(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    """If it is not to be had, whoever needs it says so."""
    fetched = threading.Event()

    def fetch(_: Kernel) -> None:
        fetched.set()
        if missing:
            raise ToolError("apt: no source")

    def resolve(_: str | None, known: labs.kernels.Known) -> Kernel:
        known(kernel)
        assert fetched.wait(60)  # headers take longer
        return kernel

    monkeypatch.setattr(labs.sources, "fetch", fetch)
    monkeypatch.setattr(labs.kernels, "resolve", resolve)
    made: list[Kernel] = []
    monkeypatch.setattr(labs, "make", made.append)
    labs.of("7.3.4")
    assert made == [kernel]

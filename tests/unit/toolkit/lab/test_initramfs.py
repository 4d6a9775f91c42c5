# SPDX-License-Identifier: GPL-2.0
"""The initramfs: virtme-ng's, and after it an init of ours."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.errors import ToolError
from toolkit.lab import initramfs
from toolkit.lab.cleanroot import Installed


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with two modules."""
    modules = [tmp_path / name for name in ("9p.ko", "overlay.ko")]
    for module in modules:
        module.write_bytes(b"module\n")
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"busybox\n")
    monkeypatch.setattr(initramfs.mkinitramfs, "find_busybox", lambda *_, **__: str(busybox))

    def find(aliases: list[str], *, root: Path, kver: str) -> list[str]:
        assert "overlay" in aliases and "fs-9p" in aliases and "fs-virtiofs" not in aliases
        assert (root, kver) == (tmp_path, "5.10.0-1-amd64")
        return [str(module) for module in modules]

    monkeypatch.setattr(initramfs.modfinder, "find_modules_from_install", find)
    initramfs.make(tmp_path / "initramfs", tmp_path, "5.10.0-1-amd64")
    return tmp_path / "initramfs"


def test_its_init_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel unpacks it: archive by archive, a later file in the place of an earlier one."""
    if not shutil.which("cpio"):
        pytest.skip("no cpio")
    rest, target = made(tmp_path, monkeypatch).read_bytes(), tmp_path / "unpacked"
    target.mkdir()
    archives = rest.split(b"TRAILER!!!")[:-1]
    assert len(archives) == 2
    for archive in archives:
        whole = archive.lstrip(b"\0") + b"TRAILER!!!" + bytes(8)
        subprocess.run(["cpio", "-idu", "--quiet"], input=whole, cwd=target, check=True)
    assert (target / "init").read_bytes() == initramfs.INIT.read_bytes()
    assert (target / "init").stat().st_mode & 0o777 == 0o755
    load = (target / "modules/load_all.sh").read_text()
    assert load.index("insmod modules/9p.ko") < load.index("insmod modules/overlay.ko")
    assert (target / "modules/overlay.ko").read_bytes() == b"module\n"
    # busybox runs what it does not find here only if it is named
    assert {"busybox", "insmod", "mkdir", "mount", "sh", "switch_root", "umount"} <= {
        tool.name for tool in (target / "bin").iterdir()
    }


def test_it_needs_busybox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initramfs.mkinitramfs, "find_busybox", lambda *_, **__: None)
    with pytest.raises(ToolError) as error:
        initramfs.make(tmp_path / "initramfs", tmp_path, "5.10.0-1-amd64")
    assert error.value.hint == "apt-get install busybox-static"


def test_a_clean_root_stays_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its guest's initramfs is in the guest's own folder."""
    asked: list[tuple[Path, Path, str]] = []
    monkeypatch.setattr(initramfs, "make", lambda *given: asked.append(given))
    module = SimpleNamespace(kernel=SimpleNamespace(release="6.1.0"), file=Path("/m.ko"))
    (tmp_path / "guest").mkdir()
    lab = Installed(module, tmp_path / "clean")  # type: ignore[arg-type]
    lab.prepare(tmp_path / "guest", ["true"])
    assert asked == [(tmp_path / "guest/initramfs", tmp_path / "clean", "6.1.0")]
    assert lab.initramfs(tmp_path / "guest") == tmp_path / "guest/initramfs"

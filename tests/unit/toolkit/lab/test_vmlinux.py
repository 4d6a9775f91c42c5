# SPDX-License-Identifier: GPL-2.0
"""The kernel in a bzImage, unpacked for an emulated processor."""

from __future__ import annotations

import lzma
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from toolkit.errors import ToolError
from toolkit.lab import vmlinux

ELF = b"\x7fELF, and more" + struct.pack("<III4sQ", 4, 8, 18, b"Xen\0", 0x1000000) + b"the end"


def image(packed: bytes, size: int, *, sectors: int = 3) -> bytes:
    """A bzImage as arch/x86/boot makes them: setup code, some code, the payload, its length."""
    data = bytearray((sectors + 1) * 512)
    data[0x1F1], data[0x202:0x206] = sectors, b"HdrS"
    payload = packed + struct.pack("<I", size)
    struct.pack_into("<II", data, 0x248, 100, len(payload))
    return bytes(data) + bytes(100) + payload + b"what follows"


def zstd(data: bytes) -> bytes:
    if not shutil.which("zstd"):
        pytest.skip("no zstd")
    return subprocess.run(["zstd", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("sectors", [3, 39])
def test_xz(sectors: int) -> None:
    assert vmlinux.unpack(image(lzma.compress(ELF), len(ELF), sectors=sectors)) == ELF


def test_zstd() -> None:
    assert vmlinux.unpack(image(zstd(ELF), len(ELF))) == ELF


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x7fELF" + bytes(2000), "no bzImage"),
        (b"", "no bzImage"),
        (image(b"\x1f\x8b gzip", 9), "packed in a way that Debian does not use"),
        (image(lzma.compress(ELF), len(ELF) + 1), "no kernel that can be entered by its note"),
        (image(lzma.compress(b"\x7fELF"), 4), "no kernel that can be entered by its note"),
    ],
)
def test_what_is_no_such_image(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        vmlinux.unpack(data)


def test_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "vmlinuz").write_bytes(image(lzma.compress(ELF), len(ELF)))
    kept = vmlinux.of(tmp_path / "vmlinuz")
    assert kept and kept.read_bytes() == ELF and kept.is_relative_to(tmp_path / "cache/vmlinux")
    monkeypatch.setattr(vmlinux, "unpack", lambda _: pytest.fail("unpacked again"))
    assert vmlinux.of(tmp_path / "vmlinuz") == kept


def test_another_image_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2WG_CACHE", str(tmp_path / "cache"))
    broken = bytearray(image(lzma.compress(ELF), len(ELF)))
    broken[-40] ^= 1
    for data in (b"\x7fELF", bytes(broken)):
        (tmp_path / "vmlinuz").write_bytes(data)
        assert vmlinux.of(tmp_path / "vmlinuz") is None

    def missing(*_: object) -> bytes:
        raise ToolError("zstd: program not found")

    monkeypatch.setattr(vmlinux, "_zstd", missing)
    (tmp_path / "vmlinuz").write_bytes(image(b"\x28\xb5\x2f\xfd", 9))
    assert vmlinux.of(tmp_path / "vmlinuz") is None

# SPDX-License-Identifier: GPL-2.0
"""A kernel without its wrapping: an emulated processor takes seconds to decompress one."""

from __future__ import annotations

import hashlib
import lzma
import struct
import tempfile
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.run import run

# Documentation/arch/x86/boot.rst: sectors of the setup code after the first one, the magic number,
# where the payload is in what follows, and its length. The payload's own length is its last word.
SETUP_SECTORS, MAGIC, PAYLOAD = 0x1F1, 0x202, 0x248
SECTOR = 512
#: The head of the ELF note that says where to enter a kernel without a boot loader (PVH): length
#: of the name, of the value, XEN_ELFNOTE_PHYS32_ENTRY of include/xen/interface/elfnote.h, the name.
ENTRIES = tuple(struct.pack("<III4s", 4, length, 18, b"Xen\0") for length in (4, 8))


def of(image: Path) -> Path | None:
    """The kernel in an image, as an ELF file that QEMU can start; it is kept in the cache.

    :param image: a bzImage.
    :returns: None if it is packed as Debian never does, cannot be entered so, or zstd is missing.
    """
    data = image.read_bytes()
    target = paths.cache() / "vmlinux" / hashlib.sha256(data).hexdigest()
    with paths.alone(target):
        if not target.exists():
            try:
                found = unpack(data)
            except (ToolError, ValueError, lzma.LZMAError):
                return None
            work = target.with_suffix(".new")
            work.write_bytes(found)
            work.rename(target)
    return target


def unpack(image: bytes) -> bytes:
    """The ELF file in a bzImage.

    :raises ValueError: it has none, or one that cannot be entered by its note.
    :raises lzma.LZMAError: what it has is damaged.
    :raises ToolError: zstd is missing, or finds it damaged.
    """
    if image[MAGIC : MAGIC + 4] != b"HdrS":
        raise ValueError("no bzImage")
    start, length = struct.unpack_from("<II", image, PAYLOAD)
    start += ((image[SETUP_SECTORS] or 4) + 1) * SECTOR
    end = start + length - 4
    packed, (size,) = image[start:end], struct.unpack_from("<I", image, end)
    if packed.startswith(b"\xfd7zXZ\0"):
        elf = lzma.decompress(packed)
    elif packed.startswith(b"\x28\xb5\x2f\xfd"):
        elf = _zstd(packed)
    else:
        raise ValueError("packed in a way that Debian does not use")
    if len(elf) != size or not any(entry in elf for entry in ENTRIES):
        raise ValueError("no kernel that can be entered by its note")
    return elf


def _zstd(packed: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="l2wg-vmlinux-") as folder:
        source, target = Path(folder, "packed"), Path(folder, "elf")
        source.write_bytes(packed)
        run(["zstd", "--quiet", "--decompress", source, "-o", target])
        return target.read_bytes()

# SPDX-License-Identifier: GPL-2.0
"""A kernel's image and modules: where they are, and how they are laid out for a guest."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from toolkit import arch, paths
from toolkit.errors import ToolError
from toolkit.kernels import own
from toolkit.kernels.archive import unpack
from toolkit.kernels.kernel import Kernel, headers_of
from toolkit.lab import foreign, initramfs
from toolkit.run import run


def _folder(kernel: Kernel) -> Path | None:
    """Where the image of Debian's package is unpacked; None if the kernel is not from there."""
    package = kernel.package
    if not package or not kernel.archive or kernel.build == headers_of(kernel.release).resolve():
        return None
    return paths.cache() / "images" / f"{kernel.release}_{package.version}"


def to_be_fetched(kernel: Kernel) -> bool:
    """Is the image one of Debian's that is not here yet?"""
    folder = _folder(kernel)
    return bool(folder and not folder.exists())


def of(kernel: Kernel) -> tuple[Path, Path]:
    """The image that the lab boots for a kernel, and the folder with its modules.

    Both are installed here, built here, or Debian's, and then fetched.

    :raises ToolError: there is none.
    """
    if mine := own.of(kernel.build):
        return mine.image, mine.modules
    release = kernel.release
    if target := _folder(kernel):
        if not target.exists():
            assert kernel.package and kernel.archive
            version = kernel.package.version
            whole = kernel.archive.get(f"linux-image-{release}", version)
            # later kernels come in parts, and the image's package depends on them
            parts = re.findall(rf"\blinux-[a-z]+-{re.escape(release)}(?= |,|$)", whole.depends)
            wanted = [whole, *(kernel.archive.get(p, version) for p in dict.fromkeys(parts))]
            unpack([kernel.archive.fetch(p) for p in wanted], target, lambda _: None)
        # /lib is /usr/lib in some releases only
        here = [target / lib / "modules" / release for lib in ("lib", "usr/lib")]
        modules = next(folder for folder in here if folder.is_dir())
        kept = target / "boot" / f"vmlinuz-{release}"
        return (kept if kept.exists() else modules / "vmlinuz"), modules
    for image in (
        Path("/boot") / f"vmlinuz-{release}",
        kernel.build / (kernel.foreign or arch.here()).image,
    ):
        if os.access(image, os.R_OK):
            return image, headers_of(release).parent
    raise ToolError(
        f"no readable kernel image for {release} in /boot or {kernel.build}",
        "name a series to take Debian's: --kernel 5.10",
    )


def lay_out(
    root: Path, kernel: Kernel, image: Path, modules: Path, ours: Path | None = None
) -> None:
    """Lay out a kernel as a guest starts from it.

    Debian's modules stay where they are; ours goes beside them, and depmod finds both.

    :param root: a new folder; gets ``boot/`` and ``lib/modules/<release>``.
    :param ours: our module.
    :raises ToolError: depmod or busybox is missing.
    """
    release = kernel.release
    (root / "boot").mkdir()
    (root / "boot" / f"vmlinuz-{release}").symlink_to(image)
    folder = root / "lib/modules" / release
    (folder / "updates").mkdir(parents=True)
    if ours:
        shutil.copyfile(ours, folder / "updates" / ours.name)
    if (modules / "kernel").is_dir():
        (folder / "kernel").symlink_to(modules / "kernel")
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (modules / name).exists():
            shutil.copyfile(modules / name, folder / name)
    run(["/sbin/depmod", "--basedir", root, release], hint="apt-get install kmod")
    memory = root / "boot" / f"initramfs-{release}"
    if kernel.foreign:
        foreign.make_initramfs(memory, root, kernel)
    else:
        initramfs.make(memory, root, release)

# SPDX-License-Identifier: GPL-2.0
"""The module of a kernel of this machine: into its updates/ folder, and out again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from l2wgctl.machine import Machine, refused
from toolkit.errors import ToolError
from toolkit.kernels.kernel import Kernel
from toolkit.kmod import build
from toolkit.kmod.signing import Signer
from toolkit.run import run, say

#: The folder of modules_install for modules from outside the kernel's tree; depmod prefers it.
UPDATES = "updates"
DKMS = "updates/dkms"


def install(
    kernel: Kernel,
    *,
    source: Path | None = None,
    root: Path = Path("/"),
    signer: Signer | None = None,
) -> Path:
    """Build the module for a kernel of this machine, put it below ``/lib/modules`` and run depmod.

    The initramfs stays as it is, because nothing needs the module before the root file system.

    :param root: the folder that has ``lib/modules``, as the kernel's ``INSTALL_MOD_PATH``.
    :returns: the installed module.
    :raises ToolError: there are no modules of that kernel, DKMS has installed ours, or we may not
        write. The folder is then as it was.
    """
    modules = _modules(root, kernel.release)
    for made in sorted((modules / DKMS).glob(f"{build.MODULE}.ko*")):
        raise ToolError(
            f"{made}: DKMS has installed the module for this kernel",
            "apt-get purge l2wireguard-dkms, or keep that one",
        )
    target = modules / UPDATES / f"{build.MODULE}.ko"
    _may_write(modules)
    module = build.build(kernel, source=source, signer=signer)
    new, old = target.with_suffix(".ko.new"), target.with_suffix(".ko.old")
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(module.file, new)
    if target.exists():
        target.replace(old)
    try:
        new.replace(target)
        _depmod(root, kernel.release)
    except BaseException:
        target.unlink(missing_ok=True)
        if old.exists():
            old.replace(target)
        _forget(target.parent)
        raise
    old.unlink(missing_ok=True)
    if why := _refused(target, root, kernel.release):
        say(f"This kernel will refuse it: {why}")
    if _loaded(root, kernel.release):
        say("An l2wireguard module is loaded: modprobe -r l2wireguard, then modprobe l2wireguard")
    return target


def uninstall(release: str, *, root: Path = Path("/")) -> Path:
    """Remove what install() has put there, and run depmod.

    :param release: the kernel's release, as `uname -r` says it there.
    :returns: the file that has been removed.
    :raises ToolError: it is not there, or we may not write.
    """
    modules = _modules(root, release)
    target = modules / UPDATES / f"{build.MODULE}.ko"
    if not target.exists():
        by_dkms = sorted((modules / DKMS).glob(f"{build.MODULE}.ko*"))
        raise ToolError(
            f"{target}: not there, nothing to uninstall",
            "what DKMS installed goes with apt-get purge l2wireguard-dkms" if by_dkms else "",
        )
    _may_write(modules)
    target.unlink()
    _forget(target.parent)
    _depmod(root, release)
    if _loaded(root, release):
        say("It is still loaded: modprobe -r l2wireguard")
    return target


def _modules(root: Path, release: str) -> Path:
    modules = root / "lib/modules" / release
    if not (modules / "modules.order").exists():
        raise ToolError(
            f"{modules}: no modules of that kernel there",
            "install the kernel first, or name the folder that has its lib/modules: --root",
        )
    return modules


def _may_write(modules: Path) -> None:
    if not os.access(modules, os.W_OK):
        raise ToolError(f"{modules}: may not be written", "sudo ./inv ...")


def _depmod(root: Path, release: str) -> None:
    run(["/sbin/depmod", "--basedir", root, release], hint="apt-get install kmod")


def _forget(folder: Path) -> None:
    """Remove updates/ if it is empty: then it was made for us."""
    if not any(folder.iterdir()):
        folder.rmdir()


def _refused(target: Path, root: Path, release: str) -> str | None:
    """What to do if the running kernel does not take the module as it is signed, or is not."""
    if release != os.uname().release:
        return None

    def modinfo(_: str, field: str) -> str | None:
        return run(["modinfo", "--field", field, target], check=False).stdout.strip() or None

    return refused(Machine(root, release, modinfo=modinfo))


def _loaded(root: Path, release: str) -> bool:
    here = root.resolve() == Path("/") and release == os.uname().release
    return here and Path("/sys/module", build.MODULE).exists()

# SPDX-License-Identifier: GPL-2.0
"""A clean Debian in a folder: programs run in it natively, and its own kernels boot on it.

Packages are installed in a chroot, because compiling in an emulated machine takes long. The result
is then tried under the kernel that it was installed for.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive
from toolkit.kernels.kernel import Kernel
from toolkit.kernels.source import Source
from toolkit.kmod import build
from toolkit.lab import initramfs
from toolkit.lab.lab import Lab, Result
from toolkit.run import run, say

#: Packages beyond the essential ones: those that one needs to look at a link. policy-rc.d keeps
#: services from starting in the chroot.
INCLUDED = ("ca-certificates", "iproute2", "iputils-ping", "kmod")
#: The other two save time: the initramfs is for a machine that boots from this folder's disk.
SETTINGS = {
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
    "etc/dpkg/dpkg.cfg.d/unsafe-io": "force-unsafe-io\n",
    "etc/initramfs-tools/conf.d/small": "MODULES=list\n",
}

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}

#: Folders whose files do not belong to what is installed.
PASSING = ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache", "/var/log", "/var/lib/apt")


class CleanRoot:
    """A Debian that has just been installed."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log

    def run(self, *argv: str, timeout: float = 1800, check: bool = True) -> str:
        """Run a program in it as root, with proc and dev mounted while it runs; its output.

        :raises ToolError: it fails or takes longer than ``timeout`` seconds.
        """
        enter = 'mount --bind /dev "$0/dev" && exec chroot "$@"'
        done = run(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                f"--mount-proc={self.folder}/proc",
                *("sh", "-c", enter, self.folder, self.folder, "env", "-i"),
                *(f"{name}={value}" for name, value in ENVIRONMENT.items()),
                *argv,
            ],
            timeout=timeout,
            log=self.log,
            check=check,
        )
        return done.stdout

    def install(self, *packages: str) -> str:
        """`apt-get install` without recommended packages; what it says."""
        return self.run("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages)

    def kernels(self) -> list[str]:
        """The releases that are installed."""
        images = (self.folder / "boot").glob("vmlinuz-*")
        return sorted(p.name.removeprefix("vmlinuz-") for p in images)

    def files(self) -> set[str]:
        """Every path in it, except temporary ones."""
        found = set()
        for at, folders, names in os.walk(self.folder):
            here = "/" + os.path.relpath(at, self.folder).removeprefix(".")
            here = here.rstrip("/")
            folders[:] = [f for f in folders if f"{here}/{f}" not in PASSING]
            found |= {f"{here}/{name}" for name in [*folders, *names]}
        return found

    def boot(self, release: str, script: str, *, timeout: float = 1500) -> Result:
        """Run a shell script as root under one of its kernels, with this folder as the root.

        The script cannot change the folder. See :meth:`toolkit.lab.lab.Lab.run`.

        :raises ToolError: the guest does not boot or does not end.
        """
        kernel = Kernel(release, self.folder / "lib/modules" / release / "build")
        file = self.folder / "lib/modules" / release / "updates/dkms" / f"{build.MODULE}.ko"
        source = Source(self.folder, None, None)
        guest = Installed(build.Module(file, kernel, source, fresh=False), self.folder)
        kept = paths.fresh(paths.logs("package", release))
        with tempfile.TemporaryDirectory(prefix="l2wg-boot-") as work:
            # the guest's mount point
            inside = self.folder / work.lstrip("/")
            inside.mkdir(parents=True)
            try:
                result = guest.run(["sh", "-c", script], folder=Path(work), timeout=timeout)
            finally:
                inside.rmdir()
                shutil.copytree(work, kept, dirs_exist_ok=True)
        return Result(result.status, result.seconds, kept)


@dataclass(frozen=True)
class Installed(Lab):
    """A guest whose root is a CleanRoot instead of this machine."""

    def initramfs(self, folder: Path) -> Path:
        """It is in the guest's folder, for nothing of ours is in the clean root."""
        return folder / "initramfs"

    def prepare(self, folder: Path, command: list[str], *, home: Path | None = None) -> None:
        """As :meth:`Lab.prepare`, and make the initramfs."""
        super().prepare(folder, command, home=home)
        initramfs.make(self.initramfs(folder), self.root, self.kernel.release)

    @property
    def home(self) -> Path:
        """A folder that every Debian has."""
        return Path("/")

    def environment(self, folder: Path) -> dict[str, str]:
        """The environment of a program in the clean root, without anything of ours."""
        return ENVIRONMENT

    def shares(self, folder: Path) -> list[str | Path]:
        """As :meth:`Lab.shares`: the folder is not in this guest's root."""
        return ["--root", self.root, f"--rwdir={folder}={folder}"]


def make(folder: Path, codename: str = "bookworm") -> CleanRoot:
    """A Debian of that release, without a kernel, from this machine's mirrors.

    :raises ToolError: not root, or mmdebstrap fails (its log is kept).
    """
    if os.geteuid() != 0:
        raise ToolError("a clean Debian to install packages in needs root", "sudo ./inv ...")
    log = paths.LOGS / "clean-debian.log"
    log.unlink(missing_ok=True)
    say(f"Installing a clean {codename}")
    run(
        [
            *("mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory"),
            '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::Languages "none"',
            f"--include={','.join(INCLUDED)}",
            *(codename, folder, "-"),
        ],
        stdin=Archive(codename).sources(),
        log=log,
        timeout=1200,
    )
    for name, text in SETTINGS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 if "bin/" in name else 0o644)
    root = CleanRoot(folder, log)
    root.run("apt-get", "update", "-q")
    return root

# SPDX-License-Identifier: GPL-2.0
"""The tools that build a kernel's modules: this machine's, or those of the kernel's release.

A kernel's headers come with programs (modpost, objtool, ...) that need the libc of their release,
and with a configuration that needs its compiler. If this machine's are older, we use a minimal
chroot of that release. mmdebstrap makes it once, and checks Debian's signatures. Programs run in it
through bubblewrap, which leaves neither mounts nor files in it. A kernel of another architecture is
built with Debian's cross compiler.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debian.debian_support import Version

from toolkit import needs, paths
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive
from toolkit.kernels.kernel import Kernel
from toolkit.run import run, say

#: What kbuild needs in addition to what the headers' packages depend on.
ALWAYS = ("make",)

#: Folders that a chroot gets from this machine, or empty.
OURS = ("dev", "proc", "sys", "tmp", "run", "home", "root", "mnt", "media", "srv", "boot", "opt")


@dataclass(frozen=True)
class Toolchain:
    """The place where the programs of a kernel's build run.

    :ivar compiler: its name there, ``gcc-14``.
    :ivar chroot: root folder, None for this machine itself.
    :ivar kernel: the kernel to build for.
    """

    compiler: str
    chroot: Path | None
    kernel: Kernel

    @property
    def label(self) -> str:
        """For messages: the compiler, and whose it is."""
        archive = self.kernel.archive
        return f"{archive.codename}'s {self.compiler}" if self.chroot and archive else self.compiler

    def argv(self, argv: Sequence[str | Path], *folders: Path) -> list[str | Path]:
        """A command line that runs ``argv`` there.

        :param folders: what it needs besides the kernel's headers, at the same paths; writable.
        """
        if not self.chroot:
            return list(argv)
        box: list[str | Path] = ["bwrap", "--die-with-parent"]
        for entry in sorted(self.chroot.iterdir()):
            at = f"/{entry.name}"
            if entry.is_symlink():
                box += ["--symlink", os.readlink(entry), at]
            elif entry.is_dir() and entry.name not in OURS:
                box += ["--ro-bind", entry, at]
        box += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
        headers = self.kernel.build.parents[2]
        for how, folder in [("--ro-bind", headers), *(("--bind", f.resolve()) for f in folders)]:
            box += [how, folder, folder]
        return [*box, "--chdir", "/", *argv]

    def run(
        self, argv: Sequence[str | Path], *folders: Path, log: Path | None = None, hint: str = ""
    ) -> str:
        """Run a program there and return what it prints.

        :param folders: see :meth:`argv`.
        :raises ToolError: it fails, or the chroot cannot be entered.
        """
        try:
            return run(self.argv(argv, *folders), log=log, hint=hint).stdout
        except ToolError as error:
            _, refused, why = error.what.partition(": bwrap: ")
            if not (self.chroot and refused):
                raise
            raise ToolError(
                f"{self.chroot}: cannot be entered: {why}",
                "run this as root, or allow user namespaces",
            ) from None


def of(kernel: Kernel) -> Toolchain:
    """The toolchain for a kernel; its chroot is made if it needs one and there is none yet.

    If ``$CC`` names a compiler of this machine, that one is used.

    :raises ToolError: the chroot cannot be made.
    """
    chosen = os.environ.get("CC")
    chroot = None if chosen else _chroot(kernel)
    if kernel.foreign and not chroot:
        needs.ensure(f"build-{kernel.foreign.name}")
    return Toolchain(chosen or _compiler(kernel, chroot), chroot, kernel)


def cross_prefix(kernel: Kernel) -> str:
    """What the names of a kernel's compiler and its companions begin with, ``CROSS_COMPILE``."""
    return f"{kernel.foreign.triplet}-" if kernel.foreign else ""


def _compiler(kernel: Kernel, chroot: Path | None) -> str:
    """The compiler that built the kernel if it is there, else gcc."""
    config = kernel.build / ".config"
    if config.exists():
        with config.open() as f:
            head = f.read(4000)
        if match := re.search(r'CONFIG_CC_VERSION_TEXT="(\S+)', head):
            name = cross_prefix(kernel) + re.sub(r"^\w+-linux-gnu-", "", match[1])
            if (chroot / "usr/bin" / name).exists() if chroot else shutil.which(name):
                return name
    return f"{cross_prefix(kernel)}gcc"


def _here(archive: Archive) -> Archive:
    """The same release's packages for this machine: its programs run here."""
    return Archive(archive.codename) if archive.foreign else archive


def _depends(kernel: Kernel) -> str:
    """What the kernel's headers and the programs that come with them depend on."""
    if not kernel.package or not kernel.archive or len(kernel.build.parents) < 3:
        return ""
    depends = kernel.package.depends
    if match := re.search(r"linux-kbuild-[^\s,(]+", depends):
        depends += ", " + _here(kernel.archive).get(match[0], kernel.package.version).depends
    return depends


def _chroot(kernel: Kernel) -> Path | None:
    """The chroot of the kernel's release, or None if this machine's tools will do."""
    if not kernel.archive or not kernel.build.is_relative_to(paths.cache()):
        # it is the user's own folder, or installed with all that it depends on
        return None
    depends = _depends(kernel)
    if not _newer(depends):
        return None
    names = [d.split("|")[0].split("(")[0].strip() for d in depends.split(",")]
    # gcc-14-for-host has only the name with the architecture in front, gcc-14 has both
    wanted = {n.removesuffix("-for-host") for n in names if n and not n.startswith("linux-")}
    if cross := kernel.foreign:
        machine = cross.triplet.replace("_", "-")  # as a package's name may have it
        wanted = {f"{n}-{machine}" if n.startswith("gcc-") else n for n in wanted}
    return make_chroot(_here(kernel.archive), sorted(wanted | set(ALWAYS)))


def _newer(depends: str) -> bool:
    """Does this need a newer libc or compiler than this machine has?"""
    libc = re.search(r"\blibc6 \(>= ([^)]+)\)", depends)
    gcc = re.search(r"\bgcc-(\d+)", depends)
    return bool(libc and Version(libc[1]) > Version(_libc()) or gcc and int(gcc[1]) > _gcc())


@functools.cache
def _libc() -> str:
    return run(["getconf", "GNU_LIBC_VERSION"]).stdout.split()[-1]


@functools.cache
def _gcc() -> int:
    if not shutil.which("gcc"):
        return 0
    return int(run(["gcc", "-dumpversion"]).stdout.split(".")[0])


def make_chroot(archive: Archive, wanted: Sequence[str]) -> Path:
    """A chroot of a release with these packages, from the cache or made now.

    It needs no root: mmdebstrap then makes it in a user namespace.

    :raises ToolError: it cannot be made; nothing is left.
    """
    digest = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:8]
    target = paths.cache() / "chroots" / f"{archive.codename}-{digest}"
    needs.ensure("chroot")
    with paths.alone(target):
        if not target.exists():
            say(f"Making a chroot of {archive.codename} (once): {' '.join(wanted)}")
            with paths.built_whole(target) as work:
                bootstrap(archive, wanted, work, "--variant=essential")
    return target


def bootstrap(archive: Archive, wanted: Sequence[str], work: Path, *how: str) -> None:
    """Have mmdebstrap put packages of a release, and what they depend on, into a folder.

    :param how: more options of mmdebstrap.
    :raises ToolError: it cannot.
    """
    started = time.monotonic()
    log = paths.LOGS / f"chroot-{archive.codename}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [
        *("mmdebstrap", "--format=tar", *how),
        # old releases' Release files have expired; the signature still holds
        '--aptopt=Acquire::Check-Valid-Until "false"',
        f"--include={','.join(wanted)}",
        *(archive.codename, "-", "-"),
    ]
    unpack = ["tar", "--extract", "--no-same-owner", "--exclude=./dev/*", "--directory", str(work)]
    with log.open("w") as said:
        maker = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert maker.stdin and maker.stdout and maker.stderr
        taker = subprocess.Popen(unpack, stdin=maker.stdout, stderr=said)
        maker.stdout.close()
        maker.stdin.write(archive.sources())
        maker.stdin.close()
        last = ""
        for line in maker.stderr:
            said.write(line)
            if line.startswith(("I: ", "E: ")):
                last = line[3:].strip()
            if line.startswith("I: ") and line.rstrip().endswith("..."):
                say(f"  {last}")
        failed = bool(maker.wait()) | bool(taker.wait())
    if failed:
        why = last or "no reason given"
        users = "run this as root once, or allow user namespaces (newuidmap, /etc/subuid)"
        raise ToolError(
            f"mmdebstrap could not make a chroot of {archive.codename}: {why}",
            "" if os.geteuid() == 0 else users,
            log=log,
        )
    log.unlink()
    say(f"  done in {time.monotonic() - started:.0f} s: {archive.codename}, {_megabytes(work)} MB")


def _megabytes(folder: Path) -> int:
    return sum(p.lstat().st_size for p in folder.rglob("*")) // 1_000_000

# SPDX-License-Identifier: GPL-2.0
"""The lab: a stock Debian kernel in a virtual machine, with this machine's files and our module.

virtme-ng boots the kernel image on this machine's own root file system (read-only), so every tool
that is installed here is there, too. One folder is shared read-write; everything the guest says
goes through it, for without a terminal its standard output is lost.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.guest.dmesg import complaints
from toolkit.kernels.archive import unpack
from toolkit.kernels.kernel import Kernel, headers_of
from toolkit.kmod import build
from toolkit.lab import kvm, process
from toolkit.run import run, say

CPUS = 2
MEMORY = "1G"

ROOT_TAG = "l2wgroot"

#: For an emulated processor. Its time stamp counters are in step, but Linux cannot know: it would
#: ask the emulated HPET for the time, an exit to QEMU under its one lock that halves what the guest
#: does. And nothing speculates there that mitigations would have to hold back.
TCG_ARGUMENTS = ("tsc=reliable", "mitigations=off")

#: A thread for each emulated processor, QEMU's default, is not safe for a kernel that patches its
#: own code, as Linux does for each static key: one processor may meet the breakpoint that another
#: one has just taken back, and panics (docs/kernels.md). In one thread they take turns. That costs
#: a third less processor time, too, where as many guests run as the machine has cores.
ONE_THREAD = "-accel tcg,thread=single"

#: virtme-ng's root, and the overlays that it lays over /usr and the like, do not cache: every
#: program start reads the program and its libraries anew. This machine's files a second time, with
#: a cache, and the rest of the guest's mounts in it, make the tests some five times faster under
#: TCG. Messages stay small because Linux before 6.0 allocates (and clears) two buffers of the
#: maximum for each request. Where this root cannot be had the slow one serves.
FAST_ROOT = f"""\
root=/run/l2wg-root enter=
mkdir -p $root
if mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=65536,cache=loose {ROOT_TAG} $root; then
	if [ ! -d $root/usr/lib/modules ]; then # no place for that mount
		lib=$root/usr/lib over=/run/l2wg-lib
		mkdir -p $over/upper/modules $over/work
		mount -t overlay -o lowerdir=$lib,upperdir=$over/upper,workdir=$over/work overlay $lib
	fi
	while read -r _ at _; do
		case $at in
		/ | /usr | /usr/lib | /lib | /opt | $root*) ;; # $root has them, unchanged
		*) mount --bind "$at" "$root$at" ;;
		esac
	done </proc/self/mounts
	[ ! -e "$root/lib/modules/$(uname -r)" ] || enter="chroot $root"
fi 2>/dev/null"""


@dataclass(frozen=True)
class Result:
    """What a command in the guest left.

    :ivar status: its exit status.
    :ivar seconds: wall time, boot included.
    :ivar folder: holds ``output``, ``dmesg``, ``console`` and what the command wrote.
    """

    status: int
    seconds: float
    folder: Path

    @property
    def complaints(self) -> list[str]:
        """Lines of the kernel's log that must not be there."""
        return complaints((self.folder / "dmesg").read_text(errors="replace"))


@dataclass(frozen=True)
class Lab:
    """A kernel image and its modules, ours among them, laid out so that modprobe finds them.

    :ivar module: what ``$L2WG_MODULE`` is in the guest.
    :ivar root: folder with ``boot/`` and ``lib/modules/<release>``.
    """

    module: build.Module
    root: Path

    @property
    def kernel(self) -> Kernel:
        """The kernel that boots."""
        return self.module.kernel

    @property
    def image(self) -> Path:
        """The kernel image."""
        return self.root / "boot" / f"vmlinuz-{self.kernel.release}"

    @property
    def files(self) -> Path:
        """Whose files the guest has: this machine's."""
        return Path("/")

    def _shares(self, folder: Path) -> list[str | Path]:
        """vng's options for the guest's root, and for the folder that it may write to."""
        return ["--rwdir", folder]

    def shell(self) -> int:
        """An interactive root shell in a guest; its exit status."""
        with tempfile.TemporaryDirectory(prefix="l2wg-lab-") as shared:
            script = self.script(Path(shared), ["bash", "-i"], interactive=True)
            argv = self.argv(script, Path(shared), kvm=kvm.works(self))
            return subprocess.call(argv, env=process.environment())

    def run(
        self,
        command: list[str],
        *,
        folder: Path | None = None,
        timeout: float = 600,
        show: bool = True,
        prefix: str = "",
        cpus: int = CPUS,
        memory: str = MEMORY,
        on_kvm: bool | None = None,
        parallel: bool = False,
        qemu: str = "",
        append: tuple[str, ...] = (),
    ) -> Result:
        """Run one command as root in a guest of its own.

        :param folder: shared with the guest at the same path and kept; ``$L2WG_OUT`` there.
        :param timeout: seconds for the command, after the boot.
        :param show: copy its output to standard output as it comes.
        :param prefix: what each line of that begins with, where several guests run at once.
        :param on_kvm: None: where it works.
        :param parallel: without KVM: its processors run at the same time, against ONE_THREAD.
        :param qemu: more options for QEMU; a later one replaces an earlier one (``-cpu``).
        :param append: more arguments for the kernel.
        :raises ToolError: the guest does not boot or does not end; its console is kept.
        """
        folder = folder or paths.LOGS / f"lab-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        folder.mkdir(parents=True, exist_ok=True)
        script = self.script(folder, command)
        if on_kvm is None:
            on_kvm = kvm.works(self)

        def boot(*level: str) -> None:
            argv = self.argv(
                script,
                folder,
                "--verbose",
                *level,
                kvm=on_kvm,
                cpus=cpus,
                memory=memory,
                parallel=parallel,
                qemu=qemu,
                append=append,
            )
            process.boot(argv, self.kernel.release, folder, timeout, prefix if show else None)

        started = time.monotonic()
        try:
            boot("--append=loglevel=1")  # the console stays silent, and fast, until a panic
        except process.NotBooted as error:
            # our module is not in it yet; and this time its console tells
            say(f"{error}: once more, with the kernel's messages")
            boot()
        status = folder / "status"
        if not status.exists():
            last = complaints((folder / "console").read_text(errors="replace"))
            raise ToolError(
                f"the guest with {self.kernel.release} ended before the command did"
                + (f": {last[0].strip()}" if last else ""),
                f"its console: {folder / 'console'}",
            )
        return Result(int(status.read_text()), time.monotonic() - started, folder)

    def argv(
        self,
        script: Path,
        folder: Path,
        *options: str,
        kvm: bool,
        cpus: int = CPUS,
        memory: str = MEMORY,
        parallel: bool = False,
        qemu: str = "",
        append: tuple[str, ...] = (),
    ) -> list[str | Path]:
        """What starts a guest with that script; see :meth:`run`.

        :param options: more of vng's.
        :raises ToolError: there is no QEMU.
        """
        if not shutil.which("qemu-system-x86_64"):
            raise ToolError("no QEMU on this machine", "apt-get install qemu-system-x86")
        more = [
            # one word: argparse takes a value that starts with a dash for an option
            f"--qemu-opts=-virtfs local,path={self.files},mount_tag={ROOT_TAG},security_model=none"
            ",readonly=on,multidevs=remap"
        ]
        if not kvm:
            options = ("--disable-kvm", *(f"--append={a}" for a in TCG_ARGUMENTS), *options)
            if not parallel:
                more.append(ONE_THREAD)
        return [
            Path(sys.executable).parent / "vng",
            "--run",
            self.image,
            *options,
            *("--cpus", str(cpus), "--memory", memory, "--user", "root"),
            *self._shares(folder),
            " ".join([*more, qemu]).rstrip(),
            *(f"--append={argument}" for argument in append),
            *("--", f"sh {shlex.quote(str(script))}"),
        ]

    def script(self, folder: Path, command: list[str], *, interactive: bool = False) -> Path:
        """Write what the guest runs first."""
        run_it = shlex.join(command)
        if not interactive:
            run_it += f" >{shlex.quote(str(folder / 'output'))} 2>&1 </dev/null"
        script = folder / "run.sh"
        script.write_text(
            f"""#!/bin/sh
export PATH={shlex.quote(str(Path(sys.executable).parent))}:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export PYTHONPATH={shlex.quote(str(paths.ROOT))}
export L2WG_OUT={shlex.quote(str(folder))}
export L2WG_CACHE={shlex.quote(str(paths.cache()))}
export L2WG_MODULE={shlex.quote(str(self.module.file))}
ip link set lo up
{FAST_ROOT}
: >"$L2WG_OUT/booted"
cat >/tmp/l2wg-command <<'L2WG'
cd {shlex.quote(str(Path.cwd() if interactive else paths.ROOT))}
{run_it}
L2WG
$enter sh /tmp/l2wg-command
status=$?
dmesg >"$L2WG_OUT/dmesg"
echo "$status" >"$L2WG_OUT/status.new"
mv "$L2WG_OUT/status.new" "$L2WG_OUT/status"
"""
        )
        return script


def make(wanted: str | None = None, *, debug: bool = False) -> Lab:
    """The lab for a kernel: its image and modules, and our module built for it.

    :raises ToolError: see :func:`toolkit.kmod.build.build`; or there is no image of that kernel.
    """
    module = build.build(wanted, debug=debug)
    kernel = module.kernel
    _compile()
    image, modules = _image(kernel)
    digest = hashlib.sha256(module.file.read_bytes() + str(image).encode()).hexdigest()
    root = paths.BUILD / "lab" / module.file.parent.name
    stamp = root / "made-from"
    with paths.alone(root):  # another one may boot from it as soon as it is there
        if not (stamp.exists() and stamp.read_text() == digest):
            with paths.built_whole(root) as work:
                _lay_out(work, module, image, modules)
                (work / stamp.name).write_text(digest)
    return Lab(module, root)


def _compile() -> None:
    """Our Python to bytecode, as pip does what it installs: in the guest, which may not write here,
    each program that starts would compile it anew, which takes it seconds.
    """
    for package in ("l2wgctl", "toolkit"):
        compileall.compile_dir(paths.ROOT / package, quiet=2)


def _image(kernel: Kernel) -> tuple[Path, Path]:
    """A kernel's image and its modules' folder: installed here, built here, or Debian's."""
    release = kernel.release
    if kernel.package and kernel.archive and kernel.build != headers_of(release).resolve():
        version = kernel.package.version
        whole = kernel.archive.get(f"linux-image-{release}", version)
        target = paths.cache() / "images" / f"{release}_{version}"
        if not target.exists():
            # later kernels come in parts, of which the image's package is the sum
            parts = re.findall(rf"\blinux-[a-z]+-{re.escape(release)}(?= |,|$)", whole.depends)
            wanted = [whole, *(kernel.archive.get(p, version) for p in dict.fromkeys(parts))]
            unpack([kernel.archive.fetch(p) for p in wanted], target, lambda _: None)
        # whether /lib is /usr/lib is the release's matter
        here = [target / lib / "modules" / release for lib in ("lib", "usr/lib")]
        modules = next(folder for folder in here if folder.is_dir())
        kept = target / "boot" / f"vmlinuz-{release}"
        return (kept if kept.exists() else modules / "vmlinuz"), modules
    for image in (
        Path("/boot") / f"vmlinuz-{release}",
        kernel.build / "arch/x86/boot/bzImage",
    ):
        if os.access(image, os.R_OK):
            return image, headers_of(release).parent
    raise ToolError(
        f"no readable kernel image for {release} in /boot or {kernel.build}",
        "name a series to take Debian's: --kernel 5.10",
    )


def image_of(kernel: Kernel) -> tuple[Path, Path]:
    """The image that the lab boots for a kernel, and the folder with its modules.

    :raises ToolError: there is none.
    """
    return _image(kernel)


def _lay_out(root: Path, module: build.Module, image: Path, modules: Path) -> None:
    """Debian's modules stay where they are; ours goes beside them and depmod knows both."""
    release = module.kernel.release
    (root / "boot").mkdir()
    (root / "boot" / f"vmlinuz-{release}").symlink_to(image)
    folder = root / "lib/modules" / release
    (folder / "updates").mkdir(parents=True)
    shutil.copyfile(module.file, folder / "updates" / module.file.name)
    if (modules / "kernel").is_dir():
        (folder / "kernel").symlink_to(modules / "kernel")
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (modules / name).exists():
            shutil.copyfile(modules / name, folder / name)
    run(["/sbin/depmod", "--basedir", root, release], hint="apt-get install kmod")

# SPDX-License-Identifier: GPL-2.0
"""The lab: a stock Debian kernel in a virtual machine, with this machine's files and our module.

virtme-ng boots the kernel image on this machine's own root file system (read-only), so the guest
has every tool that is installed here. One folder is shared read-write. All output of the guest goes
through it, because without a terminal its standard output is lost.
"""

from __future__ import annotations

import compileall
import dataclasses
import hashlib
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from toolkit import arch, needs, paths
from toolkit.errors import ToolError
from toolkit.kernels import kernel as kernels
from toolkit.kernels import own
from toolkit.kernels import source as sources
from toolkit.kernels.kernel import Kernel
from toolkit.kernels.source import Source
from toolkit.kmod import build
from toolkit.lab import firmware, foreign, initramfs, kvm, process, uml, vmlinux
from toolkit.lab import image as images
from toolkit.lab.result import Result, again_line
from toolkit.lab.vm import Vm
from toolkit.run import say

BOOT = paths.ROOT / "toolkit/guest/boot.sh"
DEFAULT = Vm()
#: Of a guest whose processors run at the same time: more than most machines here have cores, so
#: that the host interrupts each of them anywhere.
PROCESSORS = 4
#: Variables that a guest has as they are here: which etcd it runs, how long races last, and how
#: many plaintexts hostile peers send.
GIVEN = ("L2WG_ETCD", "L2WG_MINUTES", "L2WG_PLAINTEXTS")


@dataclass(frozen=True)
class Lab:
    """A kernel image and its modules, ours among them, laid out so that modprobe finds them.

    :ivar module: the value of ``$L2WG_MODULE`` in the guest.
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

    def initramfs(self, folder: Path) -> Path:
        """What the guest starts with in its memory.

        :param folder: see :meth:`run`.
        """
        return self.root / "boot" / f"initramfs-{self.kernel.release}"

    @property
    def compiler(self) -> str | None:
        """What compiles here for the guest; None: this machine's compiler."""
        return None

    @property
    def home(self) -> Path:
        """The folder in which commands start."""
        return paths.ROOT

    def environment(self, folder: Path) -> dict[str, str]:
        """The environment of a command.

        :param folder: see :meth:`run`.
        """
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(paths.ROOT),
            "L2WG_OUT": str(folder),
            "L2WG_CACHE": str(paths.cache()),
            "L2WG_MODULE": str(self.module.file),
            **{name: os.environ[name] for name in GIVEN if name in os.environ},
        }

    def shares(self, folder: Path) -> list[str | Path]:
        """vng's options for the guest's root, and for the folder that it may write to."""
        return ["--rwdir", folder]

    def kvm_works(self) -> bool:
        """Does a guest boot under KVM here? See :func:`toolkit.lab.kvm.works`."""
        return kvm.works(self._trial)

    def _trial(self, folder: Path) -> list[str | Path]:
        self.prepare(folder, ["true"])
        return self.argv(folder, Vm(kvm=True))

    def shell(self) -> int:
        """Run an interactive root shell in a guest, in the current folder; its exit status."""
        with tempfile.TemporaryDirectory(prefix="l2wg-lab-") as shared:
            folder = Path(shared)
            self.prepare(folder, ["bash", "-i"], home=Path.cwd())
            argv = self.argv(folder, Vm(kvm=self.kvm_works()), terminal=True)
            return process.on_terminal(argv)

    def run(
        self,
        command: list[str],
        *,
        folder: Path | None = None,
        timeout: float = 600,
        show: bool = True,
        prefix: str = "",
        vm: Vm = DEFAULT,
    ) -> Result:
        """Run one command as root in a guest of its own.

        :param folder: shared with the guest at the same path and kept; the guest's ``$L2WG_OUT``.
            The script ``again`` in it starts the same guest with the command on the terminal.
        :param timeout: seconds in which the command must end or print something more.
        :param show: copy its output to standard output as it comes.
        :param prefix: what each of these lines begins with, if several guests run at once.
        :raises ToolError: the guest does not boot or does not end; its console is kept.
        """
        folder = folder or paths.LOGS / f"lab-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        paths.claim(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.prepare(folder, command)
        if vm.mok:
            firmware.prepare(folder, self.image, vm.mok)
        if vm.kvm is None:
            vm = dataclasses.replace(vm, kvm=self.kvm_works())
        again = self._again(folder, vm)

        def boot(*level: str) -> None:
            argv = self.argv(folder, vm, "--verbose", *level)
            process.boot(
                argv, self.kernel.release, folder, timeout, prefix if show else None, again=again
            )

        started = time.monotonic()
        try:
            boot("--append=loglevel=1")  # the console is silent, and so fast, until a panic
        except process.NotBooted as error:
            # our module is not loaded yet; this time the console shows messages
            say(f"{error}: once more, with the kernel's messages")
            boot()
        status = process.status(folder)
        if status is None:
            raise ToolError(
                f"the guest with {self.kernel.release} ended before the command did"
                + process.last_words(folder),
                log=folder,
                again=again,
            )
        return Result(status, time.monotonic() - started, folder)

    def argv(self, folder: Path, vm: Vm, *options: str, terminal: bool = False) -> list[str | Path]:
        """The command line that starts a guest whose folder has been prepared.

        :param options: more options of vng.
        :param terminal: its command has the terminal.
        :raises ToolError: there is no QEMU, or a folder has a name that it cannot be given.
        """
        machine = arch.here()
        for path in (folder, self.root, Path(sys.prefix)):
            if odd := re.search(r"[^\w+/.-]", str(path), re.ASCII):
                raise ToolError(
                    f"{path}: virtme-ng takes no folder with {odd[0]!r} in its name",
                    "letters, digits and _+/.- are fine",
                )
        if not shutil.which(machine.qemu):
            raise ToolError("no QEMU on this machine", f"apt-get install {machine.emulator}")
        # QEMU takes the last one of each; vng's own are the image and an initramfs of its own
        starts = f"-initrd {shlex.quote(str(self.initramfs(folder)))}"
        if not vm.kvm and not vm.mok and (kernel := vmlinux.of(self.image)):
            starts += f" -kernel {shlex.quote(str(kernel))}"
        script = ["sh", str(folder / BOOT.name), str(folder), *(["terminal"] if terminal else [])]
        return [
            Path(sys.executable).parent / "vng",
            # a virtiofsd that does not start, like Debian 12's, takes it 4 s for each folder
            *("--run", self.image, "--user", "root", "--force-9p"),
            *machine.vng,
            *vm.vng(),
            *(["--qemu", shlex.quote(str(firmware.program(folder)))] if vm.mok else []),
            *options,
            *self.shares(folder),
            # one word: argparse takes a value that starts with a dash for an option
            f"--qemu-opts={starts} {vm.options()}".rstrip(),
            *("--", shlex.join(script)),
        ]

    def prepare(self, folder: Path, command: list[str], *, home: Path | None = None) -> None:
        """Put boot.sh and the script ``command`` into a guest's folder, for it to run.

        :param home: where the command starts; the lab's own ``home`` by default.
        """
        shutil.copyfile(BOOT, folder / BOOT.name)
        exports = [f"export {k}={shlex.quote(v)}" for k, v in self.environment(folder).items()]
        where = f"cd {shlex.quote(str(home or self.home))}"
        lines = [*exports, where, f"exec {shlex.join(command)}"]
        (folder / "command").write_text("\n".join(lines) + "\n")

    def _again(self, folder: Path, vm: Vm) -> str:
        """Write a script that starts the guest by hand; how to call it."""
        argv = self.argv(folder, vm, terminal=True)
        path = process.environment()["PATH"]
        script = folder / "again"
        script.write_text(
            "#!/bin/sh\n# The same guest once more, with its command on this terminal.\n"
            f"export PATH={shlex.quote(path)}\nexec {shlex.join(map(str, argv))}\n"
        )
        return again_line(folder)


@dataclass(frozen=True)
class Program(Lab):
    """A kernel that is a program here, User Mode Linux: the same guest without QEMU."""

    def kvm_works(self) -> bool:
        """It has no use for it."""
        return False

    def argv(self, folder: Path, vm: Vm, *options: str, terminal: bool = False) -> list[str | Path]:
        """What starts it. It has one processor; ``options``, which are vng's, do not apply."""
        mine = own.of(self.kernel.build)
        vm = dataclasses.replace(vm, append=(*vm.append, *(mine.recipe.boot if mine else ())))
        return uml.argv(self.image, self.root / "lib/modules", folder, vm, terminal=terminal)


@dataclass(frozen=True)
class Several(Lab):
    """A kernel whose processors may run at the same time without KVM: nothing patches its text."""

    def argv(self, folder: Path, vm: Vm, *options: str, terminal: bool = False) -> list[str | Path]:
        """As :meth:`Lab.argv`, with PROCESSORS, each in a thread of its own."""
        more = (*vm.append, "noreplace-smp")
        vm = dataclasses.replace(vm, cpus=PROCESSORS, memory="2G", parallel=True, append=more)
        return super().argv(folder, vm, *options, terminal=terminal)


@dataclass(frozen=True)
class Foreign(Lab):
    """A kernel of another architecture, on a Debian of that."""

    @property
    def arch(self) -> arch.Arch:
        """That architecture."""
        assert self.kernel.foreign
        return self.kernel.foreign

    @property
    def compiler(self) -> str | None:
        """A cross compiler."""
        return foreign.compiler(self.arch)

    def kvm_works(self) -> bool:
        """Never: KVM runs this machine's own programs."""
        return False

    def environment(self, folder: Path) -> dict[str, str]:
        """As :meth:`Lab.environment`, but that Debian's Python, and its packages before ours."""
        return {
            **super().environment(folder),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{paths.ROOT}:/usr/lib/python3/dist-packages:{foreign.pure()}",
            "CC": foreign.compiler(self.arch),
        }

    def argv(self, folder: Path, vm: Vm, *options: str, terminal: bool = False) -> list[str | Path]:
        """What starts it; of ``options``, which are vng's, it takes ``--append``."""
        memory, modules = self.initramfs(folder), self.root / "lib/modules"
        where = (self.arch, self.image, memory, modules, folder)
        return foreign.argv(*where, vm, *options, terminal=terminal)


def of(name: str | None) -> Lab:
    """The lab for the kernel that the user names.

    What must be fetched is fetched at the same time: its headers, its source and its image.

    :raises ToolError: see :func:`make`; or there is no such kernel.
    """
    with process.pool(1) as pool:
        return make(kernels.resolve(name, lambda kernel: pool.submit(sources.fetch, kernel)))


def make(kernel: Kernel, *, debug: bool = False) -> Lab:
    """The lab for a kernel: its image and modules, and our module built for it.

    Meanwhile the image is fetched, if it is not here, and it is tried whether KVM works, if that is
    not known.

    :raises ToolError: see :func:`toolkit.kmod.build.build`; or there is no image of that kernel, or
        another run's guests have an older lab of it.
    """
    if kernel.foreign:
        needs.ensure(f"lab-{kernel.foreign.name}")
    if not images.to_be_fetched(kernel):
        images.of(kernel)  # if there is none, nothing need be built
    with process.pool(1) as pool:
        machine = pool.submit(_machine, kernel)
        module = build.build(kernel, debug=debug)
        _compile()
        image, modules = machine.result()
    digest = _digest(module, image, modules)
    root = paths.BUILD / "lab" / module.file.parent.name
    stamp = root / "made-from"
    with paths.alone(root):  # another process may boot from it as soon as it is there
        if not (stamp.exists() and stamp.read_text() == digest):
            paths.may_replace(root)
            with paths.built_whole(root) as work:
                images.lay_out(work, module.kernel, image, modules, module.file)
                (work / stamp.name).write_text(digest)
        paths.keep(root)
    return _kind(kernel)(module, root)


def _kind(kernel: Kernel) -> type[Lab]:
    if mine := own.of(kernel.build):
        return Program if mine.recipe.program else Several
    return Foreign if kernel.foreign else Lab


def _digest(module: build.Module, image: Path, modules: Path) -> str:
    """Of all that a lab's folder is made from. A rebuilt kernel of the user's keeps its name."""
    inits = foreign.INIT if module.kernel.foreign else (initramfs.INIT,)
    ours = (Path(__file__), Path(initramfs.__file__), *inits, module.file)
    theirs = (image, *sorted(modules.glob("modules.*")), initramfs.of_this_machine())
    stats = [(path, path.stat()) for path in map(Path.resolve, theirs)]
    parts = [str(image), metadata.version("virtme-ng")]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in ours]
    parts += [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _machine(kernel: Kernel) -> tuple[Path, Path]:
    """A kernel's image and its modules, and by them what a guest needs to know of this machine.

    A trial of KVM takes no module of ours.
    """
    image, modules = images.of(kernel)
    if own.of(kernel.build) or kernel.foreign or not shutil.which(arch.here().qemu):
        return image, modules
    works = kvm.remembered()
    if works is None:
        with tempfile.TemporaryDirectory(prefix="l2wg-kvm-") as folder:
            root = Path(folder)
            images.lay_out(root, kernel, image, modules)
            nothing = build.Module(Path(os.devnull), kernel, Source(root, None, None), fresh=False)
            works = Lab(nothing, root).kvm_works()
    if not works:
        vmlinux.of(image)  # it is kept
    return image, modules


class Labs(Mapping[str, Lab]):
    """Labs by the user's names for their kernels; each is made once.

    A kernel that cannot be had is told of, and raises its error for whoever asks for its lab.

    :param folders: build folders of kernels by name, where the name alone may mean another.
    """

    def __init__(self, names: Iterable[str], folders: Mapping[str, Path] | None = None) -> None:
        self._made: dict[str, Lab | ToolError] = {}
        for name in dict.fromkeys(names):
            wanted = str((folders or {}).get(name, name))
            try:
                lab = self._made[name] = make(kernels.resolve(wanted))
                lab.kvm_works()
            except ToolError as error:
                say(f"l2wg: {name}: {error}")
                self._made[name] = error

    def __getitem__(self, name: str) -> Lab:
        """The lab of a kernel.

        :raises ToolError: there is none.
        """
        found = self._made[name]
        if isinstance(found, ToolError):
            raise found
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _compile() -> None:
    """Compile our Python to bytecode, as pip does when it installs. The guest may not write here,
    so each program that starts there would have to compile it again.
    """
    for package in ("l2wgctl", "toolkit"):
        compileall.compile_dir(paths.ROOT / package, quiet=2)

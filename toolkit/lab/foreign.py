# SPDX-License-Identifier: GPL-2.0
"""A guest of another architecture: its own Debian in a folder, this machine's checkout and cache.

The Debian is unpacked and not installed, because this machine cannot run its programs: no script of
a package has run in it. It is of this machine's release, so that the guest has the same tools as
any other.
"""

from __future__ import annotations

import hashlib
import platform
import shlex
import shutil
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from toolkit import needs, paths
from toolkit.arch import Arch
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive
from toolkit.kernels.kernel import Kernel
from toolkit.kmod import toolchain
from toolkit.lab import initramfs
from toolkit.lab.vm import UNWATCHED, Vm
from toolkit.run import say

#: Its init, and the part that it shares with other guests'.
INIT = (paths.ROOT / "toolkit/guest/foreign.sh", paths.ROOT / "toolkit/guest/mounts.sh")

#: What an installed Debian has without being asked, and what l2wgctl imports.
BASE = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "diffutils", "findutils", "gawk"),
    *("grep", "hostname", "kmod", "libc-bin", "mount", "netbase", "python3", "sed", "util-linux"),
    *("python3-cryptography", "python3-pyroute2", "python3-rich"),
)
#: Of what a guest needs, the things for this machine.
OURS = ("etcd-server", "file", "qemu-system-x86", "zstd")

#: /bin and the like are links, as on every Debian that has been installed.
MERGED = 'for d in bin sbin lib; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done'


#: tcpdump gives up being root for a user of its own.
USERS = {
    "passwd": "tcpdump:x:900:900::/nonexistent:/usr/sbin/nologin\n",
    "group": "tcpdump:x:900:\n",
}


def compiler(arch: Arch) -> str:
    """What compiles for it here."""
    return f"{arch.triplet}-gcc"


def files(arch: Arch) -> Path:
    """The root of the guest's files, from the cache or made now.

    :raises ToolError: it cannot be made; nothing is left.
    """
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "bookworm")
    packages = sorted({*BASE, *needs.LAB, *needs.TEST_VM} - {*OURS})
    digest = hashlib.sha256(" ".join([MERGED, *USERS.values(), *packages]).encode()).hexdigest()[:8]
    target = paths.cache() / "roots" / f"{release}-{arch.name}-{digest}"
    with paths.alone(target):
        if not target.exists():
            say(f"Unpacking {release} for {arch.name} (once): {len(packages)} packages")
            with paths.built_whole(target) as work:
                _unpack(Archive(release, arch.name), packages, work)
    return target


def _unpack(archive: Archive, packages: Sequence[str], work: Path) -> None:
    how = ("--variant=extract", f"--architectures={archive.architecture}", f"--setup-hook={MERGED}")
    toolchain.bootstrap(archive, packages, work, *how)
    # as scripts of the packages do
    for name, more in USERS.items():
        first = (work / f"usr/share/base-passwd/{name}.master").read_text()
        (work / "etc" / name).write_text(first + more)


def shares(given: Iterable[Path]) -> list[Path]:
    """Folders that the guest sees where they are here, without those that are in others of them."""
    found = {folder.resolve() for folder in given}
    return sorted(f for f in found if not any(p in found for p in f.parents))


def ours() -> list[Path]:
    """Of this machine: the checkout, the cache, and the Python packages of the virtual environment.

    Those without machine code serve there as well, pytest among them.
    """
    return shares([paths.ROOT, paths.cache(), pure()])


def pure() -> Path:
    """Where the virtual environment has packages without machine code."""
    return Path(sysconfig.get_path("purelib"))


def make_initramfs(target: Path, root: Path, kernel: Kernel) -> None:
    """What a guest of a foreign kernel has in memory; see :func:`toolkit.lab.initramfs.make`."""
    assert kernel.foreign
    busybox = files(kernel.foreign) / "bin/busybox"
    initramfs.make(target, root, kernel.release, inits=INIT, busybox=busybox)


def argv(
    arch: Arch,
    image: Path,
    memory: Path,
    modules: Path,
    folder: Path,
    vm: Vm,
    *options: str,
    terminal: bool = False,
) -> list[str | Path]:
    """What starts one on a folder that :meth:`toolkit.lab.lab.Lab.prepare` has prepared.

    Words without a dot that the kernel does not know are its init's environment.

    :param memory: its initramfs.
    :param modules: what its ``/lib/modules`` is to be.
    :param options: vng's; of these it takes ``--append``.
    :param terminal: its command has the terminal.
    :raises ToolError: there is no QEMU for it.
    """
    if not shutil.which(arch.qemu):
        raise ToolError(f"no {arch.qemu} on this machine", f"apt-get install {arch.emulator}")
    said = [o.removeprefix("--append=") for o in options if o.startswith("--append=")]
    reads = ours()
    kernel = [
        *(f"console={arch.console}", f'L2WG_OUT="{folder}"', f'L2WG_MODULES="{modules}"'),
        f'L2WG_READS="{":".join(map(str, reads))}"',
        *(["L2WG_TERMINAL=terminal"] if terminal else []),
        *(*arch.arguments, *UNWATCHED, *vm.append, *said),
    ]
    mounts = {"files": files(arch), **{f"read{i}": folder for i, folder in enumerate(reads)}}
    return [
        *(arch.qemu, *arch.board, "-smp", str(vm.cpus), "-m", vm.memory),
        *("-nodefaults", "-no-reboot", "-display", "none"),
        *("-serial", "mon:stdio" if terminal else "stdio"),
        *("-kernel", image.resolve(), "-initrd", memory, "-append", " ".join(kernel)),
        *(word for tag, path in mounts.items() for word in _share(tag, path, ",readonly=on")),
        *_share("out", folder, ""),
        *shlex.split(vm.options()),
    ]


def _share(tag: str, folder: Path, how: str) -> list[str]:
    path = str(folder).replace(",", ",,")
    return [
        "-fsdev",
        f"local,id={tag},path={path},security_model=none,multidevs=remap{how}",
        "-device",
        f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
    ]

# SPDX-License-Identifier: GPL-2.0
"""A Vagrant box made from Debian's packages, for machines that cannot download one.

Debian bookworm on one ext4 file system without a partition table, started by extlinux, with the
kernel that the lab boots for the same --kernel; so our module, built here, fits. The packages come
through apt with their signatures checked, as everywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive
from toolkit.kernels.kernel import Kernel
from toolkit.kmod import build
from toolkit.lab import image as images
from toolkit.run import run, say
from toolkit.vagrant import wheels

DEFAULT = "6.1"
SUITE = "bookworm"
SIZE = 2 << 30  # bytes of the disk; unused ones take no room in the image
DATE = 1704067200  # 2024-01-01: for files that no package dates
#: The file system's identity is the same in each build; nothing compares it across machines.
UUID = "6c327767-0001-4000-8000-6c3277670001"
#: Vagrant's well-known key; Vagrant replaces it at the first `vagrant up`.
KEY_FILE = "keys/vagrant.pub"

#: What a node needs, and the tools of the tests
INCLUDE = (
    *("ifupdown", "initramfs-tools", "isc-dhcp-client", "openssh-server", "python3"),
    *("rsync", "sudo", "systemd-sysv", "udev"),
    *("ca-certificates", "ethtool", "iproute2", "iputils-ping", "kmod", "ppp", "pppoe"),
    *("procps", "python3-venv", "tcpdump"),
)
DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "ext4")

#: Files of the box: path -> contents
FILES = {
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\n",
    "etc/hostname": "l2wg\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/initramfs-tools/conf.d/l2wg": "MODULES=list\nCOMPRESS=gzip\n",
    "etc/initramfs-tools/modules": "".join(f"{d}\n" for d in DRIVERS),
    "etc/network/interfaces": (
        "source /etc/network/interfaces.d/*\n\nauto lo\niface lo inet loopback\n\n"
        "auto eth0\niface eth0 inet dhcp\n"
    ),
    "etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD: ALL\n",
    # each machine makes its own host keys when it starts for the first time
    "etc/systemd/system/ssh.service.d/keys.conf": (
        "[Service]\nExecStartPre=\nExecStartPre=/usr/bin/ssh-keygen -A\n"
        "ExecStartPre=/usr/sbin/sshd -t\n"
    ),
    "etc/ssh/sshd_config.d/vagrant.conf": "UseDNS no\n",
}

VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.vm.provider :libvirt do |libvirt|
    libvirt.disk_bus = "virtio"
    libvirt.nic_model_type = "virtio"
  end
end
"""


@dataclass(frozen=True)
class Box:
    """A box file.

    :ivar name: what Vagrant calls it, ``l2wg/debian-6.1``.
    :ivar release: what `uname -r` says in it.
    :ivar file: for `vagrant box add`; its provider is libvirt.
    """

    name: str
    release: str
    file: Path


def make(kernel: Kernel, *, fresh: bool = False) -> Box:
    """The box with a kernel, made unless it is in the cache.

    :param fresh: make it again, with today's packages.
    :raises ToolError: we are not root, a package cannot be fetched, a step fails.
    """
    name = f"l2wg/debian-{'.'.join(kernel.release.split('.')[:2])}"
    file = paths.cache() / "boxes" / f"{kernel.release}-{_recipe(kernel)}.box"
    if fresh or not file.exists():
        if os.geteuid() != 0:
            raise ToolError("box: making and mounting a file system needs root", "run it with sudo")
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".box-", dir=file.parent) as work:
            _make(Path(work), kernel).replace(file)
        for stale in file.parent.glob(f"{kernel.release}-*.box"):
            if stale != file:
                stale.unlink()
    return Box(name, kernel.release, file)


def add(box: Box) -> None:
    """Add the box to Vagrant, unless Vagrant has exactly this one."""
    listed = paths.cache() / "boxes" / "added.json"
    home = Path(os.environ.get("VAGRANT_HOME") or Path.home() / ".vagrant.d")
    folder = home / "boxes" / box.name.replace("/", "-VAGRANTSLASH-") / "0" / "libvirt"
    try:
        added = json.loads(listed.read_text())
    except (OSError, ValueError):
        added = {}
    mark = [box.file.name, box.file.stat().st_mtime]
    if added.get(str(folder)) == mark and (folder / "box.img").exists():
        return
    say(f"Adding {box.name} to Vagrant")
    command = ["vagrant", "box", "add", "--force", "--provider", "libvirt", "--name", box.name]
    run([*command, box.file])
    listed.write_text(json.dumps({**added, str(folder): mark}))


def _recipe(kernel: Kernel) -> str:
    """A hash over all that decides what is in the box: this file, and the kernel."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(f"{kernel.release} {kernel.version}".encode())
    return digest.hexdigest()[:12]


def _make(work: Path, kernel: Kernel) -> Path:
    say(f"Making a box: Debian {SUITE} with {kernel.label}")
    tree = work / "root.tar"
    _bootstrap(tree, work, kernel)
    raw = work / "box.raw"
    _file_system(raw, tree, kernel)
    image = work / "box.img"
    say("Compressing the disk")
    run(["qemu-img", "convert", "-c", "-O", "qcow2", raw, image])
    raw.unlink()
    return _pack(work, image)


def _bootstrap(tree: Path, work: Path, kernel: Kernel) -> None:
    """Debian as a tar file: packages, the kernel, user vagrant."""
    archive = Archive(SUITE)
    archive.update()
    overlay = work / "overlay"
    for name, text in FILES.items():
        _write(overlay / name, text)
    (overlay / "etc/sudoers.d/vagrant").chmod(0o440)
    _write(overlay / "home/vagrant/.ssh/authorized_keys", _public_key())
    _lay_kernel(overlay, kernel)
    release = shlex.quote(kernel.release)
    script = work / "customise"
    script.write_text(
        f"""#!/bin/sh
set -eu
cp -a --no-preserve=ownership {shlex.quote(str(overlay))}/. "$1/"
cat <<'END' | chroot "$1" sh -eu
useradd --shell /bin/bash --password '*' vagrant
chown -R vagrant:vagrant /home/vagrant
chmod 700 /home/vagrant/.ssh
depmod {release}
update-initramfs -c -k {release}
systemctl enable ssh.service
rm -f /etc/ssh/ssh_host_*
: >/etc/machine-id
END
"""
    )
    script.chmod(0o755)
    say("Installing Debian's packages")
    sources = work / "sources.list"
    rows = archive.sources().splitlines(keepends=True)
    sources.write_text("".join(r for r in rows if f" {SUITE}-backports " not in r))
    run(
        [
            *("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(INCLUDE)}"),
            *('--aptopt=Acquire::Languages "none"', '--aptopt=Acquire::Check-Valid-Until "false"'),
            f"--customize-hook={script}",
            *(SUITE, tree, sources),
        ],
        env={"SOURCE_DATE_EPOCH": str(DATE), "DEBIAN_FRONTEND": "noninteractive"},
        show=True,
        hint="is the package mirror reachable?",
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _public_key() -> str:
    """The public half of Vagrant's well-known key, from Vagrant's own files."""
    found = run(["gem", "contents", "vagrant"], check=False).stdout.splitlines()
    places = [Path(p) for p in found if p.endswith(KEY_FILE)]
    for root in ("/usr/share/rubygems-integration/all/gems", "/opt/vagrant/embedded/gems/gems"):
        places += sorted(Path(root).glob(f"vagrant-[0-9]*/{KEY_FILE}"))
    for place in places:
        if place.exists():
            return place.read_text()
    raise ToolError(f"vagrant: no {KEY_FILE} among its files", "apt-get install vagrant")


def _lay_kernel(overlay: Path, kernel: Kernel) -> None:
    """The lab's kernel: image, configuration, modules."""
    image, modules = images.of(kernel)
    (overlay / "boot").mkdir(parents=True)
    shutil.copyfile(image, overlay / "boot" / f"vmlinuz-{kernel.release}")
    config = kernel.build / ".config"
    if config.exists():
        shutil.copyfile(config, overlay / "boot" / f"config-{kernel.release}")
    # /lib is a link to usr/lib in the box, and cp would not follow it
    target = overlay / "usr/lib/modules" / kernel.release
    ignore = shutil.ignore_patterns("build", "source", "updates")
    shutil.copytree(modules, target, symlinks=True, ignore=ignore)


def _file_system(raw: Path, tree: Path, kernel: Kernel) -> None:
    say("Making the disk")
    with raw.open("wb") as disk:
        disk.truncate(SIZE)
    features = ["-E", f"hash_seed={UUID},lazy_itable_init=0", "-U", UUID, "-O", "^64bit"]
    run(["mkfs.ext4", "-q", "-F", "-L", "l2wg", *features, raw])
    with _mounted(raw) as root:
        run(["tar", "--extract", "--file", tree, "--xattrs", "--xattrs-include=*", "-C", root])
        folder = root / "boot/extlinux"
        folder.mkdir(parents=True)
        # A machine that waits for its processor while Linux tries the timer would panic
        # ("IO-APIC + timer doesn't work"), so that Linux does not try it.
        more = "net.ifnames=0 no_timer_check console=tty0 console=ttyS0,115200 quiet"
        (folder / "extlinux.conf").write_text(
            "DEFAULT l2wg\nTIMEOUT 0\nPROMPT 0\nSERIAL 0\nLABEL l2wg\n"
            f"  LINUX /boot/vmlinuz-{kernel.release}\n"
            f"  INITRD /boot/initrd.img-{kernel.release}\n"
            f"  APPEND root=/dev/vda ro {more}\n"
        )
        run(["extlinux", "--install", folder])


@contextmanager
def _mounted(raw: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="l2wg-box-") as folder:
        run(["mount", "-o", "loop", raw, folder], hint="is the kernel's loop device at hand?")
        try:
            yield Path(folder)
        finally:
            run(["umount", folder])


def _pack(work: Path, image: Path) -> Path:
    """The box: a tar file with Vagrant's metadata, and the disk."""
    about = {"provider": "libvirt", "format": "qcow2", "virtual_size": SIZE >> 30}
    (work / "metadata.json").write_text(json.dumps(about) + "\n")
    (work / "Vagrantfile").write_text(VAGRANTFILE)
    box = work / "package.box"

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime, member.mode = DATE, 0o644
        return member

    with tarfile.open(box, "w") as tar:
        for name in ("metadata.json", "Vagrantfile", image.name):
            tar.add(work / name, name, filter=plain)
    say(f"{box.stat().st_size / 1e6:.0f} MB")
    return box


def prepare(kernel: Kernel, *, fresh: bool = False) -> Box:
    """Make the box, add it to Vagrant, and build module and wheels for its machines.

    :raises ToolError: see :func:`make`; or the module cannot be built.
    """
    box = make(kernel, fresh=fresh)
    add(box)
    build.build(kernel)
    wheels.make()
    return box

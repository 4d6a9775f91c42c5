# SPDX-License-Identifier: GPL-2.0
"""The Debian packages that the tasks need, in one place, and how they get here."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence

from toolkit import arch
from toolkit.errors import ToolError
from toolkit.run import run, say

BUILD = (
    "bc",
    "bzip2",
    "debian-archive-keyring",
    "gcc",
    "kmod",
    "libc6-dev",
    "libelf1",
    "libssl3",
    "make",
    "pahole",
    "patch",
    "xz-utils",
)
#: For kernels that need a newer compiler or libc; users other than root need newuidmap.
CHROOT = ("bubblewrap", "mmdebstrap", "uidmap")
LAB = (
    "busybox-static",
    "file",
    "iproute2",
    "iputils-ping",
    "procps",
    "qemu-system-x86",
    "tcpdump",
    "wireguard-tools",
    "zstd",
)
FUZZ = ("clang", "libclang-rt-14-dev", "llvm")
#: Compilers and emulators of a big-endian and of a 32-bit machine.
MACHINES = (
    "gcc-arm-linux-gnueabihf",
    "gcc-s390x-linux-gnu",
    "libc6-dev-armhf-cross",
    "libc6-dev-s390x-cross",
    "qemu-user",
)
VAGRANT = ("vagrant", "vagrant-libvirt")
#: Vagrant is large: without it a test is skipped, which CI does not allow
TEST_UNIT = (
    "etcd-server",
    "git",
    "libssl-dev",
    "openssl",
    "perl",
    "sparse",
    *FUZZ,
    *MACHINES,
    *(VAGRANT if os.environ.get("CI") == "true" else ()),
)
TEST_VM = (
    "curl",
    "etcd-server",
    "ethtool",
    "iperf3",
    "iptables",
    "libssl-dev",
    "libteam-utils",
    "ncat",
    "nftables",
    "openssl",
    "ppp",
    "pppoe",
)
BOX = (*VAGRANT, "e2fsprogs", "extlinux", "mmdebstrap", "mount", "qemu-utils", "tar")
#: libvirt with QEMU, and the networks of its machines
LIBVIRT = (
    "dnsmasq-base",
    "iptables",
    "libvirt-clients",
    "libvirt-daemon-system",
    "openssh-client",
    "qemu-system-x86",
    "rsync",
    # without it apt would install systemd where there is none
    *(() if os.path.isdir("/run/systemd/system") else ("libvirt-daemon-system-sysv",)),
)
BENCH = ("python3-matplotlib", "valgrind")
#: What `./inv bench` measures l2wg beside; see the packages of toolkit.guest.contenders.
RIVALS = ("n2n", "openssl", "openvpn", "tinc")
#: lintian, and what debian/control asks for.
PACKAGE = ("debhelper", "dh-dkms", "dh-python", "dpkg-dev", "fakeroot", "lintian", "python3")

#: What builds a kernel.
OWN_KERNEL = ("bison", "flex", "libelf-dev")

#: task -> packages beyond what the script `./inv` itself needs (python3, python3-venv)
NEEDS: dict[str, tuple[str, ...]] = {
    "build-module": BUILD,
    "chroot": CHROOT,
    "package": BUILD + PACKAGE,
    "package-test": BUILD + CHROOT + LAB + PACKAGE + ("openssl",),
    "patch": ("patch",),
    "lab": BUILD + LAB,
    "demo": BUILD + LAB,
    "demo-mesh": (*BUILD, *LAB, "curl", "etcd-server"),
    "bench-ctl": BUILD + LAB,
    "bench-hostile": (*BUILD, *LAB, "ethtool"),
    "frames": ("gcc", "libc6-dev"),
    "fuzz": FUZZ,
    "box": BUILD + BOX,
    "vagrant-test": BUILD + LAB + BOX + LIBVIRT,
    "bench": BUILD + LAB + BENCH + RIVALS,
    "bench-mesh": ("etcd-server", "python3-matplotlib"),
    "profile": BUILD + LAB + BENCH + RIVALS + ("linux-perf",),
    "test-unit": BUILD + TEST_UNIT,
    "test-vm": BUILD + LAB + TEST_VM,
    "selftest": BUILD + LAB + TEST_VM,
    "own-kernel": BUILD + OWN_KERNEL,
    "sanitize": BUILD + LAB + TEST_VM,
    # a kernel of another architecture, built and booted here
    "build-amd64": ("gcc-x86-64-linux-gnu",),
    "build-arm64": ("gcc-aarch64-linux-gnu",),
    "lab-amd64": (
        *("gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross", "mmdebstrap", "qemu-system-x86"),
    ),
    "lab-arm64": (
        *("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "mmdebstrap", "qemu-system-arm"),
    ),
}


INSTALL = ("apt-get", "install", "--no-install-recommends")


def packages(task: str) -> list[str]:
    """What a task needs on a machine of this architecture."""
    x86 = arch.KNOWN["amd64"].emulator
    if x86 not in NEEDS[task] or task == "lab-amd64":
        return [*NEEDS[task]]
    return [arch.here().emulator if name == x86 else name for name in NEEDS[task]]


def missing(names: tuple[str, ...]) -> list[str]:
    """Those of the named packages that are not installed."""
    done = run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names],
        check=False,
    )
    present = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return sorted(set(names) - present)


def line(names: Iterable[str]) -> str:
    """The command with which a user installs packages."""
    return f"sudo {' '.join([*INSTALL, *sorted(names)])}"


def lacking(task: str, but: Collection[str] = ()) -> list[str]:
    """Install what ``task`` needs if we are root; the packages that it still lacks.

    :param but: packages that it can do without this time.
    :raises ToolError: we are root, and apt fails.
    """
    missing_here = missing(tuple(name for name in packages(task) if name not in but))
    if missing_here and os.geteuid() == 0:
        _install(missing_here)
        return []
    return missing_here


def ensure(task: str, but: Collection[str] = ()) -> None:
    """Install what ``task`` needs and this machine lacks.

    :param but: packages that it can do without this time.
    :raises ToolError: something is missing and we are not root; nothing has been done then.
    """
    if names := lacking(task, but):
        raise ToolError(f"{task}: packages are missing", line(names))


def _install(names: Sequence[str]) -> None:
    say(f"Installing {' '.join(names)}")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names]
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    if run(install, env=env, check=False).returncode:
        # A fresh machine has no package lists, or outdated ones.
        run(["apt-get", "update", "-qq"], hint="is the package mirror reachable?")
        run(install, env=env)

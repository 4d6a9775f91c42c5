# SPDX-License-Identifier: GPL-2.0
"""The Debian packages that the tasks need, in one place, and how they get here."""

from __future__ import annotations

import os

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
)
FUZZ = ("clang", "libclang-rt-14-dev", "llvm")
VAGRANT = ("vagrant", "vagrant-libvirt")
#: Vagrant is large: without it a test is skipped, which CI does not allow
TEST_UNIT = ("git", "perl", "sparse", *FUZZ, *(VAGRANT if os.environ.get("CI") == "true" else ()))
TEST_VM = (
    "ethtool",
    "iperf3",
    "iptables",
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
BENCH = ("n2n", "openssl", "openvpn", "python3-matplotlib", "tinc", "valgrind")
#: lintian, and what debian/control asks for.
PACKAGE = ("debhelper", "dh-dkms", "dh-python", "dpkg-dev", "fakeroot", "lintian", "python3")

#: task -> packages beyond what ./inv itself needs (python3, python3-venv)
NEEDS: dict[str, tuple[str, ...]] = {
    "build-module": BUILD,
    "chroot": CHROOT,
    "package": BUILD + PACKAGE,
    "package-test": BUILD + CHROOT + LAB + PACKAGE + ("openssl",),
    "patch": ("patch",),
    "lab": BUILD + LAB,
    "demo": BUILD + LAB,
    "bench-ctl": BUILD + LAB,
    "frames": ("gcc", "libc6-dev"),
    "fuzz": FUZZ,
    "box": BUILD + BOX,
    "vagrant-test": BUILD + LAB + BOX + LIBVIRT,
    "bench": BUILD + LAB + BENCH,
    "profile": BUILD + LAB + BENCH + ("linux-perf",),
    "test-unit": BUILD + TEST_UNIT,
    "test-vm": BUILD + LAB + TEST_VM,
    "selftest": BUILD + LAB + TEST_VM,
}


def missing(names: tuple[str, ...]) -> list[str]:
    """Those of the named packages that are not installed."""
    done = run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *names],
        check=False,
    )
    present = {line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")}
    return sorted(set(names) - present)


def ensure(task: str) -> None:
    """Install what ``task`` needs and this machine lacks.

    :raises ToolError: something is missing and we are not root; nothing has been done then.
    """
    lacking = missing(NEEDS[task])
    if not lacking:
        return
    line = "apt-get install --no-install-recommends " + " ".join(lacking)
    if os.geteuid() != 0:
        raise ToolError(f"{task}: packages are missing", f"sudo {line}")
    say(f"Installing {' '.join(lacking)}")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *lacking]
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    if run(install, env=env, check=False).returncode:
        # A fresh machine has no package lists, or outdated ones.
        run(["apt-get", "update", "-qq"], hint="is the package mirror reachable?")
        run(install, env=env)

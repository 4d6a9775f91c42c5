# SPDX-License-Identifier: GPL-2.0
"""Why this machine has no l2wireguard, and how to get it.

With the sources one builds it. With the packages, the kernel's headers may be missing or DKMS has
to run. With Secure Boot, or where the kernel insists on signatures, the module may be there and be
refused.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable, NamedTuple

from .grammar import L2WIREGUARD

#: GUID of EFI_GLOBAL_VARIABLE (UEFI 2.10, 3.3), under which the firmware says SecureBoot.
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
#: The kernel's own switch (module.sig_enforce, kernel/module/signing.c): Y or N.
_ENFORCED = "sys/module/module/parameters/sig_enforce"
#: Which keys the kernel has, in its keyrings (keyrings(7)). Only root sees those of modules.
_KEYS = "proc/keys"
#: Who signs what Debian's DKMS builds, and the certificate of that key.
DKMS = "DKMS module signing key"
MOK = "/var/lib/dkms/mok.pub"


def _modinfo(release: str, field: str) -> str | None:
    argv = ["modinfo", "-k", release, "-F", field, L2WIREGUARD]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _enrolled() -> bool | None:
    """Whether the firmware trusts the key of DKMS; None if that is unknown."""
    try:
        done = subprocess.run(
            ["mokutil", "--test-key", MOK], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    # mokutil(1) ends with 1 when it is enrolled, and with 0 when it could be.
    return "already enrolled" in done.stdout + done.stderr


class Machine(NamedTuple):
    """The source of the facts; `root` is `/`, except in tests."""

    root: Path = Path("/")
    release: str = os.uname().release
    home: Path = Path(__file__).parent
    modinfo: Callable[[str, str], str | None] = _modinfo
    enrolled: Callable[[], bool | None] = _enrolled

    @property
    def secure_boot(self) -> bool:
        """Whether Secure Boot is on: the byte after the variable's four bytes of attributes."""
        try:
            return (self.root / _SECURE_BOOT).read_bytes()[4:5] == b"\1"
        except OSError:
            return False

    @property
    def demands_signature(self) -> bool:
        """Whether the kernel refuses a module that is not signed: told so, or by Secure Boot."""
        try:
            enforced = (self.root / _ENFORCED).read_text().strip() == "Y"
        except OSError:
            enforced = False
        return enforced or self.secure_boot

    def knows(self, signer: str) -> bool | None:
        """Whether the kernel has a key of that name to check modules with; None if unknown."""
        try:
            keys = (self.root / _KEYS).read_text()
        except OSError:
            return None
        # asymmetric_key_describe(): `asymmetri NAME: IDENTIFIER: X509.rsa ...`, the type cut short
        names = [line for line in keys.splitlines() if " asymmetri " in line and ": X509." in line]
        return any(f" {signer}: " in line for line in names) if names else None

    @property
    def sources(self) -> Path | None:
        """The checkout that this l2wgctl runs from, if it is one."""
        top = self.home.parent
        return top if (top / "inv").exists() and (top / "kernel").is_dir() else None

    @property
    def dkms(self) -> Path | None:
        """The module's source for DKMS, if the package l2wireguard-dkms is there."""
        return next((self.root / "usr/src").glob(f"{L2WIREGUARD}-*/dkms.conf"), None)

    @property
    def has_headers(self) -> bool:
        """Whether the headers of the running kernel are installed."""
        return (self.root / f"lib/modules/{self.release}/build").exists()

    @property
    def is_debian(self) -> bool:
        """Whether apt installs things here."""
        return (self.root / "etc/debian_version").exists()


def _headers(machine: Machine) -> str:
    if machine.is_debian:
        return f"apt install linux-headers-{machine.release}"
    return f"install the headers of Linux {machine.release}"


def refused(machine: Machine) -> str | None:
    """What to do where the kernel refuses the installed module for its signature.

    None: it takes the module, or that cannot be known.
    """
    if not machine.demands_signature:
        return None
    signer = machine.modinfo(machine.release, "signer")
    if not signer:
        return (
            "the installed module is not signed, and this kernel takes no other: "
            "'sudo ./inv install --sign KEY CERT', with a key that the machine trusts"
        )
    known = machine.knows(signer)
    if signer == DKMS and known is None and machine.secure_boot:
        known = machine.enrolled() is True
    if known is not False:
        return None
    if not machine.secure_boot:
        return (
            f"the installed module is signed by '{signer}', of whom this kernel has no key; it "
            "takes enrolled keys only with Secure Boot on (docs/packages.md)"
        )
    if signer == DKMS:
        return (
            "Secure Boot is on: 'mokutil --import "
            f"{MOK}' and a restart make it trust what DKMS signs; then 'modprobe {L2WIREGUARD}'"
        )
    return (
        f"the installed module is signed by '{signer}', of whom this kernel has no key: 'mokutil "
        f"--import CERT' with that certificate (DER) and a restart; then 'modprobe {L2WIREGUARD}'"
    )


def module_hint(machine: Machine | None = None) -> str:
    """What to do when the kernel has no l2wireguard, in one line."""
    machine = machine or Machine()
    if machine.modinfo(machine.release, "filename"):
        if why := refused(machine):
            return why
        return f"load it with 'modprobe {L2WIREGUARD}'; if it is refused, 'dmesg' says why"
    if machine.dkms:
        if not machine.has_headers:
            return f"{_headers(machine)}; DKMS then builds the module for this kernel"
        return (
            f"dkms autoinstall -k {machine.release}; if it fails, the reason is in "
            f"/var/lib/dkms/{L2WIREGUARD}"
        )
    if machine.sources:
        return f"'sudo ./inv install' in {machine.sources}, then 'modprobe {L2WIREGUARD}'"
    packages = f"the package {L2WIREGUARD}-dkms"
    if not machine.has_headers:
        packages += f" and the headers of Linux {machine.release}"
    return f"install {packages}, or run 'sudo ./inv install' in the l2wg sources"

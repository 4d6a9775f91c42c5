# SPDX-License-Identifier: GPL-2.0
"""What is advised to a machine without the module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl.machine import MOK, Machine, module_hint

RELEASE = "6.1.0-56-amd64"
Make = Callable[..., Machine]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A machine: what of it is there, by path below its root."""

    def build(
        *there: str,
        installed: bool = False,
        enrolled: bool | None = None,
        signer: str | None = "DKMS module signing key",
        enforced: str = "",
        keys: str = "",
    ) -> Machine:
        for name in there:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir()
            else:
                path.write_bytes(b"\6\0\0\0\1" if "SecureBoot" in name else b"")
        if enforced:
            (tmp_path / ENFORCE).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / ENFORCE).write_text(f"{enforced}\n")
        if keys:
            (tmp_path / "proc").mkdir(exist_ok=True)
            (tmp_path / "proc/keys").write_text(keys)
        fields = {"filename": "/lib/modules/x.ko", "signer": signer} if installed else {}
        return Machine(
            tmp_path,
            RELEASE,
            tmp_path / "usr/share/l2wgctl/l2wgctl",
            lambda release, field: fields.get(field),
            lambda: enrolled,
        )

    return build


BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
ENFORCE = "sys/module/module/parameters/sig_enforce"
KEYS = """\
049a6c5c I------     1 perm 1f0b0000     0     0 keyring   .platform: 5
18a2b0d5 I--Q---     3 perm 3f030000     0     0 keyring   _ses: 1
1a6fa1dd I------     1 perm 1f030000     0     0 asymmetri Debian Secure Boot CA: 6c: X509.rsa 4c []
1ef3a4b2 I------     1 perm 1f030000     0     0 asymmetri l2wg machine owner: 7a1b: X509.rsa 01 []
2d7c34a1 I------     1 perm 1f030000     0     0 asymmetri Somebody: L2WG: of mine: 8c: X509.rsa []
2e7c34a1 I------     1 perm 1f030000     0     0 blacklist bin:00 me: X509.
"""
DKMS = "usr/src/l2wireguard-0.1.0/dkms.conf"
DEBIAN = "etc/debian_version"
HEADERS = f"lib/modules/{RELEASE}/build/"


def test_installed_and_not_loaded(make: Make) -> None:
    assert module_hint(make(installed=True)) == (
        "load it with 'modprobe l2wireguard'; if it is refused, 'dmesg' says why"
    )
    secure = (
        f"Secure Boot is on: 'mokutil --import {MOK}' and a restart make it trust what DKMS signs; "
        "then 'modprobe l2wireguard'"
    )
    for enrolled in (None, False):
        assert module_hint(make(BOOT, installed=True, enrolled=enrolled)) == secure
    assert "dmesg" in module_hint(make(BOOT, installed=True, enrolled=True))


def test_a_kernel_that_takes_signed_modules_only(make: Make) -> None:
    unsigned = (
        "the installed module is not signed, and this kernel takes no other: "
        "'sudo ./inv install --sign KEY CERT', with a key that the machine trusts"
    )
    assert module_hint(make(installed=True, signer=None, enforced="Y")) == unsigned
    assert "dmesg" in module_hint(make(installed=True, enforced="Y"))
    assert "dmesg" in module_hint(make(installed=True, signer=None, enforced="N"))


def test_a_signer_whom_the_kernel_does_not_know(make: Make) -> None:
    """With the machine's own eyes: /proc/keys, as root sees it."""
    told = (
        "the installed module is signed by 'me', of whom this kernel has no key: 'mokutil --import "
        "CERT' with that certificate (DER) and a restart; then 'modprobe l2wireguard'"
    )
    assert module_hint(make(BOOT, installed=True, signer="me", keys=KEYS)) == told
    dkms = module_hint(make(BOOT, installed=True, keys=KEYS, enrolled=True))
    assert dkms.startswith(f"Secure Boot is on: 'mokutil --import {MOK}'")


def test_without_secure_boot_the_kernel_takes_no_enrolled_key(make: Make) -> None:
    assert module_hint(make(installed=True, signer="me", enforced="Y", keys=KEYS)) == (
        "the installed module is signed by 'me', of whom this kernel has no key; it takes enrolled "
        "keys only with Secure Boot on (docs/packages.md)"
    )


@pytest.mark.parametrize("signer", ["Debian Secure Boot CA", "l2wg machine owner", "L2WG: of mine"])
def test_a_signer_whom_the_kernel_knows(make: Make, signer: str) -> None:
    for enforced, there in (("Y", ()), ("N", (BOOT,))):
        machine = make(*there, installed=True, signer=signer, enforced=enforced, keys=KEYS)
        assert "dmesg" in module_hint(machine)


def test_who_may_not_see_the_keys_says_nothing_of_them(make: Make) -> None:
    hidden = "".join(line for line in KEYS.splitlines(True) if "asymmetri" not in line)
    for keys in ("", hidden):
        machine = make(BOOT, installed=True, signer="me", keys=keys)
        assert "dmesg" in module_hint(machine)


@pytest.mark.parametrize("enforced", ["", "N"])
def test_secure_boot_takes_signed_modules_only(make: Make, enforced: str) -> None:
    machine = make(BOOT, installed=True, signer=None, enforced=enforced)
    assert "is not signed" in module_hint(machine)


def test_secure_boot_that_is_off(make: Make, tmp_path: Path) -> None:
    machine = make(BOOT)
    assert machine.secure_boot
    (tmp_path / BOOT).write_bytes(b"\6\0\0\0\0")
    assert not machine.secure_boot


def test_packages(make: Make) -> None:
    assert module_hint(make(DKMS, DEBIAN)) == (
        f"apt install linux-headers-{RELEASE}; DKMS then builds the module for this kernel"
    )
    assert module_hint(make(HEADERS)) == (
        f"dkms autoinstall -k {RELEASE}; if it fails, the reason is in /var/lib/dkms/l2wireguard"
    )


def test_another_distribution(make: Make) -> None:
    assert module_hint(make(DKMS)) == (
        f"install the headers of Linux {RELEASE}; DKMS then builds the module for this kernel"
    )


def test_a_checkout(make: Make, tmp_path: Path) -> None:
    machine = make("src/inv", "src/kernel/x", "src/l2wgctl/x")._replace(
        home=tmp_path / "src/l2wgctl"
    )
    assert module_hint(machine) == (
        f"'sudo ./inv install' in {tmp_path}/src, then 'modprobe l2wireguard'"
    )


def test_nothing_of_ours(make: Make) -> None:
    assert module_hint(make()) == (
        f"install the package l2wireguard-dkms and the headers of Linux {RELEASE}, or run 'sudo "
        "./inv install' in the l2wg sources"
    )
    assert module_hint(make(HEADERS)) == (
        "install the package l2wireguard-dkms, or run 'sudo ./inv install' in the l2wg sources"
    )


def test_this_machine() -> None:
    hint = module_hint()
    assert hint and "\n" not in hint
    assert Machine().modinfo("0.0-none", "l2wg_version") is None

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

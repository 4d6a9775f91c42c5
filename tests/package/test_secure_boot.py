# SPDX-License-Identifier: GPL-2.0
"""A machine with Secure Boot on: our module loads there if its signer's key is enrolled.

One guest, with Debian's shim, GRUB and kernel, and a key of ours enrolled as the machine owner's
(toolkit/lab/firmware.py).
"""

from __future__ import annotations

import re
import shutil

import pytest

from tests.package.test_signing import make_key
from toolkit import paths
from toolkit.guest.dmesg import complaints
from toolkit.kernels import kernel
from toolkit.kmod import build, signing
from toolkit.lab import lab as labs
from toolkit.lab.vm import Vm

SERIES = "6.1"
STRANGER, OWNER = "l2wg stranger", "l2wg machine owner"

#: Loads the module that is installed: ours without a signature, then one that a stranger has
#: signed, then one that the owner has.
SCRIPT = """
installed=/lib/modules/$(uname -r)/updates/l2wireguard.ko
config=/tmp/wg1.conf
(umask 077; printf '[Interface]\\nPrivateKey = %s\\n' "$(wg genkey)" >$config)

attempt() {
	echo "== $1"
	echo "l2wg-test: $1" >/dev/kmsg
	modprobe l2wireguard
	echo "modprobe: status $?"
	python3 -m l2wgctl up $config
	echo "up: status $?"
	dmesg | sed -n "/l2wg-test: $1/,\\$p"
}

mount -t efivarfs efivarfs /sys/firmware/efi/efivars
[ -e /sys/kernel/security/lockdown ] || mount -t securityfs securityfs /sys/kernel/security
echo "== machine"
cat /proc/cmdline /sys/kernel/security/lockdown
echo "sig_enforce: $(cat /sys/module/module/parameters/sig_enforce)"
od -An -tu1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
grep asymmetri /proc/keys
dmesg | grep -iE 'secure boot|lockdown|MokList|x.509'

attempt unsigned
mount --bind "$L2WG_OUT/stranger.ko" "$installed"
attempt stranger
mount --bind "$L2WG_OUT/owner.ko" "$installed"
attempt owner
ip -details link show wg1
cat /sys/module/l2wireguard/taint
python3 -m l2wgctl down $config
python3 - <<'PYTHON'
from toolkit.guest import hosts
a, b = hosts.Host("A").create(), hosts.Host("B").create()
hosts.underlay(a, b)
hosts.tunnel(a, b)
a.ping("192.168.157.2")
print("ping: crossed")
PYTHON
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> labs.Result:
    """What the guest has printed; it has ended."""
    folder = tmp_path_factory.mktemp("keys")
    keys = {
        name: make_key(folder, name, "-nodes", common_name=common)
        for name, common in (("stranger", STRANGER), ("owner", OWNER))
    }
    assert [key.stat().st_mode & 0o777 for key, _ in keys.values()] == [0o600, 0o600]
    found = kernel.resolve(SERIES)
    shared = paths.fresh(paths.logs("package", "secure-boot"))
    for name, pair in keys.items():
        built = build.build(found, output=folder, signer=signing.signer(*pair)).file
        shutil.copyfile(built, shared / f"{name}.ko")
    return labs.make(found).run(
        ["sh", "-c", SCRIPT],
        folder=shared,
        show=False,
        vm=Vm(cpus=1, mok=keys["owner"][1]),
    )


def part(guest: labs.Result, name: str) -> str:
    """What it printed of one attempt."""
    found = re.search(rf"^== {name}\n(.*?)(?=^== |\Z)", guest.output, re.MULTILINE | re.DOTALL)
    assert found, guest.output
    return found[1]


def test_secure_boot_is_on(guest: labs.Result) -> None:
    said = part(guest, "machine")
    assert "none [integrity] confidentiality" in said
    # nobody has written module.sig_enforce=1: Secure Boot is enough
    assert "sig_enforce: Y\n" in said and "module.sig_enforce" not in said
    assert re.search(r"^ +6 +0 +0 +0 +1$", said, re.MULTILINE)
    assert f" {OWNER}: " in said and STRANGER not in said


def test_an_unsigned_module_is_refused(guest: labs.Result) -> None:
    said = part(guest, "unsigned")
    assert "modprobe: status 1" in said and "up: status 1" in said
    assert "Loading of unsigned module is rejected" in said
    assert (
        "(the installed module is not signed, and this kernel takes no other: 'sudo ./inv install "
        "--sign KEY CERT', with a key that the machine trusts)\n"
    ) in said


def test_a_strangers_module_is_refused(guest: labs.Result) -> None:
    said = part(guest, "stranger")
    assert "modprobe: status 1" in said and "up: status 1" in said
    assert "Loading of module with unavailable key is rejected" in said
    assert (
        f"(the installed module is signed by '{STRANGER}', of whom this kernel has no key: "
        "'mokutil --import CERT' with that certificate (DER) and a restart; then 'modprobe "
        "l2wireguard')\n"
    ) in said


def test_the_owners_module_loads_and_a_ping_crosses(guest: labs.Result) -> None:
    said = part(guest, "owner")
    assert "modprobe: status 0" in said and "up: status 0" in said
    assert "l2wireguard" in said.split("up: status 0")[1]
    assert "ping: crossed" in said
    # out of tree (O); not unsigned (E)
    assert re.search(r"^O$", said, re.MULTILINE)
    assert guest.status == 0


def test_the_kernel_has_nothing_to_say(guest: labs.Result) -> None:
    log = (guest.folder / "dmesg").read_text()
    assert complaints(log) == []
    assert "module verification failed" not in log

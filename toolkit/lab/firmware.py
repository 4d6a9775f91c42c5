# SPDX-License-Identifier: GPL-2.0
"""A guest that boots as a machine with Secure Boot does, with a key that its owner has enrolled.

The firmware (OVMF) trusts Microsoft's keys, as it is sold. It starts Debian's shim, which starts
Debian's GRUB, which starts Debian's kernel; each checks the signature of the next. The machine
owner's key (MOK) is in the firmware's variables from the start. On a real machine `mokutil
--import` asks for it, and a person at the console confirms it at the next boot: the variable
``MokList`` can be written only before the kernel runs.

QEMU changes the header of a kernel that it is given with -kernel, so that its signature is wrong.
So virtme-ng is told to start this program instead of QEMU. It puts kernel, initramfs and command
line where GRUB finds them, and goes on as QEMU.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive, unpack
from toolkit.run import run

QEMU = "qemu-system-x86_64"
RELEASE = "bookworm"
#: Debian's packages, and what we take from them. They run from the cache without being installed.
PACKAGES = ("ovmf", "shim-signed", "grub-efi-amd64-signed")
#: The firmware that does Secure Boot without System Management Mode, which is slow to emulate: a
#: guest's root could change its variables, and ours does not try.
CODE, VARIABLES = "usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.ms.fd"
SHIM = "usr/lib/shim/shimx64.efi.signed"
GRUB = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
#: The owner of the key, as each entry of ``MokList`` names one: any GUID will do.
OWNER = "6c327767-0000-4000-8000-000000000001"
#: Who signs Debian's kernels, as the certificate in them says it.
SIGNER = b"Debian Secure Boot"

#: What kernel, initramfs and command line come by when there is no firmware.
DIRECT = ("-kernel", "-initrd", "-append")


def program(folder: Path) -> Path:
    """What virtme-ng is to start as QEMU, in a guest's folder that has been prepared."""
    return folder / "firmware/qemu"


def prepare(folder: Path, image: Path, certificate: Path) -> None:
    """Lay out the firmware, its variables and its disk in a guest's folder.

    :param image: the kernel that is to boot.
    :param certificate: the enrolled one, PEM or DER.
    :raises ToolError: the kernel is not signed by Debian, or a package cannot be had.
    """
    if SIGNER not in image.read_bytes():
        raise ToolError(
            f"{image}: not signed by Debian, so Secure Boot refuses it", "use a kernel of Debian's"
        )
    debian = _packages()
    home = program(folder).parent
    shutil.rmtree(home, ignore_errors=True)
    disk = home / "disk"
    for source, target in ((SHIM, "EFI/BOOT/BOOTX64.EFI"), (GRUB, "EFI/BOOT/grubx64.efi")):
        (disk / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(debian / source, disk / target)
    (disk / "EFI/debian").mkdir()
    (home / "code").symlink_to(debian / CODE)
    run(
        [
            *(Path(sys.executable).parent / "virt-fw-vars", "--input", debian / VARIABLES),
            *("--add-mok", OWNER, certificate, "--output", home / "variables"),
        ]
    )
    start = program(folder)
    words = [f"PYTHONPATH={paths.ROOT}", sys.executable, "-m", "toolkit.lab.firmware", str(home)]
    start.write_text(f'#!/bin/sh\nexec env {shlex.join(words)} "$@"\n')
    start.chmod(0o755)


def _packages() -> Path:
    archive = Archive(RELEASE)
    # as the release has them, without its backports
    packages = [
        next(p for p in archive.find(f"^{name}$") if "~bpo" not in p.version) for name in PACKAGES
    ]
    target = paths.cache() / "firmware" / "-".join(p.version for p in packages)
    return unpack([archive.fetch(p) for p in packages], target, lambda _: None)


def boot(home: Path, options: Sequence[str]) -> list[str]:
    """Give GRUB what QEMU was to start; QEMU's command line without it.

    :param home: what :func:`prepare` has laid out.
    :param options: QEMU's; a later -kernel, -initrd or -append replaces an earlier one.
    """
    rest = list[str]()
    direct = dict[str, str]()
    words = iter(options)
    for word in words:
        if word in DIRECT:
            direct[word] = next(words)
        else:
            rest.append(word)
    if len(direct) < len(DIRECT):  # virtme-ng asks QEMU for its version
        return [QEMU, *rest]
    for name, option in (("vmlinuz", "-kernel"), ("initrd", "-initrd")):
        shutil.copyfile(direct[option], home / "disk" / name)
    (home / "disk/EFI/debian/grub.cfg").write_text(menu(direct["-append"]))
    flash = "if=pflash,format=raw"
    return [
        *(QEMU, *rest),
        *("-drive", f"{flash},unit=0,readonly=on,file={home}/code"),
        *("-drive", f"{flash},unit=1,file={home}/variables"),
        # a file system made of the folder, and nothing else to boot from
        *("-drive", f"if=none,id=disk,format=raw,readonly=on,file=fat:{home}/disk"),
        *("-device", "virtio-blk-pci,drive=disk,bootindex=0"),
    ]


def menu(line: str) -> str:
    """GRUB's configuration that starts one kernel.

    :param line: the kernel's command line, without an apostrophe. In GRUB's language each word of
        it stands between two.
    """
    words = " ".join(f"'{word}'" for word in line.split())
    return f"linux /vmlinuz {words}\ninitrd /initrd\nboot\n"


def main(home: str, *options: str) -> None:
    """Go on as QEMU."""
    argv = boot(Path(home), options)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(*sys.argv[1:])

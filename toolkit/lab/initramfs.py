# SPDX-License-Identifier: GPL-2.0
"""What a guest has in memory when it starts: virtme-ng's initramfs, with an init of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from virtme import mkinitramfs, modfinder, virtmods
from virtme.cpiowriter import CpioWriter

from toolkit import paths
from toolkit.errors import ToolError

INIT = paths.ROOT / "toolkit/guest/init.sh"
#: Modules that must be there before the root is. The guest's files come by 9p, never by virtiofs.
ALIASES = [*(alias for alias in virtmods.MODALIASES if alias != "fs-virtiofs"), "overlay"]


def of_this_machine() -> Path:
    """The busybox of this machine, with which a guest starts.

    :raises ToolError: there is none.
    """
    found = mkinitramfs.find_busybox("/", is_native=True)
    if not found:
        raise ToolError("no busybox on this machine", "apt-get install busybox-static")
    return Path(found)


def make(
    target: Path,
    root: Path,
    release: str,
    *,
    inits: Sequence[Path] = (INIT,),
    busybox: Path | None = None,
) -> None:
    """Write the initramfs for a kernel.

    A later file of an archive takes the place of an earlier one, so ours follows virtme-ng's.

    :param root: folder with its ``lib/modules/<release>``.
    :param inits: its init, and what that reads.
    :param busybox: this machine's by default.
    :raises ToolError: there is no busybox.
    """
    config = mkinitramfs.Config()
    config.busybox = str(busybox or of_this_machine())
    modules = modfinder.find_modules_from_install(ALIASES, root=root, kver=release)
    config.modfiles = [str(Path(module).resolve()) for module in modules]
    with target.open("wb") as file:
        mkinitramfs.mkinitramfs(file, config)
        ours = CpioWriter(file)
        for script in inits:
            name = b"init" if script is inits[0] else script.name.encode()
            ours.write_file(name, script.read_bytes(), 0o755)
        ours.write_trailer()

# SPDX-License-Identifier: GPL-2.0
"""A guest that is a program: User Mode Linux on this machine's files, without QEMU."""

from __future__ import annotations

from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.lab.vm import LONG_LOG, UNWATCHED, Vm

#: PID 1 there.
INIT = paths.ROOT / "toolkit/guest/uml.sh"
#: Of which 64 agents take 1 GB (tests/vm/mesh_crowd.py), and what finds faults takes some, too.
MEMORY = "3G"


def argv(
    image: Path, modules: Path, folder: Path, vm: Vm, *, terminal: bool = False
) -> list[str | Path]:
    """What starts one on a folder that :meth:`toolkit.lab.lab.Lab.prepare` has prepared.

    Its files are this machine's, under a root in its memory (see INIT). Words without a dot that
    the kernel does not know are its init's environment.

    :param modules: what its ``/lib/modules`` is to be.
    :param terminal: its command has the terminal.
    :raises ToolError: it shall have hardware of QEMU's.
    """
    if vm.qemu:
        raise ToolError(
            "User Mode Linux has no QEMU, and so no second network card", "name another kernel"
        )
    return [
        image,
        *(f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"),
        *(f'init="{INIT}"', f'L2WG_OUT="{folder}"', f'L2WG_MODULES="{modules}"'),
        *(["L2WG_TERMINAL=terminal"] if terminal else []),
        # one console, on standard input and output
        *("con0=fd:0,fd:1" if terminal else "con0=null,fd:1", "con=null", "ssl=null"),
        f"uml_dir={folder}/uml",
        # each fault is worth a report, not the first one only
        "kasan_multi_shot",
        LONG_LOG,
        *UNWATCHED,
        *vm.append,
    ]

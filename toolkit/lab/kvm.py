# SPDX-License-Identifier: GPL-2.0
"""Whether KVM works here. That /dev/kvm exists proves nothing: in a nested virtual machine, guests
may hang."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from toolkit import paths
from toolkit.lab import process
from toolkit.run import say

LIMIT = 25  # seconds in which a guest under KVM must finish its command


#: Makes, for a folder, the command line of a guest under KVM that leaves ``status`` there.
ArgvFor = Callable[[Path], Sequence[str | Path]]


def works(argv_for: ArgvFor) -> bool:
    """Does a guest boot under KVM here? It is tried once for each boot of this machine.

    ``L2WG_KVM=0`` or ``1`` answers without a trial.

    :param argv_for: called for a trial.
    """
    known = remembered()
    if known is not None:
        return known
    with paths.alone(_memory()):
        known = remembered()  # somebody else may have tried meanwhile
        if known is None:
            known = _try(argv_for)
    return known


def remembered() -> bool | None:
    """What is known without a trial; None if nothing is known."""
    if answer := os.environ.get("L2WG_KVM"):
        return answer == "1"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    try:
        known = json.loads(_memory().read_text())
        return bool(known["works"]) if known["boot"] == _boot() else None
    except (OSError, ValueError, KeyError):
        return None


def _memory() -> Path:
    return paths.cache() / "kvm.json"


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _try(argv_for: ArgvFor) -> bool:
    say(f"Trying KVM (up to {LIMIT} s, once for each boot of this machine)")
    with tempfile.TemporaryDirectory(prefix="l2wg-kvm-") as folder:
        found = _boots(argv_for, Path(folder))
    say("KVM works" if found else "A guest under KVM does not boot here: going on without it (TCG)")
    _memory().write_text(json.dumps({"boot": _boot(), "works": found}))
    return found


def _boots(argv_for: ArgvFor, folder: Path) -> bool:
    guest = process.start(argv_for(folder), subprocess.DEVNULL)
    try:
        guest.wait(LIMIT)
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.end(guest)
    return (folder / "status").exists()

# SPDX-License-Identifier: GPL-2.0
"""Whether KVM can be trusted here. That /dev/kvm exists proves nothing: in a nested virtual
machine guests may hang."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import paths
from toolkit.lab import process
from toolkit.run import say

if TYPE_CHECKING:
    from toolkit.lab.lab import Lab

LIMIT = 25  # seconds in which a guest under KVM must have done its command


def works(lab: Lab) -> bool:
    """Does a guest boot under KVM here? Tried once for each boot of this machine.

    ``L2WG_KVM=0`` or ``1`` answers instead.
    """
    if answer := os.environ.get("L2WG_KVM"):
        return answer == "1"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory = paths.cache() / "kvm.json"
    try:
        known = json.loads(memory.read_text())
        if known["boot"] == boot:
            return bool(known["works"])
    except (OSError, ValueError, KeyError):
        pass
    say(f"Trying KVM (up to {LIMIT} s, once for each boot of this machine)")
    with tempfile.TemporaryDirectory(prefix="l2wg-kvm-") as folder:
        found = _boots(lab, Path(folder))
    say("KVM works" if found else "A guest under KVM does not boot here: going on without it (TCG)")
    memory.write_text(json.dumps({"boot": boot, "works": found}))
    return found


def _boots(lab: Lab, folder: Path) -> bool:
    guest = process.start(
        lab.argv(lab.script(folder, ["true"]), folder, kvm=True), subprocess.DEVNULL
    )
    try:
        guest.wait(LIMIT)
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.end(guest)
    return (folder / "status").exists()

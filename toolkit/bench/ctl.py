# SPDX-License-Identifier: GPL-2.0
"""./inv bench-ctl: compare l2wgctl with `wg` in a guest, see :mod:`toolkit.guest.ctl`."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit import paths
from toolkit.guest.ctl import SIZES
from toolkit.lab.lab import Lab
from toolkit.lab.vm import Vm
from toolkit.run import say


def bench_ctl(lab: Lab, sizes: Sequence[int] = SIZES) -> None:
    """Run it, and print its table.

    :raises ToolError: it fails there, or the kernel complains.
    """
    say(f"wg and l2wgctl side by side in a guest with {lab.kernel.label}")
    command = ["python3", "-m", "toolkit.guest.ctl", *map(str, sizes)]
    result = lab.run(command, folder=paths.LOGS / "bench-ctl", timeout=1800, vm=Vm(memory="2G"))
    result.must_be_good("bench-ctl")

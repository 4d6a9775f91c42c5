# SPDX-License-Identifier: GPL-2.0
"""./inv demo: build the module, boot a kernel with it, and show two hosts on one Ethernet."""

from __future__ import annotations

import time

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.guest.demo import SEEN
from toolkit.lab import lab as labs
from toolkit.run import say


def demo(wanted: str | None = None) -> None:
    """Run the demonstration; its last line says that it worked.

    :raises ToolError: see :func:`toolkit.lab.lab.make`; or the hosts do not reach each other.
    """
    started = time.monotonic()
    lab = labs.make(wanted)
    say(f"Booting {lab.kernel.label} in a virtual machine")
    result = lab.run(["python3", "-m", "toolkit.guest.demo"], folder=paths.LOGS / "demo")
    result.must_be_good("demo")
    if SEEN not in result.output:
        raise ToolError(
            "demo: the hosts did not reach each other",
            f"logs: {result.folder}; again: {labs.again_line(result.folder)}",
        )
    say(f"Done in {time.monotonic() - started:.0f} s. Next: ./inv lab, README.md")

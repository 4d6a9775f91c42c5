# SPDX-License-Identifier: GPL-2.0
"""./inv demo: build the module, boot a kernel with it, and show two hosts on one Ethernet."""

from __future__ import annotations

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.guest.demo import SEEN
from toolkit.lab.lab import Lab
from toolkit.run import say


def demo(lab: Lab) -> None:
    """Run the demonstration; its last line says that it worked.

    :raises ToolError: the hosts do not reach each other.
    """
    say(f"Booting {lab.kernel.label} in a virtual machine")
    result = lab.run(["python3", "-m", "toolkit.guest.demo"], folder=paths.LOGS / "demo")
    result.must_be_good("demo")
    if SEEN not in result.output:
        raise ToolError(
            "demo: the hosts did not reach each other",
            log=result.folder,
            again=result.again,
        )
    say("Next: ./inv lab, README.md")

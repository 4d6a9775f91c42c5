# SPDX-License-Identifier: GPL-2.0
"""./inv demo: build the module, boot a kernel with it, and show hosts on one Ethernet."""

from __future__ import annotations

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.guest import demo as two
from toolkit.guest import mesh_demo, switch_demo
from toolkit.lab.lab import Lab
from toolkit.run import say

#: Program of toolkit.guest: its last line, if it worked.
STORIES = {"demo": two.SEEN, "mesh_demo": mesh_demo.SEEN, "switch_demo": switch_demo.SEEN}


def demo(lab: Lab, story: str = "demo") -> None:
    """Run a demonstration; its last line says that it worked.

    :param story: one of STORIES.
    :raises ToolError: the hosts do not reach each other.
    """
    say(f"Booting {lab.kernel.label} in a virtual machine")
    folder = paths.unused(paths.logs("demo"))
    result = lab.run(["python3", "-m", f"toolkit.guest.{story}"], folder=folder)
    result.must_be_good("demo")
    if STORIES[story] not in result.output:
        raise ToolError(
            "demo: the hosts did not reach each other",
            log=result.folder,
            again=result.again,
        )
    say("Next: ./inv lab, README.md")

# SPDX-License-Identifier: GPL-2.0
"""WireGuard's own tools/testing/selftests/wireguard/netns.sh, against our module's plain kind."""

from __future__ import annotations

import re
from pathlib import Path

from toolkit import lab as labs
from toolkit import paths
from toolkit.errors import ToolError
from toolkit.run import say

SCRIPT = Path("tools/testing/selftests/wireguard/netns.sh")
PASSED = "Objects that were created were also destroyed."
LIMIT = {True: 900, False: 3600}  # seconds; keyed by `short`

#: Under TCG the parallel streams and three-second runs take most of the time: what to write
#: instead. A script that has none of a row's left side has changed, and the row is to be mended.
SHORTENED = (
    (r"for max in 4 5 50; do|pids=\( \) i$", {"for max in 4 5 50; do": "for max in 4; do"}),
    (r"iperf3 .*-t 3 ", {"-t 3 ": "-t 1 "}),
)


def shorten(script: str) -> str:
    """The script with four parallel streams and runs of one second.

    :raises ToolError: it is not the script that we know.
    """
    for pattern, changes in SHORTENED:
        if not re.search(pattern, script, re.MULTILINE):
            raise ToolError(f"{SCRIPT}: has nothing like {pattern!r}", "run it without --short")
        for old, new in changes.items():
            script = script.replace(old, new)
    return script


def selftest(wanted: str | None = None, *, short: bool = False, stock: bool = False) -> float:
    """Run it in a guest; the time it took, in seconds.

    :param stock: against the stock module, for comparison.
    :raises ToolError: it fails, or the kernel complains; the logs are kept.
    """
    lab = labs.make(wanted)
    module = "wireguard" if stock else "l2wireguard"
    tree = lab.module.source.tree
    if not tree or not (tree / SCRIPT).exists():
        raise ToolError(f"the source of {lab.kernel.label} has no {SCRIPT}")
    script = (tree / SCRIPT).read_text()
    folder = paths.LOGS / f"selftest-{lab.kernel.release}-{module}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SCRIPT.name).write_text(shorten(script) if short else script)
    say(f"WireGuard's netns.sh on {lab.kernel.label} with {module}, up to {LIMIT[short] // 60} min")
    # The script's last check reads the messages of object lifetimes; without these it would
    # find nothing and be content.
    debug = " && ".join(
        f"echo 'module {module} format {word} +p' >/sys/kernel/debug/dynamic_debug/control"
        for word in ("created", "destroyed")
    )
    command = f'modprobe {module} && {debug} && exec bash "$L2WG_OUT/{SCRIPT.name}"'
    result = lab.run(["sh", "-c", command], folder=folder, timeout=LIMIT[short], show=False)
    output = (result.folder / "output").read_text(errors="replace").splitlines()
    if result.status or not any(PASSED in line for line in output):
        last = re.sub(r"\x1b\[[0-9;]*m", "", output[-1]) if output else "nothing printed"
        raise ToolError(f"netns.sh failed with status {result.status} at: {last}", str(folder))
    if "created" not in (folder / "dmesg").read_text():
        raise ToolError("netns.sh could not see objects come and go", str(folder))
    if bad := result.complaints:
        raise ToolError(f"netns.sh: the kernel complained: {bad[0]}", str(folder))
    return result.seconds

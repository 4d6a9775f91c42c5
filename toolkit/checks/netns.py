# SPDX-License-Identifier: GPL-2.0
"""WireGuard's own tools/testing/selftests/wireguard/netns.sh, against our module's plain kind."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from debian.debian_support import Version

from toolkit import arch, paths
from toolkit.errors import ToolError
from toolkit.kernels import source as sources
from toolkit.kernels.archive import Archive, unpack
from toolkit.kernels.kernel import NEWEST_IN
from toolkit.lab.lab import Lab
from toolkit.run import run, say

SCRIPT = Path("tools/testing/selftests/wireguard/netns.sh")
PASSED = "Objects that were created were also destroyed."
LIMIT = 900  # seconds in which the script must make progress

#: Under TCG the parallel streams and three-second runs take most of the time. Each row says what to
#: write instead. If a script lacks a row's left side, it has changed, and the row has to be mended.
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


#: From this version on, `wg set ... allowed-ips -ADDRESS` removes an address; the netns.sh of later
#: kernels uses that.
WG_THAT_TAKES_AWAY = Version("1.0.20250521")


def wg_for(script: str, folder: Path) -> Path | None:
    """A folder with a `wg` that can do what the script needs; None if this machine's `wg` can.

    It comes from the packages of a later release, with that release's C library.
    """
    said = run(["wg", "--version"], hint="apt-get install wireguard-tools").stdout
    here = re.search(r"v([0-9.]+)", said)
    if not re.search(r"allowed-ips -[0-9a-f]", script):
        return None
    if here and Version(here[1]) >= WG_THAT_TAKES_AWAY:
        return None
    archive = Archive(NEWEST_IN)
    wg, libc = archive.get("wireguard-tools"), archive.get("libc6")
    root = paths.cache() / "tools" / f"wg_{wg.version}_{libc.version}"
    if not root.exists():
        unpack([archive.fetch(wg), archive.fetch(libc)], root, lambda _: None)
    machine = arch.here()
    libraries = root / "usr/lib" / machine.triplet
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin/wg"
    program.write_text(
        f"#!/bin/sh\nexec {shlex.quote(str(libraries / machine.loader))} --library-path "
        f'{shlex.quote(str(libraries))} {shlex.quote(str(root / "usr/bin/wg"))} "$@"\n'
    )
    program.chmod(0o755)
    return folder / "bin"


def selftest(lab: Lab, *, short: bool = False, stock: bool = False) -> float:
    """Run it in a guest; the seconds that it took.

    :param stock: against the stock module, for comparison.
    :raises ToolError: it fails, or the kernel complains; the logs are kept.
    """
    module = "wireguard" if stock else "l2wireguard"
    script = sources.tool(lab.kernel, lab.module.source, str(SCRIPT)).read_text()
    folder = paths.fresh(paths.unused(paths.logs("selftest", lab.kernel.release, module)))
    (folder / SCRIPT.name).write_text(shorten(script) if short else script)
    path = f"PATH={shlex.quote(str(tools))}:$PATH && " if (tools := wg_for(script, folder)) else ""
    say(f"WireGuard's netns.sh on {lab.kernel.label} with {module}")
    # The script's last check reads the messages about objects' lifetimes. Without these messages it
    # would find nothing and pass.
    debug = " && ".join(
        f"echo 'module {module} format {word} +p' >/sys/kernel/debug/dynamic_debug/control"
        for word in ("created", "destroyed")
    )
    script_line = f'exec bash "$L2WG_OUT/{SCRIPT.name}"'
    command = f"{path}modprobe {module} && {debug} && {script_line}"
    result = lab.run(["sh", "-c", command], folder=folder, timeout=LIMIT, show=False)
    output = (result.folder / "output").read_text(errors="replace").splitlines()
    if result.status or not any(PASSED in line for line in output):
        last = re.sub(r"\x1b\[[0-9;]*m", "", output[-1]) if output else "nothing printed"
        raise ToolError(f"netns.sh failed with status {result.status} at: {last}", log=folder)
    if "created" not in (folder / "dmesg").read_text():
        raise ToolError("netns.sh could not see objects come and go", log=folder)
    if bad := result.complaints:
        raise ToolError(f"netns.sh: the kernel complained: {bad[0]}", log=folder)
    return result.seconds

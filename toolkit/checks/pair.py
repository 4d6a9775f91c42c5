# SPDX-License-Identifier: GPL-2.0
"""./inv pair: two virtual machines with different kernels, joined by a cable."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths
from toolkit.checks import outcome
from toolkit.checks.backstage import backstage
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError
from toolkit.guest import agent
from toolkit.lab import process
from toolkit.lab.lab import Lab, Result
from toolkit.lab.vm import Vm
from toolkit.run import say

LIMIT = 1800  # seconds for the tests
TESTS = ["tests/machines"]


@dataclass(frozen=True)
class Pair:
    """The result of two machines.

    :ivar releases: their kernels; the first machine runs the tests.
    """

    releases: tuple[str, str]
    outcome: Outcome


def cable(sockets: Path, end: int) -> str:
    """QEMU's options for one end of a cable: datagrams between two Unix sockets.

    Datagrams need no connection, so neither machine has to be there first.
    """
    local, remote = sockets / f"end{end}", sockets / f"end{1 - end}"
    return (
        f"-netdev dgram,id=cable,local.type=unix,local.path={local},"
        f"remote.type=unix,remote.path={remote} "
        f"-device virtio-net-pci,netdev=cable,mac={agent.MACS[end]},romfile="
    )


def uplink(end: int) -> str:
    """QEMU's options for a machine's way to this one's loopback, and nowhere else that it asks for.

    It has an address of QEMU's user network, and neither a route nor a name server.
    """
    return (
        f"-netdev user,id={agent.UPLINK},ipv6=off "
        f"-device virtio-net-pci,netdev={agent.UPLINK},mac={agent.UPLINK_MACS[end]},romfile="
    )


def pair(first: Lab, second: Lab, *, folder: Path | None = None, only: Sequence[str] = ()) -> Pair:
    """Run tests/machines on the first kernel with the second one at the other end of the cable.

    :param only: pytest's options that leave some tests out (``-k``).
    :param folder: gets ``first/`` and ``second/`` with the machines' output and kernel logs.
    :raises ToolError: a machine fails, a kernel complains, or an end cannot prove that it ran.
    """
    made = (first, second)
    releases = (first.kernel.release, second.kernel.release)
    kvm = first.kvm_works()
    folder = paths.fresh(folder or paths.unused(paths.logs("pair", *releases)))
    say(f"Two machines: {first.kernel.label} and {second.kernel.label}")
    with (
        tempfile.TemporaryDirectory(prefix="l2wg-pair-") as sockets,
        process.pool(2) as pool,
        backstage() as port,
    ):

        def run(end: int, command: list[str]) -> Result:
            where = folder / ("first", "second")[end]
            return made[end].run(
                command,
                folder=where,
                timeout=LIMIT,
                prefix=f"[{releases[end]}] ",
                vm=Vm(kvm=kvm, qemu=f"{cable(Path(sockets), end)} {uplink(end)}"),
            )

        report = folder / "first/report.xml"
        tests = outcome.pytest_argv(TESTS, report, limit=600, only=only)
        ends = [
            pool.submit(run, 0, ["env", f"{agent.BACKSTAGE}={port}", *tests]),
            pool.submit(
                run, 1, ["python3", "-m", "toolkit.guest.agent", str(folder / "second/report.json")]
            ),
        ]
        # a machine that fails leaves the other one waiting
        ended, _ = futures.wait(ends, return_when=futures.FIRST_EXCEPTION)
        try:
            for end in ended:
                end.result()
            results = [end.result() for end in ends]
        except ToolError as error:
            # one machine alone has no cable to the other
            again = f"./inv pair --kernels {','.join(releases)}"
            raise ToolError(error.what, log=folder, again=again) from None
    name = f"two machines, {' and '.join(releases)}"
    tested = outcome.read(name, report, results[0].seconds, results[0].status)
    _prove(second, folder / "second")
    for result in results:
        if not tested.failed and (bad := result.complaints):
            raise ToolError(f"the kernel complained: {bad[0]}", log=result.folder)
    return Pair(releases, tested)


def _prove(lab: Lab, folder: Path) -> None:
    """Check the second machine's own report: it ran, with that kernel and our module."""
    try:
        said = json.loads((folder / "report.json").read_text())
    except (OSError, ValueError):
        raise ToolError("the second machine left no report", log=folder) from None
    if said["release"] != lab.kernel.release or not said["commands"] or not said["module"]:
        raise ToolError(f"the second machine was not what it should be: {said}", log=folder)

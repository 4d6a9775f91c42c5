# SPDX-License-Identifier: GPL-2.0
"""The mesh of a link: its store, and its agent."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..conf import files
from ..errors import L2wgError
from ..mesh.asked import Asked, ask
from ..mesh.host import Host
from ..mesh.status import is_running, reports
from .finding import FAIL, OK, WARN, Finding

#: A clock before this is wrong: TLS fails then, and so does WireGuard after a boot in the past,
#: because the others have seen later time stamps in its handshakes. 2026-01-01.
EARLIEST = 1_767_225_600


def check_mesh(name: str, now: float | None = None) -> Iterator[Finding]:
    """Ask the members of the store, and look for the agent; nothing for a link without a mesh.

    :param now: seconds since 1970.
    """
    path = files.CONFIG_DIR / f"{name}.conf"
    try:
        if not path.exists():
            return
        config = files.load(str(path))
    except (L2wgError, OSError):
        return  # the check of the file says it
    if config.mesh is None or config.mesh.node is None:
        return
    host = Host(name, str(path), config, config.mesh, config.mesh.node)
    if (time.time() if now is None else now) < EARLIEST:
        yield Finding(FAIL, "clock", "is years behind", "set it: timedatectl set-ntp true")
    asked = ask(host)
    yield from _store(asked)
    if asked.way is not None:
        yield Finding(WARN, "store", asked.way.what, asked.way.hint)
    yield from _agent(host)


def _store(asked: Asked) -> Iterator[Finding]:
    if problem := asked.problem:
        where = f"{problem.where}: " if problem.where else ""
        yield Finding(FAIL, "store", f"{where}{problem.what}", problem.hint)
    for member in asked.members:
        if member.alarms:
            said = f"{member.url} has the alarm {' '.join(member.alarms)}"
            hint = 'etcdctl compact, defrag and alarm disarm; docs/mesh.md, "etcd"'
            yield Finding(FAIL, "store", said, hint)
        elif member.trouble:
            said = f"{member.url or member.name}: {member.trouble}"
            yield Finding(WARN, "store", said, "the others go on while most are up")
        else:
            yield Finding(OK, "store", f"{member.url} answers, etcd {member.version}")


def _agent(host: Host) -> Iterator[Finding]:
    if not is_running(host.mesh):
        hint = f"systemctl start l2wg-mesh@{host.mesh}"
        yield Finding(WARN, "agent", "the agent of the mesh does not run", hint)
        return
    faults = [text for _, report in reports([host.mesh]) for text in report.faults.values()]
    for text in faults:
        yield Finding(WARN, "agent", text, f"l2wgctl mesh status {host.mesh}")
    if not faults:
        yield Finding(OK, "agent", "the agent of the mesh runs")

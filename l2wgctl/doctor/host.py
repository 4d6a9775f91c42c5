# SPDX-License-Identifier: GPL-2.0
"""The module, permission and clock.

Alone, the module offers both link kinds and the family `wireguard`. Beside the stock module it
offers the kind `l2wireguard` with a family of that name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, NamedTuple

from ..machine import Machine, module_hint
from ..model import L2WIREGUARD, WIREGUARD
from ..netlink.channel import offers_plain
from .finding import FAIL, OK, WARN, Finding

#: A clock before this is wrong: 2021-07-10, the day of the talk that l2wireguard comes from.
EPOCH = 1625875200


class System(NamedTuple):
    """The source of facts about the host; the tests have their own."""

    modules: Path = Path("/sys/module")
    machine: Machine = Machine()
    root: bool = os.geteuid() == 0
    now: Callable[[], float] = time.time
    proc: Path = Path("/proc")
    leases: Path = Path("/var/lib/misc/dnsmasq.leases")

    def modinfo(self, field: str) -> str | None:
        """A field of the module that is installed for this kernel, None when there is none."""
        return self.machine.modinfo(self.machine.release, field)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def check_module(system: System) -> Iterator[Finding]:
    """Whether the module is loaded or loadable, its version, and what it offers."""
    stock = (system.modules / WIREGUARD).exists()
    if not (system.modules / L2WIREGUARD).exists():
        yield from _check_unloaded(system, stock)
        return
    loaded = _read(system.modules / L2WIREGUARD / "srcversion")
    installed = system.modinfo("srcversion")
    version = system.modinfo("l2wg_version")
    if loaded and installed and loaded != installed:
        yield Finding(
            WARN,
            "module",
            f"l2wireguard is loaded, but version {version} is installed and not the one loaded",
            "take the tunnels down, then: modprobe -r l2wireguard; modprobe l2wireguard",
        )
    elif loaded and installed:
        yield Finding(OK, "module", f"l2wireguard {version} is loaded")
    else:
        yield Finding(OK, "module", "l2wireguard is loaded, but not installed for the next boot")
    if offers_plain(str(system.modules)):
        yield Finding(OK, "flavour", "alone: kinds wireguard and l2wireguard, family wireguard")
    else:
        yield Finding(
            OK,
            "flavour",
            "beside another wireguard: kind l2wireguard, family l2wireguard; 'wg' does not see "
            "its links",
        )


def _check_unloaded(system: System, stock: bool) -> Iterator[Finding]:
    version = system.modinfo("l2wg_version")
    if version:
        what = f"l2wireguard {version} is installed, but not loaded"
        yield Finding(WARN, "module", what, module_hint(system.machine))
    else:
        what = f"l2wireguard is not installed for {system.machine.release}"
        yield Finding(FAIL, "module", what, module_hint(system.machine))
    if stock:
        yield Finding(
            WARN,
            "flavour",
            "the stock wireguard module is loaded: it has no Ethernet links",
            "modprobe l2wireguard adds them beside it",
        )


def check_host(system: System) -> Iterator[Finding]:
    """Permission and clock."""
    if not system.root:
        yield Finding(
            WARN, "permission", "not root: the state of links stays hidden", "run it with sudo"
        )
    if system.now() < EPOCH:
        yield Finding(
            FAIL,
            "clock",
            "the clock is before 2021: peers refuse handshakes that look older than the last",
            "set the clock (timedatectl set-ntp true)",
        )
    else:
        yield Finding(
            OK, "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(system.now()))
        )

# SPDX-License-Identifier: GPL-2.0
"""What libvirtd leaves in the kernel when it ends: its chains in iptables, and forwarding."""

from __future__ import annotations

import shutil
from pathlib import Path

from toolkit.run import run

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
TABLES = ("filter", "nat", "mangle")
PREFIX = "LIBVIRT_"


def state() -> dict[str, str]:
    """The state before libvirtd runs, which put_back() restores."""
    return {"forward": FORWARD.read_text().strip(), "chains": "yes" if _chains() else ""}


def put_back(before: dict[str, str]) -> list[str]:
    """Remove what has come since ``state()``; what was done, for the user."""
    done = []
    if not before["chains"] and (commands := _chains()):
        for command in commands:
            run(command)
        done.append(f"the chains {PREFIX}* of iptables are gone")
    if FORWARD.read_text().strip() != before["forward"]:
        FORWARD.write_text(before["forward"] + "\n")
        done.append(f"{FORWARD}: {before['forward']}")
    return done


def _chains() -> list[list[str]]:
    """The commands that remove libvirt's chains: first all references, then their rules."""
    commands = []
    for program in ("iptables", "ip6tables"):
        if not shutil.which(program):
            continue
        for table in TABLES:
            rules = run([program, "-w", "-t", table, "-S"], check=False).stdout.splitlines()
            words = [rule.split() for rule in rules]
            jumps = [w for w in words if w[0] == "-A" and w[-1].startswith(PREFIX)]
            chains = [w[1] for w in words if w[0] == "-N" and w[1].startswith(PREFIX)]
            base = [program, "-w", "-t", table]
            commands += [[*base, "-D", *w[1:]] for w in jumps]
            commands += [[*base, "-F", chain] for chain in chains]
            commands += [[*base, "-X", chain] for chain in chains]
    return commands

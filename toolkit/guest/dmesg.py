# SPDX-License-Identifier: GPL-2.0
"""What must not be in a kernel's log."""

from __future__ import annotations

import re

#: What must not be in the kernel's log. Each of these is a defect, whoever wrote it.
COMPLAINTS = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|KASAN|KCSAN|UBSAN|kmemleak|possible (?:recursive|circular) locking"
    r"|INFO: (?:possible|trying|task|rcu)|inconsistent lock state|suspicious RCU"
    r"|detected stall|general protection|Unable to handle|refcount_t|Call Trace"
    r"|unregister_netdevice: waiting|Objects remaining|use-after-free|stack guard|Kernel panic"
)


def complaints(log: str) -> list[str]:
    """Lines of a kernel log that mean a defect.

    Lines of the guest's init do not count: it is a program, and reports what this machine lacks.
    """
    lines = (line for line in log.splitlines() if "] virtme-ng-init: " not in line)
    return [line for line in lines if COMPLAINTS.search(line)]

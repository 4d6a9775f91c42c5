# SPDX-License-Identifier: GPL-2.0
"""What must not be in a kernel's log."""

from __future__ import annotations

import re

#: What must not be in the kernel's log. Each of these is a defect, whoever wrote it.
COMPLAINTS = re.compile(
    r"WARNING:|\bBUG\b|\bOops\b|KASAN:|KCSAN:|UBSAN:|ODEBUG:|[Cc]all [Tt]race|Kernel panic"
    # the head of what a processor could not do, whatever it calls that: `int3: 0000 [#1]`
    r"|: [0-9a-f]{4,16} \[#\d+\]|SError|hw csum failure"
    # lockdep and RCU
    r"|possible (?:recursive|circular|irq) lock|inconsistent lock state|suspicious RCU"
    r"|INFO: (?:possible|trying|task|rcu|lockdep)|detected stall"
    # memory
    r"|kmemleak: \d+ new|unreferenced object|Objects remaining|use-after-free(?! debug)|stack guard"
    r"|general protection|Unable to handle|list_(?:add|del) corruption|refcount_t"
    r"|ref_tracker: .*leak|unregister_netdevice: waiting"
)


#: With a trace, but no defect: memory was short, which a test may have brought about.
#: (do_kmem_cache_create() says EINVAL where it has no memory for a cache's own fields.)
SHORT_OF_MEMORY = re.compile(
    r"failed with error -12|kmem_cache_create.* failed with error -22"
    r"|page allocation failure|FAULT_INJECTION"
)
#: Two accesses to the same memory at one time, and in which functions. WireGuard and Linux have
#: such places on purpose (counters, hints); those of our functions are defects until marked.
RACE = re.compile(r"BUG: KCSAN: \S+ in (.+)")
OURS = re.compile(r"\bl2wg_")
#: WireGuard's own, whoever reads: it looks a key up and writes the key's peer to itself again. (It
#: would write another one, none, if the peer had no reference, but a queued message has one.)
ITSELF = "wg_index_hashtable_lookup"
#: As x86 and as ARM writes it.
TRACE_HEAD = re.compile(r"Call Trace|Call trace")
TRACE = 20  # lines from what the kernel says to the trace that goes with it


def complaints(log: str) -> list[str]:
    """Lines of a kernel log that mean a defect.

    Lines of the guest's init do not count: it is a program, and reports what this machine lacks.
    Nor does the trace of an allocation that failed, nor a data race that is not ours.
    """
    found, short = [], -TRACE
    for number, line in enumerate(log.splitlines()):
        if SHORT_OF_MEMORY.search(line):
            short = number
        if "] virtme-ng-init: " in line or not COMPLAINTS.search(line):
            continue
        race = RACE.search(line)
        if race and (not OURS.search(race[1]) or ITSELF in race[1]):
            continue
        if not (TRACE_HEAD.search(line) and number - short < TRACE):
            found.append(line)
    return found

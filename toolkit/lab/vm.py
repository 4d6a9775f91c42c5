# SPDX-License-Identifier: GPL-2.0
"""A guest's hardware, and the options of virtme-ng and QEMU for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolkit import arch

#: Without KVM a guest may stand still for a minute because this machine has other work. Watchdogs
#: that take that for a stall say nothing about the kernel; what really hangs runs into a test's own
#: limit.
UNWATCHED = (
    "rcupdate.rcu_cpu_stall_suppress=1",
    "nowatchdog",
    "workqueue.watchdog_thresh=0",
    "sysctl.kernel.hung_task_timeout_secs=0",
)

#: For an emulated processor. A program that starts at another address each time is new to QEMU,
#: which then translates all of its code, and its libraries', once more.
SAME_ADDRESSES = "norandmaps"

#: The kernel's log holds this much, 16 times what it holds by default: one that overflows loses
#: what the kernel has complained about (see :attr:`toolkit.lab.result.Result.complaints`).
LONG_LOG = "log_buf_len=2M"

#: For toolkit/guest/boot.sh: this guest's time is not ours.
COUNTED = "l2wg.counted"

#: By default QEMU gives each emulated processor a thread. That is not safe for a kernel that
#: patches its own code, as Linux does for each static key: one processor may meet the breakpoint
#: that another has just removed, and panic (docs/kernels.md). In one thread the processors take
#: turns. If as many guests run as the machine has cores, this also costs a third less processor
#: time.
ONE_THREAD = "-accel tcg,thread=single"


@dataclass(frozen=True)
class Vm:
    """A virtual machine.

    :ivar cpus: its processors.
    :ivar memory: as QEMU takes it, ``1G``.
    :ivar kvm: use KVM; None: use it if it works.
    :ivar parallel: without KVM, let its processors run at the same time, despite ONE_THREAD.
    :ivar qemu: more options for QEMU; a later one replaces an earlier one (``-cpu``).
    :ivar append: more arguments for the kernel.
    :ivar mok: boot with Secure Boot on, and this certificate enrolled as the machine owner's key.
    """

    cpus: int = 2
    memory: str = "1G"
    kvm: bool | None = None
    parallel: bool = False
    qemu: str = ""
    append: tuple[str, ...] = ()
    mok: Path | None = None

    def vng(self) -> list[str]:
        """virtme-ng's options."""
        emulated = () if self.kvm else (*arch.here().arguments, *UNWATCHED, SAME_ADDRESSES)
        counted = [COUNTED] if "-icount" in self.qemu else []
        arguments = (LONG_LOG, *emulated, *counted, *self.append)
        return [
            *([] if self.kvm else ["--disable-kvm"]),
            *("--cpus", str(self.cpus), "--memory", self.memory),
            # one word: argparse takes a value that starts with a dash for an option
            *(f"--append={argument}" for argument in arguments),
        ]

    def options(self) -> str:
        """QEMU's own options, as they are typed."""
        thread = "" if self.kvm or self.parallel else ONE_THREAD
        return " ".join(filter(None, [thread, self.qemu]))

# SPDX-License-Identifier: GPL-2.0
"""What a guest's machine is made of, and the options of virtme-ng and QEMU for it."""

from __future__ import annotations

from dataclasses import dataclass

#: For an emulated processor. Its time stamp counters are in step, but Linux cannot know: it would
#: ask the emulated HPET for the time, an exit to QEMU under its one lock that halves what the guest
#: does. And nothing speculates there that mitigations would have to hold back.
TCG_ARGUMENTS = ("tsc=reliable", "mitigations=off")

#: A thread for each emulated processor, QEMU's default, is not safe for a kernel that patches its
#: own code, as Linux does for each static key: one processor may meet the breakpoint that another
#: one has just taken back, and panics (docs/kernels.md). In one thread they take turns. That costs
#: a third less processor time, too, where as many guests run as the machine has cores.
ONE_THREAD = "-accel tcg,thread=single"


@dataclass(frozen=True)
class Vm:
    """A virtual machine.

    :ivar cpus: its processors.
    :ivar memory: as QEMU writes it, ``1G``.
    :ivar kvm: on KVM; None: where KVM works.
    :ivar parallel: without KVM: its processors run at the same time, against ONE_THREAD.
    :ivar qemu: more options for QEMU; a later one replaces an earlier one (``-cpu``).
    :ivar append: more arguments for the kernel.
    """

    cpus: int = 2
    memory: str = "1G"
    kvm: bool | None = None
    parallel: bool = False
    qemu: str = ""
    append: tuple[str, ...] = ()

    def vng(self) -> list[str]:
        """virtme-ng's options."""
        arguments = (*(() if self.kvm else TCG_ARGUMENTS), *self.append)
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

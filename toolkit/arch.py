# SPDX-License-Identifier: GPL-2.0
"""What kinds of processor differ in, for the toolkit."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from toolkit.errors import ToolError
from toolkit.run import run


@dataclass(frozen=True)
class Arch:
    """An architecture of Debian.

    :ivar name: Debian's name; a Debian kernel's release ends with it (``6.1.0-56-arm64``).
    :ivar linux: kbuild's ``ARCH``, which also stands in the first lines of a ``.config``.
    :ivar triplet: what its compilers and its folder of libraries are called.
    :ivar loader: of the C library, in that folder.
    :ivar image: the kernel in a tree where it was built.
    :ivar qemu: the program that emulates it.
    :ivar emulator: the package with that.
    :ivar board: QEMU's options for a machine of its, on a machine that is not.
    :ivar console: that machine's first serial port.
    :ivar arguments: for a kernel on an emulated processor.
    :ivar vng: options of virtme-ng for a guest on a machine that is one.
    """

    name: str
    linux: str
    triplet: str
    loader: str
    image: str
    qemu: str
    emulator: str
    board: tuple[str, ...]
    console: str
    arguments: tuple[str, ...]
    vng: tuple[str, ...] = ()


#: For an emulated x86. Its time stamp counters are in step, but Linux cannot know that. It would
#: ask the emulated HPET for the time; each time is an exit to QEMU under its one lock, and halves
#: the speed of the guest. Mitigations are off because nothing speculates there. The timer is not
#: tried, because a guest that has to wait for its processor meanwhile would panic.
X86 = ("tsc=reliable", "mitigations=off", "no_timer_check")

KNOWN = {
    arch.name: arch
    for arch in (
        Arch(
            name="amd64",
            linux="x86",
            triplet="x86_64-linux-gnu",
            loader="ld-linux-x86-64.so.2",
            image="arch/x86/boot/bzImage",
            qemu="qemu-system-x86_64",
            emulator="qemu-system-x86",
            board=("-machine", "q35", "-cpu", "max"),
            console="ttyS0",
            arguments=X86,
        ),
        Arch(
            name="arm64",
            linux="arm64",
            triplet="aarch64-linux-gnu",
            loader="ld-linux-aarch64.so.1",
            image="arch/arm64/boot/Image",
            qemu="qemu-system-aarch64",
            emulator="qemu-system-arm",
            # later processors sign pointers, which is slow to emulate
            board=("-machine", "virt", "-cpu", "cortex-a57"),
            console="ttyAMA0",
            arguments=("mitigations=off",),
            # its package has that program for x86 only, for whatever machine it is
            vng=("--no-virtme-ng-init",),
        ),
    )
}


@functools.cache
def architecture() -> str:
    """Debian's name of this machine's architecture."""
    return run(["dpkg", "--print-architecture"]).stdout.strip()


def here() -> Arch:
    """This machine's.

    :raises ToolError: it is one that we know nothing about.
    """
    name = architecture()
    if name not in KNOWN:
        raise ToolError(
            f"no virtual machines of the architecture {name}", f"known: {', '.join(KNOWN)}"
        )
    return KNOWN[name]


def other(name: str) -> Arch | None:
    """The architecture of that name, if it is known and not this machine's."""
    return KNOWN.get(name) if name != architecture() else None

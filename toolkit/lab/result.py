# SPDX-License-Identifier: GPL-2.0
"""What a command in a guest came to."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.guest.dmesg import complaints

#: The first line of a kernel's log. A log that has overflowed, or was cleared, is without it.
BEGINNING = re.compile(r"Linux version \d")
#: What a kernel remembers of itself, by bit (Documentation/admin-guide/tainted-kernels.rst).
TAINTS = {5: "a bad page", 7: "an oops", 9: "a warning", 14: "a soft lockup"}


@dataclass(frozen=True)
class Result:
    """The result of a command in the guest.

    :ivar status: its exit status.
    :ivar seconds: wall time, boot included.
    :ivar folder: holds ``output``, ``dmesg``, ``tainted``, ``console`` and what the command wrote.
    """

    status: int
    seconds: float
    folder: Path

    @property
    def complaints(self) -> list[str]:
        """Lines of the kernel's log that must not be there, or that say that some are lost."""
        log = (self.folder / "dmesg").read_text(errors="replace")
        found = complaints(log)
        if not BEGINNING.search(log):
            found.append(
                "the kernel's log has lost its beginning, and what was complained about there"
            )
        taints = int((self.folder / "tainted").read_text())
        if not found and (kinds := [kind for bit, kind in TAINTS.items() if taints >> bit & 1]):
            found.append(
                f"the kernel is tainted by {', '.join(kinds)}, which its log does not show"
            )
        return found

    @property
    def again(self) -> str:
        """The command that starts the same guest by hand."""
        return again_line(self.folder)

    @property
    def output(self) -> str:
        """What the command printed."""
        return (self.folder / "output").read_text(errors="replace")

    def must_be_good(self, what: str) -> None:
        """Check that the command has succeeded and the kernel has not complained.

        :param what: what the command was, for the error.
        :raises ToolError: the command failed, or the kernel complained.
        """
        trouble = ""
        if self.status:
            last = self.output.strip().splitlines()[-1:]
            trouble = ": ".join([f"failed with status {self.status}", *last])
        elif bad := self.complaints:
            trouble = f"the kernel complained: {bad[0]}"
        if trouble:
            raise ToolError(f"{what}: {trouble}", log=self.folder, again=self.again)


def again_line(folder: Path) -> str:
    """The command that starts the guest of that folder again by hand."""
    return f"sh {shlex.quote(paths.shown(folder / 'again'))}"

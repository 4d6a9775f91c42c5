# SPDX-License-Identifier: GPL-2.0
"""Run a command, print what went wrong, say how it ended: 0 done, 1 failed, 2 usage.

The imports of a command wait until the command is known.
"""

from __future__ import annotations

import os
import sys

from . import streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. No other function prints an error."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _quick_dump(words)
        if status is None:
            from .arguments import execute

            status = execute(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # It can only be stdout: stderr never fails, see `streams`. Whoever read our output has
        # enough; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells have it
    except Exception as error:
        from .errors import PROG, L2wgError, from_os_error

        if isinstance(error, L2wgError):
            for problem in error.problems:
                print(f"{PROG}: {problem}", file=sys.stderr)
            return error.status
        if isinstance(error, OSError):
            # Errors that no command has put into words: a full disk behind stdout, no memory.
            print(f"{PROG}: {from_os_error(error, str(error.filename or ''))}", file=sys.stderr)
            return 1
        raise


def _quick_dump(words: list[str]) -> int | None:
    """Do `show IFACE dump`; None for other words, and if the long way is needed."""
    if len(words) != 3 or words[0] != "show" or words[2] != "dump":
        return None
    if words[1] in ("", "all", "interfaces") or words[1].startswith("-"):
        return None
    from .dump import dump

    lines = dump(words[1])
    if lines is None:
        return None
    sys.stdout.writelines(lines)
    return 0


def run() -> NoReturn:
    """Entry point of the `l2wgctl` script."""
    import gc

    # Ten thousand peers are hundreds of thousands of objects, none of them in a cycle: the
    # collector would walk over them again and again to find nothing.
    gc.set_threshold(100_000, 50, 50)
    streams.prepare()
    status = main()
    if f"{__package__}.signals" in sys.modules:
        from . import signals

        signals.over()
    sys.exit(status)

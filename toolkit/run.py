# SPDX-License-Identifier: GPL-2.0
"""How the toolkit runs other programs: here and nowhere else."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.errors import ToolError


def say(text: str) -> None:
    """Tell the user what goes on (stderr; results go to stdout)."""
    print(text, file=sys.stderr, flush=True)


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
    log: Path | None = None,
    stdin: str | None = None,
    check: bool = True,
    show: bool = False,
    hint: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program from an argv list, without a shell and without standard input.

    :param env: added to this process's environment; messages are always in English (LC_ALL=C).
    :param timeout: seconds.
    :param log: file that the command line and both output streams are appended to.
    :param stdin: text for standard input.
    :param check: raise when the exit status is not 0.
    :param show: let the output through to stderr instead of capturing it.
    :param hint: how to mend it, for the error.
    :raises ToolError: the program is missing, fails, or takes too long.
    """
    args = [str(a) for a in argv]
    line = shlex.join(args)
    if os.environ.get("L2WG_VERBOSE"):
        say(f"+ {line}")
    if not shutil.which(args[0]):
        raise ToolError(
            f"{args[0]}: program not found", hint or f"install the package with {args[0]}"
        )
    out: int | None = sys.stderr.fileno() if show else subprocess.PIPE
    try:
        done = subprocess.run(
            args,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=out,
            stderr=subprocess.STDOUT if log else out,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        _append(log, line, (late.stdout or b"").decode(errors="replace"))
        raise ToolError(
            f"{args[0]}: no answer after {timeout:g} s: {line}", hint, log=log
        ) from None
    _append(log, line, done.stdout or "")
    if check and done.returncode:
        said = (done.stderr or done.stdout or "").strip().splitlines()
        last = f": {said[-1]}" if said else ""
        raise ToolError(
            f"{args[0]} failed with status {done.returncode}{last}",
            hint or ("" if log else f"command: {line}"),
            log=log,
        )
    return done


def _append(log: Path | None, line: str, said: str) -> None:
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as f:
            f.write(f"+ {line}\n{said}")

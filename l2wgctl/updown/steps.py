# SPDX-License-Identifier: GPL-2.0
"""Steps that are printed, done, and undone when a later one fails."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterable, Sequence
from typing import Callable, NamedTuple

from .. import signals
from ..errors import PROG, L2wgError, from_os_error, without_keys


class Step(NamedTuple):
    """One change: the command that a person would type, what does it, and what undoes it.

    A step without a text is not printed. `undo` may be a generator: it is run when it is needed.
    """

    text: str
    do: Callable[[], None]
    undo: Iterable[Step] = ()


def command(argv: Sequence[str], text: str | None = None) -> Callable[[], None]:
    """Run a program; `text` is its standard input.

    :raises L2wgError: it fails.
    """

    def run() -> None:
        status = _status(argv, text)
        if status:
            raise L2wgError(f"'{shlex.join(argv)}' ended with status {status}")

    return run


def _status(argv: Sequence[str], text: str | None = None) -> int:
    """Exit status of a program. Its arguments get the bytes that the file holds, whatever the
    locale is.

    :raises L2wgError: it is not installed.
    """
    if shutil.which(argv[0]) is None:
        raise L2wgError(f"{argv[0]} is not installed", f"install {argv[0]}", code="NO_PROGRAM")
    with signals.waiting():
        return subprocess.run(
            [as_bytes(word) for word in argv],
            input=None if text is None else as_bytes(text),
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=sys.stderr.fileno() if _has_fd(sys.stderr) else subprocess.DEVNULL,
            check=False,
            # The terminal's Ctrl-C, and its end, are for the foreground's processes only.
            start_new_session=signals.undoing(),
        ).returncode


def as_bytes(text: str) -> bytes:
    """The bytes that a file's text was read from."""
    return text.encode("utf-8", "surrogateescape")


def _has_fd(stream: object) -> bool:
    try:
        stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return False
    return True


def hook(line: str, name: str) -> Step:
    """A command line of the configuration, for bash; `%i` is the link's name."""
    line = line.replace("%i", name)
    shell = "bash" if shutil.which("bash") else "sh"

    def run() -> None:
        status = _status([shell, "-c", line])
        if status:
            raise L2wgError(f"command '{line}' ended with status {status}")

    return Step(line, run)


def announce(text: str) -> None:
    """Print a step as wg-quick does."""
    if text:
        print(f"[#] {without_keys(text)}", file=sys.stderr, flush=True)


def run_steps(
    steps: Iterable[Step],
    dry_run: bool = False,
    rest: Callable[[], Iterable[Step]] = tuple,
) -> None:
    """Do the steps in order, each before the next is asked for.

    When one fails, or the process is told to stop, those done before are undone, the last one
    first, and the failure is raised. So is a command that was interrupted: it may have been done.
    With `dry_run` the steps are printed and nothing is done.

    :param rest: makes steps that undo what is left then.
    """
    done: list[Iterable[Step]] = []

    def do() -> None:
        for step in steps:
            signals.check()
            announce(step.text)
            if dry_run:
                continue
            done.append(step.undo)
            try:
                step.do()
            except Exception:
                done.pop()
                raise

    def undo() -> None:
        _close(steps)
        for taking_back in reversed(done):
            undo_all(taking_back)
        undo_all(rest())

    signals.whole(do, undo)


def _close(steps: Iterable[Step]) -> None:
    """Release what a generator holds, locks for example, even if somebody still refers to it."""
    if isinstance(steps, Generator):
        steps.close()


def undo_all(steps: Iterable[Step]) -> None:
    """Attempt each step; whatever goes wrong is printed, so that other undoing can go on."""
    try:
        for step in steps:
            attempt(step)
    except Exception as error:  # a fault of ours
        what = without_keys(f"{type(error).__name__}: {error}")
        print(f"{PROG}: undo: {what}", file=sys.stderr)
    finally:
        _close(steps)


def attempt(step: Step) -> L2wgError | None:
    """Do a step that undoes something; a failure is printed, and returned."""
    announce(step.text)
    error = _failure(step)
    for problem in error.problems if error is not None else ():
        print(f"{PROG}: undo: {problem}", file=sys.stderr)
    return error


def _failure(step: Step) -> L2wgError | None:
    """Do a step; how it failed, if it did."""
    try:
        step.do()
    except L2wgError as error:
        return error
    except OSError as error:
        return from_os_error(error, str(error.filename or ""))
    return None


def run_all(steps: Iterable[Step], dry_run: bool = False) -> None:
    """Do every step even when one fails; the first failure is raised at the end.

    A signal ends no more than the program that runs, which is a failure of its step.
    """
    first: L2wgError | None = None
    with signals.passed_over():
        try:
            for step in steps:
                announce(step.text)
                error = None if dry_run else _failure(step)
                if error is not None and first is not None:
                    print(f"{PROG}: {error}", file=sys.stderr)
                first = first or error
        finally:
            _close(steps)
    if first is not None:
        raise first

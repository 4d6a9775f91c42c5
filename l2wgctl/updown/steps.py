# SPDX-License-Identifier: GPL-2.0
"""Steps that are printed, done, and undone when a later one fails."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Callable, NamedTuple, NoReturn

from ..errors import PROG, L2wgError, without_keys


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
    return subprocess.run(
        [as_bytes(word) for word in argv],
        input=None if text is None else as_bytes(text),
        stdin=subprocess.DEVNULL if text is None else None,
        stdout=sys.stderr.fileno() if _has_fd(sys.stderr) else subprocess.DEVNULL,
        check=False,
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


def run_steps(steps: Iterable[Step], dry_run: bool = False) -> None:
    """Do the steps in order, each before the next is asked for.

    When one fails, or the process is told to stop, those done before are undone, the last one
    first, and the failure is raised. With `dry_run` the steps are printed and nothing is done.
    """
    undo: list[Iterable[Step]] = []
    with _interruptible():
        try:
            for step in steps:
                announce(step.text)
                if dry_run:
                    continue
                step.do()
                undo.append(step.undo)
        except BaseException:
            if isinstance(steps, Generator):
                steps.close()  # which also releases its locks
            for taking_back in reversed(undo):
                for step in taking_back:
                    attempt(step)
            raise


def attempt(step: Step) -> L2wgError | None:
    """Do a step that undoes something; a failure is printed, and returned."""
    announce(step.text)
    try:
        step.do()
    except L2wgError as error:
        for problem in error.problems:
            print(f"{PROG}: undo: {problem}", file=sys.stderr)
        return error
    return None


def run_all(steps: Iterable[Step], dry_run: bool = False) -> None:
    """Do every step even when one fails; the first failure is raised at the end."""
    first: L2wgError | None = None
    for step in steps:
        announce(step.text)
        if dry_run:
            continue
        try:
            step.do()
        except L2wgError as error:
            if first is None:
                first = error
            else:
                print(f"{PROG}: {error}", file=sys.stderr)
    if first is not None:
        raise first


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP become KeyboardInterrupt, so that they undo as Ctrl-C does."""

    def stop(number: int, _: object) -> NoReturn:
        raise KeyboardInterrupt(number)

    try:
        old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    except ValueError:  # not in the main thread: the caller handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)

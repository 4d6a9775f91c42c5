# SPDX-License-Identifier: GPL-2.0
"""SIGINT, SIGTERM and SIGHUP while the host is being changed.

A signal takes effect between two steps, or in a wait: for a program, a name server, another
process. So a step is done or not, and netlink's sockets are never left with half an answer. What it
interrupts is undone, and nothing interrupts the undo: neither a second Ctrl-C nor a terminal that
goes away.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Enough(Exception):
    """A signal has come while an undo waits for another process."""


class _State:
    """What a signal does now."""

    held = False
    ever_held = False
    #: One has come, and has had no effect yet.
    pending = False
    #: It has an effect at once.
    waiting = False
    #: It has none at all, or ends the wait for another process with `Enough`.
    passed_over = False
    for_others = False
    undoing = False


def _handle(number: int, _: object) -> None:
    if _State.passed_over:
        if _State.waiting and _State.for_others:
            raise Enough
        return
    _State.pending = True
    if _State.waiting:
        raise KeyboardInterrupt(number)


@contextmanager
def held() -> Iterator[None]:
    """In the block, a signal waits for :func:`check` or :func:`waiting`, or has no effect.

    What the caller ignores (nohup) stays ignored.
    """
    old = {}
    if not _State.held:
        try:
            for number in ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    old[number] = signal.signal(number, _handle)
        except ValueError:  # not in the main thread: the caller handles signals
            pass
    if not old:
        yield
        return
    _State.held = _State.ever_held = True
    _State.pending = False
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
        _State.held = False


def check() -> None:
    """Have the effect of a signal that is held.

    :raises KeyboardInterrupt: one has come.
    """
    if _State.held and _State.pending and not _State.passed_over:
        raise KeyboardInterrupt


@contextmanager
def waiting(for_others: bool = False) -> Iterator[None]:
    """In the block, which may take long, a signal has its effect at once.

    :param for_others: another process may keep us waiting for ever.
    :raises KeyboardInterrupt: one has come.
    :raises Enough: the same, in an undo that waits for others.
    """
    _State.for_others, _State.waiting = for_others, True
    try:
        check()
        yield
    finally:
        _State.waiting = False


@contextmanager
def passed_over() -> Iterator[None]:
    """In the block, signals have no effect. A program that it runs can be interrupted."""
    with held():
        before, _State.passed_over = _State.passed_over, True
        try:
            yield
        finally:
            _State.passed_over = before


def whole(do: Callable[[], None], undo: Callable[[], None]) -> None:
    """`do`, or nothing: if it fails, or a signal interrupts it, `undo` runs to its end.

    :raises BaseException: that of `do`; KeyboardInterrupt for a signal.
    """
    with held():
        try:
            do()
        except BaseException:
            with passed_over():
                _State.undoing = True
                try:
                    undo()
                finally:
                    _State.undoing = False
            raise


def undoing() -> bool:
    """Whether programs must be kept from the terminal's signals: they undo something."""
    return _State.undoing


def over() -> None:
    """Pass over what comes after the last step, so that the exit status says what was done: whoever
    stops an `up` that has just succeeded learns that there is something to take down."""
    if _State.ever_held:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)

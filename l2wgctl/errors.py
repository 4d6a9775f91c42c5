# SPDX-License-Identifier: GPL-2.0
"""What goes wrong, as one line: where, what, how to mend.

Nothing in this module prints or exits; only `l2wgctl.cli.main` does. No text made here ever holds
a private or preshared key.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from .grammar import PROG as PROG
from .refusals import explain, is_root

#: What may hold a key, or most of one, even without its `=`.
_RUN = re.compile(r"[A-Za-z0-9+/]{40,}=?")
#: A part of one, as a path or a network is taken to pieces.
_PIECE = re.compile(r"[A-Za-z0-9+/]{8,}=?")
#: A random key has fewer capitals once in ten million.
_CAPITALS = 3
_public: set[str] = set()


def public(key: object) -> str:
    """The text of a public key that a person must see, as that of a peer: errors show it."""
    _public.add(text := str(key))
    return text


def _is_secret(run: str) -> bool:
    path = "/" in run and sum(map(str.isupper, run)) < _CAPITALS
    return not path and run not in _public


def without_keys(text: str) -> str:
    """The text with everything that may be a key, or most of one, replaced by `(hidden)`.

    For texts that repeat what a person has typed: a private key may be in the wrong place. Public
    keys that have been through `public` stay, and so do long paths with few capitals.
    """
    return _RUN.sub(lambda found: "(hidden)" if _is_secret(found[0]) else found[0], text)


def _without_pieces(text: str, secrets: Sequence[str]) -> str:
    """The text without what may be a key, and without parts of these."""

    def piece(found: re.Match[str]) -> str:
        return "(hidden)" if any(found[0] in secret for secret in secrets) else found[0]

    return _PIECE.sub(piece, without_keys(text))


def visible(text: str) -> str:
    """The text with what would move a terminal's cursor, or begin a line, as `\\x1b`.

    For texts that repeat what stands in a file, which may be somebody else's.
    """
    return re.sub(
        "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]",
        lambda found: ascii(found[0])[1:-1],
        text,
    )


class _Problem(NamedTuple):
    where: str
    what: str
    hint: str | None = None
    warning: bool = False
    line: int = 0
    column: int = 0
    code: str = ""


class Problem(_Problem):
    """One thing wrong with an input.

    `where` names the place (`wg0.conf:12:5`, a link, an argument), `hint` says how to mend it.
    `line` and `column` count from 1; 0 means the file as a whole. `code` is a stable word for
    programs. Whatever the texts repeat, none of them holds a key but those of `public`: every error
    and every warning is a Problem, so this is where keys are taken out.
    """

    __slots__ = ()

    def __new__(
        cls,
        where: str,
        what: str,
        hint: str | None = None,
        warning: bool = False,
        line: int = 0,
        column: int = 0,
        code: str = "",
    ) -> Problem:
        runs = _RUN.findall(f"{where}\n{what}\n{hint or ''}")
        secrets = [run for run in runs if _is_secret(run)]
        if secrets:
            where, what = _without_pieces(where, secrets), _without_pieces(what, secrets)
            hint = _without_pieces(hint, secrets) if hint else hint
        return super().__new__(cls, where, what, hint, warning, line, column, code)

    def __str__(self) -> str:
        """One line without the program's name."""
        text = f"{self.where}: " if self.where else ""
        if self.warning:
            text += "warning: "
        text += self.what
        return visible(f"{text} ({self.hint})" if self.hint else text)


class L2wgError(Exception):
    """An expected failure: bad input, missing link, refused by the kernel. Exit status 1."""

    status = 1

    def __init__(
        self,
        what: str,
        hint: str | None = None,
        where: str = "",
        code: str = "",
    ) -> None:
        self.problems: tuple[Problem, ...] = (Problem(where, what, hint, code=code),)
        super().__init__(self.problems[0].what)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class UsageError(L2wgError):
    """The command line itself is wrong. Exit status 2."""

    status = 2


class ConfigError(L2wgError):
    """A configuration file has errors: all of them, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        Exception.__init__(self, "invalid configuration")
        self.problems = tuple(problems)


class KernelError(L2wgError):
    """The kernel refused. `errno` is its answer, so that callers can tell the cases apart."""

    def __init__(
        self, number: int, what: str, hint: str | None = None, where: str = "", code: str = ""
    ) -> None:
        super().__init__(what, hint, where, code or errno.errorcode.get(number, ""))
        self.errno = number


class ValueProblem(ValueError):
    """A value that does not parse. `column` is the offset into the value, from 0."""

    def __init__(self, what: str, hint: str | None = None, column: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.column = column


def from_os_error(error: OSError, where: str, writing: bool = False) -> L2wgError:
    """Words for a file that cannot be read, or written."""
    number = error.errno or 0
    if number == errno.ENOENT:
        hint = "write it, see l2wg.conf(5)" if where.startswith("/etc/l2wg/") else "check the path"
        return KernelError(number, "no such file", hint, where)
    if number in (errno.EACCES, errno.EPERM):
        # Root is refused by a container, a security module, or the file's own attributes.
        what = f"not {'writable' if writing else 'readable'} by this user"
        if is_root():
            return KernelError(number, "not permitted, even to root", None, where)
        return KernelError(number, what, "run as root or use sudo", where)
    if number == errno.EISDIR:
        return KernelError(number, "is a directory", "name a file", where)
    return KernelError(number, os.strerror(number) if number else str(error), None, where)


#: What lib/nlattr.c says of any attribute that its policy refuses, so of a name that is too long.
_NO_EXPLANATION = "Attribute failed policy validation"


def in_its_words(number: int, ifname: str, doing: str, detail: str) -> KernelError:
    """An error that the kernel explains itself; without an explanation as `from_errno`.

    For requests of our own, whose error numbers have other meanings than WireGuard's.
    """
    if detail in ("", _NO_EXPLANATION):
        return from_errno(number, ifname, doing)
    return KernelError(number, f"{ifname}: {detail}" if ifname else detail, None, doing)


def from_errno(number: int, ifname: str, doing: str, detail: str = "") -> KernelError:
    """Words for an error number that netlink answered while `doing` something with `ifname`.

    `detail` is the kernel's own explanation (extended acknowledgement) when it gave one.
    """
    words, hint = explain(number, ifname, doing)
    if detail:
        words = f"{words} [{detail}]"
    separator = " " if words.startswith("is not a") else ": "
    what = f"{ifname}{separator}{words}" if ifname else words
    return KernelError(number, what, hint, doing)

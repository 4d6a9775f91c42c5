# SPDX-License-Identifier: GPL-2.0
"""mesh import: signed records and lists past the store, for the agent of this host."""

from __future__ import annotations

import argparse
import json
import sys

from ..errors import L2wgError, from_os_error
from ..output import print_json
from . import memory
from .desk import load_options
from .signing import Invalid
from .trust import Book


def read(path: str) -> bytes:
    """A file, or with `-` standard input.

    :raises L2wgError: it cannot be read.
    """
    try:
        if path == "-":
            return sys.stdin.buffer.read(memory.SIZE_MAX)
        with open(path, "rb") as stream:
            return stream.read(memory.SIZE_MAX)
    except OSError as error:
        raise from_os_error(error, path) from None


def envelopes(raw: bytes) -> list[bytes]:
    """The envelopes in a text: one a line, or those of a memory.json."""
    if b'"held"' in raw:
        try:
            fields = json.loads(raw)
            found = [fields["list"], *fields["held"].values()]
            return [text.encode("ascii") for text in found if text is not None]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass
    return [line.strip() for line in raw.splitlines() if line.strip()]


def cmd_import(args: argparse.Namespace) -> int:
    """Check envelopes, and lay them ready for the agent; none, if one is not good."""
    options, _ = load_options(args.mesh, args.file)
    path = memory.file_of(args.mesh)
    kept = memory.load(path, args.mesh)
    if kept is None:
        book = Book(args.mesh, options.trusted_keys)
    else:
        book, _ = Book.restore(kept, options.trusted_keys)
    raws = envelopes(read(args.envelopes))
    if not raws:
        raise L2wgError("holds no signed records", "one a line", args.envelopes)
    taken = []
    for number, raw in enumerate(raws, 1):
        where = f"{args.envelopes}:{number}"
        try:
            place, verdict = book.take_envelope(raw)
        except Invalid as invalid:
            raise L2wgError(f"{invalid.why}: nothing is imported", None, where) from None
        if verdict.words is not None and not (verdict.changed or verdict.older):
            raise L2wgError(f"{verdict.words}: nothing is imported", None, where)
        if verdict.changed:
            taken.append((place, raw))
    memory.put_import(path, [raw for _, raw in taken])
    if args.json:
        print_json([place for place, _ in taken])
    else:
        for place, _ in taken:
            print(place)
        known = len(raws) - len(taken)
        print(f"{len(taken)} are new here, {known} were known.", file=sys.stderr)
    return 0

# SPDX-License-Identifier: GPL-2.0
"""mesh keygen, sign, revoke, resign: what an admin does on his own machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace

from ..conf.files import kept_if_done
from ..conf.meshvalues import mesh_name
from ..errors import L2wgError, Problem, UsageError, ValueProblem, public, without_keys
from ..model import Key, MeshOptions
from ..output import print_json, say
from . import keyfile, layout, signing
from .desk import WORDS, Desk, open_desk
from .imports import envelopes, read
from .record import Listed, Request, parse_request
from .review import lost_places, record_for, refuse, shown
from .signing import Invalid
from .store import Store


def cmd_keygen(args: argparse.Namespace) -> int:
    """Make private keys, each in a file of its own, and print the public ones for the file."""
    if len({*args.files}) < len(args.files):
        raise UsageError("a file is named twice", "one for each key", "mesh keygen")
    done: list[str] = []
    public: list[Key] = []
    with kept_if_done(done):
        for path in args.files:
            secret = keyfile.create(path)
            done.append(path)
            public.append(signing.public_key(secret))
        if args.json:
            print_json([{"file": path, "key": str(key)} for path, key in zip(done, public)])
        else:
            print(f"TrustedKeys = {', '.join(map(str, public))}")
    if args.json:
        return 0
    first, *others = args.files
    kept = f"; lock away {' and '.join(others)}" if others else ""
    names = without_keys(f"{first}{kept}")
    print(f"Write this line into [Mesh] at every host. Sign with {names}.", file=sys.stderr)
    return 0


def open_store(options: MeshOptions, where: str) -> Store:
    """The store of a mesh; tests put theirs in its place."""
    from .access import opener

    return opener(options, where)()


def _desk(args: argparse.Namespace) -> Desk:
    # by its name in the module, so that a test can replace it
    desk = open_desk(args.mesh, args.file, args.key, f"mesh {args.action}", open_store)
    desk.unheard = frozenset(args.ignore)
    return desk


def _name(args: argparse.Namespace) -> str:
    try:
        return mesh_name(args.name)
    except ValueProblem as problem:
        raise UsageError(f"NAME {problem.what}", problem.hint, f"mesh {args.action}") from None


# -- sign ------------------------------------------------------------------------------------------


def _opened(desk: Desk, name: str) -> tuple[Request, str]:
    """A host's request and its fingerprint.

    :raises L2wgError: there is none, or none that is valid.
    """
    raw = desk.requests.get(name)
    if raw is None:
        hint = f"do this on it first: l2wgctl mesh join {desk.mesh} --as {name}"
        raise L2wgError(f"{name} has not asked to join {desk.mesh}", hint, desk.where)
    try:
        sealed = signing.unseal_own(raw)
        request = parse_request(sealed.record)
        if (request.mesh, request.name) != (desk.mesh, name):
            raise Invalid(f"is that of {request.name} to join {request.mesh}")
        if request.host_key != sealed.signer:
            raise Invalid("is not signed with its own host key")
    except Invalid as invalid:
        what = f"the request of {name} {invalid.why}"
        hint = f"let the host ask again: l2wgctl mesh join {desk.mesh}"
        raise L2wgError(what, hint, desk.where) from None
    return request, signing.fingerprint(sealed.record)


def waiting(desk: Desk) -> Iterator[tuple[Request, str]]:
    """Valid requests that are not granted yet, and their fingerprints; a warning for others."""
    bad = 0
    for name in sorted(desk.requests):
        try:
            request, fingerprint = _opened(desk, name)
        except L2wgError as error:
            bad += 1
            if bad <= WORDS:
                say(problem._replace(warning=True) for problem in error.problems)
            continue
        held = desk.book.held(name)
        if held is None or record_for(request, desk.book) != held.record:
            yield request, fingerprint
    if bad > WORDS:
        what = f"{bad - WORDS} more requests are not valid"
        prefix = layout.prefix(desk.mesh, layout.REQUESTS)
        hint = f"somebody fills the store: etcdctl get --prefix --keys-only {prefix}"
        say([Problem(desk.where, what, hint, True)])


def _confirm(fingerprint: str, given: str | None, name: str, where: str) -> None:
    """See that the host shows the same fingerprint.

    :raises L2wgError: it does not, or nobody can tell.
    """
    if given is None:
        if not sys.stdin.isatty():
            hint = "add --fingerprint, with what 'mesh join' has printed on the host"
            raise L2wgError("nobody is here to compare the fingerprint", hint, where)
        print(f"Compare the fingerprint with that on {name} itself. Is it the same? ", end="")
        print("(yes, or the fingerprint) ", end="", flush=True)
        given = sys.stdin.readline().strip()
        if given.lower() == "yes":
            return
    if given.lower().replace("-", "") != fingerprint.replace("-", ""):
        what = f"not signed: '{given}' is not the fingerprint of what {name} asks for"
        hint = "do 'mesh join' on the host again; if it is another then, somebody forges requests"
        raise L2wgError(what, hint, where)


def cmd_sign(args: argparse.Namespace) -> int:
    """Show what a host asks for, have its fingerprint compared, and sign it."""
    desk = _desk(args)
    if args.name is None:
        desk.look()
        return _list(args, desk)
    name = _name(args)
    desk.look()
    request, fingerprint = _opened(desk, name)
    held = desk.book.held(name)
    record = record_for(request, desk.book, desk.in_use(name))
    if held is not None and held.record == record:
        print(f"{name} has what it asks for (record {record.serial}).", file=sys.stderr)
        granted = Listed(record.serial, False)
        found = desk.book.list
        if desk.shows(name) and found is not None:
            if found.hosts.get(name) == granted:
                return 0
    else:
        refuse(record, desk.book, desk.where)
        lines = shown(request, fingerprint, desk.book)
        print("\n".join(lines), file=sys.stderr)
        _confirm(fingerprint, args.fingerprint, name, desk.where)
        # Of a host that the store has lost, this is the first key that is believed.
        desk.compare(record)
    desk.write(record)
    return _done(args, desk, name, "is signed", record.serial)


def _list(args: argparse.Namespace, desk: Desk) -> int:
    found = [*waiting(desk)]
    if args.json:
        print_json([{"name": r.name, "fingerprint": fingerprint} for r, fingerprint in found])
        return 0
    for request, fingerprint in found:
        print(f"{request.name} {fingerprint}")
    if not found:
        print(f"Nobody waits to be signed in {desk.mesh}.", file=sys.stderr)
    return 0


def _done(args: argparse.Namespace, desk: Desk, name: str, what: str, serial: int) -> int:
    """Write the list, and say what was done."""
    revoked = desk.book.is_revoked(name) or what == "is revoked"
    number = desk.write_list({name: Listed(serial, revoked)})
    if args.json:
        print_json({"name": name, "record": serial, "revoked": revoked, "list": number})
    else:
        print(f"{name} {what} (record {serial}, list {number}).")
    return 0


# -- revoke, resign --------------------------------------------------------------------------------


def cmd_revoke(args: argparse.Namespace) -> int:
    """Put a host out of the mesh, by a signed record that stays."""
    name = _name(args)
    desk = _desk(args)
    desk.look()
    book = desk.book
    if not book.serial(name):
        known = ", ".join(book.records) or "none"
        raise L2wgError(f"{desk.mesh} has no host {name}", f"it has: {known}"[:300], desk.where)
    held = book.held(name)
    listed = book.list is not None and book.list.hosts.get(name)
    # Both are seen to: a run before this one may have written one of them, or somebody deleted it.
    shown = held is None or held.record.present or desk.shows(name)
    if book.is_revoked(name) and listed == Listed(book.serial(name), True) and shown:
        print(f"{name} is revoked already (record {book.serial(name)}).", file=sys.stderr)
        return 0
    before = dict(book.records)
    serial = book.serial(name) if book.is_revoked(name) else book.serial(name) + 1
    if held is not None and held.record.present:
        # The store may withhold newer ones than we hold; the serial counts.
        gone = held.record.revoked()
        desk.write(replace(gone, serial=serial))
    elif held is not None and not shown:
        desk.write(held.record)
    left = {other: record for other, record in before.items() if other != name}
    for why in lost_places(left, before, ""):
        say([Problem(desk.where, f"{why} any more: it is cut off", None, True)])
    return _done(args, desk, name, "is revoked", serial)


def _vouch(desk: Desk, yes: bool) -> None:
    """Show what this key has not signed: who had the other key may have made it.

    :raises L2wgError: nobody says that it is right.
    """
    others = list(desk.signed_by_others())
    for held in others:
        made = held.record
        what = f"key {public(made.key)}" if made.present else "revoked"
        by = public(held.signer)
        print(f"{made.name}: record {made.serial}, {what}, signed with {by}", file=sys.stderr)
    if yes or not others:
        return
    what = "1 record is" if len(others) == 1 else f"{len(others)} records are"
    what += " not signed with this key"
    hint = "put out what is nobody's (l2wgctl mesh revoke), then add --yes"
    if not sys.stdin.isatty():
        raise L2wgError(what, hint, desk.where)
    print("Is each of these right? (yes) ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise L2wgError(f"nothing is signed: {what}", hint, desk.where)


def cmd_resign(args: argparse.Namespace) -> int:
    """Sign all records and the list anew; then the other keys can be taken out of the files."""
    desk = _desk(args)
    desk.look(rolled_back=True)
    for path in args.source:
        desk.take(path, envelopes(read(path)))
    desk.compare()
    _vouch(desk, args.yes)
    count, number = desk.sign_anew()
    if args.json:
        print_json({"records": count, "list": number})
    else:
        what = "1 record is" if count == 1 else f"{count} records are"
        print(f"{what} signed anew in {desk.mesh} (list {number}).")
    return 0

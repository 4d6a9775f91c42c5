# SPDX-License-Identifier: GPL-2.0
"""fdb: the table of a switch, with the names of its peers."""

from __future__ import annotations

import argparse
import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from . import grammar
from .conf import values
from .conf.names import Names
from .errors import KernelError, UsageError, ValueProblem
from .model import Key
from .netlink.switch import Switches
from .output import print_json, print_lines
from .switch import BOUND, LEARNED, Entry
from .whichpeer import which

T = TypeVar("T")


class Asked(NamedTuple):
    """What the words of `fdb` ask for."""

    verb: str
    link: str | None = None
    mac: str | None = None
    peer: str | None = None
    vlan: int | None = None


def _checked(name: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueProblem as problem:
        raise UsageError(f"fdb: {name} {problem.what}", problem.hint) from None


def vlan(text: str) -> int:
    """A VLAN 0-4094; 0 is what has no tag."""
    value = values.number(text)
    if value is None or value > 4094:
        raise ValueProblem(f"is not 0-4094: '{text}'", "0 is what has no tag")
    return value


def parse(words: Sequence[str]) -> Asked:
    """What the words ask for.

    :raises UsageError: the words are wrong.
    """
    left = list(words)
    verb = left.pop(0) if left and left[0] in ("show", "add", "del", "flush") else "show"
    link = left.pop(0) if left else None
    asked = Asked(verb, link)
    if verb != "show" and link is None:
        raise UsageError(f"fdb: {verb} names no link", grammar.FDB)
    if verb in ("add", "del"):
        if not left:
            raise UsageError(f"fdb: {verb} names no MAC address", grammar.FDB)
        asked = asked._replace(mac=_checked("MAC", values.mac_address, left.pop(0)))
    known = {"show": (), "flush": ("peer", "vlan", "mac")}.get(verb, ("peer", "vlan"))
    while left:
        word = left.pop(0)
        if word not in known:
            raise UsageError(f"fdb: unknown word '{word}'", grammar.FDB)
        if not left:
            raise UsageError(f"fdb: {word} has no value", grammar.FDB)
        text = left.pop(0)
        if word == "peer":
            asked = asked._replace(peer=text)
        elif word == "vlan":
            asked = asked._replace(vlan=_checked("vlan", vlan, text))
        else:
            asked = asked._replace(mac=_checked("mac", values.mac_address, text))
    if verb == "add" and asked.peer is None:
        hint = "peer KEY; for MACs of this host see HostMACs in l2wg.conf(5)"
        raise UsageError("fdb: add names no peer", hint)
    return asked


def cmd_fdb(args: argparse.Namespace) -> int:
    """Show or change the table of a switch."""
    asked = parse(args.words)
    if asked.verb == "show":
        return _show(asked.link, args.json)
    assert asked.link is not None
    from .apply import turn

    key = None if asked.peer is None else which(asked.peer, asked.link, "fdb")
    with Switches() as switches, turn(asked.link, asked.verb != "flush"):
        if asked.verb == "flush":
            _flush(switches, asked.link, key, asked)
        elif asked.verb == "add":
            assert asked.mac is not None and key is not None
            _add(switches, asked.link, asked.mac, key, asked.vlan)
        else:
            _delete(switches, asked.link, key, asked)
    return 0


def _add(switches: Switches, link: str, mac: str, key: Key, number: int | None) -> None:
    if number is None:
        switches.bind(link, key, mac)
        return
    from .netlink.neighbour import add_static

    switches.get(link)  # another kind of link has another meaning of it
    add_static(link, mac, key, number)


def _meant(entry: Entry, key: Key | None, asked: Asked) -> bool:
    return (
        asked.mac in (None, entry.mac)
        and key in (None, entry.public_key)
        and asked.vlan in (None, entry.vlan)
    )


def _delete(switches: Switches, link: str, key: Key | None, asked: Asked) -> None:
    found = [entry for entry in switches.table(link) if _meant(entry, key, asked)]
    if not found:
        hint = f"see 'l2wgctl fdb {link}'"
        raise KernelError(errno.ENOENT, f"{link}: no entry for {asked.mac}", hint, "fdb del")
    for entry in found:
        if entry.state == BOUND and entry.public_key is not None:
            switches.unbind(link, entry.public_key, entry.mac)
        else:
            _take_out(link, entry)


def _take_out(link: str, entry: Entry) -> None:
    from .netlink.neighbour import delete

    try:
        delete(link, entry.mac, entry.public_key, entry.vlan or 0)
    except KernelError as error:
        if error.errno != errno.ENOENT:  # it has been forgotten meanwhile
            raise


def _flush(switches: Switches, link: str, key: Key | None, asked: Asked) -> None:
    if asked.mac is None:
        switches.flush(link, key=key, vlan=asked.vlan)
        return
    for entry in switches.table(link):
        if entry.state == LEARNED and _meant(entry, key, asked):
            _take_out(link, entry)


# -- show ------------------------------------------------------------------------------------------


def _show(link: str | None, as_json: bool) -> int:
    names = Names()
    with Switches() as switches:
        links = [link] if link else [state.name for state in switches.all()]
        tables: dict[str, list[Entry]] = {}
        for name in links:
            try:
                tables[name] = sorted(switches.table(name), key=lambda x: (x.mac, x.vlan or 0))
            except KernelError as error:
                if link or error.errno != errno.ENODEV:
                    raise  # else it has gone since the list was made
    if as_json:
        made = {name: _json(entries, names.of(name)) for name, entries in tables.items()}
        print_json({"links": [{"interface": k, "entries": v} for k, v in made.items()]})
        return 0
    rows = [
        (*(() if link else (name,)), *row)
        for name, entries in tables.items()
        for row in _rows(entries, names.of(name))
    ]
    if rows:
        head = ("mac", "vlan", "peer", "state", "age")
        print_lines(_columns([(*(() if link else ("link",)), *head), *rows]))
    return 0


def _rows(entries: Iterable[Entry], names: Mapping[bytes, str]) -> Iterable[tuple[str, ...]]:
    for entry in entries:
        key = entry.public_key
        yield (
            entry.mac,
            "all" if entry.vlan is None else str(entry.vlan or "-"),
            "(this host)" if key is None else names.get(key, str(key)),
            entry.state,
            "-" if entry.age is None else _age(entry.age),
        )


def _age(milliseconds: int) -> str:
    from .monitor import age

    return age(milliseconds // 1000)


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    line = "  ".join(f"%-{width}s" for width in widths)
    for row in rows:
        yield (line % row).rstrip() + "\n"


def _json(entries: Iterable[Entry], names: Mapping[bytes, str]) -> list[dict[str, Any]]:
    return [
        {
            "mac": entry.mac,
            "vlan": entry.vlan,
            "peer": None if entry.public_key is None else str(entry.public_key),
            "name": None if entry.public_key is None else names.get(entry.public_key),
            "state": entry.state,
            "age": None if entry.age is None else entry.age / 1000,
            "moves": entry.moves,
        }
        for entry in entries
    ]

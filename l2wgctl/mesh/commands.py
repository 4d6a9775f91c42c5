# SPDX-License-Identifier: GPL-2.0
"""`l2wgctl mesh`: its actions, what each takes, and which function does it.

Nothing of the mesh is imported before an action is known.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Callable, NamedTuple

Parser = argparse.ArgumentParser


class Action(NamedTuple):
    """`module` beside this one and `function` do it; `arguments` adds what it takes."""

    module: str
    function: str
    help: str
    arguments: Callable[[Parser], None]


def _mesh(parser: Parser) -> None:
    parser.add_argument("mesh", metavar="MESH", help="the mesh, which is also its link's name")
    parser.add_argument("--file", metavar="FILE", help="default: /etc/l2wg/MESH.conf")


def _keygen(parser: Parser) -> None:
    names = ("admin.key", "reserve.key")
    text = f"files for the private keys; default: {' and '.join(names)}"
    parser.add_argument("files", nargs="*", default=names, metavar="FILE", help=text)


def _key(parser: Parser) -> None:
    parser.add_argument("--key", required=True, metavar="FILE", help="the admin's private key")
    text = "a host that lies about what it has seen; as often as needed"
    parser.add_argument("--ignore", action="append", default=[], metavar="NAME", help=text)
    _mesh(parser)


def _sign(parser: Parser) -> None:
    _key(parser)
    text = "the host; without it: who waits for a signature"
    parser.add_argument("name", nargs="?", metavar="NAME", help=text)
    text = "what the host shows; then nobody is asked"
    parser.add_argument("--fingerprint", metavar="TEXT", help=text)


def _revoke(parser: Parser) -> None:
    _key(parser)
    parser.add_argument("name", metavar="NAME", help="the host")


def _resign(parser: Parser) -> None:
    _key(parser)
    text = "and what this memory.json, or file of records, has; as often as needed"
    add = parser.add_argument
    add("--from", dest="source", action="append", default=[], metavar="FILE", help=text)
    text = "do not ask about records that another key has signed"
    add("--yes", action="store_true", help=text)


def _import(parser: Parser) -> None:
    _mesh(parser)
    text = "signed records and lists, one a line, or another host's memory.json; - is stdin"
    parser.add_argument("envelopes", metavar="RECORDS", help=text)


def _join(parser: Parser) -> None:
    _mesh(parser)
    text = "the host's name in the mesh, which is Node in the file"
    parser.add_argument("--as", dest="name", metavar="NAME", help=text)
    text = "with a new private key, which takes the old one's place when all know it"
    parser.add_argument("--renew", action="store_true", help=text)


def _status(parser: Parser) -> None:
    _mesh(parser)
    parser.add_argument("--watch", action="store_true", help="again and again, until interrupted")


def _log(parser: Parser) -> None:
    _mesh(parser)
    parser.add_argument("--follow", action="store_true", help="and what is still to come")


ACTIONS = {
    "keygen": Action("admin", "cmd_keygen", "make the keys of the admins", _keygen),
    "sign": Action("admin", "cmd_sign", "admit a host, or let it change", _sign),
    "revoke": Action("admin", "cmd_revoke", "put a host out of the mesh", _revoke),
    "resign": Action("admin", "cmd_resign", "sign everything anew with another key", _resign),
    "join": Action("join", "cmd_join", "ask an admin to admit this host", _join),
    "run": Action("daemon", "cmd_run", "be this host's agent", _mesh),
    "status": Action(
        "look", "cmd_status", "show the hosts, the store and what is ignored", _status
    ),
    "log": Action("history", "cmd_log", "show what has changed in the store", _log),
    "leave": Action("daemon", "cmd_leave", "take this host's peers of the mesh away", _mesh),
    "import": Action("imports", "cmd_import", "take records past the store", _import),
}


def add_actions(parser: Parser, options: Callable[[Parser], None]) -> None:
    """The actions as commands below `mesh`.

    :param options: adds what every command takes.
    """
    found = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in ACTIONS.items():
        sub = found.add_parser(name, help=action.help, description=action.help, allow_abbrev=False)
        options(sub)
        action.arguments(sub)


def cmd_mesh(args: argparse.Namespace) -> int:
    """Do an action; the exit status."""
    action = ACTIONS[args.action]
    function = getattr(import_module(f".{action.module}", __package__), action.function)
    status: int = function(args)
    return status

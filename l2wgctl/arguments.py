# SPDX-License-Identifier: GPL-2.0
"""The command line: its grammar, and which function does which command."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from . import __version__
from .errors import PROG, UsageError
from .grammar import FDB, FIELDS, KINDS, SET

#: Command: module and function that do it, and its one-line help.
COMMANDS = {
    "show": ("show", "cmd_show", "show configuration and state, as wg does"),
    "showconf": ("show", "cmd_showconf", "show the configuration as a file"),
    "set": ("commands", "cmd_set", "change a device"),
    "setconf": ("commands", "cmd_setconf", "make a device what a file says"),
    "addconf": ("commands", "cmd_addconf", "add what a file says to a device"),
    "syncconf": ("commands", "cmd_syncconf", "like setconf, changing only what differs"),
    "genkey": ("commands", "cmd_genkey", "make a private key"),
    "genpsk": ("commands", "cmd_genpsk", "make a preshared key"),
    "pubkey": ("commands", "cmd_pubkey", "derive the public key of a private key on stdin"),
    "add": ("commands", "cmd_add", "create a link without keys"),
    "del": ("commands", "cmd_del", "remove a link"),
    "new": ("new", "cmd_new", "write the files of both ends of a tunnel"),
    "check": ("commands", "cmd_check", "list everything wrong with a file; needs no root"),
    "up": ("updown.plan", "cmd_up", "bring up a link with addresses, bridge, VLANs and routes"),
    "down": ("updown.down", "cmd_down", "take a link down with all that belongs to it"),
    "reload": ("updown.reload", "cmd_reload", "apply a changed file and keep the sessions"),
    "restart": ("updown.reload", "cmd_restart", "take a link down and bring it up again"),
    "save": ("updown.plan", "cmd_save", "write the state of a link into its file"),
    "strip": ("updown.plan", "cmd_strip", "print a file without what 'wg setconf' does not know"),
    "fdb": ("fdb", "cmd_fdb", "show or change the table of a switch"),
    "doctor": ("doctor.command", "cmd_doctor", "check everything from the module to the tunnel"),
    "monitor": ("monitor", "cmd_monitor", "watch the peers"),
    "resolve": ("reresolve", "cmd_resolve", "find peers that have been silent by their names"),
    "metrics": ("metrics", "cmd_metrics", "links and peers for Prometheus, once or over HTTP"),
    "diff": ("updown.reload", "cmd_diff", "show how a link differs from its file"),
    "status": ("show", "cmd_show", "the same as show"),
    "list": ("show", "cmd_list", "the same as 'show interfaces'"),
    "mesh": ("mesh.commands", "cmd_mesh", "many hosts, one Ethernet, their peers in etcd"),
    "help": ("arguments", "cmd_help", "print the commands, or what one command takes"),
    "install-files": (
        "install",
        "cmd_install_files",
        "install manual pages, completions and the systemd units",
    ),
}


class _Help(argparse.HelpFormatter):
    """As wide as the terminal. argparse makes one for each argument, and would load shutil and all
    its archives to find that out."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """As shutil.get_terminal_size() has it."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are ours: raised, one line, with the usage as the mend."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, **settings)

    def error(self, message: str) -> NoReturn:
        command = self.prog.partition(" ")[2]
        usage = " ".join(self.format_usage().split())[len("usage: ") :]
        raise UsageError(message, usage, command)


def _options(parser: argparse.ArgumentParser, top: bool) -> None:
    """Options that may stand before and after the command."""
    suppress: dict[str, Any] = {} if top else {"default": argparse.SUPPRESS}
    parser.add_argument(
        "--netns", metavar="NAME", help="work in this network namespace (ip netns)", **suppress
    )
    parser.add_argument("--json", action="store_true", help="report in JSON", **suppress)


def make_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The whole grammar, or that of one command, because each command takes time to set up."""
    parser = _Parser(
        prog=PROG,
        description="The control plane of L2 WireGuard: Ethernet links over WireGuard.",
        epilog=f"See {PROG}(8), and l2wg.conf(5) for the file.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    _options(parser, True)
    # Without `prog`, argparse formats a usage message for it at once.
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", parser_class=_Parser, prog=PROG
    )
    for name, (_, _, text) in COMMANDS.items():
        if only is None or name == only:
            sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
            _options(sub, False)
            _arguments(name, sub)
    return parser


def _unknown(what: str, word: str, known: Sequence[str], where: str = "") -> UsageError:
    from .conf.keys import nearest

    guess = nearest(word, list(known))
    hint = f"did you mean {guess}?" if guess else f"known: {', '.join(known)}"
    return UsageError(f"unknown {what} '{word}'", hint, where)


def _field(text: str) -> str:
    if text not in FIELDS:
        raise _unknown("field", text, FIELDS, "show")
    return text


def _kind(text: str) -> str:
    if text not in KINDS:
        raise _unknown("kind", text, KINDS, "add")
    return text


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]+)?", text) or not 0.1 <= float(text) <= 86400:
        raise argparse.ArgumentTypeError(f"is not 0.1-86400 seconds: '{text}'")
    return float(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"is not a number: '{text}'")
    return int(text)


def _arguments(name: str, parser: argparse.ArgumentParser) -> None:
    """The arguments of one command."""
    add = parser.add_argument
    if name in ("show", "status"):
        add(
            "interface",
            nargs="?",
            default="all",
            metavar="IFACE|all|interfaces",
            help="default: all",
        )
        add("field", nargs="?", type=_field, metavar="FIELD", help=", ".join(FIELDS))
    elif name in ("showconf", "del"):
        add("interface", metavar="IFACE")
    elif name == "set":
        parser.usage = f"{PROG} {SET}"
        add("interface", metavar="IFACE")
        add("words", nargs=argparse.REMAINDER, metavar="WORD")
    elif name == "fdb":
        parser.usage = f"{PROG} {FDB}"
        add("words", nargs="*", metavar="WORD")
    elif name in ("setconf", "addconf", "syncconf", "diff"):
        add("interface", metavar="IFACE")
        add("file", nargs="?", metavar="FILE", help="default: /etc/l2wg/IFACE.conf")
    elif name == "add":
        add("interface", metavar="IFACE")
        add(
            "kind", nargs="?", type=_kind, default=KINDS[0], metavar="KIND", help=" or ".join(KINDS)
        )
    elif name in ("up", "down", "reload", "restart", "save", "strip"):
        add("target", metavar="IFACE|FILE")
        if name in ("up", "down", "reload"):
            add("--dry-run", action="store_true", help="only print the steps")
    elif name == "resolve":
        add("target", metavar="IFACE|FILE")
        add("--once", action="store_true", help="look once, and end")
    elif name in ("doctor", "monitor", "metrics"):
        add("interface", nargs="?", metavar="IFACE", help="default: all")
        if name == "metrics":
            add("--listen", metavar="[ADDRESS:]PORT", help="serve them over HTTP")
        if name == "monitor":
            add("--interval", type=_seconds, default=1.0, metavar="SECONDS", help="default: 1")
            add("--count", type=_count, default=0, metavar="N", help="end after N readings")
            add("--events", action="store_true", help="show what happens on switches, too")
    elif name == "install-files":
        add("--prefix", default="/usr/local", metavar="DIR", help="default: /usr/local")
        add("--destdir", default="/", metavar="DIR", help="put this before every path")
        add("--remove", action="store_true", help="remove the files")
        add("--dry-run", action="store_true", help="only print the steps")
    elif name == "check":
        add("file", metavar="FILE")
    elif name == "help":
        add("about", nargs="?", metavar="COMMAND")
    elif name == "mesh":
        from .mesh.commands import add_actions

        add_actions(parser, lambda action: _options(action, False))
    elif name == "new":
        _new_arguments(parser)


def _new_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("interface", metavar="IFACE")
    for whose, option in (("this host's", ""), ("the other host's", "peer-")):
        add(f"--{option}endpoint", metavar="HOST[:PORT]", help=f"{whose} address or name")
        add(f"--{option}address", metavar="ADDRESS/PREFIX", help=f"{whose} address in the tunnel")
        add(f"--{option}name", metavar="NAME", help=f"{whose} name, for people")
    add("--bridge", metavar="BRIDGE", help="make the link a port of this bridge on both ends")
    add("--kind", type=_kind, default=KINDS[0], metavar="KIND", help=" or ".join(KINDS))
    add("--folder", metavar="DIR", help="write the files there; default: /etc/l2wg")
    add("--qr", action="store_true", help="show the other end's file as a QR code")


def cmd_help(args: argparse.Namespace) -> int:
    """Print the help of a command, or of all."""
    about = args.about
    if about is not None and about not in COMMANDS:
        raise _unknown("command", about, list(COMMANDS), "help")
    make_parser(about).parse_args([about, "--help"] if about else ["--help"])
    return 0


def execute(words: list[str]) -> int:
    """Parse and do one command; the exit status.

    :raises L2wgError: the command line is wrong, or the command fails.
    :raises OSError: an error that the command has not put into words.
    """
    only = next((word for word in words[:1] if not word.startswith("-")), None)
    if only is not None and only not in COMMANDS:
        raise _unknown("command", only, list(COMMANDS))
    if only == "mesh":
        from .mesh.commands import ACTIONS

        action = next((word for word in words[1:2] if not word.startswith("-")), None)
        if action is not None and action not in ACTIONS:
            raise _unknown("action", action, list(ACTIONS), "mesh")
    # The version is everybody's and needs no command.
    args = make_parser("" if words[:1] == ["--version"] else only).parse_args(words)
    if args.command is None:
        # As in wg, no command is `show`.
        args.command, args.interface, args.field = "show", "all", None
    for name, value in vars(args).items():
        # To take the default instead would be to work on another host, link or file than was meant.
        if value == "" and name != "destdir":
            option = f"--{name.replace('_', '-')}"
            given = any(word.partition("=")[0] == option for word in words)
            what = f"{option if given else 'a word of the command'} is empty"
            raise UsageError(what, "is a variable of the shell unset?", args.command)
    if args.netns is not None:
        from .netlink.link import enter_netns

        enter_netns(args.netns)
    module, function, _ = COMMANDS[args.command]
    status: int = getattr(import_module(f".{module}", __package__), function)(args)
    return status

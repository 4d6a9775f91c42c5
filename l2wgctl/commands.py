# SPDX-License-Identifier: GPL-2.0
"""The commands of `wg` except show, and add, del, check and diff.

Each takes the parsed arguments and returns the exit status; data goes to stdout, messages to
stderr.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING

from . import apply, signals
from .conf import files
from .conf import parse as configuration
from .errors import KernelError, L2wgError, Problem
from .model import KINDS, Device, Key, SecretKey
from .output import print_json, say

if TYPE_CHECKING:
    from .conf.sync import Change
    from .netlink.messages import Resolver

OPTIONS_STAY = "the options of its peers stay as they are"

# -- set -------------------------------------------------------------------------------------------


def cmd_set(args: argparse.Namespace) -> int:
    """Change a device by words, as `wg set` does."""
    from .netlink.device import set_device
    from .setargs import parse_set

    def peer(text: str) -> Key:
        from .whichpeer import which

        return which(text, args.interface, "set")

    device, warnings, options = parse_set(args.interface, args.words, peer)
    say(warnings)
    resolver = _resolver(device, not options.empty)
    with apply.turn(args.interface, not options.empty):
        with apply.options(apply.change_plan(args.interface, options, device.fwmark)):
            set_device(device, resolver)
    say(apply.shut_out(args.interface, [x.public_key for x in device.peers if not x.remove]))
    return 0


def _resolver(device: Device, with_options: bool) -> Resolver:
    """What looks up endpoints. Those of a switch by now: it may take minutes, and fail, when the
    options of its peers have been set."""
    from .resolve import ahead, sockaddr

    return ahead(device) if with_options else sockaddr


def read_config(path: str) -> configuration.Config:
    """Load a file and print its warnings.

    :raises L2wgError: it cannot be read, or has mistakes.
    """
    loaded = files.load(path)
    say(loaded.warnings)
    return loaded


def _config_path(args: argparse.Namespace) -> str:
    return args.file or str(files.CONFIG_DIR / f"{args.interface}.conf")


def cmd_setconf(args: argparse.Namespace) -> int:
    """Make the device what the file says; a missing link is created."""
    from .netlink.device import set_device

    loaded = read_config(_config_path(args))
    device = files.whole(loaded.device, args.interface)
    say(apply.not_of_a_switch(args.interface, loaded, OPTIONS_STAY))
    try:
        # whether there is such a link comes before its peers' names
        plan = apply.switch_plan(args.interface, loaded)
        resolver = _resolver(device, plan is not None)
        with apply.options(plan):
            set_device(device, resolver)
    except KernelError as error:
        if error.errno != errno.ENODEV and error.problems[0].code != "NO_MODULE":
            raise
        _create_and_set(device, loaded)
    return 0


def _create_and_set(device: Device, loaded: configuration.Config) -> None:
    from .netlink.device import set_device
    from .netlink.link import Links

    with signals.held(), Links() as links:
        links.add(device.name, loaded.link.kind)
        try:
            resolver = _resolver(device, loaded.switch is not None)
            with apply.options(apply.switch_plan(device.name, loaded)):
                set_device(device, resolver)
        except BaseException:
            links.delete(device.name)
            raise


def cmd_addconf(args: argparse.Namespace) -> int:
    """Add what the file says to the device."""
    from .netlink.device import set_device

    loaded = read_config(_config_path(args))
    plan = apply.switch_plan(args.interface, loaded, add=True)
    resolver = _resolver(loaded.device, plan is not None)
    with apply.options(plan):
        set_device(loaded.device._replace(name=args.interface), resolver)
    return 0


def _differences(current: Device, loaded: configuration.Config) -> tuple[Device, list[Change]]:
    from .conf import sync
    from .resolve import same
    from .updown.routing import takes_default_route

    keep = takes_default_route(loaded.link, loaded.device)
    return sync.plan(current, loaded.device, same, keep, loaded.mesh is not None)


def cmd_syncconf(args: argparse.Namespace) -> int:
    """Make the device what the file says by changing only what differs."""
    from .netlink.device import WireGuard

    loaded = read_config(_config_path(args))
    say(apply.not_of_a_switch(args.interface, loaded, OPTIONS_STAY))
    with WireGuard() as wireguard:
        device, changes = _differences(wireguard.get_device(args.interface), loaded)
        plan = apply.switch_plan(args.interface, loaded)
        resolver = _resolver(device, plan is not None)
        with apply.options(plan):
            if changes:
                wireguard.set_device(device, resolver)
    return 0


# -- keys ------------------------------------------------------------------------------------------


def _print_key(key: SecretKey, name: str) -> int:
    import stat

    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # not a file at all
        print(key.reveal())
        return 0
    if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IRWXO:
        say([Problem(name, "writing a key to a world accessible file", "umask 077", warning=True)])
    print(key.reveal())
    return 0


def cmd_genkey(_: argparse.Namespace) -> int:
    """A new private key."""
    from .keys import generate_private_key

    return _print_key(generate_private_key(), "genkey")


def cmd_genpsk(_: argparse.Namespace) -> int:
    """A new preshared key."""
    from .keys import generate_preshared_key

    return _print_key(generate_preshared_key(), "genpsk")


def cmd_pubkey(_: argparse.Namespace) -> int:
    """The public key of the private key on stdin."""
    from .conf.values import secret_key
    from .errors import ValueProblem
    from .keys import public_key

    try:
        private = secret_key(sys.stdin.read().strip())
    except ValueProblem as problem:
        raise L2wgError(f"private key {problem.what}", problem.hint, "stdin") from None
    print(public_key(private))
    return 0


# -- links and files -------------------------------------------------------------------------------


def checked_name(name: str) -> str:
    """The name of a new link.

    :raises L2wgError: no link may have that name.
    """
    from .conf.values import interface_name
    from .errors import ValueProblem

    try:
        return interface_name(name)
    except ValueProblem as problem:
        raise L2wgError(f"link name {problem.what}", problem.hint) from None


def cmd_add(args: argparse.Namespace) -> int:
    """A new link without keys."""
    name = checked_name(args.interface)
    from .netlink.link import Links

    with Links() as links:
        links.add(name, args.kind)
    return 0


def cmd_del(args: argparse.Namespace) -> int:
    """Remove a link of our kinds."""
    from .errors import from_errno
    from .netlink.link import Links

    with Links() as links:
        link = links.need(args.interface, "del")
        if link.kind not in KINDS:
            raise from_errno(errno.EOPNOTSUPP, args.interface, "del")
        links.delete(args.interface)
    return 0


def cmd_check(args: argparse.Namespace) -> int:
    """Everything wrong with a file, without root and without the kernel module."""
    from .conf import check

    text, warnings = files.read_text(args.file)
    problems, more = check.examine(text, args.file, check.HOST)
    warnings = (*warnings, *more)
    if args.json:
        print_json(
            {
                "file": args.file,
                "ok": not problems,
                "problems": [
                    {
                        "severity": "warning" if problem.warning else "error",
                        "code": problem.code,
                        "line": problem.line,
                        "column": problem.column,
                        "message": problem.what,
                        "hint": problem.hint,
                    }
                    for problem in (*problems, *warnings)
                ],
            }
        )
    else:
        say((*problems, *warnings))
    return 1 if problems else 0

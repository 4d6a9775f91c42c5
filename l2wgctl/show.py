# SPDX-License-Identifier: GPL-2.0
"""show and showconf. Apart from the other commands, so that nothing else is loaded for them."""

from __future__ import annotations

import argparse
import errno
import sys
import time
from itertools import chain
from typing import Any

from . import render
from .conf.names import Names
from .errors import KernelError, UsageError
from .model import Device
from .netlink.device import WireGuard
from .netlink.messages import Peers
from .output import colour, print_json, print_lines, reveal_keys, say


def cmd_show(args: argparse.Namespace) -> int:
    """Configuration and state of devices, as `wg show` prints them."""
    field = args.field
    if args.json and field:
        raise UsageError("show: --json shows everything and takes no field", "leave it out")
    if args.interface == "interfaces":
        if field:
            raise UsageError("show: 'interfaces' takes no field", "show all FIELD")
        return _show_interfaces(args.json)
    everything = args.interface == "all"
    names = [name for name, _ in _tunnels()] if everything else [args.interface]
    if not names:
        if args.json:
            print_json({"devices": []})
        return 0
    status = 0
    names_of = Names()
    documents: list[dict[str, Any]] = []
    with WireGuard() as wireguard:
        for position, name in enumerate(names):
            try:
                device, peers = wireguard.stream_device(name)
            except KernelError as error:
                if not everything or error.errno != errno.ENODEV:
                    raise
                say(error.problems)  # it has gone since the list was made
                status = 1
                continue
            if args.json:
                documents.append(
                    render.device_json(device, peers, reveal_keys(), names_of.of(name))
                )
            elif field == "dump":
                _dump(device, peers, f"{name}\t" if everything else "")
            elif field:
                print_lines(render.field_lines(device, peers, field, everything))
            else:
                known = names_of.of(name)
                text = render.pretty(device, peers, int(time.time()), reveal_keys(), known)
                text += "\n" if position < len(names) - 1 else ""
                sys.stdout.write(text if colour() else render.plain(text))
    if args.json:
        print_json({"devices": documents})
    return status


def cmd_list(args: argparse.Namespace) -> int:
    """The links of these kinds."""
    return _show_interfaces(args.json)


def _dump(device: Device, peers: Peers, prefix: str) -> None:
    text = chain([render.dump_device(device)], peers.dump_lines(render.dump_peer))
    if prefix:
        print_lines(prefix + line for part in text for line in part.splitlines(keepends=True))
    else:
        print_lines(text)


def _tunnels() -> list[tuple[str, str]]:
    from .netlink.link import Links

    with Links() as links:
        return [(link.name, link.kind or "") for link in links.tunnels()]


def _show_interfaces(as_json: bool) -> int:
    found = _tunnels()
    if as_json:
        print_json({"interfaces": [{"name": name, "kind": kind} for name, kind in found]})
    elif found:
        print(" ".join(name for name, _ in found))
    return 0


def cmd_showconf(args: argparse.Namespace) -> int:
    """The configuration of a device as a file."""
    with WireGuard() as wireguard:
        device, peers = wireguard.stream_device(args.interface)
        print_lines(render.showconf(device, peers))
    return 0

# SPDX-License-Identifier: GPL-2.0
"""show and showconf. Apart from the other commands, so that nothing else is loaded for them."""

from __future__ import annotations

import argparse
import errno
import sys
import time
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from . import render
from .conf.names import Names
from .errors import KernelError, UsageError
from .model import Device, Key
from .netlink.device import WireGuard
from .netlink.messages import Peers
from .netlink.switch_probe import is_switch
from .output import colour, print_json, print_lines, reveal_keys, say

if TYPE_CHECKING:
    from .switch import PeerState, SwitchState

    #: A switch, and the keys that it knows.
    Found = tuple[SwitchState, dict[bytes, PeerState]]


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
                found = None if field else _switch(name)
            except KernelError as error:
                if not everything or error.errno != errno.ENODEV:
                    raise
                say(error.problems)  # it has gone since the list was made
                status = 1
                continue
            if args.json:
                document = render.device_json(device, peers, reveal_keys(), names_of.of(name))
                documents.append(_with_switch(found, document, names_of.of(name)))
            elif field == "dump":
                _dump(device, peers, f"{name}\t" if everything else "")
            elif field:
                print_lines(render.field_lines(device, peers, field, everything))
            else:
                known = names_of.of(name)
                text = _pretty(device, peers, found, known)
                text += "\n" if position < len(names) - 1 else ""
                sys.stdout.write(text if colour() else render.plain(text))
    if args.json:
        print_json({"devices": documents})
    return status


def _switch(name: str) -> Found | None:
    """A switch and the keys that it knows; None if the link is none."""
    if not is_switch(name):
        return None
    from .netlink.switch import Switches

    with Switches() as switches:
        return switches.get(name), {x.public_key: x for x in switches.peers(name)}


def _pretty(device: Device, peers: Peers, found: Found | None, names: Mapping[bytes, str]) -> str:
    now = int(time.time())
    if found is None:
        return render.pretty(device, peers, now, reveal_keys(), names)
    from . import render_switch

    state, states = found

    def more(key: Key | None) -> Iterable[tuple[str, str]]:
        if key is None:
            return render_switch.link_lines(state)
        return render_switch.state_lines(states[key]) if key in states else ()

    text = render.pretty(device, peers, now, reveal_keys(), names, more)
    return text + "".join(render_switch.without_peer(states, names))


def _with_switch(
    found: Found | None, document: dict[str, Any], names: Mapping[bytes, str]
) -> dict[str, Any]:
    """The document with what a switch and its peers have more; None for other links."""
    if found is None:
        return {**document, "switch": None}
    from . import render_switch

    state, states = found
    by_text = {str(x.public_key): x for x in states.values()}
    document["switch"] = render_switch.link_json(state)
    for peer in document["peers"]:
        known = by_text.get(peer["public_key"])
        peer["switch"] = render_switch.peer_json(known) if known is not None else None
    document["switch"]["without_peer"] = [
        {
            "public_key": text,
            "name": names.get(known.public_key),
            "switch": render_switch.peer_json(known),
        }
        for text, known in by_text.items()
        if not known.present
    ]
    return document


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
        lines = render.showconf(device, peers)
        found = _switch(args.interface)
        if found is not None:
            from . import render_switch

            state, states = found
            by_text = {str(x.public_key): x for x in states.values()}
            lines = render_switch.showconf(lines, state, by_text)
        print_lines(lines)
    return 0

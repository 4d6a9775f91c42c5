# SPDX-License-Identifier: GPL-2.0
"""What `show` adds for a switch: options that are not the default, sessions, counters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .conf.switch import interface_lines, peer_lines, vlans_text
from .render import BOLD, RESET, YELLOW, duration
from .switch import VIOLATIONS, PeerState, SwitchState


def _words(name: str) -> str:
    """`AllowedMACs` as `show` writes it: `allowed macs`."""
    from .conf.keys import ConfigKey

    return ConfigKey(name, "", str).word.replace("-", " ")


def violations(counters: Mapping[str, int]) -> str:
    """`rx_ip_bound 5, rx_move 2`: frames that failed a check; empty if none did."""
    return ", ".join(f"{name} {counters[name]}" for name in VIOLATIONS if counters.get(name))


def session(state: PeerState) -> str:
    """`up for 5 seconds`, `trying for 3 seconds`, `idle`."""
    age = f" for {duration(state.session_age)}" if state.session_age else ""
    return f"{state.session}{age}"


def link_lines(state: SwitchState) -> Iterator[tuple[str, str]]:
    """(name, value) of the lines below the interface."""
    yield "switch", f"{state.learned} learned, {state.local} behind this host"
    for name, value in interface_lines(state.options):
        yield _words(name), value
    dropped = violations(state.counters)
    if dropped:
        yield "dropped", dropped


def state_lines(state: PeerState) -> Iterator[tuple[str, str]]:
    """(name, value) of the lines of a peer."""
    yield "handle", state.handle
    if state.session is not None:
        yield "session", session(state)
    for name, value in peer_lines(state.options):
        yield _words(name), value
    if state.learned:
        yield "learned", str(state.learned)
    dropped = violations(state.counters)
    if dropped:
        yield "dropped", dropped


def without_peer(states: Mapping[bytes, PeerState], names: Mapping[bytes, str]) -> Iterator[str]:
    """Text of the keys that have options and are no peers."""
    for key, state in states.items():
        if state.present:
            continue
        yield f"\n{YELLOW}{BOLD}options of{RESET}: {YELLOW}{state.public_key}{RESET} (no peer)\n"
        if key in names:
            yield f"  {BOLD}name{RESET}: {names[key]}\n"
        for name, value in state_lines(state):
            yield f"  {BOLD}{name}{RESET}: {value}\n"


def link_json(state: SwitchState) -> dict[str, Any]:
    """`switch` of a device, as docs/l2wgctl-json.md describes it."""
    options = state.options
    return {
        "max_entries": options.max_macs,
        "max_local": options.max_local,
        "ageing": options.ageing,
        "new_peers": options.new_peers,
        "host_macs": list(options.host_macs or ()),
        "host_addresses": list(options.host_addresses or ()),
        "learned": state.learned,
        "local": state.local,
        "counters": state.counters,
    }


def peer_json(state: PeerState) -> dict[str, Any]:
    """`switch` of a peer, as docs/l2wgctl-json.md describes it."""
    options = state.options
    return {
        "handle": state.handle,
        "configured": state.configured,
        "allowed_macs": list(options.allowed_macs or ()),
        "max_macs": options.max_macs,
        "allowed_vlans": vlans_text(options.allowed_vlans or ()),
        "pvid": options.pvid,
        "relay": options.relay,
        "isolated": options.isolated,
        "router": options.router,
        "guard": list(options.guards or ()),
        "mark": options.mark,
        "learned": state.learned,
        "session": state.session,
        "session_age": state.session_age,
        "heard_age": None if state.heard_age is None else state.heard_age / 1000,
        "counters": state.counters,
    }


def showconf(
    lines: Iterator[str], state: SwitchState, peers: Mapping[str, PeerState]
) -> Iterator[str]:
    """`render.showconf` of a switch, with its options.

    :param lines: that text: first the interface in several parts, then one part for each peer.
    :param peers: by the text of their keys.
    """
    yield next(lines)
    yield "Switch = yes\n"
    for name, value in interface_lines(state.options):
        yield f"{name} = {value}\n"
    for part in lines:
        yield part
        key = part.partition("PublicKey = ")[2].partition("\n")[0]
        if key in peers:
            for name, value in peer_lines(peers[key].options):
                yield f"{name} = {value}\n"

# SPDX-License-Identifier: GPL-2.0
"""A switch as its file says it shall be, and what has to change for that. Pure.

The options of a peer that is in the file are what the file says, and the defaults for the rest. A
key that is not in the file has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ..model import Key, LinkOptions
from ..switch import (
    ALL_VLANS,
    CLOSED,
    PEER_DEFAULTS,
    SWITCH_DEFAULTS,
    PeerOptions,
    PeerState,
    SwitchConfig,
    SwitchOptions,
    SwitchState,
)
from .keys import INTERFACE, PEER, ConfigKey
from .parse import Config
from .switch_values import host_address
from .sync import Change

#: Lists whose items are added and removed one by one.
SETS = {"allowed_macs", "host_macs", "host_addresses"}

INTERFACE_KEYS = tuple(key for key in INTERFACE if key.switch)
PEER_KEYS = tuple(key for key in PEER if key.switch)
#: Keys by the words of `set`.
BY_WORD = {key.word: key for key in (*INTERFACE_KEYS, *PEER_KEYS)}


def text(field: str, value: object) -> str:
    """A value of one of the options, as it is written in the file."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if field == "allowed_vlans":
        return vlans_text(value)  # type: ignore[arg-type]
    if field == "pvid":
        return str(value or "off")
    if field == "mark":
        return f"0x{value:x}" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value)


def vlans_text(ranges: Iterable[tuple[int, int]]) -> str:
    """`0, 10, 20-30`, or `all`."""
    ranges = tuple(ranges)
    if ranges == ALL_VLANS:
        return "all"
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def lines(
    options: SwitchOptions | PeerOptions, keys: Iterable[ConfigKey], defaults: tuple[object, ...]
) -> Iterator[tuple[str, str]]:
    """(key of the file, value) of what is not the default."""
    usual = dict(zip(options._fields, defaults))
    for key in keys:
        value = getattr(options, key.field)
        if value is not None and value != usual[key.field]:
            yield key.name, text(key.field, value)


def interface_lines(options: SwitchOptions) -> Iterator[tuple[str, str]]:
    """The keys of [Interface] for what is not the default."""
    return lines(options, INTERFACE_KEYS, SWITCH_DEFAULTS)


def peer_lines(options: PeerOptions) -> Iterator[tuple[str, str]]:
    """The keys of [Peer] for what is not the default."""
    return lines(options, PEER_KEYS, PEER_DEFAULTS)


def own_addresses(link: LinkOptions) -> tuple[str, ...]:
    """What Address and BridgeAddress bind to the host."""
    given = (*link.addresses, *link.bridge_addresses)
    return tuple(dict.fromkeys(host_address(a.partition("/")[0]) for a in given))


def wanted_link(config: Config, switch: SwitchConfig) -> SwitchOptions:
    """All options of the link: those of the file, and the defaults."""
    given = {k: v for k, v in switch.options._asdict().items() if v is not None}
    addresses = (*own_addresses(config.link), *(switch.options.host_addresses or ()))
    whole = SWITCH_DEFAULTS._replace(**given)
    return whole._replace(host_addresses=tuple(dict.fromkeys(addresses)))


def wanted_peers(config: Config, switch: SwitchConfig) -> dict[Key, PeerOptions]:
    """All options of the peers that shall have any.

    On a closed link a peer without options could do nothing: there all peers of the file get them.
    """
    if switch.options.new_peers == CLOSED:
        return {
            p.public_key: switch.peers.get(p.public_key, PeerOptions()).over(PEER_DEFAULTS)
            for p in config.device.peers
        }
    return {key: options.over(PEER_DEFAULTS) for key, options in switch.peers.items()}


class Plan(NamedTuple):
    """What to do with a switch: options to set of the link and of peers before the peers are, keys
    whose options to forget afterwards. `link_before` and `before` are how it was."""

    name: str
    link: SwitchOptions
    peers: Mapping[Key, PeerOptions]
    forget: tuple[Key, ...]
    changes: tuple[Change, ...]
    link_before: SwitchOptions
    before: Mapping[Key, PeerOptions]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.peers or self.forget or any(x is not None for x in self.link))

    def back(self) -> Plan:
        """The plan that undoes this one."""
        new = tuple(key for key in self.peers if key not in self.before)
        gone = {key: self.before[key] for key in (*self.peers, *self.forget) if key in self.before}
        undone = {
            name: getattr(self.link_before, name)
            for name, value in self.link._asdict().items()
            if value is not None
        }
        return Plan(self.name, SwitchOptions(**undone), gone, new, (), self.link, {})


def plan(
    now: SwitchState, before: Mapping[Key, PeerOptions], config: Config, *, add: bool = False
) -> Plan:
    """How a switch becomes what its file says.

    :param before: the options of the keys that have any.
    :param add: what the file does not say stays (`addconf`).
    """
    assert config.switch is not None
    if add:
        link = config.switch.options
        given = dict(config.switch.peers)
        if (link.new_peers or now.options.new_peers) == CLOSED:
            given = {p.public_key: PeerOptions() for p in config.device.peers} | given
        peers = {k: v.over(before.get(k, PEER_DEFAULTS)) for k, v in given.items()}
        forget: tuple[Key, ...] = ()
    else:
        link = wanted_link(config, config.switch)
        peers = wanted_peers(config, config.switch)
        forget = tuple(key for key in before if key not in peers)
        if config.mesh is not None:
            forget, link = (), _with_the_meshs(link, now.options)
    changes: list[Change] = []
    link_change, found = _difference(now.options, link, INTERFACE_KEYS)
    changes += found
    to_set: dict[Key, PeerOptions] = {}
    for key, options in peers.items():
        old = before.get(key)
        change, found = _difference(old or PEER_DEFAULTS, options, PEER_KEYS, key)
        if found:
            to_set[key] = PeerOptions(**change)  # type: ignore[arg-type]
        elif old is None:
            to_set[key] = options
            found = [Change("add", "options", None, "(defaults)", key)]
        changes += found
    listed = {peer.public_key for peer in config.device.peers}
    for key in forget:
        if key in listed:
            changes += _difference(before[key], PEER_DEFAULTS, PEER_KEYS, key)[1]
        else:
            changes.append(Change("remove", "options", "(all)", None, key))
    made = SwitchOptions(**link_change)  # type: ignore[arg-type]
    # A MAC that moves from peer to peer is bound to both for a moment, and never to nobody.
    last = {key: _loses(before.get(key, PEER_DEFAULTS), to_set[key]) for key in to_set}
    to_set = {key: to_set[key] for key in sorted(to_set, key=lambda key: last[key])}
    return Plan(now.name, made, to_set, forget, tuple(changes), now.options, before)


def _loses(old: PeerOptions, new: PeerOptions) -> bool:
    """Whether a MAC is no longer bound."""
    return new.allowed_macs is not None and not {*(old.allowed_macs or ())} <= {*new.allowed_macs}


def _with_the_meshs(wanted: SwitchOptions, now: SwitchOptions) -> SwitchOptions:
    """The options with what the agent of a mesh has added: what its record binds to the host."""

    def both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(one or ()), *(other or ()))))

    return wanted._replace(
        host_macs=both(wanted.host_macs, now.host_macs),
        host_addresses=both(wanted.host_addresses, now.host_addresses),
    )


def change(
    name: str,
    now: SwitchState,
    known: Iterable[PeerState],
    wanted: Mapping[Key | None, Mapping[str, object]],
    forget: Iterable[Key] = (),
) -> Plan:
    """A plan for some options, by field, of the link (key None) and of peers.

    A link that is closed gives all peers that it has by then options.

    :param wanted: a list of (sign, item) adds items to those that are there, and removes them.
    """
    known = tuple(known)
    before = {x.public_key: x.options for x in known if x.configured}

    def whole(
        options: SwitchOptions | PeerOptions, given: Mapping[str, object]
    ) -> dict[str, object]:
        made = {}
        for field, value in given.items():
            if isinstance(value, list):
                items = dict.fromkeys(getattr(options, field))
                for sign, item in value:
                    if sign == "+":
                        items[item] = None
                    else:
                        items.pop(item, None)
                value = tuple(items)
            made[field] = value
        return made

    link = SwitchOptions(**whole(now.options, wanted.get(None, {})))  # type: ignore[arg-type]
    peers = {
        key: PeerOptions(**whole(before.get(key, PEER_DEFAULTS), given))  # type: ignore[arg-type]
        for key, given in wanted.items()
        if key is not None
    }
    if link.new_peers == CLOSED and now.options.new_peers != CLOSED:
        there = {x.public_key for x in known if x.present}
        for key in there.difference(before, peers, forget):
            peers[key] = PEER_DEFAULTS
    gone = tuple(key for key in forget if key in before)
    return Plan(name, link, peers, gone, (), now.options, before)


def _difference(
    old: SwitchOptions | PeerOptions,
    new: SwitchOptions | PeerOptions,
    keys: Iterable[ConfigKey],
    peer: Key | None = None,
) -> tuple[dict[str, object], list[Change]]:
    """The fields to set, and the differences in words."""
    fields: dict[str, object] = {}
    changes: list[Change] = []
    for key in keys:
        was, shall = getattr(old, key.field), getattr(new, key.field)
        if shall is None or was == shall:
            continue
        if key.field in SETS:
            if set(was) == set(shall):
                continue
            gone, come = sorted(set(was) - set(shall)), sorted(set(shall) - set(was))
            word = key.word
            changes += [Change("remove", word, x, None, peer) for x in gone]
            changes += [Change("add", word, None, x, peer) for x in come]
        else:
            a, b = (text(key.field, x) or "(none)" for x in (was, shall))
            changes.append(Change("set", key.word, a, b, peer))
        fields[key.field] = shall
    return fields, changes

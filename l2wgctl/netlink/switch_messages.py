# SPDX-License-Identifier: GPL-2.0
"""Messages of the family `l2wg`, made and read. kernel/uapi/l2wg.yaml says what is in each.

What a newer module adds is passed over: attributes, counters and values that are not known here.
"""

from __future__ import annotations

from functools import wraps
from os import fsdecode, fsencode
from struct import Struct, unpack
from typing import Any, Callable, NamedTuple, TypeVar

from ..model import Key
from ..sockets import AF_INET, AF_INET6, inet_ntop, inet_pton
from ..switch import (
    CLOSED,
    COUNTERS,
    EVENTS,
    GUARDS,
    OPEN,
    SESSION,
    SESSIONS,
    STATES,
    Entry,
    Event,
    PeerOptions,
    PeerState,
    SwitchOptions,
    SwitchState,
)
from .channel import attribute
from .messages import NLA_F_NESTED, NetlinkFormatError, attributes, unsigned
from .switch_uapi import (
    MAC,
    PREFIX,
    PREFIX_ADDRESS,
    PREFIX_LENGTH,
    VLAN_FIRST,
    VLAN_LAST,
    VLAN_RANGE,
    Fdb,
    Link,
    Peer,
)
from .switch_uapi import Event as Ev

T = TypeVar("T")
#: Attributes of a message or a nest. Of one that may be repeated this keeps the last.
Attrs = dict[int, bytes]

_U16 = Struct("=H")
_U32 = Struct("=I")
_MAC_HEADER = Struct("=HH").pack(10, MAC).hex()
_CODES = {1: Struct("=B"), 2: _U16, 4: _U32, 8: Struct("=Q")}
_RANGE = Struct("=HHH2xHHH2x")


def nest(kind: int, payload: bytes) -> bytes:
    """A nested attribute."""
    return attribute(kind | NLA_F_NESTED, payload)


def u16(kind: int, value: int) -> bytes:
    """A 16-bit attribute."""
    return attribute(kind, _U16.pack(value))


def u32(kind: int, value: int) -> bytes:
    """A 32-bit attribute."""
    return attribute(kind, _U32.pack(value))


def named(link: str) -> bytes:
    """The attribute that names a link, the same in every set."""
    return attribute(Link.IFNAME, fsencode(link) + b"\0")


def macs(addresses: tuple[str, ...]) -> bytes:
    """What is in a nest of MAC addresses."""
    # Headers and padding in hexadecimal, too: a peer may have a thousand.
    return mac_bytes("".join([f"{_MAC_HEADER}{x}0000" for x in addresses]))


def mac_bytes(text: str) -> bytes:
    """The six bytes of `02:00:00:00:00:01`."""
    return bytes.fromhex(text.replace(":", ""))


def vlans(ranges: tuple[tuple[int, int], ...]) -> bytes:
    """What is in a nest of ranges of VLANs."""
    return b"".join(
        [
            nest(VLAN_RANGE, _RANGE.pack(6, VLAN_FIRST, first, 6, VLAN_LAST, last))
            for first, last in ranges
        ]
    )


def prefixes(texts: tuple[str, ...]) -> bytes:
    """What is in a nest of prefixes, each `192.0.2.1/32`."""
    made = b""
    for text in texts:
        address, _, length = text.partition("/")
        family = AF_INET6 if ":" in address else AF_INET
        made += nest(
            PREFIX,
            attribute(PREFIX_ADDRESS, inet_pton(family, address))
            + attribute(PREFIX_LENGTH, bytes([int(length)])),
        )
    return made


def guard_mask(guards: tuple[str, ...]) -> int:
    """The bits of some of GUARDS."""
    return sum(1 << GUARDS.index(x) for x in set(guards))


def encode_link(options: SwitchOptions) -> bytes:
    """The attributes of a LINK_SET, without the link's name."""
    made = b""
    if options.max_macs is not None:
        made += u32(Link.MAX_MACS, options.max_macs)
    if options.max_local is not None:
        made += u32(Link.MAX_LOCAL, options.max_local)
    if options.ageing is not None:
        made += u32(Link.AGEING, options.ageing)
    if options.new_peers is not None:
        made += u32(Link.NEW_PEERS, (OPEN, CLOSED).index(options.new_peers))
    if options.host_macs is not None:
        made += nest(Link.HOST_MACS, macs(options.host_macs))
    if options.host_addresses is not None:
        made += nest(Link.HOST_ADDRESSES, prefixes(options.host_addresses))
    return made


def encode_peer(key: bytes, options: PeerOptions) -> bytes:
    """The attributes of a PEER_SET, without the link's name."""
    made = attribute(Peer.PUBLIC_KEY, key)
    if options.allowed_macs is not None:
        made += nest(Peer.ALLOWED_MACS, macs(options.allowed_macs))
    if options.max_macs is not None:
        made += u32(Peer.MAX_MACS, options.max_macs)
    if options.pvid is not None:
        made += u16(Peer.PVID, options.pvid)
    if options.allowed_vlans is not None:
        made += nest(Peer.ALLOWED_VLANS, vlans(options.allowed_vlans))
    for kind, value in (
        (Peer.RELAY, options.relay),
        (Peer.ISOLATED, options.isolated),
        (Peer.ROUTER, options.router),
    ):
        if value is not None:
            made += attribute(kind, bytes([value]))
    if options.guards is not None:
        made += u32(Peer.GUARDS, guard_mask(options.guards))
    if options.mark is not None:
        made += u32(Peer.MARK, options.mark)
    return made


# ---- the way back ------------------------------------------------------------------------------


class _Layout(NamedTuple):
    """How messages of one length are laid out: what unpacks one, and the headers that must be in
    it for that, with the types that they stand for."""

    unpack: Callable[[bytes], tuple[Any, ...]]
    headers: tuple[int, ...]
    kinds: tuple[int, ...]


#: By length. The messages of a dump differ in their values: once one has been read attribute by
#: attribute, the others are unpacked at once.
_layouts: dict[int, _Layout] = {}
_MOST_LAYOUTS = 64


def attrs(data: bytes) -> Attrs:
    """The attributes of a message or a nest.

    :raises NetlinkFormatError: one reaches over the end.
    """
    layout = _layouts.get(len(data))
    if layout is not None:
        found = layout.unpack(data)
        if found[::2] == layout.headers:
            return dict(zip(layout.kinds, found[1::2]))
    places = list(attributes(data, 0, len(data)))
    if layout is None and len(_layouts) < _MOST_LAYOUTS:
        _learn(data, places)
    return {kind: data[at:to] for kind, at, to in places}


def _learn(data: bytes, places: list[tuple[int, int, int]]) -> None:
    shape = Struct("=" + "".join([f"I{to - at}s{-to % 4}x" for _, at, to in places]))
    if shape.size == len(data):  # the last one need not be padded
        kinds = tuple([kind for kind, _, _ in places])
        _layouts[len(data)] = _Layout(shape.unpack, shape.unpack(data)[::2], kinds)


def number(value: bytes) -> int:
    """An unsigned number of 1, 2, 4 or 8 bytes."""
    code = _CODES.get(len(value))
    if code is None:
        raise NetlinkFormatError("a number has an odd length")
    found: int = code.unpack(value)[0]
    return found


def _decoder(read: Callable[[Attrs], T]) -> Callable[[bytes], T]:
    @wraps(read)
    def decode(data: bytes) -> T:
        try:
            return read(attrs(data))
        except KeyError as missing:
            what = f"a message of the family l2wg lacks attribute {missing}"
            raise NetlinkFormatError(what) from None

    return decode


def _name(told: Attrs) -> str:
    return fsdecode(told[Link.IFNAME].split(b"\0")[0])


def _of(names: tuple[str, ...], value: int, other: str) -> str:
    return names[value] if value < len(names) else f"{other}-{value}"


def _number(told: Attrs, kind: int) -> int | None:
    return number(told[kind]) if kind in told else None


def _key(told: Attrs, kind: int) -> Key | None:
    return Key(told[kind]) if kind in told else None


def mac_text(value: bytes) -> str:
    """`02:00:00:00:00:01` of six bytes."""
    return value.hex(":")


def _macs(data: bytes) -> tuple[str, ...]:
    return tuple([mac_text(data[at:to]) for _, at, to in attributes(data, 0, len(data))])


def _prefixes(data: bytes) -> tuple[str, ...]:
    found = []
    for _, at, to in attributes(data, 0, len(data)):
        one = attrs(data[at:to])
        address = one[PREFIX_ADDRESS]
        family = AF_INET if len(address) == 4 else AF_INET6
        found.append(f"{inet_ntop(family, address)}/{number(one[PREFIX_LENGTH])}")
    return tuple(found)


def _vlans(data: bytes) -> tuple[tuple[int, int], ...]:
    found = []
    for _, at, to in attributes(data, 0, len(data)):
        one = attrs(data[at:to])
        found.append((number(one[VLAN_FIRST]), number(one[VLAN_LAST])))
    return tuple(found)


def _counters(data: bytes) -> dict[str, int]:
    """Name -> value, of all that are known here."""
    # All are laid out alike (l2wg_put_counters()), unless the machine wants padding.
    count = len(data) // 12
    if len(data) % 12 == 0:
        values = unpack("=" + "HHQ" * count, data)
        if values[::3] == (12,) * count and values[1::3] == tuple(range(1, count + 1)):
            return dict(zip(COUNTERS, values[2::3]))
    found = {}
    for kind, at, to in attributes(data, 0, len(data)):
        if 0 < kind <= len(COUNTERS):
            found[COUNTERS[kind - 1]] = unsigned(data, at, to)
    return found


@_decoder
def decode_link(told: Attrs) -> SwitchState:
    """The answer to a LINK_GET.

    :raises NetlinkFormatError: it is not what the specification says.
    """
    return SwitchState(
        _name(told),
        number(told[Link.IFINDEX]),
        SwitchOptions(
            number(told[Link.MAX_MACS]),
            number(told[Link.MAX_LOCAL]),
            number(told[Link.AGEING]),
            _of((OPEN, CLOSED), number(told[Link.NEW_PEERS]), "new-peers"),
            _macs(told.get(Link.HOST_MACS, b"")),
            _prefixes(told.get(Link.HOST_ADDRESSES, b"")),
        ),
        number(told[Link.LEARNED]),
        number(told[Link.LOCAL]),
        number(told[Link.PEERS]),
        _counters(told.get(Link.COUNTERS, b"")),
    )


def _options(told: Attrs) -> PeerOptions:
    guards = number(told[Peer.GUARDS])
    return PeerOptions(
        _macs(told.get(Peer.ALLOWED_MACS, b"")),
        number(told[Peer.MAX_MACS]),
        _vlans(told.get(Peer.ALLOWED_VLANS, b"")),
        number(told[Peer.PVID]),
        bool(number(told[Peer.RELAY])),
        bool(number(told[Peer.ISOLATED])),
        bool(number(told[Peer.ROUTER])),
        tuple([name for bit, name in enumerate(GUARDS) if guards >> bit & 1]),
        number(told[Peer.MARK]),
    )


@_decoder
def decode_options(told: Attrs) -> tuple[Key, PeerOptions | None]:
    """Whose options the answer to a PEER_GET tells, and these; None of a key that has none.

    :raises NetlinkFormatError: it is not what the specification says.
    """
    return Key(told[Peer.PUBLIC_KEY]), _options(told) if Peer.CONFIGURED in told else None


@_decoder
def decode_peer(told: Attrs) -> PeerState:
    """The answer to a PEER_GET.

    :raises NetlinkFormatError: it is not what the specification says.
    """
    session = _number(told, Peer.SESSION)
    return PeerState(
        _name(told),
        Key(told[Peer.PUBLIC_KEY]),
        _options(told),
        inet_ntop(AF_INET6, told[Peer.HANDLE]),
        Peer.PRESENT in told,
        Peer.CONFIGURED in told,
        number(told[Peer.LEARNED]),
        None if session is None else _of(SESSIONS, session, "session"),
        _number(told, Peer.SESSION_AGE),
        _number(told, Peer.HEARD_AGE),
        _counters(told.get(Peer.COUNTERS, b"")),
    )


@_decoder
def decode_entry(told: Attrs) -> Entry:
    """An entry of the table, from the answer to an FDB_GET.

    :raises NetlinkFormatError: it is not what the specification says.
    """
    return Entry(
        mac_text(told[Fdb.MAC]),
        _number(told, Fdb.VLAN),
        _key(told, Fdb.PUBLIC_KEY),
        _of(STATES, number(told[Fdb.STATE]), "state"),
        _number(told, Fdb.AGE),
        _number(told, Fdb.MOVES),
    )


@_decoder
def decode_event(told: Attrs) -> Event:
    """A message of one of the multicast groups; what is told of a session has no type.

    :raises NetlinkFormatError: it is not what the specification says.
    """
    counter, session = _number(told, Ev.COUNTER), _number(told, Ev.SESSION)
    return Event(
        SESSION if session is not None else _of(EVENTS, number(told[Ev.TYPE]), "event"),
        _name(told),
        _key(told, Ev.PUBLIC_KEY),
        _key(told, Ev.OLD_PUBLIC_KEY),
        mac_text(told[Ev.MAC]) if Ev.MAC in told else None,
        _number(told, Ev.VLAN),
        None if counter is None else _of(("", *COUNTERS), counter, "counter"),
        None if session is None else _of(SESSIONS, session, "session"),
    )

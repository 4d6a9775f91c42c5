# SPDX-License-Identifier: GPL-2.0
"""What the mesh stores: records of hosts, their requests, lists of all hosts, signs of life.

Each has one spelling, its canonical bytes: JSON in ASCII, keys sorted, no white space, lists in
order. `parse_*` takes bytes whose signature has been verified (`signing.unseal`) and no other
spelling; it says why it refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, TypeVar

from ..conf import meshvalues, values
from ..conf.switch_values import MAX_ENTRIES
from ..errors import ValueProblem, without_keys
from ..model import AllowedIP, Endpoint, Key
from .signing import LIST_MAX, RECORD_MAX, Invalid

#: Serials and sequences: 1 to this. Serials only grow; etcd's own numbers are of this size.
SERIAL_MAX = 2**63 - 1
#: A switch takes 64 MACs and 64 addresses of its own (host-macs, host-addresses).
MACS_MAX = 64
ADDRESSES_MAX = 64
VLANS_MAX = 32
ENDPOINTS_MAX = 8
#: Hosts in a list.
HOSTS_MAX = 10_000
PRESENT, REVOKED = "present", "revoked"
Vlans = tuple[tuple[int, int], ...]
#: Frames without a tag, and no others.
UNTAGGED: Vlans = ((0, 0),)
T = TypeVar("T")
_JSON = json.JSONEncoder(ensure_ascii=True, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Request:
    """What a host asks for. It is signed with the host's own key, `host_key` (Ed25519).

    `key` is the WireGuard key; `addresses` are bound to it as AllowedIPs, `macs` as AllowedMACs;
    `max_macs` 0-1048576; `vlans` are ranges of 0-4094, 0 for frames without a tag; no `endpoints`:
    others cannot reach it; `behind` is the hub that it belongs to; `hub`: it wants to be one.
    """

    mesh: str
    name: str
    key: Key
    host_key: Key
    addresses: tuple[AllowedIP, ...] = ()
    macs: tuple[str, ...] = ()
    max_macs: int = 0
    vlans: Vlans = UNTAGGED
    endpoints: tuple[Endpoint, ...] = ()
    hub: bool = False
    behind: str | None = None

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        return _bytes({"type": "request", **_shape(self)})


@dataclass(frozen=True)
class Record(Request):
    """What an admin has signed of a host: its request with a serial, 1 to 2^63-1, and a state.

    `previous` is the key that holds until `key` shakes hands for the first time; None: none does.
    """

    serial: int = 1
    state: str = PRESENT
    previous: Key | None = None

    @property
    def present(self) -> bool:
        """Whether the host belongs to the mesh."""
        return self.state == PRESENT

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        more = {"serial": self.serial, "state": self.state, "previous": _text(self.previous)}
        return _bytes({"type": "node", **_shape(self), **more})

    def revoked(self) -> Record:
        """The next record, which says that the host is gone."""
        return replace(self, serial=self.serial + 1, state=REVOKED, previous=None)


@dataclass(frozen=True)
class Listed:
    """A host in a list: the serial of its newest record, and whether that revokes it."""

    serial: int
    revoked: bool = False


@dataclass(frozen=True)
class MeshList:
    """All hosts of a mesh, by name, at one time; `serial` 1 to 2^63-1."""

    mesh: str
    serial: int
    hosts: Mapping[str, Listed]

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        hosts = {name: [entry.serial, entry.revoked] for name, entry in self.hosts.items()}
        return _bytes({"type": "list", "mesh": self.mesh, "serial": self.serial, "hosts": hosts})


@dataclass(frozen=True)
class Alive:
    """That a host is there, signed with its host key.

    `sequence` only grows, through restarts, too (the time in milliseconds will do). `key` is the
    WireGuard key in use; `serial` that of the host's own record; `list` is the newest list of which
    the host has all records, 0: none; `endpoints` are where it is now, if its record is wrong.
    """

    mesh: str
    name: str
    sequence: int
    key: Key
    serial: int
    list: int = 0
    endpoints: tuple[Endpoint, ...] = ()

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        return _bytes(
            {
                "type": "alive",
                "mesh": self.mesh,
                "name": self.name,
                "sequence": self.sequence,
                "key": str(self.key),
                "serial": self.serial,
                "list": self.list,
                "endpoints": [*map(str, self.endpoints)],
            }
        )


# -- writing ---------------------------------------------------------------------------------------


def _bytes(fields: Mapping[str, object]) -> bytes:
    return _JSON.encode(fields).encode()


def _text(key: Key | None) -> str | None:
    return None if key is None else str(key)


def network_order(network: AllowedIP) -> tuple[int, bytes, int]:
    """The order of networks in a record: IPv4 first, then by address and length."""
    return len(network.address), network.address, network.prefix


def _shape(request: Request) -> dict[str, object]:
    return {
        "mesh": request.mesh,
        "name": request.name,
        "key": str(request.key),
        "host_key": str(request.host_key),
        "addresses": [*map(str, sorted(request.addresses, key=network_order))],
        "macs": sorted(request.macs),
        "max_macs": request.max_macs,
        "vlans": [[*vlan] for vlan in sorted(request.vlans)],
        "endpoints": [*map(str, request.endpoints)],
        "hub": request.hub,
        "behind": request.behind,
    }


# -- reading ---------------------------------------------------------------------------------------


class _Fields:
    """The fields of a JSON object; each is taken once, and none is left over."""

    def __init__(self, record: bytes, kind: str, limit: int) -> None:
        if len(record) > limit:
            raise Invalid(f"is longer than {limit} bytes")
        try:
            found = json.loads(record.decode("ascii"))
        except (ValueError, RecursionError):
            raise Invalid("is not JSON in ASCII") from None
        if not isinstance(found, dict) or found.get("type") != kind:
            raise Invalid(f"is no {'record of a host' if kind == 'node' else kind}")
        self._fields: dict[str, Any] = found
        self._left = {*found} - {"type"}

    def take(self, name: str, kind: type[T]) -> T:
        """A field of one type; JSON's true is no number."""
        if name not in self._left:
            raise Invalid(f"has no {name}")
        self._left.discard(name)
        value = self._fields[name]
        if type(value) is not kind:
            raise Invalid(f"has a {name} of the wrong type")
        return value

    def absent(self, name: str) -> bool:
        """Whether the field is null; then it is taken."""
        if name in self._left and self._fields[name] is None:
            self._left.discard(name)
            return True
        return False

    def number(self, name: str, least: int = 1, most: int = SERIAL_MAX) -> int:
        value = self.take(name, int)
        if not least <= value <= most:
            raise Invalid(f"has a {name} that is not {least}-{most}")
        return value

    def parsed(self, name: str, parse: Callable[[str], T]) -> T:
        return _parsed(name, self.take(name, str), parse)

    def listed(self, name: str, parse: Callable[[str], T], most: int) -> tuple[T, ...]:
        """A list of texts, none twice."""
        texts = self.take(name, list)
        if len(texts) > most:
            raise Invalid(f"has more than {most} {name}")
        if not all(type(text) is str for text in texts):
            raise Invalid(f"has {name} of the wrong type")
        if len({*texts}) < len(texts):
            raise Invalid(f"has one of its {name} twice")
        return tuple(_parsed(name, text, parse) for text in texts)

    def end(self) -> None:
        if self._left:
            name = without_keys(ascii(min(self._left)))[:40]
            raise Invalid(f"has a field that is not known: {name}")


def _parsed(name: str, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueProblem as problem:
        # The text is a stranger's: nothing of it that a terminal would obey, and not all of it.
        raise Invalid(f"{name} {ascii(without_keys(problem.what))[1:-1][:160]}") from None


def _vlans(found: _Fields) -> Vlans:
    pairs = found.take("vlans", list)
    if not 1 <= len(pairs) <= VLANS_MAX:
        raise Invalid(f"has not 1-{VLANS_MAX} ranges of VLANs")
    before = -1
    for pair in pairs:
        if type(pair) is not list or [*map(type, pair)] != [int, int]:
            raise Invalid("has vlans of the wrong type")
        if not before < pair[0] <= pair[1] <= 4094:
            raise Invalid("has vlans that are not 0-4094 in order")
        before = pair[1]
    return tuple((first, last) for first, last in pairs)


def _request_fields(found: _Fields) -> dict[str, Any]:
    return {
        "mesh": found.parsed("mesh", meshvalues.mesh_name),
        "name": found.parsed("name", meshvalues.mesh_name),
        "key": found.parsed("key", values.public_key),
        "host_key": found.parsed("host_key", values.public_key),
        "addresses": found.listed("addresses", meshvalues.claimed_network, ADDRESSES_MAX),
        "macs": found.listed("macs", values.mac_address, MACS_MAX),
        "max_macs": found.number("max_macs", 0, MAX_ENTRIES),
        "vlans": _vlans(found),
        "endpoints": found.listed("endpoints", meshvalues.reachable, ENDPOINTS_MAX),
        "hub": found.take("hub", bool),
        "behind": None if found.absent("behind") else found.parsed("behind", meshvalues.mesh_name),
    }


def check(request: Request) -> None:
    """What the fields of a request or record say together.

    :raises Invalid: they exclude each other.
    """
    if request.key.is_zero or request.host_key.is_zero:
        raise Invalid("has a key of zeros")
    if request.behind is not None and request.hub:
        raise Invalid("is a hub behind a hub")
    if request.behind == request.name:
        raise Invalid("is behind itself")
    if request.hub and not request.endpoints:
        raise Invalid("is a hub without an endpoint")
    _no_overlap(request.addresses)


def _no_overlap(networks: Iterable[AllowedIP]) -> None:
    last: AllowedIP | None = None
    for network in sorted(networks, key=network_order):
        if last is not None and overlap(last, network):
            raise Invalid(f"has addresses that hold each other: {last} and {network}")
        last = network


def span(network: AllowedIP) -> tuple[int, int, int]:
    """Bytes of an address, first and last address of a network, as numbers."""
    size = len(network.address)
    first = int.from_bytes(network.address, "big")
    return size, first, first + (1 << (size * 8 - network.prefix)) - 1


def overlap(one: AllowedIP, other: AllowedIP) -> bool:
    """Whether one network holds the other."""
    (size, first, last), (size2, first2, last2) = span(one), span(other)
    return size == size2 and first <= last2 and first2 <= last


def _same(made: bytes, record: bytes) -> None:
    if made != record:
        raise Invalid("is not in its canonical spelling")


def parse_request(record: bytes) -> Request:
    """A host's request.

    :raises Invalid: it is none, or its values are not valid.
    """
    found = _Fields(record, "request", RECORD_MAX)
    request = Request(**_request_fields(found))
    found.end()
    check(request)
    _same(request.canonical(), record)
    return request


def parse_record(record: bytes) -> Record:
    """A host's record.

    :raises Invalid: it is none, or its values are not valid.
    """
    found = _Fields(record, "node", RECORD_MAX)
    fields = _request_fields(found)
    serial = found.number("serial")
    state = found.take("state", str)
    if state not in (PRESENT, REVOKED):
        raise Invalid("has a state that is neither present nor revoked")
    previous = None if found.absent("previous") else found.parsed("previous", values.public_key)
    found.end()
    made = Record(**fields, serial=serial, state=state, previous=previous)
    check(made)
    if previous is not None and (previous == made.key or previous.is_zero or not made.present):
        raise Invalid("has a previous key that makes no sense")
    _same(made.canonical(), record)
    return made


def parse_list(record: bytes) -> MeshList:
    """A list of all hosts.

    :raises Invalid: it is none, or its values are not valid.
    """
    found = _Fields(record, "list", LIST_MAX)
    mesh = found.parsed("mesh", meshvalues.mesh_name)
    serial = found.number("serial")
    hosts: dict[str, Listed] = {}
    listed = found.take("hosts", dict)
    if len(listed) > HOSTS_MAX:
        raise Invalid(f"has more than {HOSTS_MAX} hosts")
    for name, entry in listed.items():
        name = _parsed("hosts", name, meshvalues.mesh_name)
        if type(entry) is not list or [*map(type, entry)] != [int, bool]:
            raise Invalid("has hosts of the wrong type")
        if not 1 <= entry[0] <= SERIAL_MAX:
            raise Invalid(f"has a serial that is not 1-{SERIAL_MAX}")
        hosts[name] = Listed(*entry)
    found.end()
    made = MeshList(mesh, serial, hosts)
    _same(made.canonical(), record)
    return made


def parse_alive(record: bytes) -> Alive:
    """A sign of life.

    :raises Invalid: it is none, or its values are not valid.
    """
    found = _Fields(record, "alive", RECORD_MAX)
    made = Alive(
        found.parsed("mesh", meshvalues.mesh_name),
        found.parsed("name", meshvalues.mesh_name),
        found.number("sequence"),
        found.parsed("key", values.public_key),
        found.number("serial"),
        found.number("list", 0),
        found.listed("endpoints", meshvalues.reachable, ENDPOINTS_MAX),
    )
    found.end()
    _same(made.canonical(), record)
    return made

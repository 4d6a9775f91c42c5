# SPDX-License-Identifier: GPL-2.0
"""Values of `[Mesh]`, and of the records of a mesh: one parser each, as in `values`."""

from __future__ import annotations

import re

from ..errors import ValueProblem
from ..model import AllowedIP, Endpoint, Key
from . import values
from .hostbits import host_bits

_NAME = re.compile(r"[a-z0-9-]{1,63}")
#: A name of DNS (RFC 1035). Each character has one place: the text may be a stranger's.
_HOST = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_NUMBERS = re.compile(r"[0-9.]+")
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]+))?/?")


def mesh_name(text: str) -> str:
    """A mesh's or a host's name in it: 1-63 of a-z 0-9 -."""
    if not _NAME.fullmatch(text):
        raise ValueProblem(f"is not 1-63 of a-z 0-9 -: '{text[:80]}'")
    return text


def engine(text: str) -> str:
    """The URL of a member of the store: `https://HOST[:PORT]`; the port is 2379 without one."""
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueProblem(
            f"is no URL of a store: '{text}'", "write https://etcd1.example.org:2379"
        )
    host = match[2]
    if host.startswith("[") and not values.is_ip6(host[1:-1]):
        raise ValueProblem(f"'{text}' holds no IPv6 address")
    if not host.startswith("[") and not _HOST.fullmatch(host):
        raise ValueProblem(f"'{text}' has no valid host", "write https://etcd1.example.org:2379")
    port = values.number(match[3] or "2379")
    if port is None or not 1 <= port <= 65535:
        raise ValueProblem(f"'{text}' has a port that is not 1-65535")
    return f"{match[1]}://{host}:{port}"


def reachable(text: str) -> Endpoint:
    """`HOST:PORT` or `[IPV6]:PORT`, where other hosts reach this one.

    A scope (`fe80::1%eth0`) is refused: it is a name of this host's alone.
    """
    found = values.endpoint(text)
    if "%" in found.host:
        raise ValueProblem(f"'{text}' has a scope, which other hosts don't know")
    if ":" not in found.host:
        if not _HOST.fullmatch(found.host):
            raise ValueProblem(f"'{text}' has no valid host", "write HOST:PORT")
        if _NUMBERS.fullmatch(found.host) and not values.is_ip4(found.host):
            raise ValueProblem(f"'{text}' holds no IPv4 address", "write four numbers, 0-255")
    return found


def claimed_network(text: str) -> AllowedIP:
    """A network that a host binds to its key, without host bits.

    What no switch binds is refused: prefixes of length 0, fe80::/10 as a whole, unspecified,
    multicast, broadcast and loopback addresses.
    """
    network = values.allowed_ip(text)
    meant = host_bits(network)
    if meant:
        raise ValueProblem(f"'{text}' has bits set beyond its prefix", f"write {meant}")
    address, prefix, _ = network
    if len(address) == 4:
        free = address[0] >= 224 or address[0] in (0, 127)
    else:
        whole = address[0] == 0xFE and prefix == 10 and address[1] & 0xC0 == 0x80
        free = whole or address[0] == 0xFF or int.from_bytes(address, "big") < 2
    if free or not prefix:
        raise ValueProblem(f"cannot be bound to a key: '{text}'", "write the host's own address")
    return network


def trusted_key(text: str) -> Key:
    """An admin's public Ed25519 key. The text stays out of the error: it may be the private one."""
    try:
        return values.public_key(text)
    except ValueProblem as problem:
        hint = "44 characters, the last one '=', as 'l2wgctl mesh keygen' prints them"
        raise ValueProblem(problem.what, hint) from None


def user(text: str) -> str:
    """A user's name in the store: what can be printed, without a colon."""
    if not text.isprintable() or ":" in text or len(text) > 255:
        raise ValueProblem("is no name of a user", "the password stands in PasswordFile")
    return text

# SPDX-License-Identifier: GPL-2.0
"""Values as people write them: one parser each, shared by the command line and the file.

Every parser raises `ValueProblem`. Its text follows the name of the key or word in the error ("is
not 0-65535: '70000'"). It says what is accepted, then the value, and never holds a secret.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from ..errors import ValueProblem
from ..model import KEY_LEN, KINDS, AllowedIP, Endpoint, Key, SecretKey
from ..sockets import AF_INET, AF_INET6, inet_ntop, inet_pton

#: IFNAMSIZ of include/uapi/linux/if.h is 16 with the terminating zero.
NAME_MAX = 15
PEER_NAME_MAX = 63
_NAME = re.compile(r"[A-Za-z0-9_=+.-]+")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_NOT_A_HOST = re.compile(r"[\s/#]")
#: An interface by name or number; without a colon, which would be the port's.
_ZONE = re.compile(r"[^\s/:%]{1,15}")
_DOMAIN = re.compile(r"~?[^\s/:;,~]+")


def number(text: str, base: int = 10) -> int | None:
    """Digits only (no sign, no underscore, no space); None for anything else."""
    if base == 16:
        return int(text, 16) if re.fullmatch(r"[0-9A-Fa-f]+", text) else None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _decode_key(text: str) -> bytes | None:
    if len(text) != 44 or text[43] != "=":
        return None
    try:
        raw = a2b_base64(text)
    except (Base64Error, ValueError):
        return None
    # a2b_base64 skips characters it does not know; only the exact spelling counts.
    if len(raw) != KEY_LEN or b2a_base64(raw, newline=False) != text.encode("ascii", "replace"):
        return None
    return raw


def public_key(text: str) -> Key:
    """32 bytes in base64. The text stays out of the error: it may be a private key after all."""
    raw = _decode_key(text)
    if raw is None:
        raise ValueProblem(
            "is not 32 bytes in base64",
            "44 characters, the last one '=', as 'l2wgctl pubkey' prints them",
        )
    return Key(raw)


def secret_key(text: str, name: str = "private key") -> SecretKey:
    """32 bytes in base64; the text stays out of the error."""
    raw = _decode_key(text)
    if raw is None:
        make = "genpsk" if name.startswith("preshared") else "genkey"
        raise ValueProblem(
            "is not 32 bytes in base64",
            f"44 characters, the last one '=', as 'l2wgctl {make}' prints them",
        )
    return SecretKey(raw)


def preshared_key(text: str) -> SecretKey:
    """32 bytes in base64; the text stays out of the error."""
    return secret_key(text, "preshared key")


def port(text: str) -> int:
    """UDP port 0-65535; 0 lets the kernel choose."""
    value = number(text)
    if value is None or value > 65535:
        raise ValueProblem(f"is not 0-65535: '{text}'", "0 lets the kernel choose")
    return value


def fwmark(text: str) -> int:
    """0-0xffffffff in decimal or with 0x in hexadecimal; 'off' is 0."""
    if text.lower() == "off":
        return 0
    value = number(text[2:], 16) if text[:2] == "0x" else number(text)
    if value is None or value > 0xFFFFFFFF:
        raise ValueProblem(f"is neither off nor 0-0xffffffff: '{text}'")
    return value


def keepalive(text: str) -> int:
    """Seconds 1-65535; 'off' and 0 are 0."""
    if text.lower() == "off":
        return 0
    value = number(text)
    if value is None or value > 65535:
        raise ValueProblem(
            f"is neither off nor 0-65535 seconds: '{text}'",
            "25 suits most firewalls",
        )
    return value


def endpoint(text: str) -> Endpoint:
    """`HOST:PORT` or `[IPV6]:PORT`; the port is 1-65535."""
    if "," in text or len(text.split()) > 1:
        raise ValueProblem(f"'{text}' is more than one endpoint", "write one HOST:PORT for a peer")
    if "://" in text:
        rest = text.partition("://")[2].partition("/")[0]
        raise ValueProblem(f"'{text}' is a URL", _if_endpoint(rest) or "write HOST:PORT")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueProblem(f"'{text}' lacks the closing bracket", "write [ADDRESS]:PORT")
        if not rest.startswith(":") or rest == ":":
            raise ValueProblem(f"'{text}' has no port", f"write [{host}]:51820")
        digits = rest[1:]
        _check_ip6(host, text)
    else:
        host, colon, digits = text.rpartition(":")
        if ":" in host:
            raise _two_colons(text)
        if not colon or not digits:
            name = (host or digits).strip()
            raise ValueProblem(f"'{text}' has no port", f"write {name or 'HOST'}:51820")
    if not _may_be_host(host):
        raise ValueProblem(f"'{text}' has no valid host", "write HOST:PORT")
    value = number(digits)
    if value is None or not 1 <= value <= 65535:
        offset = text.rindex(":") + 1
        raise ValueProblem(f"'{text}' has a port that is not 1-65535", None, offset)
    return Endpoint(host, value)


def _may_be_host(text: str) -> bool:
    """Whether getaddrinfo would look at a host: its labels have 1-63 characters (RFC 1035, section
    2.3.4), and none is a surrogate, which a byte that is not UTF-8 becomes."""
    if not text.isprintable() or _NOT_A_HOST.search(text):
        return False
    return ":" in text or all(0 < len(label) < 64 for label in text.removesuffix(".").split("."))


def _check_ip6(host: str, text: str) -> None:
    if ":" in host and not is_ip6(host):
        raise ValueProblem(f"'{text}' holds no IPv6 address")
    zone = host.partition("%")[2]
    index = number(zone)
    if zone.isascii() and zone.isdigit() and (index is None or index > 0xFFFFFFFF):
        raise ValueProblem(f"'{text}' has an interface number above 4294967295")


def _if_endpoint(text: str) -> str | None:
    """The advice to write `text`, if that is an endpoint."""
    try:
        endpoint(text)
    except ValueProblem as problem:
        return problem.hint
    return f"write {text}"


def _two_colons(text: str) -> ValueProblem:
    """What is wrong with an endpoint that has two colons and no brackets."""
    host, _, digits = text.rpartition(":")
    what = f"'{text}' is an IPv6 address without brackets"
    # Eight groups, or '::' and a whole address: the port is missing as well.
    if is_ip6(text) and (not is_ip6(host) or (number(digits) or 0) < 1024):
        return ValueProblem(what, f"write [{text}]:51820")
    if is_ip6(host):
        return ValueProblem(what, f"write [{host}]:{digits}")
    first = ":".join(text.split(":")[:2])
    what = f"'{text}' has two colons and is no IPv6 address"
    return ValueProblem(what, _if_endpoint(first) or "write HOST:PORT")


def is_ip6(text: str) -> bool:
    """Whether the text is an IPv6 address, perhaps with a zone (`fe80::1%eth0`)."""
    address, percent, zone = text.partition("%")
    if percent and not _ZONE.fullmatch(zone):
        return False
    try:
        inet_pton(AF_INET6, address)
    except (OSError, ValueError):
        return False
    return True


def is_ip4(text: str) -> bool:
    """Whether the text is an IPv4 address of four numbers."""
    try:
        inet_pton(AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def split_network(text: str) -> tuple[bytes, int]:
    """Address bytes and prefix length of `ADDRESS[/PREFIX]`; a missing prefix means the host."""
    address, slash, digits = text.partition("/")
    try:
        raw = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        raise ValueProblem(
            f"is not an IPv4 or IPv6 network: '{text}'", "write 10.0.0.0/24 or fd00::/64"
        ) from None
    bits = len(raw) * 8
    if not slash:
        return raw, bits
    prefix = number(digits)
    if prefix is None or prefix > bits:
        raise ValueProblem(
            f"'{text}' has a prefix length that is not 0-{bits}", None, len(address) + 1
        )
    return raw, prefix


def masked(address: bytes, prefix: int) -> bytes:
    """The address with its host bits cleared, as the kernel stores it."""
    host = len(address) * 8 - prefix
    if not host:
        return address
    value = int.from_bytes(address, "big") >> host << host
    return value.to_bytes(len(address), "big")


def allowed_ip(text: str) -> AllowedIP:
    """A network. Host bits are kept: the kernel clears them, and `hostbits` reports them."""
    address, prefix = split_network(text)
    return AllowedIP(address, prefix)


def interface_address(text: str) -> str:
    """An address with a prefix length for the link, e.g. `192.168.157.1/24`, in normal form."""
    raw, prefix = split_network(text)
    # inet6_addr_add() and ipv6_add_addr() of net/ipv6/addrconf.c refuse these.
    if len(raw) == 16 and (raw[0] == 0xFF or int.from_bytes(raw, "big") < 2):
        what = "a multicast" if raw[0] == 0xFF else "the loopback" if raw[-1] else "the unspecified"
        raise ValueProblem(f"is {what} address, which a link cannot have: '{text}'")
    return f"{inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw)}/{prefix}"


def name_server(text: str) -> str:
    """A name server's address, or a search domain."""
    if is_address(text):
        if is_ip6(text):
            return text
        try:
            inet_pton(AF_INET, text)
        except (OSError, ValueError):
            raise ValueProblem(f"is not an address: '{text}'", "write 192.0.2.53") from None
    elif not _DOMAIN.fullmatch(text):
        raise ValueProblem(f"is neither an address nor a search domain: '{text}'")
    return text


def is_address(text: str) -> bool:
    """Whether a name server is meant, and not a search domain."""
    return ":" in text or all(part.isdigit() for part in text.split("."))


def interface_name(text: str) -> str:
    """1-15 characters of A-Z a-z 0-9 _ = + . - (IFNAMSIZ of linux/if.h, safe in shells)."""
    if len(text) > NAME_MAX:
        raise ValueProblem(f"is longer than {NAME_MAX} characters: '{text}'")
    if not _NAME.fullmatch(text) or text in (".", ".."):
        raise ValueProblem(f"is not 1-{NAME_MAX} of A-Z a-z 0-9 _ = + . -: '{text}'")
    return text


def peer_name(text: str) -> str:
    """A peer's name, for people: 1-63 characters that can be printed on one line."""
    if len(text) > PEER_NAME_MAX:
        raise ValueProblem(f"is longer than {PEER_NAME_MAX} characters: '{text}'")
    if not text.isprintable():
        raise ValueProblem("has characters that cannot be printed", "letters, digits, space, - _ .")
    if "#" in text:
        raise ValueProblem("has a '#', which begins a comment", "letters, digits, space, - _ .")
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        raise ValueProblem(f"is in quotes: {text}", "leave out the quotes")
    # It would be shown, and be another peer to `set`.
    if _decode_key(f"{text.rstrip('=')}=") is not None:
        raise ValueProblem("is a key, which has a line of its own", "Name is for people: oslo")
    return text


def mac_address(text: str) -> str:
    """A unicast MAC address `xx:xx:xx:xx:xx:xx`, in lower case, not all zero."""
    address = text.replace("-", ":").lower()
    if not _MAC.fullmatch(address):
        digits = re.sub(r"[-:.]", "", text)
        whole = re.fullmatch(r"[0-9A-Fa-f]{12}", digits)
        meant = ":".join(re.findall("..", digits)) if whole else "02:00:00:00:00:01"
        raise ValueProblem(f"is not six bytes in hexadecimal: '{text}'", f"write {meant}")
    if address[1] in "13579bdf":
        raise ValueProblem(f"is a multicast address: '{text}'", "the first byte must be even")
    if address == "00:00:00:00:00:00":
        raise ValueProblem("is all zero", "02:xx:xx:xx:xx:xx is free for your use")
    return address


def mtu(text: str) -> int:
    """68-65535 bytes (68 is the least that IPv4 allows, RFC 791)."""
    value = number(text)
    if value is None or not 68 <= value <= 65535:
        raise ValueProblem(f"is not 68-65535 bytes: '{text}'")
    return value


def resolve_interval(text: str) -> int:
    """Seconds 10-86400 of silence before a name is resolved again; 'off' and 0 are 0."""
    if text.lower() in ("off", "0"):
        return 0
    value = number(text)
    if value is None or not 10 <= value <= 86400:
        raise ValueProblem(f"is neither off nor 10-86400 seconds: '{text}'", "120 suits most links")
    return value


def vlan_ids(text: str) -> tuple[int, ...]:
    """`128`, or `128.127` for VLAN 127 within VLAN 128; ids are 1-4094 (IEEE 802.1Q 9.6)."""
    ids = tuple(number(part) or 0 for part in text.split("."))
    if not all(1 <= value <= 4094 for value in ids):
        raise ValueProblem(f"is not a VLAN id 1-4094: '{text}'", "write 128, or 128.127 for nested")
    return ids


def vlan_range(text: str) -> tuple[int, int]:
    """VLAN ids 1-4094 of a bridge port: `20`, or `20-29`; first and last."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    low, high = number(first) or 0, number(last) if dash else number(first)
    if 1 <= (high or 0) < low <= 4094:
        raise ValueProblem(f"ends before it begins: '{text}'", f"write {high}-{low}")
    if not 1 <= low <= (high or 0) <= 4094:
        raise ValueProblem(f"is not a VLAN id 1-4094: '{text}'", "write 20, or 20-29 for a range")
    return low, high or low


def pvid(text: str) -> int:
    """The VLAN 1-4094 of untagged frames; 'off' is 0: there are none."""
    if text.lower() == "off":
        return 0
    value = number(text)
    if value is None or not 1 <= value <= 4094:
        raise ValueProblem(f"is neither off nor a VLAN id 1-4094: '{text}'")
    return value


def mss(text: str) -> int | None:
    """A segment size of 64-65495 bytes; yes is 0 (what fits), no is None."""
    value = number(text)
    if value is not None and 64 <= value <= 65495:
        return value
    if value is None and text.lower() in ("yes", "true", "on", "no", "false", "off"):
        return 0 if boolean(text) else None
    raise ValueProblem(f"is neither yes, no nor 64-65495 bytes: '{text}'")


def path(text: str) -> str:
    """A path of a file; a relative one counts from the folder of the configuration."""
    if "\0" in text:
        raise ValueProblem("has a NUL byte in it")
    return text


def kind(text: str) -> str:
    """`l2wireguard`, `l2wgswitch` or `wireguard`."""
    if text.lower() not in KINDS:
        raise ValueProblem(f"is none of {', '.join(KINDS)}: '{text}'")
    return text.lower()


def boolean(text: str) -> bool:
    """yes/no, true/false, on/off."""
    value = text.lower()
    if value in ("yes", "true", "on"):
        return True
    if value in ("no", "false", "off"):
        return False
    raise ValueProblem(f"is neither yes nor no: '{text}'")


def table(text: str) -> str:
    """`off`, `auto`, or a routing table by number (1-4294967295) or name."""
    if text.lower() in ("off", "auto"):
        return text.lower()
    value = number(text) if text.isascii() and text.isdigit() else 1
    if not _NAME.fullmatch(text) or not value or value > 0xFFFFFFFF:
        raise ValueProblem(f"is neither off, auto, 1-4294967295 nor a name: '{text}'")
    return text


def link_local(text: str) -> str:
    """`yes` (from the MAC address), `no`, or an address of fe80::/10 (`fe80::1/64`)."""
    if ":" not in text:
        return "yes" if boolean(text) else "no"
    raw, prefix = split_network(text)
    if len(raw) != 16 or raw[0] != 0xFE or raw[1] & 0xC0 != 0x80:
        raise ValueProblem(
            f"is not an address of fe80::/10: '{text}'", "write yes, no or fe80::1/64"
        )
    return f"{inet_ntop(AF_INET6, raw)}/{64 if '/' not in text else prefix}"

# SPDX-License-Identifier: GPL-2.0
"""Values: what is taken, and the whole text about what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from l2wgctl.conf import hostbits, values
from l2wgctl.errors import ValueProblem
from l2wgctl.model import AllowedIP, Endpoint
from tests.unit.ctl.conftest import PEER_A, PRIVATE

GOOD: list[tuple[Callable[[str], object], str, object]] = [
    (values.port, "0", 0),
    (values.port, "65535", 65535),
    (values.fwmark, "off", 0),
    (values.fwmark, "OFF", 0),
    (values.fwmark, "0xca6c", 51820),
    (values.fwmark, "4294967295", 0xFFFFFFFF),
    (values.keepalive, "off", 0),
    (values.keepalive, "25", 25),
    (values.endpoint, "192.0.2.1:51820", Endpoint("192.0.2.1", 51820)),
    (values.endpoint, "[2001:db8::1]:1", Endpoint("2001:db8::1", 1)),
    (values.endpoint, "[fe80::1%eth0]:1", Endpoint("fe80::1%eth0", 1)),
    (values.endpoint, "vpn.example.org:65535", Endpoint("vpn.example.org", 65535)),
    (values.allowed_ip, "10.0.0.0/8", AllowedIP(bytes([10, 0, 0, 0]), 8)),
    (values.allowed_ip, "10.0.0.1", AllowedIP(bytes([10, 0, 0, 1]), 32)),
    (values.allowed_ip, "::/0", AllowedIP(bytes(16), 0)),
    (values.interface_address, "fd00:0::1/64", "fd00::1/64"),
    (values.interface_address, "10.0.0.1", "10.0.0.1/32"),
    (values.interface_name, "wg1", "wg1"),
    (values.interface_name, "a" * 15, "a" * 15),
    (values.mac_address, "02:CA:FE:F0:0E:04", "02:ca:fe:f0:0e:04"),
    (values.mac_address, "02-ca-fe-f0-0e-04", "02:ca:fe:f0:0e:04"),
    (values.mtu, "1406", 1406),
    (values.vlan_ids, "128", (128,)),
    (values.vlan_ids, "128.127", (128, 127)),
    (values.kind, "L2WireGuard", "l2wireguard"),
    (values.boolean, "Yes", True),
    (values.boolean, "off", False),
    (values.table, "AUTO", "auto"),
    (values.table, "1234", "1234"),
    (values.link_local, "no", "no"),
    (values.link_local, "true", "yes"),
    (values.link_local, "fe80::1", "fe80::1/64"),
]

BAD: list[tuple[Callable[[str], object], str, str, str | None]] = [
    (values.port, "65536", "is not 0-65535: '65536'", "0 lets the kernel choose"),
    (values.port, "-1", "is not 0-65535: '-1'", "0 lets the kernel choose"),
    (values.port, "1_0", "is not 0-65535: '1_0'", "0 lets the kernel choose"),
    (values.port, "٣", "is not 0-65535: '٣'", "0 lets the kernel choose"),
    (values.fwmark, "0x", "is neither off nor 0-0xffffffff: '0x'", None),
    (values.fwmark, "4294967296", "is neither off nor 0-0xffffffff: '4294967296'", None),
    (
        values.keepalive,
        "65536",
        "is neither off nor 0-65535 seconds: '65536'",
        "25 suits most firewalls",
    ),
    (values.endpoint, "a.b", "'a.b' has no port", "write a.b:51820"),
    (values.endpoint, "a.b:", "'a.b:' has no port", "write a.b:51820"),
    (values.endpoint, "[fd00::1]", "'[fd00::1]' has no port", "write [fd00::1]:51820"),
    (values.endpoint, "[fd00::1", "'[fd00::1' lacks the closing bracket", "write [ADDRESS]:PORT"),
    (
        values.endpoint,
        "fd00::1:51820",
        "'fd00::1:51820' is an IPv6 address without brackets",
        "write [fd00::1]:51820",
    ),
    (
        values.endpoint,
        "fd00::1",
        "'fd00::1' is an IPv6 address without brackets",
        "write [fd00::1]:51820",
    ),
    (
        values.endpoint,
        "1:2:3:4:5:6:7:8",
        "'1:2:3:4:5:6:7:8' is an IPv6 address without brackets",
        "write [1:2:3:4:5:6:7:8]:51820",
    ),
    (values.endpoint, "[a:b]:1", "'[a:b]:1' holds no IPv6 address", None),
    (
        values.endpoint,
        "[fe80::1%4294967296]:1",
        "'[fe80::1%4294967296]:1' has an interface number above 4294967295",
        None,
    ),
    (values.endpoint, "a:0", "'a:0' has a port that is not 1-65535", None),
    (values.endpoint, "a:70000", "'a:70000' has a port that is not 1-65535", None),
    (values.endpoint, ":1", "':1' has no valid host", "write HOST:PORT"),
    (
        values.allowed_ip,
        "10.0.0/8",
        "is not an IPv4 or IPv6 network: '10.0.0/8'",
        "write 10.0.0.0/24 or fd00::/64",
    ),
    (values.allowed_ip, "::/129", "'::/129' has a prefix length that is not 0-128", None),
    (values.allowed_ip, "1.2.3.4/", "'1.2.3.4/' has a prefix length that is not 0-32", None),
    (values.interface_name, "a" * 16, f"is longer than 15 characters: '{'a' * 16}'", None),
    (values.interface_name, "a b", "is not 1-15 of A-Z a-z 0-9 _ = + . -: 'a b'", None),
    (values.interface_name, "..", "is not 1-15 of A-Z a-z 0-9 _ = + . -: '..'", None),
    (
        values.mac_address,
        "02:ca",
        "is not six bytes in hexadecimal: '02:ca'",
        "write 02:00:00:00:00:01",
    ),
    (
        values.mac_address,
        "01:00:5e:00:00:01",
        "is a multicast address: '01:00:5e:00:00:01'",
        "the first byte must be even",
    ),
    (
        values.mac_address,
        "00:00:00:00:00:00",
        "is all zero",
        "02:xx:xx:xx:xx:xx is free for your use",
    ),
    (values.mtu, "67", "is not 68-65535 bytes: '67'", None),
    (
        values.vlan_ids,
        "4095",
        "is not a VLAN id 1-4094: '4095'",
        "write 128, or 128.127 for nested",
    ),
    (values.vlan_ids, "0", "is not a VLAN id 1-4094: '0'", "write 128, or 128.127 for nested"),
    (values.kind, "vxlan", "is none of l2wireguard, l2wgswitch, wireguard: 'vxlan'", None),
    (values.boolean, "1", "is neither yes nor no: '1'", None),
    (values.table, "a b", "is neither off, auto, 1-4294967295 nor a name: 'a b'", None),
    (
        values.link_local,
        "fd00::1",
        "is not an address of fe80::/10: 'fd00::1'",
        "write yes, no or fe80::1/64",
    ),
]


@pytest.mark.parametrize(("parse", "text", "value"), GOOD)
def test_taken(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "what", "hint"), BAD)
def test_refused(parse: Callable[[str], object], text: str, what: str, hint: str | None) -> None:
    with pytest.raises(ValueProblem) as caught:
        parse(text)
    assert (caught.value.what, caught.value.hint) == (what, hint)


@pytest.mark.parametrize(
    "text",
    [PRIVATE[:-1], PRIVATE + "=", "!" + PRIVATE[1:], PRIVATE[:42] + "l=", "", "\xe4" * 43 + "="],
)
def test_keys_need_the_exact_spelling(text: str) -> None:
    """`l=`: the last character has bits that no key has, as in key_from_base64() of wg."""
    with pytest.raises(ValueProblem) as public:
        values.public_key(text)
    assert public.value.what == "is not 32 bytes in base64"
    with pytest.raises(ValueProblem) as secret:
        values.secret_key(text)
    assert secret.value.what == "is not 32 bytes in base64"


def test_secrets_do_not_show_themselves() -> None:
    key = values.secret_key(PRIVATE)
    assert key.reveal() == PRIVATE
    shown = f"{key} {key!r} {key!s:>60} {[key]} {(key,)}"
    assert PRIVATE not in shown and "xc8" not in shown
    assert str(values.public_key(PEER_A)) == PEER_A


def test_host_bits() -> None:
    assert hostbits.host_bits(values.allowed_ip("10.1.2.3/8")) == "10.0.0.0/8"
    assert hostbits.host_bits(values.allowed_ip("fd00::1/64")) == "fd00::/64"
    assert hostbits.host_bits(values.allowed_ip("10.0.0.0/8")) is None
    assert hostbits.host_bits(values.allowed_ip("10.1.2.3")) is None
    assert hostbits.host_bits(values.allowed_ip("128.0.0.0/0")) == "0.0.0.0/0"

# SPDX-License-Identifier: GPL-2.0
"""Records and envelopes: one spelling, a reason for each refusal, nothing parsed unverified."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2wgctl.conf import meshvalues
from l2wgctl.errors import ValueProblem
from l2wgctl.mesh import layout, record, signing
from l2wgctl.mesh.record import Record, Request
from l2wgctl.mesh.signing import Invalid
from l2wgctl.model import Key, SecretKey
from tests.unit.ctl.mesh import strategies

ADMIN = SecretKey(b"\x01" * 32)
OTHER = SecretKey(b"\x02" * 32)
KEY = Key(b"\x03" * 32)
HOST_KEY = Key(b"\x04" * 32)
PLAIN = Record("office", "berlin", KEY, HOST_KEY)


def refused(parse: Callable[..., object], *arguments: Any) -> str:
    with pytest.raises(Invalid) as caught:
        parse(*arguments)
    return caught.value.why


def changed(**fields: object) -> bytes:
    """The canonical bytes of a record with other fields."""
    found = {**json.loads(PLAIN.canonical()), **fields}
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


# -- spelling --------------------------------------------------------------------------------------


def test_the_bytes_of_a_record() -> None:
    """What is signed must never change by accident: old records would verify no more."""
    assert PLAIN.canonical() == (
        b'{"addresses":[],"behind":null,"endpoints":[],"host_key":'
        b'"BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=","hub":false,"key":'
        b'"AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=","macs":[],"max_macs":0,"mesh":"office",'
        b'"name":"berlin","previous":null,"serial":1,"state":"present","type":"node",'
        b'"vlans":[[0,0]]}'
    )


@given(strategies.requests)
def test_a_request_comes_back(made: Request) -> None:
    assert record.parse_request(made.canonical()) == made


@given(strategies.records)
def test_a_record_comes_back(made: Record) -> None:
    assert record.parse_record(made.canonical()) == made


@given(strategies.lists)
def test_a_list_comes_back(made: record.MeshList) -> None:
    assert record.parse_list(made.canonical()) == made


@given(strategies.alives)
def test_a_sign_of_life_comes_back(made: record.Alive) -> None:
    assert record.parse_alive(made.canonical()) == made


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "is not JSON in ASCII"),
        (b"[" * 16000, "is not JSON in ASCII"),
        ('{"type":"nöde"}'.encode(), "is not JSON in ASCII"),
        (b"[]", "is no record of a host"),
        (b'{"type":"list"}', "is no record of a host"),
        (b" " * 16385, "is longer than 16384 bytes"),
        (PLAIN.canonical() + b" ", "is not in its canonical spelling"),
        (PLAIN.canonical().replace(b",", b", "), "is not in its canonical spelling"),
        (
            PLAIN.canonical().replace(b'{"add', b'{"serial":9,"add'),
            "is not in its canonical spelling",
        ),
        (changed(macs=["02:00:00:00:00:02", "02:00:00:00:00:01"]), "is not in its canonical spel"),
        (changed(macs=["02:00:00:00:00:0A"]), "is not in its canonical spelling"),
        (changed(mesh="Office"), "mesh is not 1-63 of a-z 0-9 -: 'Office'"),
        (changed(name="a\x1b[31m"), r"name is not 1-63 of a-z 0-9 -: 'a\x1b[31m'"),
        (changed(name="a" * 64), "name is not 1-63 of a-z 0-9 -: '(hidden)'"),
        (changed(key="x"), "key is not 32 bytes in base64"),
        (changed(key=str(Key(bytes(32)))), "has a key of zeros"),
        (changed(serial=0), "has a serial that is not 1-9223372036854775807"),
        (changed(serial=2**63), "has a serial that is not 1-9223372036854775807"),
        (changed(serial=True), "has a serial of the wrong type"),
        (changed(serial=1.0), "has a serial of the wrong type"),
        (changed(state="gone"), "has a state that is neither present nor revoked"),
        (changed(previous=str(KEY)), "has a previous key that makes no sense"),
        (changed(previous=str(HOST_KEY), state="revoked"), "has a previous key that makes no sen"),
        (changed(max_macs=1048577), "has a max_macs that is not 0-1048576"),
        (changed(macs=["01:00:00:00:00:01"]), "macs is a multicast address: '01:00:00:00:00:01'"),
        (changed(macs=["02:00:00:00:00:01"] * 2), "has one of its macs twice"),
        (changed(macs=[f"02:00:00:00:00:{n:02x}" for n in range(65)]), "has more than 64 macs"),
        (changed(macs=[7]), "has macs of the wrong type"),
        (changed(macs=None), "has a macs of the wrong type"),
        (changed(addresses=["10.0.0.1/24"]), "addresses '10.0.0.1/24' has bits set beyond"),
        (changed(addresses=["0.0.0.0/0"]), "addresses cannot be bound to a key: '0.0.0.0/0'"),
        (changed(addresses=["ff02::1/128"]), "addresses cannot be bound to a key: 'ff02::1/128'"),
        (changed(addresses=["fe80::/10"]), "addresses cannot be bound to a key: 'fe80::/10'"),
        (
            changed(addresses=["10.0.0.0/8", "10.1.0.0/16"]),
            "has addresses that hold each other: 10.0.0.0/8 and 10.1.0.0/16",
        ),
        (changed(endpoints=["a:0"]), "endpoints 'a:0' has a port that is not 1-65535"),
        (changed(endpoints=["[fe80::1%eth0]:7"]), "endpoints '[fe80::1%eth0]:7' has a scope"),
        (changed(endpoints=["a;b:7"]), "endpoints 'a;b:7' has no valid host"),
        (changed(vlans=[]), "has not 1-32 ranges of VLANs"),
        (changed(vlans=[[5, 4]]), "has vlans that are not 0-4094 in order"),
        (changed(vlans=[[1, 5], [5, 6]]), "has vlans that are not 0-4094 in order"),
        (changed(vlans=[[1, 4095]]), "has vlans that are not 0-4094 in order"),
        (changed(vlans=[["1", 2]]), "has vlans of the wrong type"),
        (changed(hub=1), "has a hub of the wrong type"),
        (changed(hub=True), "is a hub without an endpoint"),
        (changed(hub=True, endpoints=["a:1"], behind="cairo"), "is a hub behind a hub"),
        (changed(behind="berlin"), "is behind itself"),
        (changed(more=1), "has a field that is not known: 'more'"),
        (b'{"type":"node"}', "has no mesh"),
    ],
)
def test_what_is_no_record(raw: bytes, why: str) -> None:
    found = refused(record.parse_record, raw)
    assert found.startswith(why) and found.isprintable()


@given(st.binary(max_size=60) | st.text().map(str.encode))
def test_noise_is_refused(raw: bytes) -> None:
    for parse in (record.parse_record, record.parse_request, record.parse_list, record.parse_alive):
        refused(parse, raw)
    refused(signing.unseal, raw, [signing.public_key(ADMIN)])
    refused(signing.unseal_own, raw)


def test_one_kind_is_no_other() -> None:
    refused(record.parse_request, PLAIN.canonical())
    refused(record.parse_alive, PLAIN.canonical())
    refused(record.parse_list, PLAIN.canonical())


def test_what_is_no_list() -> None:
    def listed(hosts: object) -> bytes:
        fields = {"hosts": hosts, "mesh": "office", "serial": 1, "type": "list"}
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()

    assert record.parse_list(listed({})).hosts == {}
    for hosts, why in [
        ([], "has a hosts of the wrong type"),
        ({"A": [1, False]}, "hosts is not 1-63 of a-z 0-9 -: 'A'"),
        ({"a": 1}, "has hosts of the wrong type"),
        ({"a": [1, 0]}, "has hosts of the wrong type"),
        ({"a": [0, False]}, "has a serial that is not 1-9223372036854775807"),
        ({f"a{n}": [1, False] for n in range(10001)}, "has more than 10000 hosts"),
    ]:
        assert refused(record.parse_list, listed(hosts)) == why


def test_revoking_is_a_record_with_the_next_serial() -> None:
    gone = PLAIN.revoked()
    assert (gone.serial, gone.present, gone.key) == (2, False, KEY)
    assert record.parse_record(gone.canonical()) == gone


# -- signatures ------------------------------------------------------------------------------------


def test_a_signature_that_others_make() -> None:
    """The same from `openssl pkeyutl -sign -rawin` of a file with the domain and `abc`."""
    assert signing.public_key(ADMIN) == Key(
        bytes.fromhex("8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c")
    )
    assert signing.seal(b"abc", ADMIN) == VECTOR


VECTOR = (
    b'{"record":"YWJj","signature":"8pA4PWnKU8+R1eTuEQhNuochk+9VMtjJ/aJFIomJdeCWxTo1j1htQFKYzFh8'
    b'/Z7V8PcPn5Ld4e1eZYOkmFiGCw=="}'
)


def test_only_trusted_keys() -> None:
    raw = signing.seal(PLAIN.canonical(), ADMIN)
    trusted = [signing.public_key(OTHER), signing.public_key(ADMIN)]
    opened = signing.unseal(raw, trusted)
    assert (opened.record, opened.signer) == (PLAIN.canonical(), trusted[1])
    assert refused(signing.unseal, raw, trusted[:1]) == "is not signed by a trusted key"
    assert refused(signing.unseal, raw, []) == "is not signed by a trusted key"
    assert signing.unseal(raw + b"\n", trusted).record == PLAIN.canonical(), "an editor adds it"


def test_a_key_that_is_no_point_verifies_nothing() -> None:
    raw = signing.seal(b"abc", ADMIN)
    assert refused(signing.unseal, raw, [Key(b"\xff" * 32)]) == "is not signed by a trusted key"


@given(st.data())
def test_every_changed_byte_is_seen(data: st.DataObject) -> None:
    raw = bytearray(signing.seal(PLAIN.canonical(), ADMIN))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    refused(signing.unseal, bytes(raw), [signing.public_key(ADMIN)])


def test_a_request_names_its_signer() -> None:
    raw = signing.seal(b"abc", OTHER, with_key=True)
    assert signing.unseal_own(raw).signer == signing.public_key(OTHER)
    assert refused(signing.unseal_own, signing.seal(b"abc", OTHER)) == "does not name its signer"
    wrong = raw.replace(str(signing.public_key(OTHER)).encode(), str(KEY).encode())
    assert refused(signing.unseal_own, wrong) == "has a wrong signature"
    trusted = [signing.public_key(OTHER)]
    assert refused(signing.unseal, raw, trusted) == "names its own signer, as requests do"


def test_what_is_too_long_is_not_decoded() -> None:
    raw = signing.seal(b"x" * 16385, ADMIN)
    trusted = [signing.public_key(ADMIN)]
    assert refused(signing.unseal, raw, trusted) == "is longer than 16384 bytes"
    assert refused(signing.unseal, b"x" * 10**6, trusted) == "is longer than 16384 bytes"
    assert signing.unseal(raw, trusted, 20000).record == b"x" * 16385


def test_nothing_shows_a_private_key() -> None:
    made = signing.generate()
    assert len(made) == 32 and made.reveal() not in f"{made}{made!r}"
    assert signing.generate() != made


# -- the store's keys ------------------------------------------------------------------------------


def test_the_keys_of_the_store() -> None:
    for key, place in [
        (layout.request("office", "a"), ("office", "requests", "a")),
        (layout.node("office", "a"), ("office", "nodes", "a")),
        (layout.alive("office", "a"), ("office", "alive", "a")),
        (layout.mesh_list("office", 7), ("office", "lists", f"{7:019d}")),
        (layout.mesh_list("office", record.SERIAL_MAX), ("office", "lists", str(2**63 - 1))),
    ]:
        assert key.startswith(layout.prefix("office", place[1])) and layout.split(key) == place
    assert layout.Place("office", "lists", f"{7:019d}").serial == 7


@pytest.mark.parametrize(
    "key",
    ["", "/l2wg/office/nodes/", "/l2wg/office/nodes/A", "/l2wg/office/lists/7", "/l2wg/a/b/c"]
    + ["/l2wg/office/nodes/a\n", "/l2wg/office/nodes/a/b", "x/l2wg/office/nodes/a"],
)
def test_keys_that_are_not_ours(key: str) -> None:
    assert layout.split(key) is None


@pytest.mark.parametrize(
    "text",
    [
        "a" * 60 + "!:1",  # takes for ever if a character has two places in the pattern
        "a..b:1",  # socket.getaddrinfo raises UnicodeError of this and of the next
        "a" * 64 + ".b:1",
        "-a.b:1",
        "1.2.3:1",  # no address, and no name that anybody may register
        "192.0.2.256:1",
    ],
)
def test_hosts_that_are_none(text: str) -> None:
    with pytest.raises(ValueProblem):
        meshvalues.reachable(text)


@pytest.mark.parametrize("text", ["a:1", "a.b.:1", "_a.b-c.9:1", "192.0.2.1:1", "a" * 63 + ".b:1"])
def test_hosts(text: str) -> None:
    assert str(meshvalues.reachable(text)) == text


def test_an_envelope_has_one_spelling() -> None:
    """Else whoever writes to the store has news for all hosts, as often as he likes."""
    raw = signing.seal(PLAIN.canonical() + b" ", ADMIN)
    record_end, signature_end = raw.index(b'="'), raw.index(b'=="}')
    for at in (record_end - (raw[record_end - 1] == ord("=")) - 1, signature_end - 1):
        other = raw[:at] + bytes([raw[at] + 1]) + raw[at + 1 :]
        assert refused(signing.unseal, other, [signing.public_key(ADMIN)]) == (
            "is not a signed record"
        )

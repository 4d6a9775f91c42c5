# SPDX-License-Identifier: GPL-2.0
"""Frames that lie: cut at every byte, and each byte and word of a header set to the extremes."""

from __future__ import annotations

import pytest

from tests.unit.frame.framekit import IP4, OPAQUE, check, claims, frame, talk
from tests.unit.frame.scapyframes import opaque, with_length
from tests.unit.frame.test_spec import CASES as SPEC
from tests.unit.frame.test_standards import CASES as MORE
from toolkit.frame.library import Frame, Verdict, parse

SAMPLES = {
    **talk(),
    **{f"scapy {name}": data for name, (data, _) in with_length().items()},
    **{f"scapy {name}": data for name, data in opaque().items()},
    **{name: frame(case[0], case[1]) for name, case in {**SPEC, **MORE}.items()},
}


@pytest.mark.parametrize("name", talk())
def test_a_cut_frame_of_the_talk_is_malformed(name: str) -> None:
    data = talk()[name]
    # what lies inside of PBB (Ethernet header, B-TAG, I-TAG) is its customer's to judge
    own = 14 + 4 + 18 if name.startswith("pbb") else len(data)
    for cut in range(len(data)):
        expected = Verdict.MALFORMED if cut < own else Verdict.OPAQUE
        assert check(data[:cut]).verdict is expected, cut


@pytest.mark.parametrize("name", SAMPLES)
def test_a_cut_frame_has_no_length(name: str) -> None:
    data = SAMPLES[name]
    whole = parse(data)
    end = whole.len if whole.verdict is Verdict.LENGTH else len(data)
    for cut in range(end):
        verdict = check(data[:cut]).verdict
        # An opaque sample may hold something whole in front of what makes it opaque.
        assert whole.verdict is Verdict.OPAQUE or verdict is not Verdict.LENGTH, cut


@pytest.mark.parametrize("name", SAMPLES)
def test_extreme_fields(name: str) -> None:
    data = SAMPLES[name]
    for at in range(12, min(len(data), 80)):
        for value in (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"):
            check(data[:at] + value + data[at + 1 :])
        for word in (b"\x00\x00", b"\x00\x01", b"\x01\x00", b"\xff\xff"):
            check((data[:at] + word + data[at + 2 :])[: len(data)])


# Where each protocol has its length: bytes from the payload's start, how many, and what comes of
# 0, 1 and the field's maximum. The payload has 60 bytes.
LENGTH_FIELDS: dict[str, tuple[int, str, int, int, tuple[Frame, Frame, Frame]]] = {
    "ipv4": (0x0800, IP4, 2, 2, (Frame(Verdict.MALFORMED, 0),) * 2 + (claims(65535),)),
    "ipv6": (0x86DD, "60" + "00" * 5 + "3b", 4, 2, (
        Frame(Verdict.LENGTH, 54), Frame(Verdict.LENGTH, 55), claims(65575))),
    "arp hardware": (0x0806, "0001080006040001", 4, 1, (
        Frame(Verdict.LENGTH, 30), Frame(Verdict.LENGTH, 32), claims(8 + 510 + 8))),
    "arp protocol": (0x0806, "0001080006040001", 5, 1, (
        Frame(Verdict.LENGTH, 34), Frame(Verdict.LENGTH, 36), claims(8 + 12 + 510))),
    "ddp": (0x809B, "000d", 0, 2, (Frame(Verdict.MALFORMED, 0),) * 2 + (claims(1023),)),
    "ipx": (0x8137, "ffff001e", 2, 2, (Frame(Verdict.MALFORMED, 0),) * 2 + (claims(65535),)),
    "pppoe": (0x8864, "11000001", 4, 2, (
        Frame(Verdict.LENGTH, 20), Frame(Verdict.LENGTH, 21), claims(65541))),
    "roce": (0x8915, "60", 4, 2, (
        Frame(Verdict.LENGTH, 58), Frame(Verdict.LENGTH, 59), claims(40 + 65535))),
    "lldp": (0x88CC, "0202", 0, 2, (
        Frame(Verdict.LENGTH, 16), OPAQUE, claims(513))),
    "eapol": (0x888E, "0200", 2, 2, (
        Frame(Verdict.LENGTH, 18), Frame(Verdict.LENGTH, 19), claims(65539))),
    "ptp": (0x88F7, "0002", 2, 2, (OPAQUE, OPAQUE, claims(65535))),
    "goose": (0x88B8, "0001000900000000" "61", 2, 2, (OPAQUE, OPAQUE, claims(65535))),
    "sampled values": (0x88BA, "0001000900000000" "60", 2, 2, (OPAQUE, OPAQUE, claims(65535))),
    # The length shares its word with the type: ffff is type 15.
    "ethercat": (0x88A4, "0c10", 0, 2, (OPAQUE, OPAQUE, OPAQUE)),
    "mpls ipv4": (0x8847, "00010140" + IP4, 6, 2, (OPAQUE, OPAQUE, OPAQUE)),
    "cfm": (0x8902, "00030004", 3, 1, (
        Frame(Verdict.LENGTH, 19), Frame(Verdict.LENGTH, 20), OPAQUE)),
    "nsh": (0x894F, "00020201", 1, 1, (OPAQUE, OPAQUE, OPAQUE)),
}  # fmt: skip


@pytest.mark.parametrize("name", LENGTH_FIELDS)
def test_length_field(name: str) -> None:
    ethertype, payload, at, size, answers = LENGTH_FIELDS[name]
    whole = bytes.fromhex(payload).ljust(60, b"\0")
    for value, answer in zip((0, 1, 256**size - 1), answers, strict=True):
        lie = whole[:at] + value.to_bytes(size, "big") + whole[at + size :]
        assert check(frame(ethertype, lie)) == answer, value


@pytest.mark.parametrize("value", [0, 1, 1500])
def test_length_field_of_802_3(value: int) -> None:
    expected = Frame(Verdict.LENGTH, 14 + value) if value <= 60 else claims(value)
    assert check(frame(value, bytes(60))) == expected


@pytest.mark.parametrize("ethertype", [0x8100, 0x88A8, 0x88E7, 0x9100, 0x9200, 0x9300])
def test_200_nested_tags(ethertype: int) -> None:
    tag = (bytes(16) if ethertype == 0x88E7 else bytes(2)) + ethertype.to_bytes(2, "big")
    assert check(frame(ethertype, tag * 200)) == OPAQUE


def test_every_ethertype() -> None:
    # Letters are a sensible version or length in no protocol. Only rows of the specification may
    # make a frame malformed for that.
    answers = {number: parse(frame(number, b"wxyz" * 12)) for number in range(0x600, 0x10000)}
    dropped = {number for number, answer in answers.items() if answer != OPAQUE}
    assert dropped == {0x0800, 0x0806, 0x8035, 0x809B, 0x8137, 0x86DD, 0x88CC}
    assert {answers[number].verdict for number in dropped} == {Verdict.MALFORMED}


@pytest.mark.parametrize("payload", [b"\0" * 46, b"\xff" * 46, bytes(range(46))])
def test_the_rows_of_our_own_claim_nothing_by_accident(payload: bytes) -> None:
    for ethertype in sorted({case[0] for case in MORE.values()}):
        assert parse(frame(ethertype, payload)) == OPAQUE, hex(ethertype)


def test_lldp_is_bounded() -> None:
    # The longest walk there is: 32760 empty TLVs, in one frame of 64 KiB.
    assert check(frame(0x88CC, b"\x02\x00" * 32760)) == OPAQUE

# SPDX-License-Identifier: GPL-2.0
"""The table of EtherTypes is a wire format: what a version of it answers never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import pytest

from tests.unit.frame.framekit import IP4, IP6, OPAQUE, WRONG, frame, talk
from tests.unit.frame.test_spec import CASES as SPEC
from tests.unit.frame.test_standards import CASES as STANDARDS
from toolkit import paths
from toolkit.frame.library import Frame, Verdict, delivered, parse, sent, table
from toolkit.frame.verdicts import captured

#: The corpus and the samples of the tests as they were when version 1 was frozen.
CORPUS = paths.ROOT / "tests/corpus/frame/version-1.pcap"

#: SHA-256 over the frames of frozen() and the answers of that version of the table. A version is
#: never changed: two ends of different releases would no longer understand each other's padding.
#: A new row is a new version (docs/frames.md, "The table is a wire format").
FROZEN = {1: "741e2fc65124340b547773d0725659ecb7bda8c67f05e6bf3fe6c175f3822f2f"}

#: Behind each of the 65,536 EtherTypes: zeros, ones, IP, an 802.3 length, and what the rows with a
#: version or a type of their own ask for, so that whatever row is added answers something.
PAYLOADS = [
    bytes(120),
    b"\x01" * 120,
    b"\x11" * 120,
    bytes.fromhex(IP4) + bytes(92),
    bytes.fromhex(IP6) + bytes(76),
    bytes.fromhex("0001080006040001") + b"\x22" * 112,
    bytes.fromhex("02000028") + b"\x33" * 116,
]


def frozen() -> Iterator[bytes]:
    """Frames that never change: of every EtherType, and the corpus whole, cut and changed."""
    for ethertype in range(1 << 16):
        for payload in PAYLOADS:
            yield frame(ethertype, payload)
    for number, data in enumerate(it.data for it in captured(CORPUS)):
        yield data
        yield data + bytes(1 + number % 40)
        yield data[: number % (len(data) + 1)]
        for at in range(12, min(len(data), 72)):
            for value in (b"\0", b"\1", b"\2", b"\xff"):
                yield data[:at] + value + data[at + 1 :]


def digest(frames: Iterable[bytes], version: int) -> str:
    found = hashlib.sha256()
    for data in frames:
        answer = parse(data, version=version)
        found.update(b"%d %d %d " % (len(data), answer.verdict, answer.len) + data)
    return found.hexdigest()


def test_the_frames_are_those_that_version_1_was_frozen_with() -> None:
    """Frames that are found later go into another file, and are frozen with a later version."""
    assert hashlib.sha256(CORPUS.read_bytes()).hexdigest() == CORPUS_DIGEST


CORPUS_DIGEST = "15458fdeda37e31156342185cced7a40542c094bee738466a607b4fafcd82f65"


@pytest.mark.parametrize("version", FROZEN)
def test_a_version_is_frozen(version: int) -> None:
    assert digest(frozen(), version) == FROZEN[version]


def test_receivers_learn_a_row_before_senders_pad_by_it() -> None:
    assert 0 < table("PADS") <= table("UNPADS") <= max(FROZEN)
    # a receiver's table that nobody has frozen yet would be changed without a word
    assert table("UNPADS") in FROZEN


@pytest.mark.parametrize("name", talk())
def test_a_table_without_the_row_calls_it_opaque(name: str) -> None:
    """What a sender does by a table in which the row is not yet: no padding, and all arrives."""
    data = talk()[name]
    assert parse(data, version=0) == OPAQUE
    assert parse(data[:13], version=0) == WRONG


# A frame, and the most that a NIC fills up, to which zeros behind the end may be its
SHORT = {
    "untagged": (frame(0x0800, IP4), 60),
    "vlan": (frame(0x8100, "00800800" + IP4), 64),
    "priority": (frame(0x88A8, "a0000800" + IP4), 64),
    "qinq": (frame(0x88A8, "000181000080" + "0800" + IP4), 68),
    "arp": (talk()["arp-request"], 60),
}


@pytest.mark.parametrize("name", SHORT)
def test_what_a_nic_has_filled_up_is_cut_and_costs_nothing(name: str) -> None:
    data, most = SHORT[name]
    for length in range(len(data) + 1, most + 1):
        filled = data.ljust(length, b"\0")
        assert sent(filled, 1420) == filled
        assert delivered(filled) == data
    longer = data.ljust(most + 1, b"\0")
    assert delivered(sent(longer, 1420)) == longer


def afdx(payload: int, sequence: int) -> bytes:
    """ARINC 664 part 7: UDP over IPv4, and behind it one byte, the sequence number."""
    total = 28 + payload
    header = bytes.fromhex(f"4500{total:04x}00000000011100000a0000010a000002")
    udp = bytes.fromhex(f"03e803e9{8 + payload:04x}0000")
    return frame(0x0800, header + udp + b"\x55" * payload + bytes([sequence]))


@pytest.mark.parametrize("sequence", [0, 1, 255])
def test_a_sequence_number_of_afdx_arrives(sequence: int) -> None:
    for payload in range(18, 1379):
        data = afdx(payload, sequence)
        plaintext = sent(data, 1420)
        assert delivered(plaintext) == data
        assert len(plaintext) - len(data) <= 15
        if sequence:
            assert plaintext == data


def whole() -> dict[str, bytes]:
    """Every sample that has its whole length and that a longer tail does not make opaque."""
    cases = {**SPEC, **STANDARDS}
    made = {name: frame(case[0], case[1]) for name, case in cases.items()}
    return {
        name: data
        for name, data in {**talk(), **made}.items()
        if parse(data) == Frame(Verdict.LENGTH, len(data))
        and parse(data + bytes(200)).verdict is Verdict.LENGTH
    }


@pytest.mark.parametrize("name", whole())
def test_zeros_of_its_own_arrive_whole(name: str) -> None:
    data = whole()[name]
    for zeros in range(1, 120):
        longer = data + bytes(zeros)
        arrived = delivered(sent(longer, 1420))
        # tags are at most three here, so from 73 bytes on no NIC has filled it up
        assert arrived == longer or (arrived == data and len(longer) <= 72)


@pytest.mark.parametrize("name", whole())
def test_a_sender_before_this_rule_loses_some_zeros_and_nothing_else(name: str) -> None:
    """It sends such a frame as it is, and a classic peer pads it to a multiple of 16."""
    data = whole()[name]
    for zeros in range(1, 120):
        longer = data + bytes(zeros)
        for plaintext in (longer, longer.ljust(-(-len(longer) // 16) * 16, b"\0")):
            arrived = delivered(plaintext)
            assert arrived is not None
            assert arrived[: len(data)] == data and not any(arrived[len(data) :])
            assert len(arrived) <= len(plaintext)

# SPDX-License-Identifier: GPL-2.0
"""Frames, and answers of the length function in the words of the tests."""

from __future__ import annotations

import json
from pathlib import Path

from toolkit.frame.library import Frame, Verdict, parse

ADDRESSES = bytes.fromhex("02cafef00e0502cafef00e04")

OPAQUE = Frame(Verdict.OPAQUE, 0)
WRONG = Frame(Verdict.MALFORMED, 0)

# The most questions that one frame may take: one for the Ethernet header and two for each of the
# 16 nested ones, plus the answer.
ROUNDS = 1 + 2 * 16 + 1

# Name -> EtherType, payload in hexadecimal, expected answer
Cases = dict[str, tuple[int, str, Frame]]


def length(n: int) -> Frame:
    """The payload ends after `n` bytes."""
    return Frame(Verdict.LENGTH, 14 + n)


def claims(n: int) -> Frame:
    """The payload claims `n` bytes, which it does not have."""
    return Frame(Verdict.MALFORMED, 14 + n)


def frame(ethertype: int, payload: bytes | str) -> bytes:
    """An Ethernet frame; `payload` as bytes or in hexadecimal."""
    if isinstance(payload, str):
        payload = bytes.fromhex(payload)
    return ADDRESSES + ethertype.to_bytes(2, "big") + payload


def talk() -> dict[str, bytes]:
    """The frames of the talk by name, each without padding."""
    cases = json.loads((Path(__file__).parent / "frames.json").read_text())
    return {case["name"]: bytes.fromhex(case["frame"]) for case in cases}


def talk_lengths() -> dict[str, int]:
    """The payload length of each frame of the talk, as the talk states it."""
    cases = json.loads((Path(__file__).parent / "frames.json").read_text())
    return {case["name"]: case["payload_length"] for case in cases}


# An IPv4 packet of 28 bytes with a valid header checksum, an IPv6 packet of 44
IP4 = "4500001c123400004011ad48c0a89d01c0a89d02" + "11" * 8
IP6 = "6000000000043b40" + "20" * 32 + "00" * 4


def check(data: bytes) -> Frame:
    """Ask about `data` and assert all that the function promises; return the answer.

    The promises: the length is in range; the answer does not depend on how much is readable, and
    a request for more makes progress; a frame that has its whole length keeps it under 15 bytes
    of zeros, and a longer tail of zeros never gives it another one.
    """
    answer = parse(data)
    if answer.verdict is Verdict.OPAQUE:
        assert answer.len == 0
    elif answer.verdict is Verdict.LENGTH:
        assert 14 <= answer.len <= len(data)
    else:
        assert answer.verdict is Verdict.MALFORMED
        assert answer.len == 0 or answer.len > len(data)

    readable = 0
    for _ in range(ROUNDS):
        step = parse(data, readable)
        if step.verdict is not Verdict.SHORT:
            break
        assert readable < step.len <= len(data)
        readable = step.len
    assert step == answer

    if answer == Frame(Verdict.LENGTH, len(data)):
        for tail in range(1, 16):
            assert parse(data + bytes(tail)) == answer
        for tail in (16, 46, 1000):
            assert parse(data + bytes(tail)) in (answer, OPAQUE)
    return answer

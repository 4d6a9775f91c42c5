# SPDX-License-Identifier: GPL-2.0
"""Frames, and answers of the length function in the words of the tests."""

from __future__ import annotations

import json
from pathlib import Path

from toolkit.frame import Frame, Verdict

ADDRESSES = bytes.fromhex("02cafef00e0502cafef00e04")

OPAQUE = Frame(Verdict.OPAQUE, 0)
WRONG = Frame(Verdict.MALFORMED, 0)

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
IP4 = "4500001c00000000401166cf0a0000010a000002" + "00" * 8
IP6 = "6000000000043b40" + "20" * 32 + "00" * 4

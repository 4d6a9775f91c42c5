# SPDX-License-Identifier: GPL-2.0
"""What holds for every frame: Hypothesis builds stacks of headers that tell the truth or lie."""

from __future__ import annotations

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.unit.frame.framekit import ADDRESSES, IP4, IP6, check
from tests.unit.frame.guard import Guarded
from tests.unit.frame.test_hostile import SAMPLES
from toolkit.frame.library import Frame, Verdict, delivered, parse, sent

MEMORY = Guarded(1 << 16)

TYPES = sorted({int.from_bytes(data[12:14], "big") for data in SAMPLES.values() if len(data) > 13})
ethertypes = st.one_of(st.sampled_from(TYPES), st.integers(0, 0xFFFF), st.integers(0, 80)).map(
    lambda number: number.to_bytes(2, "big")
)

# Frames that have their whole length, except the one that is nested as deep as possible
WHOLE = [
    data
    for name, data in SAMPLES.items()
    if parse(data) == Frame(Verdict.LENGTH, len(data)) and name != "mpls: 16 labels"
]
# What may stand between an EtherType and the next one: the tags of the specification, then tunnels
tags = st.one_of(
    st.tuples(st.sampled_from([0x8100, 0x88A8, 0x9100, 0x9200, 0x9300]), st.just(bytes(2))),
    st.tuples(st.just(0x88E7), st.just(bytes(16))),
)
tunnels = st.one_of(
    st.tuples(st.sampled_from([0x8847, 0x8848]), st.just(bytes.fromhex("00010040"))),
    st.tuples(st.just(0x894F), st.just(bytes.fromhex("0fc2020300000000") + ADDRESSES)),
    st.tuples(st.just(0x4305), st.just(bytes.fromhex("400f4001000000000001") + ADDRESSES)),
    st.tuples(st.just(0x22F3), st.just(bytes.fromhex("003e00010002") + ADDRESSES)),
)


@st.composite
def stacks(draw: st.DrawFn) -> bytes:
    """Addresses, up to 20 tags, and the payload of a sample, possibly changed and cut."""
    data = ADDRESSES
    for number, body in draw(st.lists(tags | tunnels, max_size=draw(st.sampled_from([2, 4, 20])))):
        data += number.to_bytes(2, "big") + body
    if draw(st.booleans()):
        data += draw(st.sampled_from(list(SAMPLES.values())))[12:]
    else:
        data += draw(ethertypes) + draw(
            st.one_of(st.binary(max_size=120), st.sampled_from([IP4, IP6]).map(bytes.fromhex))
        )
    for at, value in draw(
        st.lists(st.tuples(st.integers(12, 80), st.integers(0, 255)), max_size=3)
    ):
        data = data[:at] + bytes([value]) * (at < len(data)) + data[at + 1 :]
    if draw(st.booleans()):
        data = data[: draw(st.integers(0, len(data)))]
    return data + draw(st.one_of(st.just(b""), st.binary(max_size=20), st.just(bytes(18))))


@st.composite
def whole(draw: st.DrawFn) -> bytes:
    """A frame that has its whole length, in up to ten tags."""
    data = ADDRESSES
    for number, body in draw(st.lists(tags, max_size=10)):
        data += number.to_bytes(2, "big") + body
    return data + draw(st.sampled_from(WHOLE))[12:]


frames = st.one_of(
    stacks(),
    st.sampled_from(list(SAMPLES.values())),
    st.binary(max_size=100),
    st.tuples(ethertypes, st.binary(max_size=100)).map(lambda it: ADDRESSES + it[0] + it[1]),
)
#: Up to here zeros behind a frame may be a NIC's: 60 bytes, and 4 for each of 16 tags.
FILLED = 60 + 4 * 16
MPLS = {b"\x88\x47", b"\x88\x48"}
many = settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(frames)
def test_the_promises(data: bytes) -> None:
    event(check(data).verdict.name)


@many
@given(frames, st.data())
def test_no_byte_outside_is_read(data: bytes, pick: st.DataObject) -> None:
    avail = pick.draw(st.integers(0, len(data)))
    assert MEMORY.parse(data, avail) == parse(data, avail)


@many
@given(frames, st.integers(0, 120))
def test_what_is_sent_is_delivered(data: bytes, room: int) -> None:
    answer = parse(data)
    plaintext = sent(data, len(data) + room)
    zeros = answer.verdict is Verdict.LENGTH and not any(data[answer.len :])
    own = zeros and len(data) > answer.len  # they come behind the padding, at any MTU
    assert len(data) <= len(plaintext) <= len(data) + (15 if own else min(15, room))
    assert plaintext[len(data) :].count(0) == len(plaintext) - len(data)
    arrived = delivered(plaintext)
    if answer.verdict is Verdict.MALFORMED:
        assert arrived is None
    elif own and (len(data) <= FILLED or MPLS & {data[at : at + 2] for at in range(len(data))}):
        # docs/frames.md has what cannot be told: a NIC's zeros, and those behind IPv6 in MPLS
        assert arrived is not None
        assert arrived.rstrip(b"\0") == data.rstrip(b"\0")
    else:
        assert arrived == data


@many
@given(whole(), st.integers(0, 15))
def test_a_peer_that_pads_everything_is_understood(data: bytes, padding: int) -> None:
    """To a multiple of 16 at most, as WireGuard does."""
    assert check(data) == Frame(Verdict.LENGTH, len(data))
    assert delivered(data + bytes(min(padding, -len(data) % 16))) == data


@many
@given(whole(), st.binary(max_size=20), st.integers(1, 255))
def test_a_trailer_does_not_vanish(data: bytes, trailer: bytes, last: int) -> None:
    longer = data + trailer + bytes([last])
    assert delivered(sent(longer, len(longer) + 15)) == longer


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=64), st.sampled_from(TYPES))
def test_large_frames(pattern: bytes, ethertype: int) -> None:
    check(ADDRESSES + ethertype.to_bytes(2, "big") + (pattern * 65000)[:65000])

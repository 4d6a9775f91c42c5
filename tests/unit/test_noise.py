# SPDX-License-Identifier: GPL-2.0
"""The user-space WireGuard peer: against itself and against what other implementations said."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.noise import (
    WINDOW,
    Initiator,
    NoiseError,
    Responder,
    Session,
    blake,
    generate,
    kdf,
    mac1,
    public,
    timestamp,
)
from tests.support.noise_udp import UdpPeer

# The keys of the recorded talk: ours, the other implementation's, the preshared one, and the
# ephemeral ones that we used as initiator and as responder
OURS = bytes(range(32))
THEIRS = bytes(range(100, 132))
PRESHARED = bytes(range(200, 232))
EPHEMERAL_I = bytes(range(50, 82))
EPHEMERAL_R = bytes(range(150, 182))
STAMP = timestamp(1_600_000_000_123_456_789)

# wireguard-go 0.0.20220316 over UDP, with these keys
RECORDED = {
    role: {name: bytes.fromhex(message) for name, message in messages.items()}
    for role, messages in json.loads(
        (Path(__file__).parent / "wireguard_go.json").read_text()
    ).items()
}


def initiator(**fields: bytes) -> Initiator:
    return Initiator(OURS, public(THEIRS), PRESHARED, **{"stamp": STAMP, **fields})  # type: ignore[arg-type]


def responder() -> Responder:
    return Responder(THEIRS, {public(OURS): PRESHARED})


def sessions() -> tuple[Session, Session]:
    """Both ends of a handshake: the initiator's and the responder's."""
    first = initiator()
    response, theirs = responder().respond(first.initiation())
    return first.finish(response), theirs


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(NoiseError) as caught:
        action()
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "data", "outputs"),
    [
        # device/kdf_test.go of wireguard-go
        (
            b"test-key",
            b"test-input",
            [
                "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
                "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
                "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24",
            ],
        ),
        (
            b"",
            b"",
            [
                "8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
                "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
                "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e",
            ],
        ),
    ],
)
def test_kdf(key: bytes, data: bytes, outputs: list[str]) -> None:
    for count in (1, 2, 3):
        assert [output.hex() for output in kdf(count, key, data)] == outputs[:count]


def test_hash() -> None:
    # RFC 7693 appendix B
    assert blake(b"a", b"bc").hex() == (
        "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
    )


def test_timestamp() -> None:
    # tai64n_now() of drivers/net/wireguard/noise.c: 1970 is 2^62 + 10
    assert timestamp(0) == bytes.fromhex("400000000000000a00000000")
    assert timestamp(1_500_000_001) == bytes.fromhex("400000000000000b1dcd6501")
    assert timestamp() < timestamp(2**62)


def test_against_the_other_responder() -> None:
    recorded = RECORDED["initiator"]
    first = initiator(ephemeral=EPHEMERAL_I)
    first.index = 0x11223344
    assert first.initiation() == recorded["initiation"]
    session = first.finish(recorded["response"])
    plaintext = session.open(recorded["data"])
    # The answer to an echo request "l2wg" with id 7 and sequence 1: nothing to pad
    assert plaintext[20:].hex() == "00001c5e000700016c327767"
    assert len(plaintext) == 32


def test_against_the_other_initiator() -> None:
    recorded = RECORDED["responder"]
    peer = Responder(OURS, {public(THEIRS): PRESHARED})
    response, session = peer.respond(
        recorded["initiation"], index=0x55667788, ephemeral=EPHEMERAL_R
    )
    assert response == recorded["response"]
    plaintext = session.open(recorded["data"])
    assert plaintext[20:36].hex() == "0800ae6c3d8200010001020304050607"
    # 36 bytes, padded to a multiple of 16
    assert plaintext[36:] == bytes(12)


def test_both_roles() -> None:
    first = initiator()
    initiation = first.initiation()
    assert (len(initiation), initiation[:4], initiation[-16:]) == (148, b"\1\0\0\0", bytes(16))
    response, theirs = responder().respond(initiation)
    assert (len(response), response[:4], response[-16:]) == (92, b"\2\0\0\0", bytes(16))
    ours = first.finish(response)
    assert (ours.send, ours.receive) == (theirs.receive, theirs.send)
    assert ours.send != ours.receive
    assert (ours.local_index, ours.remote_index) == (theirs.remote_index, theirs.local_index)


@pytest.mark.parametrize("plaintext", [b"", b"\0", bytes(13), b"x" * 17, bytes(65000)])
def test_any_plaintext_crosses(plaintext: bytes) -> None:
    ours, theirs = sessions()
    message = ours.seal(plaintext)
    assert len(message) == 32 + len(plaintext)
    assert theirs.open(message) == plaintext
    assert ours.open(theirs.seal(plaintext)) == plaintext


def test_keepalive() -> None:
    ours, theirs = sessions()
    assert len(ours.keepalive()) == 32
    assert theirs.open(ours.keepalive()) == b""


def test_without_preshared_key() -> None:
    first = Initiator(OURS, public(THEIRS))
    response, theirs = Responder(THEIRS, {public(OURS): bytes(32)}).respond(first.initiation())
    assert theirs.open(first.finish(response).seal(b"x")) == b"x"


def test_counters() -> None:
    ours, theirs = sessions()
    assert [ours.seal(b"")[8:16] for _ in range(2)] == [bytes(8), b"\1" + bytes(7)]
    assert ours.seal(b"", counter=2**64 - 1)[8:16] == b"\xff" * 8
    assert ours.next_counter == 2
    assert theirs.open(ours.seal(b"a", counter=WINDOW + 5)) == b"a"
    assert theirs.open(ours.seal(b"b", counter=5)) == b"b"
    late = ours.seal(b"c", counter=4)
    assert refused(lambda: theirs.open(late)) == "transport message 4 is a replay"


def test_replay() -> None:
    ours, theirs = sessions()
    message = ours.seal(b"x")
    theirs.open(message)
    assert refused(lambda: theirs.open(message)) == "transport message 0 is a replay"


def test_forged_message() -> None:
    ours, theirs = sessions()
    message = ours.seal(b"x")
    assert refused(lambda: theirs.open(message[:-1] + bytes([message[-1] ^ 1]))) == (
        "transport message 0 does not decrypt"
    )
    assert refused(lambda: theirs.open(message[:31])) == (
        "a transport message has less than 32 bytes: 31"
    )
    assert refused(lambda: theirs.open(b"\3" + message[1:])) == (
        "a transport message is not of type 4: 03000000"
    )
    other = (theirs.local_index ^ 1).to_bytes(4, "little")
    assert refused(lambda: theirs.open(message[:4] + other + message[8:])) == (
        f"a transport message is for index {theirs.local_index ^ 1:08x}, not this one"
    )
    # None of it did any harm.
    assert theirs.open(message) == b"x"


def test_replayed_and_older_initiation() -> None:
    peer = responder()
    initiation = initiator().initiation()
    peer.respond(initiation)
    says = "an initiation is a replay: its timestamp is not newer"
    assert refused(lambda: peer.respond(initiation)) == says
    assert refused(lambda: peer.respond(initiator(stamp=timestamp(1)).initiation())) == says
    peer.respond(initiator(stamp=timestamp(1_600_000_001_000_000_000)).initiation())


def test_wrong_keys() -> None:
    assert refused(lambda: Responder(THEIRS, {}).respond(initiator().initiation())) == (
        "an initiation is from an unknown peer"
    )
    assert refused(lambda: Responder(OURS, {}).respond(initiator().initiation())) == (
        "an initiation has a wrong mac1 (not for this public key?)"
    )
    first = initiator()
    response, _ = Responder(THEIRS, {public(OURS): bytes(32)}).respond(first.initiation())
    assert refused(lambda: first.finish(response)) == "a response does not decrypt (wrong keys?)"
    # The right one may still come.
    good, _ = responder().respond(first.initiation())
    first.finish(good)


def test_damaged_handshake() -> None:
    initiation = initiator().initiation()
    body = initiation[:8] + bytes([initiation[8] ^ 1]) + initiation[9:-32]
    forged = body + mac1(public(THEIRS), body) + bytes(16)
    assert refused(lambda: responder().respond(forged)) == (
        "an initiation does not decrypt (wrong keys?)"
    )
    low = initiation[:8] + bytes(32) + initiation[40:-32]
    low += mac1(public(THEIRS), low) + bytes(16)
    assert refused(lambda: responder().respond(low)) == "a public key is of low order"
    assert refused(lambda: responder().respond(initiation[:-1])) == (
        "an initiation does not have 148 bytes: 147"
    )
    assert refused(lambda: responder().respond(b"\2" + initiation[1:])) == (
        "an initiation is not of type 1: 02000000"
    )
    first = initiator()
    first.index = 1
    response, _ = responder().respond(first.initiation())
    first.index = 2
    assert (
        refused(lambda: first.finish(response)) == "a response is for index 00000001, not this one"
    )


def test_no_secret_is_shown() -> None:
    ours, theirs = sessions()
    first = initiator(ephemeral=EPHEMERAL_I)
    for thing in (ours, theirs, first, responder()):
        for secret in (OURS, THEIRS, PRESHARED, EPHEMERAL_I, ours.send, ours.receive):
            assert repr(secret)[2:-1] not in repr(thing)
            assert secret.hex() not in repr(thing)


def test_over_udp() -> None:
    secrets = generate(), generate()
    with (
        UdpPeer(secrets[0], public(secrets[1]), PRESHARED) as ours,
        UdpPeer(secrets[1], public(secrets[0]), PRESHARED) as theirs,
    ):
        assert refused(lambda: ours.send(b"x")) == "there is no session yet"
        ours.remote = ("127.0.0.1", theirs.port)
        answering = threading.Thread(target=lambda: theirs.send(theirs.receive()[::-1]))
        answering.start()
        ours.handshake()
        ours.send_raw(b"noise that is no message")
        ours.send(b"\1\2\3")
        assert ours.receive() == b"\3\2\1"
        answering.join()
        # From the other side, on the address that it has learnt
        answering = threading.Thread(target=lambda: ours.send(ours.receive() + b"!"))
        answering.start()
        theirs.handshake()
        theirs.send(b"again")
        assert theirs.receive() == b"again!"
        answering.join()


def test_nobody_answers() -> None:
    with UdpPeer(OURS, public(THEIRS)) as peer:
        assert refused(peer.handshake) == "the remote peer's address is not known yet"
        peer.remote = ("127.0.0.1", peer.port)
        with pytest.raises(TimeoutError, match=r"^nothing valid from the peer in 0\.2 s$"):
            peer.handshake(timeout=0.2)

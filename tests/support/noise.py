# SPDX-License-Identifier: GPL-2.0
"""A WireGuard peer in user space that puts any bytes at all into a valid transport message.

The handshake is Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as in the WireGuard paper, section 5.4, and
in drivers/net/wireguard/noise.c, messages.h and cookie.c of Linux. Left out: cookies and mac2, and
all timers. A peer that wants to be rekeyed makes a new handshake.

Keys are bytes of length 32. They show in no repr and in no error.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1 = b"mac1----"

INITIATION, RESPONSE, COOKIE, DATA = 1, 2, 3, 4
INITIATION_LEN, RESPONSE_LEN, DATA_HEADER_LEN, TAG_LEN = 148, 92, 16, 16

# drivers/net/wireguard/messages.h: COUNTER_WINDOW_SIZE on a 64-bit machine
WINDOW = 8192 - 64

# TAI64N labels count from 2^62, ten seconds ahead of Unix time.
TAI64_BASE = 0x400000000000000A


class NoiseError(Exception):
    """A message that this peer does not accept; str() says why, in one line."""


def public(private: bytes) -> bytes:
    """The public key of `private`.

    :raises ValueError: it has not 32 bytes.
    """
    return (
        X25519PrivateKey.from_private_bytes(private)
        .public_key()
        .public_bytes(Encoding.Raw, PublicFormat.Raw)
    )


def generate() -> bytes:
    """A new private key."""
    return os.urandom(32)


def timestamp(nanoseconds: int | None = None) -> bytes:
    """TAI64N of `nanoseconds` since 1970, or of now: 8 bytes of seconds, 4 of nanoseconds."""
    if nanoseconds is None:
        nanoseconds = time.time_ns()
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return struct.pack(">QI", TAI64_BASE + seconds, rest)


def blake(*parts: bytes) -> bytes:
    """BLAKE2s-256 of the parts."""
    return hashlib.blake2s(b"".join(parts)).digest()


def mac1(remote_public: bytes, message: bytes) -> bytes:
    """The keyed hash that proves that a sender knows whom it talks to: 16 bytes."""
    key = blake(LABEL_MAC1, remote_public)
    return hashlib.blake2s(message, digest_size=16, key=key).digest()


def kdf(count: int, key: bytes, data: bytes) -> list[bytes]:
    """`count` keys of 32 bytes: HKDF (RFC 5869) with HMAC-BLAKE2s."""
    secret = hmac.digest(key, data, hashlib.blake2s)
    outputs: list[bytes] = []
    last = b""
    for number in range(1, count + 1):
        last = hmac.digest(secret, last + bytes([number]), hashlib.blake2s)
        outputs.append(last)
    return outputs


def exchange(private: bytes, remote: bytes) -> bytes:
    """Curve25519.

    :raises NoiseError: the remote key is of low order.
    """
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(remote)
        )
    except ValueError:
        raise NoiseError("a public key is of low order") from None


def nonce(counter: int) -> bytes:
    return struct.pack("<4xQ", counter)


@dataclass(repr=False)
class Transcript:
    """The chaining key and the hash that both ends carry through a handshake."""

    chain: bytes
    hash: bytes
    key: bytes = b""

    @classmethod
    def start(cls, responder_public: bytes) -> Transcript:
        chain = blake(CONSTRUCTION)
        return cls(chain, blake(blake(chain, IDENTIFIER), responder_public))

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake(self.hash, data)

    def mix_public(self, ephemeral: bytes) -> None:
        (self.chain,) = kdf(1, self.chain, ephemeral)
        self.mix_hash(ephemeral)

    def mix_secret(self, secret: bytes) -> None:
        self.chain, self.key = kdf(2, self.chain, secret)

    def mix_preshared(self, preshared: bytes) -> None:
        self.chain, tau, self.key = kdf(3, self.chain, preshared)
        self.mix_hash(tau)

    def seal(self, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self.key).encrypt(nonce(0), plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes, what: str) -> bytes:
        try:
            plaintext = ChaCha20Poly1305(self.key).decrypt(nonce(0), sealed, self.hash)
        except InvalidTag:
            raise NoiseError(f"{what} does not decrypt (wrong keys?)") from None
        self.mix_hash(sealed)
        return plaintext


def check_message(message: bytes, kind: int, size: int, own_public: bytes, name: str) -> None:
    """Check type, length and mac1 of a handshake message.

    :raises NoiseError: one of them is wrong.
    """
    if len(message) != size:
        raise NoiseError(f"{name} does not have {size} bytes: {len(message)}")
    if int.from_bytes(message[:4], "little") != kind:
        raise NoiseError(f"{name} is not of type {kind}: {message[:4].hex()}")
    # macs: mac1 of everything in front of it, then mac2, which only a cookie makes necessary
    if not hmac.compare_digest(mac1(own_public, message[:-32]), message[-32:-16]):
        raise NoiseError(f"{name} has a wrong mac1 (not for this public key?)")


@dataclass(repr=False)
class Session:
    """The keys of one handshake. `send` and `receive` are keys, the counters are of messages."""

    local_index: int
    remote_index: int
    send: bytes
    receive: bytes
    next_counter: int = 0
    highest: int = -1
    seen: set[int] = field(default_factory=set)

    def seal(self, plaintext: bytes, counter: int | None = None) -> bytes:
        """A transport message around exactly `plaintext`: no padding, any length, any content.

        With a `counter` (0..2^64-1) the message has that one and the next counter stays.
        """
        if counter is None:
            counter = self.next_counter
            self.next_counter += 1
        header = struct.pack("<IIQ", DATA, self.remote_index, counter)
        return header + ChaCha20Poly1305(self.send).encrypt(nonce(counter), plaintext, b"")

    def keepalive(self) -> bytes:
        """A transport message without content."""
        return self.seal(b"")

    def open(self, message: bytes) -> bytes:
        """The plaintext of a transport message, padding included; b"" is a keepalive.

        :raises NoiseError: the kernel would drop it: it is another session's, forged or a replay.
        """
        if len(message) < DATA_HEADER_LEN + TAG_LEN:
            raise NoiseError(f"a transport message has less than 32 bytes: {len(message)}")
        kind, index, counter = struct.unpack_from("<IIQ", message)
        if kind != DATA:
            raise NoiseError(f"a transport message is not of type {DATA}: {message[:4].hex()}")
        if index != self.local_index:
            raise NoiseError(f"a transport message is for index {index:08x}, not this one")
        try:
            plaintext = ChaCha20Poly1305(self.receive).decrypt(
                nonce(counter), message[DATA_HEADER_LEN:], b""
            )
        except InvalidTag:
            raise NoiseError(f"transport message {counter} does not decrypt") from None
        if counter in self.seen or counter + WINDOW < self.highest:
            raise NoiseError(f"transport message {counter} is a replay")
        self.seen.add(counter)
        self.highest = max(self.highest, counter)
        return plaintext


class Initiator:
    """One handshake from the side that begins it."""

    def __init__(
        self,
        private: bytes,
        remote_public: bytes,
        preshared: bytes = bytes(32),
        *,
        index: int | None = None,
        ephemeral: bytes | None = None,
        stamp: bytes | None = None,
    ) -> None:
        """`index`, `ephemeral` (a private key) and `stamp` are new ones unless given."""
        self._private = private
        self._preshared = preshared
        self._ephemeral = ephemeral or generate()
        self.remote_public = remote_public
        self.index = int.from_bytes(os.urandom(4), "little") if index is None else index
        self.stamp = stamp or timestamp()
        self._transcript = Transcript.start(remote_public)

    def initiation(self) -> bytes:
        """The first message, 148 bytes.

        :raises NoiseError: the remote key is of low order.
        """
        transcript = Transcript.start(self.remote_public)
        ephemeral = public(self._ephemeral)
        transcript.mix_public(ephemeral)
        transcript.mix_secret(exchange(self._ephemeral, self.remote_public))
        static = transcript.seal(public(self._private))
        transcript.mix_secret(exchange(self._private, self.remote_public))
        stamp = transcript.seal(self.stamp)
        self._transcript = transcript
        message = struct.pack("<II", INITIATION, self.index) + ephemeral + static + stamp
        return message + mac1(self.remote_public, message) + bytes(16)

    def finish(self, response: bytes) -> Session:
        """Take the answer to initiation().

        :raises NoiseError: it is not valid; the call may then be repeated.
        """
        check_message(response, RESPONSE, RESPONSE_LEN, public(self._private), "a response")
        sender, receiver = struct.unpack_from("<II", response, 4)
        if receiver != self.index:
            raise NoiseError(f"a response is for index {receiver:08x}, not this one")
        transcript = Transcript(self._transcript.chain, self._transcript.hash)
        ephemeral = response[12:44]
        transcript.mix_public(ephemeral)
        transcript.mix_secret(exchange(self._ephemeral, ephemeral))
        transcript.mix_secret(exchange(self._private, ephemeral))
        transcript.mix_preshared(self._preshared)
        transcript.open(response[44:60], "a response")
        send, receive = kdf(2, transcript.chain, b"")
        return Session(self.index, sender, send, receive)


class Responder:
    """Answers the initiations of known peers."""

    def __init__(self, private: bytes, peers: Mapping[bytes, bytes]) -> None:
        """`peers`: public key -> preshared key (zeros for none)."""
        self._private = private
        self._peers = dict(peers)
        self._latest: dict[bytes, bytes] = {}

    def respond(
        self, initiation: bytes, *, index: int | None = None, ephemeral: bytes | None = None
    ) -> tuple[bytes, Session]:
        """The response, 92 bytes, and the session that it opens.

        As in the kernel, do not use the session for sending until the initiator has used it.

        :raises NoiseError: the message is not an initiation for this key, the peer is unknown, or
            the timestamp is not newer than the peer's last one.
        """
        own = public(self._private)
        check_message(initiation, INITIATION, INITIATION_LEN, own, "an initiation")
        (sender,) = struct.unpack_from("<I", initiation, 4)
        transcript = Transcript.start(own)
        remote_ephemeral = initiation[8:40]
        transcript.mix_public(remote_ephemeral)
        transcript.mix_secret(exchange(self._private, remote_ephemeral))
        remote = transcript.open(initiation[40:88], "an initiation")
        transcript.mix_secret(exchange(self._private, remote))
        stamp = transcript.open(initiation[88:116], "an initiation")
        if remote not in self._peers:
            raise NoiseError("an initiation is from an unknown peer")
        if stamp <= self._latest.get(remote, b""):
            raise NoiseError("an initiation is a replay: its timestamp is not newer")
        self._latest[remote] = stamp

        ephemeral = ephemeral or generate()
        index = int.from_bytes(os.urandom(4), "little") if index is None else index
        transcript.mix_public(public(ephemeral))
        transcript.mix_secret(exchange(ephemeral, remote_ephemeral))
        transcript.mix_secret(exchange(ephemeral, remote))
        transcript.mix_preshared(self._peers[remote])
        message = struct.pack("<III", RESPONSE, index, sender) + public(ephemeral)
        message += transcript.seal(b"")
        receive, send = kdf(2, transcript.chain, b"")
        session = Session(index, sender, send, receive)
        return message + mac1(remote, message) + bytes(16), session

# SPDX-License-Identifier: GPL-2.0
"""Ed25519 (RFC 8032) and the envelope of what is signed.

An envelope is one line: `{"record":"...","signature":"..."}`, or with the signer's `"key":"..."` in
front. It is matched as a whole and not parsed: a parser sees only what has been verified.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..model import KEY_LEN, Key, SecretKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

#: What is signed is this and the record, so that a signature is good for nothing else.
DOMAIN = b"l2wg-mesh-1\0"
#: Bytes of a record of a host. A list of hosts may have `LIST_MAX`.
RECORD_MAX = 16 * 1024
#: Below the 1.5 MiB that etcd takes in one request (`--max-request-bytes`).
LIST_MAX = 1024 * 1024
FORGED = "is not signed by a trusted key"
_ENVELOPE = re.compile(
    rb'\{(?:"key":"([A-Za-z0-9+/]{43}=)",)?"record":"([A-Za-z0-9+/]+={0,2})",'
    rb'"signature":"([A-Za-z0-9+/]{86}==)"\}\n?'
)


class Invalid(ValueError):
    """Something that is not believed; `why` is one line for people, without secrets."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Sealed(NamedTuple):
    """What was signed, by which key, and the signature."""

    record: bytes
    signer: Key
    signature: bytes


def generate() -> SecretKey:
    """A new private key, from the system's random numbers."""
    import os

    # Any 32 bytes are an Ed25519 private key (RFC 8032 section 5.1.5).
    return SecretKey(os.urandom(KEY_LEN))


def public_key(secret: SecretKey) -> Key:
    """The public key that belongs to a private one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    own = Ed25519PrivateKey.from_private_bytes(bytes(secret)).public_key()
    return Key(own.public_bytes(Encoding.Raw, PublicFormat.Raw))


@lru_cache(maxsize=2048)
def _verifier(public: Key) -> Ed25519PublicKey | None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        return Ed25519PublicKey.from_public_bytes(bytes(public))
    except ValueError:
        return None


def verifies(public: Key, record: bytes, signature: bytes) -> bool:
    """Whether the signature over `DOMAIN` + record is that of this key."""
    from cryptography.exceptions import InvalidSignature

    verifier = _verifier(public)
    if verifier is None:
        return False
    try:
        verifier.verify(signature, DOMAIN + record)
    except InvalidSignature:
        return False
    return True


def _base64(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode()


def seal(record: bytes, secret: SecretKey, with_key: bool = False) -> bytes:
    """The envelope of a record.

    :param with_key: put the public key into it, for a reader who does not know it yet.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signature = Ed25519PrivateKey.from_private_bytes(bytes(secret)).sign(DOMAIN + record)
    key = f'"key":"{public_key(secret)}",' if with_key else ""
    return f'{{{key}"record":"{_base64(record)}","signature":"{_base64(signature)}"}}'.encode()


def fingerprint(record: bytes) -> str:
    """What two people compare: 160 bits of SHA-256 of a request, in 8 groups of 4 characters."""
    from base64 import b32encode
    from hashlib import sha256

    text = b32encode(sha256(DOMAIN + record).digest()[:20]).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, 32, 4))


def _open(raw: bytes, limit: int) -> tuple[Key | None, bytes, bytes]:
    if len(raw) > limit * 4 // 3 + 512:
        raise Invalid(f"is longer than {limit} bytes")
    match = _ENVELOPE.fullmatch(raw)
    if match is None:
        raise Invalid("is not a signed record")
    try:
        record, signature = a2b_base64(match[2]), a2b_base64(match[3])
        key = Key(a2b_base64(match[1])) if match[1] else None
    except (Base64Error, ValueError):
        raise Invalid("is not a signed record") from None
    # One spelling: base64 has bits at its end that mean nothing, and another text would be news.
    if any(
        part is not None and b2a_base64(a2b_base64(part), newline=False) != part
        for part in match.groups()
    ):
        raise Invalid("is not a signed record")
    if len(record) > limit:
        raise Invalid(f"is longer than {limit} bytes")
    return key, record, signature


def unseal(raw: bytes, trusted: Iterable[Key], limit: int = RECORD_MAX) -> Sealed:
    """The record in an envelope, if one of the trusted keys has signed it.

    :param limit: bytes that the record may have.
    :raises Invalid: it is no envelope, too long, or not signed by one of them.
    """
    key, record, signature = _open(raw, limit)
    if key is not None:
        raise Invalid("names its own signer, as requests do")
    for public in trusted:
        if verifies(public, record, signature):
            return Sealed(record, public, signature)
    raise Invalid(FORGED)


def unseal_own(raw: bytes, limit: int = RECORD_MAX) -> Sealed:
    """The record in an envelope that names its signer.

    That says only that the sender has the private key: whoever reads on compares the key.

    :raises Invalid: it is no such envelope, too long, or the signature is wrong.
    """
    key, record, signature = _open(raw, limit)
    if key is None:
        raise Invalid("does not name its signer")
    if not verifies(key, record, signature):
        raise Invalid("has a wrong signature")
    return Sealed(record, key, signature)

# SPDX-License-Identifier: GPL-2.0
"""Keys: make them, derive the public one, read them from files (Curve25519, RFC 7748)."""

from __future__ import annotations

import os

from .conf import values
from .errors import L2wgError, ValueProblem, from_os_error
from .model import ZERO_KEY, Key, SecretKey


def clamped(private: SecretKey) -> SecretKey:
    """The private key as the kernel keeps it: clamped as RFC 7748 section 5 asks.

    The zero key, which means none, stays as it is.
    """
    if private.is_zero:
        return private
    raw = bytearray(private)
    raw[0] &= 248
    raw[31] = (raw[31] & 127) | 64
    return SecretKey(raw)


def generate_private_key() -> SecretKey:
    """A random private key, clamped."""
    return clamped(SecretKey(os.urandom(32)))


def generate_preshared_key() -> SecretKey:
    """32 random bytes."""
    return SecretKey(os.urandom(32))


def public_key(private: SecretKey) -> Key:
    """The public key that belongs to a private key."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    own = X25519PrivateKey.from_private_bytes(bytes(private)).public_key()
    if hasattr(own, "public_bytes_raw"):
        return Key(own.public_bytes_raw())
    # Debian 12 has cryptography 38. What it takes instead takes long to import.
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return Key(own.public_bytes(Encoding.Raw, PublicFormat.Raw))


def read_key_file(path: str, name: str) -> SecretKey:
    """The key in a file, which holds the key in base64 and otherwise only white space.

    An empty file (/dev/null) is the zero key, which removes the key.

    :raises L2wgError: it cannot be read, or holds no key; the text has the path only.
    """
    try:
        with open(path, encoding="latin-1") as stream:
            text = stream.read(4096).strip()
    except OSError as error:
        raise from_os_error(error, path) from None
    if not text:
        return ZERO_KEY
    try:
        return values.secret_key(text, name)
    except ValueProblem as problem:
        raise L2wgError(f"{name} {problem.what}", problem.hint, path) from None

# SPDX-License-Identifier: GPL-2.0
"""Whose signatures count, and what was found forged before."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from ..model import Key
from . import signing
from .signing import FORGED, RECORD_MAX, Invalid

#: Digests of what no key has signed, so that it is verified once and not with each listing.
FORGED_MAX = 16_384


class Seals:
    """Opens envelopes that an admin has signed.

    :param trusted: the admins' keys.
    """

    def __init__(self, trusted: Sequence[Key]) -> None:
        #: The one that has verified last comes first: a mesh has one or two admins.
        self._trusted = tuple(trusted)
        self._forged: set[bytes] = set()

    def open(self, raw: bytes, limit: int = RECORD_MAX) -> signing.Sealed:
        """What is in an envelope.

        :param limit: bytes that it may have.
        :raises Invalid: it is no envelope, too long, or not signed by one of the keys.
        """
        digest = blake2b(raw, digest_size=16).digest()
        if digest in self._forged:
            raise Invalid(FORGED)
        try:
            sealed = signing.unseal(raw, self._trusted, limit)
        except Invalid as invalid:
            if invalid.why == FORGED:
                if len(self._forged) >= FORGED_MAX:
                    self._forged.clear()
                self._forged.add(digest)
            raise
        if sealed.signer != self._trusted[0]:
            others = (key for key in self._trusted if key != sealed.signer)
            self._trusted = (sealed.signer, *others)
        return sealed

# SPDX-License-Identifier: GPL-2.0
"""Who says that it is there: `alive/NAME`, signed by each host with its host key.

Whoever can write to the store can delete these or hold them back; nothing depends on them but
hints and what people see. A sign that was seen once cannot be followed by an older one.
"""

from __future__ import annotations

from ..model import Key
from .record import HOSTS_MAX, Alive, Record, parse_alive
from .signing import Invalid, unseal_own

#: Bytes of a sign that are kept: anybody may write under the name of a host, be there one or not.
SIGN_MAX = 8192


class Presence:
    """The newest signs of life of all hosts."""

    def __init__(self, mesh: str) -> None:
        self._mesh = mesh
        self._raw: dict[str, bytes] = {}
        #: What came of it: the sign, or why it is none. False ones are what anybody may write.
        self._read: dict[str, tuple[bytes, Key, Alive | str]] = {}
        #: By name and host key: who had an older key must not bind who has the new one.
        self._newest: dict[tuple[str, Key], int] = {}
        self.refused: dict[str, str] = {}

    def put(self, name: str, raw: bytes) -> None:
        """There is a sign; it is looked at when somebody asks."""
        if name in self._raw or len(self._raw) < HOSTS_MAX:
            self._raw[name] = raw if len(raw) <= SIGN_MAX else b""

    def gone(self, name: str) -> None:
        """The sign has ended, or was deleted."""
        self._raw.pop(name, None)
        self.refused.pop(name, None)

    def replace(self, signs: dict[str, bytes]) -> None:
        """These are all that there are."""
        for name in self._raw.keys() - signs.keys():
            self.gone(name)
        for name, raw in signs.items():
            self.put(name, raw)

    def names(self) -> set[str]:
        """Of whom there is a sign, be it true or not."""
        return set(self._raw)

    def of(self, record: Record) -> Alive | None:
        """The host's sign if it is its own, and not older than one seen before."""
        raw = self._raw.get(record.name)
        if raw is None:
            return None
        read = self._read.get(record.name)
        if read is None or read[:2] != (raw, record.host_key):
            read = (raw, record.host_key, self._verified(raw, record))
            self._read[record.name] = read
        found = read[2]
        if isinstance(found, str):
            self.refused[record.name] = found
            return None
        self.refused.pop(record.name, None)
        self._newest[record.name, record.host_key] = found.sequence
        return found

    def _verified(self, raw: bytes, record: Record) -> Alive | str:
        try:
            return self._alive(raw, record)
        except Invalid as refused:
            return refused.why

    def _alive(self, raw: bytes, record: Record) -> Alive:
        sealed = unseal_own(raw)
        if sealed.signer != record.host_key:
            raise Invalid("is not signed with the host's key")
        alive = parse_alive(sealed.record)
        if (alive.mesh, alive.name) != (self._mesh, record.name):
            raise Invalid("is that of another host")
        if alive.sequence < self._newest.get((record.name, record.host_key), 0):
            raise Invalid("is older than one seen before")
        return alive

# SPDX-License-Identifier: GPL-2.0
"""Signs of life, and what is no sign."""

from __future__ import annotations

import random

import pytest

from l2wgctl.mesh import presence as presences
from l2wgctl.mesh import signing
from l2wgctl.mesh.pace import Backoff, jittered
from l2wgctl.mesh.presence import Presence
from l2wgctl.mesh.record import HOSTS_MAX, Alive, Record
from l2wgctl.model import Key

HOST, OTHER = signing.generate(), signing.generate()
WG = Key(bytes([9]) * 32)
RECORD = Record("office", "berlin", WG, signing.public_key(HOST))


def sign(sequence: int = 5, name: str = "berlin", mesh: str = "office") -> Alive:
    return Alive(mesh, name, sequence, WG, 1)


def sealed(alive: Alive, secret: object = HOST) -> bytes:
    return signing.seal(alive.canonical(), secret, with_key=True)  # type: ignore[arg-type]


def test_a_true_sign() -> None:
    presence = Presence("office")
    assert presence.of(RECORD) is None
    presence.put("berlin", sealed(sign()))
    assert presence.of(RECORD) == sign()
    presence.gone("berlin")
    assert presence.of(RECORD) is None


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (sealed(sign(), OTHER), "is not signed with the host's key"),
        (sealed(sign(name="paris")), "is that of another host"),
        (sealed(sign(mesh="home")), "is that of another host"),
        (b"junk", "is not a signed record"),
    ],
)
def test_false_ones(raw: bytes, why: str) -> None:
    presence = Presence("office")
    presence.put("berlin", raw)
    assert presence.of(RECORD) is None
    assert presence.refused == {"berlin": why}
    presence.gone("berlin")
    assert presence.refused == {}


def test_a_false_one_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write to the store could keep all hosts at work otherwise."""
    asked = []

    def counting(raw: bytes) -> signing.Sealed:
        asked.append(raw)
        return signing.unseal_own(raw)

    monkeypatch.setattr(presences, "unseal_own", counting)
    presence = Presence("office")
    false = sealed(sign(), OTHER)
    presence.put("berlin", false)
    for _ in range(3):
        assert presence.of(RECORD) is None
        assert presence.refused == {"berlin": "is not signed with the host's key"}
    presence.gone("berlin")
    presence.put("berlin", false)
    assert presence.of(RECORD) is None and "berlin" in presence.refused
    assert asked == [false]
    presence.put("berlin", sealed(sign()))
    assert presence.of(RECORD) == sign() and presence.refused == {}


def test_an_old_one_put_back() -> None:
    presence = Presence("office")
    presence.put("berlin", sealed(sign(6)))
    assert presence.of(RECORD)
    presence.put("berlin", sealed(sign(5)))
    assert presence.of(RECORD) is None
    assert presence.refused == {"berlin": "is older than one seen before"}


def test_replace() -> None:
    presence = Presence("office")
    presence.put("paris", b"x")
    presence.replace({"berlin": sealed(sign())})
    assert presence.names() == {"berlin"}


def test_backoff_doubles_within_its_bounds() -> None:
    least, most = Backoff(1, 30, lambda: 0.0), Backoff(1, 30, lambda: 1.0)
    assert [least.failed() for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    assert [most.failed() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    most.worked()
    assert most.failed() == 1


def test_jitter_is_a_tenth() -> None:
    chance = random.Random(1)
    assert all(18 <= jittered(20, chance.random) <= 22 for _ in range(100))


def test_a_new_host_key_is_not_bound_by_what_the_old_one_has_signed() -> None:
    """A thief of the host key says the last number that there is; the host gets another key."""
    presence = Presence("office")
    presence.put("berlin", sealed(sign(2**63 - 1)))
    assert presence.of(RECORD)
    new = Record("office", "berlin", WG, signing.public_key(OTHER), serial=3)
    assert presence.of(new) is None, "what was true of the old key is not of the new one"
    presence.put("berlin", sealed(sign(7), OTHER))
    assert presence.of(new) == sign(7)


def test_junk_takes_no_room() -> None:
    presence = Presence("office")
    presence.put("berlin", b"x" * 1_000_000)
    assert presence.of(RECORD) is None and presence._raw["berlin"] == b""
    presence.put("berlin", sealed(sign()))
    presence.replace({"berlin": sealed(sign()), **{f"n{n}": b"x" for n in range(HOSTS_MAX + 5)}})
    assert len(presence.names()) == HOSTS_MAX and presence.of(RECORD) == sign()

# SPDX-License-Identifier: GPL-2.0
"""Rule 3: the store's endpoint is a hint, and a peer that has roamed keeps what was learned."""

from __future__ import annotations

from l2wgctl.mesh.endpoints import PATIENCE, Endpoints
from l2wgctl.model import Endpoint, Key

KEY = Key(bytes(range(32)))
A, B, LEARNED = Endpoint("192.0.2.1", 1), Endpoint("192.0.2.2", 2), Endpoint("198.51.100.7", 7)


def test_a_new_peer_gets_the_first_place() -> None:
    assert Endpoints().choose(KEY, (A, B), None, None, 0) == A
    assert Endpoints().choose(KEY, (), None, None, 0) is None


def test_an_earlier_lifes_endpoint_without_session_gives_way() -> None:
    assert Endpoints().choose(KEY, (A, B), LEARNED, "idle", 0) == A


def test_a_live_session_is_left_alone_whatever_the_store_says() -> None:
    ends = Endpoints()
    assert ends.choose(KEY, (A,), LEARNED, "up", 0) is None
    assert ends.choose(KEY, (B,), LEARNED, "up", 1) is None
    # nor does the end of the session make the old hint news
    assert ends.choose(KEY, (B,), LEARNED, "idle", 2) is None


def test_news_are_taken_without_a_session() -> None:
    ends = Endpoints()
    ends.choose(KEY, (A,), None, None, 0)
    assert ends.choose(KEY, (A,), A, "idle", 1) is None
    assert ends.choose(KEY, (B,), A, "idle", 2) == B


def test_trying_goes_on_to_the_next_place_after_its_patience() -> None:
    ends = Endpoints()
    assert ends.choose(KEY, (A, B), None, None, 0) == A
    assert ends.choose(KEY, (A, B), A, "trying", 1) is None
    assert ends.next_look() == 1 + PATIENCE
    assert ends.choose(KEY, (A, B), A, "trying", PATIENCE) is None
    assert ends.choose(KEY, (A, B), A, "trying", 1 + PATIENCE) == B
    assert ends.choose(KEY, (A, B), B, "trying", 2 + PATIENCE) is None
    assert ends.choose(KEY, (A, B), B, "trying", 1 + 2 * PATIENCE) == A


def test_a_learned_place_that_leads_nowhere_gives_way() -> None:
    ends = Endpoints()
    assert ends.choose(KEY, (A, B), LEARNED, "up", 0) is None
    assert ends.choose(KEY, (A, B), LEARNED, "trying", 1) is None
    assert ends.choose(KEY, (A, B), LEARNED, "trying", 1 + PATIENCE) == A


def test_rest_between_two_tries_begins_the_patience_anew() -> None:
    ends = Endpoints()
    ends.choose(KEY, (A, B), None, None, 0)
    ends.choose(KEY, (A, B), A, "trying", 1)
    ends.choose(KEY, (A, B), A, "idle", 2)
    assert ends.next_look() is None
    assert ends.choose(KEY, (A, B), A, "trying", 100) is None
    assert ends.choose(KEY, (A, B), A, "trying", 100 + PATIENCE) == B


def test_the_only_place_is_not_set_again() -> None:
    ends = Endpoints()
    ends.choose(KEY, (A,), None, None, 0)
    ends.choose(KEY, (A,), A, "trying", 1)
    assert ends.choose(KEY, (A,), A, "trying", 1 + PATIENCE) is None
    assert ends.choose(KEY, (A,), A, "trying", 2 + 2 * PATIENCE) is None


def test_forget() -> None:
    ends = Endpoints()
    ends.choose(KEY, (A, B), A, "trying", 1)
    ends.forget(set())
    assert ends.next_look() is None

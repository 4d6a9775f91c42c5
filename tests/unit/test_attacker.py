# SPDX-License-Identifier: GPL-2.0
"""The peer that attacks at full speed: what it sends is what it says, and it waits for answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import attacker
from tests.support.attacker import ANY, Attacker
from tests.support.noise import generate, public
from tests.support.noise_udp import UdpPeer
from toolkit.frame.library import Verdict, parse
from toolkit.paths import ROOT

#: Fewer than a socket has room for.
WINDOW = 128
QUESTION, ANSWER = b"question" * 4, b"answer" * 6
FRAMES = [bytes([0xFF] * 6 + [2] * 6) + bytes.fromhex("88b5") + bytes([n] * 46) for n in (1, 2)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return attacker.build(tmp_path_factory.mktemp("attacker") / "attacker", ROOT)


class Answers:
    """A peer in this program, which keeps what it gets and answers questions.

    :ivar got: what came, but for questions.
    :ivar asked: after how many others each question came.
    :ivar times: how often each of the first questions is answered; others are, once.
    """

    def __init__(self, peer: UdpPeer) -> None:
        self.peer = peer
        self.got: list[bytes] = []
        self.asked: list[int] = []
        self.times: list[int] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                plaintext = self.peer.receive(0.2)
            except TimeoutError:
                continue
            if plaintext != QUESTION:
                self.got.append(plaintext)
                continue
            self.asked.append(len(self.got))
            for _ in range(self.times.pop(0) if self.times else 1):
                self.peer.send(ANSWER)


@pytest.fixture
def victims(program: Path) -> Iterator[tuple[Attacker, Answers]]:
    """An attacker, and whom it attacks."""
    ours, its = generate(), generate()
    with UdpPeer(its, public(ours)) as peer:
        answers = Answers(peer)
        remote = ("127.0.0.1", peer.port)
        thread = threading.Thread(target=answers.run)
        thread.start()
        with UdpPeer(ours, public(its), remote=remote) as attacking:
            yield Attacker(program, attacking, QUESTION, ANSWER, WINDOW), answers
        answers.over.set()
        thread.join()


@pytest.fixture
def victim(victims: tuple[Attacker, Answers]) -> tuple[Attacker, list[bytes]]:
    """An attacker, and what it has sent."""
    return victims[0], victims[1].got


Victim = tuple[Attacker, list[bytes]]


def test_all_arrive(victim: Victim) -> None:
    attacking, got = victim
    found = attacking.attack(FRAMES, 1100)
    assert found == {"sent": 1100, "asked": 9, "sessions": 1, "malformed": 0}
    assert len(got) == 1100
    assert set(got) == set(FRAMES)
    # another time with a session of its own, and in another order
    before = got.copy()
    assert attacking.attack(FRAMES, 1100, seed=2)["sessions"] == 1
    assert got[1100:] != before


@pytest.mark.parametrize(("sources", "holds"), [(3, lambda n: n == 3), (ANY, lambda n: n == 600)])
def test_sources(victim: Victim, sources: int, holds: Callable[[int], bool]) -> None:
    attacking, got = victim
    attacking.attack(FRAMES, 600, sources=sources)
    macs = {x[6:12] for x in got}
    assert holds(len(macs))
    assert {x[0] & 3 for x in macs} == {2}
    assert {x[:6] + x[12:] for x in got} == {x[:6] + x[12:] for x in FRAMES}


def test_changes(victim: Victim) -> None:
    attacking, got = victim
    frame = bytes.fromhex("ffffffffffff 020000000001 0800 4500001c 00000000 40fd0000")
    frame += bytes([192, 0, 2, 1, 192, 0, 2, 2]) + b"payload!"
    found = attacking.attack([frame], 2000, changes=4)
    assert len(got) == 2000
    assert frame not in got[:10]
    assert len(set(got)) > 1900
    assert found["malformed"] == sum(parse(x).verdict is Verdict.MALFORMED for x in got)
    assert 200 < found["malformed"] < 1800


@pytest.mark.parametrize(
    ("times", "repeated"),
    [
        pytest.param([1, 0, 1], [2], id="a question is lost"),
        pytest.param([1, 0, 2, 0, 1], [2, 3], id="an answer is late, and the next one is lost"),
    ],
)
def test_a_question_is_repeated(
    victims: tuple[Attacker, Answers], tmp_path: Path, times: list[int], repeated: list[int]
) -> None:
    """After a while; until then nothing else goes out, and no old answer counts afterwards."""
    attacking, answers = victims
    attacking.program = attacker.build(tmp_path / "hasty", ROOT, "-DPATIENCE=500")
    answers.times = times
    found = attacking.attack(FRAMES, 4 * WINDOW)
    assert len(answers.got) == 4 * WINDOW
    after = Counter(answers.asked)
    assert sorted(after) == [WINDOW * n for n in (1, 2, 3, 4)]
    # at least: a machine that is busy may answer too late by itself
    assert all(after[window * WINDOW] >= 2 for window in repeated)
    assert found["asked"] >= 4 + len(repeated)


def test_a_link_that_is_silent(program: Path) -> None:
    ours, its = generate(), generate()
    with UdpPeer(its, public(ours)) as peer:
        remote = ("127.0.0.1", peer.port)
        with UdpPeer(ours, public(its), remote=remote) as attacking:
            silent = Attacker(program, attacking, QUESTION, ANSWER)
            with pytest.raises(TimeoutError):
                silent.attack(FRAMES, 10, timeout=0.1)

# SPDX-License-Identifier: GPL-2.0
"""./inv test: every part runs, and none that fails is forgotten."""

from __future__ import annotations

import pytest

from toolkit import testing
from toolkit.errors import ToolError
from toolkit.testing import Outcome


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ran; nothing does anything else."""
    ran: list[str] = []

    def part(name: str, *_: object) -> Outcome:
        ran.append(name)
        return Outcome(name, 1, 0, 0, 1.0)

    monkeypatch.setattr(testing, "unit", lambda: part("unit"))
    monkeypatch.setattr(testing, "fuzz", lambda: part("fuzz"))
    monkeypatch.setattr(testing, "vm", lambda number: part(f"guest {number}"))
    monkeypatch.setattr(testing, "netns_selftest", lambda _: part("netns.sh"))
    monkeypatch.setattr(testing, "two_machines", lambda *_: part("two machines"))
    monkeypatch.setattr(testing.labs, "make", lambda kernel: kernel)
    monkeypatch.setattr(testing.kvm, "works", lambda _: False)
    return ran


GUESTS = [*(f"guest {i}" for i in range(len(testing.VM_RUNS))), "netns.sh", "two machines"]


@pytest.mark.parametrize(
    ("units", "guests", "expected"),
    [
        (True, False, ["fuzz", "unit"]),
        (False, True, sorted(GUESTS)),
        (True, True, sorted(["fuzz", "unit", *GUESTS])),
    ],
)
def test_what_runs(parts: list[str], units: bool, guests: bool, expected: list[str]) -> None:
    assert testing.run(units=units, guests=guests)
    assert sorted(parts) == expected


def test_a_part_that_cannot_run_counts_as_failed(
    parts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: str) -> Outcome:
        raise ToolError("netns.sh failed with status 1 at: ping", "its log")

    monkeypatch.setattr(testing, "netns_selftest", broken)
    assert not testing.run(units=True, guests=True)
    assert sorted(parts) == sorted({"fuzz", "unit", *GUESTS} - {"netns.sh"})
    said = capsys.readouterr()
    assert "netns.sh failed with status 1 at: ping (its log)" in said.err + said.out
    assert "netns.sh on 5.10: 0 passed, 1 failed" in said.out


def test_a_kernel_that_does_not_build_lets_the_others_run(
    parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(kernel: str) -> str:
        if kernel == testing.NEWEST:
            raise ToolError("no such kernel")
        return kernel

    monkeypatch.setattr(testing.labs, "make", make)
    testing.run(units=False, guests=True)
    assert sorted(parts) == sorted(GUESTS)


def test_an_interruption_ends_the_guests(parts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(testing.labs, "make", interrupted)
    monkeypatch.setattr(testing.process, "end_all", lambda: ended.append(True))
    with pytest.raises(KeyboardInterrupt):
        testing.run(units=True, guests=True)
    assert ended == [True]

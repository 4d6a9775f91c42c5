# SPDX-License-Identifier: GPL-2.0
"""./inv test: every part runs, and none that fails is forgotten."""

from __future__ import annotations

import signal
import subprocess
import time
from types import SimpleNamespace

import pytest

from toolkit.checks import suite
from toolkit.checks.outcome import Outcome
from toolkit.errors import ToolError


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ran; nothing does anything else."""
    ran: list[str] = []

    def part(name: str, *_: object) -> Outcome:
        ran.append(name)
        return Outcome(name, 1, 0, 0, 1.0)

    monkeypatch.setattr(suite, "unit", lambda: part("unit"))
    monkeypatch.setattr(suite, "fuzz", lambda: part("fuzz"))
    monkeypatch.setattr(suite, "vm", lambda number: part(f"guest {number}"))
    monkeypatch.setattr(suite, "netns_selftest", lambda _: part("netns.sh"))
    monkeypatch.setattr(suite, "two_machines", lambda *_: part("two machines"))
    monkeypatch.setattr(suite.labs, "make", lambda _: SimpleNamespace(kvm_works=lambda: False))
    return ran


GUESTS = [*(f"guest {i}" for i in range(len(suite.VM_RUNS))), "netns.sh", "two machines"]


@pytest.mark.parametrize(
    ("units", "guests", "expected"),
    [
        (True, False, ["fuzz", "unit"]),
        (False, True, sorted(GUESTS)),
        (True, True, sorted(["fuzz", "unit", *GUESTS])),
    ],
)
def test_what_runs(parts: list[str], units: bool, guests: bool, expected: list[str]) -> None:
    assert suite.run(units=units, guests=guests)
    assert sorted(parts) == expected


def test_a_part_that_cannot_run_counts_as_failed(
    parts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: str) -> Outcome:
        raise ToolError("netns.sh failed with status 1 at: ping", "its log")

    monkeypatch.setattr(suite, "netns_selftest", broken)
    assert not suite.run(units=True, guests=True)
    assert sorted(parts) == sorted({"fuzz", "unit", *GUESTS} - {"netns.sh"})
    said = capsys.readouterr()
    assert "netns.sh failed with status 1 at: ping (its log)" in said.err + said.out
    assert "netns.sh on 5.10: 0 passed, 1 failed" in said.out


def test_a_kernel_that_does_not_build_lets_the_others_run(
    parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(kernel: str) -> SimpleNamespace:
        if kernel == suite.NEWEST:
            raise ToolError("no such kernel")
        return SimpleNamespace(kvm_works=lambda: False)

    monkeypatch.setattr(suite.labs, "make", make)
    suite.run(units=False, guests=True)
    assert sorted(parts) == sorted(GUESTS)


def test_an_interruption_ends_the_guests(parts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    guests: list[subprocess.Popen[bytes]] = []

    def unit() -> Outcome:
        guests.append(suite.process.start(["sleep", "60"], subprocess.DEVNULL))
        guests[0].wait()
        raise ToolError("the guest ended early")

    def interrupted(_: str) -> None:
        while not guests:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "unit", unit)
    monkeypatch.setattr(suite.labs, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        suite.run(units=True, guests=True)
    assert guests[0].returncode == -signal.SIGTERM

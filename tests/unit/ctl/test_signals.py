# SPDX-License-Identifier: GPL-2.0
"""up and down when they are told to stop, and told again: nothing is left half-done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l2wgctl.updown import record, steps
from tests.unit.ctl.conftest import Result
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.test_updown import BRIDGE

Run = Callable[..., Result]
Conf = Callable[..., Path]
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Signals as a terminal's program has them; background jobs and nohup ignore some."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ENDING}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("name", ["TERM", "HUP", "INT"])
def test_a_signal_undoes(links: FakeLinks, run: Run, conf: Conf, out: Path, name: str) -> None:
    text = BRIDGE.replace("OUT", str(out)).replace("echo %i up", f"kill -{name} $PPID; sleep 5")
    before = links.state()
    result = run("up", conf(text))
    assert result.status == 130 and links.state() == before
    assert result.err.splitlines()[-3:] == [
        "[#] ip link delete dev br0",
        "[#] ip link delete dev wg1",
        f"[#] echo after >> {out}",
    ]


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("first", ["kill -INT $PPID; sleep 5", "exit 7"])
def test_no_signal_cuts_an_undo_short(
    links: FakeLinks, run: Run, conf: Conf, out: Path, first: str
) -> None:
    """A second Ctrl-C, an ssh session that drops."""
    every = "; ".join(f"kill -{number} $PPID" for number in ENDING)
    text = BRIDGE.replace("OUT", str(out)).replace("echo %i up", first)
    text = text.replace("echo %i down", f"{every}; echo %i down")
    text = text.replace("echo after", f"{every}; echo after")
    before, handlers = links.state(), [signal.getsignal(number) for number in ENDING]
    deleting = links.delete

    def delete(name: str) -> None:
        for number in ENDING:
            signal.raise_signal(number)
        deleting(name)

    links.delete = delete  # type: ignore[method-assign]
    result = run("up", conf(text))
    assert result.status == (1 if "exit" in first else 130) and links.state() == before
    # an interrupted PostUp may have done something
    down = "" if "exit" in first else "wg1 down\n"
    assert out.read_text() == f"before\n{down}after\n"
    assert list(record.folder().glob("*.json")) == []
    assert [signal.getsignal(number) for number in ENDING] == handlers


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", ENDING)
def test_a_signal_has_its_effect_behind_the_step(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch, number: int, out: Path
) -> None:
    """Half an answer in a socket would be in the way of the undo."""
    done = []
    adding = links.add_bridge

    def add(name: str) -> None:
        signal.raise_signal(number)
        adding(name)
        done.append(name)

    monkeypatch.setattr(links, "add_bridge", add)
    before = links.state()
    result = run("up", conf(BRIDGE.replace("OUT", str(out))))
    assert (result.status, done, links.state()) == (130, ["br0"], before)
    assert "[#] ip link delete dev br0" in result.err


@pytest.mark.usefixtures("interruptible")
def test_a_signal_ends_a_wait_for_another_process(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    """It may never end. An undo goes on without the lock."""
    real = record.fcntl.flock

    def flock(handle: int, how: int) -> None:
        if not how & record.fcntl.LOCK_NB and (waits == "up" or "wg1" in links.links):
            signal.raise_signal(signal.SIGTERM)
        real(handle, how)

    monkeypatch.setattr(record.fcntl, "flock", flock)
    before = links.state()
    text = BRIDGE.replace("OUT", str(out))
    for waits in ("up", "undo"):
        if waits == "undo":
            text = text.replace("Bridge = br0\nBridgeCreate = yes\nBridgeAddress", "#")
            text = text.replace("echo %i up", "exit 7; :")
        result = run("up", conf(text))
        assert (result.status, links.state()) == (130 if waits == "up" else 1, before)
        assert "has it (we go on without it)" in result.err


@pytest.mark.usefixtures("interruptible")
def test_down_goes_on_when_it_is_told_to_stop(
    links: FakeLinks, run: Run, conf: Conf, out: Path
) -> None:
    """What runs through the tunnel may be the very session that it is typed in."""
    every = "; ".join(f"kill -{number} $PPID" for number in ENDING)
    before = links.state()
    text = BRIDGE.replace("OUT", str(out))
    path = conf(text.replace("echo %i down", f"{every}; echo %i down"))
    assert run("up", path).status == 0
    assert run("down", path).status == 0
    assert links.state() == before and out.read_text() == "before\nwg1 up\nwg1 down\nafter\n"


def test_what_the_caller_ignores_stays_ignored(
    links: FakeLinks, run: Run, conf: Conf, out: Path
) -> None:
    """nohup l2wgctl up"""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        text = BRIDGE.replace("OUT", str(out)).replace("echo %i up", "kill -HUP $PPID; echo %i up")
        assert run("up", conf(text)).status == 0 and "wg1" in links.links
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_programs_of_an_undo_are_not_the_terminals(
    links: FakeLinks, run: Run, conf: Conf, out: Path
) -> None:
    """Its Ctrl-C and its end are for those of its own session."""
    text = BRIDGE.replace("OUT", str(out)).replace("echo %i up", "exit 7; :")
    text = text.replace("echo after", "cut -d' ' -f6 /proc/$$/stat && echo $$")
    text = text.replace("cut", f"exec >> {out}; cut")
    assert run("up", conf(text)).status == 1
    session, process = out.read_text().split()[1:3]
    assert session == process


def test_one_undo_that_breaks_does_not_keep_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor does it keep its lock."""
    done = []

    def broken() -> Iterator[steps.Step]:
        try:
            yield steps.Step("", lambda: done.append("broken"))
            raise ZeroDivisionError("a fault of ours")
        finally:
            done.append("released")

    def full() -> None:
        raise OSError(28, "No space left on device", "/x")

    def plan() -> Iterator[steps.Step]:
        yield steps.Step("", lambda: None, [steps.Step("", lambda: done.append("first"))])
        yield steps.Step("", lambda: None, broken())
        yield steps.Step("", lambda: None, [steps.Step("", full)])
        raise KeyError("the reason")

    with pytest.raises(KeyError, match="the reason"):
        steps.run_steps(plan(), rest=lambda: [steps.Step("", lambda: done.append("rest"))])
    assert done == ["broken", "released", "first", "rest"]
    assert capsys.readouterr().err == (
        "l2wgctl: undo: /x: No space left on device\n"
        "l2wgctl: undo: ZeroDivisionError: a fault of ours\n"
    )

# SPDX-License-Identifier: GPL-2.0
"""A guest's processes: none outlives what started it, whatever interrupts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.lab import process

#: A program whose child does not end by SIGTERM; it writes the child's process ID to ``$1``.
STUBBORN = ["sh", "-c", '(trap "" TERM; exec sleep 60) & echo $! >"$1"; exec sleep 60', "sh"]


@pytest.fixture
def null() -> Iterator[int]:
    with open(os.devnull, "wb") as file:
        yield file.fileno()


def when_written(file: Path) -> str:
    while not file.exists() or not file.read_text().strip():
        time.sleep(0.01)
    return file.read_text().strip()


def gone(pid: str) -> bool:
    """Ended; whoever is its parent now need not have asked for its status yet."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def soon_gone(pid: str) -> bool:
    deadline = time.monotonic() + 30
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return gone(pid)


def test_what_outlives_its_first_process_is_ended(tmp_path: Path, null: int) -> None:
    guest = process.start([*STUBBORN, tmp_path / "pid"], null)
    child = when_written(tmp_path / "pid")
    process.end(guest)
    assert guest.returncode == -signal.SIGTERM and soon_gone(child)


def test_a_guest_that_ended_by_itself_leaves_nothing(tmp_path: Path, null: int) -> None:
    guest = process.start([*STUBBORN[:2], '(exec sleep 60) & echo $! >"$0"', tmp_path / "p"], null)
    child = when_written(tmp_path / "p")
    guest.wait()
    assert not gone(child)
    process.end(guest)
    assert soon_gone(child)


def test_a_second_interruption_ends_them_all_the_same(
    monkeypatch: pytest.MonkeyPatch, null: int
) -> None:
    guests = [process.start(["sh", "-c", 'trap "" TERM; sleep 60 & wait'], null) for _ in "ab"]

    def interrupted(self: object, timeout: float | None = None) -> int:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        process.end(*guests)
    assert [guest.returncode is not None for guest in guests] == [True, True]


def test_nothing_starts_in_a_pool_that_has_failed(tmp_path: Path, null: int) -> None:
    """A part may be preparing its guest when another one fails."""
    ready, failed = threading.Event(), threading.Event()

    def part() -> None:
        ready.set()
        failed.wait()
        process.start(["sleep", "60"], null).wait()

    with pytest.raises(KeyboardInterrupt), process.pool(1) as pool:
        waiting = pool.submit(part)
        ready.wait()
        # after the pool has ended those that run
        threading.Timer(0.2, failed.set).start()
        raise KeyboardInterrupt
    error = waiting.exception()
    assert isinstance(error, ToolError) and error.what.startswith("not started: ")


def test_a_guest_on_the_terminal_ends_with_its_helpers(tmp_path: Path) -> None:
    """By a SIGTERM, too, which one process gets: vng starts a shell, that virtme-run, that QEMU."""
    pid = tmp_path / "pid"
    vng = f"sh -c 'sleep 60 & echo $! >{pid}; wait'; true"
    code = (
        "import signal; from toolkit.lab import process\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        f"process.on_terminal(['sh', '-c', {vng!r}])"
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, cwd=paths.ROOT, stderr=subprocess.DEVNULL) as inv:
        qemu = when_written(pid)
        inv.terminate()
    assert inv.returncode and soon_gone(qemu)
    assert process.on_terminal(["sh", "-c", "exit 3"]) == 3


def test_an_interrupt_waits_until_the_process_is_known(tmp_path: Path) -> None:
    """It came while the process was started, and nobody could end that."""
    code = (
        "import os, signal, subprocess, time; from toolkit.lab import process\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "started = subprocess.Popen\n"
        "def late(*argv, **how):\n"
        "    made = started(*argv, **how)\n"
        "    while not os.path.exists('pid'):\n"
        "        time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return made\n"
        "subprocess.Popen = late\n"
        "process.on_terminal(['sh', '-c', 'echo $$ >pid; exec sleep 600'])"
    )
    environment = {"PYTHONPATH": str(paths.ROOT), "PATH": os.environ["PATH"]}
    argv = [sys.executable, "-c", code]
    said = tmp_path / "said"
    with said.open("w") as errors:  # no pipe: what is left behind would hold it
        done = subprocess.run(argv, cwd=tmp_path, env=environment, stderr=errors, check=False)
    assert done.returncode and "KeyboardInterrupt" in said.read_text()
    assert soon_gone(when_written(tmp_path / "pid"))


class TestWatching:
    """Every wait has an end, and its error says why in one line."""

    @pytest.fixture(autouse=True)
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "BOOT_LIMIT", 0.2)
        monkeypatch.setattr(process, "END_LIMIT", 0.2)
        monkeypatch.setattr(process, "MOST", 1 << 20)

    def boot(self, script: str, folder: Path, timeout: float = 60) -> None:
        argv = ["sh", "-c", f"cd {folder} && {script}"]
        process.boot(argv, "7.3.4", folder, timeout, None, again="sh again")

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            ("sleep 60", "lab: 7.3.4 has not booted after 0.2 s"),
            (
                "echo qemu-system-x86_64: no memory; sleep 60",
                "lab: 7.3.4 has not booted after 0.2 s: qemu-system-x86_64: no memory",
            ),
            (
                "touch booted; echo '[ 1.0] Oops: 0002'; sleep 60",
                "lab: no end, and not a word for 1 s: [ 1.0] Oops: 0002",
            ),
            (
                "touch booted; head -c 2000000 /dev/zero >output; sleep 60",
                "lab: 7.3.4 has printed over 1 MiB",
            ),
            ("head -c 2000000 /dev/zero; sleep 60", "lab: 7.3.4 has printed over 1 MiB"),
            (
                "touch booted; echo 0 >status; sleep 60",
                "lab: 7.3.4 has not ended 0.2 s after its command",
            ),
        ],
    )
    def test_what_does_not_end(self, script: str, error: str, tmp_path: Path) -> None:
        with pytest.raises(ToolError) as caught:
            self.boot(script, tmp_path, timeout=1)
        assert caught.value.what == error
        assert isinstance(caught.value, process.NotBooted) == ("has not booted" in error)
        assert (caught.value.log, caught.value.again) == (tmp_path, "sh again")

    def test_what_ends(self, tmp_path: Path) -> None:
        for name in process.LEFT:
            (tmp_path / name).write_text("of an earlier guest")
        self.boot("touch booted; echo x >output; echo 3 >status", tmp_path)
        assert process.status(tmp_path) == 3
        self.boot("true", tmp_path)
        assert {name for name in process.LEFT if (tmp_path / name).exists()} == {"console"}
        assert process.status(tmp_path) is None

    def test_a_status_that_is_not_whole_is_none(self, tmp_path: Path) -> None:
        """Of a guest that was killed before its files were written."""
        (tmp_path / "status").touch()
        assert process.status(tmp_path) is None

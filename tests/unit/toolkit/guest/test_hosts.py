# SPDX-License-Identifier: GPL-2.0
"""Commands in the guest: what they printed is shown as text, whatever became of them."""

from __future__ import annotations

import signal
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from toolkit.guest import agent, hosts

SCRIPT = r"printf 'so far \303\244\377\n'; exec sleep 9"
SO_FAR = "so far \u00e4\ufffd\n"


def test_a_command_that_takes_too_long() -> None:
    with pytest.raises(hosts.Failed) as error:
        hosts.sh("sh", "-c", SCRIPT, timeout=0.5)
    assert str(error.value) == f"sh -c {SCRIPT}: no end after 0.5 s\n{SO_FAR}"


def test_a_silent_command_that_takes_too_long() -> None:
    with pytest.raises(hosts.Failed) as error:
        hosts.sh("sleep", "9", timeout=0.2)
    assert str(error.value) == "sleep 9: no end after 0.2 s\n"


def test_a_command_that_fails() -> None:
    with pytest.raises(hosts.Failed, match="^sh -c echo x; exit 3: status 3\nx\n$"):
        hosts.sh("sh", "-c", "echo x; exit 3")


def test_the_other_machines_command_likewise() -> None:
    asked: dict[str, object] = {"argv": ["sh", "-c", SCRIPT], "stdin": None, "timeout": 0.5}
    assert agent._run(asked) == [255, f"no end after 0.5 s\n{SO_FAR}"]
    lost = agent._run({"argv": ["/no/such"], "stdin": None, "timeout": 1})
    assert lost == [255, "[Errno 2] No such file or directory: '/no/such'"]


def test_a_capture_that_is_being_written(tmp_path: Path) -> None:
    """What is in it so far: no packet by halves."""
    file = tmp_path / "x.pcap"
    assert hosts.packets(file) == []
    file.write_bytes(bytes(24))
    assert hosts.packets(file) == []
    record = struct.pack("=IIII", 0, 0, 3, 99)
    file.write_bytes(bytes(24) + record + b"abc" + record + b"de")
    assert hosts.packets(file) == [b"abc"]


def test_a_program_sleeps_or_not() -> None:
    """What is stopped, or has work to do, has not read all."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, text=True) as process:
        hosts.eventually(lambda: hosts.sleeps(process), "it waits for its input", 30)
        process.send_signal(signal.SIGSTOP)
        hosts.eventually(lambda: not hosts.sleeps(process), "it is stopped", 30)
        process.send_signal(signal.SIGCONT)
        hosts.eventually(lambda: hosts.sleeps(process), "it waits again", 30)
    assert hosts.sleeps(process)


def test_a_capture_ends_when_all_is_written(tmp_path: Path) -> None:
    """However long the file has been as it is."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, text=True) as process:
        process.send_signal(signal.SIGSTOP)
        hosts.eventually(lambda: not hosts.sleeps(process), "it is stopped", 30)
        went_on = threading.Event()

        def go_on() -> None:
            went_on.set()
            process.send_signal(signal.SIGCONT)

        threading.Timer(0.5, go_on).start()
        hosts._settle(tmp_path / "x.pcap", process, still=0, limit=60)
        assert went_on.is_set()


def pinging(*received: int) -> tuple[hosts.Host, list[int]]:
    """A host whose pings get so many echoes, and those that are left."""
    left = list(received)

    def shell(*argv: str, check: bool = True, **_: object) -> str:
        number = left.pop(0)
        if check and not number:
            raise hosts.Failed(f"{' '.join(argv)}: status 1")  # as ping(8) has it
        return f"3 packets transmitted, {number} received"

    return hosts.Host("A", sh=shell), left


def test_a_ping_is_tried_again_until_every_echo_comes_back() -> None:
    host, left = pinging(0, 2, 3, 3)
    assert "3 received" in host.ping("192.0.2.1")
    assert left == [3]


def test_a_ping_that_never_comes_back() -> None:
    host, left = pinging(3, 0, 0, 2, 3)
    host.ping("192.0.2.1")
    with pytest.raises(hosts.Failed, match=r"^ping 192\.0\.2\.1 from A:\n.* 2 received$"):
        host.ping("192.0.2.1")
    assert left == [3]

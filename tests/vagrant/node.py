# SPDX-License-Identifier: GPL-2.0
"""A machine of the Vagrantfile, through ssh as `vagrant ssh-config` says."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit.guest.hosts import cut_short


class Failed(Exception):
    """A script failed on a machine; str() has its output."""


def eventually(test: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait until something has become true. Emulated and under load that can take long.

    :raises Failed: it has not within that time.
    """
    deadline = time.monotonic() + seconds
    while not test():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(1)


@dataclass
class Node:
    """One machine.

    :ivar config: what `vagrant ssh-config` printed.
    :ivar undo: scripts that tidy() runs, last first.
    """

    name: str
    config: Path
    undo: list[str] = field(default_factory=list)

    def _ssh(self, *options: str) -> list[str]:
        # one connection for all: a handshake takes a second or two under TCG
        control = f"/tmp/l2wg-ssh-%C-{self.name}"
        share = ("-o", "ControlMaster=auto", "-o", f"ControlPath={control}")
        alive = ("-o", "ControlPersist=600", "-o", "ConnectTimeout=60")
        return ["ssh", "-F", str(self.config), *share, *alive, *options, self.name]

    def run(self, script: str, *, check: bool = True, timeout: float = 300) -> str:
        """Run a shell script as root; its output, both streams.

        :raises Failed: it fails (`set -eu` holds), or takes longer than ``timeout`` seconds.
        """
        try:
            done = subprocess.run(
                [*self._ssh(), "sudo", "sh", "-eus"],
                # the script goes through standard input: no command line has it
                input=script,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{self.name}: {script}: {cut_short(late)}") from None
        if check and done.returncode:
            raise Failed(f"{self.name}: {script}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def ok(self, script: str, *, timeout: float = 300) -> bool:
        """Does the script succeed there?"""
        try:
            self.run(script, timeout=timeout)
        except Failed:
            return False
        return True

    def json(self, command: str) -> Any:
        """What a command prints, as JSON."""
        return json.loads(self.run(command))

    def later(self, script: str) -> None:
        """Have a script run when the test has ended, whatever came of it."""
        self.undo.append(script)

    def tidy(self) -> None:
        """Run what later() was given."""
        while self.undo:
            self.run(self.undo.pop(), check=False)

    def ping(self, address: str, options: str = "", count: int = 3, prefix: str = "") -> str:
        """Ping; every echo must come back.

        For the last one ping waits no longer than an interval or two round trips, whatever -W says.
        """
        out = ""
        for interval in ("0.5", "3", "10"):
            quick = f"-n -c {count} -i {interval} -W 10"
            out = self.run(f"{prefix} ping {quick} {options} {address}", check=False)
            if f" {count} received" in out:
                return out
        raise Failed(f"ping {address} from {self.name}:\n{out}")

    def link(self, name: str) -> dict[str, Any]:
        """`ip -details link show` of one link."""
        found: list[dict[str, Any]] = self.json(f"ip -j -d link show dev {name}")
        return found[0]

    def copy(self, file: Path, target: str) -> None:
        """Put a file there, as root's."""
        name = f"/tmp/{file.name}"
        done = subprocess.run(
            ["scp", "-F", str(self.config), "-q", str(file), f"{self.name}:{name}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{self.name}: scp {file}: {done.stderr}")
        self.run(f"install -m 644 {name} {target} && rm {name}")

    @contextlib.contextmanager
    def capture(self, link: str, expression: str = "") -> Iterator[list[str]]:
        """tcpdump while the block runs; after it the list has a line for each frame."""
        lines: list[str] = []
        pid = f"/run/l2wg-{link}.tcpdump"
        self.run(
            f"tcpdump -n -e -l -i {link} -Q in {expression} >{pid}.txt 2>{pid}.err </dev/null & "
            f"echo $! >{pid}\n"
            f"while ! grep -q 'listening on' {pid}.err; do kill -0 $(cat {pid}); sleep 0.2; done"
        )
        try:
            yield lines
        finally:
            said = self.run(f"sleep 2; kill $(cat {pid}); sleep 0.5; cat {pid}.txt")
            lines += said.splitlines()

    def boot(self) -> str:
        """The kernel's name for the time since it started."""
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def reboot(self) -> None:
        """Start it again, and wait until it runs."""
        before = self.boot()
        # detached, so that ssh does not die with the machine
        self.run("systemd-run --quiet --on-active=1 systemctl reboot")
        self.hang_up()

        def back() -> bool:
            try:
                return self.boot() != before
            except (Failed, OSError):
                self.hang_up()
                return False

        eventually(back, f"{self.name} is back after a reboot", 600)

    def hang_up(self) -> None:
        """End the shared connection."""
        subprocess.run(
            self._ssh("-O", "exit"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )

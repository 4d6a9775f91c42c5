# SPDX-License-Identifier: GPL-2.0
"""A real etcd, of one member or several, as processes on the loopback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from toolkit import paths
from toolkit.errors import ToolError
from toolkit.kernels.archive import Archive, unpack
from toolkit.run import run

#: Debian's releases, by the version of etcd that they have.
RELEASES = {"3.4": "bookworm", "3.5": "trixie"}
#: Options for members that get little of the processors: nobody is elected because of that.
PATIENT = ("--heartbeat-interval=200", "--election-timeout=4000")


def version(program: str | Path = "etcd") -> str:
    """The version that an etcd says of itself, ``3.4.23``."""
    said = run([program, "--version"]).stdout
    found = re.search(r"etcd Version: (\S+)", said)
    return found[1] if found else said.strip()


def program(series: str) -> Path:
    """The etcd of a series: this machine's, or one from the release of Debian that has it.

    That one runs from the cache, without its package: a Go program needs libc and nothing more.

    :raises ToolError: neither is to be had, or Debian has no such series.
    """
    if series not in RELEASES:
        raise ToolError(f"etcd {series}: not one that Debian has", f"write {' or '.join(RELEASES)}")
    installed = shutil.which("etcd")
    if installed and version(installed).startswith(f"{series}."):
        return Path(installed)
    archive = Archive(RELEASES[series])
    for package in archive.find("^etcd-server$"):
        if package.version.startswith(f"{series}."):
            target = paths.cache() / "etcd" / package.version
            return unpack([archive.fetch(package)], target, lambda _: None) / "usr/bin/etcd"
    raise ToolError(f"apt: {archive.codename} does not serve etcd-server {series}")


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server((address, 0)) for _ in range(count)]
    try:
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


class Cluster:
    """The members. Each can be killed, frozen and started again with its data.

    :param folder: for data and logs.
    :param options: more words for etcd.
    :param scheme: `https` with options that name certificates.
    :param program: which etcd.
    """

    def __init__(
        self,
        folder: Path,
        members: int = 1,
        options: Sequence[str] = (),
        scheme: str = "http",
        program: str | Path = "etcd",
    ) -> None:
        self.folder = folder
        ports = free_ports(2 * members)
        self.clients = [f"{scheme}://127.0.0.1:{p}" for p in ports[:members]]
        self._plain = [f"127.0.0.1:{p}" for p in ports[:members]]
        peers = [f"http://127.0.0.1:{p}" for p in ports[members:]]
        cluster = ",".join(f"m{n}={peer}" for n, peer in enumerate(peers))
        self.words = [
            [
                str(program),
                f"--name=m{n}",
                f"--data-dir={folder}/m{n}",
                f"--listen-client-urls={self.clients[n]}",
                f"--advertise-client-urls={self.clients[n]}",
                f"--listen-peer-urls={peers[n]}",
                f"--initial-advertise-peer-urls={peers[n]}",
                f"--initial-cluster={cluster}",
                "--heartbeat-interval=50",
                "--election-timeout=500",
                "--logger=zap",
                *options,
            ]
            for n in range(members)
        ]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *which: int, wait: bool = True) -> None:
        """Start members, all by default, and wait until each says that it is healthy."""
        env = {"PATH": os.environ["PATH"], "ETCD_UNSUPPORTED_ARCH": os.uname().machine}
        for n in which or range(len(self.words)):
            with (self.folder / f"m{n}.log").open("ab") as log:
                self.processes[n] = subprocess.Popen(
                    self.words[n], env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
        for n in which or range(len(self.words)):
            if wait:
                self.wait(n)

    def wait(self, n: int) -> None:
        """Until the member answers and has a leader; it may take as long as it takes."""
        host, port = self._plain[n].split(":")
        health = f"{self.clients[n]}/health"
        while True:
            assert self.processes[n].poll() is None, (self.folder / f"m{n}.log").read_text()[-2000:]
            try:
                if health.startswith("https"):
                    socket.create_connection((host, int(port)), 1).close()
                    return
                with urllib.request.urlopen(health, timeout=5) as answer:
                    if b"true" in answer.read():
                        return
            except (OSError, urllib.error.URLError):
                pass
            # not a judgement on time: until the next look
            signal.sigtimedwait((), 0.05)

    def led(self, *which: int) -> None:
        """Wait until members have a leader again, after the one that it may have been has gone.

        By PATIENT that takes up to 8 s, while a client gives a request up after 5.
        """
        for n in which:
            self.wait(n)

    def kill(self, n: int) -> None:
        """Kill a member as a power failure does."""
        process = self.processes.pop(n)
        process.kill()
        process.wait()

    def freeze(self, n: int) -> None:
        """Let a member hang: its kernel takes connections, and nobody answers."""
        self.processes[n].send_signal(signal.SIGSTOP)

    def thaw(self, n: int) -> None:
        """Let it go on."""
        self.processes[n].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill all."""
        for n in list(self.processes):
            self.kill(n)

# SPDX-License-Identifier: GPL-2.0
"""Inside the guest: hosts as network namespaces, cables as veth pairs, tunnels between them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Seconds until a wait is given up. What is waited for takes a second where nothing else runs; a
#: guest without KVM on a busy machine may stand still for a minute.
LONG = 180

MACS = ("02:ca:fe:f0:0e:04", "02:ca:fe:f0:0e:05")
PORT = 51820


class Failed(Exception):
    """A command in the guest failed; str() has its output."""


@dataclass
class Host:
    """A network namespace and what runs in it, or a whole machine.

    :ivar machine: it is a whole machine, not a namespace.
    :ivar sh: runs a command on its machine, as :func:`sh` does on this one.
    """

    name: str
    key: str = field(default="", repr=False)
    public: str = ""
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    machine: bool = False
    sh: Callable[..., str] = field(default_factory=lambda: sh, repr=False)

    def create(self) -> Host:
        """Make the namespace."""
        self.sh("ip", "netns", "add", self.name)
        self.ip("link set lo up")
        return self

    def destroy(self) -> None:
        """End what was started in it, and remove it."""
        if self.running:
            for process in self.running:
                stop(process)
            self.running.clear()
            # what those have started in turn (pppoe-server its pppd)
            for pid in self.sh("ip", "netns", "pids", self.name, check=False).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        self.sh("ip", "netns", "delete", self.name, check=False)

    def ip(self, *commands: str, timeout: float = 600) -> None:
        """Run several `ip` commands in it by one process, because each start takes long under TCG.

        :raises Failed: one of them fails; the later ones have not been run.
        """
        batch = "".join(f"{c}\n" for c in commands)
        self.sh(*self._in(("ip", "-batch", "-")), stdin=batch, timeout=timeout)

    def run(
        self, *argv: str, check: bool = True, stdin: str | None = None, timeout: float = 600
    ) -> str:
        """Run a command in it and return its output, both streams.

        :raises Failed: the command fails.
        """
        return self.sh(*self._in(argv), check=check, stdin=stdin, timeout=timeout)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command in it; both its streams are ``.stdout``."""
        process = subprocess.Popen(
            self._in(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.running.append(process)
        return process

    def ok(self, *argv: str, timeout: float = 600) -> bool:
        """Does the command succeed in it?"""
        try:
            self.run(*argv, timeout=timeout)
        except Failed:
            return False
        return True

    def ping(self, address: str, *options: str, count: int = 3) -> str:
        """Ping; every echo must come back.

        ping waits for the last echo no longer than an interval or two round trips, whatever -W says
        (iputils, __schedule_exit()), and Linux gives a neighbour up after three seconds without an
        answer. On a busy machine that is too short, so it tries again slowly.

        :raises Failed: some are missing every time.
        """
        out = ""
        for interval in ("0.2", "3", "10"):
            quick = ("-n", "-c", str(count), "-i", interval, "-W", "5")
            out = self.run("ping", *quick, *options, address, check=False)
            if f"{count} received" in out:
                return out
        raise Failed(f"ping {address} from {self.name}:\n{out}")

    def link(self, name: str) -> dict[str, Any]:
        """`ip -details -statistics link show` of one link."""
        found: list[dict[str, Any]] = json.loads(
            self.run("ip", "-j", "-d", "-s", "link", "show", "dev", name)
        )
        return found[0]

    def counter(self, name: str, counter: str) -> int:
        """One of our own counters in `ethtool -S`."""
        for line in self.run("ethtool", "-S", name).splitlines():
            if line.strip().startswith(counter + ":"):
                return int(line.split(":")[1])
        raise Failed(f"{name} has no counter {counter}")

    def stat(self, name: str, counter: str) -> int:
        """One of the link's standard counters, ``rx_length_errors``."""
        return int(self.run("cat", f"/sys/class/net/{name}/statistics/{counter}"))

    def _in(self, argv: tuple[str, ...]) -> list[str]:
        if self.machine:
            return list(argv)
        if argv[0] in ("ip", "bridge"):
            return [argv[0], "-n", self.name, *argv[1:]]
        return ["ip", "netns", "exec", self.name, *argv]


@contextlib.contextmanager
def inside(host: Host) -> Iterator[None]:
    """Move this thread into the host's network namespace; a socket made there stays there.

    pyroute2 could do this, but importing it takes very long under TCG.
    """
    if host.machine:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(path: str) -> None:
        with open(path) as namespace:
            if libc.setns(namespace.fileno(), 0):
                raise OSError(ctypes.get_errno(), f"setns {path}")

    here = open("/proc/thread-self/ns/net")  # noqa: SIM115
    try:
        enter(f"/run/netns/{host.name}")
        yield
    finally:
        enter(f"/proc/self/fd/{here.fileno()}")
        here.close()


def sh(*argv: str, check: bool = True, stdin: str | None = None, timeout: float = 600) -> str:
    """Run a command and return its output, both streams.

    :raises Failed: the command fails or takes longer than ``timeout`` seconds.
    """
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(argv)}: {cut_short(late)}") from None
    if check and done.returncode:
        raise Failed(f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def cut_short(late: subprocess.TimeoutExpired) -> str:
    """The error that a command was ended, with what it had printed by then.

    subprocess keeps that as bytes, even where the command's output is text.
    """
    said = late.output or ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"no end after {late.timeout:g} s\n{text}"


def stop(process: subprocess.Popen[str], how: signal.Signals = signal.SIGTERM) -> str:
    """End a process that Host.start() started and return its output."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        out, _ = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    return out or ""


def eventually(test: Callable[[], bool], what: str, seconds: float = LONG) -> None:
    """Wait until something has become true.

    :raises Failed: it has not become true in that time.
    """
    deadline = time.monotonic() + seconds
    while not test():
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def until_listening(process: subprocess.Popen[str]) -> None:
    """Wait until a program has a socket for what rtnetlink tells of neighbours: `bridge monitor`.

    :raises Failed: it has ended, or has none within LONG seconds.
    """

    def listens() -> bool:
        if process.poll() is not None:
            raise Failed(f"{process.args!r} has ended: {stop(process)}")
        rows = Path(f"/proc/{process.pid}/net/netlink").read_text().splitlines()[1:]
        return any(
            family == "0" and int(port) == process.pid and int(groups, 16) & 1 << 2
            for _, family, port, groups, *_ in map(str.split, rows)
        )  # RTNLGRP_NEIGH is 3

    eventually(listens, f"{process.args!r} listens")


#: Lines of /proc/meminfo: what the kernel has allocated for itself, other than whole pages.
KERNELS_OWN = ("SUnreclaim", "KernelStack", "VmallocUsed", "Percpu")


def kernel_memory() -> dict[str, int]:
    """Memory that the kernel has allocated for itself, caches dropped, kB for each of KERNELS_OWN.

    MemAvailable moves by 15,000 kB while thousands of links come and go, with any module.
    """
    sh("sh", "-c", "sync; echo 3 >/proc/sys/vm/drop_caches")
    fields = dict(x.split(":") for x in Path("/proc/meminfo").read_text().splitlines())
    return {name: int(fields[name].split()[0]) for name in KERNELS_OWN}


@contextlib.contextmanager
def no_more_memory(limit: int) -> Iterator[None]:
    """After the block the kernel may have at most that much more memory, kB.

    It gets time, because some memory is only freed after a grace period (RCU).

    :raises Failed: it has more, LONG seconds later.
    """
    before = kernel_memory()
    yield
    deadline = time.monotonic() + LONG
    while sum((after := kernel_memory()).values()) - sum(before.values()) > limit:
        if time.monotonic() > deadline:
            raise Failed(f"over {limit} kB of memory more: {before} became {after}")
        time.sleep(1)
    print(f"memory, kB: {before} became {after}")


def cable(a: Host, b: Host, name_a: str = "eth0", name_b: str = "eth0", *, mtu: int = 1500) -> None:
    """Join two hosts by a veth pair."""
    a.ip(
        f"link add {name_a} mtu {mtu} type veth peer name {name_b} netns {b.name} mtu {mtu}",
        f"link set {name_a} up",
    )
    b.ip(f"link set {name_b} up")


def underlay(a: Host, b: Host, number: int = 0, *, mtu: int = 1500) -> None:
    """A cable with addresses: 10.NUMBER.0.1 and .2, fd00:NUMBER::1 and ::2 on ethNUMBER."""
    name = f"eth{number}"
    cable(a, b, name, name, mtu=mtu)
    for host, last in ((a, 1), (b, 2)):
        host.ip(
            f"address add 10.{number}.0.{last}/24 dev {name}",
            f"address add fd00:{number}::{last}/64 dev {name} nodad",
        )


@functools.cache
def _key_pair(_name: str) -> tuple[str, str]:
    """The key pair for a host's name, always the same while this program runs."""
    key = sh("wg", "genkey").strip()
    return key, sh("wg", "pubkey", stdin=key).strip()


def keys(host: Host) -> None:
    """Give a host its key pair."""
    host.key, host.public = _key_pair(host.name)


def endpoint(number: int, last: int, outer: int) -> str:
    """An address of underlay() with our port."""
    address = f"10.{number}.0.{last}" if outer == 4 else f"[fd00:{number}::{last}]"
    return f"{address}:{PORT + number}"


def tunnel(
    a: Host,
    b: Host,
    name: str = "wg1",
    *,
    kind: str = "l2wireguard",
    number: int = 0,
    outer: int = 4,
    allowed: str = "0.0.0.0/0,::/0",
    endpoints: tuple[str, str] | None = None,
    addresses: bool = True,
) -> None:
    """A WireGuard link on each host, peers of each other, over underlay() NUMBER.

    :param kind: ``l2wireguard``, ``l2wgswitch`` or ``wireguard``.
    :param outer: 4 or 6, the family of the outer packets.
    :param endpoints: of a and b, instead of the underlay's.
    :param addresses: give them 192.168.157.1/24 and .2/24, and the talk's MAC addresses.
    """
    keys(a)
    keys(b)
    where = endpoints or (endpoint(number, 1, outer), endpoint(number, 2, outer))
    for me, peer, last in ((a, b, 1), (b, a, 2)):
        mine, theirs = where[last - 1], where[2 - last]
        given = addresses and kind in ("l2wireguard", "l2wgswitch")
        me.ip(
            f"link add {name} {f'address {MACS[last - 1]}' if given else ''} type {kind}",
            *([f"address add 192.168.157.{last}/24 dev {name}"] if addresses else []),
        )
        port = mine.rsplit(":", 1)[1]
        me.run(
            *("wg", "set", name, "private-key", "/dev/stdin", "listen-port", port),
            *("peer", peer.public, "allowed-ips", allowed, "endpoint", theirs),
            stdin=me.key,
        )
        me.ip(f"link set {name} up")


@contextlib.contextmanager
def capture(
    host: Host,
    link: str,
    expression: str = "",
    *,
    options: str = "",
    frames: int = 0,
    until: Callable[[Path], bool] = lambda file: True,
) -> Iterator[Path]:
    """Run tcpdump on a link during the block; the pcap file is complete after it.

    What has been on the link when the block ends is in the file, however busy the machine. What is
    on its way by then is in it only if it is waited for. So that nothing arrives takes a frame sent
    behind it on the same way, and waited for.

    :param frames: packets that must be in the file before the capture ends.
    :param until: what must be in it, if their number does not tell.
    :raises Failed: it has not come within LONG seconds.
    """
    file = Path(f"/tmp/{host.name}-{link}-{time.monotonic_ns()}.pcap")
    process = host.start(
        *("tcpdump", "-i", link, "-U", "--immediate-mode", "-w", str(file)),
        # the ring has slots of the snapshot length; by default a burst of 30 frames overflows it
        *("-s", "10000", "-B", "16384"),
        *options.split(),
        *([expression] if expression else []),
    )
    assert process.stdout
    for line in process.stdout:
        if "listening on" in line:
            break
    else:
        raise Failed(f"tcpdump on {link} of {host.name} did not start")

    def complete() -> bool:
        return (not frames or len(packets(file)) >= frames) and until(file)

    try:
        yield file
        what = f"{frames} packets are in it" if frames else "what the test waits for is in it"
        eventually(complete, f"{file}: {what}")
    finally:
        _settle(file, process)
        stop(process, signal.SIGINT)


def packets(pcap: Path) -> list[bytes]:
    """The packets of a capture file of tcpdump's (pcap-savefile(5), this machine's byte order).

    By hand because importing scapy takes ten seconds of each boot under TCG.
    """
    data = pcap.read_bytes() if pcap.exists() else b""
    at, found = 24, []
    while at + 16 <= len(data):
        (length,) = struct.unpack_from("=I", data, at + 8)
        if at + 16 + length > len(data):
            break  # tcpdump is about to write the rest
        found.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    return found


def sleeps(process: subprocess.Popen[str]) -> bool:
    """Does a program wait for something to happen, or has it ended? (proc_pid_stat(5))

    tcpdump does so with nothing left to read, and never while it writes.
    """
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] in "SZX"


def _settle(
    file: Path, process: subprocess.Popen[str], still: float = 0.5, limit: float = 10
) -> None:
    """Wait until a capture has not grown for ``still`` seconds, and tcpdump has nothing to do."""
    deadline, since, size = time.monotonic() + limit, time.monotonic(), -1
    while (now := time.monotonic()) < min(deadline, since + still) or not (
        sleeps(process) or now > deadline
    ):
        if (grown := file.stat().st_size if file.exists() else 0) != size:
            since, size = now, grown
        time.sleep(0.05)

# SPDX-License-Identifier: GPL-2.0
"""Links, peers, namespaces and the module come and go while traffic flows.

    A, C  switches        B, D  wires to A        N  a host that comes and goes

The module goes under full traffic again and again, and all links with it. Nothing here says what
must come of a single step, for many of them meet a link that another thread has just taken away.
What judges is the kernel (lockdep, KCSAN, references, the caches' own check at removal), and that
all works when the storm is over. It is made for processors that run at the same time:

    L2WG_MINUTES=5 ./inv test tests/vm/races.py --kernel smp
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from l2wgctl.errors import KernelError
from tests.vm import failing, flows, l2wg, station, wire
from tests.vm.test_switch import ip_of, link, mac_of, peer, underlay
from toolkit.guest.hosts import Failed, Host, eventually, inside, keys, sh

Hosts = Callable[..., list[Host]]
Step = Callable[[random.Random], object]

MINUTES = float(os.environ.get("L2WG_MINUTES", "0.5"))
#: Seconds of a storm: ten storms in all, but none of less than half a minute or more than three.
ROUND = min(180.0, max(30.0, MINUTES * 6))
ROUNDS = max(1, round(MINUTES * 60 / ROUND))
#: Seconds that the module stays, by chance.
STAYS = (4, 12)
ALL = {"links", "bursts", "peers", "entries", "reads", "visits", "modes", "removals"}
#: What is gone, or not there yet, is what this is about. (KernelError: the whole module.)
GONE = (Failed, OSError, l2wg.Refused, KernelError)
TCP_PORT = 5001
TALK = list(wire.talk().values())
#: What KCSAN has counted since the kernel started.
KCSAN = Path("/sys/kernel/debug/kcsan")
#: The program by which the kernel loads modules (kernel/module/kmod.c).
AUTOLOAD = Path("/proc/sys/kernel/modprobe")
KINDS = {"A": "l2wgswitch", "B": "l2wireguard", "C": "l2wgswitch", "D": "l2wireguard"}


class Storm:
    """Threads that each do something until it is over."""

    def __init__(self, seed: int) -> None:
        self.over = threading.Event()
        self.done: Counter[str] = Counter()
        self.trouble: list[BaseException] = []
        self._seed = seed
        self._threads: list[threading.Thread] = []

    def add(self, name: str, step: Step, *, at: Host | None = None) -> None:
        """Begin to do something.

        :param at: the host in whose namespace its sockets are.
        """
        rng = random.Random(f"{self._seed} {name} {len(self._threads)}")

        def run() -> None:
            try:
                with inside(at) if at else contextlib.nullcontext():
                    while not self.over.is_set():
                        with contextlib.suppress(*GONE):
                            step(rng)
                            self.done[name] += 1
            except BaseException as error:
                self.trouble.append(error)

        self._threads.append(threading.Thread(target=run, name=name))
        self._threads[-1].start()

    def end(self) -> None:
        """Wait until all have ended."""
        self.over.set()
        for thread in self._threads:
            thread.join()
        if self.trouble:
            raise self.trouble[0]


def build(host: Host, number: int, everybody: Sequence[Host]) -> None:
    """Its link with its peers, up."""
    link(host, number, KINDS[host.name], quiet=True)
    others = [(n, h) for n, h in enumerate(everybody, 1) if h is not host]
    if KINDS[host.name] == "l2wgswitch":
        peer(host, *others)
    else:
        peer(host, others[0], allowed="0.0.0.0/0,::/0")
    host.ip("link set wg1 up")


def links(host: Host, number: int, everybody: Sequence[Host]) -> Step:
    """Its link comes, changes and goes."""
    changes = (
        *("link set wg1 down", "link set wg1 up", "link set wg1 mtu 1280", "link set wg1 mtu 1406"),
        *(f"link set wg1 address {mac_of(number + 16)}", f"link set wg1 address {mac_of(number)}"),
        *("link set wg1 promisc on", "link set wg1 promisc off"),
    )

    def step(rng: random.Random) -> None:
        # it may have gone with the module
        host.run("ip", "link", "delete", "wg1", check=False)
        build(host, number, everybody)
        for _ in range(rng.randrange(6)):
            host.ip(rng.choice(changes))

    return step


def peers(host: Host, everybody: Sequence[Host]) -> Step:
    """The peers of a switch come, change and go."""
    others = list(enumerate(everybody[1:], 2))

    def step(rng: random.Random) -> None:
        number, other = rng.choice(others)
        choice = rng.randrange(5)
        if choice == 0:
            host.run("wg", "set", "wg1", "peer", other.public, "remove")
        elif choice == 1:
            peer(host, (number, other), allowed=rng.choice(("", f"{ip_of(number)}/32")))
        elif choice == 2:
            host.run("wg", "set", "wg1", "peer", other.public, "persistent-keepalive", "1")
        elif choice == 3:
            # of the same key again, so that all sessions begin anew
            host.run("wg", "set", "wg1", "private-key", "/dev/stdin", stdin=host.key)
        else:
            l2wg.set_peer(host, other, pvid=rng.randrange(1, 3), relay=rng.randrange(2))

    return step


def entries(host: Host, everybody: Sequence[Host]) -> Step:
    """Entries of its table come and go, and others read them meanwhile."""

    def step(rng: random.Random) -> None:
        what = rng.choice(("add", "del", "replace"))
        mac = mac_of(rng.randrange(32, 40))
        handle = l2wg.handle(rng.choice(list(everybody[1:])))
        where = ("dev", "wg1", "self") + (() if what == "del" else ("dst", handle))
        host.run("bridge", "fdb", what, mac, *where)

    return step


def reads(host: Host) -> Step:
    """All that can be read of it."""

    def step(rng: random.Random) -> None:
        with l2wg.Family(host) as family:
            for cmd in (l2wg.Cmd.PEER_GET, l2wg.Cmd.FDB_GET, l2wg.Cmd.LINK_GET):
                family.dump(cmd, l2wg.named("wg1"))
        host.run(*rng.choice((("ethtool", "-S", "wg1"), ("wg", "show", "wg1"))))

    return step


def frames(rng: random.Random) -> None:
    """Frames of any kind, also broadcasts and of stations behind the host."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("wg1", 0))
        for _ in range(16):
            source = f"02:99:00:00:00:{rng.randrange(16):02x}"
            sock.send(rng.choice(TALK))
            sock.send(station.eth(station.BROADCAST, source, station.NOTHING, b"all" * 20))
            sock.send(station.eth(mac_of(rng.randrange(1, 5)), source, station.NOTHING, b"one" * 9))


def serves(rng: random.Random) -> None:
    """Take what comes by TCP."""
    with socket.create_server(("", TCP_PORT)) as server:
        server.settimeout(5)
        with server.accept()[0] as sock:
            sock.settimeout(5)
            while sock.recv(1 << 16):
                pass


def streams(to: str) -> Step:
    """Large writes, which become batches."""

    def step(rng: random.Random) -> None:
        with socket.create_connection((to, TCP_PORT), timeout=2) as sock:
            for _ in range(4):
                sock.sendall(bytes(1 << 16))

    return step


def visitor(guest: Host, number: int, everybody: Sequence[Host]) -> Step:
    """A namespace with a link, peers and traffic, which goes as a whole."""

    def step(rng: random.Random) -> None:
        host = Host("N", guest.key, guest.public).create()
        try:
            kind = rng.choice(tuple(KINDS.values()))
            # the socket stays in the namespace of the link's birth, or goes with it
            home, name = rng.choice(((host, "wg1"), (everybody[0], "visitor")))
            home.ip(f"link add {name} type {kind}")
            home.run(
                *("wg", "set", name, "private-key", "/dev/stdin", "peer", everybody[2].public),
                *("allowed-ips", "0.0.0.0/0", "endpoint", "10.0.0.3:51820"),
                stdin=host.key,
            )
            if home is not host:
                home.ip(f"link set {name} netns N")
            host.ip(f"address add {ip_of(number)}/24 dev {name}", f"link set {name} up")
            host.run("ping", "-q", "-c", "5", "-i", "0.01", "-W", "1", ip_of(3), check=False)
        finally:
            host.destroy()
            everybody[0].run("ip", "link", "delete", "visitor", check=False)

    return step


def modes(rng: random.Random) -> None:
    """Batches of some links, of none, of all."""
    flows.mode(rng.choice(("off", "ethernet", "all")))


def removals(host: Host, everybody: Sequence[Host], over: threading.Event) -> Step:
    """The module goes with all that uses it, and comes again; the host's link, too."""

    def step(rng: random.Random) -> None:
        over.wait(rng.uniform(*STAYS))
        sh("rmmod", "l2wireguard", check=False)
        try:
            sh("modprobe", "l2wireguard")
        except Failed as error:
            raise RuntimeError("the module cannot come again") from error
        host.run("ip", "link", "delete", "wg1", check=False)
        build(host, 1, everybody)

    return step


@contextlib.contextmanager
def no_autoload() -> Iterator[None]:
    """The kernel loads no module by itself: while ours is away, `wg` would have it load another."""
    before = AUTOLOAD.read_text()
    AUTOLOAD.write_text("/bin/false")
    try:
        yield
    finally:
        AUTOLOAD.write_text(before)


@contextlib.contextmanager
def storm(everybody: Sequence[Host], seed: int) -> Iterator[Storm]:
    """All of it at once."""
    a, b, c, d = everybody
    made = Storm(seed)
    visiting = Host("N")
    keys(visiting)
    try:
        for number, host in ((2, b), (3, c), (4, d)):
            made.add("links", links(host, number, everybody))
            made.add("bursts", frames, at=host)
        made.add("peers", peers(a, everybody))
        made.add("peers", peers(c, (c, a, b, d)))
        made.add("entries", entries(a, everybody))
        made.add("reads", reads(a))
        made.add("reads", reads(c))
        made.add("serves", serves, at=a)
        made.add("streams", streams(ip_of(1)), at=b)
        made.add("streams", streams(ip_of(1)), at=c)
        made.add("visits", visitor(visiting, 9, everybody))
        made.add("modes", modes)
        made.add("removals", removals(a, everybody, made.over))
        yield made
    finally:
        made.end()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_storm(hosts: Hosts, batching: None, seed: int) -> None:
    everybody = underlay(hosts, *KINDS)
    for number, host in enumerate(everybody, 1):
        build(host, number, everybody)
    before = watched() if KCSAN.exists() else 0
    with no_autoload(), storm(everybody, seed) as made:
        made.over.wait(ROUND)
        # on a busy machine it lasts until each has been done
        eventually(lambda: ALL <= made.done.keys(), "all is done at least once")
    print(dict(made.done))
    for name, number in made.done.items():
        failing.figure(number, name)
    if KCSAN.exists():
        failing.figure(watched() - before, "accesses watched by KCSAN")
        assert watched() > before
    # all links go, whatever they still have on their way, and then the module; it comes again
    for host in everybody:
        host.run("ip", "link", "delete", "wg1", check=False)
    eventually(_removed, "the module can be removed")
    sh("modprobe", "l2wireguard")
    for number, host in enumerate(everybody, 1):
        build(host, number, everybody)
    for number in (2, 3, 4):
        everybody[0].ping(ip_of(number))


def watched() -> int:
    """How many accesses KCSAN has watched."""
    found = re.search(r"^setup_watchpoints: (\d+)$", KCSAN.read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def _removed() -> bool:
    sh("rmmod", "l2wireguard", check=False)
    return not Path("/sys/module/l2wireguard").exists()

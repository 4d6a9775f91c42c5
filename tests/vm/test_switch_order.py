# SPDX-License-Identifier: GPL-2.0
"""What one host sends arrives in the order in which it was sent, floods included.

A is a switch, and B, C and D are wires. This says most where processors run at the same time
(--kernel smp): decryption, copies and encryption are then on any of them.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.vm import l2wg, station, wire
from tests.vm.flows import SO_RCVBUFFORCE, one_processor
from tests.vm.test_switch import hub, ip_of, mac_of
from toolkit.guest.hosts import Host, eventually, inside

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]
#: Of two senders at once: as many floods as may wait for the worker.
FRAMES = 32
ROUNDS = 25
KIND = wire.MARK


def steer(everybody: Sequence[Host]) -> None:
    """What comes over cables waits for one processor, so that cables keep the order.

    veth puts what is sent into the queue of the processor that sends it. With receive packet
    steering (RPS) that is one queue, whoever sends.
    """
    for host in everybody:
        names = host.run("ls", "/sys/class/net").split()
        for name in names:
            if name.startswith(("eth", "p")):
                mask = f"/sys/class/net/{name}/queues/rx-0/rps_cpus"
                host.run("sh", "-c", f"test ! -e {mask} || echo 1 > {mask}")


def numbers(frames: Sequence[bytes], source: str) -> list[int]:
    """Of those from a station, as they came."""
    mine = [x for x in frames if x[6:12] == station.mac(source)]
    return [int.from_bytes(x[14:18], "big") for x in mine]


class Ears:
    """What comes in on the hosts' links, of our EtherType."""

    def __init__(self, everybody: Sequence[Host], stack: contextlib.ExitStack) -> None:
        self.heard: dict[str, list[bytes]] = {host.name: [] for host in everybody}
        self.sockets = {}
        for host in everybody:
            with inside(host):
                ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.sockets[host.name] = stack.enter_context(ear)
            ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            ear.bind(("wg1", KIND))
            ear.setblocking(False)

    def listen(self) -> None:
        for name, ear in self.sockets.items():
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, origin = ear.recvfrom(2048)
                    if origin[2] != socket.PACKET_OUTGOING:
                        self.heard[name].append(frame)


@contextlib.contextmanager
def star(hosts: Hosts) -> Iterator[tuple[list[Host], Ears, Callable[[Host, bytes], object]]]:
    """The hosts, their ears, and how to send for one of them, all from one processor."""
    a, *spokes = hub(hosts, "A", "B", "C", "D", quiet=True)
    for spoke in spokes:
        # which forgets where its stations are
        l2wg.set_peer(a, spoke, relay=1)
        spoke.ping(ip_of(1))
    steer([a, *spokes, Host("U")])
    everybody = [a, *spokes]
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_processor())
        ears = Ears(everybody, stack)
        mouths = {}
        for host in everybody:
            with inside(host):
                mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            mouths[host.name] = stack.enter_context(mouth)
            mouth.bind(("wg1", 0))
        yield everybody, ears, lambda host, frame: mouths[host.name].send(frame)


def test_floods_stay_in_order(hosts: Hosts) -> None:
    """Of two hosts at once, at each of the others; A is one of them."""
    with star(hosts) as (everybody, ears, send):
        senders = {"A": mac_of(1), "B": mac_of(2)}
        pairs = [(at, who) for at in ears.heard for who in senders if at != who]
        sent = 0

        def arrived() -> bool:
            ears.listen()
            return all(len(numbers(ears.heard[at], senders[who])) == sent for at, who in pairs)

        for _ in range(ROUNDS):
            for _ in range(FRAMES):
                for host in everybody[:2]:
                    payload = sent.to_bytes(4, "big") + bytes(42)
                    send(host, station.eth(station.BROADCAST, senders[host.name], KIND, payload))
                sent += 1
            eventually(arrived, "each has each frame")
        for at, who in pairs:
            assert numbers(ears.heard[at], senders[who]) == [*range(sent)], (at, who)


def test_what_is_for_all_overtakes_nothing(hosts: Hosts) -> None:
    """B sends to one and to all in turn; at A and at C all of it is in order.

    Few at once: a flood that finds the link's ring half full waits, and what is for one does not.
    """
    with star(hosts) as (everybody, ears, send):
        a, b, c, d = everybody
        sent: dict[str, list[int]] = {host.name: [] for host in everybody}
        to = {a.name: mac_of(1), c.name: mac_of(3)}

        def arrived() -> bool:
            ears.listen()
            return all(len(ears.heard[x.name]) == len(sent[x.name]) for x in (a, c, d))

        for number in range(1000):
            name = ("", a.name, c.name, c.name)[number % 4]
            payload = number.to_bytes(4, "big") + bytes(42)
            send(b, station.eth(to.get(name, station.BROADCAST), mac_of(2), KIND, payload))
            for host in (a, c, d):
                if name in ("", host.name):
                    sent[host.name].append(number)
            if number % 20 == 19:
                eventually(arrived, "each has what is for it")
        for host in (a, c, d):
            assert numbers(ears.heard[host.name], mac_of(2)) == sent[host.name], host.name

# SPDX-License-Identifier: GPL-2.0
"""Messages that nobody would send, to both families and about links, while traffic flows.

They come from a grammar with a seed, so a failure comes again: the last messages are in the file
`netlink` beside the guest's log. What judges is the kernel: KASAN, lockdep, kmemleak, references.
"""

from __future__ import annotations

import collections
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl.netlink import channel
from tests.vm import failing, l2wg, wire
from tests.vm.grammar import KINDS, ROUTE, WIREGUARD, Grammar, Message
from tests.vm.test_switch import hub, ip_of
from toolkit.guest.hosts import Host, inside

pytestmark = [failing.needs_failures, pytest.mark.usefixtures("quiet_failures")]
quiet_failures = failing.quiet_failures

SEEDS = (1, 2, 3)
MESSAGES = 1500  # of each seed
ANSWER = 60.0  # seconds: the kernel answers while the system call runs, unless it hangs


class Kernel:
    """The host's sockets, and the links in it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.genl = channel.Channel(channel.open_socket())
        self.families = {name: self.genl.family_id(name) or 0 for name in ("l2wg", WIREGUARD)}
        self.sockets = {
            to: self._open(socket.NETLINK_ROUTE if to == ROUTE else channel.NETLINK_GENERIC)
            for to in (ROUTE, *self.families)
        }
        self.sequence = 0

    def _open(self, protocol: int) -> socket.socket:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        made.settimeout(ANSWER)
        return made

    def index(self, name: str) -> int:
        """The number of a link, 0 if there is none."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return 0

    def packed(self, message: Message) -> bytes:
        """The message with its headers."""
        self.sequence += 1
        body = message.body
        kind = message.kind
        if message.to != ROUTE:
            body = struct.pack("=BBH", kind & 255, 1, 0) + body
            kind = self.families[message.to]
        flags = message.flags | channel.NLM_F_ACK | 1
        return struct.pack("=IHHII", 16 + len(body), kind, flags, self.sequence, 0) + body

    def ask(self, message: Message) -> int:
        """Send it; the error number of the answer, or 0."""
        sock = self.sockets[message.to]
        try:
            sock.send(self.packed(message))
            while True:
                data = sock.recv(1 << 17)
                for kind, _, sequence, body, end in channel.messages(data):
                    if sequence == self.sequence and kind in (2, 3):
                        return -int(struct.unpack_from("=i", data, body)[0]) if end > body else 0
        except TimeoutError:
            raise
        except OSError as error:
            return error.errno or errno.EIO

    def give_up(self, message: Message) -> None:
        """Begin a dump and do not read it."""
        with self._open(channel.NETLINK_GENERIC) as sock:
            sock.send(self.packed(message))


def restore(a: Host, b: Host) -> None:
    """Make good what broke the tunnel, and have all links again."""
    for name, kind in KINDS.items():
        a.run("ip", "link", "add", name, "type", kind, check=False)
    a.run("wg", "set", "wg1", "private-key", "/dev/stdin", "peer", b.public, stdin=a.key)


def read_all(host: Host, stop: threading.Event, trouble: list[Exception]) -> None:
    """Dump what there is, again and again."""
    try:
        with l2wg.Family(host) as family:
            while not stop.wait(0.01):
                for cmd in (l2wg.Cmd.PEER_GET, l2wg.Cmd.FDB_GET, l2wg.Cmd.LINK_GET):
                    try:
                        family.dump(cmd, l2wg.named("wg1"))
                    except l2wg.Refused:
                        continue
    except Exception as error:
        trouble.append(error)


@pytest.mark.parametrize("seed", SEEDS)
def test_messages(hosts: Callable[..., list[Host]], seed: int) -> None:
    a, b = hub(hosts, "A", "B")
    for source, number in ((a, 2), (b, 1)):
        source.start("ping", "-q", "-i", "0.05", ip_of(number))
    restore(a, b)
    stop, trouble = threading.Event(), list[Exception]()
    reader = threading.Thread(target=read_all, args=(a, stop, trouble))
    reader.start()
    frames = list(wire.talk().values())
    log = (Path(os.environ["L2WG_OUT"]) / f"netlink-{seed}").open("w", buffering=1)
    answers: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    try:
        with inside(a), log:
            kernel = Kernel(a)
            grammar = Grammar(seed, kernel.index)
            for step in range(MESSAGES):
                message = grammar.message()
                log.write(f"{step} {message}\n")
                if message.flags & channel.NLM_F_DUMP and message.to != ROUTE and step % 4 == 0:
                    kernel.give_up(message)
                    continue
                answer = kernel.ask(message)
                answers[f"{message.to} {message.kind}"][
                    errno.errorcode.get(answer, str(answer))
                ] += 1
                if step % 50 == 0:
                    for link in (*KINDS, "wg1"):
                        if kernel.index(link):
                            send_anyway(a, link, frames[step // 50 % len(frames)])
                if step % 250 == 249:
                    restore(a, b)
    finally:
        stop.set()
        reader.join()
    assert not trouble, trouble
    for what, counted in sorted(answers.items()):
        print(what, dict(counted.most_common()))
    good = sum(counted["0"] for counted in answers.values())
    failing.figure(MESSAGES, "messages")
    failing.figure(good, "accepted")
    assert good > MESSAGES / 4
    # what has succeeded at least once, so that there is something behind each door
    for cmd in (1, 2, 3, 4, 5, 6, 7):
        assert answers[f"l2wg {cmd}"]["0"], cmd
    for kind in (0, 1):
        assert answers[f"wireguard {kind}"]["0"], kind
    for name in KINDS:
        a.run("ip", "link", "delete", name, check=False)


def send_anyway(host: Host, link: str, frame: bytes) -> None:
    """Send a frame; the link may be down or gone."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
            sock.bind((link, 0))
            sock.send(frame)
    except OSError:
        pass

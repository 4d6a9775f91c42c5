# SPDX-License-Identifier: GPL-2.0
"""A peer that sends what it likes at full speed: noise_udp.py shakes hands, attacker.c sends."""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.support.noise import Session
from tests.support.noise_udp import UdpPeer

SOURCE = Path(__file__).with_suffix(".c")
#: Seconds of a session, which ends after 180 (REJECT_AFTER_TIME).
SESSION = 100
#: Plaintexts between two questions: fewer than the queues of WireGuard hold, which is 1,024.
WINDOW = 512
#: So many sources, or more, are any address at all.
ANY = 1 << 32


def build(into: Path, root: Path, *options: str) -> Path:
    """Compile it, with the module's length function.

    :param root: of this repository.
    :param options: of the compiler; ``-DPATIENCE=`` milliseconds until a question is repeated.
    :raises subprocess.CalledProcessError: the compiler refuses.
    """
    length = root / "kernel/l2wg_frame.c"
    files = map(str, (into, SOURCE, length))
    command = ["cc", "-O2", "-Wall", *options, "-o", *files, "-lcrypto"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return into


def framed(*frames: bytes) -> bytes:
    """As attacker.c reads them."""
    return b"".join(struct.pack("!H", len(x)) + x for x in frames)


class Attacker:
    """A peer, the program that sends for it, and how to ask the link whether it has done its work.

    :ivar peer: with a remote address; its socket is the program's, too.
    :ivar question: a frame that the link's host answers at once.
    :ivar answer: how that begins.
    :ivar window: plaintexts between two questions, a multiple of 64.
    """

    def __init__(
        self, program: Path, peer: UdpPeer, question: bytes, answer: bytes, window: int = WINDOW
    ) -> None:
        self.program = program
        self.peer = peer
        self.question = question
        self.answer = answer
        self.window = window

    def attack(
        self,
        frames: Sequence[bytes],
        count: int,
        *,
        seed: int = 1,
        sources: int = 0,
        changes: int = 0,
        timeout: float = 60,
    ) -> Counter[str]:
        """Send so many plaintexts; the link has judged them all when this returns.

        :param frames: they are made of, in an order by chance.
        :param sources: how many source addresses they have; 0: each its own; ANY: any.
        :param changes: bytes of each, at most, that become others.
        :param timeout: of a handshake, in seconds.
        :returns: ``sent``, ``asked`` (questions), ``sessions``, and how many were ``malformed``.
        :raises TimeoutError: there is no handshake.
        :raises subprocess.CalledProcessError: the link answers no more, or there is another fault.
        """
        found: Counter[str] = Counter(sent=0)
        with tempfile.NamedTemporaryFile() as file:
            file.write(framed(*frames))
            file.flush()
            while found["sent"] < count:
                session = self.peer.handshake(timeout)
                numbers = (count - found["sent"], SESSION, seed + found["sessions"] * 1_000_003)
                found.update(self._send(session, file.name, *numbers, sources, changes))
                found["sessions"] += 1
        return found

    def _send(self, session: Session, file: str, *numbers: int) -> dict[str, int]:
        assert self.peer.remote
        fd = self.peer.socket.fileno()
        self.peer.socket.settimeout(None)
        address, port = self.peer.remote
        argv = [*map(str, (self.program, fd, address, port, file, self.window, *numbers))]
        keys = session.send + session.receive
        indices = (session.remote_index, session.local_index, session.next_counter)
        secrets = keys + struct.pack("<IIQ", *indices) + framed(self.question, self.answer)
        done = subprocess.run(
            argv, input=secrets, stdout=subprocess.PIPE, check=True, pass_fds=(fd,)
        )
        found: dict[str, int] = json.loads(done.stdout)
        return found

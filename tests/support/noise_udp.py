# SPDX-License-Identifier: GPL-2.0
"""The peer of noise.py on a UDP socket, to talk to a kernel or to another implementation."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from tests.support.noise import (
    DATA,
    INITIATION,
    RESPONSE,
    Initiator,
    NoiseError,
    Responder,
    Session,
)


class UdpPeer:
    """A peer on a UDP socket: one remote peer, handshakes from either side."""

    def __init__(
        self,
        private: bytes,
        remote_public: bytes,
        preshared: bytes = bytes(32),
        *,
        bind: tuple[str, int] = ("127.0.0.1", 0),
        remote: tuple[str, int] | None = None,
    ) -> None:
        """`bind` and `remote` are addresses and ports; an IPv6 address makes the socket IPv6."""
        self._private = private
        self._preshared = preshared
        self.remote_public = remote_public
        self.remote = remote
        self._responder = Responder(private, {remote_public: preshared})
        self._initiator: Initiator | None = None
        self._sessions: dict[int, Session] = {}
        self.session: Session | None = None
        family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind(bind)

    def __enter__(self) -> UdpPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def send_raw(self, message: bytes) -> None:
        """Send a message as it is.

        :raises NoiseError: the peer's address is not known yet.
        """
        if self.remote is None:
            raise NoiseError("the remote peer's address is not known yet")
        self.socket.sendto(message, self.remote)

    def handshake(self, timeout: float = 5) -> Session:
        """Begin a handshake and confirm it with a keepalive; `timeout` in seconds.

        :raises TimeoutError: no valid response comes.
        """
        self._initiator = Initiator(self._private, self.remote_public, self._preshared)
        self.send_raw(self._initiator.initiation())
        began = self._initiator
        self.wait(lambda: self._initiator is not began, timeout)
        assert self.session is not None
        self.send_raw(self.session.keepalive())
        return self.session

    def send(self, plaintext: bytes) -> None:
        """Send `plaintext` as it is, in a transport message.

        :raises NoiseError: there has been no handshake.
        """
        if self.session is None:
            raise NoiseError("there is no session yet")
        self.send_raw(self.session.seal(plaintext))

    def receive(self, timeout: float = 5) -> bytes:
        """The next plaintext that is not a keepalive.

        Answers initiations and takes responses on the way. What is not valid is passed over.

        :raises TimeoutError: none comes within `timeout` seconds.
        """
        found: list[bytes] = []

        def keep(plaintext: bytes) -> None:
            if plaintext:
                found.append(plaintext)

        self.wait(lambda: bool(found), timeout, keep)
        return found[0]

    def wait(
        self,
        done: Callable[[], bool],
        timeout: float,
        keep: Callable[[bytes], object] = lambda plaintext: None,
    ) -> None:
        """Handle messages until `done()`; each plaintext, even a keepalive, goes to `keep`.

        :raises TimeoutError: that takes more than `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nothing valid from the peer in {timeout} s")
            self.socket.settimeout(left)
            try:
                message, sender = self.socket.recvfrom(65535)
            except TimeoutError:
                continue
            try:
                plaintext = self.handle(message, (sender[0], sender[1]))
            except NoiseError:
                continue
            if plaintext is not None:
                keep(plaintext)

    def handle(self, message: bytes, sender: tuple[str, int]) -> bytes | None:
        """Handle one message; return the plaintext of a transport message, else None.

        :raises NoiseError: the message is not valid.
        """
        kind = int.from_bytes(message[:4], "little")
        if kind == INITIATION:
            response, session = self._responder.respond(message)
            self.remote = sender
            self._sessions[session.local_index] = session
            self.send_raw(response)
            return None
        if kind == RESPONSE and self._initiator:
            self.session = self._initiator.finish(message)
            self._sessions[self.session.local_index] = self.session
            self._initiator = None
            self.remote = sender
            return None
        session_for = self._sessions.get(int.from_bytes(message[4:8], "little"))
        if kind != DATA or session_for is None:
            raise NoiseError(f"a message of type {kind} belongs to no session")
        plaintext = session_for.open(message)
        self.session, self.remote = session_for, sender
        return plaintext

# SPDX-License-Identifier: GPL-2.0
"""Many frames at once: a write with UDP_SEGMENT (udp(7)), or TCP, whose bytes all arrive."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from toolkit.guest.hosts import LONG, Failed, Host, inside

MODE = Path("/sys/module/l2wireguard/parameters/batch")
LEAST_SEGMENTS = Path("/proc/sys/net/ipv4/tcp_min_tso_segs")
SOL_UDP, UDP_SEGMENT, SO_SNDBUFFORCE, SO_RCVBUFFORCE = 17, 103, 32, 33


def mode(value: str) -> None:
    """Set the module's parameter."""
    MODE.write_text(value)


@contextlib.contextmanager
def one_processor() -> Iterator[None]:
    """Stay on one processor, so that what is sent arrives in this order.

    Each processor has a queue of what veth receives, and one of an emulated machine may stand
    still for a while.
    """
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def datagrams(count: int, size: int, tail: int) -> list[bytes]:
    """Payloads that differ: ``count`` of ``size`` bytes, the last of ``tail``."""
    sizes = [size] * (count - 1) + [tail]
    return [(hashlib.sha256(bytes([i])).digest() * 50)[:n] for i, n in enumerate(sizes)]


def receiver(host: Host, address: str) -> socket.socket:
    with inside(host):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    sock.bind((address, 9000))
    sock.settimeout(LONG)
    return sock


def arrive(sock: socket.socket, expected: Sequence[bytes], *, ordered: bool = True) -> None:
    """These datagrams come next, in this order unless ``ordered`` is False."""
    left = list(expected)
    while left:
        number = len(expected) - len(left)
        try:
            found = sock.recv(65536)
        except TimeoutError:
            raise Failed(f"datagram {number} of {len(expected)} has not arrived") from None
        assert found in left[: 1 if ordered else None], (
            f"datagram {number}: {len(found)} bytes {found[:8].hex()}"
        )
        left.remove(found)


def burst(
    a: Host,
    b: Host,
    to: str,
    payloads: Sequence[bytes],
    *,
    lost: bool = False,
    ordered: bool = True,
) -> None:
    """One write with UDP_SEGMENT, in segments of the first payload's length; all arrive in order.

    :param lost: they are not awaited.
    :param ordered: False if the way between the hosts does not keep the order.
    """
    with receiver(b, to) as receiving:
        with inside(a), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20)
            sock.setsockopt(SOL_UDP, UDP_SEGMENT, len(payloads[0]))
            sock.connect((to, 9000))
            sock.send(b"".join(payloads))
        if not lost:
            arrive(receiving, payloads, ordered=ordered)


def stream(a: Host, b: Host, to: str, size: int) -> None:
    """That many bytes by TCP; all arrive, and nothing else.

    The slower the way, the smaller TCP makes its buffers, down to two segments, which the module
    leaves alone (tcp_tso_autosize() in net/ipv4/tcp_output.c). Here they have up to 16 anyway.
    """
    data = hashlib.sha512(b"l2wg").digest() * (size // 64 + 1)
    with inside(b), socket.create_server((to, 0)) as server:
        port = server.getsockname()[1]
        pid = os.fork()
        if not pid:
            try:
                with inside(a):
                    LEAST_SEGMENTS.write_text("16")
                    with socket.create_connection((to, port), LONG) as sock:
                        sock.sendall(data)
            finally:
                os._exit(0)
        server.settimeout(LONG)
        connection, _ = server.accept()
        connection.settimeout(LONG)
        received = bytearray()
        with connection:
            while part := connection.recv(1 << 16):
                received += part
        os.waitpid(pid, 0)
    assert received == data

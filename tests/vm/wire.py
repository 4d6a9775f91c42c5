# SPDX-License-Identifier: GPL-2.0
"""Frames onto a link and off it, byte for byte."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from toolkit.guest.hosts import Host, capture, eventually, inside
from toolkit.guest.hosts import packets as read

__all__ = ["read"]

ETH_P_ALL = 0x0003
MARK = 0x88B6  # IEEE 802 local experimental EtherType 2
FRAMES = Path(__file__).parents[1] / "unit/frame/frames.json"
CORPUS = Path(__file__).parents[1] / "corpus/frame/corpus.pcap"
A, B = bytes.fromhex("02cafef00e04"), bytes.fromhex("02cafef00e05")


def talk() -> dict[str, bytes]:
    """The 18 frames of the talk, by name, without padding."""
    return {f["name"]: bytes.fromhex(f["frame"]) for f in json.loads(FRAMES.read_text())}


def send(host: Host, link: str, *frames: bytes) -> None:
    """Send frames as they are, through a packet socket in the host."""
    with inside(host), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((link, 0))
        for frame in frames:
            sock.send(frame)


def arrived(host: Host, *others: Host, link: str = "wg1", tags: tuple[int, ...] = ()) -> None:
    """Wait until what the host has sent on its link has arrived at the others.

    What it sends to one peer stays in order: so they wait for a broadcast from its own address.

    :param tags: VLANs around it.
    """
    mac = bytes.fromhex(host.run("cat", f"/sys/class/net/{link}/address").replace(":", ""))
    head = b"\xff" * 6 + mac + b"".join(struct.pack("!HH", 0x8100, tag) for tag in tags)
    mark = b"l2wg %d" % time.monotonic_ns()
    with contextlib.ExitStack() as stack:
        ends = [stack.enter_context(heard(other, link)) for other in others]
        send(host, link, head + struct.pack("!H", MARK) + mark)
        for other, seen in zip(others, ends):
            eventually(
                lambda seen=seen: any(mark in frame for frame in seen()),  # type: ignore[misc]
                f"what {host.name} has sent has arrived at {other.name}",
            )


@contextlib.contextmanager
def heard(host: Host, link: str) -> Iterator[Callable[[], list[bytes]]]:
    """Listen on a link: a function that returns what has come in since it was asked last.

    Without VLAN tags, which the kernel keeps apart. tcpdump takes long to start.
    """
    with inside(host), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((link, ETH_P_ALL))
        sock.setblocking(False)

        def new() -> list[bytes]:
            frames: list[bytes] = []
            while True:
                try:
                    frame, origin = sock.recvfrom(65536)
                except BlockingIOError:
                    return frames
                if origin[2] != socket.PACKET_OUTGOING:
                    frames.append(frame)

        yield new


def cross(
    a: Host, b: Host, *frames: bytes, link: str = "wg1", arrive: int | None = None
) -> list[bytes]:
    """Send frames into A's link; what arrives on B's of the same name.

    :param arrive: how many are waited for, if not all.
    """
    number = len(frames) if arrive is None else arrive
    with capture(b, link, options="-Q in", frames=number) as file:
        send(a, link, *frames)
    return read(file)


def still(*hosts: Host, link: str = "wg1") -> None:
    """Have the hosts say nothing of their own on the link: what arrives is what a test sent."""
    for me, mac, last in zip(hosts, (B.hex(":"), A.hex(":")), (2, 1)):
        me.run("sysctl", "-q", "-w", f"net.ipv6.conf.{link}.disable_ipv6=1")
        me.run(
            *("ip", "neighbour", "replace", f"192.168.157.{last}", "lladdr", mac),
            *("nud", "permanent", "dev", link),
        )
    # and what they have said has arrived
    for me in hosts if len(hosts) == 2 else ():
        arrived(me, *(x for x in hosts if x is not me), link=link)


def ipv4(payload: int, *, source: str = "192.168.157.1", to: str = "192.168.157.2") -> bytes:
    """An untagged frame A -> B: IPv4, protocol 253 (RFC 3692), with that many bytes in it."""
    header = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 20 + payload, 0, 0x4000, 64, 253, 0),
        *(socket.inet_aton(source), socket.inet_aton(to)),
    )
    frame = bytearray(B + A + b"\x08\x00" + header)
    checksum(frame)
    return bytes(frame) + bytes(i * 7 % 255 + 1 for i in range(payload))


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1])) + (
        data[-1] << 8
    ) * (len(data) % 2)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def checksum(frame: bytearray) -> None:
    """Put the right header checksum into an untagged IPv4 frame, without options."""
    frame[24:26] = b"\0\0"
    frame[24:26] = internet_checksum(bytes(frame[14:34])).to_bytes(2, "big")


def data_messages(packets: list[bytes]) -> list[bytes]:
    """The transport messages with a frame in them, of unfragmented outer packets, IPv4 or IPv6.

    Handshakes and keepalives may come at any time.
    """
    found = []
    for p in packets:
        at = 14 + (20 if p[12:14] == b"\x08\x00" else 40)
        (length,) = struct.unpack("!H", p[at + 4 : at + 6])
        message = p[at + 8 : at + length]
        if message[:4] == b"\x04\0\0\0" and len(message) > 32:
            found.append(message)
    return found


def differ(expected: Sequence[bytes], found: Sequence[bytes], where: str) -> None:
    """Raise AssertionError with the first frames that are missing or superfluous at one end."""
    # Not in order: of a batch that GRO hands up (__netif_receive_skb_list_core), a packet socket
    # gets the frames that have no other receiver after all those that have one.
    missing, extra = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    assert not missing and not extra, (
        f"{where}: {missing.total()} of {len(expected)} missing, {extra.total()} too many; "
        f"missing: {[f.hex()[:200] for f in list(missing)[:3]]}, "
        f"too many: {[f.hex()[:200] for f in list(extra)[:3]]}"
    )

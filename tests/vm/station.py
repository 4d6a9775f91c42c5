# SPDX-License-Identifier: GPL-2.0
"""Frames as a station on a LAN makes them, header by header, for the tests of the switch."""

from __future__ import annotations

import socket
import struct

BROADCAST = "ff:ff:ff:ff:ff:ff"
IP, ARP, RARP, IP6, VLAN, QINQ = 0x0800, 0x0806, 0x8035, 0x86DD, 0x8100, 0x88A8
NOTHING = 0x88B5  # IEEE 802 local experimental EtherType 1
ICMP6, UDP, FRAGMENT, HOP, DEST = 58, 17, 44, 0, 60


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def eth(to: str, source: str, kind: int, payload: bytes, *tags: tuple[int, int] | int) -> bytes:
    """A frame; each tag is a VID, or an EtherType and a VID."""
    made = mac(to) + mac(source)
    for tag in tags:
        tpid, vid = (VLAN, tag) if isinstance(tag, int) else tag
        made += struct.pack("!HH", tpid, vid)
    return made + struct.pack("!H", kind) + payload


def snap(
    to: str,
    source: str,
    kind: int,
    payload: bytes,
    *tags: tuple[int, int] | int,
    oui: bytes = bytes(3),
    length: int | None = None,
) -> bytes:
    """The same in LLC and SNAP (RFC 1042), behind a length that may be another."""
    body = b"\xaa\xaa\x03" + oui + kind.to_bytes(2, "big") + payload
    return eth(to, source, len(body) if length is None else length, body, *tags)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def ip4(source: str, to: str, protocol: int = 253, payload: bytes = b"l2wg" * 5) -> bytes:
    """An IPv4 packet."""
    header = struct.pack(
        *("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0),
        *(socket.inet_aton(source), socket.inet_aton(to)),
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ip6(source: str, to: str, following: int, payload: bytes) -> bytes:
    """An IPv6 packet; extension headers are part of the payload."""
    header = struct.pack("!IHBB", 6 << 28, len(payload), following, 255)
    packed = [socket.inet_pton(socket.AF_INET6, x) for x in (source, to)]
    return header + b"".join(packed) + payload


def extension(following: int) -> bytes:
    """A hop-by-hop or destination options header with nothing but padding in it."""
    return bytes([following, 0, 1, 4, 0, 0, 0, 0])


def first_fragment(following: int, identification: int = 1) -> bytes:
    """A fragment header: offset 0, more to come."""
    return struct.pack("!BBHI", following, 0, 1, identification)


def udp(port: int, payload: bytes = b"answer") -> bytes:
    return struct.pack("!HHHH", port - 1, port, 8 + len(payload), 0) + payload


def arp(
    sender: str, address: str, target: str, *, op: int = 1, target_mac: str = "00:00:00:00:00:00"
) -> bytes:
    """RFC 826 for IPv4 on Ethernet."""
    head = struct.pack("!HHBBH", 1, IP, 6, 4, op)
    return (
        head + mac(sender) + socket.inet_aton(address) + mac(target_mac) + socket.inet_aton(target)
    )


def nd(
    kind: int, target: str = "", *, destination: str = "", option: tuple[int, str] | None = None
) -> bytes:
    """A message of RFC 4861: 133 to 137, with its target and one link-layer option."""
    made = struct.pack("!BBHI", kind, 0, 0, 0)
    if kind == 134:
        made += bytes(8)
    for address in (target, destination):
        if address:
            made += socket.inet_pton(socket.AF_INET6, address)
    if option:
        made += bytes([option[0], 1]) + mac(option[1])
    return made

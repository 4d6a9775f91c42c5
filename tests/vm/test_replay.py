# SPDX-License-Identifier: GPL-2.0
"""Whole captures through the tunnel and, at the same time, through a bridge behind it.

    A wg1 ===== wg1 B br0 eth1 ----- eth0 C

What A's packet socket sends is captured on B's wg1 and on C's eth0. A frame that is not malformed
arrives as it was sent, zeros behind its protocol's end apart (toolkit.frame.library.delivered()).
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm import wire
from toolkit.checks import captures
from toolkit.errors import ToolError
from toolkit.frame import library
from toolkit.frame import verdicts as frames
from toolkit.frame.library import delivered, parse
from toolkit.guest import hosts
from toolkit.guest.hosts import Host, cable, capture, inside, underlay

MTU = 1406

# "Local experimental EtherType 2" (IEEE 802): behind each batch, so that the queues never overflow
MARKER = 0x88B6
MARK = b"\xff" * 6 + wire.A + MARKER.to_bytes(2, "big") + b"l2wg replay"
BATCH = 100  # WireGuard keeps 128 packets for a peer without a session, 1,024 for one with


@dataclass
class Wires:
    """The topology, and a socket on C that sees the markers only."""

    a: Host
    b: Host
    c: Host
    markers: socket.socket

    def replay(self, sent: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Send frames into A's wg1; what arrived on B's wg1 and on C's eth0."""
        with (
            capture(self.b, "wg1", options="-Q in") as tunnel,
            capture(self.c, "eth0", options="-Q in") as bridge,
        ):
            for at in range(0, len(sent), BATCH):
                wire.send(self.a, "wg1", *sent[at : at + BATCH], MARK)
                self.markers.recv(100)
        return [[f for f in wire.read(file) if f != MARK] for file in (tunnel, bridge)]  # type: ignore[return-value]


@pytest.fixture(scope="module")
def wires() -> Iterator[Wires]:
    a, b, c = (Host(name).create() for name in "ABC")
    underlay(a, b)
    cable(b, c, "eth1", "eth0", mtu=MTU)
    hosts.tunnel(a, b, addresses=False)
    for host, links in ((a, ["wg1"]), (b, ["wg1", "eth1"]), (c, ["eth0"])):
        for link in links:
            host.run("sysctl", "-q", "-w", f"net.ipv6.conf.{link}.disable_ipv6=1")
    # it floods whatever it gets; and it leaves alone what is for itself: give it an odd address
    b.ip(
        "link add br0 address 02:00:00:b0:b0:b0 type bridge stp_state 0 forward_delay 0"
        " mcast_snooping 0",
        "link set wg1 master br0",
        "link set eth1 master br0",
        "link set wg1 type bridge_slave learning off",
        "link set eth1 type bridge_slave learning off",
    )
    b.run("sysctl", "-q", "-w", "net.ipv6.conf.br0.disable_ipv6=1")
    b.ip("link set br0 up")
    with inside(c), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as markers:
        markers.bind(("eth0", MARKER))
        markers.settimeout(hosts.LONG)
        yield Wires(a, b, c, markers)
    for host in (a, b, c):
        host.destroy()


def bridged(frame: bytes) -> bool:
    """Does a bridge without STP forward it? Not from a group, not to 01:80:c2:00:00:01 to 0f.

    Source: net/bridge/br_input.c, br_handle_frame().
    """
    destination, source = frame[:6], frame[6:12]
    return (
        not source[0] & 1
        and source != bytes(6)
        and not (destination[:5] == bytes.fromhex("0180c20000") and 0 < destination[5] < 16)
        and len(frame) <= MTU + 14 + (4 if frame[12:14] in (b"\x81\x00", b"\x88\xa8") else 0)
    )


def compare(wires: Wires, sent: Sequence[bytes]) -> Counter[str]:
    """Replay frames, and compare both ends and the counters; how many had which verdict."""
    before = wires.b.counter("wg1", "rx_malformed")
    tunnel, bridge = wires.replay(sent)
    assert tunnel and bridge
    verdicts = Counter(parse(frame).verdict.name.lower() for frame in sent)
    plaintexts = [library.sent(frame, MTU + 14) for frame in sent]
    expected = [out for text in plaintexts if (out := delivered(text)) is not None]
    wire.differ(expected, tunnel, "behind the tunnel")
    wire.differ([f for f in expected if bridged(f)], bridge, "behind the bridge")
    assert wires.b.counter("wg1", "rx_malformed") - before == verdicts["malformed"]
    print(f"{len(sent)} frames sent, {len(tunnel)} and {len(bridge)} arrived: {dict(verdicts)}")
    return verdicts


def test_every_ethertype_once(wires: Wires) -> None:
    """0600 to ffff; the protocols of the specification come with a frame that is one."""
    samples = {f[12:14]: f[14:] for f in wire.talk().values()}
    arp = samples[b"\x08\x06"]
    samples[b"\x80\x35"] = arp[:7] + b"\3" + arp[8:]
    samples[b"\x88\xcc"] = bytes(2)
    samples[b"\x88\xe7"] = bytes(16) + b"\x08\x06" + arp
    samples[b"\x89\x15"] = b"\x60" + bytes(4) + b"\x10" + bytes(34) + b"grh" + bytes(17)
    sent = []
    for number in range(0x600, 0x10000):
        ethertype = number.to_bytes(2, "big")
        if number != MARKER:
            # letters are a sensible version or length in no protocol
            sent.append(wire.B + wire.A + ethertype + samples.get(ethertype, b"wxyz" * 4))
    verdicts = compare(wires, sent)
    assert verdicts.total() == 0x10000 - 0x600 - 1
    assert verdicts["malformed"] == 0 and verdicts["length"] >= len(samples)


@pytest.mark.parametrize("kind", ["ipv4", "opaque", "802.3"])
def test_every_length(wires: Wires, kind: str) -> None:
    """From 14 bytes (IPv4: with its header) to the MTU and the Ethernet header."""
    addresses = wire.B + wire.A
    if kind == "ipv4":
        sent = [wire.ipv4(n) for n in range(MTU - 20 + 1)]
    elif kind == "opaque":
        sent = [addresses + b"\x88\xb5" + bytes([7] * n) for n in range(MTU + 1)]
    else:
        sent = [addresses + n.to_bytes(2, "big") + bytes([66] * n) for n in range(MTU + 1)]
    verdicts = compare(wires, sent)
    assert verdicts == {"opaque" if kind == "opaque" else "length": len(sent)}


def load(file: Path) -> list[bytes]:
    """The frames of a capture that are whole, of Ethernet and of a size that a socket sends."""
    found = []
    try:
        for it in frames.captured(file):
            whole = it.linktype == frames.ETHERNET and len(it.data) == it.wire
            if whole and 14 <= it.wire <= MTU + 14:
                found.append(it.data)
    except ToolError:
        pass  # some examples are of damaged files: what is before the damage counts
    return found


def test_the_captures_of_debian(wires: Wires) -> None:
    sent = [frame for file in captures.debian() for frame in load(file)]
    assert compare(wires, sent)["length"] > 300


def test_the_fuzzers_corpus(wires: Wires) -> None:
    """Frames that reach every branch of the length function, malformed ones among them."""
    verdicts = compare(wires, load(wire.CORPUS))
    assert min(verdicts[word] for word in ("length", "opaque", "malformed")) > 20


def test_frames_that_scapy_makes(wires: Wires) -> None:
    from tests.unit.frame import scapyframes

    sent = [data for data, _ in scapyframes.with_length().values()]
    sent += list(scapyframes.opaque().values())
    assert "malformed" not in compare(wires, [f for f in sent if len(f) >= 14])

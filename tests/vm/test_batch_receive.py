# SPDX-License-Identifier: GPL-2.0
"""Messages that arrive together: a peer is woken once for several, and gets each of them in order.

Two peers in user space (tests/support/noise_udp.py) write any mixture of messages with UDP_SEGMENT:
a veth hands it over as one buffer from Linux 5.12 on, as one datagram after the other before.

    A: one, two - eth0 ======== eth0 - wg1 :B
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.support.noise import RESPONSE, Initiator, Session, generate, public
from tests.support.noise_udp import UdpPeer
from tests.vm import wire
from tests.vm.batches import offloads
from tests.vm.flows import MODE, SOL_UDP, UDP_SEGMENT, mode, one_processor
from toolkit.guest.hosts import PORT, Host, capture, inside, keys, underlay

pytestmark = [pytest.mark.newest, pytest.mark.usefixtures("batching")]

SIZE = 148  # of a handshake's first message, and so of all but the last in a buffer
HEADER = 34  # Ethernet and IPv4
#: Where each peer's frames come from, which its AllowedIPs allow.
SOURCES = ("192.168.157.1", "10.2.0.1")


class Mixture:
    """Two peers with a session each, a third with a key only, and the host that they write to."""

    def __init__(self, victim: Host, peers: list[UdpPeer], stranger: bytes) -> None:
        self.victim = victim
        self.peers = peers
        self.stranger = stranger
        self.made = 0

    def sessions(self) -> list[Session]:
        found = [peer.session for peer in self.peers]
        assert all(found)
        return [session for session in found if session]

    def frame(self, peer: int) -> bytes:
        """An IPv4 frame of that peer, unlike all others, for a message of SIZE bytes."""
        self.made += 1
        frame = wire.ipv4(SIZE - 32 - HEADER, source=SOURCES[peer])
        return frame[:-4] + self.made.to_bytes(4, "big")

    def write(self, messages: list[bytes]) -> None:
        """One write by the first peer's socket."""
        assert all(len(m) == SIZE for m in messages[:-1]) and len(messages[-1]) <= SIZE
        self.peers[0].socket.sendmsg(
            [b"".join(messages)],
            [(SOL_UDP, UDP_SEGMENT, SIZE.to_bytes(2, "little"))],
            0,
            ("10.0.0.2", PORT),
        )


@pytest.fixture(scope="module")
def battlefield() -> Iterator[Mixture]:
    a, b = Host("A").create(), Host("B").create()
    underlay(a, b)
    keys(b)
    b.ip(f"link add wg1 address {wire.B.hex(':')} type l2wireguard")
    b.run("wg", "set", "wg1", "private-key", "/dev/stdin", "listen-port", str(PORT), stdin=b.key)
    private = [generate() for _ in range(3)]
    for key, allowed in zip(private, ("0.0.0.0/0", "10.2.0.0/16", "10.3.0.0/16")):
        name = base64.b64encode(public(key)).decode()
        b.run("wg", "set", "wg1", "peer", name, "allowed-ips", allowed)
    b.run("sysctl", "-q", "-w", "net.ipv6.conf.wg1.disable_ipv6=1")
    b.ip("link set wg1 up")
    remote = base64.b64decode(b.public)
    ends = ("10.0.0.1", 0), ("10.0.0.2", PORT)
    with (
        one_processor(),
        inside(a),
        UdpPeer(private[0], remote, bind=ends[0], remote=ends[1]) as one,
        UdpPeer(private[1], remote, bind=ends[0], remote=ends[1]) as two,
    ):
        yield Mixture(b, [one, two], private[2])
    for host in (a, b):
        host.destroy()


@pytest.fixture
def mixture(battlefield: Mixture) -> Iterator[Mixture]:
    """With sessions that have just begun: one ends after 180 s."""
    for peer in battlefield.peers:
        peer.handshake(60)
    yield battlefield
    offloads(battlefield.victim, gro="off")


def sent_by(peer: int, frames: list[bytes]) -> list[bytes]:
    """Those of the frames that come from a peer."""
    source = bytes(int(part) for part in SOURCES[peer].split("."))
    return [frame for frame in frames if frame[26:30] == source]


@pytest.mark.parametrize("way", ["ethernet", "off"])
@pytest.mark.parametrize("gro", ["off", "on"])
def test_a_mixture_in_one_buffer(mixture: Mixture, gro: str, way: str) -> None:
    """Two peers in turn, and between them what is refused, what is answered and what is empty."""
    mode(way)
    assert MODE.read_text() == f"{way}\n"
    victim = mixture.victim
    offloads(victim, gro=gro)
    one, two = mixture.sessions()
    expected: list[bytes] = []

    def data(peer: int) -> bytes:
        expected.append(mixture.frame(peer))
        return mixture.sessions()[peer].seal(expected[-1])

    def refused() -> list[bytes]:
        """Forged, repeated, of no session, of the other's addresses, and no frame at all."""
        forged = bytearray(one.seal(mixture.frame(0)))
        forged[-1] ^= 1
        lost = bytearray(two.seal(mixture.frame(1)))
        lost[4:8] = bytes(4)
        short = wire.ipv4(SIZE - 32 - HEADER + 1)[:-1]
        foreign = two.seal(mixture.frame(0))
        return [bytes(forged), bytes(lost), one.seal(short), foreign, bytes(SIZE)]

    counters = ("rx_errors", "rx_length_errors", "rx_frame_errors")
    before = [victim.stat("wg1", c) for c in counters]
    initiator = Initiator(mixture.stranger, mixture.peers[0].remote_public)

    with capture(
        *(victim, "wg1", "ip proto 253"),
        options="-Q in",
        until=lambda file: len(wire.read(file)) >= len(expected),
    ) as file:
        for number in range(8):
            messages = [data(i % 2) for i in range(12)] + refused()
            messages += [messages[0], data(1), initiator.initiation() if number == 3 else data(0)]
            messages += [data(1)] * 2  # the second is a replay
            messages += [data(0) for _ in range(9)]
            last = (one.keepalive, two.keepalive, lambda: data(0))[number % 3]
            messages.append(last())
            mixture.write(messages)
    frames = wire.read(file)
    for peer in (0, 1):
        wire.differ(sent_by(peer, expected), sent_by(peer, frames), f"of peer {peer}")
        assert sent_by(peer, frames) == sent_by(peer, expected), f"in order, of peer {peer}"
    assert len(frames) == len(expected)
    grown = [victim.stat("wg1", c) - n for c, n in zip(counters, before)]
    assert grown[1] == 8, "a length that the frame does not have"
    assert grown[2] == 8, "an address that is the other's"
    assert answered(mixture, initiator)


def answered(mixture: Mixture, initiator: Initiator) -> bool:
    """The handshake's answer comes to the socket that asked, and is valid."""
    mixture.peers[0].socket.settimeout(60)
    while True:
        message = mixture.peers[0].socket.recv(65535)
        if message[:4] == RESPONSE.to_bytes(4, "little"):
            initiator.finish(message)
            return True


@pytest.mark.parametrize("way", ["ethernet", "off"])
def test_bursts_arrive_in_order(mixture: Mixture, way: str) -> None:
    """How many messages share a wake-up is counted in instructions, by ./inv bench."""
    mode(way)
    expected = [mixture.frame(0) for _ in range(400)]
    with capture(mixture.victim, "wg1", "ip proto 253", options="-Q in", frames=400) as file:
        for at in range(0, 400, 40):
            one = mixture.sessions()[0]
            mixture.write([one.seal(frame) for frame in expected[at : at + 40]])
    assert sent_by(0, wire.read(file)) == expected

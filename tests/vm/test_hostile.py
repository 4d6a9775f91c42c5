# SPDX-License-Identifier: GPL-2.0
"""A peer that holds a valid key and sends whatever it likes.

      A                                     B
    +--------------------+              +--------------------+
    | noise_udp.py       |==============| wg1  192.168.157.2 |
    | eth0 10.0.0.1      |--------------| eth0 10.0.0.2      |
    +--------------------+    cable     +--------------------+

It is a program in user space (tests/support/noise_udp.py) in host A's namespace, so any bytes at
all can be in a valid transport message. B is the kernel's link. What reaches B's stack, and what
is counted, must be what toolkit.frame.library.delivered() says; the kernel's log stays silent
(conftest.py).
"""

from __future__ import annotations

import base64
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.noise import generate, public
from tests.support.noise_udp import UdpPeer
from tests.vm import wire
from tests.vm.flows import one_processor
from toolkit.frame import verdicts
from toolkit.frame.library import delivered
from toolkit.guest.hosts import (
    LONG,
    PORT,
    Host,
    capture,
    eventually,
    inside,
    keys,
    no_more_memory,
    sh,
    underlay,
)

#: Plaintexts in one go, without waiting: far fewer than any queue on the way holds.
BATCH = 50

IPV4 = wire.ipv4(40)
HEAD = wire.B + wire.A
OPAQUE = HEAD + b"\x88\xb5" + b"opaque"


def arp(operation: int, sender: tuple[bytes, str], target: tuple[bytes, str]) -> bytes:
    """An ARP packet (RFC 826), from a hardware and protocol address to another."""
    addresses = b"".join(mac + socket.inet_aton(ip) for mac, ip in (sender, target))
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + addresses


# "Who has B's address? Tell .99", which none of the samples asks, and the answer
ASKED = b"\xff" * 6 + wire.A + b"\x08\x06"
ASKED += arp(1, (wire.A, "192.168.157.99"), (bytes(6), "192.168.157.2"))
ANSWER = wire.A + wire.B + b"\x08\x06"
ANSWER += arp(2, (wire.B, "192.168.157.2"), (wire.A, "192.168.157.99"))


class Attacker:
    """The peer in user space, and the host that it attacks."""

    def __init__(self, peer: UdpPeer, victim: Host) -> None:
        self.peer = peer
        self.victim = victim

    def alive(self) -> None:
        """The tunnel works: B answers an ARP request, byte for byte as it should."""
        self.peer.send(ASKED)
        # among what B's stack has to say to the frames before
        while self.peer.receive(LONG) != ANSWER.ljust(48, b"\0"):
            pass

    def counters(self) -> Counter[str]:
        """B's counters of received frames.

        Not rx_dropped: the stack counts there what nobody has asked for.
        """
        names = ("rx_packets", "rx_errors", "rx_length_errors", "rx_frame_errors")
        found = Counter({name: self.victim.stat("wg1", name) for name in names})
        return found + Counter(rx_malformed=self.victim.counter("wg1", "rx_malformed"))

    def attack(
        self, plaintexts: Sequence[bytes], options: str = ""
    ) -> tuple[list[bytes], Counter[str]]:
        """Send them; the frames that reached B's stack, and by how much B's counters grew.

        :param options: tcpdump's.
        """
        self.alive()  # what the handshake counted has been counted
        before, asked = self.counters(), 0

        def all_of_it(file: Path) -> bool:
            return wire.read(file).count(ASKED) >= asked

        watch = capture(self.victim, "wg1", options=f"-Q in {options}", until=all_of_it)
        with watch as file:
            for at in range(0, len(plaintexts), BATCH):
                for plaintext in plaintexts[at : at + BATCH]:
                    self.peer.send(plaintext)
                self.alive()
                asked += 1
            # the first to arrive after all that came with the last answer's question
            self.alive()
            asked += 1
        grown = self.counters() - before - Counter(rx_packets=asked)
        return [f for f in wire.read(file) if f != ASKED], grown

    def expect(self, plaintexts: Sequence[bytes], options: str = "") -> None:
        """Attack: what the specification allows arrives, and everything else is counted."""
        arrived, grown = self.attack(plaintexts, options)
        allowed = [out for p in plaintexts if (out := delivered(p)) is not None]
        wire.differ([f for f in allowed if linux_takes(f)], arrived, "at B")
        dropped = len(plaintexts) - len(allowed)
        assert grown["rx_packets"] == len(allowed)
        assert grown["rx_errors"] == grown["rx_malformed"] == dropped
        assert grown["rx_length_errors"] + grown["rx_frame_errors"] == dropped
        print(f"{len(plaintexts)} plaintexts: {len(arrived)} delivered, {dropped} malformed")


def linux_takes(frame: bytes) -> bool:
    """Linux drops a tag with less than an EtherType behind it before any packet socket sees it.

    Source: net/core/skbuff.c, skb_vlan_untag().
    """
    return frame[12:14] not in (b"\x81\x00", b"\x88\xa8") or len(frame) >= 20


@pytest.fixture(scope="module")
def hosts_at_war() -> Iterator[Attacker]:
    a, b = Host("A").create(), Host("B").create()
    underlay(a, b, mtu=9000)
    keys(b)
    private = generate()
    b.ip(f"link add wg1 address {wire.B.hex(':')} type l2wireguard")
    b.run(
        *("wg", "set", "wg1", "private-key", "/dev/stdin", "listen-port", str(PORT)),
        *("peer", base64.b64encode(public(private)).decode(), "allowed-ips", "0.0.0.0/0,::/0"),
        stdin=b.key,
    )
    b.run("sysctl", "-q", "-w", "net.ipv6.conf.wg1.disable_ipv6=1")
    b.ip("link set wg1 up", "address add 192.168.157.2/24 dev wg1")
    remote = base64.b64decode(b.public)
    with (
        one_processor(),
        inside(a),
        UdpPeer(private, remote, bind=("10.0.0.1", 0), remote=("10.0.0.2", PORT)) as peer,
    ):
        yield Attacker(peer, b)
    for host in (a, b):
        host.destroy()


@pytest.fixture
def attacker(hosts_at_war: Attacker) -> Attacker:
    """With a session that has just begun: one ends after 180 s (REJECT_AFTER_TIME)."""
    hosts_at_war.peer.handshake(LONG)
    return hosts_at_war


def test_frames_of_1_to_13_bytes(attacker: Attacker) -> None:
    attacker.expect([bytes([1] * n) for n in range(1, 14)])


def test_headers_cut_at_every_byte(attacker: Attacker) -> None:
    attacker.expect([f[:n] for f in wire.talk().values() for n in range(1, min(len(f), 70))])


def test_lying_lengths(attacker: Attacker) -> None:
    """Every word of every sample's headers: 0, 1, one more than it is, and the most there is."""
    plaintexts = []
    for frame in wire.talk().values():
        for at in range(12, min(len(frame) - 1, 40)):
            (value,) = struct.unpack_from("!H", frame, at)
            for lie in sorted({0, 1, value + 1 & 0xFFFF, 0x05DC, 0xFFFF} - {value}):
                plaintexts.append(frame[:at] + struct.pack("!H", lie) + frame[at + 2 :])
    attacker.expect(plaintexts)


@pytest.mark.parametrize("ethertype", [0x8100, 0x88A8, 0x88E7, 0x9100])
def test_200_nested_tags(attacker: Attacker, ethertype: int) -> None:
    """Opaque: nothing recurses, and the frame crosses as it came."""
    vlan = b"\0\1" + bytes(14 if ethertype == 0x88E7 else 0)
    frame = HEAD + ethertype.to_bytes(2, "big") + (vlan + ethertype.to_bytes(2, "big")) * 200
    attacker.expect([frame, frame[:-1], frame[:-2]])


@pytest.fixture
def pieces(attacker: Attacker) -> Iterator[Callable[[int], None]]:
    """Have A send IPv4 packets of at most that many bytes: larger messages come in fragments.

    WireGuard decrypts a message of up to 25 pieces (MAX_SKB_FRAGS + 8, receive.c).
    """

    def route(mtu: int) -> None:
        sh("ip", "-n", "A", *f"route replace 10.0.0.2 dev eth0 mtu lock {mtu}".split())

    yield route
    sh("ip", "-n", "A", "route", "delete", "10.0.0.2")


def test_headers_in_pieces(attacker: Attacker, pieces: Callable[[int], None]) -> None:
    """Fragments of 48 bytes: the first ends within the second header of each frame."""
    pieces(68)
    samples = [f for f in wire.talk().values() if len(f) < 900]
    lldp = HEAD + b"\x88\xcc" + b"\x02\x07\x04" + wire.A + b"\x0a\xc8" + b"n" * 200 + b"\0\0"
    tags = HEAD + b"\x81\x00\0\1" * 12 + samples[0][12:]
    before = reassembled(attacker.victim)
    attacker.expect(
        [
            *(f.ljust(-(-len(f) // 16) * 16, b"\0") for f in samples),
            *(f + bytes(300) for f in samples),
            *(f + bytes(300) + b"\1" for f in samples),
            *(lldp, lldp[:-1], lldp + bytes(15), tags, tags[:-1], tags + bytes(15)),
            *(wire.ipv4(800), wire.ipv4(800)[:-1], wire.ipv4(20) + bytes(700)),
        ]
    )
    assert reassembled(attacker.victim) - before > 60


def reassembled(host: Host) -> int:
    """IPv4 packets that the host put together out of fragments."""
    return int(host.run("nstat", "-asz", "IpReasmOKs").split()[-2])


def test_the_largest_messages(attacker: Attacker, pieces: Callable[[int], None]) -> None:
    """65,507 bytes of UDP, in 8 pieces."""
    pieces(9000)
    most = 65507 - 32
    attacker.expect(
        [
            HEAD + b"\x88\xb5" + b"\x55" * (most - 14),
            HEAD + b"\x88\xcc" + b"\x02\x00" * ((most - 14) // 2),  # LLDP without an end
            HEAD + b"\x88\xcc" + b"\x02\x00" * ((most - 16) // 2) + b"\0\0",  # with one
            wire.ipv4(65535 - 20)[:most],  # claims more
            wire.ipv4(65000),
            wire.ipv4(100) + bytes(60000),  # nearly all of it padding
            wire.ipv4(100) + bytes(60000) + b"\1",  # a trailer
            HEAD + b"\x05\xdc" + b"\x42" * (most - 14),  # 802.3, with a trailer
        ],
        options="-s 65535",
    )


def test_the_corpus_and_its_mutations(attacker: Attacker) -> None:
    """The frames that reach every branch of the length function, and mutations of them."""
    random.seed(157)
    corpus = [it.data for it in verdicts.captured(wire.CORPUS)]
    plaintexts = [data for data in corpus if data]
    for data in corpus:
        for _ in range(4):
            changed = bytearray(data)
            for _ in range(random.randint(1, 4)):
                changed[random.randrange(len(changed))] = random.randrange(256)
            plaintexts.append(bytes(changed) + bytes(random.randrange(40)))
    attacker.expect(plaintexts)


def test_addresses_that_are_not_the_peers(attacker: Attacker) -> None:
    """Cryptokey routing: the source of each frame is checked, behind any header that lies."""
    b = attacker.victim
    public_key = b.run("wg", "show", "wg1", "peers").strip()
    b.run("wg", "set", "wg1", "peer", public_key, "allowed-ips", "192.168.157.1/32,0.0.0.0/32")
    foreign = wire.ipv4(40, source="192.168.157.3")
    six = HEAD + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 0, 59, 64) + b"\xfe" * 32
    try:
        arrived, grown = attacker.attack([foreign, six, IPV4, OPAQUE])
        assert arrived == [IPV4, OPAQUE]
        assert grown == {"rx_packets": 2, "rx_errors": 2, "rx_frame_errors": 2}
        b.run("wg", "set", "wg1", "peer", public_key, "allowed-ips", "192.168.157.1/32")
        before = attacker.counters()
        for plaintext in (ASKED, wire.talk()["vlan-ipv4"], OPAQUE):
            attacker.peer.send(plaintext)
        eventually(
            lambda: attacker.counters()["rx_frame_errors"] - before["rx_frame_errors"] == 3,
            "frames without an address need 0.0.0.0",
        )
        assert attacker.counters()["rx_packets"] == before["rx_packets"]
    finally:
        b.run("wg", "set", "wg1", "peer", public_key, "allowed-ips", "0.0.0.0/0,::/0")
    attacker.alive()


def in_priority_tags(frame: bytes, *types: int) -> bytes:
    """The frame in tags without a VLAN (VID 0), outermost first, of priority 5."""
    tags = b"".join(t.to_bytes(2, "big") + b"\xa0\0" for t in types)
    return frame[:12] + tags + frame[12:]


@pytest.mark.newest
def test_priority_tags_are_no_way_around_allowed_ips(attacker: Attacker) -> None:
    """Linux takes them off and hands what is inside to IP, however many there are."""
    b = attacker.victim
    public_key = b.run("wg", "show", "wg1", "peers").strip()
    b.run("wg", "set", "wg1", "peer", public_key, "allowed-ips", "192.168.157.1/32,0.0.0.0/32")
    stacks = [(0x8100,), (0x88A8,), (0x8100, 0x8100), (0x88A8, 0x8100), (0x8100,) * 15]
    foreign = wire.ipv4(40, source="192.168.157.3")
    six = HEAD + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 0, 59, 64) + b"\xfe" * 32
    vlan = foreign[:12] + b"\x81\0\xa0\5" + foreign[12:]
    try:
        for stack in stacks:
            mine = in_priority_tags(IPV4, *stack)
            others = [in_priority_tags(f, *stack) for f in (foreign, six)]
            arrived, grown = attacker.attack([mine, *others])
            assert arrived == [mine], stack
            assert grown == {"rx_packets": 1, "rx_errors": 2, "rx_frame_errors": 2}
        # beyond the bound nobody's, whatever is inside
        deep = [in_priority_tags(f, *[t] * n) for f in (IPV4, OPAQUE) for t in (0x8100, 0x88A8)
                for n in (16, 200)]  # fmt: skip
        arrived, grown = attacker.attack(deep)
        assert arrived == []
        assert grown == {"rx_errors": len(deep), "rx_frame_errors": len(deep)}
        # inside a VLAN is another network, and its owner's
        arrived, grown = attacker.attack([vlan, in_priority_tags(OPAQUE, 0x8100)])
        assert arrived == [vlan, in_priority_tags(OPAQUE, 0x8100)]
    finally:
        b.run("wg", "set", "wg1", "peer", public_key, "allowed-ips", "0.0.0.0/0,::/0")
    attacker.alive()


def test_replays_and_forgeries(attacker: Attacker) -> None:
    """What WireGuard itself refuses never gets as far as the length function."""
    session = attacker.peer.session
    assert session
    message = session.seal(IPV4)
    forged = bytearray(session.seal(IPV4))
    forged[20] ^= 1
    attacker.alive()
    before = attacker.counters()
    for again in (message, message, bytes(forged), message[:40], session.seal(b"")):
        attacker.peer.send_raw(again)
    attacker.alive()
    after = attacker.counters()
    assert after["rx_packets"] - before["rx_packets"] == 3, "a frame, a keepalive, alive()'s"
    assert after["rx_malformed"] == before["rx_malformed"]


def test_memory_does_not_grow(attacker: Attacker) -> None:
    """Thousands of frames of all sorts, delivered and dropped: the kernel keeps nothing."""
    plaintexts = [
        wire.ipv4(40)[:-1],
        wire.ipv4(1000)[:500],
        HEAD + b"\x81\x00" + b"\0\1\x81\x00" * 200,
        HEAD + b"\x88\xb5" + b"\x55" * 20000,
        wire.ipv4(100) + bytes(3000),
        b"\1" * 13,
    ]

    def burst(rounds: int) -> None:
        for _ in range(rounds):
            for plaintext in plaintexts * 5:
                attacker.peer.send(plaintext)
            attacker.alive()

    burst(20)
    with no_more_memory(400):  # of one kind alone, 500 times an skb and its head would be 450
        burst(100)

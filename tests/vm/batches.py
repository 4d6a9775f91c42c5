# SPDX-License-Identifier: GPL-2.0
"""Two hosts with links over IPv4 and IPv6, for the tests of batches.

A: wg1 (over IPv4), wg2 (over IPv6) - eth0 ======== eth0 - wg1, wg2 :B
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.vm import wire
from tests.vm.flows import burst, datagrams
from toolkit.guest.hosts import PORT, Host, capture, tunnel, underlay

#: Addresses of B by the family of the outer packets.
INSIDE = {4: "192.168.157.2", 6: "192.168.158.2"}
LINK = {4: "wg1", 6: "wg2"}
OUTER_PORT = {4: PORT, 6: PORT + 1}
MESSAGES = 41  # with a shorter one at the end


def pair_of(a: Host, b: Host, kind: str = "l2wireguard") -> None:
    """The two links of the drawing."""
    underlay(a, b)
    tunnel(a, b, kind=kind)
    six = (f"[fd00:0::1]:{PORT + 1}", f"[fd00:0::2]:{PORT + 1}")
    tunnel(a, b, "wg2", kind=kind, endpoints=six, addresses=False)
    for host, last in ((a, 1), (b, 2)):
        host.ip(f"address add 192.168.158.{last}/24 dev wg2")
        for link in ("wg1", "wg2"):
            host.run("sysctl", "-q", "-w", f"net.ipv6.conf.{link}.disable_ipv6=1")
    for outer in (4, 6):
        a.ping(INSIDE[outer])
        # no question about an address among what is counted
        for host, other, last in ((a, b, 2), (b, a, 1)) if kind == "l2wireguard" else ():
            mac = other.run("cat", f"/sys/class/net/{LINK[outer]}/address").strip()
            address = INSIDE[outer][:-1] + str(last)
            host.ip(f"neighbour replace {address} lladdr {mac} dev {LINK[outer]} nud permanent")


def offloads(host: Host, **wanted: str) -> None:
    """`ethtool -K eth0`: what this kernel's veth does not know stays as it is."""
    for name, value in wanted.items():
        host.run("ethtool", "-K", "eth0", name, value, check=False)


def usual() -> list[bytes]:
    return datagrams(MESSAGES, 1000, 300)


class Firewall:
    """Counts and changes what leaves a host, or comes in."""

    def __init__(self, host: Host, hook: str = "output", kind: str = "filter") -> None:
        self.host = host
        host.run("nft", "flush", "ruleset")
        host.run("nft", "add", "table", "inet", "t")
        host.run("nft", f"add chain inet t c {{ type {kind} hook {hook} priority 0; }}")

    def rule(self, *words: str) -> None:
        self.host.run("nft", "add", "rule", "inet", "t", "c", *" ".join(words).split())

    def packets(self) -> int:
        """What the first counter says."""
        found = re.search(r"counter packets (\d+)", self.host.run("nft", "list", "ruleset"))
        assert found
        return int(found[1])


def units(
    a: Host,
    b: Host,
    outer: int,
    payloads: Sequence[bytes],
    during: contextlib.AbstractContextManager[object] | None = None,
) -> int:
    """In how many units a burst goes through A's firewall."""
    firewall = Firewall(a)
    # handshakes and keepalives are shorter
    firewall.rule(f"udp dport {OUTER_PORT[outer]} udp length > 200 counter")
    # What waits for a handshake loses its owner, and then counts as forwarded.
    a.ping(INSIDE[outer], count=1)
    with during or contextlib.nullcontext():
        burst(a, b, INSIDE[outer], payloads)
    return firewall.packets()


@dataclass(frozen=True)
class Datagram:
    """An outer packet of ours in an Ethernet frame.

    :ivar header: what is equal in all of a burst: addresses, ports, DS field, hop limit, flags.
    """

    length: int
    header: bytes
    identification: int
    counter: int


def checksum(data: bytes) -> int:
    """RFC 1071, of what includes the field itself: 0 if right."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def outer_packets(frames: Sequence[bytes], *, checked: bool) -> list[Datagram]:
    """Take transport messages apart, and verify every length and checksum.

    :param checked: the UDP checksums, too: with a card that fills them in they are not there yet.
    """
    found = []
    for frame in frames:
        packet = frame[14:]
        if packet[0] >> 4 == 4:
            assert packet[9] == 17 and checksum(packet[:20]) == 0
            assert struct.unpack("!H", packet[2:4])[0] == len(packet)
            udp, pseudo = packet[20:], packet[12:20] + b"\0\x11"
            header, identification = packet[:2] + packet[6:10] + packet[12:24], packet[4:6]
        else:
            assert packet[6] == 17 and struct.unpack("!H", packet[4:6])[0] == len(packet) - 40
            udp, pseudo = packet[40:], packet[8:40] + b"\0\x11"
            header, identification = packet[:4] + packet[6:44], b"\0\0"
        assert struct.unpack("!H", udp[4:6])[0] == len(udp)
        if udp[8:12] != b"\4\0\0\0" or len(udp) == 40:
            continue  # a handshake, a keepalive
        assert udp[6:8] != b"\0\0", "no UDP checksum"
        if checked:
            assert checksum(pseudo + udp[4:6] + udp) == 0, "UDP checksum"
        found.append(
            Datagram(
                len(packet),
                header,
                int.from_bytes(identification, "big"),
                int.from_bytes(udp[16:24], "little"),
            )
        )
    return found


def on_the_wire(
    a: Host, b: Host, outer: int, payloads: Sequence[bytes], *, checked: bool = False
) -> list[Datagram]:
    """The datagrams of a burst as they leave A, in order."""
    with capture(a, "eth0", "udp", options="-Q out") as file:
        burst(a, b, INSIDE[outer], payloads)
    found = outer_packets(wire.read(file), checked=checked)
    first = found[0]
    for number, datagram in enumerate(found):
        assert datagram.header == first.header
        assert datagram.counter == first.counter + number, "in the order of their counters"
    if outer == 4:
        # Linux skips some now and then
        steps = [y.identification - x.identification & 0xFFFF for x, y in zip(found, found[1:])]
        assert all(0 < step < 0x8000 for step in steps), "IP identification"
    return found

# SPDX-License-Identifier: GPL-2.0
"""Senders that are not the usual stack: zero copies, pktgen."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.vm import wire
from toolkit.guest import hosts as guest
from toolkit.guest.hosts import Host, eventually, inside, sh, underlay

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]

SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000  # include/uapi/asm-generic/socket.h, socket.h


def test_pages_of_a_sender_without_copies_do_not_wait_for_a_handshake(hosts: Hosts) -> None:
    """The peer never answers; the sender gets its pages back all the same."""
    a, b = hosts("A", "B")
    underlay(a, b)
    guest.tunnel(a, b)
    wire.still(a)
    b.ip("link del wg1")
    a.ip("link set wg1 down", "link set wg1 up")  # ends the session
    wire.still(a)
    with inside(a), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
        sock.sendto(bytes(1200), MSG_ZEROCOPY, ("192.168.157.2", 9))

        def back() -> bool:
            try:
                # a sock_extended_err of origin SO_EE_ORIGIN_ZEROCOPY (5)
                _, said, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            return any(data[4] == 5 for _, _, data in said)

        eventually(back, "the pages come back")


def test_pktgen_keeps_a_reference_to_what_it_sends(pair: list[Host]) -> None:
    a, b = pair
    a.ping("192.168.157.2")
    wire.still(a, b)
    sh("modprobe", "pktgen")

    def tell(file: str, *lines: str) -> None:
        for line in lines:
            a.run("sh", "-c", f"echo '{line}' >/proc/net/pktgen/{file}")

    before = b.stat("wg1", "rx_packets")
    tell("kpktgend_0", "rem_device_all", "add_device wg1")
    tell(
        "wg1",
        *("count 200", "delay 200000", "pkt_size 900", "frags 3", "clone_skb 0"),
        *("dst 192.168.157.2", f"dst_mac {wire.B.hex(':')}"),
    )
    tell("pgctrl", "start")
    said = a.run("cat", "/proc/net/pktgen/wg1")
    tell("kpktgend_0", "rem_device_all")
    assert "errors: 0" in said, said
    eventually(lambda: b.stat("wg1", "rx_packets") - before >= 200, "all arrive")
    assert [host.stat("wg1", f"{way}_errors") for host, way in ((a, "tx"), (b, "rx"))] == [0, 0]

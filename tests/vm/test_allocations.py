# SPDX-License-Identifier: GPL-2.0
"""Allocations that fail, one at a time: an error, never a crash or a leak.

Needs a kernel that can be told to fail (Documentation/fault-injection/fault-injection.rst):
`./inv test tests/vm/test_allocations.py --kernel uml`. That kernel looks for leaks, too, and for
memory that is used after it has been freed, when the guest ends.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from l2wgctl.model import AllowedIP, Device, Endpoint, Key, Peer, SecretKey
from l2wgctl.netlink import channel, messages, uapi
from toolkit.guest.hosts import Host, inside

FAIL_NTH = Path("/proc/thread-self/fail-nth")
DEBUG = Path("/sys/kernel/debug")

pytestmark = pytest.mark.skipif(
    not FAIL_NTH.exists(), reason="needs a kernel that fails at will: --kernel uml"
)

RTM_NEWLINK, RTM_DELLINK = 16, 17
NLM_F_CREATE = 0x600  # with NLM_F_EXCL
IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_ADDRESS, IFLA_NET_NS_FD = 3, 4, 18, 1, 28
IFF_UP = 1

#: What an operation may answer when it gets no memory. ENOBUFS is also what a socket says when the
#: answer itself got none: then it has been done or not.
NO_MEMORY = {errno.ENOMEM, errno.ENOBUFS}


@pytest.fixture(autouse=True)
def failing() -> None:
    """Every allocation may fail, also one that could wait for memory, and quietly."""
    for name, values in {
        "failslab": {"ignore-gfp-wait": "N"},
        "fail_page_alloc": {"ignore-gfp-wait": "N", "ignore-gfp-highmem": "N", "min-order": "0"},
    }.items():
        for knob, value in {**values, "verbose": "0", "probability": "0"}.items():
            (DEBUG / name / knob).write_text(value)


class Netlink:
    """A routing socket: messages made beforehand, so that only the kernel allocates."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.socket.bind((0, 0))

    def link(self, kind: int, flags: int, attributes: bytes, *, up: int | None = None) -> bytes:
        """A message about a link: RTM_NEWLINK or RTM_DELLINK."""
        change = IFF_UP if up is not None else 0
        body = struct.pack("=BxHiII", 0, 0, 0, up or 0, change) + attributes
        return struct.pack("=IHHII", 16 + len(body), kind, flags | 5, 1, 0) + body

    def ask(self, message: bytes) -> None:
        """Send it and take the acknowledgement.

        :raises OSError: the kernel refuses.
        """
        self.socket.send(message)
        self.answer()

    def answer(self) -> None:
        answer = self.socket.recv(65536)
        (number,) = struct.unpack_from("=i", answer, 16)
        if number:
            raise OSError(-number, os.strerror(-number))


def name(link: str) -> bytes:
    return channel.attribute(IFLA_IFNAME, link.encode() + b"\0")


def fail_each(do: Callable[[], object], after: Callable[[OSError | None], object]) -> int:
    """Do it again and again, each time with another allocation failing; how many there were.

    :param do: one system call or few.
    :param after: looks at what is left and undoes it; gets what ``do`` raised.
    """
    with FAIL_NTH.open("r+b", buffering=0) as nth:
        for number in itertools.count(1):
            error = None
            os.pwrite(nth.fileno(), b"%d" % number, 0)
            try:
                do()
            except OSError as raised:
                error = raised
            left = int(os.pread(nth.fileno(), 20, 0))
            os.pwrite(nth.fileno(), b"0", 0)
            assert error is None or error.errno in NO_MEMORY, error
            after(error)
            if left:
                # there were fewer than that: this time none has failed
                assert error is None
                return number - 1
    raise AssertionError


@pytest.fixture
def host(hosts: Callable[..., list[Host]]) -> Iterator[Host]:
    """One host, with this thread in it."""
    (made,) = hosts("H")
    with inside(made):
        yield made


@pytest.fixture
def netlink(host: Host) -> Iterator[Netlink]:
    made = Netlink()
    yield made
    made.socket.close()


def add(kind: str = "l2wireguard", link: str = "wg1") -> bytes:
    info = channel.attribute(IFLA_LINKINFO, channel.attribute(1, kind.encode() + b"\0"))
    return name(link) + info


def device(peers: int) -> Device:
    """A configuration with all that a peer may have."""
    return Device(
        "wg1",
        private_key=SecretKey(bytes(31) + b"\x40"),
        listen_port=51820,
        peers=tuple(
            Peer(
                Key(bytes([i + 1]) * 32),
                preshared_key=SecretKey(bytes([i]) * 32),
                endpoint=Endpoint(f"10.0.0.{i + 1}", 51820),
                persistent_keepalive=25,
                replace_allowed_ips=True,
                allowed_ips=(
                    AllowedIP(socket.inet_aton(f"10.{i}.0.0"), 16),
                    AllowedIP(bytes([0xFD, i, *[0] * 14]), 64),
                ),
            )
            for i in range(peers)
        ),
    )


class Configured:
    """A link, and the messages that configure it."""

    def __init__(self, netlink: Netlink) -> None:
        self.netlink = netlink
        self.channel = channel.Channel(channel.open_socket())
        families = channel.loaded_families()
        self.family = next(n for f in families if (n := self.channel.family_id(f)))
        self.messages = [bytes(m) for m in messages.encode_set(device(3), messages.sockaddr)]
        self.add()

    def add(self) -> None:
        self.netlink.ask(self.netlink.link(RTM_NEWLINK, NLM_F_CREATE, add()))

    def delete(self) -> None:
        self.netlink.ask(self.netlink.link(RTM_DELLINK, 0, name("wg1")))

    def configure(self) -> None:
        """Send them.

        :raises OSError: the kernel refuses.
        """
        for message in self.messages:
            try:
                version = uapi.WG_GENL_VERSION
                command = uapi.WG_CMD_SET_DEVICE
                self.channel.send(self.family, command, version, channel.NLM_F_ACK, message)
                for _ in self.channel.answers():
                    pass
            except channel.Refused as refused:
                raise OSError(refused.number, refused.detail) from None

    def peers(self) -> int:
        _, payloads = self.channel.dump("wg1", channel.loaded_families())
        return len(list(messages.decode_device("wg1", payloads)[1]))

    def set_up(self, up: bool) -> None:
        message = self.netlink.link(RTM_NEWLINK, 0, name("wg1"), up=int(up))
        self.netlink.ask(message)


@pytest.fixture
def configured(netlink: Netlink) -> Configured:
    return Configured(netlink)


def test_peers_are_added_and_removed(configured: Configured) -> None:
    """Some of the peers may be there after an error (as wireguard does it), and all of each."""

    def after(error: OSError | None) -> None:
        there = configured.peers()
        assert there == 3 or error is not None
        configured.delete()
        configured.add()

    number = fail_each(configured.configure, after)
    print(f"{number} allocations")
    assert number > 20


def test_a_link_that_has_peers_opens_or_stays_closed(configured: Configured) -> None:
    configured.configure()

    def after(error: OSError | None) -> None:
        configured.set_up(False)

    number = fail_each(lambda: configured.set_up(True), after)
    print(f"{number} allocations")
    assert number > 5


@pytest.mark.parametrize(
    "attribute",
    [
        channel.attribute(IFLA_ADDRESS, bytes.fromhex("02cafef00e07")),
        channel.attribute(IFLA_MTU, struct.pack("=I", 1300)),
    ],
    ids=["address", "mtu"],
)
def test_a_link_changes(configured: Configured, attribute: bytes) -> None:
    configured.configure()
    configured.set_up(True)
    netlink = configured.netlink
    message = netlink.link(RTM_NEWLINK, 0, name("wg1") + attribute)
    fail_each(lambda: netlink.ask(message), lambda error: None)

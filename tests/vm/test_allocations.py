# SPDX-License-Identifier: GPL-2.0
"""Allocations that fail, one at a time: an error, never a crash or a leak.

Needs a kernel that can be told to fail: `./inv test tests/vm/test_allocations.py --kernel uml`.
That kernel looks for leaks, too, and for memory that is used after it has been freed, when the
guest ends.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from l2wgctl.model import AllowedIP, Device, Endpoint, Key, Peer, SecretKey
from l2wgctl.netlink import channel, messages, uapi
from tests.vm import batches, failing, l2wg, station
from tests.vm.failing import (
    IFLA_ADDRESS,
    IFLA_MTU,
    NLM_F_CREATE,
    RTM_DELLINK,
    RTM_NEWLINK,
    Netlink,
    add,
    fail_each,
    name,
)
from tests.vm.test_switch import hub, ip_of, mac_of
from toolkit.guest.hosts import Host, eventually, inside

pytestmark = [failing.needs_failures, pytest.mark.usefixtures("quiet_failures")]
quiet_failures = failing.quiet_failures

KINDS = ("l2wireguard", "l2wgswitch")


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

    def __init__(self, netlink: Netlink, kind: str = "l2wireguard") -> None:
        self.netlink = netlink
        self.kind = kind
        self.channel = channel.Channel(channel.open_socket())
        families = channel.loaded_families()
        self.family = next(n for f in families if (n := self.channel.family_id(f)))
        self.messages = [bytes(m) for m in messages.encode_set(device(3), messages.sockaddr)]
        self.add()

    def add(self) -> None:
        self.netlink.ask(self.netlink.link(RTM_NEWLINK, NLM_F_CREATE, add(self.kind)))

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


@pytest.fixture(params=KINDS)
def configured(netlink: Netlink, request: pytest.FixtureRequest) -> Configured:
    return Configured(netlink, request.param)


def there(link: str = "wg1") -> bool:
    """Is there such a link in this thread's namespace?"""
    return link in (found for _, found in socket.if_nameindex())


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_is_made_or_not(netlink: Netlink, kind: str) -> None:
    """A link that could not be made is not there.

    EINVAL, of all kinds of links, is what device_add() says of a device for whose name there was no
    memory (drivers/base/core.c). Another link keeps the rate limiter's cache, because Linux leaks
    the name of a cache that it cannot make (sysfs_slab_add() in mm/slub.c).
    """
    make = netlink.link(RTM_NEWLINK, NLM_F_CREATE, add(kind))
    delete = netlink.link(RTM_DELLINK, 0, name("wg1"))
    netlink.ask(netlink.link(RTM_NEWLINK, NLM_F_CREATE, add(kind, "wg0")))
    tries, invalid = itertools.count(), list[int]()

    def after(error: OSError | None) -> None:
        number = next(tries)
        if error is not None and error.errno == errno.EINVAL:
            invalid.append(number)
        # without memory for the answer it may be there all the same
        assert there() == (error is None) or (error and error.errno == errno.ENOBUFS and there())
        if there():
            netlink.ask(delete)

    netlink.ask(make)  # loads modules
    netlink.ask(delete)
    number = fail_each(lambda: netlink.ask(make), after, failing.NO_MEMORY | {errno.EINVAL})
    failing.figure(len(invalid), "times EINVAL")
    assert number > 30
    # the one name, and what the allocator itself needs for it (a slab, and what notes that)
    print("EINVAL", invalid)
    assert not invalid or invalid[-1] - invalid[0] < 10


def test_a_link_goes(configured: Configured) -> None:
    """With its peers; it is gone, or it is still there and goes the next time."""
    configured.configure()
    delete = configured.netlink.link(RTM_DELLINK, 0, name("wg1"))

    def after(error: OSError | None) -> None:
        if there():
            assert error
            configured.delete()
        configured.add()
        configured.configure()

    number = fail_each(lambda: configured.netlink.ask(delete), after)
    assert number > 0


def test_peers_are_added_and_removed(configured: Configured) -> None:
    """Some of the peers may be there after an error (as wireguard does it), and all of each."""

    def after(error: OSError | None) -> None:
        there = configured.peers()
        assert there == 3 or error is not None
        configured.delete()
        configured.add()

    number = fail_each(configured.configure, after)
    assert number > 20


def test_a_link_that_has_peers_opens_or_stays_closed(configured: Configured) -> None:
    configured.configure()

    def after(error: OSError | None) -> None:
        configured.set_up(False)

    # ENFILE is what sock_alloc() says of its socket (net/socket.c)
    allowed = failing.NO_MEMORY | {errno.ENFILE}
    number = fail_each(lambda: configured.set_up(True), after, allowed)
    assert number > 5


@pytest.mark.parametrize("what", ["address", "mtu"])
def test_a_link_changes(configured: Configured, what: str) -> None:
    attribute = {
        "address": channel.attribute(IFLA_ADDRESS, bytes.fromhex("02cafef00e07")),
        "mtu": channel.attribute(IFLA_MTU, struct.pack("=I", 1300)),
    }[what]
    configured.configure()
    configured.set_up(True)
    netlink = configured.netlink
    message = netlink.link(RTM_NEWLINK, 0, name("wg1") + attribute)
    fail_each(lambda: netlink.ask(message), lambda error: None)


class Options:
    """A switch whose only peer has options, and what they are."""

    def __init__(self, host: Host, configured: Configured) -> None:
        self.family = l2wg.Family(host)
        configured.configure()
        self.host = host
        self.netlink = configured.netlink
        self.keys = list(self.peers())
        self.set(self.change(self.keys[0], "02:00:00:00:01:01", "02:00:00:00:01:02"))
        self.set(self.change(self.keys[1], "02:00:00:00:01:02"))

    def change(self, key: bytes, *macs: str) -> bytes:
        """All options of a peer."""
        return b"".join(
            [
                l2wg.named("wg1"),
                l2wg.attr(l2wg.Peer.PUBLIC_KEY, key),
                l2wg.attr(l2wg.Peer.ALLOWED_MACS | l2wg.NESTED, l2wg.macs(*macs)),
                l2wg.attr(l2wg.Peer.ALLOWED_VLANS | l2wg.NESTED, l2wg.vlans((0, 9), (11, 4000))),
                l2wg.attr(l2wg.Peer.MARK, l2wg.u32(len(macs))),
            ]
        )

    def set(self, payload: bytes, cmd: int = l2wg.Cmd.PEER_SET) -> None:
        """Ask for it.

        :raises OSError: the kernel refuses.
        """
        try:
            self.family.do(cmd, payload)
        except l2wg.Refused as no:
            raise OSError(no.errno, no.message) from None

    def dump(self, cmd: int) -> list[dict[int, bytes]]:
        """Ask for all.

        :raises OSError: the kernel refuses.
        """
        try:
            return self.family.dump(cmd, l2wg.named("wg1"))
        except l2wg.Refused as no:
            raise OSError(no.errno, no.message) from None

    def peers(self) -> dict[bytes, tuple[object, ...]]:
        """What was set, by key."""
        asked = (l2wg.Peer.ALLOWED_MACS, l2wg.Peer.ALLOWED_VLANS, l2wg.Peer.MARK)
        return {
            told[l2wg.Peer.PUBLIC_KEY]: (
                sorted(l2wg.attrs(told[asked[0]])),
                *(told.get(kind) for kind in asked[1:]),
            )
            for told in self.dump(l2wg.Cmd.PEER_GET)
        }

    def state(self) -> tuple[object, ...]:
        """All that can be set."""
        (link,) = self.family.do(l2wg.Cmd.LINK_GET, l2wg.named("wg1"))
        host = (link[l2wg.Link.HOST_MACS], link[l2wg.Link.HOST_ADDRESSES])
        entries = [(e[l2wg.Fdb.MAC], e.get(l2wg.Fdb.VLAN)) for e in self.dump(l2wg.Cmd.FDB_GET)]
        return self.peers(), host, sorted(entries, key=repr)


@pytest.fixture
def options(host: Host, netlink: Netlink) -> Options:
    return Options(host, Configured(netlink, "l2wgswitch"))


def changes(options: Options) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """What may fail, and its opposite."""
    new, first = bytes([7]) * 32, options.keys[0]
    forget = l2wg.named("wg1") + l2wg.attr(l2wg.Peer.PUBLIC_KEY, new)
    macs = [f"02:00:00:00:02:{n:02x}" for n in range(40)]
    made = options.change(new, *macs)
    before = options.change(first, "02:00:00:00:01:01", "02:00:00:00:01:02")
    more = options.change(first, "02:00:00:00:01:02", *macs)
    host = l2wg.named("wg1") + l2wg.attr(
        l2wg.Link.HOST_MACS | l2wg.NESTED, l2wg.macs("02:00:00:00:03:01")
    )
    host += l2wg.attr(l2wg.Link.HOST_ADDRESSES | l2wg.NESTED, l2wg.prefixes("10.9.0.1/32"))
    nobody = l2wg.named("wg1") + b"".join(
        l2wg.attr(kind | l2wg.NESTED, b"")
        for kind in (l2wg.Link.HOST_MACS, l2wg.Link.HOST_ADDRESSES)
    )
    handle = next(
        told[l2wg.Peer.HANDLE]
        for told in options.dump(l2wg.Cmd.PEER_GET)
        if told[l2wg.Peer.PUBLIC_KEY] == first
    )
    entry = (socket.if_nametoindex("wg1"), bytes.fromhex("020000000401"), handle)
    bind = options.netlink.entry(failing.RTM_NEWNEIGH, NLM_F_CREATE, *entry)
    free = options.netlink.entry(failing.RTM_DELNEIGH, 0, *entry)
    cmd = l2wg.Cmd
    return {
        "a key gets options": (
            lambda: options.set(made),
            lambda: options.set(forget, cmd.PEER_DEL),
        ),
        "a peer's options change": (lambda: options.set(more), lambda: options.set(before)),
        "the host's addresses": (
            lambda: options.set(host, cmd.LINK_SET),
            lambda: options.set(nobody, cmd.LINK_SET),
        ),
        "an entry of bridge fdb": (
            lambda: options.netlink.ask(bind),
            lambda: options.netlink.ask(free),
        ),
    }


@pytest.mark.parametrize(
    "what",
    [
        "a key gets options",
        "a peer's options change",
        "the host's addresses",
        "an entry of bridge fdb",
    ],
)
def test_options_of_a_switch_change_whole_or_not_at_all(options: Options, what: str) -> None:
    do, undo = changes(options)[what]
    before = options.state()
    do()
    done = options.state()
    assert done != before
    undo()
    assert options.state() == before

    def after(error: OSError | None) -> None:
        now = options.state()
        if error is None or (error.errno == errno.ENOBUFS and now == done):
            assert now == done
            undo()
        assert options.state() == before

    number = fail_each(do, after)
    assert number > 3


@pytest.mark.parametrize(
    "cmd", [l2wg.Cmd.PEER_GET, l2wg.Cmd.FDB_GET, l2wg.Cmd.LINK_GET], ids=["peers", "table", "link"]
)
def test_a_switch_is_read(options: Options, cmd: int) -> None:
    whole = len(options.dump(cmd))
    told: list[int] = []

    def after(error: OSError | None) -> None:
        # what is left of an answer that broke off is not for the next question
        options.family.channel.sock.close()
        options.family = l2wg.Family(options.host)
        if error is None:
            assert told.pop() == whole

    number = fail_each(lambda: told.append(len(options.dump(cmd))), after)
    assert number > 1


#: Every so-many-th allocation fails. All of them, then ever fewer.
INTERVALS = (1, 2, 3, 5, 8, 13, 34)


def flood(host: Host, number: int) -> None:
    """Frames from 64 stations, ``number`` and those behind it: to all, to known, to unknown."""
    with inside(host), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("wg1", 0))
        for station_number in range(number, number + 64):
            source = f"02:00:00:01:{station_number >> 8:02x}:{station_number & 255:02x}"
            for to in (station.BROADCAST, mac_of(1), mac_of(3), "02:00:00:00:99:99"):
                with contextlib.suppress(OSError):
                    sock.send(station.eth(to, source, station.NOTHING, bytes(60)))


def test_packets_that_find_no_memory(hosts: Callable[..., list[Host]]) -> None:
    """Handshakes, frames, floods, relayed ones and what is learned: dropped, and counted where the
    module counts; afterwards all works as before.
    """
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    for spoke in (b, c):
        spoke.ping(ip_of(1))
        l2wg.set_peer(a, spoke, relay=1, max_macs=4096)
    b.ping(ip_of(3))
    events = l2wg.Family(a).events()
    monitor = a.start("bridge", "monitor", "fdb")
    for interval in INTERVALS:
        for host in (a, b, c):  # no sessions
            host.ip("link set wg1 down", "link set wg1 up")
        with failing.every(interval) as failed:
            pings = [
                source.start(*f"ping -q -c 8 -i 0.1 -W 1 -s {size} {ip_of(number)}".split())
                for source, number in ((b, 1), (b, 3), (c, 2), (a, 2))
                for size in (56, 2800)
            ]
            flood(b, 64 * interval)
            for ping in pings:
                ping.wait()
            number = failed()
        failing.figure(number, "failed allocations")
        assert number
        for spoke, other in ((b, 1), (b, 3), (c, 1), (c, 2)):
            eventually(partial(spoke.ok, "ping", "-c", "1", "-W", "2", ip_of(other)), "a ping")
    assert {"rx_no_memory", "tx_no_memory"} & set(l2wg.link_counters(a))
    assert monitor.poll() is None
    events.close()


@pytest.mark.usefixtures("batching")
def test_a_buffer_that_finds_no_memory(hosts: Callable[..., list[Host]]) -> None:
    """Its first message leaves alone, those behind it in the next buffer, and all arrive."""
    a, b = hosts("A", "B")
    batches.pair_of(a, b)
    burst = batches.usual()
    for outer in (4, 6):
        assert batches.units(a, b, outer, burst) == 1
        without = failing.first_of("l2wg_send_data")
        assert batches.units(a, b, outer, burst, without) == 2
        assert batches.units(a, b, outer, burst) == 1

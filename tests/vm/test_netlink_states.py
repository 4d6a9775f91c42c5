# SPDX-License-Identifier: GPL-2.0
"""Links, peers, options and entries of two namespaces beside a model of them, by Hypothesis.

    A   B      links come, change, move between the two and go, and the kernel must have what the
               model has after each step
    C --- D    meanwhile two threads send C what nobody would send (grammar.py), and traffic flows

Now and then a message about a link of A or B is spoilt, too. Then the model learns from the kernel
which options there are. A failure comes again and is as short as Hypothesis can make it.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from l2wgctl import switch
from l2wgctl.model import AllowedIP, Device, Key, Peer
from l2wgctl.netlink import channel, messages, uapi
from l2wgctl.netlink.channel import attribute
from tests.vm import failing, l2wg
from tests.vm.failing import IFLA_MTU, IFLA_NET_NS_FD, RTM_DELLINK, RTM_NEWLINK, Netlink, add, name
from tests.vm.grammar import Grammar
from tests.vm.test_netlink_fuzz import Kernel, restore
from tests.vm.test_switch import hub, ip_of
from toolkit.guest.hosts import Host, inside

pytestmark = [failing.needs_failures, pytest.mark.usefixtures("quiet_failures")]
quiet_failures = failing.quiet_failures

EXAMPLES, STEPS = 40, 30
KINDS = ("l2wireguard", "l2wgswitch", "wireguard")
NAMES = ("s0", "s1", "s2")
SPACES = ("A", "B")
KEYS = [bytes([number]) * 32 for number in (1, 2, 3, 4)]
MACS = [bytes.fromhex(f"0200000000{number:02x}") for number in range(4)]
ADDRESSES = [AllowedIP(bytes([10, 0, 0, n]), 32) for n in range(4)]
CREATE, REPLACE = 0x400, 0x100
FUZZERS = 2

Allowed = frozenset[AllowedIP]


@dataclass
class Link:
    """What a link is to have.

    :ivar peers: AllowedIPs by key.
    :ivar options: by key, what was set.
    :ivar static: by MAC, the key that it is behind.
    """

    kind: str
    up: bool = False
    mtu: int = 0
    peers: dict[bytes, Allowed] = field(default_factory=dict)
    options: dict[bytes, dict[int, int]] = field(default_factory=dict)
    static: dict[bytes, bytes] = field(default_factory=dict)


class Space:
    """A namespace and the sockets to it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        with inside(host):
            self.netlink = Netlink()
            self.genl = channel.Channel(channel.open_socket())
            self.file = open("/proc/thread-self/ns/net")
        self.l2wg = l2wg.Family(host)
        # with our module loaded first, one serves all kinds
        self.family = next(n for x in channel.loaded_families() if (n := self.genl.family_id(x)))

    def links(self) -> dict[str, int]:
        """Their numbers, by name; of ours alone."""
        with inside(self.host):
            return {found: index for index, found in socket.if_nameindex() if found in NAMES}

    def close(self) -> None:
        self.netlink.socket.close()
        self.genl.sock.close()
        self.l2wg.__exit__()
        self.file.close()


def accepted(do: Callable[[], object]) -> bool:
    """Do it; did the kernel?"""
    try:
        do()
    except (OSError, l2wg.Refused, channel.Refused):
        return False
    return True


class Machine(RuleBasedStateMachine):
    """Steps, and what must hold after each."""

    spaces: ClassVar[dict[str, Space]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[tuple[str, str], Link] = {}

    def teardown(self) -> None:
        # what the kernel has: the next run begins with nothing, also after a failure
        for space in self.spaces.values():
            for link in space.links():
                space.netlink.ask(space.netlink.link(RTM_DELLINK, 0, name(link)))
        assert not any(space.links() for space in self.spaces.values())

    # ---- steps ------------------------------------------------------------------------------

    where = st.tuples(st.sampled_from(SPACES), st.sampled_from(NAMES))
    key = st.sampled_from(KEYS)

    @rule(at=where, kind=st.sampled_from(KINDS))
    def make(self, at: tuple[str, str], kind: str) -> None:
        netlink = self.spaces[at[0]].netlink
        message = netlink.link(RTM_NEWLINK, failing.NLM_F_CREATE, add(kind, at[1]))
        assert accepted(lambda: netlink.ask(message)) is (at not in self.model)
        if at not in self.model:
            self.model[at] = Link(kind)
            self.model[at].mtu = self._told(at)[1]

    @rule(at=where)
    def remove(self, at: tuple[str, str]) -> None:
        netlink = self.spaces[at[0]].netlink
        message = netlink.link(RTM_DELLINK, 0, name(at[1]))
        assert accepted(lambda: netlink.ask(message)) is (at in self.model)
        self.model.pop(at, None)

    @rule(at=where, up=st.booleans())
    def open_or_close(self, at: tuple[str, str], up: bool) -> None:
        netlink = self.spaces[at[0]].netlink
        message = netlink.link(RTM_NEWLINK, 0, name(at[1]), up=int(up))
        assert accepted(lambda: netlink.ask(message)) is (at in self.model)
        if at in self.model:
            self.model[at].up = up

    @rule(at=where, mtu=st.sampled_from((0, 68, 576, 1280, 1406, 9000, 65535, 1 << 31)))
    def size(self, at: tuple[str, str], mtu: int) -> None:
        netlink = self.spaces[at[0]].netlink
        text = name(at[1]) + attribute(IFLA_MTU, struct.pack("=I", mtu))
        done = accepted(lambda: netlink.ask(netlink.link(RTM_NEWLINK, 0, text)))
        if mtu in (1280, 1406):
            assert done is (at in self.model)
        assert not (done and mtu == 1 << 31)
        if done:
            self.model[at].mtu = mtu

    @rule(at=where)
    def move(self, at: tuple[str, str]) -> None:
        other = SPACES[1 - SPACES.index(at[0])]
        netlink = self.spaces[at[0]].netlink
        fd = self.spaces[other].file.fileno()
        text = name(at[1]) + attribute(IFLA_NET_NS_FD, struct.pack("=I", fd))
        possible = at in self.model and (other, at[1]) not in self.model
        assert accepted(lambda: netlink.ask(netlink.link(RTM_NEWLINK, 0, text))) is possible
        if possible:
            moved = self.model.pop(at)
            moved.up = False
            self.model[other, at[1]] = moved

    @rule(at=where, key=key, addresses=st.frozensets(st.sampled_from(ADDRESSES)), new=st.booleans())
    def add_peer(self, at: tuple[str, str], key: bytes, addresses: Allowed, new: bool) -> None:
        peer = Peer(Key(key), replace_allowed_ips=new, allowed_ips=tuple(addresses))
        if not self._configure(at, Device(at[1], peers=(peer,))):
            return
        of = self.model[at].peers
        for other, has in of.items():
            of[other] = has - addresses
        of[key] = addresses | (frozenset() if new else of.get(key, frozenset()))

    @rule(at=where, key=key)
    def remove_peer(self, at: tuple[str, str], key: bytes) -> None:
        if self._configure(at, Device(at[1], peers=(Peer(Key(key), remove=True),))):
            self.model[at].peers.pop(key, None)

    @rule(
        at=where,
        key=key,
        options=st.fixed_dictionaries(
            {},
            optional={
                l2wg.Peer.PVID: st.integers(1, 4094),
                l2wg.Peer.RELAY: st.integers(0, 1),
                l2wg.Peer.ISOLATED: st.integers(0, 1),
                l2wg.Peer.MAX_MACS: st.integers(0, 100),
                l2wg.Peer.MARK: st.integers(0, (1 << 32) - 1),
            },
        ),
    )
    def set_options(self, at: tuple[str, str], key: bytes, options: dict[int, int]) -> None:
        of = self.model.get(at)
        payload = self._of_peer(at, key)
        for kind, value in options.items():
            payload += attribute(kind, value.to_bytes(SIZES.get(kind, 4), "little"))
        possible = of is not None and of.kind == "l2wgswitch"
        assert self._l2wg(at, l2wg.Cmd.PEER_SET, payload) is possible
        if of and possible:
            of.options.setdefault(key, {}).update(options)

    @rule(at=where, key=key)
    def forget_options(self, at: tuple[str, str], key: bytes) -> None:
        of = self.model.get(at)
        possible = of is not None and key in of.options
        assert self._l2wg(at, l2wg.Cmd.PEER_DEL, self._of_peer(at, key)) is possible
        if of and possible:
            del of.options[key]

    @rule(at=where, mac=st.sampled_from(MACS), key=key)
    def bind(self, at: tuple[str, str], mac: bytes, key: bytes) -> None:
        if self._neighbour(at, failing.RTM_NEWNEIGH, CREATE | REPLACE, mac, key):
            self.model[at].static[mac] = key

    @rule(at=where, mac=st.sampled_from(MACS), key=key)
    def free(self, at: tuple[str, str], mac: bytes, key: bytes) -> None:
        of = self.model.get(at)
        possible = of is not None and of.static.get(mac) == key
        done = self._neighbour(at, failing.RTM_DELNEIGH, 0, mac, key)
        assert done is possible
        if of and done:
            del of.static[mac]

    @rule(at=where)
    def flush(self, at: tuple[str, str]) -> None:
        of = self.model.get(at)
        possible = of is not None and of.kind == "l2wgswitch"
        assert self._l2wg(at, l2wg.Cmd.FDB_FLUSH, l2wg.named(at[1])) is possible

    @rule(
        at=where,
        key=key,
        place=st.integers(0, 60),
        value=st.integers(0, 255),
        cmd=st.sampled_from((l2wg.Cmd.PEER_SET, l2wg.Cmd.PEER_DEL, l2wg.Cmd.LINK_SET, 0, 99)),
    )
    def spoil(self, at: tuple[str, str], key: bytes, place: int, value: int, cmd: int) -> None:
        """Whatever comes of it."""
        payload = bytearray(self._of_peer(at, key) + attribute(l2wg.Peer.MARK, bytes(4)))
        payload[place % len(payload)] = value
        self._l2wg(at, cmd, bytes(payload))
        for place_of, of in self.model.items():
            if of.kind == "l2wgswitch":
                of.options = self._options(place_of, of)

    # ---- what must hold ---------------------------------------------------------------------

    @invariant()
    def links_are_there(self) -> None:
        for name_of, space in self.spaces.items():
            assert set(space.links()) == {link for at, link in self.model if at == name_of}
        for at, of in self.model.items():
            assert self._told(at) == (of.up, of.mtu), at

    @invariant()
    def peers_are_there(self) -> None:
        for at, of in self.model.items():
            _, payloads = self.spaces[at[0]].genl.dump(at[1], channel.loaded_families())
            told = messages.decode_device(at[1], payloads)[1]
            assert {bytes(x.public_key): frozenset(x.allowed_ips) for x in told} == of.peers, at

    @invariant()
    def options_are_there(self) -> None:
        for at, of in self.model.items():
            if of.kind == "l2wgswitch":
                assert self._options(at, of) == of.options, at

    @invariant()
    def entries_are_there(self) -> None:
        for at, of in self.model.items():
            if of.kind == "l2wgswitch":
                told = self.spaces[at[0]].l2wg.dump(l2wg.Cmd.FDB_GET, l2wg.named(at[1]))
                static = {
                    x[l2wg.Fdb.MAC]: x[l2wg.Fdb.PUBLIC_KEY]
                    for x in told
                    if l2wg.number(x[l2wg.Fdb.STATE]) == l2wg.STATIC
                }
                assert static == of.static, at

    # ---- messages ---------------------------------------------------------------------------

    def _told(self, at: tuple[str, str]) -> tuple[bool, int]:
        """Is it up, and its MTU."""
        with inside(self.spaces[at[0]].host), contextlib.closing(socket.socket()) as sock:
            asked = struct.pack("16s24x", at[1].encode())
            flags = struct.unpack("16sh22x", fcntl.ioctl(sock, 0x8913, asked))[1]  # SIOCGIFFLAGS
            mtu = struct.unpack("16si20x", fcntl.ioctl(sock, 0x8921, asked))[1]  # SIOCGIFMTU
        return bool(flags & failing.IFF_UP), mtu

    def _configure(self, at: tuple[str, str], device: Device) -> bool:
        """By WireGuard's family; it must succeed if there is such a link."""
        space = self.spaces[at[0]]

        def send() -> None:
            for message in messages.encode_set(device, messages.sockaddr):
                space.genl.send(
                    space.family, uapi.WG_CMD_SET_DEVICE, uapi.WG_GENL_VERSION, channel.NLM_F_ACK,
                    bytes(message),
                )  # fmt: skip
                for _ in space.genl.answers():
                    pass

        done = accepted(send)
        assert done is (at in self.model)
        return done

    def _of_peer(self, at: tuple[str, str], key: bytes) -> bytes:
        return l2wg.named(at[1]) + attribute(l2wg.Peer.PUBLIC_KEY, key)

    def _l2wg(self, at: tuple[str, str], cmd: int, payload: bytes) -> bool:
        return accepted(lambda: self.spaces[at[0]].l2wg.do(cmd, payload))

    def _options(self, at: tuple[str, str], of: Link) -> dict[bytes, dict[int, int]]:
        """What the kernel has of that which has been set; all, of what was not."""
        told = self.spaces[at[0]].l2wg.dump(l2wg.Cmd.PEER_GET, l2wg.named(at[1]))
        return {
            x[l2wg.Peer.PUBLIC_KEY]: {
                kind: l2wg.number(x[kind]) for kind in of.options.get(x[l2wg.Peer.PUBLIC_KEY], ())
            }
            for x in told
            if l2wg.Peer.CONFIGURED in x
        }

    def _neighbour(
        self, at: tuple[str, str], kind: int, flags: int, mac: bytes, key: bytes
    ) -> bool:
        """By `bridge fdb`'s messages; has a switch taken it?

        Linux itself takes an address for any Ethernet link (ndo_dflt_fdb_add()).
        """
        space, of = self.spaces[at[0]], self.model.get(at)
        handle = socket.inet_pton(socket.AF_INET6, switch.handle(key))
        message = space.netlink.entry(kind, flags, space.links().get(at[1], 0), mac, handle)
        done = accepted(lambda: space.netlink.ask(message))
        assert not done or of
        return done and of is not None and of.kind == "l2wgswitch"


SIZES = {l2wg.Peer.PVID: 2, l2wg.Peer.RELAY: 1, l2wg.Peer.ISOLATED: 1}


@contextlib.contextmanager
def fuzzed(c: Host, d: Host) -> Iterator[list[int]]:
    """During the block threads send C all sorts of messages; how many it were, afterwards."""
    stop, trouble, counts = threading.Event(), list[BaseException](), list[int]()

    def fuzz(seed: int) -> None:
        count = 0
        try:
            with inside(c):
                kernel = Kernel(c)
                grammar = Grammar(seed, kernel.index)
                while not stop.is_set():
                    kernel.ask(grammar.message())
                    count += 1
                    if count % 500 == 0:
                        restore(c, d)
        except BaseException as error:
            trouble.append(error)
        counts.append(count)

    threads = [threading.Thread(target=fuzz, args=(seed,)) for seed in range(7, 7 + FUZZERS)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not trouble, trouble


def test_states(hosts: Callable[..., list[Host]]) -> None:
    a, b = hosts(*SPACES)
    c, d = hub(hosts, "C", "D")
    for source, number in ((c, 2), (d, 1)):
        source.start("ping", "-q", "-i", "0.05", ip_of(number))
    restore(c, d)
    Machine.spaces = {host.name: Space(host) for host in (a, b)}
    wanted = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        with fuzzed(c, d) as counts:
            run_state_machine_as_test(Machine, settings=wanted)
    finally:
        for space in Machine.spaces.values():
            space.close()
    assert len(counts) == FUZZERS and all(counts)
    failing.figure(EXAMPLES, "runs of a state machine")
    failing.figure(sum(counts), "messages beside it")

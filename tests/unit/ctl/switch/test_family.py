# SPDX-License-Identifier: GPL-2.0
"""The family `l2wg`: bytes of the messages, and the API against the kernel in memory."""

from __future__ import annotations

import errno
import struct

import pytest

from l2wgctl.errors import KernelError
from l2wgctl.machine import module_hint
from l2wgctl.model import Key
from l2wgctl.netlink import channel
from l2wgctl.netlink import switch_messages as messages
from l2wgctl.netlink.messages import NetlinkFormatError
from l2wgctl.netlink.switch import Switches
from l2wgctl.switch import (
    COUNTERS,
    PEER_DEFAULTS,
    SWITCH_DEFAULTS,
    Entry,
    Event,
    PeerOptions,
    SwitchOptions,
    handle,
)
from tests.unit.ctl.fakekernel import FakeKernel, FakePeer, FakeSocket
from tests.unit.ctl.fakeswitch import NESTED, FakeSwitch, attr, attrs, prefix, u32

KEY = Key(bytes(range(32)))
OTHER = Key(bytes(range(1, 33)))
MAC, MAC2 = "02:00:00:00:00:01", "02:00:00:00:00:02"
ALL = PeerOptions((MAC, MAC2), 3, ((0, 0), (10, 20)), 10, True, True, True, ("dhcp", "stp"), 7)


def kernel(*families: str) -> FakeKernel:
    made = FakeKernel(families or ("wireguard", "l2wg"))
    made.add("wg1", kind="l2wgswitch")
    made.add("wg2")
    return made


def connect(made: FakeKernel) -> Switches:
    return Switches(FakeSocket(made))


def world() -> tuple[Switches, FakeSwitch]:
    made = kernel()
    return connect(made), made.switches.switches["wg1"]


def test_a_peers_options_as_bytes() -> None:
    macs = attr(1, bytes.fromhex("020000000001")) + attr(1, bytes.fromhex("020000000002"))
    ranges = b"".join(
        attr(1 | NESTED, attr(2, struct.pack("=H", a)) + attr(3, struct.pack("=H", b)))
        for a, b in ((0, 0), (10, 20))
    )
    assert messages.encode_peer(KEY, ALL) == (
        attr(3, KEY)
        + attr(4 | NESTED, macs)
        + u32(5, 3)
        + attr(6, struct.pack("=H", 10))
        + attr(7 | NESTED, ranges)
        + attr(8, b"\1")
        + attr(9, b"\1")
        + attr(10, b"\1")
        + u32(11, 5)
        + u32(12, 7)
    )


def test_what_is_not_given_is_not_sent() -> None:
    assert messages.encode_peer(KEY, PeerOptions()) == attr(3, KEY)
    assert messages.encode_link(SwitchOptions()) == b""
    assert messages.encode_peer(KEY, PeerOptions(allowed_macs=())) == attr(3, KEY) + attr(
        4 | NESTED, b""
    )
    assert messages.encode_peer(KEY, PeerOptions(relay=False)) == attr(3, KEY) + attr(8, b"\0")


def test_a_links_options_as_bytes() -> None:
    options = SwitchOptions(100, 50, 60, "closed", (MAC,), ("10.0.0.1/32", "fd00::/64"))
    assert messages.encode_link(options) == (
        u32(3, 100)
        + u32(4, 50)
        + u32(5, 60)
        + u32(6, 1)
        + attr(7 | NESTED, attr(1, bytes.fromhex("020000000001")))
        + attr(8 | NESTED, prefix("10.0.0.1/32") + prefix("fd00::/64"))
    )


def test_a_link() -> None:
    switches, fake = world()
    fake.counters[4] = 9
    found = switches.get("wg1")
    assert (found.name, found.ifindex, found.options) == ("wg1", 7, SWITCH_DEFAULTS)
    assert found.counters == {**dict.fromkeys(COUNTERS, 0), "rx_mac_bound": 9}
    assert switches.all() == [found]
    options = SwitchOptions(100, 50, 60, "closed", (MAC,), ("10.0.0.1/32", "fd00::/64"))
    switches.set("wg1", options)
    assert switches.get("wg1").options == options
    switches.set("wg1", SwitchOptions(ageing=10))
    assert switches.get("wg1").options == options._replace(ageing=10)
    assert fake.log == ["link [3, 4, 5, 6, 7, 8]", "link [5]"]


def test_peers() -> None:
    made = kernel()
    switches, fake = connect(made), made.switches.switches["wg1"]
    made.devices["wg1"].peers[OTHER] = FakePeer(OTHER)
    switches.set_peer("wg1", KEY, ALL)
    made.switches.twice = True
    made.switches.more = attr(99, b"of a later version")
    fake.members[KEY].counters = {1: 2, 23: 1 << 40}
    found = {x.public_key: x for x in switches.peers("wg1")}
    assert set(found) == {KEY, OTHER}
    mine = found[KEY]
    assert mine.options == ALL
    assert (mine.present, mine.configured, mine.session) == (False, True, None)
    assert (mine.counters["rx_own_mac"], mine.counters["relay_bytes"]) == (2, 1 << 40)
    assert mine.handle == handle(KEY)
    theirs = found[OTHER]
    assert (theirs.present, theirs.configured, theirs.options) == (True, False, PEER_DEFAULTS)
    assert (theirs.session, theirs.session_age, theirs.heard_age) == ("idle", None, None)
    assert switches.peer("wg1", KEY) == mine


def test_an_interrupted_dump_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel.time, "sleep", lambda seconds: None)
    made = kernel()
    switches = connect(made)
    switches.set_peer("wg1", KEY, ALL)
    for interrupted, left in ((0, 0), (3, 0), (channel.DUMP_TRIES + 5, 5)):
        made.interrupt = interrupted
        assert [x.public_key for x in switches.peers("wg1")] == [KEY]
        assert made.interrupt == left


def test_many_peers_are_set_in_few_messages() -> None:
    made = kernel()
    sock = FakeSocket(made)
    sent: list[int] = []

    def send(data: bytes) -> int:
        sent.append(len(data))
        return FakeSocket.send(sock, data)

    sock.send = send  # type: ignore[method-assign]
    keys = [Key(number.to_bytes(32, "little")) for number in range(2000)]
    with Switches(sock) as switches:
        switches.set_peers("wg1", [(key, PeerOptions(relay=True)) for key in keys])
        assert len(sent) < 12 and max(sent) <= 32768 + 100
        assert len(switches.peers("wg1")) == 2000
        switches.del_peers("wg1", keys[:-1])
        assert [x.public_key for x in switches.peers("wg1")] == keys[-1:]
        switches.set_peers("wg1", [])
    assert sock.closed


def test_the_one_that_is_refused_is_named() -> None:
    switches, fake = world()
    bad = PeerOptions(allowed_macs=("01:00:00:00:00:01",))
    good = PeerOptions(relay=True)
    third = Key(bytes(range(2, 34)))
    for order in ([(OTHER, bad), (KEY, good)], [(KEY, good), (OTHER, bad), (third, good)]):
        with pytest.raises(KernelError) as caught:
            switches.set_peers("wg1", order)
        why = "The address must be unicast and not zero"
        assert str(caught.value) == f"set peer {OTHER}: wg1: {why}"
        assert set(fake.members) == {key for key, options in order if options is good}
    with pytest.raises(KernelError) as caught:
        switches.del_peers("wg1", [OTHER])
    assert caught.value.errno == errno.ENOENT


def test_bind_and_unbind() -> None:
    switches, fake = world()
    switches.unbind("wg1", KEY, MAC)
    assert fake.members == {}
    switches.bind("wg1", KEY, MAC)
    switches.bind("wg1", KEY, MAC2, MAC)
    assert switches.peer("wg1", KEY).options.allowed_macs == (MAC, MAC2)
    switches.unbind("wg1", KEY, MAC, "02:00:00:00:00:99")
    assert [mac.hex() for _, mac in attrs(fake.members[KEY].options[4])] == ["020000000002"]
    assert len(fake.log) == 3


def test_the_table() -> None:
    made = kernel()
    switches, fake = connect(made), made.switches.switches["wg1"]
    switches.bind("wg1", KEY, MAC)
    fake.member(OTHER)
    fake.entries = [
        (MAC2, 0, KEY, 0, 1500),
        ("02:00:00:00:00:03", 7, OTHER, 2, 0),
        ("02:00:00:00:00:04", 0, None, 0, 20),
        ("02:00:00:00:00:05", 7, OTHER, 0, 30),
    ]
    made.switches.twice = True
    made.switches.more = attr(99, b"of a later version")
    table = switches.table("wg1")
    assert table == [
        Entry(MAC, None, KEY, "bound"),
        Entry(MAC2, 0, KEY, "learned", 1500, 0),
        Entry("02:00:00:00:00:03", 7, OTHER, "static"),
        Entry("02:00:00:00:00:04", 0, None, "learned", 20, 0),
        Entry("02:00:00:00:00:05", 7, OTHER, "learned", 30, 0),
    ]
    switches.flush("wg1", key=OTHER, vlan=8)
    assert switches.table("wg1") == table
    switches.flush("wg1", key=OTHER, vlan=7)
    assert switches.table("wg1") == table[:4]
    switches.flush("wg1")
    assert switches.table("wg1") == [table[0], table[2]]
    assert fake.log[1:] == ["flush 0102 8", "flush 0102 7", "flush - None"]


def test_events_as_bytes() -> None:
    head = u32(1, 7) + attr(2, b"wg1\0")
    mac = attr(6, bytes.fromhex("020000000001")) + attr(7, struct.pack("=H", 5))
    moved = head + u32(3, 1) + attr(4, KEY) + attr(5, OTHER) + mac
    assert messages.decode_event(moved) == Event("moved", "wg1", KEY, OTHER, MAC, 5, None)
    violation = head + u32(3, 4) + attr(4, KEY) + mac + u32(8, 4)
    assert messages.decode_event(violation).counter == "rx_mac_bound"
    later = head + u32(3, 77) + attr(99, b"what") + u32(8, 99)
    assert messages.decode_event(later) == Event("event-77", "wg1", counter="counter-99")


def test_a_session_as_bytes() -> None:
    told = u32(1, 7) + attr(2, b"wg1\0") + attr(4, KEY) + u32(9, 2)
    assert messages.decode_event(told) == Event("session", "wg1", KEY, session="up")


def test_a_key_in_the_place_of_another() -> None:
    switches, fake = world()
    switches.set_peer("wg1", KEY, PeerOptions(relay=True))
    fake.entries = [(MAC, 0, KEY, 0, 5)]
    switches.replace_peer("wg1", KEY, OTHER)
    assert fake.log[-1] == "replace 0001 0102"
    assert [(x.mac, x.public_key) for x in switches.table("wg1")] == [(MAC, OTHER)]
    for old, new, why in (
        (KEY, OTHER, "the switch knows nothing of this key (see 'l2wgctl show wg1')"),
        (OTHER, OTHER, "the two keys are the same"),
    ):
        with pytest.raises(KernelError) as caught:
            switches.replace_peer("wg1", old, new)
        assert str(caught.value) == f"replace peer {old}: wg1: {why}"


def test_counters_with_padding_and_of_later_versions() -> None:
    pad = attr(0, b"")
    nest = b"".join(pad + attr(x, struct.pack("=Q", x)) for x in range(1, 30))
    found = messages._counters(nest)
    assert found == {name: number for number, name in enumerate(COUNTERS, 1)}
    nest = b"".join(attr(x, struct.pack("=Q", x)) for x in range(1, 30))
    assert messages._counters(nest) == found


def test_refusals() -> None:
    made = kernel()
    switches = connect(made)

    def refusal(link: str) -> str:
        with pytest.raises(KernelError) as caught:
            switches.get(link)
        return str(caught.value)

    assert refusal("wg2") == (
        "show: wg2 is no switch (its kind must be l2wgswitch, Switch = yes; a kind is for life: "
        "make another link)"
    )
    assert refusal("wg9") == (
        "show: wg9: no such link (create it with 'l2wgctl add wg9' or 'l2wgctl up wg9')"
    )
    with pytest.raises(KernelError) as caught:
        switches.flush("wg1", key=KEY)
    assert str(caught.value) == (
        "flush peer (hidden): wg1: the switch knows nothing of this key (see 'l2wgctl show wg1')"
    )
    with pytest.raises(KernelError) as caught:
        connect(kernel("wireguard"))
    assert str(caught.value) == (
        f"netlink: the kernel has no switches (no generic-netlink family l2wg) ({module_hint()})"
    )


def test_messages_of_one_length_may_be_laid_out_in_several_ways() -> None:
    """The first teaches how the others of its length are read, where they are alike."""
    one = attr(1, b"abcd") + attr(2, b"efghij") + attr(3 | NESTED, b"klmnop")
    two = attr(1, b"xbcd") + attr(2, b"xfghij") + attr(3 | NESTED, b"xlmnop")
    three = attr(7, b"0123456789ab") + attr(7, b"0123456789ab")
    assert len(one) == len(two) == len(three)
    for data in (one, two, three, one[:-2], two, b"", three, one):
        assert messages.attrs(data) == dict(attrs(data))
    with pytest.raises(NetlinkFormatError):
        messages.attrs(b"\xff" + one[1:])


def test_options_of_the_keys_that_have_any() -> None:
    switches, switch = world()
    switch.member(OTHER)  # a peer without options
    switches.set_peer("wg1", KEY, ALL)
    assert switches.options("wg1") == {KEY: ALL.over(PEER_DEFAULTS)}
    assert switches.options("wg1")[KEY] == switches.peer("wg1", KEY).options


def test_a_message_that_lacks_something() -> None:
    with pytest.raises(NetlinkFormatError, match="lacks attribute"):
        messages.decode_link(u32(1, 7))
    with pytest.raises(NetlinkFormatError, match="over the end"):
        messages.decode_peer(b"\xff\0\1\0")


def test_options_over_others() -> None:
    given = PeerOptions(relay=True, guards=())
    assert given.over(ALL) == ALL._replace(guards=())
    assert PeerOptions().over(ALL) == ALL


def test_handle() -> None:
    # by iproute2's reading of the 16 bytes, and Python's BLAKE2s
    assert handle(KEY).startswith("fe80::")
    assert handle(KEY) != handle(OTHER)

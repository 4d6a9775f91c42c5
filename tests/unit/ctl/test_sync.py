# SPDX-License-Identifier: GPL-2.0
"""syncconf: what it comes to is what setconf comes to, and a second time changes nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2wgctl import resolve
from l2wgctl.conf import files, sync
from l2wgctl.conf.values import allowed_ip
from l2wgctl.model import Device, Endpoint, Key, Peer, SecretKey
from l2wgctl.netlink import messages
from l2wgctl.netlink.device import WireGuard
from tests.unit.ctl.conftest import PEER_A, PEER_B, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakeSocket
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
Conf = Callable[..., Path]

#: Few keys and few networks, so that peers come again and claim each other's.
KEYS = [Key(bytes([number]) * 32) for number in range(1, 6)]
NETWORKS = ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/8", "10.1.0.0/16", "::/0", "fd00::1/64", "0.0.0.0"]
peers = st.fixed_dictionaries(
    {
        "public_key": st.sampled_from(KEYS),
        "preshared_key": st.sampled_from([None, SecretKey(bytes(32)), SecretKey(b"\x01" * 32)]),
        "endpoint": st.sampled_from([None, Endpoint("192.0.2.1", 1), Endpoint("2001:db8::1", 2)]),
        "persistent_keepalive": st.sampled_from([None, 0, 25]),
        "allowed_ips": st.lists(st.sampled_from(NETWORKS).map(allowed_ip), max_size=5).map(tuple),
        "replace_allowed_ips": st.just(True),
    }
).map(lambda fields: Peer(**cast(Any, fields)))
files_ = st.builds(
    lambda private, port, mark, found: Device(
        "", private_key=private, listen_port=port, fwmark=mark, peers=tuple(found)
    ),
    st.sampled_from([None, SecretKey(b"\xff" * 32), SecretKey(b"\x07" * 32)]),
    st.sampled_from([None, 0, 51820, 51821]),
    st.sampled_from([None, 0, 7]),
    st.lists(peers, max_size=4, unique_by=lambda peer: peer.public_key),
)


def connect(kernel: FakeKernel) -> WireGuard:
    return WireGuard(FakeSocket(kernel), ("wireguard",))


def state(device: Device) -> object:
    """What a file can say, without the order of peers and networks."""
    return (
        device.private_key,
        device.fwmark or 0,
        {
            peer.public_key: (
                peer.preshared_key,
                peer.endpoint,
                peer.persistent_keepalive or 0,
                frozenset(peer.allowed_ips),
            )
            for peer in device.peers
        },
    )


def applied(wireguard: WireGuard, wanted: Device) -> Device:
    """The device after a `syncconf`."""
    change, found = sync.plan(wireguard.get_device("wg1"), wanted)
    assert bool(found) == (change != Device("wg1")), "something is sent if, and only if, it differs"
    wireguard.set_device(change)
    return wireguard.get_device("wg1")


@settings(max_examples=120, deadline=None)
@given(st.lists(files_, max_size=3), files_)
def test_a_second_time_changes_nothing(before: list[Device], wanted: Device) -> None:
    """From any state that files and `addconf` can make."""
    kernel = FakeKernel()
    for name in ("wg1", "wg2"):
        kernel.add(name)
    wireguard = connect(kernel)
    for device in before:
        wireguard.set_device(device._replace(name="wg1"))
    first = wireguard.get_device("wg1")
    after = applied(wireguard, wanted)
    assert sync.plan(after, wanted) == (Device("wg1"), [])
    # What setconf makes of a fresh device, except for endpoints that the file leaves out.
    wireguard.set_device(files.whole(wanted, "wg2"))
    fresh = wireguard.get_device("wg2")
    known = {peer.public_key: peer.endpoint for peer in first.peers}
    fresh = fresh._replace(
        peers=tuple(p._replace(endpoint=p.endpoint or known.get(p.public_key)) for p in fresh.peers)
    )
    assert state(after) == state(fresh)
    assert after.listen_port == (wanted.listen_port or first.listen_port)


@settings(max_examples=50, deadline=None)
@given(files_, files_)
def test_peers_that_do_not_change_are_not_named(before: Device, wanted: Device) -> None:
    kernel = FakeKernel()
    kernel.add("wg1")
    wireguard = connect(kernel)
    first = applied(wireguard, before)
    change, _ = sync.plan(first, wanted)
    after = applied(wireguard, wanted)
    was, now = state(first)[2], state(after)[2]  # type: ignore[index]
    touched = {peer.public_key for peer in change.peers}
    assert touched <= {key for key in {*was, *now} if was.get(key) != now.get(key)}


SHARED = f"""[Interface]
PrivateKey = {PRIVATE}
ListenPort = 0
[Peer]
PublicKey = {PEER_A}
AllowedIPs = 0.0.0.0/0
[Peer]
PublicKey = {PEER_B}
AllowedIPs = 0.0.0.0/0
"""


def test_a_network_of_two_peers_stays_with_the_last(run: Run, links: FakeLinks, conf: Conf) -> None:
    path = conf(SHARED)
    kernel = links.kernel
    for name in ("wg1", "wg2"):
        links.add(name, "l2wireguard")
    want = f"{PEER_A}\t(none)\n{PEER_B}\t0.0.0.0/0\n"
    run("setconf", "wg1", path)
    for _ in range(3):
        assert run("show", "wg1", "allowed-ips").out == want
        assert run("diff", "wg1", path) == (0, "", "")
        assert run("syncconf", "wg1", path) == (0, "", "")
    # from the other owner it goes over in one message, and is taken from nobody before
    run("set", "wg1", "peer", PEER_A, "allowed-ips", "0.0.0.0/0")
    assert run("diff", "wg1", path).out == (
        f"- peer {PEER_A} allowed-ips 0.0.0.0/0\n+ peer {PEER_B} allowed-ips 0.0.0.0/0\n"
    )
    kernel.received.clear()
    run("syncconf", "wg1", path)
    (message,) = [m for m in kernel.received if m[16] == 1]
    assert run("show", "wg1", "allowed-ips").out == want
    assert bytes(Key(allowed_ip("0.0.0.0").address * 8)) not in message
    # a link without them comes to the same
    run("syncconf", "wg2", path)
    assert run("show", "wg2", "allowed-ips").out == want


def test_as_wg_has_it(run: Run, kernel: FakeKernel, conf: Conf, wg: Run) -> None:
    """Real `wg syncconf` and `wg setconf` on the same kernel come to the same owners."""
    path = conf(SHARED)
    for name, how in (("wg1", "setconf"), ("wg2", "syncconf")):
        kernel.add(name)
        assert wg(how, name, path).status == 0
        kernel.add(f"{name}o")
        assert run("syncconf", f"{name}o", path).status == 0
        for field in ("allowed-ips", "peers"):
            assert run("show", f"{name}o", field).out == wg("show", name, field).out


def test_the_kernels_port_and_a_key_that_is_not_clamped(
    run: Run, kernel: FakeKernel, conf: Conf
) -> None:
    device = kernel.add("wg1")
    path = conf(SHARED.replace(PRIVATE, "//" + "/" * 40 + "8="))
    assert run("setconf", "wg1", path) == (0, "", "")
    device.port = 40000  # as the kernel chooses one for a link that is up
    assert run("diff", "wg1", path).out == ""
    assert run("syncconf", "wg1", path).status == 0
    assert device.port == 40000


ROUTED = f"""[Interface]
Kind = wireguard
PrivateKey = {PRIVATE}
Address = 10.0.0.1/24
[Peer]
PublicKey = {PEER_A}
AllowedIPs = 0.0.0.0/0
"""


def test_the_mark_of_the_default_route_stays(
    run: Run, links: FakeLinks, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the tunnel's own packets would be routed into the tunnel."""
    links.create("wg1", "wireguard")
    device = links.kernel.add("wg1", kind="wireguard", fwmark=51820)
    links.addrs["wg1"] = ["10.0.0.1/24"]
    path = conf(ROUTED)
    assert run("syncconf", "wg1", path).status == 0
    assert device.fwmark == 51820 and run("diff", "wg1", path).out == ""
    for text in (
        ROUTED.replace("Address", "Table = off\nAddress"),
        ROUTED.replace("0.0.0.0/0", "10.0.0.0/8"),
        ROUTED.replace("Kind = wireguard", "Kind = l2wireguard"),
        ROUTED.replace("Address", "FwMark = off\nAddress"),
    ):
        device.fwmark = 51820
        assert run("diff", "wg1", conf(text)).out.splitlines()[0] == (
            "~ interface fwmark 0xca6c -> off"
        )


def test_any_address_of_a_name_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Round-robin DNS: another order is no difference."""

    def answer(host: str, port: int, **_: object) -> list[object]:
        assert host == "many.example"
        return [
            (socket.AF_INET, 2, 17, "", ("192.0.2.1", port)),
            (socket.AF_INET6, 2, 17, "", ("2001:db8::1", port, 0, 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    wanted = Endpoint("many.example", 5)
    assert resolve.same(Endpoint("192.0.2.1", 5), wanted)
    assert resolve.same(Endpoint("2001:db8::1", 5), wanted)
    assert not resolve.same(Endpoint("192.0.2.1", 6), wanted)
    assert not resolve.same(Endpoint("192.0.2.3", 5), wanted)
    assert resolve.sockaddr(wanted) == messages.sockaddr(Endpoint("192.0.2.1", 5))

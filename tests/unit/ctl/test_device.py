# SPDX-License-Identifier: GPL-2.0
"""Get and set over the socket: families, interrupted dumps, refusals, many messages."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from l2wgctl import resolve
from l2wgctl.conf.values import allowed_ip
from l2wgctl.errors import KernelError, L2wgError, UsageError
from l2wgctl.machine import module_hint
from l2wgctl.model import AllowedIP, Device, Endpoint, Key, Peer
from l2wgctl.netlink import channel, messages
from l2wgctl.netlink.device import WireGuard
from tests.unit.ctl.fakekernel import FakeKernel, FakeSocket, Refuse

KEY = Key(bytes(range(32)))
OTHER = Key(bytes(range(1, 33)))
NET = AllowedIP(bytes([10, 0, 0, 0]), 8)


def connect(kernel: FakeKernel, *families: str) -> WireGuard:
    return WireGuard(FakeSocket(kernel), families or tuple(kernel.families))


@pytest.mark.parametrize(
    ("loaded", "plain", "families"),
    [
        ((), None, ("l2wireguard", "wireguard")),
        (("l2wireguard",), None, ("wireguard",)),
        (("l2wireguard",), "Y", ("wireguard",)),
        (("l2wireguard",), "N", ("l2wireguard",)),
        (("wireguard",), None, ("wireguard",)),
        (("wireguard", "l2wireguard"), None, ("l2wireguard", "wireguard")),
        (("wireguard", "l2wireguard"), "N", ("l2wireguard", "wireguard")),
    ],
)
def test_families_that_are_asked(
    tmp_path: Path, loaded: tuple[str, ...], plain: str | None, families: tuple[str, ...]
) -> None:
    for name in loaded:
        (tmp_path / name).mkdir()
    if plain:
        (tmp_path / "l2wireguard" / "parameters").mkdir()
        (tmp_path / "l2wireguard" / "parameters" / "plain").write_text(plain + "\n")
    assert channel.loaded_families(str(tmp_path)) == families


@pytest.mark.parametrize("owner", ["wireguard", "l2wireguard"])
def test_the_family_that_owns_the_device_is_found(owner: str) -> None:
    kernel = FakeKernel(("wireguard", "l2wireguard"))
    kernel.add("wg1", family=owner)
    with connect(kernel) as wireguard:
        wireguard.set_device(Device("wg1", listen_port=5, peers=(Peer(KEY),) * 2))
        device = wireguard.get_device("wg1")
    assert (device.family, device.listen_port) == (owner, 5)
    assert [peer.public_key for peer in device.peers] == [KEY]


def test_a_family_that_is_not_there_is_passed_over() -> None:
    kernel = FakeKernel(("wireguard",))
    kernel.add("wg1")
    assert connect(kernel, "l2wireguard", "wireguard").get_device("wg1").family == "wireguard"


def refusal(kernel: FakeKernel, *families: str) -> tuple[str, int]:
    with pytest.raises(KernelError) as caught:
        connect(kernel, *families).get_device("wg1")
    return str(caught.value), caught.value.errno


def test_no_family() -> None:
    text = f"show: the kernel has no WireGuard family ({module_hint()})"
    assert refusal(FakeKernel(()), "l2wireguard", "wireguard") == (text, errno.ENOENT)


def test_no_link() -> None:
    text = (
        "show: wg1: no such link (create it with 'l2wgctl add wg1' or 'l2wgctl up wg1')",
        errno.ENODEV,
    )
    assert refusal(FakeKernel()) == text


def test_another_kind() -> None:
    kernel = FakeKernel()
    kernel.add("wg1", family="none")
    text = "show: wg1 is not a WireGuard link (see its kind with 'ip -d link show dev wg1')"
    assert refusal(kernel) == (text, errno.EOPNOTSUPP)


def test_not_permitted_with_the_words_of_the_kernel() -> None:
    kernel = FakeKernel()

    def refuse(command: int, name: str) -> None:
        raise Refuse(errno.EPERM, "for a reason")

    kernel.refuse = refuse
    text = (
        "show: wg1: not permitted [for a reason] (run as root, or with CAP_NET_ADMIN)",
        errno.EPERM,
    )
    assert refusal(kernel) == text


def test_interrupted_dump_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel.time, "sleep", lambda seconds: None)
    kernel = FakeKernel()
    device = kernel.add("wg1")
    connect(kernel).set_device(Device("wg1", peers=(Peer(KEY, allowed_ips=(NET,)),)))
    kernel.interrupt = 3
    kernel.received.clear()
    found = connect(kernel).get_device("wg1")
    assert [peer.allowed_ips for peer in found.peers] == [(NET,)]
    assert len(kernel.received) == 1 + 4  # the family, and four dumps
    kernel.interrupt = channel.DUMP_TRIES
    text = "show: wg1: kept changing while it was read (try again)"
    assert refusal(kernel) == (text, errno.EINTR)
    assert device.peers


def test_many_messages_and_a_split_dump() -> None:
    kernel = FakeKernel()
    kernel.add("wg1")
    peers = tuple(
        Peer(
            Key(number.to_bytes(32, "big")),
            endpoint=Endpoint("192.0.2.1", 1 + number),
            allowed_ips=tuple(
                AllowedIP(bytes([10, number % 256, n // 256, n % 256]), 32)
                for n in range(700 if number == 3 else 2)
            ),
            replace_allowed_ips=True,
        )
        for number in range(1, 200)
    )
    device = Device("wg1", listen_port=1, replace_peers=True, peers=peers)
    connect(kernel).set_device(device)
    assert len(kernel.received) - 1 >= 2
    found = connect(kernel).get_device("wg1")
    assert [(p.public_key, p.endpoint, p.allowed_ips) for p in found.peers] == [
        (p.public_key, p.endpoint, p.allowed_ips) for p in peers
    ]


def test_nothing_is_sent_when_a_name_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    kernel = FakeKernel()
    kernel.add("wg1")
    device = Device(
        "wg1", replace_peers=True, peers=(Peer(KEY), Peer(OTHER, endpoint=Endpoint("no.where", 1)))
    )
    with pytest.raises(L2wgError) as caught:
        connect(kernel).set_device(device, resolve.sockaddr)
    assert str(caught.value) == (
        "endpoint 'no.where:1' does not resolve: Name or service not known (check the name, or "
        "write the address)"
    )
    assert kernel.received == []


def test_back_off_of_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []

    def fail(*_: object, **__: object) -> list[object]:
        if len(slept) < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, 2, 17, "", ("192.0.2.7", 9))]

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(resolve.time, "sleep", slept.append)
    assert resolve.sockaddr(Endpoint("a.b", 9)) == messages.sockaddr(Endpoint("192.0.2.7", 9))
    assert slept == pytest.approx([1, 1.2, 1.44])
    assert capsys.readouterr().err.splitlines()[1] == (
        "l2wgctl: endpoint 'a.b:9': Temporary failure in name resolution. Trying again in 1.20 "
        "seconds..."
    )
    slept.clear()
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "2")
    with pytest.raises(L2wgError) as caught:
        resolve.sockaddr(Endpoint("a.b", 9))
    assert len(slept) == 2 and caught.value.problems[0].code == "RESOLVE"
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "infinity")
    assert resolve.retries() is None
    for text in ("²", "x"):
        monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", text)
        with pytest.raises(UsageError) as usage:
            resolve.retries()
        assert str(usage.value) == (
            f"WG_ENDPOINT_RESOLUTION_RETRIES is neither infinity nor a number: '{text}'"
        )


@pytest.mark.parametrize("old", [False, True])
def test_removal_of_one_network(old: bool) -> None:
    """With the flag, and on kernels without it by way of a peer that exists for one message."""
    kernel = FakeKernel()
    kernel.add("wg1")
    kernel.old = old
    nets = tuple(map(allowed_ip, ["10.0.0.0/8", "fd00::/64", "192.0.2.0/24"]))
    connect(kernel).set_device(
        Device(
            "wg1",
            peers=(
                Peer(KEY, allowed_ips=nets[:2]),
                Peer(OTHER, allowed_ips=nets[2:]),
            ),
        )
    )
    change = Peer(
        KEY,
        # The last one is another peer's: it stays there.
        allowed_ips=(
            nets[0]._replace(remove=True),
            nets[2]._replace(remove=True),
            allowed_ip("172.16.0.0/12"),
        ),
    )
    connect(kernel).set_device(Device("wg1", peers=(change,)))
    found = {peer.public_key: peer.allowed_ips for peer in connect(kernel).get_device("wg1").peers}
    assert found == {KEY: (nets[1], allowed_ip("172.16.0.0/12")), OTHER: (nets[2],)}


def test_stale_answers_are_passed_over() -> None:
    kernel = FakeKernel()
    kernel.add("wg1")
    sock = FakeSocket(kernel)
    wireguard = WireGuard(sock, ("wireguard",))
    wireguard.get_device("wg1")
    sock.queue += [
        reply[:8] + b"\x01\x00\x00\x00" + reply[12:]
        for reply in kernel.handle(16, kernel.received[-1])
    ]
    assert wireguard.get_device("wg1").name == "wg1"


def test_socket_is_closed() -> None:
    sock = FakeSocket(FakeKernel())
    with WireGuard(sock, ("wireguard",)):
        pass
    assert sock.closed

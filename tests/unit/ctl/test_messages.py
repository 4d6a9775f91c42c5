# SPDX-License-Identifier: GPL-2.0
"""Netlink bytes: against what the real wg sent, against pyroute2, and there and back again."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2wgctl import render, setargs
from l2wgctl.conf import files
from l2wgctl.conf import parse as config
from l2wgctl.model import AllowedIP, Device, Endpoint, Key, Peer, SecretKey
from l2wgctl.netlink import messages, uapi
from l2wgctl.sockets import AF_INET, AF_INET6, inet_ntop, inet_pton
from tests.unit.ctl import record
from tests.unit.ctl.fakekernel import FakeKernel, FakePeer, attr

CAPTURES = sorted((Path(__file__).parent / "captures").glob("*.txt"))
#: wg's buffer is one page.
PAGE = 4096


def device_of(words: list[str], tmp_path: Path) -> Device:
    """The change that l2wgctl makes of wg's words."""
    for name, text in record.FILES.items():
        (tmp_path / name).write_text(text)
    command, name, *rest = [word.replace("FILE:", f"{tmp_path}/") for word in words]
    if command == "set":
        return setargs.parse_set(name, rest)[0]
    loaded = files.load(rest[0]).device
    return loaded._replace(name=name) if command == "addconf" else files.whole(loaded, name)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_bytes_are_those_of_wg(path: Path, tmp_path: Path) -> None:
    words, *sent = path.read_text().splitlines()
    device = device_of(json.loads(words), tmp_path)
    header = struct.pack("=BBH", uapi.WG_CMD_SET_DEVICE, uapi.WG_GENL_VERSION, 0)
    ours = [(header + payload).hex() for payload in messages.encode_set(device, limit=PAGE)]
    assert ours == sent
    if "many" in path.stem:
        assert len(sent) > 3


def test_there_are_captures() -> None:
    assert {path.stem for path in CAPTURES} == set(record.COMMANDS)


# -- generated devices -----------------------------------------------------------------------------


def build(cls: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(fields).map(lambda found: cls(**found))


def normal(address: object) -> str:
    """As inet_ntop writes it."""
    family = AF_INET6 if ":" in str(address) else AF_INET
    return inet_ntop(family, inet_pton(family, str(address)))


keys = st.binary(min_size=32, max_size=32).filter(any)
networks = st.one_of(
    st.tuples(st.binary(min_size=4, max_size=4), st.integers(0, 32)),
    st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 128)),
).map(lambda pair: AllowedIP(*pair))
endpoints = build(Endpoint, host=st.ip_addresses().map(normal), port=st.integers(1, 65535))


def peers(most: int) -> st.SearchStrategy[Any]:
    return build(
        Peer,
        public_key=keys.map(Key),
        preshared_key=st.none() | keys.map(SecretKey),
        endpoint=st.none() | endpoints,
        persistent_keepalive=st.none() | st.integers(0, 65535),
        allowed_ips=st.lists(networks, max_size=most).map(tuple),
        replace_allowed_ips=st.just(True),
    )


devices = build(
    Device,
    name=st.just("wg1"),
    private_key=st.none() | keys.map(SecretKey),
    listen_port=st.none() | st.integers(0, 65535),
    fwmark=st.none() | st.integers(0, 0xFFFFFFFF),
    peers=st.lists(peers(12), max_size=8, unique_by=lambda peer: peer.public_key).map(tuple),
    replace_peers=st.just(True),
)


def from_pyroute2(payloads: list[bytes]) -> list[dict[str, Any]]:
    """What pyroute2's own classes read in the messages."""
    from pyroute2.netlink.generic.wireguard import wgmsg

    found = []
    for payload in payloads:
        body = struct.pack("=BBH", 1, 1, 0) + payload
        message = wgmsg(struct.pack("=IHHII", 16 + len(body), 30, 5, 1, 0) + body)
        message.decode()
        for peer in message.get_attr("WGDEVICE_A_PEERS") or ():
            found.append(dict(peer["attrs"]))
    return found


@settings(max_examples=80, deadline=None)
@given(devices, st.sampled_from([600, 1000, PAGE, messages.MESSAGE_MAX]))
def test_pyroute2_reads_what_we_write(device: Device, limit: int) -> None:
    payloads = list(messages.encode_set(device, limit=limit))
    assert all(len(payload) + 20 <= limit for payload in payloads)
    joined: dict[str, list[str]] = {}
    firsts: dict[str, dict[str, Any]] = {}
    for peer in from_pyroute2(payloads):
        key = peer["WGPEER_A_PUBLIC_KEY"]
        key = key.decode() if isinstance(key, bytes) else key
        first = firsts.setdefault(key, peer)
        if first is not peer:
            # A later piece holds nothing but the key and AllowedIPs: no replace flag.
            assert set(peer) <= {"WGPEER_A_PUBLIC_KEY", "WGPEER_A_ALLOWEDIPS"}
        for entry in peer.get("WGPEER_A_ALLOWEDIPS", ()):
            joined.setdefault(key, []).append(entry["addr"])
    assert list(firsts) == [str(peer.public_key) for peer in device.peers]
    for sent in device.peers:
        first = firsts[str(sent.public_key)]
        assert first["WGPEER_A_FLAGS"] == uapi.WGPEER_F_REPLACE_ALLOWEDIPS
        assert first.get("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") == sent.persistent_keepalive
        if sent.endpoint:
            assert first["WGPEER_A_ENDPOINT"]["port"] == sent.endpoint.port
        assert [a.partition("/")[2] for a in joined.get(str(sent.public_key), [])] == [
            str(ip.prefix) for ip in sent.allowed_ips
        ]


def apply(device: Device, limit: int) -> FakeKernel:
    kernel = FakeKernel()
    kernel.add("wg1")
    for payload in messages.encode_set(device, limit=limit):
        kernel._set("wireguard", payload)
    return kernel


def expected(device: Device) -> Device:
    """What the kernel makes of it: host bits cleared, a network belongs to the last who names it,
    the own key is no peer."""
    from l2wgctl.conf.values import masked
    from l2wgctl.keys import clamped, public_key

    own = public_key(device.private_key) if device.private_key else None
    nets: dict[tuple[bytes, int], Key] = {}
    order: dict[Key, list[AllowedIP]] = {}
    for peer in device.peers:
        if peer.public_key == own:
            continue
        for ip in peer.allowed_ips:
            clean = AllowedIP(masked(ip.address, ip.prefix), ip.prefix)
            if clean[:2] in nets:
                order[nets[clean[:2]]].remove(clean)
            nets[clean[:2]] = peer.public_key
            order.setdefault(peer.public_key, []).append(clean)
    return Device(
        "wg1",
        private_key=clamped(device.private_key) if device.private_key else None,
        public_key=own,
        listen_port=device.listen_port or 0,
        fwmark=device.fwmark or 0,
        ifindex=7,
        peers=tuple(
            peer._replace(
                allowed_ips=tuple(order.get(peer.public_key, ())),
                replace_allowed_ips=False,
                persistent_keepalive=peer.persistent_keepalive or 0,
            )
            for peer in device.peers
            if peer.public_key != own
        ),
    )


@settings(max_examples=150, deadline=None)
@given(
    devices, st.sampled_from([600, PAGE, messages.MESSAGE_MAX]), st.sampled_from([700, 1200, 4096])
)
def test_round_trip_through_a_kernel(device: Device, limit: int, dump_limit: int) -> None:
    kernel = apply(device, limit)
    kernel.dump_limit = dump_limit
    payloads = list(kernel._dump(kernel.devices["wg1"]))
    found, stream = messages.decode_device("wg1", payloads)
    want = expected(device)
    assert found._replace(peers=tuple(stream)) == want
    lines = "".join(stream.dump_lines(render.dump_peer))
    assert lines == "".join(map(render.dump_peer, want.peers))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_dump_lines_of_many_alike(data: st.DataObject) -> None:
    """Long runs of few shapes, which is where peers are decoded many at a time."""
    kernel = FakeKernel()
    device = kernel.add("wg1")
    shapes = data.draw(st.lists(peers(3), min_size=1, max_size=3))
    chosen = data.draw(st.lists(st.sampled_from(shapes), min_size=1, max_size=300))
    for number, peer in enumerate(chosen):
        key = number.to_bytes(32, "big")
        device.peers[key] = FakePeer(
            key,
            peer.preshared_key or bytes(32),
            messages.sockaddr(peer.endpoint) if peer.endpoint else b"",
            number % 7,
            (number, number * 3),
            number * 5,
            number * 11,
            [(ip.family, ip.address, ip.prefix) for ip in peer.allowed_ips],
        )
    kernel.dump_limit = data.draw(st.sampled_from([1000, 4096, 32768]))
    _, stream = messages.decode_device("wg1", kernel._dump(device))
    found = list(stream)
    assert [(p.rx_bytes, p.tx_bytes, p.last_handshake) for p in found] == [
        (n * 5, n * 11, (n, n * 3)) for n in range(len(chosen))
    ]
    assert [(p.preshared_key, p.endpoint, p.allowed_ips) for p in found] == [
        (p.preshared_key, p.endpoint, p.allowed_ips) for p in chosen
    ]
    lines = "".join(stream.dump_lines(render.dump_peer))
    assert lines == "".join(map(render.dump_peer, found))


def test_scoped_endpoint_keeps_its_scope() -> None:
    kernel = FakeKernel()
    device = kernel.add("wg1")
    raw = messages.sockaddr(Endpoint("fe80::1%lo", 51820))
    for number in range(3):
        key = bytes([number]) * 32
        device.peers[key] = FakePeer(key, endpoint=raw)
    _, stream = messages.decode_device("wg1", kernel._dump(device))
    assert [str(peer.endpoint) for peer in stream] == ["[fe80::1%lo]:51820"] * 3


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        _, stream = messages.decode_device("wg1", [data])
        list(stream)
    except (messages.NetlinkFormatError, UnicodeDecodeError):
        pass


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"\x05\x00\x01\x00", "an attribute reaches over the end of its message"),
        (b"\x03\x00\x01\x00", "an attribute reaches over the end of its message"),
        (attr(6, b"abc"), "a number has an odd length"),
        (attr(8, attr(0, attr(1, b"short"))), "a peer has no public key"),
        (
            attr(8, attr(0, attr(1, bytes(32)) + attr(9, attr(0, attr(3, b"\x21"))))),
            "an AllowedIP is neither IPv4 nor IPv6",
        ),
        (attr(8, attr(0, attr(6, b"x"))), "a time has an odd length"),
    ],
)
def test_malformed(payload: bytes, text: str) -> None:
    with pytest.raises(messages.NetlinkFormatError) as caught:
        list(messages.decode_device("wg1", [payload])[1])
    assert str(caught.value) == f"netlink: {text} (does the module fit this kernel?)"


def test_numbers_are_those_of_pyroute2() -> None:
    from pyroute2.netlink.generic import wireguard as theirs

    for names, prefix in (
        (theirs.wgmsg.nla_map, ""),
        (theirs.wgmsg.wgdevice_peer.nla_map, ""),
        (theirs.wgmsg.wgdevice_peer.wgpeer_allowedip.nla_map, ""),
    ):
        for number, (name, _) in enumerate(names):
            if not name.endswith("_UNSPEC") and hasattr(messages, name):
                assert getattr(messages, prefix + name) == number
    assert config.parse("", "").device.peers == ()


HEADER = Path("/usr/include/linux/wireguard.h")
#: What headers before Linux 6.16 lack.
LATER = {"WGALLOWEDIP_F_REMOVE_ME", "WGALLOWEDIP_A_FLAGS"}


@pytest.mark.skipif(
    not HEADER.exists() or not shutil.which("cc"), reason="needs cc and linux-libc-dev"
)
def test_the_numbers_are_those_of_the_header(tmp_path: Path) -> None:
    text = HEADER.read_text()
    names = [n for n in vars(uapi) if n.startswith("WG") and (n not in LATER or n in text)]
    assert len(names) > 28
    lines = "".join(f'printf("{name} %d\\n", (int){name});' for name in names)
    program = tmp_path / "numbers"
    source = f"#include <stdio.h>\n#include <linux/wireguard.h>\nint main(void) {{ {lines} }}\n"
    subprocess.run(["cc", "-x", "c", "-o", program, "-"], input=source, text=True, check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    assert dict(zip(said[::2], map(int, said[1::2]))) == {n: getattr(uapi, n) for n in names}

# SPDX-License-Identifier: GPL-2.0
"""`show IFACE dump` by the shortest way: what it prints, and that it is short."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2wgctl import dump, render
from l2wgctl.netlink import channel, messages
from tests.unit.ctl.conftest import Result
from tests.unit.ctl.fakekernel import FakeKernel, FakePeer, FakeSocket

CAPTURES = Path(__file__).parent / "captures"
ROOT = Path(__file__).parents[3]


def test_a_real_kernels_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine peers in three layouts as Linux 5.10 sends them, and what `wg show dump` made of it.

    Each layout is recognised: nothing takes the long way.
    """
    payloads = [bytes.fromhex(x) for x in (CAPTURES / "dump-5.10.hex").read_text().split()]
    text = (CAPTURES / "dump-5.10.wg").read_text()
    monkeypatch.setattr(channel, "open_socket", lambda: FakeSocket(FakeKernel()))
    monkeypatch.setattr(channel.Channel, "dump", lambda *_: ("wireguard", payloads))
    monkeypatch.setattr(messages, "Peers", None)
    lines = dump.dump("cap")
    assert lines is not None and "".join(lines) == text


def test_the_long_way_has_the_same_text() -> None:
    payloads = [bytes.fromhex(x) for x in (CAPTURES / "dump-5.10.hex").read_text().split()]
    device, peers = messages.decode_device("cap", payloads)
    text = render.dump_device(device) + "".join(map(render.dump_peer, peers))
    assert text == (CAPTURES / "dump-5.10.wg").read_text()


NETWORKS = st.lists(
    st.one_of(
        st.tuples(st.just(2), st.binary(min_size=4, max_size=4), st.integers(0, 32)),
        st.tuples(st.just(10), st.binary(min_size=16, max_size=16), st.integers(0, 128)),
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(NETWORKS, st.booleans()), max_size=12), st.sampled_from([700, 1500, 8192])
)
def test_any_device(layouts: list[tuple[list[tuple[int, bytes, int]], bool]], limit: int) -> None:
    """Split over messages wherever it may be, the text is that of the long way."""
    kernel = FakeKernel()
    kernel.dump_limit = limit
    device = kernel.add("wg1", kind="l2wireguard", ifindex=1)
    for number, (networks, endpoint) in enumerate(layouts):
        peer = FakePeer(bytes([number + 1]) * 32)
        peer.ips = list(networks)
        if endpoint:
            peer.endpoint = bytes.fromhex("02000050 c0000201") + bytes(8)
        device.peers[peer.key] = peer
    payloads = list(kernel._dump(device))
    head, peers = messages.decode_device("wg1", payloads)
    expected = render.dump_device(head) + "".join(map(render.dump_peer, peers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "open_socket", lambda: FakeSocket(kernel))
        patch.setattr(channel, "loaded_families", lambda: tuple(kernel.families))
        lines = dump.dump("wg1")
        assert lines is not None and "".join(lines) == expected


def test_what_fails_takes_the_long_way(kernel: FakeKernel, run: Callable[..., Result]) -> None:
    assert dump.dump("wg7") is None
    said = run("show", "wg7", "dump")
    assert said.status == 1 and said.err.startswith("l2wgctl: show: wg7: no such link")


def test_it_loads_next_to_nothing() -> None:
    def modules(code: str) -> set[str]:
        argv = [sys.executable, "-c", f"import sys{code}; print(*sys.modules)"]
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=ROOT)
        return set(done.stdout.split())

    new = modules(", l2wgctl.cli, l2wgctl.dump") - modules("")
    assert not new & {"typing", "re", "argparse", "socket", "enum", "collections", "contextlib"}
    assert {name for name in new if name.startswith("l2wgctl")} == {
        *("l2wgctl", "l2wgctl.cli", "l2wgctl.dump", "l2wgctl.grammar", "l2wgctl.sockets"),
        "l2wgctl.streams",
        *("l2wgctl.netlink", "l2wgctl.netlink.channel", "l2wgctl.netlink.bulk"),
        "l2wgctl.netlink.uapi",
    }

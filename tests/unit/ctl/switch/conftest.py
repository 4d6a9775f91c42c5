# SPDX-License-Identifier: GPL-2.0
"""Fixtures for the tests of a switch: a hub in the kernel in memory."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.ctl.conftest import PEER_A, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakePeer
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.fakeswitch import FakeSwitch
from tests.unit.ctl.switch.hubs import (
    HUB,
    MAC2,
    MAC3,
    A,
    B,
    key,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


@pytest.fixture
def hub(
    kernel: FakeKernel, links: FakeLinks, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeSwitch:
    """wg1 with A, whose Name is oslo, and B; MAC is bound to A, others were learned."""
    from l2wgctl import sockets

    monkeypatch.setattr(sockets, "if_nametoindex", lambda name: 7)
    kernel.add("wg1", kind="l2wgswitch")
    links.create("wg1", "l2wgswitch")
    for peer in (A, B):
        kernel.devices["wg1"].peers[peer] = FakePeer(peer)
    (etc / "wg1.conf").touch(mode=0o600)
    (etc / "wg1.conf").write_text(
        f"[Interface]\nSwitch = yes\n[Peer]\nName = oslo\nPublicKey = {PEER_A}\n"
    )
    made = kernel.switches.switches["wg1"]
    made.member(B)
    made.member(A).configured = True
    made.member(A).options[4] = struct.pack("=HH6sxx", 10, 1, bytes.fromhex("020000000001"))
    made.entries = [(MAC2, 0, A, 0, 12400), (MAC3, 7, B, 0, 61000), (MAC2, 7, None, 0, 0)]
    return made


@pytest.fixture
def filed_hub(kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf) -> FakeSwitch:
    """wg1, made by setconf from HUB; its log is empty."""
    assert run("setconf", "wg1", conf(HUB)) == (0, "", "")
    made = kernel.switches.switches["wg1"]
    a = key(PEER_A).hex()[:4]
    assert made.log == ["link [3, 4, 5, 7, 8]", f"set {a} [4, 5, 6, 7, 8, 10, 11, 12]"]
    made.log.clear()
    return made

# SPDX-License-Identifier: GPL-2.0
"""l2wgctl and the real `wg` side by side on one kernel: same words, same output, same effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import show
from l2wgctl.grammar import FIELDS
from tests.unit.ctl import record
from tests.unit.ctl.conftest import PEER_A, PEER_B, PEER_C, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakePeer
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
NOW = 1_800_000_000


@pytest.fixture
def busy(kernel: FakeKernel, wg: Run, tmp_path: Path) -> FakeKernel:
    """Two devices with everything that can be shown."""
    kernel.add("wg1", kind="wireguard", ifindex=7)
    kernel.add("wg2", kind="wireguard", ifindex=8)
    kernel.add("bare", kind="wireguard", ifindex=9)
    for name in ("small", "many-peers"):
        (tmp_path / name).write_text(record.FILES[name])
    assert wg("setconf", "wg1", tmp_path / "small").status == 0
    assert wg("setconf", "wg2", tmp_path / "many-peers").status == 0
    ages = [0, 1, 60, 3600 + 61, 86400 * 2, 86400 * 400 + 7200, -5]
    sizes = [0, 1, 1023, 1024, 1536, 1024**2 - 1, 1024**3 * 5, 1024**4 * 7, 2**63]
    for number, peer in enumerate(kernel.devices["wg2"].peers.values()):
        if number % 4:
            peer.handshake = (NOW - ages[number % 7], number)
        peer.rx, peer.tx = sizes[number % 9], sizes[number % 5]
        if number % 6 == 0:
            peer.keepalive = number * 700
    key = bytes(31) + b"\x01"
    kernel.devices["wg1"].peers[key] = FakePeer(key)
    return kernel


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handshakes are so old that the second in which each program looks does not show."""
    import time

    monkeypatch.setattr(show, "time", time)


@pytest.mark.parametrize("name", ["wg1", "wg2", "bare", "all"])
@pytest.mark.parametrize("field", FIELDS)
def test_fields(
    busy: FakeKernel, links: FakeLinks, wg: Run, run: Run, name: str, field: str
) -> None:
    for device in busy.devices.values():
        links.create(device.name, device.kind)
    theirs = wg("show", name, field)
    if (name, field) == ("all", "endpoints"):
        # wg(8) promises the interface before every line; wg 1.0.20210914 prints it once for each
        # device. We keep the promise.
        theirs.out = "".join(
            f"{device.name}\t{line}"
            for device in busy.devices.values()
            for line in wg("show", device.name, field).out.splitlines(keepends=True)
        )
    assert run("show", name, field) == theirs


@pytest.mark.parametrize("name", ["wg1", "wg2", "bare"])
def test_showconf(busy: FakeKernel, wg: Run, run: Run, name: str) -> None:
    assert run("showconf", name) == wg("showconf", name)


@pytest.mark.parametrize("mode", ["always", "never", "auto"])
@pytest.mark.parametrize("hide", ["never", "always"])
@pytest.mark.parametrize("words", [["show", "wg1"], ["show", "wg2"], ["show", "bare"], []])
def test_pretty(
    busy: FakeKernel,
    links: FakeLinks,
    wg: Run,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    mode: str,
    hide: str,
) -> None:
    import time

    now = int(time.time())
    for device in busy.devices.values():
        links.create(device.name, device.kind)
        for peer in device.peers.values():
            if peer.handshake[0]:
                # Times in the future stay there.
                age = NOW - peer.handshake[0]
                peer.handshake = (now - age - 30 if age > 60 else now + 1000, peer.handshake[1])
    monkeypatch.setenv("WG_COLOR_MODE", mode)
    monkeypatch.setenv("WG_HIDE_KEYS", hide)

    def second() -> int:
        """As wg's time(2) has it: some milliseconds late."""
        return int(time.clock_gettime(5))  # CLOCK_REALTIME_COARSE

    for _ in range(20):  # until wg has begun and ended within one second
        before = second()
        theirs = wg(*words, WG_COLOR_MODE=mode, WG_HIDE_KEYS=hide)
        if second() == before:
            break
    monkeypatch.setattr(show.time, "time", lambda: before)
    ours = run(*words)
    assert ours == theirs


def test_interfaces(busy: FakeKernel, links: FakeLinks, wg: Run, run: Run) -> None:
    for device in busy.devices.values():
        links.create(device.name, device.kind)
    assert run("show", "interfaces") == wg("show", "interfaces")
    assert run("show", "interfaces").out == "wg1 wg2 bare\n"


def effect(kernel: FakeKernel) -> object:
    device = kernel.devices["wg1"]
    return (device.private, device.port, device.fwmark, list(device.peers.values()))


WORDS = [
    ["listen-port", "1", "fwmark", "0x10"],
    ["fwmark", "off"],
    ["fwmark", "OFF"],
    ["private-key", "KEY"],
    ["private-key", "/dev/null"],
    ["peer", PEER_C],
    ["peer", PEER_C, "endpoint", "127.0.0.1:9", "peer", PEER_A, "remove"],
    ["peer", PEER_A, "endpoint", "[::1]:9", "persistent-keepalive", "off"],
    ["peer", PEER_A, "preshared-key", "/dev/null", "allowed-ips", ""],
    ["peer", PEER_A, "preshared-key", "KEY", "allowed-ips", "10.5.5.5/8, ::1"],
    ["peer", PEER_B, "allowed-ips", "10.0.0.0/8"],
    ["peer", PEER_A, "remove", "peer", PEER_B, "remove"],
    ["listen-port", "5", "peer", PEER_A, "remove", "endpoint", "192.0.2.5:5"],
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_set_has_the_same_effect(
    kernel: FakeKernel, wg: Run, run: Run, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "key").write_text(record.FILES["psk"])
    (tmp_path / "small").write_text(record.SMALL)
    words = [word.replace("KEY", str(tmp_path / "key")) for word in words]
    states = []
    for program in (wg, run):
        kernel.add("wg1")
        assert program("setconf", "wg1", tmp_path / "small").status == 0
        assert program("set", "wg1", *words).status == 0
        states.append(effect(kernel))
    assert states[0] == states[1]


@pytest.mark.parametrize("command", ["setconf", "addconf", "syncconf"])
@pytest.mark.parametrize("before", ["small", "empty", "many-peers"])
@pytest.mark.parametrize("after", ["small", "empty", "many-peers"])
def test_files_have_the_same_effect(
    kernel: FakeKernel, wg: Run, run: Run, tmp_path: Path, command: str, before: str, after: str
) -> None:
    for name in (before, after):
        (tmp_path / name).write_text(record.FILES[name])
        (tmp_path / name).chmod(0o600)
    states = []
    for program in (wg, run):
        kernel.add("wg1")
        assert program("setconf", "wg1", tmp_path / before).status == 0
        result = program(command, "wg1", tmp_path / after)
        assert (result.status, result.out) == (0, "")
        device = kernel.devices["wg1"]
        port = device.port
        if command == "syncconf" and after == "empty":
            # wg resets the port to a random one; we leave the one the link has.
            port = 0
        peers = {key: (p.psk, p.endpoint, set(p.ips)) for key, p in device.peers.items()}
        states.append((device.private, port, device.fwmark, peers))
    assert states[0] == states[1]


def test_strip_is_that_of_wg_quick(run: Run, tmp_path: Path) -> None:
    import os
    import shutil
    import subprocess

    if os.geteuid() or not shutil.which("wg-quick"):
        pytest.skip("wg-quick strip needs root and wireguard-tools")
    path = tmp_path / "wg1.conf"
    path.write_text(
        "# top\n[Interface]\nAddress = 10.0.0.1/24 # home\nprivatekey = "
        f"{record.PRIVATE}\n MTU=1400\nDNS = 1.1.1.1\nTable = off\nPostUp = echo a\n"
        "SaveConfig = true\n\n#MTU = 1\n[Peer]\n# Address\nPublicKey = "
        f"{PEER_A}\nAllowedIPs = 10.0.0.0/8\n"
    )
    path.chmod(0o600)
    theirs = subprocess.run(
        ["wg-quick", "strip", str(path)], capture_output=True, text=True, check=True
    )
    # wg-quick's `echo` adds an empty line.
    assert run("strip", path) == (0, theirs.stdout[:-1], "")

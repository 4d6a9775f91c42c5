# SPDX-License-Identifier: GPL-2.0
"""Names of peers: in the file, and in everything that shows a peer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import monitor
from l2wgctl.conf import files
from l2wgctl.conf.check import lint
from l2wgctl.conf.names import Names, scan
from l2wgctl.conf.parse import parse
from l2wgctl.conf.values import public_key
from l2wgctl.errors import ConfigError
from tests.unit.ctl.conftest import PEER_A, PEER_B, PRIVATE, Result
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
TEXT = f"""[Interface]
PrivateKey = {PRIVATE}
ListenPort = 5

[Peer]  # the first
Name = my [bold]laptop # a comment
PublicKey = {PEER_A}
AllowedIPs = 0.0.0.0/0, ::/0

[Peer]
PublicKey = {PEER_B}
"""
NAME = "my [bold]laptop"


@pytest.fixture
def named(links: FakeLinks, etc: Path, run: Run) -> Path:
    """wg1 from a file with a name in it."""
    path = etc / "wg1.conf"
    path.touch(mode=0o600)
    path.write_text(TEXT)
    assert run("setconf", "wg1") == (0, "", "")
    return path


def test_everything_shows_it(run: Run, named: Path, links: FakeLinks) -> None:
    shown = run("show", "wg1").out
    assert f"\npeer: {PEER_A}\n  name: {NAME}\n  allowed ips: 0" in shown
    assert f"\npeer: {PEER_B}\n  allowed ips: (none)\n" in shown
    peers = json.loads(run("--json", "show", "wg1").out)["devices"][0]["peers"]
    assert [peer["name"] for peer in peers] == [NAME, None]
    first, second = run("monitor", "--count", "1").out.splitlines()
    assert first.startswith(f"wg1 peer={PEER_A} name='{NAME}' endpoint=- rx=0")
    assert second.startswith(f"wg1 peer={PEER_B} endpoint=- rx=0")
    rows = json.loads(run("--json", "monitor", "--count", "1").out)["peers"]
    assert [row["name"] for row in rows] == [NAME, None]
    said = run("doctor", "wg1").out
    assert f"FAIL peer {PEER_A} ({NAME}): never a handshake" in said
    assert f"FAIL peer {PEER_B}: never a handshake" in said
    checks = json.loads(run("--json", "doctor", "wg1").out)["checks"]
    assert [c["name"] for c in checks if c["check"] == f"peer {PEER_A}"] == [NAME]


def test_what_wg_prints_stays(run: Run, named: Path, links: FakeLinks) -> None:
    for words in (["dump"], ["peers"], ["allowed-ips"]):
        assert NAME not in run("show", "wg1", *words).out
    assert NAME not in run("showconf", "wg1").out


def test_the_table_does_not_take_it_for_markup() -> None:
    from rich.console import Console

    row = monitor.Row("wg1", PEER_A, None, 0, 0, None, None, None, NAME)
    console = Console(width=120)
    with console.capture() as capture:
        console.print(monitor.table([row]))
    assert NAME in capture.get()


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    names = Names(str(tmp_path))
    assert names.of("wg1") == {}
    path = tmp_path / "wg1.conf"
    path.write_text(TEXT)
    assert names.of("wg1") == {public_key(PEER_A): NAME}
    path.write_text(TEXT.replace("my ", "somebody's "))
    assert names.of("wg1") == {public_key(PEER_A): f"somebody's{NAME[2:]}"}
    path.unlink()
    assert names.of("wg1") == {}


def test_a_file_with_mistakes_has_names_all_the_same() -> None:
    broken = TEXT.replace("ListenPort", "Lisssten") + f"[Peer]\nName = \x1b[31m\nName\n{PRIVATE}\n"
    assert scan(broken) == {public_key(PEER_A): NAME}
    assert scan("Name = x\n[Peer]\nPublicKey = y\n") == {}


def test_the_key() -> None:
    assert [peer.name for peer in parse(TEXT, "").device.peers] == [NAME, None]
    assert "Name" not in files.strip(TEXT) and f"PublicKey = {PEER_A}" in files.strip(TEXT)
    long = "x" * 64
    for value, what in (
        (long, "Name is longer than 63 characters: '(hidden)'"),
        ("a\tb", "Name has characters that cannot be printed (letters, digits, space, - _ .)"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse(TEXT.replace(NAME, value), "wg1.conf")
        assert str(caught.value) == f"wg1.conf:6:8: {what}"
    twice = TEXT.replace(f"PublicKey = {PEER_B}", f"PublicKey = {PEER_B}\nName = {NAME}")
    assert [str(p) for p in lint(parse(twice, "wg1.conf"))] == [
        f"wg1.conf:10:1: warning: Name '{NAME}' is also that of the peer of line 5 (give each its "
        "own)"
    ]


def test_a_name_like_a_key() -> None:
    """A command would take it for the peer of that name."""
    text = f"[Peer]\nName = {PEER_B[:6]}\nPublicKey = {PEER_A}\n[Peer]\nPublicKey = {PEER_B}\n"
    found = [x for x in lint(parse(text, "wg1.conf")) if x.code == "name-twice"]
    assert [str(x) for x in found] == [
        f"wg1.conf:1:1: warning: Name '{PEER_B[:6]}' is also the beginning of the key of the peer "
        "of line 4 (as a word of a command it is the name: choose another)"
    ]
    for name in (PEER_B[:3], PEER_A[:6], "oslo"):
        other = parse(text.replace(PEER_B[:6], name, 1), "wg1.conf")
        assert not [x for x in lint(other) if x.code == "name-twice"]

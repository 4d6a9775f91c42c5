# SPDX-License-Identifier: GPL-2.0
"""new: two files that fit each other; and the words that people try."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import new
from l2wgctl.arguments import COMMANDS
from l2wgctl.conf import files
from l2wgctl.conf.check import lint
from l2wgctl.conf.parse import Config, parse
from l2wgctl.keys import public_key
from tests.unit.ctl.conftest import Result
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def hostname(monkeypatch: pytest.MonkeyPatch) -> None:
    """This host is `a`."""
    monkeypatch.setattr(socket, "gethostname", lambda: "a")


def both(folder: Path) -> tuple[Config, Config]:
    """The two files, which have no mistake and no warning, and fit each other."""
    found = []
    for path in (folder / "wg1.conf", folder / "for-peer/wg1.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        config = parse(path.read_text(), str(path))
        assert list(lint(config)) == []
        found.append(config)
    for one, two in (found, reversed(found)):
        assert one.device.private_key is not None
        (peer,) = two.device.peers
        assert peer.public_key == public_key(one.device.private_key)
    first, second = found
    assert first.device.peers[0].preshared_key == second.device.peers[0].preshared_key
    return first, second


def test_a_hub_and_its_first_site(run: Run, tmp_path: Path) -> None:
    words = ("--kind", "l2wgswitch", "--endpoint", "a.example", "--address", "10.0.0.1/24")
    assert run("new", "wg1", *words, "--peer-address", "10.0.0.2/24", "--folder", tmp_path)
    hub, site = both(tmp_path)
    assert hub.switch is not None and site.link.kind == "l2wireguard"
    (options,) = hub.switch.peers.values()
    assert options.relay
    (peer,) = hub.device.peers
    assert [str(ip) for ip in peer.allowed_ips] == ["10.0.0.2/32"]
    # without an address nothing is bound
    assert run("new", "wg1", *words[:4], "--folder", tmp_path / "x").status == 0
    hub, _ = both(tmp_path / "x")
    assert hub.device.peers[0].allowed_ips == ()


def test_two_ends(run: Run, tmp_path: Path, etc: Path) -> None:
    said = run(
        *("new", "wg1", "--endpoint", "a.example", "--address", "192.168.157.1/24"),
        *("--peer-address", "192.168.157.2/24", "--peer-name", "b", "--folder", tmp_path / "x"),
    )
    folder = tmp_path / "x"
    assert said == (
        0,
        f"{folder}/wg1.conf: this end; bring it up with 'l2wgctl up {folder}/wg1.conf'\n"
        f"{folder}/for-peer/wg1.conf: the other end's; move it there, to {etc}/wg1.conf\n",
        "",
    )
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    here, there = both(folder)
    assert (here.device.listen_port, there.device.listen_port) == (51820, None)
    (peer,) = here.device.peers
    assert (peer.name, peer.endpoint, peer.persistent_keepalive) == ("b", None, None)
    (peer,) = there.device.peers
    assert (peer.name, str(peer.endpoint), peer.persistent_keepalive) == (
        *("a", "a.example:51820"),
        25,
    )
    assert here.link.addresses == ("192.168.157.1/24",) and here.link.ethernet
    assert there.link.addresses == ("192.168.157.2/24",)
    secrets = [here.device.private_key, there.device.private_key, peer.preshared_key]
    assert not any(secret and secret.reveal() in said.out for secret in secrets)


def test_a_bridge_and_both_endpoints(run: Run, etc: Path) -> None:
    assert (
        run(
            *("new", "wg1", "--endpoint", "[2001:db8::1]", "--peer-endpoint", "192.0.2.2:7"),
            *("--bridge", "br0", "--address", "10.0.0.1/24"),
        ).status
        == 0
    )
    here, there = both(etc)
    assert here.link.bridge_addresses == ("10.0.0.1/24",) and here.link.addresses == ()
    assert there.link.bridge == "br0" and there.link.bridge_create
    assert str(here.device.peers[0].endpoint) == "192.0.2.2:7"
    assert str(there.device.peers[0].endpoint) == "[2001:db8::1]:51820"
    assert there.device.listen_port == 7


IP = ("--kind", "wireguard", "--address", "10.0.0.1/24", "--peer-address", "10.0.0.2/24")


def test_ip_and_a_picture(run: Run, etc: Path) -> None:
    pytest.importorskip("segno")
    said = run("new", "wg1", "--endpoint", "a.example", *IP, "--qr")
    here, _ = both(etc)
    assert str(here.device.peers[0].allowed_ips[0]) == "10.0.0.2/32"
    assert here.link.kind == "wireguard"
    assert f"{etc}/wg1.conf: this end; bring it up with 'l2wgctl up wg1'\n" in said.out
    assert "█" in said.out and said.out.endswith(f"to {etc}/wg1.conf\n")
    text = (etc / "for-peer/wg1.conf").read_text()
    kept = text.replace("Kind = wireguard\n", "").replace("Name = a\n", "")
    assert kept != text and new.picture(text) == new.picture(kept)


def test_what_up_would_refuse_is_not_written(run: Run, etc: Path) -> None:
    result = run("new", "br0", "--endpoint", "a", "--bridge", "br0")
    assert (result.status, result.out) == (1, "")
    what = "Bridge br0 is the link itself, or a VLAN of it (name another link)"
    assert result.err == (
        f"l2wgctl: {etc}/br0.conf:4:1: {what}\nl2wgctl: {etc}/for-peer/br0.conf:3:1: {what}\n"
    )
    assert [*etc.iterdir()] == []


def test_a_mistake_in_a_text_of_ours(run: Run, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the options let through, the files are parsed before they are written."""
    from l2wgctl.model import Endpoint

    monkeypatch.setattr(new, "_endpoint", lambda text: Endpoint(text, 5))
    result = run("new", "wg1", "--peer-endpoint", "a#b")
    assert result.status == 1 and "wg1.conf:8:12: Endpoint 'a' has no port" in result.err
    assert [*etc.iterdir()] == []


def test_two_at_once(run: Run, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the first one's look and its writing."""
    seen: list[Result] = []
    write = files.write_private

    def slow(path: str, text: str) -> None:
        if not seen:
            seen.append(run("new", "wg1", "--endpoint", "b"))
        write(path, text)

    monkeypatch.setattr(files, "write_private", slow)
    assert run("new", "wg1", "--endpoint", "a").status == 0
    what = "is there already (move it away, or choose another name)"
    assert seen == [(1, "", f"l2wgctl: {etc}/wg1.conf: {what}\n")]
    both(etc)


def test_a_dangling_link_is_there(run: Run, etc: Path) -> None:
    (etc / "wg1.conf").symlink_to("elsewhere")
    assert "is there already" in run("new", "wg1", "--endpoint", "a").err
    assert not (etc / "elsewhere").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "words",
    [["new", "wg1", "--endpoint", "a", "--folder", "."], ["mesh", "keygen", "a.key", "b.key"]],
    ids=" ".join,
)
def test_nothing_stays_if_nobody_could_be_told(tmp_path: Path, words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "l2wgctl", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(new.__file__).parents[1])},
            text=True,
            check=False,
        )
    assert done.stderr.splitlines()[0] == "l2wgctl: standard output: No space left on device"
    assert done.returncode == 1
    assert not [*tmp_path.rglob("*.key"), *tmp_path.rglob("*.conf")]


def test_nothing_stays_of_a_file_that_cannot_be_written(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(KeyboardInterrupt):
                files.create_private(str(etc / "wg1.conf"), "text", "")
    assert [*etc.iterdir()] == []


def test_nothing_is_overwritten(run: Run, etc: Path) -> None:
    other = etc / "for-peer/wg1.conf"
    other.parent.mkdir()
    other.write_text("mine")
    assert run("new", "wg1", "--endpoint", "a") == (
        1,
        "",
        f"l2wgctl: {other}: is there already (move it away, or choose another name)\n",
    )
    assert other.read_text() == "mine" and not (etc / "wg1.conf").exists()
    other.unlink()
    other.parent.rmdir()
    other.parent.write_text("in the way")
    assert run("new", "wg1", "--endpoint", "a").status == 1
    assert not (etc / "wg1.conf").exists(), "both or none"


ERRORS = [
    (
        [],
        "new: no end knows where the other one is (--endpoint HOST is this host's address or name, "
        "--peer-endpoint the other one's)",
    ),
    (
        ["--endpoint", "a:b"],
        "new: --endpoint 'a:b' has a port that is not 1-65535",
    ),
    (
        ["--endpoint", "a", "--address", "10.0.0.1"],
        "new: --address '10.0.0.1' has no prefix length (write 10.0.0.1/24)",
    ),
    (
        ["--endpoint", "a", "--address", "10.0.0.1/24", "--peer-address", "10.0.0.1/24"],
        "new: both ends have the address 10.0.0.1 (give each end its own)",
    ),
    (
        ["--endpoint", "a", "--address", "10.0.0.1/24", "--peer-address", "10.0.0.1/25"],
        "new: both ends have the address 10.0.0.1 (give each end its own)",
    ),
    (
        ["--endpoint", "a", "--name", "a#b"],
        "new: --name has a '#', which begins a comment (letters, digits, space, - _ .)",
    ),
    (
        ["--endpoint", "a", "--qr"],
        "new: --qr is for the WireGuard apps, which know no Ethernet links (add --kind wireguard, "
        "or leave --qr out)",
    ),
    (
        ["--endpoint", "a", "--kind", "wireguard"],
        "new: an IP link needs addresses (give --address and --peer-address)",
    ),
    (
        ["--endpoint", "a", *IP, "--bridge", "br0"],
        "new: --bridge needs an Ethernet link (leave --kind out)",
    ),
    (
        ["--endpoint", "a", "--bridge", "a/b"],
        "new: --bridge is not 1-15 of A-Z a-z 0-9 _ = + . -: 'a/b'",
    ),
]


@pytest.mark.parametrize(("words", "line"), ERRORS)
def test_errors(run: Run, etc: Path, words: list[str], line: str) -> None:
    assert run("new", "wg1", *words) == (1, "", f"l2wgctl: {line}\n")
    assert list(etc.iterdir()) == []


def test_without_segno(run: Run, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    assert run("new", "wg1", "--endpoint", "a", *IP, "--qr") == (
        1,
        "",
        "l2wgctl: new --qr: segno is not installed (apt install python3-segno, or pip install "
        "'l2wg[qr]')\n",
    )
    assert list(etc.iterdir()) == []


# -- words that people try -------------------------------------------------------------------------


def test_status_and_list(run: Run, links: FakeLinks) -> None:
    run("add", "wg1")
    run("add", "wg2")
    assert run("status") == run("show")
    assert run("status", "wg1", "listen-port") == run("show", "wg1", "listen-port")
    assert run("list") == (0, "wg1 wg2\n", "")
    assert json.loads(run("list", "--json").out) == json.loads(
        run("--json", "show", "interfaces").out
    )


def test_help(run: Run) -> None:
    assert run("help") == run("--help")
    for name in COMMANDS:
        said = run("help", name)
        assert said.status == 0 and said == run(name, "--help")
    assert run("help", "shew") == (
        2,
        "",
        "l2wgctl: help: unknown command 'shew' (did you mean show?)\n",
    )


def test_a_link_with_a_wrong_name(run: Run, tmp_path: Path) -> None:
    result = run("new", "wg/1", "--endpoint", "192.0.2.1", "--folder", tmp_path)
    assert (result.status, result.err) == (
        1,
        "l2wgctl: link name is not 1-15 of A-Z a-z 0-9 _ = + . -: 'wg/1'\n",
    )
    assert not list(tmp_path.rglob("*.conf"))

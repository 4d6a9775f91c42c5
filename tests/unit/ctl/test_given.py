# SPDX-License-Identifier: GPL-2.0
"""Words and files that a person gives by accident: names that are none, nothing, FIFOs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import metrics, reresolve, resolve
from l2wgctl.conf import tables, values
from l2wgctl.conf.names import Names
from l2wgctl.doctor.switch import _leases
from l2wgctl.errors import L2wgError, ValueProblem
from l2wgctl.mesh import desk
from l2wgctl.model import Endpoint
from l2wgctl.updown import plan
from tests.unit.ctl.conftest import PEER_A, PRIVATE, Result

Run = Callable[..., Result]
Conf = Callable[..., Path]


@pytest.mark.parametrize(
    "host", ["a..b", ".a", "a..", "x" * 64, "b\udcfcr", "a#b", "a\0b", "a\x1bb", "."]
)
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(ValueProblem, match="has no valid host"):
        values.endpoint(f"{host}:5")


@pytest.mark.parametrize("host", ["a", "a.b.", "b\xfccher.example", "x" * 63, "127.1", "_a.b-c"])
def test_hosts_that_may_be(host: str) -> None:
    assert values.endpoint(f"{host}:5") == Endpoint(host, 5)


def test_a_name_that_is_too_long_as_dns_has_it() -> None:
    endpoint = values.endpoint(f"{'ü' * 60}.example:5")
    with pytest.raises(L2wgError, match="does not resolve"):
        resolve.sockaddr(endpoint)
    assert reresolve.addresses(endpoint) == [] and plan._address_of(endpoint.host) is None


def test_a_byte_that_is_not_utf8(tmp_path: Path) -> None:
    """In a process of its own, whose stderr takes every byte."""
    path = tmp_path / "wg1.conf"
    text = f"[Interface]\nPrivateKey = {PRIVATE}\nResolve = 60\n[Peer]\nPublicKey = {PEER_A}\n"
    path.write_bytes(text.encode() + b"Endpoint = b\xfcr.example.org:5\nAllowedIPs = ::/0\n")
    path.chmod(0o600)
    for words in (["check", str(path)], ["setconf", "wg1", str(path)]):
        call = [sys.executable, "-m", "l2wgctl", *words]
        done = subprocess.run(call, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr == (
            b"l2wgctl: %b:6:12: Endpoint 'b\xfcr.example.org:5' has no valid host "
            b"(write HOST:PORT)\n" % bytes(path)
        )


def test_listen_at_a_name_that_is_none() -> None:
    class Library:
        def start_http_server(self, port: int, address: str, registry: object) -> None:
            raise UnicodeError("label empty or too long")

    with pytest.raises(L2wgError) as caught:
        metrics._serve("a..b:9586", None, Library())  # type: ignore[arg-type]
    assert str(caught.value) == "metrics: 'a..b' is no address (9586, or 192.0.2.1:9586)"


def test_resolve_waits_for_a_file(run: Run, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr(reresolve.time, "sleep", sleep)
    result = run("resolve", "nope")
    assert (result.status, slept) == (130, [5]) and "no such file" in result.err


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--netns", "", "show", "interfaces"), "show: --netns"),
        (("--netns=", "show", "interfaces"), "show: --netns"),
        (("setconf", "wg1", ""), "setconf: a word of the command"),
        (("metrics", "--listen", ""), "metrics: --listen"),
        (("show", "", "dump"), "show: a word of the command"),
        (("mesh", "status", "--file", "", "m"), "mesh: --file"),
    ],
)
def test_nothing_is_not_the_default(run: Run, words: tuple[str, ...], what: str) -> None:
    assert run(*words) == (
        2,
        "",
        f"l2wgctl: {what} is empty (is a variable of the shell unset?)\n",
    )


def test_a_fifo_keeps_nobody_waiting(
    run: Run, conf: Conf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rt_tables.d/x.conf", "wg2.conf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.mkfifo(tmp_path / name)
    hub = f"[Interface]\nPrivateKey = {PRIVATE}\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\n"
    assert run("check", conf(f"{hub}Relay = yes\nAllowedIPs = ::/0\n")).status == 0
    monkeypatch.setattr(tables, "FILES", (tmp_path / "rt_tables",))
    assert [*tables._rows()] == []
    assert Names(str(tmp_path)).of("wg2") == {}
    assert [*_leases(tmp_path / "wg2.conf")] == []


def test_an_admin_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(L2wgError, match="nobody knows this user's home") as caught:
        desk.state_folder()
    assert caught.value.problems[0].hint == "set XDG_STATE_HOME"

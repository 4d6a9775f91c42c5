# SPDX-License-Identifier: GPL-2.0
"""The command line: every kind of failure as a whole line, exit statuses, JSON."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import cli
from l2wgctl.arguments import COMMANDS
from l2wgctl.errors import KernelError
from l2wgctl.grammar import FIELDS, SET
from l2wgctl.machine import module_hint
from l2wgctl.netlink import channel, link
from tests.unit.ctl.conftest import OWN, PEER_A, PEER_B, PRIVATE, PSK, Result
from tests.unit.ctl.fakekernel import FakeKernel, FakeSocket, Refuse
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
Conf = Callable[..., Path]
GOOD = f"""[Interface]
PrivateKey = {PRIVATE}
ListenPort = 51820

[Peer]
PublicKey = {PEER_A}
PresharedKey = {PSK}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.1:51820
"""
MODULE = f" ({module_hint()})"


def line(text: str, status: int = 1) -> tuple[int, str, str]:
    return (status, "", f"l2wgctl: {text}\n")


# -- usage ----------------------------------------------------------------------------------------

USAGE = [
    (["shew"], "unknown command 'shew' (did you mean show?)"),
    (["frobnicate"], f"unknown command 'frobnicate' (known: {', '.join(COMMANDS)})"),
    (["show", "wg1", "public_key"], "show: unknown field 'public_key' (did you mean public-key?)"),
    (["show", "wg1", "x"], f"show: unknown field 'x' (known: {', '.join(FIELDS)})"),
    (
        ["add", "wg1", "vxlan"],
        "add: unknown kind 'vxlan' (known: l2wireguard, l2wgswitch, wireguard)",
    ),
    (
        ["showconf"],
        "showconf: the following arguments are required: IFACE (l2wgctl showconf [-h] "
        "[--netns NAME] [--json] IFACE)",
    ),
    (
        ["show", "--json", "wg1", "dump"],
        "show: --json shows everything and takes no field (leave it out)",
    ),
    (["show", "interfaces", "dump"], "show: 'interfaces' takes no field (show all FIELD)"),
    (["set", "wg1", "fwmark"], f"set: fwmark has no value ({SET})"),
    (["set", "wg1", "colour", "red"], f"set: unknown word 'colour' ({SET})"),
    (["set", "wg1", "endpoint", "a:1"], f"set: endpoint comes after a peer ({SET})"),
    (
        ["set", "wg1", "peer", PEER_A, "listen-port", "1"],
        f"set: listen-port comes before the first peer ({SET})",
    ),
    (
        ["set", "wg1", "listen-port", "70000"],
        "set: listen-port is not 0-65535: '70000' (0 lets the kernel choose)",
    ),
    (
        ["set", "wg1", "peer", PEER_A, "allowed-ips", "10.0.0.0/8,-10.0.0.0/64"],
        "set: allowed-ips '10.0.0.0/64' has a prefix length that is not 0-32",
    ),
    (
        ["monitor", "--count", "-1"],
        "monitor: argument --count: is not a number: '-1' (l2wgctl monitor [-h] [--netns NAME] "
        "[--json] [--interval SECONDS] [--count N] "
        "[--events] [IFACE])",
    ),
    (
        ["monitor", "--interval", "0"],
        "monitor: argument --interval: is not 0.1-86400 seconds: '0' (l2wgctl "
        "monitor [-h] [--netns NAME] [--json] [--interval SECONDS] [--count N] "
        "[--events] [IFACE])",
    ),
]


@pytest.mark.parametrize(("words", "text"), USAGE, ids=lambda value: str(value)[:40])
def test_usage_errors(run: Run, kernel: FakeKernel, words: list[str], text: str) -> None:
    assert run(*words) == line(text, 2)
    assert kernel.received == []


def test_a_key_in_the_wrong_place_is_not_repeated(run: Run, kernel: FakeKernel) -> None:
    for words in (
        ["show", "wg1", PRIVATE],
        [PRIVATE],
        ["set", "wg1", PRIVATE],
        ["set", "wg1", "private-key", PRIVATE],
        ["set", "wg1", "listen-port", PRIVATE],
        ["set", "wg1", "peer", PRIVATE[:-1]],
        ["set", "wg1", "peer", PEER_A, "preshared-key", PSK],
        ["add", PRIVATE],
        ["up", PRIVATE],
        ["check", PRIVATE],
    ):
        result = run(*words)
        assert result.status in (1, 2)
        assert PRIVATE[:20] not in result.err and PSK[:20] not in result.err, result.err


def test_version_and_help(run: Run) -> None:
    assert run("--version") == (0, "l2wgctl 0.1.0\n", "")
    for name in COMMANDS:
        result = run(name, "--help")
        assert (result.status, result.err) == (0, "")
        assert COMMANDS[name][2] in " ".join(result.out.split())
    assert all(f"\n    {name}" in run("--help").out for name in COMMANDS)


# -- files ----------------------------------------------------------------------------------------


def test_file_not_found(run: Run, kernel: FakeKernel, tmp_path: Path) -> None:
    path = tmp_path / "none.conf"
    for command in ("check", "up", "strip"):
        assert run(command, path) == line(f"{path}: no such file (check the path)")
    for command in ("setconf", "addconf", "syncconf", "diff"):
        assert run(command, "wg1", path) == line(f"{path}: no such file (check the path)")
    assert run("set", "wg1", "private-key", path) == line(f"{path}: no such file (check the path)")


def test_default_file(run: Run, kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["setconf", "wg9"], ["up", "wg9"], ["diff", "wg9"]):
        assert run(*words) == line("/etc/l2wg/wg9.conf: no such file (write it, see l2wg.conf(5))")


def test_file_not_readable(
    run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = conf(GOOD)
    real = open

    def refuse(name: object, *rest: object, **more: object) -> object:
        if str(name) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(name, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refuse)
    assert run("check", path) == line(
        f"{path}: not readable by this user (run as root or use sudo)"
    )
    assert run("check", tmp_path) == line(f"{tmp_path}: is a directory (name a file)")


@pytest.mark.parametrize(("mode", "who"), [(0o640, "group"), (0o604, "world")])
def test_key_file_that_others_can_read(run: Run, conf: Conf, mode: int, who: str) -> None:
    path = conf(GOOD, mode=mode)
    assert run("check", path) == (
        0,
        "",
        f"l2wgctl: {path}: warning: holds keys and is {who} accessible (mode {mode:04o}) (chmod "
        f"600 {path})\n",
    )
    assert run("check", conf("[Interface]\nListenPort = 1\n", mode=mode)).err.count("mode") == 0


def test_check(run: Run, conf: Conf) -> None:
    assert run("check", conf(GOOD)) == (0, "", "")
    path = conf(GOOD.replace("51820", "99999").replace("PublicKey", "PubKey"))
    assert run("check", path) == (
        1,
        "",
        f"l2wgctl: {path}:3:14: ListenPort is not 0-65535: '99999' (0 lets the kernel choose)\n"
        f"l2wgctl: {path}:5:1: [Peer] has no PublicKey (every peer needs one)\n"
        f"l2wgctl: {path}:6:1: unknown key 'PubKey' in [Peer] (did you mean PublicKey?)\n"
        f"l2wgctl: {path}:9:22: Endpoint '192.0.2.1:99999' has a port that is not 1-65535\n",
    )


@pytest.mark.parametrize("command", ["up", "down", "save", "strip"])
def test_file_names(run: Run, links: FakeLinks, tmp_path: Path, command: str) -> None:
    assert run(command, tmp_path / "wg1.txt") == line(
        f"{tmp_path}/wg1.txt: the file's name does not end in .conf (name it after the link: "
        "wg1.conf)"
    )
    name = "sixteen-letters-"
    assert run(command, tmp_path / f"{name}.conf") == line(
        f"{tmp_path}/{name}.conf: link name is longer than 15 characters: '{name}' (the file is "
        "named after the link: wg1.conf)"
    )
    assert run(command, "a b") == line("link name is not 1-15 of A-Z a-z 0-9 _ = + . -: 'a b'")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("hunter2", "private key is not 32 bytes in base64"),
        (PRIVATE + "\nmore", "private key is not 32 bytes in base64"),
    ],
)
def test_key_files(run: Run, kernel: FakeKernel, tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    hint = "44 characters, the last one '=', as 'l2wgctl genkey' prints them"
    assert run("set", "wg1", "private-key", path) == line(f"{path}: {what} ({hint})")


# -- kernel ---------------------------------------------------------------------------------------


def test_no_module(run: Run, conf: Conf, links: FakeLinks, monkeypatch: pytest.MonkeyPatch) -> None:
    links.kernel.families.clear()
    assert run("showconf", "wg1") == line("show: the kernel has no WireGuard family" + MODULE)

    def refuse(name: str, kind: str) -> None:
        raise KernelError(
            errno.EOPNOTSUPP,
            f"{name}: the kernel does not know links of kind {kind}",
            module_hint(),
            "add",
        )

    monkeypatch.setattr(links, "add", refuse)
    text = "add: wg1: the kernel does not know links of kind l2wireguard" + MODULE
    assert run("add", "wg1") == line(text)
    assert run("setconf", "wg1", conf(GOOD)) == line(text)


def test_no_permission(
    run: Run, kernel: FakeKernel, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: int, name: str) -> None:
        raise Refuse(errno.EPERM)

    kernel.refuse = refuse
    kernel.add("wg1")
    mend = "not permitted (run as root, or with CAP_NET_ADMIN)"
    assert run("show", "wg1") == line(f"show: wg1: {mend}")
    assert run("set", "wg1", "listen-port", "1") == line(f"set: wg1: {mend}")
    assert run("syncconf", "wg1", conf(GOOD)) == line(f"show: wg1: {mend}")


def test_port_in_use(run: Run, kernel: FakeKernel) -> None:
    def refuse(command: int, name: str) -> None:
        raise Refuse(errno.EADDRINUSE)

    kernel.refuse = refuse
    assert run("set", "wg1", "listen-port", "53") == line(
        "set: wg1: the listening port is in use (choose another ListenPort, or 0 for a free one)"
    )


def test_device_of_another_kind(run: Run, links: FakeLinks) -> None:
    links.kernel.add("eth0", family="none")
    links.create("eth0", "dummy")
    text = "eth0 is not a WireGuard link (see its kind with 'ip -d link show dev eth0')"
    assert run("show", "eth0") == line(f"show: {text}")
    assert run("set", "eth0", "fwmark", "1") == line(f"set: {text}")
    assert run("del", "eth0") == line(f"del: {text}")


def test_names_of_new_links(run: Run, links: FakeLinks) -> None:
    assert run("add", "sixteen-letters-") == line(
        "link name is longer than 15 characters: 'sixteen-letters-'"
    )
    assert run("add", "wg1") == (0, "", "")
    assert run("add", "wg1") == line(
        "add: wg1: the name is in use (choose another, or remove it with 'l2wgctl del wg1')"
    )
    assert run("add", "wg0", "wireguard") == (0, "", "")
    assert [(found.name, found.kind) for found in links.tunnels()] == [
        ("wg1", "l2wireguard"),
        ("wg0", "wireguard"),
    ]
    assert run("del", "wg1") == (0, "", "")
    assert run("del", "wg1") == line(
        "del: wg1: no such link (create it with 'l2wgctl add wg1' or 'l2wgctl up wg1')"
    )


def test_namespace_missing(run: Run) -> None:
    text = (
        "no network namespace is named 'blue-17' (see 'ip netns list', or make it with 'ip netns "
        "add blue-17')"
    )
    assert run("--netns", "blue-17", "show") == line(text)
    assert run("show", "--netns", "blue-17") == line(text)


def test_socket_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")

    monkeypatch.setattr(channel, "open_socket", refuse)
    assert run("show", "wg1") == line("netlink: Protocol not supported")


# -- what is done ---------------------------------------------------------------------------------


def test_setconf_creates_a_missing_link(run: Run, links: FakeLinks, conf: Conf) -> None:
    path = conf(GOOD)
    assert run("setconf", "wg1", path) == (0, "", "")
    assert links.links["wg1"].kind == "l2wireguard"
    assert links.kernel.devices["wg1"].port == 51820
    text = GOOD.replace("PrivateKey", "Kind = wireguard\nPrivateKey")
    assert run("setconf", "wg0", conf(text)) == (0, "", "")
    assert links.links["wg0"].kind == "wireguard"


def test_setconf_takes_a_link_away_that_it_cannot_configure(
    run: Run, links: FakeLinks, conf: Conf
) -> None:
    def refuse(command: int, name: str) -> None:
        if name in links.kernel.devices:
            raise Refuse(errno.EADDRINUSE)

    links.kernel.refuse = refuse
    before = links.state()
    assert run("setconf", "wg1", conf(GOOD)).status == 1
    assert links.state() == before


def test_a_broken_file_changes_nothing(run: Run, links: FakeLinks, conf: Conf) -> None:
    links.kernel.add("wg1")
    path = conf(GOOD + "[Peer]\n")
    for command in ("setconf", "addconf", "syncconf"):
        assert run(command, "wg1", path) == line(
            f"{path}:10:1: [Peer] has no PublicKey (every peer needs one)"
        )
    assert links.kernel.received == []


def test_syncconf_touches_only_what_differs(run: Run, links: FakeLinks, conf: Conf) -> None:
    links.add("wg1", "l2wireguard")
    kernel = links.kernel
    path = conf(GOOD)
    assert run("setconf", "wg1", path).status == 0
    kernel.received.clear()
    assert run("diff", "wg1", path) == (0, "", "")
    assert run("syncconf", "wg1", path) == (0, "", "")
    assert all(message[16] != 1 for message in kernel.received), "nothing was set"
    text = (
        GOOD.replace("51820\n\n", "51821\n\n")
        .replace("::/0", "10.0.0.0/8")
        .replace("192.0.2.1", "192.0.2.2")
        .replace(PSK, PRIVATE)
    )
    path = conf(text + f"PersistentKeepalive = 25\n[Peer]\nPublicKey = {PEER_B}\n")
    want = (
        "~ interface listen-port 51820 -> 51821\n"
        f"~ peer {PEER_A} preshared-key (hidden) -> (hidden)\n"
        f"~ peer {PEER_A} endpoint 192.0.2.1:51820 -> 192.0.2.2:51820\n"
        f"~ peer {PEER_A} persistent-keepalive off -> 25\n"
        f"- peer {PEER_A} allowed-ips ::/0\n"
        f"+ peer {PEER_A} allowed-ips 10.0.0.0/8\n"
        f"+ peer {PEER_B}\n"
    )
    assert run("diff", "wg1", path) == (0, want, "")
    assert run("syncconf", "wg1", path) == (0, "", "")
    assert run("diff", "wg1", path) == (0, "", "")
    assert run("diff", "wg1", conf(GOOD)).out.splitlines()[1] == f"- peer {PEER_B}"


def test_set_adds_and_removes_networks(run: Run, kernel: FakeKernel) -> None:
    kernel.add("wg1")
    run("set", "wg1", "peer", PEER_A, "allowed-ips", "10.0.0.0/8,fd00::/64")
    assert run("set", "wg1", "peer", PEER_A, "allowed-ips", "+192.0.2.0/24,-10.0.0.0/8") == (
        0,
        "",
        "",
    )
    assert run("show", "wg1", "allowed-ips").out == f"{PEER_A}\tfd00::/64 192.0.2.0/24\n"
    assert run("set", "wg1", "peer", PEER_A, "allowed-ips", "-fd00::/64").status == 0
    assert run("show", "wg1", "allowed-ips").out == f"{PEER_A}\t192.0.2.0/24\n"
    result = run("set", "wg1", "peer", PEER_A, "allowed-ips", "10.1.1.1/8")
    assert result.err == (
        "l2wgctl: set: warning: allowed-ips '10.1.1.1/8' has bits set beyond its prefix (the "
        "kernel takes it as 10.0.0.0/8)\n"
    )


def test_keys(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = run("genkey"), run("genkey")
    assert first.out != second.out and first.status == 0 and len(first.out) == 45
    psk = run("genpsk")
    assert len(psk.out) == 45 and psk.err == ""
    monkeypatch.setattr(sys, "stdin", io.StringIO(PRIVATE + "\n"))
    assert run("pubkey") == (0, OWN + "\n", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO(PRIVATE[1:]))
    assert run("pubkey") == line(
        "stdin: private key is not 32 bytes in base64 (44 characters, the last one '=', as "
        "'l2wgctl genkey' prints them)"
    )


def test_genkey_warns_of_an_open_file(tmp_path: Path) -> None:
    import subprocess

    path = tmp_path / "key"
    for mode, warns in ((0o600, False), (0o644, True)):
        path.touch()
        path.chmod(mode)
        with path.open("w") as stream:
            done = subprocess.run(
                [sys.executable, "-m", "l2wgctl", "genkey"],
                stdout=stream,
                stderr=subprocess.PIPE,
                text=True,
                check=True,
            )
        assert ("warning" in done.stderr) is warns and len(path.read_text()) == 45
    assert done.stderr == (
        "l2wgctl: genkey: warning: writing a key to a world accessible file (umask 077)\n"
    )


def test_show_all_of_nothing(run: Run, links: FakeLinks) -> None:
    assert run() == (0, "", "")
    assert run("show", "all", "dump") == (0, "", "")
    assert run("show", "interfaces") == (0, "", "")
    assert json.loads(run("--json", "show").out) == {"devices": []}


def test_show_all_passes_over_a_link_that_went_away(run: Run, links: FakeLinks) -> None:
    links.create("wg8", "l2wireguard")
    links.create("wg1", "l2wireguard")
    links.kernel.add("wg1")
    result = run("show", "all", "listen-port")
    assert (result.status, result.out) == (1, "wg1\t0\n")
    assert result.err.startswith("l2wgctl: show: wg8: no such link")


def test_json(run: Run, links: FakeLinks, conf: Conf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WG_HIDE_KEYS", raising=False)
    run("setconf", "wg1", conf(GOOD))
    peer = {
        "public_key": PEER_A,
        "name": None,
        "preshared_key": "(hidden)",
        "endpoint": "192.0.2.1:51820",
        "allowed_ips": ["0.0.0.0/0", "::/0"],
        "latest_handshake": None,
        "rx_bytes": 0,
        "tx_bytes": 0,
        "persistent_keepalive": 0,
    }
    device = {
        "interface": "wg1",
        "family": "wireguard",
        "public_key": OWN,
        "private_key": "(hidden)",
        "listen_port": 51820,
        "fwmark": 0,
        "peers": [peer],
        "switch": None,
    }
    assert json.loads(run("show", "wg1", "--json").out) == {"devices": [device]}
    monkeypatch.setenv("WG_HIDE_KEYS", "never")
    shown = json.loads(run("--json", "show").out)["devices"][0]
    assert (shown["private_key"], shown["peers"][0]["preshared_key"]) == (PRIVATE, PSK)
    assert json.loads(run("show", "interfaces", "--json").out) == {
        "interfaces": [{"name": "wg1", "kind": "l2wireguard"}]
    }
    path = conf("[Interface]\nMTU = 1\n[Peer]\n")
    assert json.loads(run("check", "--json", path).out) == {
        "file": str(path),
        "ok": False,
        "problems": [
            {
                "severity": "error",
                "code": "value",
                "line": 2,
                "column": 7,
                "message": "MTU is not 68-65535 bytes: '1'",
                "hint": None,
            },
            {
                "severity": "error",
                "code": "no-public-key",
                "line": 3,
                "column": 1,
                "message": "[Peer] has no PublicKey",
                "hint": "every peer needs one",
            },
        ],
    }
    path = conf(GOOD.replace("51820\n\n", "1\n\n"))
    assert json.loads(run("diff", "wg1", path, "--json").out) == {
        "interface": "wg1",
        "changes": [
            {"action": "set", "peer": None, "field": "listen-port", "old": "51820", "new": "1"}
        ],
    }


@pytest.mark.parametrize(
    ("env", "tty", "want"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"WG_COLOR_MODE": "always", "NO_COLOR": "1"}, False, True),
        ({"WG_COLOR_MODE": "never"}, True, False),
        ({"WG_COLOR_MODE": "auto"}, True, True),
    ],
)
def test_colour(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], tty: bool, want: bool
) -> None:
    from l2wgctl import output

    for name in ("NO_COLOR", "WG_COLOR_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty)
    assert output.colour() is want


def test_nobody_reads_our_output(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    kernel.add("wg1")
    monkeypatch.setattr(os, "dup2", lambda old, new: new)
    monkeypatch.setattr(sys, "stdout", Broken())
    assert cli.main(["show", "wg1", "dump"]) == 0


def test_interrupt(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting(FakeSocket):
        def recv(self, size: int) -> bytes:
            raise KeyboardInterrupt

    monkeypatch.setattr(channel, "open_socket", lambda: Interrupting(kernel))
    assert cli.main(["show", "wg1"]) == 130


def test_netns_is_entered(monkeypatch: pytest.MonkeyPatch, kernel: FakeKernel, run: Run) -> None:
    entered: list[str] = []
    monkeypatch.setattr(link, "enter_netns", entered.append)
    kernel.add("wg1")
    assert run("--netns", "blue", "show", "wg1", "listen-port") == (0, "0\n", "")
    assert run("show", "--netns", "red", "wg1", "listen-port").status == 0
    assert entered == ["blue", "red"]


def test_disk_full(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    kernel.add("wg1")
    monkeypatch.setattr(sys, "stdout", Full())
    assert cli.main(["show", "wg1", "dump"]) == 1
    assert capsys.readouterr().err == "l2wgctl: No space left on device\n"

# SPDX-License-Identifier: GPL-2.0
"""l2wgctl on real links, beside the real `wg` and `ip`: the commands that `wg` also has."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import get_device
from l2wgctl.grammar import FIELDS
from l2wgctl.machine import module_hint
from tests.vm.ctl import Said, ctl, done, file, program
from toolkit.guest import ctl as bench_ctl
from toolkit.guest.hosts import MACS, Failed, Host, inside, keys, sh, tunnel, underlay

Hosts = Callable[..., list[Host]]
KINDS = ("l2wireguard", "wireguard")


def key(number: int) -> str:
    """A public key whose private key nobody has; the same for the same number."""
    return base64.b64encode(number.to_bytes(4, "big") * 8).decode()


P1, P2, P3 = key(1), key(2), key(3)


@pytest.fixture
def host(hosts: Hosts) -> Host:
    """One host with a key and nothing else."""
    host = hosts("H")[0]
    keys(host)
    return host


def same(host: Host, *words: str, tries: int = 1, **env: str) -> str:
    """The output, which is that of `wg`. With traffic the one may look later than the other."""
    for left in reversed(range(tries)):
        theirs = host.run("env", *(f"{k}={v}" for k, v in env.items()), "wg", *words)
        ours = done(host, *words, **env)
        if ours == theirs:
            break
        assert left, f"{' '.join(words)}:\n{ours}\nbut wg:\n{theirs}"
    return ours


def busy(host: Host, name: str) -> None:
    """Give a link, with `wg`, one of everything that can be shown."""
    psk = Path("/tmp/psk")
    psk.write_text(key(9))
    host.run(
        *("wg", "set", name, "private-key", "/dev/stdin", "listen-port", "1234", "fwmark", "0x2a"),
        *("peer", P1, "preshared-key", str(psk), "endpoint", "192.0.2.1:5", "allowed-ips"),
        *("0.0.0.0/0,10.1.0.0/16,fd00::/8", "persistent-keepalive", "25"),
        *("peer", P2, "endpoint", "[2001:db8::1]:65535", "allowed-ips", "::/0"),
        *("peer", P3),
        stdin=host.key,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_show_and_showconf_are_those_of_wg(host: Host, kind: str) -> None:
    assert done(host, "add", "wg1", kind) == ""
    info = host.link("wg1")["linkinfo"]
    assert isinstance(info, dict) and info["info_kind"] == kind
    same(host, "show", "wg1")
    same(host, "show", "wg1", "dump")
    same(host, "showconf", "wg1")
    busy(host, "wg1")
    for field in FIELDS:
        assert same(host, "show", "wg1", field).count("\n") == {"dump": 4}.get(
            field, 1 if field in FIELDS[:4] else 3
        )
    for mode in ("always", "never"):
        shown = same(host, "show", "wg1", WG_COLOR_MODE=mode)
    assert host.key not in shown
    assert host.key in same(host, "show", "wg1", WG_HIDE_KEYS="never")
    same(host, "showconf", "wg1")
    done(host, "add", "wg2", kind)
    assert sorted(done(host, "show", "interfaces").split()) == ["wg1", "wg2"]
    if kind == "wireguard":  # wg lists no other
        same(host, "show", "all", WG_COLOR_MODE="always")
        same(host, "show", WG_COLOR_MODE="never")
        for words in (["interfaces"], ["all", "dump"], ["all", "transfer"], ["all", "public-key"]):
            same(host, "show", *words)
    # and as the program that people start
    assert program(host, "show", "wg1", "dump").out == host.run("wg", "show", "wg1", "dump")
    assert done(host, "del", "wg1") == ""
    assert not host.ok("ip", "link", "show", "wg1")


def test_what_does_not_fit_one_message_is_joined_and_split(host: Host) -> None:
    """A peer with 1,200 AllowedIPs and 100 peers, in by the one and out by the other."""
    many = ", ".join(f"10.{i >> 8}.{i & 255}.0/24, fd00:{i:x}::/32" for i in range(600))
    text = f"[Interface]\nPrivateKey = {host.key}\n[Peer]\nPublicKey = {P1}\nAllowedIPs = {many}\n"
    text += "".join(
        f"[Peer]\nPublicKey = {key(i)}\n"
        f"AllowedIPs = 172.16.{i >> 8}.{i & 255}/32, fc00::{i:x}/128\n"
        for i in range(2, 102)
    )
    path = file(host, text)
    for name, tool in (("wg1", host.run), ("wg2", done)):
        host.run("ip", "link", "add", name, "type", "l2wireguard")
        if tool is done:
            done(host, "setconf", name, path)
        else:
            host.run("wg", "setconf", name, path)
        same(host, "show", name, "dump")
        same(host, "showconf", name)
    assert host.run("wg", "showconf", "wg1") == host.run("wg", "showconf", "wg2")
    # what showconf prints, each tool takes from the other
    again = file(host, done(host, "showconf", "wg1"), "wg2")
    host.run("wg", "syncconf", "wg2", again)
    done(host, "syncconf", "wg2", again)
    assert host.run("wg", "showconf", "wg1") == host.run("wg", "showconf", "wg2")


def test_set(host: Host) -> None:
    done(host, "add", "wg1")
    Path("/tmp/key").write_text(host.key + "\n")
    Path("/tmp/psk").write_text(key(9))

    def dump() -> list[list[str]]:
        lines = host.run("wg", "show", "wg1", "dump").splitlines()
        # one more column for the device: its keys are not what matters here
        return [line.split("\t")[1:4] + line.split("\t")[-1:] for line in lines]

    done(
        host,
        *("set", "wg1", "listen-port", "1234", "fwmark", "0x10", "private-key", "/tmp/key"),
        *("peer", P1, "preshared-key", "/tmp/psk", "endpoint", "[::1]:7", "persistent-keepalive"),
        *("21", "allowed-ips", "10.0.0.0/8,::/0", "peer", P2, "allowed-ips", "1.2.3.4"),
    )
    assert dump() == [
        [host.public, "1234", "0x10", "0x10"],
        [key(9), "[::1]:7", "10.0.0.0/8,::/0", "21"],
        ["(none)", "(none)", "1.2.3.4/32", "off"],
    ]
    done(
        host,
        *("set", "wg1", "fwmark", "off", "peer", P1, "preshared-key", "/dev/null"),
        *("persistent-keepalive", "off", "allowed-ips", "+11.0.0.0/8,-::/0,-12.0.0.0/8"),
    )
    assert dump()[0][2] == "off"
    assert dump()[1][:2] == ["(none)", "[::1]:7"]
    assert sorted(dump()[1][2].split(",")) == ["10.0.0.0/8", "11.0.0.0/8"]
    done(host, "set", "wg1", "peer", P2, "remove", "peer", P1, "allowed-ips", "")
    assert [line[2] for line in dump()[1:]] == ["(none)"]
    done(host, "set", "wg1", "private-key", "/dev/null", "listen-port", "0")
    assert dump()[0][0] == "(none)"
    # a network that another peer has moves, as with wg
    done(host, "set", "wg1", "peer", P1, "allowed-ips", "::/0", "peer", P3, "allowed-ips", "::/0")
    assert [line[2] for line in dump()[1:]] == ["(none)", "::/0"]


def config(key: str, *peers: str, interface: str = "") -> str:
    text = f"[Interface]\nPrivateKey = {key}\n{interface}"
    return text + "".join(f"[Peer]\nPublicKey = {peer}\n" for peer in peers)


def test_setconf_addconf_and_diff(host: Host) -> None:
    one = config(host.key, f"{P1}\nAllowedIPs = 0.0.0.0/0", interface="ListenPort = 99\n")
    two = config(host.key, f"{P2}\nAllowedIPs = ::/0", interface="FwMark = 7\n")
    paths = file(host, one, "one"), file(host, two, "two")
    for name in ("wg1", "wg2"):
        done(host, "add", name)
    for verb, number in (("setconf", 0), ("addconf", 1), ("setconf", 1)):
        host.run("wg", verb, "wg2", paths[number])
        done(host, verb, "wg1", paths[number])
        for field in ("peers", "allowed-ips", "fwmark", "private-key"):
            assert done(host, "show", "wg1", field) == host.run("wg", "show", "wg2", field)
        if number == 0:
            # two links cannot have the same port once they are up, until then they can
            assert done(host, "show", "wg1", "listen-port") == "99\n"
    assert done(host, "diff", "wg1", paths[1]) == ""
    assert done(host, "diff", "wg1", paths[0]) == (
        "~ interface listen-port 0 -> 99\n"
        "~ interface fwmark 0x7 -> off\n"
        f"- peer {P2}\n"
        f"+ peer {P1}\n"
        f"+ peer {P1} allowed-ips 0.0.0.0/0\n"
    )
    found = json.loads(done(host, "--json", "diff", "wg1", paths[0]))
    assert found["interface"] == "wg1" and len(found["changes"]) == 5
    # the diff has changed nothing, and syncconf does what it says
    assert done(host, "show", "wg1", "peers") == P2 + "\n"
    done(host, "syncconf", "wg1", paths[0])
    assert done(host, "diff", "wg1", paths[0]) == ""
    assert done(host, "show", "wg1", "peers") == P1 + "\n"


def test_setconf_creates_the_link(host: Host) -> None:
    folder = Path("/etc/l2wg")
    folder.mkdir(exist_ok=True)
    path = folder / "wg7.conf"
    path.touch(mode=0o600)
    path.write_text(config(host.key, f"{P1}\nAllowedIPs = 0.0.0.0/0"))
    # without a file it is /etc/l2wg/IFACE.conf
    assert program(host, "setconf", "wg7") == (0, "", "")
    assert host.link("wg7")["linkinfo"]["info_kind"] == "l2wireguard"
    assert done(host, "show", "wg7", "peers") == P1 + "\n"
    path.write_text(config(host.key, f"{P1}", interface="Kind = wireguard\n"))
    done(host, "setconf", "wg8", str(path))
    assert host.link("wg8")["linkinfo"]["info_kind"] == "wireguard"
    # a link that cannot be configured does not stay
    path.write_text(config(host.key, f"{P1}\nEndpoint = no.such.name.invalid:1"))
    said = ctl(host, "setconf", "wg9", str(path), WG_ENDPOINT_RESOLUTION_RETRIES="0")
    assert said.status == 1 and "no.such.name.invalid" in said.err
    assert not host.ok("ip", "link", "show", "wg9")
    path.write_text("[Interface]\nListenPort = 99999\nPrivatKey = x\n[Peer]\n")
    assert ctl(host, "setconf", "wg9", str(path)) == (
        1,
        "",
        f"l2wgctl: {path}:2:14: ListenPort is not 0-65535: '99999' (0 lets the kernel choose)\n"
        f"l2wgctl: {path}:3:1: unknown key 'PrivatKey' in [Interface] "
        "(did you mean PrivateKey?)\n"
        f"l2wgctl: {path}:4:1: [Peer] has no PublicKey (every peer needs one)\n",
    )
    assert not host.ok("ip", "link", "show", "wg9")


def test_syncconf_leaves_sessions_alone(pair: list[Host]) -> None:
    a, b = pair
    a.ping("192.168.157.2")
    handshake = done(a, "show", "wg1", "latest-handshakes")
    assert not handshake.endswith("\t0\n")
    text = done(a, "showconf", "wg1")
    path = file(a, text + f"[Peer]\nPublicKey = {P1}\nAllowedIPs = 192.0.2.0/24\n")
    done(a, "syncconf", "wg1", path)
    assert done(a, "show", "wg1", "peers").split() == [b.public, P1]
    done(a, "syncconf", "wg1", file(a, text))
    assert done(a, "show", "wg1", "peers").split() == [b.public]
    assert done(a, "show", "wg1", "latest-handshakes") == handshake
    a.ping("192.168.157.2")
    assert done(a, "show", "wg1", "latest-handshakes") == handshake
    for field in ("latest-handshakes", "transfer", "endpoints", "dump"):
        same(a, "show", "wg1", field, tries=9)


def test_keys_are_those_of_wg(host: Host) -> None:
    made = program(host, "genkey")
    private = made.out.strip()
    assert made.status == 0 and len(base64.b64decode(private)) == 32
    assert program(host, "pubkey", stdin=private).out == sh("wg", "pubkey", stdin=private)
    assert len(base64.b64decode(done(host, "genpsk"))) == 32


def test_errors_of_the_kernel(host: Host) -> None:
    done(host, "add", "wg1")

    def error(*words: str, said: Callable[..., Said] = ctl) -> str:
        status, out, err = said(host, *words)
        assert (status, out) == (1, "")
        return err

    missing = "(create it with 'l2wgctl add wg2' or 'l2wgctl up wg2')"
    assert error("show", "wg2") == f"l2wgctl: show: wg2: no such link {missing}\n"
    assert error("set", "wg2", "fwmark", "1") == f"l2wgctl: set: wg2: no such link {missing}\n"
    assert error("del", "wg2") == f"l2wgctl: del: wg2: no such link {missing}\n"
    other = "is not a WireGuard link (see its kind with 'ip -d link show dev lo')"
    for verb in ("show", "showconf", "del"):
        doing = verb.removesuffix("conf")
        assert error(verb, "lo") == f"l2wgctl: {doing}: lo {other}\n"
    assert error("set", "lo", "fwmark", "1") == f"l2wgctl: set: lo {other}\n"
    in_use = "wg1: the name is in use (choose another, or remove it with 'l2wgctl del wg1')"
    assert error("add", "wg1") == f"l2wgctl: add: {in_use}\n"
    assert error("add", "a-name-of-16-byt") == (
        "l2wgctl: link name is longer than 15 characters: 'a-name-of-16-byt'\n"
    )
    assert error("--netns", "nowhere", "show") == (
        "l2wgctl: no network namespace is named 'nowhere' "
        "(see 'ip netns list', or make it with 'ip netns add nowhere')\n"
    )
    # a port that another socket has
    host.run("ip", "link", "set", "wg1", "up")
    with inside(host):
        other_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other_socket:
        other_socket.bind(("", 4321))
        assert error("set", "wg1", "listen-port", "4321") == (
            "l2wgctl: set: wg1: the listening port is in use "
            "(choose another ListenPort, or 0 for a free one)\n"
        )

    def nobody(host: Host, *words: str) -> Said:
        drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
        return program(host, *words, before=drop)

    denied = "not permitted (run as root, or with CAP_NET_ADMIN)"
    assert error("show", "wg1", said=nobody) == f"l2wgctl: show: wg1: {denied}\n"
    assert error("add", "wg2", said=nobody) == f"l2wgctl: add: wg2: {denied}\n"
    # nothing of this has changed anything
    assert done(host, "show", "interfaces") == "wg1\n"


def test_another_namespace(hosts: Hosts) -> None:
    here, there = hosts("here", "there")
    keys(there)
    assert program(here, "--netns", "there", "add", "wg1") == (0, "", "")
    assert not here.ok("ip", "link", "show", "wg1")
    busy(there, "wg1")
    for words in (
        ("--netns", "there", "show", "wg1", "dump"),
        ("showconf", "wg1", "--netns=there"),
    ):
        plain = [w for w in words if w not in ("--netns", "there", "--netns=there")]
        assert done(here, *words) == there.run("wg", *plain)
    assert done(here, "show", "interfaces") == ""


def test_json(host: Host) -> None:
    assert json.loads(done(host, "--json", "show")) == {"devices": []}
    done(host, "add", "wg1")
    busy(host, "wg1")
    assert json.loads(done(host, "show", "interfaces", "--json")) == {
        "interfaces": [{"name": "wg1", "kind": "l2wireguard"}]
    }
    (device,) = json.loads(done(host, "--json", "show"))["devices"]
    peers = device.pop("peers")
    assert device == {
        "interface": "wg1",
        "family": "wireguard",
        "public_key": host.public,
        "private_key": "(hidden)",
        "listen_port": 1234,
        "fwmark": 42,
        "switch": None,
    }
    assert peers[0] == {
        "public_key": P1,
        "name": None,
        "preshared_key": "(hidden)",
        "endpoint": "192.0.2.1:5",
        "allowed_ips": ["0.0.0.0/0", "10.1.0.0/16", "fd00::/8"],
        "latest_handshake": None,
        "rx_bytes": 0,
        "tx_bytes": 0,
        "persistent_keepalive": 25,
    }
    assert [p["endpoint"] for p in peers] == ["192.0.2.1:5", "[2001:db8::1]:65535", None]
    shown = json.loads(done(host, "--json", "show", "wg1", WG_HIDE_KEYS="never"))["devices"][0]
    assert shown["private_key"] == host.key
    with inside(host):  # the same from a program
        assert [str(peer.public_key) for peer in get_device("wg1").peers] == [P1, P2, P3]


def test_the_comparison_with_wg(host: Host) -> None:
    """What ./inv bench-ctl runs, for a few peers: it compares what the two tools have done."""
    with inside(host):
        (row,) = bench_ctl.compare([20], ["syncconf"], runs=1, clean=True)
    assert (row.command, row.peers) == ("syncconf", 20)
    assert row.wg.kilobytes < row.l2wgctl.kilobytes < 64 * 1024
    assert json.loads(bench_ctl.document([row]))[0]["command"] == "syncconf"


@pytest.mark.usefixtures("unloaded")
class TestModules:
    """Without the module, and beside the stock one."""

    def test_without_the_module(self, host: Host) -> None:
        helper = Path("/proc/sys/kernel/modprobe")
        before = helper.read_text()
        helper.write_text("/bin/false\n")
        try:
            for kind in KINDS:
                hint = "modprobe wireguard" if kind == "wireguard" else module_hint()
                assert ctl(host, "add", "wg1", kind) == (
                    1,
                    "",
                    f"l2wgctl: add: wg1: the kernel does not know links of kind {kind} ({hint})\n",
                )
            assert ctl(host, "show", "wg1") == (
                1,
                "",
                f"l2wgctl: show: the kernel has no WireGuard family ({module_hint()})\n",
            )
            assert ctl(host, "show") == (0, "", "")
            said = ctl(host, "doctor")
            assert said.out.startswith("WARN module: l2wireguard 0.1.0 is installed, but not load")
        finally:
            helper.write_text(before)

    def test_beside_the_stock_module(self, hosts: Hosts) -> None:
        a, b = hosts("A", "B")
        underlay(a, b)
        sh("modprobe", "wireguard")
        tunnel(a, b, "wg0", kind="wireguard")
        # the kind loads our module, and the family that it has then is found
        for me, peer, last in ((a, b, 1), (b, a, 2)):
            path = file(
                me,
                f"[Interface]\nPrivateKey = {me.key}\nListenPort = 51899\n"
                f"Address = 192.168.158.{last}/24\nMACAddress = {MACS[last - 1]}\n"
                f"[Peer]\nPublicKey = {peer.public}\nEndpoint = 10.0.0.{3 - last}:51899\n"
                "AllowedIPs = 0.0.0.0/0, ::/0\n",
            )
            assert ctl(me, "up", path).status == 0
        a.ping("192.168.158.2")
        a.ping("192.168.157.2")
        with pytest.raises(Failed, match="Operation not supported"):
            a.run("wg", "show", "wg1")
        assert sorted(done(a, "show", "interfaces").split()) == ["wg0", "wg1"]
        found = json.loads(done(a, "--json", "show"))["devices"]
        families = {device["interface"]: device["family"] for device in found}
        assert families == {"wg0": "wireguard", "wg1": "l2wireguard"}
        assert done(a, "show", "wg0", "dump") == a.run("wg", "show", "wg0", "dump")
        assert re.search(r"\nPublicKey = .*\nAllowedIPs = 0", done(a, "showconf", "wg1"))
        for name in ("wg0", "wg1"):
            done(a, "set", name, "peer", P1, "allowed-ips", "192.0.2.0/24")
            assert P1 in done(a, "show", name, "peers")
        said = ctl(a, "doctor")
        assert said.status == 1, "a peer without handshake is a failure"
        assert "OK   flavour: beside another wireguard: kind l2wireguard" in said.out
        assert f"FAIL peer {P1}: never a handshake (it has no endpoint" in said.out
        done(a, "del", "wg1")
        a.ping("192.168.157.2")

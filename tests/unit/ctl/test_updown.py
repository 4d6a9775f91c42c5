# SPDX-License-Identifier: GPL-2.0
"""up, down, save: the steps, what they leave, and that a failure leaves nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl.netlink.link import Route
from l2wgctl.updown import changes, host, routing, servers, steps
from l2wgctl.updown.record import Record
from tests.unit.ctl.conftest import OWN, PEER_A, PEER_B, PRIVATE, Result
from tests.unit.ctl.fakekernel import Refuse
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
Conf = Callable[..., Path]

BRIDGE = f"""[Interface]
PrivateKey = {PRIVATE}
ListenPort = 51820
MACAddress = 02:ca:fe:f0:0e:04
Bridge = br0
BridgeCreate = yes
BridgeAddress = 192.168.157.1/24
IPv6LinkLocal = no
PostUp = echo %i up >> OUT
PreDown = echo %i down >> OUT
PreUp = echo before >> OUT
PostDown = echo after >> OUT

[Peer]
PublicKey = {PEER_A}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.1:51820
"""
VLANS = f"""[Interface]
PrivateKey = {PRIVATE}
Address = 192.168.157.1/24, fd00::1/64
VLANs = 128.127, 200
VLAN128.127.Address = 192.168.159.1/24
VLAN200.Address = 192.168.160.1/24
IPv6LinkLocal = fe80::1

[Peer]
PublicKey = {PEER_A}
AllowedIPs = 0.0.0.0/0, ::/0
"""
ROUTED = f"""[Interface]
Kind = wireguard
PrivateKey = {PRIVATE}
Address = 10.0.0.1/24

[Peer]
PublicKey = {PEER_A}
AllowedIPs = 10.0.0.2/32, 10.1.0.0/16, fd01::/64
Endpoint = 192.0.2.1:1

[Peer]
PublicKey = {PEER_B}
AllowedIPs = 0.0.0.0/0
Endpoint = [2001:db8::1]:1
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """nft and sysctl are only noted."""
    called: list[str] = []
    real = steps.command

    def command(argv: list[str], text: str | None = None) -> Callable[[], None]:
        if argv[0] in ("bash", "sh"):
            return real(argv, text)
        return lambda: called.append(" ".join(argv) + ("\n" + text if text else ""))

    which = shutil.which
    for module in (steps, routing, changes, servers):
        monkeypatch.setattr(module, "command", command)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "nft" else which(name))
    sysctl = tmp_path / "sys/net/ipv4/conf/all/src_valid_mark"
    sysctl.parent.mkdir(parents=True)
    sysctl.write_text("0\n")
    monkeypatch.setattr(host, "SYSCTLS", tmp_path / "sys")
    monkeypatch.setattr(host, "nft_table_exists", lambda table: True)
    return called


def shown(result: Result) -> list[str]:
    assert result.out == ""
    return [line.removeprefix("[#] ") for line in result.err.splitlines()]


def test_up_of_the_bridge(links: FakeLinks, run: Run, conf: Conf, out: Path) -> None:
    links.ways["192.0.2.1"] = Route("eth0", 1400)
    path = conf(BRIDGE.replace("OUT", str(out)))
    result = run("up", path)
    assert result.status == 0
    assert shown(result) == [
        f"echo before >> {out}",
        "ip link add dev wg1 type l2wireguard",
        "ip link set dev wg1 address 02:ca:fe:f0:0e:04",
        f"l2wgctl setconf wg1 {path}",
        "ip link set dev wg1 addrgenmode none",
        "ip link add dev br0 type bridge",
        "ip link set dev wg1 master br0",
        "ip -4 address add 192.168.157.1/24 dev br0",
        "ip link set dev br0 up",
        "ip link set mtu 1306 up dev wg1",
        f"echo wg1 up >> {out}",
    ]
    wg1, br0 = links.links["wg1"], links.links["br0"]
    assert (wg1.mtu, wg1.up, wg1.mac, wg1.master) == (1306, True, "02:ca:fe:f0:0e:04", br0.ifindex)
    assert br0.up and links.addrs == {"br0": ["192.168.157.1/24"]}
    assert links.modes == {"wg1": "none"}
    device = links.kernel.devices["wg1"]
    assert (device.port, len(device.peers)) == (51820, 1)
    assert out.read_text() == "before\nwg1 up\n"

    result = run("down", path)
    assert result.status == 0
    assert shown(result) == [
        f"echo wg1 down >> {out}",
        "ip link delete dev wg1",
        "ip link delete dev br0",
        f"echo after >> {out}",
    ]
    assert set(links.links) == {"lo"} and links.addrs == {}
    assert out.read_text() == "before\nwg1 up\nwg1 down\nafter\n"


def test_dry_run_prints_and_does_nothing(links: FakeLinks, run: Run, conf: Conf, out: Path) -> None:
    path = conf(BRIDGE.replace("OUT", str(out)))
    before = links.state()
    dry = run("up", "--dry-run", path)
    assert dry.status == 0 and links.state() == before and not out.exists()
    assert shown(dry) == shown(run("up", path))
    before = links.state()
    text = out.read_text()
    dry = run("down", path, "--dry-run")
    assert dry.status == 0 and links.state() == before and out.read_text() == text
    assert shown(dry) == shown(run("down", path))


def test_up_with_vlans(links: FakeLinks, run: Run, conf: Conf) -> None:
    result = run("up", conf(VLANS))
    assert result.status == 0
    assert shown(result)[2:] == [
        "ip link set dev wg1 addrgenmode none",
        "ip -6 address add fe80::1/64 dev wg1",
        "ip -4 address add 192.168.157.1/24 dev wg1",
        "ip -6 address add fd00::1/64 dev wg1",
        "ip link set mtu 1406 up dev wg1",
        "ip link add link wg1 name wg1.128 type vlan id 128",
        "ip link set mtu 1402 up dev wg1.128",
        "ip link add link wg1 name wg1.200 type vlan id 200",
        "ip -4 address add 192.168.160.1/24 dev wg1.200",
        "ip link set mtu 1402 up dev wg1.200",
        "ip link add link wg1.128 name wg1.128.127 type vlan id 127",
        "ip -4 address add 192.168.159.1/24 dev wg1.128.127",
        "ip link set mtu 1398 up dev wg1.128.127",
    ]
    assert run("down", conf(VLANS)).status == 0
    assert set(links.links) == {"lo"}


def test_up_of_a_routed_link(
    links: FakeLinks, run: Run, conf: Conf, no_programs: list[str], tmp_path: Path
) -> None:
    links.ways = {"192.0.2.1": Route("eth0", 1500), "2001:db8::1": Route("ppp0", 1492)}
    links.routes.append(("x", "lo", 51820))
    path = conf(ROUTED)
    result = run("up", path)
    assert result.status == 0
    assert shown(result)[2:] == [
        "ip -4 address add 10.0.0.1/24 dev wg1",
        "ip link set mtu 1412 up dev wg1",
        "ip -6 route add fd01::/64 dev wg1",
        "ip -4 route add 10.1.0.0/16 dev wg1",
        "l2wgctl set wg1 fwmark 51821",
        "ip -4 route add 0.0.0.0/0 dev wg1 table 51821",
        "ip -4 rule add not fwmark 51821 table 51821",
        "ip -4 rule add table main suppress_prefixlength 0",
        "sysctl -q net.ipv4.conf.all.src_valid_mark=1",
        "nft -f -",
    ]
    assert links.kernel.devices["wg1"].fwmark == 51821
    assert no_programs[0].splitlines()[1:] == [
        "add table ip l2wgctl-wg1",
        "add chain ip l2wgctl-wg1 preraw { type filter hook prerouting priority -300; }",
        "add chain ip l2wgctl-wg1 premangle { type filter hook prerouting priority -150; }",
        "add chain ip l2wgctl-wg1 postmangle { type filter hook postrouting priority -150; }",
        'add rule ip l2wgctl-wg1 preraw iifname != "wg1" ip daddr 10.0.0.1 fib saddr type != '
        "local drop",
        "add rule ip l2wgctl-wg1 postmangle meta l4proto udp mark 51821 ct mark set mark",
        "add rule ip l2wgctl-wg1 premangle meta l4proto udp meta mark set ct mark",
    ]
    result = run("down", path)
    assert result.status == 0
    assert shown(result) == [
        "nft delete table ip l2wgctl-wg1",
        "sysctl -q net.ipv4.conf.all.src_valid_mark=0",
        "ip -4 rule delete table main suppress_prefixlength 0",
        "ip -4 rule delete not fwmark 51821 table 51821",
        "ip link delete dev wg1",
    ]
    assert links.rules == []


def test_up_says_what_check_would_warn_of(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(ROUTED.replace("Kind = wireguard\n", "").replace("/24", "/32"))
    warned = run("check", path).err
    *warned_at_up, last = warned.splitlines(keepends=True)
    assert "reach one of its 2 peers" in last  # which `check` alone says
    warned = "".join(warned_at_up)
    assert warned.count("\n") == 3 and "looks like a file for a plain WireGuard link" in warned
    for words in ("up", "--dry-run", path), ("up", path):
        result = run(*words)
        assert result.status == 0 and result.err.startswith(warned + "[#] ip link add")


def test_table_by_number(links: FakeLinks, run: Run, conf: Conf) -> None:
    text = ROUTED.replace("Kind", "Table = 100\nKind")
    assert run("up", conf(text)).status == 0
    assert ("0.0.0.0/0", "wg1", 100) in links.routes and links.rules == []


@pytest.mark.parametrize("text", [BRIDGE, VLANS, ROUTED], ids=["bridge", "vlans", "routed"])
def test_a_failure_anywhere_leaves_nothing(
    links: FakeLinks, run: Run, conf: Conf, out: Path, text: str
) -> None:
    """Each change fails once; everything is as it was, and the failure is one line."""
    path = conf(text.replace("OUT", str(out)))
    before = links.state()
    for position in range(1, 100):
        links.changes = 0
        links.fail_at = position
        result = run("up", path)
        if result.status == 0:
            break
        assert links.state() == before, result.err
        assert result.err.count("Device or resource busy") == 1
        assert result.err.splitlines()[-1].startswith("l2wgctl: change: ")
    else:
        pytest.fail("up never succeeded")
    assert position > 8


@pytest.mark.parametrize("name", ["PreUp", "PostUp"])
def test_a_failing_command_undoes(
    links: FakeLinks, run: Run, conf: Conf, out: Path, name: str
) -> None:
    text = BRIDGE.replace("OUT", str(out)).replace("ListenPort", f"{name} = exit 3\nListenPort")
    before = links.state()
    result = run("up", conf(text))
    assert result.status == 1 and links.state() == before
    assert result.err.splitlines()[-1] == "l2wgctl: command 'exit 3' ended with status 3"


def test_commands_undo_those_of_the_other_side(
    links: FakeLinks, run: Run, conf: Conf, out: Path
) -> None:
    text = BRIDGE.replace("OUT", str(out)) + "\n"
    text = text.replace("PreDown", "PostUp = false\nPreDown")
    result = run("up", conf(text))
    assert result.status == 1
    assert out.read_text() == "before\nwg1 up\nwg1 down\nafter\n"


def test_a_refused_configuration_undoes(links: FakeLinks, run: Run, conf: Conf) -> None:
    def refuse(command: int, name: str) -> None:
        raise Refuse(1)

    links.kernel.refuse = refuse
    before = links.state()
    result = run("up", conf(VLANS))
    assert result.status == 1 and links.state() == before
    assert result.err.splitlines()[-2:] == [
        "[#] ip link delete dev wg1",
        "l2wgctl: set: wg1: not permitted (run as root, or with CAP_NET_ADMIN)",
    ]


def failed(result: Result) -> str:
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("l2wgctl: ")
    return result.err[len("l2wgctl: ") :].rstrip("\n")


def test_what_is_checked_before_the_first_step(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(VLANS)
    links.create("wg1.200", "vlan")
    assert failed(run("up", path)) == f"{path}:4:1: wg1.200 already exists (ip link delete wg1.200)"
    links.create("wg1", "l2wireguard")
    assert failed(run("up", path)) == (
        "up: wg1 already exists (take it down first: l2wgctl down wg1)"
    )
    del links.links["wg1"], links.links["wg1.200"]
    head = f"[Interface]\nPrivateKey = {PRIVATE}\n"
    path = conf(f"{head}Bridge = br9\n")
    assert failed(run("up", path)) == (
        f"{path}:3:1: Bridge br9 does not exist (write BridgeCreate = yes)"
    )
    links.create("br9", "dummy")
    assert failed(run("up", path)) == f"{path}:3:1: br9 is not a bridge (name another link)"
    path = conf(f"{head}Master = bond9\n")
    assert failed(run("up", path)) == f"{path}:3:1: Master bond9 does not exist (create it first)"
    assert links.changes == 0


def test_two_tunnels_on_one_bridge(links: FakeLinks, run: Run, conf: Conf, out: Path) -> None:
    text = BRIDGE.replace("OUT", str(out))
    first = conf(text, "wg1.conf")
    second = conf(text, "wg2.conf")
    assert run("up", first).status == 0 and run("up", second).status == 0
    assert links.addrs == {"br0": ["192.168.157.1/24"]}
    assert run("down", first).status == 0
    assert "br0" in links.links and links.addrs == {"br0": ["192.168.157.1/24"]}
    assert run("down", second).status == 0
    assert set(links.links) == {"lo"}


def test_bond_port(links: FakeLinks, run: Run, conf: Conf) -> None:
    links.create("bond0", "bond")
    path = conf(f"[Interface]\nPrivateKey = {PRIVATE}\nMaster = bond0\n")
    result = run("up", path)
    assert result.status == 0
    assert shown(result)[-3:] == [
        "ip link set dev wg1 master bond0",
        "ip link set mtu 1406 up dev wg1",
        "l2wgctl: up: warning: bond0 has MTU 1500, above the 1406 of its port wg1 (ip link set "
        "mtu 1406 dev bond0)",
    ]


def test_mtu(links: FakeLinks, run: Run, conf: Conf) -> None:
    links.default = Route("eth0", 1450)
    assert run("up", conf(VLANS)).status == 0
    assert links.links["wg1"].mtu == 1450 - 94
    run("down", conf(VLANS))
    assert run("up", conf(VLANS.replace("VLANs", "MTU = 1300\nVLANs"))).status == 0
    assert links.links["wg1"].mtu == 1300


def test_down_goes_on_after_a_failure(links: FakeLinks, run: Run, conf: Conf, out: Path) -> None:
    path = conf(BRIDGE.replace("OUT", str(out)).replace("echo after", "exit 5; echo after"))
    assert run("up", path).status == 0
    links.changes, links.fail_at = 0, 2  # the bridge does not go
    result = run("down", path)
    assert result.status == 1
    assert result.err.splitlines()[-2:] == [
        f"l2wgctl: command 'exit 5; echo after >> {out}' ended with status 5",
        "l2wgctl: change: br0: Device or resource busy",
    ]
    assert "wg1" not in links.links


def test_down_needs_a_tunnel(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(VLANS)
    assert failed(run("down", path)) == (
        "down: wg1: no such link (nothing to take down: l2wgctl show interfaces)"
    )
    links.create("wg1", "dummy")
    assert failed(run("down", path)) == (
        "down: wg1 is not a WireGuard link (see its kind with 'ip -d link show dev wg1')"
    )


def test_save(links: FakeLinks, run: Run, conf: Conf) -> None:
    text = VLANS.replace("VLANs", "MTU = 1300\nPostUp = echo %i\nVLANs")
    path = conf(text)
    assert run("up", path).status == 0
    run("set", "wg1", "listen-port", "77", "peer", PEER_B, "allowed-ips", "10.9.0.0/16")
    links.addrs["wg1"].append("10.7.0.1/24")
    links.links["wg1"] = links.links["wg1"]._replace(mtu=1299)
    path.chmod(0o644)
    assert run("save", path) == (
        0,
        "",
        f"l2wgctl: {path}: warning: holds keys and is world accessible (mode 0644) (chmod 600 "
        f"{path})\n",
    )
    assert path.stat().st_mode & 0o777 == 0o600
    want = text.replace("MTU = 1300", "MTU = 1299").replace("fd00::1/64", "fd00::1/64, 10.7.0.1/24")
    want = want.replace("IPv6LinkLocal = fe80::1\n", "IPv6LinkLocal = fe80::1\nListenPort = 77\n")
    want += f"\n[Peer]\nPublicKey = {PEER_B}\nAllowedIPs = 10.9.0.0/16\n"
    assert path.read_text() == want
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_save_config_saves_on_the_way_down(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(VLANS.replace("VLANs", "SaveConfig = true\nVLANs"))
    assert run("up", path).status == 0
    run("set", "wg1", "listen-port", "77")
    result = run("down", path)
    assert shown(result) == ["l2wgctl save wg1", "ip link delete dev wg1"]
    assert "ListenPort = 77\n" in path.read_text() and OWN not in path.read_text()


def test_iptables_is_the_way_without_nft(links: FakeLinks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    step = routing._firewall("wg1", 10, ["fd00::1"], 5, links, Record("wg1"))  # type: ignore[arg-type]
    assert step.text == "ip6tables-restore -n"
    text = routing.iptables_rules("wg1", ["fd00::1"], 5, "I")
    assert text == (
        "*raw\n-I PREROUTING ! -i wg1 -d fd00::1 -m addrtype ! --src-type LOCAL -j DROP "
        '-m comment --comment "l2wgctl rule for wg1"\nCOMMIT\n*mangle\n'
        "-I POSTROUTING -m mark --mark 5 -p udp -j CONNMARK --save-mark "
        '-m comment --comment "l2wgctl rule for wg1"\n'
        "-I PREROUTING -p udp -j CONNMARK --restore-mark "
        '-m comment --comment "l2wgctl rule for wg1"\nCOMMIT\n'
    )


def test_an_unwritable_directory_keeps_the_file(tmp_path: Path) -> None:
    from l2wgctl.conf import files
    from l2wgctl.errors import KernelError

    with pytest.raises(KernelError) as caught:
        files.write_private(str(tmp_path / "none" / "wg1.conf"), "x")
    assert str(caught.value) == f"{tmp_path}/none/wg1.conf: no such file (check the path)"


@pytest.mark.parametrize(
    ("lines", "family", "sizes"),
    [
        ("Bridge = br0\nBridgeCreate = yes\nMSSClamp = yes", "bridge", (1366, 1346)),
        (
            "Bridge = br0\nBridgeCreate = yes\nBridgeVLANs = 5\nMSSClamp = on",
            "bridge",
            (1362, 1342),
        ),
        ("Bridge = br0\nBridgeCreate = yes\nMSSClamp = 900", "bridge", (900, 900)),
        ("Kind = wireguard\nTable = off\nMSSClamp = yes", "inet", (1380, 1360)),
    ],
)
def test_segment_sizes(
    links: FakeLinks,
    run: Run,
    conf: Conf,
    no_programs: list[str],
    lines: str,
    family: str,
    sizes: tuple[int, int],
) -> None:
    """Both directions, and both versions of IP; a tag takes four bytes of the link's MTU."""
    path = conf(f"[Interface]\nPrivateKey = {PRIVATE}\n{lines}\n")
    assert run("up", path).status == 0
    (script,) = [called for called in no_programs if called.startswith("nft -f -")]
    rules = [line for line in script.splitlines() if line.startswith("add rule")]
    assert all(line.startswith(f"add rule {family} l2wgctl-wg1 ") for line in rules)
    for way in ('forward iifname "wg1"', 'forward oifname "wg1"'):
        found = [int(line.split()[-1]) for line in rules if way in line]
        assert found == list(sizes), way
    assert run("down", path).status == 0
    assert no_programs[-1] == f"nft delete table {family} l2wgctl-wg1"


def test_tagged_frames_are_clamped(
    links: FakeLinks, run: Run, conf: Conf, no_programs: list[str]
) -> None:
    """nft's `ether type` is 8100 in them."""
    path = conf(
        f"[Interface]\nPrivateKey = {PRIVATE}\nBridge = br0\nBridgeCreate = yes\nMSSClamp = yes\n"
    )
    assert run("up", path).status == 0
    rules = [line for line in "\n".join(no_programs).splitlines() if line.startswith("add rule")]
    assert rules and all(" meta protocol ip" in line for line in rules)


@pytest.mark.parametrize("line", ["Master = bond0", "VLANs = 5"])
def test_where_clamping_has_no_effect(run: Run, conf: Conf, line: str) -> None:
    path = conf(f"[Interface]\nPrivateKey = {PRIVATE}\n{line}\nMSSClamp = yes\n")
    assert ":4:1: warning: MSSClamp has no effect on the " in run("check", path).err


def test_resolve_by_hand(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit starts it; a person is told."""
    path = conf(f"[Interface]\nPrivateKey = {PRIVATE}\nResolve = 60\n")
    assert run("up", path).err.splitlines()[-1] == (
        "l2wgctl: up: warning: Resolve is given, and nothing looks up the names again (run "
        "'l2wgctl resolve wg1', or bring it up with 'systemctl start l2wg@wg1')"
    )
    assert run("down", path).status == 0
    monkeypatch.setenv("INVOCATION_ID", "7")
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert "looks up" not in run("up", path).err


def test_no_clamping(links: FakeLinks, run: Run, conf: Conf, no_programs: list[str]) -> None:
    assert run("up", conf(f"[Interface]\nPrivateKey = {PRIVATE}\nMSSClamp = no\n")).status == 0
    assert no_programs == []


def test_vlans_of_the_port(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(
        f"[Interface]\nPrivateKey = {PRIVATE}\nBridge = br0\nBridgeCreate = yes\n"
        "BridgeVLANFiltering = yes\nBridgePVID = 10\nBridgeVLANs = 20, 30-39\n"
    )
    steps_ = [step for step in shown(run("up", path)) if step.startswith("bridge ")]
    assert steps_ == [
        "bridge vlan delete dev wg1 vid 1",
        "bridge vlan add dev wg1 vid 10 pvid untagged",
        "bridge vlan add dev wg1 vid 20",
        "bridge vlan add dev wg1 vid 30-39",
    ]
    assert links.ranges == {"wg1": [(10, 10, 6), (20, 20, 0), (30, 39, 0)]}
    assert run("down", path).status == 0 and set(links.links) == {"lo"}


@pytest.mark.parametrize(
    ("default", "pvid", "expected"),
    [
        (1, "1", []),
        (1, "off", ["bridge vlan delete dev wg1 vid 1"]),
        (0, "off", []),
        (0, "7", ["bridge vlan add dev wg1 vid 7 pvid untagged"]),
        (
            5,
            "7",
            ["bridge vlan delete dev wg1 vid 5", "bridge vlan add dev wg1 vid 7 pvid untagged"],
        ),
    ],
)
def test_the_bridges_own_pvid(
    links: FakeLinks, run: Run, conf: Conf, default: int, pvid: str, expected: list[str]
) -> None:
    links.create("br0", "bridge")
    links.options["br0"] = {"vlan_default_pvid": default}
    path = conf(f"[Interface]\nPrivateKey = {PRIVATE}\nBridge = br0\nBridgePVID = {pvid}\n")
    assert [step for step in shown(run("up", path)) if step.startswith("bridge ")] == expected

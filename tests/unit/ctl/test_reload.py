# SPDX-License-Identifier: GPL-2.0
"""reload, diff, restart: what a changed file changes on a running link, and what it cannot."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl.updown import applied, routing
from tests.unit.ctl.conftest import PEER_A, PEER_B, PRIVATE, Result
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
Conf = Callable[..., Path]

BEFORE = f"""[Interface]
PrivateKey = {PRIVATE}
ListenPort = 51820
Address = 10.0.0.1/24, fd00::1/64
MTU = 1400
VLANs = 7, 8
VLAN7.Address = 10.7.0.1/24
[Peer]
PublicKey = {PEER_A}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.1:5
"""
AFTER = f"""[Interface]
PrivateKey = {PRIVATE}
ListenPort = 51820
MACAddress = 02:00:00:00:00:07
Address = 10.0.0.2/24, fd00::1/64
MTU = 1300
VLANs = 7, 9.10
VLAN7.Address = 10.7.0.2/24
VLAN9.10.Address = 10.9.0.1/24
[Peer]
PublicKey = {PEER_A}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.2:5
"""
DIFF = f"""~ peer {PEER_A} endpoint 192.0.2.1:5 -> 192.0.2.2:5
~ interface MACAddress 02:00:00:00:00:01 -> 02:00:00:00:00:07
- interface Address 10.0.0.1/24
+ interface Address 10.0.0.2/24
~ interface MTU 1400 -> 1300
- interface VLANs 8
~ interface VLAN7 MTU 1396 -> 1296
- interface VLAN7.Address 10.7.0.1/24
+ interface VLAN7.Address 10.7.0.2/24
+ interface VLANs 9
+ interface VLANs 9.10
+ interface VLAN9.10.Address 10.9.0.1/24
"""
STEPS = [
    "ip link set dev wg1 address 02:00:00:00:00:07",
    "ip -4 address delete 10.0.0.1/24 dev wg1",
    "ip -4 address add 10.0.0.2/24 dev wg1",
    "ip link set mtu 1300 dev wg1",
    "ip link delete dev wg1.8",
    "ip link set mtu 1296 dev wg1.7",
    "ip -4 address delete 10.7.0.1/24 dev wg1.7",
    "ip -4 address add 10.7.0.2/24 dev wg1.7",
    "ip link add link wg1 name wg1.9 type vlan id 9",
    "ip link set mtu 1296 up dev wg1.9",
    "ip link add link wg1.9 name wg1.9.10 type vlan id 10",
    "ip -4 address add 10.9.0.1/24 dev wg1.9.10",
    "ip link set mtu 1292 up dev wg1.9.10",
]


@pytest.fixture
def up(links: FakeLinks, run: Run, conf: Conf) -> FakeLinks:
    """wg1, up from BEFORE, with a VLAN on it that is somebody else's."""
    assert run("up", conf(BEFORE)).status == 0
    links.links["wg1"] = links.links["wg1"]._replace(mac="02:00:00:00:00:01")
    links.create("wg1.guest", "vlan", parent=links.links["wg1"].ifindex)
    return links


def shown(result: Result) -> list[str]:
    return [line.removeprefix("[#] ") for line in result.err.splitlines()]


def test_a_changed_file(up: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(BEFORE)
    assert run("diff", "wg1", path) == (0, "", "") and run("reload", path) == (0, "", "")
    path = conf(AFTER)
    assert run("diff", "wg1", path) == (0, DIFF, "")
    before = up.state()
    dry = run("reload", "--dry-run", path)
    assert dry.status == 0 and up.state() == before
    said = run("reload", path)
    assert (said.status, shown(said)) == (0, [*STEPS, f"l2wgctl syncconf wg1 {path}"])
    assert run("diff", "wg1", path) == (0, "", "") and run("reload", path) == (0, "", "")
    assert up.addrs["wg1"] == ["fd00::1/64", "10.0.0.2/24"]
    assert {n for n in up.links if n.startswith("wg1.")} == {
        *("wg1.7", "wg1.9", "wg1.9.10", "wg1.guest")
    }
    assert [link.mtu for n, link in up.links.items() if n in ("wg1.7", "wg1.9.10")] == [1296, 1292]
    assert up.links["wg1.9.10"].up


def test_a_failure_anywhere_undoes(up: FakeLinks, run: Run, conf: Conf) -> None:
    """But for VLANs that were removed: those come first to be seen in a diff."""
    path = conf(AFTER.replace("VLANs = 7,", "VLANs = 7, 8,"))
    before = up.state()
    for position in range(1, 40):
        up.changes, up.fail_at = 0, position
        if run("reload", path).status == 0:
            break
        after = up.state()
        # addresses come back behind the others
        assert after[0] == before[0]  # type: ignore[index]
        assert {k: sorted(v) for k, v in after[1].items()} == {  # type: ignore[index]
            k: sorted(v)
            for k, v in before[1].items()  # type: ignore[index]
        }
    else:
        pytest.fail("reload never succeeded")
    assert position > 10


def test_bridges(up: FakeLinks, run: Run, conf: Conf) -> None:
    for name in ("br0", "br1"):
        up.create(name, "bridge")
    bridged = BEFORE.replace("Address = 10.0.0.1/24, fd00::1/64", "Bridge = br0")
    said = run("reload", conf(bridged.replace("Bridge", "BridgeAddress = 10.1.0.1/24\nBridge")))
    assert shown(said) == [
        "ip -6 address delete fd00::1/64 dev wg1",
        "ip -4 address delete 10.0.0.1/24 dev wg1",
        "ip link set dev wg1 master br0",
        "ip -4 address add 10.1.0.1/24 dev br0",
    ]
    up.addrs["br0"].append("10.3.0.1/24")  # what else the bridge has is not ours
    left = "- interface BridgeAddress 10.1.0.1/24\n"
    assert run("diff", "wg1", conf(bridged)).out == left
    assert run("diff", "wg1", conf(bridged.replace("br0", "br1"))).out == (
        "~ interface Bridge br0 -> br1\n" + left
    )
    assert run("reload", conf(bridged)).err == (
        "l2wgctl: wg1: warning: BridgeAddress 10.1.0.1/24 -> (none) takes a new link (l2wgctl "
        "restart wg1)\n"
    )
    said = run("reload", conf(BEFORE))
    assert "ip link set dev wg1 nomaster" in shown(said) and up.links["wg1"].master == 0
    # down undoes what reload did, too
    up.addrs["br0"].append("10.2.0.1/24")
    assert run("down", conf(BEFORE)).status == 0
    assert up.addrs["br0"] == ["10.3.0.1/24", "10.2.0.1/24"]


def test_what_a_postup_has_done_stays(up: FakeLinks, run: Run, conf: Conf) -> None:
    """The file is the same, so there is nothing to do; but diff shows it."""
    up.create("br0", "bridge")
    up.set_master("wg1", "br0")
    up.add_address("wg1", "10.8.0.1/24")
    up.add_address("wg1.7", "10.8.7.1/24")
    up.add_vlan("wg1.6", "wg1", 6)
    before = up.state()
    assert run("reload", conf(BEFORE)) == (0, "", "") and up.state() == before
    assert run("diff", "wg1", conf(BEFORE)).out.splitlines() == [
        "= interface Address 10.8.0.1/24",
        "= interface Bridge br0",
        "= interface VLANs 6",
        "= interface VLAN7.Address 10.8.7.1/24",
    ]
    # what the file has given goes, at the second reload as well
    path = conf(BEFORE.replace("10.0.0.1/24, fd00::1/64", "10.4.0.1/24, fd00::1/64"))
    assert shown(run("reload", path)) == [
        "ip -4 address delete 10.0.0.1/24 dev wg1",
        "ip -4 address add 10.4.0.1/24 dev wg1",
    ]
    said = run("reload", conf(BEFORE.replace("10.0.0.1/24, ", "")))
    assert shown(said) == ["ip -4 address delete 10.4.0.1/24 dev wg1"]
    # of an l2wgctl that did not remember, nobody can tell
    applied.forget("wg1")
    assert run("reload", conf(BEFORE.replace("10.0.0.1/24, fd00::1/64", ""))) == (0, "", "")


@pytest.mark.parametrize(
    "line",
    [
        *("BridgePorts = eth1", "BridgeSTP = yes", "BridgeVLANFiltering = no", "BridgePVID = 7"),
        *("BridgeVLANs = 7", "MSSClamp = yes"),
    ],
)
def test_a_bridge_with_more_on_it_takes_a_new_link(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """Only the link's port would move, and the rest stay behind."""
    monkeypatch.setattr(routing, "command", lambda *_: lambda: None)
    for name in ("br0", "br1", "eth1"):
        links.create(name, "" if name == "eth1" else "bridge")
    peer = f"[Peer]\nPublicKey = {PEER_A}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
    text = f"[Interface]\nPrivateKey = {PRIVATE}\nBridge = br0\n{line}\n{peer}"
    assert run("up", conf(text)).status == 0
    before = links.state()
    assert run("reload", conf(text.replace("br0", "br1"))).err.splitlines()[-1] == (
        "l2wgctl: wg1: warning: Bridge br0 -> br1 takes a new link (l2wgctl restart wg1)"
    )
    assert links.state() == before


def test_lines_that_were_removed_are_named(links: FakeLinks, run: Run, conf: Conf) -> None:
    text = BEFORE.replace("MTU", "MACAddress = 02:00:00:00:00:07\nMTU")
    assert run("up", conf(text)).status == 0
    path = conf(BEFORE.replace("MTU = 1400\n", ""))
    named = [
        f"l2wgctl: wg1: warning: {change} -> (none) takes a new link (l2wgctl restart wg1)"
        for change in ("MACAddress 02:00:00:00:00:07", "MTU 1400")
    ]
    for _ in range(2):
        assert run("reload", path).err.splitlines() == named
    assert run("restart", path).status == 0 and run("diff", "wg1", path) == (0, "", "")


def test_the_rest_is_named(up: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(BEFORE.replace("Address = 10.0.0.1/24, fd00::1/64", "Bridge = br9"))
    assert run("reload", path).err.splitlines()[-1] == (
        "l2wgctl: wg1: warning: Bridge (none) -> br9 takes a new link (l2wgctl restart wg1)"
    )
    path = conf(BEFORE.replace("VLANs = 7, 8\nVLAN7.Address = 10.7.0.1/24\n", "Kind = wireguard\n"))
    lines = run("reload", path).err.splitlines()
    assert lines[-1] == (
        "l2wgctl: wg1: warning: Kind l2wireguard -> wireguard takes a new link (l2wgctl restart "
        "wg1)"
    )
    text = BEFORE.replace("MTU", "Table = 100\nMTU").replace("::/0", "fd00::/8")
    assert run("reload", conf(text)).err.splitlines()[-1] == (
        "l2wgctl: wg1: warning: the routes stay as they were, and AllowedIPs have changed (l2wgctl "
        "restart wg1)"
    )


def test_what_cannot_be_read_back_is_remembered(
    up: FakeLinks, run: Run, conf: Conf, tmp_path: Path
) -> None:
    """Commands and the like, as digests: a command may hold a password."""
    path = conf(BEFORE.replace("MTU", "PostUp = echo secret\nTable = off\nMTU"))
    named = [
        f"l2wgctl: wg1: warning: {key} has changed, and takes a new link (l2wgctl restart wg1)"
        for key in ("Table", "PostUp")
    ]
    assert run("reload", path).err.splitlines() == named
    assert run("reload", path).err.splitlines() == named, "until it is done"
    assert run("restart", path).status == 0
    assert run("reload", path) == (0, "", "")
    remembered = tmp_path / "run/wg1.applied"
    assert "secret" not in remembered.read_text()
    assert run("down", path).status == 0 and not remembered.exists()


def test_a_name_server_that_does_not_answer(
    up: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for it, in a unit with endless retries either."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "infinity")
    text = BEFORE.replace("192.0.2.1", "a.example") + f"[Peer]\nPublicKey = {PEER_B}\n"
    said = run("reload", conf(text + "Endpoint = b.example:6\n"))
    assert said.status == 0
    assert said.err.splitlines()[:2] == [
        f"l2wgctl: reload: warning: endpoint '{host}' does not resolve now: it is left as it is "
        "(reload again when it does)"
        for host in ("a.example:5", "b.example:6")
    ]
    assert run("show", "wg1", "endpoints").out == f"{PEER_A}\t192.0.2.1:5\n{PEER_B}\t(none)\n"


def test_a_broken_file_changes_nothing(up: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(AFTER + "x\n")
    before = up.state()
    for command in ("reload", "restart"):
        assert run(command, path) == (
            1,
            "",
            f"l2wgctl: {path}:14:1: 'x' is neither a section nor 'Key = value'\n",
        )
    assert up.state() == before


def test_restart(up: FakeLinks, run: Run, conf: Conf) -> None:
    index = up.links["wg1"].ifindex
    said = run("restart", conf(AFTER))
    assert said.status == 0 and "ip link delete dev wg1" in shown(said)
    assert up.links["wg1"].ifindex != index and run("diff", "wg1", conf(AFTER)).out == ""
    run("down", conf(AFTER))
    assert run("restart", conf(AFTER)).status == 0, "a link that is not there comes up"


def test_restart_does_not_take_down_what_cannot_come_up(
    up: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = up.links["wg1"].ifindex
    for lines in ("Bridge = br9", "Bridge = br9\nBridgeCreate = yes\nBridgePorts = eth9"):
        path = conf(BEFORE.replace("Address = 10.0.0.1/24, fd00::1/64", lines))
        said = run("restart", path)
        assert said.status == 1 and "9 does not exist (" in said.err and "[#]" not in said.err

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    said = run("restart", conf(BEFORE.replace("192.0.2.1", "a.example")))
    assert said.status == 1 and "a.example" in said.err and "[#]" not in said.err
    assert up.links["wg1"].ifindex == index


def test_a_failing_postdown_does_not_keep_restart_from_up(
    links: FakeLinks, run: Run, conf: Conf
) -> None:
    path = conf(BEFORE.replace("MTU", "PostDown = exit 3\nMTU"))
    assert run("up", path).status == 0
    index = links.links["wg1"].ifindex
    said = run("restart", path)
    assert said.status == 0 and links.links["wg1"].ifindex != index
    assert "l2wgctl: warning: command 'exit 3' ended with status 3" in said.err.splitlines()


def test_reload_needs_a_tunnel(run: Run, links: FakeLinks, conf: Conf) -> None:
    assert run("reload", conf(BEFORE)) == (
        1,
        "",
        "l2wgctl: reload: wg1: no such link (create it with 'l2wgctl add wg1' or 'l2wgctl up "
        "wg1')\n",
    )

# SPDX-License-Identifier: GPL-2.0
"""doctor: every finding as a whole line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from l2wgctl.conf.values import public_key
from l2wgctl.doctor import command
from l2wgctl.doctor.command import examine
from l2wgctl.doctor.finding import Finding, render_finding
from l2wgctl.doctor.host import System
from l2wgctl.machine import Machine, module_hint
from l2wgctl.model import Endpoint, Key
from l2wgctl.netlink.link import Route
from l2wgctl.netlink.messages import sockaddr
from tests.unit.ctl.conftest import PEER_A, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakePeer
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
NOW = 1_800_000_000.0
KEY = Key(bytes(range(32)))


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A host with our module alone, all well."""
    module = tmp_path / "modules" / "l2wireguard"
    module.mkdir(parents=True)
    (module / "srcversion").write_text("ABC\n")
    installed = {"srcversion": "ABC", "l2wg_version": "0.1.0"}
    machine = Machine(
        tmp_path, "6.1", tmp_path, lambda release, field: installed.get(field), lambda: None
    )
    found = System(tmp_path / "modules", machine, True, lambda: NOW, tmp_path / "proc")
    monkeypatch.setattr(command, "System", lambda: found)
    return found


@pytest.fixture
def well(links: FakeLinks, system: System) -> FakeLinks:
    """One tunnel to which nothing is wrong."""
    links.create("eth0", None or "dummy", mtu=1500, up=True)
    links.create("wg1", "l2wireguard", up=True, mtu=1406)
    device = links.kernel.add("wg1")
    device.private, device.port = bytes(range(32)), 51820
    device.peers[KEY] = FakePeer(
        KEY,
        endpoint=sockaddr(Endpoint("192.0.2.1", 51820)),
        handshake=(int(NOW) - 7, 0),
        rx=1,
        tx=1,
        ips=[(2, bytes(4), 0)],
    )
    links.ways["192.0.2.1"] = Route("eth0", 1500)
    return links


def lines(links: FakeLinks, system: System, *names: str) -> list[str]:
    return [render_finding(f, False).rstrip("\n") for f in examine(names, cast(Any, links), system)]


PEER = f"peer {KEY}"
CLOCK = "OK   clock: 2027-01-15 08:00:00 UTC"
MODULE = [
    "OK   module: l2wireguard 0.1.0 is loaded",
    "OK   flavour: alone: kinds wireguard and l2wireguard, family wireguard",
    CLOCK,
]
WELL = [
    *MODULE,
    "OK   link: wg1 is up, kind l2wireguard, MTU 1406",
    f"OK   owner: ARP, VLAN and other frames without IP go to peer {KEY}",
    f"OK   {PEER}: handshake 7 s ago",
    "OK   mtu: 1406 + 94 fits eth0 (1500)",
]


def test_all_is_well(well: FakeLinks, system: System, run: Run) -> None:
    assert lines(well, system) == WELL
    assert run("doctor") == (0, "\n".join(WELL) + "\n", "")
    assert run("doctor", "wg1").status == 0
    found = json.loads(run("doctor", "--json").out)
    assert found["ok"] is True
    assert found["checks"][0] == {
        "level": "OK",
        "check": "module",
        "what": "l2wireguard 0.1.0 is loaded",
        "mend": None,
        "name": None,
    }


def test_modules(links: FakeLinks, system: System) -> None:
    (system.modules / "wireguard").mkdir()
    assert lines(links, system)[1] == (
        "OK   flavour: beside another wireguard: kind l2wireguard, family l2wireguard; 'wg' does "
        "not see its links"
    )
    (system.modules / "l2wireguard" / "srcversion").write_text("DEF\n")
    assert lines(links, system)[0] == (
        "WARN module: l2wireguard is loaded, but version 0.1.0 is installed and not the one "
        "loaded (take the tunnels down, then: modprobe -r l2wireguard; modprobe l2wireguard)"
    )
    nothing = system._replace(machine=system.machine._replace(modinfo=lambda release, field: None))
    assert lines(links, nothing)[0] == (
        "OK   module: l2wireguard is loaded, but not installed for the next boot"
    )
    (system.modules / "l2wireguard" / "srcversion").unlink()
    (system.modules / "l2wireguard").rmdir()
    assert lines(links, nothing) == [
        f"FAIL module: l2wireguard is not installed for 6.1 ({module_hint(nothing.machine)})",
        "WARN flavour: the stock wireguard module is loaded: it has no Ethernet links (modprobe "
        "l2wireguard adds them beside it)",
        CLOCK,
        "WARN link: there is no tunnel (l2wgctl up IFACE)",
    ]
    assert lines(links, system)[0] == (
        "WARN module: l2wireguard 0.1.0 is installed, but not loaded "
        f"({module_hint(system.machine)})"
    )


def test_host(links: FakeLinks, system: System) -> None:
    system = system._replace(root=False, now=lambda: 1000.0)
    assert lines(links, system)[2:4] == [
        "WARN permission: not root: the state of links stays hidden (run it with sudo)",
        "FAIL clock: the clock is before 2021: peers refuse handshakes that look older than "
        "the last (set the clock (timedatectl set-ntp true))",
    ]


def test_links_that_are_none(well: FakeLinks, system: System) -> None:
    assert lines(well, system, "wg7")[3:] == ["FAIL link: wg7 does not exist (l2wgctl up wg7)"]
    assert lines(well, system, "eth0")[3:] == [
        "FAIL link: eth0 is of kind dummy, which is no tunnel's (name a tunnel: l2wgctl show "
        "interfaces)"
    ]
    assert lines(well, system, "lo")[3].startswith("FAIL link: lo is of kind physical,")
    well.links["wg1"] = well.links["wg1"]._replace(up=False)
    assert lines(well, system)[3] == "FAIL link: wg1 is down (ip link set wg1 up)"


PEERS: list[tuple[dict[str, object], str]] = [
    ({"handshake": (int(NOW) - 181, 0)}, "OK   {}: last handshake 181 s ago, idle since"),
    (
        {"handshake": (int(NOW) - 181, 0), "keepalive": 25},
        "WARN {}: last handshake 181 s ago (the path or the other side is down: ping its endpoint)",
    ),
    (
        {"handshake": (int(NOW) + 9, 0)},
        "WARN {}: its last handshake is in the future (the clock was set back: check it)",
    ),
    (
        {"handshake": (0, 0), "endpoint": b""},
        "FAIL {}: never a handshake (it has no endpoint: it has to call first, at UDP port 51820 "
        "of this host (open in the firewall?))",
    ),
    (
        {"handshake": (0, 0), "tx": 0},
        "FAIL {}: never a handshake (nothing has been sent yet: ping the other side, or set "
        "PersistentKeepalive = 25)",
    ),
    (
        {"handshake": (0, 0), "tx": 148, "rx": 0},
        "FAIL {}: never a handshake (148 bytes went out and none came back: check that "
        "192.0.2.1:51820 is right and open in its firewall, and that each side has the other's "
        "public key and both the same preshared key)",
    ),
    (
        {"handshake": (0, 0), "tx": 148, "rx": 92},
        "FAIL {}: never a handshake (something came back, but no handshake: compare the keys of "
        "both sides)",
    ),
    (
        {"handshake": (0, 0), "endpoint": sockaddr(Endpoint("198.51.100.1", 1))},
        "FAIL {}: never a handshake (there is no route to 198.51.100.1: ip route get 198.51.100.1)",
    ),
    (
        {"ips": []},
        "FAIL {}: has no AllowedIPs: nothing is sent to it and nothing taken from it (give it "
        "AllowedIPs)",
    ),
]


@pytest.mark.parametrize(("fields", "line"), PEERS)
def test_peers(well: FakeLinks, system: System, fields: dict[str, object], line: str) -> None:
    peer = well.kernel.devices["wg1"].peers[KEY]
    for name, value in fields.items():
        setattr(peer, name, value)
    assert line.format(PEER) in lines(well, system)


def test_device(well: FakeLinks, system: System) -> None:
    device = well.kernel.devices["wg1"]
    device.peers[KEY].ips = [(2, bytes([10, 0, 0, 0]), 8)]
    device.private = b""
    assert lines(well, system)[4:6] == [
        "FAIL key: wg1 has no private key (l2wgctl set wg1 private-key FILE)",
        "FAIL owner: no peer's AllowedIPs hold 0.0.0.0: no ARP, VLAN or other frame without IP "
        "will cross (add 0.0.0.0/0 (or 0.0.0.0/32) to the AllowedIPs of the peer that shall have "
        "them)",
    ]
    well.links["wg1"] = well.links["wg1"]._replace(kind="wireguard")
    assert not any(" owner: " in line for line in lines(well, system))
    device.peers.clear()
    assert lines(well, system)[-1] == "FAIL peers: wg1 has no peers (l2wgctl setconf wg1 FILE)"
    device.family = "none"
    assert lines(well, system)[-1].startswith("FAIL device: wg1 is not a WireGuard link")


def test_mtu(well: FakeLinks, system: System) -> None:
    well.ways["192.0.2.1"] = Route("ppp0", 1492)
    assert lines(well, system)[-1] == (
        "WARN mtu: wg1 has MTU 1406, ppp0 towards 192.0.2.1:51820 has 1492: large frames are "
        "fragmented or lost (ip link set mtu 1398 dev wg1)"
    )
    well.ways["192.0.2.1"] = Route("wg1", 1406)
    assert lines(well, system)[-1] == (
        "FAIL mtu: the way to 192.0.2.1:51820 leads into the tunnel itself (add a route: ip route "
        "add 192.0.2.1 via GATEWAY)"
    )


def test_bridge(well: FakeLinks, system: System) -> None:
    well.create("br0", "bridge", mtu=1500)
    index = well.links["br0"].ifindex
    well.links["wg1"] = well.links["wg1"]._replace(master=index, port_state=3)
    well.addrs["br0"] = ["192.0.2.1/24"]
    assert lines(well, system)[4:7] == [
        "FAIL master: br0 is down (ip link set br0 up)",
        "WARN master: br0 has MTU 1500, above the 1406 of wg1 (ip link set mtu 1406 dev br0)",
        "OK   bridge: wg1 is a forwarding port of br0",
    ]
    well.addrs["br0"] = ["192.0.2.1/24"]
    well.links["br0"] = well.links["br0"]._replace(up=True, mtu=1406, stp=0)
    well.links["wg1"] = well.links["wg1"]._replace(port_state=4)
    assert lines(well, system)[4] == (
        "WARN bridge: wg1 is blocking in br0 (spanning tree sees a loop: see 'bridge link', or "
        "set the path costs)"
    )
    well.create("wg2", "l2wireguard", master=index, port_state=1)
    assert lines(well, system, "wg2")[4:6] == [
        "WARN bridge: wg2 is listening in br0 (wait for spanning tree (30 s), or see 'bridge "
        "link')",
        "WARN stp: br0 has several tunnels and no spanning tree: two ways between the same sites "
        "are a loop (ip link set br0 type bridge stp_state 1)",
    ]


def test_counters(well: FakeLinks, system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(well, "counters", lambda name: {"rx_malformed": 3, "rx_opaque": 1})
    assert lines(well, system)[-1] == (
        "WARN counters: rx_malformed is 3 (both ends need the same l2wg version; see 'ethtool -S "
        "wg1')"
    )


def test_loops(well: FakeLinks, system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(well, "counters", lambda name: {"tx_outer_loop": 7, "rx_outer_loop": 2})
    assert [line for line in lines(well, system) if " loop: " in line] == [
        "WARN loop: 7 outer packets came back to wg1, whose own they are, and were dropped: the "
        "way to its endpoint leads through its own bridge (give the underlay a port of its own, "
        "outside of the bridge, or pin the gateway: bridge fdb replace MAC dev PORT master static)",
        "WARN loop: 2 packets of ARP or neighbour discovery that came by wg1 claimed the address "
        "of the gateway to its endpoint, and were dropped (both sites use that address: change it "
        "at one of them)",
    ]
    monkeypatch.setattr(well, "counters", lambda name: {"tx_outer_loop": 0, "rx_outer_loop": 0})
    assert not [line for line in lines(well, system) if " loop: " in line]


def test_a_finding_is_one_line_without_escapes() -> None:
    shown = render_finding(Finding("WARN", "file", "has '\x1b[2J\n'", "a\x9bb"), False)
    assert shown == "WARN file: has '\\x1b[2J\\n' (a\\x9bb)\n"


def test_colours(well: FakeLinks, system: System) -> None:
    finding = next(examine([], cast(Any, well), system))
    assert render_finding(finding, True).startswith("\x1b[1m\x1b[32mOK  \x1b[0m module: ")


# -- bridge ----------------------------------------------------------------------------------------


@pytest.fixture
def bridged(well: FakeLinks) -> FakeLinks:
    """wg1 and eth1 in br0, both forwarding."""
    well.create("br0", "bridge", mtu=1406, up=True, stp=0, vlan_filtering=0)
    index = well.links["br0"].ifindex
    well.links["wg1"] = well.links["wg1"]._replace(master=index, port_state=3, isolated=0)
    well.create("eth1", "dummy", up=True, running=True, master=index, port_state=3, isolated=0)
    return well


def complaints(links: FakeLinks, system: System) -> list[str]:
    return [line for line in lines(links, system) if not line.startswith("OK ")]


def edit(links: FakeLinks, name: str, **values: Any) -> None:
    links.links[name] = links.links[name]._replace(**values)


def test_where_frames_go_in_a_bridge(bridged: FakeLinks, system: System) -> None:
    assert complaints(bridged, system) == []
    edit(bridged, "eth1", running=False)
    assert complaints(bridged, system) == [
        "WARN ports: of br0's other ports none is up: eth1 (ip link set eth1 up; is the cable in?)"
    ]
    edit(bridged, "eth1", running=True, isolated=1)
    assert complaints(bridged, system) == []
    edit(bridged, "wg1", isolated=1)
    assert complaints(bridged, system) == [
        "WARN ports: wg1 and br0's other ports are isolated from each other (bridge link set dev "
        "wg1 isolated off)"
    ]
    del bridged.links["eth1"]
    assert complaints(bridged, system) == [
        "WARN ports: br0 has no port but wg1, and no address: frames that arrive go nowhere (ip "
        "link set eth1 master br0, or ip address add ... dev br0)"
    ]


def test_a_bridge_that_filters_vlans(bridged: FakeLinks, system: System) -> None:
    edit(bridged, "br0", vlan_filtering=1)
    bridged.port_vlans = {"wg1": [(1, True)], "eth1": [(1, True), (7, False)]}
    assert complaints(bridged, system) == []
    bridged.port_vlans = {"wg1": [(8, False), (9, False)], "eth1": [(1, True), (7, False)]}
    assert complaints(bridged, system) == [
        "WARN vlan: br0 filters VLANs, and wg1 has no PVID: untagged frames that arrive are "
        "dropped (bridge vlan add dev wg1 vid 1 pvid untagged)",
        "WARN vlan: br0 filters VLANs, and no other port of it that is up has one of wg1's: 8, 9 "
        "(bridge vlan add dev eth1 vid 8)",
    ]


def test_frames_that_arrive_and_do_not_leave(bridged: FakeLinks, system: System) -> None:
    edit(bridged, "wg1", stats={"rx_packets": 10})
    edit(bridged, "eth1", stats={"tx_packets": 1})
    assert complaints(bridged, system) == []
    edit(bridged, "wg1", stats={"rx_packets": 100})
    what = "WARN ports: 100 packets have arrived by wg1, and only 1 have left by br0's other ports "
    assert complaints(bridged, system) == [
        what + "(see 'bridge -d link', 'bridge fdb', 'bridge vlan' and 'nft list ruleset')"
    ]
    file = system.proc / "sys/net/bridge/bridge-nf-call-iptables"
    file.parent.mkdir(parents=True)
    file.write_text("1\n")
    assert complaints(bridged, system) == [
        what + "(iptables sees bridged frames (br_netfilter), and a policy of DROP in FORWARD, as "
        "docker sets it, stops them: sysctl net.bridge.bridge-nf-call-iptables=0)"
    ]


# -- both ends -------------------------------------------------------------------------------------


def test_an_ethernet_link_that_hears_ip(
    well: FakeLinks, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other end is of kind wireguard: its packets are opaque frames here."""
    counters = {"rx_opaque": 0, "rx_malformed": 0}
    monkeypatch.setattr(well, "counters", lambda name: counters)
    edit(well, "wg1", stats={"rx_packets": 12, "rx_errors": 0, "tx_packets": 9, "tx_errors": 0})
    counters["rx_opaque"] = 4
    assert complaints(well, system) == []
    counters["rx_opaque"] = 10
    assert complaints(well, system) == [
        "WARN kind: of 12 packets that arrived 10 are no frames of a protocol that is known: the "
        "other end looks like one of kind wireguard (IP), and wg1 is l2wireguard (Ethernet) (both "
        "ends need the same kind: Kind = l2wireguard in the other end's file, or Kind = wireguard "
        "here)"
    ]
    edit(well, "wg1", stats={"rx_packets": 1000, "rx_errors": 0})
    assert complaints(well, system) == []
    # without a handshake nothing of this is the peer's
    well.kernel.devices["wg1"].peers[KEY].handshake = (0, 0)
    edit(well, "wg1", stats={"rx_packets": 12})
    assert not any(" kind: " in line for line in complaints(well, system))


def test_a_plain_link_that_hears_frames(well: FakeLinks, system: System) -> None:
    edit(well, "wg1", kind="wireguard", stats={"rx_packets": 3, "rx_errors": 4})
    assert complaints(well, system) == []
    edit(well, "wg1", kind="wireguard", stats={"rx_packets": 3, "rx_errors": 20})
    assert complaints(well, system) == [
        "WARN kind: 20 packets that arrived are no IP, or of a source that is not in their peer's "
        "AllowedIPs; 3 are well: if the other end is one of kind l2wireguard (Ethernet), nothing "
        "can cross, since wg1 is wireguard (IP) (both ends need the same kind: Kind = l2wireguard "
        "in the file here, or Kind = wireguard there; else mend the AllowedIPs)"
    ]


def test_frames_that_allowed_ips_stop(well: FakeLinks, system: System) -> None:
    edit(well, "wg1", stats={"rx_packets": 50, "rx_errors": 7, "tx_errors": 9, "tx_packets": 80})
    assert complaints(well, system) == [
        "WARN counters: 7 frames were dropped: their source is not in the AllowedIPs of the peer "
        "that they came from (add it there (0.0.0.0/0, ::/0 for all))",
        "WARN counters: 9 frames could not be sent: their destination is in no peer's AllowedIPs, "
        "or that peer has no endpoint yet (see 'l2wgctl show wg1')",
    ]


def test_one_mac_address_on_both_ends(bridged: FakeLinks, system: System) -> None:
    own = "02:ca:fe:f0:0e:04"
    edit(bridged, "wg1", mac=own)
    edit(bridged, "br0", mac=own)
    bridged.neighbour_table = {"wg1": [("192.0.2.7", "02:00:00:00:00:07")]}
    assert complaints(bridged, system) == []
    bridged.neighbour_table["br0"] = [("192.0.2.2", own)]
    bridged.dad_failed = {"wg1": ["fe80::1"], "br0": ["fe80::1"]}
    assert complaints(bridged, system) == [
        "FAIL mac: fe80::1 on wg1 is a duplicate: another host on this Ethernet has it (give one "
        "of them another address, or another MAC address if that is the same)",
        f"FAIL mac: 192.0.2.2 on br0 has this host's own MAC address {own}: both ends have the "
        "same one (give one end another: MACAddress, or ip link set wg1 address 02:...)",
    ]


# -- the file --------------------------------------------------------------------------------------


def test_the_links_file(well: FakeLinks, system: System, etc: Path) -> None:
    path = etc / "wg1.conf"
    text = (
        f"[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 51820\n[Peer]\nPublicKey = {KEY}\n"
        "Endpoint = a.example:51820\nAllowedIPs = 0.0.0.0/0, ::/0\n"
    )
    path.touch(mode=0o600)
    path.write_text(text)
    assert complaints(well, system) == [
        f"WARN file: wg1 is not what {path} says: 2 differences ('l2wgctl diff wg1' shows them, "
        "'l2wgctl reload wg1' brings them about)"
    ]
    device = well.kernel.devices["wg1"]
    device.private = public_key(PRIVATE)
    device.peers[KEY].ips.append((10, bytes(16), 0))
    assert lines(well, system)[-1] == f"OK   file: wg1 is what {path} says"
    path.write_text(text.replace("ListenPort", "Address = 10.0.0.7/24\nListenPort"))
    assert f"WARN file: wg1 is not what {path} says: 1 difference (" in complaints(well, system)[-1]
    path.write_text(text)
    path.write_text(text + f"[Peer]\nPublicKey = {PEER_A}\nAllowedIPs = ::/0\n")
    assert complaints(well, system)[0] == (
        f"WARN file: {path}:8:1: AllowedIPs ::/0 is also given to the peer of line 4 (the later "
        "peer gets it; give it to one of them)"
    )
    path.write_text(text.replace("ListenPort", "LissenPort") + "x\n")
    assert complaints(well, system) == [
        f"WARN file: {path}:3:1: unknown key 'LissenPort' in [Interface] and 1 more (l2wgctl check "
        f"{path})"
    ]

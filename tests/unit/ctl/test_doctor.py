# SPDX-License-Identifier: GPL-2.0
"""doctor and monitor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl import doctor, monitor
from l2wgctl.doctor import System, examine, render_finding
from l2wgctl.errors import MODULE_HINT
from l2wgctl.model import Endpoint, Key, Peer
from l2wgctl.netlink.link import Route
from l2wgctl.netlink.messages import sockaddr

from .conftest import Result
from .fakekernel import FakePeer
from .fakelinks import FakeLinks

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
    found = System(
        tmp_path / "modules", "6.1", True, lambda: NOW, lambda release, field: installed.get(field)
    )
    monkeypatch.setattr(doctor, "System", lambda: found)
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
    return [render_finding(f, False).rstrip("\n") for f in examine(names, links, system)]


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
    nothing = system._replace(modinfo=lambda release, field: None)
    assert lines(links, nothing)[0] == (
        "OK   module: l2wireguard is loaded, but not installed for the next boot"
    )
    (system.modules / "l2wireguard" / "srcversion").unlink()
    (system.modules / "l2wireguard").rmdir()
    assert lines(links, nothing) == [
        f"FAIL module: l2wireguard is not installed for 6.1 ({MODULE_HINT})",
        "WARN flavour: the stock wireguard module is loaded: it has no Ethernet links (modprobe "
        "l2wireguard adds them beside it)",
        CLOCK,
        "WARN link: there is no tunnel (l2wgctl up IFACE)",
    ]
    assert lines(links, system)[0] == (
        "WARN module: l2wireguard 0.1.0 is installed, but not loaded (modprobe l2wireguard)"
    )
    assert doctor._modinfo("0.0-none", "l2wg_version") is None


def test_host(links: FakeLinks, system: System) -> None:
    system = system._replace(root=False, now=lambda: 1000.0)
    assert lines(links, system)[2:4] == [
        "WARN permission: not root: the state of links stays hidden (run it with sudo)",
        "FAIL clock: the clock stands before 2021: peers refuse handshakes that look older than "
        "the last (set the clock (timedatectl set-ntp true))",
    ]


def test_links_that_are_none(well: FakeLinks, system: System) -> None:
    assert lines(well, system, "wg7")[3:] == ["FAIL link: wg7 does not exist (l2wgctl up wg7)"]
    assert lines(well, system, "eth0")[3:] == [
        "FAIL link: eth0 is of kind dummy, not wireguard or l2wireguard (name a tunnel: l2wgctl "
        "show interfaces)"
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
    assert lines(well, system)[-1].startswith("FAIL device: wg1 is not a wireguard or l2wireguard")


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
    assert lines(well, system)[4:7] == [
        "FAIL master: br0 is down (ip link set br0 up)",
        "WARN master: br0 has MTU 1500, above the 1406 of wg1 (ip link set mtu 1406 dev br0)",
        "OK   bridge: wg1 is a forwarding port of br0",
    ]
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
    monkeypatch.setattr(well, "counters", lambda name: {"rx_malformed": 3, "rx_opaque": 5})
    assert lines(well, system)[-1] == (
        "WARN counters: rx_malformed is 3 (both ends need the same l2wg version; see 'ethtool -S "
        "wg1')"
    )


def test_colours(well: FakeLinks, system: System) -> None:
    finding = next(examine([], well, system))
    assert render_finding(finding, True).startswith("\x1b[1m\x1b[32mOK  \x1b[0m module: ")


# -- monitor --------------------------------------------------------------------------------------


def peer(rx: int, tx: int, then: int = 0) -> Peer:
    return Peer(KEY, rx_bytes=rx, tx_bytes=tx, last_handshake=(then, 0))


def test_rates() -> None:
    sampler = monitor.Sampler()
    first = sampler.rows("wg1", [peer(1000, 10)], 5.0, 100)[0]
    assert (first.rx_rate, first.tx_rate, first.handshake_age) == (None, None, None)
    second = sampler.rows("wg1", [peer(3000, 20, 90)], 7.0, 100)[0]
    assert (second.rx_rate, second.tx_rate, second.handshake_age) == (1000.0, 5.0, 10)
    again = sampler.rows("wg1", [peer(5, 5)], 8.0, 100)[0]
    assert again.rx_rate is None, "the peer was made anew"


def test_words() -> None:
    assert [monitor.bit_rate(rate) for rate in (None, 0, 100, 125_000, 1.25e6, 1.25e9)] == [
        *("-", "0 bit/s", "800 bit/s", "1.0 Mbit/s", "10.0 Mbit/s", "10.0 Gbit/s"),
    ]
    assert [monitor.age(seconds) for seconds in (None, 0, 59, 60, 3599, 3600, 90061)] == [
        *("never", "0s", "59s", "1m 0s", "59m 59s", "1h 0m", "25h 1m"),
    ]


def test_monitor_prints_plain_lines(
    well: FakeLinks, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    clock = iter(range(100))
    monkeypatch.setattr(monitor.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(monitor.time, "sleep", slept.append)
    monkeypatch.setattr(monitor.time, "time", lambda: NOW)
    result = run("monitor", "wg1", "--count", "2", "--interval", "5")
    assert result.out.splitlines() == [
        f"wg1 peer={KEY} endpoint=192.0.2.1:51820 rx=1 tx=1 rx_rate=- tx_rate=- handshake=7",
        f"wg1 peer={KEY} endpoint=192.0.2.1:51820 rx=1 tx=1 rx_rate=0 tx_rate=0 handshake=7",
    ]
    assert len(slept) == 1 and 0 < slept[0] <= 5
    document = json.loads(run("monitor", "--json", "--count", "1").out)
    assert document["peers"] == [
        {
            "interface": "wg1",
            "peer": str(KEY),
            "endpoint": "192.0.2.1:51820",
            "rx_bytes": 1,
            "tx_bytes": 1,
            "rx_rate": None,
            "tx_rate": None,
            "handshake_age": 7,
            "name": None,
        }
    ]


def test_table() -> None:
    from rich.console import Console

    rows = monitor.Sampler().rows("wg1", [peer(2048, 10, 90)], 5.0, 100)
    console = Console(width=120, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(monitor.table(rows))
    head, row = capture.get().splitlines()
    assert head.split() == [
        *("link", "peer", "endpoint", "received", "sent", "in", "out", "handshake")
    ]
    assert row.split() == ["wg1", str(KEY)[:12] + "…", "-", *"2.00 KiB 10 B - - 10s".split()]


def test_monitor_of_nothing(run: Run, links: FakeLinks) -> None:
    assert run("monitor", "--count", "1") == (0, "", "")
    assert run("monitor", "wg9", "--count", "1").status == 1

# SPDX-License-Identifier: GPL-2.0
"""doctor of a switch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from l2wgctl.doctor.switch import check_switch
from l2wgctl.model import AllowedIP, Device, Key, Peer
from l2wgctl.netlink.link import Link
from l2wgctl.switch import (
    PEER_DEFAULTS,
    SWITCH_DEFAULTS,
    Entry,
    PeerState,
    SwitchState,
    handle,
)
from tests.unit.ctl.conftest import Result
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.fakeswitch import FakeSwitch
from tests.unit.ctl.switch.hubs import (
    MAC,
    MAC2,
    MAC3,
    A,
    B,
    C,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


def state(**counters: int) -> SwitchState:
    return SwitchState("wg1", 7, SWITCH_DEFAULTS, 5, 2, 3, counters)


def peer(of: Key, session: str = "up", **counters: int) -> PeerState:
    return PeerState(
        "wg1", of, PEER_DEFAULTS, handle(of), True, True, 1, session, None, None, counters
    )


NO_PEERS = Device("wg1")


def findings(
    tmp_path: Path,
    sw: SwitchState,
    *peers: PeerState,
    table: tuple[Entry, ...] = (),
    device: Device = NO_PEERS,
    neighbours: tuple[tuple[str, str], ...] = (),
    sent: int = 0,
) -> list[tuple[str, str, str]]:
    link = Link("wg1", 7, "l2wgswitch", 1406, stats={"tx_packets": sent})
    found = check_switch(sw, peers, table, device, link, neighbours, tmp_path / "leases")
    return [(x.level, x.check, x.what) for x in found if x.level != "OK"]


def test_a_healthy_switch(tmp_path: Path) -> None:
    assert findings(tmp_path, state(tx_flood=5), peer(A), peer(B, relay_frames=9)) == []


def test_violations_name_peer_and_counter(tmp_path: Path) -> None:
    found = findings(tmp_path, state(), peer(A, rx_ip_bound=3, rx_move=2), peer(B, rx_vlan=1))
    assert found == [
        (
            "WARN",
            f"peer {A}",
            "sent 3 frames that claim an address that is bound to others (rx_ip_bound)",
        ),
        (
            "WARN",
            f"peer {B}",
            "sent 1 frames in a VLAN that it may not use, or hidden behind a tag with VID 0 "
            "(rx_vlan)",
        ),
    ]
    for counter in ("rx_bad_source", "rx_mac_bound", "rx_guard", "rx_mac_limit", "rx_closed"):
        (one,) = findings(tmp_path, state(), peer(A, "up", **{counter: 1}))
        assert f"({counter})" in one[2]
    assert len(findings(tmp_path, state(), peer(A, rx_move=5))) == 1


def test_loops(tmp_path: Path) -> None:
    (one,) = findings(tmp_path, state(rx_own_mac=1))
    assert one == (
        "WARN",
        "loop",
        "1 frames came from peers with this host's own MAC: there is a second way between two "
        "members",
    )
    (one,) = findings(tmp_path, state(rx_loop=3, tx_loop=2))
    assert one[1] == "loop" and "5 with a MAC that is on the other side, too" in one[2]
    assert findings(tmp_path, state(rx_loop=4)) == []
    (one,) = findings(tmp_path, state(rx_own_mac=9), peer(A, rx_own_mac=2), peer(B, rx_own_mac=7))
    assert f"this host's own MAC, most of them from peer {B}: there" in one[2]


def test_a_peer_with_a_mac_of_the_host(tmp_path: Path) -> None:
    macs = PEER_DEFAULTS._replace(allowed_macs=(MAC, MAC2, MAC3, "02:00:00:00:00:04"))
    sw = state()._replace(options=SWITCH_DEFAULTS._replace(host_macs=(MAC,)))
    link = Link("wg1", 7, "l2wgswitch", 1406, mac=MAC2)
    of = peer(A)._replace(options=macs)
    found = check_switch(sw, [of], (), NO_PEERS, link, (), tmp_path / "leases", MAC3)
    said = [x.what.split()[3] for x in found if x.level == "WARN" and x.check == f"peer {A}"]
    assert said == [f"{mac}," for mac in (MAC, MAC2, MAC3)]


def test_full_tables(tmp_path: Path) -> None:
    full = state()._replace(learned=8192, local=4096)
    assert [x[2] for x in findings(tmp_path, full)] == [
        "the table is full: 8192 MACs, MaxEntries 8192",
        "the table is full: 4096 MACs, MaxLocal 4096",
    ]


def test_a_peer_that_gets_no_arp(tmp_path: Path) -> None:
    (one,) = findings(tmp_path, state(), peer(A, "idle", tx_flood_no_session=7))
    assert one[2] == "got none of 7 broadcasts (ARP): it has neither session nor endpoint"
    assert findings(tmp_path, state(), peer(A, "up", tx_flood_no_session=7)) == []
    (one,) = findings(tmp_path, state(), peer(A, rx_no_relay=5))
    assert "neither has Relay" in one[2]


def test_flooding(tmp_path: Path) -> None:
    three = (peer(A), peer(B), peer(C))
    (one,) = findings(tmp_path, state(tx_flood=500, tx_unknown=400), *three, sent=1800)
    assert one[1] == "flooding" and "400 of them to a MAC that nobody" in one[2]
    assert findings(tmp_path, state(tx_flood=500), *three, sent=5000) == []
    assert findings(tmp_path, state(tx_flood=500), peer(A), peer(B), sent=10) == []


def test_a_host_that_is_mute(tmp_path: Path) -> None:
    def with_ips(of: Key, *ips: AllowedIP) -> Peer:
        return Peer(of, allowed_ips=ips)

    nets = AllowedIP(bytes([10, 0, 0, 8]), 29), AllowedIP(bytes(4), 0)
    device = Device("wg1", peers=(with_ips(A, AllowedIP(bytes(4), 0)), with_ips(B, *nets)))
    table = (Entry(MAC, 0, A, "learned", 1, 0), Entry(MAC2, 0, B, "learned", 1, 0))
    text = (
        "FAIL",
        f"peer {A}",
        f"is mute with {MAC}: it has the address 10.0.0.9, which is bound to peer {B}",
    )

    def said(
        *pairs: tuple[str, str], sw: SwitchState | None = None, pvid: int = 0
    ) -> list[tuple[str, str, str]]:
        b = peer(B)._replace(options=PEER_DEFAULTS._replace(pvid=pvid))
        return findings(
            tmp_path, sw or state(), peer(A), b, table=table, device=device, neighbours=pairs
        )

    assert said(("10.0.0.9", MAC)) == [text]
    assert said(("10.0.0.9", MAC2), ("10.0.0.1", MAC), ("fd00::1", MAC)) == []
    # bound in the VLAN of B's PVID, and A's station is in another one
    assert said(("10.0.0.9", MAC), pvid=7) == []
    # the longest prefix counts, and the host's come first
    wide = AllowedIP(bytes([10, 0, 0, 0]), 8)
    device = Device("wg1", peers=(with_ips(A, wide), with_ips(B, *nets)))
    assert said(("10.0.0.9", MAC)) == [text]
    assert said(("10.7.0.9", MAC)) == []
    own = state()._replace(options=SWITCH_DEFAULTS._replace(host_addresses=("10.7.0.0/16",)))
    (found,) = said(("10.7.0.9", MAC), sw=own)
    assert found[2] == (
        f"is mute with {MAC}: it has the address 10.7.0.9, which is bound to this host by "
        "10.7.0.0/16"
    )
    (tmp_path / "leases").write_text(f"1795000000 {MAC} 10.0.0.9 host *\nduid 00:01\n")
    assert said() == [text]


def test_doctor_looks_at_the_switch(run: Run, hub: FakeSwitch, links: FakeLinks) -> None:
    hub.members[A].counters = {5: 3}
    out = run("doctor", "wg1").out
    assert "oslo" in next(x for x in out.splitlines() if "sent 3 frames that claim" in x)
    assert "OK   switch: wg1 has learned 3 MACs from 2 peers" in out
    assert "has no AllowedIPs" not in out and "0.0.0.0" not in out
    # the AllowedMACs of oslo, and B, which the file does not have
    assert "is not what" in out and "2 differences" in out

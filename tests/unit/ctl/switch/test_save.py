# SPDX-License-Identifier: GPL-2.0
"""A switch in up, reload, showconf, strip, save and show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from l2wgctl.conf import switch
from l2wgctl.conf.edit import edit
from l2wgctl.conf.parse import parse
from l2wgctl.netlink import switch as netlink_switch
from l2wgctl.netlink.switch import Switches
from l2wgctl.switch import (
    PEER_DEFAULTS,
    SWITCH_DEFAULTS,
    PeerOptions,
    SwitchConfig,
    SwitchOptions,
)
from tests.unit.ctl.conftest import PEER_A, PEER_B, PEER_C, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakeKernel
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.fakeswitch import FakeSwitch
from tests.unit.ctl.switch.hubs import (
    A_OPTIONS,
    HUB,
    MAC,
    MAC2,
    PEER_OF_A,
    asked,
    config,
    key,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


@pytest.fixture
def hub(filed_hub: FakeSwitch) -> FakeSwitch:
    return filed_hub


def test_up_and_reload(kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(HUB)
    result = run("up", path)
    assert result.status == 0, result.err
    assert "[#] ip link add dev wg1 type l2wgswitch\n" in result.err
    hub = kernel.switches.switches["wg1"]
    assert asked(kernel).peer("wg1", key(PEER_A)).options == A_OPTIONS
    hub.log.clear()
    kernel.received.clear()
    assert run("reload", path) == (0, "", "")
    assert hub.log == []
    conf(HUB.replace("Relay = yes", "Relay = no"))
    assert run("reload", path).err == f"[#] l2wgctl syncconf wg1 {path}\n"
    assert hub.log == [f"set {key(PEER_A).hex()[:4]} [8]"]
    assert run("down", path).status == 0


def test_up_takes_a_switch_away_that_it_cannot_set(
    kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf
) -> None:
    text = HUB.replace(MAC2, "02:00:00:00:00:ff")
    kernel.switches.refuse_mac = "02:00:00:00:00:ff"
    result = run("up", conf(text))
    assert result.status == 1
    assert "The address must be unicast" in result.err
    assert "wg1" not in links.links


def test_reload_of_another_kind_takes_a_new_link(
    kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf
) -> None:
    path = conf(f"[Interface]\nPrivateKey = {PRIVATE}\n{PEER_OF_A}AllowedIPs = 0.0.0.0/0, ::/0\n")
    assert run("up", path).status == 0
    conf(f"[Interface]\nPrivateKey = {PRIVATE}\nSwitch = yes\n{PEER_OF_A}")
    result = run("reload", path)
    assert result.status == 0
    assert "Kind l2wireguard -> l2wgswitch takes a new link (l2wgctl restart wg1)" in result.err


def test_showconf_is_a_file_of_the_same(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    shown = run("showconf", "wg1").out
    assert shown.startswith("[Interface]\nSwitch = yes\nAgeing = 60\nMaxEntries = 100\n")
    again = parse(shown, "")
    assert again.switch is not None
    assert again.switch.peers[key(PEER_A)].over(PEER_DEFAULTS) == A_OPTIONS
    assert again.switch.options == asked(kernel).get("wg1").options._replace(new_peers=None)


def test_strip_leaves_what_wg_knows(run: Run, wg: Run, conf: Conf, kernel: FakeKernel) -> None:
    stripped = run("strip", conf(HUB)).out
    assert stripped == (
        f"[Interface]\nPrivateKey = {PRIVATE}\n\n[Peer]\nPublicKey = {PEER_A}\n\n"
        f"[Peer]\nPublicKey = {PEER_B}\n"
    )
    kernel.add("wg5", kind="l2wgswitch")
    assert wg("setconf", "wg5", conf(stripped, "stripped")) == (0, "", "")


def test_save(kernel: FakeKernel, hub: FakeSwitch, run: Run, etc: Path, links: FakeLinks) -> None:
    text = HUB.replace("Ageing = 60", "Ageing = 60  # short").replace("MaxEntries = 100\n", "")
    path = etc / "wg1.conf"
    path.touch(mode=0o600)
    path.write_text(text)
    links.links["wg1"] = links.links["wg1"]._replace(mtu=1402)
    links.addrs["wg1"] = ["10.0.0.1/24", "fd00::1/64"]
    with asked(kernel) as switches:
        # as it is in the file, but for MaxEntries
        switches.set("wg1", SwitchOptions(max_macs=8192))
        assert run("save", "wg1") == (0, "", "")
        assert path.read_text() == text
        switches.set("wg1", SwitchOptions(ageing=300, max_local=77, new_peers="closed"))
        switches.bind("wg1", key(PEER_A), "02:00:00:00:00:09")
        options = PeerOptions(max_macs=256, relay=False, isolated=True, guards=())
        switches.set_peer("wg1", key(PEER_A), options)
        switches.set_peer("wg1", key(PEER_B), PeerOptions(pvid=5))
    assert run("save", "wg1") == (0, "", "")
    assert path.read_text() == (
        text.replace("Ageing = 60  # short\n", "")
        .replace("MaxLocal = 50", "MaxLocal = 77")
        .replace("NewPeers = open", "NewPeers = closed")
        .replace(
            f"AllowedMACs = {MAC2}, {MAC}\n",
            f"AllowedMACs = {MAC2}, {MAC}, 02:00:00:00:00:09\n",
        )
        .replace("MaxMACs = 3\n", "")
        .replace("Relay = yes\n", "")
        .replace("Isolated = off", "Isolated = yes")
        .replace("Guard = stp, dhcp\n", "")
        + "PVID = 5\n"
    )


def test_save_keeps_what_is_written_beside_a_mac() -> None:
    """AllowedMACs, a line for each with a comment; and addresses that are the host's anyway."""
    text = (
        f"[Interface]\nPrivateKey = {PRIVATE}\nSwitch = yes\nAddress = 10.0.0.1/24\n"
        "HostAddresses = 10.0.0.1, 10.9.0.1  # both\nHostAddresses = 10.9.0.2  # old\n"
        f"[Peer]\nPublicKey = {PEER_A}\n"
        f"AllowedMACs = {MAC.replace(':', '-')}  # printer\n"
        "# the till\n"
        f"AllowedMACs = {MAC2}  # till\n"
        "AllowedMACs = 02:00:00:00:00:0A  # gone\nGuard = ra  # why\n"
    )
    loaded = config(text)
    options = PeerOptions((MAC2, MAC, "02:00:00:00:00:09"), guards=("dhcp", "ra"))
    now = SwitchConfig(
        SWITCH_DEFAULTS._replace(host_addresses=("10.9.0.1/32", "10.0.0.1/32", "10.9.0.3/32")),
        {key(PEER_A): options.over(PEER_DEFAULTS)},
    )
    made = edit(text, loaded, loaded.device, ["10.0.0.1/24"], now_switch=now)
    assert made == (
        text.replace("10.9.0.2  # old", "10.9.0.3/32")
        .replace("02:00:00:00:00:0A  # gone", "02:00:00:00:00:09")
        .replace("Guard = ra", "Guard = ra, dhcp")
    )


def test_save_names_what_no_file_holds(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, etc: Path, links: FakeLinks
) -> None:
    path = etc / "wg1.conf"
    path.write_text(HUB)
    path.chmod(0o600)
    b = key(PEER_B)
    hub.entries = [(MAC, 7, b, 2, 0), (MAC2, 8, None, 2, 0), (MAC2, 7, b, 0, 5)]
    assert run("save", "wg1") == (
        0,
        "",
        f"l2wgctl: wg1: warning: 1 entry of one VLAN is not saved: {MAC} (AllowedMACs binds in "
        "all VLANs; or PostUp = l2wgctl fdb add ...)\n",
    )
    hub.entries.append((MAC2, 9, b, 2, 0))
    assert f"2 entries of one VLAN are not saved: {MAC} (" in run("save", "wg1").err


def test_save_of_a_new_peer() -> None:
    found = config()
    device = found.device._replace(name="wg1", listen_port=None)
    from l2wgctl.model import Peer

    device = device._replace(peers=(*device.peers, Peer(key(PEER_C))))
    assert found.switch is not None
    now = SwitchConfig(
        switch.wanted_link(found, found.switch),
        {key(PEER_A): A_OPTIONS, key(PEER_C): PEER_DEFAULTS._replace(relay=True, max_macs=0)},
    )
    addresses = list(found.link.addresses)
    assert edit(HUB, found, device, addresses, now_switch=now) == (
        HUB + f"\n[Peer]\nPublicKey = {PEER_C}\nMaxMACs = 0\nRelay = yes\n"
    )


def test_show(kernel: FakeKernel, hub: FakeSwitch, run: Run) -> None:
    hub.members[key(PEER_A)].counters = {5: 3, 8: 1, 22: 9}
    hub.members[key(PEER_A)].session = 2
    hub.members[key(PEER_A)].learned = 2
    hub.member(key(PEER_C)).configured = True
    hub.counters = {1: 4}
    shown = run("show", "wg1").out
    assert "  switch: 0 learned, 0 behind this host\n  ageing: 60\n  max entries: 100\n" in shown
    assert "  dropped: rx_own_mac 4\n" in shown
    assert (
        f"  session: up for 5 seconds\n  allowed macs: {MAC}, {MAC2}\n  max macs: 3\n"
        "  allowed vlans: 0, 10-21, 30\n  pvid: 10\n  relay: yes\n  router: yes\n"
        "  guard: dhcp, stp\n  mark: 0x7\n  learned: 2\n  dropped: rx_ip_bound 3, rx_move 1\n"
    ) in shown
    assert f"\noptions of: {PEER_C} (no peer)\n" in shown
    document = json.loads(run("--json", "show", "wg1").out)["devices"][0]
    assert document["switch"]["max_entries"] == 100
    by_key = {x["public_key"]: x["switch"] for x in document["peers"]}
    assert by_key[PEER_A]["allowed_vlans"] == "0, 10-21, 30"
    assert by_key[PEER_A]["counters"]["rx_ip_bound"] == 3
    assert by_key[PEER_A]["heard_age"] == 1.5
    assert not by_key[PEER_B]["configured"]
    (other,) = document["switch"]["without_peer"]
    assert (other["public_key"], other["name"]) == (PEER_C, None)
    assert other["switch"]["configured"] and other["switch"]["session"] is None


def test_a_switch_that_goes_while_all_are_shown(
    kernel: FakeKernel, links: FakeLinks, hub: FakeSwitch, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2wgctl import show

    kernel.add("wg2")
    links.create("wg2", "l2wireguard")
    kernel.switches.switches.clear()
    monkeypatch.setattr(show, "is_switch", lambda name: name == "wg1")
    gone = "l2wgctl: show: wg1: no such link"
    for words in (["show"], ["--json", "show"]):
        result = run(*words)
        assert result.status == 1 and result.err.startswith(gone) and "wg2" in result.out
        assert "wg1" not in result.out


def test_options_that_somebody_else_forgets_meanwhile(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Switches):
        def del_peers(self, link: str, keys: Iterable[bytes]) -> None:
            listed = list(keys)
            super().del_peers(link, listed)
            super().del_peers(link, listed)

    monkeypatch.setattr(netlink_switch, "Switches", Late)
    assert run("syncconf", "wg1", conf(HUB[: HUB.index("[Peer]")])) == (0, "", "")
    assert hub.members == {}


def test_words() -> None:
    words = [x.word for x in (*switch.INTERFACE_KEYS, *switch.PEER_KEYS)]
    assert words == [
        *("ageing", "max-entries", "max-local", "new-peers", "host-macs", "host-addresses"),
        *("allowed-macs", "max-macs", "allowed-vlans", "pvid", "relay", "isolated", "router"),
        *("guard", "mark"),
    ]

# SPDX-License-Identifier: GPL-2.0
"""A switch's file: its keys, what check says of them, and what the commands make of them."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from l2wgctl.conf import check, switch
from l2wgctl.conf.edit import edit
from l2wgctl.conf.keys import INTERFACE, PEER
from l2wgctl.conf.parse import Config, parse
from l2wgctl.errors import ConfigError
from l2wgctl.model import Key
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
from tests.unit.ctl.fakekernel import FakeKernel, FakeSocket, Refuse
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.fakeswitch import FakeSwitch

Run = Callable[..., Result]
Conf = Callable[..., Path]
MAC, MAC2 = "02:00:00:00:00:01", "02:00:00:00:00:02"

HUB = f"""[Interface]
PrivateKey = {PRIVATE}
Switch = yes
Ageing = 60
MaxEntries = 100
MaxLocal = 50
NewPeers = open
HostMACs = 02:00:00:00:00:0A
HostAddresses = 10.9.0.0/24, fd09::1
MTU = 1402
Address = 10.0.0.1/24, fd00::1/64

[Peer]
PublicKey = {PEER_A}
AllowedMACs = {MAC}
AllowedMACs = {MAC2}, {MAC}
MaxMACs = 3
AllowedVLANs = 30, 10-20, 0, 21
PVID = 10
Relay = yes
Isolated = off
Router = on
Guard = stp, dhcp
Mark = 0x7

[Peer]
PublicKey = {PEER_B}
"""
A = PeerOptions(
    (MAC, MAC2), 3, ((0, 0), (10, 21), (30, 30)), 10, True, False, True, ("dhcp", "stp"), 7
)


def key(text: str) -> Key:
    from l2wgctl.conf.values import public_key

    return public_key(text)


def config(text: str = HUB) -> Config:
    return parse(text, "wg1.conf")


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, "wg1.conf")
    return [str(problem).removeprefix("wg1.conf:") for problem in caught.value.problems]


def said(text: str, folder: Path) -> list[str]:
    """Errors and warnings of `check`, without the file's path."""
    path = folder / "wg1.conf"
    path.write_text(text)
    problems, warnings = check.examine(text, str(path))
    return [str(x).removeprefix(f"{path}:") for x in (*problems, *warnings)]


# -- the file --------------------------------------------------------------------------------------


def test_every_key() -> None:
    found = config()
    assert found.link.switch and found.link.kind == "l2wgswitch" and found.link.ethernet
    assert found.switch == SwitchConfig(
        SwitchOptions(100, 50, 60, "open", ("02:00:00:00:00:0a",), ("10.9.0.0/24", "fd09::1/128")),
        {key(PEER_A): A},
    )


def test_the_host_has_its_addresses_too() -> None:
    found = config(HUB + "\n").switch
    assert found is not None
    assert switch.wanted_link(config(), found).host_addresses == (
        *("10.0.0.1/32", "fd00::1/128"),
        *("10.9.0.0/24", "fd09::1/128"),
    )
    bridged = config(
        "[Interface]\nSwitch = yes\nBridge = br0\nBridgeAddress = 10.1.0.1/24\nHostAddresses =\n"
    )
    assert bridged.switch is not None
    wanted = switch.wanted_link(bridged, bridged.switch)
    assert wanted == SWITCH_DEFAULTS._replace(host_addresses=("10.1.0.1/32",))


def test_kind_and_switch() -> None:
    assert config("[Interface]\nKind = l2wgswitch\n").switch is not None
    assert config("[Interface]\nKind = l2wgswitch\nSwitch = yes\n").link.switch
    assert config("[Interface]\nSwitch = no\n").switch is None
    assert errors("[Interface]\nSwitch = yes\nKind = wireguard\n") == [
        "2:1: Switch = yes and Kind = wireguard exclude each other (keep one of them)"
    ]
    assert errors("[Interface]\nKind = l2wgswitch\nSwitch = no\n") == [
        "3:1: Switch = no and Kind = l2wgswitch exclude each other (keep one of them)"
    ]


def test_a_key_that_only_a_switch_has() -> None:
    values = {"AllowedMACs": MAC, "Guard": "ra", "NewPeers": "closed", "HostMACs": MAC}
    values |= {"HostAddresses": "10.0.0.1", "Relay": "yes", "Isolated": "yes", "Router": "no"}
    for keys in (INTERFACE, PEER):
        for one in keys:
            if not one.switch:
                continue
            line = f"{one.name} = {values.get(one.name, '20')}\n"
            if keys is INTERFACE:
                text = f"[Interface]\n{line}"
            else:
                text = f"[Peer]\n{line}PublicKey = {PEER_A}\n"
            mend = "(add Switch = yes to [Interface])"
            assert errors(text) == [f"2:1: {one.name} needs a switch {mend}"]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("Ageing = 9", "is not 10-1000000 seconds: '9' (300 is the default)"),
        ("MaxEntries = 0", "is not 1-1048576: '0'"),
        ("MaxLocal = 1048577", "is not 1-1048576: '1048577'"),
        ("NewPeers = shut", "is neither open nor closed: 'shut'"),
        ("HostMACs = 01:00:00:00:00:01", "is a multicast address: '01:00:00:00:00:01' "
         "(the first byte must be even)"),
        ("HostAddresses = fe80::/64", "'fe80::/64' would bind everybody's link-local address "
         "(write the host's own addresses)"),
        ("HostAddresses = 0.0.0.0/0", "'0.0.0.0/0' would bind every address (write the host's own "
         "addresses)"),
    ],
)  # fmt: skip
def test_wrong_values_of_the_link(line: str, wrong: str) -> None:
    name = line.partition(" ")[0]
    (found,) = errors(f"[Interface]\nSwitch = yes\n{line}\n")
    assert found.partition(" ")[2] == f"{name} {wrong}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("MaxMACs = x", "is not 0-1048576: 'x' (0: those of AllowedMACs alone)"),
        ("PVID = 0", "is neither off nor a VLAN id 1-4094: '0'"),
        ("AllowedVLANs = 1, 30-20", "ends before it begins: '30-20' (write 20-30)"),
        ("AllowedVLANs = 4095", "is not a VLAN 0-4094: '4095' (write 20, 20-29 for a range, 0 for "
         "no tag, or all)"),
        ("Relay = maybe", "is neither yes nor no: 'maybe'"),
        ("Guard = ra, nd", "is none of dhcp, ra, stp: 'nd'"),
        ("Mark = -1", "is neither off nor 0-0xffffffff: '-1'"),
    ],
)  # fmt: skip
def test_wrong_values_of_a_peer(line: str, wrong: str) -> None:
    name = line.partition(" ")[0]
    (found,) = errors(f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\n{line}\n")
    assert found.partition(" ")[2] == f"{name} {wrong}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("AllowedMACs = 0200.0000.0001", "is not six bytes in hexadecimal: '0200.0000.0001' (write "
         "02:00:00:00:00:01)"),
        ("AllowedMACs = 02:00:00:00:00:01 02:00:00:00:00:02", "is not six bytes in hexadecimal: "
         "'02:00:00:00:00:01 02:00:00:00:00:02' (put commas between them)"),
        ("AllowedVLANs = 10 20-30", "is not a VLAN 0-4094: '10 20-30' (put commas between them)"),
        ("Guard = dhcp ra", "is none of dhcp, ra, stp: 'dhcp ra' (put commas between them)"),
        ("AllowedIPs = 10.0.0.1 10.0.0.2", "is not an IPv4 or IPv6 network: '10.0.0.1 10.0.0.2' "
         "(put commas between them)"),
        ('Name = "oslo"', 'is in quotes: "oslo" (leave out the quotes)'),
        (f"Name = {PEER_B}", "is a key, which has a line of its own (Name is for people: oslo)"),
    ],
)  # fmt: skip
def test_usual_slips(line: str, wrong: str) -> None:
    name = line.partition(" ")[0]
    (found,) = errors(f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\n{line}\n")
    assert found.partition(" ")[2] == f"{name} {wrong}"


def test_a_files_escapes_do_not_reach_the_terminal(run: Run, conf: Conf) -> None:
    wrong = "\x1b[2J\x9b31m\u202e"
    text = f"[Interface]\nSwitch = yes\n{wrong} = 1\n[{wrong}]\n[Peer]\nPublicKey = {PEER_A}\n"
    result = run("check", conf(f"{text}AllowedMACs = {wrong}\nName = {wrong}\n"))
    assert result.status == 1 and result.err.count("\n") == 4
    assert result.err.count(r"\x1b[2J\x9b31m\u202e") == 3
    assert result.err.replace("\n", "").isprintable()


def test_macs_as_people_write_them() -> None:
    text = f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\n"
    found = config(text + "AllowedMACs = 02-AA-00-00-00-01, 02:aa:00:00:00:01,, # one\n").switch
    assert found is not None and found.peers[key(PEER_A)].allowed_macs == ("02:aa:00:00:00:01",)


def test_all_vlans() -> None:
    text = f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\nAllowedVLANs = all\n"
    found = config(text).switch
    assert found is not None and found.peers[key(PEER_A)].allowed_vlans == ((0, 4094),)
    assert switch.vlans_text(((0, 4094),)) == "all"
    assert switch.vlans_text(((0, 0), (10, 21), (30, 30))) == "0, 10-21, 30"


# -- check -----------------------------------------------------------------------------------------

HEAD = f"[Interface]\nPrivateKey = {PRIVATE}\nSwitch = yes\n"
PEER_OF_A = f"[Peer]\nPublicKey = {PEER_A}\nEndpoint = 192.0.2.1:5\n"
PEER_OF_B = f"[Peer]\nPublicKey = {PEER_B}\nEndpoint = 192.0.2.2:5\n"


def test_a_good_hub(tmp_path: Path) -> None:
    strict = f"AllowedMACs = {MAC}\nMaxMACs = 0\nAllowedIPs = 10.0.0.2/32\nRelay = yes\n"
    assert said(HEAD + PEER_OF_A + strict + PEER_OF_B, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            HEAD + PEER_OF_A + "AllowedIPs = 0.0.0.0/0, ::/0\n" + PEER_OF_B + "AllowedIPs = ::/0\n",
            [
                "4:1: warning: AllowedIPs 0.0.0.0/0 binds nothing: on a switch, MAC addresses pick "
                "the peer (write the addresses that this peer alone may use, or leave AllowedIPs "
                "out)",
                "8:1: warning: AllowedIPs ::/0 is also given to the peer of line 4 (the later peer "
                "gets it; give it to one of them)",
            ],
        ),
        (
            f"{HEAD}{PEER_OF_A}AllowedMACs = {MAC}\n{PEER_OF_B}AllowedMACs = {MAC}\n",
            [
                f"8:1: warning: AllowedMACs {MAC} is also given to the peer of line 4 (both may "
                "use it, as for VRRP and CARP; else give it to one of them)"
            ],
        ),
        (
            HEAD
            + PEER_OF_A
            + "PVID = 10\nAllowedVLANs = 20-30\nMTU = 1\n".replace("MTU = 1\n", ""),
            [
                "4:1: PVID 10 is not in AllowedVLANs: the peer's untagged frames are dropped (add "
                "10 to AllowedVLANs, or leave PVID out)",
                "4:1: warning: a frame of more than 1402 bytes of a peer with PVID does not fit a "
                "trunk (MTU = 1402 in the peer's file, and here)",
            ],
        ),
        (
            HEAD + PEER_OF_A + "PVID = 10\n" + PEER_OF_B + "AllowedVLANs = 0, 10\n",
            [
                "4:1: warning: a frame of more than 1402 bytes of a peer with PVID does not fit a "
                "trunk (MTU = 1402 in the peer's file, and here)"
            ],
        ),
        (
            HEAD
            + "MTU = 1402\n"
            + PEER_OF_A
            + "PVID = 10\n"
            + PEER_OF_B
            + "AllowedVLANs = 0, 10\n",
            [],
        ),
        (HEAD + PEER_OF_A + "PVID = 10\n" + PEER_OF_B + "PVID = 11\n", []),
        (
            HEAD + "FwMark = 7\n" + PEER_OF_A + "Mark = 0x7\n",
            [
                "5:1: Mark 0x7 is the link's FwMark: what the peer sends would be taken for the "
                "link's own outer packets (choose another Mark)"
            ],
        ),
        (
            HEAD + PEER_OF_A + "MaxMACs = 0\n",
            [
                "4:1: warning: MaxMACs = 0 without AllowedMACs: all that the peer sends is dropped "
                "(list its MACs in AllowedMACs)"
            ],
        ),
        (
            f"{HEAD}MACAddress = {MAC}\n{PEER_OF_A}AllowedMACs = {MAC}\n",
            [
                f"5:1: warning: AllowedMACs {MAC} is this link's own MACAddress (no peer may use "
                "it: leave it out)"
            ],
        ),
        (
            f"{HEAD}HostMACs = {MAC}\n{PEER_OF_A}AllowedMACs = {MAC}\n",
            [
                f"5:1: warning: AllowedMACs {MAC} is this host's, by HostMACs (no peer may use it: "
                "leave it out)"
            ],
        ),
        (
            HEAD
            + "Address = 10.1.0.1/24, fd00::1/64\nHostAddresses = 10.2.0.1/24, fe80::1\n"
            + PEER_OF_A
            + "AllowedIPs = 10.1.0.1/32, 10.1.0.0/24, 10.2.0.7/32, fd00::1/128, fd00::2/128\n",
            [
                "5:17: warning: HostAddresses '10.2.0.1/24' has bits set beyond its prefix (no "
                "peer may use any address of 10.2.0.0/24; one alone is 10.2.0.1)",
                "6:1: warning: AllowedIPs 10.1.0.1/32 is this host's own, by its address "
                "10.1.0.1/32 (no peer may use it: leave it out there, or here)",
                "6:1: warning: AllowedIPs 10.2.0.7/32 is this host's own, by HostAddresses "
                "10.2.0.0/24 (no peer may use it: leave it out there, or here)",
                "6:1: warning: AllowedIPs fd00::1/128 is this host's own, by its address "
                "fd00::1/128 (no peer may use it: leave it out there, or here)",
            ],
        ),
        (
            HEAD + "VLANs = 10, 20\nVLAN10.Address = 10.1.0.1/24, fd00::1/64\n"
            "HostAddresses = fd00::1\n" + PEER_OF_A,
            [
                "5:1: warning: VLAN10.Address 10.1.0.1/24 can be claimed by every peer in this "
                "VLAN (HostAddresses = 10.1.0.1, which holds in all VLANs)"
            ],
        ),
        (
            HEAD + PEER_OF_A.replace("Endpoint = 192.0.2.1:5\n", ""),
            [
                "4:1: warning: 1 peer has no Endpoint, and cannot be reached before having spoken "
                "(PersistentKeepalive = 25 in its own file, or Endpoint here)"
            ],
        ),
        (
            HEAD.replace("Switch = yes\n", "MACAddress = 02:00:00:00:00:07\n")
            + PEER_OF_A
            + "AllowedIPs = 0.0.0.0/0, ::/0\n"
            + PEER_OF_B
            + "AllowedIPs = 10.0.0.2/32\n",
            [
                "8:1: warning: ARP and broadcasts of this link reach one of its 2 peers (Switch = "
                "yes makes one Ethernet of them all)"
            ],
        ),
        (
            HEAD + "HostAddresses = " + ", ".join(f"10.0.0.{n}" for n in range(65)) + "\n",
            [
                "4:1: HostAddresses has 65 items with those of Address and BridgeAddress, and a "
                "switch takes 64 (leave some out)"
            ],
        ),
    ],
)
def test_what_check_says(text: str, wrong: list[str], tmp_path: Path) -> None:
    assert said(text, tmp_path) == wrong


def test_two_hubs_of_the_same_spokes(tmp_path: Path) -> None:
    text = HEAD + PEER_OF_A + "Relay = yes\n" + PEER_OF_B
    (tmp_path / "wg0.conf").write_text(HEAD + PEER_OF_B + "Relay = yes\n")
    (tmp_path / "broken.conf").write_text("[Nothing]\n")
    assert said(text, tmp_path) == []
    (tmp_path / "wg2.conf").write_text(text)
    assert said(text, tmp_path) == [
        "4:1: warning: wg2.conf relays for this peer, too: two hubs of one spoke are a loop (a "
        "spoke belongs to one hub: take Relay out of one file)"
    ]


# -- setconf, syncconf, addconf, diff --------------------------------------------------------------


@pytest.fixture
def hub(kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf) -> FakeSwitch:
    """wg1, made by setconf from HUB; its log is empty."""
    assert run("setconf", "wg1", conf(HUB)) == (0, "", "")
    made = kernel.switches.switches["wg1"]
    a = key(PEER_A).hex()[:4]
    assert made.log == ["link [3, 4, 5, 7, 8]", f"set {a} [4, 5, 6, 7, 8, 10, 11, 12]"]
    made.log.clear()
    return made


def asked(kernel: FakeKernel) -> Switches:
    return Switches(FakeSocket(kernel))


def test_setconf_brings_it_all(kernel: FakeKernel, hub: FakeSwitch) -> None:
    switches = asked(kernel)
    found = switches.get("wg1").options
    assert found == SwitchOptions(
        *(100, 50, 60, "open", ("02:00:00:00:00:0a",)),
        ("10.0.0.1/32", "fd00::1/128", "10.9.0.0/24", "fd09::1/128"),
    )
    states = {x.public_key: x for x in switches.peers("wg1")}
    assert states[key(PEER_A)].options == A and states[key(PEER_A)].configured
    assert not states[key(PEER_B)].configured


def test_the_second_time_nothing_is_touched(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    path = conf(HUB)
    before = len(kernel.received)
    assert run("diff", "wg1", path) == (
        0,
        "+ interface Address 10.0.0.1/24\n+ interface Address fd00::1/64\n"
        "~ interface MTU 1406 -> 1402\n",
        "",
    )
    assert run("syncconf", "wg1", path) == (0, "", "")
    assert run("setconf", "wg1", path) == (0, "", "")
    assert hub.log == []
    assert len(kernel.received) > before


def test_only_what_differs_is_set(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    text = HUB.replace("Ageing = 60", "Ageing = 70").replace("Relay = yes\n", "")
    text = text.replace(f"AllowedMACs = {MAC}\n", "AllowedMACs = 02:00:00:00:00:09\n")
    text = text.replace(f"{MAC2}, {MAC}", MAC2)
    path = conf(text + f"Isolated = yes\n[Peer]\nPublicKey = {PEER_C}\n")
    assert run("diff", "wg1", path).out == (
        f"+ peer {PEER_C}\n"
        "~ interface ageing 60 -> 70\n"
        f"- peer {PEER_A} allowed-macs {MAC}\n"
        f"+ peer {PEER_A} allowed-macs 02:00:00:00:00:09\n"
        f"~ peer {PEER_A} relay yes -> no\n"
        f"~ peer {PEER_B} isolated no -> yes\n"
        "+ interface Address 10.0.0.1/24\n+ interface Address fd00::1/64\n"
        "~ interface MTU 1406 -> 1402\n"
    )
    changes = json.loads(run("--json", "diff", "wg1", path).out)["changes"]
    assert {
        "action": "set",
        "peer": PEER_A,
        "field": "relay",
        "old": "yes",
        "new": "no",
    } in changes
    assert run("syncconf", "wg1", path) == (0, "", "")
    a, b = (key(x).hex()[:4] for x in (PEER_A, PEER_B))
    assert hub.log == ["link [5]", f"set {b} [9]", f"set {a} [4, 8]"]
    assert set(kernel.devices["wg1"].peers) == {key(x) for x in (PEER_A, PEER_B, PEER_C)}


def test_a_mac_that_moves_is_never_free(hub: FakeSwitch, run: Run, conf: Conf) -> None:
    """The one that gets it comes before the one that loses it."""
    text = HUB.replace(f"AllowedMACs = {MAC}\n", "").replace(f"{MAC2}, {MAC}", MAC2)
    assert run("syncconf", "wg1", conf(f"{text}AllowedMACs = {MAC}\n")) == (0, "", "")
    a, b = (key(x).hex()[:4] for x in (PEER_A, PEER_B))
    assert hub.log == [f"set {b} [4]", f"set {a} [4]"]


def test_options_of_a_peer_that_has_gone(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    text = HUB[: HUB.index("[Peer]")]
    path = conf(text)
    assert f"- peer {PEER_A} options (all)\n" in run("diff", "wg1", path).out
    assert run("syncconf", "wg1", path) == (0, "", "")
    assert hub.log == [f"del {key(PEER_A).hex()[:4]}"]
    assert kernel.devices["wg1"].peers == {} and hub.members == {}


def test_options_come_before_peers_and_go_after_them(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    order: list[str] = []
    kernel.refuse = lambda command, name: order.extend(["wg"] * command)
    path = conf(HEAD + f"[Peer]\nPublicKey = {PEER_C}\nRelay = yes\n")
    hub.log = order
    assert run("syncconf", "wg1", path) == (0, "", "")
    c, a = (key(x).hex()[:4] for x in (PEER_C, PEER_A))
    assert [x.rsplit(" [", 1)[0] for x in order] == ["link", f"set {c}", "wg", f"del {a}"]


def test_what_fails_leaves_all_as_it_was(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    before = asked(kernel).get("wg1").options, asked(kernel).peers("wg1")

    def refuse(command: int, name: str) -> None:
        if command:
            raise Refuse(errno.ENOMEM)

    kernel.refuse = refuse
    text = HUB.replace("Relay = yes", "Relay = no").replace("Ageing = 60", "Ageing = 61")
    result = run("syncconf", "wg1", conf(text + f"Mark = 5\n[Peer]\nPublicKey = {PEER_C}\n"))
    assert result == (1, "", "l2wgctl: set: wg1: the kernel has no memory for it\n")
    kernel.refuse = lambda command, name: None
    assert (asked(kernel).get("wg1").options, asked(kernel).peers("wg1")) == before


def test_names_are_looked_up_before_the_first_option(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a name server may be minutes, with a hub that is half old and half new."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    path = conf(f"{HUB}Relay = yes\nEndpoint = b.example.org:5\n".replace("Ageing = 60", ""))
    words = f"wg1 peer {PEER_B} relay yes endpoint b.example.org:5"
    for command in (
        *(["setconf", "wg1", path], ["syncconf", "wg1", path], ["addconf", "wg1", path]),
        ["set", *words.split()],
    ):
        result = run(*command)
        assert result.status == 1 and "'b.example.org:5' does not resolve" in result.err
        assert hub.log == [], command


def test_a_link_that_goes_meanwhile_is_what_is_told(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    def go(command: int, name: str) -> None:
        if command:
            kernel.devices.clear()
            kernel.switches.switches.clear()

    kernel.refuse = go
    result = run("syncconf", "wg1", conf(HUB + f"Mark = 5\n[Peer]\nPublicKey = {PEER_C}\n"))
    assert result == (
        1,
        "",
        "l2wgctl: set: wg1: no such link (create it with 'l2wgctl add wg1' or 'l2wgctl up wg1')\n",
    )


def test_closed_gives_all_peers_of_the_file_options(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    text = HUB.replace("NewPeers = open", "NewPeers = closed")
    assert run("syncconf", "wg1", conf(text)) == (0, "", "")
    states = {x.public_key: x for x in asked(kernel).peers("wg1")}
    assert states[key(PEER_B)].configured and states[key(PEER_B)].options == PEER_DEFAULTS
    assert run("syncconf", "wg1", conf(HUB)) == (0, "", "")
    states = {x.public_key: x for x in asked(kernel).peers("wg1")}
    assert not states[key(PEER_B)].configured


def test_addconf_adds(kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf) -> None:
    more = f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\nGuard = ra\n"
    more += f"[Peer]\nPublicKey = {PEER_C}\nPVID = 7\n"
    assert run("addconf", "wg1", conf(more)) == (0, "", "")
    states = {x.public_key: x for x in asked(kernel).peers("wg1")}
    assert states[key(PEER_A)].options == A._replace(guards=("ra",))
    assert states[key(PEER_C)].options == PEER_DEFAULTS._replace(pvid=7)
    assert asked(kernel).get("wg1").options.ageing == 60
    assert not any(x.startswith("link") for x in hub.log)


@pytest.mark.parametrize("head", ["[Interface]\nSwitch = yes\n", ""])
def test_addconf_on_a_closed_switch(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf, head: str
) -> None:
    """A peer without options could shake hands and nothing else."""
    assert run("set", "wg1", "new-peers", "closed") == (0, "", "")
    path = conf(f"{head}[Peer]\nPublicKey = {PEER_C}\n[Peer]\nPublicKey = {PEER_A}\n")
    assert run("addconf", "wg1", path) == (0, "", "")
    states = {x.public_key: x for x in asked(kernel).peers("wg1")}
    assert states[key(PEER_C)].configured and states[key(PEER_C)].options == PEER_DEFAULTS
    assert states[key(PEER_A)].options == A
    kernel.add("wg2")
    assert run("addconf", "wg2", conf(f"[Peer]\nPublicKey = {PEER_C}\n")) == (0, "", "")


def test_a_file_of_a_switch_on_a_wire(
    kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf
) -> None:
    kernel.add("wg1")
    links.create("wg1", "l2wireguard")
    mend = "(its kind must be l2wgswitch, Switch = yes; a kind is for life: make another link)"
    for verb in ("setconf", "syncconf", "addconf"):
        result = run(verb, "wg1", conf(HUB))
        assert result == (1, "", f"l2wgctl: show: wg1 is no switch {mend}\n"), verb
    assert kernel.devices["wg1"].peers == {}


def test_a_file_of_a_wire_on_a_switch(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, etc: Path, links: FakeLinks
) -> None:
    path = etc / "wg1.conf"
    path.write_text(f"[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PEER_A}\n")
    path.chmod(0o600)
    said = f"l2wgctl: {path}: warning: wg1 is a switch, and this file is for none: "
    mend = "(add Switch = yes to [Interface])\n"
    for verb, what in (
        ("setconf", "the options of its peers stay as they are"),
        ("syncconf", "the options of its peers stay as they are"),
        ("save", "its options are not saved"),
    ):
        assert run(verb, "wg1") == (0, "", f"{said}{what} {mend}")
    assert hub.log == []


def test_a_link_that_fails_is_not_left_behind(
    kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf
) -> None:
    del kernel.families["l2wg"]
    result = run("setconf", "wg7", conf(HUB))
    assert result.status == 1 and "the kernel has no switches" in result.err
    assert "wg7" not in links.links


# -- up, reload, save, showconf, show --------------------------------------------------------------


def test_up_and_reload(kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(HUB)
    result = run("up", path)
    assert result.status == 0, result.err
    assert "[#] ip link add dev wg1 type l2wgswitch\n" in result.err
    hub = kernel.switches.switches["wg1"]
    assert asked(kernel).peer("wg1", key(PEER_A)).options == A
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
    assert again.switch.peers[key(PEER_A)].over(PEER_DEFAULTS) == A
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
        {key(PEER_A): A, key(PEER_C): PEER_DEFAULTS._replace(relay=True, max_macs=0)},
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

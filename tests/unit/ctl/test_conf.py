# SPDX-License-Identifier: GPL-2.0
"""The file format: every error as a whole line, several at once, and there and back again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2wgctl import render
from l2wgctl.conf import check, files, values
from l2wgctl.conf import parse as config
from l2wgctl.conf.keys import INTERFACE, PEER
from l2wgctl.errors import ConfigError
from l2wgctl.model import AllowedIP, Device, Endpoint, Key, LinkOptions, Peer, SecretKey, Vlan
from l2wgctl.switch import PeerOptions, SwitchOptions
from tests.unit.ctl.conftest import OWN, PEER_A, PEER_B, PRIVATE, PSK
from tests.unit.ctl.linktext import format_link

HEAD = f"[Interface]\nPrivateKey = {PRIVATE}\n"
TAIL = f"[Peer]\nPublicKey = {PEER_A}\nAllowedIPs = 0.0.0.0/0, ::/0\n"


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "wg1.conf")
    return [str(problem) for problem in caught.value.problems]


ONE_ERROR = {
    "unknown section": ("[Pear]\n", "1:1: unknown section '[Pear]' (did you mean [Peer]?)"),
    "strange section": (
        "[Whatever]\nX = 1\n",
        "1:1: unknown section '[Whatever]' (known: [Interface], [Peer], [Mesh])",
    ),
    "unclosed section": (
        "[Interface\n",
        "1:1: unknown section '[Interface' (did you mean [Interface]?)",
    ),
    "unknown key": (
        "[Interface]\n  Adress = 10.0.0.1/24\n",
        "2:3: unknown key 'Adress' in [Interface] (did you mean Address?)",
    ),
    "unknown key without a near one": (
        "[Interface]\nXyzzy = 1\n",
        "2:1: unknown key 'Xyzzy' in [Interface] (see l2wg.conf(5))",
    ),
    "key of the other section": (
        "[Interface]\nEndpoint = a:1\n",
        "2:1: unknown key 'Endpoint' in [Interface] (it belongs in [Peer])",
    ),
    "no section": (
        "ListenPort = 1\nMTU = 1\n",
        "1:1: 'ListenPort' comes before any section (begin with [Interface])",
    ),
    "no equals sign": (
        "[Interface]\nListenPort 51820\n",
        "2:1: 'ListenPort' is neither a section nor 'Key = value'",
    ),
    "key twice": (
        "[Interface]\nListenPort = 1\n# x\nlistenport = 2\n",
        "4:1: ListenPort is given twice (first in line 2) (keep one of them)",
    ),
    "section twice": (
        "[Interface]\n[Interface]\n",
        "2:1: [Interface] is given twice (first in line 1) (put its keys into one section)",
    ),
    "no value": ("[Interface]\nPrivateKey =\n", "2:1: PrivateKey has no value"),
    "private key": (
        "[Interface]\nPrivateKey = hunter2\n",
        "2:14: PrivateKey is not 32 bytes in base64 (44 characters, the last one '=', as "
        "'l2wgctl genkey' prints them)",
    ),
    "preshared key": (
        f"[Peer]\nPublicKey = {PEER_A}\nPresharedKey = hunter2\n",
        "3:16: PresharedKey is not 32 bytes in base64 (44 characters, the last one '=', as "
        "'l2wgctl genpsk' prints them)",
    ),
    "public key": (
        f"[Peer]\nPublicKey = {PEER_A[1:]}\n",
        "2:13: PublicKey is not 32 bytes in base64 (44 characters, the last one '=', as "
        "'l2wgctl pubkey' prints them)",
    ),
    "port": (
        "[Interface]\nListenPort = 65536\n",
        "2:14: ListenPort is not 0-65535: '65536' (0 lets the kernel choose)",
    ),
    "endpoint without port": (
        f"[Peer]\nPublicKey = {PEER_A}\nEndpoint = a.b\n",
        "3:12: Endpoint 'a.b' has no port (write a.b:51820)",
    ),
    "endpoint port": (
        f"[Peer]\nPublicKey = {PEER_A}\nEndpoint = a.b:70000\n",
        "3:16: Endpoint 'a.b:70000' has a port that is not 1-65535",
    ),
    "IPv6 endpoint": (
        f"[Peer]\nPublicKey = {PEER_A}\nEndpoint = fd00::1:51820\n",
        "3:12: Endpoint 'fd00::1:51820' is an IPv6 address without brackets (write "
        "[fd00::1]:51820)",
    ),
    "second network": (
        f"[Peer]\nPublicKey = {PEER_A}\nAllowedIPs = 10.0.0.0/8, 10.0.0.0/33\n",
        "3:35: AllowedIPs '10.0.0.0/33' has a prefix length that is not 0-32",
    ),
    "no public key": (
        "[Interface]\n[Peer]\nAllowedIPs = 10.0.0.0/8\n",
        "2:1: [Peer] has no PublicKey (every peer needs one)",
    ),
    "duplicate peer": (
        TAIL + TAIL,
        f"4:1: peer {PEER_A} is given twice (first in line 1) (join the two sections)",
    ),
    "own key": (
        HEAD + f"[Peer]\nPublicKey = {OWN}\n",
        f"3:1: the peer's PublicKey {OWN} belongs to this link's own PrivateKey (write the other "
        "host's public key)",
    ),
    "bridge and master": (
        "[Interface]\nBridge = br0\nMaster = bond0\n",
        "3:1: Bridge and Master exclude each other (keep one of them)",
    ),
    "bridge create alone": (
        "[Interface]\nBridgeCreate = yes\n",
        "2:1: BridgeCreate needs Bridge (add Bridge = br0)",
    ),
    "bridge address alone": (
        "[Interface]\nBridgeAddress = 10.0.0.1/24\n",
        "2:1: BridgeAddress needs Bridge (add Bridge = br0)",
    ),
    "Ethernet key on a routed link": (
        "[Interface]\nKind = wireguard\nMACAddress = 02:00:00:00:00:01\n",
        "3:1: MACAddress needs an Ethernet link (set Kind = l2wireguard)",
    ),
    **{
        f"{key} without Bridge": (
            f"[Interface]\n{key} = {value}\n",
            f"2:1: {key} needs Bridge (add Bridge = br0)",
        )
        for key, value in {
            "BridgePorts": "eth1",
            "BridgeSTP": "no",
            "BridgeVLANFiltering": "yes",
            "BridgePVID": "off",
            "BridgeVLANs": "5",
        }.items()
    },
    "a port twice": (
        "[Interface]\nBridge = br0\nBridgePorts = eth1, eth1\n",
        "3:1: BridgePorts lists a link twice (keep one of them)",
    ),
    "the bridge as its port": (
        "[Interface]\nBridge = br0\nBridgePorts = eth1, br0\n",
        "3:1: BridgePorts lists the bridge br0 (leave it out)",
    ),
    "VLANs of the port twice": (
        "[Interface]\nBridge = br0\nBridgeVLANs = 5-9, 9\n",
        "3:1: BridgeVLANs lists an id twice, or that of BridgePVID (keep one)",
    ),
    "PVID among the VLANs": (
        "[Interface]\nBridge = br0\nBridgeVLANs = 5-9\nBridgePVID = 7\n",
        "3:1: BridgeVLANs lists an id twice, or that of BridgePVID (keep one)",
    ),
    "VLAN range": (
        "[Interface]\nBridge = br0\nBridgeVLANs = 9-5\n",
        "3:15: BridgeVLANs ends before it begins: '9-5' (write 5-9)",
    ),
    "PVID": (
        "[Interface]\nBridge = br0\nBridgePVID = 4095\n",
        "3:14: BridgePVID is neither off nor a VLAN id 1-4094: '4095'",
    ),
    "MSSClamp": (
        "[Interface]\nMSSClamp = 63\n",
        "2:12: MSSClamp is neither yes, no nor 64-65495 bytes: '63'",
    ),
    "VLAN address without VLAN": (
        "[Interface]\nVLANs = 5\nVLAN6.Address = 10.0.0.1/24\n",
        "3:1: VLAN6.Address is given, but VLANs does not list 6 (add 6 to VLANs)",
    ),
    "VLAN address": (
        "[Interface]\nVLANs = 5\nVLAN5.Address = 10.0.0.1/24, x\n",
        "3:17: VLAN5.Address is not an IPv4 or IPv6 network: 'x' (write 10.0.0.0/24 or fd00::/64)",
    ),
    "VLAN twice": (
        "[Interface]\nVLANs = 5, 5\n",
        "2:1: VLANs lists an id twice (keep one of them)",
    ),
}


@pytest.mark.parametrize(("text", "line"), ONE_ERROR.values(), ids=list(ONE_ERROR))
def test_error_lines(text: str, line: str) -> None:
    assert errors(text) == [f"wg1.conf:{line}"]


def test_three_mistakes_are_three_errors() -> None:
    text = (
        "[Interface]\nPrivatKey = x\nListenPort = 99999\n\n"
        f"[Peer]\nPublicKey = {PEER_A}\nEndpoint = ::1\n"
    )
    assert errors(text) == [
        "wg1.conf:2:1: unknown key 'PrivatKey' in [Interface] (did you mean PrivateKey?)",
        "wg1.conf:3:14: ListenPort is not 0-65535: '99999' (0 lets the kernel choose)",
        "wg1.conf:7:12: Endpoint '::1' is an IPv6 address without brackets (write [::1]:51820)",
    ]


def test_no_error_repeats_a_secret() -> None:
    secret = PRIVATE[:20] + "!" + PRIVATE[21:]
    psk = PSK[:-1]
    text = (
        f"[Interface]\nPrivateKey = {secret}\nPrivateKey = {secret}\nPrivateKey\n"
        f"[Peer]\nPublicKey = {PEER_A}\nPresharedKey = {psk}\nPresharedKey {psk}\n{psk}\n{psk}=\n"
        f"Endpoint = {PRIVATE}\nPersistentKeepalive = {PRIVATE}\nAllowedIPs = {PRIVATE}\n"
        f"[{PRIVATE}]\n"
    )
    joined = "\n".join(errors(text))
    assert secret[:12] not in joined and psk[:12] not in joined
    assert "unknown key '(hidden)'" in joined


def test_everything_is_understood() -> None:
    parsed = config.parse(
        f"""# comment
[interface]
PRIVATEKEY={PRIVATE}   # mine
ListenPort = 51820
FwMark = 0x10
Address = 10.0.0.1/24, fd00::1/64
Address = 10.0.1.1/24
MTU = 1300
DNS = 10.0.0.53, example.org
Table = 100
PostUp = echo a = b
PostUp = echo %i
SaveConfig = true
MACAddress = 02:00:00:00:00:01
Bridge = br0
BridgeCreate = yes
BridgeAddress = 10.9.0.1/24
VLANs = 128, 128.127
VLAN128.127.Address = 10.5.0.1/24
IPv6LinkLocal = no

[Peer]
PublicKey = {PEER_A}
PresharedKey = {PSK}
AllowedIPs = 10.0.0.0/8
AllowedIPs = ::/0
Endpoint = example.org:51820
PersistentKeepalive = off
""",
        "wg1.conf",
    )
    assert parsed.device == Device(
        "",
        private_key=SecretKey(parsed.device.private_key or b""),
        listen_port=51820,
        fwmark=16,
        peers=(
            Peer(
                Key(parsed.device.peers[0].public_key),
                preshared_key=parsed.device.peers[0].preshared_key,
                endpoint=Endpoint("example.org", 51820),
                persistent_keepalive=0,
                allowed_ips=(AllowedIP(bytes([10, 0, 0, 0]), 8), AllowedIP(bytes(16), 0)),
                replace_allowed_ips=True,
            ),
        ),
    )
    assert parsed.device.private_key is not None
    assert parsed.device.private_key.reveal() == PRIVATE
    assert parsed.link == LinkOptions(
        addresses=("10.0.0.1/24", "fd00::1/64", "10.0.1.1/24"),
        mtu=1300,
        table="100",
        dns=("10.0.0.53",),
        dns_search=("example.org",),
        post_up=("echo a = b", "echo %i"),
        save_config=True,
        mac_address="02:00:00:00:00:01",
        bridge="br0",
        bridge_create=True,
        bridge_addresses=("10.9.0.1/24",),
        vlans=(Vlan((128,)), Vlan((128, 127), ("10.5.0.1/24",))),
        ipv6_link_local="no",
    )
    assert parsed.warnings == ()


def warnings(text: str) -> list[str]:
    parsed = config.parse(text, "wg1.conf")
    return [str(problem) for problem in (*parsed.warnings, *check.lint(parsed))]


def test_good_file_has_no_warning() -> None:
    assert warnings(HEAD + TAIL) == []


def test_host_bits_warning() -> None:
    text = HEAD + TAIL.replace("0.0.0.0/0", "0.0.0.0/0, 10.1.2.3/8")
    assert warnings(text) == [
        "wg1.conf:5:25: warning: AllowedIPs '10.1.2.3/8' has bits set beyond its prefix (the "
        "kernel takes it as 10.0.0.0/8)"
    ]


def test_warning_for_an_ethernet_link_without_owner() -> None:
    text = HEAD + TAIL.replace("0.0.0.0/0, ::/0", "10.0.0.0/8")
    where = "wg1.conf:3:1: warning: no peer's AllowedIPs hold"
    assert warnings(text) == [
        f"{where} 0.0.0.0: no ARP, VLAN or other frame without IP will cross (add 0.0.0.0/0 (or "
        "0.0.0.0/32) to the AllowedIPs of the peer that shall have them)",
        f"{where} 255.255.255.255: DHCP and other broadcasts do not cross (add 0.0.0.0/0 to the "
        "AllowedIPs of a peer)",
        f"{where} ff02::/16: IPv6 neighbour discovery does not cross (add ::/0, or ff02::/16 to "
        "the AllowedIPs of a peer)",
        f"{where} fe80::/10: IPv6 neighbour discovery is not answered (add ::/0, or fe80::/10 to "
        "the AllowedIPs of a peer)",
    ]
    assert warnings(text.replace("PrivateKey", "Kind = wireguard\nPrivateKey")) == []


def test_other_warnings() -> None:
    text = HEAD.replace(f"PrivateKey = {PRIVATE}\n", "Bridge = br0\nAddress = 10.0.0.1/24\n")
    text += TAIL + TAIL.replace(PEER_A, PEER_B).replace(", ::/0", "")
    assert warnings(text) == [
        "wg1.conf:1:1: warning: [Interface] has no PrivateKey (make one with 'l2wgctl genkey')",
        "wg1.conf:3:1: warning: Address on a port of bridge br0 is not reachable through the "
        "bridge (use BridgeAddress)",
        "wg1.conf:7:1: warning: AllowedIPs 0.0.0.0/0 is also given to the peer of line 4 (the "
        "later peer gets it; give it to one of them)",
    ]


PROVIDER = f"""[Interface]
PrivateKey = {PRIVATE}
Address = 10.2.0.2/32, fd00::2/128
DNS = 10.2.0.1
[Peer]
PublicKey = {PEER_A}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.1:51820
"""
PLAIN = (
    "wg1.conf:3:1: warning: this looks like a file for a plain WireGuard link ({}), but without "
    "Kind it makes an Ethernet link, and no routes (write Kind = wireguard into [Interface], or "
    "Kind = l2wireguard if it is meant so)"
)


def test_a_providers_plain_file() -> None:
    hosts = PLAIN.format("Address 10.2.0.2/32 is a single host's")
    assert warnings(PROVIDER) == [hosts]
    assert warnings(PROVIDER.replace("DNS = 10.2.0.1\n", "")) == [hosts]
    assert warnings(PROVIDER.replace("/32", "/24")) == [
        PLAIN.format("DNS, and one peer for everything")
    ]
    for meant in ("Kind = wireguard", "Kind = l2wireguard", "Bridge = br0", "VLANs = 5"):
        found = warnings(PROVIDER.replace("Address", f"{meant}\nAddress"))
        assert not any("plain" in line for line in found)
    assert warnings(PROVIDER.replace("/32", "/24").replace("DNS = 10.2.0.1\n", "")) == []


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("BridgeCreate = yes\nBridgeVLANs = 5", "BridgeVLANs"),
        ("BridgeVLANFiltering = no\nBridgePVID = 5", "BridgePVID"),
        ("BridgePVID = off\nBridgeCreate = yes", "BridgePVID"),
        ("BridgePVID = 5", None),
        ("BridgeCreate = yes\nBridgeVLANFiltering = yes\nBridgeVLANs = 5", None),
    ],
)
def test_vlans_of_a_port_need_a_bridge_that_filters(lines: str, key: str | None) -> None:
    found = warnings(HEAD + "Bridge = br0\n" + lines + "\n" + TAIL)
    assert found == (
        [
            f"wg1.conf:{4 + (not lines.startswith(key))}:1: warning: {key} has no effect while "
            "bridge br0 does not filter VLANs (add BridgeVLANFiltering = yes)"
        ]
        if key
        else []
    )


def test_owner_is_the_longest_prefix() -> None:
    parsed = config.parse(
        HEAD
        + TAIL
        + f"[Peer]\nPublicKey = {PEER_B}\nAllowedIPs = 0.0.0.0/32, 255.255.255.255/32\n",
        "",
    )
    found = check.owner(parsed.device.peers, "0.0.0.0")
    assert found is not None and str(found.public_key) == PEER_B
    found = check.owner(parsed.device.peers, "10.0.0.1")
    assert found is not None and str(found.public_key) == PEER_A
    assert check.owner((), "0.0.0.0") is None


# -- there and back again --------------------------------------------------------------------------


def build(cls: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Like st.builds, which would also invent the fields that are left out."""
    return st.fixed_dictionaries(fields).map(lambda found: cls(**found))


keys = st.binary(min_size=32, max_size=32)
prefixes = st.one_of(
    st.tuples(st.binary(min_size=4, max_size=4), st.integers(0, 32)),
    st.tuples(st.binary(min_size=16, max_size=16), st.integers(0, 128)),
)
endpoints = st.one_of(
    st.builds(Endpoint, st.ip_addresses().map(str), st.integers(1, 65535)),
    st.builds(
        Endpoint, st.from_regex(r"[a-z][a-z0-9-]{0,20}\.example", fullmatch=True), st.just(1)
    ),
)
peers = build(
    Peer,
    public_key=keys.map(Key),
    preshared_key=st.none() | keys.filter(any).map(SecretKey),
    endpoint=st.none() | endpoints,
    persistent_keepalive=st.none() | st.integers(1, 65535),
    allowed_ips=st.lists(prefixes.map(lambda p: AllowedIP(*p)), max_size=4).map(tuple),
    replace_allowed_ips=st.just(True),
)
devices = build(
    Device,
    name=st.just(""),
    private_key=st.none() | keys.filter(any).map(SecretKey),
    listen_port=st.none() | st.integers(1, 65535),
    fwmark=st.none() | st.integers(1, 0xFFFFFFFF),
    peers=st.lists(peers, max_size=4, unique_by=lambda peer: peer.public_key).map(tuple),
)
commands = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), min_size=1
)
addresses = (
    st.ip_addresses()
    .filter(lambda a: a.version == 4 or not (a.is_multicast or int(a) < 2))
    .map(lambda a: values.interface_address(str(a)))
)
names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
links = build(
    LinkOptions,
    addresses=st.lists(addresses, max_size=3).map(tuple),
    mtu=st.none() | st.integers(68, 65535),
    table=st.none() | st.sampled_from(["off", "auto", "100", "main"]),
    dns=st.lists(st.ip_addresses().map(str), max_size=2).map(tuple),
    dns_search=st.lists(st.just("example.org"), max_size=1).map(tuple),
    pre_up=st.lists(commands, max_size=2).map(tuple),
    post_up=st.lists(commands, max_size=2).map(tuple),
    pre_down=st.lists(commands, max_size=2).map(tuple),
    post_down=st.lists(commands, max_size=2).map(tuple),
    save_config=st.booleans(),
    mac_address=st.none() | st.just("02:00:00:00:00:01"),
    bridge=names.map(lambda name: f"{name}-br"),
    bridge_create=st.booleans(),
    bridge_addresses=st.lists(addresses, max_size=2).map(tuple),
    bridge_ports=st.lists(names, max_size=2, unique=True).map(tuple),
    bridge_stp=st.none() | st.booleans(),
    bridge_vlan_filtering=st.none() | st.booleans(),
    bridge_pvid=st.none() | st.integers(0, 99),
    bridge_vlans=st.sampled_from([(), ((100, 100), (200, 4094))]),
    mss_clamp=st.none() | st.just(0) | st.integers(64, 65495),
    vlans=st.lists(
        build(
            Vlan,
            ids=st.lists(st.integers(1, 4094), min_size=1, max_size=3).map(tuple),
            addresses=st.lists(addresses, max_size=2).map(tuple),
        ),
        max_size=3,
        unique_by=lambda vlan: vlan.ids,
    ).map(tuple),
    ipv6_link_local=st.none() | st.sampled_from(["yes", "no", "fe80::1/64"]),
)


@settings(max_examples=150, deadline=None)
@given(devices, links)
def test_round_trip(device: Device, link: LinkOptions) -> None:
    text = "".join(render.showconf(device, device.peers))
    text = text.replace("[Interface]\n", "[Interface]\n" + format_link(link), 1)
    parsed = config.parse(text, "")
    assert parsed.device == device
    assert parsed.link == link
    assert config.parse(files.strip(text), "").device == device
    assert config.parse(files.strip(text), "").link == LinkOptions()


@settings(max_examples=200, deadline=None)
@given(st.text() | st.lists(st.sampled_from([HEAD, TAIL, "[", "=", "x=1\n", "\x00"])).map("".join))
def test_any_text_parses_or_names_its_mistakes(text: str) -> None:
    try:
        config.parse(text, "x")
    except ConfigError as error:
        assert error.problems
        assert all("\n" not in str(problem) for problem in error.problems)


def test_every_key_has_a_field() -> None:
    options = set(LinkOptions._fields) | set(Device._fields)
    # Switch is a kind
    assert {key.field for key in INTERFACE if not key.switch} - {"switch"} <= options
    assert {key.field for key in INTERFACE if key.switch} == set(SwitchOptions._fields)
    # a file of a key is read into the key
    found = {key.field for key in PEER if not key.switch}
    assert found - {"preshared_key_file"} <= set(Peer._fields)
    assert {key.field for key in PEER if key.switch} == set(PeerOptions._fields)

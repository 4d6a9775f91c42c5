# SPDX-License-Identifier: GPL-2.0
"""The `[Mesh]` section: parsed, checked, stripped, and its peers left to the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from l2wgctl.conf import files, parse, switch, sync
from l2wgctl.conf.check import examine
from l2wgctl.conf.edit import edit
from l2wgctl.conf.keys import MESH
from l2wgctl.conf.meshvalues import claimed_network
from l2wgctl.errors import ConfigError
from l2wgctl.model import Device, Endpoint, Key, MeshOptions, Peer
from l2wgctl.switch import PEER_DEFAULTS, SWITCH_DEFAULTS, SwitchOptions, SwitchState
from tests.unit.ctl.conftest import PEER_A, PEER_B, PEER_C, PRIVATE

HEAD = f"[Interface]\nPrivateKey = {PRIVATE}\n"
SWITCH = "[Interface]\nSwitch = yes\n"
NEEDED = f"[Mesh]\nEngine = https://etcd1\nTrustedKeys = {PEER_A}, {PEER_B}\n"
WHOLE = f"""\
{HEAD}Switch = yes

[Mesh]
Engine = https://etcd1.example.org:2379, https://[2001:db8::1]
CA = ca.pem
Certificate = cert.pem
Key = key.pem
User = agent
PasswordFile = password
TrustedKeys = {PEER_A}, {PEER_B}
Node = berlin
Endpoints = berlin.example.org:51820, [2001:db8::7]:51820
Hub = yes
AllowedIPs = 10.0.0.7/32
AllowedMACs = 02:00:00:00:00:07
MaxMACs = 16
AllowedVLANs = 0, 20-29
"""


def mesh_of(text: str) -> MeshOptions:
    found = parse.parse(text, "wg1.conf").mesh
    assert found is not None
    return found


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse.parse(text, "wg1.conf")
    return [str(problem).removeprefix("wg1.conf:") for problem in caught.value.problems]


def warnings(text: str) -> list[str]:
    problems, found = examine(text, "wg1.conf")
    assert problems == []
    return [str(problem).removeprefix("wg1.conf:") for problem in found]


def test_all_of_it() -> None:
    assert mesh_of(WHOLE) == MeshOptions(
        engines=("https://etcd1.example.org:2379", "https://[2001:db8::1]:2379"),
        ca="ca.pem",
        certificate="cert.pem",
        key="key.pem",
        user="agent",
        password_file="password",
        trusted_keys=mesh_of(NEEDED).trusted_keys,
        node="berlin",
        endpoints=(Endpoint("berlin.example.org", 51820), Endpoint("2001:db8::7", 51820)),
        hub=True,
        allowed_ips=(claimed_network("10.0.0.7/32"),),
        allowed_macs=("02:00:00:00:00:07",),
        max_macs=16,
        allowed_vlans=((0, 0), (20, 29)),
    )
    assert {key.field for key in MESH} == {*MeshOptions._fields}
    assert parse.parse(HEAD, "x").mesh is None


def test_case_does_not_matter_and_lists_go_on() -> None:
    text = (
        f"[MESH]\nengine = http://a, http://b\nENGINE = http://c:1\ntrustedkeys={PEER_A},{PEER_B}\n"
    )
    assert mesh_of(text).engines == ("http://a:2379", "http://b:2379", "http://c:1")


ONE_ERROR = {
    "no engine": (
        f"[Mesh]\nTrustedKeys = {PEER_A}\n",
        "1:1: [Mesh] has no Engine (write the URLs of the store: Engine = "
        "https://etcd1.example.org:2379)",
    ),
    "no trusted keys": (
        HEAD + "[Mesh]\nEngine = https://a\n",
        "3:1: [Mesh] has no TrustedKeys (write the public keys of the admins, from "
        "'l2wgctl mesh keygen')",
    ),
    "engine": (
        NEEDED + "Engine = etcd1:2379\n",
        "4:10: Engine is no URL of a store: 'etcd1:2379' (write https://etcd1.example.org:2379)",
    ),
    "engine with a path": (
        NEEDED + "Engine = https://a:1/v3\n",
        "4:10: Engine is no URL of a store: 'https://a:1/v3' (write "
        "https://etcd1.example.org:2379)",
    ),
    "engine's name": (
        NEEDED + "Engine = https://a..b\n",
        "4:10: Engine 'https://a..b' has no valid host (write https://etcd1.example.org:2379)",
    ),
    "engine's port": (
        NEEDED + "Engine = https://a:70000\n",
        "4:10: Engine 'https://a:70000' has a port that is not 1-65535",
    ),
    "engine's address": (
        NEEDED + "Engine = https://[::g]:1\n",
        "4:10: Engine is no URL of a store: 'https://[::g]:1' (write "
        "https://etcd1.example.org:2379)",
    ),
    "engine without a value": (
        f"[Mesh]\nEngine = ,\nTrustedKeys = {PEER_A}\n",
        "2:1: [Mesh] has no Engine (write the URLs of the store: Engine = "
        "https://etcd1.example.org:2379)",
    ),
    "both schemes": (
        NEEDED + "Engine = http://a\n",
        "2:1: Engine mixes http and https (write https for all)",
    ),
    "CA without TLS": (
        f"[Mesh]\nEngine = http://a\nTrustedKeys = {PEER_A}\nCA = x\n",
        "4:1: CA and Certificate need https (write https:// into Engine)",
    ),
    "certificate alone": (
        NEEDED + "Certificate = x\n",
        "4:1: Certificate needs Key (add Key)",
    ),
    "key alone": (NEEDED + "Key = x\n", "4:1: Key needs Certificate (add Certificate)"),
    "user alone": (NEEDED + "User = x\n", "4:1: User needs PasswordFile (add PasswordFile)"),
    "password": (
        NEEDED + "User = x:secret\nPasswordFile = p\n",
        "4:8: User is no name of a user (the password stands in PasswordFile)",
    ),
    "trusted key": (
        f"[Mesh]\nEngine = https://a\nTrustedKeys = {PEER_A[:-2]}\n",
        "3:15: TrustedKeys is not 32 bytes in base64 (44 characters, the last one '=', as "
        "'l2wgctl mesh keygen' prints them)",
    ),
    "trusted twice": (
        f"{NEEDED}TrustedKeys = {PEER_A}\n",
        "3:1: TrustedKeys lists one twice (keep one of them)",
    ),
    "no switch": (
        NEEDED + "Node = berlin\n",
        "4:1: [Mesh] needs a switch (write Switch = yes into [Interface])",
    ),
    "node": (
        NEEDED + "Node = Berlin\n",
        "4:8: Node is not 1-63 of a-z 0-9 -: 'Berlin'",
    ),
    "hub behind a hub": (
        NEEDED + "Hub = yes\nEndpoints = a:1\nBehind = b\n",
        "6:1: Hub and Behind exclude each other (keep one of them)",
    ),
    "hub without endpoints": (
        NEEDED + "Hub = yes\n",
        "4:1: Hub needs Endpoints (add Endpoints = HOST:51820, where the hosts behind it reach it)",
    ),
    "behind itself": (
        NEEDED + "Node = a\nBehind = a\n" + SWITCH,
        "5:1: Behind names this host itself (write the name of its hub)",
    ),
    "too many claims": (
        NEEDED + "AllowedMACs = " + ", ".join(f"02:00:00:00:00:{n:02x}" for n in range(65)) + "\n",
        "4:1: AllowedMACs has more than 64 (leave some out)",
    ),
    "all addresses": (
        NEEDED + "AllowedIPs = 0.0.0.0/0\n",
        "4:14: AllowedIPs cannot be bound to a key: '0.0.0.0/0' (write the host's own address)",
    ),
    "host bits": (
        NEEDED + "AllowedIPs = 10.0.0.7/24\n",
        "4:14: AllowedIPs '10.0.0.7/24' has bits set beyond its prefix (write 10.0.0.0/24)",
    ),
    "MaxMACs": (
        NEEDED + "MaxMACs = no\n",
        "4:11: MaxMACs is not 0-1048576: 'no' (0: those of AllowedMACs alone)",
    ),
    "section twice": (
        NEEDED
        + NEEDED.replace("https://etcd1", "https://b")
        .replace(PEER_A, PEER_C)
        .replace(", " + PEER_B, ""),
        "4:1: [Mesh] is given twice (first in line 1) (put its keys into one section)",
    ),
    "a key of [Interface]": (
        NEEDED + "MTU = 1400\n",
        "4:1: unknown key 'MTU' in [Mesh] (it belongs in [Interface])",
    ),
    "a key of [Mesh] elsewhere": (
        HEAD + "Node = berlin\n",
        "3:1: unknown key 'Node' in [Interface] (it belongs in [Mesh])",
    ),
    "a slip": (
        NEEDED + "Endpoint = a:1\n",
        "4:1: unknown key 'Endpoint' in [Mesh] (it belongs in [Peer])",
    ),
}


@pytest.mark.parametrize(("text", "line"), ONE_ERROR.values(), ids=list(ONE_ERROR))
def test_error_lines(text: str, line: str) -> None:
    assert errors(text) == [line]


def test_a_password_is_not_shown() -> None:
    assert "secret" not in "".join(errors(ONE_ERROR["password"][0]))


def test_warnings_of_a_mesh() -> None:
    text = (
        HEAD
        + f"Switch = yes\n[Mesh]\nEngine = http://etcd1, http://127.0.0.1\nTrustedKeys = {PEER_A}\n"
    )
    assert warnings(text + "Node = a\n") == [
        "6:1: warning: TrustedKeys has only one: when it is lost, nobody can admit or revoke a "
        "host (add the one that is locked away, from 'l2wgctl mesh keygen')",
        "5:1: warning: Engine http://etcd1:2379 is not encrypted: who listens knows every host and "
        "its addresses (write https://, and CA)",
    ]
    local = text.replace("http://etcd1, ", "").replace(PEER_A, f"{PEER_A}, {PEER_B}")
    assert warnings(local + "Node = a\n") == []


def test_an_admins_file_needs_no_private_key() -> None:
    assert warnings(NEEDED) == []
    assert warnings(NEEDED + "Node = a\n" + SWITCH) == [
        "1:1: warning: [Interface] has no PrivateKey (make one with 'l2wgctl genkey')"
    ]


def test_strip_leaves_out_the_section() -> None:
    peer = f"[Peer]\nPublicKey = {PEER_A}\n"
    text = HEAD + NEEDED + "# a comment\nAllowedIPs = 10.0.0.7/32\n" + peer
    assert files.strip(text) == HEAD + "# a comment\n" + peer


def test_peers_of_the_store_are_no_difference() -> None:
    """`reload`, `syncconf`, `diff` and `doctor` leave them alone; those of the file stay theirs."""
    config = parse.parse(HEAD + NEEDED + f"[Peer]\nPublicKey = {PEER_A}\n", "x")
    peers = tuple(Peer(Key(bytes([number]) * 32)) for number in (1, 2))
    device = Device("wg1", private_key=config.device.private_key, peers=peers)
    change, found = sync.plan(device, config.device, others_stay=True)
    assert [(c.action, str(c.peer)) for c in found if c.field == "peer"] == [("add", PEER_A)]
    assert not any(peer.remove for peer in change.peers)
    assert any(peer.remove for peer in sync.plan(device, config.device)[0].peers)


def test_save_does_not_write_them_down() -> None:
    text = HEAD + NEEDED
    config = parse.parse(text, "x")
    device: Any = config.device._replace(name="wg1", peers=(Peer(Key(b"\x01" * 32)),))
    assert edit(text, config, device, []) == text
    plain = parse.parse(HEAD, "x")
    assert "[Peer]" in edit(HEAD, plain, device, [])


def test_check_command(tmp_path: Path) -> None:
    path = tmp_path / "office.conf"
    path.write_text(WHOLE)
    path.chmod(0o600)
    assert files.load(str(path)).mesh == mesh_of(WHOLE)


def test_a_mesh_is_closed_and_keeps_what_its_agent_has_set() -> None:
    """A reload would have bound the agent's MACs to nobody, and forgotten its peers' options."""
    config = parse.parse(SWITCH + "HostMACs = 02:00:00:00:00:01\n" + NEEDED, "x")
    assert config.switch is not None and config.switch.options.new_peers == "closed"
    theirs = SWITCH_DEFAULTS._replace(
        new_peers="closed", host_macs=("02:00:00:00:00:07",), host_addresses=("10.0.0.7/32",)
    )
    state = SwitchState("x", 1, theirs, 0, 0, 1, {})
    options = PEER_DEFAULTS._replace(max_macs=0)
    made = switch.plan(state, {Key(b"\x01" * 32): options}, config)
    assert made.link == SwitchOptions(host_macs=("02:00:00:00:00:01", "02:00:00:00:00:07"))
    assert made.forget == () and made.peers == {}
    opened = parse.parse(SWITCH + "NewPeers = open\n" + NEEDED, "x").switch
    assert opened is not None and opened.options.new_peers == "open"


def test_the_file_of_the_quick_start() -> None:
    page = (Path(__file__).resolve().parents[4] / "docs/mesh.md").read_text()
    (found,) = re.findall(r"\n    \[Interface\]\n(?:(?:    .*)?\n)+", page)
    text = re.sub(r"TrustedKeys = .*", f"TrustedKeys = {PEER_A}, {PEER_B}", found)
    text = text.replace("PrivateKeyFile = office.key", f"PrivateKey = {PRIVATE}")
    text = text.replace("CA = etcd-ca.pem", "")
    assert mesh_of(text).node == "berlin"
    assert warnings("\n".join(map(str.strip, text.splitlines()))) == []


def test_check_looks_at_the_files(tmp_path: Path) -> None:
    """The agent refuses a secret that others can read; better to hear it before."""
    text = WHOLE.replace("[2001", "etcd2.example.org:2379\n#")
    found = examine(text, str(tmp_path / "wg1.conf"))[1]
    assert [str(problem).replace(str(tmp_path), "") for problem in found] == [
        f"/wg1.conf:{line}:1: warning: {name} /{file}: no such file (check the path)"
        for line, name, file in [
            (8, "CA", "ca.pem"),
            (9, "Certificate", "cert.pem"),
            (10, "Key", "key.pem"),
            (12, "PasswordFile", "password"),
        ]
    ]
    for name in ("ca.pem", "cert.pem", "key.pem", "password"):
        (tmp_path / name).touch(mode=0o644)
    (tmp_path / "password").chmod(0o600)
    (problem,) = examine(text, str(tmp_path / "wg1.conf"))[1]
    assert str(problem).replace(str(tmp_path), "") == (
        "/wg1.conf:10:1: warning: Key /key.pem is open to others (mode 0644) (chmod 600 /key.pem)"
    )

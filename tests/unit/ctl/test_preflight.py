# SPDX-License-Identifier: GPL-2.0
"""What can be known before the first step is known then: by check, and by up in the same words."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2wgctl.conf import files, preflight
from l2wgctl.model import LinkOptions, Vlan
from l2wgctl.netlink.link import Link, Route
from l2wgctl.updown import before, servers
from tests.unit.ctl.conftest import OWN, PEER_A, PRIVATE, PSK, FakeHost, Result
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.linktext import format_link
from tests.unit.ctl.test_conf import build

Run = Callable[..., Result]
Conf = Callable[..., Path]
HEAD = f"[Interface]\nPrivateKey = {PRIVATE}\n"
TAIL = f"[Peer]\nPublicKey = {PEER_A}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
NO_IPV6 = (
    "IPv6 is off on this host (sysctl net.ipv6.conf.default.disable_ipv6=0, or leave them out)"
)

#: What stands in the file's third line, what the host lacks, and the error.
CASES: dict[str, tuple[str, str, str]] = {
    "table by name": (
        "Table = nowhere",
        "",
        "3:1: Table: no routing table is named 'nowhere' (write its number, or name it in a "
        "file of "
        "/etc/iproute2/rt_tables.d)",
    ),
    "table by number": (
        "Table = 4294967296",
        "",
        "3:9: Table is neither off, auto, 1-4294967295 nor a name: '4294967296'",
    ),
    "table 0": ("Table = 0", "", "3:9: Table is neither off, auto, 1-4294967295 nor a name: '0'"),
    "DNS": (
        "DNS = 192.0.2.53",
        "resolvconf",
        "3:1: DNS needs systemd-resolved or resolvconf (apt install systemd-resolved or "
        "openresolv, "
        "or leave DNS out)",
    ),
    "search domain": (
        "DNS = example.org",
        "resolvconf",
        "3:1: DNS needs systemd-resolved or resolvconf (apt install systemd-resolved or "
        "openresolv, "
        "or leave DNS out)",
    ),
    "address twice": (
        "Address = 10.0.0.1/24, 10.0.0.1/24",
        "",
        "3:1: Address 10.0.0.1/24 is given twice (keep one of them)",
    ),
    "IPv6 address twice": (
        "Address = fd00::1/64, 10.0.0.1/24, fd00:0::1/128",
        "",
        "3:1: Address fd00::1/128 is given twice (keep one of them)",
    ),
    "address of the bridge twice": (
        "BridgeAddress = 10.0.0.1/24, 10.0.0.1/24\nBridge = br0\nBridgeCreate = yes",
        "",
        "3:1: BridgeAddress 10.0.0.1/24 is given twice (keep one of them)",
    ),
    "address of a VLAN twice": (
        "VLAN5.Address = 10.0.0.1/24, 10.0.0.1/24\nVLANs = 5",
        "",
        "3:1: VLAN5.Address 10.0.0.1/24 is given twice (keep one of them)",
    ),
    "link-local address twice": (
        "Address = fe80::1/64\nIPv6LinkLocal = fe80::1",
        "",
        "3:1: Address fe80::1/64 is given twice (keep one of them)",
    ),
    "multicast address": (
        "Address = ff02::1/64",
        "",
        "3:11: Address is a multicast address, which a link cannot have: 'ff02::1/64'",
    ),
    "loopback address": (
        "VLANs = 5\nVLAN5.Address = ::1/128",
        "",
        "4:17: VLAN5.Address is the loopback address, which a link cannot have: '::1/128'",
    ),
    "no address": (
        "Bridge = br0\nBridgeAddress = ::/64",
        "",
        "4:17: BridgeAddress is the unspecified address, which a link cannot have: '::/64'",
    ),
    "zone": (
        "\n[Peer]\nPublicKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"
        "Endpoint = [fe80::1%eth9]:5",
        "",
        "4:1: Endpoint [fe80::1%eth9]:5 names eth9, which does not exist (name the interface that "
        "leads there)",
    ),
    "MTU without room for IPv6": (
        "MTU = 1279\nAddress = fd00::1/64",
        "",
        "3:1: Address has IPv6 addresses, which need an MTU of 1280; it would be 1279 (raise "
        "MTU, or "
        "leave IPv6 out)",
    ),
    "MTU of a VLAN without room for IPv6": (
        "MTU = 1287\nVLANs = 5.6\nVLAN5.6.Address = fd00::1/64",
        "",
        "3:1: VLAN5.6.Address has IPv6 addresses, which need an MTU of 1280; it would be 1279 "
        "(raise "
        "MTU, or leave IPv6 out)",
    ),
    "IPv6": ("Address = fd00::1/64", "ipv6", f"3:1: Address has IPv6 addresses, and {NO_IPV6}"),
    "IPv6 in a VLAN": (
        "VLANs = 5\nVLAN5.Address = fd00::1/64",
        "ipv6",
        f"4:1: VLAN5.Address has IPv6 addresses, and {NO_IPV6}",
    ),
    "IPv6 for link-local addresses": (
        "IPv6LinkLocal = yes",
        "ipv6",
        "3:1: IPv6LinkLocal is given, and IPv6 is off on this host (sysctl "
        "net.ipv6.conf.default.disable_ipv6=0, or leave it out)",
    ),
    "IPv6 for routes": (
        "Kind = wireguard",
        "ipv6",
        "4:1: AllowedIPs have IPv6 networks, which get routes, and " + NO_IPV6,
    ),
    "firewall": (
        "Kind = wireguard",
        "nft iptables",
        "1:1: a default route needs nft or iptables-restore (apt install nftables, or write "
        "Table = "
        "off)",
    ),
    "firewall for IPv6": (
        "Kind = wireguard",
        "nft",
        "1:1: a default route needs nft or ip6tables-restore (apt install nftables, or write "
        "Table = "
        "off)",
    ),
    "MSSClamp": ("MSSClamp = yes", "nft", "3:1: MSSClamp needs nft (apt install nftables)"),
    "a bridge that is the link": (
        "Bridge = wg1",
        "",
        "3:1: Bridge wg1 is the link itself, or a VLAN of it (name another link)",
    ),
    "a bridge that is a VLAN": (
        "Bridge = wg1.5\nVLANs = 5",
        "",
        "3:1: Bridge wg1.5 is the link itself, or a VLAN of it (name another link)",
    ),
    "a port that is the link": (
        "BridgePorts = eth1, wg1\nBridge = br0\nBridgeCreate = yes",
        "",
        "3:1: BridgePorts wg1 is the link itself, or a VLAN of it (name another link)",
    ),
    "a key file": (
        "PrivateKeyFile = no.key",
        "key",
        "3:1: PrivateKeyFile FOLDER/no.key: no such file (check the path)",
    ),
}


def lack(host: FakeHost, words: str) -> None:
    for word in words.split():
        if word == "ipv6":
            host.ipv6_off.write_text("1\n")
        elif word == "iptables":
            host.programs -= {"iptables-restore"}
        else:
            host.programs.discard(word)


@pytest.mark.parametrize("case", CASES)
def test_check_and_up_say_the_same_before_the_first_step(
    links: FakeLinks, run: Run, conf: Conf, host: FakeHost, tmp_path: Path, case: str
) -> None:
    line, lacking, expected = CASES[case]
    host.programs |= {"iptables-restore"}
    lack(host, lacking)
    out = tmp_path / "ran"
    text = HEAD + line + "\n" + TAIL
    if lacking == "key":
        text = text.replace(f"PrivateKey = {PRIVATE}\n", "\n")
    path = conf(text)
    links.create("eth1", "")
    where = f"l2wgctl: {path}:"
    checked = run("check", path)
    errors = [found for found in checked.err.splitlines() if "warning" not in found]
    assert checked.status == 1
    assert errors[0] == where + expected.replace("FOLDER", str(tmp_path))
    ups = run("up", path)
    assert ups.status == 1
    assert [found for found in ups.err.splitlines() if "warning" not in found][0] == errors[0]
    assert "[#]" not in ups.err and links.changes == 0
    # what is about the host, a PreUp may bring about; then check warns, and up asks after that
    document = json.loads(run("check", "--json", path).out)["problems"][0]
    if document["code"] == "host":
        path = conf(text.replace("[Interface]\n", f"[Interface]\nPreUp = touch {out}\n"))
        assert run("check", path).status == 0
        before = links.state()
        ups = run("up", path)
        assert ups.status == 1 and out.exists() and links.state() == before
    else:
        assert document["code"] in ("value", "conflict", "key-file")


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("a-name-of-16-byt.conf", "", "link name is longer than 15 characters"),
        ("spa ce.conf", "", "link name is not 1-15 of"),
        ("name-of-13-by.conf", "VLANs = 5", None),
        (
            "name-of-13-by.conf",
            "VLANs = 12",
            "3:1: VLAN link name name-of-13-by.12 is longer than 15 characters (give the link a "
            "shorter name)",
        ),
        ("wg1.conf", "VLANs = 1000.1000.1000", "VLAN link name wg1.1000.1000.1000 is longer than"),
    ],
)
def test_names(
    links: FakeLinks, run: Run, conf: Conf, name: str, line: str, expected: str | None
) -> None:
    path = conf(HEAD + line + "\n" + TAIL, name)
    for command in ("check", "up"):
        result = run(command, path)
        if expected is None:
            assert result.status == 0
        else:
            assert result.status == 1 and expected in result.err and "[#]" not in result.err
    # a file that is not named after a link can be checked all the same
    assert run("check", conf(HEAD + "VLANs = 5\n" + TAIL, "some-long-name-of-a-file")).status == 0


STATE = {
    "BridgePorts = eth9\nBridge = br0": "3:1: eth9 does not exist (name a link that does)",
    "BridgePorts = eth1\nBridge = br0": "3:1: eth1 is a port of br1 (ip link set eth1 nomaster)",
    "BridgePorts = eth2\nBridge = br0": (
        "3:1: eth2 has the address 192.0.2.7/24, which a port of a bridge cannot use (move it to "
        "BridgeAddress: ip address delete 192.0.2.7/24 dev eth2)"
    ),
    "BridgePorts = eth3\nBridge = br0": (
        "3:1: eth3 has the address 192.0.2.8/24, which a port of a bridge cannot use (stop its "
        "DHCP client, and run one on br0)"
    ),
    "ListenPort = 7": "3:1: UDP port 7 is in use (choose another, or 0 for a free one)",
}


@pytest.mark.parametrize("line", STATE)
def test_up_looks_at_the_other_links(
    links: FakeLinks, run: Run, conf: Conf, host: FakeHost, line: str
) -> None:
    """check can't: they may be different when it is time."""
    for name in ("br0", "br1"):
        links.create(name, "bridge")
    links.create("eth1", "", master=links.links["br1"].ifindex)
    links.create("eth2", "")
    links.addrs["eth2"] = ["192.0.2.7/24"]
    links.create("eth3", "")
    links.leases["eth3"] = ["192.0.2.8/24"]
    host.ports.add(7)
    path = conf(HEAD + line + "\n" + TAIL)
    assert run("check", path) == (0, "", "")
    assert run("up", path) == (1, "", f"l2wgctl: {path}:{STATE[line]}\n")
    assert links.changes == 0


def test_the_way_to_the_endpoint_leaves_no_room_for_ipv6(
    links: FakeLinks, run: Run, conf: Conf
) -> None:
    """Linux would take the addresses away again, without a word."""
    links.ways["192.0.2.1"] = Route("ppp0", 1377)
    text = HEAD + "VLANs = 5.6\nVLAN5.6.Address = fd00::1/64\nAddress = fd00::1/64\n" + TAIL
    path = conf(text + "Endpoint = 192.0.2.1:5\n")
    need = "which need an MTU of 1280; it would be"
    assert run("up", path) == (
        1,
        "",
        f"l2wgctl: {path}:4:1: VLAN5.6.Address has IPv6 addresses, {need} 1275 (write MTU = 1288, "
        "or leave IPv6 out)\n",
    )
    links.ways["192.0.2.1"] = Route("ppp0", 1373)
    assert run("up", path).err.splitlines()[-1] == (
        f"l2wgctl: {path}:5:1: Address has IPv6 addresses, {need} 1279 (write MTU = 1280, or leave "
        "IPv6 out)"
    )
    assert links.changes == 0
    links.ways["192.0.2.1"] = Route("ppp0", 1382)
    assert run("up", path).status == 0


def test_all_at_once(links: FakeLinks, run: Run, conf: Conf, host: FakeHost) -> None:
    host.programs.clear()
    path = conf(HEAD + "DNS = 192.0.2.53\nTable = nowhere\nBridge = br0\n" + TAIL)
    assert len(run("up", path).err.splitlines()) == 3


def test_a_preup_may_bring_it_about(links: FakeLinks, run: Run, conf: Conf) -> None:
    """The bridge is not there before, and PreUp would make it."""
    path = conf(HEAD + "Bridge = br0\nPreUp = true\n" + TAIL)
    result = run("up", path)
    assert result.err.splitlines() == [
        "[#] true",
        f"l2wgctl: {path}:3:1: Bridge br0 does not exist (write BridgeCreate = yes)",
    ]


def test_a_port_in_use_is_found() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        assert before.in_use.__name__ == "<lambda>"  # the fixture's
        assert REAL_IN_USE(taken.getsockname()[1])
    assert not REAL_IN_USE(taken_and_freed())


REAL_IN_USE = before.in_use


def taken_and_freed() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_names_are_resolved_before_the_first_step(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "0")

    def fail(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    path = conf(HEAD + TAIL + "Endpoint = no.such.name.invalid:5\n")
    result = run("up", path)
    assert result.status == 1 and links.changes == 0
    assert result.err == (
        "l2wgctl: endpoint 'no.such.name.invalid:5' does not resolve: Name or service not known "
        "(check the name, or write the address)\n"
    )


def test_facts_of_this_host() -> None:
    host = preflight.Host()
    assert host.ifindex("lo") == 1
    with pytest.raises(OSError):
        host.ifindex("no-such-link")
    assert host.which("sh") and host.resolvectl() in (True, False)


# -- whatever check passes, up begins --------------------------------------------------------------

addresses = st.lists(
    st.sampled_from(["10.0.0.1/24", "10.0.0.2/24", "fd00::1/64", "fd00::1/128"]), max_size=3
).map(tuple)
options = build(
    LinkOptions,
    kind=st.sampled_from(["l2wireguard", "l2wireguard", "wireguard"]),
    addresses=addresses,
    mtu=st.none() | st.sampled_from([1279, 1280, 1284, 1400]),
    table=st.none() | st.sampled_from(["off", "auto", "100", "main", "nowhere", "4294967296"]),
    dns=st.sampled_from([(), ("192.0.2.53",)]),
    bridge=st.none() | st.sampled_from(["br0", "wg1"]),
    bridge_create=st.booleans(),
    bridge_addresses=addresses,
    bridge_ports=st.sampled_from([(), ("eth1",), ("wg1",), ("eth1", "eth1")]),
    bridge_stp=st.none() | st.booleans(),
    bridge_pvid=st.none() | st.integers(0, 3),
    bridge_vlans=st.sampled_from([(), ((2, 2),), ((2, 9), (4, 4))]),
    mss_clamp=st.none() | st.just(0),
    master=st.none() | st.just("bond0"),
    vlans=st.lists(
        st.builds(
            Vlan, ids=st.sampled_from([(5,), (5, 6), (1000, 1000, 1000)]), addresses=addresses
        ),
        max_size=2,
    ).map(tuple),
    ipv6_link_local=st.none() | st.sampled_from(["yes", "no", "fe80::1/64"]),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(options, st.sets(st.sampled_from(["nft", "resolvconf", "iptables-restore", "ipv6"])))
def test_what_check_passes_comes_up(
    links: FakeLinks,
    run: Run,
    conf: Conf,
    host: FakeHost,
    monkeypatch: pytest.MonkeyPatch,
    link: LinkOptions,
    lacking: set[str],
) -> None:
    """And what it does not pass, up refuses before the first step, and for the same reasons."""
    from l2wgctl.updown import changes, routing
    from l2wgctl.updown import host as parameters

    for module in (routing, changes, servers):
        monkeypatch.setattr(module, "command", lambda argv, text=None: lambda: None)
    monkeypatch.setattr(servers, "program", lambda: "resolvconf")
    monkeypatch.setattr(parameters, "read_sysctl", lambda name: "1")
    host.programs.clear()
    host.programs |= {"nft", "resolvconf", "iptables-restore", "ip6tables-restore"} - lacking
    host.ipv6_off.write_text("1\n" if "ipv6" in lacking else "0\n")
    links.__init__(links.kernel)  # type: ignore[misc]
    links.kernel.devices.clear()
    links.create("br0", "bridge")
    links.create("bond0", "bond")
    links.create("eth1", "")
    text = HEAD.replace("[Interface]\n", "[Interface]\n" + format_link(link)) + TAIL
    path = conf(text)
    before = links.state()
    checked = run("check", path)
    brought_up = run("up", path)
    assert checked.status == brought_up.status, (checked, brought_up)
    if checked.status:
        assert "[#]" not in brought_up.err and links.state() == before
        for found in brought_up.err.splitlines():
            assert found in checked.err.splitlines()
    else:
        assert run("down", path).status == 0
        assert links.state() == before


# -- key files -------------------------------------------------------------------------------------

FILES = f"[Interface]\nPrivateKeyFile = wg1.key\n[Peer]\nPublicKey = {PEER_A}\n" + (
    "PresharedKeyFile = psk\nAllowedIPs = 0.0.0.0/0, ::/0\n"
)


def test_keys_from_files(links: FakeLinks, run: Run, conf: Conf, tmp_path: Path) -> None:
    path = conf(FILES)
    conf(f"{PRIVATE}\n", "wg1.key")
    conf(f"{PSK}\n", "psk")
    assert run("check", path) == (0, "", "")
    assert run("up", path).status == 0
    device = links.kernel.devices["wg1"]
    (peer,) = device.peers.values()
    private = files.load(str(path)).device.private_key
    assert private is not None and private.reveal() == PRIVATE
    shown = run("showconf", "wg1").out
    assert f"PrivateKey = {PRIVATE}\n" in shown and f"PresharedKey = {PSK}\n" in shown
    assert run("diff", "wg1", path) == (0, "", "")
    stripped = FILES.replace("PrivateKeyFile = wg1.key", f"PrivateKey = {PRIVATE}")
    stripped = stripped.replace("PresharedKeyFile = psk", f"PresharedKey = {PSK}")
    assert run("strip", path) == (0, stripped, "")
    assert run("save", path).status == 0
    saved = path.read_text()
    assert PRIVATE not in saved and PSK not in saved
    assert "PrivateKeyFile = wg1.key\n" in saved and "PresharedKeyFile = psk\n" in saved
    assert peer is not None


@pytest.mark.parametrize(
    ("name", "content", "mode", "line"),
    [
        ("wg1.key", "x", 0o600, "2:1: PrivateKeyFile F/wg1.key: private key is not 32 bytes in b"),
        ("wg1.key", "", 0o600, "2:1: PrivateKeyFile F/wg1.key: is empty (write a key into it)"),
        ("psk", "x", 0o600, "5:1: PresharedKeyFile F/psk: preshared key is not 32 bytes in base6"),
        (
            "psk",
            PRIVATE,
            0o640,
            "5:1: warning: PresharedKeyFile F/psk is open to others (mode 06",
        ),
        (
            "wg1.key",
            PSK,
            0o644,
            "2:1: warning: PrivateKeyFile F/wg1.key is open to others (mo",
        ),
    ],
)
def test_key_files_of_no_use(
    run: Run, conf: Conf, tmp_path: Path, name: str, content: str, mode: int, line: str
) -> None:
    path = conf(FILES)
    conf(PRIVATE, "wg1.key")
    conf(PSK, "psk")
    conf(content, name, mode)
    result = run("check", path)
    assert result.err.startswith(f"l2wgctl: {path}:" + line.replace("F/", f"{tmp_path}/"))
    assert result.status == (0 if "warning" in line else 1)
    assert PRIVATE not in result.err and PSK not in result.err


@pytest.mark.parametrize("key", [PSK, PSK[:-1], PSK[:-2], "/" + PSK[1:-1]])
def test_a_key_in_place_of_its_file_is_not_printed(run: Run, conf: Conf, key: str) -> None:
    conf(PRIVATE, "wg1.key")
    path = conf(FILES.replace("= psk", f"= {key}"))
    for word in ("check", "up"):
        said = run(word, path)
        assert said.status == 1 and "(hidden): no such file" in said.err
        assert PSK[1:20] not in said.err


def test_numbers_of_other_scripts(run: Run, conf: Conf) -> None:
    """isdigit() is true of them, and int() refuses some."""
    peer = f"[Peer]\nPublicKey = {PEER_A}\nEndpoint = [fe80::1%²]:5\n"
    assert "names ², which does not exist" in run("check", conf(HEAD + peer)).err
    assert "Table is neither off, auto" in run("check", conf(HEAD + "Table = ²\n" + peer)).err


def test_key_and_file_exclude_each_other(run: Run, conf: Conf) -> None:
    text = FILES.replace("[Peer]", f"PrivateKey = {PRIVATE}\n[Peer]") + f"PresharedKey = {PSK}\n"
    assert run("check", conf(text)).err.splitlines() == [
        f"l2wgctl: {conf(text)}:2:1: PrivateKey and PrivateKeyFile exclude each other (keep one of "
        "them)",
        f"l2wgctl: {conf(text)}:6:1: PresharedKey and PresharedKeyFile exclude each other "
        f"(keep one "
        "of them)",
    ]


def test_the_own_key_from_a_file(run: Run, conf: Conf) -> None:
    path = conf(FILES.replace(PEER_A, OWN))
    conf(PRIVATE, "wg1.key")
    conf(PSK, "psk")
    assert "belongs to this link's own PrivateKey" in run("check", path).err


# -- name servers ----------------------------------------------------------------------------------


def test_who_serves_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever owns /etc/resolv.conf, if both are there."""
    installed: set[str] = set()
    resolved = tmp_path / "resolve"
    resolv_conf = tmp_path / "resolv.conf"
    for module in (servers, preflight):
        monkeypatch.setattr(module, "RESOLVED", resolved)
        monkeypatch.setattr(
            module.shutil, "which", lambda name: name if name in installed else None
        )
    monkeypatch.setattr(servers, "RESOLV_CONF", resolv_conf)
    resolv_conf.write_text("")
    assert servers.program() is None
    installed.add("resolvectl")
    assert servers.program() is None, "installed, but not running"
    installed.add("resolvconf")
    assert servers.program() == "resolvconf"
    resolved.mkdir()
    (resolved / "resolv.conf").write_text("")
    assert servers.program() == "resolvconf"
    installed.discard("resolvconf")
    assert servers.program() == "resolvectl"
    installed.add("resolvconf")
    resolv_conf.unlink()
    resolv_conf.symlink_to(resolved / "stub-resolv.conf")
    assert servers.program() == "resolvectl"


def test_resolvectl(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "program", lambda: "resolvectl")
    ran: list[str] = []
    monkeypatch.setattr(
        servers, "command", lambda argv, text=None: lambda: ran.append(" ".join(argv))
    )
    path = conf(HEAD + "DNS = 192.0.2.53, fd00::53, example.org\n" + TAIL)
    assert run("up", path).status == 0
    assert ran == [
        "resolvectl dns wg1 192.0.2.53 fd00::53",
        "resolvectl domain wg1 example.org ~.",
        "resolvectl default-route wg1 yes",
    ]
    ran.clear()
    assert run("down", path).err.splitlines() == [
        "[#] resolvectl revert wg1",
        "[#] ip link delete dev wg1",
    ]
    assert ran == ["resolvectl revert wg1"]


def test_resolved_serves_the_first_namespace_only(
    links: FakeLinks, run: Run, conf: Conf, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2wgctl.updown import record

    monkeypatch.setattr(servers, "program", lambda: "resolvectl")
    monkeypatch.setattr(record, "_FIRST", "/proc/self/ns/uts")
    path = conf(HEAD + "DNS = 192.0.2.53\n" + TAIL)
    assert run("up", path) == (
        1,
        "",
        f"l2wgctl: {path}:3:1: systemd-resolved serves the first network namespace only (leave DNS "
        "out)\n",
    )
    assert isinstance(links.need("lo", ""), Link)

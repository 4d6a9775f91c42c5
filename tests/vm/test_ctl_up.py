# SPDX-License-Identifier: GPL-2.0
"""l2wgctl up and down, doctor and monitor: whole scenarios, and failures half-way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.vm.ctl import ctl, done, file, program, unchanged, world
from toolkit.guest.hosts import LONG, MACS, Host, cable, eventually, keys, underlay

Hosts = Callable[..., list[Host]]
ALL = "0.0.0.0/0, ::/0"


def config(me: Host, peer: Host, interface: str, *, number: int = 0, allowed: str = ALL) -> str:
    """A file for one end of a tunnel over underlay() NUMBER; A is .1 there and B .2."""
    keys(me)
    keys(peer)
    last = {"A": 1, "B": 2}[peer.name]
    return (
        f"[Interface]\nPrivateKey = {me.key}\nListenPort = {51820 + number}\n{interface}\n"
        f"[Peer]\nPublicKey = {peer.public}\nEndpoint = 10.{number}.0.{last}:{51820 + number}\n"
        f"AllowedIPs = {allowed}\n"
    )


def up(host: Host, path: str) -> list[str]:
    """Bring it up in this process; the steps."""
    said = ctl(host, "up", path)
    assert (said.status, said.out) == (0, ""), said.err
    steps = said.err.splitlines()
    assert all(step.startswith("[#] ") for step in steps), said.err
    return [step[4:] for step in steps]


def test_bridge_of_two_sites(hosts: Hosts) -> None:
    """The chapter's first scenario: C and D are machines on the Ethernets of A and B.

      C             A                                 B              D
    +------+      +------+-----+-----+      +-----+-----+------+      +------+
    | eth0 |------| eth1 | br0 | wg1 |======| wg1 | br0 | eth1 |------| eth0 |
    |  .3  |      +------+ .1  +-----+      +-----+ .2  +------+      |  .4  |
    +------+      |         eth0     |------|     eth0         |      +------+
                  +------------------+      +------------------+
    """
    a, b, c, d = hosts("A", "B", "C", "D")
    underlay(a, b)
    cable(a, c, "eth1", "eth0")
    cable(b, d, "eth1", "eth0")
    for host, last in ((c, 3), (d, 4)):
        host.ip(f"address add 192.168.157.{last}/24 dev eth0", "link set eth0 mtu 1406")
    before = world(a)
    for me, peer, last in ((a, b, 1), (b, a, 2)):
        interface = (
            f"Bridge = br0\nBridgeCreate = yes\nBridgeAddress = 192.168.157.{last}/24\n"
            "BridgePorts = eth1\nMSSClamp = yes\nPrivateKeyFile = wg1.key\n"
        )
        text = config(me, peer, interface).replace(f"PrivateKey = {me.key}\n", "")
        path = file(me, text)
        file(me, me.key, "wg1.key")
        assert done(me, "check", path) == ""
        steps = (
            "[#] ip link add dev wg1 type l2wireguard\n"
            f"[#] l2wgctl setconf wg1 {path}\n"
            "[#] ip link add dev br0 type bridge\n"
            "[#] ip link set dev wg1 master br0\n"
            f"[#] ip -4 address add 192.168.157.{last}/24 dev br0\n"
            "[#] ip link set dev br0 up\n"
            "[#] ip link set dev eth1 master br0\n"
            "[#] nft -f -\n"
            "[#] ip link set mtu 1406 up dev wg1\n"
        )
        assert ctl(me, "up", "--dry-run", path) == (0, "", steps)
        assert not me.ok("ip", "link", "show", "wg1")
        # on A the program that people start
        assert (program if me is a else ctl)(me, "up", path) == (0, "", steps)
    assert a.link("wg1")["master"] == a.link("eth1")["master"] == "br0"
    assert a.link("br0")["mtu"] == 1406
    c.ping("192.168.157.4", "-s", "1378", "-M", "do")
    d.ping("192.168.157.1")
    a.ping("192.168.157.2")
    # what it is, and how it does
    said = ctl(a, "doctor", "wg1")
    assert (said.status, said.err) == (0, "")
    assert re.fullmatch(
        r"OK   module: l2wireguard \S+ is loaded\n"
        r"OK   flavour: alone: kinds wireguard and l2wireguard, family wireguard\n"
        r"OK   clock: 2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d UTC\n"
        r"OK   link: wg1 is up, kind l2wireguard, MTU 1406\n"
        r"OK   bridge: wg1 is a forwarding port of br0\n"
        rf"OK   owner: ARP, VLAN and other frames without IP go to peer {re.escape(b.public)}\n"
        rf"OK   peer {re.escape(b.public)}: handshake \d+ s ago\n"
        r"OK   mtu: 1406 \+ 94 fits eth0 \(1500\)\n",
        said.out,
    ), said.out
    # a second time is an error, and leaves what is there
    assert ctl(a, "up", path.replace("-B", "-A")) == (
        1,
        "",
        "l2wgctl: up: wg1 already exists (take it down first: l2wgctl down wg1)\n",
    )
    c.ping("192.168.157.4")
    down = program(a, "down", path.replace("-B", "-A"))
    assert down == (
        0,
        "",
        "[#] nft delete table bridge l2wgctl-wg1\n[#] ip link delete dev wg1\n"
        "[#] ip link set dev eth1 nomaster\n[#] ip link delete dev br0\n",
    )
    unchanged(a, before)


def test_monitor(pair: list[Host]) -> None:
    a, b = pair
    a.ping("192.168.157.2")
    ping = a.start("ping", "-q", "-i", "0.2", "-s", "1000", "192.168.157.2")

    # there may be seconds without a ping on a slow machine
    def lines() -> bool:
        said = ctl(a, "monitor", "wg1", "--interval", "1", "--count", "3")
        assert (said.status, said.err) == (0, "")
        lines = said.out.splitlines()
        assert len(lines) == 3
        for line in lines:
            assert re.fullmatch(
                rf"wg1 peer={re.escape(b.public)} endpoint=10\.0\.0\.2:51820 rx=\d+ tx=\d+ "
                r"rx_rate=(-|\d+) tx_rate=(-|\d+) handshake=\d+",
                line,
            )
        assert "rx_rate=- tx_rate=- " in lines[0]
        return int(lines[2].split("rx_rate=")[1].split()[0]) > 0

    def documents() -> bool:
        said = done(a, "--json", "monitor", "--interval", "0.5", "--count", "2").splitlines()
        first, second = (json.loads(line)["peers"][0] for line in said)
        assert first["rx_rate"] is None and second["rx_rate"] is not None
        assert (second["rx_rate"] > 0) == (second["rx_bytes"] > first["rx_bytes"])
        return bool(second["rx_rate"] > 0)

    eventually(lines, "a rate")
    eventually(documents, "a rate in JSON")
    ping.terminate()


def test_vlans(hosts: Hosts) -> None:
    """The chapter's second scenario."""
    a, b = hosts("A", "B")
    underlay(a, b)
    before = world(a)
    for me, peer, last in ((a, b, 1), (b, a, 2)):
        interface = (
            f"Address = 192.168.157.{last}/24, fd00:157::{last}/64\n"
            f"MACAddress = {MACS[last - 1]}\nVLANs = 128, 128.127\n"
            f"VLAN128.Address = 192.168.158.{last}/24\n"
            f"VLAN128.127.Address = 192.168.159.{last}/24\nIPv6LinkLocal = yes\n"
        )
        path = file(me, config(me, peer, interface))
        up(me, path)
    assert a.link("wg1")["address"] == MACS[0]
    mtus = [a.link(name)["mtu"] for name in ("wg1", "wg1.128", "wg1.128.127")]
    assert mtus == [1406, 1402, 1398]
    info = a.link("wg1.128.127")
    assert info["link"] == "wg1.128"
    assert info["linkinfo"]["info_data"]["id"] == 127
    assert "fe80::ca:feff:fef0:e04/64" in a.run("ip", "-6", "address", "show", "dev", "wg1")
    a.ping("192.168.157.2")
    a.ping("192.168.158.2", "-s", "1374", "-M", "do")
    a.ping("192.168.159.2", "-s", "1370", "-M", "do")
    path = path.replace("-B", "-A")
    # what has changed since comes into the file, and goes from it
    a.run("ip", "address", "add", "192.168.150.1/24", "dev", "wg1")
    done(a, "set", "wg1", "peer", b.public, "persistent-keepalive", "30")
    text = Path(path).read_text()
    Path(path).write_text(f"# A's\n{text}")
    assert done(a, "save", path) == ""
    assert Path(path).stat().st_mode & 0o777 == 0o600
    addresses = "Address = 192.168.157.1/24, fd00:157::1/64"
    assert Path(path).read_text() == (
        f"# A's\n{text}PersistentKeepalive = 30\n".replace(
            addresses, f"{addresses}, 192.168.150.1/24"
        )
    )
    # what `wg` can do with it
    wg = file(a, done(a, "strip", path), "stripped")
    a.run("wg", "syncconf", "wg1", wg)
    assert done(a, "diff", "wg1", path) == ""
    assert ctl(a, "down", path).status == 0
    unchanged(a, before)
    up(a, path)
    a.ping("192.168.159.2")
    assert "192.168.150.1/24" in a.run("ip", "address", "show", "dev", "wg1")


def test_bond(hosts: Hosts) -> None:
    """The chapter's third scenario: two tunnels in one bond with LACP, of which one dies.

      A                                     B
    +-------+------------+              +------------+-------+
    | bond0 |  wg1, eth0 |==============|  wg1, eth0 | bond0 |
    |  .1   |  wg2, eth1 |==============|  wg2, eth1 |   .2  |
    +-------+------------+              +------------+-------+
    """
    a, b = hosts("A", "B")
    for number in (0, 1):
        underlay(a, b, number)
    for me, peer, last in ((a, b, 1), (b, a, 2)):
        me.ip(
            "link add bond0 mtu 1406 type bond mode 802.3ad miimon 100 lacp_rate fast",
            f"address add 192.168.157.{last}/24 dev bond0",
        )
        for number in (0, 1):
            path = file(me, config(me, peer, "Master = bond0\n", number=number), f"wg{number + 1}")
            steps = up(me, path)
            assert f"ip link set dev wg{number + 1} master bond0" in steps
        me.ip("link set bond0 up")

    def ports() -> int:
        info = json.loads(a.run("ip", "-j", "-d", "link", "show", "bond0"))[0]
        return int(info["linkinfo"]["info_data"].get("ad_info", {}).get("num_ports", 0))

    eventually(lambda: ports() == 2, "both links are in one aggregator")
    eventually(lambda: a.ok("ping", "-c", "1", "-W", "1", "192.168.157.2"), "it pings")
    said = ctl(a, "doctor")
    assert said.status == 0, said.out
    a.run("ip", "link", "set", "eth0", "down")
    eventually(
        lambda: a.ok("ping", "-c", "2", "-i", "0.2", "-W", "1", "192.168.157.2"),
        "traffic goes on over the second link",
    )
    for name in ("wg1", "wg2"):
        assert ctl(a, "down", path.replace("-B", "-A").replace("wg2", name)).status == 0
    assert "master bond0" not in a.run("ip", "link")


def test_a_failure_half_way_leaves_nothing_behind(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    before = world(a)
    interface = (
        "Bridge = br0\nBridgeCreate = yes\nBridgeAddress = 192.168.157.1/24\n"
        "VLANs = 7\nVLAN7.Address = 192.168.158.1/24\n"
    )

    def fail(more: str, name: str = "wg1") -> list[str]:
        said = ctl(a, "up", file(a, config(a, b, interface + more), name))
        assert (said.status, said.out) == (1, "")
        unchanged(a, before)
        return said.err.splitlines()

    # the last step of all
    assert fail("PostUp = exit 3\n")[-3:] == [
        "[#] ip link delete dev br0",
        "[#] ip link delete dev wg1",
        "l2wgctl: command 'exit 3' ended with status 3",
    ]
    # what PreUp has brought about is seen after it, and before anything else is done
    lines = fail("PreUp = ip link add wg1.7 type dummy\nPostDown = ip link delete wg1.7\n")
    assert lines == [
        "[#] ip link add wg1.7 type dummy",
        "[#] ip link delete wg1.7",
        "l2wgctl: /etc/l2wg-A/wg1.conf:7:1: wg1.7 already exists (ip link delete wg1.7)",
    ]
    # a name that does not resolve
    path = file(a, config(a, b, interface).replace("10.0.0.2:", "no.such.name.invalid:"))
    said = ctl(a, "up", path, WG_ENDPOINT_RESOLUTION_RETRIES="0")
    assert said.status == 1 and "no.such.name.invalid" in said.err.splitlines()[-1]
    assert "[#]" not in said.err
    unchanged(a, before)
    # what would fail is refused before the first step
    no_bridge = config(a, b, "Bridge = br9\n")
    assert ctl(a, "up", file(a, no_bridge)) == (
        1,
        "",
        "l2wgctl: /etc/l2wg-A/wg1.conf:4:1: Bridge br9 does not exist (write BridgeCreate = yes)\n",
    )
    assert fail("", "name-of-15-byte")[-1] == (
        "l2wgctl: /etc/l2wg-A/name-of-15-byte.conf:7:1: VLAN link name name-of-15-byte.7 is longer "
        "than 15 characters "
        "(give the link a shorter name)"
    )


def test_an_interrupted_up_leaves_nothing_behind(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    before = world(a)
    marker = Path("/tmp/post-up")
    marker.unlink(missing_ok=True)
    path = file(a, config(a, b, f"VLANs = 7\nPostUp = touch {marker}; exec sleep 1000\n"))
    process = subprocess.Popen(
        ["ip", "netns", "exec", a.name, sys.executable, "-m", "l2wgctl", "up", path],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(marker.exists, "up has come to its last step")
    process.terminate()
    _, err = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "[#] ip link delete dev wg1"
    unchanged(a, before)


def test_plain_kind_with_the_default_route(hosts: Hosts) -> None:
    """As wg-quick does it: a table of its own, rules, and a firewall against spoofing.

      A                                     B
    +--------------------+              +--------------------+
    | default route: wg1 |==============| wg1                |
    | eth0 10.0.0.1      |--------------| eth0 10.0.0.2      |
    +--------------------+              | lo   192.0.2.1     |
                                        +--------------------+
    """
    a, b = hosts("A", "B")
    underlay(a, b)
    nft = ("nft", "list", "ruleset")
    before = world(a, *nft)
    for me, peer, last in ((a, b, 1), (b, a, 2)):
        interface = f"Kind = wireguard\nAddress = 192.168.157.{last}/32\n"
        if me is b:
            interface += "Table = off\nPostUp = ip route add 192.168.157.1 dev %i\n"
        path = file(me, config(me, peer, interface))
        steps = up(me, path)
        if me is a:
            assert "ip -4 rule add not fwmark 51820 table 51820" in steps
    assert a.link("wg1")["mtu"] == 1420
    assert done(a, "show", "wg1", "fwmark") == "0xca6c\n"
    assert "dev wg1 table 51820" in a.run("ip", "route", "get", "192.0.2.1")
    b.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
    a.ping("192.0.2.1")
    assert ctl(a, "down", path.replace("-B", "-A")).status == 0
    unchanged(a, before, *nft)


def test_the_mtu_is_that_of_the_way_to_the_endpoint(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b, mtu=1400)
    path = file(a, config(a, b, ""))
    assert up(a, path)[-1] == "ip link set mtu 1306 up dev wg1"
    a.ip("link set wg1 mtu 1406")
    said = ctl(a, "doctor", "wg1")
    assert (
        "WARN mtu: wg1 has MTU 1406, eth0 towards 10.0.0.2:51820 has 1400: large frames are "
        "fragmented or lost (ip link set mtu 1306 dev wg1)\n"
    ) in said.out
    assert ctl(a, "down", path).status == 0
    a.run("ip", "route", "add", "10.0.0.2/32", "dev", "eth0", "mtu", "1300")
    assert up(a, path)[-1] == "ip link set mtu 1206 up dev wg1"


def test_name_servers(hosts: Hosts, tmp_path: Path) -> None:
    """resolvconf(8) is called; here a script takes its place and records how."""
    a, b = hosts("A", "B")
    underlay(a, b)
    log = tmp_path / "log"
    script = tmp_path / "resolvconf"
    script.write_text(f'#!/bin/sh\necho "$*" >>{log}\n[ "$1" = -d ] || cat >>{log}\n')
    script.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    path = file(a, config(a, b, "DNS = 10.9.9.9, example.org\nSaveConfig = yes\n"))
    assert ctl(a, "up", path, **environment).status == 0
    assert log.read_text() == "-a wg1 -m 0 -x\nnameserver 10.9.9.9\nsearch example.org\n"
    a.run("ip", "address", "add", "192.168.150.1/24", "dev", "wg1")
    assert ctl(a, "down", path, **environment).status == 0
    assert log.read_text().endswith("-d wg1 -f\n")
    assert "Address = 192.168.150.1/24\n" in Path(path).read_text()


def test_doctor_says_what_is_wrong(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    keys(b)

    def doctor(*words: str) -> list[str]:
        said = ctl(a, "doctor", *words)
        assert (said.status, said.err) == (1, "")
        found = said.out.splitlines()
        assert json.loads(ctl(a, "--json", "doctor", *words).out)["ok"] is False
        # frames that had no peer are counted for ever, and may be few or many
        lost = re.compile(r"WARN counters: \d+ frames could not be sent: .*")
        return [line for line in found if not line.startswith("OK ") and not lost.fullmatch(line)]

    assert doctor("wg1") == ["FAIL link: wg1 does not exist (l2wgctl up wg1)"]
    assert doctor("lo") == [
        "FAIL link: lo is of kind physical, which is no tunnel's "
        "(name a tunnel: l2wgctl show interfaces)"
    ]
    done(a, "add", "wg1")
    assert doctor() == [
        "FAIL link: wg1 is down (ip link set wg1 up)",
        "FAIL key: wg1 has no private key (l2wgctl set wg1 private-key FILE)",
        "FAIL peers: wg1 has no peers (l2wgctl setconf wg1 FILE)",
    ]
    done(a, "setconf", "wg1", file(a, config(a, b, "", allowed="10.7.0.0/16")))
    a.ip("link set wg1 up")
    owner, peer = doctor()
    assert owner == (
        "FAIL owner: no peer's AllowedIPs hold 0.0.0.0: no ARP, VLAN or other frame without IP "
        "will cross (add 0.0.0.0/0 (or 0.0.0.0/32) to the AllowedIPs of the peer that shall have "
        "them)"
    )
    never = f"FAIL peer {b.public}: never a handshake "
    assert peer == never + (
        "(nothing has been sent yet: ping the other side, or set PersistentKeepalive = 25)"
    )
    # B is not there
    done(
        a,
        "set",
        "wg1",
        "peer",
        b.public,
        "persistent-keepalive",
        "1",
        "allowed-ips",
        "::/0,0.0.0.0/0",
    )
    eventually(lambda: "bytes went out and none came back" in doctor()[-1], "handshakes go out")
    done(a, "set", "wg1", "peer", b.public, "endpoint", "203.0.113.1:5")
    assert doctor() == [never + "(there is no route to 203.0.113.1: ip route get 203.0.113.1)"]
    # a way into the tunnel itself
    a.ip("address add 192.168.157.1/24 dev wg1")
    done(a, "set", "wg1", "peer", b.public, "endpoint", "192.168.157.9:5")
    assert any("leads into the tunnel itself" in line for line in doctor())
    # two tunnels in one bridge, which spanning tree has not been told of
    done(a, "add", "wg2")
    a.ip("link add br0 type bridge", "link set wg1 master br0", "link set wg2 master br0")
    a.ip("link set br0 mtu 1500", "link set br0 up")
    found = "\n".join(doctor("wg1"))
    assert "WARN stp: br0 has several tunnels and no spanning tree" in found
    a.ip("link set br0 type bridge stp_state 1")
    waiting = re.compile(r"WARN bridge: wg1 is (listening|learning) in br0 \(wait for .*\)")

    def waits() -> bool:
        """For 30 s, in which a slow machine may not come to ask."""
        a.ip("link set wg1 down", "link set wg1 up")
        return any(waiting.fullmatch(line) for line in doctor("wg1"))

    eventually(waits, "wg1 is not forwarding yet")

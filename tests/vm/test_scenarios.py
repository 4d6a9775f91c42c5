# SPDX-License-Identifier: GPL-2.0
"""The eight scenarios of the specification, with the tools that people use for them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.vm import wire
from toolkit.guest.hosts import MACS, Host, cable, capture, eventually, sh, tunnel, underlay

Hosts = Callable[..., list[Host]]


def test_1_ping_with_arp(pair: list[Host]) -> None:
    """ARP finds B, and the ping arrives.

      A                                     B
    +--------------------+              +--------------------+
    | wg1  192.168.157.1 |==============| wg1  192.168.157.2 |
    | eth0 10.0.0.1      |--------------| eth0 10.0.0.2      |
    +--------------------+    cable     +--------------------+
    """
    a, b = pair
    with capture(b, "wg1", "arp") as file:
        a.ping("192.168.157.2")
    request, *others = wire.read(file)
    # before there is a session, A may have asked more than once
    reply = next(x for x in others if x[20:22] == b"\0\2")
    assert request[:6] == b"\xff" * 6 and request[6:12] == wire.A
    assert reply == wire.A + wire.B + b"\x08\x06" + reply[14:] and len(reply) == 42
    assert MACS[1] in a.run("ip", "neighbour", "show", "192.168.157.2")


def test_2_bridge(hosts: Hosts) -> None:
    """C and B are on one Ethernet, by A's bridge.

      C                        A                               B
    +--------------------+   +------+-------+-----+      +--------------------+
    | eth0 192.168.157.3 |---| eth1 |  br0  | wg1 |======| wg1  192.168.157.2 |
    +--------------------+   +------+  .1   +-----+      |                    |
                             |        eth0        |------| eth0               |
                             +--------------------+      +--------------------+
    """
    a, b, c = hosts("A", "B", "C")
    underlay(a, b)
    cable(a, c, "eth1", "eth0")
    tunnel(a, b, addresses=False)
    a.run("ip", "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
    for port in ("wg1", "eth1"):
        a.run("ip", "link", "set", port, "master", "br0")
    a.run("ip", "link", "set", "br0", "up")
    a.run("ip", "address", "add", "192.168.157.1/24", "dev", "br0")
    b.run("ip", "address", "add", "192.168.157.2/24", "dev", "wg1")
    c.run("ip", "address", "add", "192.168.157.3/24", "dev", "eth0")
    b.ping("192.168.157.1")
    b.ping("192.168.157.3")
    c.ping("192.168.157.2")
    # the bridge has learnt B's address behind the tunnel
    address = str(b.link("wg1")["address"])
    assert f"{address} dev wg1" in a.run("bridge", "fdb", "show", "br", "br0")
    # whatever C's card sends crosses both, unchanged
    frame = wire.talk()["ddp-nbp-lookup"]
    with capture(b, "wg1", options="-Q in", until=lambda file: frame in wire.read(file)):
        wire.send(c, "eth0", frame)


@pytest.mark.parametrize("name", ["aarp-probe", "ddp-nbp-lookup", "ipx-rip-request"])
def test_3_appletalk_and_ipx(pair: list[Host], name: str) -> None:
    """Frames that are not IP, from A's packet socket to B.

      A                                     B
    +--------------------+              +--------------------+
    | packet socket, wg1 |==============| wg1, tcpdump       |
    +--------------------+              +--------------------+
    """
    a, b = pair
    wire.still(a, b)
    frame = wire.talk()[name]
    assert wire.cross(a, b, frame) == [frame]


def test_4_pause_for_another_device(pair: list[Host]) -> None:
    """A PAUSE frame for another device's address, from B's packet socket to A.

      A                                     B
    +--------------------+              +--------------------+
    | tcpdump, wg1       |==============| wg1, packet socket |
    +--------------------+              +--------------------+
    """
    a, b = pair
    wire.still(a, b)
    frame = wire.talk()["pause"]
    assert wire.cross(b, a, frame) == [frame]


def test_5_pppoe(pair: list[Host], tmp_path: Path) -> None:
    """A serves PPPoE on its link, and B dials in.

      A                                     B
    +--------------------+              +---------------------+
    | ppp0 192.168.159.1 |..... PPP ....| ppp9 192.168.159.10 |
    | pppoe-server, wg1  |==============| wg1, pppd           |
    +--------------------+              +---------------------+
    """
    a, b = pair
    # without it there is no /dev/ppp, and pppd gives up
    sh("modprobe", "pppoe")
    options = tmp_path / "options"
    options.write_text("noauth\nnodetach\nnoccp\nlcp-echo-interval 2\n")
    a.start(
        *("pppoe-server", "-F", "-I", "wg1", "-L", "192.168.159.1", "-R", "192.168.159.10"),
        *("-N", "1", "-O", str(options), "-C", "l2wg", "-S", "l2wg"),
    )
    b.start(
        *("pppd", "plugin", "rp-pppoe.so", "nic-wg1", "noauth", "nodetach", "noccp"),
        *("noipdefault", "nodefaultroute", "ifname", "ppp9", "debug"),
        # it may be here before the server is, and gives up after 35 s
        *("persist", "maxfail", "0", "holdoff", "1"),
    )
    eventually(
        lambda: "192.168.159.10" in b.run("ip", "address", "show", "dev", "ppp9", check=False),
        "the PPPoE session has an address",
    )
    # 1406 minus PPPoE and PPP headers
    assert b.link("ppp9")["mtu"] == 1398
    b.ping("192.168.159.1")
    b.ping("192.168.159.1", "-s", "1370", "-M", "do")


def vlan(host: Host, link: str, number: int, address: str = "", protocol: str = "802.1Q") -> None:
    name = f"{link}.{number}"
    host.run(
        *("ip", "link", "add", "link", link, "name", name, "type", "vlan"),
        *("protocol", protocol, "id", str(number)),
    )
    host.run("ip", "link", "set", name, "up")
    if address:
        host.run("ip", "address", "add", address, "dev", name)


def test_6_vlan_and_vlan_in_vlan(pair: list[Host]) -> None:
    """VLAN 128 on the link, and VLAN 127 within it.

      A                                           B
    +---------------------------+             +---------------------------+
    | wg1.128.127 192.168.159.1 |             | wg1.128.127 192.168.159.2 |
    | wg1.128     192.168.158.1 |             | wg1.128     192.168.158.2 |
    | wg1                       |=============| wg1                       |
    +---------------------------+             +---------------------------+
    """
    for host, last in zip(pair, (1, 2)):
        vlan(host, "wg1", 128, f"192.168.158.{last}/24")
        vlan(host, "wg1.128", 127, f"192.168.159.{last}/24")
    a, b = pair
    with capture(b, "wg1", "vlan and icmp", options="-Q in") as file:
        a.ping("192.168.158.2")
    assert wire.read(file)[0][12:18] == bytes.fromhex("810000800800")
    with capture(b, "wg1", options="-Q in") as file:
        a.ping("192.168.159.2")
    assert any(p[12:22] == bytes.fromhex("810000808100007f0800") for p in wire.read(file))


def test_7_qinq_and_pbb(pair: list[Host]) -> None:
    """A VLAN within a service VLAN (802.1ad), and a frame of a provider's backbone (802.1ah).

      A                                           B
    +---------------------------+             +---------------------------+
    | wg1.128.127 192.168.159.1 |             | wg1.128.127 192.168.159.2 |
    | wg1.128     (802.1ad)     |             | wg1.128     (802.1ad)     |
    | wg1                       |=============| wg1                       |
    +---------------------------+             +---------------------------+
    """
    a, b = pair
    for host, last in zip(pair, (1, 2)):
        vlan(host, "wg1", 128, protocol="802.1ad")
        vlan(host, "wg1.128", 127, f"192.168.159.{last}/24")
    with capture(b, "wg1", options="-Q in") as file:
        a.ping("192.168.159.2")
    assert any(p[12:22] == bytes.fromhex("88a800808100007f0800") for p in wire.read(file))
    for host in pair:
        # they have something to say by IPv6
        host.ip("link delete wg1.128")
    wire.still(a, b)
    pbb = wire.talk()["pbb-ipv4"]
    assert wire.cross(a, b, pbb) == [pbb]


def test_8_lacp_pdus_are_carried(pair: list[Host]) -> None:
    """A LACPDU, from A's packet socket to B.

      A                                     B
    +--------------------+              +--------------------+
    | packet socket, wg1 |==============| wg1, tcpdump       |
    +--------------------+              +--------------------+
    """
    a, b = pair
    wire.still(a, b)
    pdu = wire.talk()["lacpdu"]
    assert wire.cross(a, b, pdu) == [pdu]


def two_tunnels(hosts: Hosts, kind: str = "l2wireguard") -> list[Host]:
    """Two links over two cables, for a bond or a team on top.

      A                                     B
    +------------+-------+              +-------+------------+
    |            |  wg1  |==============|  wg1  |            |
    | bond, team |  eth0 |--------------|  eth0 | bond, team |
    |            +-------+              +-------+            |
    |            |  wg2  |==============|  wg2  |            |
    | .157.1     |  eth1 |--------------|  eth1 |     .157.2 |
    +------------+-------+              +-------+------------+
    """
    a, b = hosts("A", "B")
    for number in (0, 1):
        underlay(a, b, number)
        tunnel(a, b, f"wg{number + 1}", kind=kind, number=number, addresses=False)
    return [a, b]


def carrying(a: Host) -> list[int]:
    """The links that five pings of 1,000 bytes went by, all of which came back; otherwise none."""
    before = [a.stat(f"wg{n}", "tx_bytes") for n in (1, 2)]
    if not a.ok("ping", "-c", "5", "-i", "0.2", "-W", "1", "-s", "1000", "192.168.157.2"):
        return []
    grown = [a.stat(f"wg{n}", "tx_bytes") - x for n, x in zip((1, 2), before)]
    return [n for n, more in zip((1, 2), grown) if more > 5000]


def fail_over(a: Host) -> None:
    """The cable under the link that carries the traffic dies; traffic goes on over the other.

    Each ping is a flow of its own to the bond's hash, and LACP drops a dead port only after three
    missing PDUs: until then, some flows stop and others don't.
    """
    used: list[int] = []

    def one_link_carries() -> bool:
        used[:] = carrying(a)
        return len(used) == 1

    eventually(one_link_carries, "pings over one of the links")
    a.run("ip", "link", "set", f"eth{used[0] - 1}", "down")
    eventually(lambda: carrying(a) == [3 - used[0]], "traffic goes on over the second link")


@pytest.mark.parametrize("kind", ["l2wireguard", "l2wgswitch"])
def test_8_bond_with_lacp_fails_over(hosts: Hosts, kind: str) -> None:
    """LACP joins both links of :func:`two_tunnels`; one cable dies, and the other carries on."""
    a, b = two_tunnels(hosts, kind)
    for host, last in ((a, 1), (b, 2)):
        host.run(
            *("ip", "link", "add", "bond0", "type", "bond", "mode", "802.3ad"),
            *("lacp_rate", "fast", "miimon", "100", "xmit_hash_policy", "layer3+4"),
        )
        for port in ("wg1", "wg2"):
            host.run("ip", "link", "set", port, "down")
            host.run("ip", "link", "set", port, "master", "bond0")
        host.run("ip", "link", "set", "bond0", "up")
        host.run("ip", "address", "add", f"192.168.157.{last}/24", "dev", "bond0")

    def aggregated() -> bool:
        info = json.loads(a.run("ip", "-j", "-d", "link", "show", "bond0"))[0]
        return bool(info["linkinfo"]["info_data"].get("ad_info", {}).get("num_ports") == 2)

    eventually(aggregated, "both links are in one aggregator")
    fail_over(a)


@pytest.mark.timeout(600)
def test_bond_that_watches_by_arp_is_calm(hosts: Hosts) -> None:
    """There is no carrier to go by, so this is how a tunnel is watched. Nothing is broken here."""
    a, b = two_tunnels(hosts)
    for host, last in ((a, 1), (b, 2)):
        host.run(
            *("ip", "link", "add", "bond0", "type", "bond", "mode", "active-backup"),
            *("arp_interval", "2000", "arp_ip_target", f"192.168.157.{3 - last}"),
        )
        for port in ("wg1", "wg2"):
            host.run("ip", "link", "set", port, "down")
            host.run("ip", "link", "set", port, "master", "bond0")
        host.run("ip", "link", "set", "bond0", "up")
        host.run("ip", "address", "add", f"192.168.157.{last}/24", "dev", "bond0")

    def state(host: Host) -> tuple[str, int]:
        """The active link, and how often the bond has given it up."""
        said = host.run("cat", "/proc/net/bonding/bond0")
        active = re.findall(r"^Currently Active Slave: (\S+)", said, re.MULTILINE)[0]
        about = said.split(f"Slave Interface: {active}\n")[1]
        return active, int(re.findall(r"^Link Failure Count: (\d+)", about, re.MULTILINE)[0])

    eventually(lambda: a.ok("ping", "-c", "1", "-W", "1", "192.168.157.2"), "the bond is up")

    def calm() -> bool:
        """Not on a machine that stands still for longer than the bond waits for its ARP."""
        began = time.monotonic()
        before = [state(host) for host in (a, b)]
        # The other link is not the test's business: nothing arrives by it, so it is called down.
        said = a.run("ping", "-n", "-c", "15", "-i", "1", "-W", "5", "192.168.157.2")
        found = " 15 received" in said and [state(host) for host in (a, b)] == before
        slowest = re.search(r"= [\d.]+/[\d.]+/([\d.]+)", said)
        in_time = time.monotonic() - began < 18 and slowest and float(slowest[1]) < 1000
        assert found or not in_time, (before, [state(host) for host in (a, b)], said)
        return found

    eventually(calm, "the bond is calm")


@pytest.fixture
def teams() -> Iterator[None]:
    """teamd keeps its files in /run, for all namespaces."""
    yield
    for name in ("teamA", "teamB"):
        sh("teamd", "-k", "-t", name, check=False)


@pytest.mark.usefixtures("teams")
def test_8_team_with_lacp_fails_over(hosts: Hosts) -> None:
    """The same with a team: LACP in user space, by teamd."""
    a, b = two_tunnels(hosts)
    for host, last in ((a, 1), (b, 2)):
        team = f"team{host.name}"
        for port in ("wg1", "wg2"):
            host.run("ip", "link", "set", port, "down")
        config = {
            "device": team,
            "runner": {"name": "lacp", "active": True, "fast_rate": True, "tx_hash": ["ipv4"]},
            "link_watch": {"name": "ethtool"},
            "ports": {"wg1": {}, "wg2": {}},
        }
        host.run("teamd", "-d", "-t", team, "-c", json.dumps(config))
        host.run("ip", "link", "set", team, "up")
        host.run("ip", "address", "add", f"192.168.157.{last}/24", "dev", team)
    fail_over(a)

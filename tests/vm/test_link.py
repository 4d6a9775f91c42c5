# SPDX-License-Identifier: GPL-2.0
"""The link kind: what `ip`, `wg` and `ethtool` see of it, and its life from add to delete."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from toolkit.guest.hosts import (
    MACS,
    Failed,
    Host,
    eventually,
    keys,
    no_more_memory,
    sh,
    tunnel,
    underlay,
)

Hosts = Callable[..., list[Host]]


@pytest.fixture
def host(hosts: Hosts) -> Host:
    """One host with nothing in it."""
    return hosts("H")[0]


def add(host: Host, name: str = "wg1", *options: str, kind: str = "l2wireguard") -> None:
    host.run("ip", "link", "add", "dev", name, *options, "type", kind)


@pytest.mark.newest
def test_it_is_an_ethernet_interface(host: Host) -> None:
    add(host)
    host.run("ip", "link", "set", "wg1", "up")
    link = host.link("wg1")
    assert link["link_type"] == "ether"
    assert {"BROADCAST", "MULTICAST", "UP", "LOWER_UP"} == set(link["flags"])
    assert link["mtu"] == 1406
    assert link["broadcast"] == "ff:ff:ff:ff:ff:ff"
    assert link["linkinfo"]["info_kind"] == "l2wireguard"
    assert Path("/sys/class/net").is_dir()
    assert "DEVTYPE=l2wireguard" in host.run("cat", "/sys/class/net/wg1/uevent")


@pytest.mark.newest
def test_the_plain_kind_is_as_it_was(host: Host) -> None:
    add(host, "wg0", kind="wireguard")
    host.run("ip", "link", "set", "wg0", "up")
    link = host.link("wg0")
    assert link["link_type"] == "none"
    assert {"POINTOPOINT", "NOARP", "UP", "LOWER_UP"} == set(link["flags"])
    assert link["mtu"] == 1420
    assert "DEVTYPE=wireguard" in host.run("cat", "/sys/class/net/wg0/uevent")
    assert "fe80" not in host.run("ip", "-6", "address", "show", "dev", "wg0")
    with pytest.raises(Failed):
        host.run("ip", "link", "set", "wg0", "address", MACS[0])


def test_new_links_have_random_local_addresses(host: Host) -> None:
    seen = set()
    for i in range(8):
        add(host, f"wg{i}")
        address = str(host.link(f"wg{i}")["address"])
        first = int(address[:2], 16)
        assert first & 0x03 == 0x02, f"{address} is not unicast and locally administered"
        seen.add(address)
    assert len(seen) == 8


def test_the_address_can_be_given_and_changed_while_up(host: Host) -> None:
    add(host, "wg1", "address", MACS[0])
    assert host.link("wg1")["address"] == MACS[0]
    host.run("ip", "link", "set", "wg1", "up")
    host.run("ip", "link", "set", "wg1", "address", MACS[1])
    assert host.link("wg1")["address"] == MACS[1]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("01:00:5e:00:00:01", "The address must be unicast and not zero"),
        ("00:00:00:00:00:00", "The address must be unicast and not zero"),
        ("02:00:00:00", "An Ethernet address has 6 bytes"),
    ],
)
def test_a_wrong_address_is_refused_with_a_reason(host: Host, address: str, why: str) -> None:
    with pytest.raises(Failed) as error:
        add(host, "wg1", "address", address)
    assert f"Error: {why}." in str(error.value)


@pytest.mark.newest
def test_it_keeps_an_ipv6_link_local_address(host: Host) -> None:
    add(host, "wg1", "address", MACS[0])
    host.run("ip", "link", "set", "wg1", "up")
    assert "fe80::ca:feff:fef0:e04/64" in host.run("ip", "-6", "address", "show", "dev", "wg1")
    # and an administrator's choice to have none is also kept
    add(host, "wg2")
    host.run("ip", "link", "set", "wg2", "addrgenmode", "none")
    host.run("ip", "link", "set", "wg2", "up")
    assert "fe80" not in host.run("ip", "-6", "address", "show", "dev", "wg2")


def test_redirects_are_sent_as_the_administrator_wants(host: Host) -> None:
    """The plain kind turns them off, for the whole namespace: a path is not an Ethernet."""

    def redirects(link: str) -> str:
        return host.run("sysctl", "-n", f"net.ipv4.conf.{link}.send_redirects").strip()

    add(host, "wg1")
    add(host, "wg2")
    host.run("sysctl", "-q", "-w", "net.ipv4.conf.wg2.send_redirects=0")
    for name in ("wg1", "wg2"):
        host.run("ip", "link", "set", name, "up")
    assert [redirects(name) for name in ("all", "wg1", "wg2")] == ["1", "1", "0"]
    add(host, "wg0", kind="wireguard")
    host.run("ip", "link", "set", "wg0", "up")
    assert [redirects(name) for name in ("all", "wg0")] == ["0", "0"]


@pytest.mark.newest
def test_opening_a_link_leaves_its_settings_alone(host: Host) -> None:
    """The namespace's default reaches a link on which nobody has set anything, as on a card."""
    add(host)
    host.run("ip", "link", "set", "wg1", "up")
    for value in ("0", "1", "0"):
        host.run("sysctl", "-q", "-w", f"net.ipv4.conf.default.send_redirects={value}")
        assert host.run("sysctl", "-n", "net.ipv4.conf.wg1.send_redirects").strip() == value


@pytest.mark.newest
def test_netpoll_is_refused() -> None:
    """netconsole sends with interrupts off; the link's transmit path takes locks of softirqs."""
    sh("ip", "link", "add", "wg1", "type", "l2wireguard")
    try:
        sh("ip", "address", "add", "192.168.157.1/24", "dev", "wg1")
        sh("ip", "link", "set", "wg1", "up")
        target = "6665@192.168.157.1/wg1,6666@192.168.157.2/02:ca:fe:f0:0e:05"
        # modprobe's status depends on whether netconsole may have targets later, by configfs
        sh("modprobe", "netconsole", f"netconsole={target}", check=False)
        assert "wg1 doesn't support polling, aborting" in sh("dmesg")
    finally:
        sh("modprobe", "-r", "netconsole", check=False)
        sh("ip", "link", "del", "wg1")


@pytest.mark.newest
def test_mtu_can_be_set_within_an_ethernets_limits(host: Host) -> None:
    add(host)
    for mtu in ("68", "1280", "9000", "65521"):
        host.run("ip", "link", "set", "wg1", "mtu", mtu)
        assert host.link("wg1")["mtu"] == int(mtu)
    with pytest.raises(Failed):
        host.run("ip", "link", "set", "wg1", "mtu", "67")


@pytest.mark.newest
def test_vlans_on_top_keep_the_offloads(host: Host) -> None:
    add(host)
    add_vlan = ("ip", "link", "add", "link", "wg1", "name", "wg1.128", "type", "vlan", "id", "128")
    host.run(*add_vlan)
    features = host.run("ethtool", "-k", "wg1.128")
    for name in ("tx-checksumming", "scatter-gather", "tcp-segmentation-offload"):
        assert re.search(rf"^{name}: on", features, re.MULTILINE), features


def test_ethtool_knows_the_driver_and_a_speed_for_lacp(host: Host) -> None:
    add(host)
    assert "driver: l2wireguard" in host.run("ethtool", "-i", "wg1")
    said = host.run("ethtool", "wg1")
    assert "Speed: 10000Mb/s" in said and "Duplex: Full" in said
    assert host.counter("wg1", "rx_malformed") == 0


@pytest.mark.newest
def test_wg_configures_it(host: Host) -> None:
    keys(host)
    add(host)
    other = sh("wg", "pubkey", stdin=sh("wg", "genkey")).strip()
    config = (
        f"[Interface]\nPrivateKey = {host.key}\nListenPort = 1234\nFwMark = 0x2a\n"
        f"[Peer]\nPublicKey = {other}\nAllowedIPs = 0.0.0.0/0, ff02::/16\nEndpoint = 10.9.8.7:6\n"
    )
    for verb in ("setconf", "syncconf"):
        host.run("wg", verb, "wg1", "/dev/stdin", stdin=config)
        dump = host.run("wg", "show", "wg1", "dump").splitlines()
        assert dump[0].split("\t")[1:] == [host.public, "1234", "0x2a"]
        assert dump[1].split("\t")[:4] == [
            *(other, "(none)", "10.9.8.7:6", "0.0.0.0/0,ff02::/16"),
        ]
    host.run("wg", "set", "wg1", "peer", other, "remove")
    assert len(host.run("wg", "show", "wg1", "dump").splitlines()) == 1
    with pytest.raises(Failed, match="Operation not supported"):
        host.run("wg", "show", "lo")


@pytest.mark.newest
def test_it_moves_to_another_namespace_and_its_tunnel_stays(hosts: Hosts) -> None:
    """The link moves, its UDP socket stays where the link was made.

      A                                     B
    +--------------------+              +--------------------+
    | eth0 (UDP socket)  |--------------| eth0               |
    |  :                 |              |                    |
    +--:-----------------+              |                    |
      inner                             |                    |
    +--:-----------------+              |                    |
    | wg1  192.168.157.1 |==============| wg1  192.168.157.2 |
    +--------------------+              +--------------------+
    """
    a, b, inner = hosts("A", "B", "inner")
    underlay(a, b)
    tunnel(a, b)
    a.ping("192.168.157.2")
    a.run("ip", "link", "set", "wg1", "netns", inner.name)
    inner.run("ip", "address", "add", "192.168.157.1/24", "dev", "wg1")
    inner.run("ip", "link", "set", "wg1", "up")
    assert inner.link("wg1")["address"] == MACS[0]
    inner.ping("192.168.157.2")
    # the namespace that it was made in, and its socket, go away
    a.destroy()
    assert not inner.ok("ping", "-c", "1", "-W", "1", "192.168.157.2")
    inner.run("ip", "link", "del", "wg1")


OTHER = {"wireguard": "l2wireguard", "l2wireguard": "wireguard"}
LINK = {"wireguard": "wg0", "l2wireguard": "wg1"}
ADDRESS = {"wireguard": "192.168.157.2", "l2wireguard": "192.168.158.2"}


def load_and_connect(module: str, a: Host, b: Host) -> None:
    """Load a module, ours without the plain kind, and connect A and B by a link of it."""
    if module == "wireguard":
        sh("modprobe", "wireguard")
        tunnel(a, b, "wg0", kind="wireguard")
        return
    sh("modprobe", "l2wireguard", "plain=0")
    keys(a)
    keys(b)
    for me, peer, mine, other in ((a, b, 1, 2), (b, a, 2, 1)):
        me.ip("link add wg1 type l2wireguard", f"address add 192.168.158.{mine}/24 dev wg1")
        # wg speaks to the stock module's family
        me.run(
            *("python3", "-m", "l2wgctl", "set", "wg1", "private-key", "/dev/stdin"),
            *("listen-port", "51821", "peer", peer.public, "allowed-ips", "0.0.0.0/0,::/0"),
            *("endpoint", f"10.0.0.{other}:51821"),
            stdin=me.key,
        )
        me.ip("link set wg1 up")


def traffic(host: Host, *addresses: str) -> None:
    """Full packets through each tunnel, at the same time."""
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(lambda to: host.ping(to, "-s", "1300", count=5), addresses):
            pass


@pytest.mark.usefixtures("unloaded")
class TestModules:
    """Our module beside the stock one."""

    def test_adding_a_link_loads_our_module(self, host: Host) -> None:
        add(host)
        assert Path("/sys/module/l2wireguard").exists()
        assert not Path("/sys/module/wireguard").exists()

    def test_adding_a_plain_link_loads_the_stock_module(self, host: Host) -> None:
        add(host, "wg0", kind="wireguard")
        assert Path("/sys/module/wireguard").exists()
        assert not Path("/sys/module/l2wireguard").exists()

    @pytest.mark.newest
    def test_beside_the_stock_module_it_offers_the_ethernet_kind_only(self, hosts: Hosts) -> None:
        a, b = hosts("A", "B")
        underlay(a, b)
        sh("modprobe", "wireguard")
        tunnel(a, b, "wg0", kind="wireguard")
        a.ping("192.168.157.2")
        sh("modprobe", "l2wireguard")
        lines = [x for x in sh("dmesg").splitlines() if "Offering only l2wireguard links" in x]
        assert lines, "the kernel log does not say so"
        assert Path("/sys/module/l2wireguard/parameters/plain").read_text() == "N\n"
        add(a)
        families = sh("python3", "-c", FAMILIES)
        assert "wireguard" in families.split() and "l2wireguard" in families.split()
        # wg's family is the stock module's, and that must not touch our link
        with pytest.raises(Failed, match="Operation not supported"):
            a.run("wg", "show", "wg1")
        a.ping("192.168.157.2")
        a.run("wg", "show", "wg0")
        a.run("ip", "link", "del", "wg1")
        sh("rmmod", "l2wireguard")
        a.ping("192.168.157.2")

    @pytest.mark.newest
    def test_loaded_first_it_offers_both_kinds(self, hosts: Hosts) -> None:
        a, b = hosts("A", "B")
        underlay(a, b)
        sh("modprobe", "l2wireguard")
        tunnel(a, b, "wg0", kind="wireguard")
        a.ping("192.168.157.2")
        # EEXIST, which modprobe takes for "loaded already"
        sh("modprobe", "wireguard", check=False)
        assert not Path("/sys/module/wireguard").exists()
        a.ping("192.168.157.2")

    def test_it_can_be_told_to_leave_the_plain_kind_alone(self, hosts: Hosts) -> None:
        a, b = hosts("A", "B")
        underlay(a, b)
        sh("modprobe", "l2wireguard", "plain=0")
        tunnel(a, b, "wg0", kind="wireguard")
        assert Path("/sys/module/wireguard").exists()
        a.ping("192.168.157.2")

    @pytest.mark.timeout(900)
    @pytest.mark.parametrize("first", ["wireguard", "l2wireguard"])
    def test_a_live_tunnel_of_each_module(self, hosts: Hosts, first: str) -> None:
        """Loaded in either order, both carry traffic, and either goes without the other.

          A                                         B
        +------------------------+              +------------------------+
        | wg0 192.168.157.1      |==============| wg0 192.168.157.2      |  wireguard.ko
        | wg1 192.168.158.1      |==============| wg1 192.168.158.2      |  l2wireguard.ko
        | eth0                   |--------------| eth0                   |
        +------------------------+    cable     +------------------------+
        """
        a, b = hosts("A", "B")
        underlay(a, b)
        for module in (first, OTHER[first]):
            load_and_connect(module, a, b)
            # the one that was there already has not been disturbed
            a.ping(ADDRESS[first])
        assert Path("/sys/module/l2wireguard/parameters/plain").read_text() == "N\n"
        assert "DEVTYPE=wireguard" in a.run("cat", "/sys/class/net/wg0/uevent")
        assert a.link("wg1")["link_type"] == "ether"
        traffic(a, *ADDRESS.values())
        for module in (OTHER[first], first):
            # its links go with it; the other one's tunnel is as it was
            sh("rmmod", module)
            stays = OTHER[module]
            assert not a.ok("ip", "link", "show", LINK[module])
            traffic(a, ADDRESS[stays])
            # and it comes back beside a live tunnel
            load_and_connect(module, a, b)
            traffic(a, *ADDRESS.values())

    def test_the_stock_modules_handshakes_and_keepalives_are_ours(self, hosts: Hosts) -> None:
        """A's link is the stock module's, B's is an Ethernet one: the bytes are WireGuard's."""
        a, b = hosts("A", "B")
        underlay(a, b)
        sh("modprobe", "wireguard")
        sh("modprobe", "l2wireguard")
        tunnel(a, b, kind="wireguard", addresses=False)
        b.ip("link del wg1", "link add wg1 type l2wireguard")
        b.run(
            *("python3", "-m", "l2wgctl", "set", "wg1", "private-key", "/dev/stdin"),
            *("listen-port", "51820", "peer", a.public, "allowed-ips", "0.0.0.0/0,::/0"),
            *("endpoint", "10.0.0.1:51820", "persistent-keepalive", "1"),
            stdin=b.key,
        )
        # A would count an Ethernet's neighbour discovery as errors
        b.run("sysctl", "-q", "-w", "net.ipv6.conf.wg1.disable_ipv6=1")
        b.ip("link set wg1 up")
        assert Path("/sys/module/wireguard").exists()

        def received() -> list[int]:
            """Bytes that each got: more than a handshake message and two keepalives."""
            at_b = b.run("python3", "-m", "l2wgctl", "show", "wg1", "transfer")
            return [int(out.split()[1]) for out in (a.run("wg", "show", "wg1", "transfer"), at_b)]

        eventually(lambda: received()[0] >= 148 + 2 * 32, "B's keepalives arrive at A")
        a.run("wg", "set", "wg1", "peer", b.public, "persistent-keepalive", "1")
        eventually(lambda: received()[1] >= 92 + 2 * 32, "A's keepalives arrive at B")
        assert [host.stat("wg1", "rx_errors") for host in (a, b)] == [0, 0]

    @pytest.mark.timeout(600)
    def test_a_hundred_loads_leave_nothing(self) -> None:
        with no_more_memory(2000):
            for _ in range(100):
                sh("modprobe", "l2wireguard")
                sh("rmmod", "l2wireguard")


@pytest.mark.timeout(900)
def test_two_thousand_links_come_and_go(host: Host) -> None:
    """Four at a time: what a deleted link waits for (RCU) then overlaps, and locks are tried."""

    def batch(worker: str, count: int) -> None:
        names = [f"wg{worker}{i}" for i in range(count)]
        host.ip(
            *(
                line
                for n in names
                for line in (f"link add {n} type l2wireguard", f"link set {n} up", f"link del {n}")
            ),
            timeout=900,
        )

    def cycle(count: int) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(batch, "abcd", [count // 4] * 4))

    cycle(100)
    with no_more_memory(4000):  # of each link its net_device alone would be over 4 kB
        cycle(1900)


FAMILIES = """
from pyroute2 import GenericNetlinkSocket
from pyroute2.netlink import genlmsg
for name in ("wireguard", "l2wireguard"):
    try:
        with GenericNetlinkSocket() as s:
            s.bind(name, genlmsg)
        print(name)
    except Exception:
        pass
"""

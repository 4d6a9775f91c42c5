# SPDX-License-Identifier: GPL-2.0
"""Whole machines, each with a kernel of its own: the scenarios, the service, reboot, upgrade."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vagrant.node import Failed, Node, eventually
from toolkit.vagrant import machines

A, B, C = "192.168.157.1", "192.168.157.2", "192.168.157.3"
#: The file of one more tunnel, without the key; a port of bond0
PORT_CONF = """\
[Interface]
PrivateKey = $(cat /etc/l2wg/wg1.key)
ListenPort = {port}
Master = bond0

[Peer]
PublicKey = {public}
Endpoint = {endpoint}:{port}
AllowedIPs = 0.0.0.0/0, ::/0
"""


def public(node: Node) -> str:
    return node.run("cat /etc/l2wg/wg1.pub").strip()


def test_provisioned(pair: list[Node]) -> None:
    """Each has a key of its own that nobody else can read, the module, and the service."""
    keys = [public(node) for node in pair]
    assert keys[0] != keys[1]
    for node, other in zip(pair, reversed(keys)):
        files = node.run("stat -c '%n %a %U' /etc/l2wg/wg1.key /etc/l2wg/wg1.conf").splitlines()
        assert [f.split(" ", 1)[1] for f in files] == ["600 root", "600 root"]
        assert f"PublicKey = {other}" in node.run("cat /etc/l2wg/wg1.conf")
        assert node.run("systemctl is-enabled l2wg@wg1").strip() == "enabled"
        where = node.run("modinfo -n l2wireguard").strip()
        assert where == f"/lib/modules/{node.run('uname -r').strip()}/updates/l2wireguard.ko"
        journal = node.run("journalctl --no-pager -o cat")
        key = node.run("cat /etc/l2wg/wg1.key").strip()
        assert key not in journal


def test_link_type_and_mtu(pair: list[Node]) -> None:
    for node in pair:
        link = node.link("wg1")
        assert link["linkinfo"]["info_kind"] == "l2wireguard"
        assert (link["link_type"], link["mtu"]) == ("ether", 1406)
        assert {"BROADCAST", "MULTICAST", "UP", "LOWER_UP"} <= set(link["flags"])
        assert not {"NOARP", "POINTOPOINT"} & set(link["flags"])
        assert (link["master"], node.link("br0")["mtu"]) == ("br0", 1406)


def test_ping_with_arp(pair: list[Node]) -> None:
    a, b = pair
    a.run("ip neighbour flush dev br0")
    with b.capture("wg1", "arp") as lines:
        a.ping(B)
    mine, theirs = (str(node.link("br0")["address"]) for node in pair)
    request = [x for x in lines if f"who-has {B} tell {A}" in x]
    assert request and f"{mine} > ff:ff:ff:ff:ff:ff" in request[0], lines
    assert theirs in a.run(f"ip neighbour show {B}")
    # the largest frame, whole
    a.ping(B, f"-s {1406 - 28} -M do")


def test_sealed_on_the_underlay(pair: list[Node]) -> None:
    a, b = pair
    with b.capture("eth1") as lines:
        a.ping(B, "-s 1000")
    # what ping sends is 1000 bytes, 8 of ICMP, 20 of IP, 14 of Ethernet, padded; 32 are WireGuard's
    sealed = [x for x in lines if ".51820: UDP, length 1088" in x]
    assert len(sealed) >= 3 and not [x for x in lines if "ICMP" in x], lines


@pytest.fixture
def segment(pair: list[Node]) -> Iterator[tuple[Node, str, str]]:
    """C on the Ethernet behind A: (machine, prefix of its commands, A's port to it)."""
    a = pair[0]
    if os.environ.get("L2WG_C") == "1":
        c = Node("l2wg-c", a.config)
        yield c, "", "eth2"
        c.hang_up()
        return
    a.later("ip netns delete C")
    a.run(
        "ip netns add C\n"
        "ip link add toC type veth peer name eth1 netns C\n"
        "ip link set toC master br0 up\n"
        f"ip -n C address add {C}/24 dev eth1\n"
        "ip -n C link set eth1 up"
    )
    yield a, "ip netns exec C", "toC"


def test_bridge(pair: list[Node], segment: tuple[Node, str, str]) -> None:
    a, b = pair
    c, prefix, port = segment
    # the bridge has the MTU of its smallest port, and tells nobody
    eventually(lambda: b.ok(f"ping -c 1 -W 5 {C}"), "B reaches C")
    b.ping(C)
    c.ping(B, prefix=prefix)
    c.ping(A, prefix=prefix)
    ports = {e["mac"]: e["ifname"] for e in a.json("bridge -j fdb show br br0")}
    assert ports[b.link("br0")["address"]] == "wg1"
    mac = c.run(f"{prefix} cat /sys/class/net/eth1/address").strip()
    assert ports[mac] == port


def vlan(node: Node, link: str, number: int, mtu: int, address: str) -> None:
    name = f"{link}.{number}"
    node.later(f"ip link delete {name}")
    node.run(
        f"ip link add link {link} name {name} mtu {mtu} type vlan id {number}\n"
        f"ip link set {name} up\n"
        f"ip address add {address} dev {name}"
    )


def test_vlan_in_vlan(pair: list[Node]) -> None:
    a, b = pair
    for last, node in enumerate(pair, 1):
        vlan(node, "br0", 128, 1402, f"192.168.158.{last}/24")
        vlan(node, "br0.128", 127, 1398, f"192.168.159.{last}/24")
    a.ping("192.168.158.2", f"-s {1402 - 28} -M do")
    with b.capture("wg1", "vlan") as lines:
        a.ping("192.168.159.2", f"-s {1398 - 28} -M do")
    tags = "vlan 128, p 0, ethertype 802.1Q (0x8100), vlan 127, p 0, ethertype IPv4"
    assert [x for x in lines if tags in x and "length 1420" in x], lines


def test_pppoe(pair: list[Node]) -> None:
    a, b = pair
    options = "noauth\\nnodetach\\nnoccp\\nlcp-echo-interval 10\\n"
    for node in pair:
        # also pppoe-server's own pppd
        node.later("pkill -x pppoe-server; pkill -x pppd; rm -f /run/l2wg-ppp")
        node.run(f"modprobe pppoe; printf '{options}' >/run/l2wg-ppp")
    a.run(
        "pppoe-server -I br0 -L 192.168.159.1 -R 192.168.159.10 -N 1 -O /run/l2wg-ppp "
        "-C l2wg -S l2wg </dev/null >/run/l2wg-pppoe.txt 2>&1"
    )
    b.run(
        "pppd plugin rp-pppoe.so nic-br0 noauth noccp noipdefault nodefaultroute ifname ppp9 "
        "nodetach </dev/null >/run/l2wg-pppd.txt 2>&1 &"
    )
    try:
        has_it = "ip address show dev ppp9 | grep -q 192.168.159.10"
        eventually(lambda: b.ok(has_it), "the PPPoE session has an address")
    except Failed:
        print(a.run("cat /run/l2wg-pppoe.txt"), b.run("cat /run/l2wg-pppd.txt"))
        raise
    assert b.link("ppp9")["mtu"] == 1398
    b.ping("192.168.159.1", f"-s {1398 - 28} -M do")


def test_lacp_fails_over(pair: list[Node]) -> None:
    """Two tunnels over two underlays (VLANs of eth1) in a bond; one underlay dies."""
    a, b = pair
    keys = [public(node) for node in pair]
    for last, node in enumerate(pair, 1):
        node.later("ip link delete bond0")
        node.run(
            "ip link add bond0 mtu 1406 type bond mode 802.3ad lacp_rate fast miimon 100 "
            "xmit_hash_policy layer3+4\n"
            f"ip address add 192.168.160.{last}/24 dev bond0"
        )
        for n in (2, 3):
            vlan(node, "eth1", 10 + n, 1496, f"10.{n}.0.{last}/24")
            conf = PORT_CONF.format(
                port=51820 + n, public=keys[2 - last], endpoint=f"10.{n}.0.{3 - last}"
            )
            node.later(f"rm -f /etc/l2wg/wg{n}.conf")
            node.later(f"l2wgctl down wg{n}")
            node.run(f"umask 077; cat >/etc/l2wg/wg{n}.conf <<END\n{conf}END\nl2wgctl up wg{n}")
        node.run("ip link set bond0 up")

    def aggregated(node: Node) -> bool:
        info = node.link("bond0")["linkinfo"]["info_data"].get("ad_info", {})
        nobody = "00:00:00:00:00:00"
        return bool(info.get("num_ports") == 2 and info.get("partner_mac") != nobody)

    def whole() -> bool:
        try:
            a.ping("192.168.160.2", "-s 1000", count=5)
        except Failed:
            return False
        return True

    def sent() -> list[int]:
        files = " ".join(f"/sys/class/net/wg{n}/statistics/tx_bytes" for n in (2, 3))
        return [int(x) for x in a.run(f"cat {files}").split()]

    eventually(lambda: all(aggregated(n) for n in pair), "both have both links in one aggregator")
    eventually(whole, "the bond carries traffic")
    before = sent()
    eventually(whole, "the bond carries traffic")
    grown = [now - then for now, then in zip(sent(), before)]
    assert max(grown) > 5000, grown
    used = grown.index(max(grown))
    a.run(f"ip link set eth1.{12 + used} down")
    # the tunnel stays up: LACP has to notice, on both
    eventually(whole, "traffic over the second link", 180)
    before = sent()
    eventually(whole, "traffic over the second link")
    grown = [now - then for now, then in zip(sent(), before)]
    assert grown[1 - used] > 5000, grown


def test_doctor(pair: list[Node]) -> None:
    a, b = pair
    a.ping(B)
    for node in pair:
        said = node.run("l2wgctl doctor wg1", check=False)
        assert "FAIL" not in said and "OK" in said, said
    a.later("ip link set wg1 up")
    a.run("ip link set wg1 down")
    assert not a.ok("l2wgctl doctor wg1"), "doctor is content with a link that is down"


def test_service(pair: list[Node]) -> None:
    """`systemctl disable` and `enable --now` take the tunnel down and bring it up."""
    a, b = pair
    b.later("systemctl enable --now l2wg@wg1")
    b.run("systemctl disable --now l2wg@wg1")
    assert not b.ok("ip link show wg1")
    assert not a.ok(f"ping -c 1 -W 3 {B}")
    b.run("systemctl enable --now l2wg@wg1")
    assert b.run("systemctl is-active l2wg@wg1").strip() == "active"
    eventually(lambda: a.ok(f"ping -c 1 -W 5 {B}"), "the tunnel is back")
    a.ping(B)


def test_reboot(pair: list[Node]) -> None:
    a, b = pair
    a.reboot()
    eventually(lambda: a.ok("systemctl is-active l2wg@wg1"), "the service has started")
    eventually(lambda: b.ok(f"ping -c 1 -W 5 {A}"), "the tunnel is back")
    b.ping(A)
    link = a.link("wg1")
    assert (link["linkinfo"]["info_kind"], link["mtu"]) == ("l2wireguard", 1406)
    # the bridge also has its Ethernet port again
    assert a.link("eth2")["master"] == "br0"


def test_module_upgrade(pair: list[Node]) -> None:
    """A later module on A; B keeps the old one, and they understand each other."""
    a, b = pair
    later = Path(machines.FOLDER) / "next/l2wireguard.ko"
    release = a.run("uname -r").strip()
    vagrant_for = later.with_suffix(".release")
    if not later.exists() or vagrant_for.read_text() != release:
        pytest.skip(f"no later module for {release}: it is built for ./inv box's kernels only")
    installed = f"/lib/modules/{release}/updates/l2wireguard.ko"
    version = "cat /sys/module/l2wireguard/version"
    old = a.run(version).strip()
    assert old != machines.NEXT
    reload = (
        "systemctl stop l2wg@wg1; modprobe -r l2wireguard; {}; depmod; systemctl start l2wg@wg1"
    )
    saved = shlex.quote(f"{installed}.before")
    a.run(f"cp {installed} {saved}")
    a.later(reload.format(f"mv {saved} {installed}"))
    a.copy(later, f"{installed}.later")
    a.run(reload.format(f"mv {installed}.later {installed}"))
    assert a.run(version).strip() == machines.NEXT
    assert b.run(version).strip() == old
    eventually(lambda: a.ok(f"ping -c 1 -W 5 {B}"), "the tunnel is back")
    a.ping(B)
    assert "FAIL" not in a.run("l2wgctl doctor wg1", check=False)

# SPDX-License-Identifier: GPL-2.0
"""A hub and two sites, each a whole machine with a bridge and a station behind it.

  station           station
192.168.161.12    192.168.161.13
      |                 |
     br2               br2        sites B and C: wg2 is a wire
      |                 |
     wg2 ----- A ----- wg2        the hub: wg2 is a switch
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.vagrant.node import Node, eventually

pytestmark = pytest.mark.skipif(
    os.environ.get("L2WG_HUB") != "1", reason="no third machine: ./inv vagrant-test --hub"
)

UNDERLAY = "192.168.56.{}"
INTERFACE = """\
[Interface]
PrivateKey = $(cat /etc/l2wg/wg1.key)
ListenPort = 51830
Bridge = br2
BridgeCreate = yes
BridgeAddress = 192.168.161.{last}/24
{more}
"""
SPOKE = """\
[Peer]
Name = {name}
PublicKey = {public}
Relay = yes
"""
HUB = """\
[Peer]
PublicKey = {public}
Endpoint = {endpoint}:51830
AllowedIPs = 0.0.0.0/0, ::/0
PersistentKeepalive = 5
"""


def start(node: Node, text: str) -> None:
    """Write the file of wg2 and bring it up, at each start."""
    node.later("systemctl disable --now l2wg@wg2; rm -f /etc/l2wg/wg2.conf")
    node.run(
        f"umask 077; cat >/etc/l2wg/wg2.conf <<END\n{text}END\nl2wgctl check /etc/l2wg/wg2.conf"
    )
    node.run("systemctl enable --now l2wg@wg2")


def station(node: Node, last: int) -> None:
    """A host behind the bridge."""
    node.later("ip netns delete station")
    node.run(
        "ip netns add station\n"
        "ip link add eth9 mtu 1406 type veth peer name eth0 netns station mtu 1406\n"
        "ip link set eth9 master br2 up\n"
        f"ip -n station address add 192.168.161.{last}/24 dev eth0\n"
        "ip -n station link set eth0 up"
    )


@pytest.fixture
def hub(nodes: list[Node]) -> Iterator[list[Node]]:
    """A, B and C with their files, up."""
    third = Node("l2wg-c", nodes[0].config)
    a, b, c = three = [*nodes, third]
    key = {node.name: node.run("cat /etc/l2wg/wg1.pub").strip() for node in three}
    sites = "".join(SPOKE.format(name=x.name, public=key[x.name]) for x in (b, c))
    start(a, INTERFACE.format(last=1, more="Switch = yes") + sites)
    for last, site in ((2, b), (3, c)):
        peer = HUB.format(public=key[a.name], endpoint=UNDERLAY.format(11))
        start(site, INTERFACE.format(last=last, more="") + peer)
        station(site, 10 + last)
    yield three
    for node in three:
        node.tidy()
    third.hang_up()


def crosses(node: Node, last: int) -> bool:
    return node.ok(f"ip netns exec station ping -c 1 -W 5 192.168.161.{last}")


def test_two_sites_through_a_hub_and_its_reboot(hub: list[Node]) -> None:
    a, b, c = hub
    eventually(lambda: crosses(b, 13), "B's station reaches C's")
    b.ping("192.168.161.13", f"-s {1406 - 28} -M do", prefix="ip netns exec station")
    a.ping("192.168.161.12")
    table = a.json("l2wgctl --json fdb wg2")["links"][0]["entries"]
    # the hub's own bridge has the link's MAC, which is not learned
    assert {x["name"] for x in table} == {b.name, c.name}
    assert "FAIL" not in a.run("l2wgctl doctor wg2", check=False)
    a.reboot()
    eventually(lambda: a.ok("systemctl is-active l2wg@wg2"), "the service has started")
    eventually(lambda: crosses(c, 12), "C's station reaches B's again")
    link = a.link("wg2")
    assert (link["linkinfo"]["info_kind"], link["master"]) == ("l2wgswitch", "br2")
    # one site is cut off by its options, without a new session
    a.run("l2wgctl set wg2 peer l2wg-c isolated yes peer l2wg-b isolated yes")
    assert not crosses(b, 13)
    a.ping("192.168.161.13")

# SPDX-License-Identifier: GPL-2.0
"""doctor on what people do wrong, with the counters of the real module and the real bridge."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm.ctl import ctl, done, file
from tests.vm.test_ctl_up import config, up
from toolkit.guest.hosts import Host, cable, eventually, underlay

Hosts = Callable[..., list[Host]]


def complaints(host: Host) -> list[str]:
    said = ctl(host, "doctor", "wg1")
    assert said.err == ""
    return [line for line in said.out.splitlines() if not line.startswith("OK ")]


def packets(host: Host, count: int) -> None:
    """Ask for the other host, which will not answer."""
    target = {"A": "192.168.157.2", "B": "192.168.157.1"}[host.name]
    host.ok("ping", "-c", str(count), "-i", "0.2", "-W", "1", target)


def test_one_end_is_ethernet_and_the_other_is_not(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    for me, peer, last, kind in ((a, b, 1, "l2wireguard"), (b, a, 2, "wireguard")):
        interface = f"Kind = {kind}\nAddress = 192.168.157.{last}/24\n"
        up(me, file(me, config(me, peer, interface + "Table = off\n")))
        # in which nothing but the kind is wrong
        done(me, "set", "wg1", "peer", peer.public, "persistent-keepalive", "25")
    eventually(lambda: "\t0\n" not in done(a, "show", "wg1", "latest-handshakes"), "handshake")

    def complains() -> bool:
        packets(b, 12)
        return bool(complaints(a))

    eventually(complains, "A has something to say")
    (line,) = complaints(a)
    assert line.startswith("WARN kind: of ")
    assert "the other end looks like one of kind wireguard (IP), and wg1 is l2wireguard" in line

    def other_complains() -> bool:
        packets(a, 12)
        return bool(complaints(b))

    eventually(other_complains, "B has something to say")
    (line,) = complaints(b)
    assert line.startswith("WARN kind: ") and "nothing can cross, since wg1 is wireguard" in line


def test_the_same_mac_address_on_both_ends(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    mac = "02:ca:fe:f0:0e:04"
    for me, peer, last in ((a, b, 1), (b, a, 2)):
        interface = f"MACAddress = {mac}\nAddress = 192.168.157.{last}/24\n"
        up(me, file(me, config(me, peer, interface)))

    def complains() -> bool:
        packets(a, 3)
        return bool(complaints(a))

    eventually(complains, "A knows B's address")
    (line,) = complaints(a)
    assert line == (
        f"FAIL mac: 192.168.157.2 on wg1 has this host's own MAC address {mac}: both ends have "
        "the same one (give one end another: MACAddress, or ip link set wg1 address 02:...)"
    )


def test_a_bridge_that_keeps_frames(hosts: Hosts) -> None:
    """C, behind A's bridge, hears nothing of B: by VLANs, by isolation, by a cable."""
    a, b, c = hosts("A", "B", "C")
    underlay(a, b)
    cable(a, c, "eth1", "eth0")
    c.ip("address add 192.168.157.3/24 dev eth0", "link set eth0 mtu 1406")
    interface = "Bridge = br0\nBridgeCreate = yes\n"
    up(a, file(a, config(a, b, interface)))
    up(b, file(b, config(b, a, "Address = 192.168.157.2/24\n")))
    assert any(
        line.startswith("WARN ports: br0 has no port but wg1, and no") for line in complaints(a)
    )
    a.ip("link set eth1 master br0")
    b.ping("192.168.157.3")
    assert complaints(a) == []
    a.ip("link set br0 type bridge vlan_filtering 1")
    assert complaints(a) == []
    a.run("bridge", "vlan", "del", "dev", "wg1", "vid", "1")
    a.run("bridge", "vlan", "add", "dev", "wg1", "vid", "9")
    assert not b.ok("ping", "-c", "2", "-W", "1", "192.168.157.3")
    assert [line.partition(" (")[0] for line in complaints(a)] == [
        "WARN vlan: br0 filters VLANs, and wg1 has no PVID: untagged frames that arrive are "
        "dropped",
        "WARN vlan: br0 filters VLANs, and no other port of it that is up has one of wg1's: 9",
    ]
    a.ip("link set br0 type bridge vlan_filtering 0")
    for port in ("wg1", "eth1"):
        a.run("bridge", "link", "set", "dev", port, "isolated", "on")
    assert not b.ok("ping", "-c", "2", "-W", "1", "192.168.157.3")
    assert complaints(a)[0].startswith("WARN ports: wg1 and br0's other ports are isolated")
    a.run("bridge", "link", "set", "dev", "wg1", "isolated", "off")
    b.ping("192.168.157.3")
    c.ip("link set eth0 down")
    # the kernel may take a second to see it
    none = "WARN ports: of br0's other ports none is up: eth1"
    eventually(lambda: any(x.startswith(none) for x in complaints(a)), none)

# SPDX-License-Identifier: GPL-2.0
"""What people run on an Ethernet, over a switch: DHCP, SLAAC, mDNS, VRRP, stations that roam, STP.

hub     B   C   D     (l2wireguard)
         \\  |  /
           A          (l2wgswitch, which relays)
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm import l2wg, station, wire
from tests.vm.test_switch import hub, ip_of, link, mac_of, mesh, peer
from toolkit.guest.hosts import Host, cable, capture, eventually, keys, sh, stop

Hosts = Callable[..., list[Host]]

VRRP = "00:00:5e:00:01:07"


def relaying(hosts: Hosts, *names: str, quiet: bool = False) -> list[Host]:
    """A hub that relays between all its spokes, all of which are up."""
    a, *spokes = hub(hosts, *names, quiet=quiet)
    for spoke in spokes:
        l2wg.set_peer(a, spoke, relay=1)
        spoke.ping(ip_of(1))
    return [a, *spokes]


def test_dhcp_with_a_guard_against_a_second_server(hosts: Hosts, tmp_path: Path) -> None:
    """B and C serve DHCP, D asks. With a guard on C nobody hears of C's addresses."""
    a, b, c, d = relaying(hosts, "A", "B", "C", "D", quiet=True)

    def serve(host: Host, prefix: str) -> subprocess.Popen[str]:
        config, leases = tmp_path / f"{prefix}.conf", tmp_path / f"{prefix}.leases"
        leases.write_text("")
        config.write_text(
            f"start {prefix}.10\nend {prefix}.20\ninterface wg1\nlease_file {leases}\n"
            f"pidfile {tmp_path}/{prefix}.pid\noption subnet 255.255.255.0\noption lease 3600\n"
        )
        host.ip(f"address add {prefix}.1/24 dev wg1")
        return host.start("busybox", "udhcpd", "-f", str(config))

    def offered() -> str:
        return d.run(
            *("busybox", "udhcpc", "-i", "wg1", "-n", "-q", "-t", "5", "-T", "2", "-f"),
            *("-s", "/bin/true"),
            check=False,
        )

    serve(c, "10.66.0")
    l2wg.set_peer(a, c, guards=l2wg.GUARD_DHCP)

    def guarded() -> bool:
        """C's server may take a while to start."""
        assert "10.66.0." not in offered()
        return l2wg.peer_counters(a, c).get("rx_guard", 0) >= 1

    eventually(guarded, "C has made an offer")
    first = serve(b, "10.55.0")
    eventually(lambda: "lease of 10.55.0." in offered(), "B's lease arrives")
    assert "10.66.0." not in offered()
    # without the guard, and without B, C's does
    stop(first)
    assert "lease of" not in offered()
    l2wg.set_peer(a, c, guards=0)
    eventually(lambda: "lease of 10.66.0." in offered(), "C's lease arrives")


def advertisement(source: str, prefix: str) -> bytes:
    """A router's, with a prefix for SLAAC (RFC 4861 4.2 and 4.6.2)."""
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0)
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    body += option + socket.inet_pton(socket.AF_INET6, prefix)
    packet = station.ip6(source, "ff02::1", station.ICMP6, body)
    pseudo = packet[8:40] + struct.pack("!II", len(body), station.ICMP6)
    return packet[:42] + struct.pack("!H", station.checksum(pseudo + body)) + packet[44:]


def test_slaac_with_a_guard_against_a_second_router(hosts: Hosts) -> None:
    a, b, c, d = relaying(hosts, "A", "B", "C", "D")
    for host in (a, d):
        host.run("sysctl", "-q", "-w", "net.ipv6.conf.wg1.accept_ra=2")
    l2wg.set_peer(a, c, guards=l2wg.GUARD_RA)

    def advertise(host: Host, number: int, prefix: str) -> None:
        frame = advertisement(f"fe80::{number}", prefix)
        wire.send(host, "wg1", station.eth("33:33:00:00:00:01", mac_of(number), station.IP6, frame))

    def has(host: Host, prefix: str) -> bool:
        return prefix in host.run("ip", "-6", "address", "show", "dev", "wg1")

    for _ in range(3):
        advertise(c, 3, "2001:db8:c::")
    eventually(lambda: l2wg.peer_counters(a, c).get("rx_guard", 0) >= 3, "C is guarded")
    advertise(b, 2, "2001:db8:b::")
    for host in (a, d):
        eventually(lambda host=host: has(host, "2001:db8:b:"), "it has B's prefix")  # type: ignore[misc]
        assert not has(host, "2001:db8:c:")
    # two hosts that have configured themselves find each other by ND
    address = json.loads(d.run("ip", "-6", "-j", "address", "show", "dev", "wg1"))[0]["addr_info"]
    (local,) = [x["local"] for x in address if x["local"].startswith("2001:db8:b:")]
    eventually(lambda: a.ok("ping", "-6", "-c", "1", "-W", "2", local), "A reaches D by IPv6")


def test_mdns_reaches_each_once(hosts: Hosts) -> None:
    spokes = relaying(hosts, "A", "B", "C", "D", quiet=True)
    b = spokes[1]
    query = station.eth(
        *("01:00:5e:00:00:fb", mac_of(2), station.IP),
        station.ip4(ip_of(2), "224.0.0.251", station.UDP, station.udp(5353, b"l2wg.local")),
    )

    def arrived(file: Path) -> bool:
        return bool(wire.read(file))

    with (
        capture(spokes[0], "wg1", "udp", options="-Q in", until=arrived) as at_a,
        capture(spokes[2], "wg1", "udp", options="-Q in", until=arrived) as at_c,
        capture(spokes[3], "wg1", "udp", options="-Q in", until=arrived) as at_d,
        capture(b, "wg1", "udp", options="-Q in") as at_b,
    ):
        wire.send(b, "wg1", query)
    for file, where in ((at_a, "A"), (at_c, "C"), (at_d, "D")):
        wire.differ([query], wire.read(file), f"at {where}")
    wire.differ([], wire.read(at_b), "back at B")


def test_vrrp_between_two_sites(hosts: Hosts) -> None:
    """B and C share a virtual MAC; whoever is master has it, often in turn, and nobody else may."""
    a, b, c, d = relaying(hosts, "A", "B", "C", "D", quiet=True)
    for spoke in (b, c):
        l2wg.set_peer(a, spoke, allowed_macs=l2wg.macs(VRRP))
        spoke.ip(
            f"link add vrrp0 address {VRRP} link wg1 type macvlan mode bridge",
            "address add 192.168.157.200/24 dev vrrp0",
        )
    announcement = station.eth(
        *(station.BROADCAST, VRRP, station.ARP),
        station.arp(VRRP, "192.168.157.200", "192.168.157.200"),
    )
    for master, backup in ((b, c), (c, b)) * 5:
        backup.ip("link set vrrp0 down")
        master.ip("link set vrrp0 up")

        def taken_over(master: Host = master) -> bool:
            """Unless the backup's last word comes only now."""
            wire.send(master, "wg1", announcement)
            if not a.ok("ping", "-c", "1", "-W", "2", "192.168.157.200"):
                return False
            return l2wg.fdb(a)[VRRP, 0][l2wg.Fdb.PUBLIC_KEY] == l2wg.key(master)

        eventually(taken_over, f"{master.name} has it")
    wire.send(d, "wg1", announcement)
    eventually(lambda: l2wg.peer_counters(a, d).get("rx_mac_bound") == 1, "D may not")
    a.ping("192.168.157.200", count=1)


def site(host: Host, number: int) -> None:
    """A bridge over the link, and a port for a station."""
    host.ip(
        "link add br0 type bridge",
        f"address del {ip_of(number)}/24 dev wg1",
        "link set wg1 master br0",
        "link set br0 up",
    )


def test_a_station_roams_between_sites(hosts: Hosts) -> None:
    """S is behind B's bridge, then behind C's; with a gratuitous ARP, and without a word."""
    a, b, c = mesh(hosts, "A", "B", "C")
    (s,) = hosts("S")
    for host, number, name in ((b, 2, "b"), (c, 3, "c")):
        site(host, number)
        cable(s, host, f"to{name}", "s0")
        host.ip("link set s0 master br0")
        s.ip(f"link set to{name} down")
    mac = "02:55:00:00:00:01"

    def plug(at: str, away: str) -> None:
        site = {"b": b, "c": c}[at]
        s.ip(
            f"link set to{away} down",
            f"address flush dev to{away}",
            f"link set to{at} address {mac}",
            f"link set to{at} up",
            f"address add 192.168.157.50/24 dev to{at}",
        )
        # what it says before the bridge has noticed its cable is lost
        eventually(
            lambda: "state forwarding" in site.run("bridge", "link", "show", "dev", "s0"),
            "the bridge takes its frames",
        )

    plug("b", "c")
    a.ping("192.168.157.50")
    assert l2wg.fdb(a)[mac, 0][l2wg.Fdb.PUBLIC_KEY] == l2wg.key(b)
    plug("c", "b")
    hello = station.eth(
        *(station.BROADCAST, mac, station.ARP), station.arp(mac, "192.168.157.50", "192.168.157.50")
    )

    def found() -> bool:
        """C believes no local station that it has heard from a peer in the last 2 s."""
        wire.send(s, "toc", hello)
        return a.ok("ping", "-c", "1", "-W", "1", "192.168.157.50")

    eventually(found, "A finds it at C")
    assert l2wg.fdb(a)[mac, 0][l2wg.Fdb.PUBLIC_KEY] == l2wg.key(c)
    # its own first frames are enough
    plug("b", "c")
    eventually(lambda: s.ok("ping", "-c", "1", "-W", "1", ip_of(1)), "it finds A from B")
    a.ping("192.168.157.50")
    assert l2wg.fdb(a)[mac, 0][l2wg.Fdb.PUBLIC_KEY] == l2wg.key(b)


@pytest.fixture
def machine() -> Host:
    """The guest itself: Linux takes BPDUs in its first namespace only (net/llc/llc_input.c)."""
    return Host("machine", machine=True)


def test_stp_cuts_a_loop(hosts: Hosts, machine: Host) -> None:
    """Two members bridge the same LAN. BPDUs cross the switch, and one port blocks.

    A (this machine) ==== B
      \\               /
       `---- LAN ----'
    """
    b, lan, u = hosts("B", "LAN", "U")
    for host in (u, lan):
        host.ip("link add br0 type bridge", "link set br0 up")
    try:
        for host, number in ((machine, 1), (b, 2)):
            keys(host)
            where = f"netns {lan.name}"
            host.ip(
                f"link add u{number} type veth peer name p{number} netns {u.name}",
                f"link set u{number} up",
                f"address add 10.0.0.{number}/24 dev u{number}",
                f"link add l{number} type veth peer name p{number} {where}",
                f"link set l{number} up",
            )
            for middle in (u, lan):
                middle.ip(f"link set p{number} up", f"link set p{number} master br0")
            link(host, number, "l2wgswitch", quiet=True)
        for host, number, other in ((machine, 1, b), (b, 2, machine)):
            peer(host, (3 - number, other))
            priority = 4096 if host is b else 32768
            host.ip(
                f"link add stp0 type bridge stp_state 1 forward_delay 200 priority {priority}",
                "link set wg1 master stp0",
                f"link set l{number} master stp0",
                "link set wg1 up",
                "link set stp0 up",
            )

        def states(host: Host) -> list[str]:
            said = json.loads(host.run("bridge", "-j", "link", "show"))
            return sorted(port["state"] for port in said if port.get("master") == "stp0")

        # until then frames are lost, which is as it should be
        two = ["forwarding", "forwarding"]
        eventually(lambda: states(b) == two, "both ways of the root's are open")
        eventually(
            lambda: states(machine) == ["blocking", "forwarding"], "one of A's two ways to B is cut"
        )
        once, last = (
            station.eth(station.BROADCAST, mac_of(9), station.NOTHING, word * 5)
            for word in (b"once", b"last")
        )
        seen: list[bytes] = []
        with wire.heard(machine, "stp0") as heard:

            def arrived(frame: bytes) -> bool:
                seen.extend(heard())
                return frame in seen

            wire.send(b, "stp0", once)
            eventually(lambda: arrived(once), "a broadcast arrives")
            wire.send(b, "stp0", last)
            eventually(lambda: arrived(last), "another one arrives")
        assert seen.count(once) < 5
    finally:
        for name in ("stp0", "wg1", "u1", "l1"):
            sh("ip", "link", "del", name, check=False)

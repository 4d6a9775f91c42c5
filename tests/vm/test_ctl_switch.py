# SPDX-License-Identifier: GPL-2.0
"""l2wgctl and a switch: the API of the family `l2wg`, keys of the file, commands.

B   C       (l2wireguard: one peer each)
 \\ /
  A         (l2wgswitch)
"""

from __future__ import annotations

import errno
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, socket
from subprocess import PIPE, Popen

import pytest

from l2wgctl.errors import KernelError
from l2wgctl.model import Key
from l2wgctl.netlink.switch import Switches
from l2wgctl.switch import (
    ALL_VLANS,
    PEER_DEFAULTS,
    SWITCH_DEFAULTS,
    Entry,
    PeerOptions,
    SwitchOptions,
    handle,
)
from tests.vm import l2wg
from tests.vm.ctl import ctl, done, file
from tests.vm.test_switch import hub, ip_of, link, mac_of, peer, underlay
from toolkit.guest.hosts import LONG, Host, eventually, inside

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]
ENTER = ("ip", "netns", "exec")
MAC, MAC2, MAC3 = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"


def key(host: Host) -> Key:
    return Key(l2wg.key(host))


def test_the_api(hosts: Hosts) -> None:
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    with inside(a):
        switches = Switches()
        events = switches.events("wg1", timeout=LONG)
    with switches, events:
        assert switches.get("wg1").options == SWITCH_DEFAULTS
        assert [x.name for x in switches.all()] == ["wg1"]
        options = SwitchOptions(100, 50, 60, "open", (MAC3,), ("10.9.0.1/32", "fd09::/64"))
        switches.set("wg1", options)
        assert switches.get("wg1").options == options

        before = switches.peer("wg1", key(b))
        assert (before.present, before.configured, before.options) == (True, False, PEER_DEFAULTS)
        assert (before.session, before.session_age, before.heard_age) == ("idle", None, None)
        b.ping(ip_of(1))
        during = switches.peer("wg1", key(b))
        assert during.session == "up" and during.learned == 1
        assert during.session_age is not None and during.heard_age is not None
        assert during.handle == handle(key(b))
        first = next(events)
        assert (first.type, first.mac, first.public_key) == ("learned", mac_of(2), key(b))
        (entry,) = switches.table("wg1")
        assert entry[:4] == (mac_of(2), 0, key(b), "learned")
        assert entry.age is not None and entry.moves == 0
        switches.flush("wg1", key=key(c))
        switches.flush("wg1", vlan=3)
        assert len(switches.table("wg1")) == 1
        switches.flush("wg1", key=key(b), vlan=0)
        assert switches.table("wg1") == []

        wanted = PeerOptions(
            (MAC, MAC2), 3, ((0, 0), (10, 20)), 10, True, True, True, ("dhcp", "stp"), 7
        )
        switches.set_peer("wg1", key(c), wanted)
        found = switches.peer("wg1", key(c))
        assert found.configured and found.options._replace(allowed_macs=()) == wanted._replace(
            allowed_macs=()
        )
        assert set(found.options.allowed_macs or ()) == {MAC, MAC2}
        switches.bind("wg1", key(c), "02:00:00:00:00:09")
        switches.unbind("wg1", key(c), MAC)
        assert set(switches.table("wg1")) == {
            Entry(MAC2, None, key(c), "bound"),
            Entry("02:00:00:00:00:09", None, key(c), "bound"),
        }
        switches.set_peer("wg1", key(c), PeerOptions(allowed_vlans=ALL_VLANS, guards=()))
        assert switches.peer("wg1", key(c)).options.allowed_vlans == ALL_VLANS
        assert switches.peer("wg1", key(c)).options.guards == ()
        switches.del_peer("wg1", key(c))
        assert switches.peer("wg1", key(c)).options == PEER_DEFAULTS

        # many at once, one of them refused
        keys = [Key(number.to_bytes(32, "big")) for number in range(1, 301)]
        switches.set_peers("wg1", [(x, PeerOptions(mark=1)) for x in keys])
        assert len(switches.peers("wg1")) == 302
        bad = [(keys[7], PeerOptions(mark=2)), (keys[8], PeerOptions(pvid=4095))]
        with pytest.raises(KernelError, match=f"set peer {keys[8]}".replace("+", r"\+")) as caught:
            switches.set_peers("wg1", [*bad, (keys[9], PeerOptions(mark=3))])
        assert caught.value.errno == errno.ERANGE
        marks = {x.public_key: x.options.mark for x in switches.peers("wg1")}
        assert [marks[x] for x in keys[7:10]] == [2, 1, 3]
        switches.del_peers("wg1", keys)
        assert {x.public_key for x in switches.peers("wg1")} == {key(b), key(c)}

        for link, number in (("eth0", errno.EOPNOTSUPP), ("wg9", errno.ENODEV)):
            with pytest.raises(KernelError) as caught:
                switches.table(link)
            assert caught.value.errno == number
        with pytest.raises(KernelError) as caught:
            switches.flush("wg1", key=keys[0])
        assert caught.value.errno == errno.ENOENT

        # a violation, as it happens
        switches.bind("wg1", key(c), mac_of(2))
        b.ok("ping", "-c", "1", "-W", "1", ip_of(1))
        eventually(lambda: next(events).counter == "rx_mac_bound", "the violation is told")
        assert switches.peer("wg1", key(b)).counters["rx_mac_bound"] > 0
        assert switches.get("wg1").counters["rx_mac_bound"] > 0


def config(host: Host, number: int, peers: str, *more: str) -> str:
    """A file of wg1 in /etc/l2wg-HOST: the key, address and MAC of test_switch's hosts."""
    lines = [
        *("[Interface]", f"PrivateKey = {host.key}", "ListenPort = 51820"),
        *(f"Address = {ip_of(number)}/24", f"MACAddress = {mac_of(number)}", *more),
        *("IPv6LinkLocal = no", "Switch = yes", "", peers),
    ]
    return file(host, "\n".join(lines) + "\n")


def section(number: int, host: Host, *more: str) -> str:
    lines = [f"PublicKey = {host.public}", f"Endpoint = 10.0.0.{number}:51820", *more]
    return "\n".join(["[Peer]", *lines, ""])


def wires(hosts: Hosts, *names: str) -> list[Host]:
    """The first has no link yet; the others are wires to it."""
    first, *spokes = underlay(hosts, *names)
    for number, spoke in enumerate(spokes, 2):
        link(spoke, number, "l2wireguard", quiet=True)
        peer(spoke, (1, first), allowed="0.0.0.0/0,::/0")
        spoke.ip("link set wg1 up")
    return [first, *spokes]


B_HAS = (f"AllowedMACs = {mac_of(2)}, {MAC}", "MaxMACs = 0", "Relay = yes", "Mark = 0x9")
C_HAS = (
    "AllowedVLANs = 0, 10-12",
    "Guard = ra, dhcp",
    "Relay = yes",
    "Router = yes",
    "MaxMACs = 5",
)
HUB_HAS = ("Ageing = 100", "MaxEntries = 50", "MaxLocal = 40", f"HostMACs = {MAC2}")


def test_a_hub_from_its_file(hosts: Hosts) -> None:
    a, b, c = wires(hosts, "A", "B", "C")
    allowed = f"AllowedIPs = {ip_of(2)}/32"
    peers = section(2, b, *B_HAS, allowed) + section(3, c, *C_HAS)
    path = config(a, 1, peers, *HUB_HAS, "HostAddresses = 10.9.0.0/24")
    assert ctl(a, "check", path) == (0, "", "")
    said = ctl(a, "up", path)
    assert said.status == 0 and "type l2wgswitch" in said.err, said
    b.ping(ip_of(1))
    b.ping(ip_of(3))
    with inside(a), Switches() as switches:
        assert switches.get("wg1").options == SwitchOptions(
            *(50, 40, 100, "open", (MAC2,)), (f"{ip_of(1)}/32", "10.9.0.0/24")
        )
        states = {x.public_key: x for x in switches.peers("wg1")}
        assert set(states[key(b)].options.allowed_macs or ()) == {mac_of(2), MAC}
        assert states[key(b)].options._replace(allowed_macs=()) == PEER_DEFAULTS._replace(
            max_macs=0, relay=True, mark=9
        )
        assert states[key(c)].options == PEER_DEFAULTS._replace(
            allowed_vlans=((0, 0), (10, 12)),
            guards=("dhcp", "ra"),
            relay=True,
            router=True,
            max_macs=5,
        )
        table = switches.table("wg1")
        assert (mac_of(3), 0, key(c), "learned") in [x[:4] for x in table]

        # nothing differs: nothing is sent, and all that was learned stays
        assert done(a, "diff", "wg1", path) == ""
        done(a, "syncconf", "wg1", path)
        done(a, "reload", path)
        # B's options change: of C neither the session nor what was learned from it goes
        before_it = received(a, c)
        assert before_it
        peers = section(2, b, *B_HAS[:-1], allowed) + section(3, c, *C_HAS)
        path = config(a, 1, peers, *HUB_HAS, "HostAddresses = 10.9.0.0/24")
        assert done(a, "diff", "wg1", path) == f"~ peer {b.public} mark 0x9 -> off\n"
        done(a, "syncconf", "wg1", path)
        assert (mac_of(3), 0, key(c), "learned") in [x[:4] for x in switches.table("wg1")]
        assert received(a, c) >= before_it
        b.ping(ip_of(3))

        # a peer goes with its options, and comes with them
        done(a, "syncconf", "wg1", config(a, 1, section(3, c, *C_HAS), *HUB_HAS))
        assert [x.public_key for x in switches.peers("wg1")] == [key(c)]
        assert received(a, c) >= before_it
        path = config(a, 1, peers, *HUB_HAS, "HostAddresses = 10.9.0.0/24")
        said = ctl(a, "reload", path)
        assert said.status == 0 and "syncconf wg1" in said.err
        assert switches.peer("wg1", key(b)).options.relay

        # as a file, and back
        again = file(a, done(a, "showconf", "wg1"), "shown.conf")
        differ = ctl(a, "diff", "wg1", again).out.splitlines()
        assert all(" interface Address " in x or " MACAddress " in x for x in differ), differ
        before = {x.public_key: x.options for x in switches.peers("wg1")}
        options = switches.get("wg1").options
        done(a, "setconf", "wg1", again)
        assert {x.public_key: x.options for x in switches.peers("wg1")} == before
        assert switches.get("wg1").options == options

        # save: what was set by hand
        done(a, *f"set wg1 ageing 30 peer {b.public} isolated yes max-macs 256".split())
        done(a, "save", path)
        text = Path(path).read_text()
        assert "Ageing = 30\n" in text and "Isolated = yes\n" in text
        assert "MaxMACs = 0" not in text and "MaxMACs = 5" in text
        assert done(a, "diff", "wg1", path) == ""
    # `wg` takes what strip leaves, and leaves the options
    stripped = file(a, done(a, "strip", path), "stripped.conf")
    a.run("wg", "syncconf", "wg1", stripped)
    assert done(a, "diff", "wg1", path) == ""
    assert ctl(a, "down", path).status == 0


def received(on: Host, of: Host) -> int:
    """Bytes received from a peer: a peer that is made anew begins with 0."""
    rows = on.run("wg", "show", "wg1", "transfer").splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(of.public))


def test_a_closed_hub_and_a_failure(hosts: Hosts) -> None:
    a, b, c = wires(hosts, "A", "B", "C")
    path = config(a, 1, section(2, b, "Relay = yes"), "NewPeers = closed")
    assert ctl(a, "up", path).status == 0
    b.ping(ip_of(1))
    # a stranger's key shakes hands and no more
    a.run("wg", "set", "wg1", "peer", c.public, "endpoint", "10.0.0.3:51820")
    assert not c.ok("ping", "-c", "2", "-W", "2", ip_of(1))
    with inside(a), Switches() as switches:
        # what has waited for its handshake comes behind that
        eventually(
            lambda: switches.peer("wg1", key(c)).counters["rx_closed"] > 0, "C's frames are refused"
        )
        done(a, "set", "wg1", "peer", c.public, "relay", "yes")
        c.ping(ip_of(1))
        # added from a file it is no stranger
        done(a, "set", "wg1", "peer", c.public, "remove")
        done(a, "addconf", "wg1", file(a, section(3, c), "more.conf"))
        known = switches.peer("wg1", key(c))
        assert known.configured and known.options == PEER_DEFAULTS
        a.ping(ip_of(3))
        # the port is somebody else's: nothing of the file is taken
        before = switches.get("wg1").options, {x[1]: x.options for x in switches.peers("wg1")}
        wrong = Path(config(a, 1, section(2, b, "Relay = no"), "Ageing = 44"))
        wrong.write_text(wrong.read_text().replace("ListenPort = 51820", "ListenPort = 4444"))
        with socket(AF_INET, SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", 4444))
            said = ctl(a, "syncconf", "wg1", str(wrong))
        assert said.status == 1 and "the listening port is in use" in said.err
        after = switches.get("wg1").options, {x[1]: x.options for x in switches.peers("wg1")}
        assert after == before
    # a wire is no switch, and stays as it is
    wire = ctl(b, "syncconf", "wg1", config(b, 2, section(1, a)))
    assert wire.status == 1 and "wg1 is no switch" in wire.err
    b.ping(ip_of(1))


def test_the_commands(hosts: Hosts) -> None:
    a, b, c = wires(hosts, "A", "B", "C")
    path = config(a, 1, section(2, b, "Name = oslo") + section(3, c, "Name = bergen"))
    Path("/etc/l2wg").mkdir(exist_ok=True)
    names = Path("/etc/l2wg/wg1.conf")
    names.write_text(Path(path).read_text())
    names.chmod(0o600)
    try:
        commands(a, b, c, path)
    finally:
        names.unlink()


def commands(a: Host, b: Host, c: Host, path: str) -> None:
    assert ctl(a, "up", path).status == 0
    b.ping(ip_of(1))
    c.ping(ip_of(1))

    def table() -> list[tuple[object, ...]]:
        (told,) = json.loads(done(a, "--json", "fdb", "wg1"))["links"]
        return [(x["mac"], x["vlan"], x["name"], x["state"]) for x in told["entries"]]

    assert table() == [
        (mac_of(2), 0, "oslo", "learned"),
        (mac_of(3), 0, "bergen", "learned"),
    ]
    assert re.search(rf"^{mac_of(2)}  -     oslo    learned  \d+s$", done(a, "fdb"), re.M) or (
        re.search(rf"^wg1   {mac_of(2)}  -     oslo    learned  \d+s$", done(a, "fdb"), re.M)
    )
    # bound in all VLANs, static in one; by name, beginning of the key, and handle
    done(a, "fdb", "add", "wg1", MAC, "peer", "oslo")
    done(a, "fdb", "add", "wg1", MAC2, "peer", c.public[:8], "vlan", "7")
    done(a, "fdb", "add", "wg1", MAC3, "peer", handle(key(c)), "vlan", "0")
    assert (MAC, None, "oslo", "bound") in table()
    assert (MAC2, 7, "bergen", "static") in table()
    assert (MAC3, 0, "bergen", "static") in table()
    shown = json.loads(a.run("bridge", "-j", "fdb", "show", "dev", "wg1"))
    seen = {(x["mac"], x.get("vlan", 0)): x["dst"] for x in shown if "dst" in x}
    assert seen[MAC2, 7] == handle(key(c)) and seen[MAC3, 0] == handle(key(c))
    # and what `bridge` adds is ours to see and to delete
    dst = ("dst", handle(key(b)), "vlan", "9", "self")
    a.run("bridge", "fdb", "add", "02:00:00:00:00:44", "dev", "wg1", *dst)
    assert ("02:00:00:00:00:44", 9, "oslo", "static") in table()
    done(a, "fdb", "del", "wg1", "02:00:00:00:00:44")
    done(a, "fdb", "del", "wg1", MAC2, "vlan", "7")
    done(a, "fdb", "del", "wg1", MAC3, "peer", "bergen")
    done(a, "fdb", "del", "wg1", MAC)
    said = ctl(a, "fdb", "del", "wg1", MAC)
    assert (said.status, said.err) == (
        1,
        f"l2wgctl: fdb del: wg1: no entry for {MAC} (see 'l2wgctl fdb wg1')\n",
    )
    # other options: what was learned from the peer is forgotten
    b.ping(ip_of(1))
    c.ping(ip_of(1))
    # what they say of their own would be learned again
    for spoke in (b, c):
        spoke.ip("link set wg1 down")
    done(a, "fdb", "flush", "wg1", "peer", "bergen")
    assert table() == [(mac_of(2), 0, "oslo", "learned")]
    done(a, "fdb", "flush", "wg1", "mac", mac_of(2))
    assert table() == []
    for spoke in (b, c):
        spoke.ip("link set wg1 up")
    said = ctl(a, "fdb", "add", "wg1", mac_of(1), "peer", "oslo", "vlan", "3")
    assert (said.status, said.err) == (1, "l2wgctl: fdb add: wg1: the address is the host's own\n")

    # names that no link has, and one that is no UTF-8
    said = ctl(a, "fdb", "w" * 16)
    assert said.status == 1 and "no link has so long a name" in said.err
    said = ctl(b, "monitor", "wg1", "--events", "--count", "1")
    assert said.status == 1 and "wg1 is no switch" in said.err
    a.run("ip", "link", "add", "wg\udcff", "type", "l2wgswitch")
    shown = json.loads(done(a, "--json", "fdb"))["links"]
    assert {x["interface"] for x in shown} == {"wg1", "wg\udcff"}
    assert {x["interface"] for x in json.loads(done(a, "--json", "show"))["devices"]} == {
        "wg1",
        "wg\udcff",
    }
    done(a, "set", "wg\udcff", "ageing", "60")
    a.run("ip", "link", "del", "wg\udcff")

    done(a, "set", "wg1", "peer", "oslo", "allowed-macs", f"+{MAC}", "max-macs", "9")
    done(a, "set", "wg1", "peer", "oslo", "allowed-macs", f"+{MAC2},-{MAC}", "pvid", "5")
    with inside(a), Switches() as switches:
        options = switches.peer("wg1", key(b)).options
        assert options == PEER_DEFAULTS._replace(allowed_macs=(MAC2,), max_macs=9, pvid=5)
        done(a, "set", "wg1", "peer", "oslo", "pvid", "off", "allowed-macs", "")
        # events, while they happen; MAC is bound to C, and B uses it
        done(a, "set", "wg1", "peer", "bergen", "allowed-macs", mac_of(2))
    monitor = Popen(
        [*ENTER, a.name, sys.executable, "-m", "l2wgctl", "monitor", "wg1", "--events", "--json"],
        stdout=PIPE,
        text=True,
    )
    assert monitor.stdout
    try:
        first = json.loads(monitor.stdout.readline())
        assert {x["name"] for x in first["peers"]} == {"oslo", "bergen"}
        b.ok("ping", "-c", "1", "-W", "1", ip_of(1))
        events = (json.loads(line) for line in monitor.stdout)
        told = (x["event"] for x in events if "event" in x)
        # a session may come or go meanwhile
        found = next(x for x in told if x["type"] == "violation")
        assert (found["name"], found["mac"], found["counter"]) == (
            *("oslo", mac_of(2), "rx_mac_bound"),
        )
    finally:
        monitor.kill()
        monitor.wait()
    shown_text = done(a, "show", "wg1")
    assert f"  allowed macs: {mac_of(2)}\n" in shown_text
    assert re.search(r"  dropped: rx_mac_bound \d+\n", shown_text)
    doctor = ctl(a, "doctor", "wg1").out
    assert re.search(
        rf"WARN peer {re.escape(b.public)} \(oslo\): sent \d+ frames with a MAC", doctor
    )

    # bound by AllowedIPs to C, and B has the address
    done(a, "set", "wg1", "peer", "bergen", "allowed-macs", "", "allowed-ips", f"{ip_of(2)}/32")
    a.run("ip", "neighbour", "replace", ip_of(2), "lladdr", mac_of(2), "dev", "wg1")
    done(a, "fdb", "add", "wg1", mac_of(2), "peer", "oslo", "vlan", "0")
    doctor = ctl(a, "doctor", "wg1").out
    assert (
        f"is mute with {mac_of(2)}: it has the address {ip_of(2)}, which is bound to peer" in doctor
    )

    # removed with its options
    done(a, "set", "wg1", "peer", "bergen", "guard", "ra")
    done(a, "set", "wg1", "peer", "bergen", "remove")
    with inside(a), Switches() as switches:
        assert [x.public_key for x in switches.peers("wg1")] == [key(b)]

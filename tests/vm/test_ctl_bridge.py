# SPDX-License-Identifier: GPL-2.0
"""l2wgctl and bridges: what was there stays, what several links share, ports, VLANs, MSS."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.vm.ctl import ctl, done, file, unchanged, world
from tests.vm.test_ctl_up import config, up
from toolkit.guest.hosts import LONG, Host, cable, eventually, inside, sh, underlay

Hosts = Callable[..., list[Host]]
NFT = ("nft", "list", "ruleset")
#: A link gets its queueing discipline when it first comes up, and keeps it.
USED = ("link set eth1 up", "link set eth1 down")


def down(host: Host, path: str) -> list[str]:
    """Take it down in this process; the steps."""
    said = ctl(host, "down", path)
    assert (said.status, said.out) == (0, ""), said.err
    return [line.removeprefix("[#] ") for line in said.err.splitlines()]


def program(host: Host, *words: str) -> subprocess.Popen[str]:
    """Start l2wgctl as a program of its own."""
    return subprocess.Popen(
        ["ip", "netns", "exec", host.name, sys.executable, "-m", "l2wgctl", *words],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_what_was_there_stays(hosts: Hosts) -> None:
    """A host that is reached by the bridge: with the address of the file, and another one."""
    a, b = hosts("A", "B")
    underlay(a, b)
    a.ip(
        "link add br0 type bridge",
        "link add eth1 type dummy",
        "address add 192.168.9.1/24 dev br0",
        "address add 192.168.9.5/24 dev br0",
        "link set br0 up",
        *USED,
        "link set eth1 master br0",
    )
    before = world(a)
    more = "Bridge = br0\nBridgeCreate = yes\nBridgePorts = eth1\nBridgeAddress = 192.168.9.1/24"
    path = file(a, config(a, b, more))
    up(a, path)
    assert down(a, path) == ["ip link delete dev wg1", "ip link set dev eth1 down"]
    unchanged(a, before)
    # Linux removes 192.168.7.5 with the first address of its subnet, which `up` has brought
    path = file(a, config(a, b, "Bridge = br0\nBridgeAddress = 192.168.7.1/24"))
    up(a, path)
    a.ip("address add 192.168.7.5/24 dev br0")
    with_ours = [line for line in world(a) if "192.168.7" in line]
    assert any("secondary" in line for line in with_ours)
    assert down(a, path)[-1] == "ip -4 address delete 192.168.7.1/24 dev br0"
    assert "192.168.7.5/24" in a.run("ip", "address", "show", "dev", "br0")
    a.ip("address delete 192.168.7.5/24 dev br0")
    unchanged(a, before)


def test_settings_come_back(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    a.ip("link add br0 type bridge", "link add eth1 type dummy", *USED)
    a.ip("link set br0 up", "link set br0 down")
    # and a bridge has neither address nor carrier when its last port has gone
    a.ip("link set eth1 master br0", "link set eth1 nomaster")
    before = world(a)
    path = file(
        a,
        config(
            a, b, "Bridge = br0\nBridgeSTP = yes\nBridgeVLANFiltering = yes\nBridgePorts = eth1"
        ),
    )
    up(a, path)
    data = a.link("br0")["linkinfo"]["info_data"]
    assert (data["stp_state"], data["vlan_filtering"]) == (1, 1)
    assert a.link("eth1")["master"] == "br0" and "UP" in a.link("eth1")["flags"]
    down(a, path)
    unchanged(a, before)


@pytest.mark.parametrize("first", ["wg1", "wg2"])
def test_two_links_at_once_in_one_bridge(hosts: Hosts, first: str) -> None:
    """Both come up at the same time, and may both make the bridge; the last takes it away."""
    a, b = hosts("A", "B")
    underlay(a, b)
    a.ip("link add eth1 type dummy", *USED)
    before = world(a)
    more = "Bridge = br0\nBridgeCreate = yes\nBridgeAddress = 192.168.9.1/24\nBridgePorts = eth1"
    paths = [file(a, config(a, b, more, number=n), f"wg{n + 1}") for n in (0, 1)]
    starting = [program(a, "up", path) for path in paths]
    for process in starting:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    assert {a.link(name)["master"] for name in ("wg1", "wg2", "eth1")} == {"br0"}
    paths.sort(key=lambda path: first not in path)
    assert "ip link delete dev br0" not in down(a, paths[0])
    assert "192.168.9.1/24" in a.run("ip", "address", "show", "dev", "br0")
    assert a.link("eth1")["master"] == "br0"
    assert "ip link delete dev br0" in down(a, paths[1])
    unchanged(a, before)


def vlans(host: Host, port: str) -> set[tuple[int, bool]]:
    """VLANs of a port: id, and whether untagged frames belong to it."""
    (found,) = json.loads(host.run("bridge", "-j", "vlan", "show", "dev", port))
    return {
        (vlan, "PVID" in entry.get("flags", ()))
        for entry in found["vlans"]
        for vlan in range(entry["vlan"], entry.get("vlanEnd", entry["vlan"]) + 1)
    }


def test_vlans_of_the_port(hosts: Hosts) -> None:
    """Untagged frames of the tunnel are VLAN 10 on A; 20 and 30 to 32 cross with their tags."""
    a, b = hosts("A", "B")
    underlay(a, b)
    before = world(a)
    more = (
        "Bridge = br0\nBridgeCreate = yes\nBridgeVLANFiltering = yes\nBridgePVID = 10\n"
        "BridgeVLANs = 20, 30-32\n"
    )
    path = file(a, config(a, b, more))
    steps = up(a, path)
    assert [step for step in steps if step.startswith("bridge ")] == [
        "bridge vlan delete dev wg1 vid 1",
        "bridge vlan add dev wg1 vid 10 pvid untagged",
        "bridge vlan add dev wg1 vid 20",
        "bridge vlan add dev wg1 vid 30-32",
    ]
    assert vlans(a, "wg1") == {(10, True), (20, False), (30, False), (31, False), (32, False)}
    # A is in VLANs 10 and 20 of its bridge, and so is B on its link
    for vid in (10, 20, 40):
        a.run("bridge", "vlan", "add", "dev", "br0", "vid", str(vid), "self")
        a.ip(
            f"link add link br0 name br0.{vid} type vlan id {vid}",
            f"address add 10.99.{vid}.1/24 dev br0.{vid}",
            f"link set br0.{vid} up",
        )
    more = "Address = 10.99.10.2/24\nVLANs = 20, 40\n"
    more += "VLAN20.Address = 10.99.20.2/24\nVLAN40.Address = 10.99.40.2/24\n"
    up(b, file(b, config(b, a, more)))
    b.ping("10.99.10.1")
    b.ping("10.99.20.1")
    assert not b.ok("ping", "-c", "1", "-W", "2", "10.99.40.1")
    down(a, path)
    unchanged(a, before)
    path = file(
        a,
        config(
            a, b, "Bridge = br0\nBridgeCreate = yes\nBridgeVLANFiltering = yes\nBridgePVID = off"
        ),
    )
    up(a, path)
    assert not a.run("bridge", "vlan", "show", "dev", "wg1").replace("wg1", "").split()[3:]
    down(a, path)


def transfer(sender: Host, receiver: Host, address: str, size: int) -> int:
    """Send by TCP; the sender's maximum segment size. Fails if it does not arrive."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(receiver):
        listener = socket.create_server((address, 5000), family=family)
    with inside(sender):
        one = socket.create_connection((address, 5000), timeout=LONG)
    other, _ = listener.accept()
    other.settimeout(LONG)
    with listener, one, other, ThreadPoolExecutor(1) as sender_thread:
        one.settimeout(LONG)
        # sent while it is read: two sockets' buffers need not hold all of it
        sending = sender_thread.submit(one.sendall, bytes(size))
        got = 0
        while got < size and (data := other.recv(65536)):
            got += len(data)
        sending.result()
        assert got == size
        return one.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def test_hosts_behind_the_bridge_keep_1500(hosts: Hosts) -> None:
    """As in test_bridge_of_two_sites, with C and D at 1500; A alone clamps, for both directions.

      C             A                                 B              D
    +------+      +------+-----+-----+      +-----+-----+------+      +------+
    | eth0 |------| eth1 | br0 | wg1 |======| wg1 | br0 | eth1 |------| eth0 |
    | 1500 |      |  MSSClamp  | 1406|      | 1406|            |      | 1500 |
    +------+      +------------+-----+      +-----+------------+      +------+
    """
    a, b, c, d = hosts("A", "B", "C", "D")
    underlay(a, b)
    cable(a, c, "eth1", "eth0")
    cable(b, d, "eth1", "eth0")
    for host, last in ((c, 3), (d, 4)):
        host.ip(
            f"address add 192.168.157.{last}/24 dev eth0",
            f"address add fd00:157::{last}/64 dev eth0 nodad",
        )
    before = world(a, *NFT)
    more = "Bridge = br0\nBridgeCreate = yes\nBridgePorts = eth1\n"
    up(b, file(b, config(b, a, more)))
    path = file(a, config(a, b, more + "MSSClamp = yes\n"))
    up(a, path)
    c.ping("192.168.157.4")
    # 12 bytes of each segment are for the time stamps
    assert transfer(c, d, "192.168.157.4", 200_000) == 1406 - 40 - 12
    assert transfer(d, c, "192.168.157.3", 200_000) == 1406 - 40 - 12
    assert transfer(c, d, "fd00:157::4", 200_000) == 1406 - 60 - 12
    assert transfer(d, c, "fd00:157::3", 200_000) == 1406 - 60 - 12
    down(a, path)
    unchanged(a, before, *NFT)
    path = file(a, config(a, b, more + "MSSClamp = 1000\n"))
    up(a, path)
    c.ping("192.168.157.4")
    assert transfer(c, d, "192.168.157.4", 20_000) == 1000 - 12
    down(a, path)
    unchanged(a, before, *NFT)


def test_clamping_where_it_is_routed(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    before = world(a, *NFT)
    more = "Kind = wireguard\nAddress = 192.168.157.{}/24\nTable = off\n"
    up(b, file(b, config(b, a, more.format(2))))
    path = file(a, config(a, b, more.format(1) + "MSSClamp = 900\n"))
    up(a, path)
    assert transfer(a, b, "192.168.157.2", 20_000) == 900 - 12
    down(a, path)
    unchanged(a, before, *NFT)


def test_down_without_its_file(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    before = world(a)
    marker = Path("/tmp/post-down")
    more = "Bridge = br0\nBridgeCreate = yes\nBridgeAddress = 192.168.9.1/24\n"
    for spoil in ("[Interface]\nAdress = 1\n", None):
        marker.unlink(missing_ok=True)
        path = file(a, config(a, b, more + f"PostDown = touch {marker}\n"))
        up(a, path)
        Path(path).unlink()
        if spoil is not None:
            file(a, spoil)
        said = ctl(a, "down", path)
        assert said.status == 0 and "going by what 'up' has recorded" in said.err, said.err
        assert marker.exists()
        unchanged(a, before)


def test_down_after_up_was_killed(hosts: Hosts) -> None:
    """SIGKILL leaves no time to undo anything; the record has it all."""
    a, b = hosts("A", "B")
    underlay(a, b)
    before = world(a)
    marker = Path("/tmp/post-up")
    marker.unlink(missing_ok=True)
    more = "Bridge = br0\nBridgeCreate = yes\nBridgeAddress = 192.168.9.1/24\n"
    path = file(a, config(a, b, more + f"PostUp = touch {marker}; exec sleep 1000\n"))
    process = program(a, "up", path)
    eventually(marker.exists, "up has come to its last step")
    # while it runs nobody else may touch the link
    said = ctl(a, "down", path)
    assert said.status == 1 and "is working on wg1 (wait for it, or: kill " in said.err
    # a kernel of our own has no list of a task's children (CONFIG_PROC_CHILDREN)
    children = sh("ps", "-o", "pid=", "--ppid", str(process.pid)).split()
    process.kill()
    process.wait(timeout=LONG)
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    assert process.stderr is not None
    process.stderr.close()
    down(a, path)
    unchanged(a, before)
    # the link deleted by hand: the next `up` clears the rest away
    path = file(a, config(a, b, more))
    up(a, path)
    a.ip("link delete wg1")
    assert done(a, "check", path) == ""
    said = ctl(a, "up", path)
    assert said.status == 0 and "wg1 went without 'down'" in said.err
    down(a, path)
    unchanged(a, before)

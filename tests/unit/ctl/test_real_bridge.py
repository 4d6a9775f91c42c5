# SPDX-License-Identifier: GPL-2.0
"""up and down against the host's own bridge, in a namespace (root).

A veth link stands for the tunnel, whose kind the host need not have; tests/vm/test_ctl_bridge.py
does the same with tunnels.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l2wgctl.model import Device
from l2wgctl.netlink import device as devices
from l2wgctl.netlink import link as rtnl
from l2wgctl.netlink.link import Link, Links, enter_netns
from l2wgctl.updown import record
from tests.unit.ctl.conftest import PEER_A, PRIVATE, Result

Run = Callable[..., Result]
Conf = Callable[..., Path]
HEAD = f"[Interface]\nPrivateKey = {PRIVATE}\n"
TAIL = f"[Peer]\nPublicKey = {PEER_A}\nAllowedIPs = 0.0.0.0/0, ::/0\n"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@pytest.fixture
def netns(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This thread's namespace: br0 and eth1, both down, and a tunnel's kind that is veth."""
    from pyroute2.netns import setns

    name = f"l2wg-bridge-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in ("link add br0 type bridge", "link add eth1 type veth peer name far"):
            if subprocess.run(["ip", "-n", name, *words.split()], check=False).returncode:
                pytest.skip("this kernel has no bridges or veth links")
        # What the kernel does once and for all: a link gets its queueing discipline when it first
        # comes up, and a bridge has neither address nor carrier when its last port has gone.
        for words in ("br0 up", "br0 down", "eth1 up", "eth1 down", "eth1 master br0"):
            subprocess.run(["ip", "-n", name, "link", "set", *words.split()], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "eth1", "nomaster"], check=True)
        with open("/proc/thread-self/ns/net") as here:
            enter_netns(name)
            try:
                tunnels(monkeypatch)
                yield name
            finally:
                setns(here.fileno(), flags=0)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def tunnels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have wg1 and wg2 be veth links that pass for tunnels, and no family that sets keys."""
    real = rtnl._link

    def seen(message: Any) -> Link:
        found = real(message)
        return found._replace(kind="l2wireguard") if found.name in ("wg1", "wg2") else found

    def add(links: Links, name: str, kind: str) -> None:
        links._ipr.link("add", ifname=name, kind="veth", peer={"ifname": f"far-{name}"})

    monkeypatch.setattr(rtnl, "_link", seen)
    monkeypatch.setattr(Links, "add", add)
    monkeypatch.setattr(devices, "set_device", lambda device, resolve: None)
    monkeypatch.setattr(devices, "get_device", lambda name: Device(name))


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def world() -> list[str]:
    """Everything that up may change; the second look is at addresses without their states."""
    return [
        re.sub(r"\w+_timer +[\d.]+", "", line.partition(" tentative")[0])
        for words in (("-d", "link"), ("address",), ("route", "show", "table", "all"))
        for line in ip(*words).splitlines()
        if "valid_lft" not in line and "fe80::" not in line and "ff00::" not in line
    ]


def vlans(port: str) -> list[tuple[int, int, list[str]]]:
    text = subprocess.run(
        ["bridge", "-j", "vlan", "show", "dev", port], capture_output=True, text=True, check=True
    ).stdout
    return [
        (entry["vlan"], entry.get("vlanEnd", entry["vlan"]), entry.get("flags", []))
        for found in json.loads(text)
        for entry in found["vlans"]
    ]


def test_everything_comes_back(netns: str, run: Run, conf: Conf) -> None:
    before = world()
    text = HEAD + (
        "Bridge = br0\nBridgeSTP = yes\nBridgePorts = eth1\n"
        "BridgeAddress = 192.168.9.1/24, fd00:9::1/64\n"
    )
    vlan_aware = "BridgeVLANFiltering = yes\nBridgePVID = 10\nBridgeVLANs = 20, 30-39\n"
    path = conf(text + vlan_aware + TAIL)
    brought_up = run("up", path)
    if "the kernel has none" in brought_up.err:
        assert brought_up.status == 1 and world() == before
        assert brought_up.err.splitlines()[-1] == (
            "l2wgctl: set vlan_filtering: br0: VLANs of bridges: the kernel has none "
            "(CONFIG_BRIDGE_VLAN_FILTERING)"
        )
        vlan_aware = ""
        path = conf(text + TAIL)
        brought_up = run("up", path)
    assert brought_up.status == 0, brought_up.err
    (bridge,) = json.loads(ip("-j", "-d", "link", "show", "br0"))
    data = bridge["linkinfo"]["info_data"]
    assert data["stp_state"] == 1
    if vlan_aware:
        assert data["vlan_filtering"] == 1
        assert vlans("wg1") == [
            (10, 10, ["PVID", "Egress Untagged"]),
            (20, 20, []),
            (30, 39, []),
        ]
    (port,) = json.loads(ip("-j", "link", "show", "eth1"))
    assert port["master"] == "br0" and "UP" in port["flags"]
    down = run("down", path)
    assert down.status == 0, down.err
    assert world() == before
    assert not list(record.folder().glob("*.json"))


def test_addresses_that_were_there(netns: str, run: Run, conf: Conf) -> None:
    for address in ("192.168.9.1/24", "192.168.9.5/24"):
        ip("address", "add", address, "dev", "br0")
    ip("link", "set", "br0", "up")
    before = world()
    path = conf(HEAD + "Bridge = br0\nBridgeAddress = 192.168.9.1/24, 192.168.7.1/24\n" + TAIL)
    assert run("up", path).status == 0
    # Linux removes this one with the first address of its subnet, which is ours
    ip("address", "add", "192.168.7.5/24", "dev", "br0")
    down = run("down", path)
    assert down.err.splitlines() == [
        "[#] ip link delete dev wg1",
        "[#] ip -4 address delete 192.168.7.1/24 dev br0",
    ]
    assert "192.168.7.5/24" in ip("address", "show", "dev", "br0")
    ip("address", "delete", "192.168.7.5/24", "dev", "br0")
    assert world() == before


@pytest.mark.parametrize("first", ["wg1", "wg2"])
def test_two_links_and_a_bridge_of_theirs(netns: str, run: Run, conf: Conf, first: str) -> None:
    ip("link", "delete", "br0")
    before = world()
    text = HEAD + "Bridge = br0\nBridgeCreate = yes\nBridgeAddress = 192.168.9.1/24\n"
    paths = [conf(text + "BridgePorts = eth1\n" + TAIL, f"{name}.conf") for name in ("wg1", "wg2")]
    for path in paths:
        assert run("up", path).status == 0
    paths.sort(key=lambda path: path.stem != first)
    assert run("down", paths[0]).status == 0
    assert "192.168.9.1/24" in ip("address", "show", "dev", "br0")
    assert run("down", paths[1]).status == 0
    assert world() == before


def test_a_failure_anywhere(
    netns: str, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step fails; all before it is undone, in the kernel, too."""
    before = world()
    text = HEAD + "Bridge = br0\nBridgeSTP = yes\nBridgePorts = eth1\nPostUp = exit 3\n"
    path = conf(text + "BridgeAddress = 192.168.9.1/24\n" + TAIL)
    result = run("up", path)
    assert result.status == 1 and result.err.endswith("command 'exit 3' ended with status 3\n")
    assert world() == before

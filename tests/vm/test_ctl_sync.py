# SPDX-License-Identifier: GPL-2.0
"""syncconf against the real module: what `wg setconf` comes to, and a second time nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.vm.ctl import ctl, done, file
from toolkit.guest.hosts import Host, keys

from tests.vm.test_ctl import key  # isort: skip

Hosts = Callable[..., list[Host]]
P1, P2 = key(1), key(2)
NETWORKS = [
    "0.0.0.0/0",
    "0.0.0.0/32",
    "10.0.0.0/8",
    "10.1.2.3/8",
    "10.1.0.0/16",
    "::/0",
    "fd00::/8",
]


@pytest.fixture
def host(hosts: Hosts) -> Host:
    """One host with a key."""
    host = hosts("H")[0]
    keys(host)
    return host


def networks(host: Host, name: str) -> dict[str, set[str]]:
    """AllowedIPs by peer, by `wg`."""
    rows = (line.split("\t") for line in host.run("wg", "show", name, "allowed-ips").splitlines())
    return {peer: set(found.split()) for peer, found in rows}


def test_two_peers_with_the_same_networks(host: Host) -> None:
    path = file(
        host,
        f"[Interface]\nPrivateKey = {host.key}\nListenPort = 0\n"
        f"[Peer]\nPublicKey = {P1}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
        f"[Peer]\nPublicKey = {P2}\nAllowedIPs = 0.0.0.0/0\n",
    )
    done(host, "add", "wg1")
    host.run("wg", "setconf", "wg1", path)
    host.run("ip", "link", "set", "wg1", "up")
    port = host.run("wg", "show", "wg1", "listen-port")
    assert port != "0\n"
    for _ in range(3):
        assert done(host, "diff", "wg1", path) == ""
        done(host, "syncconf", "wg1", path)
        assert networks(host, "wg1") == {P1: {"::/0"}, P2: {"0.0.0.0/0"}}
        assert host.run("wg", "show", "wg1", "listen-port") == port
    # the other way round it goes over, and stays
    done(host, "set", "wg1", "peer", P1, "allowed-ips", "0.0.0.0/0,::/0")
    assert done(host, "diff", "wg1", path) == (
        f"- peer {P1} allowed-ips 0.0.0.0/0\n+ peer {P2} allowed-ips 0.0.0.0/0\n"
    )
    done(host, "syncconf", "wg1", path)
    assert networks(host, "wg1") == {P1: {"::/0"}, P2: {"0.0.0.0/0"}}
    assert done(host, "diff", "wg1", path) == ""


def random_file(chance: random.Random, own: str) -> str:
    """Peers that claim each other's networks; a key that is not clamped now and then."""
    private = own if chance.random() < 0.7 else key(0xFF + chance.randrange(3))
    text = f"[Interface]\nPrivateKey = {private}\n"
    text += chance.choice(["", "FwMark = 7\n", "ListenPort = 4000\n", "ListenPort = 0\n"])
    for number in chance.sample(range(1, 6), chance.randrange(5)):
        text += f"[Peer]\nPublicKey = {key(number)}\n"
        text += chance.choice(["", "PersistentKeepalive = 25\n"])
        text += chance.choice(["", "", f"PresharedKey = {key(9)}\n"])
        text += chance.choice(["", "Endpoint = 192.0.2.1:5\n", "Endpoint = [2001:db8::1]:5\n"])
        found = chance.sample(NETWORKS, chance.randrange(len(NETWORKS)))
        text += f"AllowedIPs = {', '.join(found)}\n" if found else ""
    return text


def test_random_files(host: Host) -> None:
    """One link goes from file to file by syncconf; the other is set anew by `wg setconf`."""
    chance = random.Random(11)
    for name in ("wg1", "wg2"):
        done(host, "add", name)
    for _ in range(40):
        path = file(host, random_file(chance, host.key))
        said = ctl(host, "syncconf", "wg1", path)
        assert said.status == 0, said.err
        host.run("wg", "setconf", "wg2", path)
        assert networks(host, "wg1") == networks(host, "wg2")
        for field in ("private-key", "fwmark", "persistent-keepalive", "preshared-keys"):
            ours, theirs = (host.run("wg", "show", name, field) for name in ("wg1", "wg2"))
            assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
        again = ctl(host, "diff", "wg1", path)
        assert (again.status, again.out) == (0, "")

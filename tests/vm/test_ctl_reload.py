# SPDX-License-Identifier: GPL-2.0
"""reload on a link with a session: everything changes but the session."""

from __future__ import annotations

from collections.abc import Callable

from tests.vm.ctl import ctl, done, file
from tests.vm.test_ctl_up import config, up
from toolkit.guest.hosts import Host, underlay

Hosts = Callable[..., list[Host]]


def addresses(host: Host, name: str) -> list[str]:
    """IPv4 addresses of a link."""
    lines = host.run("ip", "-4", "-o", "address", "show", "dev", name).splitlines()
    return [line.split()[3] for line in lines]


def test_everything_but_the_session(hosts: Hosts) -> None:
    a, b = hosts("A", "B")
    underlay(a, b)
    before = (
        "Address = 192.168.157.1/24, 192.168.157.11/24\nMTU = 1400\nVLANs = 7, 8\n"
        "VLAN7.Address = 192.168.7.1/24\n"
    )
    path = file(a, config(a, b, before))
    up(a, path)
    up(
        b,
        file(
            b,
            config(b, a, "Address = 192.168.157.2/24\nVLANs = 7\nVLAN7.Address = 192.168.7.2/24\n"),
        ),
    )
    a.ping("192.168.157.2")
    assert done(a, "diff", "wg1", path) == ""

    def one_session() -> None:
        """A peer that was made anew has had no handshake yet, and counts from zero."""
        assert not done(a, "show", "wg1", "latest-handshakes").endswith("\t0\n")
        assert a.link("wg1")["ifindex"] == index

    index = a.link("wg1")["ifindex"]
    one_session()
    # .1 is the primary address: with it the kernel removes .11, which is to stay
    after = (
        "MACAddress = 02:ca:fe:f0:0e:77\nAddress = 192.168.157.11/24, 192.168.157.12/24\n"
        "MTU = 1300\nVLANs = 7, 9.10\nVLAN7.Address = 192.168.7.3/24\n"
        "VLAN9.10.Address = 192.168.9.1/24\n"
    )
    path = file(a, config(a, b, after) + "PersistentKeepalive = 25\n")
    expected = done(a, "diff", "wg1", path)
    assert "- interface Address 192.168.157.1/24\n" in expected
    assert "~ interface MTU 1400 -> 1300\n" in expected
    said = ctl(a, "reload", path)
    assert (said.status, said.out) == (0, ""), said.err
    assert all(line.startswith("[#] ") for line in said.err.splitlines()), said.err
    one_session()
    assert done(a, "diff", "wg1", path) == ""
    assert ctl(a, "reload", path) == (0, "", "")
    assert sorted(addresses(a, "wg1")) == ["192.168.157.11/24", "192.168.157.12/24"]
    assert addresses(a, "wg1.7") == ["192.168.7.3/24"]
    assert addresses(a, "wg1.9.10") == ["192.168.9.1/24"]
    assert not a.ok("ip", "link", "show", "wg1.8")
    mtus = [a.link(name)["mtu"] for name in ("wg1", "wg1.7", "wg1.9", "wg1.9.10")]
    assert mtus == [1300, 1296, 1296, 1292]
    assert a.link("wg1")["address"] == "02:ca:fe:f0:0e:77"
    b.run("ip", "neigh", "flush", "all")
    a.ping("192.168.157.2")
    a.ping("192.168.7.2")
    # into a bridge and out of it again
    a.ip("link add br0 type bridge", "link set br0 up")
    bridge = "Bridge = br0\nBridgeAddress = 192.168.157.1/24\n"
    bridged = config(a, b, bridge + "MACAddress = 02:ca:fe:f0:0e:77\nMTU = 1300\n")
    path = file(a, bridged + "PersistentKeepalive = 25\n")
    assert ctl(a, "reload", path).status == 0
    one_session()
    assert a.link("wg1")["master"] == "br0" and done(a, "diff", "wg1", path) == ""
    a.ping("192.168.157.2")
    said = ctl(a, "reload", file(a, config(a, b, "Kind = wireguard\n")))
    new_link = "takes a new link (l2wgctl restart wg1)"
    assert [line for line in said.err.splitlines() if "[#]" not in line][-4:] == [
        f"l2wgctl: wg1: warning: Kind l2wireguard -> wireguard {new_link}",
        f"l2wgctl: wg1: warning: MACAddress 02:ca:fe:f0:0e:77 -> (none) {new_link}",
        f"l2wgctl: wg1: warning: BridgeAddress 192.168.157.1/24 -> (none) {new_link}",
        f"l2wgctl: wg1: warning: MTU 1300 -> (none) {new_link}",
    ]
    said = ctl(a, "restart", file(a, bridged))
    assert said.status == 0, said.err
    a.ping("192.168.157.2")

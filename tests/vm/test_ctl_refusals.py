# SPDX-License-Identifier: GPL-2.0
"""What the real kernel refuses, and that l2wgctl says the reason that holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.vm.ctl import ctl, file, unchanged, world
from toolkit.guest.hosts import Host, keys

Hosts = Callable[..., list[Host]]


@pytest.fixture
def host(hosts: Hosts) -> Host:
    """One host with a key."""
    host = hosts("H")[0]
    keys(host)
    return host


def refused(host: Host, interface: str) -> str:
    """The last line of an `up` that fails and leaves nothing behind."""
    before = world(host)
    text = f"[Interface]\nPrivateKey = {host.key}\n{interface}\n"
    said = ctl(host, "up", file(host, text))
    assert (said.status, said.out) == (1, ""), said.err
    unchanged(host, before)
    return said.err.splitlines()[-1]


OFF = (
    "br0: IPv6 is off for this link by sysctl (sysctl net.ipv6.conf.all.disable_ipv6=0 "
    "net.ipv6.conf.default.disable_ipv6=0, or use IPv4 only)"
)


def test_ipv6_that_is_off(host: Host) -> None:
    host.run("sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1")
    assert refused(host, "Address = fd00::1/64") == (
        "l2wgctl: /etc/l2wg-H/wg1.conf:3:1: Address has IPv6 addresses, and IPv6 is off on this "
        "host (sysctl net.ipv6.conf.default.disable_ipv6=0, or leave them out)"
    )
    # a bridge that is there has a setting of its own, and this one an address that stays
    host.ip("link add br0 address 02:00:00:00:00:01 type bridge")
    line = refused(host, "Bridge = br0\nBridgeAddress = fd00::1/64")
    # newer kernels also say it
    assert line.replace(" [IPv6 is disabled on this device]", "") == (
        f"l2wgctl: add address fd00::1/64: {OFF}"
    )
    host.run("sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=0")
    text = f"[Interface]\nPrivateKey = {host.key}\nAddress = fd00::1/64\n"
    assert ctl(host, "up", file(host, text)).status == 0


def test_a_master_that_takes_no_ports(host: Host) -> None:
    host.ip("link add dummy0 type dummy")
    assert refused(host, "Master = dummy0").startswith(
        "l2wgctl: enslave: wg1: what it shall be a port of takes no ports"
    )

# SPDX-License-Identifier: GPL-2.0
"""rtnetlink: against the host's kernel in a namespace (root), and against stubs for the kinds that
not every kernel has (bridge, VLAN, tunnels: those are tested in the VM)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from l2wgctl.errors import KernelError
from l2wgctl.machine import module_hint
from l2wgctl.netlink import ethtool, link
from l2wgctl.netlink.link import BRIDGE_ALIAS, Links, enter_netns

ROOT = Path(__file__).resolve().parents[3]


class StubRoute:
    """Notes what is asked of pyroute2; `answers` are raised or returned, in order."""

    def __init__(self, *answers: object) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers = list(answers)

    def link(self, command: str, **values: Any) -> object:
        if command == "get":
            return iter([StubMessage(values["ifname"])])
        self.calls.append((command, values))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer


class StubMessage(dict):  # type: ignore[type-arg]
    """A link with the index 9."""

    def __init__(self, name: str | bytes) -> None:
        super().__init__(index=9, flags=1)
        self.name = name

    def get_attr(self, name: str) -> object:
        return {"IFLA_IFNAME": self.name, "IFLA_MTU": 1500}.get(name)


def test_bridge_and_vlan_requests() -> None:
    stub = StubRoute()
    links = Links(stub)
    links.add_bridge("br0")
    links.add_vlan("wg1.128", "wg1", 128)
    links.set_master("wg1", "br0")
    links.set_master("wg1", None)
    links.add("wg1", "l2wireguard")
    assert stub.calls == [
        ("add", {"ifname": "br0", "kind": "bridge"}),
        ("set", {"index": 9, "ifalias": BRIDGE_ALIAS}),
        ("add", {"ifname": "wg1.128", "kind": "vlan", "link": 9, "vlan_id": 128}),
        ("set", {"index": 9, "master": 9}),
        ("set", {"index": 9, "master": 0}),
        ("add", {"ifname": "wg1", "kind": "l2wireguard"}),
    ]


def test_names_of_links_that_rtnetlink_cannot_be_asked_for() -> None:
    links = Links(StubRoute())
    assert links.get("wg\udcff") is None and links.get("w" * 16) is None
    found = links.get("w" * 15)
    assert found is not None and found.name == "w" * 15
    assert link._link(StubMessage(b"wg\xff")).name == "wg\udcff"


def test_settings_and_vlans_of_a_bridge() -> None:
    """A range has two entries in one message: the kernel joins them there only."""
    stub = StubRoute()
    asked: list[tuple[str, Any]] = []
    stub.vlan_filter = lambda command, **v: asked.append((command, v))  # type: ignore[attr-defined]
    links = Links(stub)
    links.set_bridge("br0", "stp_state", 1)
    links.edit_vlans("add", "wg1", [(10, 10, 6), (20, 29, 0)])
    assert stub.calls == [("set", {"index": 9, "kind": "bridge", "br_stp_state": 1})]
    attrs = [
        ("IFLA_BRIDGE_VLAN_INFO", {"vid": 10, "flags": 6}),
        ("IFLA_BRIDGE_VLAN_INFO", {"vid": 20, "flags": 8}),
        ("IFLA_BRIDGE_VLAN_INFO", {"vid": 29, "flags": 16}),
    ]
    assert asked == [("add", {"index": 9, "IFLA_AF_SPEC": {"attrs": attrs}})]


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (
            errno.EOPNOTSUPP,
            "Operation not supported",
            f"add: wg1: the kernel does not know links of kind l2wireguard ({module_hint()})",
        ),
        (
            errno.EPERM,
            "Operation not permitted",
            "add: wg1: not permitted (run as root, or with CAP_NET_ADMIN)",
        ),
        (
            errno.EEXIST,
            "File exists",
            "add: wg1: the name is in use (choose another, or remove it with 'l2wgctl del wg1')",
        ),
        (errno.EINVAL, "the module said so", "add: wg1: Invalid argument [the module said so]"),
    ],
)
def test_refusals(number: int, words: str, text: str) -> None:
    with pytest.raises(KernelError) as caught:
        Links(StubRoute(NetlinkError(number, words))).add("wg1", "l2wireguard")
    assert (str(caught.value), caught.value.errno) == (text, number)


def test_a_bridge_that_gets_no_mark_is_taken_away() -> None:
    stub = StubRoute([], NetlinkError(errno.EPERM, "Operation not permitted"))
    with pytest.raises(KernelError):
        Links(stub).add_bridge("br0")
    assert stub.calls[-1] == ("del", {"index": 9})


def test_counters_of_what_has_none() -> None:
    assert ethtool.counters("lo") == {}
    assert ethtool.counters("no-such-link") == {}


# -- with root ------------------------------------------------------------------------------------

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def netns() -> Iterator[str]:
    """A namespace with a pair of veth links, v0 and v1."""
    name = f"l2wg-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in ("link add v0 type veth peer name v1", "link set v1 up"):
            done = subprocess.run(["ip", "-n", name, *words.split()], check=False)
            if done.returncode:
                pytest.skip("this kernel has no veth links")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def links(netns: str) -> Iterator[Links]:
    from pyroute2.netns import setns

    with open("/proc/thread-self/ns/net") as here:
        enter_netns(netns)
        found = Links()  # its socket stays there
        setns(here.fileno(), flags=0)
    with found:
        yield found


def ip(netns: str, *words: str) -> str:
    return subprocess.run(
        ["ip", "-n", netns, *words], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.root
@needs_root
def test_links(links: Links, netns: str) -> None:
    found = links.get("v0")
    assert found and (found.kind, found.mtu, found.up) == ("veth", 1500, False)
    assert links.get("none") is None
    assert {each.name for each in links.all()} >= {"lo", "v0", "v1"}
    assert links.tunnels() == []
    links.set_mac("v0", "02:00:00:00:00:07")
    links.set_mtu("v0", 1300)
    links.set_addr_gen("v0", "none")
    links.set_up("v0")
    found = links.need("v0", "test")
    assert (found.mac, found.mtu, found.up) == ("02:00:00:00:00:07", 1300, True)
    assert "addrgenmode none" in ip(netns, "-d", "link", "show", "v0")
    assert "fe80" not in ip(netns, "address", "show", "v0")
    links.set_down("v0")
    assert not links.need("v0", "test").up
    links.delete("v0")
    assert links.get("v0") is None
    with pytest.raises(KernelError) as caught:
        links.set_up("v0")
    assert caught.value.errno == errno.ENODEV


@pytest.mark.root
@needs_root
def test_addresses_and_routes(links: Links, netns: str) -> None:
    links.set_up("v0")
    for address in ("10.1.2.3/24", "fd00::1/64", "fe80::7/64"):
        links.add_address("v0", address)
    assert links.addresses("v0") == ["10.1.2.3/24", "fd00::1/64"]
    with pytest.raises(KernelError) as caught:
        links.add_address("v0", "10.1.2.3/24")
    # Newer kernels say more in brackets.
    assert str(caught.value).startswith("add address 10.1.2.3/24: v0: it is there already")
    found = [links.has_address("v0", a) for a in ("10.1.2.3/24", "fd00::1/64", "fe80::7/64")]
    assert found == [True, True, True]
    assert not any(links.has_address("v0", a) for a in ("10.1.2.3/25", "10.1.2.0/24", "fd00::/64"))
    links.del_address("v0", "fd00::1/64")
    assert not links.has_address("v0", "fd00::1/64")
    assert links.addresses("v0") == ["10.1.2.3/24"]
    ip(
        netns,
        "address",
        "add",
        "10.2.0.7/24",
        "dev",
        "v0",
        "valid_lft",
        "900",
        "preferred_lft",
        "900",
    )
    assert links.addresses("v0") == ["10.1.2.3/24"], "not a DHCP client's"
    assert links.addresses("v0", leased=True) == ["10.1.2.3/24", "10.2.0.7/24"]
    links.add_route("10.9.0.0/16", "v0")
    links.add_route("fd09::/64", "v0")
    for network in ("0.0.0.0/0", "::/0"):
        links.add_route(network, "v0", 51820)
    assert "10.9.0.0/16 dev v0" in ip(netns, "route")
    assert "fd09::/64 dev v0" in ip(netns, "-6", "route")
    assert "default dev v0" in ip(netns, "route", "show", "table", "51820")
    assert links.table_used(51820) and not links.table_used(51821)
    way = links.route_to("10.1.2.9")
    assert way and (way.link, way.mtu) == ("v0", 1500)
    assert links.route_to("203.0.113.1") is None
    assert links.default_route() is None
    ip(netns, "route", "add", "default", "via", "10.1.2.1", "mtu", "1400")
    way = links.default_route()
    assert way and (way.link, way.mtu) == ("v0", 1400)
    way = links.route_to("203.0.113.1")
    assert way and way.mtu == 1400


@pytest.mark.root
@needs_root
@pytest.mark.parametrize(("family", "option"), [(2, "-4"), (10, "-6")])
def test_rules(links: Links, netns: str, family: int, option: str) -> None:
    before = ip(netns, option, "rule")
    rules: list[dict[str, int]] = [
        {"table": 51820, "fwmark": 51820, "flags": 2},
        {"table": 254, "FRA_SUPPRESS_PREFIXLEN": 0},
    ]
    for rule in rules:
        links.rule("add", family, **rule)
    during = ip(netns, option, "rule").splitlines()
    # wg-quick's order: what the main table has, but for its default route, comes first
    assert [line.partition(":")[2].strip() for line in during[1:3]] == [
        "from all lookup main suppress_prefixlength 0",
        "not from all fwmark 0xca6c lookup 51820",
    ]
    found = [links.rule_priority(family, **rule) for rule in rules]
    assert [str(priority) for priority in found] == [
        line.partition(":")[0] for line in (during[2], during[1])
    ]
    for rule in rules:
        links.rule("del", family, **rule)
        assert links.rule_priority(family, **rule) is None
    assert ip(netns, option, "rule") == before
    # a rule that differs in one thing is another one
    ip(netns, option, "rule", "add", "fwmark", "51820", "table", "51820")
    ip(netns, option, "rule", "add", "not", "fwmark", "51821", "table", "51820")
    ip(netns, option, "rule", "add", "table", "main", "suppress_prefixlength", "8")
    assert [links.rule_priority(family, **rule) for rule in rules] == [None, None]


@pytest.mark.root
@needs_root
def test_netns_option(netns: str) -> None:
    """In a process of its own: it moves."""
    code = (
        "import sys; from l2wgctl.netlink.link import enter_netns, Links\n"
        f"enter_netns({netns!r})\n"
        "with Links() as links: print(sorted(link.name for link in links.all()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "'v0', 'v1'" in done.stdout
    assert link.NETNS_DIR == Path("/run/netns")

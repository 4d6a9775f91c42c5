# SPDX-License-Identifier: GPL-2.0
"""What people type: the `bridge` of Debian 12 and of Debian 13 on a switch, whatever runs here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests.vm import failing, l2wg
from tests.vm.test_switch import Hosts, ip_of, mac_of, mesh, shown
from toolkit.checks import iproute2
from toolkit.guest.hosts import Failed, eventually, sh, until_listening

pytestmark = pytest.mark.newest
#: What makes an entry as if it had been learned.
LEARN = ("self", "dynamic")


@pytest.fixture(params=iproute2.RELEASES)
def bridge(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """`bridge` is that of a Debian release; its version."""
    folder = iproute2.bridge(request.param)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    version: str = iproute2.RELEASES[request.param]
    assert sh("bridge", "-V") == f"bridge utility, {version}\n"
    return version


def test_bridge_fdb(hosts: Hosts, bridge: str) -> None:
    a, b, c = mesh(hosts, "A", "B", "C")
    a.ping(ip_of(2))
    a.ping(ip_of(3))
    learned = {x["mac"]: x for x in shown(a) if "dst" in x}
    assert learned[mac_of(2)]["dst"] == l2wg.handle(b)
    assert learned[mac_of(3)]["dst"] == l2wg.handle(c)
    got = a.run("bridge", "fdb", "get", mac_of(2), "dev", "wg1", "self")
    assert l2wg.handle(b) in got

    # bound to C in VLAN 7: permanent, of C alone, and sent there
    new = "02:00:00:00:00:77"
    dst = ("dst", l2wg.handle(c))
    a.run("bridge", "fdb", "add", new, "dev", "wg1", *dst, "vlan", "7", "self")
    (entry,) = [x for x in shown(a) if x["mac"] == new]
    assert entry["vlan"] == 7 and entry["state"] == "permanent" and entry["dst"] == dst[1]
    with pytest.raises(Failed, match="the address is bound already"):
        a.run("bridge", "fdb", "add", new, "dev", "wg1", *dst, "vlan", "7", "self")
    # it asks where a frame would go: nowhere, since C may not use VLAN 7
    with pytest.raises(Failed, match="no peer is known to have this address"):
        a.run("bridge", "fdb", "get", new, "dev", "wg1", "vlan", "7", "self")
    silent = "02:00:00:00:00:78"
    a.run("bridge", "fdb", "add", silent, "dev", "wg1", *dst, "self")
    asked = a.run("bridge", "fdb", "get", silent, "dev", "wg1", "self")
    assert dst[1] in asked
    other = ("dst", l2wg.handle(b))
    a.run("bridge", "fdb", "append", new, "dev", "wg1", *other, "vlan", "7", "self")
    assert len([x for x in shown(a) if x["mac"] == new]) == 2
    a.run("bridge", "fdb", "replace", new, "dev", "wg1", *other, "vlan", "7", "self")
    assert [x["dst"] for x in shown(a) if x["mac"] == new] == [other[1]]
    a.run("bridge", "fdb", "del", new, "dev", "wg1", "vlan", "7", "self")
    assert not [x for x in shown(a) if x["mac"] == new]

    # as if it had been learned
    a.run("bridge", "fdb", "add", new, "dev", "wg1", *dst, "self", "dynamic")
    assert l2wg.number(l2wg.fdb(a)[new, 0][l2wg.Fdb.STATE]) == l2wg.LEARNED

    # without dst: an address of the link, as on every device
    a.run("bridge", "fdb", "add", "02:00:00:00:00:88", "dev", "wg1", "self", "permanent")
    assert [x for x in shown(a) if x["mac"] == "02:00:00:00:00:88"]
    a.run("bridge", "fdb", "del", "02:00:00:00:00:88", "dev", "wg1", "self")
    assert not [x for x in shown(a) if x["mac"] == "02:00:00:00:00:88"]

    for what, why in (
        (("02:00:00:00:00:99", "dev", "wg1", "self", "dynamic"), "dst names the peer"),
        (("02:00:00:00:00:99", "dev", "wg1", "self", "dst", "fe80::1"), "no peer has this handle"),
        (("02:00:00:00:00:99", "dev", "wg1", "self", "dst", "10.0.0.1"), "dst names the peer"),
        (("01:00:00:00:00:99", "dev", "wg1", "self", *dst), "unicast addresses"),
        ((mac_of(1), "dev", "wg1", "self", *dst), "the host's own"),
    ):
        with pytest.raises(Failed, match=why):
            a.run("bridge", "fdb", "add", *what)

    a.run("bridge", "fdb", "flush", "dev", "wg1", "self", check=False)

    def flushed() -> bool:
        """What B and C say of their own may be learned at once."""
        l2wg.flush(a)
        states = [l2wg.number(x[l2wg.Fdb.STATE]) for x in l2wg.fdb(a).values()]
        return l2wg.LEARNED not in states

    eventually(flushed, "nothing is learned")
    a.ping(ip_of(2))


@failing.needs_failures
def test_bridge_fdb_flush(hosts: Hosts, bridge: str) -> None:
    """By state or by port: what is learned is of one kind, so that is refused, and not taken for
    all. By VLAN, or all, where the kernel passes it on (Linux 6.0); before, none is touched.

    On one kernel only, of Linux 6.12.
    """
    a, b = mesh(hosts, "A", "B")
    l2wg.set_peer(a, b, allowed_vlans=l2wg.vlans((0, 0), (5, 5)))
    new = "02:00:00:00:00:77"
    add = ("bridge", "fdb", "add", new, "dev", "wg1", "dst", l2wg.handle(b), "vlan", "5", *LEARN)
    a.run(*add)
    a.ping(ip_of(2))
    both = {(mac_of(2), 0), (new, 5)}
    flush = ("bridge", "fdb", "flush", "dev", "wg1", "self")
    for how in ("permanent", "nopermanent", "static", "extern_learn", "brport eth0"):
        assert not a.ok(*flush, *how.split()), how
        assert both <= set(l2wg.fdb(a)), how
    if a.ok(*flush, "vlan", "5"):
        assert both & set(l2wg.fdb(a)) == {(mac_of(2), 0)}
        a.run(*add)
        a.run(*flush)
        assert (new, 5) not in l2wg.fdb(a)
    else:
        assert not a.ok(*flush)
        assert both <= set(l2wg.fdb(a))


def test_bridge_monitor_fdb(hosts: Hosts, bridge: str) -> None:
    """Learned, moved, forgotten, bound by hand: one line each."""
    a, b, c = mesh(hosts, "A", "B", "C")
    a.ping(ip_of(2))
    monitor = a.start("bridge", "monitor", "fdb")
    assert monitor.stdout
    until_listening(monitor)

    def told(mac: str) -> Iterator[str]:
        assert monitor.stdout
        for line in monitor.stdout:
            if mac in line:
                yield line.strip()

    ours = told(mac_of(2))
    l2wg.flush(a)
    assert next(ours).startswith(f"Deleted {mac_of(2)} dev wg1 dst {l2wg.handle(b)} self")
    a.ping(ip_of(2))
    assert re.fullmatch(rf"{mac_of(2)} dev wg1 dst {l2wg.handle(b)} self *", next(ours))
    # of what is done by hand Linux itself tells (rtnl_fdb_notify()), and not of whom it is
    new = "02:00:00:00:00:77"
    by_hand = told(new)
    for verb, host in (("add", b), ("replace", c)):
        a.run("bridge", "fdb", verb, new, "dev", "wg1", "dst", l2wg.handle(host), "self")
        assert next(by_hand) == f"{new} dev wg1 self permanent"
    a.run("bridge", "fdb", "del", new, "dev", "wg1", "self")
    assert next(by_hand).startswith(f"Deleted {new} dev wg1")
    monitor.kill()

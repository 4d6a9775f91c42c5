# SPDX-License-Identifier: GPL-2.0
"""l2wgctl and a switch: the API of the family `l2wg`, keys of the file, commands.

B   C       (l2wireguard: one peer each)
 \\ /
  A         (l2wgswitch)
"""

from __future__ import annotations

import errno
from collections.abc import Callable

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
from tests.vm.test_switch import hub, ip_of, mac_of
from toolkit.guest.hosts import Host, eventually, inside

pytestmark = pytest.mark.newest

Hosts = Callable[..., list[Host]]
MAC, MAC2, MAC3 = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"


def key(host: Host) -> Key:
    return Key(l2wg.key(host))


def test_the_api(hosts: Hosts) -> None:
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    with inside(a):
        switches = Switches()
        events = switches.events("wg1", timeout=60)
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

# SPDX-License-Identifier: GPL-2.0
"""The files that the demonstration of a switch writes: `check` has nothing against them."""

from __future__ import annotations

from l2wgctl.conf.check import lint
from l2wgctl.conf.parse import parse
from toolkit.guest import ctl_switch, switch_demo

PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
KEYS = (
    "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
    "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
    "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=",
)


def test_the_files_of_the_demonstration() -> None:
    hub = switch_demo.HUB.format(key=PRIVATE)
    for last, (name, public) in enumerate(zip(switch_demo.NAMES[1:], KEYS), 2):
        hub += switch_demo.SITE_AT_HUB.format(name=name, public=public, last=last)
    site = switch_demo.SITE.format(key=PRIVATE, public=KEYS[0], last=2)
    for text in (hub, site):
        found = parse(text, "wg1.conf")
        assert [*found.warnings, *lint(found)] == []
    switch = parse(hub, "").switch
    assert switch is not None
    macs = [mac for options in switch.peers.values() for mac in options.allowed_macs or ()]
    assert macs == [f"02:ca:fe:f0:0e:0{last}" for last in (2, 3, 4)]


def test_the_entries_of_the_benchmark() -> None:
    """As many as it says, each at one peer, and a hundredth of the peers has another one."""
    for peers in ctl_switch.SIZES:
        before, after = (ctl_switch.macs(peers, changed=changed) for changed in (False, True))
        every = [mac for macs in before for mac in macs]
        assert len(every) == len(set(every)) == ctl_switch.ENTRIES
        differ = sum(a != b for a, b in zip(before, after))
        assert differ == len([x for x in range(0, peers, ctl_switch.CHANGED) if before[x]])

# SPDX-License-Identifier: GPL-2.0
"""The generic-netlink family `l2wg`: its header, its specification and our Python side agree."""

from __future__ import annotations

import re

import pytest

from l2wgctl import switch
from l2wgctl.netlink import switch_uapi
from toolkit import paths

HEADER = (paths.KERNEL / "uapi/l2wg.h").read_text()
SPEC = (paths.KERNEL / "uapi/l2wg.yaml").read_text()
#: set of attributes, or list of values, in the specification -> enum in the header
ENUMS = {
    "new-peers": "l2wg_new_peers",
    "session": "l2wg_session",
    "entry-state": "l2wg_entry_state",
    "event": "l2wg_event",
    "guard": "l2wg_guard",
}
SETS = {
    "mac": "l2wg_mac_attr",
    "prefix": "l2wg_prefix_attr",
    "vlan": "l2wg_vlan_attr",
    "counter": "l2wg_switch_counter",
    "link": "l2wg_link_attr",
    "peer": "l2wg_peer_attr",
    "fdb": "l2wg_fdb_attr",
    "event": "l2wg_event_attr",
}
#: of the header: what is no attribute or value of its own
MARKERS = re.compile(r"__\w+|\w+_UNSPEC")


def enum(name: str) -> list[str]:
    """The names of an enum of the header, in their order, without the markers at its ends."""
    found = re.search(rf"^enum {name} \{{\n(.*?)^\}};", HEADER, re.MULTILINE | re.DOTALL)
    assert found, name
    return [x for x in re.findall(r"^\t(\w+)", found[1], re.M) if not MARKERS.fullmatch(x)]


def section(name: str) -> str:
    found = re.search(rf"^{name}:\n((?: .*\n|\n)+)", SPEC, re.MULTILINE)
    assert found, name
    return found[1]


def lists(name: str, names_at: int) -> dict[str, list[str]]:
    """Of a section of the specification: what each of its lists has, by its name."""
    made = {}
    for item in re.split(r"^  -\n", section(name), flags=re.MULTILINE)[1:]:
        title = re.search(r"^    name: (.+)$", item, re.MULTILINE)
        assert title
        made[title[1]] = re.findall(rf"^ {{{names_at}}}name: (.+)$", item, re.MULTILINE)
    return made


def upper(name: str) -> str:
    return name.upper().replace("-", "_")


@pytest.mark.parametrize("name", ENUMS)
def test_values(name: str) -> None:
    prefix = upper(ENUMS[name].replace("entry_state", "entry")) + "_"
    values = lists("definitions", 8)[name]
    assert [prefix + upper(x) for x in values] == enum(ENUMS[name])


@pytest.mark.parametrize("name", SETS)
def test_attributes(name: str) -> None:
    item = next(
        x
        for x in re.split(r"^  -\n", section("attribute-sets"), flags=re.MULTILINE)
        if re.search(rf"^    name: {name}$", x, re.MULTILINE)
    )
    prefix = re.search(r"^    name-prefix: (.+)$", item, re.MULTILINE)
    assert prefix
    names = lists("attribute-sets", 8)[name]
    assert [upper(prefix[1] + x) for x in names] == enum(SETS[name])


def test_commands() -> None:
    names = re.findall(r"^      name: (.+)$", section("operations"), re.MULTILINE)
    assert [upper(f"l2wg-cmd-{x}") for x in names] == enum("l2wg_cmd")


def test_every_request_needs_the_same_capability() -> None:
    """A key's options, sessions and stations are no business of everybody's, to read either."""
    items = re.split(r"^    -\n", section("operations"), flags=re.MULTILINE)[1:]
    asked = [x for x in items if re.search(r"^      (do|dump):$", x, re.MULTILINE)]
    assert len(asked) == len(enum("l2wg_cmd")) - 2  # all but the notifications
    assert all("\n      flags: [uns-admin-perm]\n" in x for x in asked)
    source = (paths.KERNEL / "l2wg_genl.c").read_text()
    (table,) = re.findall(r"^static const struct genl_ops .*?^};", source, re.M | re.S)
    assert table.count(".flags = GENL_UNS_ADMIN_PERM,") == table.count(".cmd = ") == len(asked)


def test_multicast_groups() -> None:
    names = re.findall(r"^      name: (.+)$", section("mcast-groups"), re.MULTILINE)
    assert names == re.findall(r'^#define L2WG_MCGRP_\w+ "(\w+)"$', HEADER, re.MULTILINE)
    assert names == [switch_uapi.MCGRP_EVENTS, switch_uapi.MCGRP_SESSIONS]
    # each has operations, and none is named that is not there
    assert set(re.findall(r"^      mcgrp: (.+)$", SPEC, re.MULTILINE)) == set(names)


def test_names_of_counters_are_those_of_ethtool() -> None:
    source = (paths.KERNEL / "l2wg_switch.c").read_text()
    found = re.findall(r"\[L2WG_COUNTER_(\w+) - 1\]\s*= \"(\w+)\"", source)
    assert [f"L2WG_COUNTER_{x}" for x, _ in found] == enum("l2wg_switch_counter")[1:]
    assert [x.lower() for x, _ in found] == [y for _, y in found]


def plain(names: list[str]) -> list[str]:
    """Without what all names of an enum begin with."""
    return [
        re.sub(r"^L2WG_(CMD|A_[A-Z]+|COUNTER|EVENT|SESSION|ENTRY|GUARD)_", "", x) for x in names
    ]


def test_our_python_side() -> None:
    for name, of in {
        "Cmd": "l2wg_cmd",
        "Link": "l2wg_link_attr",
        "Peer": "l2wg_peer_attr",
        "Fdb": "l2wg_fdb_attr",
        "Event": "l2wg_event_attr",
    }.items():
        ours = {k: v for k, v in vars(getattr(switch_uapi, name)).items() if k.isupper()}
        assert list(ours.values()) == list(range(1, len(ours) + 1)), name
        assert list(ours) == plain(enum(of)), name
    for values, of in (
        (switch.COUNTERS, "l2wg_switch_counter"),
        (switch.EVENTS, "l2wg_event"),
        (switch.SESSIONS, "l2wg_session"),
        (switch.STATES, "l2wg_entry_state"),
        (switch.GUARDS, "l2wg_guard"),
    ):
        named = [x.lower() for x in plain(enum(of)) if x != "PAD"]
        assert list(values) == named, of
    for of, count in (("l2wg_mac_attr", 1), ("l2wg_prefix_attr", 3), ("l2wg_vlan_attr", 3)):
        numbers = [getattr(switch_uapi, x.removeprefix("L2WG_A_")) for x in enum(of)]
        assert numbers == list(range(1, count + 1)), of


def test_counters_have_64_bits_on_every_machine() -> None:
    """The header says u64: an atomic_long_t, which has 32 bits on some, comes round at 4 GiB."""
    for file in paths.KERNEL.glob("*.[ch]"):
        assert "atomic_long" not in file.read_text(), file.name

# SPDX-License-Identifier: GPL-2.0
"""Hypothesis: records and what they are made of. Small pools, so that hosts claim the same."""

from __future__ import annotations

from typing import Any, TypeVar

from hypothesis import strategies as st

from l2wgctl.conf.values import allowed_ip
from l2wgctl.mesh.record import Alive, Listed, MeshList, Record, Request
from l2wgctl.model import Endpoint, Key

T = TypeVar("T")
names = st.sampled_from(["amman", "berlin", "cairo", "delhi", "hub1", "hub-2"])
keys = st.integers(1, 250).map(lambda number: Key(bytes([number]) * 32))
macs = st.integers(0, 40).map(lambda number: f"02:00:00:00:00:{number:02x}")
addresses = st.one_of(
    st.integers(1, 250).map(lambda number: allowed_ip(f"10.0.0.{number}/32")),
    st.integers(0, 5).map(lambda number: allowed_ip(f"10.1.{number}.0/24")),
    st.integers(1, 250).map(lambda number: allowed_ip(f"fd00::{number:x}/128")),
)
endpoints = st.builds(
    Endpoint,
    st.sampled_from(["192.0.2.1", "2001:db8::1", "berlin.example.org", "fe80::7"]),
    st.integers(1, 65535),
)
serials = st.integers(1, 2**63 - 1)
vlans = st.lists(st.integers(0, 4094), min_size=1, max_size=6, unique=True).map(
    lambda found: tuple((vid, vid) for vid in sorted(found))
)


def _lists(of: st.SearchStrategy[T], most: int) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(of, max_size=most, unique=True).map(tuple)


FIELDS: dict[str, Any] = {
    "mesh": st.just("office"),
    "name": names,
    "key": keys,
    "host_key": keys,
    "addresses": _lists(addresses, 4).map(
        lambda found: tuple(sorted(found, key=lambda ip: (len(ip.address), ip.address)))
    ),
    "macs": _lists(macs, 4).map(lambda found: tuple(sorted(found))),
    "max_macs": st.integers(0, 1048576),
    "vlans": vlans,
    "endpoints": _lists(endpoints, 3),
}
requests = st.builds(Request, **FIELDS)
records = st.builds(
    Record,
    **FIELDS,
    serial=serials,
    state=st.sampled_from(["present", "revoked"]),
)
lists = st.builds(
    MeshList,
    st.just("office"),
    serials,
    st.dictionaries(names, st.builds(Listed, serials, st.booleans())),
)
alives = st.builds(
    Alive, st.just("office"), names, serials, keys, serials, st.integers(0, 5), _lists(endpoints, 3)
)

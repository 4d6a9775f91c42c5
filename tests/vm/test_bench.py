# SPDX-License-Identifier: GPL-2.0
"""./inv bench in small: every measure is taken, and an Ethernet header costs what it has."""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from toolkit import paths
from toolkit.bench.stats import MEASURES
from toolkit.guest import bench
from toolkit.guest.contenders import CONTENDERS
from toolkit.guest.hosts import sh

OURS = ("wireguard-ours", "l2wireguard")


@pytest.fixture(scope="module")
def taken() -> dict[str, dict[str, float]]:
    """Values by contender and measure. Times in this guest mean nothing."""
    source = paths.ROOT / "toolkit/bench/packets.c"
    sh("cc", "-O1", "-o", bench.PACKETS, str(source))
    assert shutil.which(bench.PACKETS)
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for clock, name in (*(("icount", n) for n in OURS), ("wall", "l2wireguard")):
        plan = bench.Plan(clock, [], 1, (128, 64), 100, 10, [100], [10], "", "")

        def record(measure: str, value: float, unit: str, *, name: str = name) -> None:
            assert unit
            values[name][measure] = value

        bench.measure(CONTENDERS[name], plan, record)
    bench.flooding(plan, lambda measure, value, _unit: values["flooding"].update({measure: value}))
    return values


def test_every_measure_has_a_value(taken: dict[str, dict[str, float]]) -> None:
    found = taken["l2wireguard"]
    floods = {name for name in MEASURES if name.startswith("flood_copy")}
    assert set(MEASURES) - set(found) == {"instructions_per_frame_1000_peers"} | floods
    assert set(taken["flooding"]) == {"flood_copy_10"}
    # A long run less a short one, where the guest's clock goes on meanwhile: any number may come
    # out. Under -icount it is instructions.
    counted = {name: value for name, value in found.items() if "instructions" in name}
    assert counted and all(map(math.isfinite, counted.values())), counted
    others = {name: value for name, value in found.items() if name not in counted}
    assert all(value > 0 for value in others.values()), others


def test_a_frame_costs_14_bytes_more_than_a_packet(taken: dict[str, dict[str, float]]) -> None:
    plain, ether = (taken[name]["wire_overhead_bytes"] for name in OURS)
    # Ethernet, IPv4, UDP, WireGuard's header and tag, and 0 to 15 bytes of padding
    assert plain == 14 + 20 + 8 + 16 + 16 + 7.5
    assert ether - plain == 14


def test_nothing_is_left_behind(taken: dict[str, dict[str, float]]) -> None:
    assert taken
    assert not list(Path("/var/run/netns").glob("[AB]"))

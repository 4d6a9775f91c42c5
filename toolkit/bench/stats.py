# SPDX-License-Identifier: GPL-2.0
"""From single measurements to figures: medians over rounds, ratios, comparison, aims."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolkit.errors import ToolError

STOCK = "wireguard"  # the contender that ratios are to


@dataclass(frozen=True)
class Measure:
    """A measure.

    :ivar title: for tables.
    :ivar more: a larger value is better.
    :ivar tolerance: a smaller difference of two runs, as a part of the value, means nothing.
    :ivar portable: the value does not depend on the machine that runs the guest; otherwise only
        ratios may be compared.
    """

    title: str
    more: bool
    tolerance: float
    portable: bool


def _counted(title: str, *, more: bool = False, tolerance: float = 0.02) -> Measure:
    return Measure(title, more, tolerance, portable=True)


def _timed(title: str, *, more: bool = False, tolerance: float = 0.25) -> Measure:
    return Measure(title, more, tolerance, portable=False)


MEASURES: dict[str, Measure] = {
    "tcp_goodput": _counted("TCP goodput", more=True, tolerance=0.03),
    "tcp_goodput_4_streams": _counted("TCP goodput, 4 streams", more=True, tolerance=0.05),
    "instructions_per_frame": _counted("instructions a frame"),
    "instructions_per_frame_64": _counted("instructions a frame of 64 bytes"),
    "instructions_per_frame_100_peers": _counted("instructions a frame, 100 peers"),
    "instructions_per_frame_1000_peers": _counted("instructions a frame, 1,000 peers"),
    "instructions_per_segment": _counted("instructions a packet of UDP_SEGMENT"),
    "instructions_per_frame_verified": _counted("instructions a frame, checksums verified"),
    "tcp_goodput_verified": _counted("TCP goodput, checksums verified", more=True, tolerance=0.03),
    "tcp_goodput_joined": _counted("the receiver's card joins (GRO)", more=True, tolerance=0.05),
    "tcp_goodput_apart": _counted("the sender's card does not segment", more=True, tolerance=0.05),
    "rtt_median_loaded": _counted("round trip beside a stream, median", tolerance=0.1),
    "rtt_p99_loaded": _counted("the same, 99th percentile", tolerance=0.2),
    "rtt_median_uplink": _counted("the same at 10 Mbit/s, median", tolerance=0.1),
    "rtt_p99_uplink": _counted("the same at 10 Mbit/s, 99th percentile", tolerance=0.2),
    "rtt_median_forwarded": _counted("a hub's line at 10 Mbit/s, median", tolerance=0.1),
    "rtt_p99_forwarded": _counted("a hub's, 99th percentile", tolerance=0.2),
    "hub_tcp_goodput": _counted("TCP goodput through a hub", more=True, tolerance=0.03),
    "hub_instructions_per_frame": _counted("instructions a frame through a hub"),
    "flood_copy_10": _counted("a copy to each of 10 peers", tolerance=0.03),
    "flood_copy_100": _counted("to each of 100", tolerance=0.03),
    "flood_copy_1000": _counted("to each of 1,000", tolerance=0.03),
    "wire_overhead_bytes": _counted("bytes added to an IP packet", tolerance=0.001),
    "wire_bytes_per_payload_byte": _counted("bytes on the wire a byte", tolerance=0.001),
    "udp_packets_64": _timed("UDP packets a second, 64 bytes", more=True),
    "udp_packets_1406": _timed("UDP packets a second, 1,406 bytes", more=True),
    "rtt_median": _timed("round trip, median"),
    "rtt_p99": _timed("round trip, 99th percentile", tolerance=0.5),
    "tcp_goodput_wall": _timed("TCP goodput by the clock", more=True),
    "tcp_goodput_wall_4_streams": _timed("the same, 4 streams", more=True),
    "setup_time": _timed("set-up until the first echo", tolerance=0.5),
}


@dataclass(frozen=True)
class Figure:
    """A median over rounds.

    :ivar spread: largest minus smallest value of a round, as a part of the median.
    :ivar ratio: median of the ratios to the stock module in the same round; None without it.
    :ivar rounds: how many values there were.
    """

    contender: str
    measure: str
    value: float
    unit: str
    spread: float
    ratio: float | None
    rounds: int


def figures(records: Iterable[Mapping[str, Any]], stock: str = STOCK) -> list[Figure]:
    """Figures from the values of single rounds.

    :param records: mappings with ``round``, ``contender``, ``measure``, ``value`` and ``unit``;
        a round is whatever its records agree on.
    :param stock: the contender that the ratios are to.
    """
    values: dict[tuple[str, str], dict[Any, float]] = defaultdict(dict)
    units: dict[str, str] = {}
    for r in records:
        values[r["contender"], r["measure"]][r["round"]] = r["value"]
        units[r["measure"]] = r["unit"]
    found = []
    for (contender, measure), by_round in values.items():
        middle = statistics.median(by_round.values())
        base = values.get((stock, measure), {})
        ratios = [v / base[n] for n, v in by_round.items() if base.get(n)]
        found.append(
            Figure(
                contender,
                measure,
                middle,
                units[measure],
                (max(by_round.values()) - min(by_round.values())) / middle if middle else 0.0,
                statistics.median(ratios) if ratios else None,
                len(by_round),
            )
        )
    return found


def as_json(found: Iterable[Figure]) -> list[dict[str, Any]]:
    """The ``figures`` of a report, with six significant digits, more than are known."""
    return [
        {k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in asdict(f).items()}
        for f in found
    ]


def read(file: Path) -> dict[str, Any]:
    """A report that an earlier run wrote; its ``figures`` as :class:`Figure`.

    :raises ToolError: it is not one.
    """
    try:
        report: dict[str, Any] = json.loads(file.read_text())
        names = Figure.__dataclass_fields__
        report["figures"] = [
            Figure(**{k: v for k, v in f.items() if k in names}) for f in report["figures"]
        ]
    except OSError as error:
        raise ToolError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ToolError(f"{file}: not a report of `./inv bench`") from None
    return report


@dataclass(frozen=True)
class Change:
    """A figure that differs from an earlier one by more than chance explains.

    :ivar by: change as a part of the old value; above 0 if it is better.
    """

    new: Figure
    old: Figure
    by: float

    def __str__(self) -> str:
        ratios = "" if MEASURES[self.new.measure].portable else " of stock's"
        old, new = (_comparable(f) for f in (self.old, self.new))
        unit = f" {self.new.unit}" if not ratios else ""
        word = "better" if self.by > 0 else "WORSE"
        return (
            f"{word}: {self.new.contender} {self.new.measure}: "
            f"{old:.5g} -> {new:.5g}{unit}{ratios} ({abs(self.by):.1%})"
        )


def _comparable(f: Figure) -> float | None:
    """The value if it means the same on every machine, else the ratio to stock."""
    return f.value if MEASURES[f.measure].portable else f.ratio


def compare(old: Iterable[Figure], new: Iterable[Figure]) -> list[Change]:
    """What became better or worse, the worst first.

    A change counts if it exceeds the measure's tolerance and the larger spread of the two.
    A figure that only one of the two has is left out.
    """
    before = {(f.contender, f.measure): f for f in old}
    changes = []
    for f in new:
        known, measure = before.get((f.contender, f.measure)), MEASURES.get(f.measure)
        if not known or not measure:
            continue
        was, now = _comparable(known), _comparable(f)
        if not was or now is None:
            continue
        by = (now - was) / abs(was) * (1 if measure.more else -1)
        if abs(by) > max(measure.tolerance, known.spread, f.spread):
            changes.append(Change(f, known, by))
    return sorted(changes, key=lambda c: c.by)


@dataclass(frozen=True)
class Aim:
    """What we want of our own figures; ``found`` is None if it was not measured."""

    text: str
    found: float | None
    met: bool


#: TCP goodput, counted: of different streams, cards and ways.
TCP = (
    "tcp_goodput",
    "tcp_goodput_4_streams",
    "tcp_goodput_joined",
    "tcp_goodput_apart",
    "hub_tcp_goodput",
)


def aims(found: Iterable[Figure]) -> list[Aim]:
    """The aims, and whether these figures meet them."""
    by = {(f.contender, f.measure): f for f in found}

    def ratio(contender: str, measure: str, base: str = STOCK) -> float | None:
        a, b = by.get((contender, measure)), by.get((base, measure))
        if not a or not b:
            return None
        if base == STOCK:
            return a.ratio
        return a.ratio / b.ratio if a.ratio and b.ratio else None

    def value(contender: str, measure: str) -> float | None:
        figure = by.get((contender, measure))
        return figure.value if figure else None

    def aim(text: str, value: float | None, least: float, most: float) -> Aim:
        return Aim(text, value, value is not None and least <= value <= most)

    ours, stock = (by.get((c, "wire_overhead_bytes")) for c in ("l2wireguard", STOCK))
    more = ours.value - stock.value if ours and stock else None
    endless = float("inf")
    # Reports of before there were batches do not tell the two apart.
    batched = ("l2wireguard-off", "tcp_goodput") in by

    def gain(measure: str, base: str = STOCK) -> float | None:
        return ratio("l2wireguard", measure, base) if batched else None

    rows = [gain(m) for m in TCP]
    lowest = min((r for r in rows if r is not None), default=None)
    alone, name = (
        ("l2wireguard-off", "l2wireguard with batch=off")
        if batched
        else ("l2wireguard", "l2wireguard")
    )
    return [
        aim(
            "TCP goodput of l2wireguard: at least 1.5 of stock WireGuard",
            gain("tcp_goodput"),
            1.5,
            endless,
        ),
        aim(
            "the same with 4 streams: at least 1.7",
            gain("tcp_goodput_4_streams"),
            1.7,
            endless,
        ),
        aim(
            "the same, one stream: at least 1.9 of VXLAN over WireGuard",
            gain("tcp_goodput", "vxlan"),
            1.9,
            endless,
        ),
        aim(
            "instructions a frame of l2wireguard: at most 1.01 of stock WireGuard",
            gain("instructions_per_frame"),
            0,
            1.01,
        ),
        aim(
            "the same of 64 bytes: at most 1.01",
            gain("instructions_per_frame_64"),
            0,
            1.01,
        ),
        aim(
            "round trip beside a TCP stream, 99th percentile: not above stock WireGuard's",
            gain("rtt_p99_loaded"),
            0,
            1,
        ),
        aim(
            "the same at 10 Mbit/s: not above stock WireGuard's",
            gain("rtt_p99_uplink"),
            0,
            1,
        ),
        aim(
            "the same where a hub forwards both: not above stock WireGuard's",
            gain("rtt_p99_forwarded"),
            0,
            1,
        ),
        aim(
            "the lowest of l2wireguard's TCP rows: at least 0.98 of stock WireGuard",
            lowest,
            0.98,
            endless,
        ),
        aim(
            f"TCP goodput of {name}: at least 0.97 of stock WireGuard",
            ratio(alone, "tcp_goodput"),
            0.97,
            endless,
        ),
        aim(
            "TCP goodput of our plain kind: that of stock WireGuard, 3 % up or down",
            ratio("wireguard-ours", "tcp_goodput"),
            0.97,
            1.03,
        ),
        aim(
            f"TCP goodput of {name}: at least 1.10 of VXLAN over WireGuard",
            ratio(alone, "tcp_goodput", "vxlan"),
            1.10,
            endless,
        ),
        aim(
            f"instructions a frame of {name}: at most 1.03 of stock WireGuard",
            ratio(alone, "instructions_per_frame"),
            0,
            1.03,
        ),
        aim(
            "instructions a frame of our plain kind: those of stock WireGuard, 1 % up or down",
            ratio("wireguard-ours", "instructions_per_frame"),
            0.99,
            1.01,
        ),
        aim(
            "instructions a frame of a switch of two: at most 1.02 of l2wireguard",
            ratio("l2wgswitch", "instructions_per_frame", "l2wireguard"),
            0,
            1.02,
        ),
        *(
            aim(
                f"TCP goodput through a hub: at least {least:g} of {what}",
                ratio("l2wgswitch", "hub_tcp_goodput", base),
                least,
                endless,
            )
            for base, least, what in (
                ("l2wireguard", 1.05, "a bridge of a link for each spoke"),
                ("vxlan", 1.3, "VXLAN over WireGuard and a bridge"),
                ("openvpn", 2, "OpenVPN with client-to-client"),
                ("tinc", 3, "tinc"),
                ("n2n", 3, "n2n"),
            )
        ),
        *(
            aim(
                f"a broadcast's copy to each of {number:,} peers: at most 1 unicast frame",
                value("l2wgswitch", f"flood_copy_{number}"),
                0,
                1,
            )
            for number in (10, 100, 1000)
        ),
        aim("bytes on the wire a frame of l2wireguard: 14 more than stock WireGuard", more, 14, 14),
    ]

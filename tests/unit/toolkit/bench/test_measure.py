# SPDX-License-Identifier: GPL-2.0
"""./inv bench: statistics, comparison, aims, tables, and the programs that run without a guest."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from toolkit import needs, paths
from toolkit.bench import length, profile, stats
from toolkit.bench import measure as bench
from toolkit.bench import report as bench_report
from toolkit.bench.stats import MEASURES, STOCK, Figure, figures
from toolkit.errors import ToolError
from toolkit.guest import contenders as bench_links
from toolkit.guest import profile as guest_profile
from toolkit.guest.bench import FRAMES, WINDOW
from toolkit.guest.hubs import HUBS

REPORTS = sorted((paths.ROOT / "docs/bench").glob("*.json"))


def values(contender: str, measure: str, *by_round: float, unit: str = "x") -> list[dict[str, Any]]:
    return [
        {"round": n, "contender": contender, "measure": measure, "value": v, "unit": unit}
        for n, v in enumerate(by_round)
    ]


def figure(
    contender: str, measure: str, value: float, ratio: float | None = 1.0, spread: float = 0.0
) -> Figure:
    return Figure(contender, measure, value, "x", spread, ratio, 3)


def test_a_figure_is_a_median_with_its_spread() -> None:
    (found,) = figures(values("n2n", "rtt_median", 10, 40, 20))
    assert (found.value, found.spread, found.ratio, found.rounds) == (20, 1.5, None, 3)


def test_a_ratio_is_to_the_stock_module_of_the_same_round() -> None:
    """The machine slows down from round to round, and the ratio stays."""
    found = figures(
        [*values(STOCK, "tcp_goodput", 100, 50, 10), *values("vxlan", "tcp_goodput", 80, 40, 8)]
    )
    assert {f.contender: f.ratio for f in found} == {STOCK: 1, "vxlan": 0.8}


def test_a_round_without_the_stock_module_has_no_ratio() -> None:
    records = [
        *values(STOCK, "tcp_goodput", 100),
        *values("vxlan", "tcp_goodput", 80, 1000, 1000),
    ]
    found = {f.contender: f for f in figures(records)}
    assert found["vxlan"].value == 1000
    assert found["vxlan"].ratio == 0.8


def test_nothing_measured_is_no_figure() -> None:
    assert figures([]) == []


def test_a_value_of_zero_is_no_division_by_zero() -> None:
    found = figures([*values(STOCK, "setup_time", 0), *values("n2n", "setup_time", 1)])
    assert [f.ratio for f in found] == [None, None]
    assert found[0].spread == 0


@pytest.mark.parametrize(
    ("measure", "old", "new", "said"),
    [
        ("tcp_goodput", 100, 90, "WORSE: n2n tcp_goodput: 100 -> 90 x (10.0%)"),
        ("tcp_goodput", 100, 110, "better: n2n tcp_goodput: 100 -> 110 x (10.0%)"),
        (
            "instructions_per_frame",
            100,
            110,
            "WORSE: n2n instructions_per_frame: 100 -> 110 x (10.0%)",
        ),
        ("instructions_per_frame", 100, 101, None),
        (
            "wire_overhead_bytes",
            95.5,
            97.5,
            "WORSE: n2n wire_overhead_bytes: 95.5 -> 97.5 x (2.1%)",
        ),
    ],
)
def test_a_counted_figure_is_compared_by_its_value(
    measure: str, old: float, new: float, said: str | None
) -> None:
    changes = stats.compare([figure("n2n", measure, old)], [figure("n2n", measure, new)])
    assert [str(c) for c in changes] == ([said] if said else [])


def test_a_timed_figure_is_compared_by_its_ratio() -> None:
    """Another machine, half as fast: only what changed against stock counts."""
    old = [figure("n2n", "udp_packets_64", 1000, 0.5), figure("tinc", "udp_packets_64", 1000, 0.5)]
    new = [figure("n2n", "udp_packets_64", 500, 0.5), figure("tinc", "udp_packets_64", 900, 0.3)]
    assert [str(c) for c in stats.compare(old, new)] == [
        "WORSE: tinc udp_packets_64: 0.5 -> 0.3 of stock's (40.0%)"
    ]


def test_a_change_within_the_spread_is_none() -> None:
    old, new = figure("n2n", "tcp_goodput", 100, spread=0.2), figure("n2n", "tcp_goodput", 85)
    assert stats.compare([old], [new]) == []
    assert stats.compare([new], [old]) == []


def test_the_worst_change_comes_first_and_strangers_are_left_out() -> None:
    old = [figure(c, "tcp_goodput", 100) for c in ("n2n", "tinc", "gone")]
    new = [
        figure("n2n", "tcp_goodput", 90),
        figure("tinc", "tcp_goodput", 50),
        figure("new", "tcp_goodput", 1),
        figure("n2n", "no_such_measure", 1),
    ]
    assert [c.new.contender for c in stats.compare(old, new)] == ["tinc", "n2n"]


def aimed(goodput: float, plain: float, instructions: float, wire: float) -> list[Figure]:
    return [
        figure(STOCK, "tcp_goodput", 250, 1.0),
        figure("l2wireguard", "tcp_goodput", 250 * goodput, goodput),
        figure("wireguard-ours", "tcp_goodput", 250 * plain, plain),
        figure("vxlan", "tcp_goodput", 200, 0.8),
        figure(STOCK, "instructions_per_frame", 6e4, 1.0),
        figure("l2wireguard", "instructions_per_frame", 6e4 * instructions, instructions),
        figure(STOCK, "wire_overhead_bytes", 81.5),
        figure("l2wireguard", "wire_overhead_bytes", wire),
    ]


def test_aims_that_are_met() -> None:
    found = stats.aims(aimed(0.98, 1.0, 1.01, 95.5))
    assert [a.met for a in found if a.found is not None] == [True] * 5
    assert "instructions a frame of our plain kind: those of stock WireGuard, 1 % up or down" in [
        a.text for a in found if a.found is None
    ]


def test_aims_of_a_hub_and_of_flooding() -> None:
    """A hub is compared with each of its rivals, a copy with a frame."""
    found = [
        figure("l2wgswitch", "hub_tcp_goodput", 118, 1.0),
        figure("vxlan", "hub_tcp_goodput", 59, 0.5),
        figure("tinc", "hub_tcp_goodput", 59, 0.5),
        figure("l2wgswitch", "flood_copy_10", 0.9, None),
        figure("l2wgswitch", "flood_copy_100", 1.1, None),
    ]
    assert [(a.found, a.met) for a in stats.aims(found) if a.found is not None] == [
        *((2, True), (2, False)),
        *((0.9, True), (1.1, False)),
    ]


def test_aims_that_are_missed() -> None:
    found = stats.aims(aimed(0.87, 1.04, 1.04, 95.6))
    assert [a.met for a in found if a.found is not None] == [False] * 5
    assert bench_report.aim_lines(found)[0] == (
        "MISSED: TCP goodput of l2wireguard: at least 0.97 of stock WireGuard (0.87)"
    )


def test_aims_of_batches() -> None:
    """Where both are measured, l2wireguard is held to what batches have to gain."""
    found = [
        figure(STOCK, "tcp_goodput", 250, 1.0),
        figure("l2wireguard", "tcp_goodput", 350, 1.4),
        figure(STOCK, "hub_tcp_goodput", 113, 1.0),
        figure("l2wireguard", "hub_tcp_goodput", 110, 0.97),
        figure("l2wireguard-off", "tcp_goodput", 245, 0.98),
        figure(STOCK, "rtt_p99_loaded", 4300, 1.0),
        figure("l2wireguard", "rtt_p99_loaded", 3000, 0.7),
    ]
    assert bench_report.aim_lines(stats.aims(found)) == [
        "MISSED: TCP goodput of l2wireguard: at least 1.5 of stock WireGuard (1.4)",
        "met: round trip beside a TCP stream, 99th percentile: not above stock WireGuard's (0.7)",
        "MISSED: the lowest of l2wireguard's TCP rows: at least 0.98 of stock WireGuard (0.97)",
        "met: TCP goodput of l2wireguard with batch=off: at least 0.97 of stock WireGuard (0.98)",
    ]


def test_what_was_not_measured_is_not_met() -> None:
    assert not any(a.met for a in stats.aims([]))


def test_a_report_survives_the_disk(tmp_path: Path) -> None:
    found = figures(values("n2n", "tcp_goodput", 1 / 3, 1 / 3))
    file = tmp_path / "report.json"
    file.write_text(json.dumps({"figures": stats.as_json(found), "kernel": "5.10"}))
    (again,) = stats.read(file)["figures"]
    assert again.value == pytest.approx(1 / 3, rel=1e-5)
    assert stats.compare(found, [again]) == []


@pytest.mark.parametrize("text", ["", "[]", '{"figures": [{"contender": "x"}]}', '{"x": 1}'])
def test_what_is_no_report(tmp_path: Path, text: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(text)
    with pytest.raises(ToolError, match=re.escape(f"{file}: not a report of `./inv bench`")):
        stats.read(file)


def test_a_report_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="none.json: No such file"):
        stats.read(tmp_path / "none.json")


def test_every_measure_of_the_guest_is_known_and_in_a_table() -> None:
    source = (paths.ROOT / "toolkit/guest/bench.py").read_text()
    names = {
        name
        for name in re.findall(r'"([a-z0-9_{}]+)"', source)
        if re.match(r"(tcp|udp|rtt|wire|instructions|setup|hub|flood)_", name)
    }
    expanded = set()
    for name in names:
        numbers = bench.FULL.floods if name.startswith("flood") else bench.FULL.peers
        fills = {"number": numbers, "size": (64, 1406), "what": ("loaded", "uplink", "forwarded")}
        (fill,) = re.findall(r"{(\w+)}", name) or ["size"]
        expanded |= {re.sub(r"{\w+}", str(n), name) for n in fills[fill]}
    in_tables = {m for measures in bench_report.TABLES.values() for m in measures}
    assert expanded == set(MEASURES) == in_tables


def test_the_tables() -> None:
    found = [
        figure("l2wireguard", "tcp_goodput", 12345.6, 0.98765, spread=0.02),
        figure(STOCK, "tcp_goodput", 12500, 1.0),
    ]
    assert bench_report.table(found, ["tcp_goodput", "rtt_p99"], short=False) == [
        ["", "TCP goodput, x"],
        ["wireguard", "12,500 (1.000) ±0.0%"],
        ["l2wireguard", "12,350 (0.988) ±1.0%"],
    ]
    assert bench_report.table(found, ["tcp_goodput"], short=True)[2] == ["l2wireguard", "0.99"]


def test_a_document_without_marks_is_left_alone() -> None:
    with pytest.raises(ToolError, match="no place for the figures"):
        bench_report.between("text", "new")


def test_every_contenders_program_has_a_package_and_a_word_in_the_docs() -> None:
    named = {"openvpn", "tinc", "n2n"}
    assert {c.name for c in bench_links.CONTENDERS.values() if c.program} == named
    assert named <= set(needs.NEEDS["bench"])
    page = (paths.ROOT / "docs/bench.md").read_text()
    assert all(f"`{name}`" in page for name in bench_links.CONTENDERS)


def test_an_unknown_contender() -> None:
    with pytest.raises(ToolError, match="--contenders: there is no zerotier"):
        bench.extent(False, "veth,zerotier")


def test_the_number_of_rounds() -> None:
    assert bench.extent(False, None, rounds=1).icount_rounds == 1
    assert bench.extent(False, None).icount_rounds == bench.FULL.icount_rounds
    with pytest.raises(ToolError, match="--rounds: -1 rounds"):
        bench.extent(False, None, rounds=-1)


def test_only_what_the_contenders_need_is_installed() -> None:
    assert bench.FULL.packages() == set(needs.RIVALS)
    assert bench.extent(False, "wireguard,l2wireguard").packages() == set()
    assert bench.extent(True, "veth,tinc").packages() == {"tinc"}
    assert set(needs.RIVALS) <= set(needs.NEEDS["bench"])


def test_only_the_contenders_keys_are_made(tmp_path: Path) -> None:
    bench_links.make_keys(tmp_path / "keys", ["wireguard", "l2wireguard"])
    assert list((tmp_path / "keys").iterdir()) == []


def test_tincs_spokes_know_the_way_to_their_hub_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def tincd(*argv: str, **_more: str) -> str:
        folder = Path(argv[argv.index("-c") + 1])
        (folder / "hosts" / folder.name.split("-")[1]).write_text("the key\n")
        return ""

    monkeypatch.setattr(bench_links, "sh", tincd)
    keys = tmp_path / "keys"
    bench_links.make_keys(keys, ["tinc"])
    assert (keys / "star-A/hosts/H").read_text() == "Address = 10.0.1.254\nthe key\n"
    assert (keys / "star-H/hosts/A").read_text() == "the key\n"
    assert "ConnectTo = H\n" in (keys / "star-B/tinc.conf").read_text()
    assert "ConnectTo" not in (keys / "star-H/tinc.conf").read_text()
    assert (keys / "tinc-A/hosts/B").read_text() == "Address = 10.0.0.2\nthe key\n"
    assert all(f.stat().st_mode & 0o077 == 0 for f in keys.rglob("*"))


def test_every_hub_and_every_size_of_a_flood_has_its_row() -> None:
    assert set(HUBS) <= set(bench_links.CONTENDERS)
    assert {f"flood_copy_{n}" for n in bench.FULL.floods} <= set(MEASURES)
    assert set(bench.QUICK.floods) <= set(bench.FULL.floods)


@pytest.mark.parametrize(("options", "whole"), [((False, None), True), ((True, None), False)])
def test_what_is_fit_for_the_docs(options: tuple[bool, str | None], whole: bool) -> None:
    assert bench.extent(*options).whole == whole
    assert not bench.extent(options[0], "veth,wireguard").whole


@pytest.mark.parametrize(("rounds", "names"), [(0, ["icount 1", "icount 2"]), (3, None)])
def test_which_guests_run(
    monkeypatch: pytest.MonkeyPatch, rounds: int, names: list[str] | None
) -> None:
    monkeypatch.setattr(bench, "_guest", lambda _lab, _extent, name, *_: [{"guest": name}])
    extent = dataclasses.replace(bench.FULL, wall_rounds=rounds)
    found = [r["guest"] for r in bench._guests(None, extent)]  # type: ignore[arg-type]
    assert found == (names or ["icount 1", "icount 2", "wall"])


def test_a_guest_whose_program_does_not_work_is_told_from_one_without_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extent = dataclasses.replace(bench.QUICK, contenders=("wireguard", "n2n"))
    results = tmp_path / "results"
    results.write_text(json.dumps(values("wireguard", "rtt_p99", 1)[0]) + "\n")
    (record,) = bench._checked(tmp_path, "wall", extent)
    assert record["round"] == "wall 0"
    assert "n2n does not work here and is left out" in capsys.readouterr().err
    results.write_text(json.dumps(values("n2n", "rtt_p99", 1)[0]) + "\n")
    with pytest.raises(ToolError, match="no figures for wireguard"):
        bench._checked(tmp_path, "wall", extent)


def test_rows_of_the_control_plane() -> None:
    rows = [
        {
            "command": "show dump",
            "peers": 1000,
            "wg": {"seconds": 0.1, "kilobytes": 2048},
            "l2wgctl": {"seconds": 0.2, "kilobytes": 30720},
        }
    ]
    found = figures(bench.control_records(rows))
    assert bench_report.control_table(found)[1:] == [
        ["show dump, 1,000 peers", "0.1 s", "0.2 s", "2.00", "2.0 MB", "30.0 MB"]
    ]
    assert bench_report.control_table([]) == []


PERF = """\
# Overhead  Symbol
# ........  ..............
#
    40.00%  [k] chacha_permute
    20.00%  [k] wg_xmit
    10.00%  [k] wg_xmit.isra.0
    30.00%  [.] 0x0000000000001234
"""


def test_a_profile_is_read_and_compared() -> None:
    read = guest_profile.shares(PERF)
    assert read == pytest.approx({"chacha_permute": 0.4, "wg_xmit": 0.3, "(programs)": 0.3})
    rows = profile.differences({"a": {"f": 100, "g": 50}, "b": {"f": 101, "h": 70}})
    assert rows == [
        ["instructions a frame", "a", "b"],
        ["all", "150", "171"],
        ["h", "0", "70"],
        ["g", "50", "0"],
        ["f", "100", "101"],
    ]


def test_the_program_that_sends_packets_is_built_and_refuses_nonsense() -> None:
    program = bench.packets_program()
    for arguments in ([], ["udp", "A", "B", "10.0.0.2"], ["udp", "A", "B", "10.0.0.2", "5", "1"]):
        done = subprocess.run([program, *arguments], capture_output=True, text=True)
        assert done.returncode in (1, 2)
        assert done.stderr.startswith("bench-packets: ")
        assert done.stderr.count("\n") == 1


MATPLOTLIB = subprocess.run(
    [bench_report.PYTHON, "-c", "import matplotlib"], capture_output=True, check=False
)


@pytest.mark.skipif(MATPLOTLIB.returncode != 0, reason="no python3-matplotlib (./inv bench)")
def test_the_plots_are_drawn_from_a_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    found = stats.as_json(aimed(0.98, 1.0, 1.01, 95.5))
    file.write_text(json.dumps({"figures": found, "linux": "5.10", "date": "2026-01-01"}))
    bench_report.draw(file, tmp_path)
    for name in ("goodput", "overhead"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (tmp_path / f"{name}.svg").read_text()


def test_the_length_function_is_timed() -> None:
    case = json.loads(length.FRAMES.read_text())[0]
    assert 0 < length.nanoseconds(length.build(), case["frame"], 1000) < 1e6


def test_the_page_says_how_much_is_measured() -> None:
    page = " ".join(bench_report.PAGE.read_text().split())
    assert f"of {length.RUNS} runs of {length.TIMED:,} calls" in page
    many, few = bench.FULL.frames
    assert f"{many:,} packets minus those of a run of {few}, divided by {many - few:,}" in page
    assert f"{FRAMES[0]:,} to {FRAMES[-1]:,} bytes in turn" in page
    assert f"At most {WINDOW['icount']} are on their way at once" in page
    assert f"at most {WINDOW['wall']} on their way at once" in page


@pytest.mark.skipif(not REPORTS, reason="no report in docs/bench")
class TestPublished:
    """The tables in the docs are those of the newest report there."""

    report = REPORTS[-1] if REPORTS else Path()

    @pytest.mark.parametrize(
        ("file", "make"),
        [(bench_report.README, bench_report.readme), (bench_report.PAGE, bench_report.page)],
        ids=["README", "bench.md"],
    )
    def test_tables(self, file: Path, make: Any) -> None:
        text = file.read_text()
        new = make(stats.read(self.report), self.report.name)
        assert bench_report.between(text, new) == text

    def test_plots(self) -> None:
        for name in ("goodput", "overhead"):
            for suffix, head in ((".svg", b"<?xml"), (".png", b"\x89PNG")):
                assert (self.report.parent / f"{name}{suffix}").read_bytes().startswith(head)

    def test_the_names_that_others_rely_on(self) -> None:
        data = json.loads(self.report.read_text())
        have = {(f["contender"], f["measure"]) for f in data["figures"]}
        for contender in (
            "veth",
            "wireguard",
            "wireguard-ours",
            "l2wireguard",
            "vxlan",
            "gretap",
            "openvpn",
            "tinc",
        ):
            for measure in ("tcp_goodput", "instructions_per_frame", "wire_overhead_bytes"):
                assert (contender, measure) in have
        for f in data["figures"]:
            assert {"contender", "measure", "value", "unit", "spread", "ratio"} <= set(f)
        assert data["aims"] and data["machine"] and data["kernel"] and data["versions"]

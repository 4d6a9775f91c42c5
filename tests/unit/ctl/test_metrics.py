# SPDX-License-Identifier: GPL-2.0
"""metrics: what a Prometheus server reads, by its own parser."""

from __future__ import annotations

import errno
import fcntl
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2wgctl import metrics
from l2wgctl.conf import values
from l2wgctl.errors import ValueProblem
from l2wgctl.mesh import status
from l2wgctl.model import Endpoint
from l2wgctl.netlink.messages import sockaddr
from l2wgctl.switch import COUNTERS
from tests.unit.ctl.conftest import OWN, PEER_A, PEER_B, PRIVATE, PSK, Result
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
parser = pytest.importorskip("prometheus_client.openmetrics.parser")
TEXT = f"""[Interface]
PrivateKey = {PRIVATE}
[Peer]
PublicKey = {PEER_A}
PresharedKey = {PSK}
Name = a "quoted" name
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.1:5
PersistentKeepalive = 25
[Peer]
PublicKey = {PEER_B}
"""


@pytest.fixture
def busy(links: FakeLinks, etc: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> FakeLinks:
    """wg1 with two peers and counters, and wg0 with nothing."""
    path = etc / "wg1.conf"
    path.touch(mode=0o600)
    path.write_text(TEXT)
    run("setconf", "wg1")
    run("add", "wg0", "wireguard")
    links.links["wg1"] = links.links["wg1"]._replace(
        up=True, stats={"rx_packets": 7, "tx_errors": 1}
    )
    peer = next(iter(links.kernel.devices["wg1"].peers.values()))
    peer.rx, peer.tx, peer.handshake = 2**53, 3, (1_800_000_000, 500_000_000)
    found = {"wg1": {"rx_opaque": 4}, "wg0": {}, "wg2": {}}
    monkeypatch.setattr(links, "counters", lambda name: found[name])
    return links


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], Any]:
    families = list(parser.text_string_to_metric_families(text))
    return {
        (sample.name, tuple(sample.labels.values())): (sample.value, sample.labels)
        for family in families
        for sample in family.samples
    }


def test_once(busy: FakeLinks, run: Run) -> None:
    said = run("metrics")
    assert (said.status, said.err) == (0, "") and said.out.endswith("# EOF\n")
    assert PRIVATE not in said.out and PSK not in said.out
    found = {key: value for key, (value, _) in samples(said.out).items()}
    assert found["l2wg_up", ()] == 1
    for name, value in (
        ("l2wg_interface_up", 1),
        ("l2wg_interface_mtu_bytes", 1406),
        ("l2wg_interface_peers", 2),
        ("l2wg_interface_rx_packets_total", 7),
        ("l2wg_interface_tx_errors_total", 1),
        ("l2wg_interface_rx_opaque_total", 4),
    ):
        assert found[name, ("wg1",)] == value
    assert found["l2wg_interface_peers", ("wg0",)] == 0
    for name, number in (
        ("l2wg_peer_rx_bytes_total", 2**53),
        ("l2wg_peer_tx_bytes_total", 3),
        ("l2wg_peer_last_handshake_seconds", 1_800_000_000.5),
        ("l2wg_peer_persistent_keepalive_seconds", 25),
    ):
        assert found[name, ("wg1", PEER_A)] == number
    assert found["l2wg_peer_last_handshake_seconds", ("wg1", PEER_B)] == 0
    labels = [
        about for (name, _), (_, about) in samples(said.out).items() if name == "l2wg_peer_info"
    ]
    assert labels[0] == {
        "interface": "wg1",
        "public_key": PEER_A,
        "name": 'a "quoted" name',
        "endpoint": "192.0.2.1:5",
        "allowed_ips": "0.0.0.0/0,::/0",
    }
    assert sockaddr(Endpoint("192.0.2.1", 5))


def test_a_mesh(
    busy: FakeLinks, run: Run, etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "RUNTIME", tmp_path)
    faults = {"store": "nobody listens there"}
    report = status.Report(
        12.0, 3, True, faults, ("b",), {"nodes/x": "is junk"}, 7, {}, {"c": 9}, {}, 4
    )
    (tmp_path / "wg1.json").write_text(report.text())
    (tmp_path / "wg0.json").write_text("{}")

    def mesh() -> dict[str, float]:
        found = {key: value for key, (value, _) in samples(run("metrics").out).items()}
        return {name: value for (name, _), value in found.items() if name.startswith("l2wg_mesh_")}

    with status.lock_file("wg1").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = mesh()
    assert before == {
        "l2wg_mesh_agent_up": 1,
        "l2wg_mesh_store_up": 1,
        "l2wg_mesh_hosts": 3,
        "l2wg_mesh_hosts_alive": 1,
        "l2wg_mesh_hosts_left_out": 0,
        "l2wg_mesh_ignored": 8,
        "l2wg_mesh_contested": 0,
        "l2wg_mesh_missing": 1,
        "l2wg_mesh_faults": 1,
        "l2wg_mesh_list": 4,
        "l2wg_mesh_report_seconds": 12,
    }
    # an agent that has ended leaves its report
    assert mesh() == {**before, "l2wg_mesh_agent_up": 0, "l2wg_mesh_store_up": 0}
    # one that has not begun since the boot has none: the file of the link tells of it
    (tmp_path / "wg1.json").unlink()
    assert mesh() == {}
    path = etc / "wg1.conf"
    path.write_text(path.read_text() + "[Mesh]\nNode = a\n")
    assert mesh() == {"l2wg_mesh_agent_up": 0}


def test_a_switch(busy: FakeLinks, run: Run, etc: Path) -> None:
    """What it counts of each peer says who it is, so that an alert does."""
    assert not [name for name, _ in samples(run("metrics").out) if "mac_bound" in name]
    path = etc / "wg2.conf"
    path.touch(mode=0o600)
    path.write_text(TEXT.replace("[Peer]", "Switch = yes\n[Peer]", 1))
    run("add", "wg2", "l2wgswitch")
    assert run("setconf", "wg2") == (0, "", "")
    switch = busy.kernel.switches.switches["wg2"]
    member = switch.member(values.public_key(PEER_A))
    member.counters, member.learned = {4: 5, 23: 2**40}, 3
    switch.member(values.public_key(OWN)).counters = {4: 1}  # it has options, and is no peer
    found = {key: value for key, (value, _) in samples(run("metrics").out).items()}
    a, b = ("wg2", 'a "quoted" name', PEER_A), ("wg2", "", PEER_B)  # by the labels' names
    assert found["l2wg_peer_rx_mac_bound_total", a] == 5
    assert found["l2wg_peer_rx_mac_bound_total", b] == 0
    assert found["l2wg_peer_relay_bytes_total", a] == 2**40
    assert found["l2wg_peer_learned_entries", a] == 3
    assert found["l2wg_interface_learned_entries", ("wg2",)] == 0
    assert found["l2wg_interface_local_entries", ("wg2",)] == 0
    names = {name for name, labels in found if labels == a}
    assert {f"l2wg_peer_{name}_total" for name in COUNTERS} < names
    assert not [key for key in found if OWN in key[1] and "rx_mac_bound" in key[0]]


def test_one_link(busy: FakeLinks, run: Run) -> None:
    assert ("l2wg_interface_up", ("wg1",)) not in samples(run("metrics", "wg0").out)
    assert run("metrics", "wg9") == (
        1,
        "",
        "l2wgctl: metrics: wg9: no such link (create it with 'l2wgctl add wg9' or 'l2wgctl up "
        "wg9')\n",
    )


def test_a_link_that_goes_away_is_passed_over(busy: FakeLinks, run: Run) -> None:
    del busy.kernel.devices["wg0"]
    said = run("metrics")
    assert said.status == 0 and ("l2wg_interface_up", ("wg1",)) in samples(said.out)
    assert said.err.startswith("l2wgctl: show: wg0: no such link")


def test_over_http(busy: FakeLinks, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request is a new look; a kernel that refuses is a metric and no traceback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers: list[str] = []

    def ask() -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics",
            headers={"Accept": "application/openmetrics-text; version=1.0.0"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
            return str(answer.read().decode())

    def look() -> None:
        answers.append(ask())
        busy.links["wg1"] = busy.links["wg1"]._replace(mtu=1300)
        answers.append(ask())
        busy.kernel.families.clear()
        monkeypatch.setattr(busy, "tunnels", lambda: [busy.need("wg7", "metrics")])
        answers.append(ask())

    monkeypatch.setattr(metrics, "_wait", look)
    said = run("metrics", "--listen", port)
    assert said.status == 0
    assert said.err.splitlines()[0] == f"metrics: listening on 127.0.0.1 port {port}"
    found = [samples(text) for text in answers]
    assert [f["l2wg_up", ()][0] for f in found] == [1, 1, 0]
    assert [f["l2wg_interface_mtu_bytes", ("wg1",)][0] for f in found[:2]] == [1406, 1300]


def test_where_to_listen(run: Run, links: FakeLinks) -> None:
    assert metrics.listen_address("9586") == ("127.0.0.1", 9586)
    assert metrics.listen_address("0.0.0.0:1") == ("0.0.0.0", 1)
    assert metrics.listen_address("[::1]:9586") == ("::1", 9586)
    for text in ("", "x", "0", "1:0", "70000", "1:", "²", "٩٥٨٦"):
        with pytest.raises(ValueProblem):
            metrics.listen_address(text)
    assert run("metrics", "--listen", "wg1") == (
        1,
        "",
        "l2wgctl: metrics: --listen is not [ADDRESS:]PORT: 'wg1' (9586, or 192.0.2.1:9586)\n",
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run("metrics", "--listen", port) == (
            1,
            "",
            f"l2wgctl: metrics: cannot listen at {port}: Address already in use\n",
        )


def test_ports_and_names_that_are_not_ours(
    run: Run, links: FakeLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prometheus_client

    for error, text in (
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "Permission denied (ports below 1024 are root's)",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "Name or service not known",
        ),
    ):

        def refuse(*_: object, found: OSError = error) -> None:
            raise found

        monkeypatch.setattr(prometheus_client, "start_http_server", refuse)
        assert run("metrics", "--listen", "80") == (
            1,
            "",
            f"l2wgctl: metrics: cannot listen at 80: {text}\n",
        )


def test_without_the_library(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert run("metrics") == (
        1,
        "",
        "l2wgctl: metrics: prometheus_client is not installed (apt install "
        "python3-prometheus-client, or pip install 'l2wg[metrics]')\n",
    )

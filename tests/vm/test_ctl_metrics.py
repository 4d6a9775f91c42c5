# SPDX-License-Identifier: GPL-2.0
"""metrics of a real link: what `ip -s`, `ethtool -S` and `wg` count."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.vm.ctl import done
from toolkit.guest.hosts import Host


def test_metrics(pair: list[Host]) -> None:
    a, b = pair
    a.ping("192.168.157.2")
    found = {
        (sample.name, sample.labels.get("public_key")): sample.value
        for family in text_string_to_metric_families(done(a, "metrics", "wg1"))
        for sample in family.samples
    }
    assert found["l2wg_up", None] == found["l2wg_interface_peers", None] == 1
    assert found["l2wg_interface_mtu_bytes", None] == 1406
    # what traffic there is cannot go back
    stats = a.run("ethtool", "-S", "wg1").splitlines()[1:]
    names = [line.partition(":")[0].strip() for line in stats]
    assert len(names) >= 6
    for name in names:
        assert ("l2wg_interface_" + name + "_total", None) in found, name
    assert found["l2wg_interface_rx_packets_total", None] > 0
    assert (
        0
        < found["l2wg_peer_rx_bytes_total", b.public]
        <= found["l2wg_interface_rx_bytes_total", None] + 1000
    )
    handshake = int(done(a, "show", "wg1", "latest-handshakes").split()[1])
    assert int(found["l2wg_peer_last_handshake_seconds", b.public]) == handshake

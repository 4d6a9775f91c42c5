# SPDX-License-Identifier: GPL-2.0
"""metrics of a real link: what `ip -s`, `ethtool -S` and `wg` count."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.vm import l2wg, station, wire
from tests.vm.ctl import done
from tests.vm.test_switch import Hosts, hub, ip_of, mac_of
from toolkit.guest.hosts import Host, eventually

STOLEN = "02:00:00:00:00:55"


def test_metrics_of_a_switch(hosts: Hosts) -> None:
    """A frame that fails a check is counted of its peer, by name."""
    a, b, c = hub(hosts, "A", "B", "C", quiet=True)
    a.ping(ip_of(2))
    l2wg.set_peer(a, c, allowed_macs=l2wg.macs(STOLEN))
    wire.send(b, "wg1", station.eth(mac_of(1), STOLEN, station.NOTHING, b"x"))
    eventually(lambda: a.counter("wg1", "rx_mac_bound") == 1, "the frame is refused")
    found = {
        (sample.name, sample.labels.get("public_key")): sample.value
        for family in text_string_to_metric_families(done(a, "metrics", "wg1"))
        for sample in family.samples
    }
    assert found["l2wg_interface_rx_mac_bound_total", None] == 1
    assert found["l2wg_peer_rx_mac_bound_total", b.public] == 1
    assert found["l2wg_peer_rx_mac_bound_total", c.public] == 0
    assert found["l2wg_interface_learned_entries", None] == 1
    assert found["l2wg_peer_learned_entries", b.public] == 1
    assert found["l2wg_peer_learned_entries", c.public] == 0


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

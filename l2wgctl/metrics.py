# SPDX-License-Identifier: GPL-2.0
"""metrics: links and peers for Prometheus, as OpenMetrics text, once or over HTTP.

prometheus_client makes the text and serves it. Nothing else in l2wgctl needs it. Every request
reads the kernel again; nothing is kept.
"""

from __future__ import annotations

import argparse
import errno
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from .conf.names import Names
from .conf.values import number
from .errors import KernelError, L2wgError, ValueProblem
from .model import L2WGSWITCH
from .output import say

if TYPE_CHECKING:
    from .model import Device
    from .netlink.link import Link, Links
    from .switch import PeerState, SwitchState

#: Where `--listen PORT` listens: keys and endpoints of peers are nobody else's business.
LOCALHOST = "127.0.0.1"


def _library() -> ModuleType:
    try:
        import prometheus_client
    except ImportError:
        raise L2wgError(
            "prometheus_client is not installed",
            "apt install python3-prometheus-client, or pip install 'l2wg[metrics]'",
            "metrics",
            "NO_PROGRAM",
        ) from None
    return prometheus_client


class Seen(NamedTuple):
    """A link at one time. `switch` and its keys are those of a switch, None and nothing of others.

    `names`: those of its peers that have one, by public key.
    """

    link: Link
    device: Device
    counters: Mapping[str, int]
    names: Mapping[bytes, str]
    switch: SwitchState | None
    keys: Sequence[PeerState]


class Collector:
    """Gives prometheus_client its metrics; `interface` None means every tunnel."""

    def __init__(self, interface: str | None, patient: bool = False) -> None:
        self._interface = interface
        #: Print and count an error instead of raising it, because a server goes on.
        self._patient = patient
        self._names = Names()

    def describe(self) -> list[Any]:
        """Nothing, because registering must not ask the kernel."""
        return []

    def collect(self) -> Iterator[Any]:
        """All metric families.

        :raises L2wgError: the kernel refuses, and this is not patient.
        """
        from prometheus_client.core import GaugeMetricFamily

        well = 1.0
        try:
            found = list(self._look())
        except L2wgError as error:
            if not self._patient:
                raise
            say(error.problems)
            found, well = [], 0.0
        yield GaugeMetricFamily("l2wg_up", "Whether the kernel could be asked.", well)
        yield from _link_families(found)
        yield from _peer_families(found)
        yield from _switch_families([seen for seen in found if seen.switch])
        yield from _mesh_families(
            [seen.link.name for seen in found],
            {seen.link.name for seen in found if self._names.has_mesh(seen.link.name)},
        )

    def _look(self) -> Iterator[Seen]:
        from .netlink.device import WireGuard
        from .netlink.link import Links

        with Links() as links, WireGuard() as wireguard:
            for link in self._links(links):
                try:
                    device = wireguard.get_device(link.name)
                    switch, keys = _switch(link)
                except KernelError as error:
                    if self._interface:
                        raise
                    say(error.problems)  # it has gone since the list was made
                    continue
                counters = {**(link.stats or {}), **links.counters(link.name)}
                yield Seen(link, device, counters, self._names.of(link.name), switch, keys)

    def _links(self, links: Links) -> Sequence[Link]:
        if self._interface:
            return [links.need(self._interface, "metrics")]
        return links.tunnels()


def _switch(link: Link) -> tuple[SwitchState | None, Sequence[PeerState]]:
    if link.kind != L2WGSWITCH:
        return None, ()
    from .netlink.switch import Switches

    with Switches() as switches:
        return switches.get(link.name), switches.peers(link.name)


def _link_families(found: Iterable[Seen]) -> Iterator[Any]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
    )

    label = ["interface"]
    info = InfoMetricFamily("l2wg_interface", "Kind, netlink family and public key.", labels=label)
    up = GaugeMetricFamily("l2wg_interface_up", "Whether the link is up.", labels=label)
    mtu = GaugeMetricFamily("l2wg_interface_mtu_bytes", "The link's MTU.", labels=label)
    peers = GaugeMetricFamily("l2wg_interface_peers", "Number of peers.", labels=label)
    counters: dict[str, Any] = {}
    for link, device, counts, *_ in found:
        about = {"kind": link.kind or "", "family": device.family or ""}
        about["public_key"] = str(device.public_key) if device.public_key else ""
        info.add_metric([link.name], about)
        up.add_metric([link.name], float(link.up))
        mtu.add_metric([link.name], float(link.mtu))
        peers.add_metric([link.name], float(len(device.peers)))
        for name, value in counts.items():
            family = counters.get(name)
            if family is None:
                family = counters[name] = CounterMetricFamily(
                    f"l2wg_interface_{name}", f"The link's counter {name}.", labels=label
                )
            family.add_metric([link.name], float(value))
    yield from (info, up, mtu, peers, *counters.values())


def _peer_families(found: Iterable[Seen]) -> Iterator[Any]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
    )

    label = ["interface", "public_key"]
    info = InfoMetricFamily("l2wg_peer", "Name, endpoint and AllowedIPs.", labels=label)
    received = CounterMetricFamily("l2wg_peer_rx_bytes", "Bytes received.", labels=label)
    sent = CounterMetricFamily("l2wg_peer_tx_bytes", "Bytes sent.", labels=label)
    handshake = GaugeMetricFamily(
        "l2wg_peer_last_handshake_seconds",
        "Time of the last handshake since 1970-01-01 UTC; 0: never.",
        labels=label,
    )
    keepalive = GaugeMetricFamily(
        "l2wg_peer_persistent_keepalive_seconds", "Between keepalives; 0: off.", labels=label
    )
    for _, device, _, names, *_ in found:
        for peer in device.peers:
            key = [device.name, str(peer.public_key)]
            about = {
                "name": names.get(peer.public_key, ""),
                "endpoint": str(peer.endpoint or ""),
                "allowed_ips": ",".join(map(str, peer.allowed_ips)),
            }
            info.add_metric(key, about)
            received.add_metric(key, float(peer.rx_bytes))
            sent.add_metric(key, float(peer.tx_bytes))
            handshake.add_metric(key, peer.last_handshake[0] + peer.last_handshake[1] / 1e9)
            keepalive.add_metric(key, float(peer.persistent_keepalive or 0))
    yield from (info, received, sent, handshake, keepalive)


def _switch_families(found: Sequence[Seen]) -> Iterator[Any]:
    """Entries of tables, and what is counted of each peer; nothing without a switch."""
    if not found:
        return
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for where, text in (("learned", "from peers"), ("local", "of the host")):
        family = GaugeMetricFamily(
            f"l2wg_interface_{where}_entries",
            f"Entries of the switch's table that were learned {text}.",
            labels=["interface"],
        )
        for seen in found:
            family.add_metric([seen.link.name], float(getattr(seen.switch, where)))
        yield family
    label = ["interface", "public_key", "name"]
    learned = GaugeMetricFamily(
        "l2wg_peer_learned_entries", "MAC addresses learned from the peer.", labels=label
    )
    counters: dict[str, Any] = {}
    for seen in found:
        for peer in seen.keys:
            if not peer.present:
                continue
            key = [seen.link.name, str(peer.public_key), seen.names.get(peer.public_key, "")]
            learned.add_metric(key, float(peer.learned))
            for name, value in peer.counters.items():
                if name not in counters:
                    text = f"The switch's counter {name} of the peer."
                    counters[name] = CounterMetricFamily(f"l2wg_peer_{name}", text, labels=label)
                counters[name].add_metric(key, float(value))
    yield from (learned, *counters.values())


def _mesh_families(links: Sequence[str], meshes: Set[str]) -> Iterator[Any]:
    """Which agents of meshes run, and what they have reported; nothing without a mesh.

    A report stays when its agent ends, and an agent that has not begun yet has none.

    :param meshes: links whose files have a mesh.
    """
    from prometheus_client.core import GaugeMetricFamily

    from .mesh.status import GAUGES, is_running, reports

    reported = dict(reports(links))
    running = {link: is_running(link) for link in links if link in meshes or link in reported}
    found = [
        (link, report._replace(in_touch=report.in_touch and running[link]))
        for link, report in reported.items()
    ]
    if running:
        text = "Whether the agent of the mesh runs."
        family = GaugeMetricFamily("l2wg_mesh_agent_up", text, labels=["interface"])
        for link, runs in running.items():
            family.add_metric([link], float(runs))
        yield family
    for name, (text, value) in GAUGES.items() if found else ():
        family = GaugeMetricFamily(f"l2wg_mesh_{name}", text, labels=["interface"])
        for link, report in found:
            family.add_metric([link], float(value(report)))
        yield family


def listen_address(text: str) -> tuple[str, int]:
    """Address and TCP port of `[ADDRESS:]PORT`.

    :raises ValueProblem: it is something else.
    """
    address, _, digits = text.rpartition(":")
    port = number(digits)
    if port is None or not 1 <= port <= 65535:
        raise ValueProblem(f"is not [ADDRESS:]PORT: '{text}'", "9586, or 192.0.2.1:9586")
    return address.strip("[]") or LOCALHOST, port


def _wait() -> None:
    threading.Event().wait()


def _serve(listen: str, registry: Any, library: ModuleType) -> None:
    try:
        address, port = listen_address(listen)
    except ValueProblem as problem:
        raise L2wgError(f"--listen {problem.what}", problem.hint, "metrics") from None
    try:
        library.start_http_server(port, address, registry)
    except UnicodeError:  # an empty label
        raise L2wgError(
            f"'{address}' is no address", "9586, or 192.0.2.1:9586", "metrics"
        ) from None
    except OSError as error:
        hint = "ports below 1024 are root's" if error.errno == errno.EACCES else None
        what = f"cannot listen at {listen}: {error.strerror or error}"
        raise L2wgError(what, hint, "metrics") from None
    print(f"metrics: listening on {address} port {port}", file=sys.stderr, flush=True)
    _wait()


def cmd_metrics(args: argparse.Namespace) -> int:
    """Print the metrics, or serve them until interrupted."""
    library = _library()
    from prometheus_client.openmetrics.exposition import generate_latest

    registry = library.CollectorRegistry()
    registry.register(Collector(args.interface, patient=bool(args.listen)))
    if args.listen:
        _serve(args.listen, registry, library)
    else:
        text: bytes = generate_latest(registry)
        sys.stdout.write(text.decode())
    return 0

# SPDX-License-Identifier: GPL-2.0
"""Find what would make `up` fail half-way, before its first step."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..conf import preflight
from ..conf.parse import Config
from ..conf.preflight import all_vlans, at, vlan_name
from ..errors import ConfigError, L2wgError, Problem
from ..model import Endpoint
from ..resolve import sockaddr
from . import record as records
from . import servers
from .changes import living
from .record import Record

if TYPE_CHECKING:
    from ..netlink.link import Links

#: The host that `up` asks.
HOST = preflight.Host()


class Before:
    """The checks of one `up`; afterwards `addresses` has the endpoints' addresses.

    Every problem is reported at once, as for a file.
    """

    def __init__(self, config: Config, links: Links, name: str, *, dry: bool) -> None:
        self.config, self.links, self.name, self.dry = config, links, name, dry
        self.addresses: dict[Endpoint, bytes] = {}

    def check(self) -> None:
        """Check what no command can change.

        :raises L2wgError: `up` cannot succeed.
        """
        if self.links.get(self.name) is not None:
            hint = f"take it down first: l2wgctl down {self.name}"
            raise L2wgError(f"{self.name} already exists", hint, "up", "EEXIST")
        refuse(preflight.of_file(self.name, self.config))

    def prepare(self) -> None:
        """Check what PreUp may bring about, and look up the endpoints.

        :raises L2wgError: `up` cannot succeed.
        """
        refuse([*preflight.of_host(self.config, HOST), *self._links()])
        if not self.dry:
            for peer in self.config.device.peers:
                if peer.endpoint is not None:
                    self.addresses[peer.endpoint] = sockaddr(peer.endpoint)

    def ahead(self) -> None:
        """Check what can be known while the link is there, for `restart`: if it cannot come up, it
        is not taken down.

        :raises L2wgError: `up` cannot succeed.
        """
        problems = list(preflight.of_file(self.name, self.config))
        if self.config.link.pre_up:  # it may bring about what is missing
            refuse(problems)
            return
        refuse([*problems, *preflight.of_host(self.config, HOST), *self._named()])
        for peer in self.config.device.peers:
            if peer.endpoint is not None:
                sockaddr(peer.endpoint)

    def sockaddr(self, endpoint: Endpoint) -> bytes:
        """The address of an endpoint, looked up once."""
        return self.addresses.get(endpoint) or sockaddr(endpoint)

    def _named(self) -> Iterator[Problem]:
        """Links that the file names, and that do not exist."""
        link, links, config = self.config.link, self.links, self.config
        for key, name in (("Bridge", link.bridge), ("Master", link.master)):
            found = links.get(name) if name else None
            if name is None or (found is None and key == "Bridge" and link.bridge_create):
                continue
            if found is None:
                mend = "write BridgeCreate = yes" if key == "Bridge" else "create it first"
                yield at(config, key, f"{key} {name} does not exist", mend, "state")
            elif key == "Bridge" and found.kind != "bridge":
                yield at(config, key, f"{name} is not a bridge", "name another link", "state")
        for port in link.bridge_ports:
            if links.get(port) is None:
                what = f"{port} does not exist"
                yield at(config, "BridgePorts", what, "name a link that does", "state")

    def _links(self) -> Iterator[Problem]:
        """Problems with the links that are there."""
        link, links, config = self.config.link, self.links, self.config
        yield from self._named()
        for port in link.bridge_ports:
            yield from self._port(port)
        yield from self._contradictions()
        for vlan in all_vlans(link.vlans):
            name = vlan_name(self.name, vlan.ids)
            if links.get(name) is not None:
                yield at(
                    config, "VLANs", f"{name} already exists", f"ip link delete {name}", "state"
                )
        port_number = config.device.listen_port
        if port_number and in_use(port_number):
            hint = "choose another, or 0 for a free one"
            yield at(config, "ListenPort", f"UDP port {port_number} is in use", hint, "state")
        if (link.dns or link.dns_search) and records.folder() != records.RUN_DIR:
            if servers.program() == "resolvectl":
                what = "systemd-resolved serves the first network namespace only"
                yield at(config, "DNS", what, "leave DNS out", "state")

    def _contradictions(self) -> Iterator[Problem]:
        """Links that share a bridge, and want other settings of it."""
        link = self.config.link
        others = list(living(Record(self.name, dry=True), self.links))
        for key, option, wanted in (
            ("BridgeSTP", "stp_state", link.bridge_stp),
            ("BridgeVLANFiltering", "vlan_filtering", link.bridge_vlan_filtering),
        ):
            for other in others if wanted is not None else []:
                known = other.wants(("setting", link.bridge or "", option))
                if known is not None and known.value != str(int(bool(wanted))):
                    what = f"{other.name}, which shares {link.bridge}, has the opposite"
                    yield at(self.config, key, what, "say the same in both files", "state")

    def _port(self, port: str) -> Iterator[Problem]:
        config, bridge = self.config, self.config.link.bridge
        found = self.links.get(port)
        if found is None:
            return
        master = next((m for m in self.links.all() if m.ifindex == found.master), None)
        if master is not None and master.name != bridge:
            hint = f"ip link set {port} nomaster"
            yield at(config, "BridgePorts", f"{port} is a port of {master.name}", hint, "state")
        addresses = self.links.addresses(port, leased=True)
        if master is None and addresses:
            what = f"{port} has the address {addresses[0]}, which a port of a bridge cannot use"
            hint = f"move it to BridgeAddress: ip address delete {addresses[0]} dev {port}"
            if addresses[0] not in self.links.addresses(port):
                hint = f"stop its DHCP client, and run one on {bridge}"
            yield at(config, "BridgePorts", what, hint, "state")


def refuse(problems: Iterable[Problem]) -> None:
    """Go no further if there are problems.

    :raises ConfigError: there are; it has all of them.
    """
    found = sorted(problems, key=lambda problem: problem.line)
    if found:
        raise ConfigError(found)


def in_use(port: int) -> bool:
    """Whether a socket of this network namespace has the UDP port."""
    for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as one:
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                one.bind((anywhere, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
    return False

# SPDX-License-Identifier: GPL-2.0
"""Links, addresses, routes and rules over rtnetlink, by pyroute2.

Importing this module imports pyroute2, which takes long, so callers import it where they need it.
Every failure is a KernelError that names the link.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import KernelError, L2wgError, from_errno
from ..machine import module_hint
from ..model import KINDS, WIREGUARD
from ..sockets import AF_INET, AF_INET6
from .bridge import Bridges
from .library import IPRoute, NetlinkError, setns
from .rules import Rules

#: IFNAMSIZ of include/uapi/linux/if.h is 16 with the terminating zero.
NAME_MAX = 15

#: Marks a bridge that `up` has made, so that `down` may remove it.
BRIDGE_ALIAS = "made by l2wgctl"
NETNS_DIR = Path("/run/netns")
#: IN6_ADDR_GEN_MODE_* of include/uapi/linux/if_link.h.
ADDR_GEN_MODES = {"eui64": 0, "none": 1}
#: RT_TABLE_MAIN and RTM_F_... of include/uapi/linux/rtnetlink.h.
RT_TABLE_MAIN = 254


#: Fields of struct rtnl_link_stats64 (include/uapi/linux/if_link.h) that every kernel has.
STATISTICS = (
    *("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors"),
    *("rx_dropped", "tx_dropped", "multicast", "rx_length_errors", "rx_frame_errors"),
)


class Link(NamedTuple):
    """A link as the kernel reports it. `mac` is None where the link has no address, `stats` are
    STATISTICS. `port_state` and `isolated` are a bridge port's, `stp` and `vlan_filtering` a
    bridge's."""

    name: str
    ifindex: int
    kind: str | None
    mtu: int
    mac: str | None = None
    up: bool = False
    running: bool = False
    master: int = 0
    parent: int = 0
    alias: str | None = None
    port_state: int | None = None
    stp: int | None = None
    stats: dict[str, int] | None = None
    vlan_filtering: int | None = None
    isolated: int | None = None


class Route(NamedTuple):
    """The link by which packets to an address leave, and the MTU of the route, in bytes."""

    link: str
    mtu: int


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    port = info.get_attr("IFLA_INFO_SLAVE_DATA") if info else None
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    slave_kind = info.get_attr("IFLA_INFO_SLAVE_KIND") if info else None
    if slave_kind != "bridge" or not port:
        port = None
    if kind != "bridge" or not data:
        data = None
    stats = message.get_attr("IFLA_STATS64")
    return Link(
        os.fsdecode(message.get_attr("IFLA_IFNAME")),
        message["index"],
        kind,
        message.get_attr("IFLA_MTU") or 0,
        message.get_attr("IFLA_ADDRESS") or None,
        bool(message["flags"] & 1),
        bool(message["flags"] & 0x40),
        message.get_attr("IFLA_MASTER") or 0,
        message.get_attr("IFLA_LINK") or 0,
        message.get_attr("IFLA_IFALIAS"),
        port.get_attr("IFLA_BRPORT_STATE") if port else None,
        data.get_attr("IFLA_BR_STP_STATE") if data else None,
        {name: stats[name] for name in STATISTICS} if stats else None,
        data.get_attr("IFLA_BR_VLAN_FILTERING") if data else None,
        port.get_attr("IFLA_BRPORT_ISOLATED") if port else None,
    )


def _family(address: str) -> int:
    return AF_INET6 if ":" in address else AF_INET


class Links(Bridges, Rules):
    """The links of the current network namespace. Use as a context manager.

    `ipr` is for tests: something that behaves like pyroute2.IPRoute.
    """

    def __init__(self, ipr: Any = None) -> None:
        try:
            self._ipr = ipr if ipr is not None else IPRoute()
        except OSError as error:
            raise from_errno(error.errno or errno.EIO, "", "netlink") from None

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._ipr.close()

    @contextmanager
    def _doing(self, name: str, doing: str) -> Iterator[None]:
        try:
            yield
        except NetlinkError as error:
            detail = str(error.args[1]) if len(error.args) > 1 and error.args[1] else ""
            if detail == os.strerror(error.code):
                detail = ""
            raise from_errno(error.code, name, doing, detail) from None
        except OSError as error:
            raise from_errno(error.errno or errno.EIO, name, doing) from None

    # -- reading -------------------------------------------------------------------------------

    def all(self) -> list[Link]:
        """Every link, in the kernel's order."""
        with self._doing("", "list links"):
            return [_link(message) for message in self._ipr.get_links()]

    def get(self, name: str) -> Link | None:
        """The link, or None."""
        try:
            if len(name.encode()) > NAME_MAX:
                return None
        except UnicodeEncodeError:  # a byte that is no UTF-8: pyroute2 cannot send it
            return None
        try:
            with self._doing(name, "look up"):
                return _link(next(iter(self._ipr.link("get", ifname=name))))
        except KernelError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        except StopIteration:
            return None

    def need(self, name: str, doing: str) -> Link:
        """The link.

        :raises KernelError: there is none (ENODEV).
        """
        link = self.get(name)
        if link is None:
            raise from_errno(errno.ENODEV, name, doing)
        return link

    def tunnels(self) -> list[Link]:
        """The links of kind wireguard and l2wireguard."""
        return [link for link in self.all() if link.kind in KINDS]

    def ports(self, master: str) -> list[Link]:
        """The links enslaved to a bridge or bond."""
        index = self.need(master, "list ports").ifindex
        return [link for link in self.all() if link.master == index]

    def addresses(self, name: str, *, leased: bool = False) -> list[str]:
        """Addresses with prefix length, e.g. `10.0.0.1/24`, but no link-local ones and none that
        the kernel has from a router.

        :param leased: also IPv4 addresses that expire, which are a DHCP client's.
        """
        index = self.need(name, "list addresses").ifindex
        with self._doing(name, "list addresses"):
            return [
                f"{message.get_attr('IFA_LOCAL') or message.get_attr('IFA_ADDRESS')}"
                f"/{message['prefixlen']}"
                for message in self._ipr.get_addr(index=index)
                # IFA_F_PERMANENT, and not RT_SCOPE_LINK.
                if (message["flags"] & 0x80 or (leased and message["family"] == AF_INET))
                and message["scope"] != 253
            ]

    def neighbours(self, name: str) -> list[tuple[str, str]]:
        """(address, MAC address) of the hosts that the link knows."""
        index = self.need(name, "list neighbours").ifindex
        with self._doing(name, "list neighbours"):
            found = [m for m in self._ipr.get_neighbours() if m["ifindex"] == index]
        pairs = [(m.get_attr("NDA_DST"), m.get_attr("NDA_LLADDR")) for m in found]
        return [(address, mac) for address, mac in pairs if address and mac]

    def duplicates(self, name: str) -> list[str]:
        """IPv6 addresses of the link that another host also has (IFA_F_DADFAILED)."""
        index = self.need(name, "list addresses").ifindex
        with self._doing(name, "list addresses"):
            return [
                str(message.get_attr("IFA_ADDRESS"))
                for message in self._ipr.get_addr(index=index, family=AF_INET6)
                if message["flags"] & 0x08
            ]

    def has_address(self, name: str, address: str) -> bool:
        """Whether the link has that address, `ADDRESS/PREFIX`, link-local ones among them."""
        host, _, prefix = address.partition("/")
        index = self.need(name, "list addresses").ifindex
        with self._doing(name, "list addresses"):
            return any(
                message["prefixlen"] == int(prefix)
                and host in (message.get_attr("IFA_LOCAL"), message.get_attr("IFA_ADDRESS"))
                for message in self._ipr.get_addr(index=index, family=_family(address))
            )

    def route_to(self, address: str) -> Route | None:
        """The route to an address, or None if there is none."""
        try:
            with self._doing("", f"route to {address}"):
                return self._way(next(iter(self._ipr.route("get", dst=address))))
        except (KernelError, StopIteration):
            return None

    def _way(self, message: Any) -> Route:
        link = _link(self._ipr.get_links(message.get_attr("RTA_OIF"))[0])
        metrics = message.get_attr("RTA_METRICS")
        return Route(link.name, (metrics.get_attr("RTAX_MTU") if metrics else None) or link.mtu)

    def default_route(self) -> Route | None:
        """The IPv4 default route, or None."""
        with self._doing("", "read the default route"):
            for message in self._ipr.get_default_routes(family=AF_INET):
                in_main = message.get_attr("RTA_TABLE") == RT_TABLE_MAIN
                if in_main and message.get_attr("RTA_OIF"):
                    return self._way(message)
        return None

    def table_used(self, table: int) -> bool:
        """Whether a routing table holds any route."""
        with self._doing("", f"read table {table}"):
            return any(True for _ in self._ipr.get_routes(table=table))

    def counters(self, name: str) -> dict[str, int]:
        """The driver's own counters (`ethtool -S`); empty if it has none."""
        from .ethtool import counters

        return counters(name)

    # -- links ---------------------------------------------------------------------------------

    def _index(self, name: str, doing: str) -> int:
        return self.need(name, doing).ifindex

    def add(self, name: str, kind: str) -> None:
        """A new link of kind wireguard or l2wireguard; the kernel loads the module for it."""
        try:
            with self._doing(name, "add"):
                self._ipr.link("add", ifname=name, kind=kind)
        except KernelError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise KernelError(
                    errno.EOPNOTSUPP,
                    f"{name}: the kernel does not know links of kind {kind}",
                    "modprobe wireguard" if kind == WIREGUARD else module_hint(),
                    "add",
                    "NO_MODULE",
                ) from None
            raise

    def add_bridge(self, name: str) -> None:
        """A new bridge, marked as ours."""
        with self._doing(name, "add bridge"):
            self._ipr.link("add", ifname=name, kind="bridge")
            index = self._index(name, "add bridge")
            try:
                self._ipr.link("set", index=index, ifalias=BRIDGE_ALIAS)
            except BaseException:
                self._ipr.link("del", index=index)
                raise

    def add_vlan(self, name: str, parent: str, vlan: int) -> None:
        """A new 802.1Q VLAN link on top of `parent`."""
        with self._doing(name, "add VLAN"):
            self._ipr.link(
                "add",
                ifname=name,
                kind="vlan",
                link=self._index(parent, "add VLAN"),
                vlan_id=vlan,
            )

    def delete(self, name: str) -> None:
        """Remove a link and with it its addresses, routes and VLANs."""
        index = self._index(name, "delete")
        with self._doing(name, "delete"):
            self._ipr.link("del", index=index)

    def _set(self, name: str, doing: str, **values: Any) -> None:
        index = self._index(name, doing)
        with self._doing(name, doing):
            self._ipr.link("set", index=index, **values)

    def set_mac(self, name: str, mac: str) -> None:
        """Set the link's MAC address, `xx:xx:xx:xx:xx:xx`."""
        self._set(name, "set MAC address", address=mac)

    def set_mtu(self, name: str, mtu: int) -> None:
        """Set the link's MTU in bytes."""
        self._set(name, "set MTU", mtu=mtu)

    def set_up(self, name: str) -> None:
        """Bring the link up."""
        self._set(name, "bring up", state="up")

    def set_down(self, name: str) -> None:
        """Take the link down."""
        self._set(name, "take down", state="down")

    def set_master(self, name: str, master: str | None) -> None:
        """Enslave the link to a bridge or bond, or free it (None)."""
        index = self._index(master, "enslave") if master else 0
        self._set(name, "enslave", master=index)

    def set_addr_gen(self, name: str, mode: str) -> None:
        """How the link gets its IPv6 link-local address: `eui64` or `none`."""
        inet6 = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_MODES[mode])]}
        self._set(name, "set IPv6 address mode", IFLA_AF_SPEC={"attrs": [("AF_INET6", inet6)]})

    # -- addresses, routes, rules --------------------------------------------------------------

    def _address(self, command: str, name: str, address: str) -> None:
        host, _, prefix = address.partition("/")
        doing = f"{command} address {address}"
        index = self._index(name, doing)
        with self._doing(name, doing):
            self._ipr.addr(
                command,
                index=index,
                address=host,
                prefixlen=int(prefix),
                family=_family(address),
            )

    def add_address(self, name: str, address: str) -> None:
        """Give the link an address, `ADDRESS/PREFIX`."""
        self._address("add", name, address)

    def del_address(self, name: str, address: str) -> None:
        """Take an address away, `ADDRESS/PREFIX`."""
        self._address("del", name, address)

    def add_route(self, network: str, name: str, table: int | None = None) -> None:
        """A route to `network` by the link, in the main or another table."""
        doing = f"add route {network}"
        index = self._index(name, doing)
        with self._doing(name, doing):
            self._ipr.route(
                "add",
                dst=network,
                oif=index,
                table=table or RT_TABLE_MAIN,
                family=_family(network),
                scope="link" if _family(network) == AF_INET else "universe",
            )


def enter_netns(name: str) -> None:
    """Move this process into a network namespace as `ip netns` names them.

    :raises L2wgError: there is none of that name, or it may not be entered.
    """
    path = Path(name) if name.startswith("/") else NETNS_DIR / name
    if not path.exists():
        raise L2wgError(
            f"no network namespace is named '{name}'",
            f"see 'ip netns list', or make it with 'ip netns add {name}'",
            code="NETNS",
        )
    try:
        with open(path, "rb") as stream:
            setns(stream.fileno(), flags=0)
    except OSError as error:
        raise from_errno(error.errno or errno.EIO, "", f"enter network namespace {name}") from None

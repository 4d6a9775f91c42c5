# SPDX-License-Identifier: GPL-2.0
"""Links in memory, with the methods of `l2wgctl.netlink.link.Links`."""

from __future__ import annotations

import errno
from typing import Any

from l2wgctl.errors import from_errno
from l2wgctl.model import KINDS
from l2wgctl.netlink.link import BRIDGE_ALIAS, Link, Route
from tests.unit.ctl.fakekernel import FakeKernel


class FakeLinks:
    """The state is in plain attributes; `fail_at` makes the n-th change fail with EBUSY."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.links: dict[str, Link] = {"lo": Link("lo", 1, None, 65536, up=True)}
        self.addrs: dict[str, list[str]] = {}
        self.leases: dict[str, list[str]] = {}
        self.routes: list[tuple[str, str, int]] = []
        self.rules: list[tuple[int, tuple[tuple[str, int], ...]]] = []
        self.modes: dict[str, str] = {}
        self.options: dict[str, dict[str, int]] = {}
        self.ranges: dict[str, list[tuple[int, int, int]]] = {}
        self.ways: dict[str, Route] = {}
        self.default: Route | None = None
        self.neighbour_table: dict[str, list[tuple[str, str]]] = {}
        self.dad_failed: dict[str, list[str]] = {}
        self.port_vlans: dict[str, list[tuple[int, bool]]] = {}
        self.next_index = 2
        self.changes = 0
        self.fail_at = 0

    def state(self) -> object:
        """Everything, for comparison."""
        return (
            dict(self.links),
            {name: list(have) for name, have in self.addrs.items() if have},
            list(self.routes),
            list(self.rules),
            {name: dict(have) for name, have in self.options.items() if any(have.values())},
            dict(self.ranges),
            {name: device.fwmark for name, device in self.kernel.devices.items()},
        )

    def __enter__(self) -> FakeLinks:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _change(self, name: str) -> None:
        self.changes += 1
        if self.changes == self.fail_at:
            raise from_errno(errno.EBUSY, name, "change")

    def _edit(self, name: str, **values: Any) -> None:
        self._change(name)
        self.links[name] = self.need(name, "change")._replace(**values)

    # -- reading

    def all(self) -> list[Link]:
        return list(self.links.values())

    def get(self, name: str) -> Link | None:
        return self.links.get(name)

    def need(self, name: str, doing: str) -> Link:
        if name not in self.links:
            raise from_errno(errno.ENODEV, name, doing)
        return self.links[name]

    def tunnels(self) -> list[Link]:
        return [link for link in self.links.values() if link.kind in KINDS]

    def ports(self, master: str) -> list[Link]:
        index = self.need(master, "ports").ifindex
        return [link for link in self.links.values() if link.master == index]

    def addresses(self, name: str, *, leased: bool = False) -> list[str]:
        have = [*self.addrs.get(name, ()), *(self.leases.get(name, ()) if leased else ())]
        return [a for a in have if not a.startswith("fe80:")]

    def has_address(self, name: str, address: str) -> bool:
        return address in self.addrs.get(name, ())

    def bridge_options(self, name: str) -> dict[str, int]:
        self.need(name, "options")
        return {"stp_state": 0, "vlan_filtering": 0, **self.options.get(name, {})}

    def rule_priority(self, family: int, **values: int) -> int | None:
        rule = (family, tuple(sorted(values.items())))
        return self.rules.index(rule) if rule in self.rules else None

    def counters(self, name: str) -> dict[str, int]:
        return {}

    def neighbours(self, name: str) -> list[tuple[str, str]]:
        return self.neighbour_table.get(name, [])

    def duplicates(self, name: str) -> list[str]:
        return self.dad_failed.get(name, [])

    def vlans(self, name: str) -> list[tuple[int, bool]]:
        return self.port_vlans.get(name, [])

    def route_to(self, address: str) -> Route | None:
        return self.ways.get(address)

    def default_route(self) -> Route | None:
        return self.default

    def table_used(self, table: int) -> bool:
        return any(route[2] == table for route in self.routes)

    # -- changing

    def create(self, name: str, kind: str, **values: Any) -> None:
        """A link, without counting as a change."""
        values.setdefault("mtu", 1406 if kind in ("l2wireguard", "l2wgswitch") else 1500)
        self.links[name] = Link(name, self.next_index, kind, **values)
        self.next_index += 1

    def add(self, name: str, kind: str) -> None:
        self._change(name)
        if name in self.links:
            raise from_errno(errno.EEXIST, name, "add")
        self.create(name, kind)
        self.kernel.add(name, kind=kind)

    def add_bridge(self, name: str) -> None:
        self._change(name)
        self.create(name, "bridge", alias=BRIDGE_ALIAS)

    def add_vlan(self, name: str, parent: str, vlan: int) -> None:
        self._change(name)
        self.create(name, "vlan", parent=self.need(parent, "vlan").ifindex)

    def delete(self, name: str) -> None:
        self._change(name)
        link = self.need(name, "delete")
        for child in [c for c in self.links.values() if c.parent == link.ifindex]:
            self._drop(child.name)
        self._drop(name)

    def _drop(self, name: str) -> None:
        index = self.links.pop(name).ifindex
        for child in [c for c in self.links.values() if c.parent == index]:
            self._drop(child.name)
        self.addrs.pop(name, None)
        self.modes.pop(name, None)
        self.options.pop(name, None)
        self.ranges.pop(name, None)
        for port in [p for p in self.links.values() if p.master == index]:
            self.links[port.name] = port._replace(master=0)
        self.kernel.devices.pop(name, None)
        self.routes = [route for route in self.routes if route[1] != name]

    def set_mac(self, name: str, mac: str) -> None:
        self._edit(name, mac=mac)

    def set_mtu(self, name: str, mtu: int) -> None:
        self._edit(name, mtu=mtu)

    def set_up(self, name: str) -> None:
        self._edit(name, up=True)

    def set_down(self, name: str) -> None:
        self._edit(name, up=False)

    def set_bridge(self, name: str, option: str, value: int) -> None:
        self._change(name)
        self.options.setdefault(name, {})[option] = value

    def edit_vlans(self, command: str, name: str, vlans: list[tuple[int, int, int]]) -> None:
        self._change(name)
        have = self.ranges.setdefault(name, [(1, 1, 6)])
        for vlan in vlans:
            if command == "add":
                have.append(vlan)
            else:
                have[:] = [known for known in have if known[0] != vlan[0]]

    def set_master(self, name: str, master: str | None) -> None:
        self._edit(name, master=self.need(master, "master").ifindex if master else 0)

    def set_addr_gen(self, name: str, mode: str) -> None:
        self._change(name)
        self.modes[name] = mode

    def add_address(self, name: str, address: str) -> None:
        self._change(name)
        self.need(name, "address")
        self.addrs.setdefault(name, []).append(address)

    def del_address(self, name: str, address: str) -> None:
        self._change(name)
        self.addrs[name].remove(address)

    def add_route(self, network: str, name: str, table: int | None = None) -> None:
        self._change(name)
        self.routes.append((network, name, table or 254))

    def rule(self, command: str, family: int, **values: int) -> None:
        self._change("")
        rule = (family, tuple(sorted(values.items())))
        if command == "add":
            self.rules.append(rule)
        else:
            self.rules.remove(rule)

# SPDX-License-Identifier: GPL-2.0
"""What a bridge has beyond other links: its options, and the VLANs of a port."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import KernelError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

#: Option: its attribute in IFLA_INFO_DATA (include/uapi/linux/if_link.h).
OPTIONS = {
    "stp_state": "IFLA_BR_STP_STATE",
    "vlan_filtering": "IFLA_BR_VLAN_FILTERING",
    "vlan_default_pvid": "IFLA_BR_VLAN_DEFAULT_PVID",
}
#: BRIDGE_VLAN_INFO_* of include/uapi/linux/if_bridge.h.
PVID, UNTAGGED, RANGE_BEGIN, RANGE_END = 2, 4, 8, 16


class Bridges:
    """The part of `Links` that is about bridges."""

    if TYPE_CHECKING:
        _ipr: Any

        def _doing(self, name: str, doing: str) -> AbstractContextManager[None]: ...
        def _index(self, name: str, doing: str) -> int: ...
        def _set(self, name: str, doing: str, **values: Any) -> None: ...

    def vlans(self, name: str) -> list[tuple[int, bool]]:
        """(VLAN, whether it is the PVID) of a bridge port; empty if it has none."""
        index = self._index(name, "list VLANs")
        found: list[tuple[int, bool]] = []
        with self._doing(name, "list VLANs"):
            for message in self._ipr.get_vlans():
                spec = message.get_attr("IFLA_AF_SPEC")
                if message["index"] != index or not spec:
                    continue
                for entry in spec.get_attrs("IFLA_BRIDGE_VLAN_INFO"):
                    found.append((entry["vid"], bool(entry["flags"] & PVID)))
        return found

    def bridge_options(self, name: str) -> dict[str, int]:
        """The values of OPTIONS that the kernel has."""
        index = self._index(name, "look up")
        with self._doing(name, "look up"):
            info = self._ipr.get_links(index)[0].get_attr("IFLA_LINKINFO")
        data = info.get_attr("IFLA_INFO_DATA") if info else None
        values = {option: data.get_attr(attr) if data else None for option, attr in OPTIONS.items()}
        return {option: value for option, value in values.items() if value is not None}

    def set_bridge(self, name: str, option: str, value: int) -> None:
        """Set one of OPTIONS."""
        with _vlans(name, f"set {option}"):
            self._set(name, f"set {option}", kind="bridge", **{f"br_{option}": value})

    def edit_vlans(self, command: str, name: str, vlans: Sequence[tuple[int, int, int]]) -> None:
        """Add or delete (`command` add, del) VLANs of a bridge port.

        :param vlans: first id, last id (1-4094), and PVID | UNTAGGED of each range.
        """
        doing = f"{command} VLANs of the port"
        index = self._index(name, doing)
        attrs = []
        for first, last, flags in vlans:
            if first == last:
                attrs.append(_info(first, flags))
            else:
                attrs += [_info(first, flags | RANGE_BEGIN), _info(last, flags | RANGE_END)]
        with _vlans(name, doing), self._doing(name, doing):
            self._ipr.vlan_filter(command, index=index, IFLA_AF_SPEC={"attrs": attrs})


@contextmanager
def _vlans(name: str, doing: str) -> Iterator[None]:
    """Put the one reason for which a bridge does not support something into words."""
    try:
        yield
    except KernelError as error:
        if error.errno == errno.EOPNOTSUPP:
            what = f"{name}: VLANs of bridges: the kernel has none"
            hint = "CONFIG_BRIDGE_VLAN_FILTERING"
            raise KernelError(errno.EOPNOTSUPP, what, hint, doing) from None
        raise


def _info(vid: int, flags: int) -> tuple[str, dict[str, int]]:
    return "IFLA_BRIDGE_VLAN_INFO", {"vid": vid, "flags": flags}

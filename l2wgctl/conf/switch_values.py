# SPDX-License-Identifier: GPL-2.0
"""Values of the keys that only a switch has, as people write them: parsers as in `values`.

Source of ranges: kernel/uapi/l2wg.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ValueProblem
from ..model import AllowedIP
from ..switch import ALL_VLANS, CLOSED, GUARDS, OPEN
from . import values
from .values import number

MAX_ENTRIES = 1 << 20


def ageing(text: str) -> int:
    """Seconds 10-1000000 until a silent entry is forgotten."""
    value = number(text)
    if value is None or not 10 <= value <= 1000000:
        raise ValueProblem(f"is not 10-1000000 seconds: '{text}'", "300 is the default")
    return value


def entries(text: str) -> int:
    """A number of entries of the table, 1-1048576."""
    value = number(text)
    if value is None or not 1 <= value <= MAX_ENTRIES:
        raise ValueProblem(f"is not 1-{MAX_ENTRIES}: '{text}'")
    return value


def max_macs(text: str) -> int:
    """How many MACs a peer may use beyond those that are bound to it, 0-1048576."""
    value = number(text)
    if value is None or value > MAX_ENTRIES:
        raise ValueProblem(f"is not 0-{MAX_ENTRIES}: '{text}'", "0: those of AllowedMACs alone")
    return value


def new_peers(text: str) -> str:
    """`open`, or `closed`: a peer that is not in the file shakes hands and nothing else."""
    if text.lower() not in (OPEN, CLOSED):
        raise ValueProblem(f"is neither open nor closed: '{text}'")
    return text.lower()


def host_address(text: str) -> str:
    """A prefix that no peer may claim, in normal form; without a length it is the address."""
    address, prefix = values.split_network(text)
    hint = "write the host's own addresses"
    if not prefix:
        raise ValueProblem(f"'{text}' would bind every address", hint)
    wide = min(prefix, 10)  # fe80::/10; every station has one of these
    if len(address) == 16 and prefix < 128:
        if values.masked(address, wide) == values.masked(b"\xfe\x80" + bytes(14), wide):
            raise ValueProblem(f"'{text}' would bind everybody's link-local address", hint)
    return str(AllowedIP(values.masked(address, prefix), prefix))


def vlans(text: str) -> tuple[int, int]:
    """VLANs 0-4094 of a peer: `20`, `20-29`, `all`; 0 is what has no tag. First and last."""
    if text.lower() == "all":
        return ALL_VLANS[0]
    first, dash, last = (part.strip() for part in text.partition("-"))
    low, high = number(first), number(last if dash else first)
    if low is not None and high is not None and high < low <= 4094:
        raise ValueProblem(f"ends before it begins: '{text}'", f"write {high}-{low}")
    if low is None or high is None or not low <= high <= 4094:
        raise ValueProblem(
            f"is not a VLAN 0-4094: '{text}'", "write 20, 20-29 for a range, 0 for no tag, or all"
        )
    return low, high


def joined(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Ranges in order, those that touch as one: as the kernel tells them."""
    made: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if made and first <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], last))
        else:
            made.append((first, last))
    return tuple(made)


def guard(text: str) -> str:
    """`dhcp`, `ra` or `stp`."""
    if text.lower() not in GUARDS:
        raise ValueProblem(f"is none of {', '.join(GUARDS)}: '{text}'")
    return text.lower()

# SPDX-License-Identifier: GPL-2.0
"""How each kind of change that `up` makes is undone.

Each is looked for first, because a person may have undone it, or changed it again, since then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import L2wgError, Problem
from ..model import KINDS
from ..output import say
from . import host, servers
from .record import Change, Record
from .steps import Step, command

if TYPE_CHECKING:
    from ..netlink.link import Link, Links

#: Kinds whose subject may be a bridge, and goes with it.
_OF_A_BRIDGE = ("bridge", "up", "address", "setting")
#: Kinds that are one link's own.
_OWN = ("link", "dns", "nft", "iptables")
#: Kinds that cannot be looked for: a second try would fail where the first one did.
_TRIED_ONCE = ("dns", "iptables")


def use(links: Links, on: str) -> str:
    """What uses a link, in words: its ports, VLANs and addresses."""
    there = links.get(on)
    if there is None:
        return ""
    index = there.ifindex
    ports = [link.name for link in links.all() if index in (link.master, link.parent)]
    return " ".join(sorted([*ports, *links.addresses(on, leased=True)]))


def address_step(name: str, address: str, links: Links, record: Record | None = None) -> Step:
    """Give a link an address; with `record`, one that does not go away with our link."""
    proto = "-6" if ":" in address else "-4"
    text = f"ip {proto} address add {address} dev {name}"

    def do() -> None:
        links.add_address(name, address)

    if record is None:
        return Step(text, do)
    return step(text, do, Change("address", name, address), record, links)


def step(text: str, do: Callable[[], None], change: Change, record: Record, links: Links) -> Step:
    """A step that is recorded, and undone if a later one fails."""

    def run() -> None:
        there = links.get(change.on) if change.on else None
        record.making(change._replace(ifindex=there.ifindex if there else 0), do)()
        if change.on and there is None:  # it has just been created
            record.complete(change, links.need(change.on, "look up").ifindex)

    return Step(text, run, _undoing(change, record, links))


def found(change: Change, record: Record, links: Links, *, made: bool = False) -> Step:
    """No step, only a note that this link wants what is already there."""

    def run() -> None:
        index = links.need(change.on, "look up").ifindex if change.on else 0
        record.add(change._replace(ifindex=index, made=made))

    return Step("", run, _undoing(change, record, links))


def _undoing(change: Change, record: Record, links: Links) -> Iterator[Step]:
    """The steps that undo a change, planned when they are needed."""
    noted = record.wants(change.thing)
    if noted is not None:
        with record.shared():
            yield from take_back(noted, record, links)


def plan_undo(record: Record, links: Links) -> Iterator[Step]:
    """Undo all that is recorded, in steps: the last first, except the link before its bridge."""
    changes = list(reversed(record.changes))
    later = [change for change in changes if change.kind in (*_OF_A_BRIDGE, "port")]
    with record.shared():
        for change in [c for c in changes if c not in later] + later:
            yield from take_back(change, record, links)


def take_back(change: Change, record: Record, links: Links) -> Iterator[Step]:
    """The steps that undo one change; the last one strikes it out of the record.

    What cannot even be looked for is a step that fails, so that the others still come.
    """

    def struck(done: Step) -> Step:
        def do() -> None:
            try:
                done.do()
            except L2wgError:
                if change.kind in _TRIED_ONCE:
                    record.strike(change)
                raise
            record.strike(change)

        return Step(done.text, do)

    try:
        undo = _taking_back(change, record, links)
    except L2wgError as error:
        undo = _failing(error)
    yield struck(undo if undo is not None else Step("", lambda: None))


def _taking_back(change: Change, record: Record, links: Links) -> Step | None:
    """The step that undoes one change; None if there is nothing to undo.

    :raises L2wgError: it cannot be looked for.
    """
    if not change.made:
        return None
    heir = _heir(change, record, links)
    if heir is not None:
        return Step("", _hand_over(change, heir))
    return _UNDO[change.kind](change, record, links)


def _failing(error: L2wgError) -> Step:
    def do() -> None:
        raise error

    return Step("", do)


def _heir(change: Change, record: Record, links: Links) -> Record | None:
    """Another existing link that wants the same thing."""
    if change.kind in _OWN:
        return None
    others = living(record, links)
    return next((other for other in others if other.wants(change.thing)), None)


def living(record: Record, links: Links) -> Iterator[Record]:
    """The records of other existing links."""
    for other in record.others():
        link = links.get(other.name)
        if link is not None and link.ifindex == other.index:
            yield other


def _hand_over(change: Change, heir: Record) -> Callable[[], None]:
    def do() -> None:
        heir.changes = [
            change._replace(made=True) if known.thing == change.thing and not known.made else known
            for known in heir.changes
        ]
        heir.store()

    return do


# -- one by one ------------------------------------------------------------------------------------


def _same(change: Change, links: Links) -> Link | None:
    """The link that was changed, if it is still the same."""
    found = links.get(change.on)
    return found if found is not None and found.ifindex == change.ifindex else None


def _goes_with_bridge(change: Change, record: Record, links: Links) -> bool:
    """Whether the change is on a bridge that this link has made, and goes or stays with it."""
    bridge = record.wants(("bridge", change.on, ""))
    return bridge is not None and bridge.made and _heir(bridge, record, links) is None


def _link(change: Change, record: Record, links: Links) -> Step | None:
    found = links.get(change.on)
    if found is None or found.kind not in KINDS:
        return None
    return Step(f"ip link delete dev {change.on}", lambda: links.delete(change.on))


def _strangers(bridge: str, record: Record, links: Links) -> list[str]:
    """The bridge's ports that `up` did not put there."""
    own = {record.name} | {c.on for c in record.changes if c.kind == "port" and c.made}
    return [port.name for port in links.ports(bridge) if port.name not in own]


def _bridge(change: Change, record: Record, links: Links) -> Step | None:
    found = links.get(change.on)
    if found is None or found.kind != "bridge" or change.ifindex not in (0, found.ifindex):
        return None
    others = _strangers(change.on, record, links)
    if others:
        what = f"{change.on} stays as it is: {', '.join(others)} {_is(others)} of it"
        return Step("", lambda: say([Problem("down", what, f"ip link delete {change.on}", True)]))
    return Step(f"ip link delete dev {change.on}", lambda: links.delete(change.on))


def _is(names: Sequence[str]) -> str:
    return "is a port" if len(names) == 1 else "are ports"


def _up(change: Change, record: Record, links: Links) -> Step | None:
    found = _same(change, links)
    if found is None or not found.up or _goes_with_bridge(change, record, links):
        return None
    own = {record.name} | {c.on for c in record.changes if c.kind == "port"}
    own |= {c.what for c in record.changes if c.kind == "address" and c.on == change.on}
    if set(use(links, change.on).split()) - own - set(change.before.split()):
        return None  # somebody else uses it by now
    return Step(f"ip link set dev {change.on} down", lambda: links.set_down(change.on))


def _address(change: Change, record: Record, links: Links) -> Step | None:
    on, address = change.on, change.what
    if _same(change, links) is None or _goes_with_bridge(change, record, links):
        return None
    if not links.has_address(on, address):
        return None

    def do() -> None:
        # With the first address of a subnet Linux removes the others of it (promote_secondaries).
        rest = [other for other in links.addresses(on) if other != address]
        links.del_address(on, address)
        for lost in [other for other in rest if not links.has_address(on, other)]:
            links.add_address(on, lost)

    proto = "-6" if ":" in address else "-4"
    return Step(f"ip {proto} address delete {address} dev {on}", do)


def _port(change: Change, _: Record, links: Links) -> Step | None:
    found, bridge = _same(change, links), links.get(change.what)
    if found is None or bridge is None or found.master != bridge.ifindex:
        return None
    return Step(f"ip link set dev {change.on} nomaster", lambda: links.set_master(change.on, None))


def _setting(change: Change, record: Record, links: Links) -> Step | None:
    if _same(change, links) is None or _goes_with_bridge(change, record, links):
        return None
    if str(links.bridge_options(change.on).get(change.what)) != change.value:
        return None
    return Step(
        f"ip link set dev {change.on} type bridge {change.what} {change.before}",
        lambda: links.set_bridge(change.on, change.what, int(change.before)),
    )


def _rule(change: Change, _: Record, links: Links) -> Step | None:
    family, values = host.rule(change.what)
    if links.rule_priority(family, **values) is None:
        return None
    proto, rest = change.what.split(" ", 1)
    return Step(f"ip {proto} rule delete {rest}", lambda: links.rule("del", family, **values))


def _sysctl(change: Change, _: Record, links: Links) -> Step | None:
    if host.read_sysctl(change.what) != change.value:
        return None
    return Step(
        f"sysctl -q {change.what}={change.before}",
        lambda: host.write_sysctl(change.what, change.before),
    )


def _nft(change: Change, _: Record, links: Links) -> Step | None:
    if not host.nft_table_exists(change.what):
        return None
    argv = ["nft", "delete", "table", *change.what.split()]
    return Step(" ".join(argv), command(argv))


def _iptables(change: Change, _: Record, links: Links) -> Step | None:
    argv = [change.what, "-n"]
    return Step(" ".join(argv), command(argv, change.value))


def _dns(change: Change, record: Record, links: Links) -> Step | None:
    there = links.get(record.name) is not None
    return (
        servers.undo(change.what, record.name) if servers.outlives(change.what) or there else None
    )


_UNDO: dict[str, Callable[[Change, Record, Links], Step | None]] = {
    "link": _link,
    "bridge": _bridge,
    "up": _up,
    "address": _address,
    "port": _port,
    "setting": _setting,
    "rule": _rule,
    "sysctl": _sysctl,
    "nft": _nft,
    "iptables": _iptables,
    "dns": _dns,
}

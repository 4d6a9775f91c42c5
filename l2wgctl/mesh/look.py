# SPDX-License-Identifier: GPL-2.0
"""mesh status: the mesh as this host has it, for an operator. `describe` and `render` are pure."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import KernelError, Problem
from ..output import colour, print_json
from .asked import ask
from .endpoints import UP
from .host import Host, load
from .kernel import LinkNow, PeerNow
from .places import is_address
from .plan import Plan, WantedPeer, plan
from .record import Record
from .status import Report, is_running
from .trust import Book

#: Seconds between two looks of `--watch`.
WATCH = 2.0
#: Characters of a key that are shown; enough to tell the admins' keys apart.
SHORT = 8


def describe(
    host: str,
    book: Book,
    wanted: Plan | None,
    link: LinkNow | None,
    report: Report | None,
    now: float,
) -> dict[str, Any]:
    """Everything that `status` shows, as JSON has it; docs/l2wgctl-json.md has the fields.

    :param host: this host's name.
    :param now: seconds since 1970.
    """
    carriers = {} if wanted is None else {p.name: p for p in wanted.peers.values()}
    through = {} if wanted is None else {n: p for p in wanted.peers.values() for n in p.through}
    alive = frozenset(report.alive) if report is not None else frozenset[str]()
    rows = []
    for name, record in book.records.items():
        carrier = through.get(name) or carriers.get(name)
        peer = link.peers.get(carrier.key) if link is not None and carrier is not None else None
        held = book.applied(name)
        assert held is not None
        rows.append(
            {
                "name": name,
                "state": _state(name == host, name in alive, peer),
                "alive": name in alive,
                "endpoint": None if peer is None or not peer.endpoint else str(peer.endpoint),
                "endpoint_from": _origin(peer, carrier, record),
                "handshake": None if peer is None or not peer.handshake else peer.handshake,
                "heard_ms": None if peer is None else peer.heard,
                "macs": [*record.macs],
                "max_macs": record.max_macs,
                "addresses": [*map(str, record.addresses)],
                "hub": record.hub,
                "through": carrier.name if name in through and carrier is not None else None,
                "public_key": str(record.key),
                "previous_key": None if record.previous is None else str(record.previous),
                "serial": record.serial,
                "signer": str(held.signer),
            }
        )
    return {
        "name": host,
        "list": book.list.serial if book.list is not None else 0,
        "hosts": rows,
        "revoked": sorted(name for name in book.listed() if book.is_revoked(name)),
        "agent": None if report is None else _agent(report, now),
    }


def _state(own: bool, alive: bool, peer: PeerNow | None) -> str:
    if own:
        return "this host"
    if peer is None or not peer.present:
        return "no peer"
    if peer.session != UP and not alive:
        return "away"
    return peer.session or "idle"


def _origin(peer: PeerNow | None, carrier: WantedPeer | None, record: Record) -> str | None:
    """Where the kernel's endpoint of a peer comes from: the store, or its own packets."""
    if peer is None or peer.endpoint is None or carrier is None:
        return None
    if peer.endpoint in carrier.endpoints:
        return "store"
    # A name's address may be that of the store as well.
    return "store or learned" if not all(map(is_address, carrier.endpoints)) else "learned"


def _agent(report: Report, now: float) -> dict[str, Any]:
    found = report._asdict()
    found["age"] = max(0, round(now - found.pop("written")))
    found.pop("alive")
    return found


# -- for people ------------------------------------------------------------------------------------


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they must be; the last one is not filled up."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths)]
        yield "  ".join(cells).rstrip()


def render(found: dict[str, Any], now: float, paint: bool = False) -> Iterator[str]:
    """The lines of `status`."""
    head = ("HOST", "STATE", "ENDPOINT", "FROM", "HANDSHAKE", "MACS", "PATH", "SERIAL", "SIGNED BY")
    rows = [head]
    for row in found["hosts"]:
        macs = ", ".join(row["macs"][:2]) + (" ..." if len(row["macs"]) > 2 else "")
        more = f" +{row['max_macs']}" if row["max_macs"] else ""
        path = (
            f"through {row['through']} *" if row["through"] else "hub" if row["hub"] else "direct"
        )
        rows.append(
            (
                row["name"] + (" (new key)" if row["previous_key"] else ""),
                row["state"],
                row["endpoint"] or "-",
                row["endpoint_from"] or "-",
                "-"
                if row["state"] == "this host"
                else _ago(None if row["handshake"] is None else now - row["handshake"]),
                (macs or "-") + more,
                path,
                str(row["serial"]),
                row["signer"][:SHORT],
            )
        )
    for line, state in zip(table(rows), ["", *(row["state"] for row in found["hosts"])]):
        yield _painted(line, state) if paint else line
    if any(row["through"] for row in found["hosts"]):
        yield "* its hub decrypts all that it carries, and could forge it"
    if found["revoked"]:
        yield f"revoked: {', '.join(found['revoked'])}"
    yield ""
    yield from _of_store(found)
    yield from _of_agent(found)


def _painted(line: str, state: str) -> str:
    codes = {"up": "32", "trying": "33", "away": "31", "no peer": "31", "": "1"}
    return f"\033[{codes[state]}m{line}\033[0m" if state in codes else line


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _of_store(found: dict[str, Any]) -> Iterator[str]:
    yield f"list {found['list']}" if found["list"] else "no list has been seen yet"
    for member in found.get("store", ()):
        if member["trouble"]:
            yield f"store {member['url'] or member['name']}: {member['trouble']}"
            continue
        alarms = f", ALARM {' '.join(member['alarms'])}" if member["alarms"] else ""
        leads = ", leads" if member["is_leader"] else ""
        sizes = f"{_size(member['size'])}, {_size(member['in_use'])} of it in use"
        yield f"store {member['url']}: etcd {member['version']}, {sizes}{leads}{alarms}"
    if found.get("store_problem"):
        yield f"store: {found['store_problem']}"


def _of_agent(found: dict[str, Any]) -> Iterator[str]:
    agent = found["agent"]
    if not found.get("running", True):
        yield f"agent: does not run (systemctl start l2wg-mesh@{found['mesh']})"
    elif agent is not None:
        yield f"agent: runs, {'in touch with the store' if agent['in_touch'] else 'store away'}"
    if agent is None:
        return
    for text in agent["faults"].values():
        yield f"fault: {text}"
    for name, why in agent["contested"].items():
        yield f"ignored: the newest record of {name} {why}"
    for place, why in agent["ignored"].items():
        yield f"ignored: {place} {why}"
    if agent["more"]:
        yield f"ignored: {agent['more']} more"
    for name, serial in agent["missing"].items():
        yield f"missing: the store has not shown record {serial} of {name}"
    for name, why in agent["left_out"].items():
        yield f"left out: {name} {why}"


# -- the command -----------------------------------------------------------------------------------


def _report(host: Host) -> Report | None:
    try:
        return Report.read(host.report_file.read_text())
    except OSError:
        return None


def look(host: Host) -> dict[str, Any]:
    """One look at everything."""
    from .daemon import remembered
    from .link import Link

    book, lost = remembered(host, aside=False)
    link: LinkNow | None = None
    trouble: Problem | None = None
    try:
        kernel = Link(host.mesh)
        link = kernel.read()
        kernel.close()
    except KernelError as error:
        trouble = error.problems[0]
    report = _report(host)
    wanted = plan(book.records, host.name, frozenset(book.moved.values()), host.switch)
    found = describe(host.name, book, wanted, link, report, time.time())
    found["mesh"] = host.mesh
    found["running"] = is_running(host.mesh)
    asked = ask(host)
    found["store"] = [member._asdict() for member in asked.members]
    found["store_problem"] = str(asked.problem) if asked.problem else None
    found["warnings"] = [*lost, *(str(problem) for problem in (trouble, asked.way) if problem)]
    return found


def cmd_status(args: argparse.Namespace) -> int:
    """Show the mesh once, or again and again."""
    host = load(args.mesh, args.file)
    while True:
        found = look(host)
        if args.json:
            print_json(found)
        else:
            if args.watch and sys.stdout.isatty():
                print("\033[H\033[2J", end="")
            print("\n".join([*render(found, time.time(), colour()), *found["warnings"]]))
        if not args.watch:
            return 0
        sys.stdout.flush()
        time.sleep(WATCH)

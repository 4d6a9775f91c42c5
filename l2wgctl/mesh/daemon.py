# SPDX-License-Identifier: GPL-2.0
"""mesh run: the agent with this host's kernel, store and disk."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Sequence
from typing import Callable

from ..conf.files import write_private
from ..conf.keyfiles import located
from ..errors import L2wgError, from_os_error
from ..keys import read_key_file
from ..model import Endpoint
from ..output import say as warn
from . import memory, run
from .access import opener
from .agent import Agent, Me
from .etcd import Etcd
from .host import Host, alone, host_key, load, through_the_link
from .status import Report
from .trust import Book


class Disk:
    """The agent's files."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._said: Report | None = None

    def save(self, agent: Agent) -> None:
        """Keep what the agent believes."""
        memory.save(self._host.memory_file, agent.book.snapshot())

    def signed(self, sequence: int) -> None:
        """Keep the number of the last sign of life."""
        # It matters only if the clock goes back; that the disk is full is said elsewhere.
        with contextlib.suppress(L2wgError):
            memory.save_sequence(self._host.memory_file, sequence)

    def imports(self) -> Sequence[bytes]:
        """What `mesh import` has laid ready."""
        return memory.take_import(self._host.memory_file)

    def imported(self) -> None:
        """It is remembered now."""
        memory.drop_import(self._host.memory_file)

    def switched(self) -> None:
        """The new private key takes the place of the old one, also after the next boot."""
        named, new = self._host.config.link.private_key_file, self._host.next_key_file
        assert named is not None and new is not None
        path = located(named, self._host.where)
        # The old file's owner and place stay; a crash between the two steps repeats the first.
        write_private(path, f"{read_key_file(new, 'private key').reveal()}\n")
        try:
            os.unlink(new)
        except OSError as error:
            raise from_os_error(error, new, True) from None

    def report(self, report: Report) -> bool:
        """Leave the report, unless it says what the last one does; whether it is there."""
        if self._said is not None and self._said._replace(written=report.written) == report:
            return True
        try:
            write_private(str(self._host.report_file), report.text() + "\n")
        except L2wgError:
            self._said = None
            return False
        self._said = report
        return True


def remembered(host: Host, aside: bool = True) -> tuple[Book, list[str]]:
    """What the disk remembers, and lines about what it does not any more.

    :param aside: put a damaged file aside, which is the agent's business.
    :raises L2wgError: the file cannot be used, and not be put aside.
    """
    path = host.memory_file
    lost: list[str] = []
    try:
        kept = memory.load(path, host.mesh)
    except L2wgError as error:
        if error.problems[0].code != "damaged":
            raise
        now = f", and now {memory.put_aside(path)}: the store is believed" if aside else ""
        lost.append(f"{path} is damaged{now}")
        kept = None
    if kept is None:
        return Book(host.mesh, host.options.trusted_keys), lost
    book, more = Book.restore(kept, host.options.trusted_keys)
    return book, lost + more


def look_up(endpoint: Endpoint) -> list[Endpoint]:
    """The addresses of a name. IPv4-only and IPv6-only hosts get only what they can reach."""
    from ..resolve import look_up as found

    return found(endpoint)


def store_of(host: Host, known: bool) -> Callable[[], Etcd]:
    """Makes clients of the host's store.

    :param known: the host remembers its mesh, which holds without a store as well (rule 4). What
        cannot be used then is said by the agent's watch, and read again at each try.
    :raises L2wgError: a file that `[Mesh]` names cannot be used, and nothing is known.
    """
    try:
        return opener(host.options, host.where)
    except L2wgError:
        if not known:
            raise
    return lambda: opener(host.options, host.where)()


def cmd_run(args: argparse.Namespace) -> int:
    """Be the agent until interrupted."""
    from .link import Link

    host = load(args.mesh, args.file)
    line = run.say(host.mesh)
    with alone(host):
        book, lost = remembered(host)
        for words in lost:
            line(words)
        manual = frozenset(peer.public_key for peer in host.config.device.peers)
        me = Me(host.mesh, host.name, host.switch, manual, host.next_key)
        agent = Agent(me, book, line)
        agent.sequence = memory.load_sequence(host.memory_file)
        outside = run.Outside(
            Link(host.mesh),
            store_of(host, bool(book.records)),
            host_key(host),
            Disk(host),
            look_up,
            Link(host.mesh),
            through_the_link=lambda: through_the_link(host),
        )
        runner = run.Runner(agent, outside)
        run.stop_on_signals(runner)
        runner.run()
    return 0


def cmd_leave(args: argparse.Namespace) -> int:
    """Take back this host's request and sign of life, and the peers of the mesh."""
    from ..errors import KernelError, Problem
    from . import layout
    from .link import Link
    from .plan import Plan
    from .reconcile import reconcile

    host = load(args.mesh, args.file)
    with alone(host):
        store = opener(host.options, host.where)()
        for key in (layout.request(host.mesh, host.name), layout.alive(host.mesh, host.name)):
            store.delete(key)
        manual = frozenset(peer.public_key for peer in host.config.device.peers)
        try:
            link = Link(host.mesh)
            link.apply(reconcile(link.read(), Plan(), keep=manual))
        except KernelError as error:
            warn([Problem(*error.problems[0][:3], warning=True)])
    print(
        f"{host.name} has no peers of {host.mesh} any more. The others believe its record until an "
        f"admin says:\nl2wgctl mesh revoke --key admin.key {host.mesh} {host.name}"
    )
    return 0

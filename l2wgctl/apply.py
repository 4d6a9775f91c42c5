# SPDX-License-Identifier: GPL-2.0
"""What a file says of a switch, brought to the kernel: options before peers, so that there is no
moment at which a peer has the defaults instead."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from . import signals
from .conf.parse import Config
from .errors import KernelError, Problem, UsageError, public
from .model import Key
from .switch import CLOSED, PEER_DEFAULTS, STATIC, SwitchConfig, SwitchOptions

if TYPE_CHECKING:
    from .conf.switch import Plan
    from .netlink.switch import Switches
    from .setargs import Options


def switch_plan(name: str, config: Config, *, add: bool = False) -> Plan | None:
    """What has to change for a switch to become what its file says; None if it is for no switch.

    :param add: what the file does not say stays (`addconf`). A file for no switch may name peers
        of one.
    :raises KernelError: there is no such link, or it is no switch.
    """
    if config.switch is None:
        from .netlink.switch_probe import is_switch

        if not add or not is_switch(name):
            return None
        config = config._replace(switch=SwitchConfig(SwitchOptions(), {}))
    from .conf.switch import plan
    from .netlink.switch import Switches

    with Switches() as switches:
        return plan(switches.get(name), switches.options(name), config, add=add)


def not_of_a_switch(name: str, config: Config, what: str) -> list[Problem]:
    """A warning if a link is a switch and its file is for none.

    :param what: becomes of the options.
    """
    from .netlink.switch_probe import is_switch

    if config.switch is not None or not is_switch(name):
        return []
    text = f"{name} is a switch, and this file is for none: {what}"
    return [Problem(config.where, text, "add Switch = yes to [Interface]", True)]


def change_plan(name: str, wanted: Options, fwmark: int | None = None) -> Plan | None:
    """What `set` changes of a switch; None if nothing.

    A peer that is removed loses its options, where the link is a switch.

    :param fwmark: the link's new one.
    :raises KernelError: there is no such link, or it is no switch and a word is one of a switch.
    :raises UsageError: a peer's options would contradict each other.
    """
    from .netlink.switch_probe import is_switch

    if wanted.empty and not (wanted.forget and is_switch(name)):
        return None
    from .conf.switch import change
    from .netlink.switch import Switches

    with Switches() as switches:
        made = change(name, switches.get(name), switches.peers(name), wanted.of, wanted.forget)
    _refuse_contradictions(made, fwmark)
    return made


def _refuse_contradictions(plan: Plan, fwmark: int | None) -> None:
    from .conf.switch_check import contradictions
    from .netlink.device import WireGuard

    if fwmark is None and any(x.mark for x in plan.peers.values()):
        with WireGuard() as wireguard:
            fwmark = wireguard.stream_device(plan.name)[0].fwmark
    for key, new in plan.peers.items():
        before = plan.before.get(key, PEER_DEFAULTS)
        were = {code for code, _, _ in contradictions(before, fwmark)}
        for code, what, hint in contradictions(new.over(before), fwmark):
            if code not in were:
                raise UsageError(f"set: peer {public(key)}: {what}", hint)


@contextmanager
def turn(name: str, wanted: bool = True) -> Iterator[None]:
    """In the block, no other l2wgctl adds MACs to a list of the switch or takes some out: two that
    read the same list would write one of the changes only."""
    if not wanted:
        yield
        return
    from .updown.record import turn as in_turn

    with in_turn(name):
        yield


def shut_out(name: str, keys: Sequence[Key]) -> list[Problem]:
    """Warnings of peers that can shake hands and nothing else, because the switch is closed."""
    from .netlink.switch_probe import is_switch

    if not keys or not is_switch(name):
        return []
    from .netlink.switch import Switches

    states = []
    with Switches() as switches, suppress(KernelError):  # it may have gone: the change is done
        if switches.get(name).options.new_peers == CLOSED:
            states = [switches.peer(name, key) for key in dict.fromkeys(keys)]
    what = "has no options, and NewPeers = closed: it can shake hands and nothing else"
    hint = "give it one, as max-macs 256, or write it into the link's file"
    return [
        Problem(name, f"peer {public(x.public_key)} {what}", hint, True)
        for x in states
        if not x.configured
    ]


def not_in_files(name: str) -> list[Problem]:
    """A warning if a link has entries that no file can hold: those of one VLAN."""
    from .netlink.switch import Switches
    from .netlink.switch_probe import is_switch

    if not is_switch(name):
        return []
    with Switches() as switches:
        macs = [x.mac for x in switches.table(name) if x.state == STATIC and x.public_key]
    if not macs:
        return []
    count = "1 entry of one VLAN is" if len(macs) == 1 else f"{len(macs)} entries of one VLAN are"
    hint = "AllowedMACs binds in all VLANs; or PostUp = l2wgctl fdb add ..."
    return [Problem(name, f"{count} not saved: {macs[0]}", hint, True)]


def present(name: str) -> SwitchConfig:
    """The options that a switch and its peers have now, of keys that have any.

    :raises KernelError: there is no such link, or it is no switch.
    """
    from .netlink.switch import Switches

    with Switches() as switches:
        return SwitchConfig(switches.get(name).options, switches.options(name))


@contextmanager
def options(plan: Plan | None) -> Iterator[None]:
    """Set what is planned around the block, which sets the peers: new options before it, and after
    it old ones are forgotten. If the block fails all is as it was.

    :raises KernelError: the kernel refuses.
    """
    if plan is None or plan.empty:
        yield
        return
    from .netlink.switch import Switches

    with signals.held(), Switches() as switches:
        try:
            _set(switches, plan)
            yield
        except BaseException:
            back = plan.back()
            with suppress(KernelError):  # the link has gone, say: what failed first is told
                _set(switches, back)
                _forget(switches, back)
            raise
        _forget(switches, plan)


def _set(switches: Switches, plan: Plan) -> None:
    if plan.link.new_peers == CLOSED:  # a peer without options would be mute till it has them
        switches.set_peers(plan.name, plan.peers.items())
    if any(value is not None for value in plan.link):
        switches.set(plan.name, plan.link)
    if plan.link.new_peers != CLOSED:
        switches.set_peers(plan.name, plan.peers.items())


def _forget(switches: Switches, plan: Plan) -> None:
    if not plan.forget:
        return
    known = switches.options(plan.name)
    try:
        switches.del_peers(plan.name, [key for key in plan.forget if key in known])
    except KernelError as error:
        if error.errno != errno.ENOENT:  # somebody else has forgotten them meanwhile
            raise

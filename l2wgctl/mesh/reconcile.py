# SPDX-License-Identifier: GPL-2.0
"""What has to change for a switch to become what the plan says, and nothing else. Pure.

A peer that has not changed is not named, so its session, its endpoint and what the table knows of
it stay. Options come before peers: there is no moment at which a peer may do more than it shall.
What passes from one key to another is given before it is taken: what is bound to nobody is free.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..conf.switch_values import joined
from ..model import AllowedIP, Endpoint, Key
from ..switch import PEER_DEFAULTS, PeerOptions, SwitchOptions
from .kernel import Change, LinkNow, PeerNow, Remove, Replace, SetLink, SetOptions, SetPeer
from .plan import MACS_OF_PEER, Plan, WantedPeer


def reconcile(
    now: LinkNow,
    plan: Plan,
    endpoints: Mapping[Key, Endpoint] | None = None,
    keep: Collection[Key] = (),
) -> list[Change]:
    """The changes, in the order in which they are to be done.

    :param endpoints: of peers that are to get one now (`endpoints.Endpoints`). A peer that is not
        in it, and is there already, keeps what it has learned.
    :param keep: peers that are not the mesh's (`[Peer]` of the file): never touched.
    """
    hints = endpoints or {}
    done: list[Change] = []

    def do(change: Change) -> None:
        nonlocal now
        done.append(change)
        now = after(now, change)

    if not _same_link(now.options, plan.link):
        do(SetLink(plan.link))
    wanted = {key: peer for key, peer in plan.peers.items() if key not in keep}
    for peer in wanted.values():
        if peer.replaces not in wanted and peer.replaces not in keep and _takes_over(now, peer):
            assert peer.replaces is not None
            # It gets the old key's bindings, and keeps options of its own.
            new = now.peers[peer.key]
            ready = peer.options._replace(allowed_macs=new.options.allowed_macs)
            if new.configured and not same_options(new.options, ready):
                do(SetOptions(peer.key, ready))
            do(Replace(peer.replaces, peer.key))
    again = []
    passed = _passed(now, wanted)
    for peer in wanted.values():
        there = now.peers.get(peer.key)
        if there is not None and there.configured and same_options(there.options, peer.options):
            continue
        had = set(there.options.allowed_macs or ()) if there is not None else set()
        shall = set(peer.options.allowed_macs or ())
        still = had & passed - shall
        if still and len(shall | still) <= MACS_OF_PEER:
            again.append(peer)
            if _only_takes(there, peer):
                continue
            both = peer.options._replace(allowed_macs=tuple(sorted(shall | still)))
            do(SetOptions(peer.key, both))
        else:
            do(SetOptions(peer.key, peer.options))
    gains = {key: _gains(now, peer) for key, peer in wanted.items()}
    given = frozenset[AllowedIP]().union(*gains.values())
    for peer in sorted(wanted.values(), key=lambda peer: not gains[peer.key]):
        change = _peer(now.peers.get(peer.key), peer, hints.get(peer.key), given)
        if change is not None:
            do(change)
    for key in [key for key in now.peers if key not in wanted and key not in keep]:
        do(Remove(key))
    for peer in again:
        do(SetOptions(peer.key, peer.options))
    return done


def _same_link(now: SwitchOptions, wanted: SwitchOptions) -> bool:
    """Whether the switch has the options; those that are None in `wanted` are others' business."""

    def comparable(options: SwitchOptions) -> SwitchOptions:
        macs, addresses = options.host_macs or (), options.host_addresses or ()
        return options._replace(
            host_macs=tuple(sorted(macs)), host_addresses=tuple(sorted(addresses))
        )

    return comparable(now) == comparable(given_over(wanted, now))


def given_over(options: SwitchOptions, base: SwitchOptions) -> SwitchOptions:
    """These options, and those of `base` where nothing is given."""
    given = {name: value for name, value in options._asdict().items() if value is not None}
    return base._replace(**given)


def _takes_over(now: LinkNow, peer: WantedPeer) -> bool:
    """Whether a peer waits to be put into the place of another, with nothing of its own to lose."""
    old = now.peers.get(peer.replaces) if peer.replaces is not None else None
    new = now.peers.get(peer.key)
    if old is None or new is None or not (old.present and new.present):
        return False
    macs = {*(new.options.allowed_macs or ())} - {*(old.options.allowed_macs or ())}
    return not macs and new.allowed_ips <= old.allowed_ips


def _passed(now: LinkNow, wanted: Mapping[Key, WantedPeer]) -> set[str]:
    """The MACs that are to be bound to a key which does not have them."""
    found: set[str] = set()
    for peer in wanted.values():
        there = now.peers.get(peer.key)
        had = (there.options.allowed_macs or ()) if there is not None else ()
        found |= {*(peer.options.allowed_macs or ())} - {*had}
    return found


def _only_takes(there: PeerNow | None, peer: WantedPeer) -> bool:
    """Whether a peer's options change only in that MACs are taken from it."""
    if there is None or not there.configured:
        return False
    macs = {*(peer.options.allowed_macs or ())}
    same = peer.options._replace(allowed_macs=there.options.allowed_macs)
    return macs < {*(there.options.allowed_macs or ())} and same_options(there.options, same)


def _gains(now: LinkNow, peer: WantedPeer) -> frozenset[AllowedIP]:
    """The addresses that a peer is to get."""
    there = now.peers.get(peer.key)
    return peer.allowed_ips - (there.allowed_ips if there is not None else frozenset())


def _peer(
    there: PeerNow | None,
    peer: WantedPeer,
    hint: Endpoint | None,
    given: frozenset[AllowedIP],
) -> SetPeer | None:
    """The change of a peer, apart from its options; None: there is none.

    What is `given` to others and still here, moves when they get it, and must not be free before.
    """
    if there is None or not there.present:
        first = hint or (peer.endpoints[0] if peer.endpoints else None)
        return SetPeer(peer.key, first, peer.allowed_ips, peer.keepalive)
    networks = peer.allowed_ips | (there.allowed_ips & given)
    change = SetPeer(
        peer.key,
        hint if hint != there.endpoint else None,
        networks if networks != there.allowed_ips else None,
        peer.keepalive if peer.keepalive != there.keepalive else None,
    )
    return None if change == SetPeer(peer.key) else change


def same_options(now: PeerOptions, wanted: PeerOptions) -> bool:
    """Whether a key has the options; those that are None in `wanted` are others' business."""
    return _comparable(now) == _comparable(wanted.over(now))


def _comparable(options: PeerOptions) -> object:
    pvid = options.pvid or 0
    return options._replace(
        allowed_macs=tuple(sorted(options.allowed_macs or ())),
        allowed_vlans=joined(options.allowed_vlans or ((pvid, pvid),)),
        pvid=pvid,
    )


# -- what a change does ----------------------------------------------------------------------------


def after(now: LinkNow, change: Change) -> LinkNow:
    """The switch after a change, as the module does it."""
    peers = dict(now.peers)
    if isinstance(change, SetLink):
        return now._replace(options=given_over(change.options, now.options))
    if isinstance(change, SetOptions):
        there = peers.get(change.key, PeerNow(change.key, present=False))
        base = there.options if there.configured else PEER_DEFAULTS
        peers[change.key] = there._replace(options=change.options.over(base), configured=True)
    elif isinstance(change, SetPeer):
        there = peers.get(change.key, PeerNow(change.key, configured=False))
        peers[change.key] = there._replace(
            present=True,
            endpoint=there.endpoint if change.endpoint is None else change.endpoint,
            keepalive=there.keepalive if change.keepalive is None else change.keepalive,
        )
        if change.allowed_ips is not None:
            _move(peers, change.key, change.allowed_ips)
    elif isinstance(change, Replace):
        # kernel/uapi/l2wg.yaml, peer-replace
        old, new = peers.pop(change.old), peers[change.new]
        own = new.options if new.configured else old.options
        macs = {*(old.options.allowed_macs or ()), *(new.options.allowed_macs or ())}
        peers[change.new] = new._replace(
            options=own._replace(allowed_macs=tuple(sorted(macs))),
            configured=new.configured or old.configured,
            allowed_ips=old.allowed_ips | new.allowed_ips,
        )
    elif isinstance(change, Remove):
        del peers[change.key]
    return now._replace(peers=peers)


def _move(peers: dict[Key, PeerNow], key: Key, networks: frozenset[AllowedIP]) -> None:
    """A network is one peer's: the last that is given it (drivers/net/wireguard/allowedips.c)."""
    for other, there in peers.items():
        if other != key and there.allowed_ips & networks:
            peers[other] = there._replace(allowed_ips=there.allowed_ips - networks)
    peers[key] = peers[key]._replace(allowed_ips=networks)

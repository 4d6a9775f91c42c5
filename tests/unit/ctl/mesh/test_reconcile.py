# SPDX-License-Identifier: GPL-2.0
"""Any two states converge, nothing unchanged is touched, and nothing is free in between."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from l2wgctl.conf.values import allowed_ip
from l2wgctl.mesh.kernel import (
    Change,
    LinkNow,
    PeerNow,
    Remove,
    Replace,
    SetLink,
    SetOptions,
    SetPeer,
)
from l2wgctl.mesh.plan import MACS_OF_PEER, Plan, WantedPeer, plan
from l2wgctl.mesh.reconcile import after, reconcile, same_options
from l2wgctl.mesh.record import Record
from l2wgctl.model import AllowedIP, Endpoint, Key
from l2wgctl.switch import CLOSED, PEER_DEFAULTS, SWITCH_DEFAULTS, PeerOptions, SwitchOptions
from tests.unit.ctl.mesh.world import NAMES, key_of, meshes, record_of

KEYS = [Key(bytes([number]) * 32) for number in range(1, 7)]
PLACES = [Endpoint("192.0.2.1", 1), Endpoint("2001:db8::1", 2)]
macs = st.sets(st.integers(0, 7), max_size=4).map(
    lambda found: tuple(f"02:00:00:00:00:{n:02x}" for n in sorted(found))
)
NETWORKS = [allowed_ip(text) for text in ("10.0.0.1/32", "10.0.0.2/32", "10.1.0.0/16", "fd00::1")]
options = st.builds(
    PeerOptions,
    allowed_macs=macs,
    max_macs=st.sampled_from([0, 256]),
    allowed_vlans=st.sampled_from([(), ((0, 0),), ((0, 4), (5, 9))]),
    pvid=st.just(0),
    relay=st.booleans(),
)


link_options = st.builds(
    SwitchOptions,
    ageing=st.sampled_from([None, 300]),
    new_peers=st.sampled_from(["open", "closed"]),
    host_macs=macs,
    host_addresses=st.sampled_from([(), ("10.9.0.1/32", "fd09::1/128")]),
)


def shared_out(draw: st.DrawFn, keys: Sequence[Key]) -> dict[Key, frozenset[AllowedIP]]:
    """Each network is one peer's, or nobody's."""
    owners = {network: draw(st.sampled_from([None, *keys])) for network in NETWORKS}
    return {key: frozenset(n for n, owner in owners.items() if owner == key) for key in keys}


@st.composite
def links(draw: st.DrawFn) -> LinkNow:
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True))
    networks = shared_out(draw, keys)
    peers = {}
    for key in keys:
        kind = draw(st.sampled_from(["both", "options", "bare"]))
        present = kind != "options"
        peers[key] = PeerNow(
            key,
            present=present,
            configured=kind != "bare",
            endpoint=draw(st.sampled_from([None, *PLACES])) if present else None,
            allowed_ips=networks[key] if present else frozenset(),
            keepalive=draw(st.sampled_from([0, 25])) if present else 0,
            options=draw(options) if kind != "bare" else PEER_DEFAULTS,
        )
    return LinkNow(None, peers=peers, options=draw(link_options))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True))
    networks = shared_out(draw, keys)
    peers = {}
    for key in keys:
        old = draw(st.sampled_from([None, *KEYS]))
        peers[key] = WantedPeer(
            "x",
            key,
            draw(options),
            networks[key],
            tuple(draw(st.lists(st.sampled_from(PLACES), unique=True))),
            draw(st.sampled_from([0, 25])),
            replaces=old if old not in keys else None,
        )
    return Plan(draw(link_options), peers)


hints = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(PLACES))


def states(now: LinkNow, changes: Sequence[Change]) -> list[LinkNow]:
    found = [now]
    for change in changes:
        found.append(after(found[-1], change))
    return found


def names(change: Change) -> set[Key]:
    if isinstance(change, SetLink):
        return set()
    if isinstance(change, Replace):
        return {change.old, change.new}
    assert isinstance(change, (SetOptions, SetPeer, Remove))
    return {change.key}


def fits(now: LinkNow, wanted: Plan) -> None:
    assert now.peers.keys() == wanted.peers.keys()
    assert now.options.new_peers == wanted.link.new_peers
    assert {*(now.options.host_macs or ())} == {*(wanted.link.host_macs or ())}
    for key, peer in wanted.peers.items():
        there = now.peers[key]
        assert there.present and there.configured
        assert same_options(there.options, peer.options)
        assert (there.allowed_ips, there.keepalive) == (peer.allowed_ips, peer.keepalive)


@given(links(), plans(), hints)
def test_any_two_states_converge(now: LinkNow, wanted: Plan, places: dict[Key, Endpoint]) -> None:
    end = states(now, reconcile(now, wanted, places))[-1]
    fits(end, wanted)
    assert all(
        end.peers[key].endpoint == place for key, place in places.items() if key in end.peers
    )
    assert reconcile(end, wanted, places) == [], "a second time there is nothing to do"


@given(links(), plans())
def test_nothing_unchanged_is_touched(now: LinkNow, wanted: Plan) -> None:
    touched = set().union(*map(names, reconcile(now, wanted)))
    for key, peer in wanted.peers.items():
        there = now.peers.get(key)
        same = (
            there is not None
            and there.present
            and there.configured
            and same_options(there.options, peer.options)
            and (there.allowed_ips, there.keepalive) == (peer.allowed_ips, peer.keepalive)
        )
        if same and peer.replaces not in now.peers:
            assert key not in touched
    assert touched <= now.peers.keys() | wanted.peers.keys()


@given(links(), plans())
def test_a_live_peer_keeps_what_it_has_learned(now: LinkNow, wanted: Plan) -> None:
    end = states(now, reconcile(now, wanted))[-1]
    for key, there in now.peers.items():
        if there.present and key in wanted.peers:
            assert end.peers[key].endpoint == there.endpoint


@given(links(), plans())
def test_a_new_peer_has_its_options_before_it_is_one(now: LinkNow, wanted: Plan) -> None:
    for before, state in zip(*[states(now, reconcile(now, wanted))[at:] for at in (0, 1)]):
        for key, there in state.peers.items():
            was = before.peers.get(key)
            if there.present and not (was and was.present):
                assert there.configured
                # more MACs than it shall have, at most those that pass on to others
                assert there.options.max_macs == wanted.peers[key].options.max_macs


@given(links(), plans())
def test_what_is_bound_before_and_after_is_bound_in_between(now: LinkNow, wanted: Plan) -> None:
    def bound(state: LinkNow) -> set[object]:
        macs = {mac for peer in state.peers.values() for mac in peer.options.allowed_macs or ()}
        return macs | {ip for peer in state.peers.values() for ip in peer.allowed_ips}

    found = states(now, reconcile(now, wanted))
    always = bound(found[0]) & bound(found[-1])
    for state in found:
        assert always <= bound(state)
        assert all(len(p.options.allowed_macs or ()) <= MACS_OF_PEER for p in state.peers.values())


@given(links(), plans(), st.sets(st.sampled_from(KEYS)))
def test_peers_of_the_file_are_never_touched(now: LinkNow, wanted: Plan, keep: set[Key]) -> None:
    for change in reconcile(now, wanted, keep=keep):
        assert not names(change) & keep


@given(meshes(), meshes(), st.sampled_from(NAMES))
def test_from_mesh_to_mesh(old: dict[str, Record], new: dict[str, Record], own: str) -> None:
    first, second = plan(old, own), plan(new, own)
    if first is None or second is None:
        return
    now = states(LinkNow(None), reconcile(LinkNow(None), first))[-1]
    fits(now, first)
    fits(states(now, reconcile(now, second))[-1], second)


# -- by hand ---------------------------------------------------------------------------------------


def peer(number: int, macs: Sequence[str] = (), ips: Sequence[str] = ()) -> WantedPeer:
    found = PeerOptions(tuple(macs), 0, ((0, 0),), 0, False)
    return WantedPeer("x", KEYS[number], found, frozenset(map(allowed_ip, ips)))


def there(wanted: WantedPeer) -> PeerNow:
    return PeerNow(wanted.key, allowed_ips=wanted.allowed_ips, options=wanted.options)


READY = SWITCH_DEFAULTS._replace(new_peers=CLOSED)


def link(*peers: WantedPeer) -> LinkNow:
    return LinkNow(None, peers={peer.key: there(peer) for peer in peers}, options=READY)


def wish(*peers: WantedPeer) -> Plan:
    return Plan(peers={peer.key: peer for peer in peers})


def test_a_peer_comes() -> None:
    new = peer(0, ["a"], ["10.0.0.1"])
    new = WantedPeer("x", new.key, new.options, new.allowed_ips, tuple(PLACES), 25)
    assert reconcile(link(), wish(new)) == [
        SetOptions(new.key, new.options),
        SetPeer(new.key, PLACES[0], new.allowed_ips, 25),
    ]
    assert reconcile(link(), wish(new), {new.key: PLACES[1]})[1] == SetPeer(
        new.key, PLACES[1], new.allowed_ips, 25
    )


def test_the_switch_is_closed_before_the_first_peer() -> None:
    found = reconcile(LinkNow(None), wish(peer(0)))
    assert found[0] == SetLink(SwitchOptions(new_peers=CLOSED)) and len(found) == 3
    mixed = SWITCH_DEFAULTS._replace(new_peers=CLOSED, host_macs=("b", "a"))
    same = Plan(SwitchOptions(new_peers=CLOSED, host_macs=("a", "b"), host_addresses=()))
    assert reconcile(LinkNow(None, options=mixed), same) == []


def test_a_peer_goes() -> None:
    assert reconcile(link(peer(0), peer(1)), wish(peer(1))) == [Remove(KEYS[0])]


def test_a_mac_and_an_address_move_from_one_to_another() -> None:
    now = link(peer(0, ["a", "b"], ["10.0.0.1", "10.0.0.2"]), peer(1))
    gives, gets = peer(0, ["b"], ["10.0.0.2"]), peer(1, ["a"], ["10.0.0.1"])
    assert reconcile(now, wish(gives, gets)) == [
        SetOptions(KEYS[1], gets.options),
        SetPeer(KEYS[1], None, gets.allowed_ips),
        SetOptions(KEYS[0], gives.options),
    ]


def test_two_change_places() -> None:
    now = link(peer(0, ["a"], ["10.0.0.1"]), peer(1, ["b"], ["10.0.0.2"]))
    one, other = peer(0, ["b"], ["10.0.0.2"]), peer(1, ["a"], ["10.0.0.1"])
    both = one.options._replace(allowed_macs=("a", "b"))
    ips = one.allowed_ips | other.allowed_ips
    assert reconcile(now, wish(one, other)) == [
        SetOptions(KEYS[0], both),
        SetOptions(KEYS[1], both),
        SetPeer(KEYS[0], None, ips),
        SetPeer(KEYS[1], None, other.allowed_ips),
        SetOptions(KEYS[0], one.options),
        SetOptions(KEYS[1], other.options),
    ]


def test_what_an_admin_has_set_besides_stays() -> None:
    mine = peer(0, ["a"])
    theirs = there(mine)._replace(options=mine.options._replace(mark=7, guards=("dhcp",)))
    assert reconcile(LinkNow(None, peers={mine.key: theirs}, options=READY), wish(mine)) == []


def test_a_renewed_key_takes_the_place_of_the_old_one_in_one_change() -> None:
    records = {name: record_of(number) for number, name in enumerate(["h0", "h1"])}
    first = plan(records, "h0")
    records["h1"] = record_of(1, serial=2, key=key_of(1, 3), previous=key_of(1, 1))
    second, third = plan(records, "h0"), plan(records, "h0", [key_of(1, 3)])
    assert first and second and third
    now = states(LinkNow(None), reconcile(LinkNow(None), first))[-1]
    standby = reconcile(now, second)
    assert [type(change) for change in standby] == [SetOptions, SetPeer]
    assert all(names(change) == {key_of(1, 3)} for change in standby), "the old one is not touched"
    now = states(now, standby)[-1]
    ready = third.peers[key_of(1, 3)].options._replace(allowed_macs=())
    assert reconcile(now, third) == [
        SetOptions(key_of(1, 3), ready),
        Replace(key_of(1, 1), key_of(1, 3)),
    ]
    fits(states(now, reconcile(now, third))[-1], third)
    # a host that was away, and never saw the old key, has nothing to replace
    fresh = reconcile(LinkNow(None), third)
    assert [type(change) for change in fresh] == [SetLink, SetOptions, SetPeer]

# SPDX-License-Identifier: GPL-2.0
"""A switch's file in setconf, syncconf and addconf."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from l2wgctl.switch import (
    PEER_DEFAULTS,
    SwitchOptions,
)
from tests.unit.ctl.conftest import PEER_A, PEER_B, PEER_C, PRIVATE, Result
from tests.unit.ctl.fakekernel import FakeKernel, Refuse
from tests.unit.ctl.fakelinks import FakeLinks
from tests.unit.ctl.fakeswitch import FakeSwitch
from tests.unit.ctl.switch.hubs import (
    A_OPTIONS,
    HEAD,
    HUB,
    MAC,
    MAC2,
    asked,
    key,
)

Run = Callable[..., Result]
Conf = Callable[..., Path]


@pytest.fixture
def hub(filed_hub: FakeSwitch) -> FakeSwitch:
    return filed_hub


def test_setconf_brings_it_all(kernel: FakeKernel, hub: FakeSwitch) -> None:
    switches = asked(kernel)
    found = switches.get("wg1").options
    assert found == SwitchOptions(
        *(100, 50, 60, "open", ("02:00:00:00:00:0a",)),
        ("10.0.0.1/32", "fd00::1/128", "10.9.0.0/24", "fd09::1/128"),
    )
    states = {x.public_key: x for x in switches.peers("wg1")}
    assert states[key(PEER_A)].options == A_OPTIONS and states[key(PEER_A)].configured
    assert not states[key(PEER_B)].configured


def test_the_second_time_nothing_is_touched(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    path = conf(HUB)
    before = len(kernel.received)
    assert run("diff", "wg1", path) == (
        0,
        "+ interface Address 10.0.0.1/24\n+ interface Address fd00::1/64\n"
        "~ interface MTU 1406 -> 1402\n",
        "",
    )
    assert run("syncconf", "wg1", path) == (0, "", "")
    assert run("setconf", "wg1", path) == (0, "", "")
    assert hub.log == []
    assert len(kernel.received) > before


def test_only_what_differs_is_set(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    text = HUB.replace("Ageing = 60", "Ageing = 70").replace("Relay = yes\n", "")
    text = text.replace(f"AllowedMACs = {MAC}\n", "AllowedMACs = 02:00:00:00:00:09\n")
    text = text.replace(f"{MAC2}, {MAC}", MAC2)
    path = conf(text + f"Isolated = yes\n[Peer]\nPublicKey = {PEER_C}\n")
    assert run("diff", "wg1", path).out == (
        f"+ peer {PEER_C}\n"
        "~ interface ageing 60 -> 70\n"
        f"- peer {PEER_A} allowed-macs {MAC}\n"
        f"+ peer {PEER_A} allowed-macs 02:00:00:00:00:09\n"
        f"~ peer {PEER_A} relay yes -> no\n"
        f"~ peer {PEER_B} isolated no -> yes\n"
        "+ interface Address 10.0.0.1/24\n+ interface Address fd00::1/64\n"
        "~ interface MTU 1406 -> 1402\n"
    )
    changes = json.loads(run("--json", "diff", "wg1", path).out)["changes"]
    assert {
        "action": "set",
        "peer": PEER_A,
        "field": "relay",
        "old": "yes",
        "new": "no",
    } in changes
    assert run("syncconf", "wg1", path) == (0, "", "")
    a, b = (key(x).hex()[:4] for x in (PEER_A, PEER_B))
    assert hub.log == ["link [5]", f"set {b} [9]", f"set {a} [4, 8]"]
    assert set(kernel.devices["wg1"].peers) == {key(x) for x in (PEER_A, PEER_B, PEER_C)}


def test_a_mac_that_moves_is_never_free(hub: FakeSwitch, run: Run, conf: Conf) -> None:
    """The one that gets it comes before the one that loses it."""
    text = HUB.replace(f"AllowedMACs = {MAC}\n", "").replace(f"{MAC2}, {MAC}", MAC2)
    assert run("syncconf", "wg1", conf(f"{text}AllowedMACs = {MAC}\n")) == (0, "", "")
    a, b = (key(x).hex()[:4] for x in (PEER_A, PEER_B))
    assert hub.log == [f"set {b} [4]", f"set {a} [4]"]


def test_options_of_a_peer_that_has_gone(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    text = HUB[: HUB.index("[Peer]")]
    path = conf(text)
    assert f"- peer {PEER_A} options (all)\n" in run("diff", "wg1", path).out
    assert run("syncconf", "wg1", path) == (0, "", "")
    assert hub.log == [f"del {key(PEER_A).hex()[:4]}"]
    assert kernel.devices["wg1"].peers == {} and hub.members == {}


def test_options_come_before_peers_and_go_after_them(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    order: list[str] = []
    kernel.refuse = lambda command, name: order.extend(["wg"] * command)
    path = conf(HEAD + f"[Peer]\nPublicKey = {PEER_C}\nRelay = yes\n")
    hub.log = order
    assert run("syncconf", "wg1", path) == (0, "", "")
    c, a = (key(x).hex()[:4] for x in (PEER_C, PEER_A))
    assert [x.rsplit(" [", 1)[0] for x in order] == ["link", f"set {c}", "wg", f"del {a}"]


def test_what_fails_leaves_all_as_it_was(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    before = asked(kernel).get("wg1").options, asked(kernel).peers("wg1")

    def refuse(command: int, name: str) -> None:
        if command:
            raise Refuse(errno.ENOMEM)

    kernel.refuse = refuse
    text = HUB.replace("Relay = yes", "Relay = no").replace("Ageing = 60", "Ageing = 61")
    result = run("syncconf", "wg1", conf(text + f"Mark = 5\n[Peer]\nPublicKey = {PEER_C}\n"))
    assert result == (1, "", "l2wgctl: set: wg1: the kernel has no memory for it\n")
    kernel.refuse = lambda command, name: None
    assert (asked(kernel).get("wg1").options, asked(kernel).peers("wg1")) == before


def test_names_are_looked_up_before_the_first_option(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a name server may be minutes, with a hub that is half old and half new."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    path = conf(f"{HUB}Relay = yes\nEndpoint = b.example.org:5\n".replace("Ageing = 60", ""))
    words = f"wg1 peer {PEER_B} relay yes endpoint b.example.org:5"
    for command in (
        *(["setconf", "wg1", path], ["syncconf", "wg1", path], ["addconf", "wg1", path]),
        ["set", *words.split()],
    ):
        result = run(*command)
        assert result.status == 1 and "'b.example.org:5' does not resolve" in result.err
        assert hub.log == [], command


def test_a_link_that_goes_meanwhile_is_what_is_told(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    def go(command: int, name: str) -> None:
        if command:
            kernel.devices.clear()
            kernel.switches.switches.clear()

    kernel.refuse = go
    result = run("syncconf", "wg1", conf(HUB + f"Mark = 5\n[Peer]\nPublicKey = {PEER_C}\n"))
    assert result == (
        1,
        "",
        "l2wgctl: set: wg1: no such link (create it with 'l2wgctl add wg1' or 'l2wgctl up wg1')\n",
    )


def test_closed_gives_all_peers_of_the_file_options(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf
) -> None:
    text = HUB.replace("NewPeers = open", "NewPeers = closed")
    assert run("syncconf", "wg1", conf(text)) == (0, "", "")
    states = {x.public_key: x for x in asked(kernel).peers("wg1")}
    assert states[key(PEER_B)].configured and states[key(PEER_B)].options == PEER_DEFAULTS
    assert run("syncconf", "wg1", conf(HUB)) == (0, "", "")
    states = {x.public_key: x for x in asked(kernel).peers("wg1")}
    assert not states[key(PEER_B)].configured


def test_addconf_adds(kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf) -> None:
    more = f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\nGuard = ra\n"
    more += f"[Peer]\nPublicKey = {PEER_C}\nPVID = 7\n"
    assert run("addconf", "wg1", conf(more)) == (0, "", "")
    states = {x.public_key: x for x in asked(kernel).peers("wg1")}
    assert states[key(PEER_A)].options == A_OPTIONS._replace(guards=("ra",))
    assert states[key(PEER_C)].options == PEER_DEFAULTS._replace(pvid=7)
    assert asked(kernel).get("wg1").options.ageing == 60
    assert not any(x.startswith("link") for x in hub.log)


@pytest.mark.parametrize("head", ["[Interface]\nSwitch = yes\n", ""])
def test_addconf_on_a_closed_switch(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, conf: Conf, head: str
) -> None:
    """A peer without options could shake hands and nothing else."""
    assert run("set", "wg1", "new-peers", "closed") == (0, "", "")
    path = conf(f"{head}[Peer]\nPublicKey = {PEER_C}\n[Peer]\nPublicKey = {PEER_A}\n")
    assert run("addconf", "wg1", path) == (0, "", "")
    states = {x.public_key: x for x in asked(kernel).peers("wg1")}
    assert states[key(PEER_C)].configured and states[key(PEER_C)].options == PEER_DEFAULTS
    assert states[key(PEER_A)].options == A_OPTIONS
    kernel.add("wg2")
    assert run("addconf", "wg2", conf(f"[Peer]\nPublicKey = {PEER_C}\n")) == (0, "", "")


def test_a_file_of_a_switch_on_a_wire(
    kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf
) -> None:
    kernel.add("wg1")
    links.create("wg1", "l2wireguard")
    mend = "(its kind must be l2wgswitch, Switch = yes; a kind is for life: make another link)"
    for verb in ("setconf", "syncconf", "addconf"):
        result = run(verb, "wg1", conf(HUB))
        assert result == (1, "", f"l2wgctl: show: wg1 is no switch {mend}\n"), verb
    assert kernel.devices["wg1"].peers == {}


def test_a_file_of_a_wire_on_a_switch(
    kernel: FakeKernel, hub: FakeSwitch, run: Run, etc: Path, links: FakeLinks
) -> None:
    path = etc / "wg1.conf"
    path.write_text(f"[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PEER_A}\n")
    path.chmod(0o600)
    said = f"l2wgctl: {path}: warning: wg1 is a switch, and this file is for none: "
    mend = "(add Switch = yes to [Interface])\n"
    for verb, what in (
        ("setconf", "the options of its peers stay as they are"),
        ("syncconf", "the options of its peers stay as they are"),
        ("save", "its options are not saved"),
    ):
        assert run(verb, "wg1") == (0, "", f"{said}{what} {mend}")
    assert hub.log == []


def test_a_link_that_fails_is_not_left_behind(
    kernel: FakeKernel, links: FakeLinks, run: Run, conf: Conf
) -> None:
    del kernel.families["l2wg"]
    result = run("setconf", "wg7", conf(HUB))
    assert result.status == 1 and "the kernel has no switches" in result.err
    assert "wg7" not in links.links

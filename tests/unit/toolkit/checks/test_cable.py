# SPDX-License-Identifier: GPL-2.0
"""Two machines: the cable, the agent on the second one, and the proof that it ran."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.checks import pair
from toolkit.errors import ToolError
from toolkit.guest import agent
from toolkit.guest.agent import Peer
from toolkit.guest.hosts import Failed, Host


def test_the_ends_of_a_cable_fit() -> None:
    one, two = (pair.cable(Path("/s"), end) for end in (0, 1))
    assert "local.path=/s/end0,remote.type=unix,remote.path=/s/end1 " in one
    assert "local.path=/s/end1,remote.type=unix,remote.path=/s/end0 " in two
    assert agent.MACS[0] in one and agent.MACS[1] in two and agent.MACS[0] not in two


def test_a_machine_brings_up_both_cards_whatever_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for end in (0, 1):
        assert agent.UPLINK_MACS[end] in pair.uplink(end)
        # the kernel has found the uplink first, and gave it the cable's name
        cards = {agent.UPLINK_MACS[end]: "eth0", agent.MACS[end]: "eth1"}

        def ip(*words: str, cards: dict[str, str] = cards) -> str:
            if words[:3] == ("ip", "link", "set") and words[4] == "name":
                assert words[5] not in cards.values()
                cards.update((mac, words[5]) for mac, card in cards.items() if card == words[3])
            return ""

        monkeypatch.setattr(agent.hosts, "sh", ip)
        monkeypatch.setattr(agent, "_card", cards.get)
        agent.join(end)
        assert cards == {agent.UPLINK_MACS[end]: "uplink", agent.MACS[end]: "eth0"}


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An agent on this machine, in a thread; its report."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(agent, "PORT", free.getsockname()[1])
    monkeypatch.setattr(agent, "ADDRESSES", ("127.0.0.1", "127.0.0.1"))
    monkeypatch.setattr(agent, "join", lambda _: None)
    monkeypatch.setattr(agent, "IDLE", 20.0)
    monkeypatch.setattr(agent.hosts, "sh", lambda *_: "")
    sys = tmp_path / "srcversion"
    sys.write_text("ABCDEF\n")
    monkeypatch.setattr(agent, "SRCVERSION", sys)
    return tmp_path / "report.json"


def test_the_agent_runs_commands_and_says_what_it_did(report: Path) -> None:
    thread = threading.Thread(target=agent.serve, args=(report,))
    thread.start()
    peer = Peer()
    assert peer.sh("sh", "-c", "echo $((6 * 7)); echo no >&2") == "42\nno\n"
    assert peer.sh("cat", stdin="a\nb\n") == "a\nb\n"
    assert peer.sh("false", check=False) == ""
    with pytest.raises(Failed, match="sh -c exit 3 on the other machine: status 3"):
        peer.sh("sh", "-c", "exit 3")
    with pytest.raises(Failed, match="no end after 0.2 s"):
        peer.sh("sleep", "20", timeout=0.2)
    with pytest.raises(Failed, match="No such file"):
        peer.sh("/no/such/program")
    # a host there is told by the same words as one here
    there = Host("B", machine=True, sh=peer.sh)
    assert there.run("echo", "ip") == "ip\n"
    peer.bye()
    thread.join(20)
    assert not thread.is_alive()
    said = json.loads(report.read_text())
    assert said["commands"] == 7 and said["module"] == "ABCDEF" and said["release"]


def test_a_machine_that_has_ended_is_told_of(report: Path) -> None:
    with socket.create_server((agent.ADDRESSES[1], agent.PORT)) as server:
        peer = Peer()
        connection, _ = server.accept()
        connection.close()
        with pytest.raises(Failed, match="^ip link: the other machine has ended$"):
            peer.sh("ip", "link")
    assert not report.exists()


def test_a_namespace_of_the_other_machine() -> None:
    asked: list[tuple[str, ...]] = []

    def shell(*argv: str, **_: object) -> str:
        asked.append(argv)
        return ""

    third = Host("C", sh=shell).create()
    third.run("ping", "x")
    third.destroy()
    assert asked == [
        ("ip", "netns", "add", "C"),
        ("ip", "-n", "C", "-batch", "-"),
        ("ip", "netns", "exec", "C", "ping", "x"),
        ("ip", "netns", "delete", "C"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"release": "5.10.0-46-amd64", "module": "AB", "commands": 3},
        {"release": "7.3.4+deb13-amd64", "module": "AB", "commands": 0},
        {"release": "7.3.4+deb13-amd64", "module": "", "commands": 3},
    ],
)
def test_a_second_machine_that_cannot_prove_that_it_ran(
    tmp_path: Path, said: dict[str, object] | None
) -> None:
    lab = SimpleNamespace(kernel=SimpleNamespace(release="7.3.4+deb13-amd64"))
    if said:
        (tmp_path / "report.json").write_text(json.dumps(said))
    with pytest.raises(ToolError, match="the second machine"):
        pair._prove(lab, tmp_path)  # type: ignore[arg-type]
    good = {"release": "7.3.4+deb13-amd64", "module": "AB", "commands": 3}
    (tmp_path / "report.json").write_text(json.dumps(good))
    pair._prove(lab, tmp_path)  # type: ignore[arg-type]


def test_a_machine_that_fails_does_not_keep_the_other_one_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever of the two it is."""
    monkeypatch.setattr(pair.paths, "LOGS", tmp_path)
    monkeypatch.setattr(pair, "backstage", lambda: contextlib.nullcontext(1))

    def waits(*_: object, **__: object) -> None:
        pair.process.call(["sleep", "60"], tmp_path)
        raise ToolError("ended early")

    def fails(*_: object, **__: object) -> None:
        raise ToolError("a panic")

    def lab(run: object) -> SimpleNamespace:
        kernel = SimpleNamespace(release="7.3.4", label="")
        return SimpleNamespace(kernel=kernel, kvm_works=lambda: False, run=run)

    for first, second in ((waits, fails), (fails, waits)):
        with pytest.raises(ToolError) as error:
            pair.pair(lab(first), lab(second))  # type: ignore[arg-type]
        assert error.value.what == "a panic"
        assert error.value.again == "./inv pair --kernels 7.3.4,7.3.4"

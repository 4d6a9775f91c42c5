# SPDX-License-Identifier: GPL-2.0
"""The grammar of `set`: the same words as `wg set`, with the value parsers of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, NamedTuple, TypeVar

from . import grammar
from .conf import hostbits, switch, together, values
from .conf.keys import LIST, nearest
from .errors import Problem, UsageError, ValueProblem
from .keys import read_key_file
from .model import AllowedIP, Device, Key, Peer

T = TypeVar("T")


class _Words:
    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._at = 0
        self.previous = ""

    def more(self) -> bool:
        return self._at < len(self._words)

    def next(self) -> str:
        self.previous = self._words[self._at]
        self._at += 1
        return self.previous

    def value(self) -> str:
        word = self.previous
        if not self.more():
            raise UsageError(f"set: {word} has no value", grammar.SET)
        return self.next()


def _checked(name: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueProblem as problem:
        raise UsageError(f"set: {name} {problem.what}", problem.hint) from None


def _host_bits(word: str, text: str) -> list[Problem]:
    found = hostbits.warning(word, text, values.allowed_ip(text))
    return [Problem("set", *found, True, code="host-bits")] if found else []


def parse_allowed_ips(text: str) -> tuple[tuple[AllowedIP, ...], bool, list[Problem]]:
    """(networks, replace, warnings) of `allowed-ips`.

    A `+` or `-` before any network makes the change incremental; an empty text removes all.
    """
    networks: list[AllowedIP] = []
    warnings: list[Problem] = []
    replace = True
    text = "".join(text.split())
    for item in text.split(",") if text else []:
        sign = item[:1]
        if sign in ("+", "-"):
            replace = False
            item = item[1:]
        network = values.allowed_ip(item)
        warnings += _host_bits("allowed-ips", item)
        networks.append(network._replace(remove=sign == "-"))
    return tuple(networks), replace, warnings


class Options(NamedTuple):
    """What the words ask for on a switch: values by field, of the link (key None) and of peers. A
    list that begins with a sign has items with `+` or `-` before them, to add and remove."""

    of: dict[Key | None, dict[str, object]]
    forget: tuple[Key, ...]

    @property
    def empty(self) -> bool:
        """Whether no word was one of a switch."""
        return not any(self.of.values())


def _option(word: str, text: str, warnings: list[Problem]) -> tuple[str, object]:
    """Field and value of a word that only a switch has."""
    key = switch.BY_WORD[word]
    if key.how is not LIST:
        return key.field, _checked(word, key.parse, text)
    texts = ["".join(item.split()) for item in text.split(",") if item.strip()]
    signed = [text for text in texts if text[0] in "+-"]
    signs = [text[0] if text[0] in "+-" else "" for text in texts]
    if key.field not in switch.SETS or not signed:
        signs = [""] * len(texts)
    bare = [text[len(sign) :] for sign, text in zip(signs, texts)]
    found = [_checked(word, key.parse, item) for item in bare]
    if key.field == "host_addresses":
        for item in bare:
            warnings += _host_bits(word, item)
    if any(signs):
        return key.field, [(sign or "+", item) for sign, item in zip(signs, found)]
    return key.field, together.ordered(key.field, found)


def _both(word: str, field: str, before: object, value: object) -> object:
    """The value of a word that may have been given before: lists add up, as in `allowed-ips`."""
    if not isinstance(before, (list, tuple)) or not isinstance(value, (list, tuple)):
        return value
    if not before or not value:
        return before or value
    if type(before) is not type(value):
        what = f"set: {word} is given with and without + or -"
        raise UsageError(what, "write one list")
    both = [*before, *value]
    return both if isinstance(value, list) else together.ordered(field, both)


def parse_set(
    name: str, words: Sequence[str], peer: Callable[[str], Key] = values.public_key
) -> tuple[Device, list[Problem], Options]:
    """The change that the words ask for, warnings, and options of a switch.

    :param peer: the key of the peer that a word names.

    :raises UsageError: the words are wrong.
    :raises L2wgError: a key file cannot be read, or holds no key.
    """
    device: dict[str, object] = {}
    peers: list[Peer] = []
    fields: dict[str, object] | None = None
    warnings: list[Problem] = []
    options: dict[Key | None, dict[str, object]] = {}
    it = _Words(words)

    def finish() -> None:
        if fields is not None:
            peers.append(Peer(**fields))  # type: ignore[arg-type]

    while it.more():
        word = it.next()
        if word == "peer":
            finish()
            key: Key = _checked("peer", peer, it.value())
            fields = {"public_key": key}
        elif fields is None and word in grammar.SET_DEVICE:
            text = it.value()
            if word == "listen-port":
                device["listen_port"] = _checked(word, values.port, text)
            elif word == "fwmark":
                device["fwmark"] = _checked(word, values.fwmark, text)
            else:
                device["private_key"] = read_key_file(text, "private key")
        elif fields is not None and word == "remove":
            fields["remove"] = True
        elif fields is not None and word in grammar.SET_PEER:
            text = it.value()
            if word == "preshared-key":
                fields["preshared_key"] = read_key_file(text, "preshared key")
            elif word == "endpoint":
                fields["endpoint"] = _checked(word, values.endpoint, text)
            elif word == "persistent-keepalive":
                fields["persistent_keepalive"] = _checked(word, values.keepalive, text)
            else:
                networks, replace, found = _checked(word, parse_allowed_ips, text)
                # Given twice, as in wg: all of them.
                fields["allowed_ips"] = (*fields.get("allowed_ips", ()), *networks)  # type: ignore[misc]
                fields["replace_allowed_ips"] = replace
                warnings += found
        elif word in (grammar.SET_SWITCH if fields is None else grammar.SET_SWITCH_PEER):
            field, value = _option(word, it.value(), warnings)
            given = options.setdefault(None if fields is None else key, {})
            given[field] = _both(word, field, given.get(field), value)
        else:
            raise _misplaced(word, fields is not None)
    finish()
    gone = tuple(peer.public_key for peer in peers if peer.remove)
    made = Device(name, peers=tuple(peers), **device)  # type: ignore[arg-type]
    return made, warnings, Options(options, gone)


def _misplaced(word: str, after_peer: bool) -> UsageError:
    before, after = (
        (*grammar.SET_DEVICE, *grammar.SET_SWITCH),
        (*grammar.SET_PEER, *grammar.SET_SWITCH_PEER),
    )
    if word in before and after_peer:
        return UsageError(f"set: {word} comes before the first peer", grammar.SET)
    if word in after:
        return UsageError(f"set: {word} comes after a peer", grammar.SET)
    guess = nearest(word, [*before, "peer", *after])
    hint = f"did you mean {guess}?" if guess else grammar.SET
    return UsageError(f"set: unknown word '{word}'", hint)

# SPDX-License-Identifier: GPL-2.0
"""The grammar of `set`: the same words as `wg set`, with the value parsers of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, TypeVar

from . import grammar
from .conf import values
from .errors import Problem, UsageError, ValueProblem, without_keys
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
        raise UsageError(without_keys(f"set: {name} {problem.what}"), problem.hint) from None


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
        meant = values.host_bits(network)
        if meant:
            what = f"allowed-ips '{item}' has bits set beyond its prefix"
            hint = f"the kernel takes it as {meant}"
            warnings.append(Problem("set", what, hint, True, code="host-bits"))
        networks.append(network._replace(remove=sign == "-"))
    return tuple(networks), replace, warnings


def parse_set(name: str, words: Sequence[str]) -> tuple[Device, list[Problem]]:
    """The change that the words ask for, and warnings.

    :raises UsageError: the words are wrong.
    :raises L2wgError: a key file cannot be read, or holds no key.
    """
    device: dict[str, object] = {}
    peers: list[Peer] = []
    fields: dict[str, object] | None = None
    warnings: list[Problem] = []
    it = _Words(words)

    def finish() -> None:
        if fields is not None:
            peers.append(Peer(**fields))  # type: ignore[arg-type]

    while it.more():
        word = it.next()
        if word == "peer":
            finish()
            key: Key = _checked("peer", values.public_key, it.value())
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
                fields["allowed_ips"] = networks
                fields["replace_allowed_ips"] = replace
                warnings += found
        else:
            raise UsageError(_misplaced(word, fields is not None), grammar.SET)
    finish()
    return Device(name, peers=tuple(peers), **device), warnings  # type: ignore[arg-type]


def _misplaced(word: str, after_peer: bool) -> str:
    if word in grammar.SET_DEVICE and after_peer:
        return f"set: {word} comes before the first peer"
    if word in grammar.SET_PEER:
        return f"set: {word} comes after a peer"
    return without_keys(f"set: unknown word '{word}'")

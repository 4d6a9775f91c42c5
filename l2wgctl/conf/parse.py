# SPDX-License-Identifier: GPL-2.0
"""Configuration files: text to model, with every mistake at once.

The format is that of wg(8) and wg-quick(8) with the keys of `l2wgctl.conf.keys` added: sections in
brackets, `Key = value`, and comments from `#` on. Case does not matter in the names of sections and
keys. It is stricter than `wg`: unknown keys, keys given twice and peers given twice are errors.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import ConfigError, Problem, ValueProblem, public
from ..model import AllowedIP, Device, Key, LinkOptions, MeshOptions, Peer
from ..switch import PeerOptions, SwitchConfig
from . import hostbits, meshsection, together, values
from .keys import (
    BY_NAME,
    HEADERS,
    LINES,
    LIST,
    SECTIONS,
    VLAN_ADDRESS,
    VLAN_ADDRESS_NAME,
    ConfigKey,
    nearest,
)


class KeyFile(NamedTuple):
    """A key that stands in a file of its own: the link's, or that of a peer, by its position."""

    peer: int | None
    path: str
    line: int

    @property
    def key(self) -> str:
        """The key of the configuration that names the file."""
        return "PrivateKeyFile" if self.peer is None else "PresharedKeyFile"

    @property
    def kind(self) -> str:
        """What the file holds."""
        return "private key" if self.peer is None else "preshared key"


class Config(NamedTuple):
    """A parsed file. `device` holds the keys that the kernel module knows, `link` the others.

    `peer_lines` and `key_lines` tell where things stand: each peer's section, and each key of
    `[Interface]` by its lower-case name, those of `[Mesh]` likewise in `mesh_lines`. `key_files`
    are to be read (`keyfiles.fill`). `mesh` is None without the section, and `switch`
    for a link that is none.
    """

    where: str
    device: Device
    link: LinkOptions
    warnings: tuple[Problem, ...] = ()
    peer_lines: tuple[int, ...] = ()
    key_lines: dict[str, int] = {}
    key_files: tuple[KeyFile, ...] = ()
    mesh: MeshOptions | None = None
    mesh_lines: dict[str, int] = {}
    switch: SwitchConfig | None = None


def without_marks(text: str) -> str:
    """The text without the byte order marks at the start of lines: a file that was joined from
    several has them inside, too."""
    return re.sub("^\ufeff", "", text, flags=re.MULTILINE) if "\ufeff" in text else text


def items(value: str) -> list[str]:
    """The values of a list. Programs write lists with a comma at the end, or only commas."""
    return [item for item in map(str.strip, value.split(",")) if item]


def _slip(key: ConfigKey, text: str) -> str | None:
    """How to mend a value that would be right without its quotes, or up to a `;`, or in pieces."""
    meant = (
        ([text.strip("\"'")], "leave out the quotes"),
        ([re.split(r"\s*(?:;|//)", text)[0]], "a comment begins with #"),
        (text.split() if key.how is LIST else [text], "put commas between them"),
    )
    for parts, hint in meant:
        if parts != [text] and all(parts):
            try:
                for part in parts:
                    key.parse(part)
            except ValueProblem:
                continue
            return hint
    return None


class _Parser:
    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.section: str | None = None
        self.skipping = False
        self.raw = ""
        self.line = 0
        self.section_line = 0
        self.interface: dict[str, object] = {}
        self.fields: dict[str, object] = {}
        self.given: dict[str, int] = {}
        self.key_lines: dict[str, int] = {}
        self.mesh: dict[str, object] = {}
        self.mesh_lines: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.peers: list[Peer] = []
        self.peer_lines: list[int] = []
        self.key_files: list[KeyFile] = []
        self.peer_by_key: dict[Key, int] = {}
        self.options: dict[Key, PeerOptions] = {}
        self.switch_keys: list[tuple[str, int]] = []
        self.vlan_addresses: dict[tuple[int, ...], list[str]] = {}
        self.vlan_lines: dict[tuple[int, ...], int] = {}

    def problem(
        self,
        code: str,
        what: str,
        hint: str | None = None,
        at: str = "",
        offset: int = 0,
        line: int = 0,
        warning: bool = False,
    ) -> None:
        """Note a mistake at the text `at` of the current line (or at the start of `line`)."""
        column = 1
        if not line:
            line = self.line
            found = self.raw.find(at, self.raw.find("=") + 1) if at else -1
            if found < 0:
                found = self.raw.find(at) if at else -1
            blank = len(self.raw) - len(self.raw.lstrip())
            column = (found if found >= 0 else blank) + offset + 1
        where = f"{self.where}:{line}:{column}"
        (self.warnings if warning else self.problems).append(
            Problem(where, what, hint, warning, line, column, code)
        )

    def parse(self, text: str) -> None:
        by_name = BY_NAME
        text = without_marks(text)
        for number, raw in enumerate(text.split("\n"), 1):
            stripped = raw.partition("#")[0].strip() if "#" in raw else raw.strip()
            if not stripped:
                continue
            self.line = number
            self.raw = raw
            if stripped[0] == "[":
                self.begin(stripped)
                continue
            name, equals, value = stripped.partition("=")
            name = name.rstrip()
            value = value.lstrip()
            if self.skipping:
                continue
            if self.section is None:
                if not self.problems:
                    self.problem(
                        "outside", f"'{name}' comes before any section", "begin with [Interface]"
                    )
                continue
            if not equals:
                self.problem(
                    "no-value",
                    f"'{stripped.split()[0]}' is neither a section nor 'Key = value'",
                )
                continue
            key = by_name[self.section].get(name.lower())
            if key is None:
                self.unknown(name, value)
            else:
                self.take(key, value)
        self.end()

    def begin(self, text: str) -> None:
        self.end()
        name = text[1:-1].strip().lower() if text.endswith("]") else ""
        self.skipping = name not in SECTIONS
        if self.skipping:
            known = [header.strip("[]") for header in HEADERS.values()]
            guess = nearest(name or text.strip("[]"), known)
            hint = f"did you mean [{guess}]?" if guess else f"known: {', '.join(HEADERS.values())}"
            self.problem("unknown-section", f"unknown section '{text}'", hint)
            self.section = None
            return
        self.section = name
        self.section_line = self.line
        if name == "peer":
            self.fields, self.given = {}, {}
            return
        mesh = name == "mesh"
        self.fields = self.mesh if mesh else self.interface
        self.given = self.mesh_lines if mesh else self.key_lines
        if name in self.seen:
            self.problem(
                "duplicate-section",
                f"{HEADERS[name]} is given twice (first in line {self.seen[name]})",
                "put its keys into one section",
            )
        self.seen[name] = self.line

    def end(self) -> None:
        """The section is complete."""
        if self.section != "peer":
            return
        fields = self.fields
        self.section = None
        if "public_key" not in fields:
            if "publickey" not in self.given:
                self.problem(
                    "no-public-key",
                    "[Peer] has no PublicKey",
                    "every peer needs one",
                    line=self.section_line,
                )
            return
        key = fields["public_key"]
        assert isinstance(key, Key)
        if key in self.peer_by_key:
            self.problem(
                "duplicate-peer",
                f"peer {public(key)} is given twice (first in line {self.peer_by_key[key]})",
                "join the two sections",
                line=self.section_line,
            )
            return
        self.peer_by_key[key] = self.section_line
        allowed = fields.get("allowed_ips")
        if allowed is not None:
            fields["allowed_ips"] = tuple(allowed)  # type: ignore[arg-type]
        options = {name: fields.pop(name) for name in PeerOptions._fields if name in fields}
        options = {name: value for name, value in options.items() if value != []}
        if options:
            self.options[key] = together.peer_options(options)
        path = fields.pop("preshared_key_file", None)
        if path is not None:
            line = self.given["presharedkeyfile"]
            self.key_files.append(KeyFile(len(self.peers), str(path), line))
            if "preshared_key" in fields:
                what = "PresharedKey and PresharedKeyFile exclude each other"
                self.problem("conflict", what, "keep one of them", line=line)
        self.peers.append(Peer(replace_allowed_ips=True, **fields))  # type: ignore[arg-type]
        self.peer_lines.append(self.section_line)

    def unknown(self, name: str, value: str) -> None:
        assert self.section
        vlan = VLAN_ADDRESS.fullmatch(name) if self.section == "interface" else None
        if vlan:
            try:
                ids = values.vlan_ids(vlan[1])
                found = [values.interface_address(v) for v in items(value)]
            except ValueProblem as problem:
                self.problem("value", f"{name} {problem.what}", problem.hint, at=value)
                return
            self.vlan_addresses.setdefault(ids, []).extend(found)
            self.vlan_lines.setdefault(ids, self.line)
            label = ".".join(map(str, ids))
            self.key_lines.setdefault(f"vlan{label}.address", self.line)
            return
        other = next((s for s in HEADERS if name.lower() in BY_NAME[s]), None)
        if other is not None:
            hint: str | None = f"it belongs in {HEADERS[other]}"
        else:
            known = [key.name for key in SECTIONS[self.section]]
            if self.section == "interface":
                known.append(VLAN_ADDRESS_NAME)
            guess = nearest(name, known)
            hint = f"did you mean {guess}?" if guess else "see l2wg.conf(5)"
        self.problem(
            "unknown-key", f"unknown key '{name}' in {HEADERS[self.section]}", hint, at=name
        )

    def take(self, key: ConfigKey, value: str) -> None:
        fields = self.fields
        how = key.how
        if key.switch and items(value):
            self.switch_keys.append((key.name, self.line))
        if how is LIST:
            into = fields.setdefault(key.field, [])
            assert isinstance(into, list)
            self.given.setdefault(key.name.lower(), self.line)
            for item in items(value):
                self.take_one(key, item, into)
            return
        if how is LINES:
            self.given.setdefault(key.name.lower(), self.line)
            into = fields.setdefault(key.field, [])
            assert isinstance(into, list)
            if "\0" in value:
                self.problem("value", f"{key.name} has a NUL byte in it", at=value)
            elif value:
                self.take_one(key, value, into)
            return
        if not value and key.empty:
            return
        name = key.name.lower()
        if name in self.given:
            self.problem(
                "duplicate-key",
                f"{key.name} is given twice (first in line {self.given[name]})",
                "keep one of them",
            )
            return
        self.given[name] = self.line
        single: list[object] = []
        self.take_one(key, value, single)
        if single:
            fields[key.field] = single[0]

    def take_one(self, key: ConfigKey, text: str, into: list[object]) -> None:
        if not text:
            self.problem("no-value", f"{key.name} has no value")
            return
        try:
            parsed = key.parse(text)
        except ValueProblem as problem:
            hint = _slip(key, text) or problem.hint
            self.problem("value", f"{key.name} {problem.what}", hint, text, problem.column)
            return
        into.append(parsed)
        network = values.allowed_ip(text) if key.field == "host_addresses" else parsed
        if network.__class__ is AllowedIP:
            found = hostbits.warning(key.name, text, network)
            if found:
                self.problem("host-bits", *found, text, warning=True)

    def finish(self) -> Config:
        """The model.

        :raises ConfigError: there are mistakes; it has all of them.
        """
        private = self.interface.get("private_key")
        if private is not None:
            assert isinstance(private, Key)
            self.problems += together.own_key(private, self.peer_by_key, self.where)
        link, conflicts = together.link_options(
            self.interface, self.vlan_addresses, self.vlan_lines
        )
        conflicts += together.conflicts(link, self.key_lines, self.interface.get("switch"))
        conflicts += together.only_on_a_switch(link, self.switch_keys)
        switch = together.switch(link, self.interface, self.options)
        mesh = meshsection.options(self.mesh) if "mesh" in self.seen else None
        if mesh is not None:
            lines = {"": self.seen["mesh"], **self.mesh_lines}
            wrong = {problem.line for problem in self.problems}
            found = meshsection.conflicts(mesh, lines, link.switch)
            switch = meshsection.closed(switch)
            conflicts += (conflict for conflict in found if conflict.line not in wrong)
        for conflict in conflicts:
            self.problem(conflict.code, conflict.what, conflict.hint, line=conflict.line)
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda p: (p.line, p.column)))
        device = Device(
            "",
            private_key=private,  # type: ignore[arg-type]
            listen_port=self.interface.get("listen_port"),  # type: ignore[arg-type]
            fwmark=self.interface.get("fwmark"),  # type: ignore[arg-type]
            peers=tuple(self.peers),
        )
        if link.private_key_file is not None:
            line = self.key_lines["privatekeyfile"]
            self.key_files.insert(0, KeyFile(None, link.private_key_file, line))
        together.note_public(link, self.peer_by_key)
        return Config(
            self.where,
            device,
            link,
            tuple(self.warnings),
            tuple(self.peer_lines),
            self.key_lines,
            tuple(self.key_files),
            mesh,
            self.mesh_lines,
            switch,
        )


def parse(text: str, where: str) -> Config:
    """The configuration in `text`.

    :param where: the name that errors show.
    :raises ConfigError: there are mistakes; it has all of them.
    """
    parser = _Parser(where)
    parser.parse(text)
    return parser.finish()

# SPDX-License-Identifier: GPL-2.0
"""Configuration files: text to model, with every mistake at once.

The format is that of wg(8) and wg-quick(8) with the keys of `configkeys` added: sections in
brackets, `Key = value`, `#` begins a comment, upper and lower case of sections and keys do not
matter. Stricter than `wg`: unknown keys, keys given twice and peers given twice are errors.
"""

from __future__ import annotations

from typing import NamedTuple

from ..errors import ConfigError, Problem, ValueProblem, without_keys
from ..model import AllowedIP, Device, Key, LinkOptions, Peer, Vlan
from . import values
from .keys import (
    BY_NAME,
    LINES,
    LIST,
    SECTIONS,
    VLAN_ADDRESS,
    VLAN_ADDRESS_NAME,
    ConfigKey,
    nearest,
)


class Config(NamedTuple):
    """A parsed file. `device` holds the keys that the kernel module knows, `link` the others.

    `lines` tells where things stand: the line of each peer's section, and of each key of
    `[Interface]` by its lower-case name.
    """

    where: str
    device: Device
    link: LinkOptions
    warnings: tuple[Problem, ...] = ()
    peer_lines: tuple[int, ...] = ()
    key_lines: dict[str, int] = {}


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
        self.seen_interface = 0
        self.peers: list[Peer] = []
        self.peer_lines: list[int] = []
        self.peer_by_key: dict[Key, int] = {}
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
        if code not in ("duplicate-peer", "own-key"):
            what = without_keys(what)
            hint = without_keys(hint) if hint else None
        (self.warnings if warning else self.problems).append(
            Problem(where, what, hint, warning, line, column, code)
        )

    def parse(self, text: str) -> None:
        by_name = BY_NAME
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
                        "outside", f"'{name}' stands before any section", "begin with [Interface]"
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
            guess = nearest(name or text.strip("[]"), ["Interface", "Peer"])
            hint = f"did you mean [{guess}]?" if guess else "known: [Interface], [Peer]"
            self.problem("unknown-section", f"unknown section '{text}'", hint)
            self.section = None
            return
        self.section = name
        self.section_line = self.line
        self.fields = self.interface if name == "interface" else {}
        self.given = self.key_lines if name == "interface" else {}
        if name == "interface":
            if self.seen_interface:
                self.problem(
                    "duplicate-section",
                    f"[Interface] is given twice (first in line {self.seen_interface})",
                    "put its keys into one section",
                )
            self.seen_interface = self.line

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
                f"peer {key} is given twice (first in line {self.peer_by_key[key]})",
                "join the two sections",
                line=self.section_line,
            )
            return
        self.peer_by_key[key] = self.section_line
        allowed = fields.get("allowed_ips")
        if allowed:
            fields["allowed_ips"] = tuple(allowed)  # type: ignore[arg-type]
        self.peers.append(Peer(replace_allowed_ips=True, **fields))  # type: ignore[arg-type]
        self.peer_lines.append(self.section_line)

    def unknown(self, name: str, value: str) -> None:
        assert self.section
        vlan = VLAN_ADDRESS.fullmatch(name) if self.section == "interface" else None
        if vlan:
            try:
                ids = values.vlan_ids(vlan[1])
                found = [values.interface_address(v.strip()) for v in value.split(",")]
            except ValueProblem as problem:
                self.problem("value", f"{name} {problem.what}", problem.hint, at=value)
                return
            self.vlan_addresses.setdefault(ids, []).extend(found)
            self.vlan_lines.setdefault(ids, self.line)
            return
        other = "peer" if self.section == "interface" else "interface"
        if name.lower() in BY_NAME[other]:
            hint: str | None = f"it belongs into [{other.capitalize()}]"
        else:
            known = [key.name for key in SECTIONS[self.section]]
            if self.section == "interface":
                known.append(VLAN_ADDRESS_NAME)
            guess = nearest(name, known)
            hint = f"did you mean {guess}?" if guess else "see l2wg.conf(5)"
        self.problem(
            "unknown-key", f"unknown key '{name}' in [{self.section.capitalize()}]", hint, at=name
        )

    def take(self, key: ConfigKey, value: str) -> None:
        fields = self.fields
        how = key.how
        if how is LIST:
            into = fields.setdefault(key.field, [])
            assert isinstance(into, list)
            self.given.setdefault(key.name.lower(), self.line)
            for item in value.split(","):
                item = item.strip()
                if item or value:
                    self.take_one(key, item, into)
            return
        if how is LINES:
            self.given.setdefault(key.name.lower(), self.line)
            into = fields.setdefault(key.field, [])
            assert isinstance(into, list)
            self.take_one(key, value, into)
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
            self.problem("value", f"{key.name} {problem.what}", problem.hint, text, problem.column)
            return
        into.append(parsed)
        if parsed.__class__ is AllowedIP:
            meant = values.host_bits(parsed)
            if meant:
                self.problem(
                    "host-bits",
                    f"{key.name} '{text}' has bits set beyond its prefix",
                    f"the kernel takes it as {meant}",
                    text,
                    warning=True,
                )

    def finish(self) -> Config:
        """The model. Raises ConfigError with every mistake."""
        self.check_own_key()
        link = self.link_options()
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda p: (p.line, p.column)))
        device = Device(
            "",
            private_key=self.interface.get("private_key"),  # type: ignore[arg-type]
            listen_port=self.interface.get("listen_port"),  # type: ignore[arg-type]
            fwmark=self.interface.get("fwmark"),  # type: ignore[arg-type]
            peers=tuple(self.peers),
        )
        return Config(
            self.where, device, link, tuple(self.warnings), tuple(self.peer_lines), self.key_lines
        )

    def check_own_key(self) -> None:
        private = self.interface.get("private_key")
        if private is None or not self.peers:
            return
        from ..keys import public_key

        own = public_key(private)  # type: ignore[arg-type]
        if own in self.peer_by_key:
            self.problem(
                "own-key",
                f"the peer's PublicKey {own} belongs to this link's own PrivateKey",
                "write the other host's public key",
                line=self.peer_by_key[own],
            )

    def link_options(self) -> LinkOptions:
        options: dict[str, object] = {}
        for name in LinkOptions._fields:
            if name in self.interface:
                value = self.interface[name]
                options[name] = tuple(value) if isinstance(value, list) else value
        dns = options.pop("dns", ())
        options["dns"] = tuple(v for v in dns if _is_address(v))  # type: ignore[attr-defined]
        options["dns_search"] = tuple(
            v
            for v in dns  # type: ignore[attr-defined]
            if not _is_address(v)
        )
        ids = list(options.pop("vlans", ()))  # type: ignore[call-overload]
        for vlan in self.vlan_addresses:
            if vlan not in ids:
                label = ".".join(map(str, vlan))
                self.problem(
                    "vlan-missing",
                    f"VLAN{label}.Address is given, but VLANs does not list {label}",
                    f"add {label} to VLANs",
                    line=self.vlan_lines[vlan],
                )
        options["vlans"] = tuple(
            Vlan(vlan, tuple(self.vlan_addresses.get(vlan, ()))) for vlan in ids
        )
        link = LinkOptions(**options)  # type: ignore[arg-type]
        self.check_together(link)
        return link

    def check_together(self, link: LinkOptions) -> None:
        """Keys that exclude or need each other."""

        def bad(name: str, what: str, hint: str) -> None:
            self.problem("conflict", what, hint, line=self.key_lines.get(name.lower(), 1))

        if not link.ethernet:
            for name, value in (
                ("MACAddress", link.mac_address),
                ("Bridge", link.bridge),
                ("Master", link.master),
                ("VLANs", link.vlans),
            ):
                if value:
                    bad(name, f"{name} needs an Ethernet link", "set Kind = l2wireguard")
        if link.bridge and link.master:
            bad("Master", "Bridge and Master exclude each other", "keep one of them")
        if link.bridge_create and not link.bridge:
            bad("BridgeCreate", "BridgeCreate needs Bridge", "add Bridge = br0")
        if link.bridge_addresses and not link.bridge:
            bad("BridgeAddress", "BridgeAddress needs Bridge", "add Bridge = br0")
        if len({vlan.ids for vlan in link.vlans}) < len(link.vlans):
            bad("VLANs", "VLANs lists an id twice", "keep one of them")


def _is_address(text: str) -> bool:
    return ":" in text or all(part.isdigit() for part in text.split("."))


def parse(text: str, where: str) -> Config:
    """The configuration in `text`; `where` is the name that errors show.

    Raises ConfigError with every mistake in the text.
    """
    parser = _Parser(where)
    parser.parse(text)
    return parser.finish()

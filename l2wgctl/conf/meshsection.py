# SPDX-License-Identifier: GPL-2.0
"""The keys of `[Mesh]` together: which exclude or need each other, and what looks wrong."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import Problem, from_os_error
from ..model import MeshOptions
from ..switch import CLOSED, SwitchConfig
from .switch_values import joined

#: Each record is verified with every key until one fits.
TRUSTED_MAX = 16
ENDPOINTS_MAX = 8
#: What a switch takes of its own MACs and addresses, and so what one host may claim.
CLAIMS_MAX = 64


def options(given: Mapping[str, object]) -> MeshOptions:
    """The options.

    :param given: values by the name of their field.
    """
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    values["allowed_vlans"] = joined(given.get("allowed_vlans", ()))  # type: ignore[arg-type]
    return MeshOptions(**values)  # type: ignore[arg-type]


def closed(switch: SwitchConfig | None) -> SwitchConfig | None:
    """The switch of a mesh takes nothing from a peer without options, unless the file says so."""
    if switch is None or switch.options.new_peers is not None:
        return switch
    return switch._replace(options=switch.options._replace(new_peers=CLOSED))


class _Rule(NamedTuple):
    """Of the key `name`: what is wrong if `broken`, and how to mend it."""

    name: str
    broken: bool
    what: str
    hint: str


def _rules(mesh: MeshOptions, given: Collection[str]) -> Iterator[_Rule]:
    yield _Rule(
        "Engine",
        not mesh.engines,
        "[Mesh] has no Engine",
        "write the URLs of the store: Engine = https://etcd1.example.org:2379",
    )
    yield _Rule(
        "TrustedKeys",
        not mesh.trusted_keys,
        "[Mesh] has no TrustedKeys",
        "write the public keys of the admins, from 'l2wgctl mesh keygen'",
    )
    for name, found, most in (
        ("TrustedKeys", mesh.trusted_keys, TRUSTED_MAX),
        ("Endpoints", mesh.endpoints, ENDPOINTS_MAX),
        ("AllowedIPs", mesh.allowed_ips, CLAIMS_MAX),
        ("AllowedMACs", mesh.allowed_macs, CLAIMS_MAX),
    ):
        yield _Rule(name, len(found) > most, f"{name} has more than {most}", "leave some out")
        yield _Rule(name, len({*found}) < len(found), f"{name} lists one twice", "keep one of them")
    schemes = {url.partition(":")[0] for url in mesh.engines}
    yield _Rule("Engine", len(schemes) > 1, "Engine mixes http and https", "write https for all")
    yield _Rule(
        "CA",
        bool(mesh.ca or mesh.certificate) and schemes == {"http"},
        "CA and Certificate need https",
        "write https:// into Engine",
    )
    for pair in (("Certificate", "Key"), ("User", "PasswordFile")):
        for one, other in (pair, pair[::-1]):
            broken = one.lower() in given and other.lower() not in given
            yield _Rule(one, broken, f"{one} needs {other}", f"add {other}")
    yield _Rule(
        "Behind",
        mesh.hub and mesh.behind is not None,
        "Hub and Behind exclude each other",
        "keep one of them",
    )
    yield _Rule(
        "Endpoints" if "endpoints" in given else "Hub",
        mesh.hub and not mesh.endpoints,
        "Hub needs Endpoints",
        "add Endpoints = HOST:51820, where the hosts behind it reach it",
    )
    yield _Rule(
        "Behind",
        mesh.behind is not None and mesh.behind == mesh.node,
        "Behind names this host itself",
        "write the name of its hub",
    )


def conflicts(mesh: MeshOptions, lines: Mapping[str, int], switch: bool) -> list[Problem]:
    """Keys that exclude or need each other.

    :param lines: where each key stands, by its lower-case name; the section itself by ''.
    :param switch: whether the link is one.
    """
    needs = _Rule(
        "Node",
        mesh.node is not None and not switch,
        "[Mesh] needs a switch",
        "write Switch = yes into [Interface]",
    )
    return [
        Problem("", rule.what, rule.hint, line=_line(rule.name, lines), code="conflict")
        for rule in (*_rules(mesh, lines), needs)
        if rule.broken
    ]


def _line(name: str, lines: Mapping[str, int]) -> int:
    return lines.get(name.lower(), lines.get("", 1))


def unusable_files(mesh: MeshOptions, lines: Mapping[str, int], where: str) -> Iterator[Problem]:
    """Warnings of files that the agent will not take: not there, or open to others."""
    for name, path, secret in (
        ("CA", mesh.ca, False),
        ("Certificate", mesh.certificate, False),
        ("Key", mesh.key, True),
        ("PasswordFile", mesh.password_file, True),
    ):
        if path is None:
            continue
        # as in `keyfiles.located`, which imports the parser
        file = Path(where).parent / path
        line = _line(name, lines)
        try:
            status = file.stat()
        except OSError as error:
            what = f"{name} {file}: {from_os_error(error, '').problems[0].what}"
            yield Problem(f"{where}:{line}:1", what, "check the path", True, line, 1, "mesh-file")
            continue
        mode = stat.S_IMODE(status.st_mode)
        if secret and mode & 0o077:
            what = f"{name} {file} is open to others (mode {mode:04o})"
            hint = f"chmod 600 {file}"
            yield Problem(f"{where}:{line}:1", what, hint, True, line, 1, "mesh-file")


def _local(url: str) -> bool:
    host = url.partition("://")[2].rpartition(":")[0]
    return host in ("localhost", "[::1]") or host.startswith("127.")


def lint(mesh: MeshOptions, lines: Mapping[str, int], where: str) -> Iterator[Problem]:
    """Warnings."""

    def warn(code: str, name: str, what: str, hint: str) -> Problem:
        line = _line(name, lines)
        return Problem(f"{where}:{line}:1", what, hint, True, line, 1, code)

    if len(mesh.trusted_keys) == 1:
        yield warn(
            "one-trusted-key",
            "TrustedKeys",
            "TrustedKeys has only one: when it is lost, nobody can admit or revoke a host",
            "add the one that is locked away, from 'l2wgctl mesh keygen'",
        )
    plain = [url for url in mesh.engines if url.startswith("http:") and not _local(url)]
    if plain:
        yield warn(
            "plain-engine",
            "Engine",
            f"Engine {plain[0]} is not encrypted: who listens knows every host and its addresses",
            "write https://, and CA",
        )

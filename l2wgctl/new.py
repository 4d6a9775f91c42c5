# SPDX-License-Identifier: GPL-2.0
"""new: the two files of a tunnel, with keys that match, and a QR code of the other end's."""

from __future__ import annotations

import argparse
import socket
import sys
from pathlib import Path
from typing import Callable, NamedTuple

from .commands import checked_name
from .conf import files, preflight, values
from .conf.check import lint
from .conf.parse import parse
from .errors import ConfigError, L2wgError, Problem, ValueProblem, from_os_error, without_keys
from .keys import generate_preshared_key, generate_private_key, public_key
from .model import L2WGSWITCH, L2WIREGUARD, WIREGUARD, Endpoint, SecretKey
from .output import say

PORT = 51820
#: The folder for the other end's file, in the folder of this end's.
FOR_PEER = "for-peer"
#: Seconds between keepalives of an end whose address the other end does not know.
KEEPALIVE = 25


class End(NamedTuple):
    """One end of the tunnel. `endpoint` is where the other end reaches it, if it is
    known; `address` has its prefix length."""

    name: str | None
    private: SecretKey
    endpoint: Endpoint | None
    address: str | None


def text(own: End, other: End, psk: SecretKey, kind: str, bridge: str | None) -> str:
    """The file of one end, with its secrets.

    An end that the other one cannot reach calls by itself and keeps the way back open. A switch
    relays for its peer, and binds the peer's address to it.
    """
    port = own.endpoint.port if own.endpoint else None
    lines = ["[Interface]", f"PrivateKey = {own.private.reveal()}"]
    if kind == WIREGUARD:
        lines.append(f"Kind = {kind}")
    if kind == L2WGSWITCH:
        lines.append("Switch = yes")
    if port:
        lines.append(f"ListenPort = {port}")
    if bridge:
        lines += [f"Bridge = {bridge}", "BridgeCreate = yes"]
    if own.address:
        lines.append(f"{'BridgeAddress' if bridge else 'Address'} = {own.address}")
    lines += ["", "[Peer]"]
    if other.name:
        lines.append(f"Name = {other.name}")
    lines += [f"PublicKey = {public_key(other.private)}", f"PresharedKey = {psk.reveal()}"]
    allowed = "0.0.0.0/0, ::/0"
    if kind == L2WGSWITCH:
        lines.append("Relay = yes")
    if kind != L2WIREGUARD and other.address:
        host = other.address.partition("/")[0]
        allowed = f"{host}/{128 if ':' in host else 32}"
    if kind != L2WGSWITCH or other.address:
        lines.append(f"AllowedIPs = {allowed}")
    if other.endpoint:
        lines.append(f"Endpoint = {other.endpoint}")
    if not own.endpoint:
        lines.append(f"PersistentKeepalive = {KEEPALIVE}")
    return "\n".join([*lines, ""])


def picture(other: str) -> str:
    """A file as a QR code for a terminal, as the WireGuard apps read it: without our own keys.

    :raises L2wgError: segno is not installed.
    """
    try:
        import segno
    except ImportError:
        raise L2wgError(
            "segno is not installed",
            "apt install python3-segno, or pip install 'l2wg[qr]'",
            "new --qr",
            "NO_PROGRAM",
        ) from None
    import io

    ours = ("Kind = ", "Name = ")
    kept = "".join(line + "\n" for line in other.splitlines() if not line.startswith(ours))
    out = io.StringIO()
    segno.make_qr(kept, error="l").terminal(out, compact=True)
    return out.getvalue()


def _given(option: str, parser: Callable[[str], object], value: str | None) -> object:
    if value is None:
        return None
    try:
        return parser(value)
    except ValueProblem as problem:
        raise L2wgError(f"--{option} {problem.what}", problem.hint, "new") from None


def _endpoint(text: str) -> Endpoint:
    bare = text.count(":") == 0 or text.endswith("]")
    return values.endpoint(f"{text}:{PORT}" if bare else text)


def _host_address(text: str) -> str:
    if "/" not in text:
        raise ValueProblem(f"'{text}' has no prefix length", f"write {text}/24")
    return values.interface_address(text)


def _host(address: str) -> bytes:
    return values.split_network(address)[0]


def _ends(args: argparse.Namespace) -> tuple[End, End]:
    def end(name: str | None, endpoint: str, address: str) -> End:
        given = vars(args)
        return End(
            name,
            generate_private_key(),
            _given(endpoint, _endpoint, given[endpoint.replace("-", "_")]),  # type: ignore[arg-type]
            _given(address, _host_address, given[address.replace("-", "_")]),  # type: ignore[arg-type]
        )

    name = _given("name", values.peer_name, args.name or socket.gethostname())
    peer = _given("peer-name", values.peer_name, args.peer_name)
    if args.qr and args.kind != WIREGUARD:
        what = "--qr is for the WireGuard apps, which know no Ethernet links"
        raise L2wgError(what, "add --kind wireguard, or leave --qr out", "new")
    own = end(name, "endpoint", "address")  # type: ignore[arg-type]
    other = end(peer, "peer-endpoint", "peer-address")  # type: ignore[arg-type]
    if own.endpoint is None and other.endpoint is None:
        raise L2wgError(
            "no end knows where the other one is",
            "--endpoint HOST is this host's address or name, --peer-endpoint the other one's",
            "new",
        )
    if args.kind == WIREGUARD and not (own.address and other.address):
        raise L2wgError("an IP link needs addresses", "give --address and --peer-address", "new")
    if args.kind == WIREGUARD and args.bridge:
        raise L2wgError("--bridge needs an Ethernet link", "leave --kind out", "new")
    if own.address and other.address and _host(own.address) == _host(other.address):
        what = f"both ends have the address {own.address.partition('/')[0]}"
        raise L2wgError(what, "give each end its own", "new")
    return own, other


def _check(name: str, texts: dict[Path, str]) -> list[Problem]:
    """Warnings of the files.

    :raises ConfigError: one would be of no use: `up` would refuse it.
    """
    configs = [parse(content, str(path)) for path, content in texts.items()]
    problems = [problem for config in configs for problem in preflight.of_file(name, config)]
    if problems:
        raise ConfigError(problems)
    return [warning for config in configs for warning in lint(config)]


def _write(path: Path, content: str, done: list[str]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error, str(path.parent), True) from None
    files.create_private(str(path), content, "move it away, or choose another name")
    done.append(str(path))


def cmd_new(args: argparse.Namespace) -> int:
    """Write the files of both ends of a tunnel."""
    name = checked_name(args.interface)
    bridge = _given("bridge", values.interface_name, args.bridge)
    own, other = _ends(args)
    psk = generate_preshared_key()
    here = text(own, other, psk, args.kind, bridge)  # type: ignore[arg-type]
    # A host with one peer stays a wire.
    kind = L2WIREGUARD if args.kind == L2WGSWITCH else args.kind
    there = text(other, own, psk, kind, bridge)  # type: ignore[arg-type]
    shown = picture(there) if args.qr else ""
    folder = Path(args.folder or files.CONFIG_DIR)
    paths = [folder / f"{name}.conf", folder / FOR_PEER / f"{name}.conf"]
    texts = dict(zip(paths, (here, there)))
    warnings = _check(name, texts)
    target = name if folder == files.CONFIG_DIR else paths[0]
    done: list[str] = []
    with files.kept_if_done(done):
        for path, content in texts.items():
            _write(path, content, done)
        sys.stdout.write(shown)
        told = (
            f"{paths[0]}: this end; bring it up with 'l2wgctl up {target}'\n"
            f"{paths[1]}: the other end's; move it there, to {files.CONFIG_DIR / f'{name}.conf'}"
        )
        print(without_keys(told))
    say(warnings)
    return 0

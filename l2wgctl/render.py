# SPDX-License-Identifier: GPL-2.0
"""Model to text: what `wg` prints, byte for byte, and JSON. Pure: nothing is read or printed."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable

from .grammar import DEVICE_FIELDS
from .model import AllowedIP, Device, Key, Peer, SecretKey
from .sockets import AF_INET, AF_INET6, inet_ntop

NO_NAMES: Mapping[bytes, str] = {}
RESET = "\x1b[0m"
BOLD = "\x1b[1m"
GREEN = "\x1b[32m"
YELLOW = "\x1b[33m"
RED = "\x1b[31m"
CYAN = "\x1b[36m"


def plain(text: str) -> str:
    """The text without colours."""
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def base64(key: bytes | None) -> str:
    """A key in base64, secret or not; `(none)` for None."""
    return "(none)" if key is None else b2a_base64(key, newline=False).decode()


def networks(allowed_ips: Iterable[AllowedIP], separator: str) -> str:
    """AllowedIPs joined, or `(none)`."""
    return (
        separator.join(
            [
                f"{inet_ntop(AF_INET if len(a) == 4 else AF_INET6, a)}/{prefix}"
                for a, prefix, _ in allowed_ips
            ]
        )
        or "(none)"
    )


def _mark(mark: int | None) -> str:
    return f"0x{mark:x}" if mark else "off"


def dump_device(device: Device) -> str:
    """The first line of `show IFACE dump`; tabs between the fields."""
    return (
        f"{base64(device.private_key)}\t{base64(device.public_key)}\t"
        f"{device.listen_port or 0}\t{_mark(device.fwmark)}\n"
    )


def dump_peer(peer: Peer) -> str:
    """The line of a peer in `show IFACE dump`."""
    return (
        f"{base64(peer.public_key)}\t{base64(peer.preshared_key)}\t"
        f"{peer.endpoint or '(none)'}\t{networks(peer.allowed_ips, ',')}\t"
        f"{peer.last_handshake[0]}\t{peer.rx_bytes}\t{peer.tx_bytes}\t"
        f"{peer.persistent_keepalive or 'off'}\n"
    )


def device_field(device: Device, field: str) -> str:
    """One of DEVICE_FIELDS, as `show IFACE FIELD` prints it."""
    if field == "public-key":
        return base64(device.public_key)
    if field == "private-key":
        return base64(device.private_key)
    if field == "listen-port":
        return str(device.listen_port or 0)
    return _mark(device.fwmark)


def peer_field(peer: Peer, field: str) -> str:
    """One of the other FIELDS except `dump`, as `show IFACE FIELD` prints it for a peer."""
    key = base64(peer.public_key)
    if field == "peers":
        return key
    value = {
        "preshared-keys": lambda: base64(peer.preshared_key),
        "endpoints": lambda: str(peer.endpoint or "(none)"),
        "allowed-ips": lambda: networks(peer.allowed_ips, " "),
        "latest-handshakes": lambda: str(peer.last_handshake[0]),
        "transfer": lambda: f"{peer.rx_bytes}\t{peer.tx_bytes}",
        "persistent-keepalive": lambda: str(peer.persistent_keepalive or "off"),
    }[field]()
    return f"{key}\t{value}"


def field_lines(
    device: Device, peers: Iterable[Peer], field: str, with_name: bool
) -> Iterator[str]:
    """Lines of `show IFACE FIELD` for a field that is not `dump`; `with_name` as in `show all`."""
    name = f"{device.name}\t" if with_name else ""
    if field in DEVICE_FIELDS:
        yield f"{name}{device_field(device, field)}\n"
        return
    for peer in peers:
        yield f"{name}{peer_field(peer, field)}\n"


def showconf(device: Device, peers: Iterable[Peer]) -> Iterator[str]:
    """The configuration of a device as a file, with its secrets."""
    yield "[Interface]\n"
    if device.listen_port:
        yield f"ListenPort = {device.listen_port}\n"
    if device.fwmark:
        yield f"FwMark = 0x{device.fwmark:x}\n"
    if device.private_key is not None:
        yield f"PrivateKey = {device.private_key.reveal()}\n"
    yield "\n"
    between = ""
    for peer in peers:
        text = f"{between}[Peer]\nPublicKey = {base64(peer.public_key)}\n"
        if peer.preshared_key is not None:
            text += f"PresharedKey = {base64(peer.preshared_key)}\n"
        if peer.allowed_ips:
            text += f"AllowedIPs = {networks(peer.allowed_ips, ', ')}\n"
        if peer.endpoint:
            text += f"Endpoint = {peer.endpoint}\n"
        if peer.persistent_keepalive:
            text += f"PersistentKeepalive = {peer.persistent_keepalive}\n"
        yield text
        between = "\n"


# ---- for people ----------------------------------------------------------------------------------

_UNITS = (
    (365 * 24 * 3600, "year"),
    (24 * 3600, "day"),
    (3600, "hour"),
    (60, "minute"),
    (1, "second"),
)


def duration(seconds: int) -> str:
    """`1 hour, 2 minutes`, the units coloured. Nothing for 0."""
    parts = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {CYAN}{unit}{'' if count == 1 else 's'}{RESET}")
    return ", ".join(parts)


def ago(then: int, now: int) -> str:
    """How long ago a handshake was; both in seconds since the epoch."""
    if now == then:
        return "Now"
    if now < then:
        return f"({RED}System clock wound backward; connection problems may ensue.{RESET})"
    return f"{duration(now - then)} ago"


def size(count: int) -> str:
    """A number of bytes in B, KiB, MiB, GiB or TiB."""
    if count < 1024:
        return f"{count} {CYAN}B{RESET}"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            break
    return f"{value:.2f} {CYAN}{unit}{RESET}"


#: Further lines of a peer, or of the link (None), in `pretty`.
More = Callable[["Key | None"], "Iterable[tuple[str, str]]"]


def _nothing_more(_: Key | None) -> Iterable[tuple[str, str]]:
    return ()


def pretty(
    device: Device,
    peers: Iterable[Peer],
    now: int,
    reveal: bool,
    names: Mapping[bytes, str] = NO_NAMES,
    more: More = _nothing_more,
) -> str:
    """The coloured text of `show`; `now` in seconds since the epoch, `reveal` shows secrets.

    A peer that has one of the `names` gets a line that `wg` does not print. `more` has further
    lines, (name, value), of a key, and of the link for None.
    """

    def line(name: str, value: object) -> str:
        return f"  {BOLD}{name}{RESET}: {value}\n"

    def secret(key: SecretKey) -> str:
        return key.reveal() if reveal else "(hidden)"

    out = [f"{RESET}{GREEN}{BOLD}interface{RESET}: {GREEN}{device.name}{RESET}\n"]
    if device.public_key is not None:
        out.append(line("public key", device.public_key))
    if device.private_key is not None:
        out.append(line("private key", secret(device.private_key)))
    if device.listen_port:
        out.append(line("listening port", device.listen_port))
    if device.fwmark:
        out.append(line("fwmark", _mark(device.fwmark)))
    out += [line(*pair) for pair in more(None)]
    for peer in sorted(peers, key=lambda peer: peer.last_handshake, reverse=True):
        out.append(f"\n{YELLOW}{BOLD}peer{RESET}: {YELLOW}{peer.public_key}{RESET}\n")
        if peer.public_key in names:
            out.append(line("name", names[peer.public_key]))
        if peer.preshared_key is not None:
            out.append(line("preshared key", secret(peer.preshared_key)))
        if peer.endpoint:
            out.append(line("endpoint", peer.endpoint))
        nets = networks(peer.allowed_ips, ", ")
        out.append(line("allowed ips", nets.replace("/", f"{CYAN}/{RESET}")))
        if peer.last_handshake[0]:
            out.append(line("latest handshake", ago(peer.last_handshake[0], now)))
        if peer.rx_bytes or peer.tx_bytes:
            out.append(
                line("transfer", f"{size(peer.rx_bytes)} received, {size(peer.tx_bytes)} sent")
            )
        if peer.persistent_keepalive:
            out.append(line("persistent keepalive", f"every {duration(peer.persistent_keepalive)}"))
        out += [line(*pair) for pair in more(peer.public_key)]
    return "".join(out)


# ---- for programs --------------------------------------------------------------------------------


def _shown(key: Key | None, reveal: bool) -> str | None:
    if key is None:
        return None
    return str(key) if not isinstance(key, SecretKey) or reveal else "(hidden)"


def device_json(
    device: Device, peers: Iterable[Peer], reveal: bool, names: Mapping[bytes, str] = NO_NAMES
) -> dict[str, Any]:
    """The device as docs/l2wgctl-json.md describes it; secrets as `(hidden)` unless `reveal`."""

    def secret(key: SecretKey | None) -> str | None:
        if key is None:
            return None
        return key.reveal() if reveal else "(hidden)"

    return {
        "interface": device.name,
        "family": device.family,
        "public_key": _shown(device.public_key, True),
        "private_key": secret(device.private_key),
        "listen_port": device.listen_port or 0,
        "fwmark": device.fwmark or 0,
        "peers": [
            {
                "public_key": str(peer.public_key),
                "name": names.get(peer.public_key),
                "preshared_key": secret(peer.preshared_key),
                "endpoint": str(peer.endpoint) if peer.endpoint else None,
                "allowed_ips": [str(ip) for ip in peer.allowed_ips],
                "latest_handshake": peer.last_handshake[0] or None,
                "rx_bytes": peer.rx_bytes,
                "tx_bytes": peer.tx_bytes,
                "persistent_keepalive": peer.persistent_keepalive or 0,
            }
            for peer in peers
        ],
    }

# SPDX-License-Identifier: GPL-2.0
"""Change a configuration's text to the state of a link, and leave the rest as it was written.

Comments, order, spacing and names of endpoints stay. A line is touched only when what it says is
no longer so. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ..errors import ConfigError, L2wgError, ValueProblem
from ..model import AllowedIP, Device, Endpoint, Key, Peer
from ..switch import PEER_DEFAULTS, PeerOptions, SwitchConfig, SwitchOptions
from . import switch, sync, values
from .keys import ConfigKey
from .parse import Config, items, parse, without_marks

#: Key with `=`, value, comment with the white space before it.
_LINE = re.compile(r"(\s*[^=#]*=\s*)(.*?)(\s*(?:#.*)?)$", re.DOTALL)


class _Section:
    """A section's lines, from the comments right above its header on."""

    def __init__(self, kind: str, lines: list[str]) -> None:
        self.kind = kind
        self.lines = lines

    def name(self, index: int) -> str:
        """The key in a line, in lower case; empty for other lines."""
        bare = self.lines[index].partition("#")[0]
        return bare.partition("=")[0].strip().lower() if "=" in bare else ""

    def find(self, *names: str) -> list[int]:
        """The lines that have one of these keys, in lower case."""
        return [index for index in range(len(self.lines)) if self.name(index) in names]

    def value(self, index: int) -> str:
        """The value in a line."""
        match = _LINE.match(self.lines[index])
        return match[2].strip() if match else ""

    def _after(self, *names: str) -> int:
        """The place of a new line: behind those with these keys, else behind the last key."""
        found = self.find(*names)
        if found:
            return found[-1] + 1
        keys = [index for index in range(len(self.lines)) if self.name(index)]
        header = [i for i, line in enumerate(self.lines) if line.lstrip().startswith("[")]
        return max([*keys, *header, -1]) + 1

    def set(self, name: str, text: str) -> None:
        """Give a key a value, in its line or a new one. A line without a value is as none."""
        found = self.find(name.lower())
        if found:
            index = next(filter(self.value, found), found[0])
            match = _LINE.match(self.lines[index])
            assert match
            space = " " if match[3].startswith("#") else ""
            self.lines[index] = f"{match[1].rstrip()} {text}{space}{match[3]}"
        else:
            self.add(name, text)

    def add(self, name: str, text: str) -> None:
        """Add a line behind the others with that key."""
        self.lines.insert(self._after(name.lower()), f"{name} = {text}")

    def drop(self, *names: str) -> None:
        """Remove the lines that have one of these keys."""
        for index in reversed(self.find(*names)):
            del self.lines[index]

    def edit_list(self, name: str, keep: Iterable[bool], new: Sequence[str]) -> None:
        """Remove items of a list, which may be in several lines, and add new ones to the last.

        `keep` says of each item, in the order of the file, whether it stays.
        """
        stays = iter(keep)
        found = self.find(name.lower())
        lists = [items(self.value(index)) for index in found]
        left = [[item for item in listed if next(stays)] for listed in lists]
        if not found:
            if new:
                self.add(name, ", ".join(new))
            return
        if new and not left[-1] and "#" in self.lines[found[-1]]:
            self.add(name, ", ".join(new))  # the comment is of what goes
        else:
            left[-1] += new
        for index, before, after in reversed(list(zip(found, lists, left))):
            if before and not after:
                del self.lines[index]
            elif before != after:
                match = _LINE.match(self.lines[index])
                assert match
                self.lines[index] = f"{match[1].rstrip()} {', '.join(after)}{match[3]}"


def _sections(text: str) -> list[_Section]:
    found = [_Section("", [])]
    for line in text.split("\n"):
        bare = line.partition("#")[0].strip()
        if bare.startswith("["):
            before = found[-1].lines
            lead: list[str] = []
            while before and before[-1].lstrip().startswith("#"):
                lead.insert(0, before.pop())
            found.append(_Section(bare.strip("[]").strip().lower(), [*lead, line]))
        else:
            found[-1].lines.append(line)
    return found


def _peer_key(section: _Section) -> Key | None:
    for index in section.find("publickey"):
        try:
            return values.public_key(section.value(index))
        except ValueProblem:
            return None
    return None


def edit(
    text: str,
    config: Config,
    device: Device,
    addresses: Sequence[str],
    mtu: int | None = None,
    keep_fwmark: bool = False,
    now_switch: SwitchConfig | None = None,
) -> str:
    """The text of a file for the state of its link.

    `config` is what the text says, `device` the link, `addresses` those that it has now, and `mtu`
    its MTU if that may change. With `keep_fwmark` a mark that the file does not have is not the
    file's business. `now_switch` are the options that a switch has now.

    :raises L2wgError: the new text would have mistakes.
    """
    sections = _sections(without_marks(text))
    interface = next((s for s in sections if s.kind == "interface"), None)
    if interface is None:
        interface = _Section("interface", ["[Interface]"])
        sections.insert(1, interface)
    _edit_interface(interface, config, device, addresses, mtu, keep_fwmark)
    options = _Options(config, now_switch)
    options.edit_interface(interface)
    said = {peer.public_key: peer for peer in config.device.peers}
    now = {peer.public_key: peer for peer in device.peers}
    holds = _Holders(config, device)
    kept = []
    for section in sections:
        key = _peer_key(section) if section.kind == "peer" else None
        if key is not None and key not in now:
            continue
        if key is not None and key in said:
            _edit_peer(section, said[key], now[key], holds)
            options.edit_peer(section, key)
        kept.append(section)
    lines = [line for section in kept for line in section.lines]
    for peer in device.peers:
        # The peers of a mesh come from its store.
        if peer.public_key not in said and config.mesh is None:
            lines = [*_without_blank_end(lines), "", *_new_peer(peer)]
            lines += options.of_new_peer(peer.public_key)
    made = "\n".join([*_without_blank_end(lines), ""])
    try:
        parse(made, config.where)
    except ConfigError as error:
        what = f"the file would have a mistake: {error.problems[0].what}"
        raise L2wgError(what, "it stays as it is; change it by hand", config.where) from None
    return made


def _without_blank_end(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def _edit_interface(
    section: _Section,
    config: Config,
    device: Device,
    addresses: Sequence[str],
    mtu: int | None,
    keep_fwmark: bool,
) -> None:
    said = config.device
    change, _ = sync.plan(device._replace(peers=()), said._replace(peers=()))
    if change.private_key is not None and not section.find("privatekeyfile"):
        if device.private_key is None:
            section.drop("privatekey")
        else:
            section.set("PrivateKey", device.private_key.reveal())
    port = device.listen_port or 0
    if port and port != said.listen_port and not (said.listen_port == 0):
        section.set("ListenPort", str(port))
    mark = device.fwmark or 0
    if mark != (said.fwmark or 0) and not (keep_fwmark and said.fwmark is None):
        if mark:
            section.set("FwMark", f"0x{mark:x}")
        else:
            section.drop("fwmark")
    link = config.link
    new = [address for address in addresses if address not in link.addresses]
    section.edit_list("Address", [a in addresses for a in link.addresses], new)
    if mtu is not None and link.mtu is not None and mtu != link.mtu:
        section.set("MTU", str(mtu))


class _Holders:
    """Which peer has a network, and the place of that peer in the new file."""

    def __init__(self, config: Config, device: Device) -> None:
        self._owner = sync.owners(device.peers)
        listed = [peer.public_key for peer in config.device.peers]
        order = [*listed, *(peer.public_key for peer in device.peers)]
        self._place = {key: place for place, key in reversed(list(enumerate(order)))}

    def may_stay(self, network: AllowedIP, key: Key) -> bool:
        """Whether a peer's network may stay in its list: it has it, or a later peer takes it, so
        that the file comes to the same."""
        owner = self._owner.get(_network(network))
        return owner is not None and self._place[owner] >= self._place[key]


class _Options:
    """The options of a switch and its peers: what the file says, and what they are now."""

    def __init__(self, config: Config, now: SwitchConfig | None) -> None:
        self._now = now
        self._wanted = self._own = SwitchOptions()
        self._peers: Mapping[Key, PeerOptions] = {}
        if now is None or config.switch is None:
            self._now = None
            return
        self._wanted = switch.wanted_link(config, config.switch)
        self._own = SwitchOptions(host_addresses=switch.own_addresses(config.link))
        self._peers = config.switch.peers

    def edit_interface(self, section: _Section) -> None:
        """Bring the keys of [Interface] up to date."""
        if self._now is None:
            return
        now = self._now.options
        own = self._own.host_addresses or ()
        # What Address and BridgeAddress bind is theirs.
        now = now._replace(
            host_addresses=tuple(x for x in now.host_addresses or () if x not in own)
        )
        said = self._wanted
        said = said._replace(
            host_addresses=tuple(x for x in said.host_addresses or () if x not in own)
        )
        lines = dict(switch.interface_lines(now))
        _edit_options(section, switch.INTERFACE_KEYS, said, now, lines, own)

    def edit_peer(self, section: _Section, key: Key) -> None:
        """Bring the keys of a [Peer] up to date."""
        if self._now is None:
            return
        said = self._peers.get(key, PeerOptions()).over(PEER_DEFAULTS)
        now = self._now.peers.get(key, PEER_DEFAULTS)
        _edit_options(section, switch.PEER_KEYS, said, now, dict(switch.peer_lines(now)))

    def of_new_peer(self, key: Key) -> list[str]:
        """The lines of a peer that the file does not have."""
        if self._now is None or key not in self._now.peers:
            return []
        return [f"{name} = {value}" for name, value in switch.peer_lines(self._now.peers[key])]


def _edit_options(
    section: _Section,
    keys: Iterable[ConfigKey],
    said: SwitchOptions | PeerOptions,
    now: SwitchOptions | PeerOptions,
    lines: Mapping[str, str],
    own: Sequence[str] = (),
) -> None:
    """:param lines: key and value of what is not the default now.
    :param own: addresses that may stand in a list although `now` has them not.
    """
    for key in keys:
        was, is_now = getattr(said, key.field), getattr(now, key.field)
        if isinstance(was, tuple) and key.field != "allowed_vlans":
            if set(was) != set(is_now):
                _edit_set(section, key, (*is_now, *own), is_now)
            continue
        if was == is_now:
            continue
        if key.name not in lines:
            section.drop(key.name.lower())
            continue
        # A list may be in several lines: the first takes it all.
        for index in reversed(section.find(key.name.lower())[1:]):
            del section.lines[index]
        section.set(key.name, lines[key.name])


def _edit_set(
    section: _Section, key: ConfigKey, may_stay: Sequence[object], shall: Sequence[object]
) -> None:
    """Item by item: who writes a MAC into a line of its own says beside it whose it is."""
    found = section.find(key.name.lower())
    listed = [key.parse(item) for index in found for item in items(section.value(index))]
    new = [str(item) for item in shall if item not in listed]
    section.edit_list(key.name, [item in may_stay for item in listed], new)


def _edit_peer(section: _Section, said: Peer, now: Peer, holds: _Holders) -> None:
    if now.preshared_key != said.preshared_key and not section.find("presharedkeyfile"):
        if now.preshared_key is not None:
            section.set("PresharedKey", now.preshared_key.reveal())
        elif said.preshared_key is not None and not said.preshared_key.is_zero:
            section.drop("presharedkey")
    if now.endpoint is not None and not _stays(said.endpoint, now.endpoint):
        section.set("Endpoint", str(now.endpoint))
    seconds = now.persistent_keepalive or 0
    if seconds != (said.persistent_keepalive or 0):
        if seconds:
            section.set("PersistentKeepalive", str(seconds))
        else:
            section.drop("persistentkeepalive")
    listed = {_network(ip) for ip in said.allowed_ips}
    section.edit_list(
        "AllowedIPs",
        [holds.may_stay(ip, said.public_key) for ip in said.allowed_ips],
        [str(ip) for ip in now.allowed_ips if _network(ip) not in listed],
    )


def _network(ip: AllowedIP) -> sync.Network:
    return values.masked(ip.address, ip.prefix), ip.prefix


def _stays(said: Endpoint | None, now: Endpoint) -> bool:
    """Whether the file's endpoint stays: it is the same, or a name."""
    if said is None:
        return False
    try:
        return sync.same_address(now, said)
    except OSError:  # a name, whose address is the kernel's business
        return True


def _new_peer(peer: Peer) -> list[str]:
    lines = ["[Peer]", f"PublicKey = {peer.public_key}"]
    if peer.preshared_key is not None:
        lines.append(f"PresharedKey = {peer.preshared_key.reveal()}")
    if peer.allowed_ips:
        lines.append(f"AllowedIPs = {', '.join(map(str, peer.allowed_ips))}")
    if peer.endpoint is not None:
        lines.append(f"Endpoint = {peer.endpoint}")
    if peer.persistent_keepalive:
        lines.append(f"PersistentKeepalive = {peer.persistent_keepalive}")
    return lines

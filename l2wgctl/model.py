# SPDX-License-Identifier: GPL-2.0
"""The model: devices, peers, endpoints and AllowedIPs as immutable values.

`None` means "not given", which is not the same as zero: a device that is sent to the kernel
changes only what is given. The classes are NamedTuples: immutable and without a `__dict__` on
Python 3.9 (slotted dataclasses need 3.10), cheap to import, and several times faster to make than a
frozen dataclass, which matters for links with ten thousand peers.

Source of ranges: include/uapi/linux/wireguard.h.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import NamedTuple

from .grammar import ETHERNET_KINDS as ETHERNET_KINDS
from .grammar import KINDS as KINDS
from .grammar import L2WGSWITCH as L2WGSWITCH
from .grammar import L2WIREGUARD as L2WIREGUARD
from .grammar import WIREGUARD as WIREGUARD
from .sockets import AF_INET, AF_INET6, inet_ntop

KEY_LEN = 32
#: Bytes that a tunnel adds to a packet: IPv6 40, UDP 8, message header 16, authenticator 16.
TUNNEL_OVERHEAD = 80
#: Destination, source and EtherType: what an Ethernet link adds on top.
ETHERNET_HEADER = 14
VLAN_TAG = 4


class Key(bytes):
    """A public key: 32 bytes, shown in base64."""

    __slots__ = ()

    def __str__(self) -> str:
        return b2a_base64(self, newline=False).decode()

    def __repr__(self) -> str:
        return f"Key({self})"

    @property
    def is_zero(self) -> bool:
        """All 32 bytes are zero, which WireGuard reads as 'no key'."""
        return not any(self)


class SecretKey(Key):
    """A private or preshared key. It never shows itself; `reveal()` is the only way out."""

    __slots__ = ()

    def __str__(self) -> str:
        return "(hidden)"

    def __repr__(self) -> str:
        return "SecretKey(hidden)"

    def reveal(self) -> str:
        """The key in base64, for a file of mode 0600 or an explicit request for it."""
        return b2a_base64(self, newline=False).decode()


ZERO_KEY = SecretKey(bytes(KEY_LEN))


class AllowedIP(NamedTuple):
    """A network that a peer may send from: 4 or 16 address bytes and a prefix length.

    With `remove` the peer loses it (`-10.0.0.0/8` in `set`) instead of getting it.
    """

    address: bytes
    prefix: int
    remove: bool = False

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return AF_INET if len(self.address) == 4 else AF_INET6

    def __str__(self) -> str:
        return f"{inet_ntop(self.family, self.address)}/{self.prefix}"


class Endpoint(NamedTuple):
    """Host (address, or a name that is resolved when it is sent) and UDP port 1-65535."""

    host: str
    port: int

    def __str__(self) -> str:
        if ":" in self.host:
            return f"[{self.host}]:{self.port}"
        return f"{self.host}:{self.port}"


class Peer(NamedTuple):
    """A peer, as it is (from `get_device`) or as it shall be (for `set_device`).

    `persistent_keepalive` is in seconds, 0-65535, 0 = off. `last_handshake` is in seconds and
    nanoseconds since the epoch, (0, 0) = never. With `replace_allowed_ips` the given networks
    replace those of the peer; without it they are added. A `preshared_key` of zeros removes the
    key. `name` comes from the file and is for people; the kernel does not know it.
    """

    public_key: Key
    preshared_key: SecretKey | None = None
    endpoint: Endpoint | None = None
    persistent_keepalive: int | None = None
    allowed_ips: tuple[AllowedIP, ...] = ()
    replace_allowed_ips: bool = False
    remove: bool = False
    update_only: bool = False
    last_handshake: tuple[int, int] = (0, 0)
    rx_bytes: int = 0
    tx_bytes: int = 0
    name: str | None = None


class Device(NamedTuple):
    """A link's keys, port, mark and peers.

    `listen_port` 0-65535 (0 = any), `fwmark` 0-0xffffffff (0 = off). With `replace_peers` the
    given peers replace those of the link. `family` is the netlink family that owns the link;
    only `get_device` fills it in.
    """

    name: str
    private_key: SecretKey | None = None
    public_key: Key | None = None
    listen_port: int | None = None
    fwmark: int | None = None
    peers: tuple[Peer, ...] = ()
    replace_peers: bool = False
    ifindex: int = 0
    family: str | None = None


class Vlan(NamedTuple):
    """A VLAN on the link: ids from the outermost inwards (1-4094 each), and its addresses."""

    ids: tuple[int, ...]
    addresses: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """As it is written in the file: `128` or `128.127`."""
        return ".".join(map(str, self.ids))


class MeshOptions(NamedTuple):
    """The `[Mesh]` section: where the store is, whom to believe, and what this host asks for.

    `engines` are URLs of the store's members, `trusted_keys` Ed25519 public keys of admins. Paths
    are as they are written. Without `node` the file is an admin's. `max_macs` None: the module's
    default for a host with a bridge, else 0. `allowed_vlans` are ranges, first and last, 0: no tag.
    """

    engines: tuple[str, ...] = ()
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    user: str | None = None
    password_file: str | None = None
    trusted_keys: tuple[Key, ...] = ()
    node: str | None = None
    endpoints: tuple[Endpoint, ...] = ()
    behind: str | None = None
    hub: bool = False
    allowed_ips: tuple[AllowedIP, ...] = ()
    allowed_macs: tuple[str, ...] = ()
    max_macs: int | None = None
    allowed_vlans: tuple[tuple[int, int], ...] = ()


class LinkOptions(NamedTuple):
    """What `up` does besides keys and peers: the keys of `[Interface]` that the kernel module
    does not know. `None` and empty mean "not given".

    `bridge_pvid` 0: none. `bridge_vlans` are ranges, first and last. `mss_clamp` is in bytes, 0:
    what fits the MTU. `private_key_file` is the path as it is written.
    """

    kind: str = L2WIREGUARD
    addresses: tuple[str, ...] = ()
    mtu: int | None = None
    table: str | None = None
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    pre_up: tuple[str, ...] = ()
    post_up: tuple[str, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()
    save_config: bool = False
    mac_address: str | None = None
    bridge: str | None = None
    bridge_create: bool = False
    bridge_addresses: tuple[str, ...] = ()
    bridge_ports: tuple[str, ...] = ()
    bridge_stp: bool | None = None
    bridge_vlan_filtering: bool | None = None
    bridge_pvid: int | None = None
    bridge_vlans: tuple[tuple[int, int], ...] = ()
    mss_clamp: int | None = None
    vlans: tuple[Vlan, ...] = ()
    ipv6_link_local: str | None = None
    master: str | None = None
    resolve: int | None = None
    private_key_file: str | None = None

    @property
    def ethernet(self) -> bool:
        """Whether the link is an Ethernet link."""
        return self.kind in ETHERNET_KINDS

    @property
    def switch(self) -> bool:
        """Whether the link picks peers by MAC address."""
        return self.kind == L2WGSWITCH

    @property
    def overhead(self) -> int:
        """Bytes between the underlay's MTU and the link's."""
        return TUNNEL_OVERHEAD + (ETHERNET_HEADER if self.ethernet else 0)

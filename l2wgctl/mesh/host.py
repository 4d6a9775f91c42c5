# SPDX-License-Identifier: GPL-2.0
"""This host in its mesh: its file, its keys, and what it asks an admin for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ..conf.keyfiles import located
from ..conf.meshvalues import claimed_network, mesh_name
from ..conf.parse import Config
from ..conf.switch import wanted_link
from ..errors import L2wgError, Problem, ValueProblem, from_os_error
from ..keys import public_key, read_key_file
from ..model import AllowedIP, LinkOptions, MeshOptions, SecretKey
from ..switch import SwitchOptions
from . import keyfile, memory, signing, status
from .record import UNTAGGED, Request, Vlans, check
from .signing import Invalid

#: What the file of a new private key ends with, until the mesh knows it.
NEXT = ".next"
ALL_VLANS: Vlans = ((0, 4094),)
#: Learned MACs behind a host with a bridge: the module's own limit of a peer.
BRIDGED_MACS = 256


class Host(NamedTuple):
    """A host's file: `where`, parsed, and its `[Mesh]`, which has a Node."""

    mesh: str
    where: str
    config: Config
    options: MeshOptions
    name: str

    @property
    def host_key_file(self) -> str:
        """The file with the key that signs requests and signs of life."""
        return str(Path(self.where).with_name(f"{self.mesh}.hostkey"))

    @property
    def next_key_file(self) -> str | None:
        """The file with the new private key; None: the file holds the key itself."""
        named = self.config.link.private_key_file
        return None if named is None else f"{located(named, self.where)}{NEXT}"

    @property
    def memory_file(self) -> Path:
        """What the agent remembers."""
        return memory.file_of(self.mesh)

    @property
    def report_file(self) -> Path:
        """What the agent says of itself."""
        return status.report_file(self.mesh)

    def next_key(self) -> SecretKey | None:
        """The new private key that waits for its record."""
        path = self.next_key_file
        if path is None or not os.path.exists(path):
            return None
        return read_key_file(path, "private key")

    @property
    def switch(self) -> SwitchOptions:
        """What the file says of the switch itself."""
        found = self.config.switch
        return SwitchOptions() if found is None else wanted_link(self.config, found)


def load(mesh: str, path: str | None) -> Host:
    """The file of a host.

    :raises L2wgError: it cannot be read, or is none of a host in a mesh.
    """
    from ..conf import files
    from ..output import say

    name, where = files.locate(path or mesh)
    config = files.load(where)
    say(config.warnings)
    options = config.mesh
    if options is None:
        raise L2wgError("has no [Mesh] section", "see l2wg.conf(5)", where)
    if options.node is None:
        raise L2wgError("[Mesh] has no Node", "write this host's name: Node = berlin", where)
    if config.device.private_key is None:
        raise L2wgError("has no PrivateKey", "PrivateKeyFile, and 'l2wgctl genkey'", where)
    try:
        mesh = mesh_name(mesh if path else name)
    except ValueProblem as problem:
        raise L2wgError(f"the mesh's name {problem.what}", "name the link so, too", where) from None
    return Host(mesh, where, config, options, options.node)


def host_key(host: Host, create: bool = False) -> SecretKey:
    """The key that signs what this host says.

    :param create: make one if there is none.
    :raises L2wgError: there is none, or it cannot be used.
    """
    path = host.host_key_file
    if create and not os.path.exists(path):
        return keyfile.create(path)
    try:
        return keyfile.read(path)
    except L2wgError as error:
        if os.path.exists(path):
            raise
        hint = f"l2wgctl mesh join {host.mesh}"
        raise L2wgError(error.problems[0].what, hint, path) from None


def request_of(host: Host, key: SecretKey, signer: SecretKey) -> Request:
    """What the file asks an admin for.

    :param key: the private key that the link has, or shall have.
    :param signer: the host's key.
    :raises L2wgError: what it asks for makes no sense.
    """
    options, link = host.options, host.config.link
    bridged = link.bridge is not None
    made = Request(
        host.mesh,
        host.name,
        public_key(key),
        signing.public_key(signer),
        options.allowed_ips or tuple(_own_addresses(link)),
        options.allowed_macs or _own_mac(link, host.where),
        (BRIDGED_MACS if bridged else 0) if options.max_macs is None else options.max_macs,
        options.allowed_vlans or (ALL_VLANS if bridged else UNTAGGED),
        options.endpoints,
        options.hub,
        options.behind,
    )
    try:
        check(made)
    except Invalid as invalid:
        raise L2wgError(f"[Mesh] {invalid.why}", "see l2wg.conf(5)", host.where) from None
    return made


def _own_addresses(link: LinkOptions) -> Iterator[AllowedIP]:
    """The addresses that are bound if the file does not say: each for itself."""
    for address in (*link.addresses, *link.bridge_addresses):
        with contextlib.suppress(ValueProblem):
            yield claimed_network(address.partition("/")[0])


def _own_mac(link: LinkOptions, where: str) -> tuple[str, ...]:
    if link.mac_address is None:
        what = "MACAddress is not given: the link has another one after each start"
        hint = "write MACAddress = 02:..., or AllowedMACs into [Mesh]"
        raise L2wgError(what, hint, where)
    return (link.mac_address,)


# -- rule 7 ----------------------------------------------------------------------------------------


def through_the_link(host: Host) -> Problem | None:
    """Whether a member of the store is reached with an address of the link that it configures."""
    link = host.config.link
    written = [*link.addresses, *link.bridge_addresses]
    written += [address for vlan in link.vlans for address in vlan.addresses]
    own = {address.partition("/")[0].lower() for address in written}
    for url in host.options.engines:
        source = _source_towards(url)
        if source in own:
            what = f"{url} is reached through {host.mesh} itself, with its address {source}"
            hint = "give the store an address that does not need the mesh"
            return Problem(host.where, what, hint)
    return None


def _source_towards(url: str) -> str | None:
    """This host's address in a packet to a URL; nothing is sent. None: there is no way, or no
    address for the name."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 2379, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):  # the latter of a name with an empty label
        return None
    for family, kind, protocol, _, address in found:
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as sock:
            sock.connect(address)
            return str(sock.getsockname()[0]).partition("%")[0].lower()
    return None


# -- one agent -------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone(host: Host) -> Iterator[None]:
    """Be the only one that changes the peers of the mesh on this host.

    :raises L2wgError: the agent runs, or the lock cannot be made.
    """
    path = status.lock_file(host.mesh)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise from_os_error(error, str(path), True) from None
    try:
        if not _locked(handle):
            hint = f"systemctl stop l2wg-mesh@{host.mesh}"
            raise L2wgError("an agent of this mesh runs already", hint, host.mesh)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Take the lock; `status.is_running` may have it for a moment."""
    for wait in (0.05, 0.1, 0.2, 0.0):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(wait)
        else:
            return True
    return False

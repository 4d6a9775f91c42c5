# SPDX-License-Identifier: GPL-2.0
"""A mesh in one guest: members of a store, an admin and hosts, each a network namespace.

    S1 S2 S3   X          A     B     C ... D
    etcd       the admin  agents; wherever a host has several addresses it is direct, D is behind C
      |  |  |   |          |     |     |     |
    ==+==+==+===+==========+=====+=====+=====+==   10.0.0.0/24, a bridge in the namespace U

A host may also be behind a router, in 10.1.0.0/24; the others see the router's address.
The hosts share an Ethernet, 192.168.157.0/24.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit.guest.hosts import Failed, Host, cable, eventually, inside, keys, sh, stop

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path("/tmp/mesh")
BIN = Path("/tmp/bin")
MESH = "office"
#: The program of the store's members.
ETCD = os.environ.get("L2WG_ETCD", "etcd")
#: Each host has its own /var/lib and /run, as a machine has; ip-netns(8) does that for /etc only.
OWN = """
mkdir -p /var/lib/l2wg /run/l2wg-mesh
mount --bind "$0/lib" /var/lib/l2wg
mount --bind "$0/run" /run/l2wg-mesh
exec "$@"
"""


def outer(number: int) -> str:
    """The address in the underlay."""
    return f"10.0.0.{number}"


def hidden(number: int) -> str:
    """The address behind a router."""
    return f"10.1.0.{number}"


def inner(number: int) -> str:
    """The address in the mesh."""
    return f"192.168.157.{number}"


def mac(number: int) -> str:
    """The MAC address in the mesh."""
    return f"02:ca:fe:f0:0e:{number:02x}"


def conf(node: str, number: int, engine: str, trusted: str, *more: str) -> str:
    """The file of a host.

    :param node: its name in the mesh.
    :param trusted: the line TrustedKeys.
    :param more: further lines of the section [Mesh].
    """
    lines = [
        "[Interface]",
        f"PrivateKeyFile = {MESH}.key",
        "ListenPort = 51820",
        "Switch = yes",
        f"Address = {inner(number)}/24",
        f"MACAddress = {mac(number)}",
        "",
        "[Mesh]",
        f"Engine = {engine}",
        trusted,
        f"Node = {node}",
        *more,
    ]
    return "\n".join(lines) + "\n"


def install() -> None:
    """Have l2wgctl on the path, as a package would."""
    BIN.mkdir(exist_ok=True)
    script = BIN / "l2wgctl"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m l2wgctl "$@"\n')
    script.chmod(0o755)
    if str(BIN) not in os.environ["PATH"]:
        os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    os.environ["XDG_STATE_HOME"] = str(FOLDER / "admin-state")
    Path("/etc/l2wg").mkdir(exist_ok=True)


class Town:
    """The mesh. Hosts are numbered from 1, the members of the store from 101, the admin is 200."""

    def __init__(self, members: int = 3, *, tls: bool = False) -> None:
        # what an earlier mesh of this guest has left: data of its store, keys
        shutil.rmtree(FOLDER, ignore_errors=True)
        install()
        FOLDER.mkdir()
        self.tls = FOLDER / "tls" if tls else None
        self.middle = Host("U").create()
        self.middle.ip("link add br0 type bridge", "link set br0 up")
        self.members = [self._host(f"S{n}", 100 + n) for n in range(1, members + 1)]
        self.admin = self._host("X", 200)
        self.routers: list[Host] = []
        self.hosts: dict[str, Host] = {}
        self.numbers: dict[str, int] = {}
        self.etcds: dict[str, subprocess.Popen[str]] = {}
        self.agents: dict[str, subprocess.Popen[str]] = {}
        self.trusted = ""
        if self.tls is not None:
            certificates(self.tls, [outer(100 + n) for n in range(1, members + 1)])

    @property
    def scheme(self) -> str:
        """Of the members' URLs for clients."""
        return "http" if self.tls is None else "https"

    @property
    def engine(self) -> str:
        """The URLs of the members, and what else [Mesh] says of the store."""
        members = range(1, len(self.members) + 1)
        urls = ", ".join(f"{self.scheme}://{outer(100 + n)}:2379" for n in members)
        if self.tls is None:
            return urls
        return f"{urls}\nCA = ca.pem\nCertificate = client.pem\nKey = client.key"

    def _host(self, name: str, number: int, router: Host | None = None) -> Host:
        host, near = Host(name).create(), router or self.middle
        cable(host, near, "eth0", f"p{number}")
        near.ip(f"link set p{number} master br0")
        if router is None:
            host.ip(f"address add {outer(number)}/24 dev eth0")
        else:
            host.ip(
                f"address add {hidden(number)}/24 dev eth0",
                f"route add default via {hidden(1)}",
            )
        _folders(name)
        return host

    def make_router(self, name: str, number: int) -> Host:
        """A router that puts its own address into the place of those behind it."""
        router = self._host(name, number)
        router.ip(
            "link add br0 type bridge",
            "link set br0 up",
            f"address add {hidden(1)}/24 dev br0",
        )
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        chain = "add chain ip nat out { type nat hook postrouting priority 100; }"
        rule = "add rule ip nat out oifname eth0 masquerade"
        router.run("nft", f"add table ip nat; {chain}; {rule}")
        self.routers.append(router)
        return router

    # -- the store -----------------------------------------------------------------------------

    def start_member(self, number: int) -> None:
        """Start a member of the store, 1 or more; with its data, if it had any."""
        name = f"S{number}"
        url = f"http://{outer(100 + number)}"
        cluster = ",".join(
            f"S{n}=http://{outer(100 + n)}:2380" for n in range(1, len(self.members) + 1)
        )
        log = FOLDER / f"{name}.log"
        clients = f"{self.scheme}://{outer(100 + number)}:2379"
        words = [
            ETCD,
            f"--name={name}",
            f"--data-dir={FOLDER}/{name}/data",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={url}:2380",
            f"--initial-advertise-peer-urls={url}:2380",
            f"--initial-cluster={cluster}",
            # a guest without KVM stands still for seconds
            "--heartbeat-interval=500",
            "--election-timeout=5000",
        ]
        if self.tls is not None:
            words += [
                f"--cert-file={self.tls}/server.pem",
                f"--key-file={self.tls}/server.key",
                f"--trusted-ca-file={self.tls}/ca.pem",
                "--client-cert-auth",
            ]
        member = self.members[number - 1]
        self.etcds[name] = member.start("sh", "-c", f'exec "$@" >>{log} 2>&1', "sh", *words)

    def start_store(self) -> None:
        """Start all members and wait until they have a leader."""
        print(sh(ETCD, "--version").splitlines()[0], flush=True)
        for number in range(1, len(self.members) + 1):
            self.start_member(number)
        self.wait_for_store()

    def wait_for_store(self) -> None:
        """Wait until the store takes a write."""
        eventually(lambda: self.write("/ready", "yes"), "the store takes a write")

    def kill_member(self, number: int) -> None:
        """Kill a member, as a power failure does."""
        stop(self.etcds.pop(f"S{number}"), signal.SIGKILL)

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A request at the store past l2wgctl, as somebody would who can write to it.

        :raises Failed: no member does it.
        """
        said = ""
        for number in range(1, len(self.members) + 1):
            url = f"{self.scheme}://{outer(100 + number)}:2379/v3/{path}"
            words = ["curl", "-s", "-m", "20", "-X", "POST", url, "-d", json.dumps(body)]
            if self.tls is not None:
                ca, cert, key = (self.tls / x for x in ("ca.pem", "client.pem", "client.key"))
                words += ["--cacert", str(ca), "--cert", str(cert), "--key", str(key)]
            said = self.admin.run(*words, check=False)
            try:
                found: dict[str, Any] = json.loads(said)
            except ValueError:
                continue
            if "error" not in found:
                return found
        raise Failed(f"no member of the store does {path}: {said}")

    def write(self, key: str, value: str) -> bool:
        """Write a key past l2wgctl; whether it is written."""
        try:
            self.ask("kv/put", {"key": b64(key), "value": b64(value)})
        except Failed:
            return False
        return True

    def read(self, key: str) -> str | None:
        """What a key holds."""
        kvs = self.ask("kv/range", {"key": b64(key)}).get("kvs", [])
        return unb64(kvs[0]["value"]) if kvs else None

    def delete(self, key: str) -> None:
        """Delete a key past l2wgctl."""
        self.ask("kv/deleterange", {"key": b64(key)})

    # -- the admin -----------------------------------------------------------------------------

    def make_admin(self) -> str:
        """Make the admins' keys; what keygen says."""
        said = self.ctl(self.admin, "mesh", "keygen", *map(str, self.key_files))
        self.trusted = next(x for x in said.splitlines() if x.startswith("TrustedKeys"))
        self._file(self.admin, f"[Mesh]\nEngine = {self.engine}\n{self.trusted}\n")
        return said

    @property
    def key_files(self) -> tuple[Path, Path]:
        """The files of the admins' keys: one to use, one to lock away."""
        return FOLDER / "admin.key", FOLDER / "reserve.key"

    def sign(self, name: str, fingerprint: str) -> str:
        """Admit a host."""
        key = str(self.key_files[0])
        return self.ctl(
            *(self.admin, "mesh", "sign", "--key", key, "--fingerprint", fingerprint),
            *(MESH, self.node(name)),
        )

    @staticmethod
    def node(name: str) -> str:
        """A host's name in the mesh."""
        return name.lower()

    # -- hosts ---------------------------------------------------------------------------------

    def _file(self, host: Host, text: str) -> None:
        path = Path(f"/etc/netns/{host.name}/l2wg/{MESH}.conf")
        path.touch(mode=0o600)
        path.write_text(text)
        if self.tls is not None:
            for name in ("ca.pem", "client.pem", "client.key"):
                shutil.copy(self.tls / name, path.with_name(name))

    def make_host(
        self,
        name: str,
        number: int,
        *,
        behind: str = "",
        hub: bool = False,
        router: Host | None = None,
        up: bool = True,
    ) -> Host:
        """A host with its link up; it is no member of the mesh yet.

        :param behind: its hub.
        :param router: what it is behind in the underlay.
        :param up: bring the link up.
        """
        host = self.hosts[name] = self._host(name, number, router)
        self.numbers[name] = number
        keys(host)
        reached = f"Behind = {self.node(behind)}" if behind else _direct(number)
        self._files(host, number, reached, *(["Hub = yes"] if hub else []))
        if up:
            self.ctl(host, "up", MESH)
        return host

    def _files(self, host: Host, number: int, *more: str) -> None:
        key = Path(f"/etc/netns/{host.name}/l2wg/{MESH}.key")
        key.touch(mode=0o600)
        key.write_text(host.key + "\n")
        self._file(host, conf(self.node(host.name), number, self.engine, self.trusted, *more))

    def make_crowd(self, hosts: Sequence[Host]) -> None:
        """Direct hosts, numbered from 1, without IPv6 and with their links down, by few commands.

        :param hosts: which have their keys.
        """
        sh("ip", "-batch", "-", stdin="".join(f"netns add {host.name}\n" for host in hosts))
        cables = [
            (
                f"link add p{number} type veth peer name eth0 netns {host.name}",
                f"link set p{number} up master br0",
            )
            for number, host in enumerate(hosts, 1)
        ]
        self.middle.ip(*(command for both in cables for command in both))
        for number, host in enumerate(hosts, 1):
            self.hosts[host.name], self.numbers[host.name] = host, number
            with inside(host):
                Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")
                Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            host.ip("link set eth0 up", f"address add {outer(number)}/24 dev eth0")
            _folders(host.name)
            self._files(host, number, _direct(number))

    def disband(self) -> None:
        """Remove the crowd of make_crowd() in one go."""
        sh("ip", "-batch", "-", stdin="".join(f"netns delete {name}\n" for name in self.hosts))
        self.hosts.clear()

    def own(self, host: Host, *argv: str) -> tuple[str, ...]:
        """A command that has the host's own /var/lib and /run."""
        return ("sh", "-ec", OWN, str(FOLDER / host.name), *argv)

    def ctl(self, host: Host, *words: str) -> str:
        """Run l2wgctl on a host.

        :raises Failed: it fails.
        """
        return host.run(*self.own(host, "l2wgctl", *words))

    def join(self, name: str, *more: str) -> str:
        """Ask to be admitted; the fingerprint."""
        said = self.ctl(self.hosts[name], "mesh", "join", MESH, "--json", *more)
        return str(json.loads(said[said.index("{") :])["fingerprint"])

    def start_agent(self, name: str) -> None:
        """Start a host's agent; its log is a file."""
        host = self.hosts[name]
        log = FOLDER / f"{name}.log"
        self.agents[name] = host.start(
            *self.own(
                host, "sh", "-c", f'exec "$@" >>{log} 2>&1', "sh", "l2wgctl", "mesh", "run", MESH
            )
        )

    def stop_agent(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a host's agent."""
        stop(self.agents.pop(name), how)

    def log(self, name: str) -> list[str]:
        """The lines of an agent's log, without the program's and the mesh's name."""
        text = (FOLDER / f"{name}.log").read_text()
        return [line.partition(f"{MESH}: ")[2] for line in text.splitlines()]

    def status(self, name: str) -> dict[str, Any]:
        """`mesh status --json` of a host."""
        said = self.ctl(self.hosts[name], "mesh", "status", MESH, "--json")
        found: dict[str, Any] = json.loads(said[said.index("{") :])
        return found

    def peers(self, name: str) -> set[str]:
        """Public keys of a host's peers."""
        return set(self.hosts[name].run("wg", "show", MESH, "peers").split())

    def admit(self, *names: str) -> None:
        """Join, sign and start."""
        for name in names:
            self.sign(name, self.join(name))
            self.start_agent(name)

    def until_all_ping(self, *names: str) -> None:
        """Wait until every host reaches every other one."""
        for name in names:
            for other in names:
                if other != name:
                    self.until_ping(name, other)

    def until_ping(self, name: str, other: str) -> None:
        """Wait until a host reaches another."""
        host, address = self.hosts[name], inner(self.numbers[other])
        eventually(
            lambda: host.ok("ping", "-n", "-c", "1", "-W", "5", address), f"{name} pings {other}"
        )

    def destroy(self) -> None:
        """End everything."""
        for host in (
            *(*self.hosts.values(), *self.routers, *self.members),
            *(self.admin, self.middle),
        ):
            host.destroy()


def _folders(name: str) -> None:
    """What a host has of its own, empty."""
    for part in ("lib", "run"):
        (FOLDER / name / part).mkdir(parents=True, exist_ok=True)
    etc = Path(f"/etc/netns/{name}/l2wg")
    shutil.rmtree(etc, ignore_errors=True)
    etc.mkdir(parents=True)


def _direct(number: int) -> str:
    """The line of [Mesh] that says where others reach a host."""
    return f"Endpoints = {outer(number)}:51820"


def certificates(folder: Path, addresses: Sequence[str]) -> None:
    """A CA, the certificate of members with these addresses, and one of clients.

    The members' one is for clients, too: the gateway dials its own server with it.
    """
    folder.mkdir()

    def openssl(*words: str) -> None:
        sh("sh", "-ec", 'umask 077; cd "$0"; exec openssl "$@"', str(folder), *words)

    key = ("-newkey", "rsa:2048", "-nodes", "-keyout")
    openssl("req", "-x509", *key, "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    names = ",".join(f"IP:{address}" for address in addresses)
    for name, usage in (("server", "serverAuth,clientAuth"), ("client", "clientAuth")):
        extensions = folder / f"{name}.ext"
        extensions.write_text(f"extendedKeyUsage={usage}\nsubjectAltName={names}\n")
        openssl("req", *key, f"{name}.key", "-out", f"{name}.csr", "-subj", "/O=l2wg")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", extensions.name),
            *("-out", f"{name}.pem"),
        )


def b64(text: str) -> str:
    """Base64, as the gateway wants keys and values."""
    from base64 import b64encode

    return b64encode(text.encode()).decode()


def unb64(text: str) -> str:
    """And back."""
    from base64 import b64decode

    return b64decode(text).decode()

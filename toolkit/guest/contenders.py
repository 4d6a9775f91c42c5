# SPDX-License-Identifier: GPL-2.0
"""Inside the guest: the contenders of the benchmark, and how to set up each of them.

Hosts A and B are joined by a veth pair (10.0.0.1 and .2, MTU 1500). Each contender makes a link
between them at 192.168.157.1 and .2, with its own default MTU and as its manual says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.guest import hosts
from toolkit.guest.hosts import Host, eventually, sh

A, B = "192.168.157.1", "192.168.157.2"
OUTER = ("10.0.0.1", "10.0.0.2")
KEYS = Path("/tmp/bench-keys")  # in the guest's memory
BATCH = Path("/sys/module/l2wireguard/parameters/batch")
#: For sysctl. The messages of IPv6 itself would be counted with the rest.
NO_IPV6 = ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")


@dataclass(frozen=True)
class Contender:
    """A way to join two hosts.

    :ivar name: its name in the figures.
    :ivar label: its name in the plots; empty if it is not one of the alternatives.
    :ivar link: its link in both hosts.
    :ivar set_up: makes the links; it does not wait until they carry traffic.
    :ivar module: the WireGuard module that it needs.
    :ivar address: B's address.
    :ivar program: the command that prints its version.
    :ivar packages: Debian packages that only it needs.
    """

    name: str
    label: str
    link: str
    set_up: Callable[[Host, Host], None]
    module: str = ""
    address: str = B
    program: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def mtu(self, host: Host) -> int:
        """Its link's MTU in bytes."""
        return int(host.run("cat", f"/sys/class/net/{self.link}/mtu"))


def use_module(wanted: str) -> None:
    """Load the stock module or ours, and unload the other: each offers the kind `wireguard`.

    This also makes /dev/net/tun, for the contenders that are programs.

    :raises Failed: the other module cannot be unloaded.
    """
    for module in ("wireguard", "l2wireguard"):
        if module != wanted and Path("/sys/module", module).exists():
            eventually(lambda m=module: _removed(m), f"rmmod {module}", 60)  # type: ignore[misc]
    sh("modprobe", "-a", "tun", *([wanted] if wanted else []))


def _removed(module: str) -> bool:
    sh("rmmod", module, check=False)
    return not Path("/sys/module", module).exists()


def _veth(_a: Host, _b: Host) -> None:
    pass


def _wireguard(kind: str, batch: str = "") -> Callable[[Host, Host], None]:
    """A link of either module.

    :param batch: our module's parameter; the stock module has none.
    """

    def set_up(a: Host, b: Host) -> None:
        if batch:
            BATCH.write_text(batch)
        hosts.tunnel(a, b, "wg1", kind=kind)

    return set_up


def _over_wireguard(a: Host, b: Host, add: str) -> None:
    """An Ethernet tunnel inside the stock module's: the usual way to have one."""
    hosts.tunnel(a, b, "wg0", kind="wireguard", addresses=False)
    for host, last in ((a, 1), (b, 2)):
        host.ip(
            f"address add 172.16.0.{last}/30 dev wg0",
            f"link add tap1 type {add.format(me=f'172.16.0.{last}', peer=f'172.16.0.{3 - last}')}",
            f"address add 192.168.157.{last}/24 dev tap1",
            "link set tap1 up",
        )


def _vxlan(a: Host, b: Host) -> None:
    _over_wireguard(a, b, "vxlan id 1 local {me} remote {peer} dstport 4789 dev wg0")


def _gretap(a: Host, b: Host) -> None:
    _over_wireguard(a, b, "gretap local {me} remote {peer} dev wg0")


def fingerprint(host: Host) -> str:
    """Of the certificate that make_keys() made for it."""
    asked = ("openssl", "x509", "-noout", "-fingerprint", "-sha256")
    return sh(*asked, "-in", f"{KEYS}/{host.name}.crt").strip().split("=")[1]


def _openvpn(a: Host, b: Host) -> None:
    """OpenVPN 2.6's small setup: TLS with pinned certificates, AES-256-GCM, UDP."""
    prints = {host.name: fingerprint(host) for host in (a, b)}
    for me, peer, last in ((a, b, 1), (b, a, 2)):
        me.start(
            *("openvpn", "--dev", "tap1", "--dev-type", "tap", "--proto", "udp"),
            *("--local", OUTER[last - 1], "--remote", OUTER[2 - last]),
            *("--ifconfig", f"192.168.157.{last}", "255.255.255.0"),
            *(("--tls-server", "--dh", "none") if last == 1 else ("--tls-client",)),
            *("--cert", f"{KEYS}/{me.name}.crt", "--key", f"{KEYS}/{me.name}.key"),
            *("--peer-fingerprint", prints[peer.name], "--verb", "1"),
        )


def _tinc(a: Host, b: Host) -> None:
    for host in (a, b):
        host.start(
            "tincd", "-c", f"{KEYS}/tinc-{host.name}", "-D", f"--pidfile=/tmp/{host.name}.pid"
        )
    for host, last in ((a, 1), (b, 2)):
        eventually(lambda h=host: h.ok("ip", "link", "show", "tap1"), "tincd")  # type: ignore[misc]
        host.ip(f"address add 192.168.157.{last}/24 dev tap1", "link set tap1 up")


def _n2n(a: Host, b: Host) -> None:
    a.start("supernode", "-f", "-l", "7654")
    for host, last in ((a, 1), (b, 2)):
        host.start(
            *("edge", "-f", "-d", "tap1", "-a", f"192.168.157.{last}", "-c", "bench"),
            *("-k", "bench", "-l", f"{OUTER[0]}:7654"),
        )


#: All contenders, in the order of the tables.
CONTENDERS = {
    c.name: c
    for c in (
        Contender("veth", "", "eth0", _veth, address=OUTER[1]),
        Contender(
            "wireguard", "WireGuard (IP)", "wg1", _wireguard("wireguard"), module="wireguard"
        ),
        Contender(
            *("wireguard-ours", "our module (IP)", "wg1", _wireguard("wireguard", "ethernet")),
            module="l2wireguard",
        ),
        Contender(
            *("l2wireguard", "l2wireguard", "wg1", _wireguard("l2wireguard", "ethernet")),
            module="l2wireguard",
        ),
        Contender(
            *("l2wireguard-off", "", "wg1", _wireguard("l2wireguard", "off")),
            module="l2wireguard",
        ),
        Contender(
            *("l2wgswitch", "l2wgswitch", "wg1", _wireguard("l2wgswitch", "ethernet")),
            module="l2wireguard",
        ),
        Contender("vxlan", "VXLAN in WireGuard", "tap1", _vxlan, module="wireguard"),
        Contender("gretap", "GRETAP in WireGuard", "tap1", _gretap, module="wireguard"),
        Contender(
            *("openvpn", "OpenVPN tap", "tap1", _openvpn),
            program=("openvpn", "--version"),
            packages=("openssl", "openvpn"),
        ),
        Contender(
            *("tinc", "tinc switch", "tap1", _tinc),
            program=("tincd", "--version"),
            packages=("tinc",),
        ),
        Contender("n2n", "n2n", "tap1", _n2n, program=("edge", "-h"), packages=("n2n",)),
    )
}


def make_keys(folder: Path, names: Collection[str]) -> None:
    """Certificates for OpenVPN and keys for tinc, good for one run: for A, B and a hub H.

    They are made on this machine, because an RSA key takes long in a guest under TCG.

    :param names: the contenders; the others need no keys.
    :raises Failed: openssl or tincd fails.
    """
    folder.mkdir(mode=0o700)
    if "openvpn" in names:
        for name in ("A", "B", "H"):
            sh(
                *("openssl", "req", "-x509", "-nodes", "-newkey", "ec"),
                *("-pkeyopt", "ec_paramgen_curve:secp384r1", "-subj", f"/CN={name}"),
                *("-days", "3650"),
                *("-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt"),
            )
    if "tinc" in names:
        _tinc_keys(folder, "tinc", {"A": {"B": OUTER[1]}, "B": {"A": OUTER[0]}})
        known = {"H": {"A": "", "B": ""}, "A": {"H": "10.0.1.254"}, "B": {"H": "10.0.2.254"}}
        _tinc_keys(folder, "star", known)
    for file in folder.rglob("*"):
        os.chmod(file, 0o700 if file.is_dir() else 0o600)


def _tinc_keys(folder: Path, prefix: str, known: Mapping[str, Mapping[str, str]]) -> None:
    """A folder PREFIX-HOST for each host of a tinc network.

    :param known: host -> peer -> the address to connect to; empty if the peer connects.
    """
    for name, peers in known.items():
        tinc = folder / f"{prefix}-{name}"
        (tinc / "hosts").mkdir(parents=True)
        connect = "".join(f"ConnectTo = {peer}\n" for peer, address in peers.items() if address)
        (tinc / "tinc.conf").write_text(
            f"Name = {name}\n{connect}Mode = switch\nDeviceType = tap\nInterface = tap1\n"
            "BindToAddress = 0.0.0.0\n"
        )
        (tinc / "hosts" / name).touch()
        sh("tincd", "-c", str(tinc), "-K", "2048", stdin="\n\n")
    for name, peers in known.items():
        for peer, address in peers.items():
            own = (folder / f"{prefix}-{peer}" / "hosts" / peer).read_text()
            where = f"Address = {address}\n" if address else ""
            (folder / f"{prefix}-{name}" / "hosts" / peer).write_text(where + own)

# SPDX-License-Identifier: GPL-2.0
"""The demonstration inside the guest: two hosts, a cable between them, and Ethernet over it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from toolkit.guest import hosts
from toolkit.guest.hosts import Host, keys, sh, stop, underlay

#: Its last line, if the hosts have seen each other.
SEEN = "demo: the two hosts share an Ethernet"
ROOT = Path(__file__).resolve().parents[2]

CONFIG = """\
[Interface]
PrivateKey = {key}
ListenPort = 51820
Address = 192.168.157.{last}/24
MACAddress = {mac}

[Peer]
PublicKey = {public}
Endpoint = {endpoint}
AllowedIPs = 0.0.0.0/0, ::/0
"""
#: Where l2wgctl looks, and where ip-netns(8) takes a host's own files for it from.
FOLDER = Path("/etc/l2wg")
HOST_FOLDER = "/etc/netns/{}/l2wg"
BIN = Path("/tmp/bin")


def title(text: str) -> None:
    """A heading in the story."""
    print(f"\n\033[1m{text}\033[0m", flush=True)


def tell(host: Host, command: str, *, quiet: bool = False) -> str:
    """Show a command, run it in the host, show what it says."""
    print(f"\033[36m[{host.name}]#\033[0m {command}", flush=True)
    out = host.run(*command.split())
    if out and not quiet:
        print(out.rstrip(), flush=True)
    return out


def install() -> None:
    """Have l2wgctl on the path, as `pip install .` would."""
    BIN.mkdir(exist_ok=True)  # the guest sees the files of this machine, and has a layer of its own
    script = BIN / "l2wgctl"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m l2wgctl "$@"\n')
    script.chmod(0o755)
    os.environ["PATH"] = f"{BIN}:{os.environ['PATH']}"
    FOLDER.mkdir(exist_ok=True)


def configure(me: Host, peer: Host, last: int) -> None:
    """Write the file of one end of the tunnel, each host its own /etc/l2wg/wg1.conf."""
    folder = Path(HOST_FOLDER.format(me.name))
    folder.mkdir(parents=True)
    config = folder / "wg1.conf"
    config.touch(mode=0o600)
    config.write_text(
        CONFIG.format(
            key=me.key,
            public=peer.public,
            last=last,
            mac=hosts.MACS[last - 1],
            endpoint=hosts.endpoint(0, 3 - last, 4),
        )
    )


def main() -> None:
    """Tell the story; the last line says that it worked."""
    title(f"Linux {sh('uname', '-r').strip()}: hosts A and B, joined by a cable (10.0.0.0/24)")
    a, b = Host("A").create(), Host("B").create()
    underlay(a, b)
    for host in (a, b):
        keys(host)

    install()
    configure(a, b, 1)
    configure(b, a, 2)

    title("An Ethernet link over WireGuard on each of them, from one file")
    tell(a, "grep -v PrivateKey /etc/l2wg/wg1.conf")
    tell(a, "l2wgctl up wg1")
    tell(b, "l2wgctl up wg1")

    title("What it is")
    tell(a, "ip link show wg1")

    title("A pings B; B watches its wg1 (the frames) and its eth0 (what the cable carries)")
    inside = b.start("tcpdump", "-n", "-e", "-l", "-c", "4", "-i", "wg1", "arp or icmp")
    outside = b.start("tcpdump", "-n", "-l", "-c", "4", "-i", "eth0", "udp")
    for process in (inside, outside):
        assert process.stdout
        for line in process.stdout:
            if "listening on" in line:
                break
    tell(a, "ping -c 3 -i 0.3 192.168.157.2")
    for host, process, link in ((b, inside, "wg1"), (b, outside, "eth0")):
        print(f"\033[36m[{host.name}]#\033[0m tcpdump -n -i {link}")
        print("\n".join(x for x in stop(process).splitlines() if " > " in x or "ARP" in x))

    title("Who is who: ARP has resolved B's address, and WireGuard has carried it")
    neighbours = tell(a, "ip neighbour show dev wg1")
    tell(a, "l2wgctl show wg1")
    if hosts.MACS[1] in neighbours:
        print(f"\n{SEEN}", flush=True)


if __name__ == "__main__":
    main()

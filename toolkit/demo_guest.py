# SPDX-License-Identifier: GPL-2.0
"""The demonstration inside the guest: two hosts, a cable between them, and Ethernet over it."""

from __future__ import annotations

from pathlib import Path

from toolkit import guest
from toolkit.demo import SEEN
from toolkit.guest import Host, keys, sh, stop, underlay

CONFIG = """\
[Interface]
PrivateKey = {key}
ListenPort = 51820

[Peer]
PublicKey = {public}
Endpoint = {endpoint}
AllowedIPs = 0.0.0.0/0, ::/0
"""


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


def set_up(me: Host, peer: Host, last: int) -> None:
    """One end of the tunnel, with the commands that a user would type."""
    config = Path(f"/tmp/{me.name}.conf")
    config.touch(mode=0o600)
    config.write_text(
        CONFIG.format(key=me.key, public=peer.public, endpoint=guest.endpoint(0, 3 - last, 4))
    )
    tell(me, "ip link add dev wg1 type l2wireguard")
    tell(me, f"ip address add dev wg1 192.168.157.{last}/24")
    tell(me, f"wg setconf wg1 {config}")
    tell(me, f"ip link set dev wg1 address {guest.MACS[last - 1]}")
    tell(me, "ip link set wg1 up")


def main() -> None:
    """Tell the story; the last line says that it worked."""
    title(f"Linux {sh('uname', '-r').strip()}: hosts A and B, joined by a cable (10.0.0.0/24)")
    a, b = Host("A").create(), Host("B").create()
    underlay(a, b)
    for host in (a, b):
        keys(host)

    title("An Ethernet link over WireGuard on each of them")
    set_up(a, b, 1)
    set_up(b, a, 2)

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
    tell(a, "wg show wg1")
    if guest.MACS[1] in neighbours:
        print(f"\n{SEEN}", flush=True)


if __name__ == "__main__":
    main()

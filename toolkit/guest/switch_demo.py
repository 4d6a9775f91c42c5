# SPDX-License-Identifier: GPL-2.0
"""The demonstration of a switch inside the guest: a hub, three sites, and one that claims another's
address.

    B   C   D       sites, a wire each
     \\  |  /
      \\ | /
        A           the hub, a switch
"""

from __future__ import annotations

from pathlib import Path

from toolkit.guest.demo import HOST_FOLDER, install, tell, title
from toolkit.guest.hosts import Failed, Host, cable, eventually, keys, sh

#: Its last line, if the sites have seen each other, and the impostor has been refused.
SEEN = "demo: four hosts share an Ethernet, and nobody takes another's address"
NAMES = ("hub", "oslo", "bergen", "tromso")

HUB = """\
[Interface]
PrivateKey = {key}
ListenPort = 51820
Address = 192.168.157.1/24
MACAddress = 02:ca:fe:f0:0e:01
Switch = yes
"""
SITE_AT_HUB = """
[Peer]
Name = {name}
PublicKey = {public}
AllowedMACs = 02:ca:fe:f0:0e:0{last}
AllowedIPs = 192.168.157.{last}/32
Relay = yes
"""
SITE = """\
[Interface]
PrivateKey = {key}
Address = 192.168.157.{last}/24
MACAddress = 02:ca:fe:f0:0e:0{last}

[Peer]
Name = hub
PublicKey = {public}
Endpoint = 10.0.0.1:51820
AllowedIPs = 0.0.0.0/0, ::/0
PersistentKeepalive = 25
"""


def write(host: Host, text: str) -> None:
    """The host's own /etc/l2wg/wg1.conf."""
    folder = Path(HOST_FOLDER.format(host.name))
    folder.mkdir(parents=True)
    config = folder / "wg1.conf"
    config.touch(mode=0o600)
    config.write_text(text)


def network(hosts: list[Host]) -> None:
    """One underlay for all: 10.0.0.1, 10.0.0.2, ... on eth0."""
    middle = Host("U").create()
    middle.ip("link add br0 type bridge", "link set br0 up")
    for number, host in enumerate(hosts, 1):
        host.create()
        keys(host)
        cable(host, middle, "eth0", f"p{number}")
        host.ip(f"address add 10.0.0.{number}/24 dev eth0")
        middle.ip(f"link set p{number} master br0")


def configure(hosts: list[Host]) -> None:
    """Write everybody's file."""
    hub, *sites = hosts
    text = HUB.format(key=hub.key)
    for last, site in enumerate(sites, 2):
        text += SITE_AT_HUB.format(name=site.name, public=site.public, last=last)
        write(site, SITE.format(key=site.key, public=hub.public, last=last))
    write(hub, text)


def up(sites: list[Host]) -> None:
    """`l2wgctl up wg1` on all sites at once.

    :raises Failed: it fails on one of them.
    """
    started = []
    for site in sites:
        print(f"\033[36m[{site.name}]#\033[0m l2wgctl up wg1", flush=True)
        started.append(site.start("l2wgctl", "up", "wg1"))
    for site, process in zip(sites, started):
        said = process.communicate()[0]
        if process.returncode:
            raise Failed(f"l2wgctl up on {site.name}:\n{said}")


def crosses(host: Host, last: int) -> bool:
    """One ping."""
    return host.ok("ping", "-c", "1", "-W", "2", f"192.168.157.{last}")


def main() -> None:
    """Tell the story; the last line says that it worked."""
    title(f"Linux {sh('uname', '-r').strip()}: a hub and three sites on one network (10.0.0.0/24)")
    hub, oslo, bergen, tromso = hosts = [Host(name) for name in NAMES]
    network(hosts)
    install()
    configure(hosts)

    title("The hub is a switch: a few lines for each site")
    tell(hub, "grep -v PrivateKey /etc/l2wg/wg1.conf")
    tell(hub, "l2wgctl up wg1")
    title("A site has one peer, the hub")
    tell(oslo, "grep -v PrivateKey /etc/l2wg/wg1.conf")
    up([oslo, bergen, tromso])

    title("oslo and bergen are on one Ethernet, through the hub")
    eventually(lambda: crosses(oslo, 3), "oslo reaches bergen")
    tell(oslo, "ping -c 3 -i 0.3 192.168.157.3")
    tell(hub, "l2wgctl fdb wg1")

    title("tromso claims bergen's MAC and IP address")
    for command in (
        "ip link set wg1 address 02:ca:fe:f0:0e:03",
        # before the new one, which would be its secondary address and go with it
        "ip address delete 192.168.157.4/24 dev wg1",
        "ip address add 192.168.157.3/24 dev wg1",
    ):
        tell(tromso, command)
    print("\033[36m[tromso]#\033[0m ping -c 1 -W 2 192.168.157.2", flush=True)
    refused = not crosses(tromso, 2)
    print("nothing comes back" if refused else "it gets an answer", flush=True)
    counted = "dropped: rx_mac_bound"
    eventually(lambda: counted in hub.run("l2wgctl", "show", "wg1"), "the hub counts the claim")
    tell(hub, "l2wgctl fdb wg1")
    shown = tell(hub, "l2wgctl show wg1", quiet=True)
    dropped = [x.strip() for x in shown.splitlines() if counted in x]
    print("\n".join(dropped), flush=True)

    title("bergen has noticed nothing")
    tell(oslo, "ping -c 3 -i 0.3 192.168.157.3")
    if refused and dropped:
        print(f"\n{SEEN}", flush=True)


if __name__ == "__main__":
    main()

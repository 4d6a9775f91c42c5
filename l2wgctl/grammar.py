# SPDX-License-Identifier: GPL-2.0
"""The words of the command line that several modules need. This module imports nothing."""

#: The program, as it calls itself in messages.
PROG = "l2wgctl"

#: Link kinds: an Ethernet wire and a plain tunnel, whose names are also those of the
#: generic-netlink families, and an Ethernet switch.
L2WIREGUARD = "l2wireguard"
WIREGUARD = "wireguard"
L2WGSWITCH = "l2wgswitch"
KINDS = (L2WIREGUARD, L2WGSWITCH, WIREGUARD)
ETHERNET_KINDS = (L2WIREGUARD, L2WGSWITCH)

#: Where the file of link IFACE is: IFACE.conf.
CONFIG_DIR = "/etc/l2wg"

#: `set`, as its usage shows it.
SET = (
    "set IFACE [listen-port PORT] [fwmark MARK] [private-key FILE] [peer KEY [remove] "
    "[preshared-key FILE] [endpoint HOST:PORT] [persistent-keepalive SECONDS] "
    "[allowed-ips [+|-]NET[,[+|-]NET]...]]... (on a switch: more, see l2wgctl(8))"
)
#: Words of `set` before the first peer, and after a peer; all but `remove` take a value.
SET_DEVICE = ("listen-port", "fwmark", "private-key")
SET_PEER = ("remove", "preshared-key", "endpoint", "persistent-keepalive", "allowed-ips")

#: Words of `set` that only a switch has: those of the link, and of a peer.
SET_SWITCH = ("ageing", "max-entries", "max-local", "new-peers", "host-macs", "host-addresses")
SET_SWITCH_PEER = (
    *("allowed-macs", "max-macs", "allowed-vlans", "pvid", "relay", "isolated", "router"),
    *("guard", "mark"),
)
#: A peer may be named by the beginning of its key. Fewer characters are a slip, not a name.
PREFIX_MIN = 4
#: `fdb`, as its usage shows it.
FDB = (
    "fdb [show] [IFACE] | fdb add IFACE MAC peer PEER [vlan VLAN] | fdb del IFACE MAC [peer PEER] "
    "[vlan VLAN] | fdb flush IFACE [peer PEER] [vlan VLAN] [mac MAC]"
)

#: Fields of `show`; the first four are the device's, all others the peers'.
FIELDS = (
    "public-key",
    "private-key",
    "listen-port",
    "fwmark",
    "peers",
    "preshared-keys",
    "endpoints",
    "allowed-ips",
    "latest-handshakes",
    "transfer",
    "persistent-keepalive",
    "dump",
)
DEVICE_FIELDS = FIELDS[:4]

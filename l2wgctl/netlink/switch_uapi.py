# SPDX-License-Identifier: GPL-2.0
"""Numbers of kernel/uapi/l2wg.h, by their names there. A test compares them with the header.

They are plain numbers: up to Python 3.11 an enum's members take longer to look up than a dump's
attributes take to read.
"""

from __future__ import annotations

GENL_NAME = "l2wg"
GENL_VERSION = 1
MCGRP_EVENTS = "events"
MCGRP_SESSIONS = "sessions"


class Cmd:
    """enum l2wg_cmd"""

    LINK_GET = 1
    LINK_SET = 2
    PEER_GET = 3
    PEER_SET = 4
    PEER_DEL = 5
    FDB_GET = 6
    FDB_FLUSH = 7
    EVENT = 8
    PEER_REPLACE = 9
    SESSION = 10


class Link:
    """enum l2wg_link_attr"""

    IFINDEX = 1
    IFNAME = 2
    MAX_MACS = 3
    MAX_LOCAL = 4
    AGEING = 5
    NEW_PEERS = 6
    HOST_MACS = 7
    HOST_ADDRESSES = 8
    LEARNED = 9
    LOCAL = 10
    PEERS = 11
    COUNTERS = 12


class Peer:
    """enum l2wg_peer_attr"""

    IFINDEX = 1
    IFNAME = 2
    PUBLIC_KEY = 3
    ALLOWED_MACS = 4
    MAX_MACS = 5
    PVID = 6
    ALLOWED_VLANS = 7
    RELAY = 8
    ISOLATED = 9
    ROUTER = 10
    GUARDS = 11
    MARK = 12
    HANDLE = 13
    PRESENT = 14
    CONFIGURED = 15
    LEARNED = 16
    SESSION = 17
    SESSION_AGE = 18
    HEARD_AGE = 19
    COUNTERS = 20
    OLD_PUBLIC_KEY = 21


class Fdb:
    """enum l2wg_fdb_attr"""

    IFINDEX = 1
    IFNAME = 2
    MAC = 3
    VLAN = 4
    PUBLIC_KEY = 5
    STATE = 6
    AGE = 7
    MOVES = 8


class Event:
    """enum l2wg_event_attr"""

    IFINDEX = 1
    IFNAME = 2
    TYPE = 3
    PUBLIC_KEY = 4
    OLD_PUBLIC_KEY = 5
    MAC = 6
    VLAN = 7
    COUNTER = 8
    SESSION = 9


#: enum l2wg_mac_attr, l2wg_prefix_attr and l2wg_vlan_attr
MAC = 1
PREFIX, PREFIX_ADDRESS, PREFIX_LENGTH = 1, 2, 3
VLAN_RANGE, VLAN_FIRST, VLAN_LAST = 1, 2, 3

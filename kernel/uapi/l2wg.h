/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The generic-netlink family `l2wg`: switches (links of kind l2wgswitch), their
 * peers' options, their tables and what happens to them.
 *
 * kernel/uapi/l2wg.yaml describes the same, attribute by attribute, in the
 * format of Documentation/netlink/specs. Numbers are ABI: append only.
 */
#ifndef _UAPI_L2WG_H
#define _UAPI_L2WG_H

#define L2WG_GENL_NAME "l2wg"
#define L2WG_GENL_VERSION 1
#define L2WG_MCGRP_EVENTS "events"
#define L2WG_MCGRP_SESSIONS "sessions"

#define L2WG_KEY_LEN 32

/* What a peer may be kept from answering or announcing (L2WG_A_PEER_GUARDS). */
enum l2wg_guard {
	L2WG_GUARD_DHCP	= 1 << 0,
	L2WG_GUARD_RA	= 1 << 1,
	L2WG_GUARD_STP	= 1 << 2,
};

#define L2WG_GUARDS_ALL (L2WG_GUARD_DHCP | L2WG_GUARD_RA | L2WG_GUARD_STP)

enum l2wg_new_peers {
	L2WG_NEW_PEERS_OPEN,
	L2WG_NEW_PEERS_CLOSED,
};

enum l2wg_session {
	L2WG_SESSION_IDLE,
	L2WG_SESSION_TRYING,
	L2WG_SESSION_UP,
};

enum l2wg_entry_state {
	L2WG_ENTRY_LEARNED,
	L2WG_ENTRY_BOUND,
	L2WG_ENTRY_STATIC,
};

enum l2wg_event {
	L2WG_EVENT_LEARNED,
	L2WG_EVENT_MOVED,
	L2WG_EVENT_DAMPED,
	L2WG_EVENT_LIMIT,
	L2WG_EVENT_VIOLATION,
};

/* Counters of a link and of a peer; each is a u64 in L2WG_A_LINK_COUNTERS or
 * L2WG_A_PEER_COUNTERS under its own number.
 */
enum l2wg_switch_counter {
	L2WG_COUNTER_PAD,
	L2WG_COUNTER_RX_OWN_MAC,
	L2WG_COUNTER_RX_BAD_SOURCE,
	L2WG_COUNTER_RX_VLAN,
	L2WG_COUNTER_RX_MAC_BOUND,
	L2WG_COUNTER_RX_IP_BOUND,
	L2WG_COUNTER_RX_GUARD,
	L2WG_COUNTER_RX_MAC_LIMIT,
	L2WG_COUNTER_RX_MOVE,
	L2WG_COUNTER_RX_LOOP,
	L2WG_COUNTER_RX_NO_RELAY,
	L2WG_COUNTER_RX_FLOOD_LIMIT,
	L2WG_COUNTER_RX_CLOSED,
	L2WG_COUNTER_RX_NO_MEMORY,
	L2WG_COUNTER_TX_LOOP,
	L2WG_COUNTER_TX_UNKNOWN,
	L2WG_COUNTER_TX_FLOOD,
	L2WG_COUNTER_TX_FLOOD_NO_SESSION,
	L2WG_COUNTER_TX_FLOOD_FULL,
	L2WG_COUNTER_TX_FLOOD_LIMIT,
	L2WG_COUNTER_TX_TOO_BIG,
	L2WG_COUNTER_TX_NO_MEMORY,
	L2WG_COUNTER_RELAY_FRAMES,
	L2WG_COUNTER_RELAY_BYTES,
	__L2WG_COUNTER_END
};

#define L2WG_COUNTER_MAX (__L2WG_COUNTER_END - 1)

enum l2wg_link_attr {
	L2WG_A_LINK_UNSPEC,
	L2WG_A_LINK_IFINDEX,		/* u32 */
	L2WG_A_LINK_IFNAME,		/* string */
	L2WG_A_LINK_MAX_MACS,		/* u32, entries learned from peers */
	L2WG_A_LINK_MAX_LOCAL,		/* u32, entries learned from the host */
	L2WG_A_LINK_AGEING,		/* u32, seconds */
	L2WG_A_LINK_NEW_PEERS,		/* u32, enum l2wg_new_peers */
	L2WG_A_LINK_HOST_MACS,		/* nest of L2WG_A_MAC */
	L2WG_A_LINK_HOST_ADDRESSES,	/* nest of L2WG_A_PREFIX */
	L2WG_A_LINK_LEARNED,		/* u32, read-only */
	L2WG_A_LINK_LOCAL,		/* u32, read-only */
	L2WG_A_LINK_PEERS,		/* u32, read-only */
	L2WG_A_LINK_COUNTERS,		/* nest, read-only */
	__L2WG_A_LINK_END
};

#define L2WG_A_LINK_MAX (__L2WG_A_LINK_END - 1)

enum l2wg_mac_attr {
	L2WG_A_MAC_UNSPEC,
	L2WG_A_MAC,			/* 6 bytes; may be repeated */
	__L2WG_A_MAC_END
};

#define L2WG_A_MAC_MAX (__L2WG_A_MAC_END - 1)

enum l2wg_prefix_attr {
	L2WG_A_PREFIX_UNSPEC,
	L2WG_A_PREFIX,			/* nest of the following two; may be repeated */
	L2WG_A_PREFIX_ADDRESS,		/* 4 or 16 bytes */
	L2WG_A_PREFIX_LENGTH,		/* u8 */
	__L2WG_A_PREFIX_END
};

#define L2WG_A_PREFIX_MAX (__L2WG_A_PREFIX_END - 1)

enum l2wg_vlan_attr {
	L2WG_A_VLAN_UNSPEC,
	L2WG_A_VLAN_RANGE,		/* nest of the following two; may be repeated */
	L2WG_A_VLAN_FIRST,		/* u16, 0 is untagged */
	L2WG_A_VLAN_LAST,		/* u16 */
	__L2WG_A_VLAN_END
};

#define L2WG_A_VLAN_MAX (__L2WG_A_VLAN_END - 1)

enum l2wg_peer_attr {
	L2WG_A_PEER_UNSPEC,
	L2WG_A_PEER_IFINDEX,		/* u32 */
	L2WG_A_PEER_IFNAME,		/* string */
	L2WG_A_PEER_PUBLIC_KEY,		/* 32 bytes */
	L2WG_A_PEER_ALLOWED_MACS,	/* nest of L2WG_A_MAC */
	L2WG_A_PEER_MAX_MACS,		/* u32, 0: bound ones only */
	L2WG_A_PEER_PVID,		/* u16, 0: none */
	L2WG_A_PEER_ALLOWED_VLANS,	/* nest of L2WG_A_VLAN_RANGE; empty: its PVID */
	L2WG_A_PEER_RELAY,		/* u8, 0 or 1 */
	L2WG_A_PEER_ISOLATED,		/* u8, 0 or 1 */
	L2WG_A_PEER_ROUTER,		/* u8, 0 or 1 */
	L2WG_A_PEER_GUARDS,		/* u32, mask of enum l2wg_guard */
	L2WG_A_PEER_MARK,		/* u32, 0: none */
	L2WG_A_PEER_HANDLE,		/* 16 bytes, an IPv6 address, read-only */
	L2WG_A_PEER_PRESENT,		/* flag: it is a peer now, read-only */
	L2WG_A_PEER_CONFIGURED,		/* flag: it has options, read-only */
	L2WG_A_PEER_LEARNED,		/* u32, read-only */
	L2WG_A_PEER_SESSION,		/* u32, enum l2wg_session, read-only */
	L2WG_A_PEER_SESSION_AGE,	/* u32, seconds in that state, read-only */
	L2WG_A_PEER_HEARD_AGE,		/* u32, ms since an authenticated packet, read-only */
	L2WG_A_PEER_COUNTERS,		/* nest, read-only */
	L2WG_A_PEER_OLD_PUBLIC_KEY,	/* 32 bytes; L2WG_CMD_PEER_REPLACE */
	__L2WG_A_PEER_END
};

#define L2WG_A_PEER_MAX (__L2WG_A_PEER_END - 1)

enum l2wg_fdb_attr {
	L2WG_A_FDB_UNSPEC,
	L2WG_A_FDB_IFINDEX,		/* u32 */
	L2WG_A_FDB_IFNAME,		/* string */
	L2WG_A_FDB_MAC,			/* 6 bytes */
	L2WG_A_FDB_VLAN,		/* u16; a bound one that is in all has none */
	L2WG_A_FDB_PUBLIC_KEY,		/* 32 bytes; a local one has none */
	L2WG_A_FDB_STATE,		/* u32, enum l2wg_entry_state */
	L2WG_A_FDB_AGE,			/* u32, ms since it was heard */
	L2WG_A_FDB_MOVES,		/* u32, moves in the present window */
	__L2WG_A_FDB_END
};

#define L2WG_A_FDB_MAX (__L2WG_A_FDB_END - 1)

enum l2wg_event_attr {
	L2WG_A_EVENT_UNSPEC,
	L2WG_A_EVENT_IFINDEX,		/* u32 */
	L2WG_A_EVENT_IFNAME,		/* string */
	L2WG_A_EVENT_TYPE,		/* u32, enum l2wg_event */
	L2WG_A_EVENT_PUBLIC_KEY,	/* 32 bytes; of the host: none */
	L2WG_A_EVENT_OLD_PUBLIC_KEY,	/* 32 bytes; of the host: none */
	L2WG_A_EVENT_MAC,		/* 6 bytes */
	L2WG_A_EVENT_VLAN,		/* u16 */
	L2WG_A_EVENT_COUNTER,		/* u32, enum l2wg_switch_counter */
	L2WG_A_EVENT_SESSION,		/* u32, enum l2wg_session; L2WG_CMD_SESSION */
	__L2WG_A_EVENT_END
};

#define L2WG_A_EVENT_MAX (__L2WG_A_EVENT_END - 1)

enum l2wg_cmd {
	L2WG_CMD_UNSPEC,
	L2WG_CMD_LINK_GET,		/* do, dump */
	L2WG_CMD_LINK_SET,
	L2WG_CMD_PEER_GET,		/* do, dump */
	L2WG_CMD_PEER_SET,
	L2WG_CMD_PEER_DEL,		/* forget its options */
	L2WG_CMD_FDB_GET,		/* dump */
	L2WG_CMD_FDB_FLUSH,		/* of a peer, of a VLAN, or all */
	L2WG_CMD_EVENT,			/* notification */
	L2WG_CMD_PEER_REPLACE,		/* by another key */
	L2WG_CMD_SESSION,		/* notification */
	__L2WG_CMD_END
};

#define L2WG_CMD_MAX (__L2WG_CMD_END - 1)

#endif /* _UAPI_L2WG_H */

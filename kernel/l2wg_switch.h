/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The link kind `l2wgswitch`: what its files know of each other.
 *
 * l2wg_switch.c	the link: opening, sending, receiving, relaying
 * l2wg_table.c		(VLAN, MAC address) -> member, learned
 * l2wg_bound.c		MAC addresses that are bound to members or to the host
 * l2wg_member.c	the members: a peer's options, or a future peer's
 * l2wg_replace.c	one key takes the place of another
 * l2wg_session.c	whether a peer's session is up, being tried, or idle
 * l2wg_host.c		what is the host's own
 * l2wg_claim.c		addresses that a frame claims, in IP, ARP and ND
 * l2wg_guard.c		DHCP, router advertisements, spanning tree
 * l2wg_vlan.c		tags
 * l2wg_flood.c		copies for many members, and the handshakes for them
 * l2wg_fdb.c		`bridge fdb`
 * l2wg_genl.c		the generic-netlink family `l2wg`
 *
 * Locks, from the outside in:
 *	RTNL
 *	wg->device_update_lock	members: options, hash, list (readers: RCU)
 *	sw->lock		table and bindings, counts of entries; softirqs off.
 *				Never held over a peer's queue.
 *	sw->flood_lock		waiting floods, waiting handshakes; softirqs off
 *	sw->session_lock	states of sessions, told in their order; softirqs off
 *
 * Lifetime: a member is reached by a table entry, a binding, the list or its
 * peer, all under RCU, and is freed after a grace period when its peer has gone
 * and it has no options. A peer that a member names is alive as an object in
 * the same section; wg_peer_get_maybe_zero() before anything is queued for it.
 */
#ifndef _L2WG_SWITCH_H
#define _L2WG_SWITCH_H

#include "l2wg_priv.h"
#include "l2wg_uapi.h"

#include "device.h"
#include "peer.h"

#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/ratelimit.h>
#include <linux/rhashtable.h>
#include <linux/workqueue.h>

#define L2WG_SWITCH_KIND "l2wgswitch"

enum {
	L2WG_DEFAULT_MAX_MACS = 8192,	/* learned from all peers */
	L2WG_DEFAULT_MAX_LOCAL = 4096,	/* learned from the host */
	L2WG_DEFAULT_PEER_MACS = 256,	/* learned from one peer */
	L2WG_DEFAULT_AGEING = 300,	/* s */
	L2WG_LIMIT_MACS = 1 << 20,	/* the most that any of these may be */
	L2WG_COUNTS = 1024,		/* exact buckets of members by entries */
	L2WG_RELAY_SLOTS = 8,		/* targets of one NAPI poll at a time */
	L2WG_HOST_MAX = 64,		/* MACs of the host, and addresses */
};

/* A VLAN and an address in one number; VLAN L2WG_ANY_VLAN for a binding in all */
#define L2WG_ANY_VLAN 0xffff

static inline u64 l2wg_key(u16 vid, const u8 *addr)
{
	return (u64)vid << 48 | ether_addr_to_u64(addr);
}

static inline u16 l2wg_key_vid(u64 key)
{
	return key >> 48;
}

static inline void l2wg_key_addr(u64 key, u8 *addr)
{
	u64_to_ether_addr(key & GENMASK_ULL(47, 0), addr);
}

/* Copies that a source may cause: tokens as of a time, which may be owed */
struct l2wg_bucket {
	spinlock_t lock;	/* of what follows */
	s64 tokens;
	u64 time;	/* ns, boot time */
};

/* What a member has for another one in the NAPI poll that is running */
struct l2wg_relay {
	struct l2wg_member *to;
	struct sk_buff_head packets;
};

/* VLANs, one bit each; 0 is untagged */
struct l2wg_vlans {
	struct rcu_head rcu;
	DECLARE_BITMAP(bits, VLAN_N_VID);
};

/**
 * struct l2wg_member - a peer of a switch, or a key that may become one
 *
 * The first part is read for every frame, with READ_ONCE() where it is written
 * in one go, under RCU where it is a pointer. &l2wg_switch.local is one, too:
 * it stands for the host and what lies behind it.
 */
struct l2wg_member {
	struct wg_peer __rcu *peer;	/* NULL while it is none */
	struct l2wg_switch *sw;
	struct l2wg_vlans __rcu *vlans;	/* NULL: the PVID only */
	u32 max_macs;
	u16 pvid;
	bool relay;
	bool isolated;
	bool router;
	bool configured;		/* has options */
	bool counted;			/* in sw->relays */
	u32 guards;			/* mask of enum l2wg_guard */
	u32 mark;

	/* under sw->lock */
	bool gone;			/* no entry may be made for it */
	unsigned int count;		/* entries in the list */
	struct list_head entries;	/* in the order of the CLOCK hand */
	struct hlist_node by_count;
	struct list_head holds;		/* its bindings */

	/* under device_update_lock */
	struct list_head list;		/* in sw->members while it is a peer */
	struct rhash_head by_key;
	u8 key[L2WG_KEY_LEN];
	u8 handle[8];			/* the last bytes of its fe80:: address */
	u64 id;				/* rises from member to member in the list */

	/* in the NAPI poll of its peer */
	struct l2wg_relay slots[L2WG_RELAY_SLOTS];
	unsigned int slots_used;
	unsigned int relayed;		/* frames; counted when the poll ends */
	unsigned long relayed_bytes;

	/* of any context */
	struct l2wg_bucket copies;
	struct l2wg_bucket small_copies;
	atomic64_t counters[L2WG_COUNTER_MAX + 1];

	/* handshakes for floods, under sw->flood_lock */
	struct list_head waiting;	/* in sw->waiting */
	u32 tried_endpoint;		/* hash of it */
	bool tried;
	bool had_session;

	/* under sw->session_lock */
	enum l2wg_session session;	/* as it was last looked at */
	time64_t session_since;		/* s, boot time */
	unsigned long unanswered;	/* jiffies when a handshake was begun, or 0 */
	unsigned long last_try;		/* jiffies */

	u64 rx_bytes;			/* the peer's, when it was last looked at */
	unsigned long heard;		/* jiffies of the last authenticated packet */
	bool was_heard;			/* there was one */

	struct rcu_head rcu;
};

/**
 * struct l2wg_entry - what the table knows of an address in a VLAN
 */
struct l2wg_entry {
	struct rhash_head node;
	u64 key;
	struct l2wg_member __rcu *member;
	unsigned long used;		/* jiffies when it was last heard */
	unsigned long window;		/* jiffies when the moves began to count */
	unsigned long claimed;		/* jiffies when it was heard elsewhere, too early */
	struct list_head list;		/* in member->entries */
	u8 moves;
	u8 hold;			/* s of silence that this took, or 0 */
	struct rcu_head rcu;
};

/**
 * struct l2wg_switch - all that a switch has beyond its wg_device
 *
 * Allocated in ndo_init and freed behind wg_destruct(), when no peer, no NAPI
 * poll and no RCU callback is left.
 */
struct l2wg_switch {
	struct net_device *dev;
	struct wg_device *wg;
	void (*destruct)(struct net_device *dev);

	/* read for every frame */
	struct rhashtable table;
	struct rhashtable bound;
	struct list_head members;	/* those that are peers */
	unsigned int relays;		/* how many of them relay */
	bool closed;			/* to peers without options */
	unsigned int ageing;		/* s */
	u32 max_macs;
	u32 max_local;
	struct l2wg_host __rcu *host;	/* NULL: no more than the link's own */

	spinlock_t lock;		/* of the table and the bindings */
	unsigned int learned;		/* entries of all peers */
	unsigned int top;		/* the highest bucket with a member in it */
	struct hlist_head by_count[L2WG_COUNTS + 1];
	struct l2wg_member local;

	struct rhashtable keys;
	unsigned int keys_seq;		/* another one when a key comes or goes; not 0 */
	u64 next_id;
	unsigned int peers;

	spinlock_t flood_lock;		/* of what waits */
	struct list_head floods;
	unsigned int flood_count;
	struct list_head waiting;
	struct l2wg_bucket first_tries;
	struct delayed_work flood_work;
	struct delayed_work try_work;
	struct delayed_work age_work;
	spinlock_t session_lock;	/* of the states of sessions, and of telling them */
	struct delayed_work session_work;
	struct ratelimit_state events;
	struct ratelimit_state notes;	/* of `bridge monitor fdb` */

	atomic64_t counters[L2WG_COUNTER_MAX + 1];
};

struct l2wg_prefix {
	struct in6_addr addr;	/* or an IPv4 address, in its first bytes */
	u8 bits;		/* 32 or 128 */
	u8 length;
};

/* What the operator has bound to the host */
struct l2wg_host {
	struct rcu_head rcu;
	unsigned int macs;
	unsigned int prefixes;
	u8 mac[L2WG_HOST_MAX][ETH_ALEN];
	struct l2wg_prefix prefix[L2WG_HOST_MAX];
};

/* What the switch needs to know of a frame */
struct l2wg_frame_info {
	u64 dst;	/* key */
	u64 src;	/* key */
	u16 vid;	/* the VLAN that it is in */
	__be16 proto;	/* EtherType behind its tags, and behind SNAP */
	u16 payload;	/* where that begins, from the Ethernet header on */
	bool tagged;	/* it carries that VLAN in a tag */
	bool hidden;	/* behind a tag with VID 0, or too many tags */
};

static inline void l2wg_switch_count(struct l2wg_switch *sw, struct l2wg_member *m,
				     enum l2wg_switch_counter counter, unsigned long n)
{
	atomic64_add(n, &sw->counters[counter]);
	if (m)
		atomic64_add(n, &m->counters[counter]);
}

/**
 * l2wg_member_in() - may a member use a VLAN?
 * @m:		the member
 * @vid:	VLAN, 0 for none
 *
 * Context: RCU read side.
 */
static inline bool l2wg_member_in(const struct l2wg_member *m, u16 vid)
{
	const struct l2wg_vlans *vlans = rcu_dereference(m->vlans);

	u16 pvid = READ_ONCE(m->pvid);

	if (likely(!vlans))
		return vid == pvid;
	/* What has no tag there is in the PVID: VLAN 0 cannot be told from it. */
	return test_bit(vid, vlans->bits) && (vid || !pvid);
}

/**
 * l2wg_member_of() - the member of a peer
 * @peer:	the peer
 *
 * Context: Any that has the peer; see l2wg_peer_created() and l2wg_peer_removed().
 * Return: the member, or NULL while the peer is none yet, or no more.
 */
static inline struct l2wg_member *l2wg_member_of(const struct wg_peer *peer)
{
	/* Pairs with the release in l2wg_peer_created(). */
	return smp_load_acquire(&peer->l2wg_member);
}

/**
 * l2wg_member_heard() - an authenticated packet has come from a peer
 * @m:	its member
 *
 * Context: Any.
 */
static inline void l2wg_member_heard(struct l2wg_member *m)
{
	WRITE_ONCE(m->heard, jiffies);
	WRITE_ONCE(m->was_heard, true);
}

/**
 * l2wg_is_admitted() - may a peer do more than shake hands?
 * @m:	its member
 *
 * Context: Any.
 */
static inline bool l2wg_is_admitted(const struct l2wg_member *m)
{
	return likely(!READ_ONCE(m->sw->closed)) || READ_ONCE(m->configured);
}

/**
 * l2wg_may_relay() - does the hub carry frames between these two peers?
 *
 * RFC 4762 section 10: split horizon, unless one of the two is a spoke.
 *
 * Context: Any.
 */
static inline bool l2wg_may_relay(bool relay, bool isolated, const struct l2wg_member *to)
{
	return (relay || READ_ONCE(to->relay)) && !(isolated && READ_ONCE(to->isolated));
}

/* l2wg_host.c */
bool l2wg_is_host_mac(const struct l2wg_switch *sw, const u8 *addr);
bool l2wg_is_host_addr(const struct l2wg_switch *sw, int family, const void *addr);
const struct l2wg_host *l2wg_host_locked(const struct l2wg_switch *sw);
void l2wg_host_set(struct l2wg_switch *sw, struct l2wg_host *host);

/* l2wg_claim.c */
/* The headers of a frame that its claims and the guards are about. Offsets are
 * from skb->data on.
 */
struct l2wg_inside {
	unsigned int network;	/* IPv4, IPv6 or ARP header */
	unsigned int transport;	/* what follows IP, 0 if it is not in this frame */
	u8 protocol;		/* of that */
	bool fragment;
	bool hidden;		/* IPv6: what follows is not to be seen */
};

enum l2wg_switch_counter l2wg_claims(struct l2wg_switch *sw, const struct l2wg_member *m,
				     const struct sk_buff *skb,
				     const struct l2wg_frame_info *info,
				     struct l2wg_inside *inside);

/* l2wg_guard.c */
bool l2wg_guard_objects(const struct l2wg_member *m, const struct sk_buff *skb,
			const struct l2wg_frame_info *info, const struct l2wg_inside *inside);

/* l2wg_genl.c */
void l2wg_event(struct l2wg_switch *sw, enum l2wg_event event, const struct l2wg_member *m,
		const struct l2wg_member *old, u64 key, enum l2wg_switch_counter counter);
void l2wg_event_session(struct l2wg_switch *sw, const struct l2wg_member *m,
			enum l2wg_session session);
int l2wg_switch_genl_register(void);
void l2wg_switch_genl_unregister(void);

/* What is told of the table when the lock has been let go */
struct l2wg_notes {
	struct l2wg_note *of;
	unsigned int n;
	unsigned int room;
};

/* l2wg_table.c */
void l2wg_notes_begin(struct l2wg_switch *sw, struct l2wg_notes *notes);
void l2wg_notes_tell(struct l2wg_switch *sw, struct l2wg_notes *notes);
int l2wg_table_init(struct l2wg_switch *sw);
void l2wg_table_destroy(struct l2wg_switch *sw);
struct l2wg_entry *l2wg_table_find(struct l2wg_switch *sw, u64 key);
bool l2wg_entry_alive(const struct l2wg_switch *sw, const struct l2wg_entry *entry);
bool l2wg_entry_is_sure(const struct l2wg_switch *sw, const struct l2wg_entry *entry);
void l2wg_entry_heard(struct l2wg_entry *entry);
enum l2wg_switch_counter l2wg_table_learn(struct l2wg_switch *sw, struct l2wg_member *m,
					  u64 key);
unsigned int l2wg_table_flush(struct l2wg_switch *sw, struct l2wg_member *m, int vid);
void l2wg_table_hand_over_locked(struct l2wg_switch *sw, struct l2wg_member *m,
				 struct l2wg_member *old, struct l2wg_notes *notes);
void l2wg_table_forget_mac(struct l2wg_switch *sw, const u8 *addr);
bool l2wg_table_delete(struct l2wg_switch *sw, const struct l2wg_member *m, u64 key, bool tell);
int l2wg_cache_init(void);
void l2wg_cache_destroy(void);

/* l2wg_bound.c */
enum l2wg_bound_verdict {
	L2WG_FREE,	/* bound to nobody */
	L2WG_MINE,	/* bound to this member alone */
	L2WG_SHARED,	/* to it and to others */
	L2WG_OTHERS,	/* to others */
};

struct l2wg_hold {
	struct list_head of_bound;
	struct list_head of_member;
	struct l2wg_member *member;
	struct l2wg_bound *bound;
	bool fdb;	/* by `bridge fdb`, not by the member's options */
	struct rcu_head rcu;
};

struct l2wg_bound {
	struct rhash_head node;
	u64 key;
	struct list_head holders;
	struct rcu_head rcu;
};

int l2wg_bound_init(struct l2wg_switch *sw);
void l2wg_bound_destroy(struct l2wg_switch *sw);
enum l2wg_bound_verdict l2wg_bound_check(struct l2wg_switch *sw, const struct l2wg_member *m,
					 u64 key);
struct l2wg_member *l2wg_bound_find(struct l2wg_switch *sw, u64 key);
int l2wg_bound_add(struct l2wg_switch *sw, struct l2wg_member *m, u64 key, bool fdb);
void l2wg_bound_only(struct l2wg_switch *sw, const struct l2wg_member *m, u64 key);
int l2wg_bound_del(struct l2wg_switch *sw, const struct l2wg_member *m, u64 key, bool fdb);
void l2wg_bound_keep(struct l2wg_switch *sw, struct l2wg_member *m, const u64 *keys,
		     unsigned int n);
void l2wg_bound_flush_locked(struct l2wg_switch *sw, struct l2wg_member *m, bool fdb);
void l2wg_bound_hand_over_locked(struct l2wg_switch *sw, struct l2wg_member *m,
				 struct l2wg_member *old, bool fdb);

/* l2wg_member.c */
int l2wg_members_init(struct l2wg_switch *sw);
void l2wg_members_destroy(struct l2wg_switch *sw);
void l2wg_member_setup(struct l2wg_member *m, struct l2wg_switch *sw);
struct l2wg_member *l2wg_member_find(struct l2wg_switch *sw, const u8 *key);
struct l2wg_member *l2wg_member_get(struct l2wg_switch *sw, const u8 *key,
				    struct netlink_ext_ack *extack);
void l2wg_member_changed(struct l2wg_member *m);
void l2wg_member_set_vlans(struct l2wg_member *m, struct l2wg_vlans *vlans);
int l2wg_member_copy(struct l2wg_member *m, const struct l2wg_member *from);
void l2wg_member_unused(struct l2wg_member *m);
void l2wg_member_forget(struct l2wg_member *m);
struct l2wg_member *l2wg_member_of_handle(struct l2wg_switch *sw, const struct in6_addr *addr,
					  struct netlink_ext_ack *extack);
void l2wg_member_handle(const struct l2wg_member *m, struct in6_addr *addr);

/* l2wg_replace.c */
int l2wg_replace(struct l2wg_switch *sw, const u8 *old_key, const u8 *new_key,
		 struct netlink_ext_ack *extack);

/* l2wg_session.c */
enum l2wg_session l2wg_session_look(struct l2wg_member *m, time64_t *since);
void l2wg_session_open(struct l2wg_switch *sw);
void l2wg_session_stop(struct l2wg_switch *sw);
void l2wg_session_init(struct l2wg_switch *sw);

/* l2wg_vlan.c */
void l2wg_vlan_read(const struct sk_buff *skb, u16 pvid, struct l2wg_frame_info *info);
bool l2wg_vlan_settle(struct sk_buff *skb, struct l2wg_frame_info *info);
bool l2wg_vlan_push(struct sk_buff *skb, u16 vid);
bool l2wg_vlan_pop(struct sk_buff *skb);

/* l2wg_flood.c */
void l2wg_flood_init(struct l2wg_switch *sw);
void l2wg_flood_open(struct l2wg_switch *sw);
void l2wg_flood_stop(struct l2wg_switch *sw);
void l2wg_flood_member_gone(struct l2wg_member *m);
struct wg_peer *l2wg_peer_get(const struct l2wg_member *m);
bool l2wg_peer_has_session(struct wg_peer *peer);
bool l2wg_peer_has_endpoint(const struct wg_peer *peer);
void l2wg_peer_queue(struct wg_peer *peer, struct sk_buff_head *packets);
void l2wg_send(struct l2wg_member *to, struct sk_buff *skb,
	       const struct l2wg_frame_info *info);
void l2wg_flood(struct l2wg_member *from, struct sk_buff *skb,
		const struct l2wg_frame_info *info);
void l2wg_cb_init(struct sk_buff *skb, u32 mtu);
bool l2wg_shape(struct l2wg_member *from, struct sk_buff *skb,
		const struct l2wg_frame_info *info, const struct l2wg_member *to);
void l2wg_bucket_init(struct l2wg_bucket *bucket);

/* l2wg_fdb.c */
int l2wg_fdb_add(struct ndmsg *ndm, struct nlattr *tb[], struct net_device *dev,
		 const unsigned char *addr, u16 vid, u16 flags,
#ifdef L2WG_HAVE_FDB_NOTIFIED
		 bool *notified,
#endif
		 struct netlink_ext_ack *extack);
int l2wg_fdb_del(struct ndmsg *ndm, struct nlattr *tb[], struct net_device *dev,
		 const unsigned char *addr, u16 vid
#ifdef L2WG_HAVE_FDB_NOTIFIED
		 , bool *notified
#endif
#ifdef L2WG_HAVE_FDB_DEL_EXTACK
		 , struct netlink_ext_ack *extack
#endif
		 );
#if defined(L2WG_HAVE_FDB_DEL_BULK_NLH)
int l2wg_fdb_del_bulk(struct nlmsghdr *nlh, struct net_device *dev,
		      struct netlink_ext_ack *extack);
#elif defined(L2WG_HAVE_FDB_DEL_BULK_VID)
int l2wg_fdb_del_bulk(struct ndmsg *ndm, struct nlattr *tb[], struct net_device *dev, u16 vid,
		      struct netlink_ext_ack *extack);
#endif
int l2wg_fdb_dump(struct sk_buff *skb, struct netlink_callback *cb, struct net_device *dev,
		  struct net_device *filter_dev, int *idx);
int l2wg_fdb_get(struct sk_buff *skb, struct nlattr *tb[], struct net_device *dev,
		 const unsigned char *addr, u16 vid, u32 portid, u32 seq,
		 struct netlink_ext_ack *extack);
bool l2wg_fdb_is_watched(const struct l2wg_switch *sw);
void l2wg_fdb_notify(struct l2wg_switch *sw, const struct l2wg_member *m, u64 key, bool gone);

#endif /* _L2WG_SWITCH_H */

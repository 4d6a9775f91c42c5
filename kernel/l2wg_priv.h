/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What our own files share about an Ethernet link and the patched driver does
 * not see.
 */

#ifndef _L2WG_PRIV_H
#define _L2WG_PRIV_H

#include "l2wg_dev.h"
#include "l2wg_frame.h"

#include "device.h"

#include <linux/ethtool.h>

enum l2wg_counter {
	L2WG_RX_OPAQUE,
	L2WG_RX_TRAILER,
	L2WG_RX_MALFORMED,
	L2WG_TX_OPAQUE,
	L2WG_TX_TRAILER,
	L2WG_TX_MALFORMED,
	L2WG_RX_OUTER_LOOP,
	L2WG_TX_OUTER_LOOP,
	L2WG_COUNTERS
};

enum {
	L2WG_SENT = 1024,
	L2WG_FRAGMENTS = 16,
};

/* Our own data of a link lives behind the driver's, in the same allocation,
 * so it lives exactly as long. Atomic and not per CPU: an IP frame, the hot
 * path, touches none of them. Of 64 bits on any machine, as users are told.
 */
struct l2wg_priv {
	atomic64_t counters[L2WG_COUNTERS];
	/* l2wg_loop.c: the receiver's indices that we send to, each in the slot
	 * that its low bits name; what fragments of our packets have in common.
	 */
	__le32 sent[L2WG_SENT];
	u32 fragments[L2WG_FRAGMENTS];
	struct l2wg_switch *sw;		/* NULL on a wire */
};

#define L2WG_PRIV_OFFSET \
	ALIGN(sizeof(struct wg_device), __alignof__(struct l2wg_priv))

static inline struct l2wg_priv *l2wg_priv(const struct net_device *dev)
{
	return (struct l2wg_priv *)((char *)netdev_priv(dev) + L2WG_PRIV_OFFSET);
}

static inline void l2wg_count(const struct net_device *dev,
			      enum l2wg_counter counter)
{
	atomic64_inc(&l2wg_priv(dev)->counters[counter]);
}

/**
 * l2wg_switch() - what a switch has beyond a wire
 * @dev:	a link for which l2wg_is_switch() is true
 *
 * Context: Any, as long as @dev is there.
 */
static inline struct l2wg_switch *l2wg_switch(const struct net_device *dev)
{
	return l2wg_priv(dev)->sw;
}

/* l2wg_dev.c */
int l2wg_open(struct net_device *dev);
int l2wg_stop(struct net_device *dev);
void l2wg_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *stats);

/* l2wg_ethtool.c */
extern const struct ethtool_ops l2wg_ethtool_ops;

/* l2wg_length.c */
struct l2wg_frame l2wg_unpad(struct sk_buff *skb, const struct net_device *dev);

/* l2wg_loop.c */
bool l2wg_is_own_outer(const struct sk_buff *skb, struct net_device *dev);
bool l2wg_claims_hop(const struct sk_buff *skb, struct wg_peer *peer);

/* l2wg_addr.c */
void l2wg_ecn_decap(struct sk_buff *skb, u8 ds);

/* l2wg_switch.c */
int l2wg_switch_register(const struct rtnl_link_ops *ether_ops);
void l2wg_switch_unregister(void);
bool l2wg_switch_owns(const struct net_device *dev);
int l2wg_switch_stats_count(void);
void l2wg_switch_stats_strings(u8 *data);
void l2wg_switch_stats(const struct net_device *dev, u64 *data);

#endif /* _L2WG_PRIV_H */

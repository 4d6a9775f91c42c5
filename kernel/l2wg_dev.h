/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The link kind `l2wireguard`: an Ethernet interface over WireGuard. This is
 * all that the patched driver sees of our code.
 */

#ifndef _L2WG_DEV_H
#define _L2WG_DEV_H

#include <linux/if_arp.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <net/genetlink.h>
#include <net/rtnetlink.h>

#include "allowedips.h"

#define L2WG_KIND "l2wireguard"
/* KBUILD_MODNAME is ours when we build a module of our own; the plain kind
 * keeps its name all the same.
 */
#define L2WG_PLAIN_KIND "wireguard"

/* `wg` and `ip link add type wireguard` must go on loading the stock module, and
 * not ours. In a kernel tree there is no other module.
 */
#ifdef L2WG_STANDALONE
#define L2WG_IN_TREE(alias) static_assert(1) /* takes the semicolon */
#else
#define L2WG_IN_TREE(alias) alias
#endif

struct wg_peer;

/* What cryptokey routing looks up; large enough for either family. */
union l2wg_addr {
	struct in_addr v4;
	struct in6_addr v6;
};

extern const struct net_device_ops l2wg_netdev_ops;
extern const struct net_device_ops l2wg_switch_netdev_ops;

/**
 * l2wg_is_switch() - is this link a switch of ours?
 * @dev: any network device
 *
 * Context: Any.
 * Return: true for a link of kind l2wgswitch that this module made.
 */
static inline bool l2wg_is_switch(const struct net_device *dev)
{
	return dev->netdev_ops == &l2wg_switch_netdev_ops;
}

/**
 * l2wg_is_ether() - is this link an Ethernet link of ours?
 * @dev: any network device, or NULL
 *
 * This one question separates the two kinds. It is asked of the device,
 * because a packet can look like anything.
 *
 * Context: Any.
 * Return: true for a link of kind l2wireguard or l2wgswitch that this module made.
 */
static inline bool l2wg_is_ether(const struct net_device *dev)
{
	return dev && (dev->netdev_ops == &l2wg_netdev_ops || l2wg_is_switch(dev));
}

/* device.c: serves both kinds. */
netdev_tx_t wg_xmit(struct sk_buff *skb, struct net_device *dev);

int l2wg_link_register(struct rtnl_link_ops *plain_ops,
		       const struct net_device_ops *plain_ndo);
void l2wg_link_unregister(struct rtnl_link_ops *plain_ops);
int l2wg_genl_register(struct genl_family *family);
bool l2wg_owns(const struct net_device *dev);

bool l2wg_check_packet(struct sk_buff *skb, const struct net_device *dev);
u8 l2wg_ecn_encap(const struct sk_buff *skb);
unsigned int l2wg_padding(struct sk_buff *skb, u32 mtu);
void l2wg_sent(const struct net_device *dev, __le32 index);
bool l2wg_receive(struct sk_buff *skb, struct wg_peer *peer);
int l2wg_send_data(struct wg_peer *peer, struct sk_buff *skb,
		   struct sk_buff **next, u8 ds);

/* What a worker that decrypts holds back: the peer to wake, NULL if there is none,
 * and how much is ready for it.
 */
struct l2wg_woken {
	struct wg_peer *peer;
	unsigned int messages;
	unsigned int bytes;
};

void l2wg_decrypted(struct sk_buff *skb, int state, struct l2wg_woken *woken);
void l2wg_wake(struct l2wg_woken *woken);

int l2wg_dst_addr(const struct sk_buff *skb, union l2wg_addr *addr);
int l2wg_src_addr(const struct sk_buff *skb, union l2wg_addr *addr);

/**
 * l2wg_lookup() - cryptokey routing of a frame
 * @table:	AllowedIPs of the link
 * @skb:	frame with its MAC header set
 * @src:	by its source address; else by its destination
 * @lookup:	the driver's look-up in one of the tries, which is static there
 *
 * Context: Any.
 * Return: a strong reference to the peer, or NULL.
 */
static __always_inline struct wg_peer *
l2wg_lookup(const struct allowedips *table, const struct sk_buff *skb, bool src,
	    struct wg_peer *(*lookup)(struct allowedips_node __rcu *root, u8 bits,
				      const void *be_ip))
{
	union l2wg_addr addr;

	switch (src ? l2wg_src_addr(skb, &addr) : l2wg_dst_addr(skb, &addr)) {
	case AF_INET:
		return lookup(table->root4, 32, &addr);
	case AF_INET6:
		return lookup(table->root6, 128, &addr);
	}
	return NULL;
}

/* The switch: what the driver tells it. */
bool l2wg_switch_receive(struct sk_buff *skb, struct wg_peer *peer);
void l2wg_switch_polled(struct wg_peer *peer);
struct wg_peer *l2wg_peer_created(struct wg_peer *peer);
void l2wg_peer_dead(struct wg_peer *peer);
void l2wg_peer_removed(struct wg_peer *peer);
void l2wg_peer_session(struct wg_peer *peer);

/**
 * l2wg_polled() - a NAPI poll of a peer has got through its packets
 * @dev:	the peer's link
 * @peer:	the peer
 *
 * Context: The end of that poll.
 */
static inline void l2wg_polled(const struct net_device *dev, struct wg_peer *peer)
{
	if (l2wg_is_switch(dev))
		l2wg_switch_polled(peer);
}

#endif /* _L2WG_DEV_H */

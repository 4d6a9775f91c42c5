// SPDX-License-Identifier: GPL-2.0
/*
 * The link kind `l2wgswitch`: an `l2wireguard` link that picks peers by MAC
 * address. What goes over the wire is the same.
 *
 * The kind has an operation of its own for sending, so a wire does not pay for
 * it; receiving branches off where a wire looks up who may have sent this.
 */

#include "l2wg_switch.h"
#include "l2wg_compat.h"

#include "queueing.h"

#include <linux/ethtool.h>

MODULE_ALIAS_RTNL_LINK(L2WG_SWITCH_KIND);

enum { EVENTS = 1000 };	/* per second */

static const struct device_type l2wg_switch_type = { .name = L2WG_SWITCH_KIND };

static struct rtnl_link_ops l2wg_switch_link_ops __read_mostly;

/* The wire's, from which we differ in a few operations */
static void (*l2wg_ether_setup)(struct net_device *dev) __ro_after_init;

/* `ethtool -S`: names are ABI, and so is the order. */
static const char l2wg_switch_names[L2WG_COUNTER_MAX][ETH_GSTRING_LEN] = {
	[L2WG_COUNTER_RX_OWN_MAC - 1]		= "rx_own_mac",
	[L2WG_COUNTER_RX_BAD_SOURCE - 1]	= "rx_bad_source",
	[L2WG_COUNTER_RX_VLAN - 1]		= "rx_vlan",
	[L2WG_COUNTER_RX_MAC_BOUND - 1]		= "rx_mac_bound",
	[L2WG_COUNTER_RX_IP_BOUND - 1]		= "rx_ip_bound",
	[L2WG_COUNTER_RX_GUARD - 1]		= "rx_guard",
	[L2WG_COUNTER_RX_MAC_LIMIT - 1]		= "rx_mac_limit",
	[L2WG_COUNTER_RX_MOVE - 1]		= "rx_move",
	[L2WG_COUNTER_RX_LOOP - 1]		= "rx_loop",
	[L2WG_COUNTER_RX_NO_RELAY - 1]		= "rx_no_relay",
	[L2WG_COUNTER_RX_FLOOD_LIMIT - 1]	= "rx_flood_limit",
	[L2WG_COUNTER_RX_CLOSED - 1]		= "rx_closed",
	[L2WG_COUNTER_RX_NO_MEMORY - 1]		= "rx_no_memory",
	[L2WG_COUNTER_TX_LOOP - 1]		= "tx_loop",
	[L2WG_COUNTER_TX_UNKNOWN - 1]		= "tx_unknown",
	[L2WG_COUNTER_TX_FLOOD - 1]		= "tx_flood",
	[L2WG_COUNTER_TX_FLOOD_NO_SESSION - 1]	= "tx_flood_no_session",
	[L2WG_COUNTER_TX_FLOOD_FULL - 1]	= "tx_flood_full",
	[L2WG_COUNTER_TX_FLOOD_LIMIT - 1]	= "tx_flood_limit",
	[L2WG_COUNTER_TX_TOO_BIG - 1]		= "tx_too_big",
	[L2WG_COUNTER_TX_NO_MEMORY - 1]		= "tx_no_memory",
	[L2WG_COUNTER_RELAY_FRAMES - 1]		= "relay_frames",
	[L2WG_COUNTER_RELAY_BYTES - 1]		= "relay_bytes",
};

/* IEEE 802.1Q 8.6.3: addresses that a bridge does not relay */
static bool l2wg_is_next_hop(const u8 *addr)
{
	switch (addr[5]) {
	case 0x02:	/* slow protocols: LACP */
	case 0x03:	/* 802.1X */
	case 0x0e:	/* LLDP */
		return is_link_local_ether_addr(addr);
	default:
		return false;
	}
}

static bool l2wg_is_pause(const u8 *addr)
{
	return addr[5] == 0x01 && is_link_local_ether_addr(addr);
}

/* Where an address is: a member, &sw->local, or NULL if nobody knows */
static struct l2wg_member *l2wg_where(struct l2wg_switch *sw, u64 key)
{
	const struct l2wg_entry *entry = l2wg_table_find(sw, key);

	if (likely(entry && l2wg_entry_is_sure(sw, entry)))
		return rcu_dereference(entry->member);
	return l2wg_bound_find(sw, key);
}

/* The only other member of a VLAN, or NULL */
static struct l2wg_member *l2wg_next_hop(struct l2wg_switch *sw, u16 vid)
{
	struct l2wg_member *m, *only = NULL;

	list_for_each_entry_rcu(m, &sw->members, list) {
		if (!l2wg_member_in(m, vid) || !l2wg_is_admitted(m))
			continue;
		if (only)
			return NULL;
		only = m;
	}
	return only;
}

/* What the host sends from an address that is not its own comes from a station
 * behind it. Returns false if that is where a loop would be.
 */
static bool l2wg_learn_local(struct l2wg_switch *sw, const struct l2wg_frame_info *info,
			     const u8 *source)
{
	enum l2wg_switch_counter failed;
	struct l2wg_entry *entry;

	if (ether_addr_equal(source, sw->dev->dev_addr) || unlikely(!is_valid_ether_addr(source)))
		return true;
	entry = l2wg_table_find(sw, info->src);
	if (likely(entry && rcu_access_pointer(entry->member) == &sw->local)) {
		l2wg_entry_heard(entry);
		return true;
	}
	if (l2wg_is_host_mac(sw, source))
		return true;
	failed = l2wg_table_learn(sw, &sw->local, info->src);
	if (likely(failed != L2WG_COUNTER_TX_LOOP))
		return true;
	l2wg_switch_count(sw, NULL, L2WG_COUNTER_TX_LOOP, 1);
	return false;
}

/* Sending: the host's frames, and those of stations behind it */
static netdev_tx_t l2wg_switch_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct l2wg_switch *sw = l2wg_switch(dev);
	struct l2wg_frame_info info;
	struct l2wg_member *to;
	const u8 *dest;

	/* As on a wire; see l2wg_xmit(). */
	skb = skb_share_check(skb, GFP_ATOMIC);
	if (unlikely(!skb)) {
		DEV_STATS_INC(dev, tx_dropped);
		return NETDEV_TX_OK;
	}
	if (unlikely(l2wg_is_own_outer(skb, dev))) {
		l2wg_count(dev, L2WG_TX_OUTER_LOOP);
		DEV_STATS_INC(dev, tx_dropped);
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	if (unlikely(skb_orphan_frags_rx(skb, GFP_ATOMIC) || !pskb_may_pull(skb, ETH_HLEN))) {
		DEV_STATS_INC(dev, tx_dropped);
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	netif_trans_update(dev);
	skb_reset_mac_header(skb);
	l2wg_vlan_read(skb, 0, &info);
	dest = eth_hdr(skb)->h_dest;

	rcu_read_lock();
	/* Nobody could say which form a member wants it in. */
	if (unlikely(info.hidden))
		goto drop;
	if (unlikely(!l2wg_learn_local(sw, &info, eth_hdr(skb)->h_source)))
		goto drop;
	if (is_multicast_ether_addr(dest)) {
		if (unlikely(l2wg_is_pause(dest)))
			goto drop;
		if (likely(!l2wg_is_next_hop(dest))) {
			l2wg_flood(&sw->local, skb, &info);
			goto out;
		}
		to = l2wg_next_hop(sw, info.vid);
		if (!to)
			goto drop;
	} else {
		to = l2wg_where(sw, info.dst);
		if (unlikely(!to)) {
			l2wg_switch_count(sw, NULL, L2WG_COUNTER_TX_UNKNOWN, 1);
			l2wg_flood(&sw->local, skb, &info);
			goto out;
		}
		/* It is where this comes from, or may do no more than shake hands. */
		if (unlikely(to == &sw->local || !l2wg_is_admitted(to)))
			goto drop;
	}
	l2wg_send(to, skb, &info);
out:
	rcu_read_unlock();
	return NETDEV_TX_OK;

drop:
	rcu_read_unlock();
	DEV_STATS_INC(dev, tx_dropped);
	kfree_skb(skb);
	return NETDEV_TX_OK;
}

/* The checks of the rule, in their order: 0, or the counter of the one that
 * fails. What is known to be where the frame comes from has passed those of its
 * source address: what changes them takes the entry away.
 */
static enum l2wg_switch_counter l2wg_admit(struct l2wg_switch *sw, struct l2wg_member *m,
					   const struct sk_buff *skb,
					   const struct l2wg_frame_info *info)
{
	const u8 *source = eth_hdr(skb)->h_source;
	enum l2wg_bound_verdict bound = L2WG_FREE;
	enum l2wg_switch_counter failed;
	struct l2wg_inside inside;
	struct l2wg_entry *entry;
	bool known;

	if (unlikely(ether_addr_equal(source, sw->dev->dev_addr)))
		return L2WG_COUNTER_RX_OWN_MAC;
	entry = l2wg_table_find(sw, info->src);
	known = entry && rcu_access_pointer(entry->member) == m && l2wg_entry_alive(sw, entry);
	if (unlikely(!known)) {
		if (!is_valid_ether_addr(source))
			return L2WG_COUNTER_RX_BAD_SOURCE;
		if (l2wg_is_host_mac(sw, source))
			return L2WG_COUNTER_RX_OWN_MAC;
		if (!l2wg_member_in(m, info->vid))
			return L2WG_COUNTER_RX_VLAN;
		bound = l2wg_bound_check(sw, m, info->src);
		if (bound == L2WG_OTHERS)
			return L2WG_COUNTER_RX_MAC_BOUND;
	}
	if (unlikely(info->hidden))
		return L2WG_COUNTER_RX_VLAN;
	failed = l2wg_claims(sw, m, skb, info, &inside);
	if (unlikely(failed))
		return failed;
	if (unlikely(l2wg_guard_objects(m, skb, info, &inside)))
		return L2WG_COUNTER_RX_GUARD;
	if (likely(known)) {
		l2wg_entry_heard(entry);
		return 0;
	}
	return bound == L2WG_MINE ? 0 : l2wg_table_learn(sw, m, info->src);
}

static enum l2wg_event l2wg_event_of(enum l2wg_switch_counter failed)
{
	switch (failed) {
	case L2WG_COUNTER_RX_MAC_LIMIT:
		return L2WG_EVENT_LIMIT;
	case L2WG_COUNTER_RX_MOVE:
		return L2WG_EVENT_DAMPED;
	default:
		return L2WG_EVENT_VIOLATION;
	}
}

/* What the kernel has no reason for is known by the counter alone. */
static void l2wg_free_refused(struct sk_buff *skb, enum l2wg_switch_counter failed)
{
	switch (failed) {
	case L2WG_COUNTER_RX_OWN_MAC:
		l2wg_kfree_skb(skb, LOCAL_MAC);
		break;
	case L2WG_COUNTER_RX_BAD_SOURCE:
		l2wg_kfree_skb(skb, MAC_INVALID_SOURCE);
		break;
	case L2WG_COUNTER_RX_NO_MEMORY:
		l2wg_kfree_skb(skb, NOMEM);
		break;
	default:
		kfree_skb(skb);
		break;
	}
}

/* From what the stack would get to what is sent: the frame from its header on,
 * with nothing of the way that it came.
 */
static void l2wg_relay_prepare(struct sk_buff *skb)
{
	skb_push(skb, ETH_HLEN);
	skb->ip_summed = CHECKSUM_NONE;
	skb->csum_level = 0;
	skb->pkt_type = PACKET_HOST;
}

/* Hand over what was put aside, as one list for each member. */
static void l2wg_relay_flush(struct l2wg_member *from)
{
	struct l2wg_relay *slot;
	struct wg_peer *peer;
	struct sk_buff *skb;
	unsigned int i;

	for (i = 0; i < from->slots_used; ++i) {
		slot = &from->slots[i];
		peer = l2wg_peer_get(slot->to);
		if (likely(peer && l2wg_peer_has_endpoint(peer)))
			l2wg_peer_queue(peer, &slot->packets);
		while (unlikely((skb = __skb_dequeue(&slot->packets)))) {
			DEV_STATS_INC(from->sw->dev, tx_dropped);
			kfree_skb(skb);
		}
		wg_peer_put(peer);
	}
	from->slots_used = 0;
}

/* Put a frame aside for another member until this poll ends. */
static void l2wg_relay(struct l2wg_member *from, struct l2wg_member *to, struct sk_buff *skb,
		       const struct l2wg_frame_info *info)
{
	unsigned int i;

	l2wg_relay_prepare(skb);
	l2wg_cb_init(skb, READ_ONCE(from->sw->dev->mtu));
	if (unlikely(!l2wg_shape(from, skb, info, to)))
		return;
	++from->relayed;
	from->relayed_bytes += skb->len;
	for (i = 0; i < from->slots_used; ++i)
		if (from->slots[i].to == to)
			goto found;
	if (i == L2WG_RELAY_SLOTS) {
		l2wg_relay_flush(from);
		i = 0;
	}
	from->slots[i].to = to;
	from->slots_used = i + 1;
found:
	__skb_queue_tail(&from->slots[i].packets, skb);
}

/* A frame that is for all: a copy for the members that it may be relayed to */
static void l2wg_relay_flood(struct l2wg_member *from, struct sk_buff *skb,
			     const struct l2wg_frame_info *info)
{
	struct sk_buff *copy;

	if (likely(!READ_ONCE(from->relay) && !READ_ONCE(from->sw->relays)))
		return;
	copy = skb_clone(skb, GFP_ATOMIC);
	if (unlikely(!copy)) {
		l2wg_switch_count(from->sw, from, L2WG_COUNTER_RX_NO_MEMORY, 1);
		return;
	}
	/* It must not overtake what has come before it. */
	if (from->slots_used)
		l2wg_relay_flush(from);
	l2wg_relay_prepare(copy);
	l2wg_flood(from, copy, info);
}

/**
 * l2wg_switch_receive() - check, learn, relay and deliver a frame from a peer
 * @skb:	the frame, as l2wg_receive() has left it; not the caller's any more
 * @peer:	who sent it; the caller holds a reference
 *
 * Context: NAPI poll of @peer.
 * Return: true if it counts as received.
 */
bool l2wg_switch_receive(struct sk_buff *skb, struct wg_peer *peer)
{
	struct l2wg_switch *sw = l2wg_switch(peer->device->dev);
	struct l2wg_member *to, *m = l2wg_member_of(peer);
	enum l2wg_switch_counter failed;
	struct l2wg_frame_info info;
	const u8 *dest;
	u32 mark;

	rcu_read_lock();
	failed = L2WG_COUNTER_RX_CLOSED;
	if (unlikely(!m || !l2wg_is_admitted(m) || !netif_running(sw->dev)))
		goto drop;
	l2wg_vlan_read(skb, READ_ONCE(m->pvid), &info);
	failed = l2wg_admit(sw, m, skb, &info);
	if (unlikely(failed)) {
		l2wg_event(sw, l2wg_event_of(failed), m, NULL, info.src, failed);
		goto drop;
	}
	failed = L2WG_COUNTER_RX_NO_MEMORY;
	if (unlikely(!l2wg_vlan_settle(skb, &info)))
		goto drop;

	dest = eth_hdr(skb)->h_dest;
	if (unlikely(is_multicast_ether_addr(dest))) {
		failed = 0;
		if (unlikely(l2wg_is_pause(dest)))
			goto drop_silently;
		if (likely(!l2wg_is_next_hop(dest)))
			l2wg_relay_flood(m, skb, &info);
	} else if (skb->pkt_type != PACKET_HOST) {
		to = l2wg_where(sw, info.dst);
		if (to && to != &sw->local) {
			failed = L2WG_COUNTER_RX_NO_RELAY;
			if (to == m || !l2wg_member_in(to, info.vid) || !l2wg_is_admitted(to) ||
			    !l2wg_may_relay(READ_ONCE(m->relay), READ_ONCE(m->isolated), to))
				goto drop;
			l2wg_relay(m, to, skb, &info);
			rcu_read_unlock();
			return true;
		}
		if (!to && !l2wg_is_host_mac(sw, dest))
			l2wg_relay_flood(m, skb, &info);
	}
	/* GRO writes into what it is given, and copies for others share it. Past GRO it
	 * would overtake the frames that wait there.
	 */
	skb = skb_unshare(skb, GFP_ATOMIC);
	if (unlikely(!skb)) {
		l2wg_switch_count(sw, m, L2WG_COUNTER_RX_NO_MEMORY, 1);
		rcu_read_unlock();
		DEV_STATS_INC(sw->dev, rx_dropped);
		return false;
	}
	mark = READ_ONCE(m->mark);
	rcu_read_unlock();

	if (info.vid && !info.tagged)
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), info.vid);
	skb->mark = mark;
	napi_gro_receive(&peer->napi, skb);
	return true;

drop:
	l2wg_switch_count(sw, m, failed, 1);
drop_silently:
	rcu_read_unlock();
	DEV_STATS_INC(sw->dev, rx_dropped);
	l2wg_free_refused(skb, failed);
	return false;
}

/**
 * l2wg_switch_polled() - a NAPI poll of a peer has got through its packets
 * @peer:	the peer
 *
 * Context: The end of that poll.
 */
void l2wg_switch_polled(struct wg_peer *peer)
{
	struct l2wg_member *m = l2wg_member_of(peer);

	if (unlikely(!m))
		return;
	if (m->slots_used)
		l2wg_relay_flush(m);
	/* Not for each frame: the link's counters are shared by all peers' polls. */
	if (m->relayed) {
		l2wg_switch_count(m->sw, m, L2WG_COUNTER_RELAY_FRAMES, m->relayed);
		l2wg_switch_count(m->sw, m, L2WG_COUNTER_RELAY_BYTES, m->relayed_bytes);
		m->relayed = 0;
		m->relayed_bytes = 0;
	}
	/* A packet that was not authentic is not counted. */
	if (m->rx_bytes != peer->rx_bytes) {
		m->rx_bytes = peer->rx_bytes;
		l2wg_member_heard(m);
	}
}

static int l2wg_switch_open(struct net_device *dev)
{
	struct l2wg_switch *sw = l2wg_switch(dev);
	int ret;

	l2wg_flood_open(sw);
	ret = l2wg_open(dev);
	if (!ret) {
		queue_delayed_work(system_power_efficient_wq, &sw->age_work, HZ);
		l2wg_session_open(sw);
	}
	return ret;
}

/* netif_running() is false by now, and nothing more is learned; the driver waits
 * for a grace period, after which nothing more is flooded.
 */
static int l2wg_switch_stop(struct net_device *dev)
{
	struct l2wg_switch *sw = l2wg_switch(dev);
	int ret;

	/* Here for what waits, and below for what the last polls have left */
	l2wg_flood_stop(sw);
	ret = l2wg_stop(dev);
	cancel_delayed_work_sync(&sw->age_work);
	l2wg_session_stop(sw);
	l2wg_flood_stop(sw);
	l2wg_table_flush(sw, NULL, -1);
	return ret;
}

static void l2wg_switch_free(struct l2wg_switch *sw)
{
	/* Not every sender looks whether the link runs (generic XDP). */
	l2wg_flood_stop(sw);
	l2wg_table_destroy(sw);
	l2wg_members_destroy(sw);
	l2wg_bound_destroy(sw);
	kfree(rcu_access_pointer(sw->host));
	kvfree(sw);
}

static int l2wg_switch_init(struct net_device *dev)
{
	struct l2wg_switch *sw = kvzalloc(sizeof(*sw), GFP_KERNEL);
	int ret;

	if (!sw)
		return -ENOMEM;
	sw->dev = dev;
	sw->wg = netdev_priv(dev);
	l2wg_flood_init(sw);
	l2wg_session_init(sw);
	ratelimit_state_init(&sw->events, HZ, EVENTS);
	ratelimit_state_init(&sw->notes, HZ, EVENTS);
	/* Nobody asks how many there were too many. */
	ratelimit_set_flags(&sw->events, RATELIMIT_MSG_ON_RELEASE);
	ratelimit_set_flags(&sw->notes, RATELIMIT_MSG_ON_RELEASE);
	ret = l2wg_table_init(sw);
	if (ret)
		goto err_free;
	ret = l2wg_bound_init(sw);
	if (ret)
		goto err_table;
	ret = l2wg_members_init(sw);
	if (ret)
		goto err_bound;
	l2wg_priv(dev)->sw = sw;
	return 0;

err_bound:
	l2wg_bound_destroy(sw);
err_table:
	rhashtable_destroy(&sw->table);
err_free:
	kvfree(sw);
	return ret;
}

/* The driver's destructor removes the peers, waits for their NAPI polls and for
 * all RCU callbacks, and frees the device.
 */
static void l2wg_switch_destruct(struct net_device *dev)
{
	struct l2wg_switch *sw = l2wg_switch(dev);

	sw->destruct(dev);
	l2wg_switch_free(sw);
}

static void l2wg_switch_uninit(struct net_device *dev)
{
	struct l2wg_switch *sw = l2wg_switch(dev);

	/* The driver sets it when the link has been made: then there may be
	 * peers, and packets on their way.
	 */
	if (!dev->priv_destructor) {
		l2wg_priv(dev)->sw = NULL;
		l2wg_switch_free(sw);
		return;
	}
	sw->destruct = dev->priv_destructor;
	dev->priv_destructor = l2wg_switch_destruct;
}

static int l2wg_switch_set_address(struct net_device *dev, void *addr)
{
	int ret = eth_mac_addr(dev, addr);

	if (!ret)
		l2wg_table_forget_mac(l2wg_switch(dev), dev->dev_addr);
	return ret;
}

/* What the host takes for its own is no longer anybody else's. */
static void l2wg_switch_set_rx_mode(struct net_device *dev)
{
	const struct netdev_hw_addr *ha;

	netdev_for_each_uc_addr(ha, dev)
		l2wg_table_forget_mac(l2wg_switch(dev), ha->addr);
}

/* The same for a bridge above the link */
static int l2wg_switch_notify(struct notifier_block *nb, unsigned long event, void *ptr)
{
	struct net_device *upper, *dev = netdev_notifier_info_to_dev(ptr);
	struct list_head *iter;
	struct net_device *lower;

	switch (event) {
	case NETDEV_CHANGEADDR:
		if (!netif_is_bridge_master(dev))
			break;
		netdev_for_each_lower_dev(dev, lower, iter)
			if (l2wg_is_switch(lower))
				l2wg_table_forget_mac(l2wg_switch(lower), dev->dev_addr);
		break;
	case NETDEV_CHANGEUPPER:
		upper = ((struct netdev_notifier_changeupper_info *)ptr)->upper_dev;
		if (l2wg_is_switch(dev) && netif_is_bridge_master(upper))
			l2wg_table_forget_mac(l2wg_switch(dev), upper->dev_addr);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block l2wg_switch_notifier = { .notifier_call = l2wg_switch_notify };

/**
 * l2wg_switch_stats_count() - how many counters a switch has beyond a wire
 */
int l2wg_switch_stats_count(void)
{
	return L2WG_COUNTER_MAX;
}

/**
 * l2wg_switch_stats_strings() - their names
 * @data:	ETH_GSTRING_LEN bytes for each
 */
void l2wg_switch_stats_strings(u8 *data)
{
	memcpy(data, l2wg_switch_names, sizeof(l2wg_switch_names));
}

/**
 * l2wg_switch_stats() - their values
 * @dev:	a switch
 * @data:	one for each
 */
void l2wg_switch_stats(const struct net_device *dev, u64 *data)
{
	const struct l2wg_switch *sw = l2wg_switch(dev);
	unsigned int i;

	for (i = 0; i < L2WG_COUNTER_MAX; ++i)
		data[i] = atomic64_read(&sw->counters[i + 1]);
}

const struct net_device_ops l2wg_switch_netdev_ops = {
	.ndo_init		= l2wg_switch_init,
	.ndo_uninit		= l2wg_switch_uninit,
	.ndo_open		= l2wg_switch_open,
	.ndo_stop		= l2wg_switch_stop,
	.ndo_start_xmit		= l2wg_switch_xmit,
	.ndo_get_stats64	= l2wg_get_stats64,
	.ndo_set_rx_mode	= l2wg_switch_set_rx_mode,
	.ndo_set_mac_address	= l2wg_switch_set_address,
	.ndo_validate_addr	= eth_validate_addr,
	.ndo_fdb_add		= l2wg_fdb_add,
	.ndo_fdb_del		= l2wg_fdb_del,
#if defined(L2WG_HAVE_FDB_DEL_BULK_NLH) || defined(L2WG_HAVE_FDB_DEL_BULK_VID)
	.ndo_fdb_del_bulk	= l2wg_fdb_del_bulk,
#endif
	.ndo_fdb_dump		= l2wg_fdb_dump,
	.ndo_fdb_get		= l2wg_fdb_get,
};

static void l2wg_switch_setup(struct net_device *dev)
{
	l2wg_ether_setup(dev);
	dev->netdev_ops = &l2wg_switch_netdev_ops;
	SET_NETDEV_DEVTYPE(dev, &l2wg_switch_type);
}

/**
 * l2wg_switch_owns() - is this a switch of this module?
 * @dev:	any network device
 *
 * Context: Any; the caller holds a reference to @dev.
 */
bool l2wg_switch_owns(const struct net_device *dev)
{
	return dev->rtnl_link_ops == &l2wg_switch_link_ops;
}

/**
 * l2wg_switch_register() - register the kind
 * @ether_ops:	the wire's operations
 *
 * Context: Module init; takes the RTNL.
 * Return: 0, or a negative errno with nothing left registered.
 */
int __init l2wg_switch_register(const struct rtnl_link_ops *ether_ops)
{
	int ret;

	l2wg_ether_setup = ether_ops->setup;
	memcpy(&l2wg_switch_link_ops, ether_ops, sizeof(l2wg_switch_link_ops));
	l2wg_switch_link_ops.kind = L2WG_SWITCH_KIND;
	l2wg_switch_link_ops.setup = l2wg_switch_setup;

	ret = l2wg_cache_init();
	if (ret)
		return ret;
	ret = register_netdevice_notifier(&l2wg_switch_notifier);
	if (ret)
		goto err_cache;
	/* There before any link that has events, and until the last is gone */
	ret = l2wg_switch_genl_register();
	if (ret)
		goto err_notifier;
	ret = rtnl_link_register(&l2wg_switch_link_ops);
	if (ret)
		goto err_genl;
	return 0;

err_genl:
	l2wg_switch_genl_unregister();
err_notifier:
	unregister_netdevice_notifier(&l2wg_switch_notifier);
err_cache:
	l2wg_cache_destroy();
	return ret;
}

/**
 * l2wg_switch_unregister() - remove all switches and the kind
 *
 * Context: Process; takes the RTNL.
 */
void l2wg_switch_unregister(void)
{
	rtnl_link_unregister(&l2wg_switch_link_ops);
	l2wg_switch_genl_unregister();
	unregister_netdevice_notifier(&l2wg_switch_notifier);
	l2wg_cache_destroy();
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A link must not carry its own outer packets.
 *
 * In a bridge it is easily asked to: br0 = eth0 + wg1 with the underlay's address
 * on br0. While the bridge does not know where the next hop is it floods the
 * encrypted packet, into wg1, too, which would encrypt it again, and so on. The
 * other way into the same trap is a next hop that seems to be behind the tunnel.
 *
 * Whose a packet is, WireGuard's own indices say, wherever in tags it is and
 * whatever NAT has made of its addresses: docs/design.md has the reasons.
 */

#include "l2wg_priv.h"

#include "messages.h"
#include "peer.h"
#include "peerlookup.h"

#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/jhash.h>
#include <linux/udp.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/ndisc.h>
#include <net/route.h>

/* What an outer packet starts with, behind its IP header */
struct l2wg_outer {
	struct udphdr udp;
	__le32 type;
	/* A handshake's is the sender's, and ours if it is our message. Data has
	 * the receiver's, which the peer has chosen.
	 */
	__le32 index;
};

/* What the walk over the devices of a bridge looks for */
struct l2wg_search {
	const struct l2wg_outer *outer;
	const struct net_device *dev;
};

/* Step over all tags, of any VLAN: what follows is at the offset that is
 * returned, from skb->data, in the innermost VLAN *vid, 0 without one. The walk
 * has the length function's bound.
 */
static int l2wg_skip_tags(const struct sk_buff *skb, int at, __be16 *proto,
			  u16 *vid)
{
	unsigned int tags;
	u16 this;

	*vid = 0;
	for (tags = 1; unlikely(eth_type_vlan(*proto)); ++tags) {
		const struct vlan_hdr *tag;
		struct vlan_hdr buf;

		tag = skb_header_pointer(skb, at, sizeof(buf), &buf);
		if (!tag || tags == L2WG_FRAME_MAX_NEST)
			break;
		this = ntohs(tag->h_vlan_TCI) & VLAN_VID_MASK;
		if (this)
			*vid = this;
		*proto = tag->h_vlan_encapsulated_proto;
		at += VLAN_HLEN;
	}
	return at;
}

/* Where UDP starts in a frame, from skb->data; negative if it does not. A
 * fragment has a *key, the same as the other fragments of its packet, which is
 * not 0; it is *later if it is not the first, and has no UDP header.
 */
static int l2wg_find_udp(const struct sk_buff *skb, u32 *key, bool *later)
{
	union {
		struct ethhdr eth;
		struct iphdr ip4;
		struct ipv6hdr ip6;
	} buf;
	const struct ethhdr *eth;
	__be16 proto;
	u16 vid;
	int at;

	*key = 0;
	*later = false;
	eth = skb_header_pointer(skb, 0, sizeof(buf.eth), &buf);
	if (unlikely(!eth))
		return -1;
	proto = eth->h_proto;
	at = l2wg_skip_tags(skb, ETH_HLEN, &proto, &vid);

	if (likely(proto == htons(ETH_P_IP))) {
		const struct iphdr *ip4;

		ip4 = skb_header_pointer(skb, at, sizeof(buf.ip4), &buf);
		if (!ip4 || ip4->protocol != IPPROTO_UDP || ip4->ihl < 5)
			return -1;
		if (unlikely(ip_is_fragment(ip4))) {
			*key = jhash_3words((__force u32)ip4->saddr,
					    (__force u32)ip4->daddr,
					    (__force u16)ip4->id, 0) | 1;
			*later = ip4->frag_off & htons(IP_OFFSET);
		}
		return at + ip4->ihl * 4;
	}
	if (proto == htons(ETH_P_IPV6)) {
		const struct frag_hdr *fragment;
		const struct ipv6hdr *ip6;
		struct frag_hdr fbuf;

		ip6 = skb_header_pointer(skb, at, sizeof(buf.ip6), &buf);
		if (!ip6)
			return -1;
		at += sizeof(*ip6);
		if (ip6->nexthdr == IPPROTO_UDP)
			return at;
		if (likely(ip6->nexthdr != NEXTHDR_FRAGMENT))
			return -1;
		fragment = skb_header_pointer(skb, at, sizeof(fbuf), &fbuf);
		if (!fragment || fragment->nexthdr != IPPROTO_UDP)
			return -1;
		*key = jhash(&ip6->saddr, 2 * sizeof(struct in6_addr),
			     (__force u32)fragment->identification) | 1;
		*later = fragment->frag_off & htons(IP6_OFFSET);
		return at + sizeof(*fragment);
	}
	return -1;
}

/* The lowest bit of a key is always set. */
static unsigned int l2wg_fragment_slot(u32 key)
{
	return (key >> 1) % L2WG_FRAGMENTS;
}

/* Has this link sent this message? */
static bool l2wg_has_sent(const struct net_device *dev,
			  const struct l2wg_outer *outer)
{
	struct wg_device *wg = netdev_priv(dev);
	struct wg_peer *peer = NULL;

	if (outer->type == cpu_to_le32(MESSAGE_DATA)) {
		u32 slot = le32_to_cpu(outer->index) % L2WG_SENT;

		return READ_ONCE(l2wg_priv(dev)->sent[slot]) == outer->index;
	}
	if (!wg_index_hashtable_lookup(wg->index_hashtable,
				       INDEX_HASHTABLE_HANDSHAKE |
				       INDEX_HASHTABLE_KEYPAIR,
				       outer->index, &peer))
		return false;
	wg_peer_put(peer);
	return true;
}

static int l2wg_lower_has_sent(struct net_device *lower,
			       struct netdev_nested_priv *priv)
{
	const struct l2wg_search *search = priv->data;

	return lower != search->dev && l2wg_is_ether(lower) &&
	       l2wg_has_sent(lower, search->outer);
}

static int l2wg_bridge_has_sent(struct net_device *upper,
				struct netdev_nested_priv *priv)
{
	return netif_is_bridge_master(upper) &&
	       netdev_walk_all_lower_dev_rcu(upper, l2wg_lower_has_sent, priv);
}

/**
 * l2wg_sent() - remember whom a link sends to
 * @dev:	a link of either kind
 * @index:	the receiver's index in a data message that is about to be sent
 *
 * An index is used for as long as a session lasts. Two that share a slot take it
 * from each other; then a packet that loops may be missed once.
 *
 * Context: Any.
 */
void l2wg_sent(const struct net_device *dev, __le32 index)
{
	__le32 *slot;

	if (!l2wg_is_ether(dev))
		return;
	slot = &l2wg_priv(dev)->sent[le32_to_cpu(index) % L2WG_SENT];
	if (unlikely(READ_ONCE(*slot) != index))
		WRITE_ONCE(*slot, index);
}

/**
 * l2wg_is_own_outer() - would the link carry an outer packet of its own?
 * @skb:	frame that is to be sent; skb->data is at its Ethernet header
 * @dev:	the Ethernet link that is to send it
 *
 * An outer packet of another link in the same bridge is one of our own: the two
 * would carry each other's in turn. Those of other hosts, and of other links of
 * this one, are anybody's frames.
 *
 * Context: ndo_start_xmit, any.
 * Return: true if @skb must not be sent by @dev.
 */
bool l2wg_is_own_outer(const struct sk_buff *skb, struct net_device *dev)
{
	struct l2wg_priv *priv = l2wg_priv(dev);
	const struct l2wg_outer *outer;
	struct l2wg_search search;
	struct netdev_nested_priv nested = { .data = &search };
	struct l2wg_outer buf;
	bool later, own;
	u32 key;
	int at;

	at = l2wg_find_udp(skb, &key, &later);
	if (likely(at < 0))
		return false;
	if (unlikely(later))
		return READ_ONCE(priv->fragments[l2wg_fragment_slot(key)]) == key;
	outer = skb_header_pointer(skb, at, sizeof(buf), &buf);
	if (!outer)
		return false;
	switch (outer->type) {
	case cpu_to_le32(MESSAGE_HANDSHAKE_INITIATION):
	case cpu_to_le32(MESSAGE_HANDSHAKE_RESPONSE):
	case cpu_to_le32(MESSAGE_DATA):
		break;
	default:
		return false;
	}

	own = l2wg_has_sent(dev, outer);
	if (!own) {
		search.outer = outer;
		search.dev = dev;
		rcu_read_lock();
		own = netdev_walk_all_upper_dev_rcu(dev, l2wg_bridge_has_sent,
						    &nested);
		rcu_read_unlock();
	}
	/* The others come behind it, and have nothing to be known by. */
	if (own && key)
		WRITE_ONCE(priv->fragments[l2wg_fragment_slot(key)], key);
	return own;
}

/* Is a device one above the link that has the frames of this VLAN? On another
 * device, and in another VLAN, is another network, where addresses are its own.
 */
static bool l2wg_is_above(const struct wg_peer *peer, struct net_device *dev,
			  u16 vid)
{
	if (vid != (is_vlan_dev(dev) ? vlan_dev_vlan_id(dev) : 0))
		return false;
	return netdev_has_upper_dev_all_rcu(peer->device->dev, dev);
}

/* Is this the next hop of the peer's outer packets, on a device above the link? */
static bool l2wg_is_hop4(struct wg_peer *peer, __be32 address, u16 vid)
{
	struct wg_device *wg = peer->device;
	struct flowi4 fl = {
		.flowi4_mark = wg->fwmark,
		.flowi4_proto = IPPROTO_UDP
	};
	struct rtable *rt;
	struct net *net;
	bool hop = false;

	read_lock_bh(&peer->endpoint_lock);
	if (peer->endpoint.addr4.sin_family == AF_INET)
		fl.daddr = peer->endpoint.addr4.sin_addr.s_addr;
	read_unlock_bh(&peer->endpoint_lock);
	if (!fl.daddr || !address)
		return false;

	rcu_read_lock();
	net = rcu_dereference(wg->creating_net);
	rt = net ? ip_route_output_key(net, &fl) : ERR_PTR(-ENONET);
	if (!IS_ERR(rt)) {
		/* fl.daddr is still the endpoint. */
		hop = rt_nexthop(rt, fl.daddr) == address &&
		      l2wg_is_above(peer, rt->dst.dev, vid);
		ip_rt_put(rt);
	}
	rcu_read_unlock();
	return hop;
}

static bool l2wg_is_hop6(struct wg_peer *peer, const struct in6_addr *address,
			 u16 vid)
{
	bool hop = false;

#if IS_ENABLED(CONFIG_IPV6)
	struct wg_device *wg = peer->device;
	struct flowi6 fl = {
		.flowi6_mark = wg->fwmark,
		.flowi6_proto = IPPROTO_UDP
	};
	struct dst_entry *dst;
	struct in6_addr to;
	struct net *net;

	read_lock_bh(&peer->endpoint_lock);
	if (peer->endpoint.addr6.sin6_family == AF_INET6) {
		fl.daddr = peer->endpoint.addr6.sin6_addr;
		fl.flowi6_oif = peer->endpoint.addr6.sin6_scope_id;
	}
	read_unlock_bh(&peer->endpoint_lock);
	to = fl.daddr;
	if (ipv6_addr_any(&to) || ipv6_addr_any(address) || !ipv6_mod_enabled())
		return false;

	rcu_read_lock();
	net = rcu_dereference(wg->creating_net);
	if (net) {
		dst = ip6_route_output(net, NULL, &fl);
		hop = !dst->error &&
		      ipv6_addr_equal(rt6_nexthop((struct rt6_info *)dst, &to),
				      address) &&
		      l2wg_is_above(peer, dst->dev, vid);
		dst_release(dst);
	}
	rcu_read_unlock();
#endif
	return hop;
}

/**
 * l2wg_claims_hop() - does a frame say that our next hop is behind the tunnel?
 * @skb:	received frame, with its protocol set, behind its Ethernet header
 * @peer:	who sent it; the caller holds a reference
 *
 * ARP or neighbour discovery (RFC 4861) that names the next hop of the peer's
 * own outer packets as its sender. A bridge and a neighbour table that believe it
 * send the outer packets into the tunnel.
 *
 * Context: NAPI poll of @peer.
 * Return: true if the frame is to be dropped.
 */
bool l2wg_claims_hop(const struct sk_buff *skb, struct wg_peer *peer)
{
	struct {
		struct ipv6hdr ip6;
		struct icmp6hdr icmp6;
		struct in6_addr target;
	} __packed buf6, *ndp;
	struct {
		struct arphdr arp;
		u8 sender[ETH_ALEN];
		__be32 address;
	} __packed buf4, *arp;
	__be16 proto = skb->protocol;
	u16 vid;
	int at;

	/* A look at the routes is for links with something above them. */
	if (likely(proto == htons(ETH_P_IP)) ||
	    list_empty(&peer->device->dev->adj_list.upper))
		return false;
	at = l2wg_skip_tags(skb, 0, &proto, &vid);
	if (proto == htons(ETH_P_ARP) || proto == htons(ETH_P_RARP)) {
		arp = skb_header_pointer(skb, at, sizeof(buf4), &buf4);
		return arp && arp->arp.ar_pro == htons(ETH_P_IP) &&
		       arp->arp.ar_hln == ETH_ALEN &&
		       l2wg_is_hop4(peer, get_unaligned(&arp->address), vid);
	}
	if (proto != htons(ETH_P_IPV6))
		return false;
	ndp = skb_header_pointer(skb, at, sizeof(buf6), &buf6);
	if (!ndp || ndp->ip6.nexthdr != IPPROTO_ICMPV6 ||
	    ndp->ip6.hop_limit != 255)
		return false;
	switch (ndp->icmp6.icmp6_type) {
	case NDISC_NEIGHBOUR_ADVERTISEMENT:
		return l2wg_is_hop6(peer, &ndp->target, vid);
	case NDISC_NEIGHBOUR_SOLICITATION:
	case NDISC_ROUTER_ADVERTISEMENT:
	case NDISC_REDIRECT:
		return l2wg_is_hop6(peer, &ndp->ip6.saddr, vid);
	default:
		return false;
	}
}

// SPDX-License-Identifier: GPL-2.0
/*
 * What the IP header of an Ethernet frame says: the addresses for cryptokey
 * routing, and the congestion bits.
 */

#include "l2wg_priv.h"

#include <linux/if_ether.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/dsfield.h>
#include <net/inet_ecn.h>
#include <net/ip_tunnels.h>

/* Where a frame's own header starts, from skb->data, and its EtherType. The MAC
 * header must be set; skb->data may be at it or behind it.
 *
 * A tag with VID 0 carries a priority and no VLAN (IEEE 802.1Q 6.9.1). Linux
 * takes off any number of them and hands what is inside to IP
 * (__netif_receive_skb_core()). So we look behind them as well, or they would be
 * a way around AllowedIPs. A tag with a VID belongs to another network: its frame
 * gets to IP only through a VLAN device, which somebody has made on purpose.
 *
 * -E2BIG when there are more tags than the length function steps over.
 */
static int l2wg_network(const struct sk_buff *skb, __be16 *proto)
{
	int at = skb_mac_offset(skb) + ETH_HLEN;
	unsigned int tags = 0;

	*proto = eth_hdr(skb)->h_proto;
	while (unlikely(eth_type_vlan(*proto))) {
		const struct vlan_hdr *tag;
		struct vlan_hdr buf;

		tag = skb_header_pointer(skb, at, sizeof(buf), &buf);
		if (!tag || tag->h_vlan_TCI & htons(VLAN_VID_MASK))
			break;
		if (++tags == L2WG_FRAME_MAX_NEST)
			return -E2BIG;
		*proto = tag->h_vlan_encapsulated_proto;
		at += VLAN_HLEN;
	}
	return at;
}

static int l2wg_addr(const struct sk_buff *skb, union l2wg_addr *addr, bool src)
{
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	} buf;
	__be16 proto;
	int at;

	at = l2wg_network(skb, &proto);
	if (unlikely(at < 0))
		return AF_UNSPEC;
	if (likely(proto == htons(ETH_P_IP))) {
		const struct iphdr *ip4;

		ip4 = skb_header_pointer(skb, at, sizeof(buf.ip4), &buf);
		if (likely(ip4)) {
			addr->v4.s_addr = src ? ip4->saddr : ip4->daddr;
			return AF_INET;
		}
	} else if (proto == htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip6;

		ip6 = skb_header_pointer(skb, at, sizeof(buf.ip6), &buf);
		if (likely(ip6)) {
			addr->v6 = src ? ip6->saddr : ip6->daddr;
			return AF_INET6;
		}
	}
	/* ARP, a VLAN's tag, LACP, a cut IP header: whoever owns 0.0.0.0 */
	addr->v4.s_addr = htonl(INADDR_ANY);
	return AF_INET;
}

/**
 * l2wg_dst_addr() - where cryptokey routing sends a frame
 * @skb:	frame with its MAC header set
 * @addr:	filled with the destination of an IP frame without a VLAN, with
 *		0.0.0.0 for any other
 *
 * Context: Any.
 * Return: AF_INET or AF_INET6, the family of @addr; AF_UNSPEC for a frame that
 *	nobody may send: it is in more priority tags than we look behind.
 */
int l2wg_dst_addr(const struct sk_buff *skb, union l2wg_addr *addr)
{
	return l2wg_addr(skb, addr, false);
}

/**
 * l2wg_src_addr() - what the sending peer's AllowedIPs must hold
 * @skb:	frame with its MAC header set
 * @addr:	filled with the source of an IP frame without a VLAN, with
 *		0.0.0.0 for any other
 *
 * Context: Any.
 * Return: AF_INET or AF_INET6, the family of @addr; AF_UNSPEC for a frame that
 *	nobody may send: it is in more priority tags than we look behind.
 */
int l2wg_src_addr(const struct sk_buff *skb, union l2wg_addr *addr)
{
	return l2wg_addr(skb, addr, true);
}

/**
 * l2wg_ecn_encap() - the outer packet's DS field
 * @skb:	packet or frame that is about to be sent, or an empty keepalive
 *
 * RFC 6040 for the IP frame without a VLAN, as the plain kind does it for a
 * packet. A frame of a VLAN sets nothing outside, and l2wg_ecn_decap() brings
 * nothing back into it.
 *
 * Context: Any.
 * Return: DS field with only ECN bits set.
 */
u8 l2wg_ecn_encap(const struct sk_buff *skb)
{
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	} buf;
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;
	__be16 proto;
	int at;

	if (!l2wg_is_ether(skb->dev))
		return ip_tunnel_ecn_encap(0, ip_hdr(skb), skb);
	if (unlikely(skb->len < ETH_HLEN))
		return 0;
	at = l2wg_network(skb, &proto);
	if (unlikely(at < 0))
		return 0;
	if (likely(proto == htons(ETH_P_IP))) {
		ip4 = skb_header_pointer(skb, at, sizeof(buf.ip4), &buf);
		if (ip4)
			return INET_ECN_encapsulate(0, ip4->tos);
	} else if (proto == htons(ETH_P_IPV6)) {
		ip6 = skb_header_pointer(skb, at, sizeof(buf.ip6), &buf);
		if (ip6)
			return INET_ECN_encapsulate(0, ipv6_get_dsfield(ip6));
	}
	return 0;
}

/**
 * l2wg_ecn_decap() - bring the outer packet's congestion mark in
 * @skb:	received frame with its MAC and network headers set, behind its
 *		Ethernet header; not shared
 * @ds:		DS field of the outer packet
 *
 * RFC 6040: an outer "congestion experienced" must reach the inner packet.
 *
 * Context: NAPI poll.
 */
void l2wg_ecn_decap(struct sk_buff *skb, u8 ds)
{
	const __be16 outer = skb->protocol;
	__be16 proto;
	int at;

	at = l2wg_network(skb, &proto);
	if (unlikely(at < 0))
		return;
	/* INET_ECN_decapsulate() goes by these two. GRO and the stack set them
	 * again, but taps that run before that see the same as on a NIC.
	 */
	skb->protocol = proto;
	skb_set_network_header(skb, at);
	if (likely(proto == htons(ETH_P_IP))) {
		if (pskb_may_pull(skb, at + sizeof(struct iphdr)))
			INET_ECN_decapsulate(skb, ds, ip_hdr(skb)->tos);
	} else if (proto == htons(ETH_P_IPV6)) {
		if (pskb_may_pull(skb, at + sizeof(struct ipv6hdr)))
			INET_ECN_decapsulate(skb, ds,
					     ipv6_get_dsfield(ipv6_hdr(skb)));
	}
	skb->protocol = outer;
	skb_reset_network_header(skb);
}

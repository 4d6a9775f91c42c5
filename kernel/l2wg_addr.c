// SPDX-License-Identifier: GPL-2.0
/*
 * What the IP header of an Ethernet frame says: the addresses for cryptokey
 * routing, and the congestion bits.
 */

#include "l2wg_priv.h"

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/dsfield.h>
#include <net/inet_ecn.h>
#include <net/ip_tunnels.h>

/* The IP header of an untagged frame, with its first @size bytes readable, or
 * NULL. The MAC header must be set; skb->data may be at it or behind it.
 */
static const void *l2wg_ip_hdr(const struct sk_buff *skb, __be16 proto,
			       unsigned int size, void *buf)
{
	if (unlikely(eth_hdr(skb)->h_proto != proto))
		return NULL;
	return skb_header_pointer(skb, skb_mac_offset(skb) + ETH_HLEN, size,
				  buf);
}

static int l2wg_addr(const struct sk_buff *skb, union l2wg_addr *addr, bool src)
{
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	} buf;

	ip4 = l2wg_ip_hdr(skb, htons(ETH_P_IP), sizeof(buf.ip4), &buf);
	if (ip4) {
		addr->v4.s_addr = src ? ip4->saddr : ip4->daddr;
		return AF_INET;
	}
	ip6 = l2wg_ip_hdr(skb, htons(ETH_P_IPV6), sizeof(buf.ip6), &buf);
	if (ip6) {
		addr->v6 = src ? ip6->saddr : ip6->daddr;
		return AF_INET6;
	}
	/* ARP, a tag, LACP, a cut IP header: whoever owns 0.0.0.0 */
	addr->v4.s_addr = htonl(INADDR_ANY);
	return AF_INET;
}

/**
 * l2wg_dst_addr() - where cryptokey routing sends a frame
 * @skb:	frame with its MAC header set
 * @addr:	filled with the destination of an untagged IP frame, with
 *		0.0.0.0 for any other
 *
 * Context: Any.
 * Return: AF_INET or AF_INET6, the family of @addr.
 */
int l2wg_dst_addr(const struct sk_buff *skb, union l2wg_addr *addr)
{
	return l2wg_addr(skb, addr, false);
}

/**
 * l2wg_src_addr() - what the sending peer's AllowedIPs must hold
 * @skb:	frame with its MAC header set
 * @addr:	filled with the source of an untagged IP frame, with 0.0.0.0
 *		for any other
 *
 * Context: Any.
 * Return: AF_INET or AF_INET6, the family of @addr.
 */
int l2wg_src_addr(const struct sk_buff *skb, union l2wg_addr *addr)
{
	return l2wg_addr(skb, addr, true);
}

/**
 * l2wg_ecn_encap() - the outer packet's DS field
 * @skb:	packet or frame that is about to be sent, or an empty keepalive
 *
 * RFC 6040 for the untagged IP frame, as the plain kind does it for a packet.
 * A frame in a tag sets nothing outside, as l2wg_receive() gives nothing back.
 *
 * Context: Any.
 * Return: DS field with only ECN bits set.
 */
u8 l2wg_ecn_encap(const struct sk_buff *skb)
{
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	} buf;

	if (!l2wg_is_ether(skb->dev))
		return ip_tunnel_ecn_encap(0, ip_hdr(skb), skb);
	if (unlikely(skb->len < ETH_HLEN))
		return 0;
	ip4 = l2wg_ip_hdr(skb, htons(ETH_P_IP), sizeof(buf.ip4), &buf);
	if (ip4)
		return INET_ECN_encapsulate(0, ip4->tos);
	ip6 = l2wg_ip_hdr(skb, htons(ETH_P_IPV6), sizeof(buf.ip6), &buf);
	if (ip6)
		return INET_ECN_encapsulate(0, ipv6_get_dsfield(ip6));
	return 0;
}

/**
 * l2wg_ecn_decap() - bring the outer packet's congestion mark in
 * @skb:	received frame, with its network header set, behind its Ethernet
 *		header
 * @ds:		DS field of the outer packet
 *
 * RFC 6040: an outer "congestion experienced" must reach the inner packet.
 *
 * Context: NAPI poll.
 */
void l2wg_ecn_decap(struct sk_buff *skb, u8 ds)
{
	if (skb->protocol == htons(ETH_P_IP) &&
	    pskb_may_pull(skb, sizeof(struct iphdr)))
		INET_ECN_decapsulate(skb, ds, ip_hdr(skb)->tos);
	else if (skb->protocol == htons(ETH_P_IPV6) &&
		 pskb_may_pull(skb, sizeof(struct ipv6hdr)))
		INET_ECN_decapsulate(skb, ds, ipv6_get_dsfield(ipv6_hdr(skb)));
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses that a frame claims for its sender: as IP source, in ARP and RARP
 * (RFC 826, RFC 903, RFC 5227), and in neighbour discovery (RFC 4861).
 *
 * On a switch AllowedIPs do not route, they bind: an address in the AllowedIPs of
 * a peer is that peer's alone, in the VLAN of its PVID. What is in nobody's is
 * free. A prefix without bits binds nothing, so that the 0.0.0.0/0 of a wire's
 * file locks nobody out, nor does the whole of fe80::/10, which everybody has.
 */

#include "l2wg_switch.h"

#include <linux/if_arp.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/ndisc.h>

enum {
	MAX_EXTENSIONS = 8,	/* headers between IPv6 and what it carries */
	MAX_OPTIONS = 16,	/* of neighbour discovery */
	LINK_LOCAL_BITS = 10,
};

/* The node of the driver's trie keeps an address in the machine's byte order, in
 * words of 4 or twice 8 bytes.
 */
static bool l2wg_node_holds(const struct allowedips_node *node, const u8 *ip, u8 bits)
{
	const u64 *a = (const u64 *)ip, *b = (const u64 *)node->bits;

	if (!node->cidr)
		return true;
	if (bits == 32)
		return !((*(const u32 *)ip ^ *(const u32 *)node->bits) >> (32 - node->cidr));
	if (node->cidr <= 64)
		return !((a[0] ^ b[0]) >> (64 - node->cidr));
	return a[0] == b[0] && !((a[1] ^ b[1]) >> (128 - node->cidr));
}

/* The peer of the longest prefix that holds an address and has more than @least
 * bits.
 */
static struct wg_peer *l2wg_owner(struct allowedips_node __rcu *root, const u8 *ip, u8 bits,
				  u8 least)
{
	struct allowedips_node *node = rcu_dereference_bh(root);
	struct wg_peer *peer, *owner = NULL;

	while (node && l2wg_node_holds(node, ip, bits)) {
		peer = rcu_dereference_bh(node->peer);
		if (peer && node->cidr > least)
			owner = peer;
		if (node->cidr == bits)
			break;
		node = rcu_dereference_bh(node->bit[(ip[node->bit_at_a] >> node->bit_at_b) & 1]);
	}
	return owner;
}

/* Is an address bound to another one than this member, in this VLAN? */
static bool l2wg_is_others(struct l2wg_switch *sw, const struct l2wg_member *m, u16 vid,
			   int family, const void *addr)
{
	const struct allowedips *table = &sw->wg->peer_allowedips;
	u8 ip[16] __aligned(__alignof__(u64));
	const struct l2wg_member *owner;
	const struct wg_peer *peer;
	bool link_local;

	if (family == AF_INET) {
		__be32 ip4 = get_unaligned((const __be32 *)addr);

		if (!ip4 || ipv4_is_multicast(ip4) || ipv4_is_lbcast(ip4))
			return false;
		*(u32 *)ip = ntohl(ip4);
		peer = l2wg_owner(table->root4, ip, 32, 0);
	} else {
		struct in6_addr ip6;

		memcpy(&ip6, addr, sizeof(ip6));
		if (ipv6_addr_any(&ip6) || ipv6_addr_is_multicast(&ip6))
			return false;
		link_local = ipv6_addr_type(&ip6) & IPV6_ADDR_LINKLOCAL;
		((u64 *)ip)[0] = get_unaligned_be64(&ip6.s6_addr[0]);
		((u64 *)ip)[1] = get_unaligned_be64(&ip6.s6_addr[8]);
		peer = l2wg_owner(table->root6, ip, 128, link_local ? LINK_LOCAL_BITS : 0);
	}
	if (l2wg_is_host_addr(sw, family, addr))
		return true;
	owner = peer ? l2wg_member_of(peer) : NULL;
	return owner && owner != m && READ_ONCE(owner->pvid) == vid;
}

/* A hardware address in ARP or ND is as good as a source address. */
static bool l2wg_mac_is_others(struct l2wg_switch *sw, const struct l2wg_member *m, u16 vid,
			       const u8 *mac)
{
	if (!is_valid_ether_addr(mac))
		return false;
	return l2wg_is_host_mac(sw, mac) ||
	       l2wg_bound_check(sw, m, l2wg_key(vid, mac)) == L2WG_OTHERS;
}

/* ARP and RARP for IPv4 on Ethernet */
struct l2wg_arp {
	struct arphdr hdr;
	u8 sender_mac[ETH_ALEN];
	u8 sender_ip[4];
	u8 target_mac[ETH_ALEN];
	u8 target_ip[4];
} __packed __aligned(2);

static enum l2wg_switch_counter l2wg_arp_claims(struct l2wg_switch *sw,
						const struct l2wg_member *m,
						const struct sk_buff *skb, u16 vid,
						unsigned int at)
{
	const struct l2wg_arp *arp;
	struct l2wg_arp buf;
	const u8 *claimed;

	arp = skb_header_pointer(skb, at, sizeof(buf), &buf);
	if (!arp || arp->hdr.ar_pro != htons(ETH_P_IP) || arp->hdr.ar_hln != ETH_ALEN ||
	    arp->hdr.ar_pln != sizeof(arp->sender_ip))
		return 0;
	if (l2wg_mac_is_others(sw, m, vid, arp->sender_mac))
		return L2WG_COUNTER_RX_MAC_BOUND;
	/* RFC 5227: a probe asks for what its sender is about to take. */
	if (memchr_inv(arp->sender_ip, 0, sizeof(arp->sender_ip)))
		claimed = arp->sender_ip;
	else if (arp->hdr.ar_op == htons(ARPOP_REQUEST))
		claimed = arp->target_ip;
	else
		return 0;
	return l2wg_is_others(sw, m, vid, AF_INET, claimed) ? L2WG_COUNTER_RX_IP_BOUND : 0;
}

/* Link-layer addresses in the options of neighbour discovery */
static bool l2wg_options_are_others(struct l2wg_switch *sw, const struct l2wg_member *m,
				    const struct sk_buff *skb, u16 vid, unsigned int at)
{
	struct {
		u8 type;
		u8 length;	/* in 8 bytes */
		u8 mac[ETH_ALEN];
	} __aligned(2) buf;
	const typeof(buf) *option;
	unsigned int i;

	for (i = 0; i < MAX_OPTIONS; ++i) {
		option = skb_header_pointer(skb, at, sizeof(buf), &buf);
		/* RFC 4861 4.6: a message with length 0 is thrown away. */
		if (!option || !option->length)
			return false;
		if ((option->type == ND_OPT_SOURCE_LL_ADDR ||
		     option->type == ND_OPT_TARGET_LL_ADDR) &&
		    l2wg_mac_is_others(sw, m, vid, option->mac))
			return true;
		at += option->length * 8;
	}
	/* More than anybody has: who knows what is behind them. */
	return true;
}

static enum l2wg_switch_counter l2wg_nd_claims(struct l2wg_switch *sw,
					       const struct l2wg_member *m,
					       const struct sk_buff *skb, u16 vid,
					       const struct ipv6hdr *ip6,
					       const struct l2wg_inside *inside)
{
	const struct in6_addr *claimed = NULL;
	unsigned int options;
	struct {
		struct icmp6hdr hdr;
		struct in6_addr target;
		struct in6_addr destination;
	} buf;
	const u8 *type;
	u8 byte;

	type = skb_header_pointer(skb, inside->transport, sizeof(byte), &byte);
	if (!type || *type < NDISC_ROUTER_SOLICITATION || *type > NDISC_REDIRECT)
		return 0;
	/* RFC 6980 */
	if (inside->fragment)
		return L2WG_COUNTER_RX_IP_BOUND;

	memset(&buf, 0, sizeof(buf));
	switch (*type) {
	case NDISC_ROUTER_SOLICITATION:
		options = sizeof(struct icmp6hdr);
		break;
	case NDISC_ROUTER_ADVERTISEMENT:
		options = sizeof(struct ra_msg);
		break;
	case NDISC_REDIRECT:
		options = sizeof(buf);
		break;
	default:
		options = offsetof(typeof(buf), destination);
		break;
	}
	if (*type != NDISC_ROUTER_SOLICITATION && *type != NDISC_ROUTER_ADVERTISEMENT &&
	    skb_copy_bits(skb, inside->transport, &buf, options))
		return 0;	/* cut: no message */
	if (*type == NDISC_REDIRECT)
		claimed = &buf.destination;
	else if (*type == NDISC_NEIGHBOUR_ADVERTISEMENT ||
		 (*type == NDISC_NEIGHBOUR_SOLICITATION && ipv6_addr_any(&ip6->saddr)))
		claimed = &buf.target;
	if (claimed && l2wg_is_others(sw, m, vid, AF_INET6, claimed))
		return L2WG_COUNTER_RX_IP_BOUND;
	/* What ND says of addresses holds for a router, too: so its source does. */
	if (l2wg_is_others(sw, m, vid, AF_INET6, &ip6->saddr))
		return L2WG_COUNTER_RX_IP_BOUND;
	if (l2wg_options_are_others(sw, m, skb, vid, inside->transport + options))
		return L2WG_COUNTER_RX_MAC_BOUND;
	return 0;
}

/* Find what an IPv6 packet carries. */
static void l2wg_ipv6_walk(const struct sk_buff *skb, const struct ipv6hdr *ip6,
			   struct l2wg_inside *inside)
{
	unsigned int at = inside->network + sizeof(*ip6), n;
	const struct frag_hdr *fragment;
	const struct ipv6_opt_hdr *opt;
	union {
		struct ipv6_opt_hdr opt;
		struct frag_hdr fragment;
	} buf;
	u8 next = ip6->nexthdr;

	for (n = 0; n < MAX_EXTENSIONS; ++n) {
		switch (next) {
		case NEXTHDR_HOP:
		case NEXTHDR_DEST:
		case NEXTHDR_ROUTING:
		case NEXTHDR_AUTH:
			opt = skb_header_pointer(skb, at, sizeof(buf.opt), &buf);
			if (!opt)
				goto hidden;
			at += next == NEXTHDR_AUTH ? ipv6_authlen(opt) : ipv6_optlen(opt);
			next = opt->nexthdr;
			break;
		case NEXTHDR_FRAGMENT:
			fragment = skb_header_pointer(skb, at, sizeof(buf.fragment), &buf);
			if (!fragment)
				goto hidden;
			inside->fragment = true;
			/* only the first one has more to show */
			if (fragment->frag_off & htons(IP6_OFFSET))
				return;
			at += sizeof(*fragment);
			next = fragment->nexthdr;
			break;
		case NEXTHDR_NONE:
			return;
		default:
			if (at >= skb->len)
				goto hidden;
			inside->transport = at;
			inside->protocol = next;
			return;
		}
	}
hidden:
	inside->hidden = true;
}

static enum l2wg_switch_counter l2wg_ipv6_claims(struct l2wg_switch *sw,
						 const struct l2wg_member *m,
						 const struct sk_buff *skb, u16 vid,
						 struct l2wg_inside *inside)
{
	const struct ipv6hdr *ip6;
	struct ipv6hdr buf;

	ip6 = skb_header_pointer(skb, inside->network, sizeof(buf), &buf);
	if (!ip6)
		return 0;
	l2wg_ipv6_walk(skb, ip6, inside);
	if (!READ_ONCE(m->router) && l2wg_is_others(sw, m, vid, AF_INET6, &ip6->saddr))
		return L2WG_COUNTER_RX_IP_BOUND;
	/* It could be ND. A guard counts a first fragment as its own. */
	if (inside->hidden &&
	    !(inside->fragment && READ_ONCE(m->guards) & (L2WG_GUARD_DHCP | L2WG_GUARD_RA)))
		return L2WG_COUNTER_RX_IP_BOUND;
	if (inside->transport && inside->protocol == NEXTHDR_ICMP)
		return l2wg_nd_claims(sw, m, skb, vid, ip6, inside);
	return 0;
}

static enum l2wg_switch_counter l2wg_ipv4_claims(struct l2wg_switch *sw,
						 const struct l2wg_member *m,
						 const struct sk_buff *skb, u16 vid,
						 struct l2wg_inside *inside)
{
	const struct iphdr *ip4;
	struct iphdr buf;

	ip4 = skb_header_pointer(skb, inside->network, sizeof(buf), &buf);
	if (!ip4)
		return 0;
	inside->fragment = ip_is_fragment(ip4);
	if (!(ip4->frag_off & htons(IP_OFFSET))) {
		inside->transport = inside->network + ip4->ihl * 4;
		inside->protocol = ip4->protocol;
	}
	if (!READ_ONCE(m->router) && l2wg_is_others(sw, m, vid, AF_INET, &ip4->saddr))
		return L2WG_COUNTER_RX_IP_BOUND;
	return 0;
}

/**
 * l2wg_claims() - does a frame claim what is bound to others?
 * @sw:		the switch
 * @m:		who has sent it
 * @skb:	the frame, its MAC header set
 * @info:	about it
 * @inside:	filled for the guards
 *
 * Context: RCU read side, softirqs off.
 * Return: 0, or the counter of what it claims wrongly.
 */
enum l2wg_switch_counter l2wg_claims(struct l2wg_switch *sw, const struct l2wg_member *m,
				     const struct sk_buff *skb,
				     const struct l2wg_frame_info *info,
				     struct l2wg_inside *inside)
{
	memset(inside, 0, sizeof(*inside));
	inside->network = skb_mac_offset(skb) + info->payload;
	switch (info->proto) {
	case htons(ETH_P_IP):
		return l2wg_ipv4_claims(sw, m, skb, info->vid, inside);
	case htons(ETH_P_IPV6):
		return l2wg_ipv6_claims(sw, m, skb, info->vid, inside);
	case htons(ETH_P_ARP):
	case htons(ETH_P_RARP):
		return l2wg_arp_claims(sw, m, skb, info->vid, inside->network);
	default:
		return 0;
	}
}

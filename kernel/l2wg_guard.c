// SPDX-License-Identifier: GPL-2.0
/*
 * What a peer is kept from saying: that it is a DHCP server, a router or a bridge.
 */

#include "l2wg_switch.h"

#include <linux/udp.h>
#include <net/ndisc.h>

enum {
	DHCP_CLIENT = 68,	/* RFC 2131 4.1 */
	DHCPV6_CLIENT = 546,	/* RFC 8415 7.2 */
};

/* Answers of a server, or of a relay agent */
static bool l2wg_is_dhcp_answer(const struct sk_buff *skb, const struct l2wg_frame_info *info,
				const struct l2wg_inside *inside)
{
	const struct udphdr *udp;
	struct udphdr buf;

	/* RFC 7610: a first fragment must show what it carries. */
	if (inside->hidden)
		return true;
	if (!inside->transport || inside->protocol != IPPROTO_UDP)
		return false;
	udp = skb_header_pointer(skb, inside->transport, sizeof(buf), &buf);
	if (!udp)
		return true;	/* cut off, so that nobody sees it here */
	return udp->dest == htons(info->proto == htons(ETH_P_IP) ? DHCP_CLIENT : DHCPV6_CLIENT);
}

/* RFC 6105, and RFC 7113: what hides behind a fragment is not to be trusted. */
static bool l2wg_is_router(const struct sk_buff *skb, const struct l2wg_frame_info *info,
			   const struct l2wg_inside *inside)
{
	const u8 *type;
	u8 byte;

	if (info->proto != htons(ETH_P_IPV6))
		return false;
	if (inside->hidden)
		return true;
	if (!inside->transport || inside->protocol != NEXTHDR_ICMP)
		return false;
	type = skb_header_pointer(skb, inside->transport, sizeof(byte), &byte);
	return type && (*type == NDISC_ROUTER_ADVERTISEMENT || *type == NDISC_REDIRECT);
}

/* IEEE 802.1Q 8.6.3: customer and provider bridges; Cisco's PVST+ */
static bool l2wg_is_bpdu(const u8 *dest)
{
	static const u8 pvst[ETH_ALEN] __aligned(2) = { 0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd };

	if (is_link_local_ether_addr(dest))
		return dest[5] == 0x00 || dest[5] == 0x08;
	return ether_addr_equal(dest, pvst);
}

/**
 * l2wg_guard_objects() - is a frame one that a guard keeps its sender from?
 * @m:		the sender
 * @skb:	the frame, its MAC header set
 * @info:	about it
 * @inside:	from l2wg_claims()
 *
 * Context: Any.
 */
bool l2wg_guard_objects(const struct l2wg_member *m, const struct sk_buff *skb,
			const struct l2wg_frame_info *info, const struct l2wg_inside *inside)
{
	u32 guards = READ_ONCE(m->guards);

	if (likely(!guards))
		return false;
	if ((guards & L2WG_GUARD_STP) && l2wg_is_bpdu(eth_hdr(skb)->h_dest))
		return true;
	if ((guards & L2WG_GUARD_DHCP) && l2wg_is_dhcp_answer(skb, info, inside))
		return true;
	return (guards & L2WG_GUARD_RA) && l2wg_is_router(skb, info, inside);
}

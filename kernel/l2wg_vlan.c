// SPDX-License-Identifier: GPL-2.0
/*
 * The VLAN of a frame, and its tag (IEEE 802.1Q).
 *
 * Inside the switch a frame keeps the form in which it came: with the tag of its
 * VLAN, or without one in its sender's PVID. Each receiver gets the form that it
 * wants. VLAN 0 is what has no tag, or one with VID 0, from a peer without PVID;
 * such frames are carried as they are.
 */

#include "l2wg_switch.h"

/* Tags of a frame, and SNAP headers, that are stepped over */
enum { MAX_TAGS = 8 };

/* LLC and SNAP (RFC 1042, IEEE 802.1H), and then an EtherType */
struct l2wg_snap {
	u8 llc[3];
	u8 oui[3];
	__be16 proto;
};

/* IP in SNAP is IP to some hosts, and to any that a Wi-Fi access point has it
 * from: it drops the length that stands in the place of the EtherType, whatever
 * that says (CVE-2021-27853, CVE-2021-27854, CVE-2021-27861, CVE-2021-27862).
 */
static bool l2wg_read_snap(const struct sk_buff *skb, unsigned int at, __be16 *proto)
{
	static const u8 llc[] = { 0xaa, 0xaa, 0x03 };
	const struct l2wg_snap *snap;
	struct l2wg_snap buf;

	snap = skb_header_pointer(skb, skb_mac_offset(skb) + at, sizeof(buf), &buf);
	if (!snap || memcmp(snap->llc, llc, sizeof(llc)) || snap->oui[0] || snap->oui[1] ||
	    (snap->oui[2] && snap->oui[2] != 0xf8))
		return false;
	*proto = snap->proto;
	return true;
}

/**
 * l2wg_vlan_read() - addresses and VLAN of a frame
 * @skb:	frame with its MAC header set
 * @pvid:	VLAN of an untagged frame
 * @info:	filled
 *
 * Steps over tags with VID 0, which only have a priority, and over SNAP: so do
 * hosts. A tag that names a VLAN behind one of these hides from whoever looks at
 * the first tag, and so do more tags than anybody has a use for.
 *
 * Context: Any.
 */
void l2wg_vlan_read(const struct sk_buff *skb, u16 pvid, struct l2wg_frame_info *info)
{
	const struct ethhdr *eth = eth_hdr(skb);
	unsigned int at = ETH_HLEN, tags = 0;
	__be16 proto = eth->h_proto;
	const struct vlan_hdr *tag;
	struct vlan_hdr buf;
	u16 this, vid = 0;

	info->tagged = false;
	info->hidden = false;
	while (unlikely(eth_type_vlan(proto) || !eth_proto_is_802_3(proto))) {
		if (!eth_type_vlan(proto)) {
			if (!l2wg_read_snap(skb, at, &proto))
				break;
			at += sizeof(struct l2wg_snap);
			goto next;
		}
		tag = skb_header_pointer(skb, skb_mac_offset(skb) + at, sizeof(buf), &buf);
		if (!tag)
			break;
		this = ntohs(tag->h_vlan_TCI) & VLAN_VID_MASK;
		if (this) {
			/* somebody's own VLAN, inside of ours */
			if (vid || proto != htons(ETH_P_8021Q))
				break;
			vid = this;
			info->tagged = at == ETH_HLEN;
			info->hidden |= at != ETH_HLEN;
		}
		proto = tag->h_vlan_encapsulated_proto;
		at += VLAN_HLEN;
next:
		if (++tags > MAX_TAGS) {
			info->hidden = true;
			break;
		}
	}
	info->proto = proto;
	info->payload = at;
	info->vid = vid ?: pvid;
	info->src = l2wg_key(info->vid, eth->h_source);
	info->dst = l2wg_key(info->vid, eth->h_dest);
}

/**
 * l2wg_vlan_settle() - give a tag with VID 0 the number of its VLAN
 * @skb:	frame from a peer, skb->data behind the Ethernet header
 * @info:	from l2wg_vlan_read(); a frame that had such a tag is tagged now
 *
 * The priority in the tag is kept.
 *
 * Context: Any; @skb is not shared.
 * Return: false if there is no memory.
 */
bool l2wg_vlan_settle(struct sk_buff *skb, struct l2wg_frame_info *info)
{
	__be16 *tci;

	if (likely(info->tagged || !info->vid || eth_hdr(skb)->h_proto != htons(ETH_P_8021Q)))
		return true;
	if (unlikely(!pskb_may_pull(skb, VLAN_HLEN)))
		return true;
	if (unlikely(skb_ensure_writable(skb, VLAN_HLEN)))
		return false;
	tci = (__be16 *)skb->data;
	*tci |= htons(info->vid);
	info->tagged = true;
	return true;
}

/**
 * l2wg_vlan_push() - put a tag into a frame
 * @skb:	frame from its Ethernet header on; not shared, may be a clone
 * @vid:	its VLAN, not 0
 *
 * Context: Any.
 * Return: false if there is no memory.
 */
bool l2wg_vlan_push(struct sk_buff *skb, u16 vid)
{
	skb_reset_mac_header(skb);
	if (unlikely(__vlan_insert_tag(skb, htons(ETH_P_8021Q), vid)))
		return false;
	skb->protocol = htons(ETH_P_8021Q);
	if (skb_network_offset(skb) < ETH_HLEN)
		skb_set_network_header(skb, ETH_HLEN);
	return true;
}

/**
 * l2wg_vlan_pop() - take the outermost tag off a frame
 * @skb:	frame from its Ethernet header on; not shared, may be a clone
 *
 * Context: Any.
 * Return: false if there is no memory.
 */
bool l2wg_vlan_pop(struct sk_buff *skb)
{
	u16 tci;

	skb_reset_mac_header(skb);
	return likely(!__skb_vlan_pop(skb, &tci));
}

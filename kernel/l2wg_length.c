// SPDX-License-Identifier: GPL-2.0
/*
 * What the length of a frame means for its buffer: how much padding it gets,
 * and where it ends again.
 */

#include "l2wg_priv.h"

/* Ask for the frame's length, pulling what the function needs to see. That is
 * rare: only in a reassembled packet can a header be outside the linear part.
 * Verdict L2WG_SHORT means that there was no memory.
 */
static struct l2wg_frame l2wg_parse(struct sk_buff *skb, u32 table)
{
	/* One pull for many small steps (LLDP), so that a peer cannot make
	 * us start over for every other byte.
	 */
	const unsigned int stride = 256;
	struct l2wg_frame frame;

	for (;;) {
		frame = l2wg_frame_parse(skb->data, skb_headlen(skb), skb->len,
					 table);
		if (likely(frame.verdict != L2WG_SHORT))
			return frame;
		if (unlikely(!pskb_may_pull(skb, min(frame.len + stride,
						     skb->len))))
			return frame;
	}
}

static bool l2wg_is_zero_from(const struct sk_buff *skb, unsigned int offset)
{
	u8 buf[64];

	while (offset < skb->len) {
		unsigned int n = min_t(unsigned int, skb->len - offset,
				       sizeof(buf));
		const u8 *p = skb_header_pointer(skb, offset, n, buf);

		if (!p || memchr_inv(p, 0, n))
			return false;
		offset += n;
	}
	return true;
}

/**
 * l2wg_padding() - how much padding a frame may get
 * @skb:	frame, or an empty keepalive, before encryption
 * @mtu:	MTU for @skb's destination, or 0 when there is none
 *
 * Pads to a multiple of 16, as WireGuard does to hide lengths, but only what
 * the receiver, which asks the same function, can unpad; and never beyond
 * what fits the MTU, so that padding cannot make the outer packet fragment.
 * Tags count: a tagged frame that is over the limit already gets none. Zeros
 * that are the frame's own must be told from padding, whatever that takes.
 *
 * Context: Softirq or process; @skb is not shared. May reallocate its head.
 * Return: bytes to add, 0 to 15.
 */
unsigned int l2wg_padding(struct sk_buff *skb, u32 mtu)
{
	unsigned int limit = READ_ONCE(skb->dev->mtu);
	struct l2wg_frame frame;

	if (unlikely(!skb->len))
		return 0;
	frame = l2wg_parse(skb, L2WG_FRAME_PADS);
	switch (frame.verdict) {
	case L2WG_LENGTH:
		break;
	case L2WG_OPAQUE:
		l2wg_count(skb->dev, L2WG_TX_OPAQUE);
		return 0;
	case L2WG_MALFORMED:
		l2wg_count(skb->dev, L2WG_TX_MALFORMED);
		return 0;
	default:
		return 0;
	}
	if (unlikely(frame.len != skb->len)) {
		l2wg_count(skb->dev, L2WG_TX_TRAILER);
		if (!l2wg_is_zero_from(skb, frame.len))
			return 0;
		return l2wg_frame_pad(skb->data, frame.len, skb->len) - skb->len;
	}

	if (mtu && mtu < limit)
		limit = mtu;
	limit += ETH_HLEN;
	if (unlikely(skb->len >= limit))
		return 0;
	return min_t(unsigned int, limit,
		     l2wg_frame_pad(skb->data, frame.len, skb->len)) - skb->len;
}

/**
 * l2wg_unpad() - find a received frame's end and cut off what is behind it
 * @skb:	plaintext at skb->data, not empty
 * @dev:	the link that it came by
 *
 * The length comes from the frame's own headers. Zeros behind it are padding
 * (the sender's, or a NIC's that made a frame 60 bytes long) and are cut; those
 * that are more than padding stay. If anything else is there it is a trailer:
 * the sender has not padded such a frame, and it stays whole. Opaque frames,
 * trailers and malformed frames are counted in our own counters.
 *
 * Context: NAPI poll.
 * Return: what the headers say; %L2WG_SHORT if there is no memory.
 */
struct l2wg_frame l2wg_unpad(struct sk_buff *skb, const struct net_device *dev)
{
	struct l2wg_frame frame = l2wg_parse(skb, L2WG_FRAME_UNPADS);
	unsigned int len;

	switch (frame.verdict) {
	case L2WG_LENGTH:
		if (likely(frame.len == skb->len))
			break;
		if (unlikely(!l2wg_is_zero_from(skb, frame.len))) {
			l2wg_count(dev, L2WG_RX_TRAILER);
			break;
		}
		len = l2wg_frame_unpad(skb->data, frame.len, skb->len);
		if (unlikely(len != frame.len))
			l2wg_count(dev, L2WG_RX_TRAILER);
		if (unlikely(pskb_trim(skb, len)))
			frame.verdict = L2WG_SHORT;
		break;
	case L2WG_OPAQUE:
		l2wg_count(dev, L2WG_RX_OPAQUE);
		break;
	case L2WG_MALFORMED:
		l2wg_count(dev, L2WG_RX_MALFORMED);
		break;
	default:
		break;
	}
	return frame;
}

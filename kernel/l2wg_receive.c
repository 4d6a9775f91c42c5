// SPDX-License-Identifier: GPL-2.0
/*
 * A decrypted plaintext becomes a frame for the stack.
 */

#include "l2wg_priv.h"
#include "l2wg_compat.h"

#include "peer.h"
#include "queueing.h"

#include <linux/etherdevice.h>

/* The Poly1305 tag says that the frame is what the peer sent, not that the peer's
 * LAN sent it right. Believed, wrong checksums go as far as GRO, which merges
 * segments without a look; where these leave again, they get new, right ones.
 * So we believe only where frames end. That they do not, the core tells by turning
 * LRO off: it does so for a bridge, for IP forwarding, Open vSwitch and XDP, through
 * VLAN devices and bonds, too. A device on top that takes frames away before IP
 * sees them (macvlan) is asked for.
 */
static bool l2wg_trusts_checksums(const struct net_device *dev)
{
	const netdev_features_t both = NETIF_F_RXCSUM | NETIF_F_LRO;

	return (dev->features & both) == both &&
	       !rcu_access_pointer(dev->rx_handler);
}

/**
 * l2wg_receive() - turn a decrypted plaintext into a frame for the stack
 * @skb:	plaintext at skb->data, not empty
 * @peer:	who sent it; the caller holds a reference
 *
 * A frame whose headers contradict it is counted, as is one for which there is
 * no memory, and one that would lead the outer packets into the tunnel. On
 * success padding is cut off, the MAC and network headers, dev, protocol and
 * packet type are set, and skb->data is behind the Ethernet header.
 *
 * Context: NAPI poll of @peer.
 * Return: false if the frame is to be dropped; it has been counted.
 */
bool l2wg_receive(struct sk_buff *skb, struct wg_peer *peer)
{
	struct net_device *dev = peer->device->dev;
	struct l2wg_frame frame = l2wg_unpad(skb, dev);

	if (unlikely(frame.verdict == L2WG_MALFORMED))
		goto malformed;
	if (unlikely(frame.verdict == L2WG_SHORT ||
		     !pskb_may_pull(skb, ETH_HLEN)))
		goto no_memory;

	if (l2wg_trusts_checksums(dev)) {
		skb->ip_summed = CHECKSUM_UNNECESSARY;
		skb->csum_level = ~0;
	}
	skb->protocol = eth_type_trans(skb, dev);
	skb_reset_network_header(skb);
	if (unlikely(l2wg_claims_hop(skb, peer))) {
		l2wg_count(dev, L2WG_RX_OUTER_LOOP);
		DEV_STATS_INC(dev, rx_dropped);
		return false;
	}
	l2wg_ecn_decap(skb, PACKET_CB(skb)->ds);
	return true;

malformed:
	net_dbg_ratelimited("%s: Malformed frame of %u bytes from peer %llu (%pISpfsc)\n",
			    dev->name, skb->len, peer->internal_id,
			    &peer->endpoint.addr);
	DEV_STATS_INC(dev, rx_errors);
	/* A length that the frame does not have, or a header that is wrong */
	if (frame.len > skb->len || skb->len < ETH_HLEN)
		DEV_STATS_INC(dev, rx_length_errors);
	else
		DEV_STATS_INC(dev, rx_frame_errors);
	return false;

no_memory:
	DEV_STATS_INC(dev, rx_dropped);
	return false;
}

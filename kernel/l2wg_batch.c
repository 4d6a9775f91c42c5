// SPDX-License-Identifier: GPL-2.0
/*
 * Sending in batches: encrypted messages of one flow go through the stack as one
 * buffer, and become datagrams again at the device.
 *
 * A large write of TCP reaches wg_xmit() as one buffer and is cut into some 45
 * frames, each of which is a message. The driver has them together until they
 * are encrypted, and then routes, filters and queues each alone. Here they stay
 * together: as a buffer of UDP segmentation offload, what a program makes that
 * sends with UDP_SEGMENT (udp(7)), with a message in its head and the others in
 * its frag_list, as GRO leaves them. All that handles such buffers anyway does
 * the rest: a device that can takes the buffer whole; for any other, and for
 * IPsec, fragments and tunnels, skb_segment() makes the datagrams, without
 * copying, each with the head's addresses as they are by then, its own length,
 * IP identification and checksum.
 *
 * SKB_GSO_FRAGLIST, where each message brings headers of its own, would save
 * skb_segment() some hundred instructions a message, and is not taken: what a
 * firewall or a qdisc writes into the head's IP header (a DSCP, a congestion
 * mark) would be in the first datagram alone, as would be, before 2024, an IPv6
 * address that NAT has changed; a tunnel's header would be copied in front of a
 * message without asking whether there is room; and no device's checksum unit
 * could be used.
 */

#include "l2wg_batch.h"
#include "l2wg_dev.h"

#include "device.h"
#include "messages.h"
#include "peer.h"
#include "queueing.h"
#include "socket.h"

#include <linux/skbuff.h>
#include <linux/udp.h>
#include <net/dst_cache.h>
#include <net/ip_tunnels.h>
#include <net/sock.h>

/* Datagrams in a buffer: what UDP_SEGMENT allows at least. */
#define L2WG_BATCH_MOST 64
/* Below that little is gained. A TCP whose rate is low has two segments in a
 * buffer, and its messages go as they always went.
 */
#define L2WG_BATCH_LEAST 4
/* Of frames that come from elsewhere (a bridge, a router, a virtual machine): a
 * queue below counts a buffer as one packet, which others wait for. 16 of 1,452
 * bytes take 19 ms at 10 Mbit/s. The programs of this machine do it themselves:
 * TCP makes its buffers no larger than its rate allows.
 */
#define L2WG_BATCH_FORWARDED 16
/* Bytes of all messages: with all headers, VLAN tags included, less than 65,536,
 * the smallest gso_max_size that is usual.
 */
#define L2WG_BATCH_BYTES (65536 - 40 - 8 - 128)
/* More headroom than this would put the offset that count_once() sets beyond
 * the 16 bits that it has.
 */
#define L2WG_BATCH_HEADROOM 512

enum { BATCH_OFF, BATCH_ETHERNET, BATCH_ALL };

static const char * const batch_names[] = {
	[BATCH_OFF]		= "off",
	[BATCH_ETHERNET]	= "ethernet",
	[BATCH_ALL]		= "all",
};

static int batch = BATCH_ETHERNET;

static int batch_set(const char *value, const struct kernel_param *kp)
{
	int chosen = sysfs_match_string(batch_names, value);

	if (chosen < 0)
		return chosen;
	WRITE_ONCE(batch, chosen);
	return 0;
}

static int batch_get(char *buffer, const struct kernel_param *kp)
{
	return scnprintf(buffer, PAGE_SIZE, "%s\n",
			 batch_names[READ_ONCE(batch)]);
}

static const struct kernel_param_ops batch_ops = {
	.set = batch_set,
	.get = batch_get,
};

module_param_cb(batch, &batch_ops, NULL, 0644);
__MODULE_PARM_TYPE(batch, "string");
MODULE_PARM_DESC(batch, "Handle the messages of one flow together on which links: ethernet, all or off (default ethernet)");

/**
 * l2wg_batches() - does this link send and receive in batches?
 * @dev:	a link of either kind
 *
 * Context: Any.
 */
bool l2wg_batches(const struct net_device *dev)
{
	int mode = READ_ONCE(batch);

	return mode == BATCH_ALL ||
	       (mode == BATCH_ETHERNET && l2wg_is_ether(dev));
}

/* Can @skb go into the buffer that @first begins? One flow in a buffer, because
 * a queue below (fq_codel) keeps flows apart by the hash that they brought.
 */
static bool fits(const struct sk_buff *skb, const struct sk_buff *first)
{
	return skb->len <= first->len && skb->len > message_data_len(0) &&
	       skb->hash == first->hash &&
	       PACKET_CB(skb)->ds == PACKET_CB(first)->ds &&
	       !skb_is_nonlinear(skb) && !skb_cloned(skb) && !skb_shared(skb);
}

/* Has a program of this machine written it, in whatever namespace? A tap's or a
 * packet socket's frames come from somewhere else.
 */
static bool is_local(const struct sk_buff *skb)
{
	return skb->sk && (skb->sk->sk_family == AF_INET ||
			   skb->sk->sk_family == AF_INET6);
}

/* How many messages, from @first on, can be one buffer? */
static unsigned int count_fitting(const struct sk_buff *first)
{
	unsigned int most = is_local(first) ? L2WG_BATCH_MOST :
					      L2WG_BATCH_FORWARDED;
	unsigned int n = 0, bytes = 0;
	const struct sk_buff *skb;

	if (skb_headroom(first) > L2WG_BATCH_HEADROOM)
		return 1;
	for (skb = first; skb && n < most; skb = skb->next) {
		bytes += skb->len;
		if (!fits(skb, first) || bytes > L2WG_BATCH_BYTES)
			break;
		++n;
		/* Only the last one may be shorter. */
		if (skb->len < first->len)
			break;
	}
	return n;
}

/* A buffer with a copy of @first in it.
 *
 * It is nobody's: the messages behind @first keep their owners, which get back
 * what these have cost of their share of memory when they are freed, and not
 * before. The sending socket is noted all the same, because firewalls (meta
 * skuid) and qdiscs (fq) ask for it.
 */
static struct sk_buff *new_buffer(const struct sk_buff *first)
{
	unsigned int headroom = skb_headroom(first);
	struct sk_buff *buffer;

	buffer = alloc_skb(headroom + first->len, GFP_ATOMIC | __GFP_NOWARN);
	if (unlikely(!buffer))
		return NULL;
	/* No more than the others have: skb_segment() wants as much of each,
	 * and would copy one that has less.
	 */
	skb_reserve(buffer, headroom);
	skb_put_data(buffer, first->data, first->len);
	skb_copy_hash(buffer, first);
	if (first->sk && sk_fullsock(first->sk) &&
	    refcount_inc_not_zero(&first->sk->sk_refcnt)) {
		buffer->sk = first->sk;
		buffer->destructor = sock_efree;
	}
	return buffer;
}

/* Have iptunnel_xmit() count the buffer as its first message alone: it counts
 * what is behind the inner network header.
 */
static void count_once(struct sk_buff *buffer, unsigned int first_len)
{
	skb_set_inner_network_header(buffer, buffer->len - first_len);
}

/* Make one buffer of the @n messages from @first on, which are then gone.
 * Returns NULL, and has changed nothing, if there is no memory.
 */
static struct sk_buff *gather(struct sk_buff *first, unsigned int n)
{
	struct sk_buff *buffer = new_buffer(first), *skb, *last = NULL;

	if (unlikely(!buffer))
		return NULL;
	skb_shinfo(buffer)->frag_list = first->next;
	for (skb = first->next; --n; skb = skb->next) {
		/* A clone may write its headers in front of the data. */
		__skb_header_release(skb);
		buffer->len += skb->len;
		buffer->data_len += skb->len;
		buffer->truesize += skb->truesize;
		++skb_shinfo(buffer)->gso_segs;
		last = skb;
	}
	last->next = NULL;
	++skb_shinfo(buffer)->gso_segs;
	skb_shinfo(buffer)->gso_size = first->len;
	/* "Dodgy" has skb_segment() look whether each message is still where a
	 * datagram begins, and copy if not. Something on the way may have
	 * pulled more of it into the head (tc-bpf, bpf_skb_pull_data()), and
	 * skb_segment() would not survive to be surprised by that.
	 */
	skb_shinfo(buffer)->gso_type = SKB_GSO_UDP_L4 | SKB_GSO_DODGY;
	/* Of a buffer the UDP tunnels set the pseudo header's sum alone. */
	buffer->ip_summed = CHECKSUM_PARTIAL;
	buffer->csum_start = skb_headroom(buffer) - sizeof(struct udphdr);
	buffer->csum_offset = offsetof(struct udphdr, check);
	count_once(buffer, first->len);
	skb_mark_not_on_list(first);
	consume_skb(first);
	return buffer;
}

/* Would skb_segment() survive what the way to @peer makes of a buffer?
 *
 * For a device with GSO_PARTIAL and FRAGLIST, which is to say a bridge, it takes
 * a "dodgy" buffer for one that may stay in pieces of several messages, and ends
 * in BUG_ON(!list_skb->head_frag); seen on 5.10. The device is known once a
 * packet has been sent. Before, the answer is no.
 *
 * Context: bottom halves disabled, until the buffer has been sent.
 */
static bool way_takes_buffers(struct wg_peer *peer)
{
	const netdev_features_t both = NETIF_F_GSO_PARTIAL | NETIF_F_FRAGLIST;
	struct dst_entry *dst = dst_cache_get(&peer->endpoint_cache);
	bool takes;

	if (!dst)
		return false;
	takes = (dst->dev->features & both) != both;
	dst_release(dst);
	return takes;
}

/* Send a buffer, and count on @dev what it holds besides the first message.
 *
 * Context: bottom halves disabled, for the statistics.
 */
static int send_buffer(struct wg_peer *peer, struct sk_buff *buffer, u8 ds)
{
	unsigned int size = skb_shinfo(buffer)->gso_size;
	unsigned int more = skb_shinfo(buffer)->gso_segs - 1;
	unsigned int rest = buffer->len - size;
	struct net_device *dev = peer->device->dev;
	struct pcpu_sw_netstats *stats;
	typeof(stats->tx_packets) before;
	int ret, lost;

	/* Since the first look a route may have changed. */
	if (unlikely(!way_takes_buffers(peer))) {
		kfree_skb(buffer);
		return -EHOSTUNREACH;
	}
	stats = this_cpu_ptr(dev->tstats);
	before = stats->tx_packets;
	/* As iptunnel_xmit() and ip6tunnel_xmit() count it */
	lost = READ_ONCE(peer->endpoint.addr.sa_family) == AF_INET6 ? -1 : 0;
	ret = wg_socket_send_skb_to_peer(peer, buffer, ds);
	if (unlikely(ret))
		return ret;
	if (unlikely(!memcmp(&before, &stats->tx_packets, sizeof(before)))) {
		while (more--)
			iptunnel_xmit_stats(dev, lost);
		return 0;
	}
	for (; more--; rest -= size)
		iptunnel_xmit_stats(dev, min(rest, size));
	return 0;
}

/**
 * l2wg_send_data() - send a message, and those behind it that can go with it
 * @peer:	whose they are; the caller holds a reference
 * @skb:	encrypted message, the head of what is left of the list
 * @next:	what follows @skb in the list; set to what has not been sent
 * @ds:		DS field of the outer packet
 *
 * Messages of one flow and of one length, the last of which may be shorter, go
 * as one buffer. They leave in the order of the list, and the peer's endpoint is
 * read once for all of them. What cannot be gathered is sent as the driver does
 * it: one that is not in one piece, or a clone, or if there is no memory, or if
 * the way to the peer is none for a buffer.
 *
 * Context: Process context of the peer's transmit worker. Consumes @skb and, of
 * those behind it, what it sends.
 * Return: what wg_socket_send_skb_to_peer() says: 0, or a negative errno if the
 * message, or the buffer, has no way to the peer.
 */
int l2wg_send_data(struct wg_peer *peer, struct sk_buff *skb,
		   struct sk_buff **next, u8 ds)
{
	struct sk_buff *buffer = NULL, *behind = *next;
	unsigned int n, i;
	int ret = 0;

	/* Nearly always it is alone. */
	if (!behind || !l2wg_batches(peer->device->dev))
		return wg_socket_send_skb_to_peer(peer, skb, ds);
	/* What is sent is sent here and counted at once, by this processor. And
	 * until then the peer stays where it is: a handshake or a packet of its
	 * own may give it another endpoint, and so another way. Sending takes the
	 * lock once more, which a reader may, with bottom halves disabled.
	 */
	local_bh_disable();
	read_lock(&peer->endpoint_lock);
	n = way_takes_buffers(peer) ? count_fitting(skb) : 1;
	if (n >= L2WG_BATCH_LEAST) {
		for (i = 1; i < n; ++i)
			behind = behind->next;
		buffer = gather(skb, n);
	}
	if (buffer) {
		*next = behind;
		ret = send_buffer(peer, buffer, ds);
	}
	read_unlock(&peer->endpoint_lock);
	local_bh_enable();
	return buffer ? ret : wg_socket_send_skb_to_peer(peer, skb, ds);
}

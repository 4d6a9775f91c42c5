// SPDX-License-Identifier: GPL-2.0
/*
 * From the switch into the peers' queues: one frame for one peer, and copies of
 * one frame for many.
 *
 * A flood must not harm others. Copies cost their source tokens. The first few
 * are made in place, and the rest by a worker that leaves half of the driver's
 * ring to everybody else. A copy for a peer without a session waits for one, and
 * starts at most one initiation of a handshake, as the link's budget allows.
 */

#include "l2wg_switch.h"
#include "l2wg_compat.h"

#include "queueing.h"
#include "timers.h"

#include <linux/jhash.h>
#include <net/dst_metadata.h>

enum {
	IN_PLACE = 32,		/* copies */
	BATCH = 64,		/* copies of the worker */
	FLOODS = 64,		/* that wait for the worker */
	WAITING = 8,		/* frames for a peer without a session */
	COPIES = 20000,		/* per second and source */
	SMALL_COPIES = 5000,	/* of ARP and ND beyond that */
	SMALL = 128,		/* bytes */
	LOOKS = 32,		/* members looked at for the price of a copy */
	FRAMES = 2048,		/* that a buffer may stand for; of TCP at most 1,365 */
	DEBT = 60,		/* s that the largest flood costs its source */
	FIRST_TRIES = 500,	/* initiations per second, for new reasons */
	TRY_INTERVAL = HZ / 20,	/* of others */
	TRY_STEPS = 64,		/* peers looked at for each */
};

/* The forms of a flooded frame; see l2wg_vlan.c */
enum l2wg_form { FORM_AS_IT_IS, FORM_OTHER, FORMS };

struct l2wg_flood {
	struct list_head list;
	struct sk_buff_head packets[FORMS];
	struct l2wg_frame_info info;
	struct l2wg_switch *sw;
	const struct l2wg_member *from;	/* names the source; not to be followed */
	u64 from_id;
	u64 last_id;			/* members up to this one have their copy */
	bool local;
	bool relay;
	bool isolated;
};

/* What a staged packet is known by, behind the driver's own */
struct l2wg_cb {
	struct packet_cb cb;
	bool flooded;
};

static struct l2wg_cb *l2wg_cb(struct sk_buff *skb)
{
	BUILD_BUG_ON(sizeof(struct l2wg_cb) > sizeof_field(struct sk_buff, cb));
	return (struct l2wg_cb *)skb->cb;
}

/**
 * l2wg_bucket_init() - a full bucket
 * @bucket:	the bucket
 */
void l2wg_bucket_init(struct l2wg_bucket *bucket)
{
	spin_lock_init(&bucket->lock);
	bucket->tokens = 0;
	bucket->time = 0;
}

/* Take @n tokens, or none, if there are any; more than there are makes a debt, which is
 * forgiven after DEBT seconds. They come at @rate a second, and never are more than
 * that.
 */
static bool l2wg_bucket_take(struct l2wg_bucket *bucket, u64 n, unsigned int rate)
{
	/* pays for every debt, and multiplies without overflow */
	const u64 longest = DEBT * (u64)NSEC_PER_SEC;
	u64 now, gained;
	bool ok;

	spin_lock_bh(&bucket->lock);
	/* Not before: another processor's later time would be in the future then. */
	now = ktime_get_coarse_boottime_ns();
	if (now - bucket->time > longest)
		bucket->time = now - longest;
	gained = div_u64((now - bucket->time) * rate, NSEC_PER_SEC);
	/* What makes less than a token is kept for the next time. */
	bucket->time += div_u64(gained * NSEC_PER_SEC, rate);
	bucket->tokens = min_t(s64, rate, bucket->tokens + gained);
	ok = bucket->tokens > 0;
	if (ok)
		bucket->tokens -= min_t(u64, n, bucket->tokens + (u64)DEBT * rate);
	spin_unlock_bh(&bucket->lock);
	return ok;
}

/**
 * l2wg_peer_get() - the peer of a member
 * @m:	the member
 *
 * Context: RCU read side, softirqs off.
 * Return: a reference to it, or NULL if there is none to which something may
 * be queued.
 */
struct wg_peer *l2wg_peer_get(const struct l2wg_member *m)
{
	struct wg_peer *peer;

	peer = wg_peer_get_maybe_zero(rcu_dereference_check(m->peer, rcu_read_lock_bh_held()));
	if (peer && unlikely(READ_ONCE(peer->is_dead))) {
		wg_peer_put(peer);
		return NULL;
	}
	return peer;
}

/**
 * l2wg_peer_has_session() - can something be sent to a peer at once?
 * @peer:	the peer
 *
 * Context: Any but hard interrupts.
 */
bool l2wg_peer_has_session(struct wg_peer *peer)
{
	struct noise_keypair *keypair;
	bool ret;

	rcu_read_lock_bh();
	keypair = rcu_dereference_bh(peer->keypairs.current_keypair);
	ret = keypair && READ_ONCE(keypair->sending.is_valid) &&
	      !wg_birthdate_has_expired(keypair->sending.birthdate, REJECT_AFTER_TIME);
	rcu_read_unlock_bh();
	return ret;
}

/**
 * l2wg_peer_has_endpoint() - is it known where a peer is?
 * @peer:	the peer
 *
 * Context: Any.
 */
bool l2wg_peer_has_endpoint(const struct wg_peer *peer)
{
	sa_family_t family = READ_ONCE(peer->endpoint.addr.sa_family);

	return family == AF_INET || family == AF_INET6;
}

/**
 * l2wg_peer_queue() - queue packets for a peer, as wg_xmit() does
 * @peer:	the peer; the caller holds a reference
 * @packets:	the packets, their control blocks set; empty afterwards
 *
 * Context: Softirqs off, no lock of ours.
 */
void l2wg_peer_queue(struct wg_peer *peer, struct sk_buff_head *packets)
{
	spin_lock_bh(&peer->staged_packet_queue.lock);
	while (skb_queue_len(&peer->staged_packet_queue) > MAX_STAGED_PACKETS) {
		dev_kfree_skb(__skb_dequeue(&peer->staged_packet_queue));
		DEV_STATS_INC(peer->device->dev, tx_dropped);
	}
	skb_queue_splice_tail_init(packets, &peer->staged_packet_queue);
	spin_unlock_bh(&peer->staged_packet_queue.lock);
	wg_packet_send_staged_packets(peer);
}

/**
 * l2wg_cb_init() - give a packet the control block that the driver asks for
 * @skb:	the packet
 * @mtu:	what the padding must not make longer
 */
void l2wg_cb_init(struct sk_buff *skb, u32 mtu)
{
	PACKET_CB(skb)->mtu = mtu;
	l2wg_cb(skb)->flooded = false;
}

/* What is sent of a buffer: itself, or the segments that it stands for */
static bool l2wg_split(struct sk_buff *skb, struct sk_buff_head *packets)
{
	struct net_device *dev = skb->dev;
	u32 mtu = skb_valid_dst(skb) ? dst_mtu(skb_dst(skb)) : dev->mtu;
	struct sk_buff *segs, *next;

	__skb_queue_head_init(packets);
	if (!skb_is_gso(skb)) {
		skb_mark_not_on_list(skb);
	} else {
		segs = skb_gso_segment(skb, 0);
		if (IS_ERR_OR_NULL(segs)) {
			kfree_skb(skb);
			return false;
		}
		consume_skb(skb);
		skb = segs;
	}
	skb_list_walk_safe(skb, skb, next) {
		skb_mark_not_on_list(skb);
		skb = skb_share_check(skb, GFP_ATOMIC);
		if (unlikely(!skb)) {
			DEV_STATS_INC(dev, tx_dropped);
			continue;
		}
		skb_dst_drop(skb);
		l2wg_cb_init(skb, mtu);
		__skb_queue_tail(packets, skb);
	}
	return !skb_queue_empty(packets);
}

static bool l2wg_needs_other_form(const struct l2wg_frame_info *info, const struct l2wg_member *to)
{
	return info->vid && info->tagged == (info->vid == READ_ONCE(to->pvid));
}

static bool l2wg_other_form(struct sk_buff *skb, const struct l2wg_frame_info *info)
{
	return info->tagged ? l2wg_vlan_pop(skb) : l2wg_vlan_push(skb, info->vid);
}

/* IEEE 802.1Q has room for a tag beyond the MTU; so has every bridge. */
static bool l2wg_fits(const struct sk_buff *skb)
{
	return skb->len <= READ_ONCE(skb->dev->mtu) + ETH_HLEN + VLAN_HLEN;
}

/**
 * l2wg_shape() - give a frame the form that a member wants, with or without tag
 * @from:	the peer that it is relayed from, or NULL
 * @skb:	the frame; freed, and counted, on failure
 * @info:	about it
 * @to:		the member
 *
 * Context: RCU read side.
 * Return: true if it can be sent.
 */
bool l2wg_shape(struct l2wg_member *from, struct sk_buff *skb,
		const struct l2wg_frame_info *info, const struct l2wg_member *to)
{
	enum l2wg_switch_counter failed = L2WG_COUNTER_TX_NO_MEMORY;

	if (unlikely(l2wg_needs_other_form(info, to)) && unlikely(!l2wg_other_form(skb, info)))
		goto drop;
	if (likely(!from || l2wg_fits(skb)))
		return true;
	failed = L2WG_COUNTER_TX_TOO_BIG;
drop:
	l2wg_switch_count(to->sw, from, failed, 1);
	DEV_STATS_INC(to->sw->dev, tx_dropped);
	kfree_skb(skb);
	return false;
}

/**
 * l2wg_send() - send a frame of the host to one peer
 * @to:		its member
 * @skb:	the frame; not the caller's any more
 * @info:	about it
 *
 * Context: RCU read side, softirqs off.
 */
void l2wg_send(struct l2wg_member *to, struct sk_buff *skb, const struct l2wg_frame_info *info)
{
	struct net_device *dev = to->sw->dev;
	struct wg_peer *peer = l2wg_peer_get(to);
	struct sk_buff_head packets;

	if (unlikely(!peer))
		goto error;
	if (unlikely(!l2wg_peer_has_endpoint(peer))) {
		net_dbg_ratelimited("%s: No valid endpoint has been configured or discovered for peer %llu\n",
				    dev->name, peer->internal_id);
		goto error;
	}
	if (likely(l2wg_shape(NULL, skb, info, to))) {
		if (likely(l2wg_split(skb, &packets)))
			l2wg_peer_queue(peer, &packets);
		else
			DEV_STATS_INC(dev, tx_errors);
	}
	wg_peer_put(peer);
	return;

error:
	wg_peer_put(peer);
	DEV_STATS_INC(dev, tx_errors);
	kfree_skb(skb);
}

static u32 l2wg_endpoint_hash(const struct wg_peer *peer)
{
	/* A torn read makes one more try. */
	return jhash(&peer->endpoint.addr6, sizeof(peer->endpoint.addr6), 0);
}

/* One initiation, and not the series: the driver's timer gives up when it has
 * no answer to this one. Unicast starts a series as ever.
 */
static void l2wg_initiate(struct wg_peer *peer)
{
	peer->timer_handshake_attempts = MAX_TIMER_HANDSHAKES + 1;
	wg_packet_send_queued_handshake_initiation(peer, true);
}

static bool l2wg_may_initiate(const struct wg_peer *peer)
{
	return wg_birthdate_has_expired(atomic64_read(&peer->last_sent_handshake),
					REKEY_TIMEOUT);
}

/* The initiation is about to be sent. */
static void l2wg_note_try(struct l2wg_member *m, const struct wg_peer *peer)
{
	lockdep_assert_held(&m->sw->flood_lock);
	m->tried = true;
	m->had_session = false;
	m->tried_endpoint = l2wg_endpoint_hash(peer);
	list_del_init(&m->waiting);
}

/* A flood waits for a session. The first try since the link came up, since the
 * endpoint has changed or since there was a session is made at once; others wait
 * for their turn. One that is under way is left alone.
 */
static void l2wg_flood_try(struct l2wg_member *m, struct wg_peer *peer)
{
	struct l2wg_switch *sw = m->sw;
	bool now = false;

	if (timer_pending(&peer->timer_retransmit_handshake))
		return;
	spin_lock_bh(&sw->flood_lock);
	/* l2wg_flood_member_gone() takes the lock after this was set. */
	if (READ_ONCE(m->gone))
		goto out;
	if (l2wg_may_initiate(peer) &&
	    (!m->tried || m->had_session || m->tried_endpoint != l2wg_endpoint_hash(peer)))
		now = l2wg_bucket_take(&sw->first_tries, 1, FIRST_TRIES);
	if (now) {
		l2wg_note_try(m, peer);
	} else if (list_empty(&m->waiting)) {
		list_add_tail(&m->waiting, &sw->waiting);
		queue_delayed_work(system_power_efficient_wq, &sw->try_work, TRY_INTERVAL);
	}
out:
	spin_unlock_bh(&sw->flood_lock);
	if (now)
		l2wg_initiate(peer);
}

/* One more try for the one that has waited longest */
static void l2wg_try_work(struct work_struct *work)
{
	struct l2wg_switch *sw = container_of(to_delayed_work(work), struct l2wg_switch, try_work);
	struct wg_peer *peer, *chosen = NULL;
	struct l2wg_member *m, *next;
	unsigned int steps = 0;
	bool more;

	rcu_read_lock_bh();
	spin_lock_bh(&sw->flood_lock);
	list_for_each_entry_safe(m, next, &sw->waiting, waiting) {
		if (steps++ == TRY_STEPS)
			break;
		peer = l2wg_peer_get(m);
		if (peer && !l2wg_peer_has_session(peer) &&
		    !timer_pending(&peer->timer_retransmit_handshake)) {
			if (l2wg_may_initiate(peer)) {
				l2wg_note_try(m, peer);
				chosen = peer;
				break;
			}
		} else {
			list_del_init(&m->waiting);
		}
		wg_peer_put(peer);
	}
	more = !list_empty(&sw->waiting);
	spin_unlock_bh(&sw->flood_lock);
	rcu_read_unlock_bh();
	if (chosen) {
		l2wg_initiate(chosen);
		wg_peer_put(chosen);
	}
	if (more)
		queue_delayed_work(system_power_efficient_wq, &sw->try_work, TRY_INTERVAL);
}

/* Leave copies with a peer that has no session: the newest few. */
static void l2wg_flood_wait(struct l2wg_member *m, struct wg_peer *peer,
			    struct sk_buff_head *copies)
{
	struct sk_buff_head *queue = &peer->staged_packet_queue;
	struct sk_buff *skb, *next;
	unsigned int flooded = 0;

	spin_lock_bh(&queue->lock);
	skb_queue_walk(copies, skb)
		l2wg_cb(skb)->flooded = true;
	skb_queue_splice_tail_init(copies, queue);
	skb_queue_walk(queue, skb)
		flooded += l2wg_cb(skb)->flooded;
	skb_queue_walk_safe(queue, skb, next) {
		if (flooded <= WAITING)
			break;
		if (!l2wg_cb(skb)->flooded)
			continue;
		__skb_unlink(skb, queue);
		dev_kfree_skb(skb);
		DEV_STATS_INC(peer->device->dev, tx_dropped);
		--flooded;
	}
	spin_unlock_bh(&queue->lock);
	/* It may have come since we looked. */
	if (unlikely(l2wg_peer_has_session(peer)))
		wg_packet_send_staged_packets(peer);
	else
		l2wg_flood_try(m, peer);
}

static bool l2wg_clone(const struct sk_buff_head *packets, struct sk_buff_head *copies)
{
	struct sk_buff *skb, *copy;

	__skb_queue_head_init(copies);
	skb_queue_walk(packets, skb) {
		copy = skb_clone(skb, GFP_ATOMIC);
		if (unlikely(!copy)) {
			/* all segments of a frame or none */
			__skb_queue_purge(copies);
			return false;
		}
		__skb_queue_tail(copies, copy);
	}
	return true;
}

/* The form of a flooded frame that a member wants. The other one is made when
 * the first member wants it.
 */
static struct sk_buff_head *l2wg_flood_form(struct l2wg_flood *flood,
					    const struct l2wg_member *to,
					    enum l2wg_switch_counter *failed)
{
	struct sk_buff_head *other = &flood->packets[FORM_OTHER];
	struct sk_buff *skb;

	if (likely(!l2wg_needs_other_form(&flood->info, to)))
		return &flood->packets[FORM_AS_IT_IS];
	*failed = L2WG_COUNTER_TX_NO_MEMORY;
	if (!skb_queue_empty(other))
		goto made;
	if (!l2wg_clone(&flood->packets[FORM_AS_IT_IS], other))
		return NULL;
	skb_queue_walk(other, skb) {
		if (likely(l2wg_other_form(skb, &flood->info)))
			continue;
		__skb_queue_purge(other);
		return NULL;
	}
made:
	/* The tag may have been too much. */
	if (unlikely(!flood->local && !l2wg_fits(skb_peek(other)))) {
		*failed = L2WG_COUNTER_TX_TOO_BIG;
		return NULL;
	}
	return other;
}

static void l2wg_flood_copy(struct l2wg_flood *flood, struct l2wg_member *to)
{
	struct l2wg_switch *sw = flood->sw;
	struct wg_peer *peer = l2wg_peer_get(to);
	enum l2wg_switch_counter failed = L2WG_COUNTER_TX_NO_MEMORY;
	struct sk_buff_head *form, copies;
	bool session;

	if (unlikely(!peer))
		return;
	session = l2wg_peer_has_session(peer);
	if (unlikely(!session && !l2wg_peer_has_endpoint(peer))) {
		l2wg_switch_count(sw, to, L2WG_COUNTER_TX_FLOOD_NO_SESSION, 1);
		goto out;
	}
	form = l2wg_flood_form(flood, to, &failed);
	if (unlikely(!form || !l2wg_clone(form, &copies))) {
		l2wg_switch_count(sw, to, failed, 1);
		goto out;
	}
	if (likely(session)) {
		if (unlikely(!READ_ONCE(to->had_session)))
			WRITE_ONCE(to->had_session, true);
		l2wg_peer_queue(peer, &copies);
	} else {
		l2wg_flood_wait(to, peer, &copies);
	}
out:
	wg_peer_put(peer);
}

static bool l2wg_flood_wants(const struct l2wg_flood *flood, const struct l2wg_member *to)
{
	if (!l2wg_member_in(to, flood->info.vid) || !l2wg_is_admitted(to))
		return false;
	return flood->local || (to->id != flood->from_id &&
				l2wg_may_relay(flood->relay, flood->isolated, to));
}

static unsigned int l2wg_flood_targets(const struct l2wg_flood *flood)
{
	const struct l2wg_member *to;
	unsigned int n = 0;

	list_for_each_entry_rcu(to, &flood->sw->members, list)
		n += l2wg_flood_wants(flood, to);
	return n;
}

/* Make at most @limit copies. Returns true when there are no more to be made.
 * Members are in the order of their numbers, and a new one has the highest, so
 * the number says who has a copy.
 */
static bool l2wg_flood_some(struct l2wg_flood *flood, unsigned int limit)
{
	struct l2wg_member *to;

	list_for_each_entry_rcu(to, &flood->sw->members, list) {
		if (to->id <= flood->last_id || !l2wg_flood_wants(flood, to))
			continue;
		if (!limit--)
			return false;
		l2wg_flood_copy(flood, to);
		flood->last_id = to->id;
	}
	return true;
}

/* More than half of the driver's ring is in use. Both numbers are read without
 * its locks: an estimate will do.
 */
static bool l2wg_ring_is_busy(const struct l2wg_switch *sw)
{
	const struct ptr_ring *ring = &sw->wg->encrypt_queue.ring;
	int head, used;

	/* The consumer's first: one that catches up in between would seem to be a
	 * whole ring behind. It still may, seldom; then a flood is left to the worker.
	 */
	head = data_race(READ_ONCE(ring->consumer_head));
	/* The same race */
	used = data_race(READ_ONCE(ring->producer)) - head;
	if (used < 0)
		used += ring->size;
	return used > ring->size / 2;
}

static void l2wg_flood_purge(struct l2wg_flood *flood)
{
	__skb_queue_purge(&flood->packets[FORM_AS_IT_IS]);
	__skb_queue_purge(&flood->packets[FORM_OTHER]);
}

static void l2wg_flood_free(struct l2wg_flood *flood)
{
	l2wg_flood_purge(flood);
	kfree(flood);
}

/* The oldest flood of the source that has the most of them waiting */
static struct l2wg_flood *l2wg_flood_victim(struct l2wg_switch *sw)
{
	struct l2wg_flood *flood, *other, *victim = NULL;
	unsigned int n, most = 0;

	list_for_each_entry(flood, &sw->floods, list) {
		n = 0;
		list_for_each_entry(other, &sw->floods, list)
			n += other->from == flood->from;
		if (n > most) {
			most = n;
			victim = flood;
		}
	}
	return victim;
}

/* Leave the rest of the copies to the worker. */
static void l2wg_flood_later(struct l2wg_flood *here)
{
	struct l2wg_switch *sw = here->sw;
	struct l2wg_flood *flood, *victim = NULL;
	enum l2wg_form form;

	flood = kmemdup(here, sizeof(*here), GFP_ATOMIC | __GFP_NOWARN);
	if (unlikely(!flood)) {
		l2wg_switch_count(sw, NULL, L2WG_COUNTER_TX_NO_MEMORY, 1);
		l2wg_flood_purge(here);
		return;
	}
	for (form = 0; form < FORMS; ++form) {
		__skb_queue_head_init(&flood->packets[form]);
		skb_queue_splice_init(&here->packets[form], &flood->packets[form]);
	}
	spin_lock_bh(&sw->flood_lock);
	list_add_tail(&flood->list, &sw->floods);
	if (++sw->flood_count > FLOODS) {
		victim = l2wg_flood_victim(sw);
		list_del(&victim->list);
		--sw->flood_count;
	}
	queue_delayed_work(system_unbound_wq, &sw->flood_work, 0);
	spin_unlock_bh(&sw->flood_lock);
	if (victim) {
		l2wg_switch_count(sw, NULL, L2WG_COUNTER_TX_FLOOD_FULL, 1);
		l2wg_flood_free(victim);
	}
}

static void l2wg_flood_work(struct work_struct *work)
{
	struct l2wg_switch *sw = container_of(to_delayed_work(work), struct l2wg_switch,
					      flood_work);
	struct l2wg_flood *flood;
	bool done;

	for (;;) {
		if (l2wg_ring_is_busy(sw)) {
			queue_delayed_work(system_unbound_wq, &sw->flood_work, 1);
			return;
		}
		spin_lock_bh(&sw->flood_lock);
		flood = list_first_entry_or_null(&sw->floods, struct l2wg_flood, list);
		/* It still counts: what comes now comes behind it. */
		if (flood)
			list_del(&flood->list);
		spin_unlock_bh(&sw->flood_lock);
		if (!flood)
			return;

		rcu_read_lock_bh();
		rcu_read_lock();
		done = l2wg_flood_some(flood, BATCH);
		rcu_read_unlock();
		rcu_read_unlock_bh();
		spin_lock_bh(&sw->flood_lock);
		if (done)
			--sw->flood_count;
		else
			list_add(&flood->list, &sw->floods);
		spin_unlock_bh(&sw->flood_lock);
		if (done)
			l2wg_flood_free(flood);
		cond_resched();
	}
}

/* ARP, or neighbour discovery, in few bytes: without it nothing else begins */
static bool l2wg_is_small(const struct sk_buff *skb, const struct l2wg_frame_info *info)
{
	const u8 *byte;
	u8 next;

	if (skb->len > SMALL)
		return false;
	if (info->proto == htons(ETH_P_ARP))
		return true;
	if (info->proto != htons(ETH_P_IPV6))
		return false;
	byte = skb_header_pointer(skb, info->payload + offsetof(struct ipv6hdr, nexthdr), 1, &next);
	if (!byte || *byte != IPPROTO_ICMPV6)
		return false;
	byte = skb_header_pointer(skb, info->payload + sizeof(struct ipv6hdr), 1, &next);
	return byte && *byte >= 133 && *byte <= 137;	/* RFC 4861 4 */
}

/* Frames that a buffer stands for; its own number of them is not to be relied on. */
static unsigned int l2wg_frames_of(const struct sk_buff *skb)
{
	if (likely(!skb_is_gso(skb)))
		return 1;
	return DIV_ROUND_UP(skb->len, skb_shinfo(skb)->gso_size);
}

static bool l2wg_flood_allowed(struct l2wg_member *from, const struct sk_buff *skb,
			       const struct l2wg_frame_info *info, u64 n)
{
	if (from == &from->sw->local && l2wg_is_host_mac(from->sw, eth_hdr(skb)->h_source))
		return true;
	if (l2wg_is_small(skb, info))
		return l2wg_bucket_take(&from->small_copies, n, SMALL_COPIES);
	return l2wg_bucket_take(&from->copies, n, COPIES);
}

/**
 * l2wg_flood() - send a frame to all members that it is for
 * @from:	where it comes from; &sw->local for the host
 * @skb:	the frame from its Ethernet header on; not the caller's any more
 * @info:	about it
 *
 * Context: RCU read side, softirqs off.
 */
void l2wg_flood(struct l2wg_member *from, struct sk_buff *skb,
		const struct l2wg_frame_info *info)
{
	struct l2wg_switch *sw = from->sw;
	struct l2wg_flood flood = {
		.sw = sw,
		.info = *info,
		.from = from,
		.from_id = from->id,
		.local = from == &sw->local,
		.relay = READ_ONCE(from->relay),
		.isolated = READ_ONCE(from->isolated),
	};
	unsigned int n, frames = l2wg_frames_of(skb);
	enum l2wg_switch_counter failed;

	failed = L2WG_COUNTER_TX_TOO_BIG;
	if (unlikely(!flood.local && !l2wg_fits(skb)))
		goto drop;
	/* Members are looked at also where few of them, or none, get a copy. */
	failed = flood.local ? L2WG_COUNTER_TX_FLOOD_LIMIT : L2WG_COUNTER_RX_FLOOD_LIMIT;
	if (unlikely(frames > FRAMES ||
		     !l2wg_flood_allowed(from, skb, info, READ_ONCE(sw->peers) / LOOKS)))
		goto drop;
	n = l2wg_flood_targets(&flood);
	if (unlikely(!n)) {
		if (flood.local)
			DEV_STATS_INC(sw->dev, tx_dropped);
		consume_skb(skb);
		return;
	}
	if (unlikely(!l2wg_flood_allowed(from, skb, info, (u64)n * frames)))
		goto drop;
	l2wg_switch_count(sw, from, L2WG_COUNTER_TX_FLOOD, 1);

	__skb_queue_head_init(&flood.packets[FORM_OTHER]);
	if (unlikely(!l2wg_split(skb, &flood.packets[FORM_AS_IT_IS]))) {
		DEV_STATS_INC(sw->dev, tx_errors);
		return;
	}
	/* Behind those that wait already */
	if (likely(!READ_ONCE(sw->flood_count) && !l2wg_ring_is_busy(sw)) &&
	    likely(l2wg_flood_some(&flood, IN_PLACE)))
		l2wg_flood_purge(&flood);
	else
		l2wg_flood_later(&flood);
	return;

drop:
	l2wg_switch_count(sw, from, failed, 1);
	DEV_STATS_INC(sw->dev, tx_dropped);
	kfree_skb(skb);
}

/**
 * l2wg_flood_member_gone() - a member's peer is being removed
 * @m:	the member; m->gone is set
 *
 * Context: Process; takes sw->flood_lock.
 */
void l2wg_flood_member_gone(struct l2wg_member *m)
{
	spin_lock_bh(&m->sw->flood_lock);
	list_del_init(&m->waiting);
	spin_unlock_bh(&m->sw->flood_lock);
}

/**
 * l2wg_flood_open() - the link comes up: every peer is worth a try
 * @sw:	the switch
 *
 * Context: RTNL.
 */
void l2wg_flood_open(struct l2wg_switch *sw)
{
	struct l2wg_member *m;

	rcu_read_lock();
	spin_lock_bh(&sw->flood_lock);
	list_for_each_entry_rcu(m, &sw->members, list)
		m->tried = false;
	spin_unlock_bh(&sw->flood_lock);
	rcu_read_unlock();
}

/**
 * l2wg_flood_stop() - drop what waits
 * @sw:	the switch; nothing is sent or received any more
 *
 * Context: Process.
 */
void l2wg_flood_stop(struct l2wg_switch *sw)
{
	struct l2wg_flood *flood, *next;
	struct l2wg_member *m, *other;

	cancel_delayed_work_sync(&sw->flood_work);
	cancel_delayed_work_sync(&sw->try_work);
	spin_lock_bh(&sw->flood_lock);
	list_for_each_entry_safe(flood, next, &sw->floods, list) {
		list_del(&flood->list);
		l2wg_flood_free(flood);
	}
	sw->flood_count = 0;
	list_for_each_entry_safe(m, other, &sw->waiting, waiting)
		list_del_init(&m->waiting);
	spin_unlock_bh(&sw->flood_lock);
}

/**
 * l2wg_flood_init() - nothing waits
 * @sw:	the switch, zeroed
 */
void l2wg_flood_init(struct l2wg_switch *sw)
{
	spin_lock_init(&sw->flood_lock);
	INIT_LIST_HEAD(&sw->floods);
	INIT_LIST_HEAD(&sw->waiting);
	l2wg_bucket_init(&sw->first_tries);
	INIT_DELAYED_WORK(&sw->flood_work, l2wg_flood_work);
	INIT_DELAYED_WORK(&sw->try_work, l2wg_try_work);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * Receiving in batches: a peer's NAPI is woken once for several messages.
 *
 * The worker that decrypts wakes the peer's NAPI after every message. Where the
 * poll is a softirq it runs as soon as the worker touches its ring again: with one
 * message in it, so that GRO has nothing to join, TCP gets every segment alone and
 * acknowledges every second one, and each such answer is a message, too.
 *
 * Here the wake-up waits until some messages are ready, until the ring is empty,
 * or until the worker has to give way. (A preemptible kernel takes the processor
 * from it without a word; the wake-up then waits for its next turn, unless another
 * worker wakes the peer.) Which worker decrypts what stays as it is: each takes the
 * next message from the one ring.
 *
 * A poll that has a thread of its own, as from Linux 6.16 on, finds many messages
 * at a time without that, and is woken after each.
 */

#include "l2wg_batch.h"
#include "l2wg_compat.h"
#include "l2wg_dev.h"

#include "device.h"
#include "peer.h"
#include "queueing.h"

/* What a wake-up waits for: half of a poll's budget, and of large messages no
 * more than 32 of the usual size have. A processor that decrypts 100 MB/s needs
 * 0.5 ms for it, of which the first message waits that long at most.
 */
#define L2WG_WAKE_MESSAGES 32
#define L2WG_WAKE_BYTES (48 * 1024)

/**
 * l2wg_wake() - wake the peer that waits
 * @woken:	what the worker holds back; nothing does no harm
 *
 * Context: Process context of a worker that decrypts.
 */
void l2wg_wake(struct l2wg_woken *woken)
{
	struct wg_peer *peer = woken->peer;

	if (!peer)
		return;
	/* Where the poll is a softirq it runs here, and not some time later. */
	local_bh_disable();
	napi_schedule(&peer->napi);
	local_bh_enable();
	wg_peer_put(peer);
	woken->peer = NULL;
	woken->messages = 0;
	woken->bytes = 0;
}

/**
 * l2wg_decrypted() - pass on a message that has been decrypted
 * @skb:	the message; it may be gone afterwards
 * @state:	whether it could be decrypted
 * @woken:	what this worker holds back
 *
 * The state is set at once, so a poll that runs for another reason takes the
 * message, and the wake-up then finds less to do. A worker that holds a wake-up
 * back goes on to the next message or to l2wg_wake(). If it is told to make room
 * just after it was asked here, others run once before that.
 *
 * Context: Process context of a worker that decrypts.
 */
void l2wg_decrypted(struct sk_buff *skb, int state, struct l2wg_woken *woken)
{
	struct wg_peer *peer = PACKET_PEER(skb);

	if (!l2wg_batches(peer->device->dev) ||
	    l2wg_napi_is_threaded(&peer->napi)) {
		/* Nobody waits for a peer that has nothing to do with it. */
		l2wg_wake(woken);
		wg_queue_enqueue_per_peer_rx(skb, state);
		return;
	}
	if (woken->peer != peer) {
		l2wg_wake(woken);
		/* As soon as the state is set, the message's own may be gone. */
		woken->peer = wg_peer_get(peer);
	}
	woken->bytes += skb->len;
	atomic_set_release(&PACKET_CB(skb)->state, state);
	if (++woken->messages >= L2WG_WAKE_MESSAGES ||
	    woken->bytes >= L2WG_WAKE_BYTES || need_resched())
		l2wg_wake(woken);
}

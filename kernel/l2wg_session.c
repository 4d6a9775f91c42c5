// SPDX-License-Identifier: GPL-2.0
/*
 * The session with a peer, as whoever manages the link needs to know it: up,
 * being tried, or idle. The driver has no such state. The age of its handshake
 * does not tell: a busy session shakes hands every two minutes, an idle one never.
 *
 * That a session is up is seen when the handshake is complete; that one is tried
 * in vain, or gone, by a look at all members once a second.
 */

#include "l2wg_switch.h"

#include "timers.h"

enum {
	LOOK = HZ,
	/* A try that has had no answer for this long counts, though the old keys
	 * are good for three minutes: the peer may have gone elsewhere.
	 */
	UNANSWERED = REKEY_TIMEOUT * HZ,
	/* Between two tries for floods it is not idle. */
	PATIENCE = 10 * HZ,
};

static enum l2wg_session l2wg_session_now(struct l2wg_member *m, struct wg_peer *peer)
{
	bool up = l2wg_peer_has_session(peer);
	bool pending = timer_pending(&peer->timer_retransmit_handshake);
	unsigned long now = jiffies;

	if (!pending)
		m->unanswered = 0;
	else if (!m->unanswered)
		m->unanswered = now ?: 1;

	/* The list is read without its lock: a second look is never far. */
	if ((!up && (pending || !list_empty_careful(&m->waiting))) ||
	    (pending && time_after_eq(now, m->unanswered + UNANSWERED))) {
		m->last_try = now;
		return L2WG_SESSION_TRYING;
	}
	if (m->session == L2WG_SESSION_TRYING &&
	    (up ? pending : time_before(now, m->last_try + PATIENCE)))
		return L2WG_SESSION_TRYING;
	return up ? L2WG_SESSION_UP : L2WG_SESSION_IDLE;
}

/**
 * l2wg_session_look() - find out what state a member's session is in
 * @m:		the member
 * @since:	set to the time when that began, in seconds of the boot time
 *
 * Tells those who listen if it is another one than at the last look.
 *
 * Context: RCU read side, softirqs off; takes sw->session_lock.
 * Return: the state; idle if it is no peer.
 */
enum l2wg_session l2wg_session_look(struct l2wg_member *m, time64_t *since)
{
	struct l2wg_switch *sw = m->sw;
	enum l2wg_session session = L2WG_SESSION_IDLE;
	struct wg_peer *peer;

	/* Held while it is told: who listens gets the changes in their order. */
	spin_lock_bh(&sw->session_lock);
	peer = rcu_dereference_bh(m->peer);
	if (peer)
		session = l2wg_session_now(m, peer);
	if (session != m->session) {
		m->session = session;
		m->session_since = ktime_get_boottime_seconds();
		if (peer)
			l2wg_event_session(sw, m, session);
	}
	*since = m->session_since;
	spin_unlock_bh(&sw->session_lock);
	return session;
}

/**
 * l2wg_peer_session() - a handshake with a peer is complete
 * @peer:	the peer, of any kind of link; the caller holds a reference
 *
 * Context: Process or NAPI.
 */
void l2wg_peer_session(struct wg_peer *peer)
{
	struct l2wg_member *m;
	time64_t since;

	rcu_read_lock_bh();
	m = l2wg_member_of(peer);
	if (m) {
		/* Not every handshake is followed by a packet that is polled for. */
		l2wg_member_heard(m);
		l2wg_session_look(m, &since);
	}
	rcu_read_unlock_bh();
}

static void l2wg_session_work(struct work_struct *work)
{
	struct l2wg_switch *sw = container_of(to_delayed_work(work), struct l2wg_switch,
					      session_work);
	struct l2wg_member *m;
	time64_t since;

	rcu_read_lock_bh();
	list_for_each_entry_rcu(m, &sw->members, list, rcu_read_lock_bh_held())
		l2wg_session_look(m, &since);
	rcu_read_unlock_bh();
	queue_delayed_work(system_power_efficient_wq, &sw->session_work,
			   round_jiffies_relative(LOOK));
}

/**
 * l2wg_session_open() - look at sessions from now on
 * @sw:	the switch
 *
 * Context: RTNL.
 */
void l2wg_session_open(struct l2wg_switch *sw)
{
	queue_delayed_work(system_power_efficient_wq, &sw->session_work,
			   round_jiffies_relative(LOOK));
}

/**
 * l2wg_session_stop() - the opposite; all sessions have gone
 * @sw:	the switch
 *
 * Context: RTNL.
 */
void l2wg_session_stop(struct l2wg_switch *sw)
{
	struct l2wg_member *m;
	time64_t since;

	cancel_delayed_work_sync(&sw->session_work);
	rcu_read_lock_bh();
	list_for_each_entry_rcu(m, &sw->members, list, rcu_read_lock_bh_held())
		l2wg_session_look(m, &since);
	rcu_read_unlock_bh();
}

/**
 * l2wg_session_init() - nothing is looked at yet
 * @sw:	the switch, zeroed
 */
void l2wg_session_init(struct l2wg_switch *sw)
{
	spin_lock_init(&sw->session_lock);
	INIT_DELAYED_WORK(&sw->session_work, l2wg_session_work);
}

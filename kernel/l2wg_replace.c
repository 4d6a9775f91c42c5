// SPDX-License-Identifier: GPL-2.0
/*
 * One key takes the place of another: a host has renewed its own.
 *
 * Whoever manages the link makes the new key a peer beforehand or leaves that to
 * us; on a link that is closed to new peers it can then shake hands and nothing
 * else. When it does is told as an event (l2wg_session.c). Whether that key may
 * take the place, and when, is not for the kernel to say.
 */

#include "l2wg_switch.h"

#include "allowedips.h"
#include "noise.h"
#include "peerlookup.h"
#include "queueing.h"
#include "socket.h"

static bool l2wg_is_own_key(struct wg_device *wg, const u8 *key)
{
	bool own;

	down_read(&wg->static_identity.lock);
	own = wg->static_identity.has_identity &&
	      !memcmp(key, wg->static_identity.static_public, NOISE_PUBLIC_KEY_LEN);
	up_read(&wg->static_identity.lock);
	return own;
}

/* A peer with the new key and what the old one has of its own */
static struct wg_peer *l2wg_heir(struct wg_device *wg, struct wg_peer *old, const u8 *key)
{
	u8 psk[NOISE_SYMMETRIC_KEY_LEN];
	struct wg_peer *peer;

	down_read(&old->handshake.lock);
	memcpy(psk, old->handshake.preshared_key, sizeof(psk));
	up_read(&old->handshake.lock);
	peer = wg_peer_create(wg, key, psk);
	memzero_explicit(psk, sizeof(psk));
	if (!IS_ERR(peer))
		peer->persistent_keepalive_interval = old->persistent_keepalive_interval;
	return peer;
}

static void l2wg_hand_over_endpoint(struct wg_peer *peer, struct wg_peer *old)
{
	struct endpoint endpoint;

	read_lock_bh(&old->endpoint_lock);
	endpoint = old->endpoint;
	read_unlock_bh(&old->endpoint_lock);
	wg_socket_set_peer_endpoint(peer, &endpoint);
}

/* Each prefix is there already, so that giving it to another peer cannot fail. */
static void l2wg_hand_over_addresses(struct wg_device *wg, struct wg_peer *peer,
				     struct wg_peer *old)
{
	struct allowedips *table = &wg->peer_allowedips;
	struct mutex *lock = &wg->device_update_lock;
	struct allowedips_node *node, *next;
	u8 ip[16] __aligned(__alignof(u64));
	u8 cidr;

	list_for_each_entry_safe(node, next, &old->allowedips_list, peer_list) {
		if (wg_allowedips_read_node(node, ip, &cidr) == AF_INET)
			wg_allowedips_insert_v4(table, (struct in_addr *)ip, cidr, peer, lock);
		else
			wg_allowedips_insert_v6(table, (struct in6_addr *)ip, cidr, peer, lock);
	}
}

/* From here on nothing is learned from the old member, and what it had is the
 * new one's: in one step for whoever looks up a frame's source to learn it.
 */
static void l2wg_hand_over(struct l2wg_switch *sw, struct l2wg_member *m, struct l2wg_member *old,
			   bool options)
{
	struct l2wg_notes notes;

	rcu_read_lock();
	l2wg_notes_begin(sw, &notes);
	spin_lock_bh(&sw->lock);
	old->gone = true;
	if (options)
		l2wg_bound_hand_over_locked(sw, m, old, false);
	l2wg_bound_hand_over_locked(sw, m, old, true);
	l2wg_table_hand_over_locked(sw, m, old, &notes);
	spin_unlock_bh(&sw->lock);
	l2wg_notes_tell(sw, &notes);
	rcu_read_unlock();
}

/**
 * l2wg_replace() - put a key in the place of another one
 * @sw:		the switch
 * @old_key:	a peer, or a key with options; neither afterwards
 * @new_key:	its successor
 * @extack:	gets the reason of a refusal
 *
 * The new key gets the old one's bindings, AllowedIPs and learned entries. It
 * gets its options if it has none, becomes a peer if the old one is and it is
 * not, and gets its endpoint if it has none.
 *
 * Context: Process, RTNL and device_update_lock are held; takes sw->lock. Waits
 * for grace periods.
 * Return: 0; or with nothing changed -ENOENT, -EINVAL, -ENOMEM or -ENOSPC.
 */
int l2wg_replace(struct l2wg_switch *sw, const u8 *old_key, const u8 *new_key,
		 struct netlink_ext_ack *extack)
{
	struct wg_device *wg = sw->wg;
	struct wg_peer *peer, *old_peer;
	struct l2wg_member *m, *old;
	bool configured, copied, born = false;
	int ret;

	old = l2wg_member_find(sw, old_key);
	if (!old) {
		NL_SET_ERR_MSG(extack, "the old key is no peer and has no options");
		return -ENOENT;
	}
	if (!memcmp(old_key, new_key, L2WG_KEY_LEN)) {
		NL_SET_ERR_MSG(extack, "the two keys are the same");
		return -EINVAL;
	}
	if (l2wg_is_own_key(wg, new_key)) {
		NL_SET_ERR_MSG(extack, "the new key is the link's own");
		return -EINVAL;
	}
	m = l2wg_member_get(sw, new_key, extack);
	if (IS_ERR(m))
		return PTR_ERR(m);

	/* Options before the peer, so that it never has the defaults instead */
	configured = old->configured;
	copied = configured && !m->configured;
	if (copied) {
		ret = l2wg_member_copy(m, old);
		if (ret)
			goto err_unused;
	}
	old_peer = rcu_dereference_protected(old->peer, lockdep_is_held(&wg->device_update_lock));
	peer = rcu_dereference_protected(m->peer, lockdep_is_held(&wg->device_update_lock));
	if (old_peer && !peer) {
		peer = l2wg_heir(wg, old_peer, new_key);
		if (IS_ERR(peer)) {
			ret = PTR_ERR(peer);
			goto err_options;
		}
		born = true;
	}
	/* Nothing fails from here on. */
	if (old_peer && !l2wg_peer_has_endpoint(peer))
		l2wg_hand_over_endpoint(peer, old_peer);
	l2wg_hand_over(sw, m, old, !configured || copied);
	if (old_peer) {
		l2wg_hand_over_addresses(wg, peer, old_peer);
		++wg->device_update_gen;
		wg_peer_remove(old_peer);
	}
	if (configured)
		l2wg_member_forget(old);
	else if (!old_peer)
		l2wg_member_unused(old);
	if (born && peer->persistent_keepalive_interval && netif_running(sw->dev))
		wg_packet_send_keepalive(peer);
	return 0;

err_options:
	if (copied) {
		l2wg_member_forget(m);
		return ret;
	}
err_unused:
	l2wg_member_unused(m);
	return ret;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The members of a switch: for each key its options, and its peer as long as it
 * is one.
 *
 * A key that is no peer yet may have options. They wait for it, and stay when
 * the peer is removed: `wg setconf` does that with all of them. So there is no
 * moment at which a peer has the defaults instead.
 */

#include "l2wg_switch.h"
#include "l2wg_compat.h"

#include <crypto/blake2s.h>

static const struct rhashtable_params l2wg_keys_params = {
	.key_len = L2WG_KEY_LEN,
	.key_offset = offsetof(struct l2wg_member, key),
	.head_offset = offsetof(struct l2wg_member, by_key),
	.automatic_shrinking = true,
};

/* Many, and not without a bound */
enum { L2WG_MAX_MEMBERS = MAX_PEERS_PER_DEVICE };

/**
 * l2wg_member_setup() - a member with the defaults
 * @m:	zeroed
 * @sw:	its switch
 *
 * Context: Process.
 */
void l2wg_member_setup(struct l2wg_member *m, struct l2wg_switch *sw)
{
	unsigned int i;

	m->sw = sw;
	m->max_macs = L2WG_DEFAULT_PEER_MACS;
	INIT_LIST_HEAD(&m->entries);
	INIT_HLIST_NODE(&m->by_count);
	INIT_LIST_HEAD(&m->holds);
	INIT_LIST_HEAD(&m->waiting);
	for (i = 0; i < L2WG_RELAY_SLOTS; ++i)
		__skb_queue_head_init(&m->slots[i].packets);
	l2wg_bucket_init(&m->copies);
	l2wg_bucket_init(&m->small_copies);
}

/* The first 8 bytes of BLAKE2s-256 of the public key: what `bridge fdb` calls
 * the peer, as an address of fe80::/64.
 */
static void l2wg_make_handle(struct l2wg_member *m)
{
	u8 hash[BLAKE2S_HASH_SIZE];
	struct blake2s_ctx state;

	blake2s_init(&state, sizeof(hash));
	blake2s_update(&state, m->key, sizeof(m->key));
	blake2s_final(&state, hash);
	memcpy(m->handle, hash, sizeof(m->handle));
}

/**
 * l2wg_member_handle() - what `bridge fdb` calls a member
 * @m:		the member, not &sw->local
 * @addr:	filled
 *
 * Context: Any.
 */
void l2wg_member_handle(const struct l2wg_member *m, struct in6_addr *addr)
{
	ipv6_addr_set(addr, htonl(0xfe800000), 0, 0, 0);
	memcpy(&addr->s6_addr[8], m->handle, sizeof(m->handle));
}

/**
 * l2wg_member_find() - the member of a public key
 * @sw:		the switch
 * @key:	L2WG_KEY_LEN bytes
 *
 * Context: device_update_lock is held.
 * Return: the member, or NULL if the key is no peer and has no options.
 */
struct l2wg_member *l2wg_member_find(struct l2wg_switch *sw, const u8 *key)
{
	lockdep_assert_held(&sw->wg->device_update_lock);
	return rhashtable_lookup_fast(&sw->keys, key, l2wg_keys_params);
}

/* A dump that has begun says to its reader that it has missed something. */
static void l2wg_keys_changed(struct l2wg_switch *sw)
{
	WRITE_ONCE(sw->keys_seq, sw->keys_seq + 1 ?: 1);
}

/**
 * l2wg_member_get() - the member of a public key, made if there is none
 * @sw:		the switch
 * @key:	L2WG_KEY_LEN bytes
 * @extack:	gets the reason of a refusal, or NULL
 *
 * A new one is no peer and has no options: the caller gives it one or the
 * other, or calls l2wg_member_unused().
 *
 * Context: Process, device_update_lock is held.
 * Return: the member, or an ERR_PTR().
 */
struct l2wg_member *l2wg_member_get(struct l2wg_switch *sw, const u8 *key,
				    struct netlink_ext_ack *extack)
{
	struct l2wg_member *m = l2wg_member_find(sw, key);
	int ret;

	if (m)
		return m;
	if (atomic_read(&sw->keys.nelems) >= L2WG_MAX_MEMBERS) {
		NL_SET_ERR_MSG(extack, "a switch knows 1048576 keys at most");
		return ERR_PTR(-ENOSPC);
	}
	m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return ERR_PTR(-ENOMEM);
	l2wg_member_setup(m, sw);
	m->gone = true;
	memcpy(m->key, key, sizeof(m->key));
	l2wg_make_handle(m);
	ret = rhashtable_insert_fast(&sw->keys, &m->by_key, l2wg_keys_params);
	if (ret) {
		kfree(m);
		return ERR_PTR(ret);
	}
	l2wg_keys_changed(sw);
	return m;
}

/**
 * l2wg_member_unused() - free a member that is no peer and has no options
 * @m:	the member; left alone if it is a peer or has some
 *
 * Context: Process, device_update_lock is held.
 */
void l2wg_member_unused(struct l2wg_member *m)
{
	if (m->configured || rcu_access_pointer(m->peer))
		return;
	rhashtable_remove_fast(&m->sw->keys, &m->by_key, l2wg_keys_params);
	l2wg_keys_changed(m->sw);
	kfree_rcu(m, rcu);
}

/* Only what is a peer counts. */
static void l2wg_count_relay(struct l2wg_member *m, bool is_peer)
{
	bool relays = is_peer && m->relay;

	WRITE_ONCE(m->sw->relays, m->sw->relays + relays - m->counted);
	m->counted = relays;
}

/**
 * l2wg_member_changed() - a member's options have changed
 * @m:	the member
 *
 * Forgets what was learned from it: it may no longer use an address or a VLAN.
 *
 * Context: Process, device_update_lock is held; takes sw->lock.
 */
void l2wg_member_changed(struct l2wg_member *m)
{
	l2wg_count_relay(m, rcu_access_pointer(m->peer));
	l2wg_table_flush(m->sw, m, -1);
}

/**
 * l2wg_member_set_vlans() - give a member the VLANs that it may use
 * @m:		the member
 * @vlans:	the caller's no more, or NULL for the PVID
 *
 * Context: Process, device_update_lock is held.
 */
void l2wg_member_set_vlans(struct l2wg_member *m, struct l2wg_vlans *vlans)
{
	vlans = rcu_replace_pointer(m->vlans, vlans,
				    lockdep_is_held(&m->sw->wg->device_update_lock));
	if (vlans)
		kfree_rcu(vlans, rcu);
}

/**
 * l2wg_member_copy() - give a member the options of another one
 * @m:		the member, which has none
 * @from:	the other one
 *
 * All but its AllowedMACs, which it keeps.
 *
 * Context: Process, device_update_lock is held; takes sw->lock.
 * Return: 0 or -ENOMEM.
 */
int l2wg_member_copy(struct l2wg_member *m, const struct l2wg_member *from)
{
	struct l2wg_vlans *vlans;

	vlans = rcu_dereference_protected(from->vlans,
					  lockdep_is_held(&m->sw->wg->device_update_lock));
	if (vlans) {
		vlans = kmemdup(vlans, sizeof(*vlans), GFP_KERNEL);
		if (!vlans)
			return -ENOMEM;
	}
	l2wg_member_set_vlans(m, vlans);
	WRITE_ONCE(m->max_macs, from->max_macs);
	WRITE_ONCE(m->pvid, from->pvid);
	WRITE_ONCE(m->relay, from->relay);
	WRITE_ONCE(m->isolated, from->isolated);
	WRITE_ONCE(m->router, from->router);
	WRITE_ONCE(m->guards, from->guards);
	WRITE_ONCE(m->mark, from->mark);
	WRITE_ONCE(m->configured, true);
	l2wg_member_changed(m);
	return 0;
}

/**
 * l2wg_member_forget() - take a member's options back
 * @m:	the member, which is freed unless it is a peer
 *
 * Context: Process, device_update_lock is held; takes sw->lock.
 */
void l2wg_member_forget(struct l2wg_member *m)
{
	struct l2wg_switch *sw = m->sw;

	spin_lock_bh(&sw->lock);
	l2wg_bound_flush_locked(sw, m, false);
	spin_unlock_bh(&sw->lock);
	l2wg_member_set_vlans(m, NULL);
	WRITE_ONCE(m->max_macs, L2WG_DEFAULT_PEER_MACS);
	WRITE_ONCE(m->pvid, 0);
	WRITE_ONCE(m->relay, false);
	WRITE_ONCE(m->isolated, false);
	WRITE_ONCE(m->router, false);
	WRITE_ONCE(m->guards, 0);
	WRITE_ONCE(m->mark, 0);
	WRITE_ONCE(m->configured, false);
	l2wg_member_changed(m);
	l2wg_member_unused(m);
}

/**
 * l2wg_member_of_handle() - the peer that `bridge fdb` names
 * @sw:		the switch
 * @addr:	its handle
 * @extack:	gets the reason of a refusal
 *
 * Context: Process, device_update_lock is held.
 * Return: the member, or an ERR_PTR(): -EINVAL no handle, -ENOENT no peer has
 * it, -ENOTUNIQ two have it.
 */
struct l2wg_member *l2wg_member_of_handle(struct l2wg_switch *sw, const struct in6_addr *addr,
					  struct netlink_ext_ack *extack)
{
	struct l2wg_member *m, *found = NULL;

	if (addr->s6_addr32[0] != htonl(0xfe800000) || addr->s6_addr32[1]) {
		NL_SET_ERR_MSG(extack, "dst names the peer: its handle, an address of fe80::/64");
		return ERR_PTR(-EINVAL);
	}
	list_for_each_entry(m, &sw->members, list) {
		if (memcmp(m->handle, &addr->s6_addr[8], sizeof(m->handle)))
			continue;
		if (found) {
			l2wg_err_fmt(extack, "two peers share this handle: use their public keys",
				     "peers %*phN.. and %*phN.. share this handle: use their keys",
				     6, found->key, 6, m->key);
			return ERR_PTR(-ENOTUNIQ);
		}
		found = m;
	}
	if (!found)
		NL_SET_ERR_MSG(extack, "no peer has this handle");
	return found ?: ERR_PTR(-ENOENT);
}

/**
 * l2wg_peer_created() - a peer is complete
 * @peer:	the peer, of any kind of link
 *
 * Context: Process, device_update_lock is held. NAPI may run already: it drops
 * what comes until this has returned.
 * Return: the peer, or an ERR_PTR(), and the peer has been removed.
 */
struct wg_peer *l2wg_peer_created(struct wg_peer *peer)
{
	struct net_device *dev = peer->device->dev;
	struct l2wg_member *m;
	struct l2wg_switch *sw;

	if (!l2wg_is_switch(dev))
		return peer;
	sw = l2wg_switch(dev);
	m = l2wg_member_get(sw, peer->handshake.remote_static, NULL);
	if (IS_ERR(m)) {
		wg_peer_remove(peer);
		return ERR_CAST(m);
	}
	m->id = ++sw->next_id;
	m->tried = false;
	m->had_session = false;
	m->session = L2WG_SESSION_IDLE;
	m->session_since = ktime_get_boottime_seconds();
	m->unanswered = 0;
	m->rx_bytes = 0;
	m->was_heard = false;
	rcu_assign_pointer(m->peer, peer);
	spin_lock_bh(&sw->lock);
	m->gone = false;
	spin_unlock_bh(&sw->lock);
	list_add_tail_rcu(&m->list, &sw->members);
	++sw->peers;
	l2wg_count_relay(m, true);
	/* Pairs with the acquire in l2wg_member_of(): the member is complete. */
	smp_store_release(&peer->l2wg_member, m);
	return peer;
}

/**
 * l2wg_peer_dead() - a peer is being removed
 * @peer:	the peer, of any kind of link; is_dead is set
 *
 * Its NAPI poll may run on until l2wg_peer_removed(); nothing is learned from it
 * any more, and nothing new is sent to it.
 *
 * Context: Process, device_update_lock is held. The caller waits for a grace
 * period before it goes on.
 */
void l2wg_peer_dead(struct wg_peer *peer)
{
	struct l2wg_member *m = peer->l2wg_member;
	struct l2wg_switch *sw;

	if (!m)
		return;
	sw = m->sw;
	list_del_rcu(&m->list);
	--sw->peers;
	l2wg_count_relay(m, false);
	spin_lock_bh(&sw->lock);
	m->gone = true;
	l2wg_bound_flush_locked(sw, m, true);
	spin_unlock_bh(&sw->lock);
	/* Nothing more is learned from it. */
	l2wg_table_flush(sw, m, -1);
	l2wg_flood_member_gone(m);
	RCU_INIT_POINTER(m->peer, NULL);
}

/**
 * l2wg_peer_removed() - a peer's NAPI poll runs no more
 * @peer:	the peer, of any kind of link
 *
 * Context: Process, device_update_lock is held.
 */
void l2wg_peer_removed(struct wg_peer *peer)
{
	struct l2wg_member *m = peer->l2wg_member;

	if (!m)
		return;
	WRITE_ONCE(peer->l2wg_member, NULL);
	l2wg_member_unused(m);
}

/**
 * l2wg_members_init() - no members but the host
 * @sw:		the switch
 *
 * Return: 0 or a negative errno.
 */
int l2wg_members_init(struct l2wg_switch *sw)
{
	INIT_LIST_HEAD(&sw->members);
	sw->keys_seq = 1;
	l2wg_member_setup(&sw->local, sw);
	return rhashtable_init(&sw->keys, &l2wg_keys_params);
}

static void l2wg_member_free(void *ptr, void *arg)
{
	struct l2wg_member *m = ptr;

	spin_lock_bh(&m->sw->lock);
	l2wg_bound_flush_locked(m->sw, m, false);
	spin_unlock_bh(&m->sw->lock);
	kfree(rcu_access_pointer(m->vlans));
	kfree(m);
}

/**
 * l2wg_members_destroy() - free those that still wait for their peer
 * @sw:		the switch, without peers
 *
 * Context: Process.
 */
void l2wg_members_destroy(struct l2wg_switch *sw)
{
	rhashtable_free_and_destroy(&sw->keys, l2wg_member_free, NULL);
}

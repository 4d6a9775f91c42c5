// SPDX-License-Identifier: GPL-2.0
/*
 * MAC addresses that are bound to members: by their AllowedMACs in every VLAN
 * that they may use, or by `bridge fdb` in one.
 *
 * An address may be bound to several members (VRRP, CARP, anycast). Then it is
 * learned, among these. An address of one member needs not to be learned: its
 * place is known, and it counts in no limit.
 */

#include "l2wg_switch.h"

static const struct rhashtable_params l2wg_bound_params = {
	.key_len = sizeof(u64),
	.key_offset = offsetof(struct l2wg_bound, key),
	.head_offset = offsetof(struct l2wg_bound, node),
	.automatic_shrinking = true,
};

static struct l2wg_bound *l2wg_bound_lookup(struct l2wg_switch *sw, u64 key)
{
	return rhashtable_lookup(&sw->bound, &key, l2wg_bound_params);
}

/* The same address in every VLAN */
static u64 l2wg_any_vlan(u64 key)
{
	return key | (u64)L2WG_ANY_VLAN << 48;
}

static bool l2wg_bound_any(const struct l2wg_switch *sw)
{
	return atomic_read(&sw->bound.nelems);
}

/* One of its holders, and whether @m is one, and whether there are others */
static struct l2wg_member *l2wg_holders(struct l2wg_switch *sw, u64 key,
					const struct l2wg_member *m, bool *mine, bool *others)
{
	struct l2wg_member *holder, *found = NULL;
	struct l2wg_bound *bound;
	struct l2wg_hold *hold;

	bound = l2wg_bound_lookup(sw, key);
	if (!bound)
		return NULL;
	list_for_each_entry_rcu(hold, &bound->holders, of_bound) {
		/* l2wg_bound_hand_over_locked() may write it. */
		holder = READ_ONCE(hold->member);
		if (holder == m)
			*mine = true;
		else
			*others = true;
		found = holder;
	}
	return found;
}

/**
 * l2wg_bound_check() - may a member use an address in a VLAN?
 * @sw:		the switch
 * @m:		the member
 * @key:	address and VLAN
 *
 * Context: RCU read side.
 * Return: see &enum l2wg_bound_verdict.
 */
enum l2wg_bound_verdict l2wg_bound_check(struct l2wg_switch *sw, const struct l2wg_member *m,
					 u64 key)
{
	bool mine = false, others = false;

	if (likely(!l2wg_bound_any(sw)))
		return L2WG_FREE;
	l2wg_holders(sw, l2wg_any_vlan(key), m, &mine, &others);
	l2wg_holders(sw, key, m, &mine, &others);
	if (mine)
		return others ? L2WG_SHARED : L2WG_MINE;
	return others ? L2WG_OTHERS : L2WG_FREE;
}

/**
 * l2wg_bound_find() - where an address is that has not been heard
 * @sw:		the switch
 * @key:	address and VLAN
 *
 * Context: RCU read side.
 * Return: the only member that it is bound to, if that may use the VLAN, or NULL.
 */
struct l2wg_member *l2wg_bound_find(struct l2wg_switch *sw, u64 key)
{
	struct l2wg_member *m, *in_vlan;
	bool mine = false, others = false;

	if (likely(!l2wg_bound_any(sw)))
		return NULL;
	m = l2wg_holders(sw, l2wg_any_vlan(key), NULL, &mine, &others);
	in_vlan = l2wg_holders(sw, key, NULL, &mine, &others);
	if (!m)
		m = in_vlan;
	/* any one of them, and no other than that one? */
	if (!m || l2wg_bound_check(sw, m, key) != L2WG_MINE)
		return NULL;
	return l2wg_member_in(m, l2wg_key_vid(key)) ? m : NULL;
}

static struct l2wg_hold *l2wg_hold_of(struct l2wg_bound *bound, const struct l2wg_member *m,
				      bool fdb)
{
	struct l2wg_hold *hold;

	list_for_each_entry(hold, &bound->holders, of_bound)
		if (hold->member == m && hold->fdb == fdb)
			return hold;
	return NULL;
}

static void l2wg_hold_del(struct l2wg_switch *sw, struct l2wg_hold *hold)
{
	struct l2wg_bound *bound = hold->bound;

	lockdep_assert_held(&sw->lock);
	list_del(&hold->of_member);
	list_del_rcu(&hold->of_bound);
	kfree_rcu(hold, rcu);
	if (list_empty(&bound->holders)) {
		rhashtable_remove_fast(&sw->bound, &bound->node, l2wg_bound_params);
		kfree_rcu(bound, rcu);
	}
}

/* What was learned of the address may be of somebody who may no longer use it. */
static void l2wg_bound_changed(struct l2wg_switch *sw, u64 key)
{
	u8 addr[ETH_ALEN];

	if (l2wg_key_vid(key) == L2WG_ANY_VLAN) {
		l2wg_key_addr(key, addr);
		l2wg_table_forget_mac(sw, addr);
	} else {
		l2wg_table_delete(sw, NULL, key, true);
	}
}

/**
 * l2wg_bound_add() - bind an address to a member, beside others
 * @sw:		the switch
 * @m:		the member
 * @key:	the address, and its VLAN or L2WG_ANY_VLAN
 * @fdb:	by `bridge fdb`; else by the member's options
 *
 * Context: Process, device_update_lock held; takes sw->lock.
 * Return: 0, -EEXIST, or another negative errno.
 */
int l2wg_bound_add(struct l2wg_switch *sw, struct l2wg_member *m, u64 key, bool fdb)
{
	struct l2wg_bound *bound, *new;
	struct l2wg_hold *hold;
	int ret = 0;

	new = kzalloc(sizeof(*new), GFP_KERNEL);
	hold = kzalloc(sizeof(*hold), GFP_KERNEL);
	if (!new || !hold) {
		kfree(new);
		kfree(hold);
		return -ENOMEM;
	}
	new->key = key;
	INIT_LIST_HEAD(&new->holders);
	hold->member = m;
	hold->fdb = fdb;

	rcu_read_lock();
	spin_lock_bh(&sw->lock);
	bound = l2wg_bound_lookup(sw, key);
	if (bound && l2wg_hold_of(bound, m, fdb)) {
		ret = -EEXIST;
	} else {
		hold->bound = bound ?: new;
		/* a holder first: whoever finds the binding must find one */
		list_add_tail_rcu(&hold->of_bound, &hold->bound->holders);
		if (!bound)
			ret = rhashtable_insert_fast(&sw->bound, &new->node, l2wg_bound_params);
	}
	if (!ret) {
		list_add_tail(&hold->of_member, &m->holds);
		hold = NULL;
		if (!bound)
			new = NULL;
	}
	spin_unlock_bh(&sw->lock);
	rcu_read_unlock();
	kfree(new);
	kfree(hold);
	if (!ret)
		l2wg_bound_changed(sw, key);
	return ret;
}

/**
 * l2wg_bound_del() - take a binding back
 * @sw:		the switch
 * @m:		the member, or NULL for all
 * @key:	as it was given to l2wg_bound_add()
 * @fdb:	likewise
 *
 * Context: Process, device_update_lock held; takes sw->lock.
 * Return: 0 or -ENOENT.
 */
int l2wg_bound_del(struct l2wg_switch *sw, const struct l2wg_member *m, u64 key, bool fdb)
{
	struct l2wg_hold *hold, *next;
	struct l2wg_bound *bound;
	int ret = -ENOENT;

	rcu_read_lock();
	spin_lock_bh(&sw->lock);
	bound = l2wg_bound_lookup(sw, key);
	if (bound) {
		list_for_each_entry_safe(hold, next, &bound->holders, of_bound) {
			if (hold->fdb != fdb || (m && hold->member != m))
				continue;
			l2wg_hold_del(sw, hold);
			ret = 0;
		}
	}
	spin_unlock_bh(&sw->lock);
	rcu_read_unlock();
	if (!ret)
		l2wg_bound_changed(sw, key);
	return ret;
}

/**
 * l2wg_bound_only() - take an address by `bridge fdb` from all but one member
 * @sw:		the switch
 * @m:		who keeps it
 * @key:	as it was given to l2wg_bound_add()
 *
 * Context: Process, device_update_lock held; takes sw->lock.
 */
void l2wg_bound_only(struct l2wg_switch *sw, const struct l2wg_member *m, u64 key)
{
	struct l2wg_hold *hold, *next;
	struct l2wg_bound *bound;

	rcu_read_lock();
	spin_lock_bh(&sw->lock);
	bound = l2wg_bound_lookup(sw, key);
	/* @m is one of them, so that the last one never goes here */
	if (bound && l2wg_hold_of(bound, m, true))
		list_for_each_entry_safe(hold, next, &bound->holders, of_bound)
			if (hold->fdb && hold->member != m)
				l2wg_hold_del(sw, hold);
	spin_unlock_bh(&sw->lock);
	rcu_read_unlock();
	l2wg_bound_changed(sw, key);
}

static bool l2wg_is_among(u64 key, const u64 *keys, unsigned int n)
{
	while (n--)
		if (keys[n] == key)
			return true;
	return false;
}

/**
 * l2wg_bound_keep() - take bindings by a member's options back, all but these
 * @sw:		the switch
 * @m:		the member
 * @keys:	those that stay
 * @n:		how many
 *
 * Context: Process, device_update_lock held; takes sw->lock.
 */
void l2wg_bound_keep(struct l2wg_switch *sw, struct l2wg_member *m, const u64 *keys,
		     unsigned int n)
{
	struct l2wg_hold *hold, *next;

	/* device_update_lock keeps the list as it is. */
	list_for_each_entry_safe(hold, next, &m->holds, of_member)
		if (!hold->fdb && !l2wg_is_among(hold->bound->key, keys, n))
			l2wg_bound_del(sw, m, hold->bound->key, false);
}

/**
 * l2wg_bound_flush_locked() - take all bindings of a member back
 * @sw:		the switch
 * @m:		the member
 * @fdb:	those by `bridge fdb`; else those by its options
 *
 * Context: sw->lock is held.
 */
void l2wg_bound_flush_locked(struct l2wg_switch *sw, struct l2wg_member *m, bool fdb)
{
	struct l2wg_hold *hold, *next;

	list_for_each_entry_safe(hold, next, &m->holds, of_member)
		if (hold->fdb == fdb)
			l2wg_hold_del(sw, hold);
}

/**
 * l2wg_bound_hand_over_locked() - give a member the bindings of another one
 * @sw:		the switch
 * @m:		who gets them
 * @old:	who has them
 * @fdb:	those by `bridge fdb`; else those by its options
 *
 * At no moment is an address that is bound to one of the two anybody's.
 *
 * Context: RCU read side, sw->lock is held.
 */
void l2wg_bound_hand_over_locked(struct l2wg_switch *sw, struct l2wg_member *m,
				 struct l2wg_member *old, bool fdb)
{
	struct l2wg_hold *hold, *next;

	lockdep_assert_held(&sw->lock);
	list_for_each_entry_safe(hold, next, &old->holds, of_member) {
		if (hold->fdb != fdb)
			continue;
		if (l2wg_hold_of(hold->bound, m, fdb)) {
			l2wg_hold_del(sw, hold);
			continue;
		}
		WRITE_ONCE(hold->member, m);
		list_move_tail(&hold->of_member, &m->holds);
	}
}

/**
 * l2wg_bound_init() - no bindings
 * @sw:		the switch
 *
 * Return: 0 or a negative errno.
 */
int l2wg_bound_init(struct l2wg_switch *sw)
{
	return rhashtable_init(&sw->bound, &l2wg_bound_params);
}

/**
 * l2wg_bound_destroy() - free the table of bindings
 * @sw:		the switch, without members
 *
 * Context: Process.
 */
void l2wg_bound_destroy(struct l2wg_switch *sw)
{
	rhashtable_destroy(&sw->bound);
}

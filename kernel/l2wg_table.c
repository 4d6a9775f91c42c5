// SPDX-License-Identifier: GPL-2.0
/*
 * The table of a switch: which member a (VLAN, MAC address) was heard from.
 *
 * Readers use RCU. Writers hold sw->lock: there are few of them, because a
 * frame from a known place writes at most a time stamp.
 *
 * Nothing that a member does makes the table grow beyond its limits. At the
 * link's limit the member with the most entries loses one, so that a flooder
 * pushes out only its own. Members are kept in buckets by their number of
 * entries, so the one with the most is found at once.
 */

#include "l2wg_switch.h"

#include <linux/jhash.h>

enum {
	CLOCK_STEPS = 8,	/* entries that the hand looks at */
	FREE_MOVES = 5,		/* of an address in a window */
	WINDOW = 180,		/* s */
	HOLD_MAX = 60,		/* s */
	LOOP_HOLD = 2,		/* s between the host and a peer */
	AGE_STEPS = 8,		/* looks at the table while an entry ages */
	AGE_MOST = 60,		/* s between two, for the ageing time may change */
	NOTES = 1000,		/* of one change; no more are told in a second */
};

/* One of them */
struct l2wg_note {
	const struct l2wg_member *m;
	u64 key;
	bool gone;
};

static struct kmem_cache *l2wg_entry_cache;

static const struct rhashtable_params l2wg_table_params = {
	.key_len = sizeof(u64),
	.key_offset = offsetof(struct l2wg_entry, key),
	.head_offset = offsetof(struct l2wg_entry, node),
	.automatic_shrinking = true,
};

static void l2wg_entry_free(struct rcu_head *rcu)
{
	kmem_cache_free(l2wg_entry_cache, container_of(rcu, struct l2wg_entry, rcu));
}

static unsigned long l2wg_ageing(const struct l2wg_switch *sw)
{
	return READ_ONCE(sw->ageing) * (unsigned long)HZ;
}

/**
 * l2wg_table_find() - what is known of an address in a VLAN
 * @sw:		the switch
 * @key:	from l2wg_key()
 *
 * Context: RCU read side.
 * Return: the entry, which may have aged, or NULL.
 */
struct l2wg_entry *l2wg_table_find(struct l2wg_switch *sw, u64 key)
{
	return rhashtable_lookup(&sw->table, &key, l2wg_table_params);
}

/**
 * l2wg_entry_alive() - has an entry been heard within the ageing time?
 * @sw:		the switch
 * @entry:	of its table
 *
 * Context: RCU read side or sw->lock.
 */
bool l2wg_entry_alive(const struct l2wg_switch *sw, const struct l2wg_entry *entry)
{
	return time_before(jiffies, READ_ONCE(entry->used) + l2wg_ageing(sw));
}

/**
 * l2wg_entry_is_sure() - is an address where its entry says?
 * @sw:		the switch
 * @entry:	of its table
 *
 * One that was heard elsewhere before it might move, and then no more where it was
 * before it might, may be at either place. Its entry stays, because what the rule
 * has refused changes none. What is for it goes to both until it speaks.
 *
 * Context: RCU read side.
 */
bool l2wg_entry_is_sure(const struct l2wg_switch *sw, const struct l2wg_entry *entry)
{
	unsigned long hold = READ_ONCE(entry->hold), used;

	if (unlikely(!l2wg_entry_alive(sw, entry)))
		return false;
	if (likely(!hold))
		return true;
	used = READ_ONCE(entry->used);
	return time_before(READ_ONCE(entry->claimed), used) ||
	       time_before(jiffies, used + hold * HZ);
}

/**
 * l2wg_entry_heard() - note that an address was heard where it is known to be
 * @entry:	the entry
 *
 * Writes only what changes: the cache line is shared by all who send there.
 *
 * Context: RCU read side.
 */
void l2wg_entry_heard(struct l2wg_entry *entry)
{
	unsigned long now = jiffies;

	if (READ_ONCE(entry->used) != now)
		WRITE_ONCE(entry->used, now);
}

static unsigned int l2wg_count_bucket(const struct l2wg_member *m)
{
	return min_t(unsigned int, m->count, L2WG_COUNTS);
}

/* Put a member into the bucket of its present count. The host is in none: it
 * has a limit of its own.
 */
static void l2wg_recount(struct l2wg_switch *sw, struct l2wg_member *m, int change)
{
	m->count += change;
	if (m == &sw->local)
		return;
	sw->learned += change;
	hlist_del_init(&m->by_count);
	if (m->count) {
		hlist_add_head(&m->by_count, &sw->by_count[l2wg_count_bucket(m)]);
		sw->top = max(sw->top, l2wg_count_bucket(m));
	}
	while (sw->top && hlist_empty(&sw->by_count[sw->top]))
		--sw->top;
}

static struct l2wg_member *l2wg_entry_member(const struct l2wg_switch *sw,
					     const struct l2wg_entry *entry)
{
	return rcu_dereference_protected(entry->member, lockdep_is_held(&sw->lock));
}

/**
 * l2wg_notes_begin() - remember what becomes of entries, if anybody listens
 * @sw:		the switch
 * @notes:	made empty; l2wg_notes_tell() is to follow
 *
 * There is no more room than for what may be told. Without memory nothing is.
 *
 * Context: RCU read side until it is told.
 */
void l2wg_notes_begin(struct l2wg_switch *sw, struct l2wg_notes *notes)
{
	memset(notes, 0, sizeof(*notes));
	if (likely(!l2wg_fdb_is_watched(sw)))
		return;
	notes->of = kmalloc_array(NOTES, sizeof(*notes->of), GFP_ATOMIC | __GFP_NOWARN);
	if (notes->of)
		notes->room = NOTES;
}

/**
 * l2wg_notes_tell() - tell `bridge monitor fdb` what has become of entries
 * @sw:		the switch
 * @notes:	since l2wg_notes_begin()
 *
 * Context: RCU read side, no lock of ours.
 */
void l2wg_notes_tell(struct l2wg_switch *sw, struct l2wg_notes *notes)
{
	unsigned int i;

	for (i = 0; i < notes->n; ++i)
		l2wg_fdb_notify(sw, notes->of[i].m, notes->of[i].key, notes->of[i].gone);
	kfree(notes->of);
}

static void l2wg_note(struct l2wg_notes *notes, const struct l2wg_entry *entry,
		      const struct l2wg_member *m, bool gone)
{
	if (notes->n < notes->room)
		notes->of[notes->n++] = (struct l2wg_note){ m, entry->key, gone };
}

static void l2wg_entry_del(struct l2wg_switch *sw, struct l2wg_entry *entry)
{
	lockdep_assert_held(&sw->lock);

	rhashtable_remove_fast(&sw->table, &entry->node, l2wg_table_params);
	list_del(&entry->list);
	l2wg_recount(sw, l2wg_entry_member(sw, entry), -1);
	call_rcu(&entry->rcu, l2wg_entry_free);
}

static void l2wg_entry_del_noted(struct l2wg_switch *sw, struct l2wg_entry *entry,
				 struct l2wg_notes *notes)
{
	l2wg_note(notes, entry, l2wg_entry_member(sw, entry), true);
	l2wg_entry_del(sw, entry);
}

/* The member with the most entries: in all buckets but the last one any will
 * do, and those in the last one are few, because the link has a limit.
 */
static struct l2wg_member *l2wg_biggest(struct l2wg_switch *sw)
{
	struct l2wg_member *m, *biggest = NULL;

	hlist_for_each_entry(m, &sw->by_count[sw->top], by_count) {
		if (!biggest || m->count > biggest->count)
			biggest = m;
		if (sw->top < L2WG_COUNTS)
			break;
	}
	return biggest;
}

/* Remove the oldest of the next few that the hand points at. Those that it has
 * passed go behind all others.
 */
static void l2wg_evict(struct l2wg_switch *sw, struct l2wg_member *m, struct l2wg_notes *notes)
{
	struct l2wg_entry *entry, *next, *oldest = NULL;
	unsigned int steps = 0;

	if (!m)
		return;
	list_for_each_entry_safe(entry, next, &m->entries, list) {
		if (steps++ == min_t(unsigned int, CLOCK_STEPS, m->count))
			break;
		if (!oldest || time_before(READ_ONCE(entry->used), READ_ONCE(oldest->used)))
			oldest = entry;
		list_move_tail(&entry->list, &m->entries);
	}
	if (oldest)
		l2wg_entry_del_noted(sw, oldest, notes);
}

static enum l2wg_switch_counter l2wg_learn_new(struct l2wg_switch *sw, struct l2wg_member *m,
					       u64 key, bool shared,
					       struct l2wg_notes *evicted)
{
	struct l2wg_entry *entry;

	if (m == &sw->local) {
		if (m->count >= READ_ONCE(sw->max_local))
			l2wg_evict(sw, m, evicted);
	} else {
		if (!shared && m->count >= READ_ONCE(m->max_macs))
			return L2WG_COUNTER_RX_MAC_LIMIT;
		if (sw->learned >= READ_ONCE(sw->max_macs))
			l2wg_evict(sw, l2wg_biggest(sw), evicted);
	}

	entry = kmem_cache_zalloc(l2wg_entry_cache, GFP_ATOMIC | __GFP_NOWARN);
	if (unlikely(!entry))
		return L2WG_COUNTER_RX_NO_MEMORY;
	entry->key = key;
	entry->used = jiffies;
	entry->window = entry->used;
	RCU_INIT_POINTER(entry->member, m);
	if (unlikely(rhashtable_insert_fast(&sw->table, &entry->node, l2wg_table_params))) {
		kmem_cache_free(l2wg_entry_cache, entry);
		return L2WG_COUNTER_RX_NO_MEMORY;
	}
	list_add_tail(&entry->list, &m->entries);
	l2wg_recount(sw, m, 1);
	return 0;
}

/* Must the address stay at its present place, because that was not silent for
 * @hold seconds?
 */
static bool l2wg_must_stay(struct l2wg_entry *entry, unsigned long hold)
{
	unsigned long now = jiffies;

	if (time_after_eq(now, READ_ONCE(entry->used) + hold * HZ))
		return false;
	WRITE_ONCE(entry->claimed, now);
	WRITE_ONCE(entry->hold, hold);
	return true;
}

/* May the address leave its present place, which is another one? The first few
 * moves are free; then that place must have been silent, longer each time: a
 * station that has left may come back, and one that is there keeps its place.
 */
static bool l2wg_may_move(struct l2wg_entry *entry)
{
	unsigned long now = jiffies, hold;

	if (time_after_eq(now, entry->window + WINDOW * HZ)) {
		entry->window = now;
		entry->moves = 0;
	}
	if (entry->moves < FREE_MOVES)
		return true;
	hold = min_t(unsigned long, HOLD_MAX, 1UL << min(entry->moves - FREE_MOVES, 6));
	return !l2wg_must_stay(entry, hold);
}

static enum l2wg_switch_counter l2wg_move(struct l2wg_switch *sw, struct l2wg_entry *entry,
					  struct l2wg_member *m, bool shared,
					  struct l2wg_notes *evicted)
{
	struct l2wg_member *old = l2wg_entry_member(sw, entry);

	if ((m == &sw->local || old == &sw->local) && l2wg_must_stay(entry, LOOP_HOLD))
		return m == &sw->local ? L2WG_COUNTER_TX_LOOP : L2WG_COUNTER_RX_LOOP;
	if (!shared) {
		if (m == &sw->local ? m->count >= READ_ONCE(sw->max_local) :
		    m->count >= READ_ONCE(m->max_macs))
			return L2WG_COUNTER_RX_MOVE;
		if (!l2wg_may_move(entry))
			return L2WG_COUNTER_RX_MOVE;
		if (entry->moves < U8_MAX)
			++entry->moves;
	}
	/* The host's entries are no part of the limit of all peers. */
	if (old == &sw->local && sw->learned >= READ_ONCE(sw->max_macs))
		l2wg_evict(sw, l2wg_biggest(sw), evicted);
	list_move_tail(&entry->list, &m->entries);
	rcu_assign_pointer(entry->member, m);
	WRITE_ONCE(entry->used, jiffies);
	WRITE_ONCE(entry->hold, 0);
	l2wg_recount(sw, old, -1);
	l2wg_recount(sw, m, 1);
	return 0;
}

/**
 * l2wg_table_learn() - an address was heard from where it is not known to be
 * @sw:		the switch
 * @m:		where from; &sw->local for the host
 * @key:	the source address and its VLAN
 *
 * Looks at everything again, because only here the lock is held.
 *
 * Context: Softirqs off; takes sw->lock.
 * Return: 0, or the counter of the check that it fails; the frame is to be
 * dropped then. It is not counted here.
 */
enum l2wg_switch_counter l2wg_table_learn(struct l2wg_switch *sw, struct l2wg_member *m, u64 key)
{
	enum l2wg_switch_counter failed = 0;
	struct l2wg_member *old = NULL;
	enum l2wg_bound_verdict bound;
	struct l2wg_entry *entry;
	struct l2wg_note aged_and_evicted[2];
	struct l2wg_notes notes = { .of = aged_and_evicted, .room = 2 };
	bool changed = false;
	u8 addr[ETH_ALEN] __aligned(2);
	unsigned int i;

	rcu_read_lock();
	spin_lock_bh(&sw->lock);
	/* NAPI runs on when its peer has been removed, or the link is down. */
	if (m->gone || !netif_running(sw->dev)) {
		failed = L2WG_COUNTER_RX_CLOSED;
		goto out;
	}
	if (m != &sw->local) {
		l2wg_key_addr(key, addr);
		if (l2wg_is_host_mac(sw, addr))
			failed = L2WG_COUNTER_RX_OWN_MAC;
		else if (!l2wg_member_in(m, l2wg_key_vid(key)))
			failed = L2WG_COUNTER_RX_VLAN;
		if (failed)
			goto out;
	}
	bound = l2wg_bound_check(sw, m, key);
	if (bound == L2WG_MINE)
		goto out;
	if (bound == L2WG_OTHERS) {
		/* The host may say what it likes, and it is not learned. */
		failed = m == &sw->local ? 0 : L2WG_COUNTER_RX_MAC_BOUND;
		goto out;
	}
	entry = l2wg_table_find(sw, key);
	if (entry && !l2wg_entry_alive(sw, entry)) {
		l2wg_entry_del_noted(sw, entry, &notes);
		entry = NULL;
	}
	if (entry)
		old = l2wg_entry_member(sw, entry);
	if (old == m) {
		l2wg_entry_heard(entry);
		goto out;
	}
	if (entry)
		failed = l2wg_move(sw, entry, m, bound == L2WG_SHARED, &notes);
	else
		failed = l2wg_learn_new(sw, m, key, bound == L2WG_SHARED, &notes);
	changed = !failed;
out:
	spin_unlock_bh(&sw->lock);
	for (i = 0; unlikely(i < notes.n); ++i)
		l2wg_fdb_notify(sw, notes.of[i].m, notes.of[i].key, true);
	if (changed) {
		l2wg_event(sw, old ? L2WG_EVENT_MOVED : L2WG_EVENT_LEARNED, m, old, key, 0);
		l2wg_fdb_notify(sw, m, key, false);
	}
	rcu_read_unlock();
	return failed;
}

/**
 * l2wg_table_hand_over_locked() - what was learned from a member is at another one
 * @sw:		the switch
 * @m:		where it is now; its options and bindings are set
 * @old:	where it was
 * @notes:	of l2wg_notes_begin()
 *
 * What @m may not have is forgotten. Moves are not counted: no station has gone
 * anywhere.
 *
 * Context: RCU read side, sw->lock is held.
 */
void l2wg_table_hand_over_locked(struct l2wg_switch *sw, struct l2wg_member *m,
				 struct l2wg_member *old, struct l2wg_notes *notes)
{
	enum l2wg_bound_verdict bound;
	struct l2wg_entry *entry, *next;

	lockdep_assert_held(&sw->lock);
	list_for_each_entry_safe(entry, next, &old->entries, list) {
		bound = l2wg_bound_check(sw, m, entry->key);
		if (!l2wg_member_in(m, l2wg_key_vid(entry->key)) ||
		    (bound == L2WG_FREE ? m->count >= READ_ONCE(m->max_macs) :
		     bound != L2WG_SHARED)) {
			l2wg_entry_del_noted(sw, entry, notes);
			continue;
		}
		l2wg_note(notes, entry, m, false);
		list_move_tail(&entry->list, &m->entries);
		rcu_assign_pointer(entry->member, m);
		l2wg_recount(sw, old, -1);
		l2wg_recount(sw, m, 1);
	}
}

/**
 * l2wg_table_flush() - forget what was learned
 * @sw:		the switch
 * @m:		from this member, or NULL for all and the host
 * @vid:	in this VLAN, or -1 for all
 *
 * Context: Any but hard interrupts; takes sw->lock, anew for each member.
 * Return: entries that are gone.
 */
unsigned int l2wg_table_flush(struct l2wg_switch *sw, struct l2wg_member *m, int vid)
{
	struct l2wg_entry *entry, *next;
	struct l2wg_notes notes;
	unsigned int n = 0;

	rcu_read_lock();
	if (m) {
		l2wg_notes_begin(sw, &notes);
		spin_lock_bh(&sw->lock);
		list_for_each_entry_safe(entry, next, &m->entries, list) {
			if (vid >= 0 && l2wg_key_vid(entry->key) != vid)
				continue;
			l2wg_entry_del_noted(sw, entry, &notes);
			++n;
		}
		spin_unlock_bh(&sw->lock);
		l2wg_notes_tell(sw, &notes);
	} else {
		list_for_each_entry_rcu(m, &sw->members, list)
			n += l2wg_table_flush(sw, m, vid);
		n += l2wg_table_flush(sw, &sw->local, vid);
	}
	rcu_read_unlock();
	return n;
}

/**
 * l2wg_table_delete() - remove one learned entry
 * @sw:		the switch
 * @m:		only if it is there, or NULL
 * @key:	its key
 * @tell:	those who watch the table; else the caller does
 *
 * Context: Any but hard interrupts; takes sw->lock.
 * Return: true if there was one.
 */
bool l2wg_table_delete(struct l2wg_switch *sw, const struct l2wg_member *m, u64 key, bool tell)
{
	const struct l2wg_member *where = NULL;
	struct l2wg_entry *entry;

	rcu_read_lock();
	spin_lock_bh(&sw->lock);
	entry = l2wg_table_find(sw, key);
	if (entry)
		where = l2wg_entry_member(sw, entry);
	if (entry && m && where != m)
		entry = NULL;
	if (entry)
		l2wg_entry_del(sw, entry);
	spin_unlock_bh(&sw->lock);
	if (entry && tell)
		l2wg_fdb_notify(sw, where, key, true);
	rcu_read_unlock();
	return entry;
}

static void l2wg_forget_mac_of(struct l2wg_switch *sw, struct l2wg_member *m, const u8 *addr,
			       struct l2wg_notes *notes)
{
	u64 mac = ether_addr_to_u64(addr);
	struct l2wg_entry *entry, *next;

	list_for_each_entry_safe(entry, next, &m->entries, list)
		if ((entry->key & GENMASK_ULL(47, 0)) == mac)
			l2wg_entry_del_noted(sw, entry, notes);
}

/**
 * l2wg_table_forget_mac() - forget an address in every VLAN
 * @sw:		the switch
 * @addr:	the address, which has been bound, or is no longer
 *
 * Context: Any but hard interrupts; takes sw->lock.
 */
void l2wg_table_forget_mac(struct l2wg_switch *sw, const u8 *addr)
{
	struct l2wg_notes notes;
	struct l2wg_member *m;

	rcu_read_lock();
	l2wg_notes_begin(sw, &notes);
	spin_lock_bh(&sw->lock);
	l2wg_forget_mac_of(sw, &sw->local, addr, &notes);
	list_for_each_entry_rcu(m, &sw->members, list)
		l2wg_forget_mac_of(sw, m, addr, &notes);
	spin_unlock_bh(&sw->lock);
	l2wg_notes_tell(sw, &notes);
	rcu_read_unlock();
}

static unsigned long l2wg_age_interval(const struct l2wg_switch *sw)
{
	return clamp_t(unsigned long, l2wg_ageing(sw) / AGE_STEPS, HZ, AGE_MOST * HZ);
}

static void l2wg_age(struct work_struct *work)
{
	struct l2wg_switch *sw = container_of(to_delayed_work(work), struct l2wg_switch, age_work);
	struct rhashtable_iter iter;
	struct l2wg_entry *entry;
	struct l2wg_member *m;

	rhashtable_walk_enter(&sw->table, &iter);
	rhashtable_walk_start(&iter);
	while ((entry = rhashtable_walk_next(&iter))) {
		/* -EAGAIN: it is being resized; what is missed now has time. */
		if (IS_ERR(entry))
			continue;
		if (l2wg_entry_alive(sw, entry)) {
			/* heard since: forgotten before jiffies come round again */
			if (READ_ONCE(entry->hold) &&
			    time_before(READ_ONCE(entry->claimed), READ_ONCE(entry->used)))
				WRITE_ONCE(entry->hold, 0);
			continue;
		}
		m = NULL;
		spin_lock_bh(&sw->lock);
		/* Still there, and not another one of the same key */
		if (l2wg_table_find(sw, entry->key) == entry && !l2wg_entry_alive(sw, entry)) {
			m = l2wg_entry_member(sw, entry);
			l2wg_entry_del(sw, entry);
		}
		spin_unlock_bh(&sw->lock);
		if (m)
			l2wg_fdb_notify(sw, m, entry->key, true);
	}
	rhashtable_walk_stop(&iter);
	rhashtable_walk_exit(&iter);
	queue_delayed_work(system_power_efficient_wq, &sw->age_work, l2wg_age_interval(sw));
}

/**
 * l2wg_table_init() - an empty table
 * @sw:		the switch, zeroed
 *
 * Return: 0 or a negative errno.
 */
int l2wg_table_init(struct l2wg_switch *sw)
{
	spin_lock_init(&sw->lock);
	sw->ageing = L2WG_DEFAULT_AGEING;
	sw->max_macs = L2WG_DEFAULT_MAX_MACS;
	sw->max_local = L2WG_DEFAULT_MAX_LOCAL;
	INIT_DELAYED_WORK(&sw->age_work, l2wg_age);
	return rhashtable_init(&sw->table, &l2wg_table_params);
}

/**
 * l2wg_table_destroy() - free the table
 * @sw:		the switch; no reader and no peer is left
 *
 * Context: Process.
 */
void l2wg_table_destroy(struct l2wg_switch *sw)
{
	l2wg_table_flush(sw, &sw->local, -1);
	rhashtable_destroy(&sw->table);
	/* before the cache can go */
	rcu_barrier();
}

/**
 * l2wg_cache_init() - where entries come from
 *
 * Context: Module init.
 * Return: 0 or -ENOMEM.
 */
int __init l2wg_cache_init(void)
{
	l2wg_entry_cache = kmem_cache_create("l2wg_entry", sizeof(struct l2wg_entry), 0, 0, NULL);
	return l2wg_entry_cache ? 0 : -ENOMEM;
}

/**
 * l2wg_cache_destroy() - the opposite; every switch is gone
 *
 * Context: Module init or exit.
 */
void l2wg_cache_destroy(void)
{
	kmem_cache_destroy(l2wg_entry_cache);
}

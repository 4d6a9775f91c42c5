// SPDX-License-Identifier: GPL-2.0
/*
 * `bridge fdb` on a switch: what is learned and bound, with a peer named by its
 * handle, an address of fe80::/64 (l2wg_member.c).
 *
 * An entry with a handle and without ageing (`permanent`, which is iproute2's
 * default, or `static`) binds the address to the peer in that VLAN, as
 * AllowedMACs do in all. `dynamic` is as if it had been learned. One without a
 * handle is an address of the link itself, as on every device: macvlan and other
 * users of unicast filters go on working, and no peer may use it.
 */

#include "l2wg_switch.h"
#include "l2wg_compat.h"

#include <net/netlink.h>
#include <net/rtnetlink.h>

static int l2wg_fdb_fill(struct sk_buff *skb, const struct l2wg_switch *sw,
			 const struct l2wg_member *m, u64 key, u16 state, unsigned long used,
			 u32 portid, u32 seq, int type, unsigned int flags)
{
	u32 age = jiffies_to_clock_t(jiffies - used);
	struct nda_cacheinfo info = { .ndm_used = age, .ndm_updated = age };
	struct nlmsghdr *nlh;
	struct in6_addr dst;
	struct ndmsg *ndm;
	u8 addr[ETH_ALEN];
	u16 vid;

	nlh = nlmsg_put(skb, portid, seq, type, sizeof(*ndm), flags);
	if (!nlh)
		return -EMSGSIZE;
	ndm = nlmsg_data(nlh);
	memset(ndm, 0, sizeof(*ndm));
	ndm->ndm_family = AF_BRIDGE;
	ndm->ndm_flags = NTF_SELF;
	ndm->ndm_type = RTN_UNICAST;
	ndm->ndm_ifindex = sw->dev->ifindex;
	ndm->ndm_state = state;
	l2wg_key_addr(key, addr);
	if (nla_put(skb, NDA_LLADDR, sizeof(addr), addr))
		goto cancel;
	if (m != &sw->local) {
		l2wg_member_handle(m, &dst);
		if (nla_put_in6_addr(skb, NDA_DST, &dst))
			goto cancel;
	}
	vid = l2wg_key_vid(key);
	if (vid && vid != L2WG_ANY_VLAN && nla_put_u16(skb, NDA_VLAN, vid))
		goto cancel;
	if (nla_put(skb, NDA_CACHEINFO, sizeof(info), &info))
		goto cancel;
	nlmsg_end(skb, nlh);
	return 0;

cancel:
	nlmsg_cancel(skb, nlh);
	return -EMSGSIZE;
}

/**
 * l2wg_fdb_is_watched() - does anybody listen to what becomes of entries?
 * @sw:		the switch
 *
 * Context: Any.
 */
bool l2wg_fdb_is_watched(const struct l2wg_switch *sw)
{
	return netlink_has_listeners(dev_net(sw->dev)->rtnl, RTNLGRP_NEIGH);
}

/**
 * l2wg_fdb_notify() - tell `bridge monitor fdb` of a learned entry
 * @sw:		the switch
 * @m:		where it is
 * @key:	address and VLAN
 * @gone:	it has been removed
 *
 * At most 1000 in a second.
 *
 * Context: RCU read side, no lock of ours.
 */
void l2wg_fdb_notify(struct l2wg_switch *sw, const struct l2wg_member *m, u64 key, bool gone)
{
	struct net *net = dev_net(sw->dev);
	struct sk_buff *skb;
	int ret;

	if (likely(!l2wg_fdb_is_watched(sw)))
		return;
	if (!__ratelimit(&sw->notes))
		return;
	skb = nlmsg_new(NLMSG_ALIGN(sizeof(struct ndmsg)) + nla_total_size(ETH_ALEN) +
			nla_total_size(sizeof(struct in6_addr)) + nla_total_size(sizeof(u16)) +
			nla_total_size(sizeof(struct nda_cacheinfo)), GFP_ATOMIC);
	if (!skb)
		goto error;
	ret = l2wg_fdb_fill(skb, sw, m, key, gone ? NUD_STALE : NUD_REACHABLE, jiffies, 0, 0,
			    gone ? RTM_DELNEIGH : RTM_NEWNEIGH, 0);
	if (WARN_ON_ONCE(ret)) {
		kfree_skb(skb);
		goto error;
	}
	rtnl_notify(skb, net, 0, RTNLGRP_NEIGH, NULL, GFP_ATOMIC);
	return;

error:
	rtnl_set_sk_err(net, RTNLGRP_NEIGH, -ENOBUFS);
}

/* The member that NDA_DST names */
static struct l2wg_member *l2wg_fdb_member(struct l2wg_switch *sw, const struct nlattr *dst,
					   struct netlink_ext_ack *extack)
{
	struct in6_addr addr;

	if (nla_len(dst) != sizeof(addr)) {
		NL_SET_ERR_MSG(extack, "dst names the peer: its handle, an address of fe80::/64");
		return ERR_PTR(-EINVAL);
	}
	addr = nla_get_in6_addr(dst);
	return l2wg_member_of_handle(sw, &addr, extack);
}

static int l2wg_fdb_check(struct l2wg_switch *sw, const unsigned char *addr,
			  struct netlink_ext_ack *extack)
{
	bool own;

	if (!is_valid_ether_addr(addr)) {
		NL_SET_ERR_MSG(extack, "a switch has entries for unicast addresses");
		return -EADDRNOTAVAIL;
	}
	rcu_read_lock();
	own = l2wg_is_host_mac(sw, addr);
	rcu_read_unlock();
	if (own) {
		NL_SET_ERR_MSG(extack, "the address is the host's own");
		return -EADDRINUSE;
	}
	return 0;
}

/* As if it had been heard: it takes the place of what is known now. */
static int l2wg_fdb_add_learned(struct l2wg_switch *sw, struct l2wg_member *m, u64 key,
				u16 flags, struct netlink_ext_ack *extack)
{
	enum l2wg_bound_verdict bound;
	struct l2wg_entry *entry;
	bool known, may;

	if (!netif_running(sw->dev)) {
		NL_SET_ERR_MSG(extack, "the link is down: nothing is learned");
		return -ENETDOWN;
	}
	rcu_read_lock();
	entry = l2wg_table_find(sw, key);
	known = entry && l2wg_entry_alive(sw, entry);
	bound = l2wg_bound_check(sw, m, key);
	may = l2wg_member_in(m, l2wg_key_vid(key));
	rcu_read_unlock();
	if (!may) {
		NL_SET_ERR_MSG(extack, "the peer may not use this VLAN");
		return -EINVAL;
	}
	if (known && (flags & NLM_F_EXCL)) {
		NL_SET_ERR_MSG(extack, "the address is known: replace");
		return -EEXIST;
	}
	if (!known && !(flags & NLM_F_CREATE)) {
		NL_SET_ERR_MSG(extack, "the address is not known: add");
		return -ENOENT;
	}
	/* What is known goes only for what can take its place. */
	if (known && bound != L2WG_OTHERS && READ_ONCE(m->count) < READ_ONCE(m->max_macs))
		l2wg_table_delete(sw, NULL, key, false);
	if (l2wg_table_learn(sw, m, key)) {
		NL_SET_ERR_MSG(extack, "the address is bound to others, or the peer has too many");
		return -ENOSPC;
	}
	return 0;
}

static int l2wg_fdb_add_bound(struct l2wg_switch *sw, struct l2wg_member *m, u64 key, u16 flags,
			      struct netlink_ext_ack *extack)
{
	enum l2wg_bound_verdict bound;
	int ret;

	rcu_read_lock();
	bound = l2wg_bound_check(sw, m, key);
	rcu_read_unlock();
	if ((bound != L2WG_FREE && (flags & NLM_F_EXCL)) ||
	    (bound == L2WG_OTHERS && !(flags & (NLM_F_APPEND | NLM_F_REPLACE)))) {
		NL_SET_ERR_MSG(extack, "the address is bound already: append or replace");
		return -EEXIST;
	}
	ret = l2wg_bound_add(sw, m, key, true);
	/* The others go when this one has it: at no moment is it anybody's. */
	if ((!ret || ret == -EEXIST) && flags & NLM_F_REPLACE)
		l2wg_bound_only(sw, m, key);
	return ret == -EEXIST && !(flags & NLM_F_EXCL) ? 0 : ret;
}

/**
 * l2wg_fdb_add() - ndo_fdb_add
 *
 * Context: RTNL.
 */
int l2wg_fdb_add(struct ndmsg *ndm, struct nlattr *tb[], struct net_device *dev,
		 const unsigned char *addr, u16 vid, u16 flags,
#ifdef L2WG_HAVE_FDB_NOTIFIED
		 bool *notified,
#endif
		 struct netlink_ext_ack *extack)
{
	struct l2wg_switch *sw = l2wg_switch(dev);
	struct l2wg_member *m;
	int ret;

	if (!tb[NDA_DST]) {
		if (ndm->ndm_state & NUD_PERMANENT)
			return ndo_dflt_fdb_add(ndm, tb, dev, addr, vid, flags);
		NL_SET_ERR_MSG(extack, "dst names the peer: its handle, an address of fe80::/64");
		return -EINVAL;
	}
	ret = l2wg_fdb_check(sw, addr, extack);
	if (ret)
		return ret;

	mutex_lock(&sw->wg->device_update_lock);
	m = l2wg_fdb_member(sw, tb[NDA_DST], extack);
	if (IS_ERR(m))
		ret = PTR_ERR(m);
	else if (ndm->ndm_state & (NUD_PERMANENT | NUD_NOARP))
		ret = l2wg_fdb_add_bound(sw, m, l2wg_key(vid, addr), flags, extack);
	else
		ret = l2wg_fdb_add_learned(sw, m, l2wg_key(vid, addr), flags, extack);
	mutex_unlock(&sw->wg->device_update_lock);
	return ret;
}

static int l2wg_fdb_del_entry(struct l2wg_switch *sw, struct nlattr *tb[], u64 key,
			      struct netlink_ext_ack *extack)
{
	struct l2wg_member *m = NULL;
	bool bound, learned;

	if (tb[NDA_DST]) {
		m = l2wg_fdb_member(sw, tb[NDA_DST], extack);
		if (IS_ERR(m))
			return PTR_ERR(m);
	}
	bound = !l2wg_bound_del(sw, m, key, true);
	learned = l2wg_table_delete(sw, m, key, false);
	if (bound || learned)
		return 0;
	NL_SET_ERR_MSG(extack, "there is no such entry");
	return -ENOENT;
}

/**
 * l2wg_fdb_del() - ndo_fdb_del
 *
 * Takes back what l2wg_fdb_add() has added, and what was learned. AllowedMACs
 * stay: they are a peer's options.
 *
 * Context: RTNL.
 */
int l2wg_fdb_del(struct ndmsg *ndm, struct nlattr *tb[], struct net_device *dev,
		 const unsigned char *addr, u16 vid
#ifdef L2WG_HAVE_FDB_NOTIFIED
		 , bool *notified
#endif
#ifdef L2WG_HAVE_FDB_DEL_EXTACK
		 , struct netlink_ext_ack *extack
#endif
		 )
{
#ifndef L2WG_HAVE_FDB_DEL_EXTACK
	struct netlink_ext_ack *extack = NULL;
#endif
	struct l2wg_switch *sw = l2wg_switch(dev);
	int ret;

	mutex_lock(&sw->wg->device_update_lock);
	ret = l2wg_fdb_del_entry(sw, tb, l2wg_key(vid, addr), extack);
	mutex_unlock(&sw->wg->device_update_lock);
	if (ret == -ENOENT && !tb[NDA_DST] && !vid)
		ret = ndo_dflt_fdb_del(ndm, tb, dev, addr, vid);
	return ret;
}

#if defined(L2WG_HAVE_FDB_DEL_BULK_NLH)
/**
 * l2wg_fdb_del_bulk() - ndo_fdb_del_bulk: forget what was learned
 *
 * Context: RTNL.
 */
int l2wg_fdb_del_bulk(struct nlmsghdr *nlh, struct net_device *dev,
		      struct netlink_ext_ack *extack)
{
	static const struct nla_policy policy[NDA_MAX + 1] = {
		[NDA_VLAN] = NLA_POLICY_RANGE(NLA_U16, 1, VLAN_N_VID - 2),
	};
	struct nlattr *tb[NDA_MAX + 1];
	int ret, vid = -1;

	ret = nlmsg_parse(nlh, sizeof(struct ndmsg), tb, NDA_MAX, policy, extack);
	if (ret)
		return ret;
	if (tb[NDA_VLAN])
		vid = nla_get_u16(tb[NDA_VLAN]);
	l2wg_table_flush(l2wg_switch(dev), NULL, vid);
	return 0;
}
#elif defined(L2WG_HAVE_FDB_DEL_BULK_VID)
/**
 * l2wg_fdb_del_bulk() - ndo_fdb_del_bulk: forget what was learned
 *
 * Context: RTNL.
 */
int l2wg_fdb_del_bulk(struct ndmsg *ndm, struct nlattr *tb[], struct net_device *dev, u16 vid,
		      struct netlink_ext_ack *extack)
{
	unsigned int i;

	/* By state, flags or port: what is learned is all of one kind. */
	for (i = 0; i <= NDA_MAX; ++i) {
		if (tb[i] && i != NDA_VLAN) {
			NL_SET_ERR_MSG(extack, "a switch flushes what is learned, by VLAN or all");
			return -EINVAL;
		}
	}
	l2wg_table_flush(l2wg_switch(dev), NULL, vid ?: -1);
	return 0;
}
#endif

/* A dump: where its entries go, and which of them it has had */
struct l2wg_fdb_dump {
	struct l2wg_switch *sw;
	struct sk_buff *skb;
	struct netlink_callback *cb;
	int start;	/* entries before this one are in earlier messages */
	int *idx;
};

static int l2wg_fdb_dump_one(const struct l2wg_fdb_dump *dump, const struct l2wg_member *m,
			     u64 key, u16 state, unsigned long used)
{
	int ret = 0;

	if (*dump->idx >= dump->start)
		ret = l2wg_fdb_fill(dump->skb, dump->sw, m, key, state, used,
				    NETLINK_CB(dump->cb->skb).portid, dump->cb->nlh->nlmsg_seq,
				    RTM_NEWNEIGH, NLM_F_MULTI);
	if (!ret)
		++*dump->idx;
	return ret;
}

static int l2wg_fdb_dump_learned(const struct l2wg_fdb_dump *dump)
{
	struct l2wg_entry *entry;
	struct rhashtable_iter iter;
	int ret = 0;

	rhashtable_walk_enter(&dump->sw->table, &iter);
	rhashtable_walk_start(&iter);
	while (!ret && (entry = rhashtable_walk_next(&iter))) {
		if (IS_ERR(entry) || !l2wg_entry_alive(dump->sw, entry))
			continue;
		ret = l2wg_fdb_dump_one(dump, rcu_dereference(entry->member), entry->key,
					NUD_REACHABLE, READ_ONCE(entry->used));
	}
	rhashtable_walk_stop(&iter);
	rhashtable_walk_exit(&iter);
	return ret;
}

static int l2wg_fdb_dump_bound(const struct l2wg_fdb_dump *dump)
{
	struct rhashtable_iter iter;
	struct l2wg_bound *bound;
	struct l2wg_hold *hold;
	int ret = 0;

	rhashtable_walk_enter(&dump->sw->bound, &iter);
	rhashtable_walk_start(&iter);
	while (!ret && (bound = rhashtable_walk_next(&iter))) {
		if (IS_ERR(bound))
			continue;
		list_for_each_entry_rcu(hold, &bound->holders, of_bound) {
			ret = l2wg_fdb_dump_one(dump, READ_ONCE(hold->member), bound->key,
						hold->fdb ? NUD_PERMANENT : NUD_NOARP, jiffies);
			if (ret)
				break;
		}
	}
	rhashtable_walk_stop(&iter);
	rhashtable_walk_exit(&iter);
	return ret;
}

/**
 * l2wg_fdb_dump() - ndo_fdb_dump: the link's own addresses, bound ones, learned ones
 *
 * Resumes by counting. What comes or goes meanwhile may be missed or be there
 * twice, as in every such dump.
 *
 * Context: RTNL.
 */
int l2wg_fdb_dump(struct sk_buff *skb, struct netlink_callback *cb, struct net_device *dev,
		  struct net_device *filter_dev, int *idx)
{
	const struct l2wg_fdb_dump dump = {
		.sw = l2wg_switch(dev),
		.skb = skb,
		.cb = cb,
		.start = l2wg_fdb_dump_start(cb),
		.idx = idx,
	};
	int ret;

	ret = ndo_dflt_fdb_dump(skb, cb, dev, filter_dev, idx);
	if (!ret)
		ret = l2wg_fdb_dump_bound(&dump);
	if (!ret)
		ret = l2wg_fdb_dump_learned(&dump);
	return ret;
}

/**
 * l2wg_fdb_get() - ndo_fdb_get: where an address in a VLAN is
 *
 * Context: RTNL.
 */
int l2wg_fdb_get(struct sk_buff *skb, struct nlattr *tb[], struct net_device *dev,
		 const unsigned char *addr, u16 vid, u32 portid, u32 seq,
		 struct netlink_ext_ack *extack)
{
	struct l2wg_switch *sw = l2wg_switch(dev);
	u64 key = l2wg_key(vid, addr);
	struct l2wg_entry *entry;
	struct l2wg_member *m;
	int ret = -ENOENT;

	rcu_read_lock();
	entry = l2wg_table_find(sw, key);
	if (entry && l2wg_entry_alive(sw, entry)) {
		ret = l2wg_fdb_fill(skb, sw, rcu_dereference(entry->member), key, NUD_REACHABLE,
				    READ_ONCE(entry->used), portid, seq, RTM_NEWNEIGH, 0);
	} else {
		m = l2wg_bound_find(sw, key);
		if (m)
			ret = l2wg_fdb_fill(skb, sw, m, key, NUD_NOARP, jiffies, portid, seq,
					    RTM_NEWNEIGH, 0);
	}
	rcu_read_unlock();
	if (ret == -ENOENT)
		NL_SET_ERR_MSG(extack, "no peer is known to have this address");
	return ret;
}

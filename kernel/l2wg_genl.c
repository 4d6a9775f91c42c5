// SPDX-License-Identifier: GPL-2.0
/*
 * The generic-netlink family `l2wg`: options, counters, table and events of
 * switches. kernel/uapi/l2wg.yaml says what is in each message.
 */

#include "l2wg_switch.h"
#include "l2wg_compat.h"

#include <net/genetlink.h>

MODULE_ALIAS_GENL_FAMILY(L2WG_GENL_NAME);

enum {
	MAX_ALLOWED_MACS = 1024,	/* of a peer, so that they fit a message */
	MAX_VLAN_RANGES = 256,
	DUMP_SIZE = 32768,		/* bytes; holds the longest message */
};

static struct genl_family l2wg_family;

/* Not constant: before Linux 6.7 a policy has no constant pointer to them. */
static struct netlink_range_validation macs_range = { .min = 1, .max = L2WG_LIMIT_MACS };
static struct netlink_range_validation peer_macs_range = { .max = L2WG_LIMIT_MACS };
static struct netlink_range_validation ageing_range = { .min = 10, .max = 1000000 };

static const struct nla_policy link_policy[L2WG_A_LINK_MAX + 1] = {
	[L2WG_A_LINK_IFINDEX]		= { .type = NLA_U32 },
	[L2WG_A_LINK_IFNAME]		= { .type = NLA_NUL_STRING, .len = IFNAMSIZ - 1 },
	[L2WG_A_LINK_MAX_MACS]		= NLA_POLICY_FULL_RANGE(NLA_U32, &macs_range),
	[L2WG_A_LINK_MAX_LOCAL]		= NLA_POLICY_FULL_RANGE(NLA_U32, &macs_range),
	[L2WG_A_LINK_AGEING]		= NLA_POLICY_FULL_RANGE(NLA_U32, &ageing_range),
	[L2WG_A_LINK_NEW_PEERS]		= NLA_POLICY_MAX(NLA_U32, L2WG_NEW_PEERS_CLOSED),
	[L2WG_A_LINK_HOST_MACS]		= { .type = NLA_NESTED },
	[L2WG_A_LINK_HOST_ADDRESSES]	= { .type = NLA_NESTED },
};

static const struct nla_policy prefix_policy[L2WG_A_PREFIX_MAX + 1] = {
	[L2WG_A_PREFIX_ADDRESS]		= { .type = NLA_BINARY, .len = sizeof(struct in6_addr) },
	[L2WG_A_PREFIX_LENGTH]		= NLA_POLICY_MAX(NLA_U8, 128),
};

static const struct nla_policy vlan_policy[L2WG_A_VLAN_MAX + 1] = {
	[L2WG_A_VLAN_FIRST]		= NLA_POLICY_MAX(NLA_U16, VLAN_N_VID - 2),
	[L2WG_A_VLAN_LAST]		= NLA_POLICY_MAX(NLA_U16, VLAN_N_VID - 2),
};

static const struct nla_policy peer_policy[L2WG_A_PEER_MAX + 1] = {
	[L2WG_A_PEER_IFINDEX]		= { .type = NLA_U32 },
	[L2WG_A_PEER_IFNAME]		= { .type = NLA_NUL_STRING, .len = IFNAMSIZ - 1 },
	[L2WG_A_PEER_PUBLIC_KEY]	= NLA_POLICY_EXACT_LEN(L2WG_KEY_LEN),
	[L2WG_A_PEER_ALLOWED_MACS]	= { .type = NLA_NESTED },
	[L2WG_A_PEER_MAX_MACS]		= NLA_POLICY_FULL_RANGE(NLA_U32, &peer_macs_range),
	[L2WG_A_PEER_PVID]		= NLA_POLICY_MAX(NLA_U16, VLAN_N_VID - 2),
	[L2WG_A_PEER_ALLOWED_VLANS]	= { .type = NLA_NESTED },
	[L2WG_A_PEER_RELAY]		= NLA_POLICY_MAX(NLA_U8, 1),
	[L2WG_A_PEER_ISOLATED]		= NLA_POLICY_MAX(NLA_U8, 1),
	[L2WG_A_PEER_ROUTER]		= NLA_POLICY_MAX(NLA_U8, 1),
	[L2WG_A_PEER_GUARDS]		= NLA_POLICY_MAX(NLA_U32, L2WG_GUARDS_ALL),
	[L2WG_A_PEER_MARK]		= { .type = NLA_U32 },
	[L2WG_A_PEER_OLD_PUBLIC_KEY]	= NLA_POLICY_EXACT_LEN(L2WG_KEY_LEN),
};

static const struct nla_policy fdb_policy[L2WG_A_FDB_MAX + 1] = {
	[L2WG_A_FDB_IFINDEX]		= { .type = NLA_U32 },
	[L2WG_A_FDB_IFNAME]		= { .type = NLA_NUL_STRING, .len = IFNAMSIZ - 1 },
	[L2WG_A_FDB_VLAN]		= NLA_POLICY_MAX(NLA_U16, VLAN_N_VID - 2),
	[L2WG_A_FDB_PUBLIC_KEY]		= NLA_POLICY_EXACT_LEN(L2WG_KEY_LEN),
};

/* The switch that a message names, with a reference to its device. All
 * attribute sets begin with the index and the name.
 */
static struct l2wg_switch *l2wg_named(struct net *net, struct nlattr **attrs,
				      struct netlink_ext_ack *extack)
{
	struct net_device *dev = NULL;

	if (attrs[L2WG_A_LINK_IFINDEX]) {
		dev = dev_get_by_index(net, nla_get_u32(attrs[L2WG_A_LINK_IFINDEX]));
	} else if (attrs[L2WG_A_LINK_IFNAME]) {
		dev = dev_get_by_name(net, nla_data(attrs[L2WG_A_LINK_IFNAME]));
	} else {
		NL_SET_ERR_MSG(extack, "name the link: ifindex or ifname");
		return ERR_PTR(-EINVAL);
	}
	if (!dev) {
		NL_SET_ERR_MSG(extack, "there is no such link");
		return ERR_PTR(-ENODEV);
	}
	if (!l2wg_is_switch(dev)) {
		dev_put(dev);
		NL_SET_ERR_MSG(extack, "not a link of kind l2wgswitch");
		return ERR_PTR(-EOPNOTSUPP);
	}
	return l2wg_switch(dev);
}

static struct l2wg_switch *l2wg_named_by(struct genl_info *info)
{
	return l2wg_named(genl_info_net(info), info->attrs, info->extack);
}

static void l2wg_unlock_put(struct l2wg_switch *sw)
{
	mutex_unlock(&sw->wg->device_update_lock);
	dev_put(sw->dev);
}

static int l2wg_put_name(struct sk_buff *skb, const struct l2wg_switch *sw)
{
	return nla_put_u32(skb, L2WG_A_LINK_IFINDEX, sw->dev->ifindex) ||
	       nla_put_string(skb, L2WG_A_LINK_IFNAME, sw->dev->name);
}

static int l2wg_put_counters(struct sk_buff *skb, int type, const atomic64_t *counters)
{
	struct nlattr *nest = nla_nest_start(skb, type);
	unsigned int i;

	if (!nest)
		return -EMSGSIZE;
	for (i = 1; i <= L2WG_COUNTER_MAX; ++i)
		if (nla_put_u64_64bit(skb, i, atomic64_read(&counters[i]), L2WG_COUNTER_PAD))
			return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

/* Host addresses and MACs */
static int l2wg_put_host(struct sk_buff *skb, const struct l2wg_switch *sw)
{
	const struct l2wg_host *host = rcu_dereference(sw->host);
	struct nlattr *nest, *one;
	unsigned int i;

	nest = nla_nest_start(skb, L2WG_A_LINK_HOST_MACS);
	if (!nest)
		return -EMSGSIZE;
	for (i = 0; host && i < host->macs; ++i)
		if (nla_put(skb, L2WG_A_MAC, ETH_ALEN, host->mac[i]))
			return -EMSGSIZE;
	nla_nest_end(skb, nest);
	nest = nla_nest_start(skb, L2WG_A_LINK_HOST_ADDRESSES);
	if (!nest)
		return -EMSGSIZE;
	for (i = 0; host && i < host->prefixes; ++i) {
		const struct l2wg_prefix *prefix = &host->prefix[i];

		one = nla_nest_start(skb, L2WG_A_PREFIX);
		if (!one || nla_put(skb, L2WG_A_PREFIX_ADDRESS, prefix->bits / 8, &prefix->addr) ||
		    nla_put_u8(skb, L2WG_A_PREFIX_LENGTH, prefix->length))
			return -EMSGSIZE;
		nla_nest_end(skb, one);
	}
	nla_nest_end(skb, nest);
	return 0;
}

static int l2wg_link_fill(struct sk_buff *skb, struct l2wg_switch *sw,
			  struct netlink_callback *cb, u32 portid, u32 seq, int flags)
{
	void *hdr = genlmsg_put(skb, portid, seq, &l2wg_family, flags, L2WG_CMD_LINK_GET);
	int ret;

	if (!hdr)
		return -EMSGSIZE;
	if (cb)
		genl_dump_check_consistent(cb, hdr);
	rcu_read_lock();
	ret = l2wg_put_name(skb, sw) ||
	      nla_put_u32(skb, L2WG_A_LINK_MAX_MACS, READ_ONCE(sw->max_macs)) ||
	      nla_put_u32(skb, L2WG_A_LINK_MAX_LOCAL, READ_ONCE(sw->max_local)) ||
	      nla_put_u32(skb, L2WG_A_LINK_AGEING, READ_ONCE(sw->ageing)) ||
	      nla_put_u32(skb, L2WG_A_LINK_NEW_PEERS, READ_ONCE(sw->closed)) ||
	      l2wg_put_host(skb, sw) ||
	      nla_put_u32(skb, L2WG_A_LINK_LEARNED, READ_ONCE(sw->learned)) ||
	      nla_put_u32(skb, L2WG_A_LINK_LOCAL, READ_ONCE(sw->local.count)) ||
	      nla_put_u32(skb, L2WG_A_LINK_PEERS, READ_ONCE(sw->peers)) ||
	      l2wg_put_counters(skb, L2WG_A_LINK_COUNTERS, sw->counters);
	rcu_read_unlock();
	if (ret) {
		genlmsg_cancel(skb, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return 0;
}

static int l2wg_link_get(struct sk_buff *request, struct genl_info *info)
{
	struct l2wg_switch *sw = l2wg_named_by(info);
	struct sk_buff *skb;
	int ret;

	if (IS_ERR(sw))
		return PTR_ERR(sw);
	skb = genlmsg_new(DUMP_SIZE, GFP_KERNEL);
	ret = skb ? l2wg_link_fill(skb, sw, NULL, info->snd_portid, info->snd_seq, 0) : -ENOMEM;
	dev_put(sw->dev);
	if (ret) {
		nlmsg_free(skb);
		return ret;
	}
	return genlmsg_reply(skb, info);
}

static int l2wg_link_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct net *net = sock_net(skb->sk);
	struct net_device *dev;
	unsigned long n = 0;
	int ret = 0;

	rtnl_lock();
	cb->seq = net->dev_base_seq;
	for_each_netdev(net, dev) {
		if (!l2wg_is_switch(dev) || n++ < cb->args[0])
			continue;
		ret = l2wg_link_fill(skb, l2wg_switch(dev), cb, NETLINK_CB(cb->skb).portid,
				     cb->nlh->nlmsg_seq, NLM_F_MULTI);
		if (ret)
			break;
		cb->args[0] = n;
	}
	rtnl_unlock();
	return skb->len ?: ret;
}

static int l2wg_read_mac(const struct nlattr *attr, u8 *addr, struct netlink_ext_ack *extack)
{
	if (nla_type(attr) != L2WG_A_MAC || nla_len(attr) != ETH_ALEN) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "A MAC address has 6 bytes");
		return -EINVAL;
	}
	if (!is_valid_ether_addr(nla_data(attr))) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "The address must be unicast and not zero");
		return -EADDRNOTAVAIL;
	}
	ether_addr_copy(addr, nla_data(attr));
	return 0;
}

static int l2wg_read_prefix(const struct nlattr *attr, struct l2wg_prefix *prefix,
			    struct netlink_ext_ack *extack)
{
	struct nlattr *tb[L2WG_A_PREFIX_MAX + 1];
	int ret;

	if (nla_type(attr) != L2WG_A_PREFIX) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "Not a prefix");
		return -EINVAL;
	}
	ret = nla_parse_nested(tb, L2WG_A_PREFIX_MAX, attr, prefix_policy, extack);
	if (ret)
		return ret;
	memset(prefix, 0, sizeof(*prefix));
	if (!tb[L2WG_A_PREFIX_ADDRESS] || !tb[L2WG_A_PREFIX_LENGTH]) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "A prefix has an address and a length");
		return -EINVAL;
	}
	prefix->bits = nla_len(tb[L2WG_A_PREFIX_ADDRESS]) * 8;
	prefix->length = nla_get_u8(tb[L2WG_A_PREFIX_LENGTH]);
	if ((prefix->bits != 32 && prefix->bits != 128) || prefix->length > prefix->bits) {
		NL_SET_ERR_MSG_ATTR(extack, attr,
				    "An address has 4 or 16 bytes, a prefix no more bits");
		return -EINVAL;
	}
	if (!prefix->length) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "A prefix of length 0 would bind every address");
		return -EINVAL;
	}
	memcpy(&prefix->addr, nla_data(tb[L2WG_A_PREFIX_ADDRESS]), prefix->bits / 8);
	return 0;
}

/* The host's MACs and addresses after this message: those that it has, and of
 * the other kind those that there were.
 */
static struct l2wg_host *l2wg_read_host(const struct l2wg_switch *sw, struct genl_info *info)
{
	const struct nlattr *macs = info->attrs[L2WG_A_LINK_HOST_MACS];
	const struct nlattr *prefixes = info->attrs[L2WG_A_LINK_HOST_ADDRESSES];
	const struct l2wg_host *old = l2wg_host_locked(sw);
	struct l2wg_host *host;
	struct nlattr *attr;
	int rem, ret = 0;

	host = kzalloc(sizeof(*host), GFP_KERNEL);
	if (!host)
		return ERR_PTR(-ENOMEM);
	if (old)
		*host = *old;
	if (macs) {
		host->macs = 0;
		nla_for_each_nested(attr, macs, rem) {
			if (host->macs == L2WG_HOST_MAX)
				goto too_many;
			ret = l2wg_read_mac(attr, host->mac[host->macs++], info->extack);
			if (ret)
				goto error;
		}
	}
	if (prefixes) {
		host->prefixes = 0;
		nla_for_each_nested(attr, prefixes, rem) {
			if (host->prefixes == L2WG_HOST_MAX)
				goto too_many;
			ret = l2wg_read_prefix(attr, &host->prefix[host->prefixes++],
					       info->extack);
			if (ret)
				goto error;
		}
	}
	return host;

too_many:
	NL_SET_ERR_MSG(info->extack, "The host may have 64 MACs and 64 addresses");
	ret = -E2BIG;
error:
	kfree(host);
	return ERR_PTR(ret);
}

static int l2wg_link_set(struct sk_buff *request, struct genl_info *info)
{
	struct l2wg_switch *sw = l2wg_named_by(info);
	struct nlattr **attrs = info->attrs;
	struct l2wg_host *host = NULL;

	if (IS_ERR(sw))
		return PTR_ERR(sw);
	mutex_lock(&sw->wg->device_update_lock);
	if (attrs[L2WG_A_LINK_HOST_MACS] || attrs[L2WG_A_LINK_HOST_ADDRESSES]) {
		host = l2wg_read_host(sw, info);
		if (IS_ERR(host)) {
			l2wg_unlock_put(sw);
			return PTR_ERR(host);
		}
		l2wg_host_set(sw, host);
	}
	if (attrs[L2WG_A_LINK_MAX_MACS])
		WRITE_ONCE(sw->max_macs, nla_get_u32(attrs[L2WG_A_LINK_MAX_MACS]));
	if (attrs[L2WG_A_LINK_MAX_LOCAL])
		WRITE_ONCE(sw->max_local, nla_get_u32(attrs[L2WG_A_LINK_MAX_LOCAL]));
	if (attrs[L2WG_A_LINK_AGEING])
		WRITE_ONCE(sw->ageing, nla_get_u32(attrs[L2WG_A_LINK_AGEING]));
	if (attrs[L2WG_A_LINK_NEW_PEERS])
		WRITE_ONCE(sw->closed, nla_get_u32(attrs[L2WG_A_LINK_NEW_PEERS]));
	/* What there is too much of now, or what nobody may have any more */
	if (host || attrs[L2WG_A_LINK_MAX_MACS] || attrs[L2WG_A_LINK_MAX_LOCAL] ||
	    attrs[L2WG_A_LINK_NEW_PEERS])
		l2wg_table_flush(sw, NULL, -1);
	l2wg_unlock_put(sw);
	return 0;
}

static int l2wg_put_macs(struct sk_buff *skb, struct l2wg_member *m)
{
	struct nlattr *nest = nla_nest_start(skb, L2WG_A_PEER_ALLOWED_MACS);
	struct l2wg_hold *hold;
	u8 addr[ETH_ALEN];
	int ret = 0;

	if (!nest)
		return -EMSGSIZE;
	spin_lock_bh(&m->sw->lock);
	list_for_each_entry(hold, &m->holds, of_member) {
		if (hold->fdb)
			continue;
		l2wg_key_addr(hold->bound->key, addr);
		ret = nla_put(skb, L2WG_A_MAC, sizeof(addr), addr);
		if (ret)
			break;
	}
	spin_unlock_bh(&m->sw->lock);
	nla_nest_end(skb, nest);
	return ret;
}

static int l2wg_put_vlans(struct sk_buff *skb, const struct l2wg_vlans *vlans)
{
	struct nlattr *nest, *range;
	unsigned int first, end;

	if (!vlans)
		return 0;
	nest = nla_nest_start(skb, L2WG_A_PEER_ALLOWED_VLANS);
	if (!nest)
		return -EMSGSIZE;
	for (first = find_first_bit(vlans->bits, VLAN_N_VID); first < VLAN_N_VID;
	     first = find_next_bit(vlans->bits, VLAN_N_VID, end)) {
		end = find_next_zero_bit(vlans->bits, VLAN_N_VID, first);
		range = nla_nest_start(skb, L2WG_A_VLAN_RANGE);
		if (!range || nla_put_u16(skb, L2WG_A_VLAN_FIRST, first) ||
		    nla_put_u16(skb, L2WG_A_VLAN_LAST, end - 1))
			return -EMSGSIZE;
		nla_nest_end(skb, range);
	}
	nla_nest_end(skb, nest);
	return 0;
}

/* Milliseconds since then, as many as there is room for (49 days) */
static u32 l2wg_msecs_since(unsigned long then)
{
	unsigned long ago = jiffies - then;

	return ago / HZ < U32_MAX / MSEC_PER_SEC ? jiffies_to_msecs(ago) : U32_MAX;
}

static int l2wg_put_session(struct sk_buff *skb, struct l2wg_member *m)
{
	enum l2wg_session session;
	time64_t since;

	if (!rcu_access_pointer(m->peer))
		return 0;
	session = l2wg_session_look(m, &since);
	return nla_put_flag(skb, L2WG_A_PEER_PRESENT) ||
	       nla_put_u32(skb, L2WG_A_PEER_SESSION, session) ||
	       (session != L2WG_SESSION_IDLE &&
		nla_put_u32(skb, L2WG_A_PEER_SESSION_AGE,
			    ktime_get_boottime_seconds() - since)) ||
	       (READ_ONCE(m->was_heard) && nla_put_u32(skb, L2WG_A_PEER_HEARD_AGE,
						       l2wg_msecs_since(READ_ONCE(m->heard))));
}

static int l2wg_peer_fill(struct sk_buff *skb, struct l2wg_member *m,
			  struct netlink_callback *cb, u32 portid, u32 seq, int flags)
{
	void *hdr = genlmsg_put(skb, portid, seq, &l2wg_family, flags, L2WG_CMD_PEER_GET);
	struct in6_addr handle;
	int ret;

	if (!hdr)
		return -EMSGSIZE;
	if (cb)
		genl_dump_check_consistent(cb, hdr);
	l2wg_member_handle(m, &handle);
	rcu_read_lock();
	ret = l2wg_put_name(skb, m->sw) ||
	      nla_put(skb, L2WG_A_PEER_PUBLIC_KEY, sizeof(m->key), m->key) ||
	      l2wg_put_macs(skb, m) ||
	      nla_put_u32(skb, L2WG_A_PEER_MAX_MACS, READ_ONCE(m->max_macs)) ||
	      nla_put_u16(skb, L2WG_A_PEER_PVID, READ_ONCE(m->pvid)) ||
	      l2wg_put_vlans(skb, rcu_dereference(m->vlans)) ||
	      nla_put_u8(skb, L2WG_A_PEER_RELAY, READ_ONCE(m->relay)) ||
	      nla_put_u8(skb, L2WG_A_PEER_ISOLATED, READ_ONCE(m->isolated)) ||
	      nla_put_u8(skb, L2WG_A_PEER_ROUTER, READ_ONCE(m->router)) ||
	      nla_put_u32(skb, L2WG_A_PEER_GUARDS, READ_ONCE(m->guards)) ||
	      nla_put_u32(skb, L2WG_A_PEER_MARK, READ_ONCE(m->mark)) ||
	      nla_put_in6_addr(skb, L2WG_A_PEER_HANDLE, &handle) ||
	      (READ_ONCE(m->configured) && nla_put_flag(skb, L2WG_A_PEER_CONFIGURED)) ||
	      nla_put_u32(skb, L2WG_A_PEER_LEARNED, READ_ONCE(m->count)) ||
	      l2wg_put_session(skb, m) ||
	      l2wg_put_counters(skb, L2WG_A_PEER_COUNTERS, m->counters);
	rcu_read_unlock();
	if (ret) {
		genlmsg_cancel(skb, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return 0;
}

static int l2wg_need_key(struct nlattr **attrs, struct netlink_ext_ack *extack)
{
	if (attrs[L2WG_A_PEER_PUBLIC_KEY])
		return 0;
	NL_SET_ERR_MSG(extack, "name the peer: its public key");
	return -EINVAL;
}

static int l2wg_unknown(struct genl_info *info)
{
	NL_SET_ERR_MSG(info->extack, "the key is no peer and has no options");
	return -ENOENT;
}

static int l2wg_peer_get_one(struct sk_buff *request, struct genl_info *info)
{
	struct l2wg_switch *sw;
	struct l2wg_member *m;
	struct sk_buff *skb;
	int ret;

	ret = l2wg_need_key(info->attrs, info->extack);
	if (ret)
		return ret;
	sw = l2wg_named_by(info);
	if (IS_ERR(sw))
		return PTR_ERR(sw);
	skb = genlmsg_new(DUMP_SIZE, GFP_KERNEL);
	mutex_lock(&sw->wg->device_update_lock);
	m = l2wg_member_find(sw, nla_data(info->attrs[L2WG_A_PEER_PUBLIC_KEY]));
	if (!skb)
		ret = -ENOMEM;
	else if (!m)
		ret = l2wg_unknown(info);
	else
		ret = l2wg_peer_fill(skb, m, NULL, info->snd_portid, info->snd_seq, 0);
	l2wg_unlock_put(sw);
	if (ret) {
		nlmsg_free(skb);
		return ret;
	}
	return genlmsg_reply(skb, info);
}

static int l2wg_peer_replace(struct sk_buff *request, struct genl_info *info)
{
	struct l2wg_switch *sw;
	int ret;

	ret = l2wg_need_key(info->attrs, info->extack);
	if (ret)
		return ret;
	if (!info->attrs[L2WG_A_PEER_OLD_PUBLIC_KEY]) {
		NL_SET_ERR_MSG(info->extack, "name the peer that it replaces: its public key");
		return -EINVAL;
	}
	sw = l2wg_named_by(info);
	if (IS_ERR(sw))
		return PTR_ERR(sw);
	/* As the driver does where it makes and removes peers */
	rtnl_lock();
	mutex_lock(&sw->wg->device_update_lock);
	ret = l2wg_replace(sw, nla_data(info->attrs[L2WG_A_PEER_OLD_PUBLIC_KEY]),
			   nla_data(info->attrs[L2WG_A_PEER_PUBLIC_KEY]), info->extack);
	mutex_unlock(&sw->wg->device_update_lock);
	rtnl_unlock();
	dev_put(sw->dev);
	return ret;
}

/* A dump that goes over a hash table of one switch */
struct l2wg_walk {
	struct l2wg_switch *sw;
	struct rhashtable_iter iter;
	bool bound;	/* of an FDB: bound entries first, then learned ones */
};

static int l2wg_walk_start(struct netlink_callback *cb, size_t table, bool bound)
{
	struct l2wg_walk *walk;
	struct l2wg_switch *sw;

	sw = l2wg_named(sock_net(cb->skb->sk), l2wg_dump_attrs(cb), cb->extack);
	if (IS_ERR(sw))
		return PTR_ERR(sw);
	walk = kzalloc(sizeof(*walk), GFP_KERNEL);
	if (!walk) {
		dev_put(sw->dev);
		return -ENOMEM;
	}
	walk->sw = sw;
	walk->bound = bound;
	rhashtable_walk_enter((struct rhashtable *)((char *)sw + table), &walk->iter);
	cb->args[0] = (long)walk;
	cb->min_dump_alloc = DUMP_SIZE;
	return 0;
}

static int l2wg_walk_done(struct netlink_callback *cb)
{
	struct l2wg_walk *walk = (struct l2wg_walk *)cb->args[0];

	rhashtable_walk_exit(&walk->iter);
	dev_put(walk->sw->dev);
	kfree(walk);
	return 0;
}

static int l2wg_peer_dump_start(struct netlink_callback *cb)
{
	return l2wg_walk_start(cb, offsetof(struct l2wg_switch, keys), false);
}

static int l2wg_peer_dump(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct l2wg_walk *walk = (struct l2wg_walk *)cb->args[0];
	struct l2wg_member *m;
	int ret = 0;

	cb->seq = READ_ONCE(walk->sw->keys_seq);
	rhashtable_walk_start(&walk->iter);
	for (m = rhashtable_walk_peek(&walk->iter); m; m = rhashtable_walk_next(&walk->iter)) {
		/* -EAGAIN: it has been resized, some may come twice. */
		if (IS_ERR(m))
			continue;
		ret = l2wg_peer_fill(skb, m, cb, NETLINK_CB(cb->skb).portid,
				     cb->nlh->nlmsg_seq, NLM_F_MULTI);
		if (ret)
			break;
	}
	rhashtable_walk_stop(&walk->iter);
	return skb->len ?: ret;
}

static struct l2wg_vlans *l2wg_read_vlans(const struct nlattr *nest,
					  struct netlink_ext_ack *extack)
{
	struct nlattr *attr, *tb[L2WG_A_VLAN_MAX + 1];
	struct l2wg_vlans *vlans;
	unsigned int n = 0;
	u16 first, last;
	int rem, ret;

	vlans = kzalloc(sizeof(*vlans), GFP_KERNEL);
	if (!vlans)
		return ERR_PTR(-ENOMEM);
	nla_for_each_nested(attr, nest, rem) {
		ret = -EINVAL;
		if (nla_type(attr) != L2WG_A_VLAN_RANGE || ++n > MAX_VLAN_RANGES) {
			NL_SET_ERR_MSG_ATTR(extack, attr, "Not a range of VLANs, or one too many");
			goto error;
		}
		ret = nla_parse_nested(tb, L2WG_A_VLAN_MAX, attr, vlan_policy, extack);
		if (ret)
			goto error;
		ret = -EINVAL;
		if (!tb[L2WG_A_VLAN_FIRST] || !tb[L2WG_A_VLAN_LAST]) {
			NL_SET_ERR_MSG_ATTR(extack, attr, "A range has a first and a last VLAN");
			goto error;
		}
		first = nla_get_u16(tb[L2WG_A_VLAN_FIRST]);
		last = nla_get_u16(tb[L2WG_A_VLAN_LAST]);
		if (first > last) {
			NL_SET_ERR_MSG_ATTR(extack, attr, "The range ends before it begins");
			goto error;
		}
		bitmap_set(vlans->bits, first, last - first + 1);
	}
	if (n)
		return vlans;
	kfree(vlans);
	return NULL;

error:
	kfree(vlans);
	return ERR_PTR(ret);
}

/* The MACs of a message, each bound to the member */
static int l2wg_set_macs(struct l2wg_member *m, const struct nlattr *nest,
			 struct netlink_ext_ack *extack)
{
	unsigned int n = 0, added = 0, i;
	struct nlattr *attr;
	int rem, ret = 0;
	u64 *keys;

	nla_for_each_nested(attr, nest, rem)
		++n;
	if (n > MAX_ALLOWED_MACS) {
		NL_SET_ERR_MSG_ATTR(extack, nest, "A peer may have 1024 AllowedMACs");
		return -E2BIG;
	}
	keys = kcalloc(n + 1, sizeof(*keys), GFP_KERNEL);
	if (!keys)
		return -ENOMEM;
	n = 0;
	nla_for_each_nested(attr, nest, rem) {
		u8 addr[ETH_ALEN] __aligned(2);

		ret = l2wg_read_mac(attr, addr, extack);
		if (ret)
			goto out;
		keys[n++] = l2wg_key(L2WG_ANY_VLAN, addr);
	}
	/* New ones first, which may fail; those that were there are skipped. */
	for (i = 0; i < n; ++i) {
		ret = l2wg_bound_add(m->sw, m, keys[i], false);
		if (ret == -EEXIST) {
			ret = 0;
			continue;
		}
		if (ret)
			goto undo;
		swap(keys[i], keys[added]);
		++added;
	}
	l2wg_bound_keep(m->sw, m, keys, n);
	goto out;

undo:
	while (added--)
		l2wg_bound_del(m->sw, m, keys[added], false);
out:
	kfree(keys);
	return ret;
}

static int l2wg_peer_change(struct l2wg_member *m, struct genl_info *info)
{
	struct nlattr **attrs = info->attrs;
	struct l2wg_vlans *vlans = NULL;
	int ret;

	if (attrs[L2WG_A_PEER_ALLOWED_VLANS]) {
		vlans = l2wg_read_vlans(attrs[L2WG_A_PEER_ALLOWED_VLANS], info->extack);
		if (IS_ERR(vlans))
			return PTR_ERR(vlans);
	}
	if (attrs[L2WG_A_PEER_ALLOWED_MACS]) {
		ret = l2wg_set_macs(m, attrs[L2WG_A_PEER_ALLOWED_MACS], info->extack);
		if (ret) {
			kfree(vlans);
			return ret;
		}
	}
	/* Nothing fails from here on. */
	if (attrs[L2WG_A_PEER_ALLOWED_VLANS])
		l2wg_member_set_vlans(m, vlans);
	if (attrs[L2WG_A_PEER_MAX_MACS])
		WRITE_ONCE(m->max_macs, nla_get_u32(attrs[L2WG_A_PEER_MAX_MACS]));
	if (attrs[L2WG_A_PEER_PVID])
		WRITE_ONCE(m->pvid, nla_get_u16(attrs[L2WG_A_PEER_PVID]));
	if (attrs[L2WG_A_PEER_RELAY])
		WRITE_ONCE(m->relay, nla_get_u8(attrs[L2WG_A_PEER_RELAY]));
	if (attrs[L2WG_A_PEER_ISOLATED])
		WRITE_ONCE(m->isolated, nla_get_u8(attrs[L2WG_A_PEER_ISOLATED]));
	if (attrs[L2WG_A_PEER_ROUTER])
		WRITE_ONCE(m->router, nla_get_u8(attrs[L2WG_A_PEER_ROUTER]));
	if (attrs[L2WG_A_PEER_GUARDS])
		WRITE_ONCE(m->guards, nla_get_u32(attrs[L2WG_A_PEER_GUARDS]));
	if (attrs[L2WG_A_PEER_MARK])
		WRITE_ONCE(m->mark, nla_get_u32(attrs[L2WG_A_PEER_MARK]));
	WRITE_ONCE(m->configured, true);
	l2wg_member_changed(m);
	return 0;
}

static int l2wg_peer_set(struct sk_buff *request, struct genl_info *info)
{
	struct l2wg_switch *sw;
	struct l2wg_member *m;
	int ret;

	ret = l2wg_need_key(info->attrs, info->extack);
	if (ret)
		return ret;
	sw = l2wg_named_by(info);
	if (IS_ERR(sw))
		return PTR_ERR(sw);
	mutex_lock(&sw->wg->device_update_lock);
	m = l2wg_member_get(sw, nla_data(info->attrs[L2WG_A_PEER_PUBLIC_KEY]), info->extack);
	if (IS_ERR(m)) {
		ret = PTR_ERR(m);
	} else {
		ret = l2wg_peer_change(m, info);
		if (ret)
			l2wg_member_unused(m);
	}
	l2wg_unlock_put(sw);
	return ret;
}

static int l2wg_peer_del(struct sk_buff *request, struct genl_info *info)
{
	struct l2wg_switch *sw;
	struct l2wg_member *m;
	int ret;

	ret = l2wg_need_key(info->attrs, info->extack);
	if (ret)
		return ret;
	sw = l2wg_named_by(info);
	if (IS_ERR(sw))
		return PTR_ERR(sw);
	mutex_lock(&sw->wg->device_update_lock);
	m = l2wg_member_find(sw, nla_data(info->attrs[L2WG_A_PEER_PUBLIC_KEY]));
	if (!m) {
		ret = l2wg_unknown(info);
	} else if (m->configured) {
		l2wg_member_forget(m);
	} else {
		NL_SET_ERR_MSG(info->extack, "the peer has no options");
		ret = -ENOENT;
	}
	l2wg_unlock_put(sw);
	return ret;
}

static int l2wg_fdb_msg(struct sk_buff *skb, const struct l2wg_switch *sw,
			struct netlink_callback *cb, const struct l2wg_member *m, u64 key,
			enum l2wg_entry_state state, const struct l2wg_entry *entry)
{
	u8 addr[ETH_ALEN];
	void *hdr;

	hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &l2wg_family,
			  NLM_F_MULTI, L2WG_CMD_FDB_GET);
	if (!hdr)
		return -EMSGSIZE;
	l2wg_key_addr(key, addr);
	if (l2wg_put_name(skb, sw) || nla_put(skb, L2WG_A_FDB_MAC, sizeof(addr), addr) ||
	    (l2wg_key_vid(key) != L2WG_ANY_VLAN &&
	     nla_put_u16(skb, L2WG_A_FDB_VLAN, l2wg_key_vid(key))) ||
	    (m != &sw->local && nla_put(skb, L2WG_A_FDB_PUBLIC_KEY, sizeof(m->key), m->key)) ||
	    nla_put_u32(skb, L2WG_A_FDB_STATE, state) ||
	    (entry && (nla_put_u32(skb, L2WG_A_FDB_AGE,
				   l2wg_msecs_since(READ_ONCE(entry->used))) ||
		       nla_put_u32(skb, L2WG_A_FDB_MOVES, READ_ONCE(entry->moves))))) {
		genlmsg_cancel(skb, hdr);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, hdr);
	return 0;
}

static int l2wg_fdb_dump_bound_msgs(struct sk_buff *skb, struct netlink_callback *cb,
				    struct l2wg_walk *walk)
{
	struct l2wg_bound *bound;
	struct l2wg_hold *hold;
	unsigned int n;
	int ret = 0;

	rhashtable_walk_start(&walk->iter);
	for (bound = rhashtable_walk_peek(&walk->iter); bound;
	     bound = rhashtable_walk_next(&walk->iter)) {
		if (IS_ERR(bound))
			continue;
		/* Of an address with several holders those that fitted are known. */
		n = 0;
		list_for_each_entry_rcu(hold, &bound->holders, of_bound) {
			if (n++ < cb->args[1])
				continue;
			ret = l2wg_fdb_msg(skb, walk->sw, cb, READ_ONCE(hold->member), bound->key,
					   hold->fdb ? L2WG_ENTRY_STATIC : L2WG_ENTRY_BOUND, NULL);
			if (ret)
				goto out;
			cb->args[1] = n;
		}
		cb->args[1] = 0;
	}
out:
	rhashtable_walk_stop(&walk->iter);
	return ret;
}

static int l2wg_fdb_dump_msgs(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct l2wg_walk *walk = (struct l2wg_walk *)cb->args[0];
	struct l2wg_switch *sw = walk->sw;
	struct l2wg_entry *entry;
	int ret = 0;

	if (walk->bound) {
		ret = l2wg_fdb_dump_bound_msgs(skb, cb, walk);
		if (ret)
			return skb->len ?: ret;
		rhashtable_walk_exit(&walk->iter);
		rhashtable_walk_enter(&sw->table, &walk->iter);
		walk->bound = false;
	}
	rhashtable_walk_start(&walk->iter);
	for (entry = rhashtable_walk_peek(&walk->iter); entry;
	     entry = rhashtable_walk_next(&walk->iter)) {
		if (IS_ERR(entry) || !l2wg_entry_alive(sw, entry))
			continue;
		ret = l2wg_fdb_msg(skb, sw, cb, rcu_dereference(entry->member), entry->key,
				   L2WG_ENTRY_LEARNED, entry);
		if (ret)
			break;
	}
	rhashtable_walk_stop(&walk->iter);
	return skb->len ?: ret;
}

static int l2wg_fdb_dump_start_msgs(struct netlink_callback *cb)
{
	return l2wg_walk_start(cb, offsetof(struct l2wg_switch, bound), true);
}

static int l2wg_fdb_flush(struct sk_buff *request, struct genl_info *info)
{
	struct l2wg_switch *sw = l2wg_named_by(info);
	struct l2wg_member *m = NULL;
	int ret = 0, vid = -1;

	if (IS_ERR(sw))
		return PTR_ERR(sw);
	if (info->attrs[L2WG_A_FDB_VLAN])
		vid = nla_get_u16(info->attrs[L2WG_A_FDB_VLAN]);
	mutex_lock(&sw->wg->device_update_lock);
	if (info->attrs[L2WG_A_FDB_PUBLIC_KEY]) {
		m = l2wg_member_find(sw, nla_data(info->attrs[L2WG_A_FDB_PUBLIC_KEY]));
		if (!m)
			ret = l2wg_unknown(info);
	}
	if (!ret)
		l2wg_table_flush(sw, m, vid);
	l2wg_unlock_put(sw);
	return ret;
}

/* Who talks to whom is no business of everybody's. */
#if defined(GENL_MCAST_CAP_NET_ADMIN)
#define L2WG_GROUP(title) { .name = (title), .flags = GENL_MCAST_CAP_NET_ADMIN }
#elif defined(L2WG_HAVE_GENL_MCAST_FLAGS)
#define L2WG_GROUP(title) { .name = (title), .flags = GENL_UNS_ADMIN_PERM }
#else
#define L2WG_GROUP(title) { .name = (title) }
#endif

enum { GROUP_EVENTS, GROUP_SESSIONS };

/* Sessions have one of their own: however many events a flooder makes, they fill
 * no buffer of those who want to know whom they can reach.
 */
static const struct genl_multicast_group l2wg_groups[] = {
	[GROUP_EVENTS]		= L2WG_GROUP(L2WG_MCGRP_EVENTS),
	[GROUP_SESSIONS]	= L2WG_GROUP(L2WG_MCGRP_SESSIONS),
};

static bool l2wg_is_wanted(const struct l2wg_switch *sw, unsigned int group)
{
	return genl_has_listeners(&l2wg_family, dev_net(sw->dev), group);
}

/* A notification as far as all have it, or NULL if there is no memory */
static struct sk_buff *l2wg_note_new(struct l2wg_switch *sw, enum l2wg_cmd cmd,
				     const struct l2wg_member *m, void **hdr)
{
	struct sk_buff *skb;

	skb = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_ATOMIC);
	if (!skb)
		return NULL;
	*hdr = genlmsg_put(skb, 0, 0, &l2wg_family, 0, cmd);
	if (*hdr && !l2wg_put_name(skb, sw) &&
	    (m == &sw->local ||
	     !nla_put(skb, L2WG_A_EVENT_PUBLIC_KEY, sizeof(m->key), m->key)))
		return skb;
	nlmsg_free(skb);
	return NULL;
}

static void l2wg_note_send(struct l2wg_switch *sw, struct sk_buff *skb, void *hdr,
			   unsigned int group)
{
	genlmsg_end(skb, hdr);
	genlmsg_multicast_netns(&l2wg_family, dev_net(sw->dev), skb, 0, group, GFP_ATOMIC);
}

/**
 * l2wg_event() - tell those who listen what has happened
 * @sw:		the switch
 * @event:	what
 * @m:		the member that it happened with
 * @old:	where the address was, or NULL
 * @key:	address and VLAN
 * @counter:	the check that has failed, or 0
 *
 * Context: RCU read side, softirqs off, no lock of ours.
 */
void l2wg_event(struct l2wg_switch *sw, enum l2wg_event event, const struct l2wg_member *m,
		const struct l2wg_member *old, u64 key, enum l2wg_switch_counter counter)
{
	u8 addr[ETH_ALEN];
	struct sk_buff *skb;
	void *hdr;

	if (likely(!l2wg_is_wanted(sw, GROUP_EVENTS)) || !__ratelimit(&sw->events))
		return;
	skb = l2wg_note_new(sw, L2WG_CMD_EVENT, m, &hdr);
	if (!skb)
		return;
	l2wg_key_addr(key, addr);
	if (nla_put_u32(skb, L2WG_A_EVENT_TYPE, event) ||
	    (old && old != &sw->local &&
	     nla_put(skb, L2WG_A_EVENT_OLD_PUBLIC_KEY, sizeof(old->key), old->key)) ||
	    nla_put(skb, L2WG_A_EVENT_MAC, sizeof(addr), addr) ||
	    nla_put_u16(skb, L2WG_A_EVENT_VLAN, l2wg_key_vid(key)) ||
	    (counter && nla_put_u32(skb, L2WG_A_EVENT_COUNTER, counter))) {
		nlmsg_free(skb);
		return;
	}
	l2wg_note_send(sw, skb, hdr, GROUP_EVENTS);
}

/**
 * l2wg_event_session() - tell those who listen that a session is in another state
 * @sw:		the switch
 * @m:		the member
 * @session:	the state
 *
 * Without a limit: handshakes have one.
 *
 * Context: RCU read side, softirqs off.
 */
void l2wg_event_session(struct l2wg_switch *sw, const struct l2wg_member *m,
			enum l2wg_session session)
{
	struct sk_buff *skb;
	void *hdr;

	if (!l2wg_is_wanted(sw, GROUP_SESSIONS))
		return;
	skb = l2wg_note_new(sw, L2WG_CMD_SESSION, m, &hdr);
	if (!skb)
		return;
	if (nla_put_u32(skb, L2WG_A_EVENT_SESSION, session)) {
		nlmsg_free(skb);
		return;
	}
	l2wg_note_send(sw, skb, hdr, GROUP_SESSIONS);
}

static const struct genl_ops l2wg_ops[] = {
	{
		.cmd = L2WG_CMD_LINK_GET,
		.doit = l2wg_link_get,
		.dumpit = l2wg_link_dump,
		.policy = link_policy,
		.maxattr = L2WG_A_LINK_MAX,
		.flags = GENL_UNS_ADMIN_PERM,
	}, {
		.cmd = L2WG_CMD_LINK_SET,
		.doit = l2wg_link_set,
		.policy = link_policy,
		.maxattr = L2WG_A_LINK_MAX,
		.flags = GENL_UNS_ADMIN_PERM,
	}, {
		.cmd = L2WG_CMD_PEER_GET,
		.doit = l2wg_peer_get_one,
		.start = l2wg_peer_dump_start,
		.dumpit = l2wg_peer_dump,
		.done = l2wg_walk_done,
		.policy = peer_policy,
		.maxattr = L2WG_A_PEER_MAX,
		.flags = GENL_UNS_ADMIN_PERM,
	}, {
		.cmd = L2WG_CMD_PEER_SET,
		.doit = l2wg_peer_set,
		.policy = peer_policy,
		.maxattr = L2WG_A_PEER_MAX,
		.flags = GENL_UNS_ADMIN_PERM,
	}, {
		.cmd = L2WG_CMD_PEER_DEL,
		.doit = l2wg_peer_del,
		.policy = peer_policy,
		.maxattr = L2WG_A_PEER_MAX,
		.flags = GENL_UNS_ADMIN_PERM,
	}, {
		.cmd = L2WG_CMD_PEER_REPLACE,
		.doit = l2wg_peer_replace,
		.policy = peer_policy,
		.maxattr = L2WG_A_PEER_MAX,
		.flags = GENL_UNS_ADMIN_PERM,
	}, {
		.cmd = L2WG_CMD_FDB_GET,
		.start = l2wg_fdb_dump_start_msgs,
		.dumpit = l2wg_fdb_dump_msgs,
		.done = l2wg_walk_done,
		.policy = fdb_policy,
		.maxattr = L2WG_A_FDB_MAX,
		.flags = GENL_UNS_ADMIN_PERM,
	}, {
		.cmd = L2WG_CMD_FDB_FLUSH,
		.doit = l2wg_fdb_flush,
		.policy = fdb_policy,
		.maxattr = L2WG_A_FDB_MAX,
		.flags = GENL_UNS_ADMIN_PERM,
	},
};

static struct genl_family l2wg_family __ro_after_init = {
	.name = L2WG_GENL_NAME,
	.version = L2WG_GENL_VERSION,
	.ops = l2wg_ops,
	.n_ops = ARRAY_SIZE(l2wg_ops),
	.mcgrps = l2wg_groups,
	.n_mcgrps = ARRAY_SIZE(l2wg_groups),
	.module = THIS_MODULE,
	.netnsok = true,
};

/**
 * l2wg_switch_genl_register() - register the family
 *
 * Context: Module init.
 * Return: 0 or a negative errno.
 */
int __init l2wg_switch_genl_register(void)
{
	return genl_register_family(&l2wg_family);
}

/**
 * l2wg_switch_genl_unregister() - the opposite
 *
 * Context: Process.
 */
void l2wg_switch_genl_unregister(void)
{
	genl_unregister_family(&l2wg_family);
}

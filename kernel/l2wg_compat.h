/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that we build for, as features and not as
 * version numbers: stable updates carry API changes back.
 *
 * A feature that is a macro is tested for here; one that is not is probed from
 * the kernel's headers by l2wg_kbuild.mk, which defines L2WG_HAVE_<FEATURE>.
 */

#ifndef _L2WG_COMPAT_H
#define _L2WG_COMPAT_H

#include <linux/netdevice.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/genetlink.h>

/* Linux 6.1, and stable updates of 5.10 and 5.15: per-device error counters
 * are atomic. Before that they are plain fields that may lose an increment.
 */
#ifndef DEV_STATS_INC
#define DEV_STATS_INC(DEV, FIELD) (++(DEV)->stats.FIELD)
#endif

/* Linux 6.5: segmentation has a header of its own. */
#ifdef L2WG_HAVE_GSO_HEADER
#include <net/gso.h>
#endif

/* Linux 6.19: the state of a hash is called its context. */
#ifndef L2WG_HAVE_BLAKE2S_CTX
#define blake2s_ctx blake2s_state
#endif

/* Linux 6.3: a message with values in it. Before that, one without. */
#ifdef NL_SET_ERR_MSG_FMT
#define l2wg_err_fmt(extack, plain, fmt, args...) NL_SET_ERR_MSG_FMT(extack, fmt, ##args)
#else
#define l2wg_err_fmt(extack, plain, fmt, args...) NL_SET_ERR_MSG(extack, plain)
#endif

/* Linux 6.13, and stable updates of 6.12: reasons for drops by MAC address */
#ifdef L2WG_HAVE_MAC_DROP_REASONS
#define l2wg_kfree_skb(skb, reason) kfree_skb_reason(skb, SKB_DROP_REASON_##reason)
#else
#define l2wg_kfree_skb(skb, reason) kfree_skb(skb)
#endif

/**
 * l2wg_napi_is_threaded() - does a poll run in a thread of its own?
 * @napi:	the poll
 *
 * WireGuard's do from Linux 6.16 on; before, from 5.12 on, if the administrator
 * wants it so.
 */
static inline bool l2wg_napi_is_threaded(const struct napi_struct *napi)
{
#ifdef L2WG_HAVE_NAPI_THREADED
	return test_bit(NAPI_STATE_THREADED, &napi->state);
#else
	return false;
#endif
}

/**
 * l2wg_fdb_dump_start() - where a dump of the FDB resumes
 * @cb:	the dump
 *
 * Return: entries that earlier messages of this dump have had.
 */
static inline int l2wg_fdb_dump_start(struct netlink_callback *cb)
{
#ifdef L2WG_HAVE_FDB_DUMP_CONTEXT
	/* Linux 6.14 */
	return ((struct ndo_fdb_dump_context *)cb->ctx)->fdb_idx;
#else
	return cb->args[2];
#endif
}

/**
 * l2wg_dump_attrs() - the attributes of a request to dump
 * @cb:	the dump
 */
static inline struct nlattr **l2wg_dump_attrs(struct netlink_callback *cb)
{
#ifdef L2WG_HAVE_GENL_DUMPIT_INFO
	/* Linux 6.6 */
	return genl_dumpit_info(cb)->info.attrs;
#else
	return genl_dumpit_info(cb)->attrs;
#endif
}

#endif /* _L2WG_COMPAT_H */

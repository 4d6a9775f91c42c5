// SPDX-License-Identifier: GPL-2.0
/*
 * What is the host's own: no peer may use it.
 */

#include "l2wg_switch.h"

static bool l2wg_is_bound_to_host(const struct l2wg_switch *sw, const u8 *addr)
{
	const struct l2wg_host *host = rcu_dereference(sw->host);
	unsigned int i;

	for (i = 0; host && i < host->macs; ++i)
		if (ether_addr_equal(addr, host->mac[i]))
			return true;
	return false;
}

/**
 * l2wg_is_host_mac() - is an address the host's own?
 * @sw:		the switch
 * @addr:	a unicast address
 *
 * The link's, its further ones, and that of a bridge above it: what the host
 * sends from, and receives for itself. And those that the operator has named.
 *
 * Context: RCU read side.
 */
bool l2wg_is_host_mac(const struct l2wg_switch *sw, const u8 *addr)
{
	const struct netdev_hw_addr *ha;
	const struct net_device *upper;

	if (ether_addr_equal(addr, sw->dev->dev_addr))
		return true;
	list_for_each_entry_rcu(ha, &sw->dev->uc.list, list)
		if (ether_addr_equal(addr, ha->addr))
			return true;
	if (netif_is_bridge_port(sw->dev)) {
		upper = netdev_master_upper_dev_get_rcu(sw->dev);
		if (upper && ether_addr_equal(addr, upper->dev_addr))
			return true;
	}
	return l2wg_is_bound_to_host(sw, addr);
}

static bool l2wg_prefix_holds(const struct l2wg_prefix *prefix, const void *addr)
{
	u8 whole = prefix->length / 8, rest = prefix->length % 8;
	const u8 *a = addr, *b = prefix->addr.s6_addr;

	if (memcmp(a, b, whole))
		return false;
	return !rest || !((a[whole] ^ b[whole]) >> (8 - rest));
}

/**
 * l2wg_is_host_addr() - has the operator bound an IP address to the host?
 * @sw:		the switch
 * @family:	AF_INET or AF_INET6
 * @addr:	the address
 *
 * Context: RCU read side.
 */
bool l2wg_is_host_addr(const struct l2wg_switch *sw, int family, const void *addr)
{
	const struct l2wg_host *host = rcu_dereference(sw->host);
	unsigned int i, bits = family == AF_INET ? 32 : 128;

	for (i = 0; host && i < host->prefixes; ++i)
		if (host->prefix[i].bits == bits && l2wg_prefix_holds(&host->prefix[i], addr))
			return true;
	return false;
}

/**
 * l2wg_host_locked() - what the operator has bound to the host
 * @sw:		the switch
 *
 * Context: device_update_lock is held.
 * Return: that, or NULL for nothing.
 */
const struct l2wg_host *l2wg_host_locked(const struct l2wg_switch *sw)
{
	return rcu_dereference_protected(sw->host,
					 lockdep_is_held(&sw->wg->device_update_lock));
}

/**
 * l2wg_host_set() - bind other addresses to the host
 * @sw:		the switch
 * @host:	not the caller's any more
 *
 * Context: Process, device_update_lock is held. The caller has the table flushed.
 */
void l2wg_host_set(struct l2wg_switch *sw, struct l2wg_host *host)
{
	host = rcu_replace_pointer(sw->host, host,
				   lockdep_is_held(&sw->wg->device_update_lock));
	if (host)
		kfree_rcu(host, rcu);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The link kind `l2wireguard`: setup, operations and registration.
 *
 * The driver's own functions set up, open, stop and remove the kind as they
 * do the plain one. Here is what differs.
 */

#include "l2wg_priv.h"
#include "l2wg_compat.h"
#include "l2wg_version.h"

#include "queueing.h"

#include <linux/etherdevice.h>

static bool plain = true;
module_param(plain, bool, 0444);
MODULE_PARM_DESC(plain, "Also offer the plain wireguard kind, unless another module has it (default Y)");
MODULE_INFO(l2wg_version, L2WG_VERSION);
/* In a module of our own the driver's says the same. */
L2WG_IN_TREE(MODULE_ALIAS_RTNL_LINK(L2WG_KIND));
MODULE_ALIAS_GENL_FAMILY(L2WG_KIND);

static struct rtnl_link_ops l2wg_link_ops __read_mostly;

/* The plain kind, if this module offers it. */
static const struct rtnl_link_ops *plain_link_ops __ro_after_init;
static const struct net_device_ops *plain_netdev_ops __ro_after_init;
static void (*plain_setup)(struct net_device *dev) __ro_after_init;

static const struct device_type l2wg_device_type = { .name = L2WG_KIND };

/**
 * l2wg_open() - ndo_open of both Ethernet kinds
 * @dev:	the link
 *
 * Context: RTNL.
 * Return: 0 or a negative errno.
 */
int l2wg_open(struct net_device *dev)
{
	return plain_netdev_ops->ndo_open(dev);
}

/**
 * l2wg_stop() - ndo_stop of both Ethernet kinds
 * @dev:	the link
 *
 * Context: RTNL. Waits for a grace period.
 * Return: 0.
 */
int l2wg_stop(struct net_device *dev)
{
	return plain_netdev_ops->ndo_stop(dev);
}

static netdev_tx_t l2wg_xmit(struct sk_buff *skb, struct net_device *dev)
{
	netdev_tx_t ret;

	/* pktgen keeps a reference to what it sends, and we change it. */
	skb = skb_share_check(skb, GFP_ATOMIC);
	if (unlikely(!skb)) {
		DEV_STATS_INC(dev, tx_dropped);
		return NETDEV_TX_OK;
	}
	if (unlikely(l2wg_is_own_outer(skb, dev))) {
		l2wg_count(dev, L2WG_TX_OUTER_LOOP);
		goto drop;
	}
	/* A frame may wait for a handshake that never comes. Pages that a
	 * sender without copies (macvtap, MSG_ZEROCOPY) wants back must not.
	 */
	if (unlikely(skb_orphan_frags_rx(skb, GFP_ATOMIC)))
		goto drop;
	ret = wg_xmit(skb, dev);
	/* The core does not note the time for a device that does its own
	 * locking. Bonding's ARP monitor before Linux 6.1 goes by it.
	 */
	if (likely(ret == NETDEV_TX_OK))
		netif_trans_update(dev);
	return ret;

drop:
	DEV_STATS_INC(dev, tx_dropped);
	kfree_skb(skb);
	return NETDEV_TX_OK;
}

/* Every frame for the link arrives, so there is no filter to set. But without
 * this operation SIOCADDMULTI fails, which teamd's LACP needs.
 */
static void l2wg_set_rx_mode(struct net_device *dev)
{
}

/**
 * l2wg_get_stats64() - ndo_get_stats64 of both Ethernet kinds
 * @dev:	the link
 * @stats:	filled
 *
 * Context: Any.
 */
void l2wg_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *stats)
{
	netdev_stats_to_stats64(stats, &dev->stats);
	dev_fetch_sw_netstats(stats, dev->tstats);
}

const struct net_device_ops l2wg_netdev_ops = {
	.ndo_open		= l2wg_open,
	.ndo_stop		= l2wg_stop,
	.ndo_start_xmit		= l2wg_xmit,
	.ndo_get_stats64	= l2wg_get_stats64,
	.ndo_set_rx_mode	= l2wg_set_rx_mode,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
};

static void l2wg_setup(struct net_device *dev)
{
	int mtu, max_mtu;

	plain_setup(dev);
	mtu = dev->mtu;
	max_mtu = dev->max_mtu;

	ether_setup(dev);
	/* We keep state of our own in the buffers that we are given. */
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE | IFF_UNICAST_FLT;
	/* netconsole sends with interrupts off, and we take locks of softirqs. */
	dev->priv_flags |= IFF_DISABLE_NETPOLL;
	dev->netdev_ops = &l2wg_netdev_ops;
	dev->ethtool_ops = &l2wg_ethtool_ops;
	/* The Ethernet header is inside; tags come on top, as on any port. */
	dev->mtu = mtu - ETH_HLEN;
	dev->max_mtu = max_mtu - ETH_HLEN;
	/* In NETIF_F_GSO_SOFTWARE from Linux 5.12 on. Segmented by wg_xmit(), a
	 * buffer of UDP becomes messages that can leave together.
	 */
	dev->features |= NETIF_F_GSO_UDP_L4;
	dev->hw_features |= NETIF_F_GSO_UDP_L4;
	dev->hw_enc_features |= NETIF_F_GSO_UDP_L4;
	dev->vlan_features |= dev->features & (NETIF_F_HW_CSUM | NETIF_F_SG |
					       NETIF_F_GSO_SOFTWARE |
					       NETIF_F_GSO_UDP_L4 |
					       NETIF_F_HIGHDMA);
	/* Not what the name says: l2wg_trusts_checksums() */
	dev->hw_features |= NETIF_F_LRO;
	dev->features |= NETIF_F_LRO;
	eth_hw_addr_random(dev);
	SET_NETDEV_DEVTYPE(dev, &l2wg_device_type);
}

static int l2wg_validate(struct nlattr *tb[], struct nlattr *data[],
			 struct netlink_ext_ack *extack)
{
	if (!tb[IFLA_ADDRESS])
		return 0;
	if (nla_len(tb[IFLA_ADDRESS]) != ETH_ALEN) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_ADDRESS],
				    "An Ethernet address has 6 bytes");
		return -EINVAL;
	}
	if (!is_valid_ether_addr(nla_data(tb[IFLA_ADDRESS]))) {
		NL_SET_ERR_MSG_ATTR(extack, tb[IFLA_ADDRESS],
				    "The address must be unicast and not zero");
		return -EADDRNOTAVAIL;
	}
	return 0;
}

/**
 * l2wg_link_register() - register the plain kind and the Ethernet kinds
 * @plain_ops:	the plain kind's operations, not yet registered
 * @plain_ndo:	the plain kind's device operations
 *
 * If another module (the stock one) has the plain kind already, or the user
 * does not want ours, the Ethernet kind alone is registered.
 *
 * Context: Module init; takes the RTNL.
 * Return: 0, or a negative errno with nothing left registered.
 */
int __init l2wg_link_register(struct rtnl_link_ops *plain_ops,
			      const struct net_device_ops *plain_ndo)
{
	int ret;

	plain_ops->kind = L2WG_PLAIN_KIND;
	plain_setup = plain_ops->setup;
	plain_netdev_ops = plain_ndo;

	/* Not assigned: in later kernels a field of it is constant. */
	memcpy(&l2wg_link_ops, plain_ops, sizeof(l2wg_link_ops));
	l2wg_link_ops.kind = L2WG_KIND;
	l2wg_link_ops.setup = l2wg_setup;
	l2wg_link_ops.validate = l2wg_validate;
	l2wg_link_ops.priv_size = L2WG_PRIV_OFFSET + sizeof(struct l2wg_priv);

	if (plain) {
		ret = rtnl_link_register(plain_ops);
		if (ret && ret != -EEXIST)
			return ret;
		plain = !ret;
	}
	if (plain)
		plain_link_ops = plain_ops;

	ret = rtnl_link_register(&l2wg_link_ops);
	if (ret)
		goto err_plain;
	ret = l2wg_switch_register(&l2wg_link_ops);
	if (ret)
		goto err_ether;
	return 0;

err_ether:
	rtnl_link_unregister(&l2wg_link_ops);
err_plain:
	if (plain)
		rtnl_link_unregister(plain_ops);
	return ret;
}

/**
 * l2wg_link_unregister() - take back what l2wg_link_register() registered
 * @plain_ops:	the plain kind's operations
 *
 * Removes every link of all kinds.
 *
 * Context: Process context; takes the RTNL.
 */
void l2wg_link_unregister(struct rtnl_link_ops *plain_ops)
{
	l2wg_switch_unregister();
	rtnl_link_unregister(&l2wg_link_ops);
	if (plain_link_ops)
		rtnl_link_unregister(plain_ops);
}

/**
 * l2wg_genl_register() - register the generic-netlink family
 * @family:	the driver's family, named for the plain kind
 *
 * A module that has the plain kind also has the family of that name. If that
 * is another module, our family gets the Ethernet kind's name.
 *
 * Context: Module init, after l2wg_link_register().
 * Return: 0 or a negative errno.
 */
int __init l2wg_genl_register(struct genl_family *family)
{
	if (!plain_link_ops) {
		strscpy(family->name, L2WG_KIND, sizeof(family->name));
		pr_info("Offering only l2wireguard links, through the netlink family l2wireguard: the plain kind is another module's or not wanted\n");
	}
	return genl_register_family(family);
}

/**
 * l2wg_owns() - is this a link of this module, of any kind?
 * @dev:	any network device
 *
 * Compares operations, not the kind's name: beside the stock module there
 * are links of the same name that are not ours.
 *
 * Context: Any; the caller holds a reference to @dev.
 * Return: true if netdev_priv() of @dev is our struct wg_device.
 */
bool l2wg_owns(const struct net_device *dev)
{
	return dev->rtnl_link_ops && (dev->rtnl_link_ops == &l2wg_link_ops ||
				      dev->rtnl_link_ops == plain_link_ops ||
				      l2wg_switch_owns(dev));
}

/**
 * l2wg_check_packet() - may this link send this buffer?
 * @skb:	what the stack hands to ndo_start_xmit; not shared
 * @dev:	the link, of either kind
 *
 * An Ethernet link sends every frame. On a plain link the driver's own test
 * for IPv4 and IPv6 stands.
 *
 * Context: ndo_start_xmit, any.
 * Return: false if @skb cannot be sent and is to be dropped.
 */
bool l2wg_check_packet(struct sk_buff *skb, const struct net_device *dev)
{
	if (!l2wg_is_ether(dev))
		return wg_check_packet_protocol(skb);
	if (unlikely(!pskb_may_pull(skb, ETH_HLEN)))
		return false;
	/* Not every sender sets it (packet sockets that bypass the qdisc),
	 * and the address look-up goes by it.
	 */
	skb_reset_mac_header(skb);
	return true;
}

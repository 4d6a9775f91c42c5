// SPDX-License-Identifier: GPL-2.0
/*
 * What `ethtool` and bonding see of an Ethernet link.
 */

#include "l2wg_priv.h"
#include "l2wg_version.h"

/* `ethtool -S`: names are ABI, append only. */
static const char l2wg_counter_names[L2WG_COUNTERS][ETH_GSTRING_LEN] = {
	[L2WG_RX_OPAQUE]	= "rx_opaque",
	[L2WG_RX_TRAILER]	= "rx_trailer",
	[L2WG_RX_MALFORMED]	= "rx_malformed",
	[L2WG_TX_OPAQUE]	= "tx_opaque",
	[L2WG_TX_TRAILER]	= "tx_trailer",
	[L2WG_TX_MALFORMED]	= "tx_malformed",
	[L2WG_RX_OUTER_LOOP]	= "rx_outer_loop",
	[L2WG_TX_OUTER_LOOP]	= "tx_outer_loop",
};

static void l2wg_get_drvinfo(struct net_device *dev,
			     struct ethtool_drvinfo *info)
{
	strscpy(info->driver, dev->rtnl_link_ops->kind, sizeof(info->driver));
	strscpy(info->version, L2WG_VERSION, sizeof(info->version));
}

/* A bond or team in LACP mode takes only ports with a known speed and full
 * duplex. There is no true speed; we say what veth says.
 */
static int l2wg_get_link_ksettings(struct net_device *dev,
				   struct ethtool_link_ksettings *cmd)
{
	cmd->base.speed = SPEED_10000;
	cmd->base.duplex = DUPLEX_FULL;
	cmd->base.port = PORT_OTHER;
	cmd->base.autoneg = AUTONEG_DISABLE;
	return 0;
}

static int l2wg_get_sset_count(struct net_device *dev, int sset)
{
	if (sset != ETH_SS_STATS)
		return -EOPNOTSUPP;
	return L2WG_COUNTERS + (l2wg_is_switch(dev) ? l2wg_switch_stats_count() : 0);
}

static void l2wg_get_strings(struct net_device *dev, u32 sset, u8 *data)
{
	if (sset != ETH_SS_STATS)
		return;
	memcpy(data, l2wg_counter_names, sizeof(l2wg_counter_names));
	if (l2wg_is_switch(dev))
		l2wg_switch_stats_strings(data + sizeof(l2wg_counter_names));
}

static void l2wg_get_ethtool_stats(struct net_device *dev,
				   struct ethtool_stats *stats, u64 *data)
{
	unsigned int i;

	for (i = 0; i < L2WG_COUNTERS; ++i)
		data[i] = atomic64_read(&l2wg_priv(dev)->counters[i]);
	if (l2wg_is_switch(dev))
		l2wg_switch_stats(dev, data + L2WG_COUNTERS);
}

const struct ethtool_ops l2wg_ethtool_ops = {
	.get_drvinfo		= l2wg_get_drvinfo,
	.get_link		= ethtool_op_get_link,
	.get_link_ksettings	= l2wg_get_link_ksettings,
	.get_sset_count		= l2wg_get_sset_count,
	.get_strings		= l2wg_get_strings,
	.get_ethtool_stats	= l2wg_get_ethtool_stats,
};

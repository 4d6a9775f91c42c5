// SPDX-License-Identifier: GPL-2.0
/*
 * The link kind `l2wireguard`: setup, operations, registration, and what the
 * driver's data path asks about an Ethernet frame.
 *
 * The kind is the plain one with other properties: it is set up, opened,
 * stopped and removed by the driver's own functions, and then differs.
 */

#include "l2wg_dev.h"
#include "l2wg_compat.h"
#include "l2wg_frame.h"
#include "l2wg_version.h"

#include "device.h"
#include "messages.h"
#include "peer.h"
#include "queueing.h"

#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/inetdevice.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <net/addrconf.h>
#include <net/dsfield.h>
#include <net/inet_ecn.h>
#include <net/ip_tunnels.h>

static bool plain = true;
module_param(plain, bool, 0444);
MODULE_PARM_DESC(plain, "Offer the plain wireguard kind, too, unless another module has it (default Y)");
MODULE_INFO(l2wg_version, L2WG_VERSION);
MODULE_ALIAS_RTNL_LINK(L2WG_KIND);
MODULE_ALIAS_GENL_FAMILY(L2WG_KIND);

enum l2wg_counter {
	L2WG_RX_OPAQUE,
	L2WG_RX_TRAILER,
	L2WG_RX_MALFORMED,
	L2WG_TX_OPAQUE,
	L2WG_TX_TRAILER,
	L2WG_TX_MALFORMED,
	L2WG_COUNTERS
};

/* `ethtool -S`: names are ABI, append only. */
static const char l2wg_counter_names[L2WG_COUNTERS][ETH_GSTRING_LEN] = {
	[L2WG_RX_OPAQUE]	= "rx_opaque",
	[L2WG_RX_TRAILER]	= "rx_trailer",
	[L2WG_RX_MALFORMED]	= "rx_malformed",
	[L2WG_TX_OPAQUE]	= "tx_opaque",
	[L2WG_TX_TRAILER]	= "tx_trailer",
	[L2WG_TX_MALFORMED]	= "tx_malformed",
};

/* Our own data of a link lives behind the driver's, in the same allocation,
 * so it lives exactly as long. Atomic and not per CPU: an IP frame, the hot
 * path, touches none of them.
 */
struct l2wg_priv {
	atomic_long_t counters[L2WG_COUNTERS];
};

static const size_t l2wg_priv_offset = ALIGN(sizeof(struct wg_device),
					     __alignof__(struct l2wg_priv));

static struct rtnl_link_ops l2wg_link_ops __read_mostly;

/* The plain kind, if this module offers it. */
static const struct rtnl_link_ops *plain_link_ops __ro_after_init;
static const struct net_device_ops *plain_netdev_ops __ro_after_init;
static void (*plain_setup)(struct net_device *dev) __ro_after_init;

static const struct device_type l2wg_device_type = { .name = L2WG_KIND };

static struct l2wg_priv *l2wg_priv(const struct net_device *dev)
{
	return (struct l2wg_priv *)((char *)netdev_priv(dev) + l2wg_priv_offset);
}

static void l2wg_count(const struct net_device *dev, enum l2wg_counter counter)
{
	atomic_long_inc(&l2wg_priv(dev)->counters[counter]);
}

static int l2wg_open(struct net_device *dev)
{
	struct in_device *in4 = __in_dev_get_rtnl(dev);
	struct inet6_dev *in6 = __in6_dev_get(dev);
	int ret, mode = 0, redirects = 0, all_redirects = 0;

	/* When a WireGuard link opens, it turns off its IPv6 link-local
	 * address, and ICMP redirects for itself and for all links of the
	 * namespace: two of its peers are no neighbours. On an Ethernet they
	 * are, and neighbour discovery needs the address.
	 */
	if (in6)
		mode = in6->cnf.addr_gen_mode;
	if (in4) {
		redirects = IN_DEV_CONF_GET(in4, SEND_REDIRECTS);
		all_redirects = IPV4_DEVCONF_ALL(dev_net(dev), SEND_REDIRECTS);
	}
	ret = plain_netdev_ops->ndo_open(dev);
	if (in6)
		in6->cnf.addr_gen_mode = mode;
	if (in4) {
		IN_DEV_CONF_SET(in4, SEND_REDIRECTS, redirects);
		IPV4_DEVCONF_ALL(dev_net(dev), SEND_REDIRECTS) = all_redirects;
	}
	return ret;
}

static int l2wg_stop(struct net_device *dev)
{
	return plain_netdev_ops->ndo_stop(dev);
}

/* Every frame for the link arrives: there is no filter to set. That there is
 * such an operation is what SIOCADDMULTI (teamd's LACP) asks for.
 */
static void l2wg_set_rx_mode(struct net_device *dev)
{
}

static void l2wg_get_stats64(struct net_device *dev,
			     struct rtnl_link_stats64 *stats)
{
	netdev_stats_to_stats64(stats, &dev->stats);
	dev_fetch_sw_netstats(stats, dev->tstats);
}

const struct net_device_ops l2wg_netdev_ops = {
	.ndo_open		= l2wg_open,
	.ndo_stop		= l2wg_stop,
	.ndo_start_xmit		= wg_xmit,
	.ndo_get_stats64	= l2wg_get_stats64,
	.ndo_set_rx_mode	= l2wg_set_rx_mode,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
};

static void l2wg_get_drvinfo(struct net_device *dev,
			     struct ethtool_drvinfo *info)
{
	strscpy(info->driver, L2WG_KIND, sizeof(info->driver));
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
	return sset == ETH_SS_STATS ? L2WG_COUNTERS : -EOPNOTSUPP;
}

static void l2wg_get_strings(struct net_device *dev, u32 sset, u8 *data)
{
	if (sset == ETH_SS_STATS)
		memcpy(data, l2wg_counter_names, sizeof(l2wg_counter_names));
}

static void l2wg_get_ethtool_stats(struct net_device *dev,
				   struct ethtool_stats *stats, u64 *data)
{
	unsigned int i;

	for (i = 0; i < L2WG_COUNTERS; ++i)
		data[i] = atomic_long_read(&l2wg_priv(dev)->counters[i]);
}

static const struct ethtool_ops l2wg_ethtool_ops = {
	.get_drvinfo		= l2wg_get_drvinfo,
	.get_link		= ethtool_op_get_link,
	.get_link_ksettings	= l2wg_get_link_ksettings,
	.get_sset_count		= l2wg_get_sset_count,
	.get_strings		= l2wg_get_strings,
	.get_ethtool_stats	= l2wg_get_ethtool_stats,
};

static void l2wg_setup(struct net_device *dev)
{
	int mtu, max_mtu;

	plain_setup(dev);
	mtu = dev->mtu;
	max_mtu = dev->max_mtu;

	ether_setup(dev);
	/* We keep our own state in what we are given to send. */
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE | IFF_UNICAST_FLT;
	dev->netdev_ops = &l2wg_netdev_ops;
	dev->ethtool_ops = &l2wg_ethtool_ops;
	/* The Ethernet header is inside; tags come on top, as on any port. */
	dev->mtu = mtu - ETH_HLEN;
	dev->max_mtu = max_mtu - ETH_HLEN;
	dev->vlan_features |= dev->features & (NETIF_F_HW_CSUM | NETIF_F_SG |
					       NETIF_F_GSO_SOFTWARE |
					       NETIF_F_HIGHDMA);
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
 * l2wg_link_register() - register the plain kind and the Ethernet kind
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

	plain_setup = plain_ops->setup;
	plain_netdev_ops = plain_ndo;

	/* No assignment: later kernels have a constant field in it. */
	memcpy(&l2wg_link_ops, plain_ops, sizeof(l2wg_link_ops));
	l2wg_link_ops.kind = L2WG_KIND;
	l2wg_link_ops.setup = l2wg_setup;
	l2wg_link_ops.validate = l2wg_validate;
	l2wg_link_ops.priv_size = l2wg_priv_offset + sizeof(struct l2wg_priv);

	if (plain) {
		ret = rtnl_link_register(plain_ops);
		if (ret && ret != -EEXIST)
			return ret;
		plain = !ret;
	}
	if (plain)
		plain_link_ops = plain_ops;

	ret = rtnl_link_register(&l2wg_link_ops);
	if (ret && plain)
		rtnl_link_unregister(plain_ops);
	return ret;
}

/**
 * l2wg_link_unregister() - take back what l2wg_link_register() registered
 * @plain_ops:	the plain kind's operations
 *
 * Removes every link of both kinds.
 *
 * Context: Process context; takes the RTNL.
 */
void l2wg_link_unregister(struct rtnl_link_ops *plain_ops)
{
	rtnl_link_unregister(&l2wg_link_ops);
	if (plain_link_ops)
		rtnl_link_unregister(plain_ops);
}

/**
 * l2wg_genl_register() - register the generic-netlink family
 * @family:	the driver's family, named for the plain kind
 *
 * The family goes by the kinds: where another module has the plain kind it
 * has the family of that name, too, and ours gets the Ethernet kind's name.
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
 * l2wg_owns() - is this a link of this module, of either kind?
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
				      dev->rtnl_link_ops == plain_link_ops);
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

/* The IP header of an untagged frame, with its first @size bytes readable, or
 * NULL. The MAC header must be set; skb->data may be at it or behind it.
 */
static const void *l2wg_ip_hdr(const struct sk_buff *skb, __be16 proto,
			       unsigned int size, void *buf)
{
	if (unlikely(eth_hdr(skb)->h_proto != proto))
		return NULL;
	return skb_header_pointer(skb, skb_mac_offset(skb) + ETH_HLEN, size,
				  buf);
}

static int l2wg_addr(const struct sk_buff *skb, union l2wg_addr *addr, bool src)
{
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	} buf;

	ip4 = l2wg_ip_hdr(skb, htons(ETH_P_IP), sizeof(buf.ip4), &buf);
	if (ip4) {
		addr->v4.s_addr = src ? ip4->saddr : ip4->daddr;
		return AF_INET;
	}
	ip6 = l2wg_ip_hdr(skb, htons(ETH_P_IPV6), sizeof(buf.ip6), &buf);
	if (ip6) {
		addr->v6 = src ? ip6->saddr : ip6->daddr;
		return AF_INET6;
	}
	/* ARP, a tag, LACP, a cut IP header: whoever owns 0.0.0.0 */
	addr->v4.s_addr = htonl(INADDR_ANY);
	return AF_INET;
}

/**
 * l2wg_dst_addr() - where cryptokey routing sends a frame
 * @skb:	frame with its MAC header set
 * @addr:	filled with the destination of an untagged IP frame, with
 *		0.0.0.0 for any other
 *
 * Context: Any.
 * Return: AF_INET or AF_INET6, the family of @addr.
 */
int l2wg_dst_addr(const struct sk_buff *skb, union l2wg_addr *addr)
{
	return l2wg_addr(skb, addr, false);
}

/**
 * l2wg_src_addr() - what the sending peer's AllowedIPs must hold
 * @skb:	frame with its MAC header set
 * @addr:	filled with the source of an untagged IP frame, with 0.0.0.0
 *		for any other
 *
 * Context: Any.
 * Return: AF_INET or AF_INET6, the family of @addr.
 */
int l2wg_src_addr(const struct sk_buff *skb, union l2wg_addr *addr)
{
	return l2wg_addr(skb, addr, true);
}

/**
 * l2wg_ecn_encap() - the outer packet's DS field
 * @skb:	packet or frame that is about to be sent, or an empty keepalive
 *
 * RFC 6040 for the untagged IP frame, as the plain kind does it for a packet.
 * A frame in a tag sets nothing outside, as l2wg_receive() gives nothing back.
 *
 * Context: Any.
 * Return: DS field with only ECN bits set.
 */
u8 l2wg_ecn_encap(const struct sk_buff *skb)
{
	const struct ipv6hdr *ip6;
	const struct iphdr *ip4;
	union {
		struct iphdr ip4;
		struct ipv6hdr ip6;
	} buf;

	if (!l2wg_is_ether(skb->dev))
		return ip_tunnel_ecn_encap(0, ip_hdr(skb), skb);
	if (unlikely(skb->len < ETH_HLEN))
		return 0;
	ip4 = l2wg_ip_hdr(skb, htons(ETH_P_IP), sizeof(buf.ip4), &buf);
	if (ip4)
		return INET_ECN_encapsulate(0, ip4->tos);
	ip6 = l2wg_ip_hdr(skb, htons(ETH_P_IPV6), sizeof(buf.ip6), &buf);
	if (ip6)
		return INET_ECN_encapsulate(0, ipv6_get_dsfield(ip6));
	return 0;
}

/* Ask for the frame's length, pulling what the function needs to see. It
 * rarely does: a header is in the linear part but in a reassembled packet.
 * Verdict L2WG_SHORT means that there was no memory.
 */
static struct l2wg_frame l2wg_parse(struct sk_buff *skb)
{
	/* One pull for many small steps (LLDP), so that a peer cannot make
	 * us start over for every other byte.
	 */
	const unsigned int stride = 256;
	struct l2wg_frame frame;

	for (;;) {
		frame = l2wg_frame_parse(skb->data, skb_headlen(skb), skb->len);
		if (likely(frame.verdict != L2WG_SHORT))
			return frame;
		if (unlikely(!pskb_may_pull(skb, min(frame.len + stride,
						     skb->len))))
			return frame;
	}
}

/**
 * l2wg_padding() - how much padding a frame may get
 * @skb:	frame, or an empty keepalive, before encryption
 * @mtu:	MTU for @skb's destination, or 0 when there is none
 *
 * Pads to a multiple of 16, as WireGuard does to hide lengths, but only what
 * the receiver, which asks the same function, can unpad; and never beyond
 * what fits the MTU, so that padding cannot make the outer packet fragment.
 * Tags count: a tagged frame that is over the limit already gets none.
 *
 * Context: Softirq or process; @skb is not shared. May reallocate its head.
 * Return: bytes to add, 0 to 15.
 */
unsigned int l2wg_padding(struct sk_buff *skb, u32 mtu)
{
	unsigned int limit = READ_ONCE(skb->dev->mtu);
	struct l2wg_frame frame;

	if (unlikely(!skb->len))
		return 0;
	frame = l2wg_parse(skb);
	switch (frame.verdict) {
	case L2WG_LENGTH:
		break;
	case L2WG_OPAQUE:
		l2wg_count(skb->dev, L2WG_TX_OPAQUE);
		return 0;
	case L2WG_MALFORMED:
		l2wg_count(skb->dev, L2WG_TX_MALFORMED);
		return 0;
	default:
		return 0;
	}
	if (unlikely(frame.len != skb->len)) {
		l2wg_count(skb->dev, L2WG_TX_TRAILER);
		return 0;
	}

	if (mtu && mtu < limit)
		limit = mtu;
	limit += ETH_HLEN;
	if (unlikely(skb->len >= limit))
		return 0;
	return min_t(unsigned int, limit,
		     ALIGN(skb->len, MESSAGE_PADDING_MULTIPLE)) - skb->len;
}

static bool l2wg_is_zero_from(const struct sk_buff *skb, unsigned int offset)
{
	u8 buf[64];

	while (offset < skb->len) {
		unsigned int n = min_t(unsigned int, skb->len - offset,
				       sizeof(buf));
		const u8 *p = skb_header_pointer(skb, offset, n, buf);

		if (!p || memchr_inv(p, 0, n))
			return false;
		offset += n;
	}
	return true;
}

/* RFC 6040: an outer "congestion experienced" must reach the inner packet. */
static void l2wg_ecn_decap(struct sk_buff *skb, u8 ds)
{
	if (skb->protocol == htons(ETH_P_IP) &&
	    pskb_may_pull(skb, sizeof(struct iphdr)))
		INET_ECN_decapsulate(skb, ds, ip_hdr(skb)->tos);
	else if (skb->protocol == htons(ETH_P_IPV6) &&
		 pskb_may_pull(skb, sizeof(struct ipv6hdr)))
		INET_ECN_decapsulate(skb, ds, ipv6_get_dsfield(ipv6_hdr(skb)));
}

/**
 * l2wg_receive() - turn a decrypted plaintext into a frame for the stack
 * @skb:	plaintext at skb->data, not empty
 * @peer:	who sent it; the caller holds a reference
 *
 * The length comes from the frame's own headers. Zeros behind it are padding
 * (the sender's, or a NIC's that made a frame 60 bytes long) and are cut. If
 * anything else is there it is a trailer: the sender has not padded such a
 * frame, and it is delivered whole. A frame whose headers contradict it is
 * counted, as is one for which there is no memory.
 *
 * On success the MAC and network headers, dev, protocol and packet type are
 * set, and skb->data is behind the Ethernet header.
 *
 * Context: NAPI poll of @peer.
 * Return: false if the frame is to be dropped; it has been counted.
 */
bool l2wg_receive(struct sk_buff *skb, struct wg_peer *peer)
{
	struct net_device *dev = peer->device->dev;
	struct l2wg_frame frame = l2wg_parse(skb);

	switch (frame.verdict) {
	case L2WG_LENGTH:
		if (likely(frame.len == skb->len))
			break;
		if (unlikely(!l2wg_is_zero_from(skb, frame.len)))
			l2wg_count(dev, L2WG_RX_TRAILER);
		else if (unlikely(pskb_trim(skb, frame.len)))
			goto no_memory;
		break;
	case L2WG_OPAQUE:
		l2wg_count(dev, L2WG_RX_OPAQUE);
		break;
	case L2WG_MALFORMED:
		goto malformed;
	default:
		goto no_memory;
	}
	if (unlikely(!pskb_may_pull(skb, ETH_HLEN)))
		goto no_memory;

	/* The Poly1305 tag has been verified: as on the plain kind, what has
	 * not been changed on its way needs no other checksum.
	 */
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	skb->csum_level = ~0;
	skb->protocol = eth_type_trans(skb, dev);
	skb_reset_network_header(skb);
	l2wg_ecn_decap(skb, PACKET_CB(skb)->ds);
	return true;

malformed:
	net_dbg_ratelimited("%s: Malformed frame of %u bytes from peer %llu (%pISpfsc)\n",
			    dev->name, skb->len, peer->internal_id,
			    &peer->endpoint.addr);
	l2wg_count(dev, L2WG_RX_MALFORMED);
	DEV_STATS_INC(dev, rx_errors);
	/* A length that the frame does not have, or a header that is wrong */
	if (frame.len > skb->len || skb->len < ETH_HLEN)
		DEV_STATS_INC(dev, rx_length_errors);
	else
		DEV_STATS_INC(dev, rx_frame_errors);
	return false;

no_memory:
	DEV_STATS_INC(dev, rx_dropped);
	return false;
}

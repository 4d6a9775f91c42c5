/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What sending and receiving in batches share.
 */

#ifndef _L2WG_BATCH_H
#define _L2WG_BATCH_H

#include <linux/types.h>

struct net_device;

/* l2wg_batch.c */
bool l2wg_batches(const struct net_device *dev);

#endif /* _L2WG_BATCH_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that we build for, as features and not as
 * version numbers: stable updates carry API changes back.
 *
 * A feature that is a macro is tested for here. Nothing that is not a macro
 * differs yet.
 */

#ifndef _L2WG_COMPAT_H
#define _L2WG_COMPAT_H

#include <linux/netdevice.h>

/* Linux 6.1, and stable updates of 5.10 and 5.15: per-device error counters
 * are atomic. Before that they are plain fields that may lose an increment.
 */
#ifndef DEV_STATS_INC
#define DEV_STATS_INC(DEV, FIELD) (++(DEV)->stats.FIELD)
#endif

#endif /* _L2WG_COMPAT_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Names of the driver's caches in a module of our own.
 *
 * KMEM_CACHE() names a cache after its struct. Beside the stock module there
 * would be two of each name, of which a kernel with CONFIG_DEBUG_VM warns.
 * Kbuild includes this file before all others.
 */
#ifndef L2WG_SLAB_H
#define L2WG_SLAB_H

#include <linux/slab.h>

#undef KMEM_CACHE
#define KMEM_CACHE(__struct, __flags)					\
	kmem_cache_create("l2wg_" #__struct, sizeof(struct __struct),	\
			  __alignof__(struct __struct), (__flags), NULL)

#endif /* L2WG_SLAB_H */

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The length of an Ethernet frame, read from the frame's own headers.
 *
 * One source for the module, for the tests and for the tools: all that it
 * needs of the kernel is the names of the integer types.
 */
#ifndef _L2WG_FRAME_H
#define _L2WG_FRAME_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
#endif

/* Headers that one frame may nest (tags, labels, tunnels, the last protocol
 * included). A frame that nests more has no length: it is opaque.
 */
#define L2WG_FRAME_MAX_NEST 16

/* The table of EtherTypes is a wire format: a receiver cuts padding only where
 * it finds the frame's end, and gives a frame that it calls opaque on as it came,
 * zeros and all. So it has a version, and its rows are used at two versions: what
 * we cut as receivers, and what we pad as senders. A new row is cut by one release
 * before the next one pads by it (docs/frames.md, "The table is a wire format").
 */
#define L2WG_FRAME_UNPADS 1
#define L2WG_FRAME_PADS 1

/**
 * enum l2wg_verdict - what the headers of a frame say about its length
 * @L2WG_OPAQUE: nothing: carry the frame as it is; .len is 0
 * @L2WG_LENGTH: the frame ends after .len bytes, Ethernet header included;
 *	14 <= .len <= len
 * @L2WG_MALFORMED: a known header contradicts the frame; .len is the length
 *	that it claims (> len), or 0 when a header itself is wrong or cut
 * @L2WG_SHORT: not enough of the frame is readable to tell: make the first .len
 *	bytes readable (avail < .len <= len) and ask again
 */
enum l2wg_verdict {
	L2WG_OPAQUE,
	L2WG_LENGTH,
	L2WG_MALFORMED,
	L2WG_SHORT,
};

/**
 * struct l2wg_frame - the answer of l2wg_frame_parse()
 * @verdict: see &enum l2wg_verdict
 * @len: bytes; what it counts depends on @verdict
 */
struct l2wg_frame {
	enum l2wg_verdict verdict;
	u32 len;
};

struct l2wg_frame l2wg_frame_parse(const u8 *data, u32 avail, u32 len,
				   u32 table);
u32 l2wg_frame_pad(const u8 *data, u32 end, u32 len);
u32 l2wg_frame_unpad(const u8 *data, u32 end, u32 len);

#endif /* _L2WG_FRAME_H */

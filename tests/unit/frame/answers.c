// SPDX-License-Identifier: GPL-2.0
/*
 * The length function on any machine: says what machine it is, then answers the
 * questions on standard input, a line each. A question is two numbers of 4 bytes,
 * big endian, which are the readable bytes and the length of a frame, and the
 * readable bytes.
 *
 * usage: answers VERSION, of the table that answers
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l2wg_frame.h"

static u32 number(const u8 *at)
{
	return (u32)at[0] << 24 | (u32)at[1] << 16 | (u32)at[2] << 8 | at[3];
}

int main(int argc, char **argv)
{
	u32 version = argc > 1 ? (u32)atoi(argv[1]) : 0;
	u16 one = 1;
	u8 head[8];

	printf("%zu bit, %s endian\n", 8 * sizeof(void *), *(u8 *)&one ? "little" : "big");
	while (fread(head, sizeof(head), 1, stdin) == 1) {
		u32 avail = number(head), len = number(head + 4);
		/* At an odd address: a wider read would be a trap. */
		u8 *room = malloc((size_t)avail + 1), *data = room + 1;
		struct l2wg_frame it;

		if (!room || fread(data, 1, avail, stdin) != avail)
			return 1;
		it = l2wg_frame_parse(data, avail, len, version);
		printf("%d %lu", (int)it.verdict, (unsigned long)it.len);
		if (it.verdict == L2WG_LENGTH && avail == len)
			printf(" %lu %lu", (unsigned long)l2wg_frame_pad(data, it.len, len),
			       (unsigned long)l2wg_frame_unpad(data, it.len, len));
		putchar('\n');
		free(room);
	}
	return 0;
}

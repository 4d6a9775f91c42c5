// SPDX-License-Identifier: GPL-2.0
/*
 * bench-length FRAME CALLS: call the length function so often on a frame, which
 * is given in hexadecimal digits, and print the nanoseconds that a call took.
 */
#include "l2wg_frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int main(int argc, char **argv)
{
	static u8 frame[65536];
	struct timespec start, end;
	unsigned long calls;
	size_t length;
	u32 sum = 0;

	if (argc != 3 || strlen(argv[1]) / 2 > sizeof(frame))
		return 2;
	length = strlen(argv[1]) / 2;
	for (size_t i = 0; i < length; i++)
		if (sscanf(argv[1] + 2 * i, "%2hhx", &frame[i]) != 1)
			return 2;
	calls = strtoul(argv[2], NULL, 10);
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned long i = 0; i < calls; i++)
		sum += l2wg_frame_parse(frame, (u32)length, (u32)length,
					L2WG_FRAME_UNPADS).len;
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%.3f\n", ((double)(end.tv_sec - start.tv_sec) * 1e9 +
			  (double)(end.tv_nsec - start.tv_nsec)) / (double)(calls ? calls : 1));
	return sum == 1; /* so that the calls have to be made */
}

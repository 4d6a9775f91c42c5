// SPDX-License-Identifier: GPL-2.0
/*
 * libFuzzer harness of the length function. The promises of l2wg_frame.h are the
 * oracle: a broken one aborts, a wrong read is for AddressSanitizer to find, which
 * is why each question is asked in an allocation that ends where the frame may be
 * read to.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l2wg_frame.h"

/* An answer for the Ethernet header, two for each nested one, the verdict */
enum { ROUNDS = 1 + 2 * L2WG_FRAME_MAX_NEST + 1 };

#define PROMISE(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, \
				__LINE__, #condition); \
			abort(); \
		} \
	} while (0)

static struct l2wg_frame ask(const u8 *data, u32 avail, u32 len)
{
	struct l2wg_frame answer;
	u8 *exact = malloc(avail ? avail : 1);

	if (!exact)
		abort();
	memcpy(exact, data, avail);
	/* Of an empty allocation, point behind the one byte that there is. */
	answer = l2wg_frame_parse(avail ? exact : exact + 1, avail, len,
				  L2WG_FRAME_UNPADS);
	free(exact);
	return answer;
}

static bool same(struct l2wg_frame a, struct l2wg_frame b)
{
	return a.verdict == b.verdict && a.len == b.len;
}

/* However much is readable at first, the answer is the same in the end. */
static void avail_does_not_matter(const u8 *data, u32 avail, u32 len,
				  struct l2wg_frame whole)
{
	struct l2wg_frame answer;
	int round;

	for (round = 0; round < ROUNDS; round++) {
		answer = ask(data, avail, len);
		if (answer.verdict != L2WG_SHORT)
			break;
		PROMISE(answer.len > avail && answer.len <= len);
		avail = answer.len;
	}
	PROMISE(same(answer, whole));
}

/* What a sender makes of a frame with zeros behind its end, a receiver undoes; but
 * for what may be a NIC's, which is cut.
 */
static void zeros_of_its_own(const u8 *data, u32 len, u32 end)
{
	u32 sent = l2wg_frame_pad(data, end, len);
	u32 got = l2wg_frame_unpad(data, end, sent);

	PROMISE(sent >= len && sent - len < 16);
	PROMISE(got == len || (got == end && sent == len));
	for (; sent > len && len == end; sent--)
		PROMISE(l2wg_frame_unpad(data, end, sent) == end);
}

static void zeros_do_not_matter(const u8 *data, u32 len, struct l2wg_frame whole)
{
	static const u32 tails[] = { 1, 2, 3, 4, 7, 8, 15, 16, 46, 512 };
	u8 *padded = calloc(1, len + 512);
	struct l2wg_frame answer;
	unsigned int i;

	if (!padded)
		abort();
	memcpy(padded, data, len);
	for (i = 0; i < sizeof(tails) / sizeof(*tails); i++) {
		answer = ask(padded, len + tails[i], len + tails[i]);
		PROMISE(same(answer, whole) ||
			(tails[i] > 15 && answer.verdict == L2WG_OPAQUE));
	}
	free(padded);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	u32 len = (u32)size;
	struct l2wg_frame whole = ask(data, len, len);

	switch (whole.verdict) {
	case L2WG_OPAQUE:
		PROMISE(whole.len == 0);
		break;
	case L2WG_LENGTH:
		PROMISE(whole.len >= 14 && whole.len <= len);
		break;
	case L2WG_MALFORMED:
		PROMISE(whole.len == 0 || whole.len > len);
		break;
	default:
		PROMISE(whole.verdict != L2WG_SHORT);
	}
	PROMISE(len >= 14 || whole.verdict == L2WG_MALFORMED);
	/* A table without rows knows no end. */
	PROMISE(l2wg_frame_parse(data, len, len, 0).verdict ==
		(len >= 14 ? L2WG_OPAQUE : L2WG_MALFORMED));
	avail_does_not_matter(data, 0, len, whole);
	avail_does_not_matter(data, len < 14 ? len : 14, len, whole);
	avail_does_not_matter(data, len / 2, len, whole);
	if (whole.verdict == L2WG_LENGTH)
		zeros_of_its_own(data, len, whole.len);
	if (whole.verdict == L2WG_LENGTH && whole.len == len)
		zeros_do_not_matter(data, len, whole);
	return 0;
}

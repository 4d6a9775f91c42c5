// SPDX-License-Identifier: GPL-2.0
/*
 * attacker: seal plaintexts with a session's keys and send them to a WireGuard
 * link, as fast as it takes them in. tests/support/attacker.py agrees on the keys.
 *
 *	attacker FD ADDRESS PORT FRAMES WINDOW COUNT SECONDS SEED SOURCES CHANGES
 *
 * FD is the UDP socket. FRAMES is a file of frames, each behind its length in two
 * bytes, big-endian. They are sent in an order by chance that SEED decides, COUNT in
 * all, but for no longer than SECONDS. SOURCES: 0 leaves each frame's source address
 * alone, N takes one of N, and 2^32 or more any at all. CHANGES: up to that many bytes
 * of each frame become others, and up to 39 zeros follow; some frames are cut.
 *
 * Standard input has what nobody else may read, and what goes with it: the key to
 * send with, the key to receive with, the link's index and ours (32 bits each) and the
 * first counter (64 bits), little-endian; then two frames as in FRAMES, a question and
 * its answer. After each WINDOW plaintexts (a multiple of 64) the question goes out, and
 * nothing more until the answer is there: then the link has judged all of them, and
 * nothing has been lost in a queue.
 *
 * It prints one line of JSON: `sent` without the questions, `asked` (questions, and
 * those that had to be repeated among them), `malformed`: of how many plaintexts the
 * length function says that no frame is like that.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../kernel/l2wg_frame.h"

#ifndef PATIENCE
#define PATIENCE 5000	/* ms until a question is repeated */
#endif

enum {
	FRAMES_MAX = 4096,
	FRAME_MAX = 2048,	/* with what a change adds */
	ZEROS = 40,
	HEADER = 16,		/* of a transport message, and its tag */
	TAG = 16,
	DATA = 4,
	AT_ONCE = 64,		/* messages in one system call */
	TRIES = 60,
};

struct frame {
	size_t len;
	uint8_t data[FRAME_MAX];
};

struct secrets {
	uint8_t send[32], receive[32];
	uint32_t remote, local;
	uint64_t counter;
} __attribute__((packed));

static struct secrets session;
static struct frame frames[FRAMES_MAX], question, answer;
static struct sockaddr_in to;
static uint8_t messages[AT_ONCE][HEADER + FRAME_MAX + TAG];
static struct mmsghdr headers[AT_ONCE];
static struct iovec pieces[AT_ONCE];
static EVP_CIPHER_CTX *seals, *opens;
static uint64_t state;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "attacker: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* xorshift64*: no secret hangs on it */
static uint64_t chance(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dULL;
}

static bool read_frame(FILE *f, struct frame *frame)
{
	uint8_t len[2];

	if (fread(len, 1, 2, f) != 2)
		return false;
	frame->len = len[0] << 8 | len[1];
	if (frame->len > FRAME_MAX - ZEROS || fread(frame->data, 1, frame->len, f) != frame->len) {
		errno = EMSGSIZE;
		die("a frame");
	}
	return true;
}

static void nonce(uint8_t *into, uint64_t counter)
{
	counter = htole64(counter);
	memset(into, 0, 4);
	memcpy(into + 4, &counter, 8);
}

/* A transport message (whitepaper, 5.4.6); its length */
static size_t seal(uint8_t *message, const struct frame *frame)
{
	uint32_t kind = htole32(DATA), index = session.remote;
	uint64_t counter = htole64(session.counter);
	uint8_t iv[12];
	int n;

	memcpy(message, &kind, 4);
	memcpy(message + 4, &index, 4);
	memcpy(message + 8, &counter, 8);
	nonce(iv, session.counter++);
	if (EVP_EncryptInit_ex(seals, NULL, NULL, NULL, iv) != 1 ||
	    EVP_EncryptUpdate(seals, message + HEADER, &n, frame->data, frame->len) != 1 ||
	    EVP_EncryptFinal_ex(seals, message + HEADER + n, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(seals, EVP_CTRL_AEAD_GET_TAG, TAG,
				message + HEADER + frame->len) != 1) {
		errno = EIO;
		die("seal");
	}
	return HEADER + frame->len + TAG;
}

/* Is it the answer? */
static bool is_answer(uint8_t *message, size_t len)
{
	uint8_t plain[FRAME_MAX], iv[12];
	uint64_t counter;
	int n;

	if (len < HEADER + answer.len + TAG || len > sizeof(plain) ||
	    memcmp(message + 4, &session.local, 4))
		return false;
	memcpy(&counter, message + 8, 8);
	nonce(iv, le64toh(counter));
	len -= HEADER + TAG;
	return EVP_DecryptInit_ex(opens, NULL, NULL, NULL, iv) == 1 &&
	       EVP_DecryptUpdate(opens, plain, &n, message + HEADER, len) == 1 &&
	       EVP_CIPHER_CTX_ctrl(opens, EVP_CTRL_AEAD_SET_TAG, TAG,
				   message + HEADER + len) == 1 &&
	       EVP_DecryptFinal_ex(opens, plain + n, &n) == 1 &&
	       !memcmp(plain, answer.data, answer.len);
}

/* Ask until there is an answer; how often it took. Each question has one: what is left
 * of them would be taken for that to the next question.
 */
static unsigned int ask(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	unsigned int answers = 0;
	uint8_t message[65536];
	ssize_t n;

	for (unsigned int tries = 1; tries <= TRIES; tries++) {
		n = seal(message, &question);
		if (sendto(fd, message, n, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			die("sendto");
		while (poll(&p, 1, PATIENCE) == 1) {
			n = recv(fd, message, sizeof(message), 0);
			if (n < 0)
				die("recv");
			if (is_answer(message, n) && ++answers == tries)
				return tries;
		}
		if (answers)	/* the others are lost */
			return tries;
	}
	errno = ETIMEDOUT;
	die("the link does not answer");
}

static bool is_malformed(const struct frame *frame)
{
	return l2wg_frame_parse(frame->data, frame->len, frame->len, L2WG_FRAME_UNPADS).verdict ==
	       L2WG_MALFORMED;
}

static void change(struct frame *frame, unsigned long most)
{
	uint64_t by = chance();

	/* one of eight is cut, at least one byte is left: none would be a keepalive */
	if (by % 8 == 0 && frame->len > 1)
		frame->len = 1 + (by >> 8) % (frame->len - 1);
	for (uint64_t n = 1 + (by >> 32) % most; n; n--) {
		by = chance();
		frame->data[by % frame->len] = by >> 56;
	}
	by = chance() % ZEROS;
	memset(frame->data + frame->len, 0, by);
	frame->len += by;
}

static void from(struct frame *frame, uint64_t sources)
{
	uint64_t mac = sources >> 32 ? chance() >> 16 : chance() % sources;

	mac = htobe64(mac) >> 16;
	memcpy(frame->data + 6, &mac, 6);
	frame->data[6] = (frame->data[6] & 0xfc) | 2;	/* local, one station */
}

int main(int argc, char **argv)
{
	unsigned long count, sent = 0, asked = 0, malformed = 0, in_window = 0;
	unsigned long window, seconds, sources, changes;
	unsigned int n = 0;
	struct timespec t;
	time_t end;
	FILE *f;
	int fd;

	if (argc != 11) {
		fprintf(stderr, "attacker: see the head of attacker.c for its arguments\n");
		return 2;
	}
	fd = atoi(argv[1]);
	to.sin_family = AF_INET;
	to.sin_port = htons(atoi(argv[3]));
	if (inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		die(argv[2]);
	f = fopen(argv[4], "r");
	if (!f)
		die(argv[4]);
	while (n < FRAMES_MAX && read_frame(f, &frames[n]))
		n++;
	fclose(f);
	window = strtoul(argv[5], NULL, 10);
	count = strtoul(argv[6], NULL, 10);
	seconds = strtoul(argv[7], NULL, 10);
	state = strtoull(argv[8], NULL, 10) * 2 + 1;
	sources = strtoul(argv[9], NULL, 10);
	changes = strtoul(argv[10], NULL, 10);
	if (!n || fread(&session, sizeof(session), 1, stdin) != 1 ||
	    !read_frame(stdin, &question) || !read_frame(stdin, &answer)) {
		errno = EINVAL;
		die("standard input, or no frames");
	}
	session.counter = le64toh(session.counter);

	seals = EVP_CIPHER_CTX_new();
	opens = EVP_CIPHER_CTX_new();
	if (!seals || !opens ||
	    EVP_EncryptInit_ex(seals, EVP_chacha20_poly1305(), NULL, session.send, NULL) != 1 ||
	    EVP_DecryptInit_ex(opens, EVP_chacha20_poly1305(), NULL, session.receive, NULL) != 1) {
		errno = EIO;
		die("ChaCha20-Poly1305");
	}
	for (int i = 0; i < AT_ONCE; i++) {
		pieces[i].iov_base = messages[i];
		headers[i].msg_hdr.msg_iov = &pieces[i];
		headers[i].msg_hdr.msg_iovlen = 1;
		headers[i].msg_hdr.msg_name = &to;
		headers[i].msg_hdr.msg_namelen = sizeof(to);
	}
	clock_gettime(CLOCK_MONOTONIC, &t);
	end = t.tv_sec + seconds;
	while (sent < count && t.tv_sec < end) {
		unsigned int some = count - sent < AT_ONCE ? count - sent : AT_ONCE;

		for (unsigned int i = 0; i < some; i++) {
			struct frame frame = frames[chance() % n];

			if (sources && frame.len >= 12)
				from(&frame, sources);
			if (changes)
				change(&frame, changes);
			malformed += is_malformed(&frame);
			pieces[i].iov_len = seal(messages[i], &frame);
		}
		for (unsigned int done = 0; done < some;) {
			int m = sendmmsg(fd, headers + done, some - done, 0);

			if (m < 0)
				die("sendmmsg");
			done += m;
		}
		sent += some;
		in_window += some;
		if (in_window >= window || sent == count) {
			asked += ask(fd);
			in_window = 0;
			clock_gettime(CLOCK_MONOTONIC, &t);
		}
	}
	printf("{\"sent\": %lu, \"asked\": %lu, \"malformed\": %lu}\n", sent, asked, malformed);
	return 0;
}

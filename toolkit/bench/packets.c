// SPDX-License-Identifier: GPL-2.0
/*
 * bench-packets: send packets from one network namespace to another and count
 * what that costs. One process for each end, so that the two can share memory.
 *
 *	bench-packets udp NS_A NS_B ADDRESS SIZE COUNT WINDOW [SPAN]
 *	bench-packets gso NS_A NS_B ADDRESS SIZE COUNT WINDOW
 *	bench-packets pps NS_A NS_B ADDRESS SIZE MILLISECONDS WINDOW
 *	bench-packets rtt NS_A NS_B ADDRESS SIZE COUNT
 *	bench-packets tcp NS_A NS_B ADDRESS STREAMS MILLISECONDS
 *	bench-packets raw NS_A LINK MAC SIZE COUNT COPIES AT_ONCE
 *	bench-packets frames NS_A LINK NS_B FRAMES COUNT AT_ONCE SEED
 *
 * NS_A and NS_B are names of `ip netns`, ADDRESS is B's IPv4 address, SIZE the
 * bytes of an IP packet, of which there are SPAN sizes from SIZE on (1 by default),
 * in turn. It prints one line of JSON, times in nanoseconds:
 * `idle` is the part of `elapsed` in which the processors slept, all added up.
 *
 * gso is udp with UDP_SEGMENT: half a window of packets in each system call.
 *
 * udp, gso and pps never have more than WINDOW packets on their way, so that nothing
 * is lost. Otherwise we would measure how fast packets can be dropped.
 * A packet that does not come within a second is given up and counted in `lost`.
 *
 * raw sends Ethernet frames of SIZE bytes from LINK to MAC, AT_ONCE at a time, and
 * waits each time until COPIES packets for each frame have left eth0; they are `sent`.
 *
 * frames sends what FRAMES says in hexadecimal, with commas between, in turn, until
 * COUNT have been sent or SIGTERM comes; from random sources unless SEED is 0. At most
 * AT_ONCE are on their way at once: to NS_B's LINK, which has a name of its own there
 * if LINK is NAME:NAME_B, until it has received or dropped them; or, if NS_B is -,
 * until they have left eth0.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	PORT = 7777,
	HEADERS = 28,		/* IPv4 and UDP */
	PACKET_MAX = 65535,
	STREAMS_MAX = 64,
	FRAMES_MAX = 1024,
	BUFFER = 128 * 1024,	/* as iperf3 has it */
	WARM_UP = 5,		/* the first fifth of a TCP run is not counted */
};

/* What the two processes know of each other */
struct shared {
	atomic_ulong received;
	atomic_ulong bytes;
	atomic_bool waiting;	/* the sender, for room in the window */
	atomic_bool ready;
	atomic_bool over;
};

static struct shared *shared;
static int wake;
static char packet[BUFFER];

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-packets: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Nanoseconds that the processors have slept: exact, unlike /proc/stat. */
static int64_t idle(void)
{
	char line[256];
	int64_t sum = 0, value;
	FILE *f = fopen("/proc/timer_list", "r");

	if (!f)
		die("/proc/timer_list");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " .idle_sleeptime : %ld nsecs", &value) == 1)
			sum += value;
	fclose(f);
	return sum;
}

static void enter(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/var/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(path);
	close(fd);
}

static struct sockaddr_in address(const char *text)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };

	if (inet_pton(AF_INET, text, &a.sin_addr) != 1) {
		errno = EINVAL;
		die(text);
	}
	return a;
}

static int udp_socket(const char *bind_to, const char *connect_to)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 4 << 20;
	struct sockaddr_in a;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind_to) {
		a = address(bind_to);
		if (bind(fd, (struct sockaddr *)&a, sizeof(a)))
			die(bind_to);
	}
	if (connect_to) {
		a = address(connect_to);
		if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
			die(connect_to);
	}
	return fd;
}

/* Start the other end; returns in both, 0 in the new process. */
static pid_t other_end(const char *ns)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		enter(ns);
	}
	return pid;
}

static void wait_until_ready(void)
{
	while (!atomic_load(&shared->ready))
		usleep(1000);
}

/* A full queue is no mistake, nor is an ICMP error for an earlier packet (a link
 * that says "too large": the next one goes in fragments). What is lost by that is
 * counted as lost.
 */
static void send_packet(int fd, size_t size)
{
	for (int i = 0; i < 3; i++)
		if (send(fd, packet, size, 0) >= 0 || errno == ENOBUFS)
			return;
		else if (errno != EMSGSIZE)
			break;
	die("send");
}

static void receive_udp(int fd)
{
	const uint64_t one = 1;
	ssize_t n;

	atomic_store(&shared->ready, true);
	for (;;) {
		n = recv(fd, packet, sizeof(packet), 0);
		if (n < 0)
			die("recv");
		atomic_fetch_add(&shared->received, 1);
		if (atomic_exchange(&shared->waiting, false) &&
		    write(wake, &one, sizeof(one)) != sizeof(one))
			die("eventfd");
	}
}

/* After how long a packet is lost, in ms. A guest without KVM may stand still
 * for seconds.
 */
#define LOST 5000

/* Wait until fewer than `window` of `sent` packets are on their way. */
static unsigned long wait_for_room(unsigned long sent, unsigned long lost,
				   unsigned long window)
{
	struct pollfd p = { .fd = wake, .events = POLLIN };
	uint64_t count;

	while (sent - lost - atomic_load(&shared->received) >= window) {
		atomic_store(&shared->waiting, true);
		if (sent - lost - atomic_load(&shared->received) < window)
			break;
		if (poll(&p, 1, LOST) == 0)
			return sent - atomic_load(&shared->received);
		if (read(wake, &count, sizeof(count)) < 0)
			die("eventfd");
	}
	return lost;
}

/* Half a window at a time, as a program does that has much to send; if `joined`, in one
 * system call, as one that sends a video or a file by QUIC does.
 */
static int run_udp(const char *ns_b, const char *to, unsigned long size, unsigned long count,
		   unsigned long window, unsigned long span, int64_t limit, bool joined)
{
	int segment = size - HEADERS, step = joined ? window / 2 : 1;
	unsigned long sent = 0, lost = 0, before;
	int64_t start, slept, end;
	pid_t pid;
	int fd;

	pid = other_end(ns_b);
	if (!pid)
		receive_udp(udp_socket(to, NULL));
	wait_until_ready();
	fd = udp_socket(NULL, to);
	if (joined && setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)))
		die("UDP_SEGMENT");
	/* for what has to be resolved or agreed on, and code that is not in memory yet */
	while (sent < 2 * window) {
		send_packet(fd, size - HEADERS);
		lost = wait_for_room(++sent, lost, 1);
	}
	before = atomic_load(&shared->received);
	lost = 0;
	sent = before;

	slept = idle();
	start = now();
	end = limit ? start + limit : INT64_MAX;
	while (sent - before < count && now() < end) {
		for (unsigned long i = 0; i < window / 2 && sent - before < count; i += step) {
			send_packet(fd, step * segment + (span ? (sent - before) % span : 0));
			sent += step;
		}
		lost = wait_for_room(sent, lost, window / 2 + 1);
	}
	lost = wait_for_room(sent, lost, 1);
	end = now();
	slept = idle() - slept;
	kill(pid, SIGKILL);
	printf("{\"elapsed\": %ld, \"idle\": %ld, \"sent\": %lu, \"received\": %lu, \"lost\": %lu}\n",
	       (long)(end - start), (long)slept, sent - before,
	       atomic_load(&shared->received) - before, lost);
	return 0;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void echo(int fd)
{
	struct sockaddr_in from;
	socklen_t length;
	ssize_t n;

	atomic_store(&shared->ready, true);
	for (;;) {
		length = sizeof(from);
		n = recvfrom(fd, packet, sizeof(packet), 0, (struct sockaddr *)&from, &length);
		if (n < 0 || sendto(fd, packet, n, 0, (struct sockaddr *)&from, length) < 0)
			die("echo");
	}
}

static int run_rtt(const char *ns_b, const char *to, unsigned long size, unsigned long count)
{
	const unsigned long warm = count / 10 + 1;
	struct pollfd p = { .events = POLLIN };
	unsigned long lost = 0, have = 0;
	int64_t *times = calloc(count, sizeof(*times)), start;
	pid_t pid;

	if (!times)
		die("calloc");
	pid = other_end(ns_b);
	if (!pid)
		echo(udp_socket(to, NULL));
	wait_until_ready();
	p.fd = udp_socket(NULL, to);
	for (unsigned long i = 0; i < warm + count; i++) {
		start = now();
		send_packet(p.fd, size - HEADERS);
		if (poll(&p, 1, LOST) != 1 || recv(p.fd, packet, sizeof(packet), 0) < 0) {
			lost++;
			continue;
		}
		if (i >= warm)
			times[have++] = now() - start;
	}
	kill(pid, SIGKILL);
	qsort(times, have, sizeof(*times), by_value);
	if (!have) {
		errno = ETIMEDOUT;
		die("no answer at all");
	}
	printf("{\"median\": %ld, \"p99\": %ld, \"count\": %lu, \"lost\": %lu}\n",
	       (long)times[have / 2], (long)times[have * 99 / 100], have, lost);
	return 0;
}

static void receive_tcp(const char *at, unsigned long streams)
{
	struct sockaddr_in a = address(at);
	struct pollfd p[STREAMS_MAX];
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, STREAMS_MAX))
		die(at);
	atomic_store(&shared->ready, true);
	for (unsigned long i = 0; i < streams; i++) {
		p[i].fd = accept(fd, NULL, NULL);
		p[i].events = POLLIN;
		if (p[i].fd < 0)
			die("accept");
	}
	for (;;) {
		if (poll(p, streams, -1) < 0)
			die("poll");
		for (unsigned long i = 0; i < streams; i++) {
			if (!p[i].revents)
				continue;
			n = recv(p[i].fd, packet, sizeof(packet), 0);
			if (n <= 0)
				exit(0);
			atomic_fetch_add(&shared->bytes, n);
		}
	}
}

static int run_tcp(const char *ns_b, const char *to, unsigned long streams, int64_t limit)
{
	struct sockaddr_in a = address(to);
	unsigned long bytes;
	int64_t start, slept, end;
	pid_t pid, senders[STREAMS_MAX];

	if (!streams || streams > STREAMS_MAX) {
		errno = EINVAL;
		die("streams");
	}
	pid = other_end(ns_b);
	if (!pid)
		receive_tcp(to, streams);
	wait_until_ready();
	for (unsigned long i = 0; i < streams; i++) {
		senders[i] = fork();
		if (senders[i] < 0)
			die("fork");
		if (!senders[i]) {
			int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
				die("connect");
			while (send(fd, packet, sizeof(packet), MSG_NOSIGNAL) > 0)
				;
			exit(0);
		}
	}
	usleep(limit / 1000 / WARM_UP);
	while (!(bytes = atomic_load(&shared->bytes)))
		usleep(1000);
	slept = idle();
	start = now();
	usleep((limit - limit / WARM_UP) / 1000);
	/* on a slow machine that may have been too short for anything */
	while (atomic_load(&shared->bytes) == bytes)
		usleep(1000);
	end = now();
	slept = idle() - slept;
	bytes = atomic_load(&shared->bytes) - bytes;
	for (unsigned long i = 0; i < streams; i++)
		kill(senders[i], SIGKILL);
	kill(pid, SIGKILL);
	while (wait(NULL) > 0)
		;
	printf("{\"elapsed\": %ld, \"idle\": %ld, \"bytes\": %lu}\n", (long)(end - start),
	       (long)slept, bytes);
	return 0;
}

/* A link's counters. The file stays in the namespace in which it was opened. */
struct link {
	int dev;
	const char *name;
};

static struct link open_link(const char *name)
{
	struct link link = { open("/proc/self/net/dev", O_RDONLY | O_CLOEXEC), name };

	if (link.dev < 0)
		die("/proc/self/net/dev");
	return link;
}

/* Packets sent (`out`), or received and dropped, by a link's counters. In one system
 * call, because it is asked while instructions are counted.
 */
static unsigned long passed(struct link link, bool out)
{
	unsigned long received, dropped, sent;
	char text[4096], name[32], *line;
	ssize_t n = pread(link.dev, text, sizeof(text) - 1, 0);

	if (n < 0)
		die("/proc/self/net/dev");
	text[n] = 0;
	/* eight counters of what is received, then bytes and packets sent */
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, " %31[^:]: %*u %lu %*u %lu %*u %*u %*u %*u %*u %lu", name,
			   &received, &dropped, &sent) == 4 && !strcmp(name, link.name))
			return out ? sent : received + dropped;
	errno = ENODEV;
	die(link.name);
}

static int run_raw(const char *link, const char *mac, unsigned long size, unsigned long count,
		   unsigned long copies, unsigned long at_once)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	unsigned long sent = 0, before, wanted;
	unsigned char *m = (unsigned char *)packet;
	struct link eth0 = open_link("eth0");
	int64_t start, slept, end, give_up;

	to.sll_ifindex = if_nametoindex(link);
	if (fd < 0 || !to.sll_ifindex)
		die(link);
	/* to MAC, from a locally administered address, as an experiment (IEEE 802, 9.2.3) */
	if (sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3, m + 4,
		   m + 5) != 6) {
		errno = EINVAL;
		die(mac);
	}
	memcpy(packet + 6, "\x02\0\0\0\0\x01\x88\xb5", 8);
	before = passed(eth0, true);
	slept = idle();
	start = now();
	while (sent < count) {
		for (unsigned long i = 0; i < at_once && sent < count; i++, sent++)
			if (sendto(fd, packet, size, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
				die("sendto");
		wanted = before + sent * copies;
		give_up = now() + LOST * 1000000LL;
		while (passed(eth0, true) < wanted) {
			if (now() > give_up) {
				errno = ETIMEDOUT;
				die("not all have left eth0");
			}
			usleep(1000);
		}
	}
	end = now();
	slept = idle() - slept;
	printf("{\"elapsed\": %ld, \"idle\": %ld, \"sent\": %lu}\n", (long)(end - start),
	       (long)slept, passed(eth0, true) - before);
	return 0;
}

static volatile sig_atomic_t ended;

static void end_it(int signal)
{
	(void)signal;
	ended = 1;
}

/* The frames that `hex` has, one behind the other, with their lengths */
static unsigned int read_frames(const char *hex, size_t *lengths, unsigned int most)
{
	unsigned int n = 0;
	size_t have = 0;

	for (;; hex += 2) {
		if (*hex == ',' || !*hex) {
			if (lengths[n] < 14)
				break;
			n++;
			if (!*hex)
				return n;
			hex -= 1;
			if (n == most)
				break;
		} else if (have == sizeof(packet) ||
			   sscanf(hex, "%2hhx", (unsigned char *)packet + have) != 1 || !hex[1]) {
			break;
		} else {
			have++;
			lengths[n]++;
		}
	}
	errno = EINVAL;
	die("FRAMES");
}

static uint64_t xorshift(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

static int run_frames(const char *ns_a, char *names, const char *ns_b, const char *hex,
		      unsigned long count, unsigned long at_once, uint64_t source)
{
	size_t lengths[FRAMES_MAX] = { 0 }, at = 0;
	unsigned int n = read_frames(hex, lengths, FRAMES_MAX), next = 0;
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	const char *name_b = strchr(names, ':');
	bool out = !strcmp(ns_b, "-");
	unsigned long sent = 0, before, lost = 0, room;
	int64_t start, slept, end, give_up;
	struct link link;
	int fd;

	name_b = name_b ? name_b + 1 : names;
	names[strcspn(names, ":")] = 0;
	if (!out) {
		enter(ns_b);
		link = open_link(name_b);
	}
	enter(ns_a);
	if (out)
		link = open_link("eth0");
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	to.sll_ifindex = if_nametoindex(names);
	if (fd < 0 || !to.sll_ifindex)
		die(names);
	signal(SIGTERM, end_it);
	before = passed(link, out);
	slept = idle();
	start = now();
	while (sent < count && !ended) {
		char *frame = packet + at;

		if (source) {
			source = xorshift(source);
			memcpy(frame + 6, &source, 6);
			frame[6] = (frame[6] & 0xfc) | 2;	/* local, one station */
		}
		if (sendto(fd, frame, lengths[next], 0, (struct sockaddr *)&to, sizeof(to)) < 0 &&
		    errno != ENOBUFS)
			die("sendto");
		sent++;
		at += lengths[next++];
		if (next == n)
			at = next = 0;
		/* half of them at a time */
		if (sent % (at_once / 2) && sent < count)
			continue;
		room = sent < count ? at_once / 2 : 0;
		give_up = now() + LOST * 1000000LL;
		while (!ended && passed(link, out) - before + lost + room < sent) {
			if (now() > give_up)
				lost = sent - (passed(link, out) - before);
			else
				usleep(200);
		}
	}
	end = now();
	slept = idle() - slept;
	printf("{\"elapsed\": %ld, \"idle\": %ld, \"sent\": %lu, \"received\": %lu, \"lost\": %lu}\n",
	       (long)(end - start), (long)slept, sent, passed(link, out) - before, lost);
	return 0;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	unsigned long n[4] = { 0 };
	int numbers = argc - 5;

	if (!strcmp(mode, "frames") && argc == 9) {
		n[0] = strtoul(argv[6], NULL, 10);
		n[1] = strtoul(argv[7], NULL, 10);
		if (n[1] < 2)
			n[1] = 2;
		return run_frames(argv[2], argv[3], argv[4], argv[5], n[0], n[1],
				  strtoull(argv[8], NULL, 10));
	}
	if (numbers < 2 || numbers > 4) {
		fprintf(stderr, "bench-packets: see the head of packets.c for its arguments\n");
		return 2;
	}
	for (int i = 0; i < numbers; i++)
		n[i] = strtoul(argv[5 + i], NULL, 10);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	wake = eventfd(0, EFD_CLOEXEC);
	if (shared == MAP_FAILED || wake < 0)
		die("mmap, eventfd");
	if (strcmp(mode, "tcp") && (n[0] < HEADERS || n[0] > PACKET_MAX)) {
		errno = EINVAL;
		die("size");
	}
	enter(argv[2]);
	if (!strcmp(mode, "udp") && numbers >= 3 && n[2] >= 2)
		return run_udp(argv[3], argv[4], n[0], n[1], n[2], n[3], 0, false);
	if (!strcmp(mode, "gso") && numbers == 3 && n[2] >= 2 && n[0] * n[2] / 2 <= PACKET_MAX)
		return run_udp(argv[3], argv[4], n[0], n[1], n[2], 0, 0, true);
	if (!strcmp(mode, "pps") && numbers == 3 && n[2] >= 2)
		return run_udp(argv[3], argv[4], n[0], ~0UL, n[2], 0, n[1] * 1000000LL, false);
	if (!strcmp(mode, "rtt") && numbers == 2)
		return run_rtt(argv[3], argv[4], n[0], n[1]);
	if (!strcmp(mode, "raw") && numbers == 4)
		return run_raw(argv[3], argv[4], n[0], n[1], n[2], n[3]);
	if (!strcmp(mode, "tcp") && numbers == 2)
		return run_tcp(argv[3], argv[4], n[0], n[1] * 1000000LL);
	errno = EINVAL;
	die(mode);
}

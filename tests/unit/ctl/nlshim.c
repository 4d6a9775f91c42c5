// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into the real wg(8): its netlink sockets become Unix sockets, at whose other end the
 * kernel in memory of fakekernel.py answers. So the bytes that wg sends are recorded, and what it
 * prints for given answers is compared, on machines without the module.
 *
 * The first packet on each Unix socket is the netlink protocol as an int.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_FD 1024

static bool shimmed[MAX_FD];

static bool is_shimmed(int fd)
{
	return fd >= 0 && fd < MAX_FD && shimmed[fd];
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

int socket(int domain, int type, int protocol)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *path = getenv("L2WG_FAKE_KERNEL");
	int fd;

	if (domain != AF_NETLINK || !path)
		return REAL(socket)(domain, type, protocol);
	fd = REAL(socket)(AF_UNIX, SOCK_SEQPACKET | (type & SOCK_CLOEXEC), 0);
	if (fd < 0 || fd >= MAX_FD)
		return fd;
	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    REAL(send)(fd, &protocol, sizeof(protocol), 0) != sizeof(protocol)) {
		close(fd);
		return -1;
	}
	shimmed[fd] = true;
	return fd;
}

int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	return is_shimmed(fd) ? 0 : REAL(bind)(fd, addr, len);
}

int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct sockaddr_nl nl = { .nl_family = AF_NETLINK };

	if (!is_shimmed(fd))
		return REAL(getsockname)(fd, addr, len);
	memcpy(addr, &nl, sizeof(nl));
	*len = sizeof(nl);
	return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	return is_shimmed(fd) ? 0 : REAL(setsockopt)(fd, level, name, value, len);
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
	       socklen_t len)
{
	if (is_shimmed(fd))
		return REAL(send)(fd, data, size, flags);
	return REAL(sendto)(fd, data, size, flags, to, len);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct sockaddr_nl nl = { .nl_family = AF_NETLINK };
	struct sockaddr *name = msg->msg_name;
	ssize_t ret;

	if (!is_shimmed(fd))
		return REAL(recvmsg)(fd, msg, flags);
	msg->msg_name = NULL;
	msg->msg_namelen = 0;
	ret = REAL(recvmsg)(fd, msg, flags);
	msg->msg_name = name;
	if (name) {
		memcpy(name, &nl, sizeof(nl));
		msg->msg_namelen = sizeof(nl);
	}
	return ret;
}

int close(int fd)
{
	if (is_shimmed(fd))
		shimmed[fd] = false;
	return REAL(close)(fd);
}

# SPDX-License-Identifier: GPL-2.0
"""What l2wgctl needs of `socket`, without its enums, which take a fifth of our start to make."""

from __future__ import annotations

try:
    from _socket import (
        AF_INET,
        AF_INET6,
        AF_NETLINK,
        NI_NUMERICHOST,
        SOCK_CLOEXEC,
        SOCK_RAW,
        getnameinfo,
        if_nametoindex,
        inet_ntop,
        inet_pton,
        ntohs,
        socket,
    )
except ImportError:  # another Python than CPython
    from socket import (  # type: ignore[assignment]
        AF_INET,
        AF_INET6,
        AF_NETLINK,
        NI_NUMERICHOST,
        SOCK_CLOEXEC,
        SOCK_RAW,
        getnameinfo,
        if_nametoindex,
        inet_ntop,
        inet_pton,
        ntohs,
        socket,
    )

__all__ = [
    "AF_INET",
    "AF_INET6",
    "AF_NETLINK",
    "NI_NUMERICHOST",
    "SOCK_CLOEXEC",
    "SOCK_RAW",
    "getnameinfo",
    "if_nametoindex",
    "inet_ntop",
    "inet_pton",
    "ntohs",
    "socket",
]

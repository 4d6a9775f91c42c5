# SPDX-License-Identifier: GPL-2.0
"""The kernel's error numbers in words: the reason that holds here, not the most usual one.

One number has several meanings. EOPNOTSUPP means that a link is of another kind, that a module is
missing, or that a master takes no ports; EACCES, that the user is not root, or that IPv6 is off.
The request and the state of the machine tell them apart.
"""

from __future__ import annotations

import errno
import os
from typing import Callable, Optional

from .grammar import PROG

#: Words and hint.
Reason = tuple[str, Optional[str]]
PROC = "/proc"
SYS = "/sys"
#: CAP_NET_ADMIN and CAP_SYS_ADMIN of include/uapi/linux/capability.h.
NET_ADMIN, SYS_ADMIN = 12, 21
#: The least MTU that IPv6 works with (RFC 8200, section 5).
IPV6_MIN_MTU = 1280
_REFUSED = (errno.EPERM, errno.EACCES)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def is_root() -> bool:
    """Whether this process runs as root."""
    return os.geteuid() == 0


def capable(capability: int) -> bool:
    """Whether this process has a capability, by CapEff of /proc/self/status."""
    for line in _read(f"{PROC}/self/status").splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> capability & 1)
    return is_root()


def explain(number: int, ifname: str, doing: str) -> Reason:
    """What an error number means that came while `doing` something with `ifname`."""
    for look in (_too_long, _ipv6, _missing_module, _port, _special):
        found = look(number, ifname, doing)
        if found is not None:
            return found
    if number in _REFUSED:
        return _not_permitted(doing)
    general = _GENERAL.get(number)
    return general(ifname) if general else (os.strerror(number), None)


def _too_long(number: int, ifname: str, doing: str) -> Reason | None:
    """The generic-netlink policy of a link's name (IFNAMSIZ of include/uapi/linux/if.h)."""
    if number not in (errno.ERANGE, errno.EINVAL) or len(os.fsencode(ifname)) <= 15:
        return None
    return "no link has so long a name", "15 characters at most"


def _not_permitted(doing: str) -> Reason:
    netns = doing.startswith("enter network namespace")
    needed, name = (SYS_ADMIN, "CAP_SYS_ADMIN") if netns else (NET_ADMIN, "CAP_NET_ADMIN")
    if capable(needed):
        return "the kernel refuses it", None
    if is_root():
        return "not permitted", f"root has no {name} here: give it to this container or unit"
    return "not permitted", f"run as root, or with {name}"


def _ipv6(number: int, ifname: str, doing: str) -> Reason | None:
    """IPv6 addresses, routes and rules without IPv6, for which there are four error numbers."""
    about = (
        (doing.startswith(("add address", "add route")) and ":" in doing)
        or doing == "set IPv6 address mode"
        or (doing.endswith("policy rule") and number == errno.EAFNOSUPPORT)
    )
    known = (*_REFUSED, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EINVAL, errno.ENODEV)
    if not about or number not in known:
        return None
    folder = f"{PROC}/sys/net/ipv6"
    if not os.path.exists(folder):
        return "this kernel has no IPv6", "start it without ipv6.disable=1, or use IPv4 only"
    if _read(f"{folder}/conf/{ifname}/disable_ipv6") == "1":
        return (
            "IPv6 is off for this link by sysctl",
            "sysctl net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0, or use "
            "IPv4 only",
        )
    mtu = _read(f"{SYS}/class/net/{ifname}/mtu")
    if mtu.isdigit() and int(mtu) < IPV6_MIN_MTU:
        return f"IPv6 needs an MTU of {IPV6_MIN_MTU}, and this is {mtu}", "raise it, or use IPv4"
    return None


def _missing_module(number: int, ifname: str, doing: str) -> Reason | None:
    if number != errno.EOPNOTSUPP:
        return None
    if doing == "add VLAN":
        return "this kernel has no VLANs", "modprobe 8021q"
    if doing == "add bridge":
        return "this kernel has no bridges", "modprobe bridge"
    return None


def _port(number: int, ifname: str, doing: str) -> Reason | None:
    """Becoming a port of a bridge or bond."""
    if doing != "enslave":
        return None
    if number in _REFUSED and not capable(NET_ADMIN):
        return None
    return {
        errno.EOPNOTSUPP: (
            "what it shall be a port of takes no ports",
            "Bridge names a bridge, Master a bond or team",
        ),
        errno.EBUSY: (
            "it is a port already, or in use by something else",
            f"ip link set {ifname} nomaster",
        ),
        errno.ELOOP: ("it would be a loop: a bridge as a port of a bridge", None),
        errno.EINVAL: ("it cannot be a port there", "a port is an Ethernet link"),
        errno.EPERM: (
            "its master takes only links that are down",
            f"ip link set {ifname} down",
        ),
    }.get(number)


def _special(number: int, ifname: str, doing: str) -> Reason | None:
    """Numbers that have one meaning for one request."""
    there = "it is there already"
    if number == errno.EEXIST:
        if doing.startswith(("add address", "add route", "add policy")):
            return there, None
        if doing in ("add VLAN", "add bridge"):
            return "the name is in use, or the VLAN" if doing == "add VLAN" else (
                "the name is in use"
            ), f"ip link delete dev {ifname}"
    if number == errno.ENOENT and doing == "del policy rule":
        return "it is not there", None
    if number == errno.EINVAL and doing == "set MTU":
        see = f"see minmtu and maxmtu of 'ip -d link show dev {ifname}'"
        return "the link does not take this MTU", see
    if number == errno.EINVAL and doing.startswith("enter network namespace"):
        name = doing.rpartition(" ")[2]
        return "it is no network namespace any more", f"ip netns delete {name}"
    if number == errno.EADDRNOTAVAIL and doing.startswith("del address"):
        return "it is not there", None
    if number == errno.EADDRNOTAVAIL and doing == "set MAC address":
        return "the link does not take this MAC address", "02:xx:xx:xx:xx:xx is free for your use"
    if number == errno.ENETDOWN:
        return "the link, or the one below it, is down", f"ip link set {ifname} up"
    return None


def _kind(ifname: str) -> Reason:
    see = f"see its kind with 'ip -d link show dev {ifname}'"
    return "is not a WireGuard link", see


_GENERAL: dict[int, Callable[[str], Reason]] = {
    errno.ENODEV: lambda ifname: (
        "no such link",
        f"create it with '{PROG} add {ifname}' or '{PROG} up {ifname}'",
    ),
    errno.EOPNOTSUPP: _kind,
    errno.EEXIST: lambda ifname: (
        "the name is in use",
        f"choose another, or remove it with '{PROG} del {ifname}'",
    ),
    errno.EADDRINUSE: lambda ifname: (
        "the listening port is in use",
        "choose another ListenPort, or 0 for a free one",
    ),
    errno.EINTR: lambda ifname: ("kept changing while it was read", "try again"),
    errno.ENOBUFS: lambda ifname: ("the kernel ran out of buffer space", "try again"),
    errno.ENOMEM: lambda ifname: ("the kernel has no memory for it", None),
}

# SPDX-License-Identifier: GPL-2.0
"""Driver counters (`ethtool -S`), by the SIOCETHTOOL ioctl.

Debian 12's pyroute2 (0.7.2) has no call for them; later ones have IoctlEthtool.get_statistics().

Structures and numbers: include/uapi/linux/ethtool.h, include/uapi/linux/sockios.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
from struct import pack, unpack, unpack_from

SIOCETHTOOL = 0x8946
ETHTOOL_GSTRINGS = 0x1B
ETHTOOL_GSTATS = 0x1D
ETHTOOL_GSSET_INFO = 0x37
ETH_SS_STATS = 1
ETH_GSTRING_LEN = 32


def _call(sock: socket.socket, name: str, request: bytes) -> bytes:
    buffer = ctypes.create_string_buffer(request, len(request))
    # struct ifreq: the name in 16 bytes, then a union of 24 whose first word is the pointer.
    ifreq = pack("16sP16x", os.fsencode(name), ctypes.addressof(buffer))
    fcntl.ioctl(sock.fileno(), SIOCETHTOOL, ifreq)
    return buffer.raw


def counters(name: str) -> dict[str, int]:
    """The driver's counters of a link by name; empty when it has none or cannot be asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            # struct ethtool_sset_info: cmd, reserved, mask of sets, number of strings of each.
            info = _call(sock, name, pack("=IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_STATS, 0))
            _, _, mask, count = unpack("=IIQI", info)
            if not mask or not count:
                return {}
            names = _call(
                sock,
                name,
                pack("=III", ETHTOOL_GSTRINGS, ETH_SS_STATS, count)
                + bytes(ETH_GSTRING_LEN * count),
            )
            values = _call(sock, name, pack("=II", ETHTOOL_GSTATS, count) + bytes(8 * count))
        except OSError:
            return {}
    found = {}
    for number in range(count):
        raw = names[12 + number * ETH_GSTRING_LEN :][:ETH_GSTRING_LEN]
        found[raw.split(b"\0")[0].decode(errors="replace")] = unpack_from(
            "=Q", values, 8 + number * 8
        )[0]
    return found

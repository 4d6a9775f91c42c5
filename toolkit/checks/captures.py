# SPDX-License-Identifier: GPL-2.0
"""Captures that Debian's packages ship as examples: frames from elsewhere for the replay test."""

from __future__ import annotations

from pathlib import Path

from toolkit import paths
from toolkit.kernels.archive import Archive, unpack

#: package -> what is in its captures
PACKAGES = {
    "golang-github-google-gopacket-dev": "pcapng of both byte orders, DHCP",
    "python3-dpkt": "HTTP in PPPoE, DNS",
    "python3-libtrace": "802.3 with a trailer, ICMPv6, TCP",
    "sip-tester": "RTP",
}
RELEASE = "bookworm"
SUFFIXES = (".pcap", ".pcap.gz", ".pcapng")


def debian() -> list[Path]:
    """The capture files, sorted; their packages are unpacked into the cache, not installed.

    Some files are not whole, or not of Ethernet, because they are examples of that.

    :raises ToolError: a package is not in the cache and cannot be fetched.
    """
    archive = Archive(RELEASE)
    found: list[Path] = []
    for name in PACKAGES:
        target = paths.cache() / "captures" / name
        if not target.exists():
            unpack([archive.fetch(archive.get(name))], target, lambda _: None)
        found += [file for file in target.rglob("*") if file.name.endswith(SUFFIXES)]
    return sorted(found)

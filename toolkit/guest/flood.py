# SPDX-License-Identifier: GPL-2.0
"""Inside the guest: what a copy of a flooded frame costs the sender.

A is a switch, and each of its peers is a wire of its own in B, with its own key and port. While
it is measured B's cable drops what comes, so that only the sending half is counted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys

from toolkit.guest.contenders import OUTER
from toolkit.guest.hosts import MACS, PORT, Failed, Host, eventually, keys, sh

BROADCAST = "ff:ff:ff:ff:ff:ff"
SIZE = 1280  # bytes of a frame
ROUND = 500  # copies on their way at once, fewer than a ring holds
FRAMES = (1, 5)  # rounds of the short and of the long run; their difference counts
BATCH = 100  # links of B that agree on keys at once


def copies(a: Host, b: Host, number: int, packets: str) -> tuple[float, float]:
    """Instructions at the sender for a unicast frame, and for each copy of a broadcast.

    :param number: peers of A, 1 to 4,000.
    :param packets: the program bench-packets.
    :raises Failed: not all peers agree on keys, or frames do not leave.
    """
    _connect(a, b, number)
    b.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    b.run(*("tc filter add dev eth0 ingress matchall action drop".split()))
    return (
        _per_copy(packets, MACS[1], 1),
        _per_copy(packets, BROADCAST, number),
    )


def _connect(a: Host, b: Host, number: int) -> None:
    """Make the links, and wait until each peer has a session.

    B's links are of the plain kind, because `wg show all` lists no other, and tells all public
    keys at one start.
    """
    keys(a)
    b.ip(*(f"link add l{i} type wireguard" for i in range(number)))
    for i in range(number):
        # any 32 bytes are a private key
        b.run(
            *("wg", "set", f"l{i}", "listen-port", str(PORT + 1 + i)),
            *("private-key", "/dev/stdin", "peer", a.public),
            *("endpoint", f"{OUTER[0]}:{PORT}", "persistent-keepalive", "25"),
            stdin=base64.b64encode(hashlib.sha256(str(i).encode()).digest()).decode(),
        )
    shown = b.run("wg", "show", "all", "public-key").splitlines()
    public = dict(line.split("\t") for line in shown)
    a.ip(f"link add wg1 address {MACS[0]} type l2wgswitch")
    peers = "".join(
        f"[Peer]\nPublicKey = {public[f'l{i}']}\nEndpoint = {OUTER[1]}:{PORT + 1 + i}\n"
        for i in range(number)
    )
    interface = f"[Interface]\nPrivateKey = {a.key}\nListenPort = {PORT}\n"
    a.run("wg", "setconf", "wg1", "/dev/stdin", stdin=interface + peers)
    a.run(
        *(sys.executable, "-m", "l2wgctl", "set", "wg1"),
        *("peer", public["l0"], "allowed-macs", MACS[1]),
    )
    a.ip("link set wg1 up")
    for first in range(0, number, BATCH):
        batch = range(first, min(first + BATCH, number))
        b.ip(*(f"link set l{i} up" for i in batch))
        eventually(lambda n=batch.stop: _sessions(a) >= n, "all peers agree")  # type: ignore[misc]


def _sessions(a: Host) -> int:
    shown = a.run("wg", "show", "wg1", "latest-handshakes")
    return sum(not line.endswith("\t0") for line in shown.splitlines())


def _per_copy(packets: str, to: str, each: int) -> float:
    """Instructions for each outer packet of frames to a MAC address.

    :param each: outer packets of a frame.
    """
    busy = []
    for rounds in FRAMES:
        at_once = max(1, ROUND // each)
        out = sh(packets, "raw", "A", "wg1", to, *map(str, (SIZE, rounds * at_once, each, at_once)))
        try:
            found = json.loads(out)
        except ValueError:
            raise Failed(f"bench-packets raw: {out}") from None
        busy.append((found["elapsed"] - found["idle"], found["sent"]))
    (few, sent_few), (many, sent_many) = busy
    return float((many - few) / (sent_many - sent_few))

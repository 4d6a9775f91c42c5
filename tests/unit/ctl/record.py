# SPDX-License-Identifier: GPL-2.0
"""Record what the real `wg` sends, into captures/*.txt: PYTHONPATH=tests/unit python -m ctl.record

`wg` runs with nlshim.c in front of the kernel in memory, so that the bytes are its own, and no
module is needed. A file holds the command, its input files, and the SET messages in hexadecimal,
without the netlink header (sequence number and port differ every time). Recorded with
wireguard-tools 1.0.20210914 on x86_64; every key in there is made up.
"""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.unit.ctl.fakekernel import FakeKernel, serve

HERE = Path(__file__).parent
PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PSK = "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="
PEER_A = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
PEER_B = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="


def big_config(peers: int, networks: int) -> str:
    """Many peers, of differing length, from a fixed seed."""
    chance = random.Random(42)
    text = f"[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 51820\n"
    for number in range(peers):
        key = base64.b64encode(chance.randbytes(32)).decode()
        text += f"\n[Peer]\nPublicKey = {key}\n"
        if number % 3 == 0:
            text += f"PresharedKey = {PSK}\n"
        if number % 2:
            text += f"Endpoint = [2001:db8::{number + 1:x}]:{1000 + number}\n"
        if number % 5 == 0:
            text += "PersistentKeepalive = 25\n"
        nets = [f"10.{number}.{n}.0/24" for n in range(chance.randrange(networks + 1))]
        nets += [f"fd00:{number:x}:{n:x}::/48" for n in range(chance.randrange(networks + 1))]
        if nets:
            text += f"AllowedIPs = {', '.join(nets)}\n"
    return text


SMALL = f"""[Interface]
PrivateKey = {PRIVATE}
ListenPort = 51820
FwMark = 0xca6c

[Peer]
PublicKey = {PEER_A}
PresharedKey = {PSK}
Endpoint = 192.0.2.1:51820
AllowedIPs = 10.0.0.0/8, fd00::/64
PersistentKeepalive = 25

[Peer]
PublicKey = {PEER_B}
Endpoint = [2001:db8::1]:51821
AllowedIPs = 0.0.0.0/0, ::/0
"""
#: Name: words of wg, where FILE:x stands for a file that holds FILES[x].
FILES = {
    "small": SMALL,
    "empty": "[Interface]\n",
    "many-peers": big_config(90, 3),
    "many-networks": big_config(4, 200),
    "key": PRIVATE + "\n",
    "psk": PSK + "\n",
}
COMMANDS = {
    "setconf-small": ["setconf", "wg1", "FILE:small"],
    "addconf-small": ["addconf", "wg1", "FILE:small"],
    "setconf-empty": ["setconf", "wg1", "FILE:empty"],
    "setconf-many-peers": ["setconf", "wg1", "FILE:many-peers"],
    "setconf-many-networks": ["setconf", "wg1", "FILE:many-networks"],
    "set-device": [
        *("set", "wg1", "listen-port", "51820", "fwmark", "0x1", "private-key", "FILE:key")
    ],
    "set-off": ["set", "wg1", "fwmark", "off", "private-key", "/dev/null", "listen-port", "0"],
    "set-peer": [
        *("set", "wg1", "peer", PEER_A, "preshared-key", "FILE:psk"),
        *("endpoint", "192.0.2.1:1", "persistent-keepalive", "25"),
        *("allowed-ips", "10.0.0.0/8,fd00::/64"),
    ],
    "set-remove": ["set", "wg1", "peer", PEER_A, "remove", "peer", PEER_B, "allowed-ips", ""],
}


def record(wg: str = "wg") -> None:
    """Run every command and write what it sent."""
    shared = tempfile.mkdtemp()
    library = f"{shared}/nlshim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "nlshim.c", "-ldl"], check=True)
    for name, text in FILES.items():
        Path(shared, name).write_text(text)
    for name, words in COMMANDS.items():
        kernel = FakeKernel()
        kernel.add("wg1")
        stop = serve(kernel, Path(shared, "socket"))
        subprocess.run(
            [wg, *(word.replace("FILE:", f"{shared}/") for word in words)],
            env={**os.environ, "LD_PRELOAD": library, "L2WG_FAKE_KERNEL": f"{shared}/socket"},
            check=True,
        )
        stop()
        sent = [message[16:].hex() for message in kernel.received[1:]]
        lines = [json.dumps(words), *sent]
        (HERE / "captures" / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    record(*sys.argv[1:])

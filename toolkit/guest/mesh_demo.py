# SPDX-License-Identifier: GPL-2.0
"""The demonstration of a mesh inside the guest: three members of etcd, an admin, four hosts."""

from __future__ import annotations

import signal

from toolkit.guest.demo import title
from toolkit.guest.hosts import Failed, eventually, sh, stop
from toolkit.guest.mesh import MESH, Town, inner

#: Its last line, if all went well.
SEEN = "demo: the hosts of the mesh share an Ethernet"
DIRECT = ("A", "B", "C")
#: Prompts, and what was typed.
HOST, END = "\033[36m", "\033[0m"


def shown(name: str, command: str) -> None:
    """A command as somebody would have typed it."""
    print(f"{HOST}[{name}]#{END} {command}", flush=True)


def tell(town: Town, name: str, *words: str) -> str:
    """Show a command of l2wgctl, run it on a host, show what it says."""
    host = town.admin if name == town.admin.name else town.hosts[name]
    shown(name, f"l2wgctl {' '.join(words)}")
    out = town.ctl(host, *words)
    print(out.rstrip(), flush=True)
    return out


def admit(town: Town, name: str) -> None:
    """Join, sign, start."""
    fingerprint = town.join(name)
    shown(name, f"l2wgctl mesh join {MESH}")
    print(fingerprint)
    shown("X", f"l2wgctl mesh sign --key admin.key {MESH} {town.node(name)}")
    print(town.sign(name, fingerprint).rstrip())
    shown(name, f"l2wgctl mesh run {MESH} &")
    town.start_agent(name)


def main() -> None:
    """Tell the story; the last line says that it worked."""
    release = sh("uname", "-r").strip()
    title(f"Linux {release}: a store (etcd, S1 S2 S3), an admin (X), hosts A B C D")
    town = Town()
    town.start_store()

    title("The admin makes two keys, one to use and one to lock away")
    print(town.make_admin().rstrip())

    title("A, B and C join: each asks, the admin compares the fingerprint and signs")
    for number, name in enumerate(DIRECT, 1):
        town.make_host(name, number, hub=name == "C")
        admit(town, name)
    town.until_all_ping(*DIRECT)
    shown("A", f"ping -c 3 {inner(2)}")
    print(town.hosts["A"].ping(inner(2)).rstrip())

    title("D cannot be reached from outside: it is behind the hub C, which relays for it")
    town.make_host("D", 4, behind="C")
    admit(town, "D")
    town.until_all_ping(*DIRECT, "D")
    tell(town, "A", "mesh", "status", MESH)

    title("A member of the store dies: nothing changes")
    town.kill_member(1)
    shown("A", f"ping -c 3 {inner(2)}")
    print(town.hosts["A"].ping(inner(2)).rstrip())

    title("Somebody who can write to the store puts D's record in B's place")
    record = town.read(f"/l2wg/{MESH}/nodes/d")
    assert record is not None
    town.write(f"/l2wg/{MESH}/nodes/b", record)
    eventually(lambda: any("nodes/b" in line for line in town.log("A")), "A says what it ignores")
    print("\n".join(line for line in town.log("A") if "nodes/b" in line))

    title("A gets a new private key while B pings it; it changes when all others know the new one")
    renew(town)

    tell(town, "B", "mesh", "status", MESH)
    town.until_all_ping(*DIRECT, "D")
    print(f"\n{SEEN}", flush=True)


def renew(town: Town) -> None:
    """A renews its key under a running ping."""
    old = town.hosts["A"].run("wg", "show", MESH, "public-key").strip()
    ping = town.hosts["B"].start("ping", "-n", "-i", "1", inner(1))
    fingerprint = town.join("A", "--renew")
    shown("A", f"l2wgctl mesh join {MESH} --renew")
    print(town.sign("A", fingerprint).rstrip())
    eventually(
        lambda: town.hosts["A"].run("wg", "show", MESH, "public-key").strip() != old,
        "A has its new key",
    )
    eventually(lambda: old not in town.peers("B"), "B has forgotten the old key")
    town.until_ping("B", "A")
    said = stop(ping, signal.SIGINT)
    print(said.splitlines()[-2] if len(said.splitlines()) > 1 else said)
    if "100% packet loss" in said:
        raise Failed(said)
    new = town.hosts["A"].run("wg", "show", MESH, "public-key").strip()
    print(f"A's key was {old} and is {new}")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0
"""Compare l2wgctl on a switch with `wg` and `bridge -batch` for the same content: peers by the one,
8,192 MAC addresses bound to them by the other.

``python3 -m toolkit.guest.ctl_switch`` prints what it finds as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from hashlib import blake2s
from pathlib import Path
from socket import AF_INET6, inet_ntop

from toolkit.guest.ctl import (
    Bench,
    Cost,
    Row,
    config,
    document,
    kilobytes,
    program,
    seconds,
    starts,
)

SIZES = (1_000, 10_000)
ENTRIES = 8_192
COMMANDS = ("setconf", "syncconf", "fdb", "show dump")
#: In the second file one of this many peers has another MAC.
CHANGED = 100


def mac(number: int, *, changed: bool = False) -> str:
    """The address of an entry."""
    return f"02:{'01' if changed else '00'}:00:{number >> 16:02x}:{number >> 8 & 255:02x}:" + (
        f"{number & 255:02x}"
    )


def handle(key: str) -> str:
    """What `bridge` calls a peer, by the text of its key."""
    from base64 import b64decode

    digest = blake2s(b64decode(key)).digest()[:8]
    return inet_ntop(AF_INET6, b"\xfe\x80" + bytes(6) + digest)


def macs(peers: int, *, changed: bool = False) -> list[list[str]]:
    """The addresses of each peer, ENTRIES in all."""
    made: list[list[str]] = [[] for _ in range(peers)]
    for number in range(ENTRIES):
        of = number % peers
        moved = changed and number < peers and of % CHANGED == 0
        made[of].append(mac(number, changed=moved))
    return made


class SwitchBench(Bench):
    """One size: for both files of :class:`Bench` what `bridge -batch` and l2wgctl take."""

    def __init__(self, peers: int, folder: Path) -> None:
        super().__init__(peers, folder, "l2wgswitch")
        self.ours = folder / f"{peers}-s.conf", folder / f"{peers}-s-next.conf"
        keys = [
            line.split(" = ")[1]
            for line in self.files[0].read_text().splitlines()
            if line.startswith("PublicKey")
        ]
        self.handles = [handle(key) for key in keys]
        for path, changed in zip(self.ours, (False, True)):
            path.touch(mode=0o600)
            path.write_text(
                self._text(config(peers, changed=changed), macs(peers, changed=changed))
            )

    @staticmethod
    def _text(plain: str, of_peers: list[list[str]]) -> str:
        lines = ["[Interface]", "Switch = yes"]
        position = -1
        for line in plain.splitlines()[1:]:
            lines.append(line)
            if line.startswith("PublicKey"):
                position += 1
                lines += [f"AllowedMACs = {', '.join(of_peers[position])}"] * bool(
                    of_peers[position]
                )
        return "\n".join(lines) + "\n"

    def batch(self, link: str, changed: bool, only_new: bool) -> Path:
        """A file for `bridge -batch` that brings the entries about; `only_new`: from the others."""
        lines = []
        pairs = zip(
            self.handles, macs(self.peers, changed=changed), macs(self.peers, changed=not changed)
        )
        for dst, wanted, had in pairs:
            if only_new:
                lines += [f"fdb del {x} dev {link} self" for x in had if x not in wanted]
                wanted = [x for x in wanted if x not in had]
            lines += [f"fdb add {x} dev {link} dst {dst} self" for x in wanted]
        path = self.folder / f"{link}.batch"
        path.write_text("\n".join(lines) + "\n")
        return path

    def bound(self, link: str) -> list[tuple[str, str]]:
        """Addresses and handles, as `bridge` shows them."""
        out = subprocess.check_output(["bridge", "-j", "fdb", "show", "dev", link], text=True)
        return sorted((x["mac"], x["dst"]) for x in json.loads(out) if "dst" in x)

    def argv(self, tool: str, command: str, link: str, changed: bool) -> list[str]:
        """What a tool is told."""
        ours = program("l2wgctl")
        if command == "fdb":
            return ["bridge", "fdb", "show", "dev", link] if tool == "wg" else [*ours, "fdb", link]
        if command == "show dump":
            return [*(["wg"] if tool == "wg" else ours), "show", link, "dump"]
        if tool != "wg":
            return [*ours, command, link, str(self.ours[changed])]
        batch = self.batch(link, changed, command == "syncconf")
        script = f'wg {command} "$1" "$2" && exec bridge -batch "$3"'
        return ["sh", "-c", script, "sh", link, str(self.files[changed]), str(batch)]

    def compare(self, command: str, runs: int) -> Row:
        """Both ways in turn, `runs` times.

        :raises AssertionError: they do not come to the same.
        """
        times: dict[str, list[tuple[float, float]]] = {"wg": [], "l2wgctl": []}
        memory = {}
        links = {tool: self.fresh_link() for tool in times}
        if command != "setconf":
            for tool, link in links.items():
                seconds(self.argv(tool, "setconf", link, False), self.folder / "output")
        for run in range(runs + 1):  # one more for the memory
            changed = command == "syncconf" and run % 2 == 0
            for tool in times:
                if command == "setconf" and run:
                    links[tool] = self.fresh_link()
                argv = self.argv(tool, command, links[tool], changed)
                if run == runs:
                    memory[tool] = kilobytes(argv)
                else:
                    times[tool].append(seconds(argv, self.folder / "output"))
            states = [(self.state(link), self.bound(link)) for link in links.values()]
            assert states[0] == states[1], f"{command}: they differ"
            assert len(states[0][1]) == ENTRIES, f"{command}: {len(states[0][1])} entries"
        reference, ours = (
            Cost(min(w for w, _ in found), min(c for _, c in found), memory[tool])
            for tool, found in times.items()
        )
        return Row(f"{command}, switch", self.peers, reference, ours)


def compare(
    sizes: Sequence[int] = SIZES, *, runs: int = 3, folder: Path = Path("/run")
) -> list[Row]:
    """Every command for every number of peers; needs root and the module."""
    rows = []
    for peers in sizes:
        bench = SwitchBench(peers, folder)
        rows += [bench.compare(command, runs) for command in COMMANDS]
    return rows


def main() -> None:
    """Print the JSON."""
    parser = argparse.ArgumentParser(
        prog="python3 -m toolkit.guest.ctl_switch", description=__doc__
    )
    parser.add_argument("peers", nargs="*", type=int, default=SIZES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--starts", action="store_true", help="what a start takes, alone")
    args = parser.parse_args()
    rows = starts(args.runs) if args.starts else compare(args.peers, runs=args.runs)
    print(document(rows), flush=True)


if __name__ == "__main__":
    main()

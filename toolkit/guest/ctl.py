# SPDX-License-Identifier: GPL-2.0
"""Compare l2wgctl with `wg` on the same links of one kernel: time and memory, and their ratio.

``python3 -m toolkit.guest.ctl`` prints what it finds as one line of JSON.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from random import Random

LINK = "l2wgb"  # and a number: each link is new
SIZES = (10, 1_000, 10_000)
COMMANDS = ("setconf", "show dump", "syncconf")
TOOLS = ("wg", "l2wgctl")
#: `syncconf` brings in a file in which one of this many peers differs.
CHANGED = 100
PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


@dataclass(frozen=True)
class Cost:
    """What one tool takes for one command.

    :ivar seconds: wall time with the program's start, the least of several runs.
    :ivar cpu: processor time in seconds, the program's and the kernel's for it, the least of
        several runs. Other work on the machine disturbs it less.
    :ivar kilobytes: the most memory that the process had resident, kB.
    """

    seconds: float
    cpu: float
    kilobytes: int


@dataclass(frozen=True)
class Row:
    """One command on a link with a number of peers (0: without a link), done by both tools."""

    command: str
    peers: int
    wg: Cost
    l2wgctl: Cost

    @property
    def ratio(self) -> float:
        """Time of l2wgctl divided by that of wg."""
        return self.l2wgctl.seconds / self.wg.seconds

    @property
    def cpu_ratio(self) -> float:
        """Processor time of l2wgctl divided by that of wg."""
        return self.l2wgctl.cpu / self.wg.cpu


def program(tool: str) -> list[str]:
    """What to run: the stock `wg`, or by this Python what `l2wgctl` is where it is installed."""
    return ["wg"] if tool == "wg" else [sys.executable, "-c", "from l2wgctl.cli import run; run()"]


def config(peers: int, *, changed: bool = False) -> str:
    """A file of that many peers with an IPv4 and an IPv6 AllowedIP each; always the same.

    :param changed: one peer in CHANGED has another AllowedIP.
    """
    random = Random(peers)

    def key() -> str:
        return base64.b64encode(random.randbytes(32)).decode()

    lines = ["[Interface]", f"PrivateKey = {key()}", "ListenPort = 0"]
    for i in range(peers):
        net = 11 if changed and i % CHANGED == 0 else 10
        lines += [
            *("", "[Peer]", f"PublicKey = {key()}"),
            f"AllowedIPs = {net}.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}/32, fd00::{i:x}/128",
        ]
    return "\n".join(lines) + "\n"


def seconds(argv: Sequence[str], output: Path) -> tuple[float, float]:
    """Wall and processor time of a command.

    :raises OSError: the command fails.
    """
    with output.open("wb") as stream:
        started = time.perf_counter()
        process = subprocess.Popen(argv, stdout=stream, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise OSError(f"{' '.join(argv)}: status {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def kilobytes(argv: Sequence[str]) -> int:
    """Peak resident memory of a command (getrusage(2)), kB.

    exec(2) does not reset the peak of a process, so a child of Python would have Python's. A small
    shell starts the command instead, and we become its parent when the shell has ended; until then
    the command waits for a line, because the shell would wait for one that is quick.

    :raises OSError: the command fails.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    script = 'exec 3<&0; { read -r _ <&3; exec "$@" 3<&- >/dev/null; } & echo $!'
    command = ["sh", "-c", script, "sh", *argv]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin and shell.stdout
        pid = int(shell.stdout.readline())
        shell.wait()
        shell.stdin.write("\n")
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise OSError(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss


class Bench:
    """One size: its files, and new links of `kind` to try them on.

    A link with peers stays until the end: Linux before 5.17 waits for an RCU grace period for each
    peer when a link is removed, which takes minutes for 10,000.
    """

    def __init__(self, peers: int, folder: Path, kind: str = "l2wireguard") -> None:
        self.peers, self.folder, self.kind = peers, folder, kind
        self.links: list[str] = []
        self.files = folder / f"{peers}.conf", folder / f"{peers}-next.conf"
        for path, changed in zip(self.files, (False, True)):
            path.touch(mode=0o600)
            path.write_text(config(peers, changed=changed))

    def fresh_link(self) -> str:
        """A link without keys and peers."""
        name = next(
            name
            for number in count()
            if not Path("/sys/class/net", name := f"{LINK}{self.peers}-{number}").exists()
        )
        subprocess.run(["ip", "link", "add", name, "type", self.kind], check=True)
        self.links.append(name)
        return name

    def state(self, link: str) -> list[str]:
        """The link's settings, in any order."""
        out = subprocess.check_output(["wg", "show", link, "dump"], text=True)
        return sorted(out.splitlines())

    def compare(self, command: str, runs: int) -> Row:
        """Both tools in turn, `runs` times.

        :raises AssertionError: the tools do not come to the same result.
        """
        times: dict[str, list[tuple[float, float]]] = {tool: [] for tool in TOOLS}
        memory = {}
        link = ""
        if command != "setconf":
            link = self.fresh_link()
            subprocess.run(["wg", "setconf", link, self.files[0]], check=True)
        for run in range(runs + 1):  # one more for the memory
            results: list[tuple[bytes, list[str]]] = []
            for tool in TOOLS:
                if command == "setconf":
                    link = self.fresh_link()
                if command == "syncconf" and tool != TOOLS[0]:
                    # back to where the first tool began, so that both do the same
                    subprocess.run(["wg", "syncconf", link, self.files[run % 2]], check=True)
                words = {
                    "setconf": ["setconf", link, str(self.files[0])],
                    "show dump": ["show", link, "dump"],
                    "syncconf": ["syncconf", link, str(self.files[1 - run % 2])],
                }[command]
                argv, output = program(tool) + words, self.folder / "output"
                if run == runs:
                    memory[tool] = kilobytes(argv)
                else:
                    times[tool].append(seconds(argv, output))
                    results.append((output.read_bytes(), self.state(link)))
            assert results[:1] == results[1:], f"{command}: the tools differ"
        wg, ours = (
            Cost(min(w for w, _ in times[t]), min(c for _, c in times[t]), memory[t]) for t in TOOLS
        )
        return Row(command, self.peers, wg, ours)

    def clean(self) -> None:
        """Remove the links."""
        for name in self.links:
            subprocess.run(["ip", "link", "delete", name], check=False)


def compare(
    sizes: Sequence[int] = SIZES,
    commands: Sequence[str] = COMMANDS,
    *,
    runs: int = 3,
    kind: str = "l2wireguard",
    folder: Path = Path("/run"),
    clean: bool = False,
) -> list[Row]:
    """Every command for every number of peers; needs root and the module.

    :param runs: the least time of this many runs counts.
    :param folder: for the files; in memory, so that only the tools are measured.
    :param clean: remove the links, which takes long and is not needed in a guest.
    """
    rows = []
    for peers in sizes:
        bench = Bench(peers, folder, kind)
        try:
            rows += [bench.compare(command, runs) for command in commands]
        finally:
            if clean:
                bench.clean()
    return rows


def starts(runs: int = 3) -> list[Row]:
    """What a start takes, of Python alone and of l2wgctl: no other row's can be below it."""
    ours = {"python3 -c pass": [sys.executable, "-c", "pass"]}
    ours["--version"] = [*program("l2wgctl"), "--version"]
    return [
        Row(name, 0, cost([*program("wg"), "--version"], runs), cost(argv, runs))
        for name, argv in ours.items()
    ]


def cost(argv: Sequence[str], runs: int) -> Cost:
    """Of a command that can be repeated."""
    times = [seconds(argv, Path(os.devnull)) for _ in range(runs)]
    return Cost(min(w for w, _ in times), min(c for _, c in times), kilobytes(argv))


def document(rows: Sequence[Row]) -> str:
    """The rows for programs, one line of JSON."""
    ratios = [{"ratio": round(r.ratio, 3), "cpu_ratio": round(r.cpu_ratio, 3)} for r in rows]
    return json.dumps([{**asdict(row), **ratio} for row, ratio in zip(rows, ratios)])


def main() -> None:
    """Print the JSON."""
    parser = argparse.ArgumentParser(prog="python3 -m toolkit.guest.ctl", description=__doc__)
    parser.add_argument("peers", nargs="*", type=int, default=SIZES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--kind", default="l2wireguard")
    parser.add_argument("--starts", action="store_true", help="what a start takes, alone")
    args = parser.parse_args()
    if args.starts:
        rows = starts(args.runs)
    else:
        rows = compare(args.peers, runs=args.runs, kind=args.kind)
    print(document(rows), flush=True)


if __name__ == "__main__":
    main()

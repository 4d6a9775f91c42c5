# SPDX-License-Identifier: GPL-2.0
"""One agent in a process of its own, so that its processor time and memory can be measured.

``python3 -m toolkit.bench.mesh_one`` takes a line of JSON, prints one when its switch has all
peers, and answers further ones: `{}` with what it has used, `{"mac": MAC}` when a peer has that
MAC.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from base64 import b64decode

START = time.monotonic()

from l2wgctl.mesh.agent import Agent, Me  # noqa: E402
from l2wgctl.mesh.etcd import Etcd  # noqa: E402
from l2wgctl.mesh.run import Outside, Runner  # noqa: E402
from l2wgctl.mesh.trust import Book  # noqa: E402
from l2wgctl.model import Key, SecretKey  # noqa: E402
from toolkit.bench.mesh_hosts import FakeKernel, Memory  # noqa: E402


def cpu() -> float:
    """Seconds of processor time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident() -> int:
    """Bytes of memory that are resident now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def main() -> None:
    """Be the agent."""
    import threading

    told = json.loads(sys.stdin.readline())
    kernel = FakeKernel(Key(b64decode(told["key"])))
    book = Book(told["mesh"], (Key(b64decode(told["trusted"])),))
    agent = Agent(Me(told["mesh"], told["name"]), book, lambda line: print(line, file=sys.stderr))
    outside = Outside(
        kernel,
        lambda: Etcd(told["urls"]),
        SecretKey(b64decode(told["host_key"])),
        Memory(),
        lambda endpoint: [endpoint],
        kernel,
    )
    runner = Runner(agent, outside)
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    kernel.until(lambda now: len(now.peers) == told["peers"])
    print(json.dumps({"seconds": time.monotonic() - START, "cpu": cpu()}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked:
            mac = (asked["mac"],)
            kernel.until(
                lambda now, mac=mac: any(p.options.allowed_macs == mac for p in now.peers.values())  # type: ignore[misc]
            )
        # the clock is the same in all processes, clock_gettime(2)
        now = time.monotonic()
        print(json.dumps({"now": now, "cpu": cpu(), "bytes": resident()}), flush=True)
    runner.stop()
    thread.join(10)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0
"""The second machine of a pair: it runs what the tests on the first one ask for.

They talk over TCP on the cable between the two, one JSON object a line. A request has a command,
its standard input and the time that it may take; the answer has its status and what it printed. The
agent obeys whoever connects: it is for the lab's guests, whose only networks are that cable and
QEMU's user network, from which nobody connects to them.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

from toolkit.guest import hosts
from toolkit.guest.hosts import Failed, cut_short

PORT = 7
CABLE = "eth0"
#: MAC addresses of the two ends of the cable.
MACS = ("52:54:00:6c:32:01", "52:54:00:6c:32:02")
ADDRESSES = ("10.0.0.1", "10.0.0.2")
#: The network card by which each reaches the loopback of the machine that runs both, as `HERE`.
UPLINK = "uplink"
UPLINK_MACS = ("52:54:00:6c:32:11", "52:54:00:6c:32:12")
UPLINK_ADDRESS, HERE = "10.0.2.15", "10.0.2.2"
#: The environment variable with the port of `toolkit.checks.backstage` there.
BACKSTAGE = "L2WG_BACKSTAGE"
SRCVERSION = Path("/sys/module/l2wireguard/srcversion")
IDLE = 600.0  # seconds without a connection, after which none will come
BYE = "bye"


def join(end: int) -> None:
    """Bring up this machine's end (0 or 1) of the cable as eth0, and its uplink.

    :raises Failed: there is no such network card.
    """
    hosts.sh("modprobe", "virtio_net")
    # the uplink first: it may have the cable's name
    _bring_up(UPLINK_MACS[end], UPLINK, UPLINK_ADDRESS)
    _bring_up(MACS[end], CABLE, ADDRESSES[end])


def _bring_up(mac: str, name: str, address: str) -> None:
    hosts.eventually(lambda: _card(mac) is not None, f"the network card {name} is there")
    card = _card(mac)
    assert card
    if card != name:
        hosts.sh("ip", "link", "set", card, "name", name)
    hosts.sh("ip", "address", "add", f"{address}/24", "dev", name)
    hosts.sh("ip", "link", "set", name, "up")


def _card(mac: str) -> str | None:
    for address in Path("/sys/class/net").glob("*/address"):
        if address.read_text().strip() == mac:
            return address.parent.name
    return None


def serve(report: Path) -> None:
    """Serve one connection after the other until one says goodbye.

    :param report: JSON file that says at the end which machine this was and what it did.
    :raises TimeoutError: nobody has connected for IDLE seconds.
    """
    join(1)
    hosts.sh("modprobe", "l2wireguard")
    commands = 0
    with socket.create_server((ADDRESSES[1], PORT)) as server:
        server.settimeout(IDLE)
        print(f"{os.uname().release} serves on {ADDRESSES[1]}", flush=True)
        ended = False
        while not ended:
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as stream:
                for line in stream:
                    asked = json.loads(line)
                    if ended := asked == BYE:
                        break
                    commands += 1
                    stream.write(json.dumps(_run(asked)) + "\n")
                    stream.flush()
    module = SRCVERSION.read_text().strip()
    report.write_text(
        json.dumps({"release": os.uname().release, "module": module, "commands": commands})
    )


def _run(asked: dict[str, object]) -> list[object]:
    argv = asked["argv"]
    assert isinstance(argv, list)
    print(*argv, flush=True)
    try:
        done = subprocess.run(
            argv,
            input=str(asked["stdin"] or ""),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=float(str(asked["timeout"])),
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return [255, cut_short(late)]
    except OSError as error:
        return [255, str(error)]
    return [done.returncode, done.stdout]


class Peer:
    """The first machine's connection to the second one."""

    def __init__(self) -> None:
        deadline = time.monotonic() + IDLE
        while True:
            try:
                self.socket = socket.create_connection((ADDRESSES[1], PORT), timeout=5)
                break
            except OSError:
                # the other machine is still booting
                if time.monotonic() > deadline:
                    raise Failed(f"nobody answers on {ADDRESSES[1]}") from None
                time.sleep(0.5)
        self.stream = self.socket.makefile("rw")

    def sh(
        self, *argv: str, check: bool = True, stdin: str | None = None, timeout: float = 120
    ) -> str:
        """Run a command there, as :func:`toolkit.guest.hosts.sh` does here.

        :raises Failed: the command fails or takes longer than ``timeout`` seconds, or that machine
            has ended.
        """
        self.socket.settimeout(timeout + 60)
        self._tell({"argv": argv, "stdin": stdin, "timeout": timeout})
        answer = self.stream.readline()
        if not answer:
            raise Failed(f"{' '.join(argv)}: the other machine has ended")
        status, said = json.loads(answer)
        if check and status:
            raise Failed(f"{' '.join(argv)} on the other machine: status {status}\n{said}")
        return str(said)

    def bye(self) -> None:
        """Have the other machine end."""
        self._tell(BYE)
        self.stream.close()
        self.socket.close()

    def _tell(self, what: object) -> None:
        self.stream.write(json.dumps(what) + "\n")
        self.stream.flush()


if __name__ == "__main__":
    assert re.fullmatch(r"/.+", sys.argv[1]), "usage: python3 -m toolkit.guest.agent /report.json"
    serve(Path(sys.argv[1]))

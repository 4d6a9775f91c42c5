# SPDX-License-Identifier: GPL-2.0
"""Inside the guest: what honest peers of a hub lose while others, whose keys are as valid, attack.

``python3 -m toolkit.guest.hostile PLAN RESULTS`` reads a plan (see :class:`Plan`), and appends a
line of JSON to RESULTS for each attack.

::

    A ---- H ---- B      A and B are honest: a TCP stream goes through H from one to the other, and
          / \\            H has learned STATIONS addresses behind each of them.
         E   F           E and F attack as fast as they can. Spokes are wires, and all relay.

All of them share one processor, so the attackers' sending costs A and B something, which elsewhere
is another machine's. What that is says an attacker whose frames H drops unseen, once they are
decrypted (NewPeers = closed). What remains is the switch's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.guest import hubs
from toolkit.guest.bench import PACKETS, packets, reached
from toolkit.guest.contenders import B
from toolkit.guest.ctl_switch import handle
from toolkit.guest.hosts import PORT, Failed, Host, eventually, inside, kernel_memory, sh, stop

STATIONS = 100  # that are behind each honest peer
AT_ONCE = 256  # frames of an attacker on their way
SIZE = 60  # bytes of a frame, the least of Ethernet: many frames hurt more than large ones
FEW, MANY = 500, 4500  # frames; the difference of two runs is what one costs
TABLE = 8192  # entries that a link has room for
ROOM, DEFAULT = 1 << 20, 256  # MaxMACs: the most, and what a peer has
UNUSED = 999  # number of a station that is bound, and silent
HUB = "192.168.157.254"
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOTHING, ARP = 0x88B5, 0x0806  # IEEE 802 local experimental EtherType 1, and RFC 826
#: How the names of what others are compared with begin.
SHUT_OUT = "shut out"
#: Of `ethtool -S`: what an attack is not counted by.
NO_VERDICT = ("rx_opaque", "tx_opaque", "relay_frames", "relay_bytes", "tx_unknown")


@dataclass(frozen=True)
class Plan:
    """What a guest is to do.

    :ivar runs: of a TCP stream; the median counts.
    :ivar milliseconds: of each.
    :ivar sources: frames from random addresses whose traces in memory are looked for.
    :ivar packets: the program bench-packets.
    """

    runs: int
    milliseconds: int
    sources: int
    packets: str


@dataclass(frozen=True)
class Attack:
    """What E sends, and F with it if it takes two.

    :ivar frames: sent in turn.
    :ivar random: each from another source address.
    """

    name: str
    frames: Sequence[bytes]
    random: bool = False
    both: bool = False


@dataclass(frozen=True)
class Found:
    """What came of an attack.

    :ivar goodput: of A's stream to B, Mbit/s.
    :ivar frames: of the attackers that came to H in a second, while the stream went on.
    :ivar instructions: of one such frame alone, without what A, B and F do with copies of it.
    :ivar counted: what H has counted, by counter.
    :ivar entries: of A's and B's 2 * STATIONS entries that are left.
    :ivar memory: how much more the kernel has allocated for itself afterwards, kB.
    :ivar attackers: how many there were.
    """

    attack: str
    goodput: float
    frames: float
    instructions: float
    counted: dict[str, int]
    entries: int
    memory: int
    attackers: int = 1


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(to: str, source: str, kind: int = NOTHING, payload: bytes = b"") -> bytes:
    """An Ethernet frame of SIZE bytes or more."""
    return (mac(to) + mac(source) + kind.to_bytes(2, "big") + payload).ljust(SIZE, b"\0")


def arp(source: str, sender: str, target: str) -> bytes:
    """A request to all that says who has the sender's IP address."""
    packed = [bytes(map(int, address.split("."))) for address in (sender, target)]
    body = bytes.fromhex("0001080006040001") + mac(source) + packed[0] + bytes(6) + packed[1]
    return frame(BROADCAST, source, ARP, body)


def station(number: int, of: int) -> str:
    """The address of a station behind a spoke."""
    return f"02:00:00:{of:02x}:{number >> 8:02x}:{number & 255:02x}"


class Place:
    """The hub, its honest spokes and the others."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seed = 0
        self.star = hubs.star("E", "F")
        hubs.switch(self.star)
        self.hub, self.attackers = self.star.hub, self.star.others
        # Somebody listens to what has no meaning. The link would count it as dropped, too.
        with inside(self.hub):
            self.ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(NOTHING))
        self.hub.ip(f"address add {HUB}/24 dev wg1")
        self.honest = (self.star.a, self.star.b)
        self.macs = {
            host.name: str(host.link("wg1")["address"])
            for host in (self.hub, *self.honest, *self.attackers)
        }
        for number, spoke, address in self.star.spokes:
            spoke.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
            eventually(lambda s=spoke: reached(s, HUB), f"{spoke.name} reaches the hub")  # type: ignore[misc]
            if spoke in self.honest:
                # its own are an address, one that nobody uses, and its IP address
                bound = f"{self.macs[spoke.name]},{station(UNUSED, number)}"
                self.set(spoke, "allowed-macs", bound)
                own = ("allowed-ips", f"{address}/32")
                self.hub.run("wg", "set", "wg1", "peer", spoke.public, *own)

    def ctl(self, *words: str) -> None:
        self.hub.run(sys.executable, "-m", "l2wgctl", *words)

    def set(self, spoke: Host, *options: str) -> None:
        self.ctl("set", "wg1", "peer", spoke.public, *options)

    # -- frames and counters -----------------------------------------------------------------------

    def send(
        self, spoke: Host, frames: Sequence[bytes], count: int, *, random: bool = False
    ) -> dict[str, int]:
        """Send frames to the hub, as fast as that takes them in."""
        out = sh(*self._frames(spoke, self.hub.name, frames, count, random))
        try:
            found: dict[str, int] = json.loads(out)
        except ValueError:
            raise Failed(f"bench-packets frames: {out}") from None
        return found

    def _frames(
        self, spoke: Host, pace: str, frames: Sequence[bytes], count: int, random: bool
    ) -> list[str]:
        words = ["frames", spoke.name, "wg1", pace, ",".join(x.hex() for x in frames)]
        # other sources each time: known ones would cost less
        self.seed += 1
        return [PACKETS, *words, str(count), str(AT_ONCE), str(self.seed << 32 if random else 0)]

    def counters(self) -> dict[str, int]:
        """The hub's, that a verdict is counted by."""
        lines = self.hub.run("ethtool", "-S", "wg1").splitlines()[1:]
        found = {name.strip(): int(value) for name, value in (x.split(":") for x in lines)}
        return {name: n for name, n in found.items() if name not in NO_VERDICT}

    def received(self) -> int:
        """Packets that have come over the attackers' cables. WireGuard counts no refused frame."""
        numbers = [n for n, spoke, _ in self.star.spokes if spoke in self.attackers]
        return sum(self.hub.stat(f"eth{n}", "rx_packets") for n in numbers)

    def entries(self) -> int:
        """Of the honest spokes' stations that the table has where they are."""
        shown = json.loads(self.hub.run("bridge", "-j", "fdb", "show", "dev", "wg1"))
        wanted = {
            (station(n, number), handle(spoke.public))
            for number, spoke, _ in self.star.spokes
            if spoke in self.honest
            for n in range(STATIONS)
        }
        return len(wanted & {(x["mac"], x.get("dst")) for x in shown})

    def learn(self) -> None:
        """Forget all, and learn the honest spokes' stations anew."""
        self.ctl("fdb", "flush", "wg1")
        for number, spoke, _ in self.star.spokes:
            if spoke in self.honest:
                heard = [frame(self.macs["H"], station(n, number)) for n in range(STATIONS)]
                self.send(spoke, heard, STATIONS)
        eventually(lambda: self.entries() == 2 * STATIONS, "the stations are learned")

    # -- what is measured --------------------------------------------------------------------------

    def goodput(self) -> float:
        """Of a stream from A to B, Mbit/s while the processor is awake; 0 if it does not begin."""
        values = []
        for _ in range(self.plan.runs):
            try:
                found = packets("tcp", "A", "B", B, 1, self.plan.milliseconds, timeout=60)
            except Failed as error:
                if "no end after" not in str(error):
                    raise
                return 0.0
            values.append(found["bytes"] * 8e3 / (found["elapsed"] - found["idle"]))
        return statistics.median(values)

    def cost(self, attack: Attack) -> float:
        """Instructions of one of its frames. The other spokes drop what comes unseen."""
        drop = "filter {} dev eth0 ingress matchall action drop"
        others = [spoke for _, spoke, _ in self.star.spokes if spoke is not self.attackers[0]]
        for spoke in others:
            spoke.run("tc", *drop.format("add").split())
        busy = []
        for count in (FEW, MANY):
            found = self.send(self.attackers[0], attack.frames, count, random=attack.random)
            busy.append(found["elapsed"] - found["idle"])
        for spoke in others:
            spoke.run("tc", "filter", "del", "dev", "eth0", "ingress")
        return (busy[1] - busy[0]) / (MANY - FEW)

    @contextlib.contextmanager
    def under(self, attack: Attack) -> Iterator[None]:
        """During the block it goes on at full speed."""
        before = self.received()
        running = [
            subprocess.Popen(
                self._frames(spoke, "-", attack.frames, 1 << 30, attack.random),
                stdout=subprocess.PIPE,
                text=True,
            )
            for spoke in self.attackers[: 1 + attack.both]
        ]
        try:
            eventually(lambda: self.received() > before + 1000, attack.name)
            yield
        finally:
            said = [stop(process) for process in running]
        if not all(text.startswith("{") for text in said):
            raise Failed(f"{attack.name}: an attacker has ended: {said}")

    def memory(self) -> int:
        """What the kernel has allocated for itself, kB, when grace periods are over."""
        time.sleep(1)
        sh("sh", "-c", "echo 1 >/proc/sys/vm/stat_refresh", check=False)
        return sum(kernel_memory().values())

    def found(self, attack: Attack) -> Found:
        """Carry an attack out."""
        self.learn()
        memory = self.memory()
        if attack.random:
            some = self.send(self.attackers[0], attack.frames, self.plan.sources, random=True)
            print(f"{attack.name}: {some}", flush=True)
        # one of two attackers alone is not the attack
        instructions, counted = 0 if attack.both else self.cost(attack), self.counters()
        with self.under(attack):
            before, began = self.received(), time.monotonic()
            goodput = self.goodput()
            took = time.monotonic() - began
            frames = self.received() - before
        more = {n: x - counted[n] for n, x in self.counters().items() if x != counted[n]}
        left = self.entries()
        return Found(
            *(attack.name, goodput, frames / took, instructions, more, left),
            *(self.memory() - memory, 1 + attack.both),
        )

    def shut_out(self) -> None:
        """E and F become peers without options, who can shake hands and nothing else."""
        gone = [word for spoke in self.attackers for word in ("peer", spoke.public, "remove")]
        self.ctl("set", "wg1", "new-peers", "closed", *gone)
        for number, spoke, _ in self.star.spokes[2:]:
            endpoint = ("endpoint", f"10.0.{number}.1:{PORT}")
            self.hub.run("wg", "set", "wg1", "peer", spoke.public, *endpoint)
            # the hub has no session any more
            spoke.ip("link set wg1 down", "link set wg1 up")
            self.send(spoke, [frame(self.macs["H"], self.macs[spoke.name])], 1)

    def admit(self, macs: int) -> None:
        """E and F become spokes like the others, with room for so many addresses."""
        peers = []
        for spoke in self.attackers:
            peers += ["peer", spoke.public, "relay", "yes", "max-macs", str(macs)]
        self.ctl("set", "wg1", "new-peers", "open", *peers)

    def bytes_of_an_entry(self) -> float:
        """Of the kernel's memory, for each entry of a full table, its buckets included."""
        self.ctl("fdb", "flush", "wg1")
        memory = self.memory()
        to_hub = [frame(self.macs["H"], BROADCAST)]
        self.send(self.attackers[0], to_hub, TABLE, random=True)
        return (self.memory() - memory) * 1024 / TABLE


def attacks(place: Place) -> list[Attack]:
    """What they do, in this order: what the last one does is not undone at once."""
    macs, spokes = place.macs, place.star.spokes[:2]
    own, hub = macs["E"], macs["H"]
    stations = [station(n, number) for number, *_ in spokes for n in range(STATIONS)]
    return [
        Attack(f"sources at random, MaxMACs = {ROOM:,}", [frame(hub, BROADCAST)], random=True),
        Attack("sources at random", [frame(hub, BROADCAST)], random=True),
        Attack(
            "MACs that are bound to A and B",
            [frame(hub, x) for n, s, _ in spokes for x in (macs[s.name], station(UNUSED, n))],
        ),
        Attack("the hub's own MAC", [frame(BROADCAST, hub)]),
        Attack("a MAC that moves between E and F", [frame(hub, station(1, 3))], both=True),
        Attack("ARP with A's and B's IP", [arp(own, ip, HUB) for _, _, ip in spokes]),
        Attack("frames to itself", [frame(own, own)]),
        Attack("broadcasts", [frame(BROADCAST, own)]),
        Attack("ARP requests to all", [arp(own, "192.168.157.3", "192.168.157.99")]),
        Attack("MACs of stations of A and B, bound to nobody", [frame(hub, x) for x in stations]),
    ]


def measure(place: Place) -> Iterator[dict[str, object]]:
    """All of it, as lines for RESULTS."""
    yield asdict(Found("none", place.goodput(), 0, 0, {}, 2 * STATIONS, 0, 0))
    place.shut_out()
    own = [frame(place.macs["H"], place.macs["E"])]
    yield asdict(place.found(Attack(f"{SHUT_OUT}: E", own)))
    yield asdict(place.found(Attack(f"{SHUT_OUT}: E and F", own, both=True)))
    place.admit(ROOM)
    yield {"bytes_of_an_entry": place.bytes_of_an_entry()}
    first, *others = attacks(place)
    yield asdict(place.found(first))
    place.admit(DEFAULT)
    for attack in others:
        yield asdict(place.found(attack))


def main(plan_file: str, results: str) -> None:
    """Carry a plan out."""
    plan = Plan(**json.loads(Path(plan_file).read_text()))
    shutil.copy(plan.packets, PACKETS)
    os.chmod(PACKETS, 0o755)
    sh("modprobe", "l2wireguard")
    started = time.monotonic()
    with open(results, "a") as out:
        for line in measure(Place(plan)):
            print(json.dumps(line), file=out, flush=True)
            print(f"{time.monotonic() - started:.0f} s: {json.dumps(line)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

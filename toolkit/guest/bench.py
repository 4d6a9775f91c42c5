# SPDX-License-Identifier: GPL-2.0
"""Inside the guest: measure each contender in turn, round after round.

``python3 -m toolkit.guest.bench PLAN RESULTS`` reads a plan (JSON, see :class:`Plan`) and appends
each value to RESULTS as soon as it has it, as one line of JSON.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.guest.contenders import CONTENDERS, KEYS, NO_IPV6, OUTER, B, Contender, use_module
from toolkit.guest.flood import copies
from toolkit.guest.hosts import Failed, Host, cable, eventually, sh, stop
from toolkit.guest.hubs import HUBS, star

PACKETS = "/tmp/bench-packets"  # in memory: the cost of a read through 9p depends on the host
HEADERS = 28  # bytes of IPv4 and UDP
SMALL, LARGE = 64, 1406  # bytes of an IP packet
#: The packets whose instructions are counted. They fit every contender's MTU, and each remainder of
#: a block of ChaCha20 (64 bytes) comes once, because a part of a block costs a whole one.
FRAMES = range(1280, 1344)
WINDOW = {"icount": 32, "wall": 64}  # packets on their way at once
SIZES = range(1200, 1216)  # each remainder of padding to 16 bytes once
EACH = 16  # packets of each size
MEGABYTE = 1_000_000  # bytes
UPLINK = "10mbit"  # of a slow line
FOR_EVER = 3_600_000  # milliseconds, for what is ended when it has served
SOME_FAILED = 3  # exit status; a crash has another


@dataclass(frozen=True)
class Plan:
    """What a guest is to do.

    :ivar clock: ``icount`` where guest time is executed instructions, else ``wall``.
    :ivar contenders: names, in the order of the first round; every other one goes backwards.
    :ivar frames: packets of the long and of the short run; their difference counts.
    :ivar milliseconds: of each run that ends by time.
    :ivar echoes: round trips.
    :ivar peers: numbers of peers on one link to measure with.
    :ivar floods: numbers of peers that a broadcast goes to.
    :ivar keys: the folder that make_keys() filled.
    :ivar small: profile packets of SMALL bytes.
    """

    clock: str
    contenders: list[str]
    rounds: int
    frames: tuple[int, int]
    milliseconds: int
    echoes: int
    peers: list[int]
    floods: list[int]
    keys: str
    packets: str
    small: bool = False


Record = Callable[..., None]


def packets(*arguments: object, timeout: float = 600) -> dict[str, int]:
    """Run bench-packets between A and B.

    :raises Failed: it fails, or more than one packet in a hundred is lost.
    """
    out = sh(PACKETS, *map(str, arguments), timeout=timeout)
    try:
        found: dict[str, int] = json.loads(out)
    except ValueError:
        raise Failed(f"bench-packets {arguments}: {out}") from None
    if found.get("lost", 0) * 100 > found.get("sent", found.get("count", 0)):
        raise Failed(f"bench-packets {arguments}: packets were lost: {out}")
    return found


def per_frame(to: str, sizes: range, plan: Plan, *, joined: bool = False) -> float:
    """Instructions of a packet from A's program to B's, with everything in between.

    :param sizes: bytes of the IP packets, which come in turn; ``plan.frames`` are multiples.
    :param joined: all of the first size, and half a window in one system call (UDP_SEGMENT).
    """
    many, few = plan.frames
    busy = {}
    for count in (few, many):
        asked = (sizes.start, count, WINDOW["icount"], *([] if joined else [len(sizes)]))
        found = packets("gso" if joined else "udp", "A", "B", to, *asked)
        busy[count] = found["elapsed"] - found["idle"]
    return (busy[many] - busy[few]) / (many - few)


def on_the_wire(a: Host) -> int:
    """Bytes that have gone over the veth, both ways, Ethernet headers included."""
    counters = Path("/sys/class/net/eth0/statistics")
    return sum(map(int, a.run("cat", f"{counters}/tx_bytes", f"{counters}/rx_bytes").split()))


def wire(a: Host, contender: Contender, record: Record) -> None:
    """What the link adds to an IP packet, and to a byte of payload in the largest packets."""
    count = EACH * len(SIZES)
    total = _bytes_for(a, contender.address, SIZES[0], count, len(SIZES))
    overhead = (total - EACH * sum(SIZES)) / count
    record("wire_overhead_bytes", overhead, "bytes")
    mtu = contender.mtu(a)
    full = _bytes_for(a, contender.address, mtu, count) / count
    record("wire_bytes_per_payload_byte", full / (mtu - HEADERS), "bytes")


def _bytes_for(a: Host, to: str, size: int, count: int, span: int = 1) -> int:
    """Bytes on the wire for so many packets of ``span`` sizes from ``size`` on.

    The smallest of three runs counts, because ARP or a keepalive may come in between. It is the
    long run minus the short one, so that the start of a run does not count.
    """
    few, many = (
        min(_wire_run(a, to, size, n, span) for _ in range(3)) for n in (span, span + count)
    )
    return many - few


def _wire_run(a: Host, to: str, size: int, count: int, span: int) -> int:
    before = on_the_wire(a)
    packets("udp", "A", "B", to, size, count, 2, span)
    return on_the_wire(a) - before


def by_instructions(a: Host, b: Host, c: Contender, plan: Plan, record: Record) -> None:
    """What is measured when guest time is executed instructions."""
    wire(a, c, record)
    record("instructions_per_frame", per_frame(c.address, FRAMES, plan), "instructions")
    record(
        "instructions_per_frame_64",
        per_frame(c.address, range(SMALL, SMALL + 1), plan),
        "instructions",
    )
    # by its congestion window, one stream differs by 2 % from run to run
    one = [goodput(c.address, 1, plan) for _ in range(3)]
    record("tcp_goodput", statistics.median(one), "Mbit/s")
    record("tcp_goodput_4_streams", goodput(c.address, 4, plan), "Mbit/s")
    if c.module:
        joined = per_frame(c.address, FRAMES, plan, joined=True)
        record("instructions_per_segment", joined, "instructions")
        cards(a, b, c, plan, record)
        beside_a_stream(a, c.address, plan, record, "loaded")
        with uplink(a, "eth0"):
            beside_a_stream(a, c.address, plan, record, "uplink")
    if c.name == "l2wireguard":
        verified(b, c, plan, record)
    if c.module and c.link == "wg1":
        for number in plan.peers:
            for host in (a, b):
                add_peers(host, number)
            found_instructions = per_frame(c.address, FRAMES, plan)
            record(f"instructions_per_frame_{number}_peers", found_instructions, "instructions")


def cards(a: Host, b: Host, c: Contender, plan: Plan, record: Record) -> None:
    """TCP where the cable's ends do more, or less, than veth's do unless told."""
    for name, host, feature, other, usual in (
        ("tcp_goodput_joined", b, "gro", "on", "off"),
        ("tcp_goodput_apart", a, "tx-udp-segmentation", "off", "on"),
    ):
        host.run("ethtool", "-K", "eth0", feature, other, check=False)
        record(name, goodput(c.address, 1, plan), "Mbit/s")
        host.run("ethtool", "-K", "eth0", feature, usual, check=False)


@contextlib.contextmanager
def uplink(host: Host, link: str) -> Iterator[None]:
    """A slow line: a host's cable has 10 Mbit/s, and a large buffer is one unit of its queue."""
    host.run(*f"tc qdisc add dev {link} root handle 1: htb default 1".split())
    host.run(*f"tc class add dev {link} parent 1: classid 1:1 htb rate {UPLINK}".split())
    host.run(*f"tc qdisc add dev {link} parent 1:1 fq_codel".split())
    try:
        yield
    finally:
        host.run("tc", "qdisc", "del", "dev", link, "root", check=False)


def beside_a_stream(a: Host, to: str, plan: Plan, record: Record, what: str) -> None:
    """Round trips while one TCP stream takes all that it can get.

    :param what: the end of the measures' names.
    """
    before = on_the_wire(a)
    stream = subprocess.Popen(
        [PACKETS, "tcp", "A", "B", to, "1", str(FOR_EVER)], stdout=subprocess.DEVNULL
    )
    try:
        eventually(lambda: on_the_wire(a) - before > MEGABYTE, "the stream does not flow")
        found = packets("rtt", "A", "B", to, SMALL, plan.echoes // 2)
    finally:
        stream.kill()  # its other processes go with it
        stream.wait()
    record(f"rtt_median_{what}", found["median"] / 1e3, "us")
    record(f"rtt_p99_{what}", found["p99"] / 1e3, "us")


def verified(receiver: Host, c: Contender, plan: Plan, record: Record) -> None:
    """What it costs if B looks at the checksums inside, as it does where frames travel on."""
    receiver.run("ethtool", "-K", c.link, "lro", "off")
    record("instructions_per_frame_verified", per_frame(c.address, FRAMES, plan), "instructions")
    runs = [goodput(c.address, 1, plan) for _ in range(3)]
    record("tcp_goodput_verified", statistics.median(runs), "Mbit/s")
    receiver.run("ethtool", "-K", c.link, "lro", "on")


def by_the_clock(a: Host, b: Host, c: Contender, plan: Plan, record: Record) -> None:
    """What is measured in wall-clock time."""
    for size in (SMALL, LARGE):
        found = packets("pps", "A", "B", c.address, size, plan.milliseconds, WINDOW["wall"])
        record(f"udp_packets_{size}", found["received"] * 1e9 / found["elapsed"], "packets/s")
    found = packets("rtt", "A", "B", c.address, SMALL, plan.echoes)
    record("rtt_median", found["median"] / 1e3, "us")
    record("rtt_p99", found["p99"] / 1e3, "us")
    for streams, name in ((1, "tcp_goodput_wall"), (4, "tcp_goodput_wall_4_streams")):
        record(name, goodput(c.address, streams, plan), "Mbit/s")


def goodput(to: str, streams: int, plan: Plan) -> float:
    """What B's program reads from A's in some number of TCP streams, Mbit/s."""
    found = packets("tcp", "A", "B", to, streams, plan.milliseconds)
    return found["bytes"] * 8e3 / found["elapsed"]


def add_peers(host: Host, number: int) -> None:
    """Fill a link up to a number of peers, each with its own address near the real peer's."""
    config = Path(f"/tmp/{host.name}-peers.conf")
    with config.open("w") as f:
        for i in range(number - 1):
            # any 32 bytes are a public key
            key = base64.b64encode(hashlib.sha256(str(i).encode()).digest()).decode()
            f.write(
                f"[Peer]\nPublicKey = {key}\nAllowedIPs = 192.168.{i % 157}.{3 + i // 157}/32\n"
            )
    host.run("wg", "addconf", "wg1", str(config))


def hosts() -> tuple[Host, Host]:
    """A and B, joined by a cable, without IPv6: its messages would be counted with the rest."""
    a, b = Host("A").create(), Host("B").create()
    for host in (a, b):
        host.run("sysctl", "-q", "-w", *NO_IPV6)
    cable(a, b)
    for host, address in zip((a, b), OUTER):
        host.ip(f"address add {address}/24 dev eth0")
    return a, b


def measure(contender: Contender, plan: Plan, record: Record) -> None:
    """One contender, once.

    :raises Failed: it cannot be set up, or carries nothing.
    """
    use_module(contender.module)
    a, b = hosts()
    with taken_down(a, b):
        started = time.monotonic()
        contender.set_up(a, b)
        eventually(lambda: reached(a, contender.address), f"{contender.name} carries nothing")
        taken = time.monotonic() - started
        if plan.clock == "icount":
            by_instructions(a, b, contender, plan, record)
        else:
            record("setup_time", taken, "s")
            by_the_clock(a, b, contender, plan, record)
    if plan.clock == "icount" and contender.name in HUBS:
        through_a_hub(contender, plan, record)
    if plan.clock == "icount" and contender.name == "l2wgswitch":
        flooding(plan, record)


def through_a_hub(contender: Contender, plan: Plan, record: Record) -> None:
    """The same between two spokes of a hub.

    :raises Failed: see :func:`measure`.
    """
    place = star()
    with taken_down(place.hub, place.a, place.b):
        HUBS[contender.name](place)
        eventually(lambda: reached(place.a, B), f"a hub of {contender.name} carries nothing")
        record("hub_instructions_per_frame", per_frame(B, FRAMES, plan), "instructions")
        runs = [goodput(B, 1, plan) for _ in range(3)]
        record("hub_tcp_goodput", statistics.median(runs), "Mbit/s")
        if contender.module:
            with uplink(place.hub, "eth2"):
                beside_a_stream(place.a, B, plan, record, "forwarded")


def flooding(plan: Plan, record: Record) -> None:
    """A broadcast's copies beside a unicast frame, at the sender alone.

    :raises Failed: see :func:`measure`.
    """
    for number in plan.floods:
        a, b = hosts()
        with taken_down(a, b):
            one, copy = copies(a, b, number, PACKETS)
            record(f"flood_copy_{number}", copy / one, "of a unicast frame")


@contextlib.contextmanager
def taken_down(*hosts: Host) -> Iterator[None]:
    """Remove the hosts after the block; an error tells what their programs said."""
    try:
        yield
    except Failed as error:
        said = [stop(p).strip() for host in hosts for p in host.running]
        raise Failed("\n".join([str(error), *said])) from None
    finally:
        for host in hosts:
            host.destroy()


def reached(a: Host, address: str) -> bool:
    """Does an echo come back from B within 5 seconds?"""
    return a.ok("ping", "-n", "-q", "-c", "1", "-i", "0.01", "-w", "5", address)


def main(plan_file: str, results: str) -> int:
    """Carry out a plan; 0 if each round measured every contender, else SOME_FAILED."""
    plan = Plan(**json.loads(Path(plan_file).read_text()))
    shutil.copytree(plan.keys, KEYS)
    shutil.copy(plan.packets, PACKETS)
    os.chmod(PACKETS, 0o755)
    failed = False
    with open(results, "a") as out:
        for number in range(plan.rounds):
            names = plan.contenders[:: -1 if number % 2 else 1]
            for name in names:
                started = time.monotonic()

                def record(
                    measure: str,
                    value: float,
                    unit: str,
                    *,
                    name: str = name,
                    number: int = number,
                    **more: int,
                ) -> None:
                    line = {
                        "round": number,
                        "contender": name,
                        "measure": measure,
                        "value": value,
                        "unit": unit,
                        "at": time.monotonic(),
                        **more,
                    }
                    print(json.dumps(line), file=out, flush=True)

                try:
                    measure(CONTENDERS[name], plan, record)
                    said = "done"
                except Failed as error:
                    failed = True
                    said = f"FAILED: {error}"
                print(
                    f"round {number + 1} of {plan.rounds}: {name}: {said}"
                    f" ({time.monotonic() - started:.0f} s)",
                    flush=True,
                )
    return SOME_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

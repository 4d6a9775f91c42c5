# SPDX-License-Identifier: GPL-2.0
"""What the length function says about the frames of a capture: `./inv frames FILE [--each]`."""

from __future__ import annotations

import gzip
import io
import logging
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import ToolError
from toolkit.frame.library import Verdict, parse

ETHERNET = 1
GZIP = b"\x1f\x8b"
#: python3-libtrace's examples were compressed a second time by Debian's dh_compress.
GZIP_LAYERS = 3

# https://www.tcpdump.org/linktypes.html: those that people capture
LINK_TYPES = {
    0: "BSD loopback",
    101: "raw IP",
    105: "IEEE 802.11",
    113: "Linux cooked",
    127: "IEEE 802.11 with radiotap",
    228: "raw IPv4",
    229: "raw IPv6",
    276: "Linux cooked v2",
}

# The words of the report; "short": too little of the frame was captured to tell.
VERDICTS = ("length", "opaque", "malformed", "short")
NOT_ETHERNET = "not-ethernet"


@dataclass(frozen=True)
class Captured:
    """A frame of a capture: its first bytes, and how many it had on the wire (not fewer)."""

    number: int
    linktype: int
    data: bytes
    wire: int


@dataclass(frozen=True)
class Answer:
    """A line of the report; `ethertype` and `payload` (in bytes) are None if there is none."""

    number: int
    ethertype: int | None
    length: int
    verdict: str
    payload: int | None

    def line(self) -> str:
        """The frame as tab-separated fields."""
        ethertype = "-" if self.ethertype is None else f"0x{self.ethertype:04x}"
        payload = "-" if self.payload is None else self.payload
        return f"{self.number}\t{ethertype}\t{self.length}\t{self.verdict}\t{payload}"

    def group(self) -> str:
        """The row of the table that the frame counts in."""
        if self.ethertype is None:
            return "-"
        return "802.3" if self.ethertype < 0x600 else f"0x{self.ethertype:04x}"


def link_type(number: int) -> str:
    """A link type in words."""
    name = LINK_TYPES.get(number)
    return f"link type {number} ({name})" if name else f"link type {number}"


Record = tuple[int, bytes, int]  # link type, captured bytes, length on the wire


def reader_of(stream: io.BufferedReader, path: Path) -> Callable[[], Record | None]:
    """A function that reads the next record of a pcap or pcapng stream with scapy.

    It returns None for a pcapng block that is not a frame, and raises EOFError if the record is cut
    off or damaged.

    :raises ToolError: the stream is no capture.
    """
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapNgReader, RawPcapReader

    # We report a damaged file ourselves, in one line.
    logging.getLogger("scapy.runtime").setLevel(logging.CRITICAL)

    class SectionReader(RawPcapNgReader):  # type: ignore[misc]
        """Interfaces belong to their section, and a snaplen of 0 is no limit."""

        def _read_block_shb(self) -> None:
            super()._read_block_shb()
            self.interfaces: list[tuple[int, int, object]] = []

        def _read_block_idb(self, block: bytes, size: int) -> None:
            super()._read_block_idb(block, size)
            kind, snaplen, options = self.interfaces[-1]
            self.interfaces[-1] = (kind, snaplen or 0xFFFFFFFF, options)

        def _check_interface_id(self, number: int) -> bool:
            if number >= len(self.interfaces):
                raise EOFError
            return True

    def block() -> Record | None:
        found = reader._read_block()
        return found and (found[1].linktype, found[0], found[1].wirelen)

    def packet() -> Record:
        data, meta = reader._read_packet()
        if len(data) < min(meta.caplen, 0xFFFF):
            raise EOFError
        # The upper bits are about a frame check sequence.
        return reader.linktype & 0x3FFFFFF, data, meta.wirelen

    new = stream.peek(4)[:4] == b"\n\r\r\n"
    try:
        reader = SectionReader(stream) if new else RawPcapReader(stream)
    except Scapy_Exception:
        raise ToolError(
            f"{path}: not a pcap or pcapng file", "tcpdump -w and Wireshark write them"
        ) from None
    return block if new else packet


def captured(path: Path) -> Iterator[Captured]:
    """The frames of a capture file, gzip-compressed or not, from number 1 on.

    :raises ToolError: the file cannot be read or is no capture; or, behind the last whole frame, it
        is cut off or damaged there.
    """
    number = 0
    try:
        with open(path, "rb") as file:
            stream = file
            for _ in range(GZIP_LAYERS):
                if stream.peek(2)[:2] == GZIP:
                    stream = io.BufferedReader(gzip.GzipFile(fileobj=stream, mode="rb"))
            if stream.peek(2)[:2] == GZIP:
                raise ToolError(f"{path}: compressed more than {GZIP_LAYERS} times", "gunzip it")
            read = reader_of(stream, path)
            # scapy ends quietly wherever the file does; it is whole only if that is between
            # records.
            while stream.peek(1):
                record = read()
                if record is None:
                    continue
                linktype, data, wire = record
                if wire >= 1 << 31:
                    raise EOFError
                number += 1
                yield Captured(number, linktype, data, max(wire, len(data)))
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ToolError(
            f"{path}: cut off or damaged behind frame {number}", "capture it again"
        ) from None
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from None


def ask(frame: Captured) -> Answer:
    """What the length function says about a captured frame.

    :raises ToolError: see :func:`toolkit.frame.library.build`.
    """
    if frame.linktype != ETHERNET:
        return Answer(frame.number, None, frame.wire, NOT_ETHERNET, None)
    ethertype = int.from_bytes(frame.data[12:14], "big") if len(frame.data) >= 14 else None
    found = parse(frame.data, wire=frame.wire)
    payload = found.len - 14 if found.verdict is Verdict.LENGTH else None
    return Answer(frame.number, ethertype, frame.wire, found.verdict.name.lower(), payload)


def table(counts: Counter[tuple[str, str]]) -> str:
    """The frames by EtherType and verdict, as aligned text."""
    lines = [f"{'EtherType':9}{'frames':>10}" + "".join(f"{word:>11}" for word in VERDICTS)]
    for group in sorted({group for group, verdict in counts if verdict != NOT_ETHERNET}):
        row = [counts[group, verdict] for verdict in VERDICTS]
        lines.append(f"{group:9}{sum(row):>10}" + "".join(f"{count:>11}" for count in row))
    return "\n".join(lines)


def report(path: str | Path, each: bool = False) -> None:
    """Print how many frames of each EtherType of a capture are length, opaque or malformed.

    A frame of which too little was captured is "short", one that is not Ethernet "not-ethernet".

    :param each: print one tab-separated line for each frame instead, and the table to stderr:
        number, EtherType, frame length on the wire, verdict, payload length or "-".
    :raises ToolError: the file is missing, no capture, cut off (after the report of what is there),
        or holds no Ethernet frames.
    """
    try:
        _report(Path(path), each)
    except BrokenPipeError:
        # The reader (head, less) has ended. Nothing more may go to that pipe, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(path: Path, each: bool) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    others: Counter[int] = Counter()
    broken: ToolError | None = None
    try:
        for frame in captured(path):
            answer = ask(frame)
            if answer.verdict == NOT_ETHERNET:
                others[frame.linktype] += 1
            counts[answer.group(), answer.verdict] += 1
            if each:
                print(answer.line())
    except ToolError as error:
        if not counts:
            raise
        broken = error
    foreign = " and ".join(link_type(number) for number in sorted(others))
    if others and others.total() == counts.total():
        raise broken or ToolError(
            f"{path}: {foreign} is not Ethernet", "capture on one Ethernet interface, not on 'any'"
        )
    print(table(counts), file=sys.stderr if each else sys.stdout)
    if others:
        print(f"{others.total()} frames of {foreign} are not Ethernet", file=sys.stderr)
    if broken:
        raise broken

# SPDX-License-Identifier: GPL-2.0
"""`./inv frames`: captures of every kind, whole and broken."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.frame.framekit import IP4, frame, talk
from toolkit.errors import ToolError
from toolkit.frame.library import ROOT
from toolkit.frame.verdicts import report

ARP = talk()["arp-request"]
UNKNOWN = frame(0x9999, b"hello")
CUT_IP4 = frame(0x0800, IP4[:-2])
STP = frame(38, "424203" + "00" * 43)

HEADER = "EtherType    frames     length     opaque  malformed      short\n"
LINES = (
    "1\t0x0806\t42\tlength\t28\n"
    "2\t0x9999\t19\topaque\t-\n"
    "3\t0x0800\t41\tmalformed\t-\n"
    "4\t0x0026\t60\tlength\t38\n"
    "5\t-\t5\tmalformed\t-\n"
)
TABLE = (
    HEADER
    + "-                 1          0          0          1          0\n"
    + "0x0800            1          0          0          1          0\n"
    + "0x0806            1          1          0          0          0\n"
    + "0x9999            1          0          1          0          0\n"
    + "802.3             1          1          0          0          0\n"
)
FRAMES = [ARP, UNKNOWN, CUT_IP4, STP, b"short"]


def pcap(frames: list[bytes], order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1) -> bytes:
    """A pcap file; `order` is that of struct."""
    data = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    for it in frames:
        data += struct.pack(order + "IIII", 1, 2, len(it), len(it)) + it
    return data


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(link: int = 1, order: str = "<", snaplen: int = 0) -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link, 0, snaplen))


def enhanced(data: bytes, number: int = 0, order: str = "<", wire: int | None = None) -> bytes:
    head = struct.pack(order + "5I", number, 0, 0, len(data), len(data) if wire is None else wire)
    return block(order, 6, head + data)


def pcapng(frames: list[bytes], order: str = "<") -> bytes:
    return (
        section(order)
        + interface(order=order)
        + b"".join(enhanced(it, order=order) for it in frames)
    )


KINDS = {
    "pcap": pcap(FRAMES),
    "pcap big endian": pcap(FRAMES, ">"),
    "pcap nanoseconds": pcap(FRAMES, magic=0xA1B23C4D),
    "pcap with checksum bits": pcap(FRAMES, link=0x24000001),
    "pcapng": pcapng(FRAMES),
    "pcapng big endian": pcapng(FRAMES, ">"),
    "pcapng two sections": (
        section() + interface(113) + interface(1) + enhanced(ARP, 1) + enhanced(UNKNOWN, 1)
        + pcapng(FRAMES[2:], ">")
    ),
    "pcapng simple blocks": section() + interface() + b"".join(
        block("<", 3, struct.pack("<I", len(it)) + it) for it in FRAMES
    ),
    "pcapng other blocks": (
        section() + interface() + block("<", 5, bytes(12)) + b"".join(map(enhanced, FRAMES))
    ),
}  # fmt: skip
KINDS |= {f"{name}, gzip": gzip.compress(data) for name, data in KINDS.items()}
KINDS["pcap, gzip three times"] = gzip.compress(gzip.compress(KINDS["pcap, gzip"]))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return tmp_path / "a.pcap"


def fails(path: Path, each: bool = False) -> str:
    with pytest.raises(ToolError) as caught:
        report(path, each)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_table(kind: str, capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture.write_bytes(KINDS[kind])
    report(str(capture))
    assert capsys.readouterr() == (TABLE, "")


@pytest.mark.parametrize("kind", KINDS)
def test_each(kind: str, capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture.write_bytes(KINDS[kind])
    report(capture, each=True)
    assert capsys.readouterr() == (LINES, TABLE)


def test_snaplen(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lldp = frame(0x88CC, "02020441" * 20)
    wires = [(ARP[:20], 42), (ARP[:22], 42), (ARP[:22], 41), (ARP[:13], 42), (lldp[:40], 94)]
    data = section() + interface(snaplen=40)
    data += b"".join(enhanced(part, wire=wire) for part, wire in wires)
    capture.write_bytes(data)
    report(capture, each=True)
    assert capsys.readouterr().out == (
        "1\t0x0806\t42\tshort\t-\n"
        "2\t0x0806\t42\tlength\t28\n"
        "3\t0x0806\t41\tmalformed\t-\n"
        "4\t-\t42\tshort\t-\n"
        "5\t0x88cc\t94\tshort\t-\n"
    )
    report(capture)
    assert capsys.readouterr().out == (
        HEADER
        + "-                 1          0          0          0          1\n"
        + "0x0806            3          1          0          1          1\n"
        + "0x88cc            1          0          0          0          1\n"
    )


def test_wire_length_below_the_captured_one(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture.write_bytes(section() + interface() + enhanced(ARP, wire=10))
    report(capture, each=True)
    assert capsys.readouterr().out == "1\t0x0806\t42\tlength\t28\n"


def test_empty_capture(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture.write_bytes(pcap([]))
    report(capture)
    assert capsys.readouterr() == (HEADER, "")


@pytest.mark.parametrize(
    ("link", "name"), [(113, "link type 113 (Linux cooked)"), (9, "link type 9")]
)
def test_not_ethernet(
    link: int, name: str, capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture.write_bytes(pcap(FRAMES, link=link))
    assert fails(capture) == (
        f"{capture}: {name} is not Ethernet (capture on one Ethernet interface, not on 'any')"
    )
    assert capsys.readouterr() == ("", "")


def test_partly_not_ethernet(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = section() + interface(1) + interface(113) + interface(127)
    capture.write_bytes(data + enhanced(ARP, 0) + enhanced(ARP, 1) + enhanced(ARP, 2))
    table = HEADER + "0x0806            1          1          0          0          0\n"
    note = (
        "2 frames of link type 113 (Linux cooked) and link type 127 (IEEE 802.11 with radiotap)"
        " are not Ethernet\n"
    )
    report(capture)
    assert capsys.readouterr() == (table, note)
    report(capture, each=True)
    assert capsys.readouterr() == (
        "1\t0x0806\t42\tlength\t28\n2\t-\t42\tnot-ethernet\t-\n3\t-\t42\tnot-ethernet\t-\n",
        table + note,
    )


WHOLE = {"pcap": pcap([ARP, ARP]), "pcapng": pcapng([ARP, ARP])}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("packed", [False, True])
def test_cut_off_anywhere(
    kind: str, packed: bool, capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = WHOLE[kind]
    last = 16 + len(ARP) if kind == "pcap" else len(enhanced(ARP))
    one = HEADER + "0x0806            1          1          0          0          0\n"
    for cut in range(1, last):
        part = data[:-cut]
        capture.write_bytes(gzip.compress(part) if packed else part)
        assert fails(capture) == (
            f"{capture}: cut off or damaged behind frame 1 (capture it again)"
        ), cut
        assert capsys.readouterr() == (one, "")
    # Between two frames is a good end.
    part = data[:-last]
    capture.write_bytes(gzip.compress(part) if packed else part)
    report(capture)
    assert capsys.readouterr() == (one, "")


def test_cut_off_gzip(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = gzip.compress(pcap([ARP] * 3))
    for cut in (1, 8, 9, 20):
        capture.write_bytes(data[:-cut])
        message = fails(capture)
        assert message.startswith(f"{capture}: cut off or damaged behind frame ")
        assert message.endswith(" (capture it again)")
    capture.write_bytes(data[:-8] + bytes(8))
    assert fails(capture).startswith(f"{capture}: cut off or damaged behind frame ")


DAMAGED = {
    "pcap record": pcap([ARP]) + struct.pack("<4I", 1, 1, 0xFFFFFFFF, 60) + bytes(60),
    "pcap wire length": pcap([ARP]) + struct.pack("<4I", 1, 1, 4, 0x80000000) + bytes(4),
    "pcapng block length": pcapng([ARP]) + struct.pack("<II", 6, 8),
    "pcapng block end": pcapng([ARP]) + enhanced(ARP)[:-4] + bytes(4),
    "pcapng interface": pcapng([ARP]) + enhanced(ARP, 7),
    "pcapng section": pcapng([ARP]) + b"\n\r\r\n" + bytes(40),
    "pcapng short block": pcapng([ARP]) + block("<", 6, bytes(8)),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged(kind: str, capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture.write_bytes(DAMAGED[kind])
    assert fails(capture) == f"{capture}: cut off or damaged behind frame 1 (capture it again)"
    assert capsys.readouterr().out == (
        HEADER + "0x0806            1          1          0          0          0\n"
    )


@pytest.mark.parametrize(
    "data", [b"", b"\x1f", b"#!/bin/sh\n", pcap([])[:23], section()[:20], gzip.compress(b"text")]
)
def test_no_capture(data: bytes, capture: Path) -> None:
    capture.write_bytes(data)
    assert fails(capture) == (
        f"{capture}: not a pcap or pcapng file (tcpdump -w and Wireshark write them)"
    )


def test_no_gzip(capture: Path) -> None:
    capture.write_bytes(b"\x1f\x8b\x08 nothing")
    assert fails(capture) == f"{capture}: cut off or damaged behind frame 0 (capture it again)"


def test_gzip_without_an_end(capture: Path) -> None:
    data = pcap([ARP])
    for _ in range(4):
        data = gzip.compress(data)
    capture.write_bytes(data)
    assert fails(capture) == f"{capture}: compressed more than 3 times (gunzip it)"


def test_missing(tmp_path: Path) -> None:
    assert fails(tmp_path / "none") == f"{tmp_path}/none: No such file or directory"
    assert fails(tmp_path) == f"{tmp_path}: Is a directory"


def test_reader_that_has_enough(capture: Path) -> None:
    capture.write_bytes(pcap([ARP] * 20000))
    program = f"from toolkit.frame.verdicts import report; report({str(capture)!r}, each=True)"
    talker = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert talker.stdout and talker.stderr
    assert talker.stdout.readline() == "1\t0x0806\t42\tlength\t28\n"
    talker.stdout.close()
    assert talker.stderr.read() == ""
    assert talker.wait() == 0

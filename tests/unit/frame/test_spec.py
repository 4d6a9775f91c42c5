# SPDX-License-Identifier: GPL-2.0
"""The table of the specification, row by row: frames from the talk and frames made here."""

from __future__ import annotations

import pytest

from tests.unit.frame.framekit import (
    IP4,
    IP6,
    OPAQUE,
    WRONG,
    Cases,
    claims,
    frame,
    length,
    talk,
    talk_lengths,
)
from toolkit.frame.library import Frame, Verdict, parse


@pytest.mark.parametrize("name", talk())
def test_frames_of_the_talk(name: str) -> None:
    data = talk()[name]
    assert parse(data) == length(talk_lengths()[name])
    assert parse(data) == Frame(Verdict.LENGTH, len(data))


LACP = "0101" + "00" * 108
IPX = "ffff001e" + "00" * 26
GRH = "600000000010" + "1b40" + "11" * 32

CASES: Cases = {
    "ipv4": (0x0800, IP4, length(28)),
    "ipv4 tail": (0x0800, IP4 + "00" * 18, length(28)),
    "ipv4 empty": (0x0800, "4500001400000000401100000a0000010a000002", length(20)),
    "ipv4 cut header": (0x0800, IP4[:38], WRONG),
    "ipv4 cut": (0x0800, IP4[:-2], claims(28)),
    "ipv4 version": (0x0800, "6" + IP4[1:], WRONG),
    "ipv4 ihl 4": (0x0800, "44" + IP4[2:], WRONG),
    "ipv4 ihl above total": (0x0800, "48" + IP4[2:], WRONG),
    "ipv4 total 0": (0x0800, "45000000" + IP4[8:], WRONG),
    "ipv4 total 65535": (0x0800, "4500ffff" + IP4[8:], claims(65535)),
    "ipv6": (0x86DD, IP6, length(44)),
    "ipv6 empty": (0x86DD, "6000000000003b40" + "00" * 32, length(40)),
    "ipv6 cut header": (0x86DD, "6000000000003b40" + "00" * 31, WRONG),
    "ipv6 cut": (0x86DD, IP6[:-2], claims(44)),
    "ipv6 version": (0x86DD, "4" + IP6[1:], WRONG),
    "ipv6 jumbogram": (0x86DD, "6000000000000040" + "00" * 60, OPAQUE),
    "ipv6 hop-by-hop": (0x86DD, "6000000000080040" + "00" * 40, length(48)),
    "ipv6 65535": (0x86DD, "60000000ffff3b40" + "00" * 36, claims(65575)),
    "arp": (0x0806, "0001080006040001" + "00" * 38, length(28)),
    "arp long addresses": (0x0806, "002008001404" + "00" * 50, length(56)),
    "arp addresses of 255": (0x0806, "00010800ffff" + "00" * 40, claims(1028)),
    "arp no addresses": (0x0806, "0001080000000001", length(8)),
    "arp cut header": (0x0806, "00010800060400", WRONG),
    "arp cut": (0x0806, "0001080006040001" + "00" * 19, claims(28)),
    "arp atm": (0x0806, "0013080006040001", OPAQUE),
    "arp ieee 1394": (0x0806, "0018080010040001" + "00" * 24, OPAQUE),
    "rarp": (0x8035, "0001080006040003" + "00" * 20, length(28)),
    "rarp cut": (0x8035, "0001080006040003" + "00" * 19, claims(28)),
    "pause": (0x8808, "0001ffff" + "00" * 42, length(4)),
    "pause cut": (0x8808, "0001ff", claims(4)),
    "pause cut opcode": (0x8808, "00", WRONG),
    "pause opcode only": (0x8808, "0001", claims(4)),
    "pfc": (0x8808, "010100ff" + "ffff" * 8, length(20)),
    "pfc cut": (0x8808, "010100ff" + "ffff" * 7, claims(20)),
    "mpcp": (0x8808, "0002" + "00" * 44, OPAQUE),
    "ddp": (0x809B, "000d" + "00" * 11, length(13)),
    "ddp hops": (0x809B, "3c0d" + "00" * 11, length(13)),
    "ddp short": (0x809B, "000c" + "00" * 11, WRONG),
    "ddp cut": (0x809B, "000e" + "00" * 11, claims(14)),
    "ddp 1023": (0x809B, "03ff" + "00" * 11, claims(1023)),
    "ddp cut length": (0x809B, "000d", WRONG),
    "ddp length only": (0x809B, "000d00", claims(13)),
    "ddp phase 1, short header": (0x809B, "042001000802020400ff" + "00" * 40, OPAQUE),
    "ddp phase 1, long header": (0x809B, "ff2002000d" + "00" * 11, OPAQUE),
    "aarp": (0x80F3, "0001809b06040003" + "00" * 38, length(28)),
    "aarp cut": (0x80F3, "0001809b06040003" + "00" * 19, claims(28)),
    "aarp cut header": (0x80F3, "0001809b06", WRONG),
    "aarp lengths only": (0x80F3, "0001809b0604", claims(28)),
    "aarp token ring": (0x80F3, "0002809b08040003" + "00" * 38, OPAQUE),
    "aarp protocol length": (0x80F3, "0001809b06080003" + "00" * 38, OPAQUE),
    "ipx": (0x8137, IPX, length(30)),
    "ipx even": (0x8137, "ffff001f" + "00" * 28, length(31)),
    "ipx short": (0x8137, "ffff001d" + "00" * 26, WRONG),
    "ipx cut": (0x8137, "ffff001f" + "00" * 26, claims(31)),
    "ipx cut header": (0x8137, IPX[:-2], WRONG),
    "vlan": (0x8100, "00800800" + IP4, length(32)),
    "vlan cut tag": (0x8100, "008008", WRONG),
    "vlan cut": (0x8100, "00800800" + IP4[:-2], claims(32)),
    "vlan of the unknown": (0x8100, "00809999" + "00" * 50, OPAQUE),
    "vlan of a length": (0x8100, "00800003424203" + "00" * 40, length(7)),
    "qinq": (0x88A8, "000181000080" + "0800" + IP4, length(36)),
    "tag 9100": (0x9100, "00800800" + IP4, length(32)),
    "tag 9200": (0x9200, "00800800" + IP4, length(32)),
    "tag 9300": (0x9300, "00800800" + IP4, length(32)),
    "pbb": (0x88E7, "00000001" + "02" * 12 + "0800" + IP4, length(46)),
    "pbb wrong length inside": (0x88E7, "00000001" + "02" * 12 + "0800" + IP4[:-2], OPAQUE),
    "pbb wrong header inside": (0x88E7, "00000001" + "02" * 12 + "0800" + "6" + IP4[1:], OPAQUE),
    "pbb cut tag inside": (0x88E7, "00000001" + "02" * 12 + "810000", OPAQUE),
    "pbb cut": (0x88E7, "00000001" + "02" * 12 + "08", WRONG),
    "lacp": (0x8809, LACP, length(110)),
    "lacp cut": (0x8809, LACP[:-2], claims(110)),
    "lacp cut header": (0x8809, "01", WRONG),
    "lacp header only": (0x8809, "0101", claims(110)),
    "lacp version 2": (0x8809, "0102" + "00" * 108, OPAQUE),
    "marker": (0x8809, "0201" + "00" * 108, length(110)),
    "oam": (0x8809, "0301" + "00" * 44, OPAQUE),
    "subtype 0": (0x8809, "0001" + "00" * 110, OPAQUE),
    "lldp": (0x88CC, "0202044104020542060200780000" + "00" * 30, length(14)),
    "lldp end": (0x88CC, "0000", length(2)),
    "lldp no end": (0x88CC, "02020441", OPAQUE),
    "lldp odd byte": (0x88CC, "0202044100", OPAQUE),
    "lldp end with a value": (0x88CC, "0202044100010000", OPAQUE),
    "lldp end with a value of 256": (0x88CC, "0100" + "00" * 300, OPAQUE),
    "lldp overrun": (0x88CC, "02020441fe0501", claims(11)),
    "lldp overrun 511": (0x88CC, "03ff", claims(513)),
    "lldp cut header": (0x88CC, "02", WRONG),
    "pppoe session": (0x8864, "110000010004c0210101" + "00" * 36, length(10)),
    "pppoe empty": (0x8863, "11a700010000", length(6)),
    "pppoe cut header": (0x8863, "11a7000100", WRONG),
    "pppoe cut": (0x8864, "110000010005c0210101", claims(11)),
    "pppoe 65535": (0x8864, "11000001ffffc0210101", claims(65541)),
    "pppoe version 2": (0x8864, "210000010005c0210101", OPAQUE),
    "roce": (0x8915, GRH + "22" * 20, length(60)),
    "roce tail": (0x8915, GRH + "22" * 21, length(60)),
    "roce crc counted in": (0x8915, GRH + "22" * 16, OPAQUE),
    "roce crc cut": (0x8915, GRH + "22" * 19, OPAQUE),
    "roce cut": (0x8915, GRH + "22" * 15, claims(56)),
    "roce cut header": (0x8915, GRH[:-2], WRONG),
    "roce header only": (0x8915, GRH.replace("0010", "0000"), OPAQUE),
    "roce version": (0x8915, "4" + GRH[1:] + "22" * 20, OPAQUE),
    "stp": (0x0026, "424203" + "00" * 43, length(38)),
    "is-is": (0x0010, "fefe03" + "11" * 13, length(16)),
    "snap": (0x0024, "aaaa030000000800" + IP4, length(36)),
    "ipx raw": (0x001E, IPX + "00" * 16, length(30)),
    "length 0": (0x0000, "00" * 46, length(0)),
    "length of nothing": (0x0000, "", length(0)),
    "length cut": (0x0004, "424203", claims(4)),
    "length 1500": (0x05DC, "11" * 1500, length(1500)),
    "length 1500 cut": (0x05DC, "11" * 1499, claims(1500)),
    "length 1501": (0x05DD, "11" * 1501, length(1501)),
    "length 1501 cut": (0x05DD, "11" * 1500, OPAQUE),
    "length 1535": (0x05FF, "11" * 1600, length(1535)),
    "type 0600": (0x0600, "11" * 46, OPAQUE),
    "type 0600, large": (0x0600, "11" * 1600, OPAQUE),
    "type ffff": (0xFFFF, "", OPAQUE),
}


@pytest.mark.parametrize(("ethertype", "payload", "expected"), CASES.values(), ids=CASES)
def test_rows(ethertype: int, payload: str, expected: Frame) -> None:
    assert parse(frame(ethertype, payload)) == expected


@pytest.mark.parametrize("size", range(14))
def test_no_header(size: int) -> None:
    assert parse(bytes(size)) == WRONG


@pytest.mark.parametrize(("tags", "expected"), [(15, length(88)), (16, OPAQUE), (200, OPAQUE)])
def test_nested_tags(tags: int, expected: Frame) -> None:
    assert parse(frame(0x8100, "00018100" * (tags - 1) + "00010800" + IP4)) == expected

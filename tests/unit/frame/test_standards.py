# SPDX-License-Identifier: GPL-2.0
"""The rows that the specification does not have, each against its standard."""

from __future__ import annotations

import pytest

from tests.unit.frame.framekit import IP4, IP6, OPAQUE, Cases, claims, frame, length
from toolkit.frame.library import Frame, parse

ZEROS = "00" * 46
MAC = "020000000001"
PTP = "1b02002c" + "00" * 40
GOOSE = "0001000c00000000" + "61028001"
CCM = "00010146" + "11" * 70
MESH_UNICAST = "400f4001" + MAC
MESH_BROADCAST = "010f3200" + "00000007" + MAC
MESH_4ADDR = "420f4001" + MAC + MAC + "0100"
INNER = MAC * 2
TRILL = "003e" + "00010002"
NSH1 = "0fc60101" + "00" * 20  # MD type 1, 6 words, IPv4 next


# RFC 3032, RFC 5332
MPLS: Cases = {
    "ipv4": (0x8847, "00010140" + IP4, length(32)),
    "multicast": (0x8848, "00010140" + IP4, length(32)),
    "ipv4 tail": (0x8847, "00010140" + IP4 + "00" * 40, length(32)),
    "three labels": (0x8847, "00010040" * 2 + "00010140" + IP4, length(40)),
    "16 labels": (0x8847, "00010040" * 15 + "00010140" + IP4, length(92)),
    "17 labels": (0x8847, "00010040" * 16 + "00010140" + IP4, OPAQUE),
    "ipv4 checksum": (0x8847, "00010140" + IP4.replace("ad48", "ad47"), OPAQUE),
    "ipv4 cut": (0x8847, "00010140" + IP4[:-2], OPAQUE),
    "ipv4 cut header": (0x8847, "00010140" + IP4[:38], OPAQUE),
    "ipv4 ihl 0": (0x8847, "00010140" + "40" + "00" * 40, OPAQUE),
    # Header words that add up to ffff, with a header length that is too short
    "ipv4 ihl 4": (0x8847, "00010140" + "4400bbff" + "00" * 40, OPAQUE),
    "ipv6": (0x8847, "00010140" + IP6, length(48)),
    "ipv6 padded": (0x8847, "00010140" + IP6 + "00" * 15, length(48)),
    "ipv6 tail": (0x8847, "00010140" + IP6 + "00" * 16, OPAQUE),
    "ipv6 cut": (0x8847, "00010140" + IP6[:-2], OPAQUE),
    "ipv6 cut header": (0x8847, "00010140" + IP6[:78], OPAQUE),
    "ipv6 length 0": (0x8847, "00010140" + "600000000000" + "11" * 34, OPAQUE),
    "pseudowire": (0x8847, "00010140" + "00000000" + INNER + "0800" + IP4, OPAQUE),
    "pseudowire, no control word": (0x8847, "00010140" + "45" + INNER + "0800" + IP4, OPAQUE),
    "no bottom": (0x8847, "00010040" * 3, OPAQUE),
    "cut label": (0x8847, "000101", OPAQUE),
    "nothing below": (0x8847, "00010140", OPAQUE),
    "zeros": (0x8847, ZEROS, OPAQUE),
}

# IEEE 802.1X 11.3
EAPOL: Cases = {
    "start": (0x888E, "01010000", length(4)),
    "start padded": (0x888E, "02010000" + "00" * 42, length(4)),
    "identity": (0x888E, "030000050101000501", length(9)),
    "preauthentication": (0x88C7, "01010000", length(4)),
    "cut": (0x888E, "0100000501010005", claims(9)),
    "65535": (0x888E, "0100ffff01010005", claims(65539)),
    "version 0": (0x888E, "00000005", OPAQUE),
    "version 4": (0x888E, "04000005", OPAQUE),
    "cut header": (0x888E, "010000", OPAQUE),
    "zeros": (0x888E, ZEROS, OPAQUE),
}

# IEEE 1588 13.3
PTP_CASES: Cases = {
    "sync": (0x88F7, PTP, length(44)),
    "sync padded": (0x88F7, PTP + "0000", length(44)),
    "minor version": (0x88F7, PTP.replace("1b02", "1b12"), length(44)),
    "cut": (0x88F7, PTP[:-2], claims(44)),
    "header only": (0x88F7, "0c020022" + "00" * 30, length(34)),
    "length only": (0x88F7, "0002002c", claims(44)),
    "version 3": (0x88F7, PTP.replace("1b02", "1b03"), OPAQUE),
    "below its header": (0x88F7, "0c020021" + "00" * 30, OPAQUE),
    "version 1": (0x88F7, PTP.replace("1b02", "1b01"), OPAQUE),
    "cut header": (0x88F7, "1b0200", OPAQUE),
    "zeros": (0x88F7, ZEROS, OPAQUE),
}

# IEC 61850-8-1 annex C, IEC 61850-9-2
IEC61850: Cases = {
    "goose": (0x88B8, GOOSE, length(12)),
    "goose padded": (0x88B8, GOOSE + "00" * 34, length(12)),
    "goose signed": (0x88B8, GOOSE + "11" * 34, length(12)),
    "goose cut": (0x88B8, GOOSE[:-2], claims(12)),
    "goose below its header": (0x88B8, GOOSE.replace("000c", "0008"), OPAQUE),
    "goose shortest": (0x88B8, "0001000900000000" + "61", length(9)),
    "goose tag": (0x88B8, GOOSE.replace("61", "60"), OPAQUE),
    "goose cut header": (0x88B8, GOOSE[:16], OPAQUE),
    "sampled values": (0x88BA, GOOSE.replace("61", "60"), length(12)),
    "sampled values tag": (0x88BA, GOOSE, OPAQUE),
    "zeros": (0x88B8, ZEROS, OPAQUE),
}

# IEC 61158-4-12: the header counts what is behind it, in little endian
ETHERCAT: Cases = {
    "datagram": (0x88A4, "0e10" + "01" * 14, length(16)),
    "datagram padded": (0x88A4, "0e10" + "01" * 14 + "00" * 30, length(16)),
    "2047": (0x88A4, "ff17" + "01" * 2047, length(2049)),
    "reserved bit": (0x88A4, "0e18" + "01" * 14, length(16)),
    "shortest": (0x88A4, "0c10" + "01" * 12, length(14)),
    "header only": (0x88A4, "0c10", claims(14)),
    "cut": (0x88A4, "0e10" + "01" * 13, claims(16)),
    "no datagram": (0x88A4, "0b10" + "01" * 14, OPAQUE),
    "mailbox": (0x88A4, "0e50" + "01" * 14, OPAQUE),
    "cut header": (0x88A4, "0e", OPAQUE),
    "zeros": (0x88A4, ZEROS, OPAQUE),
}

# IEEE 802.1Q 21.4, ITU-T Y.1731 9.1
CFM: Cases = {
    "ccm": (0x8902, CCM + "00", length(75)),
    "ccm padded": (0x8902, CCM + "00" * 20, length(75)),
    "ccm with tlvs": (0x8902, CCM + "02000102" + "04000102" + "00", length(83)),
    "ais": (0x8902, "e02100" + "00" + "00", length(5)),
    "empty tlv": (0x8902, "00030004" + "00000001" + "030000" + "00", length(12)),
    "no end": (0x8902, CCM, OPAQUE),
    "no end behind a tlv": (0x8902, CCM + "02000102", OPAQUE),
    "tlv overrun": (0x8902, CCM + "02000302" + "0000", OPAQUE),
    "tlv of 65535": (0x8902, CCM + "02ffff02" + "0000", OPAQUE),
    "cut tlv header": (0x8902, CCM + "0200", OPAQUE),
    "cut header": (0x8902, "000101", OPAQUE),
    "opcode 0": (0x8902, ZEROS, OPAQUE),
}

# include/uapi/linux/batadv_packet.h
BATMAN: Cases = {
    "unicast": (0x4305, MESH_UNICAST + INNER + "0800" + IP4, length(10 + 14 + 28)),
    "broadcast": (0x4305, MESH_BROADCAST + INNER + "0800" + IP4, length(14 + 14 + 28)),
    "four addresses": (0x4305, MESH_4ADDR + INNER + "0800" + IP4, length(18 + 14 + 28)),
    "vlan": (0x4305, MESH_UNICAST + INNER + "810000010800" + IP4 + "0000", length(56)),
    "unknown inside": (0x4305, MESH_UNICAST + INNER + "9999" + ZEROS, OPAQUE),
    "malformed inside": (0x4305, MESH_UNICAST + INNER + "0800" + IP4[:-2], OPAQUE),
    "cut tag inside": (0x4305, MESH_UNICAST + INNER + "81000001", OPAQUE),
    "cut frame inside": (0x4305, MESH_UNICAST + INNER + "08", OPAQUE),
    "originator message": (0x4305, "000f3200" + "00" * 24, OPAQUE),
    "version 14": (0x4305, MESH_UNICAST.replace("0f", "0e") + INNER + "0800" + IP4, OPAQUE),
    "cut header": (0x4305, "40", OPAQUE),
    "zeros": (0x4305, ZEROS, OPAQUE),
}

# RFC 6325 3, 4.1
TRILL_CASES: Cases = {
    "vlan": (0x22F3, TRILL + INNER + "810000010800" + IP4, length(6 + 18 + 28)),
    "one option": (0x22F3, "007e00010002" + "00" * 4 + INNER + "810000010800" + IP4, length(56)),
    "31 options": (0x22F3, "07fe00010002" + "00" * 124 + INNER + "810000010800" + IP4, length(176)),
    "no vlan": (0x22F3, TRILL + INNER + "0800" + IP4, OPAQUE),
    "reserved bits": (0x22F3, "303e00010002" + INNER + "810000010800" + IP4, length(52)),
    "malformed inside": (0x22F3, TRILL + INNER + "810000010800" + IP4[:-2], OPAQUE),
    "version 1": (0x22F3, "403e00010002" + INNER + "810000010800" + IP4, OPAQUE),
    "cut frame inside": (0x22F3, TRILL + INNER, OPAQUE),
    "cut header": (0x22F3, TRILL[:-2], OPAQUE),
    "zeros": (0x22F3, ZEROS, OPAQUE),
}

# RFC 8300 2.2
NSH: Cases = {
    "ipv4": (0x894F, NSH1 + IP4, length(52)),
    "ipv6": (0x894F, "0fc20202" + "00" * 4 + IP6, length(52)),
    "ethernet": (0x894F, "0fc20203" + "00" * 4 + INNER + "0800" + IP4, length(50)),
    "nsh": (0x894F, "0fc20204" + "00" * 4 + NSH1 + IP4, length(60)),
    "mpls": (0x894F, "0fc20205" + "00" * 4 + "00010140" + IP4, length(40)),
    "next protocol 6": (0x894F, "0fc20206" + "00" * 4 + IP4, OPAQUE),
    "three words": (0x894F, "0fc30201" + "00" * 8 + IP4, length(40)),
    "OAM bit": (0x894F, "2fc20201" + "00" * 4 + IP4, length(36)),
    "malformed inside": (0x894F, NSH1 + IP4[:-2], OPAQUE),
    "header cut inside": (0x894F, NSH1 + "45", OPAQUE),
    "header behind the end": (0x894F, "0fff0201" + "00" * 40, OPAQUE),
    "length 1": (0x894F, "0fc10201" + "00" * 4 + IP4, OPAQUE),
    "version 1": (0x894F, "4fc20201" + "00" * 4 + IP4, OPAQUE),
    "cut header": (0x894F, "0fc20201" + "00" * 3, OPAQUE),
    "17 headers": (0x894F, ("0fc20204" + "00" * 4) * 16 + NSH1 + IP4, OPAQUE),
    "zeros": (0x894F, ZEROS, OPAQUE),
}

# No length in the frame. A SecureOn password of zeros (0, 4 or 6 bytes behind the 16 addresses)
# can't be told from padding; a loopback message (Ethernet 2.0, 8) runs up to the frame's end.
NONE: Cases = {
    "wake-on-lan": (0x0842, "ff" * 6 + MAC * 16, OPAQUE),
    "wake-on-lan password": (0x0842, "ff" * 6 + MAC * 16 + "00" * 6, OPAQUE),
    "loopback": (0x9000, "0000" + "0100" + "0000" + "00" * 40, OPAQUE),
    "macsec": (0x88E5, "2c00" + "00000001" + "11" * 40, OPAQUE),
}

GROUPS = {
    "mpls": MPLS,
    "eapol": EAPOL,
    "ptp": PTP_CASES,
    "iec61850": IEC61850,
    "ethercat": ETHERCAT,
    "cfm": CFM,
    "batman": BATMAN,
    "trill": TRILL_CASES,
    "nsh": NSH,
    "none": NONE,
}
CASES = {
    f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()
}


@pytest.mark.parametrize(("ethertype", "payload", "expected"), CASES.values(), ids=CASES)
def test_rows(ethertype: int, payload: str, expected: Frame) -> None:
    assert parse(frame(ethertype, payload)) == expected


@pytest.mark.parametrize("ethertype", [0x0842, 0x22F3, 0x4305, 0x8847, 0x888E, 0x88A4, 0x88B8])
def test_no_payload_is_no_contradiction(ethertype: int) -> None:
    assert parse(frame(ethertype, "")) == OPAQUE

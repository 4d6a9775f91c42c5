# SPDX-License-Identifier: GPL-2.0
"""Frames made with scapy: an implementation that does not share our reading of the standards."""

from __future__ import annotations

import logging
from typing import Any

from scapy.contrib.aoe import AOE
from scapy.contrib.cdp import CDPMsgDeviceID, CDPv2_HDR
from scapy.contrib.ethercat import EtherCat, EtherCatLRD
from scapy.contrib.isis import ISIS_CommonHdr, ISIS_L1_LAN_Hello
from scapy.contrib.lacp import LACP, MarkerProtocol, SlowProtocol
from scapy.contrib.lldp import (
    LLDPDUChassisID,
    LLDPDUEndOfLLDPDU,
    LLDPDUPortID,
    LLDPDUSystemName,
    LLDPDUTimeToLive,
)
from scapy.contrib.mac_control import (
    MACControlClassBasedFlowControl,
    MACControlGate,
    MACControlPause,
)
from scapy.contrib.mpls import MPLS, EoMCW
from scapy.contrib.nsh import NSH
from scapy.contrib.oam import OAM
from scapy.contrib.ptp_v2 import PTP
from scapy.contrib.roce import BTH, GRH
from scapy.layers.eap import EAP, EAPOL
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import (
    ARP,
    GRE,
    LLC,
    SNAP,
    STP,
    Dot1AD,
    Dot1AH,
    Dot1Q,
    Dot3,
    Ether,
)
from scapy.layers.ppp import PPP, PPPoE, PPPoED, PPPoETag

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

HERE = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}


def ether(**fields: Any) -> Any:
    return Ether(**HERE, **fields)


def dot3() -> Any:
    return Dot3(**HERE)


def with_length() -> dict[str, tuple[bytes, int]]:
    """Frames that have a length, by name: the bytes, and how many of them are padding."""
    frames: dict[str, tuple[Any, int]] = {
        "ipv4 udp": (ether() / IP() / UDP() / b"xyz", 0),
        "ipv4 options": (ether() / IP(options=[IPOption_NOP()] * 4) / TCP(), 0),
        "gre": (ether() / IP() / GRE() / b"q", 0),
        "ipv6": (ether() / IPv6(src="2001:db8::1") / UDP() / b"x", 0),
        "ipv6 hop-by-hop": (ether() / IPv6(src="2001:db8::1") / IPv6ExtHdrHopByHop() / UDP(), 0),
        "arp": (ether() / ARP(psrc="192.0.2.1"), 0),
        "dot1q": (ether() / Dot1Q(vlan=3) / ARP(psrc="192.0.2.1"), 0),
        "dot1q dot3": (ether() / Dot1Q(vlan=3, type=38) / LLC() / STP(), 0),
        "dot1ad": (ether() / Dot1AD(vlan=3) / Dot1Q(vlan=4) / IP() / UDP() / b"x", 0),
        "dot1ah": (ether() / Dot1AD() / Dot1AH() / ether() / IP() / UDP(), 0),
        "lacp": (ether() / SlowProtocol() / LACP(), 0),
        "marker": (ether() / SlowProtocol() / MarkerProtocol(), 0),
        "pause": (ether() / MACControlPause(pause_time=9), 42),
        "pfc": (ether() / MACControlClassBasedFlowControl(), 26),
        "lldp": (
            ether()
            / LLDPDUChassisID(subtype=4, id=b"\2\0\0\0\0\1")
            / LLDPDUPortID(subtype=7, id=b"1")
            / LLDPDUTimeToLive(ttl=120)
            / LLDPDUSystemName(system_name=b"switch")
            / LLDPDUEndOfLLDPDU(),
            19,
        ),
        "pppoe": (ether() / PPPoE() / PPP() / IP() / ICMP(), 0),
        "padi": (ether() / PPPoED() / PPPoETag(tag_type=0x103, tag_value=b"x"), 0),
        "stp": (dot3() / LLC() / STP(), 0),
        "snap": (dot3() / LLC() / SNAP() / IP() / UDP(), 0),
        "cdp": (dot3() / LLC() / SNAP() / CDPv2_HDR(msg=[CDPMsgDeviceID(val=b"x")]), 0),
        "is-is": (dot3() / LLC() / ISIS_CommonHdr() / ISIS_L1_LAN_Hello(circuittype=1), 0),
        "roce": (ether() / GRH(paylen=16) / BTH() / b"abcd", 0),
        "mpls ipv4": (ether() / MPLS(label=16) / MPLS(label=17) / IP() / ICMP() / b"x", 0),
        "mpls ipv6": (ether() / MPLS(label=16) / IPv6(src="2001:db8::1") / UDP() / b"x", 0),
        "eapol eap": (ether() / EAPOL() / EAP(code=1, type=1), 0),
        "eapol start": (ether() / EAPOL(version=2, type=1), 0),
        "ptp": (ether(type=0x88F7) / PTP(), 0),
        "ethercat": (ether() / EtherCat() / EtherCatLRD(data=[1, 2, 3]), 29),
        "ccm": (ether(type=0x8902) / OAM(opcode=1), 0),
        "lbm": (ether(type=0x8902) / OAM(opcode=3), 0),
        "dmm": (ether(type=0x8902) / OAM(opcode=47), 0),
        "nsh": (ether() / NSH() / ether() / IP(), 0),
    }
    return {name: (bytes(packet), padding) for name, (packet, padding) in frames.items()}


def opaque() -> dict[str, bytes]:
    """Frames that have no length, by name."""
    frames: dict[str, Any] = {
        "aoe": ether() / AOE(),
        "gate": ether() / MACControlGate(),
        "pseudowire": ether() / MPLS(label=16) / EoMCW() / ether() / IP(),
        "roce crc counted in": ether() / GRH(paylen=20) / BTH() / b"abcd",
    }
    return {name: bytes(packet) for name, packet in frames.items()}

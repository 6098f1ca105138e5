"""What a queue reads and writes in packets: congestion marks, and which flow a packet is of."""

from __future__ import annotations

from typing import Final

from plankroad.wire.checksum import update
from plankroad.wire.constants import PROTO_TCP, PROTO_UDP
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv6 import parse_ipv6
from plankroad.wire.packet import Packet

#: The Ethernet header, which an MTU does not count, and that of one 802.1Q tag.
ETHERNET_HEADER: Final = 14
VLAN_TAG: Final = 4

#: RFC 3168 section 5: the two bits of the traffic class that tell of congestion.
ECN_MASK: Final = 0x03
ECN_CE: Final = 0x03

#: The protocols whose first 4 bytes are ports: TCP, UDP, DCCP (RFC 4340), SCTP (RFC 9260), UDP-Lite (RFC 3828).
PORTS: Final = (PROTO_TCP, PROTO_UDP, 33, 132, 136)


def frame_header(frame: bytes) -> int:
    """The bytes of Ethernet header, tags included."""
    length = ETHERNET_HEADER
    while len(frame) >= length and (frame[length - 2] << 8 | frame[length - 1]) in (0x8100, 0x88A8):
        length += VLAN_TAG
    return length


def ip_start(head: bytes, ethernet: bool) -> int:
    """Where the IP header begins; -1 where there is none, or too little of it."""
    start = 0
    if ethernet:
        start = frame_header(head)
        if len(head) < start or (head[start - 2] << 8 | head[start - 1]) not in (0x0800, 0x86DD):
            return -1
    return start if len(head) >= start + 20 else -1


def mark_ce(packet: Packet, start: int) -> bool:
    """Set congestion experienced in an IP packet whose sender takes part (RFC 3168 section 5); False otherwise."""
    head = packet.head
    old = head[start] << 8 | head[start + 1]
    version = old >> 12
    if version == 4:
        if old & ECN_MASK == 0:
            return False
        new = old | ECN_CE
        check = update(head[start + 10] << 8 | head[start + 11], old, new)
        packet.head = (
            head[:start]
            + new.to_bytes(2, "big")
            + head[start + 2 : start + 10]
            + check.to_bytes(2, "big")
            + head[start + 12 :]
        )
        return True
    # RFC 8200 section 3: the traffic class lies 4 bits after the start.
    if version == 6 and (old >> 4) & ECN_MASK:
        packet.head = head[:start] + (old | ECN_CE << 4).to_bytes(2, "big") + head[start + 2 :]
        return True
    return False


def flow_key(head: bytes, start: int) -> bytes:
    """Bytes that are equal for packets of one flow: addresses, protocol and ports (RFC 8290 section 4.1.1).

    Fragments have no ports: those of one datagram stay together. What is no IP packet (`start` -1) goes by its first 14
    bytes: on Ethernet the addresses and the type.
    """
    if start < 0:
        return head[:14]
    version = head[start] >> 4
    if version == 4:
        addresses = head[start + 12 : start + 20]
        protocol = head[start + 9]
        # RFC 791 section 3.1: more fragments, or an offset.
        fragment = (head[start + 6] << 8 | head[start + 7]) & 0x3FFF != 0
        upper = start + ((head[start] & 15) << 2)
    elif version == 6 and len(head) >= start + 40:
        addresses = head[start + 8 : start + 40]
        protocol = head[start + 6]
        fragment = False
        upper = start + 40
        if protocol not in PORTS:
            # Behind extension headers: rare enough to be read in full.
            try:
                whole = parse_ipv6(head, start)
            except BadPacket:
                return addresses
            protocol = whole.protocol
            fragment = whole.fragmented
            upper = whole.payload_start
    else:
        return head[start : start + 14]
    key = addresses + protocol.to_bytes(1, "big")
    if fragment or protocol not in PORTS:
        return key
    return key + head[upper : upper + 4]

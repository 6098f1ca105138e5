"""Super-segments cut into the segments they stand for: only where a router has to fragment each of those.

Everywhere else this is a link's work (`link.segmentation`), which is below this room.
"""

from __future__ import annotations

from plankroad.wire.checksum import checksum, pseudo_sum
from plankroad.wire.constants import PROTO_TCP, PROTO_UDP
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.packet import GSO_TCPV4, GSO_UDP_L4, Packet
from plankroad.wire.segment import CWR, FIN, PSH


def resegment(packet: Packet) -> list[Packet]:
    """The IPv4 packets that a super-segment stands for, checksums complete; a list of itself for other packets."""
    size = packet.gso_size
    if packet.gso_type not in (GSO_TCPV4, GSO_UDP_L4) or size <= 0:
        return [packet]
    buf = packet.to_bytes()
    header = parse_ipv4(buf)
    start = header.payload_start
    end = header.payload_end
    tcp = packet.gso_type == GSO_TCPV4
    body = start + (buf[start + 12] >> 4 << 2 if tcp else 8)
    pieces: list[Packet] = []
    ident = header.ident
    for at in range(body, end, size):
        data = buf[at : min(at + size, end)]
        last = at + size >= end
        if tcp:
            transport = tcp_header(buf[start:body], at - body, at == body, last)
            protocol = PROTO_TCP
        else:
            transport = buf[start : start + 4] + (8 + len(data)).to_bytes(2, "big") + b"\0\0"
            protocol = PROTO_UDP
        field = 16 if tcp else 6
        length = len(transport) + len(data)
        value = checksum(transport + data, pseudo_sum(header.src, header.dst, protocol, length))
        if value == 0 and not tcp:
            value = 0xFFFF
        transport = transport[:field] + value.to_bytes(2, "big") + transport[field + 2 :]
        pieces.append(Packet(ip_header(buf[:start], start + length, ident) + transport + data))
        ident = ident + 1 & 0xFFFF
    return pieces


def tcp_header(head: bytes, offset: int, first: bool, last: bool) -> bytes:
    """The TCP header of the segment at `offset` of the payload; its checksum field is 0.

    FIN and PSH belong to the last segment, CWR to the first (RFC 3168 section 6.1.2).
    """
    seq = (int.from_bytes(head[4:8], "big") + offset) & 0xFFFFFFFF
    flags = head[13]
    if not last:
        flags &= ~(FIN | PSH)
    if not first:
        flags &= ~CWR
    return head[:4] + seq.to_bytes(4, "big") + head[8:13] + bytes((flags,)) + head[14:16] + b"\0\0" + head[18:]


def ip_header(head: bytes, total_length: int, ident: int) -> bytes:
    """The IPv4 header with another length and identification."""
    out = head[:2] + total_length.to_bytes(2, "big") + ident.to_bytes(2, "big") + head[6:10] + b"\0\0" + head[12:]
    return out[:10] + checksum(out).to_bytes(2, "big") + out[12:]

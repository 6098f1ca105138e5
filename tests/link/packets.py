"""Packets for the tests of links, put together by `wire`, one header at a time."""

from __future__ import annotations

from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet
from plankroad.wire.segment import ACK, CWR, FIN, PSH, URG, Segment
from plankroad.wire.tcp import build_tcp
from plankroad.wire.udp import build_udp

SRC4 = bytes((10, 0, 0, 1))
DST4 = bytes((10, 0, 0, 2))
SRC6 = bytes.fromhex("fd000000000000000000000000000001")
DST6 = bytes.fromhex("fd000000000000000000000000000002")
MAC_A = b"\x02\0\0\0\0\x0a"
MAC_B = b"\x02\0\0\0\0\x0b"


def pattern(length: int, start: int = 0) -> bytes:
    """Bytes in which no two neighbouring 16-bit words are equal."""
    return bytes((i * 7 + (i >> 8) * 13 + start) & 0xFF for i in range(length))


def frame(version: int, vlans: list[tuple[int, int]] | None) -> bytes:
    """The Ethernet header of an IP packet, with tags where there are some."""
    return build_ethernet(MAC_B, MAC_A, 0x0800 if version == 4 else 0x86DD, vlans or [])


def ip(version: int, protocol: int, length: int, ident: int = 1, tos: int = 0, dont_fragment: bool = True) -> bytes:
    """An IPv4 or IPv6 header."""
    if version == 4:
        return build_ipv4(SRC4, DST4, protocol, length, tos=tos, ident=ident, dont_fragment=dont_fragment)
    return build_ipv6(SRC6, DST6, protocol, length, traffic_class=tos, flow_label=0x12345)


def addresses(version: int) -> tuple[bytes, bytes]:
    return (SRC4, DST4) if version == 4 else (SRC6, DST6)


def tcp_segment(seq: int, flags: int, payload: bytes, timestamps: bool = False, urgent: int = 0) -> Segment:
    made = Segment(40000, 80, seq, 0x01020304, flags, 501, payload)
    made.urgent = urgent
    if timestamps:
        made.has_ts = True
        made.ts_val = 0x11223344
        made.ts_ecr = 0x55667788
    return made


def tcp_packet(
    version: int, seg: Segment, ident: int = 1, link_header: bytes = b"", dont_fragment: bool = True
) -> bytes:
    """The whole packet of one segment."""
    src, dst = addresses(version)
    header = build_tcp(seg, src, dst)
    length = len(header) + len(seg.payload)
    return link_header + ip(version, 6, length, ident, seg.tos, dont_fragment) + header + seg.payload


def tcp_super(
    version: int, seg: Segment, size: int, ident: int = 1, link_header: bytes = b"", dont_fragment: bool = True
) -> Packet:
    """A super-segment as a stack hands it to a link: headers and payload apart, checksum partial."""
    src, dst = addresses(version)
    header = build_tcp(seg, src, dst, partial=True)
    network = link_header + ip(version, 6, len(header) + len(seg.payload), ident, seg.tos, dont_fragment)
    gso_type = GSO_TCPV4 if version == 4 else GSO_TCPV6
    return Packet(network + header, seg.payload, 0, gso_type, size, len(network), 16)


def tcp_parts(
    version: int, seg: Segment, size: int, ident: int = 1, link_header: bytes = b"", dont_fragment: bool = True
) -> list[bytes]:
    """What must leave when `tcp_super` of the same arguments is cut, each part built anew from its fields."""
    parts = []
    data = seg.payload
    for number, start in enumerate(range(0, max(len(data), 1), size)):
        flags = seg.flags
        if start + size < len(data):
            flags &= ~(FIN | PSH)
        if start:
            flags &= ~CWR
        urgent = seg.urgent - start if flags & URG else 0
        if urgent <= 0:
            flags &= ~URG
            urgent = 0
        part = Segment(
            seg.src_port,
            seg.dst_port,
            (seg.seq + start) & 0xFFFFFFFF,
            seg.ack,
            flags,
            seg.wnd,
            data[start : start + size],
        )
        part.urgent, part.tos = urgent, seg.tos
        part.has_ts, part.ts_val, part.ts_ecr = seg.has_ts, seg.ts_val, seg.ts_ecr
        parts.append(tcp_packet(version, part, (ident + number) & 0xFFFF, link_header, dont_fragment))
    return parts


def udp_packet(version: int, payload: bytes, ident: int = 1, link_header: bytes = b"", port: int = 7) -> bytes:
    """A whole datagram."""
    src, dst = addresses(version)
    header = build_udp(src, dst, 40000, port, payload)
    return link_header + ip(version, 17, 8 + len(payload), ident) + header + payload


def udp_super(
    version: int, payload: bytes, size: int, ident: int = 1, link_header: bytes = b"", port: int = 7
) -> Packet:
    """Datagrams in one piece, as a stack hands them to a link."""
    src, dst = addresses(version)
    network = link_header + ip(version, 17, 8 + len(payload), ident)
    header = build_udp(src, dst, 40000, port, payload, partial=True)
    return Packet(network + header, payload, 0, GSO_UDP_L4, size, len(network), 6)


def plain_data(payload: bytes, seq: int = 1000) -> bytes:
    """A TCPv4 data segment, for tests that need just some packet."""
    return tcp_packet(4, tcp_segment(seq, ACK, payload))

"""Bytes through every parser that they lead to, as a stack would read them: for tests with any bytes, and fuzzers."""

from __future__ import annotations

from plankroad.wire.arp import parse_arp
from plankroad.wire.constants import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP
from plankroad.wire.ethernet import parse_ethernet
from plankroad.wire.icmp import parse_icmp
from plankroad.wire.icmpv6 import parse_icmpv6
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv4_options import parse_options
from plankroad.wire.ipv6 import parse_ipv6, parse_routing
from plankroad.wire.ipv6_options import parse_ipv6_options
from plankroad.wire.ndp import parse_ndp
from plankroad.wire.quoted import parse_quoted
from plankroad.wire.tcp import parse_tcp, tcp_checksum_ok
from plankroad.wire.udp import parse_udp, udp_checksum_ok


def read_frame(buf: bytes) -> None:
    """A frame through every layer there is, as a stack would; raises BadPacket or nothing."""
    frame = parse_ethernet(buf)
    assert 14 <= frame.payload_start <= frame.payload_end <= len(buf)
    if frame.ethertype == 0x0806:
        parse_arp(buf, frame.payload_start)
    elif frame.ethertype == 0x0800:
        read_ipv4(buf, frame.payload_start)
    elif frame.ethertype == 0x86DD:
        read_ipv6(buf, frame.payload_start)


def read_ipv4(buf: bytes, offset: int) -> None:
    h = parse_ipv4(buf, offset)
    assert offset + 20 <= h.payload_start <= h.payload_end <= len(buf)
    assert len(h.options) == h.header_length - 20
    parse_options(h.options)
    read_transport(buf, h.payload_start, h.payload_end, h.protocol, h.src, h.dst, h.ttl)


def read_ipv6(buf: bytes, offset: int) -> None:
    h = parse_ipv6(buf, offset)
    assert offset + 40 <= h.payload_start <= h.payload_end <= len(buf)
    assert buf[h.protocol_offset] == h.protocol
    at = offset + 40
    for kind, start, end in h.extensions:
        assert start == at < end
        at = end
        if kind in (0, 60):
            parse_ipv6_options(buf, start, end)
        elif kind == 43:
            parse_routing(buf, start, end)
    assert at == h.payload_start
    if not h.fragmented:
        read_transport(buf, h.payload_start, h.payload_end, h.protocol, h.src, h.dst, h.hop_limit)


def read_transport(buf: bytes, start: int, end: int, protocol: int, src: bytes, dst: bytes, hops: int) -> None:
    if protocol == PROTO_TCP:
        tcp_checksum_ok(buf, start, end, src, dst)
        seg = parse_tcp(buf, start, end)
        assert len(seg.payload) <= end - start - 20
        assert len(seg.sack) <= 4
    elif protocol == PROTO_UDP:
        udp_checksum_ok(buf, start, end, src, dst)
        assert len(parse_udp(buf, start, end).payload) <= end - start - 8
    elif protocol == PROTO_ICMP:
        message = parse_icmp(buf, start, end)
        parse_quoted(message.body)
    elif protocol == PROTO_ICMPV6:
        message = parse_icmpv6(buf, start, end, src, dst)
        if message.type >= 128:
            parse_ndp(message, src, dst, hops)
        else:
            parse_quoted(message.body)

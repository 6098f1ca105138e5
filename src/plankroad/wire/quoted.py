"""The packet that an ICMP error quotes: enough of it to find whom the error is for.

A quote may end anywhere behind the IP header (RFC 792: 8 bytes of data; RFC 1812 section 4.3.2.3 and RFC 4443: as
much as fits), its checksum may be out of date by the hops it went, so neither is asked for.
"""

from __future__ import annotations

from plankroad.wire.constants import (
    PROTO_FRAGMENT,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_NO_NEXT,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
    PROTO_UDPLITE,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv6 import MAX_EXTENSION_HEADERS, is_extension_header


class Quoted:
    """The addresses and the transport's identity of a quoted packet, which is one that we sent.

    `src_port`, `dst_port`, `seq` (TCP), `icmp_type`, `icmp_ident`, `icmp_seq` (echo messages) are -1 where the quote
    does not hold them. `total_length` is what the quoted IP header claims, all headers included.
    `transport_start` is the offset of the transport header, -1 where it is not in the quote: in a later fragment too.
    `ident` is the IPv4 identification, or that of the IPv6 fragment header; 0 without.
    """

    __slots__ = (
        "dst",
        "dst_port",
        "icmp_ident",
        "icmp_seq",
        "icmp_type",
        "ident",
        "protocol",
        "seq",
        "src",
        "src_port",
        "total_length",
        "transport_start",
        "version",
    )

    def __init__(self, version: int, protocol: int, src: bytes, dst: bytes, total_length: int) -> None:
        self.version = version
        self.protocol = protocol
        self.src = src
        self.dst = dst
        self.total_length = total_length
        self.ident: int = 0
        self.transport_start: int = -1
        self.src_port: int = -1
        self.dst_port: int = -1
        self.seq: int = -1
        self.icmp_type: int = -1
        self.icmp_ident: int = -1
        self.icmp_seq: int = -1


def parse_quoted(buf: bytes, start: int = 0, end: int = -1) -> Quoted:
    """The packet quoted in `buf[start:end]` (the body of an ICMP error); `end` -1 is the end of `buf`.

    Raises BadPacket unless there is a whole IP header. A transport header may be cut short or missing.
    """
    if end < 0:
        end = len(buf)
    if start < 0 or end > len(buf) or start >= end:
        raise BadPacket("ICMP error quotes nothing")
    version = buf[start] >> 4
    if version == 4:
        return _parse_quoted4(buf, start, end)
    if version == 6:
        return _parse_quoted6(buf, start, end)
    raise BadPacket("ICMP error quotes no IP packet")


def _parse_quoted4(buf: bytes, start: int, end: int) -> Quoted:
    header_length = (buf[start] & 15) << 2
    if header_length < 20 or start + header_length > end:
        raise BadPacket("quoted IPv4 header is truncated")
    quoted = Quoted(
        4,
        buf[start + 9],
        buf[start + 12 : start + 16],
        buf[start + 16 : start + 20],
        buf[start + 2] << 8 | buf[start + 3],
    )
    quoted.ident = buf[start + 4] << 8 | buf[start + 5]
    if buf[start + 6] & 0x1F == 0 and buf[start + 7] == 0:
        _find_transport(buf, start + header_length, end, quoted)
    return quoted


def _parse_quoted6(buf: bytes, start: int, end: int) -> Quoted:
    if end - start < 40:
        raise BadPacket("quoted IPv6 header is truncated")
    quoted = Quoted(
        6,
        buf[start + 6],
        buf[start + 8 : start + 24],
        buf[start + 24 : start + 40],
        40 + (buf[start + 4] << 8 | buf[start + 5]),
    )
    kind = quoted.protocol
    at = start + 40
    # A quote that ends within the chain leaves the type of the header that is cut short as its protocol.
    for _ in range(MAX_EXTENSION_HEADERS):
        if not is_extension_header(kind) or at + 8 > end:
            break
        if kind == PROTO_FRAGMENT:
            quoted.ident = buf[at + 4] << 24 | buf[at + 5] << 16 | buf[at + 6] << 8 | buf[at + 7]
            if buf[at + 2] != 0 or buf[at + 3] & 0xF8:
                quoted.protocol = buf[at]
                return quoted
            after = at + 8
        else:
            after = at + 8 + (buf[at + 1] << 3)
        kind = buf[at]
        at = after
    quoted.protocol = kind
    if not is_extension_header(kind) and kind != PROTO_NO_NEXT:
        _find_transport(buf, at, end, quoted)
    return quoted


def _find_transport(buf: bytes, at: int, end: int, quoted: Quoted) -> None:
    protocol = quoted.protocol
    if at >= end:
        return
    quoted.transport_start = at
    if protocol in (PROTO_TCP, PROTO_UDP, PROTO_UDPLITE, PROTO_SCTP):
        if at + 4 <= end:
            quoted.src_port = buf[at] << 8 | buf[at + 1]
            quoted.dst_port = buf[at + 2] << 8 | buf[at + 3]
        if protocol == PROTO_TCP and at + 8 <= end:
            quoted.seq = buf[at + 4] << 24 | buf[at + 5] << 16 | buf[at + 6] << 8 | buf[at + 7]
    elif protocol in (PROTO_ICMP, PROTO_ICMPV6):
        quoted.icmp_type = buf[at]
        if at + 8 <= end:
            quoted.icmp_ident = buf[at + 4] << 8 | buf[at + 5]
            quoted.icmp_seq = buf[at + 6] << 8 | buf[at + 7]

"""The IPv6 header and the walk over its extension headers (RFC 8200)."""

from __future__ import annotations

import struct
from typing import Final

from plankroad.wire.constants import (
    PROTO_AH,
    PROTO_DESTINATION,
    PROTO_FRAGMENT,
    PROTO_HOP_BY_HOP,
    PROTO_ICMPV6,
    PROTO_NO_NEXT,
    PROTO_ROUTING,
    PROTO_TCP,
    PROTO_UDP,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv6_options import Ipv6Option, build_options_header

#: A packet with more extension headers is refused: RFC 8504 section 5.3 lets a host limit them.
MAX_EXTENSION_HEADERS: Final = 32


_pack: Final = struct.Struct("!IHBB").pack


class Ipv6Header:
    """An IPv6 header and its chain of extension headers.

    All offsets count from the start of the buffer. `next_header` is the field of the IPv6 header itself; `protocol`
    is what begins at `payload_start`: the upper layer, or whatever this stack cannot skip (ESP, AH, a header of a
    kind it does not know, a hop-by-hop header out of place). `protocol_offset` is where the byte that names it is:
    less `offset`, the pointer of a Parameter Problem.

    `extensions` are (type, start, end) of each header that was walked over.

    `fragment_start` is the offset of the fragment header, -1 without one; then `fragment_offset` (bytes),
    `more_fragments` and `fragment_ident` are its fields, and `fragment_next` where the byte is that holds the type of
    the fragment header. `fragmented` is true where the packet is one part of several: the walk then ends behind
    the fragment header, and `payload_start` is where the fragment's part begins. An atomic fragment (RFC 6946:
    offset 0 and no more to come) is whole, so `fragmented` is false and the walk goes on.
    """

    __slots__ = (
        "dst",
        "extensions",
        "flow_label",
        "fragment_ident",
        "fragment_next",
        "fragment_offset",
        "fragment_start",
        "fragmented",
        "hop_limit",
        "more_fragments",
        "next_header",
        "offset",
        "payload_end",
        "payload_length",
        "payload_start",
        "protocol",
        "protocol_offset",
        "src",
        "traffic_class",
    )

    def __init__(
        self,
        traffic_class: int,
        flow_label: int,
        payload_length: int,
        next_header: int,
        hop_limit: int,
        src: bytes,
        dst: bytes,
        offset: int,
    ) -> None:
        self.traffic_class = traffic_class
        self.flow_label = flow_label
        self.payload_length = payload_length
        self.next_header = next_header
        self.hop_limit = hop_limit
        self.src = src
        self.dst = dst
        self.offset = offset
        self.protocol: int = next_header
        self.protocol_offset: int = offset + 6
        self.payload_start: int = offset + 40
        self.payload_end: int = offset + 40 + payload_length
        self.fragmented: bool = False
        self.fragment_offset: int = 0
        self.more_fragments: bool = False
        self.fragment_ident: int = 0
        self.fragment_start: int = -1
        self.fragment_next: int = -1
        self.extensions: list[tuple[int, int, int]] = []


def is_extension_header(kind: int) -> bool:
    """Whether `parse_ipv6` walks over a header of this type."""
    return kind in (PROTO_HOP_BY_HOP, PROTO_ROUTING, PROTO_FRAGMENT, PROTO_DESTINATION)


def parse_ipv6(buf: bytes, offset: int = 0) -> Ipv6Header:
    """The IPv6 header at `offset` with its extension headers. Bytes after the payload length are padding.

    Raises BadPacket for a wrong version, a payload or extension header that runs past the end, a second fragment
    header, and more than `MAX_EXTENSION_HEADERS`. The inside of options and routing headers is not looked at.
    """
    available = len(buf) - offset
    if available < 40:
        raise BadPacket("IPv6 header is truncated")
    first = buf[offset]
    if first >> 4 != 6:
        raise BadPacket("IP version is not 6")
    second = buf[offset + 1]
    payload_length = buf[offset + 4] << 8 | buf[offset + 5]
    if payload_length + 40 > available:
        raise BadPacket("IPv6 packet is truncated")
    header = Ipv6Header(
        (first & 15) << 4 | second >> 4,
        (second & 15) << 16 | buf[offset + 2] << 8 | buf[offset + 3],
        payload_length,
        buf[offset + 6],
        buf[offset + 7],
        buf[offset + 8 : offset + 24],
        buf[offset + 24 : offset + 40],
        offset,
    )
    kind = header.next_header
    if kind in (PROTO_HOP_BY_HOP, PROTO_ROUTING, PROTO_FRAGMENT, PROTO_DESTINATION):
        _walk(buf, header)
    return header


def _walk(buf: bytes, header: Ipv6Header) -> None:
    kind = header.next_header
    named_at = header.protocol_offset
    at = header.payload_start
    end = header.payload_end
    while True:
        if kind == PROTO_HOP_BY_HOP:
            # RFC 8200 section 4.1: hop-by-hop options come right behind the IPv6 header only. Elsewhere 0 is a next
            # header that is not recognized (section 4), which is for the caller to report.
            if header.extensions:
                break
        elif kind not in (PROTO_DESTINATION, PROTO_ROUTING, PROTO_FRAGMENT):
            break
        if len(header.extensions) >= MAX_EXTENSION_HEADERS:
            raise BadPacket("too many IPv6 extension headers")
        if at + 8 > end:
            raise BadPacket("IPv6 extension header is truncated")
        if kind == PROTO_FRAGMENT:
            if header.fragment_start >= 0:
                raise BadPacket("second IPv6 fragment header")
            after = at + 8
            # RFC 8200 section 4.5: 13 bits of offset in units of 8 bytes, 2 reserved bits, the M flag.
            low = buf[at + 3]
            header.fragment_start = at
            header.fragment_next = named_at
            header.fragment_offset = buf[at + 2] << 8 | low & 0xF8
            header.more_fragments = low & 1 != 0
            header.fragment_ident = buf[at + 4] << 24 | buf[at + 5] << 16 | buf[at + 6] << 8 | buf[at + 7]
            header.fragmented = header.fragment_offset != 0 or header.more_fragments
        else:
            after = at + 8 + (buf[at + 1] << 3)
            if after > end:
                raise BadPacket("IPv6 extension header is truncated")
        header.extensions.append((kind, at, after))
        kind = buf[at]
        named_at = at
        at = after
        if header.fragmented:
            break
    header.protocol = kind
    header.protocol_offset = named_at
    header.payload_start = at


def upper_layer(buf: bytes, start: int, end: int, kind: int) -> tuple[int, int]:
    """(protocol, offset) of the upper-layer header, walking on from a header of type `kind` at `start`.

    The offset is -1 where the chain of headers does not reach the upper layer before `end`, or is cut off by the
    header of a fragment that is not the first. Authentication headers are walked over. The upper layer counts as
    reached where its first byte is there; whether its header is whole `chain_complete` tells. Never raises.
    """
    count = 0
    while kind in (PROTO_HOP_BY_HOP, PROTO_DESTINATION, PROTO_ROUTING, PROTO_FRAGMENT, PROTO_AH):
        if count >= MAX_EXTENSION_HEADERS or start + 8 > end or end > len(buf):
            return kind, -1
        if kind == PROTO_FRAGMENT:
            if buf[start + 2] != 0 or buf[start + 3] & 0xF8:
                return buf[start], -1
            after = start + 8
        elif kind == PROTO_AH:
            # RFC 4302 section 2.2: the length is in units of 4 bytes, less 2.
            after = start + ((buf[start + 1] + 2) << 2)
        else:
            after = start + 8 + (buf[start + 1] << 3)
        kind = buf[start]
        start = after
        count += 1
    if start > end or (start == end and kind != PROTO_NO_NEXT):
        return kind, -1
    return kind, start


def chain_complete(buf: bytes, start: int, end: int, kind: int) -> bool:
    """Whether all headers, the upper layer's too, are in `buf[start:end]`, which begins with one of type `kind`.

    RFC 8200 section 4.5, RFC 7112 section 5: a first fragment for which this is false is to be discarded, and a
    Parameter Problem with code 3 should be sent. Of upper layers that this stack does not know one byte is enough.
    """
    protocol, at = upper_layer(buf, start, end, kind)
    if at < 0:
        return False
    need = 0
    if protocol == PROTO_TCP:
        need = 20
    elif protocol in (PROTO_UDP, PROTO_ICMPV6):
        need = 8
    return end - at >= need


def build_ipv6(
    src: bytes,
    dst: bytes,
    protocol: int,
    payload_length: int,
    hop_limit: int = 64,
    traffic_class: int = 0,
    flow_label: int = 0,
) -> bytes:
    """An IPv6 header. `protocol` is its next header field; `payload_length` counts extension headers too.

    Raises ValueError where the payload is longer than 65535 bytes or an address has not 16.
    """
    if payload_length > 0xFFFF:
        raise ValueError("IPv6 payload is too long")
    if len(src) != 16 or len(dst) != 16:
        raise ValueError("IPv6 addresses have 16 bytes")
    first = 0x60000000 | traffic_class << 20 | flow_label
    return _pack(first, payload_length, protocol, hop_limit) + src + dst


class RoutingHeader:
    """A routing header (RFC 8200 section 4.4). `data` is what follows the segments-left byte."""

    __slots__ = ("data", "next_header", "routing_type", "segments_left")

    def __init__(self, next_header: int, routing_type: int, segments_left: int, data: bytes) -> None:
        self.next_header = next_header
        self.routing_type = routing_type
        self.segments_left = segments_left
        self.data = data


def parse_routing(buf: bytes, start: int, end: int) -> RoutingHeader:
    """The routing header in `buf[start:end]`, offsets as in `Ipv6Header.extensions`.

    RFC 8200 section 4.4: of a type that is not recognized it is skipped where `segments_left` is 0; else the packet
    is discarded with a Parameter Problem, code 0, that points to the routing type, at `start + 2`. Type 0 is to be
    treated so too (RFC 5095 section 3). Raises BadPacket where it is truncated.
    """
    if start < 0 or end > len(buf) or end - start < 8:
        raise BadPacket("IPv6 routing header is truncated")
    return RoutingHeader(buf[start], buf[start + 2], buf[start + 3], buf[start + 4 : end])


def build_hop_by_hop(next_header: int, options: list[Ipv6Option]) -> bytes:
    """A hop-by-hop options header (RFC 8200 section 4.3): see `build_options_header`."""
    return build_options_header(next_header, options)


def build_destination(next_header: int, options: list[Ipv6Option]) -> bytes:
    """A destination options header (RFC 8200 section 4.6): see `build_options_header`."""
    return build_options_header(next_header, options)


def build_routing(next_header: int, routing_type: int, segments_left: int, data: bytes) -> bytes:
    """A routing header (RFC 8200 section 4.4).

    Raises ValueError unless 4 and the length of `data` make a multiple of 8 up to 2048.
    """
    length = 4 + len(data)
    if length & 7 or length > 2048:
        raise ValueError("a routing header's length is a multiple of 8 up to 2048")
    return bytes([next_header, length // 8 - 1, routing_type, segments_left]) + data


def build_fragment(next_header: int, fragment_offset: int, more_fragments: bool, ident: int) -> bytes:
    """The 8 bytes of a fragment header (RFC 8200 section 4.5). `fragment_offset` is in bytes, a multiple of 8.

    Raises ValueError for any other offset, or one past 65528.
    """
    if fragment_offset & 7 or not 0 <= fragment_offset <= 0xFFF8:
        raise ValueError("fragment offset is no multiple of 8 up to 65528")
    low = fragment_offset | (1 if more_fragments else 0)
    return (next_header << 56 | low << 32 | ident).to_bytes(8, "big")

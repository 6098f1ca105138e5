"""The IPv4 header (RFC 791 section 3.1)."""

from __future__ import annotations

import struct
from typing import Final

from plankroad.wire.checksum import address_sum
from plankroad.wire.errors import BadPacket

_pack: Final = struct.Struct("!HHHHHH").pack


class Ipv4Header:
    """An IPv4 header, verified.

    `fragment_offset` is in bytes. `options` are the raw bytes (see `wire.ipv4_options`), empty for none.
    `offset` is where the header begins, `payload_start` and `payload_end` where its data does and ends, all three
    counted from the start of the buffer. `header_length` and `total_length` are in bytes.
    """

    __slots__ = (
        "dont_fragment",
        "dst",
        "fragment_offset",
        "header_length",
        "ident",
        "more_fragments",
        "offset",
        "options",
        "payload_end",
        "payload_start",
        "protocol",
        "src",
        "tos",
        "total_length",
        "ttl",
    )

    def __init__(
        self,
        tos: int,
        total_length: int,
        ident: int,
        dont_fragment: bool,
        more_fragments: bool,
        fragment_offset: int,
        ttl: int,
        protocol: int,
        src: bytes,
        dst: bytes,
        options: bytes,
        header_length: int,
        offset: int,
    ) -> None:
        self.tos = tos
        self.total_length = total_length
        self.ident = ident
        self.dont_fragment = dont_fragment
        self.more_fragments = more_fragments
        self.fragment_offset = fragment_offset
        self.ttl = ttl
        self.protocol = protocol
        self.src = src
        self.dst = dst
        self.options = options
        self.header_length = header_length
        self.offset = offset
        self.payload_start: int = offset + header_length
        self.payload_end: int = offset + total_length


def parse_ipv4(buf: bytes, offset: int = 0) -> Ipv4Header:
    """The IPv4 header at `offset`. Bytes after its total length are padding (RFC 894) and no part of the packet.

    Raises BadPacket for a wrong version (RFC 1122 section 3.2.1.1), lengths that contradict each other or the buffer,
    and a wrong header checksum (section 3.2.1.2).
    """
    available = len(buf) - offset
    if available < 20:
        raise BadPacket("IPv4 header is truncated")
    first = buf[offset]
    if first >> 4 != 4:
        raise BadPacket("IP version is not 4")
    header_length = (first & 15) << 2
    total_length = buf[offset + 2] << 8 | buf[offset + 3]
    if header_length < 20:
        raise BadPacket("IPv4 header length is less than 20")
    if header_length > total_length:
        raise BadPacket("IPv4 header is longer than the packet")
    if total_length > available:
        raise BadPacket("IPv4 packet is truncated")
    # RFC 1122 section 3.2.1.2: "A host MUST verify the IP header checksum on every received datagram and silently
    # discard every datagram that has a bad checksum." The header is never all zeros, so a right one sums to 0xFFFF.
    if int.from_bytes(buf[offset : offset + header_length], "big") % 65535 != 0:
        raise BadPacket("IPv4 header checksum is wrong")
    flags = buf[offset + 6]
    return Ipv4Header(
        buf[offset + 1],
        total_length,
        buf[offset + 4] << 8 | buf[offset + 5],
        flags & 0x40 != 0,
        flags & 0x20 != 0,
        ((flags & 0x1F) << 8 | buf[offset + 7]) << 3,
        buf[offset + 8],
        buf[offset + 9],
        buf[offset + 12 : offset + 16],
        buf[offset + 16 : offset + 20],
        buf[offset + 20 : offset + header_length] if header_length > 20 else b"",
        header_length,
        offset,
    )


def build_ipv4(
    src: bytes,
    dst: bytes,
    protocol: int,
    payload_length: int,
    ttl: int = 64,
    tos: int = 0,
    ident: int = 0,
    dont_fragment: bool = False,
    more_fragments: bool = False,
    fragment_offset: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 header with its checksum. `fragment_offset` is in bytes, a multiple of 8.

    `options` are padded with End of Option List to a multiple of 4. Raises ValueError where the packet would be
    longer than 65535 bytes, the options longer than 40, an address not 4 bytes, or the offset no multiple of 8 up to
    65528.
    """
    pad = -len(options) & 3
    if pad:
        options += bytes(pad)
    header_length = 20 + len(options)
    total_length = header_length + payload_length
    if total_length > 0xFFFF or header_length > 60:
        raise ValueError("IPv4 packet or its options are too long")
    if len(src) != 4 or len(dst) != 4:
        raise ValueError("IPv4 addresses have 4 bytes")
    if fragment_offset & 7 or not 0 <= fragment_offset <= 0xFFF8:
        raise ValueError("fragment offset is no multiple of 8 up to 65528")
    fragment = fragment_offset >> 3
    if dont_fragment:
        fragment |= 0x4000
    if more_fragments:
        fragment |= 0x2000
    first = 0x4000 | header_length << 6 | tos
    fifth = ttl << 8 | protocol
    total = first + total_length + ident + fragment + fifth + address_sum(src) + address_sum(dst)
    # The sum is never 0, so its complement is that of its remainder: 0 where that is 0.
    if not options:
        return _pack(first, total_length, ident, fragment, fifth, -total % 65535) + src + dst
    total += int.from_bytes(options, "big")
    return _pack(first, total_length, ident, fragment, fifth, -total % 65535) + src + dst + options

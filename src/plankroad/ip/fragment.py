"""Fragmentation: a packet cut into pieces that a link takes (RFC 791 section 3.2, RFC 8200 section 4.5).

Packets must be whole: no partial checksum (see `wire.checksum.complete`), as each piece has a part of what it covers.
"""

from __future__ import annotations

from plankroad.wire.checksum import checksum
from plankroad.wire.constants import (
    PROTO_FRAGMENT,
    PROTO_HOP_BY_HOP,
    PROTO_ICMPV6,
    PROTO_ROUTING,
    PROTO_TCP,
    PROTO_UDP,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv4_options import copied_options
from plankroad.wire.ipv6 import build_fragment, parse_ipv6


class CannotFragment(ValueError):  # noqa: N818 - says what is the case, like BadPacket
    """The packet may not or cannot be cut to this size; the text says why."""


def fragment_ipv4(packet: bytes, mtu: int) -> list[bytes]:
    """The packet cut into fragments of `mtu` bytes at most; a list of itself where it fits.

    A fragment is cut again like a whole packet (RFC 791: its offset and its More Fragments flag are kept in the
    pieces). The identification in the header is used as it is: see `ip.ident`. Raises CannotFragment for a packet
    with Don't Fragment set, and where not even 8 bytes fit behind the header; BadPacket for no IPv4 packet.
    """
    if len(packet) <= mtu:
        return [packet]
    header = parse_ipv4(packet)
    start = header.payload_start
    end = header.payload_end
    if end <= mtu:
        # Padding behind the packet made it seem too long.
        return [packet[:end]]
    if header.dont_fragment:
        raise CannotFragment("Don't Fragment is set")
    # RFC 791 section 3.1: the first fragment has all options, the others those with the copied flag.
    first_head = packet[:start]
    try:
        later_options = copied_options(header.options)
    except BadPacket:
        raise CannotFragment("the options are wrong") from None
    # What is cut is itself a later fragment: its options are already the copied ones.
    later_head = packet[:20] + later_options
    fragments: list[bytes] = []
    offset = header.fragment_offset
    head = first_head
    while start < end:
        room = mtu - len(head)
        if end - start <= room:
            piece_end = end
        else:
            room &= ~7
            if room < 8:
                raise CannotFragment(f"no 8 bytes of data fit into an MTU of {mtu}")
            piece_end = start + room
        more = header.more_fragments or piece_end < end
        fragments.append(ipv4_head(head, piece_end - start, offset, more) + packet[start:piece_end])
        offset += piece_end - start
        start = piece_end
        head = later_head
    return fragments


def ipv4_head(head: bytes, payload_length: int, fragment_offset: int, more_fragments: bool) -> bytes:
    """An IPv4 header like `head`, for a part of its packet: lengths, offset, checksum set, the reserved bit off."""
    total = len(head) + payload_length
    fragment = fragment_offset >> 3 | (0x2000 if more_fragments else 0)
    out = bytes(
        [
            0x40 | len(head) >> 2,
            head[1],
            total >> 8,
            total & 0xFF,
            head[4],
            head[5],
            fragment >> 8,
            fragment & 0xFF,
            head[8],
            head[9],
        ]
    )
    rest = head[12:]
    value = checksum(out + rest)
    return out + bytes([value >> 8, value & 0xFF]) + rest


def fragment_ipv6(packet: bytes, mtu: int, ident: int) -> list[bytes]:
    """The packet cut into fragments of `mtu` bytes at most; a list of itself where it fits.

    For the source of a packet only (RFC 8200 section 5); `ident` is the 32-bit identification (see `ip.ident`).
    Raises CannotFragment for a packet that has a fragment header, and where the headers leave no room: all of them,
    the upper layer's too, must be in the first fragment (RFC 7112 section 5). BadPacket for no IPv6 packet.
    """
    if len(packet) <= mtu:
        return [packet]
    header = parse_ipv6(packet)
    end = header.payload_end
    if end <= mtu:
        return [packet[:end]]
    if header.fragment_start >= 0:
        raise CannotFragment("it has a fragment header already")
    # RFC 8200 section 4.5, Per-Fragment headers: "the IPv6 header plus any extension headers that must be processed
    # by nodes en route to the destination, that is, all headers up to and including the Routing header if present,
    # else the Hop-by-Hop Options header if present, else no extension headers."
    start = 40
    named_at = 6
    for kind, header_start, header_end in header.extensions:
        if kind in (PROTO_ROUTING, PROTO_HOP_BY_HOP):
            start = header_end
            named_at = header_start
    next_header = packet[named_at]
    head = packet[:named_at] + bytes([PROTO_FRAGMENT]) + packet[named_at + 1 : start]
    room = mtu - len(head) - 8 & ~7
    chain = header.payload_start - start
    if header.protocol == PROTO_TCP:
        chain += 20
    elif header.protocol in (PROTO_UDP, PROTO_ICMPV6):
        chain += 8
    if room < 8 or room < min(chain, end - start):
        raise CannotFragment(f"the headers do not fit into a first fragment of an MTU of {mtu}")
    fragments: list[bytes] = []
    offset = 0
    while start < end:
        piece_end = end if end - start <= mtu - len(head) - 8 else start + room
        length = len(head) - 40 + 8 + piece_end - start
        fragments.append(
            head[:4]
            + bytes([length >> 8, length & 0xFF])
            + head[6:]
            + build_fragment(next_header, offset, piece_end < end, ident)
            + packet[start:piece_end]
        )
        offset += piece_end - start
        start = piece_end
    return fragments

"""When an ICMP error may be sent, what it quotes, and the error packets themselves, for both families.

The values of `rest`, the 32 bits behind the checksum: 0, or the MTU (fragmentation needed, packet too big), or the
pointer (`rest_for_pointer` for IPv4, the pointer itself for IPv6).
"""

from __future__ import annotations

from typing import Final

from plankroad.ip.interface import Interface
from plankroad.wire.address import is_broadcast, is_class_e, is_loopback, is_multicast, is_unspecified
from plankroad.wire.constants import (
    ICMP_ADDRESS_MASK_REPLY,
    ICMP_ECHO_REPLY,
    ICMP_ECHO_REQUEST,
    ICMP_PARAMETER_PROBLEM,
    ICMP_ROUTER_ADVERTISEMENT,
    ICMP_ROUTER_SOLICITATION,
    ICMP_TIMESTAMP_REQUEST,
    ICMPV6_ECHO_REQUEST,
    ICMPV6_REDIRECT,
    PROTO_ICMP,
    PROTO_ICMPV6,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import build_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import Ipv4Header, build_ipv4
from plankroad.wire.ipv4_options import IPOPT_LSRR, IPOPT_SSRR, find_source_route, reverse_route
from plankroad.wire.ipv6 import Ipv6Header, build_ipv6, upper_layer

#: RFC 1812 section 4.3.2.3: an ICMP error is as long as it can be "without the length of the ICMP datagram exceeding
#: 576 bytes".
MAX_ERROR_IPV4: Final = 576
#: RFC 4443 section 2.4 (c): "without making the error message packet exceed the minimum IPv6 MTU".
MAX_ERROR_IPV6: Final = 1280
#: RFC 1812 section 4.3.2.5: precedence 6, internetwork control. The TOS bits are 0 (RFC 1122 section 3.2.2).
ERROR_TOS: Final = 0xC0


def is_icmp_error_ipv4(type_: int) -> bool:
    """Whether an ICMP type is an error, or may be one: all but the requests and replies known (RFC 1122 3.2.2)."""
    return not (
        type_ in (ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST, ICMP_ROUTER_ADVERTISEMENT, ICMP_ROUTER_SOLICITATION)
        or ICMP_TIMESTAMP_REQUEST <= type_ <= ICMP_ADDRESS_MASK_REPLY
    )


def may_send_error_ipv4(
    packet: bytes, header: Ipv4Header, interface: Interface | None, link_broadcast: bool = False
) -> bool:
    """Whether the received packet may be answered with an ICMP error (RFC 1122 section 3.2.2, RFC 1812 4.3.2.7).

    `interface` is where it came in, None where it never left this host; `link_broadcast`: it came as a link-layer
    broadcast or multicast.
    """
    # RFC 1122 section 3.2.2: "An ICMP error message MUST NOT be sent as the result of receiving: ... a datagram sent
    # as a link-layer broadcast, or a non-initial fragment"
    if link_broadcast or header.fragment_offset != 0:
        return False
    # "a datagram destined to an IP broadcast or IP multicast address"
    dst = header.dst
    if is_multicast(dst) or is_broadcast(dst) or is_class_e(dst):
        return False
    # "a datagram whose source address does not define a single host -- e.g., a zero address, a loopback address, a
    # broadcast address, a multicast address, or a Class E address."
    src = header.src
    if src[0] == 0 or is_multicast(src) or is_broadcast(src) or is_class_e(src):
        return False
    if interface is not None and (is_loopback(src) or interface.is_broadcast(dst) or interface.is_broadcast(src)):
        return False
    # "an ICMP error message"
    if header.protocol == PROTO_ICMP:
        start = header.payload_start
        if start >= header.payload_end or start >= len(packet) or is_icmp_error_ipv4(packet[start]):
            return False
    return True


def may_send_error_ipv6(
    packet: bytes,
    header: Ipv6Header,
    link_multicast: bool = False,
    multicast_allowed: bool = False,
    looped_back: bool = False,
) -> bool:
    """Whether the received packet may be answered with an ICMPv6 error (RFC 4443 section 2.4 (e)).

    `link_multicast`: it came as a link-layer multicast or broadcast. `multicast_allowed`: the error is one of the two
    that answer multicast too: Packet Too Big, and Parameter Problem code 2 for an option whose type begins with the
    bits 10. `looped_back`: the packet never left this host, so that ::1 may be its source.
    """
    # (e.6): the source does not uniquely identify a single node.
    src = header.src
    if is_unspecified(src) or is_multicast(src) or (is_loopback(src) and not looped_back):
        return False
    # (e.3) to (e.5).
    if (is_multicast(header.dst) or link_multicast) and not multicast_allowed:
        return False
    # (e.1) an ICMPv6 error, (e.2) an ICMPv6 redirect. A later fragment may be of one.
    if header.fragmented and header.fragment_offset != 0:
        return header.protocol != PROTO_ICMPV6
    end = min(header.payload_end, len(packet))
    protocol, start = upper_layer(packet, header.payload_start, end, header.protocol)
    if protocol == PROTO_ICMPV6:
        if start < 0 or start >= end:
            return False
        return packet[start] >= ICMPV6_ECHO_REQUEST and packet[start] != ICMPV6_REDIRECT
    return True


def rest_for_pointer(pointer: int) -> int:
    """The 32 bits of an IPv4 Parameter Problem: the pointer is in the first 8 (RFC 792)."""
    return (pointer & 0xFF) << 24


def build_error_ipv4(
    src: bytes,
    type_: int,
    code: int,
    rest: int,
    packet: bytes,
    header: Ipv4Header,
    ttl: int = 64,
    max_length: int = MAX_ERROR_IPV4,
) -> bytes:
    """A whole IPv4 packet with the ICMP error about a received packet, to its source.

    `packet` and `header` as from `parse_ipv4`; as much of the packet as fits into `max_length` bytes is quoted, the
    header and 8 bytes at least. The error is atomic (RFC 6864): Don't Fragment is set.
    """
    dst = header.src
    options = b""
    # RFC 1812 section 4.3.2.6: the answer to a source-routed packet goes back the way it came, unless it complains of
    # the source route.
    if header.options:
        try:
            route = find_source_route(header.options)
        except BadPacket:
            route = None
        if route is not None and not (
            type_ == ICMP_PARAMETER_PROBLEM and points_into(rest >> 24, route.offset, header.options)
        ):
            dst, options = reverse_route(route, header.src)
    options += bytes(-len(options) & 3)
    room = max(max_length - 20 - len(options) - 8, header.header_length + 8)
    end = min(header.payload_end, header.offset + room)
    message = build_icmp(type_, code, rest, packet[header.offset : end])
    return build_ipv4(src, dst, PROTO_ICMP, len(message), ttl, ERROR_TOS, 0, True, options=options) + message


def points_into(pointer: int, offset: int, options: bytes) -> bool:
    """Whether a Parameter Problem's pointer is within the option that begins at `offset` of the options."""
    at = pointer - 20
    return options[offset] in (IPOPT_LSRR, IPOPT_SSRR) and offset <= at < offset + options[offset + 1]


def build_error_ipv6(
    src: bytes,
    type_: int,
    code: int,
    rest: int,
    packet: bytes,
    header: Ipv6Header,
    hop_limit: int = 64,
) -> bytes:
    """A whole IPv6 packet with the ICMPv6 error about a received packet, to its source.

    `packet` and `header` as from `parse_ipv6`; as much of the packet as fits into 1280 bytes is quoted.
    """
    room = MAX_ERROR_IPV6 - 40 - 8
    end = min(header.payload_end, header.offset + room)
    message = build_icmpv6(src, header.src, type_, code, rest, packet[header.offset : end])
    return build_ipv6(src, header.src, PROTO_ICMPV6, len(message), hop_limit) + message

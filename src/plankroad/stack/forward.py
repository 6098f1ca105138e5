"""A router: packets for others are passed on (RFC 1812 sections 4.2 and 5.2, RFC 8200).

Offloads go through: a partial checksum stays partial, and a super-segment is passed on as it is where the segments it
stands for fit the next link. Only links cut.
"""

from __future__ import annotations

from plankroad.ip.interface import Interface
from plankroad.ip.routes import MULTIPATH_PER_FLOW, Route, flow_hash
from plankroad.stack.host import Host
from plankroad.stack.icmp_output import send_error4, send_error6
from plankroad.stack.output import cut, emit, enqueue, room_for
from plankroad.stack.resegment import resegment
from plankroad.units import MILLISECOND
from plankroad.wire.address import (
    is_broadcast,
    is_class_e,
    is_link_local,
    is_link_local_multicast,
    is_loopback,
    is_multicast,
    is_unspecified,
)
from plankroad.wire.checksum import complete, update, update_bytes
from plankroad.wire.constants import (
    ICMP_DEST_UNREACHABLE,
    ICMP_FRAGMENTATION_NEEDED,
    ICMP_NET_UNREACHABLE,
    ICMP_SOURCE_ROUTE_FAILED,
    ICMP_TIME_EXCEEDED,
    ICMP_TTL_EXCEEDED,
    ICMPV6_BEYOND_SCOPE,
    ICMPV6_DEST_UNREACHABLE,
    ICMPV6_HOP_LIMIT_EXCEEDED,
    ICMPV6_NO_ROUTE,
    ICMPV6_PACKET_TOO_BIG,
    ICMPV6_TIME_EXCEEDED,
    PROTO_TCP,
    PROTO_UDP,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import Ipv4Header
from plankroad.wire.ipv4_options import RouteOption, advance_source_route, record_route, record_timestamp
from plankroad.wire.ipv6 import Ipv6Header
from plankroad.wire.packet import GSO_NONE, Packet


def flow_of(buf: bytes, protocol: int, start: int, end: int, src: bytes, dst: bytes) -> int:
    """The `flow_hash` of a packet; without ports where it has none to be seen."""
    if protocol in (PROTO_TCP, PROTO_UDP) and start + 4 <= end:
        return flow_hash(src, dst, protocol, buf[start] << 8 | buf[start + 1], buf[start + 2] << 8 | buf[start + 3])
    return flow_hash(src, dst, protocol)


def next_route(host: Host, dst: bytes, buf: bytes, protocol: int, start: int, end: int, src: bytes) -> Route | None:
    """The route of a packet that is passed on. The flow is only asked for where there is something to choose."""
    routes = host.routes
    group = routes.cache.get(dst)
    if group is not None:
        if len(group.routes) == 1:
            return group.routes[0]
        if routes.policy == MULTIPATH_PER_FLOW:
            return routes.choose(group, dst, flow_of(buf, protocol, start, end, src, dst))
        return routes.choose(group, dst, 0)
    return routes.lookup(dst, flow_of(buf, protocol, start, end, src, dst))


def stays_here(src: bytes, dst: bytes) -> bool:
    """Whether packets between these IPv4 addresses are never passed on.

    RFC 1812 sections 5.3.7 and 4.2.2.11. RFC 3927 section 7: link-local addresses are not either.
    """
    return (
        is_multicast(dst)
        or is_broadcast(dst)
        or is_class_e(dst)
        or dst[0] == 0
        or is_loopback(dst)
        or is_loopback(src)
        or src[0] == 0
        or is_link_local(dst)
        or is_link_local(src)
    )


def forward4(host: Host, now: int, packet: Packet, header: Ipv4Header, arrived: Interface, link_group: bool) -> None:
    """Pass an IPv4 packet on, or say why not. `packet.head` begins with `header` and holds all of it."""
    ip = host.counters.ip
    dst = header.dst
    src = header.src
    if link_group or stays_here(src, dst):
        ip.no_forwarding += 1
        return
    # RFC 1812 section 5.3.1: "if the TTL is reduced to zero (or less), the packet MUST be discarded".
    if header.ttl <= 1:
        ip.ttl_exceeded += 1
        answer4(host, now, packet, header, arrived, ICMP_TIME_EXCEEDED, ICMP_TTL_EXCEEDED, 0)
        return
    route = next_route(host, dst, packet.head, header.protocol, header.payload_start, header.payload_end, src)
    if route is None:
        ip.no_route += 1
        answer4(host, now, packet, header, arrived, ICMP_DEST_UNREACHABLE, ICMP_NET_UNREACHABLE, 0)
        return
    out = route.interface
    if out.is_broadcast(dst):
        # RFC 2644: directed broadcasts are not passed on unless switched on, and there is no switch.
        ip.no_forwarding += 1
        return
    head = packet.head
    if len(head) > header.payload_end:
        head = head[: header.payload_end]
    head = lower_ttl(head, header.ttl)
    if header.options:
        head = record_options(now, head, header, out)
        if not head:
            ip.bad_option += 1
            return
    pass_on4(host, now, packet, head, header, route, dst, arrived)


def pass_on4(
    host: Host,
    now: int,
    packet: Packet,
    head: bytes,
    header: Ipv4Header,
    route: Route,
    dst: bytes,
    arrived: Interface,
) -> None:
    """Send `head`, an IPv4 packet whose TTL is lowered, by `route`; `packet` and `header` are as it came."""
    ip = host.counters.ip
    out = route.interface
    changed = with_head(packet, head, out)
    mtu = route.path_mtu()
    size = len(head)
    if packet.gso_type != GSO_NONE:
        # What counts is the size of the segments it stands for.
        size = segment_size(packet, header.payload_start, header.protocol)
    if size <= mtu:
        ip.forwarded += 1
        enqueue(host, emit(host, now, out, route.next_hop(dst), changed))
        return
    if header.dont_fragment:
        ip.too_big += 1
        # RFC 1191 section 4: the next hop's MTU in the low 16 bits.
        answer4(host, now, packet, header, arrived, ICMP_DEST_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, mtu)
        return
    whole = resegment(changed) if changed.gso_type != GSO_NONE else [changed]
    for each in whole:
        pieces = cut(host, each, mtu)
        if not pieces:
            ip.fragmentation_failed += 1
            return
        # A datagram that lacks a piece is none: all of them fit the queue, or none goes.
        if not room_for(host, len(pieces)):
            ip.output_queue_full += 1
            return
        for piece in pieces:
            following = emit(host, now, out, route.next_hop(dst), Packet(piece))
            if following is not None:
                host.output.append(following)
    ip.forwarded += 1


def with_head(packet: Packet, head: bytes, out: Interface) -> Packet:
    """The packet as it goes out by `out`: `head` holds all of it, the rest is as it came."""
    return Packet(
        head,
        b"",
        out.index,
        packet.gso_type,
        packet.gso_size,
        packet.csum_start,
        packet.csum_offset,
        packet.csum_valid,
    )


def segment_size(packet: Packet, start: int, protocol: int) -> int:
    """The size of the largest packet that a super-segment stands for. `start`: where its transport header begins."""
    head = packet.head
    if protocol == PROTO_TCP and start + 12 < len(head):
        return min(len(head), start + (head[start + 12] >> 4 << 2) + packet.gso_size)
    return min(len(head), start + 8 + packet.gso_size)


def lower_ttl(head: bytes, ttl: int) -> bytes:
    """An IPv4 packet with its TTL one less and the header checksum brought up to date (RFC 1624)."""
    old = ttl << 8 | head[9]
    value = update(head[10] << 8 | head[11], old, old - 0x100)
    return head[:8] + bytes((ttl - 1, head[9], value >> 8, value & 0xFF)) + head[12:]


def replace_options(head: bytes, header: Ipv4Header, options: bytes) -> bytes:
    """The packet with other options of the same length, the header checksum brought up to date."""
    if options == header.options or len(options) != len(header.options):
        return head
    value = update_bytes(head[10] << 8 | head[11], header.options, options)
    return head[:10] + bytes((value >> 8, value & 0xFF)) + head[12:20] + options + head[20 + len(options) :]


def record_options(now: int, head: bytes, header: Ipv4Header, out: Interface) -> bytes:
    """A router fills in Record Route and Timestamp options (RFC 1812 section 5.2.4).

    b"" where the packet is to be discarded: the count of stations that found no room for their time is full (RFC 791).
    """
    own = first_address(out)
    if not own:
        return head
    # RFC 791: any time may be inserted that is not of midnight UT, provided the high order bit is set.
    stamp = now // MILLISECOND & 0x7FFFFFFF | 0x80000000
    try:
        options = record_timestamp(record_route(header.options, own), [own], stamp)
    except BadPacket:
        return b""
    return replace_options(head, header, options)


def first_address(interface: Interface) -> bytes:
    """The interface's first usable IPv4 address, b"" for none."""
    for address in interface.addresses:
        if len(address.ip) == 4 and address.usable():
            return address.ip
    return b""


def forward_source_route(
    host: Host, now: int, packet: Packet, header: Ipv4Header, arrived: Interface, source: RouteOption
) -> None:
    """The packet reached a stop of its source route that is not the last (RFC 791, RFC 1812 section 5.2.4.1)."""
    ip = host.counters.ip
    if not host.config.source_route or not host.config.forwarding:
        # RFC 1122 section 3.3.5: a host that does not pass it on SHOULD say "source route failed".
        ip.source_routed += 1
        answer4(host, now, packet, header, arrived, ICMP_DEST_UNREACHABLE, ICMP_SOURCE_ROUTE_FAILED, 0)
        return
    if header.ttl <= 1:
        ip.ttl_exceeded += 1
        answer4(host, now, packet, header, arrived, ICMP_TIME_EXCEEDED, ICMP_TTL_EXCEEDED, 0)
        return
    dst = source.route[(source.pointer - 4) // 4]
    route = None if stays_here(header.src, dst) else host.routes.lookup(dst)
    # RFC 791: a strict route goes over directly connected networks only. RFC 2644: none ends in a broadcast.
    strict = source.kind == 137
    if route is None or (strict and route.gateway) or route.interface.is_broadcast(dst):
        ip.source_routed += 1
        answer4(host, now, packet, header, arrived, ICMP_DEST_UNREACHABLE, ICMP_SOURCE_ROUTE_FAILED, 0)
        return
    own = first_address(route.interface)
    if not own:
        ip.source_routed += 1
        return
    dst, options = advance_source_route(header.options, source, own)
    head = lower_ttl(packet.head[: header.payload_end], header.ttl)
    # The destination field is part of the pseudo-header too, but that has the last address (RFC 9293 section 3.1).
    value = update_bytes(head[10] << 8 | head[11], header.dst, dst)
    head = head[:10] + bytes((value >> 8, value & 0xFF)) + head[12:16] + dst + head[20:]
    head = replace_options(head, header, options)
    if host.owner(dst) is not None:
        # The next stop is this host again; it comes in anew.
        ip.source_routed += 1
        return
    pass_on4(host, now, packet, head, header, route, dst, arrived)


def answer4(
    host: Host, now: int, packet: Packet, header: Ipv4Header, arrived: Interface, type_: int, code: int, rest: int
) -> None:
    """An ICMP error about a packet that is not passed on; what is quoted has its checksum finished."""
    send_error4(host, now, complete(packet).head, header, arrived.index, False, type_, code, rest)


def forward6(host: Host, now: int, packet: Packet, header: Ipv6Header, arrived: Interface, link_group: bool) -> None:
    """Pass an IPv6 packet on, or say why not."""
    ip = host.counters.ip
    dst = header.dst
    src = header.src
    # RFC 4291 sections 2.5.2, 2.5.3 and 2.5.6: the unspecified and the loopback address, link-local ones.
    if (
        link_group
        or is_multicast(dst)
        or is_unspecified(dst)
        or is_unspecified(src)
        or is_loopback(dst)
        or is_loopback(src)
        or is_multicast(src)
        or is_link_local(dst)
        or is_link_local_multicast(dst)
    ):
        ip.no_forwarding += 1
        return
    if header.hop_limit <= 1:
        ip.ttl_exceeded += 1
        answer6(host, now, packet, header, arrived, ICMPV6_TIME_EXCEEDED, ICMPV6_HOP_LIMIT_EXCEEDED, 0)
        return
    route = next_route(host, dst, packet.head, header.protocol, header.payload_start, header.payload_end, src)
    if route is None:
        ip.no_route += 1
        answer6(host, now, packet, header, arrived, ICMPV6_DEST_UNREACHABLE, ICMPV6_NO_ROUTE, 0)
        return
    out = route.interface
    if is_link_local(src) and out is not arrived:
        # RFC 4443 section 3.1: code 2, beyond scope of source address.
        ip.no_forwarding += 1
        answer6(host, now, packet, header, arrived, ICMPV6_DEST_UNREACHABLE, ICMPV6_BEYOND_SCOPE, 0)
        return
    head = packet.head
    if len(head) > header.payload_end:
        head = head[: header.payload_end]
    size = len(head)
    if packet.gso_type != GSO_NONE:
        size = segment_size(packet, header.payload_start, header.protocol)
    mtu = route.path_mtu()
    if size > mtu:
        ip.too_big += 1
        answer6(host, now, packet, header, arrived, ICMPV6_PACKET_TOO_BIG, 0, mtu)
        return
    head = head[:7] + bytes((header.hop_limit - 1,)) + head[8:]
    changed = with_head(packet, head, out)
    ip.forwarded += 1
    enqueue(host, emit(host, now, out, route.next_hop(dst), changed))


def answer6(
    host: Host, now: int, packet: Packet, header: Ipv6Header, arrived: Interface, type_: int, code: int, rest: int
) -> None:
    """An ICMPv6 error about a packet that is not passed on."""
    send_error6(host, now, complete(packet).head, header, arrived.index, False, type_, code, rest)

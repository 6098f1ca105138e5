"""ICMP messages of this host: errors about packets that came in, answers to echo requests."""

from __future__ import annotations

from plankroad.ip.icmp_rules import (
    build_error_ipv4,
    build_error_ipv6,
    may_send_error_ipv4,
    may_send_error_ipv6,
)
from plankroad.stack.host import LOOPBACK_INDEX, Host
from plankroad.stack.output import is_group, send
from plankroad.stack.routing import find_route, source_for
from plankroad.wire.constants import (
    ICMP_DEST_UNREACHABLE,
    ICMP_FRAGMENTATION_NEEDED,
    ICMP_PARAMETER_PROBLEM,
    ICMP_TIME_EXCEEDED,
    ICMPV6_DEST_UNREACHABLE,
    ICMPV6_PACKET_TOO_BIG,
    ICMPV6_PARAMETER_PROBLEM,
    ICMPV6_TIME_EXCEEDED,
    ICMPV6_UNRECOGNIZED_OPTION,
    PROTO_ICMP,
    PROTO_ICMPV6,
)
from plankroad.wire.icmp import build_icmp
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv4 import Ipv4Header, build_ipv4
from plankroad.wire.ipv6 import Ipv6Header, build_ipv6
from plankroad.wire.packet import Packet


def send_error4(
    host: Host,
    now: int,
    buf: bytes,
    header: Ipv4Header,
    arrived: int,
    link_group: bool,
    type_: int,
    code: int,
    rest: int,
) -> None:
    """An ICMP error about the packet at `header.offset` in `buf`, to its source, if it may be sent.

    `arrived`: index of the interface it came in by. `link_group`: it came as a link-layer broadcast or multicast.
    """
    icmp = host.counters.icmp
    interface = None if arrived == LOOPBACK_INDEX else host.interface_at(arrived)
    if not may_send_error_ipv4(buf, header, interface, link_group):
        icmp.errors_not_allowed += 1
        return
    dst = header.src
    if not host.icmp_limit.allow(now, dst):
        icmp.errors_rate_limited += 1
        return
    route = find_route(host, dst)
    if route is None:
        icmp.errors_not_allowed += 1
        return
    # RFC 1122 section 3.2.2: the source is the specific-destination address where the packet was for this host;
    # RFC 1812 section 4.3.2.4: else an address of the interface the error leaves by.
    src = header.dst if host.owner(header.dst) is not None else source_for(host, dst, route)
    if not src:
        icmp.errors_not_allowed += 1
        return
    error = build_error_ipv4(src, type_, code, rest, buf, header, host.config.ttl)
    count_error4(host, type_, code)
    # With a source route back the error goes to its first router.
    to = error[16:20]
    if to != dst:
        route = find_route(host, to)
        if route is None:
            return
    send(host, now, route, to, Packet(error))


def count_error4(host: Host, type_: int, code: int) -> None:
    """Count an ICMP error that is sent."""
    icmp = host.counters.icmp
    icmp.sent += 1
    icmp.errors_sent += 1
    if type_ == ICMP_DEST_UNREACHABLE:
        if code == ICMP_FRAGMENTATION_NEEDED:
            icmp.packet_too_big_sent += 1
        else:
            icmp.unreachable_sent += 1
    elif type_ == ICMP_TIME_EXCEEDED:
        icmp.time_exceeded_sent += 1
    elif type_ == ICMP_PARAMETER_PROBLEM:
        icmp.parameter_problem_sent += 1


def send_error6(
    host: Host,
    now: int,
    buf: bytes,
    header: Ipv6Header,
    arrived: int,
    link_group: bool,
    type_: int,
    code: int,
    rest: int,
) -> None:
    """An ICMPv6 error about the packet at `header.offset` in `buf`, to its source, if it may be sent."""
    icmp = host.counters.icmp
    # RFC 4443 section 2.4 (e.3): these two answer multicast too.
    multicast_allowed = type_ == ICMPV6_PACKET_TOO_BIG or (
        type_ == ICMPV6_PARAMETER_PROBLEM and code == ICMPV6_UNRECOGNIZED_OPTION
    )
    looped_back = arrived == LOOPBACK_INDEX
    if not may_send_error_ipv6(buf, header, link_group, multicast_allowed, looped_back):
        icmp.errors_not_allowed += 1
        return
    dst = header.src
    if not host.icmp_limit.allow(now, dst):
        icmp.errors_rate_limited += 1
        return
    scope = arrived if dst[0] == 0xFE and dst[1] & 0xC0 == 0x80 else -1
    route = find_route(host, dst, 0, scope)
    if route is None:
        icmp.errors_not_allowed += 1
        return
    # RFC 4443 section 2.2: the address the packet was sent to, if it is one of ours; else by source selection.
    src = header.dst if host.owner(header.dst) is not None else source_for(host, dst, route)
    if not src:
        icmp.errors_not_allowed += 1
        return
    error = build_error_ipv6(src, type_, code, rest, buf, header, host.config.ttl)
    icmp.sent += 1
    icmp.errors_sent += 1
    if type_ == ICMPV6_DEST_UNREACHABLE:
        icmp.unreachable_sent += 1
    elif type_ == ICMPV6_PACKET_TOO_BIG:
        icmp.packet_too_big_sent += 1
    elif type_ == ICMPV6_TIME_EXCEEDED:
        icmp.time_exceeded_sent += 1
    elif type_ == ICMPV6_PARAMETER_PROBLEM:
        icmp.parameter_problem_sent += 1
    send(host, now, route, dst, Packet(error))


def send_icmp4(
    host: Host,
    now: int,
    src: bytes,
    dst: bytes,
    type_: int,
    code: int,
    rest: int,
    body: bytes,
    tos: int,
    options: bytes,
) -> None:
    """An ICMP message of this host. `options` are IPv4 options; with a source route `dst` is its first router."""
    route = find_route(host, dst)
    if route is None:
        host.counters.ip.no_route += 1
        return
    if not src or is_group(route.interface, src):
        src = source_for(host, dst, route)
        if not src:
            return
    message = build_icmp(type_, code, rest, body)
    length = len(message)
    # What fits is atomic; what does not may be cut on the way and needs an identification (RFC 6864).
    options += bytes(-len(options) & 3)
    mtu = host.pmtu.get(now, dst, route.path_mtu())
    fits = 20 + len(options) + length <= mtu
    ident = 0 if fits else host.idents.ipv4(src, dst, PROTO_ICMP)
    head = build_ipv4(src, dst, PROTO_ICMP, length, host.config.ttl, tos, ident, fits, options=options)
    host.counters.icmp.sent += 1
    send(host, now, route, dst, Packet(head + message))


def send_icmp6(
    host: Host, now: int, src: bytes, dst: bytes, type_: int, code: int, rest: int, body: bytes, tos: int, scope: int
) -> None:
    """An ICMPv6 message of this host. `scope`: index of the interface it must leave by, -1 = any."""
    route = find_route(host, dst, 0, scope)
    if route is None:
        host.counters.ip.no_route += 1
        return
    if not src or src[0] == 0xFF:
        src = source_for(host, dst, route)
        if not src:
            return
    message = build_icmpv6(src, dst, type_, code, rest, body)
    head = build_ipv6(src, dst, PROTO_ICMPV6, len(message), host.config.ttl, tos)
    host.counters.icmp.sent += 1
    send(host, now, route, dst, Packet(head + message))

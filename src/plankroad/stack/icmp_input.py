"""ICMP and ICMPv6 messages that came in for this host (RFC 792, RFC 1122 section 3.2.2, RFC 4443)."""

from __future__ import annotations

from typing import Final

from plankroad.ip.interface import Interface
from plankroad.ip.redirect import handle_redirect_ipv4
from plankroad.stack.errors import report
from plankroad.stack.forward import first_address
from plankroad.stack.groups import mld_input
from plankroad.stack.host import LOOPBACK_INDEX, Host
from plankroad.stack.icmp_output import send_icmp4, send_icmp6
from plankroad.tcp.icmp import (
    ADMIN_PROHIBITED,
    FRAGMENTATION_NEEDED,
    HOST_UNREACHABLE,
    NETWORK_UNREACHABLE,
    PARAMETER_PROBLEM,
    PORT_UNREACHABLE,
    PROTOCOL_UNREACHABLE,
    SOURCE_QUENCH,
    SOURCE_ROUTE_FAILED,
    TIME_EXCEEDED,
)
from plankroad.units import MILLISECOND
from plankroad.wire.address import is_link_local, is_unspecified
from plankroad.wire.constants import (
    ICMP_DEST_UNREACHABLE,
    ICMP_ECHO_REPLY,
    ICMP_ECHO_REQUEST,
    ICMP_FRAGMENTATION_NEEDED,
    ICMP_PARAMETER_PROBLEM,
    ICMP_REDIRECT,
    ICMP_SOURCE_QUENCH,
    ICMP_TIME_EXCEEDED,
    ICMP_TIMESTAMP_REPLY,
    ICMP_TIMESTAMP_REQUEST,
    ICMPV6_DEST_UNREACHABLE,
    ICMPV6_ECHO_REPLY,
    ICMPV6_ECHO_REQUEST,
    ICMPV6_MLD_QUERY,
    ICMPV6_MLDV2_REPORT,
    ICMPV6_PACKET_TOO_BIG,
    ICMPV6_PARAMETER_PROBLEM,
    ICMPV6_REDIRECT,
    ICMPV6_ROUTER_SOLICITATION,
    ICMPV6_TIME_EXCEEDED,
    ICMPV6_UNRECOGNIZED_NEXT_HEADER,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import IcmpMessage, parse_icmp
from plankroad.wire.icmpv6 import parse_icmpv6
from plankroad.wire.ipv4 import Ipv4Header
from plankroad.wire.ipv4_options import (
    IPOPT_LSRR,
    IPOPT_RECORD_ROUTE,
    IPOPT_SSRR,
    IPOPT_TIMESTAMP,
    parse_options,
    parse_route,
    record_route,
    record_timestamp,
    reverse_route,
)
from plankroad.wire.ipv6 import Ipv6Header

#: Milliseconds.
DAY: Final = 24 * 3600 * 1000

#: The kind of each code of ICMP Destination Unreachable (RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1).
UNREACHABLE4 = (
    NETWORK_UNREACHABLE,
    HOST_UNREACHABLE,
    PROTOCOL_UNREACHABLE,
    PORT_UNREACHABLE,
    FRAGMENTATION_NEEDED,
    SOURCE_ROUTE_FAILED,
    NETWORK_UNREACHABLE,
    HOST_UNREACHABLE,
    HOST_UNREACHABLE,
    ADMIN_PROHIBITED,
    ADMIN_PROHIBITED,
    NETWORK_UNREACHABLE,
    HOST_UNREACHABLE,
    ADMIN_PROHIBITED,
    ADMIN_PROHIBITED,
    ADMIN_PROHIBITED,
)

#: The same of ICMPv6 (RFC 4443 section 3.1).
UNREACHABLE6 = (
    NETWORK_UNREACHABLE,
    ADMIN_PROHIBITED,
    HOST_UNREACHABLE,
    HOST_UNREACHABLE,
    PORT_UNREACHABLE,
    ADMIN_PROHIBITED,
    ADMIN_PROHIBITED,
)


def icmp4_input(host: Host, now: int, buf: bytes, header: Ipv4Header, arrived: Interface, group: bool) -> None:
    """The ICMP message that `header` precedes in `buf`. `group`: it came to a broadcast or multicast address."""
    icmp = host.counters.icmp
    icmp.received += 1
    try:
        message = parse_icmp(buf, header.payload_start, header.payload_end)
    except BadPacket:
        if header.payload_end - header.payload_start < 8:
            icmp.bad_message += 1
        else:
            icmp.bad_checksum += 1
        return
    host.counters.ip.delivered += 1
    type_ = message.type
    if type_ == ICMP_ECHO_REQUEST:
        echo4(host, now, message, header, arrived, group)
    elif type_ == ICMP_ECHO_REPLY:
        icmp.echo_replies_received += 1
        ping = host.pings.get(message.rest >> 16)
        if ping is None or not ping.deliver_reply(now, header.src, message.rest & 0xFFFF, message.body, header.ttl):
            icmp.ignored += 1
    elif type_ == ICMP_DEST_UNREACHABLE:
        if message.code == ICMP_FRAGMENTATION_NEEDED:
            icmp.packet_too_big_received += 1
        else:
            icmp.unreachable_received += 1
        if message.code >= len(UNREACHABLE4):
            icmp.unknown_type += 1
            return
        mtu = message.rest & 0xFFFF if message.code == ICMP_FRAGMENTATION_NEEDED else 0
        error4(host, now, message, header, UNREACHABLE4[message.code], mtu)
    elif type_ == ICMP_TIME_EXCEEDED:
        icmp.time_exceeded_received += 1
        error4(host, now, message, header, TIME_EXCEEDED, 0)
    elif type_ == ICMP_PARAMETER_PROBLEM:
        icmp.parameter_problem_received += 1
        error4(host, now, message, header, PARAMETER_PROBLEM, 0)
    elif type_ == ICMP_SOURCE_QUENCH:
        # RFC 6633: to be ignored. It is passed on because MUST-55 is the transport's.
        icmp.source_quench_received += 1
        error4(host, now, message, header, SOURCE_QUENCH, 0)
    elif type_ == ICMP_REDIRECT:
        icmp.redirect_received += 1
        if (
            host.config.accept_redirects
            and not host.config.forwarding
            and arrived.index != LOOPBACK_INDEX
            and handle_redirect_ipv4(host.routes, arrived, header.src, message)
        ):
            host.counters.ip.redirects_applied += 1
        else:
            host.counters.ip.redirects_ignored += 1
    elif type_ == ICMP_TIMESTAMP_REQUEST:
        icmp.timestamp_requests_received += 1
        timestamp(host, now, message, header, arrived, group)
    else:
        # RFC 1122 section 3.2.2: "If an ICMP message of unknown type is received, it MUST be silently discarded."
        icmp.unknown_type += 1


def error4(host: Host, now: int, message: IcmpMessage, header: Ipv4Header, kind: int, mtu: int) -> None:
    """An ICMP error, to whom it concerns."""
    report(host, now, message.body, kind, header.src, mtu, message.type, message.code, header.ttl)


def echo4(host: Host, now: int, message: IcmpMessage, header: Ipv4Header, arrived: Interface, group: bool) -> None:
    """RFC 1122 section 3.2.2.6: "Every host MUST implement an ICMP Echo server function"."""
    icmp = host.counters.icmp
    icmp.echo_requests_received += 1
    if not host.config.echo or (group and not host.config.echo_broadcast) or is_unspecified(header.src):
        icmp.echo_requests_ignored += 1
        return
    own = first_address(arrived) if group else header.dst
    dst, options = reflect_options(host, now, header.options, header.src, own)
    # "The IP source address in an ICMP Echo Reply MUST be the same as the specific-destination address".
    src = b"" if group else header.dst
    icmp.echo_replies_sent += 1
    send_icmp4(host, now, src, dst, ICMP_ECHO_REPLY, 0, message.rest, message.body, header.tos & ~3, options)


def host_time(host: Host, now: int) -> int:
    """The 32 bits of a timestamp: milliseconds since midnight UT, where the host knows when that was."""
    if host.config.midnight >= 0:
        return (now - host.config.midnight) // MILLISECOND % DAY
    # RFC 792: the high order bit says that it is another time.
    return now // MILLISECOND & 0x7FFFFFFF | 0x80000000


def reflect_options(host: Host, now: int, options: bytes, src: bytes, own: bytes) -> tuple[bytes, bytes]:
    """(destination address field, options) of the answer to a message of `src` with these options.

    `own`: the address of this host to be recorded.

    RFC 1122 section 3.2.2.6: Record Route and Timestamp "SHOULD be updated to include the current host and included in
    the IP header of the Echo Reply"; a Source Route "MUST be reversed and used".
    """
    dst = src
    out = b""
    if not options:
        return dst, out
    try:
        if own:
            options = record_timestamp(record_route(options, own), [own], host_time(host, now))
        for option in parse_options(options):
            if option.kind in (IPOPT_RECORD_ROUTE, IPOPT_TIMESTAMP):
                out += bytes((option.kind, 2 + len(option.data))) + option.data
            elif option.kind in (IPOPT_LSRR, IPOPT_SSRR):
                dst, reversed_route = reverse_route(parse_route(option), src)
                out += reversed_route
    except BadPacket:
        return src, b""
    return dst, out


def timestamp(
    host: Host, now: int, message: IcmpMessage, header: Ipv4Header, arrived: Interface, group: bool
) -> None:
    """RFC 1122 section 3.2.2.8: a host MAY answer Timestamp; here where the configuration asks for it."""
    if not host.config.icmp_timestamp or group or len(message.body) < 12 or is_unspecified(header.src):
        host.counters.icmp.ignored += 1
        return
    stamp = host_time(host, now).to_bytes(4, "big")
    dst, options = reflect_options(host, now, header.options, header.src, header.dst)
    host.counters.icmp.timestamp_replies_sent += 1
    body = message.body[:4] + stamp + stamp
    send_icmp4(host, now, header.dst, dst, ICMP_TIMESTAMP_REPLY, 0, message.rest, body, header.tos & ~3, options)


def icmp6_input(host: Host, now: int, buf: bytes, header: Ipv6Header, arrived: Interface, group: bool) -> None:
    """The ICMPv6 message at `header.payload_start` in `buf`. `group`: it came to a multicast address."""
    icmp = host.counters.icmp
    icmp.received += 1
    src = header.src
    dst = header.dst
    start = header.payload_start
    end = header.payload_end
    try:
        message = parse_icmpv6(buf, start, end, src, dst)
    except BadPacket:
        if end - start < 8:
            icmp.bad_message += 1
        else:
            icmp.bad_checksum += 1
        return
    host.counters.ip.delivered += 1
    type_ = message.type
    if ICMPV6_ROUTER_SOLICITATION <= type_ <= ICMPV6_REDIRECT:
        neighbours = arrived.neighbours
        if neighbours is None or (type_ == ICMPV6_REDIRECT and not host.config.accept_redirects):
            icmp.ignored += 1
        elif not neighbours.handle_ndp(now, buf, start, end, src, dst, header.hop_limit):
            icmp.bad_message += 1
    elif type_ == ICMPV6_ECHO_REQUEST:
        icmp.echo_requests_received += 1
        if not host.config.echo or (group and not host.config.echo_multicast) or is_unspecified(src):
            icmp.echo_requests_ignored += 1
            return
        icmp.echo_replies_sent += 1
        # RFC 4443 section 4.2: the source is the request's destination, where that is a unicast address.
        reply_src = b"" if group else dst
        scope = arrived.index if is_link_local(src) and arrived.index >= 0 else -1
        tos = header.traffic_class & ~3
        send_icmp6(host, now, reply_src, src, ICMPV6_ECHO_REPLY, 0, message.rest, message.body, tos, scope)
    elif type_ == ICMPV6_ECHO_REPLY:
        icmp.echo_replies_received += 1
        ping = host.pings.get(message.rest >> 16)
        if ping is None or not ping.deliver_reply(now, src, message.rest & 0xFFFF, message.body, header.hop_limit):
            icmp.ignored += 1
    elif type_ < 128:
        error6(host, now, message, header)
    elif ICMPV6_MLD_QUERY <= type_ < ICMPV6_ROUTER_SOLICITATION or type_ == ICMPV6_MLDV2_REPORT:
        mld_input(host, now, message, end - start, arrived, src, header.hop_limit)
    else:
        # RFC 4443 section 2.4 (b): an informational message of unknown type is silently discarded.
        icmp.unknown_type += 1


def error6(host: Host, now: int, message: IcmpMessage, header: Ipv6Header) -> None:
    """An ICMPv6 error, to whom it concerns."""
    icmp = host.counters.icmp
    type_ = message.type
    code = message.code
    mtu = 0
    if type_ == ICMPV6_DEST_UNREACHABLE:
        icmp.unreachable_received += 1
        kind = UNREACHABLE6[code] if code < len(UNREACHABLE6) else NETWORK_UNREACHABLE
    elif type_ == ICMPV6_PACKET_TOO_BIG:
        icmp.packet_too_big_received += 1
        kind = FRAGMENTATION_NEEDED
        mtu = message.rest
    elif type_ == ICMPV6_TIME_EXCEEDED:
        icmp.time_exceeded_received += 1
        kind = TIME_EXCEEDED
    elif type_ == ICMPV6_PARAMETER_PROBLEM:
        icmp.parameter_problem_received += 1
        # RFC 9293 section 3.9.2.2 counts the unknown next header among the hard errors, as protocol unreachable.
        kind = PROTOCOL_UNREACHABLE if code == ICMPV6_UNRECOGNIZED_NEXT_HEADER else PARAMETER_PROBLEM
    else:
        # RFC 4443 section 2.4 (a): an error of unknown type is passed to the upper layer. To all it means trouble.
        icmp.unknown_type += 1
        kind = HOST_UNREACHABLE
    report(host, now, message.body, kind, header.src, mtu, type_, code, header.hop_limit)

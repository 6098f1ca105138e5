"""An ICMP error is told to whom it concerns: a connection, a UDP endpoint, or who pings.

RFC 1122 section 3.2.2: "the IP layer ... MUST demultiplex to the transport protocol". What is quoted must be a packet
of this host; whether the error is to be believed the transport decides (RFC 5927).
"""

from __future__ import annotations

from plankroad.stack.host import Host
from plankroad.stack.path import Path
from plankroad.stack.routing import find_route, narrowest_mtu
from plankroad.stack.tcp_output import refresh
from plankroad.tcp.icmp import FRAGMENTATION_NEEDED, SOURCE_QUENCH, errno_of
from plankroad.udp.datagram import UdpError
from plankroad.wire.constants import (
    ICMP_ECHO_REQUEST,
    ICMPV6_ECHO_REQUEST,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_TCP,
    PROTO_UDP,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4_options import find_source_route
from plankroad.wire.quoted import Quoted, parse_quoted


def report(
    host: Host, now: int, quote: bytes, kind: int, offender: bytes, mtu: int, type_: int, code: int, ttl: int
) -> None:
    """An error of `kind` (`tcp.icmp`) about the packet that `quote` begins with.

    `offender`: who says so, b"" = this host itself. `mtu`: what FRAGMENTATION_NEEDED says. `type_`, `code`, `ttl`: of
    the message.
    """
    icmp = host.counters.icmp
    try:
        quoted = parse_quoted(quote)
    except BadPacket:
        icmp.bad_message += 1
        return
    protocol = quoted.protocol
    if host.owner(quoted.src) is None:
        icmp.errors_unmatched += 1
        return
    if kind == SOURCE_QUENCH and protocol != PROTO_TCP:
        # RFC 6633 section 5: "MUST be silently discarded"; TCP does so itself (MUST-55).
        return
    believed = False
    path: Path | None = None
    if protocol == PROTO_TCP and quoted.dst_port >= 0:
        path = find_path(host, quote, quoted)
        if path is None:
            icmp.errors_unmatched += 1
            return
        believed = path.connection.handle_icmp(now, kind, quoted.seq, mtu)
    elif protocol == PROTO_UDP and quoted.dst_port >= 0:
        endpoint = host.udp.find(quoted.src, quoted.src_port, quoted.dst, quoted.dst_port)
        if endpoint is None or not endpoint.has_sent(quoted.dst, quoted.dst_port):
            # Anybody can quote what was never sent.
            host.counters.udp.icmp_rejected += 1
            icmp.errors_unmatched += 1
            return
        host.counters.udp.icmp_errors += 1
        endpoint.deliver_error(UdpError(kind, errno_of(kind), quoted.dst, quoted.dst_port, offender, mtu))
        believed = True
    elif protocol in (PROTO_ICMP, PROTO_ICMPV6) and quoted.icmp_type in (ICMP_ECHO_REQUEST, ICMPV6_ECHO_REQUEST):
        ping = host.pings.get(quoted.icmp_ident)
        if ping is not None:
            believed = ping.deliver_error(now, kind, offender, quoted.icmp_seq, type_, code, mtu, quoted.dst, ttl)
        if not believed:
            icmp.errors_unmatched += 1
    else:
        icmp.errors_unmatched += 1
    if believed and kind == FRAGMENTATION_NEEDED:
        path_mtu(host, now, quote, quoted, mtu, path)


def find_path(host: Host, quote: bytes, quoted: Quoted) -> Path | None:
    """The connection that sent the quoted segment."""
    path = host.connections.get((quoted.src, quoted.src_port, quoted.dst, quoted.dst_port))
    if path is not None or quoted.version != 4 or quote[0] & 15 == 5:
        return path
    # With a source route the destination field may hold a router; the last address of the route is the end.
    try:
        route = find_source_route(quote[20 : (quote[0] & 15) << 2])
    except BadPacket:
        return None
    if route is None or not route.route:
        return None
    return host.connections.get((quoted.src, quoted.src_port, route.route[-1], quoted.dst_port))


def path_mtu(host: Host, now: int, quote: bytes, quoted: Quoted, mtu: int, path: Path | None) -> None:
    """A believed "fragmentation needed" or "packet too big" (RFC 1191, RFC 8201).

    The connection whose segment is quoted learns of it at once, so that it sends again what was lost; the others to the
    same destination when they next have something to send.
    """
    ip = host.counters.ip
    dst = quoted.dst if path is None else path.wire_dst
    route = find_route(host, dst) if path is None else path.route
    if route is None:
        ip.path_mtu_ignored += 1
        return
    header_length = (quote[0] & 15) << 2 if quoted.version == 4 else 40
    link_mtu = narrowest_mtu(host, dst, route)
    if host.pmtu.update(now, dst, mtu, link_mtu, quoted.total_length, header_length):
        ip.path_mtu_decreased += 1
    else:
        ip.path_mtu_ignored += 1
    if path is None:
        return
    if quoted.version == 4 and path.dont_fragment and not host.pmtu.dont_fragment(dst):
        # Narrower than we are willing to believe: routers may cut our smallest segments up instead.
        path.dont_fragment = False
        path.generation = -1
    if path.generation != host.state_generation():
        refresh(host, now, path)

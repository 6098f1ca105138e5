"""A TCP segment came in: to its connection, to a listener, or to nobody (RFC 9293 section 3.10.7)."""

from __future__ import annotations

from plankroad.stack.host import Host
from plankroad.stack.path import Path
from plankroad.stack.ports import ANY4, ANY6
from plankroad.stack.routing import find_route, narrowest_mtu, scope_of
from plankroad.stack.tcp_output import forget, register, send_stateless
from plankroad.tcp.constants import TIME_WAIT
from plankroad.tcp.listen import Listener
from plankroad.tcp.reset import reset_for
from plankroad.wire.address import is_unspecified
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4_options import build_source_route, find_source_route, reverse_route
from plankroad.wire.packet import Packet
from plankroad.wire.segment import SYN, Segment
from plankroad.wire.tcp import parse_tcp, tcp_checksum_ok


def tcp_input(
    host: Host,
    now: int,
    packet: Packet,
    start: int,
    end: int,
    src: bytes,
    dst: bytes,
    tos: int,
    arrived: int,
    options: bytes,
) -> None:
    """The segment in `packet.head[start:end]`, to a unicast address of this host.

    `arrived`: index of the interface it came in by. `options`: raw IPv4 options.
    """
    buf = packet.head
    counters = host.counters.tcp
    if not packet.csum_valid and packet.csum_offset == 0 and not tcp_checksum_ok(buf, start, end, src, dst):
        counters.bad_checksum += 1
        return
    try:
        seg = parse_tcp(buf, start, end)
    except BadPacket:
        counters.bad_header += 1
        return
    seg.tos = tos
    seg.gso_size = packet.gso_size
    host.counters.ip.delivered += 1
    path = host.connections.get((dst, seg.dst_port, src, seg.src_port))
    if path is not None:
        connection = path.connection
        t = connection.tcb
        if t.state == TIME_WAIT and seg.flags & SYN and connection.may_reuse(now, seg):
            # MAY-2, RFC 6191: the old incarnation makes place, if there is someone to take the new one.
            listener = find_listener(host, dst, seg.dst_port)
            if listener is not None and listener.has_room():
                connection.drop(now)
                forget(host, connection)
                to_listener(host, now, listener, seg, src, dst, arrived, options)
                return
        if options:
            take_route(host, path, options, src)
        if path.interface.ethernet:
            # RFC 4861 section 7.3.1: forward progress of a connection confirms that the neighbour is reachable.
            before = t.snd_una
            connection.handle_segment(now, seg)
            neighbours = path.interface.neighbours
            if t.snd_una > before and path.next_hop and neighbours is not None:
                neighbours.confirm(now, path.next_hop)
        else:
            connection.handle_segment(now, seg)
        if connection.has_events():
            # The program hears of it before output is polled, so that what it answers rides with the acknowledgement.
            host.mark_ready(connection)
        return
    listener = find_listener(host, dst, seg.dst_port)
    if listener is not None:
        to_listener(host, now, listener, seg, src, dst, arrived, options)
        return
    counters.segments_received += 1
    counters.no_connection += 1
    # MUST-63: an invalid source is not answered.
    if is_unspecified(src):
        return
    reset = reset_for(seg)
    if reset is not None:
        send_stateless(host, now, reset, dst, src, arrived)


def find_listener(host: Host, local: bytes, port: int) -> Listener | None:
    """Who listens at this address and port, the most specific first."""
    listeners = host.listeners
    listener = listeners.get((local, port))
    if listener is None:
        listener = listeners.get((ANY4 if len(local) == 4 else ANY6, port))
        if listener is None:
            listener = listeners.get((b"", port))
    # Closed, and not yet taken out of the table.
    if listener is not None and listener.closed:
        return None
    return listener


def to_listener(
    host: Host,
    now: int,
    listener: Listener,
    seg: Segment,
    src: bytes,
    dst: bytes,
    arrived: int,
    options: bytes,
) -> None:
    """A segment of no connection, for a listener."""
    counters = host.counters.tcp
    # RFC 9293 section 3.9.2.3, MUST-63: "An incoming SYN with an invalid source address MUST be ignored".
    if is_unspecified(src) or seg.src_port == 0:
        counters.segments_received += 1
        return
    route = find_route(host, src, 0, scope_of(host, dst, src, arrived))
    if route is None:
        counters.segments_received += 1
        host.counters.ip.no_route += 1
        return
    mtu = host.pmtu.get(now, src, narrowest_mtu(host, src, route))
    result = listener.handle_segment(now, seg, dst, src, route.offered_mtu(), mtu, route.initial_window)
    connection = result.connection
    if connection is not None:
        if seg.flags & SYN:
            counters.segments_received += 1
        path = register(host, now, connection, arrived)
        if connection.tcb.config.source_route:
            set_source_route(path, connection.tcb.config.source_route)
        elif options:
            take_route(host, path, options, src)
        return
    counters.segments_received += 1
    if result.reply is not None:
        send_stateless(host, now, result.reply, dst, src, arrived)


def set_source_route(path: Path, hops: tuple[bytes, ...]) -> None:
    """MUST-51: the program's source route, which takes precedence over one received (MUST-52)."""
    if len(path.dst) != 4 or not hops:
        return
    path.wire_dst, option = build_source_route(list(hops), path.dst)
    path.ip_options = pad(option)
    path.generation = -1


def take_route(host: Host, path: Path, options: bytes, src: bytes) -> None:
    """MUST-53: save the return route of a segment that came by a source route, and use it; a later one overrides an
    earlier one (SHLD-24), but none the program's own (MUST-52). Other options are ignored (MUST-50).
    """
    if not host.config.source_route or path.connection.tcb.config.source_route:
        return
    try:
        route = find_source_route(options)
    except BadPacket:
        return
    if route is None or not route.completed():
        return
    # Nothing but the recorded hops is reversed, so the option can be compared before anything is looked up again.
    wire_dst, option = reverse_route(route, src)
    option = pad(option)
    if wire_dst == path.wire_dst and option == path.ip_options:
        return
    path.wire_dst = wire_dst
    path.ip_options = option
    path.generation = -1


def pad(options: bytes) -> bytes:
    """IPv4 options, to a multiple of 4."""
    return options + bytes(-len(options) & 3)

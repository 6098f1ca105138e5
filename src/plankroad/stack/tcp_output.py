"""From a segment of a connection to a packet on its path."""

from __future__ import annotations

from plankroad.ip.routes import flow_hash
from plankroad.stack.host import Host
from plankroad.stack.output import emit, emit_sized, send
from plankroad.stack.path import MAX_TCP_HEADER, Path
from plankroad.stack.routing import find_route, is_spread, narrowest_mtu, scope_of
from plankroad.tcp.connection import Connection
from plankroad.tcp.icmp import NETWORK_UNREACHABLE
from plankroad.tcp.plpmtud import COMPLETE, SEARCH_DONE, SEARCH_OPEN, TOLD, suspend
from plankroad.units import NEVER
from plankroad.wire.constants import PROTO_TCP
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import GSO_TCPV4, GSO_TCPV6, Packet
from plankroad.wire.segment import RST, Segment
from plankroad.wire.tcp import build_tcp


def register(host: Host, now: int, connection: Connection, arrived: int) -> Path:
    """Enter a connection into the tables. `arrived`: the interface its SYN came in by, -1 = it is opened here."""
    local = connection.local_addr
    remote = connection.remote_addr
    key = (local, connection.local_port, remote, connection.remote_port)
    flow = flow_hash(local, remote, PROTO_TCP, connection.local_port, connection.remote_port)
    path = Path(connection, key, host.loopback, flow)
    path.scope = scope_of(host, local, remote, arrived)
    path.progress_at = now
    path.dont_fragment = connection.tcb.config.path_mtu_discovery or len(local) != 4
    connection.tcb.memory = host.memory
    host.connections[key] = path
    host.paths[connection] = path
    return path


def forget(host: Host, connection: Connection) -> None:
    """Take a connection out of all tables."""
    path = host.paths.pop(connection, None)
    if path is not None:
        if host.connections.get(path.key) is path:
            del host.connections[path.key]
        host.memory.used -= path.held
        path.held = 0
        if path.in_time_wait:
            path.in_time_wait = False
            host.time_waits.pop(path, None)
        if path.orphan:
            path.orphan = False
            host.orphans.pop(path, None)
    host.timers.set(connection, NEVER)


def refresh(host: Host, now: int, path: Path) -> None:
    """Look up the way of a connection, and tell it what the way takes."""
    connection = path.connection
    dst = path.wire_dst
    route = find_route(host, dst, path.flow, path.scope)
    if host.owner(path.src) is None:
        # RFC 1122 section 3.2.1.3: a source "MUST be one of its own IP addresses". It was taken away, and may return.
        route = None
    path.route = route
    if route is None:
        path.generation = host.state_generation()
        path.check_at = NEVER
        return
    interface = route.interface
    path.interface = interface
    path.next_hop = route.next_hop(dst)
    path.spread = is_spread(host, dst)
    link_mtu = narrowest_mtu(host, dst, route)
    mtu = host.pmtu.get(now, dst, link_mtu)
    estimate = host.pmtu.entries.get(dst)
    path.check_at = NEVER if estimate is None else estimate.expires
    searched = TOLD if estimate is None or estimate.mtu != mtu else estimate.searched
    # Asking may have made an old estimate go, so the generation is read last.
    path.generation = host.state_generation()
    mtu -= len(path.ip_options)
    if mtu != path.mtu:
        path.mtu = mtu
        connection.set_path_mtu(now, mtu, link_mtu - len(path.ip_options), searched)
    suspend(connection.tcb, now, not path.dont_fragment)
    gso_max = 0
    if interface.gso_max_size and interface.tx_csum and path.dont_fragment:
        header = (20 if len(dst) == 4 else 40) + len(path.ip_options) + MAX_TCP_HEADER
        gso_max = max(0, min(interface.gso_max_size, 65535) - header)
    connection.tcb.gso_max = gso_max


def share_path_mtu(host: Host, now: int, path: Path) -> None:
    """A connection found out what its path carries: others to the same destination begin with that.

    RFC 4821 section 5.2: PLPMTUD's results are shared among flows by the IP layer's cache.
    """
    t = path.connection.tcb
    mtu = t.mtu_found + len(path.ip_options)
    t.mtu_found = 0
    route = path.route
    if route is None:
        return
    complete = t.plpmtud is not None and t.plpmtud.state == COMPLETE
    link_mtu = narrowest_mtu(host, path.wire_dst, route)
    host.pmtu.found(now, path.wire_dst, mtu, link_mtu, SEARCH_DONE if complete else SEARCH_OPEN)
    host.counters.ip.path_mtu_probed += 1


def transmit(host: Host, now: int, path: Path, seg: Segment) -> Packet | None:
    """The packet that carries a segment, as its link takes it; None where no link is to see it (now)."""
    ip = host.counters.ip
    route = path.route
    if route is None:
        ip.no_route += 1
        # Only what was sent can be in trouble: the connection judges by the sequence number, as with ICMP.
        path.connection.handle_icmp(now, NETWORK_UNREACHABLE, seg.seq)
        return None
    interface = path.interface
    next_hop = path.next_hop
    if path.spread:
        other = find_route(host, path.wire_dst, path.flow, path.scope)
        if other is not None:
            interface = other.interface
            next_hop = other.next_hop(path.wire_dst)
    src = path.src
    partial = interface.tx_csum
    tcp = build_tcp(seg, src, path.dst, partial)
    payload = seg.payload
    length = len(tcp) + len(payload)
    config = path.connection.tcb.config
    if len(src) == 4:
        # RFC 6864 section 4.1: the identification of an atomic datagram may be anything.
        ident = 0 if path.dont_fragment else host.idents.ipv4(src, path.wire_dst, PROTO_TCP)
        head = build_ipv4(
            src,
            path.wire_dst,
            PROTO_TCP,
            length,
            config.ttl,
            seg.tos,
            ident,
            path.dont_fragment,
            options=path.ip_options,
        )
    else:
        head = build_ipv6(src, path.wire_dst, PROTO_TCP, length, config.ttl, seg.tos)
    packet = Packet(head + tcp, payload)
    if partial:
        packet.csum_start = len(head)
        packet.csum_offset = 16
    if seg.gso_size and len(payload) > seg.gso_size:
        packet.gso_type = GSO_TCPV4 if len(src) == 4 else GSO_TCPV6
        packet.gso_size = seg.gso_size
    if interface.index >= 0:
        ip.sent += 1
        ip.sent_bytes += length + len(head)
    if path.dont_fragment:
        return emit(host, now, interface, next_hop, packet)
    return emit_sized(host, now, interface, next_hop, packet, interface.mtu)


def send_stateless(host: Host, now: int, seg: Segment, src: bytes, dst: bytes, arrived: int) -> None:
    """Queue a segment of no connection: a reset or a SYN cookie, to where the segment it answers came from."""
    flow = flow_hash(src, dst, PROTO_TCP, seg.src_port, seg.dst_port)
    route = find_route(host, dst, flow, scope_of(host, src, dst, arrived))
    tcp_counters = host.counters.tcp
    if route is None:
        host.counters.ip.no_route += 1
        return
    partial = route.interface.tx_csum
    tcp = build_tcp(seg, src, dst, partial)
    ttl = host.config.tcp.ttl
    if len(src) == 4:
        head = build_ipv4(src, dst, PROTO_TCP, len(tcp), ttl, seg.tos, 0, True)
    else:
        head = build_ipv6(src, dst, PROTO_TCP, len(tcp), ttl, seg.tos)
    packet = Packet(head + tcp)
    if partial:
        packet.csum_start = len(head)
        packet.csum_offset = 16
    tcp_counters.segments_sent += 1
    if seg.flags & RST:
        tcp_counters.resets_sent += 1
    send(host, now, route, dst, packet)

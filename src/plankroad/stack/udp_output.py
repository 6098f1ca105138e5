"""From a datagram of an endpoint to packets."""

from __future__ import annotations

from plankroad.ip.routes import Route, flow_hash
from plankroad.stack.host import LOOPBACK_INDEX, Host
from plankroad.stack.output import emit_sized, is_group, loop_back
from plankroad.stack.routing import find_route, scope_of
from plankroad.tcp.icmp import FRAGMENTATION_NEEDED, errno_of
from plankroad.udp.datagram import OutDatagram, UdpError
from plankroad.udp.endpoint import PMTU_DO, PMTU_DONT, PMTU_PROBE, UdpEndpoint
from plankroad.wire.address import is_multicast
from plankroad.wire.constants import PROTO_UDP
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.packet import GSO_UDP_L4, Packet
from plankroad.wire.udp import build_udp


def transmit(host: Host, now: int, endpoint: UdpEndpoint, out: OutDatagram) -> Packet | None:
    """The packet (the first of them) that carries a datagram; None where no link is to see it (now)."""
    counters = host.counters.udp
    flow = flow_hash(out.src, out.dst, PROTO_UDP, out.src_port, out.dst_port)
    scope = out.interface if out.interface >= 0 else scope_of(host, out.src, out.dst, -1)
    route = find_route(host, out.dst, flow, scope)
    if route is None:
        # It was there when the program sent this.
        counters.unroutable += 1
        host.counters.ip.no_route += 1
        return None
    interface = route.interface
    group = is_group(interface, out.dst)
    mtu = route.path_mtu()
    if out.pmtu not in (PMTU_PROBE, PMTU_DONT) and not group:
        mtu = host.pmtu.get(now, out.dst, mtu)
    counters.bytes_sent += len(out.data)
    if not out.gso_size:
        counters.sent += 1
        return one(host, now, endpoint, out, out.data, route, mtu, group, 0)
    size = out.gso_size
    head = 28 + len(out.options) if len(out.dst) == 4 else 48
    counters.sent += (len(out.data) + size - 1) // size
    if (
        host.config.udp_gso
        and interface.tx_csum
        and not out.no_checksum
        and not group
        and head + size <= mtu
        and head + len(out.data) <= interface.gso_max_size
    ):
        return one(host, now, endpoint, out, out.data, route, mtu, group, size)
    first: Packet | None = None
    for at in range(0, len(out.data), size):
        packet = one(host, now, endpoint, out, out.data[at : at + size], route, mtu, group, 0)
        if packet is None:
            continue
        if first is None:
            first = packet
        else:
            # They were taken from the endpoint as one, and its send buffer bounds them.
            host.output.append(packet)
    return first


def one(
    host: Host,
    now: int,
    endpoint: UdpEndpoint,
    out: OutDatagram,
    data: bytes,
    route: Route,
    mtu: int,
    group: bool,
    gso_size: int,
) -> Packet | None:
    """A datagram with its headers. `mtu`: what goes unfragmented; `group`: to a group or to everyone."""
    interface = route.interface
    src = out.src
    dst = out.dst
    partial = interface.tx_csum and not out.no_checksum
    udp = build_udp(src, dst, out.src_port, out.dst_port, data, partial)
    if out.no_checksum:
        # RFC 1122 section 4.1.3.4: the program MAY do without, over IPv4.
        udp = udp[:6] + b"\0\0"
    length = 8 + len(data)
    ttl = out.ttl
    if len(dst) == 4:
        options = out.options + bytes(-len(out.options) & 3)
        size = 20 + len(options) + length
        refuse = out.pmtu >= PMTU_DO
        # Don't Fragment on what fits; what does not is cut here, and its pieces may be cut again.
        atomic = refuse or (out.pmtu != PMTU_DONT and (size <= mtu or gso_size > 0))
        ident = 0 if atomic else host.idents.ipv4(src, dst, PROTO_UDP)
        if ttl < 0:
            ttl = host.config.ttl
        head = build_ipv4(src, dst, PROTO_UDP, length, ttl, out.tos, ident, atomic, options=options)
    else:
        size = 40 + length
        refuse = out.pmtu >= PMTU_DO
        if ttl < 0:
            ttl = interface.hop_limit if interface.hop_limit else host.config.ttl
        head = build_ipv6(src, dst, PROTO_UDP, length, ttl, out.tos)
    if refuse and not gso_size and size > mtu:
        # The path became narrower after the program's call.
        endpoint.deliver_error(
            UdpError(FRAGMENTATION_NEEDED, errno_of(FRAGMENTATION_NEEDED), dst, out.dst_port, b"", mtu)
        )
        host.counters.ip.too_big += 1
        return None
    packet = Packet(head + udp, data)
    if partial:
        packet.csum_start = len(head)
        packet.csum_offset = 6
    if gso_size:
        packet.gso_type = GSO_UDP_L4
        packet.gso_size = gso_size
    ip = host.counters.ip
    if group and interface.index != LOOPBACK_INDEX:
        if not is_multicast(dst) or (out.loop and dst in interface.groups):
            # RFC 1112 section 6.1: a copy for the host itself. It comes in as if by the same interface.
            loop_back(
                host,
                Packet(packet.head, packet.payload, interface.index, 0, 0, packet.csum_start, packet.csum_offset),
            )
        if ttl == 0:
            return None
    if interface.index != LOOPBACK_INDEX:
        ip.sent += 1
        ip.sent_bytes += size
    return emit_sized(host, now, interface, route.next_hop(dst), packet, mtu)

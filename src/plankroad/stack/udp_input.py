"""A UDP datagram came in (RFC 768, RFC 1122 section 4.1)."""

from __future__ import annotations

from plankroad.stack.host import Host
from plankroad.udp.datagram import Datagram
from plankroad.wire.address import is_multicast
from plankroad.wire.errors import BadPacket
from plankroad.wire.packet import GSO_UDP_L4, Packet
from plankroad.wire.udp import parse_udp, udp_checksum_ok


def udp_input(
    host: Host,
    packet: Packet,
    start: int,
    end: int,
    src: bytes,
    dst: bytes,
    tos: int,
    ttl: int,
    arrived: int,
    group: bool,
    options: bytes,
) -> bool:
    """The datagram in `packet.head[start:end]`; False where nobody listens to the unicast address and port.

    `arrived`: index of the interface it came in by. `group`: `dst` is a multicast or broadcast address.
    """
    buf = packet.head
    counters = host.counters.udp
    # A checksum of 0 is none at all: right over IPv4, refused over IPv6 (RFC 8200 section 8.1).
    if not packet.csum_valid and packet.csum_offset == 0 and not udp_checksum_ok(buf, start, end, src, dst):
        counters.bad_checksum += 1
        return True
    try:
        datagram = parse_udp(buf, start, end)
    except BadPacket:
        counters.bad_header += 1
        return True
    host.counters.ip.delivered += 1
    port = datagram.dst_port
    src_port = datagram.src_port
    data = datagram.payload
    if group:
        found = host.udp.find_all(dst, port, src, src_port)
        heard = False
        multicast = is_multicast(dst)
        for other in found:
            # A group is heard by those who joined it on this interface, not by all who have the port.
            if multicast and other.local_addr != dst and (dst, arrived) not in other.groups:
                continue
            heard = True
            if other.deliver(Datagram(data, src, src_port, dst, arrived, ttl, tos, options)):
                counters.received += 1
                counters.bytes_received += len(data)
        if not heard:
            counters.no_port += 1
        return True
    endpoint = host.udp.find(dst, port, src, src_port)
    if endpoint is None:
        counters.no_port += 1
        return False
    size = packet.gso_size
    if packet.gso_type == GSO_UDP_L4 and 0 < size < len(data):
        # A super-segment stands for several datagrams; the program sees each.
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            if endpoint.deliver(Datagram(piece, src, src_port, dst, arrived, ttl, tos, options)):
                counters.received += 1
                counters.bytes_received += len(piece)
        return True
    if endpoint.deliver(Datagram(data, src, src_port, dst, arrived, ttl, tos, options)):
        counters.received += 1
        counters.bytes_received += len(data)
    return True

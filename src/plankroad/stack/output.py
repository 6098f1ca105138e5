"""IP output: from a packet that is made to one that a link takes."""

from __future__ import annotations

from plankroad.ip.fragment import CannotFragment, fragment_ipv4, fragment_ipv6
from plankroad.ip.interface import Interface
from plankroad.ip.routes import Route
from plankroad.stack.host import LOOPBACK_INDEX, Host
from plankroad.wire.address import is_broadcast, is_multicast
from plankroad.wire.checksum import complete
from plankroad.wire.constants import ETHERTYPE_IPV4, ETHERTYPE_IPV6
from plankroad.wire.errors import BadPacket
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.packet import GSO_NONE, Packet


def emit(host: Host, now: int, interface: Interface, next_hop: bytes, packet: Packet) -> Packet | None:
    """The packet as the interface's link takes it.

    None where it needs no link (it is for this host), must wait for its neighbour, or is dropped (and counted).
    """
    index = interface.index
    packet.interface = index
    if index == LOOPBACK_INDEX:
        loop_back(host, packet)
        return None
    if not interface.up:
        host.counters.ip.interface_down += 1
        return None
    if interface.ethernet:
        return frame(now, interface, next_hop, packet)
    return packet


def frame(now: int, interface: Interface, next_hop: bytes, packet: Packet) -> Packet | None:
    """The packet in an Ethernet frame to its next hop; None where the neighbour is asked for first."""
    neighbours = interface.neighbours
    if neighbours is None:
        return None
    mac = neighbours.resolve(now, next_hop)
    if not mac:
        neighbours.queue(now, next_hop, packet)
        return None
    ethertype = ETHERTYPE_IPV4 if packet.head[0] >> 4 == 4 else ETHERTYPE_IPV6
    head = build_ethernet(mac, interface.mac, ethertype) + packet.head
    start = packet.csum_start
    if start or packet.csum_offset:
        start += 14
    return Packet(head, packet.payload, interface.index, packet.gso_type, packet.gso_size, start, packet.csum_offset)


def loop_back(host: Host, packet: Packet) -> None:
    """Queue a packet for the host itself; it comes in when output is polled, so nothing recurs."""
    if len(host.loopback_queue) >= host.config.loopback_queue:
        host.counters.ip.output_queue_full += 1
        return
    host.counters.ip.looped_back += 1
    host.loopback_queue.append(packet)


def enqueue(host: Host, packet: Packet | None) -> None:
    """Queue a packet that is ready for its link, ahead of what connections send."""
    if packet is None:
        return
    if len(host.output) >= host.config.output_queue:
        host.counters.ip.output_queue_full += 1
        return
    host.output.append(packet)


def room_for(host: Host, count: int) -> bool:
    """Whether so many packets fit the output queue. An empty one takes what there is, or much would never go."""
    waiting = len(host.output)
    return waiting == 0 or waiting + count <= host.config.output_queue


def emit_sized(
    host: Host, now: int, interface: Interface, next_hop: bytes, packet: Packet, mtu: int
) -> Packet | None:
    """`emit`, in fragments where the packet is larger than `mtu`; those after the first are queued.

    A super-segment is cut into segments by its link and needs none. Drops what must not be fragmented.
    """
    if len(packet) <= mtu or packet.gso_type != GSO_NONE:
        return emit(host, now, interface, next_hop, packet)
    pieces = cut(host, packet, mtu)
    if not pieces:
        host.counters.ip.fragmentation_failed += 1
        return None
    # The pieces of one datagram stay together: without the others each is useless. So all of them go, or none.
    if not room_for(host, len(pieces)):
        host.counters.ip.output_queue_full += 1
        return None
    first = emit(host, now, interface, next_hop, Packet(pieces[0]))
    for i in range(1, len(pieces)):
        following = emit(host, now, interface, next_hop, Packet(pieces[i]))
        if following is not None:
            host.output.append(following)
    return first


def cut(host: Host, packet: Packet, mtu: int) -> list[bytes]:
    """The fragments of a packet; none where it cannot be cut."""
    ip = host.counters.ip
    # Each fragment holds a part of what the checksum covers: it must be finished before.
    whole = complete(packet).to_bytes()
    try:
        if whole[0] >> 4 == 4:
            pieces = fragment_ipv4(whole, mtu)
        else:
            pieces = fragment_ipv6(whole, mtu, host.idents.ipv6(whole[8:24], whole[24:40]))
    except (CannotFragment, BadPacket):
        return []
    ip.fragmented += 1
    ip.fragments_created += len(pieces)
    return pieces


def send(host: Host, now: int, route: Route, dst: bytes, packet: Packet) -> None:
    """Queue a packet of this host to `dst` by `route`, as one of those that go out ahead of connections."""
    interface = route.interface
    ip = host.counters.ip
    if interface.index != LOOPBACK_INDEX:
        ip.sent += 1
        ip.sent_bytes += len(packet)
    mtu = route.path_mtu()
    if len(dst) == 16:
        # RFC 8200 section 5: only the source cuts, so to what the whole path takes.
        mtu = host.pmtu.get(now, dst, mtu)
    enqueue(host, emit_sized(host, now, interface, route.next_hop(dst), packet, mtu))


def is_group(interface: Interface, dst: bytes) -> bool:
    """Whether `dst` means more than one host on this link: multicast or broadcast."""
    return is_multicast(dst) or is_broadcast(dst) or (len(dst) == 4 and interface.is_broadcast(dst))

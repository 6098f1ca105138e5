"""What a neighbour cache sends: ARP packets, solicitations and advertisements, put into frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plankroad.ip.neighbour_entry import PROBE, Neighbour
from plankroad.ip.source import select_source
from plankroad.wire.address import (
    IPV4_ANY,
    IPV6_ALL_NODES,
    IPV6_ALL_ROUTERS,
    IPV6_ANY,
    MAC_BROADCAST,
    multicast_mac,
    solicited_node,
)
from plankroad.wire.arp import ARP_REQUEST, build_arp
from plankroad.wire.constants import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ICMPV6_NEIGHBOR_SOLICITATION,
    PROTO_ICMPV6,
)
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.icmpv6 import build_icmpv6
from plankroad.wire.ipv6 import build_ipv6
from plankroad.wire.ndp import (
    NDP_HOP_LIMIT,
    NDP_OPT_NONCE,
    NdpOptions,
    RouterSolicitation,
    build_neighbor_advertisement,
    build_neighbor_solicitation,
    build_options,
    build_router_solicitation,
)
from plankroad.wire.packet import Packet

if TYPE_CHECKING:
    from plankroad.ip.neighbour import NeighbourCache

ZERO_MAC: Final = b"\0\0\0\0\0\0"


def ethernet_frame(packet: Packet, src_mac: bytes, dst_mac: bytes, interface: int) -> Packet:
    """An IP packet as the payload of a frame; its offload marks are moved along with its bytes."""
    kind = ETHERTYPE_IPV4 if packet.head[0] >> 4 == 4 else ETHERTYPE_IPV6
    partial = packet.csum_start != 0 or packet.csum_offset != 0
    return Packet(
        build_ethernet(dst_mac, src_mac, kind) + packet.head,
        packet.payload,
        interface,
        packet.gso_type,
        packet.gso_size,
        packet.csum_start + 14 if partial else 0,
        packet.csum_offset,
    )


def send_arp(
    cache: NeighbourCache, dst_mac: bytes, operation: int, sender_ip: bytes, target_mac: bytes, target_ip: bytes
) -> None:
    """Send an ARP packet with our MAC address as the sender's."""
    mac = cache.interface.mac
    frame = build_ethernet(dst_mac, mac, ETHERTYPE_ARP) + build_arp(operation, mac, sender_ip, target_mac, target_ip)
    cache.push(Packet(frame, b"", cache.interface.index))
    if operation == ARP_REQUEST:
        cache.counters.arp_requests_sent += 1
    else:
        cache.counters.arp_replies_sent += 1


def send_arp_request(cache: NeighbourCache, entry: Neighbour) -> None:
    """Ask for a neighbour: all, or itself alone where its MAC address is known and only to be confirmed."""
    source = entry.source
    if not source or not cache.interface.owns(source):
        subnet = cache.interface.on_link(entry.ip)
        source = select_source(entry.ip, cache.interface) if subnet is None else subnet.ip
    # Without an address yet: the form of a probe is answered all the same and enters no one's cache.
    if entry.state == PROBE:
        send_arp(cache, entry.mac, ARP_REQUEST, source or IPV4_ANY, entry.mac, entry.ip)
    else:
        send_arp(cache, MAC_BROADCAST, ARP_REQUEST, source or IPV4_ANY, ZERO_MAC, entry.ip)


def send_arp_probe(cache: NeighbourCache, ip: bytes) -> None:
    """RFC 5227 section 2.1.1: "the 'sender IP address' field MUST be set to all zeroes"."""
    send_arp(cache, MAC_BROADCAST, ARP_REQUEST, IPV4_ANY, ZERO_MAC, ip)


def send_arp_announcement(cache: NeighbourCache, ip: bytes) -> None:
    """RFC 5227 section 2.3: like a probe, but "the sender and target IP addresses are both set to the host's"."""
    send_arp(cache, MAC_BROADCAST, ARP_REQUEST, ip, ZERO_MAC, ip)


def ndp_packet(src: bytes, dst: bytes, message: bytes, interface: int) -> Packet:
    """An IPv6 packet with an ICMPv6 message, hop limit 255."""
    return Packet(build_ipv6(src, dst, PROTO_ICMPV6, len(message), NDP_HOP_LIMIT) + message, b"", interface)


def send_ndp(cache: NeighbourCache, now: int, src: bytes, dst: bytes, message: bytes) -> None:
    """Send an ICMPv6 message on the link; to multicast at once, else as soon as the neighbour is resolved."""
    cache.icmp.sent += 1
    cache.send(now, dst, ndp_packet(src, dst, message, cache.interface.index))


def send_solicitation(cache: NeighbourCache, entry: Neighbour) -> None:
    """Ask for a neighbour (RFC 4861 section 7.2.2), or whether it is still there (section 7.3.3)."""
    interface = cache.interface
    target = entry.ip
    src = entry.source
    # "If the source address of the packet prompting the solicitation is the same as one of the addresses assigned to
    # the outgoing interface, that address SHOULD be placed in the IP Source Address of the outgoing solicitation.
    # Otherwise, any one of the addresses assigned to the interface should be used."
    if not src or not interface.owns(src):
        src = select_source(target, interface)
    if not src:
        # An unspecified source would be duplicate address detection. The entry fails when its time is over.
        return
    if entry.state == PROBE:
        dst = target
        mac = entry.mac
    else:
        dst = solicited_node(target)
        mac = multicast_mac(dst)
    message = build_neighbor_solicitation(src, dst, target, interface.mac)
    cache.icmp.sent += 1
    cache.icmp.neighbour_solicitations_sent += 1
    cache.push_ip(mac, ndp_packet(src, dst, message, interface.index))


def send_advertisement(cache: NeighbourCache, now: int, target: bytes, dst: bytes, solicited: bool) -> None:
    """Say that `target`, an address of ours, is here (RFC 4861 sections 7.2.4 and 7.2.6)."""
    interface = cache.interface
    message = build_neighbor_advertisement(target, dst, target, interface.mac, interface.forwarding, solicited, True)
    cache.icmp.neighbour_advertisements_sent += 1
    send_ndp(cache, now, target, dst, message)


def send_dad_solicitation(cache: NeighbourCache, ip: bytes, nonce: bytes) -> None:
    """Ask whether anybody has `ip` (RFC 4862 section 5.4.2), with a nonce to know our own by (RFC 7527 section 4.1)."""
    dst = solicited_node(ip)
    options = NdpOptions()
    options.other.append((NDP_OPT_NONCE, nonce))
    message = build_icmpv6(IPV6_ANY, dst, ICMPV6_NEIGHBOR_SOLICITATION, 0, 0, ip + build_options(options))
    cache.icmp.sent += 1
    cache.icmp.neighbour_solicitations_sent += 1
    cache.push_ip(multicast_mac(dst), ndp_packet(IPV6_ANY, dst, message, cache.interface.index))


def send_router_solicitation(cache: NeighbourCache, now: int, src: bytes) -> None:
    """Ask for routers (RFC 4861 section 6.3.7); from :: without a source link-layer address."""
    mac = b"" if src == IPV6_ANY else cache.interface.mac
    message = build_router_solicitation(src, IPV6_ALL_ROUTERS, RouterSolicitation(NdpOptions(mac)))
    cache.icmp.router_solicitations_sent += 1
    send_ndp(cache, now, src, IPV6_ALL_ROUTERS, message)


def send_unsolicited_advertisement(cache: NeighbourCache, now: int, ip: bytes) -> None:
    """Have all nodes on the link replace what they remember of an address of ours (RFC 4861 section 7.2.6)."""
    send_advertisement(cache, now, ip, IPV6_ALL_NODES, False)

"""A packet came in: from a link or from the host itself, to a transport, or to the router.

What RFC 1122 section 3.2 asks of a received packet, in this order: a good header, addresses that may be, options, is
it ours, is it whole; then its transport gets it.
"""

from __future__ import annotations

from typing import Final

from plankroad.ip.interface import Interface
from plankroad.stack.forward import forward4, forward6, forward_source_route
from plankroad.stack.groups import igmp_input
from plankroad.stack.host import LOOPBACK_INDEX, Host
from plankroad.stack.icmp_input import icmp4_input, icmp6_input
from plankroad.stack.icmp_output import send_error4, send_error6
from plankroad.stack.offload import offloads_fit
from plankroad.stack.shed import shed
from plankroad.stack.tcp_input import tcp_input
from plankroad.stack.udp_input import udp_input
from plankroad.wire.address import (
    is_broadcast,
    is_class_e,
    is_ipv4_mapped,
    is_link_local,
    is_loopback,
    is_multicast,
    is_unspecified,
)
from plankroad.wire.checksum import complete
from plankroad.wire.constants import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ICMP_DEST_UNREACHABLE,
    ICMP_PARAMETER_PROBLEM,
    ICMP_PORT_UNREACHABLE,
    ICMP_PROTOCOL_UNREACHABLE,
    ICMPV6_DEST_UNREACHABLE,
    ICMPV6_ERRONEOUS_HEADER,
    ICMPV6_PARAMETER_PROBLEM,
    ICMPV6_PORT_UNREACHABLE,
    ICMPV6_REDIRECT,
    ICMPV6_ROUTER_SOLICITATION,
    ICMPV6_UNRECOGNIZED_NEXT_HEADER,
    ICMPV6_UNRECOGNIZED_OPTION,
    PROTO_DESTINATION,
    PROTO_HOP_BY_HOP,
    PROTO_ICMP,
    PROTO_ICMPV6,
    PROTO_IGMP,
    PROTO_NO_NEXT,
    PROTO_ROUTING,
    PROTO_TCP,
    PROTO_UDP,
)
from plankroad.wire.errors import BadPacket
from plankroad.wire.ethernet import parse_ethernet
from plankroad.wire.ipv4 import Ipv4Header, parse_ipv4
from plankroad.wire.ipv4_options import find_option_error, find_source_route
from plankroad.wire.ipv6 import Ipv6Header, parse_ipv6
from plankroad.wire.ipv6_options import (
    ACTION_DISCARD,
    ACTION_REPORT_UNICAST,
    IP6OPT_ROUTER_ALERT,
    IP6OPT_TUNNEL_LIMIT,
    find_unrecognized,
    option_action,
    parse_ipv6_options,
)
from plankroad.wire.packet import GSO_TCPV4, GSO_TCPV6, Packet

#: IPv6 options that mean nothing to a host that is not what they are for, and do no harm.
KNOWN_OPTIONS6 = frozenset((IP6OPT_ROUTER_ALERT, IP6OPT_TUNNEL_LIMIT))

#: Sources remembered to be good ones.
MAX_SOURCES: Final = 4096


def receive(host: Host, now: int, packet: Packet) -> None:
    """A packet, or a frame, from the link of `packet.interface`."""
    index = packet.interface
    if not 0 <= index < len(host.interfaces):
        return
    interface = host.interfaces[index]
    if not interface.up:
        host.counters.ip.interface_down += 1
        return
    if packet.payload:
        packet = Packet(
            packet.head + packet.payload,
            b"",
            index,
            packet.gso_type,
            packet.gso_size,
            packet.csum_start,
            packet.csum_offset,
            packet.csum_valid,
        )
    if interface.ethernet:
        ethernet_input(host, now, packet, interface)
    else:
        ip_input(host, now, packet, interface, False)


def ethernet_input(host: Host, now: int, packet: Packet, interface: Interface) -> None:
    """A frame: for this host's MAC address, for a group, or for everyone."""
    buf = packet.head
    try:
        header = parse_ethernet(buf)
    except BadPacket:
        host.counters.ip.bad_header += 1
        return
    dst = header.dst
    link_group = dst[0] & 1 != 0
    # A frame with a tag belongs to another, virtual, interface.
    if (not link_group and dst != interface.mac) or header.vlans:
        return
    start = header.payload_start
    ethertype = header.ethertype
    if ethertype == ETHERTYPE_ARP:
        if interface.neighbours is not None:
            interface.neighbours.handle_arp(now, buf, start)
    elif ethertype in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        if start >= len(buf) or (buf[start] >> 4 == 4) != (ethertype == ETHERTYPE_IPV4):
            host.counters.ip.bad_header += 1
            return
        inner = Packet(
            buf[start : header.payload_end],
            b"",
            interface.index,
            packet.gso_type,
            packet.gso_size,
            packet.csum_start - start if packet.csum_offset else 0,
            packet.csum_offset,
            packet.csum_valid,
        )
        ip_input(host, now, inner, interface, link_group)


def loopback_input(host: Host, now: int, packet: Packet) -> None:
    """A packet from the host to itself; to a group, it is as if it came by the interface it left by."""
    if packet.payload:
        packet.head += packet.payload
        packet.payload = b""
    interface = host.interface_at(packet.interface)
    if interface is not None:
        ip_input(host, now, packet, interface, False, True)


def ip_input(
    host: Host, now: int, packet: Packet, interface: Interface, link_group: bool, looped: bool = False
) -> None:
    """An IP packet, all of it in `packet.head`. `link_group`: its frame was for a group or for everyone."""
    buf = packet.head
    ip = host.counters.ip
    ip.received += 1
    ip.received_bytes += len(buf)
    version = buf[0] >> 4 if buf else 0
    if version == 4:
        try:
            header4 = parse_ipv4(buf)
        except BadPacket:
            ip.bad_header += 1
            return
        if packet.gso_type or packet.csum_start or packet.csum_offset:
            whole = not header4.more_fragments and header4.fragment_offset == 0
            if not offloads_fit(
                packet, header4.protocol, header4.payload_start, header4.payload_end, whole, GSO_TCPV4
            ):
                ip.bad_header += 1
                return
        input4(host, now, packet, header4, interface, link_group, looped)
    elif version == 6:
        try:
            header6 = parse_ipv6(buf)
        except BadPacket:
            ip.bad_header += 1
            return
        if packet.gso_type or packet.csum_start or packet.csum_offset:
            whole = header6.fragment_start < 0
            if not offloads_fit(
                packet, header6.protocol, header6.payload_start, header6.payload_end, whole, GSO_TCPV6
            ):
                ip.bad_header += 1
                return
        input6(host, now, packet, header6, interface, link_group, looped)
    else:
        # RFC 1122 section 3.2.1.1: "A datagram whose version number is not 4 MUST be silently discarded."
        ip.bad_header += 1


def is_own(host: Host, interface: Interface, dst: bytes) -> bool:
    """Whether a unicast address is one by which packets from this interface are for this host."""
    if interface.owns(dst):
        return True
    # The strong model of RFC 1122 section 3.3.4.2: by this interface only its own. Within the host all are reached.
    # RFC 4007 section 4: a link-local address means an interface of its own link only.
    if interface.index != LOOPBACK_INDEX and (host.config.strong_host or (len(dst) == 16 and is_link_local(dst))):
        return False
    return host.owner(dst) is not None


def bad_source4(host: Host, header: Ipv4Header, interface: Interface, looped: bool) -> bool:
    """RFC 1122 section 3.2.1.3: "A host MUST silently discard an incoming datagram containing an IP source address
    that is invalid by the rules of this section"; RFC 1812 section 5.3.7, martian addresses.
    """
    src = header.src
    if host.sources.get(src, LOOPBACK_INDEX) == interface.index and interface.index != LOOPBACK_INDEX:
        return False
    first = src[0]
    if first == 0:
        # A host that does not know its address yet: what it says is for UDP (DHCP) and IGMP only.
        return any(src) or header.protocol not in (PROTO_UDP, PROTO_IGMP)
    if first >= 224:
        return is_multicast(src) or is_broadcast(src) or is_class_e(src)
    if looped:
        return False
    if first == 127:
        return True
    # RFC 1812 section 5.3.7: nor the broadcast address of another of our networks, which an answer would go to.
    for each in host.interfaces:
        if each.is_broadcast(src):
            return True
    # Our own address, from outside: forged, or another host has it too.
    if host.owner(src) is not None:
        return True
    if len(host.sources) >= MAX_SOURCES:
        host.sources.clear()
    host.sources[src] = interface.index
    return False


def input4(
    host: Host, now: int, packet: Packet, header: Ipv4Header, interface: Interface, link_group: bool, looped: bool
) -> None:
    """An IPv4 packet with a good header."""
    ip = host.counters.ip
    dst = header.dst
    if bad_source4(host, header, interface, looped):
        ip.bad_address += 1
        return
    arrived = interface.index
    group = False
    own = interface.owns(dst) or is_own(host, interface, dst)
    if own:
        if dst[0] == 127 and not looped:
            # RFC 1122 section 3.2.1.3 (g): "Addresses of this form MUST NOT appear outside a host."
            ip.bad_address += 1
            return
        # RFC 1122 section 3.3.6: what came as a link-layer broadcast SHOULD be discarded, unless it is one in IP too.
        if link_group:
            ip.bad_address += 1
            return
    elif is_multicast(dst):
        group = True
        if dst not in interface.groups:
            ip.not_for_us += 1
            return
        ip.received_multicast += 1
    elif interface.is_broadcast(dst):
        group = True
        ip.received_broadcast += 1
    if header.options:
        error = find_option_error(header.options)
        if error >= 0:
            ip.bad_option += 1
            # RFC 1122 section 3.2.2.5: SHOULD; the pointer is in the first 8 bits.
            rest = (20 + error) << 24
            send_error4(
                host, now, complete(packet).head, header, arrived, link_group, ICMP_PARAMETER_PROBLEM, 0, rest
            )
            return
        if source_routed4(host, now, packet, header, interface, own, group):
            return
    if not own and not group:
        if interface.forwarding and not looped:
            forward4(host, now, packet, header, interface, link_group)
        else:
            # RFC 1122 section 3.2.1.3: "A host MUST silently discard an incoming datagram that is not destined for
            # the host."
            ip.not_for_us += 1
        return
    if header.more_fragments or header.fragment_offset:
        whole = host.fragments.add_ipv4(now, packet.head, header)
        if whole is None:
            if host.fragments.memory + host.memory.used > host.memory.limit:
                shed(host, now)
            return
        packet = Packet(whole, b"", arrived)
        try:
            header = parse_ipv4(whole)
        except BadPacket:
            ip.bad_header += 1
            return
    deliver4(host, now, packet, header, interface, link_group, group)


def source_routed4(
    host: Host, now: int, packet: Packet, header: Ipv4Header, interface: Interface, own: bool, group: bool
) -> bool:
    """Whether a source route settles what becomes of the packet. Its options are well-formed."""
    route = find_source_route(header.options)
    if route is None:
        return False
    if group and not route.completed():
        # A group is no stop of a route: every member would pass the packet on.
        host.counters.ip.source_routed += 1
        return True
    if not own and not group:
        # RFC 1812 section 5.3.13.3: a router may refuse source routes; a loose one only concerns its stops.
        if host.config.source_route:
            return False
        host.counters.ip.source_routed += 1
        return True
    if not route.completed():
        forward_source_route(host, now, packet, header, interface, route)
        return True
    if not host.config.source_route:
        host.counters.ip.source_routed += 1
        return True
    return False


def deliver4(
    host: Host, now: int, packet: Packet, header: Ipv4Header, interface: Interface, link_group: bool, group: bool
) -> None:
    """A whole IPv4 packet for this host, to its transport."""
    protocol = header.protocol
    arrived = interface.index
    start = header.payload_start
    end = header.payload_end
    if protocol == PROTO_TCP:
        if group:
            # RFC 9293 section 3.9.2.3, MUST-57: "A TCP implementation MUST silently discard an incoming SYN segment
            # that is addressed to a broadcast or multicast address."
            host.counters.ip.bad_address += 1
            return
        tcp_input(host, now, packet, start, end, header.src, header.dst, header.tos, arrived, header.options)
    elif protocol == PROTO_UDP:
        if not udp_input(
            host,
            packet,
            start,
            end,
            header.src,
            header.dst,
            header.tos,
            header.ttl,
            arrived,
            group,
            header.options,
        ):
            # RFC 1122 section 4.1.3.1.
            send_error4(
                host,
                now,
                complete(packet).head,
                header,
                arrived,
                link_group,
                ICMP_DEST_UNREACHABLE,
                ICMP_PORT_UNREACHABLE,
                0,
            )
    elif protocol == PROTO_ICMP:
        icmp4_input(host, now, packet.head, header, interface, group)
    elif protocol == PROTO_IGMP:
        igmp_input(host, now, packet.head, header, interface)
    else:
        host.counters.ip.unknown_protocol += 1
        # RFC 1122 section 3.2.2.1: code 2 SHOULD be sent.
        code = ICMP_PROTOCOL_UNREACHABLE
        send_error4(host, now, complete(packet).head, header, arrived, link_group, ICMP_DEST_UNREACHABLE, code, 0)


def bad_source6(host: Host, header: Ipv6Header, looped: bool) -> bool:
    """RFC 4291 sections 2.5.2, 2.5.3 and 2.7: what no packet may have as its source."""
    src = header.src
    if src[0] == 0xFF:
        return True
    if is_unspecified(src):
        # Duplicate address detection (RFC 4862 section 5.4) and MLD (RFC 3810 section 5.2.13) only.
        return header.protocol != PROTO_ICMPV6
    if looped:
        return False
    # The IPv4-mapped form has no place on a wire: a program could take it for the IPv4 address.
    if is_loopback(src) or is_ipv4_mapped(src):
        return True
    # An own address from outside. Tentative ones are not own yet: neighbour discovery has to see them.
    return host.owner(src) is not None


def input6(
    host: Host, now: int, packet: Packet, header: Ipv6Header, interface: Interface, link_group: bool, looped: bool
) -> None:
    """An IPv6 packet with a good header."""
    ip = host.counters.ip
    dst = header.dst
    if bad_source6(host, header, looped) or is_unspecified(dst) or (is_loopback(dst) and not looped):
        ip.bad_address += 1
        return
    arrived = interface.index
    group = dst[0] == 0xFF
    if group:
        # RFC 4291 section 2.7: scope 0 is reserved, "it must be silently dropped"; 1 spans one interface only.
        if dst not in interface.groups or (dst[1] & 0x0F <= 1 and not looped):
            ip.not_for_us += 1
            return
        ip.received_multicast += 1
    ours = group or interface.owns(dst) or is_own(host, interface, dst)
    # RFC 8200 section 4: hop-by-hop options concern every node on the way, all other headers the destination only.
    if (
        header.extensions
        and header.next_header == PROTO_HOP_BY_HOP
        and not options_ok(host, now, packet, header, interface, link_group, header.extensions[0])
    ):
        return
    if not ours:
        if interface.forwarding and not looped:
            forward6(host, now, packet, header, interface, link_group)
        else:
            ip.not_for_us += 1
        return
    if header.fragment_start >= 0:
        whole = host.fragments.add_ipv6(now, packet.head, header)
        if whole is None:
            code = host.fragments.problem_code
            if code >= 0:
                rest = host.fragments.problem_pointer
                send_error6(
                    host,
                    now,
                    complete(packet).head,
                    header,
                    arrived,
                    link_group,
                    ICMPV6_PARAMETER_PROBLEM,
                    code,
                    rest,
                )
            elif host.fragments.memory + host.memory.used > host.memory.limit:
                shed(host, now)
            return
        packet = Packet(whole, b"", arrived)
        try:
            header = parse_ipv6(whole)
        except BadPacket:
            ip.bad_header += 1
            return
        if header.fragment_start >= 0:
            # RFC 8200 section 4.1: one fragment header at most. A second one in the fragments would hide another
            # transport header behind the first.
            ip.bad_header += 1
            return
        if header.protocol == PROTO_ICMPV6 and header.payload_start < header.payload_end:
            kind = whole[header.payload_start]
            if ICMPV6_ROUTER_SOLICITATION <= kind <= ICMPV6_REDIRECT:
                # RFC 6980 section 5: "Nodes MUST silently ignore" neighbour discovery messages that came in fragments.
                host.counters.icmp.bad_message += 1
                return
    if header.extensions and not extensions_ok(host, now, packet, header, interface, link_group):
        return
    deliver6(host, now, packet, header, interface, link_group, group)


def options_ok(
    host: Host,
    now: int,
    packet: Packet,
    header: Ipv6Header,
    interface: Interface,
    link_group: bool,
    extension: tuple[int, int, int],
) -> bool:
    """Whether the options in this extension header let the packet go on (RFC 8200 section 4.2)."""
    try:
        options = parse_ipv6_options(packet.head, extension[1], extension[2])
    except BadPacket:
        host.counters.ip.bad_option += 1
        return False
    unknown = find_unrecognized(options, KNOWN_OPTIONS6)
    if unknown is None:
        return True
    host.counters.ip.bad_option += 1
    action = option_action(unknown.kind)
    # "11 - discard the packet and, only if the packet's Destination Address was not a multicast address, send an ICMP
    # Parameter Problem, Code 2".
    if action == ACTION_DISCARD or (action == ACTION_REPORT_UNICAST and header.dst[0] == 0xFF):
        return False
    code = ICMPV6_UNRECOGNIZED_OPTION
    send_error6(
        host,
        now,
        complete(packet).head,
        header,
        interface.index,
        link_group,
        ICMPV6_PARAMETER_PROBLEM,
        code,
        unknown.offset - header.offset,
    )
    return False


def extensions_ok(
    host: Host, now: int, packet: Packet, header: Ipv6Header, interface: Interface, link_group: bool
) -> bool:
    """Whether destination options and routing headers let the packet be delivered."""
    for extension in header.extensions:
        kind, start, _ = extension
        if kind == PROTO_DESTINATION:
            if not options_ok(host, now, packet, header, interface, link_group, extension):
                return False
        elif kind == PROTO_ROUTING and packet.head[start + 3] != 0:
            # RFC 8200 section 4.4: an unknown type (RFC 5095: type 0 is none any more) with segments left: discard,
            # with a pointer to the routing type.
            host.counters.ip.source_routed += 1
            code = ICMPV6_ERRONEOUS_HEADER
            send_error6(
                host,
                now,
                complete(packet).head,
                header,
                interface.index,
                link_group,
                ICMPV6_PARAMETER_PROBLEM,
                code,
                start + 2,
            )
            return False
    return True


def deliver6(
    host: Host, now: int, packet: Packet, header: Ipv6Header, interface: Interface, link_group: bool, group: bool
) -> None:
    """A whole IPv6 packet for this host, to its transport."""
    protocol = header.protocol
    arrived = interface.index
    start = header.payload_start
    end = header.payload_end
    tos = header.traffic_class
    if protocol == PROTO_TCP:
        if group:
            host.counters.ip.bad_address += 1
            return
        tcp_input(host, now, packet, start, end, header.src, header.dst, tos, arrived, b"")
    elif protocol == PROTO_UDP:
        if not udp_input(
            host, packet, start, end, header.src, header.dst, tos, header.hop_limit, arrived, group, b""
        ):
            code = ICMPV6_PORT_UNREACHABLE
            send_error6(
                host, now, complete(packet).head, header, arrived, link_group, ICMPV6_DEST_UNREACHABLE, code, 0
            )
    elif protocol == PROTO_ICMPV6:
        icmp6_input(host, now, packet.head, header, interface, group)
    elif protocol != PROTO_NO_NEXT:
        host.counters.ip.unknown_protocol += 1
        # RFC 8200 section 4: code 1, with a pointer to the field that names the unknown header.
        rest = header.protocol_offset - header.offset
        code = ICMPV6_UNRECOGNIZED_NEXT_HEADER
        send_error6(
            host, now, complete(packet).head, header, arrived, link_group, ICMPV6_PARAMETER_PROBLEM, code, rest
        )

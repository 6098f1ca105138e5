"""A script's packet as bytes on the wire, to be injected."""

from __future__ import annotations

import struct
from typing import Final

from plankroad.packetdrill import icmp_names
from plankroad.packetdrill.errors import BadScriptError
from plankroad.packetdrill.flow import Flow, pattern
from plankroad.packetdrill.options import options_bytes
from plankroad.packetdrill.syntax import (
    ACK,
    OPT_SACK,
    OPT_TIMESTAMP,
    QUOTE_RAW,
    QUOTE_UDP,
    SYN,
    Icmp,
    IpFields,
    Location,
    Packet,
    Ports,
    Quote,
    Tcp,
    TcpOption,
    Udp,
)
from plankroad.wire.checksum import checksum, pseudo_sum
from plankroad.wire.constants import PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6

_TCP: Final = struct.Struct("!HHIIHHHH")
_TTL: Final = 64
_ACE_SHIFT: Final = 6
#: What a bad checksum differs in: never another way to write the right one, as 0 and 0xFFFF are for one sum.
_WRONG: Final = 0x0101
#: RFC 792: "The internet header plus the first 64 bits of the original datagram's data."
_QUOTED_BYTES: Final = 8
_PROTO_RAW: Final = 255


def build(packet: Packet, flow: Flow) -> bytes:
    """The IP packet that `packet` says, from the flow's remote side to its local one. The flow learns from it.

    What the script leaves out: no ACK number and no window are 0, the TTL is 64, the ECN field Not-ECT, data is
    `flow.pattern`. Raises BadScriptError for what cannot be built.
    """
    body = packet.body
    if isinstance(body, Tcp):
        protocol, payload = PROTO_TCP, _tcp(packet, body, flow)
    elif isinstance(body, Udp):
        protocol, payload = PROTO_UDP, _udp(packet, body, flow)
    else:
        protocol = PROTO_ICMP if flow.version == 4 else PROTO_ICMPV6
        payload = _icmp(packet, body, flow)
    return _ip(packet.ip, flow.remote, flow.local, protocol, payload, packet.where)


def tcp_flags(tcp: Tcp) -> int:
    """The nine flag bits as on the wire."""
    return tcp.flags | ((tcp.ace or 0) << _ACE_SHIFT)


def _ip(ip: IpFields, src: bytes, dst: bytes, protocol: int, payload: bytes, where: Location) -> bytes:
    tos = ip.tos if ip.tos is not None else max(ip.ecn or 0, 0)
    ttl = _TTL if ip.ttl is None else ip.ttl
    if len(src) == 16:
        if ip.bad_ip_checksum:
            raise BadScriptError(where, 'found "bad_ip_sum" in an IPv6 packet, whose header has no checksum')
        return build_ipv6(src, dst, protocol, len(payload), ttl, tos, ip.flow_label or 0) + payload
    if ip.flow_label:
        raise BadScriptError(where, 'found "flowlabel" in an IPv4 packet, whose header has none')
    if len(payload) > 0xFFFF - 20:
        raise BadScriptError(where, f"found a packet of {len(payload) + 20} bytes, expected at most 65535")
    head = build_ipv4(src, dst, protocol, len(payload), ttl, tos)
    if ip.bad_ip_checksum:
        head = head[:10] + _spoil(head[10:12]) + head[12:]
    return head + payload


def _spoil(sum_bytes: bytes) -> bytes:
    # A UDP checksum of 0 would say that there is none.
    return ((int.from_bytes(sum_bytes, "big") ^ _WRONG) or 0x1111).to_bytes(2, "big")


def _with_checksum(data: bytes, at: int, src: bytes, dst: bytes, protocol: int, bad: bool) -> bytes:
    """`data` with its checksum, over the pseudo-header too, put in at `at`."""
    value = checksum(data, pseudo_sum(src, dst, protocol, len(data)))
    if value == 0 and protocol == PROTO_UDP:
        value = 0xFFFF
    sum_bytes = value.to_bytes(2, "big")
    return data[:at] + (_spoil(sum_bytes) if bad else sum_bytes) + data[at + 2 :]


def ports_of(ports: Ports | None, source: int, destination: int) -> tuple[int, int]:
    """The ports a packet says, or those of its flow."""
    return (ports.source, ports.destination) if ports is not None else (source, destination)


def _tcp(packet: Packet, tcp: Tcp, flow: Flow) -> bytes:
    flags = tcp_flags(tcp)
    syn = flags & SYN != 0
    options = tcp.options or []
    flow.injected(flags, tcp.seq.start, options)
    source, destination = ports_of(tcp.ports, flow.remote_port, flow.local_port)
    seq = flow.remote_to_wire(tcp.seq.start, syn)
    ack = tcp.ack or 0
    if flags & ACK:
        ack = flow.local_to_wire(ack, syn)
    option_data = options_bytes([_to_wire(option, flow, flags, packet.where) for option in options])
    data_offset = 5 + len(option_data) // 4
    head = _TCP.pack(source, destination, seq, ack, data_offset << 12 | flags, tcp.win or 0, 0, tcp.urg or 0)
    # The byte after the SYN is the stream's first.
    data = pattern(tcp.seq.start - (0 if syn else 1), tcp.seq.length)
    return _with_checksum(head + option_data + data, 16, flow.remote, flow.local, PROTO_TCP, packet.ip.bad_checksum)


def _to_wire(option: TcpOption, flow: Flow, flags: int, where: Location) -> TcpOption:
    """An option of an injected segment with the numbers of the wire."""
    if option.name == OPT_SACK:
        syn = flags & SYN != 0
        return TcpOption(option.name, tuple([flow.local_to_wire(value, syn) for value in option.values]))
    if option.name == OPT_TIMESTAMP and flags & ACK:
        # RFC 7323 section 3.2: TSecr "is valid if the ACK bit is set in the TCP header".
        value, echo = option.values
        return TcpOption(option.name, (value, flow.echo_to_wire(echo, where)))
    return option


def _udp(packet: Packet, udp: Udp, flow: Flow) -> bytes:
    source, destination = ports_of(udp.ports, flow.remote_port, flow.local_port)
    length = 8 + udp.length
    data = struct.pack("!HHHH", source, destination, length, 0) + pattern(0, udp.length)
    return _with_checksum(data, 6, flow.remote, flow.local, PROTO_UDP, packet.ip.bad_checksum)


def icmp_numbers(icmp: Icmp, version: int, where: Location) -> tuple[int, int]:
    """Type and code of an ICMP message. Raises BadScriptError for names that the IP version does not have."""
    type_ = icmp_names.type_number(version, icmp.icmp_type)
    if type_ is None:
        names = " ".join(icmp_names.TYPES[version])
        raise BadScriptError(where, f'found "{icmp.icmp_type}", expected a type of ICMP over IPv{version}: {names}')
    code = icmp_names.code_number(version, type_, icmp.code)
    if code is None:
        names = " ".join(icmp_names.CODES.get((version, type_), {})) or "a number"
        raise BadScriptError(where, f'found "{icmp.code}", expected a code of {icmp.icmp_type}: {names}')
    return type_, code


def _icmp(packet: Packet, icmp: Icmp, flow: Flow) -> bytes:
    type_, code = icmp_numbers(icmp, flow.version, packet.where)
    rest = 0
    if icmp.mtu is not None:
        if flow.version == 4 and icmp.mtu > 0xFFFF:
            raise BadScriptError(packet.where, f"found mtu {icmp.mtu}, expected at most 65535 over IPv4")
        rest = icmp.mtu
        if (type_, code) == icmp_names.FRAGMENTATION_NEEDED or (
            flow.version == 6 and type_ == icmp_names.PACKET_TOO_BIG
        ):
            flow.too_big(icmp.mtu)
    if icmp.ident is not None:
        rest = icmp.ident << 16
    if type_ in icmp_names.ERRORS[flow.version]:
        body = _quoted(icmp.quote, flow)
    else:
        body = pattern(0, icmp.quote.length if icmp.quote is not None else 0)
    data = struct.pack("!BBHI", type_, code, 0, rest) + body
    if flow.version == 6:
        return _with_checksum(data, 2, flow.remote, flow.local, PROTO_ICMPV6, packet.ip.bad_checksum)
    sum_bytes = checksum(data).to_bytes(2, "big")
    return data[:2] + (_spoil(sum_bytes) if packet.ip.bad_checksum else sum_bytes) + data[4:]


def _quoted(quote: Quote | None, flow: Flow) -> bytes:
    """The start of the packet that an error is about: one that the stack sent, as its IP header says."""
    ports = struct.pack("!HH", flow.local_port, flow.remote_port)
    if quote is not None and quote.kind == QUOTE_UDP:
        protocol, length = PROTO_UDP, 8 + quote.length
        start = ports + struct.pack("!HH", length, 0)
    elif quote is not None and quote.kind == QUOTE_RAW:
        protocol, length = _PROTO_RAW, quote.length
        start = pattern(0, min(length, _QUOTED_BYTES))
    else:
        seq = quote.seq if quote is not None else None
        protocol, length = PROTO_TCP, 20 + (seq.length if seq is not None else 0)
        number = flow.local_to_wire(seq.start) if seq is not None else flow.live_isn or 0
        start = ports + struct.pack("!I", number)
        if flow.version == 6:
            # RFC 4443 section 3: "As much of invoking packet as possible".
            start += struct.pack("!IHHHH", 0, 5 << 12 | ACK, 0, 0, 0)
    if flow.version == 6:
        return build_ipv6(flow.local, flow.remote, protocol, length, _TTL) + start
    return build_ipv4(flow.local, flow.remote, protocol, length, _TTL, dont_fragment=True) + start

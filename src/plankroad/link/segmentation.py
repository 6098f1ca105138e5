"""Super-segments in software: cutting them for links that cannot, joining segments into them on links that do not.

`segment` does what the kernel or a network card does with a virtio-net `gso_type` (Virtual I/O Device specification
1.2, section 5.1.6.2): the bytes that leave are the same whoever cuts. `coalesce` is its inverse on receive. Both work
on IP packets and, with `ethernet`, on Ethernet frames.
"""

from __future__ import annotations

from typing import Final

from plankroad.wire.checksum import complete, ones_sum
from plankroad.wire.errors import BadPacket
from plankroad.wire.packet import GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet

_TCP: Final = 6
_UDP: Final = 17
_FIN: Final = 0x01
_SYN: Final = 0x02
_RST: Final = 0x04
_PSH: Final = 0x08
_ACK: Final = 0x10
_URG: Final = 0x20
_CWR: Final = 0x80

#: The largest IP packet that `coalesce` makes: an IPv4 total length has 16 bits.
MAX_PACKET: Final = 65535


def network_offset(buf: bytes, ethernet: bool) -> int:
    """Where the IP header of `buf` starts: 0, or after the Ethernet header and its 802.1Q tags; -1 where there is
    none.
    """
    if not ethernet:
        return 0
    offset = 12
    while offset + 2 <= len(buf):
        ethertype = buf[offset] << 8 | buf[offset + 1]
        if ethertype in (0x8100, 0x88A8):
            offset += 4
        elif ethertype in (0x0800, 0x86DD):
            return offset + 2
        else:
            return -1
    return -1


def transport_offset(buf: bytes, l3: int) -> int:
    """Where the TCP or UDP header behind the IP header at `l3` starts, or -1 where there is none of them.

    IPv6 extension headers that do not stop segmentation (hop-by-hop, routing, destination options; RFC 8200 section
    4) are stepped over; a fragment has none.
    """
    size = len(buf)
    if l3 < 0 or size < l3 + 20:
        return -1
    version = buf[l3] >> 4
    if version == 4:
        # Flags and fragment offset: neither MF nor an offset (RFC 791 section 3.1).
        if (buf[l3 + 6] << 8 | buf[l3 + 7]) & 0x3FFF:
            return -1
        l4 = l3 + ((buf[l3] & 0x0F) << 2)
        protocol = buf[l3 + 9]
        if l4 < l3 + 20:
            return -1
    elif version == 6:
        if size < l3 + 40:
            return -1
        protocol = buf[l3 + 6]
        l4 = l3 + 40
        while protocol in (0, 43, 60):
            if size < l4 + 8:
                return -1
            protocol = buf[l4]
            l4 += (buf[l4 + 1] + 1) << 3
    else:
        return -1
    if (protocol == _TCP and size >= l4 + 20) or (protocol == _UDP and size >= l4 + 8):
        return l4
    return -1


def _fold(total: int) -> int:
    """One's complement sum of 16-bit words (RFC 1071) from the plain sum of fewer than 2**16 of them."""
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def segment(packet: Packet, ethernet: bool = False, partial: bool = False) -> list[Packet]:
    """`packet` as the packets it stands for, in order; itself with its checksum finished where it is just one.

    Of TCP, each gets its part of the sequence space; FIN and PSH stay on the last and CWR on the first (RFC 3168
    section 6.1.2: the sender sets CWR once). IPv4 identifications count up from the given one. UDP is cut into
    datagrams. With `partial` the checksums stay partial, for a link that finishes them.

    Raises BadPacket where the headers are not those of `packet.gso_type`.
    """
    if packet.gso_type == GSO_NONE:
        return [packet if partial else complete(packet)]
    buf = packet.head
    data = packet.payload
    l3 = network_offset(buf, ethernet)
    l4 = transport_offset(buf, l3)
    if l4 < 0 and data:
        # The split between head and payload lies inside the headers.
        buf = buf + data
        data = b""
        l3 = network_offset(buf, ethernet)
        l4 = transport_offset(buf, l3)
    if l4 < 0:
        raise BadPacket("super-segment without a TCP or UDP header")
    gso_type = packet.gso_type
    version = buf[l3] >> 4
    protocol = _protocol_before(buf, l3, l4)
    if gso_type == GSO_UDP_L4 and protocol == _UDP:
        header_end = l4 + 8
        csum_offset = 6
    elif protocol == _TCP and gso_type == (GSO_TCPV4 if version == 4 else GSO_TCPV6):
        header_end = l4 + (buf[l4 + 12] >> 4 << 2)
        csum_offset = 16
        if header_end < l4 + 20:
            raise BadPacket("TCP header length is wrong")
    else:
        raise BadPacket("super-segment whose headers are not those of its gso_type")
    if header_end > len(buf) and data:
        buf = buf + data
        data = b""
    if header_end > len(buf):
        raise BadPacket("TCP header is truncated")
    if packet.csum_start and (packet.csum_start != l4 or packet.csum_offset != csum_offset):
        raise BadPacket("super-segment whose partial checksum is not the transport's")
    size = packet.gso_size
    if size <= 0:
        raise BadPacket("super-segment without a segment size")
    start = 0
    if len(buf) > header_end:
        if data:
            data = buf[header_end:] + data
        else:
            data = buf
            start = header_end
    if gso_type == GSO_UDP_L4:
        return _cut_udp(packet, buf, data, start, l3, l4, partial)
    return _cut_tcp(packet, buf, data, start, l3, l4, header_end, partial)


def _protocol_before(buf: bytes, l3: int, l4: int) -> int:
    """The protocol number of what starts at `l4`, found by `transport_offset`."""
    if buf[l3] >> 4 == 4:
        return buf[l3 + 9]
    protocol = buf[l3 + 6]
    offset = l3 + 40
    while offset < l4:
        protocol = buf[offset]
        offset += (buf[offset + 1] + 1) << 3
    return protocol


def _pseudo_base(packet: Packet, buf: bytes, data: bytes, start: int, l4: int, header_end: int, field: int) -> int:
    """The sum over the pseudo-header without its length, congruent modulo 65535, from the super-segment's checksum.

    Taking it from there and not from the addresses holds for IPv6 with a routing header as well, whose pseudo-header
    has the final destination (RFC 8200 section 8.1); and where a complete checksum is wrong each segment's will be
    wrong too.
    """
    stored = buf[field] << 8 | buf[field + 1]
    length = header_end - l4 + len(data) - start
    if packet.csum_start:
        return (stored + 0xFFFF * 2 - _fold(length)) % 0xFFFF
    covered = ones_sum(buf[l4:field] + buf[field + 2 : header_end]) + ones_sum(data[start:] if start else data)
    return ((stored ^ 0xFFFF) + 0xFFFF * 3 - _fold(covered) - _fold(length)) % 0xFFFF


def _ipv4_base(head: bytearray, l3: int, l4: int) -> int:
    """The sum over an IPv4 header without what differs from packet to packet, which becomes zero in it: length,
    identification, checksum.
    """
    head[l3 + 2 : l3 + 6] = b"\0\0\0\0"
    head[l3 + 10 : l3 + 12] = b"\0\0"
    return ones_sum(bytes(head[l3:l4]))


def _finish_ipv4(head: bytearray, l3: int, total: int, ident: int, base: int) -> None:
    """Put those three in. `base`: of `_ipv4_base`."""
    head[l3 + 2] = total >> 8
    head[l3 + 3] = total & 0xFF
    head[l3 + 4] = ident >> 8
    head[l3 + 5] = ident & 0xFF
    check = _fold(base + total + ident) ^ 0xFFFF
    head[l3 + 10] = check >> 8
    head[l3 + 11] = check & 0xFF


def _cut_tcp(
    packet: Packet, buf: bytes, data: bytes, start: int, l3: int, l4: int, header_end: int, partial: bool
) -> list[Packet]:
    head = bytearray(buf[:header_end])
    flags = buf[l4 + 13]
    seq = buf[l4 + 4] << 24 | buf[l4 + 5] << 16 | buf[l4 + 6] << 8 | buf[l4 + 7]
    urgent = buf[l4 + 18] << 8 | buf[l4 + 19] if flags & _URG else 0
    tcp_header = header_end - l4
    pseudo = _pseudo_base(packet, buf, data, start, l4, header_end, l4 + 16)
    # What changes from segment to segment is zero in these sums: sequence number, flags, checksum, urgent pointer.
    head[l4 + 4 : l4 + 8] = b"\0\0\0\0"
    head[l4 + 13] = 0
    head[l4 + 16 : l4 + 18] = b"\0\0"
    if urgent:
        head[l4 + 18 : l4 + 20] = b"\0\0"
    base = pseudo + ones_sum(bytes(head[l4:]))
    ipv4 = buf[l3] >> 4 == 4
    ident = 0
    ip_base = 0
    if ipv4:
        ident = buf[l3 + 4] << 8 | buf[l3 + 5]
        ip_base = _ipv4_base(head, l3, l4)
    size = packet.gso_size
    end = len(data)
    position = start
    result: list[Packet] = []
    while True:
        stop = position + size
        part_flags = flags
        if stop < end:
            part_flags &= ~(_FIN | _PSH)
        else:
            stop = end
        if position > start:
            part_flags &= ~_CWR
        chunk = data[position:stop]
        length = tcp_header + stop - position
        part_urgent = 0
        if urgent:
            # RFC 9293 section 3.1: the pointer is an offset from this segment's sequence number.
            part_urgent = urgent - (position - start)
            if part_urgent <= 0:
                part_urgent = 0
                part_flags &= ~_URG
            head[l4 + 18] = part_urgent >> 8
            head[l4 + 19] = part_urgent & 0xFF
        if ipv4:
            _finish_ipv4(head, l3, l4 - l3 + length, ident, ip_base)
            ident = (ident + 1) & 0xFFFF
        else:
            total = l4 - l3 - 40 + length
            head[l3 + 4] = total >> 8
            head[l3 + 5] = total & 0xFF
        head[l4 + 4] = seq >> 24
        head[l4 + 5] = seq >> 16 & 0xFF
        head[l4 + 6] = seq >> 8 & 0xFF
        head[l4 + 7] = seq & 0xFF
        head[l4 + 13] = part_flags
        if partial:
            check = _fold(pseudo + length)
        else:
            plain = base + length + (seq >> 16) + (seq & 0xFFFF) + part_flags + part_urgent
            check = _fold(plain + ones_sum(chunk)) ^ 0xFFFF
        head[l4 + 16] = check >> 8
        head[l4 + 17] = check & 0xFF
        part = Packet(bytes(head), chunk, packet.interface)
        if partial:
            part.csum_valid = packet.csum_valid
            part.csum_start = l4
            part.csum_offset = 16
        result.append(part)
        seq = (seq + stop - position) & 0xFFFFFFFF
        position = stop
        if position >= end:
            return result


def _cut_udp(packet: Packet, buf: bytes, data: bytes, start: int, l3: int, l4: int, partial: bool) -> list[Packet]:
    header_end = l4 + 8
    head = bytearray(buf[:header_end])
    # RFC 768: an all-zero checksum means that the sender generated none; it stays so.
    unchecked = packet.csum_start == 0 and buf[l4 + 6] == 0 and buf[l4 + 7] == 0
    pseudo = 0 if unchecked else _pseudo_base(packet, buf, data, start, l4, header_end, l4 + 6)
    ports = (buf[l4] << 8 | buf[l4 + 1]) + (buf[l4 + 2] << 8 | buf[l4 + 3])
    ipv4 = buf[l3] >> 4 == 4
    ident = 0
    ip_base = 0
    if ipv4:
        ident = buf[l3 + 4] << 8 | buf[l3 + 5]
        ip_base = _ipv4_base(head, l3, l4)
    end = len(data)
    position = start
    result: list[Packet] = []
    while True:
        stop = min(position + packet.gso_size, end)
        chunk = data[position:stop]
        length = 8 + stop - position
        if ipv4:
            _finish_ipv4(head, l3, l4 - l3 + length, ident, ip_base)
            ident = (ident + 1) & 0xFFFF
        else:
            total = l4 - l3 - 40 + length
            head[l3 + 4] = total >> 8
            head[l3 + 5] = total & 0xFF
        head[l4 + 4] = length >> 8
        head[l4 + 5] = length & 0xFF
        part = Packet(b"", chunk, packet.interface)
        if unchecked:
            check = 0
        elif partial:
            check = _fold(pseudo + length)
            part.csum_valid = packet.csum_valid
            part.csum_start = l4
            part.csum_offset = 6
        else:
            # The length counts twice: in the pseudo-header and in the header. RFC 768: a computed zero is sent as
            # ones.
            check = _fold(pseudo + ports + length + length + ones_sum(chunk)) ^ 0xFFFF or 0xFFFF
        head[l4 + 6] = check >> 8
        head[l4 + 7] = check & 0xFF
        part.head = bytes(head)
        result.append(part)
        position = stop
        if position >= end:
            return result

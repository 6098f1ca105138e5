"""Segments of one flow joined into super-segments on receive, for links whose far end does not.

A super-segment costs the stack as much as one segment, so a batch from a link without offloads is worth joining
first. Only what can be cut again into the same segments is joined: same addresses, ports, type of service, hop limit,
options, ECN flags and acknowledgement, consecutive sequence numbers, equal sizes but for the last.
"""

from __future__ import annotations

from typing import Final

from plankroad.link.segmentation import MAX_PACKET, network_offset, transport_offset
from plankroad.wire.checksum import ones_sum, pseudo_sum
from plankroad.wire.packet import GSO_NONE, GSO_TCPV4, GSO_TCPV6, Packet

_TCP: Final = 6
_FIN: Final = 0x01
_PSH: Final = 0x08
_ACK: Final = 0x10
_ECE: Final = 0x40


class _Group:
    """Segments that will become one."""

    __slots__ = (
        "chunks",
        "closed",
        "first",
        "flags",
        "head",
        "ident",
        "index",
        "l3",
        "l4",
        "next_seq",
        "size",
        "total",
    )

    def __init__(
        self, first: Packet, index: int, head: bytes, l3: int, l4: int, chunk: bytes, ident: int, seq: int, flags: int
    ) -> None:
        self.first = first
        self.index = index
        self.head = head
        self.l3 = l3
        self.l4 = l4
        self.chunks: list[bytes] = [chunk]
        self.size = len(chunk)
        self.total = len(head) - l3 + len(chunk)
        self.ident = ident
        self.next_seq = (seq + len(chunk)) & 0xFFFFFFFF
        self.flags = flags
        self.closed = flags & (_FIN | _PSH) != 0


def coalesce(packets: list[Packet], ethernet: bool = False) -> list[Packet]:
    """`packets`, as received, with runs of TCP data segments of a flow joined; the order within each flow is kept.

    A segment is joined only if its checksum is right (or vouched for by `csum_valid`): what is not comes through as
    it is, for the stack to count. A joined one has a partial checksum, as the kernel's have.
    """
    if len(packets) < 2:
        return packets
    result: list[Packet] = []
    groups: dict[bytes, _Group] = {}
    joined: list[_Group] = []
    for packet in packets:
        buf = packet.head
        l3 = network_offset(buf, ethernet)
        if packet.payload or l3 < 0 or len(buf) < l3 + 40:
            result.append(packet)
            continue
        ipv4 = buf[l3] == 0x45
        if ipv4:
            l4 = l3 + 20
            if buf[l3 + 9] != _TCP or (buf[l3 + 6] & 0x3F) or buf[l3 + 7]:
                result.append(packet)
                continue
            end = l3 + (buf[l3 + 2] << 8 | buf[l3 + 3])
            # Source, destination, ports.
            key = buf[l3 + 12 : l3 + 24]
        elif buf[l3] >> 4 == 6 and buf[l3 + 6] == _TCP and len(buf) >= l3 + 60:
            l4 = l3 + 40
            end = l4 + (buf[l3 + 4] << 8 | buf[l3 + 5])
            key = buf[l3 + 8 : l3 + 44]
        else:
            # With IPv4 options or IPv6 extension headers only the flow is looked for: it must not be overtaken.
            l4 = transport_offset(buf, l3)
            if l4 > 0:
                addresses = buf[l3 + 12 : l3 + 20] if buf[l3] >> 4 == 4 else buf[l3 + 8 : l3 + 40]
                groups.pop(addresses + buf[l4 : l4 + 4], None)
            result.append(packet)
            continue
        group = groups.get(key)
        data_start = l4 + (buf[l4 + 12] >> 4 << 2)
        flags = buf[l4 + 13]
        # Anything but data with ACK, PSH, FIN and ECE alone, and anything already cut short or joined, passes by itself
        # and ends the run of its flow. CWR is one such: who cuts a super-segment leaves it on the first alone.
        if (
            flags & ~(_FIN | _PSH | _ECE) != _ACK
            or data_start < l4 + 20
            or data_start >= end
            or end > len(buf)
            or packet.gso_type != GSO_NONE
            or not _intact(packet, buf, l3, l4, end, ipv4)
        ):
            if group is not None:
                del groups[key]
            result.append(packet)
            continue
        seq = buf[l4 + 4] << 24 | buf[l4 + 5] << 16 | buf[l4 + 6] << 8 | buf[l4 + 7]
        chunk = buf[data_start:end]
        # With DF the identification means nothing (RFC 6864 section 4.1); without it, only a run of them can be cut
        # again.
        ident = (buf[l3 + 4] << 8 | buf[l3 + 5]) if ipv4 and not buf[l3 + 6] & 0x40 else -1
        if (
            group is not None
            and not group.closed
            # ECN's echo must stay with the segments it came on; what arrives congested is told apart by `tos`.
            and (flags ^ group.flags) & _ECE == 0
            and seq == group.next_seq
            and len(chunk) <= group.size
            and group.total + len(chunk) <= MAX_PACKET
            and len(group.head) == data_start
            and _same_headers(group.head, buf, l3, l4, data_start, ipv4)
            and (ident < 0 or ident == (group.ident + 1) & 0xFFFF)
        ):
            if len(group.chunks) == 1:
                joined.append(group)
            group.chunks.append(chunk)
            group.total += len(chunk)
            group.ident = ident
            group.next_seq = (seq + len(chunk)) & 0xFFFFFFFF
            group.flags |= flags
            if len(chunk) < group.size or flags & (_FIN | _PSH):
                group.closed = True
        else:
            groups[key] = _Group(packet, len(result), buf[:data_start], l3, l4, chunk, ident, seq, flags)
            result.append(packet)
    for group in joined:
        result[group.index] = _join(group)
    return result


def _intact(packet: Packet, buf: bytes, l3: int, l4: int, end: int, ipv4: bool) -> bool:
    """Whether the checksums are right; `csum_valid` is set so that nobody computes the transport's again."""
    if ipv4 and ones_sum(buf[l3:l4]) != 0xFFFF:
        return False
    if packet.csum_valid or packet.csum_start:
        return True
    if ipv4:
        pseudo = pseudo_sum(buf[l3 + 12 : l3 + 16], buf[l3 + 16 : l3 + 20], _TCP, end - l4)
    else:
        pseudo = pseudo_sum(buf[l3 + 8 : l3 + 24], buf[l3 + 24 : l3 + 40], _TCP, end - l4)
    if ones_sum(buf[l4:end], pseudo) != 0xFFFF:
        return False
    packet.csum_valid = True
    return True


def _same_headers(head: bytes, buf: bytes, l3: int, l4: int, data_start: int, ipv4: bool) -> bool:
    """Whether headers are equal but for length, identification, sequence number, FIN and PSH, and checksums."""
    if head[:l3] != buf[:l3]:
        return False
    if ipv4:
        # Type of service; flags and time to live.
        if head[l3 + 1] != buf[l3 + 1] or head[l3 + 6 : l3 + 9] != buf[l3 + 6 : l3 + 9]:
            return False
    elif head[l3 : l3 + 4] != buf[l3 : l3 + 4] or head[l3 + 7] != buf[l3 + 7]:
        # Traffic class and flow label; hop limit.
        return False
    # Acknowledgement number and header length; window; urgent pointer and options (timestamps with them).
    return (
        head[l4 + 8 : l4 + 13] == buf[l4 + 8 : l4 + 13]
        and head[l4 + 14 : l4 + 16] == buf[l4 + 14 : l4 + 16]
        and head[l4 + 18 : data_start] == buf[l4 + 18 : data_start]
    )


def _join(group: _Group) -> Packet:
    """The super-segment of a finished group."""
    l3 = group.l3
    l4 = group.l4
    head = bytearray(group.head)
    if head[l3] >> 4 == 4:
        gso_type = GSO_TCPV4
        head[l3 + 2] = group.total >> 8
        head[l3 + 3] = group.total & 0xFF
        head[l3 + 10 : l3 + 12] = b"\0\0"
        check = ones_sum(bytes(head[l3:l4])) ^ 0xFFFF
        head[l3 + 10] = check >> 8
        head[l3 + 11] = check & 0xFF
        src = bytes(head[l3 + 12 : l3 + 16])
        dst = bytes(head[l3 + 16 : l3 + 20])
    else:
        gso_type = GSO_TCPV6
        length = group.total - 40
        head[l3 + 4] = length >> 8
        head[l3 + 5] = length & 0xFF
        src = bytes(head[l3 + 8 : l3 + 24])
        dst = bytes(head[l3 + 24 : l3 + 40])
    head[l4 + 13] = group.flags
    pseudo = pseudo_sum(src, dst, _TCP, group.total - (l4 - l3))
    head[l4 + 16] = pseudo >> 8
    head[l4 + 17] = pseudo & 0xFF
    group.chunks.insert(0, bytes(head))
    return Packet(b"".join(group.chunks), b"", group.first.interface, gso_type, group.size, l4, 16, True)

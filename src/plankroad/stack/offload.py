"""Whether what a link says of a received packet (`wire.packet`) can be true of it.

A guest, a tunnel or a program's own link may say anything. What is passed on is said to the next link, which cuts and
sums by it; so it is checked once, where the packet comes in.
"""

from __future__ import annotations

from plankroad.wire.constants import PROTO_TCP, PROTO_UDP
from plankroad.wire.packet import GSO_NONE, GSO_UDP_L4, Packet


def offloads_fit(packet: Packet, protocol: int, start: int, end: int, whole: bool, gso_tcp: int) -> bool:
    """Whether the partial checksum and the kind of super-segment fit the headers.

    `start`, `end`: of what `protocol` names, in `packet.head`. `whole`: the packet is no fragment. `gso_tcp`: the
    `gso_type` of TCP in this family.
    """
    at = packet.csum_start
    offset = packet.csum_offset
    if at or offset:
        if not whole or at < start or offset < 0 or at + offset + 2 > end:
            return False
        # Further inside is the checksum of an encapsulated packet.
        if at == start and offset != (16 if protocol == PROTO_TCP else 6 if protocol == PROTO_UDP else offset):
            return False
    kind = packet.gso_type
    if kind == GSO_NONE:
        return True
    if not whole or packet.gso_size <= 0 or (at and at != start):
        return False
    if kind == GSO_UDP_L4:
        return protocol == PROTO_UDP and start + 8 <= end
    if kind != gso_tcp or protocol != PROTO_TCP or start + 20 > end:
        return False
    header = packet.head[start + 12] >> 4 << 2
    return header >= 20 and start + header <= end

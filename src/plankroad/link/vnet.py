"""The virtio-net header in front of each packet of a TUN or TAP device opened with IFF_VNET_HDR.

Virtual I/O Device specification 1.2, section 5.1.6: flags, gso_type (8 bits each), hdr_len, gso_size, csum_start,
csum_offset (16 bits each), in the machine's own byte order as Linux has it for TUN (a "legacy" device).
"""

from __future__ import annotations

import struct
from typing import Final

from plankroad.wire.errors import BadPacket
from plankroad.wire.packet import GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet

VNET_SIZE: Final = 10

NEEDS_CSUM: Final = 1  #: VIRTIO_NET_HDR_F_NEEDS_CSUM
DATA_VALID: Final = 2  #: VIRTIO_NET_HDR_F_DATA_VALID
GSO_ECN: Final = 0x80  #: VIRTIO_NET_HDR_GSO_ECN, a bit beside the gso_type: the first segment has CWR set

#: No offload at all: a complete, single packet.
PLAIN: Final = bytes(VNET_SIZE)

_HEADER: Final = struct.Struct("=BBHHHH")
_CWR: Final = 0x80


def encode(packet: Packet) -> bytes:
    """The header that says of `packet` what its offload fields say.

    A super-segment must have a partial checksum, and all of its headers in `packet.head`; ValueError otherwise.
    """
    start = packet.csum_start
    if packet.gso_type == GSO_NONE:
        if start == 0:
            return PLAIN
        return _HEADER.pack(NEEDS_CSUM, GSO_NONE, 0, 0, start, packet.csum_offset)
    head = packet.head
    if start == 0:
        raise ValueError("a super-segment for a virtio-net header needs a partial checksum")
    if len(head) < start + (8 if packet.gso_type == GSO_UDP_L4 else 20):
        raise ValueError("the headers of a super-segment must be in one piece")
    gso_type = packet.gso_type
    if gso_type == GSO_UDP_L4:
        header_length = start + 8
    else:
        header_length = start + (head[start + 12] >> 4 << 2)
        if head[start + 13] & _CWR:
            gso_type |= GSO_ECN
    return _HEADER.pack(NEEDS_CSUM, gso_type, header_length, packet.gso_size, start, packet.csum_offset)


def decode_header(header: bytes) -> tuple[int, int, int, int, bool]:
    """What a received header says, in the terms of `Packet`: gso_type, gso_size, csum_start, csum_offset, csum_valid.

    Headers are few and come again and again, so what this makes of one is worth keeping. Raises BadPacket for a
    gso_type that was not negotiated.
    """
    flags, gso_type, _, gso_size, start, offset = _HEADER.unpack(header)
    gso_type &= ~GSO_ECN
    if gso_type == GSO_NONE:
        gso_size = 0
    elif gso_type not in (GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4) or gso_size == 0:
        raise BadPacket(f"virtio-net header with gso_type {gso_type}, gso_size {gso_size}")
    if not flags & NEEDS_CSUM:
        return gso_type, gso_size, 0, 0, bool(flags & DATA_VALID)
    if start == 0:
        raise BadPacket("virtio-net header whose checksum starts nowhere")
    return gso_type, gso_size, start, offset, True


def decode(header: bytes, data: bytes) -> Packet:
    """The received packet of `data` and the header before it.

    Raises BadPacket as `decode_header` does, and for a checksum field outside of the packet.
    """
    gso_type, gso_size, start, offset, valid = decode_header(header)
    if start and start + offset + 2 > len(data):
        raise BadPacket("virtio-net header whose checksum field is outside of the packet")
    return Packet(data, b"", 0, gso_type, gso_size, start, offset, valid)

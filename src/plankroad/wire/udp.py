"""The UDP header (RFC 768)."""

from __future__ import annotations

import struct
from typing import Final

from plankroad.wire.checksum import ones_sum, pseudo_sum
from plankroad.wire.constants import PROTO_UDP
from plankroad.wire.errors import BadPacket

_pack: Final = struct.Struct("!HHHH").pack


class UdpDatagram:
    """A UDP datagram: ports and payload."""

    __slots__ = ("dst_port", "payload", "src_port")

    def __init__(self, src_port: int, dst_port: int, payload: bytes) -> None:
        self.src_port = src_port
        self.dst_port = dst_port
        self.payload = payload


def parse_udp(buf: bytes, start: int, end: int) -> UdpDatagram:
    """The datagram in `buf[start:end]`. The checksum is not looked at: see `udp_checksum_ok`.

    Bytes of the IP payload behind the UDP length are no part of it. Raises BadPacket where the header is truncated or
    its length is less than 8 or more than there is (RFC 768; RFC 1122 section 4.1.3).
    """
    if start < 0 or end > len(buf) or end - start < 8:
        raise BadPacket("UDP header is truncated")
    length = buf[start + 4] << 8 | buf[start + 5]
    if length < 8 or start + length > end:
        raise BadPacket("UDP length is wrong")
    return UdpDatagram(
        buf[start] << 8 | buf[start + 1],
        buf[start + 2] << 8 | buf[start + 3],
        buf[start + 8 : start + length],
    )


def udp_checksum_ok(buf: bytes, start: int, end: int, src: bytes, dst: bytes) -> bool:
    """Whether the checksum of the datagram in `buf[start:end]` is right.

    RFC 768: a field of 0 means that the sender made none, which is right over IPv4 and wrong over IPv6 (RFC 8200
    section 8.1). False too where the header is truncated or its length wrong.
    """
    if start < 0 or end > len(buf) or end - start < 8:
        return False
    if buf[start + 6] == 0 and buf[start + 7] == 0:
        return len(src) == 4
    length = buf[start + 4] << 8 | buf[start + 5]
    if length < 8 or start + length > end:
        return False
    return ones_sum(buf[start : start + length], pseudo_sum(src, dst, PROTO_UDP, length)) == 0xFFFF


def build_udp(src: bytes, dst: bytes, src_port: int, dst_port: int, payload: bytes, partial: bool = False) -> bytes:
    """The 8 bytes of the header; its checksum is over header and payload. The payload is not in it.

    `partial`: the checksum field holds the folded pseudo-header sum instead, for a link that finishes it.
    Raises ValueError where the datagram would be longer than 65535 bytes.
    """
    length = 8 + len(payload)
    if length > 0xFFFF:
        raise ValueError("UDP datagram is too long")
    value = pseudo_sum(src, dst, PROTO_UDP, length)
    if not partial:
        # RFC 768: "If the computed checksum is zero, it is transmitted as all ones".
        value = 0xFFFF - ones_sum(payload, value + src_port + dst_port + length)
        if value == 0:
            value = 0xFFFF
    return _pack(src_port, dst_port, length, value)

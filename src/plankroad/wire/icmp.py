"""ICMP messages as they all begin (RFC 792): type, code, checksum, 32 bits by type, body."""

from __future__ import annotations

import struct
from typing import Final

from plankroad.wire.checksum import ones_sum
from plankroad.wire.errors import BadPacket

_pack: Final = struct.Struct("!HHI").pack


class IcmpMessage:
    """An ICMP or ICMPv6 message.

    `rest` are the 32 bits after the checksum: identifier and sequence number of an echo, the next-hop MTU in the low
    16 bits of Fragmentation Needed (RFC 1191 section 4), the pointer in the high 8 bits of an IPv4 Parameter Problem,
    the MTU or pointer of their ICMPv6 kin. `body` is what follows.
    """

    __slots__ = ("body", "code", "rest", "type")

    def __init__(self, type: int, code: int, rest: int, body: bytes) -> None:
        self.type = type
        self.code = code
        self.rest = rest
        self.body = body


def parse_icmp(buf: bytes, start: int, end: int) -> IcmpMessage:
    """The ICMP message in `buf[start:end]`, its checksum verified.

    Raises BadPacket where it is shorter than 8 bytes or its checksum is wrong.
    """
    if start < 0 or end > len(buf) or end - start < 8:
        raise BadPacket("ICMP message is truncated")
    # A right message sums to 0xFFFF: all zeros with a checksum of 0 is not right, and is echo reply by type.
    if ones_sum(buf[start:end]) != 0xFFFF:
        raise BadPacket("ICMP checksum is wrong")
    return message_at(buf, start, end)


def message_at(buf: bytes, start: int, end: int) -> IcmpMessage:
    """The message in `buf[start:end]`, of at least 8 bytes, unverified."""
    return IcmpMessage(
        buf[start],
        buf[start + 1],
        buf[start + 4] << 24 | buf[start + 5] << 16 | buf[start + 6] << 8 | buf[start + 7],
        buf[start + 8 : end],
    )


def build_icmp(type: int, code: int, rest: int, body: bytes) -> bytes:
    """A whole ICMP message with its checksum."""
    head = type << 8 | code
    value = 0xFFFF - ones_sum(body, head + rest)
    return _pack(head, value, rest) + body

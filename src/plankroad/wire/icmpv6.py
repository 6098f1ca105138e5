"""ICMPv6 messages as they all begin (RFC 4443 section 2.1); the checksum covers the IPv6 pseudo-header."""

from __future__ import annotations

import struct
from typing import Final

from plankroad.wire.checksum import ones_sum, pseudo_sum
from plankroad.wire.constants import PROTO_ICMPV6
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import IcmpMessage, message_at

_pack: Final = struct.Struct("!HHI").pack


def parse_icmpv6(buf: bytes, start: int, end: int, src: bytes, dst: bytes) -> IcmpMessage:
    """The ICMPv6 message in `buf[start:end]`, its checksum verified (RFC 4443 section 2.3).

    Raises BadPacket where it is shorter than 8 bytes or its checksum is wrong.
    """
    if start < 0 or end > len(buf) or end - start < 8:
        raise BadPacket("ICMPv6 message is truncated")
    if ones_sum(buf[start:end], pseudo_sum(src, dst, PROTO_ICMPV6, end - start)) != 0xFFFF:
        raise BadPacket("ICMPv6 checksum is wrong")
    return message_at(buf, start, end)


def build_icmpv6(src: bytes, dst: bytes, type: int, code: int, rest: int, body: bytes) -> bytes:
    """A whole ICMPv6 message with its checksum for these two addresses."""
    head = type << 8 | code
    total = pseudo_sum(src, dst, PROTO_ICMPV6, 8 + len(body)) + head + rest
    value = 0xFFFF - ones_sum(body, total)
    return _pack(head, value, rest) + body

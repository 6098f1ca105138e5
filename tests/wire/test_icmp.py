"""ICMP and ICMPv6 messages (RFC 792, RFC 4443)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import build_icmp, parse_icmp
from plankroad.wire.icmpv6 import build_icmpv6, parse_icmpv6

A, B = b"\xfd" + bytes(14) + b"\1", b"\xff\x02" + bytes(13) + b"\1"
BYTE = st.integers(0, 255)


@given(BYTE, BYTE, st.integers(0, 0xFFFFFFFF), st.binary(max_size=80), st.integers(0, 30), st.integers(0, 9))
def test_what_is_built_is_parsed_equal(
    type_: int, code: int, rest: int, body: bytes, before: int, after: int
) -> None:
    built = build_icmp(type_, code, rest, body)
    end = before + len(built)
    m = parse_icmp(b"\xee" * before + built + b"\xee" * after, before, end)
    assert (m.type, m.code, m.rest, m.body) == (type_, code, rest, body)
    built = build_icmpv6(A, B, type_, code, rest, body)
    m = parse_icmpv6(b"\xee" * before + built + b"\xee" * after, before, end, A, B)
    assert (m.type, m.code, m.rest, m.body) == (type_, code, rest, body)


@given(st.binary(max_size=40), st.data())
def test_any_flipped_bit_is_refused(body: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, (8 + len(body)) * 8 - 1))
    four = bytearray(build_icmp(8, 0, 7, body))
    four[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises(BadPacket, match="checksum"):
        parse_icmp(bytes(four), 0, len(four))
    six = bytearray(build_icmpv6(A, B, 128, 0, 7, body))
    six[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises(BadPacket, match="checksum"):
        parse_icmpv6(bytes(six), 0, len(six), A, B)


def test_the_checksum_of_icmpv6_covers_the_addresses() -> None:
    """RFC 4443 section 2.3."""
    built = build_icmpv6(A, B, 128, 0, 7, b"abc")
    with pytest.raises(BadPacket, match="checksum"):
        parse_icmpv6(built, 0, len(built), A, A)


def test_eight_zero_bytes_are_no_message() -> None:
    """The checksum of an echo reply of zeros is all ones, not 0."""
    with pytest.raises(BadPacket, match="checksum"):
        parse_icmp(bytes(8), 0, 8)
    assert build_icmp(0, 0, 0, b"") == b"\0\0\xff\xff\0\0\0\0"


@pytest.mark.parametrize(("start", "end"), [(0, 7), (1, 8), (0, 9), (-8, 0), (8, 8)])
def test_truncated_messages_are_refused(start: int, end: int) -> None:
    with pytest.raises(BadPacket, match="truncated"):
        parse_icmp(bytes(8), start, end)
    with pytest.raises(BadPacket, match="truncated"):
        parse_icmpv6(bytes(8), start, end, A, B)

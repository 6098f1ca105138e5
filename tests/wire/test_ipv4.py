"""The IPv4 header (RFC 791 section 3.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire.checksum import checksum
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import Ipv4Header, build_ipv4, parse_ipv4

A = b"\x0a\0\0\1"
B = b"\xc0\0\x02\x63"


@given(
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 255),
    st.integers(0, 300),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.booleans(),
    st.booleans(),
    st.integers(0, 8191),
    st.binary(max_size=40),
    st.integers(0, 20),
    st.integers(0, 46),
)
def test_what_is_built_is_parsed_equal(
    src: bytes,
    dst: bytes,
    protocol: int,
    length: int,
    ttl: int,
    tos: int,
    ident: int,
    df: bool,
    mf: bool,
    units: int,
    options: bytes,
    before: int,
    padding: int,
) -> None:
    head = build_ipv4(src, dst, protocol, length, ttl, tos, ident, df, mf, units * 8, options)
    packet = b"x" * before + head + b"p" * length + b"\0" * padding
    h = parse_ipv4(packet, before)
    assert (h.src, h.dst, h.protocol, h.ttl, h.tos, h.ident) == (src, dst, protocol, ttl, tos, ident)
    assert (h.dont_fragment, h.more_fragments, h.fragment_offset) == (df, mf, units * 8)
    assert h.options == options + bytes(-len(options) % 4)
    assert (h.header_length, h.total_length) == (len(head), len(head) + length)
    assert (h.offset, h.payload_start, h.payload_end) == (before, before + len(head), before + len(head) + length)
    # Bytes after the total length are a link's padding.
    assert packet[h.payload_start : h.payload_end] == b"p" * length


def test_defaults() -> None:
    h = parse_ipv4(build_ipv4(A, B, 6, 0))
    assert (h.ttl, h.tos, h.ident, h.fragment_offset, h.options) == (64, 0, 0, 0, b"")
    assert not h.dont_fragment
    assert not h.more_fragments


def test_the_reserved_flag_is_ignored() -> None:
    head = bytearray(build_ipv4(A, B, 6, 0, dont_fragment=True))
    head[6] |= 0x80
    head[10:12] = bytes(2)
    head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
    h = parse_ipv4(bytes(head))
    assert h.dont_fragment
    assert h.fragment_offset == 0


@pytest.mark.requirement("RFC1122-3.2.1.2-a")
@given(st.integers(0, 19), st.integers(0, 7))
def test_any_flipped_bit_of_the_header_is_refused(byte: int, bit: int) -> None:
    """RFC 1122 section 3.2.1.2 (MUST verify the checksum); version and length bits fail for themselves."""
    packet = bytearray(build_ipv4(A, B, 17, 40, ident=77) + bytes(40))
    packet[byte] ^= 1 << bit
    with pytest.raises(BadPacket):
        parse_ipv4(bytes(packet))


def _with_checksum(head: bytes) -> bytes:
    blank = head[:10] + b"\0\0" + head[12:]
    return blank[:10] + checksum(blank).to_bytes(2, "big") + blank[12:]


@pytest.mark.parametrize(
    ("first", "total", "text"),
    [
        (0x65, 40, "version"),  # RFC 1122 section 3.2.1.1
        (0x44, 40, "less than 20"),
        (0x4B, 40, "longer than the packet"),
        (0x45, 19, "longer than the packet"),
        (0x45, 41, "truncated"),
    ],
)
def test_lengths_that_contradict_each_other_are_refused(first: int, total: int, text: str) -> None:
    head = bytearray(build_ipv4(A, B, 6, 20) + bytes(20))
    head[0] = first
    head[2:4] = total.to_bytes(2, "big")
    with pytest.raises(BadPacket, match=text):
        parse_ipv4(_with_checksum(bytes(head[:20])) + bytes(head[20:]))


def test_every_truncation_is_refused() -> None:
    packet = build_ipv4(A, B, 6, 8, options=b"\x01" * 8) + bytes(8)
    parse_ipv4(packet)
    for n in range(len(packet)):
        with pytest.raises(BadPacket):
            parse_ipv4(packet[:n])


def test_a_header_checksum_of_zero_is_right_where_it_is_computed() -> None:
    """RFC 1624 section 2: 0x0000 is a value that a header's checksum has; it does not mean "none"."""
    for ident in range(65536):
        head = build_ipv4(A, B, 6, 0, ident=ident)
        if head[10:12] == b"\0\0":
            assert parse_ipv4(head).ident == ident
            break
    else:
        pytest.fail("no header with a checksum of 0")
    # All ones in its place is the other spelling of the same sum, and verifies too.
    assert parse_ipv4(head[:10] + b"\xff\xff" + head[12:]).ident == ident


@pytest.mark.parametrize(
    ("src", "length", "offset", "options"),
    [
        (A, 65516, 0, b""),
        (A, 65512, 0, b"\x01"),
        (A, 0, 4, b""),
        (A, 0, 65536, b""),
        (A, 0, -8, b""),
        (A, 0, 0, bytes(41)),
        (A + A, 0, 0, b""),
    ],
)
def test_what_cannot_be_built_is_refused(src: bytes, length: int, offset: int, options: bytes) -> None:
    with pytest.raises(ValueError, match=r"IPv4|fragment offset"):
        build_ipv4(src, B, 6, length, fragment_offset=offset, options=options)


def test_the_largest_packet() -> None:
    packet = build_ipv4(A, B, 6, 65515) + bytes(65515)
    h: Ipv4Header = parse_ipv4(packet)
    assert h.payload_end == 65535

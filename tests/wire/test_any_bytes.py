"""Any bytes whatsoever parse or raise `BadPacket`, and no parser reads past what it was given."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.wire.reading import read_frame

from plankroad.wire.checksum import checksum
from plankroad.wire.errors import BadPacket
from plankroad.wire.icmp import parse_icmp
from plankroad.wire.icmpv6 import parse_icmpv6
from plankroad.wire.ipv6 import chain_complete, parse_ipv6, parse_routing, upper_layer
from plankroad.wire.ipv6_options import parse_ipv6_options
from plankroad.wire.quoted import parse_quoted
from plankroad.wire.tcp import parse_tcp
from plankroad.wire.udp import parse_udp, udp_checksum_ok

NO_ADDRESS = bytes(16)


def mended(buf: bytes) -> bytes:
    """The buffer with a version, a length and a header checksum that let parsing go on, in an Ethernet frame."""
    if len(buf) < 40:
        return b""
    if buf[0] & 1:
        length = 40 if len(buf) < 60 or buf[0] & 2 else 20 + (buf[0] >> 4 << 2) % 44
        length = min(length, len(buf), 60)
        ip = bytes([0x40 | length >> 2, buf[1]]) + len(buf).to_bytes(2, "big") + buf[4:10] + b"\0\0" + buf[12:]
        ip = ip[:10] + checksum(ip[: length & ~3]).to_bytes(2, "big") + ip[12:]
        return bytes(12) + b"\x08\x00" + ip
    return bytes(12) + b"\x86\xdd\x60" + buf[1:4] + (len(buf) - 40).to_bytes(2, "big") + buf[6:]


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff" * 200)
def test_any_frame(buf: bytes) -> None:
    for whole in (buf, bytes(12) + b"\x08\x00" + buf, bytes(12) + b"\x86\xdd" + buf, bytes(12) + b"\x08\x06" + buf):
        try:
            read_frame(whole)
        except BadPacket:
            continue


@given(st.binary(min_size=40, max_size=300), st.sampled_from([0, 1, 6, 17, 43, 44, 51, 58, 60]))
def test_any_packet_with_a_plausible_header(buf: bytes, protocol: int) -> None:
    at = 9 if buf[0] & 1 else 6
    buf = buf[:at] + bytes([protocol]) + buf[at + 1 :]
    try:
        read_frame(mended(buf))
    except BadPacket:
        return


@given(st.binary(max_size=120), st.integers(-5, 125), st.integers(-5, 125))
def test_any_bounds(buf: bytes, start: int, end: int) -> None:
    """Bounds outside of the buffer raise BadPacket; nothing is read from beyond them."""
    parsers = (parse_tcp, parse_udp, parse_icmp, parse_routing, parse_ipv6_options, parse_quoted)
    for parse in parsers:
        try:
            parse(buf, start, end)
        except BadPacket:
            continue
        assert start >= 0
        assert end <= len(buf)
    udp_checksum_ok(buf, start, end, NO_ADDRESS, NO_ADDRESS)
    try:
        parse_icmpv6(buf, start, end, NO_ADDRESS, NO_ADDRESS)
    except BadPacket:
        return


@given(st.binary(max_size=400), st.sampled_from([0, 43, 44, 51, 60]))
def test_any_chain_of_headers(buf: bytes, kind: int) -> None:
    protocol, at = upper_layer(buf, 0, len(buf), kind)
    assert -1 <= at <= len(buf)
    assert 0 <= protocol <= 255
    if at < 0:
        assert not chain_complete(buf, 0, len(buf), kind)


@given(st.binary(min_size=12, max_size=12), st.binary(max_size=40), st.binary(max_size=20), st.binary(max_size=50))
def test_any_tcp_options(ports: bytes, options: bytes, rest: bytes, more: bytes) -> None:
    options = options[: len(options) & ~3]
    segment = ports + bytes([(20 + len(options)) << 2]) + (rest + bytes(7))[:7] + options + more
    seg = parse_tcp(segment, 0, len(segment))
    assert seg.payload == more


def test_the_worst_chain_and_the_worst_options_end_soon() -> None:
    """65 kB of the smallest headers or options: refused or read in one pass."""
    chain = b"\x3c\x00\x01\x04\x00\x00\x00\x00" * 8191
    with pytest.raises(BadPacket, match="too many"):
        parse_ipv6(b"\x60\x00\x00\x00" + len(chain).to_bytes(2, "big") + b"\x3c\x40" + bytes(32) + chain)
    assert len(parse_ipv6_options(b"\x3b\xff" + b"\x1e\x00" * 1023, 0, 2048)) == 1023
    assert parse_ipv6_options(b"\x3b\xff" + bytes(2046), 0, 2048) == []

"""The packet that an ICMP error quotes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_destination, build_fragment, build_ipv6
from plankroad.wire.quoted import parse_quoted
from plankroad.wire.segment import ACK, Segment
from plankroad.wire.tcp import build_tcp

A4, B4 = b"\x0a\0\0\1", b"\xc0\0\x02\x63"
A6, B6 = b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2"
TCP = build_tcp(Segment(40000, 80, 0xFEDCBA98, 7, ACK, 9), A4, B4)


def test_every_length_of_an_ipv4_quote() -> None:
    """RFC 792: 8 bytes of the transport hold its ports and TCP's sequence number; fewer hold less."""
    options = b"\x94\x04\x00\x00"
    packet = build_ipv4(A4, B4, 6, 1000, ident=77, options=options) + TCP
    for n in range(24):
        with pytest.raises(BadPacket):
            parse_quoted(packet[:n])
    for n in range(24, len(packet) + 1):
        q = parse_quoted(packet[:n])
        assert (q.version, q.protocol, q.src, q.dst, q.total_length, q.ident) == (4, 6, A4, B4, 1024, 77)
        assert q.transport_start == (24 if n > 24 else -1)
        assert (q.src_port, q.dst_port) == ((40000, 80) if n >= 28 else (-1, -1))
        assert q.seq == (0xFEDCBA98 if n >= 32 else -1)


def test_every_length_of_an_ipv6_quote() -> None:
    chain = build_destination(44, []) + build_fragment(6, 0, True, 99)
    packet = build_ipv6(A6, B6, 60, 1000) + chain + TCP
    for n in range(40):
        with pytest.raises(BadPacket):
            parse_quoted(packet[:n])
    for n in range(40, len(packet) + 1):
        q = parse_quoted(packet[:n])
        assert (q.version, q.src, q.dst, q.total_length) == (6, A6, B6, 1040)
        assert q.transport_start == (56 if n > 56 else -1)
        assert (q.src_port, q.dst_port) == ((40000, 80) if n >= 60 else (-1, -1))
        assert q.seq == (0xFEDCBA98 if n >= 64 else -1)
        if n > 56:
            assert (q.protocol, q.ident) == (6, 99)


def test_the_checksum_of_a_quoted_header_is_not_asked_for() -> None:
    """Routers on the way have lowered its TTL; some have not mended its checksum."""
    packet = bytearray(build_ipv4(A4, B4, 17, 8) + b"\x00\x35\x14\xe9\0\x08\0\0")
    packet[8] = 1
    q = parse_quoted(bytes(packet))
    assert (q.protocol, q.src_port, q.dst_port, q.seq) == (17, 0x35, 0x14E9, -1)


@pytest.mark.parametrize("version", [4, 6])
def test_echo_messages_have_an_identifier(version: int) -> None:
    echo = b"\x08\0\0\0\x12\x34\x00\x07"
    head = build_ipv4(A4, B4, 1, 8) if version == 4 else build_ipv6(A6, B6, 58, 8)
    q = parse_quoted(head + echo)
    assert (q.icmp_type, q.icmp_ident, q.icmp_seq, q.src_port, q.seq) == (8, 0x1234, 7, -1, -1)
    q = parse_quoted(head + echo[:7])
    assert (q.icmp_type, q.icmp_ident, q.icmp_seq) == (8, -1, -1)


def test_later_fragments_hold_no_transport_header() -> None:
    q = parse_quoted(build_ipv4(A4, B4, 6, 8, fragment_offset=8) + bytes(8))
    assert (q.protocol, q.transport_start, q.src_port, q.seq) == (6, -1, -1, -1)
    q = parse_quoted(build_ipv6(A6, B6, 44, 16) + build_fragment(6, 1232, False, 5) + bytes(8))
    assert (q.protocol, q.ident, q.transport_start, q.src_port, q.seq) == (6, 5, -1, -1, -1)


def test_the_quote_is_where_it_is_said_to_be() -> None:
    packet = build_ipv4(A4, B4, 6, 20) + TCP
    q = parse_quoted(b"\x60" * 8 + packet + bytes(9), 8, 8 + len(packet))
    assert (q.transport_start, q.src_port) == (28, 40000)
    with pytest.raises(BadPacket, match="no IP packet"):
        parse_quoted(b"\x50" + bytes(50))
    for start, end in ((-1, 20), (0, 99), (20, 20), (21, 20)):
        with pytest.raises(BadPacket, match="quotes nothing"):
            parse_quoted(packet, start, end)


@given(st.sampled_from([0x45, 0x4F, 0x60]), st.binary(max_size=120))
def test_any_bytes_parse_or_are_refused(first: int, rest: bytes) -> None:
    try:
        q = parse_quoted(bytes([first]) + rest)
    except BadPacket:
        return
    assert q.transport_start <= len(rest)
    assert len(q.src) == len(q.dst) == (4 if q.version == 4 else 16)

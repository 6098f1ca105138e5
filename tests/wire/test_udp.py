"""The UDP header (RFC 768)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire.checksum import finish, ones_sum, pseudo_sum
from plankroad.wire.constants import PROTO_UDP
from plankroad.wire.errors import BadPacket
from plankroad.wire.udp import build_udp, parse_udp, udp_checksum_ok

A4, B4 = b"\x0a\0\0\1", b"\xc0\0\x02\x63"
A6, B6 = b"\xfd" + bytes(14) + b"\1", b"\xfd" + bytes(14) + b"\2"
U16 = st.integers(0, 0xFFFF)


@pytest.mark.requirement("RFC1122-4.1.3.4-a")
@given(U16, U16, st.binary(max_size=100), st.booleans(), st.integers(0, 30), st.integers(0, 9))
def test_what_is_built_is_parsed_equal(sp: int, dp: int, data: bytes, six: bool, before: int, after: int) -> None:
    src, dst = (A6, B6) if six else (A4, B4)
    head = build_udp(src, dst, sp, dp, data)
    assert head[6:8] != b"\0\0"
    end = before + 8 + len(data) + after
    buf = bytes(before) + head + data + b"\xee" * after
    udp = parse_udp(buf, before, end)
    assert (udp.src_port, udp.dst_port, udp.payload) == (sp, dp, data)
    assert udp_checksum_ok(buf, before, end, src, dst)
    assert finish(build_udp(src, dst, sp, dp, data, True), data, 0, 6) == head


@pytest.mark.requirement("RFC1122-4.1.3.4-a")
@given(st.binary(max_size=50), st.data())
def test_any_flipped_bit_fails_the_checksum(payload: bytes, data: st.DataObject) -> None:
    whole = bytearray(build_udp(A4, B4, 53, 5353, payload) + payload)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit >> 3] ^= 1 << (bit & 7)
    assert not udp_checksum_ok(bytes(whole), 0, len(whole), A4, B4)


def test_no_checksum_is_right_over_ipv4_and_wrong_over_ipv6() -> None:
    """RFC 768; RFC 8200 section 8.1: IPv6 receivers must discard datagrams with a zero checksum."""
    datagram = b"\0\x01\0\x02\0\x0a\0\0ab"
    assert udp_checksum_ok(datagram, 0, 10, A4, B4)
    assert not udp_checksum_ok(datagram, 0, 10, A6, B6)


def test_a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() -> None:
    head = build_udp(A4, B4, 1, 2, b"\0\0")
    fill = int.from_bytes(head[6:8], "big")
    head = build_udp(A4, B4, 1, 2, fill.to_bytes(2, "big"))
    assert head[6:8] == b"\xff\xff"
    assert udp_checksum_ok(head + fill.to_bytes(2, "big"), 0, 10, A4, B4)


def test_partial_holds_the_pseudo_header_sum() -> None:
    head = build_udp(A6, B6, 1, 2, b"abc", True)
    assert int.from_bytes(head[6:8], "big") == pseudo_sum(A6, B6, PROTO_UDP, 11)
    assert ones_sum(head[:6]) == 1 + 2 + 11


@pytest.mark.parametrize(
    ("buf", "end"), [(bytes(7), 7), (bytes(5) + b"\x07" + bytes(9), 15), (bytes(5) + b"\x09" + bytes(2), 8), (b"", 8)]
)
def test_wrong_lengths_are_refused(buf: bytes, end: int) -> None:
    with pytest.raises(BadPacket):
        parse_udp(buf, 0, end)
    checked = buf[:6] + b"\x01\x01" + buf[8:] if len(buf) >= 8 else buf
    assert not udp_checksum_ok(checked, 0, end, A4, B4)


def test_a_datagram_that_is_too_long_is_refused() -> None:
    assert build_udp(A4, B4, 1, 2, bytes(65527))[4:6] == b"\xff\xff"
    with pytest.raises(ValueError, match="too long"):
        build_udp(A4, B4, 1, 2, bytes(65528))

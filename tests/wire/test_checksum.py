"""The Internet checksum: RFC 1071, RFC 1624, partial checksums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire.checksum import (
    address_sum,
    big_sum,
    checksum,
    complete,
    finish,
    ones_sum,
    pseudo_sum,
    update,
    update_bytes,
)
from plankroad.wire.constants import PROTO_TCP, PROTO_UDP
from plankroad.wire.packet import GSO_TCPV4, Packet


def by_words(data: bytes, initial: int = 0) -> int:
    """RFC 1071 section 4.1, word by word with end-around carry."""
    total = initial
    for i in range(0, len(data) - 1, 2):
        total += data[i] << 8 | data[i + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_example_of_rfc_1071_section_3() -> None:
    assert ones_sum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D


@given(st.binary(max_size=200), st.integers(0, 0xFFFF))
def test_equals_the_sum_word_by_word(data: bytes, initial: int) -> None:
    assert ones_sum(data, initial) == by_words(data, initial)


@pytest.mark.parametrize(
    "length", [699, 700, 701, 702, 1419, 1420, 1460, 1535, 1536, 1537, 2304, 9000, 40001, 65534, 65535]
)
@pytest.mark.parametrize("fill", [b"\x00", b"\xff", b"\x00\xff\x01", b"\xfe\xdc\xba\x98\x76\x54\x32"])
def test_long_data_is_folded_right(length: int, fill: bytes) -> None:
    data = (fill * (length // len(fill) + 1))[:length]
    assert ones_sum(data) == by_words(data)
    assert big_sum(data).bit_length() <= 700 * 8


@pytest.mark.parametrize("length", [1, 2, 20, 701, 1460, 65535])
def test_zeros_sum_to_zero_and_their_checksum_is_all_ones(length: int) -> None:
    assert ones_sum(bytes(length)) == 0
    assert checksum(bytes(length)) == 0xFFFF
    # One bit anywhere, and the sum is no longer 0.
    assert ones_sum(bytes(length - 1) + b"\x01") != 0


def test_a_sum_that_is_a_multiple_of_65535_is_all_ones() -> None:
    assert ones_sum(b"\xff\xff") == 0xFFFF
    assert ones_sum(b"\xff\xfe\x00\x01") == 0xFFFF
    assert checksum(b"\xff\xff") == 0


@given(st.binary(min_size=2, max_size=64), st.integers(0, 63), st.integers(0, 0xFFFF))
def test_incremental_update_equals_the_whole_sum(data: bytes, where: int, new: int) -> None:
    """RFC 1624 section 3, equation 3, where the data has other bytes that are not zero (as every header has)."""
    data = b"\x45\x00" + data[: len(data) & ~1]
    at = 2 + (where % ((len(data) - 2) // 2)) * 2
    old = int.from_bytes(data[at : at + 2], "big")
    changed = data[:at] + new.to_bytes(2, "big") + data[at + 2 :]
    assert update(checksum(data), old, new) == checksum(changed)


def test_incremental_update_example_of_rfc_1624_section_4() -> None:
    """Where RFC 1141's equation gives 0xFFFF, equation 3 gives 0x0000."""
    assert update(0xDD2F, 0x5555, 0x3285) == 0x0000


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=40))
def test_incremental_update_of_an_address(old: bytes, new: bytes, rest: bytes) -> None:
    rest = b"\x45" + rest[: len(rest) & ~1] + b"\x00"
    assert update_bytes(checksum(old + rest), old, new) == checksum(new + rest)


@pytest.mark.parametrize(("old", "new"), [(b"\x01", b"\x02"), (b"\x01\x02", b"\x01\x02\x03\x04")])
def test_incremental_update_refuses_runs_that_do_not_match(old: bytes, new: bytes) -> None:
    with pytest.raises(ValueError, match="even length"):
        update_bytes(0, old, new)


@given(st.sampled_from([4, 16]), st.data(), st.integers(0, 0xFFFF))
def test_pseudo_header_sum(size: int, data: st.DataObject, length: int) -> None:
    """RFC 9293 section 3.1 and RFC 8200 section 8.1: the fields, summed as they stand in the pseudo-header."""
    src = data.draw(st.binary(min_size=size, max_size=size))
    dst = data.draw(st.binary(min_size=size, max_size=size))
    if size == 4:
        header = src + dst + bytes([0, PROTO_TCP]) + length.to_bytes(2, "big")
    else:
        header = src + dst + length.to_bytes(4, "big") + bytes([0, 0, 0, PROTO_TCP])
    assert pseudo_sum(src, dst, PROTO_TCP, length) == by_words(header)
    assert address_sum(src) % 65535 == by_words(src) % 65535


@given(st.binary(min_size=20, max_size=60), st.binary(max_size=100), st.integers(0, 30))
def test_partial_checksum_is_finished_over_head_and_payload(transport: bytes, payload: bytes, before: int) -> None:
    pseudo = pseudo_sum(b"\x0a\0\0\1", b"\x0a\0\0\2", PROTO_TCP, len(transport) + len(payload))
    blank = transport[:16] + b"\0\0" + transport[18:]
    partial = transport[:16] + pseudo.to_bytes(2, "big") + transport[18:]
    lead = bytes(range(before))
    done = finish(lead + partial, payload, before, 16)
    assert done[:before] == lead
    # With an odd header the payload's bytes are the other halves of their words.
    assert int.from_bytes(done[before + 16 : before + 18], "big") == 0xFFFF - by_words(blank + payload, pseudo)


def test_complete_leaves_a_complete_packet_alone() -> None:
    packet = Packet(b"\x45" + bytes(30))
    assert complete(packet) is packet


def test_complete_finishes_and_keeps_the_rest() -> None:
    head = bytes(20) + bytes(16) + b"\x12\x34" + bytes(2)
    packet = Packet(head, b"abc", interface=3, gso_type=GSO_TCPV4, gso_size=2, csum_start=20, csum_offset=16)
    done = complete(packet)
    assert (done.csum_start, done.csum_offset) == (0, 0)
    assert (done.payload, done.interface, done.gso_type, done.gso_size) == (b"abc", 3, GSO_TCPV4, 2)
    assert done.head[:36] == head[:36]
    assert int.from_bytes(done.head[36:38], "big") == 0xFFFF - by_words(b"abc", 0x1234)
    assert packet.head == head


def test_a_udp_checksum_that_comes_out_as_zero_is_sent_as_all_ones() -> None:
    """RFC 768: "If the computed checksum is zero, it is transmitted as all ones". TCP's stays 0."""
    pseudo = pseudo_sum(b"\x0a\0\0\1", b"\x0a\0\0\2", PROTO_UDP, 10)
    udp = b"\0\x01\0\x02\0\x0a" + pseudo.to_bytes(2, "big")
    fill = 0xFFFF - by_words(udp)
    assert finish(udp, fill.to_bytes(2, "big"), 0, 6)[6:8] == b"\xff\xff"
    tcp = bytes(16) + pseudo.to_bytes(2, "big") + bytes(2)
    assert finish(tcp, (0xFFFF - by_words(tcp)).to_bytes(2, "big"), 0, 16)[16:18] == b"\0\0"


@pytest.mark.parametrize(("start", "offset"), [(20, 16), (-1, 6), (0, -1), (37, 0)])
def test_a_checksum_field_outside_of_the_headers_is_refused(start: int, offset: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        finish(bytes(37), b"abc", start, offset)

"""Ethernet frames, VLAN tags and ARP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.wire.arp import ARP_REPLY, ARP_REQUEST, build_arp, parse_arp
from plankroad.wire.errors import BadPacket
from plankroad.wire.ethernet import MAX_VLAN_TAGS, build_ethernet, pad_frame, parse_ethernet

M1, M2 = b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"
IP1, IP2 = b"\x0a\0\0\1", b"\x0a\0\0\2"
MAC = st.binary(min_size=6, max_size=6)
TAG = st.tuples(st.sampled_from([0x8100, 0x88A8]), st.integers(0, 0xFFFF))
TYPE = st.integers(1501, 0xFFFF).filter(lambda t: t not in (0x8100, 0x88A8))


@given(MAC, MAC, TYPE, st.lists(TAG, max_size=MAX_VLAN_TAGS), st.integers(0, 20))
def test_what_is_built_is_parsed_equal(
    dst: bytes, src: bytes, ethertype: int, vlans: list[tuple[int, int]], before: int
) -> None:
    """RFC 894; IEEE 802.1Q and 802.1ad tags, stacked."""
    head = build_ethernet(dst, src, ethertype, vlans)
    h = parse_ethernet(bytes(before) + head + b"data", before)
    assert (h.dst, h.src, h.ethertype, h.vlans) == (dst, src, ethertype, vlans)
    assert (h.payload_start, h.payload_end) == (before + len(head), before + len(head) + 4)
    for n in range(len(head)):
        with pytest.raises(BadPacket, match="truncated"):
            parse_ethernet(head[:n])


def test_too_many_tags_are_refused() -> None:
    with pytest.raises(BadPacket, match="too many"):
        parse_ethernet(build_ethernet(M1, M2, 0x800, [(0x8100, 1)] * (MAX_VLAN_TAGS + 1)))


def test_snap_frames_are_read_beside_ethernet_ii() -> None:
    """RFC 1122 section 2.3.3: RFC 1042 encapsulation SHOULD be received."""
    inside = b"\xaa\xaa\x03\x00\x00\x00\x08\x00" + b"ip"
    h = parse_ethernet(M1 + M2 + len(inside).to_bytes(2, "big") + inside + bytes(36))
    assert (h.ethertype, h.payload_start, h.payload_end) == (0x800, 22, 24)


@pytest.mark.parametrize(
    "inside", [b"\x42\x42\x03stp--", b"\xaa\xaa\x03\x00\x00\x0c\x20\x00", b"\xaa\xaa\x03\0\0\0", b""]
)
def test_other_802_3_frames_keep_their_length_as_type(inside: bytes) -> None:
    h = parse_ethernet(M1 + M2 + len(inside).to_bytes(2, "big") + inside + bytes(40))
    assert (h.ethertype, h.payload_start, h.payload_end) == (len(inside), 14, 14 + len(inside))


def test_an_802_3_length_past_the_end_is_refused() -> None:
    with pytest.raises(BadPacket, match="length"):
        parse_ethernet(M1 + M2 + b"\x00\x29" + bytes(40))


def test_frames_are_padded_to_the_least_size() -> None:
    """RFC 894: the data field is at least 46 bytes."""
    assert pad_frame(b"x" * 42) == b"x" * 42 + bytes(18)
    assert pad_frame(b"x" * 61) == b"x" * 61


def test_addresses_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match="6 bytes"):
        build_ethernet(M1[:5], M2, 0x800)
    with pytest.raises(ValueError, match="6 and 4"):
        build_arp(ARP_REQUEST, M1, IP1, M2, bytes(16))


@given(st.integers(0, 0xFFFF), MAC, st.binary(min_size=4, max_size=4), MAC, st.binary(min_size=4, max_size=4))
def test_arp_built_is_parsed_equal(op: int, sha: bytes, spa: bytes, tha: bytes, tpa: bytes) -> None:
    built = build_arp(op, sha, spa, tha, tpa)
    assert len(built) == 28
    p = parse_arp(b"head" + built + bytes(18), 4)
    assert (p.operation, p.sender_mac, p.sender_ip, p.target_mac, p.target_ip) == (op, sha, spa, tha, tpa)


@pytest.mark.parametrize("byte", range(6))
def test_arp_about_anything_else_is_refused(byte: int) -> None:
    """RFC 826: the hardware type, the protocol and their lengths are checked."""
    packet = bytearray(build_arp(ARP_REPLY, M1, IP1, M2, IP2))
    packet[byte] ^= 1
    with pytest.raises(BadPacket, match="not about"):
        parse_arp(bytes(packet))


def test_truncated_arp_is_refused() -> None:
    packet = build_arp(ARP_REPLY, M1, IP1, M2, IP2)
    for n in range(28):
        with pytest.raises(BadPacket, match="truncated"):
            parse_arp(packet[:n])
    with pytest.raises(BadPacket, match="truncated"):
        parse_arp(packet, -1)

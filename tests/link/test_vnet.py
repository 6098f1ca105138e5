"""The virtio-net header (Virtual I/O Device specification 1.2, section 5.1.6)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.link.packets import tcp_segment, tcp_super, udp_super

from plankroad.link.vnet import PLAIN, VNET_SIZE, decode, encode
from plankroad.wire.errors import BadPacket
from plankroad.wire.packet import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet
from plankroad.wire.segment import ACK, CWR, ECE


def fields(header: bytes) -> tuple[int, ...]:
    """flags, gso_type, hdr_len, gso_size, csum_start, csum_offset"""
    return struct.unpack("=BBHHHH", header)


def test_a_complete_packet_has_a_header_of_zeros() -> None:
    assert encode(Packet(b"anything")) == PLAIN == bytes(VNET_SIZE)


def test_a_partial_checksum() -> None:
    packet = Packet(bytes(60), csum_start=20, csum_offset=6)
    assert fields(encode(packet)) == (1, 0, 0, 0, 20, 6)


def test_super_segments() -> None:
    seg = tcp_segment(1, ACK, bytes(5000), timestamps=True)
    assert fields(encode(tcp_super(4, seg, 1448))) == (1, 1, 52, 1448, 20, 16)
    assert fields(encode(tcp_super(6, seg, 1428))) == (1, 4, 72, 1428, 40, 16)
    assert fields(encode(udp_super(4, bytes(5000), 1000))) == (1, 5, 28, 1000, 20, 6)


def test_cwr_is_told_by_the_ecn_bit() -> None:
    """Section 5.1.6.2: "If the packet has the ECN bit set [...] VIRTIO_NET_HDR_GSO_ECN": the kernel clears CWR after
    the first segment only if it is told of it."""
    assert fields(encode(tcp_super(4, tcp_segment(1, ACK | CWR, bytes(5000)), 1448)))[1] == 0x81
    assert fields(encode(tcp_super(6, tcp_segment(1, ACK | ECE, bytes(5000)), 1448)))[1] == 4


def test_a_super_segment_must_have_its_headers_in_one_piece_and_a_partial_checksum() -> None:
    packet = tcp_super(4, tcp_segment(1, ACK, bytes(5000)), 1448)
    for start, head in ((0, packet.head), (20, packet.head[:39])):
        with pytest.raises(ValueError, match="super-segment"):
            encode(Packet(head, packet.payload, 0, GSO_TCPV4, 1448, start, 16))


def test_reading() -> None:
    data = bytes(100)
    plain = decode(PLAIN, data)
    assert (plain.csum_start, plain.csum_valid, plain.gso_type, plain.head) == (0, False, 0, data)
    assert decode(struct.pack("=BBHHHH", 2, 0, 0, 0, 0, 0), data).csum_valid
    packet = decode(struct.pack("=BBHHHH", 1, 0x81, 52, 1448, 20, 16), data)
    assert (packet.gso_type, packet.gso_size, packet.csum_start, packet.csum_offset) == (GSO_TCPV4, 1448, 20, 16)
    assert packet.csum_valid


@pytest.mark.parametrize(
    "header", [(1, 0, 0, 0, 0, 16), (1, 0, 0, 0, 90, 9), (0, 3, 0, 100, 0, 0), (0, 1, 0, 0, 0, 0)]
)
def test_nonsense_raises_bad_packet(header: tuple[int, ...]) -> None:
    with pytest.raises(BadPacket):
        decode(struct.pack("=BBHHHH", *header), bytes(100))


@given(
    gso=st.sampled_from([(0, 0), (GSO_TCPV4, 1000), (GSO_TCPV6, 1), (GSO_UDP_L4, 65000)]),
    start=st.integers(1, 200),
    offset=st.sampled_from([6, 16]),
    cwr=st.booleans(),
)
def test_what_is_written_reads_equal(gso: tuple[int, int], start: int, offset: int, cwr: bool) -> None:
    head = bytes(start + 12) + b"\x50" + (b"\x80" if cwr else b"\0") + bytes(6)
    packet = decode(encode(Packet(head, b"x", 0, gso[0], gso[1], start, offset)), head)
    assert (packet.gso_type, packet.gso_size, packet.csum_start, packet.csum_offset) == (*gso, start, offset)


@given(header=st.binary(min_size=VNET_SIZE, max_size=VNET_SIZE), data=st.binary(max_size=80))
def test_any_header_reads_or_raises_bad_packet(header: bytes, data: bytes) -> None:
    try:
        packet = decode(header, data)
    except BadPacket:
        return
    assert packet.csum_start == 0 or packet.csum_start + packet.csum_offset + 2 <= len(data)

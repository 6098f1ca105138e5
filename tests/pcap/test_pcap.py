"""Classic pcap."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.pcap import LINKTYPE_ETHERNET, CapturedPacket, CaptureError, CaptureReader, PcapWriter


def read(data: bytes) -> tuple[list[CapturedPacket], CaptureReader]:
    reader = CaptureReader(io.BytesIO(data))
    return list(reader), reader


@given(st.lists(st.tuples(st.integers(0, 2**32 * 10**9 - 1), st.binary(max_size=60)), max_size=5))
def test_round_trip_in_nanoseconds(written: list[tuple[int, bytes]]) -> None:
    out = io.BytesIO()
    with PcapWriter(out, LINKTYPE_ETHERNET) as writer:
        for time, data in written:
            writer.write(time, data)
    found, reader = read(out.getvalue())
    assert reader.format == "pcap"
    assert reader.problem == ""
    assert [(p.time, p.data) for p in found] == written
    assert [(i.link_type, i.units) for i in reader.interfaces] == [(LINKTYPE_ETHERNET, 10**9)]


def test_the_bytes_of_a_small_file() -> None:
    out = io.BytesIO()
    writer = PcapWriter(out, snaplen=3)
    writer.write(5_000_000_007, b"12345")
    assert out.getvalue() == struct.pack("<IHHiIIII", 0xA1B23C4D, 2, 4, 0, 0, 3, 101, 5) + struct.pack(
        "<III3s", 7, 3, 5, b"123"
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "unit", "extra"), [(0xA1B2C3D4, 1000, 0), (0xA1B23C4D, 1, 0), (0xA1B2CD34, 1000, 8)]
)
def test_every_magic_in_both_byte_orders(order: str, magic: int, unit: int, extra: int) -> None:
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    for n in range(3):
        data += struct.pack(order + "IIII", 10 + n, 5, 4, 60) + bytes(extra) + b"abc" + bytes([n])
    found, reader = read(data)
    assert reader.problem == ""
    assert [p.time for p in found] == [(10 + n) * 10**9 + 5 * unit for n in range(3)]
    assert [(p.data, p.original_length) for p in found] == [(b"abc" + bytes([n]), 60) for n in range(3)]


@pytest.mark.parametrize("minor", [2, 3])
def test_old_versions_have_their_lengths_swapped(minor: int) -> None:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, minor, 0, 0, 65535, 1) + struct.pack("<IIII", 1, 0, 60, 4) + b"abcd"
    found, _ = read(data)
    assert [(p.data, p.original_length) for p in found] == [(b"abcd", 60)]


def test_check_sequence_bits_are_no_part_of_the_link_type() -> None:
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 0x2400_0001)
    _, reader = read(data)
    assert reader.interfaces[0].link_type == LINKTYPE_ETHERNET


def test_damage_is_told_and_what_came_before_is_kept() -> None:
    out = io.BytesIO()
    writer = PcapWriter(out)
    writer.write(1, b"good")
    good = out.getvalue()
    for tail, message in (
        (struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 4), "the packet at byte 44 claims 4294967295 bytes"),
        (struct.pack("<IIII", 0, 0, 4, 4) + b"ab", "cut off: a packet at byte 60 needs 4 bytes, 2 are left"),
        (b"\0\0\0", "cut off: the header of a packet at byte 44"),
    ):
        found, reader = read(good + tail)
        assert [p.data for p in found] == [b"good"]
        assert message in reader.problem


def test_a_broken_header_is_refused() -> None:
    with pytest.raises(CaptureError, match="cut off: the header of a pcap file"):
        CaptureReader(io.BytesIO(struct.pack("<IHH", 0xA1B2C3D4, 2, 4)))
    with pytest.raises(CaptureError, match=r"version 9\.4 is not known"):
        CaptureReader(io.BytesIO(struct.pack("<IHHiIII", 0xA1B2C3D4, 9, 4, 0, 0, 65535, 1)))


def test_mistakes_are_told() -> None:
    writer = PcapWriter(io.BytesIO())
    with pytest.raises(ValueError, match="time stamp"):
        writer.write(2**32 * 10**9, b"")
    with pytest.raises(ValueError, match="out of range"):
        PcapWriter(io.BytesIO(), snaplen=0)

"""pcapng: what is written is read again; what others write is read too."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.pcap import (
    INBOUND,
    LINKTYPE_ETHERNET,
    LINKTYPE_RAW,
    OUTBOUND,
    UNKNOWN,
    CapturedPacket,
    CaptureError,
    CaptureReader,
    PcapngWriter,
    read_capture,
)


def read(data: bytes) -> tuple[list[CapturedPacket], CaptureReader]:
    reader = CaptureReader(io.BytesIO(data))
    return list(reader), reader


packets = st.lists(
    st.tuples(
        st.integers(0, 2**64 - 1),
        st.integers(0, 1),
        st.binary(max_size=70),
        st.text(max_size=30),
        st.sampled_from([UNKNOWN, INBOUND, OUTBOUND]),
    ),
    max_size=6,
)


@given(packets)
def test_round_trip_of_times_bytes_interfaces_comments_and_directions(
    written: list[tuple[int, int, bytes, str, int]],
) -> None:
    out = io.BytesIO()
    writer = PcapngWriter(out, comment="a run")
    writer.add_interface("tun0", LINKTYPE_RAW, description="to the world")
    writer.add_interface("eth0", LINKTYPE_ETHERNET, mac=b"\x02\0\0\0\0\x01")
    for time, interface, data, comment, direction in written:
        writer.write(time, interface, data, comment=comment, direction=direction)
    found, reader = read(out.getvalue())
    assert reader.problem == ""
    assert reader.format == "pcapng"
    assert [(i.name, i.link_type, i.units) for i in reader.interfaces] == [
        ("tun0", LINKTYPE_RAW, 10**9),
        ("eth0", LINKTYPE_ETHERNET, 10**9),
    ]
    assert reader.interfaces[0].description == "to the world"
    assert reader.interfaces[1].mac == b"\x02\0\0\0\0\x01"
    assert [p.number for p in found] == list(range(1, len(written) + 1))
    for packet, (time, interface, data, comment, direction) in zip(found, written, strict=True):
        assert (packet.time, packet.interface.index, packet.data) == (time, interface, data)
        assert packet.original_length == len(data)
        assert packet.direction == direction
        assert packet.comments == ([comment.rstrip("\0")] if comment else [])


def test_the_bytes_of_a_small_file() -> None:
    # draft-ietf-opsawg-pcapng sections 4.1 to 4.3, put down by hand.
    out = io.BytesIO()
    writer = PcapngWriter(out, application="")
    writer.add_interface("ab", LINKTYPE_RAW)
    writer.write(0x1_0000_0002, 0, b"12345", comment="why", direction=OUTBOUND)
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = (
        struct.pack("<IIHHI", 1, 40, 101, 0, 0)
        + struct.pack("<HH4s", 2, 2, b"ab")
        + struct.pack("<HH4s", 9, 1, b"\x09")
        + struct.pack("<HHI", 0, 0, 40)
    )
    packet = (
        struct.pack("<IIIIIII8s", 6, 60, 0, 1, 2, 5, 5, b"12345")
        + struct.pack("<HH4s", 1, 3, b"why")
        + struct.pack("<HHI", 2, 4, 2)
        + struct.pack("<HHI", 0, 0, 60)
    )
    assert out.getvalue() == section + interface + packet


def test_snaplen_cuts_and_the_original_length_stays() -> None:
    out = io.BytesIO()
    writer = PcapngWriter(out)
    writer.add_interface("a", snaplen=10)
    writer.write(1, 0, bytes(range(30)))
    writer.write(2, 0, b"x", length=99)
    found, _ = read(out.getvalue())
    assert [(p.data, p.original_length) for p in found] == [(bytes(range(10)), 30), (b"x", 99)]


def test_a_long_comment_is_cut_between_characters() -> None:
    out = io.BytesIO()
    writer = PcapngWriter(out)
    writer.add_interface("a")
    writer.write(1, 0, b"x", comment="ü" * 40_000)
    (packet,), _ = read(out.getvalue())
    assert packet.comments == ["ü" * 32_767]


def test_every_block_is_in_the_file_at_once(tmp_path: Path) -> None:
    # A process that is killed leaves what it wrote: nothing waits in a buffer.
    path = tmp_path / "a.pcapng"
    writer = PcapngWriter(path)
    writer.add_interface("a")
    for n in range(5):
        writer.write(n, 0, b"packet")
        assert len(read_capture(path)) == n + 1
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="the capture is closed"):
        writer.write(9, 0, b"late")


def test_a_file_object_is_flushed_and_left_open(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    with path.open("wb") as file:
        with PcapngWriter(file) as writer:
            writer.add_interface("a")
            writer.write(1, 0, b"packet")
            assert len(read_capture(path)) == 1
        assert not file.closed


def test_mistakes_are_told() -> None:
    writer = PcapngWriter(io.BytesIO())
    writer.add_interface("a")
    with pytest.raises(IndexError):
        writer.write(0, 1, b"")
    for time in (-1, 2**64):
        with pytest.raises(ValueError, match="time stamp"):
            writer.write(time, 0, b"")
    with pytest.raises(ValueError, match="6 bytes"):
        writer.add_interface("b", mac=b"12345")
    with pytest.raises(ValueError, match="out of range"):
        writer.add_interface("b", 70000)
    with pytest.raises(FileNotFoundError):
        PcapngWriter("/nonexistent/a.pcapng")


class Builder:
    """A pcapng file by hand, in either byte order."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.data = b""
        self.section()

    def block(self, kind: int, body: bytes) -> None:
        body += bytes(-len(body) & 3)
        length = struct.pack(self.order + "I", len(body) + 12)
        self.data += struct.pack(self.order + "I", kind) + length + body + length

    def option(self, code: int, value: bytes) -> bytes:
        return struct.pack(self.order + "HH", code, len(value)) + value + bytes(-len(value) & 3)

    def section(self, major: int = 1) -> None:
        self.block(0x0A0D0D0A, struct.pack(self.order + "IHHq", 0x1A2B3C4D, major, 0, -1))

    def interface(self, link_type: int = 101, snaplen: int = 0, options: bytes = b"") -> None:
        self.block(1, struct.pack(self.order + "HHI", link_type, 0, snaplen) + options)

    def enhanced(self, ticks: int, data: bytes, interface: int = 0, options: bytes = b"") -> None:
        head = struct.pack(self.order + "IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
        self.block(6, head + data + bytes(-len(data) & 3) + options)


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_packet_blocks_in_both_byte_orders(order: str) -> None:
    b = Builder(order)
    b.interface(snaplen=6, options=b.option(2, b"eth9\0") + b.option(0, b""))
    b.enhanced(1_500_000, b"enhanced", options=b.option(1, b"one") + b.option(1, b"two") + b.option(0, b"junk"))
    b.block(3, struct.pack(order + "I", 9) + b"simple")
    b.block(
        2,
        struct.pack(order + "HHIIII", 0, 7, 0, 2_000_000, 3, 3) + b"old\0" + b.option(2, struct.pack(order + "I", 1)),
    )
    b.block(5, b"statistics..")
    b.block(0x0BAD, b"custom..")
    found, reader = read(b.data)
    assert reader.problem == ""
    assert [(p.number, p.time, p.data, p.original_length) for p in found] == [
        (1, 1_500_000_000, b"enhanced", 8),
        (2, 0, b"simple", 9),
        (3, 2_000_000_000, b"old", 3),
    ]
    assert found[0].comments == ["one", "two"]
    assert found[2].direction == INBOUND
    assert reader.interfaces[0].name == "eth9"


@pytest.mark.parametrize(
    ("resolution", "offset", "ticks", "expected"),
    [
        (b"", 0, 3, 3_000),
        (b"\x00", 0, 3, 3_000_000_000),
        (b"\x03", 0, 3, 3_000_000),
        (b"\x09", 0, 3, 3),
        (b"\x0c", 0, 3_500, 3),
        (b"\x80", 0, 2, 2_000_000_000),
        (b"\x94", 0, 1 << 20, 1_000_000_000),
        (b"\xbf", 0, 1 << 62, 500_000_000),
        (b"\x09", 1_000_000, 3, 1_000_000_000_000_003),
        (b"\x09", -2, 2_000_000_005, 5),
    ],
)
def test_every_time_resolution_becomes_nanoseconds(resolution: bytes, offset: int, ticks: int, expected: int) -> None:
    b = Builder("<")
    options = b.option(9, resolution) if resolution else b""
    if offset:
        options += b.option(14, struct.pack("<q", offset))
    b.interface(options=options)
    b.enhanced(ticks, b"x")
    assert read(b.data)[0][0].time == expected


def test_several_sections_number_their_interfaces_anew() -> None:
    b = Builder("<")
    b.interface(options=b.option(2, b"first"))
    b.enhanced(1, b"a")
    b.order = ">"
    b.section()
    b.interface(1, options=b.option(2, b"second"))
    b.enhanced(2, b"b")
    found, reader = read(b.data)
    assert [(p.number, p.interface.name) for p in found] == [(1, "first"), (2, "second")]
    assert [i.name for i in reader.interfaces] == ["first", "second"]


def test_gzip_is_unpacked_on_the_way(tmp_path: Path) -> None:
    b = Builder("<")
    b.interface()
    b.enhanced(1, os.urandom(1000))
    whole, _ = read(b.data)
    path = tmp_path / "a.pcapng.gz"
    path.write_bytes(gzip.compress(b.data))
    assert [p.data for p in read_capture(path)] == [p.data for p in whole]
    found, reader = read(gzip.compress(b.data)[:-300])
    assert found == []
    assert reader.problem


def test_a_damaged_gzip_file_is_told_as_what_it_is() -> None:
    b = Builder("<")
    b.interface()
    b.enhanced(1, bytes(range(256)))
    good = gzip.compress(b.data)
    for at in range(2, len(good)):
        for bit in (1, 0x80):
            damaged = good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :]
            with contextlib.suppress(CaptureError):
                read(damaged)


@given(st.integers(1, 400))
def test_a_file_cut_off_anywhere_gives_what_is_before_the_cut(cut: int) -> None:
    b = Builder("<")
    b.interface()
    ends = []
    for n in range(8):
        b.enhanced(n, b"packet")
        ends.append(len(b.data))
    size = max(len(b.data) - cut, 28)
    found, reader = read(b.data[:size])
    assert len(found) == sum(end <= size for end in ends)
    if size in {28, 48, *ends}:
        assert reader.problem == ""
    else:
        assert "cut off" in reader.problem
        with pytest.raises(CaptureError, match="cut off"):
            list(CaptureReader(io.BytesIO(b.data[:size]), strict=True))


def damaged(kind: str) -> bytes:
    b = Builder("<")
    b.interface()
    b.enhanced(1, b"good")
    if kind == "length":
        b.data += struct.pack("<II", 6, 13) + bytes(40)
    elif kind == "huge":
        b.data += struct.pack("<II", 6, 0xFFFFFFF0) + bytes(40)
    elif kind == "two lengths":
        b.enhanced(2, b"bad!")
        b.data = b.data[:-4] + struct.pack("<I", 40)
    elif kind == "no such interface":
        b.enhanced(2, b"bad!", interface=5)
    elif kind == "packet too long":
        b.block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99) + b"bad!")
    elif kind == "option too long":
        b.enhanced(2, b"bad!", options=struct.pack("<HHI", 1, 200, 0))
    elif kind == "short block":
        b.block(6, b"1234")
    elif kind == "byte order":
        b.data += struct.pack("<IIIII", 0x0A0D0D0A, 28, 0, 0, 0) + bytes(8)
    elif kind == "version":
        b.section(major=2)
    b.enhanced(3, b"never reached")
    return b.data


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("length", "claims a length of 13"),
        ("huge", "claims a length of 4294967280"),
        ("two lengths", "two different lengths"),
        ("no such interface", "interface 5, of 1"),
        ("packet too long", "claims a packet of 99 bytes and holds 4"),
        ("option too long", "option 1 claims 200 bytes"),
        ("short block", r"\(type 6\) is damaged"),
        ("byte order", "no byte-order magic"),
        ("version", "version 2 is not known"),
    ],
)
def test_damage_is_told_with_its_place_and_what_came_before_is_kept(kind: str, message: str) -> None:
    found, reader = read(damaged(kind))
    assert [p.data for p in found] == [b"good"]
    with pytest.raises(CaptureError, match=message):
        raise CaptureError(reader.problem)
    if kind != "version":
        assert "at byte 84" in reader.problem
    with pytest.raises(CaptureError, match=message):
        read_capture(io.BytesIO(damaged(kind)))


@pytest.mark.parametrize("data", [b"", b"\x0a", b"hello world, this is no capture", b"\x0a\x0d\x0d\x0b" + bytes(30)])
def test_what_is_no_capture_is_refused(data: bytes) -> None:
    with pytest.raises(CaptureError, match="not a capture file"):
        CaptureReader(io.BytesIO(data))


@given(st.binary(max_size=200), st.integers(0, 180))
def test_any_bytes_either_read_or_are_told_to_be_damaged(noise: bytes, at: int) -> None:
    b = Builder(">")
    b.interface()
    b.enhanced(1, b"good", options=b.option(1, b"comment"))
    b.enhanced(2, b"good")
    data = b.data[:at] + noise + b.data[at:]
    try:
        reader = CaptureReader(io.BytesIO(data))
    except CaptureError:
        return
    for packet in reader:
        assert isinstance(packet.data, bytes)

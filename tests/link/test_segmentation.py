"""Super-segments cut in software: the same packets as if each had been built by itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.link.packets import (
    DST4,
    DST6,
    SRC4,
    SRC6,
    addresses,
    frame,
    ip,
    pattern,
    tcp_parts,
    tcp_segment,
    tcp_super,
    udp_packet,
    udp_super,
)

from plankroad.link.segmentation import network_offset, segment, transport_offset
from plankroad.wire.checksum import complete
from plankroad.wire.errors import BadPacket
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.ipv6 import build_ipv6, build_routing
from plankroad.wire.packet import GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, Packet
from plankroad.wire.segment import ACK, CWR, ECE, FIN, PSH, URG, Segment
from plankroad.wire.tcp import build_tcp, parse_tcp, tcp_checksum_ok


def whole(packets: list[Packet]) -> list[bytes]:
    return [packet.to_bytes() for packet in packets]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("length", [1, 1000, 1001, 2000, 65000])
def test_a_cut_super_segment_is_the_segments_it_stands_for(version: int, timestamps: bool, length: int) -> None:
    seg = tcp_segment(0xFFFFFF00, ACK | PSH, pattern(length), timestamps)
    assert whole(segment(tcp_super(version, seg, 1000, ident=0xFFFE))) == tcp_parts(version, seg, 1000, ident=0xFFFE)


def test_fin_and_psh_stay_on_the_last_and_cwr_on_the_first() -> None:
    seg = tcp_segment(1, ACK | PSH | FIN | CWR | ECE, pattern(2500))
    parts = segment(tcp_super(4, seg, 1000))
    flags = [parse_tcp(p.to_bytes(), 20, len(p)).flags for p in parts]
    assert flags == [ACK | ECE | CWR, ACK | ECE, ACK | ECE | PSH | FIN]


def test_the_urgent_pointer_is_counted_from_each_segment() -> None:
    seg = tcp_segment(1, ACK | URG, pattern(2500), urgent=1500)
    parts = [parse_tcp(p.to_bytes(), 20, len(p)) for p in segment(tcp_super(4, seg, 1000))]
    assert [(p.flags & URG, p.urgent) for p in parts] == [(URG, 1500), (URG, 500), (0, 0)]


@settings(max_examples=150, deadline=None)
@given(
    version=st.sampled_from([4, 6]),
    seq=st.integers(0, 0xFFFFFFFF),
    ident=st.integers(0, 0xFFFF),
    flags=st.sampled_from([ACK, ACK | PSH, ACK | FIN, ACK | CWR | PSH, ACK | ECE, ACK | URG]),
    urgent=st.integers(1, 5000),
    timestamps=st.booleans(),
    payload=st.binary(max_size=5000),
    size=st.integers(1, 1500),
    vlans=st.sampled_from([None, [], [(0x8100, 5)], [(0x88A8, 7), (0x8100, 5)]]),
    split=st.integers(0, 5100),
    dont_fragment=st.booleans(),
)
def test_any_super_segment_split_anywhere_leaves_the_same_bytes(
    version: int,
    seq: int,
    ident: int,
    flags: int,
    urgent: int,
    timestamps: bool,
    payload: bytes,
    size: int,
    vlans: list[tuple[int, int]] | None,
    split: int,
    dont_fragment: bool,
) -> None:
    size = max(size, len(payload) // 40 + 1)
    link_header = b"" if vlans is None else frame(version, vlans)
    seg = tcp_segment(seq, flags, payload, timestamps, urgent if flags & URG else 0)
    packet = tcp_super(version, seg, size, ident, link_header, dont_fragment)
    expected = tcp_parts(version, seg, size, ident, link_header, dont_fragment)
    data = packet.to_bytes()
    packet.head, packet.payload = data[:split], data[split:]
    ethernet = vlans is not None
    assert whole(segment(packet, ethernet)) == expected
    # Cut by one and completed by another: the same.
    partial = segment(packet, ethernet, partial=True)
    assert all(p.csum_start == packet.csum_start and p.csum_offset == 16 for p in partial)
    assert whole([complete(p) for p in partial]) == expected


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("length", [1, 500, 1400, 60000])
def test_udp_is_cut_into_datagrams(version: int, length: int) -> None:
    payload = pattern(length)
    expected = [
        udp_packet(version, payload[start : start + 500], ident=5 + number)
        for number, start in enumerate(range(0, length, 500))
    ]
    packet = udp_super(version, payload, 500, ident=5)
    assert whole(segment(packet)) == expected
    assert whole([complete(p) for p in segment(packet, partial=True)]) == expected


def test_a_udp_checksum_that_comes_out_as_zero_is_sent_as_ones() -> None:
    """RFC 768: "If the computed checksum is zero, it is transmitted as all ones"."""
    hits = 0
    for filler in range(65536):
        payload = filler.to_bytes(2, "big")
        packet = udp_packet(4, payload)
        if packet[26:28] == b"\xff\xff":
            hits += 1
            cut = segment(udp_super(4, payload + payload, 2))
            assert [p.to_bytes()[26:28] for p in cut] == [b"\xff\xff", b"\xff\xff"]
    assert hits


def test_datagrams_without_a_checksum_are_cut_into_such() -> None:
    packet = udp_super(4, pattern(30), 10)
    packet.head = packet.head[:-2] + b"\0\0"
    packet.csum_start = packet.csum_offset = 0
    assert [p.to_bytes()[26:28] for p in segment(packet)] == [b"\0\0"] * 3


@pytest.mark.parametrize("version", [4, 6])
def test_a_complete_checksum_will_do(version: int) -> None:
    seg = tcp_segment(77, ACK | PSH, pattern(2500))
    packet = complete(tcp_super(version, seg, 1000))
    assert packet.csum_start == 0
    assert whole(segment(packet)) == tcp_parts(version, seg, 1000)
    payload = pattern(1001)
    datagrams = complete(udp_super(version, payload, 500))
    expected = [udp_packet(version, payload[i * 500 : i * 500 + 500], ident=1 + i) for i in range(3)]
    assert whole(segment(datagrams)) == expected


def test_a_wrong_checksum_is_not_made_right_by_cutting() -> None:
    seg = tcp_segment(77, ACK | PSH, pattern(2500))
    packet = complete(tcp_super(4, seg, 1000))
    packet.payload = b"\xff" + packet.payload[1:]
    for part in segment(packet):
        data = part.to_bytes()
        assert not tcp_checksum_ok(data, 20, len(data), SRC4, DST4)


def test_ipv6_extension_headers_are_kept_and_the_pseudo_header_has_the_final_destination() -> None:
    """RFC 8200 section 8.1: with a routing header the pseudo-header's destination is the last address."""
    final = bytes(15) + b"\x09"
    seg = tcp_segment(5, ACK, pattern(3000))
    header = build_tcp(seg, SRC6, final, partial=True)
    routing = build_routing(6, 3, 1, bytes(4) + final)
    network = build_ipv6(SRC6, DST6, 43, len(routing) + len(header) + len(seg.payload)) + routing
    packet = Packet(network + header, seg.payload, 0, GSO_TCPV6, 1400, len(network), 16)
    for size, part in zip((1400, 1400, 200), segment(packet), strict=True):
        data = part.to_bytes()
        assert data[40 : len(network)] == routing
        assert data[4:6] == (len(routing) + len(header) + size).to_bytes(2, "big")
        assert tcp_checksum_ok(data, len(network), len(data), SRC6, final)


def test_a_single_packet_is_only_completed() -> None:
    seg = tcp_segment(5, ACK, pattern(100))
    packet = tcp_super(4, seg, 0)
    packet.gso_type = 0
    assert whole(segment(packet)) == tcp_parts(4, seg, 1000)
    assert segment(packet, partial=True) == [packet]


def test_the_interface_is_kept() -> None:
    packet = tcp_super(4, tcp_segment(1, ACK, pattern(10)), 5)
    packet.interface = 3
    assert [p.interface for p in segment(packet)] == [3, 3]


def _broken() -> list[tuple[str, Packet]]:
    seg = tcp_segment(1, ACK, pattern(3000))
    cases = []

    def case(name: str, packet: Packet) -> Packet:
        cases.append((name, packet))
        return packet

    case("empty", Packet(b"", b"", 0, GSO_TCPV4, 1000))
    case("no header", Packet(b"\x45" + bytes(10), b"", 0, GSO_TCPV4, 1000))
    case("other version", tcp_super(6, seg, 1000)).gso_type = GSO_TCPV4
    case("tcp as udp", tcp_super(4, seg, 1000)).gso_type = GSO_UDP_L4
    case("udp as tcp", udp_super(4, seg.payload, 1000)).gso_type = GSO_TCPV4
    case("no size", tcp_super(4, seg, 0))
    case("checksum elsewhere", tcp_super(4, seg, 1000)).csum_start = 24
    case("unknown type", tcp_super(4, seg, 1000)).gso_type = 3
    fragment = case("fragment", tcp_super(4, seg, 1000))
    fragment.head = fragment.head[:6] + b"\x20\x00" + fragment.head[8:]
    long_header = case("header longer than the packet", tcp_super(4, tcp_segment(1, ACK, b"x"), 1000))
    long_header.head = long_header.head[:32] + b"\xf0" + long_header.head[33:]
    short_header = case("header too short", tcp_super(4, seg, 1000))
    short_header.head = short_header.head[:32] + b"\x40" + short_header.head[33:]
    case("ip header too short", Packet(b"\x41" + tcp_super(4, seg, 1000).head[1:], seg.payload, 0, GSO_TCPV4, 1000))
    case("icmp", Packet(build_ipv4(SRC4, DST4, 1, 100) + bytes(100), b"", 0, GSO_TCPV4, 50))
    return cases


@pytest.mark.parametrize(("name", "packet"), _broken())
def test_what_is_no_super_segment_raises_bad_packet(name: str, packet: Packet) -> None:
    with pytest.raises(BadPacket):
        segment(packet)


@settings(max_examples=300, deadline=None)
@given(
    head=st.one_of(
        st.binary(max_size=120),
        st.builds(
            lambda a, b: tcp_super(a, tcp_segment(1, ACK, b""), 1).head + b,
            st.sampled_from([4, 6]),
            st.binary(max_size=9),
        ),
    ),
    flips=st.lists(st.tuples(st.integers(0, 79), st.integers(0, 255)), max_size=6),
    payload=st.binary(max_size=100),
    gso_type=st.integers(0, 6),
    size=st.integers(0, 50),
    csum_start=st.sampled_from([0, 20, 40]),
    ethernet=st.booleans(),
)
def test_any_bytes_are_cut_or_refused(
    head: bytes,
    flips: list[tuple[int, int]],
    payload: bytes,
    gso_type: int,
    size: int,
    csum_start: int,
    ethernet: bool,
) -> None:
    changed = bytearray(head)
    for position, value in flips:
        if position < len(changed):
            changed[position] = value
    packet = Packet(bytes(changed), payload, 0, gso_type, size, csum_start, 16 if csum_start else 0)
    if gso_type == 0 and csum_start + 18 > len(changed):
        return
    try:
        parts = segment(packet, ethernet)
    except BadPacket:
        return
    if gso_type:
        assert len(parts) <= len(packet) // size + 1


def test_offsets_of_headers() -> None:
    tcp = ip(4, 6, 20) + bytes(20)
    assert network_offset(tcp, False) == 0
    assert network_offset(frame(4, []) + tcp, True) == 14
    assert network_offset(frame(4, [(0x8100, 1)]) + tcp, True) == 18
    assert network_offset(bytes(12) + b"\x08\x06" + bytes(28), True) == -1  # ARP
    assert network_offset(bytes(5), True) == -1
    assert transport_offset(tcp, 0) == 20
    assert transport_offset(frame(4, []) + tcp, 14) == 34
    assert transport_offset(build_ipv4(SRC4, DST4, 17, 8, options=bytes(8)) + bytes(8), 0) == 28
    assert transport_offset(ip(6, 17, 8) + bytes(8), 0) == 40
    assert transport_offset(ip(4, 1, 8) + bytes(8), 0) == -1
    assert transport_offset(ip(6, 44, 16) + bytes(16), 0) == -1
    assert transport_offset(tcp[:30], 0) == -1


def test_the_oracle_agrees_with_the_reader() -> None:
    """The parts that the tests compare with are right by the parser's judgement, too."""
    seg: Segment = tcp_segment(9, ACK, pattern(2500), timestamps=True)
    for version, start in ((4, 20), (6, 40)):
        src, dst = addresses(version)
        joined = b""
        for part in tcp_parts(version, seg, 1000):
            assert tcp_checksum_ok(part, start, len(part), src, dst)
            joined += parse_tcp(part, start, len(part)).payload
        assert joined == seg.payload

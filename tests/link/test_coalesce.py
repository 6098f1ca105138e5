"""Segments joined to super-segments: only what can be cut into the very same segments again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.link.packets import frame, pattern, tcp_packet, tcp_parts, tcp_segment, udp_packet

from plankroad.link.coalesce import coalesce
from plankroad.link.segmentation import MAX_PACKET, segment
from plankroad.wire.packet import GSO_TCPV4, GSO_TCPV6, Packet
from plankroad.wire.segment import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG
from plankroad.wire.tcp import parse_tcp


def received(*data: bytes) -> list[Packet]:
    return [Packet(d) for d in data]


def bytes_of(packets: list[Packet]) -> list[bytes]:
    return [p.to_bytes() for p in packets]


def cut_again(packets: list[Packet], ethernet: bool = False) -> list[bytes]:
    return [part.to_bytes() for packet in packets for part in segment(packet, ethernet)]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("tagged", [None, False, True])
def test_a_run_of_segments_becomes_one(version: int, timestamps: bool, tagged: bool | None) -> None:
    link_header = b"" if tagged is None else frame(version, [(0x8100, 3)] if tagged else [])
    seg = tcp_segment(0xFFFFF000, ACK | PSH, pattern(10_500), timestamps)
    parts = tcp_parts(version, seg, 1000, link_header=link_header)
    joined = coalesce(received(*parts), tagged is not None)
    assert len(joined) == 1
    assert joined[0].gso_type == (GSO_TCPV4 if version == 4 else GSO_TCPV6)
    assert joined[0].gso_size == 1000
    assert joined[0].payload == b""
    assert joined[0].csum_start == len(link_header) + (20 if version == 4 else 40)
    assert joined[0].csum_valid
    got = parse_tcp(joined[0].head, joined[0].csum_start, len(joined[0].head))
    assert (got.seq, got.flags, got.payload) == (seg.seq, seg.flags, seg.payload)
    assert cut_again(joined, tagged is not None) == parts


def test_a_super_segment_stays_within_an_ip_packet() -> None:
    seg = tcp_segment(1, ACK, pattern(150_000))
    pieces = [tcp_packet(4, tcp_segment(1 + i, ACK, seg.payload[i : i + 1460])) for i in range(0, 150_000, 1460)]
    joined = coalesce(received(*pieces))
    assert len(joined) == 3
    assert all(len(p) <= MAX_PACKET for p in joined)
    assert max(len(p) for p in joined) > MAX_PACKET - 1460


def test_a_short_segment_or_psh_or_fin_ends_a_super_segment() -> None:
    for flags, length in ((ACK, 999), (ACK | PSH, 1000), (ACK | FIN, 1000)):
        first = tcp_packet(4, tcp_segment(0, ACK, pattern(1000)))
        second = tcp_packet(4, tcp_segment(1000, flags, pattern(length)))
        third = tcp_packet(4, tcp_segment(1000 + length, ACK, pattern(1000)))
        joined = coalesce(received(first, second, third))
        assert len(joined) == 2
        assert len(joined[0]) == 40 + 1000 + length
        assert joined[1].to_bytes() == third


def _second(name: str) -> bytes:
    """A segment that follows on the first but differs from it in one thing."""
    seg = tcp_segment(2000, ACK, pattern(1000))
    if name == "sequence":
        seg.seq += 1
    elif name == "old sequence":
        seg.seq = 1000
    elif name == "acknowledgement":
        seg.ack += 1
    elif name == "window":
        seg.wnd += 1
    elif name == "options":
        seg.has_ts = True
    elif name == "ecn":
        seg.tos = 3
    elif name == "longer":
        seg.payload = pattern(1001)
    elif name == "port":
        seg.dst_port = 81
    elif name == "no data":
        seg.payload = b""
    elif name in FLAGS:
        seg.flags |= FLAGS[name]
    data = tcp_packet(4, seg, ident=3 if name == "ident" else 2, dont_fragment=name != "ident")
    if name == "ttl":
        checked = data[:8] + b"\x3f" + data[9:10] + (int.from_bytes(data[10:12], "big") + 0x100).to_bytes(2, "big")
        return checked + data[12:]
    if name == "tcp checksum":
        return data[:-1] + bytes((data[-1] ^ 1,))
    if name == "ip checksum":
        return data[:10] + bytes((data[10] ^ 1,)) + data[11:]
    if name == "truncated":
        return data[:-1]
    return data


FLAGS = {"syn": SYN, "rst": RST, "urg": URG, "ece": ECE, "cwr": CWR, "ae": AE}


@pytest.mark.parametrize(
    "name",
    [
        "sequence",
        "old sequence",
        "acknowledgement",
        "window",
        "options",
        "ecn",
        "longer",
        "port",
        "no data",
        "ttl",
        "ident",
        "tcp checksum",
        "ip checksum",
        "truncated",
        *FLAGS,
    ],
)
def test_what_differs_is_not_joined(name: str) -> None:
    first = tcp_packet(4, tcp_segment(1000, ACK, pattern(1000)), ident=1, dont_fragment=name != "ident")
    assert bytes_of(coalesce(received(first, _second(name)))) == [first, _second(name)]
    # The same but for that is joined.
    assert (
        len(coalesce(received(first, tcp_packet(4, tcp_segment(2000, ACK, pattern(1000)), 2, b"", name != "ident"))))
        == 1
    )


@pytest.mark.parametrize("tos", [0, 1, 2, 3])
@pytest.mark.parametrize("flags", [ACK, ACK | ECE, ACK | AE | ECE, ACK | AE])
def test_the_same_echo_and_mark_do_not_keep_segments_apart(flags: int, tos: int) -> None:
    """With accurate ECN (RFC 9768) ECE and AE are set on most of what comes."""
    segments = [tcp_segment(1000 * i, flags, pattern(1000)) for i in range(3)]
    for seg in segments:
        seg.tos = tos
    data = [tcp_packet(4, seg, ident=i) for i, seg in enumerate(segments)]
    (joined,) = coalesce(received(*data))
    assert [packet.to_bytes() for packet in segment(joined)] == data


def test_cwr_stays_with_its_own_segment() -> None:
    """RFC 3168 section 6.1.2: of a super-segment that is cut again only the first has it, so it is not made one."""
    data = [tcp_packet(4, tcp_segment(1000 * i, ACK | CWR, pattern(1000)), ident=i) for i in range(3)]
    assert bytes_of(coalesce(received(*data))) == data


@pytest.mark.parametrize("position", [1, 2, 3, 7])
def test_ipv6_traffic_class_flow_label_and_hop_limit_are_part_of_it(position: int) -> None:
    first = tcp_packet(6, tcp_segment(1000, ACK, pattern(1000)))
    second = tcp_packet(6, tcp_segment(2000, ACK, pattern(1000)))
    changed = second[:position] + bytes((second[position] ^ 0x10,)) + second[position + 1 :]
    assert len(coalesce(received(first, second))) == 1
    assert bytes_of(coalesce(received(first, changed))) == [first, changed]


def test_padding_behind_the_ip_packet_is_left_out() -> None:
    first = tcp_packet(4, tcp_segment(1000, ACK, b"a" * 4), link_header=frame(4, []))
    second = tcp_packet(4, tcp_segment(1004, ACK, b"b" * 4), link_header=frame(4, []))
    (joined,) = coalesce(received(first + bytes(2), second + bytes(2)), True)
    assert joined.to_bytes()[54:] == b"aaaabbbb"


def test_other_packets_pass_in_place() -> None:
    datagram = udp_packet(4, pattern(100))
    others = [datagram, b"", b"\x45", bytes(60), udp_packet(6, b"x"), tcp_packet(6, tcp_segment(1, SYN, b""))]
    first = tcp_packet(4, tcp_segment(1000, ACK, pattern(1000)))
    second = tcp_packet(4, tcp_segment(2000, ACK, pattern(1000)))
    joined = coalesce(received(others[0], first, *others[1:], second))
    assert bytes_of(joined[:1]) == [datagram]
    assert joined[1].gso_size == 1000
    assert bytes_of(joined[2:]) == others[1:]


def test_super_segments_of_the_link_pass_as_they_are() -> None:
    seg = tcp_segment(0, ACK, pattern(3000))
    (joined,) = coalesce(received(*tcp_parts(4, seg, 1000)))
    after = Packet(tcp_packet(4, tcp_segment(3000, ACK, pattern(1000))))
    assert coalesce([joined, after]) == [joined, after]


def test_a_segment_whose_checksum_the_link_vouches_for_is_not_summed() -> None:
    broken = [tcp_packet(4, tcp_segment(1000 * i, ACK, pattern(1000)))[:-1] + b"\0" for i in range(2)]
    assert len(coalesce(received(*broken))) == 2
    vouched = [Packet(data, csum_valid=True) for data in broken]
    assert len(coalesce(vouched)) == 1


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_interleaved_flows_keep_their_order_and_their_bytes(seed: int) -> None:
    """Whatever was joined, cutting it again gives each flow's segments as they came."""
    rng = random.Random(seed)
    packets: list[bytes] = []
    seqs = {80: 0, 81: 5000, 82: 0xFFFFF000}
    for number in range(rng.randrange(1, 60)):
        port = rng.choice([80, 80, 81, 82])
        flags = rng.choice([ACK] * 8 + [ACK | PSH, ACK | FIN, ACK | ECE, ACK | SYN])
        length = rng.choice([500, 500, 500, 500, 499, 0, 501])
        seg = tcp_segment(seqs[port] & 0xFFFFFFFF, flags, rng.randbytes(length), port == 82)
        seg.dst_port = port
        if rng.random() < 0.9:
            seqs[port] += length
        packets.append(tcp_packet(rng.choice([4, 4, 4, 6]), seg, ident=number))
    joined = coalesce(received(*packets))

    def by_flow(many: list[bytes]) -> dict[tuple[int, int], list[bytes]]:
        flows: dict[tuple[int, int], list[bytes]] = {}
        for data in many:
            start = 20 if data[0] >> 4 == 4 else 40
            # The identification of a packet with DF has no meaning (RFC 6864), nor then has the header checksum.
            same = data[:4] + data[6:10] + data[12:] if start == 20 else data
            flows.setdefault((start, data[start + 3]), []).append(same)
        return flows

    assert by_flow(cut_again(joined)) == by_flow(packets)
    assert len(joined) <= len(packets)

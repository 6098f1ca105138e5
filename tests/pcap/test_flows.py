"""Flows of a capture: connections apart, streams whole, damage told."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from tests.pcap.traffic import (
    CLIENT4,
    CLIENT6,
    ETHERNET,
    RAW,
    SERVER4,
    SERVER6,
    captured,
    conversation,
    fragments4,
    fragments6,
    frame,
    ping4,
    ping6,
    tcp,
    udp,
)

from plankroad.pcap import LINKTYPE_ETHERNET, CapturedPacket, CaptureInterface
from plankroad.pcap.flows import TO_CLIENT, TO_SERVER, end_name, rebuild
from plankroad.wire.checksum import update
from plankroad.wire.ipv4 import build_ipv4
from plankroad.wire.segment import ACK, RST, SYN

REQUEST = bytes(range(256)) * 10
ANSWER = bytes(reversed(range(256))) * 40


@pytest.mark.parametrize(("client", "server"), [(CLIENT4, SERVER4), (CLIENT6, SERVER6)])
@pytest.mark.parametrize("isn", [1000, 2**32 - 5, 2**31 - 5])
def test_both_streams_of_a_connection(client: bytes, server: bytes, isn: int) -> None:
    flows = rebuild(captured(conversation(client, server, REQUEST, ANSWER, isn=isn)))
    (flow,) = flows.tcp
    assert (flow.client, flow.server) == ((client, 40000), (server, 80))
    assert flow.streams[TO_SERVER].data() == REQUEST
    assert flow.streams[TO_CLIENT].data() == ANSWER
    assert flow.is_complete()
    assert flows.damaged == []


def test_connections_are_kept_apart() -> None:
    a = conversation(CLIENT4, SERVER4, b"one", b"two", port=40000)
    b = conversation(CLIENT4, SERVER4, b"three", b"four", port=40001)
    mixed = [packet for pair in zip(a, b, strict=True) for packet in pair]
    flows = rebuild(captured(mixed))
    assert [(f.streams[0].data(), f.streams[1].data()) for f in flows.tcp] == [(b"one", b"two"), (b"three", b"four")]


def test_a_new_incarnation_of_the_same_four_tuple_is_a_new_flow() -> None:
    packets = conversation(CLIENT4, SERVER4, b"old", b"old answer", isn=1000)
    packets += conversation(CLIENT4, SERVER4, b"new", b"new answer", isn=9_000_000)
    flows = rebuild(captured(packets))
    assert [f.streams[0].data() for f in flows.tcp] == [b"old", b"new"]
    assert [f.streams[1].data() for f in flows.tcp] == [b"old answer", b"new answer"]
    # A repeated SYN is none.
    assert len(rebuild(captured([packets[0], *packets[: len(packets) // 2]])).tcp) == 1


def test_simultaneous_open_is_one_flow() -> None:
    packets = [
        tcp(CLIENT4, SERVER4, (5, 6), 100, 0, SYN),
        tcp(SERVER4, CLIENT4, (6, 5), 900, 0, SYN),
        tcp(CLIENT4, SERVER4, (5, 6), 100, 901, SYN | ACK),
        tcp(SERVER4, CLIENT4, (6, 5), 900, 101, SYN | ACK),
        tcp(CLIENT4, SERVER4, (5, 6), 101, 901, ACK, b"x"),
        tcp(SERVER4, CLIENT4, (6, 5), 901, 101, ACK, b"y"),
    ]
    (flow,) = rebuild(captured(packets)).tcp
    assert (flow.streams[0].data(), flow.streams[1].data()) == (b"x", b"y")
    assert (flow.streams[0].isn, flow.streams[1].isn) == (100, 900)


def test_a_capture_that_begins_with_the_answer_knows_the_client() -> None:
    (flow,) = rebuild(captured(conversation(CLIENT4, SERVER4, b"q", b"a")[1:])).tcp
    assert flow.client == (CLIENT4, 40000)
    assert flow.streams[TO_CLIENT].is_complete()


def test_a_reset_carries_no_data() -> None:
    packets = conversation(CLIENT4, SERVER4, b"", b"")[:3]
    packets.append(tcp(SERVER4, CLIENT4, (80, 40000), 2001, 1001, RST | ACK, b"connection reset by peer"))
    (flow,) = rebuild(captured(packets)).tcp
    assert flow.streams[TO_CLIENT].reset
    assert not flow.streams[TO_SERVER].reset
    assert flow.streams[TO_CLIENT].data() == b""


def test_what_a_receiver_would_discard_is_left_out_and_told() -> None:
    packets = conversation(CLIENT4, SERVER4, b"request", b"answer")
    bad_tcp = bytearray(packets[3])
    bad_tcp[-1] ^= 1
    bad_ip = bytearray(packets[3])
    bad_ip[8] ^= 1
    bad_udp = bytearray(udp(CLIENT4, SERVER4, 1, 2, b"data"))
    bad_udp[-1] ^= 1
    damaged = [bytes(bad_tcp), bytes(bad_ip), bytes(bad_udp), b"\x99not ip", packets[3][:30]]
    flows = rebuild(captured(packets[:3] + damaged + packets[3:]))
    assert [(p.number, why) for p, why in flows.damaged] == [
        (4, "TCP checksum is wrong"),
        (5, "IPv4 header checksum is wrong"),
        (6, "UDP checksum or length is wrong"),
        (7, "IP version is 9"),
        (8, "IPv4 packet is truncated"),
    ]
    assert flows.tcp[0].streams[TO_SERVER].data() == b"request"
    assert flows.tcp[0].streams[TO_SERVER].conflict_bytes == 0
    unchecked = rebuild(captured(packets[:3] + damaged[:1] + packets[3:]), verify_checksums=False)
    assert unchecked.damaged == []
    assert unchecked.tcp[0].streams[TO_SERVER].conflict_bytes == 1


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (1, b"\x02\0\0\0\0\x0b\x02\0\0\0\0\x0a\x08\x00"),
        (1, b"\x02\0\0\0\0\x0b\x02\0\0\0\0\x0a\x81\x00\x00\x05\x08\x00"),
        (101, b""),
        (228, b""),
        (12, b""),
        (0, b"\x02\0\0\0"),
        (108, b"\0\0\0\x02"),
        (113, bytes(14) + b"\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
    ],
)
def test_link_headers(link_type: int, header: bytes) -> None:
    interface = CaptureInterface(0, link_type)
    packets = [header + p for p in conversation(CLIENT4, SERVER4, b"q", b"a")]
    flows = rebuild(captured(packets, interface))
    assert flows.tcp[0].is_complete()
    if header:
        (damage,) = rebuild(captured([header[:-1]], interface)).damaged
        assert "cut off" in damage[1] or "truncated" in damage[1]


def test_an_unknown_link_type_and_what_is_not_tcp_nor_udp_is_counted() -> None:
    assert rebuild(captured([b"anything"], CaptureInterface(0, 147))).others == 1
    arp = b"\xff" * 6 + b"\x02\0\0\0\0\x0a" + b"\x08\x06" + bytes(28)
    assert rebuild(captured([arp, frame(ping4(b"x")), frame(ping6(b"y"))], ETHERNET)).others == 3


def test_padding_of_short_frames_is_no_data() -> None:
    packets = [(frame(p) + bytes(60))[:60] for p in conversation(CLIENT4, SERVER4, b"q", b"a") if len(p) <= 46]
    (flow,) = rebuild(captured(packets, ETHERNET)).tcp
    assert flow.streams[0].data() + flow.streams[1].data() == b"qa"


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_are_put_together_in_any_order(version: int) -> None:
    client, server = (CLIENT4, SERVER4) if version == 4 else (CLIENT6, SERVER6)
    cut = fragments4 if version == 4 else fragments6
    pieces = cut(udp(client, server, 5000, 53, REQUEST), 512)
    assert len(pieces) == 6
    for order in (pieces, pieces[::-1], pieces[3:] + pieces[:3], pieces[:2] + pieces):
        flows = rebuild(captured(order))
        assert [d[2] for d in flows.udp[0].datagrams] == [REQUEST]
        assert flows.damaged == []
    assert rebuild(captured(pieces[:-1])).udp == []
    # One that overlaps is not used (RFC 5722).
    assert rebuild(captured(cut(udp(client, server, 5000, 53, REQUEST), 520)[:1] + pieces[1:])).udp == []


def test_waiting_fragments_are_bounded() -> None:
    pieces = fragments4(udp(CLIENT4, SERVER4, 5000, 53, REQUEST), 512)

    def with_ident(piece: bytes, ident: int) -> bytes:
        return piece[:4] + struct.pack("!H", ident) + piece[6:10] + checksum_of(piece, ident) + piece[12:]

    def checksum_of(piece: bytes, ident: int) -> bytes:
        return struct.pack("!H", update(piece[10] << 8 | piece[11], piece[4] << 8 | piece[5], ident))

    first = [with_ident(pieces[0], n) for n in range(3000)]
    flows = rebuild(captured(first))
    assert (flows.udp, flows.damaged) == ([], [])
    assert flows.others == 3000
    # The oldest was given up, the latest was not.
    assert rebuild(captured(first + [with_ident(piece, 0) for piece in pieces[1:]])).udp == []
    assert len(rebuild(captured(first + [with_ident(piece, 2999) for piece in pieces[1:]])).udp) == 1


def test_fragments_that_reach_past_the_end_of_the_last_are_not_used() -> None:
    packet = udp(CLIENT4, SERVER4, 5000, 53, REQUEST)
    payload = packet[20:]
    pieces = [
        build_ipv4(CLIENT4, SERVER4, 17, 1024, ident=9, more_fragments=True) + payload[:1024],
        build_ipv4(CLIENT4, SERVER4, 17, 200, ident=9, fragment_offset=512) + payload[512:712],
    ]
    flows = rebuild(captured(pieces), verify_checksums=False)
    assert (flows.udp, flows.damaged) == ([], [])


def test_a_syn_after_a_connection_that_was_seen_from_its_middle_is_a_new_flow() -> None:
    late = conversation(CLIENT4, SERVER4, b"old", b"old answer")[3:5]
    flows = rebuild(captured(late + conversation(CLIENT4, SERVER4, b"new", b"new answer", isn=77_000)))
    assert [f.streams[0].data() for f in flows.tcp] == [b"old", b"new"]


def test_packets_cut_by_snaplen_leave_gaps_not_zeros() -> None:
    packets = captured(conversation(CLIENT4, SERVER4, b"0123456789", b"a"))
    for packet in packets:
        packet.data = packet.data[:45]
    flows = rebuild(packets)
    assert flows.damaged == []
    (flow,) = flows.tcp
    assert flow.streams[TO_SERVER].data() == b"01234"
    assert flow.streams[TO_SERVER].gaps() == [(5, 10)]


def test_a_super_segment_captured_before_its_length_was_filled_in() -> None:
    packets = conversation(CLIENT4, SERVER4, REQUEST, b"", mss=len(REQUEST))
    big = bytearray(packets[3])
    length = big[2] << 8 | big[3]
    big[2:4] = b"\0\0"
    checksum = (big[10] << 8 | big[11]) + length
    big[10:12] = struct.pack("!H", (checksum + (checksum >> 16)) & 0xFFFF)
    packets[3] = bytes(big)
    flows = rebuild(captured(packets))
    assert flows.damaged == []
    assert flows.tcp[0].streams[TO_SERVER].data() == REQUEST


def test_one_interface_of_several() -> None:
    packets = conversation(CLIENT4, SERVER4, b"q", b"a")
    both = captured(packets, RAW) + captured([frame(p) for p in packets], ETHERNET)
    assert len(rebuild(both).tcp[0].segments) == 2 * len(packets)
    assert rebuild(both).tcp[0].streams[0].duplicate_bytes == 1
    (flow,) = rebuild(both, interface="eth0").tcp
    assert len(flow.segments) == len(packets)
    assert flow.streams[0].duplicate_bytes == 0


def test_udp_datagrams_by_conversation() -> None:
    packets = [
        udp(CLIENT6, SERVER6, 5000, 53, b"query"),
        udp(SERVER6, CLIENT6, 53, 5000, b"response"),
        udp(CLIENT6, SERVER6, 5001, 53, b"other"),
    ]
    flows = rebuild(captured(packets))
    assert [[(d, data) for _, d, data in flow.datagrams] for flow in flows.udp] == [
        [(TO_SERVER, b"query"), (TO_CLIENT, b"response")],
        [(TO_SERVER, b"other")],
    ]


def test_a_flow_draws_its_ladder_with_the_comments_of_the_capture() -> None:
    packets: list[CapturedPacket] = captured(conversation(CLIENT4, SERVER4, b"request", b"answer"))
    packets[3].comments.append("dropped: queue full")
    packets[5].comments.append("delayed by 3 ms")
    (flow,) = rebuild(packets).tcp
    text = flow.ladder().draw()
    assert "192.0.2.1:40000" in text.splitlines()[0]
    assert next(line for line in text.splitlines() if "1:8 (7)" in line).endswith("lost: queue full")
    assert "delayed by 3 ms" in text
    assert len(flow.ladder("no such").steps) == 0
    assert "192.0.2.1:40000" in repr(flow)


def test_names_of_ends() -> None:
    assert end_name((SERVER6, 80)) == "[fd00::50]:80"
    assert end_name((SERVER4, 80)) == "192.0.2.80:80"
    assert CaptureInterface(0, LINKTYPE_ETHERNET, name="x").name == "x"


def test_a_length_that_no_packet_has_costs_no_memory() -> None:
    """The file says that each packet had four gigabytes, and that it kept the first bytes only."""
    packets = conversation(CLIENT4, SERVER4, REQUEST, ANSWER) + conversation(CLIENT6, SERVER6, REQUEST, ANSWER)
    found = captured(packets)
    claimed = [
        CapturedPacket(p.number, p.time, p.data[:kept], original_length=2**32 - 1, interface=p.interface)
        for p in found
        for kept in (60, len(p.data))
    ]
    tracemalloc.start()
    flows = rebuild(claimed)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
    assert [flow.streams[TO_SERVER].data() for flow in flows.tcp] == [REQUEST, REQUEST]

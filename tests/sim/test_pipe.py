"""One direction of a link: rate, delay, queue, MTU, cuts, and what observers are told."""

from __future__ import annotations

import pytest
from tests.sim.kit import A, Arrivals, B, Reports, make, numbered, tcp_packet

from plankroad.sim.events import Simulator
from plankroad.sim.fate import (
    ARRIVED,
    LOST_CUT,
    LOST_INVALID,
    LOST_MTU,
    LOST_NOBODY,
    LOST_QUEUE,
    MARKED,
    describe,
)
from plankroad.sim.pipe import Pipe
from plankroad.sim.queue import DropTail
from plankroad.sim.rng import stream
from plankroad.units import MILLISECOND
from plankroad.wire.checksum import complete, ones_sum
from plankroad.wire.ethernet import build_ethernet
from plankroad.wire.ipv4 import parse_ipv4
from plankroad.wire.ipv6 import build_ipv6, parse_ipv6
from plankroad.wire.packet import GSO_TCPV4, Packet
from plankroad.wire.tcp import parse_tcp, tcp_checksum_ok


def test_a_packet_arrives_after_transmission_and_delay(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, delay=20 * MILLISECOND)
    pipe.send(Packet(numbered(1, 1250)))  # 10 ms at 1 Mbit/s
    sim.run()
    assert sink.packets == [(30 * MILLISECOND, numbered(1, 1250))]
    assert sink.ports == [3]


def test_packets_wait_for_the_ones_before_them(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, delay=MILLISECOND)
    for i in range(3):
        pipe.send(Packet(numbered(i, 125)))  # 1 ms each
    sim.run_until(10 * MILLISECOND)
    pipe.send(Packet(numbered(3, 125)))
    sim.run()
    assert sink.times == [2 * MILLISECOND, 3 * MILLISECOND, 4 * MILLISECOND, 12 * MILLISECOND]
    assert sink.contents == [numbered(i, 125) for i in range(4)]


def test_a_pipe_with_a_rate_never_carries_more(sim: Simulator) -> None:
    pipe, _sink = make(sim, rate=9_999_991, queue=DropTail(0))
    for i in range(1000):
        pipe.send(Packet(numbered(i, 777)))
    sim.run()
    bits = 777 * 8 * 1000
    assert sim.now >= bits * 10**9 / 9_999_991
    assert sim.now <= bits * 10**9 / 9_999_991 + 1000  # rounded up to a nanosecond each


def test_overhead_counts_for_the_transmission_only(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=8_000_000)  # a byte a microsecond
    pipe.overhead = 24
    pipe.send(Packet(numbered(1, 100)))
    sim.run()
    assert sink.times == [124_000]
    assert pipe.counters.bytes == 100


def test_drop_tail_by_packets_counts_the_one_in_transmission(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, queue=DropTail(max_packets=3))
    for i in range(5):
        pipe.send(Packet(numbered(i, 125)))
    sim.run_until(MILLISECOND)  # the first has left: room for one
    pipe.send(Packet(numbered(5, 125)))
    pipe.send(Packet(numbered(6, 125)))
    sim.run()
    assert [int.from_bytes(data[:4], "big") for data in sink.contents] == [0, 1, 2, 5]
    assert pipe.counters.lost_queue == 3


def test_drop_tail_by_bytes(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, queue=DropTail(max_bytes=250))
    pipe.send(Packet(numbered(0, 400)))  # an empty queue takes anything
    pipe.send(Packet(numbered(1, 100)))
    sim.run()
    pipe.send(Packet(numbered(2, 150)))
    pipe.send(Packet(numbered(3, 100)))
    pipe.send(Packet(numbered(4, 1 + 4)))
    sim.run()
    assert [int.from_bytes(data[:4], "big") for data in sink.contents] == [0, 2, 3]
    assert pipe.counters.lost_queue == 2


def test_a_queue_beyond_its_threshold_marks_what_may_be_marked(sim: Simulator) -> None:
    """RFC 3168 section 5: ECT becomes CE; not-ECT is left alone; the IPv4 header checksum stays right."""
    pipe, sink = make(sim, rate=1_000_000, queue=DropTail(10, mark_packets=1))
    reports = Reports()
    pipe.observers.append(reports)
    six = build_ipv6(bytes(15) + b"\1", bytes(15) + b"\2", 59, 0, traffic_class=0x0A)
    pipe.send(tcp_packet(b"first", tos=0x02))
    pipe.send(tcp_packet(b"ect0", tos=0x02))
    pipe.send(tcp_packet(b"not ect", tos=0x08))
    pipe.send(Packet(six))
    sim.run()
    assert [parse_ipv4(data).tos for data in sink.contents[:3]] == [0x02, 0x03, 0x08]
    assert parse_ipv6(sink.contents[3]).traffic_class == 0x0B
    assert pipe.counters.marked == 2
    assert [entry[3] for entry in reports.told] == [ARRIVED, MARKED, ARRIVED, MARKED]


def test_marking_finds_the_ip_header_behind_ethernet_and_a_tag(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, queue=DropTail(10, mark_packets=1), ethernet=True)
    frame = build_ethernet(bytes(6), bytes(6), 0x0800, [(0x8100, 5)])
    for _ in range(2):
        pipe.send(Packet(frame + tcp_packet(b"x", tos=0x01).to_bytes()))
    pipe.send(Packet(build_ethernet(bytes(6), bytes(6), 0x0806) + bytes(28)))
    sim.run()
    assert [parse_ipv4(data, 18).tos for data in sink.contents[:2]] == [0x01, 0x03]
    assert pipe.counters.marked == 1


def test_packets_larger_than_the_mtu_are_not_carried(sim: Simulator) -> None:
    pipe, sink = make(sim)
    reports = Reports()
    pipe.observers.append(reports)
    pipe.send(Packet(bytes(1500)))
    pipe.send(Packet(bytes(1501)))
    sim.run()
    assert [len(data) for data in sink.contents] == [1500]
    assert pipe.counters.lost_mtu == 1
    lost = next(entry for entry in reports.told if entry[3] == LOST_MTU)
    assert describe(lost[3], lost[4]) == "dropped: larger than the link's MTU (1501 bytes, MTU 1500)"


def test_the_mtu_of_an_ethernet_pipe_does_not_count_the_frame_header(sim: Simulator) -> None:
    pipe, sink = make(sim, ethernet=True)
    plain = build_ethernet(bytes(6), bytes(6), 0x0800)
    tagged = build_ethernet(bytes(6), bytes(6), 0x0800, [(0x8100, 5)])
    pipe.send(Packet(plain + bytes(1500)))
    pipe.send(Packet(tagged + bytes(1500)))
    pipe.send(Packet(plain + bytes(1501)))
    pipe.send(Packet(tagged + bytes(1501)))
    sim.run()
    assert [len(data) for data in sink.contents] == [1514, 1518]
    assert pipe.counters.lost_mtu == 2


def test_a_super_segment_is_cut_and_its_partial_checksums_stay(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=8_000_000)
    data = bytes(range(250)) * 10
    pipe.send(tcp_packet(data, partial=True, gso=1000))
    sim.run()
    assert len(sink.objects) == 3
    parts = [parse_tcp(p.head, 20, len(p.head)) for p in sink.objects]
    assert b"".join(part.payload for part in parts) == data
    assert [part.seq for part in parts] == [5000, 6000, 7000]
    assert all(p.csum_start == 20 and p.csum_offset == 16 and not p.payload for p in sink.objects)
    whole = [complete(p).head for p in sink.objects]
    assert all(tcp_checksum_ok(head, 20, len(head), A, B) for head in whole)
    assert sink.times == [1_040_000, 2_080_000, 2_620_000]  # each is transmitted by itself
    assert pipe.counters.packets == 3


def test_a_super_segment_that_is_none_is_lost_and_told(sim: Simulator) -> None:
    pipe, sink = make(sim)
    reports = Reports()
    pipe.observers.append(reports)
    pipe.send(Packet(bytes(40), bytes(4000), gso_type=GSO_TCPV4, gso_size=1000))
    sim.run()
    assert not sink.packets
    assert pipe.counters.lost_invalid == 1
    assert reports.told[0][3] == LOST_INVALID


def test_what_arrives_is_in_one_piece(sim: Simulator) -> None:
    pipe, sink = make(sim)
    pipe.send(Packet(b"head", b"payload"))
    sim.run()
    assert (sink.objects[0].head, sink.objects[0].payload) == (b"headpayload", b"")


def test_jitter_varies_the_delay_both_ways_and_keeps_the_order(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=10 * MILLISECOND)
    pipe.jitter = 8 * MILLISECOND
    for i in range(500):
        sim.call_at(i * MILLISECOND, pipe.send, Packet(numbered(i)))
    sim.run()
    assert sink.contents == [numbered(i) for i in range(500)]
    delays = [when - i * MILLISECOND for i, when in enumerate(sink.times)]
    assert min(delays) >= 2 * MILLISECOND
    assert max(delays) <= 18 * MILLISECOND
    assert max(delays) > 15 * MILLISECOND
    assert pipe.counters.reordered == 0


def test_jitter_that_may_reorder_does(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=10 * MILLISECOND)
    pipe.jitter = 8 * MILLISECOND
    pipe.jitter_reorders = True
    for i in range(500):
        sim.call_at(i * MILLISECOND, pipe.send, Packet(numbered(i)))
    sim.run()
    order = [int.from_bytes(data[:4], "big") for data in sink.contents]
    assert sorted(order) == list(range(500))
    late = 0
    highest = -1
    for number in order:
        late += number < highest
        highest = max(highest, number)
    assert pipe.counters.reordered == late > 50
    assert min(when - number * MILLISECOND for when, number in zip(sink.times, order, strict=True)) < 4 * MILLISECOND


def test_jitter_larger_than_the_delay_does_not_arrive_before_it_was_sent(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=MILLISECOND)
    pipe.jitter = 5 * MILLISECOND
    for i in range(100):
        sim.call_at(i * 10 * MILLISECOND, pipe.send, Packet(numbered(i)))
    sim.run()
    assert all(when >= i * 10 * MILLISECOND for i, when in enumerate(sink.times))


def test_a_cut_loses_what_is_queued_and_under_way(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, delay=5 * MILLISECOND)
    reports = Reports()
    pipe.observers.append(reports)
    for i in range(10):
        pipe.send(Packet(numbered(i, 125)))  # 1 ms each
    sim.run_until(8 * MILLISECOND)
    assert len(sink.packets) == 3  # at 6, 7 and 8 ms
    pipe.cut()
    pipe.cut()
    assert pipe.on_the_way() == 0
    assert pipe.counters.lost_cut == 7
    pipe.send(Packet(numbered(10)))
    assert pipe.counters.lost_cut == 8
    assert sim.run() == 0
    assert [entry[2][:4] for entry in reports.told] == [numbered(i)[:4] for i in range(11)]
    assert {entry[3] for entry in reports.told[3:]} == {LOST_CUT}
    pipe.heal()
    sim.run_until(9 * MILLISECOND)
    pipe.send(Packet(numbered(11, 125)))
    sim.run()
    assert sink.packets[3:] == [(15 * MILLISECOND, numbered(11, 125))]  # the queue was empty


def test_packets_for_nobody_are_lost_at_the_end_of_the_way(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=MILLISECOND)
    reports = Reports()
    pipe.observers.append(reports)
    pipe.send(Packet(numbered(1)))
    pipe.nobody = True
    sim.run()
    assert not sink.packets
    assert pipe.counters.lost_nobody == 1
    assert [(now, fate) for now, _, _, fate, _ in reports.told] == [(MILLISECOND, LOST_NOBODY)]


def test_rate_and_delay_may_change_while_packets_are_under_way(sim: Simulator) -> None:
    pipe, sink = make(sim, delay=100 * MILLISECOND)
    pipe.send(Packet(numbered(0)))
    sim.run_until(MILLISECOND)
    pipe.delay = 2 * MILLISECOND
    pipe.send(Packet(numbered(1)))
    sim.run()
    assert sink.packets == [(100 * MILLISECOND, numbered(0)), (100 * MILLISECOND, numbered(1))]  # no overtaking


def test_counters_add_up(sim: Simulator) -> None:
    pipe, sink = make(sim, rate=1_000_000, queue=DropTail(5))
    for i in range(20):
        pipe.send(Packet(numbered(i)))
    sim.run()
    counters = pipe.counters
    assert counters.packets == 20
    assert counters.arrived + counters.lost() == 20
    assert counters.as_dict()["lost_queue"] == counters.lost() == 15
    assert counters.arrived_bytes == 500
    assert sink.contents == [numbered(i) for i in range(5)]
    assert LOST_QUEUE == 3


def test_the_order_of_arrivals_on_several_pipes_is_that_of_sending(sim: Simulator) -> None:
    sink = Arrivals(sim)
    pipes = [Pipe(sim, f"p{i}", i, sink, i, stream(1, "j"), DropTail(10), 1500, 0, 7 * MILLISECOND) for i in range(3)]
    for i in range(9):
        pipes[(i * 2) % 3].send(Packet(numbered(i)))
    sim.run()
    assert sink.contents == [numbered(i) for i in range(9)]


def test_bad_queue_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="limits of a queue"):
        DropTail(-1)


def test_checksums_of_a_complete_packet_travel_unchanged(sim: Simulator) -> None:
    pipe, sink = make(sim)
    packet = tcp_packet(b"hello")
    expected = packet.to_bytes()
    pipe.send(packet)
    sim.run()
    assert sink.contents == [expected]
    assert ones_sum(expected[:20]) == 0xFFFF

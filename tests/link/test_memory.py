"""A pair of links in memory."""

from __future__ import annotations

import pytest
from tests.link.packets import MAC_A, MAC_B, frame, pattern, tcp_parts, tcp_segment, tcp_super

from plankroad.link.memory import MemoryLink
from plankroad.wire.checksum import complete
from plankroad.wire.packet import GSO_TCPV4, Packet
from plankroad.wire.segment import ACK, PSH

SEGMENT = tcp_segment(1, ACK | PSH, pattern(4000))


class Bell:
    """Counts rings."""

    def __init__(self) -> None:
        self.rings = 0

    def __call__(self) -> None:
        self.rings += 1


def test_packets_go_both_ways_in_order() -> None:
    a, b = MemoryLink.pair()
    for data in (b"one", b"two"):
        assert a.send(Packet(data))
    assert b.send(Packet(b"th", b"ree"))
    assert [p.head for p in b.receive()] == [b"one", b"two"]
    (three,) = a.receive()
    assert (three.head, three.payload) == (b"three", b"")
    assert a.receive() == b.receive() == []


def test_the_receiver_has_an_object_of_its_own() -> None:
    a, b = MemoryLink.pair()
    packet = Packet(b"x", interface=7)
    a.send(packet)
    (got,) = b.receive()
    assert got is not packet
    assert got.interface == 0


def test_without_offloads_packets_arrive_as_on_a_wire() -> None:
    a, b = MemoryLink.pair(mtu=1040)
    assert (a.tx_csum, a.gso_max_size) == (False, 0)
    assert a.send(tcp_super(4, SEGMENT, 1000))
    got = b.receive()
    assert [p.head for p in got] == tcp_parts(4, SEGMENT, 1000)
    assert all(p.csum_start == 0 and p.gso_type == 0 and not p.csum_valid for p in got)
    assert (a.counters.tx_cut, a.counters.tx_packets, b.counters.rx_packets) == (1, 4, 4)
    single = tcp_super(4, tcp_segment(1, ACK, b"abc"), 0)
    single.gso_type = 0
    a.send(single)
    assert [p.head for p in b.receive()] == tcp_parts(4, tcp_segment(1, ACK, b"abc"), 1000)
    assert a.counters.tx_completed == 1


def test_with_checksum_offload_partial_checksums_pass() -> None:
    a, b = MemoryLink.pair(mtu=1040, tx_csum=True)
    a.send(tcp_super(4, SEGMENT, 1000))
    got = b.receive()
    assert [(p.csum_start, p.csum_offset) for p in got] == [(20, 16)] * 4
    assert [complete(p).head for p in got] == tcp_parts(4, SEGMENT, 1000)


def test_with_segmentation_offload_super_segments_pass() -> None:
    a, b = MemoryLink.pair(mtu=1040, tx_csum=True, gso_max_size=65535)
    packet = tcp_super(4, SEGMENT, 1000)
    a.send(packet)
    (got,) = b.receive()
    assert (got.gso_type, got.gso_size, got.csum_start, got.csum_offset) == (GSO_TCPV4, 1000, 20, 16)
    assert got.head == packet.to_bytes()
    assert (a.counters.tx_super_segments, b.counters.rx_super_segments, a.counters.tx_cut) == (1, 1, 0)


def test_a_super_segment_over_the_limit_is_cut() -> None:
    a, b = MemoryLink.pair(mtu=1040, tx_csum=True, gso_max_size=4000)
    a.send(tcp_super(4, SEGMENT, 1000))
    assert len(b.receive()) == 4


def test_ethernet_frames() -> None:
    a, b = MemoryLink.pair(mtu=1040, ethernet=True, macs=(MAC_A, MAC_B))
    assert (a.ethernet, a.mac, b.mac) == (True, MAC_A, MAC_B)
    a.send(tcp_super(4, SEGMENT, 1000, link_header=frame(4, [])))
    assert [p.head for p in b.receive()] == tcp_parts(4, SEGMENT, 1000, link_header=frame(4, []))


def test_what_is_larger_than_the_mtu_is_lost_and_counted() -> None:
    a, b = MemoryLink.pair(mtu=1000)
    assert a.send(Packet(bytes(1001)))
    assert a.send(Packet(bytes(1000)))
    assert [len(p) for p in b.receive()] == [1000]
    assert a.counters.tx_errors == 1


def test_nonsense_is_lost_and_counted() -> None:
    a, b = MemoryLink.pair()
    assert a.send(Packet(b"abc", gso_type=GSO_TCPV4, gso_size=1))
    assert a.send(Packet(b"abc", csum_start=20, csum_offset=16))
    assert b.receive() == []
    assert a.counters.tx_errors == 2


def test_a_full_queue_refuses_and_tells_when_there_is_room() -> None:
    a, b = MemoryLink.pair(queue_packets=2, batch_packets=1)
    bell = Bell()
    a.set_notify(bell)
    assert [a.send(Packet(bytes((i,)))) for i in range(3)] == [True, True, False]
    assert a.counters.tx_refused == 1
    assert bell.rings == 0
    b.receive()
    assert bell.rings == 1
    assert a.receive() == []
    assert a.send(Packet(b"\x02"))
    assert [p.head for p in b.receive() + b.receive()] == [b"\x01", b"\x02"]


def test_arrivals_ring_once_until_they_are_fetched() -> None:
    a, b = MemoryLink.pair(batch_packets=2)
    bell = Bell()
    b.set_notify(bell)
    for _ in range(3):
        a.send(Packet(b"x"))
    assert bell.rings == 1
    assert len(b.receive()) == 2
    assert bell.rings == 2, "one is left over"
    assert len(b.receive()) == 1
    assert bell.rings == 2
    a.send(Packet(b"x"))
    assert bell.rings == 3


def test_a_callback_set_late_hears_of_what_waits() -> None:
    a, b = MemoryLink.pair()
    a.send(Packet(b"x"))
    bell = Bell()
    b.set_notify(bell)
    assert bell.rings == 1
    b.set_notify(None)
    a.send(Packet(b"x"))
    assert bell.rings == 1


def test_counters() -> None:
    a, b = MemoryLink.pair()
    a.send(Packet(b"abc", b"de"))
    a.send(Packet(b"f"))
    b.receive()
    assert {k: v for k, v in a.counters.as_dict().items() if v} == {"tx_packets": 2, "tx_bytes": 6}
    assert {k: v for k, v in b.counters.as_dict().items() if v} == {"rx_packets": 2, "rx_bytes": 6, "rx_batches": 1}
    assert list(a.counters.as_dict()) == sorted(
        (n for n in dir(a.counters) if n[:3] in ("rx_", "tx_")), key=list(a.counters.as_dict()).index
    )


def test_closing_one_end() -> None:
    a, b = MemoryLink.pair(queue_packets=1)
    bell = Bell()
    a.set_notify(bell)
    a.send(Packet(b"x"))
    assert not a.send(Packet(b"y"))
    b.close()
    b.close()
    assert bell.rings == 1, "who was refused may go on"
    assert a.send(Packet(b"y"))
    assert a.counters.tx_dropped == 1
    assert b.receive() == []


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match="tx_csum"):
        MemoryLink.pair(gso_max_size=65535)
    with pytest.raises(ValueError, match="at least 1"):
        MemoryLink.pair(queue_packets=0)

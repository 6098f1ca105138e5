"""What was sent again, and in vain, as read from packets with their fate."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plankroad.paths.meter import FlowMeter, Meter
from plankroad.sim.fate import ARRIVED, CORRUPTED, DUPLICATE, HELD_BACK, LOST_QUEUE, LOST_RANDOM

SYN, ACK = 0x02, 0x10


def packet(
    seq: int, length: int, *, flags: int = ACK, version: int = 4, port: int = 40000, options: int = 12
) -> bytes:
    """An IP packet with a TCP segment; what a meter does not read is zero."""
    tcp = struct.pack("!HHIIBBHHH", port, 80, seq & 0xFFFFFFFF, 0, (20 + options) // 4 << 4, flags, 0, 0, 0)
    body = tcp + bytes(options) + bytes(length)
    if version == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0x4000, 64, 6, 0, b"\n\0\0\1", b"\n\0\0\2")
    else:
        header = struct.pack("!IHBB16s16s", 6 << 28, len(body), 6, 64, bytes(15) + b"\1", bytes(15) + b"\2")
    return header + body


def counted(*packets: tuple[int, int, int], isn: int = 1000, version: int = 4) -> FlowMeter:
    """The flow after packets of (offset of the first byte, bytes, fate), each sent 1 ns after the one before."""
    meter = Meter()
    meter.feed(packet(isn, 0, flags=SYN, version=version), 0, ARRIVED)
    for sent, (offset, length, fate) in enumerate(packets, 1):
        meter.feed(packet(isn + 1 + offset, length, version=version), sent, fate)
    assert len(meter.flows) == 1
    return meter.flows[0]


def sums(flow: FlowMeter) -> tuple[int, int, int, int]:
    return flow.segments, flow.retransmitted, flow.retransmitted_octets, flow.spurious


@pytest.mark.parametrize("version", [4, 6])
def test_a_retransmission_of_what_was_lost_is_needed(version: int) -> None:
    flow = counted(
        (0, 100, ARRIVED), (100, 100, LOST_QUEUE), (200, 100, ARRIVED), (100, 100, ARRIVED), version=version
    )
    assert sums(flow) == (4, 1, 100, 0)
    assert flow.octets == 400
    assert flow.cum - flow.base == 300
    assert not flow.pieces


def test_a_retransmission_of_what_arrived_is_spurious() -> None:
    assert sums(counted((0, 100, ARRIVED), (0, 100, ARRIVED))) == (2, 1, 100, 1)
    assert sums(counted((0, 100, LOST_RANDOM), (100, 50, ARRIVED), (100, 50, LOST_RANDOM))) == (3, 1, 50, 1)


def test_a_lost_retransmission_is_sent_again_for_a_reason() -> None:
    assert sums(counted((0, 9, LOST_QUEUE), (0, 9, LOST_RANDOM), (0, 9, ARRIVED), (0, 9, ARRIVED))) == (4, 3, 27, 1)


def test_a_segment_with_one_needed_byte_is_not_spurious() -> None:
    assert sums(counted((0, 10, ARRIVED), (10, 10, LOST_QUEUE), (5, 10, ARRIVED))) == (3, 1, 10, 0)
    # What is new in it was never sent before: the rest decides.
    assert sums(counted((0, 10, ARRIVED), (5, 10, ARRIVED))) == (2, 1, 5, 1)


def test_what_overtakes_is_no_retransmission() -> None:
    flow = counted((100, 100, ARRIVED), (0, 100, HELD_BACK))
    assert sums(flow) == (2, 0, 0, 0)
    assert flow.cum - flow.base == 200


def test_an_original_told_after_its_lost_retransmission_makes_that_spurious() -> None:
    meter = Meter()
    meter.feed(packet(0, 0, flags=SYN), 0, ARRIVED)
    meter.feed(packet(11, 10), 2, ARRIVED)
    meter.feed(packet(1, 10), 3, LOST_QUEUE)
    meter.feed(packet(1, 10), 1, HELD_BACK)
    assert sums(meter.flows[0]) == (3, 1, 10, 1)
    # The same order of news, but the copy that arrives was sent last.
    assert sums(counted((10, 10, ARRIVED), (0, 10, LOST_QUEUE), (0, 10, HELD_BACK))) == (3, 1, 10, 0)


def test_sequence_numbers_wrap() -> None:
    flow = counted((0, 100, LOST_QUEUE), (100, 100, ARRIVED), (0, 100, ARRIVED), isn=(1 << 32) - 51)
    assert sums(flow) == (3, 1, 100, 0)
    assert flow.cum - flow.base == 200


def test_flows_are_told_apart_and_pure_acknowledgements_left_out() -> None:
    meter = Meter()
    meter.feed(packet(5, 0), 0, ARRIVED)
    assert meter.flows == []
    for port in (1, 2):
        meter.feed(packet(0, 0, flags=SYN, port=port), 0, ARRIVED)
        meter.feed(packet(1, port, port=port), 0, ARRIVED)
    meter.feed(packet(1, 1, port=1), 0, ARRIVED)
    assert [(flow.source_port, flow.octets, flow.retransmitted) for flow in meter.flows] == [(1, 2, 1), (2, 2, 0)]
    assert meter.of_port(2) is meter.flows[1]
    assert meter.of_port(2, b"\n\0\0\1").octets == 2
    assert meter.of_port(2, b"\n\0\0\7").segments == meter.of_port(3).segments == 0


def test_what_the_network_made_or_damaged_is_not_counted() -> None:
    flow = counted((0, 10, ARRIVED), (0, 10, DUPLICATE), (5, 10, CORRUPTED))
    assert sums(flow) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        bytes(60),
        packet(0, 100)[:80],
        packet(0, 10)[:9] + b"\x11" + packet(0, 10)[10:],
        packet(0, 10)[:6] + b"\x20\0" + packet(0, 10)[8:],
        b"\x45" + bytes(60),
    ],
)
def test_what_is_no_segment_is_passed_over(head: bytes) -> None:
    meter = Meter()
    meter.feed(head, 0, ARRIVED)
    assert meter.flows == []


def by_the_byte(packets: list[tuple[int, int, bool]]) -> tuple[int, int, int, int]:
    """The definition, word by word, for packets told in the order of sending."""
    seen: set[int] = set()
    arrived: set[int] = set()
    retransmitted = octets = spurious = 0
    for start, length, arrives in packets:
        covered = set(range(start, start + length))
        again = covered & seen
        if again:
            retransmitted += 1
            octets += len(again)
            spurious += again <= arrived
        seen |= covered
        if arrives:
            arrived |= covered
    return len(packets), retransmitted, octets, spurious


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20), st.booleans()), max_size=60))
def test_any_packets_are_counted_as_by_the_byte(packets: list[tuple[int, int, bool]]) -> None:
    flow = counted(*[(start, length, ARRIVED if arrives else LOST_QUEUE) for start, length, arrives in packets])
    assert sums(flow) == by_the_byte(packets)
    spans = [(piece.start, piece.end) for piece in flow.pieces]
    assert all(start < end for start, end in spans)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize("copies", ["held lost", "held lost lost", "held arrived", "held arrived lost arrived"])
def test_an_original_that_is_told_last_makes_all_others_spurious(copies: str) -> None:
    fates = [LOST_RANDOM if word == "lost" else ARRIVED for word in copies.split()]
    meter = Meter()
    meter.feed(packet(0, 0, flags=SYN), 0, ARRIVED)
    for sent, fate in [*list(enumerate(fates))[1:], (0, HELD_BACK)]:
        meter.feed(packet(1, 10), sent, fate)
    assert sums(meter.flows[0]) == by_the_byte([(0, 10, fate == ARRIVED) for fate in fates])
    assert meter.flows[0].spurious == len(fates) - 1

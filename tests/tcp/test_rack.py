"""Losses found by time: RFC 8985 section 6."""

from __future__ import annotations

import pytest
from tests.tcp.flight import MSS, RTT, at, flight

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import OPEN, RECOVERY, TIMER_REORDER
from plankroad.testing.pair import Pair
from plankroad.units import MILLISECOND, NEVER
from plankroad.wire.segment import Segment

QUARTER = RTT // 4


@pytest.mark.requirement("rack")
def test_a_segment_is_lost_when_one_sent_a_reordering_window_later_arrived() -> None:
    # Section 6.2, step 5. Two segments 30 ms apart; one SACK is enough, where three duplicates would be needed.
    peer = flight(2, spacing=30 * MILLISECOND)
    peer.advance(30 * MILLISECOND)
    out = peer.segment(".", ack=at(0), sack=[(at(1), at(2))])
    assert [s.seq for s in out] == [at(0)]
    assert peer.conn.tcb.congestion == RECOVERY


def test_one_sack_alone_waits_for_the_reordering_window() -> None:
    # Step 4: min_RTT / 4; the timer expires at xmit_ts + RTT + reo_wnd.
    peer = flight(3)
    assert peer.segment(".", ack=at(0), sack=[(at(1), at(2))]) == []
    assert peer.conn.tcb.congestion == OPEN
    began = peer.now
    out = peer.next_timer()
    assert peer.now - began == QUARTER
    assert [s.seq for s in out] == [at(0)]
    assert peer.counters.timeouts == 0


def test_the_settling_time_is_over_when_the_late_segment_arrives_in_it() -> None:
    peer = flight(3)
    peer.segment(".", ack=at(0), sack=[(at(1), at(2))])
    peer.advance(QUARTER - 1)
    assert peer.segment(".", ack=at(2)) == []
    assert peer.conn.tcb.timers[TIMER_REORDER] == NEVER
    assert peer.conn.tcb.rack.reordering_seen
    assert peer.counters.reordering_seen == 1
    assert peer.counters.retransmitted == 0


@pytest.mark.requirement("rack")
def test_three_sacked_segments_need_no_time_to_settle_until_reordering_was_seen() -> None:
    # Step 4: "If RACK.reordering_seen is FALSE: ... Else if RACK.segs_sacked >= DupThresh: Return 0".
    peer = flight(5)
    assert [s.seq for s in peer.segment(".", ack=at(0), sack=[(at(1), at(4))])] == [at(0)]
    seen = flight(10)
    seen.segment(".", ack=at(0), sack=[(at(1), at(2))])
    seen.segment(".", ack=at(2))
    assert seen.conn.tcb.rack.reordering_seen
    assert seen.segment(".", ack=at(2), sack=[(at(3), at(8))]) == []
    began = seen.now
    assert [s.seq for s in seen.next_timer()] == [at(2)]
    assert seen.now - began == QUARTER


def test_a_hole_filled_by_a_retransmission_is_no_reordering() -> None:
    # Step 3: "Segment.retransmitted is FALSE".
    peer = flight(5)
    peer.segment(".", ack=at(0), sack=[(at(1), at(5))])
    peer.advance(RTT)
    peer.segment(".", ack=at(5))
    assert not peer.conn.tcb.rack.reordering_seen


def test_blocks_that_come_highest_first_in_one_ack_are_no_reordering() -> None:
    peer = flight(8)
    peer.segment(".", ack=at(0), sack=[(at(5), at(6)), (at(1), at(2))])
    assert not peer.conn.tcb.rack.reordering_seen


@pytest.mark.requirement("rack")
@pytest.mark.parametrize("ts", [False, True])
def test_a_lost_retransmission_is_found_without_a_timeout(ts: bool) -> None:
    # Section 9.1 (2): what was sent after the retransmission arrives, the retransmission does not.
    peer = flight(6, ts=ts)
    peer.conn.send(peer.now, bytes(20 * MSS))
    out = peer.segment(".", ack=at(0), sack=[(at(1), at(5))])
    assert out[0].seq == at(0)
    peer.advance(RTT)
    later = peer.segment(".", ack=at(0), sack=[(at(1), at(6))])
    peer.advance(RTT)
    new = [s.seq for s in [*out, *later] if s.seq >= at(6)]
    assert new
    out = peer.segment(".", ack=at(0), sack=[(at(1), max(new) + MSS)])
    assert out[0].seq == at(0)
    assert peer.counters.lost_retransmissions == 1
    assert peer.counters.timeouts == 0


def test_the_answer_to_the_original_is_not_taken_for_that_of_the_retransmission() -> None:
    # Step 2, condition 2: "The segment was last retransmitted less than RACK.min_rtt ago".
    peer = flight(6)
    peer.segment(".", ack=at(0), sack=[(at(1), at(4))])
    assert peer.counters.retransmitted == 1
    xmit_ts = peer.conn.tcb.rack.xmit_ts
    peer.advance(RTT // 10)
    peer.segment(".", ack=at(4))
    assert peer.conn.tcb.rack.xmit_ts == xmit_ts
    assert peer.conn.tcb.rack.rtt == RTT
    # Condition 1: so says the timestamp, though a round trip has passed.
    peer = flight(6, ts=True)
    original = peer.last_ts_val
    peer.segment(".", ack=at(0), sack=[(at(1), at(4))])
    xmit_ts = peer.conn.tcb.rack.xmit_ts
    peer.advance(2 * RTT)
    peer.segment(".", ack=at(4), ts_ecr=original)
    assert peer.conn.tcb.rack.xmit_ts == xmit_ts


def test_the_window_grows_with_dsacks_once_a_round_trip_and_is_forgotten_after_16_recoveries() -> None:
    # Step 4: "After N round trips in which a DSACK is received, the RACK.reo_wnd becomes (N+1) * min_RTT / 4".
    peer = flight(20)
    rack = peer.conn.tcb.rack
    for i in range(1, 4):
        peer.segment(".", ack=at(i), sack=[(at(i - 1), at(i))])
        peer.segment(".", ack=at(i), sack=[(at(i - 1), at(i))])
    assert rack.reo_wnd_mult == 2
    # Everything of that round is acknowledged: the next one counts.
    peer.send(bytes(3 * MSS))
    peer.segment(".", ack=at(20), sack=[(at(19), at(20))])
    assert rack.reo_wnd_mult == 3
    for _ in range(16):
        assert rack.reo_wnd_mult == 3
        una = peer.conn.tcb.snd_una - peer.conn.tcb.iss
        nxt = peer.conn.tcb.snd_nxt - peer.conn.tcb.iss
        peer.segment(".", ack=una, sack=[(una + MSS, nxt)])
        peer.advance(RTT)
        peer.next_timer()
        peer.advance(RTT)
        peer.segment(".", ack=nxt)
        peer.send(bytes(5 * MSS))
        peer.advance(RTT)
    assert rack.reo_wnd_mult == 1


@pytest.mark.parametrize(("late", "reordering"), [(1, 3), (2, 3), (3, 4), (7, 8)])
def test_how_far_the_path_reorders_is_told_in_segments_three_at_least(late: int, reordering: int) -> None:
    # The first segment comes when `late` of those behind it were reported: it was the first, and is the last of them.
    peer = flight(11)
    rack = peer.conn.tcb.rack
    rack.reordering_seen = True  # nothing is sent again at once
    peer.segment(".", ack=at(0), sack=[(at(1), at(1 + late))])
    assert (rack.reordered, rack.reordering) == (0, 3)
    peer.segment(".", ack=at(1 + late))
    assert rack.reordered == 1
    assert rack.reordering == reordering
    # Less does not take it back.
    peer.segment(".", ack=at(1 + late), sack=[(at(2 + late), at(3 + late))])
    peer.segment(".", ack=at(3 + late))
    assert rack.reordered == 2
    assert rack.reordering == reordering


def test_reordering_is_seen_once_and_counted_once() -> None:
    peer = flight(12)
    for first in (0, 3, 6):
        peer.segment(".", ack=at(first), sack=[(at(first + 1), at(first + 2))])
        peer.segment(".", ack=at(first + 2))
        peer.segment(".", ack=at(first + 3))
    assert peer.conn.tcb.rack.reordered == 3
    assert peer.counters.reordering_seen == 1


def test_of_segments_sent_together_the_one_with_the_highest_number_was_last() -> None:
    # Section 6.2, RACK_sent_after.
    peer = flight(6)
    rack = peer.conn.tcb.rack
    iss = peer.conn.tcb.iss
    peer.segment(".", ack=at(0), sack=[(at(3), at(4))])
    assert rack.end_seq - iss == at(4)
    peer.segment(".", ack=at(0), sack=[(at(1), at(2)), (at(3), at(4))])
    assert rack.end_seq - iss == at(4)
    peer.segment(".", ack=at(0), sack=[(at(1), at(2)), (at(3), at(5))])
    assert rack.end_seq - iss == at(5)


def test_what_was_sent_behind_all_that_arrived_is_not_judged() -> None:
    peer = flight(2)
    peer.now += RTT // 2
    peer.send(bytes(2 * MSS))
    peer.segment(".", ack=at(2))
    assert peer.conn.tcb.timers[TIMER_REORDER] == NEVER
    assert peer.conn.tcb.scoreboard.lost == 0


def test_the_window_grows_no_further_than_255_quarters() -> None:
    peer = flight(4)
    rack = peer.conn.tcb.rack
    rack.reo_wnd_mult = 254
    for expected in (255, 255):
        peer.segment(".", ack=at(1), sack=[(at(0), at(1))])
        assert rack.reo_wnd_mult == expected
        rack.dsack_round = -1
    assert rack.reo_wnd_persist == 16


def test_the_window_is_bounded_by_the_round_trip() -> None:
    peer = flight(20)
    peer.conn.tcb.rack.reo_wnd_mult = 200
    peer.conn.tcb.rack.reordering_seen = True
    peer.segment(".", ack=at(0), sack=[(at(1), at(2))])
    began = peer.now
    peer.next_timer()
    assert peer.now - began <= peer.conn.tcb.rtt.srtt + 1


@pytest.mark.requirement("rack")
@pytest.mark.parametrize("depth", [1, 2, 3, 5, 10, 20, 35, 50])
def test_reordering_causes_no_retransmission_once_it_is_known(depth: int) -> None:
    # Every hundredth segment is overtaken by `depth` that follow it. Segments leave a millisecond and more apart; after
    # some round trips the window has adapted, and what is sent again stays what it was.
    gap = 1_200_000
    count = 0

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        nonlocal count
        if sender != "a" or not seg.payload:
            return [0]
        count += 1
        return [depth * gap + gap // 2] if count % 100 == 50 else [0]

    config = TcpConfig(congestion_control="newreno", initial_window=40, max_segment=1012, timestamps=True)
    pair = Pair(config, delay=40 * MILLISECOND, rule=rule)
    pair.connect()
    sender = pair.a.connection
    assert sender is not None
    sender.tcb.cc.cwnd = 80_000
    sender.tcb.cc.ssthresh = 40_000

    def feed(rounds: int) -> None:
        for _ in range(rounds):
            pair.a.send(bytes(1000))
            pair.run_for(gap)

    feed(2500)
    learned = pair.a_counters.retransmitted
    feed(5000)
    pair.run()
    assert pair.a_counters.out_of_order_dropped == 0
    assert pair.b_counters.out_of_order_received > 20
    assert pair.a_counters.timeouts == 0
    assert pair.a_counters.retransmitted == learned
    assert len(pair.b.received) == 7_500_000


def test_looking_for_losses_costs_what_it_finds() -> None:
    # Section 6.2, at the end: the ranges that are looked at are those that are lost, and one more.
    peer = flight(60)
    board = peer.conn.tcb.scoreboard
    peer.segment(".", ack=at(0), sack=[(at(1), at(2))])
    assert board.oldest is board.first()
    assert board.youngest is board.ranges[-1]

"""Tail loss probes: RFC 8985 section 7."""

from __future__ import annotations

import pytest
from tests.tcp.flight import MSS, RTT, at, flight

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import OPEN, TIMER_PROBE, TIMER_RETRANSMIT
from plankroad.testing.pair import Pair
from plankroad.units import MILLISECOND, NEVER, SECOND
from plankroad.wire.segment import Segment

SLACK = 2 * MILLISECOND


@pytest.mark.requirement("tail-loss-probes")
def test_the_last_segment_goes_again_two_round_trips_after_the_last_news() -> None:
    # Section 7.2, 7.3.
    peer = flight(5)
    peer.segment(".", ack=at(3))
    began = peer.now
    [probe] = peer.next_timer()
    assert peer.now - began == 2 * peer.conn.tcb.rtt.srtt + SLACK
    assert (probe.seq, len(probe.payload)) == (at(4), MSS)
    assert peer.conn.tcb.tlp_is_retrans
    assert peer.conn.tcb.congestion == OPEN
    # "Rearm RTO timer to fire at timeout = now + RTO".
    assert peer.conn.tcb.timers[TIMER_RETRANSMIT] == peer.now + peer.conn.tcb.rtt.rto()
    assert peer.conn.tcb.timers[TIMER_PROBE] == NEVER


def test_new_data_is_the_probe_where_there_is_some() -> None:
    peer = flight(5)
    peer.conn.send(peer.now, bytes(3 * MSS))
    assert peer.output() == []
    [probe] = peer.next_timer()
    assert probe.seq == at(5)
    assert not peer.conn.tcb.tlp_is_retrans
    assert peer.conn.tcb.pipe() == 6 * MSS  # one more than cwnd


def test_a_single_segment_gives_the_peer_time_to_delay_its_acknowledgement() -> None:
    peer = flight(1)
    sent = peer.now - RTT
    [probe] = peer.next_timer()
    assert probe.seq == at(0)
    assert peer.now - sent == min(2 * RTT + SLACK + 50 * MILLISECOND, peer.conn.tcb.rtt.rto())


def test_the_probe_is_no_later_than_the_timeout_would_be_and_takes_its_place() -> None:
    peer = flight(1, min_rto=50 * MILLISECOND)
    peer.conn.tcb.rtt.rttvar = 0
    peer.segment(".", ack=at(1))
    peer.send(bytes(MSS))
    peer.advance(RTT)
    sent = peer.now - RTT
    rto = peer.conn.tcb.rtt.rto()
    peer.next_timer()
    assert peer.now - sent == rto
    assert peer.counters.tail_loss_probes == 1
    assert peer.counters.timeouts == 0
    peer.next_timer()
    assert peer.counters.timeouts == 1


def test_one_probe_at_a_time_and_one_for_each_sample() -> None:
    # Section 7.3, conditions 1 and 2.
    peer = flight(3)
    assert len(peer.next_timer()) == 1
    assert peer.timeout()[0].seq == at(0)
    assert peer.counters.tail_loss_probes == 1


def test_no_probe_while_something_is_sacked_or_without_sack() -> None:
    peer = flight(3)
    peer.segment(".", ack=at(0), sack=[(at(1), at(2))])
    assert peer.conn.tcb.timers[TIMER_PROBE] == NEVER
    assert flight(3, sack=False).conn.tcb.timers[TIMER_PROBE] == NEVER


def test_the_answer_to_a_probe_shows_what_is_lost() -> None:
    # Section 7.4.1: the last three of five are lost; the probe is the fifth once more.
    peer = flight(5)
    peer.segment(".", ack=at(2))
    [probe] = peer.next_timer()
    assert probe.seq == at(4)
    peer.advance(RTT)
    out = peer.segment(".", ack=at(2), sack=[(at(4), at(5))])
    assert out[0].seq == at(2)
    assert peer.conn.tcb.scoreboard.lost == 2 * MSS
    assert peer.counters.timeouts == 0


@pytest.mark.requirement("tail-loss-probes")
def test_a_loss_that_the_probe_repaired_is_told_to_congestion_control() -> None:
    # Section 7.4.2: "Repaired the single loss".
    peer = flight(5)
    peer.segment(".", ack=at(4))
    cwnd = peer.conn.tcb.cc.cwnd
    peer.next_timer()
    peer.advance(RTT)
    peer.segment(".", ack=at(5))
    assert peer.conn.tcb.cc.cwnd >= cwnd  # not known yet: both copies may have arrived
    peer.send(bytes(MSS))
    peer.advance(RTT)
    peer.segment(".", ack=at(6))
    assert peer.counters.tail_loss_repaired == 1
    assert peer.conn.tcb.cc.cwnd < cwnd
    assert peer.conn.tcb.tlp_end_seq == -1


def test_a_probe_that_was_not_needed_costs_no_window() -> None:
    # Case 1: a DSACK; case 2: a duplicate ACK without SACK.
    for case in (1, 2):
        peer = flight(5, idle_restart=False)
        peer.segment(".", ack=at(4))
        cwnd = peer.conn.tcb.cc.cwnd
        peer.next_timer()
        peer.segment(".", ack=at(5))
        if case == 1:
            peer.segment(".", ack=at(5), sack=[(at(4), at(5))])
        else:
            peer.send(bytes(MSS))
            peer.segment(".", ack=at(5))
        assert peer.conn.tcb.tlp_end_seq == -1
        peer.send(bytes(MSS))
        peer.segment(".", ack=at(6))
        assert peer.counters.tail_loss_repaired == 0
        assert peer.conn.tcb.cc.cwnd >= cwnd


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_lost_tail_is_repaired_in_about_two_round_trips(lost: int) -> None:
    # A request of ten segments whose last ones are lost: without a probe it would wait for RTO.
    dropped: set[int] = set()
    size = 10 * 1448

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        end = (seg.seq - iss) & 0xFFFFFFFF
        if sender == "a" and seg.payload and end > size - lost * 1448 and seg.seq not in dropped:
            dropped.add(seg.seq)
            return []
        return [0]

    iss = 0
    pair = Pair(TcpConfig(), delay=50 * MILLISECOND, rule=rule)
    pair.connect()
    sender = pair.a.connection
    assert sender is not None
    iss = sender.tcb.iss
    began = pair.now
    pair.a.send(bytes(size))
    while len(pair.b.received) < size:
        pair.run_for(MILLISECOND)
        assert pair.now - began < 2 * SECOND
    assert len(dropped) == lost
    assert pair.a_counters.timeouts == 0
    # One round trip brings the last news, two more the probe, half a one takes it there; where the probe shows the
    # rest, that takes one more for the first, and PRR lets the second go when that has arrived. A single segment
    # outstanding might be a delayed acknowledgement: 50 ms.
    rtt = 100 * MILLISECOND
    assert pair.now - began <= (7 + 2 * (lost - 1)) * rtt // 2 + (55 if lost == 1 else 5) * MILLISECOND

"""What an acknowledgement does: windows, blocks of SACK, what congestion control and the program are told of it."""

from __future__ import annotations

import errno

import pytest

from plankroad.endpoint import EVENT_WRITABLE
from plankroad.tcp.config import TcpConfig
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND, NEVER, SECOND

MSS = 1000
RTT = 100 * MILLISECOND


def sender(segments: int = 0, **fields: object) -> ScriptedPeer:
    """An established connection without timestamps that has `segments` segments in flight."""
    peer = ScriptedPeer(TcpConfig(timestamps=False, congestion_control="newreno", **fields))  # type: ignore[arg-type]
    peer.establish(mss=MSS, rtt=RTT)
    if segments:
        assert len(peer.send(bytes(segments * MSS))) == segments
    return peer


# What congestion control is told


def test_congestion_control_hears_what_an_acknowledgement_brought() -> None:
    peer = sender(6)
    peer.now += 120 * MILLISECOND
    peer.segment(".", ack=1 + 2 * MSS, poll=False)
    sample = peer.conn.tcb.sample
    assert (sample.now, sample.acked, sample.sacked) == (peer.now, 2 * MSS, 0)
    assert (sample.newly_delivered, sample.fresh, sample.newly_lost) == (2 * MSS, 2 * MSS, 0)
    assert (sample.prior_in_flight, sample.in_flight) == (6 * MSS, 4 * MSS)
    assert (sample.rtt, sample.min_rtt) == (120 * MILLISECOND, RTT)
    assert not sample.in_recovery


def test_congestion_control_hears_what_sack_reports_and_what_is_lost() -> None:
    peer = sender(8)
    peer.now += 130 * MILLISECOND
    peer.segment(".", ack=1, sack=[(1 + MSS, 1 + 5 * MSS)], poll=False)
    sample = peer.conn.tcb.sample
    assert (sample.acked, sample.sacked, sample.newly_delivered) == (0, 4 * MSS, 4 * MSS)
    assert (sample.newly_lost, sample.prior_in_flight, sample.in_flight) == (MSS, 8 * MSS, 3 * MSS)
    assert sample.rtt == 130 * MILLISECOND
    assert sample.in_recovery


def test_congestion_control_hears_no_round_trip_of_what_was_sent_again() -> None:
    # Karn's rule: it cannot be told which transmission is answered.
    peer = sender(1)
    peer.timeout()
    peer.now += RTT
    peer.segment(".", ack=1 + MSS, poll=False)
    assert peer.conn.tcb.sample.acked == MSS
    assert peer.conn.tcb.sample.rtt == -1


def test_congestion_control_hears_of_a_window_that_was_used_and_of_one_that_was_not() -> None:
    peer = sender(10)  # the initial window
    peer.now += RTT
    peer.segment(".", ack=1 + 10 * MSS, poll=False)
    assert peer.conn.tcb.sample.cwnd_limited
    peer = sender(2)
    peer.now += RTT
    peer.segment(".", ack=1 + 2 * MSS, poll=False)
    assert not peer.conn.tcb.sample.cwnd_limited


def test_a_round_begins_when_what_was_in_flight_at_the_last_one_is_acknowledged() -> None:
    peer = sender(4)
    starts: list[bool] = []
    peer.now += RTT
    for ack in (1, 2, 3, 4):
        peer.segment(".", ack=1 + ack * MSS, poll=False)
        starts.append(peer.conn.tcb.sample.round_start)
        if ack == 1:
            peer.send(bytes(2 * MSS))
    # The first one begins a round that goes on until octet 4 * MSS; what was sent behind it belongs to the next.
    assert starts == [True, False, False, True]


def test_a_sack_begins_no_round() -> None:
    peer = sender(4)
    peer.now += RTT
    peer.segment(".", ack=1 + MSS, poll=False)
    assert peer.conn.tcb.sample.round_start
    peer.segment(".", ack=1 + MSS, sack=[(1 + 2 * MSS, 1 + 3 * MSS)], poll=False)
    assert not peer.conn.tcb.sample.round_start


def test_without_sack_what_duplicates_told_is_not_fresh_news() -> None:
    peer = ScriptedPeer(TcpConfig(timestamps=False, sack=False, congestion_control="newreno"))
    peer.establish(mss=MSS, sack=False)
    peer.send(bytes(6 * MSS))
    for _ in range(2):
        peer.segment(".", ack=1)
    peer.segment(".", ack=1 + 3 * MSS, poll=False)
    sample = peer.conn.tcb.sample
    # Two segments had left the network already when their duplicates came.
    assert (sample.acked, sample.fresh) == (3 * MSS, MSS)


# The round trip


def test_many_samples_a_round_trip_move_the_mean_as_one_does() -> None:
    # RFC 7323 appendix G: alpha' = alpha / ExpectedSamples, ceiling(FlightSize / (SMSS * 2)).
    peer = ScriptedPeer(TcpConfig(congestion_control="newreno"))
    peer.establish(mss=1012, ts=True, rtt=RTT)  # twelve octets are the option's
    assert peer.conn.tcb.snd_mss == MSS
    peer.send(bytes(9 * MSS))
    peer.now += 180 * MILLISECOND
    peer.segment(".", ack=1 + MSS, poll=False)
    rtt = peer.conn.tcb.rtt
    assert rtt.srtt == RTT + 80 * MILLISECOND // (8 * 4)
    assert rtt.rttvar == RTT // 2 + 30 * MILLISECOND // (4 * 4)


def test_without_timestamps_each_sample_counts_in_full() -> None:
    peer = sender(9)
    peer.now += 180 * MILLISECOND
    peer.segment(".", ack=1 + MSS, poll=False)
    assert peer.conn.tcb.rtt.srtt == RTT + 80 * MILLISECOND // 8


def test_a_sample_may_come_from_the_beginning_of_time() -> None:
    # The clock may begin at 0: what was sent then was sent.
    peer = ScriptedPeer(TcpConfig(timestamps=False), start=0)
    peer.open()
    peer.segment("S.", seq=0, ack=1, mss=MSS)
    peer.send(bytes(MSS))
    peer.now += RTT
    before = peer.conn.tcb.rtt.samples
    peer.segment(".", ack=1 + MSS)
    assert peer.conn.tcb.rtt.samples == before + 1


def test_the_echo_of_a_timestamp_measures_what_was_sent_again() -> None:
    # RFC 7323 section 4.1; the clock of timestamps ticks once a millisecond.
    peer = ScriptedPeer(TcpConfig())
    peer.establish(mss=MSS, ts=True, rtt=RTT)
    peer.send(bytes(100))
    peer.timeout()
    peer.now += 7 * MILLISECOND
    peer.segment(".", ack=101)
    assert peer.conn.tcb.rtt.latest == 7 * MILLISECOND


@pytest.mark.parametrize("ts", [False, True])
def test_an_answer_to_what_was_sent_again_is_no_sample_without_an_echo(ts: bool) -> None:
    peer = ScriptedPeer(TcpConfig())
    peer.establish(mss=MSS, ts=ts, rtt=RTT)
    peer.send(bytes(100))
    peer.timeout()
    before = peer.conn.tcb.rtt.samples
    peer.now += 7 * MILLISECOND
    peer.segment(".", ack=101, ts_ecr=0)
    assert peer.conn.tcb.rtt.samples == before


# The window


def test_an_old_segment_with_a_new_acknowledgement_does_not_set_the_window() -> None:
    # RFC 9293 section 3.10.7.4: "SND.WL1 < SEG.SEQ or (SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK)".
    peer = sender(1)
    peer.segment(".", seq=1, ack=1, data=bytes(100), wnd=5000)
    peer.segment(".", seq=101, ack=1, wnd=6000)
    peer.segment(".", seq=1, ack=1 + MSS, data=bytes(150), wnd=7000)
    assert peer.conn.tcb.snd_wnd == 6000
    assert peer.received == bytes(150)


def test_an_old_acknowledgement_does_not_set_the_window() -> None:
    peer = sender(2)
    peer.segment(".", seq=1, ack=1 + MSS, wnd=5000)
    peer.segment(".", seq=1, ack=1, wnd=9000)
    assert peer.conn.tcb.snd_wnd == 5000


def test_duplicates_older_than_what_set_the_window_still_count() -> None:
    # The peer's own data came out of order and its window counts; what repeats the acknowledgement before it does not
    # tell of a window, and is no less a duplicate.
    peer = sender(6)
    peer.segment(".", seq=1001, ack=1, data=b"x", wnd=30_000)
    for _ in range(3):
        peer.segment(".", seq=1, ack=1, wnd=20_000)
    assert peer.conn.tcb.snd_wnd == 30_000
    assert peer.counters.duplicate_acks_received == 3


def test_each_time_the_peer_takes_window_back_is_counted() -> None:
    # MUST-34
    peer = sender(4)
    peer.segment(".", ack=1, wnd=9000)
    peer.segment(".", ack=1, wnd=8000)
    # It moves on with what is acknowledged, and opens: neither takes anything back.
    peer.segment(".", ack=1 + MSS, wnd=7000)
    peer.segment(".", ack=1 + MSS, wnd=7500)
    assert peer.counters.window_shrunk_by_peer == 2


def test_a_window_that_opens_ends_the_probing_of_it() -> None:
    peer = sender(0)
    peer.segment(".", ack=1, wnd=0)
    peer.send(bytes(3 * MSS))
    for _ in range(4):
        peer.next_timer()
        peer.segment(".", ack=1, wnd=0)
    t = peer.conn.tcb
    assert t.probes > 0
    out = peer.segment(".", ack=1, wnd=10_000)
    assert sum(len(seg.payload) for seg in out) == 3 * MSS
    assert (t.probes, t.rtt.backoff) == (0, 0)
    # Nothing is left of the intervals between probes.
    assert peer.conn.next_timeout() <= peer.now + t.rtt.base_rto


def test_what_was_sent_into_a_closed_window_is_waited_for_anew_when_it_opens() -> None:
    peer = sender(2)
    # Now it is closed over what is in flight, and retransmissions are probes of it.
    peer.segment(".", ack=1, wnd=0)
    for _ in range(3):
        peer.next_timer()
        peer.segment(".", ack=1, wnd=0)
    t = peer.conn.tcb
    assert t.rtt.backoff > 0
    peer.now += 3 * SECOND
    peer.segment(".", ack=1, wnd=10_000, poll=False)
    assert (t.probes, t.rtt.backoff) == (0, 0)
    assert peer.conn.next_timeout() == peer.now + t.rtt.base_rto
    assert t.unanswered_since == peer.now


# Blocks of SACK


def test_blocks_that_say_nothing_do_not_hide_those_behind_them() -> None:
    peer = sender(8)
    blocks = [
        (1 + 5 * MSS, 1 + 4 * MSS),  # turned round
        (1 + 20 * MSS, 1 + 21 * MSS),  # never sent
        (1 + 3 * MSS, 1 + 4 * MSS),
    ]
    peer.segment(".", ack=1 + MSS, sack=blocks)
    assert peer.conn.tcb.scoreboard.sacked == MSS


def test_a_duplicate_is_reported_first_and_the_rest_still_counts() -> None:
    # RFC 2883 section 4: below the cumulative acknowledgement.
    peer = sender(8)
    peer.segment(".", ack=1 + 2 * MSS)
    peer.segment(".", ack=1 + 2 * MSS, sack=[(1, 1 + MSS), (1 + 3 * MSS, 1 + 4 * MSS)])
    assert peer.counters.dsack_received == 1
    assert peer.conn.tcb.scoreboard.sacked == MSS


@pytest.mark.parametrize("duplicate", [(3, 4), (4, 5), (3, 5)], ids=["its first segment", "its last", "all of it"])
def test_a_duplicate_above_the_cumulative_acknowledgement_lies_in_the_second_block(
    duplicate: tuple[int, int],
) -> None:
    # RFC 2883 section 4 (4), edges included; what the second block says is held is held.
    peer = sender(8)
    block = (1 + 3 * MSS, 1 + 5 * MSS)
    peer.segment(".", ack=1 + MSS, sack=[block])
    left, right = duplicate
    peer.segment(".", ack=1 + MSS, sack=[(1 + left * MSS, 1 + right * MSS), block])
    assert peer.counters.dsack_received == 1
    assert peer.conn.tcb.dsacks_received == 1
    assert peer.conn.tcb.scoreboard.sacked == 2 * MSS


def test_only_the_first_block_reports_a_duplicate() -> None:
    peer = sender(8)
    peer.segment(".", ack=1 + 2 * MSS)
    peer.segment(".", ack=1 + 2 * MSS, sack=[(1 + 3 * MSS, 1 + 4 * MSS), (1, 1 + MSS)])
    assert peer.counters.dsack_received == 0


def test_every_report_of_a_duplicate_is_counted() -> None:
    peer = sender(8)
    peer.segment(".", ack=1 + 4 * MSS)
    for _ in range(3):
        peer.segment(".", ack=1 + 4 * MSS, sack=[(1, 1 + MSS)])
    assert peer.counters.dsack_received == peer.conn.tcb.dsacks_received == 3


# What it ends


def test_octets_that_are_acknowledged_add_up() -> None:
    peer = sender(4)
    for ack in (1, 3, 4):
        peer.segment(".", ack=1 + ack * MSS)
    assert peer.conn.tcb.bytes_acked == 4 * MSS


def test_urgent_data_is_urgent_until_it_is_acknowledged() -> None:
    peer = sender()
    assert peer.conn.send_urgent(peer.now, b"now") == 3
    peer.output()
    t = peer.conn.tcb
    peer.segment(".", ack=3)
    assert t.snd_urgent
    peer.segment(".", ack=4)
    assert not t.snd_urgent


def test_room_in_the_send_buffer_is_told_once() -> None:
    peer = ScriptedPeer(TcpConfig(snd_buf=6000, timestamps=False))
    peer.establish(mss=MSS)
    assert peer.conn.send(peer.now, bytes(7000)) == 6000
    peer.output()
    peer.segment(".", ack=3001)
    peer.events = 0
    peer.segment(".", ack=4001)
    assert not peer.events & EVENT_WRITABLE


def test_the_user_timeout_counts_from_what_is_outstanding_now() -> None:
    # What was acknowledged long ago leaves nothing behind.
    peer = sender(user_timeout=20 * SECOND)
    peer.send(b"one")
    peer.now += RTT
    peer.segment(".", ack=4)
    peer.advance(100 * SECOND)
    peer.send(b"two")
    peer.advance(19 * SECOND)
    assert peer.state == "ESTABLISHED"
    peer.advance(2 * SECOND)
    assert peer.state == "CLOSED"
    assert peer.conn.error == errno.ETIMEDOUT


def test_nothing_is_waited_for_once_all_is_acknowledged() -> None:
    peer = sender(3)
    peer.now += RTT
    peer.segment(".", ack=1 + 3 * MSS)
    assert peer.conn.next_timeout() == NEVER
    assert peer.conn.tcb.unanswered_since < 0


def test_the_octet_before_the_fin_does_not_acknowledge_it() -> None:
    peer = sender(1)
    peer.close()
    peer.segment(".", ack=1 + MSS)
    assert peer.state == "FIN_WAIT_1"
    peer.segment(".", ack=2 + MSS)
    assert peer.state == "FIN_WAIT_2"

"""Recoveries that were a mistake: RFC 3522, RFC 3708, RFC 4015, RFC 5682."""

from __future__ import annotations

import pytest
from tests.tcp.flight import MSS, RTT, at, flight

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import LOSS, OPEN, RECOVERY
from plankroad.testing.pair import Pair
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import Segment


@pytest.mark.requirement("undo")
def test_dsacks_for_all_that_was_sent_again_undo_a_recovery() -> None:
    # RFC 3708 section 3.
    peer = flight(10)
    cwnd = peer.conn.tcb.cc.cwnd
    out = peer.segment(".", ack=at(0), sack=[(at(2), at(6))])
    out += peer.segment(".", ack=at(0), sack=[(at(2), at(8))])
    assert [s.seq for s in out] == [at(0), at(1)]
    peer.segment(".", ack=at(8))
    assert peer.conn.tcb.cc.cwnd < cwnd
    peer.segment(".", ack=at(10))
    peer.segment(".", ack=at(10), sack=[(at(0), at(1))])
    assert peer.conn.tcb.cc.cwnd < cwnd
    peer.segment(".", ack=at(10), sack=[(at(1), at(2))])
    assert peer.conn.tcb.cc.cwnd >= cwnd
    assert peer.counters.undone_dsack == 1
    assert peer.conn.tcb.rack.reordering_seen


def test_one_needed_retransmission_among_needless_ones_keeps_the_reduction() -> None:
    peer = flight(10)
    cwnd = peer.conn.tcb.cc.cwnd
    peer.segment(".", ack=at(0), sack=[(at(2), at(8))])
    peer.segment(".", ack=at(0), sack=[(at(2), at(9))])
    peer.segment(".", ack=at(10))
    for _ in range(5):
        peer.segment(".", ack=at(10), sack=[(at(0), at(1))])
    # Said five times it is still one segment's worth at a time; never more than was sent again is taken off.
    assert peer.counters.undone_dsack <= 1
    fresh = flight(10)
    fresh.segment(".", ack=at(0), sack=[(at(2), at(8))])
    fresh.segment(".", ack=at(0), sack=[(at(2), at(9))])
    fresh.segment(".", ack=at(10))
    fresh.segment(".", ack=at(10), sack=[(at(0), at(1))])
    assert fresh.conn.tcb.cc.cwnd < cwnd
    assert fresh.counters.undone_dsack == 0


def test_a_dsack_of_something_else_undoes_nothing() -> None:
    peer = flight(10)
    peer.segment(".", ack=at(1))
    peer.segment(".", ack=at(1), sack=[(at(2), at(9))])
    cwnd = peer.conn.tcb.cc.cwnd
    peer.segment(".", ack=at(10), sack=[(at(0), at(1))])
    assert peer.conn.tcb.cc.cwnd == cwnd
    assert peer.counters.undone_dsack == 0


@pytest.mark.requirement("undo")
def test_an_original_that_was_overtaken_undoes_a_fast_recovery_by_its_timestamp() -> None:
    # RFC 3522 section 3.2.
    peer = flight(10, ts=True)
    cwnd = peer.conn.tcb.cc.cwnd
    original = peer.last_ts_val
    peer.segment(".", ack=at(0), sack=[(at(1), at(5))])
    assert peer.conn.tcb.congestion == RECOVERY
    peer.advance(5 * MILLISECOND)
    peer.segment(".", ack=at(5), ts_ecr=original)
    assert peer.conn.tcb.congestion == OPEN
    assert peer.conn.tcb.cc.cwnd >= cwnd
    assert peer.counters.undone_eifel == 1
    assert peer.conn.tcb.scoreboard.lost == 0


@pytest.mark.requirement("undo")
def test_the_timer_learns_from_a_timeout_that_was_a_mistake() -> None:
    # RFC 4015 section 3.3: "SRTT <- max (SRTT_prev, RTT-SAMPLE)".
    peer = flight(10, ts=True)
    rto = peer.conn.tcb.rtt.base_rto
    original = peer.last_ts_val
    peer.timeout()
    peer.advance(RTT)
    peer.segment(".", ack=at(1), ts_ecr=original)
    assert peer.counters.undone_eifel == 1
    assert peer.conn.tcb.rtt.base_rto >= peer.conn.tcb.rtt.srtt + 200 * MILLISECOND
    assert peer.conn.tcb.rtt.base_rto > rto


@pytest.mark.requirement("undo")
def test_a_timeout_that_was_a_mistake_is_no_sign_of_reordering() -> None:
    # A delay held all of it up; nothing overtook anything, as it does where fast recovery was wrong.
    peer = flight(10, ts=True)
    original = peer.last_ts_val
    peer.timeout()
    peer.advance(3 * RTT)
    peer.segment(".", ack=at(1), ts_ecr=original)
    t = peer.conn.tcb
    assert peer.counters.undone_eifel == 1
    assert not t.rack.reordering_seen
    assert peer.counters.reordering_seen == 0


@pytest.mark.requirement("undo")
def test_the_mean_after_a_timeout_that_was_a_mistake_is_the_round_trip_that_it_met() -> None:
    # RFC 4015 section 3.3: "SRTT <- max (SRTT_prev, RTT-SAMPLE)", "RTTVAR <- max (RTTVAR_prev, RTT-SAMPLE/2)".
    peer = flight(10, ts=True)
    sent = peer.now - RTT
    original = peer.last_ts_val
    peer.timeout()
    peer.advance(RTT)
    peer.segment(".", ack=at(1), ts_ecr=original)
    sample = peer.now - sent
    assert (peer.conn.tcb.rtt.srtt, peer.conn.tcb.rtt.rttvar) == (sample, sample // 2)


@pytest.mark.requirement("undo")
def test_a_timeout_that_was_a_mistake_gives_back_the_fast_recovery_that_it_broke_off() -> None:
    peer = flight(10, ts=True)
    peer.segment(".", ack=at(0), sack=[(at(1), at(5))])
    t = peer.conn.tcb
    assert t.congestion == RECOVERY
    recover = t.recover
    resent = peer.last_ts_val
    peer.timeout()
    assert t.congestion == LOSS
    peer.advance(5 * MILLISECOND)
    # The answer is to what fast recovery sent again, before the timer expired.
    peer.segment(".", ack=at(5), ts_ecr=resent)
    assert peer.counters.undone_eifel == 1
    assert (t.congestion, t.recover) == (RECOVERY, recover)


@pytest.mark.requirement("f-rto")
@pytest.mark.parametrize("sack", [True, False])
def test_f_rto_finds_a_delay_that_only_looked_like_loss(sack: bool) -> None:
    # RFC 5682 section 2.1 and 3.1, without timestamps: all the flight was held up for a second.
    peer = flight(10, sack=sack)
    cwnd = peer.conn.tcb.cc.cwnd
    peer.conn.send(peer.now, bytes(10 * MSS))
    [first] = peer.timeout()
    assert first.seq == at(0)
    new = peer.conn.tcb.snd_nxt - peer.conn.tcb.iss
    peer.advance(10 * MILLISECOND)
    # Step 2b: two new segments.
    out = peer.segment(".", ack=at(1))
    assert [s.seq for s in out] == [new, new + MSS]
    # Step 3b: an original arrives.
    out = peer.segment(".", ack=at(2))
    assert peer.counters.undone_frto == 1
    assert peer.conn.tcb.congestion == OPEN
    assert peer.conn.tcb.cc.cwnd >= cwnd
    assert all(s.seq >= new for s in out)


@pytest.mark.requirement("f-rto")
def test_f_rto_goes_back_when_the_new_data_overtakes_what_is_missing() -> None:
    # Step 3a.
    for sack in (True, False):
        peer = flight(10, sack=sack)
        peer.conn.send(peer.now, bytes(10 * MSS))
        peer.timeout()
        new = peer.conn.tcb.snd_nxt - peer.conn.tcb.iss
        peer.advance(RTT)
        peer.segment(".", ack=at(1))
        peer.advance(RTT)
        out = peer.segment(".", ack=at(1), sack=[(new, new + MSS)] if sack else None)
        out += peer.segment(".", ack=at(1), sack=[(new, new + 2 * MSS)] if sack else None)
        assert peer.counters.undone_frto == 0
        assert peer.conn.tcb.congestion == LOSS
        assert out[0].seq == at(1)


def test_f_rto_without_new_data_is_the_ordinary_recovery() -> None:
    # Step 2b: "If the TCP sender does not have any new data to send".
    peer = flight(10)
    peer.timeout()
    peer.advance(RTT)
    out = peer.segment(".", ack=at(1))
    assert [s.seq for s in out][:1] == [at(1)]


def test_a_delay_spike_in_the_middle_of_a_transfer_costs_no_window() -> None:
    # All packets from 1 s to 2.5 s are held up until then, in order: every recovery of that is taken back.
    start = 0

    def rule(number: int, sender: str, seg: Segment) -> list[int]:
        at_now = pair.now - start
        if start and SECOND <= at_now < 5 * SECOND // 2:
            return [5 * SECOND // 2 - at_now]
        return [0]

    # Without timestamps the second timeout of the same data leaves F-RTO no question to ask (RFC 5682 section 2.1, step
    # 1): one timeout is what that finds.
    for ts in (True, False):
        start = 0
        config = TcpConfig(timestamps=ts, congestion_control="newreno", min_rto=200 * MILLISECOND if ts else SECOND)
        pair = Pair(config, rule=rule, delay=50 * MILLISECOND)
        pair.connect()
        start = pair.now
        sender = pair.a.connection
        assert sender is not None
        sender.tcb.cc.ssthresh = 60_000
        written = 0
        while pair.now - start < 6 * SECOND:
            room = sender.tcb.snd_buf_limit - len(sender.tcb.snd_buf)
            if room > 0:
                written += sender.send(pair.now, bytes(min(room, 200_000)))
            pair.run_for(20 * MILLISECOND)
            if pair.now - start < SECOND:
                before = sender.tcb.cc.cwnd
        assert pair.a_counters.timeouts >= 1
        assert pair.a_counters.spurious_recoveries >= 1
        assert sender.tcb.cc.cwnd >= before


def test_an_undo_restores_once() -> None:
    peer = flight(10, ts=True)
    original = peer.last_ts_val
    peer.segment(".", ack=at(0), sack=[(at(1), at(5))])
    peer.advance(5 * MILLISECOND)
    peer.segment(".", ack=at(5), ts_ecr=original)
    cwnd = peer.conn.tcb.cc.cwnd
    peer.segment(".", ack=at(5), sack=[(at(0), at(1))])
    peer.segment(".", ack=at(6), ts_ecr=original)
    assert peer.counters.spurious_recoveries == 1
    assert peer.conn.tcb.cc.cwnd <= cwnd + 2 * MSS

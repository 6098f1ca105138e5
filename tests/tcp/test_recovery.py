"""Loss found and repaired: RFC 6298, RFC 5681, RFC 6582, RFC 6675, RFC 3042, RFC 3522."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import LOSS, OPEN, RECOVERY
from plankroad.testing.pair import Pair
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.segment import Segment

MSS = 1000


def established(sack: bool = True, ts: bool = False, segments: int = 10, **options: object) -> ScriptedPeer:
    """A connection whose peer has an MSS of 1000, with that many segments in flight."""
    config = TcpConfig(timestamps=ts, sack=sack, initial_window=segments, congestion_control="newreno")
    for name, value in options.items():
        setattr(config, name, value)
    peer = ScriptedPeer(config)
    peer.establish(mss=MSS + (12 if ts else 0), sack=sack, ts=ts, wnd=65535)
    out = peer.send(bytes(segments * MSS))
    assert [s.seq for s in out] == [1 + i * MSS for i in range(segments)]
    peer.advance(50 * MILLISECOND)
    return peer


def at(i: int) -> int:
    """Sequence number of the first octet of segment `i`."""
    return 1 + i * MSS


@pytest.mark.requirement("MUST-19")
def test_the_timeout_doubles_and_is_bounded() -> None:
    # RFC 6298 (5.5), (2.5).
    peer = established(segments=1, max_rto=3 * SECOND, r2=60 * SECOND)
    times = []
    for _ in range(6):
        peer.next_timer()
        times.append(peer.now)
    steps = [b - a for a, b in itertools.pairwise(times)]
    rto = steps[0] // 2
    assert steps[:3] == [2 * rto, 4 * rto, 8 * rto] or steps[-1] == 3 * SECOND
    assert steps[-1] == 3 * SECOND


@pytest.mark.requirement("MUST-18")
def test_the_timeout_follows_the_round_trip() -> None:
    # RFC 6298 (2.2), (2.3).
    peer = ScriptedPeer(TcpConfig(timestamps=False))
    peer.establish(rtt=800 * MILLISECOND)
    rtt = peer.conn.tcb.rtt
    assert (rtt.srtt, rtt.rttvar, rtt.rto()) == (800 * MILLISECOND, 400 * MILLISECOND, 2400 * MILLISECOND)
    peer.send(b"x")
    peer.advance(400 * MILLISECOND)
    peer.segment(".", ack=2)
    # RTTVAR <- 3/4 * 400 ms + 1/4 * |800 - 400| ms; SRTT <- 7/8 * 800 ms + 1/8 * 400 ms
    assert rtt.rttvar == 400 * MILLISECOND
    assert rtt.srtt == 750 * MILLISECOND
    assert rtt.rto() == rtt.srtt + 4 * rtt.rttvar


@pytest.mark.requirement("MUST-18")
def test_minimum_timeout_is_configurable() -> None:
    for minimum in (200 * MILLISECOND, SECOND):
        peer = ScriptedPeer(TcpConfig(min_rto=minimum))
        peer.establish(rtt=1 * MILLISECOND)
        # The bound is on what comes on top of the round trip.
        assert peer.conn.tcb.rtt.rto() == minimum + 1 * MILLISECOND


@pytest.mark.requirement("MUST-18")
def test_no_sample_is_taken_from_a_retransmitted_segment() -> None:
    # Karn's algorithm: RFC 6298 section 3.
    peer = established(segments=1)
    samples = peer.conn.tcb.rtt.samples
    peer.next_timer()
    peer.advance(10 * MILLISECOND)
    peer.segment(".", ack=at(1))
    assert peer.conn.tcb.rtt.samples == samples


@pytest.mark.requirement("MUST-18")
def test_no_sample_is_taken_from_what_waited_for_a_retransmission() -> None:
    # The rest of the flight came long ago, but nothing could acknowledge it: its time is no round trip.
    peer = established(sack=False)
    samples = peer.conn.tcb.rtt.samples
    peer.timeout()
    peer.advance(10 * MILLISECOND)
    peer.segment(".", ack=at(10))
    assert peer.conn.tcb.rtt.samples == samples


@pytest.mark.requirement("rttm")
def test_timestamps_give_a_sample_of_a_retransmitted_segment() -> None:
    peer = established(segments=1, ts=True)
    samples = peer.conn.tcb.rtt.samples
    peer.next_timer()
    peer.advance(30 * MILLISECOND)
    peer.segment(".", ack=at(1))
    assert peer.conn.tcb.rtt.samples == samples + 1
    assert peer.conn.tcb.rtt.latest == 30 * MILLISECOND


def test_an_acknowledgement_of_new_data_restarts_the_timer_and_of_all_data_stops_it() -> None:
    # RFC 6298 (5.2), (5.3).
    peer = established(segments=2)
    before = peer.conn.next_timeout()
    peer.segment(".", ack=at(1))
    assert peer.conn.next_timeout() > before
    peer.segment(".", ack=at(2))
    assert peer.conn.next_timeout() > 1 << 61


@pytest.mark.requirement("MUST-19")
def test_a_timeout_sends_one_segment_and_slow_starts() -> None:
    # RFC 5681 section 3.1.
    peer = established()
    [first] = peer.timeout()
    assert first.seq == at(0)
    cc = peer.conn.tcb.cc
    assert cc.cwnd == MSS
    assert cc.ssthresh == 5 * MSS
    assert peer.conn.tcb.congestion == LOSS
    peer.advance(50 * MILLISECOND)
    out = peer.segment(".", ack=at(1))
    assert [s.seq for s in out] == [at(1), at(2)]


def test_a_second_timeout_does_not_halve_ssthresh_again() -> None:
    # RFC 5681 section 3.1: "ssthresh is held constant".
    peer = established(mtu_probing="off")
    peer.timeout()
    ssthresh = peer.conn.tcb.cc.ssthresh
    peer.timeout()
    assert peer.conn.tcb.cc.ssthresh == ssthresh


def test_three_duplicates_retransmit_without_a_timeout() -> None:
    # RFC 5681 section 3.2, RFC 6582.
    peer = established(sack=False)
    assert peer.segment(".", ack=at(0)) == []
    assert peer.segment(".", ack=at(0)) == []
    out = peer.segment(".", ack=at(0))
    assert out[0].seq == at(0)
    cc = peer.conn.tcb.cc
    assert cc.ssthresh == cc.cwnd or cc.cwnd >= cc.ssthresh
    assert peer.conn.tcb.congestion == RECOVERY
    assert peer.counters.recoveries_newreno == 1
    assert peer.counters.timeouts == 0


@pytest.mark.requirement("limited-transmit")
def test_limited_transmit_sends_new_data_on_the_first_two_duplicates() -> None:
    # RFC 3042.
    peer = established(sack=False)
    peer.conn.send(peer.now, bytes(5 * MSS))
    assert peer.output() == []
    assert [s.seq for s in peer.segment(".", ack=at(0))] == [at(10)]
    assert [s.seq for s in peer.segment(".", ack=at(0))] == [at(11)]
    assert peer.segment(".", ack=at(0))[0].seq == at(0)


@pytest.mark.requirement("newreno")
def test_newreno_repairs_a_hole_with_each_partial_acknowledgement() -> None:
    # RFC 6582 section 3.2 (3).
    peer = established(sack=False)
    for _ in range(3):
        peer.segment(".", ack=at(0))
    for hole in (3, 6):
        out = peer.segment(".", ack=at(hole))
        assert out[0].seq == at(hole)
    assert peer.conn.tcb.congestion == RECOVERY
    peer.segment(".", ack=at(10))
    assert peer.conn.tcb.congestion == OPEN
    assert peer.counters.timeouts == 0


@pytest.mark.requirement("newreno")
def test_duplicates_of_a_timeouts_retransmissions_start_no_fast_retransmit() -> None:
    # RFC 6582 section 3.2 (2) and section 4.1: `recover`.
    peer = established(sack=False)
    peer.next_timer()
    peer.segment(".", ack=at(1))
    for _ in range(4):
        peer.segment(".", ack=at(1))
    assert peer.counters.recoveries_newreno == 0


@pytest.mark.requirement("sack-recovery")
def test_sack_recovery_repairs_several_holes_in_a_round_trip() -> None:
    # RFC 6675: segments 0, 2 and 4 are lost.
    peer = established()
    peer.segment(".", ack=at(0), sack=[(at(1), at(2))])
    peer.segment(".", ack=at(0), sack=[(at(3), at(4)), (at(1), at(2))])
    out = peer.segment(".", ack=at(0), sack=[(at(5), at(10)), (at(3), at(4)), (at(1), at(2))])
    assert [s.seq for s in out] == [at(0), at(2), at(4)]
    assert peer.counters.timeouts == 0
    assert peer.counters.recoveries_sack == 1
    peer.segment(".", ack=at(10))
    assert peer.conn.tcb.congestion == OPEN


def test_sack_recovery_begins_without_three_acks_when_enough_octets_are_sacked() -> None:
    # RFC 6675 section 5 (2): one ACK may report what three would have (they were lost, or coalesced).
    peer = established()
    out = peer.segment(".", ack=at(0), sack=[(at(1), at(4))])
    assert out[0].seq == at(0)


def test_two_sacked_segments_are_not_enough() -> None:
    peer = established()
    assert peer.segment(".", ack=at(0), sack=[(at(1), at(3))]) == []
    assert peer.conn.tcb.congestion == OPEN


@pytest.mark.requirement("sack-recovery")
def test_the_pipe_bounds_what_recovery_sends() -> None:
    # RFC 6675 section 5 (C): 30 in flight, the first 15 lost; cwnd becomes 15, and 15 are in the pipe at the most.
    peer = established(segments=30)
    sent = peer.segment(".", ack=at(0), sack=[(at(15), at(18))])
    for i in range(19, 31):
        sent += peer.segment(".", ack=at(0), sack=[(at(15), at(i))])
        t = peer.conn.tcb
        assert t.pipe() <= max(t.cc.cwnd, MSS)
    assert [s.seq for s in sent] == [at(i) for i in range(len(sent))]
    assert 10 <= len(sent) <= 15


@pytest.mark.requirement("sack-recovery")
def test_a_lost_tail_is_found_by_the_arrival_of_a_retransmission() -> None:
    # RFC 8985 section 9.1: segment 0 and the last two are lost; segment 0 was sent again after those, and arrived.
    peer = established()
    out = peer.segment(".", ack=at(0), sack=[(at(1), at(8))])
    assert [s.seq for s in out] == [at(0)]
    peer.advance(50 * MILLISECOND)
    out = peer.segment(".", ack=at(8))
    assert [s.seq for s in out] == [at(8), at(9)]
    assert peer.counters.timeouts == 0


def test_any_hole_below_three_sacked_segments_is_lost() -> None:
    # RFC 8985 section 6.2, step 4: no reordering was seen, so there is no time to settle: segment 8 is sent at once.
    peer = established()
    out = peer.segment(".", ack=at(0), sack=[(at(9), at(10)), (at(1), at(8))])
    assert [s.seq for s in out] == [at(0), at(8)]


@pytest.mark.requirement("sack")
def test_a_peer_that_reneges_gets_everything_again() -> None:
    # RFC 2018 section 8.
    peer = established()
    peer.segment(".", ack=at(0), sack=[(at(1), at(10))])
    peer.segment(".", ack=at(1), sack=[(at(1), at(10))], poll=False)
    t = peer.conn.tcb
    peer.output()
    while t.scoreboard.sacked:
        peer.next_timer()
        assert peer.now < 100 * SECOND
    assert peer.counters.sack_reneging == 1
    sent: set[int] = set()
    while not t.scoreboard.is_empty() and peer.now < 300 * SECOND:
        for seg in peer.segment(".", ack=t.snd_una - t.iss) + peer.next_timer():
            sent.add(seg.seq)
            if seg.seq == t.snd_una - t.iss:
                peer.segment(".", ack=seg.seq + len(seg.payload))
    assert t.scoreboard.is_empty()


def test_a_block_outside_of_what_was_sent_is_ignored() -> None:
    peer = established()
    peer.segment(".", ack=at(0), sack=[(at(9), at(12)), (at(5), at(5)), (at(7), at(6))])
    assert peer.conn.tcb.scoreboard.sacked == 0


@pytest.mark.requirement("spurious-timeouts")
def test_a_spurious_timeout_is_undone() -> None:
    # RFC 3522, RFC 4015: the original was only late; its ACK echoes its own timestamp.
    peer = established(ts=True)
    original = peer.last_ts_val
    cwnd = peer.conn.tcb.cc.cwnd
    peer.timeout()
    assert peer.conn.tcb.cc.cwnd < cwnd
    peer.advance(5 * MILLISECOND)
    out = peer.segment(".", ack=at(1), ts_ecr=original)
    assert peer.counters.spurious_recoveries == 1
    assert peer.conn.tcb.cc.cwnd >= cwnd
    assert out == []  # nothing else is sent again


@pytest.mark.requirement("spurious-timeouts")
def test_a_real_timeout_is_not_undone() -> None:
    peer = established(ts=True)
    peer.timeout()
    peer.advance(5 * MILLISECOND)
    peer.segment(".", ack=at(1))
    assert peer.counters.spurious_recoveries == 0


def test_a_smaller_path_mtu_sends_again_without_slowing_down() -> None:
    # RFC 8201 section 5.4, RFC 1191 section 6.5.
    peer = established()
    cwnd = peer.conn.tcb.cc.cwnd
    peer.conn.set_path_mtu(peer.now, 640)
    out = peer.output()
    assert out[0].seq == at(0)
    assert max(len(s.payload) for s in out) == 600
    assert peer.conn.tcb.cc.cwnd >= cwnd * 6 // 10
    while peer.conn.tcb.snd_una < peer.conn.tcb.snd_nxt:
        last = out[-1]
        out = peer.segment(".", ack=last.seq + len(last.payload))
    assert peer.counters.timeouts == 0
    assert peer.counters.recoveries_sack == 0
    assert peer.counters.retransmitted_path_mtu == peer.counters.retransmitted > 0
    assert peer.conn.tcb.congestion == OPEN


def lose(*numbers: int) -> Callable[[int, str, Segment], list[int]]:
    """Drops the data segments of `a` with these numbers, from 1, the first time."""
    count = [0]

    def rule(n: int, who: str, seg: Segment) -> list[int]:
        if who == "a" and seg.payload:
            count[0] += 1
            if count[0] in numbers:
                return []
        return [0]

    return rule


@pytest.mark.parametrize("sack", [True, False])
@pytest.mark.parametrize("lost", [(1,), (5,), (5, 6, 7), (3, 9, 14), (1, 30)])
def test_loss_in_the_middle_of_a_transfer_needs_no_timeout(sack: bool, lost: tuple[int, ...]) -> None:
    pair = Pair(TcpConfig(sack=sack), rule=lose(*lost))
    pair.connect()
    data = bytes(range(256)) * 800
    assert pair.a.send(data) == len(data)
    pair.run()
    assert pair.b.received == data
    assert pair.a_counters.timeouts == 0
    # Without SACK a recovery may send again what was not lost; with it, what was lost and at most a probe.
    if sack:
        assert len(lost) <= pair.a_counters.retransmitted <= len(lost) + 1


def test_sack_repairs_a_loss_right_at_the_end_of_a_recovery() -> None:
    # The first segment sent in the recovery is lost too. RFC 6582 without SACK waits for the timer there (section 4).
    pair = Pair(TcpConfig(sack=True), rule=lose(3, 9, 12))
    pair.connect()
    pair.a.send(bytes(200_000))
    pair.run()
    assert len(pair.b.received) == 200_000
    assert pair.a_counters.timeouts == 0


def test_super_segments_recover_by_byte_ranges() -> None:
    pair = Pair(gso=64000, rule=lose(2))
    pair.connect()
    data = bytes(range(256)) * 4000
    pair.a.send(data)
    pair.run()
    assert pair.b.received == data
    assert any(seg.gso_size for _, seg in pair.a.sent)


def test_a_needless_retransmission_is_reported_and_counted() -> None:
    # RFC 2883.
    peer = established()
    peer.segment(".", ack=at(0), sack=[(at(0) - 1, at(0))])
    peer.segment(".", ack=at(5))
    peer.segment(".", ack=at(5), sack=[(at(1), at(2))])
    assert peer.counters.dsack_received >= 1

"""Where the mechanisms of recovery meet each other, programs that keep writing, and peers that renege."""

from __future__ import annotations

import pytest
from tests.tcp.flight import MSS, RTT, at, flight

from plankroad.tcp import recovery
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.constants import CWR, OPEN, RECOVERY, TIMER_PROBE
from plankroad.testing.scripted import ScriptedPeer
from plankroad.units import MILLISECOND, NEVER, SECOND


def test_a_program_that_keeps_writing_does_not_put_the_timeout_off() -> None:
    # RFC 8985 section 7.3: a probe is sent once; after it RTO "remains the last resort".
    peer = ScriptedPeer(TcpConfig(nagle="off", initial_window=200, timestamps=False))
    peer.establish(mss=MSS, wnd=65535, rtt=RTT)
    began = peer.now
    while peer.conn.tcb.timeouts == 0:
        peer.send(bytes(100))
        peer.advance(20 * MILLISECOND)
        assert peer.now - began < SECOND
    assert peer.counters.tail_loss_probes == 1


def test_a_mark_on_the_ack_that_empties_the_flight_leaves_a_window() -> None:
    peer = flight(10)
    t = peer.conn.tcb
    peer.segment(".", ack=at(10))
    cwnd = t.cc.cwnd
    t.fresh_acked = 10 * MSS
    recovery.on_mark(t, peer.now)
    assert t.congestion == OPEN
    assert not t.prr.active
    assert t.window() == t.cc.cwnd
    assert 5 * MSS <= t.cc.cwnd < cwnd
    assert len(peer.send(bytes(5 * MSS))) == 5


def test_without_sack_a_mark_leaves_fast_retransmit_as_it_is() -> None:
    # RFC 6582's recover is that of fast recoveries and timeouts.
    peer = flight(20, sack=False)
    peer.segment(".", ack=at(2))
    recovery.on_mark(peer.conn.tcb, peer.now)
    assert peer.conn.tcb.congestion == CWR
    out = [s.seq for _ in range(3) for s in peer.segment(".", ack=at(2))]
    assert at(2) in out
    assert peer.conn.tcb.congestion == RECOVERY
    assert peer.counters.timeouts == 0


@pytest.mark.parametrize("algorithm", ["cubic", "newreno", "bbr"])
def test_a_smaller_path_mtu_in_a_recovery_ends_it_for_the_algorithm_too(algorithm: str) -> None:
    peer = flight(10, congestion_control=algorithm)
    exits = []
    cc = peer.conn.tcb.cc
    peer.segment(".", ack=at(0), sack=[(at(1), at(6))])
    assert peer.conn.tcb.congestion == RECOVERY
    before = cc.recovery_cwnd
    peer.conn.set_path_mtu(peer.now, 700)
    exits.append(cc.recovery_cwnd)
    assert before == 0 or exits == [0]
    if algorithm == "bbr":
        assert not getattr(cc, "recovering", False)


def test_a_smaller_path_mtu_in_a_recovery_ends_the_rate_reduction() -> None:
    # What is sent again because it did not fit is bounded by cwnd alone; RFC 9937 meters what follows a loss.
    peer = flight(20)
    peer.segment(".", ack=at(0), sack=[(at(1), at(6))])
    t = peer.conn.tcb
    assert t.prr.active
    peer.conn.set_path_mtu(peer.now, 540)
    assert not t.prr.active
    assert t.window() == t.cc.cwnd
    out = peer.output()
    assert {len(seg.payload) for seg in out} == {500}
    assert sum(len(seg.payload) for seg in out) == t.cc.cwnd // 500 * 500


def test_no_probe_follows_data_that_has_just_left() -> None:
    peer = flight(2, nagle="off")
    peer.segment(".", ack=at(1))
    peer.now = peer.conn.next_timeout()
    peer.conn.handle_timeout(peer.now)
    out = peer.send(b"x" * 300)
    assert [(s.seq, len(s.payload)) for s in out] == [(at(2), 300)]


def test_the_tail_is_probed_while_marks_are_answered() -> None:
    peer = flight(20)
    peer.segment(".", ack=at(10))
    recovery.on_mark(peer.conn.tcb, peer.now)
    peer.segment(".", ack=at(12))
    assert peer.conn.tcb.congestion == CWR
    assert peer.conn.tcb.timers[TIMER_PROBE] != NEVER


def test_a_round_trip_of_long_ago_does_not_hold_back_what_has_nothing_before_it() -> None:
    peer = ScriptedPeer(TcpConfig(congestion_control="newreno", timestamps=False, initial_window=4), pacing=True)
    peer.establish(mss=MSS, wnd=65535, rtt=3 * SECOND)
    peer.send(bytes(60 * MSS))
    began = peer.now
    acked = 1
    for _ in range(40):
        sent = peer.conn.tcb.snd_nxt - peer.conn.tcb.iss
        if sent == acked:
            peer.next_timer()
            continue
        peer.advance(20 * MILLISECOND)
        acked = sent
        peer.segment(".", ack=acked)
        if acked == at(60):
            break
    assert acked == at(60)
    assert peer.now - began < 2 * SECOND


def test_a_peer_that_reneges_breaks_no_algorithm() -> None:
    # What SACK had joined is one range again, and is lost in one piece.
    for algorithm in ("cubic", "newreno", "bbr", "vegas", "dctcp"):
        peer = flight(10, spacing=MILLISECOND, congestion_control=algorithm)
        peer.segment(".", ack=at(0), sack=[(at(0), at(9))])
        peer.timeout()
        assert peer.counters.sack_reneging == 1
        peer.advance(RTT)
        peer.segment(".", ack=at(10))
        assert peer.conn.tcb.scoreboard.is_empty()

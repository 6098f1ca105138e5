"""Acknowledgements of a peer that wants more than its share, or our time: RFC 5681 section 3.1, RFC 3465, RFC 5961."""

from __future__ import annotations

import random

import pytest
from tests.tcp.flight import MSS, RTT, at, flight

from plankroad.tcp.constants import OPEN

ALGORITHMS = ("cubic", "newreno", "bbr", "vegas", "ledbat", "dctcp")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_segment_acknowledged_in_a_thousand_pieces_grows_the_window_as_one_does(algorithm: str) -> None:
    # ACK division (Savage et al. 1999); RFC 3465: growth is by the bytes acknowledged.
    # LEDBAT begins with two segments (RFC 6817 section 2.4.1).
    segments = 2 if algorithm == "ledbat" else 10
    whole = flight(segments, congestion_control=algorithm)
    whole.segment(".", ack=at(1))
    pieces = flight(segments, congestion_control=algorithm)
    for i in range(1, MSS + 1):
        pieces.segment(".", ack=1 + i)
    assert pieces.conn.tcb.snd_una == whole.conn.tcb.snd_una + pieces.conn.tcb.iss - whole.conn.tcb.iss
    assert pieces.conn.tcb.cc.cwnd <= whole.conn.tcb.cc.cwnd + MSS


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_acknowledging_what_was_not_sent_moves_nothing(algorithm: str) -> None:
    # RFC 5961 section 5.2: SEG.ACK > SND.MAX is discarded and answered by an ACK.
    peer = flight(2, congestion_control=algorithm)
    cwnd = peer.conn.tcb.cc.cwnd
    out = peer.segment(".", ack=at(6))
    assert [s.payload for s in out] == [b""]
    assert (peer.conn.tcb.cc.cwnd, peer.conn.tcb.snd_una - peer.conn.tcb.iss) == (cwnd, 1)
    assert peer.counters.ack_out_of_range == 1


@pytest.mark.parametrize("algorithm", ["cubic", "newreno"])
def test_optimistic_acks_gain_no_more_than_what_was_sent(algorithm: str) -> None:
    # Each segment is acknowledged the moment it leaves: slow start doubles, never more.
    peer = flight(10, congestion_control=algorithm, snd_buf=1 << 20)
    total = 0
    for _ in range(20):
        before = peer.conn.tcb.cc.cwnd
        peer.conn.send(peer.now, bytes(20 * MSS))
        peer.output()
        acked = peer.conn.tcb.snd_nxt - peer.conn.tcb.snd_una
        peer.segment(".", ack=peer.conn.tcb.snd_nxt - peer.conn.tcb.iss)
        total += acked
        assert peer.conn.tcb.cc.cwnd <= before + acked
    assert peer.conn.tcb.cc.cwnd <= 10 * MSS + total + 10 * MSS


def test_sack_blocks_of_nothing_change_nothing() -> None:
    # Inverted, empty, below SND.UNA, beyond SND.MAX, across it, half the sequence space away.
    peer = flight(10)
    peer.segment(".", ack=at(2))
    peer.advance(RTT)
    cwnd = peer.conn.tcb.cc.cwnd
    for block in (
        (at(5), at(4)),
        (at(5), at(5)),
        (at(9), at(11)),
        (at(10), at(12)),
        (at(50), at(60)),
        (at(0) - 500_000, at(1) - 500_000),
        (at(3) + 0x7FFFFFF0, at(4) + 0x7FFFFFF0),
        (at(1) - MSS // 2, at(2) + MSS // 2),
    ):
        assert peer.segment(".", ack=at(2), sack=[block]) == []
        assert peer.conn.tcb.scoreboard.sacked == 0, block
    assert peer.conn.tcb.congestion == OPEN
    assert peer.conn.tcb.cc.cwnd == cwnd


@pytest.mark.parametrize("seed", range(5))
def test_thousands_of_sack_blocks_a_second_cost_a_bounded_scoreboard(seed: int) -> None:
    # SACK Panic and its kin (CVE-2019-11477, -11478): blocks of single octets, everywhere, again and again. `check`
    # in each step holds the invariants; the ranges stay few, and each ACK looks at few of them.
    rng = random.Random(seed)
    peer = flight(60, snd_buf=1 << 20)
    t = peer.conn.tcb
    most = 64 + 2 * 60
    for _ in range(3000):
        blocks = []
        for _ in range(4):
            left = rng.randrange(-2000, 64_000)
            blocks.append((left, left + rng.choice((1, 2, 8, 500, -3))))
        peer.segment(".", ack=at(0), sack=blocks)
        assert len(t.scoreboard.ranges) <= most + 4, f"seed {seed}"
    assert t.cc.cwnd <= 60 * MSS
    # It still ends as it should.
    peer.advance(RTT)
    peer.segment(".", ack=t.snd_nxt - t.iss)
    assert t.scoreboard.is_empty()
    assert t.pipe() == 0

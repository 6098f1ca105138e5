"""NewReno against the arithmetic of RFC 5681 and RFC 3465."""

from __future__ import annotations

import pytest

from plankroad.tcp.cc import ECN, LOSS, AckSample, CongestionControl, create
from plankroad.units import MILLISECOND

SMSS = 1000


def one_round(cc: CongestionControl, per_ack: int = 1) -> None:
    """Acknowledge one window, `per_ack` segments at a time."""
    left = cc.cwnd
    while left > 0:
        n = min(per_ack * SMSS, left)
        cc.on_ack(AckSample(acked=n, srtt=MILLISECOND))
        left -= n


@pytest.mark.requirement("MUST-19")
@pytest.mark.parametrize("per_ack", [1, 2, 5])
def test_congestion_avoidance_adds_one_segment_a_round_trip_however_acks_come(per_ack: int) -> None:
    cc = create("newreno", SMSS, 20 * SMSS)
    cc.ssthresh = 20 * SMSS
    for n in range(1, 31):
        one_round(cc, per_ack)
        assert cc.cwnd == (20 + n) * SMSS


@pytest.mark.requirement("byte-counting")
def test_one_giant_ack_adds_one_segment() -> None:
    cc = create("newreno", SMSS, 10 * SMSS)
    cc.ssthresh = 10 * SMSS
    cc.on_ack(AckSample(acked=1000 * SMSS))
    assert cc.cwnd == 11 * SMSS


@pytest.mark.requirement("byte-counting")
def test_slow_start_adds_no_more_than_two_segments_an_ack() -> None:
    # RFC 3465 section 2.3, where nothing is paced.
    cc = create("newreno", SMSS, 10 * SMSS)
    cc.paced = False
    cc.on_ack(AckSample(acked=9 * SMSS))
    assert cc.cwnd == 12 * SMSS


def test_slow_start_stops_at_ssthresh_and_the_rest_counts_for_avoidance() -> None:
    cc = create("newreno", SMSS, 10 * SMSS)
    cc.ssthresh = 10 * SMSS + 500
    cc.on_ack(AckSample(acked=2 * SMSS))
    assert cc.cwnd == cc.ssthresh
    # 1500 bytes are counted already: 9000 more make a window.
    for _ in range(8):
        cc.on_ack(AckSample(acked=SMSS))
    assert cc.cwnd == cc.ssthresh
    cc.on_ack(AckSample(acked=SMSS))
    assert cc.cwnd == cc.ssthresh + SMSS


def test_sawtooth_halves_and_climbs_back_in_half_a_window_of_round_trips() -> None:
    cc = create("newreno", SMSS, 64 * SMSS)
    cc.on_congestion(0, LOSS, 64 * SMSS)
    cc.on_recovery_exit(0)
    assert cc.cwnd == 32 * SMSS
    rounds = 0
    while cc.cwnd < 64 * SMSS:
        one_round(cc)
        rounds += 1
    assert rounds == 32


def test_two_flows_that_lose_together_become_equal() -> None:
    # Additive increase and multiplicative decrease: the difference halves with each loss.
    a = create("newreno", SMSS, 90 * SMSS)
    b = create("newreno", SMSS, 10 * SMSS)
    a.ssthresh, b.ssthresh = a.cwnd, b.cwnd
    for _ in range(400):
        if a.cwnd + b.cwnd > 100 * SMSS:
            for cc in (a, b):
                cc.on_congestion(0, LOSS, cc.cwnd)
                cc.on_recovery_exit(0)
        one_round(a)
        one_round(b)
    assert abs(a.cwnd - b.cwnd) <= 2 * SMSS


def test_a_mark_costs_a_fifth_in_congestion_avoidance_and_half_in_slow_start() -> None:
    # RFC 8511 section 3: beta_ecn = 0.8.
    cc = create("newreno", SMSS, 100 * SMSS)
    cc.on_congestion(0, ECN, 100 * SMSS)
    assert cc.cwnd == cc.ssthresh == 50 * SMSS
    cc.on_congestion(0, ECN, 50 * SMSS)
    assert cc.cwnd == cc.ssthresh == 40 * SMSS
    # A loss is a loss.
    cc.on_congestion(0, LOSS, 40 * SMSS)
    assert cc.cwnd == 20 * SMSS

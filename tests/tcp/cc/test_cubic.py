"""CUBIC against the formulas of RFC 9438, computed here on their own in segments and seconds."""

from __future__ import annotations

import itertools
import math

import pytest

from plankroad.tcp.cc import ECN, LOSS, TIMEOUT, AckSample, create
from plankroad.tcp.cc.base import INITIAL_SSTHRESH
from plankroad.tcp.cc.cubic import Cubic
from plankroad.units import MILLISECOND, NEVER, SECOND

SMSS = 1448
C = 0.4
BETA = 0.7
ALPHA = 3 * (1 - BETA) / (1 + BETA)


def cubic(segments: int) -> Cubic:
    cc = create("cubic", SMSS, segments * SMSS)
    assert isinstance(cc, Cubic)
    return cc


def one_round(cc: Cubic, start: int, rtt: int, per_ack: int = 1) -> int:
    """A window's ACKs evenly spread over one round trip; the time at its end."""
    n = max(cc.cwnd // SMSS // per_ack, 1)
    for i in range(n):
        now = start + rtt * i // n
        cc.on_ack(AckSample(now=now, acked=per_ack * SMSS, rtt=rtt, srtt=rtt, min_rtt=rtt, round_start=i == 0))
        cc.on_sent(now, per_ack * SMSS, cc.cwnd)
    return start + rtt


@pytest.mark.requirement("MAY-18")
@pytest.mark.parametrize("per_ack", [1, 2, 8])
def test_the_window_follows_the_cubic_through_plateau_and_probing(per_ack: int) -> None:
    # Equations 1 and 2: large window and long round trip, far from the Reno-friendly region.
    w_max = 2000
    rtt = 100 * MILLISECOND
    cc = cubic(w_max)
    cc.on_congestion(0, LOSS, w_max * SMSS)
    cc.on_recovery_exit(0)
    w_epoch = w_max * BETA
    assert cc.cwnd == 1400 * SMSS
    k = ((w_max - w_epoch) / C) ** (1 / 3)
    now = 0
    while now < int(2 * k * SECOND):
        now = one_round(cc, now, rtt, per_ack)
        expected = C * (now / SECOND - k) ** 3 + w_max
        assert cc.cwnd / SMSS == pytest.approx(expected, rel=0.01)
    assert cc.cwnd > w_max * 1.25 * SMSS


def test_k_is_the_time_to_come_back_to_w_max() -> None:
    cc = cubic(1000)
    cc.on_congestion(0, LOSS, 1000 * SMSS)
    cc.on_ack(AckSample(now=SECOND, acked=SMSS, srtt=MILLISECOND))
    assert cc.t_epoch == SECOND
    assert cc.k == pytest.approx(((1000 - 700) / 0.4) ** (1 / 3) * SECOND, rel=1e-6)
    assert cc.w_cubic(0) == pytest.approx(700 * SMSS, rel=1e-6)
    assert cc.w_cubic(cc.k) == pytest.approx(1000 * SMSS)


def test_the_window_never_sinks_without_congestion_and_grows_at_most_half_a_round_trip() -> None:
    # Section 4.2: target lies within [cwnd, 1.5 * cwnd].
    cc = cubic(20)
    cc.on_congestion(0, LOSS, 20 * SMSS)
    cc.on_recovery_exit(0)
    now = 0
    rtt = 2 * SECOND
    for _ in range(12):
        before = cc.cwnd
        now = one_round(cc, now, rtt)
        # Each ACK adds at most half a segment; within the round cwnd grows, so compounding stays below e^0.5.
        assert before <= cc.cwnd <= before * math.exp(0.5)


def test_short_round_trips_make_it_reno_with_alpha_until_cwnd_prior_then_one() -> None:
    # Section 4.3: W_est grows by alpha segments a round trip, by 1 once it has reached cwnd_prior.
    rtt = MILLISECOND
    cc = cubic(40)
    cc.on_congestion(0, LOSS, 40 * SMSS)
    cc.on_recovery_exit(0)
    now = 0
    windows = [cc.cwnd / SMSS]
    for _ in range(60):
        now = one_round(cc, now, rtt)
        windows.append(cc.cwnd / SMSS)
    below = [b - a for a, b in itertools.pairwise(windows) if b < 39]
    above = [b - a for a, b in itertools.pairwise(windows) if a > 41]
    assert len(below) > 15
    assert len(above) > 15
    assert sum(below) / len(below) == pytest.approx(ALPHA, rel=0.04)
    assert sum(above) / len(above) == pytest.approx(1, rel=0.04)


def test_on_a_short_path_it_gets_what_reno_gets() -> None:
    # The average window of AIMD(alpha, 0.7) with one loss for each N segments is Reno's (section 4.3).
    def average(name: str) -> float:
        cc = create(name, SMSS, 20 * SMSS)
        cc.ssthresh = 20 * SMSS
        total, since, now = 0, 0, 0
        for _ in range(60_000):
            now += MILLISECOND * SMSS // cc.cwnd
            cc.on_ack(AckSample(now=now, acked=SMSS, rtt=MILLISECOND, srtt=MILLISECOND))
            since += 1
            if since >= 1500:
                since = 0
                cc.on_congestion(now, LOSS, cc.cwnd)
                cc.on_recovery_exit(now)
            total += cc.cwnd
        return total / 60_000

    assert average("cubic") == pytest.approx(average("newreno"), rel=0.12)


def test_fast_convergence_lowers_w_max_when_the_saturation_point_sinks() -> None:
    # Section 4.7.
    cc = cubic(100)
    cc.on_congestion(0, LOSS, 100 * SMSS)
    assert cc.w_max == 100 * SMSS
    cc.on_recovery_exit(0)
    cc.on_congestion(1, LOSS, cc.cwnd)
    assert cc.w_max == pytest.approx(70 * SMSS * (1 + BETA) / 2)
    assert cc.cwnd_prior == 70 * SMSS
    off = cubic(100)
    off.fast_convergence = False
    off.on_congestion(0, LOSS, 100 * SMSS)
    off.on_congestion(1, LOSS, 70 * SMSS)
    assert off.w_max == 70 * SMSS


def test_after_a_timeout_the_stage_begins_on_the_plateau() -> None:
    # Section 4.8: K = 0, W_max = W_est = cwnd at the start of the stage.
    cc = cubic(100)
    cc.on_congestion(0, TIMEOUT, 100 * SMSS)
    assert (cc.cwnd, cc.ssthresh) == (SMSS, 70 * SMSS)
    now = 0
    while cc.in_slow_start():
        now += MILLISECOND
        cc.on_ack(AckSample(now=now, acked=SMSS, srtt=SECOND))
    assert cc.t_epoch == NEVER
    cc.on_ack(AckSample(now=now + MILLISECOND, acked=SMSS, srtt=MILLISECOND))
    assert (cc.t_epoch, cc.k) == (now + MILLISECOND, 0)
    assert cc.w_max == cc.cwnd_epoch == cc.ssthresh
    # The next stage, after a mere loss, is an ordinary one.
    cc.on_congestion(now, LOSS, cc.cwnd)
    cc.on_ack(AckSample(now=now + SECOND, acked=SMSS, srtt=MILLISECOND))
    assert cc.k > 0


def test_spurious_loss_restores_the_whole_curve() -> None:
    # Section 4.9.2.
    cc = cubic(500)
    cc.on_congestion(0, LOSS, 500 * SMSS)
    cc.on_recovery_exit(0)
    now = 0
    for _ in range(10):
        now = one_round(cc, now, 50 * MILLISECOND)
    before = (cc.cwnd, cc.ssthresh, cc.cwnd_prior, cc.w_max, cc.k, cc.t_epoch, cc.w_est)
    cc.on_congestion(now, LOSS, cc.cwnd)
    assert cc.cwnd < before[0]
    cc.on_spurious(now + MILLISECOND)
    assert (cc.cwnd, cc.ssthresh, cc.cwnd_prior, cc.w_max, cc.k, cc.t_epoch, cc.w_est) == before


def test_late_news_of_a_spurious_loss_changes_nothing() -> None:
    # Section 4.9.2: only "if cwnd < cwnd_prior".
    cc = cubic(50)
    cc.on_congestion(0, LOSS, 50 * SMSS)
    cc.on_recovery_exit(0)
    now = 0
    while cc.cwnd <= cc.cwnd_prior:
        now = one_round(cc, now, MILLISECOND)
    state = (cc.cwnd, cc.ssthresh, cc.cwnd_prior, cc.w_max, cc.k, cc.t_epoch)
    cc.on_spurious(now)
    assert (cc.cwnd, cc.ssthresh, cc.cwnd_prior, cc.w_max, cc.k, cc.t_epoch) == state


def test_app_limited_time_does_not_count() -> None:
    # Section 4.2 and 5.8: the curve stands still while the program has nothing to say.
    rtt = 100 * MILLISECOND

    def run(pause: bool, silent: bool) -> int:
        cc = cubic(1000)
        cc.on_congestion(0, LOSS, 1000 * SMSS)
        cc.on_recovery_exit(0)
        now = 0
        for i in range(60):
            if pause and i == 20 and not silent:
                for _ in range(30):
                    cc.on_ack(AckSample(now=now, acked=SMSS, rtt=rtt, srtt=rtt, cwnd_limited=False))
                    now += rtt
            if pause and i == 20 and silent:
                now += 3 * SECOND
                cc.on_sent(now, SMSS, SMSS)
            now = one_round(cc, now, rtt)
        return cc.cwnd

    steady = run(False, False)
    assert run(True, False) == pytest.approx(steady, rel=0.005)
    assert run(True, True) == pytest.approx(steady, rel=0.005)


def test_ecn_reduces_like_loss() -> None:
    # Section 4.6; but not below two segments (docs/deviations.md).
    cc = cubic(100)
    cc.on_congestion(0, ECN, 100 * SMSS)
    assert cc.cwnd == cc.ssthresh == 70 * SMSS
    for i in range(40):
        cc.on_congestion(i, ECN, cc.cwnd)
    assert (cc.cwnd, cc.ssthresh) == (2 * SMSS, 2 * SMSS)


def feed_round(cc: Cubic, now: int, rtt: int, acks: int = 10) -> int:
    for i in range(acks):
        cc.on_ack(AckSample(now=now, acked=SMSS, rtt=rtt, srtt=rtt, min_rtt=rtt, round_start=i == 0))
    return now + rtt


def test_hystart_leaves_slow_start_when_the_round_trip_rises_for_five_rounds() -> None:
    # RFC 9406 section 4.2.
    cc = cubic(10)
    now = feed_round(cc, 0, 40 * MILLISECOND)
    now = feed_round(cc, now, 40 * MILLISECOND)
    assert cc.cwnd == 30 * SMSS
    # 40 ms / 8 = 5 ms of rise is the threshold; the eighth sample of the round shows it.
    now = feed_round(cc, now, 45 * MILLISECOND)
    assert cc.cwnd == 30 * SMSS + 7 * SMSS + 3 * (SMSS // 4)
    for _ in range(4):
        before = cc.cwnd
        now = feed_round(cc, now, 45 * MILLISECOND)
        assert cc.cwnd == before + 10 * (SMSS // 4)
    assert cc.ssthresh == INITIAL_SSTHRESH
    before = cc.cwnd
    cc.on_ack(AckSample(now=now, acked=SMSS, rtt=45 * MILLISECOND, srtt=45 * MILLISECOND, round_start=True))
    assert cc.ssthresh == before
    assert not cc.in_slow_start()
    # RFC 9438 section 4.10: K = 0, cwnd_prior = W_max = cwnd.
    assert (cc.k, cc.cwnd_prior, cc.w_max, cc.t_epoch) == (0, before, before, now)


def test_hystart_takes_a_small_rise_for_noise() -> None:
    cc = cubic(10)
    now = 0
    for n in range(12):
        before = cc.cwnd
        now = feed_round(cc, now, (40 + (4 if n % 2 else 0)) * MILLISECOND)
        assert cc.cwnd == before + 10 * SMSS


@pytest.mark.parametrize(("base", "rise"), [(8, 4), (80, 10), (400, 16)])
def test_hystart_threshold_is_an_eighth_between_4_and_16_ms(base: int, rise: int) -> None:
    for extra, slow in ((rise, True), (rise - 1, False)):
        cc = cubic(10)
        now = feed_round(cc, 0, base * MILLISECOND)
        now = feed_round(cc, now, (base + extra) * MILLISECOND)
        before = cc.cwnd
        feed_round(cc, now, (base + extra) * MILLISECOND)
        assert (cc.cwnd - before < 10 * SMSS) is slow


def test_hystart_resumes_when_the_rise_was_jitter() -> None:
    cc = cubic(10)
    now = feed_round(cc, 0, 40 * MILLISECOND)
    now = feed_round(cc, now, 50 * MILLISECOND)
    now = feed_round(cc, now, 50 * MILLISECOND)
    now = feed_round(cc, now, 40 * MILLISECOND)
    before = cc.cwnd
    now = feed_round(cc, now, 40 * MILLISECOND)
    assert cc.cwnd == before + 10 * SMSS


def test_hystart_counts_five_rounds_anew_after_jitter() -> None:
    cc = cubic(10)
    now = feed_round(cc, 0, 40 * MILLISECOND)
    for rtt in (50, 50, 50, 40, 40, 50, 50, 50, 50, 50):
        now = feed_round(cc, now, rtt * MILLISECOND)
        # Three rounds of CSS were over before it resumed: they do not count.
        assert cc.ssthresh == INITIAL_SSTHRESH
    feed_round(cc, now, 50 * MILLISECOND)
    assert cc.ssthresh < INITIAL_SSTHRESH


def test_hystart_needs_eight_samples_a_round() -> None:
    cc = cubic(10)
    now = feed_round(cc, 0, 40 * MILLISECOND, 7)
    for _ in range(10):
        before = cc.cwnd
        now = feed_round(cc, now, 400 * MILLISECOND, 7)
        assert cc.cwnd == before + 7 * SMSS


def test_hystart_adds_at_most_eight_segments_an_ack_unpaced_and_all_when_paced() -> None:
    # RFC 9406 section 4.3: L.
    cc = cubic(10)
    cc.paced = False
    cc.on_ack(AckSample(acked=50 * SMSS))
    assert cc.cwnd == 18 * SMSS
    cc.paced = True
    cc.on_ack(AckSample(acked=50 * SMSS))
    assert cc.cwnd == 68 * SMSS
    wide = cubic(10)
    wide.paced = False
    assert wide.hystart is not None
    wide.hystart.limit = 44
    wide.on_ack(AckSample(acked=50 * SMSS))
    assert wide.cwnd == 54 * SMSS


def test_hystart_is_for_the_first_slow_start_alone_and_can_be_turned_off() -> None:
    # RFC 9406 section 4.3: later slow starts are standard ones.
    for cc in (cubic(10), cubic(10)):
        if cc.cwnd == 10 * SMSS:
            cc.on_congestion(0, LOSS, 10 * SMSS)
            cc.on_recovery_exit(0)
            cc.ssthresh = 1000 * SMSS
        now = feed_round(cc, 0, 40 * MILLISECOND)
        for _ in range(8):
            before = cc.cwnd
            now = feed_round(cc, now, 400 * MILLISECOND)
            assert cc.cwnd == before + 10 * SMSS
    off = cubic(10)
    off.hystart = None
    off.paced = False
    off.on_ack(AckSample(acked=50 * SMSS))
    assert off.cwnd == 12 * SMSS


def test_undo_of_a_loss_in_the_first_slow_start_goes_on_with_hystart() -> None:
    cc = cubic(10)
    now = feed_round(cc, 0, 40 * MILLISECOND)
    cc.on_congestion(now, LOSS, cc.cwnd)
    cc.on_spurious(now)
    assert (cc.cwnd, cc.ssthresh) == (20 * SMSS, INITIAL_SSTHRESH)
    cc.paced = False
    cc.on_ack(AckSample(now=now, acked=50 * SMSS, rtt=40 * MILLISECOND))
    assert cc.cwnd == 28 * SMSS


def test_idle_restart_begins_a_new_stage() -> None:
    cc = cubic(10)
    cc.cwnd = 200 * SMSS
    cc.on_congestion(0, LOSS, 200 * SMSS)
    cc.on_recovery_exit(0)
    now = one_round(cc, 0, 10 * MILLISECOND)
    assert cc.t_epoch != NEVER
    cc.after_idle(now + 5 * SECOND, 5 * SECOND, SECOND)
    assert (cc.cwnd, cc.t_epoch) == (10 * SMSS, NEVER)
    assert cc.in_slow_start()


def test_a_smaller_segment_keeps_the_shape_of_the_curve() -> None:
    cc = cubic(100)
    cc.on_congestion(0, LOSS, 100 * SMSS)
    cc.on_recovery_exit(0)
    now = one_round(cc, 0, 10 * MILLISECOND)
    cc.set_smss(SMSS // 2)
    assert cc.w_max == pytest.approx(100 * SMSS / 2)
    assert cc.t_epoch == NEVER
    cc.on_ack(AckSample(now=now, acked=SMSS, srtt=MILLISECOND))
    assert cc.k == pytest.approx(((100 - cc.cwnd_epoch / cc.smss) / C) ** (1 / 3) * SECOND, rel=1e-3)


def test_a_mark_in_congestion_avoidance_costs_less_than_a_loss_and_in_slow_start_as_much() -> None:
    # RFC 8511 section 3: beta_ecn = 0.85 for CUBIC.
    cc = cubic(100)
    cc.ssthresh = 90 * SMSS
    cc.on_congestion(0, ECN, 100 * SMSS)
    assert cc.cwnd == cc.ssthresh == 85 * SMSS
    starting = cubic(100)
    starting.on_congestion(0, ECN, 100 * SMSS)
    assert starting.cwnd == 70 * SMSS


def test_the_window_of_table_1_at_a_loss_rate_of_one_in_a_thousand() -> None:
    # Section 5.1, table 1: RTT 100 ms, p = 1e-4: 187 segments (Reno 120); p = 1e-3: 38 (as Reno). One loss in 1/p
    # segments; the rounds of the model are those of the formula.
    for p, expected in ((1e-4, 187), (1e-3, 38)):
        cc = cubic(expected)
        cc.ssthresh = cc.cwnd
        rtt = 100 * MILLISECOND
        now, since, total, rounds = 0, 0.0, 0.0, 0
        while rounds < 1500:
            n = cc.cwnd // SMSS
            for i in range(n):
                cc.on_ack(AckSample(now=now + rtt * i // n, acked=SMSS, rtt=rtt, srtt=rtt, round_start=i == 0))
                cc.on_sent(now, SMSS, cc.cwnd)
            now += rtt
            since += n
            rounds += 1
            total += n
            if since >= 1 / p:
                since -= 1 / p
                cc.on_congestion(now, LOSS, cc.cwnd)
                cc.on_recovery_exit(now)
        assert total / rounds == pytest.approx(expected, rel=0.1)


def test_a_burst_that_has_mostly_arrived_is_not_all_that_the_path_carries() -> None:
    # Section 4.6: flight_size of a program that writes in bursts may be far below what the path has carried.
    cc = cubic(100)
    cc.ssthresh = cc.cwnd
    now = 0
    for _ in range(4):
        now = one_round(cc, now, 50 * MILLISECOND)
    before = cc.cwnd
    cc.on_congestion(now, LOSS, 10 * SMSS)
    assert cc.cwnd == pytest.approx(0.7 * before, rel=0.03)


def test_the_first_ack_after_a_recovery_does_not_take_its_deflation_back() -> None:
    cc = create("cubic", 1460, 14_600)
    cc.on_congestion(0, LOSS, 0)
    cc.on_ack(AckSample(now=0, acked=3492, prior_in_flight=3492))
    cc.on_recovery_exit(0)
    before = cc.cwnd
    cc.on_ack(AckSample(now=0, acked=62, prior_in_flight=62))
    assert cc.cwnd - before <= 62

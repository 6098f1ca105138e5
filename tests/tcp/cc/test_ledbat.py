"""LEDBAT (RFC 6817, LEDBAT++): it fills a free path, keeps its delay at the target and gives way to everyone else."""

from __future__ import annotations

import random

import pytest
from tests.tcp.cc.fluid import Fluid

from plankroad.tcp.cc import LOSS, TIMEOUT, AckSample, create
from plankroad.tcp.cc.ledbat import HISTORY_STEP, TARGET, Ledbat
from plankroad.units import MILLISECOND, NEVER, SECOND

SMSS = 1448
BASE = 20 * MILLISECOND


def ledbat() -> Ledbat:
    cc = create("ledbat", SMSS, 10 * SMSS)
    assert isinstance(cc, Ledbat)
    return cc


def ack(cc: Ledbat, now: int, rtt: int, acked: int = SMSS) -> None:
    cc.on_ack(AckSample(now=now, acked=acked, newly_delivered=acked, rtt=rtt, srtt=rtt, prior_in_flight=cc.cwnd))


def test_it_begins_with_two_segments() -> None:
    # RFC 6817 section 2.4.2: INIT_CWND.
    assert ledbat().cwnd == 2 * SMSS


def test_the_queueing_delay_is_the_least_of_the_newest_four_above_the_least_of_ten_minutes() -> None:
    # RFC 6817 section 2.4.2: CURRENT_FILTER, BASE_HISTORY.
    cc = ledbat()
    now = SECOND
    for rtt in (20, 90, 70, 80, 60, 95, 99):
        ack(cc, now, rtt * MILLISECOND)
    assert cc.base_delay == 20 * MILLISECOND
    assert cc.queue_delay == 40 * MILLISECOND
    # The 20 ms are forgotten when their minute is the eleventh.
    for minute in range(1, 11):
        assert cc.base_delay == 20 * MILLISECOND
        ack(cc, now + minute * HISTORY_STEP, 50 * MILLISECOND)
    assert cc.base_delay == 50 * MILLISECOND


@pytest.mark.parametrize(("base", "divisor"), [(1, 16), (10, 12), (20, 6), (60, 2), (120, 1), (500, 1)])
def test_the_gain_is_the_smaller_the_shorter_the_path(base: int, divisor: int) -> None:
    # LEDBAT++ section 4.2; RFC 6817 section 2.4.2: at most 1.
    cc = ledbat()
    ack(cc, SECOND, base * MILLISECOND)
    assert cc.gain() == pytest.approx(1 / divisor)


def test_below_the_target_it_adds_a_gain_of_segments_a_round_trip() -> None:
    cc = ledbat()
    cc.cwnd = cc.ssthresh = 50 * SMSS
    for _ in range(50):
        ack(cc, SECOND, 120 * MILLISECOND)
    assert cc.cwnd == pytest.approx(51 * SMSS, abs=40)


def test_above_the_target_it_shrinks_by_the_excess_and_by_half_at_most() -> None:
    for extra, left in ((6 * MILLISECOND, 0.9), (10 * SECOND, 0.5)):
        cc = ledbat()
        cc.cwnd = cc.ssthresh = 100 * SMSS
        cc.on_established(SECOND, BASE)
        for _ in range(4):
            cc.measure(SECOND, BASE + TARGET + extra)
        cc.current[:] = [BASE + TARGET + extra] * 4
        for _ in range(100):
            ack(cc, SECOND, BASE + TARGET + extra)
        # One after the other, of what is left each time.
        assert left * 100 * SMSS - 2 * SMSS <= cc.cwnd <= (left + 0.12) * 100 * SMSS


def test_it_never_goes_below_two_segments_by_delay() -> None:
    cc = ledbat()
    cc.cwnd = cc.ssthresh = 10 * SMSS
    cc.on_established(SECOND, BASE)
    for i in range(200):
        ack(cc, SECOND + i, SECOND)
    assert cc.cwnd == 2 * SMSS


def test_growth_is_bounded_by_what_is_in_flight() -> None:
    # RFC 6817 section 2.4.2: max_allowed_cwnd = flightsize + ALLOWED_INCREASE * MSS.
    cc = ledbat()
    cc.cwnd = cc.ssthresh = 50 * SMSS
    for _ in range(1000):
        cc.on_ack(AckSample(now=SECOND, acked=SMSS, rtt=120 * MILLISECOND, srtt=SECOND, prior_in_flight=50 * SMSS))
    assert cc.cwnd == 51 * SMSS


def test_slow_start_ends_at_three_quarters_of_the_target() -> None:
    # LEDBAT++ section 4.3.
    fluid = Fluid(1_250_000, BASE, 10_000_000)
    cc = ledbat()
    fluid.join(cc)
    while cc.in_slow_start():
        fluid.round()
    assert 40 * MILLISECOND < cc.queue_delay < 65 * MILLISECOND


def test_slowdowns_come_after_slow_start_and_then_take_a_tenth_of_the_time() -> None:
    # LEDBAT++ section 4.4.
    fluid = Fluid(1_250_000, BASE, 10_000_000)
    cc = ledbat()
    fluid.join(cc)
    slow, began = 0, []
    down = False
    start = fluid.now
    while fluid.now < start + 60 * SECOND:
        rtt = fluid.round()
        if cc.slowdown_at != NEVER:
            slow += rtt
            if not down:
                began.append(cc.slowdown_at)
        down = cc.slowdown_at != NEVER
    assert len(began) >= 5
    assert slow / (fluid.now - start) == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("signal", [LOSS, TIMEOUT])
def test_congestion_ends_a_slowdown(signal: int) -> None:
    cc = ledbat()
    cc.cwnd = 100 * SMSS
    cc.slow_down(SECOND, BASE)
    assert (cc.cwnd, cc.ssthresh) == (2 * SMSS, 100 * SMSS)
    cc.on_congestion(SECOND + BASE, signal, 100 * SMSS)
    cc.on_recovery_exit(SECOND + BASE)
    assert cc.slowdown_at == NEVER
    assert cc.next_slowdown > SECOND + BASE
    before = cc.cwnd
    for _ in range(40):
        ack(cc, SECOND + 2 * BASE, 120 * MILLISECOND)
    assert cc.cwnd > before


def test_alone_it_fills_the_path_at_its_target() -> None:
    fluid = Fluid(1_250_000, BASE, 10_000_000)
    fluid.join(ledbat())
    fluid.run(20)
    share, delay = fluid.run(60)
    assert share > 0.9
    assert 40 < delay < 65


@pytest.mark.parametrize("seed", range(8))
def test_it_leaves_the_path_to_any_other_flow_and_takes_it_back(seed: int) -> None:
    rng = random.Random(seed)
    base = rng.randrange(5, 100) * MILLISECOND
    rate = rng.choice([500_000, 1_250_000, 6_000_000])
    limit = int(rate * base / SECOND * rng.uniform(1, 6))
    other = rng.choice(["cubic", "newreno"])
    fluid = Fluid(rate, base, max(limit, 8 * SMSS))
    fluid.join(ledbat())
    fluid.run(30)
    number = fluid.join(create(other, SMSS, 10 * SMSS))
    fluid.run(30)
    mine, theirs, _ = fluid.run(60)
    assert mine < 0.25, f"seed {seed}: {mine:.3f} beside {other} with {theirs:.3f}"
    assert theirs > 0.75, f"seed {seed}: {other} had {theirs:.3f}"
    fluid.active[number] = False
    fluid.run(200)
    mine, *_ = fluid.run(30)
    assert mine > 0.8, f"seed {seed}: {mine:.3f} when it was alone again"


def test_two_share_alike_whoever_was_first() -> None:
    fluid = Fluid(1_250_000, BASE, 10_000_000)
    fluid.join(ledbat())
    fluid.run(60)
    fluid.join(ledbat())
    fluid.run(60)
    a, b, delay = fluid.run(120)
    assert (a + b) ** 2 / (2 * (a * a + b * b)) > 0.95
    assert delay < 65

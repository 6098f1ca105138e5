"""Congestion window validation, RFC 7661, with made-up samples: one call of `burst` is one round trip."""

from __future__ import annotations

import pytest

from plankroad.tcp.cc import ECN, LOSS, TIMEOUT, AckSample, CongestionControl, create
from plankroad.tcp.cc.validation import NVP
from plankroad.units import MILLISECOND, SECOND

SMSS = 1000
IW = 10 * SMSS
RTT = 50 * MILLISECOND
LOSS_BASED = ["newreno", "cubic"]


class Flow:
    """A sender that uses as much of its window as it is told."""

    def __init__(self, name: str, window: int) -> None:
        self.cc: CongestionControl = create(name, SMSS, IW)
        self.cc.cwnd = window * SMSS
        self.cc.ssthresh = self.cc.cwnd
        self.now = SECOND

    def burst(self, segments: int, then: int = RTT) -> None:
        """Send so many segments and hear of their arrival; `then` until the next."""
        full = segments * SMSS >= self.cc.cwnd
        for i in range(segments):
            self.cc.on_sent(self.now, SMSS, (i + 1) * SMSS)
        for i in range(segments):
            now = self.now + RTT + i * MILLISECOND // 10
            self.cc.on_ack(
                AckSample(
                    now=now,
                    acked=SMSS,
                    newly_delivered=SMSS,
                    rtt=RTT,
                    srtt=RTT,
                    min_rtt=RTT,
                    round_start=i == 0,
                    cwnd_limited=full,
                )
            )
        self.now += max(then, RTT)

    def segments(self) -> int:
        return self.cc.cwnd // SMSS

    def used_in_full(self, rounds: int = 30) -> None:
        for _ in range(rounds):
            self.burst(self.segments())


@pytest.fixture(params=LOSS_BASED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_flow_begins_validated_and_stays_so_while_it_uses_half_of_its_window(name: str) -> None:
    # Section 4.3.
    flow = Flow(name, 60)
    assert flow.cc.validation.pipe_ack == -1
    assert not flow.cc.window_unused()
    for _ in range(100):
        flow.burst(30)
        assert not flow.cc.window_unused()
    assert flow.cc.validation.pipe_ack == 30 * SMSS
    assert flow.cc.cwnd == 60 * SMSS


def test_a_flow_that_uses_less_is_not_validated_after_the_sampling_period_and_keeps_its_window(name: str) -> None:
    # Sections 4.2 and 4.4: the largest sample of max (3 RTT, 1 s) counts; the window is preserved.
    flow = Flow(name, 60)
    flow.used_in_full()
    window = flow.cc.cwnd
    start = flow.now
    while not flow.cc.window_unused():
        flow.burst(10)
    assert 800 * MILLISECOND <= flow.now - start <= 1300 * MILLISECOND
    for _ in range(100):
        flow.burst(10)
    assert flow.cc.cwnd == window
    assert flow.cc.validation.pipe_ack == 10 * SMSS
    # Half of it is enough to be believed again.
    flow.burst(window // SMSS // 2 + 1)
    assert not flow.cc.window_unused()


def test_bursts_with_pauses_count_in_full(name: str) -> None:
    flow = Flow(name, 60)
    for _ in range(200):
        flow.burst(40, then=3 * SECOND)
        assert not flow.cc.window_unused()
    assert flow.cc.cwnd == 60 * SMSS


def test_slow_start_is_validated(name: str) -> None:
    # What is acknowledged in a round trip is half of what cwnd is at its end; it was all that was allowed.
    flow = Flow(name, 10)
    flow.cc.ssthresh = 5000 * SMSS
    for _ in range(8):
        flow.burst(flow.segments())
        assert not flow.cc.window_unused()
    assert flow.segments() == 2560
    assert flow.cc.validation.validated_at == flow.now


def test_a_loss_in_the_non_validated_phase_halves_what_was_used_not_what_was_allowed(name: str) -> None:
    # Section 4.4.1.
    flow = Flow(name, 200)
    flow.used_in_full(3)
    for _ in range(30):
        flow.burst(20)
    assert flow.cc.window_unused()
    cc = flow.cc
    for _ in range(4):
        cc.on_lost(flow.now, SMSS, 30 * SMSS, SMSS, False)
    cc.on_congestion(flow.now, LOSS, 30 * SMSS)
    assert cc.cwnd == 15 * SMSS
    cc.on_ack(AckSample(now=flow.now, acked=SMSS, in_recovery=True))
    cc.on_lost(flow.now, SMSS, 30 * SMSS, 2 * SMSS, False)
    cc.on_recovery_exit(flow.now + RTT)
    # (30 - 5) / 2
    assert cc.cwnd == 12_500
    assert cc.ssthresh == 12_500
    assert cc.validation.pipe_ack == -1
    assert not cc.window_unused()


def test_pipe_ack_counts_where_little_was_in_flight(name: str) -> None:
    flow = Flow(name, 200)
    flow.used_in_full(3)
    for _ in range(30):
        flow.burst(20)
    flow.cc.on_congestion(flow.now, LOSS, 3 * SMSS)
    assert flow.cc.cwnd == 10 * SMSS


def test_the_window_after_such_a_loss_is_one_segment_at_least(name: str) -> None:
    flow = Flow(name, 200)
    flow.used_in_full(3)
    for _ in range(30):
        flow.burst(4)
    flow.cc.on_congestion(flow.now, LOSS, 4 * SMSS)
    for _ in range(9):
        flow.cc.on_lost(flow.now, SMSS, 4 * SMSS, SMSS, False)
    flow.cc.on_recovery_exit(flow.now)
    assert (flow.cc.cwnd, flow.cc.ssthresh) == (SMSS, 2 * SMSS)


def test_losses_of_an_earlier_episode_are_not_counted_again(name: str) -> None:
    flow = Flow(name, 200)
    flow.cc.on_lost(flow.now, 50 * SMSS, 60 * SMSS, SMSS, False)
    flow.used_in_full(3)
    for _ in range(30):
        flow.burst(20)
    flow.cc.on_congestion(flow.now, LOSS, 20 * SMSS)
    flow.cc.on_recovery_exit(flow.now)
    assert flow.cc.cwnd == 10 * SMSS


def test_a_loss_in_the_validated_phase_is_answered_by_the_algorithm_alone(name: str) -> None:
    flow = Flow(name, 100)
    flow.used_in_full(3)
    window = flow.cc.cwnd
    flow.cc.on_lost(flow.now, 40 * SMSS, 100 * SMSS, 40 * SMSS, False)
    flow.cc.on_congestion(flow.now, LOSS, window)
    expected = window // 2 if name == "newreno" else (window * 7 // 10 + SMSS // 2) // SMSS * SMSS
    assert flow.cc.cwnd == expected
    flow.cc.on_recovery_exit(flow.now)
    assert flow.cc.cwnd == expected


def test_a_mark_in_the_non_validated_phase_is_answered_likewise(name: str) -> None:
    flow = Flow(name, 200)
    flow.used_in_full(3)
    for _ in range(30):
        flow.burst(20)
    flow.cc.on_congestion(flow.now, ECN, 20 * SMSS)
    assert flow.cc.cwnd == 10 * SMSS
    assert not flow.cc.window_unused()


def test_a_timeout_ends_the_phase_and_is_an_ordinary_timeout(name: str) -> None:
    # Section 4.4.
    flow = Flow(name, 200)
    flow.used_in_full(3)
    for _ in range(30):
        flow.burst(20)
    flow.cc.on_congestion(flow.now, TIMEOUT, 20 * SMSS)
    assert flow.cc.cwnd == SMSS
    assert flow.cc.ssthresh == (10 if name == "newreno" else 14) * SMSS
    assert not flow.cc.window_unused()


def test_undo_restores_the_unused_window_too(name: str) -> None:
    flow = Flow(name, 200)
    flow.used_in_full(3)
    window = flow.cc.cwnd
    for _ in range(30):
        flow.burst(20)
    flow.cc.on_congestion(flow.now, LOSS, 20 * SMSS)
    flow.cc.on_spurious(flow.now)
    flow.cc.on_recovery_exit(flow.now)
    assert flow.cc.cwnd == window


def test_an_unused_window_is_halved_after_five_minutes_and_ssthresh_remembers_it(name: str) -> None:
    # Section 4.4.3.
    flow = Flow(name, 200)
    flow.used_in_full(3)
    window = flow.cc.cwnd
    flow.cc.ssthresh = 20 * SMSS
    start = flow.now
    while flow.now < start + NVP - SECOND:
        flow.burst(20, then=SECOND)
        assert flow.cc.cwnd == window
    for _ in range(4):
        flow.burst(20, then=SECOND)
    assert flow.cc.cwnd == window // 2
    assert flow.cc.ssthresh == window - window // 4
    # And again after the next five.
    while flow.now < start + 2 * NVP + 5 * SECOND:
        flow.burst(20, then=SECOND)
    assert flow.cc.cwnd == window // 4
    # Of 50 segments 26 are more than half: it is in use.
    while flow.now < start + 6 * NVP:
        flow.burst(26, then=SECOND)
    assert flow.cc.cwnd == window // 4


@pytest.mark.parametrize(("minutes", "share"), [(4, 1), (6, 2), (11, 4), (16, 8), (600, 0)])
def test_a_silent_flow_loses_half_of_its_window_each_five_minutes(name: str, minutes: int, share: int) -> None:
    # With `TcpConfig.idle_restart` off nothing but this shrinks it.
    flow = Flow(name, 200)
    flow.used_in_full(3)
    window = flow.cc.cwnd
    flow.now += minutes * 60 * SECOND
    flow.cc.on_sent(flow.now, SMSS, SMSS)
    assert flow.cc.cwnd == max(window // share if share else 0, IW)


def test_an_initial_window_needs_no_validation(name: str) -> None:
    flow = Flow(name, 10)
    for _ in range(20):
        flow.burst(1, then=60 * SECOND)
        assert not flow.cc.window_unused()
    assert flow.cc.cwnd == IW


@pytest.mark.requirement("window-validation")
def test_requests_and_answers_keep_an_honest_window(name: str) -> None:
    # It neither grows beyond twice what was used (slow start) nor does it collapse.
    flow = Flow(name, 10)
    flow.cc.ssthresh = 5000 * SMSS
    for i in range(3000):
        flow.burst(12 + i % 5, then=(100 + i % 7 * 90) * MILLISECOND)
    assert 12 * SMSS <= flow.cc.cwnd <= 32 * SMSS


def test_the_engine_says_app_limited_and_the_window_stays(name: str) -> None:
    flow = Flow(name, 100)
    for _ in range(50):
        flow.burst(20)
        flow.cc.on_app_limited(flow.now, 20 * SMSS)
    assert flow.cc.cwnd == 100 * SMSS
    flow.now += NVP
    flow.cc.on_app_limited(flow.now, 20 * SMSS)
    assert flow.cc.cwnd == 50 * SMSS

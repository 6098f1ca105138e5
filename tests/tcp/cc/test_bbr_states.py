"""BBR's state machine on a bottleneck: the draft's own test cases (draft-ietf-ccwg-bbr-06, appendix)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from tests.tcp.cc.bottleneck import IW, SMSS, Bottleneck, Flow, goodput, loss_rate

from plankroad.tcp.cc import LOSS, TIMEOUT, AckSample, CongestionControl
from plankroad.tcp.cc.bbr import Bbr
from plankroad.tcp.cc.bbr_state import (
    DRAIN,
    INFINITE,
    NO_STATE,
    PROBE_BW_CRUISE,
    PROBE_BW_DOWN,
    PROBE_BW_REFILL,
    PROBE_BW_UP,
    PROBE_RTT,
    STARTUP,
    STARTUP_PACING_GAIN,
)
from plankroad.units import MILLISECOND, SECOND

RATE = 1_250_000  # 10 Mbit/s
RTT = 40 * MILLISECOND
BDP = RATE * RTT // SECOND


class Watch:
    """One BBR flow on a bottleneck, and what states it was in."""

    def __init__(self, rate: int = RATE, rtt: int = RTT, queue: int = BDP, loss: float = 0.0) -> None:
        self.path = Bottleneck(rate, queue, loss)
        self.flow = self.path.add("bbr", rtt)
        assert isinstance(self.flow.cc, Bbr)
        self.cc = self.flow.cc
        self.states: list[tuple[int, int]] = [(0, STARTUP)]
        self.each: Callable[[], None] | None = None
        self.path.watch = self._watch

    def _watch(self, flow: Flow) -> None:
        if self.cc.state != self.states[-1][1]:
            self.states.append((self.path.now, self.cc.state))
        if self.each is not None:
            self.each()

    def run(self, seconds: float) -> None:
        self.path.run(self.path.now + int(seconds * SECOND))

    def run_to(self, state: int, limit: float = 20.0) -> None:
        end = self.path.now + int(limit * SECOND)
        while self.cc.state != state:
            assert self.path.now < end, f"never in state {state}"
            self.path.run(self.path.now + MILLISECOND)

    def order(self) -> list[int]:
        return [state for _, state in self.states]


def test_startup_ends_on_a_plateau_of_three_rounds_with_the_bandwidth_found() -> None:
    watch = Watch(queue=4 * BDP)
    watch.run_to(DRAIN)
    assert watch.cc.full_bw_reached
    assert watch.cc.full_bw_now
    assert watch.cc.full_bw_count == 3
    assert watch.flow.lost == 0
    assert watch.cc.max_bw == pytest.approx(RATE, rel=0.02)
    assert watch.path.now < 14 * RTT


def test_startup_doubles_each_round() -> None:
    # Section 5.3.1.1: pacing gain 2.77 at the least (ours: docs/deviations.md) and cwnd gain 2.
    watch = Watch(rate=100 * RATE, queue=100 * BDP)
    rates: list[int] = []
    watch.each = lambda: rates.append(watch.cc.max_bw) if watch.cc.round_start else None
    watch.run(8 * RTT / SECOND)
    growth = [after / before for before, after in pairwise(rates[1:])]
    assert all(1.6 < g < 2.8 for g in growth[:5])


def test_startup_ends_on_heavy_loss_of_a_short_queue_and_remembers_what_fitted() -> None:
    # Section 5.3.1.3
    watch = Watch(queue=BDP // 4)
    watch.run_to(DRAIN)
    assert watch.flow.lost > 0
    assert watch.cc.full_bw_count < 3
    assert BDP <= watch.cc.inflight_longterm <= int(1.4 * BDP)


def test_startup_goes_on_through_random_loss() -> None:
    # docs/deviations.md: loss without a queue does not end Startup.
    watch = Watch(rate=10 * RATE, queue=20 * BDP, loss=0.03)
    watch.run_to(DRAIN)
    assert watch.flow.lost > 10 * SMSS
    assert watch.cc.max_bw == pytest.approx(10 * RATE, rel=0.03)


def test_drain_paces_at_half_the_rate_until_the_queue_is_gone() -> None:
    watch = Watch(queue=4 * BDP)
    watch.run_to(DRAIN)
    watch.run(0.002)
    assert watch.cc.pacing_gain == 0.5
    assert watch.cc.pacing_rate == pytest.approx(RATE / 2, rel=0.03)
    watch.run_to(PROBE_BW_CRUISE)
    assert watch.flow.in_flight <= BDP + 3 * watch.cc.send_quantum
    assert watch.path.free_at - watch.path.now < 5 * MILLISECOND


def test_drain_ends_after_three_rounds_at_the_latest() -> None:
    watch = Watch(queue=4 * BDP)
    watch.run_to(DRAIN)
    watch.path.rate = RATE // 4
    first = watch.cc.round_count
    watch.run_to(PROBE_BW_DOWN)
    assert watch.cc.round_count - first <= 4


def test_probe_bw_goes_down_cruise_refill_up_in_turn() -> None:
    watch = Watch()
    watch.run(9)
    order = watch.order()
    assert order[:2] == [STARTUP, DRAIN]
    following = {
        PROBE_BW_DOWN: {PROBE_BW_CRUISE, PROBE_BW_REFILL},
        PROBE_BW_CRUISE: {PROBE_BW_REFILL},
        PROBE_BW_REFILL: {PROBE_BW_UP},
        PROBE_BW_UP: {PROBE_BW_DOWN, PROBE_BW_CRUISE},
    }
    for before, after in pairwise(order[2:]):
        assert after in following[before]
    assert order.count(PROBE_BW_UP) >= 3


@pytest.mark.parametrize(("rate", "rtt"), [(RATE, RTT), (2 * RATE, 200 * MILLISECOND)])
def test_bandwidth_is_probed_as_often_as_reno_would_lose_or_each_two_to_three_seconds(rate: int, rtt: int) -> None:
    # Section 5.3.3.8
    watch = Watch(rate=rate, rtt=rtt, queue=rate * rtt // SECOND)
    watch.run(13)
    ups = [when for when, state in watch.states if state == PROBE_BW_UP]
    gaps = [after - before for before, after in pairwise(ups)]
    assert gaps
    reno = (min(rate * rtt // SECOND // SMSS, 63) - 1) * rtt
    for gap in gaps:
        assert min(2 * SECOND, reno) <= gap <= 3 * SECOND + 12 * rtt


def test_two_flows_do_not_wait_alike() -> None:
    # Section 5.3.3.8: the waits are spread "for better mixing and fairness convergence".
    path = Bottleneck(10 * RATE, 40 * BDP)
    flows = [path.add("bbr", 100 * MILLISECOND, start=i * MILLISECOND) for i in range(6)]
    path.run(4 * SECOND)
    waits = [flow.cc.bw_probe_wait for flow in flows if isinstance(flow.cc, Bbr)]
    assert all(2 * SECOND <= wait <= 3 * SECOND for wait in waits)
    assert max(waits) - min(waits) > SECOND // 5


def test_probe_up_ends_on_a_plateau() -> None:
    watch = Watch(queue=4 * BDP)
    watch.run_to(PROBE_BW_UP)
    start = watch.cc.round_count
    assert watch.cc.pacing_gain == 1.25
    watch.run_to(PROBE_BW_DOWN)
    assert watch.cc.full_bw_now
    assert 3 <= watch.cc.round_count - start <= 5
    assert watch.cc.pacing_gain == 0.9


def test_probe_up_ends_on_the_loss_of_a_full_queue_and_bounds_what_is_in_flight() -> None:
    # Section 5.5.10.2
    watch = Watch(queue=BDP // 4)
    watch.run_to(PROBE_BW_UP)
    watch.cc.inflight_longterm = INFINITE
    watch.run_to(PROBE_BW_DOWN, 1.0)
    assert watch.cc.prev_probe_too_high
    assert BDP <= watch.cc.inflight_longterm <= int(1.5 * BDP)
    watch.run_to(PROBE_BW_CRUISE)
    assert watch.cc.cwnd <= watch.cc.inflight_longterm


def test_a_probe_after_one_that_went_too_high_is_cautious() -> None:
    # Section 5.3.3.6, precautionary bandwidth probing.
    watch = Watch(queue=4 * BDP)
    watch.run_to(PROBE_BW_CRUISE)
    watch.run(0.2)
    watch.cc.prev_probe_too_high = True
    watch.cc.inflight_longterm = int(1.1 * BDP)
    watch.run_to(PROBE_BW_UP)
    watch.run_to(PROBE_BW_DOWN)
    assert watch.cc.prev_probe_precautionary
    # No loss came of it: it probes again at once.
    watch.run_to(PROBE_BW_UP, 1.0)
    assert PROBE_BW_CRUISE not in watch.order()[-2:]


def test_ten_times_the_bandwidth_is_found_in_a_few_cycles() -> None:
    watch = Watch(rate=RATE // 5, queue=10 * BDP)
    watch.run_to(PROBE_BW_CRUISE)
    watch.path.rate = 2 * RATE
    watch.run(12)
    assert watch.cc.max_bw > 9 * RATE // 5


def test_a_tenth_of_the_bandwidth_is_adapted_to_within_two_cycles() -> None:
    watch = Watch(rate=10 * RATE, queue=BDP)
    watch.run_to(PROBE_BW_CRUISE)
    watch.path.rate = RATE
    watch.run(1)
    assert watch.cc.bw < 5 * RATE
    watch.run(9)
    assert watch.cc.max_bw == pytest.approx(RATE, rel=0.1)
    assert goodput(watch.flow, 6 * SECOND, 10 * SECOND) > 0.85 * RATE
    assert loss_rate(watch.flow, 6 * SECOND, 10 * SECOND) < 0.05


def test_a_bdp_below_a_segment_keeps_four_segments_in_flight_and_the_rate() -> None:
    # Section 5.6.4.3
    watch = Watch(rate=RATE // 100, rtt=5 * MILLISECOND, queue=8 * SMSS)
    lows: list[int] = []
    watch.each = lambda: lows.append(watch.cc.cwnd)
    watch.run(60)
    assert min(lows) >= 4 * SMSS
    assert watch.cc.send_quantum == SMSS
    assert goodput(watch.flow, 10 * SECOND, 60 * SECOND) > 0.95 * watch.path.rate


def test_a_policer_is_obeyed() -> None:
    # It drops without a queue: section 5.5.10.3 answers to heavy loss even where no delay tells of congestion.
    watch = Watch(rate=10 * RATE, queue=40 * BDP)
    watch.path.policer = (RATE, 60 * SMSS)
    watch.run(15)
    assert loss_rate(watch.flow, 5 * SECOND, 15 * SECOND) < 0.12
    assert goodput(watch.flow, 5 * SECOND, 15 * SECOND) > 0.85 * RATE


def test_aggregated_acks_raise_cwnd_and_the_path_stays_full() -> None:
    # Section 5.5.9: what arrives in bursts needs more in flight.
    watch = Watch(rate=8 * RATE, queue=16 * BDP)
    slot = 15 * MILLISECOND
    watch.path.extra_delay = lambda now: -(watch.path.free_at + RTT) % slot
    watch.run(6)
    assert watch.cc.extra_acked > 3 * SMSS
    assert watch.cc.cwnd > 2 * watch.cc.bdp
    assert goodput(watch.flow, SECOND, 6 * SECOND) > 0.95 * 8 * RATE


# --- ProbeRTT (section 5.3.4) ----------------------------------------------------------------------------------------


def test_a_standing_queue_calls_for_probe_rtt_each_five_seconds() -> None:
    watch = Watch(queue=8 * BDP)
    # Another's packets: the round trip never is what it was at the beginning.
    watch.path.extra_delay = lambda now: 0 if now < SECOND // 2 else 15 * MILLISECOND
    watch.run_to(PROBE_RTT)
    assert 5 * SECOND < watch.path.now < 6 * SECOND
    assert watch.cc.cwnd_gain == 0.5
    began = watch.path.now
    watch.run(0.1)
    assert watch.cc.cwnd <= watch.cc.bdp // 2 + SMSS
    watch.run_to(PROBE_BW_CRUISE)
    assert 200 * MILLISECOND < watch.path.now - began < 450 * MILLISECOND
    assert watch.cc.cwnd > watch.cc.bdp
    assert watch.cc.max_bw == pytest.approx(RATE, rel=0.03)


def test_probe_rtt_is_over_when_a_packet_met_no_queue() -> None:
    # docs/deviations.md: another flow's queue is gone as soon as it joins in.
    watch = Watch(queue=8 * BDP)
    watch.path.extra_delay = lambda now: 0 if now < SECOND // 2 or watch.cc.state == PROBE_RTT else 15 * MILLISECOND
    watch.run_to(PROBE_RTT)
    began = watch.path.now
    watch.run_to(PROBE_BW_CRUISE)
    assert RTT < watch.path.now - began < 3 * RTT
    assert not watch.cc.contended


def test_who_keeps_the_queue_full_in_our_probe_rtt_is_not_yielded_to() -> None:
    watch = Watch(queue=8 * BDP)
    theirs = [True]
    # The path itself is as short as before, which shows each ten seconds.
    watch.path.extra_delay = lambda now: (
        15 * MILLISECOND if now > SECOND // 2 and theirs[0] and now % (9 * SECOND) > SECOND // 10 else 0
    )
    for _ in range(2):
        watch.run_to(PROBE_RTT)
        assert not watch.cc.contended
        watch.run_to(PROBE_BW_CRUISE)
    assert watch.cc.contended
    # Twice the BDP, whatever is lost; and a probe for bandwidth each eight round trips.
    watch.path.loss = 0.05
    before = len(watch.states)
    watch.run(4)
    assert watch.cc.inflight_longterm == watch.cc.inflight_shortterm == INFINITE
    assert watch.cc.bw > 0.9 * RATE
    probes = [state for _, state in watch.states[before:]].count(PROBE_BW_UP)
    assert 4 / 0.055 / 13 < probes < 4 / 0.055 / 8
    # They are gone: most round trips are clear, and losses count again.
    theirs[0] = False
    watch.path.loss = 0.0
    watch.run(6)
    assert not watch.cc.contended


class Stubborn(CongestionControl):
    """The same in flight, come what may."""

    def on_ack(self, sample: AckSample) -> None:
        pass

    def on_congestion(self, now: int, signal: int, in_flight: int) -> None:
        pass

    def on_recovery_exit(self, now: int) -> None:
        pass


def test_beside_one_that_never_yields_a_share_is_kept() -> None:
    watch = Watch(queue=BDP)
    other = Flow(Stubborn(SMSS, IW), RTT, start=SECOND)
    other.cc.cwnd = BDP * 3 // 2
    watch.path.flows.append(other)
    watch.path.at(SECOND, watch.path._begin, other, None)
    watch.run(40)
    # What both have in flight is what path and queue hold: s = 2 s / (2 s + 1.5), so a quarter.
    assert goodput(watch.flow, 20 * SECOND, 40 * SECOND) > 0.2 * RATE


def test_a_path_without_a_queue_needs_no_probe_rtt() -> None:
    # docs/deviations.md: a round trip as low as the minimum confirms it.
    watch = Watch()
    watch.run(14)
    assert PROBE_RTT not in watch.order()


def test_a_longer_path_is_believed_after_ten_seconds() -> None:
    watch = Watch(queue=8 * BDP)
    watch.path.extra_delay = lambda now: 0 if now < 2 * SECOND else 25 * MILLISECOND
    watch.run(16)
    assert 65 * MILLISECOND <= watch.cc.min_rtt < 70 * MILLISECOND
    assert goodput(watch.flow, 13 * SECOND, 16 * SECOND) > 0.95 * RATE


def test_probe_rtt_within_startup_goes_back_to_startup() -> None:
    watch = Watch()
    watch.flow.backlog = 20 * SMSS
    watch.run(1)
    assert not watch.cc.full_bw_reached
    watch.cc.probe_rtt_min_stamp = watch.path.now - 6 * SECOND
    watch.cc.probe_rtt_min_delay = RTT // 2
    # Not idle: the pipe never runs empty, so nothing else refreshes the minimum.
    watch.flow.backlog = -1
    watch.cc.idle_restart = False
    watch.path.send(watch.flow)
    watch.cc.idle_restart = False
    watch.run_to(PROBE_RTT, 1.0)
    watch.run_to(STARTUP, 2.0)
    watch.run_to(DRAIN, 2.0)


# --- what the program does (section 5.4) -----------------------------------------------------------------------------


def test_idleness_makes_probe_rtt_unnecessary_and_restarts_at_the_bandwidth() -> None:
    watch = Watch(queue=8 * BDP)
    watch.path.extra_delay = lambda now: 0 if now < SECOND // 2 else 15 * MILLISECOND
    watch.run(3)
    watch.flow.backlog = 0
    watch.run(4)
    assert watch.flow.in_flight == 0
    watch.flow.backlog = -1
    cwnd = watch.cc.cwnd
    watch.path.send(watch.flow)
    assert watch.cc.idle_restart
    assert watch.cc.pacing_rate == pytest.approx(RATE, rel=0.03)
    assert watch.cc.cwnd == cwnd
    watch.run(0.5)
    assert watch.cc.state != PROBE_RTT


def test_a_slow_program_never_ends_startup_nor_lowers_the_bandwidth() -> None:
    # "Never Exiting PROBE_UP (or STARTUP) When Application-Limited With No Loss"
    watch = Watch()
    watch.flow.backlog = 0
    for _ in range(200):
        watch.flow.backlog = 2 * SMSS
        watch.path.send(watch.flow)
        watch.run(0.02)
    assert watch.cc.state in (STARTUP, PROBE_RTT)
    assert not watch.cc.full_bw_reached


def test_what_a_slow_program_sends_does_not_lower_the_bandwidth_known() -> None:
    watch = Watch()
    watch.run(4)
    for _ in range(200):
        watch.flow.backlog = 2 * SMSS
        watch.path.send(watch.flow)
        watch.run(0.02)
    assert watch.cc.max_bw == pytest.approx(RATE, rel=0.03)


# --- recovery and undo (sections 5.5.11 and 5.6.4.4) -----------------------------------------------------------------


def ack(cc: Bbr, now: int, delivered: int, in_flight: int, lost: int = 0, recovery: bool = False) -> None:
    cc.on_ack(
        AckSample(
            now=now,
            acked=SMSS,
            newly_delivered=SMSS,
            rtt=RTT,
            srtt=RTT,
            min_rtt=RTT,
            in_flight=in_flight,
            delivered=delivered,
            lost=lost,
            in_recovery=recovery,
            prior_delivered=max(delivered - BDP, 0),
            delivery_rate=RATE,
            rate_delivered=BDP,
            rate_interval=RTT,
            tx_in_flight=in_flight,
        )
    )


def test_a_timeout_leaves_one_segment_and_growth_is_by_what_arrives() -> None:
    watch = Watch()
    watch.run(2)
    cc = watch.cc
    before = cc.cwnd
    delivered = cc.delivered
    cc.on_congestion(watch.path.now, TIMEOUT, BDP)
    assert cc.cwnd == SMSS
    now = watch.path.now
    ack(cc, now + RTT, delivered + SMSS, 0)
    assert cc.cwnd == 4 * SMSS
    for i in range(2, 5):
        ack(cc, now + RTT + i, delivered + i * SMSS, 0)
    assert cc.cwnd == 7 * SMSS
    # All that was outstanding has arrived: the window of before, as far as the model has it.
    ack(cc, now + 2 * RTT, delivered + BDP + SMSS, BDP)
    assert cc.cwnd == pytest.approx(before, rel=0.1)


def test_a_spurious_timeout_restores_window_and_model() -> None:
    watch = Watch()
    watch.run(2)
    cc = watch.cc
    cc.bw_shortterm = INFINITE
    state, before = cc.state, cc.cwnd
    now = watch.path.now
    for _ in range(10):
        cc.on_lost(now, SMSS, BDP, SMSS, False)
    cc.on_congestion(now, TIMEOUT, BDP)
    cc.bw_shortterm = RATE // 2
    cc.on_spurious(now + RTT)
    assert cc.cwnd == before
    assert cc.bw_shortterm == INFINITE
    assert cc.state == state
    # Once: a second call has nothing to restore.
    cc.cwnd = SMSS
    cc.on_spurious(now + RTT)
    assert cc.cwnd == SMSS


def test_a_spurious_recovery_that_ended_a_probe_begins_it_again() -> None:
    # "Handling Spurious Fast Recovery": bounds are restored and the flow returns to probing.
    watch = Watch(queue=4 * BDP)
    watch.run_to(PROBE_BW_UP)
    watch.run(2 * RTT / SECOND)
    cc = watch.cc
    longterm = cc.inflight_longterm
    cc.has_selective_acks = True
    now = watch.path.now
    cc.on_lost(now, SMSS, int(1.3 * BDP), SMSS, False)
    cc.on_congestion(now, LOSS, BDP)
    for i in range(2, 12):
        cc.on_lost(now + i // 3, SMSS, int(1.3 * BDP), i * SMSS, False)
    assert cc.state == PROBE_BW_DOWN
    assert cc.inflight_longterm < longterm
    cc.on_spurious(now + RTT)
    assert cc.state == PROBE_BW_REFILL
    assert cc.inflight_longterm == longterm
    assert cc.undo_state == NO_STATE


def test_a_spurious_recovery_that_ended_startup_goes_back_to_it() -> None:
    watch = Watch()
    watch.run(0.1)
    cc = watch.cc
    cc.has_selective_acks = True
    cc.undo_state = STARTUP
    cc.undo_possible = True
    cc.full_bw_reached = True
    cc.state = DRAIN
    cc.on_spurious(watch.path.now)
    assert cc.state == STARTUP
    assert not cc.full_bw_reached


def test_recovery_does_not_shrink_the_window_for_good() -> None:
    watch = Watch(loss=0.01, queue=4 * BDP)
    watch.run(8)
    assert watch.cc.cwnd > 1.5 * BDP


# --- the rest --------------------------------------------------------------------------------------------------------


def test_before_any_measurement_the_rate_follows_the_initial_window() -> None:
    # Section 5.6.2: InitPacingRate.
    cc = Bbr(SMSS, IW)
    assert cc.pacing_rate == int(STARTUP_PACING_GAIN * IW * 1000)
    cc.on_established(0, 50 * MILLISECOND)
    assert cc.pacing_rate == int(STARTUP_PACING_GAIN * IW * 20)
    assert cc.min_rtt == 50 * MILLISECOND
    assert (cc.cwnd, cc.paced, cc.uses_prr) == (IW, True, False)
    other = Bbr(SMSS, IW)
    other.on_established(0, -1)
    assert not other.has_seen_rtt
    other.on_ack(AckSample(now=9, acked=SMSS, newly_delivered=SMSS, rtt=20 * MILLISECOND, delivered=SMSS))
    assert other.min_rtt == 20 * MILLISECOND
    assert other.pacing_rate == int(STARTUP_PACING_GAIN * IW * 50)


def test_the_send_quantum_is_a_millisecond_within_bounds() -> None:
    # Section 5.6.3
    watch = Watch(rate=20 * RATE, queue=40 * BDP)
    watch.run(2)
    assert watch.cc.send_quantum == pytest.approx(20 * RATE // 1000, rel=0.3)
    fast = Watch(rate=1000 * RATE, rtt=MILLISECOND, queue=1000 * BDP)
    fast.run(0.015)
    assert fast.cc.send_quantum == 64 * 1024


def test_idle_restart_and_window_validation_keep_the_window() -> None:
    # Section 5.4.2
    watch = Watch()
    watch.run(2)
    before = watch.cc.cwnd
    watch.cc.after_idle(watch.path.now, 10 * SECOND, SECOND)
    watch.cc.on_app_limited(watch.path.now, SMSS)
    assert watch.cc.cwnd == before


def test_a_smaller_segment_size_lowers_the_floor() -> None:
    watch = Watch()
    watch.run(2)
    watch.cc.set_smss(500)
    assert watch.cc.min_pipe_cwnd() == 2000
    watch.run(2)
    assert watch.cc.max_bw == pytest.approx(RATE, rel=0.03)


def test_a_connection_that_changes_to_bbr_in_mid_life_starts_up() -> None:
    cc = Bbr(SMSS, IW)
    now = 100 * SECOND
    cc.on_ack(
        AckSample(now=now, acked=SMSS, newly_delivered=SMSS, rtt=RTT, srtt=RTT, delivered=10**6, prior_delivered=9)
    )
    assert cc.state == STARTUP
    assert cc.min_rtt == RTT

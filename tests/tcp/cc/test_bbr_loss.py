"""What BBR makes of losses: random ones, those of full queues, and those that share a queue with others."""

from __future__ import annotations

import random

import pytest
from tests.tcp.cc.bottleneck import SMSS, Bottleneck, Flow, goodput, loss_rate

from plankroad.tcp.cc.bbr import Bbr
from plankroad.tcp.cc.bbr_loss import MAX_BASELINE
from plankroad.tcp.cc.bbr_state import INFINITE, PROBE_BW_CRUISE
from plankroad.units import MILLISECOND, SECOND

RATE = 1_250_000  # 10 Mbit/s
RTT = 40 * MILLISECOND
BDP = RATE * RTT // SECOND


def run(
    seconds: int,
    names: tuple[str, ...] = ("bbr",),
    queue: float = 1.0,
    loss: float = 0.0,
    rate: int = RATE,
    rtt: int = RTT,
    apart: int = 0,
    seed: int = 1,
) -> tuple[Bottleneck, list[Flow]]:
    path = Bottleneck(rate, int(queue * rate * rtt / SECOND), loss, seed)
    flows = [path.add(name, rtt, start=number * apart) for number, name in enumerate(names)]
    path.run(seconds * SECOND)
    return path, flows


def bbr(flow: Flow) -> Bbr:
    assert isinstance(flow.cc, Bbr)
    return flow.cc


@pytest.mark.parametrize("queue", [0.25, 1.0, 4.0])
@pytest.mark.parametrize(("rate", "rtt"), [(RATE, RTT), (4 * RATE, 20 * MILLISECOND)])
def test_three_percent_of_random_loss_cost_next_to_nothing(queue: float, rate: int, rtt: int) -> None:
    seconds = 8 if rate > RATE else 12
    clean = run(seconds, queue=queue, rate=rate, rtt=rtt)[1][0]
    for seed in (1, 2):
        lossy = run(seconds, queue=queue, rate=rate, rtt=rtt, loss=0.03, seed=seed)[1][0]
        assert lossy.delivered >= 0.95 * clean.delivered, f"seed {seed}"


def test_three_percent_of_random_loss_on_a_long_path() -> None:
    flow = run(10, queue=0.5, rate=4 * RATE, rtt=200 * MILLISECOND, loss=0.03)[1][0]
    assert goodput(flow, 4 * SECOND, 10 * SECOND) > 0.93 * 4 * RATE


def test_losses_in_bursts_are_no_congestion_either() -> None:
    # Three percent, five packets at a time.
    path = Bottleneck(2 * RATE, 2 * BDP)
    rng = random.Random(3)
    left = [0]

    def lose(now: int) -> bool:
        if left[0] == 0 and rng.random() < 0.006:
            left[0] = 5
        left[0] = max(left[0] - 1, 0)
        return left[0] > 0

    path.lose = lose
    flow = path.add("bbr", RTT)
    path.run(12 * SECOND)
    assert goodput(flow, 2 * SECOND, 12 * SECOND) > 0.92 * 2 * RATE


def test_the_share_lost_in_any_case_is_learned_and_sent_in_addition() -> None:
    cc = bbr(run(15, loss=0.03)[1][0])
    assert 0.015 < cc.baseline < 0.045
    clean = bbr(run(15)[1][0])
    assert clean.baseline < 0.002


def test_no_more_than_a_tenth_is_taken_for_the_paths_own_loss() -> None:
    cc = bbr(run(15, loss=0.18)[1][0])
    assert cc.baseline <= MAX_BASELINE


@pytest.mark.parametrize(("rate", "rtt"), [(RATE, RTT), (4 * RATE, 20 * MILLISECOND), (4 * RATE, 100 * MILLISECOND)])
def test_a_queue_of_a_quarter_bdp_is_not_kept_overflowing(rate: int, rtt: int) -> None:
    flow = run(12, queue=0.25, rate=rate, rtt=rtt)[1][0]
    assert loss_rate(flow, 2 * SECOND, 12 * SECOND) < 0.02
    assert goodput(flow, 2 * SECOND, 12 * SECOND) > 0.97 * rate


def test_a_queue_of_a_tenth_of_a_bdp_neither() -> None:
    # It hardly shows in the round trip: the rule for loss without a queue bounds it.
    flow = run(12, queue=0.1, rate=4 * RATE, rtt=20 * MILLISECOND)[1][0]
    assert loss_rate(flow, 2 * SECOND, 12 * SECOND) < 0.03
    assert goodput(flow, 2 * SECOND, 12 * SECOND) > 0.95 * 4 * RATE


def test_queues_stay_short_in_deep_buffers() -> None:
    path, (flow,) = run(12, queue=8.0)
    assert flow.lost == 0
    assert path.queue_time / path.queue_samples < 10 * MILLISECOND


def test_loss_in_a_standing_queue_lowers_the_shortterm_model() -> None:
    # Section 5.5.10.3: towards what was delivered in the last round trip.
    path, (flow,) = run(3, queue=4.0)
    cc = bbr(flow)
    while cc.state == PROBE_BW_CRUISE:
        path.run(path.now + MILLISECOND)
    while cc.state != PROBE_BW_CRUISE:
        path.run(path.now + MILLISECOND)
    # Somebody else takes half of the path and fills the queue.
    path.rate //= 2
    path.queue = BDP // 2
    lowest = INFINITE
    for _ in range(10):
        path.run(path.now + RTT)
        lowest = min(lowest, cc.bw_shortterm)
    assert lowest < 0.8 * RATE


@pytest.mark.parametrize("queue", [0.25, 1.0])
@pytest.mark.parametrize("names", [("bbr", "cubic"), ("cubic", "bbr")])
def test_neither_bbr_nor_cubic_starves_the_other(queue: float, names: tuple[str, ...]) -> None:
    _, flows = run(30, names, queue=queue, apart=2 * SECOND)
    shares = [goodput(flow, 10 * SECOND, 30 * SECOND) / RATE for flow in flows]
    assert sum(shares) > 0.95
    assert min(shares) >= 0.2


@pytest.mark.parametrize(
    ("queue", "loss", "rate", "rtt"),
    [
        (0.25, 0.0, RATE, RTT),
        (1.0, 0.0, RATE, RTT),
        (1.0, 0.01, RATE, RTT),
        (1.0, 0.0, 2 * RATE, 20 * MILLISECOND),
    ],
)
def test_two_flows_of_bbr_come_to_share_equally(queue: float, loss: float, rate: int, rtt: int) -> None:
    _, flows = run(40, ("bbr", "bbr"), queue=queue, loss=loss, rate=rate, rtt=rtt, apart=3 * SECOND)
    shares = [goodput(flow, 25 * SECOND, 40 * SECOND) for flow in flows]
    assert sum(shares) > 0.93 * rate
    jain = sum(shares) ** 2 / (2 * sum(share * share for share in shares))
    assert jain >= 0.95


def test_marks_are_congestion_while_probing_and_while_not() -> None:
    # Section 3.7: "MUST treat any CE marks as congestion".
    path = Bottleneck(RATE, 8 * BDP)
    path.mark = BDP // 4
    flow = path.add("bbr", RTT)
    path.run(3 * SECOND)
    cc = bbr(flow)
    assert cc.inflight_longterm < 2 * BDP
    while cc.state != PROBE_BW_CRUISE:
        path.run(path.now + MILLISECOND)
    path.mark = -1
    path.run(path.now + 5 * RTT)
    assert cc.inflight_shortterm < BDP
    assert flow.lost == 0


def test_marks_that_last_keep_the_queue_at_the_mark() -> None:
    path = Bottleneck(RATE, 8 * BDP)
    path.mark = BDP // 4
    flow = path.add("bbr", RTT)
    path.run(12 * SECOND)
    assert goodput(flow, 2 * SECOND, 12 * SECOND) > 0.95 * RATE
    assert path.queue_time / path.queue_samples < 10 * MILLISECOND


def test_without_sack_one_loss_in_a_full_queue_is_enough() -> None:
    # Section 5.5.10.2: IsInflightTooHigh where C.has_selective_acks is false.
    path, (flow,) = run(2, queue=4.0)
    cc = bbr(flow)
    cc.has_selective_acks = False
    cc.is_bw_probe_sample = True
    cc.recent_rtt.update(2 * RTT, path.now + SECOND, 0)
    cc.recent_rtt.update(2 * RTT, path.now + SECOND, 0)
    cc.on_lost(path.now, SMSS, 2 * BDP, SMSS, False)
    assert cc.prev_probe_too_high
    assert cc.inflight_longterm < INFINITE

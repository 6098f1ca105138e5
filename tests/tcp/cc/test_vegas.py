"""Vegas: few segments in the queue, no losses, equal shares."""

from __future__ import annotations

import pytest
from tests.tcp.cc.fluid import Fluid

from plankroad.tcp.cc import LOSS, AckSample, create
from plankroad.tcp.cc.vegas import Vegas
from plankroad.units import MILLISECOND

SMSS = 1448
BASE = 20 * MILLISECOND


def vegas() -> Vegas:
    cc = create("vegas", SMSS, 10 * SMSS)
    assert isinstance(cc, Vegas)
    return cc


def one_round(cc: Vegas, rtt: int, limited: bool = True) -> None:
    for i in range(cc.cwnd // SMSS):
        cc.on_ack(AckSample(acked=SMSS, rtt=rtt, srtt=rtt, round_start=i == 0, cwnd_limited=limited))


def test_it_grows_below_two_queued_segments_rests_up_to_four_and_shrinks_above() -> None:
    for queued, change in ((1, 1), (3, 0), (6, -1)):
        cc = vegas()
        cc.base_rtt = BASE
        cc.cwnd = cc.ssthresh = 100 * SMSS
        one_round(cc, BASE * 100 // (100 - queued))
        assert cc.cwnd == (100 + change) * SMSS
        assert not cc.in_slow_start()


def test_it_does_not_decide_where_the_window_was_not_used() -> None:
    cc = vegas()
    cc.cwnd = cc.ssthresh = 100 * SMSS
    for _ in range(10):
        one_round(cc, BASE, limited=False)
    assert cc.cwnd == 100 * SMSS


def test_slow_start_doubles_every_other_round_trip() -> None:
    cc = vegas()
    windows = []
    for _ in range(6):
        one_round(cc, BASE)
        windows.append(cc.cwnd // SMSS)
    assert windows == [10, 20, 20, 40, 40, 80]


def test_slow_start_ends_before_the_queue_is_long() -> None:
    fluid = Fluid(1_250_000, BASE, 10_000_000)
    cc = vegas()
    fluid.join(cc)
    while cc.in_slow_start():
        fluid.round()
    assert cc.cwnd <= fluid.bdp + 6 * SMSS


def test_it_is_the_end_of_a_round_trip_that_counts_and_a_single_late_ack_does_not() -> None:
    # The paper's distinguished segment: sent as the round trip begins, acknowledged at its end.
    for rtts, change in (((20, 20, 25, 25, 25), -1), ((25, 25, 20, 20, 25), 1)):
        cc = vegas()
        cc.base_rtt = BASE
        cc.cwnd = cc.ssthresh = 100 * SMSS
        for i, rtt in enumerate(rtts):
            cc.on_ack(AckSample(acked=SMSS, rtt=rtt * MILLISECOND, srtt=BASE, round_start=i == 4))
        assert cc.cwnd == (100 + change) * SMSS


def test_a_loss_halves() -> None:
    cc = vegas()
    cc.cwnd = cc.ssthresh = 40 * SMSS
    cc.on_congestion(0, LOSS, 40 * SMSS)
    assert cc.cwnd == 20 * SMSS


@pytest.mark.parametrize(("rate", "base"), [(125_000, 100), (1_250_000, 20), (12_500_000, 5), (12_500_000, 40)])
def test_it_fills_the_path_with_a_queue_of_four_segments(rate: int, base: int) -> None:
    fluid = Fluid(rate, base * MILLISECOND, 10_000_000)
    fluid.join(vegas())
    fluid.run(20)
    share, delay = fluid.run(10)
    assert share > 0.99
    assert delay * rate / 1000 < 5 * SMSS


def test_two_share_alike_whoever_was_first() -> None:
    fluid = Fluid(1_250_000, BASE, 10_000_000)
    fluid.join(vegas())
    fluid.run(20)
    fluid.join(vegas())
    fluid.run(20)
    a, b, delay = fluid.run(30)
    assert (a + b) ** 2 / (2 * (a * a + b * b)) > 0.95
    assert delay < 12

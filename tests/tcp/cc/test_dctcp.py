"""DCTCP (RFC 8257): the window follows the share of marked bytes."""

from __future__ import annotations

import pytest
from tests.tcp.cc.fluid import Fluid

from plankroad.tcp.cc import ECN, LOSS, TIMEOUT, AckSample, create
from plankroad.tcp.cc.dctcp import Dctcp
from plankroad.units import MILLISECOND

SMSS = 1448


def dctcp(segments: int = 100) -> Dctcp:
    cc = create("dctcp", SMSS, 10 * SMSS)
    assert isinstance(cc, Dctcp)
    cc.cwnd = cc.ssthresh = segments * SMSS
    return cc


def one_round(cc: Dctcp, marked: float) -> None:
    acks = cc.cwnd // SMSS
    for i in range(acks):
        cc.on_ack(
            AckSample(
                acked=SMSS,
                newly_delivered=SMSS,
                ce_bytes=SMSS if i < marked * acks else 0,
                round_start=i == 0,
            )
        )


def test_alpha_is_one_at_first_and_the_first_mark_halves() -> None:
    # RFC 8257 section 3.3.
    cc = dctcp()
    cc.on_congestion(0, ECN, 100 * SMSS)
    assert cc.cwnd == cc.ssthresh == 50 * SMSS


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_alpha_becomes_the_share_of_marked_bytes_a_sixteenth_a_window(share: float) -> None:
    cc = dctcp(20)
    cc.alpha = 0.0
    one_round(cc, share)
    assert cc.alpha == 0.0
    one_round(cc, share)
    assert cc.alpha == pytest.approx(share / 16, rel=0.1)
    for _ in range(150):
        one_round(cc, share)
    assert cc.alpha == pytest.approx(share, abs=0.01)
    before = cc.cwnd
    cc.on_congestion(0, ECN, before // 3)
    assert cc.cwnd == pytest.approx(before * (1 - share / 2), rel=0.01)


def test_more_marks_than_bytes_count_as_all() -> None:
    # An estimate by RFC 3168's echo may say too much.
    cc = dctcp()
    cc.alpha = 0.0
    for _ in range(300):
        cc.on_ack(AckSample(acked=SMSS, newly_delivered=SMSS, ce_bytes=5 * SMSS, round_start=True))
    assert 0.99 < cc.alpha <= 1.0


def test_losses_and_timeouts_are_answered_as_reno_does() -> None:
    # RFC 8257 section 3.5.
    cc = dctcp()
    cc.alpha = 0.01
    cc.on_congestion(0, LOSS, 100 * SMSS)
    assert cc.cwnd == 50 * SMSS
    cc.on_recovery_exit(0)
    cc.on_congestion(0, TIMEOUT, 50 * SMSS)
    assert (cc.cwnd, cc.ssthresh) == (SMSS, 25 * SMSS)


@pytest.mark.parametrize(("rate", "base", "mark"), [(12_500_000, 2, 20), (12_500_000, 10, 40), (125_000_000, 1, 65)])
def test_the_queue_stays_at_the_threshold_and_the_path_full(rate: int, base: int, mark: int) -> None:
    # With the K > (C * RTT) / 7 that the DCTCP paper (SIGCOMM 2010, section 3.4) derives.
    fluid = Fluid(rate, base * MILLISECOND, 100_000_000, mark * SMSS)
    fluid.join(create("dctcp", SMSS, 10 * SMSS))
    fluid.run(2)
    share, delay = fluid.run(4)
    assert share > 0.99
    assert delay * rate / 1000 < 1.3 * mark * SMSS


def test_two_share_alike_whoever_was_first() -> None:
    fluid = Fluid(12_500_000, 2 * MILLISECOND, 100_000_000, 20 * SMSS)
    fluid.join(create("dctcp", SMSS, 10 * SMSS))
    fluid.run(2)
    fluid.join(create("dctcp", SMSS, 10 * SMSS))
    fluid.run(4)
    a, b, _ = fluid.run(4)
    assert (a + b) ** 2 / (2 * (a * a + b * b)) > 0.95

"""What the algorithms are worth, on simulated paths with the whole stack above and below them."""

from __future__ import annotations

import pytest
from tests.tcp.cc.dumbbell import Dumbbell, jain

from plankroad.units import MILLISECOND

#: Payload in a packet of 1500 bytes with timestamps.
GOODPUT = 1448 / 1500


@pytest.mark.parametrize(
    ("name", "least"),
    [("cubic", 0.98), ("newreno", 0.95), ("vegas", 0.96), ("dctcp", 0.95), ("ledbat", 0.85)],
)
def test_one_flow_fills_a_path_without_loss(name: str, least: float) -> None:
    path = Dumbbell([name])
    path.run(1)
    (share,) = path.run(6)
    assert share > least * GOODPUT
    assert path.timeouts.timeouts == 0


@pytest.mark.parametrize(
    ("name", "rate", "seconds"),
    # Vegas rests anywhere between two and four segments queued, which is much where a window is ten.
    [("cubic", 5_000_000, 20), ("newreno", 5_000_000, 20), ("vegas", 10_000_000, 10), ("ledbat", 5_000_000, 20)],
)
def test_two_flows_share_alike_though_one_was_first(name: str, rate: int, seconds: int) -> None:
    path = Dumbbell([name, name], rate=rate, queue=40_000, starts=(0, 3))
    path.run(13)
    shares = path.run(seconds)
    assert jain(shares) >= 0.95
    assert sum(shares) > 0.9 * GOODPUT


def test_cubic_and_newreno_share_alike_where_the_product_of_rate_and_delay_is_small() -> None:
    # RFC 9438 section 5.1: CUBIC is in its Reno-friendly region there.
    path = Dumbbell(["cubic", "newreno"], rate=5_000_000, queue=20_000)
    path.run(8)
    assert jain(path.run(25)) >= 0.95


def test_vegas_keeps_the_queue_short_where_cubic_fills_it() -> None:
    waiting = {}
    for name in ("vegas", "cubic"):
        path = Dumbbell([name], queue=100_000)
        path.run(2)
        path.run(5)
        waiting[name] = path.segments_waiting()
    assert waiting["vegas"] < 5
    assert waiting["cubic"] > 30


def test_ledbat_leaves_the_path_to_cubic_and_takes_it_again() -> None:
    path = Dumbbell(["ledbat", "cubic"], rate=5_000_000, queue=80_000, starts=(0, 8))
    path.run(4)
    alone, _ = path.run(4)
    assert alone > 0.8 * GOODPUT
    path.run(8)
    mine, theirs = path.run(10)
    assert mine < 0.1
    assert theirs > 0.85
    assert path.senders[1].connection is not None
    path.senders[1].connection.abort(path.simulator.now)
    path.senders[1].host.driver.push()
    path.run(8)
    again, _ = path.run(8)
    assert again > 0.8 * GOODPUT


def test_ledbat_alone_adds_its_target_of_delay_and_no_more() -> None:
    path = Dumbbell(["ledbat"], queue=400_000)
    path.run(5)
    path.run(10)
    assert path.waits.percentile(95) < 65 * MILLISECOND


@pytest.mark.parametrize("threshold", [10, 20])
def test_dctcp_keeps_the_queue_at_the_threshold_of_marking_and_the_path_full(threshold: int) -> None:
    # RFC 8257: no packet is lost, though the queue has room for but a few more.
    path = Dumbbell(["dctcp"], rate=20_000_000, rtt=4 * MILLISECOND, queue=150_000, mark=threshold)
    path.run(1)
    before = path.pipe.counters.lost_queue
    (share,) = path.run(4)
    assert share > 0.99 * GOODPUT
    assert path.pipe.counters.lost_queue == before
    assert path.segments_waiting() < threshold + 1
    assert path.waits.percentile(99) / 1e9 * 20_000_000 / 8 / 1500 < threshold + 4


@pytest.mark.parametrize("threshold", [6, 10])
def test_two_dctcp_flows_share_alike(threshold: int) -> None:
    # At 6 a flow that marks took down to one segment in flight would wait for delayed ACKs for ever.
    path = Dumbbell(
        ["dctcp", "dctcp"], rate=10_000_000, rtt=4 * MILLISECOND, queue=150_000, mark=threshold, starts=(0, 1)
    )
    path.run(4)
    assert jain(path.run(8)) >= 0.95


@pytest.mark.parametrize("name", ["cubic", "newreno"])
def test_marks_cost_nothing_of_the_rate(name: str) -> None:
    # RFC 8511: 20 packets before the first mark are half of what the path holds; a smaller step back keeps it full.
    path = Dumbbell([name], rate=20_000_000, rtt=20 * MILLISECOND, queue=150_000, mark=20, ecn="on")
    path.run(2)
    (share,) = path.run(5)
    assert share > 0.96 * GOODPUT
    assert path.pipe.counters.marked > 0
    assert path.pipe.counters.lost_queue == 0

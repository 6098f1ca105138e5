"""RED (Floyd and Jacobson 1993): the average, the probability and its spread, gentle, ECN."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.sim.kit import Reports, make, tcp_packet

from plankroad.sim.events import Simulator
from plankroad.sim.fate import LOST_MASK, describe
from plankroad.sim.queue import ADMIT, MARK_OR_REFUSE, REFUSE, REFUSE_EARLY
from plankroad.sim.queue_red import RedQueue, power
from plankroad.sim.rng import stream
from plankroad.units import MILLISECOND


def red(low: int = 5, high: int = 15, weight: float = 0.002, **more: float) -> RedQueue:
    return RedQueue(stream(1, "red"), low, high, weight=weight, **more)  # type: ignore[arg-type]


def verdicts(queue: RedQueue, average: float, count: int) -> list[int]:
    """What becomes of packets while the average stays where it is."""
    found: list[int] = []
    queue.weight = 1e-300
    queue.enter(1000, 10**18)  # it is not empty
    for _ in range(count):
        queue.average = average
        found.append(queue.admit(0, 1000, 0))
    return found


def test_the_average_follows_the_length_slowly() -> None:
    """Section 4: avg = (1 - w_q) avg + w_q q."""
    queue = red(weight=0.25)
    expected = 0.0
    for length in range(5):
        assert queue.admit(0, 100, length * 1000) == ADMIT
        expected = 0.75 * expected + 0.25 * length
        assert queue.average == pytest.approx(expected)
        queue.enter(100, (length + 1) * 1000)


def test_the_average_in_bytes() -> None:
    queue = red(5000, 15_000, weight=0.5, by_bytes=True)
    queue.enter(1000, 1000)
    queue.admit(0, 100, 1000)
    assert queue.average == 500.0


def test_an_empty_queue_is_forgotten_by_the_packets_that_could_have_left() -> None:
    """Section 4: avg = (1 - w_q)^m avg, m = idle time / s."""
    queue = red(weight=0.1, mean_packet=500)
    queue.admit(0, 1000, 0)
    queue.enter(1000, 2_000_000)  # 1 ms for a mean packet
    queue.average = 4.0
    queue.depart(2_000_000)
    queue.admit(12_000_000, 1000, 12_000_000)
    assert queue.average == pytest.approx(4.0 * 0.9**10)
    assert power(0.9, 10) == pytest.approx(0.9**10)
    assert (power(0.5, 0), power(0.5, 1), power(0.5, 1074)) == (1.0, 0.5, 5e-324)


def test_below_the_first_threshold_nothing_is_dropped() -> None:
    assert set(verdicts(red(), 4.99, 1000)) == {ADMIT}


def test_the_probability_rises_to_its_maximum_and_gently_to_one() -> None:
    queue = red(max_probability=0.1)
    assert queue.probability(5) == 0.0
    assert queue.probability(10) == pytest.approx(0.05)
    assert queue.probability(15) == pytest.approx(0.1)
    assert queue.probability(22.5) == pytest.approx(0.55)
    assert queue.probability(30) == pytest.approx(1.0)
    queue.gentle = False
    assert queue.probability(15.01) == 1.0
    assert set(verdicts(queue, 15.01, 100)) == {REFUSE_EARLY}


def test_drops_are_spread_evenly() -> None:
    """Section 4: with p_a = p_b / (1 - count p_b), count from 1 on, each gap below 1 / p_b is as likely."""
    found = verdicts(red(max_probability=0.1), 10.0, 40_000)
    places = [i for i, verdict in enumerate(found) if verdict != ADMIT]
    gaps = [later - earlier for earlier, later in pairwise(places)]
    assert (min(gaps), max(gaps)) == (1, 19)
    assert sum(gaps) / len(gaps) == pytest.approx(10, rel=0.03)
    for gap in range(1, 20):
        assert gaps.count(gap) == pytest.approx(len(gaps) / 19, rel=0.3)


def test_marks_up_to_the_second_threshold_and_drops_above() -> None:
    """RFC 3168 section 19.1: above the maximum threshold the router should drop rather than mark."""
    assert set(verdicts(red(), 15.0, 1000)) == {ADMIT, MARK_OR_REFUSE}
    assert set(verdicts(red(), 15.1, 1000)) == {ADMIT, REFUSE_EARLY}
    assert set(verdicts(red(ecn=False), 10.0, 1000)) == {ADMIT, REFUSE_EARLY}


def test_limits() -> None:
    queue = red(max_packets=2, max_bytes=1500)
    for _ in range(2):
        assert queue.admit(0, 700, 0) == ADMIT
        queue.enter(700, 10)
    assert queue.admit(0, 1, 0) == REFUSE
    queue.max_packets = 0
    assert queue.admit(0, 101, 0) == REFUSE
    assert queue.admit(0, 100, 0) == ADMIT


def test_an_overload_is_held_between_the_thresholds(sim: Simulator) -> None:
    """In a pipe: packets of a sender that takes part are marked, those of one that does not are dropped early."""
    pipe, _ = make(
        sim, rate=12_000_000, queue=RedQueue(stream(3, "red"), 5, 15, max_packets=100, max_probability=0.1)
    )
    reports = Reports()
    pipe.observers.append(reports)
    for i in range(6000):
        sim.call_at(i * 970_000, pipe.send, tcp_packet(bytes(1460), tos=2 * (i & 1)))
    longest = 0
    while sim.step():
        longest = max(longest, pipe.backlog(sim.now)[0])
    counters = pipe.counters
    assert 10 < longest < 40
    assert counters.lost_queue == counters.dropped_early > 100
    assert counters.marked > 100
    words = {describe(fate, note) for _, _, _, fate, note in reports.told if fate & LOST_MASK}
    assert words == {"dropped: by the queue (RED: early)"}
    assert all(data[1] & 3 == 0 for _, _, data, fate, _ in reports.told if fate & LOST_MASK and data[1] & 3 != 2)


def test_a_cut_lets_it_begin_anew(sim: Simulator) -> None:
    queue = red(weight=0.5)
    pipe, _ = make(sim, rate=12_000_000, queue=queue)
    for _ in range(20):
        pipe.send(tcp_packet(bytes(1460)))
    assert queue.average > 5
    sim.run_until(MILLISECOND)
    pipe.cut()
    assert (queue.average, queue.count) == (0.0, -1)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"low": 0}, "0 < min < max"),
        ({"low": 15}, "0 < min < max"),
        ({"weight": 0.0}, "weight and probability"),
        ({"max_probability": 1.1}, "weight and probability"),
        ({"mean_packet": 0}, "mean packet"),
        ({"max_packets": -1}, "limits of a queue"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        red(**values)  # type: ignore[arg-type]

"""PIE (RFC 8033): the controller and its steps, safeguards, bursts, derandomization, ECN."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.sim.kit import Reports, make, tcp_packet

from plankroad.sim.events import Simulator
from plankroad.sim.fate import LOST_MASK, MARKED
from plankroad.sim.queue_delay import QueueDelay
from plankroad.sim.queue_held import Held
from plankroad.sim.queue_pie import PieQueue
from plankroad.sim.rng import stream
from plankroad.units import MILLISECOND, SECOND

TARGET = 15 * MILLISECOND
UPDATE = 15 * MILLISECOND
BURST = 150 * MILLISECOND


def pie(seed: int = 1, target: int = TARGET, burst: int = BURST, limit: int = 1000, **more: float) -> PieQueue:
    return PieQueue(stream(seed, "pie"), target, UPDATE, burst, limit, **more)  # type: ignore[arg-type]


def filled(probability: float, tos: int = 0, **more: float) -> PieQueue:
    """A queue in which packets wait, beyond its burst allowance, with this probability."""
    queue = pie(**more)  # type: ignore[arg-type]
    for _ in range(10):
        queue.put(0, Held(tcp_packet(b"x", tos=tos), 0, 1000, 0))
    queue.burst_allowance = 0
    queue.old_delay = queue.delay = 20 * MILLISECOND
    queue.drop_probability = probability
    return queue


def offer(queue: PieQueue, count: int, tos: int = 0) -> tuple[list[int], list[int]]:
    """Which of so many packets were dropped, and which were marked."""
    dropped: list[int] = []
    marked: list[int] = []
    for i in range(count):
        held = Held(tcp_packet(b"x", tos=tos), 0, 1000, 0)
        queue.put(0, held)
        if queue.dropped:
            dropped.append(i)
            queue.dropped.clear()
        else:
            queue.waiting.remove(held)
            queue.count_out(held)
        if held.fate & MARKED:
            marked.append(i)
    return dropped, marked


@pytest.mark.parametrize(
    ("probability", "divisor"),
    [(5e-7, 2048), (5e-6, 512), (5e-5, 128), (5e-4, 32), (5e-3, 8), (5e-2, 2), (0.5, 1)],
)
def test_steps_are_the_smaller_the_smaller_the_probability_is(probability: float, divisor: int) -> None:
    """Section 4.2: p = alpha (delay - target) + beta (delay - old), divided by what its table says."""
    queue = pie()
    queue.drop_probability = probability
    queue.delay, queue.old_delay = 25 * MILLISECOND, 20 * MILLISECOND
    queue.calculate()
    step = 0.125 * 0.010 + 1.25 * 0.005
    assert queue.drop_probability == pytest.approx(probability + step / divisor, rel=1e-9)
    assert queue.old_delay == 25 * MILLISECOND


def test_the_probability_is_one() -> None:
    queue = pie()
    queue.drop_probability = 0.999
    queue.delay, queue.old_delay = SECOND, SECOND
    queue.calculate()
    assert queue.drop_probability == 1.0
    queue.delay, queue.old_delay = 0, SECOND
    queue.calculate()
    assert queue.drop_probability == 0.0


def test_a_high_probability_grows_slowly() -> None:
    """Section 5.5: by 2 % at most."""
    queue = pie()
    queue.drop_probability = 0.1
    queue.delay = SECOND
    queue.calculate()
    assert queue.drop_probability == pytest.approx(0.12)


def test_the_probability_decays_while_nothing_waits() -> None:
    """Section 4.2: exponentially, besides what the controller does."""
    queue = pie()
    queue.drop_probability = 0.5
    queue.calculate()
    assert queue.drop_probability == pytest.approx((0.5 - 0.125 * 0.015) * 0.98)


def test_updates_are_made_up_for_and_end_where_nothing_changes() -> None:
    queue = pie()
    held = Held(tcp_packet(b"x"), 0, 1000, 0)
    queue.put(0, held)
    assert queue.take(MILLISECOND) is held
    assert queue.delay == MILLISECOND
    queue.drop_probability = 0.5
    queue.catch_up(10 * UPDATE + 1)
    other = pie()
    other.drop_probability = 0.5
    for _ in range(10):
        other.calculate()
    assert queue.drop_probability == other.drop_probability > 0
    queue.catch_up(10**9 * UPDATE + 5)  # half a year, at once
    assert (queue.drop_probability, queue.burst_allowance) == (0.0, BURST)
    assert queue.next_update == (10**9 + 1) * UPDATE


def test_a_burst_is_let_through() -> None:
    """Section 4.4: the allowance shrinks by each update; only after it drops begin."""
    queue = filled(1.0)
    queue.burst_allowance = BURST
    for _ in range(10):
        assert offer(queue, 50) == ([], [])
        queue.delay = 20 * MILLISECOND
        queue.calculate()
    assert queue.burst_allowance == 0
    assert len(offer(queue, 50)[0]) > 40


def test_the_burst_allowance_comes_back_when_congestion_is_gone() -> None:
    queue = pie()
    queue.burst_allowance = 0
    queue.drop_probability = 1e-9
    queue.delay = queue.old_delay = TARGET // 2
    queue.calculate()
    assert (queue.drop_probability, queue.burst_allowance) == (0.0, 0)  # not half of the target yet
    queue.delay = queue.old_delay = TARGET // 2 - 1
    queue.calculate()
    assert queue.burst_allowance == BURST


def test_safeguards_against_drops_that_would_leave_the_link_idle() -> None:
    """Section 4.1."""
    queue = filled(0.19)
    queue.old_delay = TARGET // 2 - 1
    assert offer(queue, 200)[0] == []
    queue.drop_probability = 0.2
    assert len(offer(queue, 200)[0]) > 20
    few = filled(1.0)
    while few.waiting_bytes > 3000:
        few.count_out(few.waiting.popleft())
    assert offer(few, 100)[0] == []


def test_drops_are_neither_close_together_nor_far_apart() -> None:
    """Section 5.4: none before the probabilities add up to 0.85, one for sure at 8.5."""
    queue = filled(1 / 16)
    dropped, _ = offer(queue, 50_000)
    gaps = [later - earlier for earlier, later in pairwise(dropped)]
    assert min(gaps) == 14  # the first whole number from 0.85 * 16 on
    assert 100 < max(gaps) <= 136  # 8.5 * 16
    assert sum(gaps) / len(gaps) == pytest.approx(13 + 16, rel=0.05)


def test_at_low_probability_packets_are_marked_and_at_high_dropped() -> None:
    """Section 5.1: mark_ecnth is 10 %; who takes no part is dropped in any case."""
    dropped, marked = offer(filled(0.099, tos=2), 2000, tos=2)
    assert not dropped
    assert len(marked) > 50
    dropped, marked = offer(filled(0.1, tos=2), 2000, tos=2)
    assert len(dropped) > 50
    assert not marked
    assert not offer(filled(0.05), 2000)[1]
    assert not offer(filled(0.05, ecn=False), 2000, tos=2)[1]


@pytest.mark.parametrize("tos", [0, 2])
def test_an_overload_is_brought_to_the_target(sim: Simulator, tos: int) -> None:
    """8 % more than the link carries, which does not react."""
    pipe, _ = make(sim, rate=12_000_000, queue=pie(max_marking=0.02))
    reports, delay = Reports(), QueueDelay()
    pipe.observers.append(reports)
    pipe.queue_observers.append(delay)
    for i in range(20_000):
        sim.call_at(i * 925_000, pipe.send, tcp_packet(bytes(1460), tos=tos))
    sim.run_until(9 * SECOND)
    delay.reset()
    sim.run_until(18 * SECOND)
    assert delay.mean() == pytest.approx(TARGET, rel=0.35)
    assert delay.percentile(95) < 3 * TARGET
    counters = pipe.counters
    assert counters.lost_queue == counters.dropped_early > 1000
    assert (counters.marked > 0) == (tos == 2)
    assert all(note.startswith("PIE: probability 0.") for _, _, _, fate, note in reports.told if fate & LOST_MASK)


def test_limits_and_a_cut() -> None:
    queue = pie(limit=3)
    for _ in range(4):
        queue.put(0, Held(tcp_packet(b"x"), 0, 1000, 0))
    assert [held.note for held in queue.dropped] == ["PIE: full"]
    queue.drop_probability, queue.burst_allowance = 0.5, 0
    queue.clear()
    assert (queue.drop_probability, queue.burst_allowance, queue.waiting_packets) == (0.0, BURST, 0)


@pytest.mark.parametrize("values", [{"target": 0}, {"burst": -1}, {"alpha": -1.0}, {"max_marking": 1.5}])
def test_what_makes_no_sense_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="PIE"):
        pie(**values)  # type: ignore[arg-type]

"""The event heap: order, cancelling, limits."""

from __future__ import annotations

import random
from collections import deque

import pytest

from plankroad.sim.errors import RunawayError
from plankroad.sim.events import Event, Simulator


class Note(Event):
    """Writes its name and the time down."""

    def __init__(self, sim: Simulator, log: list[tuple[int, str]], name: str) -> None:
        super().__init__()
        self.sim = sim
        self.log = log
        self.name = name

    def run(self) -> None:
        self.log.append((self.sim.now, self.name))


def test_events_run_in_order_of_time_and_then_of_scheduling() -> None:
    sim = Simulator()
    log: list[tuple[int, str]] = []
    for when, name in ((5, "a"), (3, "b"), (5, "c"), (3, "d"), (4, "e")):
        sim.schedule(Note(sim, log, name), when)
    assert sim.run() == 5
    assert log == [(3, "b"), (3, "d"), (4, "e"), (5, "a"), (5, "c")]
    assert sim.now == 5
    assert sim.events_run == 5


def test_any_schedule_runs_sorted() -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    sim = Simulator()
    log: list[tuple[int, str]] = []
    notes = [Note(sim, log, str(i)) for i in range(400)]
    expected: dict[str, tuple[int, int]] = {}
    for step in range(2000):
        note = rng.choice(notes)
        if rng.random() < 0.3:
            sim.cancel(note)
            expected.pop(note.name, None)
        else:
            when = rng.randrange(50)
            sim.schedule(note, when)
            expected[note.name] = (when, step)
    assert sim.pending() == len(expected)
    sim.run()
    assert [name for _, name in log] == sorted(expected, key=lambda name: expected[name])


def test_cancelled_events_do_not_run_and_do_not_fill_the_heap() -> None:
    sim = Simulator()
    log: list[tuple[int, str]] = []
    keep = Note(sim, log, "kept")
    sim.schedule(keep, 10)
    note = Note(sim, log, "moved")
    for when in range(10_000):
        sim.schedule(note, 20 + when)
    assert len(sim.heap) < 200
    assert sim.pending() == 2
    sim.cancel(note)
    sim.cancel(note)
    assert sim.next_time() == 10
    sim.run()
    assert log == [(10, "kept")]


def test_an_event_can_schedule_itself_and_others_for_the_same_moment() -> None:
    sim = Simulator()
    log: list[str] = []

    def first() -> None:
        log.append("first")
        sim.call_at(sim.now, log.append, "third")

    sim.call_at(7, first)
    sim.call_at(7, log.append, "second")
    sim.run()
    assert log == ["first", "second", "third"]
    assert sim.now == 7


def test_a_place_taken_before_is_kept() -> None:
    sim = Simulator()
    log: list[tuple[int, str]] = []
    order = sim.take_order()
    sim.schedule(Note(sim, log, "later"), 5)
    sim.schedule_as(Note(sim, log, "earlier"), 5, order)
    sim.run()
    assert log == [(5, "earlier"), (5, "later")]


def test_run_until_runs_what_is_due_and_moves_the_clock() -> None:
    sim = Simulator()
    log: list[str] = []
    sim.call_in(10, log.append, "ten")
    sim.call_in(11, log.append, "eleven")
    assert sim.run_until(10) == 1
    assert (log, sim.now) == (["ten"], 10)
    sim.run_until(500)
    assert (log, sim.now) == (["ten", "eleven"], 500)
    with pytest.raises(ValueError, match="has passed"):
        sim.run_until(499)


def test_the_past_is_refused() -> None:
    sim = Simulator()
    sim.run_until(100)
    with pytest.raises(ValueError, match="has passed"):
        sim.call_at(99, print)
    with pytest.raises(ValueError, match="has passed"):
        sim.call_in(-1, print)


def test_step_runs_one_event() -> None:
    sim = Simulator()
    log: list[int] = []
    sim.call_at(1, log.append, 1)
    sim.call_at(1, log.append, 2)
    assert sim.step()
    assert log == [1]
    assert sim.step()
    assert not sim.step()


def test_a_batch_ends_when_something_became_ready() -> None:
    sim = Simulator()
    ready: deque[object] = deque()
    for i in range(5):
        sim.call_at(i, ready.append if i == 2 else int, i)
    assert sim.run_batch(100, 100, ready) == 3
    assert sim.now == 2


def test_an_event_that_fails_leaves_the_rest_in_place() -> None:
    sim = Simulator()
    log: list[int] = []
    sim.call_at(1, int, "no number")
    sim.call_at(2, log.append, 2)
    with pytest.raises(ValueError, match="invalid literal"):
        sim.run()
    sim.run()
    assert log == [2]


def test_an_event_cannot_run_the_simulator() -> None:
    sim = Simulator()
    sim.call_at(1, sim.run)
    with pytest.raises(RuntimeError, match="is running"):
        sim.run()
    assert sim.run() == 0


def test_runaways_end_with_an_error() -> None:
    sim = Simulator(max_events=50)

    def again() -> None:
        sim.call_in(0, again)

    sim.call_at(0, again)
    with pytest.raises(RunawayError, match="50 events"):
        sim.run()
    assert sim.events_run == 50
    sim = Simulator(last_moment=1000)
    sim.call_at(1000, int)
    sim.run()
    sim.call_at(1001, int)
    with pytest.raises(RunawayError, match="virtual time"):
        sim.run()

"""The timer of `AsyncioScheduler`, on a loop whose time is the test's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from plankroad.aio.scheduler import AsyncioScheduler
from plankroad.units import MILLISECOND, NEVER, SECOND


class ManualLoop(asyncio.SelectorEventLoop):
    """A loop that jumps to the next timer, and counts the handles it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 100.0
        self.made = 0

    def time(self) -> float:
        return self.clock

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        self.made += 1
        return super().call_at(when, callback, *args, context=context)

    def jump(self, to: float) -> None:
        """Let time pass and run what is due."""
        while True:
            due = [h.when() for h in self._scheduled if not h.cancelled() and h.when() <= to]  # type: ignore[attr-defined]
            if not due:
                break
            self.clock = max(self.clock, min(due))
            self.call_soon(self.stop)
            self.run_forever()
        self.clock = to


@pytest.fixture
def loop() -> Any:
    made = ManualLoop()
    yield made
    made.close()


def build(loop: ManualLoop) -> tuple[AsyncioScheduler, list[int]]:
    scheduler = AsyncioScheduler(loop)
    fired: list[int] = []
    scheduler.bind(lambda: fired.append(scheduler.now()))
    return scheduler, fired


def test_the_clock_is_the_loops_where_the_loop_has_its_own(loop: ManualLoop) -> None:
    scheduler, _ = build(loop)
    assert scheduler.now() == 100 * SECOND
    loop.clock = 100.000000001
    assert scheduler.now() == 100 * SECOND + 1


def test_the_clock_is_monotonic_ns_on_asyncios_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    own = asyncio.new_event_loop()
    monkeypatch.setattr("time.monotonic_ns", lambda: 42)
    assert AsyncioScheduler(own).now() == 42
    own.close()


def test_the_timer_goes_off_once_at_its_time(loop: ManualLoop) -> None:
    scheduler, fired = build(loop)
    scheduler.set_timer(100 * SECOND + 250 * MILLISECOND)
    loop.jump(100.2)
    assert fired == []
    loop.jump(101)
    loop.jump(200)
    assert fired == [100 * SECOND + 250 * MILLISECOND]


def test_a_deadline_in_the_past_is_due_at_once(loop: ManualLoop) -> None:
    scheduler, fired = build(loop)
    scheduler.set_timer(5)
    loop.jump(100.0)
    assert fired == [100 * SECOND]


def test_a_deadline_that_moves_away_makes_no_new_handle(loop: ManualLoop) -> None:
    scheduler, fired = build(loop)
    for i in range(1000):
        scheduler.set_timer(101 * SECOND + i)
    assert loop.made == 1
    loop.jump(100.9)
    scheduler.set_timer(102 * SECOND)
    loop.jump(103)
    assert fired == [102 * SECOND]
    assert loop.made == 2


def test_an_earlier_deadline_is_met(loop: ManualLoop) -> None:
    scheduler, fired = build(loop)
    scheduler.set_timer(110 * SECOND)
    scheduler.set_timer(101 * SECOND)
    loop.jump(105)
    assert fired == [101 * SECOND]
    loop.jump(120)
    assert fired == [101 * SECOND]


def test_a_disarmed_timer_does_not_go_off(loop: ManualLoop) -> None:
    scheduler, fired = build(loop)
    scheduler.set_timer(101 * SECOND)
    scheduler.set_timer(NEVER)
    loop.jump(200)
    assert fired == []
    scheduler.set_timer(201 * SECOND)
    scheduler.close()
    assert not [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    loop.jump(300)
    assert fired == []


def test_the_timer_can_be_set_from_its_own_callback(loop: ManualLoop) -> None:
    scheduler = AsyncioScheduler(loop)
    fired: list[int] = []

    def again() -> None:
        fired.append(scheduler.now())
        if len(fired) < 3:
            scheduler.set_timer(scheduler.now() + SECOND)

    scheduler.bind(again)
    scheduler.set_timer(101 * SECOND)
    loop.jump(200)
    assert fired == [101 * SECOND, 102 * SECOND, 103 * SECOND]

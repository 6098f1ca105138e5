"""The simulator's heart: a clock that jumps, and a heap of what is to happen.

Theory of operation. An `Event` knows when it is due and under which number; the heap holds (when, order, event). Orders
count up with each scheduling, so that events of one time run in the order in which they were scheduled. An entry whose
order is not its event's any more was cancelled or superseded: it is skipped when it comes up, and when such entries
are the greater part of the heap, it is rebuilt without them. An event is an object with a `run` method, not a closure:
most of them (a pipe with packets on the way, a host's timer) live as long as the network and are scheduled again and
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from heapq import heapify, heappop, heappush
from typing import Final

from plankroad.compat import mypyc_attr
from plankroad.sim.errors import RunawayError
from plankroad.units import NEVER, SECOND

#: The end of virtual time unless one says otherwise: 100 years.
LAST_MOMENT: Final = 100 * 365 * 86400 * SECOND


@mypyc_attr(allow_interpreted_subclasses=True)
class Event:
    """Something that happens at a time. `when` (ns) and `order` are the simulator's; `order` 0: it is not scheduled."""

    __slots__ = ("order", "when")

    def __init__(self) -> None:
        self.when: int = NEVER
        self.order: int = 0

    def run(self) -> None:
        """Do it. The simulator's `now` is `when`."""
        raise NotImplementedError


class Call(Event):
    """A function to be called with arguments; what `Simulator.call_at` returns. `Simulator.cancel` takes it back."""

    __slots__ = ("args", "callback")

    def __init__(self, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        self.when = NEVER
        self.order = 0
        self.callback = callback
        self.args = args

    def run(self) -> None:
        self.callback(*self.args)


class Simulator:
    """A virtual clock and its events.

    `now` is the time in nanoseconds from the beginning (0). It moves only from one event to the next.
    `last_moment` and `max_events` are limits against runs that never end: to pass them raises `RunawayError`.
    `events_run` counts the events that have happened.
    """

    __slots__ = ("events_run", "heap", "last_moment", "last_order", "max_events", "now", "running", "stale")

    def __init__(self, last_moment: int = LAST_MOMENT, max_events: int = NEVER) -> None:
        self.now: int = 0
        self.last_moment = last_moment
        self.max_events = max_events
        self.events_run: int = 0
        self.running: bool = False
        self.last_order: int = 0
        self.stale: int = 0  # entries in the heap that will be skipped
        self.heap: list[tuple[int, int, Event]] = []

    # Scheduling

    def schedule(self, event: Event, when: int) -> None:
        """Let `event` happen at `when`; if it was scheduled already, not any more at that time.

        Raises ValueError for a time that has passed.
        """
        if when < self.now:
            raise ValueError(f"{when} ns has passed: it is {self.now} ns")
        if event.order:
            self.stale += 1
        order = self.last_order + 1
        self.last_order = order
        event.when = when
        event.order = order
        heappush(self.heap, (when, order, event))
        if self.stale > 64 and self.stale * 2 > len(self.heap):
            self._compact()

    def take_order(self) -> int:
        """A number for `schedule_as`, to be used later: the place among events of one time is that of this call."""
        order = self.last_order + 1
        self.last_order = order
        return order

    def schedule_as(self, event: Event, when: int, order: int) -> None:
        """`schedule` with an order taken before, for an event that is not scheduled. For a time that has not passed."""
        event.when = when
        event.order = order
        heappush(self.heap, (when, order, event))

    def cancel(self, event: Event) -> None:
        """Let `event` not happen. Harmless when it is not scheduled."""
        if event.order:
            event.order = 0
            event.when = NEVER
            self.stale += 1
            if self.stale > 64 and self.stale * 2 > len(self.heap):
                self._compact()

    def call_at(self, when: int, callback: Callable[..., object], *args: object) -> Call:
        """Call `callback(*args)` at `when`. Raises ValueError for a time that has passed."""
        call = Call(callback, args)
        self.schedule(call, when)
        return call

    def call_in(self, delay: int, callback: Callable[..., object], *args: object) -> Call:
        """Call `callback(*args)` after `delay` nanoseconds. Raises ValueError for a negative delay."""
        call = Call(callback, args)
        self.schedule(call, self.now + delay)
        return call

    # Running

    def next_time(self) -> int:
        """When the next event happens; `NEVER` if there is none."""
        heap = self.heap
        while heap:
            entry = heap[0]
            if entry[2].order == entry[1]:
                return entry[0]
            heappop(heap)
            self.stale -= 1
        return NEVER

    def step(self) -> bool:
        """Let the next event happen; False if there is none."""
        return self.run_batch(NEVER, 1, None) == 1

    def run_until(self, when: int) -> int:
        """Let everything happen up to and at `when`; it is `when` afterwards. Returns the number of events.

        Raises ValueError for a time that has passed.
        """
        if when < self.now:
            raise ValueError(f"{when} ns has passed: it is {self.now} ns")
        count = self.run_batch(when, NEVER, None)
        self.now = when
        return count

    def run(self) -> int:
        """Let everything happen, until nothing is scheduled any more. Returns the number of events."""
        return self.run_batch(NEVER, NEVER, None)

    def run_batch(self, until: int, limit: int, ready: Sized | None) -> int:
        """Events up to and at `until`, at most `limit` of them, and none after one that put something into `ready`.

        Returns how many there were. For loops that do other things between events.
        """
        if self.running:
            raise RuntimeError("the simulator is running: an event cannot run it again")
        heap = self.heap
        self.running = True
        budget = self.max_events - self.events_run
        count = 0
        try:
            while heap and count < limit:
                entry = heap[0]
                when = entry[0]
                if when > until:
                    break
                event = entry[2]
                if event.order != entry[1]:
                    heappop(heap)
                    self.stale -= 1
                    continue
                if when > self.last_moment:
                    raise RunawayError(
                        f"the limit of virtual time ({self.last_moment / 1e9:g} s) is reached; "
                        "something goes on for ever, or the limit (`max_time`) is too low"
                    )
                if count >= budget:
                    raise RunawayError(
                        f"the limit of {self.max_events} events is reached at {self.now / 1e9:.9f} s; "
                        "something goes on for ever, or the limit (`max_events`) is too low"
                    )
                heappop(heap)
                event.order = 0
                self.now = when
                count += 1
                event.run()
                if ready:
                    break
        finally:
            self.running = False
            self.events_run += count
        return count

    def pending(self) -> int:
        """How many events are scheduled."""
        return len(self.heap) - self.stale

    def _compact(self) -> None:
        alive = [entry for entry in self.heap if entry[2].order == entry[1]]
        self.heap[:] = alive  # in place: `run_batch` holds the list
        heapify(self.heap)
        self.stale = 0

"""A clock and one timer: all that a `Driver` needs from the world, apart from its links."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from plankroad.units import NEVER, SECOND


class Scheduler:
    """What a driver runs on. One scheduler serves one driver: it has one timer.

    The simulator has one on its virtual clock, `AsyncioScheduler` is one on an event loop. Callbacks are called by
    the loop, never from inside a method of the scheduler.
    """

    def now(self) -> int:
        """The time in nanoseconds, from any origin, never going back."""
        raise NotImplementedError

    def bind(self, callback: Callable[[], None]) -> None:
        """Name what the timer calls. The driver does this once, before anything else."""
        raise NotImplementedError

    def set_timer(self, when: int) -> None:
        """Call the bound callback once, at `when` or a little later, instead of when it was told before.

        `NEVER` disarms. A timer that has gone off is disarmed.
        """
        raise NotImplementedError

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, after the caller has returned to the loop."""
        raise NotImplementedError

    def watch_readable(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever descriptor `fd` is readable; None ends it."""
        raise NotImplementedError(f"{type(self).__name__} cannot watch file descriptors")

    def watch_writable(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever descriptor `fd` is writable; None ends it."""
        raise NotImplementedError(f"{type(self).__name__} cannot watch file descriptors")

    def close(self) -> None:
        """Disarm the timer for good."""
        self.set_timer(NEVER)


class AsyncioScheduler(Scheduler):
    """A scheduler on an asyncio event loop (asyncio's own, uvloop's, or one in virtual time).

    The clock is `time.monotonic_ns`, or the loop's own where the loop's `time` is not asyncio's (virtual time).
    uvloop's `time` counts milliseconds and stands still during a callback, so it is not used.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callback: Callable[[], None] | None = None
        self._deadline = NEVER  # what the driver wants
        self._handle: asyncio.TimerHandle | None = None
        self._handle_when = NEVER  # when the loop calls us
        base = asyncio.BaseEventLoop
        self._loop_clock = isinstance(loop, base) and type(loop).time is not base.time

    def now(self) -> int:
        if self._loop_clock:
            return round(self._loop.time() * SECOND)
        return time.monotonic_ns()

    def bind(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def set_timer(self, when: int) -> None:
        self._deadline = when
        # Deadlines mostly move away (each acknowledgement restarts the retransmission timer), so the loop's handle is
        # left to go off early and sets itself anew; a handle is given up only for an earlier one.
        if when < self._handle_when:
            if self._handle is not None:
                self._handle.cancel()
            delay = when - self.now()
            self._handle_when = when
            self._handle = self._loop.call_at(self._loop.time() + max(delay, 0) / SECOND, self._fire)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def watch_readable(self, fd: int, callback: Callable[[], None] | None) -> None:
        if callback is None:
            self._loop.remove_reader(fd)
        else:
            self._loop.add_reader(fd, callback)

    def watch_writable(self, fd: int, callback: Callable[[], None] | None) -> None:
        if callback is None:
            self._loop.remove_writer(fd)
        else:
            self._loop.add_writer(fd, callback)

    def close(self) -> None:
        self._deadline = NEVER
        self._handle_when = NEVER
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._handle_when = NEVER
        deadline = self._deadline
        if deadline >= NEVER:
            return
        if self.now() < deadline:
            self.set_timer(deadline)
            return
        self._deadline = NEVER
        if self._callback is not None:
            self._callback()

"""Work in threads while time is virtual: threads hold the clock.

A function that a program gives to `loop.run_in_executor` (or `asyncio.to_thread`) runs in a real thread and takes no
virtual time: the loop does nothing else until it has returned, so that what follows is the same in every run. Of
several functions that run at once the results are handed out together, in the order in which they were given in.

A function that calls back into the loop (`asyncio.run_coroutine_threadsafe`, `call_soon_threadsafe`) waits, very
likely, for the loop: from then on it does not hold the clock any more, and the virtual time at which its result comes
depends on real time. Blocking in a thread until something happens in virtual time is therefore possible by this way
only.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Sized
from typing import Any, Final

logger = logging.getLogger("plankroad")

#: Seconds of real time for which a function in a thread may hold up callbacks that are ready.
PATIENCE: Final = 10.0


class Job:
    """A function in a thread. `thread` is the thread's identifier while it runs.

    `free`: it does not hold the clock. `slow`: it took so long that it holds nothing but the clock.
    """

    __slots__ = ("free", "outcome", "result", "slow", "thread")

    def __init__(self, result: asyncio.Future[Any]) -> None:
        self.result = result
        self.outcome: concurrent.futures.Future[Any] | None = None
        self.thread = 0
        self.free = False
        self.slow = False

    def hand_over(self) -> None:
        """Give the outcome to whoever awaits it."""
        outcome = self.outcome
        if outcome is None or self.result.done():
            return
        if outcome.cancelled():
            self.result.cancel()
            return
        error = outcome.exception()
        if error is None:
            self.result.set_result(outcome.result())
        elif isinstance(error, StopIteration):
            self.result.set_exception(RuntimeError("a function in a thread raised StopIteration"))
        else:
            self.result.set_exception(error)


class Jobs:
    """The functions in threads of one loop."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._news = threading.Event()

    def __len__(self) -> int:
        return len(self._jobs)

    def submit(
        self,
        loop: asyncio.AbstractEventLoop,
        executor: concurrent.futures.Executor,
        func: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> asyncio.Future[Any]:
        """Start `func(*args)`."""
        job = Job(loop.create_future())

        def run() -> Any:
            job.thread = threading.get_ident()
            try:
                return func(*args)
            finally:
                job.thread = 0

        self._jobs.append(job)  # before it runs: it may post something at once
        try:
            if isinstance(executor, concurrent.futures.ThreadPoolExecutor):
                outcome = executor.submit(run)
            else:
                outcome = executor.submit(func, *args)  # a process cannot be given a closure
        except BaseException:
            self._jobs.remove(job)
            raise
        job.outcome = outcome
        outcome.add_done_callback(lambda _: self._news.set())
        job.result.add_done_callback(lambda result: outcome.cancel() if result.cancelled() else None)
        return job.result

    def posted(self, thread: int) -> None:
        """A callback was given to the loop from `thread`, which may be that of a job."""
        for job in self._jobs:
            if job.thread == thread:
                job.free = True
        self._news.set()

    def settle(self, ready: Sized) -> None:
        """Wait, in real time, for the jobs that hold the clock; hand out what is done.

        While callbacks are `ready` a job that takes longer than `PATIENCE` does not hold them up, only the clock: it
        may be waiting for one of them.
        """
        while True:
            self._news.clear()
            running = [job for job in self._jobs if job.outcome is not None and not job.outcome.done()]
            holding = [job for job in running if not job.free]
            waited_for = [job for job in holding if not job.slow] if ready else holding
            if not waited_for:
                break
            if not self._news.wait(PATIENCE if ready else None):
                logger.warning(
                    "%d function(s) in threads take more than %g s while other tasks could run; they run on, and the "
                    "simulation may not be reproducible",
                    len(waited_for),
                    PATIENCE,
                )
                for job in waited_for:
                    job.slow = True
        finished = [job for job in self._jobs if job not in running]
        self._jobs = running
        for job in finished:
            job.hand_over()

    def wait(self, seconds: float | None) -> bool:
        """Wait, in real time, for a thread to be done or to post something. False: nothing came within the limit."""
        came = self._news.wait(seconds)
        self._news.clear()
        return came

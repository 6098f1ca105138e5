"""Many cells on many cores: processes that are given one run after the other.

Each worker is a fresh interpreter (on all systems alike) that waits at a pipe. The results do not depend on how many
there are. A worker that dies is told of by name of its cell; an interrupt ends all of them at once.
"""

from __future__ import annotations

import contextlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from plankroad.paths.cell import Cell
from plankroad.paths.grid import effort
from plankroad.paths.result import Result
from plankroad.paths.series import Series
from plankroad.paths.virtual import run_virtual
from plankroad.tcp.cc.registry import names

#: Seconds that an ending worker is waited for.
PATIENCE: Final = 5.0

#: (number of the run, what was measured, what happened over time, why it failed)
Answer = tuple[int, Result | None, Series | None, str]


class CellError(Exception):
    """A cell could not be measured; the text says which, and why."""


def load_file(path: str) -> list[str]:
    """Import a program's file that registers algorithms; returns the names that are new. Whatever it raises goes on."""
    before = names()
    # Its directory comes first, as if it were run.
    sys.path.insert(0, str(Path(path).resolve().parent))
    spec = importlib.util.spec_from_file_location(f"plankroad_loaded_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return [name for name in names() if name not in before]


def cores() -> int:
    """How many processes can run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_all(
    cells: Sequence[Cell], jobs: int, traced: frozenset[int] = frozenset(), load: str | None = None
) -> Generator[tuple[int, Result, Series | None]]:
    """Run each of `cells` in virtual time, `jobs` at once, and give number, result and, for those `traced`, series.

    They come as they are ready; what takes longest begins first. Closing the generator ends what is under way. `load`:
    see `load_file`, for the workers; with one job all happens in this process, where it was loaded already. Raises
    `CellError`.
    """
    order = sorted(range(len(cells)), key=lambda number: (-effort(cells[number]), number))
    jobs = min(jobs, len(cells))
    if jobs > 1:
        yield from _run_in_workers(cells, order, jobs, traced, load)
        return
    for number in order:
        try:
            result, series = run_virtual(cells[number], number in traced)
        except Exception as exc:
            raise CellError(f"{cells[number].describe()}: {type(exc).__name__}: {exc}") from exc
        yield number, result, series


def start_uninterrupted(process: BaseProcess) -> None:
    """Start a process that the interrupt key does not reach, not even while it imports: who started it ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        process.start()
        return
    # It inherits the mask. multiprocessing's tracker sets masks of its own when it starts, so it does that before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """A process and our end of its pipe; `number`: that of the run it is at, -1 for nothing.

    `work` is given the other end of the pipe, and `arguments`; it goes on until the pipe ends.
    """

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(theirs, *arguments), daemon=True)
        start_uninterrupted(self.process)
        theirs.close()
        self.number = -1

    def stop(self) -> None:
        """End it, whatever it is at."""
        self.pipe.close()
        self.process.terminate()

    def join(self) -> None:
        """Wait until it has ended."""
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(PATIENCE)
        self.process.close()


def _run_in_workers(
    cells: Sequence[Cell], order: Sequence[int], jobs: int, traced: frozenset[int], load: str | None
) -> Iterator[tuple[int, Result, Series | None]]:
    todo = iter(order)
    workers: list[Worker] = []
    try:
        for _ in range(jobs):
            workers.append(Worker(_work, load))
            _give(workers[-1], next(todo), cells, traced)
        while busy := {worker.pipe: worker for worker in workers if worker.number >= 0}:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                worker = busy[pipe]
                result, series = _take(worker, cells)
                number = worker.number
                worker.number = -1
                following = next(todo, -1)
                if following >= 0:
                    _give(worker, following, cells, traced)
                yield number, result, series
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.join()


def _give(worker: Worker, number: int, cells: Sequence[Cell], traced: frozenset[int]) -> None:
    worker.number = number
    # One that has died is noticed when its answer is awaited.
    with contextlib.suppress(OSError):
        worker.pipe.send((number, cells[number], number in traced))


def _take(worker: Worker, cells: Sequence[Cell]) -> tuple[Result, Series | None]:
    try:
        answer: Answer = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(PATIENCE)
        code = worker.process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"status {code}"
        raise CellError(
            f"{cells[worker.number].describe()}: its process ended with {how}"
            + ("; is there enough memory? Fewer --jobs need less" if code == -signal.SIGKILL else "")
        ) from None
    _, result, series, problem = answer
    if result is None:
        raise CellError(f"{cells[worker.number].describe()}: {problem}")
    return result, series


def _work(pipe: Connection, load: str | None) -> None:
    """What a worker does, until it is terminated or its pipe ends."""
    # Where signals cannot be blocked, at least from here on: see `start_uninterrupted`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    problem = ""
    if load is not None:
        try:
            load_file(load)
        except Exception as exc:
            problem = f"{load}: {type(exc).__name__}: {exc}"
    while True:
        try:
            number, cell, trace = pipe.recv()
        except (EOFError, OSError):
            return
        answer: Answer
        try:
            if problem:
                answer = (number, None, None, problem)
            else:
                result, series = run_virtual(cell, trace)
                answer = (number, result, series, "")
        except Exception as exc:
            where = traceback.extract_tb(exc.__traceback__)[-1]
            answer = (number, None, None, f"{type(exc).__name__}: {exc} ({Path(where.filename).name}:{where.lineno})")
        try:
            pipe.send(answer)
        except OSError:
            return

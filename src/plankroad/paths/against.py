"""Cells measured twice: with our TCP in virtual time, and with the kernel's on the same paths in real time.

Ours run first, on all cores. Then the kernel's: as many at once as the machine carries, those of high rates alone,
for an emulator that shares its core does not keep real time. A run that did not keep it is tried again with nothing
beside it; if it fails again, the result says so and does not count.
"""

from __future__ import annotations

import contextlib
import signal
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Final

from plankroad.paths.cell import Cell
from plankroad.paths.ground import KernelError, check_ground
from plankroad.paths.linux import run_linux, why_not
from plankroad.paths.measure import measure, seeded
from plankroad.paths.pool import Worker, cores, load_file
from plankroad.paths.result import Result, median
from plankroad.paths.series import Series
from plankroad.paths.sharing import run_shared

#: What a run costs of a core: whatever its rate is, and at 100 Mbit/s.
_BASE_COST: Final = 0.08
_RATE_COST: Final = 0.8 / 100_000_000

#: The share of the cores that runs may use together. The kernel's own work is the rest.
SHARE: Final = 0.5


def cost(cell: Cell) -> float:
    """How much of a core the emulator needs, about."""
    return _BASE_COST + cell.rate * _RATE_COST


def _work(pipe: Connection, run: Callable[[Cell], Result], load: str | None) -> None:
    # The interrupt key reaches the whole group: who started us ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer: Result | str
    while True:
        try:
            cell: Cell = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            if load is not None:
                load_file(load)
                load = None
            answer = run(cell)
        except KernelError as error:
            answer = str(error)
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            pipe.send(answer)


def run_kernels(
    cells: Sequence[Cell], jobs: int = 0, run: Callable[[Cell], Result] = run_linux, load: str | None = None
) -> Iterator[tuple[int, Result | str]]:
    """Measure each cell with the kernel's TCP; its number, and what came out or why nothing did, as they are ready.

    `jobs`: at most so many at once; 0: as many as keep real time. `run`: what is done with a cell. `load`: see
    `pool.load_file`. Closing the iterator ends what is under way.
    """
    limit = jobs or 4 * cores()
    budget = SHARE * cores()
    # High rates first: the small ones fill what room is left.
    todo = sorted(range(len(cells)), key=lambda number: (-cells[number].rate, number))
    again: list[int] = []
    tried: set[int] = set()
    runners: list[Worker] = []
    try:
        while todo or again or any(runner.number >= 0 for runner in runners):
            busy = {runner.pipe: runner for runner in runners if runner.number >= 0}
            used = sum(cost(cells[runner.number]) for runner in busy.values())
            following = -1
            if len(busy) < limit:
                following = next((n for n in todo if not busy or used + cost(cells[n]) <= budget), -1)
                if following >= 0:
                    todo.remove(following)
                elif not busy and again:
                    following = again.pop(0)
            if following >= 0:
                runner = next((one for one in runners if one.number < 0), None)
                if runner is None:
                    runner = Worker(_work, run, load)
                    runners.append(runner)
                runner.number = following
                runner.pipe.send(cells[following])
                continue
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                runner = busy[pipe]
                number, runner.number = runner.number, -1
                answer: Result | str
                try:
                    answer = pipe.recv()
                except (EOFError, OSError):
                    runners.remove(runner)
                    runner.stop()
                    runner.join()
                    answer = "its process has ended"
                if isinstance(answer, Result) and not answer.kept_real_time and number not in tried:
                    tried.add(number)
                    again.append(number)
                    continue
                yield number, answer
    finally:
        for runner in runners:
            runner.stop()
        for runner in runners:
            runner.join()


def measure_against(
    cells: Sequence[Cell],
    seeds: int = 1,
    jobs: int = 1,
    traced: frozenset[int] = frozenset(),
    load: str | None = None,
    after_run: Callable[[Cell], None] | None = None,
    after_kernel: Callable[[Cell], None] | None = None,
    kernel_jobs: int = 0,
) -> Iterator[tuple[int, Result, Series | None]]:
    """`measure.measure`, each result with the kernel's in its `linux`: the median over the same seeds.

    A cell that a kernel cannot be given has None there, and a note that says why. `after_kernel` is called after each
    of the kernel's runs, `kernel_jobs` of which go on at once (0: see `run_kernels`). Raises `KernelError`, before
    anything is measured, where there is no ground for a kernel.
    """
    check_ground()
    ours: dict[int, tuple[Result, Series | None]] = {}
    for number, result, series in measure(cells, seeds, jobs, traced, load, after_run):
        reason = why_not(cells[number])
        if reason:
            if after_kernel is not None:
                for run in seeded(cells[number], seeds):
                    after_kernel(run)
            yield number, noted(result, reason), series
        else:
            ours[number] = (result, series)
    runs = [(number, run) for number in sorted(ours) for run in seeded(cells[number], seeds)]
    found: dict[int, list[Result | str]] = {number: [] for number in ours}
    for place, answer in run_kernels([run for _, run in runs], kernel_jobs):
        number, run = runs[place]
        if after_kernel is not None:
            after_kernel(run)
        found[number].append(answer)
        if len(found[number]) == seeds:
            answers = found.pop(number)
            result, series = ours.pop(number)
            problems = [one for one in answers if isinstance(one, str)]
            kernels = sorted((one for one in answers if isinstance(one, Result)), key=lambda one: one.cell.seed)
            for problem in dict.fromkeys(problems):
                result = noted(result, problem)
            yield number, replace(result, linux=median(kernels) if kernels else None), series


def shared_cells(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, each with two flows at least. ValueError for those that cannot be shared with a kernel's flows."""
    for cell in cells:
        reason = why_not(cell)
        if reason:
            raise ValueError(f"rate: {cell.describe()} cannot be shared with Linux: {reason}")
        if cell.size:
            raise ValueError("bytes: flows that share a path with a kernel's are timed; say seconds")
    return [replace(cell, flows=max(2, cell.flows)) for cell in cells]


def measure_sharing(
    cells: Sequence[Cell],
    seeds: int = 1,
    jobs: int = 0,
    load: str | None = None,
    after_kernel: Callable[[Cell], None] | None = None,
) -> Iterator[tuple[int, Result, None]]:
    """Measure cells in which every second flow is the kernel's (`sharing.run_shared`): the median over the seeds, of
    which every second lets the kernel's flow be the first. Raises `KernelError` where that cannot be.
    """
    check_ground()
    runs = [(number, run) for number, cell in enumerate(cells) for run in seeded(cell, seeds)]
    found: dict[int, list[Result]] = {}
    for place, answer in run_kernels([run for _, run in runs], jobs, run_shared, load):
        number, run = runs[place]
        if isinstance(answer, str):
            raise KernelError(f"{run.describe()}: {answer}")
        if after_kernel is not None:
            after_kernel(run)
        found.setdefault(number, []).append(answer)
        if len(found[number]) == seeds:
            yield number, median(sorted(found.pop(number), key=lambda one: one.cell.seed)), None


def noted(result: Result, reason: str) -> Result:
    """The result with a note on why there is nothing of a kernel, or not of every seed."""
    return replace(result, notes=(*result.notes, f"no Linux: {reason}"))


def ratio(result: Result) -> float | None:
    """Our goodput over the kernel's; None where there is nothing of a kernel that counts.

    With a number of bytes to carry it is the kernel's time over ours, which is the same.
    """
    linux = result.linux
    if linux is None or linux.kept_real_time is False or not linux.goodput_bps:
        return None
    return result.goodput_bps / linux.goodput_bps


def summary(results: Sequence[Result]) -> list[str]:
    """What the comparison comes to, in lines for people; for each algorithm by itself."""
    lines: list[str] = []
    for algorithm in dict.fromkeys(result.cell.algorithm_text for result in results):
        chosen = [result for result in results if result.cell.algorithm_text == algorithm]
        pairs = [(value, result) for result in chosen if (value := ratio(result)) is not None]
        if not pairs:
            continue
        good = sum(1 for value, _ in pairs if value >= 1.0)
        least, worst = min(pairs, key=lambda pair: pair[0])
        more = sum(1 for _, result in pairs if result.linux is not None and result.rtos > result.linux.rtos)
        lines.append(
            f"{algorithm}: ours / Linux is 1.0 or more in {good} of {len(pairs)} cells "
            f"({100 * good / len(pairs):.0f} %), the median {statistics.median(value for value, _ in pairs):.3f}, "
            f"the least {least:.3f} ({worst.cell.describe()}); more RTOs than Linux in {more}"
        )
        left_out = len(chosen) - len(pairs)
        if left_out:
            lines[-1] += f"; {left_out} not compared"
    return lines

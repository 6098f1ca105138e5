"""Cells, each with several seeds, and the median of what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from plankroad.paths.cell import Cell
from plankroad.paths.pool import run_all
from plankroad.paths.result import Result, median
from plankroad.paths.series import Series


def seeded(cell: Cell, seeds: int) -> list[Cell]:
    """The cell with its own seed and those that follow it."""
    return [replace(cell, seed=cell.seed + number) for number in range(seeds)]


def measure(
    cells: Sequence[Cell],
    seeds: int = 1,
    jobs: int = 1,
    traced: frozenset[int] = frozenset(),
    load: str | None = None,
    after_run: Callable[[Cell], None] | None = None,
) -> Iterator[tuple[int, Result, Series | None]]:
    """Measure each of `cells` in virtual time; give its number, the median over `seeds` seeds, and for those numbers in
    `traced` what happened over time with the first seed. They come as they are ready.

    `jobs`, `load`: see `pool.run_all`, whose errors are raised. `after_run` is called after each run.
    """
    runs = [run for cell in cells for run in seeded(cell, seeds)]
    rows: dict[int, Series] = {}
    found: dict[int, dict[int, Result]] = {}
    for number, result, series in run_all(runs, jobs, frozenset(number * seeds for number in traced), load):
        if after_run is not None:
            after_run(runs[number])
        cell, place = divmod(number, seeds)
        if series is not None:
            rows[cell] = series
        found.setdefault(cell, {})[place] = result
        if len(found[cell]) == seeds:
            done = found.pop(cell)
            yield cell, median([done[place] for place in range(seeds)]), rows.pop(cell, None)

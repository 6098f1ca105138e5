"""Many runs on several processes: the same results, and one line where something goes wrong."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from plankroad.paths.cell import Cell
from plankroad.paths.grid import span
from plankroad.paths.measure import measure, seeded
from plankroad.paths.pool import CellError, load_file, run_all
from plankroad.paths.result import Result
from plankroad.paths.virtual import comparable
from plankroad.tcp.cc.newreno import NewReno
from plankroad.tcp.cc.registry import names, register

CELLS = span("one", {"rate": ["1Mbit", "2Mbit", "500kbit"], "loss": ["2%"], "seconds": ["2"]})

OWN = """
from plankroad.tcp.cc.newreno import NewReno
from plankroad.tcp.cc.registry import register


class Timid{number}(NewReno):
    pass


register("timid{number}", Timid{number})
"""


def by_number(jobs: int) -> dict[int, Result]:
    return {number: comparable(result) for number, result, _ in run_all(CELLS, jobs)}


def test_the_number_of_processes_changes_nothing() -> None:
    alone = by_number(1)
    assert sorted(alone) == [0, 1, 2]
    assert [alone[number].cell for number in range(3)] == CELLS
    assert by_number(2) == by_number(8) == alone


def test_what_takes_longest_begins_first() -> None:
    assert [number for number, _, _ in run_all(CELLS, 1)] == [1, 0, 2]


def test_rows_come_for_those_that_are_traced() -> None:
    for jobs in (1, 2):
        rows = {number: series is not None for number, _, series in run_all(CELLS[:2], jobs, frozenset([1]))}
        assert rows == {0: False, 1: True}


class Broken(NewReno):
    """Fails as soon as it is used."""

    def on_sent(self, now: int, nbytes: int, in_flight: int) -> None:
        raise RuntimeError("a congestion control of somebody's own")


def test_a_cell_that_fails_is_named() -> None:
    if "broken of test_pool" not in names():
        register("broken of test_pool", Broken)
    cell = replace(CELLS[0], algorithms=("broken of test_pool",))
    with pytest.raises(CellError, match=r"^1 Mbit/s, 40 ms, .*broken of test_pool.*: RuntimeError: a congestion"):
        list(run_all([cell], 1))
    # Workers have not registered it.
    with pytest.raises(CellError, match=r"ValueError: algorithm: there is no 'broken of test_pool'"):
        list(run_all([cell, cell], 2))


def test_workers_load_a_file_of_somebodys_own(tmp_path: Path) -> None:
    file = tmp_path / "timid.py"
    file.write_text(OWN.format(number=1))
    assert load_file(str(file)) == ["timid1"]
    cells = [replace(cell, algorithms=("timid1",)) for cell in CELLS]
    found = {number: comparable(result) for number, result, _ in run_all(cells, 2, load=str(file))}
    reno = {
        number: comparable(result)
        for number, result, _ in run_all([replace(cell, algorithms=("newreno",)) for cell in CELLS], 1)
    }
    assert {number: result.goodput_bps for number, result in found.items()} == {
        number: result.goodput_bps for number, result in reno.items()
    }
    file.write_text("raise OSError('not here')")
    with pytest.raises(CellError, match=r"timid\.py: OSError: not here"):
        list(run_all(cells, 2, load=str(file)))


KILLER = """
import os, signal
from plankroad.tcp.cc.newreno import NewReno
from plankroad.tcp.cc.registry import register


class Killer(NewReno):
    def on_established(self, now, rtt):
        if os.getpid() != {parent}:
            os.kill(os.getpid(), signal.SIGKILL)


register("killer", Killer)
"""


def test_a_worker_that_dies_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "killer.py"
    file.write_text(KILLER.format(parent=os.getpid()))
    assert load_file(str(file)) == ["killer"]
    cells = [replace(cell, algorithms=("killer",)) for cell in CELLS]
    with pytest.raises(
        CellError, match=f"its process ended with signal {int(signal.SIGKILL)}; is there enough memory"
    ):
        list(run_all(cells, 2, load=str(file)))


def test_a_consumer_that_stops_leaves_no_process() -> None:
    runs = run_all([replace(cell, seconds=3600.0) for cell in CELLS[:1]] + CELLS[1:], 2)
    next(runs)
    runs.close()
    assert multiprocessing.active_children() == []


def test_the_median_is_over_seeds_and_the_plots_are_of_the_first() -> None:
    cells = CELLS[:2]
    counted: list[Cell] = []
    found = {
        number: (result, series)
        for number, result, series in measure(cells, 3, 2, frozenset([0]), after_run=counted.append)
    }
    assert sorted(found) == [0, 1]
    assert len(counted) == 6
    assert found[0][1] is not None
    assert found[1][1] is None
    single = {cell.seed: result.goodput_bps for cell, (_, result, _) in zip_runs(cells[0])}
    assert found[0][0].goodput_bps == sorted(single.values())[1]
    assert found[0][0].seeds == (1, 2, 3)
    assert found[0][0].cell == cells[0]


def zip_runs(cell: Cell) -> list[tuple[Cell, tuple[int, Result, object]]]:
    runs = seeded(cell, 3)
    return [(runs[answer[0]], answer) for answer in run_all(runs, 1)]

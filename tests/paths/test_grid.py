"""Which cells lists of values span."""

from __future__ import annotations

import pytest

from plankroad.paths.cell import Cell
from plankroad.paths.grid import effort, span, split_list
from plankroad.paths.virtual import check
from plankroad.tcp.cc.registry import names


def test_one_cell_has_the_value_of_each_axis() -> None:
    assert span("one", {}) == [Cell(rate=10_000_000, rtt=40_000_000)]


def test_lists_are_all_combined_the_first_axis_slowest() -> None:
    cells = span("one", {"loss": ["0", "1%"], "rate": ["1Mbit", "2Mbit"], "seed": ["3"]})
    assert [(cell.rate, cell.loss, cell.seed) for cell in cells] == [
        (1_000_000, 0, 3),
        (1_000_000, 0.01, 3),
        (2_000_000, 0, 3),
        (2_000_000, 0.01, 3),
    ]


def test_what_is_chosen_replaces_the_values_of_a_grid() -> None:
    cells = span("small", {"algorithm": ["newreno"], "seconds": ["2"]})
    assert {cell.algorithms for cell in cells} == {("newreno",)}
    assert {cell.seconds for cell in cells} == {2.0}
    assert len(cells) == len(set(cells)) > 20
    # Blocks that differ in nothing any more are one.
    assert len(span("small", {"rate": ["1Mbit"], "rtt": ["1ms"], "loss": ["0"], "flows": ["1"]})) < len(cells)


@pytest.mark.parametrize("grid", ["small", "full"])
def test_grids_hold_what_can_be_run(grid: str) -> None:
    cells = span(grid, {})
    for name in {name for cell in cells for name in cell.algorithms}:
        assert name in names()
    check(cells[0])


def test_the_full_grid_has_all_that_the_measure_of_tcp_asks_for() -> None:
    cells = span("full", {})
    assert {cell.rate for cell in cells} >= {10**6, 10**9}
    assert {cell.rtt for cell in cells} >= {1_000_000, 300_000_000}
    assert {cell.loss for cell in cells} == {0, 0.001, 0.01, 0.03}
    assert {str(cell.queue) for cell in cells} == {"0.25bdp", "1bdp", "4bdp", "codel"}
    assert {cell.flows for cell in cells} >= {1, 2}
    assert {cell.burst is None for cell in cells} == {cell.reorder is None for cell in cells} == {True, False}


def test_bytes_are_waited_for() -> None:
    (cell,) = span("one", {"bytes": ["1MB"]})
    assert (cell.size, cell.seconds) == (1_000_000, 600)
    (cell,) = span("one", {"bytes": ["1MB"], "seconds": ["5"]})
    assert cell.seconds == 5


def test_effort_is_about_packets() -> None:
    (cell,) = span("one", {"seconds": ["12"]})
    assert effort(cell) == 10_000
    (cell,) = span("one", {"bytes": ["15kB"], "flows": ["2"]})
    assert effort(cell) == 20


def test_lists_are_read() -> None:
    assert split_list("1Mbit, 2Mbit", "rate") == ["1Mbit", "2Mbit"]
    with pytest.raises(ValueError, match="rate: '1Mbit,' has an empty place"):
        split_list("1Mbit,", "rate")

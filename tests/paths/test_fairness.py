"""Jain's index and convergence, from what each flow had got by the end of each bin."""

from __future__ import annotations

import pytest

from plankroad.paths.cell import Cell, parse_cell
from plankroad.paths.fairness import WINDOW_BINS, Shares, bin_length, jain


def shares(cell: Cell, *rates: list[int]) -> Shares:
    """Bins in which each flow got so many bytes."""
    found = Shares(cell)
    total = [0] * cell.flows
    for row in rates:
        total = [before + more for before, more in zip(total, row, strict=True)]
        found.add(total)
    return found


def test_jains_index() -> None:
    assert jain([5, 5, 5, 5]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([0, 0]) == 1
    assert jain([61, 39]) == pytest.approx(0.954, abs=0.001)


def test_a_bin_is_a_round_trip_but_not_too_short() -> None:
    assert bin_length(parse_cell(rate="1Mbit", rtt="300ms")) == 300_000_000
    assert bin_length(parse_cell(rate="1Mbit", rtt="1ms")) == 100_000_000


CELL = parse_cell(rate="10Mbit", rtt="50ms", flows="2", seconds="10")


def test_what_was_before_the_second_half_does_not_count_as_steady() -> None:
    # The second flow starts in bin 11; the time of both is from there to bin 100, its second half from bin 56 on.
    assert 10 * CELL.duration // 100 < CELL.starts()[1] <= 11 * CELL.duration // 100
    found = shares(CELL, *[[100, 0]] * 56, *[[50, 50]] * 44)
    assert found.steady() == 1
    assert shares(CELL, *[[100, 0]] * 100).steady() == 0.5


def test_convergence_is_the_end_of_the_first_of_two_fair_windows() -> None:
    found = shares(CELL, *[[100, 0]] * 30, *[[50, 50]] * 70)
    late = found.convergence()
    assert late is not None
    end = late + CELL.starts()[1] / 1e9
    # A window that begins some bins before the shares are equal is fair enough already.
    assert 3.0 < end <= 3.0 + WINDOW_BINS / 10
    assert shares(CELL, *[[100, 0]] * 100).convergence() is None
    # One fair window alone is an accident.
    accident = [[100, 0]] * 40 + [[50, 50]] * 10 + [[100, 0]] * 50
    assert shares(CELL, *accident).convergence() is None


def test_one_flow_shares_with_nobody() -> None:
    cell = parse_cell(rate="10Mbit", rtt="50ms", seconds="3")
    found = shares(cell, *[[7]] * 30)
    assert found.steady() == 1
    assert found.convergence() is None


def test_bins_in_which_a_flow_has_all_its_bytes_do_not_count() -> None:
    cell = parse_cell(rate="10Mbit", rtt="50ms", flows="2", seconds="10", bytes="1000")
    found = shares(cell, *[[50, 50]] * 10, *[[500, 0]], *[[0, 500]])
    assert found.steady() == 1


def test_cells_too_short_to_tell() -> None:
    assert shares(CELL, [5, 0]).steady() == 1
    assert shares(CELL, [5, 0]).convergence() is None
    assert Shares(CELL).steady() == 1

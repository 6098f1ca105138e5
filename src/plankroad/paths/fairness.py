"""How flows share a path: Jain's index, and how long they take to come to terms. The same for all stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from plankroad.paths.cell import Cell
from plankroad.units import MILLISECOND

#: Bytes are counted in bins of a round trip, but not of less than this.
LEAST_BIN: Final = 100 * MILLISECOND

#: Rates are taken over windows of so many bins.
WINDOW_BINS: Final = 10

#: From this index on, flows are said to share fairly: two of them 61 to 39.
FAIR: Final = 0.95


def bin_length(cell: Cell) -> int:
    """The length of a bin in nanoseconds."""
    return max(LEAST_BIN, cell.rtt)


def jain(amounts: Sequence[float]) -> float:
    """Jain's index of what each flow got: 1 where all got the same (nothing included), 1/n where one got all."""
    squares = sum(amount * amount for amount in amounts)
    return sum(amounts) ** 2 / (len(amounts) * squares) if squares else 1.0


class Shares:
    """What each flow of a cell had got by the end of each bin, counted from the start of the first flow.

    Call `add` at every `bin_length`, with the bytes that each receiving program has had in order.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.bin = bin_length(cell)
        self.totals: list[list[int]] = [[0] * cell.flows]

    def add(self, delivered: Sequence[int]) -> None:
        """A bin has ended."""
        self.totals.append(list(delivered))

    def _together(self) -> tuple[int, int]:
        """The bins at whose ends, first and last, all flows were under way."""
        first = -(-max(self.cell.starts()) // self.bin)
        last = len(self.totals) - 1
        if self.cell.size:
            while last > 0 and max(self.totals[last]) >= self.cell.size:
                last -= 1
        return first, last

    def _index(self, first: int, last: int) -> float:
        before, after = self.totals[first], self.totals[last]
        return jain([float(late - early) for early, late in zip(before, after, strict=True)])

    def steady(self) -> float:
        """Jain's index over the second half of the time in which all flows were under way; 1 where that is none."""
        first, last = self._together()
        middle = (first + last + 1) // 2
        return self._index(middle, last) if middle < last else 1.0

    def convergence(self) -> float | None:
        """Seconds from the start of the last flow to the end of the first window whose index is fair, and that of the
        window after it too. None where there is no such window, and where there is but one flow.
        """
        if self.cell.flows == 1:
            return None
        first, last = self._together()
        for start in range(first, last - 2 * WINDOW_BINS + 1):
            middle = start + WINDOW_BINS
            if self._index(start, middle) >= FAIR and self._index(middle, middle + WINDOW_BINS) >= FAIR:
                return (middle * self.bin - max(self.cell.starts())) / 1e9
        return None

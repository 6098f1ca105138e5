"""Grids of cells: which cells a few lists of values span."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from plankroad.paths.cell import MTU, Cell, parse_field
from plankroad.tcp.cc.registry import names

#: The axes of a grid, the first varying slowest, and the value of each that nothing is said of.
AXES: Final = {
    "rate": "10Mbit",
    "rtt": "40ms",
    "loss": "0",
    "burst": "none",
    "reorder": "none",
    "queue": "1bdp",
    "algorithm": "cubic",
    "flows": "1",
    "seconds": "10",
    "bytes": "0",
    "seed": "1",
}

#: How long is waited for so many bytes, where nothing else is said.
PATIENCE: Final = "600"

#: Lists of values by axis; those of one block are all combined.
Block = Mapping[str, Sequence[str]]

#: The algorithms of the grids, as far as there are such.
ALGORITHMS: Final = ("cubic", "bbr", "newreno")

#: Some cells of each kind: a few minutes.
SMALL: Final[tuple[Block, ...]] = (
    {"rate": ("1Mbit", "10Mbit", "100Mbit"), "rtt": ("10ms", "40ms", "200ms"), "loss": ("0", "1%")},
    {"queue": ("1/4bdp", "4bdp", "codel")},
    {"burst": ("1%:8",)},
    {"reorder": ("1%:5ms",)},
    {"rate": ("10Mbit", "100Mbit"), "flows": ("2", "8")},
)

#: All there is to see: many hours.
FULL: Final[tuple[Block, ...]] = (
    {
        "rate": ("1Mbit", "10Mbit", "100Mbit", "1Gbit"),
        "rtt": ("1ms", "10ms", "40ms", "100ms", "300ms"),
        "loss": ("0", "0.1%", "1%", "3%"),
        "burst": ("none", "1%:8"),
        "reorder": ("none", "1%:5ms"),
        "queue": ("1/4bdp", "1bdp", "4bdp", "codel"),
        "flows": ("1", "2", "8"),
    },
)

#: One cell, of which each axis that is named makes more.
ONE: Final[tuple[Block, ...]] = ({},)

GRIDS: Final = {"one": ONE, "small": SMALL, "full": FULL}


def span(grid: str, chosen: Block, ecn: bool = False) -> list[Cell]:
    """The cells of one of `GRIDS`, in order, each once. Axes that are `chosen` have these values in all its blocks.

    ValueError, naming the axis, for values that make no sense.
    """
    cells: dict[Cell, None] = {}
    for block in GRIDS[grid]:
        axes: dict[str, Sequence[str]] = {axis: (value,) for axis, value in AXES.items()}
        if grid != "one":
            axes["algorithm"] = [name for name in ALGORITHMS if name in names()]
        if "bytes" in chosen:
            axes["seconds"] = (PATIENCE,)
        axes.update(block)
        axes.update(chosen)
        values = [[parse_field(axis, text) for text in axes[axis]] for axis in AXES]
        for combination in itertools.product(*values):
            fields: dict[str, Any] = dict(zip(AXES, combination, strict=True))
            fields["algorithms"] = fields.pop("algorithm")
            fields["size"] = fields.pop("bytes")
            cells[Cell(ecn=ecn, **fields)] = None
    return list(cells)


def split_list(text: str, axis: str) -> list[str]:
    """The values of a list as it is written, "1Mbit,10Mbit". ValueError where one is empty."""
    values = [value.strip() for value in text.split(",")]
    if not all(values):
        raise ValueError(f"{axis}: {text!r} has an empty place; write one value or several with commas between them")
    return values


def effort(cell: Cell) -> float:
    """About how many packets the bottleneck carries in the cell: what its simulation costs."""
    most = cell.rate / 8 * cell.seconds
    return (min(most, cell.size * cell.flows) if cell.size else most) / MTU

"""Throughput against loss, in a table small enough to be kept and looked at when it changes.

    python -m plankroad.paths.snapshot docs/snapshots/throughput-against-loss.txt    # or: make snapshots

The table depends on the code alone: virtual time, one seed. A test makes it again and compares; a change of TCP that
shows in it is reviewed like any other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from plankroad.paths.cell import Cell, show_rate
from plankroad.paths.grid import span
from plankroad.paths.virtual import run_virtual
from plankroad.sim.quantity import parse_rate
from plankroad.tcp.cc.registry import names

LOSSES: Final = ("0", "0.1%", "0.3%", "1%", "3%", "10%")
ROUND_TRIPS: Final = ("10ms", "100ms")
RATE: Final = "5Mbit"
SECONDS: Final = "8"

#: Those of the table, as far as there are such.
ALGORITHMS: Final = ("cubic", "newreno", "bbr", "vegas", "ledbat")

HEADING: Final = """\
Throughput against random loss: goodput in Mbit/s / segments sent again in % / timeouts.
{rate} at the bottleneck, a queue of one product of bandwidth and delay, {seconds} s from the first SYN, seed 1.
Made by `make snapshots` (python -m plankroad.paths.snapshot), checked by tests/paths/test_snapshot.py.
"""


def cells(rtt: str) -> list[Cell]:
    """The cells of one part of the table: losses, and for each of them the algorithms."""
    algorithms = [name for name in ALGORITHMS if name in names()]
    chosen = {"rate": [RATE], "rtt": [rtt], "loss": LOSSES, "algorithm": algorithms, "seconds": [SECONDS]}
    return span("one", chosen)


def field(cell: Cell) -> str:
    """What came out of a cell, in one column."""
    result = run_virtual(cell)[0]
    resent = 100 * result.retransmitted_segments / max(1, result.sent_segments)
    return f"{result.goodput_bps / 1e6:.2f} / {resent:4.1f} / {result.rtos}"


def part(rtt: str) -> list[str]:
    """The lines of one part of the table."""
    found = cells(rtt)
    algorithms = list(dict.fromkeys(cell.algorithm_text for cell in found))
    fields = iter([field(cell) for cell in found])
    lines = [f"{rtt:>7}" + "".join(f"{name:>20}" for name in algorithms)]
    for loss in LOSSES:
        lines.append(f"{loss:>7}" + "".join(f"{next(fields):>20}" for _ in algorithms))
    return lines


def heading() -> str:
    """What stands above the table."""
    return HEADING.format(rate=show_rate(parse_rate(RATE)), seconds=SECONDS).rstrip()


def snapshot() -> str:
    """The whole table."""
    parts = ["\n".join(part(rtt)) for rtt in ROUND_TRIPS]
    return "\n\n".join([heading(), *parts]) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m plankroad.paths.snapshot FILE")
    Path(sys.argv[1]).write_text(snapshot(), encoding="utf-8")

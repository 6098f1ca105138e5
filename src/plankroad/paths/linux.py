"""A cell measured with the kernel's TCP: two namespaces, and between them the cell's path in real time.

    result = run_linux(cell)        # a `Result`, as `plankroad paths` has it of our own TCP

Rate, delay, queue and the random streams of loss are those of the same cell in virtual time (`paths.path`), flows
start at the same times, and the same meter reads the packets at the bottleneck. What cannot be the same is the order
in which a kernel's own timers and processes run, so two runs of one seed differ a little; see docs/paths.md.
"""

from __future__ import annotations

import time
from typing import Any, Final

from plankroad.paths.cell import MTU, Cell
from plankroad.paths.emulator import Clock, DeviceSink, Emulator, Hurry
from plankroad.paths.ground import KernelError, KernelGround
from plankroad.paths.kernel_worker import BIN, FIRST_PORT
from plankroad.paths.meter import Meter
from plankroad.paths.result import FlowResult, Result, utilisation
from plankroad.sim.events import Simulator
from plankroad.sim.link import Direction
from plankroad.units import MILLISECOND, SECOND

STACK: Final = "linux"

#: Rates above this are not emulated: the emulator is Python, and so are the programs at the ends.
MAX_RATE: Final = 100_000_000

#: What Linux calls an algorithm that has another name here.
_NAMES: Final = {"newreno": "reno"}

#: From the orders to the beginning of a run: the processes are ready by then.
_LEAD: Final = 50 * MILLISECOND

#: How often the sender's state is looked at for a time series.
SAMPLE: Final = 10 * MILLISECOND


def kernel_name(algorithm: str) -> str:
    """The kernel's name of a congestion control."""
    return _NAMES.get(algorithm, algorithm)


def why_not(cell: Cell) -> str:
    """Why a cell cannot be measured with a kernel; empty where it can, as far as one sees without trying."""
    if cell.rate > MAX_RATE:
        return "the emulator keeps real time up to 100 Mbit/s"
    return ""


class KernelRun:
    """What came out of one run, as it came: `sent` and `received` are what the processes at the ends told."""

    def __init__(self, cell: Cell, emulator: Emulator, there: Direction, meter: Meter) -> None:
        self.cell = cell
        self.emulator = emulator
        self.there = there
        self.meter = meter
        self.queue_delay = there.measure_queue()
        self.sent: dict[str, Any] = {}
        self.received: dict[str, Any] = {}
        self.real = 0

    def steps(self, flow: int) -> list[tuple[int, int]]:
        """When, in nanoseconds, a flow's receiving program got how many bytes, in steps of 10 ms."""
        return [((step + 1) * BIN, size) for step, size in self.received["bins"][flow]]

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
from plankroad.paths.fairness import Shares
from plankroad.paths.ground import RIGHT, KernelError, KernelGround
from plankroad.paths.kernel_worker import BIN, FIRST_PORT
from plankroad.paths.meter import Meter
from plankroad.paths.result import FlowResult, Result, utilisation
from plankroad.paths.series import FlowSeries, Series, step_of
from plankroad.paths.virtual import backward_conditions, forward_conditions
from plankroad.sim.conditions import Conditions
from plankroad.sim.events import Simulator
from plankroad.sim.link import Direction
from plankroad.units import MILLISECOND, SECOND

STACK: Final = "linux"

#: Rates above this are not emulated: the emulator is Python, and so are the programs at the ends.
MAX_RATE: Final = 100_000_000

#: What Linux calls an algorithm that has another name here.
_NAMES: Final = {"newreno": "reno"}

#: From the orders to the beginning of a run: the processes are ready by then.
LEAD: Final = 50 * MILLISECOND

#: The directions' names: with the seed they say which random streams are drawn from.
THERE: Final = "sender->receiverpath"
BACK: Final = "receiver->senderpath"


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

    def __init__(self, cell: Cell, clock: Clock | None = None, trace: bool = False) -> None:
        self.cell = cell
        self.step = step_of(cell.duration) if trace else 0
        self.simulator = Simulator()
        self.emulator = Emulator(self.simulator, clock)
        self.meter = Meter()
        self.sent: dict[str, Any] = {}
        self.received: dict[str, Any] = {}
        self.queue: list[int] = []
        self.drops: list[int] = []
        #: Nanoseconds, by the cell's clock, until the end or until all was there (`finished`).
        self.elapsed = 0
        self.finished = False
        self.real = 0

    def connect(self, ground: KernelGround) -> None:
        """Lay the cell's path between the two devices."""
        cell, simulator, emulator = self.cell, self.simulator, self.emulator
        right, left = DeviceSink(emulator, ground.right.fd), DeviceSink(emulator, ground.left.fd)
        there, back = direction_conditions(cell)
        self.there = Direction(simulator, cell.seed, THERE, 0, right, 0, there, False)
        self.back = Direction(simulator, cell.seed, BACK, 1, left, 0, back, False)
        self.there.pipe.observers.append(self.meter)
        self.queue_delay = self.there.measure_queue()
        emulator.add_port(ground.left.fd, self.there.pipe)
        emulator.add_port(ground.right.fd, self.back.pipe)
        if self.step:
            simulator.call_at(self.step, self._row)

    def _row(self) -> None:
        pipe = self.there.pipe
        now = self.simulator.now
        self.queue.append(pipe.backlog(now)[1])
        self.drops.append(pipe.counters.lost_queue)
        self.simulator.call_at(now + self.step, self._row)

    def run(self, ground: KernelGround) -> None:
        """Send what is to be sent."""
        cell, left, right = self.cell, ground.left, ground.right
        algorithms = [kernel_name(cell.algorithm(flow)) for flow in range(cell.flows)]
        left.check(algorithms)
        right.ask({"do": "listen", "address": RIGHT})
        began = time.monotonic_ns()
        origin = began + LEAD
        until = cell.duration
        common = {"origin": origin, "until": until, "bytes": cell.size}
        right.tell({"do": "receive", "flows": cell.flows, **common})
        left.send_flows(cell.starts(), algorithms, self.step, common)
        if cell.size:
            # Its only word before the end is that all is there. In a timed cell it has none.
            self.emulator.stop_fds.append(right.channel.sock.fileno())
        with Hurry():
            stopped = self.emulator.run(origin, until)
        if stopped and right.answer()[0].get("complete"):
            left.tell({"do": "over"})
            right.tell({"do": "over"})
        self.sent = left.answer()[0]
        self.received = right.answer()[0]
        if "complete" in self.received:  # it came with the end
            self.received = right.answer()[0]
        completed = self.received["completed"]
        self.finished = bool(cell.size) and min(completed) >= 0
        self.elapsed = max(completed) if self.finished else until
        self.emulator.timing.dropped += self.sent["drops"] + self.received["drops"]
        self.real = time.monotonic_ns() - began

    def result(self) -> Result:
        """The run in the words of `paths.result`."""
        cell = self.cell
        flows = tuple(self._flow(flow) for flow in range(cell.flows))
        kept = self.emulator.timing.kept(cell.rtt)
        notes = [f"flow {i}: {error}" for i, error in enumerate(self.sent["errors"]) if error]
        if not kept:
            notes.append(self.emulator.timing.describe())
        counters = self.there.pipe.counters
        delay = self.queue_delay
        total = sum(flow.delivered_bytes for flow in flows)
        goodput = total * 8 * SECOND / self.elapsed
        shares = self.shares()
        return Result(
            cell=cell,
            stack=STACK,
            goodput_bps=goodput,
            utilisation=utilisation(goodput, cell.rate),
            completion_s=self.elapsed / SECOND if self.finished else None,
            delivered_bytes=total,
            sent_segments=sum(flow.sent_segments for flow in flows),
            retransmitted_bytes=sum(flow.retransmitted_bytes for flow in flows),
            retransmitted_segments=sum(flow.retransmitted_segments for flow in flows),
            spurious=sum(flow.spurious for flow in flows),
            rtos=self.sent["counters"].get("TcpExt.TCPTimeouts", 0),
            queue_delay_ms=delay.mean() / MILLISECOND,
            queue_delay_p95_ms=delay.percentile(95) / MILLISECOND,
            queue_delay_max_ms=delay.maximum / MILLISECOND,
            lost_queue=counters.lost_queue,
            lost_random=counters.lost_random + counters.lost_burst,
            marked=counters.marked,
            jain=shares.steady(),
            convergence_s=shares.convergence(),
            per_flow=flows,
            time_s=self.elapsed / SECOND,
            real_s=self.real / SECOND,
            kept_real_time=kept,
            notes=tuple(notes),
        )

    def _flow(self, number: int) -> FlowResult:
        cell = self.cell
        start = cell.starts()[number]
        delivered = self.received["bytes"][number]
        completed = self.received["completed"][number]
        took = (self.elapsed if completed < 0 else completed) - start
        meter = self.meter.of_port(FIRST_PORT + number)
        return FlowResult(
            algorithm=cell.algorithm(number),
            start_s=start / SECOND,
            delivered_bytes=delivered,
            goodput_bps=delivered * 8 * SECOND / took if took > 0 else 0.0,
            completion_s=None if completed < 0 else took / SECOND,
            sent_segments=meter.segments,
            retransmitted_bytes=meter.retransmitted_octets,
            retransmitted_segments=meter.retransmitted,
            spurious=meter.spurious,
        )

    def delivered(self, step: int) -> list[list[int]]:
        """For each flow, the bytes that its receiving program had had at every multiple of `step` nanoseconds."""
        return delivered_steps(self.received["bins"], step, self.elapsed)

    def shares(self) -> Shares:
        """What each flow had, for Jain's index."""
        shares = Shares(self.cell)
        for row in zip(*self.delivered(shares.bin), strict=True):
            shares.add(row)
        return shares

    def series(self) -> Series:
        """What happened over time, for plots: what the kernel told of its connections, and the queue."""
        step = self.step
        series = Series(step, [], self.queue, self.drops)
        count = min(len(self.queue), self.elapsed // step)
        for number, delivered in enumerate(self.delivered(step)):
            flow = FlowSeries(self.cell.algorithm(number))
            samples = self.sent["series"][number]
            at = 0
            last = [0, 0, 0, 0, 0, 0]
            for row in range(1, count + 1):
                while at < len(samples) and samples[at][0] <= row * step + MILLISECOND // 2:
                    last = samples[at]
                    at += 1
                flow.cwnd.append(last[1])
                flow.ssthresh.append(last[2])
                flow.in_flight.append(last[3])
                flow.rtt.append(last[4] * 1000)
                flow.srtt.append(last[4] * 1000)
                flow.pacing.append(last[5])
            flow.delivered.extend(delivered[:count])
            series.flows.append(flow)
        del series.queue[count:], series.drops[count:]
        return series


def delivered_steps(flows: list[list[list[int]]], step: int, elapsed: int) -> list[list[int]]:
    """For each flow, the bytes that it had at every multiple of `step`, from what it got in each `BIN`."""
    found: list[list[int]] = []
    for bins in flows:
        totals: list[int] = []
        total = 0
        at = step
        for number, size in bins:
            while (number + 1) * BIN > at:
                totals.append(total)
                at += step
            total += size
        while at <= elapsed:
            totals.append(total)
            at += step
        found.append(totals[: elapsed // step])
    return found


def direction_conditions(cell: Cell) -> tuple[Conditions, Conditions]:
    """Both directions of a cell's path, as in virtual time."""
    return Conditions().changed(forward_conditions(cell)), Conditions().changed(backward_conditions(cell))


def run_linux(cell: Cell, clock: Clock | None = None) -> Result:
    """Measure a cell with the kernel's TCP, in real time: it takes as long as the cell does.

    Raises `KernelError` where this machine or user has no such ground, or the kernel has not the cell's congestion
    control. `clock`: another than the real one, for tests.
    """
    return kernel_run(cell, clock).result()


def trace_linux(cell: Cell) -> tuple[Result, Series]:
    """`run_linux`, and what happened over time."""
    run = kernel_run(cell, None, True)
    return run.result(), run.series()


def kernel_run(cell: Cell, clock: Clock | None = None, trace: bool = False) -> KernelRun:
    """`run_linux`, and what its result was made of."""
    reason = why_not(cell)
    if reason:
        raise KernelError(reason)
    run = KernelRun(cell, clock, trace)
    with KernelGround(MTU, {"ipv4/tcp_ecn": "1" if cell.ecn else "0"}) as ground:
        run.connect(ground)
        run.run(ground)
    return run

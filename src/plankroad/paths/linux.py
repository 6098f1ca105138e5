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
from plankroad.paths.ground import LEFT, RIGHT, KernelError, KernelGround
from plankroad.paths.kernel_worker import BIN, FIRST_PORT
from plankroad.paths.meter import Meter
from plankroad.paths.result import FlowResult, Result, utilisation
from plankroad.sim.conditions import Burst, Conditions
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

    def __init__(self, cell: Cell, clock: Clock | None = None) -> None:
        self.cell = cell
        self.simulator = Simulator()
        self.emulator = Emulator(self.simulator, clock)
        self.meter = Meter()
        self.sent: dict[str, Any] = {}
        self.received: dict[str, Any] = {}
        self.time = 0
        self.real = 0

    def connect(self, ground: KernelGround) -> None:
        """Lay the cell's path between the two devices."""
        cell, simulator, emulator = self.cell, self.simulator, self.emulator
        right, left = DeviceSink(emulator, ground.right.fd), DeviceSink(emulator, ground.left.fd)
        there, back = path_conditions(cell)
        self.there = Direction(simulator, cell.seed, "sender->receiver", 0, right, 0, there, False)
        self.back = Direction(simulator, cell.seed, "receiver->sender", 1, left, 0, back, False)
        self.there.pipe.observers.append(self.meter)
        self.queue_delay = self.there.measure_queue()
        emulator.add_port(ground.left.fd, self.there.pipe)
        emulator.add_port(ground.right.fd, self.back.pipe)

    def run(self, ground: KernelGround, sample: int = 0) -> None:
        """Send what is to be sent; `sample`: look at the senders' state every so many ns, for a time series."""
        cell, left, right = self.cell, ground.left, ground.right
        algorithms = [kernel_name(cell.algorithm(flow)) for flow in range(cell.flows)]
        for name in algorithms:
            if name not in left.algorithms:
                known = ", ".join(sorted(left.algorithms))
                raise KernelError(f"this kernel has no congestion control {name!r}; it has {known}")
        right.ask({"do": "listen", "address": RIGHT})
        began = time.monotonic_ns()
        origin = began + _LEAD
        until = cell.duration
        common = {"origin": origin, "until": until}
        right.tell({"do": "receive", "flows": cell.flows, **common})
        left.tell(
            {
                "do": "send",
                "starts": cell.starts(),
                "bytes": cell.size,
                "sample": sample,
                "algorithms": algorithms,
                "address": LEFT,
                "peer": RIGHT,
                **common,
            }
        )
        if cell.size:
            # Its only word before the end is that all is there. In a timed cell it has none.
            self.emulator.stop_fds.append(right.channel.sock.fileno())
        with Hurry():
            stopped = self.emulator.run(origin, until)
        self.time = self.simulator.now
        if stopped and right.answer()[0].get("complete"):
            left.tell({"do": "over"})
            right.tell({"do": "over"})
        self.sent = left.answer()[0]
        self.received = right.answer()[0]
        if "complete" in self.received:  # it came with the end
            self.received = right.answer()[0]
        self.emulator.timing.dropped += self.sent["drops"] + self.received["drops"]
        self.real = time.monotonic_ns() - began

    def result(self) -> Result:
        """The run in the words of `paths.result`."""
        cell = self.cell
        flows = [self._flow(flow) for flow in range(cell.flows)]
        timing = self.emulator.timing
        kept = timing.kept(cell.rtt)
        notes = [f"flow {i}: {error}" for i, error in enumerate(self.sent["errors"]) if error]
        if not kept:
            told = timing.as_dict()
            notes.append(
                "the emulator did not keep real time: events were up to {late_max_ms:.3g} ms late, 99 % of them "
                "within {late_p99_ms:.3g} ms, packets up to {unread_max_ms:.3g} ms unread, {device_drops} dropped by "
                "a device".format(**told)
            )
        counters = self.there.pipe.counters
        delay = self.queue_delay
        completions = [flow.completion_s for flow in flows]
        delivered = sum(flow.delivered_bytes for flow in flows)
        seconds = self.time / SECOND
        if cell.size and None not in completions:
            completion = max(flow.start_s + (flow.completion_s or 0.0) for flow in flows)
            seconds = completion
        else:
            completion = None
        goodput = delivered * 8 / seconds if seconds else 0.0
        return Result(
            cell=cell,
            stack=STACK,
            goodput_bps=goodput,
            utilisation=utilisation(goodput, cell.rate),
            completion_s=completion,
            delivered_bytes=delivered,
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
            jain=1.0,
            convergence_s=None,
            per_flow=tuple(flows),
            time_s=self.time / SECOND,
            real_s=self.real / SECOND,
            kept_real_time=kept,
            notes=tuple(notes),
            seeds=(cell.seed,),
        )

    def _flow(self, number: int) -> FlowResult:
        cell = self.cell
        start = cell.starts()[number]
        delivered = self.received["bytes"][number]
        end = self.received["ends"][number]
        complete = bool(cell.size) and delivered == cell.size and end >= 0
        span = (end if complete else self.time) - start
        meter = self.meter.of_port(FIRST_PORT + number)
        return FlowResult(
            algorithm=cell.algorithm(number),
            start_s=start / SECOND,
            delivered_bytes=delivered,
            goodput_bps=delivered * 8 * SECOND / span if span > 0 else 0.0,
            completion_s=span / SECOND if complete else None,
            sent_segments=meter.segments,
            retransmitted_bytes=meter.retransmitted_octets,
            retransmitted_segments=meter.retransmitted,
            spurious=meter.spurious,
        )

    def steps(self, flow: int) -> list[tuple[int, int]]:
        """When, in nanoseconds, a flow's receiving program got how many bytes, in steps of 10 ms."""
        return [((step + 1) * BIN, size) for step, size in self.received["bins"][flow]]


def path_conditions(cell: Cell) -> tuple[Conditions, Conditions]:
    """Both directions of a cell's path."""
    burst = None if cell.burst is None else Burst.of(cell.burst.loss, cell.burst.length)
    reorder = cell.reorder
    there = Conditions(
        rate=cell.rate,
        delay=cell.forth,
        mtu=MTU,
        queue_packets=cell.queue_packets,
        queue_bytes=cell.queue_bytes,
        loss=cell.loss,
        burst=burst,
        reorder=0.0 if reorder is None else reorder.probability,
        reorder_delay=0 if reorder is None else reorder.delay,
    )
    return there, Conditions(delay=cell.back, mtu=MTU, queue_packets=0)


def run_linux(cell: Cell, clock: Clock | None = None) -> Result:
    """Measure a cell with the kernel's TCP, in real time: it takes as long as the cell does.

    Raises `KernelError` where this machine or user has no such ground, or the kernel has not the cell's congestion
    control. `clock`: another than the real one, for tests.
    """
    return kernel_run(cell, clock).result()


def kernel_run(cell: Cell, clock: Clock | None = None, sample: int = 0) -> KernelRun:
    """`run_linux`, and what its result was made of."""
    reason = why_not(cell)
    if reason:
        raise KernelError(reason)
    run = KernelRun(cell, clock)
    with KernelGround(MTU, {"ipv4/tcp_ecn": "1" if cell.ecn else "0"}) as ground:
        run.connect(ground)
        run.run(ground, sample)
    return run

"""A cell in virtual time: our TCP at both ends, the simulator's bottleneck between them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Final

from plankroad.paths.cell import DISCIPLINE_BDP, DISCIPLINES, MTU, Cell
from plankroad.paths.fairness import Shares
from plankroad.paths.meter import Meter
from plankroad.paths.programs import ReceivingServer, SendingProgram
from plankroad.paths.result import FlowResult, Result, utilisation
from plankroad.paths.series import Sampler, Series
from plankroad.sim.conditions import Burst
from plankroad.sim.disciplines import CoDel, Discipline, FqCodel, Pie, Red
from plankroad.sim.events import Event, Simulator
from plankroad.sim.host import Host
from plankroad.sim.link import Link
from plankroad.sim.queue_delay import QueueDelay
from plankroad.sim.topology import Network
from plankroad.stack.config import StackConfig
from plankroad.tcp.cc.registry import names
from plankroad.tcp.config import TcpConfig
from plankroad.tcp.ecnstate import ECN_ACCURATE, ECN_ON, ECN_PASSIVE
from plankroad.units import MILLISECOND, NEVER
from plankroad.wire.address import ip_to_bytes

PORT: Final = 5001

#: Limits of disciplines, in packets: those of Linux's, and RED's such that its thresholds are the classic 5 and 15.
LEAST_LIMIT: Final = 1000
LEAST_FQ_LIMIT: Final = 10240
LEAST_RED_LIMIT: Final = 60

#: The ends of the path.
SENDER: Final = "10.77.0.1"
RECEIVER: Final = "10.77.0.2"


def check(cell: Cell) -> None:
    """ValueError, with what there is, for an algorithm that nobody registered."""
    known = names()
    for name in cell.algorithms:
        if name not in known:
            raise ValueError(f"algorithm: there is no {name!r}; there are {', '.join(known)}")


def queue_of(cell: Cell) -> int | str | Discipline:
    """The queue before the bottleneck, as `Network.link` takes it.

    Disciplines have their own defaults; their limits are no obstacle on a long path, and RED's thresholds, which follow
    from its limit, are a third of the product of bandwidth and delay and the whole of it (5 and 15 packets at least).
    """
    if cell.queue.kind not in DISCIPLINES:
        return f"{cell.queue_bytes}B" if cell.queue_bytes else cell.queue_packets
    room = DISCIPLINE_BDP * cell.bdp // MTU
    if cell.queue.kind == "red":
        return Red(limit=max(LEAST_RED_LIMIT, room), ecn=cell.ecn)
    if cell.queue.kind == "pie":
        return Pie(limit=max(LEAST_LIMIT, room), ecn=cell.ecn)
    if cell.queue.kind == "fq_codel":
        return FqCodel(limit=max(LEAST_FQ_LIMIT, room), ecn=cell.ecn)
    return CoDel(limit=max(LEAST_LIMIT, room), ecn=cell.ecn)


def forward_conditions(cell: Cell) -> dict[str, Any]:
    """The direction of the data, as `Network.link` takes it."""
    conditions: dict[str, Any] = {
        "rate": cell.rate,
        "delay": cell.forth / 1e9,
        "mtu": MTU,
        "loss": cell.loss,
        "queue": queue_of(cell),
    }
    if cell.burst is not None:
        conditions["burst"] = Burst.of(cell.burst.loss, cell.burst.length)
    if cell.reorder is not None:
        conditions["reorder"] = cell.reorder.probability
        conditions["reorder_delay"] = cell.reorder.delay / 1e9
    return conditions


def backward_conditions(cell: Cell) -> dict[str, Any]:
    """The direction of the acknowledgements."""
    return {"delay": cell.back / 1e9, "mtu": MTU}


def link_of(cell: Cell, network: Network, sender: Host, receiver: Host) -> Link:
    """The cell's path between two hosts."""
    return network.link(
        sender,
        receiver,
        name="path",
        addresses=(f"{SENDER}/24", f"{RECEIVER}/24"),
        forward=forward_conditions(cell),
        backward=backward_conditions(cell),
    )


def tcp_config(cell: Cell, flow: int) -> TcpConfig:
    """How the ends of a flow are configured: as everybody's, with buffers that may grow to what the path needs.

    A cell with ECN has that of RFC 3168, which a kernel in its place has too; DCTCP has AccECN, without which it cannot
    know how much was marked (RFC 8257 section 3.2).
    """
    algorithm = cell.algorithm(flow)
    ecn = ECN_PASSIVE
    if cell.ecn:
        ecn = ECN_ACCURATE if algorithm == "dctcp" else ECN_ON
    return TcpConfig(
        congestion_control=algorithm, ecn=ecn, snd_buf_max=cell.buffer_bytes, rcv_buf_max=cell.buffer_bytes
    )


class Bins(Event):
    """Tells `shares` what was delivered, bin by bin."""

    def __init__(self, run: VirtualRun) -> None:
        super().__init__()
        self.owner = run
        run.simulator.schedule(self, run.simulator.now + run.shares.bin)

    def run(self) -> None:
        run = self.owner
        run.shares.add([run.delivered(number) for number in range(run.cell.flows)])
        run.simulator.schedule(self, run.simulator.now + run.shares.bin)


class VirtualRun:
    """One run of `cell`; `series` is filled where `trace` is set. See `run_virtual`."""

    def __init__(self, cell: Cell, trace: bool = False) -> None:
        check(cell)
        self.cell = cell
        self.network = Network(seed=cell.seed, ipv6=False)
        sender = self.network.host("sender", StackConfig())
        receiver = self.network.host("receiver", StackConfig())
        self.link = link_of(cell, self.network, sender, receiver)
        self.sender = sender
        self.simulator: Simulator = self.network.simulator
        self.pipe = self.link.there.pipe
        self.meter = Meter()
        self.pipe.observers.append(self.meter)
        self.waits = QueueDelay()
        self.pipe.queue_observers.append(self.waits)
        self.network.refresh_routes()
        self.unfinished = cell.flows
        self.finished: list[int] = []
        self.server = ReceivingServer(receiver, PORT, tcp_config(cell, 0), cell.size, self._done)
        self.senders = [
            SendingProgram(sender, ip_to_bytes(RECEIVER), PORT, tcp_config(cell, flow), cell.size)
            for flow in range(cell.flows)
        ]
        self.starts = [self.simulator.now + start for start in cell.starts()]
        for program, start in zip(self.senders, self.starts, strict=True):
            self.simulator.call_at(start, program.start)
        self.shares = Shares(cell)
        Bins(self)
        self.sampler = Sampler(self.simulator, cell, self.pipe, self.senders, self.server) if trace else None

    def delivered(self, flow: int) -> int:
        """The bytes that the receiver of a flow has had."""
        connection = self.senders[flow].connection
        reader = None if connection is None else self.server.readers.get(connection.local_port)
        return 0 if reader is None else reader.delivered

    def _done(self) -> None:
        self.unfinished -= 1
        if not self.unfinished:
            self.finished.append(self.simulator.now)

    def run(self) -> Result:
        """Let it happen, and measure."""
        begin = time.perf_counter()
        start = self.simulator.now
        end = start + self.cell.duration
        self.simulator.run_batch(end, NEVER, self.finished)
        now = self.finished[0] if self.finished else end
        return self.measure(now - start, time.perf_counter() - begin)

    def measure(self, elapsed: int, real: float) -> Result:
        """The result after `elapsed` nanoseconds."""
        cell = self.cell
        flows = tuple(self._flow(number, elapsed) for number in range(cell.flows))
        total = sum(flow.delivered_bytes for flow in flows)
        goodput = total * 8e9 / elapsed
        counters = self.pipe.counters
        waits = self.waits
        notes = [
            f"flow {number} failed with errno {program.failed}"
            for number, program in enumerate(self.senders)
            if program.failed
        ]
        return Result(
            cell=cell,
            stack="plankroad",
            goodput_bps=goodput,
            utilisation=utilisation(goodput, cell.rate),
            completion_s=elapsed / 1e9 if self.finished else None,
            delivered_bytes=total,
            sent_segments=sum(flow.sent_segments for flow in flows),
            retransmitted_bytes=sum(flow.retransmitted_bytes for flow in flows),
            retransmitted_segments=sum(flow.retransmitted_segments for flow in flows),
            spurious=sum(flow.spurious for flow in flows),
            rtos=self.sender.stack.counters.tcp.timeouts,
            queue_delay_ms=waits.mean() / MILLISECOND,
            queue_delay_p95_ms=waits.percentile(95) / MILLISECOND,
            queue_delay_max_ms=waits.maximum / MILLISECOND,
            lost_queue=counters.lost_queue,
            lost_random=counters.lost_random + counters.lost_burst,
            marked=counters.marked,
            jain=self.shares.steady(),
            convergence_s=self.shares.convergence(),
            per_flow=flows,
            time_s=elapsed / 1e9,
            real_s=real,
            notes=tuple(notes),
        )

    def _flow(self, number: int, elapsed: int) -> FlowResult:
        connection = self.senders[number].connection
        start = self.starts[number] - self.starts[0]
        port = 0 if connection is None else connection.local_port
        reader = self.server.readers.get(port)
        meter = self.meter.of_port(port)
        delivered = 0 if reader is None else reader.delivered
        completed = -1 if reader is None else reader.completed - self.starts[number]
        took = completed if completed > 0 else elapsed - start
        return FlowResult(
            algorithm=self.cell.algorithm(number),
            start_s=start / 1e9,
            delivered_bytes=delivered,
            goodput_bps=delivered * 8e9 / took if took > 0 else 0.0,
            completion_s=completed / 1e9 if completed > 0 else None,
            sent_segments=meter.segments,
            retransmitted_bytes=meter.retransmitted_octets,
            retransmitted_segments=meter.retransmitted,
            spurious=meter.spurious,
        )


def run_virtual(cell: Cell, trace: bool = False) -> tuple[Result, Series | None]:
    """Run `cell` in virtual time; with `trace` what happened over time, too. The same cell gives the same figures.

    ValueError for an algorithm that there is not, and for what the simulator does not offer.
    """
    run = VirtualRun(cell, trace)
    result = run.run()
    return result, None if run.sampler is None else run.sampler.series


def comparable(result: Result) -> Result:
    """The result without what differs from run to run: the real time it took."""
    return replace(result, real_s=0.0)

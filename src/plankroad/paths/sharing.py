"""Our flows and a kernel's in one queue: who gets how much.

The simulator runs on the real clock, as for a cell with the kernel's TCP alone. Our two hosts are simulated ones as in
virtual time, only that their time is the real one, and that what they send enters the path when they have really sent
it (`doorstep`); the kernel's two are behind their devices. The bottleneck and the way back are one pair of pipes for
all four, and at their ends the address says whether a packet is for a device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from plankroad.paths.cell import MTU, Cell
from plankroad.paths.doorstep import WAIT, door
from plankroad.paths.emulator import Clock, DeviceSink, Emulator, Hurry
from plankroad.paths.fairness import Shares
from plankroad.paths.ground import LEFT, RIGHT, KernelError, KernelGround
from plankroad.paths.kernel_worker import FIRST_PORT
from plankroad.paths.linux import LEAD, delivered_steps, kernel_name, why_not
from plankroad.paths.meter import Meter
from plankroad.paths.programs import ReceivingServer, SendingProgram
from plankroad.paths.result import FlowResult, Result, utilisation
from plankroad.paths.virtual import (
    PORT,
    RECEIVER,
    SENDER,
    check,
    link_of,
    tcp_config,
)
from plankroad.sim.pipe import Pipe, Sink
from plankroad.sim.queue_delay import QueueDelay
from plankroad.sim.topology import Network
from plankroad.units import MILLISECOND, SECOND
from plankroad.wire.address import ip_to_bytes
from plankroad.wire.packet import Packet

STACK: Final = "plankroad and linux"


class Fork(Sink):
    """The end of a pipe: IPv4 packets for `address` go to `device`, all others to `host`."""

    __slots__ = ("address", "device", "host")

    def __init__(self, address: bytes, device: Sink, host: Sink) -> None:
        self.address = address
        self.device = device
        self.host = host

    def arrive(self, packet: Packet, port: int) -> None:
        if packet.head[16:20] == self.address:
            self.device.arrive(packet, port)
        else:
            self.host.arrive(packet, port)


class SharedRun:
    """One run of a cell in which the flows whose numbers are in `kernels` are the kernel's and the others ours."""

    def __init__(self, cell: Cell, kernels: Sequence[int], clock: Clock | None = None) -> None:
        check(cell)
        if cell.size:
            raise ValueError("bytes: flows that share a path with a kernel's are timed; say seconds")
        self.cell = cell
        self.kernels = list(kernels)
        self.network = Network(seed=cell.seed, ipv6=False)
        sender, receiver = self.network.host("sender"), self.network.host("receiver")
        self.link = link_of(cell, self.network, sender, receiver)
        self.network.refresh_routes()
        self.simulator = self.network.simulator
        self.emulator = Emulator(self.simulator, clock)
        self.there, self.back = self.link.there.pipe, self.link.back.pipe
        sender.send_through(self.link, self._door(sender.name, 2, self.there, simulated=True, wait=WAIT))
        receiver.send_through(self.link, self._door(receiver.name, 3, self.back, simulated=True))
        self.meter = Meter()
        self.there.observers.append(self.meter)
        self.waits = QueueDelay()
        self.there.queue_observers.append(self.waits)
        self.server = ReceivingServer(receiver, PORT, tcp_config(cell, 0), 0, lambda: None)
        self.ours = [flow for flow in range(cell.flows) if flow not in self.kernels]
        self.programs = {
            flow: SendingProgram(sender, ip_to_bytes(RECEIVER), PORT, tcp_config(cell, flow), 0) for flow in self.ours
        }
        self.tcp_counters = sender.stack.counters.tcp
        self.starts = cell.starts()
        for flow, program in self.programs.items():
            self.simulator.call_at(self.starts[flow], program.start)
        self.shares = Shares(cell)
        self.bins: dict[int, list[int]] = {flow: [] for flow in self.ours}
        self.simulator.call_at(self.shares.bin, self._bin)
        self.received: dict[str, Any] = {}
        self.sent: dict[str, Any] = {}
        self.real = 0

    def _door(self, name: str, number: int, pipe: Pipe, *, simulated: bool, wait: int = 0) -> Pipe:
        return door(name, number, MTU, self.emulator, pipe, simulated=simulated, seed=self.cell.seed, wait=wait)

    def _delivered(self, flow: int) -> int:
        connection = self.programs[flow].connection
        reader = None if connection is None else self.server.readers.get(connection.local_port)
        return 0 if reader is None else reader.delivered

    def _bin(self) -> None:
        for flow in self.ours:
            self.bins[flow].append(self._delivered(flow))
        self.simulator.call_at(self.simulator.now + self.shares.bin, self._bin)

    def attach(self, left: int, right: int) -> None:
        """Put the devices of the kernel's two hosts at the ends of the path."""
        self.there.sink = Fork(ip_to_bytes(RIGHT), DeviceSink(self.emulator, right), self.there.sink)
        self.back.sink = Fork(ip_to_bytes(LEFT), DeviceSink(self.emulator, left), self.back.sink)
        self.emulator.add_port(left, self._door("kernel", 4, self.there, simulated=False, wait=WAIT))
        self.emulator.add_port(right, self.back)

    def run(self, ground: KernelGround) -> None:
        """Let it happen."""
        cell, left, right = self.cell, ground.left, ground.right
        algorithms = [kernel_name(cell.algorithm(flow)) for flow in self.kernels]
        left.check(algorithms)
        self.attach(left.fd, right.fd)
        right.ask({"do": "listen", "address": RIGHT})
        began = time.monotonic_ns()
        common = {"origin": began + LEAD, "until": cell.duration, "bytes": 0}
        right.tell({"do": "receive", "flows": len(self.kernels), **common})
        starts = [self.starts[flow] for flow in self.kernels]
        left.send_flows(starts, algorithms, 0, common)
        with Hurry():
            self.emulator.run(began + LEAD, cell.duration)
        self.sent, self.received = left.answer()[0], right.answer()[0]
        self.emulator.timing.dropped += self.sent["drops"] + self.received["drops"]
        self.real = time.monotonic_ns() - began

    def result(self) -> Result:
        """What came out: `stack` says whose TCP it was, and so does each flow's `algorithm`."""
        cell = self.cell
        duration = cell.duration
        rows: list[list[int]] = [[] for _ in range(cell.flows)]
        count = duration // self.shares.bin
        for flow in self.ours:
            rows[flow] = self.bins[flow][:count]
        kernels = delivered_steps(self.received["bins"], self.shares.bin, duration)
        for flow, totals in zip(self.kernels, kernels, strict=True):
            rows[flow] = totals
        for row in zip(*rows, strict=True):
            self.shares.add(row)
        flows = tuple(self._flow(flow) for flow in range(cell.flows))
        total = sum(flow.delivered_bytes for flow in flows)
        goodput = total * 8 * SECOND / duration
        kept = self.emulator.timing.kept(cell.rtt)
        counters = self.there.counters
        theirs = sum(flows[number].delivered_bytes for number in self.kernels)
        notes = [
            f"seed {cell.seed}: {100 * (total - theirs) / max(1, total):.0f} % ours, "
            f"{100 * theirs / max(1, total):.0f} % Linux's"
        ]
        if not kept:
            notes.append(self.emulator.timing.describe())
        return Result(
            cell=cell,
            stack=STACK,
            goodput_bps=goodput,
            utilisation=utilisation(goodput, cell.rate),
            completion_s=None,
            delivered_bytes=total,
            sent_segments=sum(flow.sent_segments for flow in flows),
            retransmitted_bytes=sum(flow.retransmitted_bytes for flow in flows),
            retransmitted_segments=sum(flow.retransmitted_segments for flow in flows),
            spurious=sum(flow.spurious for flow in flows),
            rtos=self.tcp_counters.timeouts + self.sent["counters"].get("TcpExt.TCPTimeouts", 0),
            queue_delay_ms=self.waits.mean() / MILLISECOND,
            queue_delay_p95_ms=self.waits.percentile(95) / MILLISECOND,
            queue_delay_max_ms=self.waits.maximum / MILLISECOND,
            lost_queue=counters.lost_queue,
            lost_random=counters.lost_random + counters.lost_burst,
            marked=counters.marked,
            jain=self.shares.steady(),
            convergence_s=self.shares.convergence(),
            per_flow=flows,
            time_s=cell.seconds,
            real_s=self.real / SECOND,
            kept_real_time=kept,
            notes=tuple(notes),
            seeds=(cell.seed,),
        )

    def _flow(self, number: int) -> FlowResult:
        start = self.starts[number]
        took = self.cell.duration - start
        name = self.cell.algorithm(number)
        if number in self.programs:
            connection = self.programs[number].connection
            delivered = self._delivered(number)
            meter = self.meter.of_port(0 if connection is None else connection.local_port, ip_to_bytes(SENDER))
        else:
            place = self.kernels.index(number)
            delivered = self.received["bytes"][place]
            meter = self.meter.of_port(FIRST_PORT + place, ip_to_bytes(LEFT))
            name = f"{name} of Linux"
        return FlowResult(
            algorithm=name,
            start_s=start / SECOND,
            delivered_bytes=delivered,
            goodput_bps=delivered * 8 * SECOND / took if took > 0 else 0.0,
            completion_s=None,
            sent_segments=meter.segments,
            retransmitted_bytes=meter.retransmitted_octets,
            retransmitted_segments=meter.retransmitted,
            spurious=meter.spurious,
        )


def run_shared(cell: Cell, kernels: Sequence[int] | None = None, clock: Clock | None = None) -> Result:
    """Measure a timed cell some of whose flows are the kernel's, all through one queue, in real time.

    `kernels`: the numbers of the kernel's flows; without it every second one, so that of two flows ours starts first
    where the seed is odd, and the kernel's where it is even. A cell of one flow gets a second. Raises `KernelError`
    where there is no ground for a kernel, ValueError for a cell of so many bytes.
    """
    reason = why_not(cell)
    if reason:
        raise KernelError(reason)
    if cell.flows == 1:
        cell = replace(cell, flows=2)
    if kernels is None:
        kernels = range(cell.seed % 2, cell.flows, 2)
    run = SharedRun(cell, kernels, clock)
    with KernelGround(MTU, {"ipv4/tcp_ecn": "1" if cell.ecn else "0"}) as ground:
        run.run(ground)
    return run.result()

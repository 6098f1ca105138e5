"""What happened in a cell over time: a row of numbers every few milliseconds, for plots."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from plankroad.paths.cell import Cell
from plankroad.paths.programs import ReceivingServer, SendingProgram
from plankroad.sim.events import Event, Simulator
from plankroad.sim.pipe import Pipe
from plankroad.tcp.cc.base import INITIAL_SSTHRESH
from plankroad.units import MILLISECOND

#: About so many rows a cell.
ROWS: Final = 1000
LEAST_STEP: Final = MILLISECOND


def step_of(duration: int) -> int:
    """The nanoseconds between two rows of a run that takes `duration`."""
    return max(LEAST_STEP, duration // ROWS // MILLISECOND * MILLISECOND)


@dataclass
class FlowSeries:
    """Of one flow, at each row. Bytes: `cwnd`, `ssthresh` (0 before there is one), `in_flight`, `delivered` (in all).
    Nanoseconds: `rtt` (the latest measured), `srtt`; 0 before the first. `pacing`: bytes a second, 0 where none is set.
    """

    algorithm: str
    cwnd: list[int] = field(default_factory=list)
    ssthresh: list[int] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    rtt: list[int] = field(default_factory=list)
    srtt: list[int] = field(default_factory=list)
    pacing: list[int] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)


@dataclass
class Series:
    """Rows `step` nanoseconds apart, the first one step after the start of the first flow. `queue`: bytes in the queue,
    the packet in transmission included. `drops`: packets that it has refused so far.
    """

    step: int
    flows: list[FlowSeries]
    queue: list[int] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)


class Sampler(Event):
    """Adds rows to `series` as long as the simulator runs. It looks and changes nothing: results are as without it."""

    def __init__(
        self, simulator: Simulator, cell: Cell, pipe: Pipe, senders: list[SendingProgram], server: ReceivingServer
    ) -> None:
        super().__init__()
        self.simulator = simulator
        self.pipe = pipe
        self.senders = senders
        self.server = server
        self.series = Series(
            step_of(cell.duration), [FlowSeries(cell.algorithm(number)) for number in range(cell.flows)]
        )
        simulator.schedule(self, simulator.now + self.series.step)

    def run(self) -> None:
        series = self.series
        now = self.simulator.now
        series.queue.append(self.pipe.backlog(now)[1])
        series.drops.append(self.pipe.counters.lost_queue)
        for flow, sender in zip(series.flows, self.senders, strict=True):
            connection = sender.connection
            reader = None if connection is None else self.server.readers.get(connection.local_port)
            flow.delivered.append(0 if reader is None else reader.delivered)
            if connection is None:
                for row in (flow.cwnd, flow.ssthresh, flow.in_flight, flow.rtt, flow.srtt, flow.pacing):
                    row.append(0)
                continue
            t = connection.tcb
            cc = t.cc
            flow.cwnd.append(cc.cwnd)
            flow.ssthresh.append(0 if cc.ssthresh >= INITIAL_SSTHRESH else cc.ssthresh)
            flow.in_flight.append(max(0, t.pipe()))
            flow.rtt.append(max(0, t.rtt.latest))
            flow.srtt.append(t.rtt.srtt)
            flow.pacing.append(cc.pacing_rate)
        self.simulator.schedule(self, now + series.step)

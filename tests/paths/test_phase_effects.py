"""Traffic phase effects (S. Floyd, V. Jacobson, 1992): why our hosts answer in real time where a kernel's do.

One of two equal flows has a round trip that is longer by half of a packet's time at the bottleneck. That is 0.6 ms of
20 to 40, and yet the other has all the losses: its packets find the queue full whenever it is. Where both are late by
as much they share the path.
"""

from __future__ import annotations

import pytest
from tests.volume import volume

from plankroad.paths.cell import MTU, parse_cell
from plankroad.paths.virtual import VirtualRun
from plankroad.sim.pipe import Sink
from plankroad.units import SECOND
from plankroad.wire.packet import Packet


class Late(Sink):
    """Before `host`: packets for the flows in `late` come `delay` ns later."""

    def __init__(self, run: VirtualRun, host: Sink, late: tuple[int, ...], delay: int) -> None:
        self.run = run
        self.host = host
        self.late = late
        self.delay = delay

    def arrive(self, packet: Packet, port: int) -> None:
        target = int.from_bytes(packet.head[22:24], "big")
        for flow in self.late:
            connection = self.run.senders[flow].connection
            if connection is not None and connection.local_port == target:
                self.run.simulator.call_in(self.delay, self.host.arrive, packet, port)
                return
        self.host.arrive(packet, port)


def share_of_first(late: tuple[int, ...], seed: int) -> float:
    """The first flow's share of the second half of two minutes, or of one (`volume`)."""
    seconds = str(volume(120, 60))
    cell = parse_cell(rate="10Mbit", rtt="20ms", flows="2", seconds=seconds, algorithm="cubic", seed=str(seed))
    run = VirtualRun(cell)
    pipe = run.link.back.pipe
    pipe.sink = Late(run, pipe.sink, late, MTU * 8 * SECOND // cell.rate // 2)
    half: list[int] = []
    run.simulator.call_at(cell.duration // 2, lambda: half.extend(run.delivered(flow) for flow in (0, 1)))
    run.run()
    first, second = (run.delivered(flow) - half[flow] for flow in (0, 1))
    return first / (first + second)


@pytest.mark.parametrize("seed", [1, 2, 3][: volume(3, 1)])
def test_the_flow_with_the_shorter_round_trip_has_the_losses(seed: int) -> None:
    assert share_of_first((1,), seed) < 0.3


@pytest.mark.parametrize("seed", [1, 2, 3][: volume(3, 1)])
def test_two_that_answer_alike_share(seed: int) -> None:
    assert 0.4 < share_of_first((0, 1), seed) < 0.6

"""Where packets reach a host: the short way through its stack, for packets that no program hears of.

A router passes most packets on, and a host answers many with an acknowledgement alone. Such a packet goes into the
stack, and what comes out goes into pipes, without the driver. It is called (`flush`) when there are events for programs
or when the stack's deadline is another than the one the driver has set its timer to.
"""

from __future__ import annotations

from collections.abc import Callable

from plankroad.sim.events import Simulator
from plankroad.sim.pipe import Pipe, Sink
from plankroad.stack.stack import Stack
from plankroad.units import NEVER
from plankroad.wire.packet import Packet


class Arrivals(Sink):
    """The end of all pipes to a host. `pipes` are those out of it; a port, its pipe and its interface have one number.

    `deadline`: what the driver's timer is set to; kept by the driver's scheduler.
    """

    __slots__ = ("deadline", "flush", "pipes", "sim", "stack")

    def __init__(self, sim: Simulator, stack: Stack, flush: Callable[[], None]) -> None:
        self.sim = sim
        self.stack = stack
        self.flush = flush
        self.pipes: list[Pipe] = []
        self.deadline: int = NEVER

    def arrive(self, packet: Packet, port: int) -> None:
        stack = self.stack
        now = self.sim.now
        packet.interface = port
        stack.receive(now, packet)
        leaving = stack.poll_transmit(now)
        while leaving is not None:
            self.pipes[leaving.interface].send(leaving)
            leaving = stack.poll_transmit(now)
        if stack.ready or stack.next_timeout() != self.deadline:
            self.flush()

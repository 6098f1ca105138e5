"""Where simulated hosts and a kernel's step into one path, on equal terms.

In virtual time a host answers at the very moment at which a packet comes to it. A kernel behind a device answers once
the emulator has got round to it and it has done its work: a tenth of a millisecond or two later. In a drop-tail queue
that difference decides who loses what. S. Floyd and V. Jacobson, "On traffic phase effects in packet-switched gateways"
(1992): each packet that leaves a full queue makes room for one that comes a round trip later, and of two flows the one
whose round trip is the shorter by a part of a packet's time finds the queue full whenever it is, and has all the
losses. `tests/paths/test_phase_effects.py` shows it with two flows of ours.

So here what a simulated host sends enters the path when it was really sent. A little of a difference remains, and where
all else keeps time exactly, a little is enough; the remedy of that paper (section 3) is a random part in the time that
a host takes. Each packet of each flow, whosever it is, waits for a random while of `WAIT` on average before it enters
the bottleneck, behind those of its host that wait already. The while is exponential: the paper's even one has an edge,
and who is a little later stays so.
"""

from __future__ import annotations

import math
from random import Random
from typing import Final

from plankroad.paths.emulator import Emulator
from plankroad.sim.conditions import Conditions
from plankroad.sim.link import Direction
from plankroad.sim.pipe import Pipe, Sink
from plankroad.sim.rng import stream
from plankroad.units import MICROSECOND
from plankroad.wire.packet import Packet

#: The mean of the random while: several times what the answers of two hosts may differ by.
WAIT: Final = 500 * MICROSECOND


class Doorstep(Sink):
    """The end of the pipe out of a host. A packet enters `pipe` at the real time and a while of mean `wait` ns later.

    `simulated`: the host is the simulator's, so what it sends may be late.
    """

    __slots__ = ("emulator", "latest", "pipe", "rng", "simulated", "wait")

    def __init__(self, emulator: Emulator, pipe: Pipe, simulated: bool, rng: Random, wait: int) -> None:
        self.emulator = emulator
        self.pipe = pipe
        self.simulated = simulated
        self.rng = rng
        self.wait = wait
        self.latest: int = 0

    def arrive(self, packet: Packet, port: int) -> None:
        emulator = self.emulator
        sim = emulator.simulator
        now = sim.now
        if self.simulated:
            now = max(now, emulator.clock.now() - emulator.origin)
            emulator.timing.late.append(now - sim.now)
        if self.wait:
            now += round(-math.log(1.0 - self.rng.random()) * self.wait)
        self.latest = max(now, self.latest)
        sim.call_at(self.latest, self.pipe.send, packet)


def door(
    name: str, number: int, mtu: int, emulator: Emulator, pipe: Pipe, *, simulated: bool, seed: int, wait: int = 0
) -> Pipe:
    """A pipe for what a host sends into `pipe`, that does no more than `Doorstep`. `number`: no other pipe's."""
    step = Doorstep(emulator, pipe, simulated, stream(seed, f"wait {name}"), wait)
    return Direction(emulator.simulator, seed, name, number, step, 0, Conditions(mtu=mtu), ethernet=False).pipe
